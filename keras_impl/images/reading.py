"""Image files of any kind as a person would see them, in RGB.

A file from a stranger is data: few formats, bounded sizes, and an error that says what is wrong.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_impl.images.writing import mark_of

__all__ = [
    "images_in",
    "open_image",
]

# Formats that people have images in. Pillow knows many more, some of which start other
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


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image as a person would see it, in RGB.

    Turned as its EXIF says; transparent parts on black, the background the digits have; grey,
    palette and CMYK brought to RGB; the upper 8 of 16 bits; the first of several frames.

    Args:
        path: A PNG, JPEG, WebP, TIFF, BMP, GIF or PPM file; its contents count, not its name.

    Returns:
        An image of mode RGB.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such image, damaged, of numbers that are no shades of grey, or
            of more than 80 million pixels (which is seen before they are decoded).

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Image.new("L", (4, 2)).save(f"{folder}/grey.png")
        ...     image = open_image(f"{folder}/grey.png")
        >>> image.mode, image.size
        ('RGB', (4, 2))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"image: expected a file. Received: {path}")
    with warnings.catch_warnings():
        # A slip in the metadata of an image that can be read is not for its user to mend.
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
            raise ValueError(f"image: expected one of {kinds}. Received: {path}") from None
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise ValueError(f"image: {path} cannot be read: {error}") from error


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


def images_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files of a folder by name, without those that `save_drawn` wrote."""
    suffixes = {suffix for known in FORMATS.values() for suffix in known}
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes)
    return [path for path in files if path.is_file() and mark_of(path) is None]
