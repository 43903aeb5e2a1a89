"""The demo's report: what it says, that it loads nothing, that it overwrites nothing of yours."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_impl.conformance.detections import ImageVerdict
from keras_impl.demo import report
from keras_impl.demo.run import Assignment, Demo, Example, Timing
from keras_impl.images.detections import Detection
from keras_impl.images.drawing import colour
from keras_impl.images.writing import mark_of
from keras_impl.parity.table import Check, Report
from tests.end_to_end.pages import Page

SIDE = 224


def an_image(*, good: bool = True) -> Example:
    """Two digits, three anchors; the second digit has one anchor only, which overlaps it little."""
    truth = (
        Detection(8, 1.0, (28.0, 28.0, 84.0, 84.0), -1),
        Detection(1, 1.0, (140.0, 140.0, 168.0, 168.0), -1),
    )
    seen = (Detection(8, 0.9, (29.0, 28.0, 84.0, 84.0), 1),)
    anchors = np.array([[0.25, 0.25, 0.25, 0.25], [0.3, 0.25, 0.25, 0.25], [0.75, 0.75, 0.4, 0.4]])
    duty = Assignment(
        objects=np.array([0, 0, 1]),
        first=np.array([0, 2]),
        overlap=np.array([1.0, 0.6, 0.1]),
        equal=True,
    )
    result = ImageVerdict(3, 0, good, 0.9, 1.5, 3.5, 13.0)
    image = Image.new("RGB", (SIDE, SIDE))
    return Example("1-10", image, truth, seen, seen, result, anchors, duty)


def a_demo(**overrides) -> Demo:
    checks = (
        Check("match", "eager", "tensorflow", "float32", 40, 0, 0, 0.0, 0.0, True),
        Check("softmax", "xla", "tensorflow", "float32", 1000, 0, 0, 1.52, 13.0, True),
    )
    timings = (
        Timing("NumPy reference", 1917, 8, 8, 80_000, 0.004, 7, 0, 0),
        Timing("Keras XLA", 1917, 8, 8, 80_000, 0.001, 7, 0, 0),
    )
    whole = Demo((an_image(),), Report(checks), timings, {"machine": "a small one"})
    return replace(whole, **overrides)


def other_targets() -> Example:
    """An image of which Keras finds the digits, but assigns other targets."""
    example = an_image()
    return replace(example, assignment=replace(example.assignment, equal=False))


def failed(demo: Demo) -> Demo:
    check = replace(demo.parity.checks[0], mismatches=2, passed=False)
    return replace(demo, parity=Report((check, *demo.parity.checks[1:])))


def test_the_page_is_whole_and_loads_nothing_from_anywhere():
    text = report.render(a_demo())
    page = Page(text)
    assert page.open == []
    assert len(page.loads) == 3, "Keras, the reference, the anchors"
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    around = re.sub(r'"data:[^"]*"', "", text)
    assert not re.search(r"https?:|//\w|@import|url\(|<script|<link", around)
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text


def test_the_verdict_is_the_first_line():
    page = Page(report.render(a_demo()))
    first = page.text.split("Detections")[0]
    assert "✓ Keras agrees with the NumPy reference" in first
    assert "1 image with 3 detections, 2 parity checks with 1040 cases, no mismatch." in first


@pytest.mark.parametrize(
    ("demo", "words"),
    [
        (failed(a_demo()), "0 of 1 image, 1 of 2 parity checks and 0 of 2 timed loads"),
        (a_demo(examples=(an_image(good=False),)), "in 1 of 1 image, 0 of 2 parity checks"),
        (a_demo(examples=(other_targets(),)), "in 1 of 1 image, 0 of 2 parity checks"),
        (
            a_demo(timings=(Timing("Keras XLA", 1, 1, 1, 1, 1.0, 1, 4, 0),)),
            "and 1 of 1 timed load",
        ),
    ],
    ids=["parity", "image", "targets", "timing"],
)
def test_whatever_disagrees_is_said_at_the_top(demo, words):
    page = Page(report.render(demo))
    first = page.text.split("\nDetections")[0]
    assert not demo.passed
    assert "✗ Keras DISAGREES with the NumPy reference" in first
    assert words in first
    assert "agrees with the NumPy reference:" not in first
    assert page.text.count("DISAGREES") + page.text.count("FAILED") > 1, "also where it is shown"


def test_excuses_are_in_the_open():
    demo = a_demo()
    check = replace(demo.parity.checks[1], excused=3)
    demo = replace(demo, parity=Report((demo.parity.checks[0], check)))
    assert demo.passed
    assert report.verdict(demo).endswith("no mismatch; 3 near-ties excused.")
    example = an_image()
    example = replace(example, comparison=replace(example.comparison, differences=1))
    assert report.verdict(a_demo(examples=(example,))).endswith("; 1 near-tie excused.")
    assert "1 differ, near-ties, excused" in report.render(a_demo(examples=(example,)))


def test_a_difference_is_excused_only_if_all_numbers_are_close():
    result = replace(an_image().comparison, differences=2)
    assert (result.passed, result.excused) == (True, 2)
    for change in ({"decisions_equal": False}, {"box_error": 3.6}, {"score_error": 13.1}):
        worse = replace(result, **change)
        assert (worse.passed, worse.excused) == (False, 0), change


def test_the_tables_hold_the_numbers():
    rows = Page(report.render(a_demo())).rows
    assert ["passed", "match", "eager", "float32", "40", "0", "0", "0", "0"] in rows
    assert ["passed", "softmax", "xla", "float32", "1000", "0", "0", "1.52", "13"] in rows
    assert ["7", "0.900000", "0.900000", "0", "yes"] in rows
    assert ["1917", "8", "8", "20 M pairs/s4 ms", "80 M pairs/s1 ms"] in rows
    assert ["7", "2", "0", "1.000", "0.800"] in rows
    assert ["0", "1", "2", "0.100", "0.100"] in rows


def test_text_from_outside_is_only_text():
    demo = a_demo(facts={"digits": "<script>alert(1)</script>"})
    text = report.render(demo, 'ssd demo --out "a&b<i>"')
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "a&amp;b&lt;i&gt;" in text


def test_hits_are_right_class_and_half_overlap():
    example = an_image()
    assert example.hits == 1
    assert "1 of 2 digits found, no false detection. A digit is found if " in report.render(
        a_demo()
    )
    wrong = replace(example, numpy=(Detection(9, 0.9, (28.0, 28.0, 84.0, 84.0), 1),))
    assert wrong.hits == 0
    assert "0 of 2 digits found, 1 false detection. " in report.render(a_demo(examples=(wrong,)))
    twice = replace(example, numpy=example.numpy * 2)
    assert twice.hits == 1


def test_anchors_have_the_colour_of_their_object_and_the_first_is_dashed():
    drawn = np.asarray(report.draw_anchors(an_image())).astype(int)
    size = SIDE * 3

    def along(cx: float, cy: float, w: float, h: float) -> np.ndarray:
        """The pixels of an anchor's left side."""
        x = round((cx - w / 2) * size)
        return drawn[round((cy - h / 2) * size) + 6 : round((cy + h / 2) * size) - 6, x]

    plain = along(0.3, 0.25, 0.25, 0.25)
    assert (plain == colour(0)).all(axis=1).mean() > 0.95, "an anchor like others: a line"
    assert not (plain == (255,) * 3).all(axis=1).any()
    for anchor, owner in (((0.25, 0.25, 0.25, 0.25), 0), ((0.75, 0.75, 0.4, 0.4), 1)):
        side = along(*anchor)
        ink, white = ((side == one).all(axis=1).mean() for one in (colour(owner), (255,) * 3))
        assert 0.3 < ink < 0.7, "the anchor given first: dashes"
        assert 0.3 < white < 0.7


def test_images_and_report_are_written_and_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for _ in range(2):
        report.check_folder(tmp_path, 1)
        page = report.write(tmp_path, a_demo(), "ssd demo")
    names = {path.name for path in tmp_path.iterdir()}
    views = {f"image-1-{view}.png" for view in ("keras", "numpy", "anchors")}
    assert names == {"notes.txt", "report.html", "image-1.png", *views}
    assert page.read_text(encoding="utf-8") == report.render(a_demo(), "ssd demo")
    for view in views:
        with Image.open(tmp_path / view) as image:
            assert image.size == (3 * SIDE, 3 * SIDE)
    # What was drawn is known as such; the canvas itself may be looked at again.
    assert mark_of(tmp_path / "image-1-keras.png") is not None
    assert mark_of(tmp_path / "image-1.png") is None


@pytest.mark.parametrize("name", ["report.html", "image-2.png", "image-1-anchors.png"])
def test_a_file_of_the_users_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"is overwritten. Received: .*{name}"):
        report.check_folder(tmp_path, 2)
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ValueError, match=r"out: expected a folder\. Received: .*which is a file"):
        report.check_folder(tmp_path / "out", 1)
    report.check_folder(tmp_path / "a" / "b", 1)
    assert (tmp_path / "a" / "b").is_dir()
