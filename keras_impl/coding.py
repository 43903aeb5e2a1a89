"""Coding of boxes on any Keras backend: mirrors `reference_numpy.coding`, over batches."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_impl.boxes import centers_to_corners, corners_to_centers
from reference_numpy.conventions import CANONICAL

__all__ = ["decode", "encode"]

Tensor = Any
VARIANCES = CANONICAL.coding.variances


def encode(boxes: Tensor, anchors: Tensor, variances: tuple[float, ...] = VARIANCES) -> Tensor:
    """Write each box relative to its anchor (arXiv:1512.02325, equation 2).

    Args:
        boxes: (..., A, 4) corner form, of positive size.
        anchors: (A, 4) centre form, of positive size.
        variances: Of (tx, ty, tw, th).

    Returns:
        (..., A, 4) deltas (tx, ty, tw, th).

    Example:
        >>> box, anchor = (
        ...     ops.array([[0.5, 0.375, 0.75, 0.625]]),
        ...     ops.array([[0.5, 0.5, 0.25, 0.25]]),
        ... )
        >>> ops.convert_to_numpy(encode(box, anchor))
        array([[5., 0., 0., 0.]], dtype=float32)
    """
    # Reciprocals, as in the reference: compilers turn a division by a constant into these.
    reciprocals = ops.array([1.0 / variance for variance in _check(variances)], dtype=boxes.dtype)
    centers = corners_to_centers(boxes)
    shift = (centers[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    stretch = ops.log(centers[..., 2:] / anchors[..., 2:])
    return ops.concatenate([shift, stretch], axis=-1) * reciprocals


def decode(deltas: Tensor, anchors: Tensor, variances: tuple[float, ...] = VARIANCES) -> Tensor:
    """Undo `encode`.

    Args:
        deltas: (..., A, 4) deltas (tx, ty, tw, th).
        anchors: (A, 4) centre form, of positive size.
        variances: Of (tx, ty, tw, th).

    Returns:
        (..., A, 4) corner form; infinite where tw or th is too large for the dtype.

    Example:
        >>> ops.convert_to_numpy(
        ...     decode(ops.array([[5.0, 0, 0, 0]]), ops.array([[0.5, 0.5, 0.25, 0.25]]))
        ... )
        array([[0.5  , 0.375, 0.75 , 0.625]], dtype=float32)
    """
    scaled = deltas * ops.array(_check(variances), dtype=deltas.dtype)
    centers = anchors[..., :2] + scaled[..., :2] * anchors[..., 2:]
    sizes = ops.exp(scaled[..., 2:]) * anchors[..., 2:]
    return centers_to_corners(ops.concatenate([centers, sizes], axis=-1))


def _check(variances: tuple[float, ...]) -> tuple[float, ...]:
    if len(variances) != 4 or not all(0 < variance < float("inf") for variance in variances):
        raise ValueError(f"variances: expected four positive numbers. Received: {variances}")
    return tuple(variances)
