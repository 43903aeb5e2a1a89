"""Mistakes in suppression and in selecting detections."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_impl.conformance.batching import per_image
from keras_impl.conformance.faults.making import (
    Function,
    areas,
    by,
    given,
    iou_or_nan,
    limit,
    of,
    share,
    shared,
    then,
)
from reference_numpy import boxes, coding, detection, losses, suppression
from reference_numpy.detection import Detections

__all__ = ["FAULTS", "WRITTEN_OUT"]


def visited(order: Function, drops: Function) -> Function:
    """Make a greedy suppression.

    Args:
        order: (scores) → indices in the order in which boxes are visited.
        drops: (kept boxes, one box, convention) → whether that box is suppressed.
    """

    def call(box: Any, score: Any, convention: Any) -> Any:
        kept: list[int] = []
        with np.errstate(all="ignore"):
            for one in order(score):
                if not drops(box[kept], box[[one]], convention):
                    kept.append(one)
        return np.array(kept, int)

    return per_image("nms", call)


def by_score(score: Any) -> Any:
    return np.argsort(-score, kind="stable")


def overlapped(kept: Any, one: Any, convention: Any) -> Any:
    return (boxes.pairwise_iou(kept, one, convention) > limit(convention, one)).any()


def not_below(kept: Any, one: Any, convention: Any) -> Any:
    return not (iou_or_nan(kept, one, convention) <= limit(convention, one)).all()


def of_the_smaller(kept: Any, one: Any, convention: Any) -> Any:
    smaller = np.minimum(*areas(kept, one))
    return (share(shared(kept, one), smaller) > limit(convention, one)).any()


def all_pairs_at_once(box: Any, score: Any, convention: Any) -> Any:
    order = by_score(score)
    over = boxes.pairwise_iou(box[order], box[order], convention) > limit(convention, box)
    return order[~np.triu(over, 1).any(axis=0)]


def falls_below_one_half(box: Any, score: Any, convention: Any) -> Any:
    kept: list[int] = []
    rules = convention.detection
    threshold, eta = box.dtype.type(rules.iou_threshold), box.dtype.type(rules.eta)
    for one in by_score(score):
        if (boxes.pairwise_iou(box[kept], box[[one]], convention) <= threshold).all():
            kept.append(one)
            threshold = threshold * eta
    return np.array(kept, int)


def softly(
    decay: Function = lambda overlap, sigma: np.exp(overlap**2 / (-2 * sigma)),
    visits_by: Function = lambda current, first: current,
) -> Function:
    """Make a soft suppression.

    Args:
        decay: (IoU, sigma) → factor of the score.
        visits_by: (lowered scores, original scores) → scores that decide the order.
    """

    def call(box: Any, score: Any, convention: Any) -> Any:
        rules, current, kept = convention.detection, np.array(score), []
        least = score.dtype.type(rules.score_threshold)
        waiting = np.flatnonzero(score > least)
        while waiting.size:
            place = visits_by(current, score)[waiting].argmax()
            best, waiting = waiting[place], np.delete(waiting, place)
            kept.append(best)
            overlap = boxes.pairwise_iou(box[[best]], box[waiting], convention)[0]
            current[waiting] *= decay(overlap, rules.soft_sigma).astype(score.dtype)
            waiting = waiting[(overlap <= limit(convention, box)) & (current[waiting] > least)]
        return np.array(kept, int), current[kept]

    return per_image("soft_nms", call)


def selected(change: Function) -> Function:
    return per_image("select", change)


def reordered(found: Any, order: Any, convention: Any) -> Any:
    order = order[: convention.detection.max_detections]
    return Detections(*(part[order] for part in found))


def across_classes(box: Any, score: Any, convention: Any) -> Any:
    alone = convention.replace(iou_threshold=1.0, max_detections=score.size)
    found = detection.select(box, score, alone)
    return reordered(found, suppression.nms(found.boxes, found.scores, convention), convention)


def best_of_all(score: Any, count: Any) -> Any:
    """Set all scores to 0 except the `count` highest of all classes."""
    best = np.argsort(-score, axis=None, kind="stable")[:count]
    only = np.zeros_like(score)
    only.flat[best] = score.flat[best]
    return only


def cut_before_suppression(box: Any, score: Any, convention: Any) -> Any:
    only = best_of_all(score, convention.detection.max_detections)
    return detection.select(box, only, convention)


def candidates_of_all_classes(box: Any, score: Any, convention: Any) -> Any:
    only = best_of_all(score, convention.detection.candidates_per_class)
    return detection.select(box, only, convention)


def in_another_order(order: Function) -> Function:
    """Sort detections by other keys, the most important last, and keep the first of them."""

    def call(box: Any, score: Any, convention: Any) -> Any:
        found = detection.select(box, score, convention, max_detections=score.size)
        return reordered(found, np.lexsort(order(found)), convention)

    return selected(call)


def each_class_has_its_best_first(box: Any, score: Any, convention: Any) -> Any:
    most = convention.detection.max_per_class
    return detection.select(box, score, convention, candidates_per_class=most, max_per_class=None)


def empty_ones_take_slots(box: Any, score: Any, convention: Any) -> Any:
    found = detection.select(box, score, convention, drop_empty=False)
    return reordered(found, np.flatnonzero(boxes.area(found.boxes) > 0), convention)


def detected(scores: Function) -> Function:
    """Make a detector whose scores come from `scores`: logits → (A, C)."""

    def call(deltas: Any, logits: Any, anchors: Any, convention: Any) -> Any:
        box = coding.decode(deltas, anchors, convention)
        return detection.select(box, scores(logits), convention)

    return per_image("detect", call)


# The functions above without a mistake. They must pass; otherwise a caught fault proves nothing.
WRITTEN_OUT: list[tuple[str, Function]] = [
    ("nms", visited(by_score, overlapped)),
    ("soft_nms", softly()),
    ("detect", detected(lambda logits: losses.softmax(logits)[:, 1:])),
]


FAULTS = [
    *of(
        "nms",
        ("≥ for >", "Suppresses a box whose IoU equals the threshold.", by(suppress_at=">=")),
        (
            "ties to the last",
            "Visits equal scores from the highest index.",
            by(ties="highest anchor"),
        ),
        (
            "list order",
            "Visits boxes in list order, not by score.",
            visited(lambda score: np.arange(score.size), overlapped),
        ),
        (
            "kept boxes sorted",
            "Returns the kept boxes sorted by index.",
            per_image(
                "nms",
                lambda box, score, convention: np.sort(suppression.nms(box, score, convention)),
            ),
        ),
        (
            "all pairs at once",
            "Lets a suppressed box suppress others.",
            per_image("nms", all_pairs_at_once),
        ),
        (
            "last kept only",
            "Compares a box only with the last one kept.",
            visited(by_score, lambda kept, *rest: overlapped(kept[-1:], *rest)),
        ),
        (
            "smaller area for union",
            "Divides the intersection by the smaller area.",
            visited(by_score, of_the_smaller),
        ),
        (
            "0 / 0",
            "Keeps a box only if IoU ≤ threshold, which is false for 0 / 0.",
            visited(by_score, not_below),
        ),
        (
            "eta forgotten",
            "Claims a threshold that falls by eta but keeps it constant.",
            by(eta=1.0),
            {"eta": 0.9, "iou_threshold": 0.7},
        ),
        (
            "eta without end",
            "Claims a threshold that falls only while above one half but lets it fall further.",
            per_image("nms", falls_below_one_half),
            {"eta": 0.9, "iou_threshold": 0.7},
        ),
    ),
    *of(
        "soft_nms",
        (
            "sigma squared",
            "Divides IoU² by 2σ², not by 2σ.",
            softly(lambda overlap, sigma: np.exp(overlap**2 / (-2 * sigma * sigma))),
        ),
        (
            "IoU not squared",
            "Multiplies by exp(−IoU / 2σ), not by exp(−IoU² / 2σ).",
            softly(lambda overlap, sigma: np.exp(overlap / (-2 * sigma))),
        ),
        ("linear", "Multiplies by 1 − IoU.", softly(lambda overlap, sigma: 1 - overlap)),
        (
            "original order",
            "Visits boxes by their original scores, not by the lowered ones.",
            softly(visits_by=lambda current, first: first),
        ),
        ("nothing dropped", "Keeps boxes whose IoU is above the threshold.", by(iou_threshold=1.0)),
        (
            "no score threshold",
            "Keeps boxes whose lowered score is below the threshold.",
            by(score_threshold=-1.0),
        ),
        (
            "ties to the last",
            "Visits equal scores from the highest index.",
            by(ties="highest anchor"),
        ),
    ),
    *of(
        "select",
        ("≥ for >", "Accepts a score equal to the threshold.", by(score_at=">=")),
        (
            "suppression across classes",
            "Lets a box of one class suppress a box of another.",
            selected(across_classes),
        ),
        (
            "one class per anchor",
            "Uses only the best class of each anchor.",
            by(suppress_in="anchor"),
        ),
        ("clipped after", "Clips boxes after suppression, not before.", by(clip="after")),
        ("not clipped", "Does not clip boxes to the image.", by(clip="none")),
        (
            "cut before suppression",
            "Keeps the `max_detections` highest scores of all classes before suppression.",
            selected(cut_before_suppression),
        ),
        (
            "candidates of all classes",
            "Limits the candidates of all classes together, not of each class.",
            selected(candidates_of_all_classes),
        ),
        (
            "unlimited candidates",
            "Does not limit the candidates that enter suppression.",
            by(candidates_per_class=None),
        ),
        (
            "sorted by class",
            "Sorts detections by class before it keeps the first `max_detections`.",
            in_another_order(lambda found: (found.anchors, -found.scores, found.labels)),
        ),
        (
            "sorted by anchor",
            "Sorts detections by anchor before it keeps the first `max_detections`.",
            in_another_order(lambda found: (found.labels, found.anchors)),
        ),
        (
            "ties to the last",
            "Lists the highest anchor first among equal scores.",
            in_another_order(lambda found: (found.labels, -found.anchors, -found.scores)),
        ),
        (
            "classes from 0",
            "Numbers classes from 0, not from 1.",
            then(lambda box, score, label, anchor: (box, score, label - 1, anchor)),
        ),
        (
            "class limit before suppression",
            "Claims at most two detections per class but limits the candidates to two per class.",
            selected(each_class_has_its_best_first),
            {"max_per_class": 2},
        ),
        (
            "empty boxes take slots",
            "Claims to drop boxes without area but drops them after the limit of detections.",
            selected(empty_ones_take_slots),
            {"drop_empty": True},
        ),
    ),
    *of(
        "detect",
        (
            "background detected",
            "Reports the background as class 1.",
            detected(lambda logits: losses.softmax(logits)),
        ),
        (
            "softmax without background",
            "Computes the softmax without the background column.",
            detected(lambda logits: losses.softmax(logits[:, 1:])),
        ),
        (
            "sigmoid scores",
            "Uses a sigmoid for each class, not a softmax.",
            by(class_loss="sigmoid"),
        ),
        ("background last", "Reads the last column as background.", by(background="last")),
        (
            "variances forgotten",
            "Decodes without the variances.",
            by(variances=(1.0, 1.0, 1.0, 1.0)),
        ),
        ("axes swapped", "Reads codes as (ty, tx, th, tw).", by(code_order="yxhw")),
        ("clipped after", "Clips boxes after suppression, not before.", by(clip="after")),
        (
            "anchors in xyxy",
            "Passes anchors in xyxy, not in cxcywh, to the decoder.",
            given(lambda *heads: (*heads[:2], np.abs(boxes.cxcywh_to_xyxy(heads[2])))),
        ),
    ),
]
