"""Greedy non-maximum suppression: among overlapping boxes, keep the highest score.

Several anchors usually find the same object, so SSD ends with "a non-maximum suppression step to
produce the final detections" (arXiv:1512.02325, section 2.1). The boxes of one class are visited
from the highest score down. A box that overlaps a kept one by more than a threshold is dropped, or
(soft) its score is lowered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_numpy._typing import Floats
from reference_numpy.boxes import _iou
from reference_numpy.checks import check_each, check_floats
from reference_numpy.conventions import CANONICAL, Convention, Detection

__all__ = ["nms", "soft_nms"]


def nms(
    boxes: Floats, scores: Floats, convention: Convention = CANONICAL, **overrides: Any
) -> NDArray[np.int64]:
    """Suppress overlapping boxes of one class (non-maximum suppression, NMS).

    Args:
        boxes: (N, 4) xyxy; a box without area overlaps nothing.
        scores: (N,) any numbers. By default equal scores are visited from the lowest index.
        convention: Its `Detection` part is used: `iou_threshold` (compared in the dtype of
            `boxes`), `suppress_at`, `ties` and `eta`. Its `Overlap` part defines the IoU.
        overrides: Overrides of single fields.

    Returns:
        (K,) indices of the kept boxes, in the order visited.

    Raises:
        ValueError: Shapes that differ, NaN, a corner that is not finite, or a threshold outside [0,
            1].
        TypeError: Not arrays of floats.

    Example:
        The middle box has IoU 1/3 with both others, which only touch. The first box suppresses it,
        so the last one stays.

        >>> chain = np.array([[0.0, 0, 0.5, 1], [0.25, 0, 0.75, 1], [0.5, 0, 1, 1]])
        >>> nms(chain, np.array([0.9, 0.8, 0.7]), iou_threshold=0.3)
        array([0, 2])
    """
    _check(boxes, scores)
    return _nms(boxes, scores, convention.replace(**overrides))


def _nms(boxes: Floats, scores: Floats, convention: Convention) -> NDArray[np.int64]:
    rules = convention.detection
    threshold, eta = boxes.dtype.type(rules.iou_threshold), boxes.dtype.type(rules.eta)
    waiting = _visiting_order(scores, rules)
    worst = np.zeros(waiting.shape, boxes.dtype)  # largest IoU of each waiting box with a kept one
    kept = []
    while waiting.size:
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        overlap = _iou(boxes[best][None], boxes[waiting], convention.overlap)[0]
        worst = np.maximum(worst[1:], overlap)
        if eta < 1 and threshold > boxes.dtype.type(0.5):
            threshold = threshold * eta
        # Caffe tests a box when it is visited. The threshold only falls, so a box that fails now
        # would fail then, too.
        stays = ~_suppressed(worst, threshold, rules)
        waiting, worst = waiting[stays], worst[stays]
    return np.array(kept, dtype=np.int64)


def soft_nms(
    boxes: Floats, scores: Floats, convention: Convention = CANONICAL, **overrides: Any
) -> tuple[NDArray[np.int64], Floats]:
    """Lower the scores of overlapping boxes of one class (Soft-NMS, arXiv:1704.04503, section 3).

    The highest-scoring box is kept. The score of every other box is multiplied by exp(-IoU² / 2σ),
    and a box that `nms` would drop is dropped. This repeats among the remaining boxes, until none
    of them passes the score threshold.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,) finite numbers from 0.
        convention: Its `Detection` part is used: `soft_sigma`, the score threshold, and the rules
            of `nms` except `eta`. `iou_threshold=1` drops no box.
        overrides: Overrides of single fields.

    Returns:
        (K,) indices of the kept boxes, highest score first, and (K,) their lowered scores.

    Raises:
        ValueError: Shapes that differ, a corner that is not finite, a score that is negative or not
            finite, or no `soft_sigma`.
        TypeError: Not arrays of floats.

    Example:
        Two boxes with IoU 1/2: the second score is multiplied by exp(-1/4).

        >>> boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5]])
        >>> kept, lowered = soft_nms(boxes, np.array([0.9, 0.8]), soft_sigma=0.5, iou_threshold=1)
        >>> kept, lowered.round(4)
        (array([0, 1]), array([0.9  , 0.623]))
    """
    convention = convention.replace(**overrides)
    _check(boxes, scores)
    check_each(scores, "scores", (scores >= 0) & (scores < np.inf), "a finite number from 0")
    if convention.detection.soft_sigma is None:
        raise ValueError("soft_sigma: expected a number above 0. Received: None")
    return _soft_nms(boxes, scores, convention)


def _soft_nms(
    boxes: Floats, scores: Floats, convention: Convention
) -> tuple[NDArray[np.int64], Floats]:
    rules = convention.detection
    assert rules.soft_sigma is not None
    steepness = scores.dtype.type(-0.5 / rules.soft_sigma)
    threshold = boxes.dtype.type(rules.iou_threshold)
    current = np.array(scores)
    waiting = np.flatnonzero(_passes(current, rules))
    if rules.ties == "highest anchor":
        waiting = waiting[::-1]
    kept = []
    while waiting.size:
        place = int(np.argmax(current[waiting]))  # the first of the largest
        best, waiting = waiting[place], np.delete(waiting, place)
        kept.append(best)
        overlap = _iou(boxes[best][None], boxes[waiting], convention.overlap)[0]
        current[waiting] *= np.exp(steepness * (overlap * overlap).astype(scores.dtype))
        stays = ~_suppressed(overlap, threshold, rules) & _passes(current[waiting], rules)
        waiting = waiting[stays]
    chosen = np.array(kept, dtype=np.int64)
    return chosen, current[chosen]


def _passes(scores: Floats, rules: Detection) -> NDArray[np.bool_]:
    threshold = scores.dtype.type(rules.score_threshold)
    return np.asarray(scores >= threshold if rules.score_at == ">=" else scores > threshold)


def _suppressed(overlap: Floats, threshold: Any, rules: Detection) -> NDArray[np.bool_]:
    return np.asarray(overlap >= threshold if rules.suppress_at == ">=" else overlap > threshold)


def _visiting_order(scores: Floats, rules: Detection) -> NDArray[np.int64]:
    if rules.ties == "highest anchor":
        return scores.size - 1 - np.argsort(-scores[::-1], kind="stable")
    return np.argsort(-scores, kind="stable")


def _check(boxes: Floats, scores: Floats) -> None:
    check_floats(boxes, "boxes", "N", 4)
    check_floats(scores, "scores", ...)
    if scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"scores: expected shape {boxes.shape[:1]}, one per box. Received: {scores.shape}"
        )
    check_each(boxes, "boxes", np.isfinite(boxes).all(axis=1), "four finite numbers")
    check_each(scores, "scores", ~np.isnan(scores), "a number")
