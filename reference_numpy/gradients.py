"""Gradients of the losses, by hand.

`f_gradient` is the derivative of the sum of `f` over all elements by its first argument (of
`multibox`'s total, by both predictions). Automatic differentiation is held to
these, and these to central differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_numpy.losses import check_labels, sigmoid, sigmoid_cross_entropy, softmax
from reference_numpy.multibox import multibox

__all__ = [
    "focal_gradient",
    "multibox_gradient",
    "sigmoid_cross_entropy_gradient",
    "smooth_l1_gradient",
    "softmax_cross_entropy_gradient",
]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def smooth_l1_gradient(predicted: Floats, target: Floats) -> Floats:
    """d where |d| < 1, else its sign; 0 at d = 0.

    Example:
        >>> smooth_l1_gradient(np.array([0.0, 0.5, -3.0]), np.zeros(3))
        array([ 0. ,  0.5, -1. ])
    """
    return np.clip(predicted - target, -1, 1)


def softmax_cross_entropy_gradient(logits: Floats, labels: Ints) -> Floats:
    """softmax(logits) - one_hot(label).

    Example:
        >>> softmax_cross_entropy_gradient(np.array([[0.0, 0.0]]), np.array([1]))
        array([[ 0.5, -0.5]])
    """
    check_labels(labels, logits.shape[-1])
    return softmax(logits) - np.eye(logits.shape[-1], dtype=logits.dtype)[labels]


def sigmoid_cross_entropy_gradient(logits: Floats, targets: Floats) -> Floats:
    """σ(z) - t.

    Example:
        >>> sigmoid_cross_entropy_gradient(np.array([0.0]), np.array([1.0]))
        array([-0.5])
    """
    return sigmoid(logits) - targets


def focal_gradient(
    logits: Floats, targets: Floats, alpha: float = 0.25, gamma: float = 2.0
) -> Floats:
    """±α_t (1 - p_t)^γ (γ p_t log p_t + p_t - 1), + where the target is 1 (appendix B).

    Example:
        >>> focal_gradient(np.array([0.0]), np.array([1.0]), gamma=0.0)
        array([-0.125])
    """
    sign = 2 * targets - 1
    right = sigmoid(sign * logits)
    wrong = sigmoid(-sign * logits)  # not 1 - right, which loses every digit near 1
    log_right = -sigmoid_cross_entropy(logits, targets)
    weight = targets * alpha + (1 - targets) * (1 - alpha)
    return weight * sign * wrong**gamma * (gamma * right * log_right - wrong)


def multibox_gradient(
    deltas: Floats,
    logits: Floats,
    target_deltas: Floats,
    target_labels: Ints,
    *,
    negative_ratio: float = 3.0,
    min_negatives: int = 0,
    box_weight: float = 1.0,
) -> tuple[Floats, Floats]:
    """Gradient of `multibox(...).total` by `deltas` and by `logits`, the mined anchors held.

    Example:
        >>> deltas, logits = np.array([[[2.0, 0, 0, 0]]]), np.zeros((1, 1, 2))
        >>> multibox_gradient(deltas, logits, np.zeros((1, 1, 4)), np.array([[1]]))
        (array([[[1., 0., 0., 0.]]]), array([[[ 0.5, -0.5]]]))
    """
    loss = multibox(
        deltas,
        logits,
        target_deltas,
        target_labels,
        negative_ratio=negative_ratio,
        min_negatives=min_negatives,
        box_weight=box_weight,
    )
    positive = (target_labels > 0)[..., None]
    counted = positive | loss.negatives[..., None]
    normaliser = deltas.dtype.type(max(1, loss.positives))
    by_deltas = smooth_l1_gradient(deltas, target_deltas) * deltas.dtype.type(box_weight)
    by_logits = softmax_cross_entropy_gradient(logits, target_labels)
    return (
        np.where(positive, by_deltas, 0) / normaliser,
        np.where(counted, by_logits, 0) / normaliser,
    )
