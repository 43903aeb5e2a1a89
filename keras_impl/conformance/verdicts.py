"""What a judge says of some cases, and how the error of a float is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_impl._common.arrays import Array, Arrays
from reference_numpy.conventions import Convention

__all__ = [
    "Judge",
    "Verdict",
    "errors",
]

WIDER = {"float32": np.float64, "float64": np.longdouble}


class Verdict(NamedTuple):
    """What became of some cases."""

    cases: int
    mismatches: int = 0
    excused: int = 0
    error: float = 0.0


# (inputs, outputs, dtype, excuses allowed, convention) → verdict
Judge = Callable[[Arrays, Arrays, str, bool, Convention], Verdict]


def errors(got: Array, wanted: Array, scale: Array, dtype: str) -> NDArray[np.float64]:
    """Distance from the wider answer, rounded once, in eps × scale; infinite where one is NaN."""
    limits = np.finfo(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = wanted.astype(dtype)
        # Results below the normal range may be flushed to 0, so nothing is finer than that.
        unit = float(limits.eps) * np.maximum(scale.astype(np.float64), limits.tiny / limits.eps)
        distance = np.abs(got.astype(np.float64) - rounded.astype(np.float64)) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(same, 0.0, np.where(np.isfinite(distance), distance, np.inf))
