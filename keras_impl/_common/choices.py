"""Names and defaults of options; no heavy imports, so that `ssd --help` is quick."""

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

Backend = Literal["keras", "numpy", "litert"]  # backends of a detector
DigitMode = Literal["1", "1-10", "both"]  # digits per canvas; both: chosen at random for each

BACKENDS: tuple[Backend, ...] = get_args(Backend)
DIGIT_MODES: tuple[DigitMode, ...] = get_args(DigitMode)
DETECTORS = ("digits", "oidv4")  # named detectors

SCORE = 0.5  # default score threshold of detections
CASES = 40  # default number of random cases for each operation in a parity run
CANVASES = 8  # default number of images in a demo
