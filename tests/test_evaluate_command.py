"""``goturn evaluate``: from data and trackers to a table and reports; killed, stopped, resumed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets import encoded, frames, lines, write
from goturn.cli import build_parser, main
from goturn.commands import evaluate as evaluate_command
from goturn.commands.evaluate_options import EXPERIMENT_NAMES, OVERLAP_NAMES, PROTOCOL_NAMES
from goturn.evaluation.experiments import EXPERIMENTS, ONE_PASS
from goturn.evaluation.overlap import MODES
from goturn.evaluation.protocols import PROTOCOLS

SOURCE_FOLDER = Path(__file__).resolve().parent.parent / "src"

#: Videos whose object moves by 2 pixels a frame, and the shade of their frames.
SHADES = {"a": 50, "b": 200, "c": 100}
LENGTH = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "set"
    for name, shade in SHADES.items():
        for number in range(1, LENGTH + 1):
            write(root / name / "img" / f"{number:05d}.png", encoded(64, 48, shade, ".png"))
        write(root / name / "groundtruth.txt", lines([(2 * n, 5, 10, 8) for n in range(LENGTH)]))
    return root


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def process(*arguments: object) -> subprocess.Popen:
    path = os.pathsep.join([str(SOURCE_FOLDER), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-m", "goturn", "evaluate", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def error_of(capsys) -> str:
    printed = capsys.readouterr().err
    assert printed.startswith("goturn: error: ")
    assert printed.count("\n") == 1
    return printed.removeprefix("goturn: error: ").rstrip()


def test_what_is_offered_is_what_there_is():
    """The command line is read without loading the evaluation."""
    assert set(PROTOCOL_NAMES) == set(PROTOCOLS)
    assert OVERLAP_NAMES == MODES
    assert (ONE_PASS, *EXPERIMENT_NAMES) == EXPERIMENTS
    assert {each for p in PROTOCOLS.values() for each in p.experiments} == set(EXPERIMENTS)
    code = (
        "import sys\nfrom goturn.cli import build_parser\nbuild_parser()\n"
        "print([m for m in sys.modules if m == 'cv2' or m.startswith(('goturn.data', 'goturn.eval'))])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE_FOLDER)},
    ).stdout
    assert said == "[]\n"


def test_a_terminal_that_lacks_a_letter(monkeypatch):
    """The table has a ? for it, and what is still to be done is done."""
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    evaluate_command._print("\u00fcn 1")
    sys.stdout.flush()
    assert written.getvalue() == b"?n 1\n\n"


@pytest.mark.slow
def test_a_table_and_reports(data, tmp_path, capsys):
    """In video b the object moves as Drift does, in the others faster; identity soon loses it."""
    output = tmp_path / "out"
    arguments = (
        *(data, "--protocol", "otb", "vot2014", "--output", output),
        *("--tracker", "scripted_trackers:Drift", "--tracker", "still=identity", "--jobs", 2),
    )
    assert evaluate(*arguments) == 0
    said = capsys.readouterr()
    for word in ("Drift", "still", "OTB", "VOT2014", "baseline", "overlap: raster", "side by side"):
        assert word in said.out
    assert said.err.splitlines()[-1].startswith(f"wrote {output}/report.html and ")
    report = json.loads((output / "report.json").read_text())
    assert [each["protocol"] for each in report["evaluations"]] == ["otb", "vot2014"]
    for name in ("report.html", "scores.csv", "results/OTB2015/Drift/a.txt"):
        assert (output / name).is_file()
    there = {str(path.relative_to(output / "runs")) for path in output.rglob("runs/*/*/*/*.json")}
    assert there == {
        *(f"set/one-pass/{t}/{v}_001.json" for t in ("Drift", "still") for v in SHADES),
        *(
            f"set/baseline/{t}/{v}_00{n}.json"
            for t in ("Drift", "still")
            for v in SHADES
            for n in (1, 2, 3)
        ),
    }
    # Scored again, in another order and by name, nothing run: the scores are the same.
    before = (output / "scores.csv").read_text()
    assert evaluate(*arguments, "--quiet") == 0
    assert (output / "scores.csv").read_text() == before
    capsys.readouterr()
    again = (data, "--protocol", "otb", "--output", output, "--score-only", "--tracker", "still")
    assert evaluate(*again) == 0
    said = capsys.readouterr().out
    assert "still" in said
    assert "Drift" not in said


@pytest.mark.slow
def test_chosen_videos_several_sets_and_another_overlap(data, tmp_path, capsys):
    other = tmp_path / "other"
    frames(other / "z" / "img", [1, 2, 3], 4)
    write(other / "z" / "groundtruth_rect.txt", "3,3,9,9\n" * 3)
    output = tmp_path / "out"
    code = evaluate(
        *(data, f"otb:{other}", "--videos", "a", "z", "--tracker", "identity"),
        *("--protocol", "got10k", "--overlap", "exact", "--output", output),
    )
    assert code == 0
    said = capsys.readouterr().out
    assert "GOT-10k on set" in said
    assert "GOT-10k on other" in said
    assert "overlap: exact" in said
    assert "1 of 3 videos were chosen" in said
    runs = {str(path.relative_to(output / "runs")) for path in output.rglob("runs/*/*/*/*.json")}
    assert runs == {"set/one-pass/identity/a_001.json", "other/one-pass/identity/z_001.json"}
    for name in ("set", "other"):
        assert (output / name / "report.html").is_file()
    # A set's files are in its own coordinates: OTB's begin at 1.
    exported = next(output.glob("other/results/GOT-10k/identity/z/z_001.txt")).read_text()
    assert exported.splitlines()[0] == "3.000,3.000,9.000,9.000"


@pytest.mark.slow
def test_what_was_left_out_is_said(data, tmp_path, capsys):
    """Two trackers, of which one ends its process in one video."""
    output = tmp_path / "out"
    code = evaluate(
        *(data, "--output", output, "--tracker", "scripted_trackers:Crash"),
        *("--tracker", "identity", "--tracker", "scripted_trackers:Untidy"),
    )
    assert code == 1
    said = capsys.readouterr()
    assert "goturn: failed: Crash on a: its process was ended by signal 11 (SIGSEGV)\n" in said.err
    assert "goturn: error: 1 run of a tracker on a video failed; " in said.err.splitlines()[-1]
    flat = " ".join(said.out.split())
    assert "Left out, for not every tracker did them: a." in flat
    assert "Untidy failed in 21 of the 72 frames of 3 runs" in flat
    report = json.loads((output / "report.json").read_text())
    assert any("a." in note for note in report["evaluations"][0]["notes"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["{}"], (2, "no tracker given; pass --tracker SPEC")),
        (["{}", "--tracker", "kcf"], (2, "there is no tracker 'kcf'")),
        (
            ["{}", "--tracker", "identity", "--tracker", "identity"],
            (2, "two trackers are called 'identity'"),
        ),
        (["{}", "--tracker", "nowhere.h5"], (1, "nowhere.h5: No such file or directory")),
        (["{}", "--tracker", "cv2:Nonesuch"], (1, "has no tracker 'Nonesuch'; it has ")),
        (["nowhere", "--tracker", "identity"], (1, "nowhere: no such folder")),
        (["{}", "{}", "--tracker", "identity"], (2, "a data set is given twice")),
        (["{}", "--tracker", "identity", "--videos", "q"], (2, "no video 'q'; there are a, b, c")),
        (
            ["{}", "--tracker", "identity", "--experiment", "baseline"],
            (2, "--protocol vot2014 too"),
        ),
        (
            ["{}", "--score-only"],
            (2, "has no results of"),
        ),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(data, tmp_path, capsys, given, expected):
    code, sentence = expected
    arguments = [text.format(data) for text in given]
    assert evaluate(*arguments, "--output", tmp_path / "out") == code
    assert sentence in error_of(capsys)
    assert list((tmp_path / "out").rglob("*.json")) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("--protocol", "mot"), ("--jobs", "0"), ("--repetitions", "no"), ("--overlap", "iou")],
)
def test_values_that_options_do_not_take(data, option, value):
    with pytest.raises(SystemExit) as ended:
        evaluate(data, "--tracker", "identity", option, value)
    assert ended.value.code == 2


def test_data_without_videos_and_bad_data(data, tmp_path, capsys):
    write(tmp_path / "bad" / "v" / "groundtruth.txt", "1,2,3\n" * 3)
    frames(tmp_path / "bad" / "v" / "img", [1, 2, 3])
    assert evaluate(tmp_path / "bad", "--tracker", "identity", "--output", tmp_path / "out") == 1
    assert "are bad, more than 1%" in capsys.readouterr().err
    file = write(tmp_path / "file", "")
    assert evaluate(data, "--tracker", "identity", "--output", file) == 2
    assert "is a file; give a folder" in error_of(capsys)


def test_trackers_may_go_before_the_data():
    given = [
        "evaluate",
        "--tracker",
        "cv2:MIL",
        "--tracker=identity",
        "d",
        "--protocol",
        "otb",
        "got10k",
    ]
    args = build_parser().parse_args(given)
    assert (args.data, args.trackers) == (["d"], ["cv2:MIL", "identity"])
    assert args.protocols == ["otb", "got10k"]


def wait_for(condition, child: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def starts(log: Path) -> list[str]:
    """The shades of the videos that were begun, in order."""
    return [line.split()[1] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.slow
def test_killed_and_resumed_without_repeating_a_finished_video(data, tmp_path):
    """SIGKILL in the second video: that one is begun again, and the first is not."""
    log, output = tmp_path / "log" / "starts", tmp_path / "out"
    log.parent.mkdir()
    tracker = f"scripted_trackers:Drift,log={log.parent},sleep="
    arguments = (data, "--output", output, "--quiet", "--tracker")
    child = process(*arguments, f"slow={tracker}0.03")
    try:
        wait_for(lambda: len(starts(log)) == 2, child)
        worker = int(log.read_text().split()[0])
    finally:
        child.kill()
        child.communicate()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and _running(worker):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kept = list(output.rglob("*.json"))
    assert [path.name for path in kept] == ["a_001.json"]
    before = kept[0].read_bytes()
    assert main(["evaluate", *map(str, arguments), f"slow={tracker}0.03"]) == 0
    assert starts(log) == ["50", "200", "200", "100"]
    assert kept[0].read_bytes() == before
    assert len(list(output.rglob("runs/**/*.json"))) == 3


def _running(number: int) -> bool:
    """Whether a process does anything: one that has ended may not have been waited for."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_a_sentence(data, tmp_path, number, code):
    log = tmp_path / "log"
    child = process(
        *(data, "--output", tmp_path / "out", "--jobs", 1),
        *("--tracker", f"scripted_trackers:Drift,sleep=0.05,log={log}"),
    )
    wait_for(lambda: len(starts(log)) == 2, child)
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == code
    assert out == ""
    assert err == (
        f"stopped: 1 run is kept in {tmp_path}/out/runs; the same command goes on from there\n"
    )


def test_two_evaluations_do_not_write_to_one_folder(data, tmp_path, capsys):
    log = tmp_path / "log"
    child = process(
        *(data, "--output", tmp_path / "out"),
        *("--tracker", f"scripted_trackers:Drift,sleep=600,log={log}"),
    )
    try:
        wait_for(lambda: len(starts(log)) == 1, child)
        assert evaluate(data, "--tracker", "identity", "--output", tmp_path / "out") == 1
        assert "another evaluation is writing here" in error_of(capsys)
    finally:
        child.kill()
        child.communicate()


def test_what_was_kept_is_told_of_and_made_anew_on_request(data, tmp_path, capsys):
    arguments = (data, "--tracker", "identity", "--output", tmp_path / "out")
    assert evaluate(*arguments) == 0
    assert "taken from" not in capsys.readouterr().err
    assert evaluate(*arguments) == 0
    kept = f"0 runs done, 3 taken from {tmp_path / 'out' / 'runs'} (--rerun makes them anew)\n"
    assert kept in capsys.readouterr().err
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("runs/*/*/*/*.json")
    }
    assert evaluate(*arguments, "--rerun") == 0
    assert "taken from" not in capsys.readouterr().err
    assert all(path.stat().st_mtime_ns > before[path] for path in before)


def test_scoring_a_part_that_was_run(data, tmp_path, capsys):
    """By the protocols and of the videos that there are runs of; that others were not is no failure."""
    output = tmp_path / "out"
    part = ("--videos", "a", "b", "--protocol", "vot2014", "otb", "--tracker")
    assert evaluate(data, *part, "identity", "--repetitions", 1, "--output", output) == 0
    capsys.readouterr()
    assert evaluate(data, "--score-only", "--output", output) == 0
    said = capsys.readouterr()
    assert "1 of 3 videos have no results of all trackers and are left out" in said.err
    report = json.loads((output / "report.json").read_text())
    assert {each["protocol"] for each in report["evaluations"]} == {"otb", "vot2014"}

    one_pass_only = tmp_path / "one"
    assert evaluate(data, "--tracker", "identity", "--output", one_pass_only) == 0
    capsys.readouterr()
    assert evaluate(data, "--score-only", "--protocol", "vot2014", "--output", one_pass_only) == 2
    assert "has no results of baseline; run without --score-only first" in error_of(capsys)


def test_a_tracker_that_never_gives_a_box_is_a_failure(data, tmp_path, capsys):
    (tmp_path / "never_works.py").write_text(
        "class Never:\n"
        "    def init(self, frame, box):\n"
        "        raise OSError('no licence')\n"
        "    def update(self, frame):\n"
        "        return None\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        code = evaluate(
            *(data, "--tracker", "never_works:Never", "--tracker", "identity", "--videos", "a"),
            *("--output", tmp_path / "out"),
        )
    finally:
        sys.path.remove(str(tmp_path))
    assert code == 1
    assert capsys.readouterr().err.endswith("goturn: failed: Never gave no box in any frame\n")


def test_results_do_not_go_among_the_data(data, capsys):
    before = sorted(data.parent.rglob("*"))
    for output in (data, data / "a" / "out"):
        assert evaluate(data, "--tracker", "identity", "--output", output) == 2
        assert "is among the data" in error_of(capsys)
    assert sorted(data.parent.rglob("*")) == before
