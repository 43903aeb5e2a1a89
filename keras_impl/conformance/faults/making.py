"""The parts of the faults: the correct operations (`RIGHT`) and ways to change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_impl.conformance.batching import per_image
from reference_numpy import (
    boxes,
    coding,
    detection,
    gradients,
    losses,
    matching,
    mining,
    multibox,
    suppression,
    targets,
)
from reference_numpy.anchors import make_anchors

__all__ = []

Function = Callable[..., Any]


class Fault(NamedTuple):
    """A wrong implementation of one operation.

    Attributes:
        operation: The operation, a name of `OPERATIONS`.
        name: A few words, unique within the operation.
        wrong: One sentence that says what the wrong implementation does.
        function: The implementation, as in `Implementation.operations`.
        claims: Overrides of the canonical convention that it claims to follow.
    """

    operation: str
    name: str
    wrong: str
    function: Function
    claims: Mapping[str, Any] = {}


def plainly(function: Function) -> Function:
    """Ignore the convention, and silence floating-point warnings."""

    def call(*arrays: Any, convention: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arrays)

    return call


def each(function: Function) -> Function:
    """Apply a function of two lists of boxes to each image of a batch."""

    def call(first: Any, second: Any, convention: Any) -> Any:
        with np.errstate(all="ignore"):
            pairs = zip(first, second, strict=True)
            return np.stack([function(*pair, convention) for pair in pairs])

    return call


def match(box: Any, anchors: Any, convention: Any) -> Any:
    iou = boxes.pairwise_iou(box, boxes.cxcywh_to_xyxy(anchors), convention)
    return matching.match(iou, convention)


def assign(box: Any, labels: Any, anchors: Any, crowds: Any = None, *, convention: Any) -> Any:
    crowds = np.zeros(labels.shape, bool) if crowds is None else crowds
    images = [
        targets.assign_targets(one, label, anchors, convention, crowds=crowd)
        for one, label, crowd in zip(box, labels, crowds, strict=True)
    ]
    return tuple(np.stack(part) for part in zip(*images, strict=True))


def loss(deltas: Any, logits: Any, wanted: Any, labels: Any, box: Any, convention: Any) -> Any:
    found = multibox.multibox_loss(deltas, logits, wanted, labels, convention, boxes=box)
    return *found, multibox.class_losses(logits, labels, convention)


def gradient(deltas: Any, logits: Any, wanted: Any, labels: Any, box: Any, convention: Any) -> Any:
    heads = deltas, logits, wanted, labels
    found = gradients.multibox_gradient(*heads, convention, boxes=box)
    return *found, *loss(*heads, box, convention)[4:]


RIGHT: dict[str, Function] = {
    "xyxy_to_cxcywh": plainly(boxes.xyxy_to_cxcywh),
    "cxcywh_to_xyxy": plainly(boxes.cxcywh_to_xyxy),
    "area": plainly(boxes.area),
    "clip": plainly(boxes.clip),
    "flip_horizontally": plainly(boxes.flip_horizontally),
    "pairwise_iou": each(boxes.pairwise_iou),
    "pairwise_ioa": each(lambda first, second, _: boxes.pairwise_ioa(first, second)),
    "make_anchors": lambda zero, convention: make_anchors(convention.layout, zero.dtype),
    "match": per_image("match", match),
    "encode": coding.encode,
    "decode": coding.decode,
    "background_first": coding.background_first,
    "assign_targets": assign,
    "assign_targets_with_crowds": assign,
    "smooth_l1": plainly(losses.smooth_l1),
    "softmax": plainly(losses.softmax),
    "softmax_cross_entropy": plainly(losses.softmax_cross_entropy),
    "sigmoid": plainly(losses.sigmoid),
    "sigmoid_cross_entropy": plainly(losses.sigmoid_cross_entropy),
    "focal": plainly(losses.focal),
    "class_losses": multibox.class_losses,
    "mine_hard_negatives": per_image("mine_hard_negatives", mining.mine_hard_negatives),
    "multibox_loss": loss,
    "multibox_gradient": gradient,
    "nms": per_image("nms", suppression.nms),
    "soft_nms": per_image("soft_nms", suppression.soft_nms),
    "select": per_image("select", detection.select),
    "detect": per_image("detect", detection.detect),
}


# The canonical convention has no soft suppression, so `soft_nms` must claim a sigma.
CLAIMS: dict[str, Mapping[str, Any]] = {"soft_nms": {"soft_sigma": 0.5}}


class Way(NamedTuple):
    """A mistake that applies to any operation: `of` maps its name to the wrong function."""

    of: Callable[[str], Function]


def by(**overrides: Any) -> Way:
    """Follow other rules than those claimed."""
    return Way(
        lambda operation: (
            lambda *arrays, convention: RIGHT[operation](
                *arrays, convention=convention.replace(**overrides)
            )
        )
    )


def given(change: Function) -> Way:
    """Change the inputs: `change` takes all arrays and returns one array or a tuple."""

    def way(operation: str) -> Function:
        def call(*arrays: Any, convention: Any) -> Any:
            others = change(*arrays)
            others = others if isinstance(others, tuple) else (others,)
            return RIGHT[operation](*others, convention=convention)

        return call

    return Way(way)


def then(change: Function) -> Way:
    """Change the outputs: `change` takes one array or several."""

    def way(operation: str) -> Function:
        def call(*arrays: Any, convention: Any) -> Any:
            found = RIGHT[operation](*arrays, convention=convention)
            return change(*found) if isinstance(found, tuple) else change(found)

        return call

    return Way(way)


def in_single(operation: str) -> Function:
    """Compute in float32 and convert the result to the dtype of the inputs."""

    def call(*arrays: Any, convention: Any) -> Any:
        kind = arrays[0].dtype
        single = [one.astype(np.float32) if one.dtype == kind else one for one in arrays]
        return RIGHT[operation](*single, convention=convention).astype(kind)

    return call


IN_SINGLE = ("float32 inside", "Computes in float32 when asked for float64.", Way(in_single))


def of(operation: str, *mistakes: tuple[Any, ...]) -> list[Fault]:
    """List the faults of one operation.

    Args:
        operation: A name of `OPERATIONS`.
        mistakes: (name, wrong, function or `Way`) and, optionally, claims; see `Fault`.
    """
    return [
        Fault(operation, name, wrong, how.of(operation) if isinstance(how, Way) else how, *claims)
        for name, wrong, how, *claims in mistakes
    ]


def sides_shared(first: Any, second: Any) -> Any:
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    return np.minimum(first[:, None, 2:], second[None, :, 2:]) - low


def shared(first: Any, second: Any) -> Any:
    return np.maximum(sides_shared(first, second), 0).prod(axis=-1)


def areas(first: Any, second: Any) -> Any:
    return boxes.area(first)[:, None], boxes.area(second)[None, :]


def share(part: Any, whole: Any) -> Any:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def iou_or_nan(first: Any, second: Any, convention: Any) -> Any:
    common = shared(first, second)
    return common / (sum(areas(first, second)) - common)


def covered(anchors: Any, crowds: Any) -> Any:
    return share(shared(anchors, crowds), areas(anchors, crowds)[0])


def of_the_crowd(anchors: Any, crowds: Any) -> Any:
    return share(shared(anchors, crowds), areas(anchors, crowds)[1])


def limit(convention: Any, box: Any) -> Any:
    return box.dtype.type(convention.detection.iou_threshold)
