"""Names and defaults of options; the command line shows them before anything is imported."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = [
    "BACKENDS",
    "CANVASES",
    "CASES",
    "DETECTORS",
    "DIGIT_MODES",
    "SCORE",
    "Backend",
    "DigitMode",
]

Backend = Literal["keras", "numpy", "litert"]  # who runs a detector
DigitMode = Literal["1", "1-10", "both"]  # digits on a canvas; both: a coin decides for each

BACKENDS: tuple[Backend, ...] = get_args(Backend)
DIGIT_MODES: tuple[DigitMode, ...] = get_args(DigitMode)
DETECTORS = ("digits", "oidv4")  # detectors with a name

SCORE = 0.5  # detections below this score are not reported
CASES = 40  # random cases of each operation in a parity run
CANVASES = 8  # images of a demo
