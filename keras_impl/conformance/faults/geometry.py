"""Mistakes in boxes, overlap, anchors and codes."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import numpy as np

from keras_impl.conformance.faults.making import (
    IN_SINGLE,
    Function,
    areas,
    by,
    covered,
    each,
    given,
    iou_or_nan,
    of,
    of_the_crowd,
    plainly,
    share,
    shared,
    sides_shared,
    then,
)
from reference_numpy import boxes, coding
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import PRESETS

__all__ = ["FAULTS", "WRITTEN_OUT"]


def swapped(values: Any) -> Any:
    """X for y, in boxes and in codes."""
    return values[..., [1, 0, 3, 2]]


def joined(*parts: Any) -> Any:
    return np.concatenate(parts, axis=-1)


def iou_by_share(first: Any, second: Any, convention: Any) -> Any:
    common = shared(first, second)
    return share(common, sum(areas(first, second)) - common)


def iou_unclamped(first: Any, second: Any, convention: Any) -> Any:
    common = sides_shared(first, second).prod(axis=-1)
    return share(common, sum(areas(first, second)) - common)


def offset_in_areas(first: Any, second: Any, convention: Any) -> Any:
    common = shared(first, second)
    longer = np.array([0, 0, 1, 1], first.dtype)
    return share(common, sum(areas(first + longer, second + longer)) - common)


def laid_out(**overrides: Function) -> Function:
    """By a layout of which fields are changed, each by a function of the layout."""

    def call(zero: Any, convention: Any) -> Any:
        layout = convention.layout
        other = replace(layout, **{name: change(layout) for name, change in overrides.items()})
        return make_anchors(other, zero.dtype)

    return call


def turned(layout: Any) -> Any:
    return tuple(tuple(1 / one for one in level) for level in layout.aspect_ratios)


def in_units_of_the_box(box: Any, anchor: Any, convention: Any) -> Any:
    center = boxes.xyxy_to_cxcywh(box)
    shift = (center[:, :2] - anchor[:, :2]) / center[:, 2:]
    stretch = np.log(center[:, 2:] / anchor[:, 2:])
    return joined(shift, stretch) / np.array(convention.coding.variances, box.dtype)


def epsilon_of_the_box_alone(box: Any, anchor: Any, convention: Any) -> Any:
    epsilon = box.dtype.type(convention.coding.size_epsilon)
    box = box + np.array([-0.5, -0.5, 0.5, 0.5], box.dtype) * epsilon
    return coding.encode(box, anchor, convention, size_epsilon=0.0)


def grown_by_a_share(deltas: Any, anchor: Any, convention: Any) -> Any:
    scaled = deltas * np.array(convention.coding.variances, deltas.dtype)
    center = anchor[:, :2] + scaled[:, :2] * anchor[:, 2:]
    return boxes.cxcywh_to_xyxy(joined(center, (1 + scaled[:, 2:]) * anchor[:, 2:]))


def cut_before_the_variance(deltas: Any, anchor: Any, convention: Any) -> Any:
    most = deltas.dtype.type(convention.coding.largest_exponent)
    cut = joined(deltas[:, :2], np.minimum(deltas[:, 2:], most))
    return coding.decode(cut, anchor, convention, largest_exponent=None)


# Written out above, with no part wrong: it has to pass, or its faults would prove nothing.
WRITTEN_OUT: list[tuple[str, Function]] = [
    ("pairwise_iou", each(iou_by_share)),
    ("pairwise_ioa", each(lambda one, two, _: of_the_crowd(one, two))),
]


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
]
