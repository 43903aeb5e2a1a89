"""How each operation is compared with the reference: inputs, outputs, workloads and judge.

`OPERATIONS` is the table. It needs NumPy alone, so any implementation can be compared
(docs/conformance.md). `judges` has one comparator per operation, `budgets` the errors allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.conformance.budgets import CLASSES
from keras_impl.conformance.detections import judge_detect
from keras_impl.conformance.judges import (
    judge_anchors,
    judge_floats,
    judge_match,
    judge_mining,
    judge_multibox,
    judge_multibox_gradient,
    judge_nms,
    judge_select,
    judge_soft_nms,
    judge_targets,
)
from keras_impl.conformance.scales import (
    class_scale,
    decode_scale,
    encode_scale,
    iou_scale,
    smooth_l1_scale,
    softmax_scale,
)
from keras_impl.conformance.verdicts import Judge
from keras_impl.conformance.workloads import (
    FEW,
    Workloads,
    anchor_workloads,
    crowd_workloads,
    detect_workloads,
    match_workloads,
    mining_workloads,
    multibox_workloads,
    nms_workloads,
    overlapping,
    rows,
    select_workloads,
    some_anchors,
    some_boxes,
    some_inside_out,
    some_logits,
)
from reference_numpy import boxes, coding, losses, multibox
from reference_numpy.conventions import Convention

__all__ = [
    "OPERATIONS",
    "Operation",
]


class Operation(NamedTuple):
    """How one operation is compared.

    Attributes:
        takes: A description of the input arrays.
        gives: A description of the output arrays.
        workloads: (generator, dtype, number of cases) → tuples of input arrays.
        judge: (inputs, outputs, dtype, excuses allowed, convention) → verdict.
        settings: Overrides of the convention, so that small cases reach every limit.
        keeps: Whether a convention keeps its own numbers, because `settings` would hide one of
            its rules.
        asks: Whether a convention uses this operation.
        compiled: Whether it can run in a graph; an operation that makes constants cannot.
    """

    takes: str
    gives: str
    workloads: Workloads
    judge: Judge
    settings: Mapping[str, Any] = {}
    keeps: Callable[[Convention], bool] = lambda convention: False
    asks: Callable[[Convention], bool] = lambda convention: True
    compiled: bool = True


def _each(function: Callable[..., Any]) -> Callable[..., Array]:
    """Apply a function of two lists of boxes to each image of a batch."""

    def call(first: Array, second: Array, convention: Convention) -> Array:
        return np.stack([function(a, b, convention) for a, b in zip(first, second, strict=True)])

    return call


_BOX_PAIRS = "(N, P, 4) boxes, (N, Q, 4) boxes, xyxy"
_OBJECTS = "(B, M, 4) boxes, (B, M) labels (-1: padding), (A, 4) anchors in cxcywh"
_TARGETS = "(B, A) labels, (B, A, 4) deltas, (B, A) objects or None"
_HEADS = "(B, A, 4) deltas, (B, A, C + 1) logits"
_LOSS = f"{_HEADS}, (B, A, 4) target deltas, (B, A) target labels, (B, A, 4) predicted boxes"
_SCORED = "(B, A, 4) boxes, (B, A, C) scores"
_FOUND = "(B, K, 4) boxes, (B, K) scores, labels (-1: unused), anchors (-1: unused) or None"


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Ignore the convention."""
    return lambda *inputs, convention: function(*inputs)


OPERATIONS: dict[str, Operation] = {
    "xyxy_to_cxcywh": Operation(
        "(N, 4) boxes, xyxy",
        "(N, 4) boxes, cxcywh",
        rows(lambda generator, n: (some_boxes(generator, n),)),
        judge_floats(
            "xyxy_to_cxcywh",
            _plainly(boxes.xyxy_to_cxcywh),
            _plainly(lambda box: np.tile(np.abs(box[:, :2]) + np.abs(box[:, 2:]), 2)),
        ),
    ),
    "cxcywh_to_xyxy": Operation(
        "(N, 4) boxes, cxcywh",
        "(N, 4) boxes, xyxy",
        rows(lambda generator, n: (some_anchors(generator, n),)),
        judge_floats(
            "cxcywh_to_xyxy",
            _plainly(boxes.cxcywh_to_xyxy),
            _plainly(lambda box: np.tile(np.abs(box[:, :2]) + box[:, 2:], 2)),
        ),
    ),
    "area": Operation(
        "(N, 4) boxes, xyxy",
        "(N,) areas",
        rows(lambda generator, n: (some_inside_out(generator, n),)),
        judge_floats("area", _plainly(boxes.area), _plainly(boxes.area)),
    ),
    "clip": Operation(
        "(N, 4) boxes, xyxy",
        "(N, 4) boxes within the image",
        rows(lambda generator, n: (some_boxes(generator, n),)),
        judge_floats("clip", _plainly(boxes.clip), _plainly(np.abs)),
    ),
    "flip_horizontally": Operation(
        "(N, 4) boxes, xyxy",
        "(N, 4) boxes in the image mirrored left to right",
        rows(lambda generator, n: (some_boxes(generator, n),)),
        judge_floats(
            "flip_horizontally",
            _plainly(boxes.flip_horizontally),
            _plainly(lambda box: np.abs(box) + np.array([1, 0, 1, 0])),
        ),
    ),
    "pairwise_iou": Operation(
        _BOX_PAIRS,
        "(N, P, Q) IoU",
        rows(overlapping),
        judge_floats("pairwise_iou", _each(boxes.pairwise_iou), _each(iou_scale)),
    ),
    "pairwise_ioa": Operation(
        _BOX_PAIRS,
        "(N, P, Q) intersection over the area of the second box",
        rows(overlapping),
        judge_floats(
            "pairwise_ioa",
            _each(lambda first, second, _: boxes.pairwise_ioa(first, second)),
            _each(lambda first, second, _: boxes.pairwise_ioa(first, second)),
        ),
    ),
    "make_anchors": Operation(
        "a scalar 0; the anchors must have its dtype",
        "(A, 4) anchors of the convention's layout, cxcywh",
        anchor_workloads,
        judge_anchors,
        compiled=False,
    ),
    "match": Operation(
        _OBJECTS,
        "(B, A) object of each anchor (-1: background, -2: ignored)",
        match_workloads,
        judge_match,
    ),
    "encode": Operation(
        "(A, 4) boxes in xyxy, (A, 4) anchors in cxcywh",
        "(A, 4) deltas",
        rows(lambda generator, n: (some_boxes(generator, n), some_anchors(generator, n))),
        judge_floats("encode", coding.encode, encode_scale),
    ),
    "decode": Operation(
        "(A, 4) deltas, (A, 4) anchors in cxcywh",
        "(A, 4) boxes in xyxy",
        rows(lambda generator, n: (generator.normal(0, 5, (n, 4)), some_anchors(generator, n))),
        judge_floats("decode", coding.decode, decode_scale),
    ),
    "background_first": Operation(
        "(N, C + 1) logits in the column order of the head",
        "(N, C + 1) logits, background in column 0",
        rows(lambda generator, n: (some_logits(generator, n),)),
        judge_floats("background_first", coding.background_first, _plainly(np.abs)),
    ),
    "assign_targets": Operation(_OBJECTS, _TARGETS, match_workloads, judge_targets),
    "assign_targets_with_crowds": Operation(
        f"{_OBJECTS}, (B, M) crowds", _TARGETS, crowd_workloads, judge_targets
    ),
    "smooth_l1": Operation(
        "(N, 4) predicted, (N, 4) target",
        "(N, 4) losses",
        rows(lambda generator, n: tuple(generator.normal(0, 1.5, (2, n, 4)))),
        judge_floats("smooth_l1", _plainly(losses.smooth_l1), smooth_l1_scale),
    ),
    "softmax": Operation(
        "(N, C + 1) logits",
        "(N, C + 1) probabilities",
        rows(lambda generator, n: (some_logits(generator, n),)),
        judge_floats("softmax", _plainly(losses.softmax), _plainly(softmax_scale)),
    ),
    "softmax_cross_entropy": Operation(
        "(N, C + 1) logits, (N,) labels",
        "(N,) losses",
        rows(lambda generator, n: (some_logits(generator, n), generator.integers(0, CLASSES, n))),
        judge_floats(
            "softmax_cross_entropy",
            _plainly(losses.softmax_cross_entropy),
            _plainly(class_scale),
            wide=(0,),
        ),
    ),
    "sigmoid": Operation(
        "(N, C) logits",
        "(N, C) probabilities",
        rows(lambda generator, n: (some_logits(generator, n),)),
        judge_floats("sigmoid", _plainly(losses.sigmoid), _plainly(losses.sigmoid)),
    ),
    "sigmoid_cross_entropy": Operation(
        "(N, C) logits, (N, C) targets from 0 to 1",
        "(N, C) losses",
        rows(lambda generator, n: (some_logits(generator, n), generator.random((n, CLASSES)))),
        judge_floats(
            "sigmoid_cross_entropy",
            _plainly(losses.sigmoid_cross_entropy),
            _plainly(lambda logits, wanted: np.maximum(1, np.abs(logits))),
        ),
    ),
    "focal": Operation(
        "(N, C) logits, (N, C) targets 0 or 1",
        "(N, C) losses, alpha .25, gamma 2",
        rows(
            lambda generator, n: (
                some_logits(generator, n),
                generator.integers(0, 2, (n, CLASSES)).astype(float),
            )
        ),
        judge_floats("focal", _plainly(losses.focal), _plainly(losses.focal)),
    ),
    "class_losses": Operation(
        "(N, C + 1) logits, (N,) labels (-1: ignored)",
        "(N,) losses",
        rows(lambda generator, n: (some_logits(generator, n), generator.integers(-1, CLASSES, n))),
        judge_floats("class_losses", multibox.class_losses, class_scale, wide=(0,)),
    ),
    "mine_hard_negatives": Operation(
        "(B, A) losses, (B, A) labels",
        "(B, A) mask of the mined negatives of each image",
        mining_workloads,
        judge_mining,
    ),
    "multibox_loss": Operation(
        _LOSS,
        "total, class loss, box loss, number of positives, (B, A) mask of the positives in the "
        "loss, (B, A) mask of the negatives in the loss, (B, A) class losses; each may be None",
        multibox_workloads,
        judge_multibox,
        {"box_weight": 2.0},
    ),
    "multibox_gradient": Operation(
        _LOSS,
        "(B, A, 4) gradient of the total with respect to the deltas, (B, A, C + 1) with respect to "
        "the logits; the last three outputs of `multibox_loss`, or None",
        multibox_workloads,
        judge_multibox_gradient,
        {"box_weight": 2.0},
    ),
    "nms": Operation(
        "(B, N, 4) boxes, (B, N) scores (-inf: no box)",
        "(B, K) indices of the kept boxes in the order visited, -1 after the last",
        nms_workloads,
        judge_nms,
        {"iou_threshold": 0.5},
        # At a threshold of one half, eta would never lower it.
        keeps=lambda convention: convention.detection.eta < 1,
        asks=lambda convention: convention.detection.soft_sigma is None,
    ),
    "soft_nms": Operation(
        "(B, N, 4) boxes, (B, N) scores (-inf: no box)",
        "(B, K) indices of the kept boxes, highest score first, -1 after the last; (B, K) their "
        "lowered scores",
        nms_workloads,
        judge_soft_nms,
        {"score_threshold": 0.05},
        asks=lambda convention: convention.detection.soft_sigma is not None,
    ),
    "select": Operation(
        _SCORED,
        _FOUND,
        select_workloads,
        judge_select,
        FEW,
        asks=lambda convention: convention.detection.soft_sigma is None,
    ),
    "detect": Operation(
        f"{_HEADS}, (A, 4) anchors in cxcywh",
        f"{_FOUND}; (B, A, 4) decoded boxes and (B, A, C) scores, or None",
        detect_workloads,
        judge_detect,
        FEW,
        asks=lambda convention: convention.detection.soft_sigma is None,
    ),
}
