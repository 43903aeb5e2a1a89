"""Test cases: small ones worked by hand, and random ones with many ties.

A case worked by hand has a few boxes on paper; its name says what it decides, and its answer was
found with a pencil. The random cases lie on a coarse grid, where equal overlaps, duplicates and
overlaps exactly at a threshold are common. Tests and `ssd parity` use both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference_numpy.checks import check_counts

__all__ = [
    "GRID",
    "MATCHING",
    "MINING",
    "NMS",
    "MatchingCase",
    "MiningCase",
    "NmsCase",
    "random_losses",
    "random_objects",
    "random_scored_boxes",
]

Box = tuple[float, float, float, float]

# Six anchors in cxcywh: the four quarters of the image, its left half, the whole image.
GRID: tuple[Box, ...] = (
    (0.25, 0.25, 0.5, 0.5),
    (0.75, 0.25, 0.5, 0.5),
    (0.25, 0.75, 0.5, 0.5),
    (0.75, 0.75, 0.5, 0.5),
    (0.25, 0.5, 0.5, 1.0),
    (0.5, 0.5, 1.0, 1.0),
)


class MatchingCase(NamedTuple):
    """Objects (xyxy) on the anchors of `GRID`, and the expected object of each anchor."""

    name: str
    boxes: tuple[Box, ...]
    answer: tuple[int, ...]


MATCHING = (
    MatchingCase("no objects", (), (-1,) * 6),
    # The object is anchor 0: IoU 1/2 with the left half (exactly the threshold), 1/4 with the
    # whole.
    MatchingCase("threshold met exactly", ((0, 0, 0.5, 0.5),), (0, -1, -1, -1, 0, -1)),
    # The object is the left half: IoU 1/2 with two quarters, 1 with itself, 1/2 with the whole.
    MatchingCase("one object, many anchors", ((0, 0, 0.5, 1),), (0, -1, 0, -1, 0, 0)),
    # Object 0 gets the left half, object 1 the first quarter; all other ties go to object 0.
    MatchingCase("two equal objects", ((0, 0, 0.5, 1),) * 2, (1, -1, 0, -1, 0, 0)),
    # Object 0 gets anchor 0 (IoU 1), object 1 the left half (1/2). For object 2 only the whole is
    # left: IoU 1/4, below the threshold, but forced.
    MatchingCase("three equal objects", ((0, 0, 0.5, 0.5),) * 3, (0, -1, -1, -1, 1, 2)),
    # IoU 1/16 with anchor 0, 1/32 with the left half, 1/64 with the whole.
    MatchingCase("a small object is forced", ((0, 0, 0.125, 0.125),), (0, -1, -1, -1, -1, -1)),
    # It covers 1/4 of each quarter, with a union of 7/16: IoU 1/7 four times, 1/4 with the whole.
    MatchingCase("the middle", ((0.25, 0.25, 0.75, 0.75),), (-1, -1, -1, -1, -1, 0)),
    # It lies half in each of two quarters: IoU 1/3 with both, 1/5 with the left half, 1/4 with the
    # whole.
    MatchingCase("equal overlaps, lowest anchor", ((0.25, 0, 0.75, 0.5),), (0, -1, -1, -1, -1, -1)),
    MatchingCase("an object outside the image", ((1.5, 1.5, 2, 2),), (-1,) * 6),
    # It only touches anchor 1 and the whole, at the border of the image.
    MatchingCase("an object that only touches", ((1, 0, 1.5, 0.5),), (-1,) * 6),
    # Half of it lies in anchor 1: intersection 1/8, union 3/8.
    MatchingCase("an object across the border", ((0.75, 0, 1.25, 0.5),), (-1, 0, -1, -1, -1, -1)),
    # Object 1 is anchor 0 itself (IoU 1); object 0 is the left half (IoU 1/2 with anchor 0).
    MatchingCase(
        "the better object wins an anchor",
        ((0, 0, 0.5, 1), (0, 0, 0.5, 0.5)),
        (1, -1, 0, -1, 0, 0),
    ),
)


class MiningCase(NamedTuple):
    """Losses and labels of the anchors of an image, and the expected negatives."""

    name: str
    losses: tuple[float, ...]
    labels: tuple[int, ...]
    answer: tuple[int, ...]
    negative_ratio: float = 3.0
    min_negatives: int = 0


MINING = (
    MiningCase("three for one", (9, 1, 4, 3, 2, 5), (1, 0, 0, 0, 0, 0), (2, 3, 5)),
    MiningCase("ties to the lowest anchor", (9, 1, 1, 1, 1, 1), (1, 0, 0, 0, 0, 0), (1, 2, 3)),
    MiningCase("no positives, no negatives", (9, 1, 4, 3, 2, 5), (0,) * 6, ()),
    MiningCase("a minimum without positives", (9, 1, 4, 3, 2, 5), (0,) * 6, (0, 5), 3.0, 2),
    MiningCase("fewer negatives than asked", (1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 0, 0), (4, 5)),
    MiningCase("nothing but positives", (1, 2, 3, 4, 5, 6), (1,) * 6, ()),
    MiningCase("a share is rounded down", (9, 1, 4, 3, 2, 5), (1, 0, 0, 0, 0, 0), (5,), 1.9),
    MiningCase("no losses", (0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1), (0, 1, 2)),
)


class NmsCase(NamedTuple):
    """Boxes of one class, their scores, and the expected kept boxes, in order."""

    name: str
    boxes: tuple[Box, ...]
    scores: tuple[float, ...]
    answer: tuple[int, ...]
    iou_threshold: float = 0.5


_LEFT, _MIDDLE, _RIGHT = (0.0, 0.0, 0.5, 1.0), (0.25, 0.0, 0.75, 1.0), (0.5, 0.0, 1.0, 1.0)

NMS = (
    NmsCase("no boxes", (), (), ()),
    # _MIDDLE has IoU 1/3 with each of the others (1/4 of a union of 3/4), which only touch.
    NmsCase("a chain: the first frees the third", (_LEFT, _MIDDLE, _RIGHT), (3, 2, 1), (0, 2), 0.3),
    NmsCase("a chain from the middle", (_LEFT, _MIDDLE, _RIGHT), (2, 3, 1), (1,), 0.3),
    NmsCase("a higher threshold keeps all", (_LEFT, _MIDDLE, _RIGHT), (1, 3, 2), (1, 2, 0), 0.4),
    NmsCase("equal scores: the lowest index", (_LEFT, _LEFT, _RIGHT), (1, 1, 1), (0, 2)),
    # The left half has IoU 1/2 with the whole: at the threshold, not above it.
    NmsCase("threshold met exactly", ((0, 0, 1, 1), _LEFT), (2, 1), (0, 1), 0.5),
    NmsCase("boxes without area", ((0.5, 0, 0.5, 1), (0.5, 0, 0.5, 1)), (1, 2), (1, 0)),
    NmsCase("threshold 0: touching is not overlapping", (_LEFT, _RIGHT), (1, 2), (1, 0), 0.0),
)


def random_objects(
    generator: np.random.Generator, images: int, objects: int, num_classes: int, dtype: Any
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Draw padded objects on a coarse grid.

    A third of the rows is padding, and some objects appear twice.

    Args:
        generator: Source of randomness.
        images: B, the number of images.
        objects: M, the number of rows per image.
        num_classes: Labels are 1 to this.
        dtype: Float dtype of the boxes.

    Returns:
        (B, M, 4) xyxy boxes, a few of them beyond the image, padding all 0; and (B, M) labels,
            padding -1.

    Example:
        >>> boxes, labels = random_objects(np.random.default_rng(0), 1, 2, 3, np.float32)
        >>> boxes.shape, labels.shape
        ((1, 2, 4), (1, 2))
    """
    check_counts(images=images, objects=objects)
    check_counts(1, num_classes=num_classes)
    cells = int(generator.integers(3, 40))
    low = generator.integers(-1, cells, (images, objects, 2))
    size = generator.integers(1, cells, (images, objects, 2))
    boxes = np.concatenate([low, low + size], axis=-1) / cells
    twice = generator.random((images, objects)) < 0.2
    boxes = np.where(twice[..., None], np.roll(boxes, 1, axis=1), boxes)
    labels = generator.integers(1, num_classes + 1, (images, objects))
    labels[generator.random((images, objects)) < 1 / 3] = -1
    return np.where(labels[..., None] > 0, boxes, 0).astype(dtype), labels.astype(np.int32)


def random_losses(
    generator: np.random.Generator, images: int, anchors: int, dtype: Any
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Draw losses with many ties, and labels with any share of background.

    Returns:
        (B, A) losses; and (B, A) labels from 0 to 4.

    Example:
        >>> losses, labels = random_losses(np.random.default_rng(0), 2, 5, np.float32)
        >>> losses.dtype, labels.shape
        (dtype('float32'), (2, 5))
    """
    check_counts(images=images, anchors=anchors)
    values = int(generator.integers(1, 30))
    losses = generator.integers(0, values + 1, (images, anchors)) / values
    share = generator.random((images, 1)) ** 3
    objects = generator.integers(1, 5, (images, anchors))
    labels = np.where(generator.random((images, anchors)) < share, objects, 0)
    return losses.astype(dtype), labels.astype(np.int32)


def random_scored_boxes(
    generator: np.random.Generator, images: int, anchors: int, num_classes: int, dtype: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw boxes within the image on a coarse grid, and scores with many ties.

    Returns:
        (B, A, 4) xyxy boxes; and (B, A, C) scores.

    Example:
        >>> boxes, scores = random_scored_boxes(np.random.default_rng(0), 1, 6, 2, np.float64)
        >>> boxes.shape, scores.shape
        ((1, 6, 4), (1, 6, 2))
    """
    check_counts(images=images, anchors=anchors, num_classes=num_classes)
    cells = int(generator.integers(2, 20))
    corners = generator.integers(0, cells + 1, (2, images, anchors, 2)) / cells
    boxes = np.concatenate([corners.min(axis=0), corners.max(axis=0)], axis=-1)
    levels = int(generator.integers(2, 100))
    scores = generator.integers(0, levels, (images, anchors, num_classes)) / levels
    return boxes.astype(dtype), scores.astype(dtype)
