"""Detections of a batch with static shapes: mirrors `reference_numpy.detection`."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_impl.boxes import clip
from keras_impl.coding import decode
from keras_impl.losses import softmax
from keras_impl.nms import nms
from keras_impl.ties import top_mask
from reference_numpy.conventions import CANONICAL

__all__ = ["Detections", "detect", "select"]

Tensor = Any


class Detections(NamedTuple):
    """What is in each of B pictures, surest first (equal scores: lowest anchor, then label).

    Attributes:
        boxes: (B, K, 4) corner form, relative to the picture; 0 in unused slots.
        scores: (B, K) probability of the class; 0 in unused slots.
        labels: (B, K) int32 class from 1; -1 in unused slots.
        anchors: (B, K) int32 index of the anchor that says so; -1 in unused slots.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    anchors: Tensor


def select(
    boxes: Tensor,
    scores: Tensor,
    *,
    score_threshold: float = CANONICAL.detection.score_threshold,
    iou_threshold: float = CANONICAL.detection.iou_threshold,
    candidates_per_class: int = CANONICAL.detection.candidates_per_class,
    max_detections: int = CANONICAL.detection.max_detections,
) -> Detections:
    """Choose among scored boxes: threshold, best per class, suppression, best of all.

    Args:
        boxes: (B, A, 4) corner form.
        scores: (B, A, C) score of each class, background left out; column 0 is label 1.
        score_threshold: A candidate scores more than this. NaN, in a score or a box, is no
            candidate.
        iou_threshold: Of `nms`, within each class.
        candidates_per_class: Best candidates of each class that enter suppression.
        max_detections: K, detections kept of all classes.

    Returns:
        `Detections` with K slots.

    Example:
        >>> boxes = ops.array([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4]]])
        >>> found = select(boxes, ops.array([[[0.9, 0.0], [0.8, 0.3]]]), max_detections=3)
        >>> ops.convert_to_numpy(found.labels)
        array([[ 1,  2, -1]], dtype=int32)
    """
    for name, limit in (
        ("candidates_per_class", candidates_per_class),
        ("max_detections", max_detections),
    ):
        if limit < 0:
            raise ValueError(f"{name}: expected 0 or more. Received: {limit}")
    count, columns = scores.shape[1], scores.shape[2]
    candidates = min(candidates_per_class, count)
    by_class = ops.transpose(scores, (0, 2, 1))
    numbers = ops.all(ops.equal(boxes, boxes), axis=-1)[:, None, :]
    fit = ops.logical_and(ops.greater(by_class, ops.cast(score_threshold, scores.dtype)), numbers)
    ranked = ops.where(fit, by_class, ops.full_like(by_class, float("-inf")))
    chosen = top_mask(ranked, ops.full(ops.shape(ranked)[:2], candidates, dtype="int32"))

    # Gather the chosen into slots. The keys are distinct, so no tie is left to top_k, and the
    # slots of a class are in the order of anchors.
    keys = ops.where(chosen, count - ops.arange(count, dtype="int32"), 0)
    found, anchor = ops.top_k(keys, candidates)
    anchor = ops.cast(anchor, "int32")
    score = ops.take_along_axis(ranked, anchor, axis=-1)
    score = ops.where(ops.greater(found, 0), score, ops.full_like(score, float("-inf")))
    column = ops.arange(columns, dtype="int32")[None, :, None] + ops.zeros_like(anchor)

    slots = (-1, columns * candidates)
    anchor, score, column = (ops.reshape(part, slots) for part in (anchor, score, column))
    box = ops.take_along_axis(boxes, anchor[..., None], axis=1)
    kept = nms(
        box,
        score,
        iou_threshold,
        max_kept=max_detections,
        classes=column,
        order=anchor * columns + column,
    )
    used = ops.greater_equal(kept, 0)
    rows = ops.maximum(kept, 0)
    score = ops.take_along_axis(score, rows, axis=1)
    box = ops.take_along_axis(box, rows[..., None], axis=1)
    return Detections(
        ops.where(used[..., None], box, ops.zeros_like(box)),
        ops.where(used, score, ops.zeros_like(score)),
        ops.where(used, ops.take_along_axis(column, rows, axis=1) + 1, -1),
        ops.where(used, ops.take_along_axis(anchor, rows, axis=1), -1),
    )


def detect(
    deltas: Tensor,
    logits: Tensor,
    anchors: Tensor,
    *,
    variances: tuple[float, ...] = CANONICAL.coding.variances,
    score_threshold: float = CANONICAL.detection.score_threshold,
    iou_threshold: float = CANONICAL.detection.iou_threshold,
    candidates_per_class: int = CANONICAL.detection.candidates_per_class,
    max_detections: int = CANONICAL.detection.max_detections,
) -> Detections:
    """Read the head outputs of a batch.

    Args:
        deltas: (B, A, 4) predicted codes.
        logits: (B, A, C + 1) predicted classes, 0 is background.
        anchors: (A, 4) centre form.
        variances: Of `decode`.
        score_threshold: Of `select`, as the rest.
        iou_threshold: Of `select`.
        candidates_per_class: Of `select`.
        max_detections: Of `select`.

    Returns:
        `Detections` with `max_detections` slots.

    Example:
        >>> anchors = ops.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> logits = ops.array([[[0.0, 0.0], [-9.0, 9.0]]])
        >>> found = detect(ops.zeros((1, 2, 4)), logits, anchors, score_threshold=0.6)
        >>> ops.convert_to_numpy(found.boxes[0, 0])
        array([0.5, 0.5, 1. , 1. ], dtype=float32)
    """
    return select(
        clip(decode(deltas, ops.cast(anchors, deltas.dtype), variances)),
        softmax(logits)[..., 1:],
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        candidates_per_class=candidates_per_class,
        max_detections=max_detections,
    )
