"""Test the table with numbers that are easy to divide."""

from __future__ import annotations

import pytest

from benchmarks.table import Row, short, table


def row(implementation, mode, median, pairs, *, operation="matching", objects=8):
    info = {
        "operation": operation,
        "implementation": implementation,
        "mode": mode,
        "anchors": 1917,
        "objects": objects,
        "batch": 1,
        "pairs_per_second": None if pairs is None else pairs / median,
    }
    return Row(info, median, 0)


def test_runners_stand_side_by_side_in_the_order_of_the_grid():
    rows = [row("keras", "xla", 0.001, 2e6), row("reference", "host", 0.004, 2e6)]

    _, _, names, units, line = table(rows)

    assert names.split() == ["matching", "reference", "host", "keras", "xla"]
    assert units.split() == ["batch", "objects", "anchors", "ms", "M/s", "ms", "M/s", "ratio"]
    assert line.split() == ["1", "8", "1917", "4.00", "500", "1.00", "2000", "4.00"]
    assert len(names) == len(units) == len(line)


def test_what_was_not_timed_is_a_dash():
    rows = [
        row("keras", "graph", 0.001, 2e6),
        row("keras", "xla", 0.001, 2e6, objects=32),
        row("keras", "graph", 0.002, None, operation="network", objects=None),
    ]

    lines = [line.split() for line in table(rows)]

    assert ["1", "8", "1917", "1.00", "2000", "-", "-", "-", "-"] in lines
    assert ["1", "32", "1917", "-", "-", "-", "1.00", "2000", "-"] in lines
    assert ["1", "-", "1917", "2.00", "-", "-"] in lines


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0123, "0.012"), (0.5, "0.500"), (1.234, "1.23"), (12.34, "12.3"), (12345.6, "12346")],
)
def test_numbers_are_short(number, text):
    assert short(number) == text
