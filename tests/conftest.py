"""What every test run shares: Hypothesis profiles, the data beside the checkout, the skip policy.

Hypothesis runs by one of four profiles. `dev` draws a hundred examples of each law at random,
`ci` the same hundred in every run. `fuzz`, when SSD_FUZZ_EXAMPLES says how many, searches the laws
alone (`tox run -e fuzz`); `mutation` tries five, always the same (tests/mutation.py). What `dev`
and `fuzz` find is kept in .hypothesis/examples of the checkout, or the folder SSD_FUZZ_DB, and
tried first by the next run of either, `tox run` among them, until it passes; Hypothesis forgets it
then, or when the law itself is written otherwise. A finding that must never come back becomes a
case worked by hand.

No test is skipped in silence. Each run ends with a list of what was skipped and why; in CI a
skip that skips.txt does not foresee fails the run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest

REPOSITORY = Path(__file__).parents[1]
SKIPS = Path(__file__).with_name("skips.txt")


def is_set(variable: str) -> bool:
    """Whether an environment variable says yes."""
    return os.environ.get(variable, "").lower() not in {"", "0", "false", "no"}


# A first call compiles, so time per example says nothing; in CI the examples are always the same.
FINDINGS = Path(os.environ.get("SSD_FUZZ_DB") or REPOSITORY / ".hypothesis" / "examples")
EXAMPLES = os.environ.get("SSD_FUZZ_EXAMPLES") or "0"
FUZZ = int(EXAMPLES) if EXAMPLES.isdecimal() else 0
kept = hypothesis.database.DirectoryBasedExampleDatabase(FINDINGS)
hypothesis.settings.register_profile("dev", deadline=None, derandomize=False, database=kept)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile(
    "fuzz",
    max_examples=FUZZ or 1,
    deadline=None,
    derandomize=False,
    database=kept,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# Which example fails does not matter to tests/mutation.py, but that one does.
hypothesis.settings.register_profile(
    "mutation",
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("fuzz" if FUZZ else "ci" if is_set("CI") else "dev")


# --- the search for counterexamples ------------------------------------------------------------


def is_law(item: pytest.Item) -> bool:
    """Whether Hypothesis draws the examples of a test."""
    return getattr(getattr(item, "obj", None), "is_hypothesis_test", False)


class Fuzz:
    """Runs the laws alone, and says at the end what was searched and where the findings are."""

    def __init__(self) -> None:
        self.passed: list[int] = []  # examples of each law that holds, as far as was seen
        self.failed: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Leave out every test that draws nothing."""
        left_out = [item for item in items if not is_law(item)]
        items[:] = [item for item in items if is_law(item)]
        config.hook.pytest_deselected(items=left_out)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write the number of examples into the report, which travels to the main process."""
        report = yield
        if report.when == "call":
            said = getattr(item, "hypothesis_statistics", "")
            count = sum(int(number) for number in re.findall(r"(\d+) passing", said))
            report.user_properties.append(("examples", count))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a law."""
        if report.when == "call" and report.passed:
            self.passed.append(dict(report.user_properties)["examples"])
        elif report.failed:
            self.failed.append(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was searched."""
        terminalreporter.write_line(
            f"fuzz: {len(self.passed) + len(self.failed)} laws searched, "
            f"{sum(count >= FUZZ for count in self.passed)} of them with {FUZZ} examples or more, "
            f"{sum(self.passed)} in all; {len(self.failed)} broken; findings in {FINDINGS}"
        )


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
    parser.getgroup("bad input").addoption(
        "--write-messages",
        action="store_true",
        help="where test_bad_input.py looks at the words of errors: put them on record as they are",
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


# --- what is left to `tox run -e thorough` --------------------------------------------------------


class Left:
    """Counts the tests marked thorough that a run leaves out, and says so at its end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.count = 0

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """`-m "not thorough"` deselects; so may `-k` and others."""
        self.count += sum(item.get_closest_marker("thorough") is not None for item in items)

    def pytest_sessionfinish(self) -> None:
        """A worker of pytest-xdist tells the process that started it, which collects nothing."""
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["left"] = self.count

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Every worker collects, and so leaves out, the same tests."""
        self.count = max(self.count, getattr(node, "workeroutput", {}).get("left", 0))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many, in every run that leaves some."""
        if self.count:
            terminalreporter.write_line(
                f"left to `tox run -e thorough`: {self.count} tests marked thorough"
            )


# --- two processes -------------------------------------------------------------------------------

# The files that take longest. `--dist loadfile` hands out one after the other: what takes long must
# not be left for the end, where the other process has nothing more to do.
SLOWEST = (
    "test_conformance.py",
    "test_conventions.py",
    "test_ssd.py",
    "test_faults.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker of pytest-xdist, begin with them."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name not in SLOWEST)


def pytest_configure(config: pytest.Config) -> None:
    """Put the skip policy in force, count what is left out, and search if asked to."""
    if not EXAMPLES.isdecimal():
        raise pytest.UsageError(f"SSD_FUZZ_EXAMPLES: expected a number. Received: {EXAMPLES}")
    strict = is_set("CI") or is_set("SSD_STRICT_SKIPS")
    config.pluginmanager.register(SkipPolicy(read_allowed(SKIPS), strict), "ssd-skip-policy")
    config.pluginmanager.register(Left(config), "ssd-left-out")
    if FUZZ:
        config.pluginmanager.register(Fuzz(), "ssd-fuzz")
