"""A run from start to end: what it writes, how it stops, and that going on changes nothing."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from goturn.cli import main
from goturn.data.model import DataError
from goturn.evaluation.one_pass import mean_overlaps
from goturn.evaluation.session import Stopped
from goturn.network import Network
from goturn.target_policy import PAPER, TargetPolicy
from goturn.tracker import Tracker
from goturn.training import trainer, validation
from goturn.training.config import TrainConfig
from goturn.training.diagnosis import DivergedError
from goturn.training.metrics import read_rows
from goturn.training.run_folder import RunFolder
from goturn.training.sources import open_sources, start_weights
from goturn.video import read_image
from goturn.weights import load, random_weights, save
from test_network import lively
from training_data import make_videos, small_run


@pytest.fixture
def data(tmp_path):
    return small_run(
        tmp_path,
        iterations=30,
        log_every=5,
        validate_every=10,
        checkpoint_every=7,
        features_folder=str(tmp_path / "features"),
        rate=1e-4,
    )


def files(folder):
    """What a run made that must not depend on when it was interrupted."""
    weights = load(folder / "final.h5")
    return (folder / "metrics.csv").read_text(), weights.digest, load(folder / "best.h5").digest


def test_a_whole_run(tmp_path, data):
    lines = []
    outcome = trainer.train(data, tmp_path / "run", report=lines.append)
    assert (outcome.iteration, outcome.complete) == (30, True)
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert [row.iteration for row in rows] == [5, 10, 15, 20, 25, 30]
    validated = [row.iteration for row in rows if row.validation_iou is not None]
    assert validated == [10, 20, 30]
    assert outcome.best == max(
        (row for row in rows if row.validation_iou is not None), key=lambda r: r.validation_iou
    )
    checkpoints = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert checkpoints == ["00000028", "00000030"]
    assert TrainConfig.from_toml(tmp_path / "run" / "config.toml") == data
    assert (tmp_path / "run" / "timing.csv").read_text().count("\n") == 7
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "fc6, fc8 weight: rate 0.0001, decay 0.0005" in log
    assert "iteration 5 of 30: mean error" in log
    assert any("best validation: mean overlap" in line for line in lines)

    # The best weights are what was validated, and an ordinary tracker takes them.
    videos = open_sources(data).validation
    best = Tracker(str(tmp_path / "run" / "best.h5"), device="cpu")
    overlaps = mean_overlaps(best, videos, read_image)
    assert np.mean(list(overlaps.values())) == outcome.best.validation_iou


def test_learns(tmp_path, data):
    config = replace(data, iterations=400, rate=1e-4, validate_every=400, dropout=0.0, widths=(64,))
    trainer.train(config, tmp_path / "run")
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert rows[0].loss > 2
    assert rows[-1].loss < 0.7 * rows[0].loss


def test_two_runs_give_the_same_bits_and_another_seed_others(tmp_path, data):
    for name, config in (
        ("a", data),
        ("b", replace(data, workers=3)),
        ("c", replace(data, seed=1)),
    ):
        trainer.train(config, tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a")[1] != files(tmp_path / "c")[1]


@pytest.mark.parametrize("kind", ["kept", "fresh", "averaged"])
def test_stopped_and_resumed(tmp_path, data, kind):
    """Stopped after every few iterations, and in validation: the same bits as without."""
    config = replace(data, iterations=12, checkpoint_every=100)
    if kind == "averaged":  # once before a stop and once after it, rates falling
        config = replace(config, average=0.9, schedule="cosine", step_size=12, iterations=22)
        config = replace(config, validate_every=20)
    if kind == "fresh":
        config = replace(config, cache_features=0, features_folder="", batch=2, drawn=1)
    trainer.train(config, tmp_path / "whole")
    ended = set()
    for run in range(60):
        # From when data are opened to the last validation: a question later each time.
        asked = itertools.count()
        outcome = trainer.train(
            config,
            tmp_path / "parts",
            resume=run > 0,
            stop=lambda asked=asked, run=run: next(asked) >= 4 + run,
        )
        ended.add(outcome.iteration)
        if outcome.complete:
            break
    assert outcome.complete
    assert len(ended) >= 4
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert not list((tmp_path / "whole").rglob("squares.h5"))


def test_stopped_and_resumed_with_adam(tmp_path, data):
    """Its means of squares are in a file of the checkpoint; without them it would go elsewhere."""
    config = replace(data, validation=(), iterations=6, log_every=1, validate_every=100)
    config = replace(config, solver="adam", rate=1e-3, decay=0.01, checkpoint_every=3)
    lines = []
    trainer.train(config, tmp_path / "whole", report=lines.append)
    assert any("rates (adam, momentum 0.9" in line for line in lines)
    assert trainer.train(replace(config, iterations=2), tmp_path / "parts").complete
    assert (tmp_path / "parts" / "checkpoints" / "00000002" / "squares.h5").is_file()
    assert trainer.train(config, tmp_path / "parts", resume=True).complete

    def bits(run, name):
        return (tmp_path / run / "checkpoints" / "00000006" / name).read_bytes()

    for name in ("weights.h5", "solver.h5", "squares.h5"):
        assert bits("parts", name) == bits("whole", name), name
    # A damaged one is not gone on from: the checkpoint before it is, to the same end.
    checkpoints = tmp_path / "parts" / "checkpoints"
    damaged = checkpoints / "00000006" / "squares.h5"
    damaged.write_bytes(bits("whole", "squares.h5")[:-9])
    lines.clear()
    assert trainer.train(config, tmp_path / "parts", resume=True, report=lines.append).complete
    assert any("passed over" in line and "squares.h5" in line for line in lines)
    assert bits("parts", "squares.h5") == bits("whole", "squares.h5")
    assert bits("parts", "weights.h5") == bits("whole", "weights.h5")


def test_averaged_weights_are_what_comes_out(tmp_path, data):
    """Validated, best and final weights are the averages of those that training goes through."""
    config = replace(data, checkpoint_every=10, keep=3, average=0.95)
    trainer.train(config, tmp_path / "run")
    trainer.train(replace(config, average=0.0), tmp_path / "plain")
    seen = []
    for run in ("run", "plain"):
        paths = sorted((tmp_path / run / "checkpoints").iterdir())
        seen.append([load(path / "weights.h5") for path in paths])
    # Training itself goes where it would without.
    assert [w.digest for w in seen[0]] == [w.digest for w in seen[1]]
    final = load(tmp_path / "run" / "final.h5")
    counts = 0.95 ** np.array([20.0, 10.0, 0.0])
    for name, value in final.parameters.items():
        values = np.stack([w.parameters[name] for w in seen[0]]).astype(np.float64)
        expected = np.tensordot(counts / counts.sum(), values, 1)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
    assert final.digest != seen[0][-1].digest
    best = Tracker(str(tmp_path / "run" / "best.h5"), device="cpu")
    overlaps = mean_overlaps(best, open_sources(data).validation, read_image)
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert np.mean(list(overlaps.values())) == max(
        row.validation_iou for row in rows if row.validation_iou is not None
    )


def test_killed_after_a_stop_in_validation(tmp_path, data, monkeypatch):
    """The row that was written after the checkpoint comes again, and once."""
    config = replace(data, iterations=12, checkpoint_every=100)
    trainer.train(config, tmp_path / "whole")
    folder = tmp_path / "run"

    def stopped_tracking(*arguments: object, **options: object) -> None:
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(validation, "track_video", stopped_tracking)
        stopped = trainer.train(config, folder)
    assert (stopped.iteration, stopped.complete) == (10, False)
    assert [row.iteration for row in read_rows(folder / "metrics.csv")] == [5]
    trainer.train(config, folder, resume=True)
    shutil.rmtree(folder / "checkpoints" / "00000012")
    (folder / "best.h5").unlink()
    trainer.train(config, folder, resume=True)
    assert files(folder) == files(tmp_path / "whole")


def test_checkpoints_that_are_all_damaged(tmp_path, data):
    """Nothing is begun anew over what there is."""
    config = replace(data, iterations=10)
    trainer.train(config, tmp_path / "run")
    before = files(tmp_path / "run")
    for state in (tmp_path / "run" / "checkpoints").glob("*/state.json"):
        state.write_text("{}")
    with pytest.raises(
        ValueError, match="none of the checkpoints can be used; put a good one there"
    ):
        trainer.train(config, tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == before


def test_settings_that_will_not_do_begin_no_run(tmp_path, data):
    with pytest.raises(FileNotFoundError):
        trainer.train(replace(data, videos=("/nowhere",)), tmp_path / "run")
    assert trainer.train(replace(data, iterations=1), tmp_path / "run").complete


def test_validation_videos_that_cannot_be_tracked(tmp_path, data):
    make_videos(tmp_path / "validation2", count=2, seed=4)
    next((tmp_path / "validation2" / "video1").rglob("00002.jpg")).write_bytes(b"no image")
    both = (*data.validation, str(tmp_path / "validation2"))
    config = replace(data, iterations=10, validation=both)
    with pytest.raises(DataError, match="the images: 1 of 21 files are bad"):
        trainer.train(config, tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "left out of the validation: video1: " in log
    # Nothing is lost.
    assert (tmp_path / "run" / "checkpoints" / "00000010").is_dir()
    assert (tmp_path / "run" / "best.h5").is_file()
    names = [video.name for video in open_sources(config).validation]
    assert names == ["video0", "video0 (2)", "video1"]


SCRIPT = """
import sys
from pathlib import Path
from goturn.training.config import TrainConfig
from goturn.training.trainer import train
folder = Path(sys.argv[1])
train(TrainConfig.from_toml(folder.parent / "run.toml"), folder, resume=(folder / "config.toml").exists())
"""


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path, data):
    """SIGKILL at 20 random moments, each time resumed: weights and metrics bit for bit."""
    config = replace(data, iterations=600, checkpoint_every=20, log_every=10, validate_every=100)
    (tmp_path / "run.toml").write_text(config.to_toml())
    trainer.train(config, tmp_path / "whole")
    folder, moments = tmp_path / "killed", random.Random(0)
    killed = 0
    while killed < 20:
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)])
        # The first part is spent importing; then a checkpoint is written every few milliseconds.
        time.sleep(moments.uniform(0.4, 1.6))
        if process.poll() is not None:
            assert process.returncode == 0
            # Whatever is left of 20 kills: once more from the start.
            os.rename(folder, tmp_path / f"done{killed}")
            assert files(tmp_path / f"done{killed}") == files(tmp_path / "whole")
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], check=True)
    assert files(folder) == files(tmp_path / "whole")


def test_resumed_in_validation_and_then_prolonged(tmp_path, data, monkeypatch):
    """A row once written stays: also where the run was stopped before it could be."""
    config = replace(data, iterations=10)
    with monkeypatch.context() as patched:

        def stopped_tracking(*arguments: object, **options: object) -> None:
            raise Stopped

        patched.setattr(validation, "track_video", stopped_tracking)
        assert not trainer.train(config, tmp_path / "run").complete
    assert trainer.train(config, tmp_path / "run", resume=True).complete
    before = (tmp_path / "run" / "metrics.csv").read_text()
    asked = itertools.count()
    trainer.train(data, tmp_path / "run", resume=True, stop=lambda: next(asked) > 8)
    assert (tmp_path / "run" / "metrics.csv").read_text().startswith(before)
    assert ",0.0," not in (tmp_path / "run" / "timing.csv").read_text()


def test_fewer_iterations_than_are_done(tmp_path, data):
    trainer.train(replace(data, iterations=3), tmp_path / "run")
    with pytest.raises(ValueError, match="has done 3 iterations already; iterations must be at"):
        trainer.train(replace(data, iterations=2), tmp_path / "run", resume=True)


def test_videos_that_are_trained_on_and_chosen_by(tmp_path, data):
    lines = open_sources(replace(data, validation=data.videos)).lines
    assert any("2 of the validation videos are trained on too" in line for line in lines)
    assert not any("trained on too" in line for line in open_sources(data).lines)
    assert any(line.startswith("validation: folder:") for line in open_sources(data).lines)


def test_without_validation(tmp_path, data):
    lines = []
    config = replace(data, validation=(), iterations=2)
    trainer.train(config, tmp_path / "run", report=lines.append)
    assert any("there will be no best.h5" in line for line in lines)
    assert (tmp_path / "run" / "final.h5").is_file()


def test_longer_than_planned(tmp_path, data):
    """More iterations may be asked for later; other settings may not be changed."""
    trainer.train(replace(data, iterations=20), tmp_path / "run")
    outcome = trainer.train(data, tmp_path / "run", resume=True)
    assert outcome.iteration == 30
    trainer.train(data, tmp_path / "whole")
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    with pytest.raises(ValueError, match=r"other settings: rate was 0.0001, not 0.5; leave them"):
        trainer.train(replace(data, rate=0.5), tmp_path / "run", resume=True)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path, data):
    config = replace(data, iterations=1)
    trainer.train(config, tmp_path / "run")
    with pytest.raises(ValueError, match="has a run already; resume it"):
        trainer.train(config, tmp_path / "run")


def test_one_process_at_a_time(tmp_path, data):
    run = RunFolder(tmp_path / "run")
    with run.locked(), pytest.raises(RuntimeError, match="another process is training here"):
        trainer.train(data, tmp_path / "run")


def test_divergence_names_a_layer_and_keeps_the_last_checkpoint(tmp_path, data):
    config = replace(data, iterations=8, checkpoint_every=4)
    trainer.train(config, tmp_path / "run")
    before = load(tmp_path / "run" / "checkpoints" / "00000008" / "weights.h5").digest
    wild = replace(config, iterations=20, rate=1e6)
    (tmp_path / "run" / "config.toml").write_text(wild.to_toml())
    for state in (tmp_path / "run" / "checkpoints").glob("*/state.json"):
        assert config.digest() in state.read_text()
    with pytest.raises(ValueError, match="made with other settings"):
        trainer.train(wild, tmp_path / "run", resume=True)

    with pytest.raises(DivergedError, match=r"diverged at iteration \d: the loss is .*fc[68]"):
        trainer.train(replace(wild, checkpoint_every=1), tmp_path / "wild")
    assert load(tmp_path / "run" / "checkpoints" / "00000008" / "weights.h5").digest == before
    kept = sorted((tmp_path / "wild" / "checkpoints").iterdir())
    assert np.isfinite(load(kept[-1] / "weights.h5").parameters["fc6/weight"]).all()


def test_convolutions_learn_where_asked(tmp_path, data):
    config = replace(
        data, learn="all", cache_features=0, features_folder="", iterations=2, batch=2, drawn=1
    )
    start = start_weights(config)
    before = {name: value.copy() for name, value in start.parameters.items()}
    trainer.train(replace(config, conv_rate=1e-4), tmp_path / "all")
    after = load(tmp_path / "all" / "final.h5").parameters
    assert all(not np.array_equal(before[name], after[name]) for name in before)
    trainer.train(replace(config, learn="fc"), tmp_path / "fc")
    after = load(tmp_path / "fc" / "final.h5").parameters
    changed = {
        name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])
    }
    assert changed == {"fc6", "fc8"}


@pytest.mark.parametrize(
    ("learn", "warned"),
    [("conv1", None), ("conv5", "convolutions before conv5 are random and will")],
)
def test_random_convolutions_are_warned_of_where_they_stay_so(tmp_path, data, learn, warned):
    config = replace(data, learn=learn, cache_features=0, features_folder="", validation=())
    lines = []
    trainer.train(
        replace(config, iterations=1, batch=2, drawn=1), tmp_path / "run", report=lines.append
    )
    found = [line for line in lines if "are random" in line]
    assert len(found) == (warned is not None)
    assert all(warned in line for line in found)


def test_without_the_previous_frame(tmp_path, data):
    """What comes out is an ordinary network that does not look at its target."""
    config = replace(data, previous_frame=False)
    trainer.train(config, tmp_path / "run")
    weights = load(tmp_path / "run" / "final.h5")
    half = weights.architecture.features
    assert not weights.parameters["fc6/weight"][:, :half].any()
    assert weights.parameters["fc6/weight"][:, half:].any()
    network = Network(weights, "cpu")
    random_crops = np.random.default_rng(0).normal(0, 50, (3, 3, 227, 227)).astype(np.float32)
    search = np.repeat(random_crops[:1], 2, axis=0)
    units = network.forward(random_crops[1:], search).units
    np.testing.assert_array_equal(units[0], units[1])


def test_starting_from_weights(tmp_path, data):
    trained = random_weights(start_weights(data).architecture, 7)
    save(trained, tmp_path / "w.h5")
    convs = start_weights(replace(data, start=str(tmp_path / "w.h5"))).parameters
    np.testing.assert_array_equal(convs["conv3/weight"], trained.parameters["conv3/weight"])
    assert not np.array_equal(convs["fc6/weight"], trained.parameters["fc6/weight"])
    both = start_weights(replace(data, start=str(tmp_path / "w.h5"), start_fc=True)).parameters
    np.testing.assert_array_equal(both["fc6/weight"], trained.parameters["fc6/weight"])
    with pytest.raises(ValueError, match="has fc layers of 8, but widths says 9 x 9"):
        start_weights(replace(data, start=str(tmp_path / "w.h5"), start_fc=True, widths=(9, 9)))


def test_a_target_policy_by_setting(tmp_path, data):
    """What the weights of a run ask for: the setting's, otherwise what comes with the fc layers."""
    assert start_weights(data).target_policy is None
    assert start_weights(replace(data, target="0.7,4")).target_policy == TargetPolicy(0.7, 4)
    asking = replace(start_weights(data), target_policy=TargetPolicy(0.5, 3))
    save(asking, tmp_path / "w.h5")
    trained_on = replace(data, start=str(tmp_path / "w.h5"), start_fc=True)
    assert start_weights(trained_on).target_policy == TargetPolicy(0.5, 3)
    assert start_weights(replace(trained_on, target="paper")).target_policy == PAPER
    assert start_weights(replace(trained_on, start_fc=False)).target_policy is None
    with pytest.raises(ValueError, match=r"target: '0\.7' is not a way to keep the target"):
        replace(data, target="0.7")


@pytest.mark.slow
def test_trained_on_from_weights_with_a_target_policy(tmp_path, data):
    """Validated by it, stopped or not, and handed on: what was validated is what best.h5 tracks."""
    weights = lively(start_weights(data).architecture)  # which look at their target
    weights.parameters["fc6/weight"][:] *= 0.1
    weights.parameters["fc6/bias"][:] = 0
    weights.parameters["fc8/weight"][:] *= 0.2
    weights.parameters["fc8/bias"][:] = [2.5, 2.5, 7.5, 7.5]
    save(replace(weights, target_policy=TargetPolicy(1.0, 3)), tmp_path / "w.h5")
    config = replace(
        data, start=str(tmp_path / "w.h5"), start_fc=True, rate=1e-9,
        iterations=4, log_every=1, validate_every=2,
        validation=(str(make_videos(tmp_path / "long", frames=10, seed=3)),),
    )  # fmt: skip
    trainer.train(config, tmp_path / "whole")
    trainer.train(replace(config, iterations=2), tmp_path / "parts")
    outcome = trainer.train(config, tmp_path / "parts", resume=True)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert load(tmp_path / "parts" / "final.h5").target_policy == TargetPolicy(1.0, 3)
    best, videos = load(tmp_path / "parts" / "best.h5"), open_sources(config).validation
    by_policy, papers = (
        np.mean(list(mean_overlaps(tracker, videos, read_image).values()))
        for tracker in (
            Tracker(best, device="cpu"),
            Tracker(best, device="cpu", target_policy=PAPER),
        )
    )
    assert by_policy == outcome.best.validation_iou
    assert abs(by_policy - papers) > 1e-3  # so that it matters


def test_too_many_bad_images_stop_the_run(tmp_path, data):
    config = replace(data, cache_features=0, features_folder="", batch=2, drawn=1)
    images = sorted((tmp_path / "videos").rglob("*.jpg"))
    for path in images[:2]:
        path.write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"the images: \d of 13 files are bad") as caught:
        trainer.train(config, tmp_path / "run")
    assert str(images[0]) in str(caught.value)
    assert "left out" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"videos": (), "images": ()}, "there is nothing to train on: name data sets"),
        ({"start": "/nowhere.h5"}, "nowhere.h5"),
    ],
)
def test_refuses(tmp_path, data, change, message):
    with pytest.raises((ValueError, OSError), match=message):
        trainer.train(replace(data, **change), tmp_path / "run")


# -- the command -----------------------------------------------------------------------------------


def arguments(config: TrainConfig) -> list[str]:
    return [
        *("--videos", *config.videos, "--images", *config.images),
        *("--validation", *config.validation, "--widths", "8", "--drawn", "2", "--batch", "4"),
        *("--iterations", "10", "--log-every", "5", "--validate-every", "10", "--device", "cpu"),
        *("--cache-features", "12", "--rate", "1e-4", "--features-folder", config.features_folder),
        "--quiet",
    ]


def test_command(tmp_path, data, capsys):
    run = str(tmp_path / "run")
    assert main(["train", run, *arguments(data)]) == 0
    out = capsys.readouterr()
    assert "10 iterations" in out.out
    assert "best validation" in out.err
    assert main(["train", run, *arguments(data)]) == 1
    assert "has a run already" in capsys.readouterr().err
    assert main(["train", run, "--resume", "--iterations", "15", "--quiet"]) == 0
    assert main(["train", run, "--resume", "--rate", "1"]) == 1
    assert "rate was 0.0001, not 1.0" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "other"), "--resume"]) == 2


def test_command_takes_a_file(tmp_path, data):
    (tmp_path / "c.toml").write_text(replace(data, iterations=3).to_toml())
    run = tmp_path / "run"
    assert (
        main(["train", str(run), "--config", str(tmp_path / "c.toml"), "--quiet", "--seed", "5"])
        == 0
    )
    written = TrainConfig.from_toml(run / "config.toml")
    assert (written.seed, written.iterations) == (5, 3)


def test_command_shows_examples(tmp_path, data):
    run = tmp_path / "run"
    assert main(["train", str(run), *arguments(data), "--show-examples", "3"]) == 0
    assert read_image(run / "examples.png").shape[0] > 3 * 227
    assert not (run / "config.toml").exists()
    assert main(["train", str(run), *arguments(data), "--show-examples", "0"]) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_end(tmp_path, data, number, code):
    run = tmp_path / "run"
    given = arguments(replace(data))
    command = [sys.executable, "-m", "goturn", "train", str(run), *given, "--iterations", "1000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (run / "metrics.csv").exists() or (run / "metrics.csv").stat().st_size < 200:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    asked = time.monotonic()
    out, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - asked < 5
    assert "go on with: goturn train" in out
    iteration = max(int(path.name) for path in (run / "checkpoints").iterdir())
    assert read_rows(run / "metrics.csv")[-1].iteration <= iteration


def test_divergence_exit_code(tmp_path, data, capsys):
    assert main(["train", str(tmp_path / "run"), *arguments(data), "--rate", "1e6"]) == 4
    assert "training has diverged at iteration" in capsys.readouterr().err
