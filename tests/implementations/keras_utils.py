"""Keras' own boxes: `keras.utils.bounding_boxes`, eagerly and in graphs.

They are float32, whatever they are given. Codes are asked in both orders that it has.
"""

from __future__ import annotations

import keras
import numpy as np
from keras.utils import bounding_boxes

from keras_impl.backends import in_mode
from keras_impl.conformance.suite import Deviation, Implementation, Offer
from reference_numpy.conventions import CANONICAL

__all__ = ["IMPLEMENTATION"]

FORMATS = {"xywh": "center_xywh", "yxhw": "center_yxhw"}  # of codes, by the name of their order
SWAPPED = [1, 0, 3, 2]


# --- what it offers ------------------------------------------------------------------------------


def in_order(values, order):
    """(cx, cy, w, h) in the order of a code."""
    return values if order == "xywh" else keras.ops.take(values, SWAPPED, axis=-1)


def rules_of(convention):
    """Its arguments; anchors come in the form of the code, so that they are not converted."""
    rules, form = convention.coding, FORMATS[convention.coding.code_order]
    variance = in_order(np.array(rules.variances), rules.code_order)
    return {"anchor_format": form, "box_format": "xyxy", "variance": variance}, form


def converted(source, target):
    return lambda boxes, convention: (bounding_boxes.convert_format(boxes, source, target),)


def clip(boxes, convention):
    found = bounding_boxes.clip_to_image_size({"boxes": boxes}, bounding_box_format="rel_xyxy")
    return (found["boxes"],)


def iou(first, second, convention):
    return (bounding_boxes.compute_iou(first, second, "xyxy"),)


def encode(boxes, anchors, convention):
    rules, form = rules_of(convention)
    anchors = in_order(anchors, convention.coding.code_order)
    return (bounding_boxes.encode_box_to_deltas(anchors, boxes, encoding_format=form, **rules),)


def decode(deltas, anchors, convention):
    rules, form = rules_of(convention)
    anchors = in_order(anchors, convention.coding.code_order)
    return (bounding_boxes.decode_deltas_to_boxes(anchors, deltas, encoded_format=form, **rules),)


# --- where it is wrong ---------------------------------------------------------------------------

SMALL = np.array([[[0, 0, 1e-3, 1e-3]]], np.float32)
SQUARE = np.array([[0.5, 0.5, 0.5, 0.5]], np.float32)

DEVIATIONS = (
    Deviation(
        "a small box and itself",
        "pairwise_iou",
        "1e-7 is added to the union: a thousandth of the image overlaps itself by .91",
        (SMALL, SMALL),
        overrides={"iou_epsilon": 0.0},
    ),
    Deviation(
        "a box narrower than 1e-7",
        "encode",
        "a size below 1e-7 becomes 1e-7, and the code is another box's",
        (np.array([[0, 0, 1e-9, 0.5]], np.float32), SQUARE),
    ),
    Deviation(
        "a box in float64",
        "pairwise_iou",
        "the answer is float32",
        (np.array([[[0, 0, 0.3, 0.3]]]), np.array([[[0, 0, 0.1, 0.3]]])),
    ),
)

IMPLEMENTATION = Implementation(
    "keras_utils",
    {
        "xyxy_to_cxcywh": converted("xyxy", "center_xywh"),
        "cxcywh_to_xyxy": converted("center_xywh", "xyxy"),
        "clip": clip,
        "pairwise_iou": iou,
        "encode": encode,
        "encode [center_yxhw]": Offer(encode, overrides={"code_order": "yxhw"}),
        "decode": decode,
        "decode [center_yxhw]": Offer(decode, overrides={"code_order": "yxhw"}),
    },
    convention=CANONICAL.replace(iou_epsilon=1e-7),
    dtypes=("float32",),
    modes=("eager", "graph"),
    in_mode=in_mode,
    deviations=DEVIATIONS,
    version=keras.__version__,
)
