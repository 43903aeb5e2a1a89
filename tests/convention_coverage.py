"""Which hand-worked cases notice when a field of a convention is answered otherwise.

Parity cannot: both sides obey the same convention, and would obey another one alike. So every field
of every part is *flipped*: the arithmetic of `reference_numpy` reads one other answer, whatever the
convention says, while conventions themselves stay as they are. Cases of the conflict table whose
answers are then not those worked by hand, and tests of tests/reference that then fail, guard the
field. `python -m tests.convention_coverage > docs/convention-coverage.md` writes them down;
tests/test_convention_coverage.py holds the page to what is so.
"""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reference_numpy import conflicts
from reference_numpy.conventions import (
    CANONICAL,
    AnchorLayout,
    Coding,
    Detection,
    Loss,
    Matching,
    Overlap,
)
from reference_numpy.presets import PRESETS

__all__ = [
    "FIRST",
    "FLIPS",
    "PAGE",
    "Flip",
    "as_markdown",
    "cases_that_ask",
    "cases_that_notice",
    "check",
    "every_flip",
    "flipped",
    "rows_of",
    "survey",
]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/convention-coverage.md"
FOLDER = "tests/reference/"
EXAMPLES = 3  # tests of a row
LONG = 0.2  # seconds
COMMAND = "python -m tests.convention_coverage > docs/convention-coverage.md"

# Other answers to every question of a convention: each has to change something.
FLIPS: dict[type, dict[str, list[Any]]] = {
    Overlap: {
        "iou_epsilon": [0.0, 1e-3],
        "iou_offset": [0.0, 1.0],
    },
    Matching: {
        "threshold": [0.25],
        "positive_at": [">=", ">"],
        "force": ["bipartite", "last", "first", "none"],
        "force_above": [-1.0, 0.0, 0.5],
        "ignore_from": [None, 0.3],
        "crowd_by": ["share", "iou", "none"],
        "crowd_overlap": [0.75],
    },
    Coding: {
        "variances": [(1.0, 1.0, 1.0, 1.0), (0.1, 0.2, 0.2, 0.2)],
        "form": ["log", "difference"],
        "code_order": ["xywh", "yxhw"],
        "size_epsilon": [0.0, 1e-3],
        "ratio_epsilon": [0.0, 1e-3],
        "largest_exponent": [None, 1.0],
        "degenerate": ["error", "drop", "encode"],
        "background": ["first", "last"],
    },
    Loss: {
        "class_loss": ["softmax", "sigmoid", "focal"],
        "focal_alpha": [0.25, 0.5],
        "focal_gamma": [0.0, 1.0, 2.0],
        "mining": ["picture", "batch", "none"],
        "negative_ratio": [1.0],
        "rounding": ["down", "up"],
        "min_negatives": [0, 1],
        "max_negatives": [None, 2],
        "mining_nms": [None, 0.5],
        "normaliser": ["positives", "picture", "mean", "anchors"],
        "box_over": ["positives", "all"],
        "box_weight": [1.0, 2.0],
    },
    Detection: {
        "score_threshold": [0.7],
        "score_at": [">", ">="],
        "suppress_in": ["class", "anchor"],
        "candidates_per_class": [None, 2],
        "iou_threshold": [0.1],
        "suppress_at": [">", ">="],
        "ties": ["lowest anchor", "lowest label", "highest anchor"],
        "eta": [1.0, 0.75],
        "soft_sigma": [None, 0.25],
        "max_per_class": [None, 1],
        "max_detections": [1],
        "clip": ["before", "after", "none"],
        "drop_empty": [False, True],
    },
    AnchorLayout: {
        "image_size": [(3, 5)],
        "feature_maps": [((2, 1),)],
        "scales": [(2.0, 3.0)],
        "aspect_ratios": [((3.0,),)],
        "lowest_shapes": [(), ((0.25, 1.0),)],
        "unit": ["picture", "shorter side", "pixels"],
        "whole_pixels": [False, True],
        "flip": [False, True],
        "square": ["first", "listed"],
        "extra_square": ["second", "last", "none"],
        "extra_ratio": [1.0, 4.0],
        "steps": [(), (0.6,)],
        "offset": [0.25],
        "order": ["cell", "shape"],
        "clip": ["none", "corners", "centers", "sizes"],
    },
}
# Where no preset is asked the question, or other answers stand in the way: those to give first.
FIRST: dict[str, dict[str, Any]] = {
    "force_above": {"force": "last"},
    "form": {"degenerate": "error"},
    "size_epsilon": {"degenerate": "error"},
    "ratio_epsilon": {"degenerate": "error"},
    "degenerate": {"size_epsilon": 1e-8},
    "focal_alpha": {"class_loss": "focal"},
    "focal_gamma": {"class_loss": "focal"},
    "eta": {"iou_threshold": 0.7},
}


class Flip(NamedTuple):
    """One answer to one question, given whatever is asked."""

    part: type
    field: str
    value: Any

    @property
    def name(self) -> str:
        """As the page and tests call it."""
        return f"{self.part.__name__}.{self.field} = {self.value!r}"


Rows = dict[Flip, list[str]]


def every_flip() -> list[Flip]:
    """All of `FLIPS`."""
    return [
        Flip(part, field, value)
        for part, answers in FLIPS.items()
        for field, values in answers.items()
        for value in values
    ]


# --- reading another answer ----------------------------------------------------------------------

# Who may read what a convention says: its own modules, and who only hands it on.
_OBEDIENT = {
    f"reference_numpy.{name}"
    for name in ("checks", "conflicts", "conventions", "layouts", "presets")
}
_READ: set[tuple[type, str]] = set()
_NOW: list[Flip] = []


class _Watched:
    """A field that notes when arithmetic reads it, and then may lie."""

    def __init__(self, part: type, name: str) -> None:
        self.part, self.name = part, name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            raise AttributeError(self.name)
        value = instance.__dict__[self.name]
        reader = sys._getframe(1).f_globals.get("__name__", "")
        if reader.startswith("reference_numpy.") and reader not in _OBEDIENT:
            _READ.add((self.part, self.name))
            for flip in _NOW:
                if flip[:2] == (self.part, self.name) and _is_possible(instance, flip):
                    return flip.value
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.name] = value


@cache
def _is_possible(instance: Any, flip: Flip) -> bool:
    """Whether the other answer fits the rest of the convention."""
    try:
        replace(instance, **{flip.field: flip.value})
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def watching() -> Iterator[None]:
    """While this lasts, fields are watched."""
    before = {part: dict(vars(part)) for part in FLIPS}
    for part in FLIPS:
        for one in fields(part):
            if one.name != "name":
                setattr(part, one.name, _Watched(part, one.name))
    try:
        yield
    finally:
        for part, attributes in before.items():
            for one in fields(part):
                if one.name in attributes:
                    setattr(part, one.name, attributes[one.name])
                elif one.name != "name":
                    delattr(part, one.name)


@contextmanager
def flipped(flip: Flip) -> Iterator[None]:
    """While this lasts (and fields are watched), the arithmetic reads another answer."""
    _NOW.append(flip)
    try:
        yield
    finally:
        _NOW.pop()


# --- the conflict table --------------------------------------------------------------------------


class _Question(NamedTuple):
    """A case as one convention is asked it, what it reads and the answer worked by hand."""

    case: conflicts.Conflict
    convention: Any
    changes: dict[str, Any]
    wanted: Any
    reads: frozenset[tuple[type, str]]


@cache
def _questions() -> tuple[_Question, ...]:
    found = []
    with watching():
        for case in conflicts.CONFLICTS:
            asked = [
                (PRESETS[name], {}, wanted) for wanted, names in case.answers for name in names
            ]
            asked += [(CANONICAL, dict(changes), wanted) for changes, wanted in case.others]
            for convention, changes, wanted in asked:
                _READ.clear()
                conflicts.answer(case, convention, **changes)
                found.append(_Question(case, convention, changes, wanted, frozenset(_READ)))
    return tuple(found)


@cache
def cases_that_ask(part: type, field: str) -> list[conflicts.Conflict]:
    """The conflict cases whose answer some preset cannot give without reading a field."""
    return [
        case
        for case in conflicts.CONFLICTS
        if any(one.case is case and (part, field) in one.reads for one in _questions())
    ]


@cache
def cases_that_notice(flip: Flip) -> list[str]:
    """Names of the conflict cases of which an answer is then not the one worked by hand."""
    names: list[str] = []
    questions = _questions()
    with watching(), flipped(flip):
        for case, convention, changes, wanted, reads in questions:
            if case.name in names or flip[:2] not in reads:
                continue
            if not conflicts.agree(conflicts.answer(case, convention, **changes), wanted):
                names.append(case.name)
    return names


# --- tests of tests/reference --------------------------------------------------------------------


class _Reruns:
    """A plugin of pytest that runs each test once more for flips, inside its own run.

    Attributes:
        failed: For each flip the tests that fail then, by assertion: what merely crashes has not
            noticed an answer.
    """

    def __init__(self, wanted: dict[str, list[Flip]] | None = None) -> None:
        self.wanted = wanted
        self.failed: defaultdict[Flip, list[str]] = defaultdict(list)
        self.broken: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """After the test itself, which has to pass; those that take long are no cases by hand."""
        _READ.clear()
        begin = time.perf_counter()
        result = yield
        long = time.perf_counter() - begin > LONG
        by_hand = not hasattr(getattr(item, "function", None), "hypothesis")
        if self.wanted is not None or (by_hand and not long):
            reads = set(_READ)
            flips = every_flip() if self.wanted is None else self.wanted[item.nodeid]
            for flip in flips:
                if flip[:2] in reads and self._fails(item, flip):
                    self.failed[flip].append(item.nodeid)
        return result

    @staticmethod
    def _fails(item: pytest.Item, flip: Flip) -> bool:
        try:
            with flipped(flip):
                item.runtest()
        except (AssertionError, pytest.fail.Exception):
            return True
        except Exception:
            return False
        return False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what does not pass without a flip."""
        if report.failed:
            self.broken.append(report.nodeid)


def _run(tests: list[str], plugin: _Reruns) -> None:
    options = ["-q", "--no-header", "--no-summary", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    with watching():
        status = pytest.main([*options, *tests], plugins=[plugin])
    if status != pytest.ExitCode.OK:
        raise SystemExit(f"{status!r}: {plugin.broken}")


def survey() -> Rows:
    """For each flip the tests of tests/reference that notice, the best examples first.

    The conflict table has a column of its own; the laws read sources, and bad input is no case. A
    test in both dtypes counts once. What is said to be worked by hand goes before what is not, then
    what notices little else.
    """
    plugin = _Reruns()
    apart = ("bad_input", "conflicts", "laws", "properties")
    _run(
        ["tests/reference", *(f"--ignore=tests/reference/test_{name}.py" for name in apart)], plugin
    )
    notices: defaultdict[str, set[str]] = defaultdict(set)
    for flip, tests in plugin.failed.items():
        for test in tests:
            notices[test].add(flip.field)

    def rank(test: str) -> tuple[bool, int, str]:
        by_hand = re.search("by_hand|worked|test_cases", test) is not None
        return not by_hand, len(notices[test]), test

    found = {}
    for flip in every_flip():
        tests = [one for one in plugin.failed[flip] if not one.endswith("float64]")]
        found[flip] = sorted(tests, key=rank)[:EXAMPLES]
    return found


def check(rows: Rows) -> Rows:
    """Which of the tests that are said to notice flips do not."""
    wanted: defaultdict[str, list[Flip]] = defaultdict(list)
    for flip, tests in rows.items():
        for test in tests:
            wanted[test].append(flip)
    plugin = _Reruns(wanted)
    _run(sorted(wanted), plugin)
    missing = {flip: sorted(set(tests) - set(plugin.failed[flip])) for flip, tests in rows.items()}
    return {flip: tests for flip, tests in missing.items() if tests}


# --- the page ------------------------------------------------------------------------------------

_HEAD = """# What notices when a convention is answered otherwise

Parity alone cannot notice: the reference and Keras obey the same convention, and would obey
another one alike. So each question is answered otherwise here: the arithmetic of `reference_numpy`
reads the answer of the second column, whatever the convention says. The third column has the cases
of [conflicts.md](conflicts.md) that then have another answer than the one worked by hand; a dash,
where no preset of the table says otherwise or could. The fourth has tests of `tests/reference` that
then fail by assertion, {examples} at the most; what is worked by hand and notices little else comes
first.

`tests/test_convention_coverage.py` works out the third column on every run, and sees every test of
the fourth pass as it is and fail with the answer of its row. A field without a row, or without an
example of either kind, fails it.

This page is written by `{command}`. It runs the tests of
`tests/reference` that Hypothesis has no part in, each once more for every answer that it could
notice, which takes some minutes.
"""


def as_markdown(rows: Rows) -> str:
    """The page, with the tests that a survey found, or that an older page names."""
    lines = [_HEAD.format(command=COMMAND, examples=EXAMPLES)]
    for part in FLIPS:
        lines += [
            f"## {part.__name__}",
            "",
            "| field | answered | conflict cases | tests of the reference |",
            "|---|---|---|---|",
        ]
        for flip in every_flip():
            if flip.part is part:
                cases = ", ".join(f"“{name}”" for name in cases_that_notice(flip)) or "–"
                tests = "<br>".join(f"`{test}`" for test in map(_short, rows[flip])) or "–"
                lines.append(f"| {_begin(flip)} | {cases} | {tests} |")
        lines.append("")
    return "\n".join(lines)


def _begin(flip: Flip) -> str:
    return f"`{flip.field}` | `{flip.value!r}`"


def _short(test: str) -> str:
    return test.removeprefix(FOLDER)


def rows_of(page: str) -> Rows:
    """The tests that a page names for each flip; a flip without a row has none."""
    rows = {}
    for flip in every_flip():
        section = page.partition(f"\n## {flip.part.__name__}\n")[2].partition("\n## ")[0]
        line = section.partition(f"\n| {_begin(flip)} | ")[2].partition("\n")[0]
        rows[flip] = [FOLDER + test for test in re.findall("`([^`]+)`", line)]
    return rows


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):
        found = survey()
    print(as_markdown(found), end="")
