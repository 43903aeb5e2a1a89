"""Keras obeys every convention: the presets, and a few made up so that each answer is tried."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from keras_impl.backends import compiler, modes
from keras_impl.conformance.suite import ask, check, settled
from keras_impl.parity.implementations import keras_as
from reference_numpy.conventions import CANONICAL, PRESETS, Detection
from reference_numpy.testing import conflict_answers, conflicts
from tests.made_up import CONVENTIONS, MADE_UP

CASES = 8
# The operations that a convention changes; the others are compared once, in test_conformance.py.
WHOLE = [
    "pairwise_iou",
    "make_anchors",
    "encode",
    "decode",
    "background_first",
    "assign_targets_with_crowds",
    "multibox_loss",
    "multibox_gradient",
    "detect",
]
# Those of them in which the others are at work: compiled of the made-up ones in a first verdict.
OUTERMOST = ["assign_targets_with_crowds", "multibox_loss", "detect"]
# Those that are at work inside these, and what a convention has for others to use.
PARTS = [
    "match",
    "assign_targets",
    "class_losses",
    "mine_hard_negatives",
    "nms",
    "soft_nms",
    "select",
]
# What a convention with soft suppression has no place for.
HARD = {"nms", "select", "detect"}


def words(group, name):
    """The words that a field may be, as it says itself when it refuses another."""
    with pytest.raises(ValueError, match="expected one of") as refusal:
        replace(group, **{name: "no such word"})
    return set(re.findall(r"'([^']+)'", str(refusal.value).partition("Received")[0]))


@pytest.mark.parametrize(
    ("conventions", "parts"),
    [
        (CONVENTIONS, ("layout", "overlap", "matching", "coding", "loss", "detection")),
        # Those that are compiled, in test_conformance.py and here; layouts never are.
        ([CANONICAL, *MADE_UP], ("overlap", "matching", "coding", "loss", "detection")),
    ],
    ids=["all", "compiled"],
)
def test_every_word_of_every_field_is_tried(conventions, parts):
    missing = {}
    for part in parts:
        groups = [getattr(convention, part) for convention in conventions]
        for field in fields(groups[0]):
            tried = {getattr(group, field.name) for group in groups}
            if field.type == "str" and field.name != "name":
                missing[field.name] = words(groups[0], field.name) - tried
            else:
                missing[field.name] = set() if len(tried) > 1 else {"another value"}
    untried = {name: values for name, values in missing.items() if values}
    assert untried == {}


def asked_for():
    """Each convention in each mode, and what is left to the thorough run.

    A first verdict asks the whole operations: eagerly of every convention, and compiled the
    outermost of the made-up ones, which leave no word of a field out. Compiling is slow.
    """
    for convention in CONVENTIONS[1:]:
        soft = ["soft_nms"] if convention.detection.soft_sigma else []
        for mode in modes():
            made_up = mode == compiler() and convention in MADE_UP
            whole = OUTERMOST if made_up else WHOLE
            parts = [*(one for one in WHOLE if one not in whole), *PARTS]
            for name, labels in (("whole", [*whole, *soft]), ("parts", parts)):
                first = name == "whole" and (mode == "eager" or made_up)
                yield pytest.param(
                    convention,
                    mode,
                    labels,
                    id=f"{convention.name}-{mode}-{name}",
                    marks=[] if first else [pytest.mark.thorough],
                )


@pytest.mark.parametrize(("convention", "mode", "labels"), [*asked_for()])
def test_every_operation(convention, mode, labels):
    implementation = keras_as(convention)
    asked = [label for label in implementation.asked() if label in labels]
    wrong = []
    for label in asked:
        if mode in implementation.modes_of(label):
            found = check(implementation, label, mode, "float32", cases=CASES)
            wrong += [] if found.passed else [found]
    assert set(labels) - set(asked) <= (HARD if convention.detection.soft_sigma else set())
    assert wrong == []


def asked_by(case):
    """One preset for each answer, but for the canonical one, which test_conformance.py asks for."""
    seen = {}
    for convention in PRESETS.values():
        answer = conflict_answers.answer(
            case, settled(keras_as(convention), case.operation, case.overrides)
        )
        seen.setdefault(repr(answer), convention)
    return [one for one in seen.values() if one.name != CANONICAL.name]


@pytest.mark.parametrize(
    "mode",
    [pytest.param(one, marks=[] if one == "eager" else [pytest.mark.thorough]) for one in modes()],
)
@pytest.mark.parametrize("case", conflicts.CONFLICTS, ids=lambda case: case.name)
def test_conflict_case(case, mode):
    """One preset for each answer."""
    answer_as_the_table(case, asked_by(case), mode)


@pytest.mark.parametrize("case", conflicts.CONFLICTS, ids=lambda case: case.name)
def test_conflict_case_of_every_preset(case):
    """The others, eagerly."""
    asked = {CANONICAL.name, *(one.name for one in asked_by(case))}
    answer_as_the_table(case, [one for one in PRESETS.values() if one.name not in asked], "eager")


def answer_as_the_table(case, presets, mode):
    for convention in presets:
        implementation = keras_as(convention)
        if case.operation not in implementation.asked():
            continue
        if mode not in implementation.modes_of(case.operation):
            continue
        rules = settled(implementation, case.operation, case.overrides)
        wanted = conflict_answers.answer(case, rules)
        inputs = conflict_answers.arrays(case, "float32")
        if isinstance(wanted, str) and wanted.startswith("error"):
            if mode == "eager":  # compiled, nothing can be raised
                with pytest.raises((ValueError, TypeError)):
                    ask(implementation, case.operation, inputs, mode, case.overrides)
            continue
        outputs = ask(implementation, case.operation, inputs, mode, case.overrides)
        got = conflict_answers.plain(case, outputs)
        assert conflict_answers.agree(got, wanted), (
            f"{convention.name}: {got} found, {wanted} expected"
        )


@pytest.mark.parametrize(
    ("case", "overrides", "wanted"),
    [
        pytest.param(case, *other, id=f"{case.name}: {', '.join(map(str, other[0].items()))}")
        for case in conflicts.CONFLICTS
        for other in case.others
    ],
)
def test_conflict_case_with_an_override(case, overrides, wanted):
    """Rules that no preset has, eagerly; `test_every_operation` has them compiled."""
    implementation = keras_as(CANONICAL)
    numbers = {**case.overrides, **overrides}
    inputs = conflict_answers.arrays(case, "float64")
    if isinstance(wanted, str) and wanted.startswith("error"):
        with pytest.raises((ValueError, TypeError)):
            ask(implementation, case.operation, inputs, "eager", numbers)
        return
    got = conflict_answers.plain(
        case, ask(implementation, case.operation, inputs, "eager", numbers)
    )
    assert conflict_answers.agree(got, wanted), f"{got} found, {wanted} expected"


def test_a_soft_convention_is_no_plain_nms():
    assert "nms" not in keras_as(CANONICAL.replace(soft_sigma=0.5)).asked()
    assert Detection().soft_sigma is None
