"""Format the table that a run prints: a line for each load, implementations side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.workloads import REFERENCE, RUNNERS, Runner


class Row(NamedTuple):
    """One timing: its `extra_info` in the JSON, its median in seconds, its excused near-ties."""

    extra_info: dict[str, Any]
    median: float
    excused: int


LEGEND = (
    "ms: median in milliseconds; M/s: million pairs per second; "
    "ratio: times faster than the reference"
)


def table(rows: list[Row]) -> list[str]:
    """Return the lines: a block for each operation, a line for each load, columns by runner."""
    operations: dict[str, dict[tuple[Any, ...], dict[Runner, Row]]] = {}
    for row in rows:
        info = row.extra_info
        load = (info["batch"], info["objects"], info["anchors"])
        runner = Runner(info["implementation"], info["mode"])
        operations.setdefault(info["operation"], {}).setdefault(load, {})[runner] = row

    lines = [LEGEND]
    for operation, by_load in operations.items():
        runners = [runner for runner in RUNNERS if any(runner in of for of in by_load.values())]
        columns = {runner: 2 if runner == REFERENCE else 3 for runner in runners}
        names = ["batch", "objects", "anchors"]
        units = [unit for count in columns.values() for unit in ("ms", "M/s", "ratio")[:count]]
        lines += [
            "",
            f"{operation:<24}" + "".join(f"{runner!s:>{8 * n}}" for runner, n in columns.items()),
            "".join(f"{name:>8}" for name in [*names, *units]),
        ]
        for load, of in by_load.items():
            cells = ["-" if size is None else str(size) for size in load]
            for runner, count in columns.items():
                cells += numbers(of.get(runner), of.get(REFERENCE))[:count]
            lines.append("".join(f"{cell:>8}" for cell in cells))
    return lines


def numbers(row: Row | None, reference: Row | None) -> list[str]:
    """Return time, pairs per second and ratio; "-" for what was not measured."""
    if row is None:
        return ["-", "-", "-"]
    pairs = row.extra_info["pairs_per_second"]
    return [
        short(row.median * 1e3),
        "-" if pairs is None else short(pairs / 1e6),
        "-" if reference is None else short(reference.median / row.median),
    ]


def short(number: float) -> str:
    """Format a number with three digits or, below 1, three decimals; it fits into 8 columns."""
    decimals = next((digits for least, digits in ((100, 0), (10, 1), (1, 2)) if number >= least), 3)
    return f"{number:.{decimals}f}"
