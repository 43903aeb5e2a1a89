"""Threads that do parts of a call and wait for the next one. A forked process starts its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

__all__ = ["in_parts"]

pool = cache(ThreadPoolExecutor)
if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=pool.cache_clear)


def in_parts(work: Callable[[slice], Any], count: int, parts: int) -> list[Any]:
    """Do work on slices of 0 to `count`, each in a thread of its own; return results in order.

    Example:
        >>> in_parts(lambda part: (part.start, part.stop), 5, 2)
        [(0, 2), (2, 5)]
    """
    slices = [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
    others = [pool().submit(work, part) for part in slices[1:]]
    try:
        first = work(slices[0])
    finally:
        wait(others)
    return [first, *(other.result() for other in others)]
