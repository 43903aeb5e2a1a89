"""Refusals: what they let pass, what they say, and where."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from reference_numpy.checks import (
    check_counts,
    check_each,
    check_floats,
    check_lengths,
    check_number,
    check_types,
    check_whole,
    one_of,
    read_floats,
)

NAN, INF = float("nan"), float("inf")


def refuses(message, kind=ValueError):
    return pytest.raises(kind, match="^" + re.escape(message) + "$")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((), ()),
        ((3,), ("N",)),
        ((0,), ("N",)),
        ((3,), (3,)),
        ((2, 4), ("N", 4)),
        ((2, 4), (2, 4)),
        ((), (...,)),
        ((5, 6), (...,)),
        ((4,), (..., 4)),
        ((1, 2, 4), (..., 4)),
        ((7, 2, 4), (..., 2, 4)),
    ],
)
def test_arrays_of_these_axes_pass(dtype, shape, axes):
    check_floats(np.zeros(shape, dtype), "x", *axes)
    check_whole(np.zeros(shape, np.uint8), "x", *axes)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((2,), (), "()"),
        ((), ("N",), "(N,)"),
        ((4,), ("N", 4), "(N, 4)"),
        ((2, 3), ("N", 4), "(N, 4)"),
        ((2, 3, 4), ("N", 4), "(N, 4)"),
        ((2,), (3,), "(3,)"),
        ((), (..., 4), "(..., 4)"),
        ((4, 3), (..., 4), "(..., 4)"),
        ((4,), (..., 2, 4), "(..., 2, 4)"),
    ],
)
def test_other_axes_are_refused(shape, axes, expected):
    with refuses(f"x: expected shape {expected}. Received: {shape}"):
        check_floats(np.zeros(shape), "x", *axes)


def test_a_number_of_numpy_is_an_array_without_axes():
    check_floats(np.float32(1), "x", ...)
    check_whole(np.int8(1), "x")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.zeros(2, int), "int64"),
        (np.zeros(2, bool), "bool"),
        (np.zeros(2, complex), "complex128"),
        (np.array(["a"]), "<U1"),
        (np.array([None]), "object"),
        ([1.0], "list"),
        (1.0, "float"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_array_of_floats_is_refused(value, found):
    with refuses(f"x: expected a NumPy array of floats. Received: {found}", TypeError):
        check_floats(value, "x", ...)


@pytest.mark.parametrize("value", [np.zeros(2), np.zeros(2, bool), [1], "1"])
def test_what_is_no_array_of_whole_numbers_is_refused(value):
    with pytest.raises(TypeError, match=r"^x: expected a NumPy array of whole numbers\. Received"):
        check_whole(value, "x", ...)


def test_the_first_that_is_not_fine_is_named():
    values = np.array([[0.0, 1.0], [NAN, 3.0], [4.0, NAN]])
    check_each(values[:1], "x", ~np.isnan(values[:1]), "a number")
    check_each(values[:0], "x", ~np.isnan(values[:0]), "a number")
    with refuses("x[1, 0]: expected a number. Received: nan"):
        check_each(values, "x", ~np.isnan(values), "a number")
    with refuses("x[2]: expected less than 4. Received: [4.0, nan]"):
        check_each(values, "x", ~(values >= 4).any(axis=1), "less than 4")
    with refuses("x: expected a number. Received: nan"):
        check_each(values[1, 0], "x", ~np.isnan(values[1, 0]), "a number")


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25), np.int64(1)])
def test_numbers_within_pass(value):
    check_number(value, "x", 0, 1)


@pytest.mark.parametrize("value", [-1e-9, 1.5, NAN, INF])
def test_numbers_beyond_are_refused(value):
    with refuses(f"x: expected a number in [0, 1]. Received: {value}"):
        check_number(value, "x", 0, 1)


def test_a_lower_end_may_be_left_out():
    check_number(1e-9, "x", 0, 1, open_below=True)
    with refuses("x: expected a number in (0, 1]. Received: 0"):
        check_number(0, "x", 0, 1, open_below=True)


@pytest.mark.parametrize("value", ["half", None, 1j, np.zeros(1)])
def test_what_is_no_number_is_refused(value):
    with refuses(f"x: expected a number. Received: {value!r}", TypeError):
        check_number(value, "x", 0, 1)


def test_counts_are_whole_and_at_least_so_many():
    check_counts(x=0, y=np.int64(7))
    check_counts(2, x=2)
    with refuses("y: expected 2 or more. Received: 1"):
        check_counts(2, x=2, y=1)
    for value in (1.0, "1", None, True, NAN):
        with refuses(f"x: expected a whole number. Received: {value!r}", TypeError):
            check_counts(x=value)


def test_lists_have_one_length():
    check_lengths(x=[1, 2], y=np.zeros(2), z=("a", "b"))
    for lists, lengths in (
        ({"x": [1], "y": [1, 2]}, "[1, 2]"),
        ({"x": None, "y": [1]}, "[None, 1]"),
        ({"x": None, "y": None}, "[None, None]"),
    ):
        with refuses(f"x, y: expected equal lengths. Received: {lengths}"):
            check_lengths(**lists)


def test_numbers_are_read_as_float64():
    for given in (
        [[1, 2]],
        [[True, 2.0]],
        np.array([[1, 2]], np.float32),
        np.array([[1, 2]], "u1"),
    ):
        found = read_floats(given, "x")
        assert (found.dtype, found.shape) == (np.float64, (1, 2))
    for given in ("many", ["1"], [[1], [1, 2]], [1j], None, [None]):
        with refuses(f"x: expected numbers. Received: {given!r}", TypeError):
            read_floats(given, "x")


@dataclass(frozen=True)
class Record:
    number: float = 0.5
    count: int = 1
    flag: bool = False
    word: str = "a"
    perhaps: int | None = None
    pair: tuple[int, int] = (1, 2)
    many: tuple[tuple[float, int], ...] = ()
    inner: Record | None = None


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"number": 1, "perhaps": 3, "inner": Record()},
        {"number": np.float32(1), "count": np.int64(1)},
        {"many": ((0.5, 1), (1, 2)), "pair": [3, 4]},
    ],
)
def test_fields_that_hold_what_they_say_pass(change):
    check_types(Record(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": "half"}, "number: expected a number. Received: 'half'"),
        ({"number": None}, "number: expected a number. Received: None"),
        ({"count": 1.0}, "count: expected a whole number. Received: 1.0"),
        ({"count": True}, "count: expected a whole number. Received: True"),
        ({"flag": 1}, "flag: expected True or False. Received: 1"),
        ({"word": 1}, "word: expected a string. Received: 1"),
        ({"perhaps": 0.5}, "perhaps: expected int | None. Received: 0.5"),
        ({"pair": (1,)}, "pair: expected tuple[int, int]. Received: (1,)"),
        ({"pair": (1, 2, 3)}, "pair: expected tuple[int, int]. Received: (1, 2, 3)"),
        ({"pair": 1}, "pair: expected tuple[int, int]. Received: 1"),
        ({"pair": "ab"}, "pair: expected tuple[int, int]. Received: 'ab'"),
        (
            {"many": ((0.5, 1), (1, 0.5))},
            "many: expected tuple[tuple[float, int], ...]. Received: ((0.5, 1), (1, 0.5))",
        ),
        ({"inner": "x"}, "inner: expected "),
    ],
)
def test_fields_that_do_not_are_refused(change, message):
    with pytest.raises(TypeError, match="^" + re.escape(message)):
        check_types(dataclasses.replace(Record(), **change))


def test_numpy_is_not_needed_to_read_choices():
    code = "import sys, reference_numpy.conventions; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_of():
    one_of("order", "row", "cell", "row")
    message = "order: expected one of 'cell', 'row'. Received: 'column'"
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        one_of("order", "column", "cell", "row")
    with pytest.raises(ValueError, match=r"Received: None$"):
        one_of("order", None, "cell", "row")
