"""Draw detections on an image, each with its class and score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from keras_impl.images.detections import Detection

__all__ = [
    "COLOURS",
    "colour",
    "draw",
    "enlarged",
    "outline",
]

READABLE = 600  # pixels of the longer side; smaller images are enlarged to about that
MOST_TIMES = 8
# One bright colour for each digit, easy to tell apart on black.
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


def colour(index: int) -> tuple[int, int, int]:
    """Return the colour of a class or an object by its index from 0."""
    return COLOURS[index % len(COLOURS)]


def enlarged(image: Image.Image) -> tuple[Image.Image, int]:
    """Copy an image, enlarged if it is too small for text; return the copy and the factor."""
    times = min(MOST_TIMES, max(1, round(READABLE / max(image.size))))
    drawn = image.convert("RGB")  # a copy
    if times > 1:
        drawn = drawn.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    return drawn, times


def draw(
    image: Image.Image, detections: Iterable[Detection], class_names: dict[int, str]
) -> Image.Image:
    """Draw boxes, each with its class and score, in the colour of the class.

    Args:
        image: The image; it is not changed.
        detections: Detections with boxes in pixels of the image.
        class_names: Name of each label.

    Returns:
        A new image; a small image is enlarged by a whole factor.
    """
    drawn, times = enlarged(image)
    # Of a long strip, the shorter side counts, so that a tag is no larger than the image.
    extent = min(max(drawn.size), 4 * min(drawn.size))
    unit = max(1, round(extent / 300))  # line width
    font = ImageFont.load_default(max(12, round(extent / 30)))
    pen = ImageDraw.Draw(drawn)
    # Boxes of higher scores are drawn later, so that they lie on top.
    scaled = [
        (found, tuple(corner * times for corner in found.box)) for found in [*detections][::-1]
    ]
    for found, box in scaled:
        outline(pen, box, colour(found.label - 1), unit)
    placed: list[tuple[float, float, float, float]] = []
    for found, box in scaled[::-1]:
        text = f"{class_names[found.label]}  {found.score:.2f}"
        placed.append(_tag(pen, drawn.size, box, text, font, colour(found.label - 1), placed))
    return drawn


def outline(
    pen: ImageDraw.ImageDraw, box: Sequence[float], ink: tuple[int, int, int], width: int
) -> None:
    """Draw a box that shows on any background: coloured, with a thin black edge outside."""
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
    """Write a label at a box, inside the image and, if possible, not over another label."""
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
