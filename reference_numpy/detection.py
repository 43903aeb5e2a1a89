"""Detection: turn the head outputs of an image into boxes, scores and labels.

The heads output a code and class scores for every anchor. Most anchors show background, or the same
object as another one. Detection decodes the boxes, keeps the best candidates of each class above a
score, suppresses overlaps within a class and keeps the best of all classes (arXiv:1512.02325,
sections 3.1 and 3.7, "Inference time").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import bottleneck
import numpy as np
from numpy.typing import NDArray

from reference_numpy._typing import Floats
from reference_numpy.boxes import _area, check_anchors
from reference_numpy.checks import check_counts, check_each, check_floats
from reference_numpy.coding import _background_first, _check_codes, _decode
from reference_numpy.conventions import CANONICAL, Convention, Detection
from reference_numpy.losses import _check_logits, _sigmoid, _softmax
from reference_numpy.suppression import _nms, _passes, _soft_nms

__all__ = ["Detections", "detect", "select", "top_k"]


class Detections(NamedTuple):
    """The detections of one image, highest score first.

    By default equal scores are in the order of their anchors, then of their labels.

    Attributes:
        boxes: (K, 4) xyxy, relative to the image and, by default, within it.
        scores: (K,) probability of the class.
        labels: (K,) class, from 1.
        anchors: (K,) index of the anchor that was decoded.
    """

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]
    anchors: NDArray[np.int64]


def top_k(scores: Floats, k: int) -> NDArray[np.int64]:
    """Find the indices of the k largest scores, largest first; equal scores: the lowest index.

    A partial sort finds the k-th largest value without sorting the rest. Only this *value* is used:
    which of several equal scores a partition puts first is not specified.

    Args:
        scores: (N,) without NaN.
        k: Number of indices at most; 0 or more.

    Returns:
        (min(k, N),) indices.

    Raises:
        ValueError: `scores` are not (N,) or contain NaN, or `k` is negative.
        TypeError: `scores` are not floats, or `k` is not an integer.

    Example:
        >>> top_k(np.array([0.1, 0.7, 0.3, 0.7, 0.3]), 3)
        array([1, 3, 2])
    """
    check_floats(scores, "scores", "N")
    check_each(scores, "scores", ~np.isnan(scores), "a number")
    check_counts(k=k)
    return _top_k(scores, k)


def _top_k(scores: Floats, k: int) -> NDArray[np.int64]:
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
    """Select detections among scored boxes.

    The steps are: clip, threshold, best candidates of each class, suppression, best of all classes.

    Args:
        boxes: (A, 4) xyxy, which may extend beyond the image.
        scores: (A, C) score of each class, without background; column 0 is label 1.
        convention: Its `Detection` and `Overlap` parts are used.
        overrides: Overrides of single fields.

    Returns:
        `Detections`.

    Raises:
        ValueError: Shapes that differ, NaN, or an infinite corner (unless boxes are clipped first).
            With `soft_sigma`, also a candidate whose score is negative or infinite.
        TypeError: Not arrays of floats.

    Example:
        Anchors 0 and 1 find the same object of class 1. Only anchor 1 finds one of class 2.

        >>> boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4]])
        >>> found = select(boxes, np.array([[0.9, 0.0], [0.8, 0.3]]))
        >>> found.scores, found.labels, found.anchors
        (array([0.9, 0.3]), array([1, 2]), array([0, 1]))
    """
    convention = convention.replace(**overrides)
    check_floats(scores, "scores", "A", "C")
    check_floats(boxes, "boxes", len(scores), 4)
    boxes = _finite(boxes, convention.detection)
    check_each(scores, "scores", ~np.isnan(scores), "a number")
    if convention.detection.soft_sigma is not None:
        fine = ((scores >= 0) & (scores < np.inf)) | ~_passes(scores, convention.detection)
        check_each(scores, "scores", fine, "a finite number from 0")
    return _select(boxes, scores, convention)


def _finite(boxes: Floats, rules: Detection) -> Floats:
    """Return the boxes for suppression, clipped if that comes first; check that they are finite."""
    if rules.clip == "before":
        boxes = np.clip(boxes, 0, 1)
    check_each(boxes, "boxes", np.isfinite(boxes), "a number")
    return boxes


def _select(boxes: Floats, scores: Floats, convention: Convention) -> Detections:
    rules = convention.detection
    anchors, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    kept_scores = [np.empty(0, scores.dtype)]
    for group_labels, group_scores in _groups(scores, rules):
        kept, lowered = _suppress(boxes, group_scores, convention)
        anchors.append(kept)
        labels.append(group_labels[kept])
        kept_scores.append(lowered)
    anchor, label = np.concatenate(anchors), np.concatenate(labels)
    score = np.concatenate(kept_scores)
    box = np.clip(boxes[anchor], 0, 1) if rules.clip == "after" else boxes[anchor]

    order = _order(anchor, label, score, rules)
    if rules.drop_empty:
        order = order[_area(box[order], 0) > 0]
    order = order[: rules.max_detections]
    return Detections(box[order], score[order], label[order], anchor[order])


def _groups(scores: Floats, rules: Detection) -> list[tuple[NDArray[np.int64], Floats]]:
    """Group the scores that suppress each other.

    Each group has a label and a score for every anchor: one group per class, or, with
    `suppress_in="anchor"`, one group with the best class of every anchor.
    """
    anchors, classes = scores.shape
    if rules.suppress_in == "class":
        return [(np.full(anchors, column + 1), scores[:, column]) for column in range(classes)]
    if classes == 0:
        return []
    best = scores.argmax(axis=1)
    return [(best + 1, scores[np.arange(anchors), best])]


def _suppress(
    boxes: Floats, scores: Floats, convention: Convention
) -> tuple[NDArray[np.int64], Floats]:
    """Suppress one group: return the kept anchors, highest score first, and their scores."""
    rules = convention.detection
    candidates = np.flatnonzero(_passes(scores, rules))
    if rules.ties == "highest anchor":
        candidates = candidates[::-1]
    if rules.candidates_per_class is not None:
        candidates = candidates[_top_k(scores[candidates], rules.candidates_per_class)]
    candidates = np.sort(candidates)
    box, score = boxes[candidates], scores[candidates]
    if rules.soft_sigma is None:
        kept = _nms(box, score, convention)
        lowered = score[kept]
    else:
        kept, lowered = _soft_nms(box, score, convention)
    return candidates[kept][: rules.max_per_class], lowered[: rules.max_per_class]


def _order(
    anchor: NDArray[np.int64], label: NDArray[np.int64], score: Floats, rules: Detection
) -> NDArray[np.int64]:
    """Order detections from the highest score down, equal scores as `ties` says.

    `np.lexsort` sorts by its last key first.
    """
    if rules.ties == "lowest label":
        return np.lexsort((anchor, label, -score))
    if rules.ties == "highest anchor":
        return np.lexsort((label, -anchor, -score))
    return np.lexsort((label, anchor, -score))


def detect(
    deltas: Floats,
    logits: Floats,
    anchors: Floats,
    convention: Convention = CANONICAL,
    **overrides: Any,
) -> Detections:
    """Detect objects: decode the head outputs of one image, and select among the boxes.

    By default boxes are decoded and clipped to the image before suppression. A box wholly outside
    becomes a box without area on the border, and is kept if its score is high enough.

    Args:
        deltas: (A, 4) predicted codes.
        logits: (A, C + 1) predicted classes, by default background first.
        anchors: (A, 4) cxcywh.
        convention: Its `Coding` part defines the head outputs; its `Detection` and `Overlap` parts
            are used as in `select`. Scores are sigmoids if its `Loss` part has a "sigmoid" or
            "focal" class loss, else a softmax.
        overrides: Overrides of single fields.

    Returns:
        `Detections`.

    Raises:
        ValueError: Shapes that differ, NaN, or logits whose largest is infinite.
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
    check_each(logits, "logits", ~np.isnan(logits), "a number")
    softmax = convention.loss.class_loss == "softmax"
    if softmax:
        _check_logits(logits)
    _check_codes(deltas, convention.coding)
    check_floats(anchors, "anchors", len(deltas), 4)
    check_anchors(anchors)

    columns = _background_first(logits, convention.coding)
    scores = (_softmax if softmax else _sigmoid)(columns)[:, 1:]
    boxes = _finite(_decode(deltas, anchors, convention.coding), convention.detection)
    return _select(boxes, scores, convention)
