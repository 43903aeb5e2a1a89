"""Sentences for errors of the operating system, which name a path but no option."""

from __future__ import annotations

import argparse
import os

from keras_impl._common.files import keras_home

__all__ = ["sentence"]

WRITTEN = ("out", "json", "html", "record")  # options that name a file or folder to write
READ = ("images", "photos", "weights", "mnist", "file", "check", "trace", "against")


def sentence(error: OSError, arguments: argparse.Namespace | None) -> str:
    """Return the error as a sentence that names the option, as in "--out: cannot write x: ...".

    Args:
        error: The error.
        arguments: The arguments of the command; None if there are none yet.
    """
    if error.strerror is None:
        return str(error)  # one of ours, which is a sentence
    reason = f"{error.strerror[:1].lower()}{error.strerror[1:]}"
    if not isinstance(error.filename, str | bytes):
        return reason
    path = os.fsdecode(error.filename)
    named = [
        (_closeness(path, value, verb == "write"), verb, name, value)
        for verb, names in (("write", WRITTEN), ("read", READ))
        for name in names
        for value in _values(getattr(arguments, name, None))
    ]
    closeness, verb, name, value = max(named, key=lambda one: one[0], default=(0, "", "", ""))
    if closeness:
        option = "IMAGE" if name == "images" else f"--{name}"
        # The name of an unfinished file says nothing to a user.
        shown = value if os.path.basename(path).startswith(".") else path
        return f"{option}: cannot {verb} {shown}: {reason}"
    if _closeness(path, str(keras_home()), written=True):
        return f"cannot use {path}: {reason}; KERAS_HOME names the folder of weights and data sets"
    return f"cannot use {path}: {reason}"


def _values(given: object) -> list[str]:
    if isinstance(given, str):
        return [given]
    return [str(one) for one in given] if isinstance(given, list) else []


def _closeness(path: str, value: str, written: bool) -> int:
    """Return how surely an error at a path concerns the value of an option; 0 if it does not."""
    path, value = os.path.abspath(path), os.path.abspath(value)
    if path == value:
        return 3
    if path.startswith(os.path.join(value, "")):
        return 2
    folder, name = os.path.split(value)
    # A folder in which the value is to be made, or an unfinished file beside it.
    unfinished = path.startswith(os.path.join(folder, f".{name[:40]}."))
    return int(written and (unfinished or value.startswith(os.path.join(path, ""))))
