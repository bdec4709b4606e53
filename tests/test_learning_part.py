"""Training of a tower's last convolutions alone, from features of what comes before them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from goturn.architecture import goturn
from goturn.network import Network
from goturn.training import solver, trainer
from goturn.training.config import TrainConfig
from goturn.training.features import towers_digest
from goturn.training.metrics import read_rows
from goturn.training.sources import start_weights
from goturn.training.step import Batch, PlainStep, Rates
from goturn.weights import Weights, load, random_weights, save
from goturn.weights.model import tensor_digest
from networks import tiny
from test_network import crops, lively
from training_data import small_run

MATCHED = tiny(reduce=4, match=True)


def batch(**changes) -> Batch:
    labels = np.random.default_rng(0).uniform(2, 8, (3, 4)).astype(np.float32)
    given = Batch(crops(2, 35, 1), crops(3, 35, 2), np.array([0, 1, 1]), labels)
    return replace(given, **changes)


def rates_of(architecture, learn) -> dict[str, Rates]:
    config = TrainConfig(learn=learn, rate=1e-3, conv_rate=1e-3)
    return solver.rates_at(config, architecture, 0)


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("learn", ["conv2", "conv6", "fc"])
def test_a_step_learns_what_it_should(device, shared, learn):
    """As a step of all layers does, at rates of zero for those before; from features and from crops."""
    architecture = tiny(reduce=4, match=True, shared_towers=shared)
    rates = rates_of(architecture, learn)
    learnt = {name.split("/")[0] for name in rates}
    assert learnt == architecture.learning_layers(learn)
    networks = [Network(lively(architecture, 4), device) for _ in range(3)]
    given = batch()
    features = batch(
        targets=networks[0].encode_frozen(given.targets, "target", learn),
        searches=networks[0].encode_frozen(given.searches, "search", learn),
    )
    start = {name: value.copy() for name, value in networks[0].parameters.items()}
    for network, each, what in (
        (networks[0], given, "all"),
        (networks[1], given, learn),
        (networks[2], features, learn),
    ):
        step = PlainStep(network, learn=what)
        for turn in range(2):
            step.run(each, rates, dropout_key=turn)
        assert set(step.velocities()) == set(rates)
    for name, value in networks[0].parameters.items():
        moved = not np.array_equal(value, start[name])
        assert moved == (name in rates), name
        for other in networks[1:]:
            np.testing.assert_allclose(
                other.parameters[name] - start[name], value - start[name],
                rtol=2e-3, atol=1e-6, err_msg=name,
            )  # fmt: skip


def test_the_rates_of_convolutions_behind_those_that_are_frozen():
    config = TrainConfig(learn="conv6", rate=1e-3, conv_rate=1e-5)
    rates = solver.rates_at(config, goturn((8,), reduce=4, match=True), 0)
    assert set(rates) == {f"{n}/{k}" for n in ("conv6", "fc6", "fc8") for k in ("weight", "bias")}
    assert rates["conv6/weight"] == Rates(1e-5, 0.9, 5e-4)
    assert rates["conv6/bias"] == Rates(2e-5, 0.9, 0.0)


def test_what_is_no_layer_is_refused():
    with pytest.raises(
        ValueError, match="one of the convolutions conv1, conv2, conv3; got 'pool5'"
    ):
        PlainStep(Network(lively(tiny()), "cpu"), learn="pool5")
    with pytest.raises(ValueError, match="learn must be fc, all or the name of a convolution; got"):
        TrainConfig(learn="conv 6")
    with pytest.raises(ValueError, match=r"without the previous frame \(previous_frame\), learn"):
        TrainConfig(learn="conv5", previous_frame=False)
    with pytest.raises(ValueError, match=r"one of the convolutions conv1, .* conv5; got 'conv6'"):
        start_weights(TrainConfig(learn="conv6", widths=(8,)))
    with pytest.raises(ValueError, match="from conv1 on all do"):
        start_weights(TrainConfig(learn="conv1", widths=(8,), cache_features=4))
    network = Network(lively(MATCHED), "cpu")
    with pytest.raises(ValueError, match="no layer of a tower is frozen where conv1 learns"):
        network.encode_frozen(crops(1, 35), "target", "conv1")
    with pytest.raises(ValueError, match=r"features must be \(n, \d+\)"):
        network.forward(crops(1, 35).reshape(1, -1), crops(1, 35), learn="conv6")


# -- features are found again --------------------------------------------------------------------


def digest_before(weights: Weights) -> str:
    """The digest of the towers as it was taken before a part of them could learn."""
    architecture = weights.architecture
    head = {layer.name for layer in architecture.head}
    tower = [asdict(each) for each in architecture.tower]
    for layer in tower:
        layer.pop("init_std", None)
    digests = [
        (name, tensor_digest(value))
        for name, value in weights.parameters.items()
        if name.rpartition("/")[0] not in head
    ]
    described = [[asdict(architecture.preprocessing), tower], digests]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


@pytest.mark.parametrize("shared", [True, False])
def test_features_of_the_plain_network_are_found_again(shared):
    """A network with a convolution more, which learns, shares the features of what comes before it."""
    plain = lively(tiny(shared_towers=shared))
    relative = tiny(reduce=4, match=True, shared_towers=shared)
    parameters = {**lively(relative, 7).parameters}
    parameters |= {n: v for n, v in plain.parameters.items() if n.startswith("conv")}
    other = Weights(relative, parameters)
    assert towers_digest(plain) == digest_before(plain)
    assert towers_digest(other, "conv6") == digest_before(plain)
    assert towers_digest(other, "fc") != digest_before(plain)
    assert towers_digest(plain, "conv3") not in (
        digest_before(plain),
        towers_digest(plain, "conv2"),
    )
    # With another conv6 too; not with another conv3.
    for name, same in (("conv6/weight", True), ("conv3/weight", False)):
        changed = Weights(relative, {**parameters, name: parameters[name] + np.float32(1)})
        assert (towers_digest(changed, "conv6") == digest_before(plain)) == same


def test_digests_of_settings_stay_what_they_were():
    """Of a run that was begun before there were any of the settings that were added later."""
    settings = asdict(TrainConfig())
    free = {name for name in settings if TrainConfig.__dataclass_fields__[name].metadata["free"]}
    later = {"reduce", "match", "solver", "squares", "starts", "target", "channels", "imitate"}
    before = {n: v for n, v in settings.items() if n not in free | later}
    text = json.dumps(before, sort_keys=True)
    assert TrainConfig().digest() == hashlib.sha256(text.encode()).hexdigest()
    others = [TrainConfig(reduce=8), TrainConfig(match=True), TrainConfig(learn="conv5")]
    assert len({each.digest() for each in (TrainConfig(), *others)}) == 4


# -- the weights at the start --------------------------------------------------------------------


def test_convolutions_come_from_the_file_but_for_the_last(tmp_path):
    save(random_weights(goturn((4,)), 9), tmp_path / "alexnet.h5")
    config = TrainConfig(start=str(tmp_path / "alexnet.h5"), widths=(8,), reduce=4, match=True)
    weights = start_weights(config)
    assert weights.architecture.head[0].features == 8
    found, given = weights.parameters, load(tmp_path / "alexnet.h5").parameters
    assert all(np.array_equal(found[n], v) for n, v in given.items() if n.startswith("conv"))
    drawn = random_weights(goturn((8,), reduce=4, match=True), 0).parameters
    assert np.array_equal(found["conv6/weight"], drawn["conv6/weight"])
    # Training on takes all of it from there, and the settings must be those of the file.
    save(weights, tmp_path / "trained.h5")
    on = replace(config, start=str(tmp_path / "trained.h5"), start_fc=True, seed=5)
    assert np.array_equal(start_weights(on).parameters["fc6/weight"], found["fc6/weight"])
    for changes, message in (
        ({"reduce": 0}, "has a network of reduce 4, but the setting says 0"),
        ({"match": False}, "has a network of match true, but the setting says false"),
    ):
        with pytest.raises(ValueError, match=message):
            start_weights(replace(on, **changes))
    # A file with a conv6 of its own gives that too.
    again = start_weights(replace(on, start_fc=False))
    assert np.array_equal(again.parameters["conv6/weight"], found["conv6/weight"])
    assert not np.array_equal(again.parameters["fc6/weight"], found["fc6/weight"])


@pytest.mark.parametrize(("reduce", "learn"), [(6, "fc"), (6, "conv6"), (4, "fc"), (0, "fc")])
def test_a_random_conv6_that_will_not_learn_is_told_of(tmp_path, reduce, learn):
    save(random_weights(goturn((8,), reduce=4), 5), tmp_path / "w.h5")
    start = str(tmp_path / "w.h5")
    lines = []
    start_weights(
        TrainConfig(videos=("v",), start=start, widths=(8,), reduce=reduce, learn=learn),
        lines.append,
    )
    said = f"warning: {start} has no conv6 of 6 channels; this one is random and will not learn"
    assert [line.split("; let")[0] for line in lines] == (
        [said] if (reduce, learn) == (6, "fc") else []
    )


@pytest.mark.parametrize("reduce", [0, 4, 6])
def test_a_run_starts_from_weights_with_that_convolution(tmp_path, reduce):
    """As those that ship: it is taken where it is asked for and fits, the others in any case."""
    given = random_weights(goturn((8,), reduce=4, match=True), 5)
    save(given, tmp_path / "w.h5")
    config = TrainConfig(
        videos=("v",), start=str(tmp_path / "w.h5"), widths=(8,), reduce=reduce, seed=1
    )
    weights = start_weights(config)
    drawn = random_weights(goturn((8,), reduce=reduce), 1)
    assert weights.parameters.keys() == drawn.parameters.keys()
    for name in (f"{layer.name}/weight" for layer in weights.architecture.convs):
        taken = name != "conv6/weight" or reduce == 4
        assert np.array_equal(
            weights.parameters[name], (given if taken else drawn).parameters[name]
        )


def test_without_the_previous_frame_nothing_matches():
    config = TrainConfig(widths=(8,), reduce=4, match=True, previous_frame=False)
    weight = start_weights(config).parameters["fc6/weight"]
    features = 4 * 36
    assert weight[:, features : 2 * features].all()
    assert not weight[:, :features].any()
    assert not weight[:, 2 * features :].any()


# -- a run ---------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    """Of random convolutions, and by Adam: SGD is slow from where nothing has moved."""
    save(lively(goturn((4,)), 2), tmp_path / "alexnet.h5")
    return small_run(
        tmp_path,
        start=str(tmp_path / "alexnet.h5"),
        reduce=8,
        match=True,
        learn="conv6",
        solver="adam",
        rate=1e-2,
        conv_rate=1e-2,
        dropout=0.0,
        average=0.5,
        iterations=60,
        log_every=10,
        validate_every=60,
        checkpoint_every=1000,
        features_folder=str(tmp_path / "features"),
    )


@pytest.mark.slow
def test_a_run_learns_and_goes_on_to_the_same_bits(tmp_path, config):
    trainer.train(config, tmp_path / "whole")
    rows = read_rows(tmp_path / "whole" / "metrics.csv")
    assert rows[-1].loss < 0.5 * rows[0].loss
    after = load(tmp_path / "whole" / "final.h5")
    assert after.architecture.match is not None
    before = start_weights(config).parameters
    changed = {n for n, v in after.parameters.items() if not np.array_equal(v, before[n])}
    assert {name.split("/")[0] for name in changed} == {"conv6", "fc6", "fc8"}

    asked = iter(range(10_000))
    ended = trainer.train(config, tmp_path / "stopped", stop=lambda: next(asked) > 25)
    assert 0 < ended.iteration < 60
    trainer.train(config, tmp_path / "stopped", resume=True)
    again = load(tmp_path / "stopped" / "final.h5")
    assert again.digest == after.digest
    rows_of = [(tmp_path / run / "metrics.csv").read_text() for run in ("stopped", "whole")]
    assert rows_of[0] == rows_of[1]

    # Another run, of the network without what learns here, finds the features again.
    told: list[str] = []
    plain = replace(config, reduce=0, match=False, learn="fc", iterations=1, average=0.0)
    trainer.train(plain, tmp_path / "plain", report=told.append)
    assert len(list((tmp_path / "features").iterdir())) == 1
    assert not any("computing the features" in line for line in told)


@pytest.mark.slow
def test_a_run_on_fresh_examples(tmp_path, config):
    fresh = replace(
        config, cache_features=0, features_folder="", iterations=2, batch=2, drawn=1, average=0.0
    )
    trainer.train(fresh, tmp_path / "run")
    before = start_weights(fresh).parameters
    after = load(tmp_path / "run" / "final.h5").parameters
    changed = {n.split("/")[0] for n, v in after.items() if not np.array_equal(v, before[n])}
    assert changed == {"conv6", "fc6", "fc8"}
