"""The recipe of the default weights, on made-up data: stages that follow one another, and the file."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from goturn.target_policy import TargetPolicy
from goturn.training.config import TrainConfig
from goturn.weights import load, random_weights, save
from training_data import small_run

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import make_weights

sys.path.pop(0)

CONFIG = """
widths = [8]
drawn = 2
batch = 4
target = "0.5,2"
log_every = 2
validate_every = 4
rate = 1e-4

[narrow]
imitate = true
channels = [96, 128, 64, 64, 256]
learn = "conv4"
solver = "adam"
iterations = 2

[plain]
cache_features = 12
iterations = 6
average = 0.9

[convolutions]
mirror = 0.5
learn = "all"
conv_rate = 1e-5
iterations = 4
batch = 2
"""


@pytest.fixture
def arguments(tmp_path):
    data = small_run(tmp_path / "data")
    (tmp_path / "c.toml").write_text(CONFIG)
    start = random_weights(make_weights_architecture(), 3)
    save(start, tmp_path / "start.h5")
    return [
        *(str(tmp_path / "out"), "--config", str(tmp_path / "c.toml"), "--videos", *data.videos),
        *("--images", *data.images, "--validation", *data.validation),
        *("--start", str(tmp_path / "start.h5"), "--device", "cpu", "--quiet"),
    ]


def make_weights_architecture():
    from goturn.architecture import goturn

    return goturn((8,))


def test_from_data_to_the_file(tmp_path, arguments, capsys):
    assert make_weights.main(arguments) == 0
    out = tmp_path / "out"
    shipped = load(out / "goturn.h5")
    assert "tools/make_weights.py" in shipped.origin
    assert shipped.target_policy == TargetPolicy(0.5, 2)
    with h5py.File(out / "goturn.h5") as file:
        assert file["fc6/weight"].dtype == np.int8
    # A narrower tower is not tracked with, and gives the next stage its convolutions alone.
    after = TrainConfig.from_toml(out / "plain" / "config.toml")
    assert (after.start, after.start_fc) == (str(out / "narrow" / "final.h5"), False)
    assert [layer.channels for layer in shipped.architecture.convs] == [96, 128, 64, 64, 256]
    narrow = load(out / "narrow" / "final.h5")
    # The last stage began with what was best of the one before it, fc layers and all.
    second = TrainConfig.from_toml(out / "convolutions" / "config.toml")
    assert (second.start, second.start_fc) == (str(out / "plain" / "best.h5"), True)
    assert second.learn == "all"
    first, last = load(out / "plain" / "best.h5"), load(out / "convolutions" / "best.h5")
    assert not np.array_equal(first.parameters["conv1/weight"], last.parameters["conv1/weight"])
    start = load(tmp_path / "start.h5")
    for weights in (narrow, first):
        np.testing.assert_array_equal(
            weights.parameters["conv1/weight"], start.parameters["conv1/weight"]
        )
    np.testing.assert_array_equal(
        first.parameters["conv4/weight"], narrow.parameters["conv4/weight"]
    )
    np.testing.assert_allclose(
        shipped.parameters["conv3/weight"], last.parameters["conv3/weight"], rtol=2**-10, atol=1e-7
    )
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["iteration"]) for row in rows] == [
        ("narrow", "2"),
        ("plain", "2"),
        ("plain", "4"),
        ("plain", "6"),
        ("convolutions", "2"),
        ("convolutions", "4"),
    ]
    assert [bool(row["validation_iou"]) for row in rows] == [False, False, True, True, False, True]
    figures = json.loads((out / "figures.json").read_text())
    assert figures["digest"] == shipped.digest
    assert figures["bytes"] == (out / "goturn.h5").stat().st_size
    assert 0 <= figures["int8"]["mean_iou"] <= 1
    assert 0 <= figures["int8"]["many_starts"] <= 1
    assert figures["fp32"]["frames"] == 3
    assert "validation.png" in {path.name for path in out.iterdir()} or "matplotlib" in (
        capsys.readouterr().out
    )

    # Again: nothing is trained anew, and the file is the same.
    before = (out / "goturn.h5").read_bytes()
    times = [path.stat().st_mtime_ns for path in out.glob("*/best.h5")]
    assert make_weights.main(arguments) == 0
    assert (out / "goturn.h5").read_bytes() == before
    assert [path.stat().st_mtime_ns for path in out.glob("*/best.h5")] == times


def test_where_stages_start_and_what_ships(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('mean_of = ["b", "c"]\nrate = 1e-6\n[a]\n[b]\n[c]\nfrom = "a"\nrate = 2e-6\n')
    recipe = make_weights.read_recipe(path, {"start": "alexnet.h5"})
    assert recipe.start == {"b": "a", "c": "a"}
    assert recipe.mean_of == ("b", "c")
    assert [stage.rate for stage in recipe.stages.values()] == [1e-6, 1e-6, 2e-6]
    assert [stage.start_fc for stage in recipe.stages.values()] == [False, True, True]
    # What imitates behind a stage with fc layers keeps them; in the first stage there are none.
    narrow = 'imitate = true\nlearn = "all"\nchannels = [1, 1, 1, 1, 1]\n'
    path.write_text(f"[a]\n[b]\n{narrow}[c]\n")
    recipe = make_weights.read_recipe(path, {"start": "alexnet.h5"})
    assert [stage.start_fc for stage in recipe.stages.values()] == [False, True, True]
    path.write_text(f"[a]\n{narrow}[b]\n[c]\n")
    recipe = make_weights.read_recipe(path, {"start": "alexnet.h5"})
    assert [stage.start_fc for stage in recipe.stages.values()] == [False, False, True]
    path.write_text("[a]\n[b]\n")
    assert make_weights.read_recipe(path, {"start": "alexnet.h5"}).mean_of == ("b",)


def test_mean_of_weights():
    one, other = (random_weights(make_weights_architecture(), seed) for seed in (1, 2))
    mean = make_weights.mean([one, other])
    for name, value in mean.parameters.items():
        expected = (one.parameters[name] + other.parameters[name]) / 2
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-9)
    assert make_weights.mean([one]).digest == one.digest


def test_stages_that_will_not_do(tmp_path):
    path = tmp_path / "c.toml"
    for text, sentence in (
        ("rate = 1e-5", "has no stages"),
        (
            '[a]\nstart = "f"\nimitate = true\nlearn = "all"\nchannels = [1, 1, 1, 1, 1]',
            "a has no fc layers to track with yet",
        ),
        (
            '[a]\nstart = "f"\nimitate = true\nlearn = "all"\nchannels = [1, 1, 1, 1, 1]\n'
            "[b]\nstart_fc = true",
            r"\[b\]: start_fc: a has no fc layers to take over yet",
        ),
        ("start_fc = false\n[a]", "start_fc is a stage's own setting; put it into its table"),
        ("rate = ", "not a TOML file"),
        ("[a]\nrate = -1", r"\[a\]: rate must be in"),
        ("[a]\nspeed = 1", r"\[a\]: .*speed"),
        ('mean_of = ["b"]\n[a]', "mean_of must name stages; got b"),
        ("mean_of = []\n[a]", "mean_of must name stages; got none"),
        ('target = "2,1"\n[a]', r"\[a\]: target: '2,1' is not a way to keep the target"),
        (
            'mean_of = ["a", "b"]\n[a]\n[b]\ntarget = "paper"',
            "the stages of mean_of must have one target, .* got '', 'paper'",
        ),
        ("target = 3\n[a]", r"\[a\]: target must be a text"),
        ('[a]\n[b]\nfrom = "c"', "there is no stage 'c' before it"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            make_weights.read_recipe(path, {"start": "alexnet.h5"})


def test_the_recipe_that_is_committed():
    """Its settings are known ones, a convolution learns, and what ships asks for the policy in it."""
    recipe = make_weights.read_recipe(make_weights.CONFIG, {"start": "alexnet.h5"})
    stages = list(recipe.stages.values())
    assert any(recipe.stages[name].learn != "fc" for name in recipe.mean_of)
    assert not stages[0].start_fc
    assert all(stage.start_fc for stage in stages[1:])
    assert all(stage.widths == stages[0].widths for stage in stages)
    shipped = load(make_weights.CONFIG.with_name("goturn.h5")).target_policy
    assert TargetPolicy.parse(recipe.stages[recipe.mean_of[0]].target) == shipped
