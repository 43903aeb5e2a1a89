"""`keras_impl.ops.suppression` against `reference_numpy.suppression`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl.backends import in_mode, modes
from keras_impl.ops import suppression
from reference_numpy import suppression as reference
from reference_numpy.conventions import Detection
from reference_numpy.testing.cases import NMS, random_scored_boxes

ROOM = 4


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("case", NMS, ids=lambda case: case.name)
def test_cases_worked_by_hand(mode, case):
    boxes = np.zeros((1, ROOM, 4), np.float32)
    scores = np.full((1, ROOM), -np.inf, np.float32)
    boxes[0, : len(case.boxes)] = np.reshape(case.boxes, (-1, 4))
    scores[0, : len(case.boxes)] = case.scores

    def suppress(*tensors):
        return suppression.nms(*tensors, iou_threshold=case.iou_threshold)

    got = in_mode(suppress, mode)(boxes, scores)

    answer = list(case.answer) + [-1] * (ROOM - len(case.answer))
    assert got[0].tolist() == answer


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("most", [0, 1, 5, 80])
def test_fewer_kept_are_the_first_of_all_kept(mode, most):
    boxes, scores = random_scored_boxes(np.random.default_rng(3), 2, 60, 1, np.float32)
    scores = scores[..., 0]

    def suppress(*tensors):
        return suppression.nms(*tensors, iou_threshold=0.5, max_kept=most)

    got = in_mode(suppress, mode)(boxes, scores)

    assert got.shape == (2, most)
    for image in range(2):
        wanted = reference.nms(boxes[image], scores[image], iou_threshold=0.5)[:most]
        assert got[image].tolist() == [*wanted, *[-1] * (most - len(wanted))]


@pytest.mark.parametrize("mode", modes())
def test_classes_do_not_suppress_each_other(mode):
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (1, 4, 1))
    scores = np.array([[0.5, 0.75, 0.5, 0.25]], np.float32)
    classes = np.array([[0, 1, 0, 2]], np.int32)

    got = in_mode(lambda box, score, kind: suppression.nms(box, score, classes=kind), mode)(
        boxes, scores, classes
    )

    assert got.tolist() == [[1, 0, 3, -1]]


@pytest.mark.parametrize("mode", modes())
def test_order_decides_between_equal_scores(mode):
    boxes = np.array([[[0, 0, 0.25, 1], [0.25, 0, 0.5, 1], [0.5, 0, 1, 1]]], np.float32)
    order = np.array([[7, 9, 3]], np.int32)

    got = in_mode(lambda box, score, key: suppression.nms(box, score, order=key), mode)(
        boxes, np.ones((1, 3), np.float32), order
    )

    assert got.tolist() == [[2, 0, 1]]


def sample(dtype="float64", count=30):
    """Two images of one class, scores in quarters, so that many are equal."""
    boxes, scores = random_scored_boxes(np.random.default_rng(8), 2, count, 1, dtype)
    return boxes, np.round(scores[..., 0] * 4).astype(dtype) / 4


RULES = [
    {},
    {"ties": "highest anchor"},
    {"suppress_at": ">=", "iou_threshold": 0.25},
    {"eta": 0.9, "iou_threshold": 0.8},
    {"iou_threshold": 1.0},
    {"iou_offset": 0.1},
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rules", RULES, ids=str)
def test_rules_mean_the_same(rules, dtype):
    boxes, scores = sample(dtype)

    got = in_mode(lambda *tensors: suppression.nms(*tensors, **rules), "eager")(boxes, scores)

    assert got.dtype == np.int32
    for image in range(2):
        wanted = reference.nms(boxes[image], scores[image], **rules)
        assert got[image].tolist() == [*wanted, *[-1] * (30 - len(wanted))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "rules",
    [
        {"soft_sigma": 0.5},
        {"soft_sigma": 0.1, "iou_threshold": 0.5, "score_threshold": 0.3},
        {"soft_sigma": 0.5, "score_at": ">=", "score_threshold": 0.25},
        {"soft_sigma": 0.3, "ties": "highest anchor", "suppress_at": ">="},
        {"soft_sigma": 1e-2, "score_threshold": 1e-6},
    ],
    ids=str,
)
def test_scores_are_lowered_the_same(rules, dtype):
    boxes, scores = sample(dtype)

    def lower(*tensors):
        return tuple(suppression.soft_nms(*tensors, **rules))

    kept, lowered = in_mode(lower, "eager")(boxes, scores)

    assert kept.dtype == np.int32
    assert lowered.dtype == dtype
    for image in range(2):
        wanted, score = reference.soft_nms(boxes[image], scores[image], **rules)
        assert kept[image].tolist() == [*wanted, *[-1] * (30 - len(wanted))]
        # An exponential for each box kept before.
        near = 2 * len(score) * np.finfo(dtype).eps
        np.testing.assert_allclose(lowered[image, : len(score)], score, rtol=near)
        assert not lowered[image, len(score) :].any()


def test_few_of_each_class():
    """Most of a class, a class that is silent, and most of all: by literal visits."""
    boxes, scores = sample()
    classes = np.tile(np.arange(30, dtype=np.int32) % 3, (2, 1))
    silent = classes == 2

    def suppress(*tensors):
        box, score, kind, silence = tensors
        return suppression.nms(
            box, score, classes=kind, silent=silence, max_kept=9, max_per_class=2
        )

    got = in_mode(suppress, "eager")(boxes, scores, classes, silent)

    assert got.shape == (2, 9)
    for image in range(2):
        wanted = []
        for kind in (0, 1):
            mine = np.flatnonzero(classes[image] == kind)
            wanted += mine[reference.nms(boxes[image, mine], scores[image, mine])][:2].tolist()
        wanted.sort(key=lambda index: (-scores[image, index], index))
        assert got[image].tolist() == [*wanted, *[-1] * (9 - len(wanted))]


@pytest.mark.parametrize("most", [None, 0, 3])
@pytest.mark.parametrize("count", [0, 2])
def test_there_is_nothing_to_keep(count, most):
    scores = np.full((2, count), -np.inf)

    def lower(*tensors):
        return tuple(suppression.soft_nms(*tensors, soft_sigma=0.5, max_kept=most))

    kept, lowered = in_mode(lower, "eager")(np.zeros((2, count, 4), np.float32), scores)

    assert kept.shape == lowered.shape == (2, count if most is None else most)
    assert (kept.dtype, lowered.dtype) == (np.int32, np.float64)
    assert (kept == -1).all()
    assert not lowered.any()


def test_passes_what_is_above_or_at_the_threshold():
    scores = np.array([0.1, 0.25, 0.5, np.nan], np.float32)
    for at, wanted in ((">", [False, False, True, False]), (">=", [False, True, True, False])):
        rules = Detection(score_threshold=0.25, score_at=at)
        got = in_mode(lambda some, rules=rules: suppression.passes(some, rules), "eager")(scores)
        assert got.tolist() == wanted


def test_passes_by_the_threshold_of_its_own_dtype():
    rules = Detection(score_threshold=0.3, score_at=">=")
    for dtype in ("float32", "float64"):
        got = in_mode(lambda some: suppression.passes(some, rules), "eager")(np.array([0.3], dtype))
        assert got.tolist() == [True], dtype


# Four times one box: what is of one class is lowered by exp(-1) for each kept before.
SAME = np.tile(np.array([0, 0, 1, 1], np.float32), (1, 4, 1))
LOWER = {"soft_sigma": 0.5, "iou_threshold": 1.0, "score_threshold": 0.01}


def test_lowering_knows_classes_order_and_silence():
    classes = np.array([[0, 1, 1, 0]], np.int32)
    order = np.array([[3, 2, 1, 0]], np.int32)
    silent = np.array([[False, False, True, False]])

    def lower(*tensors):
        box, score, kind, key, silence = tensors
        return tuple(
            suppression.soft_nms(
                box, score, max_kept=5, classes=kind, order=key, silent=silence, **LOWER
            )
        )

    halves = np.full((1, 4), 0.5, np.float32)
    kept, lowered = in_mode(lower, "eager")(SAME, halves, classes, order, silent)

    assert kept.tolist() == [[3, 1, 0, -1, -1]]
    less = 0.5 * np.exp(-1)
    np.testing.assert_allclose(lowered, [[0.5, less, less, 0, 0]], rtol=1e-6)


def test_scores_need_not_have_the_dtype_of_the_boxes():
    boxes, scores = sample("float32")[0], sample("float64")[1]
    rules = {"eta": 0.9, "iou_threshold": 0.8}

    got = in_mode(lambda *tensors: suppression.nms(*tensors, **rules), "eager")(boxes, scores)

    for image in range(2):
        wanted = reference.nms(boxes[image], scores[image], **rules)
        assert got[image][: len(wanted)].tolist() == wanted.tolist()
        assert (got[image][len(wanted) :] == -1).all()


@pytest.mark.parametrize(
    ("classes", "most", "wanted"),
    [
        ([0, 0, 1, 1], None, [0, 1, 2, 3]),
        ([0, 0, 1, 1], 1, [0, 2, -1, -1]),
        ([0, 0, 1, 1], 0, [-1, -1, -1, -1]),
        (None, 1, [0, 1, 2, 3]),  # of no class, so no class is full
    ],
)
def test_a_class_has_so_many_and_no_more(classes, most, wanted):
    side_by_side = SAME + np.outer(np.arange(4), [1, 0, 1, 0]).astype(np.float32)
    kinds = None if classes is None else np.array([classes], np.int32)

    def suppress(box, score):
        return suppression.nms(box, score, classes=kinds, max_per_class=most)

    scores = np.array([[0.9, 0.8, 0.7, 0.6]], np.float32)
    assert in_mode(suppress, "eager")(side_by_side, scores).tolist() == [wanted]
