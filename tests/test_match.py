"""Networks with a match of target and search: what they compute, their files, and tracking with them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from checks import load_backend
from goturn.architecture import Architecture, Conv, Match, Preprocessing, goturn
from goturn.box import Box, search_window
from goturn.cli import main
from goturn.network import Network
from goturn.ops import get_ops
from goturn.ops.reference import ReferenceOps
from goturn.pipeline import PlainPipeline, pipeline_of
from goturn.tracker import MultiTracker, Tracker
from goturn.training.step import Batch, PlainStep, Rates, training_step
from goturn.weights import Weights, WeightsError, load, random_weights, save, save_caffemodel
from networks import tiny
from test_network import crops, lively
from test_tracker import FRAMES, START

MATCHED = tiny(reduce=4, match=True)
#: Of tiny's 35-pixel crops.
CELLS = MATCHED.cells
FEATURES = 4 * CELLS


# -- the architecture ----------------------------------------------------------------------------


def test_what_the_first_fc_layer_reads():
    relative = goturn((256,), reduce=64, match=True)
    assert relative.feature_shape == (64, 6, 6)
    assert relative.parameter_shapes()["fc6/weight"] == (256, 2 * 64 * 36 + 36 * 36)
    assert relative.parameter_shapes()["conv6/weight"] == (64, 256, 1, 1)
    assert relative.part_width == 256 + 64 * 36
    plain = goturn((256,))
    assert (plain.fc_inputs, plain.part_width) == (2 * 9216, 256)
    assert goturn((8,), match=True).fc_inputs == 2 * 9216 + 36 * 36


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_of_no_pairs_there_is_no_match(device):
    ops, none = get_ops(device), np.zeros((0, 12), np.float32)
    matched = ops.match(none, none, cells=4, scale=1.0)
    assert matched.shape == (0, 16)
    gradients = ops.match_backward(matched, none, none, cells=4, scale=1.0)
    assert [each.shape for each in gradients] == [(0, 12), (0, 12)]


def test_weights_at_the_start_suit_their_inputs():
    weights = random_weights(goturn((64, 32), reduce=64, match=True), 0)
    spread = {name: float(value.std()) for name, value in weights.parameters.items()}
    assert spread["conv1/weight"] == pytest.approx(0.01, rel=0.02)
    # A twentieth of He's: pool5's values are about twenty times as large as fc layers like.
    assert spread["conv6/weight"] == pytest.approx(math.sqrt(1 / (3 * 256)) / 20, rel=0.02)
    assert spread["fc6/weight"] == pytest.approx(math.sqrt(1 / (3 * 5904)), rel=0.02)
    assert spread["fc7/weight"] == pytest.approx(math.sqrt(1 / (3 * 64)), rel=0.05)
    assert not weights.parameters["fc6/bias"].any()


def test_the_paper_s_network_is_described_as_it_was():
    text = goturn().to_json()
    assert set(json.loads(text)) == {"tower", "head", "preprocessing", "shared_towers"}
    assert "init_std" not in json.loads(text)["tower"][0]


def test_description_and_back():
    for architecture in (MATCHED, goturn((8,), reduce=8, match=True), tiny(match=True)):
        again = Architecture.from_json(architecture.to_json())
        assert again == architecture
    described = json.loads(goturn((8,), reduce=8, match=True).to_json())
    assert described["match"] == {"name": "match", "scale": 10.0}
    assert described["tower"][-1]["init_std"] == pytest.approx(0.05 * math.sqrt(1 / (3 * 256)))
    one, other = (replace(MATCHED, match=Match(scale=scale)) for scale in (3, 3.0))
    assert one.to_json() == other.to_json()


@pytest.mark.parametrize(
    ("match", "message"),
    [
        (Match(name="conv1"), "layer names must differ"),
        (Match(name="a b"), "is not a short identifier"),
        (Match(scale=0.0), "match.scale has an impossible value: 0.0"),
        (Match(scale=math.nan), "match.scale has an impossible value: nan"),
        (True, "match must be a Match, or None"),
    ],
)
def test_refuses(match, message):
    with pytest.raises(ValueError, match=message):
        replace(MATCHED, match=match)


def test_refuses_more_cells_than_are_of_use():
    tower = (Conv("conv1", 1, kernel=1),)
    large = Preprocessing(input_size=17)
    with pytest.raises(ValueError, match="a match of 289 cells with as many exceeds the limit"):
        Architecture(tower, MATCHED.head, large, match=Match())


@pytest.mark.parametrize("match", ["null", "[]", '{"scale": "1"}', '{"factor": 1}', '{"name": 1}'])
def test_refuses_descriptions(match):
    text = tiny().to_json()[:-1] + f', "match": {match}}}'
    with pytest.raises(ValueError, match="not a description of a network"):
        Architecture.from_json(text)


# -- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_steps_give_what_forward_gives(device, shared):
    network = Network(lively(tiny(reduce=4, match=True, shared_towers=shared)), device)
    targets, searches = crops(3, 35, 1), crops(3, 35, 2)
    part = network.project_target(network.encode_target(targets))
    assert part.shape == (3, 16 + FEATURES)
    stepwise = network.regress(part, network.encode_search(searches))
    forward = network.forward(targets, searches)
    np.testing.assert_allclose(stepwise, forward.units, rtol=2e-5, atol=2e-5)
    # By hand: the match has the last columns.
    a, b = network.encode_target(targets), network.encode_search(searches)
    matched = ReferenceOps().match(a, b, cells=CELLS, scale=10.0)
    assert np.abs(matched).max() > 1
    x = np.concatenate([a, b, matched], axis=1)
    parameters = network.parameters
    for name in ("fc6", "fc7", "fc8"):
        x = x @ parameters[f"{name}/weight"].T + parameters[f"{name}/bias"]
        x = x if name == "fc8" else np.maximum(x, 0)
    np.testing.assert_allclose(stepwise, x, rtol=1e-4, atol=1e-4)
    named = network.activations(targets, searches)
    np.testing.assert_allclose(named["match"], matched, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learn", ["all", "conv2", "conv6"])
@pytest.mark.parametrize(("shared", "owners"), [(True, (0, 1, 1)), (False, None)])
def test_gradients_of_every_parameter_that_learns(shared, owners, learn):
    """Central differences in float64 along random directions, one for each tensor."""
    architecture = tiny(reduce=4, match=True, shared_towers=shared)
    network = Network(lively(architecture, 4), "reference", dtype=np.float64)
    searches = crops(3, 35, 2, np.float64)
    targets = crops(3 if owners is None else 2, 35, 1, np.float64)
    how = {"owners": None if owners is None else np.array(owners), "learn": learn}
    label = np.random.default_rng(6).uniform(1, 9, (3, 4))

    def loss():
        units = network.forward(targets, searches, **how).units
        return network.ops.l2_loss(units, label)[0]

    forward = network.forward(targets, searches, **how)
    _, d_units = network.ops.l2_loss(forward.units, label)
    gradients = network.backward(forward, d_units)
    learning = architecture.learning_layers(learn)
    assert {name.split("/")[0] for name in gradients} == learning
    assert len(learning) < len(architecture.parameter_shapes()) / 2 or learn == "all"

    rng = np.random.default_rng(5)
    for name, gradient in gradients.items():
        parameter = network.parameters[name]
        direction = rng.normal(size=parameter.shape)
        step, before = 1e-7, parameter.copy()
        parameter += step * direction
        above = loss()
        parameter[...] = before - step * direction
        below = loss()
        parameter[...] = before
        expected = (above - below) / (2 * step)
        assert np.vdot(gradient, direction) == pytest.approx(expected, rel=2e-5, abs=1e-5), name


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_reduced_precisions_are_those_of_all_columns(device, precision):
    """As with weights that are such numbers, in single precision."""
    weights = lively(MATCHED)
    rounded = dict(weights.parameters)
    for name in ("fc6/weight", "fc7/weight"):
        found = ReferenceOps().compress(rounded[name], precision)
        if found.scale is None:
            rounded[name] = (found.values.astype(np.uint32) << 16).view(np.float32)
        else:
            rounded[name] = found.values * found.scale[:, np.newaxis]
    exact, reduced = Network(weights, device), Network(weights, device, precision=precision)
    features = exact.encode_target(crops(2, 35, 1)), exact.encode_search(crops(2, 35, 2))
    want, got, far = (
        each.regress(each.project_target(features[0]), features[1])
        for each in (Network(Weights(MATCHED, rounded), device), reduced, exact)
    )
    # The CPU's int8 rounds activations, too, though to 16 bits.
    tolerance = 1e-3 if (device, precision) == ("cpu", "int8") else 1e-4
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    assert np.abs(far - want).max() > 1e-3


def test_likeness_is_of_the_first_layers_half_alone():
    network = Network(lively(MATCHED), "cpu")
    pipeline = PlainPipeline(network)
    height, width = FRAMES[0].shape[:2]
    pipeline.add(FRAMES[0], search_window(Box(*START), width, height))
    crop = network.ops.crop_resize(
        FRAMES[0], [search_window(Box(*START), width, height)], size=35, mean=(104.0, 117.0, 123.0)
    )
    weight, bias = network.parameters["fc6/weight"], network.parameters["fc6/bias"]
    want = network.encode_target(crop) @ weight[:, :FEATURES].T + bias
    assert pipeline.target_parts().shape == (1, 16)
    np.testing.assert_allclose(pipeline.target_parts(), want, rtol=1e-4, atol=1e-2)


def still() -> Weights:
    """Weights whose answer is near the middle of the search window."""
    weights = lively(MATCHED)
    weights.parameters["fc8/weight"] *= np.float32(1e-3)
    weights.parameters["fc8/bias"][:] = [2.5, 2.5, 7.5, 7.5]
    return weights


@pytest.mark.parametrize("ahead", [False, True])
def test_tracking(ahead):
    boxes = {}
    for device in ("cpu", "reference"):
        tracker = Tracker(Network(still(), device), ahead=ahead)
        tracker.init(FRAMES[0], START)
        boxes[device] = [tracker.update(frame) for frame in FRAMES[1:]]
    np.testing.assert_allclose(boxes["cpu"], boxes["reference"], atol=1e-2)
    many = MultiTracker(Network(still(), "cpu"))
    names = [many.add(FRAMES[0], START) for _ in range(2)]
    for frame, box in zip(FRAMES[1:], boxes["cpu"], strict=True):
        found = many.update(frame)
        for name in names:
            np.testing.assert_allclose(found[name], box, atol=1e-3)


@pytest.mark.parametrize("backend", ["cuda", "cuda-emulated"])
@pytest.mark.parametrize("scale", [10.0, 22.7])
def test_a_gpu_s_pipeline(backend, scale):
    """Its graphs keep a target's features too, whatever is added and removed."""
    ops = load_backend(backend)
    weights = Weights(tiny(reduce=4, match=True, output_scale=scale), lively(MATCHED).parameters)
    height, width = FRAMES[0].shape[:2]
    windows = [
        search_window(Box(x, 30.0, 30.0, 24.0), width, height) for x in (20.0, 60.0, 90.0, 110.0)
    ]
    own, plain = (pipeline_of(Network(weights, each)) for each in (ops, "cpu"))
    assert type(own) is not type(plain)
    for pipeline in (own, plain):
        for window in windows:
            pipeline.add(FRAMES[0], window)
        pipeline.remove(1)
    for frame in FRAMES[1:4]:
        found = [each.search(frame, windows[:3]) for each in (own, plain)]
        np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-3 * np.abs(found[1]).max())
        parts = [each.target_parts() for each in (own, plain)]
        assert parts[0].shape == (3, 16)
        np.testing.assert_allclose(*parts, rtol=1e-3, atol=1e-3 * np.abs(parts[1]).max())
        for pipeline in (own, plain):
            pipeline.retarget(frame, windows[1:], range(3))


@pytest.mark.parametrize("backend", ["cuda", "cuda-emulated"])
@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16", "int8"])
def test_a_gpu_s_pipeline_in_fewer_bits(backend, precision):
    """Not far from single precision, over the numbers of all columns."""
    ops = load_backend(backend)
    if precision not in ops.precisions:
        pytest.skip(f"no {precision} on {ops.name}")
    height, width = FRAMES[0].shape[:2]
    window = search_window(Box(60.0, 30.0, 30.0, 24.0), width, height)
    units = []
    for network in (
        Network(lively(MATCHED), ops, precision=precision),
        Network(lively(MATCHED), "cpu"),
    ):
        pipeline = pipeline_of(network)
        pipeline.add(FRAMES[0], window)
        units.append(pipeline.search(FRAMES[1], [window]))
    error = np.abs(units[0] - units[1]).max() / np.abs(units[1]).max()
    assert 0 < error < 0.05


@pytest.mark.parametrize("backend", ["cuda", "cuda-emulated"])
def test_training_on_a_gpu_goes_step_by_step(backend):
    """Its own step declines a match and a part of the towers; the plain one gives what the CPU's does."""
    networks = [Network(still(), each) for each in (load_backend(backend), "cpu")]
    labels = np.full((3, 4), 5, np.float32)
    rates = {name: Rates(1e-4) for name in networks[1].parameters if name[:5] != "conv1"}
    losses = []
    for network in networks:
        step = training_step(network, learn="conv2")
        assert isinstance(step, PlainStep)
        assert isinstance(training_step(network, learn="all"), PlainStep)
        put = network.ops.from_numpy
        given = Batch(put(crops(2, 35, 1)), put(crops(3, 35, 2)), np.array([0, 1, 1]), labels)
        losses.append([step.run(given, rates, dropout_key=None) for _ in range(2)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name, value in networks[1].parameters.items():
        found = networks[0].ops.to_numpy(networks[0].parameters[name])
        np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-4, err_msg=name)


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_files(tmp_path, precision):
    weights = random_weights(goturn((8,), reduce=8, match=True), 1)
    save(weights, tmp_path / "w.h5", precision=precision, compress=True)
    again = load(tmp_path / "w.h5")
    assert again.architecture == weights.architecture
    if precision == "fp32":
        assert again.digest == weights.digest
    with pytest.raises(WeightsError, match="its match differ from the architecture given"):
        load(tmp_path / "w.h5", replace(weights.architecture, match=Match(scale=1.0)))
    save(again, tmp_path / "again.h5")
    assert load(tmp_path / "again.h5").digest == again.digest


def test_caffe_has_no_match(tmp_path):
    with pytest.raises(WeightsError, match="Caffe has no layer for the match"):
        save_caffemodel(lively(MATCHED), tmp_path / "w.caffemodel")
    assert not list(tmp_path.iterdir())
    # Without one, a further convolution is as any other.
    weights = lively(tiny(reduce=4))
    save_caffemodel(weights, tmp_path / "w.caffemodel")
    assert load(tmp_path / "w.caffemodel").digest == weights.digest


def test_info_tells_of_it(tmp_path, capsys):
    save(lively(MATCHED), tmp_path / "w.h5")
    save(lively(tiny()), tmp_path / "plain.h5")
    assert main(["info", "--weights", str(tmp_path / "w.h5")]) == 0
    told = "fc layers    fc6 16, fc7 16, fc8 4; the first reads a match of target and search too"
    assert told in capsys.readouterr().out
    assert main(["info", "--weights", str(tmp_path / "plain.h5")]) == 0
    assert "fc layers    fc6 16, fc7 16, fc8 4\n" in capsys.readouterr().out


def test_weights_that_do_not_fit(tmp_path):
    with pytest.raises(WeightsError, match="fc6/weight has shape"):
        Weights(tiny(reduce=4), lively(MATCHED).parameters)
