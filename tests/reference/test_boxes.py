"""Boxes: the two forms, area, clipping, validation and IoU, by hand and by law."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from reference_numpy.boxes import (
    area,
    check_anchors,
    check_boxes,
    clip,
    cxcywh_to_xyxy,
    flip_horizontally,
    pairwise_ioa,
    pairwise_iou,
    xyxy_to_cxcywh,
)
from reference_numpy.conventions import CANONICAL
from tests.strategies import FLOATS, anywhere_boxes, boxes, dtypes, grid_boxes

NAN, INF = np.nan, np.inf


def exact_iou(first, second, epsilon=0.0, offset=0.0) -> Fraction:
    """IoU of two boxes in fractions, from the definition."""
    (a, b, c, d), (e, f, g, h) = ([Fraction(float(v)) for v in box] for box in (first, second))
    more = Fraction(offset)
    common = max(min(c, g) - max(a, e) + more, 0) * max(min(d, h) - max(b, f) + more, 0)
    union = (c - a + more) * (d - b + more) + (g - e + more) * (h - f + more) - common
    union += Fraction(epsilon)
    return common / union if union else Fraction(0)


# --- worked by hand ------------------------------------------------------------------------------

FORMS = [
    # xmin, ymin, xmax, ymax        cx, cy, w, h
    ((0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 1.0, 1.0)),
    ((0.0, 0.25, 0.5, 0.375), (0.25, 0.3125, 0.5, 0.125)),
    ((-0.5, 0.75, 0.25, 1.5), (-0.125, 1.125, 0.75, 0.75)),  # beyond the image
    ((0.5, 0.5, 0.5, 0.5), (0.5, 0.5, 0.0, 0.0)),  # a point
    ((0.75, 0.5, 0.25, 0.0), (0.5, 0.25, -0.5, -0.5)),  # inside out
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("corners", "centers"), FORMS)
def test_the_two_forms(corners, centers, dtype):
    corners, centers = np.array(corners, dtype), np.array(centers, dtype)
    for found, expected in (
        (xyxy_to_cxcywh(corners), centers),
        (cxcywh_to_xyxy(centers), corners),
    ):
        assert found.dtype == dtype
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 1, 1), 1),
        ((0.25, 0, 0.75, 0.25), 0.125),
        ((-1, -1, 3, 1), 8),  # not clipped
        ((0.5, 0, 0.5, 1), 0),
        ((0.5, 0, 0.25, 1), 0),  # inside out in x
        ((0, 0.5, 1, 0.25), 0),  # ... in y
        ((0.5, 0.5, 0.25, 0.25), 0),  # ... in both, where the product of sides is above 0
    ],
)
def test_area(box, expected, dtype):
    found = area(np.array(box, dtype))
    assert (found.dtype, found.shape) == (dtype, ())
    assert found == expected


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.25, 0, 1, 0.75), (0.25, 0, 1, 0.75)),
        ((-0.5, 0.25, 0.5, 2), (0, 0.25, 0.5, 1)),
        ((-2, -2, -1, -1), (0, 0, 0, 0)),  # wholly outside: a corner of the image
        ((0.25, 1.5, 0.5, 2), (0.25, 1, 0.5, 1)),  # ... a line on its border
        ((-INF, 0.25, INF, 0.5), (0, 0.25, 1, 0.5)),
    ],
)
def test_clip(box, expected, dtype):
    found = clip(np.array(box, dtype))
    assert found.dtype == dtype
    assert found.tolist() == list(expected)


# On a 4 × 4 grid, in units of 1/4: intersection / (area + area - intersection).
A = (0, 0, 2, 2)
IOU = {
    "itself": (A, A, 4 / 4),
    "half of it": (A, (0, 0, 2, 1), 2 / 4),
    "inside": ((0, 0, 4, 4), (1, 2, 2, 3), 1 / 16),
    "a corner": (A, (1, 1, 3, 3), 1 / 7),
    "shifted right by half": (A, (1, 0, 3, 2), 2 / 6),
    "shifted down by half": (A, (0, 1, 2, 3), 2 / 6),
    "a cross": ((0, 1, 4, 2), (2, 0, 3, 4), 1 / 7),
    "beyond the border": ((-2, -2, 2, 2), A, 4 / 16),
    "touching in x": (A, (2, 0, 4, 2), 0),
    "touching in y": (A, (0, 2, 2, 4), 0),
    "touching in a point": (A, (2, 2, 4, 4), 0),
    "apart in x, together in y": (A, (3, 0, 4, 2), 0),
    "apart in both": (A, (3, 3, 4, 4), 0),  # two negative sides do not make an overlap
    "a point inside": (A, (1, 1, 1, 1), 0),
    "a point and itself": ((1, 1, 1, 1), (1, 1, 1, 1), 0),  # union 0
    "a line and itself": ((1, 0, 1, 2), (1, 0, 1, 2), 0),
    "inside out": (A, (2, 2, 0, 0), 0),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", IOU)
def test_iou(case, dtype):
    first, second, expected = IOU[case]
    boxes = np.array([first, second], dtype) / dtype(4)
    found = pairwise_iou(boxes[:1], boxes[1:])
    assert (found.dtype, found.shape) == (dtype, (1, 1))
    assert found[0, 0] == dtype(expected), case


# The same grid; what is added, as a share of the image: the epsilon to the union, in areas of
# 1/16, the offset to every side, in steps of 1/4.
OTHERWISE = {
    # 4 / (4 + 4): a box of the size of the epsilon has half of itself.
    "an epsilon of the box's own size": (A, A, {"iou_epsilon": 4 / 16}, 1 / 2),
    # 2 / (4 + 2 - 2 + 4).
    "an epsilon, half of it": (A, (0, 0, 2, 1), {"iou_epsilon": 4 / 16}, 2 / 8),
    "an epsilon and no overlap": (A, (2, 2, 4, 4), {"iou_epsilon": 4 / 16}, 0),
    "an epsilon instead of a union of 0": ((1, 1, 1, 1), (1, 1, 1, 1), {"iou_epsilon": 0.5}, 0),
    "an offset and itself": (A, A, {"iou_offset": 0.25}, 1),
    # Both are 3 × 3, and share 2 × 2: 4 / (9 + 9 - 4).
    "an offset, a corner": (A, (1, 1, 3, 3), {"iou_offset": 0.25}, 4 / 14),
    # Inclusive corners that touch share a column: 3 / (9 + 9 - 3).
    "an offset, touching": (A, (2, 0, 4, 2), {"iou_offset": 0.25}, 3 / 15),
    # One step apart is 0 wide, and two steps are not -1.
    "an offset, one step apart": (A, (3, 0, 4, 2), {"iou_offset": 0.25}, 0),
    "an offset, apart in both": ((0, 0, 1, 1), (3, 3, 4, 4), {"iou_offset": 0.25}, 0),
    # A point is one cell of it: 1 / (9 + 1 - 1).
    "an offset, a point": (A, (1, 1, 1, 1), {"iou_offset": 0.25}, 1 / 9),
    # (3 × 2) / (3 × 3 + epsilon 9).
    "both": (A, (0, 0, 2, 1), {"iou_offset": 0.25, "iou_epsilon": 9 / 16}, 6 / 18),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", OTHERWISE)
def test_iou_with_something_added(case, dtype):
    first, second, overrides, expected = OTHERWISE[case]
    boxes = np.array([first, second], dtype) / dtype(4)
    for found in (
        pairwise_iou(boxes[:1], boxes[1:], **overrides),
        pairwise_iou(boxes[1:], boxes[:1], CANONICAL.replace(**overrides)),
    ):
        assert (found.dtype, found.shape) == (dtype, (1, 1))
        assert found[0, 0] == dtype(expected), case


def test_a_small_box_is_not_quite_itself_with_an_epsilon():
    # 1e-6 / (1e-6 + 1e-7) and 4e-4 / (4e-4 + 1e-5), as Keras and lufficc's SSD have it.
    for side, epsilon, expected in ((1e-3, 1e-7, 10 / 11), (0.02, 1e-5, 40 / 41)):
        box = np.array([[0.0, 0.0, side, side]])
        found = pairwise_iou(box, box, iou_epsilon=epsilon)
        np.testing.assert_allclose(found, [[expected]], rtol=1e-14)


# Which share of the first box the second covers, on the same grid.
# The second box, whose area counts; the first; then the quotient.
IOA = {
    "itself": (A, A, 1),
    "half": (A, (0, 0, 2, 1), 1 / 2),
    "all of a small one": ((1, 1, 2, 2), (0, 0, 4, 4), 1),
    "a little of a large one": ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16),
    "a corner": (A, (1, 1, 3, 3), 1 / 4),
    "beyond the border": ((-2, -2, 2, 2), A, 1 / 4),
    "touching": (A, (2, 0, 4, 2), 0),
    "apart in both": (A, (3, 3, 4, 4), 0),
    "a second without area": ((1, 1, 1, 2), (0, 0, 4, 4), 0),
    "a first without area": (A, (1, 1, 1, 2), 0),
    "a second inside out": ((2, 2, 0, 0), A, 0),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", IOA)
def test_ioa(case, dtype):
    second, first, expected = IOA[case]
    boxes = np.array([first, second], dtype) / dtype(4)
    found = pairwise_ioa(boxes[:1], boxes[1:])
    assert (found.dtype, found.shape) == (dtype, (1, 1))
    assert found[0, 0] == dtype(expected), case


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(4,), (0, 4), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("function", [xyxy_to_cxcywh, cxcywh_to_xyxy, clip, area])
def test_leading_axes_are_kept(function, shape, dtype):
    boxes = np.arange(np.prod(shape)).reshape(shape).astype(dtype) / 8
    found = function(boxes)
    assert found.dtype == dtype
    assert found.shape == (shape[:-1] if function is area else shape)
    one_by_one = [function(row) for row in boxes.reshape(-1, 4)]
    np.testing.assert_array_equal(found, np.reshape(one_by_one, found.shape))


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 3), (3, 0), (2, 3)])
def test_iou_has_a_row_for_each_of_the_first_and_a_column_for_each_of_the_second(rows, columns):
    first = np.tile(np.array([0, 0, 1, 1], np.float32), (rows, 1))
    second = np.array([[0, 0, 1, 1 / (1 + k)] for k in range(columns)], np.float32).reshape(-1, 4)
    found = pairwise_iou(first, second)
    assert (found.dtype, found.shape) == (np.float32, (rows, columns))
    np.testing.assert_array_equal(found, np.tile(second[:, 3], (rows, 1)))


# --- laws ----------------------------------------------------------------------------------------


@given(st.data(), dtypes)
def test_iou_on_a_grid_is_exact(data, dtype):
    # Sides, areas and union are exact there; the division rounds once.
    first = data.draw(grid_boxes(dtype, flat=True))
    second = data.draw(grid_boxes(dtype, flat=True))
    expected = [[dtype(float(exact_iou(a, b))) for b in second] for a in first]
    found = pairwise_iou(first, second)
    np.testing.assert_array_equal(found, np.reshape(expected, found.shape))


@given(st.data(), dtypes, st.sampled_from([0.0, 1 / 64, 0.5]), st.sampled_from([0.0, 0.125, 1.0]))
def test_iou_with_something_added_is_exact_on_a_grid(data, dtype, epsilon, offset):
    first = data.draw(grid_boxes(dtype, flat=True))
    second = data.draw(grid_boxes(dtype, flat=True))
    expected = [[dtype(float(exact_iou(a, b, epsilon, offset))) for b in second] for a in first]
    found = pairwise_iou(first, second, iou_epsilon=epsilon, iou_offset=offset)
    np.testing.assert_array_equal(found, np.reshape(expected, found.shape))
    assert ((found >= 0) & (found <= 1)).all()


@given(st.data(), dtypes)
def test_ioa_is_exact_on_a_grid_and_never_below_iou(data, dtype):
    # Intersection over the second box alone, which is part of the union.
    first = data.draw(grid_boxes(dtype, flat=True))
    second = data.draw(grid_boxes(dtype, flat=True))
    found = pairwise_ioa(first, second)
    assert (found >= pairwise_iou(first, second)).all()
    for (row, column), value in np.ndenumerate(found):
        (a, b, c, d), (e, f, g, h) = (
            [Fraction(float(v)) for v in box] for box in (first[row], second[column])
        )
        common = max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0)
        other = (g - e) * (h - f)
        assert value == dtype(float(common / other if other else 0))


@given(st.data(), dtypes)
def test_iou_anywhere_is_within_its_budget(data, dtype):
    # With u = eps/2: a side is rounded once, a product of two 3 u in all, a sum of two areas
    # 4 u. It is at most 2 unions and the intersection at most 1, so the union errs by
    # 8 u + 3 u + u, and the quotient by 12 u + 3 u + u = 8 eps.
    first, second = data.draw(boxes(dtype), "first"), data.draw(boxes(dtype), "second")
    found = pairwise_iou(first, second)
    for (row, column), value in np.ndenumerate(found):
        expected = exact_iou(first[row], second[column])
        budget = 8.1 * float(np.finfo(dtype).eps) * float(expected)
        assert abs(float(Fraction(float(value)) - expected)) <= budget, (row, column)


@given(st.data(), dtypes)
def test_moving_both_boxes_by_a_grid_step_changes_nothing(data, dtype):
    boxes = data.draw(grid_boxes(dtype, flat=True))
    moved = boxes + np.array([0.5, -0.25, 0.5, -0.25], dtype)
    np.testing.assert_array_equal(pairwise_iou(boxes, boxes), pairwise_iou(moved, moved))


@given(st.data(), dtypes)
def test_the_forms_are_inverses(data, dtype):
    exact = data.draw(grid_boxes(dtype, flat=True))
    np.testing.assert_array_equal(cxcywh_to_xyxy(xyxy_to_cxcywh(exact)), exact)

    # Anywhere: the sum is rounded once and halved exactly, the size is rounded once and halved,
    # and their difference once more: u (|center| + size / 2 + |corner|), at most 1.5 eps max.
    boxes = data.draw(anywhere_boxes(dtype, least=1))
    back = cxcywh_to_xyxy(xyxy_to_cxcywh(boxes))
    assert back.dtype == dtype
    budget = 1.51 * np.finfo(dtype).eps * np.abs(boxes).max(axis=1, keepdims=True)
    assert (np.abs(back - boxes) <= budget).all(), np.abs(back - boxes) / budget


@given(st.data(), dtypes)
def test_clipping_is_done_once_and_never_adds_area(data, dtype):
    boxes = data.draw(anywhere_boxes(dtype))
    clipped = clip(boxes)
    assert ((clipped >= 0) & (clipped <= 1)).all()
    np.testing.assert_array_equal(clip(clipped), clipped)
    assert (area(clipped) <= area(boxes)).all()
    inside = ((boxes >= 0) & (boxes <= 1)).all(axis=1)
    np.testing.assert_array_equal(clipped[inside], boxes[inside])


@settings(max_examples=20)
@given(st.data(), dtypes)
def test_the_arguments_are_left_alone(data, dtype):
    boxes = data.draw(grid_boxes(dtype))
    boxes.setflags(write=False)
    for function in (xyxy_to_cxcywh, cxcywh_to_xyxy, clip, area, check_boxes):
        function(boxes)
    pairwise_iou(boxes, boxes)


@pytest.mark.parametrize("dtype", FLOATS)
def test_boxes_too_small_to_have_an_area_overlap_nothing(dtype):
    # The sides are numbers of the dtype, their product is 0.
    tiny = np.array([[0, 0, 1, 1]], dtype) * np.finfo(dtype).tiny
    assert area(tiny).tolist() == [0]
    assert pairwise_iou(tiny, tiny).tolist() == [[0]]


# --- validation ----------------------------------------------------------------------------------


@given(st.data(), dtypes)
def test_boxes_that_an_object_can_have_pass(data, dtype):
    check_boxes(data.draw(st.one_of(grid_boxes(dtype), anywhere_boxes(dtype))))
    check_boxes(np.zeros((0, 4), dtype))


FINE = [0.0, 0.0, 0.5, 0.5]


@pytest.mark.parametrize(
    "bad",
    [
        [0.5, 0.0, 0.5, 1.0],  # no width
        [0.0, 0.5, 0.5, 0.5],  # no height
        [0.5, 0.0, 0.25, 1.0],
        [0.0, 0.5, 1.0, 0.25],
        [0.0, 0.0, 0.0, 0.0],
    ],
)
def test_check_boxes_names_the_first_that_is_no_box(bad):
    message = f"truth[2]: expected xmin < xmax and ymin < ymax. Received: {bad}"
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        check_boxes(np.array([FINE, FINE, bad, bad]), "truth")


@pytest.mark.parametrize(
    ("box", "mirrored"),
    [
        ([0.0, 0.25, 0.25, 1.0], [0.75, 0.25, 1.0, 1.0]),  # at the left border, then the right
        ([0.25, 0.0, 0.75, 0.5], [0.25, 0.0, 0.75, 0.5]),  # in the middle
        ([-0.5, 0.5, 0.125, 2.0], [0.875, 0.5, 1.5, 2.0]),  # across the border
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mirrored_image_by_hand(box, mirrored, dtype):
    found = flip_horizontally(np.array([[box]], dtype))
    assert found.dtype == dtype
    assert found.tolist() == [[mirrored]]
    assert flip_horizontally(found).tolist() == [[box]]


@pytest.mark.parametrize("place", [2, 3])
def test_an_anchor_has_a_width_and_a_height(place):
    anchor = np.array([[0.5, 0.5, 2.0, 2.0]])  # beyond the image is fine
    check_anchors(anchor)
    anchor[0, place] = 0
    with pytest.raises(ValueError, match=r"^anchors\[0\]: "):
        check_anchors(anchor)


def test_flat_boxes_pass_where_they_are_asked_for():
    lines = np.array([FINE, [0.5, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 0.5], [0.5, 0.5, 0.5, 0.5]])
    check_boxes(lines, flat=True)
    for bad, expected in (
        ([0.5, 0.0, 0.25, 1.0], "xmin <= xmax and ymin <= ymax"),
        ([0.0, 0.5, 1.0, 0.25], "xmin <= xmax and ymin <= ymax"),
        ([0.0, 0.5, INF, 0.5], "four finite numbers"),
    ):
        message = f"boxes[1]: expected {expected}. Received: {bad}"
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            check_boxes(np.array([FINE, bad]), flat=True)


@pytest.mark.parametrize("place", [2, 3])
def test_a_width_or_a_height_may_be_infinite_and_neither_may_be_nan(place):
    box = np.array([[0.5, 0.5, 1.0, 1.0]])
    box[0, place] = INF
    assert np.isinf(cxcywh_to_xyxy(box)).any()
    box[0, place] = NAN
    with pytest.raises(ValueError, match=r"^boxes\[0\]: expected four numbers"):
        cxcywh_to_xyxy(box)
