"""OpenVINO's `DetectionOutput`: decoding and suppression in C++."""

from __future__ import annotations

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.benchmark.peers.kinds import THREADS, Decoder, Floats, Found, Heads
from reference_numpy.boxes import cxcywh_to_xyxy
from reference_numpy.conventions import Convention

__all__ = [
    "openvino_decoder",
]


def openvino_decoder(anchors: Floats, convention: Convention) -> Decoder:
    """Compute the scores and call `DetectionOutput` in one OpenVINO graph, on two threads.

    It takes the classes one by one, and sorts its detections by class. They are put in the order
    of their scores here; of equal scores the lowest label comes first.
    """
    import openvino
    from openvino import opset8 as ops

    heads, rules = Heads.of(anchors, convention), convention.detection
    corners = cxcywh_to_xyxy(heads.anchors).ravel()
    variances = np.tile(np.array(heads.variances, np.float32), len(anchors))

    deltas = ops.parameter([-1, len(anchors), 4], np.float32)
    logits = ops.parameter([-1, len(anchors), -1], np.float32)
    scores = ops.softmax(logits, axis=2) if heads.softmax else ops.sigmoid(logits)
    found = ops.detection_output(
        ops.reshape(deltas, [0, -1], special_zero=True),
        ops.reshape(scores, [0, -1], special_zero=True),
        np.stack([corners, variances])[None],
        {
            "code_type": "caffe.PriorBoxParameter.CENTER_SIZE",
            "confidence_threshold": rules.score_threshold,
            "top_k": heads.candidates,
            "nms_threshold": rules.iou_threshold,
            "keep_top_k": [rules.max_detections],
            "clip_before_nms": True,
            "normalized": True,  # Anchors are relative to the image.
        },
    )
    graph = openvino.compile_model(
        openvino.Model([found], [deltas, logits]),
        "CPU",
        # Where a processor has bfloat16, that would be the default, with three digits.
        {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"},
    )

    def call(deltas: Array, logits: Array) -> list[Found]:
        (rows,) = graph([deltas, logits])[0][0]  # image, label, score, xmin, ymin, xmax, ymax
        ends = np.flatnonzero(rows[:, 0] < 0)  # after the last detection, unless all are used
        rows = rows[: ends[0]] if ends.size else rows
        images = np.split(rows, np.searchsorted(rows[:, 0], np.arange(1, len(deltas))))
        return [ordered(image) for image in images]

    def ordered(rows: Array) -> Found:
        rows = rows[np.argsort(-rows[:, 2], kind="stable")]
        return Found(rows[:, 3:][:, heads.order], rows[:, 2], rows[:, 1].astype(np.int32))

    return call
