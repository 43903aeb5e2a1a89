"""From head outputs to detections: by hand, by law, and against a literal brute force."""

from __future__ import annotations

from math import exp, log

import bottleneck
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from reference_numpy.boxes import area, clip, pairwise_iou, xyxy_to_cxcywh
from reference_numpy.coding import decode, encode
from reference_numpy.conventions import CANONICAL
from reference_numpy.detection import Detections, detect, select, top_k
from reference_numpy.losses import softmax
from reference_numpy.suppression import soft_nms
from tests.strategies import (
    FLAT,
    FLOATS,
    SOLID,
    boxes,
    dtypes,
    grid_boxes,
    numbers,
    tied_scores,
)

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
    "beyond the image": (
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


# HALF has IoU 1/2 with a. Boxes, scores, changes; then (anchor, label, score) in order.
HALF = [0, 0, 0.5, 0.5]
OTHERWISE = {
    "a score at the threshold": (
        [a, c],
        [[0.5], [0.75]],
        {"score_threshold": 0.5, "score_at": ">="},
        [(1, 1, 0.75), (0, 1, 0.5)],
    ),
    "IoU at the threshold": (
        [a, HALF],
        [[0.9], [0.8]],
        {"iou_threshold": 0.5, "suppress_at": ">="},
        [(0, 1, 0.9)],
    ),
    # IoU 1/3 of areas of 1/2 each becomes (1/4) / (3/4 + 1/4).
    "an epsilon": (
        [a, b],
        [[0.9], [0.8]],
        {"iou_threshold": 0.3, "iou_epsilon": 0.25},
        [(0, 1, 0.9), (1, 1, 0.8)],
    ),
    # Anchor 1 says class 2, and falls to anchor 0, which says class 1. Anchor 2 says both alike.
    "each anchor with its best class": (
        [a, a, c],
        [[0.9, 0.8], [0.1, 0.7], [0.3, 0.3]],
        {"suppress_in": "anchor"},
        [(0, 1, 0.9), (2, 1, 0.3)],
    ),
    "... if that is enough": (
        [a, c],
        [[0.3, 0.4], [0.2, 0.1]],
        {"suppress_in": "anchor", "score_threshold": 0.2},
        [(0, 2, 0.4)],
    ),
    "... candidates are counted over all": (
        [a, a, c],
        [[0.9, 0.0], [0.0, 0.8], [0.7, 0.0]],
        {"suppress_in": "anchor", "candidates_per_class": 2},
        [(0, 1, 0.9)],
    ),
    "so many of each class": (
        [a, a, c],
        [[0.9, 0.3], [0.8, 0.2], [0.7, 0.4]],
        {"max_per_class": 1},
        [(0, 1, 0.9), (2, 2, 0.4)],
    ),
    "... after suppression": (
        [a, a, c],
        [[0.9], [0.8], [0.7]],
        {"max_per_class": 2},
        [(0, 1, 0.9), (2, 1, 0.7)],
    ),
    "none of each class": ([a], [[0.9]], {"max_per_class": 0}, []),
    "the anchor before the label": (
        [a, c],
        [[0.5, 0.5], [0.5, 0.5]],
        {"ties": "lowest anchor"},
        [(0, 1, 0.5), (0, 2, 0.5), (1, 1, 0.5), (1, 2, 0.5)],
    ),
    "the label before the anchor": (
        [a, c],
        [[0.5, 0.5], [0.5, 0.5]],
        {"ties": "lowest label"},
        [(0, 1, 0.5), (1, 1, 0.5), (0, 2, 0.5), (1, 2, 0.5)],
    ),
    "the highest anchor": (
        [a, c],
        [[0.5, 0.5], [0.5, 0.5]],
        {"ties": "highest anchor"},
        [(1, 1, 0.5), (1, 2, 0.5), (0, 1, 0.5), (0, 2, 0.5)],
    ),
    "... suppresses the lowest": (
        [a, a],
        [[0.5], [0.5]],
        {"ties": "highest anchor"},
        [(1, 1, 0.5)],
    ),
    "... enters suppression": (
        [a, c, a],
        [[0.5], [0.5], [0.5]],
        {"ties": "highest anchor", "candidates_per_class": 2, "iou_threshold": 1.0},
        [(2, 1, 0.5), (1, 1, 0.5)],
    ),
    "... among all anchors": (
        [a, c, a],
        [[0.5, 0.5]] * 3,
        {"ties": "highest anchor", "suppress_in": "anchor"},
        [(2, 1, 0.5), (1, 1, 0.5)],
    ),
    "ties at the edge of the detections": (
        [a, c],
        [[0.5, 0.5], [0.5, 0.5]],
        {"ties": "lowest label", "max_detections": 2},
        [(0, 1, 0.5), (1, 1, 0.5)],
    ),
    # The first brings .6 to .48, which IoU 1/2 is above.
    "a falling threshold": (
        [a, HALF],
        [[0.9], [0.8]],
        {"iou_threshold": 0.6, "eta": 0.8},
        [(0, 1, 0.9)],
    ),
    "... begins anew for each class": (
        [a, HALF, c, c],
        [[0.9, 0.0], [0.0, 0.8], [0.7, 0.0], [0.0, 0.6]],
        {"iou_threshold": 0.6, "eta": 0.8},
        [(0, 1, 0.9), (1, 2, 0.8), (2, 1, 0.7), (3, 2, 0.6)],
    ),
    # exp(-(1/2)² / (2 × 1/2)); then class 2 is surer.
    "soft": (
        [a, HALF, c],
        [[0.9, 0.0], [0.8, 0.0], [0.0, 0.7]],
        {"soft_sigma": 0.5, "iou_threshold": 1.0},
        [(0, 1, 0.9), (2, 2, 0.7), (1, 1, 0.8 * exp(-1 / 4))],
    ),
    "soft, and still dropped at .45": (
        [a, HALF],
        [[0.9], [0.8]],
        {"soft_sigma": 0.5},
        [(0, 1, 0.9)],
    ),
    "soft, below the threshold": (
        [a, HALF],
        [[0.9], [0.8]],
        {"soft_sigma": 0.5, "iou_threshold": 1.0, "score_threshold": 0.63},
        [(0, 1, 0.9)],
    ),
    "soft, the best of each class": (
        [a, HALF, c],
        [[0.9], [0.8], [0.7]],
        {"soft_sigma": 0.5, "iou_threshold": 1.0, "max_per_class": 2},
        [(0, 1, 0.9), (2, 1, 0.7)],
    ),
    "soft, among all anchors": (
        [a, HALF],
        [[0.9, 0.0], [0.0, 0.8]],
        {"soft_sigma": 0.5, "iou_threshold": 1.0, "suppress_in": "anchor"},
        [(0, 1, 0.9), (1, 2, 0.8 * exp(-1 / 4))],
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", OTHERWISE)
def test_other_answers_by_hand(case, dtype):
    boxes, scores, overrides, expected = OTHERWISE[case]
    boxes, scores = np.array(boxes, dtype), np.array(scores, dtype)
    found = select(boxes, scores, **overrides)
    pairs = list(zip(found.anchors.tolist(), found.labels.tolist(), strict=True))
    assert pairs == [row[:2] for row in expected], case
    np.testing.assert_allclose(
        found.scores, [row[2] for row in expected], rtol=4 * np.finfo(dtype).eps
    )
    np.testing.assert_array_equal(found.boxes, boxes[found.anchors])
    assert (found.boxes.dtype, found.scores.dtype) == (dtype, dtype)


@pytest.mark.parametrize("ties", ["lowest anchor", "lowest label", "highest anchor"])
def test_the_highest_score_comes_first_however_ties_are_decided(ties):
    boxes = np.array([[0.0, 0.0, 0.4, 1.0], [0.6, 0.0, 1.0, 1.0]])
    found = select(boxes, np.array([[0.6, 0.9], [0.8, 0.7]]), ties=ties)
    assert found.scores.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert (found.labels.tolist(), found.anchors.tolist()) == ([2, 1, 2, 1], [0, 1, 1, 0])


def test_candidates_without_a_limit():
    # 500 boxes side by side, the highest score last.
    left = np.arange(500) / 500
    boxes = np.stack([left, np.zeros(500), left + 1 / 500, np.ones(500)], axis=1)
    scores = np.linspace(0.5, 1, 500)[:, None]
    for limit, count in ((None, 500), (400, 400), (500, 500), (501, 500)):
        found = select(boxes, scores, candidates_per_class=limit, max_detections=1000)
        assert found.anchors.tolist() == list(range(499, 499 - count, -1))


# Boxes with one class and falling scores; then the anchors and the boxes that are shown. BEYOND
# is a when it is clipped, and has IoU 1/2 with it before. OUTSIDE becomes a line on the border.
BEYOND, OUTSIDE, LINE = [-0.5, 0, 0.5, 1], [1.5, 0, 2, 1], [0.25, 0, 0.25, 1]
CLIPPED = {
    "before": ([a, BEYOND], {"clip": "before"}, [0], [a]),
    "after": ([a, BEYOND], {"clip": "after"}, [0, 1], [a, a]),
    "not at all": ([a, BEYOND], {"clip": "none"}, [0, 1], [a, BEYOND]),
    "... suppressed as they are": ([BEYOND, BEYOND], {"clip": "after"}, [0], [a]),
    "a line on the border": ([OUTSIDE, c], {}, [0, 1], [[1, 0, 1, 1], c]),
    "... is dropped": ([OUTSIDE, c], {"drop_empty": True}, [1], [c]),
    "... after it is clipped": ([OUTSIDE, c], {"drop_empty": True, "clip": "after"}, [1], [c]),
    "... unless it is not": (
        [OUTSIDE, c],
        {"drop_empty": True, "clip": "none"},
        [0, 1],
        [OUTSIDE, c],
    ),
    "a line anywhere": ([LINE, c], {"drop_empty": True, "clip": "none"}, [1], [c]),
    "what is dropped is not counted": (
        [LINE, c],
        {"drop_empty": True, "max_detections": 1},
        [1],
        [c],
    ),
    "... but was a candidate": ([LINE, c], {"drop_empty": True, "candidates_per_class": 1}, [], []),
    "... and one of its class": ([LINE, c], {"drop_empty": True, "max_per_class": 1}, [], []),
    # Both are dropped at last; OUTSIDE and its copy have IoU 1 before they are clipped.
    "... and suppressed": (
        [OUTSIDE, [1.5, 0, 2, 0.9], c],
        {"drop_empty": True, "clip": "after"},
        [2],
        [c],
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CLIPPED)
def test_clipping_and_what_is_left_of_it_by_hand(case, dtype):
    boxes, overrides, anchors, shown = CLIPPED[case]
    boxes = np.array(boxes, dtype)
    scores = np.linspace(1, 0.5, len(boxes), dtype=dtype)[:, None]
    found = select(boxes, scores, iou_threshold=0.6, **overrides)
    assert found.anchors.tolist() == anchors, case
    assert found.boxes.tolist() == np.reshape(shown, (-1, 4)).tolist()


@pytest.mark.parametrize("clip", ["after", "none"])
def test_a_box_that_reaches_infinity_is_refused_unless_it_is_clipped_first(clip):
    boxes, scores = np.array([a, [-INF, 0, INF, 1]]), np.array([[0.5], [0.9]])
    assert select(boxes, scores).boxes.tolist() == [[0, 0, 1, 1]]
    with pytest.raises(ValueError, match=r"^boxes\[1, 0\]: expected a number\. Received: -inf$"):
        select(boxes, scores, clip=clip)


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


def all_boxes(dtype, most):
    return boxes(dtype, most=most, kinds=SOLID + FLAT)


@st.composite
def scored(draw, dtype):
    boxes = draw(st.one_of(grid_boxes(dtype, most=7, flat=True), all_boxes(dtype, most=7)))
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


def literal_select(boxes, scores, convention):
    """(anchor, label) pairs of any convention without soft suppression, pair by pair."""
    rules, last_first = convention.detection, convention.detection.ties == "highest anchor"
    if rules.clip == "before":
        boxes = clip(boxes)
    iou = pairwise_iou(boxes, boxes, convention)
    groups = [[] for _ in range(scores.shape[1])]
    for anchor, row in enumerate(scores.tolist()):
        for column, score in enumerate(row):
            least = rules.score_threshold
            passes = score >= least if rules.score_at == ">=" else score > least
            if passes and (rules.suppress_in == "class" or column == row.index(max(row))):
                group = groups[column if rules.suppress_in == "class" else 0]
                group.append((-score, -anchor if last_first else anchor, anchor, column + 1))
    found = []
    for group in groups:
        threshold, kept = boxes.dtype.type(rules.iou_threshold), []
        for one in sorted(group)[: rules.candidates_per_class]:
            near = [iou[one[2], other[2]] for other in kept]
            if any(n >= threshold if rules.suppress_at == ">=" else n > threshold for n in near):
                continue
            kept.append(one)
            if rules.eta < 1 and threshold > 0.5:
                threshold *= boxes.dtype.type(rules.eta)
        found += kept[: rules.max_per_class]
    if rules.ties == "lowest label":
        found = [(score, label, anchor, label) for score, _, anchor, label in found]
    shown = boxes if rules.clip == "none" else clip(boxes)
    ordered = [(anchor, label) for *_, anchor, label in sorted(found)]
    if rules.drop_empty:
        ordered = [pair for pair in ordered if area(shown[pair[0]]) > 0]
    return ordered[: rules.max_detections]


@given(
    st.data(),
    dtypes,
    st.fixed_dictionaries(
        {
            "score_threshold": st.sampled_from([-1.0, 0.0, 0.25, 0.5]),
            "score_at": st.sampled_from([">", ">="]),
            "suppress_in": st.sampled_from(["class", "anchor"]),
            "candidates_per_class": st.sampled_from([None, 0, 2, 4]),
            "iou_threshold": st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
            "suppress_at": st.sampled_from([">", ">="]),
            "ties": st.sampled_from(["lowest anchor", "lowest label", "highest anchor"]),
            "eta": st.sampled_from([1.0, 0.75]),
            "max_per_class": st.sampled_from([None, 0, 1, 3]),
            "max_detections": st.sampled_from([0, 3, 200]),
            "clip": st.sampled_from(["before", "after", "none"]),
            "drop_empty": st.booleans(),
            "iou_epsilon": st.sampled_from([0.0, 0.125]),
        }
    ),
)
def test_every_convention_equals_the_literal_one(data, dtype, overrides):
    if overrides["suppress_in"] == "anchor":
        overrides["max_per_class"] = None
        overrides["ties"] = overrides["ties"].replace("label", "anchor")
    boxes, scores = data.draw(scored(dtype))
    convention = CANONICAL.replace(**overrides)
    found = select(boxes, scores, convention)
    pairs = list(zip(found.anchors.tolist(), found.labels.tolist(), strict=True))
    assert pairs == literal_select(boxes, scores, convention)
    shown = boxes if overrides["clip"] == "none" else clip(boxes)
    np.testing.assert_array_equal(found.boxes, shown[found.anchors])
    np.testing.assert_array_equal(found.scores, scores[found.anchors, found.labels - 1])


@given(st.data(), dtypes, st.sampled_from([">", ">="]), st.sampled_from([0.5, 1.0]))
def test_soft_selection_is_soft_suppression_of_each_class(data, dtype, score_at, iou_threshold):
    boxes, scores = data.draw(scored(dtype))
    overrides = {"soft_sigma": 0.5, "score_at": score_at, "iou_threshold": iou_threshold}
    found = select(boxes, scores, clip="none", **overrides)
    expected = []
    for column in range(scores.shape[1]):
        kept, lowered = soft_nms(boxes, scores[:, column], **overrides)
        expected += zip((-lowered).tolist(), kept.tolist(), [column + 1] * len(kept), strict=True)
    rows = zip((-found.scores).tolist(), found.anchors.tolist(), found.labels.tolist(), strict=True)
    assert list(rows) == sorted(expected)


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
    # One class, two anchors: the left half of the image, and a box from -.5 to .5. Unclipped,
    # IoU is 1/2 / 1; clipped they are the same.
    anchors = np.array([[0.25, 0.5, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0]])
    logits = np.array([[0.0, 2.0], [0.0, 1.0]])
    found = detect(np.zeros((2, 4)), logits, anchors, iou_threshold=0.6)
    assert found.anchors.tolist() == [0]
    assert found.boxes.tolist() == [[0, 0, 0.5, 1]]


def test_a_box_outside_the_image_is_kept_without_area():
    anchors = np.array([[0.5, 0.5, 0.5, 0.5]] * 2)
    deltas = np.array([[100.0, 0, 0, 0], [100.0, 0, 0, 0]])  # 5 to the right
    found = detect(deltas, np.array([[0.0, 3.0], [0.0, 2.0]]), anchors)
    assert found.boxes.tolist() == [[1, 0.25, 1, 0.75]] * 2
    assert found.anchors.tolist() == [0, 1]


def test_background_is_never_detected():
    # The image is all background; each of the others has e^-5 / (1 + 2 e^-5), .0066.
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


@pytest.mark.parametrize("class_loss", ["sigmoid", "focal"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_scores_are_sigmoids_where_the_loss_has_them(dtype, class_loss):
    # Sigmoids of log(9, 1, 4) are 9/10, 1/2, 4/5: the first, background, takes nothing from the
    # others.
    logits = np.log(np.array([[9.0, 1.0, 4.0]])).astype(dtype)
    anchors = np.array([[0.5, 0.5, 0.25, 0.25]], dtype)
    found = detect(np.zeros((1, 4), dtype), logits, anchors, class_loss=class_loss)
    assert found.labels.tolist() == [2, 1]
    np.testing.assert_allclose(found.scores, [4 / 5, 1 / 2], rtol=4 * np.finfo(dtype).eps)
    # With softmax 4/14 and 1/14.
    found = detect(np.zeros((1, 4), dtype), logits, anchors)
    np.testing.assert_allclose(found.scores, [4 / 14, 1 / 14], rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("class_loss", ["softmax", "sigmoid"])
def test_background_may_be_the_last_column(class_loss):
    # Columns of class 1, class 2, background.
    logits = np.array([[1.0, 3.0, 2.0]])
    anchors = np.array([[0.5, 0.5, 0.25, 0.25]])
    found = detect(np.zeros((1, 4)), logits, anchors, background="last", class_loss=class_loss)
    first = detect(np.zeros((1, 4)), logits[:, [2, 0, 1]], anchors, class_loss=class_loss)
    assert found.labels.tolist() == first.labels.tolist() == [2, 1]
    assert found.scores.tolist() == first.scores.tolist()


def test_the_coding_is_passed_on():
    # 5 × .2 is 1, cut to log(2): twice as wide as a quarter. In the other order the first number
    # moves it down, and the third makes it high.
    anchors, logits = np.array([[0.5, 0.5, 0.25, 0.25]]), np.array([[0.0, 1.0]])
    deltas = np.array([[2.5, 0.0, 5.0, 0.0]])
    for overrides, expected in (
        ({"largest_exponent": log(2)}, [0.3125, 0.375, 0.8125, 0.625]),
        ({"largest_exponent": log(2), "code_order": "yxhw"}, [0.375, 0.3125, 0.625, 0.8125]),
        # A quarter to the right, and 1 wider.
        ({"form": "difference", "clip": "none"}, [0.125, 0.375, 1.375, 0.625]),
    ):
        found = detect(deltas, logits, anchors, **overrides)
        np.testing.assert_allclose(found.boxes, [expected], rtol=1e-14, err_msg=str(overrides))


def test_a_huge_size_needs_a_clip_or_a_limit():
    anchors, logits = np.array([[0.5, 0.5, 0.5, 0.5]]), np.array([[0.0, 1.0]])
    deltas = np.array([[0.0, 0.0, 1e5, 0.0]])
    with pytest.raises(ValueError, match=r"^boxes\[0, 0\]: expected a number\. Received: -inf$"):
        detect(deltas, logits, anchors, clip="none")
    # 62.5 × .5 wide, around the middle.
    found = detect(deltas, logits, anchors, clip="none", largest_exponent=log(62.5))
    np.testing.assert_allclose(found.boxes, [[-15.125, 0.25, 16.125, 0.75]], rtol=1e-14)


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


def test_huge_deltas_cover_the_image():
    anchors = np.array([[0.5, 0.5, 0.5, 0.5]])
    found = detect(np.array([[0.0, 0.0, 1e5, 1e5]]), np.array([[0.0, 1.0]]), anchors)
    assert found.boxes.tolist() == [[0, 0, 1, 1]]


@given(st.data(), dtypes)
def test_detection_is_decoding_clipping_and_selection(data, dtype):
    anchors = xyxy_to_cxcywh(data.draw(grid_boxes(dtype, most=4)))
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
