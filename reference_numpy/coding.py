"""Coding: convert between boxes and the four numbers that the network regresses.

The network predicts each box relative to its anchor (arXiv:1512.02325, section 2.2, equation 2,
after R-CNN's box regression): the offset of the centre in units of the anchor's size, and the
logarithm of the ratio of sizes. Each number is divided by a *variance* (Caffe SSD: .1, .1, .2, .2),
so that targets have about unit spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_numpy._typing import Floats
from reference_numpy.boxes import _to_cxcywh, _to_xyxy, check_anchors, check_boxes
from reference_numpy.checks import check_each, check_floats
from reference_numpy.conventions import CANONICAL, Coding, Convention

__all__ = ["background_first", "decode", "encode"]

SWAPPED = [1, 0, 3, 2]  # xywh ↔ yxhw


def encode(
    boxes: Floats, anchors: Floats, convention: Convention = CANONICAL, **overrides: Any
) -> Floats:
    """Encode each box relative to its anchor.

    tx = (cx - cx_a) / w_a / v_x and tw = log(w / w_a) / v_w; ty and th alike. The code multiplies
    by the reciprocal of a variance, since compilers turn the division into this multiplication.

    Args:
        boxes: (N, 4) xyxy, of positive size (of any size with `degenerate="encode"`).
        anchors: (N, 4) cxcywh, of positive size: the anchor of each box.
        convention: Its `Coding` part is used.
        overrides: Overrides of single fields.

    Returns:
        (N, 4) deltas, by default (tx, ty, tw, th).

    Raises:
        ValueError: Shapes that differ, or a degenerate box or anchor.
        TypeError: Not arrays of floats.

    Example:
        The box lies half an anchor width to the right, and is e times as tall.

        >>> box = np.array([[0.5, 0.5 - np.e / 8, 0.75, 0.5 + np.e / 8]])
        >>> encode(box, np.array([[0.5, 0.5, 0.25, 0.25]])).round(12)
        array([[5., 0., 0., 5.]])
    """
    rules = convention.replace(**overrides).coding
    check_boxes(boxes, flat=rules.degenerate == "encode")
    _check_anchors(anchors, boxes.shape[0])
    return _encode(boxes, anchors, rules)


def _encode(boxes: Floats, anchors: Floats, rules: Coding) -> Floats:
    number = boxes.dtype.type
    reciprocals = np.array([1.0 / variance for variance in rules.variances], dtype=boxes.dtype)
    centers = _to_cxcywh(boxes)
    if rules.form == "difference":
        deltas = (centers - anchors) * reciprocals
    else:
        sizes = centers[:, 2:] + number(rules.size_epsilon)
        units = anchors[:, 2:] + number(rules.size_epsilon)
        shift = (centers[:, :2] - anchors[:, :2]) / units
        stretch = np.log(sizes / units + number(rules.ratio_epsilon))
        deltas = np.concatenate([shift, stretch], axis=1) * reciprocals
    return deltas if rules.code_order == "xywh" else deltas[:, SWAPPED]


def decode(
    deltas: Floats, anchors: Floats, convention: Convention = CANONICAL, **overrides: Any
) -> Floats:
    """Decode deltas to boxes: the inverse of `encode`, but without its epsilons.

    Args:
        deltas: (N, 4) deltas, by default (tx, ty, tw, th).
        anchors: (N, 4) cxcywh, of positive size: the anchor of each code.
        convention: Its `Coding` part is used.
        overrides: Overrides of single fields.

    Returns:
        (N, 4) xyxy, never NaN. A huge tw or th gives infinite corners, which clipping moves to the
            border of the image.

    Raises:
        ValueError: Shapes that differ, a degenerate anchor, NaN in `deltas`, or an infinite tx or
            ty (any infinity with `form="difference"`).
        TypeError: Not arrays of floats.

    Example:
        >>> anchor = np.array([[0.5, 0.5, 0.25, 0.25]])
        >>> decode(np.array([[5.0, 0.0, 0.0, 0.0]]), anchor)
        array([[0.5  , 0.375, 0.75 , 0.625]])
    """
    rules = convention.replace(**overrides).coding
    check_floats(deltas, "deltas", "N", 4)
    _check_codes(deltas, rules)
    _check_anchors(anchors, deltas.shape[0])
    return _decode(deltas, anchors, rules)


def _check_codes(deltas: Floats, rules: Coding) -> None:
    """Check that a box can be decoded from every row of (N, 4) deltas."""
    absolute = rules.form == "difference"
    in_order = deltas if rules.code_order == "xywh" else deltas[:, SWAPPED]
    finite = np.isfinite(in_order if absolute else in_order[:, :2]).all(axis=1)
    expected = "four finite numbers" if absolute else "four numbers, tx and ty finite"
    check_each(deltas, "deltas", finite & ~np.isnan(deltas).any(axis=1), expected)


def _decode(deltas: Floats, anchors: Floats, rules: Coding) -> Floats:
    in_order = deltas if rules.code_order == "xywh" else deltas[:, SWAPPED]
    scaled = in_order * np.array(rules.variances, dtype=deltas.dtype)
    if rules.form == "difference":
        return _to_xyxy(anchors + scaled)
    exponents = scaled[:, 2:]
    if rules.largest_exponent is not None:
        exponents = np.minimum(exponents, deltas.dtype.type(rules.largest_exponent))
    centers = anchors[:, :2] + scaled[:, :2] * anchors[:, 2:]
    with np.errstate(over="ignore"):  # an infinite size is the defined result
        sizes = np.exp(exponents) * anchors[:, 2:]
    return _to_xyxy(np.concatenate([centers, sizes], axis=1))


def background_first(
    logits: Floats, convention: Convention = CANONICAL, **overrides: Any
) -> Floats:
    """Move the background to column 0 of the class outputs.

    (..., C + 1) columns in the order of the head → (..., C + 1) with the background first, which is
    the order by default.

    Example:
        >>> background_first(np.array([[1, 2, 0]]), background="last")
        array([[0, 1, 2]])
    """
    rules = convention.replace(**overrides).coding
    if np.ndim(logits) == 0 or not isinstance(logits, np.ndarray):
        raise ValueError(f"logits: expected an array (..., C + 1). Received: {logits!r}")
    return _background_first(logits, rules)


def _background_first(logits: Floats, rules: Coding) -> Floats:
    return np.roll(logits, 1, axis=-1) if rules.background == "last" else logits


def _check_anchors(anchors: Floats, count: int) -> None:
    check_floats(anchors, "anchors", count, 4)
    check_anchors(anchors)
