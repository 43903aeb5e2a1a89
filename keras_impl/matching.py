"""Matching of a batch on any Keras backend: mirrors `reference_numpy.matching`.

The reference looks at a whole objects × anchors matrix. Here one row (an object of every
picture against all anchors) exists at a time, so memory is batch × anchors.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_impl.boxes import centers_to_corners, iou
from keras_impl.ties import first_argmax

__all__ = ["bipartite", "match"]

Tensor = Any
UNMATCHED = -1


def match(boxes: Tensor, valid: Tensor, anchors: Tensor, threshold: float = 0.5) -> Tensor:
    """Give each anchor the object it is responsible for, or none (arXiv:1512.02325, section 2.2).

    First `bipartite`; then every anchor still free takes the object it overlaps most, if that
    IoU ≥ `threshold` (ties: the lowest object).

    Args:
        boxes: (B, M, 4) corner form, padded to M objects a picture; M may be 0.
        valid: (B, M) True for an object, False for padding, which is never matched.
        anchors: (A, 4) centre form.
        threshold: Least IoU of the second step, in (0, 1].

    Returns:
        (B, A) int32 index of the object, or -1 for background.

    Example:
        >>> anchors = ops.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> objects = match(ops.array([[[0.5, 0.5, 1.0, 1.0]]]), ops.array([[True]]), anchors)
        >>> ops.convert_to_numpy(objects)
        array([[-1,  0]], dtype=int32)
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a number in (0, 1]. Received: {threshold}")
    batch, objects = ops.shape(boxes)[0], boxes.shape[1]
    count = anchors.shape[0]
    nothing = ops.full((batch, count), UNMATCHED, dtype="int32")
    if objects == 0:
        return nothing
    corners = centers_to_corners(anchors)
    numbers = ops.arange(objects, dtype="int32")

    def scan(index: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        best, best_object, height, peak = state
        row = _row(boxes, valid, corners, ops.broadcast_to(index, (batch,)))
        better = ops.greater(row, best)  # strictly: the lowest object keeps a tie
        value, anchor = first_argmax(row)
        here = ops.equal(numbers, index)
        return (
            ops.where(better, row, best),
            ops.where(better, ops.cast(index, "int32"), best_object),
            ops.where(here, value[:, None], height),
            ops.where(here, anchor[:, None], peak),
        )

    start = (
        ops.full((batch, count), -1, dtype=boxes.dtype),
        nothing,
        ops.full((batch, objects), -1, dtype=boxes.dtype),
        ops.full((batch, objects), UNMATCHED, dtype="int32"),
    )
    best, best_object, height, peak = ops.fori_loop(0, objects, scan, start)
    forced = bipartite(boxes, valid, corners, height, peak)
    free = ops.where(ops.greater_equal(best, ops.cast(threshold, best.dtype)), best_object, nothing)
    return ops.where(ops.greater_equal(forced, 0), forced, free)


def bipartite(
    boxes: Tensor, valid: Tensor, corners: Tensor, height: Tensor, peak: Tensor
) -> Tensor:
    """Give each object an anchor of its own: the largest IoU of all first.

    Each object's best overlap only falls while anchors are taken, so what was its best is a
    bound. The object with the largest bound gets its anchor if that is still free, and else a
    new bound over the anchors that are. All pictures of the batch take such a step together.

    Args:
        boxes: (B, M, 4) corner form.
        valid: (B, M) True for an object.
        corners: (A, 4) anchors in corner form.
        height: (B, M) largest IoU of each object, -1 for padding.
        peak: (B, M) int32 lowest anchor that has it.

    Returns:
        (B, A) int32 object that took the anchor, or -1.
    """
    batch, objects = ops.shape(boxes)[0], boxes.shape[1]
    numbers = ops.arange(objects, dtype="int32")
    positions = ops.arange(corners.shape[0], dtype="int32")

    def unfinished(taken: Tensor, height: Tensor, peak: Tensor) -> Tensor:
        return ops.any(ops.greater(height, 0))

    def step(taken: Tensor, height: Tensor, peak: Tensor) -> tuple[Tensor, ...]:
        value, chosen = first_argmax(height)
        anchor = ops.take_along_axis(peak, chosen[:, None], axis=1)
        overlaps = ops.greater(value, 0)[:, None]
        is_free = ops.less(ops.take_along_axis(taken, ops.maximum(anchor, 0), axis=1), 0)
        takes = ops.logical_and(overlaps, is_free)
        stale = ops.logical_and(overlaps, ops.logical_not(is_free))

        def look_again() -> tuple[Tensor, Tensor]:
            row = _row(boxes, valid, corners, chosen)
            return first_argmax(ops.where(ops.less(taken, 0), row, ops.full_like(row, -1)))

        new_height, new_peak = ops.cond(
            ops.any(stale), look_again, lambda: (ops.zeros_like(value), ops.zeros_like(chosen))
        )
        is_chosen = ops.equal(numbers, chosen[:, None])
        here = ops.logical_and(takes, ops.equal(positions, anchor))
        done = ops.logical_and(is_chosen, takes)
        again = ops.logical_and(is_chosen, stale)
        return (
            ops.where(here, chosen[:, None], taken),
            ops.where(again, new_height[:, None], ops.where(done, -1, height)),
            ops.where(again, new_peak[:, None], peak),
        )

    nothing = ops.full((batch, corners.shape[0]), UNMATCHED, dtype="int32")
    # An object looks again at most once for each object that took an anchor before it.
    bound = objects * (objects + 1)
    taken, _, _ = ops.while_loop(
        unfinished, step, (nothing, height, peak), maximum_iterations=bound
    )
    return taken


def _row(boxes: Tensor, valid: Tensor, corners: Tensor, index: Tensor) -> Tensor:
    """IoU of one object of each picture, `index` (B,), with all anchors: (B, A), -1 for padding."""
    box = ops.take_along_axis(boxes, index[:, None, None], axis=1)
    is_object = ops.take_along_axis(valid, index[:, None], axis=1)
    overlap = iou(box, corners[None])
    return ops.where(is_object, overlap, ops.full_like(overlap, -1))
