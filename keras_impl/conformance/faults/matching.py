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
    """Make a matcher from a function of IoU and convention; without objects all is background."""

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
    """Renumber rows of a padded list as if it had no padding."""
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
    # The encoder raises on degenerate boxes, so padding gets a valid tiny one.
    speck = np.array([0, 0, 1e-3, 1e-3], box.dtype)
    box = np.where(real[..., None], box, speck)
    return assign(box, np.where(real, labels, 1), anchors, convention=convention)


def crowds_by(near: Function) -> Function:
    """Assign targets by another rule for crowds.

    Args:
        near: (anchors in xyxy, crowds of one image, limit=) → mask of the anchors on a crowd.
    """

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


# The functions above without a mistake. They must pass; otherwise a caught fault proves nothing.
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
            "Treats an IoU equal to the threshold as background.",
            by(positive_at=">"),
        ),
        (
            "no bipartite step",
            "Forces each object on its best anchor; of several objects the last one keeps it.",
            by(force="last"),
        ),
        ("no forced match", "Matches by the threshold alone.", by(force="none")),
        (
            "forced at zero overlap",
            "Gives every object an anchor, even one that it does not overlap.",
            matched(even_where_nothing_overlaps),
        ),
        (
            "objects in list order",
            "Lets objects choose anchors in list order instead of by largest IoU.",
            matched(one_object_after_the_other),
        ),
        (
            "threshold before force",
            "Lets the match by threshold override the forced match.",
            matched(threshold_before_force),
        ),
        (
            "ties to the last object",
            "Gives an anchor the last of several objects with equal IoU.",
            matched(last_of_equal_objects),
        ),
        (
            "ties to the last anchor",
            "Gives an object the last of several anchors with equal IoU.",
            matched(last_of_equal_anchors),
        ),
        (
            "padding as objects",
            "Matches padding rows (label −1) like objects.",
            given(lambda box, labels, anchors: (box, np.ones_like(labels), anchors)),
        ),
        (
            "padding not counted",
            "Numbers objects as if the list had no padding rows.",
            matched_without_padding,
        ),
        (
            "no ignored anchors",
            "Claims to ignore anchors from IoU .3 but makes them background.",
            by(ignore_from=None),
            {"ignore_from": 0.3},
        ),
    ),
    *of(
        "assign_targets",
        (
            "classes from 0",
            "Numbers classes from 0, so class 1 becomes background.",
            then(lambda label, *rest: (np.where(label > 0, label - 1, label), *rest)),
        ),
        (
            "label of another row",
            "Looks up labels as if the list had no padding rows.",
            label_of_another_row,
        ),
        (
            "variances forgotten",
            "Encodes boxes without the variances.",
            by(variances=(1.0, 1.0, 1.0, 1.0)),
        ),
        (
            "background has deltas",
            "Encodes a box for every anchor that overlaps an object, not only for positives.",
            codes_of_background,
        ),
        (
            "padding as objects",
            "Treats padding rows (label −1) as tiny objects with label 1.",
            padding_is_an_object,
        ),
        (
            "> for ≥",
            "Treats an IoU equal to the threshold as background.",
            by(positive_at=">"),
        ),
        (
            "ignored as background",
            "Claims to ignore anchors from IoU .3 but labels them 0.",
            then(lambda label, *rest: (np.maximum(label, 0), *rest)),
            {"ignore_from": 0.3},
        ),
        (
            "degenerate objects kept",
            "Claims to drop degenerate objects but encodes them.",
            by(degenerate="encode", size_epsilon=1e-30),
            {"degenerate": "drop", "force": "last", "force_above": -1.0},
        ),
    ),
    *of(
        "assign_targets_with_crowds",
        ("no rule for crowds", "Labels anchors on a crowd as background.", by(crowd_by="none")),
        (
            "crowds as objects",
            "Matches anchors to a crowd.",
            given(lambda *arrays: arrays[:3]),
        ),
        ("IoU", "Compares IoU instead of IoA with the limit.", by(crowd_by="iou")),
        (
            "area of the crowd",
            "Divides the intersection by the area of the crowd, not of the anchor.",
            crowds_by(lambda *pair, limit: (of_the_crowd(*pair) >= limit).any(axis=1)),
        ),
        (
            "> for ≥",
            "Labels an anchor whose IoA equals the limit as background.",
            crowds_by(lambda *pair, limit: (covered(*pair) > limit).any(axis=1)),
        ),
        (
            "crowds summed",
            "Adds up the IoA of an anchor with all crowds.",
            crowds_by(lambda *pair, limit: covered(*pair).sum(axis=1) >= limit),
        ),
        (
            "crowds before objects",
            "Ignores an anchor on a crowd even if it is matched to an object.",
            crowds_before_objects,
        ),
    ),
]
