"""The judge of detections: compares the detections of an image with the outputs of its heads.

Boxes and scores are floats and have budgets. The detected anchors, their labels and their order are
*decisions* and must equal the reference's. Boxes and scores come from `exp`, which libraries round
differently, so a near-tie of scores or IoU may be decided the other way. It is excused only with a
proof: the reference makes the same decision for numbers within the budget of the true ones. If the
implementation returns its decoded boxes and scores, these are the proof. Otherwise `HeadTruth`
searches for one with intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_impl._common.arrays import Array, Arrays
from keras_impl.conformance.budgets import budget
from keras_impl.conformance.judges import same_detections
from keras_impl.conformance.scales import decode_scale, score_scale
from keras_impl.conformance.verdicts import WIDER, Verdict, errors
from reference_numpy import detection
from reference_numpy.boxes import clip, pairwise_iou
from reference_numpy.coding import background_first, decode
from reference_numpy.conventions import CANONICAL, Convention
from reference_numpy.losses import sigmoid, softmax

__all__ = ["HeadTruth", "ImageVerdict", "judge_detect", "judge_image"]


@dataclass(frozen=True)
class ImageVerdict:
    """The comparison of one image's detections with the reference, given the same head outputs.

    Attributes:
        detections: Number of detections of the reference.
        differences: Number of slots whose anchor or label differs from the reference.
        decisions_equal: Whether all decisions equal the reference's or are proven near-ties.
        box_error, score_error: The largest error, in eps × the largest intermediate.
        box_budget, score_budget: The error allowed.
        objection: The first fault of the decisions; empty if there is none.
    """

    detections: int
    differences: int
    decisions_equal: bool
    box_error: float
    score_error: float
    box_budget: float
    score_budget: float
    objection: str = ""

    @property
    def passed(self) -> bool:
        """Whether the decisions are right and the errors within budget."""
        close = self.box_error <= self.box_budget and self.score_error <= self.score_budget
        return self.decisions_equal and close

    @property
    def excused(self) -> int:
        """Number of differences that are excused near-ties."""
        return self.differences if self.passed else 0


def judge_image(
    got: Sequence[Any],
    deltas: Array,
    logits: Array,
    anchors: Array,
    convention: Convention,
    *,
    numbers: tuple[Array, Array] | None = None,
    near_ties: bool = False,
) -> ImageVerdict:
    """Compare the detections of one image with the reference.

    Args:
        got: Boxes (K, 4), scores (K,), labels (K,) and anchors (K,). Unused slots hold label and
            anchor -1, box and score 0. Anchors may be None: then the reference's are assumed.
        deltas: (A, 4) deltas.
        logits: (A, C + 1) class logits.
        anchors: (A, 4), cxcywh.
        convention: Its parts say what the heads mean and which boxes are kept.
        numbers: The implementation's (A, 4) decoded boxes, before clipping, and (A, C) scores. The
            detections must then equal the reference's for these numbers, bit for bit.
        near_ties: Without `numbers`, excuse differences that rounding intervals explain. Only for
            a convention with the canonical detection rules.

    Returns:
        The verdict.

    Raises:
        ValueError: `near_ties` with rules that `HeadTruth` does not support.
    """
    dtype = str(deltas.dtype)
    truth = HeadTruth(deltas, logits, anchors, convention)
    wanted = detection.detect(deltas, logits, anchors, convention)
    box, score, label = map(np.asarray, got[:3])
    anchor = np.full(label.shape, -1)
    known = wanted.anchors[: len(anchor)] if got[3] is None else np.asarray(got[3])
    anchor[: len(known)] = known
    used: NDArray[np.bool_] = label > 0
    found = anchor[used], label[used] - 1
    differences = _differences(found, (wanted.anchors, wanted.labels - 1))

    def verdict(objection: str, box_error: float = 0.0, score_error: float = 0.0) -> ImageVerdict:
        return ImageVerdict(
            len(wanted.labels),
            differences,
            not objection,
            float(box_error),
            float(score_error),
            truth.box_eps,
            truth.score_eps,
            objection,
        )

    if not (_indices(found[0], len(truth.boxes)) and _indices(found[1], truth.scores.shape[1])):
        return verdict("an anchor or label is out of range")
    if not used[: used.sum()].all() or (label[~used] != -1).any() or (anchor[~used] != -1).any():
        return verdict("unused slots must come last, with label and anchor -1")
    if box[~used].any() or score[~used].any():
        return verdict("unused slots must have box and score 0")
    box_error = errors(box[used], truth.boxes[found[0]], truth.box_scale[found[0]], dtype)
    score_error = errors(score[used], truth.scores[found], truth.score_scale[found], dtype)
    off = [box_error.max(initial=0), score_error.max(initial=0)]
    if numbers is not None:
        box_error = errors(numbers[0], truth.decoded, truth.box_scale, dtype)
        score_error = errors(numbers[1], truth.scores, truth.score_scale, dtype)
        off = [max(off[0], box_error.max()), max(off[1], score_error.max())]
    objection: str | None = None
    if not np.isfinite(off).all():
        objection = "a box or score is NaN or infinitely far off"
    elif numbers is not None:
        own = detection.select(*numbers, convention)
        if not same_detections(own, (box, score, label, anchor)):
            objection = "the detections differ from the reference's for the same boxes and scores"
    elif differences and near_ties:
        objection = truth.objection(anchor[used], label[used])
    elif differences:
        objection = f"{differences} of {len(wanted.labels)} slots have another anchor or label"
    return verdict(objection or "", *off)


def _indices(values: Array, count: int) -> bool:
    """Return whether all values are in [0, count)."""
    return bool(((values >= 0) & (values < count)).all())


def _differences(one: tuple[Array, Array], other: tuple[Array, Array]) -> int:
    """Count the slots at which two lists of (anchors, classes) differ."""
    first, second = (list(zip(*(part.tolist() for part in of), strict=True)) for of in (one, other))
    wrong = sum(a != b for a, b in zip(first, second, strict=False))
    return wrong + abs(len(first) - len(second))


def judge_detect(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare the detections of each image with the reference.

    Outputs are the detections, and the decoded boxes and scores that they were decided from; an
    implementation may return None for these two.
    """
    deltas, logits, anchors = inputs
    wrong = excused = 0
    worst = 0.0
    parts = [[None] * len(outputs[0]) if part is None else part for part in outputs]
    for image, (*got, box, score) in enumerate(zip(*parts, strict=True)):
        numbers = None if box is None or score is None else (box, score)
        one = judge_image(got, deltas[image], logits[image], anchors, convention, numbers=numbers)
        worst = max(worst, one.box_error, one.score_error)
        wrong += not one.passed
        excused += one.excused > 0
    return Verdict(len(outputs[0]), wrong, excused, worst)


class HeadTruth:
    """The boxes and scores of one image's head outputs, computed in a wider dtype.

    Args:
        deltas: (A, 4) deltas.
        logits: (A, C + 1) class logits.
        anchors: (A, 4), cxcywh.
        convention: Its parts say what the heads mean and which boxes are kept.

    Attributes:
        decoded, boxes: (A, 4) boxes, before and after clipping.
        scores: (A, C).
        box_scale, score_scale: The largest intermediate of each number, the unit of its error.
        box_eps, score_eps: The error allowed, in eps × scale.
    """

    def __init__(
        self, deltas: Array, logits: Array, anchors: Array, convention: Convention = CANONICAL
    ) -> None:
        self.eps = float(np.finfo(deltas.dtype).eps)
        wider = WIDER[str(deltas.dtype)]
        deltas, logits, anchors = (part.astype(wider) for part in (deltas, logits, anchors))
        self.convention, self.rules = convention, convention.detection
        self.decoded = decode(deltas, anchors, convention)
        self.boxes = self.decoded if self.rules.clip == "none" else clip(self.decoded)
        softmax_scores = convention.loss.class_loss == "softmax"
        columns = background_first(logits, convention)
        self.scores = (softmax if softmax_scores else sigmoid)(columns)[:, 1:]
        self.box_scale = decode_scale(deltas, anchors, convention)
        self.score_scale = score_scale(logits, convention)[:, 1:]
        self.box_eps = budget("decode", convention).eps
        self.score_eps = budget("softmax" if softmax_scores else "sigmoid").eps

    def overlap(self, first: Array, second: Array) -> tuple[Array, Array]:
        """Return the IoU of two lists of anchors' boxes and how far rounding may change it.

        If corners change by c, an area w h changes by at most 2 c (w + h). So does an
        intersection, whose sides are shorter. Both the union and the intersection change an IoU.
        """
        with np.errstate(divide="ignore"):  # a box without area has an infinite bound
            thin = (1 / (self.boxes[:, 2:] - self.boxes[:, :2])).sum(axis=1)
        iou = pairwise_iou(self.boxes[first], self.boxes[second], self.convention)
        corner = self.box_eps * self.eps * self.box_scale.max()
        moved = 4 * corner * (thin[first][:, None] + thin[second])
        return iou, moved + budget("pairwise_iou", self.convention).eps * self.eps * iou

    def objection(self, anchors: Array, labels: Array) -> str | None:
        """Return why greedy suppression cannot give this list for any numbers within rounding.

        Suppression visits boxes from the highest score down. So a list is right exactly if it is
        in order, no kept box suppresses another, and each missing candidate comes too late or is
        suppressed by a kept box that comes earlier. Each condition is tested in favour of the list,
        within rounding.

        Args:
            anchors: (K,) detected anchors, in order.
            labels: (K,) their labels.

        Returns:
            The first fault, or None.

        Raises:
            ValueError: The detection rules are not the canonical ones.
        """
        rules, limit = self.rules, self.rules.candidates_per_class
        if rules != CANONICAL.detection or limit is None:
            raise ValueError(
                f"convention: expected the canonical detection rules. Received: {rules}"
            )
        columns = labels - 1
        if len(set(zip(anchors.tolist(), labels.tolist(), strict=True))) < len(labels):
            return "an anchor is detected twice with the same label"
        rounding = self.score_eps * self.eps * self.score_scale
        low, high = self.scores - rounding, self.scores + rounding
        kept_low, kept_high = low[anchors, columns], high[anchors, columns]
        if (kept_high <= rules.score_threshold).any():
            return "a score is not above the threshold"
        if (kept_high[:-1] < np.maximum.accumulate(kept_low[::-1])[::-1][1:]).any():
            return "the detections are not in order of score"

        # If all slots are in use, a candidate that scores less than the last is not missing.
        last = kept_high.min() if len(labels) == rules.max_detections else -np.inf
        for column in range(self.scores.shape[1]):
            mine = columns == column
            kept = anchors[mine]
            ascending_low, ascending_high = np.sort(low[:, column]), np.sort(high[:, column])
            # The least and the largest number of anchors that may come before each one.
            surely = len(low) - np.searchsorted(ascending_low, high[:, column], side="right")
            perhaps = len(low) - np.searchsorted(ascending_high, low[:, column], side="left") - 1
            if (surely[kept] >= limit).any():
                return f"label {column + 1}: a kept anchor is not among the candidates"
            iou, rounding = self.overlap(kept, kept)
            if np.triu(iou - rounding > rules.iou_threshold, 1).any():
                return f"label {column + 1}: a kept anchor suppresses another kept anchor"

            due = low[:, column] > max(rules.score_threshold, last)
            due &= perhaps < limit
            due[kept] = False
            missing = np.flatnonzero(due)
            iou, rounding = self.overlap(missing, kept)
            earlier = kept_high[mine] >= low[missing, column][:, None]
            if not (earlier & (iou + rounding > rules.iou_threshold)).any(axis=1).all():
                return f"label {column + 1}: a candidate is missing that no kept anchor suppresses"
        return None
