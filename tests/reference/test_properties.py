"""The laws: what holds of every box, label and score, one test for each.

Boxes have a positive area in the dtype drawn, float32 or float64, and everything is computed in
it. Decisions are exact; floats are held to BUDGETS. The literal brute forces, which decide every
small case anew, stand beside the cases worked by hand in the module of their operation: IoU in
fractions (test_boxes), pairs taken one by one (test_matching), suppression by its definition
(test_nms), negatives by sorting (test_mining), detections by loops (test_detection), average
precision in fractions (test_evaluation).

`tox run -e fuzz` searches each law with 10,000 examples at random (tests/conftest.py).
"""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import NamedTuple

import numpy as np
from hypothesis import assume, given, strategies as st

from reference_numpy.boxes import area, cxcywh_to_xyxy, pairwise_iou, xyxy_to_cxcywh
from reference_numpy.coding import decode, encode
from reference_numpy.conventions import CANONICAL, IGNORE, UNMATCHED
from reference_numpy.detection import select
from reference_numpy.evaluation import evaluate
from reference_numpy.gradients import multibox_gradient
from reference_numpy.matching import bipartite, match
from reference_numpy.mining import choose_anchors
from reference_numpy.multibox import MultiBox, multibox_loss
from reference_numpy.suppression import nms
from reference_numpy.targets import assign_targets
from tests.strategies import (
    CROWDED,
    FLAT,
    SOLID,
    batches_of_objects,
    boxes,
    boxes_at_threshold,
    boxes_in_two,
    distinct_ious,
    dtypes,
    extremes,
    heads,
    integers,
    loads,
    moved,
    nearly_tied_scores,
    numbers,
    tied_scores,
)


class Budget(NamedTuple):
    """The largest error allowed: so many u = eps / 2, each one correct rounding, and why."""

    u: float
    of: str
    why: str


BUDGETS = {
    "IoU": Budget(
        16,
        "the IoU",
        "a side u, an area or intersection 3u; the sum of two areas 4u, which is at most 2 unions, "
        "so the union 8u + 3u + u = 12u; the quotient u",
    ),
    "moved corner": Budget(1, "the moved corner", "one sum"),
    "center": Budget(2, "the center", "rounded when it is encoded and in the last sum"),
    "offset": Budget(
        7,
        "the offset from the anchor's center",
        "difference, quotient, reciprocal, product; variance, product, product with the size",
    ),
    "size": Budget(
        11, "the size", "its difference u and quotient u inside the log; exp 8u; product u"
    ),
    "stretch": Budget(
        12,
        "the size times the logarithm of the ratio of sizes",
        "log 8u, reciprocal u, product u, variance u, product u, all inside exp",
    ),
    "corner": Budget(1, "the corner", "one sum"),
    "sum of n": Budget(2, "n times the sum", "two sums of the same n terms, none below 0"),
}
MORE = 1.01  # for products of roundings, which the counts leave out; they are below 1e-4


def roundings(name, dtype):
    """A budget as a factor of what it is of."""
    return MORE * BUDGETS[name].u * float(np.finfo(dtype).eps) / 2


def within(found, expected, budget, what):
    """Floats are as near to what is expected as rounding explains."""
    error = np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64))
    for place in np.argwhere(~(error <= budget))[:1]:  # not >, which is false of NaN
        place = tuple(place)
        raise AssertionError(
            f"{what}{list(map(int, place))}: expected {expected[place]} within "
            f"{np.broadcast_to(budget, error.shape)[place]:.3g}. Received: {found[place]}"
        )


def equal(found, expected, what):
    """Numbers are the same, bit for bit but for the sign of zero."""
    np.testing.assert_array_equal(found, expected, err_msg=what)


# --- IoU -----------------------------------------------------------------------------------------

SWAPPED = [1, 0, 3, 2]  # x with y


def two(data, dtype, kinds=SOLID + FLAT):
    """Two arrays of boxes, some without area if not told otherwise."""
    return data.draw(boxes_in_two(dtype, kinds=kinds), label="two arrays of boxes")


@given(st.data(), dtypes)
def test_iou_is_symmetric(data, dtype):
    # Minimum, maximum and the sum of two areas do not ask which comes first.
    first, second = two(data, dtype)
    equal(pairwise_iou(first, second), pairwise_iou(second, first).T, "the other way round")


@given(st.data(), dtypes)
def test_iou_is_from_0_to_1(data, dtype):
    # Rounding keeps order: an intersection is not above either area, so that fl(a + b) is not
    # below 2 i, nor the union below i.
    drawn = data.draw(boxes(dtype, kinds=SOLID + FLAT), label="boxes")
    iou = pairwise_iou(drawn, drawn)
    outside = ~((iou >= 0) & (iou <= 1))  # true of NaN
    assert not outside.any(), f"expected numbers from 0 to 1. Received: {iou[outside].tolist()}"


@given(st.data(), dtypes)
def test_iou_of_a_box_with_itself_is_1(data, dtype):
    # (a + a) - a is a, exactly; without an area it is 0.
    drawn = data.draw(boxes(dtype, kinds=SOLID + FLAT), label="boxes")
    equal(np.diag(pairwise_iou(drawn, drawn)), np.where(area(drawn) > 0, 1, 0), "with itself")


@given(st.data(), dtypes)
def test_iou_is_invariant_to_a_shift_within_rounding(data, dtype):
    # Each moved corner is rounded once, so that a side is off by at most 2 d, d = u |corner|, an
    # area w h by 2 d (w + h) + 4 d², an intersection i likewise, and the union U by all three. Of
    # the quotient that is (error of i + IoU × error of U) / (U - error of U), 1 at the most.
    first, second = two(data, dtype, SOLID)
    shift = np.tile(data.draw(numbers(2, dtype, 16.0), label="shift"), 2)
    before = pairwise_iou(first, second)
    after = pairwise_iou(first + shift, second + shift)

    def sides_and_reach(drawn):
        wide = drawn.astype(np.float64)
        return wide[:, 2:] - wide[:, :2], np.abs((drawn + shift).astype(np.float64)).max(axis=1)

    (own, near), (other, far) = sides_and_reach(first), sides_and_reach(second)
    low = np.maximum(first[:, None, :2], second[None, :, :2]).astype(np.float64)
    high = np.minimum(first[:, None, 2:], second[None, :, 2:]).astype(np.float64)
    common = np.maximum(high - low, 0)
    d = roundings("moved corner", dtype) * np.maximum(near[:, None], far[None, :])

    def error_of_product(sides):
        return 2 * d * sides.sum(axis=-1) + 4 * d * d

    of_common = error_of_product(common)
    of_union = error_of_product(own[:, None]) + error_of_product(other[None, :]) + of_common
    union = own.prod(axis=1)[:, None] + other.prod(axis=1)[None, :] - common.prod(axis=-1)
    left = union - of_union
    change = np.where(left > 0, (of_common + before * of_union) / np.where(left > 0, left, 1), 1)
    budget = MORE * np.minimum(change, 1) + roundings("IoU", dtype) * (before + after)
    within(after, before, budget, "IoU after the shift")


@given(st.data(), dtypes, st.integers(-10, 10))
def test_iou_is_invariant_to_scaling_by_a_power_of_two(data, dtype, power):
    # No mantissa changes, and no product is so small that it is rounded for that.
    first, second = two(data, dtype)
    unit = dtype(2.0**power)
    equal(
        pairwise_iou(first * unit, second * unit),
        pairwise_iou(first, second),
        f"in units of {unit}",
    )


@given(st.data(), dtypes)
def test_iou_and_area_do_not_depend_on_which_axis_comes_first(data, dtype):
    first, second = two(data, dtype)
    turned = first[:, SWAPPED], second[:, SWAPPED]
    equal(pairwise_iou(*turned), pairwise_iou(first, second), "IoU with the axes swapped")
    equal(area(turned[0]), area(first), "area with the axes swapped")


# --- coding --------------------------------------------------------------------------------------

variances = st.sampled_from([(0.1, 0.1, 0.2, 0.2), (1.0, 1.0, 1.0, 1.0), (0.5, 0.25, 2.0, 4.0)])


@given(st.data(), dtypes, variances)
def test_decoding_undoes_encoding(data, dtype, variances):
    # NumPy's float32 exp and log err by up to 4 units in the last place, 8 u.
    drawn = boxes_in_two(dtype, least=1, most=3, alike=True)
    own, anchors = data.draw(drawn, label="boxes; anchors, as corners")
    anchors = xyxy_to_cxcywh(anchors)
    codes = encode(own, anchors, variances=variances)
    found = decode(codes, anchors, variances=variances)
    assert (codes.dtype, found.dtype) == (dtype, dtype)

    exact, wide = own.astype(np.float64), anchors.astype(np.float64)
    center, size = np.split(xyxy_to_cxcywh(exact), 2, axis=1)
    offset, stretch = np.abs(center - wide[:, :2]), np.abs(np.log(size / wide[:, 2:]))
    middle = (
        roundings("center", dtype) * np.abs(center)
        + roundings("offset", dtype) * offset
        + roundings("size", dtype) * size / 2
        + roundings("stretch", dtype) * size / 2 * stretch
    )
    budget = np.tile(middle, 2) + roundings("corner", dtype) * np.abs(exact)
    within(found, own, budget, "corners after encoding and decoding")


# --- matching ------------------------------------------------------------------------------------

thresholds = st.sampled_from([0.25, 0.45, 0.5, 0.75, 1.0])


def renamed(objects, rows):
    """Indices of objects as they were before the rows were taken; none stays none."""
    return np.where(objects == UNMATCHED, UNMATCHED, np.append(rows, 0)[objects])


def shuffle(data, count, label):
    """A permutation of so many."""
    return np.argsort(data.draw(integers(count, 127), label=label), kind="stable")


@given(st.data(), dtypes, thresholds)
def test_without_ties_the_order_of_objects_and_anchors_does_not_count(data, dtype, threshold):
    iou = data.draw(distinct_ious(dtype, threshold), label="IoU")
    rows = shuffle(data, iou.shape[0], "order of the objects")
    columns = shuffle(data, iou.shape[1], "order of the anchors")
    found = match(iou[rows][:, columns], threshold=threshold)
    expected = match(iou, threshold=threshold)[columns]
    equal(renamed(found, rows), expected, "object of each anchor, in another order")


@given(st.data(), dtypes)
def test_the_order_of_boxes_whose_overlaps_differ_does_not_count(data, dtype):
    kinds = ("anywhere", "thin", "nested", "huge aspect", "one ULP off")
    own, near = data.draw(boxes_in_two(dtype, kinds=kinds), label="objects; anchors, as corners")
    anchors = xyxy_to_cxcywh(near)
    iou = pairwise_iou(own, cxcywh_to_xyxy(anchors))
    assume(len(np.unique(iou[iou > 0])) == np.count_nonzero(iou))

    rows = shuffle(data, len(own), "order of the objects")
    columns = shuffle(data, len(anchors), "order of the anchors")
    labels = np.arange(len(own)) + 1
    expected = assign_targets(own, labels, anchors)
    found = assign_targets(own[rows], labels[rows], anchors[columns])
    equal(found.labels, expected.labels[columns], "labels in another order")
    equal(found.deltas, expected.deltas[columns], "deltas in another order")
    equal(renamed(found.objects, rows), expected.objects[columns], "objects in another order")


@given(st.data(), dtypes)
def test_padding_the_objects_changes_no_target(data, dtype):
    batch = data.draw(batches_of_objects(dtype), label="batch")
    anchors = xyxy_to_cxcywh(data.draw(boxes(dtype, least=1), label="anchors, as corners"))
    for (own, labels), padded, padded_labels in zip(*batch, strict=True):
        expected = assign_targets(own, labels, anchors)
        found = assign_targets(padded, padded_labels, anchors)
        rows = np.flatnonzero(padded_labels != -1)
        equal(found.labels, expected.labels, "labels with padding")
        equal(found.deltas, expected.deltas, "deltas with padding")
        equal(found.objects, renamed(expected.objects, rows), "objects with padding")
        assert np.isfinite(found.deltas).all()


@given(st.data(), dtypes)
def test_an_object_is_without_an_anchor_only_if_all_that_it_overlaps_are_taken(data, dtype):
    own, anchors = data.draw(boxes_in_two(dtype), label="objects, anchors")
    iou = pairwise_iou(own, anchors)
    first, objects = bipartite(iou), match(iou)
    taken = first[first != UNMATCHED].tolist()
    assert len(set(taken)) == len(taken), f"an anchor was given twice: {taken}"
    for index in np.flatnonzero(first == UNMATCHED):
        left = set(np.flatnonzero(iou[index]).tolist()) - set(taken)
        assert not left, f"object {index} has no anchor, and overlaps {left}, which nobody took"
    for index in set(range(len(own))) - set(objects.tolist()):
        free = np.flatnonzero((iou[index] > 0) & (objects == UNMATCHED))
        assert not len(free), f"no anchor is matched to object {index}, which overlaps {free}"


# --- suppression ---------------------------------------------------------------------------------


def scored(data, dtype):
    """Boxes, scores of which many are equal or nearly so, a threshold that some IoU meets."""
    either = st.one_of(boxes_at_threshold(dtype), boxes_at_threshold(dtype, most=8, kinds=CROWDED))
    drawn, threshold = data.draw(either, label="boxes, IoU threshold")
    scores = st.one_of(tied_scores(len(drawn), dtype), nearly_tied_scores(len(drawn), dtype))
    return drawn, data.draw(scores, label="scores"), threshold


@given(st.data(), dtypes)
def test_suppressing_again_changes_nothing(data, dtype):
    drawn, scores, threshold = scored(data, dtype)
    kept = nms(drawn, scores, iou_threshold=threshold)
    again = nms(drawn[kept], scores[kept], iou_threshold=threshold)
    equal(again, np.arange(len(kept)), "kept of what was kept")


@given(st.data(), dtypes)
def test_survivors_overlap_by_the_threshold_at_most(data, dtype):
    drawn, scores, threshold = scored(data, dtype)
    kept = nms(drawn, scores, iou_threshold=threshold)
    iou = pairwise_iou(drawn[kept], drawn[kept])[np.triu_indices(len(kept), 1)]
    assert (iou <= dtype(threshold)).all(), f"expected at most {threshold}. Received: {iou}"


@given(st.data(), dtypes)
def test_what_is_suppressed_overlaps_a_survivor_of_higher_rank_by_more(data, dtype):
    drawn, scores, threshold = scored(data, dtype)
    kept = nms(drawn, scores, iou_threshold=threshold).tolist()
    ranked = sorted(range(len(drawn)), key=lambda index: (-scores[index], index))
    assert kept == [index for index in ranked if index in kept], "survivors in order of rank"
    iou = pairwise_iou(drawn, drawn)
    for place, index in enumerate(ranked):
        if index not in kept:
            higher = [other for other in ranked[:place] if other in kept]
            overlaps = iou[index, higher]
            assert (overlaps > dtype(threshold)).any(), (
                f"box {index} is suppressed: expected an overlap above {threshold} with one of "
                f"{higher}. Received: {overlaps}"
            )


@given(st.data(), dtypes, st.sampled_from([">", ">="]))
def test_a_strictly_increasing_map_of_the_scores_changes_no_selection(data, dtype, score_at):
    # The score of each box and class, and the score threshold, are one of seven numbers. In their
    # place come seven others that differ by some ULP, above or below 0.
    drawn, threshold = data.draw(boxes_at_threshold(dtype), label="boxes, IoU threshold")
    ranks = data.draw(integers((len(drawn), 2), 6), label="ranks of the scores")
    least = data.draw(st.integers(0, 6), label="rank of the score threshold")
    steps = data.draw(integers(7, 127), label="ULP between the scores") + 1
    table, others = np.arange(7).astype(dtype), moved(np.full(7, 0.5, dtype), steps.cumsum())
    if data.draw(st.booleans(), label="below 0"):
        others = -others[::-1]
    options = {"iou_threshold": threshold, "score_at": score_at, "clip": "none"}
    before = select(drawn, table[ranks], score_threshold=float(table[least]), **options)
    after = select(drawn, others[ranks], score_threshold=float(others[least]), **options)
    equal(after.anchors, before.anchors, "selected boxes")
    equal(after.labels, before.labels, "labels of the selected")
    equal(after.scores, others[before.scores.astype(int)], "mapped scores of the selected")


# --- mining --------------------------------------------------------------------------------------


@given(
    st.data(),
    dtypes,
    st.floats(0, 5),
    st.sampled_from(["image", "batch"]),
    st.sampled_from(["down", "up"]),
)
def test_without_a_minimum_mining_never_exceeds_its_ratio(data, dtype, ratio, scope, rounding):
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 8)), label="shape")
    losses = data.draw(tied_scores(shape, dtype), label="losses")
    labels = np.array([0, 0, 0, 1, -1])[data.draw(integers(shape, 4), label="labels")]
    options = {"negative_ratio": ratio, "mining": scope, "rounding": rounding}
    found = choose_anchors(losses, labels, **options)
    assert not found.negatives[labels != 0].any(), "a negative that is no background"
    each = (1, -1) if scope == "batch" and labels.size else shape
    for positives, negatives in zip(
        found.positives.reshape(each), found.negatives.reshape(each), strict=True
    ):
        most = ratio * np.count_nonzero(positives)
        most = ceil(most) if rounding == "up" else most
        count = np.count_nonzero(negatives)
        assert count <= most, f"{positives.sum()} positives: expected {most}. Received: {count}"


# --- the loss ------------------------------------------------------------------------------------

CLASS_LOSSES = ["softmax", "sigmoid", "focal"]
CONVENTIONS = [
    CANONICAL.replace(class_loss=loss, mining=mining, normaliser=normaliser, box_over=box_over)
    for loss, mining, normaliser, box_over in product(
        CLASS_LOSSES,
        ["image", "batch", "none"],
        ["positives", "image", "mean", "anchors"],
        ["positives", "all"],
    )
]
conventions = st.integers(0, len(CONVENTIONS) - 1).map(CONVENTIONS.__getitem__)


@given(st.data(), dtypes, st.sampled_from(CLASS_LOSSES))
def test_padding_the_objects_changes_no_loss(data, dtype, class_loss):
    # The targets are the same, and so is every sum.
    batch = data.draw(batches_of_objects(dtype), label="batch")
    anchors = xyxy_to_cxcywh(data.draw(boxes(dtype, least=1, most=4), label="as corners"))
    size = len(batch.labels), len(anchors)
    drawn = data.draw(integers((*size, 8), 32), label="deltas, logits") - 16
    deltas, logits = np.split(drawn.astype(dtype) / dtype(4), 2, axis=-1)

    def loss(images):
        targets = [assign_targets(*image, anchors) for image in images]
        coded = np.array([one.deltas for one in targets], dtype).reshape(*size, 4)
        labels = np.array([one.labels for one in targets], int).reshape(size)
        return multibox_loss(deltas, logits, coded, labels, class_loss=class_loss)

    padded = zip(batch.boxes, batch.labels, strict=True)
    for name, found, expected in zip(
        MultiBox._fields, loss(padded), loss(batch.images), strict=True
    ):
        equal(found, expected, f"{name} with padding")


@given(st.data(), dtypes, conventions)
def test_padding_the_anchors_changes_no_loss(data, dtype, convention):
    # Anchors of label -1, with any numbers, between the others. Sums may go another way; "anchors"
    # counts them by its definition.
    assume(convention.loss.normaliser != "anchors")
    plain = data.draw(heads(dtype), label="heads")
    images, anchors = plain.labels.shape
    spread = np.sort(shuffle(data, anchors + 4, "where the anchors are")[:anchors])
    wide = [data.draw(extremes((images, anchors + 4, n), dtype), label="any") for n in (4, 3, 4)]
    labels = np.full((images, anchors + 4), IGNORE)
    for padded, array in zip([*wide, labels], plain, strict=True):
        padded[:, spread] = array
    before, after = multibox_loss(*plain, convention), multibox_loss(*wide, labels, convention)

    assert after.positives == before.positives
    for name in ("counted", "negatives"):
        equal(getattr(after, name)[:, spread], getattr(before, name), name)
        assert not np.delete(getattr(after, name), spread, axis=1).any(), f"{name}: padding"
    terms = images + anchors
    for name in ("class_loss", "box_loss", "total"):
        expected = np.array([getattr(before, name)])
        budget = roundings("sum of n", dtype) * terms * expected
        within(np.array([getattr(after, name)]), expected, budget, name)


padding = st.sampled_from([(-1,), (0,), (-1, 0), (1, 2), (-1, 0, 0, 1, 2)])


@given(st.data(), dtypes, conventions, padding)
def test_the_loss_is_always_finite(data, dtype, convention, labels):
    drawn = data.draw(heads(dtype, extremes, labels), label="heads")
    found = multibox_loss(*drawn, convention)
    for name in ("total", "class_loss", "box_loss"):
        value = getattr(found, name)
        assert value.dtype == dtype
        assert np.isfinite(value), f"{name}: expected a number. Received: {value}"
        assert value >= 0, f"{name}: expected 0 or more. Received: {value}"


@given(st.data(), dtypes, conventions, padding)
def test_the_gradients_are_always_finite(data, dtype, convention, labels):
    drawn = data.draw(heads(dtype, extremes, labels), label="heads")
    for name, gradient in zip(
        ("by deltas", "by logits"), multibox_gradient(*drawn, convention), strict=True
    ):
        assert gradient.dtype == dtype
        assert np.isfinite(gradient).all(), f"{name}: expected numbers. Received: {gradient}"
        assert not gradient[drawn.labels == IGNORE].any(), f"{name}: padding has a slope"


# --- average precision ---------------------------------------------------------------------------

methods = st.sampled_from(["voc07", "all", "coco"])


def present(given_load):
    """Which classes have objects."""
    there = np.concatenate(given_load.truth_labels)
    return np.isin(np.arange(given_load.classes) + 1, there)


@given(st.data(), loads(distinct=True), methods)
def test_perfect_detections_have_ap_1(data, given_load, method):
    # Equal objects are left out: to VOC, both of two equal detections claim the first.
    scores = [
        shuffle(data, len(rows), f"ranks in image {image}")
        for image, rows in enumerate(given_load.truth_labels)
    ]
    truth, there = given_load[:2], present(given_load)
    result = evaluate(*truth, *truth, scores, given_load.classes, method=method)
    np.testing.assert_allclose(result.table[:, there], 1, rtol=1e-12)
    assert np.isnan(result.table[:, ~there]).all(), "a class without objects has no AP"
    np.testing.assert_allclose([result.map, result.ap50, result.ap75], 1, rtol=1e-12)


@given(loads(), methods)
def test_without_detections_ap_is_0(given_load, method):
    nothing = [np.zeros((0, 4))] * len(given_load.boxes), *([[[]] * len(given_load.boxes)] * 2)
    result = evaluate(*given_load[:2], *nothing, given_load.classes, method=method)
    there = present(given_load)
    assert (result.table[:, there] == 0).all(), result.table
    assert np.isnan(result.table[:, ~there]).all(), "a class without objects has no AP"
    assert (result.map, result.ap50, result.ap75) == (0, 0, 0)


@given(st.data(), loads(), methods)
def test_the_order_of_detections_whose_scores_differ_does_not_count(data, given_load, method):
    counts = [len(rows) for rows in given_load.labels]
    ranks = np.split(shuffle(data, sum(counts), "ranks of all scores"), np.cumsum(counts)[:-1])
    plain = given_load._replace(scores=[own / 64 for own in ranks])
    orders = [shuffle(data, count, f"order in image {n}") for n, count in enumerate(counts)]
    images = shuffle(data, len(counts), "order of the images")

    def mixed(column, within_image):
        rows = [
            row[order] if within_image else row for row, order in zip(column, orders, strict=True)
        ]
        return [rows[image] for image in images]

    shuffled = plain._replace(
        truth_boxes=mixed(plain.truth_boxes, False),
        truth_labels=mixed(plain.truth_labels, False),
        boxes=mixed(plain.boxes, True),
        labels=mixed(plain.labels, True),
        scores=mixed(plain.scores, True),
    )
    expected, found = evaluate(*plain, method=method), evaluate(*shuffled, method=method)
    equal(found.table, expected.table, "AP in another order")
    equal(found.per_class, expected.per_class, "AP of each class in another order")
