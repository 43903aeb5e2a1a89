"""The choices: their values, what a layout refuses, and every default is one of them."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

from reference_numpy import coding, detection, gradients, matching, multibox, nms, targets
from reference_numpy.conventions import (
    CANONICAL,
    DIGITS224,
    LAYOUTS,
    SSD300,
    SSD_MOBILENET300,
    SSDLITE320,
    AnchorLayout,
    Coding,
    Convention,
    Detection,
    Loss,
    Matching,
)


def test_the_canonical_convention_is_the_papers_where_the_paper_speaks():
    # arXiv:1512.02325: jaccard overlap .5, "at most 3:1", alpha 1 (section 2.2); confidence .01,
    # NMS .45, top 200 (section 3.7). Variances and 400 candidates are Caffe's.
    assert Convention("canonical", Matching(), Coding(), Loss(), Detection()) == CANONICAL
    assert dataclasses.asdict(CANONICAL) == {
        "name": "canonical",
        "matching": {"threshold": 0.5},
        "coding": {"variances": (0.1, 0.1, 0.2, 0.2)},
        "loss": {"negative_ratio": 3.0, "min_negatives": 0, "box_weight": 1.0},
        "detection": {
            "score_threshold": 0.01,
            "iou_threshold": 0.45,
            "candidates_per_class": 400,
            "max_detections": 200,
        },
    }


@pytest.mark.parametrize(
    ("function", "group", "parameters"),
    [
        (matching.match, "matching", ["threshold"]),
        (targets.assign_targets, "matching", ["threshold"]),
        (targets.assign_targets, "coding", ["variances"]),
        (coding.encode, "coding", ["variances"]),
        (coding.decode, "coding", ["variances"]),
        (multibox.mine_hard_negatives, "loss", ["negative_ratio", "min_negatives"]),
        (multibox.multibox, "loss", ["negative_ratio", "min_negatives", "box_weight"]),
        (gradients.multibox_gradient, "loss", ["negative_ratio", "min_negatives", "box_weight"]),
        (nms.nms, "detection", ["iou_threshold"]),
        (
            detection.select,
            "detection",
            ["score_threshold", "iou_threshold", "candidates_per_class", "max_detections"],
        ),
        (
            detection.detect,
            "detection",
            ["score_threshold", "iou_threshold", "candidates_per_class", "max_detections"],
        ),
        (detection.detect, "coding", ["variances"]),
    ],
)
def test_the_defaults_of_every_function_are_canonical(function, group, parameters):
    canonical = dataclasses.asdict(CANONICAL)[group]
    defaults = inspect.signature(function).parameters
    assert {name: defaults[name].default for name in parameters} == {
        name: canonical[name] for name in parameters
    }


@pytest.mark.parametrize("choices", [CANONICAL, *LAYOUTS.values(), CANONICAL.matching])
def test_choices_cannot_be_changed(choices):
    field = dataclasses.fields(choices)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(choices, field, None)
    assert hash(choices) == hash(dataclasses.replace(choices)), "not usable as a key"


# --- layouts -------------------------------------------------------------------------------------


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
