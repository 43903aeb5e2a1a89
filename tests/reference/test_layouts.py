"""Layouts: what is in them, what they refuse, and where they are found."""

from __future__ import annotations

import dataclasses
import re

import pytest

from reference_numpy.conventions import (
    DIGITS224,
    LAYOUTS,
    SSD300,
    SSD_MOBILENET300,
    SSDLITE320,
    AnchorLayout,
)
from tests.bad_input import TWO_MAPS as GOOD


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


def test_a_scale_more_than_feature_maps():
    with pytest.raises(ValueError, match=r"^scales: expected 3 numbers, one per feature map"):
        AnchorLayout(**{**GOOD, "scales": (0.2, 0.5)})


LISTED = {"aspect_ratios": ((1.0,), (1.0,)), "square": "listed", "extra_square": "last"}


def test_a_whole_pixel_is_enough():
    scales = {"unit": "pixels", "scales": (1.0, 1.0, 30.0), "whole_pixels": True}
    assert AnchorLayout(**{**GOOD, **scales}).scales == (1.0, 1.0, 30.0)


CHOICES = {
    "unit": ["image", "shorter side", "pixels"],
    "square": ["first", "listed"],
    "extra_square": ["second", "last", "none"],
    "order": ["cell", "shape"],
    "clip": ["none", "corners", "centers", "sizes"],
}


@pytest.mark.parametrize("field", CHOICES)
def test_a_word_is_one_of_its_choices(field):
    for word in CHOICES[field]:
        AnchorLayout(**{**GOOD, **(LISTED if field == "square" else {}), field: word})
    with pytest.raises(
        ValueError, match=f"^{field}: expected one of .* Received: 'other'$"
    ) as info:
        AnchorLayout(**{**GOOD, field: "other"})
    assert sorted(re.findall("'([^']*)'", str(info.value))) == sorted([*CHOICES[field], "other"])


def test_every_word_is_in_the_table():
    words = {
        field.name for field in dataclasses.fields(AnchorLayout) if isinstance(field.default, str)
    }
    assert words == set(CHOICES)


def test_the_further_answers_of_the_named_layouts_are_the_papers():
    for layout in LAYOUTS.values():
        plain = AnchorLayout(*(getattr(layout, name) for name in GOOD))
        assert layout == plain
