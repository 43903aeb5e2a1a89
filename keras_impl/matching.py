"""Matching of a batch on any Keras backend: mirrors `reference_numpy.matching`.

The reference looks at a whole objects × anchors matrix. Here one row (an object of every
picture against all anchors) exists at a time, so memory is batch × anchors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from keras_impl.boxes import centers_to_corners, iou
from keras_impl.ties import first_argmax
from reference_numpy.conventions import CANONICAL, Convention

__all__ = ["IGNORED", "UNMATCHED", "bipartite", "match"]

Tensor = Any
UNMATCHED = -1
IGNORED = -2


def match(
    boxes: Tensor,
    valid: Tensor,
    anchors: Tensor,
    convention: Convention = CANONICAL,
    **changes: Any,
) -> Tensor:
    """Give each anchor the object it is responsible for, or none (arXiv:1512.02325, section 2.2).

    First objects are forced on anchors, canonically by `bipartite`; then every anchor still
    free takes the object it overlaps most (ties: the lowest object), if that IoU reaches the
    threshold.

    Args:
        boxes: (B, M, 4) corner form, padded to M objects a picture; M may be 0.
        valid: (B, M) True for an object, False for padding, which is never matched.
        anchors: (A, 4) centre form.
        convention: Its `Matching` holds the rules, its `Overlap` what IoU is.
        changes: Fields of it to answer otherwise.

    Returns:
        (B, A) int32 index of the object, -1 for background, -2 for what is ignored.

    Raises:
        ValueError: A threshold that is 0 in the dtype of `boxes`.

    Example:
        >>> anchors = ops.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> objects = match(ops.array([[[0.5, 0.5, 1.0, 1.0]]]), ops.array([[True]]), anchors)
        >>> ops.convert_to_numpy(objects)
        array([[-1,  0]], dtype=int32)
    """
    convention = convention.but(**changes)
    rules = convention.matching
    if np.dtype(standardize_dtype(boxes.dtype)).type(rules.threshold) == 0:
        raise ValueError(f"threshold: expected a number in (0, 1]. Received: {rules.threshold}")
    batch, objects = ops.shape(boxes)[0], boxes.shape[1]
    count = anchors.shape[0]
    nothing = ops.full((batch, count), UNMATCHED, dtype="int32")
    if objects == 0 or count == 0:
        return nothing
    corners = centers_to_corners(anchors)
    numbers = ops.arange(objects, dtype="int32")

    def scan(index: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        best, best_object, height, peak = state
        row = _row(boxes, valid, corners, ops.broadcast_to(index, (batch,)), convention)
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
    threshold = ops.convert_to_tensor(rules.threshold, dtype=best.dtype)
    at = ops.greater_equal if rules.positive_at == ">=" else ops.greater
    free = nothing
    if rules.ignore_from is not None:
        near = ops.greater_equal(best, ops.convert_to_tensor(rules.ignore_from, dtype=best.dtype))
        free = ops.where(near, ops.full_like(nothing, IGNORED), nothing)
    free = ops.where(at(best, threshold), best_object, free)
    if rules.force == "none":
        return free
    if rules.force == "bipartite":
        forced = bipartite(boxes, valid, corners, height, peak, convention)
    else:
        # Padding has a height of -1, which is above no limit.
        wants = ops.greater(height, ops.convert_to_tensor(rules.force_above, dtype=height.dtype))
        forced = _each_its_best(ops.where(wants, peak, UNMATCHED), nothing, rules.force)
    return ops.where(ops.greater_equal(forced, 0), forced, free)


def _each_its_best(wanted: Tensor, nothing: Tensor, force: str) -> Tensor:
    """(B, A) object that gets the anchor it wants most, the last or the first of several."""
    objects = wanted.shape[1]
    positions = ops.arange(nothing.shape[1], dtype="int32")

    def write(step: Tensor, taken: Tensor) -> Tensor:
        index = step if force == "last" else objects - 1 - step
        here = ops.equal(positions, ops.take(wanted, index, axis=1)[:, None])
        return ops.where(here, ops.cast(index, "int32"), taken)

    return ops.fori_loop(0, objects, write, nothing)


def bipartite(
    boxes: Tensor,
    valid: Tensor,
    corners: Tensor,
    height: Tensor,
    peak: Tensor,
    convention: Convention = CANONICAL,
    **changes: Any,
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
        convention: Its `Matching` says above which IoU a pair is made.
        changes: Fields of it to answer otherwise.

    Returns:
        (B, A) int32 object that took the anchor, or -1.
    """
    convention = convention.but(**changes)
    least = ops.convert_to_tensor(convention.matching.force_above, dtype=boxes.dtype)
    batch, objects = ops.shape(boxes)[0], boxes.shape[1]
    numbers = ops.arange(objects, dtype="int32")
    positions = ops.arange(corners.shape[0], dtype="int32")

    def unfinished(taken: Tensor, height: Tensor, peak: Tensor) -> Tensor:
        return ops.any(ops.greater(height, least))

    def step(taken: Tensor, height: Tensor, peak: Tensor) -> tuple[Tensor, ...]:
        value, chosen = first_argmax(height)
        anchor = ops.take_along_axis(peak, chosen[:, None], axis=1)
        overlaps = ops.greater(value, least)[:, None]
        is_free = ops.less(ops.take_along_axis(taken, ops.maximum(anchor, 0), axis=1), 0)
        takes = ops.logical_and(overlaps, is_free)
        stale = ops.logical_and(overlaps, ops.logical_not(is_free))

        def look_again() -> tuple[Tensor, Tensor]:
            row = _row(boxes, valid, corners, chosen, convention)
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


def _row(
    boxes: Tensor, valid: Tensor, corners: Tensor, index: Tensor, convention: Convention
) -> Tensor:
    """IoU of one object of each picture, `index` (B,), with all anchors: (B, A), -1 for padding."""
    box = ops.take_along_axis(boxes, index[:, None, None], axis=1)
    is_object = ops.take_along_axis(valid, index[:, None], axis=1)
    overlap = iou(box, corners[None], convention)
    return ops.where(is_object, overlap, ops.full_like(overlap, -1))
