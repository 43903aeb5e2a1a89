"""Default boxes: layouts worked by hand, golden counts and corners of the known ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from reference_numpy.anchors import level_shapes, linear_scales, make_anchors
from reference_numpy.boxes import cxcywh_to_xyxy, pairwise_iou
from reference_numpy.conventions import (
    CAFFE_SSD300,
    CAFFE_SSD512,
    DIGITS224,
    LAYOUTS,
    MEDIAPIPE_SSDLITE320,
    SSD300,
    SSD_MOBILENET300,
    SSDLITE320,
    AnchorLayout,
)
from tests.strategies import FLOATS

# --- scales --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((6,), [0.2, 0.34, 0.48, 0.62, 0.76, 0.9, 1.04]),  # the paper's, and one beyond
        ((2,), [0.2, 0.9, 1.6]),
        ((3, 0.25, 0.75), [0.25, 0.5, 0.75, 1.0]),
        ((5, 0.2, 0.9), [0.2, 0.375, 0.55, 0.725, 0.9, 1.075]),  # SSD300 above its finest map
        ((6, 0.2, 0.95), [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1]),  # the TensorFlow program's
    ],
)
def test_scales_in_equal_steps(arguments, expected):
    assert linear_scales(*arguments) == pytest.approx(expected, abs=1e-15)


def test_the_scales_of_the_layouts_are_in_equal_steps():
    assert SSD300.scales[1:] == pytest.approx(linear_scales(5), abs=1e-15)
    for layout in (SSDLITE320, SSD_MOBILENET300):
        assert layout.scales[:-1] == pytest.approx(linear_scales(6, 0.2, 0.95)[:-1], abs=1e-15)
        assert layout.scales[-1] == 1


# --- shapes of a cell ----------------------------------------------------------------------------

# Roots come out whole: sqrt(.25 * 1) = .5, sqrt(4) = 2, sqrt(1/4) = 1/2.
WORKED = AnchorLayout(
    name="worked",
    image_size=(4, 6),
    feature_maps=((2, 3), (1, 2)),
    scales=(0.25, 1.0, 4.0),
    aspect_ratios=((4.0, 1 / 4), ()),
)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        # The square, the extra square sqrt(.25 * 1), .25 * 2 by .25 / 2, and that upright.
        (0, [(0.25, 0.25), (0.5, 0.5), (0.5, 0.125), (0.125, 0.5)]),
        # The last scale is only looked at for the extra square sqrt(1 * 4).
        (1, [(1.0, 1.0), (2.0, 2.0)]),
    ],
)
def test_the_shapes_of_a_cell_are_1_then_the_extra_square_then_the_ratios(level, expected):
    assert level_shapes(WORKED, level) == expected
    with pytest.raises(ValueError, match=r"^level: expected 0 to 1 in worked\. Received: 2$"):
        level_shapes(WORKED, 2)


def test_lowest_shapes_replace_those_of_the_finest_map_only():
    lowest = ((0.5, 1.0), (0.5, 4.0))
    layout = AnchorLayout("low", (4, 6), WORKED.feature_maps, WORKED.scales, ((), ()), lowest)
    assert level_shapes(layout, 0) == [(0.5, 0.5), (1.0, 0.25)]
    assert level_shapes(layout, 1) == [(1.0, 1.0), (2.0, 2.0)]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_shape_has_the_area_of_its_scale_and_its_ratio(layout):
    for level, ratios in enumerate(layout.aspect_ratios):
        if level == 0 and layout.lowest_shapes:
            pairs = list(layout.lowest_shapes)
        else:
            extra = (layout.scales[level] * layout.scales[level + 1]) ** 0.5
            pairs = [(layout.scales[level], 1), (extra, 1)]
            pairs += [(layout.scales[level], ratio) for ratio in ratios]
        found = [((w * h) ** 0.5, w / h) for w, h in level_shapes(layout, level)]
        np.testing.assert_allclose(found, pairs, rtol=1e-14)


# Images 4 high and 8 wide, one cell, so that a unit is not the same both ways.
WIDE = {"image_size": (4, 8), "feature_maps": ((1, 1),)}

# Changes to a layout of one cell with scales 1 and 4, so that s' = 2, and ratio 4; then its shapes.
SHAPES = {
    # 1; sqrt(1 * 4) = 2; 1 * sqrt(4) by 1 / sqrt(4).
    "canonical": ({}, [(1, 1), (2, 2), (2, 0.5)]),
    "the extra square last": ({"extra_square": "last"}, [(1, 1), (2, 0.5), (2, 2)]),
    "no extra square": ({"extra_square": "none"}, [(1, 1), (2, 0.5)]),
    "flipped": ({"flip": True}, [(1, 1), (2, 2), (2, 0.5), (0.5, 2)]),
    "each flipped at once": (
        # 16 and 1/16, then 4 and 1/4.
        {"flip": True, "aspect_ratios": ((16.0, 4.0),)},
        [(1, 1), (2, 2), (4, 0.25), (0.25, 4), (2, 0.5), (0.5, 2)],
    ),
    "the square among the ratios": (
        {"square": "listed", "extra_square": "none", "aspect_ratios": ((4.0, 1.0, 0.25),)},
        [(2, 0.5), (1, 1), (0.5, 2)],
    ),
    "... the extra square last": (
        {"square": "listed", "extra_square": "last", "aspect_ratios": ((4.0, 1.0),)},
        [(2, 0.5), (1, 1), (2, 2)],
    ),
    "... which need not be there": (
        {"square": "listed", "extra_square": "none", "aspect_ratios": ((4.0,),)},
        [(2, 0.5)],
    ),
    # s' = 2 with ratio 4: 2 * 2 by 2 / 2.
    "an extra shape that is no square": ({"extra_ratio": 4.0}, [(1, 1), (4, 1), (2, 0.5)]),
    "a unit is the image, whatever its shape": (WIDE, [(1, 1), (2, 2), (2, 0.5)]),
    # The shorter side is 4, and the width twice that.
    "the shorter side": ({**WIDE, "unit": "shorter side"}, [(0.5, 1), (1, 2), (1, 0.5)]),
    "the shorter side is the width": (
        {"image_size": (8, 4), "unit": "shorter side"},
        [(1, 0.5), (2, 1), (2, 0.25)],
    ),
    "pixels": ({**WIDE, "unit": "pixels"}, [(1 / 8, 1 / 4), (2 / 8, 2 / 4), (2 / 8, 0.5 / 4)]),
    # 1.25 * 5 = 6.25, whose root is 2.5.
    "pixels with a fraction": (
        {**WIDE, "unit": "pixels", "scales": (1.25, 5.0)},
        [(1.25 / 8, 1.25 / 4), (2.5 / 8, 2.5 / 4), (2.5 / 8, 0.625 / 4)],
    ),
    # Of 1.9 and 4.9, 1 and 4 are left before the root is taken; rounding would give 2 and 5.
    "whole pixels": (
        {**WIDE, "unit": "pixels", "scales": (1.9, 4.9), "whole_pixels": True},
        [(1 / 8, 1 / 4), (2 / 8, 2 / 4), (2 / 8, 0.5 / 4)],
    ),
    "the lowest shapes are all there are": (
        {"lowest_shapes": ((2.0, 4.0),), "flip": True, "extra_square": "last"},
        [(4, 1)],
    ),
    "... in the unit of the others": (
        {**WIDE, "unit": "pixels", "lowest_shapes": ((2.0, 4.0),)},
        [(4 / 8, 1 / 4)],
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes_by_hand(case):
    overrides, expected = SHAPES[case]
    layout = AnchorLayout(
        **{
            "name": "one",
            "image_size": (8, 8),
            "feature_maps": ((1, 1),),
            "scales": (1.0, 4.0),
            "aspect_ratios": ((4.0,),),
            **overrides,
        }
    )
    assert level_shapes(layout, 0) == expected, case


# --- the anchors of a layout ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_order_is_level_row_column_shape(dtype):
    # Two rows of three columns with four shapes, then one row of two columns with two. Centres
    # in x at 1/6, 3/6, 5/6 and 1/4, 3/4; in y at 1/4, 3/4 and 1/2.
    first = [(0.25, 0.25), (0.5, 0.5), (0.5, 0.125), (0.125, 0.5)]
    second = [(1, 1), (2, 2)]
    expected = [
        *[
            (cx, cy, w, h)
            for cy in (1 / 4, 3 / 4)
            for cx in (1 / 6, 1 / 2, 5 / 6)
            for w, h in first
        ],
        *[(cx, 1 / 2, w, h) for cx in (1 / 4, 3 / 4) for w, h in second],
    ]
    found = make_anchors(WORKED, dtype)
    assert (found.dtype, found.shape) == (dtype, (28, 4))
    np.testing.assert_array_equal(found, np.array(expected).astype(dtype))


def test_shape_by_shape():
    # All six cells with the first shape, then all with the second; row and column as before.
    found = make_anchors(replace(WORKED, order="shape"), np.float64)
    assert found[:6, 2:].tolist() == [[0.25, 0.25]] * 6
    assert found[6:12, 2:].tolist() == [[0.5, 0.5]] * 6
    assert found[24:, 2:].tolist() == [[1, 1], [1, 1], [2, 2], [2, 2]]
    cells = [[cx, cy] for cy in (1 / 4, 3 / 4) for cx in (1 / 6, 1 / 2, 5 / 6)]
    assert found[:24, :2].tolist() == cells * 4
    by_cell = make_anchors(WORKED, np.float64)
    assert sorted(found.tolist()) == sorted(by_cell.tolist())


# One map of two rows and three columns, 4 by 8 pixels; then cx of its columns and cy of its rows.
CENTERS = {
    "the middle of each cell": ({}, [1 / 6, 3 / 6, 5 / 6], [1 / 4, 3 / 4]),
    "its corner": ({"offset": 0.0}, [0, 1 / 3, 2 / 3], [0, 1 / 2]),
    "its other corner": ({"offset": 1.0}, [1 / 3, 2 / 3, 1], [1 / 2, 1]),
    # A step of 3 pixels: 1.5, 4.5 and 7.5 of 8 across, 1.5 and 4.5 of 4 down, beyond the image.
    "steps": ({"steps": (3.0,)}, [1.5 / 8, 4.5 / 8, 7.5 / 8], [1.5 / 4, 4.5 / 4]),
    # The offset is in steps: 0, 3 and 6.
    "steps from the corner": ({"steps": (3.0,), "offset": 0.0}, [0, 3 / 8, 6 / 8], [0, 3 / 4]),
}


@pytest.mark.parametrize("case", CENTERS)
def test_centres_by_hand(case):
    overrides, across, down = CENTERS[case]
    layout = AnchorLayout(
        "six", (4, 8), ((2, 3),), (0.5, 0.5), ((),), extra_square="none", **overrides
    )
    found = make_anchors(layout, np.float64)
    expected = [[cx, cy, 0.5, 0.5] for cy in down for cx in across]
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=0, err_msg=case)


def test_each_map_has_its_own_step():
    layout = AnchorLayout(
        "two", (8, 8), ((1, 2), (1, 1)), (0.5,) * 3, ((), ()), steps=(2.0, 6.0), extra_square="none"
    )
    assert make_anchors(layout, np.float64)[:, :2].tolist() == [
        [1 / 8, 1 / 8],
        [3 / 8, 1 / 8],
        [3 / 8, 3 / 8],
    ]


# Two cells 3/4 apart, so that centres are at 3/8 and at 9/8, beyond the image, and one shape 2
# wide and 1/2 high. Corners in x from -5/8 to 11/8 and from 1/8 to 17/8; in y 1/8 to 5/8.
CLIPPED = {
    "none": [[3 / 8, 3 / 8, 2, 1 / 2], [9 / 8, 3 / 8, 2, 1 / 2]],
    # From 0 to 1, and from 1/8 to 1, which is 7/8 wide around 9/16.
    "corners": [[1 / 2, 3 / 8, 1, 1 / 2], [9 / 16, 3 / 8, 7 / 8, 1 / 2]],
    "centers": [[3 / 8, 3 / 8, 1, 1 / 2], [1, 3 / 8, 1, 1 / 2]],
    "sizes": [[3 / 8, 3 / 8, 1, 1 / 2], [9 / 8, 3 / 8, 1, 1 / 2]],
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("clip", CLIPPED)
def test_clipping_by_hand(clip, dtype):
    layout = AnchorLayout(
        "two", (1, 1), ((1, 2),), (1.0, 1.0), ((),), ((1.0, 4.0),), steps=(0.75,), clip=clip
    )
    found = make_anchors(layout, dtype)
    assert found.dtype == dtype
    assert found.tolist() == CLIPPED[clip]


def test_a_clipped_centre_form_is_no_clipped_box():
    # A square of .1 in the first of 38 cells: xmin is 1/76 - .05, about -.037.
    for clip, expected in (("centers", 1 / 76 - 0.05), ("sizes", 1 / 76 - 0.05), ("corners", 0)):
        layout = replace(SSD300, clip=clip)
        found = cxcywh_to_xyxy(make_anchors(layout, np.float64)[:1])[0, 0]
        assert found == pytest.approx(expected, abs=1e-16)


@pytest.mark.parametrize(
    ("layout", "count"),
    [
        (CAFFE_SSD300, 8732),
        # 4 * 64² + 6 * (32² + 16² + 8² + 4²) + 4 * (2² + 1).
        (CAFFE_SSD512, 24564),
        # 3 * 20² + 6 * (10² + 5² + 3² + 2² + 1), the finest map reduced.
        (MEDIAPIPE_SSDLITE320, 2034),
    ],
    ids=["caffe_ssd300", "caffe_ssd512", "mediapipe_ssdlite320"],
)
def test_the_layouts_of_other_systems_have_their_numbers(layout, count):
    assert make_anchors(layout).shape == (count, 4)


def test_anchors_are_float32_unless_asked_otherwise():
    assert make_anchors(WORKED).dtype == np.float32


# The shape of a cell by hand: .9 * sqrt(1/2) by .9 / sqrt(1/2), .95 / sqrt(3) by .95 * sqrt(3),
# sqrt(.85 * 1) squared; the first centre is half a cell from the corner.
@pytest.mark.parametrize(
    ("layout", "count", "per_level", "first", "last"),
    [
        (
            SSD300,
            8732,  # the paper's number (section 3.3)
            [5776, 2166, 600, 150, 36, 4],
            [1 / 76, 1 / 76, 0.1, 0.1],
            [1 / 2, 1 / 2, 0.6363961030678927, 1.2727922061357855],
        ),
        (
            SSDLITE320,
            3234,
            [2400, 600, 150, 54, 24, 6],
            [1 / 40, 1 / 40, 0.2, 0.2],
            [1 / 2, 1 / 2, 0.5484827557301445, 1.6454482671904334],
        ),
        (
            SSD_MOBILENET300,
            1917,
            [1083, 600, 150, 54, 24, 6],
            [1 / 38, 1 / 38, 0.1, 0.1],
            [1 / 2, 1 / 2, 0.5484827557301445, 1.6454482671904334],
        ),
        (
            DIGITS224,
            2884,
            [2352, 392, 98, 32, 8, 2],
            [1 / 56, 1 / 56, 0.1, 0.1],
            [1 / 2, 1 / 2, 0.9219544457292888, 0.9219544457292888],
        ),
    ],
    ids=["ssd300", "ssdlite320", "ssd_mobilenet300", "digits224"],
)
def test_known_layouts(layout, count, per_level, first, last):
    anchors = make_anchors(layout, np.float64)
    assert anchors.shape == (count, 4)
    np.testing.assert_allclose(anchors[[0, -1]], [first, last], rtol=0, atol=1e-15)

    cells = [rows * columns for rows, columns in layout.feature_maps]
    shapes = [len(level_shapes(layout, level)) for level in range(len(cells))]
    assert [a * b for a, b in zip(cells, shapes, strict=True)] == per_level
    # Each level begins in the first cell of its own map and ends in the last.
    ends = np.cumsum(per_level)
    for start, end, (rows, columns) in zip(
        ends - per_level, ends, layout.feature_maps, strict=True
    ):
        assert anchors[start, :2].tolist() == [0.5 / columns, 0.5 / rows]
        assert anchors[end - 1, :2].tolist() == [(columns - 0.5) / columns, (rows - 0.5) / rows]


# Every scale is met here: the square of each level, and the extra one, sqrt(s_k s_k+1).
@pytest.mark.parametrize(
    ("layout", "squares"),
    [
        (
            SSD300,
            [
                (30, 42.43),
                (60, 82.16),
                (112.5, 136.24),
                (165, 189.44),
                (217.5, 242.33),
                (270, 295.08),
            ],
        ),
        (
            SSDLITE320,
            [(64, 84.66), (112, 133.87), (160, 182.43), (208, 230.76), (256, 278.97), (304, 311.9)],
        ),
        (
            # The three lowest: .1, then .2 at 2 : 1 and at 1 : 2.
            SSD_MOBILENET300,
            [
                (30, 84.85, 42.43),
                (105, 125.5),
                (150, 171.03),
                (195, 216.33),
                (240, 261.53),
                (285, 292.4),
            ],
        ),
        (
            DIGITS224,
            [
                (22.4, 28, 35.84),
                (44.8, 55.78),
                (69.44, 86.41),
                (107.52, 129.84),
                (156.8, 172.79),
                (190.4, 206.52),
            ],
        ),
    ],
    ids=["ssd300", "ssdlite320", "ssd_mobilenet300", "digits224"],
)
def test_the_widths_of_known_layouts_in_pixels(layout, squares):
    for level, expected in enumerate(squares):
        widths = [w * layout.image_size[1] for w, _ in level_shapes(layout, level)]
        assert widths[: len(expected)] == pytest.approx(expected, abs=0.005), level


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_anchors_are_rounded_once(layout):
    exact = make_anchors(layout, np.float64)
    np.testing.assert_array_equal(make_anchors(layout, np.float32), exact.astype(np.float32))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_centres_are_inside_and_anchors_are_not_clipped(layout):
    anchors = make_anchors(layout)
    assert ((anchors[:, :2] > 0) & (anchors[:, :2] < 1)).all()
    corners = cxcywh_to_xyxy(anchors)
    assert corners.min() < 0
    assert corners.max() > 1


@given(st.integers(1, 4), st.integers(1, 4))
def test_turning_the_map_turns_the_anchors(rows, columns):
    # Swapping the axes, and each ratio with its inverse, swaps (cx, w) with (cy, h).
    wide = AnchorLayout("wide", (8, 8), ((rows, columns),), (0.3, 0.5), ((2.0, 3.0),))
    tall = AnchorLayout("tall", (8, 8), ((columns, rows),), (0.3, 0.5), ((0.5, 1 / 3),))
    found = make_anchors(wide, np.float64).reshape(rows, columns, 4, 4)
    turned = make_anchors(tall, np.float64).reshape(columns, rows, 4, 4)
    np.testing.assert_allclose(found, turned.swapaxes(0, 1)[..., [1, 0, 3, 2]], rtol=1e-15)


def test_every_digit_overlaps_an_anchor_of_its_layout_by_more_than_half():
    # Patches of 21 to 70 of 224 pixels. Places 11 pixels apart, and the last that fits, meet the
    # grids of 8, 16, 32, ... pixels in every phase.
    anchors = cxcywh_to_xyxy(make_anchors(DIGITS224, np.float64)) * 224
    for side in range(21, 71, 7):
        places = np.append(np.arange(0, 224 - side, 11), 224 - side)
        x, y = (axis.ravel() for axis in np.meshgrid(places, places))
        digits = np.stack([x, y, x + side, y + side], axis=1).astype(float)
        assert pairwise_iou(digits, anchors).max(axis=1).min() > 0.5, side
