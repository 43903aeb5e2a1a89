"""MultiBox loss of a batch on any Keras backend: mirrors `reference_numpy.multibox`.

Gradients come from the backend's automatic differentiation. The choice of anchors is held constant.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_impl._common.arrays import Tensor
from keras_impl.ops.checks import as_floats, as_whole, check_range
from keras_impl.ops.coding import _background_first
from keras_impl.ops.losses import (
    _focal,
    _one_hot,
    _sigmoid_cross_entropy,
    _smooth_l1,
    _softmax_cross_entropy,
)
from keras_impl.ops.mining import _choose, _needed_boxes
from reference_numpy.conventions import CANONICAL, IGNORE, Convention, Loss

__all__ = ["MultiBox", "class_losses", "multibox_loss", "normalisers"]


def class_losses(
    logits: Tensor, labels: Tensor, convention: Convention = CANONICAL, **overrides: Any
) -> Tensor:
    """Compute the class loss of each anchor.

    Args:
        logits: (..., C + 1) predicted classes.
        labels: (...) target label, 0 for background; -1 is ignored and has loss 0.
        convention: Its `Loss` part names the loss, its `Coding` part the column of the background.
        overrides: Overrides of single fields.

    Returns:
        (...) softmax cross-entropy; or sigmoid cross-entropy or focal loss, summed over columns.
        NaN where a logit is NaN or infinities give NaN.

    Raises:
        ValueError: Shapes differ, or a label is outside -1 to C. In a graph, such a label has
            loss 0.
        TypeError: Logits are not floats, or labels are not integers.

    Example:
        >>> float(
        ...     class_losses(ops.zeros((1, 2)), ops.array([1]), class_loss="focal")[0]
        ...     / ops.log(2.0)
        ... )
        0.25
    """
    convention = convention.replace(**overrides)
    logits = as_floats(logits, "logits", ..., "C + 1")
    labels = as_whole(labels, "labels", *tuple(logits.shape)[:-1])
    check_range(labels, "labels", IGNORE, logits.shape[-1] - 1)
    return _class_losses(logits, labels, convention)


def _class_losses(logits: Tensor, labels: Tensor, convention: Convention) -> Tensor:
    rules, columns = convention.loss, _background_first(logits, convention.coding)
    counts = ops.logical_and(ops.greater_equal(labels, 0), ops.less(labels, columns.shape[-1]))
    known = ops.where(counts, labels, ops.zeros_like(labels))
    if rules.class_loss == "softmax":
        losses = _softmax_cross_entropy(columns, known)
    else:
        truth = _one_hot(known, columns.shape[-1], columns.dtype)
        if rules.class_loss == "sigmoid":
            each = _sigmoid_cross_entropy(columns, truth)
        else:
            each = _focal(columns, truth, rules.focal_alpha, rules.focal_gamma)
        losses = ops.sum(each, axis=-1)
    return ops.where(counts, losses, ops.zeros_like(losses))


def normalisers(
    labels: Tensor,
    convention: Convention = CANONICAL,
    *,
    dtype: Any = "float32",
    **overrides: Any,
) -> Tensor:
    """Compute the divisor of each image's losses: (B, A) target labels → (B,) of `dtype`.

    By default it is max(1, positives in the batch), for every image.

    Example:
        >>> labels = ops.array([[1, 2, 1, 0], [0, 0, 0, 0]])
        >>> ops.convert_to_numpy(normalisers(labels, normaliser="image"))
        array([6., 2.], dtype=float32)
    """
    labels = as_whole(labels, "labels", "B", "A")
    return _normalisers(labels, convention.replace(**overrides).loss, dtype)


def _normalisers(labels: Tensor, rules: Loss, dtype: Any) -> Tensor:
    rule = rules.normaliser
    batch, anchors = ops.shape(labels)
    positives = ops.sum(ops.cast(ops.greater(labels, 0), "int32"), axis=1)
    if rule == "image":
        return ops.cast(ops.maximum(positives, 1) * batch, dtype)
    if rule == "anchors":
        everything = ops.maximum(batch * anchors, 1)
        return ops.cast(ops.full((batch,), everything, dtype="int32"), dtype)
    one = ops.cast(ops.maximum(ops.sum(positives), 1), dtype)
    if rule == "mean":
        one = one / ops.cast(ops.maximum(batch, 1), dtype)
    return ops.broadcast_to(one, (batch,))


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

    total: Tensor
    class_loss: Tensor
    box_loss: Tensor
    positives: Tensor
    counted: Tensor
    negatives: Tensor


def multibox_loss(
    deltas: Tensor,
    logits: Tensor,
    target_deltas: Tensor,
    target_labels: Tensor,
    convention: Convention = CANONICAL,
    *,
    boxes: Tensor | None = None,
    **overrides: Any,
) -> MultiBox:
    """Compute the MultiBox loss of a batch (arXiv:1512.02325, equation 1).

    By default this is smooth L1 over the positives plus softmax cross-entropy over the positives
    and the mined negatives, both divided by max(1, positives in the batch). Negatives are mined per
    image.

    Anchors that do not count have no gradient, even if their values are infinite or NaN. NaN in an
    anchor that counts makes the total NaN.

    Args:
        deltas: (B, A, 4) predicted codes.
        logits: (B, A, C + 1) predicted classes, by default background first.
        target_deltas: (B, A, 4) from `assign_targets`.
        target_labels: (B, A) from `assign_targets`.
        convention: Its `Loss` and `Coding` parts are used, and `Overlap` with `mining_nms`.
        boxes: (B, A, 4) xyxy, the predicted boxes. They are needed, and read, only with
            `mining_nms`, and get no gradient.
        overrides: Overrides of single fields.

    Returns:
        `MultiBox`.

    Raises:
        ValueError: Shapes differ; `mining_nms` is set and `boxes` are missing; or a label is
            outside -1 to C. In a graph, an anchor with such a label is ignored.
        TypeError: An array is not of floats (`target_labels`: of integers).

    Example:
        >>> deltas, logits = ops.array([[[2.0, 0, 0, 0], [0, 0, 0, 0]]]), ops.zeros((1, 2, 2))
        >>> loss = multibox_loss(deltas, logits, ops.zeros((1, 2, 4)), ops.array([[1, 0]]))
        >>> float(loss.box_loss), int(loss.positives)
        (1.5, 1)
    """
    convention = convention.replace(**overrides)
    target_labels = ops.cast(as_whole(target_labels, "target_labels", "B", "A"), "int32")
    shape = tuple(target_labels.shape)
    deltas = ops.convert_to_tensor(as_floats(deltas, "deltas", *shape, 4))
    logits = ops.convert_to_tensor(as_floats(logits, "logits", *shape, "C + 1"))
    target_deltas = ops.convert_to_tensor(as_floats(target_deltas, "target_deltas", *shape, 4))
    most = logits.shape[-1] - 1
    check_range(target_labels, "target_labels", IGNORE, most)
    target_labels = ops.where(ops.less_equal(target_labels, most), target_labels, IGNORE)
    target_labels = ops.maximum(target_labels, IGNORE)
    boxes = _needed_boxes(boxes, target_labels, convention.loss)
    return _multibox_loss(deltas, logits, target_deltas, target_labels, boxes, convention)


def _multibox_loss(
    deltas: Tensor,
    logits: Tensor,
    target_deltas: Tensor,
    target_labels: Tensor,
    boxes: Tensor | None,
    convention: Convention,
) -> MultiBox:
    rules = convention.loss
    losses = _class_losses(ops.stop_gradient(logits), target_labels, convention)
    counted, negatives = _choose(losses, target_labels, convention, boxes)
    divisors = _normalisers(target_labels, rules, deltas.dtype)

    # Zero the values that do not count before any arithmetic: with a mask on the loss instead,
    # backpropagation would multiply 0 by infinity, which is NaN.
    heard = ops.logical_or(counted, negatives)
    losses = _class_losses(_only(heard, logits), target_labels, convention)
    class_sums = ops.sum(_only(heard, losses), axis=1)
    everywhere = ops.not_equal(target_labels, IGNORE)
    in_box_loss = counted if rules.box_over == "positives" else everywhere
    box_losses = _smooth_l1(_only(in_box_loss, deltas), _only(in_box_loss, target_deltas))
    box_sums = ops.sum(ops.sum(box_losses, axis=-1), axis=1)

    class_loss = ops.sum(class_sums / divisors)
    box_loss = ops.sum(box_sums / divisors)
    total = class_loss + rules.box_weight * box_loss
    positives = ops.sum(ops.cast(ops.greater(target_labels, 0), "int32"))
    return MultiBox(total, class_loss, box_loss, positives, counted, negatives)


def _only(mask: Tensor, values: Tensor) -> Tensor:
    """Zero the values where the (B, A) mask is False; values are (B, A) or (B, A, n)."""
    if len(values.shape) > 2:
        mask = mask[..., None]
    return ops.where(mask, values, ops.zeros_like(values))
