"""`keras_impl.ops.losses` against `reference_numpy.losses`."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_impl.backends import gradients, in_mode, modes
from keras_impl.ops import losses
from reference_numpy import losses as reference


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 5.0])
def test_focal_with_other_exponents(mode, gamma):
    logits = np.array([-90.0, -3.0, 0.0, 0.5, 90.0], np.float32)
    targets = np.array([1.0, 1.0, 0.0, 1.0, 1.0], np.float32)

    got = in_mode(lambda *tensors: losses.focal(*tensors, alpha=0.4, gamma=gamma), mode)(
        logits, targets
    )

    wanted = reference.focal(logits.astype(float), targets.astype(float), 0.4, gamma)
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-37)


@pytest.mark.parametrize("mode", modes())
def test_one_hot_is_the_reference(mode):
    labels = np.array([[2, 0], [1, 1]], np.int32)
    got = in_mode(lambda one: losses.one_hot(one, 3, "int32"), mode)(labels)
    assert got.dtype == "int32"  # JAX has no float64 where nothing that is given has 64 bits
    np.testing.assert_array_equal(got, reference.one_hot(labels, 3))


LN2, LN3 = np.log(2), np.log(3)
# What the reference's own tests have worked by hand: the function, its arguments, the answer.
WORKED = {
    "a square within 1, a line beyond": (
        losses.smooth_l1,
        ([[0.5, -1.0, 1.5, 1.25]], [[0.0, 0.0, 0.0, 4.25]]),
        {},
        [[0.125, 0.5, 1.0, 2.5]],
    ),
    "a softmax of rows, however large": (
        losses.softmax,
        ([[[0.0, LN3], [2000.0, 2000.0]]],),
        {},
        [[[1 / 4, 3 / 4], [1 / 2, 1 / 2]]],
    ),
    "minus its logarithm": (
        losses.softmax_cross_entropy,
        ([[[0.0, LN3], [2000.0, 2000.0], [-1000.0, 0.0]]], np.array([[1, 0, 0]])),
        {},
        [[2 * LN2 - LN3, LN2, 1000.0]],
    ),
    "a sigmoid": (
        losses.sigmoid,
        ([0.0, LN3, -LN3, 1000.0, -1000.0],),
        {},
        [1 / 2, 3 / 4, 1 / 4, 1.0, 0.0],
    ),
    "minus its logarithm, of the truth": (
        losses.sigmoid_cross_entropy,
        ([0.0, LN3, LN3, -LN3, -1000.0, -1000.0], [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]),
        {},
        [LN2, 2 * LN2 - LN3, 2 * LN2, 2 * LN2 - LN3, 1000.0, 0.0],
    ),
    # (1 - p)² of the truth: 1/4, 9/16, 1/16.
    "focal, by the paper's numbers": (
        losses.focal,
        ([0.0, LN3, -LN3], [1.0, 0.0, 0.0]),
        {},
        [LN2 / 16, 0.75 * 9 / 16 * 2 * LN2, 0.75 / 16 * (2 * LN2 - LN3)],
    ),
    "focal without a focus": (
        losses.focal,
        ([0.0, LN3], [1.0, 0.0]),
        {"alpha": 1.0, "gamma": 0},
        [LN2, 0.0],
    ),
    "focal with half of one": (
        losses.focal,
        ([0.0, LN3], [1.0, 0.0]),
        {"alpha": 0.0, "gamma": 1},
        [0.0, 3 / 4 * 2 * LN2],
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", WORKED)
def test_worked_by_hand(case, dtype):
    function, given, overrides, wanted = WORKED[case]
    tensors = [
        ops.convert_to_tensor(one if isinstance(one, np.ndarray) else np.array(one, dtype))
        for one in given
    ]

    got = ops.convert_to_numpy(function(*tensors, **overrides))

    assert got.dtype == (dtype if ops.dtype(tensors[0]) == dtype else "float32")
    eps = np.finfo(got.dtype).eps
    np.testing.assert_allclose(got, wanted, rtol=8 * eps, atol=eps)


def test_one_hot_has_a_column_for_each_label():
    got = ops.convert_to_numpy(losses.one_hot(ops.array([2, 0]), 3))
    assert got.dtype == "float32"
    assert got.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert losses.one_hot(ops.zeros((0,), "int32"), 3).shape == (0, 3)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
def test_without_rows_there_are_no_losses(shape):
    logits, labels = ops.zeros(shape), ops.zeros(shape[:-1], "int32")
    assert tuple(losses.softmax(logits).shape) == shape
    assert tuple(losses.softmax_cross_entropy(logits, labels).shape) == shape[:-1]


def test_labels_reach_as_far_as_there_are_columns():
    logits = ops.zeros((1, 3, 2))
    losses.softmax_cross_entropy(logits, ops.array([[0, 1, 1]]))
    with pytest.raises(ValueError, match=r"^labels\[0, 2\]: expected 0 to 1. Received: 2"):
        losses.softmax_cross_entropy(logits, ops.array([[0, 1, 2]]))


def test_no_rows_of_one_column_have_no_losses():
    found = losses.softmax_cross_entropy(np.zeros((0, 1), "f4"), np.zeros(0, np.int32))
    assert tuple(found.shape) == (0,)


def test_without_a_focus_the_gradient_of_what_is_sure_is_no_nan():
    """0 to the power of 0 is 1, and its derivative must not be asked for."""
    logits, targets = np.array([200.0, -200.0, 0.0], np.float32), np.array([1, 0, 1], np.float32)

    def loss(given):
        truth = ops.convert_to_tensor(targets)
        return ops.sum(losses.focal(given, truth, alpha=1.0, gamma=0.0))

    (found,) = in_mode(gradients(loss), "eager")(logits)
    np.testing.assert_allclose(found, [0, 0, -0.5], atol=1e-7)
