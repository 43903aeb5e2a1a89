"""Every public function of the reference against bad input: a clear error or the defined answer.

tests/bad_input.py is the table, and what spoils a valid call.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

import reference_numpy
from reference_numpy.boxes import check_boxes
from tests.bad_input import (
    BOXES,
    EXPLAINED,
    KERAS,
    MESSAGES,
    REFERENCE,
    Case,
    Spec,
    Subject,
    by_name,
    cases,
    check,
    check_message,
    check_words,
    explanation,
    function_of,
    has_nan,
    in_row,
    judge,
    messages,
    parts,
    public_functions,
    quiet,
    same,
    shows,
)

MODULES = sorted(path.stem for path in Path(reference_numpy.__file__).parent.glob("[!_]*.py"))
PUBLIC = dict(public_functions("reference_numpy", MODULES))


def titles(subjects: tuple[Subject, ...]) -> list[str]:
    """Names of the tests: of several about one function also their place."""
    return [f"{number}-{subject.name}" for number, subject in enumerate(subjects)]


@pytest.mark.parametrize("subject", REFERENCE, ids=titles(REFERENCE))
def test_a_spoilt_call_is_refused_or_has_a_defined_answer(subject):
    count, wrong = judge(subject, function_of("reference_numpy", subject.name))
    assert count > 0
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong)


@pytest.mark.parametrize(("title", "subject"), by_name(REFERENCE), ids=titles(REFERENCE))
def test_every_word_of_its_errors(title, subject, request):
    found = messages(subject, function_of("reference_numpy", subject.name))
    check_words("reference.json", title, found, write=request.config.getoption("write_messages"))


def test_nothing_is_on_record_that_is_not_asked():
    on_record = json.loads((MESSAGES / "reference.json").read_text())
    assert set(on_record) == {title for title, _ in by_name(REFERENCE)}
    on_record = json.loads((MESSAGES / "keras.json").read_text())
    assert set(on_record) == {title for title, _ in by_name(KERAS)}


@pytest.mark.parametrize("subject", REFERENCE, ids=titles(REFERENCE))
def test_the_call_that_is_spoilt_is_a_valid_one(subject):
    answer = function_of("reference_numpy", subject.name)(**subject.given)
    assert not any(map(has_nan, parts(answer)))


def test_every_public_function_is_in_the_table_or_says_why_not():
    table = {subject.name for subject in REFERENCE}
    missing = [name for name in PUBLIC if name not in table and not explanation(name, EXPLAINED)]
    assert missing == []


def test_every_explanation_is_in_use():
    table = {subject.name for subject in REFERENCE}
    used = {explanation(name, EXPLAINED) for name in PUBLIC if name not in table}
    assert set(EXPLAINED) - used == set()


def test_every_function_with_rules_is_asked_for_rules_that_cannot_be():
    asked = {subject.name for subject in REFERENCE if subject.rules}
    with_rules = {
        name
        for name, function in PUBLIC.items()
        if "changes" in inspect.signature(function).parameters and not explanation(name, EXPLAINED)
    }
    assert with_rules == asked


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


def refusing(message, kind=ValueError):
    """A function that always says this."""

    def function(boxes):
        raise kind(message)

    return function


def test_a_function_that_takes_anything_fails_every_case_that_is_to_be_refused():
    count, wrong = judge(AREA, lambda boxes: 0.0)
    assert len(wrong) == count - 1, "but for no boxes, which have an answer"
    assert all("expected an error. Received: 0.0" in line for line in wrong)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("oops", r"not `name\[index\]: \.\.\.`"),
        ("scores: expected floats. Received: 1", "expected boxes to be named"),
        ("boxes: must be floats. Received: 1", "what was expected is not said"),
        ("boxes: expected floats", "what was received is not said"),
    ],
)
def test_an_error_that_says_too_little_fails(message, complaint):
    case = next(cases(AREA))
    with pytest.raises(AssertionError, match=complaint):
        check(case, refusing(message))


def test_an_error_of_another_kind_fails():
    with pytest.raises(AssertionError, match="IndexError: boxes: expected"):
        check(next(cases(AREA)), refusing("boxes: expected floats. Received: 1", IndexError))


@pytest.mark.parametrize(("where", "fits"), [("[2]", True), ("[2, 3]", True), ("", False)])
@pytest.mark.parametrize("wrong", ["[1]", "[2, 2]"])
def test_an_index_must_be_the_one_that_was_spoilt(where, fits, wrong):
    nan = next(case for case in cases(AREA) if case.how == "nan")
    assert nan.index == (2, 3)
    message = "boxes{}: expected numbers. Received: nan"
    if fits:
        check_message(nan, ValueError(message.format(where)))
    else:
        with pytest.raises(AssertionError, match="the index is not said"):
            check_message(nan, ValueError(message.format(where)))
    with pytest.raises(AssertionError, match="expected index"):
        check_message(nan, ValueError(message.format(wrong)))


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


def test_what_is_spoilt_and_how():
    subject = Subject(
        "targets.assign_targets",
        {"boxes": BOXES, "labels": np.array([1, 2, 1])},
        {"boxes": "boxes N 4", "labels": "labels N from -1"},
        wrong=(({"threshold": 2}, "threshold"),),
    )
    found = {(case.argument, case.how): case for case in cases(subject)}
    of_boxes = {how for argument, how in found if argument == "boxes"}
    assert of_boxes == {
        *("int64", "bool", "complex128", "str", "object", "list", "None"),
        *("one axis less", "one axis more", "last axis too short", "last axis too long"),
        *("a scalar", "nan", "nan in front", "inf", "inf in front", "-inf", "-inf in front"),
        *("inside out", "flat", "one N less", "no N"),
    }
    assert found["labels", "too small"].given["labels"].tolist() == [1, 2, -2]
    assert found["labels", "too small"].index == (2,)
    assert found["boxes", "one N less"].given["boxes"].shape == (2, 4)
    assert found["boxes", "no N"].given["labels"].shape == (0,)
    assert found["boxes", "inf in front"].given["boxes"][2].tolist() == [np.inf, 0.0, 1.0, 0.5]
    assert found["threshold", "threshold=2"].given["threshold"] == 2
    assert subject.given["boxes"] is BOXES
    check_boxes(BOXES)  # left alone


def test_a_spec_is_read_from_words():
    assert Spec.of("floats N 4") == Spec("floats", ("N", "4"), None, None)
    assert Spec.of("labels ... from -1 to 2") == Spec("labels", ("...",), -1, 2)
    assert Spec.of("floats N from 0").most is None


def test_names_are_explained_by_the_longest_line():
    assert explanation("conflicts.as_markdown", EXPLAINED) == "conflicts.as_markdown"
    assert explanation("conflicts.plain", EXPLAINED) == "conflicts.*"
    assert explanation("boxes.area", EXPLAINED) is None
    assert isinstance(spoilt("nan"), Case)
