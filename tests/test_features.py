"""Features kept on disk: the same as computed anew, to half precision, and resumable."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from goturn.data import open_dataset
from goturn.data.images import FrameReader
from goturn.network import Network
from goturn.training import supply
from goturn.training.examples import Examples, crop
from goturn.training.features import FeatureCache, towers_digest
from goturn.training.motion import MotionModel
from goturn.training.run_folder import locked
from goturn.training.sources import open_sources
from goturn.weights import random_weights
from networks import tiny
from training_data import make_photographs, small_run

PER_ITEM = 4
FEATURES = tiny().features


@pytest.fixture
def network():
    return Network(random_weights(tiny(), 0), "cpu")


@pytest.fixture
def examples(tmp_path):
    photographs = open_dataset(str(make_photographs(tmp_path / "images"))).photographs
    return Examples((), photographs, FrameReader(), MotionModel(), seed=0, drawn=PER_ITEM - 1)


def cache(folder, count=40, key="a") -> FeatureCache:
    return FeatureCache(folder, count=count, per_item=PER_ITEM, features=FEATURES, key={"key": key})


def test_features_are_those_of_the_towers(tmp_path, examples, network):
    kept = cache(tmp_path / "f", count=37)
    assert (kept.count, kept.items, kept.complete) == (40, 10, False)
    done = []
    kept.fill(examples, network, progress=done.append)
    assert kept.complete
    assert sum(done) == 40

    fresh = crop(examples.plan(0, 40), network.ops, network.architecture.preprocessing)
    searches = np.asarray(network.encode_search(fresh.searches))
    targets = np.asarray(network.encode_target(fresh.targets))[fresh.owners]
    batch = kept.batch(0, 40, seed=5)
    # Which is which: true examples of photographs share their label, but not their features.
    order = np.abs(batch.searches[:, np.newaxis] - searches).max(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(batch.labels, fresh.labels[order])
    np.testing.assert_allclose(batch.searches, searches[order], rtol=2**-10, atol=1e-6)
    np.testing.assert_allclose(batch.targets[batch.owners], targets[order], rtol=2**-10, atol=1e-6)
    assert len(batch.targets) == 10  # each once


def test_every_example_once_an_epoch(tmp_path, examples, network):
    kept = cache(tmp_path / "f")
    kept.fill(examples, network)
    rows = [kept.batch(step, 6, seed=1).labels for step in range(20)]
    rows = np.concatenate(rows)
    first, second = rows[:40], rows[40:80]
    assert sorted(first.tolist()) == sorted(second.tolist())
    assert not np.array_equal(first, second)
    assert len(np.unique(first, axis=0)) > 30
    # A function of its arguments: in any order, from any object.
    again = cache(tmp_path / "f")
    np.testing.assert_array_equal(again.batch(13, 6, seed=1).labels, rows[78:84])
    assert not np.array_equal(again.batch(0, 6, seed=2).labels, rows[:6])


def test_goes_on_where_it_was(tmp_path, examples, network):
    whole = cache(tmp_path / "whole")
    whole.fill(examples, network)
    part = cache(tmp_path / "part")
    part.fill(examples, network, stop=lambda: True)
    assert 0 < part.done < part.items
    rest = cache(tmp_path / "part")
    assert rest.done == part.done
    rest.fill(examples, network)
    for name in ("targets.f16", "searches.f16", "labels.f32"):
        assert (rest.folder / name).read_bytes() == (whole.folder / name).read_bytes()


@pytest.mark.parametrize("change", ["garbage", "file", "short"])
def test_damaged_features_are_computed_anew(tmp_path, examples, network, change):
    kept = cache(tmp_path / "f")
    kept.fill(examples, network)
    before = kept.batch(0, 40, seed=0).searches
    if change == "garbage":
        (kept.folder / "features.json").write_text(json.dumps({"done": "all"}))
    elif change == "file":
        (kept.folder / "searches.f16").unlink()
    else:
        (kept.folder / "labels.f32").write_bytes(b"")
    assert cache(tmp_path / "f").done == 0
    # And a crash now would not bring back what the state said.
    assert cache(tmp_path / "f").done == 0
    again = cache(tmp_path / "f")
    again.fill(examples, network)
    np.testing.assert_array_equal(again.batch(0, 40, seed=0).searches, before)


def test_runs_that_differ_keep_their_features_apart(tmp_path, examples, network):
    kept = cache(tmp_path / "f")
    kept.fill(examples, network)
    before = kept.batch(0, 40, seed=0).searches
    other = cache(tmp_path / "f", key="b")
    assert other.done == 0
    assert other.folder != kept.folder
    np.testing.assert_array_equal(cache(tmp_path / "f").batch(0, 40, seed=0).searches, before)


def test_settings_that_came_later_leave_kept_features_known(tmp_path, monkeypatch, network):
    """What the key was made of before there were targets of starts, and is where there are none."""

    class Seen:
        complete = True

        def __init__(self, folder, *, key, **sizes):
            keys.append(key)

    keys: list[dict] = []
    monkeypatch.setattr(supply, "FeatureCache", Seen)
    config = small_run(tmp_path)
    for settings in (config, replace(config, target="0.7,4"), replace(config, starts=0.5)):
        sources = open_sources(settings)
        made = supply.Supply(settings, sources, network, tell=print, stop=lambda: False, bars=False)
        made.keep_features(tmp_path, "towers")
    before = {
        "mirror": 0.0, "colour": 0.0, "blur": 0.0, "occluders": 0.0, "turn": 0.0, "regions": 0.0,
        "stills": 0.0, "gap": 1, "backwards": 0.0, "target_error": 0.0,
    }  # fmt: skip
    assert [key["variety"] for key in keys] == [before, before, before | {"starts": 0.5}]


def test_runs_of_different_lengths_share_features(tmp_path, examples, network):
    """The longer one computes what the shorter one has not, and neither changes the other's."""
    short = cache(tmp_path / "f", count=20)
    short.fill(examples, network)
    before = short.batch(0, 20, seed=0).searches
    longer = cache(tmp_path / "f", count=40)
    assert (longer.done, longer.items, longer.folder) == (5, 10, short.folder)
    done = []
    longer.fill(examples, network, progress=done.append)
    assert sum(done) == 20
    whole = cache(tmp_path / "whole", count=40)
    whole.fill(examples, network)
    for name in ("targets.f16", "searches.f16", "labels.f32"):
        assert (longer.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    again = cache(tmp_path / "f", count=20)
    assert again.complete
    np.testing.assert_array_equal(again.batch(0, 20, seed=0).searches, before)


def test_training_on_what_is_there_while_more_is_computed(tmp_path, examples, network):
    kept = cache(tmp_path / "f", count=20)
    kept.fill(examples, network)
    with locked(kept.folder, "another one is at it"):
        assert cache(tmp_path / "f", count=20).complete
        with pytest.raises(RuntimeError, match="another process is computing these features"):
            cache(tmp_path / "f", count=24)


def test_one_process_at_a_time(tmp_path, examples, network):
    kept = cache(tmp_path / "f")
    with locked(kept.folder, "busy"):
        with pytest.raises(RuntimeError, match="another process is computing these features"):
            kept.fill(examples, network)
        with pytest.raises(RuntimeError, match="another process is computing these features"):
            cache(tmp_path / "f")


def test_features_too_large_for_half_precision(tmp_path, examples, network):
    network.parameters["conv3/weight"] *= np.float32(1e9)
    network.compile()
    with pytest.raises(ValueError, match="cannot be kept in half precision"):
        cache(tmp_path / "f").fill(examples, network)


def test_digest_of_the_towers():
    weights = random_weights(tiny(), 0)
    assert towers_digest(weights) == towers_digest(random_weights(tiny(), 0))
    others = [random_weights(tiny(), 1), random_weights(tiny(mean=(1, 2, 3)), 0)]
    assert len({towers_digest(w) for w in [weights, *others]}) == 3
    changed = random_weights(tiny(), 0)
    changed.parameters["fc6/weight"][:] = 0
    assert towers_digest(changed) == towers_digest(weights)
