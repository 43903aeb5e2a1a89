"""docs/convention-coverage.md says what is so: every field of a convention is guarded, by name."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from dataclasses import fields

import numpy as np
import pytest

from reference_numpy.boxes import pairwise_iou
from reference_numpy.conflicts import CONFLICTS
from reference_numpy.conventions import CANONICAL, Convention, Matching, Overlap
from tests.convention_coverage import (
    COMMAND,
    FLIPS,
    PAGE,
    ROOT,
    Flip,
    as_markdown,
    cases_that_notice,
    every_flip,
    flipped,
    rows_of,
    watching,
)

WRITE = f"write it again: {COMMAND}"


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def test_every_field_of_every_part_is_flipped():
    parts = {type(getattr(CANONICAL, one.name)) for one in fields(Convention)} - {str}
    assert parts == set(FLIPS)
    for part, answers in FLIPS.items():
        assert set(answers) == {one.name for one in fields(part)} - {"name"}
        assert all(answers.values()), part


def test_the_page_is_what_the_table_of_conflicts_says(page):
    """All of it but the tests that it names, which are run below."""
    assert page == as_markdown(rows_of(page)), WRITE


def test_every_answer_has_an_example_and_every_field_one_of_either_kind(page):
    cases, tests = defaultdict(list), defaultdict(list)
    for flip, named in rows_of(page).items():
        assert named or cases_that_notice(flip), f"nothing notices {flip.name}"
        cases[flip[:2]] += cases_that_notice(flip)
        tests[flip[:2]] += named
    assert [one for one, found in cases.items() if not found] == []
    assert [one for one, found in tests.items() if not found] == []
    assert set().union(*cases.values()) <= {case.name for case in CONFLICTS}


def test_every_test_that_is_named_passes_and_notices():
    """In a process of its own: it runs tests, and changes what the arithmetic reads."""
    code = (
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        "from tests.convention_coverage import PAGE, check, rows_of\n"
        "missing = check(rows_of(PAGE.read_text(encoding='utf-8')))\n"
        "sys.exit('\\n'.join(f'{flip.name}: {tests}' for flip, tests in missing.items()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{WRITE}\n{done.stderr[-3000:]}\n{done.stdout[-3000:]}"


# --- flipping ------------------------------------------------------------------------------------


def test_a_flip_is_what_arithmetic_reads_and_nobody_else():
    box, flip = np.array([[0.0, 0.0, 0.5, 0.5]]), Flip(Overlap, "iou_epsilon", 1.0)
    with watching():
        assert pairwise_iou(box, box)[0, 0] == 1
        with flipped(flip):
            assert pairwise_iou(box, box)[0, 0] == 0.2
            assert CANONICAL.overlap.iou_epsilon == 0
            assert Overlap(iou_offset=0.5) == Overlap(iou_offset=0.5)
    assert pairwise_iou(box, box)[0, 0] == 1
    assert Overlap() == CANONICAL.overlap


def test_watching_leaves_no_trace():
    before = {part: set(vars(part)) for part in FLIPS}
    with watching():
        pass
    assert {part: set(vars(part)) for part in FLIPS} == before
    assert Matching().threshold == Matching.threshold == 0.5


def test_an_answer_that_does_not_fit_the_rest_is_not_given():
    """Nobody forces what does not overlap in a bipartite matching."""
    assert cases_that_notice(Flip(Matching, "force_above", -1.0)) == []
    assert Flip(Matching, "force_above", -1.0) in every_flip()
