"""Layouts: what is in them, what they refuse, and where they are found."""

from __future__ import annotations

import dataclasses
import re

import pytest

from reference_numpy.layouts import (
    DIGITS224,
    LAYOUTS,
    SSD300,
    SSD_MOBILENET300,
    SSDLITE320,
    AnchorLayout,
    one_of,
)


def test_layouts_are_found_by_their_names():
    assert LAYOUTS == {
        "digits224": DIGITS224,
        "ssd300": SSD300,
        "ssdlite320": SSDLITE320,
        "ssd_mobilenet300": SSD_MOBILENET300,
    }
    assert [layout.name for layout in LAYOUTS.values()] == list(LAYOUTS)


@pytest.mark.parametrize(
    ("layout", "pixels", "maps"),
    [
        (DIGITS224, 224, [28, 14, 7, 4, 2, 1]),
        (SSD300, 300, [38, 19, 10, 5, 3, 1]),  # the paper's figure 2
        (SSDLITE320, 320, [20, 10, 5, 3, 2, 1]),
        (SSD_MOBILENET300, 300, [19, 10, 5, 3, 2, 1]),
    ],
)
def test_layouts_have_the_maps_of_their_networks(layout, pixels, maps):
    assert layout.image_size == (pixels, pixels)
    assert layout.feature_maps == tuple((side, side) for side in maps)
    assert all(map(float.__lt__, layout.scales, layout.scales[1:])), "scales grow"


GOOD = {
    "name": "two",
    "image_size": (8, 16),
    "feature_maps": ((2, 4), (1, 2)),
    "scales": (0.2, 0.5, 0.9),
    "aspect_ratios": ((2.0, 0.5), ()),
    "lowest_shapes": ((0.1, 1.0),),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"feature_maps": ()},
            "feature_maps: expected at least one (rows, columns) pair. Received: ()",
        ),
        (
            {"scales": (0.2, 0.5)},
            "scales: expected 3 numbers, one a feature map and one more. Received: (0.2, 0.5)",
        ),
        (
            {"scales": (0.2, 0.5, 0.7, 0.9)},
            "scales: expected 3 numbers, one a feature map and one more. "
            "Received: (0.2, 0.5, 0.7, 0.9)",
        ),
        (
            {"aspect_ratios": ((2.0,),)},
            "aspect_ratios: expected 2 tuples, one a feature map. Received: ((2.0,),)",
        ),
        (
            {"image_size": (0, 16)},
            "image_size: expected positive numbers. Received: (0, 16)",
        ),
        (
            {"feature_maps": ((2, 4), (1, 0))},
            "feature_maps: expected positive numbers. Received: [2, 4, 1, 0]",
        ),
        (
            {"scales": (0.2, -0.5, 0.9)},
            "scales: expected positive numbers. Received: (0.2, -0.5, 0.9)",
        ),
        (
            {"scales": (0.2, float("nan"), 0.9)},
            "scales: expected positive numbers. Received: (0.2, nan, 0.9)",
        ),
        (
            {"aspect_ratios": ((2.0, 0.0), ())},
            "aspect_ratios: expected positive numbers. Received: [2.0, 0.0]",
        ),
        (
            {"lowest_shapes": ((0.1, -1.0),)},
            "lowest_shapes: expected positive numbers. Received: [0.1, -1.0]",
        ),
    ],
)
def test_a_layout_refuses_parts_that_do_not_fit(change, message):
    AnchorLayout(**GOOD)
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        AnchorLayout(**{**GOOD, **change})
