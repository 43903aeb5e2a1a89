"""Greedy non-maximum suppression on any Keras backend: mirrors `reference_numpy.suppression`.

The output has static shapes: a fixed number of slots per image, unused ones padded.

One loop handles one class or many. It keeps the remaining candidate with the highest score, then
drops the candidates of the same class that overlap it too much, or lowers their scores. Suppression
stays within a class, so visiting all classes together in order of score keeps the same boxes as
visiting class after class, and the loop can stop once all slots are full. This holds for lowered
scores too, since scores only fall.
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


# The score of a slot that is not, or no longer, a candidate. Pass it to `where` as this constant:
# tf2onnx turns a `where` between two computed arrays into products, and 0 x inf is NaN.
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
    """Suppress overlapping boxes of each image (non-maximum suppression, NMS).

    Args:
        boxes: (B, N, 4) xyxy.
        scores: (B, N) scores; -inf marks a slot without candidate. Such a slot is never kept, nor
            is a box that is not finite or whose score is NaN.
        convention: Its `Detection` part is used: `iou_threshold` (compared in the dtype of
            `boxes`), `suppress_at`, `ties`, `eta` and, with `classes`, `max_per_class`. Its
            `Overlap` part defines the IoU.
        max_kept: Number of output slots per image; None for N.
        classes: (B, N) int32 class of each candidate; None if all are of one class.
        order: (B, N) int32, distinct within an image: equal scores are visited from the lowest.
            None for the order of the indices, reversed with `ties="highest anchor"`.
        silent: (B, N) True for candidates that suppress others and count in `max_per_class`, but
            take no output slot; None if there are none.
        overrides: Overrides of single fields.

    Returns:
        (B, max_kept) int32 indices of the kept boxes, in the order visited, then -1.

    Raises:
        ValueError: Shapes do not fit, or `max_kept` is negative.
        TypeError: Boxes or scores are not floats, or another argument has a wrong dtype.

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
    """Lower the scores of overlapping boxes of each image (Soft-NMS, arXiv:1704.04503, section 3).

    Args:
        boxes: (B, N, 4) xyxy.
        scores: (B, N) numbers from 0, or -inf.
        convention: Its `Detection` part is used: the rules of `nms` except `eta`, `soft_sigma` and
            the score threshold. `iou_threshold=1` drops no box.
        max_kept: As in `nms`.
        classes: As in `nms`.
        order: As in `nms`.
        silent: As in `nms`.
        overrides: Overrides of single fields.

    Returns:
        (B, max_kept) int32 indices of the kept boxes, highest score first, then -1; and
        (B, max_kept) their lowered scores, then 0. TensorFlow treats subnormal scores as 0, so
        they do not exceed a score threshold of 0, as they do in NumPy.

    Raises:
        ValueError: No `soft_sigma`; and as in `nms`.
        TypeError: As in `nms`.

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
    """State of the loop; fields that the convention does not need are a scalar 0."""

    waiting: Tensor  # (B, N) score of each remaining candidate, else -inf
    filled: Tensor  # (B, 1) number of slots in use
    kept: Tensor  # (B, K) index of the box in each slot, or -1
    lowered: Tensor  # (B, K) its lowered score, or 0
    room: Tensor  # (B, N) how many more boxes of the candidate's class may be kept
    limit: Tensor  # (B, N) IoU threshold of the candidate's class (for eta)
    worst: Tensor  # (B, N) largest IoU with a kept box of its class (for eta)


def _visit_all(
    boxes: Tensor,
    scores: Tensor,
    convention: Convention,
    slots: int,
    classes: Tensor | None = None,
    order: Tensor | None = None,
    silent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the indices and the scores of the kept boxes."""
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
    # Not `cast`, which converts a Python number to float32 first.
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
            # Do not multiply -inf: with a factor that underflows to 0 the product would be NaN.
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
    """Test which scores pass the score threshold; NaN never does.

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
