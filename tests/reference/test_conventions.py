"""The choices: their values, what each part refuses, and that every function takes them."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections import Counter

import numpy as np
import pytest

from reference_numpy import (
    boxes,
    coding,
    conventions,
    detection,
    gradients,
    matching,
    mining,
    multibox,
    suppression,
    targets,
)
from reference_numpy.conventions import (
    CANONICAL,
    LAYOUTS,
    PRESETS,
    SSD300,
    SSD_MOBILENET300,
    Coding,
    Convention,
    Detection,
    Loss,
    Matching,
    Overlap,
    layouts,
    revived,
)

NAN, INF = float("nan"), float("inf")
PARTS = {
    "overlap": Overlap,
    "matching": Matching,
    "coding": Coding,
    "loss": Loss,
    "detection": Detection,
}


def test_the_canonical_convention_is_the_papers_where_the_paper_speaks():
    # arXiv:1512.02325: jaccard overlap .5, "at most 3:1", alpha 1 (section 2.2); confidence .01,
    # NMS .45, top 200 (section 3.7). Variances and 400 candidates are Caffe's, and so is it that
    # no object is forced where it overlaps nothing.
    assert (
        Convention("canonical", SSD300, Overlap(), Matching(), Coding(), Loss(), Detection())
        == CANONICAL
    )
    found = dataclasses.asdict(CANONICAL)
    assert found.pop("layout") == dataclasses.asdict(SSD300)
    assert found == {
        "name": "canonical",
        "overlap": {"iou_epsilon": 0, "iou_offset": 0},
        "matching": {
            "threshold": 0.5,
            "positive_at": ">=",
            "force": "bipartite",
            "force_above": 0,
            "ignore_from": None,
            "crowd_by": "ioa",
            "crowd_overlap": 0.5,
        },
        "coding": {
            "variances": (0.1, 0.1, 0.2, 0.2),
            "form": "log",
            "code_order": "xywh",
            "size_epsilon": 0,
            "ratio_epsilon": 0,
            "largest_exponent": None,
            "degenerate": "error",
            "background": "first",
        },
        "loss": {
            "class_loss": "softmax",
            "focal_alpha": 0.25,
            "focal_gamma": 2,
            "mining": "image",
            "negative_ratio": 3,
            "rounding": "down",
            "min_negatives": 0,
            "max_negatives": None,
            "mining_nms": None,
            "normaliser": "positives",
            "box_over": "positives",
            "box_weight": 1,
        },
        "detection": {
            "score_threshold": 0.01,
            "score_at": ">",
            "suppress_in": "class",
            "candidates_per_class": 400,
            "iou_threshold": 0.45,
            "suppress_at": ">",
            "ties": "lowest anchor",
            "eta": 1,
            "soft_sigma": None,
            "max_per_class": None,
            "max_detections": 200,
            "clip": "before",
            "drop_empty": False,
        },
    }


@pytest.mark.parametrize(
    "function",
    [
        boxes.pairwise_iou,
        matching.match,
        targets.assign_targets,
        coding.encode,
        coding.decode,
        coding.background_first,
        mining.mine_hard_negatives,
        mining.choose_anchors,
        multibox.class_losses,
        multibox.normalisers,
        multibox.multibox_loss,
        gradients.class_losses_gradient,
        gradients.multibox_gradient,
        suppression.nms,
        suppression.soft_nms,
        detection.select,
        detection.detect,
    ],
    ids=lambda function: function.__name__,
)
def test_every_function_is_canonical_unless_told_otherwise(function):
    parameters = inspect.signature(function).parameters
    assert parameters["convention"].default is CANONICAL
    assert parameters["convention"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert parameters["overrides"].kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.parametrize("choices", [CANONICAL, *LAYOUTS.values(), CANONICAL.matching])
def test_choices_cannot_be_changed(choices):
    field = dataclasses.fields(choices)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(choices, field, None)
    assert hash(choices) == hash(dataclasses.replace(choices)), "not usable as a key"


def test_what_layouts_has_is_found_in_conventions():
    assert set(layouts.__all__) <= set(conventions.__all__)
    assert all(getattr(conventions, name) is getattr(layouts, name) for name in layouts.__all__)


# --- other answers -------------------------------------------------------------------------------


def test_replace_gives_other_answers_to_questions_of_any_part():
    found = CANONICAL.replace(
        name="mine",
        layout=SSD_MOBILENET300,
        iou_epsilon=1e-5,
        force="last",
        threshold=0.4,
        clip="none",
    )
    assert found == Convention(
        "mine",
        SSD_MOBILENET300,
        Overlap(iou_epsilon=1e-5),
        Matching(force="last", threshold=0.4),
        detection=Detection(clip="none"),
    )
    assert Convention("canonical") == CANONICAL, "the original is left alone"
    assert found.replace(threshold=0.5, force="bipartite").matching == Matching()


def test_replace_without_changes_is_the_same():
    assert CANONICAL.replace() is CANONICAL


def test_copy_replace_does_the_same():
    assert CANONICAL.__replace__(iou_threshold=0.4) == CANONICAL.replace(iou_threshold=0.4)


@pytest.mark.parametrize("part", PARTS)
def test_each_field_of_each_part_has_a_name_of_its_own(part):
    # `but` finds a field by its name alone.
    names = Counter(field.name for each in PARTS.values() for field in dataclasses.fields(each))
    names.update(["name", "layout"])
    for field in dataclasses.fields(PARTS[part]):
        assert names[field.name] == 1
        same = getattr(getattr(CANONICAL, part), field.name)
        assert CANONICAL.replace(**{field.name: same}) == CANONICAL


@pytest.mark.parametrize(
    "overrides", [{"treshold": 0.5}, {"threshold": 0.5, "scales": (1.0,)}, {"matching": Matching()}]
)
def test_replace_refuses_a_name_that_no_field_has(overrides):
    unknown = next(name for name in overrides if name != "threshold")
    with pytest.raises(TypeError, match=rf"^overrides: expected fields .* Received: '{unknown}'"):
        CANONICAL.replace(**overrides)


def test_a_function_refuses_a_name_that_no_field_has():
    with pytest.raises(TypeError, match=r"^overrides: expected fields .*\. Received: 'iou'"):
        coding.background_first(None, iou=0.5)


# --- what is refused -----------------------------------------------------------------------------

CHOICES = {
    "positive_at": [">=", ">"],
    "force": ["bipartite", "last", "first", "none"],
    "crowd_by": ["ioa", "iou", "none"],
    "form": ["log", "difference"],
    "code_order": ["xywh", "yxhw"],
    "background": ["first", "last"],
    "degenerate": ["error", "drop", "encode"],
    "class_loss": ["softmax", "sigmoid", "focal"],
    "mining": ["image", "batch", "none"],
    "rounding": ["down", "up"],
    "box_over": ["positives", "all"],
    "normaliser": ["positives", "image", "mean", "anchors"],
    "score_at": [">", ">="],
    "suppress_in": ["class", "anchor"],
    "suppress_at": [">", ">="],
    "ties": ["lowest anchor", "lowest label", "highest anchor"],
    "clip": ["before", "after", "none"],
}


def test_every_word_is_in_the_table():
    words = {
        field.name
        for part in PARTS.values()
        for field in dataclasses.fields(part)
        if isinstance(field.default, str)
    }
    assert words == set(CHOICES)


@pytest.mark.parametrize("field", CHOICES)
def test_a_word_is_one_of_its_choices(field):
    needs = {"size_epsilon": 1e-8} if field == "degenerate" else {}
    for word in CHOICES[field]:
        assert CANONICAL.replace(**{field: word}, **needs).replace(**needs)
    with pytest.raises(
        ValueError, match=f"^{field}: expected one of .* Received: 'other'$"
    ) as info:
        CANONICAL.replace(**{field: "other"})
    listed = re.findall("'([^']*)'", str(info.value))
    assert sorted(listed) == sorted([*CHOICES[field], "other"])


RANGES = {
    "iou_epsilon": ("[0, 1]", [0, 1], [-1e-9, 1.1, NAN]),
    "iou_offset": ("[0, 1]", [0, 1], [-1, 1.1, NAN]),
    "threshold": ("(0, 1]", [1e-9, 1], [0, -0.5, 1.1, NAN]),
    "force_above": ("[-1, 1]", [0, 1], [-1.1, 1.1, NAN]),
    "crowd_overlap": ("(0, 1]", [1e-9, 1], [0, 1.1, NAN]),
    "size_epsilon": ("[0, 1]", [0, 1], [-1e-9, 1.1, NAN]),
    "ratio_epsilon": ("[0, 1]", [0, 1], [-1e-9, 1.1, NAN]),
    "largest_exponent": ("[-inf, inf]", [None, -1, 0, 4.1, INF], [NAN]),
    "focal_alpha": ("[0, 1]", [0, 1], [-0.1, 1.1, NAN]),
    "mining_nms": ("[0, 1]", [None, 0, 1], [-0.1, 1.1, NAN]),
    "iou_threshold": ("[0, 1]", [0, 1], [-0.1, 1.1, NAN]),
    "eta": ("(0, 1]", [1e-9, 1], [0, -1, 1.1, NAN]),
    "soft_sigma": ("(0, inf]", [None, 1e-9, 5, INF], [0, -1, NAN]),
}


@pytest.mark.parametrize("field", RANGES)
def test_a_number_is_in_its_range(field):
    interval, fine, wrong = RANGES[field]
    for value in fine:
        CANONICAL.replace(**{field: value})
    for value in wrong:
        message = f"{field}: expected a number in {interval}. Received: {value}"
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            CANONICAL.replace(**{field: value})


@pytest.mark.parametrize(
    "overrides",
    [
        {"ignore_from": 0.0},
        {"ignore_from": 0.4999},
        *[{"force": force, "force_above": -1} for force in ("last", "first", "none")],
        {"form": "difference", "degenerate": "encode"},
        {"degenerate": "encode", "ratio_epsilon": 1e-8},
        {"focal_gamma": 0},
        {"focal_gamma": 1},
        {"min_negatives": 2, "max_negatives": 2},
        {"max_negatives": 0},
        {"mining": "none", "negative_ratio": 0},
        {"candidates_per_class": None, "max_per_class": 0, "max_detections": 0},
        {"score_threshold": -INF},
        {"box_weight": 0},
    ],
    ids=str,
)
def test_what_is_close_to_that_is_not_refused(overrides):
    assert CANONICAL.replace(**overrides) != CANONICAL


def test_a_slip_of_the_pen_is_told():
    with pytest.raises(TypeError, match=r"^overrides: .*'treshold'; did you mean 'threshold'\?$"):
        CANONICAL.replace(treshold=0.4)


@pytest.mark.parametrize("convention", PRESETS.values(), ids=list(PRESETS))
def test_a_convention_comes_back_from_plain_data_and_from_json(convention):
    plain = dataclasses.asdict(convention)
    for data in (plain, json.loads(json.dumps(plain))):
        again = revived(Convention, data)
        assert again == convention
        assert hash(again) == hash(convention), "lists were made tuples, all the way down"
        assert isinstance(again.layout, type(SSD300))


def test_what_is_left_out_of_plain_data_is_the_default():
    found = revived(Convention, {"name": "short", "matching": {"threshold": 0.4}})
    assert found == CANONICAL.replace(name="short", threshold=0.4)


def test_plain_data_that_cannot_be_is_refused():
    with pytest.raises(TypeError, match="thresholds"):
        revived(Matching, {"thresholds": 0.4})
    with pytest.raises(ValueError, match=r"threshold: expected a number in .* Received: 2"):
        revived(Convention, {"name": "odd", "matching": {"threshold": 2}})


def test_lists_and_numbers_of_numpy_become_plain():
    """They come from YAML, JSON and NumPy, and could be neither hashed nor written as JSON."""
    found = CANONICAL.replace(
        variances=[0.1, np.float64(0.1), 0.2, 0.2], max_detections=np.int64(7)
    )
    same = CANONICAL.replace(variances=(0.1, 0.1, 0.2, 0.2), max_detections=7)
    assert hash(found) == hash(same)
    assert json.dumps(dataclasses.asdict(found)) == json.dumps(dataclasses.asdict(same))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_detections", 10**6 + 1),
        ("max_detections", 2**63),
        ("iou_threshold", 10**400),
        ("candidates_per_class", 10**400),
    ],
)
def test_numbers_that_no_memory_holds_are_refused(name, value):
    with pytest.raises(
        (TypeError, ValueError), match=rf"{name}: expected .* Received: \d"
    ) as caught:
        CANONICAL.replace(**{name: value})
    assert len(str(caught.value)) < 600
