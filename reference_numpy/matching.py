"""Matching: choose the object that each anchor is trained to detect.

Training needs a target for every anchor. arXiv:1512.02325, section 2.2, "Matching strategy": "We
begin by matching each ground truth box to the default box with the best jaccard overlap. Unlike
MultiBox, we then match default boxes to any ground truth with jaccard overlap higher than a
threshold (0.5)." Two objects may share their best default box. By default the first step is greedy
and bipartite, as in Caffe, so that both objects get an anchor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_numpy.checks import check_each, check_floats, check_number
from reference_numpy.conventions import CANONICAL, IGNORED, UNMATCHED, Convention, Matching

__all__ = ["bipartite", "match"]


def bipartite(iou: NDArray[np.floating[Any]], force_above: float = 0.0) -> NDArray[np.int64]:
    """Match each object to an anchor of its own, the largest IoU first.

    The pair with the largest IoU is matched, then the pair with the largest IoU among the other
    objects and anchors, and so on. Ties go to the lowest object, then to the lowest anchor. A pair
    with an IoU of `force_above` or less is never matched, so an object may stay without an anchor.

    Args:
        iou: (N, A) IoU of every object with every anchor.
        force_above: A number in [0, 1], compared in the dtype of `iou`.

    Returns:
        (N,) index of each object's anchor, or -1.

    Raises:
        ValueError: `iou` is not a matrix of numbers in [0, 1], or `force_above` is not in [0, 1].
        TypeError: `iou` is not an array of floats.

    Example:
        Anchor 1 is the best anchor of both objects. Object 1 has the larger IoU with it (.6), so
        object 0 gets anchor 0.

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
        # argmax returns the first maximum: the lowest object, then the lowest anchor.
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
    """Match each anchor to an object, or to none.

    First objects are forced on anchors whatever the threshold, by default with `bipartite`. Then
    every other anchor takes the object with which it has the largest IoU (ties: the lowest object),
    if that IoU reaches the threshold.

    Args:
        iou: (N, A) IoU of every object with every anchor; N may be 0.
        convention: Its `Matching` part is used. Thresholds are compared in the dtype of `iou`.
        overrides: Overrides of single fields.

    Returns:
        (A,) index of each anchor's object, -1 for background, -2 for ignored.

    Raises:
        ValueError: `iou` is not a matrix of numbers in [0, 1], or a threshold is 0 in its dtype.
        TypeError: `iou` is not an array of floats.

    Example:
        Object 0 gets its best anchor, although the IoU is below the threshold. Anchor 2 is
        not forced; its IoU with object 1 is exactly the threshold.

        >>> iou = np.array([[0.3, 0.0, 0.1, 0.0], [0.0, 0.7, 0.5, 0.2]])
        >>> match(iou), match(iou, force="none"), match(iou, ignore_from=0.1)
        (array([ 0,  1,  1, -1]), array([-1,  1,  1, -1]), array([ 0,  1,  1, -2]))
    """
    rules = convention.replace(**overrides).matching
    _check_iou(iou)
    _check_threshold(rules, iou.dtype)
    return _match(iou, rules)


def _check_threshold(rules: Matching, dtype: np.dtype[Any]) -> None:
    """Check that the threshold does not round to 0 in the dtype of the comparison."""
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
    # A later object overwrites an earlier one that is forced on the same anchor.
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
    """Find the anchor that each object is forced on, or -1."""
    if force == "none":
        return np.full(len(iou), UNMATCHED)
    if force == "bipartite":
        return _bipartite(iou, force_above)
    return np.where(iou.max(axis=1) > iou.dtype.type(force_above), iou.argmax(axis=1), UNMATCHED)
