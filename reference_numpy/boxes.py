"""Boxes: the two formats, area, clipping, validation and IoU.

A box is four numbers relative to the image, and half-open: a box from 0 to 1 covers the
image exactly. `xyxy`, (xmin, ymin, xmax, ymax), is what people and files use; `cxcywh`,
(cx, cy, w, h), is what anchors and codes use (arXiv:1512.02325, section 2.2).

Everything is computed in the dtype it is given, in the order written here, so that an
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
    """(..., 4) xyxy (xmin, ymin, xmax, ymax), finite → (..., 4) cxcywh (cx, cy, w, h).

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
    """(..., 4) cxcywh (cx, cy, w, h) → (..., 4) xyxy (xmin, ymin, xmax, ymax).

    An infinite size gives infinite corners.

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
    """(..., 4) xyxy, finite → (...) width × height; a box turned inside out has area 0.

    Example:
        >>> area(np.array([[0.0, 0.0, 0.5, 0.25], [0.5, 0.5, 0.25, 0.75]]))
        array([0.125, 0.   ])
    """
    _check_finite(boxes, "boxes")
    return _area(boxes, 0)


def clip(boxes: Floats) -> Floats:
    """(..., 4) xyxy → the same with every corner moved into the image, [0, 1].

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
    """Refuse boxes that no object can have. Boxes beyond the image's border are fine.

    Args:
        boxes: (N, 4) xyxy.
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
    """Refuse anchors that code nothing: (A, 4) cxcywh, finite, w and h above 0.

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
    """Intersection over union (the Jaccard overlap of section 2.2) of every pair.

    A pair whose union is 0 has IoU 0. Boxes that only touch have IoU 0.

    Args:
        first: (N, 4) xyxy.
        second: (M, 4) xyxy.
        convention: Its `Overlap` says what is added where; nothing, in the canonical one.
        overrides: Overrides of single fields.

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
    """Intersection over the area of the second box, of every pair: how much of it is covered.

    (N, 4) and (M, 4) xyxy → (N, M) in [0, 1]; 0 for a second box without area.

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
