"""The fast paths of the host with a mistake put into them are caught by the conformance suite.

They stop early and look at few pairs, so that their mistakes are their own: a bound that is too
tight, a list that ends too soon, a candidate that nobody looked for. Each fault is an edit of one
line. One that no longer fits the source fails, and is to be mended with it.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from keras_impl import host_detection, host_matching
from keras_impl.adapter import host_as
from keras_impl.conformance import check
from reference_numpy.conventions import CANONICAL

CASES = 12  # pictures of each random workload, half as many as Keras is asked


class Edit(NamedTuple):
    """One line of the host's paths, had wrong.

    Attributes:
        name: What is wrong, in a few words.
        operation: That of the suite which has to notice.
        owner: A class.
        method: Of it.
        right: What stands there, once.
        wrong: What takes its place.
        claims: Other answers than the canonical ones, where the line is about them.
    """

    name: str
    operation: str
    owner: type
    method: str
    right: str
    wrong: str
    claims: Mapping[str, Any] = {}


MATCHING = [
    Edit(
        "no slack",
        "match",
        host_matching._Lattices,
        "__init__",
        "self.slack = float(2 * 6 * self.reach * worst + 64 * eps)",
        "self.slack = 0.0",
    ),
    Edit(
        "a window too small",
        "match",
        host_matching._Bounds,
        "cells",
        "np.ceil(index - reach)",
        "np.ceil(index - reach) + 1",
    ),
    Edit(
        "the last cell forgotten",
        "match",
        host_matching._Bounds,
        "__init__",
        "np.minimum(nearest, lattices.last[axis], out=nearest)",
        "np.minimum(nearest, lattices.last[axis] - 1, out=nearest)",
    ),
    Edit(
        "anchors in no lattice forgotten",
        "match",
        host_matching._Matching,
        "_evaluate_some",
        "if others.size:",
        "if False:",
    ),
    Edit(
        "ties to the last object",
        "assign_targets",
        host_matching._Matching,
        "settle",
        "highest.take(of))[::-1]",
        "highest.take(of))",
    ),
    Edit(
        "ties between rivals to the last",
        "match",
        host_matching._Matching,
        "_settle_rivals",
        "rival < rank",
        "rival > rank",
    ),
    Edit(
        "the worst rival keeps the anchor",
        "match",
        host_matching._Matching,
        "_settle_rivals",
        "(-contested, iou[contested])",
        "(-contested, -iou[contested])",
    ),
    Edit(
        "lists off by one",
        "match",
        host_matching._Lists,
        "_keep",
        "= first, last",
        "= first + 1, last",
    ),
    Edit(
        "lists that never grow",
        "match",
        host_matching._Lists,
        "has_more",
        "self.complete[rank] > self.least",
        "False",
    ),
    Edit(
        "> for ≥ of a crowd",
        "assign_targets_with_crowds",
        host_matching.TargetAssigner,
        "_mark_crowds",
        "share >= limit",
        "share > limit",
    ),
    Edit(
        "the last anchor of those that overlap nothing",
        "match",
        host_matching._Matching,
        "_one_by_one",
        "keep[:1]",
        "keep[-1:]",
        {"force": "last", "force_above": -1.0},
    ),
]

DETECTION = [
    Edit(
        "a low background left out",
        "detect",
        host_detection._Heads,
        "_above",
        "np.less(background, logits.dtype.type(low), out=lower[index])",
        "pass",
    ),
    Edit(
        "a bar that is too high",
        "detect",
        host_detection._Heads,
        "__init__",
        "- 1e-3",
        "+ 0.1",
    ),
    Edit(
        "no floor under the first guess",
        "detect",
        host_detection._Heads,
        "candidates",
        "fit &= scores > floor.take(picture)[:, None]",
        "pass",
    ),
    Edit(
        "the first guess taken for all",
        "detect",
        host_detection._Heads,
        "candidates",
        "levels <= self.least",
        "levels <= levels",
    ),
    Edit(
        "ties to the last",
        "detect",
        host_detection._Heads,
        "_in_order",
        'np.argsort(-score[start:end], kind="stable") + start',
        'end - 1 - np.argsort(-score[start:end][::-1], kind="stable")',
    ),
    Edit(
        "one candidate too many",
        "detect",
        host_detection._Selection,
        "_best_of_each_group",
        "rank < limit",
        "rank <= limit",
    ),
    Edit(
        "candidates counted anew at each visit",
        "detect",
        host_detection._Selection,
        "_best_of_each_group",
        "rank += self.visited.take(new.group)",
        "pass",
    ),
    Edit(
        "all pairs at once",
        "detect",
        host_detection._Selection,
        "_suppressed_among",
        "gone[later[~waits[earlier]]] = True",
        "gone[later] = True",
    ),
    Edit(
        "what was kept before forgotten",
        "detect",
        host_detection._Selection,
        "visit",
        "~self._suppressed_by(self.kept, new)",
        "new.group == new.group",
    ),
    Edit(
        "suppression across classes",
        "detect",
        host_detection._Selection,
        "_boxes",
        "group += chosen.column",
        "pass",
    ),
    Edit(
        "one of a class too many",
        "detect",
        host_detection._Selection,
        "_slots",
        "< self.rules.max_per_class",
        "<= self.rules.max_per_class",
        {"max_per_class": 2},
    ),
]

EDITS = [*MATCHING, *DETECTION]


def edited(edit: Edit) -> Any:
    """The method with the mistake in it."""
    method = getattr(edit.owner, edit.method)
    source = textwrap.dedent(inspect.getsource(method))
    assert source.count(edit.right) == 1, f"{edit.method}: expected {edit.right!r} once"
    wrong = "from __future__ import annotations\n" + source.replace(edit.right, edit.wrong)
    found: dict[str, Any] = {}
    exec(wrong, vars(sys.modules[edit.owner.__module__]), found)
    return found[edit.method]


def failed(operation: str, claims: Mapping[str, Any]) -> list[str]:
    """The dtypes in which the suite is not content with the host."""
    host = host_as(CANONICAL.but(**claims))
    checks = [check(host, operation, "host", dtype, cases=CASES) for dtype in host.dtypes]
    return [one.dtype for one in checks if not one.passed]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_a_fault_is_caught(edit, monkeypatch):
    monkeypatch.setattr(edit.owner, edit.method, edited(edit))
    assert failed(edit.operation, edit.claims), f"{edit.operation} does not notice: {edit.name}"


def questions():
    """What the faults are asked, each once."""
    asked = {(edit.operation, *edit.claims): (edit.operation, edit.claims) for edit in EDITS}
    return list(asked.values())


@pytest.mark.parametrize(("operation", "claims"), questions())
def test_without_a_fault_nothing_fails(operation, claims):
    assert failed(operation, claims) == []
