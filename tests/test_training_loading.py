"""Batches made ahead by threads come in order, and errors where they belong."""

from __future__ import annotations

import threading
import time

import pytest

from goturn.training.loading import Batches


@pytest.mark.parametrize("workers", [1, 3])
def test_in_order(workers):
    def make(step: int) -> int:
        time.sleep(0.002 * (step % 3))
        return step

    with Batches(make, start=4, stop=24, workers=workers) as batches:
        assert [batches.next() for _ in range(20)] == list(range(4, 24))
        with pytest.raises(IndexError):
            batches.next()


def test_made_while_the_caller_works():
    made = []
    with Batches(made.append, start=0, stop=10, workers=1) as batches:
        batches.next()
        time.sleep(0.1)
        assert made == [0, 1]  # two ahead at most, and no more than that
        assert batches.waited < 0.1


def test_an_error_comes_with_its_batch():
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("bad batch")
        return step

    with Batches(make, start=0, stop=5) as batches:
        assert [batches.next(), batches.next()] == [0, 1]
        with pytest.raises(ValueError, match="bad batch"):
            batches.next()


def test_leaving_ends_the_threads():
    with Batches(lambda step: time.sleep(0.01), start=0, stop=100, workers=2) as batches:
        batches.next()
    assert not [t for t in threading.enumerate() if t.name.startswith("goturn-batches")]
