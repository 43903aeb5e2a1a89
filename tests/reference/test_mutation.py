"""`tests/mutation.py`: what counts as killed, and how survivors and reasons are read."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tests import cheapest_first, mutation
from tests.mutation import Module, Reason, Result, Survivor

MODULE = Module("reference_numpy", "boxes", ("tests/reference/test_boxes.py",))
ONE = f"(1 of {len(mutation.REFERENCE)} modules)"
MUTATED = """
def x_area__mutmut_orig(boxes):
    return boxes[2] * boxes[3]


def x_area__mutmut_1(boxes):
    return boxes[2] / boxes[3]


def x_area__mutmut_2(
    boxes,
):
    return None

def other():
    pass
"""


@pytest.fixture
def left(tmp_path, monkeypatch):
    """A folder as mutmut leaves it, with the exit codes asked for."""

    def leave(*codes):
        monkeypatch.setattr(mutation, "WORK", tmp_path)
        monkeypatch.setattr(mutation, "excluded", lambda module: {})
        folder = MODULE.folder / "mutants"
        folder.mkdir(parents=True)
        (MODULE.folder / "mutants" / MODULE.source).parent.mkdir()
        (MODULE.folder / "mutants" / MODULE.source).write_text(MUTATED, encoding="utf-8")
        names = [f"reference_numpy.boxes.x_area__mutmut_{1 + row}" for row in range(len(codes))]
        verdicts = {"exit_code_by_key": dict(zip(names, codes, strict=True))}
        mutation.meta_of(MODULE).write_text(json.dumps(verdicts), encoding="utf-8")
        mutation.spent_on(MODULE).write_text("30.0 2\n60.5 4\n", encoding="utf-8")
        return mutation.read(MODULE)

    return leave


def test_only_a_failing_test_kills(left):
    result = left(1, 3)
    assert (result.killed, result.survivors, result.total) == (2, [], 2)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(0, "survived"), (5, "no tests"), (24, "timeout"), (-11, "crash"), (7, "exit code 7")],
)
def test_everything_else_survives(left, code, outcome):
    result = left(1, code)
    assert (result.killed, result.total) == (1, 2)
    assert [one.outcome for one in result.survivors] == [outcome]
    assert [one.function for one in result.survivors] == ["area"]


def test_a_change_is_its_lines(left):
    (one, *_) = left(0).survivors
    assert one.change == "- return boxes[2] * boxes[3]\n+ return boxes[2] / boxes[3]"


def test_the_time_of_all_runs_counts(left):
    result = left(1)
    assert result.seconds == 90.5
    assert mutation.spent([result, result]) == "3 minutes, with 2 or 4 processes at once"
    older = Result(MODULE, 1)
    some = "2 minutes, with 2 or 4 processes at once; ? is one of 1 that were not kept"
    assert mutation.spent([result, older]) == some
    assert mutation.spent([older]) == "a time that was not kept"
    assert list(mutation.table([older]))[-1].endswith("| 100.0 % | ? |")


def test_what_was_never_run_is_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr(mutation, "WORK", tmp_path)
    assert [one.outcome for one in mutation.read(MODULE).survivors] == ["not checked"]


def test_a_method_has_the_name_of_its_class():
    assert mutation.plain_name("xǁConventionǁbut__mutmut_12") == "Convention.but"
    assert mutation.plain_name("x__area__mutmut_3") == "_area"


def survivor(outcome="survived", function="area"):
    return Survivor("reference_numpy.boxes", function, "- a\n+ b", outcome)


def test_a_score_is_never_rounded_up_and_counts_what_was_left_out():
    results = [Result(MODULE, 9995, [survivor()] * 4, {"decorated": 1}, 150)]
    assert mutation.score(results) == 99.95
    assert mutation.verdict(results) == f"mutation: reference 99.9 % {ONE} keras not run"
    (row,) = list(mutation.table(results))[2:]
    assert row == "| `reference_numpy.boxes` | 10000 | 9995 | 4 | 0 | 1 | 99.9 % | 2.5 |"


def test_the_last_line_of_a_whole_run():
    results = [
        Result(module, 96 if module.package == "reference_numpy" else 91, [survivor()] * 4)
        for module in mutation.modules()
    ]
    assert mutation.verdict(results) == "mutation: reference 96.0 % keras 95.7 %"


def listed(tmp_path, text):
    path = tmp_path / "survivors.toml"
    path.write_text(text, encoding="utf-8")
    return mutation.reasons(path)


def test_a_reason_is_for_what_its_patterns_say(tmp_path):
    known = listed(tmp_path, "[[survivor]]\nfunction = 'area'\nchange = '- a.*b'\nwhy = 'Same.'\n")
    assert mutation.explained(survivor(), known) == "Same."
    assert mutation.explained(survivor(function="areas"), known) is None


@pytest.mark.parametrize("outcome", ["timeout", "no tests", "crash"])
def test_no_reason_excuses_what_no_test_looked_at(tmp_path, outcome):
    known = listed(tmp_path, "[[survivor]]\nchange = 'a'\nwhy = 'Same.'\n")
    assert mutation.explained(survivor(outcome), known) is None


def test_a_reason_that_explains_nothing_is_found(tmp_path):
    known = listed(
        tmp_path,
        "[[survivor]]\nchange = 'a'\nwhy = 'Same.'\n[[survivor]]\nchange = 'c'\nwhy = 'Gone.'\n",
    )
    unused = mutation.idle([Result(MODULE, 1, [survivor()])], known)
    assert [one.why for one in unused] == ["Gone."]
    assert all(isinstance(one, Reason) for one in unused)


def test_the_page_lists_every_survivor(tmp_path):
    known = listed(tmp_path, "[[survivor]]\nfunction = 'area'\nchange = 'a'\nwhy = 'Same.'\n")
    result = Result(MODULE, 8, [survivor(), survivor(function="clip")], {"wrapped": 3})
    page = mutation.page([result], known)
    assert f"mutation: reference 61.5 % {ONE} keras not run" in page
    assert "- `reference_numpy.boxes`, wrapped: 3" in page
    assert "Not run for this page: `reference_numpy.anchors`, `reference_numpy.cases`, " in page
    explained, others = page.split("## Not explained")
    assert "**Same.**\n\n```diff\n@@ reference_numpy.boxes.area\n- a\n+ b\n```" in explained
    assert "@@ reference_numpy.boxes.clip (survived)" in others


def test_the_tests_that_kill_soonest_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    items = [SimpleNamespace(nodeid=name) for name in ("new", "slow", "fast")]
    failed = SimpleNamespace(nodeid="slow", failed=True)

    def order():
        cheapest_first.pytest_collection_modifyitems(items)
        return [one.nodeid for one in items]

    cheapest_first.pytest_runtest_logreport(failed)
    assert order() == ["new", "slow", "fast"], "nothing is known"
    took = {"duration_by_test": {"slow": 2.0, "fast": 0.5}}
    cheapest_first.STATS.write_text(json.dumps(took), encoding="utf-8")
    assert order() == ["fast", "slow", "new"]
    for _ in range(3):
        cheapest_first.pytest_runtest_logreport(failed)
    cheapest_first.pytest_runtest_logreport(SimpleNamespace(nodeid="fast", failed=False))
    assert order() == ["slow", "fast", "new"]


def test_every_module_is_changed_and_every_test_of_it_exists():
    """A new module is mutated, or stands here with its reason."""
    left_out = {"__init__"}  # a docstring
    done = {module.name for module in mutation.modules() if module.package == "reference_numpy"}
    there = {path.stem for path in (mutation.REPOSITORY / "reference_numpy").glob("*.py")}
    assert there - done == left_out
    for module in mutation.modules():
        for one in module.tests:
            assert not one.endswith(".py") or (mutation.REPOSITORY / one).exists(), one


def test_a_wrong_name_is_one_line(capsys):
    with pytest.raises(SystemExit):
        mutation.main(["reference_numpy.box"])
    assert "expected some of reference_numpy.anchors" in capsys.readouterr().err
