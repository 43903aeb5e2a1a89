"""Hypothesis strategies: boxes, IoU, scores, batches of images, predictions, detections.

What is drawn *on a grid* is a multiple of 1/8 (scores and IoU: of 1/4), so that sums, products
and differences are exact in every dtype, and ties, duplicates and thresholds met exactly are
common. What is drawn *anywhere* has full mantissas and needs a budget of rounding.

Where many numbers are drawn they are one string of bytes, of which NumPy makes an array: some
times faster than one by one, which counts when a law is searched with 10,000 examples.

Events say what they reach: `pytest -m hypothesis --hypothesis-show-statistics tests/reference`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from hypothesis import event, settings, strategies as st

from reference_numpy.boxes import pairwise_iou

FLOATS = [np.float32, np.float64]

Shape = int | tuple[int, ...]

dtypes = st.sampled_from(FLOATS)


def fewer(examples: int) -> settings:
    """So many examples of a slow law in an everyday run; the fuzz searches it in full."""
    profile = settings.get_current_profile_name()
    return settings() if profile == "fuzz" else settings(max_examples=examples)


# --- numbers -------------------------------------------------------------------------------------


@cache  # a strategy is checked when it is first drawn from, which takes longer than the draw
@st.composite
def integers(draw: st.DrawFn, shape: Shape, most: int) -> np.ndarray:
    """0 to `most`, which is below 256, in any shape."""
    size = int(np.prod(shape))
    raw = draw(st.binary(min_size=size, max_size=size))
    return (np.frombuffer(raw, np.uint8) % np.int64(most + 1)).reshape(shape)


def spread(drawn: np.ndarray) -> np.ndarray:
    """Whole numbers → [0, 1), with full mantissas, evenly: multiples of the golden section."""
    return (drawn.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) / 2.0**64


@cache
@st.composite
def numbers(draw: st.DrawFn, shape: Shape, dtype: Any, limit: float) -> np.ndarray:
    """Finite numbers from -`limit` to `limit` in any shape, all of which are float32 numbers.

    They are of every magnitude down to 2^-24 of the limit; one in sixteen is the limit, 1, 1/2, 0
    or next to it.
    """
    size = int(np.prod(shape))
    raw = draw(st.binary(min_size=4 * size, max_size=4 * size))
    place, how = np.frombuffer(raw, np.uint16).reshape(2, size)
    special = np.array([limit, min(1, limit), min(0.5, limit), 0, 1e-45, 1e-38])
    drawn = limit * spread(place) * 2.0 ** -(how // 2 % 25.0)
    drawn = np.where(how < 61440, drawn, special[place % len(special)]) * (1 - 2.0 * (how % 2))
    return drawn.astype(np.float32).astype(dtype).reshape(shape)


def largest(dtype: Any) -> float:
    """So large that a thousand such numbers can still be summed up."""
    return float(np.finfo(dtype).max / 1024)


@cache
@st.composite
def extremes(draw: st.DrawFn, shape: Shape, dtype: Any) -> np.ndarray:
    """Numbers at which a formula may fail: zeros, ones and their neighbours, tiny, saturating."""
    tiny, near = np.finfo(dtype).tiny, np.nextafter(dtype(1), dtype(0))
    sizes = [0.0, 0.25, 0.5, near, 1.0, 1.5, 8.0, 20.0, 90.0, 710.0, 1e6, tiny, largest(dtype)]
    table = np.array([*sizes, *(-size for size in sizes)], dtype)  # -0 among them
    return table[draw(integers(shape, len(table) - 1))]


@cache
@st.composite
def tied_scores(draw: st.DrawFn, shape: Shape, dtype: Any) -> np.ndarray:
    """0, 1/4, 1/2, 3/4 and 1 in any shape."""
    return (draw(integers(shape, 4)) / 4).astype(dtype)


def moved(number: Any, steps: Any) -> Any:
    """Positive floats moved by whole steps of one ULP."""
    number = np.asarray(number)
    whole = {4: np.int32, 8: np.int64}[number.itemsize]
    return (number.view(whole) + np.asarray(steps, whole)).view(number.dtype)


@cache
@st.composite
def nearly_tied_scores(draw: st.DrawFn, shape: Shape, dtype: Any) -> np.ndarray:
    """1/4, 1/2, 3/4 and what is one ULP beside them, in any shape."""
    drawn = draw(integers(shape, 8))
    return moved((drawn // 3 + 1).astype(dtype) / dtype(4), drawn % 3 - 1)


# --- boxes ---------------------------------------------------------------------------------------


@st.composite
def grid_boxes(
    draw: st.DrawFn, dtype: Any, *, least: int = 0, most: int = 5, flat: bool = False
) -> np.ndarray:
    """(N, 4) corners from -1/4 to 9/8, `least` ≤ N ≤ `most`; with `flat`, some without area."""
    x, y, w, h = draw(integers((4, draw(st.integers(least, most))), 5))
    grow = 0 if flat else 1
    corners = np.stack([x - 2, y - 2, x - 2 + w + grow, y - 2 + h + grow], axis=1)
    return (corners / 8).astype(dtype)


@st.composite
def anywhere_boxes(draw: st.DrawFn, dtype: Any, *, least: int = 0, most: int = 5) -> np.ndarray:
    """(N, 4) corners from -0.9 to 2.8, each side from 1/1024 to 1.9 but for rounding."""
    drawn = draw(numbers((2, draw(st.integers(least, most)), 2), dtype, 1.0))
    low, size = dtype(0.9) * drawn  # what is drawn are float32 numbers; this fills float64
    size = np.abs(2 * size) + dtype(1 / 1024)
    return np.concatenate([low, low + size], axis=1)


# Kinds of boxes. Those that need a box before them are on the grid where there is none.
RELATIVE = ("touching", "nested", "duplicate", "one ULP off")
SOLID = ("grid", "anywhere", "thin", "huge aspect", "far outside", *RELATIVE)
FLAT = ("zero width", "zero height", "flipped")
CROWDED = ("grid", "touching", "nested")  # most of which overlap


def make_relative(kind: str, drawn: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Corners of a box that touches, is within, equals or nearly equals the one given."""
    box, (_, turn, *_) = given.copy(), (int(one) for one in drawn)
    if kind == "touching":
        box[turn % 2] = given[2 + turn % 2]
        size = spread(drawn[2:3])[0] + 1 / 1024
        box[2 + turn % 2] = box[turn % 2] + given.dtype.type(size)
    elif kind == "nested":
        low, size = given[:2], given[2:] - given[:2]
        box[:2] = low + size * (drawn[2:4] % 4 / 8).astype(given.dtype)
        box[2:] = box[:2] + size * ((drawn[4:] % 4 + 2) / 8).astype(given.dtype)
        box[2:] = np.clip(box[2:], np.nextafter(box[:2], given[2:]), given[2:])
    elif kind == "one ULP off":  # outwards; what is next to 0 is too small to be multiplied
        corner, outside = turn % 4, np.inf if turn % 4 > 1 else -np.inf
        if box[corner]:
            box[corner] = np.nextafter(box[corner], given.dtype.type(outside))
    return box


def make_box(kind: str, drawn: np.ndarray, before: list[np.ndarray], dtype: Any) -> np.ndarray:
    """Corners of a box of some kind, of six whole numbers up to 65535 and the boxes before it."""
    which, turn, x, y, w, h = (int(one) for one in drawn)
    low, size = np.split(spread(drawn[2:]), 2)
    low, size = 2 * low - 0.5, size + 1 / 1024
    if kind == "grid" or (kind in RELATIVE and not before):
        low, size = (np.array([x, y]) % 8 - 2) / 8, (np.array([w, h]) % 6 + 1) / 8
    elif kind == "thin":
        size[turn % 2] = 2.0 ** -(10 + w % 16)
    elif kind == "huge aspect":
        size = 2.0 ** np.array([-(6 + w % 16), h % 7])[:: 1 - 2 * (turn % 2)]
    elif kind == "far outside":
        low[turn % 2] += (1 - 2 * (x % 2)) * 2.0 ** (3 + y % 8)
    elif kind in RELATIVE:
        return make_relative(kind, drawn, before[which % len(before)])
    low = low.astype(dtype)
    high = np.maximum((low + size).astype(dtype), np.nextafter(low, dtype(np.inf)))
    if kind == "zero width":
        high[0] = low[0]
    elif kind == "zero height":
        high[1] = low[1]
    elif kind == "flipped":
        turned = np.array([turn % 3 != 1, turn % 3 != 2])
        low, high = np.where(turned, high, low), np.where(turned, low, high)
    return np.concatenate([low, high])


RAW = 14  # bytes of a box: its kind and six numbers, of two bytes each


def make_boxes(raw: bytes, kinds: tuple[str, ...], dtype: Any) -> np.ndarray:
    """(N, 4) corners of boxes of `kinds`, of `RAW` bytes each."""
    made: list[np.ndarray] = []
    for kind, *drawn in np.frombuffer(raw, np.uint16).reshape(-1, RAW // 2):
        made.append(make_box(kinds[kind % len(kinds)], np.array(drawn), made, dtype))
    return np.array(made, dtype).reshape(-1, 4)


@st.composite
def boxes(
    draw: st.DrawFn,
    dtype: Any,
    *,
    least: int = 0,
    most: int = 5,
    kinds: tuple[str, ...] = SOLID,
) -> np.ndarray:
    """(N, 4) corners of boxes of `kinds`, `least` ≤ N ≤ `most`; the solid ones have an area."""
    size = RAW * draw(st.integers(least, most))
    raw = draw(st.binary(min_size=size, max_size=size))
    for drawn in set(np.frombuffer(raw, np.uint16)[:: RAW // 2] % len(kinds)):
        event(f"box: {kinds[drawn]}")
    return make_boxes(raw, kinds, dtype)


@st.composite
def boxes_in_two(
    draw: st.DrawFn,
    dtype: Any,
    *,
    least: int = 0,
    most: int = 4,
    alike: bool = False,
    kinds: tuple[str, ...] = SOLID,
) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of `boxes`, the second's made from the first's too; with `alike`, as many."""
    first = draw(st.integers(least, most))
    second = first if alike else draw(st.integers(least, most))
    drawn = draw(boxes(dtype, least=first + second, most=first + second, kinds=kinds))
    return drawn[:first], drawn[first:]


# --- IoU -----------------------------------------------------------------------------------------


@st.composite
def iou_matrices(draw: st.DrawFn, dtype: Any, *, objects: int = 4, anchors: int = 6) -> np.ndarray:
    """(N, A) of 0, 1/4, 1/2, 3/4 and 1, N and A from 0."""
    shape = draw(st.integers(0, objects)), draw(st.integers(0, anchors))
    return draw(tied_scores(shape, dtype))


@st.composite
def ious_at(
    draw: st.DrawFn, dtype: Any, threshold: float, *, objects: int = 4, anchors: int = 6
) -> np.ndarray:
    """(N, A) of 0, 1, the threshold in the dtype, and what is one ULP beside it, N and A from 0."""
    shape = draw(st.integers(0, objects)), draw(st.integers(0, anchors))
    beside = moved(dtype(threshold), [0, -1, 1])
    table = np.array([0, *np.minimum(beside, dtype(1)), 1], dtype)
    return table[draw(integers(shape, len(table) - 1))]


@st.composite
def distinct_ious(
    draw: st.DrawFn, dtype: Any, threshold: float, *, objects: int = 3, anchors: int = 4
) -> np.ndarray:
    """(N, A) of zeros and of numbers that differ, N and A from 1.

    These are even steps from 0 to 1 or a ladder of ULPs across the threshold.
    """
    shape = draw(st.integers(1, objects)), draw(st.integers(1, anchors))
    size = shape[0] * shape[1]
    ranks = np.argsort(draw(integers(size, 127)), kind="stable")
    if draw(st.booleans()):
        iou = (ranks + 1).astype(dtype) / dtype(16)
    else:
        steps = ranks - size // 2
        middle = min(dtype(threshold), moved(dtype(1), -max(steps)))  # so that none is above 1
        iou = moved(np.full(size, middle), steps)
    return np.where(draw(integers(size, 3)) == 0, dtype(0), iou).reshape(shape)


@st.composite
def boxes_at_threshold(
    draw: st.DrawFn,
    dtype: Any,
    *,
    least: int = 0,
    most: int = 6,
    kinds: tuple[str, ...] = SOLID,
) -> tuple[np.ndarray, float]:
    """Boxes, and the IoU of a pair of them or what is one ULP beside it: a threshold in (0, 1]."""
    drawn = draw(boxes(dtype, least=least, most=most, kinds=kinds))
    which, step = draw(integers(2, 127))
    iou = pairwise_iou(drawn, drawn)[np.triu_indices(len(drawn), 1)]
    iou = np.unique(iou[iou > 0])
    if not len(iou):
        return drawn, 0.5
    event(f"threshold: {('at', 'one ULP above', 'one ULP below')[step % 3 - 1]} an IoU")
    return drawn, min(float(moved(iou[which % len(iou)], step % 3 - 1)), 1.0)


# --- images and batches ------------------------------------------------------------------------


class Batch(NamedTuple):
    """The objects of some images, as lists and padded with rows of label -1 to one length.

    Attributes:
        images: (boxes, labels) of each image, (N, 4) and (N,), N from 0.
        boxes: (B, M, 4) the same boxes in order; a row of padding holds anything.
        labels: (B, M) the same labels, -1 for padding.
    """

    images: list[tuple[np.ndarray, np.ndarray]]
    boxes: np.ndarray
    labels: np.ndarray


@st.composite
def batches_of_objects(
    draw: st.DrawFn, dtype: Any, *, images: int = 3, most: int = 4, classes: int = 3
) -> Batch:
    """Ragged lists of objects of positive area, and the same padded, among the objects too."""
    counts = draw(integers(draw(st.integers(0, images)), most))
    length, size = most + draw(st.integers(0, 2)), RAW * int(counts.sum())
    raw = draw(st.binary(min_size=size, max_size=size))
    junk, label, order = draw(integers((3, len(counts), length), 119))
    anything = np.array(
        [[np.nan] * 4, [np.inf] * 4, [0, 0, 0, 0], [0.5, 0.5, 0.25, 0.25], [0, 0, 1, 1]], dtype
    )
    ragged, padded = [], anything[junk % len(anything)]
    padded_labels = np.full((len(counts), length), -1)
    for image, count in enumerate(counts):
        own, raw = make_boxes(raw[: RAW * count], SOLID, dtype), raw[RAW * count :]
        labels = 1 + label[image, :count] % classes
        rows = np.sort(np.argsort(order[image], kind="stable")[:count])
        padded[image, rows], padded_labels[image, rows] = own, labels
        ragged.append((own, labels))
    event(f"padding before an object: {bool((np.diff(padded_labels) > 1).any())}")
    return Batch(ragged, padded, padded_labels)


class Heads(NamedTuple):
    """The arguments of `multibox_loss`, in its order: B images, A anchors, three columns."""

    deltas: np.ndarray
    logits: np.ndarray
    target_deltas: np.ndarray
    labels: np.ndarray


@st.composite
def heads(draw: st.DrawFn, dtype: Any, values: Any = None, labels: tuple[int, ...] = ()) -> Heads:
    """Predictions and targets of up to three images of up to five anchors and three classes.

    Args:
        draw: Hypothesis' own.
        dtype: Of predictions and targets.
        values: A strategy of numbers by shape and dtype, as `extremes`; quarters up to 4 without.
        labels: What labels there are, those named twice twice as often.
    """
    batch, anchors = draw(st.integers(0, 3)), draw(st.integers(0, 5))
    size, choice = batch * anchors, np.array(labels or (0, 0, 1, 2))
    if values is None:
        drawn = (draw(integers(size * 11, 32)) - 16).astype(dtype) / dtype(4)
    else:
        drawn = draw(values(size * 11, dtype))
    deltas, logits, targets = np.split(drawn.reshape(batch, anchors, 11), [4, 7], axis=-1)
    chosen = choice[draw(integers((batch, anchors), len(choice) - 1))]
    return Heads(deltas, logits, targets, chosen)


# --- detections and what is there ----------------------------------------------------------------


class Load(NamedTuple):
    """The arguments of `evaluate`, in its order."""

    truth_boxes: list[np.ndarray]
    truth_labels: list[np.ndarray]
    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    scores: list[np.ndarray]
    classes: int


def load(truth: Any, found: Any, classes: int = 1) -> Load:
    """A load from rows a person can read.

    Args:
        truth: For each image, (label, box) pairs.
        found: For each image, (label, score, box) triples.
        classes: How many classes there are.
    """
    return Load(
        [np.array([box for _, box in rows], dtype=float).reshape(-1, 4) for rows in truth],
        [np.array([label for label, _ in rows], dtype=int) for rows in truth],
        [np.array([box for *_, box in rows], dtype=float).reshape(-1, 4) for rows in found],
        [np.array([label for label, *_ in rows], dtype=int) for rows in found],
        [np.array([score for _, score, _ in rows], dtype=float) for rows in found],
        classes,
    )


@st.composite
def loads(draw: st.DrawFn, distinct: bool = False) -> Load:
    """Up to two images and three classes, with equal scores, duplicates and empty lists.

    Corners are whole pixels, so few that IoU ties and thresholds met exactly are common; the
    detections may be without area. With `distinct` no two objects of an image are equal. There
    is an object at least.
    """
    classes, images = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    counts = draw(integers((images, 2), 13)) % (5, 8)
    truth, found = [], []
    for objects, detections in counts:
        rows = draw(integers((objects + detections, 6), 119))
        label, score, x, y = (
            1 + rows[:, 0] % classes,
            rows[:, 1] % 5 / 8,
            rows[:, 2] % 3,
            rows[:, 3] % 3,
        )
        solid = np.arange(len(rows)) < objects
        right = x + np.where(solid, 1 + rows[:, 4] % 4, rows[:, 4] % 5)
        bottom = y + np.where(solid, 1 + rows[:, 5] % 5, rows[:, 5] % 6)
        box = np.stack([x, y, right, bottom], axis=1).tolist()
        objects_here = [(int(a), tuple(b)) for a, b in zip(label[:objects], box, strict=False)]
        truth.append(list(dict.fromkeys(objects_here)) if distinct else objects_here)
        found.append(
            [
                (int(a), float(b), tuple(c))
                for a, b, c in zip(label[objects:], score[objects:], box[objects:], strict=True)
            ]
        )
    if not any(truth):
        truth[0].append((classes, (0, 0, 10, 10)))
    return load(truth, found, classes)
