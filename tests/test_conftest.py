"""Skips in CI, missing data and the number of examples, tried on throw-away test files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py")
SKIPS = 'import pytest\ndef test_it(): pytest.skip("no such device")'
FORESEEN = 'import pytest\ndef test_it(): pytest.skip("shared data not found: mnist")'
FAILS = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False"
MODULE = 'import pytest\npytest.importorskip("no_such_module")'
NEEDS = "def test_it(mnist_folder): assert mnist_folder.is_dir()"


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.Pytester]:
    """A folder with this project's conftest.py and a neutral environment."""
    for variable in ("CI", "SSD_STRICT_SKIPS", "SSD_REQUIRE_DATA", "SSD_FUZZ_EXAMPLES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SSD_FUZZ_DB", str(pytester.path / "findings"))
    monkeypatch.setenv("SSD_SHARED", str(pytester.path / "shared"))
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    profile = hypothesis.settings.get_current_profile_name()
    yield pytester
    hypothesis.settings.load_profile(profile)  # the inner runs are in this process and chose theirs


@pytest.mark.parametrize(
    ("source", "strict", "outcome"),
    [
        (SKIPS, "", "skipped"),
        (SKIPS, "CI", "failed"),
        (SKIPS, "SSD_STRICT_SKIPS", "failed"),
        (MODULE, "", "skipped"),
        (MODULE, "CI", "errors"),
        (FORESEEN, "CI", "skipped"),
        (FAILS, "CI", "xfailed"),
        (NEEDS, "CI", "skipped"),
        (NEEDS, "SSD_REQUIRE_DATA", "errors"),
    ],
)
@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["here", "elsewhere"])
def test_a_skip_fails_where_none_is_allowed(project, monkeypatch, source, strict, outcome, workers):
    if strict:
        monkeypatch.setenv(strict, "1")
    project.makepyfile(test_it=source)
    result = project.runpytest_inprocess("-p", "no:cacheprovider", *workers)
    result.assert_outcomes(**{outcome: 1})


def test_data_is_found_where_told(project):
    (project.path / "shared/data/mnist").mkdir(parents=True)
    project.makepyfile(test_it=NEEDS)
    project.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


@pytest.mark.parametrize("examples", ["many", "-5", "1e4"])
def test_a_search_for_no_number_of_examples_is_one_sentence(project, monkeypatch, examples):
    monkeypatch.setenv("SSD_FUZZ_EXAMPLES", examples)
    result = project.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*SSD_FUZZ_EXAMPLES: expected a number. Received: {examples}"])
