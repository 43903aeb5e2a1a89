"""OpenVINO's `DetectionOutput`, which decodes and suppresses, on the CPU.

It does not tell anchors. Scores are made in its graph, with a softmax.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import openvino
from openvino import opset8 as ops

from keras_impl.conformance.batching import per_image
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import Deviation, Implementation, Offer
from reference_numpy.boxes import cxcywh_to_xyxy
from reference_numpy.conventions import CANONICAL
from reference_numpy.detection import Detections
from reference_numpy.losses import softmax

__all__ = ["IMPLEMENTATION"]


# --- what it offers ------------------------------------------------------------------------------


def rules_of(convention):
    """Its attributes."""
    rules = convention.detection
    return {
        "confidence_threshold": rules.score_threshold,
        "top_k": -1 if rules.candidates_per_class is None else rules.candidates_per_class,
        "nms_threshold": rules.iou_threshold,
        "keep_top_k": [rules.max_detections],
        "clip_before_nms": rules.clip == "before",
        "clip_after_nms": rules.clip == "after",
        "normalized": True,
    }


@lru_cache(maxsize=8)
def graph(code_type, softmax, anchors, columns, options):
    """Codes (N, A * 4), numbers (N, A, C + 1), anchors and variances (1, 2, A * 4) → detections."""
    codes, priors = ops.parameter([1, anchors * 4]), ops.parameter([1, 2, anchors * 4])
    numbers = ops.parameter([1, anchors, columns])
    scores = ops.softmax(numbers, axis=2) if softmax else numbers
    attributes = {key: list(value) if key == "keep_top_k" else value for key, value in options}
    attributes["code_type"] = f"caffe.PriorBoxParameter.{code_type}"
    flat = ops.reshape(scores, [1, -1], special_zero=False)
    found = ops.detection_output(codes, flat, priors, attributes)
    model = openvino.Model([found], [codes, numbers, priors])
    return openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def found_by(code_type, softmax, codes, numbers, priors, convention):
    options = {**rules_of(convention), "keep_top_k": (convention.detection.max_detections,)}
    asked = graph(code_type, softmax, *numbers.shape, tuple(options.items()))
    (rows,) = asked([codes.reshape(1, -1), numbers[None], priors[None]])[0][0]
    rows = rows[: np.argmax(np.append(rows[:, 0], -1) < 0)]  # -1 comes after the last
    rows = rows[np.argsort(-rows[:, 2], kind="stable")]  # it sorts them by label, then by score
    return Detections(rows[:, 3:], rows[:, 2], rows[:, 1].astype(np.int64), None)


def detect(deltas, logits, anchors, convention):
    variances = np.tile(np.array(convention.coding.variances, anchors.dtype), len(anchors))
    priors = np.stack([cxcywh_to_xyxy(anchors).ravel(), variances])
    return found_by("CENTER_SIZE", True, deltas, logits, priors, convention)


def select(boxes, scores, convention):
    """The code of a box is its difference to an anchor at 0, the box itself."""
    priors = np.repeat([[0], [1]], boxes.size, axis=1).astype(boxes.dtype)
    with_background = np.concatenate([np.zeros_like(scores[:, :1]), scores], axis=1)
    return found_by("CORNER", False, boxes, with_background, priors, convention)


# --- workloads that keep off its deviation -------------------------------------------------------

MOST = 60  # of the highest scores of an image, its detections among them


def select_workloads(generator, dtype, count):
    """Equal scores within a class, and at the threshold, but not of two classes."""
    for boxes, scores in OPERATIONS["select"].workloads(generator, dtype, count):
        apart = scores + np.arange(scores.shape[2], dtype=dtype) / 1024
        yield boxes, np.where(scores == scores.dtype.type(0.2), scores, apart)


def detect_workloads(generator, dtype, count):
    """No two scores so near that rounding decides which is higher."""
    for deltas, logits, anchors in OPERATIONS["detect"].workloads(generator, dtype, 2 * count):
        logits = logits + generator.normal(0, 0.01, logits.shape).astype(dtype)
        scores = np.sort(softmax(logits.astype(np.float64))[..., 1:].reshape(len(logits), -1))
        clear = np.diff(scores[:, -MOST:]).min(axis=1) > 1e-6
        yield deltas[clear], logits[clear], anchors


# --- where it is wrong ---------------------------------------------------------------------------

DEVIATIONS = (
    Deviation(
        "equal scores of two classes at the limit",
        "select [corner codes]",
        "of equal scores it keeps those of the lowest anchors, but does not sort them so",
        (
            np.array([[[0, 0, 0.5, 1], [0.5, 0, 1, 1]]], np.float32),
            np.array([[[0, 0.5], [0.5, 0]]], np.float32),
        ),
        overrides={"max_detections": 1},
    ),
)

IMPLEMENTATION = Implementation(
    "openvino",
    {
        "detect": Offer(per_image("detect", detect), workloads=detect_workloads),
        "select [corner codes]": Offer(per_image("select", select), workloads=select_workloads),
    },
    convention=CANONICAL.replace(ties="lowest label"),
    dtypes=("float32",),
    deviations=DEVIATIONS,
    version=openvino.__version__.partition("-")[0],
)
