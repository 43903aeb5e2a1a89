"""OpenVINO's detections of whole batches, from logits to boxes, as the benchmarks ask for them.

Operation by operation it is compared in tests/parity (`--implementation openvino`).
"""

from __future__ import annotations

import numpy as np
import openvino
import pytest
from openvino import opset8 as ops

from keras_impl.benchmark.peers import decoder
from reference_numpy.conventions import CANONICAL, SSD300, SSD_MOBILENET300
from reference_numpy.detection import detect
from reference_numpy.testing.workloads import decoding_workload

SIGMOID = CANONICAL.replace(class_loss="sigmoid", code_order="yxhw")

# Its exponentials, of scores and of sizes, are off by some eps, and its anchors are corners, which
# lose 2^-24. Detections whose scores are nearer to each other than SCORES may change places.
SCORES, BOXES = 2e-6, 1e-5


@pytest.mark.parametrize("layout", [SSD300, SSD_MOBILENET300], ids=lambda layout: layout.name)
@pytest.mark.parametrize("load", ["realistic", "hard"])
@pytest.mark.parametrize("convention", [CANONICAL, SIGMOID], ids=["softmax", "sigmoid"])
def test_detections(layout, load, convention):
    deltas, logits, anchors = decoding_workload(layout, 2, 8, num_classes=5, load=load)
    for image, found in enumerate(decoder("openvino", anchors, convention)(deltas, logits)):
        right = detect(deltas[image], logits[image], anchors, convention, ties="lowest label")
        assert len(found.labels) == len(right.labels) > 0
        np.testing.assert_allclose(found.scores, right.scores, rtol=SCORES)
        apart = np.abs(np.diff(right.scores, prepend=2, append=-1)) > SCORES
        clear = apart[:-1] & apart[1:]
        assert clear.mean() > 0.7
        np.testing.assert_array_equal(found.labels[clear], right.labels[clear])
        np.testing.assert_allclose(found.boxes[clear], right.boxes[clear], atol=BOXES)
        assert sorted(found.labels) == sorted(right.labels)


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.xfail(strict=True, reason="top_k limits the candidates of each class, before NMS")
def test_top_k_limits_what_is_kept():
    """The manual: "maximum number of results to be kept per batch after NMS step"."""
    boxes = np.array([[[0, 0, 0.25, 1], [0, 0, 0.25, 1], [0.5, 0, 1, 1]]], np.float32)
    scores = np.array([[0, 0.9, 0, 0.8, 0, 0.7]], np.float32)
    anchors = np.repeat([[[0], [1]]], 12, axis=2).astype(np.float32)
    inputs = [ops.parameter(part.shape) for part in (boxes.reshape(1, -1), scores, anchors)]
    options = {"keep_top_k": [3], "top_k": 2, "nms_threshold": 0.5, "normalized": True}
    model = openvino.Model([ops.detection_output(*inputs, options)], inputs)
    found = openvino.compile_model(model, "CPU")([boxes.reshape(1, -1), scores, anchors])[0][0, 0]
    np.testing.assert_allclose(found[:2, 2], [0.9, 0.7])
