"""MultiBox loss of a batch on any Keras backend: mirrors `reference_numpy.multibox`.

Gradients are the backend's own, by automatic differentiation; the mined anchors are held.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_impl.losses import smooth_l1, softmax_cross_entropy
from keras_impl.ties import top_mask

__all__ = ["MultiBox", "mine_hard_negatives", "multibox"]

Tensor = Any


def mine_hard_negatives(
    losses: Tensor, labels: Tensor, negative_ratio: float = 3.0, min_negatives: int = 0
) -> Tensor:
    """The background anchors of each picture that count in the class loss.

    max(⌊ratio × positives⌋, minimum) negatives, or all there are; the largest loss first,
    ties to the lowest anchor.

    Args:
        losses: (B, A) class loss of each anchor.
        labels: (B, A) target label, 0 for background.
        negative_ratio: Negatives for each positive of the same picture.
        min_negatives: Negatives at the least, positives or none.

    Returns:
        (B, A) True for each chosen negative.

    Example:
        >>> losses = ops.array([[0.1, 0.5, 0.2, 0.9, 0.5]])
        >>> ops.convert_to_numpy(mine_hard_negatives(losses, ops.array([[0, 0, 4, 0, 0]]), 2))
        array([[False,  True, False,  True, False]])
    """
    if not (0 <= negative_ratio < float("inf") and min_negatives >= 0):
        raise ValueError(
            "negative_ratio, min_negatives: expected 0 or more. "
            f"Received: {negative_ratio}, {min_negatives}"
        )
    positive = ops.not_equal(labels, 0)
    positives = ops.sum(ops.cast(positive, "int32"), axis=-1)
    wanted = ops.cast(ops.floor(ops.cast(positives, "float32") * negative_ratio), "int32")
    counts = ops.maximum(wanted, min_negatives)
    hardness = ops.where(positive, ops.full_like(losses, float("-inf")), losses)
    return top_mask(hardness, counts)


class MultiBox(NamedTuple):
    """The loss of a batch and its parts; total = class_loss + box_weight × box_loss."""

    total: Tensor
    class_loss: Tensor
    box_loss: Tensor
    positives: Tensor
    negatives: Tensor


def multibox(
    deltas: Tensor,
    logits: Tensor,
    target_deltas: Tensor,
    target_labels: Tensor,
    *,
    negative_ratio: float = 3.0,
    min_negatives: int = 0,
    box_weight: float = 1.0,
) -> MultiBox:
    """The MultiBox loss of a batch (arXiv:1512.02325, equation 1).

    Args:
        deltas: (B, A, 4) predicted codes.
        logits: (B, A, C + 1) predicted classes, 0 is background.
        target_deltas: (B, A, 4) from `assign_targets`.
        target_labels: (B, A) from `assign_targets`.
        negative_ratio: Of `mine_hard_negatives`.
        min_negatives: Of `mine_hard_negatives`.
        box_weight: α of equation 1.

    Returns:
        `MultiBox`; `negatives` is the (B, A) mask of mined anchors, `positives` a count.

    Example:
        >>> deltas, logits = ops.array([[[2.0, 0, 0, 0], [0, 0, 0, 0]]]), ops.zeros((1, 2, 2))
        >>> loss = multibox(deltas, logits, ops.zeros((1, 2, 4)), ops.array([[1, 0]]))
        >>> float(loss.box_loss), int(loss.positives)
        (1.5, 1)
    """
    dtype = deltas.dtype
    class_losses = softmax_cross_entropy(logits, target_labels)
    positive = ops.greater(target_labels, 0)
    negatives = mine_hard_negatives(
        ops.stop_gradient(class_losses), target_labels, negative_ratio, min_negatives
    )
    positives = ops.sum(ops.cast(positive, "int32"))
    normaliser = ops.cast(ops.maximum(positives, 1), dtype)
    counted = ops.cast(ops.logical_or(positive, negatives), dtype)
    class_loss = ops.sum(class_losses * counted) / normaliser
    box_losses = ops.sum(smooth_l1(deltas, target_deltas), axis=-1)
    box_loss = ops.sum(box_losses * ops.cast(positive, dtype)) / normaliser
    total = class_loss + box_weight * box_loss
    return MultiBox(total, class_loss, box_loss, positives, negatives)
