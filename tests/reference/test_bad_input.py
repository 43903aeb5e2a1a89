"""Every public function of the reference against bad input: a clear error or the defined answer.

tests/bad_input.py is the table, and what spoils a valid call.
"""

from __future__ import annotations

import numpy as np
import pytest

import reference_numpy
from tests.bad_input import (
    BOXES,
    EXPLAINED,
    REFERENCE,
    Subject,
    cases,
    check,
    check_message,
    explanation,
    function_of,
    has_nan,
    in_row,
    judge,
    modules_of,
    parts,
    public_functions,
    quiet,
    same,
    shows,
)

PUBLIC = dict(public_functions("reference_numpy", modules_of(reference_numpy)))


def titles(subjects: tuple[Subject, ...]) -> list[str]:
    """Names of the tests: of several about one function also their place."""
    return [f"{number}-{subject.name}" for number, subject in enumerate(subjects)]


@pytest.mark.parametrize("subject", REFERENCE, ids=titles(REFERENCE))
def test_a_spoilt_call_is_refused_or_has_a_defined_answer(subject):
    count, wrong = judge(subject, function_of("reference_numpy", subject.name))
    assert count > 0
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("subject", REFERENCE, ids=titles(REFERENCE))
def test_the_call_that_is_spoilt_is_a_valid_one(subject):
    answer = function_of("reference_numpy", subject.name)(**subject.given)
    assert not any(map(has_nan, parts(answer)))


def test_every_public_function_is_in_the_table_or_says_why_not():
    table = {subject.name for subject in REFERENCE}
    missing = [name for name in PUBLIC if name not in table and not explanation(name, EXPLAINED)]
    assert missing == []


def test_every_array_of_a_function_is_spoilt_somewhere():
    spoilt: dict[str, set[str]] = {}
    arrays: dict[str, set[str]] = {}
    for subject in REFERENCE:
        spoilt.setdefault(subject.name, set()).update(subject.arrays)
        spoilt[subject.name].update(name for change, _ in subject.wrong for name in change)
        arrays.setdefault(subject.name, set()).update(
            name for name, value in subject.given.items() if isinstance(value, np.ndarray)
        )
    assert {
        name: arrays[name] - spoilt[name] for name in arrays if arrays[name] - spoilt[name]
    } == {}


# --- the table bites ------------------------------------------------------------------------------

AREA = Subject("boxes.area", {"boxes": BOXES}, {"boxes": "boxes ... 4"})


def refusing(message):
    """A function that always says this."""

    def function(boxes):
        raise ValueError(message)

    return function


def test_a_function_that_takes_anything_fails_every_case_that_is_to_be_refused():
    count, wrong = judge(AREA, lambda boxes: 0.0)
    assert len(wrong) == count - 1, "but for no boxes, which have an answer"
    assert all("expected an error. Received: 0.0" in line for line in wrong)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("oops", r"not `name\[index\]: expected"),
        ("scores: expected floats. Received: 1", "expected boxes to be named"),
        ("boxes: must be floats. Received: int64", r"not `name\[index\]: expected"),
        ("boxes: expected floats", r"not `name\[index\]: expected"),
        ("boxes: expected a box. Received: int64", r"not expected "),
        ("boxes: expected floats. Received: 7", "what was received is not said"),
    ],
)
def test_an_error_that_says_too_little_fails(message, complaint):
    case = next(cases(AREA))
    with pytest.raises(AssertionError, match=complaint):
        check(case, refusing(message))


@pytest.mark.parametrize(
    ("where", "value", "complaint"),
    [
        ("[2]", "[0.5, 0.0, 1.0, nan]", None),
        ("[2, 3]", "nan", None),
        ("", "nan", "the index is not said"),
        ("[1]", "nan", "expected index"),
        ("[2, 2]", "nan", "expected index"),
        ("[2, 3]", "0.5", "what was received is not said"),
    ],
)
def test_an_index_must_be_the_one_that_was_spoilt(where, value, complaint):
    nan = next(case for case in cases(AREA) if case.how == "nan")
    assert nan.index == (2, 3)
    error = ValueError(f"boxes{where}: expected numbers. Received: {value}")
    if complaint is None:
        return check_message(nan, error)
    with pytest.raises(AssertionError, match=complaint):
        check_message(nan, error)


def spoilt(how, subject=AREA):
    return next(case for case in cases(subject) if case.how == how)


@pytest.mark.parametrize(
    ("outcome", "right", "wrong"),
    [
        (quiet, [0.0, 1.0, 2.0], [0.0, np.nan, 2.0]),
        (same, [1.0, 2.0, 3.0], [1.0, 2.0, 4.0]),
        (shows, [1.0, 2.0, np.nan], [1.0, np.nan, np.nan]),
        (shows, [1.0, 2.0, np.nan], [1.0, 2.0, 3.0]),
        (in_row, [1.0, 2.0, 77.0], [1.0, 77.0, 3.0]),
    ],
)
def test_an_outcome_tells_right_from_wrong(outcome, right, wrong):
    valid = np.array([1.0, 2.0, 3.0])
    outcome(spoilt("nan"), np.array(right), valid)
    with pytest.raises(AssertionError):
        outcome(spoilt("nan"), np.array(wrong), valid)
