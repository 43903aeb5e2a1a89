"""How each operation is compared with the reference: on which cases, and by whose judgement.

`OPERATIONS` is the table; `parity` runs it. A judge gets the inputs and what an implementation
made of them, and counts what is wrong. It never trusts a result that it cannot derive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from keras_impl import anchors as mirror_anchors
from keras_impl import boxes as mirror_boxes
from keras_impl import coding as mirror_coding
from keras_impl import detection as mirror_detection
from keras_impl import losses as mirror_losses
from keras_impl import matching as mirror_matching
from keras_impl import multibox as mirror_multibox
from keras_impl import nms as mirror_nms
from keras_impl import targets as mirror_targets
from keras_impl.backend_tensorflow import gradients
from keras_impl.tolerances import BUDGETS, CLASSES, TERMS
from reference_numpy import boxes, cases, coding, detection, losses, matching, multibox
from reference_numpy import gradients as reference_gradients
from reference_numpy import nms as reference_nms
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import CANONICAL, LAYOUTS, AnchorLayout

__all__ = [
    "MODES",
    "OPERATIONS",
    "Operation",
    "Verdict",
    "decode_scale",
    "encode_scale",
    "errors",
    "softmax_scale",
]

Array = NDArray[Any]
MODES = ("eager", "graph", "xla", "xla-nofuse")
VARIANCES = CANONICAL.coding.variances
WIDER = {"float32": np.float64, "float64": np.longdouble}

PICTURES, OBJECTS = 4, 8  # of one batch
SMALL = AnchorLayout(
    "parity", (64, 64), ((8, 8), (4, 4), (1, 1)), (0.15, 0.35, 0.6, 0.9), ((2.0, 0.5),) * 3
)


class Verdict(NamedTuple):
    """What became of some cases."""

    cases: int
    mismatches: int = 0
    excused: int = 0
    error: float = 0.0


class Operation(NamedTuple):
    """How one operation is compared.

    Attributes:
        mirror: Function of tensors, a tuple of tensors out.
        workloads: (generator, dtype, number of cases) → tuples of arrays for `mirror`.
        judge: (inputs, outputs, dtype, excuses allowed) → verdict.
        modes: Where it can be run.
    """

    mirror: Callable[..., Any]
    workloads: Callable[[np.random.Generator, str, int], Iterator[tuple[Array, ...]]]
    judge: Callable[[tuple[Array, ...], tuple[Array, ...], str, bool], Verdict]
    modes: tuple[str, ...] = MODES


# Floats


def errors(got: Array, wanted: Array, scale: Array, dtype: str) -> NDArray[np.float64]:
    """Distance from the wider answer, rounded once, in eps × scale; infinite where one is NaN."""
    limits = np.finfo(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = wanted.astype(dtype)
        # Results below the normal range may be flushed to 0, so nothing is finer than that.
        unit = float(limits.eps) * np.maximum(scale.astype(np.float64), limits.tiny / limits.eps)
        distance = np.abs(got.astype(np.float64) - rounded.astype(np.float64)) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(same, 0.0, np.where(np.isfinite(distance), distance, np.inf))


def _floats(
    name: str,
    reference: Callable[..., Any],
    scale: Callable[..., Any],
    wide: Sequence[int] = (0, 1),
) -> Callable[..., Verdict]:
    """A judge of one float answer; `wide` says which inputs are floats."""

    def judge(
        inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
    ) -> Verdict:
        precise = [
            value.astype(WIDER[dtype]) if index in wide else value
            for index, value in enumerate(inputs)
        ]
        wanted, unit = reference(*precise), scale(*precise)
        (got,) = outputs
        if got.shape != wanted.shape or got.dtype != np.dtype(dtype):
            return Verdict(len(got), mismatches=len(got), error=np.inf)
        found = errors(got, wanted, np.broadcast_to(unit, wanted.shape), dtype)
        rows = found.reshape(len(got), -1).max(axis=1)
        return Verdict(
            len(rows), int(np.count_nonzero(rows > BUDGETS[name].eps)), 0, float(rows.max())
        )

    return judge


def _rows(
    make: Callable[[np.random.Generator, int], tuple[Array, ...]],
) -> Callable[..., Iterator[tuple[Array, ...]]]:
    """Workloads of float operations: one call with many rows; integers keep their dtype."""

    def workloads(
        generator: np.random.Generator, dtype: str, count: int
    ) -> Iterator[tuple[Array, ...]]:
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


def _iou_of_each(first: Array, second: Array) -> Array:
    return np.stack([boxes.pairwise_iou(a, b) for a, b in zip(first, second, strict=True)])


def encode_scale(box: Array, anchor: Array, variances: Sequence[float] = VARIANCES) -> Array:
    """The largest intermediate of encoding."""
    center = boxes.corners_to_centers(box)
    shift = (np.abs(center[:, :2]) + np.abs(anchor[:, :2])) / anchor[:, 2:]
    stretch = np.maximum(1, np.abs(np.log(center[:, 2:] / anchor[:, 2:])))
    return np.concatenate([shift, stretch], axis=1) / np.array(variances)


def decode_scale(deltas: Array, anchor: Array, variances: Sequence[float] = VARIANCES) -> Array:
    """The largest intermediate of decoding, a sum of its parts."""
    scaled = np.abs(deltas * np.array(variances))
    half = np.exp(deltas[:, 2:] * np.array(variances[2:])) * anchor[:, 2:] / 2
    parts = np.abs(anchor[:, :2]) + scaled[:, :2] * anchor[:, 2:] + half * (1 + scaled[:, 2:])
    return np.tile(parts, 2)


def _smooth_l1_scale(predicted: Array, target: Array) -> Array:
    distance = np.abs(predicted - target)
    return np.where(distance < 1, distance * distance / 2, distance)


def softmax_scale(logits: Array) -> Array:
    """The largest intermediate of softmax."""
    return losses.softmax(logits) * (1 + logits.max(axis=-1, keepdims=True) - logits)


def _entropy_scale(logits: Array, labels: Array) -> Array:
    chosen = np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    largest = np.maximum(1, logits.max(axis=-1) - chosen)
    return np.maximum(largest, losses.softmax_cross_entropy(logits, labels))


# Decisions


def _match_workloads(
    generator: np.random.Generator, dtype: str, count: int
) -> Iterator[tuple[Array, ...]]:
    """The worked cases on six anchors, then random ones on a small layout."""
    grid = np.array(cases.GRID, dtype)
    padded = np.zeros((len(cases.MATCHING), OBJECTS, 4), dtype)
    labels = np.full(padded.shape[:2], -1, np.int32)
    for row, case in enumerate(cases.MATCHING):
        padded[row, : len(case.boxes)] = np.reshape(case.boxes, (-1, 4))
        labels[row, : len(case.boxes)] = 1 + np.arange(len(case.boxes))
    for start in range(0, len(padded), PICTURES):
        yield padded[start : start + PICTURES], labels[start : start + PICTURES], grid
    small = make_anchors(SMALL, dtype)
    for _ in range(0, count, PICTURES):
        yield *cases.random_objects(generator, PICTURES, OBJECTS, CLASSES - 1, dtype), small


def _witnessed(iou: Array, threshold: float, answer: Array, eps: float) -> bool:
    """Whether overlaps within the budget of the true ones make the reference give `answer`.

    Pairs of the answer are raised as far as the budget allows, all others lowered: if any such
    overlaps lead to the answer, these do.
    """
    margin = BUDGETS["pairwise_iou"].eps * eps * iou
    chosen = answer[None, :] == np.arange(len(iou))[:, None]
    favourable = np.clip(np.where(chosen, iou + margin, iou - margin), 0, 1)
    return bool(np.array_equal(matching.match(favourable, threshold), answer))


def _judge_match(
    inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
) -> Verdict:
    batch, labels, anchors = inputs
    (got,) = outputs
    wrong = excused = 0
    for picture, answer in enumerate(got):
        rows = np.flatnonzero(labels[picture] > 0)
        iou = boxes.pairwise_iou(batch[picture][rows], boxes.centers_to_corners(anchors))
        wanted = _in_rows(matching.match(iou), rows)
        if np.array_equal(answer, wanted):
            continue
        # Back from rows of the padded list to objects; a row of padding is no object.
        found = np.searchsorted(rows, np.clip(answer, 0, None))
        found = np.where(answer < 0, -1, np.minimum(found, len(rows)))
        real = np.all((answer < 0) | np.isin(answer, rows))
        eps = float(np.finfo(dtype).eps)
        if excuses and real and _witnessed(iou.astype(np.float64), 0.5, found, eps):
            excused += 1
        else:
            wrong += 1
    return Verdict(len(got), wrong, excused)


def _in_rows(objects: Array, rows: Array) -> Array:
    return np.where(objects < 0, -1, np.append(rows, -1)[objects])


def _indices(values: Array, count: int) -> bool:
    """Whether all are indices of something with `count` elements."""
    return bool(((values >= 0) & (values < count)).all())


def _judge_targets(
    inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
) -> Verdict:
    """Objects as matching's; labels and deltas must then be those objects'."""
    batch, labels, anchors = inputs
    got_labels, deltas, objects = outputs
    verdict = _judge_match(inputs, (objects,), dtype, excuses)
    wrong, worst = verdict.mismatches, 0.0
    for picture, own in enumerate(objects):
        positive = own >= 0
        if not np.isin(own[positive], np.flatnonzero(labels[picture] > 0)).all():
            continue  # no object: a mismatch already
        wanted = np.where(positive, labels[picture][np.maximum(own, 0)], 0)
        box = batch[picture][own[positive]].astype(WIDER[dtype])
        anchor = anchors[positive].astype(WIDER[dtype])
        code = np.zeros(deltas[picture].shape, WIDER[dtype])
        scale = np.zeros_like(code)
        if positive.any():
            code[positive], scale[positive] = coding.encode(box, anchor), encode_scale(box, anchor)
        error = float(errors(deltas[picture], code, scale, dtype).max())
        worst = max(worst, error)
        same = np.array_equal(got_labels[picture], wanted)
        wrong += not (same and error <= BUDGETS["assign_targets"].eps)
    return Verdict(verdict.cases, wrong, verdict.excused, worst)


def _mining_workloads(
    generator: np.random.Generator, dtype: str, count: int
) -> Iterator[tuple[Array, ...]]:
    plain = [case for case in cases.MINING if (case.negative_ratio, case.min_negatives) == (3, 0)]
    yield (
        np.array([case.losses for case in plain], dtype),
        np.array([case.labels for case in plain], np.int32),
    )
    for _ in range(0, count, PICTURES):
        yield cases.random_losses(generator, PICTURES, 231, dtype)


def _judge_mining(
    inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
) -> Verdict:
    (got,) = outputs
    wrong = sum(
        not np.array_equal(mask, multibox.mine_hard_negatives(loss, label))
        for mask, loss, label in zip(got, *inputs, strict=True)
    )
    return Verdict(len(got), wrong)


def _nms_workloads(
    generator: np.random.Generator, dtype: str, count: int
) -> Iterator[tuple[Array, ...]]:
    """The worked cases at their threshold are in tests; here all at .5, padded to 40 slots."""
    padded = np.zeros((len(cases.NMS), 40, 4), dtype)
    scores = np.full((len(cases.NMS), 40), -np.inf, dtype)
    for row, case in enumerate(cases.NMS):
        padded[row, : len(case.boxes)] = np.reshape(case.boxes, (-1, 4))
        scores[row, : len(case.boxes)] = case.scores
    yield padded, scores
    for _ in range(0, count, PICTURES):
        box, score = cases.random_scored_boxes(generator, PICTURES, 40, 1, dtype)
        yield box, score[..., 0]


def _nms_witnessed(box: Array, score: Array, answer: Array, threshold: float, eps: float) -> bool:
    """Whether overlaps within the budget lead to `answer`: near the threshold either will do."""
    waiting = list(np.argsort(-score, kind="stable"))
    kept = []
    margin = BUDGETS["pairwise_iou"].eps * eps
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        overlap = boxes.pairwise_iou(box[[best]], box)[0].astype(np.float64)
        waiting = [
            one
            for one in waiting
            if overlap[one] <= threshold - margin
            or (overlap[one] <= threshold + margin and one in answer)
        ]
    return bool(np.array_equal(kept, answer))


def _judge_nms(
    inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
) -> Verdict:
    (got,) = outputs
    wrong = excused = 0
    for answer, box, score in zip(got, *inputs, strict=True):
        real = np.isfinite(score)
        wanted = reference_nms.nms(box[real], score[real], 0.5)
        used = answer[answer >= 0]
        ends = np.array_equal(answer[: len(used)], used)
        if ends and np.array_equal(used, wanted):
            continue
        eps = float(np.finfo(dtype).eps)
        if excuses and ends and _nms_witnessed(box[real], score[real], used, 0.5, eps):
            excused += 1
        else:
            wrong += 1
    return Verdict(len(got), wrong, excused)


SELECT: dict[str, Any] = {"score_threshold": 0.2, "candidates_per_class": 12, "max_detections": 25}


def _select_workloads(
    generator: np.random.Generator, dtype: str, count: int
) -> Iterator[tuple[Array, ...]]:
    for _ in range(0, count, PICTURES):
        yield cases.random_scored_boxes(generator, PICTURES, 60, 3, dtype)


def _same_detections(found: detection.Detections, got: Sequence[Array]) -> bool:
    """Whether padded detections are these, bit for bit, and the rest of their slots unused."""
    box, score, label, anchor = got
    used = len(found.scores)
    return bool(
        np.array_equal(box[:used], found.boxes)
        and np.array_equal(score[:used], found.scores)
        and np.array_equal(label[:used], found.labels)
        and np.array_equal(anchor[:used], found.anchors)
        and (anchor[used:] == -1).all()
        and (label[used:] == -1).all()
        and not box[used:].any()
        and not score[used:].any()
    )


def _select_witnessed(box: Array, score: Array, got: Sequence[Array], eps: float) -> bool:
    """Whether suppression within the rounding budget of its threshold explains a selection."""
    threshold = 0.45
    label, anchor = got[2][got[2] > 0], got[3][got[2] > 0]
    kept: list[tuple[float, int, int]] = []
    for column in range(score.shape[1]):
        candidates = np.flatnonzero(score[:, column] > score.dtype.type(SELECT["score_threshold"]))
        best = detection.top_k(score[candidates, column], int(SELECT["candidates_per_class"]))
        candidates = candidates[best]
        mine = anchor[label == column + 1]
        order = np.flatnonzero(np.isin(candidates, mine))
        full = len(label) == SELECT["max_detections"]
        if not full and not _nms_witnessed(
            box[candidates], score[candidates, column], order, threshold, eps
        ):
            return False
        if full:
            return False  # what fell off the end cannot be witnessed
        kept += [(-float(score[one, column]), int(one), column + 1) for one in mine]
    return [(one, label_) for _, one, label_ in sorted(kept)] == list(
        zip(anchor.tolist(), label.tolist(), strict=True)
    )


def _judge_select(
    inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
) -> Verdict:
    wrong = excused = 0
    for box, score, *got in zip(*inputs, *outputs, strict=True):
        if _same_detections(detection.select(box, score, **SELECT), got):
            continue
        if excuses and _select_witnessed(box, score, got, float(np.finfo(dtype).eps)):
            excused += 1
        else:
            wrong += 1
    return Verdict(len(outputs[0]), wrong, excused)


def _detect(deltas: Any, logits: Any, anchors: Any) -> tuple[Any, ...]:
    """Detections, and the boxes and scores they were decided about."""
    box = mirror_boxes.clip(mirror_coding.decode(deltas, anchors))
    found = mirror_detection.detect(deltas, logits, anchors, **SELECT)
    return *found, box, mirror_losses.softmax(logits)[..., 1:]


def _detect_workloads(
    generator: np.random.Generator, dtype: str, count: int
) -> Iterator[tuple[Array, ...]]:
    anchors = make_anchors(SMALL, dtype)
    for _ in range(0, count, PICTURES):
        deltas = generator.normal(0, 2, (PICTURES, len(anchors), 4))
        logits = generator.normal(0, 2, (PICTURES, len(anchors), CLASSES))
        logits[:, ::3] = np.round(logits[:, ::3])
        deltas[:, ::3] = 0
        yield deltas.astype(dtype), logits.astype(dtype), anchors


def _judge_detect(
    inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
) -> Verdict:
    deltas, logits, anchors = (value.astype(WIDER[dtype]) for value in inputs)
    wrong = excused = 0
    worst = 0.0
    for picture, (*got, box, score) in enumerate(zip(*outputs, strict=True)):
        true_box = boxes.clip(coding.decode(deltas[picture], anchors))
        true_score = losses.softmax(logits[picture])
        scale = decode_scale(deltas[picture], anchors)
        box_error = float(errors(box, true_box, scale, dtype).max())
        score_scale = softmax_scale(logits[picture])[:, 1:]
        score_error = float(errors(score, true_score[:, 1:], score_scale, dtype).max())
        worst = max(worst, box_error, score_error)
        within = box_error <= BUDGETS["decode"].eps and score_error <= BUDGETS["softmax"].eps
        used = got[3] >= 0
        slots = got[3][used], got[2][used] - 1
        if not (_indices(slots[0], len(score)) and _indices(slots[1], score.shape[1])):
            wrong += 1
            continue
        box_in_slot = errors(got[0][used], true_box[slots[0]], scale[slots[0]], dtype)
        score_in_slot = errors(got[1][used], true_score[:, 1:][slots], score_scale[slots], dtype)
        worst = max(worst, box_in_slot.max(initial=0), score_in_slot.max(initial=0))
        within &= bool((box_in_slot <= BUDGETS["decode"].eps).all())
        within &= bool((score_in_slot <= BUDGETS["softmax"].eps).all())
        within &= not (got[0][~used].any() or got[1][~used].any())
        wanted = detection.detect(inputs[0][picture], inputs[1][picture], inputs[2], **SELECT)
        if within and _same_decisions(wanted, got):
            continue
        if within and _same_decisions(detection.select(box, score, **SELECT), got):
            excused += 1
        else:
            wrong += 1
    return Verdict(len(outputs[0]), wrong, excused, worst)


def _same_decisions(found: detection.Detections, got: Sequence[Array]) -> bool:
    used = len(found.scores)
    return bool(
        np.array_equal(got[2][:used], found.labels)
        and np.array_equal(got[3][:used], found.anchors)
        and (got[3][used:] == -1).all()
    )


# MultiBox


def _multibox_workloads(
    generator: np.random.Generator, dtype: str, count: int
) -> Iterator[tuple[Array, ...]]:
    """Batches of 96 anchors in all, some without a positive in one picture, or in any."""
    anchors = TERMS // PICTURES
    for batch in range(0, count, PICTURES):
        logits = _some_logits(generator, TERMS).reshape(PICTURES, anchors, CLASSES)
        share = generator.random((PICTURES, 1)) * (batch % 3 > 0)
        labels = generator.integers(1, CLASSES, (PICTURES, anchors))
        labels[generator.random(labels.shape) >= share] = 0
        deltas, wanted = generator.normal(0, 1.5, (2, PICTURES, anchors, 4))
        yield (
            deltas.astype(dtype),
            logits.astype(dtype),
            np.where(labels[..., None] > 0, wanted, 0).astype(dtype),
            labels.astype(np.int32),
        )


def _mined_well(negatives: Array, class_losses: Array, labels: Array, logits: Any) -> bool:
    """Whether losses within budget lead the reference to mine these anchors."""
    if np.isnan(class_losses).any():
        return False
    dtype = class_losses.dtype.name
    true, scale = losses.softmax_cross_entropy(logits, labels), _entropy_scale(logits, labels)
    within = errors(class_losses, true, scale, dtype) <= BUDGETS["softmax_cross_entropy"].eps
    mined = _judge_mining((class_losses, labels), (negatives,), dtype, excuses=False)
    return bool(within.all()) and mined.mismatches == 0


def _judge_multibox(
    inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
) -> Verdict:
    """Sums within budget; the mined anchors are decided on losses that come out of exp and log."""
    *floats, labels = inputs
    deltas, logits, wanted = (value.astype(WIDER[dtype]) for value in floats)
    total, class_loss, box_loss, positives, negatives, class_losses = outputs
    reference = multibox.multibox(deltas, logits, wanted, labels, box_weight=2.0)
    counted = (labels > 0) | negatives
    normaliser = max(1, int(np.count_nonzero(labels)))
    box_scale = _smooth_l1_scale(deltas, wanted)[labels > 0].sum() / normaliser
    class_scale = _entropy_scale(logits, labels)[counted].sum() / normaliser
    # The class loss of the anchors that were mined: near-ties exchange almost equal losses.
    true_class = losses.softmax_cross_entropy(logits, labels)[counted].sum() / normaliser
    worst = max(
        float(errors(np.asarray(got), np.asarray(true), np.asarray(unit), dtype))
        for got, true, unit in (
            (class_loss, true_class, class_scale),
            (box_loss, reference.box_loss, box_scale),
            (total, true_class + 2 * reference.box_loss, class_scale + 2 * box_scale),
        )
    )
    right = int(positives) == reference.positives and worst <= BUDGETS["multibox"].eps
    if not (right and _mined_well(negatives, class_losses, labels, logits)):
        return Verdict(1, 1, 0, worst)
    return Verdict(1, 0, int(not np.array_equal(negatives, reference.negatives)), worst)


def _multibox(deltas: Any, logits: Any, wanted: Any, labels: Any) -> tuple[Any, ...]:
    loss = mirror_multibox.multibox(deltas, logits, wanted, labels, box_weight=2.0)
    return *loss, mirror_losses.softmax_cross_entropy(logits, labels)


def _multibox_gradient(deltas: Any, logits: Any, wanted: Any, labels: Any) -> tuple[Any, ...]:
    def total(deltas: Any, logits: Any) -> Any:
        return mirror_multibox.multibox(deltas, logits, wanted, labels, box_weight=2.0).total

    class_losses = mirror_losses.softmax_cross_entropy(logits, labels)
    loss = mirror_multibox.multibox(deltas, logits, wanted, labels)
    return *gradients(total)(deltas, logits), loss.negatives, class_losses


def _judge_multibox_gradient(
    inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
) -> Verdict:
    """The mined anchors as in `multibox`; where they are the reference's, the gradients."""
    *floats, labels = inputs
    deltas, logits, wanted = (value.astype(WIDER[dtype]) for value in floats)
    by_deltas, by_logits, negatives, class_losses = outputs
    if not _mined_well(negatives, class_losses, labels, logits):
        return Verdict(1, 1)
    if not np.array_equal(negatives, multibox.multibox(deltas, logits, wanted, labels).negatives):
        return Verdict(1, 0, 1)
    true = reference_gradients.multibox_gradient(deltas, logits, wanted, labels, box_weight=2.0)
    normaliser = max(1, int(np.count_nonzero(labels)))
    box_scale = 2 * np.minimum(1, np.abs(deltas - wanted)) / normaliser
    class_scale = (softmax_scale(logits) + (true[1] != 0)) / normaliser
    worst = max(
        float(errors(by_deltas, true[0], box_scale, dtype).max()),
        float(errors(by_logits, true[1], class_scale, dtype).max()),
    )
    return Verdict(1, int(worst > BUDGETS["multibox_gradient"].eps), 0, worst)


def _anchor_workloads(
    generator: np.random.Generator, dtype: str, count: int
) -> Iterator[tuple[Array, ...]]:
    for index in range(len(LAYOUTS)):
        yield (np.array(index),)


def _layout(index: Any) -> AnchorLayout:
    return list(LAYOUTS.values())[int(index)]


def _judge_anchors(
    inputs: tuple[Array, ...], outputs: tuple[Array, ...], dtype: str, excuses: bool
) -> Verdict:
    wrong = 0
    for name, got in zip(WIDER, outputs, strict=True):
        wanted = make_anchors(_layout(inputs[0]), name)
        wrong += name == dtype and not (got.dtype == name and np.array_equal(got, wanted))
    return Verdict(1, wrong)


def _one(function: Callable[..., Any]) -> Callable[..., tuple[Any]]:
    return lambda *inputs: (function(*inputs),)


OPERATIONS: dict[str, Operation] = {
    "corners_to_centers": Operation(
        _one(mirror_boxes.corners_to_centers),
        _rows(lambda generator, n: (_some_boxes(generator, n),)),
        _floats(
            "corners_to_centers",
            boxes.corners_to_centers,
            lambda box: np.tile(np.abs(box[:, :2]) + np.abs(box[:, 2:]), 2),
        ),
    ),
    "centers_to_corners": Operation(
        _one(mirror_boxes.centers_to_corners),
        _rows(lambda generator, n: (_some_anchors(generator, n),)),
        _floats(
            "centers_to_corners",
            boxes.centers_to_corners,
            lambda box: np.tile(np.abs(box[:, :2]) + box[:, 2:], 2),
        ),
    ),
    "area": Operation(
        _one(mirror_boxes.area),
        _rows(lambda generator, n: (_some_boxes(generator, n),)),
        _floats("area", boxes.area, boxes.area),
    ),
    "clip": Operation(
        _one(mirror_boxes.clip),
        _rows(lambda generator, n: (_some_boxes(generator, n),)),
        _floats("clip", boxes.clip, np.abs),
    ),
    "pairwise_iou": Operation(
        _one(mirror_boxes.pairwise_iou),
        _rows(_overlapping),
        _floats("pairwise_iou", _iou_of_each, _iou_of_each),
    ),
    "make_anchors": Operation(
        lambda index: tuple(mirror_anchors.make_anchors(_layout(index), name) for name in WIDER),
        _anchor_workloads,
        _judge_anchors,
        modes=("eager",),  # constants, made on the host
    ),
    "match": Operation(
        lambda box, labels, anchors: (
            mirror_matching.match(box, keras.ops.greater(labels, 0), anchors),
        ),
        _match_workloads,
        _judge_match,
    ),
    "encode": Operation(
        _one(mirror_coding.encode),
        _rows(lambda generator, n: (_some_boxes(generator, n), _some_anchors(generator, n))),
        _floats("encode", coding.encode, encode_scale),
    ),
    "decode": Operation(
        _one(mirror_coding.decode),
        _rows(lambda generator, n: (generator.normal(0, 5, (n, 4)), _some_anchors(generator, n))),
        _floats("decode", coding.decode, decode_scale),
    ),
    "assign_targets": Operation(
        lambda *inputs: tuple(mirror_targets.assign_targets(*inputs)),
        _match_workloads,
        _judge_targets,
    ),
    "smooth_l1": Operation(
        _one(mirror_losses.smooth_l1),
        _rows(lambda generator, n: tuple(generator.normal(0, 1.5, (2, n, 4)))),
        _floats("smooth_l1", losses.smooth_l1, _smooth_l1_scale),
    ),
    "softmax": Operation(
        _one(mirror_losses.softmax),
        _rows(lambda generator, n: (_some_logits(generator, n),)),
        _floats("softmax", losses.softmax, softmax_scale),
    ),
    "softmax_cross_entropy": Operation(
        _one(mirror_losses.softmax_cross_entropy),
        _rows(lambda generator, n: (_some_logits(generator, n), generator.integers(0, CLASSES, n))),
        _floats("softmax_cross_entropy", losses.softmax_cross_entropy, _entropy_scale, wide=(0,)),
    ),
    "sigmoid": Operation(
        _one(mirror_losses.sigmoid),
        _rows(lambda generator, n: (_some_logits(generator, n),)),
        _floats("sigmoid", losses.sigmoid, losses.sigmoid),
    ),
    "sigmoid_cross_entropy": Operation(
        _one(mirror_losses.sigmoid_cross_entropy),
        _rows(lambda generator, n: (_some_logits(generator, n), generator.random((n, CLASSES)))),
        _floats(
            "sigmoid_cross_entropy",
            losses.sigmoid_cross_entropy,
            lambda logits, wanted: np.maximum(1, np.abs(logits)),
        ),
    ),
    "focal": Operation(
        _one(mirror_losses.focal),
        _rows(
            lambda generator, n: (
                _some_logits(generator, n),
                generator.integers(0, 2, (n, CLASSES)).astype(float),
            )
        ),
        _floats("focal", losses.focal, losses.focal),
    ),
    "mine_hard_negatives": Operation(
        _one(mirror_multibox.mine_hard_negatives), _mining_workloads, _judge_mining
    ),
    "multibox": Operation(_multibox, _multibox_workloads, _judge_multibox),
    "multibox_gradient": Operation(
        _multibox_gradient, _multibox_workloads, _judge_multibox_gradient
    ),
    "nms": Operation(
        lambda box, score: (mirror_nms.nms(box, score, 0.5),), _nms_workloads, _judge_nms
    ),
    "select": Operation(
        lambda box, score: tuple(mirror_detection.select(box, score, **SELECT)),
        _select_workloads,
        _judge_select,
    ),
    "detect": Operation(_detect, _detect_workloads, _judge_detect),
}
