"""The files of an export: names, required packages, and protection of other files."""

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
# The suffix of each format.
FORMATS: dict[Format, str] = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx"}
GENERATOR = "mobilenetv2-ssd export"  # marks the JSON file of an export as ours
NEEDS = {
    "saved_model": ("tensorflow",),
    "litert": ("tensorflow", "ai_edge_litert"),
    "onnx": ("tensorflow", "onnx", "tf2onnx", "onnxruntime"),
}
INSTALL = 'pip install "mobilenetv2-ssd[keras,export]"'


def facts_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of an export's JSON file: input, outputs, classes, convention, anchors."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def check_target(path: str | os.PathLike[str], form: Format) -> Path:
    """Raise an error if an export cannot be written, before the work begins.

    Args:
        path: File to write, with the suffix of its format; a folder for a SavedModel.
        form: One of `FORMATS`.

    Returns:
        The path.

    Raises:
        ValueError: An unknown format, a wrong suffix, a folder that does not exist, or an existing
            file. Only an unchanged earlier export is replaced.
        ModuleNotFoundError: A package that the format needs is not installed.
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
            f"form: {form} needs packages that are missing: {', '.join(missing)}; run: {INSTALL}"
        )
    if not path.parent.is_dir():
        raise ValueError(f"path: expected a path in an existing folder. Received: {path}")
    there = [one for one in (path, facts_file(path)) if os.path.lexists(one)]
    if there and not _is_ours(path):
        raise ValueError(
            f"path: expected a new name, or an unchanged earlier export. Received: {there[0]}, "
            "which exists"
        )
    return path


def sums_of(path: Path) -> dict[str, str]:
    """Compute the SHA-256 of every file of an export, by its path relative to the folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if not one.is_dir()]
    return {
        one.relative_to(path.parent).as_posix(): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in sorted(files)
    }


def _is_ours(path: Path) -> bool:
    """Return whether the path holds an unchanged earlier export and nothing else."""
    if path.is_symlink():
        return False
    try:
        facts = json.loads(facts_file(path).read_text(encoding="utf-8"))
        ours = facts["generator"] == GENERATOR
        return bool(ours and (not path.exists() or facts["sha256"] == sums_of(path)))
    except (OSError, ValueError, KeyError, TypeError):
        return False
