"""Gradients: by hand at the points where a formula may fail, central differences elsewhere."""

from __future__ import annotations

from functools import partial
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, strategies as st

from reference_numpy.conventions import CANONICAL
from reference_numpy.gradients import (
    class_losses_gradient,
    focal_gradient,
    multibox_gradient,
    sigmoid_cross_entropy_gradient,
    smooth_l1_gradient,
    softmax_cross_entropy_gradient,
)
from reference_numpy.losses import (
    focal,
    sigmoid_cross_entropy,
    smooth_l1,
    softmax_cross_entropy,
)
from reference_numpy.multibox import class_losses, multibox_loss
from tests.strategies import FLOATS, dtypes, numbers

STEP = 2.0**-17


def central_differences(function, point):
    """Slope of the sum of `function` by each element of `point`, over 2 STEP."""
    slopes = np.empty_like(point)
    for place in np.ndindex(point.shape):
        ahead, behind = point.copy(), point.copy()
        ahead[place] += STEP
        behind[place] -= STEP
        slopes[place] = (np.sum(function(ahead)) - np.sum(function(behind))) / (2 * STEP)
    return slopes


def agrees(gradient, function, point, bend=0.0, size=100.0):
    """A gradient is the slope of its function.

    A central difference errs by STEP² / 6 times the third derivative (below 10 in all of these),
    1e-10, by eps / STEP times the value (below `size`), 3e-9 for 100, and by STEP / 2 times `bend`,
    the jump of the second derivative nearby.
    """
    within = 1e-9 + np.finfo(np.float64).eps / STEP * size + bend * STEP / 2
    np.testing.assert_allclose(gradient, central_differences(function, point), rtol=0, atol=within)


# --- against central differences -----------------------------------------------------------------


@given(st.data())
def test_smooth_l1_gradient_is_its_slope(data):
    predicted, target = data.draw(numbers((2, 5), np.float64, 4.0))
    gradient = smooth_l1_gradient(predicted, target)
    agrees(gradient, lambda point: smooth_l1(point, target), predicted, bend=1)


@given(st.data())
def test_softmax_cross_entropy_gradient_is_its_slope(data):
    logits = data.draw(numbers((3, 4), np.float64, 8.0))
    labels = np.array([data.draw(st.integers(0, 3)), 0, 3])
    gradient = softmax_cross_entropy_gradient(logits, labels)
    agrees(gradient, lambda point: softmax_cross_entropy(point, labels), logits)


@given(st.data())
def test_sigmoid_cross_entropy_gradient_is_its_slope(data):
    logits = data.draw(numbers(6, np.float64, 8.0))
    targets = np.array([0, 1, 0.25, 0.5, 0, 1])
    gradient = sigmoid_cross_entropy_gradient(logits, targets)
    agrees(gradient, lambda point: sigmoid_cross_entropy(point, targets), logits)


@given(st.data(), st.sampled_from([0.25, 0.5, 1.0]), st.sampled_from([0.0, 1.0, 1.5, 2.0, 5.0]))
def test_focal_gradient_is_its_slope(data, alpha, gamma):
    logits = data.draw(numbers(4, np.float64, 8.0))
    targets = np.array([0.0, 1.0, 0.0, 1.0])
    gradient = focal_gradient(logits, targets, alpha, gamma)
    agrees(gradient, lambda point: focal(point, targets, alpha, gamma), logits)


@pytest.mark.parametrize(
    "options",
    [{}, {"box_weight": 2.5}, {"negative_ratio": 1.0}, {"min_negatives": 4}],
    ids=lambda options: str(options),
)
@pytest.mark.parametrize("labels", [[[2, 0, 0, 0, 1], [0, 0, 0, 1, 0]], np.zeros((2, 5), int)])
def test_multibox_gradient_is_its_slope(labels, options):
    # Losses of random logits differ by more than STEP, so the mined anchors stay the same.
    labels, generator = np.array(labels), np.random.default_rng(7)
    deltas, targets = 2 * generator.standard_normal((2, 2, 5, 4))
    logits = generator.standard_normal((2, 5, 3))
    losses = np.sort(softmax_cross_entropy(logits, labels), axis=None)
    assert np.diff(losses).min() > 4 * STEP

    by_deltas, by_logits = multibox_gradient(deltas, logits, targets, labels, **options)
    total = {
        "deltas": lambda point: multibox_loss(point, logits, targets, labels, **options).total,
        "logits": lambda point: multibox_loss(deltas, point, targets, labels, **options).total,
    }
    agrees(by_deltas, total["deltas"], deltas)
    agrees(by_logits, total["logits"], logits)


LABELS = np.array([[2, 0, 0, -1, 1], [0, 0, -1, 1, 0]])
FAR = np.arange(40.0).reshape(2, 5, 4) / 8  # boxes that overlap nothing but themselves
FAR[..., 2:] = FAR[..., :2] + 1 / 16
FAR[0, 1] = FAR[0, 0]  # ... but for two


@pytest.mark.parametrize("background", ["first", "last"])
@pytest.mark.parametrize("normaliser", ["positives", "image", "mean", "anchors"])
@pytest.mark.parametrize("class_loss", ["softmax", "sigmoid", "focal"])
@pytest.mark.parametrize(
    "others",
    [
        {},
        {"mining": "batch", "negative_ratio": 0.5, "rounding": "up", "max_negatives": 2},
        {"mining": "none", "box_over": "all", "box_weight": 0.25},
        {"mining_nms": 0.9, "min_negatives": 3},
    ],
    ids=lambda options: str(options),
)
def test_multibox_gradient_is_its_slope_in_every_convention(
    others, class_loss, normaliser, background
):
    convention = CANONICAL.replace(
        class_loss=class_loss, normaliser=normaliser, background=background, **others
    )
    generator = np.random.default_rng(11)
    deltas, targets = 2 * generator.standard_normal((2, 2, 5, 4))
    logits = generator.standard_normal((2, 5, 3))
    # The chosen anchors stay the same: losses that count differ by more than STEP.
    losses = class_losses(logits, LABELS, convention)[LABELS >= 0]
    assert np.diff(np.sort(losses, axis=None)).min() > 4 * STEP

    arguments = targets, LABELS, convention
    chosen = multibox_loss(deltas, logits, *arguments, boxes=FAR)
    if "mining_nms" in others:
        assert not (chosen.counted | chosen.negatives)[0, :2].all(), "something is suppressed"
    by_deltas, by_logits = multibox_gradient(deltas, logits, *arguments, boxes=FAR)
    total = {
        "deltas": lambda point: multibox_loss(point, logits, *arguments, boxes=FAR).total,
        "logits": lambda point: multibox_loss(deltas, point, *arguments, boxes=FAR).total,
    }
    agrees(by_deltas, total["deltas"], deltas)
    agrees(by_logits, total["logits"], logits)

    counts = chosen.counted | chosen.negatives
    assert by_logits.any(axis=-1).tolist() == counts.tolist()
    in_box_loss = LABELS >= 0 if convention.loss.box_over == "all" else chosen.counted
    assert by_deltas.any(axis=-1).tolist() == in_box_loss.tolist()


# Where the halves of smooth L1 meet, where |z|, max and min have no slope, where exp is 0 or would
# overflow: the losses have a slope there too.
EDGES = np.array([0.0, 1.0, -1.0, 50.0, -50.0, 1e4, -1e4])


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize(
    ("gradient", "loss", "bend"),
    [
        (smooth_l1_gradient, smooth_l1, 1),
        (sigmoid_cross_entropy_gradient, sigmoid_cross_entropy, 0),
        *(
            (partial(focal_gradient, gamma=gamma), partial(focal, gamma=gamma), 0)
            for gamma in (0.0, 1.0, 1.5, 2.0)
        ),
    ],
)
def test_losses_of_one_number_have_their_slope_at_the_edges(gradient, loss, bend, target):
    targets = np.full_like(EDGES, target)
    found = gradient(EDGES, targets)
    agrees(found, lambda point: loss(point, targets), EDGES, bend=bend, size=1e5)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_softmax_cross_entropy_has_its_slope_at_the_edges(label):
    logits = np.stack(np.meshgrid(EDGES, EDGES, [0.0]), axis=-1).reshape(-1, 3)
    labels = np.full(len(logits), label)
    gradient = softmax_cross_entropy_gradient(logits, labels)
    for row, found, one in zip(logits, gradient, labels, strict=True):
        agrees(found, lambda point, one=one: softmax_cross_entropy(point, one), row, size=1e5)


@pytest.mark.parametrize("class_loss", ["softmax", "sigmoid", "focal"])
@pytest.mark.parametrize(
    "labels", [[[0, 0, 0]], [[-1, -1, -1]], [[2, 1, 2]]], ids=["no positives", "padding", "all"]
)
def test_multibox_has_its_slope_at_the_edges(labels, class_loss):
    # Without positives a minimum of negatives is mined; the losses that decide are far apart.
    labels = np.array(labels)
    convention = CANONICAL.replace(class_loss=class_loss, min_negatives=2)
    logits = np.array([[[0, 0, 0], [50, -50, 0], [-1e4, 1e4, 0.5]]], np.float64)
    deltas = np.array([[[0, 1, -1, 2], [0, 1e4, -0.5, -1], [3, 0, 0, 1]]], np.float64)
    targets = np.zeros_like(deltas)
    by_deltas, by_logits = multibox_gradient(deltas, logits, targets, labels, convention)
    total = {
        "deltas": lambda point: multibox_loss(point, logits, targets, labels, convention).total,
        "logits": lambda point: multibox_loss(deltas, point, targets, labels, convention).total,
    }
    agrees(by_deltas, total["deltas"], deltas, bend=1, size=1e5)
    agrees(by_logits, total["logits"], logits, size=1e5)
    assert by_deltas.any() == (labels > 0).any()
    assert by_logits.any() == (labels >= 0).any()


@given(
    st.data(),
    st.sampled_from(["softmax", "sigmoid", "focal"]),
    st.sampled_from(["first", "last"]),
)
def test_class_losses_gradient_is_its_slope(data, class_loss, background):
    logits = data.draw(numbers((4, 3), np.float64, 8.0))
    labels = np.array([0, 1, 2, -1])
    convention = CANONICAL.replace(class_loss=class_loss, background=background)
    gradient = class_losses_gradient(logits, labels, convention)
    agrees(gradient, lambda point: class_losses(point, labels, convention), logits)
    assert not gradient[3].any()


# --- by hand -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (0, 0),
        (-0.0, 0),
        (0.5, 0.5),
        (-0.25, -0.25),
        (1, 1),  # where the two halves meet
        (-1, -1),
        (3, 1),
        (-1e30, -1),
    ],
)
def test_smooth_l1_gradient(distance, expected, dtype):
    distance, zero = np.array([distance], dtype), np.zeros(1, dtype)
    found = smooth_l1_gradient(distance, zero)
    assert (found.dtype, found.tolist()) == (dtype, [expected])
    assert smooth_l1_gradient(zero, distance).tolist() == [-expected]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("logits", "label", "expected"),
    [
        ([0, 0], 0, [-1 / 2, 1 / 2]),
        ([log(1), log(2), log(5)], 1, [1 / 8, -6 / 8, 5 / 8]),
        ([1000, -1000], 0, [0, 0]),  # certain and right
        ([1000, -1000], 1, [1, -1]),  # certain and wrong
        ([1000, 1000, -1000], 0, [-1 / 2, 1 / 2, 0]),
    ],
)
def test_softmax_cross_entropy_gradient(logits, label, expected, dtype):
    found = softmax_cross_entropy_gradient(np.array([logits], dtype), np.array([label]))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [expected], rtol=0, atol=2 * np.finfo(dtype).eps)


# Logit, target; the gradient of sigmoid cross-entropy, and of focal loss with alpha 1/4 for gamma
# 0, 1, 2. At p = 1/2: -α (1/2)^γ (γ log(1/2) / 2 - 1/2) and so on; with α 3/4 if the target is 0.
HALF = log(2) / 2
BINARY = [
    (0, 1, -1 / 2, [-1 / 8, -(HALF + 1 / 2) / 8, -(2 * HALF + 1 / 2) / 16]),
    (0, 0, 1 / 2, [3 / 8, 3 * (HALF + 1 / 2) / 8, 3 * (2 * HALF + 1 / 2) / 16]),
    # Certain and right: nothing left to learn, whatever 0 ** gamma is.
    (1000, 1, 0, [0, 0, 0]),
    (-1000, 0, 0, [0, 0, 0]),
    # Certain and wrong: p log p is 0, not NaN, and 1 - p is 1.
    (-1000, 1, -1, [-1 / 4] * 3),
    (1000, 0, 1, [3 / 4] * 3),
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("logit", "target", "expected", "weighed"), BINARY)
def test_sigmoid_and_focal_gradients(logit, target, expected, weighed, dtype):
    arguments = np.array([logit], dtype), np.array([target], dtype)
    close = {"rtol": 4 * np.finfo(dtype).eps, "atol": 0}
    found = sigmoid_cross_entropy_gradient(*arguments)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [expected], **close)
    for gamma, value in zip((0.0, 1.0, 2.0), weighed, strict=True):
        found = focal_gradient(*arguments, gamma=gamma)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, [value], **close, err_msg=f"gamma {gamma}")


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_almost_right_still_has_a_gradient(dtype):
    # 1 - p = e^-40 / (1 + e^-40) is below eps: 1 - p computed as such would be 0.
    found = focal_gradient(np.array([40.0], dtype), np.ones(1, dtype), alpha=1.0, gamma=0.0)
    np.testing.assert_allclose(found, [-exp(-40)], rtol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FLOATS)
def test_multibox_gradient(dtype):
    # Two images of two anchors and two classes, all undecided: softmax 1/2. One positive in
    # the first image, its negative mined; two in the second; the third image counts nothing.
    labels = np.array([[1, 0], [1, 1], [0, 0]])
    logits = np.zeros((3, 2, 2), dtype)
    deltas, targets = np.zeros((3, 2, 4), dtype), np.zeros((3, 2, 4), dtype)
    deltas[0] = [[0.5, -2, 0, 1], [9, 9, 9, 9]]
    targets[1, 1] = [-0.75, 0, 0, 3]
    by_deltas, by_logits = multibox_gradient(deltas, logits, targets, labels, box_weight=2.0)

    nothing, up, down = [0, 0], [-1 / 2, 1 / 2], [1 / 2, -1 / 2]
    expected_logits = np.array([[down, up], [down, down], [nothing, nothing]]) / 3
    expected_deltas = np.zeros((3, 2, 4))
    expected_deltas[0, 0] = [0.5, -1, 0, 1]
    expected_deltas[1, 1] = [0.75, 0, 0, -1]
    expected_deltas *= 2 / 3
    for found, expected in ((by_deltas, expected_deltas), (by_logits, expected_logits)):
        assert (found.dtype, found.shape) == (dtype, expected.shape)
        np.testing.assert_allclose(found, expected, rtol=2 * np.finfo(dtype).eps)


# Undecided columns of three classes: softmax 1/3, sigmoid 1/2. Label 1.
CLASSES = {
    "softmax": ({}, [1 / 3, -2 / 3, 1 / 3]),
    "sigmoid": ({"class_loss": "sigmoid"}, [1 / 2, -1 / 2, 1 / 2]),
    # As in BINARY, with gamma 2.
    "focal": (
        {"class_loss": "focal"},
        [3 * (2 * HALF + 1 / 2) / 16, -(2 * HALF + 1 / 2) / 16, 3 * (2 * HALF + 1 / 2) / 16],
    ),
    "focal with other numbers": (
        {"class_loss": "focal", "focal_alpha": 0.5, "focal_gamma": 0},
        [1 / 4, -1 / 4, 1 / 4],
    ),
    # Label 1 is in column 0 then.
    "background last": ({"background": "last"}, [-2 / 3, 1 / 3, 1 / 3]),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CLASSES)
def test_class_losses_gradient(case, dtype):
    overrides, expected = CLASSES[case]
    found = class_losses_gradient(np.zeros((2, 3), dtype), np.array([1, -1]), **overrides)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [expected, [0, 0, 0]], rtol=4 * np.finfo(dtype).eps)


def test_focal_has_the_numbers_of_the_paper_unless_told_otherwise():
    logits, targets = np.array([0.3, -1.2]), np.array([1.0, 0.0])
    found = focal_gradient(logits, targets)
    assert found.tolist() == focal_gradient(logits, targets, 0.25, 2.0).tolist()


@pytest.mark.parametrize("class_loss", ["softmax", "sigmoid", "focal"])
def test_what_counts_nowhere_may_be_anything(class_loss):
    """Its gradient is 0 all the same, and no warning is given of what was never to be used."""
    logits = np.array([[0.0, 0.0], [-np.inf, 1e308]])
    found = class_losses_gradient(logits, np.array([1, -1]), class_loss=class_loss)
    assert found[1].tolist() == [0, 0]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_multibox_gradient_of_all_boxes(dtype):
    # Three anchors by hand: a positive 1/2 off, a negative 3 off from 0, one that counts nowhere.
    # Divided by the number of anchors, 3, and weighed by 1/4.
    deltas = np.array([[[0.5, 0, 0, 0], [0, -3, 0, 0], [9, 9, 9, 9]]], dtype)
    zeros, logits, labels = np.zeros_like(deltas), np.zeros((1, 3, 2), dtype), [[1, 0, -1]]
    by_deltas, by_logits = multibox_gradient(
        deltas,
        logits,
        zeros,
        np.array(labels),
        box_over="all",
        normaliser="anchors",
        mining="none",
        box_weight=0.25,
    )
    expected = np.array([[[0.5, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 0]]]) / 12
    np.testing.assert_allclose(by_deltas, expected, rtol=2 * np.finfo(dtype).eps)
    expected = np.array([[[1 / 2, -1 / 2], [-1 / 2, 1 / 2], [0, 0]]]) / 3
    np.testing.assert_allclose(by_logits, expected, rtol=2 * np.finfo(dtype).eps)
    assert (by_deltas.dtype, by_logits.dtype) == (dtype, dtype)


@pytest.mark.parametrize("minimum", [0, 1])
def test_without_positives_only_a_minimum_of_negatives_has_a_gradient(minimum):
    zeros = np.zeros((2, 3, 4))
    by_deltas, by_logits = multibox_gradient(
        zeros + 5, np.zeros((2, 3, 2)), zeros, np.zeros((2, 3), int), min_negatives=minimum
    )
    assert not by_deltas.any()
    # The first anchor of each image, over max(1, 0).
    expected = np.zeros((2, 3, 2))
    expected[:, 0] = minimum * np.array([-1 / 2, 1 / 2])
    assert by_logits.tolist() == expected.tolist()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_has_no_gradient(shape):
    by_deltas, by_logits = multibox_gradient(
        np.zeros((*shape, 4)), np.zeros((*shape, 2)), np.zeros((*shape, 4)), np.zeros(shape, int)
    )
    assert (by_deltas.shape, by_logits.shape) == ((*shape, 4), (*shape, 2))


# --- laws ----------------------------------------------------------------------------------------


@given(st.data(), dtypes)
def test_a_constant_added_to_all_logits_has_no_slope(data, dtype):
    logits = data.draw(numbers((3, 4), dtype, 100.0))
    found = softmax_cross_entropy_gradient(logits, np.array([0, 1, 3]))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.sum(axis=-1), 0, atol=4 * np.finfo(dtype).eps)
    assert (np.abs(found) <= 1).all()


@given(st.data(), dtypes, st.sampled_from([0.0, 1.0, 2.0, 3.5]))
def test_finite_logits_never_give_nan(data, dtype, gamma):
    logits = data.draw(numbers((2, 2), dtype, 2.0**120))
    targets = np.array([[0, 1], [1, 0]], dtype)
    for found in (
        smooth_l1_gradient(logits, targets),
        softmax_cross_entropy_gradient(logits, np.array([0, 1])),
        sigmoid_cross_entropy_gradient(logits, targets),
        focal_gradient(logits, targets, gamma=gamma),
    ):
        assert (found.dtype, found.shape) == (dtype, (2, 2))
        assert (np.abs(found) <= 1 + gamma).all()  # false for NaN
