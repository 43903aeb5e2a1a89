"""Names that options take, free of imports: the command line shows them before anything starts."""

from __future__ import annotations

__all__ = ["BACKENDS", "DETECTORS", "DIGIT_MODES"]

BACKENDS = ("keras", "numpy", "litert")  # who runs a detector
DETECTORS = ("digits", "oidv4")  # detectors with a name
DIGIT_MODES = ("1", "1-10", "both")  # digits on a canvas; both: a coin decides for each
