"""Boxes: formats, area, clipping, validation and IoU.

SSD compares boxes by their overlap and moves between two box formats (arXiv:1512.02325, section
2.2). People and files use `xyxy`, (xmin, ymin, xmax, ymax); anchors and codes use `cxcywh`, (cx,
cy, w, h). Coordinates are relative to the image and half-open: a box from 0 to 1 covers the image
exactly.

Functions compute in the dtype of their input and in the order written here, so that an
implementation in the same dtype can be compared bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_numpy._typing import Floats
from reference_numpy.checks import check_each, check_floats
from reference_numpy.conventions import CANONICAL, Convention, Overlap

__all__ = [
    "area",
    "check_anchors",
    "check_boxes",
    "clip",
    "cxcywh_to_xyxy",
    "flip_horizontally",
    "pairwise_ioa",
    "pairwise_iou",
    "xyxy_to_cxcywh",
]


def xyxy_to_cxcywh(boxes: Floats) -> Floats:
    """Convert boxes from xyxy to cxcywh.

    (..., 4) xyxy (xmin, ymin, xmax, ymax), finite → (..., 4) cxcywh (cx, cy, w, h).

    Example:
        >>> xyxy_to_cxcywh(np.array([0.0, 0.25, 0.5, 0.75]))
        array([0.25, 0.5 , 0.5 , 0.5 ])
    """
    _check_finite(boxes, "boxes")
    return _to_cxcywh(boxes)


def _to_cxcywh(boxes: Floats) -> Floats:
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) * boxes.dtype.type(0.5), high - low], axis=-1)


def cxcywh_to_xyxy(boxes: Floats) -> Floats:
    """Convert boxes from cxcywh to xyxy.

    (..., 4) cxcywh (cx, cy, w, h) → (..., 4) xyxy (xmin, ymin, xmax, ymax). cx and cy must be
    finite. An infinite size gives infinite corners.

    Example:
        >>> cxcywh_to_xyxy(np.array([0.25, 0.5, 0.5, 0.5]))
        array([0.  , 0.25, 0.5 , 0.75])
    """
    check_floats(boxes, "boxes", ..., 4)
    fine = np.isfinite(boxes[..., :2]).all(axis=-1) & ~np.isnan(boxes[..., 2:]).any(axis=-1)
    check_each(boxes, "boxes", fine, "four numbers, cx and cy finite")
    return _to_xyxy(boxes)


def _to_xyxy(boxes: Floats) -> Floats:
    center, half = boxes[..., :2], boxes[..., 2:] * boxes.dtype.type(0.5)
    return np.concatenate([center - half, center + half], axis=-1)


def area(boxes: Floats) -> Floats:
    """Compute the area of every box.

    (..., 4) xyxy, finite → (...) width × height. An inverted box (xmax < xmin or ymax < ymin) has
    area 0.

    Example:
        >>> area(np.array([[0.0, 0.0, 0.5, 0.25], [0.5, 0.5, 0.25, 0.75]]))
        array([0.125, 0.   ])
    """
    _check_finite(boxes, "boxes")
    return _area(boxes, 0)


def clip(boxes: Floats) -> Floats:
    """Clip boxes to the image, [0, 1].

    (..., 4) xyxy → (..., 4) xyxy. A box wholly outside becomes a line or a point on the border,
    with area 0. NaN stays NaN.

    Example:
        >>> clip(np.array([-0.5, 0.25, 0.5, 2.0]))
        array([0.  , 0.25, 0.5 , 1.  ])
    """
    check_floats(boxes, "boxes", ..., 4)
    return np.clip(boxes, 0, 1)


def flip_horizontally(boxes: Floats) -> Floats:
    """Mirror boxes left to right, as their image is mirrored.

    (..., 4) xyxy, finite → (1 - xmax, ymin, 1 - xmin, ymax). SSD mirrors half of its training
    images (arXiv:1512.02325, section 2.2, "Data augmentation").

    Example:
        >>> flip_horizontally(np.array([0.0, 0.25, 0.25, 1.0]))
        array([0.75, 0.25, 1.  , 1.  ])
    """
    _check_finite(boxes, "boxes")
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)
    return np.stack([1 - right, top, 1 - left, bottom], axis=-1)


def check_boxes(boxes: Floats, name: str = "boxes", flat: bool = False) -> None:
    """Check that boxes are finite, with xmin < xmax and ymin < ymax.

    Boxes may extend beyond the image.

    Args:
        boxes: (N, 4) xyxy.
        name: Name of the argument, for the message.
        flat: Whether a box may have width or height 0 (but not be inverted).

    Raises:
        ValueError: The shape is not (N, 4), a corner is not finite, or a box is flat or inverted.
            The message has the index and the corners of the first such box.
        TypeError: Not an array of floats.

    Example:
        >>> check_boxes(np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 0.5, 1.0]]))
        Traceback (most recent call last):
        ...
        ValueError: boxes[1]: expected xmin < xmax and ymin < ymax. Received: [0.5, 0.0, 0.5, 1.0]
    """
    check_floats(boxes, name, "N", 4)
    _check_finite(boxes, name)
    low, high = boxes[:, :2], boxes[:, 2:]
    solid = (high >= low if flat else high > low).all(axis=1)
    order = "xmin <= xmax and ymin <= ymax" if flat else "xmin < xmax and ymin < ymax"
    check_each(boxes, name, solid, order)


def check_anchors(anchors: Floats, name: str = "anchors") -> None:
    """Check that anchors are (A, 4) cxcywh, finite, with w and h above 0.

    Example:
        >>> check_anchors(np.array([[0.5, 0.5, 0.0, 1.0]]))
        Traceback (most recent call last):
        ...
        ValueError: anchors[0]: expected (cx, cy, w, h), ... Received: [0.5, 0.5, 0.0, 1.0]
    """
    check_floats(anchors, name, "A", 4)
    fine = np.isfinite(anchors).all(axis=1) & (anchors[:, 2:] > 0).all(axis=1)
    check_each(anchors, name, fine, "(cx, cy, w, h), finite, w and h above 0")


def pairwise_iou(
    first: Floats, second: Floats, convention: Convention = CANONICAL, **overrides: Any
) -> Floats:
    """Compute the IoU of every pair of boxes.

    IoU is intersection over union, the "jaccard overlap" of section 2.2. Boxes that only touch have
    IoU 0. A pair whose union is 0 has IoU 0.

    Args:
        first: (N, 4) xyxy.
        second: (M, 4) xyxy.
        convention: Its `Overlap` part is used: offsets and epsilons, 0 by default.
        overrides: Overrides of single fields.

    Returns:
        (N, M) IoU in [0, 1].

    Raises:
        ValueError: A shape that is not (N, 4) or (M, 4), or a corner that is not finite.
        TypeError: Not arrays of floats.

    Example:
        Two squares of area 4/16 share 1/16. Their IoU is 1 / (4 + 4 - 1).

        >>> squares = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75]])
        >>> pairwise_iou(squares, squares)
        array([[1.        , 0.14285714],
               [0.14285714, 1.        ]])
    """
    rules = convention.replace(**overrides).overlap
    _check_pair(first, second)
    return _iou(first, second, rules)


def _iou(first: Floats, second: Floats, rules: Overlap) -> Floats:
    offset, epsilon = first.dtype.type(rules.iou_offset), first.dtype.type(rules.iou_epsilon)
    intersection = _intersection(first, second, offset)
    own, other = _area(first, offset), _area(second, offset)
    union = ((own[:, None] + other[None, :]) - intersection) + epsilon
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(union), where=union > 0))


def pairwise_ioa(first: Floats, second: Floats) -> Floats:
    """Compute the intersection of every pair of boxes over the area of the second box.

    This is the share of the second box that the first box covers. (N, 4) and (M, 4) xyxy → (N, M)
    in [0, 1]; 0 where the second box has no area.

    Example:
        >>> small, whole = np.array([[0.0, 0.0, 0.5, 0.5]]), np.array([[0.0, 0.0, 1.0, 1.0]])
        >>> pairwise_ioa(small, whole), pairwise_ioa(whole, small)
        (array([[0.25]]), array([[1.]]))
    """
    _check_pair(first, second)
    return _ioa(first, second)


def _ioa(first: Floats, second: Floats) -> Floats:
    intersection, other = _intersection(first, second, first.dtype.type(0)), _area(second, 0)
    zeros = np.zeros_like(intersection)
    return np.asarray(np.divide(intersection, other, out=zeros, where=other > 0))


def _intersection(first: Floats, second: Floats, offset: Any) -> Floats:
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum((high - low) + offset, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _area(boxes: Floats, offset: Any) -> Floats:
    sides = np.maximum((boxes[..., 2:] - boxes[..., :2]) + offset, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _check_finite(boxes: Floats, name: str) -> None:
    check_floats(boxes, name, ..., 4)
    check_each(boxes, name, np.isfinite(boxes).all(axis=-1), "four finite numbers")


def _check_pair(first: Floats, second: Floats) -> None:
    for name, boxes, rows in (("first", first, "N"), ("second", second, "M")):
        check_floats(boxes, name, rows, 4)
        _check_finite(boxes, name)
