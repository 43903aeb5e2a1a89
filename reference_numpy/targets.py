"""Targets: the class and the box that each anchor learns from one image.

The loss compares head outputs with these (arXiv:1512.02325, section 2.2). Matching chooses the
object of an anchor, and coding writes the object's box relative to the anchor. Anchors without an
object are background, or ignored.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference_numpy._typing import Floats
from reference_numpy.boxes import _ioa, _iou, _to_xyxy, check_anchors, check_boxes
from reference_numpy.checks import check_each, check_floats, check_whole
from reference_numpy.coding import _encode
from reference_numpy.conventions import CANONICAL, IGNORE, IGNORED, PADDING, UNMATCHED, Convention
from reference_numpy.matching import _check_threshold, _match

__all__ = ["Targets", "assign_targets"]


class Targets(NamedTuple):
    """Training targets of one image with A anchors.

    Attributes:
        labels: (A,) label of the anchor's object, 0 for background, -1 for ignored.
        deltas: (A, 4) code of the anchor's object, 0 without one.
        objects: (A,) index of the anchor's object among the boxes given, or -1.
    """

    labels: NDArray[np.int64]
    deltas: NDArray[np.floating[Any]]
    objects: NDArray[np.int64]


def assign_targets(
    boxes: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    anchors: NDArray[np.floating[Any]],
    convention: Convention = CANONICAL,
    *,
    crowds: NDArray[np.bool_] | None = None,
    **overrides: Any,
) -> Targets:
    """Assign a class and a box to every anchor of one image.

    Args:
        boxes: (N, 4) xyxy, the objects of one image; N may be 0.
        labels: (N,) label of each object, 1 or more. -1 marks padding: the box of such a row may
            hold anything, and changes nothing.
        anchors: (A, 4) cxcywh.
        convention: Its `Overlap`, `Matching` and `Coding` parts are used.
        crowds: (N,) True for a crowd or a difficult object. No anchor is matched to it; anchors
            that overlap it and have no object are ignored.
        overrides: Overrides of single fields.

    Returns:
        `Targets`, deltas in the dtype of `boxes`.

    Raises:
        ValueError: Shapes that do not fit, or an invalid box, label or anchor, named by its index.
        TypeError: `boxes` or `anchors` are not floats, `labels` are not integers, or `crowds` are
            neither booleans nor integers.

    Example:
        Two anchors; the object has the same box as the second.

        >>> anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> targets = assign_targets(np.array([[0.5, 0.5, 1.0, 1.0]]), np.array([7]), anchors)
        >>> targets.labels, targets.objects
        (array([0, 7]), array([-1,  0]))
        >>> targets.deltas
        array([[0., 0., 0., 0.],
               [0., 0., 0., 0.]])
    """
    convention = convention.replace(**overrides)
    check_floats(boxes, "boxes", "N", 4)
    check_anchors(anchors)
    _check_threshold(convention.matching, np.result_type(boxes, anchors))
    padding = _check_labels(np.asarray(labels), len(boxes)) == PADDING
    if convention.coding.degenerate == "drop":
        flat_or_less = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
        padding = padding | (np.isfinite(boxes).all(axis=1) & flat_or_less)
    # Padding may hold anything. Its boxes are replaced, not removed, so that the indices in
    # messages are those of the caller.
    whole = np.array([0, 0, 1, 1], boxes.dtype)
    flat = convention.coding.degenerate == "encode"
    check_boxes(np.where(padding[:, None], whole, boxes), flat=flat)
    crowd = np.zeros(len(boxes), np.bool_) if crowds is None else np.asarray(crowds)
    if crowd.dtype.kind not in "biu":
        raise TypeError(f"crowds: expected booleans. Received: {crowd.dtype}")
    crowd = crowd.astype(np.bool_)
    if crowd.shape != padding.shape:
        raise ValueError(
            f"crowds: expected shape {padding.shape}, one per box. Received: {crowd.shape}"
        )

    return _assign(boxes, np.asarray(labels), anchors, convention, padding, crowd)


def _assign(
    boxes: Floats,
    labels: NDArray[np.integer[Any]],
    anchors: Floats,
    convention: Convention,
    padding: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
) -> Targets:
    rules = convention.matching
    rows = np.flatnonzero(~padding & ~crowd)
    corners = _to_xyxy(anchors)
    matched = _match(_iou(boxes[rows], corners, convention.overlap), rules)
    positive = matched >= 0
    objects = np.full(len(anchors), UNMATCHED)
    objects[positive] = rows[matched[positive]]
    target_labels = np.where(matched == IGNORED, IGNORE, 0)
    crowded = boxes[crowd & ~padding]
    if len(crowded) and rules.crowd_by != "none":
        if rules.crowd_by == "iou":
            overlap = _iou(corners, crowded, convention.overlap).max(axis=1)
        else:
            overlap = _ioa(crowded, corners).max(axis=0)
        target_labels[overlap >= boxes.dtype.type(rules.crowd_overlap)] = IGNORE
    target_labels[positive] = labels[objects[positive]]
    deltas = np.zeros((len(anchors), 4), dtype=boxes.dtype)
    deltas[positive] = _encode(boxes[objects[positive]], anchors[positive], convention.coding)
    return Targets(target_labels, deltas, objects)


def _check_labels(labels: NDArray[np.integer[Any]], count: int) -> NDArray[np.integer[Any]]:
    check_whole(labels, "labels", ...)
    if labels.shape != (count,):
        raise ValueError(
            f"labels: expected shape ({count},), one per box. Received: {labels.shape}"
        )
    fine = (labels >= 1) | (labels == PADDING)
    check_each(labels, "labels", fine, "1 or more (0 is background), or -1 for padding")
    return labels
