"""The larger and the smaller of two, in the dtype they are given in, on every Keras backend.

Keras narrows what it promotes to 32 bits, but for TensorFlow: on PyTorch `ops.maximum` of two
float64 is a float32. Where that is so, a comparison chooses.
"""

from __future__ import annotations

from keras import backend, ops

from keras_impl._common.arrays import Tensor

__all__ = ["maximum", "minimum"]


def maximum(first: Tensor, second: Tensor) -> Tensor:
    """The larger of two, elementwise; NaN where one of them is.

    But for TensorFlow's XLA, which on a CPU may give the other: `xla_cpu_enable_fast_min_max`.

    Args:
        first: Numbers, whose dtype counts.
        second: Numbers of that dtype, whose shape broadcasts with it, or a Python number.

    Returns:
        Numbers of the dtype of `first`.

    Example:
        >>> ops.convert_to_numpy(maximum(ops.array([-0.5, 0.5]), 0))
        array([0. , 0.5], dtype=float32)
    """
    second = ops.convert_to_tensor(second, dtype=first.dtype)
    if _keeps(first):
        return ops.maximum(first, second)
    return _second_if(ops.greater(second, first), first, second)


def minimum(first: Tensor, second: Tensor) -> Tensor:
    """The smaller of two, elementwise; as `maximum`.

    Example:
        >>> ops.convert_to_numpy(minimum(ops.array([-0.5, 0.5]), 0))
        array([-0.5,  0. ], dtype=float32)
    """
    second = ops.convert_to_tensor(second, dtype=first.dtype)
    if _keeps(first):
        return ops.minimum(first, second)
    return _second_if(ops.less(second, first), first, second)


def _keeps(values: Tensor) -> bool:
    """Whether this backend's own operations leave the dtype as it is."""
    dtype = backend.standardize_dtype(values.dtype)
    return bool(backend.result_type(dtype, dtype) == dtype)


def _second_if(better: Tensor, first: Tensor, second: Tensor) -> Tensor:
    nan = ops.not_equal(second, second)
    return ops.where(ops.logical_or(better, nan), second, first)
