"""A plugin of pytest for mutants: the tests first that are likely to fail soon.

mutmut keeps the tests of a function in a set and so runs them in no order, and a mutant is done
with at the first that fails. One that ten tests kill in milliseconds must not wait for the test
that makes a network. What each took when mutmut tried them all stands in its file; which killed
mutants before, in one that is written here.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

# Beside which mutmut runs the tests of a module.
STATS = Path("mutmut-stats.json")
KILLERS = Path("killers.txt")

OVERHEAD = 0.1  # seconds of a test beside its own


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember who kills."""
    if report.failed and STATS.exists():
        with KILLERS.open("a", encoding="utf-8") as file:  # short lines, whole from each process
            file.write(f"{report.nodeid}\n")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by seconds for each mutant killed; those of unknown duration come last."""
    if not STATS.exists():
        return
    took = json.loads(STATS.read_text(encoding="utf-8"))["duration_by_test"]
    killed = Counter(KILLERS.read_text(encoding="utf-8").splitlines() if KILLERS.exists() else ())
    never = float("inf")
    items.sort(
        key=lambda item: (took.get(item.nodeid, never) + OVERHEAD) / (1 + killed[item.nodeid])
    )
