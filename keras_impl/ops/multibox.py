"""MultiBox loss of a batch on any Keras backend: mirrors `reference_numpy.multibox`.

Gradients are the backend's own, by automatic differentiation; the chosen anchors are held.
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
    """The class loss of each anchor.

    Args:
        logits: (..., C + 1) predicted classes.
        labels: (...) target label, 0 for background; -1 has loss 0.
        convention: Its `Loss` names the loss, its `Coding` the place of the background.
        overrides: Overrides of single fields.

    Returns:
        (...) softmax cross-entropy; or sigmoid cross-entropy or focal loss, summed over columns.
        NaN where a logit is NaN, and where infinities leave no number.

    Raises:
        ValueError: Shapes that differ; a label outside -1 to C, which while tracing has loss 0.
        TypeError: Logits that are not floats, labels that are not whole numbers.

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
    """What the losses of each image are divided by: (B, A) target labels → (B,) `dtype`.

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
    """The loss of a batch and its parts; total = class_loss + box_weight × box_loss.

    Attributes:
        total: What training minimises.
        class_loss: Of the counted positives and negatives.
        box_loss: Of the counted positives.
        positives: How many anchors of the batch have an object.
        counted: (B, A) positives that count: all, unless they are suppressed before mining.
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
    """The MultiBox loss of a batch (arXiv:1512.02325, equation 1).

    What does not count has no gradient, whatever it is: infinities and NaN among it do no harm.
    In what does, NaN shows: the total is NaN.

    Args:
        deltas: (B, A, 4) predicted codes.
        logits: (B, A, C + 1) predicted classes, canonically background first.
        target_deltas: (B, A, 4) from `assign_targets`.
        target_labels: (B, A) from `assign_targets`.
        convention: Its `Loss` holds the rules.
        boxes: (B, A, 4) xyxy, the predicted boxes: needed, and looked at, only where
            anchors are suppressed before mining. No gradient goes through them.
        overrides: Overrides of single fields.

    Returns:
        `MultiBox`.

    Raises:
        ValueError: Shapes that differ; a label outside -1 to C, which while tracing counts nowhere;
            no boxes where anchors are suppressed before mining.
        TypeError: Arrays that are not floats (labels: whole numbers).

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

    # Zeros take the place of what does not count, before any arithmetic: a loss that is masked
    # afterwards still sends 0 times infinity back.
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
    """Zero where the mask says no; (B, A) mask, (B, A) or (B, A, n) values."""
    if len(values.shape) > 2:
        mask = mask[..., None]
    return ops.where(mask, values, ops.zeros_like(values))
