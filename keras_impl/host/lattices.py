"""Find the lattices among anchors: those of one shape on one feature map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.host.kernels import Grid

__all__ = ["find_lattices"]


def find_lattices(anchors: Array, offset: float, variances: tuple[float, ...]) -> Grid:
    """Find the lattices of anchors; an anchor that fits into none is a lattice by itself.

    Args:
        anchors: (A, 4) cxcywh, float32 or float64.
        offset: Added to widths and heights.
        variances: Of the codes.
    """
    number, half = anchors.dtype.type, anchors[:, 2:] * anchors.dtype.type(0.5)
    corners = np.concatenate([anchors[:, :2] - half, anchors[:, :2] + half], axis=1)
    sides = (corners[:, 2:] - corners[:, :2]) + number(offset)
    areas, place, line = np.prod(np.maximum(sides, 0), axis=1), 0, 0
    order, whole, sizes, lines = [np.empty(0, int)], [], [], [np.empty((2, 0), number)]
    for run, columns in _lattices(anchors):
        row, column = run[:columns], run[::columns]
        whole.append((place, columns, len(column), line))
        steps = [
            (len(one) - 1) / (float(anchors[one[-1], axis] - anchors[one[0], axis]) or 1.0)
            for axis, one in enumerate((row, column))
        ]
        sizes.append((*anchors[run[0], :2], *steps, *sides[run].max(axis=0), areas[run].min()))
        lines += [corners[row][:, [0, 2]].T, corners[column][:, [1, 3]].T]
        order.append(run)
        place, line = place + len(run), line + columns + len(column)
    places, units = np.concatenate(order), (1 / np.array(variances)).astype(number)
    lattices = np.array(whole, np.int64).reshape(-1, 4), np.array(sizes, number).reshape(-1, 7)
    rest = places.astype(np.int32), areas[places], *lattices, np.concatenate(lines, axis=1)
    return Grid(np.ascontiguousarray(anchors), corners, units, *rest)


def _lattices(anchors: Array) -> Iterator[tuple[Array, int]]:
    """Yield the indices of each lattice, row by row, and its number of columns."""
    shapes = np.unique(anchors[:, 2:], axis=0, return_inverse=True)[1].reshape(-1)
    order = np.lexsort((anchors[:, 0], anchors[:, 1], shapes))
    runs = np.split(order, np.flatnonzero(np.diff(shapes[order])) + 1)
    for run in runs if len(order) else ():
        centers = anchors[run, :2]
        columns = int(np.argmax(centers[:, 1] != centers[:1, 1])) or len(run)
        if len(run) % columns == 0:
            x, y = centers.reshape(-1, columns, 2).transpose(2, 0, 1)
            if (x == x[0]).all() and (y == y[:, :1]).all() and _even(x[0]) and _even(y[:, 0]):
                yield run, columns
                continue
        yield from ((np.array([one]), 1) for one in run)


def _even(centers: Array) -> bool:
    """Whether centres ascend in equal steps, as far as rounding lets them."""
    even = np.linspace(centers[0], centers[-1], len(centers), dtype=np.float64)
    error = 2 * np.finfo(centers.dtype).eps * max(1.0, np.abs(centers).max())
    return bool((np.abs(centers - even) <= error).all() and (np.diff(centers) > 0).all())
