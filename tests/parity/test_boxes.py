"""`keras_impl.ops.boxes` against `reference_numpy.boxes`."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_impl.backends import in_mode, modes
from keras_impl.ops import boxes
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


@pytest.mark.parametrize(
    ("degenerate", "box", "order"),
    [
        ("error", [0.5, 0.0, 0.5, 1.0], "xmin < xmax, ymin < ymax"),
        ("error", [0.0, 0.5, 1.0, 0.5], "xmin < xmax, ymin < ymax"),
        ("encode", [0.75, 0.0, 0.5, 1.0], "xmin <= xmax, ymin <= ymax"),
        ("encode", [0.0, 0.75, 1.0, 0.5], "xmin <= xmax, ymin <= ymax"),
        ("encode", [0.0, 0.0, np.inf, 1.0], "xmin <= xmax, ymin <= ymax"),
        ("drop", [0.0, 0.0, np.nan, 1.0], "xmin < xmax, ymin < ymax"),
        ("encode", [0.5, 0.0, 0.5, 1.0], None),
        ("drop", [0.5, 0.0, 0.5, 1.0], None),
        ("drop", [0.75, 0.0, 0.5, 1.0], None),
    ],
)
def test_what_becomes_of_an_object_without_width(degenerate, box, order):
    given = ops.array([[box]]), ops.array([[1]])
    rules = {"degenerate": degenerate, "form": "difference"}  # logarithms would have no flat ones
    if order is None:
        boxes.check_boxes(*given, **rules)
    else:
        with pytest.raises(
            ValueError, match=rf"^boxes\[0, 0\]: expected finite corners, {order}\."
        ):
            boxes.check_boxes(*given, **rules)


@pytest.mark.parametrize("traced", ["boxes", "labels"])
def test_while_tracing_one_argument_nothing_is_looked_at(traced):
    bad, label = np.array([[[1, 1, 0, 0]]], np.float32), np.array([[1]], np.int32)

    def look(tensor):
        boxes.check_boxes(*((tensor, label) if traced == "boxes" else (bad, tensor)))
        return tensor

    given = bad if traced == "boxes" else label
    if modes()[-1] != "eager":
        in_mode(look, modes()[-1])(given)
    with pytest.raises(ValueError, match="finite corners"):
        in_mode(look, "eager")(given)


def test_flat_boxes_may_be_solid():
    some = np.array([[0.5, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 0.5], [0.6, 0.0, 0.5, 1.0]], np.float32)
    assert ops.convert_to_numpy(boxes.solid(some)).tolist() == [False, False, False]
    assert ops.convert_to_numpy(boxes.solid(some, flat=True)).tolist() == [True, True, False]


def test_a_constant_is_added_in_the_dtype():
    for dtype in ("float32", "float64"):
        given = np.array([0.5, -1.0], dtype)
        assert boxes.plus(given, 0.0) is given
        np.testing.assert_array_equal(
            in_mode(lambda x: boxes.plus(x, 0.1), "eager")(given), given + np.asarray(0.1, dtype)
        )


def test_columns_of_a_box_with_and_without_an_offset():
    box = np.array([0.25, 0.5, 0.75, 1.0], np.float32)
    assert [float(part) for part in boxes.columns(box)] == [0.25, 0.5, 0.75, 1.0, 0.25]
    assert float(boxes.columns(box, iou_offset=0.5).area) == 1.0
    assert float(boxes.columns(box[[2, 1, 0, 3]]).area) == 0
    assert float(boxes.iou(box, box, iou_offset=0.5)) == 1.0
    apart = np.array([0.75, 0.5, 1.25, 1.0], np.float32)
    # 1 / 2 wide where it was 0, as high as both with an offset: 0.5 of 1 + 1 - 0.5.
    np.testing.assert_allclose(float(boxes.iou(box, apart, iou_offset=0.5)), 0.5 / 1.5, rtol=1e-6)
    # Nothing but the epsilon: 1/4 of 1/4 + 1/4.
    np.testing.assert_allclose(float(boxes.iou(box, box, iou_epsilon=0.25)), 0.5, rtol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (3, 2, 4)])
def test_both_forms_of_boxes_in_any_number_of_axes(shape):
    some = np.tile(np.array([0.25, 0.125, 0.75, 1.0], np.float32), (*shape[:-1], 1))
    centers = ops.convert_to_numpy(boxes.xyxy_to_cxcywh(some))
    np.testing.assert_array_equal(centers, reference.xyxy_to_cxcywh(some))
    np.testing.assert_array_equal(ops.convert_to_numpy(boxes.cxcywh_to_xyxy(centers)), some)
    np.testing.assert_array_equal(ops.convert_to_numpy(boxes.area(some)), reference.area(some))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(boxes.clip(2 * some)), reference.clip(2 * some)
    )
    mirrored = ops.convert_to_numpy(boxes.flip_horizontally(some))
    np.testing.assert_array_equal(mirrored, reference.flip_horizontally(some))
