"""The skip policy and the data fixtures, tried on throw-away test files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py")

SKIPPING = """
    import pytest

    def test_passes():
        pass

    @pytest.mark.parametrize("size", [1, 2])
    def test_skips(size):
        pytest.skip("no such device")
"""


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.Pytester]:
    """A folder with this project's conftest.py, an empty skips.txt and a neutral environment."""
    for variable in ("CI", "SSD_STRICT_SKIPS", "SSD_REQUIRE_DATA", "SSD_SHARED"):
        monkeypatch.delenv(variable, raising=False)
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    allow(pytester, "")
    profile = hypothesis.settings.get_current_profile_name()
    yield pytester
    hypothesis.settings.load_profile(profile)  # the inner runs are in this process and chose theirs


def allow(project: pytest.Pytester, lines: str) -> None:
    (project.path / "skips.txt").write_text(lines, encoding="utf-8")


def run(project: pytest.Pytester) -> pytest.RunResult:
    return project.runpytest_inprocess("-q", "-p", "no:cacheprovider")


@pytest.mark.parametrize("variable", ["CI", "SSD_STRICT_SKIPS"])
def test_an_unforeseen_skip_fails_a_strict_run(project, monkeypatch, variable):
    monkeypatch.setenv(variable, "true")
    project.makepyfile(test_it=SKIPPING)

    result = run(project)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(
        ["*test_it.py::test_skips?2?: no such device (NOT in skips.txt)", "FAILED: in CI *"]
    )


def test_elsewhere_a_skip_is_printed_and_passes(project):
    project.makepyfile(test_it=SKIPPING)

    result = run(project)

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*test_skips?1?: no such device (NOT in skips.txt)"])


@pytest.mark.parametrize(
    ("lines", "passes"),
    [
        ("test_it.py::test_skips* | no such device", True),
        ("# a comment\n\n* | device\n", True),
        ("test_it.py::test_skips[1] | device\ntest_it.py::test_skips[2] | device", True),
        ("test_it.py::test_skips[1] | device", False),
        ("test_it.py::test_skips* | another reason", False),
        ("test_skips* | no such device", False),
    ],
)
def test_a_skip_is_foreseen_by_its_name_and_its_reason(project, monkeypatch, lines, passes):
    monkeypatch.setenv("CI", "true")
    project.makepyfile(test_it=SKIPPING)
    allow(project, lines)

    result = run(project)

    assert (result.ret == pytest.ExitCode.OK) == passes


def test_a_module_that_skips_itself_is_not_silent(project, monkeypatch):
    monkeypatch.setenv("CI", "true")
    project.makepyfile(test_it="import pytest; pytest.importorskip('no_such_module')")

    result = run(project)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["test_it.py: could not import 'no_such_module'*(NOT in skips.txt)"]
    )


def test_an_expected_failure_is_not_a_skip(project, monkeypatch):
    monkeypatch.setenv("CI", "true")
    project.makepyfile(
        test_it="import pytest\n@pytest.mark.xfail\ndef test_fails():\n    assert False"
    )

    result = run(project)

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["no test was skipped"])


def test_a_line_without_a_reason_is_refused(project):
    project.makepyfile(test_it=SKIPPING)
    allow(project, "# why\ntest_it.py::test_skips*")

    result = run(project)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*skips.txt, line 2: expected `test pattern | reason`*"])


NEEDING = """
    def test_needs(require_data, mnist_folder):
        assert require_data("data").name == "data"
        assert mnist_folder.is_dir()
"""


@pytest.mark.parametrize(("required", "outcome"), [("0", "skipped"), ("1", "errors")])
def test_missing_data_skips_or_fails(project, monkeypatch, required, outcome):
    monkeypatch.setenv("SSD_REQUIRE_DATA", required)
    monkeypatch.setenv("SSD_SHARED", str(project.path / "nowhere"))
    project.makepyfile(test_it=NEEDING)

    result = run(project)

    result.assert_outcomes(**{outcome: 1})
    result.stdout.fnmatch_lines(["*shared data not found: data/mnist in */nowhere*"])


def test_data_is_found_beside_the_checkout_or_where_told(project, monkeypatch):
    project.makepyfile(test_it=NEEDING)
    (project.path / "shared/data/mnist").mkdir(parents=True)
    monkeypatch.setenv("SSD_SHARED", str(project.path / "shared"))
    run(project).assert_outcomes(passed=1)

    # The conftest of a checkout lies in its folder tests/.
    monkeypatch.delenv("SSD_SHARED")
    tests = project.mkdir("checkout") / "tests"
    tests.mkdir()
    for name in ("conftest.py", "skips.txt", "test_it.py"):
        (project.path / name).rename(tests / name)
    run(project).assert_outcomes(passed=1)
