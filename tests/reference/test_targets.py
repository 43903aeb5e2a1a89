"""Targets of one picture: worked by hand, and the laws of padding and order."""

from __future__ import annotations

import re
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import centers_to_corners, corners_to_centers, pairwise_iou
from reference_numpy.coding import decode, encode
from reference_numpy.conventions import DIGITS224
from reference_numpy.matching import UNMATCHED, match
from reference_numpy.targets import PADDING, Targets, assign_targets
from tests.strategies import FLOATS, dtypes, grid_boxes

NAN, INF = np.nan, np.inf
UNIT = (1.0, 1.0, 1.0, 1.0)

# Four anchors of a quarter of the picture each, and one over all of it.
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
        # The small one is 1/16 of the picture: IoU 1/4 with anchor 0, 1/16 with anchor 4. The
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
    "partly outside the picture": (
        # Clipping would make it anchor 0 exactly; as it is, IoU is 1/4 / 1 with anchor 0 and
        # 1/4 / (1 + 1 - 1/4) with anchor 4. It is twice as large, half a width to the left.
        [[-0.5, -0.5, 0.5, 0.5]],
        [1],
        ([1, 0, 0, 0, 0], [[-0.5, -0.5, log(2), log(2)], *[[0] * 4] * 4], [0, -1, -1, -1, -1]),
    ),
    "wholly outside the picture": ([[1.5, 0.0, 2.0, 0.5]], [1], NONE),
    "touching the picture": ([[1.0, 0.0, 1.5, 0.5]], [1], NONE),
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
    boxes = centers_to_corners(QUARTERS[:objects]).astype(dtype)
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
    anchors = corners_to_centers(data.draw(grid_boxes(dtype, least=1, most=6)))
    boxes, labels = data.draw(objects(dtype))
    found = assign_targets(boxes, labels, anchors)

    rows = np.flatnonzero(labels != PADDING)
    matched = match(pairwise_iou(boxes[rows], centers_to_corners(anchors)))
    for anchor, index in enumerate(matched):
        if index == UNMATCHED:
            assert (found.labels[anchor], found.objects[anchor]) == (0, UNMATCHED)
            assert not found.deltas[anchor].any()
        else:
            row = rows[index]
            assert (found.labels[anchor], found.objects[anchor]) == (labels[row], row)
            code = encode(boxes[row][None], anchors[anchor][None])[0]
            np.testing.assert_array_equal(found.deltas[anchor], code)


@given(st.data(), dtypes)
def test_padding_changes_nothing(data, dtype):
    anchors = corners_to_centers(data.draw(grid_boxes(dtype, least=1, most=6)))
    boxes, labels = data.draw(objects(dtype))
    real = labels != PADDING
    expected = assign_targets(boxes[real], labels[real], anchors)
    found = assign_targets(boxes, labels, anchors)

    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_array_equal(found.deltas, expected.deltas)
    assert not np.isnan(found.deltas).any()
    positive = expected.objects != UNMATCHED
    assert found.objects[positive].tolist() == (
        np.flatnonzero(real)[expected.objects[positive]].tolist()
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_decoding_the_targets_of_a_picture_gives_its_objects_back(dtype):
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


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"labels": LABELS[:2]},
            ValueError,
            "labels: expected shape (3,), one a box. Received: (2,)",
        ),
        (
            {"labels": LABELS[:, None]},
            ValueError,
            "labels: expected shape (3,), one a box. Received: (3, 1)",
        ),
        (
            {"labels": with_last(LABELS, 0)},
            ValueError,
            "labels[2]: expected 1 or more (0 is background), or -1 for padding. Received: 0",
        ),
        (
            {"labels": with_last(LABELS, -2)},
            ValueError,
            "labels[2]: expected 1 or more (0 is background), or -1 for padding. Received: -2",
        ),
        # The index counts the padding before it.
        (
            {"boxes": with_last(BOXES, [0.5, 0.5, 0.5, 1.0])},
            ValueError,
            "boxes[2]: expected xmin < xmax and ymin < ymax. Received: [0.5, 0.5, 0.5, 1.0]",
        ),
        (
            {"boxes": with_last(BOXES, [0.5, 0.5, 0.75, NAN])},
            ValueError,
            "boxes[2]: expected four finite numbers. Received: [0.5, 0.5, 0.75, nan]",
        ),
        (
            {"boxes": BOXES.astype(int)},
            TypeError,
            "boxes: expected a NumPy array of floats. Received: int64",
        ),
        (
            {"threshold": 0.0},
            ValueError,
            "threshold: expected a number in (0, 1]. Received: 0.0",
        ),
        (
            {"variances": (0.1, 0.1, 0.2, 0.0)},
            ValueError,
            "variances: expected four positive numbers. Received: (0.1, 0.1, 0.2, 0.0)",
        ),
        *[
            ({"boxes": boxes}, error, f"boxes: expected {expected}. Received: {received}")
            for boxes, error, expected, received in [
                (BOXES[:, 0], ValueError, "shape (N, 4)", (3,)),
                (BOXES[:, :3], ValueError, "shape (N, 4)", (3, 3)),
                (BOXES[:, :1], ValueError, "shape (N, 4)", (3, 1)),
                (BOXES[:, None], ValueError, "shape (N, 4)", (3, 1, 4)),
                (BOXES.tolist(), TypeError, "a NumPy array of floats", "list"),
            ]
        ],
    ],
)
def test_assign_targets_refuses(change, error, message):
    arguments = {"boxes": BOXES, "labels": LABELS, "anchors": QUARTERS}
    assign_targets(**arguments)
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        assign_targets(**{**arguments, **change})


def test_four_labels_for_four_numbers_are_not_four_boxes():
    # Shape (4,) would broadcast to (4, 4) where padding is filled in.
    with pytest.raises(ValueError, match=re.escape("boxes: expected shape (N, 4). Received: (4,)")):
        assign_targets(np.array([0.0, 0.0, 1.0, 1.0]), np.array([1, 2, 3, 4]), QUARTERS)


def test_labels_that_are_not_whole_numbers_are_refused():
    anchors = make_anchors(DIGITS224)
    with pytest.raises(TypeError, match=r"^labels: expected whole numbers\. Received: float64$"):
        assign_targets(np.array([[0.0, 0, 0.5, 0.5]]), np.array([1.5]), anchors)


def test_anchors_that_code_nothing_are_refused():
    with pytest.raises(ValueError, match=r"^anchors\[0\]: expected \(cx, cy, w, h\), finite"):
        assign_targets(np.array([[0.0, 0, 0.5, 0.5]]), np.array([1]), np.zeros((1, 4)))
