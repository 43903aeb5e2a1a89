"""Coding on any Keras backend: mirrors `reference_numpy.coding`, with leading batch axes."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_impl._common.arrays import Tensor
from keras_impl.ops.boxes import _to_xyxy, plus
from keras_impl.ops.checks import as_floats, as_tensor
from keras_impl.ops.extremes import minimum
from reference_numpy.conventions import CANONICAL, Coding, Convention

__all__ = ["background_first", "decode", "encode"]


def encode(
    boxes: Tensor, anchors: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> Tensor:
    """Encode each box relative to its anchor (arXiv:1512.02325, equation 2).

    Args:
        boxes: (..., A, 4) xyxy, of positive size.
        anchors: (A, 4) cxcywh, of positive size.
        convention: Its `Coding` part is used.
        overrides: Overrides of single fields.

    Returns:
        (..., A, 4) deltas, by default (tx, ty, tw, th). Values are not checked: a box or anchor
        without size gives infinity or NaN.

    Raises:
        ValueError: Shapes do not fit.
        TypeError: Not floats.

    Example:
        >>> box, anchor = (
        ...     ops.array([[0.5, 0.375, 0.75, 0.625]]),
        ...     ops.array([[0.5, 0.5, 0.25, 0.25]]),
        ... )
        >>> ops.convert_to_numpy(encode(box, anchor))
        array([[5., 0., 0., 0.]], dtype=float32)
    """
    rules = convention.replace(**overrides).coding
    boxes = ops.convert_to_tensor(as_floats(boxes, "boxes", ..., "A", 4))
    anchors = ops.convert_to_tensor(as_floats(anchors, "anchors", boxes.shape[-2], 4))
    return _encode(boxes, anchors, rules)


def _encode(boxes: Tensor, anchors: Tensor, rules: Coding) -> Tensor:
    # Multiply by reciprocals, as the reference does: compilers turn a division by a constant into
    # such a multiplication.
    reciprocals = [
        ops.convert_to_tensor(1.0 / variance, dtype=boxes.dtype) for variance in rules.variances
    ]
    # One coordinate at a time, since a compiler does not vectorise operations on rows of four.
    centers = [boxes[..., axis] + boxes[..., axis + 2] for axis in (0, 1)]
    centers = [one * 0.5 for one in centers]
    sizes = [boxes[..., axis + 2] - boxes[..., axis] for axis in (0, 1)]
    middles, units = ([anchors[..., axis + part] for axis in (0, 1)] for part in (0, 2))
    if rules.form == "difference":
        shift = [center - middle for center, middle in zip(centers, middles, strict=True)]
        stretch = [size - unit for size, unit in zip(sizes, units, strict=True)]
    else:
        sizes, units = ([plus(one, rules.size_epsilon) for one in part] for part in (sizes, units))
        parts = zip(centers, middles, units, strict=True)
        shift = [(center - middle) / unit for center, middle, unit in parts]
        ratios = [size / unit for size, unit in zip(sizes, units, strict=True)]
        stretch = [ops.log(plus(ratio, rules.ratio_epsilon)) for ratio in ratios]
    deltas = [one * unit for one, unit in zip([*shift, *stretch], reciprocals, strict=True)]
    order = (0, 1, 2, 3) if rules.code_order == "xywh" else (1, 0, 3, 2)
    return ops.stack([deltas[index] for index in order], axis=-1)


def decode(
    deltas: Tensor, anchors: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> Tensor:
    """Decode deltas to boxes: the inverse of `encode`, but without its epsilons.

    Args:
        deltas: (..., A, 4) deltas, by default (tx, ty, tw, th).
        anchors: (A, 4) cxcywh, of positive size.
        convention: Its `Coding` part is used.
        overrides: Overrides of single fields.

    Returns:
        (..., A, 4) xyxy; infinite where tw or th is too large for the dtype. NaN in the deltas,
        or an infinite tx or ty, gives an invalid box, which `select` never keeps.

    Raises:
        ValueError: Shapes do not fit.
        TypeError: Not floats.

    Example:
        >>> ops.convert_to_numpy(
        ...     decode(ops.array([[5.0, 0, 0, 0]]), ops.array([[0.5, 0.5, 0.25, 0.25]]))
        ... )
        array([[0.5  , 0.375, 0.75 , 0.625]], dtype=float32)
    """
    rules = convention.replace(**overrides).coding
    deltas = ops.convert_to_tensor(as_floats(deltas, "deltas", ..., "A", 4))
    # The anchors of a model are a NumPy array, which PyTorch cannot multiply with a tensor.
    anchors = ops.convert_to_tensor(as_floats(anchors, "anchors", deltas.shape[-2], 4))
    return _decode(deltas, anchors, rules)


def _decode(deltas: Tensor, anchors: Tensor, rules: Coding) -> Tensor:
    scaled = _swapped(deltas, rules.code_order) * ops.array(rules.variances, dtype=deltas.dtype)
    if rules.form == "difference":
        return _to_xyxy(anchors + scaled)
    exponents = scaled[..., 2:]
    if rules.largest_exponent is not None:
        exponents = minimum(exponents, rules.largest_exponent)
    centers = anchors[..., :2] + scaled[..., :2] * anchors[..., 2:]
    sizes = ops.exp(exponents) * anchors[..., 2:]
    return _to_xyxy(ops.concatenate([centers, sizes], axis=-1))


def background_first(
    logits: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> Tensor:
    """Move the background to column 0 of the class outputs.

    (..., C + 1) columns in the order of the head → (..., C + 1) with the background first, which is
    the order by default.

    Example:
        >>> ops.convert_to_numpy(background_first(ops.array([[1, 2, 0]]), background="last"))
        array([[0, 1, 2]], dtype=int32)
    """
    rules = convention.replace(**overrides).coding
    return _background_first(as_tensor(logits, "logits", ..., "C + 1"), rules)


def _background_first(logits: Tensor, rules: Coding) -> Tensor:
    if rules.background == "first":
        return logits
    return ops.concatenate([logits[..., -1:], logits[..., :-1]], axis=-1)


def _swapped(values: Tensor, code_order: str) -> Tensor:
    """Convert between the order (x, y, w, h) and `code_order`, in either direction."""
    if code_order == "xywh":
        return values
    x, y, w, h = (values[..., index : index + 1] for index in range(4))
    return ops.concatenate([y, x, h, w], axis=-1)
