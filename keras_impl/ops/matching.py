"""Matching of a batch on any Keras backend: mirrors `reference_numpy.matching`.

The reference looks at a whole objects × anchors matrix. Here a few rows of it (an object of every
image against all anchors) exist at a time, so memory is batch × anchors.
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

TOGETHER = 4  # objects whose rows a compiler may turn into one pass over the best so far
NOWHERE = -1e4  # where padding lies, a point that overlaps no anchor


def match(
    boxes: Tensor,
    valid: Tensor,
    anchors: Tensor,
    convention: Convention = CANONICAL,
    **overrides: Any,
) -> Tensor:
    """Give each anchor the object it is responsible for, or none (arXiv:1512.02325, section 2.2).

    First objects are forced on anchors, canonically by `bipartite`; then every anchor still
    free takes the object it overlaps most (ties: the lowest object), if that IoU reaches the
    threshold.

    Args:
        boxes: (B, M, 4) xyxy, padded to M objects an image; M may be 0.
        valid: (B, M) True for an object, False for padding, which is never matched.
        anchors: (A, 4) cxcywh.
        convention: Its `Matching` holds the rules, its `Overlap` what IoU is.
        overrides: Overrides of single fields.

    Returns:
        (B, A) int32 index of the object, -1 for background, -2 for what is ignored. A box that is
        not finite counts as padding; one without area overlaps nothing.

    Raises:
        ValueError: Shapes that do not fit, a threshold that is 0 in the dtype of `boxes`.
        TypeError: Boxes or anchors that are not floats, `valid` that is not booleans.

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
    """Refuse a threshold that is 0 in the dtype in which it is compared."""
    if np.dtype(standardize_dtype(boxes.dtype)).type(rules.threshold) == 0:
        raise ValueError(f"threshold: expected a number in (0, 1]. Received: {rules.threshold}")


def _match(boxes: Tensor, valid: Tensor, anchors: Tensor, convention: Convention) -> Tensor:
    rules = convention.matching
    batch, objects = ops.shape(boxes)[0], boxes.shape[1]
    count = anchors.shape[0]
    nothing = ops.full((batch, count), UNMATCHED, dtype="int32")
    if objects == 0 or count == 0:
        return nothing
    # Slices made here, not in the loop, are memory of their own, one number after the other.
    corners = _corners(anchors, convention)
    together = min(TOGETHER, objects)
    steps = -(-objects // together)
    padding = steps * together - objects
    valid = ops.logical_and(valid, ops.all(ops.isfinite(boxes), axis=-1))
    rows = _rows(boxes, valid, convention)
    if padding:
        # The last object again, which betters itself nowhere.
        rows = Columns(*(ops.concatenate([one, *[one[:, -1:]] * padding], axis=1) for one in rows))
    numbers = ops.arange(objects, dtype="int32")
    forces = rules.force != "none"

    def scan(step: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        best, best_object, best_iou, best_anchor = state
        for place in range(together):
            index = step * together + place
            row = _row(rows, corners, index, convention)
            better = ops.greater(row, best)  # strictly: the lowest object keeps a tie
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
    best_iou = ops.where(valid, best_iou, -1)  # above no limit
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
    """(B, M) anchor of each object, -1 if a later one (or an earlier one) wants the same."""
    objects = anchor.shape[1]
    numbers = ops.arange(objects, dtype="int32")

    def look(index: Tensor, kept: Tensor) -> Tensor:
        index = ops.cast(index, "int32")
        same = ops.equal(anchor, ops.take(anchor, index, axis=1)[:, None])
        beaten = ops.less(numbers, index) if force == "last" else ops.greater(numbers, index)
        return ops.where(ops.logical_and(same, beaten), UNMATCHED, kept)

    return ops.fori_loop(0, objects, look, anchor)


def _by_anchor(anchor: Tensor, count: int) -> Tensor:
    """(B, M) anchor of each object or -1, no anchor twice → (B, A) object of each anchor or -1."""
    batch, objects = ops.shape(anchor)[0], anchor.shape[1]
    images = ops.arange(batch, dtype="int32")[:, None] + ops.zeros_like(anchor)
    # What is no anchor goes into a column of its own, which is cut off.
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
    """Give each object an anchor of its own: the largest IoU of all first.

    Each object's best overlap only falls while anchors are taken, so what was its best is a
    bound. The object with the largest bound gets its anchor if that is still free, and else a
    new bound over the anchors that are. All images of the batch take such a step together.

    Args:
        boxes: (B, M, 4) xyxy.
        valid: (B, M) True for an object.
        anchors: (A, 4) cxcywh.
        best_iou: (B, M) largest IoU of each object, -1 (or NaN) for padding.
        best_anchor: (B, M) int32 lowest anchor that has it.
        convention: Its `Matching` says above which IoU a pair is made.
        overrides: Overrides of single fields.

    Returns:
        (B, M) int32 anchor of each object, or -1.

    Raises:
        ValueError, TypeError: As `match`.
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

    # An object looks again at most once for each object that took an anchor before it.
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
    """(1, A) anchors."""
    return Columns(*(one[None] for one in _columns(_to_xyxy(anchors), convention.overlap)))


def _rows(boxes: Tensor, valid: Tensor, convention: Convention) -> Columns:
    """(B, M) objects; padding overlaps nothing."""
    return _columns(ops.where(valid[..., None], boxes, NOWHERE), convention.overlap)


def _row(rows: Columns, corners: Columns, index: Tensor, convention: Convention) -> Tensor:
    """(B, A) IoU of one object of each image with all anchors, 0 for padding.

    Args:
        rows: (B, M) objects.
        corners: (1, A) anchors.
        index: Which object, one for all images or (B,).
        convention: Its `Overlap`.
    """

    def of(values: Tensor) -> Tensor:
        if ops.ndim(index) == 0:
            return ops.take(values, index, axis=1)[:, None]
        return ops.take_along_axis(values, index[:, None], axis=1)

    return _iou_of_columns(Columns(*map(of, rows)), corners, convention.overlap)
