"""The compiled tower and fc layers, their threads and their instruction sets.

What they compute is held against the reference here (towers) and in test_ops.py (every operation).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from goturn import _cpu
from goturn.architecture import LRN, Architecture, Conv, MaxPool, Preprocessing, fc_head, goturn
from goturn.network import Network
from networks import tiny
from test_network import crops, lively

EPS = np.finfo(np.float32).eps


def tower_of(*layers, side: int = 35) -> Architecture:
    return Architecture(tuple(layers), fc_head([8]), Preprocessing(input_size=side))


TOWERS = {
    "the paper's kinds of layers": tiny(),
    "LRN before pool": tiny(pool_first=False),
    "full size": goturn((8,)),
    "conv alone, one channel out": tower_of(Conv("conv1", 1, kernel=3)),
    "one pixel out": tower_of(Conv("conv1", 40, kernel=35)),
    "channels beyond a block": tower_of(Conv("conv1", 33, kernel=3), Conv("conv2", 70, kernel=1)),
    "a group a channel": tower_of(
        Conv("conv1", 6, kernel=3, pad=2), Conv("conv2", 18, kernel=3, groups=6, pad=1)
    ),
    "pad and stride": tower_of(Conv("conv1", 20, kernel=5, stride=3, pad=4)),
    "pool first": tower_of(MaxPool("pool1"), Conv("conv1", 16, kernel=2)),
    "a last window beyond the image": tower_of(
        Conv("conv1", 5, kernel=32), MaxPool("pool1", 2, 4), Conv("conv2", 6, kernel=1)
    ),
    "pools with gaps and overlap": tower_of(
        Conv("conv1", 5, kernel=2), MaxPool("pool1", 2, 3), MaxPool("pool2", 4, 1), side=41
    ),
    "LRN of seven, another exponent": tower_of(
        Conv("conv1", 12, kernel=3),
        LRN("norm1", size=7, alpha=0.1, beta=0.6, k=2.0),
        Conv("conv2", 8, kernel=3, pad=1, groups=2),
    ),
    "LRN wider than the channels": tower_of(
        Conv("conv1", 2, kernel=3), LRN("norm1", size=5, alpha=1.0), MaxPool("pool1")
    ),
}


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("n", [1, 3, 5])
def test_tower_equals_the_reference(name, n):
    architecture = TOWERS[name]
    weights = lively(architecture)
    images = crops(n, architecture.preprocessing.input_size)
    want = Network(weights, "reference", dtype=np.float64).encode_target(images.astype(np.float64))
    network = Network(weights, "cpu")
    got = network.encode_target(images)
    assert got.dtype == np.float32
    assert got.shape == want.shape
    # Errors of some tens of roundings of the largest activation; a wrong value is off by its size.
    np.testing.assert_allclose(got, want, rtol=0, atol=100 * EPS * np.abs(want).max())
    assert np.array_equal(got, network.encode_target(images))
    # An image gives the same bits in any company.
    for i in range(n):
        assert np.array_equal(got[i : i + 1], network.encode_target(images[i : i + 1]))


NOT_A_NUMBER = """
from goturn.architecture import LRN, Conv, MaxPool, Preprocessing, Architecture, fc_head
for kernel in (3, 4, 5):  # with and without Winograd
    layers = (Conv("conv1", 5, kernel=kernel), MaxPool("pool1"), LRN("norm1"), MaxPool("pool2"))
    weights = lively(Architecture(layers, fc_head([8]), Preprocessing(input_size=35)))
    images = crops(1, 35)
    images[0, 1, 17, 17] = np.nan
    want = np.isnan(Network(weights, "reference").encode_target(images))
    assert want.any() and not want.all()
    for precision in ("fp32", "int8"):
        got = np.isnan(Network(weights, "cpu", precision=precision).encode_target(images))
        print(_cpu.isa(), (got | ~want).all())
"""


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512", "avx512_vnni"])
def test_what_is_not_a_number_stays_so(isa):
    """Damaged weights must not look like features; Winograd spreads a NaN some pixels further."""
    done = run_on(isa, NOT_A_NUMBER)
    assert done.stdout.split() == [isa, "True"] * 6, done.stderr


INT8 = """
import hashlib
network = Network(lively(goturn((8,))), "cpu", precision="int8")
features = network.encode_target(crops(2, 227))
units = network.regress(network.project_target(features), features)
print(_cpu.isa(), hashlib.sha256(features.tobytes() + units.tobytes()).hexdigest())
"""


def test_whole_numbers_have_the_same_sums_by_either_instruction():
    """VNNI's products are those of AVX-512 BW: all else being the same, so are the bits."""
    runs = {isa: run_on(isa, INT8) for isa in ("avx512", "avx512_vnni")}
    (one, first), (other, second) = (done.stdout.split() for done in runs.values())
    assert [one, other] == list(runs)
    assert first == second


def test_separate_towers_are_kept_apart():
    network = Network(lively(tiny(shared_towers=False)), "cpu")
    images = crops(1, 35)
    assert not np.array_equal(network.encode_target(images), network.encode_search(images))
    shared = Network(lively(tiny()), "cpu")
    assert np.array_equal(shared.encode_target(images), shared.encode_search(images))


def test_weights_are_seen_again_after_compile():
    network = Network(lively(tiny()), "cpu")
    images = crops(1, 35)
    before = network.encode_target(images)
    network.parameters["conv1/weight"] *= 2
    assert np.array_equal(network.encode_target(images), before)
    network.compile()
    assert not np.array_equal(network.encode_target(images), before)


@pytest.fixture
def restore_threads():
    before = _cpu.thread_count()
    yield
    _cpu.set_thread_count(before)


@pytest.mark.usefixtures("restore_threads")
def test_any_number_of_threads_gives_the_same_bits():
    network = Network(lively(goturn((64, 32, 16))), "cpu")
    images = crops(3, 227)
    results = []
    for count in (1, 2, 3, 7):
        _cpu.set_thread_count(count)
        assert _cpu.thread_count() == count
        features = network.encode_target(images)
        results.append(network.regress(network.project_target(features), features))
    for other in results[1:]:
        assert np.array_equal(results[0], other)


@pytest.mark.parametrize("count", [0, -1, 257])
def test_impossible_thread_counts(count):
    with pytest.raises(ValueError, match="1 to 256"):
        _cpu.set_thread_count(count)


@pytest.mark.usefixtures("restore_threads")
def test_callers_in_many_threads_while_the_pool_changes():
    network = Network(lively(tiny()), "cpu")
    images = crops(2, 35)
    want = network.encode_target(images)
    wrong = []

    def work():
        for _ in range(200):
            if not np.array_equal(network.encode_target(images), want):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for count in (1, 4, 2, 3) * 5:
        _cpu.set_thread_count(count)
    for thread in threads:
        thread.join()
    assert not wrong


SCRIPT = """
import sys
import numpy as np
from networks import tiny
from test_network import crops, lively
from goturn import _cpu
from goturn.architecture import goturn
from goturn.network import Network
{body}
"""


def run(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run_on(isa: str, body: str) -> subprocess.CompletedProcess[str]:
    """:func:`run` with an instruction set; skips where the processor, or the compiler, lacks it."""
    done = run(body, GOTURN_CPU_ISA=isa)
    if "which this processor does not have" in done.stderr or "; got avx512_vnni" in done.stderr:
        pytest.skip(f"no {isa} here")
    assert done.returncode == 0, done.stderr
    return done


FEATURES = """
network = Network(lively(goturn((8,))), "cpu")
features = network.encode_target(crops(2, 227))
units = network.regress(network.project_target(features), features)
print(_cpu.isa(), *(repr(float(v)) for v in (*features[:, ::97].flat, *units.flat)))
"""


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512", "avx512_vnni"])
def test_every_instruction_set_gives_the_same_to_rounding(isa):
    done = run_on(isa, FEATURES)
    name, *values = done.stdout.split()
    assert name == isa
    network = Network(lively(goturn((8,))), "reference", dtype=np.float64)
    features = network.encode_target(crops(2, 227).astype(np.float64))
    units = network.regress(network.project_target(features), features)
    want = np.array([*features[:, ::97].flat, *units.flat])
    np.testing.assert_allclose(
        np.array(values, float), want, rtol=0, atol=100 * EPS * np.abs(want).max()
    )


def test_unknown_instruction_set_is_a_sentence():
    done = run(FEATURES, GOTURN_CPU_ISA="sse9")
    assert "GOTURN_CPU_ISA must be one of " in done.stderr
    assert "portable; got sse9" in done.stderr


def test_number_of_threads_from_the_environment():
    for text in ("3", "256"):
        done = run("print(_cpu.thread_count())", GOTURN_NUM_THREADS=text)
        assert done.stdout.split() == [text]
    done = run("print(_cpu.thread_count())", GOTURN_NUM_THREADS="")
    assert done.stdout.split() == [str(len(os.sched_getaffinity(0)))]


IMPOSSIBLE = """
from goturn.ops import get_ops
for _ in range(2):  # it is not forgotten after the first time
    try:
        get_ops("cpu")
    except RuntimeError as error:
        print(error)
_cpu.set_thread_count(2)
print(get_ops("cpu").name, _cpu.thread_count())
"""


@pytest.mark.parametrize("text", ["abc", "0", "-1", "257", "4 threads", "1.5", " 2", "9" * 30])
def test_an_impossible_number_of_threads_is_a_sentence(text):
    done = run(IMPOSSIBLE, GOTURN_NUM_THREADS=text)
    sentence = f"GOTURN_NUM_THREADS must be a whole number from 1 to 256; got {text}"
    assert done.stdout.splitlines() == [sentence, sentence, "cpu 2"], done.stderr


@pytest.mark.skipif(
    "san.so" in os.environ.get("LD_PRELOAD", ""), reason="sanitizers take memory for each thread"
)
def test_threads_that_the_system_does_not_give_are_done_without():
    body = """
import resource
x = np.ones((3000, 301), np.float32)
_cpu.set_thread_count(1)
_cpu.relu(x)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 26), resource.RLIM_INFINITY))
_cpu.set_thread_count(256)  # with 8 MB of stack each
print(_cpu.relu(x).sum() == x.size)
"""
    done = run(body)
    assert done.stdout.split() == ["True"], done.stderr


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").is_dir(), reason="a system without such pages"
)
def test_large_pages_are_asked_for_what_is_packed():
    """In a process of its own: one that has run for long has freed such memory to give again."""
    body = """
from test_cpu_engine import tower_of
from goturn.architecture import Conv

def asked():
    total = size = 0
    for line in open("/proc/self/smaps"):
        name, _, value = line.partition(":")
        if name == "Size":
            size = int(value.split()[0]) * 1024
        elif name == "VmFlags" and "hg" in value.split():
            total += size
    return total

weights = lively(tower_of(Conv("conv1", 512, kernel=1), Conv("conv2", 512, kernel=3), side=6))
before = asked()
network = Network(weights, "cpu")
print(asked() - before)
"""
    done = run(body)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 512 * 512 * 36 * 4  # 512 x 512 x 36 floats by Winograd


def test_fork_after_use_does_not_hang():
    """The child has no worker threads; it must start its own, not wait for the parent's."""
    body = """
import os, signal
network = Network(lively(tiny()), "cpu")
want = network.encode_target(crops(3, 35))
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        same = np.array_equal(network.encode_target(crops(3, 35)), want)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert np.array_equal(network.encode_target(crops(3, 35)), want)
print("done")
"""
    done = run("_cpu.set_thread_count(4)" + body)
    assert done.stdout.split() == ["done"], done.stderr


class TestLinear:
    @pytest.mark.parametrize("n", [1, 2, 4, 5, 17, 33])
    @pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 3), (64, 16), (1000, 33)])
    def test_every_batch_size(self, n, inputs, outputs):
        rng = np.random.default_rng(0)
        x, w = (rng.normal(size=(m, inputs)).astype(np.float32) for m in (n, outputs))
        b = rng.normal(size=outputs).astype(np.float32)
        want = x.astype(np.float64) @ w.T.astype(np.float64) + b
        bound = EPS * np.sqrt(inputs + 1) * (np.abs(x) @ np.abs(w).T + np.abs(b)) + 1e-7
        assert (np.abs(_cpu.linear(x, w, b, relu=False) - want) <= bound).all()
        assert (_cpu.linear(x, w, b, relu=True) >= 0).all()

    @pytest.mark.parametrize(
        ("x", "w", "b", "text"),
        [
            ((2, 5), (3, 6), (3,), "must agree in their second dimension"),
            ((2, 6), (3, 6), (2,), "bias has shape"),
            ((2, 6), (3, 6), (3, 3), "bias has shape"),
            ((6,), (3, 6), (3,), "x must be a matrix"),
            ((2, 6), (3, 6, 1), (3,), "weight must be a matrix"),
        ],
    )
    def test_shapes_that_do_not_fit(self, x, w, b, text):
        arrays = [np.zeros(shape, np.float32) for shape in (x, w, b)]
        with pytest.raises(ValueError, match=text):
            _cpu.linear(*arrays, relu=False)

    def test_odd_memory_is_refused(self):
        x, w = np.zeros((2, 6), np.float32), np.zeros((3, 6), np.float32)
        with pytest.raises(TypeError, match="float32"):
            _cpu.linear(x.astype(np.float64), w, None, relu=False)
        for bad in (w[:, ::-1], np.asfortranarray(w), w[::-1]):
            with pytest.raises(ValueError, match="contiguous rows"):
                _cpu.linear(x, bad, None, relu=False)


class TestTowerArguments:
    def layer(self, **changes):
        return {
            **{"kind": "conv", "channels": 4, "kernel": 3, "stride": 1, "pad": 0, "groups": 1},
            "weight": np.zeros((4, 3, 3, 3), np.float32),
            "bias": np.zeros(4, np.float32),
            **changes,
        }

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"kind": "deconv"}, "unknown kind"),
            ({"groups": 0}, "do not fit"),
            ({"groups": 3}, "do not fit"),
            ({"kernel": 5}, "do not fit"),
            ({"stride": 0}, "does not fit its input"),
            ({"pad": -1}, "do not divide|does not fit"),
            ({"weight": np.zeros((4, 3, 3), np.float32)}, "do not fit"),
            ({"bias": np.zeros(5, np.float32)}, "do not fit"),
            ({"weight": np.zeros((4, 3, 3, 6), np.float32)[..., ::2]}, "C-contiguous"),
        ],
    )
    def test_impossible_layers(self, changes, text):
        with pytest.raises(ValueError, match=text):
            _cpu.Tower([self.layer(**changes)], 8)

    @pytest.mark.parametrize(
        "layers", [[], [{"kind": "lrn", "size": 4, "alpha": 1, "beta": 1, "k": 1}]]
    )
    def test_impossible_towers(self, layers):
        with pytest.raises(ValueError, match="tower"):
            _cpu.Tower(layers, 8)

    def test_kernel_larger_than_the_input(self):
        with pytest.raises(ValueError, match="does not fit its input"):
            _cpu.Tower([self.layer()], 2)

    @pytest.mark.parametrize("pad", [3, 2**62])
    def test_pads_stay_below_the_kernel(self, pad):
        with pytest.raises(ValueError, match=f"pad {pad} does not fit its input of 8 pixels"):
            _cpu.Tower([self.layer(pad=pad)], 8)

    @pytest.mark.parametrize("groups", [2**62, 2**63 - 1])
    def test_groups_beyond_the_channels(self, groups):
        with pytest.raises(ValueError, match="do not fit the layer"):
            _cpu.Tower([self.layer(groups=groups)], 8)

    def test_normalisation_over_far_more_channels_than_there_are(self):
        """Takes no memory in proportion: this is 4 EB."""
        norm = {"kind": "lrn", "size": 2**60 + 1, "alpha": 1.0, "beta": 0.75, "k": 1.0}
        images = crops(1, 8)
        assert np.array_equal(_cpu.Tower([norm], 8)(images), images.reshape(1, -1))

    @pytest.mark.parametrize("shape", [(1, 3, 9, 8), (3, 8, 8), (1, 1, 8, 8)])
    def test_crops_of_another_shape(self, shape):
        tower = _cpu.Tower([self.layer()], 8)
        with pytest.raises(ValueError, match="crops must be"):
            tower(np.zeros(shape, np.float32))
