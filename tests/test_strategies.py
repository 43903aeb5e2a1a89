"""The strategies keep their promises, and reach the cases that they are there for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from reference_numpy.boxes import area, pairwise_iou
from tests.strategies import (
    FLAT,
    FLOATS,
    SOLID,
    anywhere_boxes,
    batches_of_objects,
    boxes,
    boxes_at_threshold,
    boxes_in_two,
    distinct_ious,
    dtypes,
    extremes,
    fewer,
    grid_boxes,
    heads,
    integers,
    iou_matrices,
    ious_at,
    largest,
    loads,
    moved,
    nearly_tied_scores,
    numbers,
    pair_at,
    pairs_at,
    tied_scores,
)

BOXES = [grid_boxes, anywhere_boxes]
CORNER = np.array([0.0, 0.0, 1.0, 1.0])
THRESHOLDS = [0.01, 0.25, 0.3, 1 / 3, 0.45, 0.5, 0.6, 0.7, 0.75, 0.95, 1.0]

thresholds = st.sampled_from(THRESHOLDS)


@given(dtypes)
def test_dtypes_are_the_two_that_the_reference_is_tested_in(dtype):
    assert dtype in FLOATS
    assert [np.dtype(dtype).name for dtype in FLOATS] == ["float32", "float64"]


@pytest.mark.parametrize("strategy", BOXES)
@given(st.data(), dtypes)
def test_boxes_are_solid_and_of_the_dtype_asked_for(strategy, data, dtype):
    boxes = data.draw(strategy(dtype, least=1, most=3))
    assert boxes.dtype == dtype
    assert boxes.shape[1:] == (4,)
    assert 1 <= len(boxes) <= 3
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert np.abs(boxes).max() <= 2.8


@given(st.data(), dtypes, st.booleans())
def test_grid_boxes_are_eighths(data, dtype, flat):
    eighths = data.draw(grid_boxes(dtype, flat=flat)) * 8
    assert (eighths == np.round(eighths)).all()
    assert (eighths[:, 2:] - eighths[:, :2] >= (0 if flat else 1)).all()
    assert ((eighths >= -2) & (eighths <= 9)).all()


@given(st.data(), dtypes)
def test_iou_and_scores_are_quarters_from_0_to_1(data, dtype):
    for drawn in (data.draw(iou_matrices(dtype)), data.draw(tied_scores((2, 3), dtype))):
        assert drawn.dtype == dtype
        assert np.isin(drawn, [0, 0.25, 0.5, 0.75, 1]).all()


@given(st.data(), dtypes)
def test_numbers_stay_within_the_limit(data, dtype):
    drawn = data.draw(numbers((2, 3), dtype, 10.0))
    assert (drawn.dtype, drawn.shape) == (dtype, (2, 3))
    assert (np.abs(drawn) <= 10).all()


@given(integers(4, 3))
def test_integers_are_small_numbers(drawn):
    assert (drawn.dtype, drawn.shape) == (np.int64, (4,))
    assert np.isin(drawn, range(4)).all()


@given(st.data(), dtypes, thresholds)
def test_a_number_moves_by_neighbours(data, dtype, threshold):
    up = np.nextafter(dtype(threshold), dtype(2))
    found = moved(dtype(threshold), [0, 1, -1])
    assert found.dtype == dtype
    assert found.tolist() == [threshold_of(dtype, threshold, step) for step in (0, 1, -1)]
    assert found[1] == up


def threshold_of(dtype, threshold, step):
    """The threshold in the dtype, moved by -1, 0 or 1 ULP."""
    return np.nextafter(dtype(threshold), dtype(2 * step)) if step else dtype(threshold)


@given(st.data(), dtypes)
def test_nearly_tied_scores_are_quarters_or_beside_them(data, dtype):
    drawn = data.draw(nearly_tied_scores((2, 3), dtype))
    assert (drawn.dtype, drawn.shape) == (dtype, (2, 3))
    near = np.array([threshold_of(dtype, n / 4, s) for n in (1, 2, 3) for s in (-1, 0, 1)])
    assert np.isin(drawn, near).all()


@given(st.data(), dtypes)
def test_a_thousand_extremes_have_a_sum(data, dtype):
    drawn = data.draw(extremes((3, 4), dtype))
    assert (drawn.dtype, drawn.shape) == (dtype, (3, 4))
    assert (np.abs(drawn) <= largest(dtype)).all()  # false for NaN
    assert np.isfinite(np.full(1000, largest(dtype), dtype).sum())


# --- boxes of all kinds --------------------------------------------------------------------------


@given(st.data(), dtypes)
def test_solid_boxes_have_an_area(data, dtype):
    drawn = data.draw(boxes(dtype, least=1, most=4))
    assert drawn.dtype == dtype
    assert drawn.shape[1:] == (4,)
    assert 1 <= len(drawn) <= 4
    assert np.isfinite(drawn).all()
    assert (drawn[:, 2:] > drawn[:, :2]).all()
    assert (area(drawn) > 0).all()
    # So large that no product of such sides or overlaps is rounded for being too small.
    tiny = np.finfo(dtype).tiny * 2.0**40
    low = np.maximum(drawn[:, None, :2], drawn[None, :, :2])
    sides = np.minimum(drawn[:, None, 2:], drawn[None, :, 2:]) - low
    products = sides[..., 0] * sides[..., 1]
    assert (products[(sides > 0).all(axis=-1)] > tiny).all()


@pytest.mark.parametrize("kind", FLAT)
@given(st.data(), dtypes)
def test_flat_and_flipped_boxes_have_none(kind, data, dtype):
    drawn = data.draw(boxes(dtype, least=1, kinds=(kind,)))
    sides = drawn[:, 2:] - drawn[:, :2]
    assert (area(drawn) == 0).all()
    if kind == "flipped":
        assert (sides.min(axis=1) < 0).all()
        assert (sides != 0).all()
    else:
        assert (sides[:, FLAT.index(kind)] == 0).all()
        assert (sides[:, 1 - FLAT.index(kind)] > 0).all()


@given(st.data(), dtypes, st.booleans())
def test_two_arrays_of_boxes(data, dtype, alike):
    first, second = data.draw(boxes_in_two(dtype, least=1, most=2, alike=alike))
    for drawn in (first, second):
        assert drawn.dtype == dtype
        assert drawn.shape[1:] == (4,)
        assert 1 <= len(drawn) <= 2
        assert (area(drawn) > 0).all()
    if alike:
        assert len(first) == len(second)


def pair_of(kind):
    """Pairs of a box on the grid, for it has none before it, and one made from it."""
    return boxes(np.float32, least=2, most=2, kinds=(kind,))


def overlap(pair):
    return pairwise_iou(pair, pair)[0, 1]


# Kind of boxes, then what is true of one such case.
KINDS = {
    "grid": (boxes(np.float32, least=1, kinds=("grid",)), lambda b: (b * 8 % 1 == 0).all()),
    "anywhere": (
        boxes(np.float64, least=1, kinds=("anywhere",)),
        lambda b: (b != b.astype(np.float32)).any(),
    ),
    "thin": (
        boxes(np.float32, least=1, kinds=("thin",)),
        lambda b: (b[:, 2:] - b[:, :2]).min() < 2.0**-20,
    ),
    "huge aspect": (
        boxes(np.float32, least=1, kinds=("huge aspect",)),
        lambda b: np.ptp(np.log2(b[:, 2:] - b[:, :2]), axis=1).max() > 20,
    ),
    "far outside": (
        boxes(np.float32, least=1, kinds=("far outside",)),
        lambda b: np.abs(b).max() > 900,
    ),
    "touching": (
        pair_of("touching"),
        lambda b: (b[1, :2] == b[0, 2:]).any() and (b[1] != b[0]).any(),
    ),
    "nested": (
        pair_of("nested"),
        lambda b: (b[1, :2] > b[0, :2]).all() and (b[1, 2:] < b[0, 2:]).all(),
    ),
    "duplicate": (pair_of("duplicate"), lambda b: (b[0] == b[1]).all()),
    "one ULP off": (pair_of("one ULP off"), lambda b: 1 - 1e-6 < overlap(b) < 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_box_is_reached(kind):
    strategy, reaches = KINDS[kind]
    assert reaches(search(strategy, reaches)), kind


def test_each_solid_kind_has_its_case():
    assert tuple(KINDS) == SOLID


# --- IoU at a threshold --------------------------------------------------------------------------


@given(st.data(), dtypes, thresholds)
def test_ious_at_a_threshold_are_there_or_beside_it(data, dtype, threshold):
    drawn = data.draw(ious_at(dtype, threshold))
    assert drawn.dtype == dtype
    beside = [threshold_of(dtype, threshold, step) for step in (-1, 0, 1)]
    assert np.isin(drawn, [0, *beside, 1]).all()
    assert (drawn <= 1).all()


@given(st.data(), dtypes, thresholds)
def test_distinct_ious_are_distinct_but_for_zeros(data, dtype, threshold):
    drawn = data.draw(distinct_ious(dtype, threshold))
    overlapping = drawn[drawn != 0]
    assert drawn.dtype == dtype
    assert len(np.unique(overlapping)) == len(overlapping)
    assert ((drawn >= 0) & (drawn <= 1)).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("step", [-1, 0, 1])
def test_pairs_have_the_iou_that_was_asked_for(step, threshold, dtype):
    pairs = pairs_at(dtype, threshold, step)
    if threshold == 1.0 and step == 1:
        assert len(pairs) == 0
        return
    assert len(pairs) > 0
    assert pairs.dtype == dtype
    for pair in pairs:
        assert overlap(pair) == threshold_of(dtype, threshold, step)
        assert area(pair).min() > 0


@fewer(50)
@given(st.data(), dtypes, st.sampled_from([0.3, 0.45, 0.5]), st.sampled_from([-1, 0, 1]))
def test_turning_mirroring_and_scaling_a_pair_keeps_its_iou(data, dtype, threshold, step):
    pair = data.draw(pair_at(dtype, threshold, step))
    assert (pair.dtype, pair.shape) == (dtype, (2, 4))
    assert overlap(pair) == threshold_of(dtype, threshold, step)


@given(st.data(), dtypes)
def test_boxes_come_with_a_threshold_that_one_of_their_ious_meets_or_misses(data, dtype):
    drawn, threshold = data.draw(boxes_at_threshold(dtype))
    assert dtype(threshold) == threshold, "a number of the dtype"
    assert 0 < threshold <= 1
    iou = pairwise_iou(drawn, drawn)[np.triu_indices(len(drawn), 1)]
    if (iou > 0).any():
        beside = [threshold_of(dtype, threshold, step) for step in (-1, 0, 1)]
        assert np.isin(iou, beside).any()


# --- batches, predictions, detections ------------------------------------------------------------


@given(st.data(), dtypes)
def test_padding_holds_the_same_objects_in_order(data, dtype):
    batch = data.draw(batches_of_objects(dtype))
    assert len(batch.pictures) == len(batch.boxes) == len(batch.labels) <= 3
    assert batch.boxes.shape == (*batch.labels.shape, 4)
    for (own, labels), rows, padded in zip(batch.pictures, batch.boxes, batch.labels, strict=True):
        assert own.dtype == rows.dtype == dtype
        assert (area(own) > 0).all()
        assert np.isin(labels, [1, 2, 3]).all()
        np.testing.assert_array_equal(rows[padded != -1], own)
        assert padded[padded != -1].tolist() == labels.tolist()


@given(st.data(), dtypes)
def test_heads_belong_together(data, dtype):
    drawn = data.draw(heads(dtype))
    shape = drawn.labels.shape
    assert (drawn.deltas.shape, drawn.target_deltas.shape) == ((*shape, 4), (*shape, 4))
    assert drawn.logits.shape == (*shape, 3)
    assert {array.dtype for array in drawn[:3]} == {np.dtype(dtype)}
    assert (np.abs(drawn.deltas) <= 4).all()
    assert np.isin(drawn.labels, [0, 1, 2]).all()


@given(loads(), loads(distinct=True))
def test_loads_are_what_evaluate_takes(any_load, distinct):
    for drawn in (any_load, distinct):
        assert sum(map(len, drawn.truth_labels)) > 0
        for there, labels in zip(drawn.truth_boxes, drawn.truth_labels, strict=True):
            assert there.shape == (len(labels), 4)
            assert (there[:, 2:] > there[:, :2]).all()
        for column in (drawn.truth_labels, drawn.labels):
            assert all(np.isin(row, np.arange(drawn.classes) + 1).all() for row in column)
        for found, labels, scores in zip(drawn.boxes, drawn.labels, drawn.scores, strict=True):
            assert found.shape == (len(labels), 4)
            assert scores.shape == labels.shape
    for there, labels in zip(distinct.truth_boxes, distinct.truth_labels, strict=True):
        rows = np.column_stack([there, labels])
        assert len(np.unique(rows, axis=0)) == len(rows)


# --- what is reached -----------------------------------------------------------------------------


def search(strategy, reaches):
    """An example that is such a case; none is so rare that a search misses it."""
    quick = settings(
        max_examples=2000,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    return find(strategy, reaches, settings=quick)


REACHED = {
    "no boxes": (grid_boxes(np.float32), lambda boxes: len(boxes) == 0),
    "duplicates": (
        grid_boxes(np.float32),
        lambda boxes: len(boxes) > len(np.unique(boxes, axis=0)),
    ),
    "beyond each border": (
        grid_boxes(np.float32),
        lambda boxes: ((boxes < CORNER) | (boxes > CORNER)).any(),
    ),
    "wholly outside": (grid_boxes(np.float32), lambda boxes: (boxes[:, 2:] <= 0).any()),
    "a box without area": (
        grid_boxes(np.float32, flat=True),
        lambda boxes: (boxes[:, 2:] == boxes[:, :2]).any(),
    ),
    "corners off the grid": (
        anywhere_boxes(np.float32),
        lambda boxes: (boxes * 8 % 1 != 0).any(),
    ),
    "corners that are no float32 numbers": (
        anywhere_boxes(np.float64),
        lambda boxes: (boxes != boxes.astype(np.float32)).any(),
    ),
    "no objects": (iou_matrices(np.float32), lambda iou: iou.shape[0] == 0 < iou.shape[1]),
    "no anchors": (iou_matrices(np.float32), lambda iou: iou.shape[1] == 0 < iou.shape[0]),
    "one best anchor for two": (
        iou_matrices(np.float32),
        lambda iou: iou.shape[0] > 1 and iou.shape[1] > 0 and iou[:2, 0].min() == 1,
    ),
    "more objects than anchors": (
        iou_matrices(np.float32),
        lambda iou: iou.shape[0] > iou.shape[1] > 1,
    ),
    "equal scores": (tied_scores(3, np.float32), lambda scores: len(set(scores.tolist())) < 3),
    "scores one ULP apart": (
        nearly_tied_scores(2, np.float32),
        lambda scores: 0 < abs(scores[0] - scores[1]) < 1e-6,
    ),
    "negative numbers": (numbers(2, np.float32, 5.0), lambda array: (array < 0).any()),
    "the limit of numbers": (numbers(3, np.float32, 5.0), lambda array: -5 in array),
    "a small number": (numbers(2, np.float32, 5.0), lambda a: (0 < a[0] < 1e-5) and a[1] > 1),
    "a number too small to be normal": (
        numbers(8, np.float32, 5.0),
        lambda array: (np.abs(array)[array != 0] < np.finfo(np.float32).tiny).any(),
    ),
    "the largest and its opposite": (
        extremes(8, np.float32),
        lambda array: np.isin([largest(np.float32), -largest(np.float32)], array).all(),
    ),
    "a solid box among flat ones": (
        boxes(np.float32, kinds=SOLID + FLAT),
        lambda drawn: len(set(area(drawn) > 0)) == 2,
    ),
    "two arrays, one empty": (boxes_in_two(np.float32), lambda two: len(two[0]) == 0 < len(two[1])),
    "a box of the first in the second": (
        boxes_in_two(np.float32),
        lambda two: (two[0][:, None] == two[1]).all(axis=-1).any(),
    ),
    "IoU at the threshold and to each side": (
        ious_at(np.float32, 0.45),
        lambda iou: len(set(iou[np.abs(iou - np.float32(0.45)) < 1e-6].tolist())) == 3,
    ),
    "distinct IoU all within some ULP of the threshold": (
        distinct_ious(np.float32, 0.5),
        lambda iou: iou.size > 3 and np.abs(iou - np.float32(0.5)).max() < 1e-6,
    ),
    "distinct IoU of 1": (distinct_ious(np.float32, 1.0), lambda iou: iou.max() == 1),
    "distinct IoU and none": (distinct_ious(np.float32, 0.5), lambda iou: 0 in iou),
    **{
        f"a threshold {where} an IoU": (
            boxes_at_threshold(np.float32),
            lambda drawn, step=step: (
                len(drawn[0]) == 2
                and 0.01 < overlap(drawn[0]) < 1
                and drawn[1] == threshold_of(np.float32, overlap(drawn[0]), step)
            ),
        )
        for where, step in (("below", -1), ("at", 0), ("above", 1))
    },
    "a batch without pictures": (
        batches_of_objects(np.float32),
        lambda batch: len(batch.pictures) == 0,
    ),
    "a picture without objects beside one with some": (
        batches_of_objects(np.float32),
        lambda batch: {len(labels) > 0 for _, labels in batch.pictures} == {True, False},
    ),
    "padding before an object": (
        batches_of_objects(np.float32),
        lambda batch: (np.diff(batch.labels) > 1).any(),
    ),
    "padding that is no number": (
        batches_of_objects(np.float32),
        lambda batch: np.isnan(batch.boxes).any(),
    ),
    "no anchors but a picture": (
        heads(np.float32),
        lambda drawn: drawn.labels.shape[0] > 0 == drawn.labels.shape[1],
    ),
    "a positive that is far off": (
        heads(np.float32, extremes),
        lambda drawn: (np.abs(drawn.deltas[drawn.labels > 0]) == largest(np.float32)).any(),
    ),
    "all is padding": (
        heads(np.float32, labels=(-1, 0, 1)),
        lambda drawn: drawn.labels.size > 1 and (drawn.labels == -1).all(),
    ),
    "detections of equal scores": (
        loads(),
        lambda drawn: any(len(set(row.tolist())) < len(row) for row in drawn.scores),
    ),
    "a picture without detections or objects": (
        loads(),
        lambda drawn: any(
            len(labels) == len(scores) == 0
            for labels, scores in zip(drawn.truth_labels, drawn.scores, strict=True)
        ),
    ),
    "equal objects": (
        loads(),
        lambda drawn: any(len(np.unique(b, axis=0)) < len(b) for b in drawn.truth_boxes),
    ),
}


@pytest.mark.parametrize("case", REACHED)
def test_strategies_reach(case):
    strategy, reaches = REACHED[case]
    assert reaches(search(strategy, reaches)), case
