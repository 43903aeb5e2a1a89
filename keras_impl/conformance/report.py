"""The report: one table of implementations by operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import Implementation, operation_of

__all__ = [
    "merged",
    "summary",
    "to_markdown",
]


def summary(implementation: Implementation, outcomes: Sequence[Mapping[str, Any]]) -> Any:
    """What became of each operation of one implementation, for the report.

    Args:
        implementation: Whose.
        outcomes: For each test its `label`, `cases`, `outcome` ("passed", "failed" or "known
            deviation"), and `excused` or `deviation` where there is one.
    """
    operations: dict[str, Any] = {
        name: {"verdict": "not offered", "cases": 0, "excused": 0, "known_deviations": []}
        for name in OPERATIONS
    }
    for outcome in outcomes:
        row = operations[operation_of(outcome["label"])]
        if outcome["outcome"] == "known deviation":
            if outcome["deviation"] not in row["known_deviations"]:
                row["known_deviations"].append(outcome["deviation"])
            continue
        row["cases"] += outcome["cases"]
        row["excused"] += outcome.get("excused", 0)
        failed = "failed" in (outcome["outcome"], row["verdict"])
        row["verdict"] = "failed" if failed else "passed"
    for row in operations.values():
        if row["verdict"] == "not offered" and row["known_deviations"]:
            row["verdict"] = "known deviation"
    return {
        "implementations": {
            implementation.name: {
                "version": implementation.version,
                "claims": implementation.convention.name,
                "modes": list(implementation.modes),
                "dtypes": list(implementation.dtypes),
                "operations": operations,
            }
        }
    }


def merged(old: Any, new: Any) -> Any:
    """A report with the implementations of both; the new one's stay where both have one."""
    return {"implementations": {**old.get("implementations", {}), **new["implementations"]}}


def to_markdown(report: Any) -> str:
    """The report as a table, operation by implementation: cases (known deviations).

    Example:
        >>> mine = Implementation("mine", {"area": lambda box, convention: box})
        >>> lines = to_markdown(summary(mine, [{"label": "area", "cases": 7, "outcome": "passed"}]))
        >>> [line for line in lines.splitlines() if "area" in line]
        ['| `area` | 7 |']
    """
    found = report["implementations"]
    lines = [
        "| operation | "
        + " | ".join(f"{name} {one['version']}".strip() for name, one in found.items()),
        "|---|" + "---:|" * len(found),
        "| claims | " + " | ".join(f"`{one['claims']}`" for one in found.values()) + " |",
    ]
    lines[0] += " |"
    for op in OPERATIONS:
        cells = [_cell(one["operations"].get(op)) for one in found.values()]
        lines.append(f"| `{op}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Any) -> str:
    if row is None or row["verdict"] == "not offered":
        return "–"
    cases = f"{row['cases']:,}" if row["verdict"] != "failed" else "**failed**"
    known = len(row["known_deviations"])
    return f"{cases} ({known})" if known else cases
