"""The worst errors that were seen, on record, so that drift shows before a budget is broken.

A record is a JSON file: for each operation, dtype, backend and mode the worst error of one run of
`ssd parity`, the budget beside it, and for each backend the command, machine and versions of that
run. With the same cases and seed the same libraries give the same errors on the same kind of
machine; elsewhere they differ a little, so that a difference alone says nothing. What is called
drift is more than twice the error on record and more than half of the budget, or than `FAR` where
the budget is wide. A budget that is not the one on record is drift too: somebody changed what may
be off.

    ssd parity --record docs/error-budgets.json       puts this run in the place of the last one
    ssd parity --against docs/error-budgets.json      shows this run beside it

Nothing here runs anything, or imports Keras.
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
FAR = 4.0  # eps; libraries that round exp and log differently are not that far apart
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
NAMES = {f"keras ({name})": title for name, title in BACKENDS.items()}
FACTS = ("command", "cases", "seed", "machine", "system", "versions")
# Modes of all backends, from the plainest on: the order of the page's columns.
MODES = ("eager", "graph", "jit", "xla", "xla-nofuse", "jit-nofuse", "host")


class Key(NamedTuple):
    """What one error on record is of."""

    op: str
    dtype: str
    backend: str
    mode: str


class Entry(NamedTuple):
    """One error on record.

    Attributes:
        worst: The largest error seen, in eps × the largest intermediate.
        budget: The largest allowed.
        excused: Near-ties that were decided differently, with a witness.
    """

    worst: float
    budget: float
    excused: int = 0


@dataclass(frozen=True)
class Record:
    """What is on record.

    Attributes:
        runs: By backend, what its errors are of: the `FACTS`.
        errors: The errors.
    """

    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[Key, Entry] = field(default_factory=dict)


class Change(NamedTuple):
    """How one error is beside the one on record.

    Attributes:
        key: Of what.
        kind: "same", "less", "more", "new", "gone" or, what somebody should look at, "drift".
        was: On record; None where it is new.
        now: Of this run; None where it is gone.
    """

    key: Key
    kind: str
    was: Entry | None
    now: Entry | None

    def __str__(self) -> str:
        """One line for people."""

        def said(entry: Entry | None) -> str:
            if entry is None:
                return "nothing"
            ties = f" and {entry.excused} excused" if entry.excused else ""
            return f"{entry.worst:.3g} of {entry.budget:g} eps{ties}"

        return f"{', '.join(self.key)}: {self.kind}, {said(self.was)} -> {said(self.now)}"


def entries(checks: Iterable[Check]) -> dict[Key, Entry]:
    """Lines of the parity table as errors to be put on record."""
    return {
        Key(one.op, one.dtype, one.backend, one.mode): Entry(
            one.max_error_eps, one.budget_eps, one.excused
        )
        for one in checks
    }


def compare(record: Record, checks: Sequence[Check], *, whole: bool = False) -> list[Change]:
    """This run beside the record.

    Args:
        record: What is on record.
        checks: Of this run.
        whole: Whether these are all that their backends have, so that what is on record and not
            here is gone.

    Returns:
        A change for each check, "same" among them, in their order; then what is gone.

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
    """The record with this run in the place of the last one.

    Args:
        record: What is on record.
        checks: Of this run.
        facts: Of this run, as `FACTS` says.
        whole: Whether these are all that their backends have; what is on record and not here then
            goes. What NumPy on the host gives is the same beside every backend: where it is what
            it was, its run stays as it was.

    Returns:
        Another record; the one given stays.

    Raises:
        ValueError: A check that did not pass, facts that lack something, or a part of a run that
            does not go with the rest, because that was another run.

    Example:
        >>> one = Check("area", "eager", "keras (jax)", "float32", 9, 0, 0, 0.5, 2.0, True)
        >>> facts = dict.fromkeys(FACTS, "") | {"cases": 9, "seed": 0}
        >>> recorded(Record(), [one], facts).errors[Key("area", "float32", "keras (jax)", "eager")]
        Entry(worst=0.5, budget=2.0, excused=0)
    """
    failed = [one for one in checks if not one.passed]
    if failed or not checks:
        names = sorted({one.op for one in failed})
        raise ValueError(f"checks: expected some, and all passed. Received: {names or 'none'}")
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
                f"checks: expected all of {backend}, because what is on record is of another run, "
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
    """Read a record.

    Raises:
        OSError: It cannot be read.
        ValueError: It is none.
    """
    try:
        return _revived(json.loads(Path(path).read_text(encoding="utf-8")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a record of `ssd parity --record`. Received: something else "
            f"({type(error).__name__}: {error})"
        ) from None


def _revived(answer: Any) -> Record:
    errors = {}
    for row in answer["errors"]:
        for mode, worst in row["worst"].items():
            key = Key(row["op"], row["dtype"], row["backend"], mode)
            excused = row.get("excused", {}).get(mode, 0)
            entry = Entry(float(worst), float(row["budget"]), int(excused))
            if key in errors or not 0 <= entry.worst <= entry.budget < math.inf:
                raise ValueError(f"{key} twice, or over its budget")
            errors[key] = entry
    runs = {
        backend: {name: facts[name] for name in FACTS} for backend, facts in answer["runs"].items()
    }
    if {key.backend for key in errors} != set(runs):
        raise ValueError(f"expected the runs of its backends. Received: {sorted(runs)}")
    return Record(runs, errors)


def as_json(record: Record) -> str:
    """A record as text, a line for each operation, dtype and backend, so that changes are seen."""
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
    """Write a record, all or nothing."""
    write_file(path, as_json(record))


def _place(record: Record, key: Key) -> tuple[Any, ...]:
    """Where an error stands: operations in the order of the table, modes in theirs."""
    others = dict.fromkeys(one.op for one in record.errors if one.op not in OPERATIONS)
    return (
        [*OPERATIONS, *others].index(key.op),
        key.dtype,
        key.backend,
        (*MODES, key.mode).index(key.mode),
    )


# --- The page -----------------------------------------------------------------------------

PAGE = """# Error budgets

For each operation, dtype, backend and mode: the error allowed, and the worst that was seen. Errors
are in eps of the dtype × the largest intermediate of the operation. Budgets are derived, not
fitted; why, is below. Decisions have budget 0: they are equal. [parity.md](parity.md) says what is
compared, and how.

`ssd parity --against docs/{name}` shows the errors of your machine beside these, and names what has
drifted: more than twice what it was, and more than half of the budget or 4 eps. `--strict` fails
then.
`ssd parity --record docs/{name}` puts a run in the place of the last one of its backend,
which KERAS_BACKEND names; `python -m tests.pages` writes this page from it.

## Runs

{runs}

## Worst errors seen

{table}

In brackets: near-ties that were decided differently, each with a witness. "–": no such mode.

`mixed_bfloat16` is the column for mixed precision: the network computes in bfloat16, and its rows
are in eps of bfloat16, 2⁻⁷; targets, loss and detections, made of what this very network says, are
in eps of float32. The network is judged layer by layer, each from its own input; the unit is then
all that a layer rounds on the way, and one rounding half of it (`keras_impl/parity/network.py`).

## Why so much is allowed

u is half an eps, the most that one correct rounding is off by.

{why}
"""


def as_markdown(record: Record, name: str = "error-budgets.json") -> str:
    """The page of a record.

    Args:
        record: What is on record.
        name: Of its file.
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
    why = ["| operation | budget | why |", "|---|---:|---|"]
    for op, one in BUDGETS.items():
        reason = one.why.replace("|", "\\|")  # else a column would end there
        why.append(f"| `{op}` | {one.eps:g} | {reason} |")
    return PAGE.format(name=name, runs="\n".join(runs), table="\n".join(table), why="\n".join(why))


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return "–"
    return f"{entry.worst:.3g} ({entry.excused})" if entry.excused else f"{entry.worst:.3g}"
