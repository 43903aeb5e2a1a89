"""The files of an export: their names, whose they are, and what a format needs."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Literal

__all__ = [
    "FORMATS",
    "GENERATOR",
    "Format",
    "check_target",
    "facts_file",
    "sums_of",
]

Format = Literal["saved_model", "litert", "onnx"]
# How a name ends.
FORMATS: dict[Format, str] = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx"}
GENERATOR = "mobilenetv2-ssd export"  # by which the facts beside an export are known as ours
NEEDS = {
    "saved_model": ("tensorflow",),
    "litert": ("tensorflow", "ai_edge_litert"),
    "onnx": ("tensorflow", "onnx", "tf2onnx", "onnxruntime"),
}
INSTALL = 'pip install "mobilenetv2-ssd[keras,export]"'


def facts_file(path: str | os.PathLike[str]) -> Path:
    """The JSON file beside an export: configuration, names of classes, input, outputs, anchors."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def check_target(path: str | os.PathLike[str], form: Format) -> Path:
    """Find out that an export cannot be written before it is worked for.

    Args:
        path: File to write, with the suffix of its form; a folder for a SavedModel.
        form: One of `FORMATS`.

    Returns:
        The path.

    Raises:
        ValueError: An unknown form, another suffix, a folder that does not exist, or a file of
            somebody's: only an earlier export is replaced, if it is as it was written.
        ModuleNotFoundError: A package that the form needs is not installed.
    """
    path = Path(path)
    if form not in FORMATS:
        raise ValueError(f"form: expected one of {list(FORMATS)}. Received: {form!r}")
    if path.suffix != FORMATS[form] and (FORMATS[form] or path.suffix in FORMATS.values()):
        expected = f"a name that ends in {FORMATS[form]}" if FORMATS[form] else "a folder's name"
        raise ValueError(f"path: expected {expected} for {form}. Received: {path}")
    missing = [name for name in NEEDS[form] if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"form: {form} needs {', '.join(missing)}, not installed here; run: {INSTALL}"
        )
    if not path.parent.is_dir():
        raise ValueError(f"path: expected a name in a folder that exists. Received: {path}")
    there = [one for one in (path, facts_file(path)) if os.path.lexists(one)]
    if there and not _is_ours(path):
        raise ValueError(
            f"path: expected a new name, or an earlier export. Received: {there[0]}, which exists"
        )
    return path


def sums_of(path: Path) -> dict[str, str]:
    """SHA-256 of every file of an export, by its name relative to the folder that it is in."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if not one.is_dir()]
    return {
        one.relative_to(path.parent).as_posix(): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in sorted(files)
    }


def _is_ours(path: Path) -> bool:
    """Whether an earlier export lies there, as it was written, and nothing else."""
    if path.is_symlink():
        return False
    try:
        facts = json.loads(facts_file(path).read_text(encoding="utf-8"))
        ours = facts["generator"] == GENERATOR
        return bool(ours and (not path.exists() or facts["sha256"] == sums_of(path)))
    except (OSError, ValueError, KeyError, TypeError):
        return False
