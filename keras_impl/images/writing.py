"""PNG files that carry a mark of ours, so that nobody else's is ever overwritten."""

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

SOURCE = "mobilenetv2-ssd source"  # key of the text in a PNG file by which we know what we drew
CANVAS = "mobilenetv2-ssd canvas"  # and of that in one that we composed


def png(image: Image.Image, key: str = SOURCE, text: str = "") -> bytes:
    """An image as the bytes of a PNG file, marked as ours by a line of text in it."""
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
    """Where the drawn image of a source goes: "photo.png", or "photo-2.png" and so on.

    A file there that this program drew of the same source is replaced; any other file, and a
    name in `taken`, never.

    Args:
        folder: The output folder.
        source: The image that was drawn on.
        taken: Lower-case names given away already.

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
    """Names a source without telling where it lies to whoever gets the image."""
    return hashlib.sha256(os.path.realpath(source).encode(errors="replace")).hexdigest()[:16]
