"""Anchors: the same shapes at every cell of every feature map.

SSD predicts each box relative to one of these fixed boxes. The paper calls them default boxes
(arXiv:1512.02325, section 2.2, "Choosing scales and aspect ratios for default boxes"), Caffe calls
them priors, and most code calls them anchors.
"""

from __future__ import annotations

from math import inf, sqrt
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from reference_numpy.boxes import clip, cxcywh_to_xyxy, xyxy_to_cxcywh
from reference_numpy.checks import check_counts
from reference_numpy.conventions import AnchorLayout

__all__ = ["level_shapes", "linear_scales", "make_anchors"]


def linear_scales(levels: int, smallest: float = 0.2, largest: float = 0.9) -> tuple[float, ...]:
    """Compute equally spaced scales for the feature maps (section 2.2, equation 4).

    s_k = s_min + (s_max - s_min)(k - 1)/(m - 1).

    Args:
        levels: m, the number of feature maps, at least 2.
        smallest: s_min, the scale of the finest map.
        largest: s_max, the scale of the coarsest map.

    Returns:
        m + 1 scales. The last is one step above s_max, for the extra square of the coarsest map.

    Raises:
        ValueError: Fewer than two levels, or not 0 < smallest < largest < infinity.
        TypeError: `levels` is not an integer.

    Example:
        >>> [round(scale, 2) for scale in linear_scales(6)]
        [0.2, 0.34, 0.48, 0.62, 0.76, 0.9, 1.04]
    """
    check_counts(2, levels=levels)
    numbers = isinstance(smallest, Real) and isinstance(largest, Real)
    if not (numbers and 0 < smallest < largest < inf):
        raise ValueError(
            f"smallest, largest: expected 0 < smallest < largest. Received: {smallest}, {largest}"
        )
    return tuple(smallest + (largest - smallest) * k / (levels - 1) for k in range(levels + 1))


def level_shapes(layout: AnchorLayout, level: int) -> list[tuple[float, float]]:
    """List the anchor shapes (w, h) of one feature map, in order.

    Every cell of the map has these shapes. By default the first is the square of side s_k, the
    second the square of side s' = sqrt(s_k s_k+1). Then comes w = s_k sqrt(a), h = s_k / sqrt(a)
    for each aspect ratio a.

    Args:
        layout: The layout.
        level: Index of the feature map, the finest first.

    Returns:
        One (w, h) per shape, relative to the image.

    Raises:
        ValueError: `level` is out of range.
        TypeError: `level` is not an integer.

    Example:
        >>> from reference_numpy.conventions import SSDLITE320
        >>> [(round(w, 3), round(h, 3)) for w, h in level_shapes(SSDLITE320, 0)[:4]]
        [(0.2, 0.2), (0.265, 0.265), (0.283, 0.141), (0.141, 0.283)]
    """
    if not isinstance(level, Integral):
        raise TypeError(f"level: expected a whole number. Received: {level!r}")
    if not 0 <= level < len(layout.feature_maps):
        raise ValueError(
            f"level: expected 0 to {len(layout.feature_maps) - 1} in {layout.name}. "
            f"Received: {level}"
        )
    if level == 0 and layout.lowest_shapes:
        pairs = list(layout.lowest_shapes)
    else:
        scale, next_scale = layout.scales[level], layout.scales[level + 1]
        if layout.whole_pixels:
            scale, next_scale = int(scale), int(next_scale)
        extra = [(sqrt(scale * next_scale), layout.extra_ratio)]
        ratios = [
            one
            for ratio in layout.aspect_ratios[level]
            for one in ((ratio, 1 / ratio) if layout.flip else (ratio,))
        ]
        pairs = [(scale, 1.0)] if layout.square == "first" else []
        pairs += extra if layout.extra_square == "second" else []
        pairs += [(scale, ratio) for ratio in ratios]
        pairs += extra if layout.extra_square == "last" else []
    height, width = layout.image_size
    shorter = min(height, width)
    across, down = {
        "image": (1.0, 1.0),
        "shorter side": (width / shorter, height / shorter),
        "pixels": (float(width), float(height)),
    }[layout.unit]
    return [(side * sqrt(ratio) / across, side / sqrt(ratio) / down) for side, ratio in pairs]


def make_anchors(layout: AnchorLayout, dtype: DTypeLike = np.float32) -> NDArray[np.floating[Any]]:
    """Make all anchors of a layout, by default in the order level, row, column, shape.

    The centre of cell (i, j) is ((j + offset) / columns, (i + offset) / rows). A layout with
    `steps` places it (j + offset) and (i + offset) steps from the image's corner instead. Anchors
    may extend beyond the image. They are computed in float64 and rounded once.

    Args:
        layout: The layout.
        dtype: Float dtype of the result.

    Returns:
        (A, 4) cxcywh, relative to the image.

    Raises:
        TypeError: `dtype` is not a float dtype.

    Example:
        A map of one cell, with squares of side 0.5 and s' = sqrt(0.5 * 0.98) = 0.7.

        >>> make_anchors(AnchorLayout("one", (8, 8), ((1, 1),), (0.5, 0.98), ((),)))
        array([[0.5, 0.5, 0.5, 0.5],
               [0.5, 0.5, 0.7, 0.7]], dtype=float32)
    """
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"dtype: expected a float dtype. Received: {np.dtype(dtype)}")
    levels = []
    height, width = layout.image_size
    for level, (rows, columns) in enumerate(layout.feature_maps):
        shapes = np.array(level_shapes(layout, level))
        cx, cy = np.arange(columns) + layout.offset, np.arange(rows) + layout.offset
        if layout.steps:
            cx, cy = cx * layout.steps[level] / width, cy * layout.steps[level] / height
        else:
            cx, cy = cx / columns, cy / rows
        grid = np.empty((rows, columns, len(shapes), 4))
        grid[..., 0] = cx[None, :, None]
        grid[..., 1] = cy[:, None, None]
        grid[..., 2:] = shapes
        if layout.order == "shape":
            grid = grid.transpose(2, 0, 1, 3)
        levels.append(grid.reshape(-1, 4))
    anchors: NDArray[np.floating[Any]] = np.concatenate(levels)
    if layout.clip == "corners":
        anchors = xyxy_to_cxcywh(clip(cxcywh_to_xyxy(anchors)))
    elif layout.clip == "centers":
        anchors = np.clip(anchors, 0, 1)
    elif layout.clip == "sizes":
        anchors[:, 2:] = np.clip(anchors[:, 2:], 0, 1)
    return anchors.astype(dtype)
