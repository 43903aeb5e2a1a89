"""Compare a result with the reference before it is timed.

A *decision* (which object, which detection, in which order) must equal the reference's. There is
one exception. A compiler or an exponential may round differently from NumPy; another decision is
then excused if it is right for numbers within rounding of the true ones: a near-tie. The
comparators are those of `keras_impl.conformance`.
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
    """Compare targets with the reference's, as `ssd parity` does.

    Args:
        found: `keras_impl.ops.targets.Targets` as arrays.
        work: The inputs that they were computed from.
        excuse: Whether near-ties are excused.

    Returns:
        The number of images in which a near-tie was excused.

    Raises:
        AssertionError: The targets differ; the message says where.
    """
    shape = (len(work.boxes), len(work.anchors))
    _demand_shapes(found, [shape, (*shape, 4), shape])
    dtypes = [part.dtype for part in found]
    wanted = [np.dtype(kind) for kind in (np.int32, np.float32, np.int32)]
    _demand(dtypes == wanted, f"targets: expected dtypes {wanted}. Received: {dtypes}")
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
    """Compare detections with the reference's, as `ssd parity` does.

    Exponentials of two libraries differ in the last bit, so near-ties are excused in every mode.

    Args:
        found: `keras_impl.ops.detection.Detections` as arrays.
        work: The inputs that they were computed from.
        convention: How to read the heads; its detection rules must be the canonical ones.

    Returns:
        The number of images in which a near-tie was excused.

    Raises:
        AssertionError: The detections differ; the message says where.
        ValueError: The detection rules are not the canonical ones.
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
    _demand(
        shapes == list(expected),
        f"result: expected shapes {list(expected)}. Received: {shapes}",
    )


def _demand(truth: Any, message: str) -> None:
    """Raise an AssertionError unless `truth`; unlike `assert`, also under `python -O`."""
    if not truth:
        raise AssertionError(message)
