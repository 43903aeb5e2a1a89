"""Losses of one number or one anchor: worked by hand, laws, and what saturates."""

from __future__ import annotations

import re
from math import exp, inf, log, log1p

import numpy as np
import pytest
from hypothesis import given, strategies as st

from reference_numpy.losses import (
    check_labels,
    focal,
    one_hot,
    sigmoid,
    sigmoid_cross_entropy,
    smooth_l1,
    softmax,
    softmax_cross_entropy,
)
from tests.strategies import FLOATS, dtypes, numbers


def close(found, expected, dtype, ulps=4):
    """Equal in dtype, shape and, to a few roundings of the largest number, value."""
    expected = np.asarray(expected, np.float64)
    assert (found.dtype, found.shape) == (dtype, expected.shape)
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=ulps * np.finfo(dtype).eps * scale)


# --- labels as columns ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_hot(dtype):
    found = one_hot(np.array([[2, 0], [1, 2]]), 3, dtype)
    assert found.dtype == dtype
    assert found.tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 1]]]
    assert one_hot(np.zeros((0, 5), int), 3, dtype).shape == (0, 5, 3)


def test_one_hot_is_float64_unless_asked_otherwise():
    assert one_hot(np.array([1]), 2).dtype == np.float64


def test_focal_takes_no_target_between():
    with pytest.raises(ValueError, match=r"^targets\[0\]: expected 0 or 1\. Received: 0.5$"):
        focal(np.zeros(1), np.full(1, 0.5))


def test_labels_may_begin_below_background():
    check_labels(np.array([-1, 0, 2]), 3, least=-1)
    message = "labels[1]: expected -1 to 2. Received: -2"
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        check_labels(np.array([-1, -2]), 3, least=-1)


# --- smooth L1 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [
        (0, 0, 0),
        (0.5, 0, 0.125),
        (0, 0.5, 0.125),
        (-0.25, 0.5, 0.28125),  # .75² / 2
        (1, 0, 0.5),  # where the two halves meet
        (-1, 0, 0.5),
        (1.5, 0, 1),
        (2, 0, 1.5),
        (-3, 0, 2.5),
        (1, -3, 3.5),
        (1e30, 0, 1e30),  # whose square is no number in float32
        (-inf, 0, inf),
    ],
)
def test_smooth_l1(predicted, target, expected, dtype):
    found = smooth_l1(np.array([predicted], dtype), np.array([target], dtype))
    assert (found.dtype, found.shape) == (dtype, (1,))
    assert found[0] == dtype(expected)


@given(st.data(), dtypes)
def test_smooth_l1_is_even_and_grows_by_at_most_the_distance(data, dtype):
    predicted, target = data.draw(numbers((2, 3, 4), dtype, 8.0))
    loss, distance = smooth_l1(predicted, target), np.abs(predicted - target)
    assert (loss.dtype, loss.shape) == (dtype, (3, 4))
    np.testing.assert_array_equal(loss, smooth_l1(target, predicted))
    assert ((loss >= 0) & (loss <= distance)).all()
    order = np.argsort(distance, axis=None)
    assert (np.diff(loss.ravel()[order]) >= 0).all()


# --- softmax and its cross-entropy ---------------------------------------------------------------

# Logits, then their softmax. Powers e^z that are small integers: z = log n.
SOFTMAX = [
    ([0, 0], [1 / 2, 1 / 2]),
    ([log(1), log(2), log(5)], [1 / 8, 2 / 8, 5 / 8]),
    ([7 + log(3), 7], [3 / 4, 1 / 4]),
    ([3.0], [1]),
    ([1000, 1000], [1 / 2, 1 / 2]),
    ([-1000, -1000], [1 / 2, 1 / 2]),
    ([1000, -1000], [1, 0]),
    ([0, -inf], [1, 0]),
    ([0, 0, 0, 0], [1 / 4] * 4),
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("logits", "expected"), SOFTMAX)
def test_softmax(logits, expected, dtype):
    close(softmax(np.array(logits, dtype)), expected, dtype, ulps=8)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("logits", "probabilities"), SOFTMAX)
def test_softmax_cross_entropy_is_the_surprise_at_each_label(logits, probabilities, dtype):
    labels = np.flatnonzero(probabilities)
    rows = np.tile(np.array(logits, dtype), (len(labels), 1))
    expected = [-log(probabilities[label]) for label in labels]
    close(softmax_cross_entropy(rows, labels), expected, dtype, ulps=8)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("logits", "label", "expected"),
    [
        ([1000, -1000], 1, 2000),  # the softmax is 0, its logarithm is not
        ([-1000, 1000], 0, 2000),
        ([0, 1000], 1, 0),
        ([0, 0, 0], 2, log(3)),
        ([0, log(3)], 0, log(4)),
        ([0, log(3)], 1, log(4) - log(3)),
        ([0, -inf], 1, inf),
    ],
)
def test_softmax_cross_entropy(logits, label, expected, dtype):
    found = softmax_cross_entropy(np.array(logits, dtype), np.array(label))
    if expected == inf:
        assert found == inf
    else:
        close(found, expected, dtype)


@given(st.data(), dtypes)
def test_softmax_is_a_distribution_that_keeps_the_order(data, dtype):
    logits = data.draw(numbers((2, 5), dtype, 100.0))
    found = softmax(logits)
    close(found.sum(axis=-1), np.ones(2), dtype)
    assert (found >= 0).all()
    order = np.argsort(logits, axis=-1)
    assert (np.diff(np.take_along_axis(found, order, axis=-1)) >= 0).all()
    # Whole numbers move whole logits without rounding.
    whole = np.round(logits)
    np.testing.assert_array_equal(softmax(whole + dtype(17)), softmax(whole))


@given(st.data(), dtypes)
def test_softmax_cross_entropy_is_minus_the_logarithm_of_softmax(data, dtype):
    logits = data.draw(numbers((2, 3, 4), dtype, 10.0))
    labels = data.draw(st.lists(st.integers(0, 3), min_size=6, max_size=6))
    labels = np.reshape(labels, (2, 3))
    chosen = np.take_along_axis(softmax(logits), labels[..., None], axis=-1)[..., 0]
    found = softmax_cross_entropy(logits, labels)
    assert (found >= 0).all()
    # A probability of e^-20 is as exact as one of 1: some ulp, some eps in its logarithm.
    close(found, -np.log(chosen.astype(np.float64)), dtype, ulps=16)


# --- sigmoid, its cross-entropy and focal --------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("logit", "expected"),
    [
        (0, 1 / 2),
        (log(3), 3 / 4),
        (-log(3), 1 / 4),
        (-20, exp(-20) / (1 + exp(-20))),  # not 0: it is small, and exact
        (1000, 1),
        (-1000, 0),
        (inf, 1),
        (-inf, 0),
    ],
)
def test_sigmoid(logit, expected, dtype):
    found = sigmoid(np.array([logit], dtype))
    assert (found.dtype, found.shape) == (dtype, (1,))
    np.testing.assert_allclose(found, [expected], rtol=16 * np.finfo(dtype).eps)


# Logit, target, sigmoid cross-entropy, and focal loss with alpha 1/4 for gamma 0, 1, 2. The
# truth has probability p: the loss -log p, weighed by alpha (1/4 or 3/4) and (1 - p)^gamma.
BINARY = [
    (0, 1, log(2), [log(2) / 4, log(2) / 8, log(2) / 16]),
    (0, 0, log(2), [3 * log(2) / 4, 3 * log(2) / 8, 3 * log(2) / 16]),
    (log(3), 1, log(4 / 3), [log(4 / 3) / 4, log(4 / 3) / 16, log(4 / 3) / 64]),
    (log(3), 0, log(4), [3 * log(4) / 4, 9 * log(4) / 16, 27 * log(4) / 64]),
    (-log(3), 1, log(4), [log(4) / 4, 3 * log(4) / 16, 9 * log(4) / 64]),
    (1000, 1, 0, [0, 0, 0]),
    (-1000, 0, 0, [0, 0, 0]),
    (-1000, 1, 1000, [250, 250, 250]),
    (1000, 0, 1000, [750, 750, 750]),
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("logit", "target", "expected", "weighed"), BINARY)
def test_sigmoid_cross_entropy_and_focal(logit, target, expected, weighed, dtype):
    logits, targets = np.array([logit], dtype), np.array([target], dtype)
    close(sigmoid_cross_entropy(logits, targets), [expected], dtype)
    for gamma, value in zip((0.0, 1.0, 2.0), weighed, strict=True):
        close(focal(logits, targets, gamma=gamma), [value], dtype, ulps=8)


def test_focal_counts_a_target_by_alpha_and_what_is_right_by_gamma():
    logits, one, zero = np.array([log(3)]), np.ones(1), np.zeros(1)
    # p = 3/4 if the target is 1, 1/4 if it is 0.
    for alpha in (0.0, 0.5, 1.0):
        found = focal(logits, one, alpha, 3.0), focal(logits, zero, alpha, 3.0)
        expected = [alpha * log(4 / 3) / 64], [(1 - alpha) * 27 * log(4) / 64]
        np.testing.assert_allclose(found, expected, atol=1e-15)


@pytest.mark.parametrize("target", [0.25, 0.5])
def test_sigmoid_cross_entropy_of_a_target_between(target):
    # z = log 3: -t log(3/4) - (1 - t) log(1/4).
    expected = target * log(4 / 3) + (1 - target) * log(4)
    found = sigmoid_cross_entropy(np.array([log(3)]), np.array([target]))
    np.testing.assert_allclose(found, [expected], rtol=1e-15)


def test_what_is_almost_certain_still_costs_something():
    # -log(1 - e^-40 / (1 + e^-40)) is log(1 + e^-40), lost if 1 is added first.
    found = sigmoid_cross_entropy(np.array([40.0]), np.array([1.0]))
    np.testing.assert_allclose(found, [log1p(exp(-40))], rtol=1e-14)


@given(st.data(), dtypes, st.sampled_from([0.0, 1.0, 2.0, 2.5]))
def test_turning_logits_and_targets_round_changes_nothing(data, dtype, gamma):
    logits = data.draw(numbers(6, dtype, 50.0))
    targets = np.array([0, 1] * 3, dtype)
    close(sigmoid(logits) + sigmoid(-logits), np.ones(6), dtype)
    turned = sigmoid_cross_entropy(-logits, 1 - targets)
    close(turned, sigmoid_cross_entropy(logits, targets), dtype)
    turned = focal(-logits, 1 - targets, 0.5, gamma)
    close(turned, focal(logits, targets, 0.5, gamma), dtype, ulps=8)


@given(st.data(), dtypes)
def test_focal_never_exceeds_what_it_weighs_and_is_it_at_gamma_0(data, dtype):
    logits = data.draw(numbers(6, dtype, 50.0))
    targets = np.array([0, 1] * 3, dtype)
    plain = sigmoid_cross_entropy(logits, targets)
    np.testing.assert_array_equal(focal(logits, targets, 0.5, 0.0), plain / 2)
    found = [focal(logits, targets, 0.5, gamma) for gamma in (0.0, 1.0, 2.0, 5.0)]
    assert all(array.dtype == dtype for array in found)
    assert (np.diff(found, axis=0) <= 0).all()
    assert np.min(found) >= 0


@given(st.data(), dtypes)
def test_finite_logits_never_give_nan(data, dtype):
    logits = data.draw(numbers((2, 3), dtype, 2.0**120))
    targets = np.array([[0, 1, 0], [1, 0, 1]], dtype)
    for found in (
        softmax(logits),
        softmax_cross_entropy(logits, np.array([0, 2])),
        smooth_l1(logits, targets),
        sigmoid(logits),
        sigmoid_cross_entropy(logits, targets),
        focal(logits, targets),
    ):
        assert found.dtype == dtype
        assert np.isfinite(found).all()


# --- what is empty, what is refused --------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_nothing_has_no_loss(dtype):
    none = np.zeros((0, 3), dtype)
    for function in (smooth_l1, sigmoid_cross_entropy, focal):
        assert (function(none, none).dtype, function(none, none).shape) == (dtype, (0, 3))
    found = softmax_cross_entropy(none, np.zeros(0, int))
    assert (found.dtype, found.shape) == (dtype, (0,))


def test_focal_has_the_numbers_of_the_paper_unless_told_otherwise():
    logits, targets = np.array([0.3, -1.2]), np.array([1.0, 0.0])
    assert focal(logits, targets).tolist() == focal(logits, targets, 0.25, 2.0).tolist()
