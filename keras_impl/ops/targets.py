"""Targets for a batch on any Keras backend: mirrors `reference_numpy.targets`."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_impl._common.arrays import Tensor
from keras_impl.ops.boxes import _ioa, _iou, _solid, _to_xyxy, check_boxes
from keras_impl.ops.checks import as_flags, as_floats, as_whole
from keras_impl.ops.coding import _encode
from keras_impl.ops.matching import _check_threshold, _match
from reference_numpy.conventions import CANONICAL, IGNORE, IGNORED, Convention

__all__ = ["Targets", "assign_targets"]

FEW = 8  # up to this many objects, comparisons are faster than a gather


class Targets(NamedTuple):
    """Training targets of B images with A anchors.

    Attributes:
        labels: (B, A) int32 label of the anchor's object, 0 for background, -1 for ignored.
        deltas: (B, A, 4) code of the anchor's object, 0 without one.
        objects: (B, A) int32 index of the anchor's object among the image's boxes, or -1.
    """

    labels: Tensor
    deltas: Tensor
    objects: Tensor


def assign_targets(
    boxes: Tensor,
    labels: Tensor,
    anchors: Tensor,
    convention: Convention = CANONICAL,
    *,
    crowds: Tensor | None = None,
    **overrides: Any,
) -> Targets:
    """Assign a class and a box to every anchor of each image (arXiv:1512.02325, section 2.2).

    Args:
        boxes: (B, M, 4) xyxy, padded to M objects an image.
        labels: (B, M) label of each object, 1 or more. -1 marks padding: the box of such a row may
            hold anything, and changes nothing.
        anchors: (A, 4) cxcywh.
        convention: Its `Overlap`, `Matching` and `Coding` parts are used.
        crowds: (B, M) True for a crowd or a difficult object. No anchor is matched to it; anchors
            that overlap it and have no object are ignored.
        overrides: Overrides of single fields.

    Returns:
        `Targets`, deltas in the dtype of `boxes`.

    Raises:
        ValueError: Shapes do not fit, or, in an eager call, a box or label is invalid. In a
            compiled graph an invalid object counts as padding.
        TypeError: `boxes` or `anchors` are not floats, `labels` are not integers, or `crowds` are
            neither booleans nor integers.

    Example:
        >>> anchors = ops.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> targets = assign_targets(ops.array([[[0.5, 0.5, 1.0, 1.0]]]), ops.array([[7]]), anchors)
        >>> ops.convert_to_numpy(targets.labels)
        array([[0, 7]], dtype=int32)
    """
    boxes = ops.convert_to_tensor(as_floats(boxes, "boxes", "B", "M", 4))
    labels = ops.cast(as_whole(labels, "labels", *tuple(boxes.shape)[:2]), "int32")
    anchors = ops.cast(as_floats(anchors, "anchors", "A", 4), boxes.dtype)
    convention = convention.replace(**overrides)
    check_boxes(boxes, labels, convention)
    _check_threshold(convention.matching, boxes)
    if crowds is not None:
        crowds = as_flags(crowds, "crowds", *tuple(labels.shape), whole=True)
    return _assign(boxes, labels, anchors, convention, crowds)


def _assign(
    boxes: Tensor, labels: Tensor, anchors: Tensor, convention: Convention, crowds: Tensor | None
) -> Targets:
    flat = convention.coding.degenerate == "encode"
    valid = ops.logical_and(ops.greater_equal(labels, 1), _solid(boxes, flat))
    if crowds is None:
        crowd = None
    else:
        crowds = ops.cast(crowds, "bool")
        crowd, valid = ops.logical_and(valid, crowds), ops.logical_and(valid, ~crowds)
    if boxes.shape[1] == 0:
        nothing = _match(boxes, valid, anchors, convention)
        return Targets(ops.zeros_like(nothing), _no_deltas(nothing, boxes.dtype), nothing)

    # Padding takes part in the arithmetic below, so it gets a box whose logarithms exist.
    whole = ops.array([0.0, 0.0, 1.0, 1.0], dtype=boxes.dtype)
    real = ops.where(valid[..., None], boxes, whole)
    matched = _match(real, valid, anchors, convention)
    positive = ops.greater_equal(matched, 0)
    rows = ops.maximum(matched, 0)
    own_label = _of_object(labels, rows)
    # One corner coordinate at a time, since a compiler does not vectorise a gather of rows of four.
    own_box = ops.stack([_of_object(real[..., corner], rows) for corner in range(4)], axis=-1)
    deltas = _encode(own_box, anchors, convention.coding)
    nowhere = ops.equal(matched, IGNORED)
    if crowd is not None and convention.matching.crowd_by != "none":
        nowhere = ops.logical_or(nowhere, _crowded(boxes, crowd, anchors, convention))
    others = ops.where(nowhere, IGNORE, ops.zeros_like(own_label))
    return Targets(
        ops.where(positive, own_label, others),
        ops.where(positive[..., None], deltas, ops.zeros_like(deltas)),
        ops.where(positive, matched, -1),
    )


def _of_object(values: Tensor, rows: Tensor) -> Tensor:
    """Gather values[b, rows[b, a]]; for few objects by comparisons, which is faster."""
    if values.shape[1] > FEW:
        return ops.take_along_axis(values, rows, axis=1)
    own = values[:, :1] + ops.zeros_like(rows, dtype=values.dtype)
    for row in range(1, values.shape[1]):
        own = ops.where(ops.equal(rows, row), values[:, row : row + 1], own)
    return own


def _crowded(boxes: Tensor, crowd: Tensor, anchors: Tensor, convention: Convention) -> Tensor:
    """Mark the anchors that overlap a crowd enough, (B, A), one crowd after the other."""
    corners = _to_xyxy(anchors)[None]
    real = ops.where(crowd[..., None], boxes, ops.zeros_like(boxes))
    limit = ops.convert_to_tensor(convention.matching.crowd_overlap, dtype=boxes.dtype)

    def look(index: Tensor, found: Tensor) -> Tensor:
        box = ops.take(real, index, axis=1)[:, None]
        by_iou = convention.matching.crowd_by == "iou"
        overlap = _iou(corners, box, convention.overlap) if by_iou else _ioa(box, corners)
        near = ops.greater_equal(overlap, limit)
        return ops.logical_or(found, ops.logical_and(near, ops.take(crowd, index, axis=1)[:, None]))

    start = ops.zeros((ops.shape(boxes)[0], anchors.shape[0]), dtype="bool")
    return ops.fori_loop(0, boxes.shape[1], look, start)


def _no_deltas(objects: Tensor, dtype: str) -> Tensor:
    return ops.zeros((ops.shape(objects)[0], objects.shape[1], 4), dtype=dtype)
