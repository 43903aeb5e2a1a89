"""Greedy non-maximum suppression with static shapes: mirrors `reference_numpy.nms`.

One loop serves one class and many: the surest candidate left is kept, and those of its class
that it overlaps too much are struck out. As long as suppression stays within a class, taking
the classes together in order of score keeps what taking them one by one would, and the loop
may stop once enough are kept.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_impl.boxes import iou

__all__ = ["nms"]

Tensor = Any


def nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.45,
    *,
    max_kept: int | None = None,
    classes: Tensor | None = None,
    order: Tensor | None = None,
) -> Tensor:
    """Suppress the boxes of each picture.

    Args:
        boxes: (B, N, 4) corner form.
        scores: (B, N) scores; -inf marks a slot without candidate, which is never kept.
        iou_threshold: A box is dropped at an IoU above this with a kept one of its class.
        max_kept: Slots of the answer; N if None.
        classes: (B, N) int32 class of each candidate; one class if None.
        order: (B, N) int32, distinct in each picture, which decides between equal scores, the
            lowest first; the index if None.

    Returns:
        (B, max_kept) int32 indices of the kept boxes in the order visited, -1 after the last.

    Example:
        >>> chain = ops.array([[[0.0, 0, 0.5, 1], [0.25, 0, 0.75, 1], [0.5, 0, 1, 1]]])
        >>> ops.convert_to_numpy(nms(chain, ops.array([[0.9, 0.8, 0.7]]), 0.3))
        array([[ 0,  2, -1]], dtype=int32)
    """
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold: expected a number in [0, 1]. Received: {iou_threshold}")
    batch, count = ops.shape(boxes)[0], boxes.shape[1]
    slots = count if max_kept is None else max_kept
    kept = ops.full((batch, slots), -1, dtype="int32")
    if count == 0 or slots == 0:
        return kept
    positions = ops.arange(count, dtype="int32")
    slot_numbers = ops.arange(slots, dtype="int32")
    last = 2**31 - 1
    threshold = ops.cast(iou_threshold, boxes.dtype)

    def unfinished(step: Tensor, waiting: Tensor, kept: Tensor) -> Tensor:
        return ops.any(ops.greater(waiting, float("-inf")))

    def visit(step: Tensor, waiting: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        best = ops.max(waiting, axis=1, keepdims=True)
        found = ops.greater(best, float("-inf"))
        keys = positions if order is None else order
        rank = ops.where(ops.equal(waiting, best), keys, last)
        surest = ops.equal(rank, ops.min(rank, axis=1, keepdims=True))
        index = ops.min(ops.where(surest, positions, count - 1), axis=1, keepdims=True)
        box = ops.take_along_axis(boxes, index[..., None], axis=1)
        drop = ops.greater(iou(box, boxes), threshold)
        if classes is not None:
            drop = ops.logical_and(
                drop, ops.equal(classes, ops.take_along_axis(classes, index, axis=1))
            )
        drop = ops.logical_or(drop, ops.equal(positions, index))
        here = ops.logical_and(found, ops.equal(slot_numbers, step))
        return (
            step + 1,
            ops.where(drop, ops.full_like(waiting, float("-inf")), waiting),
            ops.where(here, index, kept),
        )

    start = (ops.zeros((), dtype="int32"), scores, kept)
    return ops.while_loop(unfinished, visit, start, maximum_iterations=slots)[2]
