"""Targets of one image: worked by hand, and the laws of padding and order."""

from __future__ import annotations

import re
from math import log

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import (
    cxcywh_to_xyxy,
    pairwise_ioa,
    pairwise_iou,
    xyxy_to_cxcywh,
)
from reference_numpy.coding import decode, encode
from reference_numpy.conventions import DIGITS224, IGNORE, PADDING, UNMATCHED
from reference_numpy.matching import match
from reference_numpy.targets import Targets, assign_targets
from tests.strategies import FLOATS, dtypes, grid_boxes

NAN, INF = np.nan, np.inf
_ = UNMATCHED
UNIT = (1.0, 1.0, 1.0, 1.0)

# Four anchors of a quarter of the image each, and one over all of it.
QUARTERS = np.array(
    [
        [0.25, 0.25, 0.5, 0.5],
        [0.75, 0.25, 0.5, 0.5],
        [0.25, 0.75, 0.5, 0.5],
        [0.75, 0.75, 0.5, 0.5],
        [0.5, 0.5, 1.0, 1.0],
    ]
)
NONE = ([0] * 5, [[0, 0, 0, 0]] * 5, [-1] * 5)

# --- worked by hand ------------------------------------------------------------------------------


# Objects and labels; then labels, deltas with unit variances, and objects of the five anchors.
WORKED = {
    "no objects": (np.zeros((0, 4)), [], NONE),
    "nothing but padding": (np.zeros((3, 4)), [-1, -1, -1], NONE),
    "an anchor exactly": (
        # IoU 1 with anchor 1, 1/4 with anchor 4.
        [[0.5, 0.0, 1.0, 0.5]],
        [3],
        ([0, 3, 0, 0, 0], [[0, 0, 0, 0]] * 5, [-1, 0, -1, -1, -1]),
    ),
    "three anchors for one object": (
        # The lower half: IoU 1/2 with anchors 2, 3 and 4; 2 by the first step, 3 and 4 by the
        # threshold, met exactly. Its centre is (1/2, 3/4): half a width from 2 and 3, a quarter
        # of a height from 4; twice as wide as 2 and 3, half as high as 4.
        [[0.0, 0.5, 1.0, 1.0]],
        [10],
        (
            [0, 0, 10, 10, 10],
            [[0] * 4, [0] * 4, [0.5, 0, log(2), 0], [-0.5, 0, log(2), 0], [0, 0.25, 0, -log(2)]],
            [-1, -1, 0, 0, 0],
        ),
    ),
    "two objects, one best anchor": (
        # The small one is 1/16 of the image: IoU 1/4 with anchor 0, 1/16 with anchor 4. The
        # other is anchor 0 exactly, so the small one has to take anchor 4.
        [[0.125, 0.125, 0.375, 0.375], [0.0, 0.0, 0.5, 0.5]],
        [1, 2],
        (
            [2, 0, 0, 0, 1],
            [[0] * 4, [0] * 4, [0] * 4, [0] * 4, [-0.25, -0.25, -log(4), -log(4)]],
            [1, -1, -1, -1, 0],
        ),
    ),
    "duplicates with labels of their own": (
        # Both are anchor 3 exactly: the first takes it, the second takes anchor 4.
        [[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0]],
        [1, 2],
        (
            [0, 0, 0, 1, 2],
            [[0] * 4, [0] * 4, [0] * 4, [0] * 4, [0.25, 0.25, -log(2), -log(2)]],
            [-1, -1, -1, 0, 1],
        ),
    ),
    "padding first, in the middle and last": (
        [[NAN] * 4, [0.5, 0.0, 1.0, 0.5], [0.9, 0.9, 0.1, 0.1], [0.0, 0.0, 0.5, 0.5], [INF] * 4],
        [-1, 3, -1, 4, -1],
        ([4, 3, 0, 0, 0], [[0, 0, 0, 0]] * 5, [3, 1, -1, -1, -1]),
    ),
    "partly outside the image": (
        # Clipping would make it anchor 0 exactly; as it is, IoU is 1/4 / 1 with anchor 0 and
        # 1/4 / (1 + 1 - 1/4) with anchor 4. It is twice as large, half a width to the left.
        [[-0.5, -0.5, 0.5, 0.5]],
        [1],
        ([1, 0, 0, 0, 0], [[-0.5, -0.5, log(2), log(2)], *[[0] * 4] * 4], [0, -1, -1, -1, -1]),
    ),
    "wholly outside the image": ([[1.5, 0.0, 2.0, 0.5]], [1], NONE),
    "touching the image": ([[1.0, 0.0, 1.5, 0.5]], [1], NONE),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", WORKED)
def test_worked_by_hand(case, dtype):
    boxes, labels, (expected_labels, expected_deltas, expected_objects) = WORKED[case]
    found = assign_targets(
        np.array(boxes, dtype), np.array(labels, int), QUARTERS.astype(dtype), variances=UNIT
    )
    assert isinstance(found, Targets)
    assert found.labels.tolist() == expected_labels, case
    assert found.objects.tolist() == expected_objects, case
    np.testing.assert_allclose(found.deltas, expected_deltas, atol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("label_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("objects", [0, 2])
def test_shapes_and_dtypes(objects, label_dtype, dtype):
    boxes = cxcywh_to_xyxy(QUARTERS[:objects]).astype(dtype)
    found = assign_targets(boxes, np.ones(objects, label_dtype), QUARTERS.astype(dtype))
    assert (found.labels.dtype, found.labels.shape) == (np.int64, (5,))
    assert (found.deltas.dtype, found.deltas.shape) == (dtype, (5, 4))
    assert (found.objects.dtype, found.objects.shape) == (np.int64, (5,))


def test_the_threshold_and_the_variances_are_passed_on():
    lower_half = np.array([[0.0, 0.5, 1.0, 1.0]])
    labels = np.array([1])
    for threshold, expected in ((0.5, [0, 0, 1, 1, 1]), (0.51, [0, 0, 1, 0, 0])):
        found = assign_targets(lower_half, labels, QUARTERS, threshold=threshold)
        assert found.labels.tolist() == expected
    # (1/2, 0, log 2, 0) from anchor 2, over .1, .1, .2, .2 unless asked otherwise.
    for options, expected in (
        ({}, [5, 0, 5 * log(2), 0]),
        ({"variances": (0.5, 1, 2, 1)}, [1, 0, log(2) / 2, 0]),
    ):
        found = assign_targets(lower_half, labels, QUARTERS, **options)
        np.testing.assert_allclose(found.deltas[2], expected, rtol=1e-15)


# --- other answers, by hand ----------------------------------------------------------------------

X = IGNORE
# An object that is anchor 1 exactly (IoU 1/4 with anchor 4), and beside it a second one, which may
# be a crowd; changes of the convention; then the labels of the five anchors.
OBJECT = [0.5, 0.0, 1.0, 0.5]
LEFT, ALL, SMALL = [0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.25, 0.75]
CROWDS = {
    # It covers all of anchors 0 and 2 and half of anchor 4.
    "a crowd over the left half": (LEFT, {}, [X, 3, X, 0, X]),
    "half of an anchor is too little": (LEFT, {"crowd_overlap": 0.51}, [X, 3, X, 0, 0]),
    "a crowd over everything spares the object": (ALL, {}, [X, 3, X, X, X]),
    "a crowd does not count": (ALL, {"crowd_by": "none"}, [0, 3, 0, 0, 0]),
    # 1/16 of the image: a quarter of anchor 2, 1/16 of anchor 4.
    "a small crowd": (SMALL, {}, [0, 3, 0, 0, 0]),
    "a small crowd, a small share": (SMALL, {"crowd_overlap": 0.25}, [0, 3, X, 0, 0]),
    # IoU 1/2 with anchors 0, 2 and 4.
    "by IoU": (LEFT, {"crowd_by": "iou"}, [X, 3, X, 0, X]),
    "by more IoU": (LEFT, {"crowd_by": "iou", "crowd_overlap": 0.51}, [0, 3, 0, 0, 0]),
    # IoU 1/4 with each quarter, 1 with anchor 4.
    "a crowd over everything, by IoU": (ALL, {"crowd_by": "iou"}, [0, 3, 0, 0, X]),
    # With an epsilon of 1/2, IoU with anchor 4 is 1 / (1 + 1/2), with a quarter 1/4 / (3/2).
    "the IoU of crowds is that of objects": (
        ALL,
        {"crowd_by": "iou", "crowd_overlap": 0.6, "iou_epsilon": 0.5},
        [0, 3, 0, 0, X],
    ),
    "... and has an epsilon": (
        ALL,
        {"crowd_by": "iou", "crowd_overlap": 0.7, "iou_epsilon": 0.5},
        [0, 3, 0, 0, 0],
    ),
    "outside": ([1.5, 0.0, 2.0, 0.5], {}, [0, 3, 0, 0, 0]),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CROWDS)
def test_crowds_by_hand(case, dtype):
    box, overrides, expected = CROWDS[case]
    boxes, labels = np.array([box, OBJECT], dtype), np.array([4, 3])
    found = assign_targets(
        boxes, labels, QUARTERS.astype(dtype), crowds=np.array([True, False]), **overrides
    )
    assert found.labels.tolist() == expected, case
    assert found.objects.tolist() == [_, 1, _, _, _]
    assert not found.deltas.any()


def test_a_crowd_is_no_object_and_takes_no_anchor():
    # Both are anchor 3 exactly. As an object, the first would take it, and the second anchor 4.
    boxes, labels = np.array([[0.5, 0.5, 1.0, 1.0]] * 2), np.array([1, 2])
    plain = assign_targets(boxes, labels, QUARTERS)
    assert (plain.labels.tolist(), plain.objects.tolist()) == ([0, 0, 0, 1, 2], [_, _, _, 0, 1])
    crowd = assign_targets(boxes, labels, QUARTERS, crowds=np.array([True, False]))
    assert (crowd.labels.tolist(), crowd.objects.tolist()) == ([0, 0, 0, 2, 0], [_, _, _, 1, _])


def test_a_crowd_that_is_padding_is_not_looked_at():
    boxes, labels = np.array([OBJECT, [NAN] * 4]), np.array([3, PADDING])
    found = assign_targets(boxes, labels, QUARTERS, crowds=np.array([False, True]))
    assert found.labels.tolist() == [0, 3, 0, 0, 0]


def test_crowds_alone_leave_the_rest_to_background():
    found = assign_targets(np.array([LEFT]), np.array([1]), QUARTERS, crowds=np.array([True]))
    assert found.labels.tolist() == [X, 0, X, 0, X]
    assert found.objects.tolist() == [_] * 5


def test_what_is_ignored_is_neither_object_nor_background():
    # IoU 1 with anchor 1 and 1/4 with anchor 4, at the lower end of the band; 0 with the others.
    boxes, labels = np.array([OBJECT]), np.array([3])
    for ignore_from, expected in ((0.25, X), (0.26, 0)):
        found = assign_targets(boxes, labels, QUARTERS, ignore_from=ignore_from)
        assert found.labels.tolist() == [0, 3, 0, 0, expected]
        assert found.objects.tolist() == [_, 0, _, _, _]
        assert not found.deltas.any()


def test_what_iou_is_goes_into_matching():
    # The lower half has IoU 1/2 with anchors 2, 3 and 4; with an epsilon of 1/2 that is 1/4 of 1
    # and 1/2 of 3/2. It is forced on anchor 4 then.
    lower_half, labels = np.array([[0.0, 0.5, 1.0, 1.0]]), np.array([1])
    found = assign_targets(lower_half, labels, QUARTERS, iou_epsilon=0.5)
    assert found.labels.tolist() == [0, 0, 0, 0, 1]
    # With an offset of 1, its sides are 2 and 3/2, those of a quarter 3/2, of anchor 4 2: IoU with
    # a quarter above the seam is 3/2 (width) × 1 (touching) / (3 + 9/4 - 3/2) = .4, below the
    # seam 9/4 / 3, with anchor 4 3/4.
    found = assign_targets(lower_half, labels, QUARTERS, iou_offset=1.0, threshold=0.75)
    assert found.labels.tolist() == [0, 0, 1, 1, 1]
    found = assign_targets(lower_half, labels, QUARTERS, iou_offset=1.0, threshold=0.4)
    assert found.labels.tolist() == [1, 1, 1, 1, 1]


def test_the_coding_is_passed_on():
    # From anchor 2, half a width to the right and twice as wide.
    lower_half, labels = np.array([[0.0, 0.5, 1.0, 1.0]]), np.array([1])
    for overrides, expected in (
        ({"code_order": "yxhw"}, [0, 0.5, 0, log(2)]),
        ({"form": "difference"}, [0.25, 0, 0.5, 0]),
        ({"size_epsilon": 0.5}, [0.25, 0, log(1.5), 0]),
        ({"ratio_epsilon": 1.0}, [0.5, 0, log(3), log(2)]),
    ):
        found = assign_targets(lower_half, labels, QUARTERS, variances=UNIT, **overrides)
        np.testing.assert_allclose(found.deltas[2], expected, atol=1e-15, err_msg=str(overrides))


def test_forcing_is_passed_on():
    # Both are anchor 3 exactly; a third overlaps nothing.
    boxes = np.array([[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0], [1.5, 1.5, 2.0, 2.0]])
    labels = np.array([1, 2, 3])
    for overrides, expected in (
        ({}, [0, 0, 0, 1, 2]),
        ({"force": "last"}, [0, 0, 0, 2, 0]),
        ({"force": "first"}, [0, 0, 0, 1, 0]),
        ({"force": "none", "threshold": 1.0, "positive_at": ">"}, [0, 0, 0, 0, 0]),
        ({"force": "last", "force_above": -1}, [3, 0, 0, 2, 0]),
    ):
        found = assign_targets(boxes, labels, QUARTERS, **overrides)
        assert found.labels.tolist() == expected, overrides


@pytest.mark.parametrize("flat", [[0.0, 0.5, 0.0, 1.0], [0.0, 0.5, 1.0, 0.5], [0.5, 0.5, 0.5, 0.5]])
def test_an_object_without_area_by_hand(flat):
    boxes, labels = np.array([flat, OBJECT]), np.array([1, 3])
    with pytest.raises(ValueError, match=r"^boxes\[0\]: expected xmin < xmax and ymin < ymax\."):
        assign_targets(boxes, labels, QUARTERS)

    expected = assign_targets(boxes[1:], labels[1:], QUARTERS)
    found = assign_targets(boxes, labels, QUARTERS, degenerate="drop")
    assert found.labels.tolist() == expected.labels.tolist() == [0, 3, 0, 0, 0]
    assert found.objects.tolist() == [_, 1, _, _, _]

    # Encoded, it overlaps nothing, and is found only if it is forced at any overlap.
    encoded = {"degenerate": "encode", "size_epsilon": 0.5, "variances": UNIT}
    assert assign_targets(boxes, labels, QUARTERS, **encoded).labels.tolist() == [0, 3, 0, 0, 0]
    found = assign_targets(boxes, labels, QUARTERS, force="last", force_above=-1, **encoded)
    assert found.labels.tolist() == [1, 3, 0, 0, 0]
    # Against anchor 0, .5 × .5 around (.25, .25): units of 1, and sizes half a unit longer.
    width, height = flat[2] - flat[0], flat[3] - flat[1]
    center = (flat[0] + flat[2]) / 2 - 0.25, (flat[1] + flat[3]) / 2 - 0.25
    np.testing.assert_allclose(
        found.deltas[0], [*center, log(width + 0.5), log(height + 0.5)], rtol=1e-15
    )


def test_an_object_inside_out_is_dropped_like_a_flat_one():
    boxes, labels = np.array([[0.5, 0.0, 0.25, 1.0], OBJECT]), np.array([1, 3])
    assert assign_targets(boxes, labels, QUARTERS, degenerate="drop").labels.tolist() == (
        [0, 3, 0, 0, 0]
    )
    with pytest.raises(ValueError, match=r"^boxes\[0\]: expected xmin <= xmax and ymin <= ymax\."):
        assign_targets(boxes, labels, QUARTERS, degenerate="encode", size_epsilon=0.5)


@pytest.mark.parametrize("wrong", [NAN, INF, -INF])
@pytest.mark.parametrize("degenerate", ["error", "drop", "encode"])
def test_what_is_no_number_is_an_error_whatever_becomes_of_flat_objects(degenerate, wrong):
    boxes, labels = np.array([OBJECT, [0.0, 0.0, wrong, 1.0]]), np.array([3, 1])
    with pytest.raises(ValueError, match=r"^boxes\[1\]: expected four finite numbers\."):
        assign_targets(boxes, labels, QUARTERS, degenerate=degenerate, size_epsilon=0.5)


# --- laws ----------------------------------------------------------------------------------------


@st.composite
def objects(draw, dtype):
    """Boxes on a grid and labels, some of them padding, whose boxes are anything."""
    boxes = draw(grid_boxes(dtype, most=4))
    labels = np.array(draw(st.lists(st.integers(1, 3), min_size=len(boxes), max_size=len(boxes))))
    padding = np.array(
        draw(st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes))), bool
    )
    boxes[padding] = draw(st.sampled_from([0, NAN, INF, [0.5, 0.5, 0.25, 0.25], [0, 0, 1, 1]]))
    return boxes, np.where(padding, PADDING, labels).astype(int)


@given(st.data(), dtypes)
def test_targets_are_matching_then_coding_of_the_objects_that_are_not_padding(data, dtype):
    anchors = xyxy_to_cxcywh(data.draw(grid_boxes(dtype, least=1, most=6)))
    boxes, labels = data.draw(objects(dtype))
    found = assign_targets(boxes, labels, anchors)

    rows = np.flatnonzero(labels != PADDING)
    matched = match(pairwise_iou(boxes[rows], cxcywh_to_xyxy(anchors)))
    for anchor, index in enumerate(matched):
        if index == UNMATCHED:
            assert (found.labels[anchor], found.objects[anchor]) == (0, UNMATCHED)
            assert not found.deltas[anchor].any()
        else:
            row = rows[index]
            assert (found.labels[anchor], found.objects[anchor]) == (labels[row], row)
            code = encode(boxes[row][None], anchors[anchor][None])[0]
            np.testing.assert_array_equal(found.deltas[anchor], code)


@given(
    st.data(),
    dtypes,
    st.sampled_from(["ioa", "iou", "none"]),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.sampled_from([None, 0.25]),
)
def test_crowds_change_nothing_but_background(data, dtype, crowd_by, overlap, ignore_from):
    anchors = xyxy_to_cxcywh(data.draw(grid_boxes(dtype, least=1, most=6)))
    boxes, labels = data.draw(objects(dtype))
    crowd = data.draw(st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes)))
    crowd = np.array(crowd, bool)
    overrides = {"ignore_from": ignore_from, "crowd_by": crowd_by, "crowd_overlap": overlap}
    found = assign_targets(boxes, labels, anchors, crowds=crowd, **overrides)

    without = assign_targets(boxes, np.where(crowd, PADDING, labels), anchors, **overrides)
    assert found.objects.tolist() == without.objects.tolist()
    np.testing.assert_array_equal(found.deltas, without.deltas)
    corners = cxcywh_to_xyxy(anchors)
    crowds = boxes[crowd & (labels != PADDING)]
    near = {"ioa": pairwise_ioa, "iou": pairwise_iou}.get(crowd_by)
    for anchor, (label, before) in enumerate(zip(found.labels, without.labels, strict=True)):
        reach = near and near(crowds, corners[anchor][None]).max(initial=-1) >= dtype(overlap)
        assert label == (IGNORE if before <= 0 and reach else before)


@pytest.mark.parametrize("dtype", FLOATS)
def test_decoding_the_targets_of_an_image_gives_its_objects_back(dtype):
    anchors = make_anchors(DIGITS224, dtype)
    pixels = np.array([[10, 20, 38, 48], [100, 90, 170, 160], [200, 0, 224, 28]])
    boxes = (pixels / 224).astype(dtype)
    found = assign_targets(boxes, np.array([1, 5, 10]), anchors)

    positive = found.labels > 0
    assert set(found.labels[positive]) == {1, 5, 10}
    back = decode(found.deltas[positive], anchors[positive])
    # Coordinates are below 1, codes below 8: 16 eps is above the budget of test_coding.py.
    np.testing.assert_allclose(
        back, boxes[found.objects[positive]], rtol=0, atol=16 * np.finfo(dtype).eps
    )


@settings(max_examples=20)
@given(st.data(), dtypes)
def test_the_arguments_are_left_alone(data, dtype):
    boxes, labels = data.draw(objects(dtype))
    anchors = QUARTERS.astype(dtype)
    for array in (boxes, labels, anchors):
        array.setflags(write=False)
    assign_targets(boxes, labels, anchors)


# --- what is refused -----------------------------------------------------------------------------

BOXES = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0]])
LABELS = np.array([1, PADDING, 2])


def with_last(array, row):
    """The array with another last row."""
    return np.array([*array[:-1], row])


def test_the_index_of_a_bad_object_counts_the_padding_before_it():
    with pytest.raises(ValueError, match=r"^boxes\[2\]: expected xmin < xmax"):
        assign_targets(with_last(BOXES, [0.5, 0.5, 0.5, 1.0]), LABELS, QUARTERS)


def test_four_labels_for_four_numbers_are_not_four_boxes():
    # Shape (4,) would broadcast to (4, 4) where padding is filled in.
    with pytest.raises(ValueError, match=re.escape("boxes: expected shape (N, 4). Received: (4,)")):
        assign_targets(np.array([0.0, 0.0, 1.0, 1.0]), np.array([1, 2, 3, 4]), QUARTERS)


def test_where_flat_boxes_are_dropped_one_that_is_not_finite_is_named():
    boxes = np.array([[0.2, 0.2, 0.2, 0.6], [0.1, 0.1, np.inf, 0.5]])
    anchors = np.array([[0.5, 0.5, 1.0, 1.0]])
    with pytest.raises(ValueError, match=r"^boxes\[1\]: "):
        assign_targets(boxes, np.array([1, 2]), anchors, degenerate="drop")


def test_a_flat_object_is_dropped_whatever_padding_holds():
    boxes = np.array([[0.2, 0.2, 0.2, 0.6], [0.1, 0.1, np.inf, 0.5]])
    anchors = np.array([[0.5, 0.5, 1.0, 1.0]])
    found = assign_targets(boxes, np.array([1, -1]), anchors, degenerate="drop")
    assert found.labels.tolist() == [0]
