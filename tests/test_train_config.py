"""Settings of a run: their defaults are the paper's, their file is TOML, and nothing unknown passes."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from goturn.architecture import goturn
from goturn.data.model import LARGEST_PART
from goturn.training import solver
from goturn.training.config import MAX_ITERATIONS, TrainConfig
from goturn.training.step import Rates


def test_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.lambda_shift, config.lambda_scale, config.scale_limit) == (5, 15, 0.4)
    assert (config.drawn, config.batch, config.largest_part) == (10, 50, 0.66)
    assert (config.rate, config.momentum, config.decay) == (1e-5, 0.9, 5e-4)
    assert (config.step_size, config.gamma, config.iterations) == (100_000, 0.1, 500_000)
    assert (config.widths, config.dropout, config.loss, config.learn) == (
        (4096, 4096, 4096),
        0.5,
        "l1",
        "fc",
    )


def test_part_of_photographs_is_the_data_sets():
    """Written out there, since the command line, which has the settings, must not load OpenCV."""
    assert TrainConfig().largest_part == LARGEST_PART


def test_toml_round_trip(tmp_path):
    config = TrainConfig(
        videos=('a "quoted" path', "alov:/données"),
        widths=(16,),
        rate=3e-7,
        previous_frame=False,
        iterations=10,
    )
    path = tmp_path / "c.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert TrainConfig.from_toml(path) == config
    assert TrainConfig.from_toml(path, {"seed": 4}) == replace(config, seed=4)
    assert all(each.metadata["help"] in path.read_text() for each in fields(TrainConfig))


def test_rates_that_fall_smoothly():
    """Half a cosine wave from 1 to gamma, which then stays."""
    config = TrainConfig(schedule="cosine", step_size=1000, gamma=0.1)
    found = [solver.rate_factor(config, at) for at in (0, 250, 500, 1000, 5000)]
    assert found == pytest.approx([1, 0.55 + 0.45 * 2**-0.5, 0.55, 0.1, 0.1])
    text = solver.describe(config, solver.rates_at(config, goturn((8, 8, 8)), 0))
    assert "falling to 0.1 times that in 1,000 iterations" in text
    with pytest.raises(ValueError, match="schedule must be one of step, cosine; got 'linear'"):
        TrainConfig(schedule="linear")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rates = 1", "there is no setting rates; there are videos, images"),
        ("rate = ", "not a TOML file"),
        ('rate = "fast"', "rate must be a finite number; got 'fast'"),
        ("rate = nan", "rate must be a finite number; got nan"),
        ("batch = 2.5", "batch must be a whole number; got 2.5"),
        ("batch = true", "batch must be a whole number; got True"),
        ("iterations = 100000000", "iterations must be at most 67108864; got 100000000"),
        ("batch = 0", "batch must be at least 1; got 0"),
        ('videos = "a"', "videos must be a list of texts; got 'a'"),
        ("widths = [1.5]", r"widths must be a list of whole numbers; got \[1.5\]"),
        ("widths = [1, 2, 3, 4]", "widths must be one to three numbers"),
        ('loss = "l3"', "loss must be one of l1, l2; got 'l3'"),
        ('solver = "adamw"', "solver must be one of sgd, adam; got 'adamw'"),
        ("squares = 1.0", r"squares must be in 0.5..0.999999; got 1.0"),
        ("momentum = 1.0", r"momentum must be in 0..0.9999; got 1.0"),
        ('learn = "all"\ncache_features = 9', "cache_features is for convolutions that do not"),
        (
            'target = "0.5,0"',
            "target: '0.5,0' is not a way to keep the target; give paper, or SHARE",
        ),
        ("starts = 1.5", r"starts must be in 0..1; got 1.5"),
        ("channels = [96, 256]", r"channels must be five numbers from 1 on; got \(96, 256\)"),
        ("channels = [96, 0, 1, 1, 1]", "channels must be five numbers from 1 on"),
        ('channels = ["a"]', "channels must be a list of whole numbers"),
        ("imitate = true", "imitate learns from the tower in the file that start names"),
        ('imitate = true\nstart = "a.h5"', "learn must be all, or the first that learns"),
        ('imitate = true\nstart = "a.h5"\nlearn = "conv3"', "say how narrow, with channels"),
        *(
            (
                'imitate = true\nstart = "a.h5"\nlearn = "all"\nchannels = [1, 1, 1, 1, 1]\n'
                f"{name}",
                f"imitate is for convolutions alone; leave {name.split()[0]} out",
            )
            for name in ("cache_features = 9", "match = true", "reduce = 64")
        ),
        ("start_fc = true", "start_fc takes fc layers from the file that start names"),
        ("log_every = 30", r"validate_every \(10000\) must be a multiple of log_every \(30\)"),
    ],
)
def test_refuses(tmp_path, text, message):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        TrainConfig.from_toml(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_digest_is_of_what_decides_the_weights():
    config = TrainConfig()
    for name, value in (("iterations", 7), ("workers", 3), ("keep", 9), ("device", "cpu")):
        assert replace(config, **{name: value}).digest() == config.digest()
    others = [
        replace(config, **{name: value}).digest()
        for name, value in (("seed", 1), ("rate", 2e-5), ("videos", ("a",)), ("loss", "l2"))
    ]
    assert len({config.digest(), *others}) == 5


def test_settings_that_came_later_leave_old_runs_their_digest():
    """A run from before there was a match, or Adam, can be gone on with."""
    before = "8311f4a633da9933b6ed31680cb5efa613e96f0f1345c65e52d97adc371b52fa"
    assert TrainConfig().digest() == before
    others = [
        TrainConfig(**{name: value}).digest()
        for name, value in (
            ("solver", "adam"),
            ("squares", 0.99),
            ("reduce", 8),
            ("match", True),
            ("starts", 0.5),
            ("target", "0.7,4"),
            ("channels", (96, 256, 192, 192, 256)),
        )
    ]
    assert len({before, *others}) == 8
    imitation = {"start": "a.h5", "learn": "conv3", "channels": (96, 256, 192, 192, 256)}
    digests = {TrainConfig(**imitation, imitate=value).digest() for value in (False, True)}
    assert len(digests) == 2


def test_rates_of_the_authors_solver():
    """fc weights 1e-5, biases twice that and without decay, convolutions none (facts 3.3)."""
    config, architecture = TrainConfig(), goturn((8, 8, 8))
    rates = solver.rates_at(config, architecture, 0)
    assert set(rates) == {
        f"{layer}/{kind}" for layer in ("fc6", "fc7", "fc7b", "fc8") for kind in ("weight", "bias")
    }
    assert rates["fc6/weight"] == Rates(1e-5, 0.9, 5e-4)
    assert rates["fc8/bias"] == Rates(2e-5, 0.9, 0.0)
    for iteration, factor in ((99_999, 1), (100_000, 0.1), (499_999, 1e-4)):
        rate = solver.rates_at(config, architecture, iteration)["fc7/weight"].rate
        assert rate == pytest.approx(1e-5 * factor, rel=1e-12)


def test_rates_of_adam():
    """The same multipliers; iterations are counted from 1."""
    config = TrainConfig(solver="adam", rate=3e-4, squares=0.99, decay=0.01)
    rates = solver.rates_at(config, goturn((8,)), 41)
    assert rates["fc6/weight"] == Rates(3e-4, 0.9, 0.01, 0.99, 42)
    assert rates["fc8/bias"] == Rates(6e-4, 0.9, 0.0, 0.99, 42)
    assert "rates (adam, momentum 0.9" in solver.describe(config, rates)


def test_rates_of_convolutions_that_learn():
    config = TrainConfig(learn="all", conv_rate=1e-8)
    rates = solver.rates_at(config, goturn((8,)).with_separate_towers(), 0)
    assert rates["conv1/weight"] == Rates(1e-8, 0.9, 5e-4)
    assert rates["conv5_p/bias"] == Rates(2e-8, 0.9, 0.0)
    assert len(rates) == 2 * (5 + 5 + 2)


def test_dropout_keys_are_distinct():
    keys = {
        solver.dropout_key(TrainConfig(seed=seed), iteration)
        for seed in (0, 1, 2**32 - 1)
        for iteration in (0, 1, MAX_ITERATIONS - 1)
    }
    assert len(keys) == 9
    assert max(keys) < 2**58
    assert solver.dropout_key(TrainConfig(dropout=0.0), 5) is None


def test_description_of_rates():
    config = TrainConfig()
    text = solver.describe(config, solver.rates_at(config, goturn((8, 8, 8)), 0))
    assert "fc6, fc7, fc7b, fc8 weight: rate 1e-05, decay 0.0005" in text
    assert "fc6, fc7, fc7b, fc8 bias: rate 2e-05, decay 0" in text
    assert "times 0.1 every 100,000 iterations" in text
