"""Benchmark matching and encoding: from the objects of a batch to the targets of the anchors.

The reference processes one image after the other; Keras processes the batch at once. A pair is an
object and an anchor; padding is not counted.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import keras_impl.ops.targets
import reference_numpy.targets
from benchmarks.workloads import REFERENCE, THEIRS, Load, Runner, grid, matching_work
from keras_impl.benchmark.correctness import check_targets
from keras_impl.benchmark.peers import PEERS, matcher
from keras_impl.host.matching import HostTargets, TargetAssigner
from reference_numpy.conventions import PADDING
from reference_numpy.targets import Targets


def by_reference(anchors: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> list[Targets]:
    assign = reference_numpy.targets.assign_targets
    return [assign(*image, anchors) for image in zip(boxes, labels, strict=True)]


def by_host(anchors: np.ndarray) -> Any:
    """Return the host's target assignment into reused memory, as in an input pipeline."""
    assigner, held = TargetAssigner(anchors), {}

    def assign(boxes: np.ndarray, labels: np.ndarray) -> HostTargets:
        held["out"] = assigner.assign(boxes, labels, out=held.get("out"))
        return held["out"]

    return assign


def by_keras(anchors: np.ndarray, boxes: Any, labels: Any) -> keras_impl.ops.targets.Targets:
    return keras_impl.ops.targets.assign_targets(boxes, labels, anchors)


@grid("matching")
def test_matching(load: Load, runner: Runner, timed):
    work = matching_work(load)

    def check(found: Any) -> int:
        if runner == REFERENCE or (runner in THEIRS and not PEERS[runner.implementation].yardstick):
            return 0  # The reference needs no check, and peers follow other conventions.
        # Only XLA fuses multiplications with additions; without it no near-tie is excused.
        return check_targets(found, work, excuse=runner.mode == "xla")

    if runner in THEIRS:
        function = matcher(runner.implementation, work.anchors, load.objects)
    elif runner.implementation == "keras" and runner.mode == "host":
        function = by_host(work.anchors)
    else:
        function = partial(by_reference if runner == REFERENCE else by_keras, work.anchors)
    timed(
        load,
        runner,
        function,
        (work.boxes, work.labels),
        check,
        pairs=int((work.labels != PADDING).sum()) * load.anchors,
    )
