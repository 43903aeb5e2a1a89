"""Layers of the forward pass: convolutions, batch normalisation, ReLU6.

MobileNetV2 and the heads of SSD consist of these. A map is (B, H, W, C): images, rows, columns,
channels. Everything is computed in the dtype of the map; kernels are cast to it. All numbers must
be finite, except that `relu6` passes NaN on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_numpy._typing import Floats
from reference_numpy.checks import check_counts, check_each, check_floats

__all__ = ["batch_norm", "convolution", "depthwise_convolution", "fold_batch_norm", "relu6"]


def convolution(
    x: Floats,
    kernel: Floats,
    bias: Floats | None = None,
    *,
    stride: int = 1,
    padding: str = "same",
) -> Floats:
    """Convolve a map with a kernel: every output channel sees every input channel.

    Padding "same" adds zeros around the map so that ceil(H / stride) rows come out, as in
    TensorFlow. If the number of added rows is odd, the extra row is below; an extra column is on
    the right. For example, a 3 × 3 kernel at stride 2 on 300 rows adds no row above and one below,
    so the first window covers rows 0 to 2. PyTorch's padding of 1 would put it on rows -1 to 1, and
    the same weights would give another map.

    Args:
        x: (B, H, W, C) map.
        kernel: (rows, columns, C, F).
        bias: (F,) added at every position, or None.
        stride: Step of the window in rows and columns.
        padding: "same" or "valid", where the window stays within the map.

    Returns:
        (B, H', W', F) map.

    Raises:
        ValueError: Shapes that do not fit, an unknown padding, a window larger than the map, or a
            number that is not finite.
        TypeError: Not arrays of floats, or a stride that is not an integer.

    Example:
        Sums of neighbours in a row, with zero beyond its end:

        >>> row = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
        >>> convolution(row, np.ones((1, 2, 1, 1)))[0, 0, :, 0]
        array([3., 5., 3.])
    """
    _check(x, "x", "B", "H", "W", "C")
    _check(kernel, "kernel", "rows", "columns", x.shape[-1], "F")
    if bias is not None:
        _check(bias, "bias", kernel.shape[-1])
    kernel = kernel.astype(x.dtype)
    result: Any = 0
    for row, column, window in _windows(x, kernel.shape[:2], stride, padding):
        result = result + window @ kernel[row, column]
    return np.asarray(result if bias is None else result + bias.astype(x.dtype))


def depthwise_convolution(
    x: Floats,
    kernel: Floats,
    bias: Floats | None = None,
    *,
    stride: int = 1,
    padding: str = "same",
) -> Floats:
    """Convolve each channel with its own kernel (arXiv:1704.04861, section 3.1).

    Args:
        x: (B, H, W, C) map.
        kernel: (rows, columns, C, 1).
        bias: (C,) added at every position, or None.
        stride: As in `convolution`.
        padding: As in `convolution`.

    Returns:
        (B, H', W', C) map.

    Raises:
        ValueError, TypeError: As `convolution`.

    Example:
        >>> pixel = np.array([1.0, 2.0]).reshape(1, 1, 1, 2)
        >>> depthwise_convolution(pixel, np.array([10.0, 100.0]).reshape(1, 1, 2, 1)).ravel()
        array([ 10., 200.])
    """
    _check(x, "x", "B", "H", "W", "C")
    _check(kernel, "kernel", "rows", "columns", x.shape[-1], 1)
    if bias is not None:
        _check(bias, "bias", x.shape[-1])
    kernel = kernel.astype(x.dtype)
    result: Any = 0
    for row, column, window in _windows(x, kernel.shape[:2], stride, padding):
        result = result + window * kernel[row, column, :, 0]
    return np.asarray(result if bias is None else result + bias.astype(x.dtype))


def batch_norm(
    x: Floats, gamma: Floats, beta: Floats, mean: Floats, variance: Floats, epsilon: float = 1e-3
) -> Floats:
    """Apply batch normalisation with the running statistics of training.

    gamma (x - mean) / √(variance + epsilon) + beta. (..., C) map and (C,) parameters → (..., C)
    (arXiv:1502.03167, algorithm 2).

    Example:
        >>> ones = np.ones(1)
        >>> batch_norm(np.array([[3.0]]), 2 * ones, ones, ones, 4 * ones, epsilon=0.0)
        array([[3.]])
    """
    _check(x, "x", ..., "C")
    _check_norm(gamma, beta, mean, variance, epsilon, x.shape[-1])
    scale = gamma.astype(x.dtype) / np.sqrt(variance.astype(x.dtype) + x.dtype.type(epsilon))
    return (x - mean.astype(x.dtype)) * scale + beta.astype(x.dtype)


def fold_batch_norm(
    kernel: Floats,
    gamma: Floats,
    beta: Floats,
    mean: Floats,
    variance: Floats,
    epsilon: float = 1e-3,
) -> tuple[Floats, Floats]:
    """Fold batch normalisation into the kernel and bias of the convolution before it.

    One convolution with the returned (kernel, bias) replaces a convolution and `batch_norm`, since
    gamma (K x - mean) / σ + beta = (gamma / σ K) x + (beta - gamma mean / σ). Each output channel
    of the kernel is scaled. A depthwise kernel (rows, columns, C, 1) has its channels on the third
    axis, any other kernel on the last.

    Example:
        >>> one = np.ones(1)
        >>> kernel, bias = fold_batch_norm(np.full((1, 1, 1, 1), 3.0), 2 * one, one, one, one, 0.0)
        >>> kernel.item(), bias.item()
        (6.0, -1.0)
    """
    _check(kernel, "kernel", "rows", "columns", "C", "F")
    depthwise = kernel.shape[-1] == 1 and np.shape(gamma) == kernel.shape[-2:-1]
    _check_norm(gamma, beta, mean, variance, epsilon, kernel.shape[-2 if depthwise else -1])
    scale = gamma / np.sqrt(variance + kernel.dtype.type(epsilon))
    return kernel * (scale[:, None] if depthwise else scale), beta - mean * scale


def relu6(x: Floats) -> Floats:
    """Apply ReLU6, min(max(x, 0), 6), to each element.

    Its bounded output is robust at low precision (arXiv:1801.04381, section 4).

    Example:
        >>> relu6(np.array([-1.0, 2.0, 7.0]))
        array([0., 2., 6.])
    """
    check_floats(x, "x", ...)
    return np.clip(x, 0, 6)


def _check(values: Floats, name: str, *axes: Any) -> None:
    check_floats(values, name, *axes)
    check_each(values, name, np.isfinite(values), "a finite number")


def _check_norm(
    gamma: Floats, beta: Floats, mean: Floats, variance: Floats, epsilon: float, channels: int
) -> None:
    parts = (gamma, beta, mean, variance)
    for name, values in zip(("gamma", "beta", "mean", "variance"), parts, strict=True):
        _check(values, name, channels)
    check_each(variance, "variance", variance + epsilon > 0, f"more than {-epsilon:g}")


def _windows(x: Floats, size: tuple[int, ...], stride: int, padding: str) -> Any:
    """Yield each (row, column) of the kernel and the (B, H', W', C) values it multiplies."""
    if padding not in ("same", "valid"):
        raise ValueError(f"padding: expected 'same' or 'valid'. Received: {padding!r}")
    check_counts(1, stride=stride)
    sides, around = [], [(0, 0)]
    for side, window in zip(x.shape[1:3], size, strict=True):
        if padding == "same":
            places = -(-side // stride)
            missing = max((places - 1) * stride + window - side, 0)
            around.append((missing // 2, missing - missing // 2))
        else:
            places = (side - window) // stride + 1
            around.append((0, 0))
        if places < 1 or window < 1:
            raise ValueError(f"kernel: expected a window within {x.shape[1:3]}. Received: {size}")
        sides.append((places - 1) * stride + 1)
    padded = np.pad(x, [*around, (0, 0)])
    for row in range(size[0]):
        for column in range(size[1]):
            seen = padded[:, row : row + sides[0] : stride, column : column + sides[1] : stride]
            yield row, column, seen
