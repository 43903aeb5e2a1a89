"""The largest intermediate of each float operation, the unit of its error."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.conformance.budgets import CLASSES
from reference_numpy import boxes, coding, losses
from reference_numpy.conventions import CANONICAL, Convention

__all__ = [
    "class_gradient_scale",
    "class_scale",
    "decode_scale",
    "encode_scale",
    "focal_gradient_scale",
    "iou_scale",
    "score_scale",
    "smooth_l1_gradient_scale",
    "smooth_l1_scale",
    "softmax_scale",
]


def iou_scale(first: Array, second: Array, convention: Convention) -> Array:
    """Return the IoU; with an offset, differences count by magnitude, so nothing cancels."""
    rules = convention.overlap
    if not rules.iou_offset:
        return boxes.pairwise_iou(first, second, convention)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = (np.abs(high - low) + rules.iou_offset).prod(axis=-1)
    sides = [one[:, 2:] - one[:, :2] + rules.iou_offset for one in (first, second)]
    areas = sides[0].prod(axis=-1)[:, None] + sides[1].prod(axis=-1)[None]
    overlap = np.maximum(high - low + rules.iou_offset, 0).prod(axis=-1)
    return intersection / (areas - overlap + rules.iou_epsilon)


def encode_scale(box: Array, anchor: Array, convention: Convention = CANONICAL) -> Array:
    """Return the largest intermediate of encoding."""
    rules = convention.coding
    center, variances = boxes.xyxy_to_cxcywh(box), np.array(rules.variances)
    if rules.form == "difference":
        scale = np.abs(center) + np.abs(anchor)
    else:
        unit = anchor[:, 2:] + rules.size_epsilon
        shift = (np.abs(center[:, :2]) + np.abs(anchor[:, :2])) / unit
        ratio = (center[:, 2:] + rules.size_epsilon) / unit + rules.ratio_epsilon
        scale = np.concatenate([shift, np.maximum(1, np.abs(np.log(ratio)))], axis=1)
    return _in_code_order(scale / variances, convention)


def decode_scale(deltas: Array, anchor: Array, convention: Convention = CANONICAL) -> Array:
    """Return the largest intermediate of decoding, the sum of its parts."""
    rules = convention.coding
    scaled = _in_code_order(deltas, convention) * np.array(rules.variances)
    size = np.abs(scaled[:, 2:])
    if rules.form == "difference":
        parts = np.abs(anchor[:, :2]) + np.abs(scaled[:, :2]) + (anchor[:, 2:] + size) / 2
    else:
        exponent = scaled[:, 2:]
        if rules.largest_exponent is not None:
            exponent = np.minimum(exponent, rules.largest_exponent)
        half = np.exp(exponent) * anchor[:, 2:] / 2
        parts = np.abs(anchor[:, :2]) + np.abs(scaled[:, :2]) * anchor[:, 2:] + half * (1 + size)
    return np.tile(parts, 2)


def _in_code_order(values: Array, convention: Convention) -> Array:
    return values if convention.coding.code_order == "xywh" else values[:, [1, 0, 3, 2]]


def softmax_scale(logits: Array) -> Array:
    """Return the largest intermediate of softmax."""
    return losses.softmax(logits) * (1 + logits.max(axis=-1, keepdims=True) - logits)


def class_scale(logits: Array, labels: Array, convention: Convention = CANONICAL) -> Array:
    """Return the largest intermediate of a class loss; 0 for ignored anchors."""
    rules, columns = convention.loss, coding.background_first(logits, convention)
    known = np.maximum(labels, 0)
    if rules.class_loss == "softmax":
        chosen = np.take_along_axis(columns, known[..., None], axis=-1)[..., 0]
        largest = np.maximum(1, columns.max(axis=-1) - chosen)
        scale = np.maximum(largest, losses.softmax_cross_entropy(columns, known))
    elif rules.class_loss == "sigmoid":
        scale = np.maximum(1, np.abs(columns)).sum(axis=-1)
    else:
        truth = losses.one_hot(known, columns.shape[-1], columns.dtype)
        scale = losses.focal(columns, truth, rules.focal_alpha, rules.focal_gamma).sum(axis=-1)
    return np.where(labels < 0, 0, scale)


def score_scale(logits: Array, convention: Convention) -> Array:
    """Return the largest intermediate of a score.

    For a softmax this is finer than `softmax_scale` and depends on the number n of columns. The
    error is u |z - max| inside exp, with u = eps / 2, plus n (1 + 1/e) + 10 u (see the budget
    "softmax"). It is expressed in units of 25 u, the budget for 11 columns.
    """
    columns = coding.background_first(logits, convention)
    if convention.loss.class_loss != "softmax":
        return losses.sigmoid(columns)
    below = columns.max(axis=-1, keepdims=True) - columns
    units = [n * (1 + 1 / np.e) + 10 for n in (CLASSES, max(CLASSES, columns.shape[-1]))]
    return np.asarray(losses.softmax(columns) * (below + units[1]) / units[0])


def smooth_l1_scale(predicted: Array, target: Array, **_: Any) -> Array:
    """Return the largest intermediate of smooth L1."""
    distance = np.abs(predicted - target)
    return np.where(distance < 1, distance * distance / 2, distance)


def smooth_l1_gradient_scale(predicted: Array, target: Array) -> Array:
    """Return the largest intermediate of the gradient of smooth L1."""
    return np.minimum(1, np.abs(predicted - target))


def focal_gradient_scale(
    logits: Array, targets: Array, alpha: float = 0.25, gamma: float = 2.0
) -> Array:
    """Return the largest intermediate of the gradient of the focal loss, the sum of its parts."""
    sign = 2 * targets - 1
    right, wrong = losses.sigmoid(sign * logits), losses.sigmoid(-sign * logits)
    weight = targets * alpha + (1 - targets) * (1 - alpha)
    entropy = losses.sigmoid_cross_entropy(logits, targets)
    return np.asarray(weight * wrong**gamma * (1 + gamma * right * entropy))


def class_gradient_scale(logits: Array, labels: Array, convention: Convention = CANONICAL) -> Array:
    """Return the largest intermediate of a class loss gradient, in the head's column order."""
    rules, columns = convention.loss, coding.background_first(logits, convention)
    truth = losses.one_hot(np.maximum(labels, 0), columns.shape[-1], columns.dtype)
    if rules.class_loss == "softmax":
        scale = softmax_scale(columns) + truth
    elif rules.class_loss == "sigmoid":
        scale = np.ones_like(columns)
    else:
        scale = focal_gradient_scale(columns, truth, rules.focal_alpha, rules.focal_gamma)
    return np.roll(scale, -1, axis=-1) if convention.coding.background == "last" else scale
