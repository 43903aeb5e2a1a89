"""Detection from the head outputs of a batch: by the fast path where it can, else by the mirror."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.backends import in_mode
from keras_impl.host.detection import HostDetections, can_detect, detect as detect_on_host
from keras_impl.ops import detection
from reference_numpy.conventions import CANONICAL, Convention

__all__ = ["detect"]


def detect(
    deltas: Array,
    logits: Array,
    anchors: Array,
    convention: Convention = CANONICAL,
    **overrides: Any,
) -> HostDetections:
    """Detect objects: decode the head outputs of a batch, and select among the boxes.

    `keras_impl.host.detection.detect` does it, except where scores or the threshold change during
    suppression (`soft_sigma`, `eta`): then `keras_impl.ops.detection.detect` does.

    Args:
        deltas: (B, A, 4) predicted codes, float32 or float64.
        logits: (B, A, C + 1) predicted classes of the same dtype, by default background first.
        anchors: (A, 4) cxcywh.
        convention: As for `keras_impl.host.detection.detect`.
        overrides: Overrides of single fields.

    Returns:
        `HostDetections` with K = `max_detections` slots.

    Raises:
        ValueError, TypeError: As `keras_impl.host.detection.detect`.

    Example:
        >>> anchors = np.array([[0.5, 0.5, 1.0, 1.0]], "float32")
        >>> heads = np.zeros((1, 1, 4), "float32"), np.array([[[0.0, 4.0]]], "float32")
        >>> detect(*heads, anchors, soft_sigma=0.5).labels[0, :2].tolist()
        [1, -1]
    """
    convention = convention.replace(**overrides)
    if can_detect(convention):
        return detect_on_host(deltas, logits, anchors, convention)
    # Each operation by itself: exact, and in float64 on JAX too, which else has none.
    mirror = in_mode(partial(detection.detect, convention=convention), "eager")
    return HostDetections(*(np.asarray(part) for part in mirror(deltas, logits, anchors)))
