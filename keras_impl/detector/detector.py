"""Detect objects in images: RGB images in, boxes in pixels out.

`open_image` reads any file as a Pillow image of mode RGB. `prepare` stretches it to the size of the
network. `Detector` returns boxes in pixels of the image, which `draw` and `entry` show. The backend
of a detector is Keras, the NumPy reference for the whole network, or LiteRT with the reference's
decoding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keras_impl._common.choices import BACKENDS, DETECTORS, SCORE, Backend
from keras_impl.images.detections import Detection, label_names, to_pixels
from keras_impl.images.drawing import draw
from keras_impl.images.pixels import prepare
from keras_impl.weights.npz import load_model, read_weights
from keras_impl.weights.published import OIDV4, read_published, weights_file
from reference_numpy import detection as reference
from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import check_anchors
from reference_numpy.checks import check_number
from reference_numpy.conventions import AnchorLayout, Convention, revived
from reference_numpy.ssd import forward

if TYPE_CHECKING:
    from keras_impl.models.ssd import SSD

__all__ = [
    "Detector",
    "detect_from_heads",
    "detector_of",
    "head_outputs",
    "load_detector",
]

BATCH = 16


# --- Detecting ----------------------------------------------------------------------------


Heads = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]


class Detector:
    """A detector: a network and the backend that runs it.

    Args:
        heads: Function from prepared images (B, H, W, 3) to {"deltas": (B, A, 4), "logits":
            (B, A, C + 1)}.
        convention: How to read the heads, which detections to keep, and the anchor layout.
        num_classes: Number of classes C, without background.
        class_names: Names of the classes, from label 1 on; by default their numbers.
        select: Function from prepared images and a convention to the detections of each image; by
            default the reference decodes the head outputs.

    Attributes:
        class_names: Name of each label.
        anchors: (A, 4) cxcywh, float32.
        size: (height, width) of the network's input.

    Example:
        >>> detector = load_detector("digits", "numpy")
        >>> detector.detect([Image.new("RGB", (50, 40))])
        [[]]
    """

    def __init__(
        self,
        heads: Heads,
        convention: Convention,
        num_classes: int,
        class_names: Sequence[str] | None = None,
        select: Callable[..., list[reference.Detections]] | None = None,
    ) -> None:
        """See the class."""
        self.heads = heads
        self.convention = convention
        self.class_names = label_names(num_classes, class_names)
        self.anchors = make_anchors(convention.layout)
        self.size = convention.layout.image_size
        self._select = select or self._by_reference

    def detect(
        self, images: Sequence[Image.Image], *, score: float = SCORE
    ) -> list[list[Detection]]:
        """Detect objects in images of any size.

        Args:
            images: Images of mode RGB.
            score: Detections score more than this.

        Returns:
            For each image its detections, highest score first, boxes in pixels.

        Raises:
            ValueError: `score` is outside [0, 1].
        """
        check_number(score, "score", 0, 1)
        if not images:
            return []
        prepared = np.stack([prepare(image, self.size) for image in images])
        rows = self.detect_prepared(prepared, score=score)
        return [to_pixels(row, image.size) for row, image in zip(rows, images, strict=True)]

    def detect_prepared(
        self, images: NDArray[np.float32], *, score: float = SCORE
    ) -> list[reference.Detections]:
        """Detect objects in prepared images (B, H, W, 3); boxes are relative to the image."""
        return self._select(images, self.convention.replace(score_threshold=score))

    def draw(self, image: Image.Image, detections: Iterable[Detection]) -> Image.Image:
        """Draw detections on a copy of an image; see the function `draw`."""
        return draw(image, detections, self.class_names)

    def _by_reference(
        self, images: NDArray[np.float32], convention: Convention
    ) -> list[reference.Detections]:
        found = self.heads(images)
        return [
            detect_from_heads(deltas, logits, self.anchors, convention)
            for deltas, logits in zip(found["deltas"], found["logits"], strict=True)
        ]


def load_detector(name: str | os.PathLike[str] = "digits", backend: Backend = "keras") -> Detector:
    """Load a detector by name or from a weights file.

    Args:
        name: "digits", shipped with the package; "oidv4", 23 classes of Open Images, fetched by
            `ssd weights oidv4`; or the path of a weights file, .npz.
        backend: "keras"; "numpy", the reference for the whole network; or "litert", the
            interpreter of the published file of "oidv4", with the reference's decoding.

    Returns:
        A `Detector`.

    Raises:
        ValueError: An unknown backend, or a file that is no weights file.
        FileNotFoundError: The file does not exist, or the weights are not on this machine.

    Example:
        >>> detector = load_detector("digits", "numpy")
        >>> detector.size, detector.class_names[1], len(detector.class_names)
        ((224, 224), '0', 10)
    """
    _one_of_backends(backend)
    path = weights_file(str(name)) if name in DETECTORS else Path(name)
    if backend == "litert":
        if name != OIDV4.name:
            raise ValueError(
                f"backend: expected 'keras' or 'numpy', since {name} has no LiteRT file. "
                "Received: 'litert'"
            )
        from keras_impl.detector.litert import LiteRT

        heads: Heads = LiteRT(read_published())
    elif backend == "keras":
        return detector_of(load_model(path))
    config, arrays = read_weights(path)
    try:
        layout = revived(AnchorLayout, config["layout"])
        convention = revived(Convention, {**config["convention"], "layout": layout})
        num_classes, class_names = int(config["num_classes"]), config.get("class_names")
        label_names(num_classes, class_names)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        reason = f"without {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"weights: expected the configuration of a known network. Received: {path} ({reason})"
        ) from None
    if backend == "numpy":
        heads = _reference_heads(arrays, layout, num_classes)
    return Detector(heads, convention, num_classes, class_names)


def detector_of(model: SSD, backend: Backend = "keras") -> Detector:
    """Make a detector of a Keras model, run by Keras or, with "numpy", by the reference."""
    _one_of_backends(backend)
    if backend == "litert":
        raise ValueError("backend: expected 'keras' or 'numpy' for a model. Received: 'litert'")
    if backend == "numpy":
        arrays = {variable.path: np.asarray(variable) for variable in model.weights}
        heads = _reference_heads(arrays, model.layout, model.num_classes)
        return Detector(heads, model.convention, model.num_classes, model.class_names)

    def select(images: NDArray[np.float32], convention: Convention) -> list[reference.Detections]:
        score = convention.detection.score_threshold
        return _rows(model.detect(images, batch_size=BATCH, score_threshold=score))

    heads = partial(head_outputs, model)
    return Detector(heads, model.convention, model.num_classes, model.class_names, select)


def _one_of_backends(backend: Backend) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {list(BACKENDS)}. Received: {backend!r}")


def _reference_heads(
    weights: Mapping[str, NDArray[np.float32]], layout: AnchorLayout, num_classes: int
) -> Heads:
    """Return the forward pass in NumPy, one image at a time, because its maps take much memory."""

    def heads(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        try:
            rows = [forward(image[None], weights, layout) for image in images]
        except KeyError as error:
            raise ValueError(
                f"weights: expected those of {layout.name}. Received: weights without {error}"
            ) from None
        deltas, logits = map(np.concatenate, zip(*rows, strict=True))
        if logits.shape[-1] != num_classes + 1:
            raise ValueError(
                f"weights: expected heads for {num_classes} classes and background. "
                f"Received: {logits.shape[-1]} logits per anchor"
            )
        return {"deltas": deltas, "logits": logits}

    return heads


def head_outputs(model: SSD, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Compute the head outputs of prepared images: deltas (B, A, 4), logits (B, A, C + 1)."""
    found = model.predict(images, batch_size=BATCH, verbose=0)
    return {name: np.asarray(found[name], np.float32) for name in ("deltas", "logits")}


def detect_from_heads(
    deltas: NDArray[Any], logits: NDArray[Any], anchors: NDArray[Any], convention: Convention
) -> reference.Detections:
    """Turn the head outputs of one image into detections, exactly as the reference does.

    The fast path of `host` computes them where it can and numba is installed, otherwise the
    reference itself.

    Args:
        deltas: (A, 4) codes.
        logits: (A, C + 1) class logits.
        anchors: (A, 4) cxcywh.
        convention: How to read the heads, and which detections to keep.

    Returns:
        The result of `reference_numpy.detection.detect`, bit for bit.

    Raises:
        ValueError, TypeError: As the reference: NaN in the head outputs, shapes that differ, or
            arrays that are no floats.
    """
    try:
        from keras_impl.host import detection as host
    except ImportError:
        return reference.detect(deltas, logits, anchors, convention)
    dtypes = {getattr(heads, "dtype", None) for heads in (deltas, logits)}
    ours = host.can_detect(convention) and len(dtypes) == 1
    ours = ours and dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}
    if not (ours and np.isfinite(logits).all() and np.isfinite(deltas).all()):
        return reference.detect(deltas, logits, anchors, convention)
    check_anchors(anchors)
    found = host.detect(deltas[None], logits[None], anchors, convention)
    used = np.flatnonzero(found.labels[0] > 0)
    boxes, scores, labels, places = (part[0, used] for part in found)
    return reference.Detections(boxes, scores, labels.astype(np.int64), places.astype(np.int64))


def _rows(found: Any) -> list[reference.Detections]:
    """Split a padded batch into the detections of each image, without padding."""
    rows = []
    for parts in zip(*found, strict=True):
        used = parts[2] > 0
        rows.append(reference.Detections(*(part[used] for part in parts)))
    return rows
