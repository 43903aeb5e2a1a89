"""How each operation is compared with the reference: what it takes, what it gives, on which cases.

`OPERATIONS` is the table, in NumPy alone: any implementation can be held to it (`conformance`).
By whose judgement an answer is right is in `judges`, how far a float may be off in `tolerances`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_impl.conformance.budgets import CLASSES, TERMS
from keras_impl.conformance.judges import (
    Judge,
    class_scale,
    decode_scale,
    encode_scale,
    judge_anchors,
    judge_detect,
    judge_floats,
    judge_match,
    judge_mining,
    judge_multibox,
    judge_multibox_gradient,
    judge_nms,
    judge_select,
    judge_soft_nms,
    judge_targets,
    smooth_l1_scale,
    softmax_scale,
)
from reference_numpy import boxes, coding, losses, multibox
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import AnchorLayout, Convention
from reference_numpy.testing import cases

__all__ = ["OPERATIONS", "Operation"]

Array = NDArray[Any]
Arrays = tuple[Array, ...]
Workloads = Callable[[np.random.Generator, str, int], Iterator[Arrays]]

PICTURES, OBJECTS = 4, 8  # of one batch
SMALL = AnchorLayout(
    "parity", (64, 64), ((8, 8), (4, 4), (1, 1)), (0.15, 0.35, 0.6, 0.9), ((2.0, 0.5),) * 3
)


class Operation(NamedTuple):
    """How one operation is compared.

    Attributes:
        takes: The arrays that it is given, for people.
        gives: The arrays that it has to give back, for people.
        workloads: (generator, dtype, number of cases) → tuples of arrays.
        judge: (inputs, outputs, dtype, excuses allowed, convention) → verdict.
        settings: Numbers of the convention that the comparison needs to be others, so that
            small cases meet every limit.
        keeps: Conventions whose own numbers stay: they have a rule that these would never reach.
        asks: Whether a convention has a place for this operation.
        compiled: Whether it can be run in a graph; what makes constants cannot.
    """

    takes: str
    gives: str
    workloads: Workloads
    judge: Judge
    settings: Mapping[str, Any] = {}
    keeps: Callable[[Convention], bool] = lambda convention: False
    asks: Callable[[Convention], bool] = lambda convention: True
    compiled: bool = True


# Workloads of float operations: one call with many rows; integers keep their dtype.


def _rows(make: Callable[[np.random.Generator, int], Arrays]) -> Workloads:
    def workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
        made = make(generator, 25 * count)
        yield tuple(
            value.astype(dtype if np.issubdtype(value.dtype, np.floating) else np.int32)
            for value in made
        )

    return workloads


def _some_boxes(generator: np.random.Generator, count: int) -> Array:
    """Boxes of every kind an object can have, far ones and thin ones among them."""
    center = generator.uniform(-0.2, 1.2, (count, 2))
    half = 10 ** generator.uniform(-4, 0, (count, 2)) / 2
    return np.concatenate([center - half, center + half], axis=1)


def _some_inside_out(generator: np.random.Generator, count: int) -> Array:
    """The same, every fifth turned inside out on one axis and every seventh on the other."""
    box = _some_boxes(generator, count)
    box[::5, ::2] = box[::5, 2::-2]
    box[::7, 1::2] = box[::7, 3::-2]
    return box


def _some_anchors(generator: np.random.Generator, count: int) -> Array:
    sizes = 10 ** generator.uniform(-2, 0, (count, 2))
    return np.concatenate([generator.uniform(0, 1, (count, 2)), sizes], axis=1)


def _some_logits(generator: np.random.Generator, count: int) -> Array:
    """Logits of every size, saturated ones and equal ones among them."""
    logits = generator.normal(0, 1, (count, CLASSES)) * 10 ** generator.uniform(-1, 2, (count, 1))
    logits[::7] = np.round(logits[::7])
    logits[::11] = 0
    return logits


def _overlapping(generator: np.random.Generator, count: int) -> tuple[Array, Array]:
    """(count, 3, 4) and (count, 5, 4) boxes: near, far, equal, touching, without area."""
    first = _some_boxes(generator, 3 * count).reshape(count, 3, 4)
    near = first[:, :1] + generator.normal(0, 0.05, (count, 1, 4))
    near[..., 2:] = np.maximum(near[..., 2:], near[..., :2])
    touching = first[:, :1] + np.stack(
        [first[:, 0, 2] - first[:, 0, 0], *np.zeros((3, count))], axis=1
    )[:, None] * [1, 0, 1, 0]
    flat = first[:, :1] * [1, 1, 0, 1] + first[:, :1, :1] * [0, 0, 1, 0]
    far = _some_boxes(generator, count)[:, None]
    return first, np.concatenate([near, far, first[:, 1:2], touching, flat], axis=1)


def _covering(generator: np.random.Generator, count: int) -> tuple[Array, Array]:
    """The same, with first boxes without area among them."""
    first, second = _overlapping(generator, count)
    first[::4, 2, 2] = first[::4, 2, 0]
    return first, second


def _each(function: Callable[..., Any]) -> Callable[..., Array]:
    """A function of two lists of boxes, for lists of such lists."""

    def call(first: Array, second: Array, convention: Convention) -> Array:
        return np.stack([function(a, b, convention) for a, b in zip(first, second, strict=True)])

    return call


def _iou_scale(first: Array, second: Array, convention: Convention) -> Array:
    """IoU, with every difference made positive: what an offset cancels counts in full."""
    rules = convention.overlap
    if not rules.iou_offset:
        return boxes.pairwise_iou(first, second, convention)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = (np.abs(high - low) + rules.iou_offset).prod(axis=-1)
    sides = [one[:, 2:] - one[:, :2] + rules.iou_offset for one in (first, second)]
    areas = sides[0].prod(axis=-1)[:, None] + sides[1].prod(axis=-1)[None]
    overlap = np.maximum(high - low + rules.iou_offset, 0).prod(axis=-1)
    return intersection / (areas - overlap + rules.iou_epsilon)


# Workloads of decisions.


def _match_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """The worked cases on six anchors, then random ones on a small layout.

    The six are followed by anchors far from everything, as many as make one shape of all, so that
    everything is compiled once.
    """
    small = make_anchors(SMALL, dtype)
    grid = np.tile(np.array([9, 9, 0.01, 0.01], dtype), (len(small), 1))
    grid[: len(cases.GRID)] = cases.GRID
    padded = np.zeros((len(cases.MATCHING), OBJECTS, 4), dtype)
    labels = np.full(padded.shape[:2], -1, np.int32)
    for row, case in enumerate(cases.MATCHING):
        padded[row, : len(case.boxes)] = np.reshape(case.boxes, (-1, 4))
        labels[row, : len(case.boxes)] = 1 + np.arange(len(case.boxes))
    for start in range(0, len(padded), PICTURES):
        yield padded[start : start + PICTURES], labels[start : start + PICTURES], grid
    for batch in range(0, count, PICTURES):
        box, label = cases.random_objects(generator, PICTURES, OBJECTS, CLASSES - 1, dtype)
        if batch % (2 * PICTURES) == 0:  # padding may hold anything, other objects for example
            box = np.where(label[..., None] < 0, box[::-1, ::-1], box)
            yield box, label, small
        else:
            yield box, label, generator.permutation(small)  # of no order


def _crowd_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """The same with a third of the objects crowds."""
    for work in _match_workloads(generator, dtype, count):
        yield *work, generator.random(work[1].shape) < 1 / 3


def _mining_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """The worked cases, then random ones, in which some anchors count nowhere."""
    plain = [case for case in cases.MINING if (case.negative_ratio, case.min_negatives) == (3, 0)]
    yield (
        np.array([case.losses for case in plain], dtype),
        np.array([case.labels for case in plain], np.int32),
    )
    for batch in range(0, count, PICTURES):
        values, labels = cases.random_losses(generator, PICTURES, 231, dtype)
        if batch % 3 == 2:
            labels[generator.random(labels.shape) < 0.2] = -1
        yield values, labels


def _nms_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """The worked cases, then random ones, padded to 40 slots."""
    padded = np.zeros((len(cases.NMS), 40, 4), dtype)
    scores = np.full((len(cases.NMS), 40), -np.inf, dtype)
    for row, case in enumerate(cases.NMS):
        padded[row, : len(case.boxes)] = np.reshape(case.boxes, (-1, 4))
        scores[row, : len(case.boxes)] = case.scores
    for start in range(0, len(padded), PICTURES):
        yield padded[start : start + PICTURES], scores[start : start + PICTURES]
    for _ in range(0, count, PICTURES):
        box, score = cases.random_scored_boxes(generator, PICTURES, 40, 1, dtype)
        yield box, score[..., 0]


def _select_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Scored boxes that reach beyond the picture; in one picture most scores are at the limit."""
    for _ in range(0, count, PICTURES):
        box, score = cases.random_scored_boxes(generator, PICTURES, 60, 3, dtype)
        number = box.dtype.type
        score[0] = np.where(score[0] > number(0.9), score[0], number(_FEW["score_threshold"]))
        yield box * number(1.5) - number(0.25), score


def _detect_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Heads at random; three of four pictures have a trouble each, where background is first."""
    anchors = make_anchors(SMALL, dtype)
    for _ in range(0, count, PICTURES):
        deltas = generator.normal(0, 2, (PICTURES, len(anchors), 4))
        deltas[:, ::5, 2:] += 5  # e times as large, and so across the border
        logits = generator.normal(0, 2, (PICTURES, len(anchors), CLASSES))
        logits[:, ::3] = np.round(logits[:, ::3])
        deltas[:, ::3] = 0
        logits[1, :, 3] += 6  # one class has more candidates than may enter
        logits[2, :, 0] += 6  # fewer detections than slots, and some anchors without background
        logits[2, ::20, 0] -= 12
        logits[2, 7::100] -= 30  # and some whose logits are all low, and sure of a class even so
        logits[2, 7::100, 4] += 8
        logits[3, 16:, 0] += 8  # all in one corner, where one suppresses the other
        logits[3, :16, 5] += 6
        yield deltas.astype(dtype), logits.astype(dtype), anchors


def _multibox_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    """Batches of 96 anchors in all, some without a positive in one picture, or in any."""
    anchors = TERMS // PICTURES
    for batch in range(0, count, PICTURES):
        logits = _some_logits(generator, TERMS).reshape(PICTURES, anchors, CLASSES)
        logits[1] /= 16  # less sure, so that little decides who is mined
        # Few in most pictures, so that there are negatives to choose among.
        most = np.array([[1], [1 / 8], [1 / 8], [1 / 4]]) * (batch % 3 > 0)
        share = generator.random((PICTURES, 1)) * most
        labels = generator.integers(1, CLASSES, (PICTURES, anchors))
        labels[generator.random(labels.shape) >= share] = 0
        if batch % 5 == 4:
            labels[generator.random(labels.shape) < 0.2] = -1
        deltas, wanted = generator.normal(0, 1.5, (2, PICTURES, anchors, 4))
        box, _ = cases.random_scored_boxes(generator, PICTURES, anchors, 1, dtype)
        yield (
            deltas.astype(dtype),
            logits.astype(dtype),
            np.where(labels[..., None] > 0, wanted, 0).astype(dtype),
            labels.astype(np.int32),
            box,
        )


def _anchor_workloads(generator: np.random.Generator, dtype: str, count: int) -> Iterator[Arrays]:
    yield (np.zeros((), dtype),)


# The table.

_BOX_PAIRS = "(N, 3, 4) boxes, (N, 5, 4) boxes, corner form"
_OBJECTS = "(B, M, 4) boxes, (B, M) labels (-1: padding), (A, 4) anchors in centre form"
_TARGETS = "(B, A) labels, (B, A, 4) deltas, (B, A) objects or None"
_HEADS = "(B, A, 4) deltas, (B, A, C + 1) logits"
_LOSS = f"{_HEADS}, (B, A, 4) target deltas, (B, A) target labels, (B, A, 4) predicted boxes"
_SCORED = "(B, A, 4) boxes, (B, A, C) scores"
_FOUND = "(B, K, 4) boxes, (B, K) scores, labels (-1: unused), anchors (-1: unused) or None"
_FEW = {"score_threshold": 0.2, "candidates_per_class": 12, "max_detections": 25}


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose answer no convention changes."""
    return lambda *inputs, convention: function(*inputs)


OPERATIONS: dict[str, Operation] = {
    "corners_to_centers": Operation(
        "(N, 4) boxes, corner form",
        "(N, 4) boxes, centre form",
        _rows(lambda generator, n: (_some_boxes(generator, n),)),
        judge_floats(
            "corners_to_centers",
            _plainly(boxes.corners_to_centers),
            _plainly(lambda box: np.tile(np.abs(box[:, :2]) + np.abs(box[:, 2:]), 2)),
        ),
    ),
    "centers_to_corners": Operation(
        "(N, 4) boxes, centre form",
        "(N, 4) boxes, corner form",
        _rows(lambda generator, n: (_some_anchors(generator, n),)),
        judge_floats(
            "centers_to_corners",
            _plainly(boxes.centers_to_corners),
            _plainly(lambda box: np.tile(np.abs(box[:, :2]) + box[:, 2:], 2)),
        ),
    ),
    "area": Operation(
        "(N, 4) boxes, corner form",
        "(N,) areas",
        _rows(lambda generator, n: (_some_inside_out(generator, n),)),
        judge_floats("area", _plainly(boxes.area), _plainly(boxes.area)),
    ),
    "clip": Operation(
        "(N, 4) boxes, corner form",
        "(N, 4) boxes within the picture",
        _rows(lambda generator, n: (_some_boxes(generator, n),)),
        judge_floats("clip", _plainly(boxes.clip), _plainly(np.abs)),
    ),
    "flip_horizontally": Operation(
        "(N, 4) boxes, corner form",
        "(N, 4) boxes in the image mirrored left to right",
        _rows(lambda generator, n: (_some_boxes(generator, n),)),
        judge_floats(
            "flip_horizontally",
            _plainly(boxes.flip_horizontally),
            _plainly(lambda box: np.abs(box) + np.array([1, 0, 1, 0])),
        ),
    ),
    "pairwise_iou": Operation(
        _BOX_PAIRS,
        "(N, 3, 5) IoU",
        _rows(_overlapping),
        judge_floats("pairwise_iou", _each(boxes.pairwise_iou), _each(_iou_scale)),
    ),
    "pairwise_coverage": Operation(
        _BOX_PAIRS,
        "(N, 3, 5) share of each first box that each second one covers",
        _rows(_covering),
        judge_floats(
            "pairwise_coverage",
            _each(lambda first, second, _: boxes.pairwise_coverage(first, second)),
            _each(lambda first, second, _: boxes.pairwise_coverage(first, second)),
        ),
    ),
    "make_anchors": Operation(
        "() zero of the dtype wanted",
        "(A, 4) anchors of the convention's layout, centre form",
        _anchor_workloads,
        judge_anchors,
        compiled=False,
    ),
    "match": Operation(
        _OBJECTS,
        "(B, A) object of each anchor, -1: background, -2: ignored",
        _match_workloads,
        judge_match,
    ),
    "encode": Operation(
        "(A, 4) boxes in corner form, (A, 4) anchors in centre form",
        "(A, 4) deltas",
        _rows(lambda generator, n: (_some_boxes(generator, n), _some_anchors(generator, n))),
        judge_floats("encode", coding.encode, encode_scale),
    ),
    "decode": Operation(
        "(A, 4) deltas, (A, 4) anchors in centre form",
        "(A, 4) boxes in corner form",
        _rows(lambda generator, n: (generator.normal(0, 5, (n, 4)), _some_anchors(generator, n))),
        judge_floats("decode", coding.decode, decode_scale),
    ),
    "background_first": Operation(
        "(N, C + 1) logits as the head has them",
        "(N, C + 1) logits, background in column 0",
        _rows(lambda generator, n: (_some_logits(generator, n),)),
        judge_floats("background_first", coding.background_first, _plainly(np.abs)),
    ),
    "assign_targets": Operation(_OBJECTS, _TARGETS, _match_workloads, judge_targets),
    "assign_targets_with_crowds": Operation(
        f"{_OBJECTS}, (B, M) crowds", _TARGETS, _crowd_workloads, judge_targets
    ),
    "smooth_l1": Operation(
        "(N, 4) predicted, (N, 4) target",
        "(N, 4) losses",
        _rows(lambda generator, n: tuple(generator.normal(0, 1.5, (2, n, 4)))),
        judge_floats("smooth_l1", _plainly(losses.smooth_l1), smooth_l1_scale),
    ),
    "softmax": Operation(
        "(N, C + 1) logits",
        "(N, C + 1) probabilities",
        _rows(lambda generator, n: (_some_logits(generator, n),)),
        judge_floats("softmax", _plainly(losses.softmax), _plainly(softmax_scale)),
    ),
    "softmax_cross_entropy": Operation(
        "(N, C + 1) logits, (N,) labels",
        "(N,) losses",
        _rows(lambda generator, n: (_some_logits(generator, n), generator.integers(0, CLASSES, n))),
        judge_floats(
            "softmax_cross_entropy",
            _plainly(losses.softmax_cross_entropy),
            _plainly(class_scale),
            wide=(0,),
        ),
    ),
    "sigmoid": Operation(
        "(N, C) logits",
        "(N, C) probabilities",
        _rows(lambda generator, n: (_some_logits(generator, n),)),
        judge_floats("sigmoid", _plainly(losses.sigmoid), _plainly(losses.sigmoid)),
    ),
    "sigmoid_cross_entropy": Operation(
        "(N, C) logits, (N, C) targets from 0 to 1",
        "(N, C) losses",
        _rows(lambda generator, n: (_some_logits(generator, n), generator.random((n, CLASSES)))),
        judge_floats(
            "sigmoid_cross_entropy",
            _plainly(losses.sigmoid_cross_entropy),
            _plainly(lambda logits, wanted: np.maximum(1, np.abs(logits))),
        ),
    ),
    "focal": Operation(
        "(N, C) logits, (N, C) targets 0 or 1",
        "(N, C) losses, alpha .25, gamma 2",
        _rows(
            lambda generator, n: (
                _some_logits(generator, n),
                generator.integers(0, 2, (n, CLASSES)).astype(float),
            )
        ),
        judge_floats("focal", _plainly(losses.focal), _plainly(losses.focal)),
    ),
    "class_losses": Operation(
        "(N, C + 1) logits, (N,) labels (-1: counts nowhere)",
        "(N,) losses",
        _rows(
            lambda generator, n: (_some_logits(generator, n), generator.integers(-1, CLASSES, n))
        ),
        judge_floats("class_losses", multibox.class_losses, class_scale, wide=(0,)),
    ),
    "mine_hard_negatives": Operation(
        "(B, A) losses, (B, A) labels",
        "(B, A) mask of the negatives that count in each picture",
        _mining_workloads,
        judge_mining,
    ),
    "multibox": Operation(
        _LOSS,
        "total, class loss, box loss, positives, (B, A) positives that count, (B, A) negatives "
        "that count, (B, A) class losses; each may be None",
        _multibox_workloads,
        judge_multibox,
        {"box_weight": 2.0},
    ),
    "multibox_gradient": Operation(
        _LOSS,
        "gradients of the total by deltas and by logits, and the last three of multibox, or None",
        _multibox_workloads,
        judge_multibox_gradient,
        {"box_weight": 2.0},
    ),
    "nms": Operation(
        "(B, N, 4) boxes, (B, N) scores (-inf: no box)",
        "(B, K) kept boxes in the order visited, -1 after the last",
        _nms_workloads,
        judge_nms,
        {"iou_threshold": 0.5},
        keeps=lambda convention: convention.detection.eta < 1,  # it falls while above one half
        asks=lambda convention: convention.detection.soft_sigma is None,
    ),
    "soft_nms": Operation(
        "(B, N, 4) boxes, (B, N) scores (-inf: no box)",
        "(B, K) kept boxes, surest first, -1 after the last; (B, K) their lowered scores",
        _nms_workloads,
        judge_soft_nms,
        {"score_threshold": 0.05},
        asks=lambda convention: convention.detection.soft_sigma is not None,
    ),
    "select": Operation(
        _SCORED,
        _FOUND,
        _select_workloads,
        judge_select,
        _FEW,
        asks=lambda convention: convention.detection.soft_sigma is None,
    ),
    "detect": Operation(
        f"{_HEADS}, (A, 4) anchors in centre form",
        f"{_FOUND}; (B, A, 4) decoded boxes and (B, A, C) scores, or None",
        _detect_workloads,
        judge_detect,
        _FEW,
        asks=lambda convention: convention.detection.soft_sigma is None,
    ),
}
