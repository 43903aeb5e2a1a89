"""`keras_impl.ops.anchors` against `reference_numpy.anchors`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keras_impl.ops import anchors
from reference_numpy import anchors as reference
from reference_numpy.conventions import (
    CAFFE_SSD512,
    LAYOUTS,
    MEDIAPIPE_SSDLITE320,
    PRESETS,
    SSD300,
    AnchorLayout,
)

NAMED = [
    *LAYOUTS.values(),
    CAFFE_SSD512,
    MEDIAPIPE_SSDLITE320,
    *(convention.layout for name, convention in PRESETS.items() if name != "canonical"),
]


@pytest.mark.parametrize("layout", NAMED, ids=lambda layout: layout.name)
def test_level_shapes_are_equal(layout):
    for level in range(len(layout.feature_maps)):
        assert anchors.level_shapes(layout, level) == reference.level_shapes(layout, level)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", NAMED, ids=lambda layout: layout.name)
def test_anchors_are_equal_in_every_bit(layout, dtype):
    got = np.asarray(anchors.make_anchors(layout, dtype))
    wanted = reference.make_anchors(layout, dtype)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    "overrides",
    [
        {"unit": "shorter side"},
        {"unit": "pixels", "whole_pixels": True, "scales": (30.7, 60.9, 110.5, 160.0)},
        {"flip": True},
        {"square": "listed", "extra_square": "last"},
        {"extra_square": "none"},
        {"extra_square": "last", "extra_ratio": 2.0},
        {"steps": (30.0, 70.0, 200.0)},
        {"offset": 0.25},
        {"order": "shape"},
        {"clip": "corners"},
        {"clip": "centers"},
        {"clip": "sizes"},
        {"lowest_shapes": ((0.1, 1.0), (0.2, 3.0))},
    ],
    ids=str,
)
def test_every_rule_of_a_layout(overrides):
    """On an image and maps that are not square."""
    plain = AnchorLayout(
        "some", (200, 320), ((7, 11), (3, 5), (1, 2)), (0.3, 0.5, 0.7, 0.9), ((2.0, 0.4),) * 3
    )
    layout = replace(plain, **overrides)

    got = np.asarray(anchors.make_anchors(layout, "float64"))

    np.testing.assert_array_equal(got, reference.make_anchors(layout, "float64"))
    assert not np.array_equal(got, reference.make_anchors(plain, "float64"))


@pytest.mark.parametrize("arguments", [(2,), (6,), (5, 0.15, 0.95)])
def test_linear_scales_are_equal(arguments):
    assert anchors.linear_scales(*arguments) == reference.linear_scales(*arguments)


def test_without_a_dtype_anchors_are_float32():
    assert anchors.make_anchors(SSD300).dtype == np.float32
