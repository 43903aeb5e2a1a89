"""Every fault of `conformance.faults` is caught by the conformance suite, and what is right passes.

Nothing is imported that needs Keras: the suite and the faults are NumPy alone.
"""

from __future__ import annotations

from collections import Counter

import pytest

from keras_impl.conformance.faults import FAULTS, RIGHT, WRITTEN_OUT, by
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import DTYPES
from reference_numpy.conventions import AnchorLayout
from reference_numpy.testing.conflicts import CONFLICTS
from tests.faults import caught, failures, offering
from tests.flips import ASKED, FIRST, every_flip

each_fault = pytest.mark.parametrize(
    "fault", FAULTS, ids=[f"{fault.operation}-{fault.name}" for fault in FAULTS]
)


# --- what is right passes ------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_reference_passes_everything(operation):
    """Else it would mean nothing that a fault fails."""
    assert dict(failures(offering(operation, RIGHT[operation]))) == {}


@pytest.mark.parametrize(
    ("operation", "function"), WRITTEN_OUT, ids=[operation for operation, _ in WRITTEN_OUT]
)
def test_what_faults_are_made_of_passes(operation, function):
    """What is written out for faults has no other mistake than theirs."""
    assert dict(failures(offering(operation, function))) == {}


@pytest.mark.parametrize(
    "fault", [one for one in FAULTS if one.claims], ids=lambda one: f"{one.operation}-{one.name}"
)
def test_the_reference_passes_what_a_fault_claims(fault):
    assert dict(failures(offering(fault.operation, RIGHT[fault.operation], fault.claims))) == {}


# --- what is wrong does not ----------------------------------------------------------------------


@each_fault
def test_a_fault_is_caught_by_name(fault):
    found = caught(fault)
    assert found, f"{fault.operation}, {fault.name}: nothing in the suite notices"
    for name, message in found.items():
        # A random workload names the operation; a conflict case is one of that operation.
        if name in DTYPES:
            assert message.startswith(f"{fault.operation}, eager, {name}: "), message
        else:
            (case,) = [case for case in CONFLICTS if case.name == name]
            assert case.operation == fault.operation
            assert message.startswith(f"{name}: "), message


def test_every_operation_has_three_faults():
    counts = Counter(fault.operation for fault in FAULTS)
    assert set(counts) == set(RIGHT) == set(OPERATIONS)
    assert {operation for operation, count in counts.items() if count < 3} == set()


# --- a rule forgotten ----------------------------------------------------------------------------


def forgettable():
    """What may be claimed, and what is answered all the same: the usual.

    Degenerate objects are left out: who does not know what to do with one raises, or see
    "degenerate objects kept".
    """
    for part, field, value in every_flip():
        if part is not AnchorLayout and field != "degenerate":
            usual = 0.5 if field == "soft_sigma" else getattr(part(), field)
            if value not in (usual, None):
                yield pytest.param(part, field, value, usual, id=f"{field}={value}")


@pytest.mark.parametrize(("part", "field", "value", "usual"), list(forgettable()))
def test_a_rule_that_is_forgotten_is_missed(part, field, value, usual):
    """Whoever claims a rule and answers as usual is found out."""
    claims = {**FIRST.get(field, {}), field: value}
    for operation in ASKED[part]:
        implementation = offering(operation, by(**{field: usual}).of(operation), claims)
        if implementation.asked() and next(failures(implementation), None):
            return
    pytest.fail(f"{field} = {value!r} may be claimed and forgotten")
