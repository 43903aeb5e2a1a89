"""Threads that live for one call: they survive a fork, and many threads may call us."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

__all__ = ["in_parts"]


def in_parts(work: Callable[[slice], Any], count: int, parts: int) -> list[Any]:
    """Do work on slices of 0 to `count`, each in a thread of its own; return results in order.

    Example:
        >>> in_parts(lambda part: (part.start, part.stop), 5, 2)
        [(0, 2), (2, 5)]
    """
    slices = [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
    results: list[Any] = [None] * parts
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            results[index] = work(slices[index])
        except BaseException as error:
            errors.append(error)

    others = [Thread(target=run, args=(index,)) for index in range(1, parts)]
    for other in others:
        other.start()
    run(0)
    for other in others:
        other.join()
    if errors:
        raise errors[0]
    return results
