"""The command line: what it writes, what it says, and the code it exits with."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import goturn
from goturn.cli import describe, main
from goturn.commands import screen
from goturn.commands.exits import UsageError, stop_on_signal
from goturn.commands.track import Losses, Timing
from goturn.confidence import Calibration
from goturn.target_policy import TargetPolicy
from goturn.video import open_source
from goturn.weights import default, load, save
from networks import tiny
from test_network import lively
from test_video import cut, write_images, write_video

START = "10,8,20,16"
SOURCE_FOLDER = Path(goturn.__file__).parent.parent


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """A weights file whose network always finds the target half a unit further right and down."""
    made = lively(tiny())
    made.parameters["fc8/weight"][:] = 0
    made.parameters["fc8/bias"][:] = np.array([2.5, 2.5, 7.5, 7.5]) + 0.1
    path = tmp_path_factory.mktemp("weights") / "goturn.h5"
    save(made, path)
    return str(path)


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_video(tmp_path / "clip.avi", 8)


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("GOTURN_DEBUG", raising=False)


@pytest.fixture
def track(weights):
    """Runs ``goturn track`` in this process with those weights; gives the exit code."""

    def run(source: object, *more: object, box: str | None = START) -> int:
        boxes = [] if box is None else ["--box", box]
        return main(["track", str(source), "--weights", weights, *boxes, *map(str, more)])

    return run


def process(*arguments: object, **options) -> subprocess.Popen:
    """``goturn`` as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE_FOLDER)}
    return subprocess.Popen(
        [sys.executable, "-m", "goturn", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def error_of(capsys) -> str:
    """The one line on standard error, without its prefix."""
    printed = capsys.readouterr().err
    assert printed.startswith("goturn: error: ")
    assert printed.count("\n") == 1
    return printed.removeprefix("goturn: error: ").rstrip()


# -- help, version, usage ----------------------------------------------------------------------


def test_the_package_shows_its_own_names_alone():
    names = {"PackageNotFoundError", "version", "annotations"}
    assert names.isdisjoint(dir(goturn))
    assert set(goturn.__all__) <= set(dir(goturn))


def test_help_lists_commands_and_exit_codes_and_does_not_load_opencv():
    code = (
        "import sys\nfrom goturn.cli import main\n"
        "try:\n    main(['--help'])\nfinally:\n    print('cv2' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE_FOLDER)},
    )
    assert ran.stdout.endswith("False\n")
    for word in ("track", "data", "train", "convert", "info", "exit codes:", "130", "143"):
        assert word in ran.stdout
    assert "bench" not in ran.stdout


@pytest.mark.parametrize("command", ["track", "data", "train", "convert", "info"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "exit codes:" in printed
    assert "  130  stopped by Ctrl-C, 143 by SIGTERM" in printed
    assert ("  3    the source ended early" in printed) == (command == "track")
    assert ("goturn track completes" in printed) == (command == "track")
    assert ("  4    training diverged" in printed) == (command == "train")
    assert ("goturn train saves" in printed) == (command == "train")


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"goturn {goturn.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["teach"], "invalid choice: 'teach'"),
        (["track", "a.avi", "--box", "1,2,3"], "'1,2,3' is not a box; give four numbers x,y,w,h"),
        (["track", "a.avi", "--box", "1,2,0,4"], "'1,2,0,4' is not a box"),
        (["track", "a.avi", "--box", "1,2,nan,4"], "'1,2,nan,4' is not a box"),
        (["track", "a.avi", "--box", "a,b,c,d"], "'a,b,c,d' is not a box"),
        (["track", "a.avi", "--start", "-1"], "'-1' is not a whole number from 0 on"),
        (["track", "a.avi", "--fps", "0"], "'0' is not a frame rate between 0 and 1000"),
        (["track", "a.avi", "--fps", "x"], "'x' is not a frame rate between 0 and 1000"),
        (["track", "a.avi", "--device", "gpu"], "device must be one of auto, cpu, cuda, cuda:N"),
        (["track", "a.avi", "--precision", "int3"], "invalid choice: 'int3'"),
        (
            ["track", "a.avi", "--target", "0.5"],
            "'0.5' is not a way to keep the target; give paper, or",
        ),
        (["track", "a.avi", "--target", "0.5,0"], "'0.5,0' is not a way to keep the target"),
        (["track", "a.avi", "--target", "nan,1"], "'nan,1' is not a way to keep the target"),
        (["demo", "--target", "papers"], "'papers' is not a way to keep the target"),
        (["convert", "a.h5", "b.caffemodel", "--names", "mine"], "invalid choice: 'mine'"),
        (["convert", "a.h5", "b.caffemodel", "--fold-mean", "x"], "'x' is not a mean of pixels"),
        (["convert", "a.h5", "b.caffemodel", "--fold-mean", "300"], "'300' is not a mean of"),
    ],
)
def test_what_argparse_refuses_is_exit_code_2(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_no_frames_is_a_usage_error(track, clip, capsys):
    assert track(clip, "--frames", 0) == 2
    assert error_of(capsys) == "--frames 0 leaves nothing to track; give at least 1"


@pytest.mark.parametrize("outputs", [[], ["--csv", "b.csv"], ["--output", "pictures/"]])
def test_a_rate_is_of_an_annotated_video(track, clip, capsys, outputs):
    assert track(clip, "--fps", 10, *outputs) == 2
    assert error_of(capsys) == (
        "--fps is the rate of an annotated video; give --output FILE.mp4 or .avi"
    )


def test_rates_are_of_the_same_frames():
    assert Timing(frames=3, tracking=1.0, overall=2.0).summary() == (
        "3 frames, tracking 2.0 frames/s, overall 1.0 frames/s"
    )
    assert Timing(frames=1, overall=2.0).summary() == "1 frame"


def test_overall_is_never_faster_than_tracking(track, clip, capsys, monkeypatch):
    update = goturn.MultiTracker.update

    def slow(tracker, frame):
        time.sleep(0.05)
        return update(tracker, frame)

    monkeypatch.setattr(goturn.MultiTracker, "update", slow)
    assert track(clip, "--frames", 2) == 0
    rates = [float(rate) for rate in re.findall(r"([\d.]+) frames/s", capsys.readouterr().err)]
    assert 20 >= rates[0] >= rates[1] > 0


# -- tracking ----------------------------------------------------------------------------------


def test_boxes_are_those_of_the_tracker(track, clip, weights, tmp_path, capsys):
    assert track(clip, "--csv", tmp_path / "b.csv", "--mot", tmp_path / "gt.txt") == 0
    tracker = goturn.Tracker(weights)
    expected, confidences = [], []
    for index, frame in enumerate(open_source(clip)):
        if index == 0:
            tracker.init(frame, (10, 8, 20, 16))
            expected.append(tracker.box)
        else:
            expected.append(tracker.update(frame))
        confidences.append(tracker.confidence)
    numbers = [[f"{value:.3f}" for value in box] for box in expected]
    assert rows(tmp_path / "b.csv") == [
        ["frame", "object", "x", "y", "w", "h", "confidence"],
        *(
            [str(index), "0", *box, f"{confidence:.3f}"]
            for index, (box, confidence) in enumerate(zip(numbers, confidences, strict=True))
        ),
    ]
    assert rows(tmp_path / "gt.txt") == [
        [str(index + 1), "1", *box, "1", "1", "1"] for index, box in enumerate(numbers)
    ]
    assert numbers[0] == ["10.000", "8.000", "20.000", "16.000"]
    assert float(numbers[-1][0]) > 12
    summary = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"8 frames, tracking [\d.]+ frames/s, overall [\d.]+ frames/s; wrote .*b\.csv, .*gt\.txt",
        summary[0],
    )
    assert min(confidences) >= 0.5
    assert summary[1:] == []


def test_frames_in_which_objects_are_probably_lost():
    one, two = Losses(), Losses()
    for index, confidence in enumerate([0.9, 0.5, 0.49, 0.7, 0.1], 20):
        one.note(index, {0: confidence})
        two.note(index, {0: 0.8, 3: confidence if index < 24 else 0.6})
    assert one.summary() == ["probably lost in 2 frames, the first is 22 (confidence below 0.5)"]
    assert two.summary() == [
        "object 3 was probably lost in 1 frame, the first is 22 (confidence below 0.5)"
    ]


def test_a_track_that_is_lost_is_told_of(track, clip, monkeypatch, capsys):
    monkeypatch.setattr("goturn.commands.track.PROBABLY", 1.0)
    assert track(clip, "--csv", "-") == 0
    assert capsys.readouterr().err.splitlines()[1:] == [
        "probably lost in 8 frames, the first is 0 (confidence below 1)"
    ]


def test_without_outputs_the_boxes_go_to_standard_output(track, clip, capsys):
    assert track(clip, "--quiet", "--frames", 2) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[:2] == [
        "frame,object,x,y,w,h,confidence",
        "0,0,10.000,8.000,20.000,16.000,0.976",
    ]
    assert len(printed.out.splitlines()) == 3
    assert printed.err == ""


def test_start_and_frames_keep_the_sources_numbers(track, clip, tmp_path):
    assert track(clip, "--start", 2, "--frames", 3, "--csv", tmp_path / "b.csv") == 0
    assert [row[0] for row in rows(tmp_path / "b.csv")[1:]] == ["2", "3", "4"]


def test_several_objects(track, clip, tmp_path):
    assert track(clip, "--box", "-4,0,12,12", "--csv", tmp_path / "b.csv", "--frames", 2) == 0
    assert [row[:2] for row in rows(tmp_path / "b.csv")[1:]] == [
        ["0", "0"],
        ["0", "1"],
        ["1", "0"],
        ["1", "1"],
    ]
    assert rows(tmp_path / "b.csv")[2][2:] == ["-4.000", "0.000", "12.000", "12.000", "0.976"]


@pytest.mark.parametrize("name", ["out.mp4", "out.avi"])
def test_the_annotated_video_has_every_frame_with_its_box(track, clip, tmp_path, name):
    assert track(clip, "--output", tmp_path / name) == 0
    with open_source(tmp_path / name) as source:
        assert (source.fps, source.size) == (25, (64, 48))
        frames = list(source)
    assert len(frames) == 8
    assert frames[0][8:24, 10:30].std() > 20  # a box on a ground of one colour
    assert frames[0][30:, 40:].std() < 5


def test_a_folder_of_pictures_at_a_rate(track, tmp_path):
    folder = write_images(tmp_path / "seq", ["1.png", "2.png", "10.png"])
    assert track(folder, "--output", f"{tmp_path}/out/") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["00001.jpg", "00002.jpg", "00003.jpg"]
    assert track(folder, "--output", tmp_path / "out.mp4", "--fps", 10) == 0
    with open_source(tmp_path / "out.mp4") as source:
        assert (source.fps, source.claimed) == (10, 3)


def test_frames_may_change_size(track, tmp_path):
    for index, size in enumerate([(64, 48), (32, 24), (1, 1), (400, 300)]):
        write_images(tmp_path / "seq", [f"{index}.png"], size)
    arguments = ("--output", tmp_path / "out.avi", "--csv", tmp_path / "b.csv")
    assert track(tmp_path / "seq", *arguments) == 0
    assert len(rows(tmp_path / "b.csv")) == 5
    with open_source(tmp_path / "out.avi") as source:
        assert [frame.shape for frame in source] == [(48, 64, 3)] * 4


# -- sources that end early --------------------------------------------------------------------


def test_a_truncated_video_is_exit_code_3_and_keeps_its_boxes(track, tmp_path, capsys):
    path = cut(write_video(tmp_path / "clip.avi", 60), 0.5)
    arguments = ("--csv", tmp_path / "b.csv", "--output", tmp_path / "out.mp4")
    assert track(path, *arguments) == 3
    read = len(rows(tmp_path / "b.csv")) - 1
    assert 10 <= read <= 35
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"goturn: warning: {path}: read {read} of 60 frames; the file is damaged or was cut short; "
        "the boxes so far are kept"
    )
    with open_source(tmp_path / "out.mp4") as source:
        assert len(list(source)) == read


def test_a_truncated_video_is_fine_as_far_as_it_was_asked_for(track, tmp_path):
    path = cut(write_video(tmp_path / "clip.avi", 60), 0.5)
    assert track(path, "--frames", 5, "--csv", tmp_path / "b.csv") == 0


def test_a_damaged_image_is_exit_code_3(track, tmp_path, capsys):
    folder = write_images(tmp_path / "seq", ["1.jpg", "2.jpg", "3.jpg"])
    cut(folder / "3.jpg", 0.5)
    assert track(folder, "--csv", tmp_path / "b.csv", "--quiet") == 3
    assert len(rows(tmp_path / "b.csv")) == 3
    assert capsys.readouterr().err == (
        f"goturn: warning: {folder / '3.jpg'}: not a whole image that OpenCV can decode; read 2 of 3 "
        "frames; the boxes so far are kept\n"
    )


# -- refusals ----------------------------------------------------------------------------------


def test_sources_that_cannot_be_opened(track, tmp_path, capsys):
    assert track(tmp_path / "none.mp4") == 1
    assert "none.mp4: no such file or folder; give a video" in error_of(capsys)
    assert track("9999") == 1
    assert error_of(capsys).startswith("camera 9999 cannot be opened")
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 500)
    assert track(tmp_path / "junk.mp4") == 1
    assert error_of(capsys).endswith("an mp4 that was cut short has lost its index")


def test_without_weights_those_that_come_with_goturn_are_taken(
    clip, capsys, tmp_path, weights, monkeypatch
):
    monkeypatch.setattr(default, "_PACKAGE", Path(weights).parent)
    output = tmp_path / "boxes.csv"
    assert main(["track", str(clip), "--box", START, "--csv", str(output)]) == 0
    assert len(output.read_text().splitlines()) == 9
    # And they are not overwritten.
    assert main(["track", str(clip), "--box", START, "--csv", weights]) == 2
    load(weights)


def test_an_installation_without_its_weights(clip, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(default, "_PACKAGE", tmp_path / "lib" / "site" / "goturn")
    assert main(["track", str(clip), "--box", START]) == 1
    assert "lacks the weights that come with it" in error_of(capsys)


def test_weights_that_are_none(clip, capsys, tmp_path):
    missing = str(tmp_path / "none.h5")
    assert main(["track", str(clip), "--box", START, "--weights", missing]) == 1
    assert error_of(capsys) == f"{missing}: No such file or directory"
    assert main(["track", str(clip), "--box", START, "--weights", str(clip)]) == 1
    assert "clip.avi" in error_of(capsys)


def test_a_failed_command_leaves_earlier_results(track, clip, tmp_path, capsys):
    result = tmp_path / "b.csv"
    result.write_text("precious\n")
    assert track(clip, "--csv", result, box="500,500,20,20") == 1
    assert "lies outside the 64x48 frame" in error_of(capsys)
    assert track(clip, "--csv", result, "--device", "cuda:99") == 1
    assert re.search(r"device 'cpu'|there is no cuda:99", error_of(capsys))
    assert result.read_text() == "precious\n"


def test_outputs_that_cannot_be_written_are_refused_first(track, clip, tmp_path, capsys):
    assert track(clip, "--csv", tmp_path / "no" / "b.csv") == 1
    folder = tmp_path / "no"
    assert (
        error_of(capsys) == f"{folder / 'b.csv'}: the folder {folder} does not exist; make it first"
    )
    assert track(clip, "--output", tmp_path / "out.gif") == 2
    assert "an annotated video ends in .mp4 or .avi" in error_of(capsys)
    assert track(clip, "--mot", tmp_path) == 1
    assert error_of(capsys) == f"{tmp_path} is a folder; give the name of a file for the boxes"
    assert track(clip, "--csv", tmp_path / "b", "--mot", tmp_path / "b") == 2
    assert error_of(capsys) == "two outputs have the same name; give each its own"
    assert track(clip, "--csv", "-", "--mot", "-") == 2
    assert error_of(capsys) == "two outputs have the same name; give each its own"
    assert track(clip, "--output", f"{clip}/") == 1
    assert error_of(capsys) == f"{clip}/ is a file, not a folder for images"


def test_what_is_read_is_never_overwritten(track, clip, weights, tmp_path, capsys):
    before = clip.read_bytes()
    (tmp_path / "link.avi").symlink_to(clip)
    (tmp_path / "hard.avi").hardlink_to(clip)
    for name in (clip, tmp_path / "link.avi", tmp_path / "hard.avi"):
        assert track(clip, "--output", name) == 2
        assert "is read as input and writing it would destroy it" in error_of(capsys)
    assert clip.read_bytes() == before
    assert track(clip, "--csv", weights) == 2
    assert "goturn.h5 is read as input" in error_of(capsys)
    assert load(weights)
    folder = write_images(tmp_path / "seq" / "img", ["1.jpg", "2.jpg"])
    assert track(tmp_path / "seq", "--output", f"{folder}/") == 2
    assert "img is read as input" in error_of(capsys)


def test_a_codec_that_is_missing_is_told(track, clip, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("goturn.outputs.VIDEO_CODECS", {".mp4": "????"})
    monkeypatch.setattr(cv2.VideoWriter, "fourcc", staticmethod(lambda *letters: -2))
    assert track(clip, "--output", tmp_path / "out.mp4") == 1
    assert "OpenCV cannot write ???? video of 64x48 at 25 frames a second" in error_of(capsys)


def test_debug_shows_the_traceback(track, monkeypatch, tmp_path):
    monkeypatch.setenv("GOTURN_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        track(tmp_path / "none.mp4")


def test_errors_as_a_process_have_no_traceback(tmp_path, weights):
    child = process("track", tmp_path / "none.mp4", "--box", START, "--weights", weights)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert out == ""
    assert err.startswith("goturn: error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\nlines"), "two lines"),
        (OSError(28, "No space left on device", "b.csv"), "b.csv: No space left on device"),
        (FileNotFoundError("a sentence"), "a sentence"),
        (KeyError("x"), "KeyError: 'x' (GOTURN_DEBUG=1 shows where)"),
        (ValueError(), "ValueError (GOTURN_DEBUG=1 shows where)"),
        (MemoryError(), "MemoryError (GOTURN_DEBUG=1 shows where)"),
        (UsageError("used wrongly"), "used wrongly"),
    ],
)
def test_errors_become_one_line(error, text):
    assert describe(error) == text


# -- windows -----------------------------------------------------------------------------------


def test_an_opencv_that_lacks_a_library_is_told(tmp_path):
    """What a bare server says of OpenCV's wheel with windows."""
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    paths = os.pathsep.join([str(tmp_path), str(SOURCE_FOLDER)])
    done = subprocess.run(
        [sys.executable, "-m", "goturn", "track", "clip.avi", "--box", START],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("goturn: error: OpenCV cannot be imported (libGL.so.1")
    assert "opencv-python-headless" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_screen_the_box_must_be_given(track, clip, capsys):
    assert track(clip, box=None) == 2
    assert error_of(capsys) == (
        "drawing a box needs a window, but there is no screen (neither DISPLAY nor WAYLAND_DISPLAY "
        "is set); pass --box x,y,w,h"
    )
    assert track(clip, "--show") == 2
    assert error_of(capsys).startswith("--show needs a window, but there is no screen")


@pytest.mark.parametrize(
    ("stderr", "clause"),
    [
        (
            b"error: The function is not implemented. Rebuild",
            "this OpenCV is built without windows",
        ),
        (b"could not connect to display", "no window can be opened on this screen"),
    ],
)
def test_a_window_is_tried_in_another_process(monkeypatch, stderr, clause):
    monkeypatch.setenv("DISPLAY", ":0")
    answer = subprocess.CompletedProcess([], -6, b"", stderr)
    monkeypatch.setattr(screen.subprocess, "run", lambda *args, **more: answer)
    assert screen.screen_problem().startswith(clause)


def test_a_display_that_does_not_exist_does_not_end_the_process(monkeypatch):
    monkeypatch.setenv("DISPLAY", "nowhere.invalid:77")
    assert screen.screen_problem() is not None


@pytest.fixture
def windows(monkeypatch):
    """OpenCV's windows as if there were a screen; what the user does is set by the test."""
    user = {"box": (10, 8, 20, 16), "keys": [], "shown": 0, "closed": 0}

    def wait(delay):
        return user["keys"].pop(0) if user["keys"] else -1

    def count(name):
        user[name] += 1

    monkeypatch.setattr(screen, "screen_problem", lambda: None)
    monkeypatch.setattr(cv2, "selectROI", lambda *args, **more: user["box"])
    monkeypatch.setattr(cv2, "imshow", lambda title, frame: count("shown"))
    monkeypatch.setattr(cv2, "waitKey", wait)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *args: 1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: count("closed"))
    return user


def test_a_drawn_box_is_tracked(track, clip, tmp_path, windows):
    assert track(clip, "--csv", tmp_path / "b.csv", box=None) == 0
    assert rows(tmp_path / "b.csv")[1] == ["0", "0", "10.000", "8.000", "20.000", "16.000", "0.976"]
    assert windows["closed"] == 1


def test_a_cancelled_box_is_a_usage_error(track, clip, windows, capsys):
    windows["box"] = (0, 0, 0, 0)
    assert track(clip, box=None) == 2
    assert error_of(capsys) == (
        "no box was drawn; draw one around the target, or pass --box x,y,w,h"
    )


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_q_ends_a_shown_track(track, clip, tmp_path, windows, key):
    windows["keys"] = [-1, ord("x"), key]
    assert track(clip, "--show", "--csv", tmp_path / "b.csv") == 0
    assert windows["shown"] == 3
    assert windows["closed"] == 1
    assert len(rows(tmp_path / "b.csv")) == 4


def test_a_shown_track_prints_no_boxes(track, clip, windows, capsys):
    assert track(clip, "--show", "--quiet") == 0
    assert windows["shown"] == 8
    assert capsys.readouterr().out == ""


# -- signals and pipes -------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_completes_the_outputs(weights, tmp_path, number, code):
    source = write_video(tmp_path / "long.avi", 6000)
    boxes, annotated = tmp_path / "b.csv", tmp_path / "out.mp4"
    child = process(
        *("track", source, "--weights", weights, "--box", START),
        *("--csv", boxes, "--output", annotated),
    )
    deadline = time.monotonic() + 60
    while not (boxes.exists() and boxes.read_bytes().count(b"\n") > 5):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    assert child.returncode == code
    assert "Traceback" not in err
    assert boxes.read_text().endswith("\n")
    written = rows(boxes)[1:]
    assert 5 <= len(written) < 6000
    assert [row[0] for row in written] == [str(index) for index in range(len(written))]
    assert all(len(row) == 7 for row in written)
    with open_source(annotated) as video:
        assert len(list(video)) == len(written)
    assert f"{len(written)} frames" in err


def test_a_second_signal_acts_as_usual():
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signal() as request:
        assert request.signal == 0
        signal.raise_signal(signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_first_frame(track, clip, monkeypatch):
    def interrupted(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("goturn.video.open_source", interrupted)
    assert track(clip) == 130


def test_a_reader_that_goes_away_is_no_traceback(weights, tmp_path):
    source = write_video(tmp_path / "long.avi", 3000)
    child = process("track", source, "--weights", weights, "--box", START)
    assert child.stdout.readline() == "frame,object,x,y,w,h,confidence\n"
    child.stdout.close()
    assert child.stderr.read() == ""
    child.stderr.close()
    assert child.wait(timeout=60) == 141


# -- convert -----------------------------------------------------------------------------------


def test_convert_keeps_the_weights(weights, tmp_path, capsys):
    out = tmp_path / "copy.h5"
    assert main(["convert", weights, str(out)]) == 0
    assert load(out).digest == load(weights).digest
    assert re.fullmatch(
        r"wrote .*copy\.h5: [\d,]+ parameters, [\d.]+ MB\n", capsys.readouterr().out
    )


def test_convert_with_a_target_policy(weights, tmp_path, capsys):
    """It is written, stays in the next conversion, and goes again with the paper's way."""
    kept, again, plain = (str(tmp_path / name) for name in ("kept.h5", "again.h5", "plain.h5"))
    assert main(["convert", weights, kept, "--target", "0.25,4"]) == 0
    assert main(["convert", kept, again, "--precision", "int8"]) == 0
    assert main(["convert", kept, plain, "--target", "paper"]) == 0
    assert [load(path).target_policy for path in (kept, again, plain)] == [
        (0.25, 4),
        (0.25, 4),
        None,
    ]
    assert main(["convert", kept, str(tmp_path / "a.caffemodel"), "--target", "0.5,3"]) == 2
    assert "--target is for .h5 alone" in capsys.readouterr().err
    assert not (tmp_path / "a.caffemodel").exists()


def test_a_folder_is_no_weights(tmp_path, capsys):
    assert main(["convert", str(tmp_path), str(tmp_path / "a.h5")]) == 1
    assert capsys.readouterr().err == (
        f"goturn: error: {tmp_path} is a folder; name a file in it (of a run, best.h5)\n"
    )


def test_options_are_not_abbreviated(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["train", str(tmp_path / "run"), "--target-err", "0.5"])
    assert exit_.value.code == 2
    assert "unrecognized arguments: --target-err 0.5" in capsys.readouterr().err


def test_a_recipe_is_not_the_settings_of_a_run(tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("batch = 5\n[fc]\nrate = 1e-4\n")
    assert main(["train", str(tmp_path / "run"), "--config", str(recipe)]) == 1
    assert "several stages of training (fc), as make_weights.py" in capsys.readouterr().err


def test_convert_to_half_precision(weights, tmp_path):
    out = tmp_path / "half.h5"
    assert main(["convert", weights, str(out), "--precision", "fp16"]) == 0
    before, after = load(weights), load(out)
    assert after.digest != before.digest
    for name, value in before.parameters.items():
        np.testing.assert_array_equal(after.parameters[name], value.astype(np.float16))


def test_convert_to_caffe_and_back(weights, tmp_path, capsys):
    out = tmp_path / "a.caffemodel"
    assert main(["convert", weights, str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"wrote {out} and {tmp_path / 'a.prototxt'}: ")
    assert printed.err == (
        "goturn: note: this network expects the mean 104, 117, 123, but cv2.TrackerGOTURN subtracts "
        "128 from every channel; --fold-mean 128 compensates\n"
    )
    assert load(out).digest == load(weights).digest
    assert main(["convert", str(out), str(tmp_path / "b.h5")]) == 0
    assert load(tmp_path / "b.h5").digest == load(weights).digest


def test_convert_folds_the_mean(weights, tmp_path, capsys):
    out = tmp_path / "a.caffemodel"
    assert main(["convert", weights, str(out), "--fold-mean", "128"]) == 0
    assert capsys.readouterr().err == ""
    before, after = load(weights), load(out)
    assert after.architecture.preprocessing.mean == (128, 128, 128)
    sums = before.parameters["conv1/weight"].sum(axis=(2, 3), dtype=np.float64)
    expected = before.parameters["conv1/bias"] + sums @ (24, 11, 5)
    np.testing.assert_allclose(after.parameters["conv1/bias"], expected, rtol=1e-5, atol=1e-5)
    # What is folded already needs no note, and another mean does.
    assert main(["convert", str(out), str(tmp_path / "b.caffemodel")]) == 0
    assert capsys.readouterr().err == ""
    assert main(["convert", weights, str(out), "--fold-mean", "100"]) == 0
    assert "expects the mean 100, 100, 100, but" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ({"target_policy": TargetPolicy(0.5, 3)}, "target policy"),
        ({"calibration": Calibration(0.9, 0.02)}, "calibration of confidence"),
        (
            {"target_policy": TargetPolicy(0.5, 3), "calibration": Calibration(0.9, 0.02)},
            "target policy and the calibration of confidence",
        ),
    ],
)
@pytest.mark.parametrize("names", ["opencv", "authors"])
def test_convert_says_what_a_caffemodel_cannot_hold(tmp_path, capsys, kept, named, names):
    source, out = tmp_path / "w.h5", str(tmp_path / "w.caffemodel")
    save(replace(lively(tiny(mean=(128.0,) * 3, hidden=3)), **kept), source)
    assert main(["convert", str(source), out, "--names", names]) == 0
    assert capsys.readouterr().err == (
        f"goturn: note: a .caffemodel has no place for the {named} of these weights; keep the .h5 for "
        "goturn\n"
    )


def test_convert_to_the_authors_names(weights, tmp_path, capsys):
    out = tmp_path / "a.caffemodel"
    assert main(["convert", weights, str(out), "--names", "authors"]) == 0
    assert capsys.readouterr().err == ""
    assert 'name: "conv1_p"' in out.with_suffix(".prototxt").read_text()
    assert load(out).origin == "a.caffemodel, a Caffe file with the authors' layer names"


def test_convert_never_overwrites_what_it_reads(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Path("a.h5")
    model.write_bytes(Path(weights).read_bytes())
    Path("link.h5").symlink_to(model)
    Path("hard.h5").hardlink_to(model)
    Path("b.prototxt").write_bytes(model.read_bytes())
    outputs = ["a.h5", str(tmp_path / "a.h5"), f"../{tmp_path.name}/a.h5", "link.h5", "hard.h5"]
    for source, out, named in [
        *(("a.h5", out, out) for out in outputs),
        ("link.h5", "a.h5", "a.h5"),
        ("b.prototxt", "b.caffemodel", "b.prototxt"),
    ]:
        assert main(["convert", source, out]) == 2
        assert error_of(capsys) == (
            f"{named} is read as input and writing it would destroy it; give another name"
        )
    assert model.read_bytes() == Path("b.prototxt").read_bytes() == Path(weights).read_bytes()
    assert Path("link.h5").is_symlink()
    assert not Path("b.caffemodel").exists()


def test_convert_refuses(weights, tmp_path, capsys):
    assert main(["convert", weights, str(tmp_path / "a.caffemodel"), "--precision", "fp16"]) == 2
    assert "--precision fp16 is for .h5 alone" in error_of(capsys)
    for option in (("--names", "authors"), ("--fold-mean", "0")):
        assert main(["convert", weights, str(tmp_path / "a.h5"), *option]) == 2
        assert error_of(capsys) == (
            f"{option[0]} is for .caffemodel alone; {tmp_path / 'a.h5'} is not one"
        )
    assert main(["convert", weights, str(tmp_path / "no" / "a.h5")]) == 1
    assert "does not exist; make it first" in error_of(capsys)
    assert main(["convert", weights, str(tmp_path / "a.pth")]) == 2
    assert "must end in .h5 or .caffemodel" in error_of(capsys)
    assert main(["convert", str(tmp_path / "none.h5"), str(tmp_path / "a.h5")]) == 1
    assert error_of(capsys) == f"{tmp_path / 'none.h5'}: No such file or directory"
    assert list(tmp_path.iterdir()) == []
