"""Which implementation is held to the reference, and the report of how it did.

Nothing here imports Keras: another implementation may not get along with TensorFlow in one process.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from keras_impl.conformance.report import merged, summary, to_markdown
from keras_impl.conformance.suite import Implementation

SHIPPED = Path(__file__).parents[1] / "implementations"
IMPLEMENTATION = pytest.StashKey[Implementation]()
OUTCOMES = pytest.StashKey[list[dict[str, Any]]]()


def load(name: str) -> Implementation:
    """The adapter of a name, or the object of a module."""
    module, colon, attribute = name.partition(":")
    if colon:
        sys.path.insert(0, str(Path.cwd()))
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except ImportError as error:
            raise pytest.UsageError(f"--implementation {name}: {error}") from error
        finally:
            sys.path.pop(0)
    else:
        path = SHIPPED / f"{name}.py"
        if not path.is_file():
            known = ", ".join(sorted(one.stem for one in SHIPPED.glob("[!_]*.py")))
            raise pytest.UsageError(
                f"--implementation: expected module:object or one of {known}. Received: {name}"
            )
        spec = importlib.util.spec_from_file_location(f"implementation_{name}", path)
        adapter = importlib.util.module_from_spec(spec)
        # A library that is not installed is an error here, never a skip: it was asked for.
        spec.loader.exec_module(adapter)
        found = adapter.IMPLEMENTATION
    if not isinstance(found, Implementation):
        raise pytest.UsageError(
            f"--implementation {name}: expected a keras_impl.conformance.Implementation. "
            f"Received: {found!r}"
        )
    return found


def implementation_of(config: pytest.Config) -> Implementation:
    """The implementation of this run, loaded once."""
    if IMPLEMENTATION not in config.stash:
        config.stash[IMPLEMENTATION] = load(config.getoption("implementation"))
    return config.stash[IMPLEMENTATION]


@pytest.fixture(scope="session")
def implementation(request: pytest.FixtureRequest) -> Implementation:
    """What is compared with the reference."""
    return implementation_of(request.config)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Another implementation is asked by test_conformance.py; the other files are about Keras."""
    about_keras = collection_path.suffix == ".py" and collection_path.name != "test_conformance.py"
    if config.getoption("implementation") != "keras" and about_keras:
        return True
    return None


# What no backend of Keras changes, by file and by how the names of its tests begin: NumPy on the
# host, judges, the structure of a network, and rules that test_conformance.py asks about too.
ON_TENSORFLOW_ALONE = {
    **dict.fromkeys(
        (
            *("test_architecture.py", "test_comparisons.py", "test_drift.py"),
            *("test_host_detection.py", "test_host_faults.py", "test_host_laws.py"),
            *("test_host_matching.py", "test_mobilenet_v2.py"),
        ),
        ("test_",),
    ),
    "test_bad_input.py": ("test_a_detector_refuses",),
    "test_conventions.py": ("test_conflict_case",),
    "test_detection.py": ("test_options_mean", "test_rules_among"),
    "test_matching.py": ("test_rules_mean",),
    "test_targets.py": ("test_crowds_are_flags", "test_few_and_many"),
    "test_ssd.py": (
        *("test_is_the_papers", "test_layouts", "test_more_extra_maps", "test_named_layouts"),
        *("test_outputs_a", "test_saved_model", "test_the_300_pixel_ssd"),
        *("test_the_reference_computes_the_published", "test_what_compile_was_told"),
    ),
}
TENSORFLOW = os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"


@pytest.hookimpl(tryfirst=True)  # before pytest looks at -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what repeats other tests as thorough.

    Of graphs a first verdict asks the table alone. A graph is what XLA compiles, run by the kernels
    of eager mode: where these two are right, there is little left to find.
    """
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        name = getattr(item, "originalname", item.name)
        given = getattr(getattr(item, "callspec", None), "params", {})
        graph = any(isinstance(one, str) and one == "graph" for one in given.values())
        once = name.startswith(ON_TENSORFLOW_ALONE.get(item.path.name, ()))
        if (graph and name != "test_operation") or (once and not TENSORFLOW):
            item.add_marker(pytest.mark.thorough)


# --- the report ----------------------------------------------------------------------------------


class Collector:
    """Gathers what test_conformance.py says of each operation, and writes it at the end."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self.config, self.path = config, path
        self.outcomes: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test speaks through `record_property("conformance", ...)`."""
        said = [value for name, value in report.user_properties if name == "conformance"]
        if report.when == "call" and said:
            deviates = hasattr(report, "wasxfail") and report.skipped
            deviates |= (
                bool(said[-1].get("uncertain")) and report.passed
            )  # by luck, on this machine
            outcome = "known deviation" if deviates else report.outcome
            self.outcomes.append({**said[-1], "outcome": outcome})

    def pytest_sessionfinish(self) -> None:
        """Keep what other implementations left in the file."""
        if not self.outcomes:
            return
        old = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        report = merged(old, summary(implementation_of(self.config), self.outcomes))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        self.path.with_suffix(".md").write_text(to_markdown(report), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where it is."""
        if self.outcomes:
            terminalreporter.write_line(f"conformance: {self.path}, {self.path.with_suffix('.md')}")


def pytest_configure(config: pytest.Config) -> None:
    """Load what is asked for, so that a mistake is one sentence; collect for the report."""
    if config.getoption("implementation") != "keras":
        implementation_of(config)
    path = config.getoption("conformance_report")
    if path is not None:
        if path.suffix == ".md":
            raise pytest.UsageError(
                f"--conformance-report: expected the JSON file, beside which the Markdown is "
                f"written. Received: {path}"
            )
        # A worker of pytest-xdist sends what it hears to the process that started it.
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(Collector(config, path), "conformance-report")
