"""Suppression: chains and ties worked by hand, laws, and a literal brute force."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from reference_numpy.boxes import pairwise_iou
from reference_numpy.conventions import CANONICAL
from reference_numpy.suppression import nms, soft_nms
from tests.strategies import (
    FLAT,
    FLOATS,
    SOLID,
    boxes_at_threshold,
    dtypes,
    grid_boxes,
    nearly_tied_scores,
    tied_scores,
)

NAN = np.nan
THIRD = 1 / 3

# --- worked by hand ------------------------------------------------------------------------------

# Strips of height 1 in quarters of an image: neighbours half a width apart have IoU 1/3, and
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
    "beyond the image": ([[-2, 0, 2, 1], [-2, 0, 1.5, 1]], [0.5, 0.9], 0.5, [1]),
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


# Changes to a threshold of .3; then what is kept.
OTHERWISE = {
    "at the threshold": ([a, b], [0.9, 0.8], {"iou_threshold": THIRD, "suppress_at": ">="}, [0]),
    "a chain at the threshold": (
        [a, b, c],
        [0.9, 0.8, 0.7],
        {"iou_threshold": THIRD, "suppress_at": ">="},
        [0, 2],
    ),
    "duplicates at 1": ([a, a], [0.5, 0.9], {"iou_threshold": 1.0, "suppress_at": ">="}, [1]),
    # No overlap at all is 0, and 0 is at 0.
    "everything at 0": ([a, c, d], [0.5, 0.9, 0.7], {"iou_threshold": 0, "suppress_at": ">="}, [1]),
    "equal scores: the highest index": ([a, c], [0.5, 0.5], {"ties": "highest anchor"}, [1, 0]),
    "... and it suppresses": ([a, b, c], [0.5, 0.5, 0.5], {"ties": "highest anchor"}, [2, 0]),
    "... only among equals": ([a, a, c], [0.9, 0.5, 0.5], {"ties": "highest anchor"}, [0, 2]),
    "one class has one label": ([b, a, c], [0.5] * 3, {"ties": "lowest label"}, [0]),
    # IoU 1/3 of areas of 1/2 becomes (1/4) / (3/4 + 1/4).
    "an epsilon": ([a, b], [0.9, 0.8], {"iou_epsilon": 0.25}, [0, 1]),
    # Sides of 3/2 and 2 for the strips, which then share one of 1 and 2: 2 / (3 + 3 - 2).
    "an offset joins what touches": ([a, c], [0.9, 0.8], {"iou_offset": 1.0}, [0]),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", OTHERWISE)
def test_other_answers_by_hand(case, dtype):
    boxes, scores, overrides, expected = OTHERWISE[case]
    boxes, scores = np.array(boxes, dtype), np.array(scores, dtype)
    found = nms(boxes, scores, **{"iou_threshold": 0.3, **overrides})
    assert found.tolist() == expected, case


# An image of 20 by 20: all of it, its left 14, its left 11, its right 10, its upper 9. IoU with
# all of it is .7, .55, .5, .45. Else, the left 14 and 11 have 11/14; no other pair has more than
# 99 / (220 + 180 - 99), about .33, of the left 11 and the upper 9.
WHOLE, LEFT14, LEFT11 = [0, 0, 1, 1], [0, 0, 0.7, 1], [0, 0, 0.55, 1]
RIGHT, UPPER = [0.5, 0, 1, 1], [0, 0, 1, 0.45]
FALLING = {
    "fixed": ([WHOLE, LEFT14, LEFT11, RIGHT, UPPER], 0.8, 1.0, [0, 1, 2, 3, 4]),
    # The first brings .8 to .64, which .7 is above. What is dropped lowers nothing: .55 is below
    # .64. The third brings it to .512, which .5 is below, and the fourth to .41, which .45 is not.
    "falling": ([WHOLE, LEFT14, LEFT11, RIGHT, UPPER], 0.8, 0.8, [0, 2, 3]),
    "not yet below .45": ([WHOLE, LEFT14, RIGHT, UPPER], 0.8, 0.8, [0, 2, 3]),
    # .8 to .72 to .648: .7 is not above the first.
    "slowly": ([WHOLE, LEFT14, RIGHT], 0.8, 0.9, [0, 1, 2]),
    "... the kept one counts": ([WHOLE, RIGHT, LEFT14], 0.8, 0.9, [0, 1]),
    "from one half it does not fall": ([WHOLE, UPPER], 0.5, 0.1, [0, 1]),
    "from above one half it falls at once": ([WHOLE, UPPER], 0.51, 0.1, [0]),
    # .51 to .051, and no further: 0 would drop what overlaps by .05.
    "below one half it stays": (
        [[0, 0, 0.5, 1], [0.5, 0, 1, 1], [0, 0, 0.025, 1]],
        0.51,
        0.1,
        [0, 1, 2],
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", FALLING)
def test_a_falling_threshold_by_hand(case, dtype):
    boxes, threshold, eta, expected = FALLING[case]
    boxes, scores = np.array(boxes, dtype), np.linspace(1, 0.5, len(boxes), dtype=dtype)
    assert nms(boxes, scores, iou_threshold=threshold, eta=eta).tolist() == expected, case


# --- soft suppression by hand ---------------------------------------------------------------------

# a and b have IoU 1/3, b and c too, a and HALF_OF_A 1/2. A sigma of 1/2 multiplies by exp(-IoU²).
THIRDS, HALVES = exp(-1 / 9), exp(-1 / 4)
SOFT = {
    "one": ([a], [0.5], {}, [0], [0.5]),
    "two": ([a, HALF_OF_A], [0.9, 0.8], {}, [0, 1], [0.9, 0.8 * HALVES]),
    # After a is kept, b has .8 × .89 = .716, less than c.
    "the order changes": (
        [a, b, c],
        [0.9, 0.8, 0.75],
        {},
        [0, 2, 1],
        [0.9, 0.75, 0.8 * THIRDS**2],
    ),
    # After b, both ends are lowered once; they only touch each other.
    "both ends": ([a, b, c], [0.8, 0.9, 0.7], {}, [1, 0, 2], [0.9, 0.8 * THIRDS, 0.7 * THIRDS]),
    "duplicates": ([a, a], [0.5, 0.9], {}, [1, 0], [0.9, 0.5 * exp(-1)]),
    # exp(-IoU² / (2 × 2)) of IoU 1/2.
    "another sigma": (
        [a, HALF_OF_A],
        [0.9, 0.8],
        {"soft_sigma": 2.0},
        [0, 1],
        [0.9, 0.8 * exp(-1 / 16)],
    ),
    "an infinite sigma lowers nothing": (
        [a, b, c],
        [0.7, 0.9, 0.8],
        {"soft_sigma": np.inf},
        [1, 2, 0],
        [0.9, 0.8, 0.7],
    ),
    "a threshold drops": (
        [a, b, HALF_OF_A],
        [0.9, 0.8, 0.7],
        {"iou_threshold": 0.4},
        [0, 1],
        [0.9, 0.8 * THIRDS],
    ),
    "IoU at the threshold stays": (
        [a, HALF_OF_A],
        [0.9, 0.8],
        {"iou_threshold": 0.5},
        [0, 1],
        [0.9, 0.8 * HALVES],
    ),
    "... or falls": (
        [a, HALF_OF_A],
        [0.9, 0.8],
        {"iou_threshold": 0.5, "suppress_at": ">="},
        [0],
        [0.9],
    ),
    # .8 × .7788 = .623.
    "a score falls below the threshold": (
        [a, HALF_OF_A],
        [0.9, 0.8],
        {"score_threshold": 0.63},
        [0],
        [0.9],
    ),
    "... and at it": ([a, c, c], [0.5, 0.75, 0.5], {"score_threshold": 0.5}, [1], [0.75]),
    "... unless that is enough": (
        [a, c],
        [0.5, 0.75],
        {"score_threshold": 0.5, "score_at": ">="},
        [1, 0],
        [0.75, 0.5],
    ),
    "0 is not above 0": ([a, c], [0.0, 0.5], {"score_threshold": 0.0}, [1], [0.5]),
    "equal scores: the lowest index": ([a, c], [0.5, 0.5], {}, [0, 1], [0.5, 0.5]),
    "equal scores: the highest index": (
        [a, c],
        [0.5, 0.5],
        {"ties": "highest anchor"},
        [1, 0],
        [0.5, 0.5],
    ),
    "boxes without area": ([POINT, POINT], [0.5, 0.5], {}, [0, 1], [0.5, 0.5]),
    # IoU (1/4) / (1/2 + 1/2).
    "an epsilon": (
        [a, HALF_OF_A],
        [0.9, 0.8],
        {"iou_epsilon": 0.5},
        [0, 1],
        [0.9, 0.8 * exp(-1 / 16)],
    ),
    "no boxes": (np.zeros((0, 4)), [], {}, [], []),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", SOFT)
def test_soft_suppression_by_hand(case, dtype):
    boxes, scores, overrides, expected, lowered = SOFT[case]
    overrides = {"soft_sigma": 0.5, "iou_threshold": 1.0, **overrides}
    kept, found = soft_nms(np.array(boxes, dtype), np.array(scores, dtype), **overrides)
    assert (kept.dtype, found.dtype) == (np.int64, dtype)
    assert kept.tolist() == expected, case
    np.testing.assert_allclose(found, lowered, rtol=8 * np.finfo(dtype).eps)


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


@given(st.data(), dtypes)
def test_equals_the_brute_force(data, dtype):
    # Boxes of all kinds; a threshold that the IoU of two of them meets, or misses by one ULP.
    drawn = boxes_at_threshold(dtype, kinds=SOLID + FLAT)
    boxes, threshold = data.draw(drawn, "boxes, threshold")
    size = len(boxes)
    scores = data.draw(st.one_of(tied_scores(size, dtype), nearly_tied_scores(size, dtype)))
    assert nms(boxes, scores, iou_threshold=threshold).tolist() == brute_force(
        boxes, scores, threshold
    )


@given(st.data(), dtypes)
def test_a_threshold_of_1_only_sorts(data, dtype):
    boxes, scores = data.draw(scored(dtype))
    assert (
        nms(boxes, scores, iou_threshold=1.0).tolist()
        == np.argsort(-scores, kind="stable").tolist()
    )


def one_by_one(boxes, scores, rules, iou) -> list[int]:
    """Caffe's way: each box is asked when its turn comes, by the threshold of that time."""
    number = boxes.dtype.type
    threshold, eta, kept = number(rules.iou_threshold), number(rules.eta), []
    last_first = rules.ties == "highest anchor"
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], -i if last_first else i)):
        near = (iou[other, index] for other in kept)
        if any(one >= threshold if rules.suppress_at == ">=" else one > threshold for one in near):
            continue
        kept.append(index)
        if eta < 1 and threshold > 0.5:
            threshold *= eta
    return kept


rules_of_suppression = st.fixed_dictionaries(
    {
        "iou_threshold": st.sampled_from([0.0, 0.25, THIRD, 0.5, 0.75, 0.9, 1.0]),
        "suppress_at": st.sampled_from([">", ">="]),
        "ties": st.sampled_from(["lowest anchor", "lowest label", "highest anchor"]),
        "iou_epsilon": st.sampled_from([0.0, 0.125]),
        "iou_offset": st.sampled_from([0.0, 0.125]),
    }
)


@given(st.data(), dtypes, rules_of_suppression, st.sampled_from([1.0, 0.95, 0.75, 0.5]))
def test_every_convention_equals_the_literal_one(data, dtype, overrides, eta):
    boxes, scores = data.draw(scored(dtype))
    convention = CANONICAL.replace(eta=eta, **overrides)
    iou = pairwise_iou(boxes, boxes, convention)
    expected = one_by_one(boxes, scores, convention.detection, iou)
    assert nms(boxes, scores, convention).tolist() == expected
    assert nms(boxes, scores, eta=eta, **overrides).tolist() == expected


def literal_soft(boxes, scores, rules, iou) -> tuple[list[int], list[float]]:
    """Of what is left, the highest-scoring is kept, and lowers the others or drops them."""
    number = scores.dtype.type
    least, most = number(rules.score_threshold), boxes.dtype.type(rules.iou_threshold)
    factors = np.exp(number(-0.5 / rules.soft_sigma) * (iou * iou))
    left, kept, lowered = dict(enumerate(scores)), [], []
    while left := {
        i: score
        for i, score in left.items()
        if (score >= least if rules.score_at == ">=" else score > least)
    }:
        last_first = rules.ties == "highest anchor"
        best = min(left, key=lambda i: (-left[i], -i if last_first else i))
        kept.append(best)
        lowered.append(left.pop(best))
        left = {
            i: score * factors[best, i]
            for i, score in left.items()
            if not (iou[best, i] >= most if rules.suppress_at == ">=" else iou[best, i] > most)
        }
    return kept, lowered


@given(
    st.data(),
    dtypes,
    rules_of_suppression,
    st.sampled_from([0.1, 0.5, 2.0]),
    st.sampled_from([-1.0, 0.0, 0.25]),
    st.sampled_from([">", ">="]),
)
def test_soft_suppression_equals_the_brute_force(data, dtype, overrides, sigma, least, score_at):
    boxes, scores = data.draw(scored(dtype))
    convention = CANONICAL.replace(
        soft_sigma=sigma, score_threshold=least, score_at=score_at, **overrides
    )
    iou = pairwise_iou(boxes, boxes, convention)
    kept, lowered = soft_nms(boxes, scores, convention)
    expected = literal_soft(boxes, scores, convention.detection, iou)
    assert (kept.tolist(), lowered.tolist()) == expected
    assert (np.diff(lowered) <= 0).all()
    assert (lowered <= scores[kept]).all()


@given(st.data(), dtypes)
def test_an_infinite_sigma_is_hard_suppression(data, dtype):
    boxes, scores = data.draw(scored(dtype))
    kept, lowered = soft_nms(boxes, scores, soft_sigma=np.inf, score_threshold=-1)
    assert kept.tolist() == nms(boxes, scores).tolist()
    np.testing.assert_array_equal(lowered, scores[kept])


@settings(max_examples=20)
@given(st.data(), dtypes)
def test_the_arguments_are_left_alone(data, dtype):
    boxes, scores = data.draw(scored(dtype))
    boxes.setflags(write=False)
    scores.setflags(write=False)
    nms(boxes, scores)
    soft_nms(boxes, scores, soft_sigma=0.5)


# --- what is refused -----------------------------------------------------------------------------

BOXES, SCORES = np.array([a, b]), np.array([0.5, 0.25])


@pytest.mark.parametrize(("ties", "sign"), [("lowest anchor", 1), ("highest anchor", -1)])
def test_ties_of_many_are_visited_in_order(ties, sign):
    """More than a sort of few would leave in order by itself."""
    low = np.arange(200.0)[:, None]
    boxes = np.concatenate([low, low, low + 0.5, low + 0.5], axis=1)
    scores = np.arange(200) % 3 / 4
    wanted = sorted(range(200), key=lambda box: (-scores[box], sign * box))
    assert nms(boxes, scores, ties=ties).tolist() == wanted


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_lowered_in_their_own_dtype(dtype):
    """Pairs of which the IoU is exact: a box, and its lower part."""
    steepness = dtype(-0.5 / 0.3)
    for part in np.arange(1, 64, dtype=dtype) / 64:
        boxes = np.array([[0, 0, 1, 1], [0, 0, 1, part]], dtype)
        _, lowered = soft_nms(boxes, np.array([1, 0.7], dtype), soft_sigma=0.3, iou_threshold=1)
        assert lowered[1] == dtype(0.7) * np.exp(steepness * (part * part))
