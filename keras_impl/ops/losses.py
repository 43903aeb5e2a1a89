"""Losses of single numbers or anchors on any Keras backend: mirrors `reference_numpy.losses`.

Gradients come from the backend's automatic differentiation.

Values of logits and targets are not checked: NaN, or an infinity that gives NaN, appears in the
loss of its anchor. Labels are checked in eager calls, not while a graph is traced.

Every function raises TypeError for an argument that is not floats (labels: integers).
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
    """Compute the smooth L1 loss of each element.

    d²/2 where |d| < 1, else |d| - 1/2, with d = predicted - target.

    Raises:
        ValueError: Shapes differ.

    Example:
        >>> ops.convert_to_numpy(smooth_l1(ops.array([0.0, 0.5, -3.0]), ops.zeros(3)))
        array([0.   , 0.125, 2.5  ], dtype=float32)
    """
    predicted, target = as_floats(predicted, "predicted", ...), as_floats(target, "target", ...)
    check_same(predicted, target, ("predicted", "target"))
    return _smooth_l1(predicted, target)


def _smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    distance = ops.abs(predicted - target)
    near = minimum(distance, 1)  # Otherwise the square and its gradient could overflow.
    return ops.where(ops.less(distance, 1), 0.5 * near * near, distance - 0.5)


def softmax(logits: Tensor) -> Tensor:
    """Compute the softmax over the last axis.

    The largest logit is subtracted first, so that no exponential overflows.

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
    """Encode labels as one-hot vectors.

    (...) labels from 0 → (..., columns) with 1 in the column of the label and 0 elsewhere. A label
    without a column is an error; in a graph it gives a row of zeros.

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
    """Compute the softmax cross-entropy of each anchor.

    -log softmax(logits)[label], computed without overflow.

    Args:
        logits: (..., C + 1); class 0 is background.
        labels: (...) from 0 to C.

    Returns:
        (...) loss of each anchor.

    Raises:
        ValueError: Shapes differ, or a label is outside 0 to C (checked in eager calls only).

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
    # The maximum cancels in the loss, so its gradient is not needed.
    shifted = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    labels = ops.cast(labels, "int32")
    chosen = ops.take_along_axis(shifted, labels[..., None], axis=-1)[..., 0]
    return ops.log(ops.sum(ops.exp(shifted), axis=-1)) - chosen


def sigmoid(logits: Tensor) -> Tensor:
    """Compute the sigmoid 1 / (1 + exp(-z)) of each element, without overflow.

    Example:
        >>> float(sigmoid(ops.array(0.0)))
        0.5
    """
    return _sigmoid(as_floats(logits, "logits", ...))


def _sigmoid(logits: Tensor) -> Tensor:
    up = ops.greater_equal(logits, 0)
    small = ops.exp(ops.where(up, -logits, logits))  # not -|z|, whose derivative at 0 is 0
    return ops.where(up, ops.ones_like(small), small) / (1 + small)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the sigmoid (binary) cross-entropy of each element.

    -t log σ(z) - (1 - t) log(1 - σ(z)), computed without overflow.

    Example:
        >>> ops.convert_to_numpy(sigmoid_cross_entropy(ops.array([-1000.0]), ops.array([1.0])))
        array([1000.], dtype=float32)
    """
    logits, targets = as_floats(logits, "logits", ...), as_floats(targets, "targets", ...)
    check_same(logits, targets, ("logits", "targets"))
    return _sigmoid_cross_entropy(logits, targets)


def _sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    # Not with max(z, 0) and |z|: their derivatives at 0 do not give the gradient σ(0) - t.
    up = ops.greater_equal(logits, 0)
    small = ops.exp(ops.where(up, -logits, logits))
    high = ops.where(up, logits, ops.zeros_like(logits))
    return high - logits * targets + ops.log1p(small)


def focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Compute the focal loss of each element (arXiv:1708.02002, equation 5).

    α_t (1 - p_t)^γ × sigmoid cross-entropy. p_t is the predicted probability of the true value. α_t
    is α where the target is 1, else 1 - α.

    Example:
        >>> float(focal(ops.array(0.0), ops.array(1.0)) / ops.log(2.0))
        0.0625
    """
    logits, targets = as_floats(logits, "logits", ...), as_floats(targets, "targets", ...)
    check_same(logits, targets, ("logits", "targets"))
    if not (isinstance(alpha, Real) and 0 <= alpha <= 1):
        raise ValueError(f"alpha: expected a number in [0, 1]. Received: {alpha}")
    if not (isinstance(gamma, Real) and (gamma == 0 or gamma >= 1)):
        raise ValueError(f"gamma: expected 0, or 1 or more. Received: {gamma}")
    return _focal(logits, targets, alpha, gamma)


def _focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    # 1 - p_t is the sigmoid of -z where the target is 1, and of z where it is 0.
    wrong = _sigmoid(logits * (1 - 2 * targets))
    weight = targets * alpha + (1 - targets) * (1 - alpha)
    # With γ = 0 the factor is 1, but `power` has no derivative where its base, 1 - p_t, is 0.
    stress = ops.power(wrong, gamma) if gamma else ops.ones_like(wrong)
    return weight * stress * _sigmoid_cross_entropy(logits, targets)


def _columns(logits: Tensor) -> Tensor:
    logits = as_floats(logits, "logits", ..., "C + 1")
    if logits.shape[-1] == 0:
        raise ValueError(f"logits: expected shape (..., C + 1). Received: {tuple(logits.shape)}")
    return logits
