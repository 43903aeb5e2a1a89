"""Read image files of common formats as RGB images.

Files may come from strangers, so only a few formats are accepted and sizes are bounded.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from keras_impl.images.writing import mark_of

__all__ = [
    "images_in",
    "open_image",
]

# Common formats only. Pillow reads many more, but some start other programs (EPS), and rarely used
# decoders are a target for attackers.
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
LARGEST = 80_000_000  # pixels; Pillow's own warning begins a little above
# How an image is turned, by its EXIF orientation; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file as RGB, the way a person sees it.

    The image is turned as its EXIF says; other metadata, and faulty ones, change nothing (Pillow
    may warn about them). Transparent parts become black, like the background of the
    digits. Grey, palette and CMYK images become RGB; 16 bits are cut to the upper 8. Of several
    frames the first is read.

    Args:
        path: A PNG, JPEG, WebP, TIFF, BMP, GIF or PPM file; its contents decide, not its name.

    Returns:
        An image of mode RGB.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file has another format, is damaged, has values that are not 8 or 16 bits,
            or has more than 80 million pixels, which is checked before decoding.

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
        reason = "which is a folder" if path.is_dir() else "not found"
        raise FileNotFoundError(f"image: expected a file. Received: {path}, {reason}")
    try:
        return _read(path)
    except UnidentifiedImageError:
        kinds = ", ".join(FORMATS)
        raise ValueError(
            f"image: expected an image of one of {kinds}. Received: {path}, which is not one"
        ) from None
    except OSError as error:  # Its text repeats the path, or is a decoder's.
        reason = str(error) if error.strerror is None else error.strerror.lower()
        raise ValueError(f"image: {path} cannot be read: {reason}") from error
    except Exception as error:  # A decoder may raise any exception on a damaged file.
        raise ValueError(f"image: {path} cannot be read: {error}") from error


def _read(path: Path) -> Image.Image:
    try:
        opened = Image.open(path, formats=list(FORMATS))
    except ValueError:  # Pillow refuses a PNG for its metadata, such as much compressed text.
        if path.stat().st_size > 4 * LARGEST:  # no image that is accepted needs more bytes
            raise
        opened = Image.open(BytesIO(_pixels_alone(path.read_bytes())), formats=["PNG"])
    with opened as image:
        if image.width * image.height > LARGEST:
            size = f"{image.width} x {image.height}"
            raise ValueError(f"expected at most {LARGEST} pixels. Received: {size}")
        return _upright_rgb(image)


def _pixels_alone(data: bytes) -> bytes:
    """A PNG file with the chunks that its pixels and orientation need (specification, 5.3)."""
    kept, place = [data[:8]], 8
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"):
            kept.append(data[place:end])
        place = end
    return b"".join(kept)


def _turned(image: Image.Image) -> Image.Image:
    """Turn an image upright, as far as its EXIF can be read."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises many kinds on faulty metadata.
        return image
    return image if turn is None else image.transpose(turn)


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image, turn it upright and convert it to RGB."""
    image.load()
    image = _turned(image)
    if image.mode.startswith(("I", "F")):
        # Pillow would clip these values at 255 instead of scaling them.
        values = np.asarray(image)
        if values.dtype.kind == "f" or values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(f"expected 8 or 16 bits a channel. Received: mode {image.mode}")
        image = Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, (0, 0, 0, 255)), seen)
    # An RGB image is not converted, because that would copy it, and it may be huge.
    return image if image.mode == "RGB" else image.convert("RGB")


def images_in(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files of a folder, sorted, without those written by `save_drawn`."""
    suffixes = {suffix for known in FORMATS.values() for suffix in known}
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes)
    return [path for path in files if path.is_file() and mark_of(path) is None]
