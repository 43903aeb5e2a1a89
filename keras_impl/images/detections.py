"""Detections of one image, in its pixels and with class names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from reference_numpy import detection as reference
from reference_numpy.checks import check_counts

__all__ = [
    "Detection",
    "entry",
    "label_names",
    "to_pixels",
]


class Detection(NamedTuple):
    """One detected object in one image.

    Attributes:
        label: Class, from 1 on.
        score: Probability of the class.
        box: (xmin, ymin, xmax, ymax) in pixels of the image, half-open.
        anchor: Index of the anchor that predicts the box.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]
    anchor: int


def to_pixels(found: reference.Detections, size: tuple[int, int]) -> list[Detection]:
    """Convert relative boxes to pixels of an image of size (width, height).

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


def label_names(num_classes: int, class_names: Sequence[str] | None = None) -> dict[int, str]:
    """Return the name of each label; without class names, its number.

    Example:
        >>> label_names(2), label_names(2, ["cat", "dog"])
        ({1: '1', 2: '2'}, {1: 'cat', 2: 'dog'})
    """
    check_counts(1, num_classes=num_classes)
    if class_names is not None:
        if isinstance(class_names, str) or len(class_names) != num_classes:
            raise ValueError(
                f"class_names: expected {num_classes} names, one for each class. "
                f"Received: {class_names!r}"
            )
        return {label: str(name) for label, name in enumerate(class_names, start=1)}
    return {label: str(label) for label in range(1, num_classes + 1)}


def entry(
    file: str, size: tuple[int, int], detections: Iterable[Detection], class_names: dict[int, str]
) -> dict[str, Any]:
    """Return the JSON entry of an image, with boxes rounded to hundredths of a pixel.

    Example:
        >>> entry("a.png", (8, 4), [Detection(1, 0.5, (0.0, 1.0, 2.0, 3.0), 5)], {1: "cat"})
        {'file': 'a.png', 'width': 8, 'height': 4,
         'detections': [{'label': 'cat', 'score': 0.5, 'box': [0.0, 1.0, 2.0, 3.0]}]}
    """
    return {
        "file": file,
        "width": size[0],
        "height": size[1],
        "detections": [
            {
                "label": class_names[found.label],
                "score": round(found.score, 6),
                "box": [round(corner, 2) for corner in found.box],
            }
            for found in detections
        ],
    }
