"""MultiBox: the loss of a batch, which training minimises.

It adds the class loss of the positives and the mined negatives to the box loss of the positives
(arXiv:1512.02325, section 2.2, "Training objective", equation 1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference_numpy._typing import Floats
from reference_numpy.checks import check_each, check_floats, check_whole
from reference_numpy.coding import _background_first
from reference_numpy.conventions import CANONICAL, IGNORE, Convention, Loss
from reference_numpy.losses import (
    _focal,
    _one_hot,
    _sigmoid_cross_entropy,
    _smooth_l1,
    _softmax_cross_entropy,
    check_labels,
)
from reference_numpy.mining import _choose, _needed_boxes

__all__ = ["MultiBox", "class_losses", "multibox_loss", "normalisers"]

Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


def class_losses(
    logits: Floats, labels: Ints, convention: Convention = CANONICAL, **overrides: Any
) -> Floats:
    """Compute the class loss of each anchor.

    Args:
        logits: (..., C + 1) predicted classes.
        labels: (...) target label, 0 for background; -1 is ignored and has loss 0.
        convention: Its `Loss` part names the loss, its `Coding` part the column of the background.
        overrides: Overrides of single fields.

    Returns:
        (...) softmax cross-entropy; or sigmoid cross-entropy or focal loss, summed over the
            columns.

    Raises:
        ValueError: Shapes that differ, a label outside -1 to C, or NaN or infinity among the logits
            of an anchor that is not ignored. Softmax accepts -inf, if the largest logit is finite.
        TypeError: `logits` are not floats, or `labels` are not integers.

    Example:
        >>> undecided, label = np.zeros((1, 2)), np.array([1])
        >>> class_losses(undecided, label) / np.log(2)
        array([1.])
        >>> class_losses(undecided, label, class_loss="sigmoid") / np.log(2)
        array([2.])
    """
    convention = convention.replace(**overrides)
    check_floats(logits, "logits", ..., "C + 1")
    check_whole(labels, "labels", *logits.shape[:-1])
    check_labels(labels, logits.shape[-1], least=IGNORE)
    _check_counting(logits, labels, convention.loss)
    return _class_losses(logits, labels, convention)


def _check_counting(logits: Floats, labels: Ints, rules: Loss) -> None:
    """Check that every anchor that is not ignored has logits with a defined loss."""
    if logits.shape[-1] == 0:
        raise ValueError(f"logits: expected shape (..., C + 1). Received: {logits.shape}")
    nowhere = labels == IGNORE
    if rules.class_loss == "softmax":
        fine = np.isfinite(logits.max(axis=-1)) | nowhere
        check_each(logits, "logits", fine, "numbers whose largest is finite")
    else:
        check_each(logits, "logits", np.isfinite(logits) | nowhere[..., None], "a finite number")


def _class_losses(logits: Floats, labels: Ints, convention: Convention) -> Floats:
    rules = convention.loss
    # The logits of an ignored anchor may be anything, even NaN.
    counting = np.where((labels == IGNORE)[..., None], 0, logits)
    columns = _background_first(counting, convention.coding)
    known = np.maximum(labels, 0)
    if rules.class_loss == "softmax":
        losses = _softmax_cross_entropy(columns, known)
    else:
        truth = _one_hot(known, columns.shape[-1], columns.dtype)
        if rules.class_loss == "sigmoid":
            each = _sigmoid_cross_entropy(columns, truth)
        else:
            each = _focal(columns, truth, rules.focal_alpha, rules.focal_gamma)
        losses = each.sum(axis=-1)
    return np.asarray(np.where(labels == IGNORE, 0, losses))


def normalisers(
    labels: Ints, convention: Convention = CANONICAL, **overrides: Any
) -> NDArray[np.float64]:
    """Compute the divisor of each image's losses: (B, A) target labels → (B,) float64.

    By default it is max(1, positives in the batch), for every image.

    Raises:
        ValueError: Another shape, or a label below -1.
        TypeError: `labels` are not integers.

    Example:
        Two images with 3 and 0 positives:

        >>> labels = np.array([[1, 2, 1, 0], [0, 0, 0, 0]])
        >>> normalisers(labels), normalisers(labels, normaliser="image")
        (array([3., 3.]), array([6., 2.]))
    """
    rules = convention.replace(**overrides).loss
    check_whole(labels, "labels", "B", "A")
    check_each(labels, "labels", labels >= IGNORE, "-1 or more")
    return _normalisers(labels, rules)


def _normalisers(labels: Ints, rules: Loss) -> NDArray[np.float64]:
    batch = len(labels)
    positives = np.count_nonzero(labels > 0, axis=1)
    if rules.normaliser == "image":
        return np.asarray(np.maximum(positives, 1.0) * batch)
    one = {
        "positives": max(1, positives.sum()),
        "mean": max(1, positives.sum()) / max(1, batch),
        "anchors": max(1, labels.size),
    }[rules.normaliser]
    return np.full(batch, one, np.float64)


class MultiBox(NamedTuple):
    """The loss of a batch and its parts.

    total = class_loss + box_weight × box_loss.

    Attributes:
        total: The loss that training minimises.
        class_loss: Loss over the counted positives and the negatives.
        box_loss: Loss over the counted positives, or, with `box_over="all"`, over all anchors that
            are not ignored.
        positives: Number of anchors in the batch that have an object.
        counted: (B, A) positives that count: all, unless `mining_nms` suppresses some.
        negatives: (B, A) mined negatives.
    """

    total: np.floating[Any]
    class_loss: np.floating[Any]
    box_loss: np.floating[Any]
    positives: int
    counted: Mask
    negatives: Mask


def multibox_loss(
    deltas: Floats,
    logits: Floats,
    target_deltas: Floats,
    target_labels: Ints,
    convention: Convention = CANONICAL,
    *,
    boxes: Floats | None = None,
    **overrides: Any,
) -> MultiBox:
    """Compute the MultiBox loss of a batch (equation 1).

    By default this is smooth L1 over the positives plus softmax cross-entropy over the positives
    and the mined negatives, both divided by max(1, positives in the batch). Negatives are mined per
    image.

    Args:
        deltas: (B, A, 4) predicted codes.
        logits: (B, A, C + 1) predicted classes, by default background first.
        target_deltas: (B, A, 4) from `assign_targets`.
        target_labels: (B, A) from `assign_targets`.
        convention: Its `Loss` and `Coding` parts are used, and `Overlap` with `mining_nms`.
        boxes: (B, A, 4) xyxy, the predicted boxes. They are needed, and read, only with
            `mining_nms`.
        overrides: Overrides of single fields.

    Returns:
        `MultiBox`.

    Raises:
        ValueError: Shapes that differ, a label out of range, or NaN or infinity in `logits` (as
            `class_losses`) or among the codes of an anchor that counts in the box loss.
        TypeError: An array that is not of floats (`target_labels`: of integers).

    Example:
        One image with one positive and one negative. The positive is wrong by 2 in one number
        of its code: box loss 2 - 1/2. Both give their two classes equal logits: class loss
        2 log 2.

        >>> deltas, logits = np.array([[[2.0, 0, 0, 0], [0, 0, 0, 0]]]), np.zeros((1, 2, 2))
        >>> loss = multibox_loss(deltas, logits, np.zeros((1, 2, 4)), np.array([[1, 0]]))
        >>> float(loss.box_loss), float(loss.class_loss / np.log(2)), loss.positives
        (1.5, 2.0, 1)
    """
    convention = convention.replace(**overrides)
    boxes = _check_batch(deltas, logits, target_deltas, target_labels, boxes, convention)
    return _multibox_loss(deltas, logits, target_deltas, target_labels, boxes, convention)


def _check_batch(
    deltas: Floats,
    logits: Floats,
    target_deltas: Floats,
    target_labels: Ints,
    boxes: Floats | None,
    convention: Convention,
) -> Floats | None:
    """Check a batch; return the boxes if `mining_nms` needs them, else None."""
    check_whole(target_labels, "target_labels", "B", "A")
    shape = target_labels.shape
    check_floats(deltas, "deltas", *shape, 4)
    check_floats(target_deltas, "target_deltas", *shape, 4)
    check_floats(logits, "logits", *shape, "C + 1")
    check_labels(target_labels, logits.shape[-1], IGNORE, "target_labels")
    _check_counting(logits, target_labels, convention.loss)
    return _needed_boxes(boxes, target_labels, convention.loss)


def _multibox_loss(
    deltas: Floats,
    logits: Floats,
    target_deltas: Floats,
    target_labels: Ints,
    boxes: Floats | None,
    convention: Convention,
) -> MultiBox:
    rules = convention.loss
    losses = _class_losses(logits, target_labels, convention)
    counted, negatives = _choose(losses, target_labels, convention, boxes)
    divisors = _normalisers(target_labels, rules).astype(deltas.dtype)
    class_sums = np.where(counted | negatives, losses, 0).sum(axis=1)
    in_box_loss = counted if rules.box_over == "positives" else target_labels != IGNORE
    codes = []
    for name, values in (("deltas", deltas), ("target_deltas", target_deltas)):
        fine = np.isfinite(values) | ~in_box_loss[..., None]
        check_each(values, name, fine, "a finite number, since this anchor counts")
        codes.append(np.where(in_box_loss[..., None], values, 0))
    box_sums = _smooth_l1(*codes).sum(axis=-1).sum(axis=1)
    class_loss, box_loss = (class_sums / divisors).sum(), (box_sums / divisors).sum()
    total = class_loss + deltas.dtype.type(rules.box_weight) * box_loss
    positives = int(np.count_nonzero(target_labels > 0))
    return MultiBox(total, class_loss, box_loss, positives, counted, negatives)
