"""The TraX adapter: what it answers, first to a stand-in of the protocol's package, then to the real one.

VOT's toolkit itself runs it in tools/check_evaluation_tools.py.
"""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import goturn
from goturn.adapters import trax as adapter
from goturn.adapters.trackers_ini import section, write_section
from goturn.box import Box
from goturn.weights import save
from networks import tiny
from test_network import lively

SOURCE_FOLDER = Path(goturn.__file__).parent.parent
RNG = np.random.default_rng(11)
#: BGR, and in each pixel the three channels differ.
FRAMES = [RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8) for _ in range(6)]
START = (30.25, 20.5, 40.0, 30.0)
POLYGON = [(40.0, 20.5), (70.25, 35.0), (60.0, 50.5), (30.25, 30.0)]  # START is around it


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """A network whose answers depend on the picture, its colours and its place."""
    made = lively(tiny(), seed=3)
    made.parameters["fc8/weight"] *= np.float32(0.02)
    made.parameters["fc8/bias"][:] = (2.6, 2.4, 7.6, 7.3)
    path = tmp_path_factory.mktemp("weights of 50 %") / "goturn's.h5"
    save(made, path)
    return str(path)


def expected(weights: str, frames, start=START) -> list[Box]:
    tracker = goturn.Tracker(weights)
    tracker.init(frames[0], start)
    return [Box(*start), *(tracker.update(frame) for frame in frames[1:])]


# -- with a stand-in of the package ------------------------------------------------------------


class FakeImage:
    """An image of the package: its kind, and the method that gives its content."""

    def __init__(self, kind: str, content: object) -> None:
        self._kind, self._content = kind, content

    def type(self):
        return self._kind

    def path(self):
        return self._content

    array = buffer = path


class FakeRegion(list):
    """A rectangle, or a polygon: the list of its corners."""

    def __init__(self, kind: str, *values) -> None:
        super().__init__(values if kind == "polygon" else ())
        self.type, self._values = kind, values

    def bounds(self):
        return self._values


class FakeTrax:
    """The package: a server that gives the requests it was made with and keeps the answers."""

    class TraxException(Exception):
        pass

    TraxStatus = SimpleNamespace(QUIT="quit", INITIALIZE="initialize", FRAME="frame")
    Region = SimpleNamespace(RECTANGLE="rectangle", POLYGON="polygon")
    Image = SimpleNamespace(PATH="path", MEMORY="memory", BUFFER="buffer")
    Rectangle = SimpleNamespace(create=lambda x, y, width, height: (x, y, width, height))

    def __init__(self, *requests) -> None:
        self._requests = iter(requests)
        self.answers: list[list[tuple]] = []
        self.reasons: list[str | None] = []

    def Server(self, regions, images, **about):
        self.offered = (regions, images, about)
        return self

    def wait(self):
        request = next(self._requests, None)
        if request is None:
            raise FakeTrax.TraxException("the other end is closed")
        return request

    def status(self, objects):
        self.answers.append([region for region, _ in objects])

    def quit(self, reason=None):
        self.reasons.append(reason)


def request(kind: str, frame: np.ndarray | None = None, *regions: FakeRegion):
    images = {} if frame is None else {"color": FakeImage("memory", frame[..., ::-1])}
    return SimpleNamespace(type=kind, image=images, objects=[(region, {}) for region in regions])


QUIT = request("quit")


def served(monkeypatch, weights: str, *requests) -> FakeTrax:
    fake = FakeTrax(*requests)
    monkeypatch.setitem(sys.modules, "trax", fake)
    adapter.serve(weights)
    return fake


def initialize(frame: np.ndarray, *boxes) -> SimpleNamespace:
    return request("initialize", frame, *(FakeRegion("rectangle", *box) for box in boxes))


def test_answers_are_the_trackers(monkeypatch, weights):
    requests = [request("frame", frame) for frame in FRAMES[1:]]
    fake = served(monkeypatch, weights, initialize(FRAMES[0], START), *requests, QUIT)
    assert fake.answers == [[box] for box in expected(weights, FRAMES)]
    assert fake.reasons == [None]
    regions, images, about = fake.offered
    assert (set(regions), set(images)) == ({"rectangle", "polygon"}, {"path", "memory", "buffer"})
    assert about["tracker_name"] == "GOTURN"


def test_a_second_initialize_starts_anew(monkeypatch, weights):
    fake = served(
        monkeypatch, weights,
        initialize(FRAMES[0], START), request("frame", FRAMES[1]),
        initialize(FRAMES[3], (5, 6, 30, 20)), request("frame", FRAMES[4]), QUIT,
    )  # fmt: skip
    first = expected(weights, FRAMES[:2])
    second = expected(weights, FRAMES[3:5], (5, 6, 30, 20))
    assert fake.answers == [[box] for box in (*first, *second)]


def test_objects_may_come_later(monkeypatch, weights):
    later = FakeRegion("polygon", *POLYGON)
    fake = served(
        monkeypatch, weights,
        initialize(FRAMES[0], (5, 6, 30, 20), (50, 40, 20, 20)), request("frame", FRAMES[1], later),
        request("frame", FRAMES[2]), QUIT,
    )  # fmt: skip
    assert [len(boxes) for boxes in fake.answers] == [2, 3, 3]
    starts = ((5, 6, 30, 20), (50, 40, 20, 20))
    for number, start in enumerate(starts):
        for answer, box in zip(fake.answers, expected(weights, FRAMES[:3], start), strict=True):
            assert answer[number] == pytest.approx(box, abs=1e-3)
    assert fake.answers[1][2] == START
    assert fake.answers[2][2] == pytest.approx(expected(weights, FRAMES[1:3])[1], abs=1e-3)


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([request("frame", FRAMES[0])], "frame came before initialize"),
        ([request("initialize", FRAMES[0])], "initialize must bring an object to track"),
        ([initialize(FRAMES[0], (500, 500, 9, 9))], "outside"),
        ([request("initialize", FRAMES[0], FakeRegion("mask"))], "kind 'mask' came; send a rect"),
        ([request("initialize", None, FakeRegion("rectangle", *START))], "no colour image came"),
    ],
)
def test_the_client_is_told_what_is_wrong(monkeypatch, weights, requests, reason):
    fake = FakeTrax(*requests)
    monkeypatch.setitem(sys.modules, "trax", fake)
    with pytest.raises(ValueError, match=reason):
        adapter.serve(weights)
    assert len(fake.reasons) == 1
    assert reason in fake.reasons[0]


def test_a_client_that_is_gone_ends_the_run(monkeypatch, weights, capsys):
    monkeypatch.setitem(sys.modules, "trax", FakeTrax(initialize(FRAMES[0], START)))
    assert adapter.main(["--weights", weights]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "error: the TraX client broke off: the other end is closed" in printed.err


def test_what_is_printed_on_the_way_is_no_part_of_the_protocol(monkeypatch, weights, capsys):
    fake = FakeTrax(QUIT)
    monkeypatch.setitem(sys.modules, "trax", fake)
    monkeypatch.setattr(adapter, "answer", lambda *_: print("hello"))
    assert adapter.main(["--weights", weights]) == 0
    assert (capsys.readouterr().out, fake.reasons) == ("", [None])


def test_images_come_in_three_ways(tmp_path):
    path = tmp_path / "ü.png"
    encoded = cv2.imencode(".png", FRAMES[0])[1].tobytes()
    path.write_bytes(encoded)
    for kind, content in (
        ("path", str(path)), ("buffer", encoded), ("memory", FRAMES[0][..., ::-1]),
    ):  # fmt: skip
        frame = adapter.frame_of({"color": FakeImage(kind, content)})
        assert np.array_equal(frame, FRAMES[0])
    grey = FRAMES[0][..., :1]
    assert np.array_equal(adapter.frame_of({"color": FakeImage("memory", grey)}), grey)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ({}, "no colour image came; got none at all"),
        ({"ir": FakeImage("path", "a.png")}, "no colour image came; got ir"),
        ({"color": FakeImage("buffer", b"\x89PNG")}, "that OpenCV cannot decode"),
        ({"color": FakeImage("buffer", b"")}, "that OpenCV cannot decode"),
        ({"color": FakeImage("url", "http://a")}, "came as 'url'; send a path, pixels"),
        (
            {"color": FakeImage("memory", np.zeros((4, 4, 1), np.uint16))},
            "an image of uint16 came; send 8 bits",
        ),
    ],
)
def test_images_that_cannot_be_read(images, sentence):
    with pytest.raises(ValueError, match=sentence):
        adapter.frame_of(images)


def test_regions_are_upright_rectangles():
    assert adapter.box_of(FakeRegion("polygon", *POLYGON)) == START
    assert adapter.box_of(FakeRegion("polygon", *POLYGON[::-1])) == START
    assert adapter.box_of(FakeRegion("rectangle", *START)) == Box(*START)


def test_without_the_package_it_says_what_is_missing(monkeypatch, weights, capsys):
    monkeypatch.setitem(sys.modules, "trax", None)
    assert adapter.main(["--weights", weights]) == 1
    assert "pip install vot-trax" in capsys.readouterr().err


# -- trackers.ini ------------------------------------------------------------------------------


def read_ini(path: Path) -> configparser.ConfigParser:
    """As the toolkit reads it."""
    config = configparser.ConfigParser()
    assert config.read(path) == [str(path)]
    return config


def test_the_ini_starts_this_python_with_these_weights(tmp_path, weights, capsys):
    path = tmp_path / "trackers.ini"
    options = ["--device", "cpu", "--precision", "int8"]
    assert adapter.main(["--weights", weights, "--write-ini", str(path), *options]) == 0
    entry = read_ini(path)["GOTURN"]
    assert (entry["label"], entry["protocol"]) == ("GOTURN", "trax")
    assert shlex.split(entry["command"]) == [
        sys.executable, "-m", "goturn.adapters.trax", "--weights", weights, *options,
    ]  # fmt: skip
    assert adapter.main(["--weights", weights, "--write-ini", "-", *options]) == 0
    assert capsys.readouterr().out == path.read_text()


def test_the_ini_for_the_toolkits_python(weights):
    config = configparser.ConfigParser()
    config.read_string(section("G", weights=weights, protocol="traxpython"))
    assert config["G"]["python"] == shlex.quote(sys.executable)
    assert config["G"]["paths"] == str(SOURCE_FOLDER)
    command = config["G"]["command"]
    compile(command, "command", "exec")
    assert "--weights" not in section("G", weights=None)
    assert weights in command.replace("\\'", "'")


def test_other_sections_stay_as_they_are(tmp_path):
    path = tmp_path / "trackers.ini"
    path.write_text("# mine\n[A]\nlabel = a %% b\n\n[G]\nlabel = old\n[GG]\ncommand=x\n")
    for label in ("new", "newer"):
        write_section(path, "G", f"[G]\nlabel = {label}\n")
        config = read_ini(path)
        assert config.sections() == ["A", "GG", "G"]
        assert config["G"]["label"] == label
        assert path.read_text().startswith(
            "# mine\n[A]\nlabel = a %% b\n\n[GG]\ncommand=x\n\n[G]\n"
        )
    write_section(tmp_path / "new.ini", "G", "[G]\nlabel = a\n")
    assert (tmp_path / "new.ini").read_text() == "[G]\nlabel = a\n"


def test_inis_that_are_refused(tmp_path, weights, capsys):
    path = tmp_path / "trackers.ini"
    path.write_text("not an ini")
    assert adapter.main(["--weights", weights, "--write-ini", str(path)]) == 1
    assert "is not a trackers.ini that can be read" in capsys.readouterr().err
    assert path.read_text() == "not an ini"
    assert adapter.main(["--weights", str(path), "--write-ini", "-"]) == 1
    assert adapter.main(["--weights", weights, "--write-ini", "-", "--device", "tpu"]) == 1
    assert "device must be one of auto, cpu, cuda, cuda:N" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        adapter.main(["--weights", weights, "--write-ini", "-", "--name", "a b"])
    assert "'a b' is not a name of letters, digits, - and _ alone" in capsys.readouterr().err


# -- with the package itself -------------------------------------------------------------------


@pytest.fixture
def package():
    return pytest.importorskip("trax", reason="vot-trax is not installed")


@pytest.fixture
def running(package, weights):
    """The tracker process."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE_FOLDER), "GOTURN_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "goturn.adapters.trax", "--weights", weights],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as made:
        yield made
        made.kill()


@pytest.fixture
def client(running):
    """The protocol's own client, at the process's other end."""
    from trax.client import Client

    ends = (os.dup(running.stdin.fileno()), os.dup(running.stdout.fileno()))  # it may close them
    return Client(stream=ends, log=lambda text: None)


def ended(running) -> tuple[int, str]:
    """Closes its input; exit code and standard error."""
    _, errors = running.communicate(timeout=30)
    return running.returncode, errors.decode()


def answered(objects: tuple) -> list[tuple]:
    return [region.bounds() for region, _ in objects[0]]


@pytest.mark.slow
def test_the_real_protocol(package, running, client, weights, tmp_path):
    """Images in all three ways, a rectangle, then a polygon: boxes to the protocol's four decimals."""
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), FRAMES[0])
    images = [
        package.FileImage.create(str(path)),
        package.MemoryImage.create(FRAMES[1][..., ::-1]),
        package.BufferImage.create(cv2.imencode(".png", FRAMES[2])[1].tobytes()),
    ]
    assert client.tracker_name == "GOTURN"
    assert client.get("multiobject") is True
    for region in (package.Rectangle.create(*START), package.Polygon.create(POLYGON)):
        found = [
            client.initialize({"color": images[0]}, [(region, {})], {}),
            *(client.frame({"color": image}, {}, []) for image in images[1:]),
        ]
        for (box,), truth in zip(map(answered, found), expected(weights, FRAMES[:3]), strict=True):
            assert box == pytest.approx(truth, abs=1e-4)
    client.quit()
    assert ended(running)[0] == 0


@pytest.mark.slow
def test_a_real_client_is_told_what_is_wrong(package, running, client, tmp_path):
    image = package.FileImage.create(str(tmp_path / "none.png"))
    with pytest.raises(package.TraxException, match=r"none\.png"):
        client.initialize({"color": image}, [(package.Rectangle.create(*START), {})], {})
    code, errors = ended(running)
    assert code == 1
    assert "none.png" in errors


@pytest.mark.slow
def test_it_ends_when_its_client_is_gone(running):
    assert running.stdout.readline().startswith(b"@@TRAX:hello")
    began = time.monotonic()
    code, errors = ended(running)
    assert code == 1
    assert "the TraX client broke off" in errors
    assert time.monotonic() - began < 5
