"""Default boxes: mirrors `reference_numpy.anchors`, written as the loops the paper implies.

Anchors are constants of a model, made once on the host in double precision.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from reference_numpy.conventions import AnchorLayout

__all__ = ["level_shapes", "linear_scales", "make_anchors"]


def linear_scales(levels: int, smallest: float = 0.2, largest: float = 0.9) -> tuple[float, ...]:
    """m + 1 scales in equal steps from s_min to one step beyond s_max (section 2.2, equation 4).

    Example:
        >>> [round(scale, 2) for scale in linear_scales(6)]
        [0.2, 0.34, 0.48, 0.62, 0.76, 0.9, 1.04]
    """
    if levels < 2:
        raise ValueError(f"levels: expected at least 2. Received: {levels}")
    if not 0 < smallest < largest:
        raise ValueError(
            f"smallest, largest: expected 0 < smallest < largest. Received: {smallest}, {largest}"
        )
    scales = []
    for k in range(levels + 1):
        scales.append(smallest + (largest - smallest) * k / (levels - 1))
    return tuple(scales)


def level_shapes(layout: AnchorLayout, level: int) -> list[tuple[float, float]]:
    """(w, h) of each shape of one feature map: 1, s', then the ratios; relative to the picture.

    Example:
        >>> from reference_numpy.conventions import DIGITS224
        >>> [(round(w, 3), round(h, 3)) for w, h in level_shapes(DIGITS224, 0)]
        [(0.1, 0.1), (0.125, 0.125), (0.16, 0.16)]
    """
    if not 0 <= level < len(layout.feature_maps):
        raise ValueError(
            f"level: expected 0 to {len(layout.feature_maps) - 1} in {layout.name}. "
            f"Received: {level}"
        )
    scale = layout.scales[level]
    if level == 0 and layout.lowest_shapes:
        return [(size * sqrt(ratio), size / sqrt(ratio)) for size, ratio in layout.lowest_shapes]
    between = sqrt(scale * layout.scales[level + 1])
    shapes = [(scale, scale), (between, between)]
    for ratio in layout.aspect_ratios[level]:
        shapes.append((scale * sqrt(ratio), scale / sqrt(ratio)))
    return shapes


def make_anchors(layout: AnchorLayout, dtype: str = "float32") -> np.ndarray[Any, Any]:
    """(A, 4) anchors in centre form, in the order level, row, column, shape.

    Args:
        layout: The layout.
        dtype: Name of a float dtype; the numbers are made in float64 and rounded once.

    Returns:
        A NumPy array, which a model keeps as a constant.

    Example:
        >>> from reference_numpy.conventions import SSD300
        >>> make_anchors(SSD300).shape
        (8732, 4)
    """
    anchors: list[tuple[float, ...]] = []
    for level, (rows, columns) in enumerate(layout.feature_maps):
        shapes = level_shapes(layout, level)
        for row in range(rows):
            for column in range(columns):
                center = ((column + 0.5) / columns, (row + 0.5) / rows)
                anchors.extend((*center, *shape) for shape in shapes)
    return np.array(anchors).astype(dtype)
