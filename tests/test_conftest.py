"""The skip policy, the data fixtures and the search of laws, tried on throw-away test files."""

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
    for variable in (
        "CI",
        "SSD_STRICT_SKIPS",
        "SSD_REQUIRE_DATA",
        "SSD_SHARED",
        "SSD_FUZZ_EXAMPLES",
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SSD_FUZZ_DB", str(pytester.path / "findings"))
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    allow(pytester, "")
    profile = hypothesis.settings.get_current_profile_name()
    yield pytester
    hypothesis.settings.load_profile(profile)  # the inner runs are in this process and chose theirs


def allow(project: pytest.Pytester, lines: str) -> None:
    (project.path / "skips.txt").write_text(lines, encoding="utf-8")


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    return project.runpytest_inprocess("-q", "-p", "no:cacheprovider", *options)


# In this process, or spread over two that tell this one what they saw.
SPREAD = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["here", "spread"])


@pytest.mark.parametrize(
    ("variable", "workers"), [("CI", ()), ("SSD_STRICT_SKIPS", ()), ("CI", ("-n1",))]
)
def test_an_unforeseen_skip_fails_a_strict_run(project, monkeypatch, variable, workers):
    monkeypatch.setenv(variable, "true")
    project.makepyfile(test_it=SKIPPING)

    result = run(project, *workers)

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


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["here", "elsewhere"])
def test_a_module_that_skips_itself_is_not_silent(project, monkeypatch, workers):
    monkeypatch.setenv("CI", "true")
    project.makepyfile(test_it="import pytest; pytest.importorskip('no_such_module')")

    result = run(project, *workers)

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


THOROUGH = """
    import pytest

    def test_one():
        pass

    @pytest.mark.thorough
    @pytest.mark.parametrize("n", [1, 2])
    def test_two(n):
        pass
"""


@SPREAD
def test_what_is_left_out_as_thorough_is_counted_and_what_else_is_not(project, workers):
    project.makepyfile(test_it=THOROUGH)

    result = run(project, "-m", "not thorough", *workers)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["left to `tox run -e thorough`: 2 tests marked thorough"])


def test_nothing_is_said_where_nothing_is_left_out(project):
    project.makepyfile(test_it=THOROUGH)
    for options in ((), ("-m", "thorough"), ("-k", "test_two")):
        assert "left to" not in run(project, *options).stdout.str(), options


@pytest.mark.parametrize(
    ("workers", "first"),
    [((), "test_anchors.py"), (("-n1", "--no-loadscope-reorder"), "test_ssd.py")],
    ids=["here", "elsewhere"],
)
def test_where_tests_are_spread_the_slowest_files_come_first(project, workers, first):
    passing = "def test_passes(): pass"
    project.makepyfile(test_anchors=passing, test_boxes=passing, test_ssd=passing)

    result = run(project, "-vv", "--dist=loadfile", *workers)

    names = [line for line in result.outlines if "PASSED" in line]
    assert len(names) == 3
    assert first in names[0], names


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


LAWS = """
    from pathlib import Path

    import pytest
    from hypothesis import given, settings
    from hypothesis import strategies as st

    SEEN = Path(__file__).with_name("seen.txt")

    def test_draws_nothing():
        assert False, "left out of a search"

    @given(st.integers(0, 10**6))
    def test_holds(n):
        pass

    @settings(max_examples=5)
    @given(st.integers(0, 10**6))
    def test_holds_on_few(n):
        pass

    @given(st.integers(0, 10**6))
    def test_breaks(n):
        with SEEN.open("a") as seen:
            seen.write(f"{n}\\n")
        assert n < 1000
"""


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["here", "elsewhere"])
def test_a_search_runs_the_laws_alone_and_counts_what_it_tried(project, monkeypatch, workers):
    monkeypatch.setenv("SSD_FUZZ_EXAMPLES", "30")
    project.makepyfile(test_it=LAWS)

    result = run(project, *workers)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2, failed=1, deselected=0 if workers else 1)
    result.stdout.fnmatch_lines(
        [
            "*You can reproduce this *@reproduce_failure(*",
            "fuzz: 3 laws searched, 1 of them with 30 examples or more, 35 in all; 1 broken; "
            f"findings in {project.path / 'findings'}",
        ]
    )


@pytest.mark.parametrize("examples", ["many", "-5", "1e4"])
def test_a_search_for_no_number_of_examples_is_one_sentence(project, monkeypatch, examples):
    monkeypatch.setenv("SSD_FUZZ_EXAMPLES", examples)
    project.makepyfile(test_it=LAWS)

    result = run(project)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: SSD_FUZZ_EXAMPLES: expected a number. Received: {examples}"]
    )
    result.stderr.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("later", ["", "30"])
def test_what_a_search_found_is_tried_first_by_every_later_run(project, monkeypatch, later):
    monkeypatch.setenv("SSD_FUZZ_EXAMPLES", "30")
    project.makepyfile(test_it=LAWS)
    run(project)
    seen = project.path / "seen.txt"
    seen.unlink()

    monkeypatch.setenv("SSD_FUZZ_EXAMPLES", later)
    run(project, "-k", "breaks")

    assert seen.read_text(encoding="utf-8").split()[0] == "1000", "the simplest, found before"


@pytest.mark.parametrize("search", [False, True])
def test_in_ci_the_examples_are_always_the_same_and_a_search_is_random(
    project, monkeypatch, search
):
    monkeypatch.setenv("CI", "true")
    project.makepyfile(test_it=LAWS.replace("n < 1000", "True"))
    seen = project.path / "seen.txt"
    runs = []
    for _ in range(2):
        if search:
            monkeypatch.setenv("SSD_FUZZ_EXAMPLES", "30")
        run(project, "-k", "breaks")
        runs.append(seen.read_text(encoding="utf-8"))
        seen.unlink()
    assert (runs[0] == runs[1]) != search
