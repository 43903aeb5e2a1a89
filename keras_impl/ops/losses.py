"""Losses of one number, or of one anchor, on any Keras backend: mirrors `reference_numpy.losses`.

Gradients are the backend's own, by automatic differentiation.

Logits are not looked at, so NaN and what infinities make of it shows in the loss of its anchor.
Labels are, where there are values to look at (not while tracing).
"""

from __future__ import annotations

from numbers import Real

from keras import ops

from keras_impl._common.arrays import Tensor
from keras_impl.ops.checks import as_floats, as_whole, check_count, check_range, check_same
from keras_impl.ops.extremes import minimum

__all__ = [
    "focal",
    "one_hot",
    "sigmoid",
    "sigmoid_cross_entropy",
    "smooth_l1",
    "softmax",
    "softmax_cross_entropy",
]


def smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """d²/2 where |d| < 1, else |d| - 1/2, with d = predicted - target; elementwise.

    Raises:
        ValueError, TypeError: Not floats, or shapes that differ; so for all of this module.

    Example:
        >>> ops.convert_to_numpy(smooth_l1(ops.array([0.0, 0.5, -3.0]), ops.zeros(3)))
        array([0.   , 0.125, 2.5  ], dtype=float32)
    """
    predicted, target = as_floats(predicted, "predicted", ...), as_floats(target, "target", ...)
    check_same(predicted, target, ("predicted", "target"))
    return _smooth_l1(predicted, target)


def _smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    distance = ops.abs(predicted - target)
    near = minimum(distance, 1)  # so that neither a square nor its gradient overflows
    return ops.where(ops.less(distance, 1), 0.5 * near * near, distance - 0.5)


def softmax(logits: Tensor) -> Tensor:
    """Exponentials that sum to 1 over the last axis; the largest logit is taken off first.

    Example:
        >>> ops.convert_to_numpy(softmax(ops.array([1000.0, 1000.0])))
        array([0.5, 0.5], dtype=float32)
    """
    return _softmax(_columns(logits))


def _softmax(logits: Tensor) -> Tensor:
    if 0 in tuple(logits.shape):
        return logits
    powers = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    return powers / ops.sum(powers, axis=-1, keepdims=True)


def one_hot(labels: Tensor, columns: int, dtype: str = "float32") -> Tensor:
    """(...) labels from 0 → (..., columns) with 1 in the column of the label, else 0.

    A label without a column is an error; while tracing it has a row of zeros.

    Example:
        >>> ops.convert_to_numpy(one_hot(ops.array([1, 0]), 2))
        array([[0., 1.],
               [1., 0.]], dtype=float32)
    """
    check_count(columns, "columns")
    labels = as_whole(labels, "labels", ...)
    check_range(labels, "labels", 0, columns - 1)
    return _one_hot(labels, columns, dtype)


def _one_hot(labels: Tensor, columns: int, dtype: str) -> Tensor:
    numbers = ops.arange(columns, dtype="int32")
    return ops.cast(ops.equal(ops.cast(labels, "int32")[..., None], numbers), dtype)


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(logits)[label].

    Args:
        logits: (..., C + 1), class 0 is background.
        labels: (...) from 0 to C.

    Returns:
        (...) loss of each anchor.

    Raises:
        ValueError: Shapes that differ, a label outside 0 to C (not while tracing).

    Example:
        >>> ops.convert_to_numpy(softmax_cross_entropy(ops.array([[0.0, 1000.0]]), ops.array([0])))
        array([1000.], dtype=float32)
    """
    logits = _columns(logits)
    labels = as_whole(labels, "labels", *tuple(logits.shape)[:-1])
    check_range(labels, "labels", 0, logits.shape[-1] - 1)
    return _softmax_cross_entropy(logits, labels)


def _softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    if 0 in tuple(logits.shape):
        return logits[..., 0]
    # The maximum is a constant to the gradient: it cancels.
    shifted = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    labels = ops.cast(labels, "int32")
    chosen = ops.take_along_axis(shifted, labels[..., None], axis=-1)[..., 0]
    return ops.log(ops.sum(ops.exp(shifted), axis=-1)) - chosen


def sigmoid(logits: Tensor) -> Tensor:
    """1 / (1 + exp(-z)), elementwise, without overflow.

    Example:
        >>> float(sigmoid(ops.array(0.0)))
        0.5
    """
    return _sigmoid(as_floats(logits, "logits", ...))


def _sigmoid(logits: Tensor) -> Tensor:
    up = ops.greater_equal(logits, 0)
    small = ops.exp(ops.where(up, -logits, logits))  # not -|z|, whose derivative at 0 is lost
    return ops.where(up, ops.ones_like(small), small) / (1 + small)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-t log σ(z) - (1 - t) log(1 - σ(z)), without overflow; elementwise.

    Example:
        >>> ops.convert_to_numpy(sigmoid_cross_entropy(ops.array([-1000.0]), ops.array([1.0])))
        array([1000.], dtype=float32)
    """
    logits, targets = as_floats(logits, "logits", ...), as_floats(targets, "targets", ...)
    check_same(logits, targets, ("logits", "targets"))
    return _sigmoid_cross_entropy(logits, targets)


def _sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    # Neither max(z, 0) nor |z|: at 0 their derivatives are not the halves that σ(0) needs.
    up = ops.greater_equal(logits, 0)
    small = ops.exp(ops.where(up, -logits, logits))
    high = ops.where(up, logits, ops.zeros_like(logits))
    return high - logits * targets + ops.log1p(small)


def focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """α_t (1 - p_t)^γ × sigmoid cross-entropy (arXiv:1708.02002, equation 5); elementwise.

    Example:
        >>> float(focal(ops.array(0.0), ops.array(1.0)) / ops.log(2.0))
        0.0625
    """
    logits, targets = as_floats(logits, "logits", ...), as_floats(targets, "targets", ...)
    check_same(logits, targets, ("logits", "targets"))
    if not (isinstance(alpha, Real) and 0 <= alpha <= 1):
        raise ValueError(f"alpha: expected a number in [0, 1]. Received: {alpha}")
    if not (isinstance(gamma, Real) and (gamma == 0 or gamma >= 1)):
        raise ValueError(f"gamma: expected 0 or 1 and more. Received: {gamma}")
    return _focal(logits, targets, alpha, gamma)


def _focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    # 1 - p_t is the sigmoid of the logit that speaks against the truth.
    wrong = _sigmoid(logits * (1 - 2 * targets))
    weight = targets * alpha + (1 - targets) * (1 - alpha)
    # A power of 0 has no derivative where its base is 0, as it is for what is surely right.
    stress = ops.power(wrong, gamma) if gamma else ops.ones_like(wrong)
    return weight * stress * _sigmoid_cross_entropy(logits, targets)


def _columns(logits: Tensor) -> Tensor:
    logits = as_floats(logits, "logits", ..., "C + 1")
    if logits.shape[-1] == 0:
        raise ValueError(f"logits: expected shape (..., C + 1). Received: {tuple(logits.shape)}")
    return logits
