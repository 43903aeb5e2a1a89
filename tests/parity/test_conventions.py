"""Keras obeys every convention: the presets, and a few made up so that each answer is tried."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from keras_impl.adapter import keras_as
from keras_impl.backend_tensorflow import MODES
from keras_impl.conformance import ask, check, settled
from reference_numpy import conflicts
from reference_numpy.conventions import CANONICAL, Detection
from reference_numpy.presets import PRESETS
from tests.made_up import CONVENTIONS, MADE_UP

CASES = 8
# The operations that a convention changes; the others are compared once, in test_conformance.py.
CHANGED = [
    "pairwise_iou",
    "make_anchors",
    "match",
    "encode",
    "decode",
    "background_first",
    "assign_targets",
    "assign_targets_with_crowds",
    "class_losses",
    "mine_hard_negatives",
    "multibox",
    "multibox_gradient",
    "nms",
    "soft_nms",
    "select",
    "detect",
]


def words(group, name):
    """The words that a field may be, as it says itself when it refuses another."""
    with pytest.raises(ValueError, match="expected one of") as refusal:
        replace(group, **{name: "no such word"})
    return set(re.findall(r"'([^']+)'", str(refusal.value).partition("Received")[0]))


def test_every_word_of_every_field_is_tried():
    missing = {}
    for part in ("layout", "overlap", "matching", "coding", "loss", "detection"):
        groups = [getattr(convention, part) for convention in CONVENTIONS]
        for field in fields(groups[0]):
            tried = {getattr(group, field.name) for group in groups}
            if field.type == "str" and field.name != "name":
                missing[field.name] = words(groups[0], field.name) - tried
            else:
                missing[field.name] = set() if len(tried) > 1 else {"another value"}
    untried = {name: values for name, values in missing.items() if values}
    assert untried == {}


# Compiling is slow, and these leave no word of a field out; `ssd parity --convention NAME` compiles
# any of them.
COMPILED = ["nvidia_ssd300", "tf_od_ssd_mobilenet_v2", *(one.name for one in MADE_UP)]


@pytest.mark.parametrize(
    ("convention", "mode"),
    [
        pytest.param(one, mode, id=f"{one.name}-{mode}")
        for one in CONVENTIONS[1:]
        for mode in MODES
        if mode != "xla" or one.name in COMPILED
    ],
)
def test_every_operation(convention, mode):
    implementation = keras_as(convention)
    asked = [label for label in implementation.asked() if label in CHANGED]
    wrong = []
    for label in asked:
        if mode in implementation.modes_of(label):
            found = check(implementation, label, mode, "float32", cases=CASES)
            wrong += [] if found.passed else [found]
    assert len(asked) >= len(CHANGED) - 4
    assert wrong == []


def asked_by(case):
    """The presets and the case, one for each answer; of equal questions one will do."""
    seen = {}
    for convention in PRESETS.values():
        answer = conflicts.answer(case, settled(keras_as(convention), case.operation, case.changes))
        if not (isinstance(answer, str) and answer.startswith("error")):
            seen.setdefault(repr(answer), convention)
    return seen.values()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", conflicts.CONFLICTS, ids=lambda case: case.name)
def test_conflict_case(case, mode):
    """Each preset eagerly; compiled, one preset for each of the answers."""
    presets = PRESETS.values() if mode == "eager" else asked_by(case)
    for convention in presets:
        implementation = keras_as(convention)
        if case.operation not in implementation.asked():
            continue
        if mode not in implementation.modes_of(case.operation):
            continue
        rules = settled(implementation, case.operation, case.changes)
        wanted = conflicts.answer(case, rules)
        inputs = conflicts.arrays(case, "float32")
        if isinstance(wanted, str) and wanted.startswith("error"):
            with pytest.raises((ValueError, TypeError)):
                ask(implementation, case.operation, inputs, mode, case.changes)
            continue
        outputs = ask(implementation, case.operation, inputs, mode, case.changes)
        got = conflicts.plain(case, outputs)
        assert conflicts.agree(got, wanted), f"{convention.name}: {got} found, {wanted} expected"


def test_a_soft_convention_is_no_plain_nms():
    assert "nms" not in keras_as(CANONICAL.but(soft_sigma=0.5)).asked()
    assert Detection().soft_sigma is None
