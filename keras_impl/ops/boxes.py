"""Boxes on any Keras backend: mirrors `reference_numpy.boxes`, over leading batch axes.

The order of operations is the reference's, so that in one dtype the results are equal bit for
bit wherever nothing fuses a multiplication with an addition.

Values are looked at by `check_boxes` alone. Elsewhere a number that is not finite stays in the
answers about its box; `solid` tells.
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
    """Boxes in xyxy as five tensors of one shape, area among them.

    Loops over many boxes read these one after the other; of every fourth number a compiler makes
    no vectors.
    """

    left: Tensor
    top: Tensor
    right: Tensor
    bottom: Tensor
    area: Tensor


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(..., 4) xyxy → (..., 4) cxcywh.

    Example:
        >>> ops.convert_to_numpy(xyxy_to_cxcywh(ops.array([0.0, 0.25, 0.5, 0.75])))
        array([0.25, 0.5 , 0.5 , 0.5 ], dtype=float32)
    """
    boxes = as_floats(boxes, "boxes", ..., 4)
    low, high = boxes[..., :2], boxes[..., 2:]
    return ops.concatenate([(low + high) * 0.5, high - low], axis=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) cxcywh → (..., 4) xyxy.

    Example:
        >>> ops.convert_to_numpy(cxcywh_to_xyxy(ops.array([0.25, 0.5, 0.5, 0.5])))
        array([0.  , 0.25, 0.5 , 0.75], dtype=float32)
    """
    return _to_xyxy(as_floats(boxes, "boxes", ..., 4))


def _to_xyxy(boxes: Tensor) -> Tensor:
    center, half = boxes[..., :2], boxes[..., 2:] * 0.5
    return ops.concatenate([center - half, center + half], axis=-1)


def area(boxes: Tensor) -> Tensor:
    """(..., 4) xyxy → (...) area; a box turned inside out has area 0.

    Example:
        >>> float(area(ops.array([0.0, 0.0, 0.5, 0.25])))
        0.125
    """
    return _area(as_floats(boxes, "boxes", ..., 4))


def _area(boxes: Tensor) -> Tensor:
    sides = maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def clip(boxes: Tensor) -> Tensor:
    """(..., 4) xyxy → the same with every corner moved into the image.

    Example:
        >>> ops.convert_to_numpy(clip(ops.array([-0.5, 0.25, 0.5, 2.0])))
        array([0.  , 0.25, 0.5 , 1.  ], dtype=float32)
    """
    return _clip(as_floats(boxes, "boxes", ..., 4))


def _clip(boxes: Tensor) -> Tensor:
    return minimum(maximum(boxes, 0), 1)


def flip_horizontally(boxes: Tensor) -> Tensor:
    """Where boxes are once their image is mirrored left to right: xmin and xmax change places.

    (..., 4) xyxy, relative to the image → (1 - xmax, ymin, 1 - xmin, ymax).

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
    """Intersection over union of boxes that stand opposite each other; 0 where the union is 0.

    Args:
        first: (..., 4) xyxy.
        second: (..., 4) xyxy of a shape that broadcasts with `first`.
        convention: Its `Overlap` says what is added where; nothing, in the canonical one.
        overrides: Overrides of single fields.

    Returns:
        (...) IoU in [0, 1].

    Raises:
        ValueError, TypeError: Not floats, or other shapes.

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
    """(..., 4) xyxy → `Columns` of (...), areas as IoU counts them.

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
    """`iou` of boxes that are columns, whose shapes broadcast.

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
    # Where the union is 0 so is the intersection, and 0 / 1 is the answer. (A second `where`, for
    # areas that overflow, would cost matching under XLA a quarter of its speed.)
    return intersection / ops.where(ops.greater(union, 0), union, ops.ones_like(union))


def pairwise_iou(
    first: Tensor, second: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> Tensor:
    """IoU of every pair. Matching does not use it: it never holds all pairs of a batch.

    Args:
        first: (..., N, 4) xyxy.
        second: (..., M, 4) xyxy.
        convention: Of `iou`.
        overrides: Of `iou`.

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
    """Intersection over the area of the second, of boxes that stand opposite each other.

    (..., 4) and (..., 4) xyxy → (...) in [0, 1]; 0 for a second box without area.

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
    """`ioa` of every pair: (..., N, 4) and (..., M, 4) xyxy → (..., N, M).

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
    """Where a box is one that an object can have: finite, xmin < xmax and ymin < ymax.

    Inside a compiled graph nothing can be raised, so there a box that is not solid counts as
    padding; eagerly, `check_boxes` raises.

    Args:
        boxes: (..., 4) xyxy.
        flat: Whether a box may have no width or no height (but not be inside out).

    Returns:
        (...) booleans.

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
    """Refuse objects that cannot be, where there are values to look at (not while tracing).

    Args:
        boxes: (B, M, 4) xyxy.
        labels: (B, M) label from 1, or -1 for padding, whose box is not looked at.
        convention: Its `Coding` says what becomes of an object without width or height: an
            error, padding ("drop"), or an object like any other ("encode").
        overrides: Overrides of single fields.

    Raises:
        ValueError: Names the first bad object by image and row, and what it holds; or the
            argument whose shape does not fit, also while tracing.
        TypeError: Boxes that are not floats, labels that are not whole numbers.

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
    """Values + a constant in their dtype; nothing is added where there is nothing to add.

    TensorFlow's graph optimiser turns (a - b) + c into a + (c - b), which rounds differently. A
    maximum that changes nothing stands in its way.

    Example:
        >>> float(plus(ops.array(0.25), 0.5))
        0.75
    """
    if not constant:
        return values
    return maximum(values, float("-inf")) + ops.convert_to_tensor(constant, dtype=values.dtype)
