"""Mining: which negatives count, by hand, by law, and against a literal brute force."""

from __future__ import annotations

import re
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_numpy.boxes import pairwise_iou
from reference_numpy.mining import Chosen, choose_anchors, mine_hard_negatives
from tests.strategies import FLOATS, dtypes, grid_boxes, tied_scores

NAN, INF = np.nan, np.inf
ratios = st.sampled_from([0.0, 0.5, 1.0, 3.0, 100.0])

# --- one picture by hand --------------------------------------------------------------------------

# Losses, labels, options; then the anchors chosen.
MINING = {
    "3 : 1": ([0.1, 0.2, 0.3, 0.4, 0.5, 0.9], [0, 0, 0, 0, 0, 1], {}, [2, 3, 4]),
    "6 : 2": (
        [0.8, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9],
        [4] + [0] * 6 + [9],
        {},
        [1, 2, 3, 4, 5, 6],
    ),
    "a positive is never chosen": ([0.1, 9.0, 0.2, 9.0], [0, 1, 0, 1], {}, [0, 2]),
    "fewer negatives than asked for": ([0.1, 0.2, 0.3], [0, 1, 0], {}, [0, 2]),
    "positives only": ([0.1, 0.2], [1, 2], {}, []),
    "no positives, no negatives": ([0.1, 0.2, 0.3], [0, 0, 0], {}, []),
    "no positives, but a minimum": ([0.1, 0.3, 0.2], [0, 0, 0], {"min_negatives": 2}, [1, 2]),
    "a minimum above all there are": ([0.1, 0.2], [0, 1], {"min_negatives": 5}, [0]),
    "a minimum below the ratio": (
        [0.1, 0.2, 0.3, 0.4, 0.5],
        [0, 0, 0, 0, 1],
        {"min_negatives": 1},
        [1, 2, 3],
    ),
    "a minimum above the ratio": (
        [0.1, 0.2, 0.3, 0.4],
        [0, 0, 0, 1],
        {"negative_ratio": 1, "min_negatives": 2},
        [1, 2],
    ),
    "a tie goes to the lowest anchor": ([0.5, 0.5, 0.5, 0.5, 0.5], [0, 0, 1, 0, 0], {}, [0, 1, 3]),
    "a tie at the edge": (
        [0.5, 0.9, 0.5, 0.5, 0.1],
        [0, 0, 0, 0, 3],
        {"negative_ratio": 2},
        [0, 1],
    ),
    "a tie with a positive": ([0.5, 0.5, 0.5], [1, 0, 0], {"negative_ratio": 1}, [1]),
    "one and a half is one": ([0.1, 0.2, 9], [0, 0, 1], {"negative_ratio": 1.5}, [1]),
    "twice one and a half is three": (
        [0.1, 0.2, 0.3, 0.4, 9, 9],
        [0, 0, 0, 0, 1, 1],
        {"negative_ratio": 1.5},
        [1, 2, 3],
    ),
    "ratio 0": ([0.1, 0.2], [0, 1], {"negative_ratio": 0}, []),
    "losses of 0": ([0.0, 0.0, 0.0], [0, 1, 0], {"negative_ratio": 1}, [0]),
    "infinite losses": ([0.1, INF, 0.2, INF], [0, 0, 1, 0], {"negative_ratio": 2}, [1, 3]),
    "negative losses": ([-3.0, -1.0, -2.0, 0.0], [0, 0, 0, 1], {"negative_ratio": 2}, [1, 2]),
    "no anchors": ([], [], {"min_negatives": 3}, []),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", MINING)
def test_mining_by_hand(case, dtype):
    losses, labels, options, expected = MINING[case]
    found = mine_hard_negatives(np.array(losses, dtype), np.array(labels, int), **options)
    assert (found.dtype, found.shape) == (np.bool_, (len(losses),))
    assert np.flatnonzero(found).tolist() == expected, case


@given(st.data(), dtypes, ratios, st.integers(0, 4))
def test_mining_equals_the_brute_force(data, dtype, ratio, minimum):
    size = data.draw(st.integers(0, 12))
    losses = data.draw(tied_scores(size, dtype))
    labels = data.draw(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=size, max_size=size))
    found = mine_hard_negatives(
        losses, np.array(labels, int), negative_ratio=ratio, min_negatives=minimum
    )

    hardest = sorted((-losses[i], i) for i in range(size) if labels[i] == 0)
    count = max(floor(ratio * sum(label > 0 for label in labels)), minimum)
    assert np.flatnonzero(found).tolist() == sorted(i for _, i in hardest[:count])


LIMITS = (
    "negative_ratio, min_negatives, max_negatives: expected 0 or more, the minimum within the "
    "maximum. Received: "
)
FINE = {"losses": np.array([0.1, 0.2]), "labels": np.array([0, 1])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"losses": np.zeros(3)},
            "losses, labels: expected one shape (A,). Received: (3,), (2,)",
        ),
        (
            {"losses": np.zeros((1, 2)), "labels": np.zeros((1, 2), int)},
            "losses, labels: expected one shape (A,). Received: (1, 2), (1, 2)",
        ),
        ({"losses": np.array([0.1, NAN])}, "losses[1]: expected a number. Received: nan"),
        (
            {"negative_ratio": -1.0},
            LIMITS + "-1.0, 0, None",
        ),
        (
            {"negative_ratio": NAN},
            LIMITS + "nan, 0, None",
        ),
        (
            {"min_negatives": -2},
            LIMITS + "3.0, -2, None",
        ),
    ],
)
def test_mining_refuses(change, message):
    mine_hard_negatives(**FINE)
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        mine_hard_negatives(**{**FINE, **change})
