"""What every test run shares: Hypothesis profiles, data beside the checkout, no skips in CI.

Hypothesis runs by one of four profiles. `dev` draws a hundred random examples of each law, `ci` the
same hundred in every run. `fuzz`, when SSD_FUZZ_EXAMPLES says how many, searches at random
(`tox run -e fuzz`); `mutation` tries five, always the same (tests/mutation.py). What `dev` and
`fuzz` find is kept in .hypothesis/examples of the checkout, or in the folder SSD_FUZZ_DB, and tried
first by the next run of either, until it passes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

REPOSITORY = Path(__file__).parents[1]


def is_set(variable: str) -> bool:
    """Whether an environment variable says yes."""
    return os.environ.get(variable, "").lower() not in {"", "0", "false", "no"}


# A first call compiles, so time per example says nothing; in CI the examples are always the same.
EXAMPLES = os.environ.get("SSD_FUZZ_EXAMPLES") or "0"
FUZZ = int(EXAMPLES) if EXAMPLES.isdecimal() else 0
kept = hypothesis.database.DirectoryBasedExampleDatabase(
    os.environ.get("SSD_FUZZ_DB") or REPOSITORY / ".hypothesis" / "examples"
)
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


@pytest.fixture(autouse=True)
def no_progress_of_slow_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal the program tells of progress after 15 s: never, in a test."""
    if "keras_impl.cli" in sys.modules:
        monkeypatch.setattr("keras_impl.cli.console.BEAT", float("inf"))


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


# --- no skips in CI ------------------------------------------------------------------------------

# What a reason must contain for a skip to pass where CI or SSD_STRICT_SKIPS is set. The originals
# of MNIST are not shipped; SSD_REQUIRE_DATA=1, as .ci/run has it, makes that a failure. DALI, whose
# wheel has 424 MB, is installed by `tox run -e bench-peers` alone.
ALLOWED_SKIPS = (
    "shared data not found",
    "this backend of Keras traces nothing",
    "left out for its size",
)


def judge_skip(report: Any) -> Any:
    """Make a skip that nobody foresaw a failure."""
    reason = str(report.longrepr)
    foreseen = hasattr(report, "wasxfail") or any(words in reason for words in ALLOWED_SKIPS)
    if report.skipped and not foreseen and (is_set("CI") or is_set("SSD_STRICT_SKIPS")):
        report.outcome, report.longrepr = "failed", f"skipped in CI, and not foreseen: {reason}"
    return report


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Of a test."""
    return judge_skip((yield))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Of a module that skips itself while it is collected."""
    return judge_skip((yield))


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


def pytest_configure() -> None:
    """Refuse a number of examples that is none in one sentence."""
    if not EXAMPLES.isdecimal():
        raise pytest.UsageError(f"SSD_FUZZ_EXAMPLES: expected a number. Received: {EXAMPLES}")
