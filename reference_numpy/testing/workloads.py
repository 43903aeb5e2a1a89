"""Workloads: objects in images, and what heads would say of them, in any number.

What `cases` is to right answers, these are to speed: random but natural, the same for the same
seed, and the same for every implementation that is timed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference_numpy._typing import Floats
from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import cxcywh_to_xyxy, pairwise_iou
from reference_numpy.checks import check_counts
from reference_numpy.coding import encode
from reference_numpy.conventions import CANONICAL, PADDING, UNMATCHED, AnchorLayout
from reference_numpy.matching import match

__all__ = [
    "LOADS",
    "DecodingWorkload",
    "MatchingWorkload",
    "decoding_workload",
    "matching_workload",
]


LOADS = ("realistic", "hard")

CLASSES = 20  # as many as Pascal VOC has

# What a trained head says. Where there is nothing, background leads every class by 12 ± 1, so
# that a score is near e^-12; where there is something, the class leads by 12 for every unit of
# IoU above .6, so that an anchor at the threshold of matching is seen, but not surely.
QUIET = 12.0
STEEPNESS = 12.0
EVEN_IOU = 0.6

# What an unsure head says: classes with this spread, of which the top 13 % score above .01.
SPREAD = 2.0
LOUD_LOGIT = 1.1264 * SPREAD  # 13 % of a normal distribution lie above 1.1264 deviations
LOUD_SCORE = 0.01


class MatchingWorkload(NamedTuple):
    """Objects of B images, padded to M rows an image.

    Attributes:
        boxes: (B, M, 4) float32, xyxy, within the image; zeros where padded.
        labels: (B, M) int32 from 1; -1 where padded.
        anchors: (A, 4) float32, cxcywh.
    """

    boxes: Floats
    labels: NDArray[np.int32]
    anchors: Floats


class DecodingWorkload(NamedTuple):
    """What the heads say of B images.

    Attributes:
        deltas: (B, A, 4) float32 codes.
        logits: (B, A, C + 1) float32, class 0 is background.
        anchors: (A, 4) float32, cxcywh.
    """

    deltas: Floats
    logits: Floats
    anchors: Floats


def matching_workload(
    layout: AnchorLayout, batch: int, objects: int, seed: int = 0, *, num_classes: int = CLASSES
) -> MatchingWorkload:
    """Objects of natural sizes: as many small ones as large ones, upright and lying.

    The first image is full; the others hold between half as many objects and all.

    Args:
        layout: Where the anchors are.
        batch: B, images.
        objects: M, objects of the fullest image; may be 0.
        seed: The same seed gives the same objects.
        num_classes: Labels go from 1 to this.

    Returns:
        `MatchingWorkload`.

    Raises:
        ValueError: A number below its least.
        TypeError: Not a whole number.

    Example:
        >>> from reference_numpy.conventions import SSD300
        >>> work = matching_workload(SSD300, batch=4, objects=8)
        >>> work.boxes.shape, work.labels.shape, work.anchors.shape
        ((4, 8, 4), (4, 8), (8732, 4))
        >>> counts = (work.labels != -1).sum(axis=1)
        >>> int(counts[0]), bool((counts >= 4).all())
        (8, True)
    """
    check_counts(1, batch=batch, num_classes=num_classes)
    check_counts(objects=objects, seed=seed)
    rng = np.random.default_rng(seed)
    counts = rng.integers((objects + 1) // 2, objects + 1, size=batch)
    counts[0] = objects
    real = np.arange(objects) < counts[:, None]

    # A side of 4 to 80 % of the image, evenly on a logarithmic scale; √(w/h) mostly in ⅔ to 1½.
    side = np.exp(rng.uniform(np.log(0.04), np.log(0.8), (batch, objects)))
    stretch = np.exp(rng.normal(0, 0.25, (batch, objects)))
    sizes = np.minimum(np.stack([side * stretch, side / stretch], axis=-1), 1)
    low = rng.uniform(0, 1, (batch, objects, 2)) * (1 - sizes)
    boxes = np.concatenate([low, np.minimum(low + sizes, 1)], axis=-1)
    labels = rng.integers(1, num_classes + 1, (batch, objects))
    return MatchingWorkload(
        np.where(real[..., None], boxes, 0).astype(np.float32),
        np.where(real, labels, PADDING).astype(np.int32),
        make_anchors(layout, np.float32),
    )


def decoding_workload(
    layout: AnchorLayout,
    batch: int,
    objects: int,
    num_classes: int = CLASSES,
    seed: int = 0,
    load: str = "realistic",
) -> DecodingWorkload:
    """Head outputs for the images of `matching_workload`.

    The anchors that matching gives to an object see it: they favour its class, the more the
    better they fit, and say its box with a small error. The other anchors say

    - "realistic": background, as a trained network does. Only anchors that see an object score
      above .01: with up to 8 objects under 0.1 % of all scores, on the anchors of SSD300.
    - "hard": anything, as a network does that is unsure of all. About 13 % of all scores are
      above .01: on the anchors of SSD300 more of every class than suppression is given.

    Args:
        layout: Where the anchors are.
        batch: B, images.
        objects: Objects that the heads see in the first image, and at the most in another.
        num_classes: C, without background.
        seed: The same seed gives the same numbers.
        load: One of `LOADS`.

    Returns:
        `DecodingWorkload`.

    Raises:
        ValueError: An unknown load, or a number below its least.

    Example:
        >>> from reference_numpy.conventions import SSD_MOBILENET300
        >>> work = decoding_workload(SSD_MOBILENET300, batch=2, objects=3, num_classes=5)
        >>> work.deltas.shape, work.logits.shape
        ((2, 1917, 4), (2, 1917, 6))
    """
    if load not in LOADS:
        raise ValueError(f"load: expected one of {list(LOADS)}. Received: {load!r}")
    boxes, labels, anchors = matching_workload(
        layout, batch, objects, seed, num_classes=num_classes
    )
    rng = np.random.default_rng([seed, 1])  # not the numbers that made the objects
    shape = (batch, len(anchors))
    deltas = rng.normal(0, 0.5, (*shape, 4))
    logits = np.zeros((*shape, num_classes + 1))
    if load == "realistic":
        logits[..., 1:] = rng.normal(-QUIET, 1, (*shape, num_classes))
    else:
        logits[..., 1:] = rng.normal(0, SPREAD, (*shape, num_classes))
        # Background such that a class of LOUD_LOGIT has LOUD_SCORE: e^z / (e^b + rest) = score.
        rest = np.exp(logits[..., 1:]).sum(axis=-1)
        logits[..., 0] = np.log(np.maximum(np.exp(LOUD_LOGIT) / LOUD_SCORE - rest, 1))

    corners = cxcywh_to_xyxy(anchors)
    for image in range(batch):
        iou = pairwise_iou(boxes[image][labels[image] != PADDING], corners)
        seen = match(iou)
        see = np.flatnonzero(seen != UNMATCHED)
        what = seen[see]
        fit = np.maximum(iou[what, see], CANONICAL.matching.threshold)
        lead = STEEPNESS * (fit - EVEN_IOU) + rng.normal(0, 1, see.size)
        logits[image, see, labels[image, what]] = logits[image, see, 0] + lead
        error = rng.normal(0, 0.3, (see.size, 4))
        deltas[image, see] = encode(boxes[image, what], anchors[see]) + error
    return DecodingWorkload(deltas.astype(np.float32), logits.astype(np.float32), anchors)
