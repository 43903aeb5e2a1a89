"""Argument validation with uniform error messages.

A message names the argument, what was expected, what was received and, for arrays, the index of the
first bad element: "boxes[2]: expected four finite numbers. Received: [0.0, nan, 1.0, 1.0]".

Importing this module does not import NumPy, since `conventions` uses it and must load without
NumPy.
"""

from __future__ import annotations

from collections.abc import Sized
from functools import lru_cache
from numbers import Integral, Real
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "check_counts",
    "check_each",
    "check_floats",
    "check_lengths",
    "check_number",
    "check_types",
    "check_whole",
    "one_of",
    "read_floats",
]

Axis = int | str | EllipsisType


def check_floats(values: Any, name: str, *axes: Axis) -> None:
    """Check that a value is a float array of the given shape.

    Args:
        values: The value to check.
        name: Name of the argument, for the message.
        axes: The expected axes: an integer for a fixed length, a word for any length. A leading
            `...` allows any axes before the others.

    Raises:
        TypeError: Not a NumPy array of floats.
        ValueError: Another shape.

    Example:
        >>> import numpy as np
        >>> check_floats(np.zeros((2, 3)), "boxes", "N", 4)
        Traceback (most recent call last):
        ...
        ValueError: boxes: expected shape (N, 4). Received: (2, 3)
    """
    _check_array(values, name, axes, ("f",), "floats")


def check_whole(values: Any, name: str, *axes: Axis) -> None:
    """Check that a value is an integer array of the given shape (see `check_floats`).

    Example:
        >>> import numpy as np
        >>> check_whole(np.array([True]), "labels", "N")
        Traceback (most recent call last):
        ...
        TypeError: labels: expected a NumPy array of whole numbers. Received: bool
    """
    _check_array(values, name, axes, ("i", "u"), "whole numbers")


def check_each(values: NDArray[Any], name: str, fine: Any, expected: str) -> None:
    """Check every element of an array, and report the first bad one.

    `fine` is True where `values` is valid. With fewer axes than `values`, it judges whole rows.

    Example:
        >>> import numpy as np
        >>> losses = np.array([0.5, np.nan])
        >>> check_each(losses, "losses", ~np.isnan(losses), "a number")
        Traceback (most recent call last):
        ...
        ValueError: losses[1]: expected a number. Received: nan
    """
    if not fine.all():
        index = tuple(int(axis[0]) for axis in (~fine).nonzero()) if fine.ndim else ()
        where = f"[{', '.join(map(str, index))}]" if index else ""
        raise ValueError(f"{name}{where}: expected {expected}. Received: {values[index].tolist()}")


def read_floats(values: Any, name: str) -> NDArray[Any]:
    """Convert numbers, in lists or in an array, to a float64 array.

    Example:
        >>> read_floats([[1], [2, 3]], "boxes[0]")
        Traceback (most recent call last):
        ...
        TypeError: boxes[0]: expected numbers. Received: [[1], [2, 3]]
    """
    import numpy as np

    try:
        return np.asarray(values).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError):  # strings, complex numbers, ragged lists
        raise TypeError(f"{name}: expected numbers. Received: {values!r}") from None


def check_number(
    value: Any, name: str, least: float, most: float, *, open_below: bool = False
) -> None:
    """Check that a value is a number in [least, most], or in (least, most] with `open_below`.

    Example:
        >>> check_number(float("nan"), "threshold", 0, 1, open_below=True)
        Traceback (most recent call last):
        ...
        ValueError: threshold: expected a number in (0, 1]. Received: nan
    """
    if not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number. Received: {value!r}")
    number: Any = value
    above = least < number if open_below else least <= number
    if not (above and number <= most):
        interval = f"{'(' if open_below else '['}{least}, {most}]"
        raise ValueError(f"{name}: expected a number in {interval}. Received: {value}")


def check_counts(least: int = 0, /, **counts: Any) -> None:
    """Check that each value is an integer of `least` or more.

    Example:
        >>> check_counts(k=-1)
        Traceback (most recent call last):
        ...
        ValueError: k: expected 0 or more. Received: -1
    """
    for name, value in counts.items():
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(f"{name}: expected a whole number. Received: {value!r}")
        if value < least:
            raise ValueError(f"{name}: expected {least} or more. Received: {value}")


def check_lengths(**lists: Any) -> None:
    """Check that lists have equal lengths.

    Example:
        >>> check_lengths(boxes=[[]], labels=[[], []], scores=None)
        Traceback (most recent call last):
        ...
        ValueError: boxes, labels, scores: expected equal lengths. Received: [1, 2, None]
    """
    lengths = [len(one) if isinstance(one, Sized) else one for one in lists.values()]
    if len({*map(str, lengths)}) > 1 or not isinstance(lengths[0], int):
        raise ValueError(f"{', '.join(lists)}: expected equal lengths. Received: {lengths}")


def check_types(record: Any) -> None:
    """Check that every field of a dataclass has its annotated type, and make it that type.

    Lists become tuples, and NumPy's numbers Python's, so that a record can be hashed and written as
    JSON wherever its values came from.

    Raises:
        TypeError: A field has another type.
        ValueError: A string is not among the choices of its `Literal`.

    Example:
        >>> from reference_numpy.conventions import SSD300
        >>> SSD300.__class__("mine", (300, 300), ((38, 2.5),), (0.1, 0.2), ((),))
        Traceback (most recent call last):
        ...
        TypeError: feature_maps: expected tuple[tuple[int, int], ...]. Received: ((38, 2.5),)
    """
    for name, hint in _hints(type(record)).items():
        value = getattr(record, name)
        if get_origin(hint) is Literal:
            one_of(name, value, *get_args(hint))
        elif not _holds(value, hint):
            words = hint if get_args(hint) else hint.__name__
            shown = repr(value)
            shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
            raise TypeError(f"{name}: expected {WORDS.get(hint, words)}. Received: {shown}")
        object.__setattr__(record, name, _plain(value))


def one_of(name: str, value: str, *choices: str) -> None:
    """Check that a string is one of the choices.

    Example:
        >>> one_of("order", "row", "cell", "shape")
        Traceback (most recent call last):
        ...
        ValueError: order: expected one of 'cell', 'shape'. Received: 'row'
    """
    if value not in choices:
        raise ValueError(
            f"{name}: expected one of {', '.join(map(repr, choices))}. Received: {value!r}"
        )


WORDS = {float: "a number", int: "a whole number", bool: "True or False", str: "a string"}

_hints: Any = lru_cache(get_type_hints)


def _plain(value: Any) -> Any:
    """Lists as tuples, and NumPy's numbers as Python's."""
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, Real) and hasattr(value, "item") else value


def _holds(value: Any, hint: Any) -> bool:
    """Tell whether a value has the annotated type: a tuple, a union or a single type."""
    kinds = get_args(hint)
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple | list):
            return False
        if kinds[1:] == (...,):  # tuple[X, ...]
            return all(_holds(one, kinds[0]) for one in value)
        return len(value) == len(kinds) and all(map(_holds, value, kinds))
    if kinds:
        return any(_holds(value, kind) for kind in kinds)
    if isinstance(value, int) and abs(value) >= 1 << 63:  # no array and no float holds it
        return False
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    return isinstance(value, Real if hint is float else hint)


def _check_array(
    values: Any, name: str, axes: tuple[Axis, ...], kinds: tuple[str, ...], what: str
) -> None:
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "kind", None) not in kinds:
        found = type(values).__name__ if dtype is None else dtype
        raise TypeError(f"{name}: expected a NumPy array of {what}. Received: {found}")
    if not _fits(values.shape, axes):
        words = ["..." if axis is ... else str(axis) for axis in axes]
        expected = f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"
        raise ValueError(f"{name}: expected shape {expected}. Received: {values.shape}")


def _fits(shape: tuple[int, ...], axes: tuple[Axis, ...]) -> bool:
    """Tell whether a shape has these axes; a word stands for any length."""
    if axes[:1] == (...,):
        axes = axes[1:]
        shape = shape[max(0, len(shape) - len(axes)) :]
    if len(shape) != len(axes):
        return False
    return all(
        axis == length for axis, length in zip(axes, shape, strict=True) if isinstance(axis, int)
    )
