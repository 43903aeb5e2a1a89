"""Matching and encoding: from the objects of a batch to what each anchor has to learn.

The reference takes picture after picture, as it is meant to be read; Keras the batch at once.
A pair is an object and an anchor; padding makes none.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import keras_impl.targets
import reference_numpy.targets
from benchmarks.workloads import REFERENCE, Load, Runner, grid, matching_work
from keras_impl.agreement import check_targets
from reference_numpy.targets import PADDING, Targets


def by_reference(anchors: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> list[Targets]:
    assign = reference_numpy.targets.assign_targets
    return [assign(*picture, anchors) for picture in zip(boxes, labels, strict=True)]


def by_keras(anchors: np.ndarray, boxes: Any, labels: Any) -> keras_impl.targets.Targets:
    return keras_impl.targets.assign_targets(boxes, labels, anchors)


@grid("matching")
def test_matching(load: Load, runner: Runner, timed):
    work = matching_work(load)

    def check(found: Any) -> int:
        if runner == REFERENCE:
            return 0  # it is what the others are compared with
        # Only XLA fuses multiplications with additions: elsewhere there is nothing to excuse.
        return check_targets(found, work, excuse=runner.mode == "xla")

    timed(
        load,
        runner,
        partial(by_reference if runner == REFERENCE else by_keras, work.anchors),
        (work.boxes, work.labels),
        check,
        pairs=int((work.labels != PADDING).sum()) * load.anchors,
    )
