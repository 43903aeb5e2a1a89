"""Find the lattices among anchors: those of one shape on one feature map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_impl._common.arrays import Array

__all__ = ["find_lattices"]


def find_lattices(
    anchors: Array, corners: Array, areas: Array, offset: Any
) -> tuple[Array, Array, Array]:
    """Find the lattices of anchors; one that fits into none is a lattice by itself.

    Args:
        anchors: (A, 4) cxcywh.
        corners: (A, 4) xyxy.
        areas: (A,).
        offset: Added to widths and heights, as in these areas.

    Returns:
        (P, 6) whole and (P, 7) other numbers of each lattice, as `kernels` says, and (2, ...) the
        low and high corners of their columns and rows.
    """
    wholes, sizes, lines, place = [], [], [np.empty((2, 0), anchors.dtype)], 0
    for run, columns in _lattices(anchors):
        x, y = run[:columns], run[::columns]
        wholes.append((run[0], run[1] - run[0] if len(run) > 1 else 1, columns, len(y), place))
        place += columns + len(y)
        steps = [
            (len(line) - 1) / (float(anchors[line[-1], axis] - anchors[line[0], axis]) or 1.0)
            for axis, line in enumerate((x, y))
        ]
        sides = (corners[run, 2:] - corners[run, :2]).max(axis=0) + offset
        sizes.append((*anchors[run[0], :2], *steps, *sides, areas[run].min()))
        lines += [corners[x][:, [0, 2]].T, corners[y][:, [1, 3]].T]
    whole = np.array(wholes, np.int64).reshape(-1, 5)
    return (
        np.concatenate([whole, whole[:, 4:] + whole[:, 2:3]], axis=1),
        np.array(sizes, anchors.dtype).reshape(-1, 7),
        np.concatenate(lines, axis=1),
    )


def _lattices(anchors: Array) -> Iterator[tuple[Array, int]]:
    """Yield the indices of each lattice, row by row, and its number of columns."""
    for run in _runs(anchors):
        x, y = anchors[run, 0], anchors[run, 1]
        columns = int(np.argmax(y != y[:1])) or len(run)
        if len(run) % columns == 0:
            x, y = x.reshape(-1, columns), y.reshape(-1, columns)
            if (x == x[:1]).all() and (y == y[:, :1]).all() and _even(x[0]) and _even(y[:, 0]):
                yield run, columns
                continue
        for one in run:
            yield np.array([one]), 1


def _runs(anchors: Array) -> Iterator[Array]:
    """Yield the indices of anchors of one shape, as far as they go in equal steps."""
    _, shape = np.unique(anchors[:, 2:], axis=0, return_inverse=True)
    shape = shape.reshape(-1)
    order = np.argsort(shape, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(shape[order])) + 1):
        steps = np.diff(group)
        changes, start = [*(np.flatnonzero(np.diff(steps)) + 1), len(steps)], 0
        while start < len(group):
            place = int(np.searchsorted(changes, start, side="right"))
            end = changes[place] if place < len(changes) else start
            yield group[start : end + 1]
            start = end + 1


def _even(centers: Array) -> bool:
    """Whether centres ascend in equal steps, as far as rounding lets them."""
    fine = np.linspace(centers[0], centers[-1], len(centers), dtype=np.float64)
    eps = np.finfo(centers.dtype).eps
    near = np.abs(centers - fine) <= 2 * eps * max(1.0, np.abs(centers).max())
    return bool(near.all() and (np.diff(centers) > 0).all())
