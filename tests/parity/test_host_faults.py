"""The host paths with a mistake put into them no longer equal the reference.

They stop early and look at few pairs, so that their mistakes are their own: a bound that is too
tight, a window that ends too soon, a candidate that nobody looked for. Each fault is one edit of a
copy of the source, whose kernels are plain Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from keras_impl.conformance.budgets import CLASSES
from keras_impl.conformance.workloads import FEW, SMALL, crowd_workloads, detect_workloads
from reference_numpy import detection, targets
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import CANONICAL
from reference_numpy.testing.workloads import matching_workload
from tests.parity.plain_kernels import load_plain

CASES = 8  # images of each random workload, a third of what Keras is asked
MATCH, DETECT = "match", "detect"
SIGMOID = {"class_loss": "sigmoid", "max_detections": 999, "candidates_per_class": None}
LAST = {"force": "last", "force_above": -1.0}


class Fault(NamedTuple):
    """One edit of a module, the operation that must notice, and the convention in which it does."""

    module: str
    right: str
    wrong: str
    operation: str
    overrides: Mapping[str, Any] = {}


FAULTS = {
    "a pair at the bound left out": Fault("kernels", "if iou >= need:", "if iou > need:", MATCH),
    "a bound too tight": Fault("kernels", "need / (rules.one + need)", "need", MATCH),
    "the last column forgotten": Fault(
        "kernels", "while last < count - 1:", "while last < count - 2:", MATCH
    ),
    "the first column forgotten": Fault("kernels", "while first > 0:", "while first > 1:", MATCH),
    "the nearest cell rounded down": Fault(
        "kernels", "- begin) * step + 0.5", "- begin) * step", MATCH
    ),
    "the best pair not looked for": Fault(
        "kernels", "elif rules.forced:", "elif False:", MATCH, LAST
    ),
    "the object that loses its anchor gives up": Fault(
        "kernels", "goal] - 1, row + 1", "goal] * 0 - 1, row + 1", MATCH
    ),
    "no second list": Fault("kernels", "if levels[row] > 0 or", "if", MATCH),
    "no list again after it was forgotten": Fault(
        "kernels", "levels[row] > 0 or spans[row, 1] == NO_LIST", "levels[row] > 0", MATCH
    ),
    "equal pairs left out": Fault("kernels", "end += iou >= marks", "end += iou > marks", MATCH),
    "floors too high": Fault(
        "kernels", "floors[p] = least / (1 + least)", "floors[p] = least", MATCH
    ),
    "floors of the image before": Fault(
        "kernels", "next_begin, rules.zero", "next_begin, floors", MATCH
    ),
    "ties of rivals to the last": Fault(
        "kernels", "row + 1 < links[HOLDER, anchor]", "row + 1 > links[HOLDER, anchor]", MATCH
    ),
    "ties to the last object": Fault(
        "kernels", "iou > marks[OWNED, anchor]", "iou >= marks[OWNED, anchor]", MATCH
    ),
    "ties to the last anchor": Fault(
        "kernels", "iou > 0 and anchor < goal", "iou > 0 and anchor > goal", MATCH, LAST
    ),
    "ties of pairs to the last anchor": Fault(
        "kernels", "(iou == best and anchor < goal)", "(iou == best and anchor > goal)", MATCH
    ),
    "the first that is forced stays": Fault(
        "kernels", "rules.keep_last or", "not rules.keep_last and", MATCH, LAST
    ),
    "> for ≥ of a crowd": Fault(
        "kernels", "part >= rules.crowd_overlap", "part > rules.crowd_overlap", MATCH
    ),
    "nothing between the thresholds": Fault(
        "kernels", "rules.ignores and row > 0", "False", MATCH, {"ignore_from": 0.3}
    ),
    "the offset forgotten": Fault("lattices", " + number(offset)", "", MATCH, {"iou_offset": 0.1}),
    "a lattice where there is none": Fault(
        "lattices", "(x == x[0]).all() and (y == y[:, :1]).all() and", "", MATCH
    ),
    "x and y of a code exchanged": Fault(
        *("kernels", "place = 1 - axis if rules.swapped else axis", "place = axis"),
        *(MATCH, {"code_order": "yxhw"}),
    ),
    "objects left in used memory": Fault(
        "kernels", "labels[key], objects[key] = 0, UNMATCHED", "labels[key] = 0", MATCH
    ),
    "an anchor left in used memory": Fault(
        *("matching", "touched[:size].copy()", "touched[: size - 1].copy()", MATCH),
        {"ignore_from": 0.3},
    ),
    "a bar too high": Fault("detection", "1))) - MARGIN", "1))) + 0.1", DETECT),
    "no floor": Fault("kernels", "score > floor and", "", DETECT),
    "the first guess taken for all": Fault(
        "detection", "waiting[~full & (levels > least)]", "waiting[:0]", DETECT
    ),
    "a bound without the background": Fault(
        "kernels",
        "bounds[row] - logits[row, background] if softmax",
        "bounds[row] if softmax",
        DETECT,
    ),
    "the last class not looked at": Fault(
        "kernels", "range(1, columns):", "range(1, columns - 1):", DETECT
    ),
    "one candidate too many": Fault(
        "kernels", "seen[group] > rules.candidates", "seen[group] > rules.candidates + 1", DETECT
    ),
    "one of a class too many": Fault(
        *("kernels", "many[group] >= rules.most", "many[group] > rules.most"),
        *(DETECT, {"max_per_class": 2}),
    ),
    "compared with the last kept box alone": Fault("kernels", "at = before[at]", "at = -1", DETECT),
    "suppression across classes": Fault("kernels", "column if rules.per_class else 0", "0", DETECT),
    "> for ≥ of a score": Fault(
        *("kernels", "rules.score_inclusive and score == limit", "False", DETECT),
        {**SIGMOID, "score_threshold": 0.5, "score_at": ">="},
    ),
    "ties by anchor instead of label": Fault(
        *("detection", 'rules.ties == "lowest label"', "False", DETECT),
        {**SIGMOID, "ties": "lowest label"},
    ),
    "ties by the lowest anchor": Fault(
        "detection",
        "np.lexsort((-anchor, row))",
        "slice(None)",
        DETECT,
        {**SIGMOID, "ties": "highest anchor"},
    ),
    "boxes not clipped in the end": Fault(
        *("kernels", "inside if rules.clip_after else box[part]", "box[part]"),
        *(DETECT, {"clip": "after"}),
    ),
    "empty boxes kept": Fault(
        "kernels", "if rules.drop_empty and", "if False and", DETECT, {"drop_empty": True}
    ),
}


def matching_work(dtype: str) -> Iterator[tuple[Any, ...]]:
    """Boxes, labels, anchors, crowds: worked cases, a coarse grid, any sizes, and rivals."""
    generator = np.random.default_rng(0)
    yield from crowd_workloads(generator, dtype, CASES)
    work = matching_workload(SMALL, 6, 16)
    crowds = generator.random(work.labels.shape) < 0.2
    yield work.boxes.astype(dtype), work.labels, make_anchors(SMALL, dtype), crowds
    # Objects that are nearly the same compete for the same anchors, and most get distant ones.
    boxes = np.array([0.3, 0.3, 0.6, 0.6]) + generator.uniform(0, 0.02, (1, 40, 4))
    labels = np.ones((1, 40), np.int64)
    yield boxes.astype(dtype), labels, make_anchors(SMALL, dtype), np.zeros((1, 40), np.bool_)
    # More objects than anchors, so that all are held and none has an overlap to spare.
    work = matching_workload(SMALL, 3, 40)
    work.boxes[:, 20:] = work.boxes[:, 19::-1]
    few = generator.choice(make_anchors(SMALL, dtype), 20, replace=False)
    yield work.boxes.astype(dtype), work.labels, few, np.zeros((3, 40), np.bool_)


def matches(make: Any, overrides: Mapping[str, Any]) -> bool:
    """Whether targets equal the reference's, in new memory and in used memory."""
    convention = CANONICAL.replace(**overrides)
    for dtype in ("float32", "float64"):
        for boxes, labels, anchors, crowds in matching_work(dtype):
            assigner, out = make(anchors, convention), None
            for shift in range(3):
                batch = [np.roll(part, shift, axis=0) for part in (boxes, labels, crowds)]
                out = assigner.assign(*batch, out=out)
                for image, (box, label, crowd) in enumerate(zip(*batch, strict=True)):
                    wanted = targets.assign_targets(box, label, anchors, convention, crowds=crowd)
                    if not same([part[image] for part in out], wanted):
                        return False
    return True


def detection_work(dtype: str) -> Iterator[tuple[Any, ...]]:
    """Head outputs: with near objects, and with many equal scores and boxes outside the image."""
    generator = np.random.default_rng(0)
    yield from detect_workloads(generator, dtype, CASES)
    anchors = make_anchors(SMALL, dtype)
    logits = np.round(generator.normal(-4, 2, (2, len(anchors), CLASSES)))
    deltas = np.zeros((2, len(anchors), 4))
    deltas[:, ::5, 0] = 99
    yield deltas.astype(dtype), logits.astype(dtype), anchors


def detects(detect: Any, overrides: Mapping[str, Any]) -> bool:
    """Whether detections equal the reference's."""
    convention = CANONICAL.replace(**{**FEW, **overrides})
    for dtype in ("float32", "float64"):
        for deltas, logits, anchors in detection_work(dtype):
            found = detect(deltas, logits, anchors, convention)
            for image, heads in enumerate(zip(deltas, logits, strict=True)):
                wanted = detection.detect(*heads, anchors, convention)
                used = int((found.labels[image] > 0).sum())
                if not same([part[image, :used] for part in found], wanted):
                    return False
    return True


def same(found: Iterable[Any], wanted: Iterable[Any]) -> bool:
    return all(map(np.array_equal, found, wanted))


def is_right(copies: Mapping[str, ModuleType], operation: str, overrides: Any) -> bool:
    """Whether the copies equal the reference."""
    if operation == MATCH:
        return matches(copies["matching"].TargetAssigner, overrides)
    return detects(copies["detection"].detect, overrides)


def load(*edit: str) -> dict[str, ModuleType]:
    """Copies that have room for few pairs, so that lists are forgotten, and made again."""
    copies = load_plain({edit[0]: edit[1:]} if edit else None)
    copies["kernels"].LONG, copies["kernels"].MANY = 1, 3
    return copies


@pytest.fixture(scope="module")
def right():
    return load()


CLAIMS = dict.fromkeys((one.operation, *sorted(one.overrides.items())) for one in FAULTS.values())


@pytest.mark.parametrize(("operation", "overrides"), [(one[0], one[1:]) for one in CLAIMS])
def test_the_copies_are_right(right, operation, overrides):
    assert is_right(right, operation, dict(overrides))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught(name):
    fault = FAULTS[name]
    copies = load(*fault[:3])
    assert not is_right(copies, fault.operation, fault.overrides), f"not noticed: {name}"
