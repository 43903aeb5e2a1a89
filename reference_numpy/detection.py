"""Detection: from what the network says of each anchor to what is in the picture.

arXiv:1512.02325, section 3.1 and 3.7 ("Inference time"): decode, keep the confident, the
best of each class, suppress within each class, keep the best of all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import bottleneck
import numpy as np
from numpy.typing import NDArray

from reference_numpy.boxes import clip
from reference_numpy.coding import decode
from reference_numpy.conventions import CANONICAL
from reference_numpy.losses import softmax
from reference_numpy.nms import nms

__all__ = ["Detections", "detect", "select", "top_k"]

Floats = NDArray[np.floating[Any]]


class Detections(NamedTuple):
    """What is in one picture, surest first (equal scores: lowest anchor, then lowest label).

    Attributes:
        boxes: (K, 4) corner form, relative to the picture and within it.
        scores: (K,) probability of the class.
        labels: (K,) class from 1.
        anchors: (K,) index of the anchor that says so.
    """

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]
    anchors: NDArray[np.int64]


def top_k(scores: Floats, k: int) -> NDArray[np.int64]:
    """Indices of the k largest scores, largest first; equal scores: the lowest index.

    A partial selection finds the k-th largest value without sorting the rest. Which of
    several equal scores a partition puts first is the library's business, so only the
    *value* is taken from it.

    Args:
        scores: (N,) without NaN.
        k: How many at the most; 0 or more.

    Returns:
        (min(k, N),) indices.

    Example:
        >>> top_k(np.array([0.1, 0.7, 0.3, 0.7, 0.3]), 3)
        array([1, 3, 2])
    """
    if k < 0:
        raise ValueError(f"k: expected 0 or more. Received: {k}")
    chosen = np.arange(scores.size)
    if k < scores.size:
        if k == 0:
            return chosen[:0]
        least = -bottleneck.partition(-scores, k - 1)[k - 1]
        above, level = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
        chosen = np.sort(np.concatenate([above, level[: k - above.size]]))
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def select(
    boxes: Floats,
    scores: Floats,
    *,
    score_threshold: float = CANONICAL.detection.score_threshold,
    iou_threshold: float = CANONICAL.detection.iou_threshold,
    candidates_per_class: int = CANONICAL.detection.candidates_per_class,
    max_detections: int = CANONICAL.detection.max_detections,
) -> Detections:
    """Choose among scored boxes: threshold, best per class, suppression, best of all.

    Args:
        boxes: (A, 4) corner form.
        scores: (A, C) score of each class, background left out; column 0 is label 1.
        score_threshold: A candidate scores more than this.
        iou_threshold: Of `nms`, within each class.
        candidates_per_class: Best candidates of each class that enter suppression.
        max_detections: Detections kept of all classes.

    Returns:
        `Detections`.

    Raises:
        ValueError: Shapes that differ, NaN among the numbers, a limit below 0.

    Example:
        Anchors 0 and 1 see the same thing; the second class is seen by anchor 1 alone.

        >>> boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4]])
        >>> found = select(boxes, np.array([[0.9, 0.0], [0.8, 0.3]]))
        >>> found.scores, found.labels, found.anchors
        (array([0.9, 0.3]), array([1, 2]), array([0, 1]))
    """
    if scores.ndim != 2 or boxes.shape != (len(scores), 4):
        raise ValueError(
            f"boxes, scores: expected shapes (A, 4) and (A, C). "
            f"Received: {boxes.shape}, {scores.shape}"
        )
    for name, values, bad in (
        ("boxes", boxes, ~np.isfinite(boxes)),
        ("scores", scores, np.isnan(scores)),
    ):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f"{name}[{row}, {column}]: expected a number. Received: {values[row, column]}"
            )
    for name, limit in (
        ("candidates_per_class", candidates_per_class),
        ("max_detections", max_detections),
    ):
        if limit < 0:
            raise ValueError(f"{name}: expected 0 or more. Received: {limit}")
    threshold = scores.dtype.type(score_threshold)
    anchors, labels = [], []
    for column in range(scores.shape[1]):
        candidates = np.flatnonzero(scores[:, column] > threshold)
        candidates = candidates[top_k(scores[candidates, column], candidates_per_class)]
        kept = candidates[nms(boxes[candidates], scores[candidates, column], iou_threshold)]
        anchors.append(kept)
        labels.append(np.full(kept.size, column + 1))
    anchor = np.concatenate([np.empty(0, np.int64), *anchors])
    label = np.concatenate([np.empty(0, np.int64), *labels])
    score = scores[anchor, label - 1]
    order = np.lexsort((label, anchor, -score))[:max_detections]
    return Detections(boxes[anchor[order]], score[order], label[order], anchor[order])


def detect(
    deltas: Floats,
    logits: Floats,
    anchors: Floats,
    *,
    variances: tuple[float, ...] = CANONICAL.coding.variances,
    score_threshold: float = CANONICAL.detection.score_threshold,
    iou_threshold: float = CANONICAL.detection.iou_threshold,
    candidates_per_class: int = CANONICAL.detection.candidates_per_class,
    max_detections: int = CANONICAL.detection.max_detections,
) -> Detections:
    """Read the head outputs of one picture.

    Boxes are decoded and clipped to the picture before suppression; one that lies wholly
    outside ends up without area on the border, and is kept if it scores.

    Args:
        deltas: (A, 4) predicted codes.
        logits: (A, C + 1) predicted classes, 0 is background.
        anchors: (A, 4) centre form.
        variances: Of `decode`.
        score_threshold: Of `select`, as the rest.
        iou_threshold: Of `select`.
        candidates_per_class: Of `select`.
        max_detections: Of `select`.

    Returns:
        `Detections`.

    Raises:
        ValueError: Shapes that differ, NaN among the numbers, a limit below 0.

    Example:
        >>> anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> logits = np.array([[0.0, 0.0], [-9.0, 9.0]])
        >>> detect(np.zeros((2, 4)), logits, anchors, score_threshold=0.6).boxes
        array([[0.5, 0.5, 1. , 1. ]])
    """
    if logits.ndim != 2 or len(logits) != len(deltas) or logits.shape[1] < 2:
        raise ValueError(
            f"logits: expected shape ({len(deltas)}, C + 1) with C at least 1. "
            f"Received: {logits.shape}"
        )
    return select(
        clip(decode(deltas, anchors, variances)),
        softmax(logits)[:, 1:],
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        candidates_per_class=candidates_per_class,
        max_detections=max_detections,
    )
