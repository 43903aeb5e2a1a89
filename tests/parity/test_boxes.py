"""`keras_impl.boxes` against `reference_numpy.boxes`."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_impl import boxes
from keras_impl.backends import in_mode, modes
from reference_numpy import boxes as reference


@pytest.mark.parametrize("mode", modes())
def test_iou_without_union_is_zero(mode):
    point, square = [0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]
    some = np.array([point, square, [0.75, 0.0, 0.25, 1.0]], np.float32)

    got = in_mode(boxes.pairwise_iou, mode)(some, some)

    np.testing.assert_array_equal(got, [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(got, reference.pairwise_iou(some, some))


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize(
    ("box", "solid"),
    [
        ([0.0, 0.0, 0.5, 0.5], True),
        ([-3.0, 2.0, 5.0, 9.0], True),
        ([0.5, 0.0, 0.5, 1.0], False),
        ([0.0, 0.5, 1.0, 0.25], False),
        ([np.nan, 0.0, 1.0, 1.0], False),
        ([0.0, 0.0, np.inf, 1.0], False),
    ],
)
def test_solid_says_what_check_boxes_says(mode, box, solid):
    array = np.array([box], np.float32)

    assert in_mode(boxes.solid, mode)(array).tolist() == [solid]
    if solid:
        reference.check_boxes(array)
    else:
        with pytest.raises(ValueError, match=r"boxes\[0\]"):
            reference.check_boxes(array)


@pytest.mark.parametrize(
    ("box", "label", "message"),
    [
        ([0.5, 0.0, 0.5, 1.0], 1, r"boxes\[1, 0\]: .* Received: \[0.5, 0.0, 0.5, 1.0\]"),
        ([0.0, 0.0, np.nan, 1.0], 1, r"boxes\[1, 0\]: .* Received: \[0.0, 0.0, nan, 1.0\]"),
        ([0.0, 0.0, 1.0, 1.0], 0, r"labels\[1, 0\]: .* Received: 0"),
        ([0.0, 0.0, 1.0, 1.0], -2, r"labels\[1, 0\]: .* Received: -2"),
    ],
)
def test_eagerly_a_bad_object_is_an_error(box, label, message):
    good = [0.0, 0.0, 1.0, 1.0]
    with pytest.raises(ValueError, match=message):
        boxes.check_boxes(ops.array([[good], [box]]), ops.array([[1], [label]]))


def test_padding_may_hold_anything():
    boxes.check_boxes(ops.array([[[1.0, 1.0, 0.0, np.nan]]]), ops.array([[-1]]))
