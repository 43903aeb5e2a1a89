"""A detector for other runtimes: SavedModel, LiteRT, ONNX; read back and compared before it counts.

Raw, the network ends at its heads, and whoever runs it decodes: a JSON file beside the export
holds all that decoding takes, the anchors too. With its detections, all of decoding and suppression
is part of the graph, made of operations that each format has; nothing is custom, nothing "Flex".
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from keras_impl._common.choices import SCORE
from keras_impl._common.files import write_file
from keras_impl.detector.comparison import compare_detections
from keras_impl.detector.detector import detector_of
from keras_impl.detector.export_files import GENERATOR, Format, check_target, facts_file, sums_of
from keras_impl.detector.runtimes import load_exported
from keras_impl.images.detections import to_pixels
from keras_impl.ops import detection
from reference_numpy.checks import check_number
from reference_numpy.detection import Detections

if TYPE_CHECKING:
    from keras_impl.models.ssd import SSD
    from reference_numpy.conventions import Convention

__all__ = ["Exported", "export", "facts_file"]

KERAS_NAMES = {"saved_model": "tf_saved_model", "litert": "litert", "onnx": "onnx"}

# Another runtime sums in another order, some sixty layers deep: an error is told from rounding by
# its size beside the largest number of an output. Float16 kernels would be off ten times as much.
RELATIVE = 1e-4
UNIT = (300, 300)  # pixels of the image in which detections are compared

Outputs = Mapping[str, NDArray[Any]]


class Exported(NamedTuple):
    """An export.

    Attributes:
        path: The file, or the folder of a SavedModel.
        difference: Largest absolute difference to Keras: of any output of the heads; of detections,
            of a score, or of a corner relative to the image.
        compared: How many detections were compared; None for raw heads.
    """

    path: Path
    difference: float
    compared: int | None


class _Decode(keras.layers.Layer):
    """Head outputs → detections, as a layer."""

    def __init__(self, anchors: NDArray[Any], convention: Convention, **options: Any) -> None:
        super().__init__(dtype="float32", **options)  # whatever the policy, as in `SSD`
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
    form: Format,
    *,
    detections: bool = False,
    score: float = SCORE,
    images: NDArray[np.float32] | None = None,
) -> Exported:
    """Write a detector for another runtime, and read it back.

    Images go in prepared, (B, H, W, 3) in [-1, 1].

    Args:
        model: The detector.
        path: File to write, with the suffix of its form; a folder for a SavedModel. It must be
            new, or an earlier export.
        form: "saved_model", "litert" or "onnx".
        detections: Whether decoding and suppression are part of it: "boxes" (B, K, 4), "scores",
            "labels", "anchors" (B, K), padded with label -1, in place of "deltas" and "logits".
        score: With `detections`, what a detection scores more than.
        images: Prepared images on which the export is compared with Keras, beside noise and a
            grey ramp, in which there is not much to detect.

    Returns:
        The path, and how the export compares with Keras.

    Raises:
        ValueError: An unknown form, a path that is somebody's, a score outside [0, 1], or an
            export that does not say what Keras says; then nothing is left.
        ModuleNotFoundError: A package that the form needs is not installed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from keras_impl.weights import load_model, weights_file
        >>> model = load_model(weights_file("digits"))
        >>> with TemporaryDirectory() as folder:
        ...     exported = export(model, f"{folder}/digits.tflite", "litert")
        ...     exported.path.name, exported.path.stat().st_size > 1e6
        ('digits.tflite', True)
    """
    path = check_target(path, form)
    check_number(score, "score", 0, 1)

    convention = model.convention.replace(score_threshold=score) if detections else model.convention
    network: keras.Model = model
    if detections:
        given = keras.Input(model.input_shape[1:], name="images")
        network = keras.Model(given, _Decode(model.anchors, convention)(model(given)))
    # Called before it is exported, which Keras asks for.
    size = model.layout.image_size
    tried = _images(size) if images is None else np.concatenate([_images(size), images])
    wanted = _answers(partial(network, training=False), tried)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        made = Path(folder) / path.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the converters, about their own sources
                network.export(made, format=KERAS_NAMES[form], verbose=False)
            found = _answers(load_exported(made, form), tried)
        except Exception as error:  # converters and runtimes raise whatever they like
            raise ValueError(
                f"form: {form} could not be made of this network: {error}; discarded"
            ) from error
        compare = partial(_compare_detections, score=score) if detections else _compare_heads
        difference, compared = compare(wanted, found, form)
        check_target(path, form)  # minutes may have passed
        _put(made, path, Path(folder) / "earlier")
    facts = _facts(model, form, convention, detections)
    facts["sha256"] = sums_of(path)
    write_file(facts_file(path), _as_json(facts))
    return Exported(path, difference, compared)


def _put(made: Path, path: Path, aside: Path) -> None:
    """Move an export to its place; if that fails, what was there stays."""
    if not path.is_dir():
        os.replace(made, path)
        return
    os.replace(path, aside)  # no system replaces a folder that is not empty
    try:
        os.replace(made, path)
    except OSError:
        os.replace(aside, path)
        raise


def _as_json(facts: dict[str, Any]) -> str:
    """Lines for people, but for the anchors, which are thousands of numbers."""
    anchors = facts.pop("anchors", None)
    text = json.dumps(facts, indent=1)
    if anchors is not None:
        text = f'{text.removesuffix("}").rstrip()},\n "anchors": {json.dumps(anchors)}\n}}'
    return text + "\n"


def _facts(model: SSD, form: Format, convention: Convention, detections: bool) -> dict[str, Any]:
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
        "classes": detector_of(model).class_names,
        # With the layout, of which the anchors are made.
        "convention": dataclasses.asdict(convention),
    }
    if not detections:
        facts["anchors"] = [[float(number) for number in row] for row in model.anchors]
    return facts


def _images(size: tuple[int, int]) -> NDArray[np.float32]:
    """Noise and a grey ramp, prepared."""
    noise = np.random.default_rng(0).uniform(-1, 1, (1, *size, 3))
    ramp = np.broadcast_to(np.linspace(-1, 1, size[1])[None, None, :, None], noise.shape)
    return np.concatenate([noise, ramp]).astype(np.float32)


def _answers(run: Callable[[Any], Outputs], images: NDArray[np.float32]) -> Outputs:
    """What a network says of images, given one after the other."""
    answers = [run(images[row : row + 1]) for row in range(len(images))]
    return {name: np.concatenate([np.asarray(one[name]) for one in answers]) for name in answers[0]}


def _check_shapes(wanted: Outputs, found: Outputs, form: Format) -> None:
    shapes = [{name: part.shape for name, part in one.items()} for one in (wanted, found)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"form: expected a {form} export with {shapes[0]}. Received: {shapes[1]}; discarded"
        )
    for name, part in found.items():
        if not np.isfinite(part).all():
            raise ValueError(
                f"form: expected {name} of the {form} export to be numbers. Received: others; "
                "discarded"
            )


def _compare_heads(wanted: Outputs, found: Outputs, form: Format) -> tuple[float, None]:
    """How far an export is from Keras; an error if that is too far."""
    _check_shapes(wanted, found, form)
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
    return worst, None


def _compare_detections(
    wanted: Outputs, found: Outputs, form: Format, score: float
) -> tuple[float, int]:
    """The same for lists, in which near-ties may change places (see `compare_detections`)."""
    _check_shapes(wanted, found, form)
    worst, compared = 0.0, 0
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
        if sorted(one.anchor for one in first) != sorted(one.anchor for one in second):
            raise ValueError(
                f"form: expected the {form} export to name Keras' anchors. Received: others; "
                "discarded"
            )
        worst, compared = max(worst, off, pixels / max(UNIT)), compared + count
    return worst, compared
