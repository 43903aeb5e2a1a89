"""`keras_impl.nms` against `reference_numpy.nms`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl import nms
from keras_impl.backends import in_mode, modes
from reference_numpy import nms as reference
from reference_numpy.cases import NMS, random_scored_boxes

ROOM = 4


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("case", NMS, ids=lambda case: case.name)
def test_cases_worked_by_hand(mode, case):
    boxes = np.zeros((1, ROOM, 4), np.float32)
    scores = np.full((1, ROOM), -np.inf, np.float32)
    boxes[0, : len(case.boxes)] = np.reshape(case.boxes, (-1, 4))
    scores[0, : len(case.boxes)] = case.scores

    def suppress(*tensors):
        return nms.nms(*tensors, iou_threshold=case.iou_threshold)

    got = in_mode(suppress, mode)(boxes, scores)

    answer = list(case.answer) + [-1] * (ROOM - len(case.answer))
    assert got[0].tolist() == answer


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("most", [0, 1, 5, 80])
def test_fewer_kept_are_the_first_of_all_kept(mode, most):
    boxes, scores = random_scored_boxes(np.random.default_rng(3), 2, 60, 1, np.float32)
    scores = scores[..., 0]

    def suppress(*tensors):
        return nms.nms(*tensors, iou_threshold=0.5, max_kept=most)

    got = in_mode(suppress, mode)(boxes, scores)

    assert got.shape == (2, most)
    for picture in range(2):
        wanted = reference.nms(boxes[picture], scores[picture], iou_threshold=0.5)[:most]
        assert got[picture].tolist() == [*wanted, *[-1] * (most - len(wanted))]


@pytest.mark.parametrize("mode", modes())
def test_classes_do_not_suppress_each_other(mode):
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (1, 4, 1))
    scores = np.array([[0.5, 0.75, 0.5, 0.25]], np.float32)
    classes = np.array([[0, 1, 0, 2]], np.int32)

    got = in_mode(lambda box, score, kind: nms.nms(box, score, classes=kind), mode)(
        boxes, scores, classes
    )

    assert got.tolist() == [[1, 0, 3, -1]]


@pytest.mark.parametrize("mode", modes())
def test_order_decides_between_equal_scores(mode):
    boxes = np.array([[[0, 0, 0.25, 1], [0.25, 0, 0.5, 1], [0.5, 0, 1, 1]]], np.float32)
    order = np.array([[7, 9, 3]], np.int32)

    got = in_mode(lambda box, score, key: nms.nms(box, score, order=key), mode)(
        boxes, np.ones((1, 3), np.float32), order
    )

    assert got.tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("module", [nms, reference], ids=["keras", "numpy"])
@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_both_refuse_a_threshold_out_of_range(module, threshold):
    with pytest.raises(ValueError, match=f"iou_threshold: .* Received: {threshold}"):
        module.nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), iou_threshold=threshold)
