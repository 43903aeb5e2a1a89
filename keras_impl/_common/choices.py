"""Names and defaults of options; no heavy imports, so that `ssd --help` is quick."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = [
    "BACKENDS",
    "CANVASES",
    "CASES",
    "DETECTORS",
    "DIGIT_MODES",
    "MOST_CASES",
    "MOST_IMAGES",
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
MOST_CASES = 100_000  # the most cases in a parity run, since some are in memory at once
CANVASES = 8  # default number of images in a demo
MOST_IMAGES = 10_000  # the most images in a demo or an evaluation
