"""Run exported networks in LiteRT, ONNX Runtime and TensorFlow's SavedModel.

Each takes prepared images and returns outputs by name: "deltas" and "logits", or detections if the
network was exported with `detections`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.detector.export_files import FORMATS, Format
from keras_impl.detector.litert import LiteRT, Outputs

__all__ = [
    "load_exported",
]


def load_exported(path: str | os.PathLike[str], form: Format) -> Callable[[Array], Outputs]:
    """Load an export with the runtime of its format.

    Args:
        path: The file, or the folder of a SavedModel.
        form: One of `FORMATS`.

    Returns:
        A function from prepared images (B, H, W, 3) to the outputs by name.

    Raises:
        ValueError: An unknown format, or a file that the runtime cannot read.
        FileNotFoundError: The path does not exist.
    """
    if form not in FORMATS:
        raise ValueError(f"form: expected one of {list(FORMATS)}. Received: {form!r}")
    if not Path(path).exists():
        raise FileNotFoundError(f"path: expected a file or folder. Received: {path}")
    if form == "litert":
        return LiteRT(path)
    if form == "saved_model":
        from keras_impl.backends._tensorflow import load_saved_model

        return load_saved_model(path)
    return _onnx(path)


def _onnx(path: str | os.PathLike[str]) -> Callable[[Array], Outputs]:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors only
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # The exceptions of ONNX Runtime have no narrower common class.
        raise ValueError(f"path: expected an ONNX file. Received: {path} ({error})") from None
    given = session.get_inputs()[0]
    names = [one.name for one in session.get_outputs()]

    def run(images: Array) -> Outputs:
        step = given.shape[0] if isinstance(given.shape[0], int) else len(images)
        parts = [
            session.run(names, {given.name: images[at : at + step]})
            for at in range(0, len(images), step)
        ]
        rows = map(np.concatenate, zip(*parts, strict=True))
        return dict(zip(names, rows, strict=True))

    return run
