"""tools/gpu_check.py without a GPU: its stages by stand-ins, its sentences, its result file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import gpu_check
import gpu_stages
import measure_gpu
from goturn.ops import devices
from gpu_stages import Check, Outcome

ROOT = Path(__file__).resolve().parent.parent
GPU = devices.CudaDevice(0, "NVIDIA H200", (9, 0), 1 << 37)
NO_GPU = "no NVIDIA driver was found (libcuda.so.1 cannot be loaded); install it"


def status(found=(), problem=None):
    return devices.CudaStatus(False, None, (), (13, 0), tuple(found), problem)


@pytest.fixture
def check(tmp_path):
    return Check(tmp_path / "work", tmp_path / "results", None, None, "90-real")


@pytest.fixture
def machine(monkeypatch):
    """A GPU and all packages, as far as the command can tell."""
    monkeypatch.setattr(gpu_check, "missing_modules", list)
    monkeypatch.setattr(devices, "cuda_status", lambda: status([GPU]))
    monkeypatch.setattr(gpu_check, "driver", lambda: "580.1")


def log(tmp_path, text):
    path = tmp_path / "log"
    path.write_text(text)
    return path


# -- where nothing can be done --------------------------------------------------------------------


def test_without_a_gpu_it_says_so_and_does_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_check, "missing_modules", list)
    monkeypatch.setattr(devices, "cuda_status", lambda: status(problem=NO_GPU))
    assert gpu_check.main(["--output", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err == f"error: no GPU to check: {NO_GPU}\n"
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "NEEDED", {"numpy": "numpy", "no_such_module_here": "cupy-x"})
    monkeypatch.setattr(devices, "cuda_status", lambda: status([GPU]))
    assert gpu_check.main([]) == 2
    assert capsys.readouterr().err == "error: this Python lacks packages; pip install cupy-x\n"


def test_a_folder_that_cannot_be_written_is_refused_first(machine, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert gpu_check.main(["--output", str(tmp_path / "file" / "results")]) == 2
    assert "name another --output" in capsys.readouterr().err


def test_unknown_stages_are_refused(capsys):
    with pytest.raises(SystemExit):
        gpu_check.parse(["--only", "build,fly"])
    assert "unknown stages fly; there are build, tests, benchmarks" in capsys.readouterr().err


# -- the whole, by stand-ins ----------------------------------------------------------------------


def stages(monkeypatch, **replaced):
    done = {
        name: lambda check, seconds, log: Outcome("x", "ok", "fine") for name in gpu_check.STAGES
    }
    named = {**done, **replaced}
    monkeypatch.setattr(gpu_check, "STAGES", named)


def test_stages_run_in_order_and_the_result_is_written(machine, monkeypatch, tmp_path, capsys):
    def measured(check, seconds, log):
        figures = {"benchmark": "gpu", "commit": None, "rows": [{"name": "net", "us": 100.5}]}
        (check.work / "figures.json").write_text(json.dumps(figures))
        return Outcome("benchmarks", "ok", "")

    def raising(check, seconds, log):
        raise OSError("no such program")

    stages(monkeypatch, benchmarks=measured, memcheck=raising)
    output = tmp_path / "results"
    assert gpu_check.main(["--output", str(output), "--commit", "abc"]) == 1
    result = json.loads((output / "nvidia-h200.json").read_text())
    assert (result["gpu"]["name"], result["gpu"]["driver"]) == ("NVIDIA H200", "580.1")
    assert result["commit"] == "abc"
    assert result["rows"] == [{"name": "net", "us": 100.5}]
    assert [stage["status"] for stage in result["stages"]] == ["ok"] * 3 + ["failed"] + ["ok"] * 2
    table = capsys.readouterr().out.splitlines()[-8:]
    assert table[0] == "| stage | | s | |"
    assert "OSError: no such program" in table[5]


def test_nothing_follows_a_build_that_failed(machine, monkeypatch, tmp_path):
    def build(check, seconds, log):
        log.write_text("error: something")
        return Outcome("build", "failed", "error")

    stages(monkeypatch, build=build)
    assert gpu_check.main(["--output", str(tmp_path)]) == 1
    result = json.loads((tmp_path / "nvidia-h200.json").read_text())
    assert [stage["stage"] for stage in result["stages"]] == ["build"]


def test_what_there_is_no_time_for_is_said(machine, monkeypatch, tmp_path):
    limits = []

    def timed(check, seconds, log):
        limits.append(seconds)
        return Outcome("x", "ok", "")

    stages(monkeypatch, build=timed, tests=timed)
    options = ["--output", str(tmp_path), "--only", "build,tests"]
    assert gpu_check.main([*options, "--minutes", "0.05"]) == 1
    assert limits == []
    assert gpu_check.main([*options, "--minutes", "18"]) == 0
    later = 2 * gpu_check.SECONDS["tests"]
    assert limits == pytest.approx([18 * 60 - later, 18 * 60], abs=5)
    limits.clear()
    gpu_check.main(["--output", str(tmp_path), "--minutes", "9"])
    assert limits == [gpu_check.SECONDS["build"], gpu_check.SECONDS["tests"]]


def test_the_work_folder_is_kept_where_it_is_named(machine, monkeypatch, tmp_path):
    stages(monkeypatch)
    work = tmp_path / "work"
    gpu_check.main(["--output", str(tmp_path), "--work", str(work), "--only", "tests"])
    assert (work / "logs" / "tests.log").exists()


# -- stages ---------------------------------------------------------------------------------------


def test_a_program_is_ended_at_its_limit_with_its_children(check, tmp_path):
    program = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    start = time.monotonic()
    path = log(tmp_path, "")
    assert gpu_stages.run([sys.executable, "-c", program], check, 1, path) is None
    assert time.monotonic() - start < 20
    assert gpu_stages.run([sys.executable, "-c", "print(5); exit(3)"], check, 9, path) == 3
    assert path.read_text().endswith("5\n")


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("==== 5 passed, 2 skipped in 3s ====", 0, ("ok", "5 passed, 2 skipped in 3s")),
        ("FAILED a::b - x\n1 failed in 1s", 1, ("failed", "1 failed in 1s; FAILED a::b - x")),
        ("7 skipped in 1s", 0, ("failed", "no test ran: 7 skipped in 1s")),
        ("Fatal Python error: Aborted", -6, ("failed", "Fatal Python error: Aborted")),
        ("....", None, ("stopped", "....")),
    ],
)  # fmt: skip
def test_a_run_of_pytest_is_judged(tmp_path, text, code, expected):
    outcome = gpu_stages.judge("tests", code, log(tmp_path, text))
    assert (outcome.status, outcome.detail) == expected


FINDING = """========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at fill(float *)+0x40
=========     by thread (0,0,0) in block (1,0,0)
========= ERROR SUMMARY: 2 errors
3 passed in 1s
"""


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        (FINDING, 77, ("failed", "2 findings: Invalid __global__ write of size 4 bytes / at fill")),
        ("3 passed in 1s\n========= ERROR SUMMARY: 0 errors\n", 0, ("ok", "3 passed in 1s")),
        ("========= Error: Race reported between\n", None, ("failed", "1 findings: Error: Race")),
        ("========= COMPUTE-SANITIZER\n", None, ("stopped", "no test was done until its limit")),
        ("t.py::a SKIPPED [1%]\nt.py::b ", None, ("stopped", "no test was done until its limit")),
        (
            "t.py::a PASSED [1%]\nt.py::b\nPASSED [2%]\nt.py::c ",
            None,
            ("ok", "nothing found in 2 tests, until its limit"),
        ),
        ("t.py::a PASSED [1%]\nt.py::b FAILED [2%]\n", None, ("failed", "a test failed before")),
        ("========= Error: Device not supported\n", 1, ("skipped", "does not support this device")),
        ("1 failed in 1s\n========= ERROR SUMMARY: 0 errors\n", 1, ("failed", "1 failed in 1s")),
    ],
)
def test_what_the_sanitizer_says_is_judged(check, monkeypatch, text, code, expected):
    monkeypatch.setattr(gpu_stages, "find", lambda program, check: "/bin/sanitizer")

    def run(command, check, seconds, path):
        assert command[:3] == ["/bin/sanitizer", "--tool", "memcheck"]
        path.write_text(text)
        return code

    monkeypatch.setattr(gpu_stages, "run", run)
    check.work.mkdir()
    outcome = gpu_stages.memcheck(check, 10, log(check.work, ""))
    assert outcome.status == expected[0]
    assert expected[1] in outcome.detail


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("20 passed, 3 skipped in 3s", "ok"),
        ("SKIPPED [9] tests/checks.py:69: no backend 'cuda': x\n20 passed in 3s", "failed"),
        ("SKIPPED [9] tests/a.py:6: no GPU: cudaGetDevice\n20 passed in 3s", "failed"),
    ],
)
def test_tests_that_skip_the_gpu_are_none(check, monkeypatch, tmp_path, text, status):
    monkeypatch.setattr(gpu_stages, "run", lambda *arguments: 0)
    assert gpu_stages.tests(check, 10, log(tmp_path, text)).status == status


def test_no_sanitizer_is_no_failure(check, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_stages, "find", lambda program, check: None)
    outcome = gpu_stages.racecheck(check, 10, log(tmp_path, ""))
    assert outcome.status == "skipped"
    assert "no compute-sanitizer" in outcome.detail


def test_the_sanitized_tests_are_there():
    assert all(list((ROOT / "tests").glob(name)) for name in gpu_stages.SANITIZED)


def test_the_benchmark_is_told_its_time_and_sections(check, monkeypatch, tmp_path):
    given = []

    def run(command, check, seconds, path):
        given.extend(command)
        path.write_text("written: x\n| table |\n")
        rows = [{"name": "a", "us": 1.0}, {"name": "b", "failed": "boom"}]
        ran = [{"section": "network", "outcome": "ok"}, {"section": "linear", "outcome": "died"}]
        check.figures.write_text(json.dumps({"rows": rows, "sections": ran}))
        return 1

    monkeypatch.setattr(gpu_stages, "run", run)
    check.sections = "network,linear"
    check.work.mkdir()
    outcome = gpu_stages.benchmarks(check, 100, log(tmp_path, ""))
    assert outcome.status == "failed"
    assert outcome.detail == "1 rows timed; linear: died; 1 failed, b: boom"
    assert Path(given[1]).exists()
    options = measure_gpu.parse(given[2:])
    assert (options.seconds, options.sections) == (95, ["network", "linear"])
    assert check.tables == ["| table |"]


def test_tables_follow_the_line_of_the_result():
    text = "network: 3 us\nwritten: x.json\nX: copies\n| a |\n"
    assert gpu_stages.table_lines(text) == ["X: copies", "| a |"]
    assert gpu_stages.table_lines("died") == []


@pytest.mark.parametrize(
    ("name", "file"), [("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"), ("///", "gpu")]
)
def test_a_gpu_s_name_is_a_file_s(name, file):
    assert gpu_check.slug(name) == file


def test_the_command_starts_by_itself():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "gpu_check.py"), "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "--minutes" in done.stdout
