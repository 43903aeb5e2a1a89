"""The result of a comparison (`Verdict`) and the unit of float errors (`errors`)."""

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
    """The result of comparing some cases with the reference.

    Attributes:
        cases: Cases compared.
        mismatches: Cases that are wrong.
        excused: Cases that differ from the reference by a proven near-tie.
        error: The largest float error, in eps × the largest intermediate.
    """

    cases: int
    mismatches: int = 0
    excused: int = 0
    error: float = 0.0


# (inputs, outputs, dtype, excuses allowed, convention) → verdict
Judge = Callable[[Arrays, Arrays, str, bool, Convention], Verdict]


def errors(got: Array, wanted: Array, scale: Array, dtype: str) -> NDArray[np.float64]:
    """Return the error of each number, in eps × scale.

    Args:
        got: The result in `dtype`.
        wanted: The reference in a wider dtype, which is rounded to `dtype` once.
        scale: The largest intermediate of each number.
        dtype: "float32" or "float64".

    Returns:
        Errors, 0 where both numbers are equal or NaN, infinite where only one is NaN or infinite.
    """
    limits = np.finfo(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = wanted.astype(dtype)
        # Subnormal results may be flushed to 0, so the unit is never below the smallest normal.
        unit = float(limits.eps) * np.maximum(scale.astype(np.float64), limits.tiny / limits.eps)
        distance = np.abs(got.astype(np.float64) - rounded.astype(np.float64)) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(same, 0.0, np.where(np.isfinite(distance), distance, np.inf))
