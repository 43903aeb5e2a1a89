"""Networks in other people's runtimes: LiteRT, ONNX Runtime and TensorFlow's SavedModel.

Each is given prepared pictures and says what the network says of them, by name: "deltas" and
"logits" of the raw heads, or what a model exported with its decoding gives.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FORMATS",
    "GENERATOR",
    "LiteRT",
    "check_target",
    "facts_file",
    "load_exported",
    "sums_of",
]

Array = NDArray[Any]
Outputs = dict[str, Array]

FORMATS = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx"}  # how a name ends

GENERATOR = "mobilenetv2-ssd export"  # by which the facts beside an export are known as ours
NEEDS = {
    "saved_model": ("tensorflow",),
    "litert": ("tensorflow", "ai_edge_litert"),
    "onnx": ("tensorflow", "onnx", "tf2onnx", "onnxruntime"),
}
INSTALL = 'pip install "mobilenetv2-ssd[keras,export]"'

# What TensorFlow's Object Detection API calls the outputs of the heads.
THEIRS = {"raw_outputs/box_encodings": "deltas", "raw_outputs/class_predictions": "logits"}


class LiteRT:
    """A LiteRT file and its interpreter, one picture at a time.

    Args:
        model: The file, or its bytes.
        threads: How many; one a core if None.
        keep: Whether every intermediate map can be asked for afterwards, with `tensors`; its
            kernels are then LiteRT's own, without XNNPACK, and slower.

    Raises:
        ValueError: It is no LiteRT file, or needs operations that LiteRT has not.
    """

    def __init__(
        self, model: bytes | str | os.PathLike[str], threads: int | None = None, keep: bool = False
    ) -> None:
        """Load and plan."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        source = (
            {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        )
        options: dict[str, Any] = {"num_threads": threads or os.cpu_count() or 1, **source}
        if keep:
            options["experimental_preserve_all_tensors"] = True
            options["experimental_op_resolver_type"] = (
                OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            )
        try:
            self.interpreter = Interpreter(**options)
            self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"model: expected a LiteRT file. Received: {error}") from None
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.outputs: Mapping[str, int] = {
            THEIRS.get(one["name"], one["name"]): one["index"]
            for one in self.interpreter.get_output_details()
        }
        if self.interpreter.get_signature_list():
            named = self.interpreter.get_signature_runner().get_output_details()
            self.outputs = {name: one["index"] for name, one in named.items()}

    def __call__(self, images: Array) -> Outputs:
        """(B, H, W, 3) prepared pictures → the outputs by name, stacked again."""
        rows = [self._one(image) for image in images]
        return {name: np.concatenate([row[name] for row in rows]) for name in self.outputs}

    def _one(self, image: Array) -> Outputs:
        self.interpreter.set_tensor(self.input, image[None])
        self.interpreter.invoke()
        found = {name: self.interpreter.get_tensor(at) for name, at in self.outputs.items()}
        if found.get("deltas", np.empty((1, 1, 4))).ndim == 4:  # (1, A, 1, 4) in TensorFlow's own
            found["deltas"] = found["deltas"][:, :, 0]
        return found

    def tensors(self) -> Outputs:
        """Every map of the last picture, by the file's names; with `keep` only."""
        return {
            one["name"]: self.interpreter.get_tensor(one["index"])
            for one in self.interpreter.get_tensor_details()
            if len(one["shape"]) == 4
            and one["dtype"] == np.float32
            and not one["name"].endswith("_dequantize")  # a kernel
        }


def facts_file(path: str | os.PathLike[str]) -> Path:
    """The JSON file beside an export: configuration, names of classes, input, outputs, anchors."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def check_target(path: str | os.PathLike[str], form: str) -> Path:
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


def load_exported(path: str | os.PathLike[str], form: str) -> Callable[[Array], Outputs]:
    """Load what `export` wrote, with the runtime that it was written for.

    Args:
        path: The file, or the folder of a SavedModel.
        form: One of `FORMATS`.

    Returns:
        A function from prepared pictures (B, H, W, 3) to the outputs by name.

    Raises:
        ValueError: An unknown form, or a file that its runtime does not read.
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

    onnxruntime.set_default_logger_severity(3)  # errors
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class but this
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
