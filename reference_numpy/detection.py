"""Detection: from what the network says of each anchor to what is in the image.

arXiv:1512.02325, section 3.1 and 3.7 ("Inference time"): decode, keep the confident, the
best of each class, suppress within each class, keep the best of all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import bottleneck
import numpy as np
from numpy.typing import NDArray

from reference_numpy._typing import Floats
from reference_numpy.boxes import area, clip
from reference_numpy.checks import check_counts, check_each, check_floats
from reference_numpy.coding import background_first, decode
from reference_numpy.conventions import CANONICAL, Convention
from reference_numpy.losses import sigmoid, softmax
from reference_numpy.suppression import nms, soft_nms

__all__ = ["Detections", "detect", "select", "top_k"]


class Detections(NamedTuple):
    """What is in one image, surest first (equal scores: lowest anchor, then lowest label).

    Attributes:
        boxes: (K, 4) xyxy, relative to the image and, canonically, within it.
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

    Raises:
        ValueError, TypeError: Not (N,) floats without NaN; k not a whole number from 0.

    Example:
        >>> top_k(np.array([0.1, 0.7, 0.3, 0.7, 0.3]), 3)
        array([1, 3, 2])
    """
    check_floats(scores, "scores", "N")
    check_each(scores, "scores", ~np.isnan(scores), "a number")
    check_counts(k=k)
    chosen = np.arange(scores.size)
    if k < scores.size:
        if k == 0:
            return chosen[:0]
        least = -bottleneck.partition(-scores, k - 1)[k - 1]
        above, level = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
        chosen = np.sort(np.concatenate([above, level[: k - above.size]]))
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def select(
    boxes: Floats, scores: Floats, convention: Convention = CANONICAL, **overrides: Any
) -> Detections:
    """Choose among scored boxes: clip, threshold, best per class, suppression, best of all.

    Args:
        boxes: (A, 4) xyxy, which may reach beyond the image.
        scores: (A, C) score of each class, background left out; column 0 is label 1.
        convention: Its `Detection` holds the rules, its `Overlap` what IoU is.
        overrides: Overrides of single fields.

    Returns:
        `Detections`.

    Raises:
        ValueError: Shapes that differ, NaN among the numbers; a corner at infinity, unless
            boxes are clipped first.
        TypeError: Not arrays of floats.

    Example:
        Anchors 0 and 1 see the same thing; the second class is seen by anchor 1 alone.

        >>> boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4]])
        >>> found = select(boxes, np.array([[0.9, 0.0], [0.8, 0.3]]))
        >>> found.scores, found.labels, found.anchors
        (array([0.9, 0.3]), array([1, 2]), array([0, 1]))
    """
    convention = convention.replace(**overrides)
    rules = convention.detection
    check_floats(scores, "scores", "A", "C")
    check_floats(boxes, "boxes", len(scores), 4)
    if rules.clip == "before":
        boxes = clip(boxes)
    check_each(boxes, "boxes", np.isfinite(boxes), "a number")
    check_each(scores, "scores", ~np.isnan(scores), "a number")
    everything = np.arange(scores.size).reshape(scores.shape)  # a candidate is anchor × C + class
    if rules.suppress_in == "anchor" and scores.shape[1]:
        groups = [np.take_along_axis(everything, scores.argmax(axis=1)[:, None], axis=1)[:, 0]]
    else:
        groups = list(everything.T)
    chosen, score = [np.empty(0, np.int64)], [np.empty(0, scores.dtype)]
    for group in groups:
        kept, lowered = _suppress(boxes, scores, group, convention)
        chosen.append(kept)
        score.append(lowered)
    found, final = np.concatenate(chosen), np.concatenate(score)
    anchor, label = found // max(1, scores.shape[1]), found % max(1, scores.shape[1]) + 1
    box = clip(boxes[anchor]) if rules.clip == "after" else boxes[anchor]
    order = {
        "lowest anchor": np.lexsort((label, anchor, -final)),
        "lowest label": np.lexsort((anchor, label, -final)),
        "highest anchor": np.lexsort((label, -anchor, -final)),
    }[rules.ties]
    if rules.drop_empty:
        order = order[area(box[order]) > 0]
    order = order[: rules.max_detections]
    return Detections(box[order], final[order], label[order], anchor[order])


def _suppress(
    boxes: Floats, scores: Floats, group: NDArray[np.int64], convention: Convention
) -> tuple[NDArray[np.int64], Floats]:
    """The candidates of one group that stay, surest first, and their scores."""
    rules = convention.detection
    all_scores, threshold = scores.ravel(), scores.dtype.type(rules.score_threshold)
    score = all_scores[group]
    group = group[score >= threshold if rules.score_at == ">=" else score > threshold]
    if rules.ties == "highest anchor":
        group = group[::-1]
    limit = group.size if rules.candidates_per_class is None else rules.candidates_per_class
    group = np.sort(group[top_k(all_scores[group], limit)])  # in the order of anchors
    box, score = boxes[group // scores.shape[1]], all_scores[group]
    if rules.soft_sigma is None:
        kept = nms(box, score, convention)[: rules.max_per_class]
        return group[kept], score[kept]
    kept, lowered = soft_nms(box, score, convention)
    return group[kept][: rules.max_per_class], lowered[: rules.max_per_class]


def detect(
    deltas: Floats,
    logits: Floats,
    anchors: Floats,
    convention: Convention = CANONICAL,
    **overrides: Any,
) -> Detections:
    """Read the head outputs of one image.

    Canonically boxes are decoded and clipped to the image before suppression; one that lies
    wholly outside ends up without area on the border, and is kept if it scores.

    Args:
        deltas: (A, 4) predicted codes.
        logits: (A, C + 1) predicted classes, canonically background first.
        anchors: (A, 4) cxcywh.
        convention: Its `Coding` says what the heads mean, its `Detection` what is kept; scores
            are sigmoids where its `Loss` has sigmoid or focal classes.
        overrides: Overrides of single fields.

    Returns:
        `Detections`.

    Raises:
        ValueError: Shapes that differ, NaN among the numbers, logits whose largest is infinite.
        TypeError: Not arrays of floats.

    Example:
        >>> anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> logits = np.array([[0.0, 0.0], [-9.0, 9.0]])
        >>> detect(np.zeros((2, 4)), logits, anchors, score_threshold=0.6).boxes
        array([[0.5, 0.5, 1. , 1. ]])
    """
    check_floats(deltas, "deltas", "A", 4)
    check_floats(logits, "logits", ...)
    if logits.ndim != 2 or len(logits) != len(deltas) or logits.shape[1] < 2:
        raise ValueError(
            f"logits: expected shape ({len(deltas)}, C + 1) with C at least 1. "
            f"Received: {logits.shape}"
        )
    convention = convention.replace(**overrides)
    columns = background_first(logits, convention)
    check_each(logits, "logits", ~np.isnan(logits), "a number")
    scores = softmax(columns) if convention.loss.class_loss == "softmax" else sigmoid(columns)
    return select(decode(deltas, anchors, convention), scores[:, 1:], convention)
