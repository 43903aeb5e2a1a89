"""OpenCV's suppression: NMSBoxes, NMSBoxesBatched and softNMSBoxes of its dnn module.

Boxes are (x, y, width, height), in whole pixels for softNMSBoxes; scores and overlaps are float32
whatever is given. Boxes here are multiples of 1/32 of the image, so that neither form rounds.
"""

from __future__ import annotations

import cv2
import numpy as np

from keras_impl.conformance.batching import per_image
from keras_impl.conformance.suite import Deviation, Implementation, Offer
from reference_numpy.conventions import CANONICAL
from reference_numpy.detection import Detections
from reference_numpy.testing import cases

__all__ = ["IMPLEMENTATION"]

PIXELS = 1024


def xywh(boxes):
    low, high = np.split(boxes.astype(np.float64), 2, axis=1)
    return np.concatenate([low, high - low], axis=1)


def nms(boxes, scores, convention):
    rules = convention.detection
    # A score has to be above the threshold, which may not be negative.
    return cv2.dnn.NMSBoxes(xywh(boxes), scores, 0.0, rules.iou_threshold, rules.eta)


def select(boxes, scores, convention):
    """All scores at once, anchor by anchor, the column being the class."""
    rules, columns = convention.detection, scores.shape[1]
    labels = np.tile(np.arange(columns), len(boxes))
    kept = cv2.dnn.NMSBoxesBatched(
        xywh(np.repeat(boxes, columns, axis=0)),
        scores.ravel(),
        labels,
        rules.score_threshold,
        rules.iou_threshold,
        rules.eta,
    )
    kept = np.asarray(kept, np.int64)[: rules.max_detections]
    anchors = kept // columns
    return Detections(boxes[anchors], scores.ravel()[kept], labels[kept] + 1, anchors)


def soft_nms(boxes, scores, convention):
    rules = convention.detection
    # Its factor is exp(-IoU² / sigma).
    lowered, kept = cv2.dnn.softNMSBoxes(
        np.round(xywh(boxes) * PIXELS).astype(np.int32),
        scores,
        rules.score_threshold,
        rules.iou_threshold,
        sigma=2 * rules.soft_sigma,
    )
    return kept, lowered


# --- workloads that keep off its deviations ------------------------------------------------------


def some_boxes(generator, images, anchors):
    """Boxes in 32nds of the image, all with an area."""
    size = generator.integers(1, 33, (images, anchors, 2))
    low = generator.integers(0, 33 - size)
    boxes = np.concatenate([low, low + size], axis=-1) / 32
    boxes[:, 1::5] = boxes[:, ::5]  # duplicates
    return boxes


def nms_workloads(generator, dtype, count):
    """The worked cases but the one of boxes without area, then random ones with equal scores."""
    for case in cases.NMS:
        if case.boxes and case.name != "boxes without area":
            yield np.array([case.boxes], dtype), np.array([case.scores], dtype)
    for _ in range(0, count, 4):
        scores = generator.integers(1, 50, (4, 40)) / 50
        yield some_boxes(generator, 4, 40).astype(dtype), scores.astype(dtype)


def soft_workloads(generator, dtype, count):
    """The same, and a score at the threshold of the comparison that nothing lowers."""
    yield case_of(APART[:3], [0.9, 0.05, 0.04], dtype)
    yield from nms_workloads(generator, dtype, count)


def select_workloads(generator, dtype, count):
    for _ in range(0, count, 4):
        scores = generator.integers(0, 50, (4, 60, 3)) / 50
        yield some_boxes(generator, 4, 60).astype(dtype), scores.astype(dtype)


# --- where it is wrong ---------------------------------------------------------------------------


def case_of(boxes, scores, dtype=np.float32):
    return np.array([boxes], dtype), np.array([scores], dtype)


EMPTY = [[0.25, 0.25, 0.25, 0.75], [0.5, 0.5, 0.75, 0.5]]
APART = [[place / 8, 0, (place + 1) / 8, 1] for place in range(6)]

DEVIATIONS = (
    Deviation(
        "boxes without area",
        "nms [NMSBoxes]",
        "two boxes without area overlap by 1, wherever they are, and one is suppressed",
        case_of(EMPTY, [0.9, 0.8]),
    ),
    Deviation(
        "two boxes without area",
        "nms [NMSBoxes]",
        "two boxes without area overlap by 1, wherever they are, and one is suppressed",
        conflict="two boxes without area",
    ),
    Deviation(
        "boxes without area, softly",
        "soft_nms [softNMSBoxes]",
        "two boxes without area overlap by 1, wherever they are, and one is lowered",
        case_of(EMPTY, [0.9, 0.8]),
    ),
    Deviation(
        "a score of 0",
        "nms [NMSBoxes]",
        "a score has to be above the threshold, which may not be negative: 0 is never kept",
        case_of(APART[:2], [0.5, 0]),
    ),
    Deviation(
        "an overlap of .1 exactly",
        "nms [NMSBoxes]",
        "1 - (1 - IoU) in float32 is .10000002, and so above .1",
        case_of([[0, 0, 10, 1], [0, 0, 1, 1]], [0.9, 0.8]),
        overrides={"iou_threshold": 0.1},
    ),
    Deviation(
        "scores that differ in the ninth digit",
        "nms [NMSBoxes]",
        "scores are float32, where these are equal, and then the first comes first",
        case_of(APART[:2], [0.5, 0.5 + 1e-9], np.float64),
    ),
    Deviation(
        "classes below 0",
        "select [NMSBoxesBatched]",
        "classes are moved apart by the largest coordinate + 1 each, which is not enough for boxes "
        "that begin below 0",
        (
            np.array([[[-10, -10, 0, 0], [-9, -9, 1, 1]]], np.float32),
            np.array([[[0.9, 0], [0, 0.8]]], np.float32),
        ),
        overrides={"iou_threshold": 0.05},
    ),
    Deviation(
        "fractions of a pixel",
        "soft_nms [softNMSBoxes]",
        "boxes are whole numbers, and what is between two pixels has to be rounded",
        case_of([[0, 0, 1 / 3072, 1], [0, 0, 1 / 1024, 1]], [0.9, 0.8]),
    ),
)

IMPLEMENTATION = Implementation(
    "opencv",
    {
        "nms [NMSBoxes]": Offer(per_image("nms", nms), workloads=nms_workloads),
        # It has a limit of candidates, but of all classes together.
        "select [NMSBoxesBatched]": Offer(
            per_image("select", select),
            overrides={"candidates_per_class": None, "clip": "none"},
            fixed=("candidates_per_class",),
            workloads=select_workloads,
        ),
        # Its gaussian method looks at no threshold of overlap.
        "soft_nms [softNMSBoxes]": Offer(
            per_image("soft_nms", soft_nms),
            overrides={"soft_sigma": 0.5, "iou_threshold": 1.0, "score_at": ">="},
            fixed=("iou_threshold",),
            dtypes=("float32",),
            workloads=soft_workloads,
        ),
    },
    convention=CANONICAL,
    deviations=DEVIATIONS,
    version=cv2.__version__,
)
