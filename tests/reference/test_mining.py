"""Mining: which negatives count, by hand, by law, and against a literal brute force."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, strategies as st

from reference_numpy.boxes import pairwise_iou
from reference_numpy.conventions import CANONICAL
from reference_numpy.mining import Chosen, choose_anchors, mine_hard_negatives
from tests.strategies import FLOATS, dtypes, grid_boxes, tied_scores

NAN, INF = np.nan, np.inf
ratios = st.sampled_from([0.0, 0.5, 1.0, 3.0, 100.0])

# --- one image by hand --------------------------------------------------------------------------

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
    "what counts nowhere is neither": ([0.1, 9.0, 0.2, 9.0], [0, -1, 1, -1], {}, [0]),
    "... and asks for nothing": ([0.1, 0.2, 0.3], [0, -1, 0], {"negative_ratio": 1}, []),
    "one and a half is two": (
        [0.1, 0.2, 0.3, 9],
        [0, 0, 0, 1],
        {"negative_ratio": 1.5, "rounding": "up"},
        [1, 2],
    ),
    "twice one and a half is still three": (
        [0.1, 0.2, 0.3, 0.4, 9, 9],
        [0, 0, 0, 0, 1, 1],
        {"negative_ratio": 1.5, "rounding": "up"},
        [1, 2, 3],
    ),
    "a little is one": ([0.1, 0.2, 9], [0, 0, 1], {"negative_ratio": 0.1, "rounding": "up"}, [1]),
    "... or nothing": ([0.1, 0.2, 9], [0, 0, 1], {"negative_ratio": 0.9}, []),
    "nothing up is nothing": ([0.1, 0.2], [0, 0], {"rounding": "up"}, []),
    "a maximum below the ratio": (
        [0.1, 0.2, 0.3, 0.4, 9],
        [0, 0, 0, 0, 1],
        {"max_negatives": 2},
        [2, 3],
    ),
    "a maximum above the ratio": (
        [0.1, 0.2, 0.3, 0.4, 9],
        [0, 0, 0, 0, 1],
        {"max_negatives": 4},
        [1, 2, 3],
    ),
    "a maximum of none": ([0.1, 9], [0, 1], {"max_negatives": 0}, []),
    "a minimum that is the maximum": (
        [0.1, 0.2, 0.3],
        [0, 0, 0],
        {"min_negatives": 2, "max_negatives": 2},
        [1, 2],
    ),
    "no mining": ([0.1, 0.2, 0.3], [0, 0, 0], {"mining": "none"}, [0, 1, 2]),
    "no mining, whatever the ratio": (
        [0.1, 0.2, 0.3, 0.4],
        [0, -1, 2, 0],
        {"mining": "none", "negative_ratio": 0},
        [0, 3],
    ),
    "one image is a batch": ([0.1, 0.2, 9], [0, 0, 1], {"mining": "batch"}, [0, 1]),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", MINING)
def test_mining_by_hand(case, dtype):
    losses, labels, options, expected = MINING[case]
    found = mine_hard_negatives(np.array(losses, dtype), np.array(labels, int), **options)
    assert (found.dtype, found.shape) == (np.bool_, (len(losses),))
    assert np.flatnonzero(found).tolist() == expected, case


def literal_mining(losses, labels, rules) -> list[int]:
    """The hardest negatives of a list of anchors, in order."""
    hardest = sorted((-loss, index) for index, loss in enumerate(losses) if labels[index] == 0)
    wanted = rules.negative_ratio * sum(label > 0 for label in labels)
    count = max(ceil(wanted) if rules.rounding == "up" else floor(wanted), rules.min_negatives)
    if rules.max_negatives is not None:
        count = min(count, rules.max_negatives)
    if rules.mining == "none":
        count = len(hardest)
    return sorted(index for _, index in hardest[:count])


# Rules of mining, batch or not.
mining_rules = st.fixed_dictionaries(
    {
        "negative_ratio": ratios,
        "min_negatives": st.integers(0, 3),
        "max_negatives": st.sampled_from([None, 3, 5]),
        "rounding": st.sampled_from(["down", "up"]),
    }
)


@given(st.data(), dtypes, mining_rules)
def test_mining_equals_the_brute_force(data, dtype, overrides):
    size = data.draw(st.integers(0, 12))
    losses = data.draw(tied_scores(size, dtype))
    labels = data.draw(st.lists(st.sampled_from([0, 0, 0, 1, 2, -1]), min_size=size, max_size=size))
    found = mine_hard_negatives(losses, np.array(labels, int), **overrides)
    rules = CANONICAL.replace(**overrides).loss
    assert np.flatnonzero(found).tolist() == literal_mining(losses.tolist(), labels, rules)


FINE = {"losses": np.array([0.1, 0.2]), "labels": np.array([0, 1])}


# --- a batch by hand -----------------------------------------------------------------------------

# Losses and labels of two images, and the negatives of each.
BATCHES = {
    "per image": (
        [[9, 1, 2, 3], [8, 7, 6, 5]],
        [[1, 0, 0, 0], [0, 0, 0, 0]],
        {},
        [[1, 2, 3], []],
    ),
    "the hardest of the batch": (
        [[9, 1, 2, 3], [8, 7, 6, 5]],
        [[1, 0, 0, 0], [0, 0, 0, 0]],
        {"mining": "batch"},
        [[], [0, 1, 2]],
    ),
    "ties go to the first image": (
        [[5, 5, 5], [5, 5, 5]],
        [[0, 0, 0], [0, 1, 0]],
        {"mining": "batch"},
        [[0, 1, 2], []],
    ),
    "a minimum of the batch": (
        [[1, 2], [3, 4]],
        [[0, 0], [0, 0]],
        {"mining": "batch", "min_negatives": 3},
        [[1], [0, 1]],
    ),
    "... is one of each image elsewhere": (
        [[1, 2], [3, 4]],
        [[0, 0], [0, 0]],
        {"min_negatives": 1},
        [[1], [1]],
    ),
    "a maximum of the batch": (
        [[9, 1, 2], [9, 3, 4]],
        [[1, 0, 0], [1, 0, 0]],
        {"mining": "batch", "max_negatives": 3},
        [[2], [1, 2]],
    ),
    "a maximum of each image": (
        [[9, 1, 2], [9, 3, 4]],
        [[1, 0, 0], [1, 0, 0]],
        {"max_negatives": 1},
        [[2], [2]],
    ),
    # .5 × 2 is 1 for both together, and up once for each of them.
    "a share is rounded once": (
        [[9, 1, 2], [9, 3, 4]],
        [[1, 0, 0], [1, 0, 0]],
        {"mining": "batch", "negative_ratio": 0.5, "rounding": "up"},
        [[], [2]],
    ),
    "... or once an image": (
        [[9, 1, 2], [9, 3, 4]],
        [[1, 0, 0], [1, 0, 0]],
        {"negative_ratio": 0.5, "rounding": "up"},
        [[2], [2]],
    ),
    "no mining": (
        [[9, 1, 2], [9, 3, 4]],
        [[1, 0, -1], [0, 0, 0]],
        {"mining": "none"},
        [[1], [0, 1, 2]],
    ),
    "no images": (np.zeros((0, 3)), np.zeros((0, 3)), {"mining": "batch"}, []),
    "no anchors": (np.zeros((2, 0)), np.zeros((2, 0)), {"mining": "batch"}, [[], []]),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", BATCHES)
def test_a_batch_by_hand(case, dtype):
    losses, labels, overrides, expected = BATCHES[case]
    losses, labels = np.array(losses, dtype), np.array(labels, int)
    found = choose_anchors(losses, labels, **overrides)
    assert isinstance(found, Chosen)
    for mask in found:
        assert (mask.dtype, mask.shape) == (np.bool_, labels.shape)
    assert [np.flatnonzero(row).tolist() for row in found.negatives] == expected, case
    np.testing.assert_array_equal(found.positives, labels > 0)


# Anchors 0 and 1 say the same box, anchor 2 a half of it (IoU 1/2), anchor 3 one beside it.
SAME = [0.0, 0.0, 0.5, 0.5]
PREDICTED = np.array([[SAME, SAME, [0.0, 0.0, 0.5, 0.25], [0.5, 0.5, 1.0, 1.0]]])

# Losses, labels, changes; then the positives and the negatives that count.
SUPPRESSED = {
    # Anchor 1 has the largest loss, so anchor 0, a positive, falls; without positives 3 : 1 is 0.
    "a positive falls, and asks for nothing": ([1, 5, 4, 2], [1, 0, 0, 0], {}, [], []),
    "... but for a minimum": ([1, 5, 4, 2], [1, 0, 0, 0], {"min_negatives": 2}, [], [1, 2]),
    "the half is at the threshold, and stays": ([6, 5, 4, 2], [1, 0, 0, 0], {}, [0], [2, 3]),
    "the half is above the threshold": (
        [6, 5, 4, 2],
        [1, 0, 0, 0],
        {"mining_nms": 0.49},
        [0],
        [3],
    ),
    "at 1 nothing falls": ([6, 5, 4, 2], [1, 0, 0, 0], {"mining_nms": 1.0}, [0], [1, 2, 3]),
    "a tie: the lowest anchor stays": ([5, 5, 4, 2], [1, 0, 0, 0], {}, [0], [2, 3]),
    "what counts nowhere suppresses, if it is hard": ([6, 5, 4, 2], [-1, 1, 0, 0], {}, [], []),
    "... and not, if it is easy": ([0, 5, 4, 2], [-1, 1, 0, 0], {}, [1], [2, 3]),
    # What IoU is counts: 1/4 of 1/4 + 1/4 is no more than 1/2, so that nothing falls ...
    "an epsilon of the overlap": (
        [6, 5, 4, 2],
        [1, 0, 0, 0],
        {"iou_epsilon": 0.25},
        [0],
        [1, 2, 3],
    ),
    # ... and with half more on every side the half is 3/4 of 1, and falls.
    "an offset of the overlap": ([6, 5, 4, 2], [1, 0, 0, 0], {"iou_offset": 0.5}, [0], [3]),
    # How detections are suppressed is another question.
    "the rules of detection do not count": (
        [5, 5, 4, 2],
        [1, 0, 0, 0],
        {"suppress_at": ">=", "ties": "highest anchor", "iou_threshold": 0.1},
        [0],
        [2, 3],
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", SUPPRESSED)
def test_suppression_before_mining_by_hand(case, dtype):
    losses, labels, overrides, positives, negatives = SUPPRESSED[case]
    found = choose_anchors(
        np.array([losses], dtype),
        np.array([labels]),
        boxes=PREDICTED.astype(dtype),
        **{"mining_nms": 0.5, **overrides},
    )
    assert np.flatnonzero(found.positives).tolist() == positives, case
    assert np.flatnonzero(found.negatives).tolist() == negatives, case


def test_suppression_is_within_each_image():
    losses, labels = np.array([[6.0, 5, 4, 2], [1, 5, 4, 2]]), np.array([[1, 0, 0, 0]] * 2)
    found = choose_anchors(losses, labels, boxes=np.repeat(PREDICTED, 2, axis=0), mining_nms=0.5)
    assert [np.flatnonzero(row).tolist() for row in found.positives] == [[0], []]
    assert [np.flatnonzero(row).tolist() for row in found.negatives] == [[2, 3], []]


def test_without_a_mining_nms_boxes_are_not_looked_at():
    losses, labels = np.array([[6.0, 5, 4, 2]]), np.array([[1, 0, 0, 0]])
    found = choose_anchors(losses, labels, boxes=np.full((7, 7), NAN))
    assert np.flatnonzero(found.negatives).tolist() == [1, 2, 3]


# --- a batch by law ------------------------------------------------------------------------------


def literal_choice(losses, labels, convention, boxes):
    """Positives and negatives that count, as lists of (image, anchor)."""
    rules, labels = convention.loss, labels.copy()
    for image, own in enumerate(labels):
        if rules.mining_nms is None:
            continue
        iou, kept = pairwise_iou(boxes[image], boxes[image], convention), []
        for anchor in sorted(range(own.size), key=lambda a: (-losses[image, a], a)):
            if all(iou[anchor, other] <= rules.mining_nms for other in kept):
                kept.append(anchor)
        own[[anchor for anchor in range(own.size) if anchor not in kept]] = -1
    places = list(np.ndindex(labels.shape))
    images = range(len(labels))
    groups = [[place for place in places if place[0] == image] for image in images]
    negatives = []
    for group in [places] if rules.mining == "batch" else groups:
        mined = literal_mining([losses[p] for p in group], [labels[p] for p in group], rules)
        negatives += [group[index] for index in mined]
    return [place for place in places if labels[place] > 0], sorted(negatives)


HOW = st.sampled_from(["image", "batch", "none", 0.25, 0.5])


@given(st.data(), dtypes, mining_rules, HOW, st.sampled_from([0.0, 0.5]))
def test_the_choice_equals_the_literal_one(data, dtype, overrides, how, offset):
    if how == "none":
        overrides = {"mining": "none"}
    elif how == "batch":
        overrides["mining"] = "batch"
    elif how != "image":
        overrides |= {"mining_nms": how, "iou_offset": offset}
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 5)))
    size = shape[0] * shape[1]
    losses = data.draw(tied_scores(shape, dtype))
    labels = data.draw(st.lists(st.sampled_from([0, 0, 1, -1]), min_size=size, max_size=size))
    labels = np.reshape(labels, shape).astype(int)
    boxes = data.draw(grid_boxes(dtype, least=size, most=size)).reshape(*shape, 4)
    for array in (losses, labels, boxes):
        array.setflags(write=False)

    found = choose_anchors(losses, labels, boxes=boxes, **overrides)
    expected = literal_choice(losses, labels, CANONICAL.replace(**overrides), boxes)
    for mask, places in zip(found, expected, strict=True):
        assert [tuple(place) for place in np.argwhere(mask).tolist()] == places


def test_ties_of_many_go_to_the_lowest():
    """More than a sort of few would leave in order by itself."""
    losses = np.arange(200.0) % 3
    labels = np.where(np.arange(200) < 10, 1, 0)
    hardest = sorted(range(10, 200), key=lambda anchor: (-losses[anchor], anchor))[:30]
    assert np.flatnonzero(mine_hard_negatives(losses, labels)).tolist() == sorted(hardest)
