"""Is a result right? Asked before it is timed.

A *decision* (which object, which detection, in which order) must be the reference's. Where the
rounding of a compiler or of an exponential may differ from NumPy's, another decision is excused
if, and only if, it is right for numbers that differ from the true ones by no more than rounding:
a near-tie. `keras_impl.conformance` judges both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_impl.conformance.detections import judge_image
from keras_impl.conformance.judges import judge_targets
from reference_numpy.conventions import CANONICAL, Convention
from reference_numpy.targets import assign_targets
from reference_numpy.testing.workloads import DecodingWorkload, MatchingWorkload

__all__ = ["check_detections", "check_targets"]


def check_targets(found: Any, work: MatchingWorkload, *, excuse: bool) -> int:
    """Compare targets with the reference's, by the judgement of the parity table.

    Args:
        found: `keras_impl.ops.targets.Targets` as arrays.
        work: What they were made of.
        excuse: Whether near-ties are excused.

    Returns:
        Images in which one was.

    Raises:
        AssertionError: They are not the reference's; it says where.
    """
    shape = (len(work.boxes), len(work.anchors))
    _demand_shapes(found, [shape, (*shape, 4), shape])
    dtypes = [part.dtype for part in found]
    _demand(dtypes == [np.int32, np.float32, np.int32], f"another dtype: {dtypes}")
    excused = 0
    for image, (boxes, labels, *parts) in enumerate(zip(*work[:2], *found, strict=True)):
        inputs = (boxes[None], labels[None], work.anchors)
        outputs = tuple(part[None] for part in parts)
        verdict = judge_targets(inputs, outputs, "float32", excuse, CANONICAL)
        if verdict.mismatches:
            right, objects = assign_targets(boxes, labels, work.anchors).objects, parts[2]
            others = np.flatnonzero(objects != right)
            where = (
                f"object {right[others[0]]} expected at anchor {others[0]}, {objects[others[0]]} "
                f"found, and {len(others) - 1} more"
                if others.size
                else f"labels, or deltas off by {verdict.error} eps"
            )
            raise AssertionError(f"image {image}: not the reference's targets: {where}")
        excused += verdict.excused
    return excused


def check_detections(found: Any, work: DecodingWorkload, convention: Convention = CANONICAL) -> int:
    """Compare detections with the reference's, by the judgement of the parity table.

    Exponentials of two libraries differ in the last bit, so near-ties are excused in every mode.

    Args:
        found: `keras_impl.ops.detection.Detections` as arrays.
        work: What they were made of.
        convention: What the heads mean; its rules of detection must be the canonical ones.

    Returns:
        Images in which a near-tie was excused.

    Raises:
        AssertionError: They are not the reference's; it says where.
        ValueError: Other rules of detection.
    """
    batch, slots = len(work.deltas), convention.detection.max_detections
    _demand_shapes(found, [(batch, slots, 4), *[(batch, slots)] * 3])
    excused = 0
    for image, (deltas, logits, *got) in enumerate(
        zip(work.deltas, work.logits, *found, strict=True)
    ):
        one = judge_image(got, deltas, logits, work.anchors, convention, near_ties=True)
        where = f"image {image}: not the reference's detections: "
        _demand(not one.objection, where + one.objection)
        boxes = f"boxes off by {one.box_error} eps, expected at most {one.box_budget}"
        _demand(one.box_error <= one.box_budget, where + boxes)
        scores = f"scores off by {one.score_error} eps, expected at most {one.score_budget}"
        _demand(one.score_error <= one.score_budget, where + scores)
        excused += one.excused > 0
    return excused


def _demand_shapes(found: Any, expected: Sequence[tuple[int, ...]]) -> None:
    shapes = [part.shape for part in found]
    _demand(shapes == list(expected), f"another shape: {shapes}, expected {list(expected)}")


def _demand(truth: Any, message: str) -> None:
    """As `assert`, but also where Python leaves assertions out (`python -O`)."""
    if not truth:
        raise AssertionError(message)
