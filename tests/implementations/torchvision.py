"""torchvision's SSD: its default boxes, matcher, coder, loss, suppression and detection.

`SSD.compute_loss` and `SSD.postprocess_detections` are asked as they are, of an `SSD` without a
backbone. It works in pixels: of an image of 256 here, so that scaling rounds nothing.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision import ops
from torchvision.models.detection._utils import BoxCoder, SSDMatcher
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

from keras_impl.conformance.batching import per_image
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import Deviation, Implementation, Offer
from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import pairwise_iou
from reference_numpy.conventions import AnchorLayout, torchvision_ssd300
from reference_numpy.detection import Detections
from reference_numpy.losses import softmax
from reference_numpy.testing import cases

__all__ = ["IMPLEMENTATION"]

SIDE = 256
PRESET = torchvision_ssd300()
# Its anchors are corners, whose differences lose digits; all of these are multiples of 1/64.
EXACT = AnchorLayout(
    "exact", (64, 64), ((8, 8), (4, 4), (1, 1)), (0.125, 0.5, 0.5, 2.0), ((4.0, 0.25),) * 3
)


# --- what it offers ------------------------------------------------------------------------------


def ssd(convention, classes=2):
    """Its SSD, without backbone and heads."""
    detection, candidates = convention.detection, convention.detection.candidates_per_class
    model = SSD(
        nn.Identity(),
        default_boxes(convention.layout),
        (SIDE, SIDE),
        classes,
        head=nn.Identity(),
        score_thresh=detection.score_threshold,
        nms_thresh=detection.iou_threshold,
        detections_per_img=detection.max_detections,
        iou_thresh=convention.matching.threshold,
        topk_candidates=2**31 if candidates is None else candidates,
        positive_fraction=1 / (1 + convention.loss.negative_ratio),
    )
    model.box_coder = coder(convention)
    return model


def default_boxes(layout):
    steps = list(layout.steps) or None
    ratios = [list(one) for one in layout.aspect_ratios]
    generator = DefaultBoxGenerator(
        ratios, scales=list(layout.scales), steps=steps, clip=layout.clip == "sizes"
    )
    if layout.lowest_shapes:  # by a conflict case: it has no rule for them, but a place
        shapes = [[side * ratio**0.5, side / ratio**0.5] for side, ratio in layout.lowest_shapes]
        generator._wh_pairs[0] = torch.tensor(shapes)
    return generator


def coder(convention):
    """Its largest exponent is left as SSD has it."""
    return BoxCoder(tuple(1 / variance for variance in convention.coding.variances))


def corners(boxes):
    return ops.box_convert(torch.from_numpy(boxes), "cxcywh", "xyxy")


def anchors_of(zero, convention):
    maps = [list(shape) for shape in convention.layout.feature_maps]
    dtype = torch.from_numpy(zero).dtype
    size = list(convention.layout.image_size)
    return default_boxes(convention.layout)._grid_default_boxes(maps, size, dtype=dtype).numpy()


def converted(given, wanted):
    def convert(boxes, convention):
        return ops.box_convert(torch.from_numpy(boxes), given, wanted).numpy()

    return convert


def area(boxes, convention):
    return ops.box_area(torch.from_numpy(boxes)).numpy()


def clip(boxes, convention):
    return ops.clip_boxes_to_image(torch.from_numpy(boxes), (1, 1)).numpy()


def iou(first, second, convention):
    return ops.box_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()


def match(boxes, anchors, convention):
    if not len(boxes):  # as in SSD.forward
        return np.full(len(anchors), -1)
    overlap = ops.box_iou(torch.from_numpy(boxes), corners(anchors))
    return SSDMatcher(convention.matching.threshold)(overlap).numpy()


def encode(boxes, anchors, convention):
    return coder(convention).encode_single(torch.from_numpy(boxes), corners(anchors)).numpy()


def decode(deltas, anchors, convention):
    return coder(convention).decode_single(torch.from_numpy(deltas), corners(anchors)).numpy()


def assign_targets(boxes, labels, anchors, convention):
    """As compute_loss has them."""
    own = match(boxes, anchors, convention)
    positive = own >= 0
    classes, deltas = np.zeros(len(anchors), np.int64), np.zeros((len(anchors), 4), boxes.dtype)
    classes[positive] = labels[own[positive]]
    deltas[positive] = encode(boxes[own[positive]], anchors[positive], convention)
    return classes, deltas, own


def losses(deltas, logits, wanted, labels, convention):
    """Its class loss and box loss, from targets already coded: the coder passes them on."""
    model = ssd(convention, logits.shape[-1])
    model.box_coder = SimpleNamespace(encode_single=lambda matched, anchors: matched)
    labels = torch.from_numpy(labels.astype(np.int64))
    objects = torch.arange(labels.shape[1])
    found = model.compute_loss(
        [{"boxes": one, "labels": label} for one, label in zip(wanted, labels, strict=True)],
        {"bbox_regression": deltas, "cls_logits": logits},
        list(wanted),  # in place of anchors, at which nobody looks
        [torch.where(label == 0, -1, objects) for label in labels],
    )
    return found["classification"], found["bbox_regression"]


def multibox_loss(deltas, logits, wanted, labels, boxes, convention):
    heads = (torch.from_numpy(one) for one in (deltas, logits, wanted))
    classes, box = losses(*heads, labels, convention)
    return (classes + box).numpy(), classes.numpy(), box.numpy(), None, None, None, None


def multibox_gradient(deltas, logits, wanted, labels, boxes, convention):
    heads = [torch.from_numpy(one).requires_grad_() for one in (deltas, logits)]
    sum(losses(*heads, torch.from_numpy(wanted), labels, convention)).backward()
    return *(one.grad.numpy() for one in heads), None, None, None


def mine(values, labels, convention):
    """Which negatives count, read off the gradient: the logit of an object is the loss given."""
    count = max(2, 1 + labels.max(initial=0))
    logits = torch.zeros((1, len(labels), count), dtype=torch.from_numpy(values).dtype)
    logits[0, :, 1] = torch.from_numpy(values)
    nothing = torch.zeros((1, len(labels), 4), dtype=logits.dtype)
    logits.requires_grad_()
    losses(nothing, logits, nothing, labels[None], convention)[0].backward()
    return (logits.grad[0].abs().sum(dim=-1) > 0).numpy() & (labels == 0)


def nms(boxes, scores, convention):
    threshold = convention.detection.iou_threshold
    return ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).numpy()


def detect(deltas, logits, anchors, convention):
    (found,) = ssd(convention, logits.shape[-1]).postprocess_detections(
        {
            "bbox_regression": torch.from_numpy(deltas)[None],
            "cls_logits": torch.from_numpy(logits)[None],
        },
        [corners(anchors) * SIDE],
        [(SIDE, SIDE)],
    )
    boxes, scores, labels = (found[name].numpy() for name in ("boxes", "scores", "labels"))
    return Detections(boxes / SIDE, scores, labels, None)


# --- workloads that keep off its deviations ------------------------------------------------------


def coding_workloads(name):
    """The operation's own, with anchors whose corners are exact."""

    def workloads(generator, dtype, count):
        ((values, anchors),) = OPERATIONS[name].workloads(generator, dtype, count)
        sizes = 2.0 ** generator.integers(-6, 1, (len(anchors), 2))
        yield values, np.concatenate([np.round(anchors[:, :2] * 64) / 64, sizes], 1).astype(dtype)

    return workloads


def target_workloads(generator, dtype, count):
    anchors = make_anchors(EXACT, dtype)
    for _ in range(0, count, 4):
        yield *cases.random_objects(generator, 4, 8, 10, dtype), anchors


def loss_workloads(generator, dtype, count):
    """As many batches, with enough negatives, and without anchors that count nowhere."""
    for *heads, labels, boxes in OPERATIONS["multibox_loss"].workloads(generator, dtype, 4 * count):
        labels = np.maximum(labels, 0)
        labels[np.cumsum(labels > 0, axis=1) > labels.shape[1] // 4] = 0
        yield *heads, labels, boxes


def gradient_workloads(generator, dtype, count):
    """The same without equal losses, of which it takes any."""
    for deltas, logits, *rest in loss_workloads(generator, dtype, count):
        yield deltas, generator.normal(0, 3, logits.shape).astype(dtype), *rest


def mining_workloads(generator, dtype, count):
    """No equal losses, of which it takes any."""
    for values, labels in OPERATIONS["mine_hard_negatives"].workloads(generator, dtype, count):
        distinct = generator.permuted(np.tile(np.arange(values.shape[1]), (len(values), 1)), axis=1)
        yield (distinct / values.shape[1]).astype(dtype), np.maximum(labels, 0)


def detect_workloads(generator, dtype, count):
    """A worked image, then such as rounding does not decide: no overlap at the threshold.

    Scores of a class are never equal, as it takes any of them.
    """
    rules = PRESET.replace(**OPERATIONS["detect"].settings)
    anchors = make_anchors(EXACT, dtype)
    # Two classes that are as sure, the lower one at the higher anchor; and four at the threshold,
    # a fifth each, which does not pass.
    logits = np.full((1, len(anchors), 11), -200, dtype)
    logits[..., 0] = logits[0, 0, 2] = logits[0, 60, 1] = logits[0, 30, 1:5] = 0
    yield np.zeros((1, len(anchors), 4), dtype), logits, anchors
    found = []
    while len(found) < count:
        deltas = generator.normal(0, 2, (len(anchors), 4)).astype(dtype)
        logits = generator.normal(0, 2, (len(anchors), 11)).astype(dtype)
        if clear(deltas, logits, anchors, rules):
            found.append((deltas, logits))
    for start in range(0, count, 4):
        deltas, logits = zip(*found[start : start + 4], strict=True)
        yield np.stack(deltas), np.stack(logits), anchors


def clear(deltas, logits, anchors, convention):
    rules, margin = convention.detection, 1e-5
    scores = softmax(logits.astype(np.float64))[:, 1:]
    near = scores[scores > rules.score_threshold - margin]
    boxes = decode(deltas.astype(np.float64), anchors.astype(np.float64), convention).clip(0, 1)
    for score in scores.T:
        best = boxes[score > rules.score_threshold]
        if (np.abs(pairwise_iou(best, best) - rules.iou_threshold) < margin).any():
            return False
    gaps = np.diff(np.sort(near), prepend=rules.score_threshold)
    return bool((gaps > 1e-6).all())


# --- where it is wrong ---------------------------------------------------------------------------


def heads_of(classes, boxes, side):
    """Head outputs by which one anchor a box says its class, surer the earlier it comes."""
    centers = ops.box_convert(torch.tensor(boxes, dtype=torch.float32) / side, "xyxy", "cxcywh")
    logits = np.zeros((1, len(boxes), max(classes) + 1), np.float32)
    logits[0, np.arange(len(boxes)), classes] = 20 - np.arange(len(boxes))
    return np.zeros((1, len(boxes), 4), np.float32), logits, centers.numpy()


def some_loss(labels, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.array([labels], np.int32)
    floats = [generator.normal(0, 1, (*labels.shape, size)).astype(np.float32) for size in (4, 3)]
    wanted = np.where(labels[..., None] > 0, np.float32(0.5), np.zeros_like(floats[0]))
    return *floats, wanted, labels, np.zeros((*labels.shape, 4), np.float32)


NOTHING = np.zeros((1, 1, 4))
INSIDE_OUT = np.array([[0.5, 0.5, 0.25, 0.25]])
EQUAL = np.full((1, 40), 0.5)
FAR_AND_SMALL = np.array([[0.9, 0.9, 0.001, 0.001]], np.float32)
# Their IoU is .4497; moved by 90 times 257 pixels it is .45002.
CLOSE = [[12.551453, 13.095268, 20.390060, 16.927319], [12.843849, 14.569077, 20.904739, 17.959114]]

TWICE = "where negatives run out, the positives, which have the last ranks, count twice"
NO_LABEL = "it has no label for an anchor that counts nowhere: cross_entropy raises IndexError"
ANY_LOSS = "torch.sort is not stable: of more than 16 equal losses any are mined"

DEVIATIONS = (
    Deviation("a positive is no negative", "multibox_loss", TWICE, some_loss([1, 2, 0, 0])),
    Deviation(
        "a positive is no negative, gradient", "multibox_gradient", TWICE, some_loss([1, 2, 0, 0])
    ),
    *(
        Deviation(name, "multibox_loss", TWICE, conflict=name)
        for name in ("box loss of a background anchor", "two anchors predict the same box")
    ),
    Deviation(
        "an anchor that counts nowhere",
        "multibox_loss",
        NO_LABEL,
        some_loss([1, -1, 0, 0, 0]),
    ),
    *(
        Deviation(name, offer, NO_LABEL, conflict=name)
        for offer, name in (
            ("multibox_loss", "images with three positives and with one"),
            ("mine_hard_negatives", "an ignored anchor with the largest loss"),
        )
    ),
    Deviation(
        "equal losses",
        "mine_hard_negatives",
        ANY_LOSS,
        (EQUAL, np.arange(40, dtype=np.int32)[None] // 39),
        certain=False,
    ),
    Deviation(
        "more than three hundred negatives",
        "mine_hard_negatives",
        ANY_LOSS,
        conflict="more than three hundred negatives",
        certain=False,
    ),
    Deviation(
        "equal scores",
        "detect",
        "torch.topk is not stable, so that equal scores of a class come in any order",
        (
            np.zeros((1, 64, 4), np.float32),
            np.tile(np.array([0, 5], np.float32), (1, 64, 1)),
            make_anchors(AnchorLayout("tiles", (64, 64), ((8, 8),), (0.125, 0.1), ((),)))[::2],
        ),
        certain=False,
    ),
    Deviation(
        "digits lost to the coordinate trick",
        "detect",
        "boxes of label 90 are moved by 90 × 257 pixels, where float32 has steps of 1/512, and "
        "one with an IoU of .4497 is suppressed at .45",
        heads_of([90, 90, 1], [*CLOSE, [0, 0, 256, 256]], SIDE),
    ),
    Deviation(
        "an overlap of .55 exactly",
        "nms",
        "a float32 overlap is compared with the threshold as a double, and float32's .55 is above",
        (
            np.array([[[0, 0, 20, 1], [0, 0, 11, 1]]], np.float32),
            np.array([[0.9, 0.8]], np.float32),
        ),
        overrides={"iou_threshold": 0.55},
    ),
    Deviation("two boxes without area", "pairwise_iou", "0 / 0 is NaN", (NOTHING, NOTHING)),
    Deviation(
        "two points",
        "pairwise_iou",
        "0 / 0 is NaN",
        conflict="IoU of tiny, touching and empty boxes",
    ),
    Deviation(
        "a box inside out",
        "area",
        "the product of two negative sides is positive",
        (INSIDE_OUT,),
    ),
    Deviation(
        "a small anchor far from the corner, encoded",
        "encode",
        "anchors are corners, and the difference of two corners has lost digits of the size",
        (np.array([[0.8, 0.8, 0.9, 0.9]], np.float32), FAR_AND_SMALL),
    ),
    Deviation(
        "a small anchor far from the corner, decoded",
        "decode",
        "anchors are corners, and the difference of two corners has lost digits of the size",
        (np.array([[0, 0, 20, 20]], np.float32), FAR_AND_SMALL),
    ),
    Deviation(
        "default boxes in float64",
        "make_anchors",
        "they are computed in float32 whatever dtype the feature maps have",
        (np.zeros(()),),
    ),
)

IMPLEMENTATION = Implementation(
    "torchvision",
    {
        "xyxy_to_cxcywh": converted("xyxy", "cxcywh"),
        "cxcywh_to_xyxy": converted("cxcywh", "xyxy"),
        # Boxes of which none is inside out.
        "area": Offer(area, workloads=OPERATIONS["xyxy_to_cxcywh"].workloads),
        "clip": clip,
        "pairwise_iou": iou,
        "make_anchors": Offer(anchors_of, dtypes=("float32",)),
        "match": per_image("match", match),
        "encode": Offer(encode, workloads=coding_workloads("encode")),
        "decode": Offer(decode, fixed=("largest_exponent",), workloads=coding_workloads("decode")),
        "assign_targets": Offer(
            per_image("assign_targets", assign_targets), workloads=target_workloads
        ),
        "mine_hard_negatives": Offer(
            per_image("mine_hard_negatives", mine), workloads=mining_workloads
        ),
        # The two losses are added by whoever trains.
        "multibox_loss": Offer(multibox_loss, fixed=("box_weight",), workloads=loss_workloads),
        "multibox_gradient": Offer(
            multibox_gradient, fixed=("box_weight",), workloads=gradient_workloads
        ),
        "nms": per_image("nms", nms),
        "detect": Offer(
            per_image("detect", detect),
            fixed=("largest_exponent",),
            workloads=detect_workloads,
        ),
    },
    convention=PRESET,
    deviations=DEVIATIONS,
    version=torchvision.__version__.partition("+")[0],
)
