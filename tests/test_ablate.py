"""The ablations' tool, on made-up data: every variant trains, is scored, and lands in the tables."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from goturn.training.config import TrainConfig
from training_data import small_run

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import ablate

sys.path.pop(0)


@pytest.fixture
def config(tmp_path) -> Path:
    settings = small_run(
        tmp_path, videos=3, validation=2, iterations=5, log_every=5, validate_every=5
    )
    path = tmp_path / "config.toml"
    path.write_text(settings.to_toml())
    return path


@pytest.mark.slow
def test_tables(tmp_path, config, capsys):
    out = tmp_path / "out"
    arguments = [str(out), "--config", str(config), "--seeds", "0", "3", "--videos-counts", "1"]
    assert ablate.main(arguments) == 0
    with (out / "table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["variant"], row["run"]) for row in rows] == [
        (name, run)
        for name in (*(variant.name for variant in ablate.VARIANTS), "videos-1")
        for run in ("0", "1")
    ]
    for row in rows:
        overall = (float(row["accuracy"]) + float(row["robustness"])) / 2
        assert float(row["overall"]) == pytest.approx(overall, abs=1e-12)
    table = (out / "table1.md").read_text()
    assert "| full method | 0.24 | 0.39 | 0.10 | " in table
    assert "| no previous frame |  |  |  | " in table
    assert table in capsys.readouterr().out

    with (out / "videos.csv").open() as file:
        assert [row["videos"] for row in csv.DictReader(file)] == ["1", "1", "3", "3"]
    with (out / "previous_frame.csv").open() as file:
        assert {row["video"] for row in csv.DictReader(file)} == {"video0", "video1"}
    # Variants that see the same examples share their features; other ones have their own.
    shared = sorted(path.name for path in (out / "features").iterdir())
    kinds = ("laplace-both-0", "laplace-both-1", "laplace-images-0", "laplace-videos-0")
    assert shared == sorted(f"{k}-{seed}" for k in (*kinds, "uniform-both-0") for seed in (0, 3))

    # Once more: nothing is trained again.
    before = (out / "full-seed0" / "log.txt").read_text()
    assert ablate.main(arguments) == 0
    assert (out / "full-seed0" / "log.txt").read_text() == before
    score = json.loads((out / "full-seed0" / "score.json").read_text())
    assert score["overall"] == float(rows[10]["overall"])


def test_needs_validation_videos(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(TrainConfig(images=("a",)).to_toml())
    with pytest.raises(ValueError, match="names no validation videos"):
        ablate.main([str(tmp_path / "out"), "--config", str(path)])
