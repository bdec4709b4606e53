"""How a tracker keeps its target: an independent statement, and what files and callers ask for."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

import goturn
from checks import load_backend
from goturn.box import Box, restore, search_window, uncenter, unscale
from goturn.network import Network
from goturn.ops.cuda_pipeline import ROOM
from goturn.target_policy import PAPER, TargetPolicy
from goturn.weights import Weights, WeightsError, load, random_weights, save
from networks import tiny
from test_tracker import FRAMES, START, attentive

RNG = np.random.default_rng(11)
VIDEO = [*FRAMES, *(RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(4))]
POLICIES = [PAPER, TargetPolicy(0.5, 3), TargetPolicy(1.0, 1), TargetPolicy(0.25, 2)]


def stated(network: Network, frames: list[np.ndarray], start: Box, policy: TargetPolicy) -> list:
    """The boxes, by the network's whole forward on crops made one by one."""

    def crop(frame: np.ndarray, box: Box) -> np.ndarray:
        p = network.architecture.preprocessing
        window = search_window(box, 160, 120, p.context_factor)
        return network.ops.crop_resize(frame, [window], size=p.input_size, mean=p.mean)

    box, boxes = start, []
    first = latest = crop(frames[0], start)
    for number, frame in enumerate(frames[1:], 1):
        search, window = crop(frame, box), search_window(box, 160, 120, 2.0)
        by_first, by_latest = (
            network.ops.to_numpy(network.forward(target, search).units)[0]
            for target in (first, latest)
        )
        units = policy.start * by_first + (1 - policy.start) * by_latest
        found = uncenter(unscale([float(value) for value in units], window), window, 160, 120)
        box = restore(found, 160, 120)
        boxes.append(box)
        if number % policy.every == 0:
            latest = crop(frame, box)
    return boxes


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda", "cuda-emulated"])
def test_boxes_are_those_of_the_statement(backend, ahead, policy):
    network = Network(attentive(), load_backend(backend))
    tracker = goturn.Tracker(network, ahead=ahead, target_policy=policy)
    tracker.init(VIDEO[0], START)
    found = [tracker.update(frame) for frame in VIDEO[1:]]
    np.testing.assert_allclose(found, stated(network, VIDEO, Box(*START), policy), atol=5e-3)


def test_policies_differ():
    """So that the test above tells them apart."""
    network = Network(attentive(), "cpu")
    tracks = [np.array(stated(network, VIDEO, Box(*START), policy)) for policy in POLICIES]
    for index, one in enumerate(tracks):
        for other in tracks[:index]:
            assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda", "cuda-emulated"])
def test_each_object_counts_its_own_frames(backend):
    """Objects that come at different frames, and go: each as in a tracker of its own."""
    network, policy = Network(attentive(), load_backend(backend)), TargetPolicy(0.5, 3)
    many = goturn.MultiTracker(network, target_policy=policy)
    singles: dict[int, goturn.Tracker] = {}
    for number, frame in enumerate(VIDEO):
        if number:
            boxes = many.update(frame)
            assert set(boxes) == set(singles)
            for key, single in singles.items():
                assert boxes[key] == pytest.approx(single.update(frame), abs=5e-3)
        for _ in range(ROOM if number == 4 else 1):  # more than there is room for at first
            box = (20 + 7 * number, 15 + 5 * number, 30, 24)
            key = many.add(frame, box)
            singles[key] = goturn.Tracker(network, target_policy=policy)
            singles[key].init(frame, box)
        if number in (3, 6):
            gone = sorted(singles)[1]
            many.remove(gone)
            del singles[gone]


def test_the_likeness_between_targets_is_that_of_the_last():
    tracker = goturn.Tracker(attentive(), device="cpu", target_policy=TargetPolicy(0.5, 3))
    tracker.init(VIDEO[0], START)
    seen = []
    for frame in VIDEO[1:]:
        tracker.update(frame)
        seen.append(tracker.likeness)
    assert seen[0] == seen[1] == pytest.approx(1, abs=1e-6)  # still the first
    assert seen[1] != seen[2] == seen[3] == seen[4] != seen[5]


@pytest.mark.parametrize(
    "policy", [(-0.1, 1), (1.1, 1), (float("nan"), 1), (0.5, 0), (0.5, 1.5), (0.5, 10**9), ("a", 1)]
)
def test_policies_that_are_none(policy):
    with pytest.raises(ValueError, match="a target policy must be a share of the start in"):
        goturn.Tracker(attentive(), device="cpu", target_policy=TargetPolicy(*policy))


class TestFiles:
    """The policy goes with the weights, and is no part of the network."""

    policy = TargetPolicy(0.25, 4)

    @pytest.fixture
    def weights(self) -> Weights:
        return random_weights(tiny(), 5)

    @pytest.fixture
    def file(self, tmp_path, weights):
        save(replace(weights, target_policy=self.policy), tmp_path / "p.h5")
        return tmp_path / "p.h5"

    def test_it_is_kept(self, file, weights):
        loaded = load(file)
        assert loaded.target_policy == self.policy
        assert isinstance(loaded.target_policy.every, int)
        assert loaded.digest == weights.digest
        assert goturn.MultiTracker(loaded, device="cpu").target_policy == self.policy
        assert goturn.MultiTracker(weights, device="cpu").target_policy == PAPER

    def test_the_caller_has_the_last_word(self, file):
        tracker = goturn.MultiTracker(file, device="cpu", target_policy=PAPER)
        assert tracker.target_policy == PAPER

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            ((0.5, 4.0), "target_policy does not match the file_digest"),
            ((0.25, 4.0, 1.0), "attribute target_policy is not two numbers"),
            ((2.0, 4.0), "attribute target_policy: a target policy must be a share"),
            ((np.nan, 4.0), "attribute target_policy: a target policy must be a share"),
            ("often", "target_policy of / is not a number or a short list"),
        ],
    )
    def test_another_one_is_noticed(self, file, value, says):
        with h5py.File(file, "r+") as opened:
            opened.attrs["target_policy"] = value
        with pytest.raises(WeightsError, match=says):
            load(file)

    def test_its_absence_is_noticed(self, file):
        with h5py.File(file, "r+") as opened:
            del opened.attrs["target_policy"]
        with pytest.raises(WeightsError, match="does not match the file_digest"):
            load(file)

    def test_one_that_is_none_is_refused(self, weights):
        with pytest.raises(WeightsError, match="a target policy must be"):
            replace(weights, target_policy=TargetPolicy(0.5, -1))
