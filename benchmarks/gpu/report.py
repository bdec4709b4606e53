"""What was measured, as tables of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def ceiling_lines(ceilings: Row) -> str:
    """What the floors were computed from."""
    if not ceilings:
        return "the GPU's rates were not measured"

    def rate(name: str, unit: float, text: str) -> str:
        value = ceilings.get(name)
        return f"{value / unit:.3g} {text}" if value else "?"

    bytes_ = [rate(f"{kind}_bytes_per_s", 1e12, "TB/s") for kind in ("copy", "read")]
    flops = [
        f"{name} {rate(f'{name}_flops_per_s', 1e12, 'TFLOP/s')}"
        for name in ("fp32", "sgemm", "tf32", "bf16", "fp16")
    ]
    lines = [
        f"{ceilings.get('name', 'GPU')}: copies {bytes_[0]}, reads {bytes_[1]}; {', '.join(flops)}"
    ]
    if "failed" in ceilings:
        lines.append(f"not measured: {ceilings['failed']}")
    return "\n".join(lines)


def row_table(rows: Sequence[Row]) -> str:
    """A line a row: ours, the floor, the best of PyTorch."""
    lines = ["| | us | x floor | PyTorch us | x ours |", "|:--|--:|--:|--:|--:|"]
    for row in rows:
        if "us" in row:
            cells = [_number(row.get(key)) for key in ("us", "over_floor", "best_peer_us", "ratio")]
            mark = " (!)" if "failed" in row else ""
            lines.append(f"| {row['name']}{mark} | {' | '.join(cells)} |")
        elif "memory" in row:
            lines.append(f"| {row['name']}: {_memory(row['memory'])} | | | | |")
        else:
            lines.append(f"| {row['name']}: {row.get('failed', 'not measured')} | | | | |")
    notes = [
        f"(!) {row['name']}: {row['failed']}" for row in rows if "us" in row and "failed" in row
    ]
    return "\n".join([*lines, *notes])


def asked_table(rows: Sequence[Row]) -> str:
    """The rows with a figure asked for, and whether it is there."""
    lines = [
        "| | us | asked | floor | PyTorch us | x ours | asked | |",
        "|:--|--:|--:|--:|--:|--:|--:|:--|",
    ]
    for row in rows:
        if row.get("asked_us") is None and row.get("asked_ratio") is None:
            continue
        keys = ("us", "asked_us", "floor_us", "best_peer_us", "ratio", "asked_ratio")
        cells = [_number(row.get(key)) for key in keys]
        lines.append(f"| {row['name']} | {' | '.join(cells)} | {verdict(row)} |")
    return "\n".join(lines)


def verdict(row: Row) -> str:
    """That all is reached, or what is missing."""
    if "us" not in row:
        return str(row.get("failed", "not measured"))
    missing = []
    if "failed" in row:
        missing.append(row["failed"])
    if row.get("asked_us") is not None and row["us"] > row["asked_us"]:
        missing.append("slower than asked")
    if row.get("asked_ratio") is not None:
        if row.get("ratio") is None:
            missing.append("no PyTorch to compare with")
        elif row["ratio"] < row["asked_ratio"]:
            missing.append("too close to PyTorch")
    return ", ".join(missing) or "reached"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _memory(memory: Row) -> str:
    return (
        f"load {memory['load_s']:.2f} s, first update {memory['first_update_s']:.2f} s, "
        f"{memory['gpu_mib']:.0f} MiB"
    )
