"""Losses of single numbers or anchors: smooth L1, cross-entropies, focal loss.

SSD trains boxes with smooth L1 and classes with a cross-entropy (arXiv:1512.02325, section 2.2,
"Training objective", equations 2 and 3). The focal loss is from arXiv:1708.02002. `multibox_loss`
sums them over a batch; `gradients` has their derivatives.

Arrays that are not floats (labels: not integers) raise a TypeError. `smooth_l1` and `sigmoid`
return NaN for NaN. The other functions reject NaN, and numbers whose loss would be NaN, by index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from reference_numpy._typing import Floats
from reference_numpy.checks import check_counts, check_each, check_floats, check_number, check_whole

__all__ = [
    "check_labels",
    "focal",
    "one_hot",
    "sigmoid",
    "sigmoid_cross_entropy",
    "smooth_l1",
    "softmax",
    "softmax_cross_entropy",
]

Ints = NDArray[np.integer[Any]]


def smooth_l1(predicted: Floats, target: Floats) -> Floats:
    """Compute the smooth L1 loss of each element (Fast R-CNN, equation 3).

    d²/2 where |d| < 1, else |d| - 1/2, with d = predicted - target.

    Args:
        predicted: Any shape.
        target: The same shape.

    Returns:
        The loss of each element.

    Raises:
        ValueError: Shapes that differ, or a prediction and a target that are the same infinity.

    Example:
        >>> smooth_l1(np.array([0.0, 0.5, -3.0]), np.zeros(3))
        array([0.   , 0.125, 2.5  ])
    """
    check_floats(predicted, "predicted", ...)
    check_floats(target, "target", *predicted.shape)
    apart = ~np.isinf(predicted) | (predicted != target)
    check_each(predicted, "predicted", apart, "a number other than its infinite target")
    return _smooth_l1(predicted, target)


def _smooth_l1(predicted: Floats, target: Floats) -> Floats:
    distance = np.abs(predicted - target)
    half = distance.dtype.type(0.5)
    near = np.minimum(distance, 1)  # keeps the square from overflowing
    return np.asarray(np.where(distance < 1, half * near * near, distance - half))


def softmax(logits: Floats) -> Floats:
    """Compute the softmax over the last axis.

    The largest logit is subtracted first, so that no exponential overflows.

    Raises:
        ValueError: A last axis that is missing or empty, or a row whose largest logit is not
            finite.

    Example:
        >>> softmax(np.array([1000.0, 1000.0]))
        array([0.5, 0.5])
    """
    _check_logits(logits)
    return _softmax(logits)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def check_labels(labels: Ints, num_classes: int, least: int = 0, name: str = "labels") -> None:
    """Check that labels are integers from `least` to `num_classes` - 1.

    `name` is the name of the argument, for the message.

    Example:
        >>> check_labels(np.array([0, 3]), 3)
        Traceback (most recent call last):
        ...
        ValueError: labels[1]: expected 0 to 2. Received: 3
    """
    check_whole(labels, name, ...)
    check_each(
        labels, name, (labels >= least) & (labels < num_classes), f"{least} to {num_classes - 1}"
    )


def one_hot(labels: Ints, columns: int, dtype: DTypeLike = np.float64) -> Floats:
    """Encode labels as one-hot vectors.

    (...) labels from 0 → (..., columns) with 1 in the column of the label and 0 elsewhere.

    Example:
        >>> one_hot(np.array([1, 0]), 2)
        array([[0., 1.],
               [1., 0.]])
    """
    check_counts(columns=columns)
    check_labels(labels, columns)
    return _one_hot(labels, columns, dtype)


def _one_hot(labels: Ints, columns: int, dtype: DTypeLike) -> Floats:
    return np.asarray(np.eye(columns, dtype=dtype)[labels])


def softmax_cross_entropy(logits: Floats, labels: Ints) -> Floats:
    """Compute the softmax cross-entropy of each anchor (equation 3).

    -log softmax(logits)[label], computed as log Σ exp(z - z_max) - (z_label - z_max), which cannot
    overflow.

    Args:
        logits: (..., C + 1); class 0 is background.
        labels: (...) from 0 to C.

    Returns:
        (...) loss of each anchor.

    Raises:
        ValueError: Shapes that differ, a label outside 0 to C, or a row whose largest logit is not
            finite.

    Example:
        >>> softmax_cross_entropy(np.array([[0.0, 0.0], [0.0, 1000.0]]), np.array([1, 0])).round(4)
        array([6.931e-01, 1.000e+03])
    """
    _check_logits(logits)
    check_whole(labels, "labels", *logits.shape[:-1])
    check_labels(labels, logits.shape[-1])
    return _softmax_cross_entropy(logits, labels)


def _softmax_cross_entropy(logits: Floats, labels: Ints) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, labels[..., None], axis=-1)[..., 0]
    return np.asarray(np.log(np.exp(shifted).sum(axis=-1)) - chosen)


def sigmoid(logits: Floats) -> Floats:
    """Compute the sigmoid 1 / (1 + exp(-z)) of each element, without overflow.

    Example:
        >>> sigmoid(np.array([0.0, -1000.0]))
        array([0.5, 0. ])
    """
    check_floats(logits, "logits", ...)
    return _sigmoid(logits)


def _sigmoid(logits: Floats) -> Floats:
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1, small) / (1 + small))


def sigmoid_cross_entropy(logits: Floats, targets: Floats) -> Floats:
    """Compute the sigmoid (binary) cross-entropy of each element.

    -t log σ(z) - (1 - t) log(1 - σ(z)), computed as max(z, 0) - z t + log(1 + exp(-|z|)), which
    cannot overflow.

    Args:
        logits: Any shape.
        targets: The same shape, from 0 to 1.

    Returns:
        The loss of each element.

    Raises:
        ValueError: Shapes that differ, a logit that is not finite, or a target outside 0 to 1.

    Example:
        >>> sigmoid_cross_entropy(
        ...     np.array([0.0, 1000.0, -1000.0]), np.array([1.0, 1.0, 1.0])
        ... ).round(4)
        array([6.931e-01, 0.000e+00, 1.000e+03])
    """
    _check_binary(logits, targets)
    return _sigmoid_cross_entropy(logits, targets)


def _sigmoid_cross_entropy(logits: Floats, targets: Floats) -> Floats:
    return np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))


def focal(logits: Floats, targets: Floats, alpha: float = 0.25, gamma: float = 2.0) -> Floats:
    """Compute the focal loss of each element (arXiv:1708.02002, equation 5).

    α_t (1 - p_t)^γ × sigmoid cross-entropy. p_t is the predicted probability of the true value. α_t
    is α where the target is 1, else 1 - α.

    Args:
        logits: Any shape.
        targets: The same shape, 0 or 1.
        alpha: Weight of the targets that are 1.
        gamma: The larger, the less a well-predicted element counts; 0 or at least 1.

    Returns:
        The loss of each element.

    Raises:
        ValueError: As `sigmoid_cross_entropy`; `alpha` outside 0 to 1; `gamma` between 0 and 1, or
            below 0.

    Example:
        >>> focal(np.array([0.0, 0.0]), np.array([1.0, 0.0])) / np.log(2)
        array([0.0625, 0.1875])
    """
    check_number(alpha, "alpha", 0, 1)
    check_number(gamma, "gamma", 1 if gamma else 0, np.inf)
    _check_binary(logits, targets)
    check_each(targets, "targets", (targets == 0) | (targets == 1), "0 or 1")
    return _focal(logits, targets, alpha, gamma)


def _focal(logits: Floats, targets: Floats, alpha: float, gamma: float) -> Floats:
    entropy = _sigmoid_cross_entropy(logits, targets)
    wrong = _sigmoid(logits * (1 - 2 * targets))  # 1 - p_t would lose its digits near p_t = 1
    weight = targets * alpha + (1 - targets) * (1 - alpha)
    return np.asarray(weight * wrong**gamma * entropy)


def _check_binary(logits: Floats, targets: Floats) -> None:
    check_floats(logits, "logits", ...)
    check_each(logits, "logits", np.isfinite(logits), "a finite number")
    check_floats(targets, "targets", *logits.shape)
    check_each(targets, "targets", (targets >= 0) & (targets <= 1), "a number from 0 to 1")


def _check_logits(logits: Floats) -> None:
    check_floats(logits, "logits", ..., "C + 1")
    if logits.shape[-1] == 0:
        raise ValueError(f"logits: expected shape (..., C + 1). Received: {logits.shape}")
    largest = np.isfinite(logits.max(axis=-1))
    check_each(logits, "logits", largest, "numbers whose largest is finite")
