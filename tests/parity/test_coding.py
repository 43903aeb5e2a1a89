"""`keras_impl.ops.coding` against `reference_numpy.coding`."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_impl.backends import in_mode, modes
from keras_impl.ops import coding
from reference_numpy import coding as reference


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("size", [1e3, 1e38, np.inf])
def test_huge_codes_decode_to_infinity_and_never_to_nan(mode, size):
    deltas = np.array([[0, 0, size, -size]], np.float32)
    anchor = np.array([[0.5, 0.5, 0.25, 0.25]], np.float32)

    got = in_mode(coding.decode, mode)(deltas, anchor)

    np.testing.assert_array_equal(got, [[-np.inf, 0.5, np.inf, 0.5]])
    np.testing.assert_array_equal(got, reference.decode(deltas, anchor))


@pytest.mark.parametrize("which", ["both", "first", "second"])
def test_numpy_arrays_go_beside_tensors(which):
    """An anchor of a network is NumPy's, which PyTorch does not multiply."""
    box = np.array([[0.25, 0.25, 0.5, 0.75]], np.float32)
    anchor = np.array([[0.5, 0.5, 0.25, 0.25]], np.float32)
    given = [
        one if which in ("both", name) else ops.convert_to_tensor(one)
        for name, one in (("first", box), ("second", anchor))
    ]
    code = coding.encode(*given)
    again = coding.decode(ops.convert_to_numpy(code) if which != "second" else code, given[1])
    for got, wanted in ((code, reference.encode(box, anchor)), (again, box)):
        np.testing.assert_allclose(ops.convert_to_numpy(got), wanted, rtol=1e-6)
