"""What a tracker keeps of its target: the boxes that a policy means, and where the policy comes from."""

from __future__ import annotations

import csv
import functools
import itertools
from collections.abc import Sequence
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest

import goturn
from goturn.architecture import Architecture
from goturn.box import Box, search_window, unscale
from goturn.cli import main
from goturn.confidence import DEFAULT
from goturn.evaluation.trackers import build, parse_tracker
from goturn.network import Network
from goturn.ops import Array, get_ops
from goturn.pipeline import PlainPipeline
from goturn.target_policy import MAX_EVERY, PAPER, TargetPolicy
from goturn.weights import Weights, WeightsError, load, random_weights, save
from networks import tiny
from test_network import lively
from test_tracker import START, attentive

FRAMES = list(np.random.default_rng(7).integers(0, 256, (9, 120, 160, 3), np.uint8))
HEIGHT, WIDTH = FRAMES[0].shape[:2]

POLICIES = {
    "the papers": PAPER,
    "a mean": TargetPolicy(start=0.3),
    "seldom": TargetPolicy(every=3),
    "a mean, seldom": TargetPolicy(start=0.75, every=2),
    "the start alone": TargetPolicy(start=1.0, every=4),
    "half, once": TargetPolicy(start=0.5, every=5),
}
NETWORKS = {"plain": tiny(), "with a match": tiny(reduce=4, match=True)}


def watchful(architecture: Architecture) -> Weights:
    """Answers near the middle of the window that depend on what the crops show."""
    weights = lively(architecture)
    weights.parameters["fc8/weight"][:] *= 5e-4
    weights.parameters["fc8/bias"][:] = [2.5, 2.5, 7.5, 7.5]
    return weights


@pytest.fixture(params=["reference", "cpu"])
def device(request) -> str:
    return request.param


def stated(
    network: Network, policy: TargetPolicy, frames: Sequence[np.ndarray], box: Box
) -> tuple[list[Box], list[Array]]:
    """The boxes in ``frames`` after the first, and the half of the latest target after each.

    In the network's own four steps, crops made on another device.
    """
    other = get_ops("cpu" if network.ops.name == "reference" else "reference")

    def crop(frame: np.ndarray, around: Box) -> np.ndarray:
        window = search_window(around, WIDTH, HEIGHT)
        assert window.edge_x == window.edge_y == 0  # the object stays clear of the borders
        mean = (104.0, 117.0, 123.0)
        return other.crop_resize(frame, [window], size=35, mean=mean)

    def half(frame: np.ndarray, around: Box) -> Array:
        return network.project_target(network.encode_target(crop(frame, around)))

    first = latest = half(frames[0], box)
    boxes, halves = [], []
    for age, frame in enumerate(frames[1:], 1):
        window = search_window(box, WIDTH, HEIGHT)
        seen = network.encode_search(crop(frame, box))
        to_latest, to_first = (network.regress(part, seen)[0] for part in (latest, first))
        units = (1 - policy.start) * to_latest + policy.start * to_first
        found = unscale(units, window)
        box = Box(found.x + window.x, found.y + window.y, found.w, found.h)
        if age % policy.every == 0:
            latest = half(frame, box)
        boxes.append(box)
        halves.append(latest)
    return boxes, halves


def tracked(tracker: goturn.Tracker, frames: Sequence[np.ndarray] = FRAMES) -> list[Box]:
    tracker.init(frames[0], START)
    return [tracker.update(frame) for frame in frames[1:]]


# -- what a policy means -------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", NETWORKS)
@pytest.mark.parametrize("name", POLICIES)
def test_boxes_are_what_the_policy_says(device, name, architecture):
    network = Network(watchful(NETWORKS[architecture]), device)
    found = tracked(goturn.Tracker(network, target_policy=POLICIES[name]))
    boxes, _ = stated(network, POLICIES[name], FRAMES, Box(*START))
    np.testing.assert_allclose(found, boxes, atol=1e-3)


def test_each_policy_gives_boxes_of_its_own():
    """So that the numbers matter above: by far more than roundings."""
    network = Network(attentive(), "cpu")
    ways = [tracked(goturn.Tracker(network, target_policy=each)) for each in POLICIES.values()]
    for one, other in itertools.combinations(ways, 2):
        assert np.abs(np.subtract(one, other)).max() > 0.02


def test_a_target_is_taken_when_it_is_due(device, monkeypatch):
    """Its tower has nothing to do in other frames; the search's goes once for both answers."""
    network = Network(attentive(), device)
    calls: list[tuple[str, int]] = []
    for step in ("encode_target", "project_target", "encode_search", "regress"):
        monkeypatch.setattr(network, step, noting(calls, step, getattr(network, step)))
    tracker = goturn.Tracker(network, target_policy=TargetPolicy(0.5, 3))
    tracker.init(FRAMES[0], START)
    seen = []
    for frame in FRAMES[1:8]:
        tracker.update(frame)
        seen.append(sorted(calls))
        calls.clear()
    searched = [("encode_search", 1), ("regress", 2)]
    taken = [("encode_search", 1), ("encode_target", 1), ("project_target", 1), ("regress", 2)]
    # That of frame 3 is computed for frame 4, when it is asked for.
    assert seen == [taken, searched, searched, taken, searched, searched, taken]


def noting(calls, step, function):
    @functools.wraps(function)
    def call(*arguments):
        calls.append((step, len(arguments[0])))
        return function(*arguments)

    return call


def test_the_papers_way_is_what_there_is_without_one(device):
    network = Network(attentive(), device)
    assert goturn.Tracker(network).target_policy == PAPER == TargetPolicy(0.0, 1)
    assert tracked(goturn.Tracker(network)) == tracked(goturn.Tracker(network, target_policy=PAPER))


def test_of_the_start_alone_nothing_else_counts(device):
    """To the bit, whatever the latest target is, and however old."""
    network = Network(attentive(), device)
    ways = [
        tracked(goturn.Tracker(network, target_policy=TargetPolicy(1.0, every)))
        for every in (1, 2, MAX_EVERY)
    ]
    assert ways[0] == ways[1] == ways[2]
    pipeline = PlainPipeline(network, start=1.0)
    window = search_window(Box(*START), WIDTH, HEIGHT)
    pipeline.add(FRAMES[0], window)
    units = pipeline.search(FRAMES[1], [window])
    pipeline.retarget(FRAMES[5], [window], [0])
    assert np.array_equal(pipeline.search(FRAMES[1], [window]), units)


def test_init_begins_the_count_and_the_start_anew(device):
    """In the middle of the frames between two targets, too."""
    network, policy = Network(attentive(), device), TargetPolicy(0.5, 3)
    tracker, other = (goturn.Tracker(network, target_policy=policy) for _ in range(2))
    tracked(tracker, FRAMES[:6])
    assert tracked(tracker, FRAMES[1:]) == tracked(other, FRAMES[1:])


# -- many objects --------------------------------------------------------------------------------

#: Box, the frame that it is added with, and that behind which it is removed.
OBJECTS = [
    ((60.0, 40.0, 30.0, 24.0), 0, 8),
    ((70.0, 50.0, 24.0, 30.0), 0, 3),
    ((50.0, 44.0, 28.0, 20.0), 1, 8),
    ((64.0, 36.0, 20.0, 26.0), 2, 6),
    ((56.0, 52.0, 26.0, 22.0), 4, 8),
]


def many_tracked(
    network: Network, policy: TargetPolicy, *, ahead: bool = False
) -> list[list[tuple[Box, float]]]:
    """Of each of OBJECTS, boxes and likenesses while it is there."""
    tracker = goturn.MultiTracker(network, target_policy=policy, ahead=ahead)
    keys: dict[int, int] = {}
    found: list[list[tuple[Box, float]]] = [[] for _ in OBJECTS]
    for now, frame in enumerate(FRAMES):
        boxes = tracker.update(frame)
        likenesses = tracker.likenesses
        assert boxes.keys() == likenesses.keys() == set(keys.values())
        for index, key in keys.items():
            found[index].append((boxes[key], likenesses[key]))
        for index, (box, added, removed) in enumerate(OBJECTS):
            if added == now:
                keys[index] = tracker.add(frame, box)
            if removed == now:
                tracker.remove(keys.pop(index))
    assert len(tracker) == 0
    return found


@pytest.mark.parametrize("name", ["seldom", "a mean, seldom"])
def test_objects_that_come_and_go(device, name):
    """Each has the boxes of a tracker of its own, and counts from its own start."""
    network, policy = Network(attentive(), device), POLICIES[name]
    found = many_tracked(network, policy)
    for (box, added, removed), its in zip(OBJECTS, found, strict=True):
        single = goturn.Tracker(network, target_policy=policy)
        single.init(FRAMES[added], box)
        assert len(its) == removed - added
        for frame, (where, alike) in zip(FRAMES[added + 1 : removed + 1], its, strict=True):
            assert where == pytest.approx(single.update(frame), abs=1e-2)
            assert alike == pytest.approx(single.likeness, abs=1e-4)
    assert many_tracked(network, policy, ahead=True) == found  # the same bits


def test_ahead_is_the_same_without_anybody_asking_between(device):
    network, policy = Network(attentive(), device), TargetPolicy(0.4, 2)
    plain, ahead = (
        tracked(goturn.Tracker(network, target_policy=policy, ahead=each)) for each in (False, True)
    )
    assert plain == ahead


# -- confidence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", NETWORKS)
def test_confidence_is_that_of_the_last_target_taken(device, architecture):
    network = Network(watchful(NETWORKS[architecture]), device)
    policy = TargetPolicy(0.25, 3)
    tracker = goturn.Tracker(network, target_policy=policy)
    tracker.init(FRAMES[0], START)
    likenesses = [tracker.likeness]
    confidences = [tracker.confidence]
    for frame in FRAMES[1:]:
        tracker.update(frame)
        likenesses.append(tracker.likeness)
        confidences.append(tracker.confidence)
    assert likenesses[:3] == pytest.approx([1.0] * 3)
    for first in (3, 6):
        assert likenesses[first] == likenesses[first + 1] == likenesses[first + 2]
    assert len(set(likenesses)) == 3
    _, halves = stated(network, policy, FRAMES, Box(*START))
    start, *later = (np.float64(each[0, :16]) for each in [halves[0], *halves])  # fc6's width
    expected = [now @ start / np.sqrt((now @ now) * (start @ start)) for now in later]
    assert likenesses[1:] == pytest.approx(expected, abs=1e-4)
    assert confidences == [DEFAULT.confidence(each) for each in likenesses]


# -- where it comes from -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "error", "text"),
    [
        (TargetPolicy(-0.1), ValueError, r"a share of the start in 0..1 .* got -0.1 and 1$"),
        (TargetPolicy(1.01), ValueError, "got 1.01 and 1$"),
        (TargetPolicy(float("nan")), ValueError, "got nan and 1$"),
        (TargetPolicy("0.5"), ValueError, "got '0.5' and 1$"),
        (TargetPolicy(None), ValueError, "got None and 1$"),
        (TargetPolicy(0.5, 0), ValueError, "got 0.5 and 0$"),
        (TargetPolicy(0.5, -1), ValueError, "got 0.5 and -1$"),
        (TargetPolicy(0.5, 1.5), ValueError, "got 0.5 and 1.5$"),
        (TargetPolicy(0.5, float("inf")), ValueError, "got 0.5 and inf$"),
        (TargetPolicy(0.5, MAX_EVERY + 1), ValueError, "frames in 1..1000; got 0.5 and 1001$"),
        ((0.5, 1, 2), TypeError, r"must be a TargetPolicy, or .*; got \(0.5, 1, 2\)$"),
        ((0.5,), TypeError, r"must be a TargetPolicy, or .*; got \(0.5,\)$"),
        (0.5, TypeError, r"must be a TargetPolicy, or .*; got 0.5$"),
    ],
)
def test_what_is_no_policy(policy, error, text):
    """In one sentence, to a tracker and to weights."""
    for take in (
        lambda: goturn.Tracker(attentive(), device="cpu", target_policy=policy),
        lambda: replace(attentive(), target_policy=policy),
    ):
        with pytest.raises(error, match=text) as caught:
            take()
        assert "\n" not in str(caught.value)


def test_numbers_of_other_types_are_taken():
    assert TargetPolicy(np.float32(0.5), np.int64(3)).checked() == (0.5, 3)
    assert [type(each) for each in TargetPolicy(1, 2.0).checked()] == [float, int]
    tracker = goturn.MultiTracker(attentive(), device="cpu", target_policy=(0.5, 3))
    assert tracker.target_policy == TargetPolicy(0.5, 3)


def test_a_trackers_policy_is_the_one_that_it_was_made_with():
    """Half of it is in the pipeline by then: what cannot be changed says so."""
    network = Network(replace(attentive(), target_policy=TargetPolicy(0.5, 3)), "cpu")
    for tracker in (goturn.Tracker(network), goturn.MultiTracker(network)):
        with pytest.raises(AttributeError):
            tracker.target_policy = PAPER
        assert tracker.target_policy == TargetPolicy(0.5, 3)


class TestFiles:
    policy = TargetPolicy(0.3456789, 7)

    @pytest.fixture
    def weights(self) -> Weights:
        return random_weights(tiny(), 5)

    @pytest.fixture
    def file(self, tmp_path, weights):
        save(replace(weights, target_policy=self.policy), tmp_path / "p.h5")
        return tmp_path / "p.h5"

    def test_it_is_kept(self, tmp_path, file, weights):
        found = load(file)
        assert found.target_policy == self.policy
        assert type(found.target_policy.every) is int
        assert found.digest == weights.digest  # the network is the same
        save(weights, tmp_path / "plain.h5")
        assert load(tmp_path / "plain.h5").target_policy is None
        for precision in ("fp16", "int8"):
            save(found, tmp_path / "less.h5", precision=precision)
            assert load(tmp_path / "less.h5").target_policy == self.policy

    def test_a_file_without_one_is_as_it_always_was(self, tmp_path, weights):
        save(weights, tmp_path / "plain.h5")
        with h5py.File(tmp_path / "plain.h5") as opened:
            assert "target_policy" not in opened.attrs

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            ((0.3456789, 8), "calibration or target_policy does not match the file_digest"),
            ((0.3456788, 7), "calibration or target_policy does not match the file_digest"),
            ((0.3456789, 7.5), "attribute target_policy: a target policy must be"),
            ((1.5, 7), "attribute target_policy: a target policy must be"),
            ((np.nan, 7), "attribute target_policy: a target policy must be"),
            ((0.5, 1e300), "attribute target_policy: a target policy must be"),
            ((0.5, np.inf), "attribute target_policy: a target policy must be"),
            (0.5, "attribute target_policy is not two numbers"),
            ((0.5, 7, 1), "attribute target_policy is not two numbers"),
            ("the papers", "target_policy of / is not a number or a short list"),
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

    def test_one_that_was_added_is_noticed(self, tmp_path, weights):
        save(weights, tmp_path / "plain.h5")
        with h5py.File(tmp_path / "plain.h5", "r+") as opened:
            opened.attrs["target_policy"] = (0.5, 2.0)
        with pytest.raises(WeightsError, match="does not match the file_digest"):
            load(tmp_path / "plain.h5")


def test_a_tracker_asks_the_weights_unless_it_is_told(device, tmp_path):
    own, told = TargetPolicy(0.3), TargetPolicy(0.75, 2)
    save(replace(attentive(), target_policy=own), tmp_path / "w.h5")
    by_itself = goturn.Tracker(tmp_path / "w.h5", device=device)
    overruled = goturn.Tracker(tmp_path / "w.h5", device=device, target_policy=told)
    papers = goturn.Tracker(by_itself.network, target_policy=PAPER)
    plain = Network(attentive(), device)
    assert tracked(by_itself) == tracked(goturn.Tracker(plain, target_policy=own))
    assert tracked(overruled) == tracked(goturn.Tracker(plain, target_policy=told))
    assert tracked(papers) == tracked(goturn.Tracker(plain))


@pytest.mark.parametrize("command", ["track", "demo"])
@pytest.mark.parametrize(
    ("option", "policy"),
    [([], (0.3, 2)), (["--target", "paper"], PAPER), (["--target", "0.75,4"], (0.75, 4))],
)
def test_the_command_line_asks_for_one(tmp_path, monkeypatch, command, option, policy):
    """Or for the weights' own; and what is tracked with it is what is written."""
    monkeypatch.chdir(tmp_path)
    save(replace(attentive(), target_policy=TargetPolicy(0.3, 2)), tmp_path / "w.h5")
    made: list[goturn.MultiTracker] = []

    def noted(*arguments, **options):
        made.append(goturn.MultiTracker(*arguments, **options))
        return made[-1]

    monkeypatch.setattr("goturn.tracker.MultiTracker", noted)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(FRAMES):
        assert cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), frame)
    how = ["--weights", str(tmp_path / "w.h5"), "--device", "cpu", *option]
    source = [str(tmp_path / "frames"), "--box", ",".join(map(str, START))]
    own = {"track": [*source, "--csv", str(tmp_path / "b.csv")], "demo": ["--frames", "2"]}[command]
    assert main([command, *own, *how]) == 0
    (tracker,) = made
    assert tracker.target_policy == TargetPolicy(*policy)
    if command == "track":
        single = goturn.Tracker(tracker.network, target_policy=TargetPolicy(*policy))
        with open(tmp_path / "b.csv", newline="") as file:
            last = [float(value) for value in list(csv.reader(file))[-1][2:6]]
        assert last == pytest.approx(tracked(single)[-1], abs=1e-2)


def test_results_under_another_policy_are_other_results(tmp_path):
    """What an evaluation keeps results by: the weights' digest alone would take one for the other."""
    prints = []
    for number, policy in enumerate((None, PAPER, TargetPolicy(0.5))):
        path = tmp_path / f"{number}.h5"
        save(replace(attentive(), target_policy=policy), path)
        prints.append(build(parse_tracker(f"{path},device=cpu")).fingerprint)
    assert prints[0] == prints[1] != prints[2]
    assert prints[0]["weights"] == prints[2]["weights"]
