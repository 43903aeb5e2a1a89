"""Wrong implementations, to see that the conformance suite catches them.

`FAULTS` is a table: for each operation a handful of mistakes that people make, each a small
function of NumPy arrays; `RIGHT` has the same operations without a mistake. All are put to the
suite as anybody's implementation is (docs/conformance.md). `as_markdown` says which of its tests
fail: docs/faults.md. tests/test_faults.py sees to it that no fault gets through.

A fault is the reference with one thing changed, where that can be said: other rules (`by`), what
it is given (`given`), what it gives (`then`). What cannot be said so is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import groupby
from math import log
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from keras_impl.conformance.batching import per_image
from keras_impl.conformance.suite import DTYPES, Implementation, Offer
from reference_numpy import (
    boxes,
    coding,
    detection,
    gradients,
    losses,
    matching,
    mining,
    multibox,
    suppression,
    targets,
)
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import IGNORE, PRESETS
from reference_numpy.detection import Detections
from tests.parity import test_conformance as suite

__all__ = [
    "FAULTS",
    "RIGHT",
    "WRITTEN_OUT",
    "Fault",
    "as_markdown",
    "by",
    "caught",
    "failures",
    "offering",
]

Function = Callable[..., Any]


class Fault(NamedTuple):
    """A wrong implementation of one operation.

    Attributes:
        operation: Whose.
        name: A few words, unique among those of the operation.
        wrong: What it does, in a sentence.
        function: As `Implementation.operations` wants it.
        claims: Other answers than the canonical ones that it claims to give.
    """

    operation: str
    name: str
    wrong: str
    function: Function
    claims: Mapping[str, Any] = {}


# --- without a mistake ---------------------------------------------------------------------------


def plainly(function: Function) -> Function:
    """A function that no convention changes, and that overflows without a warning."""

    def call(*arrays, convention):
        with np.errstate(all="ignore"):
            return function(*arrays)

    return call


def each(function: Function) -> Function:
    """A function of two lists of boxes, for a batch of such lists."""

    def call(first, second, convention):
        with np.errstate(all="ignore"):
            pairs = zip(first, second, strict=True)
            return np.stack([function(*pair, convention) for pair in pairs])

    return call


def match(box, anchors, convention):
    iou = boxes.pairwise_iou(box, boxes.cxcywh_to_xyxy(anchors), convention)
    return matching.match(iou, convention)


def assign(box, labels, anchors, crowds=None, *, convention):
    crowds = np.zeros(labels.shape, bool) if crowds is None else crowds
    images = [
        targets.assign_targets(one, label, anchors, convention, crowds=crowd)
        for one, label, crowd in zip(box, labels, crowds, strict=True)
    ]
    return tuple(np.stack(part) for part in zip(*images, strict=True))


def loss(deltas, logits, wanted, labels, box, convention):
    found = multibox.multibox_loss(deltas, logits, wanted, labels, convention, boxes=box)
    return *found, multibox.class_losses(logits, labels, convention)


def gradient(deltas, logits, wanted, labels, box, convention):
    heads = deltas, logits, wanted, labels
    found = gradients.multibox_gradient(*heads, convention, boxes=box)
    return *found, *loss(*heads, box, convention)[4:]


RIGHT: dict[str, Function] = {
    "xyxy_to_cxcywh": plainly(boxes.xyxy_to_cxcywh),
    "cxcywh_to_xyxy": plainly(boxes.cxcywh_to_xyxy),
    "area": plainly(boxes.area),
    "clip": plainly(boxes.clip),
    "flip_horizontally": plainly(boxes.flip_horizontally),
    "pairwise_iou": each(boxes.pairwise_iou),
    "pairwise_ioa": each(lambda first, second, _: boxes.pairwise_ioa(first, second)),
    "make_anchors": lambda zero, convention: make_anchors(convention.layout, zero.dtype),
    "match": per_image("match", match),
    "encode": coding.encode,
    "decode": coding.decode,
    "background_first": coding.background_first,
    "assign_targets": assign,
    "assign_targets_with_crowds": assign,
    "smooth_l1": plainly(losses.smooth_l1),
    "softmax": plainly(losses.softmax),
    "softmax_cross_entropy": plainly(losses.softmax_cross_entropy),
    "sigmoid": plainly(losses.sigmoid),
    "sigmoid_cross_entropy": plainly(losses.sigmoid_cross_entropy),
    "focal": plainly(losses.focal),
    "class_losses": multibox.class_losses,
    "mine_hard_negatives": per_image("mine_hard_negatives", mining.mine_hard_negatives),
    "multibox_loss": loss,
    "multibox_gradient": gradient,
    "nms": per_image("nms", suppression.nms),
    "soft_nms": per_image("soft_nms", suppression.soft_nms),
    "select": per_image("select", detection.select),
    "detect": per_image("detect", detection.detect),
}

# Canonically no score is lowered, and nobody asks how.
CLAIMS: dict[str, Mapping[str, Any]] = {"soft_nms": {"soft_sigma": 0.5}}


# --- ways to go wrong ----------------------------------------------------------------------------


class Way(NamedTuple):
    """A mistake that can be made in any operation: its name → a function."""

    of: Callable[[str], Function]


def by(**overrides: Any) -> Way:
    """By other rules than those claimed."""
    return Way(
        lambda operation: (
            lambda *arrays, convention: RIGHT[operation](
                *arrays, convention=convention.replace(**overrides)
            )
        )
    )


def given(change: Function) -> Way:
    """Of other inputs than those given, one array or several."""

    def way(operation: str) -> Function:
        def call(*arrays, convention):
            others = change(*arrays)
            others = others if isinstance(others, tuple) else (others,)
            return RIGHT[operation](*others, convention=convention)

        return call

    return Way(way)


def then(change: Function) -> Way:
    """With something done to the answer, which is one array or several."""

    def way(operation: str) -> Function:
        def call(*arrays, convention):
            found = RIGHT[operation](*arrays, convention=convention)
            return change(*found) if isinstance(found, tuple) else change(found)

        return call

    return Way(way)


def in_single(operation: str) -> Function:
    """In float32, whatever is asked for."""

    def call(*arrays, convention):
        kind = arrays[0].dtype
        single = [one.astype(np.float32) if one.dtype == kind else one for one in arrays]
        return RIGHT[operation](*single, convention=convention).astype(kind)

    return call


IN_SINGLE = ("in float32", "Loses half of the digits of float64 on the way.", Way(in_single))


def of(operation: str, *mistakes: tuple[Any, ...]) -> list[Fault]:
    """Faults of one operation: name, what is wrong, how, and what is claimed."""
    return [
        Fault(operation, name, wrong, how.of(operation) if isinstance(how, Way) else how, *claims)
        for name, wrong, how, *claims in mistakes
    ]


def swapped(values):
    """X for y, in boxes and in codes."""
    return values[..., [1, 0, 3, 2]]


def joined(*parts):
    return np.concatenate(parts, axis=-1)


# Overlaps of two lists of boxes


def sides_shared(first, second):
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    return np.minimum(first[:, None, 2:], second[None, :, 2:]) - low


def shared(first, second):
    return np.maximum(sides_shared(first, second), 0).prod(axis=-1)


def areas(first, second):
    return boxes.area(first)[:, None], boxes.area(second)[None, :]


def share(part, whole):
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def iou_by_share(first, second, convention):
    common = shared(first, second)
    return share(common, sum(areas(first, second)) - common)


def iou_unclamped(first, second, convention):
    common = sides_shared(first, second).prod(axis=-1)
    return share(common, sum(areas(first, second)) - common)


def iou_or_nan(first, second, convention):
    common = shared(first, second)
    return common / (sum(areas(first, second)) - common)


def offset_in_areas(first, second, convention):
    common = shared(first, second)
    longer = np.array([0, 0, 1, 1], first.dtype)
    return share(common, sum(areas(first + longer, second + longer)) - common)


# Anchors


def laid_out(**overrides: Function) -> Function:
    """By a layout of which fields are changed, each by a function of the layout."""

    def call(zero, convention):
        layout = convention.layout
        other = replace(layout, **{name: change(layout) for name, change in overrides.items()})
        return make_anchors(other, zero.dtype)

    return call


def turned(layout):
    return tuple(tuple(1 / one for one in level) for level in layout.aspect_ratios)


# Matching: functions of the IoU of one image


def matched(change: Function) -> Function:
    """A matcher that is given IoU in place of boxes; of no objects nothing is asked."""

    def call(box, anchors, convention):
        iou = boxes.pairwise_iou(box, boxes.cxcywh_to_xyxy(anchors), convention)
        return change(iou, convention) if len(box) else np.full(len(anchors), -1)

    return per_image("match", call)


def forced_on(found, anchor_of_object):
    for index, anchor in enumerate(anchor_of_object):
        if anchor >= 0:
            found[anchor] = index
    return found


def last_of_equal_objects(iou, convention):
    last = len(iou) - 1 - matching.match(iou[::-1], convention, force="none")
    return forced_on(np.where(last < len(iou), last, -1), matching.bipartite(iou))


def last_of_equal_anchors(iou, convention):
    return matching.match(iou[:, ::-1], convention)[::-1]


def threshold_before_force(iou, convention):
    reached = matching.match(iou, convention, force="none")
    return np.where(reached >= 0, reached, matching.match(iou, convention))


def one_object_after_the_other(iou, convention):
    left, anchors = np.array(iou), np.full(len(iou), -1)
    for index, row in enumerate(left):
        if row.max() > 0:
            anchors[index] = row.argmax()
            left[:, anchors[index]] = 0
    return forced_on(matching.match(iou, convention, force="none"), anchors)


def even_where_nothing_overlaps(iou, convention):
    anchors = matching.bipartite(np.maximum(iou, iou.dtype.type(1e-30)))
    return forced_on(matching.match(iou, convention, force="none"), anchors)


def without_padding(labels, rows):
    """Rows of a padded list as if padding were not counted."""
    place = np.cumsum(labels > 0, axis=1) - 1
    return np.where(rows < 0, rows, np.take_along_axis(place, np.maximum(rows, 0), axis=1))


def matched_without_padding(box, labels, anchors, convention):
    (found,) = RIGHT["match"](box, labels, anchors, convention=convention)
    return without_padding(labels, found)


# Coding


def in_units_of_the_box(box, anchor, convention):
    center = boxes.xyxy_to_cxcywh(box)
    shift = (center[:, :2] - anchor[:, :2]) / center[:, 2:]
    stretch = np.log(center[:, 2:] / anchor[:, 2:])
    return joined(shift, stretch) / np.array(convention.coding.variances, box.dtype)


def epsilon_of_the_box_alone(box, anchor, convention):
    epsilon = box.dtype.type(convention.coding.size_epsilon)
    box = box + np.array([-0.5, -0.5, 0.5, 0.5], box.dtype) * epsilon
    return coding.encode(box, anchor, convention, size_epsilon=0.0)


def grown_by_a_share(deltas, anchor, convention):
    scaled = deltas * np.array(convention.coding.variances, deltas.dtype)
    center = anchor[:, :2] + scaled[:, :2] * anchor[:, 2:]
    return boxes.cxcywh_to_xyxy(joined(center, (1 + scaled[:, 2:]) * anchor[:, 2:]))


def cut_before_the_variance(deltas, anchor, convention):
    most = deltas.dtype.type(convention.coding.largest_exponent)
    cut = joined(deltas[:, :2], np.minimum(deltas[:, 2:], most))
    return coding.decode(cut, anchor, convention, largest_exponent=None)


# Targets


def label_of_another_row(box, labels, anchors, *, convention):
    label, deltas, own = assign(box, labels, anchors, convention=convention)
    row = np.maximum(without_padding(labels, own), 0)
    others = np.maximum(np.take_along_axis(labels, row, axis=1), 1)
    return np.where(own >= 0, others, label), deltas, own


def codes_of_background(box, labels, anchors, *, convention):
    label, deltas, own = assign(box, labels, anchors, convention=convention)
    everywhere = assign(box, labels, anchors, convention=convention.replace(threshold=1e-9))[1]
    return label, np.where((own >= 0)[..., None], deltas, everywhere), own


def padding_is_an_object(box, labels, anchors, *, convention):
    real = labels > 0
    speck = np.array([0, 0, 1e-3, 1e-3], box.dtype)  # since nothing is refused by the encoder
    box = np.where(real[..., None], box, speck)
    return assign(box, np.where(real, labels, 1), anchors, convention=convention)


def crowds_by(near: Function) -> Function:
    """A rule for crowds: (corners of anchors, crowds of one image, limit=) → which are near."""

    def call(box, labels, anchors, crowds, *, convention):
        objects = np.where(crowds, -1, labels)
        label, deltas, own = assign(box, objects, anchors, convention=convention)
        corners, limit = boxes.cxcywh_to_xyxy(anchors), convention.matching.crowd_overlap
        for image, crowd in enumerate(crowds & (labels > 0)):
            marked = near(corners, box[image][crowd], limit=limit) & (own[image] < 0)
            label[image][marked] = IGNORE
        return label, deltas, own

    return call


def covered(anchors, crowds):
    return share(shared(anchors, crowds), areas(anchors, crowds)[0])


def of_the_crowd(anchors, crowds):
    return share(shared(anchors, crowds), areas(anchors, crowds)[1])


def crowds_before_objects(box, labels, anchors, crowds, *, convention):
    label, deltas, own = assign(box, labels, anchors, crowds, convention=convention)
    alone = np.where(crowds, labels, -1)
    near = assign(box, alone, anchors, crowds, convention=convention)[0] < 0
    free = ~near[..., None]
    return np.where(near, -1, label), np.where(free, deltas, 0), np.where(near, -1, own)


# Losses


def of_labels(values, labels):
    return np.take_along_axis(values, labels[..., None], axis=-1)[..., 0]


def of_distance(function: Function) -> Function:
    return plainly(lambda predicted, target: function(predicted - target))


def smoothly(below: Function, beyond: Function) -> Function:
    return of_distance(lambda d: np.where(np.abs(d) < 1, below(d), beyond(d)))


def softmax_of(shifted):
    powers = np.exp(shifted)
    return powers / powers.sum(axis=-1, keepdims=True)


def entropy_of(right, wanted):
    """Cross-entropy from probabilities."""
    return -wanted * np.log(right) - (1 - wanted) * np.log(1 - right)


def focal_of(logits, wanted, wrong):
    """Focal loss from the probability of what is wrong."""
    weight = wanted * 0.25 + (1 - wanted) * 0.75
    return weight * wrong**2 * losses.sigmoid_cross_entropy(logits, wanted)


def background_is_no_column(logits, labels, convention):
    truth = losses.one_hot(np.maximum(labels, 0), logits.shape[-1], logits.dtype)
    truth[..., 0] = 0
    found = losses.sigmoid_cross_entropy(logits, truth).sum(axis=-1)
    return np.where(labels < 0, 0, found).astype(logits.dtype)


# Mining


def mined(
    may: Function = lambda labels: labels == 0,
    order: Function = lambda values: np.argsort(-values, kind="stable"),
    count: Function = lambda labels, ratio: ratio * np.count_nonzero(labels > 0),
) -> Function:
    """Mining of one image, with parts to be had wrong."""

    def call(values, labels, convention):
        some, chosen = np.flatnonzero(may(labels)), np.zeros(labels.shape, bool)
        most = int(max(0, count(labels, convention.loss.negative_ratio)))
        chosen[some[order(values[some])][:most]] = True
        return chosen

    return per_image("mine_hard_negatives", call)


def mined_in_the_batch(values, labels, convention):
    everything = mining.mine_hard_negatives(values.ravel(), labels.ravel(), convention)
    return everything.reshape(labels.shape)


# MultiBox


def losing(
    divide: Function = multibox.normalisers,
    box_loss: Function = losses.smooth_l1,
    rank: Function = lambda class_loss, box_loss: class_loss,
    in_class: Function = lambda counted, negatives: counted | negatives,
) -> Function:
    """The loss of a batch, with parts to be had wrong."""

    def call(deltas, logits, wanted, labels, box, convention):
        class_loss = multibox.class_losses(logits, labels, convention)
        boxed = box_loss(deltas, wanted).sum(axis=-1)
        ranked = rank(class_loss, boxed)
        counted, negatives = mining.choose_anchors(ranked, labels, convention, boxes=box)
        with np.errstate(all="ignore"):
            by = 1 / np.asarray(divide(labels, convention), deltas.dtype)
            classes = (np.where(in_class(counted, negatives), class_loss, 0).sum(axis=1) * by).sum()
            places = (np.where(counted, boxed, 0).sum(axis=1) * by).sum()
        total = classes + deltas.dtype.type(convention.loss.box_weight) * places
        return total, classes, places, (labels > 0).sum(), counted, negatives, class_loss

    return call


def positives_of(labels):
    return np.full(len(labels), np.count_nonzero(labels > 0), float)


def divided_by_what_counts(labels, convention):
    negatives = np.minimum(3 * (labels > 0).sum(axis=1), (labels == 0).sum(axis=1))
    return np.maximum(1, positives_of(labels) + negatives.sum())


def suppressed_do_not_divide(deltas, logits, wanted, labels, box, convention):
    found = loss(deltas, logits, wanted, labels, box, convention)
    more = max(1, found[3]) / max(1, np.count_nonzero(found[4]))
    return *(one * deltas.dtype.type(more) for one in found[:3]), *found[3:]


def spoiled(by_deltas: Function | None = None, by_logits: Function | None = None) -> Function:
    """Gradients of which one is changed: (gradient, distances, labels), or (gradient, labels)."""

    def call(deltas, logits, wanted, labels, box, convention):
        heads = deltas, logits, wanted, labels, box
        first, second, *chosen = gradient(*heads, convention=convention)
        if by_deltas is not None:
            first = by_deltas(first, deltas - wanted).astype(deltas.dtype)
        if by_logits is not None:
            second = by_logits(second, labels).astype(logits.dtype)
        return first, second, *chosen

    return call


# Suppression


def visited(order: Function, drops: Function) -> Function:
    """Greedy suppression: (scores) → order; (kept boxes, one, convention) → whether it goes."""

    def call(box, score, convention):
        kept: list[int] = []
        with np.errstate(all="ignore"):
            for one in order(score):
                if not drops(box[kept], box[[one]], convention):
                    kept.append(one)
        return np.array(kept, int)

    return per_image("nms", call)


def surest_first(score):
    return np.argsort(-score, kind="stable")


def limit(convention, box):
    return box.dtype.type(convention.detection.iou_threshold)


def overlapped(kept, one, convention):
    return (boxes.pairwise_iou(kept, one, convention) > limit(convention, one)).any()


def not_below(kept, one, convention):
    return not (iou_or_nan(kept, one, convention) <= limit(convention, one)).all()


def of_the_smaller(kept, one, convention):
    smaller = np.minimum(*areas(kept, one))
    return (share(shared(kept, one), smaller) > limit(convention, one)).any()


def all_pairs_at_once(box, score, convention):
    order = surest_first(score)
    over = boxes.pairwise_iou(box[order], box[order], convention) > limit(convention, box)
    return order[~np.triu(over, 1).any(axis=0)]


def falls_below_one_half(box, score, convention):
    kept: list[int] = []
    rules = convention.detection
    threshold, eta = box.dtype.type(rules.iou_threshold), box.dtype.type(rules.eta)
    for one in surest_first(score):
        if (boxes.pairwise_iou(box[kept], box[[one]], convention) <= threshold).all():
            kept.append(one)
            threshold = threshold * eta
    return np.array(kept, int)


def softly(
    decay: Function = lambda overlap, sigma: np.exp(overlap**2 / (-2 * sigma)),
    surest: Function = lambda current, first: current,
) -> Function:
    """Soft suppression: (IoU, sigma) → factor; (lowered, first scores) → what is visited by."""

    def call(box, score, convention):
        rules, current, kept = convention.detection, np.array(score), []
        least = score.dtype.type(rules.score_threshold)
        waiting = np.flatnonzero(score > least)
        while waiting.size:
            place = surest(current, score)[waiting].argmax()
            best, waiting = waiting[place], np.delete(waiting, place)
            kept.append(best)
            overlap = boxes.pairwise_iou(box[[best]], box[waiting], convention)[0]
            current[waiting] *= decay(overlap, rules.soft_sigma).astype(score.dtype)
            waiting = waiting[(overlap <= limit(convention, box)) & (current[waiting] > least)]
        return np.array(kept, int), current[kept]

    return per_image("soft_nms", call)


# Selection and detection: functions of one image


def selected(change: Function) -> Function:
    return per_image("select", change)


def reordered(found, order, convention):
    order = order[: convention.detection.max_detections]
    return Detections(*(part[order] for part in found))


def across_classes(box, score, convention):
    alone = convention.replace(iou_threshold=1.0, max_detections=score.size)
    found = detection.select(box, score, alone)
    return reordered(found, suppression.nms(found.boxes, found.scores, convention), convention)


def surest_of_all(score, count):
    """Scores, all but the best of all classes lowered to nothing."""
    best = np.argsort(-score, axis=None, kind="stable")[:count]
    only = np.zeros_like(score)
    only.flat[best] = score.flat[best]
    return only


def cut_before_suppression(box, score, convention):
    only = surest_of_all(score, convention.detection.max_detections)
    return detection.select(box, only, convention)


def candidates_of_all_classes(box, score, convention):
    only = surest_of_all(score, convention.detection.candidates_per_class)
    return detection.select(box, only, convention)


def in_another_order(order: Function) -> Function:
    """What is found is put in order by keys, the most important last, and cut."""

    def call(box, score, convention):
        found = detection.select(box, score, convention, max_detections=score.size)
        return reordered(found, np.lexsort(order(found)), convention)

    return selected(call)


def each_class_has_its_best_first(box, score, convention):
    most = convention.detection.max_per_class
    return detection.select(box, score, convention, candidates_per_class=most, max_per_class=None)


def empty_ones_take_slots(box, score, convention):
    found = detection.select(box, score, convention, drop_empty=False)
    return reordered(found, np.flatnonzero(boxes.area(found.boxes) > 0), convention)


def detected(scores: Function) -> Function:
    """A detector with other scores: logits → (A, C)."""

    def call(deltas, logits, anchors, convention):
        box = coding.decode(deltas, anchors, convention)
        return detection.select(box, scores(logits), convention)

    return per_image("detect", call)


# What is written out above, with no part wrong: it has to pass, or its faults would prove nothing.
WRITTEN_OUT: list[tuple[str, Function]] = [
    ("pairwise_iou", each(iou_by_share)),
    ("pairwise_ioa", each(lambda one, two, _: of_the_crowd(one, two))),
    ("match", matched(matching.match)),
    (
        "assign_targets_with_crowds",
        crowds_by(lambda *pair, limit: (covered(*pair) >= limit).any(axis=1)),
    ),
    ("mine_hard_negatives", mined()),
    ("multibox_loss", losing()),
    ("multibox_gradient", spoiled()),
    ("nms", visited(surest_first, overlapped)),
    ("soft_nms", softly()),
    ("detect", detected(lambda logits: losses.softmax(logits)[:, 1:])),
]


# --- the table -----------------------------------------------------------------------------------

FAULTS = [
    *of(
        "xyxy_to_cxcywh",
        ("axes swapped", "Gives (cy, cx, h, w).", then(swapped)),
        (
            "the far corner for the size",
            "Gives (cx, cy, xmax, ymax).",
            plainly(lambda box: joined(boxes.xyxy_to_cxcywh(box)[:, :2], box[:, 2:])),
        ),
        (
            "the sign of the centre",
            "Takes half the difference of the corners for the centre.",
            plainly(lambda box: joined((box[:, 2:] - box[:, :2]) / 2, box[:, 2:] - box[:, :2])),
        ),
        (
            "inclusive pixels",
            "Adds a pixel of 300 to each side.",
            then(lambda box: box + np.array([0, 0, 1, 1], box.dtype) / 300),
        ),
        IN_SINGLE,
    ),
    *of(
        "cxcywh_to_xyxy",
        ("axes swapped", "Gives (ymin, xmin, ymax, xmax).", then(swapped)),
        (
            "whole sizes",
            "Goes a whole size to each side of the centre.",
            given(lambda box: box * np.array([1, 1, 2, 2], box.dtype)),
        ),
        (
            "the corner for the centre",
            "Takes (cx, cy) for the near corner.",
            plainly(lambda box: joined(box[:, :2], box[:, :2] + box[:, 2:])),
        ),
        ("clipped", "Cuts what reaches beyond the image.", then(boxes.clip)),
        IN_SINGLE,
    ),
    *of(
        "area",
        (
            "sum for product",
            "Adds width and height.",
            plainly(lambda box: (box[:, 2:] - box[:, :2]).sum(axis=-1)),
        ),
        (
            "inside out counts",
            "Multiplies two negative sides of a box turned inside out.",
            plainly(lambda box: (box[:, 2:] - box[:, :2]).prod(axis=-1)),
        ),
        (
            "the width twice",
            "Squares the width.",
            plainly(lambda box: np.maximum(box[:, 2] - box[:, 0], 0) ** 2),
        ),
        (
            "inclusive pixels",
            "Adds a pixel of 300 to each side.",
            given(lambda box: box + np.array([0, 0, 1, 1], box.dtype) / 300),
        ),
        IN_SINGLE,
    ),
    *of(
        "flip_horizontally",
        (
            "corners in place",
            "Takes both x from 1 and leaves them where they were.",
            plainly(lambda box: np.abs([1, 0, 1, 0] - box)),
        ),
        (
            "upside down",
            "Mirrors top to bottom.",
            plainly(lambda box: box[:, [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 1, 0, 1]),
        ),
        (
            "around 0",
            "Mirrors around the left border.",
            plainly(lambda box: box[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]),
        ),
    ),
    *of(
        "clip",
        ("far side only", "Cuts at 1 and not at 0.", plainly(lambda box: np.minimum(box, 1))),
        ("near side only", "Cuts at 0 and not at 1.", plainly(lambda box: np.maximum(box, 0))),
        (
            "a half is missing",
            "Cuts the near corner at 0 and the far one at 1: a box outside turns inside out.",
            plainly(lambda box: joined(np.maximum(box[:, :2], 0), np.minimum(box[:, 2:], 1))),
        ),
        (
            "shifted",
            "Moves a box into the image and keeps its size.",
            plainly(lambda box: box - np.tile(np.minimum(box[:, :2], 0), 2)),
        ),
        (
            "to the last pixel",
            "Cuts at 299/300, as of inclusive pixels.",
            plainly(lambda box: np.clip(box, 0, box.dtype.type(299 / 300))),
        ),
    ),
    *of(
        "pairwise_iou",
        ("epsilon added", "Adds 1e-7 to the union.", by(iou_epsilon=1e-7)),
        ("inclusive pixels", "Adds a pixel of 300 to each side.", by(iou_offset=1 / 300)),
        (
            "sides not cut at 0",
            "Multiplies two negative sides of boxes that lie apart on both axes.",
            each(iou_unclamped),
        ),
        ("0 / 0", "Is NaN for a pair without union.", each(iou_or_nan)),
        (
            "the union counts twice what is shared",
            "Divides by the sum of both areas.",
            each(lambda one, two, _: share(shared(one, two), sum(areas(one, two)))),
        ),
        (
            "min for the union",
            "Divides by the smaller area.",
            each(lambda one, two, _: share(shared(one, two), np.minimum(*areas(one, two)))),
        ),
        (
            "the other way round",
            "Gives a row for each second box.",
            then(lambda iou: iou.swapaxes(1, 2)),
        ),
        (
            "offset in the areas only",
            "Claims an offset of 1 and forgets it in the intersection.",
            each(offset_in_areas),
            {"iou_offset": 1.0},
        ),
        IN_SINGLE,
    ),
    *of(
        "pairwise_ioa",
        ("IoU", "Divides by the union.", each(boxes.pairwise_iou)),
        (
            "over the other",
            "Divides by the area of the first box.",
            each(lambda one, two, _: covered(one, two)),
        ),
        (
            "0 / 0",
            "Is NaN for a first box without area.",
            each(lambda one, two, _: shared(one, two) / areas(one, two)[0]),
        ),
        (
            "sides not cut at 0",
            "Multiplies two negative sides of boxes that lie apart on both axes.",
            each(
                lambda one, two, _: share(sides_shared(one, two).prod(axis=-1), areas(one, two)[0])
            ),
        ),
        IN_SINGLE,
    ),
    *of(
        "make_anchors",
        ("axes swapped", "Gives (cy, cx, h, w), or goes down the columns.", then(swapped)),
        (
            "corner of a cell",
            "Puts anchors on the near corner of their cell.",
            laid_out(offset=lambda layout: 0.0),
        ),
        (
            "shape by shape",
            "Lists all cells of one shape before the next shape.",
            laid_out(order=lambda layout: "shape"),
        ),
        (
            "extra square last",
            "Lists s' behind the ratios.",
            laid_out(extra_square=lambda layout: "last"),
        ),
        (
            "scales off by one",
            "Takes for each map the scale of the one before.",
            laid_out(scales=lambda layout: (layout.scales[0], *layout.scales[:-1])),
        ),
        (
            "ratios turned",
            "Takes height / width for width / height.",
            laid_out(aspect_ratios=turned),
        ),
        (
            "clipped",
            "Cuts anchors at the border of the image.",
            laid_out(clip=lambda layout: "corners"),
        ),
        (
            "computed in float32",
            "Rounds on the way instead of once.",
            then(
                lambda found: (found.astype(np.float32) * np.float32(3) / np.float32(3)).astype(
                    found.dtype
                )
            ),
        ),
        (
            "steps forgotten",
            "Claims Caffe's layout and divides the image by the cells.",
            laid_out(steps=lambda layout: ()),
            {"layout": PRESETS["caffe"].layout},
        ),
    ),
    *of(
        "match",
        (
            "> for ≥",
            "Leaves an overlap equal to the threshold to the background.",
            by(positive_at=">"),
        ),
        (
            "no bipartite step",
            "Lets each object take its best anchor, the last one's stays.",
            by(force="last"),
        ),
        ("nobody is forced", "Knows the threshold alone.", by(force="none")),
        (
            "forced on what it does not overlap",
            "Gives every object an anchor, be the overlap 0.",
            matched(even_where_nothing_overlaps),
        ),
        (
            "in the order of the list",
            "Lets objects choose one after the other instead of the largest overlap first.",
            matched(one_object_after_the_other),
        ),
        (
            "the threshold over the forced",
            "Gives an anchor above the threshold to its best object, whoever was forced on it.",
            matched(threshold_before_force),
        ),
        (
            "tie to the last object",
            "Of equal overlaps with one anchor takes the last object's.",
            matched(last_of_equal_objects),
        ),
        (
            "tie to the last anchor",
            "Of equal overlaps with one object forces the last anchor's.",
            matched(last_of_equal_anchors),
        ),
        (
            "padding is an object",
            "Matches rows of label −1 too.",
            given(lambda box, labels, anchors: (box, np.ones_like(labels), anchors)),
        ),
        (
            "rows off by the padding",
            "Counts objects as if padding were not in the list.",
            matched_without_padding,
        ),
        (
            "no band",
            "Claims to ignore overlaps from .3 and makes them background.",
            by(ignore_from=None),
            {"ignore_from": 0.3},
        ),
    ),
    *of(
        "encode",
        ("variances forgotten", "Divides by none.", by(variances=(1.0, 1.0, 1.0, 1.0))),
        ("reciprocal variances", "Multiplies by them.", by(variances=(10.0, 10.0, 5.0, 5.0))),
        ("axes swapped", "Gives (ty, tx, th, tw).", by(code_order="yxhw")),
        (
            "in units of the box",
            "Divides the offset by the size of the box, not of the anchor.",
            in_units_of_the_box,
        ),
        ("no logarithm", "Takes the difference of sizes.", by(form="difference")),
        ("epsilon added", "Adds 1e-8 to the sizes.", by(size_epsilon=1e-8)),
        (
            "epsilon on one side",
            "Claims to add .001 to both sizes and adds it to the box's.",
            epsilon_of_the_box_alone,
            {"size_epsilon": 1e-3},
        ),
        IN_SINGLE,
    ),
    *of(
        "decode",
        ("variances forgotten", "Multiplies by none.", by(variances=(1.0, 1.0, 1.0, 1.0))),
        ("reciprocal variances", "Divides by them.", by(variances=(10.0, 10.0, 5.0, 5.0))),
        ("axes swapped", "Reads (ty, tx, th, tw).", by(code_order="yxhw")),
        ("centres given back", "Gives (cx, cy, w, h).", then(boxes.xyxy_to_cxcywh)),
        ("no exponential", "Grows an anchor by 1 + tw.", grown_by_a_share),
        ("sizes cut", "Cuts the exponent at log(1000 / 16).", by(largest_exponent=log(1000 / 16))),
        (
            "cut before the variance",
            "Claims to cut the exponent at 1 and cuts the code at 1.",
            cut_before_the_variance,
            {"largest_exponent": 1.0},
        ),
        IN_SINGLE,
    ),
    *of(
        "background_first",
        (
            "background shifted",
            "Moves the last column to the front, where the background is first already.",
            by(background="last"),
        ),
        (
            "background left behind",
            "Claims a background at the end and leaves it there.",
            by(background="first"),
            {"background": "last"},
        ),
        (
            "shifted the other way",
            "Claims a background at the end and moves the first column there.",
            plainly(lambda logits: np.roll(logits, -1, axis=-1)),
            {"background": "last"},
        ),
        (
            "columns exchanged",
            "Claims a background at the end and exchanges it with the first class.",
            plainly(lambda logits: joined(logits[:, -1:], logits[:, 1:-1], logits[:, :1])),
            {"background": "last"},
        ),
    ),
    *of(
        "assign_targets",
        (
            "background shifted",
            "Counts classes from 0.",
            then(lambda label, *rest: (np.where(label > 0, label - 1, label), *rest)),
        ),
        (
            "label of another row",
            "Looks labels up as if padding were not in the list.",
            label_of_another_row,
        ),
        ("variances forgotten", "Codes boxes without them.", by(variances=(1.0, 1.0, 1.0, 1.0))),
        (
            "background has a code",
            "Codes the best object of every anchor that overlaps any.",
            codes_of_background,
        ),
        (
            "padding is an object",
            "Takes rows of label −1 for specks of label 1.",
            padding_is_an_object,
        ),
        (
            "> for ≥",
            "Leaves an overlap equal to the threshold to the background.",
            by(positive_at=">"),
        ),
        (
            "ignored is background",
            "Claims to ignore overlaps from .3 and labels them 0.",
            then(lambda label, *rest: (np.maximum(label, 0), *rest)),
            {"ignore_from": 0.3},
        ),
        (
            "a line is an object",
            "Claims to drop objects without width and codes them.",
            by(degenerate="encode", size_epsilon=1e-30),
            {"degenerate": "drop", "force": "last", "force_above": -1.0},
        ),
    ),
    *of(
        "assign_targets_with_crowds",
        ("crowds ignored", "Leaves anchors on a crowd to the background.", by(crowd_by="none")),
        (
            "crowds are objects",
            "Lets anchors answer for a crowd.",
            given(lambda *arrays: arrays[:3]),
        ),
        ("IoU", "Asks for the IoU with a crowd instead of the IoA.", by(crowd_by="iou")),
        (
            "share of the crowd",
            "Asks which share of the crowd the anchor covers.",
            crowds_by(lambda *pair, limit: (of_the_crowd(*pair) >= limit).any(axis=1)),
        ),
        (
            "> for ≥",
            "Leaves a share equal to the limit to the background.",
            crowds_by(lambda *pair, limit: (covered(*pair) > limit).any(axis=1)),
        ),
        (
            "all crowds together",
            "Adds the shares that several crowds cover.",
            crowds_by(lambda *pair, limit: covered(*pair).sum(axis=1) >= limit),
        ),
        (
            "crowds before objects",
            "Ignores an anchor on a crowd although it has an object.",
            crowds_before_objects,
        ),
    ),
    *of(
        "smooth_l1",
        ("squared", "Is d² / 2 everywhere.", of_distance(lambda d: d * d / 2)),
        (
            "a half is missing",
            "Is d² below 1.",
            smoothly(lambda d: d * d, lambda d: np.abs(d) - 0.5),
        ),
        (
            "the other half is missing",
            "Is the distance beyond 1.",
            smoothly(lambda d: d * d / 2, np.abs),
        ),
        (
            "sign",
            "Is d − 1/2 beyond 1, below 0 too.",
            of_distance(lambda d: np.where(d < 1, d * d / 2, d - d.dtype.type(0.5))),
        ),
        IN_SINGLE,
    ),
    *of(
        "softmax",
        ("the largest is not taken off", "Overflows to NaN.", plainly(softmax_of)),
        (
            "the largest of all rows",
            "Takes one number off all rows, so that a row of small logits is 0 / 0.",
            plainly(lambda logits: softmax_of(logits - logits.max())),
        ),
        (
            "rows for columns",
            "Sums over the anchors.",
            plainly(lambda logits: losses.softmax(logits.T).T),
        ),
        (
            "base 2",
            "Raises 2 to the logits.",
            given(lambda logits: logits * logits.dtype.type(log(2))),
        ),
        IN_SINGLE,
    ),
    *of(
        "softmax_cross_entropy",
        (
            "the largest is not taken off",
            "Overflows to infinity.",
            plainly(lambda z, labels: np.log(np.exp(z).sum(axis=-1)) - of_labels(z, labels)),
        ),
        (
            "logarithm of a softmax",
            "Is infinite where the probability is 0.",
            plainly(lambda z, labels: -np.log(of_labels(losses.softmax(z), labels))),
        ),
        (
            "epsilon added",
            "Adds 1e-7 to the probability.",
            plainly(
                lambda z, labels: -np.log(of_labels(losses.softmax(z), labels) + z.dtype.type(1e-7))
            ),
        ),
        (
            "background shifted",
            "Takes column label − 1 of an object.",
            given(lambda z, labels: (z, np.maximum(labels - 1, 0))),
        ),
        ("sign", "Is the logarithm of the probability.", then(lambda found: -found)),
        IN_SINGLE,
    ),
    *of(
        "sigmoid",
        ("softmax", "Lets classes compete.", plainly(losses.softmax)),
        ("sign", "Is σ(−z).", given(lambda logits: -logits)),
        (
            "digits lost",
            "Is 1 − σ(−z), which is 0 for a small one.",
            plainly(lambda logits: 1 - losses.sigmoid(-logits)),
        ),
        (
            "in pieces",
            "Is z / 6 + 1/2 from 0 to 1, as on small machines.",
            plainly(lambda logits: np.clip(logits / 6 + logits.dtype.type(0.5), 0, 1)),
        ),
        IN_SINGLE,
    ),
    *of(
        "sigmoid_cross_entropy",
        (
            "logarithms of a sigmoid",
            "Is infinite or NaN where the sigmoid is 0 or 1.",
            plainly(lambda z, wanted: entropy_of(losses.sigmoid(z), wanted)),
        ),
        (
            "epsilon added",
            "Keeps the sigmoid 1e-7 away from 0 and 1.",
            plainly(
                lambda z, wanted: entropy_of(
                    np.clip(losses.sigmoid(z), z.dtype.type(1e-7), z.dtype.type(1 - 1e-7)), wanted
                )
            ),
        ),
        (
            "a half is missing",
            "Forgets (1 − t) log(1 − σ(z)).",
            plainly(lambda z, wanted: wanted * losses.sigmoid_cross_entropy(z, np.ones_like(z))),
        ),
        ("targets turned", "Takes 1 − t for t.", given(lambda z, wanted: (z, 1 - wanted))),
        (
            "overflow",
            "Is log(1 + exp(z)) − t z, infinite for a large z.",
            plainly(lambda z, wanted: np.log1p(np.exp(z)) - wanted * z),
        ),
        IN_SINGLE,
    ),
    *of(
        "focal",
        (
            "alpha turned",
            "Weighs what is not there by .25.",
            plainly(lambda z, wanted: losses.focal(z, wanted, 0.75)),
        ),
        (
            "gamma forgotten",
            "Counts what is already right in full.",
            plainly(lambda z, wanted: losses.focal(z, wanted, gamma=0.0)),
        ),
        (
            "p for 1 − p",
            "Lowers what is wrong instead of what is right.",
            plainly(lambda z, wanted: focal_of(z, wanted, losses.sigmoid(z * (2 * wanted - 1)))),
        ),
        (
            "digits lost",
            "Takes 1 − p, which is 0 where p is nearly 1.",
            plainly(
                lambda z, wanted: focal_of(z, wanted, 1 - losses.sigmoid(z * (2 * wanted - 1)))
            ),
        ),
        IN_SINGLE,
    ),
    *of(
        "class_losses",
        (
            "nothing is background",
            "Counts label −1 as background.",
            given(lambda z, labels: (z, np.maximum(labels, 0))),
        ),
        (
            "background shifted",
            "Takes column label − 1 of an object.",
            given(lambda z, labels: (z, np.where(labels > 0, labels - 1, labels))),
        ),
        (
            "background left behind",
            "Claims a background at the end and looks for it in front.",
            by(background="first"),
            {"background": "last"},
        ),
        (
            "mean for sum",
            "Claims sigmoids and averages them over the columns.",
            then(lambda found: found / found.dtype.type(11)),
            {"class_loss": "sigmoid"},
        ),
        (
            "background is no column",
            "Claims sigmoids and wants no column to be sure of the background.",
            background_is_no_column,
            {"class_loss": "sigmoid"},
        ),
        (
            "alpha and gamma of the paper",
            "Claims a focal loss with others.",
            by(focal_alpha=0.25, focal_gamma=2.0),
            {"class_loss": "focal", "focal_alpha": 0.4, "focal_gamma": 1.5},
        ),
    ),
    *of(
        "mine_hard_negatives",
        (
            "over the batch",
            "Mines the hardest negatives of all images together.",
            mined_in_the_batch,
        ),
        (
            "tie to the last",
            "Of equal losses takes the highest anchor's.",
            mined(order=lambda values: values.size - 1 - np.argsort(-values[::-1], kind="stable")),
        ),
        (
            "easiest first",
            "Sorts the other way.",
            mined(order=lambda values: np.argsort(values, kind="stable")),
        ),
        ("positives too", "Mines among all anchors.", mined(may=lambda labels: labels >= 0)),
        (
            "nothing is a negative",
            "Mines anchors of label −1.",
            mined(may=lambda labels: labels <= 0),
        ),
        (
            "labels summed",
            "Counts an object of label 5 five times.",
            mined(count=lambda labels, ratio: ratio * labels[labels > 0].sum()),
        ),
        (
            "one too few",
            "Is off by one.",
            mined(count=lambda labels, ratio: ratio * np.count_nonzero(labels > 0) - 1),
        ),
        ("one at the least", "Mines a negative of an image without objects.", by(min_negatives=1)),
        ("rounded up", "Gives the half of a negative.", by(rounding="up")),
    ),
    *of(
        "multibox_loss",
        (
            "mining over the batch",
            "Takes the hardest negatives of all images together.",
            by(mining="batch"),
        ),
        (
            "normaliser off by the batch size",
            "Divides by positives per image.",
            by(normaliser="mean"),
        ),
        (
            "each image by itself",
            "Divides each image by its own positives, then averages.",
            by(normaliser="image"),
        ),
        (
            "0 / 0",
            "Is NaN for a batch without objects.",
            losing(divide=lambda labels, convention: positives_of(labels)),
        ),
        (
            "negatives divide too",
            "Divides by all anchors that count.",
            losing(divide=divided_by_what_counts),
        ),
        ("background has a box", "Counts the box loss of all anchors.", by(box_over="all")),
        ("weight forgotten", "Adds the box loss once, whatever its weight.", by(box_weight=1.0)),
        (
            "absolute box loss",
            "Does not smooth it.",
            losing(box_loss=lambda deltas, wanted: np.abs(deltas - wanted)),
        ),
        (
            "mean for sum",
            "Averages the box loss over the four numbers of a code.",
            losing(box_loss=lambda deltas, wanted: losses.smooth_l1(deltas, wanted) / 4),
        ),
        (
            "mined by both losses",
            "Ranks negatives by the sum of class and box loss.",
            losing(rank=lambda class_loss, box_loss: class_loss + box_loss),
        ),
        (
            "positives have no class",
            "Sums the class loss of negatives alone.",
            losing(in_class=lambda counted, negatives: negatives),
        ),
        (
            "nothing is background",
            "Counts label −1 as background.",
            given(lambda *heads: (*heads[:3], np.maximum(heads[3], 0), heads[4])),
        ),
        (
            "the suppressed do not divide",
            "Claims suppression before mining and divides by the positives that are left.",
            suppressed_do_not_divide,
            {"mining_nms": 0.3},
        ),
    ),
    *of(
        "multibox_gradient",
        (
            "sign",
            "Climbs.",
            spoiled(lambda by_deltas, distance: -by_deltas, lambda by_logits, labels: -by_logits),
        ),
        (
            "of the square",
            "Is d beyond 1 too, as of a loss that is not smoothed.",
            spoiled(lambda by_deltas, distance: by_deltas * np.maximum(1, np.abs(distance))),
        ),
        (
            "only the true column",
            "Forgets that other classes lose what the true one gains.",
            spoiled(None, lambda by_logits, labels: np.minimum(by_logits, 0)),
        ),
        (
            "no negatives",
            "Holds back the gradient of the mined negatives.",
            spoiled(None, lambda by_logits, labels: by_logits * (labels > 0)[..., None]),
        ),
        (
            "normaliser off by the batch size",
            "Divides by positives per image.",
            by(normaliser="mean"),
        ),
        ("weight forgotten", "Takes the box loss once, whatever its weight.", by(box_weight=1.0)),
        (
            "background shifted",
            "Claims a background at the end and gives its column in front.",
            spoiled(None, lambda by_logits, labels: np.roll(by_logits, 1, axis=-1)),
            {"background": "last"},
        ),
    ),
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
            "Visits boxes as they come, not the surest first.",
            visited(lambda score: np.arange(score.size), overlapped),
        ),
        (
            "kept in the order of the list",
            "Sorts what it kept by index.",
            per_image(
                "nms", lambda *image, convention: np.sort(suppression.nms(*image, convention))
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
            visited(surest_first, lambda kept, *rest: overlapped(kept[-1:], *rest)),
        ),
        (
            "min for the union",
            "Compares what is shared with the smaller box.",
            visited(surest_first, of_the_smaller),
        ),
        (
            "0 / 0",
            "Asks whether the overlap is not above the threshold, which NaN is not.",
            visited(surest_first, not_below),
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
            softly(surest=lambda current, first: first),
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
            "Lists detections by anchor, and cuts the surest off.",
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


# --- the suite -----------------------------------------------------------------------------------

CASES = 8  # images of each random workload, a third of what Keras is asked


def offering(
    operation: str, function: Function, claims: Mapping[str, Any] | None = None
) -> Implementation:
    """An implementation of one operation."""
    overrides = {**CLAIMS.get(operation, {}), **(claims or {})}
    return Implementation("somebody's", {operation: Offer(function, overrides=overrides)})


def failures(implementation: Implementation) -> Iterator[tuple[str, str]]:
    """The tests of the suite that an implementation fails: dtype or conflict case, and message.

    A crash is no wrong answer, and not caught here.
    """
    (label,) = implementation.asked()
    with mock.patch.object(suite, "AT_LEAST", CASES):
        for dtype in implementation.dtypes_of(label):
            try:
                suite.test_operation(implementation, label, "eager", dtype, None, _nobody)
            except AssertionError as failure:
                yield dtype, str(failure)
    for _, case in suite.conflict_offers(implementation):
        try:
            suite.test_conflict_case(implementation, label, case, "eager", _nobody)
        except AssertionError as failure:
            yield case.name, str(failure)


def _nobody(name: str, value: Any) -> None:
    """Whom a test tells what it found."""


def caught(fault: Fault) -> dict[str, str]:
    """What of the suite a fault fails, and the messages; found out once."""
    index = next(index for index, one in enumerate(FAULTS) if one is fault)
    return _caught(index)


@cache
def _caught(index: int) -> dict[str, str]:
    fault = FAULTS[index]
    return dict(failures(offering(fault.operation, fault.function, fault.claims)))


# --- the page ------------------------------------------------------------------------------------

_HEAD = """# Faults that the conformance suite catches

A suite is worth what it would catch. Here are {faults} wrong implementations of the {operations}
operations of [conformance.md](conformance.md), mistakes that people make, and what of the suite
fails for each: *random* workloads in a dtype ({cases} images of each, a third of what Keras is
asked), and conflict cases by their names in [conflicts.md](conflicts.md). None gets through, and
the same operations without a mistake pass everything.

A fault that shows in one dtype only is about digits: what is computed in float32 throughout is
right where float32 is asked for, and what overflows in float32 may not in float64. Faults that
claim something claim that answer of a convention, all others the canonical ones.

The table is `FAULTS` in `tests/faults.py`; `tests/test_faults.py` puts it to the suite on every
run. This page is written by `python -m tests.pages`.
"""


def as_markdown() -> str:
    """The page docs/faults.md."""
    operations = len({fault.operation for fault in FAULTS})
    lines = [_HEAD.format(faults=len(FAULTS), operations=operations, cases=CASES)]
    for operation, faults in groupby(FAULTS, key=lambda fault: fault.operation):
        lines += [f"## `{operation}`", "", "| fault | what is wrong | caught by |", "|---|---|---|"]
        lines += [f"| {one.name} | {one.wrong} | {_catchers(caught(one))} |" for one in faults]
        lines.append("")
    return "\n".join(lines)


def _catchers(found: Mapping[str, str]) -> str:
    dtypes = [name for name in DTYPES if name in found]
    random = {0: [], 1: [f"random in {dtypes[0] if dtypes else ''}"], 2: ["random"]}[len(dtypes)]
    return ", ".join([*random, *(f"“{name}”" for name in found if name not in DTYPES)])
