"""The conflict table: every preset on every case, and every field of a convention in some case."""

from __future__ import annotations

import dataclasses
import itertools
import re

import numpy as np
import pytest

from reference_numpy.conventions import CANONICAL, PRESETS, AnchorLayout
from reference_numpy.testing import conflict_page
from reference_numpy.testing.conflict_answers import agree, answer, arrays, plain, settled
from reference_numpy.testing.conflict_drawings import drawing, file_name
from reference_numpy.testing.conflict_page import as_markdown
from reference_numpy.testing.conflicts import CONFLICTS, Conflict
from tests.flips import ASKED, FIRST, FLIPS, every_flip

# What a case may set for all presets at once: thresholds and limits, and where anchors are.
NUMBERS = {
    "threshold",
    "crowd_overlap",
    "negative_ratio",
    "score_threshold",
    "iou_threshold",
    "soft_sigma",
    "max_detections",
}
LAYOUT_NUMBERS = {
    "image_size",
    "feature_maps",
    "scales",
    "aspect_ratios",
    "lowest_shapes",
    "steps",
}

# Answers that some preset does not give, and that change nothing in the table all the same.
UNSEEN = {("max_per_class", None): "no case has as many detections of a class as a preset allows"}

by_name = pytest.mark.parametrize("case", CONFLICTS, ids=lambda case: case.name)


def case_named(name: str) -> Conflict:
    (case,) = [case for case in CONFLICTS if case.name == name]
    return case


# --- the answers ---------------------------------------------------------------------------------


@by_name
def test_every_preset_answers_as_worked_by_hand(case):
    wrong = {
        name: (found, wanted)
        for wanted, names in case.answers
        for name in names
        if not agree(found := answer(case, PRESETS[name]), wanted)
    }
    assert wrong == {}, "found, by hand"


@by_name
def test_every_preset_stands_once(case):
    names = [name for _, names in case.answers for name in names]
    assert sorted(names) == sorted(PRESETS)


@by_name
def test_groups_of_presets_differ_or_a_field_would_make_them(case):
    wanted = [value for value, _ in case.answers]
    for index, value in enumerate(wanted):
        assert not any(agree(value, other) for other in wanted[index + 1 :])
    assert not case.only_flips or case.others


@pytest.mark.parametrize(
    ("case", "overrides", "wanted"),
    [
        pytest.param(case, overrides, wanted, id=f"{case.name}-{overrides}")
        for case in CONFLICTS
        for overrides, wanted in case.others
    ],
)
def test_other_answers_that_no_preset_gives(case, overrides, wanted):
    assert agree(answer(case, CANONICAL, **overrides), wanted)
    assert not any(agree(wanted, value) for value, _ in case.answers)


def test_matching_answers_by_the_overlap_that_is_asked_for():
    (case,) = (one for one in CONFLICTS if one.name == "matching at an IoU equal to the threshold")
    assert answer(case, CANONICAL) != answer(case, CANONICAL, iou_epsilon=0.01)


# --- the questions -------------------------------------------------------------------------------


@pytest.mark.parametrize("part", FLIPS, ids=lambda part: part.__name__)
def test_every_field_of_a_convention_is_flipped(part):
    fields = {field.name for field in dataclasses.fields(part)} - {"name"}
    assert set(FLIPS[part]) == fields


def overridden():
    """Every flip that is another answer than some preset's."""
    for part, field, value in every_flip():
        name = "layout" if part is AnchorLayout else part.__name__.lower()
        given = {getattr(getattr(preset, name), field) for preset in PRESETS.values()}
        if given != {value} and (field, value) not in UNSEEN:
            yield pytest.param(part, field, value, id=f"{part.__name__}.{field}={value}")


@pytest.mark.parametrize(("part", "field", "value"), list(overridden()))
def test_flipping_a_field_changes_an_answer(part, field, value):
    """The first preset and case on which it does are enough."""
    for case in (one for one in CONFLICTS if one.operation in ASKED[part]):
        for preset, first in itertools.product(PRESETS.values(), ({}, FIRST.get(field, {}))):
            try:
                settled(case, preset, **first)
                settled(case, preset, **first, **{field: value})
            except ValueError:
                continue  # a combination that cannot be
            before = answer(case, preset, **first)
            if answer(case, preset, **first, **{field: value}) != before:
                return
    pytest.fail(f"{part.__name__}.{field} = {value!r} changes no answer: add a case or remove it")


@by_name
def test_a_case_sets_numbers_and_no_rules(case):
    allowed = LAYOUT_NUMBERS if case.operation == "make_anchors" else NUMBERS
    assert set(case.overrides) <= allowed


# --- the table as data ---------------------------------------------------------------------------


@by_name
def test_arrays_have_the_dtypes_of_the_operation(case):
    for dtype in ("float32", "float64"):
        kinds = {one.dtype.name for one in arrays(case, dtype)}
        assert dtype in kinds
        assert kinds <= {dtype, "int32", "bool"}


@by_name
def test_inputs_are_the_same_in_single_precision_or_far_from_any_decision(case):
    """Boxes, which are compared, are exact in float32; scores and losses are told apart by far."""
    decided = {"match": 0, "nms": 0, "select": 0, "soft_nms": 0, "assign_targets": 0}
    if case.operation in decided:
        single, double = arrays(case, "float32")[0], arrays(case, "float64")[0]
        np.testing.assert_array_equal(single, double)


def test_what_is_refused_names_the_argument():
    case = case_named("an object of zero width")
    assert answer(case, CANONICAL) == "error: boxes"
    assert answer(case, CANONICAL, degenerate="drop") != "error: boxes"


# --- batches -------------------------------------------------------------------------------------

LEFT, MIDDLE, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.25, 0.0, 0.75, 1.0), (0.5, 0.0, 1.0, 1.0)


def asked(operation: str, *inputs, **overrides):
    """What the canonical convention answers of these inputs."""
    case = next(case for case in CONFLICTS if case.operation == operation)
    return answer(case._replace(inputs=inputs, overrides=overrides), CANONICAL)


def test_rows_of_padding_are_passed_over():
    images = ((LEFT, LEFT, RIGHT), (RIGHT, LEFT, LEFT))
    anchors = ((0.25, 0.5, 0.5, 1.0), (0.75, 0.5, 0.5, 1.0), (0.5, 0.5, 0.1, 0.1))
    assert asked("match", images, ((-1, 1, 2), (1, -1, 3)), anchors) == ((1, 2, -1), (2, 0, -1))


def test_images_may_keep_different_numbers():
    boxes = ((LEFT, RIGHT, MIDDLE), (LEFT, LEFT, LEFT))
    scores = ((1.0, 3.0, 2.0), (1.0, 2.0, 3.0))
    assert asked("nms", boxes, scores, iou_threshold=0.5) == ((1, 2, 0), (2,))
    soft = asked(
        "soft_nms", boxes, ((0.1, 0.3, 0.0), (0.0, 0.0, 0.3)), score_threshold=0.05, soft_sigma=0.1
    )
    assert soft == (((1, 0.3), (0, 0.1)), ((2, 0.3),))


def test_images_may_have_different_numbers_of_detections():
    boxes = ((LEFT, RIGHT), (LEFT, RIGHT))
    scores = (((0.9,), (0.8,)), ((0.0,), (0.7,)))
    found = asked("select", boxes, scores, score_threshold=0.5)
    assert found == (((1, 0, 0.9, LEFT), (1, 1, 0.8, RIGHT)), ((1, 1, 0.7, RIGHT),))


# --- plain answers -------------------------------------------------------------------------------


def test_what_an_implementation_does_not_tell_agrees_with_anything():
    case = case_named("two anchors predict the same box")
    wanted = answer(case, CANONICAL)
    silent = (None, np.float32(3.36184), None, None, None, np.array([[False, True]]), None)

    assert plain(case, silent) == (None, 3.3618, None, None, ((1,),))
    assert agree(plain(case, silent), wanted)


def test_detections_without_anchors_are_compared_by_the_rest():
    case = case_named("one anchor with high scores for two classes")
    box = np.array([[[0, 0, 0.5, 1], [0, 0, 0.5, 1], [0, 0, 0, 0]]], np.float32)
    scores, labels = np.array([[0.9, 0.8, 0]], np.float32), np.array([[1, 2, -1]])

    wanted = answer(case, CANONICAL)

    assert agree(plain(case, (box, scores, labels, None)), wanted)
    assert not agree(plain(case, (box, scores, labels[:, ::-1], None)), wanted)
    assert not agree(plain(case, (box, scores, labels, np.array([[1, 0, -1]]))), wanted)


@pytest.mark.parametrize(
    ("operation", "outputs", "wanted"),
    [
        ("nms", ([[1, 0, -1], [2, -1, -1]],), ((1, 0), (2,))),
        ("soft_nms", ([[1, 0, -1]], [[0.5, -0.25, 0.75]]), (((1, 0.5), (0, -0.25)),)),
        (
            "select",
            ([[LEFT, RIGHT]], [[0.5, 0.25]], [[1, 0]], [[4, 7]]),
            (((1, 4, 0.5, LEFT),),),
        ),
        (
            "multibox_loss",
            (3.0, 2.0, 1.0, 5, [[True, False]], [[False, True]]),
            (3.0, 2.0, 1.0, ((0,),), ((1,),)),
        ),
        ("class_losses", ([[-0.00001, 1.00004]],), ((0.0, 1.0),)),
        ("match", ([[1, -1]],), ((1, -1),)),
    ],
)
def test_an_answer_is_plain(operation, outputs, wanted):
    """Without padding, in Python's numbers: whole ones stay whole, and no zero is below zero."""
    case = next(case for case in CONFLICTS if case.operation == operation)
    assert repr(plain(case, tuple(map(np.array, outputs)))) == repr(wanted)


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        (1, 1, True),
        (1, 2, False),
        (0.5, 0.50009, True),
        (0.5, 0.5002, False),
        (-88.634, -88.6377, True),
        (-88.6, -88.6377, False),
        (0.0, 0, True),
        (0, 0.0, True),
        (1, 1.5, False),
        ((1, 2), (1, 2), True),
        ((1, 2), (1, 2, 3), False),
        ((), (), True),
        ((1,), 1, False),
        ("error: boxes", "error: boxes", True),
        ("error: boxes", ((1,),), False),
        (float("nan"), 1.0, False),
        (None, ((1,),), True),
    ],
)
def test_whole_numbers_agree_exactly_and_floats_nearly(found, wanted, same):
    assert agree(found, wanted) is same


# --- the page ------------------------------------------------------------------------------------


def tables_of_the_page():
    """Each case by its name as the page has it, with the rows of its table."""
    for block in as_markdown().split("\n### ")[1:]:
        name, *lines = block.splitlines()
        yield name, [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]


def presets_named(cell: str) -> list[str]:
    """The presets that a cell of the column "given by" stands for."""
    if cell == "all presets":
        return list(PRESETS)
    if cell.startswith("canonical with"):
        return []
    if cell.startswith("all but "):
        others = cell.removeprefix("all but ").split(", ")
        assert set(others) < set(PRESETS)
        return [name for name in PRESETS if name not in others]
    return cell.split(", ")


def test_the_page_has_a_table_for_every_case():
    tables = list(tables_of_the_page())
    assert [name.lower() for name, _ in tables] == [case.name.lower() for case in CONFLICTS]
    for (name, (heads, rules, *rows)), case in zip(tables, CONFLICTS, strict=True):
        assert len(rules) == len(heads), name
        assert len(rows) == len(case.answers) + len(case.others)
        named = [preset for row in rows for preset in presets_named(row[-1])]
        assert sorted(named) == sorted(PRESETS), name


def test_different_answers_look_different_on_the_page():
    """Floats are shown with four digits."""
    for name, (heads, _, *rows) in tables_of_the_page():
        first = 1 if heads[0] == "panel" else 0
        answers = [tuple(row[first:-1]) for row in rows]
        assert len(set(answers)) == len(answers), name


def test_the_page_counts_the_cases_of_each_operation():
    for operation, cases in itertools.groupby(CONFLICTS, lambda case: case.operation):
        contents = rf"\| \[`{operation}`\]\(#{operation}\) \| .* \| {len(list(cases))} \|\n"
        assert re.search(contents, as_markdown())


@pytest.mark.parametrize(
    ("operation", "value", "shown"),
    [
        ("nms", ((1, 0, 2),), "1, 0, 2"),
        ("nms", ((),), "none"),
        ("mine_hard_negatives", (tuple(range(9)),), "0, 1, 2, 3, 4, 5, 6, 7, 8"),
        ("mine_hard_negatives", (tuple(range(10)),), "0 to 9"),
        ("match", ((1, -1, -2),), "object 1 | background | ignored"),
        (
            "assign_targets",
            (((0, 3, -1), ((0.5, 0, -2, 0),)),),
            "background | class 3, code (0.5, 0, −2, 0) | ignored",
        ),
        ("soft_nms", (((2, 0.5), (0, 0.123456)),), "2 (score 0.5), 0 (score 0.1235)"),
        ("class_losses", (float("nan"), 0.12346), "nan | 0.1235"),
        ("multibox_loss", (3, 2, 1, ((0,),), ((),)), "3 | 2 | 1 | 0 | none"),
        (
            "multibox_loss",
            (3, 2, 1, ((0,), ()), ((), (1, 2))),
            "3 | 2 | 1 | image 0: 0; image 1: none | image 0: none; image 1: 1, 2",
        ),
        ("encode", "error: boxes", "an error that names `boxes`"),
    ],
)
def test_how_the_page_shows_an_answer(operation, value, shown, monkeypatch):
    case = next(case for case in CONFLICTS if case.operation == operation)
    case = case._replace(answers=((value, tuple(PRESETS)),), others=())
    monkeypatch.setattr(conflict_page, "CONFLICTS", (case,))
    assert f"\n| {shown} | all presets |\n" in as_markdown()


# --- drawings ------------------------------------------------------------------------------------


def texts_of(name: str) -> list[str]:
    return re.findall(">([^<]+)</text>", drawing(case_named(name)))


def test_cases_with_boxes_have_a_drawing_on_the_page():
    shown = {name for name in re.findall(r"\(images/(.*)\)", as_markdown())}
    assert shown == {file_name(case) for case in CONFLICTS if drawing(case)}
    drawn = {case.operation for case in CONFLICTS if drawing(case)}
    assert {case.operation for case in CONFLICTS} - drawn == {
        *("background_first", "class_losses", "mine_hard_negatives", "multibox_loss", "detect")
    }


def test_file_names_are_unique_and_plain():
    names = [file_name(case) for case in CONFLICTS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z_]+-[a-z0-9-]+[a-z0-9]\.svg", name) for name in names)


def test_boxes_as_high_as_the_image_are_drawn_as_bars():
    image = drawing(case_named("matching at an IoU equal to the threshold"))
    bars = re.findall('<rect x="([^"]*)" y="([^"]*)" width="([^"]*)" height="14"', image)
    assert bars == [("100", "11", "160"), ("100", "33", "160"), ("100", "55", "80")]


def test_equal_boxes_share_a_line():
    assert texts_of("two identical objects") == ["object 0, 1", "anchor 0", "anchor 1", "anchor 2"]
    assert texts_of("four hundred duplicates before another object")[::2] == [
        *("box 0–199", "box 200", "box 201–400", "box 401")
    ]


def test_a_drawing_names_scores_and_crowds_and_leaves_out_padding():
    assert "class 1: 0.9, class 2: 0.8" in texts_of("one anchor with high scores for two classes")
    assert "score 0.9" in texts_of("two identical boxes")
    assert texts_of("anchors that overlap a crowd")[:3] == ["object 0", "object 1", "crowd"]
    assert "object 1" not in texts_of("a row of padding among the objects")


def test_answers_that_are_boxes_have_a_panel_each():
    case = case_named("centres of the cells")
    assert [text for text in texts_of(case.name) if len(text) == 1] == ["A", "B", "C"]
    assert drawing(case_named("a code with a huge size")) is None
