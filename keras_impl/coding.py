"""Coding of boxes on any Keras backend: mirrors `reference_numpy.coding`, over batches."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_impl.boxes import centers_to_corners, corners_to_centers
from reference_numpy.conventions import CANONICAL, Convention

__all__ = ["background_first", "decode", "encode"]

Tensor = Any


def encode(
    boxes: Tensor, anchors: Tensor, convention: Convention = CANONICAL, **changes: Any
) -> Tensor:
    """Write each box relative to its anchor (arXiv:1512.02325, equation 2).

    Args:
        boxes: (..., A, 4) corner form, of positive size.
        anchors: (A, 4) centre form, of positive size.
        convention: Its `Coding` holds the rules.
        changes: Fields of it to answer otherwise.

    Returns:
        (..., A, 4) deltas, canonically (tx, ty, tw, th).

    Example:
        >>> box, anchor = (
        ...     ops.array([[0.5, 0.375, 0.75, 0.625]]),
        ...     ops.array([[0.5, 0.5, 0.25, 0.25]]),
        ... )
        >>> ops.convert_to_numpy(encode(box, anchor))
        array([[5., 0., 0., 0.]], dtype=float32)
    """
    rules = convention.but(**changes).coding
    # Reciprocals, as in the reference: compilers turn a division by a constant into these.
    reciprocals = ops.array([1.0 / variance for variance in rules.variances], dtype=boxes.dtype)
    centers = corners_to_centers(boxes)
    if rules.form == "difference":
        return _swapped((centers - anchors) * reciprocals, rules.code_order)
    sizes, units = centers[..., 2:], anchors[..., 2:]
    if rules.size_epsilon:
        epsilon = ops.convert_to_tensor(rules.size_epsilon, dtype=boxes.dtype)
        sizes, units = sizes + epsilon, units + epsilon
    shift = (centers[..., :2] - anchors[..., :2]) / units
    ratio = sizes / units
    if rules.ratio_epsilon:
        ratio = ratio + ops.convert_to_tensor(rules.ratio_epsilon, dtype=boxes.dtype)
    return _swapped(
        ops.concatenate([shift, ops.log(ratio)], axis=-1) * reciprocals, rules.code_order
    )


def decode(
    deltas: Tensor, anchors: Tensor, convention: Convention = CANONICAL, **changes: Any
) -> Tensor:
    """Undo `encode`, but for its epsilons.

    Args:
        deltas: (..., A, 4) deltas, canonically (tx, ty, tw, th).
        anchors: (A, 4) centre form, of positive size.
        convention: Its `Coding` holds the rules.
        changes: Fields of it to answer otherwise.

    Returns:
        (..., A, 4) corner form; infinite where tw or th is too large for the dtype.

    Example:
        >>> ops.convert_to_numpy(
        ...     decode(ops.array([[5.0, 0, 0, 0]]), ops.array([[0.5, 0.5, 0.25, 0.25]]))
        ... )
        array([[0.5  , 0.375, 0.75 , 0.625]], dtype=float32)
    """
    rules = convention.but(**changes).coding
    scaled = _swapped(deltas, rules.code_order) * ops.array(rules.variances, dtype=deltas.dtype)
    if rules.form == "difference":
        return centers_to_corners(anchors + scaled)
    exponents = scaled[..., 2:]
    if rules.largest_exponent is not None:
        exponents = ops.minimum(
            exponents, ops.convert_to_tensor(rules.largest_exponent, dtype=deltas.dtype)
        )
    centers = anchors[..., :2] + scaled[..., :2] * anchors[..., 2:]
    sizes = ops.exp(exponents) * anchors[..., 2:]
    return centers_to_corners(ops.concatenate([centers, sizes], axis=-1))


def background_first(logits: Tensor, convention: Convention = CANONICAL, **changes: Any) -> Tensor:
    """(..., C + 1) classes as the head has them → the same with background in column 0.

    Example:
        >>> ops.convert_to_numpy(background_first(ops.array([[1, 2, 0]]), background="last"))
        array([[0, 1, 2]], dtype=int32)
    """
    if convention.but(**changes).coding.background == "first":
        return logits
    return ops.concatenate([logits[..., -1:], logits[..., :-1]], axis=-1)


def _swapped(values: Tensor, code_order: str) -> Tensor:
    """Between (x, y, w, h) and the order of a code."""
    if code_order == "xywh":
        return values
    x, y, w, h = (values[..., index : index + 1] for index in range(4))
    return ops.concatenate([y, x, h, w], axis=-1)
