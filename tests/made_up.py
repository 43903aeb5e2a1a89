"""Conventions that no system has, so that each answer to each question is tried somewhere."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from reference_numpy.conventions import CANONICAL, PRESETS, AnchorLayout, Convention

__all__ = ["CONVENTIONS", "MADE_UP", "in_both"]

# What no preset answers. Numbers are such that the small cases meet them.
MADE_UP = [
    CANONICAL.replace(
        name="made up: limits",
        iou_epsilon=1e-5,
        positive_at=">",
        force="last",
        ignore_from=0.3,
        crowd_by="iou",
        crowd_overlap=0.25,
        threshold=0.4,
        ratio_epsilon=0.02,
        largest_exponent=1.5,
        class_loss="focal",
        focal_alpha=0.4,
        focal_gamma=1.5,
        mining="batch",
        rounding="up",
        negative_ratio=0.7,
        min_negatives=2,
        max_negatives=9,
        normaliser="mean",
        box_weight=0.5,
        score_threshold=0.05,
        candidates_per_class=20,
        iou_threshold=0.7,
        ties="lowest label",
        eta=0.9,
        max_per_class=6,
        max_detections=15,
        clip="none",
    ),
    CANONICAL.replace(
        name="made up: soft",
        iou_offset=0.1,
        force="first",
        force_above=0.1,
        crowd_by="ioa",
        degenerate="drop",
        size_epsilon=0.01,
        mining="none",
        normaliser="anchors",
        box_over="all",
        ties="highest anchor",
        soft_sigma=0.3,
        iou_threshold=0.9,
        suppress_at=">=",
        layout=AnchorLayout(
            "rules",
            (80, 96),
            ((5, 6), (2, 3)),
            (20.0, 40.7, 90.0),
            ((2.0, 3.0), (0.5,)),
            unit="pixels",
            whole_pixels=True,
            flip=True,
            square="listed",
            extra_square="last",
            extra_ratio=1.5,
            offset=0.25,
            order="shape",
            clip="corners",
        ),
    ),
    CANONICAL.replace(
        name="made up: falling threshold",
        suppress_in="anchor",
        iou_threshold=0.8,
        eta=0.8,
        score_at=">=",
        clip="after",
        drop_empty=True,
        ignore_from=0.0,
        force="none",
        crowd_by="none",
        variances=(0.5, 0.25, 2.0, 1.0),
        form="difference",
        code_order="yxhw",
        degenerate="encode",
        background="last",
        normaliser="image",
        class_loss="sigmoid",
        mining_nms=0.3,
    ),
]
CONVENTIONS = [*PRESETS.values(), *MADE_UP]


def in_both(conventions: Iterable[Convention]) -> pytest.MarkDecorator:
    """Parametrise `convention` and `dtype`; double precision of a known system is thorough."""
    return pytest.mark.parametrize(
        ("convention", "dtype"),
        [
            pytest.param(one, dtype, id=f"{one.name}-{dtype}", marks=marks)
            for one in conventions
            for dtype, marks in (
                ("float32", []),
                ("float64", [] if one in (CANONICAL, *MADE_UP) else [pytest.mark.thorough]),
            )
        ],
    )
