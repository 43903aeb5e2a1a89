"""Write PNG files with a mark of ours, so that files of the user are never overwritten."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, PngImagePlugin

from keras_impl._common.files import write_file

__all__ = [
    "CANVAS",
    "SOURCE",
    "free_name",
    "mark_of",
    "png",
    "save_drawn",
]

SOURCE = "mobilenetv2-ssd source"  # key of the mark in images that this program drew on
CANVAS = "mobilenetv2-ssd canvas"  # key of the mark in canvases that this program composed


def png(image: Image.Image, key: str = SOURCE, text: str = "") -> bytes:
    """Encode an image as PNG, with a text chunk that marks it as ours."""
    info = PngImagePlugin.PngInfo()
    info.add_text(key, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def mark_of(path: str | os.PathLike[str], key: str = SOURCE) -> str | None:
    """Return the mark that `png` put into a file; None if this program did not write it."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            text = image.info.get(key)
    except Exception:  # A file that cannot be read is not ours.
        return None
    return text if isinstance(text, str) else None


def free_name(folder: Path, source: Path, taken: Iterable[str] = ()) -> Path:
    """Return the file for the drawn image of a source: "photo.png", "photo-2.png" and so on.

    An existing file is replaced only if this program drew it from the same source. Names in `taken`
    are never used.

    Args:
        folder: The output folder.
        source: The image that was drawn on.
        taken: Names already used in this run, in lower case.

    Returns:
        A path in `folder`.
    """
    mark, used = _mark(source), set(taken)
    stem = re.sub(r"[^\w .()+-]", "_", source.stem) or "image"
    number = 1
    while True:
        name = f"{stem}.png" if number == 1 else f"{stem}-{number}.png"
        path = folder / name
        if name.lower() not in used and (not os.path.lexists(path) or mark_of(path) == mark):
            return path
        number += 1


def save_drawn(path: Path, image: Image.Image, source: Path) -> None:
    """Write a drawn image, marked as ours."""
    write_file(path, png(image, text=_mark(source)))


def _mark(source: Path) -> str:
    """Return a hash of the source's path, which identifies the source and hides its path."""
    return hashlib.sha256(os.path.realpath(source).encode(errors="replace")).hexdigest()[:16]
