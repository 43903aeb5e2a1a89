"""paz's SSD: its prior boxes, matcher, coder, suppression and MultiBox loss.

All is NumPy but the loss, which is TensorFlow's and takes probabilities.
"""

from __future__ import annotations

from importlib.metadata import version
from unittest.mock import patch

import numpy as np
import tensorflow as tf
from paz.backend import boxes as paz_boxes
from paz.models.detection import utils as paz_models
from paz.optimization.losses import MultiBoxLoss

from keras_impl.conformance.batching import per_image
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import Deviation, Implementation, Offer
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import AnchorLayout, paz
from reference_numpy.detection import Detections
from reference_numpy.testing import cases

__all__ = ["IMPLEMENTATION"]

# Anchors are cast to float32 and become corners: of these nothing is lost.
EXACT = AnchorLayout(
    "exact", (64, 64), ((8, 8), (4, 4), (1, 1)), (0.125, 0.5, 0.5, 2.0), ((4.0, 0.25),) * 3
)
LEAST = 0.01  # score below which it suppresses nothing, whatever is asked for in the end


# --- what it offers ------------------------------------------------------------------------------


def anchors_of(zero, convention):
    """Its prior boxes; it has configurations for VOC and COCO, and here any other too."""
    layout = convention.layout
    configuration = {
        "feature_map_sizes": [rows for rows, _ in layout.feature_maps],
        "image_size": layout.image_size[0],
        "steps": layout.steps,
        "min_sizes": layout.scales[:-1],
        "max_sizes": layout.scales[1:],
        "aspect_ratios": layout.aspect_ratios,
    }
    with patch.object(paz_models, "get_prior_box_configuration", lambda name: configuration):
        return (paz_models.create_prior_boxes().astype(zero.dtype),)


def alone(function):
    """A function of boxes, as an operation."""
    return lambda boxes, convention: (function(boxes),)


def iou(first, second, convention):
    return (np.stack([*map(paz_boxes.compute_ious, first, second)]),)


def matched(boxes, labels, anchors, convention):
    """The box of each anchor and its label, 0 for background."""
    labelled = np.concatenate([boxes, labels[:, None]], axis=1, dtype=boxes.dtype)
    return paz_boxes.match(labelled, anchors, convention.matching.threshold)


def match(boxes, anchors, convention):
    """Objects are labelled by their number, to see which one an anchor has."""
    numbers = 1 + np.arange(len(boxes))
    return matched(boxes, numbers, anchors, convention)[:, 4].astype(np.int64) - 1


def assign_targets(boxes, labels, anchors, convention):
    """It codes a box for background too, at which its loss does not look."""
    found = matched(boxes, labels, anchors, convention)
    labels = found[:, 4].astype(np.int64)
    positive = labels > 0
    deltas = np.zeros((len(anchors), 4), boxes.dtype)
    deltas[positive] = encode(found[positive, :4], anchors[positive], convention)[0]
    return labels, deltas, None


def encode(boxes, anchors, convention):
    return (paz_boxes.encode(boxes, anchors, convention.coding.variances),)


def decode(deltas, anchors, convention):
    return (paz_boxes.decode(deltas, anchors, convention.coding.variances),)


def nms(boxes, scores, convention):
    kept, count = suppress(boxes, scores, convention.detection.iou_threshold, len(scores))
    return kept[:count]


def suppress(boxes, scores, threshold, candidates):
    """Long doubles, for whose argsort NumPy has no vector instructions: the same everywhere."""
    with np.errstate(invalid="ignore"):  # 0 / 0 of boxes without area
        return paz_boxes.apply_non_max_suppression(
            boxes, scores.astype(np.longdouble), threshold, candidates
        )


def select(boxes, scores, convention):
    """Suppression class by class, and the filter after it, all in long doubles.

    A column that no threshold passes carries the number of the anchor. Sorted and cut to the
    first is here: paz gives all, class by class.
    """
    rules = convention.detection
    numbers = -1.0 - np.arange(len(boxes))
    columns = np.concatenate([scores, numbers[:, None]], axis=1, dtype=np.longdouble)
    with np.errstate(invalid="ignore"):
        rows, classes = paz_boxes.nms_per_class(
            np.concatenate([boxes, columns], axis=1),
            rules.iou_threshold,
            LEAST,
            rules.candidates_per_class,
        )
    anchors = (-1 - rows[:, -1]).astype(np.int64)
    merged = paz_boxes.merge_nms_box_with_class(rows[:, :-1], classes)
    passed = (merged[:, 4:].max(axis=1, initial=0) >= rules.score_threshold).nonzero()[0]
    merged, classes, anchors = merged[passed], classes[passed], anchors[passed]
    found = merged[np.arange(len(merged)), 4 + classes].astype(scores.dtype)
    order = np.lexsort((classes, -anchors, -found))[: rules.max_detections]
    box = merged[order, :4].astype(boxes.dtype)
    return Detections(box, found[order], classes[order] + 1, anchors[order])


def losses(deltas, logits, wanted, labels, convention):
    """Its loss, of the whole batch: Keras takes the mean over images."""
    rules = convention.loss
    loss = MultiBoxLoss(int(rules.negative_ratio), rules.box_weight, rules.max_negatives)
    truth = np.concatenate([wanted, np.eye(logits.shape[-1])[labels]], axis=-1, dtype=wanted.dtype)
    said = tf.concat([deltas, tf.nn.softmax(logits)], axis=-1)
    parts = loss.positive_classification, loss.negative_classification, loss.localization
    return tuple(tf.reduce_mean(part(truth, said)) for part in (loss.compute_loss, *parts))


def multibox_loss(deltas, logits, wanted, labels, boxes, convention):
    total, positive, negative, box = losses(deltas, logits, wanted, labels, convention)
    box = box / convention.loss.box_weight
    return (total.numpy(), (positive + negative).numpy(), box.numpy(), None, None, None, None)


def multibox_gradient(deltas, logits, wanted, labels, boxes, convention):
    heads = tf.constant(deltas), tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(heads)
        total = losses(*heads, wanted, labels, convention)[0]
    return *(one.numpy() for one in tape.gradient(total, heads)), None, None, None


def mine(values, labels, convention):
    """Which negatives count, read off the gradient: exp(-loss) is the probability said."""
    rules = convention.loss
    loss = MultiBoxLoss(int(rules.negative_ratio), 1.0, rules.max_negatives)
    nothing = np.zeros((1, len(labels), 4), np.float32)
    truth = np.stack([labels == 0, labels > 0], axis=-1)[None]
    said = np.exp(-np.stack([values, values], axis=-1))[None]
    truth, said = (np.concatenate([nothing, part], -1, dtype=np.float32) for part in (truth, said))
    said = tf.constant(said)
    with tf.GradientTape() as tape:
        tape.watch(said)
        total = loss.negative_classification(truth, said)
    return tape.gradient(total, said).numpy()[0, :, 4] < 0


# --- workloads that keep off its deviations ------------------------------------------------------


def iou_workloads(generator, dtype, count):
    """Boxes whose union is above 1e-8."""
    for first, second in OPERATIONS["pairwise_iou"].workloads(generator, dtype, count):
        large = np.prod(first[..., 2:] - first[..., :2], axis=-1).min(axis=1) > 1e-7
        yield first[large], second[large]


def target_workloads(generator, dtype, count):
    """Images with an object at least."""
    anchors = make_anchors(EXACT, dtype)
    for _ in range(0, count, 4):
        boxes, labels = cases.random_objects(generator, 4, 8, 10, dtype)
        empty = (labels < 1).all(axis=1)
        labels[empty, 0], boxes[empty, 0] = 1, [0.25, 0.25, 0.5, 0.5]
        yield boxes, labels, anchors


def solid(boxes):
    """Boxes within the image of at least a twentieth in each direction."""
    return np.concatenate([boxes[..., :2], np.maximum(boxes[..., 2:], boxes[..., :2] + 0.05)], -1)


def distinct(generator, shape):
    """Numbers from 0 to below 1 without equals in an image."""
    images, *rest = shape
    numbers = np.tile(np.arange(np.prod(rest)), (images, 1))
    return generator.permuted(numbers, axis=1).reshape(shape) / numbers.shape[1]


def nms_workloads(generator, dtype, count):
    """Boxes with an area; equal scores only where there are sixteen at the most."""
    for case in cases.NMS:
        if case.boxes and case.name != "boxes without area":
            yield np.array([case.boxes], dtype), np.array([case.scores], dtype)
    for _ in range(0, count, 4):
        for many in (16, 40):
            boxes, scores = cases.random_scored_boxes(generator, 4, many, 1, dtype)
            scores = scores[..., 0] if many == 16 else distinct(generator, scores.shape[:2])
            yield solid(boxes).astype(dtype), scores.astype(dtype)


def select_workloads(generator, dtype, count):
    """The same on no grid, since long doubles decide differently at a threshold."""
    for _ in range(0, count, 4):
        for many in (16, 60):
            low, size = generator.uniform(0, 1, (4, many, 2)), generator.uniform(0, 1, (4, many, 2))
            boxes = np.concatenate([low, low + size], axis=-1)
            shape = 4, many, 3
            scores = (
                distinct(generator, shape) if many > 16 else generator.integers(0, 10, shape) / 10
            )
            yield boxes.astype(dtype), scores.astype(dtype)


def mining_workloads(generator, dtype, count):
    """No equal losses and none of 0; three times the positives are no more than the anchors."""
    for values, labels in OPERATIONS["mine_hard_negatives"].workloads(generator, dtype, count):
        yield (1 - distinct(generator, values.shape)).astype(dtype), few(labels)


def few(labels):
    labels = np.maximum(labels, 0)
    labels[np.cumsum(labels > 0, axis=1) > labels.shape[1] // 3] = 0
    return labels


def loss_workloads(generator, dtype, count):
    """As many batches, with enough anchors and with logits whose probabilities are above 1e-15."""
    for deltas, _, wanted, labels, boxes in OPERATIONS["multibox_loss"].workloads(
        generator, dtype, 4 * count
    ):
        labels = few(labels)
        logits = generator.normal(0, 3, (*labels.shape, 11)).clip(-15, 15).astype(dtype)
        yield deltas, logits, np.where(labels[..., None] > 0, wanted, 0), labels, boxes


# --- where it is wrong ---------------------------------------------------------------------------


def some_loss(labels, logits, dtype=np.float32):
    """One image whose heads are right about boxes."""
    labels, logits = np.array([labels], np.int32), np.array([logits], dtype)
    nothing = np.zeros((*labels.shape, 4), dtype)
    return nothing, logits, nothing, labels, nothing


def boxes_of(boxes, scores):
    return np.array([boxes], np.float32), np.array([scores], np.float32)


POINT, OTHER = [0.25, 0.25, 0.25, 0.25], [0.75, 0.75, 0.75, 0.75]
APART = [[place / 32, 0, (place + 1) / 32, 1] for place in range(32)]
TINY = np.array([[[0, 0, 5e-5, 5e-5]]], np.float32)

NO_OBJECTS = "the maximum over no objects is a ValueError: images without objects cannot be used"
EMPTY = "0 / 0 is NaN, and what is not at most the threshold is suppressed"
TOO_MANY = (
    "top_k is asked for min(3 × positives, 300) negatives, and fails if there are fewer anchors"
)
UNSTABLE = "of more than sixteen equal scores any come first: argsort is not stable"
NOWHERE = "it has no label for an anchor that counts nowhere"

DEVIATIONS = (
    Deviation(
        "no objects",
        "match",
        NO_OBJECTS,
        (np.zeros((1, 1, 4)), np.full((1, 1), -1), np.array(cases.GRID)),
    ),
    Deviation(
        "no objects, targets",
        "assign_targets",
        NO_OBJECTS,
        (np.zeros((1, 1, 4)), np.full((1, 1), -1), np.array(cases.GRID)),
    ),
    Deviation(
        "a tiny box and itself",
        "pairwise_iou",
        "a union below 1e-8 counts as 1e-8",
        (TINY, TINY),
    ),
    Deviation("two points", "nms", EMPTY, boxes_of([POINT, POINT], [0.9, 0.8])),
    Deviation("two points far apart", "nms", EMPTY, boxes_of([POINT, OTHER], [0.9, 0.8])),
    Deviation(
        "no boxes",
        "nms",
        "an array comes back in place of two values",
        boxes_of([POINT], [-np.inf]),
    ),
    Deviation("two boxes without area", "nms", EMPTY, conflict="two boxes without area"),
    Deviation("equal scores", "nms", UNSTABLE, boxes_of(APART, [0.5] * 32)),
    Deviation(
        "four hundred equal scores",
        "select",
        UNSTABLE,
        conflict="four hundred duplicates before another object",
    ),
    Deviation(
        "three of four anchors are positive",
        "multibox_loss",
        TOO_MANY,
        some_loss([1, 1, 1, 0], [[0, 0]] * 4),
    ),
    Deviation(
        "three of four anchors are positive, gradient",
        "multibox_gradient",
        TOO_MANY,
        some_loss([1, 1, 1, 0], [[0, 0]] * 4),
    ),
    Deviation(
        "three of four anchors are positive, mining",
        "mine_hard_negatives",
        TOO_MANY,
        (np.array([[0.1, 0.2, 0.3, 0.4]], np.float32), np.array([[1, 1, 1, 0]], np.int32)),
    ),
    *(
        Deviation(name, "multibox_loss", TOO_MANY, conflict=name)
        for name in (
            "images with three positives and with one",
            "box loss of a background anchor",
            "two anchors predict the same box",
        )
    ),
    Deviation(
        "sure of the wrong class",
        "multibox_loss",
        "a probability counts as 1e-15 at least: the loss is 34.5 for 50",
        some_loss([1, 0, 0], [[50, 0], [0, 0], [0, 0]]),
    ),
    Deviation(
        "sure of the wrong class, gradient",
        "multibox_gradient",
        "below a probability of 1e-15 the gradient is 0: what is most wrong is never mended",
        some_loss([1, 0, 0], [[50, 0], [0, 0], [0, 0]]),
    ),
    Deviation(
        "an anchor that counts nowhere",
        "multibox_loss",
        NOWHERE,
        some_loss([1, -1, 0, 0, 0, 0, 0], [[0, 1]] * 7),
    ),
    Deviation(
        "an ignored anchor with the largest loss",
        "mine_hard_negatives",
        NOWHERE,
        conflict="an ignored anchor with the largest loss",
    ),
    Deviation(
        "prior boxes in float64",
        "make_anchors",
        "the last bit of some is another one",
        (np.zeros(()),),
    ),
)

IMPLEMENTATION = Implementation(
    "paz",
    {
        "xyxy_to_cxcywh": alone(paz_boxes.to_center_form),
        "cxcywh_to_xyxy": alone(paz_boxes.to_corner_form),
        # The finest map has no shapes of its own.
        "make_anchors": Offer(anchors_of, fixed=("lowest_shapes",), dtypes=("float32",)),
        "pairwise_iou": Offer(iou, workloads=iou_workloads),
        "match": Offer(per_image("match", match), workloads=target_workloads),
        "encode": encode,
        "decode": decode,
        "assign_targets": Offer(
            per_image("assign_targets", assign_targets), workloads=target_workloads
        ),
        # The ratio is a whole number.
        "mine_hard_negatives": Offer(
            per_image("mine_hard_negatives", mine),
            fixed=("negative_ratio",),
            dtypes=("float32",),
            workloads=mining_workloads,
        ),
        "multibox_loss": Offer(multibox_loss, dtypes=("float32",), workloads=loss_workloads),
        "multibox_gradient": Offer(
            multibox_gradient, dtypes=("float32",), workloads=loss_workloads
        ),
        "nms": Offer(per_image("nms", nms), workloads=nms_workloads),
        "select": Offer(per_image("select", select), workloads=select_workloads),
    },
    convention=paz(),
    deviations=DEVIATIONS,
    version=version("pypaz"),
)
