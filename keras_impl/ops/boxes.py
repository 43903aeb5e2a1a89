"""Boxes on any Keras backend: mirrors `reference_numpy.boxes`, with leading batch axes.

Operations run in the reference's order. In the same dtype, results are therefore equal bit for bit,
unless a compiler fuses multiply and add.

Only `check_boxes` validates values. In the other functions, a number that is not finite affects
only the results for its box; `solid` finds such boxes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_impl._common.arrays import Tensor
from keras_impl.ops.checks import as_floats, as_whole, check_same, values_of
from keras_impl.ops.extremes import maximum, minimum
from reference_numpy.conventions import CANONICAL, Convention, Overlap

__all__ = [
    "Columns",
    "area",
    "check_boxes",
    "clip",
    "columns",
    "cxcywh_to_xyxy",
    "flip_horizontally",
    "ioa",
    "iou",
    "iou_of_columns",
    "pairwise_ioa",
    "pairwise_iou",
    "plus",
    "solid",
    "xyxy_to_cxcywh",
]


class Columns(NamedTuple):
    """Boxes in xyxy as five tensors of one shape: the four corner coordinates and the area.

    A compiler vectorises loops over such contiguous coordinates, but not over every fourth number.
    """

    left: Tensor
    top: Tensor
    right: Tensor
    bottom: Tensor
    area: Tensor


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert boxes from xyxy to cxcywh, (..., 4) → (..., 4).

    Example:
        >>> ops.convert_to_numpy(xyxy_to_cxcywh(ops.array([0.0, 0.25, 0.5, 0.75])))
        array([0.25, 0.5 , 0.5 , 0.5 ], dtype=float32)
    """
    boxes = as_floats(boxes, "boxes", ..., 4)
    low, high = boxes[..., :2], boxes[..., 2:]
    return ops.concatenate([(low + high) * 0.5, high - low], axis=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert boxes from cxcywh to xyxy, (..., 4) → (..., 4).

    Example:
        >>> ops.convert_to_numpy(cxcywh_to_xyxy(ops.array([0.25, 0.5, 0.5, 0.5])))
        array([0.  , 0.25, 0.5 , 0.75], dtype=float32)
    """
    return _to_xyxy(as_floats(boxes, "boxes", ..., 4))


def _to_xyxy(boxes: Tensor) -> Tensor:
    center, half = boxes[..., :2], boxes[..., 2:] * 0.5
    return ops.concatenate([center - half, center + half], axis=-1)


def area(boxes: Tensor) -> Tensor:
    """Compute the area of every box.

    (..., 4) xyxy → (...) width × height. An inverted box (xmax < xmin or ymax < ymin) has area 0.

    Example:
        >>> float(area(ops.array([0.0, 0.0, 0.5, 0.25])))
        0.125
    """
    return _area(as_floats(boxes, "boxes", ..., 4))


def _area(boxes: Tensor) -> Tensor:
    sides = maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def clip(boxes: Tensor) -> Tensor:
    """Clip boxes to the image, [0, 1]: (..., 4) xyxy → (..., 4) xyxy.

    Example:
        >>> ops.convert_to_numpy(clip(ops.array([-0.5, 0.25, 0.5, 2.0])))
        array([0.  , 0.25, 0.5 , 1.  ], dtype=float32)
    """
    return _clip(as_floats(boxes, "boxes", ..., 4))


def _clip(boxes: Tensor) -> Tensor:
    return minimum(maximum(boxes, 0), 1)


def flip_horizontally(boxes: Tensor) -> Tensor:
    """Mirror boxes left to right, as their image is mirrored.

    (..., 4) xyxy → (1 - xmax, ymin, 1 - xmin, ymax).

    Example:
        >>> ops.convert_to_numpy(flip_horizontally(ops.array([0.0, 0.25, 0.25, 1.0])))
        array([0.75, 0.25, 1.  , 1.  ], dtype=float32)
    """
    boxes = as_floats(boxes, "boxes", ..., 4)
    left, top, right, bottom = (boxes[..., side] for side in range(4))
    return ops.stack([1 - right, top, 1 - left, bottom], axis=-1)


def iou(
    first: Tensor, second: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> Tensor:
    """Compute the IoU of corresponding boxes; 0 where the union is 0.

    Args:
        first: (..., 4) xyxy.
        second: (..., 4) xyxy, of a shape that broadcasts with that of `first`.
        convention: Its `Overlap` part is used: offset and epsilon, 0 by default.
        overrides: Overrides of single fields.

    Returns:
        (...) IoU in [0, 1].

    Raises:
        ValueError: The last axis is not 4, or the shapes do not broadcast.
        TypeError: Not floats.

    Example:
        >>> float(iou(ops.array([0.0, 0.0, 1.0, 0.5]), ops.array([0.0, 0.0, 0.5, 0.5])))
        0.5
    """
    convention = convention.replace(**overrides)
    first, second = as_floats(first, "first", ..., 4), as_floats(second, "second", ..., 4)
    check_same(first, second, ("first", "second"), broadcast=True)
    return _iou(first, second, convention.overlap)


def _iou(first: Tensor, second: Tensor, rules: Overlap) -> Tensor:
    return _iou_of_columns(_columns(first, rules), _columns(second, rules), rules)


def columns(boxes: Tensor, convention: Convention = CANONICAL, **overrides: Any) -> Columns:
    """Split boxes into `Columns`, as `iou_of_columns` needs them: (..., 4) xyxy → five (...).

    The areas include the convention's `iou_offset`.

    Example:
        >>> float(columns(ops.array([0.0, 0.25, 0.5, 0.75])).area)
        0.25
    """
    return _columns(as_floats(boxes, "boxes", ..., 4), convention.replace(**overrides).overlap)


def _columns(boxes: Tensor, rules: Overlap) -> Columns:
    offset = rules.iou_offset
    left, top, right, bottom = (boxes[..., index] for index in range(4))
    width = maximum(plus(right - left, offset), 0)
    height = maximum(plus(bottom - top, offset), 0)
    return Columns(left, top, right, bottom, width * height)


def iou_of_columns(
    first: Columns, second: Columns, convention: Convention = CANONICAL, **overrides: Any
) -> Tensor:
    """Compute the IoU of boxes given as `Columns`, whose shapes broadcast.

    Example:
        >>> whole = columns(ops.array([0.0, 0.0, 1.0, 1.0]))
        >>> float(iou_of_columns(whole, columns(ops.array([0.0, 0.0, 0.5, 0.5]))))
        0.25
    """
    return _iou_of_columns(first, second, convention.replace(**overrides).overlap)


def _iou_of_columns(first: Columns, second: Columns, rules: Overlap) -> Tensor:
    width = minimum(first.right, second.right) - maximum(first.left, second.left)
    height = minimum(first.bottom, second.bottom) - maximum(first.top, second.top)
    width = maximum(plus(width, rules.iou_offset), 0)
    intersection = width * maximum(plus(height, rules.iou_offset), 0)
    union = plus((first.area + second.area) - intersection, rules.iou_epsilon)
    # Where the union is 0, so is the intersection, and 0 / 1 gives IoU 0. (A second `where`, for
    # areas that overflow, would cost matching under XLA a quarter of its speed.)
    return intersection / ops.where(ops.greater(union, 0), union, ops.ones_like(union))


def pairwise_iou(
    first: Tensor, second: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> Tensor:
    """Compute the IoU of every pair of boxes.

    `match` does not use this function, since all pairs of a batch would need too much memory.

    Args:
        first: (..., N, 4) xyxy.
        second: (..., M, 4) xyxy.
        convention: As in `iou`.
        overrides: As in `iou`.

    Returns:
        (..., N, M) IoU in [0, 1].

    Example:
        >>> squares = ops.array([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 0.5]])
        >>> ops.convert_to_numpy(pairwise_iou(squares, squares))
        array([[1. , 0.5],
               [0.5, 1. ]], dtype=float32)
    """
    first, second = as_floats(first, "first", ..., "N", 4), as_floats(second, "second", ..., "M", 4)
    first, second = first[..., :, None, :], second[..., None, :, :]
    check_same(first, second, ("first", "second"), broadcast=True)
    return _iou(first, second, convention.replace(**overrides).overlap)


def ioa(first: Tensor, second: Tensor) -> Tensor:
    """Compute the intersection of corresponding boxes over the area of the second box.

    (..., 4) and (..., 4) xyxy → (...) in [0, 1]; 0 where the second box has no area.

    Example:
        >>> float(ioa(ops.array([0.0, 0.0, 1.0, 0.5]), ops.array([0.0, 0.0, 0.5, 1.0])))
        0.5
    """
    first, second = as_floats(first, "first", ..., 4), as_floats(second, "second", ..., 4)
    check_same(first, second, ("first", "second"), broadcast=True)
    return _ioa(first, second)


def _ioa(first: Tensor, second: Tensor) -> Tensor:
    low = maximum(first[..., :2], second[..., :2])
    sides = maximum(minimum(first[..., 2:], second[..., 2:]) - low, 0)
    intersection, other = sides[..., 0] * sides[..., 1], _area(second)
    other = ops.broadcast_to(other, ops.shape(intersection))
    quotient = intersection / ops.where(ops.greater(other, 0), other, ops.ones_like(other))
    return ops.where(ops.greater(other, 0), quotient, ops.zeros_like(quotient))


def pairwise_ioa(first: Tensor, second: Tensor) -> Tensor:
    """Compute the intersection of every pair of boxes over the area of the second box.

    (..., N, 4) and (..., M, 4) xyxy → (..., N, M) in [0, 1]; 0 where the second box has no area.

    Example:
        >>> small, whole = ops.array([[0.0, 0.0, 0.5, 0.5]]), ops.array([[0.0, 0.0, 1.0, 1.0]])
        >>> (
        ...     float(pairwise_ioa(small, whole)[0, 0]),
        ...     float(pairwise_ioa(whole, small)[0, 0]),
        ... )
        (0.25, 1.0)
    """
    first, second = as_floats(first, "first", ..., "N", 4), as_floats(second, "second", ..., "M", 4)
    first, second = first[..., :, None, :], second[..., None, :, :]
    check_same(first, second, ("first", "second"), broadcast=True)
    return _ioa(first, second)


def solid(boxes: Tensor, flat: bool = False) -> Tensor:
    """Test which boxes are valid for an object: finite, with xmin < xmax and ymin < ymax.

    A compiled graph cannot raise errors, so an invalid box counts as padding there. In eager calls,
    `check_boxes` raises.

    Args:
        boxes: (..., 4) xyxy.
        flat: Whether a box may have width or height 0 (but not be inverted).

    Returns:
        (...) True for each valid box.

    Example:
        >>> bool(solid(ops.array([0.5, 0.0, 0.5, 1.0])))
        False
    """
    return _solid(as_floats(boxes, "boxes", ..., 4), flat)


def _solid(boxes: Tensor, flat: bool) -> Tensor:
    finite = ops.all(ops.isfinite(boxes), axis=-1)
    compare = ops.greater_equal if flat else ops.greater
    return ops.logical_and(finite, ops.all(compare(boxes[..., 2:], boxes[..., :2]), axis=-1))


def check_boxes(
    boxes: Tensor, labels: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> None:
    """Check that the objects of a batch have valid boxes and labels.

    Shapes and dtypes are always checked, values only in eager calls: they are unknown while a
    graph is traced.

    Args:
        boxes: (B, M, 4) xyxy.
        labels: (B, M) labels from 1; -1 marks padding, whose box is not checked.
        convention: Its `Coding` part sets how an object without width or height is treated: as
            an error, as padding ("drop"), or like any other object ("encode").
        overrides: Overrides of single fields.

    Raises:
        ValueError: A shape is wrong, or a box or label is invalid. The message has the image,
            the row and the value of the first invalid one.
        TypeError: Boxes are not floats, or labels are not integers.

    Example:
        >>> check_boxes(ops.array([[[0.5, 0.0, 0.5, 1.0]]]), ops.array([[3]]))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: boxes[0, 0]: expected finite corners, xmin < xmax, ymin < ymax. Received: ...
    """
    boxes = as_floats(boxes, "boxes", "B", "M", 4)
    labels = as_whole(labels, "labels", *tuple(boxes.shape)[:2])
    corners, numbers = values_of(boxes), values_of(labels)
    if corners is None or numbers is None:
        return
    wrong = (numbers < 1) & (numbers != -1)
    if wrong.any():
        image, row = np.argwhere(wrong)[0]
        raise ValueError(
            f"labels[{image}, {row}]: expected 1 or more (0 is background), or -1 for "
            f"padding. Received: {numbers[image, row]}"
        )
    degenerate = convention.replace(**overrides).coding.degenerate
    low, high = corners[..., :2], corners[..., 2:]
    fine = np.isfinite(corners).all(-1)
    if degenerate != "drop":
        fine &= (high >= low if degenerate == "encode" else high > low).all(-1)
    bad = ~fine & (numbers != -1)
    if bad.any():
        image, row = np.argwhere(bad)[0]
        order = (
            "xmin <= xmax, ymin <= ymax" if degenerate == "encode" else "xmin < xmax, ymin < ymax"
        )
        raise ValueError(
            f"boxes[{image}, {row}]: expected finite corners, {order}. "
            f"Received: {corners[image, row].tolist()}"
        )


def plus(values: Tensor, constant: float) -> Tensor:
    """Add a constant in the dtype of `values`; a constant of 0 adds no operation.

    TensorFlow's graph optimiser rewrites (a - b) + c as a + (c - b), which rounds differently. The
    `maximum` with -inf changes no value, but prevents this.

    Example:
        >>> float(plus(ops.array(0.25), 0.5))
        0.75
    """
    if not constant:
        return values
    return maximum(values, float("-inf")) + ops.convert_to_tensor(constant, dtype=values.dtype)
