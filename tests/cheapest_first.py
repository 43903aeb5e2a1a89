"""A plugin of pytest for mutants: the cheapest tests first, as the first that fails is the last.

mutmut keeps the tests of a function in a set and so runs them in no order. A mutant that ten tests
kill in milliseconds must not wait for the one that trains a network. What each test took when
mutmut tried them all stands in its file, beside which it runs them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

STATS = Path("mutmut-stats.json")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by what each test took; those that are not known come last."""
    if STATS.exists():
        took = json.loads(STATS.read_text(encoding="utf-8"))["duration_by_test"]
        items.sort(key=lambda item: took.get(item.nodeid, float("inf")))
