"""Anchors: mirrors `reference_numpy.anchors`, with plain loops instead of arrays.

Anchors are constants of a model. They are computed once, on the CPU and in float64.
"""

from __future__ import annotations

from math import inf, sqrt
from numbers import Integral, Real
from typing import Any

import numpy as np

from keras_impl.ops.checks import check_count
from reference_numpy.conventions import AnchorLayout

__all__ = ["level_shapes", "linear_scales", "make_anchors"]


def linear_scales(levels: int, smallest: float = 0.2, largest: float = 0.9) -> tuple[float, ...]:
    """Compute equally spaced scales for the feature maps (section 2.2, equation 4).

    There is one scale a map from `smallest` to `largest`, and a last one a step above `largest`.

    Example:
        >>> [round(scale, 2) for scale in linear_scales(6)]
        [0.2, 0.34, 0.48, 0.62, 0.76, 0.9, 1.04]
    """
    check_count(levels, "levels", 2)
    numbers = isinstance(smallest, Real) and isinstance(largest, Real)
    if not (numbers and 0 < smallest < largest < inf):
        raise ValueError(
            f"smallest, largest: expected 0 < smallest < largest. Received: {smallest}, {largest}"
        )
    scales = []
    for k in range(levels + 1):
        scales.append(smallest + (largest - smallest) * k / (levels - 1))
    return tuple(scales)


def level_shapes(layout: AnchorLayout, level: int) -> list[tuple[float, float]]:
    """List the anchor shapes (w, h) of one feature map, in order, relative to the image.

    By default the order is: square of side s_k, square of side s', then the aspect ratios.

    Example:
        >>> from reference_numpy.conventions import DIGITS224
        >>> [(round(w, 3), round(h, 3)) for w, h in level_shapes(DIGITS224, 0)]
        [(0.1, 0.1), (0.125, 0.125), (0.16, 0.16)]
    """
    if not isinstance(level, Integral):
        raise TypeError(f"level: expected a whole number. Received: {level!r}")
    if not 0 <= level < len(layout.feature_maps):
        raise ValueError(
            f"level: expected 0 to {len(layout.feature_maps) - 1} in {layout.name}. "
            f"Received: {level}"
        )
    height, width = layout.image_size
    unit_width = unit_height = 1.0
    if layout.unit == "shorter side":
        unit_width, unit_height = width / min(height, width), height / min(height, width)
    elif layout.unit == "pixels":
        unit_width, unit_height = float(width), float(height)

    def shape(side: float, ratio: float) -> tuple[float, float]:
        return side * sqrt(ratio) / unit_width, side / sqrt(ratio) / unit_height

    if level == 0 and layout.lowest_shapes:
        return [shape(side, ratio) for side, ratio in layout.lowest_shapes]
    scale, larger = layout.scales[level : level + 2]
    if layout.whole_pixels:
        scale, larger = float(int(scale)), float(int(larger))
    between = shape(sqrt(scale * larger), layout.extra_ratio)
    shapes = [shape(scale, 1.0)] if layout.square == "first" else []
    if layout.extra_square == "second":
        shapes.append(between)
    for ratio in layout.aspect_ratios[level]:
        shapes.append(shape(scale, ratio))
        if layout.flip:
            shapes.append(shape(scale, 1 / ratio))
    if layout.extra_square == "last":
        shapes.append(between)
    return shapes


def make_anchors(layout: AnchorLayout, dtype: str = "float32") -> np.ndarray[Any, Any]:
    """Make all anchors of a layout, by default in the order level, row, column, shape.

    Args:
        layout: The layout.
        dtype: Name of a float dtype. Anchors are computed in float64 and rounded once.

    Returns:
        (A, 4) cxcywh, relative to the image: a NumPy array, which a model keeps as a constant.

    Example:
        >>> from reference_numpy.conventions import SSD300
        >>> make_anchors(SSD300).shape
        (8732, 4)
    """
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"dtype: expected a float dtype. Received: {dtype}")
    height, width = layout.image_size
    anchors: list[tuple[float, ...]] = []
    for level, (rows, columns) in enumerate(layout.feature_maps):
        across, down = [], []
        for column in range(columns):
            x = column + layout.offset
            across.append(x * layout.steps[level] / width if layout.steps else x / columns)
        for row in range(rows):
            y = row + layout.offset
            down.append(y * layout.steps[level] / height if layout.steps else y / rows)
        shapes = level_shapes(layout, level)
        if layout.order == "cell":
            anchors += [(x, y, *shape) for y in down for x in across for shape in shapes]
        else:
            anchors += [(x, y, *shape) for shape in shapes for y in down for x in across]
    return np.array([_clipped(anchor, layout.clip) for anchor in anchors]).astype(dtype)


def _clipped(anchor: tuple[float, ...], clip: str) -> tuple[float, ...]:
    x, y, w, h = anchor
    if clip == "corners":
        left, top = _unit(x - w * 0.5), _unit(y - h * 0.5)
        right, bottom = _unit(x + w * 0.5), _unit(y + h * 0.5)
        return (left + right) * 0.5, (top + bottom) * 0.5, right - left, bottom - top
    if clip == "centers":
        return _unit(x), _unit(y), _unit(w), _unit(h)
    if clip == "sizes":
        return x, y, _unit(w), _unit(h)
    return anchor


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)
