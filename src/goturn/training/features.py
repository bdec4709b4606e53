"""Features of frozen towers, computed once and kept, so that an iteration costs what learns only.

Towers are most of the work where their weights do not learn: an example's features are the same each
time it is used.  The first N examples of the seed (:mod:`goturn.training.examples`) go through the towers
once; training then goes through them in a new order each time.  What is lost is variety: an endless
sequence of examples becomes N.

Where the last layers of a tower learn, features are what the layers before them give.

Features are stored as half precision numbers, 18 KiB a crop for pool5, in files that are mapped into
memory.  Computing them can be interrupted and goes on where it was.  Examples are a sequence without end,
of which a cache has the first part: runs that want different numbers of them share one folder, and one
may train on what is there while another process computes more.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from goturn.architecture import Conv, TowerLayer
from goturn.network import Network
from goturn.training.examples import Examples, Plan, crop, crop_ahead
from goturn.training.loading import Batches
from goturn.training.run_folder import locked
from goturn.training.step import Batch
from goturn.weights import Weights
from goturn.weights.atomic import naming, replacing
from goturn.weights.model import tensor_digest

_STATE = "features.json"
_FORMAT = 2
_BUSY = "another process is computing these features; wait until it has"

_FILES = ("targets.f16", "searches.f16", "labels.f32")

#: Items whose crops go through the towers at once.
ITEMS_AT_ONCE = 4


def towers_digest(weights: Weights, learn: str = "fc") -> str:
    """SHA-256 of all that turns crops into features: layers, preprocessing, convolutions' weights.

    Of a tower's layers only those count that come before the first that learns, so that networks which
    differ behind it share their features.
    """
    architecture = weights.architecture
    frozen = architecture.tower[: architecture.frozen_layers(learn)]
    convs = {layer.name for layer in frozen if isinstance(layer, Conv)}
    convs |= {architecture.search_name(name) for name in convs}
    described = [asdict(architecture.preprocessing), [_described(each) for each in frozen]]
    digests = [
        (name, tensor_digest(value))
        for name, value in weights.parameters.items()
        if name.rpartition("/")[0] in convs
    ]
    return hashlib.sha256(json.dumps([described, digests]).encode()).hexdigest()


def _described(layer: TowerLayer) -> dict[str, Any]:
    """A layer's fields but for one, added later, that features do not depend on."""
    return {name: value for name, value in asdict(layer).items() if name != "init_std"}


def _dtype(name: str) -> np.dtype:
    """What a file has numbers of."""
    return np.dtype(np.float16 if name.endswith(".f16") else np.float32)


def _size(name: str, shape: tuple[int, int]) -> int:
    """Bytes of a file."""
    return shape[0] * shape[1] * _dtype(name).itemsize


class FeatureCache:
    """The features of the first ``count`` examples, on disk.

    Each key has a folder of its own, so that runs which differ do not get in each other's way.

    Args:
        folder: where the folders of all keys are; made if it is not there.
        count: examples; rounded up to whole items.
        per_item: examples of each item.
        features: numbers a crop becomes.
        key: what they depend on, as JSON takes it; features of another key are computed anew.

    Raises:
        OSError: the folder cannot be written, or has no room.
        RuntimeError: another process is computing them.
    """

    def __init__(
        self, folder: Path, *, count: int, per_item: int, features: int, key: dict[str, Any]
    ) -> None:
        self._per_item = per_item
        self._items = -(-count // per_item)
        self.count = self._items * per_item
        described = {"format": _FORMAT, "per_item": per_item, **key}
        self._key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        self._order: dict[int, np.ndarray] = {}
        self.folder = folder / self._key[:16]
        """Where these are."""
        self._sizes = (self._items, features), (self.count, features), (self.count, 4)
        self.done = self._read_done()
        """Items whose features are there."""
        if self.complete and all(map(self._is_large, _FILES, self._sizes)):
            self._open()  # others may be adding to it behind what is wanted here
            return
        with locked(self.folder, _BUSY):
            self.done = self._read_done()
            for name, shape in zip(_FILES, self._sizes, strict=True):
                self._make_room(name, shape)
            self._open()

    def _open(self) -> None:
        self._targets, self._searches, self._labels = (
            np.memmap(self.folder / name, _dtype(name), "r+", shape=shape)
            for name, shape in zip(_FILES, self._sizes, strict=True)
        )

    @property
    def complete(self) -> bool:
        """Whether all that are wanted are there."""
        return self.done >= self._items

    @property
    def items(self) -> int:
        """How many items there are to be."""
        return self._items

    def fill(
        self,
        examples: Examples,
        network: Network,
        learn: str = "fc",
        *,
        progress: Callable[[int], object] = lambda examples: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Computes what is missing.

        Args:
            examples: their source; plans are drawn here, a few items at a time.
            network: its towers.
            learn: what of it will be trained on them; features are what comes before that.
            progress: told how many more examples are done, now and then.
            stop: asked now and then; true ends this early.

        Raises:
            DataError, OSError: see :meth:`Examples.item`; no room on the disk.
            ValueError: a feature that half precision cannot hold.
            RuntimeError: another process is at it.
        """
        with locked(self.folder, _BUSY):
            self.done = self._read_done()  # as far as others have come since
            if self.complete:
                return
            self._fill(examples, network, learn, progress, stop)

    def _fill(
        self,
        examples: Examples,
        network: Network,
        learn: str,
        progress: Callable[[int], object],
        stop: Callable[[], bool],
    ) -> None:
        ops, preprocessing = network.ops, network.architecture.preprocessing

        def prepared(first: int) -> Plan | Batch:
            numbers = range(first, min(first + ITEMS_AT_ONCE, self._items))
            items = tuple(examples.item(number) for number in numbers)
            plan = Plan(items, (slice(0, self._per_item),) * len(items))
            return crop_ahead(plan, ops, preprocessing)

        steps = -(-(self._items - self.done) // ITEMS_AT_ONCE)
        begun = self.done
        with Batches(
            lambda step: prepared(begun + step * ITEMS_AT_ONCE), start=0, stop=steps
        ) as batches:
            for number in range(steps):
                first, made = self.done, batches.next()
                batch = crop(made, ops, preprocessing) if isinstance(made, Plan) else made
                last = first + len(batch.targets)
                targets = network.encode_frozen(batch.targets, "target", learn)
                self._put(self._targets, first, targets, network)
                at = first * self._per_item
                searches = network.encode_frozen(batch.searches, "search", learn)
                self._put(self._searches, at, searches, network)
                self._labels[at : at + len(batch.labels)] = batch.labels
                self.done = last
                progress(len(batch.labels))
                stopped = stop()
                if number % 64 == 63 or self.complete or stopped:
                    self._flush()
                if stopped:
                    return

    def batch(self, step: int, batch: int, seed: int) -> Batch:
        """The examples of iteration ``step``: all of them once, in random order, then again in another.

        A function of the arguments alone.
        """
        positions = np.arange(step * batch, (step + 1) * batch)
        index = np.empty(batch, np.int64)
        for epoch in np.unique(positions // self.count):
            within = positions // self.count == epoch
            index[within] = self._order_of(int(epoch), seed)[positions[within] % self.count]
        items, owners = np.unique(index // self._per_item, return_inverse=True)
        return Batch(
            np.asarray(self._targets[items], np.float32),
            np.asarray(self._searches[index], np.float32),
            owners.reshape(-1),
            np.array(self._labels[index]),
        )

    def _order_of(self, epoch: int, seed: int) -> np.ndarray:
        order = self._order.get(epoch)
        if order is None:
            key = np.array([seed, 2**63 + epoch], np.uint64)  # apart from those of items
            numbers = np.random.Generator(np.random.Philox(key=key)).random(self.count)
            order = np.argsort(numbers, kind="stable")
            self._order = {k: v for k, v in self._order.items() if k >= epoch - 1}
            self._order[epoch] = order
        return order

    def _put(self, into: np.ndarray, at: int, features: Any, network: Network) -> None:
        values = network.ops.to_numpy(features)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if not np.isfinite(halves).all():
            raise ValueError(
                f"features of {np.abs(values).max():g} cannot be kept in half precision; are the "
                "convolutions' weights those of a trained network?"
            )
        into[at : at + len(halves)] = halves

    def _is_large(self, name: str, shape: tuple[int, int]) -> bool:
        """Whether a file has room for what is wanted."""
        path = self.folder / name
        return path.is_file() and path.stat().st_size >= _size(name, shape)

    def _make_room(self, name: str, shape: tuple[int, int]) -> None:
        """Makes a file as large as it must be; what it has stays, if that is all there should be."""
        path = self.folder / name
        there = self.done * (shape[0] // self._items)
        if self.done and not self._is_large(name, (there, shape[1])):
            self.done = 0  # a crash from here on must not find features where there are none
            self._write_done(0)
        if not self._is_large(name, shape):
            with naming(path), path.open("ab") as file:
                # Room for all of it now: a mapped file that grows onto a full disk ends the process.
                os.posix_fallocate(file.fileno(), 0, _size(name, shape))

    def _flush(self) -> None:
        for mapped in (self._targets, self._searches, self._labels):
            mapped.flush()
        self._write_done(self.done)

    def _read_done(self) -> int:
        try:
            state = json.loads((self.folder / _STATE).read_text())
            if state["key"] == self._key and state["done"] >= 0:
                return int(state["done"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or damaged: begin anew
        return 0

    def _write_done(self, done: int) -> None:
        with replacing(self.folder / _STATE) as temporary:
            temporary.write_text(json.dumps({"key": self._key, "done": done}))
