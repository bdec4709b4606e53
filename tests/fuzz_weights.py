"""Mutates small valid weights files and loads them: nothing but ValueError may come of it.

    PYTHONPATH=src:tests python tests/fuzz_weights.py --mutations 10000

Each format has its child process, with 3 GB of address space and a few seconds per file, so that a crash
or a hang is seen and named; a mutation is found again by format, seed and index, and the file is kept.
Wherever the file has digests, what loads must be what was saved.
"""

from __future__ import annotations

import argparse
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from caffe_files import caffe_layers, net, snapshot
from goturn.architecture import LRN, Architecture, Conv, MaxPool, Preprocessing, fc_head
from goturn.weights import Weights, load, random_weights, save, save_caffemodel

ADDRESS_SPACE = 3 << 30
SECONDS_PER_FILE = 5
#: What all loads of a child together may add to its peak memory; a file has some 10 kB.
MEMORY = 64 << 20

ARCHITECTURE = Architecture(
    tower=(
        Conv("conv1", 2, kernel=5, stride=3),
        MaxPool("pool1"),
        LRN("norm1"),
        Conv("conv2", 4, kernel=3, pad=1, groups=2),
        MaxPool("pool2"),
    ),
    head=fc_head([4, 3]),
    preprocessing=Preprocessing(input_size=67),
)

#: Numbers that parsers stumble over, as the bytes of a length or count field.
_NUMBERS = [0, 1, 127, 128, 255, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
_NUMBERS += [1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


def write_ours(weights: Weights, path: Path) -> None:
    save(weights, path)


def write_ours_compressed(weights: Weights, path: Path) -> None:
    # Small tensors are never compressed by save(): lower its threshold.
    from goturn.weights import store

    store._COMPRESS_BYTES = 64
    save(weights, path, precision="fp16", compress=True)


def write_ours_int8(weights: Weights, path: Path) -> None:
    from goturn.weights import store

    store._COMPRESS_BYTES = 64
    save(weights, path, precision="int8", compress=True)


def write_caffemodel(weights: Weights, path: Path) -> None:
    target = path.with_suffix(".caffemodel")
    save_caffemodel(weights, target)
    target.replace(path)


def write_caffemodel_v1(weights: Weights, path: Path) -> None:
    layers = caffe_layers(weights, "opencv")
    path.write_bytes(net(layers, v1=True, shape="legacy", data="unpacked"))


def write_snapshot(weights: Weights, path: Path) -> None:
    snapshot(path, caffe_layers(weights))


def write_snapshot_compressed(weights: Weights, path: Path) -> None:
    snapshot(path, caffe_layers(weights), "<f2", chunks=True, compression="gzip", shuffle=True)


FORMATS: dict[str, Callable[[Weights, Path], None]] = {
    "ours": write_ours,
    "ours-compressed": write_ours_compressed,
    "ours-int8": write_ours_int8,
    "caffemodel": write_caffemodel,
    "caffemodel-v1": write_caffemodel_v1,
    "snapshot": write_snapshot,
    "snapshot-compressed": write_snapshot_compressed,
}


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three random changes."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if not out:
            break
        # Half of all changes fall into the first 2 kB, where formats keep what matters most.
        size = min(len(out), 2048) if rng.random() < 0.5 else len(out)
        at = int(rng.integers(size))
        length = int(rng.integers(1, 65))
        kind = rng.integers(7)
        if kind == 0:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out[at] = int(rng.integers(256))
        elif kind == 2:
            del out[at if rng.random() < 0.5 else -length :]
        elif kind == 3:  # splice: a piece from elsewhere
            source = int(rng.integers(len(out)))
            out[at : at + length] = out[source : source + length]
        elif kind == 4:
            del out[at : at + length]
        elif kind == 5:
            out[at:at] = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
        else:  # a length or count of 1, 2, 4 or 8 bytes
            width = int(2 ** rng.integers(4))
            value = _NUMBERS[int(rng.integers(len(_NUMBERS)))] & ((1 << 8 * width) - 1)
            out[at : at + width] = value.to_bytes(width, "little")
    return bytes(out)


def peak_memory() -> int:
    """Of this process, bytes (getrusage would count what its parent had)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def run_child(name: str, seed: int, count: int, folder: Path) -> None:
    """Loads ``count`` mutations; exits with a sentence on the first that does what it must not."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    path = folder / "w"
    weights = random_weights(ARCHITECTURE, 0)
    FORMATS[name](weights, path)
    original = path.read_bytes()
    expected = load(path, ARCHITECTURE)
    before, accepted = peak_memory(), 0
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        path.write_bytes(mutate(original, rng))
        (folder / "index").write_text(str(index))
        signal.alarm(SECONDS_PER_FILE)
        try:
            loaded = load(path, None if name.startswith("ours") else ARCHITECTURE)
        except ValueError:
            continue
        finally:
            signal.alarm(0)
        accepted += 1
        if name.startswith("ours"):
            assert loaded.architecture == expected.architecture, "altered architecture accepted"
            assert loaded.digest == expected.digest, "altered tensor accepted"
            assert loaded.origin == expected.origin, "altered origin accepted"
    grown = peak_memory() - before
    assert grown < MEMORY, f"memory grew by {grown >> 20} MB"
    print(f"{name}: {count} mutations, {accepted} loaded, memory +{grown >> 20} MB")


def run_format(name: str, seed: int, count: int, keep: Path) -> bool:
    """A child for one format; False, and a report, where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--child", folder, "--formats", name]
        command += ["--seed", str(seed), "--mutations", str(count)]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        print(result.stdout, end="", flush=True)
        if result.returncode == 0:
            return True
        index = (Path(folder) / "index").read_text()
        kept = keep / f"fuzz-{name}-{seed}-{index}"
        kept.write_bytes((Path(folder) / "w").read_bytes())
        if result.returncode < 0:
            reason = f"killed by {signal.Signals(-result.returncode).name} (SIGALRM: a hang)"
        else:
            reason = result.stderr
        print(f"{name}: mutation {index} of seed {seed}: {reason}\nkept as {kept}")
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=10_000, help="in all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()), help="for findings"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options.formats[0], options.seed, options.mutations, options.child)
        return 0
    share = -(-options.mutations // len(options.formats))
    passed = [run_format(name, options.seed, share, options.keep) for name in options.formats]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
