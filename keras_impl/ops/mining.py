"""Hard-negative mining for a batch on any Keras backend: mirrors `reference_numpy.mining`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_impl._common.arrays import Tensor
from keras_impl.ops.checks import as_floats, as_whole
from keras_impl.ops.suppression import _visit_all
from keras_impl.ops.ties import top_mask
from reference_numpy.conventions import CANONICAL, IGNORE, Convention, Loss

__all__ = ["Chosen", "choose_anchors", "mine_hard_negatives"]


def mine_hard_negatives(
    losses: Tensor, labels: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> Tensor:
    """Choose the hardest background anchors of each image.

    By default these are the max(⌊ratio × positives⌋, minimum) negatives with the largest loss, or
    all negatives if there are fewer. Ties go to the lowest anchor.

    Args:
        losses: (B, A) class loss of each anchor. NaN counts as the largest loss, so that it
            appears in the total.
        labels: (B, A) target label, 0 for background, -1 for ignored.
        convention: Its `Loss` part is used.
        overrides: Overrides of single fields.

    Returns:
        (B, A) True for each chosen negative.

    Raises:
        ValueError: Shapes do not fit.
        TypeError: Losses are not floats, or labels are not integers.

    Example:
        >>> losses, labels = ops.array([[0.1, 0.5, 0.2, 0.9, 0.5]]), ops.array([[0, 0, 4, 0, 0]])
        >>> ops.convert_to_numpy(mine_hard_negatives(losses, labels, negative_ratio=2))
        array([[False,  True, False,  True, False]])
    """
    rules = convention.replace(**overrides).loss
    return _mine(*_checked(losses, labels), rules)


def _mine(losses: Tensor, labels: Tensor, rules: Loss) -> Tensor:
    background = ops.equal(labels, 0)
    if rules.mining == "none" or labels.shape[-1] == 0:
        return background
    positives = ops.sum(ops.cast(ops.greater(labels, 0), "int32"), axis=-1)
    counts = _wanted(positives, labels.shape[-1], rules.negative_ratio, rules.rounding)
    counts = ops.maximum(counts, rules.min_negatives)
    if rules.max_negatives is not None:
        counts = ops.minimum(counts, rules.max_negatives)
    hardness = ops.where(ops.isnan(losses), ops.full_like(losses, float("inf")), losses)
    return top_mask(ops.where(background, hardness, ops.full_like(losses, float("-inf"))), counts)


class Chosen(NamedTuple):
    """Masks (B, A) of the anchors that count in the losses."""

    positives: Tensor
    negatives: Tensor


def choose_anchors(
    losses: Tensor,
    labels: Tensor,
    convention: Convention = CANONICAL,
    *,
    boxes: Tensor | None = None,
    **overrides: Any,
) -> Chosen:
    """Choose the anchors of a batch that count in the losses: positives and mined negatives.

    Args:
        losses: (B, A) class loss of each anchor.
        labels: (B, A) target label, 0 for background, -1 for ignored.
        convention: Its `Loss` part is used: negatives are mined per image or over the whole batch.
            With `mining_nms`, anchors whose boxes overlap are suppressed first, by the IoU of its
            `Overlap` part; a suppressed anchor is ignored.
        boxes: (B, A, 4) xyxy, the predicted boxes. They are needed, and read, only with
            `mining_nms`.
        overrides: Overrides of single fields.

    Returns:
        `Chosen`.

    Raises:
        ValueError: Shapes do not fit, or `mining_nms` is set and `boxes` are missing.
        TypeError: Losses or boxes are not floats, or labels are not integers.

    Example:
        >>> losses = ops.array([[9.0, 1, 2], [5, 4, 3]])
        >>> chosen = choose_anchors(losses, ops.array([[1, 0, 0], [0, 0, 0]]), mining="batch")
        >>> ops.convert_to_numpy(chosen.negatives)
        array([[False, False, False],
               [ True,  True,  True]])
    """
    convention = convention.replace(**overrides)
    losses, labels = _checked(losses, labels)
    return _choose(losses, labels, convention, _needed_boxes(boxes, labels, convention.loss))


def _needed_boxes(boxes: Tensor | None, labels: Tensor, rules: Loss) -> Tensor | None:
    """Check and return the predicted boxes if `mining_nms` needs them, else return None."""
    if rules.mining_nms is None:
        return None
    if boxes is None:
        raise ValueError("boxes: expected shape (B, A, 4), as mining_nms is set. Received: None")
    return ops.convert_to_tensor(as_floats(boxes, "boxes", *tuple(labels.shape), 4))


def _choose(losses: Tensor, labels: Tensor, convention: Convention, boxes: Tensor | None) -> Chosen:
    rules = convention.loss
    if boxes is not None:
        # Only the IoU is the convention's: its other rules of suppression are for detections.
        plain = replace(CANONICAL, overlap=convention.overlap)
        plain = plain.replace(iou_threshold=rules.mining_nms)
        stays = _survivors(ops.stop_gradient(boxes), losses, plain)
        labels = ops.where(stays, labels, IGNORE)
    positives = ops.greater(labels, 0)
    if rules.mining != "batch":
        return Chosen(positives, _mine(losses, labels, rules))
    shape = ops.shape(labels)
    losses, labels = ops.reshape(losses, (1, -1)), ops.reshape(labels, (1, -1))
    negatives = _mine(losses, labels, rules)
    return Chosen(positives, ops.reshape(negatives, shape))


def _checked(losses: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    losses = ops.convert_to_tensor(as_floats(losses, "losses", "B", "A"))
    return losses, ops.cast(as_whole(labels, "labels", *tuple(losses.shape)), "int32")


def _survivors(boxes: Tensor, losses: Tensor, convention: Convention) -> Tensor:
    """Mark the anchors that suppression keeps, visited by decreasing class loss: (B, A)."""
    batch, anchors = ops.shape(boxes)[0], boxes.shape[1]
    kept = _visit_all(boxes, losses, convention, anchors)[0]
    images = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, anchors))
    # Unused slots are written to an extra column, which is then cut off.
    columns = ops.where(ops.less(kept, 0), anchors, kept)
    indices = ops.reshape(ops.stack([images, columns], axis=-1), (-1, 2))
    ones = ops.reshape(ops.ones_like(columns), (-1,))
    return ops.greater(ops.scatter(indices, ones, (batch, anchors + 1))[:, :anchors], 0)


def _wanted(positives: Tensor, anchors: int | None, ratio: float, rounding: str) -> Tensor:
    """Compute ratio × positives, rounded as in float64, as int32.

    float32 can be off by one (.3 × 50 exceeds 15 in it), and not every backend has float64. So the
    results for all possible counts are precomputed and looked up. In a graph of unknown size there
    is no largest count; only TensorFlow makes such graphs, and it has float64.
    """
    if anchors is not None:
        return ops.take(ops.convert_to_tensor(_products(anchors, ratio, rounding)), positives)
    product = ops.cast(positives, "float64") * ratio
    rounded = ops.ceil(product) if rounding == "up" else ops.floor(product)
    return ops.cast(ops.minimum(rounded, 2.0**30), "int32")


def _products(anchors: int, ratio: float, rounding: str) -> np.ndarray[Any, Any]:
    """Compute ratio × positives for 0 to `anchors` positives, rounded, and at most `anchors`."""
    product = np.minimum(np.arange(anchors + 1) * float(ratio), anchors)
    return (np.ceil(product) if rounding == "up" else np.floor(product)).astype(np.int32)
