"""Workloads for benchmarks: objects of images, and matching head outputs, of any size.

They are random but realistic. The same seed gives the same numbers, so every implementation is
timed on the same input. (`cases` has small inputs for correctness.)
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

CLASSES = 20  # as in Pascal VOC

# Logits of a trained head. On background, the background leads every class by 12 ± 1, so a score is
# near e^-12. On an object, its class leads by 12 × (IoU - .6), so an anchor at the threshold of
# matching has a modest score.
QUIET = 12.0
STEEPNESS = 12.0
EVEN_IOU = 0.6

# Logits of an unsure head: normal with this deviation. The top 13 % have a score above .01.
SPREAD = 2.0
LOUD_LOGIT = 1.1264 * SPREAD  # 13 % of a normal distribution lie above 1.1264 deviations
LOUD_SCORE = 0.01


class MatchingWorkload(NamedTuple):
    """Objects of B images, padded to M rows per image.

    Attributes:
        boxes: (B, M, 4) float32 xyxy, within the image; 0 in padding.
        labels: (B, M) int32 from 1; -1 in padding.
        anchors: (A, 4) float32 cxcywh.
    """

    boxes: Floats
    labels: NDArray[np.int32]
    anchors: Floats


class DecodingWorkload(NamedTuple):
    """Head outputs for B images.

    Attributes:
        deltas: (B, A, 4) float32 codes.
        logits: (B, A, C + 1) float32; class 0 is background.
        anchors: (A, 4) float32 cxcywh.
    """

    deltas: Floats
    logits: Floats
    anchors: Floats


def matching_workload(
    layout: AnchorLayout, batch: int, objects: int, seed: int = 0, *, num_classes: int = CLASSES
) -> MatchingWorkload:
    """Draw objects of realistic sizes: as many small as large ones, upright and lying.

    The first image has M objects; the others have between half of that and M.

    Args:
        layout: The layout of the anchors.
        batch: B, the number of images.
        objects: M, the number of objects in the fullest image; may be 0.
        seed: The same seed gives the same objects.
        num_classes: Labels are 1 to this.

    Returns:
        `MatchingWorkload`.

    Raises:
        ValueError: A number below its minimum.
        TypeError: Not an integer.

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

    # Sides are 4 to 80 % of the image, uniform on a logarithmic scale; √(w/h) is mostly ⅔ to 1½.
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
    """Make head outputs for the images of `matching_workload`.

    An anchor matched to an object favours the object's class, the more the larger their IoU, and
    its code is the object's box with a small error. The load decides the other anchors:

    - "realistic": background, as from a trained network. Only anchors matched to an object have a
      score above .01; on the anchors of SSD300 with up to 8 objects these are under 0.1 % of all
      scores.
    - "hard": random classes, as from an unsure network. About 13 % of all scores are above .01; on
      the anchors of SSD300 every class has more candidates than enter suppression.

    Args:
        layout: The layout of the anchors.
        batch: B, the number of images.
        objects: Number of objects in the first image, and at most in any other.
        num_classes: C, without background.
        seed: The same seed gives the same numbers.
        load: One of `LOADS`.

    Returns:
        `DecodingWorkload`.

    Raises:
        ValueError: An unknown load, or a number below its minimum.

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
    rng = np.random.default_rng([seed, 1])  # independent of the objects
    shape = (batch, len(anchors))
    deltas = rng.normal(0, 0.5, (*shape, 4))
    logits = np.zeros((*shape, num_classes + 1))
    if load == "realistic":
        logits[..., 1:] = rng.normal(-QUIET, 1, (*shape, num_classes))
    else:
        logits[..., 1:] = rng.normal(0, SPREAD, (*shape, num_classes))
        # Choose the background logit b so that a class with LOUD_LOGIT has LOUD_SCORE:
        # e^z / (e^b + rest) = score.
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
