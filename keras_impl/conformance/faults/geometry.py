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
    """Exchange x and y in boxes or codes."""
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
    """Make anchors of a changed layout: each override is a function from layout to field value."""

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


# The functions above without a mistake. They must pass; otherwise a caught fault proves nothing.
WRITTEN_OUT: list[tuple[str, Function]] = [
    ("pairwise_iou", each(iou_by_share)),
    ("pairwise_ioa", each(lambda one, two, _: of_the_crowd(one, two))),
]


FAULTS = [
    *of(
        "xyxy_to_cxcywh",
        ("axes swapped", "Returns (cy, cx, h, w).", then(swapped)),
        (
            "far corner for size",
            "Returns (cx, cy, xmax, ymax).",
            plainly(lambda box: joined(boxes.xyxy_to_cxcywh(box)[:, :2], box[:, 2:])),
        ),
        (
            "minus for plus",
            "Returns half the difference of the corners as the centre, not half their sum.",
            plainly(lambda box: joined((box[:, 2:] - box[:, :2]) / 2, box[:, 2:] - box[:, :2])),
        ),
        (
            "inclusive pixels",
            "Adds 1/300, one pixel of a 300-pixel image, to width and height.",
            then(lambda box: box + np.array([0, 0, 1, 1], box.dtype) / 300),
        ),
        IN_SINGLE,
    ),
    *of(
        "cxcywh_to_xyxy",
        ("axes swapped", "Returns (ymin, xmin, ymax, xmax).", then(swapped)),
        (
            "whole size",
            "Places the corners a whole size from the centre, not half.",
            given(lambda box: box * np.array([1, 1, 2, 2], box.dtype)),
        ),
        (
            "centre for corner",
            "Uses (cx, cy) as (xmin, ymin).",
            plainly(lambda box: joined(box[:, :2], box[:, :2] + box[:, 2:])),
        ),
        ("clipped", "Clips the boxes to the image.", then(boxes.clip)),
        IN_SINGLE,
    ),
    *of(
        "area",
        (
            "sum for product",
            "Returns width plus height.",
            plainly(lambda box: (box[:, 2:] - box[:, :2]).sum(axis=-1)),
        ),
        (
            "inverted boxes have area",
            "Does not clamp the sides at 0, so an inverted box (xmax < xmin) has an area.",
            plainly(lambda box: (box[:, 2:] - box[:, :2]).prod(axis=-1)),
        ),
        (
            "width squared",
            "Returns the square of the width.",
            plainly(lambda box: np.maximum(box[:, 2] - box[:, 0], 0) ** 2),
        ),
        (
            "inclusive pixels",
            "Adds 1/300, one pixel of a 300-pixel image, to each side.",
            given(lambda box: box + np.array([0, 0, 1, 1], box.dtype) / 300),
        ),
        IN_SINGLE,
    ),
    *of(
        "flip_horizontally",
        (
            "corners not exchanged",
            "Replaces each x by 1 − x without exchanging xmin and xmax.",
            plainly(lambda box: np.abs([1, 0, 1, 0] - box)),
        ),
        (
            "upside down",
            "Flips top to bottom.",
            plainly(lambda box: box[:, [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 1, 0, 1]),
        ),
        (
            "around 0",
            "Flips around the left border.",
            plainly(lambda box: box[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]),
        ),
    ),
    *of(
        "clip",
        ("upper limit only", "Clips at 1 but not at 0.", plainly(lambda box: np.minimum(box, 1))),
        ("lower limit only", "Clips at 0 but not at 1.", plainly(lambda box: np.maximum(box, 0))),
        (
            "one limit per corner",
            "Clips (xmin, ymin) only at 0 and (xmax, ymax) only at 1.",
            plainly(lambda box: joined(np.maximum(box[:, :2], 0), np.minimum(box[:, 2:], 1))),
        ),
        (
            "shifted",
            "Shifts a box that begins left of or above the image and keeps its size.",
            plainly(lambda box: box - np.tile(np.minimum(box[:, :2], 0), 2)),
        ),
        (
            "last pixel",
            "Clips at 299/300, the last pixel of a 300-pixel image.",
            plainly(lambda box: np.clip(box, 0, box.dtype.type(299 / 300))),
        ),
    ),
    *of(
        "pairwise_iou",
        ("epsilon added", "Adds 1e-7 to the union.", by(iou_epsilon=1e-7)),
        (
            "inclusive pixels",
            "Adds 1/300, one pixel of a 300-pixel image, to each side.",
            by(iou_offset=1 / 300),
        ),
        (
            "negative sides",
            "Does not clamp the sides of the intersection at 0.",
            each(iou_unclamped),
        ),
        ("0 / 0", "Returns NaN for a pair whose union is 0.", each(iou_or_nan)),
        (
            "intersection counted twice",
            "Divides by the sum of both areas.",
            each(lambda one, two, _: share(shared(one, two), sum(areas(one, two)))),
        ),
        (
            "smaller area for union",
            "Divides by the smaller area.",
            each(lambda one, two, _: share(shared(one, two), np.minimum(*areas(one, two)))),
        ),
        (
            "transposed",
            "Returns one row per second box.",
            then(lambda iou: iou.swapaxes(1, 2)),
        ),
        (
            "offset in areas only",
            "Claims an offset of 1 but leaves it out of the intersection.",
            each(offset_in_areas),
            {"iou_offset": 1.0},
        ),
        IN_SINGLE,
    ),
    *of(
        "pairwise_ioa",
        ("IoU", "Divides by the union.", each(boxes.pairwise_iou)),
        (
            "area of the other box",
            "Divides by the area of the first box.",
            each(lambda one, two, _: covered(one, two)),
        ),
        (
            "0 / 0",
            "Returns NaN for a second box whose area is 0.",
            each(lambda one, two, _: shared(one, two) / areas(one, two)[1]),
        ),
        (
            "negative sides",
            "Does not clamp the sides of the intersection at 0.",
            each(
                lambda one, two, _: share(sides_shared(one, two).prod(axis=-1), areas(one, two)[1])
            ),
        ),
        IN_SINGLE,
    ),
    *of(
        "make_anchors",
        ("axes swapped", "Returns (cy, cx, h, w).", then(swapped)),
        (
            "corners of cells",
            "Places anchors at the top left corner of their cell, not at its centre.",
            laid_out(offset=lambda layout: 0.0),
        ),
        (
            "shape by shape",
            "Lists all cells of one shape before the next shape.",
            laid_out(order=lambda layout: "shape"),
        ),
        (
            "extra square last",
            "Lists the extra square after the other aspect ratios.",
            laid_out(extra_square=lambda layout: "last"),
        ),
        (
            "scales off by one",
            "Gives each feature map the scale of the previous one.",
            laid_out(scales=lambda layout: (layout.scales[0], *layout.scales[:-1])),
        ),
        (
            "inverted ratios",
            "Uses height / width as the aspect ratio, not width / height.",
            laid_out(aspect_ratios=turned),
        ),
        (
            "clipped",
            "Clips anchors to the image.",
            laid_out(clip=lambda layout: "corners"),
        ),
        (
            "float32 inside",
            "Computes in float32 instead of rounding the float64 result once.",
            then(
                lambda found: (found.astype(np.float32) * np.float32(3) / np.float32(3)).astype(
                    found.dtype
                )
            ),
        ),
        (
            "steps forgotten",
            "Claims Caffe's layout but divides the image size by the number of cells.",
            laid_out(steps=lambda layout: ()),
            {"layout": PRESETS["caffe"].layout},
        ),
    ),
    *of(
        "encode",
        (
            "variances forgotten",
            "Does not divide by the variances.",
            by(variances=(1.0, 1.0, 1.0, 1.0)),
        ),
        (
            "reciprocal variances",
            "Multiplies by the variances.",
            by(variances=(10.0, 10.0, 5.0, 5.0)),
        ),
        ("axes swapped", "Returns (ty, tx, th, tw).", by(code_order="yxhw")),
        (
            "in units of the box",
            "Divides the offset by the size of the box, not of the anchor.",
            in_units_of_the_box,
        ),
        (
            "plain differences",
            "Encodes differences of centres and sizes, without ratios or logarithms.",
            by(form="difference"),
        ),
        ("epsilon added", "Adds 1e-8 to the sizes.", by(size_epsilon=1e-8)),
        (
            "epsilon on one side",
            "Claims to add .001 to both sizes but adds it only to the box's.",
            epsilon_of_the_box_alone,
            {"size_epsilon": 1e-3},
        ),
        IN_SINGLE,
    ),
    *of(
        "decode",
        (
            "variances forgotten",
            "Does not multiply by the variances.",
            by(variances=(1.0, 1.0, 1.0, 1.0)),
        ),
        ("reciprocal variances", "Divides by the variances.", by(variances=(10.0, 10.0, 5.0, 5.0))),
        ("axes swapped", "Reads codes as (ty, tx, th, tw).", by(code_order="yxhw")),
        ("cxcywh returned", "Returns (cx, cy, w, h).", then(boxes.xyxy_to_cxcywh)),
        ("no exponential", "Scales the anchor by 1 + tw, not by exp(tw).", grown_by_a_share),
        (
            "exponent limited",
            "Limits the exponent to log(1000 / 16).",
            by(largest_exponent=log(1000 / 16)),
        ),
        (
            "limited before the variance",
            "Claims to limit the exponent to 1 but limits the code itself to 1.",
            cut_before_the_variance,
            {"largest_exponent": 1.0},
        ),
        IN_SINGLE,
    ),
    *of(
        "background_first",
        (
            "columns shifted",
            "Moves the last column to the front although background is already first.",
            by(background="last"),
        ),
        (
            "background left last",
            "Claims that background is last but leaves it there.",
            by(background="first"),
            {"background": "last"},
        ),
        (
            "shifted the other way",
            "Claims that background is last but moves the first column to the end.",
            plainly(lambda logits: np.roll(logits, -1, axis=-1)),
            {"background": "last"},
        ),
        (
            "columns exchanged",
            "Claims that background is last but swaps it with the first class.",
            plainly(lambda logits: joined(logits[:, -1:], logits[:, 1:-1], logits[:, :1])),
            {"background": "last"},
        ),
    ),
]
