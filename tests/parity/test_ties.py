"""Largest first, lowest index among equals."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl import ties
from keras_impl.backends import in_mode, modes


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
