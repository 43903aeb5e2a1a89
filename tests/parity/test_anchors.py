"""`keras_impl.anchors` against `reference_numpy.anchors`."""

from __future__ import annotations

import pytest

from keras_impl import anchors
from reference_numpy import anchors as reference
from reference_numpy.conventions import LAYOUTS, SSD300


def test_parity(assert_parity):
    assert_parity("make_anchors", "eager")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_level_shapes_are_equal(layout):
    for level in range(len(layout.feature_maps)):
        assert anchors.level_shapes(layout, level) == reference.level_shapes(layout, level)


@pytest.mark.parametrize("arguments", [(2,), (6,), (5, 0.15, 0.95)])
def test_linear_scales_are_equal(arguments):
    assert anchors.linear_scales(*arguments) == reference.linear_scales(*arguments)


@pytest.mark.parametrize("module", [anchors, reference], ids=["keras", "numpy"])
@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("linear_scales", (1,), "levels: expected at least 2. Received: 1"),
        ("linear_scales", (3, 0.5, 0.5), "smallest, largest: .* Received: 0.5, 0.5"),
        ("level_shapes", (SSD300, 6), "level: expected 0 to 5 in ssd300. Received: 6"),
        ("level_shapes", (SSD300, -1), "level: expected 0 to 5 in ssd300. Received: -1"),
    ],
)
def test_both_refuse_alike(module, function, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(module, function)(*arguments)
