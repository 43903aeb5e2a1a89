"""Automatic differentiation of the losses against the reference's gradients, worked out by hand.

`test_conformance.py` does so for MultiBox on random heads. Here are the points at which a formula
that is right elsewhere may fail: where two halves meet, at 0, where |z|, max and min have no
derivative of their own, and where exp has overflowed or vanished. Each backend gives there what it
likes to, a half, a one or a NaN, unless the loss is written so that it is not asked; the reference
takes the limit, and so must they.

All losses go through one trace of each mode and dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from keras import ops

from keras_impl.backends import compiler, gradients, in_mode, modes
from keras_impl.conformance.budgets import BUDGETS
from keras_impl.conformance.judges import judge_multibox_gradient
from keras_impl.conformance.scales import (
    focal_gradient_scale,
    smooth_l1_gradient_scale,
    softmax_scale,
)
from keras_impl.conformance.verdicts import WIDER, errors
from keras_impl.ops import losses, multibox
from keras_impl.ops.mining import choose_anchors
from reference_numpy import gradients as reference
from reference_numpy.conventions import CANONICAL
from reference_numpy.losses import one_hot

DTYPES = ["float32", "float64"]
# What users compile is float32; eager mode and graphs are asked for both.
everywhere = pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        pytest.param(mode, dtype, marks=[pytest.mark.thorough] if again else [])
        for mode in modes()
        for dtype in DTYPES
        for again in [(mode, dtype) == (compiler(), "float64")]
    ],
)
CLASSES = 4  # with background
SATURATED = [50.0, -50.0, 1e4, -1e4]


# --- losses of one number, or of one anchor ------------------------------------------------------


class Loss(NamedTuple):
    """A loss, its gradient by hand, and its largest intermediate.

    Attributes:
        loss: (first, second) tensors → losses.
        gradient: The same of NumPy arrays → gradient of the sum by the first.
        scale: → the unit of the error.
        budget: Its row in `BUDGETS`.
        points: dtype → (first, second).
    """

    loss: Callable[..., Any]
    gradient: Callable[..., Any]
    scale: Callable[..., Any]
    budget: str
    points: Callable[[str], tuple[np.ndarray, np.ndarray]]


def around(values, dtype):
    """Numbers of a dtype, both signs, and what is next to each on either side."""
    values = np.array([*values, *(-value for value in values)], dtype)
    return np.concatenate([np.nextafter(values, -np.inf), values, np.nextafter(values, np.inf)])


def distances(dtype):
    """Both sides of |d| = 1 and of 0, also where neither end is 0, and smooth points."""
    distance = around([0, 1], dtype)
    distance = np.concatenate(
        [distance, np.array([0.5, -0.25, 1 + 2**-12, 3, -1e30, 1e-30], dtype)]
    )
    target = np.array([[0], [2], [-0.375]], dtype)
    return np.broadcast_arrays(distance + target, target)


def columns(dtype):
    """Rows of logits with every label: equal, nearly equal, smooth, saturated, impossible."""
    tie = np.nextafter(np.array(1, dtype), np.array(2, dtype))
    rows = [
        [0, 0, 0, 0],
        [3, 3, 3, 3],
        [1, tie, 1, 0],
        [-0.0, 0, -1e-30, 1e-30],
        [0.5, -1.25, 2, 0.125],
        *([value, 0, 0, 0] for value in SATURATED),
        [1e4, 1e4, -1e4, -1e4],
        [88, -88, 104, 0],  # exp is the last, and is 0, in float32
        [0, -np.inf, 1, 2],
    ]
    logits, labels = np.repeat(np.array(rows, dtype), CLASSES, axis=0), np.arange(CLASSES)
    labels = np.tile(labels, len(rows)).astype(np.int32)
    possible = np.isfinite(np.take_along_axis(logits, labels[:, None], axis=1)[:, 0])
    return logits[possible], labels[possible]


def binary(dtype, targets=(0, 1)):
    """Logits: both sides of 0, smooth ones, saturated ones; with every target."""
    logits = [*around([0], dtype), 0.5, -1.25, 4, -4, 17, -17, 40, -40, 88, -88, 104, -104, 700]
    logits = np.array([*logits, *SATURATED, -700], dtype)
    return np.broadcast_arrays(logits, np.array(targets, dtype)[:, None])


def focal(alpha, gamma) -> Loss:
    of_these = {"alpha": alpha, "gamma": gamma}
    return Loss(
        partial(losses.focal, **of_these),
        partial(reference.focal_gradient, **of_these),
        partial(focal_gradient_scale, **of_these),
        "focal_gradient",
        binary,
    )


LOSSES = {
    "smooth_l1": Loss(
        losses.smooth_l1,
        reference.smooth_l1_gradient,
        smooth_l1_gradient_scale,
        "smooth_l1_gradient",
        distances,
    ),
    "softmax_cross_entropy": Loss(
        losses.softmax_cross_entropy,
        reference.softmax_cross_entropy_gradient,
        # What is impossible has a probability of 0, whose distance from the others is no matter.
        lambda logits, labels: softmax_scale(np.maximum(logits, -1e30)) + one_hot(labels, CLASSES),
        "softmax_cross_entropy_gradient",
        columns,
    ),
    "sigmoid_cross_entropy": Loss(
        losses.sigmoid_cross_entropy,
        reference.sigmoid_cross_entropy_gradient,
        lambda logits, targets: np.ones_like(logits),
        "sigmoid_cross_entropy_gradient",
        lambda dtype: binary(dtype, (0, 0.25, 0.5, 1)),
    ),
    "focal": focal(0.25, 2.0),
    "focal of gamma 0": focal(0.25, 0.0),  # a power that has no derivative at 0
    "focal of gamma 1": focal(0.5, 1.0),  # nor has 0 to the 0
    "focal of gamma 1.5": focal(1.0, 1.5),
}


@cache
def differentiated(mode: str, dtype: str) -> dict[str, np.ndarray]:
    """The gradients of all losses, at once."""
    points = [loss.points(dtype) for loss in LOSSES.values()]

    def everything(*tensors):
        found = []
        for loss, first, second in zip(LOSSES.values(), tensors[::2], tensors[1::2], strict=True):
            total = gradients(lambda x, loss=loss, y=second: ops.sum(loss.loss(x, y)))
            found += total(first)
        return found

    found = in_mode(everything, mode)(*(one for pair in points for one in pair))
    return dict(zip(LOSSES, found, strict=True))


@everywhere
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_differentiated_as_by_hand(name, mode, dtype):
    loss = LOSSES[name]
    first, second = loss.points(dtype)
    wide = WIDER[dtype]
    precise = second if np.issubdtype(second.dtype, np.integer) else second.astype(wide)
    with np.errstate(under="ignore"):
        wanted = loss.gradient(first.astype(wide), precise)
        scale = loss.scale(first.astype(wide), precise)

    got = differentiated(mode, dtype)[name]

    assert (got.shape, got.dtype) == (wanted.shape, np.dtype(dtype))
    off = errors(got, wanted, scale, dtype)
    worst = np.unravel_index(off.argmax(), off.shape)
    allowed = BUDGETS[loss.budget].eps
    assert off.max() <= allowed, (
        f"{name}, {mode}, {dtype}: {got[worst]} at {first[worst]}, {wanted[worst]} expected, "
        f"{off.max():.1f} eps off, budget {allowed}"
    )


# --- MultiBox ------------------------------------------------------------------------------------

ANCHORS = 6
# Every class loss and normaliser, and other answers to the rest.
VARIANTS = {
    "softmax": CANONICAL,
    "softmax of all boxes": CANONICAL.replace(
        normaliser="image", min_negatives=2, background="last", box_over="all", box_weight=3.0
    ),
    "sigmoid": CANONICAL.replace(
        class_loss="sigmoid", normaliser="mean", mining="batch", negative_ratio=0.5, rounding="up"
    ),
    "focal": CANONICAL.replace(
        class_loss="focal", normaliser="anchors", mining="none", background="last", box_weight=0.25
    ),
}


def batches() -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """(what it is about, (deltas, logits, target deltas, target labels)) of two images."""
    generator = np.random.default_rng(5)
    shape = (2, ANCHORS)
    off = np.array([0, 1, -1, 0.5, -0.25, 3, -7, 1e4])[generator.integers(0, 8, (*shape, 4))]
    wanted = generator.integers(-8, 9, (*shape, 4)) / 4
    smooth = generator.normal(0, 2, (*shape, CLASSES))
    sure = np.array([0, 50, -50, 1e4, -1e4])[generator.integers(0, 5, (*shape, CLASSES))]
    some = np.array([[2, 0, 0, -1, 1, 0], [0, 3, 0, 0, 0, -1]])
    for what, logits, labels in (
        ("smooth", smooth, some),
        ("zero", np.zeros_like(sure), some),
        ("saturated", sure, some),
        ("all positive", sure, np.full(shape, 3)),
        ("no positives", smooth, np.zeros(shape)),
        ("no positives, saturated", sure, np.zeros(shape)),
        ("all padding", sure, np.full(shape, -1)),
        ("one image of padding", smooth, np.array([some[0], np.full(ANCHORS, -1)])),
    ):
        yield what, (wanted + off, logits, wanted, labels)


BATCHES = dict(batches())


@cache
def of_multibox(mode: str, dtype: str) -> Callable[..., Any]:
    """A batch → for each variant both gradients, the anchors that count, and their class losses."""

    def everything(deltas, logits, wanted, labels):
        found = []
        for variant in VARIANTS.values():

            def total(deltas, logits, variant=variant):
                return multibox.multibox_loss(deltas, logits, wanted, labels, variant).total

            class_losses = multibox.class_losses(logits, labels, variant)
            chosen = choose_anchors(class_losses, labels, variant)
            found.append((*gradients(total)(deltas, logits), *chosen, class_losses))
        return found

    return in_mode(everything, mode)


@everywhere
@pytest.mark.parametrize("what", BATCHES)
def test_multibox_is_differentiated_as_by_hand(what, mode, dtype):
    *floats, labels = BATCHES[what]
    inputs = *(one.astype(dtype) for one in floats), labels.astype(np.int32)
    no_boxes = np.zeros((*labels.shape, 4), dtype)  # nothing is suppressed before mining

    found = of_multibox(mode, dtype)(*inputs)

    for (name, variant), outputs in zip(VARIANTS.items(), found, strict=True):
        assert [one.dtype for one in outputs[:2]] == [dtype, dtype]
        verdict = judge_multibox_gradient((*inputs, no_boxes), outputs, dtype, False, variant)
        assert verdict.mismatches == 0, f"{what}, {name}: {verdict}"
        # Nothing here is decided by rounding, so no gradient went without being looked at.
        assert verdict.excused == 0, f"{what}, {name}"


@pytest.mark.parametrize("name", VARIANTS)
def test_the_batches_reach_what_they_are_about(name):
    """In a batch with positives both gradients are there, and there are negatives to leave out."""
    variant = VARIANTS[name]
    *heads, labels = BATCHES["smooth"]
    by_deltas, by_logits = reference.multibox_gradient(*heads, labels, variant)
    heard = by_logits.any(axis=-1)
    assert by_deltas.any()
    assert heard[labels > 0].any()
    assert heard[labels == 0].any()
    assert not heard[labels == -1].any()
    if variant.loss.mining != "none":
        assert not heard[labels == 0].all()
    by_deltas, by_logits = reference.multibox_gradient(*BATCHES["all padding"], variant)
    assert not by_deltas.any()
    assert not by_logits.any()
