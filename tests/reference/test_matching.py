"""Matching: IoU matrices a person can read, laws, and a literal brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from reference_numpy.boxes import cxcywh_to_xyxy, pairwise_iou
from reference_numpy.conventions import CANONICAL, IGNORED, UNMATCHED
from reference_numpy.matching import bipartite, match
from tests.strategies import FLOATS, dtypes, grid_boxes, iou_matrices, ious_at

_, X = UNMATCHED, IGNORED
NAN = np.nan

thresholds = st.sampled_from([0.25, 0.5, 0.75, 1.0])

# --- worked by hand ------------------------------------------------------------------------------

# Rows are objects, columns anchors; then the anchor of each object, and, at threshold .5, the
# object of each anchor.
WORKED = {
    "one object": ([[0.2, 0.6, 0.4]], [1], [_, 0, _]),
    "best is below the threshold": ([[0.2, 0.3, 0.1]], [1], [_, 0, _]),
    "the threshold exactly is enough": ([[0.7, 0.5, 0.4999]], [0], [0, 0, _]),
    "tie of anchors: the lowest": ([[0.3, 0.4, 0.4]], [1], [_, 0, _]),
    "tie of objects: the lowest": ([[0.4], [0.4]], [0, _], [0]),
    "tie of pairs: object before anchor": ([[0.0, 0.4], [0.4, 0.0]], [1, 0], [1, 0]),
    "tie in the second step: the lowest object": (
        [[0.9, 0.0, 0.6], [0.0, 0.9, 0.6]],
        [0, 1],
        [0, 1, 0],
    ),
    "the second step takes the best object": (
        [[0.9, 0.0, 0.6], [0.0, 0.9, 0.7]],
        [0, 1],
        [0, 1, 1],
    ),
    "two objects, one best anchor: both get one": ([[0.8, 0.3], [0.9, 0.1]], [1, 0], [1, 0]),
    "the first step takes from an anchor's best object": (
        # Anchor 1 overlaps object 0 more, but is all that object 1 has.
        [[0.9, 0.8], [0.7, 0.6]],
        [0, 1],
        [0, 1],
    ),
    "the largest of all first, not the first object": (
        # Object by object, 0 would take anchor 0 and leave .1 to object 1.
        [[0.5, 0.4], [0.6, 0.1]],
        [1, 0],
        [1, 0],
    ),
    "three in a chain": (
        # .9 takes anchor 0, so object 0 goes to anchor 1 (.7 > .6), so object 2 to anchor 2.
        [[0.8, 0.7, 0.1], [0.9, 0.1, 0.1], [0.1, 0.6, 0.2]],
        [1, 0, 2],
        [1, 0, 2],
    ),
    "duplicates": ([[0.8, 0.6, 0.55]] * 2, [0, 1], [0, 1, 0]),
    "more objects than anchors": ([[0.2], [0.4], [0.3]], [_, 0, _], [1]),
    "no overlap, no anchor": ([[0.0, 0.0], [0.0, 0.3]], [_, 1], [_, 1]),
    "left without an overlapping anchor": ([[0.3, 0.0], [0.4, 0.0]], [_, 0], [1, _]),
    "the least overlap is one": ([[0.0, 1e-30]], [1], [_, 0]),
    "exact": ([[1.0, 1.0], [0.0, 1.0]], [0, 1], [0, 1]),
    "no overlap at all": ([[0.0, 0.0]], [_], [_, _]),
    "no objects": (np.zeros((0, 3)), [], [_, _, _]),
    "no anchors": (np.zeros((2, 0)), [_, _], []),
    "nothing": (np.zeros((0, 0)), [], []),
    # Where programs disagree; these are Caffe's answers.
    "A": ([[0.4, 0.35, 0.0], [0.6, 0.1, 0.0]], [1, 0], [1, 0, _]),
    "B": ([[0.6, 0.1, 0.0], [0.4, 0.35, 0.0]], [0, 1], [0, 1, _]),
    "C": ([[0.0, 0.7, 0.6], [0.0, 0.0, 0.0]], [1, _], [_, 0, 0]),
    "D": ([[0.7, 0.6, 0.2], [0.7, 0.6, 0.2]], [0, 1], [0, 1, _]),
    "an object that overlaps nothing beside one that does": (
        [[0.0, 0.45, 0.0], [0.0, 0.0, 0.0]],
        [1, _],
        [_, 0, _],
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", WORKED)
def test_worked_by_hand(case, dtype):
    iou, anchor_of_object, object_of_anchor = WORKED[case]
    iou = np.array(iou, dtype)
    for found, expected in (
        (bipartite(iou), anchor_of_object),
        (match(iou, threshold=0.5), object_of_anchor),
    ):
        assert found.dtype == np.int64
        assert found.tolist() == expected, case


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.1, [0, 0, 0, 0]),
        (0.3, [0, 0, 0, 0]),
        (0.30001, [0, 0, _, 0]),
        (0.7, [0, 0, _, _]),
        (1.0, [0, _, _, _]),  # the best anchor alone
    ],
)
def test_the_threshold_decides_in_the_second_step_only(threshold, expected):
    assert match(np.array([[0.8, 0.7, 0.3, 0.5]]), threshold=threshold).tolist() == expected


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6, 0.7, 1 / 3])
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_threshold_is_compared_in_the_dtype_of_the_iou(threshold, dtype):
    # In float32 .7 is smaller than .7 and 1/3 larger than 1/3; both meet their threshold.
    met = dtype(threshold)
    iou = np.array([[0.9, met, np.nextafter(met, dtype(0))]], dtype)
    assert match(iou, threshold=threshold).tolist() == [0, 0, _]
    assert match(iou, threshold=np.float64(threshold)).tolist() == [0, 0, _]


# --- other answers, by hand ----------------------------------------------------------------------

MATRICES = {
    "A": [[0.4, 0.35, 0.0], [0.6, 0.1, 0.0]],
    "B": [[0.6, 0.1, 0.0], [0.4, 0.35, 0.0]],
    "C": [[0.0, 0.7, 0.6], [0.0, 0.0, 0.0]],
    "D": [[0.7, 0.6, 0.2], [0.7, 0.6, 0.2]],
}
# Rule, least overlap; then the object of each anchor in A, B, C and D. Canonical answers are in
# WORKED.
FORCED = {
    # Both objects like anchor 0 best, in A, B and D, and the last one has it. Anchor 1 is free:
    # .35 is too little, and of two times .6 the lowest object's counts.
    ("last", 0.0): ([1, _, _], [1, _, _], [_, 0, 0], [1, 0, _]),
    ("first", 0.0): ([0, _, _], [0, _, _], [_, 0, 0], [0, 0, _]),
    # In C object 1 overlaps nothing: all anchors are its best, and it has the lowest.
    ("last", -1.0): ([1, _, _], [1, _, _], [1, 0, 0], [1, 0, _]),
    ("first", -1.0): ([0, _, _], [0, _, _], [1, 0, 0], [0, 0, _]),
    # By the threshold alone.
    ("none", 0.0): ([1, _, _], [0, _, _], [_, 0, 0], [0, 0, _]),
    # Of .4 and .6 only the second is forced. In C and D both thresholds are passed.
    ("last", 0.4): ([1, _, _], [0, _, _], [_, 0, 0], [1, 0, _]),
    # .4 is not more than .4, so object 0 does not go to anchor 1 (.35) either.
    ("bipartite", 0.4): ([1, _, _], [0, _, _], [_, 0, 0], [0, 1, _]),
    # In D nobody is forced on anchor 0 or 1: object 0 has both.
    ("bipartite", 0.7): ([1, _, _], [0, _, _], [_, 0, 0], [0, 0, _]),
    ("last", 0.7): ([1, _, _], [0, _, _], [_, 0, 0], [0, 0, _]),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("force", "above"), FORCED)
def test_who_is_forced_by_hand(force, above, dtype):
    for name, expected in zip(MATRICES, FORCED[force, above], strict=True):
        found = match(np.array(MATRICES[name], dtype), force=force, force_above=above)
        assert found.dtype == np.int64
        assert found.tolist() == expected, name


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("above", "forced"),
    [
        # Objects that overlap their anchor by 0, 1e-7, 1e-6 and 2e-6.
        (-1.0, [0, 1, 2, 3]),
        (0.0, [1, 2, 3]),
        (1e-7, [2, 3]),
        (1e-6, [3]),  # Caffe's
        (1.0, []),
    ],
)
@pytest.mark.parametrize("force", ["bipartite", "last", "first"])
def test_the_least_overlap_that_is_forced_is_compared_in_the_dtype(force, above, forced, dtype):
    if force == "bipartite" and above < 0:
        above = 0.0  # it pairs only what overlaps
        forced = forced[1:]
    iou = np.diag([0.0, 1e-7, 1e-6, 2e-6]).astype(dtype)
    found = match(iou, force=force, force_above=above)
    assert found.tolist() == [index if index in forced else _ for index in range(4)]
    if force == "bipartite":
        assert bipartite(iou, above).tolist() == found.tolist()


def test_at_any_overlap_whoever_has_none_takes_the_first_anchor():
    # Three objects: 1 and 2 overlap nothing, and take anchor 0 from its own object.
    iou = np.array([[0.9, 0.8], [0.0, 0.0], [0.0, 0.0]])
    for force, expected in (("last", [2, 0]), ("first", [0, 0])):
        assert match(iou, force=force, force_above=-1).tolist() == expected


@pytest.mark.parametrize("dtype", FLOATS)
def test_at_the_threshold_or_above_it(dtype):
    # Anchor 0 is forced; 1 is at the threshold of .3, 2 just above, 3 just below.
    at = dtype(0.3)
    iou = [[0.9, at, np.nextafter(at, dtype(1)), np.nextafter(at, dtype(0))]]
    iou = np.array(iou, dtype)
    assert match(iou, threshold=0.3).tolist() == [0, 0, 0, _]
    assert match(iou, threshold=0.3, positive_at=">").tolist() == [0, _, 0, _]
    # Not even a perfect overlap is above 1, but it is forced.
    assert match(np.ones((1, 2), dtype), threshold=1.0, positive_at=">").tolist() == [0, _]


# One object; anchor 0 is forced. Changes, then the object of each anchor.
BAND = [0.9, 0.5, 0.4999, 0.3, 0.2999, 0.0]
IGNORING = {
    "nothing is ignored": ({}, [0, 0, _, _, _, _]),
    "both ends": ({"ignore_from": 0.3}, [0, 0, X, X, _, _]),
    "the threshold itself is no positive": (
        {"ignore_from": 0.3, "positive_at": ">"},
        [0, X, X, X, _, _],
    ),
    "a higher threshold": ({"ignore_from": 0.3, "threshold": 0.6}, [0, X, X, X, _, _]),
    "a forced anchor is not ignored": ({"ignore_from": 0.3, "threshold": 1.0}, [0, X, X, X, _, _]),
    "... but one that is not forced is": (
        {"ignore_from": 0.3, "threshold": 1.0, "force": "none"},
        [X, X, X, X, _, _],
    ),
    "from 0, where nothing is background": ({"ignore_from": 0.0}, [0, 0, X, X, X, X]),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", IGNORING)
def test_what_is_ignored_by_hand(case, dtype):
    overrides, expected = IGNORING[case]
    assert match(np.array([BAND], dtype), **overrides).tolist() == expected, case


def test_an_anchor_is_ignored_for_its_best_object():
    # Anchor 1 is near object 1 alone, anchor 2 positive for one and near the other.
    iou = np.array([[0.9, 0.1, 0.7], [0.0, 0.4, 0.4], [0.0, 0.9, 0.0]])
    assert match(iou, force="none", ignore_from=0.4).tolist() == [0, 2, 0]
    assert match(iou[:2], force="none", ignore_from=0.4).tolist() == [0, X, 0]
    assert match(iou[:2], force="none", ignore_from=0.41).tolist() == [0, _, 0]


def test_without_objects_nothing_is_near_one():
    assert match(np.zeros((0, 2)), ignore_from=0.0).tolist() == [_, _]


# --- laws ----------------------------------------------------------------------------------------


@given(st.data(), dtypes, thresholds)
def test_every_decision_is_what_the_rule_says(data, dtype, threshold):
    iou = data.draw(iou_matrices(dtype))
    first, found = bipartite(iou), match(iou, threshold=threshold)

    assert (first.shape, found.shape) == (iou.shape[:1], iou.shape[1:])
    taken = first[first != UNMATCHED]
    assert len(set(taken)) == len(taken), "an anchor was given twice"
    for index, anchor in enumerate(first):
        if anchor != UNMATCHED:
            assert iou[index, anchor] > 0, "a pair that does not overlap"
            assert found[anchor] == index, "the second step took an anchor from the first"
    for anchor, index in enumerate(found):
        if anchor not in taken:
            column = iou[:, anchor].tolist()
            best = max(column, default=0)
            assert index == (column.index(best) if best >= threshold else UNMATCHED)


@given(st.data(), dtypes, thresholds)
def test_objects_that_overlap_nothing_change_nothing(data, dtype, threshold):
    # As the padding of a batch: rows of zeros, behind the others or among them.
    iou = data.draw(iou_matrices(dtype))
    place = data.draw(st.integers(0, len(iou)))
    padded = np.insert(iou, [place, len(iou)], 0, axis=0)
    rows = np.delete(np.arange(len(iou) + 2), [place, len(iou) + 1])

    expected = match(iou, threshold=threshold)
    matched = expected != UNMATCHED
    expected[matched] = rows[expected[matched]]
    assert match(padded, threshold=threshold).tolist() == expected.tolist()


@given(st.data(), dtypes, thresholds)
def test_anchors_that_overlap_nothing_change_nothing(data, dtype, threshold):
    iou = data.draw(iou_matrices(dtype))
    place = data.draw(st.integers(0, iou.shape[1]))
    found = match(np.insert(iou, place, 0, axis=1), threshold=threshold)
    assert found[place] == UNMATCHED
    assert np.delete(found, place).tolist() == match(iou, threshold=threshold).tolist()


@given(st.data(), dtypes)
def test_a_lower_threshold_only_adds(data, dtype):
    iou = data.draw(iou_matrices(dtype))
    strict, loose = match(iou, threshold=0.75), match(iou, threshold=0.25)
    kept = strict != UNMATCHED
    assert loose[kept].tolist() == strict[kept].tolist()


@given(st.data(), dtypes)
def test_objects_with_an_anchor_of_their_own_are_all_found(data, dtype):
    # Each object is an anchor exactly. Equal objects share the anchors equal to them.
    anchors = data.draw(grid_boxes(dtype, least=1, most=6))
    rows = data.draw(st.lists(st.sampled_from(range(len(anchors))), max_size=4, unique=True))
    iou = pairwise_iou(anchors[rows], anchors)
    own = bipartite(iou)
    assert (iou[np.arange(len(rows)), own] == 1).all()
    assert sorted(set(match(iou)) - {UNMATCHED}) == list(range(len(rows)))


@settings(max_examples=20)
@given(st.data(), dtypes)
def test_the_argument_is_left_alone(data, dtype):
    iou = data.draw(iou_matrices(dtype))
    iou.setflags(write=False)
    match(iou)
    bipartite(iou)


def test_objects_outside_the_image_get_what_they_overlap():
    # In quarters: the anchor reaches beyond the border and there meets object 0 (1/4 of its
    # area of 16, 4 / (16 + 4 - 4)). Object 1 is farther out.
    anchors = cxcywh_to_xyxy(np.array([[0.0, 0.5, 1.0, 1.0], [1.0, 0.5, 0.5, 0.5]]))
    objects = np.array([[-0.5, 0.0, 0.0, 0.5], [-2.0, 0.0, -1.0, 1.0]])
    iou = pairwise_iou(objects, anchors)
    assert iou.tolist() == [[0.25, 0.0], [0.0, 0.0]]
    assert match(iou).tolist() == [0, _]


# --- a literal brute force -----------------------------------------------------------------------


def brute_force_bipartite(iou) -> list[int]:
    """The best pair of all that is left, until none overlaps."""
    objects, anchors = map(set, map(range, iou.shape))
    anchor_of_object = [UNMATCHED] * len(objects)
    while pairs := [(-iou[i, j], i, j) for i in objects for j in anchors if iou[i, j] > 0]:
        _, i, j = min(pairs)
        anchor_of_object[i] = j
        objects.remove(i)
        anchors.remove(j)
    return anchor_of_object


def brute_force_match(iou, threshold) -> list[int]:
    own = brute_force_bipartite(iou)
    object_of_anchor = []
    for anchor, column in enumerate(iou.T.tolist()):
        if anchor in own:
            object_of_anchor.append(own.index(anchor))
        elif column and max(column) >= threshold:
            object_of_anchor.append(column.index(max(column)))
        else:
            object_of_anchor.append(UNMATCHED)
    return object_of_anchor


@given(st.data(), dtypes, thresholds)
def test_equals_the_brute_force(data, dtype, threshold):
    iou = data.draw(st.one_of(iou_matrices(dtype), ious_at(dtype, threshold)), "IoU")
    assert bipartite(iou).tolist() == brute_force_bipartite(iou)
    assert match(iou, threshold=threshold).tolist() == brute_force_match(iou, threshold)


@pytest.mark.parametrize("shape", [(2, 3), (3, 2)])
def test_equals_the_brute_force_on_every_small_matrix_of_three_values(shape):
    for cells in product([0.0, 0.25, 0.5], repeat=6):
        iou = np.reshape(cells, shape)
        assert match(iou, threshold=0.5).tolist() == brute_force_match(iou, 0.5), iou


def literal_match(iou, rules) -> list[int]:
    """Any matching, anchor by anchor and object by object."""
    objects, anchors = iou.shape
    found = []
    for column in iou.T.tolist():
        best = max(column, default=-1.0)
        positive = best >= rules.threshold if rules.positive_at == ">=" else best > rules.threshold
        near = rules.ignore_from is not None and best >= rules.ignore_from
        found.append(column.index(best) if positive else IGNORED if near else UNMATCHED)
    taken = {}
    if rules.force == "bipartite":
        pairs = sorted((-iou[i, j], i, j) for i in range(objects) for j in range(anchors))
        for minus, i, j in pairs:
            if -minus > rules.force_above and i not in taken.values() and j not in taken:
                taken[j] = i
    elif rules.force != "none" and anchors:
        for i, row in enumerate(iou.tolist()):
            if max(row) > rules.force_above:
                j = row.index(max(row))
                taken[j] = i if rules.force == "last" else taken.get(j, i)
    return [taken.get(j, free) for j, free in enumerate(found)]


@given(
    st.data(),
    dtypes,
    st.fixed_dictionaries(
        {
            "threshold": st.sampled_from([0.5, 0.75, 1.0]),
            "positive_at": st.sampled_from([">=", ">"]),
            "force": st.sampled_from(["bipartite", "last", "first", "none"]),
            "force_above": st.sampled_from([0.0, 0.25, 0.5]),
            "ignore_from": st.sampled_from([None, 0.0, 0.25]),
        }
    ),
    st.booleans(),
)
def test_every_convention_equals_the_literal_one(data, dtype, overrides, anything):
    if anything and overrides["force"] != "bipartite":
        overrides["force_above"] = -1.0
    convention = CANONICAL.replace(**overrides)
    at = overrides[data.draw(st.sampled_from(["threshold", "force_above", "ignore_from"]), "at")]
    at = 0.5 if at is None or at <= 0 else at
    iou = data.draw(st.one_of(iou_matrices(dtype), ious_at(dtype, at)), "IoU")
    expected = literal_match(iou, convention.matching)
    assert match(iou, convention).tolist() == expected
    assert match(iou, **overrides).tolist() == expected


# --- what is refused -----------------------------------------------------------------------------

FINE = np.array([[0.5, 0.25]])
