"""What every test run shares: Hypothesis profiles, the data beside the checkout, the skip policy.

No test is skipped in silence. Each run ends with a list of what was skipped and why; in CI a
skip that skips.txt does not foresee fails the run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

REPOSITORY = Path(__file__).parents[1]
SKIPS = Path(__file__).with_name("skips.txt")


def is_set(variable: str) -> bool:
    """Whether an environment variable says yes."""
    return os.environ.get(variable, "").lower() not in {"", "0", "false", "no"}


# A first call compiles, so time per example says nothing; in CI the examples are always the same.
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if is_set("CI") else "dev")


# --- data beside the checkout ------------------------------------------------------------------


@pytest.fixture(scope="session")
def require_data() -> Callable[[str], Path]:
    """A function from a path below shared/ to the path on this machine.

    The folder is the environment variable SSD_SHARED, or shared/ beside the checkout. What is
    not there skips the test, or fails it where SSD_REQUIRE_DATA is set.
    """

    def find(name: str) -> Path:
        shared = Path(os.environ.get("SSD_SHARED") or REPOSITORY.parent / "shared")
        path = shared / name
        if not path.exists():
            stop = pytest.fail if is_set("SSD_REQUIRE_DATA") else pytest.skip
            stop(f"shared data not found: {name} in {shared} (SSD_SHARED names another folder)")
        return path

    return find


@pytest.fixture(scope="session")
def mnist_folder(require_data: Callable[[str], Path]) -> Path:
    """The folder of the four original MNIST files."""
    return require_data("data/mnist")


# --- options of tests/parity, here because pytest wants to know them at once --------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Name the implementation that tests/parity holds to the reference, and where to say so."""
    group = parser.getgroup("parity")
    group.addoption(
        "--implementation",
        default="keras",
        metavar="NAME_OR_module:object",
        help="what tests/parity compares with the reference: an adapter of tests/implementations "
        "by name, or an object of yours (docs/conformance.md); default: keras",
    )
    group.addoption(
        "--conformance-report",
        type=Path,
        metavar="FILE",
        help="write FILE (JSON) and the same as Markdown beside it: operation by implementation; "
        "what other implementations left there stays",
    )


# --- the skip policy ---------------------------------------------------------------------------


class Allowed(NamedTuple):
    """A line of skips.txt: tests, and the words that their reason must contain."""

    tests: re.Pattern[str]
    reason: str


def read_allowed(path: Path) -> list[Allowed]:
    """The skips that the written list foresees; a line that says less is an error."""
    allowed = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        tests, bar, reason = (part.strip() for part in line.partition(" | "))
        if not (tests and bar and reason):
            raise pytest.UsageError(
                f"{path.name}, line {number}: expected `test pattern | reason`. Received: {line!r}"
            )
        # Not fnmatch, to which the [...] of a parametrised test is a set of characters.
        pattern = ".*".join(re.escape(part) for part in tests.split("*"))
        allowed.append(Allowed(re.compile(pattern), reason))
    return allowed


class SkipPolicy:
    """Collects the skips of a run, prints them, and fails a strict run on an unforeseen one."""

    def __init__(self, allowed: list[Allowed], strict: bool) -> None:
        self.allowed = allowed
        self.strict = strict
        self.skips: list[tuple[str, str, bool]] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Remember a skipped test, or a module skipped while it was collected."""
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        where = report.longrepr
        reason = str(where[2] if isinstance(where, tuple) else where).removeprefix("Skipped: ")
        foreseen = any(
            line.tests.fullmatch(report.nodeid) and line.reason in reason for line in self.allowed
        )
        self.skips.append((report.nodeid, reason, foreseen))

    pytest_runtest_logreport = note
    pytest_collectreport = note

    @property
    def broken(self) -> bool:
        """Whether this run must fail for its skips."""
        return self.strict and not all(foreseen for *_, foreseen in self.skips)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn success into failure."""
        if self.broken and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was skipped, in every run."""
        write = terminalreporter.write_line
        if not self.skips:
            write("no test was skipped")
            return
        terminalreporter.section("skipped tests")
        for nodeid, reason, foreseen in self.skips:
            write(f"{nodeid}: {reason} ({'' if foreseen else 'NOT '}in {SKIPS.name})")
        if self.broken:
            write(f"FAILED: in CI a test is skipped only if {SKIPS} foresees it", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Put the skip policy in force."""
    strict = is_set("CI") or is_set("SSD_STRICT_SKIPS")
    config.pluginmanager.register(SkipPolicy(read_allowed(SKIPS), strict), "ssd-skip-policy")
