"""Compute the answer of the reference to a conflict case, in a form that can be compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import cxcywh_to_xyxy, pairwise_iou
from reference_numpy.coding import background_first, decode, encode
from reference_numpy.conventions import Convention
from reference_numpy.detection import Detections, detect, select
from reference_numpy.matching import match
from reference_numpy.mining import mine_hard_negatives
from reference_numpy.multibox import class_losses, multibox_loss
from reference_numpy.suppression import nms, soft_nms
from reference_numpy.targets import assign_targets
from reference_numpy.testing.conflicts import Arrays, Conflict

__all__ = [
    "agree",
    "answer",
    "arrays",
    "plain",
    "settled",
]

_LABELS = {  # index of the input that holds labels, which are whole numbers
    "match": 1,
    "assign_targets": 1,
    "assign_targets_with_crowds": 1,
    "class_losses": 1,
    "mine_hard_negatives": 1,
    "multibox_loss": 3,
}


def arrays(case: Conflict, dtype: DTypeLike = np.float64) -> Arrays:
    """Return the inputs of a case as arrays: floats in `dtype`, labels int32, crowds bool.

    Example:
        >>> from reference_numpy.testing.conflicts import CONFLICTS
        >>> (case,) = (one for one in CONFLICTS if one.name == "negatives with equal losses")
        >>> [(one.shape, one.dtype.name) for one in arrays(case, "float32")]
        [((1, 6), 'float32'), ((1, 6), 'int32')]
    """
    kinds: dict[int | None, DTypeLike] = {_LABELS.get(case.operation): np.int32}
    if case.operation == "assign_targets_with_crowds":
        kinds[3] = np.bool_
    return tuple(np.array(part, kinds.get(index, dtype)) for index, part in enumerate(case.inputs))


def settled(case: Conflict, convention: Convention, **overrides: Any) -> Convention:
    """Return a convention with the overrides of a case, and further overrides on top.

    For `make_anchors` both are fields of its layout.

    Raises:
        ValueError: Fields that exclude each other.

    Example:
        >>> from reference_numpy.testing.conflicts import CONFLICTS
        >>> from reference_numpy.conventions import PRESETS
        >>> (case,) = (
        ...     one for one in CONFLICTS if one.name == "rounding of the number of negatives"
        ... )
        >>> settled(case, PRESETS["canonical"]).loss.negative_ratio
        1.5
    """
    overrides = {**case.overrides, **overrides}
    if case.operation == "make_anchors":
        return convention.replace(layout=replace(convention.layout, **overrides))
    return convention.replace(**overrides)


def answer(case: Conflict, convention: Convention, **overrides: Any) -> Any:
    """Compute the answer of the reference in float64.

    Args:
        case: The case; its overrides replace fields of the convention.
        convention: The rules.
        overrides: Overrides of single fields.

    Returns:
        The answer as `plain` returns it, or "error: ARGUMENT" where that argument is refused.

    Example:
        >>> from reference_numpy.testing.conflicts import CONFLICTS
        >>> from reference_numpy.conventions import PRESETS
        >>> (case,) = (one for one in CONFLICTS if one.name == "two identical objects")
        >>> answer(case, PRESETS["canonical"]), answer(case, PRESETS["paz"])
        (((0, 1, -1),), ((1, 0, -1),))
    """
    convention = settled(case, convention, **overrides)
    try:
        outputs = _REFERENCE[case.operation](*arrays(case), convention=convention)
    except ValueError as error:
        argument = re.split(r"\W", str(error))[0]  # a message begins with the argument
        return f"error: {argument}"
    return plain(case, outputs)


def _by_image(function: Callable[..., Any], *batched: NDArray[Any], **rest: Any) -> list[Any]:
    return [function(*image, **rest) for image in zip(*batched, strict=True)]


def _padded(lists: list[NDArray[Any]], fill: float) -> NDArray[Any]:
    most = max(map(len, lists))
    return np.stack(
        [np.concatenate([one, np.full((most - len(one), *one.shape[1:]), fill)]) for one in lists]
    )


def _match(
    boxes: NDArray[Any], labels: NDArray[Any], anchors: NDArray[Any], convention: Convention
) -> Arrays:
    corners = cxcywh_to_xyxy(anchors)
    found = []
    for box, label in zip(boxes, labels, strict=True):
        rows = np.flatnonzero(label > 0)
        own = match(pairwise_iou(box[rows], corners, convention), convention)
        found.append(np.where(own < 0, own, np.append(rows, -1)[own]))
    return (np.stack(found),)


def _targets(
    boxes: NDArray[Any],
    labels: NDArray[Any],
    anchors: NDArray[Any],
    crowds: NDArray[Any] | None = None,
    *,
    convention: Convention,
) -> Arrays:
    crowds = np.zeros(labels.shape, np.bool_) if crowds is None else crowds
    found = [
        assign_targets(box, label, anchors, convention, crowds=crowd)
        for box, label, crowd in zip(boxes, labels, crowds, strict=True)
    ]
    return tuple(np.stack(part) for part in zip(*found, strict=True))


def _multibox(*inputs: NDArray[Any], convention: Convention) -> tuple[Any, ...]:
    *heads, boxes = inputs
    deltas, logits, target_deltas, labels = heads
    return multibox_loss(deltas, logits, target_deltas, labels, convention, boxes=boxes)


def _soft_nms(boxes: NDArray[Any], scores: NDArray[Any], convention: Convention) -> Arrays:
    found = _by_image(soft_nms, boxes, scores, convention=convention)
    return _padded([one[0] for one in found], -1), _padded([one[1] for one in found], 0)


def _found(images: list[Detections]) -> Arrays:
    parts = [list(part) for part in zip(*images, strict=True)]
    return tuple(_padded(part, fill) for part, fill in zip(parts, (0, 0, -1, -1), strict=True))


_REFERENCE: dict[str, Callable[..., tuple[Any, ...]]] = {
    "make_anchors": lambda zero, convention: (make_anchors(convention.layout, zero.dtype),),
    "pairwise_iou": lambda *pairs, convention: (
        np.stack(_by_image(pairwise_iou, *pairs, convention=convention)),
    ),
    "match": _match,
    "assign_targets": _targets,
    "assign_targets_with_crowds": _targets,
    "encode": lambda boxes, anchors, convention: (encode(boxes, anchors, convention),),
    "decode": lambda deltas, anchors, convention: (decode(deltas, anchors, convention),),
    "background_first": lambda logits, convention: (background_first(logits, convention),),
    "class_losses": lambda logits, labels, convention: (class_losses(logits, labels, convention),),
    "mine_hard_negatives": lambda *inputs, convention: (
        np.stack(_by_image(mine_hard_negatives, *inputs, convention=convention)),
    ),
    "multibox_loss": _multibox,
    "nms": lambda *inputs, convention: (
        _padded(_by_image(nms, *inputs, convention=convention), -1),
    ),
    "soft_nms": _soft_nms,
    "select": lambda *inputs, convention: _found(_by_image(select, *inputs, convention=convention)),
    "detect": lambda deltas, logits, anchors, convention: _found(
        _by_image(lambda delta, logit: detect(delta, logit, anchors, convention), deltas, logits)
    ),
}


def plain(case: Conflict, outputs: tuple[Any, ...]) -> Any:
    """Convert the outputs of an operation to nested tuples that can be read and compared.

    Floats are rounded to 4 decimals. The tuples hold, for each image:

    - `match`: the object of each anchor;
    - `assign_targets`: the labels, then the codes of the anchors that have an object;
    - `mine_hard_negatives`, `nms`: indices;
    - `soft_nms`: (index, score) pairs;
    - `select`, `detect`: (label, anchor, score, box) of each detection.

    `multibox_loss` becomes (total, class loss, box loss, positives that count, negatives that
    count). For all other operations the tuples hold the array itself.

    Args:
        case: The case.
        outputs: Arrays of a batch, as in the conformance suite; None for an output that an
            implementation does not give.

    Returns:
        Nested tuples; None where the output is None.

    Example:
        >>> from reference_numpy.testing.conflicts import CONFLICTS
        >>> (case,) = (one for one in CONFLICTS if one.name == "negatives with equal losses")
        >>> plain(case, (np.array([[False, True, True, True, False, False]]),))
        ((1, 2, 3),)
    """
    parts: list[Any] = [None if one is None else np.asarray(one) for one in outputs]
    found: Any
    match case.operation, parts:
        case "assign_targets" | "assign_targets_with_crowds", [labels, deltas, *_]:
            found = [
                (label, [code for code, one in zip(codes, label, strict=True) if one > 0])
                for codes, label in zip(deltas, labels, strict=True)
            ]
        case "mine_hard_negatives", [mask]:
            found = _chosen(mask)
        case "multibox_loss", [total, class_loss, box_loss, _, counted, negatives, *_]:
            found = (total, class_loss, box_loss, _chosen(counted), _chosen(negatives))
        case "nms", [kept]:
            found = [image[image >= 0] for image in kept]
        case "soft_nms", [kept, lowered]:
            found = [
                [pair for pair in zip(*image, strict=True) if pair[0] >= 0]
                for image in zip(kept, lowered, strict=True)
            ]
        case "select" | "detect", [boxes, scores, labels, anchors, *_]:
            unknown = np.full(labels.shape, None)
            told = unknown if anchors is None else anchors
            found = [
                [row for row in zip(*image, strict=True) if row[0] > 0]
                for image in zip(labels, told, scores, boxes, strict=True)
            ]
        case _:
            found = parts[0]
    return _tuples(found)


def _chosen(mask: NDArray[Any] | None) -> Any:
    return None if mask is None else [np.flatnonzero(image) for image in mask]


def _tuples(value: Any) -> Any:
    """Return nested tuples of Python numbers, with floats rounded."""
    if value is None:
        return None
    if isinstance(value, list | tuple) or np.ndim(value) > 0:
        return tuple(_tuples(one) for one in value)
    if np.issubdtype(np.asarray(value).dtype, np.floating):
        return round(float(value), 4) + 0.0  # no -0.0
    return int(value)


def agree(found: Any, wanted: Any) -> bool:
    """Compare two answers: whole numbers must be equal, floats within 1e-4.

    Args:
        found: The answer of an implementation; None in it agrees with anything.
        wanted: The expected answer.

    Returns:
        Whether they agree. Floats above 1 may differ by 1e-4 of their size.

    Example:
        >>> agree(((1, None, 0.50004),), ((1, 7, 0.5),)), agree((1, 2), (1, 3))
        (True, False)
    """
    if found is None:
        return True
    if isinstance(found, tuple) and isinstance(wanted, tuple):
        return len(found) == len(wanted) and all(map(agree, found, wanted))
    numbers = isinstance(found, int | float) and isinstance(wanted, int | float)
    if numbers and isinstance(found + wanted, float):
        return bool(abs(found - wanted) <= 1.0001e-4 * max(1.0, abs(wanted)))
    return bool(type(found) is type(wanted) and found == wanted)
