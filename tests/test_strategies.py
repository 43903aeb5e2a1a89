"""The strategies keep their promises, and reach the cases that they are there for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from tests.strategies import (
    FLOATS,
    anywhere_boxes,
    dtypes,
    grid_boxes,
    integers,
    iou_matrices,
    numbers,
    tied_scores,
)

BOXES = [grid_boxes, anywhere_boxes]
CORNER = np.array([0.0, 0.0, 1.0, 1.0])


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
    assert (drawn.dtype, drawn.shape) == (np.int8, (4,))
    assert np.isin(drawn, range(4)).all()


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
    "negative numbers": (numbers(2, np.float32, 5.0), lambda array: (array < 0).any()),
}


@pytest.mark.parametrize("case", REACHED)
def test_strategies_reach(case):
    strategy, reaches = REACHED[case]
    quick = settings(max_examples=500, suppress_health_check=list(HealthCheck), database=None)
    assert reaches(find(strategy, reaches, settings=quick)), case
