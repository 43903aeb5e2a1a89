"""The implementations of this project: `KERAS` in every mode, and `HOST`, the fast paths."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_impl.backends import NO_FUSING, backend, compiler, gradients, in_mode, modes
from keras_impl.conformance.suite import Implementation, Offer
from keras_impl.host.matching import TargetAssigner
from keras_impl.models import decoding
from keras_impl.ops import (
    anchors,
    boxes,
    coding,
    detection,
    losses,
    matching,
    mining,
    multibox,
    suppression,
    targets,
)
from reference_numpy.conventions import CANONICAL, IGNORED, Convention

__all__ = ["COMPILED", "HOST", "KERAS", "MODES", "UNFUSED", "host_as", "keras_as"]

# Where XLA compiles there is one more mode: compiled in its own process, without fusing.
COMPILED = compiler()
UNFUSED = f"{COMPILED}-nofuse" if COMPILED else None
MODES = (*modes(), *([UNFUSED] if UNFUSED else []))


def _run(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    if mode != UNFUSED:
        return in_mode(function, mode)
    if NO_FUSING not in os.environ.get("XLA_FLAGS", ""):
        flags = os.environ.get("XLA_FLAGS")
        raise RuntimeError(f"XLA_FLAGS: expected {NO_FUSING} for mode {mode}. Received: {flags!r}")
    return in_mode(function, str(COMPILED))


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *tensors, convention: (function(*tensors),)


def _by_convention(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *tensors, convention: (function(*tensors, convention),)


def _match(box: Any, labels: Any, anchor: Any, *, convention: Convention) -> tuple[Any, ...]:
    return (matching.match(box, ops.greater(labels, 0), anchor, convention),)


def _targets(
    box: Any, labels: Any, anchor: Any, crowds: Any = None, *, convention: Convention
) -> tuple[Any, ...]:
    return tuple(targets.assign_targets(box, labels, anchor, convention, crowds=crowds))


def _make_anchors(zero: Any, *, convention: Convention) -> tuple[Any, ...]:
    dtype = keras.backend.standardize_dtype(zero.dtype)
    return (anchors.make_anchors(convention.layout, dtype),)


def _multibox(
    deltas: Any, logits: Any, wanted: Any, labels: Any, box: Any, *, convention: Convention
) -> tuple[Any, ...]:
    loss = multibox.multibox_loss(deltas, logits, wanted, labels, convention, boxes=box)
    return *loss, multibox.class_losses(logits, labels, convention)


def _multibox_gradient(
    deltas: Any, logits: Any, wanted: Any, labels: Any, box: Any, *, convention: Convention
) -> tuple[Any, ...]:
    def total(deltas: Any, logits: Any) -> Any:
        return multibox.multibox_loss(deltas, logits, wanted, labels, convention, boxes=box).total

    loss = multibox.multibox_loss(deltas, logits, wanted, labels, convention, boxes=box)
    class_losses = multibox.class_losses(logits, labels, convention)
    return *gradients(total)(deltas, logits), loss.counted, loss.negatives, class_losses


def _soft_nms(box: Any, score: Any, *, convention: Convention) -> tuple[Any, ...]:
    return suppression.soft_nms(box, score, convention)


def _select(box: Any, score: Any, *, convention: Convention) -> tuple[Any, ...]:
    return tuple(detection.select(box, score, convention))


def _detect(deltas: Any, logits: Any, anchor: Any, *, convention: Convention) -> tuple[Any, ...]:
    """Return detections, and the decoded boxes and scores that they were decided from."""
    columns = coding.background_first(logits, convention)
    softmax = convention.loss.class_loss == "softmax"
    scores = (losses.softmax if softmax else losses.sigmoid)(columns)[..., 1:]
    found = detection.detect(deltas, logits, anchor, convention)
    return *found, coding.decode(deltas, anchor, convention), scores


KERAS = Implementation(
    name=f"keras ({backend()})",
    operations={
        "xyxy_to_cxcywh": _plainly(boxes.xyxy_to_cxcywh),
        "cxcywh_to_xyxy": _plainly(boxes.cxcywh_to_xyxy),
        "area": _plainly(boxes.area),
        "clip": _plainly(boxes.clip),
        "flip_horizontally": _plainly(boxes.flip_horizontally),
        "pairwise_iou": _by_convention(boxes.pairwise_iou),
        "pairwise_ioa": _plainly(boxes.pairwise_ioa),
        "make_anchors": _make_anchors,
        "match": _match,
        "encode": _by_convention(coding.encode),
        "decode": _by_convention(coding.decode),
        "background_first": _by_convention(coding.background_first),
        "assign_targets": _targets,
        "assign_targets_with_crowds": _targets,
        "smooth_l1": _plainly(losses.smooth_l1),
        "softmax": _plainly(losses.softmax),
        "softmax_cross_entropy": _plainly(losses.softmax_cross_entropy),
        "sigmoid": _plainly(losses.sigmoid),
        "sigmoid_cross_entropy": _plainly(losses.sigmoid_cross_entropy),
        "focal": _plainly(losses.focal),
        "class_losses": _by_convention(multibox.class_losses),
        "mine_hard_negatives": _by_convention(mining.mine_hard_negatives),
        "multibox_loss": _multibox,
        "multibox_gradient": _multibox_gradient,
        "nms": _by_convention(suppression.nms),
        "soft_nms": Offer(_soft_nms, overrides={"soft_sigma": 0.5, "eta": 1.0}),
        "select": _select,
        "detect": _detect,
    },
    modes=MODES,
    in_mode=_run,
    may_fuse=(COMPILED,) if COMPILED else (),
    version=keras.__version__,
)


def keras_as(convention: Convention = CANONICAL) -> Implementation:
    """Return Keras with another claimed convention; it supports every convention."""
    return replace(KERAS, convention=convention)


def _host_targets(
    box: Any, labels: Any, anchor: Any, crowds: Any = None, *, convention: Convention
) -> tuple[Any, ...]:
    return tuple(TargetAssigner(anchor, convention).assign(box, labels, crowds))


def _host_match(box: Any, labels: Any, anchor: Any, *, convention: Convention) -> tuple[Any, ...]:
    found = TargetAssigner(anchor, convention).assign(box, labels)
    return (np.where(found.labels < 0, IGNORED, found.objects),)


def _host_detect(
    deltas: Any, logits: Any, anchor: Any, *, convention: Convention
) -> tuple[Any, ...]:
    return *decoding.detect(deltas, logits, anchor, convention), None, None


HOST = Implementation(
    name="host",
    operations={
        "match": _host_match,
        "assign_targets": _host_targets,
        "assign_targets_with_crowds": _host_targets,
        "detect": _host_detect,
    },
    modes=("host",),
    version=np.__version__,
)


def host_as(convention: Convention = CANONICAL) -> Implementation:
    """Return the host paths with another claimed convention; with the mirror they support all."""
    return replace(HOST, convention=convention)
