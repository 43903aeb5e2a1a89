"""Hard-negative mining on any Keras backend: mirrors `reference_numpy.mining`, over batches."""

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
    """The background anchors that count in the class loss, in each image for itself.

    Canonically max(⌊ratio × positives⌋, minimum), or all there are; the largest loss first,
    ties to the lowest anchor.

    Args:
        losses: (B, A) class loss of each anchor. NaN is the hardest of all, so that it shows.
        labels: (B, A) target label, 0 for background, -1 for what counts nowhere.
        convention: Its `Loss` holds the rules.
        overrides: Overrides of single fields.

    Returns:
        (B, A) True for each chosen negative.

    Raises:
        ValueError, TypeError: Losses that are not floats, labels that are not whole numbers, or
            shapes that do not fit.

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
    """(B, A) masks of the anchors that count in the losses."""

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
    """The anchors of a batch that count: its positives and what mining makes of the rest.

    Args:
        losses: (B, A) class loss of each anchor.
        labels: (B, A) target label, 0 for background, -1 for what counts nowhere.
        convention: Its `Loss` holds the rules: negatives are mined in each image or in the
            whole batch, after suppression among all anchors of an image if so said.
        boxes: (B, A, 4) xyxy, the predicted boxes: needed, and looked at, only with a
            `mining_nms`.
        overrides: Overrides of single fields.

    Returns:
        `Chosen`.

    Raises:
        ValueError: Shapes that do not fit, no boxes where they are needed.
        TypeError: Losses or boxes that are not floats, labels that are not whole numbers.

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
    """The boxes that suppression before mining looks at, if there is any."""
    if rules.mining_nms is None:
        return None
    if boxes is None:
        raise ValueError("boxes: expected shape (B, A, 4), as a mining_nms is set. Received: None")
    return ops.convert_to_tensor(as_floats(boxes, "boxes", *tuple(labels.shape), 4))


def _choose(losses: Tensor, labels: Tensor, convention: Convention, boxes: Tensor | None) -> Chosen:
    rules = convention.loss
    if boxes is not None:
        # Of the convention only what IoU is; how detections are suppressed is another question.
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
    """(B, A) True for the anchors that suppression leaves, the largest class loss first."""
    batch, anchors = ops.shape(boxes)[0], boxes.shape[1]
    kept = _visit_all(boxes, losses, convention, anchors)[0]
    images = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, anchors))
    # What is no index goes into a column of its own, which is cut off.
    columns = ops.where(ops.less(kept, 0), anchors, kept)
    indices = ops.reshape(ops.stack([images, columns], axis=-1), (-1, 2))
    ones = ops.reshape(ops.ones_like(columns), (-1,))
    return ops.greater(ops.scatter(indices, ones, (batch, anchors + 1))[:, :anchors], 0)


def _wanted(positives: Tensor, anchors: int | None, ratio: float, rounding: str) -> Tensor:
    """Ratio × positives, rounded, as int32: the number that float64 gives.

    float32 would be off by one (.3 × 50 is above 15 in it), and not every backend has float64.
    So the answers for every possible count are looked up. A graph for batches of any size knows
    no largest count; TensorFlow alone makes such graphs, and it has float64.
    """
    if anchors is not None:
        return ops.take(ops.convert_to_tensor(_products(anchors, ratio, rounding)), positives)
    product = ops.cast(positives, "float64") * ratio
    rounded = ops.ceil(product) if rounding == "up" else ops.floor(product)
    return ops.cast(ops.minimum(rounded, 2.0**30), "int32")


def _products(anchors: int, ratio: float, rounding: str) -> np.ndarray[Any, Any]:
    """Ratio × 0 to anchors, rounded; more than all anchors is no more than all."""
    product = np.minimum(np.arange(anchors + 1) * float(ratio), anchors)
    return (np.ceil(product) if rounding == "up" else np.floor(product)).astype(np.int32)
