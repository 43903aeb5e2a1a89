"""Run the benchmarks and print one table at the end.

Every result is checked before the call is timed. pytest-benchmark times and writes JSON. Its
tables, one for each load, are replaced by one table with the implementations side by side.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest

from keras_impl._common.timing import measure
from keras_impl.benchmark.peers import installed

if installed("torchvision"):
    import torchvision  # noqa: F401  # in one process, before TensorFlow (docs/peer-bugs.md)

import keras

from benchmarks.table import Row, table
from benchmarks.workloads import Load, Runner, is_quick

# A timing has as many rounds as fit into SECONDS, within the limits.
SECONDS = 0.5
LEAST_ROUNDS, MOST_ROUNDS = 3, 200

ROWS = pytest.StashKey[list[Row]]()
NOTES = pytest.StashKey[list[str]]()
LOAD_AVERAGE = pytest.StashKey[float | None]()


def pytest_configure(config: pytest.Config) -> None:
    config.option.benchmark_quiet = True
    # A wrong result is not timed; that must not be reported as a second error.
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used")
    config.stash[ROWS] = []
    config.stash[NOTES] = []
    config.stash[LOAD_AVERAGE] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def pytest_sessionstart() -> None:
    # As an error at the end of the run, this warning would hide the failures that caused it.
    warnings.filterwarnings("default", "Not saving anything")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without timing, keep only a corner of the grid, enough to check all implementations."""
    if not config.getoption("benchmark_disable"):
        return

    def is_left_out(item: pytest.Item) -> bool:
        load = item.callspec.params.get("load") if hasattr(item, "callspec") else None
        return isinstance(load, Load) and not is_quick(load)

    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


class Traced:
    """A function that counts how often Python runs it; in a graph that is only while tracing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.runs = 0

    def __call__(self, *arguments: Any) -> Any:
        self.runs += 1
        return self.function(*arguments)


Timed = Callable[..., None]


@pytest.fixture
def timed(benchmark: Any, pytestconfig: pytest.Config) -> Timed:
    """Return a function that checks the result of an implementation on a load, then times it."""

    def run(
        load: Load,
        runner: Runner,
        function: Callable[..., Any],
        arguments: tuple[np.ndarray, ...],
        check: Callable[[Any], int],
        pairs: int | None = None,
    ) -> None:
        """Check, then time.

        Args:
            load: The load.
            runner: The implementation and its mode.
            function: Function from `arguments` to a result. A Keras function takes tensors and
                runs in the runner's mode; the copy of its result to NumPy is timed too, since it
                waits for the device.
            arguments: Inputs, made before the timing; for Keras they are moved to the device
                before.
            check: Raises AssertionError if the result is wrong; returns the number of near-ties
                that it excused.
            pairs: Number of pairs in the load.
        """
        traced = Traced(function)
        device = "cpu"
        if runner.implementation == "keras" and runner.mode != "host":
            from keras_impl.backends import in_mode

            device = keras_device()
            arguments = tuple(map(keras.ops.convert_to_tensor, arguments))
            call = in_mode(traced, runner.mode)
        else:
            call = traced

        def rounds(
            call: Callable[[], Any], seconds: float, least: int, most: int
        ) -> tuple[list[float], Any]:
            count = least
            if benchmark.enabled:
                start = time.perf_counter()
                call()
                count = int(seconds / (time.perf_counter() - start))
            runs = traced.runs
            benchmark.group = f"{load.operation} {load}"
            benchmark.has_error = True  # keeps the timing out of the JSON until it is checked
            last = benchmark.pedantic(call, rounds=max(least, min(most, count)))
            # Only our own functions can be counted; peers trace graphs of their own.
            in_graph = runner.implementation == "keras" and runner.mode in {"graph", "xla"}
            assert not in_graph or traced.runs == runs, "traced while timed"
            return benchmark.stats.stats.data if benchmark.enabled else [], last

        excused = measure(
            partial(call, *arguments),
            check,
            seconds=SECONDS,
            least=LEAST_ROUNDS,
            most=MOST_ROUNDS,
            run=rounds,
        ).excused
        if benchmark.enabled:
            median = benchmark.stats.stats.median
            info = {
                "operation": load.operation,
                "implementation": runner.implementation,
                "mode": runner.mode,
                "device": device,
                "anchors": load.anchors,
                "objects": load.objects,
                "batch": load.batch,
                "pairs_per_second": None if pairs is None else pairs / median,
            }
            benchmark.extra_info.update(info)
            pytestconfig.stash[ROWS].append(Row(info, median, excused))
        benchmark.has_error = False

    return run


def keras_device() -> str:
    """Return the kind of device that TensorFlow uses: an accelerator if it sees one."""
    kinds = [device.partition(":")[0] for device in keras.distribution.list_devices()]
    return next((kind for kind in kinds if kind != "cpu"), "cpu")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    rows, notes = config.stash[ROWS], config.stash[NOTES]
    if not rows and not notes:
        return
    write = terminalreporter.write_line
    terminalreporter.section("benchmarks")
    for line in [*(table(rows) if rows else []), *notes]:
        write(line)
    load_average = config.stash[LOAD_AVERAGE]
    busy = "unknown" if load_average is None else f"{load_average:.1f}"
    software = ", ".join(f"{name} {version(name)}" for name in ("numpy", "tensorflow", "keras"))
    write("")
    write(f"{os.cpu_count()} processors, load average {busy} before the run; {software}")
    excused = sum(row.excused for row in rows)
    proven = ", each with a proof" if excused else ""
    write(f"near-ties excused in {excused} images{proven}")
