"""Inputs on which known SSDs disagree, with the answer of each preset.

Two programs that are both called SSD give the same answer to almost every input. This table holds
small inputs on which they do not. Each record has the input, the answer of every preset and one
sentence about the consequence of assuming another answer. Answers were worked out by hand; the
working is the comment above the record.

The table is used three times: to test every preset, to test every implementation, and for the page
docs/generated/conflicts.md. Within a case, thresholds and limits are the same for all presets, so
that only their rules differ.

Most boxes are strips as high as the image, with x in 32nds of its width: their IoU is that of
intervals, and exact in binary. Scores and losses are far enough apart that rounding changes no
decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from reference_numpy.conventions import PRESETS

__all__ = [
    "CONFLICTS",
    "Conflict",
]

Arrays = tuple[NDArray[Any], ...]
Box = tuple[float, float, float, float]


class Conflict(NamedTuple):
    """An input, and the answer of each preset.

    Attributes:
        name: A few words, unique; also the id of its tests.
        operation: The operation that takes the input, by its name in the conformance suite.
        given: The input in words, for the page.
        inputs: Nested tuples as the operation takes them, mostly a batch of one image.
        answers: (answer, names of presets) pairs; each preset appears once. An answer has the form
            that `conflict_answers.plain` returns, or is "error: ARGUMENT" where that argument is
            refused.
        warning: One sentence: the consequence for a user who assumes another answer.
        overrides: Numbers of the convention, the same for all presets; for `make_anchors`, fields
            of its layout.
        others: (overrides, answer) pairs: answers that no preset gives, but the canonical
            convention with these overrides does.
    """

    name: str
    operation: str
    given: str
    inputs: tuple[Any, ...]
    answers: tuple[tuple[Any, tuple[str, ...]], ...]
    warning: str
    overrides: Mapping[str, Any] = {}
    others: tuple[tuple[Mapping[str, Any], Any], ...] = ()

    @property
    def only_flips(self) -> bool:
        """Whether all presets give the same answer, so that only `others` differ."""
        return len(self.answers) == 1


_TORCHVISION = ("torchvision_ssd300", "torchvision_ssdlite320")
_TENSORFLOW = ("tf_od_ssd_mobilenet_v2", "mediapipe")
_BIPARTITE = ("canonical", "caffe", "ssd_keras")
_LAST = (*_TORCHVISION, "nvidia_ssd300", "paz")  # force="last": the last object takes the anchor
_UNCLIPPED = ("caffe", "ssd_keras", "nvidia_ssd300", "mediapipe", "paz", "mnist_notebook")


def _rest(*names: str) -> tuple[str, ...]:
    """Return the names of all other presets."""
    return tuple(name for name in PRESETS if name not in names)


def _strip(left: float, right: float) -> Box:
    """Return a box as high as the image, from `left` to `right` in 32nds of its width, in xyxy."""
    return (left / 32, 0.0, right / 32, 1.0)


def _anchor(left: float, right: float) -> Box:
    """Return the same box in cxcywh."""
    return ((left + right) / 64, 0.5, (right - left) / 32, 1.0)


def _objects(boxes: tuple[Box, ...], anchors: tuple[Box, ...]) -> tuple[Any, ...]:
    """Return the inputs of `match` for one image, with objects of labels 1, 2, ..."""
    return ((boxes,), (tuple(range(1, len(boxes) + 1)),), anchors)


_NO_CODE = (0.0, 0.0, 0.0, 0.0)
_PADDING = (0.0, 0.0, 0.0, 0.0)
_EVEN = (0.0, 0.0)  # logits: both classes equally likely
_QUARTERS = (_strip(0, 8), _strip(8, 16), _strip(16, 24), _strip(24, 32))
_FEW = {"score_threshold": 0.5, "iou_threshold": 0.5, "max_detections": 10}
# In an image of 1 × 1 pixel, all units of a layout are the same. One cell of step 1.
_PIXEL = {"image_size": (1, 1), "feature_maps": ((1, 1),), "steps": (1.0,)}
# For cases whose `lowest_shapes` replace the rule for shapes; scales and ratios are not used.
_SHAPES = {"image_size": (1, 1), "scales": (1.0, 1.0), "aspect_ratios": ((1.0,),)}

_ANCHORS = (
    # s = 1 and s' = sqrt(1 × 4) = 2. Ratio 4 is 2 × 1/2, its reciprocal 1/2 × 2. The canonical
    # layout lists all ratios, so it adds no reciprocal. torchvision and NVIDIA add it, then cut
    # sizes to 1. TensorFlow puts s' last. The notebook has the listed ratios only: neither s nor
    # s'.
    Conflict(
        "order of the shapes in a cell",
        "make_anchors",
        "One cell with its centre at (0.5, 0.5). s = 1 and the next scale is 4, so s' = 2. One "
        "aspect ratio: 4.",
        (0.0,),
        (
            (((0.5, 0.5, 1, 1), (0.5, 0.5, 2, 2), (0.5, 0.5, 2, 0.5)), ("canonical",)),
            (
                (
                    (0.5, 0.5, 1, 1),
                    (0.5, 0.5, 2, 2),
                    (0.5, 0.5, 2, 0.5),
                    (0.5, 0.5, 0.5, 2),
                ),
                ("caffe", "ssd_keras", "paz"),
            ),
            (
                (
                    (0.5, 0.5, 1, 1),
                    (0.5, 0.5, 1, 1),
                    (0.5, 0.5, 1, 0.5),
                    (0.5, 0.5, 0.5, 1),
                ),
                (*_TORCHVISION, "nvidia_ssd300"),
            ),
            (((0.5, 0.5, 1, 1), (0.5, 0.5, 2, 0.5), (0.5, 0.5, 2, 2)), _TENSORFLOW),
            (((0.5, 0.5, 2, 0.5),), ("mnist_notebook",)),
        ),
        "Pretrained weights load without an error, but each predicted box gets the shape of "
        "another anchor.",
        {**_PIXEL, "scales": (1.0, 4.0), "aspect_ratios": ((4.0,),), "lowest_shapes": ()},
    ),
    # TensorFlow has three shapes of its own for the finest map: .1 × .1, then .2 sqrt(2) = .2828 by
    # .2 / sqrt(2) = .1414, and the reciprocal. All others follow the rule: s = s' = 1 and ratio 1,
    # with its reciprocal where the layout flips.
    Conflict(
        "anchor shapes of the finest feature map",
        "make_anchors",
        "One cell of the finest feature map, with its centre at (0.5, 0.5). s = s' = 1. One "
        "aspect ratio: 1. Some presets have other shapes for this map, which stay as they are.",
        (0.0,),
        (
            (((0.5, 0.5, 1, 1),) * 3, ("canonical",)),
            (
                ((0.5, 0.5, 1, 1),) * 4,
                ("caffe", *_TORCHVISION, "ssd_keras", "nvidia_ssd300", "paz"),
            ),
            (
                (
                    (0.5, 0.5, 0.1, 0.1),
                    (0.5, 0.5, 0.2828, 0.1414),
                    (0.5, 0.5, 0.1414, 0.2828),
                ),
                _TENSORFLOW,
            ),
            (((0.5, 0.5, 1, 1),), ("mnist_notebook",)),
        ),
        "The number of anchors is wrong (3234 instead of 2034 at 320 pixels), and the heads do "
        "not fit the weights.",
        {**_PIXEL, "scales": (1.0, 1.0), "aspect_ratios": ((1.0,),)},
    ),
    # Caffe: int(1.5) = 1, int(6) = 6, s' = sqrt(6) = 2.4495. Others: s' = sqrt(1.5 × 6) = 3.
    # torchvision and NVIDIA cut each of these sizes to 1.
    Conflict(
        "anchor sizes with a fraction of a pixel",
        "make_anchors",
        "One cell in an image of 1 × 1 pixel, with its centre at (0.5, 0.5). s = 1.5 pixels and "
        "the next scale is 6, so s' = 3. One aspect ratio: 1.",
        (0.0,),
        (
            (((0.5, 0.5, 1.5, 1.5), (0.5, 0.5, 3, 3), (0.5, 0.5, 1.5, 1.5)), ("canonical",)),
            (
                (
                    (0.5, 0.5, 1, 1),
                    (0.5, 0.5, 2.4495, 2.4495),
                    (0.5, 0.5, 1, 1),
                    (0.5, 0.5, 1, 1),
                ),
                ("caffe",),
            ),
            (
                (
                    (0.5, 0.5, 1.5, 1.5),
                    (0.5, 0.5, 3, 3),
                    (0.5, 0.5, 1.5, 1.5),
                    (0.5, 0.5, 1.5, 1.5),
                ),
                ("ssd_keras", "paz"),
            ),
            (((0.5, 0.5, 1, 1),) * 4, (*_TORCHVISION, "nvidia_ssd300")),
            (((0.5, 0.5, 1.5, 1.5), (0.5, 0.5, 1.5, 1.5), (0.5, 0.5, 3, 3)), _TENSORFLOW),
            (((0.5, 0.5, 1.5, 1.5),), ("mnist_notebook",)),
        ),
        "Caffe's SSD512 asks for 35.84 pixels and uses 35, so with anchors of 35.84 its weights "
        "predict boxes that are 2 % too large.",
        {**_PIXEL, "scales": (1.5, 6.0), "aspect_ratios": ((1.0,),), "lowest_shapes": ()},
    ),
    # Centres are at .25 and .75. The step of .5 also holds for the one row: .25.
    Conflict(
        "order of cells and shapes",
        "make_anchors",
        "Two cells side by side, each with squares of side 0.25 and 0.5.",
        (0.0,),
        (
            (
                (
                    (0.25, 0.25, 0.25, 0.25),
                    (0.25, 0.25, 0.5, 0.5),
                    (0.75, 0.25, 0.25, 0.25),
                    (0.75, 0.25, 0.5, 0.5),
                ),
                _rest("nvidia_ssd300"),
            ),
            (
                (
                    (0.25, 0.25, 0.25, 0.25),
                    (0.75, 0.25, 0.25, 0.25),
                    (0.25, 0.25, 0.5, 0.5),
                    (0.75, 0.25, 0.5, 0.5),
                ),
                ("nvidia_ssd300",),
            ),
        ),
        "The heads are read in the wrong order, so each score goes to a box in another place.",
        {
            **_SHAPES,
            "feature_maps": ((1, 2),),
            "steps": (0.5,),
            "lowest_shapes": ((0.25, 1.0), (0.5, 1.0)),
        },
    ),
    # Centres are at .375 and 1.125 (the 10 × 10 map of NVIDIA also ends outside, at 304/300).
    # "sizes" cuts the width 2 to 1; "centers" also cuts 1.125 to 1. "corners": x from -.625 to
    # 1.375 becomes 0 to 1; x from .125 to 2.125 becomes .125 to 1, with centre .5625 and width
    # .875.
    Conflict(
        "anchors that reach outside the image",
        "make_anchors",
        "Two cells with a step of 0.75, so the second centre lies outside the image, at x = "
        "1.125. One shape: 2 × 0.5.",
        (0.0,),
        (
            (
                ((0.375, 0.375, 2, 0.5), (1.125, 0.375, 2, 0.5)),
                _rest(*_TORCHVISION, "nvidia_ssd300"),
            ),
            (((0.375, 0.375, 1, 0.5), (1.125, 0.375, 1, 0.5)), _TORCHVISION),
            (((0.375, 0.375, 1, 0.5), (1, 0.375, 1, 0.5)), ("nvidia_ssd300",)),
        ),
        "Boxes of the coarse feature maps are off by up to half their size, because their codes "
        "are relative to another anchor.",
        {
            **_SHAPES,
            "feature_maps": ((1, 2),),
            "steps": (0.75,),
            "lowest_shapes": ((1.0, 4.0),),
        },
        (({"clip": "corners"}, ((0.5, 0.375, 1, 0.5), (0.5625, 0.375, 0.875, 0.5))),),
    ),
    # One cell of step 2 in an image 4 wide and 2 high: centre 1/4, 1/2. The scale .5 is half of
    # width and height each; or half of the shorter side, one pixel, which is 1/4 by 1/2; or half a
    # pixel, 1/8 by 1/4.
    Conflict(
        "anchors in an image that is not square",
        "make_anchors",
        "An image 4 pixels wide and 2 pixels high. One cell with a step of 2 pixels. One shape: a "
        "square of scale 0.5.",
        (0.0,),
        (
            (((0.25, 0.5, 0.5, 0.5),), ("canonical", *_TORCHVISION, "mediapipe")),
            (((0.25, 0.5, 0.25, 0.5),), ("tf_od_ssd_mobilenet_v2", "ssd_keras")),
            (
                ((0.25, 0.5, 0.125, 0.25),),
                ("caffe", "nvidia_ssd300", "paz", "mnist_notebook"),
            ),
        ),
        "Square anchors are stretched with the image, or the other way round, and matching finds "
        "fewer positives.",
        {
            **_SHAPES,
            "image_size": (2, 4),
            "feature_maps": ((1, 1),),
            "steps": (2.0,),
            "lowest_shapes": ((0.5, 1.0),),
        },
    ),
    # Without steps the centres are (j + .5) / 2. With a step of .75: .375 and 1.125, and .375 for
    # the one row. With offset 0: 0 and 1/2, and 0 for the row.
    Conflict(
        "centres of the cells",
        "make_anchors",
        "Two cells side by side, no steps given. One shape: a square of side 0.5.",
        (0.0,),
        ((((0.25, 0.5, 0.5, 0.5), (0.75, 0.5, 0.5, 0.5)), _rest()),),
        "Anchors shift: in an image of 300 pixels, the last centre of a 10 × 10 map is at 304 "
        "with a step of 32, and at 285 with equal cells.",
        {
            **_SHAPES,
            "feature_maps": ((1, 2),),
            "steps": (),
            "lowest_shapes": ((0.5, 1.0),),
        },
        (
            ({"steps": (0.75,)}, ((0.375, 0.375, 0.5, 0.5), (1.125, 0.375, 0.5, 0.5))),
            ({"offset": 0.0}, ((0, 0, 0.5, 0.5), (0.5, 0, 0.5, 0.5))),
        ),
    ),
)

_TINY = 2.0**-10
_OVERLAPS = (
    # Side 2^-10, area 2^-20 = 9.537e-7: IoU with itself 1; with 1e-7 added to the union, 9.537 /
    # 10.537. Halves that touch: 0. A point with itself: 0 / 0, defined as 0. With offset 1 the
    # sides are: tiny 1.00098, halves 1.5 × 2 = 3, whole 4, point 1 × 1. Touching halves: 1 × 2 of 3
    # + 3 - 2. Left in whole: 3 / 4. Tiny in left: 1.00195 / 3, in whole / 4. Tiny and right: .50098
    # × 1.00098 = .50147 of 4.00195 - .50147. Tiny and point: .25098 of 1.75098.
    Conflict(
        "IoU of tiny, touching and empty boxes",
        "pairwise_iou",
        "First boxes: a square of side 1/1024, the left half of the image, a point. Second boxes: "
        "the same square, the left half, the right half, the whole image, the same point.",
        (
            (((0, 0, _TINY, _TINY), (0, 0, 0.5, 1), (0.5, 0.5, 0.5, 0.5)),),
            (
                (
                    (0, 0, _TINY, _TINY),
                    (0, 0, 0.5, 1),
                    (0.5, 0, 1, 1),
                    (0, 0, 1, 1),
                    (0.5, 0.5, 0.5, 0.5),
                ),
            ),
        ),
        (((((1, 0, 0, 0, 0), (0, 1, 0, 0.5, 0), (0, 0, 0, 0, 0)),), _rest()),),
        "An epsilon in the union lowers the IoU of small boxes, a division without a guard gives "
        "NaN for two points, and an offset for pixels makes all boxes overlap.",
        {},
        (
            (
                {"iou_epsilon": 1e-7},
                (((0.9051, 0, 0, 0, 0), (0, 1, 0, 0.5, 0), (0, 0, 0, 0, 0)),),
            ),
            (
                {"iou_offset": 1.0},
                (
                    (
                        (1, 0.334, 0.1433, 0.2505, 0.1433),
                        (0.334, 1, 0.5, 0.75, 0.3333),
                        (0.1433, 0.3333, 0.3333, 0.25, 1),
                    ),
                ),
            ),
        ),
    ),
)

_MATCHES = (
    # o0 [7, 13] in a0 [0, 16]: 6/16, with a1 [8, 24] 5/17. o1 [0, 10]: 10/16 and 2/24. Bipartite:
    # .625 first, so a0 goes to o1, and o0 takes a1. Otherwise both take a0, and a1 stays below .5.
    Conflict(
        "two objects with the same best anchor, the second overlaps it more",
        "match",
        "IoU with anchors 0, 1, 2: object 0 has 3/8, 5/17, 0; object 1 has 5/8, 1/12, 0.",
        _objects((_strip(7, 13), _strip(0, 10)), (_anchor(0, 16), _anchor(8, 24), _anchor(26, 32))),
        (
            (((1, 0, -1),), _BIPARTITE),
            (((1, -1, -1),), (*_LAST, "mnist_notebook")),
            (((0, -1, -1),), _TENSORFLOW),
        ),
        "One of two neighbouring objects is never learned, although you expect that every object "
        "has an anchor.",
    ),
    # The same boxes with the objects swapped: with "last", the object with 6/16 replaces the one
    # with 10/16.
    Conflict(
        "two objects with the same best anchor, the first overlaps it more",
        "match",
        "IoU with anchors 0, 1, 2: object 0 has 5/8, 1/12, 0; object 1 has 3/8, 5/17, 0.",
        _objects((_strip(0, 10), _strip(7, 13)), (_anchor(0, 16), _anchor(8, 24), _anchor(26, 32))),
        (
            (((0, 1, -1),), _BIPARTITE),
            (((1, -1, -1),), _LAST),
            (((0, -1, -1),), (*_TENSORFLOW, "mnist_notebook")),
        ),
        "An object with IoU 3/8 takes the anchor from one with IoU 5/8, so the order of the "
        "annotations decides which object is learned.",
    ),
    # o0 [10, 22]: with a1 [8, 24] 12/16, with a2 [12, 28] 10/18. o1 touches no anchor; the first of
    # its zeros is a0. (The matcher of ssd_keras itself gives anchor 0 away here: listed among its
    # bugs.)
    Conflict(
        "an object that overlaps no anchor",
        "match",
        "IoU with anchors 0, 1, 2: object 0 has 0, 3/4, 5/9; object 1 has 0, 0, 0.",
        _objects(
            (_strip(10, 22), _strip(29, 32)), (_anchor(0, 6), _anchor(8, 24), _anchor(12, 28))
        ),
        (
            (((-1, 0, 0),), (*_BIPARTITE, "mnist_notebook")),
            (((1, 0, 0),), (*_LAST, *_TENSORFLOW)),
        ),
        "The first anchor of the image learns an object that lies elsewhere, and its target code "
        "may be huge.",
    ),
    # Both [8, 20]: with a0 [8, 24] 12/16, with a1 [10, 24] 10/16, with a2 [16, 32] 4/24. "last": a0
    # goes to o1; a1 goes to o0 by its threshold, the lower of two equals.
    Conflict(
        "two identical objects",
        "match",
        "IoU with anchors 0, 1, 2: both objects have 3/4, 5/8, 1/6.",
        _objects(
            (_strip(8, 20), _strip(8, 20)), (_anchor(8, 24), _anchor(10, 24), _anchor(16, 32))
        ),
        (
            (((0, 1, -1),), _BIPARTITE),
            (((1, 0, -1),), _LAST),
            (((0, 0, -1),), (*_TENSORFLOW, "mnist_notebook")),
        ),
        "An object annotated with two labels is learned with only one of them.",
    ),
    # With a0 [0, 16]: 12/16, 10/16, 9/16. With a1 [8, 24]: 4/24, 5/21, 6/19. a2 touches none.
    # Bipartite: a0 goes to o0, then a1 to o2, the largest IoU left; o1 has only zeros left.
    Conflict(
        "three objects with the same best anchor",
        "match",
        "IoU with anchors 0, 1, 2: object 0 has 3/4, 1/6, 0; object 1 has 5/8, 5/21, 0; object 2 "
        "has 9/16, 6/19, 0.",
        _objects(
            (_strip(0, 12), _strip(3, 13), _strip(5, 14)),
            (_anchor(0, 16), _anchor(8, 24), _anchor(24, 32)),
        ),
        (
            (((0, 2, -1),), _BIPARTITE),
            (((2, -1, -1),), _LAST),
            (((0, -1, -1),), (*_TENSORFLOW, "mnist_notebook")),
        ),
        "Two of three crowded objects are never learned, and the anchors next to them are trained "
        "as background.",
    ),
    # Three times [0, 12]: with a0 [0, 16] 12/16, with a1 [4, 16] 8/16, which is the threshold.
    # Bipartite: o0 and o1 get an anchor, o2 gets none. "last": a0 goes to o2, and a1 to o0 if the
    # threshold is included. "first": both go to o0.
    Conflict(
        "more objects than anchors",
        "match",
        "Three identical objects and two anchors. IoU of each object with anchors 0, 1: 3/4, 1/2.",
        _objects((_strip(0, 12),) * 3, (_anchor(0, 16), _anchor(4, 16))),
        (
            (((0, 1),), _BIPARTITE),
            (((2, 0),), (*_TORCHVISION, "paz")),
            (((2, -1),), ("nvidia_ssd300",)),
            (((0, 0),), _TENSORFLOW),
            (((0, -1),), ("mnist_notebook",)),
        ),
        "In crowded images each program learns other objects, and no threshold makes them agree.",
    ),
    # [0, 16] is a0, and a1 [0, 8] is half of it: exactly 1/2.
    Conflict(
        "matching at an IoU equal to the threshold",
        "match",
        "IoU of the object with anchors 0, 1: 1, 1/2.",
        _objects((_strip(0, 16),), (_anchor(0, 16), _anchor(0, 8))),
        (
            (((0, 0),), _rest("nvidia_ssd300", "mnist_notebook")),
            (((0, -1),), ("nvidia_ssd300", "mnist_notebook")),
        ),
        "An anchor that should be positive is trained as background, or the other way round; on a "
        "regular grid, an IoU of exactly 1/2 is common.",
        {"threshold": 0.5},
    ),
    # [0, 4] is a quarter of a0 [0, 16]. All presets but the notebook force the match, whatever the
    # threshold.
    Conflict(
        "a small object below the threshold",
        "match",
        "IoU of the object with anchors 0, 1: 1/4, 0.",
        _objects((_strip(0, 4),), (_anchor(0, 16), _anchor(16, 32))),
        (
            (((0, -1),), _rest("mnist_notebook")),
            (((-1, -1),), ("mnist_notebook",)),
        ),
        "Small objects are never learned, and no number in the log shows it.",
    ),
    # [6, 18]: 6/18 with a0 [0, 12] and with a1 [12, 24].
    Conflict(
        "two anchors with the same IoU",
        "match",
        "IoU of the object with anchors 0, 1: 1/3, 1/3.",
        _objects((_strip(6, 18),), (_anchor(0, 12), _anchor(12, 24))),
        (
            (((0, -1),), _rest("mnist_notebook")),
            (((-1, -1),), ("mnist_notebook",)),
        ),
        "A matcher that takes the last of equal IoUs trains another anchor for each object on the "
        "border of two cells.",
    ),
    # Side 2^-12 in the whole image: 2^-24 = 6e-8, more than 0 and less than the 1e-6 of Caffe. a0,
    # the right half, does not touch it.
    Conflict(
        "an IoU below one millionth",
        "match",
        "The object is a square of side 1/4096, a dot in the drawing. IoU with anchor 0, the "
        "right half: 0; with anchor 1, the whole image: 6e-8.",
        _objects(((0, 0, 2.0**-12, 2.0**-12),), (_anchor(16, 32), _anchor(0, 32))),
        (
            (((-1, 0),), _rest("caffe", "mnist_notebook")),
            (((-1, -1),), ("caffe", "mnist_notebook")),
        ),
        "A speck becomes a target with a code below −40, and one such annotation can wreck a "
        "training step.",
    ),
    # [0, 16]: 1 with a0, 6/16 with a1 [0, 6], 5/16 with a2 [0, 5]. With `ignore_from` = .375, a1 is
    # ignored.
    Conflict(
        "an IoU below the threshold",
        "match",
        "IoU of the object with anchors 0, 1, 2: 1, 3/8, 5/16.",
        _objects((_strip(0, 16),), (_anchor(0, 16), _anchor(0, 6), _anchor(0, 5))),
        ((((0, -1, -1),), _rest()),),
        "Anchors that see much of an object are trained as background, although you expect that "
        "they are ignored.",
        {"threshold": 0.5},
        (({"ignore_from": 0.375}, ((0, -2, -1),)),),
    ),
)

_TARGETS = (
    # o0 [0, 16] equals a1, and its half is a2 [0, 8]. The code of a2: (.25 - .125) / .25 / .1 = 5
    # and log(2) / .2 = 3.4657; its IoU is the threshold. Row 1 is padding.
    Conflict(
        "a row of padding among the objects",
        "assign_targets",
        "Object 0 has label 2, equals anchor 1 and has IoU 1/2 with anchor 2. Row 1 is padding: a "
        "box of zeros with label −1.",
        (
            ((_strip(0, 16), _PADDING),),
            ((2, -1),),
            (_anchor(24, 32), _anchor(0, 16), _anchor(0, 8)),
        ),
        (
            (
                (((0, 2, 2), (_NO_CODE, (5, 0, 3.4657, 0))),),
                ("canonical", "caffe", *_TORCHVISION, "ssd_keras", "paz"),
            ),
            ((((0, 2, 2), (_NO_CODE, (0, 5, 0, 3.4657))),), _TENSORFLOW),
            ((((0, 2, 0), (_NO_CODE,)),), ("nvidia_ssd300", "mnist_notebook")),
        ),
        "A matcher that takes the row of zeros for an object forces it on the first anchor, which "
        "then learns a box that does not exist.",
        {"threshold": 0.5},
    ),
    # o0 is a line in the middle of a0 [0, 16], o1 equals a1. Caffe drops o0; the notebook forces no
    # match. TensorFlow forces it on a0: (0, 0, 0, log(1e-8 / .50000001) / .2) = -17.72753 × 5. paz:
    # log(0 + 1e-8) / .2 = -18.42068 × 5.
    Conflict(
        "an object of zero width",
        "assign_targets",
        "Object 0, label 1, is a vertical line in the middle of anchor 0. Object 1, label 2, "
        "equals anchor 1.",
        (
            (((0.25, 0, 0.25, 1), _strip(16, 32)),),
            ((1, 2),),
            (_anchor(0, 16), _anchor(16, 32)),
        ),
        (
            ("error: boxes", ("canonical", *_TORCHVISION, "ssd_keras", "nvidia_ssd300")),
            ((((0, 2), (_NO_CODE,)),), ("caffe", "mnist_notebook")),
            ((((1, 2), ((0, 0, 0, -88.6377), _NO_CODE)),), _TENSORFLOW),
            ((((1, 2), ((0, 0, -92.1034, 0), _NO_CODE)),), ("paz",)),
        ),
        "One bad annotation stops a training run that worked before, or dominates the box loss, "
        "or gives a NaN that is easy to miss.",
    ),
    # The crowd is [16, 32]. Share of the anchor that it covers: a1 [16, 20] all, a2 [8, 24] 8/16,
    # a3 [18, 30] all. IoU: 4/16, 8/24, 12/16. Only by IoA at .5 are all three ignored.
    Conflict(
        "anchors that overlap a crowd",
        "assign_targets_with_crowds",
        "The object has label 1 and equals anchor 0. The crowd covers all of anchor 1, half of "
        "anchor 2 and all of anchor 3; its IoU with them is 1/4, 1/3 and 3/4.",
        (
            ((_strip(0, 16), _strip(16, 32)),),
            ((1, 2),),
            (_anchor(0, 16), _anchor(16, 20), _anchor(8, 24), _anchor(18, 30)),
            ((False, True),),
        ),
        (
            ((((1, -1, -1, -1), (_NO_CODE,)),), ("canonical",)),
            ((((1, 0, 0, 0), (_NO_CODE,)),), _rest("canonical")),
        ),
        "Anchors on a crowd of people are trained as background.",
        {"crowd_overlap": 0.5},
        (({"crowd_by": "iou"}, (((1, 0, 0, -1), (_NO_CODE,)),)),),
    ),
)

_CODES = (
    # Anchor (.5, .5), 1/4 × 1/2; box with centre .5625 and width 1/2. tx = .0625 / .25 / .1 = 2.5,
    # tw = log(2) / .2 = 3.4657. The notebook: .0625 × 224 = 14 and .25 × 224 = 56 pixels.
    Conflict(
        "order and scale of a box code",
        "encode",
        "The anchor has its centre at (0.5, 0.5) and size 0.25 × 0.5. The box lies a quarter of "
        "the anchor's width to the right and is twice as wide.",
        (((0.3125, 0.25, 0.8125, 0.75),), ((0.5, 0.5, 0.25, 0.5),)),
        (
            (((2.5, 0, 3.4657, 0),), _rest(*_TENSORFLOW, "mnist_notebook")),
            (((0, 2.5, 0, 3.4657),), _TENSORFLOW),
            (((0, 14, 0, 56),), ("mnist_notebook",)),
        ),
        "Targets and heads differ in order and scale, so training runs without an error and "
        "learns boxes with x and y swapped.",
    ),
    # 2^-20 wide, the anchor 2^-2: -18 log(2) / .2 = -62.3832. Adding 1e-8 to 2^-20 adds 1.0486 % of
    # it: .010431 / .2 more. Adding 1e-8 to the ratio 2^-18 adds .2621 %: .002618 / .2 more. The
    # notebook: (2^-20 - .25) × 224.
    Conflict(
        "the code of a very narrow box",
        "encode",
        "A box about one millionth of the image wide (1 / 2^20), in the middle of an anchor of "
        "width 0.25.",
        (((0.5 - 2.0**-21, 0.25, 0.5 + 2.0**-21, 0.75),), ((0.5, 0.5, 0.25, 0.5),)),
        (
            (((0, 0, -62.3832, 0),), _rest(*_TENSORFLOW, "paz", "mnist_notebook")),
            (((0, 0, 0, -62.3311),), _TENSORFLOW),
            (((0, 0, -62.3701, 0),), ("paz",)),
            (((0, 0, 0, -55.9998),), ("mnist_notebook",)),
        ),
        "A test that encodes, decodes and compares fails on small boxes, because only encoding "
        "adds an epsilon.",
    ),
    # Anchor 1/2 × 1/4. tx = 1: .1 × .5 to the right. ty = 1: .1 × .25 down. The notebook: 1/224
    # down.
    Conflict(
        "order of the numbers in a code",
        "decode",
        "The code (1, 0, 0, 0) on an anchor with its centre at (0.5, 0.5) and size 0.5 × 0.25.",
        (((1.0, 0, 0, 0),), ((0.5, 0.5, 0.5, 0.25),)),
        (
            (((0.3, 0.375, 0.8, 0.625),), _rest(*_TENSORFLOW, "mnist_notebook")),
            (((0.25, 0.4, 0.75, 0.65),), _TENSORFLOW),
            (((0.25, 0.3795, 0.75, 0.6295),), ("mnist_notebook",)),
        ),
        "Boxes move down instead of right, which looks like a badly trained network.",
    ),
    # exp(25 × .2) = 148.413, times 1/4 is 37.1033; cut at log(62.5): 15.625. In the order of
    # TensorFlow it is the height. The notebook: height .25 + 25/224 = .3616.
    Conflict(
        "a code with a huge size",
        "decode",
        "The code (0, 0, 25, 0) on an anchor with its centre at (0.5, 0.5) and size 0.25 × 0.25.",
        (((0, 0, 25.0, 0),), ((0.5, 0.5, 0.25, 0.25),)),
        (
            (
                ((-18.0516, 0.375, 19.0516, 0.625),),
                _rest(*_TORCHVISION, *_TENSORFLOW, "mnist_notebook"),
            ),
            (((-7.3125, 0.375, 8.3125, 0.625),), _TORCHVISION),
            (((0.375, -18.0516, 0.625, 19.0516),), _TENSORFLOW),
            (((0.375, 0.3192, 0.625, 0.6808),), ("mnist_notebook",)),
        ),
        "Early in training, boxes overflow in one program and not in the other; suppression then "
        "computes infinity − infinity, which is NaN.",
    ),
    Conflict(
        "column of the background",
        "background_first",
        "The logits of one anchor: 1, 2, 3.",
        (((1.0, 2.0, 3.0),),),
        (
            (((1, 2, 3),), _rest("mnist_notebook")),
            (((3, 1, 2),), ("mnist_notebook",)),
        ),
        "Every label is off by one, and the column called the first class holds the background.",
    ),
)

_LOSSES = (
    # Background first: softmax log(1 + e²) = 2.1269; sigmoids log(1 + e²) + log 2 = 2.8201.
    # Background last: log(1 + e⁻²) = .1269. Focal, with p = σ(2) = .8808 for the background: .75 ×
    # .7758 × 2.1269 + .25 × .25 × .6931 = 1.2376 + .0433; alpha 1/2: .8250 + .0866; gamma 0: .75 ×
    # 2.1269 + .25 × .6931 = 1.5952 + .1733.
    Conflict(
        "class loss of a positive and of an ignored anchor",
        "class_losses",
        "Two anchors with logits (2, 0): anchor 0 has label 1, anchor 1 is ignored (label −1).",
        (((2.0, 0.0), (2.0, 0.0)), (1, -1)),
        (
            ((2.1269, 0), _rest(*_TENSORFLOW, "mnist_notebook")),
            ((2.8201, 0), _TENSORFLOW),
            ((0.1269, 0), ("mnist_notebook",)),
        ),
        "Learning rates and loss curves of one program do not carry over to the other.",
        {},
        (
            ({"class_loss": "focal"}, (1.2809, 0)),
            ({"class_loss": "focal", "focal_alpha": 0.5}, (0.9117, 0)),
            ({"class_loss": "focal", "focal_gamma": 0.0}, (1.7685, 0)),
        ),
    ),
)
_MINING = (
    # The ratio asks for three of five equal negatives: the first three. The notebook takes all.
    Conflict(
        "negatives with equal losses",
        "mine_hard_negatives",
        "Anchor 0 is positive. Anchors 1 to 5 are negatives with the same loss.",
        (((9.0, 1, 1, 1, 1, 1),), ((1, 0, 0, 0, 0, 0),)),
        (
            (((1, 2, 3),), _rest("mnist_notebook")),
            (((1, 2, 3, 4, 5),), ("mnist_notebook",)),
        ),
        "All losses are equal when training starts, and an unstable sort picks other negatives on "
        "each device.",
    ),
    Conflict(
        "negatives of an image without objects",
        "mine_hard_negatives",
        "Five negatives with losses 5, 4, 3, 2, 1. No positive.",
        (((5.0, 4, 3, 2, 1),), ((0, 0, 0, 0, 0),)),
        (
            (((),), _rest(*_TENSORFLOW, "mnist_notebook")),
            (((0, 1, 2),), _TENSORFLOW),
            (((0, 1, 2, 3, 4),), ("mnist_notebook",)),
        ),
        "Images without objects teach nothing, although they were added to reduce false alarms.",
    ),
    # The ratio asks for nine negatives, and there are two. With half a negative for each of three
    # positives: ⌊1.5⌋ = 1. (torchvision then counts positives twice: listed among its bugs.)
    Conflict(
        "fewer negatives than the ratio asks for",
        "mine_hard_negatives",
        "Three positives and two negatives. The ratio asks for nine negatives.",
        (((9.0, 8, 7, 2, 1),), ((1, 1, 1, 0, 0),)),
        ((((3, 4),), _rest()),),
        "A loss that takes positives when negatives run out counts them twice, which shows only "
        "with few anchors.",
        {"negative_ratio": 3.0},
        (({"negative_ratio": 0.5}, ((3,),)),),
    ),
    # 1.5 × 1: 1 if rounded down, 2 if rounded up; the minimum of TensorFlow is 3.
    Conflict(
        "rounding of the number of negatives",
        "mine_hard_negatives",
        "Anchor 0 is positive. Anchors 1 to 5 are negatives with losses 5, 4, 3, 2, 1. The ratio "
        "asks for one and a half negatives.",
        (((9.0, 5, 4, 3, 2, 1),), ((1, 0, 0, 0, 0, 0),)),
        (
            (((1,),), ("canonical", "caffe", "ssd_keras", "nvidia_ssd300", "paz")),
            (((1, 2),), _TORCHVISION),
            (((1, 2, 3),), _TENSORFLOW),
            (((1, 2, 3, 4, 5),), ("mnist_notebook",)),
        ),
        "With a ratio that is not whole, the loss differs by one negative an image, enough to "
        "fail a comparison.",
        {"negative_ratio": 1.5},
    ),
    # 101 positives ask for 303 of 304 negatives.
    Conflict(
        "more than three hundred negatives",
        "mine_hard_negatives",
        "Anchors 0 to 100 are positives. Anchors 101 to 404 are negatives. All losses are equal. "
        "The ratio asks for 303 negatives.",
        (((1.0,) * 405,), ((1,) * 101 + (0,) * 304,)),
        (
            ((tuple(range(101, 404)),), _rest("paz", "mnist_notebook")),
            ((tuple(range(101, 401)),), ("paz",)),
            ((tuple(range(101, 405)),), ("mnist_notebook",)),
        ),
        "An image with many objects gets fewer negatives for each object than the ratio promises.",
        {"negative_ratio": 3.0},
    ),
    # The anchor with the largest loss is ignored; the losses 5, 4 and 3 follow.
    Conflict(
        "an ignored anchor with the largest loss",
        "mine_hard_negatives",
        "Anchor 0 is positive. Anchor 1 is ignored (label −1) and has the largest loss. Anchors 2 "
        "to 5 are negatives with losses 2, 3, 4, 5.",
        (((1.0, 9, 2, 3, 4, 5),), ((1, -1, 0, 0, 0, 0),)),
        (
            (((3, 4, 5),), _rest("mnist_notebook")),
            (((2, 3, 4, 5),), ("mnist_notebook",)),
        ),
        "An anchor that should be left alone is trained as the hardest negative of all.",
    ),
)
# Answers: total, class loss, box loss, positives that count, negatives that count.
# log 2 = .6931; log(1 + e^z) is 1.3133 for z = 1, 3.0486 for 3, 4.0181 for 4; for -z it is less
# by z. The sigmoid loss of logits (0, 0) is 2 log 2 = 1.3863.
_MULTIBOX = (
    # Image 0: logits (0, 0), .6931 each. Image 1: 4.0181 each (sigmoids add log 2: 4.7113). Mined
    # in each image: 4 × .6931. Mined in the batch: the three of image 1, .6931 + 12.0545. NVIDIA: a
    # mean over images, half of it. TensorFlow: 4 × 1.3863 + 3 × 4.7113. The notebook, with the
    # background last, counts all: (4 × .6931 + 4 × .0181) / 8.
    Conflict(
        "the hardest negatives are in the other image",
        "multibox_loss",
        "Image 0 has one positive and three negatives. Image 1 has four negatives, each with a "
        "larger loss.",
        (
            ((_NO_CODE,) * 4,) * 2,
            ((_EVEN,) * 4, ((0.0, 4.0),) * 4),
            ((_NO_CODE,) * 4,) * 2,
            ((1, 0, 0, 0), (0, 0, 0, 0)),
            (_QUARTERS, _QUARTERS),
        ),
        (
            (
                (2.7726, 2.7726, 0, ((0,), ()), ((1, 2, 3), ())),
                ("canonical", "caffe", *_TORCHVISION, "paz"),
            ),
            ((12.7476, 12.7476, 0, ((0,), ()), ((), (0, 1, 2))), ("ssd_keras",)),
            ((1.3863, 1.3863, 0, ((0,), ()), ((1, 2, 3), ())), ("nvidia_ssd300",)),
            ((19.6791, 19.6791, 0, ((0,), ()), ((1, 2, 3), (0, 1, 2))), _TENSORFLOW),
            ((0.3556, 0.3556, 0, ((0,), ()), ((1, 2, 3), (0, 1, 2, 3))), ("mnist_notebook",)),
        ),
        "An image without objects teaches something in one program and nothing in another, and "
        "the loss depends on which images share a batch.",
    ),
    # TensorFlow: 3 × 1.3863 / max(1, 0). The notebook: 4 × .6931 / 4.
    Conflict(
        "a batch without objects",
        "multibox_loss",
        "One image with four negatives. All logits are (0, 0).",
        (
            ((_NO_CODE,) * 4,),
            ((_EVEN,) * 4,),
            ((_NO_CODE,) * 4,),
            ((0, 0, 0, 0),),
            (_QUARTERS,),
        ),
        (
            ((0, 0, 0, ((),), ((),)), _rest(*_TENSORFLOW, "mnist_notebook")),
            ((4.1589, 4.1589, 0, ((),), ((0, 1, 2),)), _TENSORFLOW),
            ((0.6931, 0.6931, 0, ((),), ((0, 1, 2, 3),)), ("mnist_notebook",)),
        ),
        "A division by the number of positives gives NaN for the first batch without objects, and "
        "training is lost.",
    ),
    # 3 + 1 positives, .6931 each; box loss 2 - 1/2 in image 1. Over the batch: 4 × .6931 / 4, 1.5 /
    # 4. NVIDIA: (3/3 + 1/1) / 2 × .6931, (0 + 1.5/1) / 2. TensorFlow: twice that class loss. The
    # notebook: 4 × .6931 / 6, 1.5 / 6, total .4621 + .25 / 4. "mean": N is 4 / 2.
    Conflict(
        "images with three positives and with one",
        "multibox_loss",
        "Image 0 has three positives with the right box. Image 1 has one positive, off by 2 in "
        "one number of its code, and two ignored anchors. All logits are (0, 0).",
        (
            ((_NO_CODE,) * 3, ((2.0, 0, 0, 0), _NO_CODE, _NO_CODE)),
            ((_EVEN,) * 3,) * 2,
            ((_NO_CODE,) * 3,) * 2,
            ((1, 1, 1), (1, -1, -1)),
            (_QUARTERS[:3],) * 2,
        ),
        (
            (
                (1.0681, 0.6931, 0.375, ((0, 1, 2), (0,)), ((), ())),
                ("canonical", "caffe", *_TORCHVISION, "ssd_keras", "paz"),
            ),
            ((1.4431, 0.6931, 0.75, ((0, 1, 2), (0,)), ((), ())), ("nvidia_ssd300",)),
            ((1.7613, 1.3863, 0.375, ((0, 1, 2), (0,)), ((), ())), _TENSORFLOW),
            ((0.5246, 0.4621, 0.25, ((0, 1, 2), (0,)), ((), ())), ("mnist_notebook",)),
        ),
        "An object that is alone in its image weighs more than an object in company, or the right "
        "learning rate depends on the batch size.",
        {},
        (
            (
                {"normaliser": "mean"},
                (2.1363, 1.3863, 0.75, ((0, 1, 2), (0,)), ((), ())),
            ),
            (
                {"box_weight": 2.0},
                (1.4431, 0.6931, 0.375, ((0, 1, 2), (0,)), ((), ())),
            ),
        ),
    ),
    # The code of the positive is right. The code of the negative is off by 2: 1.5, which only the
    # notebook counts: 1.5 / 2, a quarter of it in the total. Class loss 2 × .6931, twice that by
    # sigmoids, half of it in the notebook.
    Conflict(
        "box loss of a background anchor",
        "multibox_loss",
        "Anchor 0 is positive, and its code is right. Anchor 1 is negative and predicts the code "
        "(2, 0, 0, 0). All logits are (0, 0).",
        (
            (((1.0, 0, 0, 0), (2.0, 0, 0, 0)),),
            ((_EVEN,) * 2,),
            (((1.0, 0, 0, 0), _NO_CODE),),
            ((1, 0),),
            (_QUARTERS[:2],),
        ),
        (
            (
                (1.3863, 1.3863, 0, ((0,),), ((1,),)),
                _rest(*_TENSORFLOW, "mnist_notebook"),
            ),
            ((2.7726, 2.7726, 0, ((0,),), ((1,),)), _TENSORFLOW),
            ((0.8806, 0.6931, 0.75, ((0,),), ((1,),)), ("mnist_notebook",)),
        ),
        "Thousands of background anchors pull every code towards 0, and that makes the box loss "
        "look small.",
    ),
    # The positive: log(1 + e⁻¹) = .3133, box 1.5; the negative: log(1 + e³) = 3.0486. TensorFlow:
    # 1.0064 and 3.7417; the IoU is 1, so the positive is suppressed, while N stays 1. The notebook
    # has the background last: (1.3133 + .0486) / 2, box 1.5 / 2, total .6809 + .1875.
    Conflict(
        "two anchors predict the same box",
        "multibox_loss",
        "Anchor 0 is positive, off by 2 in one number of its code. Anchor 1 is negative, has a "
        "larger class loss, and predicts the same box.",
        (
            (((2.0, 0, 0, 0), _NO_CODE),),
            (((0.0, 1.0), (0.0, 3.0)),),
            ((_NO_CODE,) * 2,),
            ((1, 0),),
            ((_QUARTERS[0],) * 2,),
        ),
        (
            (
                (4.8618, 3.3618, 1.5, ((0,),), ((1,),)),
                _rest(*_TENSORFLOW, "mnist_notebook"),
            ),
            ((3.7417, 3.7417, 0, ((),), ((1,),)), _TENSORFLOW),
            ((0.8684, 0.6809, 0.75, ((0,),), ((1,),)), ("mnist_notebook",)),
        ),
        "A positive drops out of the loss because a negative predicts the same box, so a better "
        "network learns less.",
    ),
)

_SUPPRESSION = (
    # The left half is 1/2 of the whole.
    Conflict(
        "suppression at an IoU equal to the threshold",
        "nms",
        "Box 0 is the whole image, box 1 its left half: IoU 1/2.",
        ((((0, 0, 1, 1), (0, 0, 0.5, 1)),), ((0.9, 0.8),)),
        (
            (((0, 1),), _rest("nvidia_ssd300")),
            (((0,),), ("nvidia_ssd300",)),
        ),
        "On a regular grid an IoU of exactly 1/2 is common, so the number of detections changes.",
        {"iou_threshold": 0.5},
    ),
    # a [0, 12], b [4, 16], c [8, 20]: a with b 8/16, b with c 8/16, a with c 4/20.
    Conflict(
        "a chain of boxes at the threshold",
        "nms",
        "Boxes 0 and 1 have IoU 1/2, boxes 1 and 2 have 1/2, boxes 0 and 2 have 1/5.",
        (((_strip(0, 12), _strip(4, 16), _strip(8, 20)),), ((0.9, 0.8, 0.7),)),
        (
            (((0, 1, 2),), _rest("nvidia_ssd300")),
            (((0, 2),), ("nvidia_ssd300",)),
        ),
        "Where ≥ is used instead of >, every second object of a row is lost.",
        {"iou_threshold": 0.5},
    ),
    # a [0, 16], b [8, 24], c [16, 32]: a with b 8/24, b with c 8/24; a and c only touch.
    Conflict(
        "a suppressed box suppresses no other",
        "nms",
        "Boxes 0 and 1 have IoU 1/3, boxes 1 and 2 have 1/3, boxes 0 and 2 only touch.",
        (((_strip(0, 16), _strip(8, 24), _strip(16, 32)),), ((0.9, 0.8, 0.7),)),
        ((((0, 2),), _rest()),),
        "A suppression that compares all pairs at once drops box 2 because of box 1, which is "
        "itself dropped.",
        {"iou_threshold": 0.25},
        (({"iou_threshold": 0.5}, ((0, 1, 2),)),),
    ),
    # The IoU is 1; only the notebook has a threshold that is not below 1.
    Conflict(
        "two identical boxes",
        "nms",
        "One box twice. Each preset uses its own IoU threshold.",
        (((_strip(0, 16), _strip(0, 16)),), ((0.9, 0.8),)),
        (
            (((0,),), _rest("mnist_notebook")),
            (((0, 1),), ("mnist_notebook",)),
        ),
        "Each object is reported once for each anchor that detects it, and precision falls.",
    ),
    # [0, 16] and [0, 12]: 12/16. Visited from the highest index: 2, then 1, and 0 is suppressed.
    Conflict(
        "equal scores of one class",
        "nms",
        "Three boxes with the same score. Boxes 0 and 1 have IoU 3/4; box 2 overlaps neither.",
        (((_strip(0, 16), _strip(0, 12), _strip(24, 32)),), ((0.5, 0.5, 0.5),)),
        (
            (((0, 2),), _rest("nvidia_ssd300", "paz")),
            (((2, 1),), ("nvidia_ssd300", "paz")),
        ),
        "Saturated scores are equal, so another box is reported for the same object, and two "
        "exports of one model differ.",
        {"iou_threshold": 0.5},
    ),
    # The IoU 0 / 0 is defined as 0; with 1 added to the sides it is 1 / 1.
    Conflict(
        "two boxes without area",
        "nms",
        "Two boxes that are the same point.",
        ((((0.5, 0.5, 0.5, 0.5),) * 2,), ((0.9, 0.8),)),
        ((((0, 1),), _rest()),),
        "A program whose IoU is NaN here, and that keeps a box only where IoU ≤ threshold, drops "
        "all boxes without area but the first.",
        {"iou_threshold": 0.5},
        (({"iou_offset": 1.0}, ((0,),)),),
    ),
    # IoU 1/2 is not above .6; after the first box the threshold is .6 × .75 = .45.
    Conflict(
        "a threshold that decreases",
        "nms",
        "Box 0 is the whole image, box 1 its left half: IoU 1/2.",
        ((((0, 0, 1, 1), (0, 0, 0.5, 1)),), ((0.9, 0.8),)),
        ((((0, 1),), _rest()),),
        "A model tuned with Caffe's `eta` below 1 reports more boxes in every other program.",
        {"iou_threshold": 0.6},
        (({"eta": 0.75}, ((0,),)),),
    ),
    # b: .8 exp(-.25) = .6230. c: IoU 3/4 with a, the threshold: .7 exp(-.5625) = .3988; then IoU
    # 16/24 with b: × exp(-.4444) = .2557. NVIDIA drops c at 3/4.
    Conflict(
        "soft suppression with a threshold",
        "soft_nms",
        "Box 0 is the whole image, box 1 its left half, box 2 its left three quarters.",
        ((((0, 0, 1, 1), (0, 0, 0.5, 1), (0, 0, 0.75, 1)),), ((0.9, 0.8, 0.7),)),
        (
            ((((0, 0.9), (1, 0.623), (2, 0.2557)),), _rest("nvidia_ssd300")),
            ((((0, 0.9), (1, 0.623)),), ("nvidia_ssd300",)),
        ),
        "A soft suppression that also has a hard threshold drops boxes that should only get a "
        "lower score.",
        {"iou_threshold": 0.75, "soft_sigma": 0.5, "score_threshold": 0.1},
        (({"soft_sigma": 0.25}, (((0, 0.9), (1, 0.4852)),)),),
    ),
)

_SELECTION = (
    Conflict(
        "a score equal to the threshold",
        "select",
        "One box with score 0.5 for class 1.",
        (((_strip(0, 16),),), (((0.5,),),)),
        (
            (((),), _rest("mediapipe", "paz", "mnist_notebook")),
            ((((1, 0, 0.5, _strip(0, 16)),),), ("mediapipe", "paz", "mnist_notebook")),
        ),
        "Quantised scores are often equal to the threshold, so detections come and go between two "
        "exports of one model.",
        _FEW,
    ),
    # Labels 2, 1, 2 on anchors 0, 1, 2, and a limit of two detections.
    Conflict(
        "equal scores at the limit of detections",
        "select",
        "Three boxes with score 0.75: labels 2, 1, 2. Two detections are allowed.",
        (
            ((_strip(0, 8), _strip(12, 20), _strip(24, 32)),),
            (((0.0, 0.75), (0.75, 0.0), (0.0, 0.75)),),
        ),
        (
            (
                (((2, 0, 0.75, _strip(0, 8)), (1, 1, 0.75, _strip(12, 20))),),
                ("canonical", "caffe", "mediapipe", "mnist_notebook"),
            ),
            (
                (((1, 1, 0.75, _strip(12, 20)), (2, 0, 0.75, _strip(0, 8))),),
                (*_TORCHVISION, "tf_od_ssd_mobilenet_v2", "ssd_keras"),
            ),
            (
                (((2, 2, 0.75, _strip(24, 32)), (1, 1, 0.75, _strip(12, 20))),),
                ("nvidia_ssd300", "paz"),
            ),
        ),
        "The program decides which of equal scores is reported, so average precision differs in "
        "its last digits.",
        {**_FEW, "max_detections": 2},
    ),
    Conflict(
        "one anchor with high scores for two classes",
        "select",
        "One box with score 0.9 for class 1 and 0.8 for class 2.",
        (((_strip(0, 16),),), (((0.9, 0.8),),)),
        (
            (
                (((1, 0, 0.9, _strip(0, 16)), (2, 0, 0.8, _strip(0, 16))),),
                _rest("mediapipe"),
            ),
            ((((1, 0, 0.9, _strip(0, 16)),),), ("mediapipe",)),
        ),
        "A person who is also a driver is found once, and recall of the rarer class falls "
        "although its scores are high.",
        _FEW,
    ),
    Conflict(
        "two anchors with different classes for one object",
        "select",
        "One box twice: box 0 has score 0.9 for class 1, box 1 has 0.8 for class 2.",
        (((_strip(0, 16), _strip(0, 16)),), (((0.9, 0.0), (0.0, 0.8)),)),
        (
            (
                (((1, 0, 0.9, _strip(0, 16)), (2, 1, 0.8, _strip(0, 16))),),
                _rest("mediapipe"),
            ),
            ((((1, 0, 0.9, _strip(0, 16)),),), ("mediapipe",)),
        ),
        "Suppression in each class reports a cat as a dog as well, and suppression across classes "
        "loses the rider of a horse.",
        _FEW,
    ),
    # Ranks 0 to 199 are duplicates, rank 200 is alone, 201 to 400 are duplicates, 401 is alone. Of
    # 200 or 10 candidates all are duplicates; of 300 or 400 one is the second box; of all
    # candidates two are other boxes. With ties by the highest anchor, 199 stays.
    Conflict(
        "four hundred duplicates before another object",
        "select",
        "One class. A box 200 times with score 0.9, a second box with 0.8, the first box 200 "
        "times again with 0.7, a third box with 0.6.",
        (
            (
                (
                    *(_strip(0, 8),) * 200,
                    _strip(12, 20),
                    *(_strip(0, 8),) * 200,
                    _strip(24, 32),
                ),
            ),
            ((*((0.9,),) * 200, (0.8,), *((0.7,),) * 200, (0.6,)),),
        ),
        (
            (
                (((1, 0, 0.9, _strip(0, 8)), (1, 200, 0.8, _strip(12, 20))),),
                ("canonical", "caffe", *_TORCHVISION),
            ),
            (
                (
                    (
                        (1, 0, 0.9, _strip(0, 8)),
                        (1, 200, 0.8, _strip(12, 20)),
                        (1, 401, 0.6, _strip(24, 32)),
                    ),
                ),
                ("ssd_keras", *_TENSORFLOW),
            ),
            ((((1, 199, 0.9, _strip(0, 8)),),), ("nvidia_ssd300", "paz")),
            ((((1, 0, 0.9, _strip(0, 8)),),), ("mnist_notebook",)),
        ),
        "One large object fills the list of candidates, and small objects beside it are never "
        "considered.",
        _FEW,
    ),
    # 0 and 1 are duplicates. A limit of two kept boxes: 0 and 2. A limit of two candidates: 0 and
    # 1, and 1 is suppressed.
    Conflict(
        "a limit before or after suppression",
        "select",
        "Class 1: one box with scores 0.9 and 0.8, two others with 0.7 and 0.6. Class 2: one box "
        "with 0.55.",
        (
            ((_strip(0, 8), _strip(0, 8), _strip(12, 20), _strip(24, 32), _strip(8, 12)),),
            (((0.9, 0.0), (0.8, 0.0), (0.7, 0.0), (0.6, 0.0), (0.0, 0.55)),),
        ),
        (
            (
                (
                    (
                        (1, 0, 0.9, _strip(0, 8)),
                        (1, 2, 0.7, _strip(12, 20)),
                        (1, 3, 0.6, _strip(24, 32)),
                        (2, 4, 0.55, _strip(8, 12)),
                    ),
                ),
                _rest(),
            ),
        ),
        "A limit of candidates counts duplicates and a limit of detections does not, so the same "
        "number gives other results.",
        _FEW,
        (
            (
                {"max_per_class": 2},
                (
                    (
                        (1, 0, 0.9, _strip(0, 8)),
                        (1, 2, 0.7, _strip(12, 20)),
                        (2, 4, 0.55, _strip(8, 12)),
                    ),
                ),
            ),
            (
                {"candidates_per_class": 2},
                (((1, 0, 0.9, _strip(0, 8)), (2, 4, 0.55, _strip(8, 12))),),
            ),
            (
                {"max_detections": 2},
                (((1, 0, 0.9, _strip(0, 8)), (1, 2, 0.7, _strip(12, 20))),),
            ),
        ),
    ),
    # x from -1 to 1/2 and from 0 to 1/2: IoU .5 / 1.5 as they are, 1 after clipping.
    Conflict(
        "a box across the border of the image",
        "select",
        "Box 0 reaches from x = −1 to 0.5, box 1 from 0 to 0.5. Their IoU is 1/3, and 1 after "
        "clipping.",
        ((((-1, 0, 0.5, 1), (0, 0, 0.5, 1)),), (((0.9,), (0.8,)),)),
        (
            ((((1, 0, 0.9, (0, 0, 0.5, 1)),),), ("canonical", *_TORCHVISION)),
            (
                (((1, 0, 0.9, (0, 0, 0.5, 1)), (1, 1, 0.8, (0, 0, 0.5, 1))),),
                ("tf_od_ssd_mobilenet_v2",),
            ),
            (
                (((1, 0, 0.9, (-1, 0, 0.5, 1)), (1, 1, 0.8, (0, 0, 0.5, 1))),),
                _UNCLIPPED,
            ),
        ),
        "An object at the border is reported twice with the same box, or its corners index pixels "
        "outside the image.",
        _FEW,
    ),
    Conflict(
        "a box outside the image",
        "select",
        "One box from x = 1.25 to 1.5.",
        ((((1.25, 0, 1.5, 1),),), (((0.9,),),)),
        (
            ((((1, 0, 0.9, (1, 0, 1, 1)),),), ("canonical", *_TORCHVISION)),
            (((),), ("tf_od_ssd_mobilenet_v2",)),
            ((((1, 0, 0.9, (1.25, 0, 1.5, 1)),),), _UNCLIPPED),
        ),
        "A crop of the detection has no pixels, or a box without area counts as a false positive.",
        _FEW,
    ),
)
_MIDDLE: Box = (0.25, 0.25, 0.75, 0.75)
_DETECTION = (
    # Softmax: e / (1 + 2 e) = .4223 twice; with the background last, .1554 and .4223: nothing above
    # .5. Sigmoid: σ(1) = .7311 twice; MediaPipe takes the first of the best classes of an anchor.
    Conflict(
        "two classes with equal logits",
        "detect",
        "One anchor with logits 0, 1, 1.",
        (((_NO_CODE,),), (((0.0, 1.0, 1.0),),), ((0.5, 0.5, 0.5, 0.5),)),
        (
            (((),), _rest(*_TENSORFLOW)),
            (
                (((1, 0, 0.7311, _MIDDLE), (2, 0, 0.7311, _MIDDLE)),),
                ("tf_od_ssd_mobilenet_v2",),
            ),
            ((((1, 0, 0.7311, _MIDDLE),),), ("mediapipe",)),
        ),
        "A softmax lowers the scores of a model trained with sigmoids, so a threshold tuned for "
        "one finds nothing with the other.",
        _FEW,
    ),
    # Softmax: e⁵ / (2 + e⁵) = .9867 for the last column; sigmoid: σ(4) = .9820.
    Conflict(
        "the largest logit in the last column",
        "detect",
        "One anchor with logits −1, −1, 4.",
        (((_NO_CODE,),), (((-1.0, -1.0, 4.0),),), ((0.5, 0.5, 0.5, 0.5),)),
        (
            ((((2, 0, 0.9867, _MIDDLE),),), _rest(*_TENSORFLOW, "mnist_notebook")),
            ((((2, 0, 0.982, _MIDDLE),),), _TENSORFLOW),
            (((),), ("mnist_notebook",)),
        ),
        "The background of every image is reported as objects of the last class.",
        _FEW,
    ),
)
CONFLICTS = (
    *_ANCHORS,
    *_OVERLAPS,
    *_MATCHES,
    *_TARGETS,
    *_CODES,
    *_LOSSES,
    *_MINING,
    *_MULTIBOX,
    *_SUPPRESSION,
    *_SELECTION,
    *_DETECTION,
)
