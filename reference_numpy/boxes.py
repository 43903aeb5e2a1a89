"""Boxes: the two forms, area, clipping, validation and IoU.

A box is four numbers relative to the picture, and half-open: a box from 0 to 1 covers the
picture exactly. *Corner form* (xmin, ymin, xmax, ymax) is what people and files use;
*centre form* (cx, cy, w, h) is what anchors and codes use (arXiv:1512.02325, section 2.2).

Everything is computed in the dtype it is given, in the order written here, so that an
implementation in the same dtype can be compared bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_numpy._typing import Floats
from reference_numpy.checks import check_each, check_floats
from reference_numpy.conventions import CANONICAL, Convention

__all__ = [
    "area",
    "centers_to_corners",
    "check_anchors",
    "check_boxes",
    "clip",
    "corners_to_centers",
    "flip_horizontally",
    "pairwise_coverage",
    "pairwise_iou",
]


def corners_to_centers(boxes: Floats) -> Floats:
    """(..., 4) corner form (xmin, ymin, xmax, ymax), finite → (..., 4) centre form (cx, cy, w, h).

    Example:
        >>> corners_to_centers(np.array([0.0, 0.25, 0.5, 0.75]))
        array([0.25, 0.5 , 0.5 , 0.5 ])
    """
    _check_finite(boxes, "boxes")
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) * boxes.dtype.type(0.5), high - low], axis=-1)


def centers_to_corners(boxes: Floats) -> Floats:
    """(..., 4) centre form (cx, cy, w, h) → (..., 4) corner form (xmin, ymin, xmax, ymax).

    An infinite size gives infinite corners.

    Example:
        >>> centers_to_corners(np.array([0.25, 0.5, 0.5, 0.5]))
        array([0.  , 0.25, 0.5 , 0.75])
    """
    check_floats(boxes, "boxes", ..., 4)
    fine = np.isfinite(boxes[..., :2]).all(axis=-1) & ~np.isnan(boxes[..., 2:]).any(axis=-1)
    check_each(boxes, "boxes", fine, "four numbers, cx and cy finite")
    center, half = boxes[..., :2], boxes[..., 2:] * boxes.dtype.type(0.5)
    return np.concatenate([center - half, center + half], axis=-1)


def area(boxes: Floats) -> Floats:
    """(..., 4) corner form, finite → (...) width × height; a box turned inside out has area 0.

    Example:
        >>> area(np.array([[0.0, 0.0, 0.5, 0.25], [0.5, 0.5, 0.25, 0.75]]))
        array([0.125, 0.   ])
    """
    _check_finite(boxes, "boxes")
    return _area(boxes, 0)


def clip(boxes: Floats) -> Floats:
    """(..., 4) corner form → the same with every corner moved into the picture, [0, 1].

    A box wholly outside becomes a line or a point on the border, with area 0. NaN stays NaN.

    Example:
        >>> clip(np.array([-0.5, 0.25, 0.5, 2.0]))
        array([0.  , 0.25, 0.5 , 1.  ])
    """
    check_floats(boxes, "boxes", ..., 4)
    return np.clip(boxes, 0, 1)


def flip_horizontally(boxes: Floats) -> Floats:
    """Where boxes are once their image is mirrored left to right: xmin and xmax change places.

    (..., 4) xyxy, relative to the image, finite → (1 - xmax, ymin, 1 - xmin, ymax). Half of the
    training images are mirrored so (arXiv:1512.02325, section 2.2, "Data augmentation").

    Example:
        >>> flip_horizontally(np.array([0.0, 0.25, 0.25, 1.0]))
        array([0.75, 0.25, 1.  , 1.  ])
    """
    _check_finite(boxes, "boxes")
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)
    return np.stack([1 - right, top, 1 - left, bottom], axis=-1)


def check_boxes(boxes: Floats, name: str = "boxes", flat: bool = False) -> None:
    """Refuse boxes that no object can have. Boxes beyond the picture's border are fine.

    Args:
        boxes: (N, 4) corner form.
        name: What the argument is called where the caller got it.
        flat: Whether a box may have no width or no height (but not be inside out).

    Raises:
        ValueError: Not (N, 4); a corner that is not finite; xmax ≤ xmin or ymax ≤ ymin. The
            message names the first such box, its index and its corners.
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
    """Refuse anchors that code nothing: (A, 4) centre form, finite, w and h above 0.

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
    first: Floats, second: Floats, convention: Convention = CANONICAL, **changes: Any
) -> Floats:
    """Intersection over union (the Jaccard overlap of section 2.2) of every pair.

    A pair whose union is 0 has IoU 0. Boxes that only touch have IoU 0.

    Args:
        first: (N, 4) corner form.
        second: (M, 4) corner form.
        convention: Its `Overlap` says what is added where; nothing, in the canonical one.
        changes: Fields of it to answer otherwise.

    Returns:
        (N, M) IoU in [0, 1].

    Raises:
        ValueError: Other shapes, or a corner that is not finite, named by its box.
        TypeError: Not arrays of floats.

    Example:
        Two squares of area 4/16 that share 1/16: 1 / (4 + 4 - 1).

        >>> squares = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75]])
        >>> pairwise_iou(squares, squares)
        array([[1.        , 0.14285714],
               [0.14285714, 1.        ]])
    """
    rules = convention.but(**changes).overlap
    _check_pair(first, second)
    offset, epsilon = first.dtype.type(rules.iou_offset), first.dtype.type(rules.iou_epsilon)
    intersection = _intersection(first, second, offset)
    own, other = _area(first, offset), _area(second, offset)
    union = ((own[:, None] + other[None, :]) - intersection) + epsilon
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(union), where=union > 0))


def pairwise_coverage(first: Floats, second: Floats) -> Floats:
    """Which share of each first box each second box covers; 0 for a first box without area.

    (N, 4) and (M, 4) corner form → (N, M) intersection over the area of the first, in [0, 1].

    Example:
        >>> small, whole = np.array([[0.0, 0.0, 0.5, 0.5]]), np.array([[0.0, 0.0, 1.0, 1.0]])
        >>> pairwise_coverage(small, whole), pairwise_coverage(whole, small)
        (array([[1.]]), array([[0.25]]))
    """
    _check_pair(first, second)
    intersection, own = _intersection(first, second, first.dtype.type(0)), area(first)[:, None]
    return np.asarray(np.divide(intersection, own, out=np.zeros_like(intersection), where=own > 0))


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
