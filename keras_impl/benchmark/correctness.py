"""Is a result right? Asked before it is timed.

A *decision* (which object, which detection, in which order) must be the reference's. Where the
rounding of a compiler or of an exponential may differ from NumPy's, another decision is excused
if, and only if, it is right for numbers that differ from the true ones by no more than rounding:
a near-tie. How far rounding can go is derived in `keras_impl.conformance.budgets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.conformance.budgets import BUDGETS
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.scales import decode_scale
from reference_numpy import detection
from reference_numpy.boxes import clip, pairwise_iou
from reference_numpy.coding import background_first, decode
from reference_numpy.conventions import CANONICAL, Convention
from reference_numpy.losses import sigmoid, softmax
from reference_numpy.targets import assign_targets
from reference_numpy.testing.workloads import DecodingWorkload, MatchingWorkload

__all__ = ["EPS", "Truth", "check_detections", "check_targets"]


EPS = float(np.finfo(np.float32).eps)


def check_targets(found: Any, work: MatchingWorkload, *, excuse: bool) -> int:
    """Compare targets with the reference's, by the judgement of the parity table.

    Args:
        found: `keras_impl.ops.targets.Targets` as arrays.
        work: What they were made of.
        excuse: Whether near-ties are excused.

    Returns:
        Images in which one was.

    Raises:
        AssertionError: They are not the reference's; it says where.
    """
    shape = (len(work.boxes), len(work.anchors))
    _demand_shapes(found, [shape, (*shape, 4), shape])
    dtypes = [part.dtype for part in found]
    _demand(dtypes == [np.int32, np.float32, np.int32], f"another dtype: {dtypes}")
    excused = 0
    for image, (boxes, labels, *parts) in enumerate(zip(*work[:2], *found, strict=True)):
        inputs = (boxes[None], labels[None], work.anchors)
        outputs = tuple(part[None] for part in parts)
        verdict = OPERATIONS["assign_targets"].judge(inputs, outputs, "float32", excuse, CANONICAL)
        if verdict.mismatches:
            right, objects = assign_targets(boxes, labels, work.anchors).objects, parts[2]
            others = np.flatnonzero(objects != right)
            where = (
                f"object {right[others[0]]} expected at anchor {others[0]}, {objects[others[0]]} "
                f"found, and {len(others) - 1} more"
                if others.size
                else f"labels, or deltas off by {verdict.error} eps"
            )
            raise AssertionError(f"image {image}: not the reference's targets: {where}")
        excused += verdict.excused
    return excused


def check_detections(
    found: Any,
    expected: Sequence[detection.Detections],
    work: DecodingWorkload,
    convention: Convention = CANONICAL,
) -> int:
    """Compare detections with the reference's.

    Exponentials of two libraries differ in the last bit, so near-ties are excused in every mode.

    Args:
        found: `keras_impl.ops.detection.Detections` as arrays.
        expected: The reference's, one an image.
        work: What both were made of.
        convention: What the heads mean; what is kept has to be `CANONICAL`'s.

    Returns:
        Images in which a near-tie was excused.

    Raises:
        AssertionError: They are not the reference's; it says where.
        ValueError: A convention that keeps otherwise.
    """
    slots = convention.detection.max_detections
    batch = len(expected)
    _demand_shapes(found, [(batch, slots, 4), *[(batch, slots)] * 3])
    excused = 0
    for image, want in enumerate(expected):
        boxes, scores, labels, anchors = (part[image] for part in found)
        count = int((labels != -1).sum())
        unused = slice(count, None)
        empty = (labels[unused] == -1) & (anchors[unused] == -1) & (scores[unused] == 0)
        _demand(empty.all(), f"image {image}: a detection after an unused slot")
        _demand(not boxes[unused].any(), f"image {image}: an unused slot with a box")
        boxes, scores, labels, anchors = (part[:count] for part in (boxes, scores, labels, anchors))

        truth = Truth(work.deltas[image], work.logits[image], work.anchors, convention)
        objection = truth.objection(anchors, labels)
        _demand(not objection, f"image {image}: not the reference's detections: {objection}")
        same = np.array_equal(anchors, want.anchors) and np.array_equal(labels, want.labels)
        excused += not same

        error = np.abs(scores - truth.scores[anchors, labels - 1])
        close = (error <= truth.score_rounding[anchors, labels - 1]).all()
        _demand(close, f"image {image}: scores off by {error.max(initial=0)}")
        error = np.abs(boxes - truth.boxes[anchors])
        close = (error <= truth.corner_rounding[anchors, None]).all()
        _demand(close, f"image {image}: boxes off by {error.max(initial=0)}")
    return excused


def _demand_shapes(found: Any, expected: Sequence[tuple[int, ...]]) -> None:
    shapes = [part.shape for part in found]
    _demand(shapes == list(expected), f"another shape: {shapes}, expected {list(expected)}")


def _demand(truth: Any, otherwise: str) -> None:
    """As `assert`, but also where Python leaves assertions out (`python -O`)."""
    if not truth:
        raise AssertionError(otherwise)


class Truth:
    """What the heads say of one image in double precision, and how far float32 may be off.

    Args:
        deltas: (A, 4) codes.
        logits: (A, C + 1) classes.
        anchors: (A, 4) cxcywh.
        convention: What the heads mean; what is kept has to be `CANONICAL`'s.

    Raises:
        ValueError: A convention that keeps otherwise.
    """

    def __init__(
        self, deltas: Array, logits: Array, anchors: Array, convention: Convention = CANONICAL
    ) -> None:
        if convention.detection != CANONICAL.detection:
            raise ValueError(
                "convention: expected one that keeps what the canonical one keeps. "
                f"Received: {convention.detection}"
            )
        deltas, logits, anchors = (part.astype(np.float64) for part in (deltas, logits, anchors))
        self.convention, self.options = convention, convention.detection
        self.boxes = clip(decode(deltas, anchors, convention))
        columns = background_first(logits, convention)
        # u = EPS / 2 for each rounding.
        if convention.loss.class_loss == "softmax":
            self.scores = softmax(columns)[:, 1:]
            # A difference of logits inside exp; exp 4 u, above and below the line; below also a
            # sum of n terms and their differences; the quotient.
            below = columns.max(axis=1, keepdims=True) - columns[:, 1:]
            units = below + columns.shape[1] * (1 + 1 / np.e) + 10
            self.score_rounding = self.scores * EPS / 2 * units
        else:
            self.scores = sigmoid(columns)[:, 1:]
            self.score_rounding = self.scores * EPS * BUDGETS["sigmoid"].eps
        scale = decode_scale(deltas, anchors, convention)
        self.corner_rounding = BUDGETS["decode"].eps * EPS * scale.max(axis=1)

    def overlap(self, first: Array, second: Array) -> tuple[Array, Array]:
        """IoU of two lists of anchors' boxes, and how far float32 may be off.

        Where corners move by c, an area w h moves by at most 2 c (w + h), and so does an
        intersection, whose sides are shorter; union and intersection both move an IoU.
        """
        with np.errstate(divide="ignore"):  # how far a box without area is off, nobody knows
            thin = (1 / (self.boxes[:, 2:] - self.boxes[:, :2])).sum(axis=1)
        iou = pairwise_iou(self.boxes[first], self.boxes[second], self.convention)
        moved = 4 * self.corner_rounding.max() * (thin[first][:, None] + thin[second])
        return iou, moved + BUDGETS["pairwise_iou"].eps * EPS * iou

    def objection(self, anchors: Array, labels: Array) -> str | None:
        """Why this list is not what greedy suppression gives for numbers within rounding, if so.

        Suppression is decided from the highest score down, so a list is right exactly if it is in
        order, none of it suppresses another, and all that is missing comes too late or is
        suppressed by something that comes earlier. Each is asked with the benefit of rounding.
        """
        options = self.options
        columns = labels - 1
        if len(set(zip(anchors.tolist(), labels.tolist(), strict=True))) < len(labels):
            return "something is detected twice"
        low, high = self.scores - self.score_rounding, self.scores + self.score_rounding
        kept_low, kept_high = low[anchors, columns], high[anchors, columns]
        if (kept_high <= options.score_threshold).any():
            return "a score is not above the threshold"
        if (kept_high[:-1] < np.maximum.accumulate(kept_low[::-1])[::-1][1:]).any():
            return "the order is not by score"

        # Once all slots are in use, what scores less than the last is not missing.
        last = kept_high.min() if len(labels) == options.max_detections else -np.inf
        for column in range(self.scores.shape[1]):
            mine = columns == column
            kept = anchors[mine]
            ascending_low, ascending_high = np.sort(low[:, column]), np.sort(high[:, column])
            # How many of the class surely, and how many perhaps, come before each anchor.
            surely = len(low) - np.searchsorted(ascending_low, high[:, column], side="right")
            perhaps = len(low) - np.searchsorted(ascending_high, low[:, column], side="left") - 1
            if (surely[kept] >= options.candidates_per_class).any():
                return f"label {column + 1}: kept one that is not among the candidates"
            iou, rounding = self.overlap(kept, kept)
            if np.triu(iou - rounding > options.iou_threshold, 1).any():
                return f"label {column + 1}: kept one that a kept one suppresses"

            due = low[:, column] > max(options.score_threshold, last)
            due &= perhaps < options.candidates_per_class
            due[kept] = False
            missing = np.flatnonzero(due)
            iou, rounding = self.overlap(missing, kept)
            earlier = kept_high[mine] >= low[missing, column][:, None]
            if not (earlier & (iou + rounding > options.iou_threshold)).any(axis=1).all():
                return f"label {column + 1}: missed one that nothing suppresses"
        return None
