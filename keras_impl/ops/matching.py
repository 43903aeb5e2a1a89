"""Matching for a batch on any Keras backend: mirrors `reference_numpy.matching`.

The reference computes the whole objects × anchors IoU matrix. Here only a few of its rows exist at
a time, each with one object of every image and all anchors, so memory is batch × anchors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from keras_impl._common.arrays import Tensor
from keras_impl.ops.boxes import Columns, _columns, _iou_of_columns, _to_xyxy
from keras_impl.ops.checks import as_flags, as_floats, as_whole
from keras_impl.ops.ties import first_argmax
from reference_numpy.conventions import CANONICAL, IGNORED, UNMATCHED, Convention, Matching

__all__ = ["bipartite", "match"]

TOGETHER = 4  # objects per loop step, which a compiler may fuse into one pass over the anchors
NOWHERE = -1e4  # coordinates of padding boxes: a point that overlaps no anchor


def match(
    boxes: Tensor,
    valid: Tensor,
    anchors: Tensor,
    convention: Convention = CANONICAL,
    **overrides: Any,
) -> Tensor:
    """Match each anchor to an object, or to none (arXiv:1512.02325, section 2.2).

    First objects are forced on anchors whatever the threshold, by default with `bipartite`. Then
    every other anchor takes the object with which it has the largest IoU (ties: the lowest object),
    if that IoU reaches the threshold.

    Unlike the reference, this function takes boxes and anchors, not an IoU matrix.

    Args:
        boxes: (B, M, 4) xyxy, padded to M objects an image; M may be 0.
        valid: (B, M) True for an object, False for padding, which is never matched.
        anchors: (A, 4) cxcywh.
        convention: Its `Matching` and `Overlap` parts are used.
        overrides: Overrides of single fields.

    Returns:
        (B, A) int32 index of each anchor's object, -1 for background, -2 for ignored. A box that is
        not finite counts as padding. A box without area overlaps nothing.

    Raises:
        ValueError: Shapes do not fit, or the threshold is 0 in the dtype of `boxes`.
        TypeError: Boxes or anchors are not floats, or `valid` is not booleans.

    Example:
        >>> anchors = ops.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> objects = match(ops.array([[[0.5, 0.5, 1.0, 1.0]]]), ops.array([[True]]), anchors)
        >>> ops.convert_to_numpy(objects)
        array([[-1,  0]], dtype=int32)
    """
    convention = convention.replace(**overrides)
    boxes, valid, anchors = _checked(boxes, valid, anchors)
    _check_threshold(convention.matching, boxes)
    return _match(boxes, valid, anchors, convention)


def _check_threshold(rules: Matching, boxes: Tensor) -> None:
    """Check that the threshold does not round to 0 in the dtype of the comparison."""
    if np.dtype(standardize_dtype(boxes.dtype)).type(rules.threshold) == 0:
        raise ValueError(f"threshold: expected a number in (0, 1]. Received: {rules.threshold}")


def _match(boxes: Tensor, valid: Tensor, anchors: Tensor, convention: Convention) -> Tensor:
    rules = convention.matching
    batch, objects = ops.shape(boxes)[0], boxes.shape[1]
    count = anchors.shape[0]
    nothing = ops.full((batch, count), UNMATCHED, dtype="int32")
    if objects == 0 or count == 0:
        return nothing
    # Slicing the columns here, not in the loop, makes them contiguous in memory.
    corners = _corners(anchors, convention)
    together = min(TOGETHER, objects)
    steps = -(-objects // together)
    padding = steps * together - objects
    valid = ops.logical_and(valid, ops.all(ops.isfinite(boxes), axis=-1))
    rows = _rows(boxes, valid, convention)
    if padding:
        # Fill up with copies of the last object: their IoU is never strictly better.
        rows = Columns(*(ops.concatenate([one, *[one[:, -1:]] * padding], axis=1) for one in rows))
    numbers = ops.arange(objects, dtype="int32")
    forces = rules.force != "none"

    def scan(step: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        best, best_object, best_iou, best_anchor = state
        for place in range(together):
            index = step * together + place
            row = _row(rows, corners, index, convention)
            better = ops.greater(row, best)  # strictly greater, so the lowest object wins ties
            best = ops.where(better, row, best)
            best_object = ops.where(better, ops.cast(index, "int32"), best_object)
            if forces:
                value, at = first_argmax(row)
                here = ops.equal(numbers, ops.cast(index, "int32"))
                best_iou = ops.where(here, value[:, None], best_iou)
                best_anchor = ops.where(here, at[:, None], best_anchor)
        return best, best_object, best_iou, best_anchor

    start = (
        ops.full((batch, count), -1, dtype=boxes.dtype),
        nothing,
        ops.full((batch, objects), -1, dtype=boxes.dtype),
        ops.full((batch, objects), UNMATCHED, dtype="int32"),
    )
    best, best_object, best_iou, best_anchor = ops.fori_loop(0, steps, scan, start)
    threshold = ops.convert_to_tensor(rules.threshold, dtype=best.dtype)
    at = ops.greater_equal if rules.positive_at == ">=" else ops.greater
    free = nothing
    if rules.ignore_from is not None:
        near = ops.greater_equal(best, ops.convert_to_tensor(rules.ignore_from, dtype=best.dtype))
        near = ops.logical_and(near, ops.any(valid, axis=1, keepdims=True))
        free = ops.where(near, ops.full_like(nothing, IGNORED), nothing)
    free = ops.where(at(best, threshold), best_object, free)
    if not forces:
        return free
    best_iou = ops.where(valid, best_iou, -1)  # Padding is never above a limit.
    if rules.force == "bipartite":
        anchor = _bipartite(rows, corners, best_iou, best_anchor, convention)
    else:
        wants = ops.greater(
            best_iou, ops.convert_to_tensor(rules.force_above, dtype=best_iou.dtype)
        )
        anchor = _one_each(ops.where(wants, best_anchor, UNMATCHED), rules.force)
    forced = _by_anchor(anchor, count)
    return ops.where(ops.greater_equal(forced, 0), forced, free)


def _one_each(anchor: Tensor, force: str) -> Tensor:
    """Keep the anchor of each object, (B, M), or -1 where a later (earlier) object has the same."""
    objects = anchor.shape[1]
    numbers = ops.arange(objects, dtype="int32")

    def look(index: Tensor, kept: Tensor) -> Tensor:
        index = ops.cast(index, "int32")
        same = ops.equal(anchor, ops.take(anchor, index, axis=1)[:, None])
        beaten = ops.less(numbers, index) if force == "last" else ops.greater(numbers, index)
        return ops.where(ops.logical_and(same, beaten), UNMATCHED, kept)

    return ops.fori_loop(0, objects, look, anchor)


def _by_anchor(anchor: Tensor, count: int) -> Tensor:
    """Invert (B, M) anchors of objects to (B, A) objects of anchors; -1 is none.

    No anchor may occur twice in an image.
    """
    batch, objects = ops.shape(anchor)[0], anchor.shape[1]
    images = ops.arange(batch, dtype="int32")[:, None] + ops.zeros_like(anchor)
    # Objects without an anchor are written to an extra column, which is then cut off.
    columns = ops.where(ops.less(anchor, 0), count, anchor)
    indices = ops.reshape(ops.stack([images, columns], axis=-1), (-1, 2))
    values = ops.arange(1, objects + 1, dtype="int32") + ops.zeros_like(anchor)
    found = ops.scatter(indices, ops.reshape(values, (-1,)), (batch, count + 1))
    return found[:, :count] - 1


def bipartite(
    boxes: Tensor,
    valid: Tensor,
    anchors: Tensor,
    best_iou: Tensor,
    best_anchor: Tensor,
    convention: Convention = CANONICAL,
    **overrides: Any,
) -> Tensor:
    """Match each object to an anchor of its own, the largest IoU first.

    The reference searches the whole IoU matrix at each step. Here each object starts with its best
    anchor. As anchors are taken, its best IoU with a free anchor can only fall, so the last known
    IoU is an upper bound. At each step, the object with the largest bound takes its anchor if that
    is still free. Otherwise its best free anchor is computed again. All images of the batch take
    each step together.

    Args:
        boxes: (B, M, 4) xyxy.
        valid: (B, M) True for an object.
        anchors: (A, 4) cxcywh.
        best_iou: (B, M) largest IoU of each object; -1 (or NaN) for padding.
        best_anchor: (B, M) int32, lowest anchor with that IoU.
        convention: Its `Overlap` part is used, and `force_above` of its `Matching` part: a pair
            with this IoU or less is never matched.
        overrides: Overrides of single fields.

    Returns:
        (B, M) int32 index of each object's anchor, or -1.

    Raises:
        ValueError, TypeError: As in `match`.
    """
    convention = convention.replace(**overrides)
    boxes, valid, anchors = _checked(boxes, valid, anchors)
    best_iou = as_floats(best_iou, "best_iou", *tuple(valid.shape))
    best_anchor = as_whole(best_anchor, "best_anchor", *tuple(valid.shape))
    rows = _rows(boxes, valid, convention)
    return _bipartite(rows, _corners(anchors, convention), best_iou, best_anchor, convention)


def _bipartite(
    rows: Columns,
    corners: Columns,
    best_iou: Tensor,
    best_anchor: Tensor,
    convention: Convention,
) -> Tensor:
    best_iou = ops.where(ops.isnan(best_iou), ops.full_like(best_iou, -1), best_iou)
    least = ops.convert_to_tensor(convention.matching.force_above, dtype=best_iou.dtype)
    objects, count = best_iou.shape[1], corners.left.shape[1]
    numbers = ops.arange(objects, dtype="int32")

    def unfinished(taken: Tensor, best_iou: Tensor, best_anchor: Tensor) -> Tensor:
        return ops.any(ops.greater(best_iou, least))

    def step(taken: Tensor, best_iou: Tensor, best_anchor: Tensor) -> tuple[Tensor, ...]:
        value, chosen = first_argmax(best_iou)
        anchor = ops.take_along_axis(best_anchor, chosen[:, None], axis=1)
        overlaps = ops.greater(value, least)
        gone = ops.any(ops.equal(taken, anchor), axis=1)
        takes = ops.logical_and(overlaps, ops.logical_not(gone))
        stale = ops.logical_and(overlaps, gone)

        def look_again() -> tuple[Tensor, Tensor]:
            row = _row(rows, corners, chosen, convention)
            free = ops.less(_by_anchor(taken, count), 0)
            return first_argmax(ops.where(free, row, ops.full_like(row, -1)))

        new_iou, new_anchor = ops.cond(
            ops.any(stale), look_again, lambda: (ops.zeros_like(value), ops.zeros_like(chosen))
        )
        is_chosen = ops.equal(numbers, chosen[:, None])
        done = ops.logical_and(is_chosen, takes[:, None])
        again = ops.logical_and(is_chosen, stale[:, None])
        return (
            ops.where(done, anchor, taken),
            ops.where(again, new_iou[:, None], ops.where(done, -1, best_iou)),
            ops.where(again, new_anchor[:, None], best_anchor),
        )

    # An object's best anchor is recomputed at most once for each object that took one before it.
    bound = objects * (objects + 1)
    taken, _, _ = ops.while_loop(
        unfinished,
        step,
        (ops.full_like(best_anchor, UNMATCHED), best_iou, best_anchor),
        maximum_iterations=bound,
    )
    return taken


def _checked(boxes: Tensor, valid: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    boxes = as_floats(boxes, "boxes", "B", "M", 4)
    valid = as_flags(valid, "valid", *tuple(boxes.shape)[:2])
    return boxes, valid, as_floats(anchors, "anchors", "A", 4)


def _corners(anchors: Tensor, convention: Convention) -> Columns:
    """Return the anchors as (1, A) columns."""
    return Columns(*(one[None] for one in _columns(_to_xyxy(anchors), convention.overlap)))


def _rows(boxes: Tensor, valid: Tensor, convention: Convention) -> Columns:
    """Return the objects as (B, M) columns; padding overlaps nothing."""
    return _columns(ops.where(valid[..., None], boxes, NOWHERE), convention.overlap)


def _row(rows: Columns, corners: Columns, index: Tensor, convention: Convention) -> Tensor:
    """Compute the (B, A) IoU of one object of each image with all anchors; 0 for padding.

    Args:
        rows: (B, M) objects.
        corners: (1, A) anchors.
        index: Index of the object: one for all images, or (B,).
        convention: Its `Overlap` part is used.
    """

    def of(values: Tensor) -> Tensor:
        if ops.ndim(index) == 0:
            return ops.take(values, index, axis=1)[:, None]
        return ops.take_along_axis(values, index[:, None], axis=1)

    return _iou_of_columns(Columns(*map(of, rows)), corners, convention.overlap)
