"""Images in, detections out: files of any kind, boxes in pixels, images with boxes drawn.

An image is a Pillow image of mode RGB, whatever its file was (`open_image`). The network
sees it stretched to its own size (`prepare`), and says where things are in its own pixels
again (`Detector`, `draw`, `entry`). Who computes is the detector's backend: Keras, the NumPy
reference from the first convolution to the last box, or LiteRT with the reference's decoding.
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
from keras_impl.host import detection as host_detection
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
    """A network, and who runs it: images in, detections out.

    Args:
        heads: Prepared images (B, H, W, 3) → {"deltas": (B, A, 4), "logits": (B, A, C + 1)}.
        convention: What the heads mean and what is kept, and the layout of the anchors.
        num_classes: How many there are.
        class_names: What they are called, from label 1 on; None for numbers.
        select: From prepared images and a convention to the detections of each; the reference
            decodes the heads if None.

    Attributes:
        class_names: Label → name.
        anchors: (A, 4) cxcywh, float32.
        size: (height, width) of what the network sees.

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
        """Detect in images of any size.

        Args:
            images: Of mode RGB.
            score: A detection scores more than this.

        Returns:
            For each image its detections, highest score first.

        Raises:
            ValueError: A score outside [0, 1].
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
        """Detections of prepared images (B, H, W, 3), boxes relative to the image."""
        return self._select(images, self.convention.replace(score_threshold=score))

    def draw(self, image: Image.Image, detections: Iterable[Detection]) -> Image.Image:
        """Draw what was found in an image; see the function `draw`."""
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
    """Load a detector by name, or one that you trained.

    Args:
        name: "digits", shipped with the package; "oidv4", 23 things of Open Images, once
            `ssd weights oidv4` has fetched it; or a weights file, .npz.
        backend: "keras"; "numpy" for the reference, all of it; "litert" for the interpreter of
            the published file, which only "oidv4" has, with the reference's decoding.

    Returns:
        A `Detector`.

    Raises:
        ValueError: An unknown backend, or a file that is no weights file.
        FileNotFoundError: No such file, or weights that are not on this machine.

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
        raise ValueError(
            f"weights: expected the configuration of a known network. Received: {path} ({error})"
        ) from None
    if backend == "numpy":
        heads = _reference_heads(arrays, layout, num_classes)
    return Detector(heads, convention, num_classes, class_names)


def detector_of(model: SSD, backend: Backend = "keras") -> Detector:
    """A Keras model as a detector; by "numpy" its weights go through the reference."""
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
    """The forward pass in NumPy, an image at a time: its maps are what takes memory."""

    def heads(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        try:
            rows = [forward(image[None], weights, layout) for image in images]
        except KeyError as error:
            raise ValueError(
                f"weights: expected those of {layout.name}, which lack {error}"
            ) from None
        deltas, logits = map(np.concatenate, zip(*rows, strict=True))
        if logits.shape[-1] != num_classes + 1:
            raise ValueError(
                f"weights: expected heads of {num_classes} classes and background. "
                f"Received: {logits.shape[-1]} numbers an anchor"
            )
        return {"deltas": deltas, "logits": logits}

    return heads


def head_outputs(model: SSD, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What the network says of prepared images: deltas (B, A, 4), logits (B, A, C + 1)."""
    found = model.predict(images, batch_size=BATCH, verbose=0)
    return {name: np.asarray(found[name], np.float32) for name in ("deltas", "logits")}


def detect_from_heads(
    deltas: NDArray[Any], logits: NDArray[Any], anchors: NDArray[Any], convention: Convention
) -> reference.Detections:
    """The reference's detections of one image, by the fast path of `host` where it can.

    Args:
        deltas: (A, 4) codes.
        logits: (A, C + 1) classes.
        anchors: (A, 4) cxcywh.
        convention: What the heads mean, and what is kept.

    Returns:
        Exactly `reference_numpy.detection.detect` of the same.

    Raises:
        ValueError, TypeError: As the reference: NaN among the heads, shapes that differ, or
            others than floats.
    """
    rules = convention.detection
    dtypes = {getattr(heads, "dtype", None) for heads in (deltas, logits)}
    ours = rules.eta == 1 and rules.soft_sigma is None and len(dtypes) == 1
    ours = ours and dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}
    if not (ours and np.isfinite(logits).all() and np.isfinite(deltas).all()):
        return reference.detect(deltas, logits, anchors, convention)
    check_anchors(anchors)
    found = host_detection.detect(deltas[None], logits[None], anchors, convention)
    used = np.flatnonzero(found.labels[0] > 0)
    boxes, scores, labels, places = (part[0, used] for part in found)
    return reference.Detections(boxes, scores, labels.astype(np.int64), places.astype(np.int64))


def _rows(found: Any) -> list[reference.Detections]:
    """The images of a padded batch, each without its padding."""
    rows = []
    for parts in zip(*found, strict=True):
        used = parts[2] > 0
        rows.append(reference.Detections(*(part[used] for part in parts)))
    return rows
