"""Draw the boxes of a conflict case as a small SVG file, with the standard library alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from reference_numpy.testing.conflicts import Box, Conflict

__all__ = ["drawing", "file_name"]

_COLOURS = ("#0072b2", "#d55e00", "#007a5a", "#a04080", "#806000")
_LARGEST = 8  # in images: a drawing of larger boxes is not readable
_SIDE = 150  # of a panel of rectangles, in pixels
_IMAGE = 'fill="#e8e8e8"'


class _Shape(NamedTuple):
    kind: str
    box: Box
    note: str = ""


def file_name(case: Conflict) -> str:
    """Return the name of the SVG file of a case.

    Example:
        >>> from reference_numpy.testing.conflicts import CONFLICTS
        >>> file_name(CONFLICTS[0])
        'make_anchors-order-of-the-shapes-in-a-cell.svg'
    """
    return f"{case.operation}-{re.sub('[^a-z0-9]+', '-', case.name.lower())}.svg"


def drawing(case: Conflict) -> str | None:
    """Draw the boxes of a case as SVG, over the image in grey.

    Boxes as high as the image become bars, one a line. Other boxes become rectangles; where the
    answers are boxes, each answer has a panel of its own.

    Args:
        case: The case.

    Returns:
        The text of an SVG file; None for a case without boxes, or with huge ones.

    Example:
        >>> from reference_numpy.testing.conflicts import CONFLICTS
        >>> drawing(CONFLICTS[0])[:4]
        '<svg'
    """
    panels = _panels(case)
    boxes = [shape.box for shapes in panels.values() for shape in shapes]
    if not boxes or max(abs(corner) for box in boxes for corner in box) > _LARGEST:
        return None
    if len(panels) == 1 and all((box[1], box[3]) == (0, 1) for box in boxes):
        width, height, parts = _bars(panels[""])
    else:
        rows, columns = case.overrides.get("image_size", (1, 1))
        width, height, parts = _rectangles(panels, rows / columns)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
    head += f'viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" font-size="12">'
    white = _rectangle(0, 0, width, height, 'fill="#fff"')
    return "\n".join([head, white, *filter(None, parts), "</svg>\n"])


def _panels(case: Conflict) -> dict[str, list[_Shape]]:
    """Return the boxes of each panel by its title: answers that are boxes, else the input."""
    answers = [value for value, _ in case.answers] + [value for _, value in case.others]
    match case.operation, case.inputs:
        case "make_anchors", _:
            return {"ABCDEFGH"[place]: _anchors(value) for place, value in enumerate(answers)}
        case "decode", (_, anchors):
            panels = enumerate(_anchors(anchors) + _boxes(value) for value in answers)
            return {"ABCDEFGH"[place]: shapes for place, shapes in panels}
        case "encode", (boxes, anchors):
            return {"": _anchors(anchors) + _boxes(boxes)}
        case "pairwise_iou", ((first,), (second,)):
            return {"first boxes": _boxes(first), "second boxes": _boxes(second)}
        case "nms" | "soft_nms" | "select", ((boxes,), (scores,)):
            pairs = zip(boxes, scores, strict=True)
            return {"": [_Shape("box", box, _scores(score)) for box, score in pairs]}
        case "match" | "assign_targets" | "assign_targets_with_crowds", inputs:
            (boxes,), (labels,), anchors, *crowds = inputs
            notes = ["crowd" * crowd for crowd in crowds[0][0]] if crowds else [""] * len(boxes)
            rows = zip(boxes, notes, labels, strict=True)
            objects = [_Shape("object", box, note) for box, note, label in rows if label > 0]
            return {"": objects + _anchors(anchors)}
    return {}


def _boxes(boxes: Iterable[Box]) -> list[_Shape]:
    return [_Shape("box", box) for box in boxes]


def _anchors(anchors: Iterable[Box]) -> list[_Shape]:
    return [
        _Shape("anchor", (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
        for cx, cy, w, h in anchors
    ]


def _scores(score: Any) -> str:
    if not isinstance(score, tuple):
        return f"score {score:g}"
    return ", ".join(f"class {label}: {one:g}" for label, one in enumerate(score, 1) if one > 0)


def _labelled(shapes: list[_Shape]) -> dict[_Shape, str]:
    """Return a label for each different shape, such as "box 0, 1" where two are the same."""
    kinds = [shape.kind for shape in shapes]
    indices: dict[_Shape, list[str]] = {}
    for place, shape in enumerate(shapes):
        indices.setdefault(shape, []).append(str(kinds[:place].count(shape.kind)))
    for found in indices.values():
        found[:] = found if len(found) < 5 else [f"{found[0]}–{found[-1]}"]
    return {shape: f"{shape.kind} {', '.join(found)}" for shape, found in indices.items()}


def _bars(shapes: list[_Shape]) -> tuple[float, float, list[str]]:
    """Draw each box as a bar over the width of the image."""
    left, right = min(0, *(one.box[0] for one in shapes)), max(1, *(one.box[2] for one in shapes))
    scale, labels = 320 / (right - left), _labelled(shapes)
    height = 22 * len(labels) + 16
    parts = [_rectangle(100 - left * scale, 4, scale, height - 8, _IMAGE)]
    for row, (shape, label) in enumerate(labels.items()):
        x, y, width = (
            100 + (shape.box[0] - left) * scale,
            22 * row + 11,
            shape.box[2] - shape.box[0],
        )
        colour = f'fill="{_COLOURS[shape.kind == "object"]}"'
        parts.append(_text(8, y + 11, label))
        parts.append(_rectangle(x, y, max(width * scale, 2), 14, colour))
        parts.append(_text(430, y + 11, shape.note))
    return 430 + 150 * any(shape.note for shape in shapes), height, parts


def _rectangles(panels: dict[str, list[_Shape]], aspect: float) -> tuple[float, float, list[str]]:
    """Draw the boxes of each panel as rectangles, with a line of text for each box below."""
    boxes = [(0, 0, 1, 1), *(shape.box for shapes in panels.values() for shape in shapes)]
    left, top, _, _ = map(min, zip(*boxes, strict=True))
    _, _, right, bottom = map(max, zip(*boxes, strict=True))
    scale = _SIDE / max(right - left, (bottom - top) * aspect)
    foot = 26 + (bottom - top) * scale * aspect
    parts = []
    for place, (title, shapes) in enumerate(panels.items()):
        x = 12 + (_SIDE + 16) * place
        parts.append(_text(x, 17, title, 'font-weight="bold"'))
        looks = [((0.0, 0.0, 1.0, 1.0), _IMAGE)]
        for (shape, label), colour in zip(_labelled(shapes).items(), _COLOURS, strict=False):
            parts.append(_text(x, foot + 16 * len(looks), label, f'fill="{colour}"'))
            look = f'fill="{colour}" fill-opacity=".1" stroke="{colour}" stroke-width="2"'
            looks.append((shape.box, look))
        for (x0, y0, x1, y1), look in looks:
            corner = x + (x0 - left) * scale, 26 + (y0 - top) * scale * aspect
            size = max((x1 - x0) * scale, 5), max((y1 - y0) * scale * aspect, 5)
            parts.append(_rectangle(*corner, *size, look))
    height = foot + 16 * max(map(len, map(_labelled, panels.values()))) + 12
    return 8 + (_SIDE + 16) * len(panels), height, parts


def _rectangle(x: float, y: float, width: float, height: float, look: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" {look}/>'


def _text(x: float, y: float, text: str, look: str = 'fill="#333"') -> str:
    return f'<text x="{x:g}" y="{y:g}" {look}>{text}</text>' if text else ""
