"""Compose training images: handwritten digits on a black canvas.

A canvas depends only on the digits, the mode, the seed and its index, so `canvas` can make any
single one again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keras_impl._common.choices import DIGIT_MODES, DigitMode
from keras_impl.data.mnist import PATCH, Digits
from keras_impl.images.pixels import normalise
from reference_numpy.checks import check_counts

CANVAS = 224  # pixels, each side
CLASS_NAMES = tuple("0123456789")  # label 1 is the digit 0
MOST_DIGITS = 10  # largest number of digits on one canvas
FACTORS = (0.75, 2.5)  # range of digit sizes in mode "1-10", relative to PATCH
OVERLAP = (1, 10)  # the IoU of two digits is at most 1 / 10
TRIES = 50  # positions tried before a digit is left out


class Canvas(NamedTuple):
    """One image with its objects.

    Attributes:
        image: uint8 (224, 224).
        boxes: float32 (n, 4), xyxy, relative to the image.
        labels: int32 (n,), the digit + 1, since 0 is the background.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int32]


class CanvasBatch(NamedTuple):
    """A batch of canvases; objects are padded to M per image.

    Attributes:
        images: uint8 (B, 224, 224).
        boxes: float32 (B, M, 4), zeros in padding rows.
        labels: int32 (B, M), -1 in padding rows.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int32]


def compose(digits: Digits, mode: DigitMode, generator: np.random.Generator) -> Canvas:
    """Compose one canvas of random digits.

    Mode "1" places one digit, at its original size, at a random position. Mode "1-10" places 1 to
    10 digits, each 0.75 to 2.5 times its size, no two with an IoU above 0.1; a digit that finds no
    place in 50 tries is left out. Mode "both" takes one of the two modes at random.

    Args:
        digits: Digits to draw from, with replacement.
        mode: One of `DIGIT_MODES`.
        generator: Source of all randomness.

    Returns:
        A canvas with at least one digit. A digit's box is its scaled 28 x 28 patch.

    Raises:
        ValueError: An unknown mode, no digits, or arrays of a wrong shape.

    Example:
        >>> one = Digits(np.full((1, 28, 28), 255, np.uint8), np.array([7]), "a white square")
        >>> made = compose(one, "1", np.random.default_rng(0))
        >>> made.boxes * CANVAS, made.labels
        (array([[167., 125., 195., 153.]], dtype=float32), array([8], dtype=int32))
        >>> bool(made.image[125:153, 167:195].all()), int(made.image.sum()) // 255
        (True, 784)
    """
    check_mode(mode)
    check_digits(digits)
    if mode == "both":
        mode = DIGIT_MODES[int(generator.integers(2))]
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
    """Return the label of a digit: the digit + 1, since 0 is the background."""
    digit = int(digits.labels[index])
    if not 0 <= digit <= 9:
        raise ValueError(f"digits: expected labels from 0 to 9. Received: {digit} at index {index}")
    return digit + 1


def _find_place(
    side: int, placed: Sequence[tuple[int, int, int]], generator: np.random.Generator
) -> tuple[int, int, int] | None:
    """Draw positions until a square overlaps no other too much; return None after `TRIES`."""
    for _ in range(TRIES):
        x, y = generator.integers(CANVAS - side, size=2, endpoint=True).tolist()
        if not any(_overlap(x, y, side, *other) for other in placed):
            return x, y, side
    return None


def _overlap(ax: int, ay: int, a: int, bx: int, by: int, b: int) -> bool:
    """Return whether two squares of whole pixels have an IoU above `OVERLAP`.

    Integers make the decision exact, where a quotient of floats would be rounded. For two squares
    plain Python is faster than NumPy.
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


def canvas(digits: Digits, mode: DigitMode, seed: int, index: int) -> Canvas:
    """Compose canvas number `index` of the endless series of a seed.

    Args:
        digits: Digits to draw from.
        mode: One of `DIGIT_MODES`.
        seed: Seed of the series, 0 or more.
        index: Index in the series, 0 or more.

    Returns:
        The canvas; the same arguments give the same canvas.

    Raises:
        ValueError: A negative seed or index, or as `compose`.
    """
    check_counts(seed=seed, index=index)
    return compose(digits, mode, np.random.default_rng([seed, index]))


def collate(canvases: Sequence[Canvas], objects: int = MOST_DIGITS) -> CanvasBatch:
    """Stack canvases into a batch and pad their objects.

    Args:
        canvases: At least one canvas.
        objects: M, the number of object rows per image.

    Returns:
        Images (B, 224, 224), boxes (B, M, 4) and labels (B, M).

    Raises:
        ValueError: No canvas, or a canvas with more than M objects.
    """
    check_counts(1, canvases=len(canvases))
    check_counts(objects=objects)
    boxes = np.zeros((len(canvases), objects, 4), np.float32)
    labels = np.full((len(canvases), objects), -1, np.int32)
    for row, made in enumerate(canvases):
        count = len(made.labels)
        if count > objects:
            raise ValueError(
                f"objects: expected at least the number of objects on each canvas. "
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
        ValueError: A wrong shape or dtype.
    """
    if np.ndim(images) != 3:
        raise ValueError(f"images: expected (B, H, W). Received: {np.shape(images)}")
    return np.repeat(normalise(images)[..., None], 3, axis=-1)


def looks_like_a_canvas(image: Image.Image) -> bool:
    """Return whether an image may show white digits on black: no colour, mostly black.

    Example:
        >>> (
        ...     looks_like_a_canvas(Image.new("RGB", (9, 9))),
        ...     looks_like_a_canvas(Image.effect_noise((9, 9), 99)),
        ... )
        (True, False)
    """
    values = np.asarray(image.convert("RGB").resize((64, 64)), np.int16)
    colourless = (np.ptp(values, axis=-1) <= 24).mean() > 0.98
    return bool(colourless and np.median(values) <= 32)


def check_mode(mode: DigitMode) -> None:
    """Raise an error if the mode is unknown."""
    if mode not in DIGIT_MODES:
        raise ValueError(f"mode: expected one of {DIGIT_MODES}. Received: {mode!r}")


def check_digits(digits: Digits) -> None:
    """Raise an error if the arrays are no images of digits with their labels."""
    images, labels = digits.images, digits.labels
    fits = images.dtype == np.uint8 and images.shape[1:] == (PATCH, PATCH)
    fits &= labels.dtype.kind in "iu"
    if not fits or len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"digits: expected at least one uint8 image (N, {PATCH}, {PATCH}) and its label (N,). "
            f"Received: {images.dtype} {images.shape} and {labels.dtype} {labels.shape}"
        )
