"""Targets: what the network should say about one picture.

arXiv:1512.02325, section 2.2: matching decides which object an anchor answers for; coding
writes that object's box relative to the anchor; every other anchor is background.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference_numpy.boxes import centers_to_corners, check_anchors, check_boxes, pairwise_iou
from reference_numpy.coding import encode
from reference_numpy.conventions import CANONICAL
from reference_numpy.matching import UNMATCHED, match

__all__ = ["PADDING", "Targets", "assign_targets"]

PADDING = -1


class Targets(NamedTuple):
    """Training targets of one picture with A anchors.

    Attributes:
        labels: (A,) 0 for background, else the label of the anchor's object.
        deltas: (A, 4) code of the anchor's object, 0 for background.
        objects: (A,) index of the anchor's object in the lists given, or -1.
    """

    labels: NDArray[np.int64]
    deltas: NDArray[np.floating[Any]]
    objects: NDArray[np.int64]


def assign_targets(
    boxes: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    anchors: NDArray[np.floating[Any]],
    *,
    threshold: float = CANONICAL.matching.threshold,
    variances: tuple[float, ...] = CANONICAL.coding.variances,
) -> Targets:
    """Assign each anchor its class and box.

    Args:
        boxes: (N, 4) corner form, the objects of one picture; N may be 0.
        labels: (N,) label of each object from 1; -1 marks a row that is padding, whose box
            is not looked at and changes nothing.
        anchors: (A, 4) centre form.
        threshold: Of `match`.
        variances: Of `encode`.

    Returns:
        `Targets`, deltas in the dtype of `boxes`.

    Raises:
        ValueError: A box or label that no object can have, or an anchor that codes nothing,
            named by its index.
        TypeError: Boxes that are not floats, labels that are not whole numbers.

    Example:
        Two anchors; the object is the second one exactly.

        >>> anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> targets = assign_targets(np.array([[0.5, 0.5, 1.0, 1.0]]), np.array([7]), anchors)
        >>> targets.labels, targets.objects
        (array([0, 7]), array([-1,  0]))
        >>> targets.deltas
        array([[0., 0., 0., 0.],
               [0., 0., 0., 0.]])
    """
    if getattr(boxes, "shape", ())[1:] != (4,):
        check_boxes(boxes)  # says what is wrong
    check_anchors(anchors)
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels: expected whole numbers. Received: {labels.dtype}")
    if labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"labels: expected shape {boxes.shape[:1]}, one a box. Received: {labels.shape}"
        )
    wrong = (labels < 1) & (labels != PADDING)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(
            f"labels[{index}]: expected 1 or more (0 is background), or -1 for padding. "
            f"Received: {labels[index]}"
        )
    padding = labels == PADDING
    # Padding may hold anything: a stand-in keeps the indices in the message the caller's own.
    check_boxes(np.where(padding[:, None], np.array([0, 0, 1, 1], boxes.dtype), boxes))

    rows = np.flatnonzero(~padding)
    real = boxes[rows]
    matched = match(pairwise_iou(real, centers_to_corners(anchors)), threshold)
    positive = matched != UNMATCHED
    objects = np.full(len(anchors), UNMATCHED)
    objects[positive] = rows[matched[positive]]
    target_labels = np.zeros(len(anchors), dtype=np.int64)
    target_labels[positive] = labels[objects[positive]]
    deltas = np.zeros((len(anchors), 4), dtype=boxes.dtype)
    deltas[positive] = encode(boxes[objects[positive]], anchors[positive], variances)
    return Targets(target_labels, deltas, objects)
