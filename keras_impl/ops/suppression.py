"""Greedy non-maximum suppression with static shapes: mirrors `reference_numpy.suppression`.

One loop serves one class and many: the highest-scoring candidate left is kept, and those of its
class that it overlaps too much are struck out, or lose score. As long as suppression stays within
a class, taking the classes together in order of score keeps what taking them one by one would,
and the loop may stop once enough are kept. Scores only fall, so that holds for lowered ones too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_impl._common.arrays import Tensor
from keras_impl.ops.boxes import _iou
from keras_impl.ops.checks import as_flags, as_floats, as_whole, check_count
from keras_impl.ops.extremes import maximum
from reference_numpy.conventions import CANONICAL, Convention, Detection

__all__ = ["nms", "passes", "soft_nms"]


# The score of what is no candidate, or no more. `where` is given it as the constant that it is:
# tf2onnx makes products of a choice between two computed arrays, and 0 x inf is NaN.
NONE = float("-inf")


def nms(
    boxes: Tensor,
    scores: Tensor,
    convention: Convention = CANONICAL,
    *,
    max_kept: int | None = None,
    classes: Tensor | None = None,
    order: Tensor | None = None,
    silent: Tensor | None = None,
    **overrides: Any,
) -> Tensor:
    """Suppress the boxes of each image.

    Args:
        boxes: (B, N, 4) xyxy.
        scores: (B, N) scores; -inf marks a slot without candidate, which is never kept. Nor is
            a box that is not finite, nor one whose score is NaN.
        convention: Its `Detection` holds the rules: `iou_threshold`, `suppress_at`, `ties` and
            `eta`, where there are classes also `max_per_class`; its `Overlap` says what IoU is.
        max_kept: Slots of the answer; N if None.
        classes: (B, N) int32 class of each candidate; one class if None.
        order: (B, N) int32, distinct in each image, which decides between equal scores, the
            lowest first; the index if None, or what `ties` makes of it.
        silent: (B, N) True for what suppresses and is counted like any other, but takes no
            slot; nothing if None.
        overrides: Overrides of single fields.

    Returns:
        (B, max_kept) int32 indices of the kept boxes in the order visited, -1 after the last.

    Raises:
        ValueError, TypeError: Boxes or scores that are not floats, others that are not as said, or
            shapes that do not fit.

    Example:
        >>> chain = ops.array([[[0.0, 0, 0.5, 1], [0.25, 0, 0.75, 1], [0.5, 0, 1, 1]]])
        >>> ops.convert_to_numpy(nms(chain, ops.array([[0.9, 0.8, 0.7]]), iou_threshold=0.3))
        array([[ 0,  2, -1]], dtype=int32)
    """
    convention = convention.replace(**overrides).replace(soft_sigma=None)
    boxes, scores, slots, classes, order, silent = _checked(
        boxes, scores, max_kept, classes, order, silent
    )
    return _visit_all(boxes, scores, convention, slots, classes, order, silent)[0]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    convention: Convention = CANONICAL,
    *,
    max_kept: int | None = None,
    classes: Tensor | None = None,
    order: Tensor | None = None,
    silent: Tensor | None = None,
    **overrides: Any,
) -> tuple[Tensor, Tensor]:
    """Lower the scores of the boxes of each image (arXiv:1704.04503, section 3).

    Args:
        boxes: As `nms`, like all that is not named here.
        scores: (B, N) numbers from 0, or -inf.
        convention: Its `Detection` holds the rules of `nms`, `soft_sigma` and the score threshold.
        max_kept: Slots.
        classes: Classes.
        order: Order of equal scores.
        silent: What takes no slot.
        overrides: Overrides of single fields.

    Returns:
        (B, max_kept) int32 indices of the kept boxes, highest score first, -1 after the last, and
        (B, max_kept) their lowered scores, 0 after the last. TensorFlow takes numbers below the
        smallest normal one for 0: scores so small pass no threshold, those of NumPy pass 0.

    Raises:
        ValueError: No `soft_sigma`; and as `nms`.

    Example:
        >>> boxes = ops.array([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5]]])
        >>> scores, rules = ops.array([[0.9, 0.8]]), {"soft_sigma": 0.5, "iou_threshold": 1}
        >>> ops.convert_to_numpy(soft_nms(boxes, scores, **rules)[1]).round(4)
        array([[0.9  , 0.623]], dtype=float32)
    """
    convention = convention.replace(**overrides)
    if convention.detection.soft_sigma is None:
        raise ValueError("soft_sigma: expected a number above 0. Received: None")
    boxes, scores, slots, classes, order, silent = _checked(
        boxes, scores, max_kept, classes, order, silent
    )
    return _visit_all(boxes, scores, convention, slots, classes, order, silent)


def _checked(
    boxes: Tensor,
    scores: Tensor,
    max_kept: int | None,
    classes: Tensor | None,
    order: Tensor | None,
    silent: Tensor | None,
) -> tuple[Tensor, Tensor, int, Tensor | None, Tensor | None, Tensor | None]:
    boxes = ops.convert_to_tensor(as_floats(boxes, "boxes", "B", "N", 4))
    shape = tuple(boxes.shape)[:2]
    scores = ops.convert_to_tensor(as_floats(scores, "scores", *shape))
    if max_kept is not None:
        check_count(max_kept, "max_kept")
    if classes is not None:
        classes = as_whole(classes, "classes", *shape)
    if silent is not None:
        silent = as_flags(silent, "silent", *shape)
    if order is not None:
        order = as_whole(order, "order", *shape)
    return boxes, scores, shape[1] if max_kept is None else max_kept, classes, order, silent


class _State(NamedTuple):
    """Where an image stands; a scalar 0 in place of what the convention does not ask for."""

    waiting: Tensor  # (B, N) score of what may yet be kept, else -inf
    filled: Tensor  # (B, 1) slots in use
    kept: Tensor  # (B, K) index in each slot, or -1
    lowered: Tensor  # (B, K) its score, or 0
    room: Tensor  # (B, N) how many more of the candidate's class may be kept
    limit: Tensor  # (B, N) IoU threshold of the candidate's class (eta)
    worst: Tensor  # (B, N) overlap with what is kept of its class (eta)


def _visit_all(
    boxes: Tensor,
    scores: Tensor,
    convention: Convention,
    slots: int,
    classes: Tensor | None = None,
    order: Tensor | None = None,
    silent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Indices and scores of what is kept."""
    rules = convention.detection
    batch, count = ops.shape(boxes)[0], boxes.shape[1]
    kept = ops.full((batch, slots), -1, dtype="int32")
    lowered = ops.zeros((batch, slots), dtype=scores.dtype)
    most = rules.max_per_class if classes is not None else None
    if count == 0 or slots == 0 or most == 0:
        return kept, lowered
    positions = ops.arange(count, dtype="int32")
    slot_numbers = ops.arange(slots, dtype="int32")
    if order is None:
        order = count - 1 - positions if rules.ties == "highest anchor" else positions
    last = 2**31 - 1
    # Not `cast`, which makes a Python number a float32 first.
    threshold = ops.convert_to_tensor(rules.iou_threshold, dtype=boxes.dtype)
    unused = ops.zeros((), dtype=boxes.dtype)
    fading = rules.eta < 1

    def unfinished(*arguments: Tensor) -> Tensor:
        state = _State(*arguments)
        room = ops.less(state.filled, slots)
        return ops.any(ops.logical_and(ops.greater(state.waiting, NONE), room))

    def visit(*arguments: Tensor) -> tuple[Tensor, ...]:
        waiting, filled, kept, lowered, room, limit, worst = arguments
        best = ops.max(waiting, axis=1, keepdims=True)
        found = ops.greater(best, NONE)
        rank = ops.where(ops.equal(waiting, best), order, last)
        is_next = ops.equal(rank, ops.min(rank, axis=1, keepdims=True))
        index = ops.min(ops.where(is_next, positions, count - 1), axis=1, keepdims=True)
        if silent is not None:
            silence = ops.take_along_axis(silent, index, axis=1)
            found = ops.logical_and(found, ops.logical_not(silence))
        here = ops.logical_and(found, ops.equal(slot_numbers, filled))

        box = ops.take_along_axis(boxes, index[..., None], axis=1)
        overlap = _iou(box, boxes, convention.overlap)
        mates = ops.ones_like(waiting, dtype="bool")
        if classes is not None:
            mates = ops.equal(classes, ops.take_along_axis(classes, index, axis=1))
        if fading:
            falls = ops.logical_and(mates, ops.greater(limit, 0.5))
            limit = ops.where(falls, limit * rules.eta, limit)
            worst = ops.where(mates, maximum(worst, overlap), worst)
            drop = ops.logical_and(mates, _suppressed(worst, limit, rules))
        else:
            drop = ops.logical_and(mates, _suppressed(overlap, threshold, rules))
        if most is not None:
            room = ops.where(mates, room - 1, room)
            drop = ops.logical_or(drop, ops.less_equal(room, 0))
        drop = ops.logical_or(drop, ops.equal(positions, index))
        if rules.soft_sigma is not None:
            square = ops.cast(overlap * overlap, scores.dtype)
            factor = ops.exp(-0.5 / rules.soft_sigma * square)
            lose = ops.logical_and(mates, ops.logical_not(drop))
            # -inf is left alone: times a factor that underflows it would be NaN.
            lose = ops.logical_and(lose, ops.greater(waiting, NONE))
            waiting = waiting * ops.where(lose, factor, ops.ones_like(factor))
            drop = ops.logical_or(drop, ops.logical_not(_passes(waiting, rules)))
        return _State(
            ops.where(drop, NONE, waiting),
            filled + ops.cast(found, "int32"),
            ops.where(here, index, kept),
            lowered if rules.soft_sigma is None else ops.where(here, maximum(best, 0.0), lowered),
            room,
            limit,
            worst,
        )

    real = ops.logical_and(ops.all(ops.isfinite(boxes), axis=-1), ops.equal(scores, scores))
    if rules.soft_sigma is not None:
        real = ops.logical_and(real, _passes(scores, rules))
    start = _State(
        ops.where(real, scores, NONE),
        ops.zeros((batch, 1), dtype="int32"),
        kept,
        lowered,
        ops.full((batch, count), most, dtype="int32") if most is not None else unused,
        ops.zeros_like(scores, dtype=boxes.dtype) + threshold if fading else unused,
        ops.zeros_like(scores, dtype=boxes.dtype) if fading else unused,
    )
    end = _State(*ops.while_loop(unfinished, visit, tuple(start), maximum_iterations=count))
    return end.kept, end.lowered


def passes(scores: Tensor, rules: Detection) -> Tensor:
    """Where a score makes a candidate; NaN never does.

    Example:
        >>> ops.convert_to_numpy(passes(ops.array([0.5, 0.25]), Detection(score_threshold=0.25)))
        array([ True, False])
    """
    return _passes(as_floats(scores, "scores", ...), rules)


def _passes(scores: Tensor, rules: Detection) -> Tensor:
    compare = ops.greater_equal if rules.score_at == ">=" else ops.greater
    return compare(scores, ops.convert_to_tensor(rules.score_threshold, dtype=scores.dtype))


def _suppressed(overlap: Tensor, threshold: Tensor, rules: Detection) -> Tensor:
    compare = ops.greater_equal if rules.suppress_at == ">=" else ops.greater
    return compare(overlap, threshold)
