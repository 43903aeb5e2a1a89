"""Export a detector as SavedModel, LiteRT or ONNX, read it back and compare it with Keras.

By default the exported network ends at its heads, and its user decodes: a JSON file next to the
export holds all that decoding needs, including the anchors. With `detections` the graph also
decodes and suppresses, with standard operations of each format, without custom or "Flex" ones.
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

# Allowed difference relative to an output's largest value. Another runtime sums in another order,
# through some sixty layers; float16 kernels would differ ten times as much.
RELATIVE = 1e-4
UNIT = (300, 300)  # pixels of the image in which detections are compared

Outputs = Mapping[str, NDArray[Any]]


class Exported(NamedTuple):
    """A finished export.

    Attributes:
        path: The file, or the folder of a SavedModel.
        difference: Largest absolute difference to Keras: of any head output; for detections, of a
            score or of a corner relative to the image.
        compared: Number of detections compared; None for head outputs.
    """

    path: Path
    difference: float
    compared: int | None


class _Decode(keras.layers.Layer):
    """Layer that turns head outputs into detections."""

    def __init__(self, anchors: NDArray[Any], convention: Convention, **options: Any) -> None:
        super().__init__(dtype="float32", **options)  # under any dtype policy, as in `SSD`
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
    """Export a detector for another runtime, read it back and compare it with Keras.

    The export takes prepared images, (B, H, W, 3) in [-1, 1].

    Args:
        model: The detector.
        path: File to write, with the suffix of its format; a folder for a SavedModel. It must be
            new, or an unchanged earlier export.
        form: "saved_model", "litert" or "onnx".
        detections: Whether the graph decodes and suppresses too. It then returns "boxes"
            (B, K, 4), "scores", "labels" and "anchors" (B, K), padded with label -1, instead of
            "deltas" and "logits".
        score: With `detections`: detections score more than this.
        images: Prepared images to compare on, besides noise and a grey ramp, which contain little
            to detect.

    Returns:
        The path, and the comparison with Keras.

    Raises:
        ValueError: An unknown format, a path that is taken, a score outside [0, 1], or an export
            that differs from Keras, which is discarded.
        ModuleNotFoundError: A package that the format needs is not installed.

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
    # Keras requires that a model is called before it is exported.
    size = model.layout.image_size
    tried = _images(size) if images is None else np.concatenate([_images(size), images])
    wanted = _answers(partial(network, training=False), tried)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        made = Path(folder) / path.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the converters warn about their own code
                network.export(made, format=KERAS_NAMES[form], verbose=False)
            found = _answers(load_exported(made, form), tried)
        except Exception as error:  # Converters and runtimes raise exceptions of any kind.
            raise ValueError(
                f"form: this network could not be exported to {form}: {error}; discarded"
            ) from error
        compare = partial(_compare_detections, score=score) if detections else _compare_heads
        difference, compared = compare(wanted, found, form)
        check_target(path, form)  # Again, because minutes may have passed.
        _put(made, path, Path(folder) / "earlier")
    facts = _facts(model, form, convention, detections)
    facts["sha256"] = sums_of(path)
    write_file(facts_file(path), _as_json(facts))
    return Exported(path, difference, compared)


def _put(made: Path, path: Path, aside: Path) -> None:
    """Move an export to its place; if that fails, the earlier export stays."""
    if not path.is_dir():
        os.replace(made, path)
        return
    os.replace(path, aside)  # A folder that is not empty cannot be replaced in one step.
    try:
        os.replace(made, path)
    except OSError:
        os.replace(aside, path)
        raise


def _as_json(facts: dict[str, Any]) -> str:
    """Format the facts as indented JSON, with the thousands of anchor numbers on one line."""
    anchors = facts.pop("anchors", None)
    text = json.dumps(facts, indent=1)
    if anchors is not None:
        text = f'{text.removesuffix("}").rstrip()},\n "anchors": {json.dumps(anchors)}\n}}'
    return text + "\n"


def _facts(model: SSD, form: Format, convention: Convention, detections: bool) -> dict[str, Any]:
    """Return all that a user of the export needs to run it."""
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
        # Includes the layout, from which the anchors can be made.
        "convention": dataclasses.asdict(convention),
    }
    if not detections:
        facts["anchors"] = [[float(number) for number in row] for row in model.anchors]
    return facts


def _images(size: tuple[int, int]) -> NDArray[np.float32]:
    """Return noise and a grey ramp as prepared images."""
    noise = np.random.default_rng(0).uniform(-1, 1, (1, *size, 3))
    ramp = np.broadcast_to(np.linspace(-1, 1, size[1])[None, None, :, None], noise.shape)
    return np.concatenate([noise, ramp]).astype(np.float32)


def _answers(run: Callable[[Any], Outputs], images: NDArray[np.float32]) -> Outputs:
    """Run a network on images one by one and stack its outputs."""
    answers = [run(images[row : row + 1]) for row in range(len(images))]
    return {name: np.concatenate([np.asarray(one[name]) for one in answers]) for name in answers[0]}


def _check_shapes(wanted: Outputs, found: Outputs, form: Format) -> None:
    shapes = [{name: part.shape for name, part in one.items()} for one in (wanted, found)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"form: expected a {form} export with output shapes {shapes[0]}. "
            f"Received: {shapes[1]}; discarded"
        )
    for name, part in found.items():
        if not np.isfinite(part).all():
            raise ValueError(
                f"form: expected {name} of the {form} export to be finite. Received: NaN or "
                "infinity; discarded"
            )


def _compare_heads(wanted: Outputs, found: Outputs, form: Format) -> tuple[float, None]:
    """Return the largest difference to Keras; raise an error if it is too large."""
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
    """Return the largest difference of detections and their number; see `compare_detections`."""
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
                f"form: expected the {form} export to detect the same as Keras. Received: {count} "
                f"alike, {alone} missing in one, {disorder} in another order; discarded"
            )
        if sorted(one.anchor for one in first) != sorted(one.anchor for one in second):
            raise ValueError(
                f"form: expected the {form} export to return the same anchors as Keras. "
                "Received: others; discarded"
            )
        worst, compared = max(worst, off, pixels / max(UNIT)), compared + count
    return worst, compared
