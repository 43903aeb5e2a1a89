"""Largest first, lowest index among equals."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl.backends import in_mode, modes
from keras_impl.ops import ties


@pytest.mark.parametrize("mode", modes())
def test_first_argmax(mode):
    values = np.random.default_rng(0).integers(0, 4, (50, 7)).astype(np.float32)

    value, index = in_mode(ties.first_argmax, mode)(values)

    np.testing.assert_array_equal(index, values.argmax(axis=1))
    np.testing.assert_array_equal(value, values.max(axis=1))


@pytest.mark.parametrize("mode", modes())
def test_top_mask(mode):
    generator = np.random.default_rng(1)
    values = generator.integers(0, 4, (200, 7)).astype(np.float32)
    values[generator.random(values.shape) < 0.2] = -np.inf
    counts = generator.integers(0, 10, 200).astype(np.int32)

    got = in_mode(ties.top_mask, mode)(values, counts)

    for row, count, mask in zip(values, counts, got, strict=True):
        order = np.argsort(-row, kind="stable")[:count]
        wanted = [index for index in sorted(order) if row[index] > -np.inf]
        assert np.flatnonzero(mask).tolist() == wanted


# By hand, with one axis and with three: the last one is meant.
ONE = np.array([0.25, 0.5, 0.5, -np.inf], np.float32)
THREE = np.array([[ONE, ONE[::-1], [7, 7, 7, 8]], [[-1, -2, -1, -2], [0, 0, 0, 0], [1, 9, 9, 9]]])


@pytest.mark.parametrize(
    ("values", "value", "index"),
    [
        (ONE, 0.5, 1),
        (ONE[:1], 0.25, 0),
        (THREE.astype(np.float32), [[0.5, 0.5, 8], [-1, 0, 9]], [[1, 1, 3], [0, 0, 1]]),
        (np.zeros((0, 1), np.float32), [], []),
        (np.zeros((2, 0, 3), np.float32), [[], []], [[], []]),
    ],
)
def test_first_argmax_by_hand(values, value, index):
    largest, first = in_mode(ties.first_argmax, modes()[0])(values)

    assert (largest.dtype, first.dtype) == (np.float32, np.int32)
    assert (largest.tolist(), first.tolist()) == (value, index)


def test_of_more_values_than_float32_can_count_the_first_is_found():
    values = np.zeros(2**24 + 2, np.float32)
    values[-1] = 1
    assert in_mode(ties.first_argmax, modes()[0])(values)[1] == 2**24 + 1


@pytest.mark.parametrize(
    ("values", "counts", "chosen"),
    [
        (ONE, 0, []),
        (ONE, 1, [1]),
        (ONE, 2, [1, 2]),
        (ONE, 4, [0, 1, 2]),  # -inf never is
        (ONE[:1], 1, [0]),
        (
            THREE.astype(np.float32),
            [[1, 3, 2], [1, 3, 5]],
            [1, 5, 6, 7, 8, 11, 12, 16, 17, 18, 20, 21, 22, 23],
        ),
    ],
)
def test_top_mask_by_hand(values, counts, chosen):
    mask = in_mode(ties.top_mask, modes()[0])(values, np.asarray(counts, np.int32))

    assert (mask.dtype, mask.shape) == (bool, values.shape)
    assert np.flatnonzero(mask).tolist() == chosen


@pytest.mark.parametrize("operation", [ties.first_argmax, lambda one: ties.top_mask(one, 1)])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.float32(1), r"values: expected shape \(\.\.\., N\)\. Received: \(\)"),
        (np.zeros((3, 0), np.float32), r"values: expected .* N at least 1\. Received: \(3, 0\)"),
    ],
)
def test_among_no_values_none_is_largest(operation, values, words):
    with pytest.raises(ValueError, match=words):
        operation(values)
