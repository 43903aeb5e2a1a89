"""What of the conformance suite catches each known fault, and the page docs/faults.md.

tests/test_faults.py sees to it that no fault gets through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from typing import Any
from unittest import mock

from keras_impl.conformance.faults import CLAIMS, FAULTS, Fault
from keras_impl.conformance.faults.making import Function
from keras_impl.conformance.suite import DTYPES, Implementation, Offer
from tests.parity import test_conformance as suite

__all__ = ["as_markdown", "caught", "failures", "offering"]

CASES = 8  # images of each random workload, a third of what Keras is asked


def offering(
    operation: str, function: Function, claims: Mapping[str, Any] | None = None
) -> Implementation:
    """An implementation of one operation."""
    overrides = {**CLAIMS.get(operation, {}), **(claims or {})}
    return Implementation("somebody's", {operation: Offer(function, overrides=overrides)})


def failures(implementation: Implementation) -> Iterator[tuple[str, str]]:
    """The tests of the suite that an implementation fails: dtype or conflict case, and message.

    A crash is no wrong answer, and not caught here.
    """
    (label,) = implementation.asked()
    with mock.patch.object(suite, "AT_LEAST", CASES):
        for dtype in implementation.dtypes_of(label):
            try:
                suite.test_operation(implementation, label, "eager", dtype, None, _nobody)
            except AssertionError as failure:
                yield dtype, str(failure)
    for _, case in suite.conflict_offers(implementation):
        try:
            suite.test_conflict_case(implementation, label, case, "eager", _nobody)
        except AssertionError as failure:
            yield case.name, str(failure)


def _nobody(name: str, value: Any) -> None:
    """Whom a test tells what it found."""


def caught(fault: Fault) -> dict[str, str]:
    """What of the suite a fault fails, and the messages; found out once."""
    index = next(index for index, one in enumerate(FAULTS) if one is fault)
    return _caught(index)


@cache
def _caught(index: int) -> dict[str, str]:
    fault = FAULTS[index]
    return dict(failures(offering(fault.operation, fault.function, fault.claims)))


_HEAD = """# Faults that the conformance suite catches

A suite is worth what it would catch. Here are {faults} wrong implementations of the {operations}
operations of [conformance.md](conformance.md), mistakes that people make, and what of the suite
fails for each: *random* workloads in a dtype ({cases} images of each, a third of what Keras is
asked), and conflict cases by their names in [conflicts.md](conflicts.md). None gets through, and
the same operations without a mistake pass everything.

A fault that shows in one dtype only is about digits: what is computed in float32 throughout is
right where float32 is asked for, and what overflows in float32 may not in float64. Faults that
claim an option follow that option of a convention, all others the canonical ones.

The table is `FAULTS` in `keras_impl.conformance.faults`; `tests/test_faults.py` puts it to the
suite on every run. This page is written by `python -m tests.pages`.
"""


def as_markdown() -> str:
    """The page docs/faults.md."""
    operations = len({fault.operation for fault in FAULTS})
    lines = [_HEAD.format(faults=len(FAULTS), operations=operations, cases=CASES)]
    for operation, faults in groupby(FAULTS, key=lambda fault: fault.operation):
        lines += [f"## `{operation}`", "", "| fault | what is wrong | caught by |", "|---|---|---|"]
        lines += [f"| {one.name} | {one.wrong} | {_catchers(caught(one))} |" for one in faults]
        lines.append("")
    return "\n".join(lines)


def _catchers(found: Mapping[str, str]) -> str:
    dtypes = [name for name in DTYPES if name in found]
    random = {0: [], 1: [f"random in {dtypes[0] if dtypes else ''}"], 2: ["random"]}[len(dtypes)]
    return ", ".join([*random, *(f"“{name}”" for name in found if name not in DTYPES)])
