"""Suppression: chains and ties worked by hand, laws, and a literal brute force."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_numpy.boxes import pairwise_iou
from reference_numpy.nms import nms
from tests.strategies import FLOATS, dtypes, grid_boxes, tied_scores

NAN = np.nan
THIRD = 1 / 3

thresholds = st.sampled_from([0.0, 0.25, THIRD, 0.5, 0.75, 1.0])

# --- worked by hand ------------------------------------------------------------------------------

# Strips of height 1 in quarters of a picture: neighbours half a width apart have IoU 1/3, and
# every second one only touches.
a, b, c, d = ([x / 4, 0, x / 4 + 0.5, 1] for x in range(4))
HALF_OF_A = [0.0, 0.0, 0.5, 0.5]  # IoU 1/2 with a
POINT, LINE = [0.25, 0.5, 0.25, 0.5], [0.25, 0.0, 0.25, 1.0]

# Boxes, scores, threshold; then the boxes kept, in the order visited.
WORKED = {
    "one": ([a], [0.5], 0.3, [0]),
    "a chain a - b - c: b falls to a, so c stays": ([a, b, c], [0.9, 0.8, 0.7], 0.3, [0, 2]),
    "... the middle first: both ends fall": ([a, b, c], [0.8, 0.9, 0.7], 0.3, [1]),
    "... from the other end": ([a, b, c], [0.7, 0.8, 0.9], 0.3, [2, 0]),
    "a chain of four": ([a, b, c, d], [0.9, 0.8, 0.7, 0.6], 0.3, [0, 2]),
    "... from the middle": ([a, b, c, d], [0.7, 0.9, 0.8, 0.6], 0.3, [1, 3]),
    "IoU equal to the threshold is kept": ([a, b, c], [0.9, 0.8, 0.7], THIRD, [0, 1, 2]),
    "... and just above it is not": ([a, b], [0.9, 0.8], 0.3333, [0]),
    "IoU one half at one half": ([a, HALF_OF_A], [0.9, 0.8], 0.5, [0, 1]),
    "IoU one half at a little less": ([a, HALF_OF_A], [0.9, 0.8], 0.49, [0]),
    "in order of scores": ([a, c], [0.1, 0.2], 0.5, [1, 0]),
    "equal scores: the lowest index": ([b, a, c], [0.5, 0.5, 0.5], 0.3, [0]),
    "... which is not suppressed by the others": ([a, b, c], [0.5, 0.5, 0.5], 0.3, [0, 2]),
    "duplicates": ([a, a, a], [0.5, 0.9, 0.9], 0.45, [1]),
    "duplicates at threshold 1": ([a, a, a], [0.5, 0.9, 0.9], 1.0, [1, 2, 0]),
    "threshold 0 drops what overlaps at all": ([a, b, c], [0.9, 0.8, 0.7], 0.0, [0, 2]),
    "no area, no overlap, not even with itself": (
        [a, POINT, POINT, LINE, LINE],
        [0.9, 0.8, 0.7, 0.6, 0.5],
        0.0,
        [0, 1, 2, 3, 4],
    ),
    "inside out": ([a, a[2:] + a[:2]], [0.5, 0.9], 0.0, [1, 0]),
    "beyond the picture": ([[-2, 0, 2, 1], [-2, 0, 1.5, 1]], [0.5, 0.9], 0.5, [1]),
    "any scores": ([a, b, c], [-np.inf, -5.0, np.inf], 0.3, [2, 0]),
    "no boxes": (np.zeros((0, 4)), [], 0.3, []),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", WORKED)
def test_worked_by_hand(case, dtype):
    boxes, scores, threshold, expected = WORKED[case]
    found = nms(np.array(boxes, dtype), np.array(scores, dtype), iou_threshold=threshold)
    assert found.dtype == np.int64
    assert found.tolist() == expected, case


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_threshold_is_compared_in_the_dtype_of_the_boxes(dtype):
    # 1/3 rounded to float32 is above 1/3: in float64 the pair would be suppressed.
    boxes, scores = np.array([a, b], dtype), np.array([0.9, 0.8], dtype)
    assert pairwise_iou(boxes, boxes)[0, 1] == dtype(THIRD)
    assert nms(boxes, scores, iou_threshold=THIRD).tolist() == [0, 1]
    assert nms(boxes, scores, iou_threshold=np.float64(THIRD)).tolist() == [0, 1]
    assert nms(boxes, scores, iou_threshold=np.nextafter(dtype(THIRD), dtype(0))).tolist() == [0]


# --- laws and a literal brute force --------------------------------------------------------------


def brute_force(boxes, scores, threshold) -> list[int]:
    """Visit from the highest score down; keep what no kept one overlaps by more."""
    iou, kept = pairwise_iou(boxes, boxes), []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if not any(iou[other, index] > boxes.dtype.type(threshold) for other in kept):
            kept.append(index)
    return kept


@st.composite
def scored(draw, dtype):
    boxes = draw(grid_boxes(dtype, most=8, flat=True))
    return boxes, draw(tied_scores(len(boxes), dtype))


@given(st.data(), dtypes, thresholds)
def test_equals_the_brute_force(data, dtype, threshold):
    boxes, scores = data.draw(scored(dtype))
    assert nms(boxes, scores, iou_threshold=threshold).tolist() == brute_force(
        boxes, scores, threshold
    )


@given(st.data(), dtypes, thresholds)
def test_what_is_kept_does_not_overlap_and_what_is_dropped_does(data, dtype, threshold):
    boxes, scores = data.draw(scored(dtype))
    kept = nms(boxes, scores, iou_threshold=threshold)
    iou = pairwise_iou(boxes, boxes)
    for position, index in enumerate(kept):
        assert (iou[kept[:position], index] <= dtype(threshold)).all()
    for index in set(range(len(boxes))) - set(kept.tolist()):
        stronger = kept[scores[kept] >= scores[index]]
        assert (iou[stronger, index] > dtype(threshold)).any()
    np.testing.assert_array_equal(
        nms(boxes[kept], scores[kept], iou_threshold=threshold), range(len(kept))
    )


@given(st.data(), dtypes)
def test_a_threshold_of_1_only_sorts(data, dtype):
    boxes, scores = data.draw(scored(dtype))
    assert (
        nms(boxes, scores, iou_threshold=1.0).tolist()
        == np.argsort(-scores, kind="stable").tolist()
    )


@settings(max_examples=20)
@given(st.data(), dtypes)
def test_the_arguments_are_left_alone(data, dtype):
    boxes, scores = data.draw(scored(dtype))
    boxes.setflags(write=False)
    scores.setflags(write=False)
    nms(boxes, scores)


# --- what is refused -----------------------------------------------------------------------------

BOXES, SCORES = np.array([a, b]), np.array([0.5, 0.25])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": BOXES[0]}, "boxes: expected shape (N, 4). Received: (4,)"),
        ({"boxes": BOXES[:, :3]}, "boxes: expected shape (N, 4). Received: (2, 3)"),
        ({"scores": SCORES[:1]}, "scores: expected shape (2,), one a box. Received: (1,)"),
        ({"scores": SCORES[:, None]}, "scores: expected shape (2,), one a box. Received: (2, 1)"),
        (
            {"boxes": np.array([a, [0, 0, NAN, 1]])},
            "boxes[1]: expected numbers. Received: [0.0, 0.0, nan, 1.0]",
        ),
        ({"scores": np.array([0.5, NAN])}, "scores[1]: expected numbers. Received: nan"),
        *[
            (
                {"iou_threshold": value},
                f"iou_threshold: expected a number in [0, 1]. Received: {value}",
            )
            for value in (-0.1, 1.1, NAN)
        ],
    ],
)
def test_nms_refuses(change, message):
    arguments = {"boxes": BOXES, "scores": SCORES}
    nms(**arguments)
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        nms(**{**arguments, **change})


def test_an_infinite_corner_is_refused():
    with pytest.raises(
        ValueError, match=r"^boxes\[1\]: expected numbers\. Received: \[0\.0, 0\.0, inf, 1\.0\]$"
    ):
        nms(np.array([[0.0, 0, 1, 1], [0, 0, np.inf, 1]]), np.array([1.0, 2.0]))
