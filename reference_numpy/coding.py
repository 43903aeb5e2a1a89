"""Coding: boxes ↔ the four numbers the network regresses.

arXiv:1512.02325, section 2.2, equation 2 (after R-CNN's box regression): the offset of the
centre in units of the anchor, and the logarithm of the ratio of sizes. Each is divided by a
*variance* (Caffe SSD: .1, .1, .2, .2) so that targets have about unit spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_numpy.boxes import (
    centers_to_corners,
    check_anchors,
    check_boxes,
    corners_to_centers,
)
from reference_numpy.conventions import CANONICAL

__all__ = ["decode", "encode"]

Floats = NDArray[np.floating[Any]]
VARIANCES = CANONICAL.coding.variances


def encode(boxes: Floats, anchors: Floats, variances: tuple[float, ...] = VARIANCES) -> Floats:
    """Write each box relative to its anchor.

    tx = (cx - cx_a) / w_a / v_x, tw = log(w / w_a) / v_w; y and h alike. The division by a
    variance is a multiplication by its reciprocal, since compilers turn one into the other.

    Args:
        boxes: (N, 4) corner form, of positive size.
        anchors: (N, 4) centre form, of positive size: the anchor of each box.
        variances: Of (tx, ty, tw, th).

    Returns:
        (N, 4) deltas (tx, ty, tw, th).

    Raises:
        ValueError: Shapes that differ, a degenerate box or anchor, a variance not above 0.

    Example:
        A box half an anchor to the right of it, and e times as tall:

        >>> box = np.array([[0.5, 0.5 - np.e / 8, 0.75, 0.5 + np.e / 8]])
        >>> encode(box, np.array([[0.5, 0.5, 0.25, 0.25]])).round(12)
        array([[5., 0., 0., 5.]])
    """
    check_boxes(boxes)
    _check_anchors(anchors, boxes.shape[0])
    reciprocals = np.array(_reciprocals(variances), dtype=boxes.dtype)
    centers = corners_to_centers(boxes)
    shift = (centers[:, :2] - anchors[:, :2]) / anchors[:, 2:]
    stretch = np.log(centers[:, 2:] / anchors[:, 2:])
    return np.concatenate([shift, stretch], axis=1) * reciprocals


def decode(deltas: Floats, anchors: Floats, variances: tuple[float, ...] = VARIANCES) -> Floats:
    """Undo `encode`.

    Args:
        deltas: (N, 4) deltas (tx, ty, tw, th).
        anchors: (N, 4) centre form, of positive size.
        variances: Of (tx, ty, tw, th).

    Returns:
        (N, 4) corner form. A huge tw or th gives corners at infinity, which clipping brings
        back to the picture's border; it never gives NaN.

    Raises:
        ValueError: Shapes that differ, NaN in `deltas`, tx or ty infinite, a degenerate anchor,
            a variance not above 0.

    Example:
        >>> anchor = np.array([[0.5, 0.5, 0.25, 0.25]])
        >>> decode(np.array([[5.0, 0.0, 0.0, 0.0]]), anchor)
        array([[0.5  , 0.375, 0.75 , 0.625]])
    """
    if deltas.ndim != 2 or deltas.shape[1] != 4:
        raise ValueError(f"deltas: expected shape (N, 4). Received: {deltas.shape}")
    bad = np.isnan(deltas).any(axis=1) | np.isinf(deltas[:, :2]).any(axis=1)
    if bad.any():
        index = int(np.argmax(bad))
        raise ValueError(
            f"deltas[{index}]: expected four numbers, tx and ty finite. "
            f"Received: {deltas[index].tolist()}"
        )
    _check_anchors(anchors, deltas.shape[0])
    _reciprocals(variances)
    scaled = deltas * np.array(variances, dtype=deltas.dtype)
    centers = anchors[:, :2] + scaled[:, :2] * anchors[:, 2:]
    with np.errstate(over="ignore"):  # infinity is the defined answer
        sizes = np.exp(scaled[:, 2:]) * anchors[:, 2:]
    return centers_to_corners(np.concatenate([centers, sizes], axis=1))


def _reciprocals(variances: tuple[float, ...]) -> tuple[float, ...]:
    if len(variances) != 4 or not all(0 < variance < np.inf for variance in variances):
        raise ValueError(f"variances: expected four positive numbers. Received: {variances}")
    return tuple(1.0 / variance for variance in variances)


def _check_anchors(anchors: Floats, count: int) -> None:
    if anchors.shape != (count, 4):
        raise ValueError(f"anchors: expected shape ({count}, 4). Received: {anchors.shape}")
    check_anchors(anchors)
