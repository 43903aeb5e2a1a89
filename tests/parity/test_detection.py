"""`keras_impl.detection` against `reference_numpy.detection`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl import detection
from keras_impl.backends import in_mode, modes
from reference_numpy import detection as reference
from reference_numpy.cases import random_scored_boxes

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
