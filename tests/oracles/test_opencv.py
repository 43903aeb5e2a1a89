"""OpenCV's suppression with the limits and falling thresholds for which no operation has room.

Operation by operation it is compared in tests/parity (`--implementation opencv`). Boxes are whole
pixels, so that no form of them rounds; thresholds are exact in binary.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from reference_numpy.conventions import CANONICAL
from reference_numpy.detection import select
from reference_numpy.suppression import soft_nms

WORKLOADS, BOXES = 250, 60


def workload(generator):
    """Boxes of 1 to 32 pixels in xyxy and as OpenCV has them, and scores, many equal."""
    size = generator.integers(1, 33, (BOXES, 2))
    low = generator.integers(0, 65 - size)
    scores = (generator.integers(0, 40, BOXES) / 40).astype(np.float32)
    corners = np.concatenate([low, low + size], axis=1).astype(np.float32)
    return corners, np.concatenate([low, size], axis=1), scores


@pytest.mark.parametrize("eta", [1.0, 0.875, 0.5])
@pytest.mark.parametrize("limit", [None, 5, 30])
@pytest.mark.parametrize("threshold", [0.25, 0.78125])
def test_nms_boxes(eta, limit, threshold):
    """Caffe's falling threshold, a limit of candidates, and a score to be above."""
    generator = np.random.default_rng(0)
    rules = CANONICAL.replace(
        score_threshold=0.25,
        iou_threshold=threshold,
        eta=eta,
        candidates_per_class=limit,
        max_detections=BOXES,
        clip="none",
    )
    for _ in range(WORKLOADS):
        corners, boxes, scores = workload(generator)
        # 0 candidates are no limit to OpenCV.
        kept = cv2.dnn.NMSBoxes(boxes, scores, 0.25, threshold, eta, limit or 0)
        wanted = select(corners, scores[:, None], rules)
        np.testing.assert_array_equal(kept, wanted.anchors)


def test_the_threshold_falls():
    """The workloads are such that eta changes the answer."""
    _, boxes, scores = workload(np.random.default_rng(0))
    plain, falling = (cv2.dnn.NMSBoxes(boxes, scores, 0.25, 0.78125, eta) for eta in (1.0, 0.5))
    assert len(falling) < len(plain)


@pytest.mark.parametrize("limit", [0, 7])
def test_soft_nms_boxes(limit):
    """Its limit is of boxes kept, and its sigma twice ours."""
    generator = np.random.default_rng(1)
    rules = CANONICAL.replace(
        score_threshold=0.05, score_at=">=", iou_threshold=1.0, soft_sigma=0.25, clip="none"
    )
    for _ in range(WORKLOADS):
        corners, boxes, scores = workload(generator)
        lowered, kept = cv2.dnn.softNMSBoxes(boxes, scores, 0.05, 0.5, limit, 0.5)
        wanted, after = soft_nms(corners, scores, rules)
        rows = slice(None, limit or None)
        np.testing.assert_array_equal(kept, wanted[rows])
        np.testing.assert_allclose(lowered, after[rows], rtol=1e-5)


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.xfail(strict=True, reason="top_k limits the candidates before suppression")
def test_top_k_limits_what_is_picked():
    """The manual: "keep at most top_k picked indices"; two are picked of these three."""
    kept = cv2.dnn.NMSBoxes(
        [[0, 0, 9, 9], [0, 0, 9, 9], [50, 0, 9, 9]], [0.9, 0.8, 0.7], 0.0, 0.5, top_k=2
    )
    assert list(kept) == [0, 2]


@pytest.mark.xfail(strict=True, reason="top_k counts the candidates of all classes together")
def test_each_class_has_its_candidates():
    """One candidate a class: suppression by classes is to answer as class by class."""
    boxes, scores = [[0, 0, 9, 9], [50, 0, 9, 9]], [0.9, 0.8]
    each = [
        cv2.dnn.NMSBoxes([box], [score], 0.0, 0.5, top_k=1)[0]
        for box, score in zip(boxes, scores, strict=True)
    ]
    assert each == [0, 0]
    assert list(cv2.dnn.NMSBoxesBatched(boxes, scores, [0, 1], 0.0, 0.5, top_k=1)) == [0, 1]


@pytest.mark.xfail(
    strict=True, raises=cv2.error, reason="a score threshold below 0 is refused, logits or not"
)
def test_scores_may_be_logits():
    assert list(cv2.dnn.NMSBoxes([[0, 0, 9, 9]], [-1.0], -5.0, 0.5)) == [0]


@pytest.mark.xfail(strict=True, raises=TypeError, reason="softNMSBoxes takes whole numbers only")
def test_soft_boxes_may_have_fractions():
    """NMSBoxes and NMSBoxesBatched take them."""
    _, kept = cv2.dnn.softNMSBoxes([[0.0, 0.0, 0.5, 0.5]], [0.9], 0.0, 0.5)
    assert list(kept) == [0]
