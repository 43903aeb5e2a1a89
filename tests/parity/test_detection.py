"""`keras_impl.ops.detection` against `reference_numpy.detection`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl.backends import in_mode, modes
from keras_impl.ops import detection
from reference_numpy import detection as reference
from reference_numpy.testing.cases import random_scored_boxes

SQUARE = [0.0, 0.0, 0.5, 0.5]


def select(mode, boxes, scores, **options):
    call = in_mode(lambda *tensors: tuple(detection.select(*tensors, **options)), mode)
    return detection.Detections(*call(np.array([boxes], np.float32), np.array([scores], "f4")))


OPTIONS = [
    {"candidates_per_class": 5, "max_detections": 3},
    {"candidates_per_class": 1},
    {"candidates_per_class": 400},
    {"iou_threshold": 0.0},
    {"iou_threshold": 1.0, "max_detections": 300},
    {"score_threshold": 0.5},
    {"score_threshold": 2.0},
]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        pytest.param(mode, options, id=f"{options}-{mode}", marks=marks)
        for mode in modes()
        for options in OPTIONS
        # Compiling takes seconds for each.
        for marks in [[] if mode == "eager" or options is OPTIONS[0] else [pytest.mark.thorough]]
    ],
)
def test_options_mean_the_same(mode, options):
    boxes, scores = random_scored_boxes(np.random.default_rng(5), 1, 50, 3, np.float32)
    options = {"max_detections": 20, **options}

    got = select(mode, boxes[0], scores[0], **options)

    wanted = reference.select(boxes[0], scores[0], **options)
    used = len(wanted.scores)
    assert got.anchors[0].tolist() == [*wanted.anchors, *[-1] * (options["max_detections"] - used)]
    assert got.labels[0, :used].tolist() == wanted.labels.tolist()
    np.testing.assert_array_equal(got.boxes[0, :used], wanted.boxes)
    np.testing.assert_array_equal(got.scores[0, :used], wanted.scores)


@pytest.mark.parametrize("mode", modes())
def test_equal_scores_go_by_anchor_then_class(mode):
    apart = [[0, 0, 0.25, 1], [0.25, 0, 0.5, 1], [0.5, 0, 1, 1]]

    got = select(mode, apart, np.full((3, 2), 0.5), max_detections=7)

    assert got.anchors[0].tolist() == [0, 0, 1, 1, 2, 2, -1]
    assert got.labels[0].tolist() == [1, 2, 1, 2, 1, 2, -1]


@pytest.mark.parametrize("mode", modes())
def test_nan_is_no_candidate(mode):
    boxes = [SQUARE, [np.nan] * 4, [0.5, 0.5, 1, 1]]

    got = select(mode, boxes, [[np.nan], [0.9], [0.5]], max_detections=2)

    assert got.anchors[0].tolist() == [2, -1]
    assert got.scores[0].tolist() == [0.5, 0]
    assert got.boxes[0].tolist() == [[0.5, 0.5, 1, 1], [0, 0, 0, 0]]


def test_top_k_is_what_select_takes_for_each_class():
    """Mirrored inside `select`: the candidates of a class are the reference's `top_k`."""
    boxes, scores = random_scored_boxes(np.random.default_rng(9), 1, 50, 1, np.float32)

    got = select(
        "eager",
        boxes[0],
        scores[0],
        score_threshold=-1.0,
        iou_threshold=1.0,
        candidates_per_class=20,
        max_detections=20,
    )

    assert got.anchors[0].tolist() == reference.top_k(scores[0, :, 0], 20).tolist()


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 5, 0)])
def test_nothing_to_choose_from(shape, dtypes):
    """Without anchors, or without classes: empty slots of the dtypes given."""
    boxes = np.zeros((*shape[:2], 4), dtypes[0])

    call = in_mode(lambda *parts: tuple(detection.select(*parts, max_detections=7)), "eager")
    got = detection.Detections(*call(boxes, np.zeros(shape, dtypes[1])))

    assert [part.dtype.name for part in got] == [*dtypes, "int32", "int32"]
    assert [part.shape for part in got] == [(2, 7, 4), (2, 7), (2, 7), (2, 7)]
    assert not got.boxes.any()
    assert not got.scores.any()
    assert (got.labels == -1).all()
    assert (got.anchors == -1).all()


RULES = [
    {"candidates_per_class": None},
    {"suppress_in": "anchor"},
    *({"ties": ties} for ties in ("lowest anchor", "lowest label", "highest anchor")),
    *({"ties": ties, "candidates_per_class": 3} for ties in ("lowest label", "highest anchor")),
    *({"clip": clip} for clip in ("before", "after", "none")),
    {"clip": "after", "drop_empty": True},
    {"clip": "none", "drop_empty": True},
    {"soft_sigma": 0.5, "max_detections": 12},
    {"soft_sigma": 0.5, "max_detections": 200, "ties": "highest anchor"},
    {"eta": 0.8, "iou_threshold": 0.9},
    {"max_per_class": 2},
    {"score_at": ">=", "score_threshold": 0.5},
]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_rules_among_equal_scores(rules):
    """Few scores, and boxes across the border, beyond it and without size."""
    boxes, scores = random_scored_boxes(np.random.default_rng(2), 1, 24, 3, np.float64)
    boxes, scores = boxes[0] * 1.5 - 0.25, np.round(scores[0] * 4) / 4
    boxes[::6] += 2
    boxes[1::6, 2] = boxes[1::6, 0]
    options = {"max_detections": 40, "score_threshold": 0.2, **rules}

    call = in_mode(lambda *parts: tuple(detection.select(*parts, **options)), "eager")
    got = detection.Detections(*call(boxes[None], scores[None]))

    wanted = reference.select(boxes, scores, **options)
    used = len(wanted.scores)
    assert used > 5
    assert got.labels[0].tolist() == [*wanted.labels, *[-1] * (options["max_detections"] - used)]
    assert got.anchors[0, :used].tolist() == wanted.anchors.tolist()
    np.testing.assert_array_equal(got.boxes[0, :used], wanted.boxes)
    np.testing.assert_allclose(got.scores[0, :used], wanted.scores, rtol=1e-14)
    assert not got.scores[0, used:].any()
    assert not got.boxes[0, used:].any()


@pytest.mark.parametrize("class_loss", ["softmax", "sigmoid", "focal"])
@pytest.mark.parametrize("background", ["first", "last"])
def test_one_class(class_loss, background):
    """Two columns are enough; which is the background, and what makes a score of a logit."""
    rules = {"class_loss": class_loss, "background": background, "score_threshold": 0.3}
    rules |= {"variances": (0.5, 0.25, 2.0, 1.0)}
    anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.25, 0.5]])
    logits = np.array([[[0.5, 1.0], [2.0, -1.0]]])
    deltas = np.array([[[0.5, -0.5, 0.25, 0.125], [-0.25, 0.5, -0.5, 0.0]]])

    call = in_mode(lambda *parts: tuple(detection.detect(*parts, anchors, **rules)), "eager")
    got = detection.Detections(*call(deltas, logits))

    wanted = reference.detect(deltas[0], logits[0], anchors, **rules)
    used = len(wanted.scores)
    assert used > 0
    assert got.anchors[0, :used].tolist() == wanted.anchors.tolist()
    assert (got.labels[0, used:] == -1).all()
    np.testing.assert_allclose(got.scores[0, :used], wanted.scores, rtol=1e-14)
    np.testing.assert_allclose(got.boxes[0, :used], wanted.boxes, rtol=1e-14)
