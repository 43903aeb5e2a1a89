"""TensorFlow's suppression kernels: `tf.image`, eagerly and in graphs.

Their boxes are (ymin, xmin, ymax, xmax), and they know float32 only.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import Deviation, Implementation, Offer
from reference_numpy.conventions import CANONICAL
from reference_numpy.testing import cases

__all__ = ["IMPLEMENTATION"]


# --- what it offers ------------------------------------------------------------------------------


def rows_first(boxes):
    """(..., 4) xyxy, x and y exchanged."""
    return tf.gather(boxes, [1, 0, 3, 2], axis=-1)


def per_image(suppress):
    """Of a function of one image without padding, one of a batch with padding, for graphs too."""

    def call(boxes, scores, *, convention):
        found = []
        for box, score in zip(tf.unstack(rows_first(boxes)), tf.unstack(scores), strict=True):
            rows = tf.cast(tf.where(score > -np.inf)[:, 0], tf.int32)
            kept, *lowered = suppress(tf.gather(box, rows), tf.gather(score, rows), convention)
            free = [[0, len(score) - tf.shape(kept)[0]]]
            kept = tf.pad(tf.gather(rows, kept), free, constant_values=-1)
            found.append((kept, *(tf.pad(one, free) for one in lowered)))
        return tuple(tf.stack(part) for part in zip(*found, strict=True))

    return call


def nms(boxes, scores, convention):
    """The third version of the kernel."""
    most, threshold = tf.shape(scores)[0], convention.detection.iou_threshold
    return (tf.image.non_max_suppression(boxes, scores, most, threshold),)


def nms_padded(boxes, scores, convention):
    """The suppression by tiles of boxes that TPUs run."""
    most, threshold = tf.shape(scores)[0], convention.detection.iou_threshold
    return tf.image.non_max_suppression_padded(boxes, scores, most, threshold)[:1]


def soft_nms(boxes, scores, convention):
    """The fifth version of the kernel."""
    rules = convention.detection
    return tf.image.non_max_suppression_with_scores(
        boxes,
        scores,
        tf.shape(scores)[0],
        rules.iou_threshold,
        rules.score_threshold,
        rules.soft_sigma,
    )


def select(boxes, scores, *, convention):
    """Suppression class by class; it does not tell the anchors."""
    rules, slots = convention.detection, convention.detection.max_detections
    found = tf.image.combined_non_max_suppression(
        rows_first(boxes)[:, :, None],
        scores,
        scores.shape[1] if rules.max_per_class is None else rules.max_per_class,
        slots,
        rules.iou_threshold,
        rules.score_threshold,
        clip_boxes=rules.clip == "after",
    )
    used = tf.range(slots) < found.valid_detections[:, None]
    labels = tf.where(used, tf.cast(found.nmsed_classes, tf.int32) + 1, -1)
    return rows_first(found.nmsed_boxes), found.nmsed_scores, labels, None


def in_mode(function, mode):
    run = tf.function(function) if mode == "graph" else function

    def call(*arrays):
        answer = run(*map(tf.constant, arrays))
        return tuple(None if one is None else one.numpy() for one in answer)

    return call


# --- workloads that keep off its deviations ------------------------------------------------------


def padded_workloads(generator, dtype, count):
    """Large pairs at the threshold and equal scores, but no chain at it, as on coarse grids."""
    for case in cases.NMS:
        if case.boxes:
            yield case_of(case.boxes, case.scores)
    for _ in range(0, count, 4):
        low, size = generator.uniform(0, 1, (4, 40, 2)), generator.uniform(0.05, 0.6, (4, 40, 2))
        scores = generator.integers(1, 30, (4, 40)) / 30
        yield np.concatenate([low, low + size], axis=-1).astype(dtype), scores.astype(dtype)
        left = np.arange(40) // 2 * 16
        pairs = np.stack([left, left * 0, left + np.tile([8, 16], 20), left * 0 + 1], axis=-1)
        yield np.tile(pairs, (4, 1, 1)).astype(dtype), scores.astype(dtype)


def select_workloads(generator, dtype, count):
    """No equal scores."""
    for boxes, scores in OPERATIONS["select"].workloads(generator, dtype, count):
        distinct = np.tile(np.arange(scores[0].size), (len(scores), 1))
        distinct = generator.permuted(distinct, axis=1).reshape(scores.shape)
        yield boxes, (distinct / scores[0].size).astype(dtype)


# --- where it is wrong ---------------------------------------------------------------------------


def case_of(boxes, scores):
    return np.array([boxes], np.float32), np.array([scores], np.float32)


def strips(*pairs):
    return [[left, 0, right, 1] for left, right in pairs]


TURNED = case_of([[0, 0, 1, 1], [1, 0.875, 0, 0]], [0.9, 0.8])
CHAIN = strips((0, 12), (4, 16), (8, 20), (12, 24), (16, 28))  # overlaps of 1/2 and 1/5
REORDERED = "corners are put in order, so that a box that is inside out overlaps others"

DEVIATIONS = (
    Deviation("corners in another order", "nms [non_max_suppression]", REORDERED, TURNED),
    Deviation(
        "a limit of overlap, softly",
        "soft_nms [non_max_suppression_with_scores]",
        "with a sigma nobody looks at iou_threshold: boxes are lowered, never dropped",
        case_of([[0, 0, 1, 1], [0, 0, 0.5, 1]], [0.9, 0.8]),
        overrides={"iou_threshold": 0.25},
    ),
    Deviation(
        "a chain of five at the threshold",
        "nms [non_max_suppression_padded]",
        "it stops too early, once a round takes no more than iou_threshold from the sum of all "
        "overlaps, so that a box that fell still suppresses: the last one here",
        case_of(CHAIN, [0.9, 0.8, 0.7, 0.6, 0.5]),
        overrides={"iou_threshold": 0.5},
    ),
    Deviation(
        "a small box that overlaps by the threshold",
        "nms [non_max_suppression_padded]",
        "1e-8 is added to the union, so that small boxes stay below the threshold that they meet",
        case_of(strips((0, 1 / 8), (0, 1 / 16)), [0.9, 0.8]),
        overrides={"iou_threshold": 0.5},
    ),
    Deviation(
        "the first box inside out",
        "nms [non_max_suppression_padded]",
        "where the first box needs its corners put in order, those of all boxes are exchanged",
        case_of([[0.2, 0.2, 0.1, 0.1], [0.5, 0.5, 1, 1], [0.5, 0.5, 1, 0.9]], [0.9, 0.8, 0.7]),
    ),
    Deviation(
        "a box left of the image and above",
        "nms [non_max_suppression_padded]",
        "a box counts as kept only if one of its numbers is above 0",
        case_of([[-0.5, -0.5, -0.1, -0.1], [0, 0, 0.5, 0.5]], [0.9, 0.8]),
    ),
    Deviation(
        "no boxes",
        "nms [non_max_suppression_padded]",
        "InvalidArgumentError, as the corners of the first box are looked at",
        case_of([[0, 0, 0, 0]], [-np.inf]),
    ),
    Deviation(
        "boxes that touch, threshold 0",
        "nms [non_max_suppression_padded]",
        "within a tile of 512 boxes an overlap of 0 does not suppress at 0; between two it does",
        case_of(strips((0, 1), (1, 2)), [0.9, 0.8]),
        overrides={"iou_threshold": 0.0},
    ),
    Deviation(
        "four equal scores",
        "select [combined_non_max_suppression]",
        "equal scores of a class come in the order of a heap: 0, 2, 1, 3",
        (
            np.array([strips((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1))], np.float32),
            np.full((1, 4, 1), 0.5, np.float32),
        ),
    ),
    Deviation(
        "corners in another order, two classes",
        "select [combined_non_max_suppression, clip_boxes=False]",
        REORDERED,
        (TURNED[0], np.array([[[0.9, 0.3], [0.8, 0.5]]], np.float32)),
    ),
)

# It has no limit of candidates, and looks at all classes in turn.
BY_CLASS = {"candidates_per_class": None, "ties": "lowest label"}

IMPLEMENTATION = Implementation(
    "tf_image",
    {
        "nms [non_max_suppression]": per_image(nms),
        "nms [non_max_suppression_padded]": Offer(
            per_image(nms_padded),
            overrides={"suppress_at": ">="},
            workloads=padded_workloads,
        ),
        "soft_nms [non_max_suppression_with_scores]": Offer(
            per_image(soft_nms), overrides={"soft_sigma": 0.5, "iou_threshold": 1.0}
        ),
        "select [combined_non_max_suppression]": Offer(
            select,
            overrides={**BY_CLASS, "clip": "after"},
            fixed=("candidates_per_class",),
            workloads=select_workloads,
        ),
        "select [combined_non_max_suppression, clip_boxes=False]": Offer(
            select,
            overrides={**BY_CLASS, "clip": "none", "max_per_class": 4},
            fixed=("candidates_per_class",),
            workloads=select_workloads,
        ),
    },
    convention=CANONICAL,
    dtypes=("float32",),
    modes=("eager", "graph"),
    in_mode=in_mode,
    deviations=DEVIATIONS,
    version=tf.__version__,
)
