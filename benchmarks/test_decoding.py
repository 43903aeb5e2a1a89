"""Benchmark decoding and suppression: from the head outputs of a batch to its detections.

The head outputs of `decoding` resemble those of a trained network, those of `decoding-hard` an
untrained one. A pair is an anchor and a class.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import keras_impl.ops.detection
import reference_numpy.detection
from benchmarks.workloads import REFERENCE, THEIRS, Load, Runner, decoding_work, grid
from keras_impl.benchmark.correctness import check_detections
from keras_impl.benchmark.peers import decoder
from keras_impl.host import detection as host_detection
from keras_impl.host.detection import HostDetections
from reference_numpy.conventions import CANONICAL
from reference_numpy.detection import Detections


def by_reference(anchors: np.ndarray, deltas: np.ndarray, logits: np.ndarray) -> list[Detections]:
    detect = reference_numpy.detection.detect
    return [detect(*image, anchors) for image in zip(deltas, logits, strict=True)]


def by_host(anchors: np.ndarray, deltas: np.ndarray, logits: np.ndarray) -> HostDetections:
    return host_detection.detect(deltas, logits, anchors)


def by_keras(anchors: np.ndarray, deltas: Any, logits: Any) -> keras_impl.ops.detection.Detections:
    return keras_impl.ops.detection.detect(deltas, logits, anchors)


@grid("decoding", "decoding-hard")
def test_decoding(load: Load, runner: Runner, timed):
    work = decoding_work(load)

    def check(found: Any) -> int:
        # The reference needs no check, and peers follow other conventions.
        if runner == REFERENCE or runner in THEIRS:
            return 0
        return check_detections(found, work)

    if runner in THEIRS:
        function = decoder(runner.implementation, work.anchors, CANONICAL)
    elif runner.implementation == "keras" and runner.mode == "host":
        function = partial(by_host, work.anchors)
    else:
        function = partial(by_reference if runner == REFERENCE else by_keras, work.anchors)
    timed(
        load,
        runner,
        function,
        (work.deltas, work.logits),
        check,
        pairs=load.batch * load.anchors * (work.logits.shape[-1] - 1),
    )
