"""Mistakes in suppression and in the choice of detections."""

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
    """Greedy suppression: (scores) → order; (kept boxes, one, convention) → whether it goes."""

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
    """Soft suppression: (IoU, sigma) → factor; (lowered, first scores) → what is visited by."""

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
    """Scores, all but the best of all classes lowered to nothing."""
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
    """What is found is put in order by keys, the most important last, and cut."""

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
    """A detector with other scores: logits → (A, C)."""

    def call(deltas: Any, logits: Any, anchors: Any, convention: Any) -> Any:
        box = coding.decode(deltas, anchors, convention)
        return detection.select(box, scores(logits), convention)

    return per_image("detect", call)


# Written out above, with no part wrong: it has to pass, or its faults would prove nothing.
WRITTEN_OUT: list[tuple[str, Function]] = [
    ("nms", visited(by_score, overlapped)),
    ("soft_nms", softly()),
    ("detect", detected(lambda logits: losses.softmax(logits)[:, 1:])),
]


FAULTS = [
    *of(
        "nms",
        ("≥ for >", "Drops a box that overlaps by the threshold exactly.", by(suppress_at=">=")),
        (
            "tie to the last",
            "Visits equal scores from the highest index.",
            by(ties="highest anchor"),
        ),
        (
            "order of the list",
            "Visits boxes as they come, not by score.",
            visited(lambda score: np.arange(score.size), overlapped),
        ),
        (
            "kept in the order of the list",
            "Sorts what it kept by index.",
            per_image(
                "nms",
                lambda box, score, convention: np.sort(suppression.nms(box, score, convention)),
            ),
        ),
        (
            "all pairs at once",
            "Lets a box that was dropped drop others.",
            per_image("nms", all_pairs_at_once),
        ),
        (
            "the last kept alone",
            "Compares a box with the last one kept.",
            visited(by_score, lambda kept, *rest: overlapped(kept[-1:], *rest)),
        ),
        (
            "min for the union",
            "Compares what is shared with the smaller box.",
            visited(by_score, of_the_smaller),
        ),
        (
            "0 / 0",
            "Asks whether the overlap is not above the threshold, which NaN is not.",
            visited(by_score, not_below),
        ),
        (
            "eta forgotten",
            "Claims a threshold that falls and keeps it.",
            by(eta=1.0),
            {"eta": 0.9, "iou_threshold": 0.7},
        ),
        (
            "eta to the end",
            "Claims a threshold that falls while above one half, and lets it fall on.",
            per_image("nms", falls_below_one_half),
            {"eta": 0.9, "iou_threshold": 0.7},
        ),
    ),
    *of(
        "soft_nms",
        (
            "two sigma squared",
            "Divides by 2 σ².",
            softly(lambda overlap, sigma: np.exp(overlap**2 / (-2 * sigma * sigma))),
        ),
        (
            "not squared",
            "Is exp(−IoU / 2σ).",
            softly(lambda overlap, sigma: np.exp(overlap / (-2 * sigma))),
        ),
        ("linear", "Multiplies by 1 − IoU.", softly(lambda overlap, sigma: 1 - overlap)),
        (
            "order of the first scores",
            "Visits boxes by what they scored before any was lowered.",
            softly(visits_by=lambda current, first: first),
        ),
        ("nothing is dropped", "Forgets the threshold of the overlap.", by(iou_threshold=1.0)),
        (
            "no score is too low",
            "Keeps what fell below the threshold of the score.",
            by(score_threshold=-1.0),
        ),
        (
            "tie to the last",
            "Visits equal scores from the highest index.",
            by(ties="highest anchor"),
        ),
    ),
    *of(
        "select",
        ("≥ for >", "Takes a score equal to the threshold.", by(score_at=">=")),
        (
            "suppression across classes",
            "Lets a box of one class drop one of another.",
            selected(across_classes),
        ),
        (
            "one class an anchor",
            "Looks at the best class of each anchor alone.",
            by(suppress_in="anchor"),
        ),
        ("clipped after", "Cuts boxes when suppression is over.", by(clip="after")),
        ("not clipped", "Leaves boxes beyond the image.", by(clip="none")),
        (
            "cut before suppression",
            "Takes the best of all classes first, then suppresses among them.",
            selected(cut_before_suppression),
        ),
        (
            "candidates of all classes together",
            "Takes the best candidates of all classes instead of each.",
            selected(candidates_of_all_classes),
        ),
        (
            "candidates without a limit",
            "Lets all that score enter suppression.",
            by(candidates_per_class=None),
        ),
        (
            "class by class",
            "Lists the first class first, and cuts the others off.",
            in_another_order(lambda found: (found.anchors, -found.scores, found.labels)),
        ),
        (
            "anchor by anchor",
            "Lists detections by anchor, and cuts the highest scores off.",
            in_another_order(lambda found: (found.labels, found.anchors)),
        ),
        (
            "tie to the last",
            "Of equal scores lists the highest anchor first.",
            in_another_order(lambda found: (found.labels, -found.anchors, -found.scores)),
        ),
        (
            "background shifted",
            "Counts classes from 0.",
            then(lambda box, score, label, anchor: (box, score, label - 1, anchor)),
        ),
        (
            "limit of a class before suppression",
            "Claims two of each class at the most, and lets two of each enter.",
            selected(each_class_has_its_best_first),
            {"max_per_class": 2},
        ),
        (
            "empty ones take slots",
            "Claims to drop boxes without area and does so after the cut.",
            selected(empty_ones_take_slots),
            {"drop_empty": True},
        ),
    ),
    *of(
        "detect",
        (
            "background is a class",
            "Reports the background as class 1.",
            detected(lambda logits: losses.softmax(logits)),
        ),
        (
            "softmax without background",
            "Leaves the background out before the softmax.",
            detected(lambda logits: losses.softmax(logits[:, 1:])),
        ),
        ("sigmoids", "Scores each class by itself.", by(class_loss="sigmoid")),
        ("background shifted", "Takes the last column for the background.", by(background="last")),
        ("variances forgotten", "Decodes without them.", by(variances=(1.0, 1.0, 1.0, 1.0))),
        ("axes swapped", "Reads codes as (ty, tx, th, tw).", by(code_order="yxhw")),
        ("clipped after", "Cuts boxes when suppression is over.", by(clip="after")),
        (
            "corners for anchors",
            "Is given anchors in xyxy.",
            given(lambda *heads: (*heads[:2], np.abs(boxes.cxcywh_to_xyxy(heads[2])))),
        ),
    ),
]
