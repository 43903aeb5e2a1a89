"""Fast detection for a batch on the CPU: equal to `reference_numpy.detection`, bit for bit.

Only the best K detections are wanted, so most anchors need no exponential and most pairs no IoU:

- A logit bounds its score without `exp`: a sigmoid rises with its logit, and a softmax has
  p_c <= 1 / (1 + exp(z_0 - z_c)), where 0 is the background. So each anchor has a bound.
- The anchors with the highest bounds are scored and decoded. Candidates that score above the bound
  of all others are visited, highest score first, each compared with the kept boxes of its class,
  until K are kept. If that leaves slots empty, more anchors are scored.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.host import kernels
from keras_impl.host.threads import in_parts
from reference_numpy.checks import check_floats
from reference_numpy.conventions import CANONICAL, Convention

__all__ = ["HostDetections", "can_detect", "detect"]

PARALLEL = 4e6  # logits from which on a second thread pays
SHARES = (4, 32)  # anchors scored for each slot: at first, then; at last all
ROUNDING = 1e-5  # of a score, relative: more than its rounding errors add up to
MARGIN = 1e-3  # of a logit, likewise


class HostDetections(NamedTuple):
    """The detections of each of B images, highest score first, as NumPy arrays.

    Attributes:
        boxes: (B, K, 4) xyxy, relative to the image; 0 in unused slots.
        scores: (B, K) probability of the class; 0 in unused slots.
        labels: (B, K) int32 class, from 1; -1 in unused slots.
        anchors: (B, K) int32 index of the anchor that was decoded; -1 in unused slots.
    """

    boxes: Array
    scores: Array
    labels: Array
    anchors: Array


def can_detect(convention: Convention) -> bool:
    """Whether `detect` supports a convention: scores and threshold must not change on the way.

    Example:
        >>> can_detect(CANONICAL), can_detect(CANONICAL.replace(soft_sigma=0.5))
        (True, False)
    """
    return convention.detection.eta == 1 and convention.detection.soft_sigma is None


def detect(
    deltas: Array,
    logits: Array,
    anchors: Array,
    convention: Convention = CANONICAL,
    *,
    threads: int = 2,
    **overrides: Any,
) -> HostDetections:
    """Detect objects: decode the head outputs of a batch, and select among the boxes.

    Non-finite scores and boxes are skipped. `keras_impl.models.decoding.detect` supports every
    convention.

    Args:
        deltas: (B, A, 4) predicted codes, float32 or float64.
        logits: (B, A, C + 1) predicted classes of the same dtype, by default background first.
        anchors: (A, 4) cxcywh.
        convention: Its `Coding` part defines the head outputs; its `Detection` and `Overlap` parts
            are used as in `reference_numpy.detection.select`. Scores are sigmoids if its `Loss`
            part has a "sigmoid" or "focal" class loss, else a softmax.
        threads: Number of threads at most.
        overrides: Overrides of single fields.

    Returns:
        `HostDetections` with K = `max_detections` slots, equal to the reference's.

    Raises:
        ValueError: Shapes do not fit, or the convention has a `soft_sigma`, or `eta` below 1.
        TypeError: Dtypes are not as above.

    Example:
        >>> anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> logits = np.array([[[0.0, 0.0], [-9.0, 9.0]]])
        >>> found = detect(np.zeros((1, 2, 4)), logits, anchors, score_threshold=0.6)
        >>> found.boxes[0, 0], found.labels[0, :2]
        (array([0.5, 0.5, 1. , 1. ]), array([ 1, -1], dtype=int32))
    """
    convention = convention.replace(**overrides)
    deltas, logits, anchors = map(np.ascontiguousarray, (deltas, logits, anchors))
    check_floats(deltas, "deltas", "B", "A", 4)
    check_floats(logits, "logits", *deltas.shape[:2], "C + 1")
    check_floats(anchors, "anchors", *deltas.shape[1:])
    if logits.shape[2] < 2:
        expected = "({}, {}, C + 1) with C at least 1".format(*deltas.shape)
        raise ValueError(f"logits: expected shape {expected}. Received: {logits.shape}")
    if deltas.dtype not in (np.float32, np.float64) or logits.dtype != deltas.dtype:
        dtypes = f"{deltas.dtype}, {logits.dtype}"
        raise TypeError(f"deltas, logits: expected both float32 or float64. Received: {dtypes}")
    rules = convention.detection
    if not can_detect(convention):
        received = f"eta={rules.eta}, soft_sigma={rules.soft_sigma}"
        raise ValueError(f"convention: expected eta=1 and soft_sigma=None. Received: {received}")
    shape = batch, slots = len(deltas), rules.max_detections
    boxes, scores = np.zeros((*shape, 4), deltas.dtype), np.zeros(shape, deltas.dtype)
    found = HostDetections(boxes, scores, *np.full((2, *shape), -1, np.int32))
    if 0 in (batch, slots, len(anchors), rules.candidates_per_class, rules.max_per_class):
        return found
    anchors = anchors.astype(deltas.dtype, copy=False)

    def work(part: slice) -> None:
        outputs = HostDetections(*(array[part] for array in found))
        _detect(deltas[part], logits[part], anchors, convention, outputs)

    in_parts(work, batch, max(1, min(threads, batch)) if logits.size >= PARALLEL else 1)
    return found


def _rules(convention: Convention, number: Any) -> kernels.VisitRules:
    """The convention as `kernels.visit` wants it, numbers in the dtype of the boxes."""
    rules, unlimited = convention.detection, np.iinfo(np.int64).max
    limits = (rules.candidates_per_class, rules.max_per_class)
    candidates, most = (unlimited if limit is None else limit for limit in limits)
    overlap = convention.overlap
    numbers = dict(zero=0, one=1, offset=overlap.iou_offset, epsilon=overlap.iou_epsilon)
    numbers |= dict(score_threshold=rules.score_threshold, iou_threshold=rules.iou_threshold)
    return kernels.VisitRules(
        **{name: number(value) for name, value in numbers.items()},
        score_inclusive=rules.score_at == ">=",
        suppress_inclusive=rules.suppress_at == ">=",
        per_class=rules.suppress_in == "class",
        by_label=rules.ties == "lowest label",
        candidates=candidates,
        most=most,
        clip_after=rules.clip == "after",
        drop_empty=bool(rules.drop_empty),
    )


def _detect(
    deltas: Array, logits: Array, anchors: Array, convention: Convention, found: HostDetections
) -> None:
    """Detect the objects of some images."""
    waiting, slots = np.arange(len(deltas)), found.scores.shape[1]
    threshold, least = convention.detection.score_threshold, -math.inf
    if threshold >= np.finfo(deltas.dtype).tiny:  # smaller numbers are rounded by more
        odds = np.float64(threshold * (1 - ROUNDING))
        with np.errstate(divide="ignore"):
            least = float(np.log(odds) - np.log1p(-np.minimum(odds, 1))) - MARGIN
    bounds, rules = _bounds(logits, convention), _rules(convention, deltas.dtype.type)
    for wanted in (*(share * slots for share in SHARES), len(anchors)):
        levels = np.array([_level(bounds[image], least, wanted) for image in waiting.tolist()])
        rows = np.flatnonzero(bounds[waiting] >= levels[:, None].astype(bounds.dtype))
        row, anchor = np.divmod(rows, len(anchors))
        if convention.detection.ties == "highest anchor":
            order = np.lexsort((-anchor, row))
            row, anchor = row[order], anchor[order]
        image = waiting[row]
        scores = _scores(logits[image, anchor], convention)
        boxes = _boxes(deltas[image, anchor], anchors[anchor], convention)
        scores[~np.isfinite(boxes).all(axis=1)] = np.nan
        # What is below the level scores no more than this.
        floors = (1 + ROUNDING) / (1 + np.exp(np.minimum(-levels - MARGIN, 700)))
        floors = np.where(levels > least, np.nextafter(floors.astype(deltas.dtype), 2), -1)
        starts = np.searchsorted(row, np.arange(len(waiting) + 1))
        full = kernels.visit(
            *(waiting, starts, anchor, scores, boxes, floors.astype(deltas.dtype), rules),
            tuple(found),
        )
        waiting = waiting[~full & (levels > least)]
        if not len(waiting):
            return
        for part, blank in zip(found, (0, 0, -1, -1), strict=True):
            part[waiting] = blank


def _bounds(logits: Array, convention: Convention) -> Array:
    """(B, A) no class of the anchor has a higher logit, less the background's for a softmax."""
    bounds, whole = np.empty(logits.shape[:2], logits.dtype), np.dtype(f"i{logits.itemsize}")
    background = 0 if convention.coding.background == "first" else logits.shape[2] - 1
    softmax, rows = convention.loss.class_loss == "softmax", logits.reshape(-1, logits.shape[2])
    limits, flat = np.iinfo(whole), bounds.reshape(-1)
    kernels.bound_scores(
        *(rows, rows.view(whole), background, softmax, limits.bits - 1),
        *(whole.type(limits.max), whole.type(limits.min), flat.view(whole), flat),
    )
    return bounds


def _level(bounds: Array, least: float, wanted: int) -> float:
    """A bound that about so many anchors reach."""
    if wanted < len(bounds) and np.count_nonzero(bounds > least) > wanted:
        return max(least, float(-np.partition(-bounds, wanted)[wanted]))
    return least


def _scores(rows: Array, convention: Convention) -> Array:
    """(n, C) scores, background left out, with the arithmetic of `reference_numpy.losses`.

    Classes that are not the anchor's best have no score where only the best counts.
    """
    if convention.coding.background == "last":
        rows = np.roll(rows, 1, axis=1)
    with np.errstate(invalid="ignore"):  # infinities give NaN, which is no candidate
        if convention.loss.class_loss == "softmax":
            powers = np.exp(rows - rows.max(axis=1, keepdims=True))
            scores = (powers / powers.sum(axis=1, keepdims=True))[:, 1:]
        else:
            small = np.exp(-np.abs(rows))
            scores = (np.where(rows >= 0, rows.dtype.type(1), small) / (1 + small))[:, 1:]
    scores = np.ascontiguousarray(scores)
    if convention.detection.suppress_in == "anchor":
        scores[np.arange(scores.shape[1]) != scores.argmax(axis=1)[:, None]] = np.nan
    return scores


def _boxes(deltas: Array, anchors: Array, convention: Convention) -> Array:
    """(n, 4) boxes before suppression, with the arithmetic of `reference_numpy.coding`."""
    rules, number = convention.coding, deltas.dtype.type
    if rules.code_order == "yxhw":
        deltas = deltas[:, [1, 0, 3, 2]]
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = deltas * np.array(rules.variances, deltas.dtype)
        if rules.form == "difference":
            center, size = anchors[:, :2] + scaled[:, :2], anchors[:, 2:] + scaled[:, 2:]
        else:
            exponents = scaled[:, 2:]
            if rules.largest_exponent is not None:
                exponents = np.minimum(exponents, number(rules.largest_exponent))
            center = anchors[:, :2] + scaled[:, :2] * anchors[:, 2:]
            size = np.exp(exponents) * anchors[:, 2:]
        half = size * number(0.5)
        boxes = np.concatenate([center - half, center + half], axis=1)
    return np.clip(boxes, 0, 1) if convention.detection.clip == "before" else boxes
