"""Narrower towers: which channels stay, and how the others' work is learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from goturn.architecture import (
    LRN,
    Architecture,
    Conv,
    Match,
    MaxPool,
    Preprocessing,
    fc_head,
    goturn,
)
from goturn.confidence import Calibration
from goturn.network import Network
from goturn.training.config import TrainConfig
from goturn.training.imitation import ImitationStep, as_wide, narrowed
from goturn.training.solver import rates_at
from goturn.training.sources import read_tower, start_weights
from goturn.training.step import Batch, Rates
from goturn.training.trainer import train
from goturn.weights import load, random_weights, save, with_conv_layers
from training_data import small_run

SIDE = 35


def tower(*channels: int, behind: bool = False) -> Architecture:
    first, second, third, last = channels
    layers = [
        Conv("conv1", first, kernel=3, stride=2),
        MaxPool("pool1"),
        LRN("norm1", size=3, alpha=0.1),
        Conv("conv2", second, kernel=3, pad=1, groups=2),
        Conv("conv3", third, kernel=3, pad=1),
        Conv("conv4", last, kernel=3, pad=1, groups=2),
        MaxPool("pool4"),
        *([MaxPool("pool5", kernel=2, stride=1)] if behind else []),
    ]
    return Architecture(
        tower=tuple(layers), head=fc_head((4,)), preprocessing=Preprocessing(input_size=SIDE)
    )


WIDE = tower(8, 12, 12, 6)
NARROW = tower(8, 8, 6, 6)


def conv_of(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    """Convolutions whose outputs are of one size, and mostly not zero."""
    rng = np.random.default_rng(seed)
    conv = {}
    for name, shape in architecture.parameter_shapes().items():
        if name.startswith("conv"):
            size = 0.2 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[1:]))
            conv[name] = rng.normal(0.05, size, shape).astype(np.float32)
    return conv


def crops(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, 3, SIDE, SIDE)).astype(np.float32)


def batch(n: int = 3, seed: int = 0) -> Batch:
    owners = np.arange(n) // 2
    labels = np.zeros((n, 4), np.float32)
    return Batch(crops(owners[-1] + 1, seed), crops(n, seed + 1), owners, labels)


def network_of(architecture: Architecture, conv: dict[str, np.ndarray], device: str) -> Network:
    weights = with_conv_layers(random_weights(architecture, 0), conv, keep=("conv6",))
    return Network(weights, device)


class TestNarrowed:
    def test_channels_without_weights_go_first_and_nothing_changes(self):
        """What a tower's features do not depend on is left out of every layer that reads it."""
        conv = conv_of(WIDE)
        rng = np.random.default_rng(1)
        for name, parts, dead in (("conv2", 2, 2), ("conv3", 2, 3)):
            size = len(conv[f"{name}/bias"]) // parts
            for part in range(parts):
                gone = part * size + rng.permutation(size)[:dead]
                conv[f"{name}/weight"][gone] = conv[f"{name}/bias"][gone] = 0
        x = crops(2)
        want = network_of(WIDE, conv, "cpu").encode_target(x)
        got = network_of(NARROW, narrowed(NARROW, conv), "cpu").encode_target(x)
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)

    def test_a_channel_that_nobody_reads_goes_too(self):
        conv = conv_of(WIDE)
        conv["conv4/weight"][:3, [1, 3, 5]] = 0  # of the first group: conv3's channels 0 to 5
        conv["conv4/weight"][3:, [0, 2, 4]] = 0
        kept = narrowed(tower(8, 12, 6, 6), conv)
        np.testing.assert_array_equal(
            kept["conv3/weight"], conv["conv3/weight"][[0, 2, 4, 7, 9, 11]]
        )
        np.testing.assert_array_equal(kept["conv4/weight"][:3], conv["conv4/weight"][:3, [0, 2, 4]])
        np.testing.assert_array_equal(kept["conv4/weight"][3:], conv["conv4/weight"][3:, [1, 3, 5]])

    def test_all_channels_are_the_tower_itself(self):
        conv = conv_of(WIDE)
        for name, value in narrowed(WIDE, conv).items():
            np.testing.assert_array_equal(value, conv[name])

    @pytest.mark.parametrize(
        ("channels", "sentence"),
        [
            ((8, 14, 12, 6), "conv2 has 12 channels to learn from, and cannot have 14"),
            ((8, 12, 12, 4), "conv4 is the last convolution, and must have as many channels"),
        ],
    )
    def test_what_cannot_be(self, channels, sentence):
        with pytest.raises(ValueError, match=sentence):
            narrowed(tower(*channels), conv_of(WIDE))

    def test_groups_get_the_same_number(self):
        three = replace(
            WIDE,
            tower=tuple(
                replace(layer, groups=4, channels=8) if layer.name == "conv4" else layer
                for layer in tower(8, 12, 6, 8).tower
                if layer.name != "conv3"
            ),
        )
        conv = conv_of(replace(three, tower=as_wide(three, conv_of(three)).tower))
        fewer = replace(
            three,
            tower=tuple(
                replace(layer, channels=8) if layer.name == "conv2" else layer
                for layer in three.tower
            ),
        )
        assert narrowed(fewer, conv)["conv4/weight"].shape == (8, 2, 3, 3)

    def test_files_of_other_towers(self, tmp_path, run_config):
        conv = conv_of(WIDE) | {"conv2/weight": np.zeros((12, 8, 3, 3), np.float32)}
        with pytest.raises(ValueError, match=r"conv2/weight to learn from has shape .*, not "):
            narrowed(NARROW, conv)
        del conv["conv2/bias"]
        conv["conv2/weight"] = conv["conv2/weight"][:, :4]
        with pytest.raises(ValueError, match="conv2/bias to learn from is missing"):
            narrowed(NARROW, conv)
        wide = replace(run_config, channels=(96, 256, 500, 384, 256))
        with pytest.raises(ValueError, match=r"wide.h5: conv3 has 384 channels to learn from"):
            start_weights(wide)

    def test_a_convolution_that_is_missing(self):
        conv = {n: v for n, v in conv_of(WIDE).items() if not n.startswith("conv3")}
        with pytest.raises(ValueError, match="there is no conv3 to learn from"):
            as_wide(NARROW, conv)


class TestStep:
    @pytest.mark.parametrize("device", ["reference", "cpu"])
    @pytest.mark.parametrize("behind", ["", "pool", "conv6"])
    @pytest.mark.parametrize("learn", ["all", "conv2", "conv4"])
    def test_it_goes_down_the_slope_of_the_stated_loss(self, device, learn, behind):
        """The change of each parameter against the loss's own difference quotient."""
        pool = behind == "pool"
        wide, narrow = tower(8, 12, 12, 6, behind=pool), tower(8, 8, 6, 6, behind=pool)
        conv, x = conv_of(wide), batch()
        small = narrowed(narrow, conv)
        whole = narrow
        if behind == "conv6":  # which is not of the trunk, and neither is a match
            reduced = (*narrow.tower, Conv("conv6", 3, kernel=1))
            whole = replace(narrow, tower=reduced, match=Match())
            assert whole.trunk == narrow
        network = network_of(whole, small, device)
        names = [
            name
            for name in network.parameters
            if name.split("/")[0] in {layer.name for layer in narrow.convs}
            and name.split("/")[0] in narrow.learning_layers(learn)
        ]
        before = {name: np.array(network.parameters[name]) for name in network.parameters}
        rates = {name: Rates(1e-3, momentum=0.0) for name in names}
        loss = ImitationStep(network, conv, learn=learn).run(x, rates, dropout_key=None)
        assert loss == pytest.approx(stated_loss(wide, narrow, conv, before, x), rel=1e-4)
        for name, value in before.items():
            changed = not np.array_equal(network.parameters[name], value)
            assert changed == (name in names), name
            if name not in names:
                continue
            slope = (value - network.parameters[name]).astype(np.float64) / 1e-3
            direction = slope / np.abs(slope).max()
            step = 1e-4
            there, back = (
                stated_loss(wide, narrow, conv, before | {name: value + sign * step * direction}, x)
                for sign in (1, -1)
            )
            want = (there - back) / (2 * step)
            assert float((slope * direction).sum()) == pytest.approx(want, rel=2e-2), name

    def test_a_tower_that_imitates_itself_has_nothing_to_learn(self):
        conv = conv_of(WIDE)
        network = network_of(WIDE, conv, "reference")
        names = [name for name in network.parameters if name.startswith("conv")]
        rates = {name: Rates(1.0, momentum=0.0) for name in names}
        step = ImitationStep(network, conv, learn="all")
        assert step.run(batch(), rates, dropout_key=None) == pytest.approx(0, abs=1e-9)

    def test_it_learns(self):
        conv = conv_of(WIDE)
        network = network_of(NARROW, narrowed(NARROW, conv), "cpu")
        step = ImitationStep(network, conv, learn="conv2")
        names = [f"conv{i}/{kind}" for i in (2, 3, 4) for kind in ("weight", "bias")]
        losses = []
        for iteration in range(60):
            rates = {n: Rates(1e-2, squares=0.99, iteration=iteration + 1) for n in names}
            losses.append(step.run(batch(6, seed=2 * iteration), rates, dropout_key=None) / 6)
        assert np.mean(losses[-10:]) < 0.4 * losses[0]
        assert set(step.velocities()) == set(step.squares()) == set(names)

    def test_what_it_refuses(self):
        conv = conv_of(WIDE)
        network = network_of(NARROW, narrowed(NARROW, conv), "cpu")
        with pytest.raises(ValueError, match="learn must be all, or the first of them"):
            ImitationStep(network, conv, learn="fc")
        with pytest.raises(ValueError, match="learn must be fc, all or one of"):
            ImitationStep(network, conv, learn="conv7")
        other = conv_of(tower(8, 12, 12, 8))
        with pytest.raises(ValueError, match=r"gives features \(6, .*, not \(8, "):
            ImitationStep(network, other, learn="all")
        dead = {name: np.zeros_like(value) for name, value in conv.items()}
        step = ImitationStep(network, dead, learn="all")
        with pytest.raises(ValueError, match="gives nothing but zeros"):
            step.run(batch(), {}, dropout_key=None)


def stated_loss(wide, narrow, conv, parameters, x) -> float:
    """The loss as its documentation has it, in float64: of the last convolution and the features."""

    def outputs(architecture, parameters):
        network = Network(random_weights(architecture, 0), "reference", dtype=np.float64)
        network.parameters.update(
            {name: np.asarray(value, np.float64) for name, value in parameters.items()}
        )
        network.compile()
        both = np.concatenate([x.targets, x.searches]).astype(np.float64)
        layers = [layer.name for layer in architecture.tower]
        return [
            network.encode_part(both, "target", count)
            for count in (layers.index("conv4") + 1, len(layers))
        ]

    pairs = zip(outputs(narrow, parameters), outputs(wide, conv), strict=True)
    return len(x.labels) * float(
        np.mean([((got - want) ** 2).sum() / (want**2).sum() for got, want in pairs])
    )


# -- as a run --------------------------------------------------------------------------------------


@pytest.fixture
def run_config(tmp_path) -> TrainConfig:
    save(random_weights(goturn((4,)), 3), tmp_path / "wide.h5")
    return replace(
        small_run(tmp_path / "data"),
        start=str(tmp_path / "wide.h5"),
        imitate=True,
        cache_features=0,
        channels=(96, 128, 64, 64, 256),
        learn="conv3",
        widths=(4,),
        solver="adam",
        conv_rate=1e-4,
        batch=4,
        drawn=2,
        iterations=4,
        log_every=2,
        validate_every=4,
        checkpoint_every=2,
        device="cpu",
    )


def after(questions: int):
    """A stop that is asked for at that question."""
    left = iter(range(questions))
    return lambda: next(left, None) is None


def test_a_run_and_one_that_was_stopped(tmp_path, run_config):
    lines: list[str] = []
    outcome = train(run_config, tmp_path / "whole", report=lines.append)
    assert (outcome.complete, outcome.iteration) == (True, 4)
    assert any("there will be no best.h5" in line for line in lines)
    assert not (tmp_path / "whole" / "best.h5").exists()
    final = load(tmp_path / "whole" / "final.h5")
    assert [layer.channels for layer in final.architecture.convs] == [96, 128, 64, 64, 256]
    assert final.origin.endswith("from wide.h5; its fc layers are random, and it cannot track yet")
    start = start_weights(run_config)
    for name, value in final.parameters.items():
        learnt = name.split("/")[0] in ("conv3", "conv4", "conv5")
        assert np.array_equal(value, start.parameters[name]) != learnt, name
    rows = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["2", "4"]
    assert all(0 < float(row.split(",")[1]) < 2 for row in rows)
    assert [float(row.split(",")[2]) for row in rows] == pytest.approx([1e-4, 1e-4])

    parts = tmp_path / "parts"
    done = [train(run_config, parts, stop=after(7))]
    while not done[-1].complete and len(done) < 20:
        done.append(train(run_config, parts, resume=True, stop=after(11)))
    assert len(done) > 1
    # Another tower in its place would be another run.
    save(random_weights(goturn((4,)), 4), tmp_path / "wide.h5")
    with pytest.raises(ValueError, match=r"wide\.h5 is not what it was when this run began"):
        train(run_config, parts, resume=True)
    (tmp_path / "wide.h5").unlink()
    with pytest.raises(FileNotFoundError, match="there is no such file to start from"):
        train(run_config, parts, resume=True)
    assert load(tmp_path / "parts" / "final.h5").digest == final.digest


def test_layers_that_stay(tmp_path, run_config):
    """With the fc layers of the file, what comes out tracks: only convolutions of the tower change."""
    wide = replace(
        random_weights(goturn((4,), reduce=8, match=True), 3),
        target_policy=(0.5, 2),
        calibration=Calibration(0.5, 0.1),
    )
    save(wide, tmp_path / "tracker.h5")
    config = replace(
        run_config, start=str(tmp_path / "tracker.h5"), start_fc=True, reduce=8, match=True
    )
    assert train(config, tmp_path / "run").complete
    start, best = start_weights(config), load(tmp_path / "run" / "best.h5")
    channels = [layer.channels for layer in best.architecture.convs]
    assert channels == [96, 128, 64, 64, 256, 8]
    assert best.architecture.match == wide.architecture.match
    assert best.target_policy == (0.5, 2)
    assert best.calibration is None  # it is not that of these weights
    for name, value in best.parameters.items():
        learnt = name.split("/")[0] in ("conv3", "conv4", "conv5")
        assert np.array_equal(value, start.parameters[name]) != learnt, name
        if name.split("/")[0] in ("conv1", "conv6", "fc6", "fc7"):
            np.testing.assert_array_equal(value, wide.parameters[name])
    parts, done = tmp_path / "parts", [train(config, tmp_path / "parts", stop=after(7))]
    while not done[-1].complete and len(done) < 20:
        done.append(train(config, parts, resume=True, stop=after(11)))
    assert len(done) > 1
    for name in ("best.h5", "final.h5"):
        assert load(parts / name).digest == load(tmp_path / "run" / name).digest
    with pytest.raises(ValueError, match="of reduce 8, but the setting says 0"):
        start_weights(replace(config, reduce=0))
    with pytest.raises(ValueError, match=r"tracker\.h5: conv3 has 384 channels to learn from"):
        start_weights(replace(config, channels=(96, 256, 500, 384, 256)))
    with pytest.raises(ValueError, match=r"learn must be .* conv5; got 'conv6'"):
        train(replace(config, learn="conv6"), tmp_path / "other")
    two = replace(goturn((4,)), shared_towers=False)
    save(random_weights(two, 3), tmp_path / "two.h5")
    with pytest.raises(ValueError, match=r"two\.h5 has a tower of its own for target and search"):
        start_weights(replace(run_config, start=str(tmp_path / "two.h5"), start_fc=True))


def test_a_run_goes_on_with_the_file_s_own_channels(tmp_path, run_config):
    """What comes out is a start like any other; its widths need not be said again."""
    narrow = start_weights(run_config)
    save(narrow, tmp_path / "narrow.h5")
    config = TrainConfig(start=str(tmp_path / "narrow.h5"), widths=(4,), reduce=8, match=True)
    weights = start_weights(replace(config, learn="conv6"))
    channels = [layer.channels for layer in weights.architecture.convs]
    assert channels == [96, 128, 64, 64, 256, 8]
    for name in read_tower(config.start):
        np.testing.assert_array_equal(weights.parameters[name], narrow.parameters[name])
    with pytest.raises(
        ValueError, match=r"but channels says 96, 256, .* narrower first \(imitate\)"
    ):
        start_weights(replace(config, channels=(96, 256, 384, 384, 256)))
    rates = rates_at(run_config, narrow.architecture, 0)
    assert {name.split("/")[0] for name in rates} == {"conv3", "conv4", "conv5"}
    whole = TrainConfig(start=config.start, start_fc=True, widths=(4,))
    assert start_weights(whole).digest == narrow.digest
    with pytest.raises(ValueError, match="has convolutions of 96, 128, 64, 64, 256 channels"):
        start_weights(replace(whole, channels=(96, 256, 384, 384, 256)))
