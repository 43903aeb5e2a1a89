"""Any implementation of SSD, held to the reference: what it offers, and how it is asked.

An `Implementation` is a small adapter: functions of NumPy arrays by the names of
`comparisons.OPERATIONS`, and the convention that they claim to follow. `check` runs one of them
on the workloads of that operation and has it judged. docs/conformance.md walks through one.

Nothing here imports Keras or TensorFlow, so that a library that does not get along with them can
be asked in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Arrays
from keras_impl._common.choices import CASES
from keras_impl.conformance.budgets import budget
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.verdicts import Verdict
from keras_impl.conformance.workloads import Workloads
from reference_numpy.checks import check_counts
from reference_numpy.conventions import CANONICAL, Convention

__all__ = [
    "DTYPES",
    "Check",
    "Deviation",
    "Implementation",
    "Offer",
    "ask",
    "check",
    "judge",
    "operation_of",
    "settled",
]

DTYPES = ("float32", "float64")


class Offer(NamedTuple):
    """One operation as an implementation has it.

    Attributes:
        function: (arrays, convention=) → what `Operation.gives` says, as arrays.
        overrides: Answers in which this operation departs from the convention claimed as a whole.
        fixed: Numbers of the convention that it cannot be told, which the comparison then leaves
            as they are.
        dtypes: Those it can be asked in, if not all of the implementation's.
        workloads: In place of the operation's own, to keep off the inputs on which it is known
            to deviate; each of these is a `Deviation`.
    """

    function: Callable[..., Any]
    overrides: Mapping[str, Any] = {}
    fixed: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    workloads: Workloads | None = None


class Deviation(NamedTuple):
    """An input on which an implementation is known not to do what it claims.

    Attributes:
        name: A few words.
        offer: Which of its operations.
        reason: What it does instead, in one sentence.
        inputs: Arrays for the operation; None where `conflict` names them.
        conflict: Name of a conflict case whose inputs show it.
        overrides: Numbers of the convention in this case.
        certain: Whether it shows on every machine. An order that an unstable sort leaves open
            may be the right one on some processor.
    """

    name: str
    offer: str
    reason: str
    inputs: Arrays | None = None
    conflict: str | None = None
    overrides: Mapping[str, Any] = {}
    certain: bool = True


def _as_it_is(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    return function


@dataclass(frozen=True)
class Implementation:
    """What an implementation offers, and what it claims.

    Attributes:
        name: Its column in the report.
        operations: Functions, or `Offer`s, by the name of the operation. Where an operation is
            offered twice, words in brackets follow the name: "nms [padded]".
        convention: What the functions claim to follow.
        dtypes: Of `DTYPES`.
        modes: Ways to run it.
        in_mode: (function of arrays, mode) → function of arrays that runs so.
        may_fuse: Modes in which a compiler may fuse a product and a sum, so that a near-tie may
            flip: excused if there is a witness.
        deviations: Where it is known to be wrong.
        version: Of the package, for the report.
    """

    name: str
    operations: Mapping[str, Callable[..., Any] | Offer]
    convention: Convention = CANONICAL
    dtypes: tuple[str, ...] = DTYPES
    modes: tuple[str, ...] = ("eager",)
    in_mode: Callable[[Callable[..., Any], str], Callable[..., Any]] = _as_it_is
    may_fuse: tuple[str, ...] = ()
    deviations: Sequence[Deviation] = field(default=())
    version: str = ""

    def __post_init__(self) -> None:
        """Refuse what could never be asked."""
        for label in self.operations:
            if operation_of(label) not in OPERATIONS:
                raise ValueError(
                    f"operations: expected names among {', '.join(OPERATIONS)}. Received: {label!r}"
                )
        for deviation in self.deviations:
            if deviation.offer not in self.operations:
                raise ValueError(
                    f"deviations: expected an offered operation. Received: {deviation.offer!r}"
                )
        for name, known, given in (
            ("dtypes", DTYPES, self.dtypes),
            ("may_fuse", self.modes, self.may_fuse),
        ):
            if not set(given) <= set(known):
                raise ValueError(f"{name}: expected some of {known}. Received: {given}")

    def offer(self, label: str) -> Offer:
        """What is behind a name of `operations`."""
        found = self.operations[label]
        return found if isinstance(found, Offer) else Offer(found)

    def claimed(self, label: str) -> Convention:
        """The convention that one operation claims to follow."""
        return self.convention.replace(**self.offer(label).overrides)

    def asked(self) -> list[str]:
        """The names of `operations` that its convention has a place for."""
        return [
            label
            for label in self.operations
            if OPERATIONS[operation_of(label)].asks(self.claimed(label))
        ]

    def dtypes_of(self, label: str) -> tuple[str, ...]:
        """Dtypes that one operation can be asked in."""
        return self.offer(label).dtypes or self.dtypes

    def modes_of(self, label: str) -> tuple[str, ...]:
        """Ways to run one operation."""
        return self.modes if OPERATIONS[operation_of(label)].compiled else self.modes[:1]


def operation_of(label: str) -> str:
    """The operation behind a name: "nms [padded]" is an nms."""
    return label.partition(" ")[0]


@dataclass(frozen=True)
class Check:
    """One line of the table: an operation in a mode and a dtype.

    Attributes:
        op: The operation, by its name in `reference_numpy`.
        mode: How it was run.
        backend: What ran it.
        dtype: One of `DTYPES`.
        cases: Answers compared: images for decisions, rows of numbers for floats.
        mismatches: Those that are wrong.
        excused: Those that differ by a near-tie, with a witness.
        max_error_eps: Worst error of the floats, in eps × the largest intermediate.
        budget_eps: The error allowed, derived in `budgets`.
        passed: Nothing is wrong.
    """

    op: str
    mode: str
    backend: str
    dtype: str
    cases: int
    mismatches: int
    excused: int
    max_error_eps: float
    budget_eps: float
    passed: bool


def check(
    implementation: Implementation,
    label: str,
    mode: str = "eager",
    dtype: str = "float32",
    *,
    cases: int = CASES,
    seed: int = 0,
) -> Check:
    """Compare one operation with the reference, in one mode and dtype.

    Args:
        implementation: Whose.
        label: A name of its `operations`.
        mode: One of its modes.
        dtype: One of `DTYPES`.
        cases: Random images for each decision; floats get 25 rows for each.
        seed: Of the random cases.

    Returns:
        A line of the table.

    Raises:
        ValueError, TypeError: An operation that is not offered, an unknown mode or dtype, no cases.

    Example:
        >>> from reference_numpy import boxes
        >>> mine = Implementation("mine", {"area": lambda box, convention: (boxes.area(box),)})
        >>> check(mine, "area").passed
        True
    """
    for name, given, known in (
        ("label", label, list(implementation.operations)),
        ("mode", mode, list(implementation.modes)),
        ("dtype", dtype, list(DTYPES)),
    ):
        if given not in known:
            raise ValueError(f"{name}: expected one of {known}. Received: {given!r}")
    check_counts(1, cases=cases)
    check_counts(seed=seed)
    operation, offer = OPERATIONS[operation_of(label)], implementation.offer(label)
    keeps = operation.keeps(implementation.claimed(label))
    convention = settled(implementation, label, {} if keeps else operation.settings)
    call = implementation.in_mode(partial(offer.function, convention=convention), mode)
    total = Verdict(0)
    for inputs in (offer.workloads or operation.workloads)(
        np.random.default_rng(seed), dtype, cases
    ):
        outputs = call(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        excuses = mode in implementation.may_fuse
        verdict = operation.judge(inputs, outputs, dtype, excuses, convention)
        total = Verdict(
            total.cases + verdict.cases,
            total.mismatches + verdict.mismatches,
            total.excused + verdict.excused,
            max(total.error, verdict.error),
        )
    allowed = budget(operation_of(label), convention).eps
    return Check(
        label,
        mode,
        implementation.name,
        dtype,
        total.cases,
        total.mismatches,
        total.excused,
        round(float(total.error), 3),
        allowed,
        total.cases > 0 and total.mismatches == 0 and total.error <= allowed,
    )


def ask(
    implementation: Implementation,
    label: str,
    inputs: Arrays,
    mode: str = "eager",
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Any, ...]:
    """An implementation's answer to these inputs.

    Args:
        implementation: Whose.
        label: A name of its `operations`.
        inputs: As `Operation.takes` says.
        mode: One of its modes.
        overrides: Numbers of the convention in this case.

    Returns:
        As `Operation.gives` says.
    """
    convention = settled(implementation, label, overrides or {})
    function = partial(implementation.offer(label).function, convention=convention)
    answer = implementation.in_mode(function, mode)(*inputs)
    return answer if isinstance(answer, tuple) else (answer,)


def judge(
    implementation: Implementation,
    label: str,
    inputs: Arrays,
    mode: str = "eager",
    overrides: Mapping[str, Any] | None = None,
) -> Verdict:
    """What the reference says of that answer; arguments as of `ask`."""
    dtype = next(one.dtype.name for one in inputs if np.issubdtype(one.dtype, np.floating))
    outputs = ask(implementation, label, inputs, mode, overrides)
    convention = settled(implementation, label, overrides or {})
    excuses = mode in implementation.may_fuse
    return OPERATIONS[operation_of(label)].judge(inputs, outputs, dtype, excuses, convention)


def settled(implementation: Implementation, label: str, overrides: Mapping[str, Any]) -> Convention:
    """The convention an operation claims, with other numbers, but for those that are fixed.

    For `make_anchors` they are numbers of the layout.
    """
    claimed, fixed = implementation.claimed(label), implementation.offer(label).fixed
    free = {name: value for name, value in overrides.items() if name not in fixed}
    if operation_of(label) == "make_anchors":
        return claimed.replace(layout=replace(claimed.layout, **free))
    return claimed.replace(**free)
