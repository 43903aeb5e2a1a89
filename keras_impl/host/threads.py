"""Threads that live for one call: they survive a fork, and many threads may call us."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["in_parts"]


def in_parts(work: Callable[[slice], Any], count: int, parts: int) -> list[Any]:
    """Do work on slices of 0 to `count`, each in a thread of its own; return results in order.

    Example:
        >>> in_parts(lambda part: (part.start, part.stop), 5, 2)
        [(0, 2), (2, 5)]
    """
    if parts <= 1:
        return [work(slice(0, count))]
    slices = [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
    with ThreadPoolExecutor(parts - 1) as pool:
        others = [pool.submit(work, part) for part in slices[1:]]
        return [work(slices[0]), *(other.result() for other in others)]
