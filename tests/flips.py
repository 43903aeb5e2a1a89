"""Other values of every field of a convention: each has to change the answer to some case.

Parity cannot notice a field that nothing reads, or that both sides misread alike: it holds both to
the same convention. So `tests/reference/test_conflicts.py` sets every field to another value and
expects another answer, and `tests/test_faults.py` claims the value and answers without it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from reference_numpy.conventions import (
    AnchorLayout,
    Coding,
    Detection,
    Loss,
    Matching,
    Overlap,
)

__all__ = ["ASKED", "FIRST", "FLIPS", "Flip", "every_flip"]

FLIPS: dict[type, dict[str, list[Any]]] = {
    Overlap: {
        "iou_epsilon": [0.0, 1e-3],
        "iou_offset": [0.0, 1.0],
    },
    Matching: {
        "threshold": [0.25],
        "positive_at": [">=", ">"],
        "force": ["bipartite", "last", "first", "none"],
        "force_above": [-1.0, 0.0, 0.5],
        "ignore_from": [None, 0.3],
        "crowd_by": ["ioa", "iou", "none"],
        "crowd_overlap": [0.75],
    },
    Coding: {
        "variances": [(1.0, 1.0, 1.0, 1.0), (0.1, 0.2, 0.2, 0.2)],
        "form": ["log", "difference"],
        "code_order": ["xywh", "yxhw"],
        "size_epsilon": [0.0, 1e-3],
        "ratio_epsilon": [0.0, 1e-3],
        "largest_exponent": [None, 1.0],
        "degenerate": ["error", "drop", "encode"],
        "background": ["first", "last"],
    },
    Loss: {
        "class_loss": ["softmax", "sigmoid", "focal"],
        "focal_alpha": [0.25, 0.5],
        "focal_gamma": [0.0, 1.0, 2.0],
        "mining": ["image", "batch", "none"],
        "negative_ratio": [1.0],
        "rounding": ["down", "up"],
        "min_negatives": [0, 1],
        "max_negatives": [None, 2],
        "mining_nms": [None, 0.5],
        "normaliser": ["positives", "image", "mean", "anchors"],
        "box_over": ["positives", "all"],
        "box_weight": [1.0, 2.0],
    },
    Detection: {
        "score_threshold": [0.7],
        "score_at": [">", ">="],
        "suppress_in": ["class", "anchor"],
        "candidates_per_class": [None, 2],
        "iou_threshold": [0.1],
        "suppress_at": [">", ">="],
        "ties": ["lowest anchor", "lowest label", "highest anchor"],
        "eta": [1.0, 0.75],
        "soft_sigma": [None, 0.25],
        "max_per_class": [None, 1],
        "max_detections": [1],
        "clip": ["before", "after", "none"],
        "drop_empty": [False, True],
    },
    AnchorLayout: {
        "image_size": [(3, 5)],
        "feature_maps": [((2, 1),)],
        "scales": [(2.0, 3.0)],
        "aspect_ratios": [((3.0,),)],
        "lowest_shapes": [(), ((0.25, 1.0),)],
        "unit": ["image", "shorter side", "pixels"],
        "whole_pixels": [False, True],
        "flip": [False, True],
        "square": ["first", "listed"],
        "extra_square": ["second", "last", "none"],
        "extra_ratio": [1.0, 4.0],
        "steps": [(), (0.6,)],
        "offset": [0.25],
        "order": ["cell", "shape"],
        "clip": ["none", "corners", "centers", "sizes"],
    },
}
# The operations that read each part; one that notices is enough.
ASKED = {
    Overlap: ["pairwise_iou"],
    Matching: ["match", "assign_targets_with_crowds"],
    Coding: ["encode", "decode", "background_first", "assign_targets"],
    Loss: ["class_losses", "mine_hard_negatives", "multibox_loss"],
    Detection: ["select", "nms", "soft_nms"],
    AnchorLayout: ["make_anchors"],
}
# Where no preset reads the field, or other fields hide it: those to set first.
FIRST: dict[str, dict[str, Any]] = {
    "force_above": {"force": "last"},
    "form": {"degenerate": "error"},
    "size_epsilon": {"degenerate": "error"},
    "ratio_epsilon": {"degenerate": "error"},
    "degenerate": {"size_epsilon": 1e-8},
    "focal_alpha": {"class_loss": "focal"},
    "focal_gamma": {"class_loss": "focal"},
    "eta": {"iou_threshold": 0.7},
}


class Flip(NamedTuple):
    """One field of one part of a convention, and another value for it."""

    part: type
    field: str
    value: Any


def every_flip() -> list[Flip]:
    """All of `FLIPS`."""
    return [
        Flip(part, field, value)
        for part, answers in FLIPS.items()
        for field, values in answers.items()
        for value in values
    ]
