"""Matching: which object each anchor is responsible for.

arXiv:1512.02325, section 2.2, "Matching strategy": "We begin by matching each ground truth
box to the default box with the best jaccard overlap. Unlike MultiBox, we then match default
boxes to any ground truth with jaccard overlap higher than a threshold (0.5)." Two objects may
have the same best default box; here the first step is greedy and bipartite, as in Caffe, so
that both get one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNMATCHED", "bipartite", "match"]

UNMATCHED = -1


def bipartite(iou: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Give each object an anchor of its own: the largest IoU of all first.

    Ties go to the lowest object, then to the lowest anchor. A pair that does not overlap is
    never made, so an object may stay without an anchor.

    Args:
        iou: (N, A) IoU of every object with every anchor.

    Returns:
        (N,) anchor of each object, or -1.

    Example:
        Both objects like anchor 1 best; .6 is larger than .4, so object 0 has to take .35.

        >>> bipartite(np.array([[0.35, 0.4, 0.0], [0.1, 0.6, 0.0]]))
        array([0, 1])
    """
    objects, anchors = iou.shape
    anchor_of_object = np.full(objects, UNMATCHED)
    free = np.array(iou)
    for _ in range(min(objects, anchors)):
        # argmax of the flattened matrix is the first of the largest: object, then anchor.
        best_object, best_anchor = np.unravel_index(np.argmax(free), free.shape)
        if not free[best_object, best_anchor] > 0:
            break
        anchor_of_object[best_object] = best_anchor
        free[best_object, :] = -1
        free[:, best_anchor] = -1
    return anchor_of_object


def match(iou: NDArray[np.floating[Any]], threshold: float = 0.5) -> NDArray[np.int64]:
    """Give each anchor the object it is responsible for, or none.

    First `bipartite`; then every anchor still free takes the object it overlaps most, if
    that IoU ≥ `threshold` (ties: the lowest object).

    Args:
        iou: (N, A) IoU of every object with every anchor; N may be 0.
        threshold: Least IoU of the second step, compared in the dtype of `iou`.

    Returns:
        (A,) index of the object, or -1 for background.

    Raises:
        ValueError: `iou` is not a matrix of numbers in [0, 1], or `threshold` is not in (0, 1].

    Example:
        Object 0 gets its best anchor although the overlap is small; anchor 2 is free and
        overlaps object 1 by the threshold exactly.

        >>> match(np.array([[0.3, 0.0, 0.1, 0.0], [0.0, 0.7, 0.5, 0.2]]))
        array([ 0,  1,  1, -1])
    """
    if iou.ndim != 2:
        raise ValueError(f"iou: expected shape (objects, anchors). Received: {iou.shape}")
    if not np.issubdtype(iou.dtype, np.floating):
        raise TypeError(f"iou: expected an array of floats. Received: {iou.dtype}")
    if not 0 < threshold <= 1 or iou.dtype.type(threshold) == 0:
        raise ValueError(f"threshold: expected a number in (0, 1]. Received: {threshold}")
    outside = ~((iou >= 0) & (iou <= 1))
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise ValueError(
            f"iou[{row}, {column}]: expected a number in [0, 1]. Received: {iou[row, column]}"
        )

    objects, anchors = iou.shape
    object_of_anchor = np.full(anchors, UNMATCHED)
    if objects == 0:
        return object_of_anchor
    overlapping = iou.max(axis=0) >= iou.dtype.type(threshold)
    object_of_anchor[overlapping] = iou.argmax(axis=0)[overlapping]
    for index, anchor in enumerate(bipartite(iou)):
        if anchor != UNMATCHED:
            object_of_anchor[anchor] = index
    return object_of_anchor
