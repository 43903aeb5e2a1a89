"""`keras_impl.ops.matching` against `reference_numpy.matching`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl.backends import in_mode, modes
from keras_impl.ops import matching
from reference_numpy import boxes, matching as reference
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import SSDLITE320, UNMATCHED
from reference_numpy.testing.cases import GRID, MATCHING

ROOM = 4


def padded(case):
    """Boxes (1, ROOM, 4) and where they are objects."""
    batch = np.zeros((1, ROOM, 4), np.float32)
    batch[0, : len(case.boxes)] = np.reshape(case.boxes, (-1, 4))
    return batch, np.arange(ROOM)[None] < len(case.boxes)


@pytest.fixture(scope="module", params=modes())
def match(request):
    return in_mode(matching.match, request.param)


@pytest.mark.parametrize("case", MATCHING, ids=lambda case: case.name)
def test_cases_worked_by_hand(match, case):
    got = match(*padded(case), np.array(GRID, np.float32))

    assert got.dtype == np.int32
    assert got[0].tolist() == list(case.answer)


def test_padding_in_between_changes_nothing(match):
    case = next(case for case in MATCHING if case.name == "three equal objects")
    batch, valid = padded(case)
    order = [3, 0, 1, 2]  # a row of padding first

    got = match(batch[:, order], valid[:, order], np.array(GRID, np.float32))

    assert got[0].tolist() == [-1 if one < 0 else one + 1 for one in case.answer]


def test_what_padding_holds_changes_nothing(match):
    case = next(case for case in MATCHING if case.name == "the better object wins an anchor")
    batch, valid = padded(case)
    batch[0, 2] = np.nan
    batch[0, 3] = [0, 0, 0.5, 0.5]

    got = match(batch, valid, np.array(GRID, np.float32))

    assert got[0].tolist() == list(case.answer)


@pytest.mark.parametrize("mode", modes())
def test_no_room_for_objects(mode):
    got = in_mode(matching.match, mode)(
        np.zeros((2, 0, 4), np.float32), np.zeros((2, 0), bool), np.array(GRID, np.float32)
    )
    assert got.tolist() == [[UNMATCHED] * 6] * 2


@pytest.mark.parametrize("mode", modes())
def test_more_objects_than_anchors(mode):
    """Nine equal objects, six anchors: the first six objects in turn, and nothing hangs."""
    whole = np.tile(np.array([0, 0, 1, 1], np.float32), (1, 9, 1))
    grid = np.array(GRID, np.float32)

    got = in_mode(matching.match, mode)(whole, np.ones((1, 9), bool), grid)

    iou = boxes.pairwise_iou(whole[0], boxes.cxcywh_to_xyxy(grid))
    assert got[0].tolist() == reference.match(iou).tolist()
    assert sorted(got[0].tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("mode", "threshold"),
    [
        pytest.param(mode, threshold, marks=[] if first else [pytest.mark.thorough])
        for mode in modes()
        for threshold in (0.25, 0.5, 1.0)
        for first in [mode == "eager" or threshold == 0.25]  # compiling takes seconds
    ],
)
def test_threshold_is_obeyed(mode, threshold):
    case = next(case for case in MATCHING if case.name == "one object, many anchors")
    batch, valid = padded(case)
    grid = np.array(GRID, np.float32)

    def match(*tensors):
        return matching.match(*tensors, threshold=threshold)

    got = in_mode(match, mode)(batch, valid, grid)

    iou = boxes.pairwise_iou(batch[0, :1], boxes.cxcywh_to_xyxy(grid))
    assert got[0].tolist() == reference.match(iou, threshold=threshold).tolist()


@pytest.mark.parametrize("mode", modes())
def test_bipartite_is_the_reference(mode):
    """Crowded, so that many objects lose their best anchor and must look again."""
    generator = np.random.default_rng(7)
    anchors = make_anchors(SSDLITE320, np.float32)
    corners = boxes.cxcywh_to_xyxy(anchors)
    low = generator.integers(0, 4, (3, 40, 2)) / 8
    batch = np.concatenate([low, low + 0.25], axis=-1).astype(np.float32)
    valid = np.ones((3, 40), bool)

    def forced(box, valid, anchors):
        iou = [boxes.pairwise_iou(one, corners) for one in batch]
        best_iou = np.stack([one.max(axis=1) for one in iou])
        best_anchor = np.stack([one.argmax(axis=1) for one in iou]).astype(np.int32)
        return matching.bipartite(box, valid, anchors, best_iou, best_anchor)

    got = in_mode(forced, mode)(batch, valid, anchors)

    for image in range(3):
        wanted = reference.bipartite(boxes.pairwise_iou(batch[image], corners))
        np.testing.assert_array_equal(got[image], wanted)


def eagerly(boxes_, valid, anchors, **rules):
    def match(*tensors):
        return matching.match(*tensors, **rules)

    return in_mode(match, "eager")(boxes_, valid, anchors)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"iou_offset": 0.2},
        {"iou_offset": 1.0},
        {"iou_epsilon": 0.05, "threshold": 0.4},
        {"force": "last", "positive_at": ">"},
        {"force": "first", "force_above": 0.2},
        {"force": "none", "threshold": 0.25},
        {"ignore_from": 0.25},
        {"ignore_from": 0.0, "force": "none"},
    ],
    ids=str,
)
def test_rules_mean_the_same(rules, dtype):
    """Nine objects an image on six anchors, an image of three and one of none; many ties."""
    low = np.random.default_rng(11).integers(0, 4, (3, 9, 2)) / 8
    batch = np.concatenate([low, np.add(low, [0.5, 0.25])], axis=-1).astype(dtype)
    valid = np.arange(9) < np.array([9, 3, 0])[:, None]
    grid = np.array(GRID, dtype)

    got = eagerly(batch, valid, grid, **rules)

    assert got.dtype == np.int32
    for image in range(3):
        own = batch[image, valid[image]]
        iou = boxes.pairwise_iou(own, boxes.cxcywh_to_xyxy(grid), **rules)
        assert got[image].tolist() == reference.match(iou, **rules).tolist()


def test_limits_are_numbers_of_the_dtype():
    """An IoU between .7 and the float32 beside it, which is less: reached in neither way."""
    anchors = np.array([[0.5, 0.5, 1.0, 1.0]])
    below = np.array([[[0.0, 0.0, 1.0, 0.7 - 4e-9]]])
    assert np.float32(0.7) < below[0, 0, 3] < 0.7
    valid = np.array([[True]])
    assert eagerly(below, valid, anchors, threshold=0.7, force="none").tolist() == [[-1]]
    near = {"threshold": 0.9, "ignore_from": 0.7, "force": "none"}
    assert eagerly(below, valid, anchors, **near).tolist() == [[-1]]
    # And one between .3 and the float32 beside it, which is more.
    above = np.array([[[0.0, 0.0, 1.0, 0.3 + 4e-9]]])
    assert 0.3 < above[0, 0, 3] < np.float32(0.3)
    for force in ("bipartite", "last"):
        best = {"threshold": 0.9, "force": force, "force_above": 0.3}
        assert eagerly(above, valid, anchors, **best).tolist() == [[0]], force


def test_a_threshold_that_is_no_number_of_the_dtype_is_an_error():
    batch, valid = padded(MATCHING[1])
    with pytest.raises(ValueError, match=r"^threshold: expected a number in \(0, 1\]\. .*1e-50$"):
        matching.match(batch, valid, np.array(GRID, np.float32), threshold=1e-50)
    assert eagerly(batch.astype("f8"), valid, np.array(GRID), threshold=1e-50).shape == (1, 6)
