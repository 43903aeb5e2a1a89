"""Detection for a batch on any Keras backend: mirrors `reference_numpy.detection`.

Every image has `max_detections` slots, since graphs need static shapes. Unused slots are padding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_impl._common.arrays import Tensor
from keras_impl.ops.boxes import _area, _clip
from keras_impl.ops.checks import as_floats
from keras_impl.ops.coding import _background_first, _decode
from keras_impl.ops.losses import _sigmoid, _softmax
from keras_impl.ops.suppression import NONE, _passes, _visit_all
from keras_impl.ops.ties import first_argmax, top_mask
from reference_numpy.conventions import CANONICAL, Convention

__all__ = ["Detections", "detect", "select"]


class Detections(NamedTuple):
    """The detections of each of B images, highest score first.

    By default equal scores are in the order of their anchors, then of their labels.

    Attributes:
        boxes: (B, K, 4) xyxy, relative to the image; 0 in unused slots.
        scores: (B, K) probability of the class; 0 in unused slots.
        labels: (B, K) int32 class, from 1; -1 in unused slots.
        anchors: (B, K) int32 index of the anchor that was decoded; -1 in unused slots.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    anchors: Tensor


def select(
    boxes: Tensor, scores: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> Detections:
    """Select detections among scored boxes.

    The steps are: clip, threshold, best candidates of each class, suppression, best of all classes.

    Values are not checked, in any mode. Instead, a candidate is skipped if its score is NaN, or if
    its box has a corner that is NaN or infinite (after clipping, if boxes are clipped first).

    Args:
        boxes: (B, A, 4) xyxy, which may extend beyond the image.
        scores: (B, A, C) score of each class, without background; column 0 is label 1.
        convention: Its `Detection` and `Overlap` parts are used.
        overrides: Overrides of single fields.

    Returns:
        `Detections` with K = `max_detections` slots.

    Raises:
        ValueError: Shapes do not fit.
        TypeError: Not floats.

    Example:
        >>> boxes = ops.array([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4]]])
        >>> found = select(boxes, ops.array([[[0.9, 0.0], [0.8, 0.3]]]), max_detections=3)
        >>> ops.convert_to_numpy(found.labels)
        array([[ 1,  2, -1]], dtype=int32)
    """
    convention = convention.replace(**overrides)
    boxes = ops.convert_to_tensor(as_floats(boxes, "boxes", "B", "A", 4))
    scores = ops.convert_to_tensor(as_floats(scores, "scores", *tuple(boxes.shape)[:2], "C"))
    return _select(boxes, scores, convention)


def _select(boxes: Tensor, scores: Tensor, convention: Convention) -> Detections:
    rules = convention.detection
    if rules.clip == "before":
        boxes = _clip(boxes)
    batch, count, columns = ops.shape(boxes)[0], scores.shape[1], scores.shape[2]
    limit = count if rules.candidates_per_class is None else min(rules.candidates_per_class, count)
    if 0 in (count, columns):
        return _nothing(batch, rules.max_detections, boxes.dtype, scores.dtype)
    candidates = max(1, limit)  # slots; at least one, since an empty axis cannot be gathered

    # Suppression runs in each row separately. A row holds one class, or all anchors with their best
    # class.
    finite = ops.all(ops.isfinite(boxes), axis=-1)[..., None]
    fit = ops.logical_and(_passes(scores, rules), finite)
    ranked = ops.where(fit, scores, NONE)
    if rules.suppress_in == "anchor":
        best, column_of = first_argmax(ranked)
        ranked, column_of = best[:, None], column_of[:, None]
    else:
        ranked = ops.transpose(ranked, (0, 2, 1))
        column_of = ops.arange(columns, dtype="int32")[:, None] + ops.zeros_like(ranked, "int32")
    rows = ranked.shape[1]
    highest = rules.ties == "highest anchor"
    in_order = ops.flip(ranked, axis=-1) if highest else ranked
    chosen = top_mask(in_order, ops.full((batch, rows), limit, dtype="int32"))
    chosen = ops.flip(chosen, axis=-1) if highest else chosen

    # Gather the chosen candidates into slots. Their keys are distinct, so `top_k` has no ties to
    # break, and the slots of a row are in the order of their anchors.
    keys = ops.where(chosen, count - ops.arange(count, dtype="int32"), 0)
    found, anchor = ops.top_k(keys, candidates)
    anchor = ops.cast(anchor, "int32")
    score = ops.take_along_axis(ranked, anchor, axis=-1)
    score = ops.where(ops.greater(found, 0), score, NONE)
    column = ops.take_along_axis(column_of, anchor, axis=-1)
    row = ops.arange(rows, dtype="int32")[:, None] + ops.zeros_like(anchor)

    slots = (batch, rows * candidates)
    anchor, score, column, row = (ops.reshape(part, slots) for part in (anchor, score, column, row))
    order = {
        "lowest anchor": anchor * columns + column,
        "lowest label": column * count + anchor,
        "highest anchor": (count - 1 - anchor) * columns + column,
    }[rules.ties]
    box = ops.take_along_axis(boxes, anchor[..., None], axis=1)
    final = _clip(box) if rules.clip == "after" else box
    silent = ops.logical_not(ops.greater(_area(final), 0)) if rules.drop_empty else None
    kept, lowered = _visit_all(box, score, convention, rules.max_detections, row, order, silent)
    if rules.soft_sigma is None:
        lowered = _pick(score, kept, 0.0)
    else:
        lowered = ops.where(ops.greater_equal(kept, 0), lowered, ops.zeros_like(lowered))
    return Detections(
        _pick(final, kept, 0.0),
        lowered,
        _pick(column + 1, kept, -1),
        _pick(anchor, kept, -1),
    )


def _nothing(batch: Any, slots: int, box_dtype: Any, score_dtype: Any) -> Detections:
    unused = ops.full((batch, slots), -1, dtype="int32")
    boxes = ops.zeros((batch, slots, 4), dtype=box_dtype)
    return Detections(boxes, ops.zeros((batch, slots), dtype=score_dtype), unused, unused)


def _pick(values: Tensor, kept: Tensor, padding: float) -> Tensor:
    """Gather values[b, kept[b, k]]; where kept is -1, the padding, from a slot added at the end."""
    row = ops.full_like(values[:, :1], padding)
    count = values.shape[1]
    index = ops.where(ops.greater_equal(kept, 0), kept, count)
    if len(values.shape) == 3:
        index = index[..., None]
    return ops.take_along_axis(ops.concatenate([values, row], axis=1), index, axis=1)


def detect(
    deltas: Tensor,
    logits: Tensor,
    anchors: Tensor,
    convention: Convention = CANONICAL,
    **overrides: Any,
) -> Detections:
    """Detect objects: decode the head outputs of a batch, and select among the boxes.

    Values are not checked, in any mode: `select` skips candidates that are not finite.

    Args:
        deltas: (B, A, 4) predicted codes.
        logits: (B, A, C + 1) predicted classes, by default background first.
        anchors: (A, 4) cxcywh.
        convention: Its `Coding` part defines the head outputs; its `Detection` and `Overlap` parts
            are used as in `select`. Scores are sigmoids if its `Loss` part has a "sigmoid" or
            "focal" class loss, else a softmax.
        overrides: Overrides of single fields.

    Returns:
        `Detections` with K = `max_detections` slots.

    Raises:
        ValueError: Shapes do not fit.
        TypeError: Not floats.

    Example:
        >>> anchors = ops.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> logits = ops.array([[[0.0, 0.0], [-9.0, 9.0]]])
        >>> found = detect(ops.zeros((1, 2, 4)), logits, anchors, score_threshold=0.6)
        >>> ops.convert_to_numpy(found.boxes[0, 0])
        array([0.5, 0.5, 1. , 1. ], dtype=float32)
    """
    convention = convention.replace(**overrides)
    deltas = ops.convert_to_tensor(as_floats(deltas, "deltas", "B", "A", 4))
    batch, count = tuple(deltas.shape)[:2]
    logits = ops.convert_to_tensor(as_floats(logits, "logits", batch, count, "C + 1"))
    anchors = as_floats(anchors, "anchors", count, 4)
    if logits.shape[-1] < 2:
        raise ValueError(
            "logits: expected shape (B, A, C + 1) with C at least 1. "
            f"Received: {tuple(logits.shape)}"
        )
    columns = _background_first(logits, convention.coding)
    scores = _softmax(columns) if convention.loss.class_loss == "softmax" else _sigmoid(columns)
    boxes = _decode(deltas, ops.cast(anchors, deltas.dtype), convention.coding)
    return _select(boxes, scores[..., 1:], convention)
