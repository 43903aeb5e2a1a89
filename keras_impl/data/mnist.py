"""Load the handwritten digits of MNIST, from files or from the sample in this package.

MNIST: LeCun and Cortes, http://yann.lecun.com/exdb/mnist/, CC BY-SA 3.0.
"""

from __future__ import annotations

import argparse
import gzip
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from keras_impl._common.files import keras_home
from reference_numpy.checks import check_counts

PATCH = 28  # pixels, each side of an MNIST digit
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SAMPLE = Path(__file__).with_name("mnist_sample.npz")
SAMPLE_SEED = 0
SAMPLE_PER_DIGIT = {"train": 600, "test": 100}
IDX_PREFIX = {"train": "train", "test": "t10k"}
IDX_MAGIC = {"images": 0x00000803, "labels": 0x00000801}  # unsigned bytes, 3 axes or 1
DAMAGE = (OSError, EOFError, ValueError, zlib.error)  # errors of reading a damaged file
LARGEST_SET = 500_000  # digits in one file; a damaged file must not claim all memory


class Digits(NamedTuple):
    """Digits of one split.

    Attributes:
        images: uint8 (N, 28, 28), white on black.
        labels: int32 (N,), the digit, 0 to 9.
        source: Where they come from, for messages.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    source: str


# --- Where the digits come from -----------------------------------------------------------


def load_digits(
    split: Split, mnist: str | os.PathLike[str] | None = None, download: bool = False
) -> Digits:
    """Load the digits of MNIST from the first available source.

    The order is: the folder `mnist`, if given; Keras' cache (`~/.keras/datasets/mnist.npz`, or
    `datasets/mnist.npz` in `KERAS_HOME`); the sample in this package (600 training and 100 test
    images of each digit).

    Args:
        split: "train" or "test"; never train on the test digits.
        mnist: Folder with the four IDX files, gzip or plain, under their usual names.
        download: Whether Keras may download MNIST into its cache if no folder is given.

    Returns:
        The digits and their source.

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
    """Validate the arrays of a source."""
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (PATCH, PATCH):
        raise ValueError(
            f"{source}: expected images as uint8 (N, {PATCH}, {PATCH}). "
            f"Received: {images.dtype} {images.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{source}: expected labels as integers ({len(images)},), one for each image. "
            f"Received: {labels.dtype} {labels.shape}"
        )
    if len(images) == 0:
        raise ValueError(f"{source}: expected at least one digit. Received: 0")
    wrong = np.flatnonzero((labels < 0) | (labels > 9))
    if wrong.size:
        raise ValueError(
            f"{source}: expected labels from 0 to 9. Received: {labels[wrong[0]]} "
            f"at index {wrong[0]}"
        )
    return Digits(images, labels.astype(np.int32), source)


def _find_idx(folder: Path, split: Split, kind: str) -> Path:
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
    """Read one IDX file: magic number and sizes in big-endian order, then bytes."""
    item = (PATCH, PATCH) if kind == "images" else ()
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"  # the suffix may be wrong
        file.seek(0)
        stream: BinaryIO = gzip.GzipFile(fileobj=file) if zipped else file  # type: ignore[assignment]
        try:
            header = np.frombuffer(stream.read(8 + 4 * len(item)), ">u4").tolist()
            if [header[:1], header[2:], len(header[:2])] != [[IDX_MAGIC[kind]], [*item], 2]:
                expected = [IDX_MAGIC[kind], "N", *item]
                raise ValueError(f"expected the header {expected}. Received: {header}")
            count, size = header[1], int(np.prod(item, dtype=int))
            if count > LARGEST_SET:
                raise ValueError(f"expected at most {LARGEST_SET} digits. Received: {count}")
            data = stream.read(count * size)
            # Reading past the end also makes gzip verify its checksum.
            if len(data) != count * size or stream.read(1):
                relation = "fewer" if len(data) < count * size else "more"
                raise ValueError(f"expected {count * size} bytes of data. Received: {relation}")
        except DAMAGE as error:
            raise ValueError(f"{path}: expected a valid IDX file of {kind}: {error}") from error
    return np.frombuffer(data, np.uint8).reshape(count, *item)


def _read_npz(path: Path, split: Split) -> tuple[Any, Any]:
    """Read one split of an archive with Keras' layout, without unpickling."""
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
            f"{path}: expected an archive with {names[0]} and {names[1]}. Received: {error}; the "
            "file seems damaged: delete it or give another source"
        ) from error


def _download(split: Split) -> tuple[Any, Any]:
    import keras

    try:
        splits = keras.datasets.mnist.load_data()  # verifies the archive's SHA-256
    except Exception as error:  # Keras raises a bare Exception
        raise ConnectionError(f"download: MNIST could not be fetched: {error}") from error
    images, labels = splits[SPLITS.index(split)]
    return images, labels


# --- The shipped sample -------------------------------------------------------------------


def make_sample(mnist: str | os.PathLike[str], seed: int = SAMPLE_SEED) -> dict[str, NDArray[Any]]:
    """Draw the shipped sample: the same number of each digit, in MNIST's order.

    Args:
        mnist: Folder with the IDX files.
        seed: Seed of the draw.

    Returns:
        Arrays named as in Keras' archive: x_train, y_train, x_test, y_test.

    Raises:
        ValueError: There are too few of a digit, or as `load_digits`.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for split in SPLITS:
        digits, wanted = load_digits(split, mnist), SAMPLE_PER_DIGIT[split]
        chosen = []
        for digit in range(10):
            found = np.flatnonzero(digits.labels == digit)
            check_counts(wanted, **{f"number of {split} digits {digit}": len(found)})
            chosen.append(generator.choice(found, wanted, replace=False))
        rows = np.sort(np.concatenate(chosen))
        arrays[f"x_{split}"] = digits.images[rows]
        arrays[f"y_{split}"] = digits.labels[rows].astype(np.uint8)
    return arrays


def _main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m keras_impl.data.mnist", description="Draw the shipped sample of MNIST."
    )
    parser.add_argument(
        "--make-sample", metavar="DIR", required=True, help="folder with the IDX files of MNIST"
    )
    parser.add_argument("--out", type=Path, default=SAMPLE, help="new file to write (%(default)s)")
    given = parser.parse_args(arguments)
    try:
        arrays = make_sample(given.make_sample)
        with given.out.open("xb") as file:  # x: an existing sample is never overwritten
            np.savez_compressed(file, allow_pickle=False, **arrays)
    except FileExistsError:
        parser.error(f"--out: expected a new file. Received: {given.out}, which exists")
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    _main()
