"""Matching: which object each anchor is responsible for.

arXiv:1512.02325, section 2.2, "Matching strategy": "We begin by matching each ground truth
box to the default box with the best jaccard overlap. Unlike MultiBox, we then match default
boxes to any ground truth with jaccard overlap higher than a threshold (0.5)." Two objects may
have the same best default box; canonically the first step is greedy and bipartite, as in Caffe,
so that both get one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_numpy.checks import check_each, check_floats, check_number
from reference_numpy.conventions import CANONICAL, IGNORED, UNMATCHED, Convention, Matching

__all__ = ["bipartite", "match"]


def bipartite(iou: NDArray[np.floating[Any]], force_above: float = 0.0) -> NDArray[np.int64]:
    """Give each object an anchor of its own: the largest IoU of all first.

    Ties go to the lowest object, then to the lowest anchor. A pair that overlaps by
    `force_above` or less is never made, so an object may stay without an anchor.

    Args:
        iou: (N, A) IoU of every object with every anchor.
        force_above: 0 or more, compared in the dtype of `iou`.

    Returns:
        (N,) anchor of each object, or -1.

    Raises:
        ValueError: `iou` is not a matrix of numbers in [0, 1], or `force_above` is below 0.
        TypeError: `iou` is not an array of floats.

    Example:
        Both objects like anchor 1 best; .6 is larger than .4, so object 0 has to take .35.

        >>> bipartite(np.array([[0.35, 0.4, 0.0], [0.1, 0.6, 0.0]]))
        array([0, 1])
    """
    _check_iou(iou)
    check_number(force_above, "force_above", 0, 1)
    return _bipartite(iou, force_above)


def _bipartite(iou: NDArray[np.floating[Any]], force_above: float) -> NDArray[np.int64]:
    objects, anchors = iou.shape
    anchor_of_object = np.full(objects, UNMATCHED)
    free = np.array(iou)
    for _ in range(min(objects, anchors)):
        # argmax of the flattened matrix is the first of the largest: object, then anchor.
        best_object, best_anchor = np.unravel_index(np.argmax(free), free.shape)
        if not free[best_object, best_anchor] > iou.dtype.type(force_above):
            break
        anchor_of_object[best_object] = best_anchor
        free[best_object, :] = -1
        free[:, best_anchor] = -1
    return anchor_of_object


def match(
    iou: NDArray[np.floating[Any]], convention: Convention = CANONICAL, **overrides: Any
) -> NDArray[np.int64]:
    """Give each anchor the object it is responsible for, or none.

    First objects are forced on anchors, canonically by `bipartite`; then every anchor still
    free takes the object it overlaps most (ties: the lowest object), if that IoU reaches the
    threshold.

    Args:
        iou: (N, A) IoU of every object with every anchor; N may be 0.
        convention: Its `Matching` holds the rules; limits are compared in the dtype of `iou`.
        overrides: Overrides of single fields.

    Returns:
        (A,) index of the object, -1 for background, -2 for what is ignored.

    Raises:
        ValueError: `iou` is not a matrix of numbers in [0, 1], or a threshold that is 0 in its
            dtype.
        TypeError: `iou` is not an array of floats.

    Example:
        Object 0 gets its best anchor although the overlap is small; anchor 2 is free and
        overlaps object 1 by the threshold exactly.

        >>> iou = np.array([[0.3, 0.0, 0.1, 0.0], [0.0, 0.7, 0.5, 0.2]])
        >>> match(iou), match(iou, force="none"), match(iou, ignore_from=0.1)
        (array([ 0,  1,  1, -1]), array([-1,  1,  1, -1]), array([ 0,  1,  1, -2]))
    """
    rules = convention.replace(**overrides).matching
    _check_iou(iou)
    _check_threshold(rules, iou.dtype)
    return _match(iou, rules)


def _check_threshold(rules: Matching, dtype: np.dtype[Any]) -> None:
    """Refuse a threshold that is 0 in the dtype in which it is compared."""
    if dtype.type(rules.threshold) == 0:
        raise ValueError(f"threshold: expected a number in (0, 1]. Received: {rules.threshold}")


def _match(iou: NDArray[np.floating[Any]], rules: Matching) -> NDArray[np.int64]:
    threshold = iou.dtype.type(rules.threshold)
    objects, anchors = iou.shape
    object_of_anchor = np.full(anchors, UNMATCHED)
    if objects == 0 or anchors == 0:
        return object_of_anchor
    best = iou.max(axis=0)
    if rules.ignore_from is not None:
        object_of_anchor[best >= iou.dtype.type(rules.ignore_from)] = IGNORED
    overlapping = best >= threshold if rules.positive_at == ">=" else best > threshold
    object_of_anchor[overlapping] = iou.argmax(axis=0)[overlapping]
    # Written one after the other, so among several objects on one anchor the last one stays.
    order = range(objects - 1, -1, -1) if rules.force == "first" else range(objects)
    forced = _forced(iou, rules.force, rules.force_above)
    for index in order:
        if forced[index] != UNMATCHED:
            object_of_anchor[forced[index]] = index
    return object_of_anchor


def _check_iou(iou: NDArray[np.floating[Any]]) -> None:
    check_floats(iou, "iou", "objects", "anchors")
    check_each(iou, "iou", (iou >= 0) & (iou <= 1), "a number in [0, 1]")


def _forced(iou: NDArray[np.floating[Any]], force: str, force_above: float) -> NDArray[np.int64]:
    """The anchor that each object is forced on, or -1."""
    if force == "none":
        return np.full(len(iou), UNMATCHED)
    if force == "bipartite":
        return _bipartite(iou, force_above)
    return np.where(iou.max(axis=1) > iou.dtype.type(force_above), iou.argmax(axis=1), UNMATCHED)
