"""Turn functions of one image into functions of a padded batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from keras_impl._common.arrays import Arrays
from reference_numpy.conventions import Convention
from reference_numpy.detection import Detections

__all__ = [
    "per_image",
]


def per_image(operation: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a function of one unpadded image into a function of a padded batch.

    Args:
        operation: One of "match", "assign_targets", "mine_hard_negatives", "nms", "soft_nms",
            "select", "detect".
        function: (arrays of one image, convention=) → the result of that operation in
            `reference_numpy`, in the above order: (A,) objects; (labels, deltas, objects or None);
            (A,) mask; (K,) kept boxes; (kept boxes, scores); `Detections`; `Detections`.

    Returns:
        A function for `Implementation.operations`.

    Raises:
        ValueError: `operation` is none of these.

    Example:
        >>> from reference_numpy import CANONICAL, nms
        >>> call = per_image("nms", nms)
        >>> call(np.zeros((1, 2, 4)), np.array([[0.5, -np.inf]]), convention=CANONICAL)
        (array([[ 0, -1]]),)
    """
    adapt: dict[str, Callable[..., Any]] = {
        "match": _match_images,
        "assign_targets": _target_images,
        "mine_hard_negatives": _mining_images,
        "nms": _nms_images,
        "soft_nms": _soft_nms_images,
        "select": _select_images,
        "detect": _detect_images,
    }
    if operation not in adapt:
        raise ValueError(f"operation: expected one of {list(adapt)}. Received: {operation!r}")
    return partial(adapt[operation], function)


def _match_images(
    function: Callable[..., Any], boxes: Any, labels: Any, anchors: Any, *, convention: Convention
) -> Arrays:
    found = []
    for box, label in zip(boxes, labels, strict=True):
        rows = np.flatnonzero(label > 0)
        own = np.asarray(function(box[rows], anchors, convention=convention))
        found.append(np.where(own < 0, own, np.append(rows, -1)[np.minimum(own, len(rows))]))
    return (np.stack(found),)


def _target_images(
    function: Callable[..., Any], boxes: Any, labels: Any, anchors: Any, *, convention: Convention
) -> tuple[Any, ...]:
    parts: list[tuple[Any, ...]] = []
    for box, label in zip(boxes, labels, strict=True):
        rows = np.flatnonzero(label > 0)
        classes, deltas, own = function(box[rows], label[rows], anchors, convention=convention)
        if own is not None:
            own = np.where(own < 0, own, np.append(rows, -1)[np.minimum(own, len(rows))])
        parts.append((classes, deltas, own))
    classes, deltas, objects = zip(*parts, strict=True)
    told = objects[0] is not None
    return np.stack(classes), np.stack(deltas), np.stack(objects) if told else None


def _mining_images(
    function: Callable[..., Any], losses: Any, labels: Any, *, convention: Convention
) -> Arrays:
    images = zip(losses, labels, strict=True)
    return (np.stack([function(*image, convention=convention) for image in images]),)


def _nms_images(
    function: Callable[..., Any], boxes: Any, scores: Any, *, convention: Convention
) -> Arrays:
    kept = np.full(scores.shape, -1)
    for image, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        rows = np.flatnonzero(score > -np.inf)
        found = np.asarray(function(box[rows], score[rows], convention=convention), np.int64)
        kept[image, : len(found)] = rows[found]
    return (kept,)


def _soft_nms_images(
    function: Callable[..., Any], boxes: Any, scores: Any, *, convention: Convention
) -> Arrays:
    kept, lowered = np.full(scores.shape, -1), np.zeros_like(scores)
    for image, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        rows = np.flatnonzero(score > -np.inf)
        found, after = function(box[rows], score[rows], convention=convention)
        kept[image, : len(found)] = rows[np.asarray(found, np.int64)]
        lowered[image, : len(found)] = after
    return kept, lowered


def _select_images(
    function: Callable[..., Any], boxes: Any, scores: Any, *, convention: Convention
) -> tuple[Any, ...]:
    images = zip(boxes, scores, strict=True)
    return _padded([function(*one, convention=convention) for one in images], convention)


def _detect_images(
    function: Callable[..., Any], deltas: Any, logits: Any, anchors: Any, *, convention: Convention
) -> tuple[Any, ...]:
    images = zip(deltas, logits, strict=True)
    found = [function(*one, anchors, convention=convention) for one in images]
    return *_padded(found, convention), None, None


def _padded(found: Sequence[Any], convention: Convention) -> tuple[Any, ...]:
    """Pad the detections of each image to `max_detections` slots."""
    slots = convention.detection.max_detections
    dtype = np.asarray(found[0][0]).dtype
    boxes, scores = np.zeros((len(found), slots, 4), dtype), np.zeros((len(found), slots), dtype)
    labels, anchors = np.full((2, len(found), slots), -1)
    for image, one in enumerate(found):
        seen = Detections(*one)
        used = len(seen.scores)
        boxes[image, :used], scores[image, :used] = seen.boxes, seen.scores
        labels[image, :used] = seen.labels
        if seen.anchors is not None:
            anchors[image, :used] = seen.anchors
    told = all(one[3] is not None for one in found)
    return boxes, scores, labels, anchors if told else None
