"""The choices that make one SSD differ from another, by name. No arithmetic here.

Every SSD answers the same questions: which default boxes, which object an anchor
answers for, how a box is coded, which negatives count, what a detection is. Papers
leave some of the answers out and programs differ in them. Here each answer is a field
of a frozen dataclass; both `reference_numpy` and `keras_impl` obey these and nothing
else. `CANONICAL` holds the defaults, chosen in docs/conventions.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "CANONICAL",
    "DIGITS224",
    "LAYOUTS",
    "SSD300",
    "SSDLITE320",
    "SSD_MOBILENET300",
    "AnchorLayout",
    "Coding",
    "Convention",
    "Detection",
    "Loss",
    "Matching",
]


@dataclass(frozen=True)
class AnchorLayout:
    """The default boxes of every feature map (arXiv:1512.02325, section 2.2).

    Attributes:
        name: What the layout is called on the command line.
        image_size: (height, width) of the network's input in pixels.
        feature_maps: (rows, columns) of each map, the finest first.
        scales: Side of the square shape of each map as a share of the picture, and one
            more at the end, which only the extra square of the last map looks at.
        aspect_ratios: Width / height of the further shapes of each map, in order. Every
            cell has shape 1 and the extra square s' = sqrt(s_k s_k+1) before these.
        lowest_shapes: (scale, ratio) pairs that replace the shapes of the finest map, for
            networks that afford it fewer; empty keeps the rule above.
    """

    name: str
    image_size: tuple[int, int]
    feature_maps: tuple[tuple[int, int], ...]
    scales: tuple[float, ...]
    aspect_ratios: tuple[tuple[float, ...], ...]
    lowest_shapes: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse a layout whose parts do not fit each other."""
        levels = len(self.feature_maps)
        if levels == 0:
            raise ValueError(
                "feature_maps: expected at least one (rows, columns) pair. Received: ()"
            )
        if len(self.scales) != levels + 1:
            raise ValueError(
                f"scales: expected {levels + 1} numbers, one a feature map and one more. "
                f"Received: {self.scales}"
            )
        if len(self.aspect_ratios) != levels:
            raise ValueError(
                f"aspect_ratios: expected {levels} tuples, one a feature map. "
                f"Received: {self.aspect_ratios}"
            )
        for name, values in (
            ("image_size", self.image_size),
            ("feature_maps", [side for pair in self.feature_maps for side in pair]),
            ("scales", self.scales),
            ("aspect_ratios", [ratio for ratios in self.aspect_ratios for ratio in ratios]),
            ("lowest_shapes", [value for pair in self.lowest_shapes for value in pair]),
        ):
            if not all(value > 0 for value in values):
                raise ValueError(f"{name}: expected positive numbers. Received: {values}")


@dataclass(frozen=True)
class Matching:
    """Which object an anchor answers for (section 2.2, "Matching strategy").

    Attributes:
        threshold: Least IoU at which a free anchor takes its best object.
    """

    threshold: float = 0.5


@dataclass(frozen=True)
class Coding:
    """How a box is written relative to an anchor (section 2.2, equation 2).

    Attributes:
        variances: Divisors of (tx, ty, tw, th), as in Caffe SSD.
    """

    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)


@dataclass(frozen=True)
class Loss:
    """What training minimises (section 2.2, equation 1, and "Hard negative mining").

    Attributes:
        negative_ratio: Negatives kept for each positive of the same picture.
        min_negatives: Negatives kept at the least, positives or none.
        box_weight: Weight of the box loss beside the class loss (alpha in equation 1).
    """

    negative_ratio: float = 3.0
    min_negatives: int = 0
    box_weight: float = 1.0


@dataclass(frozen=True)
class Detection:
    """What is kept of the head outputs (section 2.2, "Inference" in section 3.1).

    Attributes:
        score_threshold: A candidate scores more than this.
        iou_threshold: A candidate is suppressed at more than this.
        candidates_per_class: Best candidates of each class that enter suppression.
        max_detections: Detections kept of all classes.
    """

    score_threshold: float = 0.01
    iou_threshold: float = 0.45
    candidates_per_class: int = 400
    max_detections: int = 200


@dataclass(frozen=True)
class Convention:
    """One answer to every question."""

    name: str
    matching: Matching = field(default_factory=Matching)
    coding: Coding = field(default_factory=Coding)
    loss: Loss = field(default_factory=Loss)
    detection: Detection = field(default_factory=Detection)


CANONICAL = Convention("canonical")

_SQUARES: tuple[float, ...] = ()
_FOUR = (2.0, 1 / 2)
_SIX = (2.0, 1 / 2, 3.0, 1 / 3)

# Digits are square patches of 21 to 70 of 224 pixels (or exactly 28), so the layout has
# squares only: 22, 28 and 36 px on the finest map, 45 and 56 on the next, 69 and more above.
# A digit of any size and place overlaps one of them by more than half.
DIGITS224 = AnchorLayout(
    name="digits224",
    image_size=(224, 224),
    feature_maps=((28, 28), (14, 14), (7, 7), (4, 4), (2, 2), (1, 1)),
    scales=(0.16, 0.2, 0.31, 0.48, 0.7, 0.85, 1.0),
    aspect_ratios=(_SQUARES,) * 6,
    lowest_shapes=((0.1, 1.0), (0.125, 1.0), (0.16, 1.0)),
)

# The six maps of the paper's SSD300 (section 3.1); scales .1 and then .2 to .9 in equal
# steps, as section 2.2 gives them for the five higher maps of small pictures: 8732 anchors.
SSD300 = AnchorLayout(
    name="ssd300",
    image_size=(300, 300),
    feature_maps=((38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)),
    scales=(0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075),
    aspect_ratios=(_FOUR, _SIX, _SIX, _SIX, _FOUR, _FOUR),
)

# MobileNetV2 at 320 px (arXiv:1801.04381, section 6.2): 2034 anchors with fewer shapes on
# the finest map would be the TensorFlow program's; six shapes a cell give 3234.
SSDLITE320 = AnchorLayout(
    name="ssdlite320",
    image_size=(320, 320),
    feature_maps=((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)),
    scales=(0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
    aspect_ratios=(_SIX,) * 6,
)

# The maps and sizes of the 300 px SSD MobileNetV2 of TensorFlow's model zoo, 1917 anchors:
# its three lowest shapes, and ours in our order above them.
SSD_MOBILENET300 = AnchorLayout(
    name="ssd_mobilenet300",
    image_size=(300, 300),
    feature_maps=((19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)),
    scales=(0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
    aspect_ratios=(_SIX,) * 6,
    lowest_shapes=((0.1, 1.0), (0.2, 2.0), (0.2, 0.5)),
)

LAYOUTS = {layout.name: layout for layout in (DIGITS224, SSD300, SSDLITE320, SSD_MOBILENET300)}
