"""Hypothesis strategies for boxes, IoU matrices and scores.

What is drawn *on a grid* is a multiple of 1/8 (scores and IoU: of 1/4), so that sums, products
and differences are exact in every dtype, and ties, duplicates and thresholds met exactly are
common. What is drawn *anywhere* has full mantissas and needs a budget of rounding.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

FLOATS = [np.float32, np.float64]

Shape = int | tuple[int, ...]
Arrays = st.SearchStrategy[np.ndarray]

dtypes = st.sampled_from(FLOATS)


@cache  # a strategy is checked when it is first drawn from, which takes longer than the draw
def integers(shape: Shape, most: int) -> Arrays:
    """0 to `most` in any shape, as int8."""
    return hnp.arrays(np.int8, shape, elements=st.integers(0, most))


@cache
def numbers(shape: Shape, dtype: Any, limit: float) -> Arrays:
    """Finite numbers from -`limit` to `limit` in any shape."""
    return hnp.arrays(dtype, shape, elements=st.floats(-limit, limit, width=32))


@cache
def tied_scores(shape: Shape, dtype: Any) -> Arrays:
    """0, 1/4, 1/2, 3/4 and 1 in any shape."""
    return integers(shape, 4).map(lambda quarters: (quarters / 4).astype(dtype))


@st.composite
def grid_boxes(
    draw: st.DrawFn, dtype: Any, *, least: int = 0, most: int = 5, flat: bool = False
) -> np.ndarray:
    """(N, 4) corners from -1/4 to 9/8, `least` ≤ N ≤ `most`; with `flat`, some without area."""
    x, y, w, h = draw(integers((4, draw(st.integers(least, most))), 5))
    grow = 0 if flat else 1
    corners = np.stack([x - 2, y - 2, x - 2 + w + grow, y - 2 + h + grow], axis=1)
    return (corners / 8).astype(dtype)


@st.composite
def anywhere_boxes(draw: st.DrawFn, dtype: Any, *, least: int = 0, most: int = 5) -> np.ndarray:
    """(N, 4) corners from -0.9 to 2.8, each side from 1/1024 to 1.9 but for rounding."""
    drawn = draw(numbers((2, draw(st.integers(least, most)), 2), dtype, 1.0))
    low, size = dtype(0.9) * drawn  # what is drawn are float32 numbers; this fills float64
    size = np.abs(2 * size) + dtype(1 / 1024)
    return np.concatenate([low, low + size], axis=1)


@st.composite
def iou_matrices(draw: st.DrawFn, dtype: Any, *, objects: int = 4, anchors: int = 6) -> np.ndarray:
    """(N, A) of 0, 1/4, 1/2, 3/4 and 1, N and A from 0."""
    shape = draw(st.integers(0, objects)), draw(st.integers(0, anchors))
    return draw(tied_scores(shape, dtype))
