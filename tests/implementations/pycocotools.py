"""pycocotools' overlap of boxes; its average precision is in tests/oracles.

Boxes are (x, y, width, height) in float64. Here they are multiples of 1/1024 of the image, so
that neither form rounds.
"""

from __future__ import annotations

from importlib import metadata

import numpy as np
from pycocotools import mask

from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import Deviation, Implementation, Offer

__all__ = ["IMPLEMENTATION"]


def overlaps(found, there, crowd):
    """Of each detection with each object."""
    return np.stack(
        [
            mask.iou(xywh(one), xywh(other), [crowd] * len(other))
            for one, other in zip(found, there, strict=False)
        ]
    )


def iou(first, second, convention):
    return overlaps(first, second, 0)


def ioa(first, second, convention):
    """With a crowd the divisor is the area of the detection alone, which is our second box."""
    return overlaps(second, first, 1).swapaxes(1, 2)


def xywh(boxes):
    low, high = np.split(boxes, 2, axis=1)
    return np.concatenate([low, high - low], axis=1)


def workloads(generator, dtype, count):
    for work in OPERATIONS["pairwise_iou"].workloads(generator, dtype, count):
        yield tuple(np.round(boxes * 1024) / 1024 for boxes in work)


# .3 + (.9 - .3) is .9 + 1e-16, a ten-thousandth of how far the two boxes reach into each other.
THIN = (
    np.array([[[0.3, 0.0, 0.9, 1.0]]]),
    np.array([[[0.9 - 1e-12, 0.0, 1.0, 1.0]]]),
)
REASON = "x + width is not the corner it came from, and a thin overlap loses its digits"

IMPLEMENTATION = Implementation(
    "pycocotools",
    {
        "pairwise_iou": Offer(iou, workloads=workloads),
        "pairwise_ioa": Offer(ioa, workloads=workloads),
    },
    dtypes=("float64",),
    deviations=[
        Deviation(f"a thin overlap, {name}", name, REASON, THIN)
        for name in ("pairwise_iou", "pairwise_ioa")
    ],
    version=metadata.version("pycocotools"),
)
