"""Training targets of a batch on any Keras backend: mirrors `reference_numpy.targets`."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_impl.boxes import check_boxes, solid
from keras_impl.coding import encode
from keras_impl.matching import match
from reference_numpy.conventions import CANONICAL

__all__ = ["Targets", "assign_targets"]

Tensor = Any


class Targets(NamedTuple):
    """Targets of B pictures with A anchors.

    Attributes:
        labels: (B, A) int32, 0 for background, else the label of the anchor's object.
        deltas: (B, A, 4) code of the anchor's object, 0 for background.
        objects: (B, A) int32 row of the anchor's object in the lists given, or -1.
    """

    labels: Tensor
    deltas: Tensor
    objects: Tensor


def assign_targets(
    boxes: Tensor,
    labels: Tensor,
    anchors: Tensor,
    *,
    threshold: float = CANONICAL.matching.threshold,
    variances: tuple[float, ...] = CANONICAL.coding.variances,
) -> Targets:
    """Assign each anchor of each picture its class and box (arXiv:1512.02325, section 2.2).

    Args:
        boxes: (B, M, 4) corner form, padded to M objects a picture.
        labels: (B, M) label from 1; -1 marks padding, whose box is not looked at.
        anchors: (A, 4) centre form.
        threshold: Of `match`.
        variances: Of `encode`.

    Returns:
        `Targets`, deltas in the dtype of `boxes`.

    Raises:
        ValueError: Shapes that do not fit; called eagerly, also a box or label that no object
            can have. In a compiled graph such an object counts as padding.

    Example:
        >>> anchors = ops.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> targets = assign_targets(ops.array([[[0.5, 0.5, 1.0, 1.0]]]), ops.array([[7]]), anchors)
        >>> ops.convert_to_numpy(targets.labels)
        array([[0, 7]], dtype=int32)
    """
    boxes, labels = ops.convert_to_tensor(boxes), ops.cast(labels, "int32")
    anchors = ops.cast(anchors, boxes.dtype)
    if len(boxes.shape) != 3 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes: expected shape (B, M, 4). Received: {tuple(boxes.shape)}")
    if len(labels.shape) != 2 or labels.shape[1] != boxes.shape[1]:
        raise ValueError(
            f"labels: expected shape (B, M), one a box of {tuple(boxes.shape)}. "
            f"Received: {tuple(labels.shape)}"
        )
    check_boxes(boxes, labels)
    valid = ops.logical_and(ops.greater_equal(labels, 1), solid(boxes))
    if boxes.shape[1] == 0:
        nothing = match(boxes, valid, anchors, threshold)
        return Targets(ops.zeros_like(nothing), _no_deltas(nothing, boxes.dtype), nothing)

    # Padding takes part in the arithmetic below, so it gets a box of which logarithms exist.
    whole = ops.array([0.0, 0.0, 1.0, 1.0], dtype=boxes.dtype)
    real = ops.where(valid[..., None], boxes, whole)
    objects = match(real, valid, anchors, threshold)
    positive = ops.greater_equal(objects, 0)
    rows = ops.maximum(objects, 0)
    own_label = ops.take_along_axis(labels, rows, axis=1)
    own_box = ops.take_along_axis(real, rows[..., None], axis=1)
    deltas = encode(own_box, anchors, variances)
    return Targets(
        ops.where(positive, own_label, ops.zeros_like(own_label)),
        ops.where(positive[..., None], deltas, ops.zeros_like(deltas)),
        objects,
    )


def _no_deltas(objects: Tensor, dtype: str) -> Tensor:
    return ops.zeros((ops.shape(objects)[0], objects.shape[1], 4), dtype=dtype)
