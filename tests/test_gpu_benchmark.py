"""The GPU benchmark without a GPU: its sections with a small network on the emulated kernels and PyTorch
on the CPU, where these are there; costs, tables and the result file with made-up figures.

No time is asserted.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulated import NumpyMemory, emulated_kernels
from goturn.architecture import goturn
from networks import tiny

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import measure_gpu
from gpu import ceilings, costs, memory, op_linears, op_planes, report, rows, sections, trackers
from gpu.device import Device

CEILINGS = {
    "copy_bytes_per_s": 4e12,
    "read_bytes_per_s": 2e12,
    "fp32_flops_per_s": 5e13,
    "tf32_flops_per_s": 3e14,
    "half_flops_per_s": 6e14,
}


class HostDevice(Device):
    """The emulation of the kernels, and PyTorch on the CPU where it is installed."""

    def __init__(self):
        self.kernels, self.memory, self.stream = emulated_kernels(), NumpyMemory(), 0
        self.torch_device = "cpu"
        try:
            self.torch = importlib.import_module("torch")
        except ImportError:
            self.torch = None

    def capture(self, function):
        function()
        return function

    torch_capture = capture

    def wait_all(self):
        pass

    def release(self):
        pass

    def device_us(self, launch):
        return self.host_us(launch)


@pytest.fixture
def device():
    return HostDevice()


@pytest.fixture
def small(monkeypatch):
    """As few calls and copies as the code allows; a few objects stand for 64."""
    for module in ("networks", "op_convs", "op_linears", "op_planes"):
        monkeypatch.setattr(importlib.import_module(f"gpu.{module}"), "CALLS", 1)
    monkeypatch.setattr(rows, "WARM_UP", 0)
    monkeypatch.setattr(op_linears, "COLD", 1)
    monkeypatch.setattr(trackers, "CALLS", 1)
    monkeypatch.setattr(trackers, "OBJECTS", 3)
    monkeypatch.setattr(op_planes, "WINDOWS", (1, 3))
    monkeypatch.setattr(importlib.import_module("gpu.networks"), "OBJECTS", (1, 2))


class Short(rows.Rows):
    """Rows in one round."""

    def run(self, device, case, ceilings):
        super().run(device, replace(case, rounds=1), ceilings)


def run_section(section, device, folder):
    path = folder / "rows.jsonl"
    weights = sections.weights_of(section, tiny())
    sections.run(section, device, weights, Short(path, section, 600), CEILINGS)
    return [json.loads(line) for line in path.read_text().splitlines()]


#: By the seconds that they take on the emulation.
QUICK = ("linear", "planes")
SECTIONS = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in sections.SECTIONS
    if name != "compiled"
]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_row_is_right_on_emulated_kernels(section, device, small, tmp_path):
    """Ours and PyTorch's, each against the right result; what only a GPU has may fail there."""
    found = run_section(section, device, tmp_path)
    assert len(found) > 3
    assert len({row["name"] for row in found}) == len(found)
    for row in found:
        assert "failed" not in row, row
        assert "unchecked" not in row, row
        assert row["us"] > 0
        for name, peer in row["peers"].items():
            only_there = "cudnn_convolution_relu" in peer.get("failed", "")
            assert only_there or "failed" not in peer, (row["name"], name, peer)
    if section != "training":
        assert all(row["floor_us"] > 0 for row in found)


# -- rows -----------------------------------------------------------------------------------------


class Clockless:
    """A device whose time is what launches say."""

    def __init__(self):
        self.now = 0.0

    def device_us(self, launch):
        before = self.now
        launch()
        return self.now - before

    host_us = device_us

    def wait_all(self):
        pass

    def release(self):
        pass


def subject(device, us, value=1.0):
    def launch():
        device.now += us

    return lambda: rows.Subject(launch, lambda: np.array([value, 2.0]))


def right():
    return np.array([1.0, 2.0])


def test_a_row_has_medians_ratios_and_errors():
    device = Clockless()
    case = rows.Case(
        "net",
        subject(device, 60.0),
        {"slow": subject(device, 200.0), "best": subject(device, 120.0)},
        [costs.Cost(40_000_000, 0)],
        right,
        calls=2,
        rounds=4,
        asked_us=50.0,
        asked_ratio=1.5,
    )
    row = rows.measure(device, case, CEILINGS)
    assert row["us"] == 30
    assert row["samples"] == 4
    assert row["error"] == 0
    assert row["floor_us"] == pytest.approx(10)
    assert row["over_floor"] == pytest.approx(3)
    assert (row["best_peer"], row["best_peer_us"], row["ratio"]) == ("best", 60, 2)
    assert report.verdict(row) == "reached"
    assert json.loads(json.dumps(row)) == row


def test_a_peer_that_fails_or_is_wrong_is_left_out_and_named():
    device = Clockless()

    def broken():
        raise ValueError("no such\n op")

    case = rows.Case(
        "net",
        subject(device, 60.0),
        {"broken": broken, "wrong": subject(device, 1.0, value=1.1)},
        want=right,
        rounds=2,
    )
    row = rows.measure(device, case, CEILINGS)
    assert row["us"] == 60
    assert "ratio" not in row
    assert row["peers"]["broken"] == {"failed": "ValueError: no such op"}
    assert row["peers"]["wrong"]["failed"].startswith("relative error 0.04")
    assert "us" not in row["peers"]["wrong"]


@pytest.mark.parametrize("value", [1.1, float("nan")])
def test_ours_is_timed_but_marked_where_it_is_wrong(value):
    device = Clockless()
    row = rows.measure(
        device, rows.Case("net", subject(device, 60.0, value), want=right, rounds=2), CEILINGS
    )
    assert row["us"] == 60
    assert row["failed"].startswith("relative error")
    assert report.verdict(row).startswith("relative error")


def test_one_that_fails_while_it_is_timed_drops_out():
    device, left = Clockless(), [6]

    def launch():
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("illegal address")
        device.now += 1

    case = rows.Case("net", subject(device, 60.0), {"dies": lambda: rows.Subject(launch)})
    row = rows.measure(device, case, CEILINGS)
    assert row["samples"] == 30
    assert row["peers"]["dies"] == {"failed": "RuntimeError: illegal address"}


def test_turns_begin_with_another_subject_each_round():
    order = []

    def named(name):
        return lambda: rows.Subject(lambda: order.append(name))

    case = rows.Case("net", named("ours"), {"a": named("a"), "b": named("b")}, rounds=1)
    rows.measure(Clockless(), case, {})
    prepared, turns = order[:3], order[3:]
    assert prepared == ["ours", "a", "b"]
    assert [turns[i] for i in (0, 3, 6, 9)] == ["ours", "a", "b", "ours"]
    assert all(sorted(turns[i : i + 3]) == ["a", "b", "ours"] for i in range(0, 12, 3))


def test_rows_are_kept_as_they_come_and_time_runs_out(tmp_path):
    path, device = tmp_path / "rows", Clockless()
    kept = rows.Rows(path, "network", 600)
    kept.run(device, rows.Case("first", subject(device, 1.0), rounds=1), {})
    kept.guarded("second", lambda: 1 / 0)
    rows.Rows(path, "network", -1).run(device, rows.Case("third", subject(device, 1.0)), {})
    first, second, third = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["section"], first["us"]) == ("network", 1)
    assert second["failed"] == "ZeroDivisionError: division by zero"
    assert third["failed"] == "no time left"


# -- costs ----------------------------------------------------------------------------------------

TOWER = 2 * (105_415_200 + 223_948_800 + 149_520_384 + 112_140_288 + 74_760_192)
FC = 18432 * 4096 + 2 * 4096**2 + 4 * 4096


def test_the_paper_s_network_is_counted():
    assert sum(case.flops for case in costs.conv_cases(goturn())) == TOWER
    counted = costs.network_costs(goturn(), 1, "fp16", "half")
    assert sum(cost.flops for cost in counted) == 2 * TOWER + 2 * FC
    weights = sum(cost.bytes for cost in counted)
    assert weights == pytest.approx(2 * (111_414_660 + 4 * 4096), rel=1e-3)


def test_floors_are_those_of_the_notes():
    """Made-up rates of an H200: 4.3 TB/s, 67, 400 and 790 TFLOP/s."""
    rates = {
        "copy_bytes_per_s": 4.3e12,
        "fp32_flops_per_s": 67e12,
        "tf32_flops_per_s": 400e12,
        "half_flops_per_s": 790e12,
    }

    def floor(*arguments):
        return costs.floor_us(costs.network_costs(goturn(), *arguments), rates)

    assert floor(1, "fp32", "scalar") == pytest.approx(141, abs=3)
    assert floor(1, "fp32", "tf32x3") == pytest.approx(121, abs=3)
    assert floor(1, "fp16", "half") == pytest.approx(54, abs=2)
    assert floor(64, "fp16", "half") == pytest.approx(266, abs=8)
    training = costs.training_costs(goturn(), 5, 50, "tf32", "tf32x3")
    assert costs.floor_us(training, rates) == pytest.approx(722, abs=30)


def test_a_floor_needs_the_rates_that_it_takes():
    cost = [costs.Cost(8_000_000, 3_000_000_000, "tf32x3")]
    assert costs.floor_us(cost, CEILINGS) == pytest.approx(30)
    assert costs.floor_us([costs.Cost(8_000_000, 0)], {"read_bytes_per_s": 1e12}) == 8
    assert costs.floor_us(cost, {"read_bytes_per_s": 1e12}) is None
    assert costs.floor_us(cost, {}) is None


# -- tables and the command -----------------------------------------------------------------------

ROWS = [
    {"name": "network, fp16", "us": 90.0, "over_floor": 1.7, "floor_us": 54.0, "peers": {},
     "best_peer_us": 150.0, "ratio": 1.67, "asked_us": 100, "asked_ratio": 1.3},
    {"name": "network, fp32", "us": 300.0, "peers": {}, "asked_us": 212, "asked_ratio": 1.5,
     "ratio": 1.2, "best_peer_us": 360.0},
    {"name": "conv1", "us": 12.0, "peers": {}, "failed": "relative error 1, over 0.1"},
    {"name": "conv2", "peers": {}, "failed": "no time left"},
    {"name": "step", "peers": {}, "failed": "boom", "asked_us": 1300},
    {"name": "alone", "us": 2000.0, "peers": {}, "asked_ratio": 1.5},
    {"name": "load", "peers": {},
     "memory": {"load_s": 0.5, "first_update_s": 0.1, "gpu_mib": 700.0}},
]  # fmt: skip


def test_the_table_has_a_line_a_row():
    text = report.row_table(ROWS)
    assert "| network, fp16 | 90 | 1.7 | 150 | 1.67 |" in text
    assert "| conv1 (!) | 12 |" in text
    assert "(!) conv1: relative error 1, over 0.1" in text
    assert "conv2: no time left" in text
    assert "load: load 0.50 s, first update 0.10 s, 700 MiB" in text


def test_the_table_of_what_is_asked_has_verdicts():
    lines = report.asked_table(ROWS).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == [
        "network, fp16",
        "network, fp32",
        "step",
        "alone",
    ]
    assert [line.split("|")[-2].strip() for line in lines] == [
        "reached",
        "slower than asked, too close to PyTorch",
        "boom",
        "no PyTorch to compare with",
    ]


def test_ceilings_are_told_with_what_is_missing():
    text = report.ceiling_lines({"name": "X", "copy_bytes_per_s": 3e12, "failed": "probe: no nvcc"})
    assert text.splitlines()[0].startswith("X: copies 3 TB/s, reads ?; fp32 ?")
    assert text.splitlines()[1] == "not measured: probe: no nvcc"
    assert report.ceiling_lines({}) == "the GPU's rates were not measured"


def test_the_command_goes_on_after_a_section_that_fails(tmp_path, monkeypatch, capsys):
    """A stand-in for the sections' program: one writes a row, one dies, one hangs."""
    package = tmp_path / "gpu"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sections.py").write_text(
        "import json, sys, time\n"
        "name, rows = sys.argv[1], sys.argv[3]\n"
        "if name == 'tracker': sys.exit(3)\n"
        "if name == 'training': time.sleep(60)\n"
        "print(json.dumps({'section': name, 'name': name, 'us': 1.5, 'peers': {}}),\n"
        "      file=open(rows, 'a'))\n"
    )
    monkeypatch.setattr(measure_gpu, "HERE", tmp_path)
    monkeypatch.setattr(measure_gpu, "LIMITS", {**measure_gpu.LIMITS, "training": 1})
    monkeypatch.setattr(measure_gpu, "MARGIN", 0)
    output = tmp_path / "results" / "x.json"
    arguments = ["--output", str(output), "--sections", "network,tracker,training,linear"]
    start = time.monotonic()
    assert measure_gpu.main([*arguments, "--commit", "abc"]) == 1
    assert time.monotonic() - start < 30
    result = json.loads(output.read_text())
    assert result["commit"] == "abc"
    assert [row["name"] for row in result["rows"]] == ["network", "linear"]
    assert [section["outcome"] for section in result["sections"]] == [
        "ok",
        "exit status 3",
        "stopped at its limit",
        "ok",
    ]
    assert "| network | 1.5 |" in capsys.readouterr().out


def test_a_section_s_time_is_a_share_of_what_is_left():
    limits, names = measure_gpu.LIMITS, measure_gpu.NAMES
    assert list(names[1:5]) == ["network", "tracker", "training", "compiled"]
    assert measure_gpu.share(names, 10_000) == limits["ceilings"]
    half, spent = sum(limits.values()) / 2, 0.0
    for index in range(len(names)):
        spent += measure_gpu.share(names[index:], half - spent)
    assert spent == pytest.approx(half)
    assert measure_gpu.share(names, half) == pytest.approx(limits["ceilings"] / 2)


@pytest.mark.parametrize("done", [True, False])
def test_a_section_that_does_not_end_is_ended_with_its_children(tmp_path, monkeypatch, done):
    """Which is a failure only where rows are missing."""
    package = tmp_path / "gpu"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sections.py").write_text(
        "import pathlib, subprocess, sys, time\n"
        "rows = pathlib.Path(sys.argv[3])\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "pathlib.Path(__file__).with_name('pid').write_text(str(child.pid))\n"
        'rows.write_text(\'{"name": "a", "us": 1.0}\\n\')\n'
        f"if {done}: rows.with_name('network.done').touch()\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(measure_gpu, "HERE", tmp_path)
    monkeypatch.setattr(measure_gpu, "LIMITS", {"network": 3})
    monkeypatch.setattr(measure_gpu, "MARGIN", 0)
    rows, _, ran = measure_gpu.run_sections(["network"], 100, tmp_path)
    assert ran[0]["outcome"] == ("ok" if done else measure_gpu.STOPPED)
    assert measure_gpu.is_complete(rows, ran) == done
    state = Path("/proc", (package / "pid").read_text(), "stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_last_row_s_file_is_there_when_a_section_has_ended(tmp_path):
    path = tmp_path / "rows.jsonl"
    kept = rows.Rows(path, "network", 10)
    assert not rows.done_file(path, "network").exists()
    kept.end()
    assert rows.done_file(path, "network").exists()


def test_unknown_sections_are_refused(capsys):
    with pytest.raises(SystemExit):
        measure_gpu.parse(["--output", "x.json", "--sections", "network,gpu"])
    assert "unknown sections gpu; there are ceilings, network" in capsys.readouterr().err


def test_ceilings_that_cannot_be_measured_are_said(monkeypatch):
    device = Clockless()
    device.torch = None
    monkeypatch.setattr(ceilings, "find_nvcc", lambda: 1 / 0)
    assert ceilings.measure(device) == {"failed": "probe: ZeroDivisionError: division by zero"}


def test_memory_rows_name_what_fails(tmp_path):
    """There is no CuPy or no GPU here."""
    weights = sections.weights_of("memory", tiny())
    (row,) = memory.rows(weights, tmp_path, ("fp32",))
    assert "failed" in row or row["memory"]["load_s"] > 0
    assert list(tmp_path.iterdir()) == []
