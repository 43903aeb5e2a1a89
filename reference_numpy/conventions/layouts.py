"""Anchor layouts as data: the fields of a layout, and four layouts with names.

arXiv:1512.02325, section 2.2, gives scales and aspect ratios. Implementations differ in all the
other fields here. `anchors` computes the anchors of a layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reference_numpy.checks import check_types

__all__ = [
    "DIGITS224",
    "LAYOUTS",
    "SSD300",
    "SSDLITE320",
    "SSD_MOBILENET300",
    "AnchorLayout",
]


# A layout from a stranger's file must not fill memory: what is larger is a mistake.
MOST_MAPS, MOST_PIXELS, MOST_ANCHORS = 64, 1 << 26, 10_000_000


@dataclass(frozen=True)
class AnchorLayout:
    """The anchors (default boxes) of every feature map.

    The shapes of a cell are the square of side s_k, the extra square of side s' = sqrt(s_k s_k+1),
    and for each ratio a the shape w = s_k sqrt(a), h = s_k / sqrt(a).

    Attributes:
        name: Name of the layout on the command line.
        image_size: (height, width) of the network's input, in pixels.
        feature_maps: (rows, columns) of each map, the finest first.
        scales: s_k of each map, and one more at the end, used only for s' of the last map.
        aspect_ratios: For each map, the ratios of the further shapes, in order.
        lowest_shapes: (scale, ratio) pairs that replace all shapes of the finest map. Empty keeps
            the rule above.
        unit: Length of a scale of 1: "image", the image's width for w and its height for h;
            "shorter side" of the image, so that squares stay square; or "pixels", one pixel.
        whole_pixels: Whether scales in pixels are first cut to whole numbers.
        flip: Whether every ratio is followed by its reciprocal.
        square: Place of the square s_k in a cell: "first"; or "listed", where `aspect_ratios` has a
            1.
        extra_square: Place of s' in a cell: "second", "last" or "none".
        extra_ratio: Width / height of s'; 1 is a square.
        steps: Pixels between neighbouring cells of each map. Empty is the image size / number of
            cells.
        offset: Place of the centre in its cell, in steps.
        order: "cell", all shapes of a cell, then the next cell; or "shape", all cells of a shape,
            then the next shape.
        clip: Clipping of the anchors: "none"; "corners", to the image; "centers", each of (cx, cy,
            w, h) to [0, 1]; or "sizes", w and h to [0, 1].

    Example:
        >>> from reference_numpy import LAYOUTS, make_anchors
        >>> layout = AnchorLayout("tiny", (32, 32), ((2, 2),), (0.5, 1.0), ((),), square="first")
        >>> len(make_anchors(layout)), len(make_anchors(LAYOUTS["ssd300"]))
        (8, 8732)
    """

    name: str
    image_size: tuple[int, int]
    feature_maps: tuple[tuple[int, int], ...]
    scales: tuple[float, ...]
    aspect_ratios: tuple[tuple[float, ...], ...]
    lowest_shapes: tuple[tuple[float, float], ...] = ()
    unit: Literal["image", "shorter side", "pixels"] = "image"
    whole_pixels: bool = False
    flip: bool = False
    square: Literal["first", "listed"] = "first"
    extra_square: Literal["second", "last", "none"] = "second"
    extra_ratio: float = 1.0
    steps: tuple[float, ...] = ()
    offset: float = 0.5
    order: Literal["cell", "shape"] = "cell"
    clip: Literal["none", "corners", "centers", "sizes"] = "none"

    def __post_init__(self) -> None:
        """Check that the fields fit each other."""
        check_types(self)
        levels = len(self.feature_maps)
        if levels == 0:
            raise ValueError(
                "feature_maps: expected at least one (rows, columns) pair. Received: ()"
            )
        if len(self.scales) != levels + 1:
            raise ValueError(
                f"scales: expected {levels + 1} numbers, one per feature map and one more. "
                f"Received: {self.scales}"
            )
        if len(self.aspect_ratios) != levels:
            raise ValueError(
                f"aspect_ratios: expected {levels} tuples, one per feature map. "
                f"Received: {self.aspect_ratios}"
            )
        if len(self.steps) not in (0, levels):
            raise ValueError(
                f"steps: expected {levels} numbers, one per feature map, or none. "
                f"Received: {self.steps}"
            )
        for name, values in (
            ("image_size", self.image_size),
            ("feature_maps", [side for pair in self.feature_maps for side in pair]),
            ("scales", self.scales),
            ("aspect_ratios", [ratio for ratios in self.aspect_ratios for ratio in ratios]),
            ("lowest_shapes", [value for pair in self.lowest_shapes for value in pair]),
            ("extra_ratio", [self.extra_ratio]),
            ("steps", self.steps),
        ):
            if not all(0 < value < float("inf") for value in values):
                raise ValueError(f"{name}: expected positive numbers. Received: {values}")
        cells = [rows * columns for rows, columns in self.feature_maps]
        shapes = [2 + 2 * len(ratios) for ratios in self.aspect_ratios]
        shapes[0] += len(self.lowest_shapes)
        anchors = sum(many * each for many, each in zip(cells, shapes, strict=True))
        for name, most, unit, value in (
            ("feature_maps", MOST_MAPS, "maps", levels),
            ("image_size", MOST_PIXELS, "pixels", self.image_size[0] * self.image_size[1]),
            ("feature_maps", MOST_ANCHORS, "anchors in all", anchors),
        ):
            if value > most:
                raise ValueError(f"{name}: expected at most {most} {unit}. Received: {value}")
        if not 0 <= self.offset <= 1:
            raise ValueError(f"offset: expected a number from 0 to 1. Received: {self.offset}")
        if self.square == "listed" and not all(self.aspect_ratios):
            raise ValueError(
                "aspect_ratios: expected at least one ratio per feature map with square "
                f"'listed'. Received: {self.aspect_ratios}"
            )
        if self.square == "listed" and self.extra_square == "second":
            raise ValueError(
                "extra_square: expected 'last' or 'none' with square 'listed', where the square "
                "need not be the first shape. Received: 'second'"
            )
        if self.whole_pixels and self.unit != "pixels":
            raise ValueError(
                "whole_pixels: expected unit 'pixels', as other scales are fractions. "
                f"Received: unit {self.unit!r}"
            )
        if self.whole_pixels and min(self.scales) < 1:
            raise ValueError(
                "scales: expected 1 pixel or more with whole_pixels, which cuts less to 0. "
                f"Received: {self.scales}"
            )


_SQUARES: tuple[float, ...] = ()
_FOUR = (2.0, 1 / 2)
_SIX = (2.0, 1 / 2, 3.0, 1 / 3)
# Digits are square patches of 21 to 70 pixels (or exactly 28) in an image of 224. So the layout has
# only squares: 22, 28 and 36 pixels on the finest map, 45 and 56 on the next, 69 and more above.
# A digit of any size and place has an IoU above 1/2 with one of them.
DIGITS224 = AnchorLayout(
    name="digits224",
    image_size=(224, 224),
    feature_maps=((28, 28), (14, 14), (7, 7), (4, 4), (2, 2), (1, 1)),
    scales=(0.16, 0.2, 0.31, 0.48, 0.7, 0.85, 1.0),
    aspect_ratios=(_SQUARES,) * 6,
    lowest_shapes=((0.1, 1.0), (0.125, 1.0), (0.16, 1.0)),
)
# The six maps of the paper's SSD300 (section 3.1), 8732 anchors. The scales are .1, then .2 to .9
# in equal steps for the five coarser maps (section 2.2).
SSD300 = AnchorLayout(
    name="ssd300",
    image_size=(300, 300),
    feature_maps=((38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)),
    scales=(0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075),
    aspect_ratios=(_FOUR, _SIX, _SIX, _SIX, _FOUR, _FOUR),
)
# SSDLite on MobileNetV2 at 320 pixels (arXiv:1801.04381, section 6.2). Six shapes in every cell
# give 3234 anchors; TensorFlow has fewer shapes on the finest map, and 2034 anchors.
SSDLITE320 = AnchorLayout(
    name="ssdlite320",
    image_size=(320, 320),
    feature_maps=((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)),
    scales=(0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
    aspect_ratios=(_SIX,) * 6,
)
# The maps and sizes of the SSD MobileNetV2 of TensorFlow's model zoo at 300 pixels, 1917 anchors.
# The finest map has TensorFlow's three shapes; the other maps have the canonical shapes and order.
SSD_MOBILENET300 = AnchorLayout(
    name="ssd_mobilenet300",
    image_size=(300, 300),
    feature_maps=((19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)),
    scales=(0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
    aspect_ratios=(_SIX,) * 6,
    lowest_shapes=((0.1, 1.0), (0.2, 2.0), (0.2, 0.5)),
)
LAYOUTS = {layout.name: layout for layout in (DIGITS224, SSD300, SSDLITE320, SSD_MOBILENET300)}
