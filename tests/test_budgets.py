"""The budgets of floats are derived: each formula is run once more, counting its roundings.

A running error analysis: every number carries the error it may have, in u = eps / 2, to first
order. An operation adds one correct rounding to what its arguments bring; exp and log add 4u and 6u
of their result. Then the judge is given the worst answer that this allows: it has to pass, and to
need more than half of the budget, else the budget would be wider than its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from keras_impl.conformance.budgets import BUDGETS, budget
from keras_impl.conformance.operations import OPERATIONS
from reference_numpy.conventions import CANONICAL

VARIANCES = np.array(CANONICAL.coding.variances)
EXP, LOG = 4, 6  # errors of the functions, in u


class Number:
    """Numbers, and how far off each may be, in u."""

    def __init__(self, value: Any, error: Any = 0) -> None:
        self.value = np.asarray(value, np.float64)
        self.error = np.broadcast_to(np.asarray(error, np.float64), self.value.shape)

    def __getitem__(self, index: Any) -> Number:
        return Number(self.value[index], self.error[index])

    def __add__(self, other: Number) -> Number:
        value = self.value + other.value
        return Number(value, self.error + other.error + np.abs(value))

    def __neg__(self) -> Number:
        return Number(-self.value, self.error)

    def __sub__(self, other: Number) -> Number:
        return self + -other

    def __mul__(self, other: Number) -> Number:
        value = self.value * other.value
        brought = self.error * np.abs(other.value) + other.error * np.abs(self.value)
        return Number(value, brought + np.abs(value))

    def __truediv__(self, other: Number) -> Number:
        there = other.value != 0
        bottom = np.where(there, other.value, 1)
        value = np.where(there, self.value / bottom, 0)
        brought = (self.error + np.abs(value) * other.error) / np.abs(bottom)
        return Number(value, np.where(there, brought + np.abs(value), 0))

    def exactly(self, function: Callable[..., Any], slope: Any = 1) -> Number:
        """A function that rounds nothing: a sign, a power of two, a piece."""
        return Number(function(self.value), self.error * slope)

    def positive(self) -> Number:
        return Number(np.maximum(self.value, 0), np.where(self.value > 0, self.error, 0))

    def exp(self) -> Number:
        value = np.exp(self.value)
        return Number(value, value * (self.error + EXP))

    def log(self) -> Number:
        value = np.log(self.value)
        return Number(value, self.error / self.value + LOG * np.abs(value))

    def sum(self) -> Number:
        """Over the last axis, in any order: each term is in at most n - 1 sums."""
        total = np.abs(self.value).sum(axis=-1, keepdims=True) * (self.value.shape[-1] - 1)
        return Number(
            self.value.sum(axis=-1, keepdims=True), self.error.sum(axis=-1, keepdims=True) + total
        )


def joined(parts: Sequence[Number]) -> Number:
    return Number(
        np.concatenate([one.value for one in parts], axis=-1),
        np.concatenate([one.error for one in parts], axis=-1),
    )


def choose(which: Any, one: Number, other: Number) -> Number:
    return Number(np.where(which, one.value, other.value), np.where(which, one.error, other.error))


def half(number: Number) -> Number:
    return number.exactly(lambda value: value / 2, 0.5)


ONE = Number(1.0)


def centers(box: Number) -> Number:
    return joined([half(box[..., :2] + box[..., 2:]), box[..., 2:] - box[..., :2]])


def corners(box: Number) -> Number:
    side = half(box[..., 2:])
    return joined([box[..., :2] - side, box[..., :2] + side])


def flip(box: Number) -> Number:
    x = Number(np.ones_like(box.value[..., [2, 0]])) - box[..., [2, 0]]
    return joined([x[..., :1], box[..., 1:2], x[..., 1:], box[..., 3:]])


def area(box: Number) -> Number:
    sides = (box[..., 2:] - box[..., :2]).positive()
    return sides[..., 0] * sides[..., 1]


def overlap(first: Number, second: Number) -> tuple[Number, Number, Number]:
    """Intersection and both areas of every pair, (N, 3, 5)."""
    one, two = first[:, :, None], second[:, None]
    low = np.maximum(one.value[..., :2], two.value[..., :2])
    high = np.minimum(one.value[..., 2:], two.value[..., 2:])
    return area(Number(np.concatenate([low, high], axis=-1))), area(one), area(two)


def iou(first: Number, second: Number) -> Number:
    common, own, other = overlap(first, second)
    return common / ((own + other) - common)


def ioa(first: Number, second: Number) -> Number:
    common, _, other = overlap(first, second)
    return common / other


def encode(box: Number, anchor: Number) -> Number:
    box = centers(box)
    shift = (box[:, :2] - anchor[:, :2]) / anchor[:, 2:]
    return joined([shift, (box[:, 2:] / anchor[:, 2:]).log()]) * Number(1 / VARIANCES)


def decode(code: Number, anchor: Number) -> Number:
    code = code * Number(VARIANCES, VARIANCES)  # .1 and .2 are rounded
    middle = anchor[:, :2] + code[:, :2] * anchor[:, 2:]
    return corners(joined([middle, code[:, 2:].exp() * anchor[:, 2:]]))


def smooth_l1(predicted: Number, target: Number) -> Number:
    distance = (predicted - target).exactly(np.abs)
    return choose(distance.value < 1, half(distance) * distance, distance - Number(np.full(1, 0.5)))


def shifted(logits: Number) -> Number:
    return logits - Number(logits.value.max(axis=-1, keepdims=True))


def softmax(logits: Number) -> Number:
    powers = shifted(logits).exp()
    return powers / powers.sum()


def cross_entropy(logits: Number, labels: Number) -> Number:
    moved = shifted(logits)
    rows = np.arange(len(labels.value)), labels.value.astype(int)
    return moved.exp().sum().log()[:, 0] - moved[rows]


def sigmoid(logits: Number) -> Number:
    small = logits.exactly(lambda value: -np.abs(value)).exp()
    return choose(logits.value >= 0, Number(np.ones_like(small.value)), small) / (ONE + small)


def log1p_exp(logits: Number) -> Number:
    small = logits.exactly(lambda value: -np.abs(value)).exp()
    value = np.log1p(small.value)
    return Number(value, small.error / (1 + small.value) + LOG * value)


def sigmoid_cross_entropy(logits: Number, targets: Number) -> Number:
    return (logits.positive() - logits * targets) + log1p_exp(logits)


FORMULAS = {
    "xyxy_to_cxcywh": centers,
    "cxcywh_to_xyxy": corners,
    "area": area,
    "flip_horizontally": flip,
    "pairwise_iou": iou,
    "pairwise_ioa": ioa,
    "encode": encode,
    "decode": decode,
    "smooth_l1": smooth_l1,
    "softmax": softmax,
    "softmax_cross_entropy": cross_entropy,
    "sigmoid": sigmoid,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
}


def farthest(found: Number, sign: int) -> np.ndarray:
    """The float32 numbers that are as far off as may be, to one side."""
    limit = found.value + sign * found.error * np.finfo(np.float32).eps / 2
    near = limit.astype(np.float32)
    return np.where(sign * (near - limit) > 0, np.nextafter(near, np.float32(-sign * np.inf)), near)


@pytest.mark.parametrize("op", FORMULAS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_budget_is_what_its_formula_may_be_off(op, sign):
    worst = 0.0
    for inputs in OPERATIONS[op].workloads(np.random.default_rng(0), "float32", 40):
        answer = farthest(FORMULAS[op](*map(Number, inputs)), sign)
        verdict = OPERATIONS[op].judge(inputs, (answer,), "float32", False, CANONICAL)
        assert verdict.mismatches == 0, f"{op}: {verdict}, {budget(op)}"
        worst = max(worst, verdict.error)
    assert worst > budget(op).eps / 2, f"{op}: at most {worst} eps of {budget(op)}"


def test_every_budget_is_of_an_operation():
    """Else a renamed operation would silently get the budget of another variant."""
    for name in BUDGETS:
        op = name.partition(" ")[0].removesuffix("_gradient")
        assert op in {*OPERATIONS, "multibox", "network"}, name
