"""torchvision's SSD: its matcher and box coder, and its post-processing with `batched_nms`."""

from __future__ import annotations

from types import FunctionType, SimpleNamespace
from typing import Any

from keras_impl._common.arrays import Array
from keras_impl.benchmark.peers.kinds import (
    Decoder,
    Floats,
    Found,
    Heads,
    Matched,
    Matcher,
)
from reference_numpy.boxes import cxcywh_to_xyxy
from reference_numpy.conventions import CANONICAL, PADDING, Convention

__all__ = [
    "torchvision_decoder",
    "torchvision_matcher",
]


def torchvision_matcher(anchors: Floats) -> Matcher:
    """Match image by image with torchvision's `SSDMatcher` and `BoxCoder`.

    As in `SSD.forward` and `compute_loss`, only anchors that have an object are encoded, which is
    also faster than encoding all. If two objects have the same best anchor, the last object gets it
    and the other gets none.
    """
    import torch
    from torchvision.models.detection._utils import BoxCoder, SSDMatcher
    from torchvision.ops import box_iou

    rules = CANONICAL.matching
    corners = torch.from_numpy(cxcywh_to_xyxy(anchors))
    match = SSDMatcher(rules.threshold)
    coder = BoxCoder(tuple(1 / variance for variance in CANONICAL.coding.variances))

    def call(boxes: Array, labels: Array) -> Matched:
        shape = (len(boxes), len(corners))
        all_labels = torch.zeros(shape, dtype=torch.int32)
        all_deltas = torch.zeros((*shape, 4))
        all_objects = torch.full(shape, -1)
        for image, real in enumerate(labels != PADDING):
            if not real.any():  # as in SSD.forward
                continue
            box, label = (torch.from_numpy(part[image][real]) for part in (boxes, labels))
            own = match(box_iou(box, corners))
            (positive,) = torch.where(own >= 0)
            object_ = own[positive]
            all_deltas[image][positive] = coder.encode_single(box[object_], corners[positive])
            all_labels[image][positive] = label[object_]
            all_objects[image] = own
        return Matched(all_labels.numpy(), all_deltas.numpy(), all_objects.numpy())

    return torch.no_grad()(call)


def torchvision_decoder(anchors: Floats, convention: Convention) -> Decoder:
    """Call torchvision's `SSD.postprocess_detections` on a stand-in with the attributes it reads.

    That function applies a softmax. Softmax of sigmoid heads would give some class a high score on
    every anchor, so for such heads the same code runs with sigmoid instead of softmax. Codes above
    log(1000 / 16) are clipped, as in torchvision's SSD.
    """
    import torch
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.ssd import SSD

    heads, rules = Heads.of(anchors, convention), convention.detection
    corners = torch.from_numpy(cxcywh_to_xyxy(heads.anchors))
    ssd = SimpleNamespace(
        box_coder=BoxCoder(tuple(1 / variance for variance in heads.variances)),
        score_thresh=rules.score_threshold,
        nms_thresh=rules.iou_threshold,
        topk_candidates=heads.candidates,
        detections_per_img=rules.max_detections,
    )
    process: Any = SSD.postprocess_detections
    if not heads.softmax:
        functional = SimpleNamespace(softmax=lambda logits, dim: torch.sigmoid(logits))
        process = FunctionType(process.__code__, {**process.__globals__, "F": functional})

    def call(deltas: Array, logits: Array) -> list[Found]:
        batch = len(deltas)
        said = {
            "bbox_regression": torch.from_numpy(deltas),
            "cls_logits": torch.from_numpy(logits),
        }
        # With an image of size 1 the boxes stay relative to the image.
        images = process(ssd, said, [corners] * batch, [(1, 1)] * batch)
        return [
            Found(
                one["boxes"].numpy()[:, heads.order], one["scores"].numpy(), one["labels"].numpy()
            )
            for one in images
        ]

    return torch.no_grad()(call)
