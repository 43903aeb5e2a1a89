"""The judges are judged: a wrong answer must be called wrong, and an excuse needs its witness."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl.conformance.budgets import budget
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import ask, settled
from keras_impl.conformance.verdicts import Verdict
from keras_impl.parity import table as parity
from keras_impl.parity.implementations import KERAS, UNFUSED
from reference_numpy import boxes, matching
from reference_numpy.boxes import cxcywh_to_xyxy
from reference_numpy.conventions import CANONICAL
from reference_numpy.testing.cases import GRID

SOFT = CANONICAL.replace(soft_sigma=0.5)  # which has no place for nms
# Nothing is fused, and of one batch eager mode makes no graph.
PLAIN = "eager"
COMPARED = [op for op, operation in OPERATIONS.items() if operation.compiled]


def convention_of(op: str):
    """What an operation is judged by: canonical, with the numbers of its comparison."""
    return settled(KERAS, op, OPERATIONS[op].settings)


@pytest.fixture(scope="module", params=COMPARED)
def answered(request):
    """An operation, its last batch of cases, and the right answer to it."""
    op = request.param
    *_, inputs = OPERATIONS[op].workloads(np.random.default_rng(2), "float32", 8)
    return op, inputs, ask(KERAS, op, inputs, PLAIN, OPERATIONS[op].settings)


def judged(op: str, inputs, outputs, excuses: bool = False) -> Verdict:
    return OPERATIONS[op].judge(inputs, tuple(outputs), "float32", excuses, convention_of(op))


def is_wrong(op: str, verdict: Verdict) -> bool:
    return verdict.mismatches > 0 or verdict.error > budget(op, convention_of(op)).eps


def damaged(values: np.ndarray) -> np.ndarray:
    """The same with one element changed: the one in the middle of those that are not 0."""
    changed = np.array(values)
    spots = np.flatnonzero(changed != 0)
    spot = spots[len(spots) // 2] if len(spots) else 0
    flat = changed.reshape(-1)
    if changed.dtype == bool:
        flat[spot] = not flat[spot]
    elif np.issubdtype(changed.dtype, np.integer):
        flat[spot] += 1
    else:
        flat[spot] += 1e-2 * (1 + abs(flat[spot]))
    return changed.reshape(np.shape(values))


def test_the_right_answer_is_right(answered):
    op, inputs, outputs = answered
    assert not is_wrong(op, judged(op, inputs, outputs))


def test_a_damaged_answer_is_wrong_whichever_part_is_damaged(answered):
    op, inputs, outputs = answered
    for part in range(len(outputs)):
        broken = [damaged(value) if i == part else value for i, value in enumerate(outputs)]
        assert is_wrong(op, judged(op, inputs, broken, excuses=True)), f"{op}: output {part}"


def test_nan_is_wrong(answered):
    op, inputs, outputs = answered
    for part, value in enumerate(outputs):
        if np.issubdtype(value.dtype, np.floating):
            broken = list(outputs)
            broken[part] = np.full_like(value, np.nan)
            assert is_wrong(op, judged(op, inputs, broken, excuses=True)), f"{op}: output {part}"


def test_an_error_just_over_the_budget_is_wrong_and_just_below_is_right():
    inputs = (np.array([[0.0, 0.0, 0.5, 0.25]], np.float32),)
    unit = 0.125 * np.finfo(np.float32).eps  # eps × the area
    for factor, wrong in ((1, False), (3, True)):
        got = np.array([0.125 + factor * unit], np.float32)
        assert is_wrong("area", judged("area", inputs, [got])) is wrong


def test_anchors_in_another_order_are_wrong():
    inputs = (np.zeros((), np.float32),)
    right = ask(KERAS, "make_anchors", inputs)
    assert judged("make_anchors", inputs, right).mismatches == 0
    assert judged("make_anchors", inputs, [right[0][::-1]]).mismatches == 1


def near_tie(gap: float):
    """One object between the two upper quarters, nearer to the second by `gap` eps."""
    shift = gap * np.finfo(np.float32).eps / 4
    box = np.array([[[0.25 + shift, 0.0, 0.75 + shift, 0.5]]], np.float32)
    return box, np.array([[1]], np.int32), np.array(GRID, np.float32)


def flipped(inputs) -> np.ndarray:
    """The reference's answer with the two upper quarters exchanged."""
    box, _, anchors = inputs
    answer = matching.match(boxes.pairwise_iou(box[0], cxcywh_to_xyxy(anchors)))
    return answer[[1, 0, 2, 3, 4, 5]][None].astype(np.int32)


def test_a_flipped_near_tie_is_excused_where_excuses_are_allowed():
    inputs = near_tie(2)
    assert judged("match", inputs, [flipped(inputs)], excuses=True) == Verdict(1, 0, 1)
    assert judged("match", inputs, [flipped(inputs)], excuses=False) == Verdict(1, 1, 0)


def test_a_flip_that_rounding_cannot_explain_is_wrong():
    inputs = near_tie(400)
    assert judged("match", inputs, [flipped(inputs)], excuses=True) == Verdict(1, 1, 0)


def test_an_anchor_just_below_the_threshold_may_be_taken_and_one_well_below_may_not():
    """The left half of the image is half of the whole: 1/2, then a little less."""
    for gap, verdict in ((2, Verdict(1, 0, 1)), (400, Verdict(1, 1, 0))):
        short = 1 - gap * np.finfo(np.float32).eps
        inputs = (
            np.array([[[0.0, 0.0, 0.5, short]]], np.float32),
            np.array([[1]], np.int32),
            np.array(GRID, np.float32),
        )
        answer = np.array([[-1, -1, -1, -1, 0, 0]], np.int32)
        answer[0, [0, 2]] = 0  # the left quarters are 1/2 of it, or a little more
        wanted = matching.match(boxes.pairwise_iou(inputs[0][0], cxcywh_to_xyxy(inputs[2])))
        assert wanted[5] == -1
        answer[0, 2] = wanted[2]
        assert judged("match", inputs, [answer], excuses=True) == verdict


def test_suppression_at_the_threshold_needs_a_witness_too():
    """The second box is half of the first, or a little more."""
    for gap, verdict in ((2, Verdict(1, 0, 1)), (400, Verdict(1, 1, 0))):
        more = 0.5 + gap * np.finfo(np.float32).eps
        inputs = (
            np.array([[[0, 0, 1, 1], [0, 0, 1, more]]], np.float32),
            np.array([[2, 1]], np.float32),
        )
        kept_both, kept_one = np.array([[0, 1]], np.int32), np.array([[0, -1]], np.int32)
        assert judged("nms", inputs, [kept_one], excuses=True) == Verdict(1)
        assert judged("nms", inputs, [kept_both], excuses=True) == verdict
        assert judged("nms", inputs, [kept_both], excuses=False) == Verdict(1, 1, 0)


@pytest.mark.parametrize("op", ["match", "assign_targets"])
@pytest.mark.parametrize(("rows", "anchors"), [(0, GRID), (2, ()), (0, ())])
def test_lists_without_rows_and_layouts_without_anchors_are_judged(op, rows, anchors):
    inputs = (
        np.tile(np.float32([0.0, 0.0, 0.5, 0.5]), (3, rows, 1)),
        np.ones((3, rows), np.int32),
        np.array(anchors, np.float32).reshape(-1, 4),
    )
    outputs = ask(KERAS, op, inputs, PLAIN)
    assert judged(op, inputs, outputs) == Verdict(3)
    if anchors:
        first, *others = outputs
        first = first.copy()
        first[1, 4] += 1
        assert judged(op, inputs, [first, *others]) == Verdict(3, 1)


def test_a_mirror_that_breaks_ties_to_the_last_fails(monkeypatch):
    def last_argmax(values):
        from keras import ops

        count = values.shape[-1]
        largest = ops.max(values, axis=-1)
        positions = ops.arange(count, dtype="int32")
        return largest, ops.max(ops.where(values == largest[..., None], positions, -1), axis=-1)

    monkeypatch.setattr("keras_impl.ops.matching.first_argmax", last_argmax)
    report = parity.run(cases=8, ops=["match"], modes=["eager"], dtypes=["float32"])
    assert not report.passed
    assert report.checks[0].mismatches > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cases": 0}, "cases: expected 1 or more. Received: 0"),
        ({"seed": -1}, "seed: expected 0 or more. Received: -1"),
        ({"ops": ["iuo"]}, r"ops: expected some of .* Received: 'iuo'"),
        (
            {"ops": ["nms"], "convention": SOFT.replace(name="soft")},
            r"ops: .* 'soft' uses. Received: 'nms'",
        ),
        pytest.param(
            {"convention": SOFT.replace(name="soft")},
            "convention: expected one of the presets .*'soft'",
            marks=pytest.mark.skipif(
                UNFUSED is None, reason="this backend of Keras traces nothing"
            ),
        ),
        ({"modes": ["odd"]}, r"modes: expected some of .* Received: 'odd'"),
        ({"dtypes": []}, "dtypes: expected some of"),
        ({"ops": ["area", "match"], "modes": ["host"]}, "one that area can run in"),
    ],
)
def test_what_cannot_be_run_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        parity.run(**options)
