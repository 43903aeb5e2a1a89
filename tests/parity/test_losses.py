"""`keras_impl.losses` against `reference_numpy.losses`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl import losses
from keras_impl.backends import in_mode, modes
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


def test_labels_out_of_range_are_an_error_of_the_reference():
    with pytest.raises(ValueError, match=r"labels\[1\]: expected 0 to 2. Received: 3"):
        reference.check_labels(np.array([0, 3]), 3)


@pytest.mark.parametrize("mode", modes())
def test_one_hot_is_the_reference(mode):
    labels = np.array([[2, 0], [1, 1]], np.int32)
    got = in_mode(lambda one: losses.one_hot(one, 3, "float64"), mode)(labels)
    np.testing.assert_array_equal(got, reference.one_hot(labels, 3))
