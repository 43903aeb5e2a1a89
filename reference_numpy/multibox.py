"""MultiBox: which anchors count in training, and the loss of a batch.

arXiv:1512.02325, section 2.2, "Training objective" (equation 1) and "Hard negative mining".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference_numpy.losses import smooth_l1, softmax_cross_entropy

__all__ = ["MultiBox", "mine_hard_negatives", "multibox"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


def mine_hard_negatives(
    losses: Floats, labels: Ints, negative_ratio: float = 3.0, min_negatives: int = 0
) -> Mask:
    """The background anchors of one picture that count in the class loss.

    max(⌊ratio × positives⌋, minimum) negatives, or all there are; the largest loss first,
    ties to the lowest anchor.

    Args:
        losses: (A,) class loss of each anchor.
        labels: (A,) target label, 0 for background.
        negative_ratio: Negatives for each positive.
        min_negatives: Negatives at the least, positives or none.

    Returns:
        (A,) True for each chosen negative.

    Raises:
        ValueError: Shapes that differ, NaN in `losses`, a negative ratio or minimum.

    Example:
        One positive; of the negatives with .9, .5, .5 and .1 the first two fit 2 : 1.

        >>> mine_hard_negatives(np.array([0.1, 0.5, 0.2, 0.9, 0.5]), np.array([0, 0, 4, 0, 0]), 2)
        array([False,  True, False,  True, False])
    """
    if losses.shape != labels.shape or losses.ndim != 1:
        raise ValueError(
            f"losses, labels: expected one shape (A,). Received: {losses.shape}, {labels.shape}"
        )
    if np.isnan(losses).any():
        index = int(np.argmax(np.isnan(losses)))
        raise ValueError(f"losses[{index}]: expected a number. Received: nan")
    if not (0 <= negative_ratio < np.inf and min_negatives >= 0):
        raise ValueError(
            "negative_ratio, min_negatives: expected 0 or more. "
            f"Received: {negative_ratio}, {min_negatives}"
        )
    negatives = np.flatnonzero(labels == 0)
    count = max(int(negative_ratio * np.count_nonzero(labels)), min_negatives)
    hardest_first = negatives[np.argsort(-losses[negatives], kind="stable")]
    chosen = np.zeros(labels.shape, dtype=np.bool_)
    chosen[hardest_first[:count]] = True
    return chosen


class MultiBox(NamedTuple):
    """The loss of a batch and its parts; total = class_loss + box_weight × box_loss."""

    total: np.floating[Any]
    class_loss: np.floating[Any]
    box_loss: np.floating[Any]
    positives: int
    negatives: Mask


def multibox(
    deltas: Floats,
    logits: Floats,
    target_deltas: Floats,
    target_labels: Ints,
    *,
    negative_ratio: float = 3.0,
    min_negatives: int = 0,
    box_weight: float = 1.0,
) -> MultiBox:
    """The MultiBox loss (equation 1) of a batch.

    Smooth L1 over positives, softmax cross-entropy over these and the mined negatives.

    Both are divided by max(1, positives in the batch); mining is per picture.

    Args:
        deltas: (B, A, 4) predicted codes.
        logits: (B, A, C + 1) predicted classes, 0 is background.
        target_deltas: (B, A, 4) from `assign_targets`.
        target_labels: (B, A) from `assign_targets`.
        negative_ratio: Of `mine_hard_negatives`.
        min_negatives: Of `mine_hard_negatives`.
        box_weight: α of equation 1.

    Returns:
        `MultiBox`; `negatives` is the (B, A) mask of mined anchors.

    Raises:
        ValueError: Shapes that differ, NaN in `logits`, a label out of range.

    Example:
        One picture, a positive that is 2 off in one coordinate and undecided of class, and a
        negative that is undecided too: box loss 2 - 1/2, class loss 2 log 2.

        >>> deltas, logits = np.array([[[2.0, 0, 0, 0], [0, 0, 0, 0]]]), np.zeros((1, 2, 2))
        >>> loss = multibox(deltas, logits, np.zeros((1, 2, 4)), np.array([[1, 0]]))
        >>> float(loss.box_loss), float(loss.class_loss / np.log(2)), loss.positives
        (1.5, 2.0, 1)
    """
    for name, values, shape in (
        ("deltas", deltas, (*target_labels.shape, 4)),
        ("target_deltas", target_deltas, (*target_labels.shape, 4)),
        ("logits", logits, (*target_labels.shape, logits.shape[-1])),
    ):
        if target_labels.ndim != 2 or values.shape != shape:
            raise ValueError(
                f"{name}: expected shape {shape}, with target_labels (B, A). "
                f"Received: {values.shape}"
            )
    class_losses = softmax_cross_entropy(logits, target_labels)
    positive = target_labels > 0
    negatives = np.array(
        [
            mine_hard_negatives(losses, labels, negative_ratio, min_negatives)
            for losses, labels in zip(class_losses, target_labels, strict=True)
        ],
        dtype=np.bool_,
    ).reshape(positive.shape)
    positives = int(np.count_nonzero(positive))
    normaliser = deltas.dtype.type(max(1, positives))
    class_loss = class_losses[positive | negatives].sum() / normaliser
    box_loss = smooth_l1(deltas[positive], target_deltas[positive]).sum() / normaliser
    total = class_loss + deltas.dtype.type(box_weight) * box_loss
    return MultiBox(total, class_loss, box_loss, positives, negatives)
