"""Argument validation for tensors: kind of dtype and shape, in every mode.

Dtype and shape are known while a graph is traced, so these checks cost nothing when it runs. Values
are not known then: those of boxes and labels are checked in eager calls only (`boxes.check_boxes`,
`check_range`). Each function documents how it treats other invalid values.

A message names the argument, what was expected and what was received, as in
`reference_numpy.checks`.
"""

from __future__ import annotations

from numbers import Integral
from types import EllipsisType
from typing import Any

import numpy as np
from keras import ops

from keras_impl._common.arrays import Tensor

__all__ = [
    "as_flags",
    "as_floats",
    "as_tensor",
    "as_whole",
    "check_count",
    "check_range",
    "check_same",
    "values_of",
]

Axis = int | str | EllipsisType | None


def as_floats(values: Any, name: str, *axes: Axis) -> Tensor:
    """Check that a value is a float tensor (or NumPy array) of the given shape, and return it.

    Args:
        values: The value to check. A list of numbers is converted to a tensor.
        name: Name of the argument, for the message.
        axes: The expected axes: an integer for a fixed length, a word or None for any length. A
            leading `...` allows any axes before the others.

    Returns:
        The tensor; a NumPy array stays a NumPy array.

    Raises:
        TypeError: Not a tensor of floats.
        ValueError: Another shape.

    Example:
        >>> as_floats(ops.zeros((2, 3)), "boxes", "N", 4)
        Traceback (most recent call last):
        ...
        ValueError: boxes: expected shape (N, 4). Received: (2, 3)
    """
    return _checked(values, name, axes, ("float", "bfloat"), "floats")


def as_whole(values: Any, name: str, *axes: Axis) -> Tensor:
    """Check that a value is an integer tensor of the given shape, and return it (see `as_floats`).

    Example:
        >>> as_whole(ops.zeros(2), "labels", "N")
        Traceback (most recent call last):
        ...
        TypeError: labels: expected a tensor of whole numbers. Received: float32
    """
    return _checked(values, name, axes, ("int", "uint"), "whole numbers")


def as_flags(values: Any, name: str, *axes: Axis, whole: bool = False) -> Tensor:
    """Check that a value is a boolean tensor of the given shape, and return it (see `as_floats`).

    With `whole=True`, integers are accepted too.

    Example:
        >>> as_flags(ops.ones(2), "valid", "N")
        Traceback (most recent call last):
        ...
        TypeError: valid: expected a tensor of booleans. Received: float32
    """
    return _checked(values, name, axes, ("bool", "int", "uint")[: 3 if whole else 1], "booleans")


def as_tensor(values: Any, name: str, *axes: Axis) -> Tensor:
    """Check that a value is a tensor of the given shape and any dtype, and return it."""
    return _checked(values, name, axes, ("",), "numbers")


def check_count(value: Any, name: str, least: int = 0) -> None:
    """Check that a value is an integer, `least` or more.

    Example:
        >>> check_count(-1, "max_kept")
        Traceback (most recent call last):
        ...
        ValueError: max_kept: expected 0 or more. Received: -1
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a whole number. Received: {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected {least} or more. Received: {value}")


def check_same(
    first: Tensor, second: Tensor, names: tuple[str, str], *, broadcast: bool = False
) -> None:
    """Check that two tensors have the same shape or, with `broadcast=True`, compatible shapes.

    Example:
        >>> check_same(ops.zeros(2), ops.zeros(3), ("predicted", "target"))
        Traceback (most recent call last):
        ...
        ValueError: predicted, target: expected one shape. Received: (2,), (3,)
    """
    one, other = _shape(first), _shape(second)
    if one is None or other is None:
        return
    sides = list(zip(one[::-1], other[::-1], strict=False))
    fits = all(a == b or None in (a, b) or (broadcast and 1 in (a, b)) for a, b in sides)
    if not (fits and (broadcast or len(one) == len(other))):
        expected = "shapes that broadcast" if broadcast else "one shape"
        raise ValueError(f"{', '.join(names)}: expected {expected}. Received: {one}, {other}")


def check_range(labels: Tensor, name: str, least: int, most: int) -> None:
    """Check that labels are from `least` to `most`; not while tracing, where values are unknown.

    Example:
        >>> check_range(ops.array([0, 3]), "labels", 0, 2)
        Traceback (most recent call last):
        ...
        ValueError: labels[1]: expected 0 to 2. Received: 3
    """
    numbers = values_of(labels)
    if numbers is None:
        return
    wrong = (numbers < least) | (numbers > most)
    if wrong.any():
        index = tuple(int(axis[0]) for axis in np.atleast_1d(wrong).nonzero())[: numbers.ndim]
        where = f"[{', '.join(map(str, index))}]" if index else ""
        raise ValueError(f"{name}{where}: expected {least} to {most}. Received: {numbers[index]}")


def values_of(tensor: Tensor) -> np.ndarray[Any, Any] | None:
    """Return the values of a tensor as a NumPy array, or None while a graph is traced.

    Example:
        >>> values_of(ops.array([0.5]))
        array([0.5], dtype=float32)
    """
    try:
        return np.asarray(ops.convert_to_numpy(tensor))
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        return None


def _checked(
    values: Any, name: str, axes: tuple[Axis, ...], kinds: tuple[str, ...], what: str
) -> Tensor:
    if not hasattr(values, "dtype"):
        given = values
        try:
            values = ops.convert_to_tensor(given)
        except Exception:  # each backend raises exceptions of its own
            found = type(given).__name__
            raise TypeError(f"{name}: expected a tensor of {what}. Received: {found}") from None
    kind = getattr(values.dtype, "name", str(values.dtype)).removeprefix("torch.")
    if not kind.startswith(kinds):
        raise TypeError(f"{name}: expected a tensor of {what}. Received: {kind}")
    shape, sides = _shape(values), axes[1:] if axes[:1] == (...,) else axes
    if shape is None:
        return values
    ends = shape[len(shape) - len(sides) :] if sides is not axes else shape
    if len(ends) != len(sides) or any(
        isinstance(side, int) and end is not None and side != end
        for side, end in zip(sides, ends, strict=True)
    ):
        words = ["..." if axis is ... else str(axis) for axis in axes]
        expected = f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"
        raise ValueError(f"{name}: expected shape {expected}. Received: {shape}")
    return values


def _shape(values: Any) -> tuple[int | None, ...] | None:
    """Return the shape, as far as it is known; None if the number of axes is unknown."""
    try:
        return tuple(values.shape)
    except ValueError:  # TensorFlow raises it for a shape of unknown rank
        return None
