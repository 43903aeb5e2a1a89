"""KerasHub's RetinaNet label encoder, as a graph."""

from __future__ import annotations

from typing import Any

from keras_impl._common.arrays import Array
from keras_impl.benchmark.peers.kinds import Floats, Matched, Matcher
from reference_numpy.boxes import cxcywh_to_xyxy
from reference_numpy.conventions import CANONICAL, PADDING

__all__ = [
    "keras_hub_matcher",
]


def keras_hub_matcher(anchors: Floats, objects: int, compiled: bool = False) -> Matcher:
    """Match with keras-hub's `BoxMatcher`, Keras' `compute_iou` and `encode_box_to_deltas`.

    They are combined as in RetinaNet's label encoder, and every object is forced on its best
    anchor. Forced matching also gives an anchor to padding, and even to a column beyond the last
    one (docs/peer-bugs.md). Therefore boxes and labels get one more row of padding, as users must
    add too, and an anchor of padding becomes background. That is the first anchor, unless it is
    the best of an object.

    If two objects have the same best anchor, the first object gets it and the other gets none.
    """
    import tensorflow as tf
    from keras.utils import bounding_boxes
    from keras_hub.layers import BoxMatcher

    corners = tf.constant(cxcywh_to_xyxy(anchors))
    # A new list for each layer, because the layer keeps the list and appends to it.
    match = BoxMatcher([CANONICAL.matching.threshold], [0, 1], force_match_for_each_col=True)
    signature = [
        tf.TensorSpec((None, objects, 4), tf.float32),
        tf.TensorSpec((None, objects), tf.int32),
    ]

    # Without XLA, every step writes its matrices to memory, which takes two to five times as long
    # (8 x 100 to 32 x 1 objects).
    @tf.function(input_signature=signature, jit_compile=compiled)
    def graph(boxes: Any, labels: Any) -> Any:
        overlap = bounding_boxes.compute_iou(corners, boxes, "xyxy")
        column, value = match(overlap)
        boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
        labels = tf.pad(labels, [[0, 0], [0, 1]], constant_values=PADDING)
        label = tf.gather(labels, column, batch_dims=1)
        deltas = bounding_boxes.encode_box_to_deltas(
            corners,
            tf.gather(boxes, column, batch_dims=1),
            anchor_format="xyxy",
            box_format="xyxy",
            encoding_format="center_xywh",
            variance=CANONICAL.coding.variances,
        )
        positive = (value == 1) & (label != PADDING)
        return (
            tf.where(positive, label, 0),
            tf.where(positive[..., None], deltas, 0.0),
            tf.where(positive, column, -1),
        )

    def call(boxes: Array, labels: Array) -> Matched:
        found = graph(tf.convert_to_tensor(boxes), tf.convert_to_tensor(labels))
        return Matched(*(part.numpy() for part in found))

    return call
