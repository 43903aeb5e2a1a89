"""From head outputs to detections: by hand, by law, and against a literal brute force."""

from __future__ import annotations

import re
from math import exp, log

import bottleneck
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_numpy import detection
from reference_numpy.boxes import clip, corners_to_centers, pairwise_iou
from reference_numpy.coding import decode, encode
from reference_numpy.detection import Detections, detect, select, top_k
from reference_numpy.losses import softmax
from tests.strategies import FLOATS, dtypes, grid_boxes, numbers, tied_scores

NAN, INF = np.nan, np.inf

# --- the k best ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("scores", "k", "expected"),
    [
        ([0.1, 0.7, 0.3], 2, [1, 2]),
        ([0.1, 0.7, 0.3, 0.7, 0.3], 3, [1, 3, 2]),  # a tie at the edge: the lowest index
        ([0.5, 0.5, 0.5, 0.5], 2, [0, 1]),
        ([0.5, 0.9, 0.5, 0.9, 0.5], 4, [1, 3, 0, 2]),
        ([0.1, 0.7, 0.3], 3, [1, 2, 0]),
        ([0.1, 0.7, 0.3], 9, [1, 2, 0]),
        ([0.1, 0.7, 0.3], 1, [1]),
        ([0.1, 0.7, 0.3], 0, []),
        ([-1.0, -INF, -2.0, INF], 3, [3, 0, 2]),
        ([0.0, -0.0, 0.0], 2, [0, 1]),
        ([], 3, []),
        ([], 0, []),
    ],
)
def test_top_k(scores, k, expected, dtype):
    found = top_k(np.array(scores, dtype), k)
    assert found.dtype == np.int64
    assert found.tolist() == expected


@given(st.data(), dtypes)
def test_top_k_is_the_beginning_of_a_stable_sort(data, dtype):
    size = data.draw(st.integers(0, 30))
    scores = data.draw(st.one_of(tied_scores(size, dtype), numbers(size, dtype, 9.0)))
    order = sorted(range(size), key=lambda index: (-scores[index], index))
    for k in (0, 1, size // 2, max(0, size - 1), size, size + 3):
        assert top_k(scores, k).tolist() == order[:k], f"k {k}"


def sorted_partition(array, kth):
    """A partition that keeps equal numbers in order: the first comes first."""
    return np.sort(array, kind="stable")


def reversed_partition(array, kth):
    """A partition that puts the last of equal numbers first, and the rest upside down."""
    ordered = np.sort(array)
    return np.concatenate([ordered[:kth][::-1], [ordered[kth]], ordered[kth + 1 :][::-1]])


@pytest.mark.parametrize("partition", [sorted_partition, reversed_partition])
def test_top_k_does_not_depend_on_the_order_a_partition_leaves(partition, monkeypatch):
    loads = [np.random.default_rng(seed).integers(0, 5, 40) / 4 for seed in range(10)]
    before = [[top_k(scores, k).tolist() for k in range(42)] for scores in loads]

    calls = []
    monkeypatch.setattr(
        bottleneck, "partition", lambda array, kth: calls.append(kth) or partition(array, kth)
    )
    assert [[top_k(scores, k).tolist() for k in range(42)] for scores in loads] == before
    assert calls, "the selection no longer goes through bottleneck.partition"


def test_top_k_refuses():
    with pytest.raises(ValueError, match=r"^k: expected 0 or more\. Received: -1$"):
        top_k(np.array([0.5]), -1)


# --- selection by hand ---------------------------------------------------------------------------

# Strips of height 1, half a width apart: neighbours have IoU 1/3, every second one only touches.
a, b, c, d = ([x / 4, 0, x / 4 + 0.5, 1] for x in range(4))
OPEN = {"score_threshold": 0.0, "iou_threshold": 1.0, "clip": "none"}

# Boxes, scores (a row an anchor, a column a class), options; then (anchor, label) in order.
SELECTED = {
    "highest first": ([a, c], [[0.2], [0.9]], {}, [(1, 1), (0, 1)]),
    "one anchor may be two things": ([a], [[0.4, 0.6]], {}, [(0, 2), (0, 1)]),
    "equal scores: the lowest anchor": ([a, c], [[0.5], [0.5]], {}, [(0, 1), (1, 1)]),
    "equal scores: the anchor before the label": (
        [a, c],
        [[0.0, 0.5], [0.5, 0.5]],
        {},
        [(0, 2), (1, 1), (1, 2)],
    ),
    "classes do not suppress each other": ([a, a], [[0.9, 0.1], [0.1, 0.8]], {}, [(0, 1), (1, 2)]),
    "each class does": ([a, a], [[0.9, 0.6], [0.7, 0.8]], {}, [(0, 1), (1, 2)]),
    "a chain a - b - c": (
        [a, b, c],
        [[0.9], [0.8], [0.7]],
        {"iou_threshold": 0.3},
        [(0, 1), (2, 1)],
    ),
    "IoU equal to the threshold": (
        [a, b],
        [[0.9], [0.8]],
        {"iou_threshold": 1 / 3},
        [(0, 1), (1, 1)],
    ),
    "a score at the threshold is dropped": (
        [a, c],
        [[0.5], [0.75]],
        {"score_threshold": 0.5},
        [(1, 1)],
    ),
    "... and is no candidate that suppresses": (
        [a, a],
        [[0.5], [0.75]],
        {"score_threshold": 0.75},
        [],
    ),
    "the default threshold is .01": ([a, c], [[0.01], [0.0101]], {}, [(1, 1)]),
    "the default IoU threshold is .45": (
        # IoU 1/3 and 1/2.
        [a, b, [0, 0, 0.5, 0.5]],
        [[0.9], [0.8], [0.7]],
        {},
        [(0, 1), (1, 1)],
    ),
    "a threshold below all": (
        [a, c],
        [[0.0], [-1.0]],
        {"score_threshold": -2.0},
        [(0, 1), (1, 1)],
    ),
    "a threshold above all": ([a, c], [[0.9], [1.0]], {"score_threshold": 1.0}, []),
    "candidates are counted for each class": (
        [a, c, d],
        [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]],
        {"candidates_per_class": 2, "clip": "none"},
        [(0, 1), (1, 1), (2, 2), (1, 2)],
    ),
    "candidates are taken before suppression": (
        # a twice: the second is dropped, and c never was a candidate.
        [a, a, c],
        [[0.9], [0.8], [0.7]],
        {"candidates_per_class": 2},
        [(0, 1)],
    ),
    "a tie at the edge of the candidates: the lowest anchors": (
        [a, b, c, d],
        [[0.5], [0.5], [0.5], [0.9]],
        {"candidates_per_class": 3, **OPEN},
        [(3, 1), (0, 1), (1, 1)],
    ),
    "detections are counted over all classes": (
        [a, c],
        [[0.9, 0.6], [0.5, 0.8]],
        {"max_detections": 3},
        [(0, 1), (1, 2), (0, 2)],
    ),
    "a tie at the edge of the detections": (
        [a, c],
        [[0.5, 0.5], [0.5, 0.5]],
        {"max_detections": 3},
        [(0, 1), (0, 2), (1, 1)],
    ),
    "detections are counted after suppression": (
        [a, a, c],
        [[0.9], [0.8], [0.7]],
        {"max_detections": 2},
        [(0, 1), (2, 1)],
    ),
    "no detections asked for": ([a], [[0.9]], {"max_detections": 0}, []),
    "no candidates asked for": ([a], [[0.9]], {"candidates_per_class": 0}, []),
    "boxes without area": ([[0, 0, 0, 1]] * 2, [[0.9], [0.8]], {}, [(0, 1), (1, 1)]),
    "beyond the picture": (
        [[-2, 0, -1, 1], [-2, 0, -1, 1]],
        [[0.8], [0.9]],
        {"clip": "none"},
        [(1, 1)],
    ),
    "nothing scores": ([a, b], [[0.0, 0.0], [0.0, 0.0]], {}, []),
    "no anchors": (np.zeros((0, 4)), np.zeros((0, 3)), {}, []),
    "no classes": ([a, b], np.zeros((2, 0)), {}, []),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", SELECTED)
def test_selection_by_hand(case, dtype):
    boxes, scores, options, expected = SELECTED[case]
    boxes, scores = np.array(boxes, dtype), np.array(scores, dtype)
    found = select(boxes, scores, **options)

    assert isinstance(found, Detections)
    assert list(zip(found.anchors.tolist(), found.labels.tolist(), strict=True)) == expected, case
    assert (found.boxes.dtype, found.boxes.shape) == (dtype, (len(expected), 4))
    assert (found.scores.dtype, found.labels.dtype) == (dtype, np.int64)
    assert found.anchors.dtype == np.int64
    np.testing.assert_array_equal(found.boxes, boxes[found.anchors])
    np.testing.assert_array_equal(found.scores, [scores[i, label - 1] for i, label in expected])


@pytest.mark.parametrize("threshold", [0.01, 0.1, np.float64(0.01), np.float64(0.1)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_score_threshold_is_compared_in_the_dtype_of_the_scores(dtype, threshold):
    # In float32 .01 is smaller than .01 and .1 larger than .1; both are at their threshold.
    at = dtype(threshold)
    scores = np.array([[at], [np.nextafter(at, dtype(1))]], dtype)
    found = select(np.array([a, c], dtype), scores, score_threshold=threshold)
    assert found.anchors.tolist() == [1]


# --- laws and a literal brute force --------------------------------------------------------------


def brute_force(boxes, scores, score_threshold, iou_threshold, candidates, most):
    """(anchor, label) pairs, class by class and pair by pair."""
    iou, found = pairwise_iou(boxes, boxes), []
    for column in range(scores.shape[1]):
        ranked = sorted((-score, anchor) for anchor, score in enumerate(scores[:, column]))
        kept = []
        for score, anchor in [pair for pair in ranked if -pair[0] > score_threshold][:candidates]:
            if not any(iou[anchor, other] > iou_threshold for _, other, _ in kept):
                kept.append((score, anchor, column + 1))
        found += kept
    return [(anchor, label) for _, anchor, label in sorted(found)[:most]]


@st.composite
def scored(draw, dtype):
    boxes = draw(grid_boxes(dtype, most=7, flat=True))
    return boxes, draw(tied_scores((len(boxes), draw(st.integers(0, 3))), dtype))


limits = st.integers(0, 5)


@given(st.data(), dtypes, st.sampled_from([0.0, 0.25, 0.5]), st.sampled_from([0.25, 0.5]))
def test_selection_equals_the_brute_force(data, dtype, score_threshold, iou_threshold):
    boxes, scores = data.draw(scored(dtype))
    candidates, most = data.draw(limits, "candidates"), data.draw(st.integers(0, 9), "most")
    found = select(
        boxes,
        scores,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        candidates_per_class=candidates,
        max_detections=most,
        clip="none",
    )
    assert list(zip(found.anchors.tolist(), found.labels.tolist(), strict=True)) == brute_force(
        boxes, scores, score_threshold, iou_threshold, candidates, most
    )


@given(st.data(), dtypes)
def test_fewer_detections_are_the_beginning_of_more(data, dtype):
    boxes, scores = data.draw(scored(dtype))
    everything = select(boxes, scores)
    for most in range(len(everything.scores) + 2):
        few = select(boxes, scores, max_detections=most)
        for short, long in zip(few, everything, strict=True):
            np.testing.assert_array_equal(short, long[:most])


# --- from head outputs ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_two_anchors_from_end_to_end(dtype):
    # Two classes. Anchor 0 is sure of class 2, 6/8; anchor 1 of class 1, 4/8, then class 2, 3/8.
    # Anchor 0 moves right by .1 * 2.5 widths of .4 and grows to twice its width: x from .3 - .4
    # to .3 + .4, clipped to 0. Anchor 1 moves down by .1 * 5 heights of .4: y from .6 to 1.
    anchors = np.array([[0.2, 0.5, 0.4, 0.4], [0.8, 0.6, 0.4, 0.4]], dtype)
    deltas = np.array([[2.5, 0, 5 * log(2), 0], [0, 5, 0, 0]], dtype)
    logits = np.log(np.array([[1, 1, 6], [1, 4, 3]])).astype(dtype)
    found = detect(deltas, logits, anchors, score_threshold=0.2)

    assert found.labels.tolist() == [2, 1, 2]
    assert found.anchors.tolist() == [0, 1, 1]
    assert (found.boxes.dtype, found.scores.dtype) == (dtype, dtype)
    close = {"rtol": 0, "atol": 4 * np.finfo(dtype).eps}
    np.testing.assert_allclose(found.scores, [6 / 8, 4 / 8, 3 / 8], **close)
    first, second = [0.0, 0.3, 0.7, 0.7], [0.6, 0.6, 1.0, 1.0]
    np.testing.assert_allclose(found.boxes, [first, second, second], **close)


def test_boxes_are_clipped_before_suppression():
    # One class, two anchors: the left half of the picture, and a box from -.5 to .5. Unclipped,
    # IoU is 1/2 / 1; clipped they are the same.
    anchors = np.array([[0.25, 0.5, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0]])
    logits = np.array([[0.0, 2.0], [0.0, 1.0]])
    found = detect(np.zeros((2, 4)), logits, anchors, iou_threshold=0.6)
    assert found.anchors.tolist() == [0]
    assert found.boxes.tolist() == [[0, 0, 0.5, 1]]


def test_a_box_outside_the_picture_is_kept_without_area():
    anchors = np.array([[0.5, 0.5, 0.5, 0.5]] * 2)
    deltas = np.array([[100.0, 0, 0, 0], [100.0, 0, 0, 0]])  # 5 to the right
    found = detect(deltas, np.array([[0.0, 3.0], [0.0, 2.0]]), anchors)
    assert found.boxes.tolist() == [[1, 0.25, 1, 0.75]] * 2
    assert found.anchors.tolist() == [0, 1]


def test_background_is_never_detected():
    # The picture is all background; each of the others has e^-5 / (1 + 2 e^-5), .0066.
    logits = np.array([[5.0, 0.0, 0.0]])
    anchors = np.array([[0.5, 0.5, 0.5, 0.5]])
    assert len(detect(np.zeros((1, 4)), logits, anchors).scores) == 0
    found = detect(np.zeros((1, 4)), logits, anchors, score_threshold=0.005)
    assert found.labels.tolist() == [1, 2]
    np.testing.assert_allclose(found.scores, exp(-5) / (1 + 2 * exp(-5)), rtol=1e-14)


def test_the_variances_are_passed_on():
    anchors, logits = np.array([[0.5, 0.5, 0.25, 0.25]]), np.array([[0.0, 1.0]])
    found = detect(np.array([[1.0, 0, 0, 0]]), logits, anchors, variances=(0.5, 1, 1, 1))
    assert found.boxes.tolist() == [[0.5, 0.375, 0.75, 0.625]]


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_anchors(dtype):
    none = np.zeros((0, 4), dtype)
    found = detect(none, np.zeros((0, 3), dtype), none)
    assert [array.shape for array in found] == [(0, 4), (0,), (0,), (0,)]
    assert (found.boxes.dtype, found.scores.dtype) == (dtype, dtype)


def test_saturated_logits():
    anchors = np.array([[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]])
    logits = np.array([[-1000.0, 1000.0, -1000.0], [1000.0, -1000.0, -1000.0]])
    found = detect(np.zeros((2, 4)), logits, anchors)
    assert (found.scores.tolist(), found.labels.tolist()) == ([1], [1])


def test_huge_deltas_cover_the_picture():
    anchors = np.array([[0.5, 0.5, 0.5, 0.5]])
    found = detect(np.array([[0.0, 0.0, 1e5, 1e5]]), np.array([[0.0, 1.0]]), anchors)
    assert found.boxes.tolist() == [[0, 0, 1, 1]]


@given(st.data(), dtypes)
def test_detection_is_decoding_clipping_and_selection(data, dtype):
    anchors = corners_to_centers(data.draw(grid_boxes(dtype, most=4)))
    deltas = data.draw(numbers((len(anchors), 4), dtype, 20.0))
    logits = data.draw(numbers((len(anchors), 3), dtype, 20.0))
    options = {"score_threshold": 0.2, "iou_threshold": 0.3, "candidates_per_class": 2}
    found = detect(deltas, logits, anchors, max_detections=3, **options)
    expected = select(
        clip(decode(deltas, anchors)), softmax(logits)[:, 1:], max_detections=3, **options
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()  # false for NaN
    assert (found.scores > dtype(0.2)).all()
    assert (np.diff(found.scores) <= 0).all()


@given(st.data())
def test_what_was_encoded_is_detected(data):
    # Each anchor says a different object; they are all found, in the order of the logits.
    objects = clip(data.draw(grid_boxes(np.float64, least=1, most=4)))
    objects = objects[(objects[:, 2:] > objects[:, :2]).all(axis=1)]
    anchors = np.tile([0.5, 0.5, 0.25, 0.25], (len(objects), 1))
    logits = np.zeros((len(objects), 3))
    logits[:, 2] = 5 + np.arange(len(objects))
    found = detect(encode(objects, anchors), logits, anchors, iou_threshold=1.0)
    sure = found.labels == 2
    assert found.anchors[sure].tolist() == list(range(len(objects)))[::-1]
    np.testing.assert_allclose(found.boxes[sure], objects[::-1], atol=1e-14)


@settings(max_examples=20)
@given(st.data(), dtypes)
def test_the_arguments_are_left_alone(data, dtype):
    boxes, scores = data.draw(scored(dtype))
    logits = np.concatenate([scores, scores, np.zeros((len(boxes), 2), dtype)], axis=1)
    anchors = np.full((len(boxes), 4), 0.5, dtype)
    for array in (boxes, scores, logits, anchors):
        array.setflags(write=False)
    select(boxes, scores)
    detect(boxes, logits, anchors)


# --- what is refused -----------------------------------------------------------------------------


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


BOXES, SCORES = np.array([a, c, d]), np.array([[0.0, 0.0], [0.0, 0.0], [0.9, 0.5]])
LIMITS = [
    ({"iou_threshold": 1.5}, "iou_threshold: expected a number in [0, 1]. Received: 1.5"),
    ({"iou_threshold": NAN}, "iou_threshold: expected a number in [0, 1]. Received: nan"),
    ({"candidates_per_class": -1}, "candidates_per_class: expected 0 or more. Received: -1"),
    ({"max_detections": -2}, "max_detections: expected 0 or more. Received: -2"),
]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *LIMITS,
        (
            {"scores": SCORES[:2]},
            "boxes, scores: expected shapes (A, 4) and (A, C). Received: (3, 4), (2, 2)",
        ),
        (
            {"scores": SCORES[:, 0]},
            "boxes, scores: expected shapes (A, 4) and (A, C). Received: (3, 4), (3,)",
        ),
        (
            {"boxes": BOXES[:, :3]},
            "boxes, scores: expected shapes (A, 4) and (A, C). Received: (3, 3), (3, 2)",
        ),
        (
            {"scores": changed(SCORES, (1, 1), NAN)},
            "scores[1, 1]: expected a number. Received: nan",
        ),
        # Named by its anchor, not by its place among the candidates.
        (
            {"boxes": changed(BOXES, (2, 1), NAN)},
            "boxes[2, 1]: expected a number. Received: nan",
        ),
    ],
)
def test_select_refuses(change, message):
    arguments = {"boxes": BOXES, "scores": SCORES}
    select(**arguments)
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        select(**{**arguments, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *LIMITS,
        (
            {"logits": np.zeros((3, 1))},
            "logits: expected shape (3, C + 1) with C at least 1. Received: (3, 1)",
        ),
        (
            {"logits": np.zeros(3)},
            "logits: expected shape (3, C + 1) with C at least 1. Received: (3,)",
        ),
        (
            {"logits": np.zeros((2, 3))},
            "logits: expected shape (3, C + 1) with C at least 1. Received: (2, 3)",
        ),
        (
            {"logits": changed(np.zeros((3, 2)), (1, 0), NAN)},
            "scores[1, 0]: expected a number. Received: nan",
        ),
        (
            {"deltas": changed(np.zeros((3, 4)), (2, 0), NAN)},
            "deltas[2]: expected four numbers, tx and ty finite. Received: [nan, 0.0, 0.0, 0.0]",
        ),
        (
            {"deltas": np.zeros((2, 4))},
            "logits: expected shape (2, C + 1) with C at least 1. Received: (3, 2)",
        ),
        (
            {"anchors": changed(np.full((3, 4), 0.5), (1, 2), 0)},
            "anchors[1]: expected (cx, cy, w, h), finite, w and h above 0. "
            "Received: [0.5, 0.5, 0.0, 0.5]",
        ),
        (
            {"variances": (1.0, 1.0)},
            "variances: expected four positive numbers. Received: (1.0, 1.0)",
        ),
    ],
)
def test_detect_refuses(change, message):
    arguments = {
        "deltas": np.zeros((3, 4)),
        "logits": np.zeros((3, 2)),
        "anchors": np.full((3, 4), 0.5),
    }
    detection.detect(**arguments)
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        detection.detect(**{**arguments, **change})
