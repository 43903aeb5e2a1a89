"""The conformance report: one table of operations by implementation."""

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
    """Summarise the test outcomes of one implementation, by operation.

    Args:
        implementation: The implementation that was tested.
        outcomes: For each test its `label`, `cases` and `outcome` ("passed", "failed" or "known
            deviation"), and `excused` or `deviation` where there is one.

    Returns:
        A report with one implementation, as for `merged` and `to_markdown`.
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
    """Merge two reports; where both have an implementation, the new one wins."""
    return {"implementations": {**old.get("implementations", {}), **new["implementations"]}}


def to_markdown(report: Any) -> str:
    """Format a report as a Markdown table of operation by implementation.

    A cell holds the number of cases and, in brackets, of known deviations.

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
