"""NVIDIA DALI's `fn.box_encoder`, on the CPU: it matches and encodes in one.

It does as NVIDIA's encoder in PyTorch, but of equal overlaps it takes the last object and the last
anchor, where the reference takes the first. So it is asked twice: with objects and anchors in
reverse, whatever they are, and as it is, of anchors and objects without equal overlaps.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import nvidia.dali
from nvidia.dali import fn, types
from nvidia.dali.pipeline import pipeline_def

from keras_impl.conformance.batching import per_image
from keras_impl.conformance.suite import Deviation, Implementation, Offer
from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import cxcywh_to_xyxy
from reference_numpy.conventions import AnchorLayout, nvidia_ssd300
from reference_numpy.testing import cases

__all__ = ["IMPLEMENTATION"]

# It takes corners, whose differences lose digits; all of these are multiples of 1/64.
EXACT = AnchorLayout(
    "exact", (64, 64), ((8, 8), (4, 4), (1, 1)), (0.125, 0.5, 0.5, 2.0), ((4.0, 0.25),) * 3
)


# --- what it offers ------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def encoder(corners, threshold, variances):
    @pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def pipeline():
        boxes = fn.external_source(name="boxes", dtype=types.FLOAT, ndim=2)
        labels = fn.external_source(name="labels", dtype=types.INT32, ndim=1)
        options = {"criteria": threshold, "offset": True, "stds": variances}
        return tuple(fn.box_encoder(boxes, labels, anchors=corners, **options))

    return pipeline()


def assign_targets(boxes, labels, anchors, convention):
    """It returns no objects."""
    corners = tuple(cxcywh_to_xyxy(anchors).ravel().tolist())
    asked = encoder(corners, convention.matching.threshold, convention.coding.variances)
    deltas, found = asked.run(boxes=[boxes], labels=[labels.astype(np.int32)])
    return found.as_array()[0], deltas.as_array()[0], None


def match(boxes, anchors, convention):
    """The number of each object is its label."""
    return assign_targets(boxes, 1 + np.arange(len(boxes)), anchors, convention)[0] - 1


def assign_in_reverse(boxes, labels, anchors, convention):
    found = assign_targets(boxes[::-1].copy(), labels[::-1], anchors[::-1], convention)
    return found[0][::-1], found[1][::-1], None


def match_in_reverse(boxes, anchors, convention):
    return assign_in_reverse(boxes, 1 + np.arange(len(boxes)), anchors, convention)[0] - 1


# --- workloads -----------------------------------------------------------------------------------


def exact_workloads(generator, dtype, count):
    """Overlaps that are often equal, and often at the threshold."""
    for _ in range(0, count, 4):
        anchors = generator.permutation(make_anchors(EXACT, dtype))
        yield *cases.random_objects(generator, 4, 8, 10, dtype), anchors


def distinct_workloads(generator, dtype, count):
    """No equal overlaps: no two anchors have the same area, and one of them is the image."""
    for _ in range(0, count, 4):
        sizes = generator.integers(1, 33, (300, 2))
        sizes = sizes[np.unique(np.prod(sizes, axis=1), return_index=True)[1]] / 32
        anchors = np.concatenate([generator.integers(0, 65, sizes.shape) / 64, sizes], axis=1)
        anchors[-1] = 0.5, 0.5, 1, 1
        low = generator.uniform(0, 0.9, (4, 8, 2))
        boxes = np.concatenate([low, low + generator.uniform(0.01, 1, low.shape) * (1 - low)], -1)
        labels = generator.integers(1, 11, (4, 8)).astype(np.int32)
        labels[np.arange(8) >= generator.integers(0, 9, (4, 1))] = -1
        yield boxes.astype(dtype), labels, anchors.astype(dtype)


# --- where it differs ----------------------------------------------------------------------------

LAST_ANCHOR = "an object is forced on the last of the anchors with which its overlap is the largest"

DEVIATIONS = (
    Deviation(
        "two anchors with the same IoU",
        "match",
        LAST_ANCHOR,
        conflict="two anchors with the same IoU",
    ),
    Deviation(
        "an object that overlaps no anchor",
        "match",
        LAST_ANCHOR,
        conflict="an object that overlaps no anchor",
    ),
    Deviation(
        "two identical objects",
        "match",
        "of objects with equal overlaps an anchor takes the last",
        conflict="two identical objects",
    ),
)

IMPLEMENTATION = Implementation(
    "dali",
    {
        "match": Offer(per_image("match", match), workloads=distinct_workloads),
        "match [in reverse]": Offer(
            per_image("match", match_in_reverse),
            overrides={"force": "first"},
            workloads=exact_workloads,
        ),
        "assign_targets": Offer(
            per_image("assign_targets", assign_targets), workloads=distinct_workloads
        ),
        "assign_targets [in reverse]": Offer(
            per_image("assign_targets", assign_in_reverse),
            overrides={"force": "first"},
            workloads=exact_workloads,
        ),
    },
    convention=nvidia_ssd300(),
    dtypes=("float32",),
    deviations=DEVIATIONS,
    version=nvidia.dali.__version__,
)
