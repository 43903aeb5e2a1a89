"""The inputs of each comparison: cases worked by hand and random ones with many ties.

Each workload is called as (generator, dtype, number of cases) and yields the inputs of one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from keras_impl._common.arrays import Array, Arrays
from keras_impl.conformance.budgets import CLASSES, TERMS
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import AnchorLayout
from reference_numpy.testing import cases

__all__ = [
    "FEW",
    "anchor_workloads",
    "crowd_workloads",
    "detect_workloads",
    "match_workloads",
    "mining_workloads",
    "multibox_workloads",
    "nms_workloads",
    "overlapping",
    "rows",
    "select_workloads",
    "some_anchors",
    "some_boxes",
    "some_inside_out",
    "some_logits",
]

Workloads = Callable[[np.random.Generator, str, int], Iterator[Arrays]]
IMAGES, OBJECTS = 4, 8  # per batch, per image
SMALL = AnchorLayout(
    "parity", (64, 64), ((8, 8), (4, 4), (1, 1)), (0.15, 0.35, 0.6, 0.9), ((2.0, 0.5),) * 3
)


def rows(make: Callable[[np.random.Generator, int], Arrays]) -> Workloads:
    """Make a workload of one call with 25 rows per case; integers become int32."""

    def workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
        made = make(generator, 25 * count)
        yield tuple(
            value.astype(dtype if np.issubdtype(value.dtype, np.floating) else np.int32)
            for value in made
        )

    return workloads


def some_boxes(generator: np.random.Generator, count: int) -> Array:
    """Return (count, 4) boxes in xyxy, some of them thin or partly outside the image."""
    center = generator.uniform(-0.2, 1.2, (count, 2))
    half = 10 ** generator.uniform(-4, 0, (count, 2)) / 2
    return np.concatenate([center - half, center + half], axis=1)


def some_inside_out(generator: np.random.Generator, count: int) -> Array:
    """Return `some_boxes`, every fifth inverted in x and every seventh in y."""
    box = some_boxes(generator, count)
    box[::5, ::2] = box[::5, 2::-2]
    box[::7, 1::2] = box[::7, 3::-2]
    return box


def some_anchors(generator: np.random.Generator, count: int) -> Array:
    """Return (count, 4) anchors in cxcywh, with sizes from .01 to 1."""
    sizes = 10 ** generator.uniform(-2, 0, (count, 2))
    return np.concatenate([generator.uniform(0, 1, (count, 2)), sizes], axis=1)


def some_logits(generator: np.random.Generator, count: int) -> Array:
    """Return (count, CLASSES) logits of many magnitudes, some saturated or equal."""
    logits = generator.normal(0, 1, (count, CLASSES)) * 10 ** generator.uniform(-1, 2, (count, 1))
    logits[::7] = np.round(logits[::7])
    logits[::11] = 0
    return logits


def overlapping(generator: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Return (count, 3, 4) and (count, 5, 4) boxes: near, far, equal, touching, without area."""
    first = some_boxes(generator, 3 * count).reshape(count, 3, 4)
    near = first[:, :1] + generator.normal(0, 0.05, (count, 1, 4))
    near[..., 2:] = np.maximum(near[..., 2:], near[..., :2])
    touching = first[:, :1] + np.stack(
        [first[:, 0, 2] - first[:, 0, 0], *np.zeros((3, count))], axis=1
    )[:, None] * [1, 0, 1, 0]
    flat = first[:, :1] * [1, 1, 0, 1] + first[:, :1, :1] * [0, 0, 1, 0]
    far = some_boxes(generator, count)[:, None]
    return first, np.concatenate([near, far, first[:, 1:2], touching, flat], axis=1)


def match_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Yield the worked cases on six anchors, then random ones on a small layout.

    Anchors far from all objects pad the six to the size of the layout, so that one shape is
    compiled.
    """
    small = make_anchors(SMALL, dtype)
    grid = np.tile(np.array([9, 9, 0.01, 0.01], dtype), (len(small), 1))
    grid[: len(cases.GRID)] = cases.GRID
    padded = np.zeros((len(cases.MATCHING), OBJECTS, 4), dtype)
    labels = np.full(padded.shape[:2], -1, np.int32)
    for row, case in enumerate(cases.MATCHING):
        padded[row, : len(case.boxes)] = np.reshape(case.boxes, (-1, 4))
        labels[row, : len(case.boxes)] = 1 + np.arange(len(case.boxes))
    for start in range(0, len(padded), IMAGES):
        yield padded[start : start + IMAGES], labels[start : start + IMAGES], grid
    for batch in range(0, count, IMAGES):
        box, label = cases.random_objects(generator, IMAGES, OBJECTS, CLASSES - 1, dtype)
        if batch % (2 * IMAGES) == 0:
            # Padding may hold any values, for example other objects.
            box = np.where(label[..., None] < 0, box[::-1, ::-1], box)
            yield box, label, small
        else:
            yield box, label, generator.permutation(small)


def crowd_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Yield `match_workloads` with a third of the objects as crowds."""
    for work in match_workloads(generator, dtype, count):
        yield *work, generator.random(work[1].shape) < 1 / 3


def mining_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Yield the worked cases, then random ones; some of these have ignored anchors."""
    plain = [case for case in cases.MINING if (case.negative_ratio, case.min_negatives) == (3, 0)]
    yield (
        np.array([case.losses for case in plain], dtype),
        np.array([case.labels for case in plain], np.int32),
    )
    for batch in range(0, count, IMAGES):
        values, labels = cases.random_losses(generator, IMAGES, 231, dtype)
        if batch % 3 == 2:
            labels[generator.random(labels.shape) < 0.2] = -1
        yield values, labels


def nms_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Yield the worked cases, then random ones, all with 40 slots."""
    padded = np.zeros((len(cases.NMS), 40, 4), dtype)
    scores = np.full((len(cases.NMS), 40), -np.inf, dtype)
    for row, case in enumerate(cases.NMS):
        padded[row, : len(case.boxes)] = np.reshape(case.boxes, (-1, 4))
        scores[row, : len(case.boxes)] = case.scores
    for start in range(0, len(padded), IMAGES):
        yield padded[start : start + IMAGES], scores[start : start + IMAGES]
    for _ in range(0, count, IMAGES):
        box, score = cases.random_scored_boxes(generator, IMAGES, 40, 1, dtype)
        yield box, score[..., 0]


def select_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Yield boxes that reach beyond the image; in one image most scores equal the threshold."""
    for _ in range(0, count, IMAGES):
        box, score = cases.random_scored_boxes(generator, IMAGES, 60, 3, dtype)
        number = box.dtype.type
        score[0] = np.where(score[0] > number(0.9), score[0], number(FEW["score_threshold"]))
        yield box * number(1.5) - number(0.25), score


def detect_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Yield random head outputs; three of four images are hard cases if background is first."""
    anchors = make_anchors(SMALL, dtype)
    for _ in range(0, count, IMAGES):
        deltas = generator.normal(0, 2, (IMAGES, len(anchors), 4))
        deltas[:, ::5, 2:] += 5  # e times as large, so many cross the border
        logits = generator.normal(0, 2, (IMAGES, len(anchors), CLASSES))
        logits[:, ::3] = np.round(logits[:, ::3])
        deltas[:, ::3] = 0
        logits[1, :, 3] += 6  # more candidates of one class than its limit
        logits[2, :, 0] += 6  # fewer detections than slots; some anchors are not background
        logits[2, ::20, 0] -= 12
        logits[2, 7::100] -= 30  # all logits low, but one class clearly highest
        logits[2, 7::100, 4] += 8
        logits[3, 16:, 0] += 8  # all objects in one corner, where they suppress each other
        logits[3, :16, 5] += 6
        yield deltas.astype(dtype), logits.astype(dtype), anchors


def multibox_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Yield batches of 96 anchors; some have images or whole batches without positives."""
    anchors = TERMS // IMAGES
    for batch in range(0, count, IMAGES):
        logits = some_logits(generator, TERMS).reshape(IMAGES, anchors, CLASSES)
        logits[1] /= 16  # similar losses, so that small differences decide the mining
        # Few positives in most images, so that mining has negatives to choose from.
        most = np.array([[1], [1 / 8], [1 / 8], [1 / 4]]) * (batch % 3 > 0)
        share = generator.random((IMAGES, 1)) * most
        labels = generator.integers(1, CLASSES, (IMAGES, anchors))
        labels[generator.random(labels.shape) >= share] = 0
        if batch % 5 == 4:
            labels[generator.random(labels.shape) < 0.2] = -1
        deltas, wanted = generator.normal(0, 1.5, (2, IMAGES, anchors, 4))
        box, _ = cases.random_scored_boxes(generator, IMAGES, anchors, 1, dtype)
        yield (
            deltas.astype(dtype),
            logits.astype(dtype),
            np.where(labels[..., None] > 0, wanted, 0).astype(dtype),
            labels.astype(np.int32),
            box,
        )


def anchor_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Yield a zero in the requested dtype."""
    yield (np.zeros((), dtype),)


FEW = {"score_threshold": 0.2, "candidates_per_class": 12, "max_detections": 25}
