"""Pictures in, detections out: files of any kind, boxes in pixels, pictures with boxes drawn.

A picture is a Pillow image of mode RGB, whatever its file was (`open_picture`). The network
sees it stretched to its own size (`prepare`), and says where things are in its own pixels
again (`Detector`, `draw`, `entry`). Who computes is the detector's backend: Keras, the NumPy
reference from the first convolution to the last box, or LiteRT with the reference's decoding.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin, UnidentifiedImageError

from keras_impl._common.files import write_file
from keras_impl.host import detection as host_detection
from keras_impl.images.pixels import normalise
from keras_impl.weights.npz import (
    DETECTORS,
    OIDV4,
    load_model,
    read_published,
    read_weights,
    weights_file,
)
from reference_numpy import detection as reference
from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import check_anchors
from reference_numpy.checks import check_counts, check_number
from reference_numpy.conventions import AnchorLayout, Convention, revived
from reference_numpy.ssd import forward

if TYPE_CHECKING:
    from keras_impl.models.ssd import SSD

__all__ = [
    "BACKENDS",
    "CANVAS",
    "COLOURS",
    "SOURCE",
    "Detection",
    "Detector",
    "class_names",
    "colour",
    "detector_of",
    "draw",
    "enlarged",
    "entry",
    "free_name",
    "head_outputs",
    "load_detector",
    "mark_of",
    "open_picture",
    "outline",
    "pictures_in",
    "png",
    "prepare",
    "read_heads",
    "save_drawn",
    "to_pixels",
]

BACKENDS = ("keras", "numpy", "litert")

# Formats that people have pictures in. Pillow knows many more, some of which start other
# programs (EPS) or were hardly ever read by anyone (a decoder is where attackers look).
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
LARGEST = 80_000_000  # pixels; Pillow itself begins to warn a little above

BATCH = 16
READABLE = 600  # pixels of the longer side; smaller pictures are drawn larger
MOST_TIMES = 8
SOURCE = "mobilenetv2-ssd source"  # key of the text in a PNG file by which we know what we drew
CANVAS = "mobilenetv2-ssd canvas"  # and of that in one that we composed

# Bright on black, legible beside each other, one for each digit.
COLOURS = (
    (255, 82, 82),
    (76, 217, 100),
    (255, 225, 25),
    (90, 140, 255),
    (255, 149, 0),
    (190, 110, 255),
    (70, 220, 240),
    (255, 90, 220),
    (190, 240, 70),
    (255, 190, 200),
)


class Detection(NamedTuple):
    """One thing in one picture.

    Attributes:
        label: Class from 1.
        score: Probability of the class.
        box: (xmin, ymin, xmax, ymax) in pixels of the picture, half-open.
        anchor: Index of the anchor that says so.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]
    anchor: int


# --- Reading ------------------------------------------------------------------------------


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Read a picture as a person would see it, in RGB.

    Turned as its EXIF says; transparent parts on black, the background the digits have; grey,
    palette and CMYK brought to RGB; the upper 8 of 16 bits; the first of several frames.

    Args:
        path: A PNG, JPEG, WebP, TIFF, BMP, GIF or PPM file; its contents count, not its name.

    Returns:
        An image of mode RGB.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such picture, damaged, of numbers that are no shades of grey, or
            of more than 80 million pixels (which is seen before they are decoded).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"picture: expected a file. Received: {path}")
    with warnings.catch_warnings():
        # A slip in the metadata of a picture that can be read is not for its user to mend.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=list(FORMATS)) as image:
                if image.width * image.height > LARGEST:
                    raise ValueError(
                        f"expected at most {LARGEST} pixels. "
                        f"Received: {image.width} x {image.height}"
                    )
                return _upright_rgb(image)
        except UnidentifiedImageError:
            kinds = ", ".join(FORMATS)
            raise ValueError(f"picture: expected one of {kinds}. Received: {path}") from None
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise ValueError(f"picture: {path} cannot be read: {error}") from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Decode, turn and flatten an opened file."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        # Pillow would cut these off at 255 instead of scaling them.
        values = np.asarray(image)
        if values.dtype.kind == "f" or values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(f"expected 8 or 16 bits a channel. Received: mode {image.mode}")
        image = Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, (0, 0, 0, 255)), seen)
    return image if image.mode == "RGB" else image.convert("RGB")  # a huge one is not copied again


def pictures_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The picture files of a folder by name, without those that `save_drawn` wrote."""
    suffixes = {suffix for known in FORMATS.values() for suffix in known}
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes)
    return [path for path in files if path.is_file() and mark_of(path) is None]


def prepare(image: Image.Image, size: Sequence[int]) -> NDArray[np.float32]:
    """Make of a picture what the network sees.

    Args:
        image: Mode RGB.
        size: (height, width) of the network's input; the picture is stretched to it.

    Returns:
        (H, W, 3) in [-1, 1].

    Example:
        >>> float(prepare(Image.new("RGB", (3, 5), (255, 255, 255)), (2, 4)).min())
        1.0
    """
    height, width = size
    check_counts(1, height=height, width=width)
    # A copy: Pillow's own memory is read-only, and gone with the image.
    stretched = image.resize((width, height), Image.Resampling.BILINEAR)
    return normalise(np.array(stretched.convert("RGB")))


# --- Detecting ----------------------------------------------------------------------------

Heads = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]


class Detector:
    """A network, and who runs it: pictures in, detections out.

    Args:
        heads: Prepared pictures (B, H, W, 3) → {"deltas": (B, A, 4), "logits": (B, A, C + 1)}.
        convention: What the heads mean and what is kept, and the layout of the anchors.
        classes: How many there are.
        names: What they are called, from label 1 on; None for numbers.
        select: From prepared pictures and a convention to the detections of each; the reference
            reads the heads if None.

    Attributes:
        names: Label → name.
        anchors: (A, 4) centre form, float32.
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
        classes: int,
        names: Sequence[str] | None = None,
        select: Callable[..., list[reference.Detections]] | None = None,
    ) -> None:
        """See the class."""
        self.heads = heads
        self.convention = convention
        self.names = class_names(classes, names)
        self.anchors = make_anchors(convention.layout)
        self.size = convention.layout.image_size
        self._select = select or self._by_reference

    def detect(
        self, pictures: Sequence[Image.Image], *, score: float = 0.5
    ) -> list[list[Detection]]:
        """Detect in pictures of any size.

        Args:
            pictures: Of mode RGB.
            score: A detection scores more than this.

        Returns:
            For each picture its detections, the surest first.

        Raises:
            ValueError: A score outside [0, 1].
        """
        check_number(score, "score", 0, 1)
        if not pictures:
            return []
        images = np.stack([prepare(picture, self.size) for picture in pictures])
        rows = self.read(images, score=score)
        return [to_pixels(row, picture.size) for row, picture in zip(rows, pictures, strict=True)]

    def read(
        self, images: NDArray[np.float32], *, score: float = 0.5
    ) -> list[reference.Detections]:
        """Detections of prepared pictures (B, H, W, 3), boxes relative to the picture."""
        return self._select(images, self.convention.but(score_threshold=score))

    def draw(self, picture: Image.Image, detections: Iterable[Detection]) -> Image.Image:
        """Draw what was found in a picture; see the function `draw`."""
        return draw(picture, detections, self.names)

    def _by_reference(
        self, images: NDArray[np.float32], convention: Convention
    ) -> list[reference.Detections]:
        found = self.heads(images)
        return [
            read_heads(deltas, logits, self.anchors, convention)
            for deltas, logits in zip(found["deltas"], found["logits"], strict=True)
        ]


def load_detector(name: str | os.PathLike[str] = "digits", backend: str = "keras") -> Detector:
    """A detector with a name, or one that you trained, and who is to run it.

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
    """
    _one_of_backends(backend)
    path = weights_file(str(name)) if name in DETECTORS else Path(name)
    if backend == "litert":
        if name != OIDV4.name:
            raise ValueError(
                f"backend: expected 'keras' or 'numpy', since {name} has no LiteRT file. "
                "Received: 'litert'"
            )
        from keras_impl.detector.runtimes import LiteRT

        heads: Heads = LiteRT(read_published())
    elif backend == "keras":
        return detector_of(load_model(path))
    config, arrays = read_weights(path)
    try:
        layout = revived(AnchorLayout, config["layout"])
        convention = revived(Convention, {**config["convention"], "layout": layout})
        classes, names = int(config["classes"]), config.get("names")
        class_names(classes, names)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise ValueError(
            f"weights: expected the configuration of a known network. Received: {path} ({error})"
        ) from None
    if backend == "numpy":
        heads = _reference_heads(arrays, layout, classes)
    return Detector(heads, convention, classes, names)


def detector_of(model: SSD, backend: str = "keras") -> Detector:
    """A Keras model as a detector; by "numpy" its weights go through the reference."""
    _one_of_backends(backend)
    if backend == "litert":
        raise ValueError("backend: expected 'keras' or 'numpy' for a model. Received: 'litert'")
    if backend == "numpy":
        arrays = {variable.path: np.asarray(variable) for variable in model.weights}
        heads = _reference_heads(arrays, model.layout, model.classes)
        return Detector(heads, model.convention, model.classes, model.names)

    def select(images: NDArray[np.float32], convention: Convention) -> list[reference.Detections]:
        score = convention.detection.score_threshold
        return _rows(model.detect(images, batch_size=BATCH, score_threshold=score))

    heads = partial(head_outputs, model)
    return Detector(heads, model.convention, model.classes, model.names, select)


def _one_of_backends(backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {list(BACKENDS)}. Received: {backend!r}")


def _reference_heads(
    weights: Mapping[str, NDArray[np.float32]], layout: AnchorLayout, classes: int
) -> Heads:
    """The forward pass in NumPy, a picture at a time: its maps are what takes memory."""

    def heads(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        try:
            rows = [forward(image[None], weights, layout) for image in images]
        except KeyError as error:
            raise ValueError(
                f"weights: expected those of {layout.name}, which lack {error}"
            ) from None
        deltas, logits = map(np.concatenate, zip(*rows, strict=True))
        if logits.shape[-1] != classes + 1:
            raise ValueError(
                f"weights: expected heads of {classes} classes and background. "
                f"Received: {logits.shape[-1]} numbers an anchor"
            )
        return {"deltas": deltas, "logits": logits}

    return heads


def head_outputs(model: SSD, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What the network says of prepared pictures: deltas (B, A, 4), logits (B, A, C + 1)."""
    found = model.predict(images, batch_size=BATCH, verbose=0)
    return {name: np.asarray(found[name], np.float32) for name in ("deltas", "logits")}


def read_heads(
    deltas: NDArray[Any], logits: NDArray[Any], anchors: NDArray[Any], convention: Convention
) -> reference.Detections:
    """What the reference detects in one picture, by `host_detection`, which looks at less of it.

    Args:
        deltas: (A, 4) codes.
        logits: (A, C + 1) classes.
        anchors: (A, 4) centre form.
        convention: Its answers decide all.

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
    """The pictures of a padded batch, each without its padding."""
    rows = []
    for parts in zip(*found, strict=True):
        used = parts[2] > 0
        rows.append(reference.Detections(*(part[used] for part in parts)))
    return rows


def to_pixels(found: reference.Detections, size: tuple[int, int]) -> list[Detection]:
    """Detections of one picture of (width, height) pixels.

    Example:
        >>> box, one = np.array([[0.25, 0.5, 0.5, 1.0]]), np.array([1])
        >>> to_pixels(reference.Detections(box, one * 0.75, one, one), (8, 4))
        [Detection(label=1, score=0.75, box=(2.0, 2.0, 4.0, 4.0), anchor=1)]
    """
    boxes = np.asarray(found.boxes, np.float64) * np.array([*size, *size])
    return [
        Detection(int(label), float(score), (x0, y0, x1, y1), int(anchor))
        for (x0, y0, x1, y1), score, label, anchor in zip(
            boxes.tolist(), found.scores, found.labels, found.anchors, strict=True
        )
    ]


def class_names(classes: int, names: Sequence[str] | None = None) -> dict[int, str]:
    """What labels are called: by their names; else digit d has label d + 1; else numbers.

    Example:
        >>> class_names(10)[1], class_names(2), class_names(2, ["cat", "dog"])
        ('0', {1: '1', 2: '2'}, {1: 'cat', 2: 'dog'})
    """
    check_counts(1, classes=classes)
    if names is not None:
        if isinstance(names, str) or len(names) != classes:
            raise ValueError(f"names: expected {classes}, one a class. Received: {names!r}")
        return {label: str(name) for label, name in enumerate(names, start=1)}
    return {label: str(label - (classes == 10)) for label in range(1, classes + 1)}


def entry(
    file: str, size: tuple[int, int], detections: Iterable[Detection], names: dict[int, str]
) -> dict[str, Any]:
    """What is said of a picture in JSON: boxes in pixels, to a hundredth.

    Example:
        >>> entry("a.png", (8, 4), [Detection(8, 0.5, (0.0, 1.0, 2.0, 3.0), 5)], class_names(10))
        {'file': 'a.png', 'width': 8, 'height': 4,
         'detections': [{'label': '7', 'score': 0.5, 'box': [0.0, 1.0, 2.0, 3.0]}]}
    """
    return {
        "file": file,
        "width": size[0],
        "height": size[1],
        "detections": [
            {
                "label": names[found.label],
                "score": round(found.score, 6),
                "box": [round(corner, 2) for corner in found.box],
            }
            for found in detections
        ],
    }


# --- Drawing ------------------------------------------------------------------------------


def colour(index: int) -> tuple[int, int, int]:
    """The colour of a class or an object, by its number from 0."""
    return COLOURS[index % len(COLOURS)]


def enlarged(image: Image.Image) -> tuple[Image.Image, int]:
    """A copy to draw on, and how many times larger it is: a small picture has no room for text."""
    times = min(MOST_TIMES, max(1, round(READABLE / max(image.size))))
    drawn = image.convert("RGB")  # a copy
    if times > 1:
        drawn = drawn.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    return drawn, times


def draw(image: Image.Image, detections: Iterable[Detection], names: dict[int, str]) -> Image.Image:
    """Draw boxes, each with its class and confidence, in the colour of the class.

    Args:
        image: The picture; it is not changed.
        detections: With boxes in its pixels.
        names: What the labels are called.

    Returns:
        A new picture, a whole number of times larger if the given one is small.
    """
    drawn, times = enlarged(image)
    unit = max(1, round(max(drawn.size) / 300))  # the width of a line
    font = ImageFont.load_default(max(12, round(max(drawn.size) / 30)))
    pen = ImageDraw.Draw(drawn)
    # The surest last, so that it lies on top.
    scaled = [
        (found, tuple(corner * times for corner in found.box)) for found in [*detections][::-1]
    ]
    for found, box in scaled:
        outline(pen, box, colour(found.label - 1), unit)
    placed: list[tuple[float, float, float, float]] = []
    for found, box in scaled[::-1]:
        text = f"{names[found.label]}  {found.score:.2f}"
        placed.append(_tag(pen, drawn.size, box, text, font, colour(found.label - 1), placed))
    return drawn


def outline(
    pen: ImageDraw.ImageDraw, box: Sequence[float], ink: tuple[int, int, int], width: int
) -> None:
    """Draw a box so that it shows on any ground: coloured, with a thin dark edge outside."""
    x0, y0, x1, y1 = (round(corner) for corner in box)
    x1, y1 = max(x0 + 1, x1) - 1, max(y0 + 1, y1) - 1  # half-open
    pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(0, 0, 0), width=width + 2)
    pen.rectangle((x0, y0, x1, y1), outline=ink, width=width)


def _tag(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: Sequence[float],
    text: str,
    font: Any,
    ink: tuple[int, int, int],
    placed: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    """Write a label at a box, where it lies in the picture and on no other label if it can."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = max(2, round((bottom - top) / 4))
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x0, y0, x1, y1 = box
    corners = [(x0, y0 - height), (x0, y1), (x1 - width, y0 - height), (x1 - width, y1)]
    corners += [(x1, y0), (x0 - width, y0), (x0, y0)]
    places = []
    for x, y in corners:
        x, y = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
        places.append((x, y, x + width, y + height))
    place = next(
        (spot for spot in places if not any(_meet(spot, one) for one in placed)), places[0]
    )
    pen.rectangle(place, fill=ink, outline=(0, 0, 0))
    dark = 0.299 * ink[0] + 0.587 * ink[1] + 0.114 * ink[2] > 110
    fill = (0, 0, 0) if dark else (255, 255, 255)
    pen.text((place[0] + pad - left, place[1] + pad - top), text, font=font, fill=fill)
    return place


def _meet(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# --- Writing ------------------------------------------------------------------------------


def png(image: Image.Image, key: str = SOURCE, text: str = "") -> bytes:
    """A picture as the bytes of a PNG file, marked as ours by a line of text in it."""
    info = PngImagePlugin.PngInfo()
    info.add_text(key, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def mark_of(path: str | os.PathLike[str], key: str = SOURCE) -> str | None:
    """The text that `png` put into a file; None if this program did not write it."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            text = image.info.get(key)
    except Exception:  # whatever it is, it is not ours
        return None
    return text if isinstance(text, str) else None


def free_name(folder: Path, source: Path, taken: Iterable[str] = ()) -> Path:
    """Where the drawn picture of a source goes: "photo.png", or "photo-2.png" and so on.

    A file there that this program drew of the same source is replaced; any other file, and a
    name in `taken`, never.

    Args:
        folder: The output folder.
        source: The picture that was drawn on.
        taken: Lower-case names given away already.

    Returns:
        A path in `folder`.
    """
    mark, used = _mark(source), set(taken)
    stem = re.sub(r"[^\w .()+-]", "_", source.stem) or "picture"
    number = 1
    while True:
        name = f"{stem}.png" if number == 1 else f"{stem}-{number}.png"
        path = folder / name
        if name.lower() not in used and (not os.path.lexists(path) or mark_of(path) == mark):
            return path
        number += 1


def save_drawn(path: Path, image: Image.Image, source: Path) -> None:
    """Write a drawn picture, marked as ours."""
    write_file(path, png(image, text=_mark(source)))


def _mark(source: Path) -> str:
    """Names a source without telling where it lies to whoever gets the picture."""
    return hashlib.sha256(os.path.realpath(source).encode(errors="replace")).hexdigest()[:16]
