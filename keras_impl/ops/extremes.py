"""Elementwise maximum and minimum that keep the dtype, on every Keras backend.

Except on TensorFlow, Keras narrows promoted dtypes to 32 bits: on PyTorch, `ops.maximum` of two
float64 tensors is float32. On such backends a comparison selects the value instead.
"""

from __future__ import annotations

from keras import backend, ops

from keras_impl._common.arrays import Tensor

__all__ = ["maximum", "minimum"]


def maximum(first: Tensor, second: Tensor) -> Tensor:
    """Compute the elementwise maximum, in the dtype of `first`; NaN where either is NaN.

    Exception: TensorFlow's XLA on a CPU may return the other value instead of NaN
    (`xla_cpu_enable_fast_min_max`).

    Args:
        first: A tensor.
        second: A tensor of the same dtype and of a shape that broadcasts, or a Python number.

    Returns:
        A tensor of the dtype of `first`.

    Example:
        >>> ops.convert_to_numpy(maximum(ops.array([-0.5, 0.5]), 0))
        array([0. , 0.5], dtype=float32)
    """
    second = ops.convert_to_tensor(second, dtype=first.dtype)
    if _keeps(first):
        return ops.maximum(first, second)
    return _second_if(ops.greater(second, first), first, second)


def minimum(first: Tensor, second: Tensor) -> Tensor:
    """Compute the elementwise minimum, in the dtype of `first`; otherwise as `maximum`.

    Example:
        >>> ops.convert_to_numpy(minimum(ops.array([-0.5, 0.5]), 0))
        array([-0.5,  0. ], dtype=float32)
    """
    second = ops.convert_to_tensor(second, dtype=first.dtype)
    if _keeps(first):
        return ops.minimum(first, second)
    return _second_if(ops.less(second, first), first, second)


def _keeps(values: Tensor) -> bool:
    """Check whether `ops.maximum` and `ops.minimum` keep the dtype on this backend."""
    dtype = backend.standardize_dtype(values.dtype)
    return bool(backend.result_type(dtype, dtype) == dtype)


def _second_if(better: Tensor, first: Tensor, second: Tensor) -> Tensor:
    nan = ops.not_equal(second, second)
    return ops.where(ops.logical_or(better, nan), second, first)
