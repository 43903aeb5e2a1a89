"""TensorFlow's combined non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.benchmark.peers.kinds import Decoder, Floats, Found, Heads
from reference_numpy.conventions import Convention

__all__ = [
    "tf_image_decoder",
]


def tf_image_decoder(anchors: Floats, convention: Convention) -> Decoder:
    """Decode in TensorFlow, then suppress by `tf.image.combined_non_max_suppression`, in a graph.

    XLA does not compile it. It has no limit of candidates, so `candidates_per_class` limits the
    detections kept per class instead. It clips boxes to the image after suppression, not before.
    """
    import tensorflow as tf

    heads, rules = Heads.of(anchors, convention), convention.detection
    centers, sizes = tf.constant(heads.anchors[:, :2]), tf.constant(heads.anchors[:, 2:])
    variances = tf.constant(heads.variances, tf.float32)

    @tf.function
    def graph(deltas: Any, logits: Any) -> Any:
        scaled = deltas * variances
        center = centers + scaled[..., :2] * sizes
        half = tf.exp(scaled[..., 2:]) * sizes * 0.5
        boxes = tf.concat([center - half, center + half], axis=-1)
        scores = tf.nn.softmax(logits) if heads.softmax else tf.sigmoid(logits)
        return tf.image.combined_non_max_suppression(
            boxes[:, :, None],
            scores[..., 1:],
            max_output_size_per_class=heads.candidates,
            max_total_size=rules.max_detections,
            iou_threshold=rules.iou_threshold,
            score_threshold=rules.score_threshold,
            clip_boxes=True,
        )

    def call(deltas: Array, logits: Array) -> list[Found]:
        found = graph(tf.convert_to_tensor(deltas), tf.convert_to_tensor(logits))
        boxes, scores, classes, counts = (part.numpy() for part in found)
        boxes, labels = boxes[..., heads.order], classes.astype(np.int32) + 1
        return [
            Found(*(part[image, :count] for part in (boxes, scores, labels)))
            for image, count in enumerate(counts)
        ]

    return call
