"""Greedy non-maximum suppression: of boxes that say the same thing, keep the surest.

arXiv:1512.02325, section 2.2 ("... non-maximum suppression step to produce the final
detections"): boxes of one class are visited from the highest score down; each one that
overlaps an already kept one by more than a threshold is dropped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_numpy.boxes import pairwise_iou

__all__ = ["nms"]


def nms(
    boxes: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    iou_threshold: float = 0.45,
) -> NDArray[np.int64]:
    """Suppress the boxes of one class.

    Args:
        boxes: (N, 4) corner form; a box without area overlaps nothing.
        scores: (N,) any numbers; equal scores are visited from the lowest index.
        iou_threshold: A box is dropped at an IoU *above* this with a kept one, compared in
            the dtype of `boxes`; 1 drops nothing.

    Returns:
        (K,) indices of the kept boxes in the order visited.

    Raises:
        ValueError: Shapes that differ, NaN among the numbers, a threshold outside [0, 1].

    Example:
        b overlaps a by 1/3 and c by 1/3; a and c only touch. b falls to a, so c stays.

        >>> chain = np.array([[0.0, 0, 0.5, 1], [0.25, 0, 0.75, 1], [0.5, 0, 1, 1]])
        >>> nms(chain, np.array([0.9, 0.8, 0.7]), 0.3)
        array([0, 2])
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected shape (N, 4). Received: {boxes.shape}")
    if scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"scores: expected shape {boxes.shape[:1]}, one a box. Received: {scores.shape}"
        )
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold: expected a number in [0, 1]. Received: {iou_threshold}")
    infinite, nan = ~np.isfinite(boxes).all(axis=1), np.isnan(scores)
    for name, values, bad in (("boxes", boxes, infinite), ("scores", scores, nan)):
        if bad.any():
            index = int(np.argmax(bad))
            raise ValueError(
                f"{name}[{index}]: expected numbers. Received: {values[index].tolist()}"
            )

    threshold = boxes.dtype.type(iou_threshold)
    waiting = np.argsort(-scores, kind="stable")
    kept = []
    while waiting.size:
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        overlap = pairwise_iou(boxes[best][None], boxes[waiting])[0]
        waiting = waiting[overlap <= threshold]
    return np.array(kept, dtype=np.int64)
