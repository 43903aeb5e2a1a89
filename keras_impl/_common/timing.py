"""Time a call: check its first result, repeat it, and check that the last result is the same."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Array

__all__ = ["Measured", "arrays_of", "measure", "timed_rounds"]

LEAST, MOST = 5, 2000  # limits of the number of rounds, at any duration


class Measured(NamedTuple):
    """Times of a call.

    Attributes:
        first: Seconds of the first call, which also traces and compiles and whose result was
            checked.
        excused: Number of near-ties that the check excused.
        rounds: Seconds of each timed call.
    """

    first: float
    excused: int
    rounds: list[float]


def arrays_of(result: Any) -> list[Array]:
    """Return all arrays in a nested result."""
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, list | tuple):
        return [array for part in result for array in arrays_of(part)]
    return [] if result is None else [np.asarray(result)]


def timed_rounds(
    call: Callable[[], Any], seconds: float, least: int = LEAST, most: int = MOST
) -> tuple[list[float], Any]:
    """Time a call repeatedly, after a warm-up and without garbage collection.

    Args:
        call: The call; it returns when its result is ready.
        seconds: Total time for the rounds, within the limits `least` and `most`.
        least: Smallest number of rounds.
        most: Largest number of rounds.

    Returns:
        Seconds of each round, and the result of the last one.
    """
    last = call()
    rounds: list[float] = []
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        while len(rounds) < least or (time.perf_counter() - began < seconds and len(rounds) < most):
            del last  # A pipeline does not keep earlier results either.
            start = time.perf_counter()
            last = call()
            rounds.append(time.perf_counter() - start)
    finally:
        if collects:
            gc.enable()
    return rounds, last


def measure(
    call: Callable[[], Any],
    check: Callable[[Any], int] | None = None,
    *,
    seconds: float,
    least: int = LEAST,
    most: int = MOST,
    repeats: bool = True,
    run: Callable[..., tuple[list[float], Any]] = timed_rounds,
) -> Measured:
    """Check the result of a call, then time the call.

    Args:
        call: The call; it returns when its result is ready.
        check: Raises AssertionError if the first result is wrong; returns the number of near-ties
            that it excused.
        seconds: Total time for the rounds.
        least: Smallest number of rounds.
        most: Largest number of rounds.
        repeats: Whether every call returns the same result.
        run: Function that times the rounds, as `timed_rounds` does.

    Returns:
        The times.

    Raises:
        AssertionError: The first result is wrong, or the last result differs from the first.

    Example:
        >>> measured = measure(lambda: np.ones(3).sum(), seconds=0.0)
        >>> len(measured.rounds), measured.excused
        (5, 0)
    """
    start = time.perf_counter()
    answer = call()
    first = time.perf_counter() - start
    excused = check(answer) if check else 0
    # Copied, because a call may reuse the memory of its last result.
    kept = [part.copy() for part in arrays_of(answer)] if repeats else None
    del answer
    rounds, last = run(call, seconds, least, most)
    if kept is not None:
        others = arrays_of(last)
        if len(kept) != len(others) or not all(map(np.array_equal, kept, others)):
            raise AssertionError("the result of the last timed call differs from the first")
    return Measured(first, excused, rounds)
