"""NVIDIA DALI's `fn.box_encoder`: matching and encoding in C++, here on the CPU."""

from __future__ import annotations

from functools import cache
from typing import Any

from keras_impl._common.arrays import Array
from keras_impl.benchmark.peers.kinds import THREADS, Floats, Matched, Matcher
from reference_numpy.boxes import cxcywh_to_xyxy
from reference_numpy.conventions import CANONICAL, PADDING

__all__ = [
    "dali_matcher",
]


def dali_matcher(anchors: Floats) -> Matcher:
    """Match a batch in one DALI pipeline without a GPU, on two threads.

    It returns labels and deltas, but not the objects. An anchor needs an IoU above the threshold,
    not equal to it. Every object is forced on its best anchor, even at IoU 0; if two objects have
    the same best anchor, the last object gets it and the other gets none. Equal IoUs go to the last
    object and the last anchor.
    """
    from nvidia.dali import fn, types
    from nvidia.dali.pipeline import pipeline_def

    corners = cxcywh_to_xyxy(anchors).ravel().tolist()

    @pipeline_def(num_threads=THREADS, device_id=None, prefetch_queue_depth=1)
    def pipeline() -> Any:
        boxes = fn.external_source(name="boxes", dtype=types.FLOAT, ndim=2)
        labels = fn.external_source(name="labels", dtype=types.INT32, ndim=1)
        deltas, labels = fn.box_encoder(
            boxes,
            labels,
            anchors=corners,
            criteria=CANONICAL.matching.threshold,
            offset=True,
            stds=CANONICAL.coding.variances,
        )
        return deltas, labels

    @cache
    def built(batch: int) -> Any:
        return pipeline(batch_size=batch)

    def call(boxes: Array, labels: Array) -> Matched:
        real = labels != PADDING  # Padding would be forced on an anchor like any object.
        deltas, found = built(len(labels)).run(
            boxes=[box[rows] for box, rows in zip(boxes, real, strict=True)],
            labels=[label[rows] for label, rows in zip(labels, real, strict=True)],
        )
        return Matched(found.as_array(), deltas.as_array(), None)

    return call
