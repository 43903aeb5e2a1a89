"""Inputs on which the known SSDs disagree, and what each preset answers.

Two programs that are both "SSD" give the same answer almost always. Here is a table of small
inputs on which they do not: one record a case, each answer found with a pencil (the working is
the comment above the record), and one sentence for whoever assumed another answer. The table makes
tests for every preset and every implementation, and docs/conflicts.md. Numbers of a convention
(thresholds, limits) are the same for all presets within a case, so that only rules differ.

Most boxes are upright strips of the image, as high as it, in 32nds of its width: their overlaps
are those of intervals, and exact in binary. Scores and losses are told apart by far.
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
    """An input, and what each preset makes of it.

    Attributes:
        name: A few words, unique.
        operation: Whose input it is, by its name in the conformance suite.
        given: The input in words, for the docs page.
        inputs: Nested tuples as that operation takes them, mostly a batch of one image.
        answers: (plain answer, names of presets), every preset once; "error: ARGUMENT" where an
            argument is refused. How an answer is written, `plain` says.
        warning: What goes wrong for a user who assumes another answer, in one sentence.
        overrides: Numbers of the convention in this case, the same for all; for `make_anchors`
            numbers of its layout.
        others: (changes, plain answer): what the canonical convention answers with these changes
            on top, where no preset answers so.
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
        """Whether all presets agree, so that only `others` differ."""
        return len(self.answers) == 1


_TORCHVISION = ("torchvision_ssd300", "torchvision_ssdlite320")
_TENSORFLOW = ("tf_od_ssd_mobilenet_v2", "mediapipe")
_BIPARTITE = ("canonical", "caffe", "ssd_keras")
_LAST = (*_TORCHVISION, "nvidia_ssd300", "paz")  # of several objects on one anchor
_UNCUT = ("caffe", "ssd_keras", "nvidia_ssd300", "mediapipe", "paz", "mnist_notebook")


def _rest(*names: str) -> tuple[str, ...]:
    """All presets but these."""
    return tuple(name for name in PRESETS if name not in names)


def _strip(left: float, right: float) -> Box:
    """A strip of the image in xyxy, in 32nds of its width."""
    return (left / 32, 0.0, right / 32, 1.0)


def _anchor(left: float, right: float) -> Box:
    """The same in cxcywh."""
    return ((left + right) / 64, 0.5, (right - left) / 32, 1.0)


def _objects(boxes: tuple[Box, ...], anchors: tuple[Box, ...]) -> tuple[Any, ...]:
    """One image with objects of labels 1, 2, ..."""
    return ((boxes,), (tuple(range(1, len(boxes) + 1)),), anchors)


_NO_CODE = (0.0, 0.0, 0.0, 0.0)
_PADDING = (0.0, 0.0, 0.0, 0.0)
_EVEN = (0.0, 0.0)  # logits of somebody undecided
_QUARTERS = (_strip(0, 8), _strip(8, 16), _strip(16, 24), _strip(24, 32))
_FEW = {"score_threshold": 0.5, "iou_threshold": 0.5, "max_detections": 10}
# An image of one pixel: all units of a layout are the same. One cell of step 1.
_PIXEL = {"image_size": (1, 1), "feature_maps": ((1, 1),), "steps": (1.0,)}
# Two cells, and lowest_shapes in place of the rules for shapes; scales and ratios unused.
_SHAPES = {"image_size": (1, 1), "scales": (1.0, 1.0), "aspect_ratios": ((1.0,),)}

_ANCHORS = (
    # s = 1, s' = sqrt(1 × 4) = 2; ratio 4 is 2 × 1/2, its reciprocal 1/2 × 2. Canonically ratios
    # are listed in full, so nothing is turned. torchvision and NVIDIA turn, then cut sizes to 1.
    # TensorFlow puts s' last. The notebook has what is listed, and neither s' nor a square.
    Conflict(
        "order of shapes",
        "make_anchors",
        "one cell, s = 1, s' = 2, ratio 4",
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
        "Weights load without a complaint, and every box that they predict has the shape of "
        "another one.",
        {**_PIXEL, "scales": (1.0, 4.0), "aspect_ratios": ((4.0,),), "lowest_shapes": ()},
    ),
    # The shapes of the finest map: TensorFlow's are three of its own, .2 sqrt(2) = .2828 and
    # .2 / sqrt(2) = .1414; all others follow the rule: s = s' = 1 and ratio 1, turned or not.
    Conflict(
        "shapes of the finest map",
        "make_anchors",
        "one cell, s = s' = 1, ratio 1, and whatever shapes a preset has for its finest map",
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
        "The number of anchors is wrong, 3234 for 2034 at 320 pixels, and the heads do not fit "
        "the weights.",
        {**_PIXEL, "scales": (1.0, 1.0), "aspect_ratios": ((1.0,),)},
    ),
    # Caffe: int(1.5) = 1, int(6) = 6, s' = sqrt(6) = 2.4495. Others: s' = sqrt(1.5 × 6) = 3.
    # torchvision and NVIDIA cut every one of these to 1.
    Conflict(
        "sizes with a fraction of a pixel",
        "make_anchors",
        "one cell, s = 1.5 and the next scale 6, so s' = 3; ratio 1",
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
        "Caffe's SSD512 asks for 35.84 pixels and gets 35, so boxes that its weights predict "
        "come out too large by 2 %.",
        {**_PIXEL, "scales": (1.5, 6.0), "aspect_ratios": ((1.0,),), "lowest_shapes": ()},
    ),
    # Two cells, centres .25 and .75 (the step counts for rows too: .25), squares of .25 and .5.
    Conflict(
        "order of cells",
        "make_anchors",
        "two cells side by side, squares of .25 and .5 in each",
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
        "Heads are read in the wrong order, so that every score belongs to a box somewhere else.",
        {
            **_SHAPES,
            "feature_maps": ((1, 2),),
            "steps": (0.5,),
            "lowest_shapes": ((0.25, 1.0), (0.5, 1.0)),
        },
    ),
    # Centres .375 and 1.125 (NVIDIA's 10 × 10 map ends at 304/300 alike), 2 × 1/2. "sizes" cuts 2
    # to 1; "centers" 1.125 to 1 too. "corners": x from -.625 to 1.375 becomes 0 to 1, from .125 to
    # 2.125 becomes .125 to 1, of centre .5625 and width .875.
    Conflict(
        "anchors beyond the border",
        "make_anchors",
        "two cells with step .75, so that the second centre is at 1.125; a shape of 2 × .5",
        (0.0,),
        (
            (
                ((0.375, 0.375, 2, 0.5), (1.125, 0.375, 2, 0.5)),
                _rest(*_TORCHVISION, "nvidia_ssd300"),
            ),
            (((0.375, 0.375, 1, 0.5), (1.125, 0.375, 1, 0.5)), _TORCHVISION),
            (((0.375, 0.375, 1, 0.5), (1, 0.375, 1, 0.5)), ("nvidia_ssd300",)),
        ),
        "Boxes of the coarse maps are off by up to half their size, since codes are relative to "
        "another anchor.",
        {
            **_SHAPES,
            "feature_maps": ((1, 2),),
            "steps": (0.75,),
            "lowest_shapes": ((1.0, 4.0),),
        },
        (({"clip": "corners"}, ((0.5, 0.375, 1, 0.5), (0.5625, 0.375, 0.875, 0.5))),),
    ),
    # 4 wide, 2 high, one cell of step 2: centre 1/4, 1/2. s = .5: of width and height each; of
    # the shorter side 2, one pixel, which is 1/4 and 1/2; half a pixel, 1/8 and 1/4.
    Conflict(
        "an image that is not square",
        "make_anchors",
        "an image 4 wide and 2 high, one cell, a square of scale .5",
        (0.0,),
        (
            (((0.25, 0.5, 0.5, 0.5),), ("canonical", *_TORCHVISION, "mediapipe")),
            (((0.25, 0.5, 0.25, 0.5),), ("tf_od_ssd_mobilenet_v2", "ssd_keras")),
            (
                ((0.25, 0.5, 0.125, 0.25),),
                ("caffe", "nvidia_ssd300", "paz", "mnist_notebook"),
            ),
        ),
        "Square anchors become as flat as the image, or the other way round, and matching "
        "finds fewer positives.",
        {
            **_SHAPES,
            "image_size": (2, 4),
            "feature_maps": ((1, 1),),
            "steps": (2.0,),
            "lowest_shapes": ((0.5, 1.0),),
        },
    ),
    # (j + .5) / 2 without steps. A step of .75: .375 and 1.125, also for the one row: .375.
    # Offset 0: 0 and 1/2, the row 0.
    Conflict(
        "where a cell is",
        "make_anchors",
        "two cells without steps, a square of .5",
        (0.0,),
        ((((0.25, 0.5, 0.5, 0.5), (0.75, 0.5, 0.5, 0.5)), _rest()),),
        "On a 10 × 10 map of 300 pixels a step of 32 puts the last centre at 304 pixels, where "
        "equal cells end at 285.",
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
    # Side 2^-10: area 2^-20 = 9.537e-7, with itself 1; plus 1e-7 in the union 9.537 / 10.537.
    # Halves that touch: 0. A point with itself: 0 / 0, taken as 0.
    # Offset 1, sides: tiny 1.00098, halves 1.5 × 2 = 3, whole 4, point 1 × 1. Touching halves
    # 1 × 2 of 3 + 3 - 2; left in whole 3 / 4; tiny in left 1.00195 / 3, in whole / 4; tiny and
    # right .50098 × 1.00098 = .50147 of 4.00195 - .50147; tiny and point .25098 of 1.75098.
    Conflict(
        "overlap of tiny, touching and empty boxes",
        "pairwise_iou",
        "a box of side 1/1024, the left half, a point; with those, the right half and the whole",
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
        "A small object never reaches the threshold where an epsilon is added, two points are "
        "NaN where nothing guards the division, and an offset made for pixels joins all boxes.",
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
    # o0 [7, 13] in a0 [0, 16]: 6/16, with a1 [8, 24] 5/17. o1 [0, 10]: 10/16 and 2/24.
    # Bipartite: .625 first, a0 to o1; o0 is left with a1. Else both want a0; a1 stays below .5.
    Conflict(
        "two objects want one anchor, the second fits better",
        "match",
        "IoU .38 .29 0 / .63 .08 0",
        _objects((_strip(7, 13), _strip(0, 10)), (_anchor(0, 16), _anchor(8, 24), _anchor(26, 32))),
        (
            (((1, 0, -1),), _BIPARTITE),
            (((1, -1, -1),), (*_LAST, "mnist_notebook")),
            (((0, -1, -1),), _TENSORFLOW),
        ),
        "One of two objects side by side is never learned, although it was thought that every "
        "object has an anchor.",
    ),
    # The same, objects swapped: the last taker has 6/16 and evicts 10/16.
    Conflict(
        "two objects want one anchor, the first fits better",
        "match",
        "IoU .63 .08 0 / .38 .29 0",
        _objects((_strip(0, 10), _strip(7, 13)), (_anchor(0, 16), _anchor(8, 24), _anchor(26, 32))),
        (
            (((0, 1, -1),), _BIPARTITE),
            (((1, -1, -1),), _LAST),
            (((0, -1, -1),), (*_TENSORFLOW, "mnist_notebook")),
        ),
        "An overlap of .38 takes the anchor from one of .63, and which object is learned depends "
        "on the order of the annotations.",
    ),
    # o0 [10, 22]: with a1 [8, 24] 12/16, with a2 [12, 28] 10/18. o1 touches nothing; the first of
    # its zeros is a0. (ssd_keras' own matcher gives anchor 0 away here: listed among its bugs.)
    Conflict(
        "an object that overlaps nothing",
        "match",
        "IoU 0 .75 .56 / 0 0 0",
        _objects(
            (_strip(10, 22), _strip(29, 32)), (_anchor(0, 6), _anchor(8, 24), _anchor(12, 28))
        ),
        (
            (((-1, 0, 0),), (*_BIPARTITE, "mnist_notebook")),
            (((1, 0, 0),), (*_LAST, *_TENSORFLOW)),
        ),
        "The first anchor of the image is taught an object that lies elsewhere, with a code that "
        "may be huge.",
    ),
    # Both [8, 20]: with a0 [8, 24] 12/16, with a1 [10, 24] 10/16, with a2 [16, 32] 4/24.
    # Last: a0 to o1; a1 by its threshold to o0, the lower of equals.
    Conflict(
        "two equal objects",
        "match",
        "IoU .75 .63 .17 / .75 .63 .17",
        _objects(
            (_strip(8, 20), _strip(8, 20)), (_anchor(8, 24), _anchor(10, 24), _anchor(16, 32))
        ),
        (
            (((0, 1, -1),), _BIPARTITE),
            (((1, 0, -1),), _LAST),
            (((0, 0, -1),), (*_TENSORFLOW, "mnist_notebook")),
        ),
        "An object annotated with two labels is learned with one of them only.",
    ),
    # With a0 [0, 16]: 12/16, 10/16, 9/16; with a1 [8, 24]: 4/24, 5/21, 6/19. a2 touches none.
    # Bipartite: a0 to o0, then a1 to o2, the larger of what is left; o1 has only zeros.
    Conflict(
        "three objects want one anchor",
        "match",
        "IoU .75 .17 0 / .63 .24 0 / .56 .32 0",
        _objects(
            (_strip(0, 12), _strip(3, 13), _strip(5, 14)),
            (_anchor(0, 16), _anchor(8, 24), _anchor(24, 32)),
        ),
        (
            (((0, 2, -1),), _BIPARTITE),
            (((2, -1, -1),), _LAST),
            (((0, -1, -1),), (*_TENSORFLOW, "mnist_notebook")),
        ),
        "Two of three objects in a heap count as background for the anchors that see them.",
    ),
    # Three times [0, 12]: with a0 [0, 16] 12/16, with a1 [4, 16] 8/16, the threshold.
    # Bipartite: o0 and o1, nothing for o2. Last: a0 to o2, a1 to o0 at >=. First: both o0.
    Conflict(
        "more objects than anchors",
        "match",
        "IoU .75 .5, three times",
        _objects((_strip(0, 12),) * 3, (_anchor(0, 16), _anchor(4, 16))),
        (
            (((0, 1),), _BIPARTITE),
            (((2, 0),), (*_TORCHVISION, "paz")),
            (((2, -1),), ("nvidia_ssd300",)),
            (((0, 0),), _TENSORFLOW),
            (((0, -1),), ("mnist_notebook",)),
        ),
        "Crowded images train other objects in each program, and no setting of the threshold "
        "makes them equal.",
    ),
    # [0, 16] is a0, and a1 [0, 8] is half of it: 1/2 exactly.
    Conflict(
        "an overlap equal to the threshold",
        "match",
        "IoU 1 .5, threshold .5",
        _objects((_strip(0, 16),), (_anchor(0, 16), _anchor(0, 8))),
        (
            (((0, 0),), _rest("nvidia_ssd300", "mnist_notebook")),
            (((0, -1),), ("nvidia_ssd300", "mnist_notebook")),
        ),
        "An anchor that was meant to be positive is trained as background, or the other way "
        "round, and boxes on a grid meet a threshold of one half often.",
        {"threshold": 0.5},
    ),
    # [0, 4] is a quarter of a0 [0, 16]. Forced, whatever the threshold, but in the notebook.
    Conflict(
        "a small object below the threshold",
        "match",
        "IoU .25 0",
        _objects((_strip(0, 4),), (_anchor(0, 16), _anchor(16, 32))),
        (
            (((0, -1),), _rest("mnist_notebook")),
            (((-1, -1),), ("mnist_notebook",)),
        ),
        "Small objects are never learned, and no number in the log says so.",
    ),
    # [6, 18]: 6/18 with a0 [0, 12] and with a1 [12, 24].
    Conflict(
        "two anchors equally good for one object",
        "match",
        "IoU .33 .33",
        _objects((_strip(6, 18),), (_anchor(0, 12), _anchor(12, 24))),
        (
            (((0, -1),), _rest("mnist_notebook")),
            (((-1, -1),), ("mnist_notebook",)),
        ),
        "A matcher that takes the last of equal overlaps trains another anchor for every object "
        "on the seam of two cells.",
    ),
    # Side 2^-12 in the whole image: 2^-24 = 6e-8, more than 0 and less than Caffe's 1e-6.
    # a0, the right half, does not touch it.
    Conflict(
        "an overlap of less than a millionth",
        "match",
        "IoU 0 .00000006",
        _objects(((0, 0, 2.0**-12, 2.0**-12),), (_anchor(16, 32), _anchor(0, 32))),
        (
            (((-1, 0),), _rest("caffe", "mnist_notebook")),
            (((-1, -1),), ("caffe", "mnist_notebook")),
        ),
        "A speck of a box becomes a target with a code beyond −40, and one such annotation can "
        "wreck a training step.",
    ),
    # [0, 16]: 1 with a0, 6/16 with a1 [0, 6], 5/16 with a2 [0, 5]. A band from .375 takes a1.
    Conflict(
        "an overlap almost at the threshold",
        "match",
        "IoU 1 .375 .31",
        _objects((_strip(0, 16),), (_anchor(0, 16), _anchor(0, 6), _anchor(0, 5))),
        ((((0, -1, -1),), _rest()),),
        "Anchors that see most of an object are trained to deny it, where a band of overlaps was "
        "expected to be left alone.",
        {"threshold": 0.5},
        (({"ignore_from": 0.375}, ((0, -2, -1),)),),
    ),
)

_TARGETS = (
    # o0 [0, 16] is a1, half of it a2 [0, 8]. a2's code: (.25 - .125) / .25 / .1 = 5 and
    # log(2) / .2 = 3.4657; its overlap is the threshold. Row 1 is padding.
    Conflict(
        "a row of padding",
        "assign_targets",
        "an object of label 2 that is anchor 1 and twice anchor 2; a row of zeros of label −1",
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
        "A matcher that takes a row of zeros for an object forces it on the first anchor, which "
        "then learns a box that is not there.",
        {"threshold": 0.5},
    ),
    # o0 is a line in the middle of a0 [0, 16], o1 is a1. Caffe drops it; the notebook forces none.
    # TensorFlow: forced on a0, (0, 0, 0, log(1e-8 / .50000001) / .2) = -17.72753 × 5; paz:
    # log(0 + 1e-8) / .2 = -18.42068 × 5.
    Conflict(
        "an object without width",
        "assign_targets",
        "a line of label 1 in the middle of anchor 0; an object of label 2 that is anchor 1",
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
        "One bad annotation stops a training that used to run, or dominates its box loss, or is "
        "NaN where nobody looks.",
    ),
    # The crowd is [16, 32]. Share covered: a1 [16, 20] all, a2 [8, 24] 8/16, a3 [18, 30] all.
    # IoU with it: 4/16, 8/24, 12/16. Only by IoA at .5 all three are ignored.
    Conflict(
        "anchors on a crowd",
        "assign_targets_with_crowds",
        "an object of label 1 that is anchor 0; a crowd that covers anchors 1 to 3 by 1, .5, 1, "
        "with IoU .25, .33, .75",
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
        "Anchors on a crowd of people are trained to say that there are none.",
        {"crowd_overlap": 0.5},
        (({"crowd_by": "iou"}, (((1, 0, 0, -1), (_NO_CODE,)),)),),
    ),
)

_CODES = (
    # Anchor (.5, .5), 1/4 × 1/2; box of centre .5625 and width 1/2. tx = .0625 / .25 / .1 = 2.5,
    # tw = log(2) / .2 = 3.4657. The notebook: .0625 × 224 = 14 and .25 × 224 = 56 pixels.
    Conflict(
        "the code of a box",
        "encode",
        "a box a quarter of its anchor to the right and twice as wide",
        (((0.3125, 0.25, 0.8125, 0.75),), ((0.5, 0.5, 0.25, 0.5),)),
        (
            (((2.5, 0, 3.4657, 0),), _rest(*_TENSORFLOW, "mnist_notebook")),
            (((0, 2.5, 0, 3.4657),), _TENSORFLOW),
            (((0, 14, 0, 56),), ("mnist_notebook",)),
        ),
        "Targets and heads of two programs differ by order and scale, so training goes on and "
        "learns boxes that lie on their side.",
    ),
    # 2^-20 wide, the anchor 2^-2: -18 log(2) / .2 = -62.3832. + 1e-8 on 2^-20 is 1.0486 % of it:
    # .010431 / .2 more. + 1e-8 on the ratio 2^-18 is .2621 %: .002618 / .2 more.
    # The notebook: (2^-20 - .25) × 224.
    Conflict(
        "the code of a sliver",
        "encode",
        "a box a millionth of the image wide, in the middle of its anchor",
        (((0.5 - 2.0**-21, 0.25, 0.5 + 2.0**-21, 0.75),), ((0.5, 0.5, 0.25, 0.5),)),
        (
            (((0, 0, -62.3832, 0),), _rest(*_TENSORFLOW, "paz", "mnist_notebook")),
            (((0, 0, 0, -62.3311),), _TENSORFLOW),
            (((0, 0, -62.3701, 0),), ("paz",)),
            (((0, 0, 0, -55.9998),), ("mnist_notebook",)),
        ),
        "A test that encodes, decodes and compares fails on small boxes, since an epsilon is "
        "added only on the way there.",
    ),
    # Anchor 1/2 × 1/4. tx = 1: .1 × .5 to the right. ty = 1: .1 × .25 down. Notebook: 1/224 down.
    Conflict(
        "the order of a code",
        "decode",
        "the code (1, 0, 0, 0) on an anchor of .5 × .25",
        (((1.0, 0, 0, 0),), ((0.5, 0.5, 0.5, 0.25),)),
        (
            (((0.3, 0.375, 0.8, 0.625),), _rest(*_TENSORFLOW, "mnist_notebook")),
            (((0.25, 0.4, 0.75, 0.65),), _TENSORFLOW),
            (((0.25, 0.3795, 0.75, 0.6295),), ("mnist_notebook",)),
        ),
        "Boxes move down where they should move right, which looks like a badly trained network.",
    ),
    # exp(25 × .2) = 148.413 times 1/4 is 37.1033; cut at log(62.5): 15.625. In TensorFlow's order
    # it is the height. The notebook: height .25 + 25/224 = .3616.
    Conflict(
        "a huge size",
        "decode",
        "the code (0, 0, 25, 0) on an anchor of .25 × .25",
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
        "Early in training boxes overflow in one program and not in the other, and infinity "
        "minus infinity is NaN in suppression.",
    ),
    Conflict(
        "where the background is",
        "background_first",
        "logits 1, 2, 3",
        (((1.0, 2.0, 3.0),),),
        (
            (((1, 2, 3),), _rest("mnist_notebook")),
            (((3, 1, 2),), ("mnist_notebook",)),
        ),
        "Every label is off by one, and what is called the first class is the background.",
    ),
)

_LOSSES = (
    # Background first: softmax log(1 + e²) = 2.1269; sigmoids log(1 + e²) + log 2 = 2.8201.
    # Background last: log(1 + e⁻²) = .1269. Focal, p = σ(2) = .8808 for the background:
    # .75 × .7758 × 2.1269 + .25 × .25 × .6931 = 1.2376 + .0433; alpha 1/2: .8250 + .0866;
    # gamma 0: .75 × 2.1269 + .25 × .6931 = 1.5952 + .1733.
    Conflict(
        "the loss of a class",
        "class_losses",
        "logits 2 and 0: an anchor of label 1, one that counts nowhere",
        (((2.0, 0.0), (2.0, 0.0)), (1, -1)),
        (
            ((2.1269, 0), _rest(*_TENSORFLOW, "mnist_notebook")),
            ((2.8201, 0), _TENSORFLOW),
            ((0.1269, 0), ("mnist_notebook",)),
        ),
        "Learning rates and loss curves of one program mean nothing in the other.",
        {},
        (
            ({"class_loss": "focal"}, (1.2809, 0)),
            ({"class_loss": "focal", "focal_alpha": 0.5}, (0.9117, 0)),
            ({"class_loss": "focal", "focal_gamma": 0.0}, (1.7685, 0)),
        ),
    ),
)
_MINING = (
    # Three for one, of five equal ones the first three. The notebook takes all.
    Conflict(
        "equal losses",
        "mine_hard_negatives",
        "a positive and five negatives of one loss",
        (((9.0, 1, 1, 1, 1, 1),), ((1, 0, 0, 0, 0, 0),)),
        (
            (((1, 2, 3),), _rest("mnist_notebook")),
            (((1, 2, 3, 4, 5),), ("mnist_notebook",)),
        ),
        "At the start of training, when all losses are equal, an unstable sort picks other "
        "negatives on every device.",
    ),
    Conflict(
        "negatives of an image without objects",
        "mine_hard_negatives",
        "five negatives, no positive",
        (((5.0, 4, 3, 2, 1),), ((0, 0, 0, 0, 0),)),
        (
            (((),), _rest(*_TENSORFLOW, "mnist_notebook")),
            (((0, 1, 2),), _TENSORFLOW),
            (((0, 1, 2, 3, 4),), ("mnist_notebook",)),
        ),
        "Images without objects teach nothing, although they were added to lower the number of "
        "false alarms.",
    ),
    # Six are asked for and two there are. Half a negative for each of three: ⌊1.5⌋ = 1.
    # (torchvision then counts positives twice: listed among its bugs.)
    Conflict(
        "fewer negatives than asked",
        "mine_hard_negatives",
        "three positives and two negatives",
        (((9.0, 8, 7, 2, 1),), ((1, 1, 1, 0, 0),)),
        ((((3, 4),), _rest()),),
        "A loss that fills up with positives when negatives run out counts these twice, which is "
        "seen only on small layouts.",
        {"negative_ratio": 3.0},
        (({"negative_ratio": 0.5}, ((3,),)),),
    ),
    # 1.5 × 1: 1 down, 2 up; TensorFlow's minimum is 3.
    Conflict(
        "half a negative",
        "mine_hard_negatives",
        "one positive, five negatives, a ratio of 1.5",
        (((9.0, 5, 4, 3, 2, 1),), ((1, 0, 0, 0, 0, 0),)),
        (
            (((1,),), ("canonical", "caffe", "ssd_keras", "nvidia_ssd300", "paz")),
            (((1, 2),), _TORCHVISION),
            (((1, 2, 3),), _TENSORFLOW),
            (((1, 2, 3, 4, 5),), ("mnist_notebook",)),
        ),
        "With a ratio that is no whole number, losses differ by one negative an image, enough to "
        "fail a comparison.",
        {"negative_ratio": 1.5},
    ),
    # 101 positives ask for 303 of 304.
    Conflict(
        "more than three hundred negatives",
        "mine_hard_negatives",
        "101 positives and 304 negatives of one loss",
        (((1.0,) * 405,), ((1,) * 101 + (0,) * 304,)),
        (
            ((tuple(range(101, 404)),), _rest("paz", "mnist_notebook")),
            ((tuple(range(101, 401)),), ("paz",)),
            ((tuple(range(101, 405)),), ("mnist_notebook",)),
        ),
        "Images full of objects see fewer negatives for each than the ratio promises.",
        {"negative_ratio": 3.0},
    ),
    # The hardest is ignored; then 5, 4 and 3.
    Conflict(
        "the hardest anchor is ignored",
        "mine_hard_negatives",
        "a positive, an anchor of label −1 with the largest loss, four negatives",
        (((1.0, 9, 2, 3, 4, 5),), ((1, -1, 0, 0, 0, 0),)),
        (
            (((3, 4, 5),), _rest("mnist_notebook")),
            (((2, 3, 4, 5),), ("mnist_notebook",)),
        ),
        "What was to be left alone is trained as the hardest background of all.",
    ),
)
# Answers of multibox: total, class loss, box loss, positives that count, negatives that count.
# log 2 = .6931; log(1 + e^z): 1.3133 for 1, 3.0486 for 3, 4.0181 for 4, less z for -z.
# Sigmoids of an undecided anchor: 2 log 2 = 1.3863.
_MULTIBOX = (
    # Image 0: undecided, .6931 each; image 1: 4.0181 each (sigmoids + log 2: 4.7113).
    # In each image: 4 × .6931. In the batch: the three of image 1, .6931 + 12.0545.
    # NVIDIA: a mean over images, half. TensorFlow: 4 × 1.3863 + 3 × 4.7113. The notebook, whose
    # background is the last: all, (4 × .6931 + 4 × .0181) / 8.
    Conflict(
        "the hardest negatives are in the other image",
        "multibox_loss",
        "an image with one positive and three negatives; one with four negatives, all harder",
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
        "Images without objects teach something in one program and nothing in another, and a "
        "batch of one differs from a batch of two.",
    ),
    # TensorFlow: 3 × 1.3863 / max(1, 0). The notebook: 4 × .6931 / 4.
    Conflict(
        "no objects at all",
        "multibox_loss",
        "an image of four negatives, undecided",
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
        "A division by the number of positives is NaN for the first batch of empty images, and "
        "training is lost.",
    ),
    # 3 + 1 positives, .6931 each; box loss 2 - 1/2 in image 1. Batch: 4 × .6931 / 4, 1.5 / 4.
    # NVIDIA: (3/3 + 1/1) / 2 × .6931, (0 + 1.5/1) / 2. TensorFlow: class loss twice that.
    # The notebook: 4 × .6931 / 6, 1.5 / 6, total .4621 + .25 / 4. "mean": N is 4 / 2.
    Conflict(
        "images with three objects and with one",
        "multibox_loss",
        "three undecided positives; one more, 2 off in one number of its code, and two ignored",
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
        "Objects in images of their own weigh more than objects in company, or the learning "
        "rate has to follow the batch.",
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
    # The positive's code is right, the negative's 2 off 0: 1.5, which only the notebook counts,
    # 1.5 / 2, a quarter of it in the total. Class loss 2 × .6931, twice that by sigmoids, half of
    # it in the notebook.
    Conflict(
        "a background anchor with a code",
        "multibox_loss",
        "a positive whose code is right and a negative with the code (2, 0, 0, 0), undecided",
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
        "Thousands of background anchors pull every code to 0, and the box loss looks small for "
        "that reason.",
    ),
    # The positive: log(1 + e⁻¹) = .3133, box 1.5; the negative log(1 + e³) = 3.0486. TensorFlow:
    # 1.0064 and 3.7417, IoU 1, so the positive goes, while N stays 1. The notebook's background is
    # the last: (1.3133 + .0486) / 2, box 1.5 / 2, total .6809 + .1875.
    Conflict(
        "two anchors predict the same box",
        "multibox_loss",
        "a positive, 2 off in one number, and a harder negative whose predicted boxes are equal",
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
        "A positive vanishes from the loss because a negative says the same, so the better the "
        "network, the less it is told.",
    ),
)

_SUPPRESSION = (
    # The left half is 1/2 of the whole.
    Conflict(
        "a box that overlaps by the threshold",
        "nms",
        "the image and its left half, IoU .5, threshold .5",
        ((((0, 0, 1, 1), (0, 0, 0.5, 1)),), ((0.9, 0.8),)),
        (
            (((0, 1),), _rest("nvidia_ssd300")),
            (((0,),), ("nvidia_ssd300",)),
        ),
        "Boxes on a grid meet a threshold of one half often, and the number of detections changes.",
        {"iou_threshold": 0.5},
    ),
    # a [0, 12], b [4, 16], c [8, 20]: 8/16, 8/16, and a with c 4/20.
    Conflict(
        "a chain at the threshold",
        "nms",
        "a overlaps b by .5, b overlaps c by .5, a and c by .2; threshold .5",
        (((_strip(0, 12), _strip(4, 16), _strip(8, 20)),), ((0.9, 0.8, 0.7),)),
        (
            (((0, 1, 2),), _rest("nvidia_ssd300")),
            (((0, 2),), ("nvidia_ssd300",)),
        ),
        "A row of objects loses every second one where the comparison is the other.",
        {"iou_threshold": 0.5},
    ),
    # a [0, 16], b [8, 24], c [16, 32]: 8/24 and 8/24; a and c only touch.
    Conflict(
        "a chain: the first frees the third",
        "nms",
        "a overlaps b by .33, b overlaps c by .33, a and c touch; threshold .25",
        (((_strip(0, 16), _strip(8, 24), _strip(16, 32)),), ((0.9, 0.8, 0.7),)),
        ((((0, 2),), _rest()),),
        "A suppression that compares all pairs at once drops c for a box that was dropped itself.",
        {"iou_threshold": 0.25},
        (({"iou_threshold": 0.5}, ((0, 1, 2),)),),
    ),
    # IoU 1, and only the notebook has no limit below it.
    Conflict(
        "duplicates",
        "nms",
        "one box twice, thresholds as each preset has them",
        (((_strip(0, 16), _strip(0, 16)),), ((0.9, 0.8),)),
        (
            (((0,),), _rest("mnist_notebook")),
            (((0, 1),), ("mnist_notebook",)),
        ),
        "Every object is drawn once for each anchor that sees it, and precision falls with each.",
    ),
    # [0, 16] and [0, 12]: 12/16. From the highest: 2, then 1, and 0 falls.
    Conflict(
        "equal scores of one class",
        "nms",
        "three boxes of one score; the first two overlap by .75",
        (((_strip(0, 16), _strip(0, 12), _strip(24, 32)),), ((0.5, 0.5, 0.5),)),
        (
            (((0, 2),), _rest("nvidia_ssd300", "paz")),
            (((2, 1),), ("nvidia_ssd300", "paz")),
        ),
        "Saturated scores are equal, so another box is reported for the same object, and two "
        "exports of one model differ.",
        {"iou_threshold": 0.5},
    ),
    # 0 / 0 is 0; with 1 added to the sides it is 1 / 1.
    Conflict(
        "two boxes without area",
        "nms",
        "one point twice, threshold .5",
        ((((0.5, 0.5, 0.5, 0.5),) * 2,), ((0.9, 0.8),)),
        ((((0, 1),), _rest()),),
        "Where 0 / 0 is NaN, a comparison written the other way round drops the second box, and "
        "every one that follows a point.",
        {"iou_threshold": 0.5},
        (({"iou_offset": 1.0}, ((0,),)),),
    ),
    # IoU 1/2 is not above .6; after the first box the threshold is .6 × .75 = .45.
    Conflict(
        "a threshold that falls",
        "nms",
        "the image and its left half, IoU .5, threshold .6",
        ((((0, 0, 1, 1), (0, 0, 0.5, 1)),), ((0.9, 0.8),)),
        ((((0, 1),), _rest()),),
        "A model tuned with Caffe's eta below 1 reports more boxes everywhere else.",
        {"iou_threshold": 0.6},
        (({"eta": 0.75}, ((0,),)),),
    ),
    # b: .8 exp(-.25) = .6230. c: IoU 3/4 with a, the threshold: .7 exp(-.5625) = .3988, then
    # 16/24 with b: × exp(-.4444) = .2557. NVIDIA drops it at 3/4.
    Conflict(
        "scores that are lowered",
        "soft_nms",
        "the image .9, its left half .8, three quarters of it .7; threshold .75, sigma .5",
        ((((0, 0, 1, 1), (0, 0, 0.5, 1), (0, 0, 0.75, 1)),), ((0.9, 0.8, 0.7),)),
        (
            ((((0, 0.9), (1, 0.623), (2, 0.2557)),), _rest("nvidia_ssd300")),
            ((((0, 0.9), (1, 0.623)),), ("nvidia_ssd300",)),
        ),
        "A soft suppression with a hard threshold behind it loses boxes that it was to keep with "
        "a lower score.",
        {"iou_threshold": 0.75, "soft_sigma": 0.5, "score_threshold": 0.1},
        (({"soft_sigma": 0.25}, (((0, 0.9), (1, 0.4852)),)),),
    ),
)

_SELECTION = (
    Conflict(
        "a score equal to the threshold",
        "select",
        "one box of score .5, threshold .5",
        (((_strip(0, 16),),), (((0.5,),),)),
        (
            (((),), _rest("mediapipe", "paz", "mnist_notebook")),
            ((((1, 0, 0.5, _strip(0, 16)),),), ("mediapipe", "paz", "mnist_notebook")),
        ),
        "Quantised scores lie on a threshold often, and detections come and go between two "
        "exports of one model.",
        _FEW,
    ),
    # Labels 2, 1, 2 on anchors 0, 1, 2. Room for two.
    Conflict(
        "the cut among equal scores",
        "select",
        "anchors 0, 1, 2 with labels 2, 1, 2, all .75; room for two",
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
        "Which of equally sure detections is reported depends on the program, so average "
        "precision differs in its last digits.",
        {**_FEW, "max_detections": 2},
    ),
    Conflict(
        "an anchor sure of two classes",
        "select",
        "one box with scores .9 and .8 for two classes",
        (((_strip(0, 16),),), (((0.9, 0.8),),)),
        (
            (
                (((1, 0, 0.9, _strip(0, 16)), (2, 0, 0.8, _strip(0, 16))),),
                _rest("mediapipe"),
            ),
            ((((1, 0, 0.9, _strip(0, 16)),),), ("mediapipe",)),
        ),
        "A person who is also a driver is found once, and recall of the rarer class falls "
        "without a reason in the scores.",
        _FEW,
    ),
    Conflict(
        "two classes see one object",
        "select",
        "one box twice: the first says class 1 by .9, the second class 2 by .8",
        (((_strip(0, 16), _strip(0, 16)),), (((0.9, 0.0), (0.0, 0.8)),)),
        (
            (
                (((1, 0, 0.9, _strip(0, 16)), (2, 1, 0.8, _strip(0, 16))),),
                _rest("mediapipe"),
            ),
            ((((1, 0, 0.9, _strip(0, 16)),),), ("mediapipe",)),
        ),
        "A cat is reported as a dog as well, in the same place, where a rider on a horse may be "
        "what was wanted.",
        _FEW,
    ),
    # Ranks 0 to 199 are duplicates, 200 is alone, 201 to 400 are duplicates, 401 is alone. Of 200
    # or 10 candidates only duplicates; of 300 or 400 the first lone one too; of all both. Equal
    # scores from the highest anchor: 199 stays.
    Conflict(
        "four hundred duplicates before another object",
        "select",
        "200 times one box .9, another .8, 200 times the first .7, a third .6",
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
        "One large object fills the list of candidates, and small ones beside it are never "
        "looked at.",
        _FEW,
    ),
    # 0 and 1 are duplicates. Two kept: 0 and 2; two candidates: 0 and 1, of which 1 falls. Soft:
    # duplicates fall at once, nothing else overlaps.
    Conflict(
        "a limit before or after suppression",
        "select",
        "class 1: one box .9 and again .8, others .7 and .6; class 2: a box .55",
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
        "A limit of candidates counts duplicates, a limit of detections does not, and the same "
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
    # x from -1 to 1/2 and from 0 to 1/2: .5 / 1.5 as they are, 1 once they are cut.
    Conflict(
        "a box across the border",
        "select",
        "boxes from −1 to .5 and from 0 to .5, .9 and .8, threshold .5",
        ((((-1, 0, 0.5, 1), (0, 0, 0.5, 1)),), (((0.9,), (0.8,)),)),
        (
            ((((1, 0, 0.9, (0, 0, 0.5, 1)),),), ("canonical", *_TORCHVISION)),
            (
                (((1, 0, 0.9, (0, 0, 0.5, 1)), (1, 1, 0.8, (0, 0, 0.5, 1))),),
                ("tf_od_ssd_mobilenet_v2",),
            ),
            (
                (((1, 0, 0.9, (-1, 0, 0.5, 1)), (1, 1, 0.8, (0, 0, 0.5, 1))),),
                _UNCUT,
            ),
        ),
        "Objects at the border are reported twice with the same box, or with corners that index "
        "outside the image.",
        _FEW,
    ),
    Conflict(
        "a box outside the image",
        "select",
        "a box from 1.25 to 1.5, .9",
        ((((1.25, 0, 1.5, 1),),), (((0.9,),),)),
        (
            ((((1, 0, 0.9, (1, 0, 1, 1)),),), ("canonical", *_TORCHVISION)),
            (((),), ("tf_od_ssd_mobilenet_v2",)),
            ((((1, 0, 0.9, (1.25, 0, 1.5, 1)),),), _UNCUT),
        ),
        "A crop of a detection has no pixels, or a box without area counts as a false alarm.",
        _FEW,
    ),
)
_MIDDLE: Box = (0.25, 0.25, 0.75, 0.75)
_DETECTION = (
    # Softmax e / (1 + 2 e) = .4223 twice, background last .1554 and .4223: nothing above .5.
    # Sigmoid σ(1) = .7311 twice; MediaPipe takes the first of an anchor's best.
    Conflict(
        "two classes as sure as the sum allows",
        "detect",
        "logits 0, 1, 1, score threshold .5",
        (((_NO_CODE,),), (((0.0, 1.0, 1.0),),), ((0.5, 0.5, 0.5, 0.5),)),
        (
            (((),), _rest(*_TENSORFLOW)),
            (
                (((1, 0, 0.7311, _MIDDLE), (2, 0, 0.7311, _MIDDLE)),),
                ("tf_od_ssd_mobilenet_v2",),
            ),
            ((((1, 0, 0.7311, _MIDDLE),),), ("mediapipe",)),
        ),
        "Scores of a model trained with sigmoids are halved by a softmax, and a threshold that "
        "was tuned for one finds nothing with the other.",
        _FEW,
    ),
    # Softmax e⁵ / (2 + e⁵) = .9867 for the last column; sigmoid σ(4) = .9820.
    Conflict(
        "a head whose last column is sure",
        "detect",
        "logits −1, −1, 4",
        (((_NO_CODE,),), (((-1.0, -1.0, 4.0),),), ((0.5, 0.5, 0.5, 0.5),)),
        (
            ((((2, 0, 0.9867, _MIDDLE),),), _rest(*_TENSORFLOW, "mnist_notebook")),
            ((((2, 0, 0.982, _MIDDLE),),), _TENSORFLOW),
            (((),), ("mnist_notebook",)),
        ),
        "The whole background of every image is reported as objects of the last class.",
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
