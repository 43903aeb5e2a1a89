"""Gradients of the losses, written out by hand.

`f_gradient` differentiates the sum of `f` over all elements by the first argument of `f`;
`multibox_gradient` differentiates the total by both predictions. Tests compare automatic
differentiation with these, and these with central differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_numpy._typing import Floats
from reference_numpy.coding import _background_first
from reference_numpy.conventions import CANONICAL, IGNORE, Convention
from reference_numpy.losses import (
    _one_hot,
    _sigmoid,
    _sigmoid_cross_entropy,
    _softmax,
    focal,
    sigmoid_cross_entropy,
    smooth_l1,
    softmax_cross_entropy,
)
from reference_numpy.multibox import _normalisers, class_losses, multibox_loss

__all__ = [
    "class_losses_gradient",
    "focal_gradient",
    "multibox_gradient",
    "sigmoid_cross_entropy_gradient",
    "smooth_l1_gradient",
    "softmax_cross_entropy_gradient",
]

Ints = NDArray[np.integer[Any]]


def smooth_l1_gradient(predicted: Floats, target: Floats) -> Floats:
    """Compute the gradient of `smooth_l1`.

    With d = predicted - target: d where |d| < 1, else the sign of d.

    Example:
        >>> smooth_l1_gradient(np.array([0.0, 0.5, -3.0]), np.zeros(3))
        array([ 0. ,  0.5, -1. ])
    """
    smooth_l1(predicted, target)  # it validates the arguments
    return _smooth_l1_gradient(predicted, target)


def _smooth_l1_gradient(predicted: Floats, target: Floats) -> Floats:
    return np.clip(predicted - target, -1, 1)


def softmax_cross_entropy_gradient(logits: Floats, labels: Ints) -> Floats:
    """Compute the gradient of `softmax_cross_entropy`: softmax(logits) - one_hot(labels).

    Example:
        >>> softmax_cross_entropy_gradient(np.array([[0.0, 0.0]]), np.array([1]))
        array([[ 0.5, -0.5]])
    """
    softmax_cross_entropy(logits, labels)
    return _softmax(logits) - _one_hot(labels, logits.shape[-1], logits.dtype)


def sigmoid_cross_entropy_gradient(logits: Floats, targets: Floats) -> Floats:
    """Compute the gradient of `sigmoid_cross_entropy`: σ(z) - t.

    Example:
        >>> sigmoid_cross_entropy_gradient(np.array([0.0]), np.array([1.0]))
        array([-0.5])
    """
    sigmoid_cross_entropy(logits, targets)
    return _sigmoid(logits) - targets


def focal_gradient(
    logits: Floats, targets: Floats, alpha: float = 0.25, gamma: float = 2.0
) -> Floats:
    """Compute the gradient of `focal` (arXiv:1708.02002, appendix B).

    ±α_t (1 - p_t)^γ (γ p_t log p_t + p_t - 1), with + where the target is 1.

    Example:
        >>> focal_gradient(np.array([0.0]), np.array([1.0]), gamma=0.0)
        array([-0.125])
    """
    focal(logits, targets, alpha, gamma)
    return _focal_gradient(logits, targets, alpha, gamma)


def _focal_gradient(logits: Floats, targets: Floats, alpha: float, gamma: float) -> Floats:
    sign = 2 * targets - 1
    right = _sigmoid(sign * logits)
    wrong = _sigmoid(-sign * logits)  # 1 - right would lose its digits near 1
    log_right = -_sigmoid_cross_entropy(logits, targets)
    weight = targets * alpha + (1 - targets) * (1 - alpha)
    return weight * sign * wrong**gamma * (gamma * right * log_right - wrong)


def class_losses_gradient(
    logits: Floats, labels: Ints, convention: Convention = CANONICAL, **overrides: Any
) -> Floats:
    """Compute the gradient of `multibox.class_losses` by the logits.

    Its columns are in the order of the head. It is 0 at label -1.

    Example:
        >>> class_losses_gradient(np.zeros((2, 2)), np.array([1, -1]), class_loss="sigmoid")
        array([[ 0.5, -0.5],
               [ 0. ,  0. ]])
    """
    convention = convention.replace(**overrides)
    class_losses(logits, labels, convention)
    return _class_losses_gradient(logits, labels, convention)


def _class_losses_gradient(logits: Floats, labels: Ints, convention: Convention) -> Floats:
    counting = np.where((labels == IGNORE)[..., None], 0, logits)
    rules, columns = convention.loss, _background_first(counting, convention.coding)
    truth = _one_hot(np.maximum(labels, 0), columns.shape[-1], columns.dtype)
    gradient: Floats
    if rules.class_loss == "softmax":
        gradient = _softmax(columns) - truth
    elif rules.class_loss == "sigmoid":
        gradient = _sigmoid(columns) - truth
    else:
        gradient = _focal_gradient(columns, truth, rules.focal_alpha, rules.focal_gamma)
    gradient = np.where((labels == IGNORE)[..., None], 0, gradient)
    return np.roll(gradient, -1, axis=-1) if convention.coding.background == "last" else gradient


def multibox_gradient(
    deltas: Floats,
    logits: Floats,
    target_deltas: Floats,
    target_labels: Ints,
    convention: Convention = CANONICAL,
    *,
    boxes: Floats | None = None,
    **overrides: Any,
) -> tuple[Floats, Floats]:
    """Compute the gradient of `multibox_loss(...).total` by `deltas` and by `logits`.

    The choice of anchors (mining) is held constant.

    Example:
        >>> deltas, logits = np.array([[[2.0, 0, 0, 0]]]), np.zeros((1, 1, 2))
        >>> multibox_gradient(deltas, logits, np.zeros((1, 1, 4)), np.array([[1]]))
        (array([[[1., 0., 0., 0.]]]), array([[[ 0.5, -0.5]]]))
    """
    convention = convention.replace(**overrides)
    loss = multibox_loss(deltas, logits, target_deltas, target_labels, convention, boxes=boxes)
    in_class_loss = (loss.counted | loss.negatives)[..., None]
    divisors = _normalisers(target_labels, convention.loss).astype(deltas.dtype)[:, None, None]
    everywhere = convention.loss.box_over == "all"
    in_box_loss = (target_labels != IGNORE if everywhere else loss.counted)[..., None]
    codes = (np.where(in_box_loss, values, 0) for values in (deltas, target_deltas))
    by_deltas = _smooth_l1_gradient(*codes)
    by_deltas = by_deltas * deltas.dtype.type(convention.loss.box_weight)
    by_logits = _class_losses_gradient(logits, target_labels, convention)
    return (
        np.where(in_box_loss, by_deltas, 0) / divisors,
        np.where(in_class_loss, by_logits, 0) / divisors,
    )
