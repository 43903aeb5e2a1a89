"""A detector for other runtimes: SavedModel, LiteRT, ONNX; read back and compared before it counts.

Raw, the network ends at its heads, and whoever runs it decodes: a JSON file beside the export
holds all that decoding takes, the anchors too. With its detections, all of decoding and suppression
is part of the graph, made of operations that each format has; nothing is custom, nothing "Flex".
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from keras_impl import detection
from keras_impl.files import write_file
from keras_impl.pixel_parity import compare_detections
from keras_impl.prediction import detector_of, to_pixels
from keras_impl.runtimes import FORMATS, load_exported
from reference_numpy.detection import Detections

if TYPE_CHECKING:
    from keras_impl.ssd import SSD
    from reference_numpy.conventions import Convention

__all__ = ["Exported", "export", "facts_file"]

GENERATOR = "mobilenetv2-ssd export"
KERAS_NAMES = {"saved_model": "tf_saved_model", "litert": "litert", "onnx": "onnx"}
NEEDS = {
    "saved_model": ("tensorflow",),
    "litert": ("tensorflow", "ai_edge_litert"),
    "onnx": ("tensorflow", "onnx", "tf2onnx", "onnxruntime"),
}
INSTALL = 'pip install "mobilenetv2-ssd[keras,export]"'

# Another runtime sums in another order, some sixty layers deep: an error is told from rounding by
# its size beside the largest number of an output. Float16 kernels would be off ten times as much.
RELATIVE = 1e-4
UNIT = (300, 300)  # pixels of the picture in which detections are compared

Outputs = Mapping[str, NDArray[Any]]


class Exported(NamedTuple):
    """An export.

    Attributes:
        path: The file, or the folder of a SavedModel.
        difference: Largest absolute difference of any output to Keras' own.
    """

    path: Path
    difference: float


@keras.saving.register_keras_serializable(package="mobilenetv2_ssd")
class _Decode(keras.layers.Layer):
    """Head outputs → detections, as a layer."""

    def __init__(self, anchors: NDArray[Any], convention: Convention, **options: Any) -> None:
        super().__init__(**options)
        self.anchors, self.convention = anchors, convention

    def call(self, outputs: dict[str, Any]) -> dict[str, Any]:
        found = detection.detect(
            outputs["deltas"], outputs["logits"], self.anchors, self.convention
        )
        return found._asdict()

    def compute_output_spec(self, outputs: dict[str, Any]) -> dict[str, Any]:
        slots = (outputs["deltas"].shape[0], self.convention.detection.max_detections)
        return {
            "boxes": keras.KerasTensor((*slots, 4), "float32"),
            "scores": keras.KerasTensor(slots, "float32"),
            "labels": keras.KerasTensor(slots, "int32"),
            "anchors": keras.KerasTensor(slots, "int32"),
        }


def export(
    model: SSD,
    path: str | os.PathLike[str],
    form: str,
    *,
    detections: bool = False,
    score: float = 0.5,
) -> Exported:
    """Write a detector for another runtime, and read it back.

    Pictures go in prepared, (B, H, W, 3) in [-1, 1]; with `detections` one at a time, but for a
    SavedModel.

    Args:
        model: The detector.
        path: File to write, with the suffix of its form; a folder for a SavedModel. It must be
            new, or an earlier export.
        form: "saved_model", "litert" or "onnx".
        detections: Whether decoding and suppression are part of it: "boxes" (B, K, 4), "scores",
            "labels", "anchors" (B, K), padded with label -1, in place of "deltas" and "logits".
        score: With `detections`, what a detection scores more than.

    Returns:
        The path, and the largest difference to Keras' answer on noise and a plain picture.

    Raises:
        ValueError: An unknown form, a path that is somebody's, a score outside [0, 1], or an
            export that does not say what Keras says; then nothing is left.
        ModuleNotFoundError: A package that the form needs is not installed.
    """
    path = Path(path)
    if form not in FORMATS:
        raise ValueError(f"form: expected one of {list(FORMATS)}. Received: {form!r}")
    if path.suffix != FORMATS[form] and (FORMATS[form] or path.suffix in FORMATS.values()):
        expected = f"a name that ends in {FORMATS[form]}" if FORMATS[form] else "a folder's name"
        raise ValueError(f"path: expected {expected} for {form}. Received: {path}")
    if not 0 <= score <= 1:
        raise ValueError(f"score: expected a number in [0, 1]. Received: {score}")
    missing = [name for name in NEEDS[form] if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"form: {form} needs {', '.join(missing)}, not installed here; run: {INSTALL}"
        )
    if not path.parent.is_dir():
        raise ValueError(f"path: expected a name in a folder that exists. Received: {path}")
    if path.exists() and not _is_ours(path):
        raise ValueError(
            f"path: expected a new name, or an earlier export. Received: {path}, which exists"
        )

    convention = model.convention.but(score_threshold=score) if detections else model.convention
    network: keras.Model = model
    if detections:
        batch = None if form == "saved_model" else 1
        images = keras.Input(model.input_shape[1:], batch_size=batch, name="images")
        network = keras.Model(images, _Decode(model.anchors, convention)(model(images)))
    # Called before it is exported, which Keras asks for.
    wanted = _answers(partial(network, training=False), model.layout.image_size)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        made = Path(folder) / path.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the converters, about their own sources
            network.export(made, format=KERAS_NAMES[form], verbose=False)
        found = _answers(load_exported(made, form), model.layout.image_size)
        difference = _difference(wanted, found, form, score if detections else None)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(made, path)
    facts = _facts(model, form, convention, detections)
    write_file(facts_file(path), json.dumps(facts, indent=1) + "\n")
    return Exported(path, difference)


def facts_file(path: str | os.PathLike[str]) -> Path:
    """The JSON file beside an export: configuration, names of classes, input, outputs, anchors."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def _is_ours(path: Path) -> bool:
    try:
        facts = json.loads(facts_file(path).read_text(encoding="utf-8"))
        return bool(facts["generator"] == GENERATOR)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _facts(model: SSD, form: str, convention: Convention, detections: bool) -> dict[str, Any]:
    """What one has to know to run the export."""
    height, width = model.layout.image_size
    facts = {
        "generator": GENERATOR,
        "form": form,
        "input": {
            "shape": ["batch", height, width, 3],
            "colours": "RGB, x / 127.5 - 1",
            "resize": "bilinear, stretched, as Pillow does",
        },
        "outputs": ["boxes", "scores", "labels", "anchors"] if detections else ["deltas", "logits"],
        "classes": detector_of(model).names,
        "convention": {**dataclasses.asdict(convention), "layout": None},
        "layout": dataclasses.asdict(model.layout),
    }
    if not detections:
        facts["anchors"] = [[float(number) for number in row] for row in model.anchors]
    return facts


def _answers(run: Callable[[Any], Mapping[str, Any]], size: tuple[int, int]) -> dict[str, Any]:
    """What a network says of noise and of a plain picture, given one after the other."""
    noise = np.random.default_rng(0).uniform(-1, 1, (1, *size, 3))
    plain = np.broadcast_to(np.linspace(-1, 1, size[1])[None, None, :, None], noise.shape)
    answers = [run(images.astype(np.float32)) for images in (noise, plain)]
    return {name: np.concatenate([np.asarray(one[name]) for one in answers]) for name in answers[0]}


def _difference(wanted: Outputs, found: Outputs, form: str, score: float | None) -> float:
    """How far an export is from Keras; an error if that is too far."""
    shapes = [{name: part.shape for name, part in one.items()} for one in (wanted, found)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"form: expected a {form} export with {shapes[0]}. Received: {shapes[1]}; discarded"
        )
    if score is not None:
        return _difference_of_detections(wanted, found, form, score)
    worst = 0.0
    for name, part in wanted.items():
        off = float(np.abs(found[name].astype(np.float64) - part).max(initial=0))
        allowed = RELATIVE * max(1.0, float(np.abs(part).max(initial=0)))
        if not off <= allowed:
            raise ValueError(
                f"form: expected {name} of the {form} export within {allowed:.2g} of Keras'. "
                f"Received: {off:.2g}; discarded"
            )
        worst = max(worst, off)
    return worst


def _difference_of_detections(wanted: Outputs, found: Outputs, form: str, score: float) -> float:
    """The same for lists, in which near-ties may change places (see `pixel_parity`)."""
    worst = 0.0
    for row in range(len(wanted["labels"])):
        lists = []
        for one in (wanted, found):
            parts = [one[name][row] for name in detection.Detections._fields]
            used = parts[2] > 0
            lists.append(to_pixels(Detections(*(part[used] for part in parts)), UNIT))
        first, second = lists
        count, alone, disorder, pixels, off = compare_detections(first, second, score)
        if alone or disorder:
            raise ValueError(
                f"form: expected the {form} export to detect what Keras does. Received: {count} "
                f"alike, {alone} that only one of them has, {disorder} in another order; discarded"
            )
        worst = max(worst, off, pixels / max(UNIT))
    return worst
