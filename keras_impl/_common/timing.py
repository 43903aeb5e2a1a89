"""Time a call: its first answer is checked, then it is repeated, and must give the same again."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Array

__all__ = ["Measured", "arrays_of", "measure", "timed_rounds"]

LEAST, MOST = 5, 2000  # rounds, however long they take or short they are


class Measured(NamedTuple):
    """How long a call takes.

    Attributes:
        first: Seconds of the first call, which traces and compiles; its answer was checked.
        excused: Near-ties that the check excused.
        rounds: Seconds of each further call.
    """

    first: float
    excused: int
    rounds: list[float]


def arrays_of(result: Any) -> list[Array]:
    """The arrays of a result, however nested."""
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, list | tuple):
        return [array for part in result for array in arrays_of(part)]
    return [] if result is None else [np.asarray(result)]


def timed_rounds(
    call: Callable[[], Any], seconds: float, least: int = LEAST, most: int = MOST
) -> tuple[list[float], Any]:
    """Repeat a call after a warm-up, without garbage collection.

    Args:
        call: What to time; it ends when its result is there.
        seconds: How long to go on, with `least` and `most` rounds as limits.
        least: Rounds at least.
        most: Rounds at most.

    Returns:
        Seconds of each round, and what the last one gave.
    """
    last = call()
    rounds: list[float] = []
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        while len(rounds) < least or (time.perf_counter() - began < seconds and len(rounds) < most):
            del last  # a pipeline does not keep it either
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
    """Check a call's answer, then time it.

    Args:
        call: What to time; it ends when its result is there.
        check: Raises AssertionError if the first answer is wrong, or returns how many near-ties it
            excused.
        seconds: How long to time.
        least: Rounds at least.
        most: Rounds at most.
        repeats: Whether every call gives the same answer.
        run: Times the rounds, as `timed_rounds` does.

    Returns:
        The times.

    Raises:
        AssertionError: The first answer is wrong, or the last is another one.

    Example:
        >>> measured = measure(lambda: np.ones(3).sum(), seconds=0.0)
        >>> len(measured.rounds), measured.excused
        (5, 0)
    """
    start = time.perf_counter()
    answer = call()
    first = time.perf_counter() - start
    excused = check(answer) if check else 0
    # Copied, because a call may use the memory of its last answer again.
    kept = [part.copy() for part in arrays_of(answer)] if repeats else None
    del answer
    rounds, last = run(call, seconds, least, most)
    if kept is not None:
        others = arrays_of(last)
        if len(kept) != len(others) or not all(map(np.array_equal, kept, others)):
            raise AssertionError("the last timed call gave another result than the first")
    return Measured(first, excused, rounds)
