"""Boxes on any Keras backend: mirrors `reference_numpy.boxes`, over leading batch axes.

The order of operations is the reference's, so that in one dtype the results are equal bit for
bit wherever nothing fuses a multiplication with an addition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

__all__ = [
    "area",
    "centers_to_corners",
    "check_boxes",
    "clip",
    "corners_to_centers",
    "iou",
    "pairwise_iou",
    "solid",
]

Tensor = Any


def corners_to_centers(boxes: Tensor) -> Tensor:
    """(..., 4) corner form → (..., 4) centre form.

    Example:
        >>> ops.convert_to_numpy(corners_to_centers(ops.array([0.0, 0.25, 0.5, 0.75])))
        array([0.25, 0.5 , 0.5 , 0.5 ], dtype=float32)
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    return ops.concatenate([(low + high) * 0.5, high - low], axis=-1)


def centers_to_corners(boxes: Tensor) -> Tensor:
    """(..., 4) centre form → (..., 4) corner form.

    Example:
        >>> ops.convert_to_numpy(centers_to_corners(ops.array([0.25, 0.5, 0.5, 0.5])))
        array([0.  , 0.25, 0.5 , 0.75], dtype=float32)
    """
    center, half = boxes[..., :2], boxes[..., 2:] * 0.5
    return ops.concatenate([center - half, center + half], axis=-1)


def area(boxes: Tensor) -> Tensor:
    """(..., 4) corner form → (...) area; a box turned inside out has area 0.

    Example:
        >>> float(area(ops.array([0.0, 0.0, 0.5, 0.25])))
        0.125
    """
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def clip(boxes: Tensor) -> Tensor:
    """(..., 4) corner form → the same with every corner moved into the picture.

    Example:
        >>> ops.convert_to_numpy(clip(ops.array([-0.5, 0.25, 0.5, 2.0])))
        array([0.  , 0.25, 0.5 , 1.  ], dtype=float32)
    """
    return ops.minimum(ops.maximum(boxes, 0), 1)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes that stand opposite each other; 0 where the union is 0.

    Args:
        first: (..., 4) corner form.
        second: (..., 4) corner form of a shape that broadcasts with `first`.

    Returns:
        (...) IoU in [0, 1].

    Example:
        >>> float(iou(ops.array([0.0, 0.0, 1.0, 0.5]), ops.array([0.0, 0.0, 0.5, 0.5])))
        0.5
    """
    low = ops.maximum(first[..., :2], second[..., :2])
    high = ops.minimum(first[..., 2:], second[..., 2:])
    sides = ops.maximum(high - low, 0)
    intersection = sides[..., 0] * sides[..., 1]
    union = (area(first) + area(second)) - intersection
    # Where the union is 0 so is the intersection, and 0 / 1 is the answer.
    return intersection / ops.where(ops.greater(union, 0), union, ops.ones_like(union))


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of every pair. Matching does not use it: it never holds all pairs of a batch.

    Args:
        first: (..., N, 4) corner form.
        second: (..., M, 4) corner form.

    Returns:
        (..., N, M) IoU in [0, 1].

    Example:
        >>> squares = ops.array([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 0.5]])
        >>> ops.convert_to_numpy(pairwise_iou(squares, squares))
        array([[1. , 0.5],
               [0.5, 1. ]], dtype=float32)
    """
    return iou(first[..., :, None, :], second[..., None, :, :])


def solid(boxes: Tensor) -> Tensor:
    """Where a box is one that an object can have: finite, xmin < xmax and ymin < ymax.

    Inside a compiled graph nothing can be raised, so there a box that is not solid counts as
    padding; eagerly, `check_boxes` raises.

    Args:
        boxes: (..., 4) corner form.

    Returns:
        (...) booleans.

    Example:
        >>> bool(solid(ops.array([0.5, 0.0, 0.5, 1.0])))
        False
    """
    finite = ops.all(ops.isfinite(boxes), axis=-1)
    return ops.logical_and(finite, ops.all(ops.greater(boxes[..., 2:], boxes[..., :2]), axis=-1))


def check_boxes(boxes: Tensor, labels: Tensor) -> None:
    """Refuse objects that cannot be, where there are values to look at (not while tracing).

    Args:
        boxes: (B, M, 4) corner form.
        labels: (B, M) label from 1, or -1 for padding, whose box is not looked at.

    Raises:
        ValueError: Names the first bad object by picture and row, and what it holds.

    Example:
        >>> check_boxes(ops.array([[[0.5, 0.0, 0.5, 1.0]]]), ops.array([[3]]))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: boxes[0, 0]: expected finite corners, xmin < xmax, ymin < ymax. Received: ...
    """
    corners, numbers = _values(boxes), _values(labels)
    if corners is None or numbers is None:
        return
    wrong = (numbers < 1) & (numbers != -1)
    if wrong.any():
        picture, row = np.argwhere(wrong)[0]
        raise ValueError(
            f"labels[{picture}, {row}]: expected 1 or more (0 is background), or -1 for "
            f"padding. Received: {numbers[picture, row]}"
        )
    fine = np.isfinite(corners).all(-1) & (corners[..., 2:] > corners[..., :2]).all(-1)
    bad = ~fine & (numbers != -1)
    if bad.any():
        picture, row = np.argwhere(bad)[0]
        raise ValueError(
            f"boxes[{picture}, {row}]: expected finite corners, xmin < xmax, ymin < ymax. "
            f"Received: {corners[picture, row].tolist()}"
        )


def _values(tensor: Tensor) -> np.ndarray[Any, Any] | None:
    """The numbers of a tensor, or None while a graph is being traced."""
    try:
        return np.asarray(ops.convert_to_numpy(tensor))
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        return None
