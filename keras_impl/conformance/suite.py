"""Describe any SSD implementation (`Implementation`) and compare it with the reference (`check`).

An `Implementation` is a small adapter: functions of NumPy arrays, named as in
`operations.OPERATIONS`, and the convention that they claim to follow. `check` runs one of them on
the workloads of its operation and judges the results. docs/conformance.md walks through an example.

This module imports neither Keras nor TensorFlow, so libraries that conflict with them can be
compared too, in a process of their own.
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
    """One operation of an implementation, with its own claims and limits.

    Attributes:
        function: (arrays, convention=) → arrays, as `Operation.gives` describes.
        overrides: Overrides of the implementation's convention for this operation.
        fixed: Fields of the convention that the function cannot change; the comparison leaves
            them as claimed.
        dtypes: Dtypes that it supports; empty for all of the implementation's.
        workloads: Workloads instead of the operation's own, to avoid inputs on which it is known
            to deviate. Each of these inputs is a `Deviation`.
    """

    function: Callable[..., Any]
    overrides: Mapping[str, Any] = {}
    fixed: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    workloads: Workloads | None = None


class Deviation(NamedTuple):
    """An input on which an implementation is known to differ from its claim.

    Attributes:
        name: A few words.
        offer: The operation, a name of `Implementation.operations`.
        reason: One sentence that says what it does instead.
        inputs: Arrays for the operation; None if `conflict` names them.
        conflict: Name of a conflict case whose inputs show the deviation.
        overrides: Overrides of the convention in this case.
        certain: Whether the deviation shows on every machine. An unstable sort, for example, may
            be correct by chance on some processors.
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
    """An SSD implementation: its operations and the convention that they claim to follow.

    Attributes:
        name: Its column in the report.
        operations: Functions or `Offer`s by operation name. To offer one operation twice, add
            words in brackets: "nms [padded]".
        convention: The convention that the functions claim to follow.
        dtypes: Dtypes that it supports, some of `DTYPES`.
        modes: Ways to run it.
        in_mode: (function of arrays, mode) → function of arrays that runs in that mode.
        may_fuse: Modes in which a compiler may fuse a product and a sum. There a near-tie may
            flip, and is excused if there is a witness.
        deviations: Inputs on which it is known to differ from its claim.
        version: Version of the package, for the report.

    Raises:
        ValueError: An operation, dtype, mode or deviation that does not exist.
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
        """Validate the fields."""
        for label in self.operations:
            if operation_of(label) not in OPERATIONS:
                raise ValueError(
                    f"operations: expected some of {list(OPERATIONS)}. Received: {label!r}"
                )
        for deviation in self.deviations:
            if deviation.offer not in self.operations:
                raise ValueError(
                    f"deviations: expected offers among {list(self.operations)}. "
                    f"Received: {deviation.offer!r}"
                )
        for name, known, given in (
            ("dtypes", DTYPES, self.dtypes),
            ("may_fuse", self.modes, self.may_fuse),
        ):
            if not set(given) <= set(known):
                raise ValueError(f"{name}: expected some of {known}. Received: {given}")

    def offer(self, label: str) -> Offer:
        """Return the `Offer` of a name of `operations`."""
        found = self.operations[label]
        return found if isinstance(found, Offer) else Offer(found)

    def claimed(self, label: str) -> Convention:
        """Return the convention that one operation claims to follow."""
        return self.convention.replace(**self.offer(label).overrides)

    def asked(self) -> list[str]:
        """List the names of `operations` that the claimed convention uses."""
        return [
            label
            for label in self.operations
            if OPERATIONS[operation_of(label)].asks(self.claimed(label))
        ]

    def dtypes_of(self, label: str) -> tuple[str, ...]:
        """Return the dtypes that one operation supports."""
        return self.offer(label).dtypes or self.dtypes

    def modes_of(self, label: str) -> tuple[str, ...]:
        """Return the modes that one operation can run in."""
        return self.modes if OPERATIONS[operation_of(label)].compiled else self.modes[:1]


def operation_of(label: str) -> str:
    """Return the operation of a label: "nms" for "nms [padded]"."""
    return label.partition(" ")[0]


@dataclass(frozen=True)
class Check:
    """One line of the parity table: an operation in one mode and dtype.

    Attributes:
        op: The operation, by its name in `reference_numpy`.
        mode: The mode that it ran in.
        backend: The implementation that ran it.
        dtype: One of `DTYPES`.
        cases: Results compared: images for decisions, rows of numbers for floats.
        mismatches: Results that are wrong.
        excused: Results that differ by a near-tie, with a witness.
        max_error_eps: Largest float error, in eps × the largest intermediate.
        budget_eps: The error allowed, derived in `budgets`.
        passed: Whether there are cases, no mismatches, and no error above the budget.
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
        implementation: The implementation to compare.
        label: A name of its `operations`.
        mode: One of its modes.
        dtype: One of `DTYPES`.
        cases: Number of random images for decisions; floats get 25 rows per case.
        seed: Seed of the random cases.

    Returns:
        A line of the parity table.

    Raises:
        ValueError: An operation that is not offered, an unknown mode or dtype, no cases, a
            negative seed.
        TypeError: `cases` or `seed` is not a whole number.

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
    """Run one operation of an implementation on given inputs.

    Args:
        implementation: The implementation to run.
        label: A name of its `operations`.
        inputs: Arrays, as `Operation.takes` describes.
        mode: One of its modes.
        overrides: Overrides of the claimed convention.

    Returns:
        Arrays, as `Operation.gives` describes.
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
    """Run `ask` and compare the result with the reference; same arguments."""
    dtype = next(one.dtype.name for one in inputs if np.issubdtype(one.dtype, np.floating))
    outputs = ask(implementation, label, inputs, mode, overrides)
    convention = settled(implementation, label, overrides or {})
    excuses = mode in implementation.may_fuse
    return OPERATIONS[operation_of(label)].judge(inputs, outputs, dtype, excuses, convention)


def settled(implementation: Implementation, label: str, overrides: Mapping[str, Any]) -> Convention:
    """Return the convention that an operation claims, with overrides except its fixed fields.

    For `make_anchors` the overrides are fields of the layout.
    """
    claimed, fixed = implementation.claimed(label), implementation.offer(label).fixed
    free = {name: value for name, value in overrides.items() if name not in fixed}
    if operation_of(label) == "make_anchors":
        return claimed.replace(layout=replace(claimed.layout, **free))
    return claimed.replace(**free)
