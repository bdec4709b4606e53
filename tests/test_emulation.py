"""The emulation that runs CUDA kernels without a GPU: what it computes, and the faults it reports."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
FLAGS = [
    *("-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-DGOTURN_EMULATE_CUDA"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
]
EMULATION = (
    *("collectives", "fibre", "memory", "mma", "scheduler", "settings", "shadow", "waiting"),
)
ALL = 0xFFFFFFFF

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler: neither CXX nor g++")

LANES = np.arange(32)
GROUP, PAIR = LANES // 4, LANES % 4


def compile_kernels(folder: Path, *flags: str) -> ctypes.CDLL:
    assert COMPILER is not None
    sources = [ROOT / "csrc" / "emulation" / f"{name}.cpp" for name in EMULATION]
    sources += [ROOT / "tests" / f"emulation_{name}.cpp" for name in ("faults", "values")]
    objects = [folder / f"{source.stem}.o" for source in sources]

    def run(*arguments: str | Path) -> None:
        done = subprocess.run([COMPILER, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(2) as pool:
        include = f"-I{ROOT / 'csrc'}"
        jobs = [
            pool.submit(run, *FLAGS, *flags, include, "-c", source, "-o", made)
            for source, made in zip(sources, objects, strict=True)
        ]
        for job in jobs:
            job.result()
    run(*flags, "-shared", *objects, "-o", folder / "kernels.so", "-lpthread")
    library = ctypes.CDLL(str(folder / "kernels.so"))
    for name in ("run_fault", "fault_name", "run_geometry"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compile_kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def emulation(library: ctypes.CDLL) -> Iterator[ctypes.CDLL]:
    library.set_emulation(True, 1, 90, False)
    yield library
    library.set_emulation(True, 1, 90, False)


def at(array: np.ndarray) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def fault(library: ctypes.CDLL, name: str, fixed: bool) -> str:
    text: bytes = library.run_fault(name.encode(), fixed)
    return text.decode()


# -- faults ----------------------------------------------------------------------------------------

FAULTS = {
    "barrier_after_exit": r"waits at __syncthreads for thread \(40, 0, 0\), which has exited",
    "exit_after_barrier": r"waits at __syncthreads for thread \(40, 0, 0\), which has exited",
    "barrier_elsewhere": r"__syncthreads for thread \(5, 0, 0\), which waits at __syncwarp",
    "two_barriers": "waits at __syncthreads(_or)? while others wait at __syncthreads",
    "shuffle_after_exit": r"waits at __shfl_xor_sync for thread \(3, 0, 0\), which has exited",
    "shuffle_before_exit": r"waits at __shfl_xor_sync for thread \(31, 0, 0\), which has exited",
    "other_operation": r"__shfl_up_sync for thread \(7, 0, 0\), which waits at __shfl_down_sync",
    "mask_without_self": "__syncwarp with a mask, 0xffff, that does not name its lane",
    "masks_differ": r"mask 0xffffffff, and thread \(9, 0, 0\) with 0x7fffffff",
    "shuffle_from_absent": "value of lane 8 by __shfl_xor_sync, which does not take part",
    "mma_of_part": "calls mma_tf32 in a warp of fewer than 32 threads",
    "mma_in_branch": r"waits at mma_f16 for thread \(0, 0, 0\), which has exited",
    "trap": r"__trap\(\)",
    "never_waits": "launched to overlap the previous one, but never waits for it",
    "reads_nothing": "reads byte 252 of tile, which nobody has written",
    "reads_byte_of_nothing": "reads byte 6 of tile, which nobody has written",
    "reads_of_block_before": "of dynamic shared memory, which nobody has written",
    "past_end": "4 bytes at value 64 of an array of 64 values",
    "before_start": "4 bytes at value -1 of an array of 64 values",
    "vector_past_end": "16 bytes at value 64 of an array of 66 values",
    "past_dynamic": "takes 128 bytes of dynamic shared memory from byte 192 on, of 256",
    "static_too_large": "static arrays take 49156 bytes of shared memory; 49152 are the most",
    "misaligned_vector": "shared memory at address 0x8, which is not a multiple of 16",
    "misaligned_copy_from": "copy_async from global memory at .* not a multiple of 16",
    "misaligned_copy_to": "shared memory at address 0x4, which is not a multiple of 8",
    "misaligned_row": "shared memory at .* which is not a multiple of 16",
    "misaligned_global": "__ldg at .* which is not a multiple of 16",
    "write_then_read": "reads byte .* of tile, which",
    "read_then_write": "byte .* of tile, which thread .* with no barrier between",
    "write_twice": "writes byte .* of tile, which thread .* wrote with no barrier between",
    "within_warp": "reads byte .* of tile, which",
    "shuffle_orders_nothing": "reads byte .* of tile, which thread .* wrote with no barrier",
    "across_warps": "reads byte .* of tile, which",
    "reader_of_another_warp": "byte 0 of tile, which .* with no barrier between",
    "bytes_of_a_word": "writes byte 4 of tile, which thread .* wrote with no barrier between",
    "atomic_and_store": "writes byte 0 of sum, which an atomic wrote with no barrier between",
    "matrix_rows": "reads byte .* of tile, which thread .* wrote with no barrier between",
    "copy_without_wait": "to which a copy_async is under way that no wait has completed",
    "copy_without_commit": "to which a copy_async is under way that no wait has completed",
    "wait_for_older": "to which a copy_async is under way that no wait has completed",
    "copy_without_barrier": "reads byte .* of tile, which",
    "barrier_before_wait": "byte .* of tile, (which|to which)",
    "copy_over_readers": "byte .* of tile, (which|to which)",
    "store_into_copy": "writes byte .* to which a copy_async is under way",
}


def test_every_fault_is_expected_here(emulation: ctypes.CDLL) -> None:
    names = []
    while name := emulation.fault_name(len(names)):
        names.append(name.decode())
    assert names == list(FAULTS)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_reported(emulation: ctypes.CDLL, name: str, seed: int) -> None:
    emulation.set_emulation(True, seed, 90, False)
    assert fault(emulation, name, True) == ""
    text = fault(emulation, name, False)
    where = r", block \(\d+, 0, 0\), thread \(\d+, 0, 0\)" if name != "never_waits" else ""
    with pytest.raises(RuntimeError, match=f"^kernel {name}{where}: .*{FAULTS[name]}"):
        raise RuntimeError(text)
    assert fault(emulation, name, True) == ""  # nothing is left of the fault


@pytest.mark.parametrize("name", FAULTS)
def test_faults_without_the_record(emulation: ctypes.CDLL, name: str) -> None:
    emulation.set_emulation(False, 1, 90, False)
    assert fault(emulation, name, True) == ""
    words = ("nobody", "of tile", "of sum", "copy_async is under way")
    record = any(word in FAULTS[name] for word in words)
    assert (fault(emulation, name, False) == "") == record


@pytest.mark.parametrize(
    ("geometry", "sentence"),
    [
        ((1, 1, 1, 1, 0), ""),
        ((70000, 1, 1, 1, 0), ""),
        ((1, 1, 32, 32, 227 * 1024), ""),
        ((0, 1, 1, 1, 0), "a grid of (0, 1, 1) blocks cannot be launched"),
        ((1, 65536, 1, 1, 0), "a grid of (1, 65536, 1) blocks cannot be launched"),
        ((1, 1, 0, 1, 0), "a block of (0, 1, 1) threads cannot be launched"),
        ((1, 1, 1025, 1, 0), "a block of (1025, 1, 1) threads cannot be launched"),
        ((1, 1, 64, 32, 0), "a block of (64, 32, 1) threads cannot be launched"),
        ((1, 1, 1, 1, 227 * 1024 + 1), "more than the 232448 that there are"),
    ],
)
def test_launches_that_no_gpu_takes(
    emulation: ctypes.CDLL, geometry: tuple[int, ...], sentence: str
) -> None:
    text = emulation.run_geometry(*geometry).decode()
    assert sentence in text
    assert (text == "") == (sentence == "")


def test_shared_memory_of_an_older_gpu(emulation: ctypes.CDLL) -> None:
    emulation.set_emulation(True, 1, 75, False)
    assert emulation.run_geometry(1, 1, 1, 1, 64 * 1024) == b""
    assert b"more than the 65536" in emulation.run_geometry(1, 1, 1, 1, 64 * 1024 + 1)


def test_failed_launches_leave_no_stacks(emulation: ctypes.CDLL) -> None:
    def mappings() -> int:
        return len(Path("/proc/self/maps").read_text().splitlines())

    fault(emulation, "barrier_after_exit", False)
    before = mappings()
    for _ in range(100):
        assert fault(emulation, "barrier_after_exit", False)
        assert not fault(emulation, "barrier_after_exit", True)
    assert mappings() <= before + 4


def test_threads_launch_at_once(emulation: ctypes.CDLL) -> None:
    wrong: list[str] = []

    def work() -> None:
        for name in FAULTS:
            if fault(emulation, name, True) or not fault(emulation, name, False):
                wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# -- grids and warps -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_every_thread_of_every_block_runs_once(emulation: ctypes.CDLL, seed: int) -> None:
    emulation.set_emulation(True, seed, 90, False)
    grid, block = np.array([3, 4, 2], "u4"), np.array([5, 3, 4], "u4")
    found = np.full((2, 4, 3, 4, 3, 5, 4, 3), ALL, "u4")
    emulation.run_indices(at(grid), at(block), at(found))
    z, y, x, c, b, a = np.indices(found.shape[:6])
    for part, expected in enumerate(([x, y, z], [a, b, c])):
        for axis in range(3):
            assert (found[..., part, axis] == expected[axis]).all()
    assert (found[..., 2, :] == grid).all()
    assert (found[..., 3, :] == block).all()


@pytest.mark.parametrize("width", [1, 2, 8, 16, 32])
@pytest.mark.parametrize("dtype", ["i4", "f8"])
def test_shuffles(emulation: ctypes.CDLL, dtype: str, width: int) -> None:
    rng = np.random.default_rng(width)
    values = rng.integers(-(2**31), 2**31, 32).astype(dtype)
    operand = rng.integers(0, 32, 32).astype("i4")
    found = np.zeros((4, 32), dtype)
    run = emulation.run_shuffles_int if dtype == "i4" else emulation.run_shuffles_double
    run(at(values), at(operand), width, at(found))
    first = LANES // width * width
    last = first + width - 1
    up, down, across = LANES - operand, LANES + operand, LANES ^ operand
    sources = [
        first + operand % width,
        np.where(up >= first, up, LANES),
        np.where(down <= last, down, LANES),
        np.where(across <= last, across, LANES),
    ]
    for row, source in zip(found, sources, strict=True):
        assert (row == values[source]).all()


def test_votes(emulation: ctypes.CDLL) -> None:
    for predicates in np.random.default_rng(0).random((5, 32)) < [[0.5], [0.02], [0.98], [0], [1]]:
        found = np.zeros((3, 32), "u4")
        emulation.run_votes(at(predicates.astype("i4") * 7), at(found))
        parts = [predicates[:20], predicates[20:]]
        bits = [int(sum(1 << lane for lane in range(32) if predicates[lane]) & mask)
                for mask in (0xFFFFF, 0xFFF00000)]  # fmt: skip
        for lane in range(32):
            part = parts[lane >= 20]
            assert found[:, lane].tolist() == [bits[lane >= 20], part.any(), part.all()]


def test_votes_of_a_block(emulation: ctypes.CDLL) -> None:
    predicates = (np.random.default_rng(0).random((3, 96)) < [[0.5], [0], [1]]).astype("i4")
    found = np.zeros((3, 3, 96), "i4")
    emulation.run_block_votes(at(predicates), at(found))
    for row, results in zip(predicates, found, strict=True):
        expected = [[row.sum()] * 96, [row.all()] * 96, [row.any()] * 96]
        assert results.tolist() == np.array(expected, int).tolist()


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_the_last_block_knows_that_it_is(emulation: ctypes.CDLL, seed: int) -> None:
    emulation.set_emulation(True, seed, 90, False)
    values = np.random.default_rng(0).integers(-1000, 1000, (37, 96)).astype("i4")
    partials, counter, order, total = (np.zeros(n, "i4") for n in (37, 1, 37, 1))
    for _ in range(2):  # the counter is as it was
        emulation.run_last_block(37, 96, *map(at, (values, partials, counter, order, total)))
        assert total[0] == values.sum()
        assert counter[0] == 0
    assert sorted(order) == list(range(37))
    assert (order.tolist() == list(range(37))) == (seed == 0)


def test_atomics(emulation: ctypes.CDLL) -> None:
    values = np.array([0, 5, 0, 0, 0, 127, 0, 10, 0, 77, 0, 0], "i4")
    emulation.run_atomics(at(values))
    # Down from 10 to 0 in 10 steps, to 40, and on: 53 more, of a cycle of 41.
    assert values.tolist() == [2016, 5 - 2016, -7, 63, 63, 64, 0, 40 - 12, 77, 6, 5, 6]


# -- matrices --------------------------------------------------------------------------------------


def fragments(kind: str, a: np.ndarray, b: np.ndarray, d: np.ndarray) -> list[np.ndarray]:
    """Registers of the 32 lanes for a (16, K), b (K, 8) and d (16, 8), as matrix.h states them."""
    if kind == "tf32":
        of_a = [a[GROUP, PAIR], a[GROUP + 8, PAIR], a[GROUP, PAIR + 4], a[GROUP + 8, PAIR + 4]]
        of_b = [b[PAIR, GROUP], b[PAIR + 4, GROUP]]
    else:
        k = 2 * PAIR

        def two(low: np.ndarray, high: np.ndarray) -> np.ndarray:
            return low.astype("u4") | high.astype("u4") << np.uint32(16)

        of_a = [
            two(a[row, depth], a[row, depth + 1])
            for depth in (k, k + 8)
            for row in (GROUP, GROUP + 8)
        ]
        of_b = [two(b[depth, GROUP], b[depth + 1, GROUP]) for depth in (k, k + 8)]
    return [np.stack(of_a, 1), np.stack(of_b, 1), sums(d)]


def sums(d: np.ndarray) -> np.ndarray:
    return np.stack([d[row, 2 * PAIR + i] for row in (GROUP, GROUP + 8) for i in range(2)], 1)


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("kind", ["tf32", "f16", "bf16"])
def test_products_of_matrices(emulation: ctypes.CDLL, kind: str, truncate: bool) -> None:
    emulation.set_emulation(True, 1, 90, truncate)
    rng = np.random.default_rng(3)
    depth = 8 if kind == "tf32" else 16
    # Whole numbers: every product and sum is exact in every format.
    a = rng.integers(-100, 100, (16, depth)).astype("f4")
    b = rng.integers(-100, 100, (depth, 8)).astype("f4")
    d = rng.integers(-1000, 1000, (16, 8)).astype("f4")
    if kind == "tf32":  # the lower 13 bits of a register are not looked at
        bits = [m.view("u4") | rng.integers(0, 1 << 13, m.shape, "u4") for m in (a, b)]
    elif kind == "f16":
        bits = [m.astype("f2").view("u2") for m in (a, b)]
    else:
        bits = [(m.view("u4") >> 16).astype("u2") for m in (a, b)]
    of_a, of_b, of_d = (np.ascontiguousarray(part) for part in fragments(kind, *bits, d))
    emulation.run_multiply(("tf32", "f16", "bf16").index(kind), 1, at(of_a), at(of_b), at(of_d))
    assert (of_d == sums((a.astype("f8") @ b + d).astype("f4"))).all()


def test_sums_that_tensor_cores_cut_off(emulation: ctypes.CDLL) -> None:
    a, b, d = np.zeros((16, 8), "f4"), np.zeros((8, 8), "f4"), np.ones((16, 8), "f4")
    a[:, 3], b[3] = 1.5, 2.0**-23  # between two floats, nearer to the one above
    a[8:] *= -1
    d[8:] *= -1
    for truncate, fraction in ((False, 2), (True, 1)):
        emulation.set_emulation(True, 1, 90, truncate)
        parts = fragments("tf32", a.view("u4"), b.view("u4"), d)
        of_a, of_b, of_d = (np.ascontiguousarray(part) for part in parts)
        emulation.run_multiply(0, 1, at(of_a), at(of_b), at(of_d))
        assert (of_d == sums(d) * np.float32(1 + fraction * 2.0**-23)).all()


def test_products_of_every_half(emulation: ctypes.CDLL) -> None:
    halves = np.arange(1 << 16, dtype="u2")
    halves[np.isnan(halves.view("f2")) | np.isinf(halves.view("f2"))] = 0
    blocks = halves.reshape(-1, 16, 8)  # the first eight columns of a, times the unit matrix
    parts = [
        fragments(
            "f16",
            np.pad(block, ((0, 0), (0, 8))),
            np.eye(16, 8, dtype="f2").view("u2"),
            np.zeros((16, 8), "f4"),
        )
        for block in blocks
    ]
    of_a, of_b, of_d = (np.ascontiguousarray(np.stack(part)) for part in zip(*parts, strict=True))
    emulation.run_multiply(1, len(blocks), at(of_a), at(of_b), at(of_d))
    for block, found in zip(blocks, of_d, strict=True):
        values = block.view("f2").astype("f4")
        assert (found == sums(values)).all()


def test_matrices_from_shared_memory(emulation: ctypes.CDLL) -> None:
    rng = np.random.default_rng(0)
    values = rng.permutation(1 << 16)[:1024].astype("u2")
    index = (rng.permutation(128)[:32] * 8).astype("i4")
    found = np.zeros((2, 32, 4), "u4")
    emulation.run_load_matrices(at(values), at(index), at(found))
    matrices = values[index[:, None] + np.arange(8)].reshape(4, 8, 8).astype("u4")
    for transposed in range(2):
        for m in range(4):
            matrix = matrices[m].T if transposed else matrices[m]
            expected = matrix[GROUP, 2 * PAIR] | matrix[GROUP, 2 * PAIR + 1] << 16
            assert (found[transposed, :, m] == expected).all()


@pytest.mark.parametrize("size", [4, 8, 16])
def test_copies_are_made_when_waited_for(emulation: ctypes.CDLL, size: int) -> None:
    source = np.arange(40 * 4, dtype="i4")
    start = -source.ctypes.data // 4 % 4
    source = source[start : start + 32 * size // 4]
    found = np.zeros_like(source)
    expected = (source + 1000).reshape(32, -1)  # what was there at the wait
    expected[3::4] = 0
    emulation.run_copies(size, at(source), at(found))
    assert (found == expected.ravel()).all()


# -- numbers ---------------------------------------------------------------------------------------


def floats() -> np.ndarray:
    """Of every kind: random bits, ties between halves and between bfloat16s, the edges of both."""
    rng = np.random.default_rng(0)
    anything = rng.integers(0, 1 << 32, 1 << 19, "u4").view("f4")
    halves = np.arange(0x7C00, dtype="u2").view("f2").astype("f4")
    ties = (halves[1:] + halves[:-1]) / 2  # exact in float
    near = np.concatenate([np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1e9))])
    wide = (rng.integers(0, 1 << 16, 4096, "u4") << 16 | 0x8000).view("f4")
    bits = np.array([0x477FEFFF, 0x477FF000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 1, 0], "u4")
    some = np.concatenate([anything, halves, ties, near, wide, bits.view("f4")])
    return np.concatenate([some, -some]).astype("f4")


def converted(function: Any, values: np.ndarray, dtype: str) -> np.ndarray:
    result = np.zeros(values.shape, dtype)
    function(at(values), values.size, at(result))
    return result


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_halves(emulation: ctypes.CDLL) -> None:
    every = np.arange(1 << 16, dtype="u2")
    found = converted(emulation.float_of_half, every, "f4")
    np.testing.assert_array_equal(found, every.view("f2").astype("f4"))
    assert (np.signbit(found) == (every >> 15 != 0)).all()
    values = floats()
    rounded = converted(emulation.half_of_float, values, "u2")
    expected = values.astype("f2")
    nans = np.isnan(values)
    assert (rounded[~nans] == expected.view("u2")[~nans]).all()
    assert np.isnan(rounded[nans].view("f2")).all()


def test_bfloat16s(emulation: ctypes.CDLL) -> None:
    every = np.arange(1 << 16, dtype="u2")
    found = converted(emulation.float_of_bfloat16, every, "f4")
    assert (found.view("u4") == every.astype("u4") << 16).all()
    values = floats()
    rounded = converted(emulation.bfloat16_of_float, values, "u2").astype("u4") << 16
    nans = np.isnan(values)
    assert np.isnan(rounded.view("f4")[nans]).all()
    bits = values.view("u4")[~nans].astype("u8")
    below = bits & 0xFFFF0000
    rest = bits - below
    up = (rest > 0x8000) | ((rest == 0x8000) & (below & 0x10000 != 0))
    assert (rounded[~nans] == below + 0x10000 * up).all()


def test_tf32(emulation: ctypes.CDLL) -> None:
    values = floats()
    rounded = converted(emulation.tf32_of_float, values, "u4")
    nans = np.isnan(values)
    assert np.isnan(rounded.view("f4")[nans]).all()
    bits = values.view("u4")[~nans].astype("u8")
    below = bits // 0x2000 * 0x2000
    up = bits - below >= 0x1000  # ties away from zero
    assert (rounded[~nans] == below + 0x2000 * up).all()


def test_integers(emulation: ctypes.CDLL) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-(2**31), 2**31, (2, 500)).astype("i4")
    a[:4], b[:4] = [0, -1, 1, 2**31 - 1], [0, -1, -(2**31), 2**31 - 1]
    x = (rng.standard_normal(500) * 1e9).astype("f4")
    x[:8] = [0.5, 1.5, -2.5, np.nan, np.inf, -np.inf, 3e9, -0.75]
    found = np.zeros((500, 13), "u4")
    emulation.run_integers(at(a), at(b), at(x), 500, at(found))
    for row, i, j, value in zip(found.tolist(), a.tolist(), b.tolist(), x.tolist(), strict=True):
        u, v = i & ALL, j & ALL
        wide = u << 32 | v
        high = wide * (wide ^ (1 << 64) - 1) >> 64
        pool = [(v << 32 | u) >> 8 * n & 255 for n in range(8)]
        picks = [(u >> 4 * n & 7, u >> 4 * n & 8) for n in range(4)]
        bytes_ = [(255 if pool[n] > 127 else 0) if sign else pool[n] for n, sign in picks]
        signed = [np.array([n], "i4").view("i1").astype(int) for n in (i, j)]
        unsigned = [part & 255 for part in signed]

        def held(number: float) -> int:
            return 0 if math.isnan(number) else int(min(max(number, -(2**31)), 2**31 - 1))

        whole = value if abs(value) > 2**24 or math.isnan(value) else round(value)
        assert row == [
            i * j >> 32 & ALL,
            u * v >> 32,
            high >> 32,
            high & ALL,
            sum(byte << 8 * n for n, byte in enumerate(bytes_)),
            int(signed[0] @ signed[1] + 5) & ALL,
            int(unsigned[0] @ unsigned[1] + 5),
            32 - u.bit_length(),
            u.bit_count(),
            held(whole) & ALL,
            held(value) & ALL,
            min(i, j) & ALL,
            max(u, v),
        ]
