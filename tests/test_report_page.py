"""The page: one file, whole, safe whatever trackers and videos are called."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from goturn.box import Box
from goturn.data.model import DataError
from goturn.evaluation.report.charts import charts_of
from goturn.evaluation.report.looks import looks
from goturn.evaluation.report.page import write_page
from goturn.evaluation.report.svg import chart_svg
from goturn.evaluation.results import Evaluation
from report_cases import HOSTILE, SIZE, evaluation, gone, nothing, read, tracker, trajectory, video

VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """Reads a page, and that each element is closed in its place."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.data = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), (tag, attributes)
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        where = self.open[-1] if self.open else ""
        self.data[where] = self.data.get(where, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return "".join(data for tag, data in self.data.items() if tag not in ("script", "style"))


def page_of(tmp_path, evaluations, read=read):
    path = write_page(tmp_path / "report.html", evaluations, read=read)
    return Page(path.read_text("utf-8"))


def check(page):
    """What holds for every page."""
    assert page.elements[0][0] == "html"
    assert page.elements[0][1] == {"lang": "en"}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "href", "xlink:href", "data", "action", "poster"):
                inside = value.startswith("#") and value[1:] in ids
                assert inside or (tag == "img" and value.startswith("data:image/jpeg;base64,"))
        if tag == "img":
            assert attributes["alt"]
        if attributes.get("role") == "img":
            assert attributes["aria-label"]
    assert [tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "base")] == []
    assert not re.search(r"url\(|@import|https?:", page.data["style"] + page.data["script"])
    assert len(page.all("script")) == 1
    digest = base64.b64encode(hashlib.sha256(page.data["script"].encode()).digest()).decode()
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert "nan" not in page.text.replace("\N{NO-BREAK SPACE}", " ").split()


@pytest.mark.parametrize("protocol", ["otb", "got10k", "vot2014"])
def test_a_page(tmp_path, protocol):
    each = evaluation(protocol, attributes=("camera_motion", "empty"), notes=("Mind <this>.",))
    page = page_of(tmp_path, [each])
    check(page)
    for text in ("folder:val", "Mind <this>.", "ours", "theirs", "one", "two", "camera motion"):
        assert text in page.text
    assert f"{'0.200' if protocol == 'vot2014' else '0.800'}" in page.text
    charts = [a for a in page.all("svg") if a.get("class") == "chart"]
    assert len(charts) == {"otb": 3, "got10k": 2, "vot2014": 2}[protocol]
    # Eight evenly spaced, and the lowest of the trackers, the same of both.
    assert len(page.all("img")) == 2 * 9
    assert "could not be read" not in page.text


def test_names_from_outside_are_text(tmp_path):
    videos = tuple(video(name) for name in HOSTILE)
    each = evaluation(
        "vot2014", HOSTILE, videos, attributes=HOSTILE, dataset=HOSTILE[0], notes=HOSTILE
    )
    page = page_of(tmp_path, [each, evaluation("otb", HOSTILE, videos, dataset=HOSTILE[0])])
    check(page)
    for name in HOSTILE:
        assert name.encode("utf-8", "replace").decode().replace("_", " ") in page.text.replace(
            "_", " "
        )
    titles = {a["title"] for a in page.all("span") if "title" in a}
    assert HOSTILE[0] in titles
    assert HOSTILE[2] in titles


def test_frames_that_are_gone(tmp_path):
    each = evaluation()
    page = page_of(tmp_path, [each], gone)
    check(page)
    assert page.all("img") == []
    assert page.text.count("None of the frames chosen here could be read") == 2
    assert page.text.count("This frame could not be read") == len(page.all("figcaption"))
    boxes = [a for a in page.all("rect") if a["class"].startswith("box")]
    assert len(boxes) == 2 * len(page.all("figcaption"))

    def some(path):
        if path.stem == "00000":
            raise DataError(f"{path} cannot be decoded")
        return read(path)

    page = page_of(tmp_path, [each], some)
    check(page)
    assert "1 of the 9 frames chosen here could not be read" in page.text


def test_an_error_of_another_kind_is_not_hidden_and_leaves_no_page(tmp_path):
    def broken(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_page(tmp_path / "report.html", [evaluation()], read=broken)
    assert list(tmp_path.iterdir()) == []


def test_numbers_and_boxes_that_do_not_exist(tmp_path):
    videos = (video("one"), video("single", frames=1), replace(video("unlabelled", 9), boxes={}))
    runs = {v.name: [trajectory(v)] for v in videos}
    runs["one"][0].boxes[:] = [[np.nan] * 4, [np.inf, 0, 1, 1], [1e300] * 4, [5, 5, -3, -3]] * 3
    results = [nothing(videos=videos), tracker("odd", videos, 0.5, runs=runs)]
    results.append(tracker("absent", videos[:1], 0.4, runs={"one": []}))
    page = page_of(tmp_path, [Evaluation("otb", "one-pass", "exact", "d", videos, results)])
    check(page)
    assert "1 frame;" in page.text
    assert "9 frames, 9 without truth" in page.text
    for a in page.all("rect"):
        assert all(np.isfinite(float(a[k])) for k in ("x", "y", "width", "height") if k in a)
        assert abs(float(a.get("x", 0))) <= 2 * SIZE[0]


def test_nothing_at_all(tmp_path):
    check(page_of(tmp_path, [Evaluation("otb", "one-pass", "exact", "d", (), [])]))
    check(page_of(tmp_path, [evaluation("vot2014", names=[], videos=(video("one"),))]))


@pytest.mark.parametrize("count", [1, 12])
def test_one_tracker_and_many(tmp_path, count):
    page = page_of(tmp_path, [evaluation("vot2014", [f"tracker {k}" for k in range(count)])])
    check(page)
    assert len(page.all("symbol")) == count
    best = [a for a in page.all("span") if a.get("class") == "best"]
    assert bool(best) == (count > 1)


def test_the_same_runs_are_shown_once(tmp_path):
    otb, vot = evaluation(), evaluation("vot2014")
    got10k = replace(evaluation("got10k"), trackers=[
        replace(t, trajectories=o.trajectories)
        for t, o in zip(evaluation("got10k").trackers, otb.trackers, strict=True)
    ])  # fmt: skip
    page = page_of(tmp_path, [otb, got10k, vot])
    check(page)
    sections = [a["id"] for a in page.all("section")]
    assert sections == [
        "otb",
        "got10k",
        "vot2014-baseline",
        "otb-videos",
        "vot2014-baseline-videos",
    ]
    other = replace(got10k, trackers=[
        replace(t, trajectories={v.name: [trajectory(v, 9)] for v in got10k.videos})
        for t in got10k.trackers
    ])  # fmt: skip
    assert "got10k-videos" in [a.get("id") for a in page_of(tmp_path, [otb, other]).all("section")]


def test_pictures_are_frames_with_boxes_where_they_are(tmp_path):
    v = video("one")
    corners = {3: (26.0, 25.0, 66.0, 30.0, 60.0, 60.0, 20.0, 55.0)}
    page = page_of(tmp_path, [evaluation(names=["a"], videos=(replace(v, corners=corners),))])
    images = [
        cv2.imdecode(np.frombuffer(base64.b64decode(a["src"].split(",")[1]), np.uint8), 1)
        for a in page.all("img")
    ]
    assert {image.shape for image in images} == {(120, 160, 3)}
    alts = [a["alt"] for a in page.all("img")]
    numbers = [int(re.match(r"Frame (\d+) of one", alt)[1]) for alt in alts]
    assert numbers == [0, 1, 2, 3, 5, 6, 8, 9, 11]  # 1 is the first of the lowest overlaps
    for number, image in zip(numbers, images, strict=True):
        np.testing.assert_allclose(image[60, max(0, 10 * number - 20)], read_pixel(number), atol=12)
    box = next(a for a in page.all("rect") if a["class"] == "box t0")
    assert [float(box[k]) for k in ("x", "y", "width", "height")] == [20, 30, 40, 30]
    outlines = [a for a in page.all("polygon") if a["class"] == "truth"]
    assert [a["points"] for a in outlines] == ["26.0,25.0 66.0,30.0 60.0,60.0 20.0,55.0"]


def read_pixel(number):
    """What :func:`read` has at the left, or black in the first frame."""
    return (30, 90, 200) if number else (0, 0, 0)


def test_truth_that_begins_later(tmp_path):
    v = replace(video("late"), boxes={k: Box(20, 30, 40, 30) for k in range(6, 12)})
    page = page_of(tmp_path, [evaluation(names=["a"], videos=(v,))])
    check(page)
    alts = [a["alt"] for a in page.all("img")]
    assert alts[0].startswith("Frame 6 of late")
    assert "12 frames, 6 without truth" in page.text


def test_lines_of_a_chart_go_through_the_points():
    each = evaluation(names=["a", "b"])
    chart = charts_of(each, looks([each]))[0]
    assert [series.label for series in chart.series] == ["a 0.800", "b 0.750"]
    svg = chart_svg(chart)
    paths = re.findall(r'class="line" d="M([^"]+)"', svg)
    assert len(paths) == 2
    points = np.array([[float(v) for v in p.split()] for p in paths[1].split("L")])
    left, top, right, bottom = 52, 12, 466, 282
    np.testing.assert_allclose(points[[0, -1], 0], [left, right], atol=0.06)
    np.testing.assert_allclose(
        (bottom - points[:, 1]) / (bottom - top), 0.8 * (1 - np.linspace(0, 1, 21)), atol=3e-4
    )
    with pytest.raises(ValueError, match="kind 'bars' cannot be drawn"):
        chart_svg(replace(chart, kind="bars"))


def test_error_against_speed_is_the_papers():
    each = evaluation("vot2014", names=["a"])
    chart = next(c for c in charts_of(each, looks([each])) if c.key == "error-speed")
    assert chart.y_label == "overall error, less is better"
    assert chart.series[0].y == pytest.approx((0.2,))
    assert chart.series[0].x == pytest.approx((72,))
    assert chart.x_range == (10, 100)
    otb = evaluation(names=["a"])
    chart = next(c for c in charts_of(otb, looks([otb])) if c.key == "error-speed")
    assert chart.y_label == "1 - AUC, less is better"
    assert chart.series[0].y == pytest.approx((0.2,))


def test_bars_are_the_papers_overall_error():
    each = evaluation("vot2014", names=["a"], attributes=("occlusion",))
    chart = next(c for c in charts_of(each, looks([each])) if c.kind == "bars")
    assert chart.groups == ("occlusion",)
    assert chart.series[0].y == pytest.approx((1 - (0.8 + 0.4) / 2,))
