"""Mistakes in matching and in the targets of anchors."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_impl.conformance.batching import per_image
from keras_impl.conformance.faults.making import (
    RIGHT,
    Function,
    assign,
    by,
    covered,
    given,
    of,
    of_the_crowd,
    then,
)
from reference_numpy import boxes, matching
from reference_numpy.conventions import IGNORE

__all__ = ["FAULTS", "WRITTEN_OUT"]


def matched(change: Function) -> Function:
    """A matcher that is given IoU in place of boxes; of no objects nothing is asked."""

    def call(box: Any, anchors: Any, convention: Any) -> Any:
        iou = boxes.pairwise_iou(box, boxes.cxcywh_to_xyxy(anchors), convention)
        return change(iou, convention) if len(box) else np.full(len(anchors), -1)

    return per_image("match", call)


def forced_on(found: Any, anchor_of_object: Any) -> Any:
    for index, anchor in enumerate(anchor_of_object):
        if anchor >= 0:
            found[anchor] = index
    return found


def last_of_equal_objects(iou: Any, convention: Any) -> Any:
    last = len(iou) - 1 - matching.match(iou[::-1], convention, force="none")
    return forced_on(np.where(last < len(iou), last, -1), matching.bipartite(iou))


def last_of_equal_anchors(iou: Any, convention: Any) -> Any:
    return matching.match(iou[:, ::-1], convention)[::-1]


def threshold_before_force(iou: Any, convention: Any) -> Any:
    reached = matching.match(iou, convention, force="none")
    return np.where(reached >= 0, reached, matching.match(iou, convention))


def one_object_after_the_other(iou: Any, convention: Any) -> Any:
    left, anchors = np.array(iou), np.full(len(iou), -1)
    for index, row in enumerate(left):
        if row.max() > 0:
            anchors[index] = row.argmax()
            left[:, anchors[index]] = 0
    return forced_on(matching.match(iou, convention, force="none"), anchors)


def even_where_nothing_overlaps(iou: Any, convention: Any) -> Any:
    anchors = matching.bipartite(np.maximum(iou, iou.dtype.type(1e-30)))
    return forced_on(matching.match(iou, convention, force="none"), anchors)


def without_padding(labels: Any, rows: Any) -> Any:
    """Rows of a padded list as if padding were not counted."""
    place = np.cumsum(labels > 0, axis=1) - 1
    return np.where(rows < 0, rows, np.take_along_axis(place, np.maximum(rows, 0), axis=1))


def matched_without_padding(box: Any, labels: Any, anchors: Any, convention: Any) -> Any:
    (found,) = RIGHT["match"](box, labels, anchors, convention=convention)
    return without_padding(labels, found)


def label_of_another_row(box: Any, labels: Any, anchors: Any, *, convention: Any) -> Any:
    label, deltas, own = assign(box, labels, anchors, convention=convention)
    row = np.maximum(without_padding(labels, own), 0)
    others = np.maximum(np.take_along_axis(labels, row, axis=1), 1)
    return np.where(own >= 0, others, label), deltas, own


def codes_of_background(box: Any, labels: Any, anchors: Any, *, convention: Any) -> Any:
    label, deltas, own = assign(box, labels, anchors, convention=convention)
    everywhere = assign(box, labels, anchors, convention=convention.replace(threshold=1e-9))[1]
    return label, np.where((own >= 0)[..., None], deltas, everywhere), own


def padding_is_an_object(box: Any, labels: Any, anchors: Any, *, convention: Any) -> Any:
    real = labels > 0
    speck = np.array([0, 0, 1e-3, 1e-3], box.dtype)  # since nothing is refused by the encoder
    box = np.where(real[..., None], box, speck)
    return assign(box, np.where(real, labels, 1), anchors, convention=convention)


def crowds_by(near: Function) -> Function:
    """A rule for crowds: (corners of anchors, crowds of one image, limit=) → which are near."""

    def call(box: Any, labels: Any, anchors: Any, crowds: Any, *, convention: Any) -> Any:
        objects = np.where(crowds, -1, labels)
        label, deltas, own = assign(box, objects, anchors, convention=convention)
        corners, limit = boxes.cxcywh_to_xyxy(anchors), convention.matching.crowd_overlap
        for image, crowd in enumerate(crowds & (labels > 0)):
            marked = near(corners, box[image][crowd], limit=limit) & (own[image] < 0)
            label[image][marked] = IGNORE
        return label, deltas, own

    return call


def crowds_before_objects(
    box: Any, labels: Any, anchors: Any, crowds: Any, *, convention: Any
) -> Any:
    label, deltas, own = assign(box, labels, anchors, crowds, convention=convention)
    alone = np.where(crowds, labels, -1)
    near = assign(box, alone, anchors, crowds, convention=convention)[0] < 0
    free = ~near[..., None]
    return np.where(near, -1, label), np.where(free, deltas, 0), np.where(near, -1, own)


# Written out above, with no part wrong: it has to pass, or its faults would prove nothing.
WRITTEN_OUT: list[tuple[str, Function]] = [
    ("match", matched(matching.match)),
    (
        "assign_targets_with_crowds",
        crowds_by(lambda *pair, limit: (covered(*pair) >= limit).any(axis=1)),
    ),
]


FAULTS = [
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
            "Matches anchors to a crowd.",
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
]
