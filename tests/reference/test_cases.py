"""The worked cases against the reference, and the random ones for what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from reference_numpy.boxes import check_boxes, cxcywh_to_xyxy, pairwise_iou
from reference_numpy.matching import match
from reference_numpy.mining import mine_hard_negatives
from reference_numpy.suppression import nms
from reference_numpy.testing.cases import (
    GRID,
    MATCHING,
    MINING,
    NMS,
    MatchingCase,
    MiningCase,
    NmsCase,
    random_losses,
    random_objects,
    random_scored_boxes,
)
from tests.fingerprints import fingerprint

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", MATCHING, ids=lambda case: case.name)
def test_matching(case: MatchingCase, dtype):
    boxes = np.array(case.boxes, dtype).reshape(-1, 4)
    got = match(pairwise_iou(boxes, cxcywh_to_xyxy(np.array(GRID, dtype))))
    assert tuple(got.tolist()) == case.answer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", MINING, ids=lambda case: case.name)
def test_mining(case: MiningCase, dtype):
    got = mine_hard_negatives(
        np.array(case.losses, dtype),
        np.array(case.labels),
        negative_ratio=case.negative_ratio,
        min_negatives=case.min_negatives,
    )
    assert tuple(np.flatnonzero(got).tolist()) == case.answer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", NMS, ids=lambda case: case.name)
def test_nms(case: NmsCase, dtype):
    boxes = np.array(case.boxes, dtype).reshape(-1, 4)
    got = nms(boxes, np.array(case.scores, dtype), iou_threshold=case.iou_threshold)
    assert tuple(got.tolist()) == case.answer


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_objects(dtype):
    twice = 0
    for seed in range(20):
        boxes, labels = random_objects(np.random.default_rng(seed), 3, 8, 4, dtype)
        again, _ = random_objects(np.random.default_rng(seed), 3, 8, 4, dtype)
        np.testing.assert_array_equal(boxes, again)
        assert boxes.dtype == dtype
        assert set(np.unique(labels)) <= {-1, 1, 2, 3, 4}
        assert not boxes[labels < 0].any()
        check_boxes(boxes[labels > 0])
        for image, own in zip(boxes, labels, strict=True):
            real = image[own > 0]
            twice += len(real) - len(np.unique(real, axis=0))
    assert twice > 20, "duplicates are what these are for"


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_losses(dtype):
    ties = positives = 0
    for seed in range(20):
        losses, labels = random_losses(np.random.default_rng(seed), 3, 50, dtype)
        assert losses.shape == labels.shape == (3, 50)
        assert losses.dtype == dtype
        assert ((losses >= 0) & (losses <= 1)).all()
        ties += losses.size - len(np.unique(losses))
        positives += np.count_nonzero(labels)
    assert ties > 1000
    assert 0 < positives < 20 * 150


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_scored_boxes(dtype):
    ties = 0
    for seed in range(20):
        boxes, scores = random_scored_boxes(np.random.default_rng(seed), 2, 30, 3, dtype)
        assert boxes.shape == (2, 30, 4)
        assert scores.shape == (2, 30, 3)
        assert boxes.dtype == scores.dtype == dtype
        assert ((boxes >= 0) & (boxes <= 1)).all()
        assert (boxes[..., 2:] >= boxes[..., :2]).all()
        ties += scores.size - len(np.unique(scores))
    assert ties > 1000


@pytest.mark.parametrize(
    ("make", "words", "total"),
    [
        pytest.param(
            lambda generator: random_objects(generator, 2, 7, 3, np.float32),
            "float32 (2, 7, 4), int32 (2, 7)",
            -19.7588,
            id="objects",
        ),
        pytest.param(
            lambda generator: random_losses(generator, 3, 9, np.float64),
            "float64 (3, 9), int32 (3, 9)",
            -11.0425,
            id="losses",
        ),
        pytest.param(
            lambda generator: random_scored_boxes(generator, 2, 11, 3, np.float32),
            "float32 (2, 11, 4), float32 (2, 11, 3)",
            0.3429,
            id="scored boxes",
        ),
    ],
)
def test_a_seed_draws_the_same_cases_from_version_to_version(make, words, total):
    """The recorded errors (docs/error-budgets.json) come from these cases.

    A new NumPy may draw others.
    """
    drawn = [one for seed in range(20) for one in make(np.random.default_rng(seed))]
    assert fingerprint(drawn) == (words, pytest.approx(total, abs=0.01))
