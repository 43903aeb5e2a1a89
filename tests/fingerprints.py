"""Numbers that stand for arrays: what a seed draws is written down by them, and drawn again.

A fingerprint is a sum of all numbers of the arrays, each by a weight of its own place, so that one
number that is another, or in another place, shows. It is compared within a hundredth: a libm may
differ from another in the last digit.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["fingerprint"]


def fingerprint(arrays: Iterable[np.ndarray]) -> tuple[str, float]:
    """Dtypes and shapes in words, and the weighted sum.

    Example:
        >>> fingerprint([np.array([1.0, 0.0]), np.array([2])])
        ('float64 (2,), int64 (1,)', -1.43...)
    """
    words, total, start = [], 0.0, 1
    for array in arrays:
        words.append(f"{array.dtype} {array.shape}")
        places = np.arange(start, start + array.size)
        total += float(np.cos(places) @ array.ravel().astype(np.float64))
        start += array.size
    return ", ".join(dict.fromkeys(words)), total
