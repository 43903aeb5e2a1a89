"""Find the files and detectors that the options name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_impl.cli.status import UsageError

if TYPE_CHECKING:
    from keras_impl.models.ssd import SSD

__all__ = [
    "absent",
    "check_model",
    "check_weights",
    "digit_detector",
    "find_images",
    "skipped",
]


def _weights_file(given: str | None) -> Path:
    from keras_impl.weights.published import DIGITS

    return DIGITS if given is None else Path(given)


def absent(path: str) -> str:
    """Return why a path names no file, for the end of a message."""
    return "which is a folder" if Path(path).is_dir() else "not found"


def check_weights(given: str | None) -> None:
    """Raise an error if the weights file is missing, before TensorFlow takes seconds to start."""
    if given is not None and not Path(given).is_file():
        raise UsageError(f"--weights: expected a file. Received: {given}, {absent(given)}")


def check_model(arguments: argparse.Namespace) -> str:
    """Return the chosen detector's name or weights file; raise an error if it is missing."""
    check_weights(arguments.weights)
    if arguments.weights is not None:
        return str(arguments.weights)
    from keras_impl.weights.published import OIDV4, weights_file

    name = arguments.model or "digits"
    weights_file(name)
    if getattr(arguments, "backend", "") == "litert" and not OIDV4.file.is_file():
        raise UsageError(
            f"--backend: expected the file {OIDV4.file} for litert; `ssd weights oidv4` fetches it"
        )
    return str(name)


def digit_detector(given: str | None) -> tuple[str, SSD]:
    """Load a digit detector; return the name of its weights for reports, and the model."""
    from keras_impl.data.canvases import CANVAS
    from keras_impl.weights.npz import load_model

    path = _weights_file(given)
    model = load_model(path)
    expected, found = (10, (CANVAS, CANVAS)), (model.num_classes, tuple(model.layout.image_size))
    if found != expected:
        raise UsageError(
            f"--weights: expected a digit detector: {expected[0]} classes, images of "
            f"{CANVAS} x {CANVAS}. Received: {path}: {found[0]} classes, images of "
            f"{found[1][0]} x {found[1][1]}"
        )
    return ("shipped" if given is None else str(path)), model


def find_images(given: Sequence[str]) -> list[Path]:
    """Return all image files, each once, the files of a folder sorted by name.

    Images that this program drew are left out.
    """
    from keras_impl.images.reading import images_in

    found: dict[str, Path] = {}
    for name in given:
        path = Path(name)
        if name and path.is_dir():
            inside = images_in(path)
            if not inside:
                raise UsageError(
                    f"IMAGE: expected a folder with images. Received: {name}, which has none"
                )
        elif name and path.exists():
            inside = [path]
        else:
            raise UsageError(f"IMAGE: expected an image or a folder. Received: {name}, not found")
        for one in inside:
            found.setdefault(os.path.realpath(one), one)
    return list(found.values())


def skipped(error: Exception) -> str:
    """Return the reason why an image is skipped, in one line, without the argument's name."""
    return " ".join(str(error).split()).removeprefix("image: ")
