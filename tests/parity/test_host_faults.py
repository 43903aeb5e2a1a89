"""The fast paths of the host with a mistake put into them are caught by the conformance suite.

They stop early and look at few pairs, so that their mistakes are their own: a bound that is too
tight, a list that ends too soon, a candidate that nobody looked for. Each fault wraps one method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from keras_impl.conformance.suite import check
from keras_impl.host import detection as host_detection
from keras_impl.host.detection import _Candidates, _Heads, _Selection
from keras_impl.host.matching import TargetAssigner, _Bounds, _Lattices, _Lists, _Matching, _Pairs
from keras_impl.parity.implementations import host_as
from reference_numpy.conventions import CANONICAL

CASES = 12  # images of each random workload, half as many as Keras is asked
Method = Callable[..., Any]


def afterwards(change: Method) -> Callable[[Method], Method]:
    """The method, and then a change: of its object, or of what it returns."""

    def wrong(right: Method) -> Method:
        def method(self: Any, *arguments: Any) -> Any:
            found = right(self, *arguments)
            changed = change(self, found, *arguments)
            return found if changed is None else changed

        return method

    return wrong


def given(change: Method) -> Callable[[Method], Method]:
    """The method with other arguments."""
    return lambda right: lambda self, *arguments: right(self, *change(*arguments))


def instead(change: Method) -> Callable[[Method], Method]:
    """Something in the place of the method."""
    return lambda right: change


def while_it_runs(path: str, change: Method) -> Callable[[Method], Method]:
    """The method, while an attribute of its object, or of one there, is another one."""

    def wrong(right: Method) -> Method:
        def method(self: Any, *arguments: Any) -> Any:
            owner, _, name = path.rpartition(".")
            of = getattr(self, owner) if owner else self
            with mock.patch.object(of, name, change(getattr(of, name))):
                return right(self, *arguments)

        return method

    return wrong


def no_slack(self: Any, *_: Any) -> None:
    self.slack = 0.0


def last_cells_forgotten(self: Any, _: Any, lattices: Any, *__: Any) -> None:
    for axis in (0, 1):
        beyond = self.nearest[axis] >= lattices.last[axis]
        self.nearest[axis] -= beyond


def pairs_backwards(pairs: Any) -> Any:
    return _Pairs(*(one[::-1] for one in pairs))


def worst_rival(who: Any, anchor: Any, iou: Any, above: float) -> tuple[Any, ...]:
    return who, anchor, -iou, above


def last_rival(who: Any, anchor: Any, iou: Any, above: float) -> tuple[Any, ...]:
    return who, anchor, iou * (1 + np.arange(len(iou)) * np.finfo(iou.dtype).eps), above


def one_further(self: Any, _: Any, ranks: Any, *__: Any) -> None:
    for rank in ranks.tolist():
        self.at[rank] = min(self.at[rank] + 1, self.end[rank])


def one_ulp_up(number: Any) -> Any:
    return lambda value: np.nextafter(number(value), number(2))


def last_that_touches_nothing(self: Any, found: Any, *_: Any) -> Any:
    last = len(self.assigner.anchors) - 1
    return [
        part if part.iou.any() else part._replace(anchor=np.full_like(part.anchor, last))
        for part in found
    ]


def bar_too_high(self: Any, *_: Any) -> None:
    self.least += 0.1


def all_complete(self: Any, found: Any, *_: Any) -> Any:
    return found[0], found[1] | True


def ties_to_the_last(self: Any, found: Any, *_: Any) -> Any:
    order = np.lexsort((-np.arange(len(found.score)), -found.score, found.image))
    return _Candidates(*(part.take(order) for part in found))


def one_candidate_more(rules: Any) -> Any:
    return replace(rules, candidates_per_class=rules.candidates_per_class + 1)


def by_any_before(self: Any, _: Any, new: Any) -> Any:
    """A box goes if any before it overlaps it, be that one suppressed itself."""
    first, second = np.triu_indices(new.size, 1)
    same = new.group[first] == new.group[second]
    first, second = first[same], second[same]
    gone = np.zeros(new.size, np.bool_)
    gone[second[self._overlaps(new, first, new, second)]] = True
    return gone


def across_classes(self: Any, found: Any, *_: Any) -> Any:
    return found._replace(group=found.group // self.classes * self.classes)


def one_of_a_class_more(rules: Any) -> Any:
    return replace(rules, max_per_class=3)


# What is wrong, the method that has it, what takes its place, who must notice, and what is claimed.
MATCH, TARGETS, CROWDS = "match", "assign_targets", "assign_targets_with_crowds"
DETECT = "detect"
LAST = {"force": "last", "force_above": -1.0}
FAULTS = {
    "no slack": (_Lattices, "__init__", afterwards(no_slack), MATCH),
    "a window too small": (_Bounds, "cells", given(lambda near, least: (near, least + 0.2)), MATCH),
    "the last cell forgotten": (_Bounds, "__init__", afterwards(last_cells_forgotten), MATCH),
    "anchors in no lattice forgotten": (
        *(_Matching, "_evaluate_some", while_it_runs("assigner._others", lambda _: _[:0])),
        MATCH,
    ),
    "ties to the last object": (
        *(_Matching, "settle", while_it_runs("pairs", pairs_backwards)),
        TARGETS,
    ),
    "the worst rival stays": (_Matching, "_settle_rivals", given(worst_rival), MATCH),
    "ties of rivals to the last": (_Matching, "_settle_rivals", given(last_rival), MATCH),
    "lists off by one": (_Lists, "_keep", afterwards(one_further), MATCH),
    "lists that never grow": (_Lists, "has_more", instead(lambda *_: False), MATCH),
    "> for ≥ of a crowd": (
        *(TargetAssigner, "_mark_crowds", while_it_runs("_number", one_ulp_up)),
        CROWDS,
    ),
    "the last of those that touch nothing": (
        *(_Matching, "_one_by_one", afterwards(last_that_touches_nothing)),
        *(MATCH, LAST),
    ),
    "a bar that is too high": (_Heads, "__init__", afterwards(bar_too_high), DETECT),
    "no floor": (
        host_detection,
        "_sigmoid",
        instead(lambda levels: np.full_like(levels, -1)),
        DETECT,
    ),
    "the first guess taken for all": (_Heads, "candidates", afterwards(all_complete), DETECT),
    "ties to the last": (_Heads, "_in_order", afterwards(ties_to_the_last), DETECT),
    "one candidate too many": (
        *(_Selection, "_best_of_each_group", while_it_runs("rules", one_candidate_more)),
        DETECT,
    ),
    "counted anew": (
        _Selection,
        "_best_of_each_group",
        while_it_runs("visited", np.zeros_like),
        DETECT,
    ),
    "all pairs at once": (_Selection, "_suppressed_among", afterwards(by_any_before), DETECT),
    "what was kept forgotten": (
        *(_Selection, "_suppressed_by", afterwards(lambda self, found, *_: found & False)),
        DETECT,
    ),
    "suppression across classes": (_Selection, "_boxes", afterwards(across_classes), DETECT),
    "one of a class too many": (
        *(_Selection, "_slots", while_it_runs("rules", one_of_a_class_more)),
        *(DETECT, {"max_per_class": 2}),
    ),
}


def failed(operation: str, claims: Mapping[str, Any]) -> list[str]:
    """The dtypes in which the suite is not content with the host."""
    host = host_as(CANONICAL.replace(**claims))
    checks = [check(host, operation, "host", dtype, cases=CASES) for dtype in host.dtypes]
    return [one.dtype for one in checks if not one.passed]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught(name, monkeypatch):
    owner, method, wrong, operation, claims = (*FAULTS[name], {})[:5]
    assert failed(operation, claims) == [], "what is right passes"
    monkeypatch.setattr(owner, method, wrong(getattr(owner, method)))
    assert failed(operation, claims), f"{operation} does not notice: {name}"
