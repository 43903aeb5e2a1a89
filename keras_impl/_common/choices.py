"""Names that options take, free of imports: the command line shows them before anything starts."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["BACKENDS", "DETECTORS", "DIGIT_MODES", "Backend", "DigitMode"]

Backend = Literal["keras", "numpy", "litert"]  # who runs a detector
DigitMode = Literal["1", "1-10", "both"]  # digits on a canvas; both: a coin decides for each

BACKENDS: tuple[Backend, ...] = get_args(Backend)
DIGIT_MODES: tuple[DigitMode, ...] = get_args(DigitMode)
DETECTORS = ("digits", "oidv4")  # detectors with a name
