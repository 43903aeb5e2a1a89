"""Record the worst errors of a parity run and compare later runs with them.

The record shows drift before an error exceeds its budget. It is a JSON file with the worst error
and the budget of each operation, dtype, backend and mode, and with the command, machine and
versions of the run of each backend.

The same cases, seed, libraries and kind of machine give the same errors. Other machines give
slightly different ones, so a small difference means nothing. An error has *drifted* if it is more
than twice the recorded error and also more than half of the budget or, for a wide budget, `FAR`.
A budget that differs from the recorded one is drift too, because the allowed error has changed.

    ssd parity --record docs/error-budgets.json       replaces the recorded run by this one
    ssd parity --against docs/error-budgets.json      compares this run with the record

This module runs no operation and does not import Keras.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from keras_impl._common.files import write_file
from keras_impl.conformance.budgets import BUDGETS
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import Check

__all__ = [
    "BACKENDS",
    "FACTS",
    "Change",
    "Entry",
    "Key",
    "Record",
    "as_json",
    "as_markdown",
    "compare",
    "entries",
    "read",
    "recorded",
    "write",
]

HOST = "host"
FAR = 4.0  # eps; different rounding of exp and log causes smaller differences
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
NAMES = {f"keras ({name})": title for name, title in BACKENDS.items()}
FACTS = ("command", "cases", "seed", "machine", "system", "versions")
# Modes of all backends, in the order of the page's columns.
MODES = ("eager", "graph", "jit", "xla", "xla-nofuse", "jit-nofuse", "host")


class Key(NamedTuple):
    """The operation, dtype, backend and mode of an error."""

    op: str
    dtype: str
    backend: str
    mode: str


class Entry(NamedTuple):
    """One recorded error.

    Attributes:
        worst: The largest error seen, in eps × the largest intermediate.
        budget: The largest error allowed.
        excused: Number of near-ties that were decided differently, with a witness.
    """

    worst: float
    budget: float
    excused: int = 0


@dataclass(frozen=True)
class Record:
    """Recorded errors and the runs that they come from.

    Attributes:
        runs: The `FACTS` of each run, by backend.
        errors: The errors, by operation, dtype, backend and mode.
    """

    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[Key, Entry] = field(default_factory=dict)


class Change(NamedTuple):
    """One error compared with the recorded one.

    Attributes:
        key: The operation, dtype, backend and mode.
        kind: "same", "less", "more", "new", "gone", or "drift", which needs attention.
        was: The recorded error; None if it is new.
        now: The error of this run; None if it is gone.
    """

    key: Key
    kind: str
    was: Entry | None
    now: Entry | None

    def __str__(self) -> str:
        """Return one line of text."""

        def said(entry: Entry | None) -> str:
            if entry is None:
                return "nothing"
            ties = f" and {entry.excused} excused" if entry.excused else ""
            return f"{entry.worst:.3g} of {entry.budget:g} eps{ties}"

        return f"{', '.join(self.key)}: {self.kind}, {said(self.was)} -> {said(self.now)}"


def entries(checks: Iterable[Check]) -> dict[Key, Entry]:
    """Convert lines of the parity table to errors by key."""
    return {
        Key(one.op, one.dtype, one.backend, one.mode): Entry(
            one.max_error_eps, one.budget_eps, one.excused
        )
        for one in checks
    }


def compare(record: Record, checks: Sequence[Check], *, whole: bool = False) -> list[Change]:
    """Compare a run with the record.

    Args:
        record: The record.
        checks: The checks of this run.
        whole: Whether these are all checks of their backends. Recorded errors without a check are
            then "gone".

    Returns:
        A change for each check, in their order, then the errors that are gone. Unchanged errors
        are included as "same".

    Example:
        >>> one = Check("area", "eager", "keras (jax)", "float32", 9, 0, 0, 0.5, 2.0, True)
        >>> str(compare(Record(), [one])[0])
        'area, float32, keras (jax), eager: new, nothing -> 0.5 of 2 eps'
    """
    found = entries(checks)
    changes = []
    for key, now in found.items():
        was = record.errors.get(key)
        changes.append(Change(key, _kind(was, now), was, now))
    if whole:
        backends = {key.backend for key in found}
        for key, was in record.errors.items():
            if key not in found and key.backend in backends:
                changes.append(Change(key, "gone", was, None))
    return changes


def _kind(was: Entry | None, now: Entry) -> str:
    if was is None:
        return "new"
    limit = max(2 * was.worst, min(now.budget / 2, FAR))
    if now.budget != was.budget or now.worst > limit:
        return "drift"
    if (now.worst, now.excused) == (was.worst, was.excused):
        return "same"
    return "more" if (now.worst, now.excused) > (was.worst, was.excused) else "less"


def recorded(
    record: Record, checks: Sequence[Check], facts: Mapping[str, Any], *, whole: bool = True
) -> Record:
    """Return the record with the runs of these backends replaced by this run.

    The results of the host (NumPy) do not depend on the backend. If they are unchanged, the
    recorded run of the host is kept.

    Args:
        record: The record, which is not changed.
        checks: The checks of this run.
        facts: The `FACTS` of this run.
        whole: Whether these are all checks of their backends. Recorded errors without a check are
            then removed. A part of a run is only merged with a recorded run of equal facts, except
            for the command.

    Returns:
        The new record.

    Raises:
        ValueError: There are no checks, or one did not pass; `facts` lacks a field or has another
            one; or a part of a run differs in its facts from the recorded run.

    Example:
        >>> one = Check("area", "eager", "keras (jax)", "float32", 9, 0, 0, 0.5, 2.0, True)
        >>> facts = dict.fromkeys(FACTS, "") | {"cases": 9, "seed": 0}
        >>> recorded(Record(), [one], facts).errors[Key("area", "float32", "keras (jax)", "eager")]
        Entry(worst=0.5, budget=2.0, excused=0)
    """
    failed = [one for one in checks if not one.passed]
    if failed or not checks:
        names = sorted({one.op for one in failed})
        raise ValueError(
            f"checks: expected at least one check, all passed. Received: {names or 'none'}"
        )
    if set(facts) != set(FACTS):
        raise ValueError(f"facts: expected {list(FACTS)}. Received: {sorted(facts)}")
    found = entries(checks)
    runs, errors = dict(record.runs), dict(record.errors)
    for backend in dict.fromkeys(key.backend for key in found):
        mine = {key: entry for key, entry in found.items() if key.backend == backend}
        theirs = {key: entry for key, entry in errors.items() if key.backend == backend}
        if backend == HOST and mine == theirs:
            continue
        if not whole and theirs and _without_command(runs[backend]) != _without_command(facts):
            raise ValueError(
                f"checks: expected all checks of {backend}, because the record is of another run, "
                f"{runs[backend]['versions']}. Received: a part"
            )
        if whole:
            for key in theirs:
                del errors[key]
        errors.update(mine)
        if whole or not theirs:
            runs[backend] = dict(facts)
    return Record(dict(sorted(runs.items())), errors)


def _without_command(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != "command"}


# --- Files --------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> Record:
    """Read a record from a JSON file.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not a record.
    """
    try:
        return _revived(json.loads(Path(path).read_text(encoding="utf-8")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        kinds = (UnicodeDecodeError, json.JSONDecodeError)
        what = "a file that is not JSON" if isinstance(error, kinds) else "another kind of JSON"
        if type(error) is ValueError:  # one of ours
            what = str(error)
        raise ValueError(
            f"{path}: expected a record of `ssd parity --record`. Received: {what}"
        ) from None


def _revived(answer: Any) -> Record:
    errors = {}
    for row in answer["errors"]:
        for mode, worst in row["worst"].items():
            key = Key(row["op"], row["dtype"], row["backend"], mode)
            excused = row.get("excused", {}).get(mode, 0)
            entry = Entry(float(worst), float(row["budget"]), int(excused))
            if key in errors or not 0 <= entry.worst <= entry.budget < math.inf:
                raise ValueError(f"{key} is there twice, or over its budget")
            errors[key] = entry
    runs = {
        backend: {name: facts[name] for name in FACTS} for backend, facts in answer["runs"].items()
    }
    if {key.backend for key in errors} != set(runs):
        raise ValueError(
            f"runs: expected those of the backends in errors. Received: {sorted(runs)}"
        )
    return Record(runs, errors)


def as_json(record: Record) -> str:
    """Format a record as JSON, one line per operation, dtype and backend for readable diffs."""
    rows: dict[tuple[str, str, str, float], dict[str, Entry]] = {}
    for key, entry in sorted(record.errors.items(), key=lambda item: _place(record, item[0])):
        row = (key.op, key.dtype, key.backend, entry.budget)
        rows.setdefault(row, {})[key.mode] = entry
    lines = []
    for (op, dtype, backend, budget), modes in rows.items():
        line: dict[str, Any] = {"op": op, "dtype": dtype, "backend": backend, "budget": budget}
        line["worst"] = {mode: entry.worst for mode, entry in modes.items()}
        excused = {mode: entry.excused for mode, entry in modes.items() if entry.excused}
        lines.append(json.dumps(line | ({"excused": excused} if excused else {})))
    runs = json.dumps(record.runs, indent=1, ensure_ascii=False).replace("\n", "\n ")
    return f'{{\n "runs": {runs},\n "errors": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def write(path: str | os.PathLike[str], record: Record) -> None:
    """Write a record to a file, atomically."""
    write_file(path, as_json(record))


def _place(record: Record, key: Key) -> tuple[Any, ...]:
    """Return the sort key of an error: operations as in `OPERATIONS`, modes as in `MODES`."""
    others = dict.fromkeys(one.op for one in record.errors if one.op not in OPERATIONS)
    return (
        [*OPERATIONS, *others].index(key.op),
        key.dtype,
        key.backend,
        (*MODES, key.mode).index(key.mode),
    )


# --- The page -----------------------------------------------------------------------------

PAGE = """# Error budgets

*Generated by `python -m tests.pages` from `docs/{name}`. Do not edit.*

This page lists the largest error allowed and the largest error seen, for each operation, dtype,
backend and mode. The unit is eps of the dtype × the largest intermediate of the operation. Budgets
are derived, not fitted; the last section gives the derivations. Decisions have budget 0: they must
be equal. [parity.md](../parity.md) explains the comparison.

- `ssd parity --against docs/{name}` compares the errors of your machine with these and
  reports drift: an error more than twice the recorded one that is also more than half of the budget
  or 4 eps. With `--strict`, drift is a failure.
- `ssd parity --record docs/{name}` replaces the recorded run of the backend that
  `KERAS_BACKEND` names. `python -m tests.pages` then writes this page.

## Runs

{runs}

## Worst errors seen

{table}

Numbers in brackets count near-ties that were decided differently, each with a witness. "–" means
that there is no such mode.

The dtype `mixed_bfloat16` is mixed precision: the network computes in bfloat16. Its layers are
measured in eps of bfloat16, 2⁻⁷. Targets, loss and detections are computed from the outputs of this
network and measured in eps of float32. Each layer of the network is compared by itself, from its
own input. Its unit is eps × the sum of all magnitudes that it rounds, so its budget is one half
(`keras_impl/parity/network.py`).

## Derivation of the budgets

u is half an eps, the largest error of one correct rounding. "Relative to X" means that the unit is
eps × X. Budgets of operations add one u for the rounding of the reference. Budgets of network
layers do not, because their reference stays in float64.

{why}
"""


def as_markdown(record: Record, name: str = "error-budgets.json") -> str:
    """Format a record as the page docs/generated/error-budgets.md.

    Args:
        record: The record.
        name: Name of its file.
    """
    columns = sorted(
        {(key.backend, key.mode) for key in record.errors},
        key=lambda one: ([*NAMES, *record.runs].index(one[0]), (*MODES, one[1]).index(one[1])),
    )
    rows: dict[tuple[str, str], dict[tuple[str, str], Entry]] = {}
    for key, entry in sorted(record.errors.items(), key=lambda item: _place(record, item[0])):
        rows.setdefault((key.op, key.dtype), {})[key.backend, key.mode] = entry
    heads = [
        mode if backend == HOST else f"{NAMES.get(backend, backend)} {mode}"
        for backend, mode in columns
    ]
    table = [
        f"| operation | dtype | budget | {' | '.join(heads)} |",
        f"|---|---|---:|{'---:|' * len(columns)}",
    ]
    for (op, dtype), row in rows.items():
        budgets = " or ".join(
            f"{one:g}" for one in sorted({entry.budget for entry in row.values()})
        )
        cells = " | ".join(_cell(row.get(column)) for column in columns)
        table.append(f"| `{op}` | {dtype} | {budgets} | {cells} |")
    runs = [
        f"- {NAMES.get(backend, 'NumPy on the host' if backend == HOST else backend)}: "
        f"`{facts['command']}`, {facts['cases']} cases, seed {facts['seed']}; {facts['machine']}; "
        f"{facts['versions']}"
        for backend, facts in record.runs.items()
    ]
    why = ["| operation | budget | derivation |", "|---|---:|---|"]
    for op, one in BUDGETS.items():
        reason = one.why.replace("|", "\\|")  # a bare bar would end the column
        why.append(f"| `{op}` | {one.eps:g} | {reason} |")
    return PAGE.format(name=name, runs="\n".join(runs), table="\n".join(table), why="\n".join(why))


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return "–"
    return f"{entry.worst:.3g} ({entry.excused})" if entry.excused else f"{entry.worst:.3g}"
