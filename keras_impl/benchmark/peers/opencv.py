"""OpenCV's non-maximum suppression, `cv2.dnn.NMSBoxes`."""

from __future__ import annotations

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.benchmark.peers.kinds import Decoder, Floats, Found, Heads
from reference_numpy.conventions import Convention

__all__ = [
    "opencv_decoder",
]


def opencv_decoder(anchors: Floats, convention: Convention) -> Decoder:
    """Decode in NumPy, as users of OpenCV do, then suppress class by class with OpenCV.

    It calls `cv2.dnn.NMSBoxes`, not `NMSBoxesBatched`. The latter compares boxes of all classes
    with each other and has one limit of candidates for all classes. On heads that are unsure it
    took seven times as long, and 44 times as long without a limit of our own.
    """
    import cv2

    heads, rules = Heads.of(anchors, convention), convention.detection
    centers, sizes = heads.anchors[:, :2], heads.anchors[:, 2:]
    variances = np.array(heads.variances, np.float32)

    def call(deltas: Array, logits: Array) -> list[Found]:
        scaled = deltas * variances
        center = centers + scaled[..., :2] * sizes
        with np.errstate(over="ignore"):  # Boxes are clipped to the image below.
            half = np.exp(scaled[..., 2:]) * sizes * np.float32(0.5)
        low, high = (np.clip(part, 0, 1) for part in (center - half, center + half))
        if heads.softmax:
            scores = np.exp(logits - logits.max(axis=-1, keepdims=True))
            scores /= scores.sum(axis=-1, keepdims=True)
        else:
            with np.errstate(over="ignore"):  # 1 / infinity is 0
                scores = 1 / (1 + np.exp(-logits))
        return [suppress(*image) for image in zip(low, high, scores, strict=True)]

    def suppress(low: Array, high: Array, scores: Array) -> Found:
        boxes = np.concatenate([low, high], axis=-1)
        corner_and_size = np.concatenate([low, high - low], axis=-1).astype(np.float64)
        rows, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for column in range(1, scores.shape[1]):
            score = scores[:, column]
            above = np.flatnonzero(score > rules.score_threshold)
            if not above.size:
                continue
            kept = cv2.dnn.NMSBoxes(
                corner_and_size[above],
                score[above],
                rules.score_threshold,
                rules.iou_threshold,
                top_k=heads.candidates,
            )
            rows.append(above[np.asarray(kept, np.int64)])
            columns.append(np.full(len(kept), column))
        row, label = np.concatenate(rows), np.concatenate(columns)
        score = scores[row, label]
        order = np.argsort(-score, kind="stable")[: rules.max_detections]
        row = row[order]
        return Found(boxes[row][:, heads.order], score[order], label[order])

    return call
