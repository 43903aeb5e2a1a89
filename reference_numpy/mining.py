"""Hard-negative mining: choose the background anchors that count in the class loss.

Most anchors are background, and together they would outweigh the few with an object.
arXiv:1512.02325, section 2.2, "Hard negative mining": "Instead of using all the negative examples,
we sort them using the highest confidence loss for each default box and pick the top ones so that
the ratio between the negatives and positives is at most 3:1."
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference_numpy._typing import Floats
from reference_numpy.checks import check_each, check_floats, check_whole
from reference_numpy.conventions import CANONICAL, IGNORE, Convention, Loss
from reference_numpy.suppression import _nms

__all__ = ["Chosen", "choose_anchors", "mine_hard_negatives"]


def mine_hard_negatives(
    losses: Floats,
    labels: NDArray[np.integer[Any]],
    convention: Convention = CANONICAL,
    **overrides: Any,
) -> NDArray[np.bool_]:
    """Choose the hardest background anchors of one image.

    By default these are the max(⌊ratio × positives⌋, minimum) negatives with the largest loss, or
    all negatives if there are fewer. Ties go to the lowest anchor.

    Args:
        losses: (A,) class loss of each anchor.
        labels: (A,) target label, 0 for background, -1 for ignored.
        convention: Its `Loss` part is used.
        overrides: Overrides of single fields.

    Returns:
        (A,) True for each chosen negative.

    Raises:
        ValueError: Shapes that differ, a loss that is NaN or -inf, or a label below -1.
        TypeError: `losses` are not floats, or `labels` are not integers.

    Example:
        One positive and a ratio of 2 give two negatives: loss .9, and the first of the two .5.

        >>> losses, labels = np.array([0.1, 0.5, 0.2, 0.9, 0.5]), np.array([0, 0, 4, 0, 0])
        >>> mine_hard_negatives(losses, labels, negative_ratio=2)
        array([False,  True, False,  True, False])
    """
    rules = convention.replace(**overrides).loss
    _check(losses, labels, 1, "(A,)")
    return _mine(losses, labels, rules)


def _mine(losses: Floats, labels: NDArray[np.integer[Any]], rules: Loss) -> NDArray[np.bool_]:
    if rules.mining == "none":
        return np.asarray(labels == 0)
    negatives = np.flatnonzero(labels == 0)
    wanted = rules.negative_ratio * np.count_nonzero(labels > 0)
    count = max(ceil(wanted) if rules.rounding == "up" else int(wanted), rules.min_negatives)
    if rules.max_negatives is not None:
        count = min(count, rules.max_negatives)
    hardest_first = negatives[np.argsort(-losses[negatives], kind="stable")]
    chosen = np.zeros(labels.shape, dtype=np.bool_)
    chosen[hardest_first[:count]] = True
    return chosen


class Chosen(NamedTuple):
    """Masks (B, A) of the anchors that count in the losses."""

    positives: NDArray[np.bool_]
    negatives: NDArray[np.bool_]


def choose_anchors(
    losses: Floats,
    labels: NDArray[np.integer[Any]],
    convention: Convention = CANONICAL,
    *,
    boxes: Floats | None = None,
    **overrides: Any,
) -> Chosen:
    """Choose the anchors of a batch that count in the losses: positives and mined negatives.

    Args:
        losses: (B, A) class loss of each anchor.
        labels: (B, A) target label, 0 for background, -1 for ignored.
        convention: Its `Loss` part is used: negatives are mined per image or over the whole batch.
            With `mining_nms`, anchors whose boxes overlap are suppressed first, by the IoU of its
            `Overlap` part; a suppressed anchor is ignored.
        boxes: (B, A, 4) xyxy, the predicted boxes. They are needed, and read, only with
            `mining_nms`.
        overrides: Overrides of single fields.

    Returns:
        `Chosen`.

    Raises:
        ValueError: As `mine_hard_negatives`, or `mining_nms` is set and `boxes` are missing or
            invalid.
        TypeError: As `mine_hard_negatives`.

    Example:
        Two images with one positive: the three hardest negatives of the batch are chosen.

        >>> losses, labels = np.array([[9.0, 1, 2], [5, 4, 3]]), np.array([[1, 0, 0], [0, 0, 0]])
        >>> choose_anchors(losses, labels, mining="batch").negatives
        array([[False, False, False],
               [ True,  True,  True]])
    """
    convention = convention.replace(**overrides)
    _check(losses, labels, 2, "(B, A)")
    return _choose(losses, labels, convention, _needed_boxes(boxes, labels, convention.loss))


def _needed_boxes(
    boxes: Floats | None, labels: NDArray[np.integer[Any]], rules: Loss
) -> Floats | None:
    """Check and return the predicted boxes if `mining_nms` needs them, else return None."""
    if rules.mining_nms is None:
        return None
    if boxes is not None:
        check_floats(boxes, "boxes", ...)
    if boxes is None or boxes.shape != (*labels.shape, 4):
        raise ValueError(
            f"boxes: expected shape {(*labels.shape, 4)}, as mining_nms is set. "
            f"Received: {None if boxes is None else boxes.shape}"
        )
    check_each(boxes, "boxes", np.isfinite(boxes).all(axis=-1), "four finite numbers")
    return boxes


def _choose(
    losses: Floats,
    labels: NDArray[np.integer[Any]],
    convention: Convention,
    boxes: Floats | None,
) -> Chosen:
    rules, counting = convention.loss, np.array(labels)
    if boxes is not None:
        # Only the IoU is the convention's: its other rules of suppression are for detections.
        plain = replace(CANONICAL, overlap=convention.overlap)
        plain = plain.replace(iou_threshold=rules.mining_nms)
        for image in range(len(labels)):
            kept = _nms(boxes[image], losses[image], plain)
            counting[image, np.setdiff1d(np.arange(labels.shape[1]), kept)] = IGNORE
    scope = (1, -1) if rules.mining == "batch" and labels.size else labels.shape
    negatives = [
        _mine(*group, rules)
        for group in zip(losses.reshape(scope), counting.reshape(scope), strict=True)
    ]
    return Chosen(counting > 0, np.array(negatives, dtype=np.bool_).reshape(labels.shape))


def _check(losses: Any, labels: Any, rank: int, shape: str) -> None:
    check_floats(losses, "losses", ...)
    check_whole(labels, "labels", ...)
    if losses.shape != labels.shape or losses.ndim != rank:
        raise ValueError(
            f"losses, labels: expected one shape {shape}. Received: {losses.shape}, {labels.shape}"
        )
    check_each(losses, "losses", losses > -np.inf, "a number")
    check_each(labels, "labels", labels >= IGNORE, "-1 or more")
