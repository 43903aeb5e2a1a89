"""Handwritten digits on a black canvas: pictures to learn from, without a download.

Digits come from MNIST (`load_digits`), a canvas is composed of them (`compose`), and
canvases are streamed to the network (`dataset`). A canvas depends on nothing but the digits,
the mode, the seed and its index, so any one of them can be made again alone (`canvas`).

MNIST: LeCun and Cortes, http://yann.lecun.com/exdb/mnist/, CC BY-SA 3.0.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keras_impl._common.files import keras_home
from keras_impl.images.pixels import SCALE, normalise

if TYPE_CHECKING:
    import tensorflow as tf

CANVAS = 224  # pixels, each side
PATCH = 28  # pixels, each side of an MNIST digit
MODES = ("1", "1-10", "both")
MOST_DIGITS = 10  # on one canvas
FACTORS = (0.75, 2.5)  # size of a digit on a canvas of many, relative to PATCH
OVERLAP = (1, 10)  # IoU between two digits is at most 1 / 10
TRIES = 50  # corners tried before a digit is left out
SPLITS = ("train", "test")
SAMPLE = Path(__file__).with_name("mnist_sample.npz")
SAMPLE_SEED = 0
SAMPLE_PER_DIGIT = {"train": 600, "test": 100}
IDX_PREFIX = {"train": "train", "test": "t10k"}
IDX_MAGIC = {"images": 0x00000803, "labels": 0x00000801}  # unsigned bytes, 3 axes or 1
DAMAGE = (OSError, EOFError, ValueError, zlib.error)  # what reading a damaged file raises
LARGEST_SET = 500_000  # digits in one file: bounds the memory that a damaged file can ask for


class Digits(NamedTuple):
    """Digits of one split.

    Attributes:
        images: uint8 (N, 28, 28), white on black.
        labels: int32 (N,), the digit, 0 to 9.
        source: Where they come from, for people.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    source: str


class Canvas(NamedTuple):
    """One picture and what is on it.

    Attributes:
        image: uint8 (224, 224).
        boxes: float32 (n, 4), corners (xmin, ymin, xmax, ymax) relative to the picture.
        labels: int32 (n,), the digit + 1, since 0 is the background.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int32]


class CanvasBatch(NamedTuple):
    """Canvases stacked, their objects padded to one number.

    Attributes:
        images: uint8 (B, 224, 224).
        boxes: float32 (B, M, 4), zeros where there is no object.
        labels: int32 (B, M), -1 where there is no object.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int32]


# --- Where the digits come from -----------------------------------------------------------


def load_digits(
    split: str, mnist: str | os.PathLike[str] | None = None, download: bool = False
) -> Digits:
    """Load MNIST from the first source there is.

    In this order: the folder `mnist` if given, Keras' cache (`~/.keras/datasets/mnist.npz`,
    or below `KERAS_HOME`), the sample in this package (600 + 100 of each digit).

    Args:
        split: "train" or "test"; the test digits are never to be trained on.
        mnist: Folder of the four IDX files, gzip or plain, under their usual names.
        download: Let Keras fetch its cache, if no folder is given. Needs the network.

    Returns:
        The digits, and the source they come from.

    Raises:
        FileNotFoundError: The folder lacks a file.
        ValueError: A file is damaged or is not MNIST; the message names it.
        ConnectionError: The download failed.

    Example:
        >>> digits = load_digits("test")
        >>> digits.images.shape[1:], digits.images.dtype
        ((28, 28), dtype('uint8'))
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}. Received: {split!r}")
    if mnist is not None:
        folder = Path(mnist)
        images = _read_idx(_find_idx(folder, split, "images"), "images")
        labels = _read_idx(_find_idx(folder, split, "labels"), "labels")
        return _digits(images, labels, f"the IDX files in {folder}")
    if download:
        return _digits(*_download(split), "Keras' MNIST, downloaded or from its cache")
    cache = keras_home() / "datasets" / "mnist.npz"
    if cache.is_file():
        return _digits(*_read_npz(cache, split), f"Keras' MNIST cache {cache}")
    return _digits(*_read_npz(SAMPLE, split), "the MNIST sample shipped with the package")


def _digits(images: Any, labels: Any, source: str) -> Digits:
    """Check what a source held before anyone composes with it."""
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (PATCH, PATCH):
        raise ValueError(
            f"{source}: images must be uint8 (N, {PATCH}, {PATCH}). "
            f"Received: {images.dtype} {images.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{source}: labels must be integers ({len(images)},), one for each image. "
            f"Received: {labels.dtype} {labels.shape}"
        )
    if len(images) == 0:
        raise ValueError(f"{source}: expected at least one digit. Received: 0")
    wrong = np.flatnonzero((labels < 0) | (labels > 9))
    if wrong.size:
        raise ValueError(
            f"{source}: labels must be 0 to 9. Received: {labels[wrong[0]]} at index {wrong[0]}"
        )
    return Digits(images, labels.astype(np.int32), source)


def _find_idx(folder: Path, split: str, kind: str) -> Path:
    stem, axes = f"{IDX_PREFIX[split]}-{kind}", 3 if kind == "images" else 1
    names = [f"{stem}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in (".gz", "")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"mnist: expected a folder with one of {', '.join(names)}. Received: {folder}"
        + ("" if folder.is_dir() else ", which is not a folder")
    )


def _read_idx(path: Path, kind: str) -> NDArray[np.uint8]:
    """Read one IDX file: big-endian magic and sizes, then bytes."""
    item = (PATCH, PATCH) if kind == "images" else ()
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"  # the name may not tell the truth
        file.seek(0)
        stream: BinaryIO = gzip.GzipFile(fileobj=file) if zipped else file  # type: ignore[assignment]
        try:
            header = np.frombuffer(stream.read(8 + 4 * len(item)), ">u4").tolist()
            if header[:1] != [IDX_MAGIC[kind]] or tuple(header[2:]) != item:
                expected = [IDX_MAGIC[kind], "N", *item]
                raise ValueError(f"expected the header {expected}. Received: {header}")
            count, size = header[1], int(np.prod(item, dtype=int))
            if count > LARGEST_SET:
                raise ValueError(f"expected at most {LARGEST_SET} digits. Received: {count}")
            data = stream.read(count * size)
            # Reading past the end also makes gzip check its sum.
            if len(data) != count * size or stream.read(1):
                relation = "fewer" if len(data) < count * size else "more"
                raise ValueError(f"expected {count * size} bytes of data. Received: {relation}")
        except DAMAGE as error:
            raise ValueError(f"{path}: not a sound IDX file of {kind}: {error}") from error
    return np.frombuffer(data, np.uint8).reshape(count, *item)


def _read_npz(path: Path, split: str) -> tuple[Any, Any]:
    """Read one split of an archive that is laid out as Keras' own, never unpickling."""
    names = (f"x_{split}", f"y_{split}")
    try:
        with zipfile.ZipFile(path) as archive:
            size = max(archive.getinfo(f"{name}.npy").file_size for name in names)
        if size > (LARGEST_SET + 1) * PATCH * PATCH:
            raise ValueError(f"expected at most {LARGEST_SET} digits. Received: {size} bytes")
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[names[0]], arrays[names[1]]
    except (*DAMAGE, KeyError, MemoryError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: expected an archive with {names[0]} and {names[1]}; it seems damaged, "
            f"delete it or name another source. Received: {error}"
        ) from error


def _download(split: str) -> tuple[Any, Any]:
    import keras

    try:
        splits = keras.datasets.mnist.load_data()  # verifies the archive's SHA-256
    except Exception as error:  # Keras raises a bare Exception
        raise ConnectionError(f"download of MNIST failed. Received: {error}") from error
    images, labels = splits[SPLITS.index(split)]
    return images, labels


# --- Canvases -----------------------------------------------------------------------------


def compose(digits: Digits, mode: str, generator: np.random.Generator) -> Canvas:
    """Compose one canvas of random digits.

    Mode "1": one digit at its own size at a random corner. Mode "1-10": 1 to 10 digits, each
    0.75 to 2.5 times its size, no two with an IoU above 0.1; one that finds no place in 50
    tries is left out. Mode "both": one or the other, by a fair coin.

    Args:
        digits: Digits to draw from, with replacement.
        mode: One of `MODES`.
        generator: Source of all randomness.

    Returns:
        The canvas, at least one digit on it. A digit's box is its scaled 28 x 28 patch.

    Raises:
        ValueError: Unknown mode, no digits, or arrays of another shape.

    Example:
        >>> one = Digits(np.full((1, 28, 28), 255, np.uint8), np.array([7]), "a white square")
        >>> made = compose(one, "1", np.random.default_rng(0))
        >>> made.boxes * CANVAS, made.labels
        (array([[167., 125., 195., 153.]], dtype=float32), array([8], dtype=int32))
        >>> bool(made.image[125:153, 167:195].all()), int(made.image.sum()) // 255
        (True, 784)
    """
    _check_mode(mode)
    _check_digits(digits)
    if mode == "both":
        mode = MODES[int(generator.integers(2))]
    if mode == "1":
        wanted, sides = 1, [PATCH]
    else:
        wanted = int(generator.integers(1, MOST_DIGITS, endpoint=True))
        sides = [round(PATCH * factor) for factor in generator.uniform(*FACTORS, wanted).tolist()]
    chosen = generator.integers(len(digits.images), size=wanted).tolist()

    image = np.zeros((CANVAS, CANVAS), np.uint8)
    placed: list[tuple[int, int, int]] = []
    labels = []
    for index, side in zip(chosen, sides, strict=True):
        place = _find_place(side, placed, generator)
        if place is None:
            continue
        placed.append(place)
        labels.append(_label(digits, index))
        x, y, _ = place
        region = image[y : y + side, x : x + side]
        np.maximum(region, _resize(digits.images[index], side), out=region)

    corners = [(x, y, x + side, y + side) for x, y, side in placed]
    boxes = np.array(corners, np.float32) / np.float32(CANVAS)
    return Canvas(image, boxes, np.array(labels, np.int32))


def _label(digits: Digits, index: int) -> int:
    """The label of a digit, since 0 is the background."""
    digit = int(digits.labels[index])
    if not 0 <= digit <= 9:
        raise ValueError(f"digits: expected labels from 0 to 9. Received: {digit} at index {index}")
    return digit + 1


def _find_place(
    side: int, placed: Sequence[tuple[int, int, int]], generator: np.random.Generator
) -> tuple[int, int, int] | None:
    """Draw corners until a square overlaps no other too much; None after `TRIES`."""
    for _ in range(TRIES):
        x, y = generator.integers(CANVAS - side, size=2, endpoint=True).tolist()
        if not any(_overlap(x, y, side, *other) for other in placed):
            return x, y, side
    return None


def _overlap(ax: int, ay: int, a: int, bx: int, by: int, b: int) -> bool:
    """Whether two squares of whole pixels have an IoU above `OVERLAP`.

    Whole numbers decide exactly what a quotient of floats would round, and at this size
    plain Python is faster than a call into NumPy.
    """
    width = min(ax + a, bx + b) - max(ax, bx)
    height = min(ay + a, by + b) - max(ay, by)
    if width <= 0 or height <= 0:
        return False
    intersection = width * height
    union = a * a + b * b - intersection
    return intersection * OVERLAP[1] > union * OVERLAP[0]


def _resize(patch: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if side == PATCH:
        return patch
    resized = Image.fromarray(patch).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def canvas(digits: Digits, mode: str, seed: int, index: int) -> Canvas:
    """Compose canvas number `index` of the endless series that `seed` names.

    Args:
        digits: Digits to draw from.
        mode: One of `MODES`.
        seed: Not negative.
        index: Not negative.

    Returns:
        The same canvas each time.

    Raises:
        ValueError: Negative seed or index, or as `compose`.
    """
    _check_at_least("seed", seed, 0)
    _check_at_least("index", index, 0)
    return compose(digits, mode, np.random.default_rng([seed, index]))


# --- Batches for the network --------------------------------------------------------------


def collate(canvases: Sequence[Canvas], objects: int = MOST_DIGITS) -> CanvasBatch:
    """Stack canvases and pad their objects.

    Args:
        canvases: At least one.
        objects: Room for objects, M.

    Returns:
        Images (B, 224, 224), boxes (B, M, 4) and labels (B, M).

    Raises:
        ValueError: No canvas, or one with more than M objects.
    """
    _check_at_least("canvases", len(canvases), 1)
    _check_at_least("objects", objects, 0)
    boxes = np.zeros((len(canvases), objects, 4), np.float32)
    labels = np.full((len(canvases), objects), -1, np.int32)
    for row, made in enumerate(canvases):
        count = len(made.labels)
        if count > objects:
            raise ValueError(
                f"objects: expected at least the number on a canvas. "
                f"Received: {objects}, and canvas {row} has {count}"
            )
        boxes[row, :count], labels[row, :count] = made.boxes, made.labels
    return CanvasBatch(np.stack([made.image for made in canvases]), boxes, labels)


def batch_images(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Prepare grey canvases for the network.

    Args:
        images: uint8 (B, H, W).

    Returns:
        float32 (B, H, W, 3) in [-1, 1], three equal channels.

    Raises:
        ValueError: Another shape or dtype.
    """
    if np.ndim(images) != 3:
        raise ValueError(f"images: expected (B, H, W). Received: {np.shape(images)}")
    return np.repeat(normalise(images)[..., None], 3, axis=-1)


def dataset(
    digits: Digits,
    mode: str,
    pictures: int | None,
    batch: int,
    seed: int,
    *,
    first: int = 0,
    objects: int = MOST_DIGITS,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Stream canvases `first` to `first + pictures - 1`, in this order, composed as they go.

    Canvases are independent draws, so there is nothing to shuffle. For new canvases in each
    epoch take `pictures=None` and `steps_per_epoch`, and to resume after n pictures,
    `first=n`; for the same ones in each epoch, a number, since each iteration starts again.

    Args:
        digits: Digits to draw from.
        mode: One of `MODES`.
        pictures: How many; None for no end.
        batch: Pictures in a batch, B.
        seed: Names the series, as in `canvas`.
        first: Index of the first canvas.
        objects: Room for objects, M.
        drop_remainder: Leave out a last batch that is not full.

    Returns:
        Elements (images float32 (B, 224, 224, 3) in [-1, 1], {"boxes": float32 (B, M, 4),
        "labels": int32 (B, M)}), padded with zeros and -1. B is static if no batch can be
        smaller. Beside the batches being prepared, nothing is held.

    Raises:
        ValueError: Negative seed or first, a batch or number of pictures below 1, too little
            room for the mode's objects, or as `compose`.
    """
    _check_mode(mode)
    _check_digits(digits)
    _check_at_least("seed", seed, 0)
    _check_at_least("first", first, 0)
    _check_at_least("batch", batch, 1)
    _check_at_least("objects", objects, 1 if mode == "1" else MOST_DIGITS)
    if pictures is not None:
        _check_at_least("pictures", pictures, batch if drop_remainder else 1)
        pictures -= pictures % batch if drop_remainder else 0
    import tensorflow as tf

    full = pictures is None or pictures % batch == 0

    def batches() -> Iterator[CanvasBatch]:
        for start in itertools.count(0, batch) if pictures is None else range(0, pictures, batch):
            size = batch if pictures is None else min(batch, pictures - start)
            indices = range(first + start, first + start + size)
            yield collate([canvas(digits, mode, seed, index) for index in indices], objects)

    def prepare(made: CanvasBatch) -> tuple[Any, dict[str, Any]]:
        floats = tf.cast(made.images, tf.float32)[..., None] * SCALE - 1.0  # as `normalise`
        return tf.repeat(floats, 3, axis=-1), {"boxes": made.boxes, "labels": made.labels}

    size = batch if full else None
    signature = CanvasBatch(
        tf.TensorSpec((size, CANVAS, CANVAS), tf.uint8),
        tf.TensorSpec((size, objects, 4), tf.float32),
        tf.TensorSpec((size, objects), tf.int32),
    )
    # Whole batches leave Python: one crossing for each, not one for each picture.
    stream = tf.data.Dataset.from_generator(batches, output_signature=signature)
    stream = stream.map(prepare, num_parallel_calls=1, deterministic=True).prefetch(2)
    if pictures is not None:
        stream = stream.apply(tf.data.experimental.assert_cardinality(-(-pictures // batch)))
    return stream


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {MODES}. Received: {mode!r}")


def _check_digits(digits: Digits) -> None:
    images, labels = digits.images, digits.labels
    fits = images.dtype == np.uint8 and images.shape[1:] == (PATCH, PATCH)
    fits &= labels.dtype.kind in "iu"
    if not fits or len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"digits: expected at least one uint8 image (N, {PATCH}, {PATCH}) and its label (N,). "
            f"Received: {images.dtype} {images.shape} and {labels.dtype} {labels.shape}"
        )


def _check_at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a whole number. Received: {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}. Received: {value}")


# --- The shipped sample -------------------------------------------------------------------


def make_sample(mnist: str | os.PathLike[str], seed: int = SAMPLE_SEED) -> dict[str, NDArray[Any]]:
    """Draw the sample that is shipped: as many of each digit, in MNIST's order.

    Args:
        mnist: Folder of IDX files.
        seed: Seed of the draw.

    Returns:
        Arrays named as in Keras' archive: x_train, y_train, x_test, y_test.

    Raises:
        ValueError: A digit is too rare. And as `load_digits`.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for split in SPLITS:
        digits, wanted = load_digits(split, mnist), SAMPLE_PER_DIGIT[split]
        chosen = []
        for digit in range(10):
            found = np.flatnonzero(digits.labels == digit)
            _check_at_least(f"number of {split} digits {digit}", len(found), wanted)
            chosen.append(generator.choice(found, wanted, replace=False))
        rows = np.sort(np.concatenate(chosen))
        arrays[f"x_{split}"] = digits.images[rows]
        arrays[f"y_{split}"] = digits.labels[rows].astype(np.uint8)
    return arrays


def _main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m keras_impl.data.mnist", description="Make the sample of MNIST again."
    )
    parser.add_argument("--make-sample", metavar="DIR", required=True, help="folder of IDX files")
    parser.add_argument("--out", type=Path, default=SAMPLE, help="a new file (%(default)s)")
    given = parser.parse_args(arguments)
    try:
        arrays = make_sample(given.make_sample)
        with given.out.open("xb") as file:  # x: never over an existing sample
            np.savez_compressed(file, allow_pickle=False, **arrays)
    except FileExistsError:
        parser.error(f"--out: expected a new file, since a sample is kept. Received: {given.out}")
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    _main()
