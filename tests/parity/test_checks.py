"""`keras_impl.ops.checks`: what it lets through; what it refuses, test_bad_input.py asks."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_impl.backends import in_mode, modes
from keras_impl.ops import checks


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_floats_of_every_size(dtype):
    given = ops.ones((2, 4), dtype)
    assert checks.as_floats(given, "boxes", "N", 4) is given
    assert checks.as_floats(given, "boxes", ..., 4) is given


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_whole_numbers_of_every_size(dtype):
    given = np.ones(3, dtype)
    assert checks.as_whole(given, "labels", 3) is given
    assert checks.as_flags(given, "crowds", 3, whole=True) is given
    with pytest.raises(TypeError, match=r"crowds: expected a tensor of booleans. Received: u?int"):
        checks.as_flags(given, "crowds", 3)


def test_flags_are_booleans():
    given = np.array([True, False])
    assert checks.as_flags(given, "valid", "N") is given
    assert checks.as_flags(given, "valid", "N", whole=True) is given
    with pytest.raises(
        TypeError, match=r"valid: expected a tensor of whole numbers. Received: bool"
    ):
        checks.as_whole(given, "valid", "N")


def test_a_list_becomes_a_tensor_and_what_cannot_is_named():
    found = checks.as_floats([0.5, 1.0], "scores", "N")
    assert ops.convert_to_numpy(found).tolist() == [0.5, 1.0]
    with pytest.raises(TypeError, match=r"scores: expected a tensor of floats. Received: list"):
        checks.as_floats([[0.5], [1.0, 2.0]], "scores", "N")


def test_a_tensor_of_the_backend_tells_its_dtype_as_numpy_does():
    with pytest.raises(
        TypeError, match=r"labels: expected a tensor of whole .* Received: float32$"
    ):
        checks.as_whole(ops.ones(2, "float32"), "labels", 2)


def test_the_least_count_is_one():
    checks.check_count(0, "kept")
    checks.check_count(3, "kept", 3)
    with pytest.raises(ValueError, match=r"kept: expected 3 or more. Received: 2"):
        checks.check_count(2, "kept", 3)


@pytest.mark.parametrize(
    ("first", "second", "broadcast", "fits"),
    [
        ((2, 4), (2, 4), False, True),
        ((2, 4), (1, 4), False, False),
        ((2, 4), (4,), False, False),
        ((2, 4), (1, 4), True, True),
        ((2, 4), (4,), True, True),
        ((3, 1, 4), (5, 4), True, True),
        ((2, 4), (3, 4), True, False),
    ],
)
def test_shapes_that_fit(first, second, broadcast, fits):
    arguments = np.zeros(first), np.zeros(second), ("a", "b")
    if fits:
        checks.check_same(*arguments, broadcast=broadcast)
    else:
        expected = "shapes that broadcast" if broadcast else "one shape"
        with pytest.raises(ValueError, match=f"a, b: expected {expected}. Received: "):
            checks.check_same(*arguments, broadcast=broadcast)


def test_shapes_are_said_and_have_to_be_the_same():
    with pytest.raises(ValueError, match=r"expected one shape\. Received: \(2, 4\), \(4,\)$"):
        checks.check_same(np.zeros((2, 4)), np.zeros(4), ("a", "b"))
    for axes, said in (((..., "A", 4), "(..., A, 4)"), ((3,), "(3,)")):
        with pytest.raises(ValueError, match=f"^x: expected shape {re.escape(said)}. Received: "):
            checks.as_floats(np.zeros(2, "f4"), "x", *axes)


class Open:
    """As TensorFlow has a tensor in a graph of which not even the number of axes is known."""

    dtype = np.dtype("float32")

    @property
    def shape(self):
        raise ValueError("Cannot take the length of shape with unknown rank.")


def test_what_is_not_known_yet_is_not_refused():
    some, other = Open(), np.zeros(3, np.float32)
    assert checks.as_floats(some, "boxes", "N", 4) is some
    checks.check_same(some, other, ("a", "b"))
    checks.check_same(other, some, ("a", "b"))


def test_a_range_has_both_ends():
    checks.check_range(np.array([0, 1, 2]), "labels", 0, 2)
    checks.check_range(np.array(2), "label", 0, 2)
    with pytest.raises(ValueError, match=r"^label: expected 0 to 2. Received: 3$"):
        checks.check_range(np.array(3), "label", 0, 2)
    with pytest.raises(ValueError, match=r"^labels\[1, 0\]: expected 0 to 2. Received: -1$"):
        checks.check_range(np.array([[0, 2], [-1, 3]]), "labels", 0, 2)


def test_values_there_are_and_are_not():
    assert checks.values_of(np.ones(2)).tolist() == [1, 1]
    assert checks.values_of(keras.KerasTensor((2,))) is None
    seen = []
    in_mode(lambda x: seen.append(checks.values_of(x)) or x, modes()[-1])(np.ones(2, "f4"))
    assert (seen[0] is None) == (modes()[-1] != "eager")
