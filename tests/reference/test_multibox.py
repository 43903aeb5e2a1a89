"""The MultiBox loss: by hand, by law, and against a literal brute force."""

from __future__ import annotations

import re
from math import exp, floor, log

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from reference_numpy.conventions import CANONICAL
from reference_numpy.losses import softmax_cross_entropy
from reference_numpy.mining import choose_anchors
from reference_numpy.multibox import MultiBox, class_losses, multibox_loss, normalisers
from tests.strategies import FLOATS, dtypes, grid_boxes, heads, integers

NAN, INF = np.nan, np.inf
ratios = st.sampled_from([0.0, 0.5, 1.0, 3.0, 100.0])

# --- the class loss of an anchor by hand ----------------------------------------------------------

# Logits log(1, 2, 5): a softmax of 1/8, 2/8, 5/8, sigmoids of 1/2, 2/3, 5/6.
COLUMNS = np.log([1.0, 2.0, 5.0])

# Label, changes; then the loss.
CLASSES = {
    "softmax": (1, {}, log(8 / 2)),
    "softmax of background": (0, {}, log(8 / 1)),
    # -log(1 - 1/2) - log(2/3) - log(1 - 5/6).
    "sigmoid": (1, {"class_loss": "sigmoid"}, log(2 * 3 / 2 * 6)),
    # The column of background is the true one: -log(1/2) - log(1 - 2/3) - log(1 - 5/6).
    "sigmoid of background": (0, {"class_loss": "sigmoid"}, log(2 * 3 * 6)),
    # 1/4 (1/3)² log(3/2), and 3/4 of (1/2)² log 2 and of (5/6)² log 6.
    "focal": (
        1,
        {"class_loss": "focal"},
        log(3 / 2) / 36 + 3 / 4 * (log(2) / 4 + 25 / 36 * log(6)),
    ),
    "focal of background": (
        0,
        {"class_loss": "focal"},
        log(2) / 16 + 3 / 4 * (4 / 9 * log(3) + 25 / 36 * log(6)),
    ),
    "focal with gamma 1": (
        1,
        {"class_loss": "focal", "focal_gamma": 1.0},
        log(3 / 2) / 12 + 3 / 4 * (log(2) / 2 + 5 / 6 * log(6)),
    ),
    "focal, all weights alike, is half a sigmoid": (
        1,
        {"class_loss": "focal", "focal_gamma": 0, "focal_alpha": 0.5},
        log(2 * 3 / 2 * 6) / 2,
    ),
    "focal, the truth alone": (
        1,
        {"class_loss": "focal", "focal_gamma": 0, "focal_alpha": 1.0},
        log(3 / 2),
    ),
    "what counts nowhere": (-1, {}, 0),
    "... with sigmoids": (-1, {"class_loss": "sigmoid"}, 0),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CLASSES)
def test_class_losses_by_hand(case, dtype):
    label, overrides, expected = CLASSES[case]
    close = {"rtol": 8 * np.finfo(dtype).eps, "atol": 0, "err_msg": case}
    found = class_losses(COLUMNS.astype(dtype)[None], np.array([label]), **overrides)
    assert (found.dtype, found.shape) == (dtype, (1,))
    np.testing.assert_allclose(found, [expected], **close)
    # The same with background, the column of 1, behind the others.
    last = class_losses(
        COLUMNS.astype(dtype)[None, [1, 2, 0]], np.array([label]), background="last", **overrides
    )
    np.testing.assert_array_equal(last, found)


def test_class_losses_keep_leading_axes():
    logits = np.broadcast_to(COLUMNS, (2, 5, 3))
    labels = np.array([[0, 1, 2, -1, 0]] * 2)
    for class_loss in ("softmax", "sigmoid", "focal"):
        found = class_losses(logits, labels, class_loss=class_loss)
        for place in np.ndindex(labels.shape):
            one = class_losses(logits[place][None], labels[place][None], class_loss=class_loss)
            assert found[place] == one[0]


@pytest.mark.parametrize("class_loss", ["softmax", "sigmoid", "focal"])
def test_what_counts_nowhere_may_be_anything(class_loss):
    logits = np.array([[NAN, 0.0], [1e30, -1e30]])
    assert class_losses(logits, np.array([-1, -1]), class_loss=class_loss).tolist() == [0, 0]


# --- what a batch is divided by -------------------------------------------------------------------

# Labels; then by positives, by image, by their mean, by anchors.
DIVISORS = {
    # 3 and 0 positives; 3 × 2 and max(1, 0) × 2; 3 / 2; 8.
    "one image has all": (
        [[1, 2, 1, 0], [0, 0, 0, 0]],
        ([3, 3], [6, 2], [1.5, 1.5], [8, 8]),
    ),
    "what counts nowhere is no positive": (
        [[1, -1], [-1, 1]],
        ([2] * 2, [2] * 2, [1] * 2, [4] * 2),
    ),
    "one image": ([[1, 1, 0]], ([2], [2], [2], [3])),
    # max(1, 0), and for the mean over 2 images.
    "no positives": ([[0, 0], [0, 0]], ([1] * 2, [2] * 2, [0.5] * 2, [4] * 2)),
    "no anchors": (np.zeros((2, 0)), ([1] * 2, [2] * 2, [0.5] * 2, [1] * 2)),
    "no images": (np.zeros((0, 3)), ([], [], [], [])),
}


@pytest.mark.parametrize("case", DIVISORS)
def test_divisors_by_hand(case):
    labels, expected = DIVISORS[case]
    labels = np.array(labels, int)
    for rule, divisors in zip(("positives", "image", "mean", "anchors"), expected, strict=True):
        found = normalisers(labels, normaliser=rule)
        assert found.dtype == np.float64
        assert found.tolist() == divisors, (case, rule)


# --- the loss of a batch by hand -----------------------------------------------------------------


def undecided(labels, dtype=np.float64, classes=2):
    """Predictions that say nothing, for targets at 0: every class loss is log(classes)."""
    labels = np.array(labels, int)
    zeros = np.zeros((*labels.shape, 4), dtype)
    return zeros, np.zeros((*labels.shape, classes), dtype), zeros.copy(), labels


# Labels of each image, options; then positives, negatives of each image, and the class loss
# in units of log 2 (a loss for each counted anchor) over the normaliser.
NORMALISED = {
    "one image": ([[1, 0, 0, 0, 0]], {}, 1, [[1, 2, 3]], 4 / 1),
    "the batch has one normaliser": (
        # 1 + 3 in the first image, 2 + 3 (all there are) in the second, over 3; a mean of
        # images would be (4/1 + 5/2) / 2.
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]],
        {},
        3,
        [[1, 2, 3], [2, 3, 4]],
        9 / 3,
    ),
    "an image without objects counts nothing": (
        [[0, 0, 0], [1, 0, 0]],
        {},
        1,
        [[], [1, 2]],
        3 / 1,
    ),
    "mining is per image": (
        # Over the batch, 3 : 1 of one positive would reach the first image.
        [[0, 0, 0], [0, 0, 1]],
        {"negative_ratio": 1.0},
        1,
        [[], [0]],
        2 / 1,
    ),
    "a minimum is per image": (
        [[0, 0, 0], [1, 0, 0]],
        {"negative_ratio": 1.0, "min_negatives": 2},
        1,
        [[0, 1], [1, 2]],
        5 / 1,
    ),
    "no object in the batch": ([[0, 0], [0, 0]], {}, 0, [[], []], 0),
    "no object, but a minimum": ([[0, 0], [0, 0]], {"min_negatives": 1}, 0, [[0], [0]], 2 / 1),
    "positives only": ([[1, 1], [1, 1]], {}, 4, [[], []], 4 / 4),
    "no images": (np.zeros((0, 3)), {}, 0, [], 0),
    "no anchors": (np.zeros((2, 0)), {}, 0, [[], []], 0),
    "what counts nowhere counts nowhere": ([[1, -1, 0, -1, 0]], {}, 1, [[2, 4]], 3 / 1),
    # 4 of one image over 1 × 2, 5 of the other over 2 × 2.
    "each image by its own": (
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]],
        {"normaliser": "image"},
        3,
        [[1, 2, 3], [2, 3, 4]],
        4 / 2 + 5 / 4,
    ),
    "by the mean of images": (
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]],
        {"normaliser": "mean"},
        3,
        [[1, 2, 3], [2, 3, 4]],
        9 / 1.5,
    ),
    "by all anchors": (
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, -1]],
        {"normaliser": "anchors"},
        3,
        [[1, 2, 3], [2, 3]],
        8 / 10,
    ),
    "by no anchors": (np.zeros((2, 0)), {"normaliser": "anchors"}, 0, [[], []], 0),
    "no mining": (
        [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, -1]],
        {"mining": "none"},
        1,
        [[1, 2, 3, 4, 5], [0, 1, 2, 3, 4]],
        11 / 1,
    ),
    # Three negatives for one positive, and all losses are alike: the first three.
    "mining is over the batch": (
        [[0, 0], [1, 0]],
        {"mining": "batch"},
        1,
        [[0, 1], [1]],
        4 / 1,
    ),
    "a sigmoid for each column": ([[1, 0, 0]], {"class_loss": "sigmoid"}, 1, [[1, 2]], 3 * 2),
    # Of log 2, the true column has 1/4 × 1/4, the other 3/4 × 1/4.
    "focal": ([[1, 0, 0]], {"class_loss": "focal"}, 1, [[1, 2]], 3 / 4),
    "background last": ([[1, 0, 0]], {"background": "last"}, 1, [[1, 2]], 3),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", NORMALISED)
def test_what_counts_and_what_it_is_divided_by(case, dtype):
    labels, options, positives, negatives, expected = NORMALISED[case]
    arguments = undecided(labels, dtype)
    found = multibox_loss(*arguments, **options)

    assert isinstance(found, MultiBox)
    assert [value.dtype for value in found[:3]] == [dtype] * 3
    assert (found.negatives.dtype, found.negatives.shape) == (np.bool_, arguments[3].shape)
    assert [np.flatnonzero(row).tolist() for row in found.negatives] == negatives
    assert found.positives == positives
    assert isinstance(found.positives, int)
    assert found.class_loss == pytest.approx(expected * log(2), rel=4 * float(np.finfo(dtype).eps))
    assert (found.box_loss, found.total) == (0, found.class_loss)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_batch_by_hand(dtype):
    # Two images of three anchors, three classes. Softmax of log(1, 2, 5) is 1/8, 2/8, 5/8.
    unsure = np.log([1, 2, 5])
    logits = np.array([[unsure, [0, 0, 0], unsure], [unsure[::-1], unsure, [0, 0, 0]]], dtype)
    labels = np.array([[2, 0, 0], [0, 1, 1]])
    # Class losses: positives log 8/5 | log 4, log 3; negatives log 3, log 8 | log 8/5. At 1 : 1
    # the hardest of the first image is its last anchor, log 8.
    deltas, targets = np.zeros((2, 3, 4), dtype), np.zeros((2, 3, 4), dtype)
    deltas[0, 0] = [1, 0, 0, -3]  # 1/2 + 5/2
    targets[1, 1] = [0.5, 0, 0, 0]  # 1/8
    deltas[1, 2], targets[1, 2] = [2, 2, 2, 2], [2, 2, 2, 4]  # 3/2
    deltas[0, 1:], targets[1, 0] = 100, 100  # background: does not count
    found = multibox_loss(deltas, logits, targets, labels, negative_ratio=1, box_weight=0.5)

    assert found.positives == 3
    assert found.negatives.tolist() == [[False, False, True], [True, False, False]]
    class_loss = (log(8 / 5) + log(8) + log(4) + log(3) + log(8 / 5)) / 3
    box_loss = (3 + 1 / 8 + 3 / 2) / 3
    total = class_loss + box_loss / 2
    close = {"rel": 8 * float(np.finfo(dtype).eps)}
    assert found.class_loss == pytest.approx(class_loss, **close)
    assert found.box_loss == pytest.approx(box_loss, **close)
    assert found.total == pytest.approx(total, **close)
    assert [value.dtype for value in found[:3]] == [dtype] * 3


@pytest.mark.parametrize("sign", [1, -1])
def test_saturated_logits_give_finite_losses(sign):
    # The positive is certain and right (0) or certain and wrong (2000); its negatives alike.
    deltas, logits, targets, labels = undecided([[1, 0]])
    logits[0] = sign * np.array([[-1000, 1000], [1000, -1000]])
    found = multibox_loss(deltas, logits, targets, labels)
    assert found.class_loss == (0 if sign == 1 else 4000)


def test_the_box_weight_touches_the_box_loss_alone():
    deltas, logits, targets, labels = undecided([[1, 0]])
    deltas += 2  # 4 × 3/2
    for weight in (0.0, 1.0, 2.5):
        found = multibox_loss(deltas, logits, targets, labels, box_weight=weight)
        assert (found.box_loss, found.class_loss) == (6, 2 * log(2))
        assert found.total == pytest.approx(2 * log(2) + 6 * weight)


def test_the_box_loss_of_all_anchors_by_hand():
    # A positive 1 off, a negative that is mined, one that is not, and one that counts nowhere,
    # each 2 off from 0 in one number: 1/2 and two times 3/2.
    deltas, logits, targets, labels = undecided([[1, 0, 0, -1]])
    targets[0, 0], deltas[0, 0] = [3, 0, 0, 0], [4, 0, 0, 0]
    deltas[0, 1:, 2] = -2
    for overrides, expected in (
        ({}, 1 / 2),
        ({"box_over": "all"}, 7 / 2),
        ({"box_over": "all", "normaliser": "anchors"}, 7 / 2 / 4),
        ({"box_over": "all", "mining": "none", "box_weight": 2.0}, 7 / 2),
    ):
        found = multibox_loss(deltas, logits, targets, labels, negative_ratio=1, **overrides)
        assert found.box_loss == expected
        weight = overrides.get("box_weight", 1)
        assert found.total == pytest.approx(found.class_loss + weight * expected)


def test_suppression_before_mining_by_hand():
    # Anchors 0 and 1 say the same box, 2 another. Losses are log 2, but log 4 for anchor 1
    # (softmax 1/4), so that the positive, anchor 0, is suppressed, and with it the need for
    # negatives. The divisor is still 1.
    boxes = np.array([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
    deltas, logits, targets, labels = undecided([[1, 0, 0]])
    logits[0, 1] = [0, log(3)]
    deltas += 2  # 4 × 3/2 where it counts
    plain = multibox_loss(deltas, logits, targets, labels, boxes=boxes)
    assert plain.counted.tolist() == [[True, False, False]]
    assert plain.class_loss == pytest.approx(log(2) + log(4) + log(2))
    assert plain.box_loss == 6
    for minimum, negatives, expected in ((0, [], 0), (1, [1], log(4)), (3, [1, 2], log(8))):
        found = multibox_loss(
            deltas, logits, targets, labels, mining_nms=0.9, min_negatives=minimum, boxes=boxes
        )
        assert found.positives == 1
        assert not found.counted.any()
        assert np.flatnonzero(found.negatives).tolist() == negatives
        assert (found.class_loss, found.box_loss) == (pytest.approx(expected), 0)

    logits[0, 0] = [log(7), 0]  # log 8, more than log 4: now anchor 1 falls
    found = multibox_loss(deltas, logits, targets, labels, mining_nms=0.9, boxes=boxes)
    assert found.counted.tolist() == [[True, False, False]]
    assert found.negatives.tolist() == [[False, False, True]]
    assert found.class_loss == pytest.approx(log(8) + log(2))
    assert found.box_loss == 6


# --- laws ----------------------------------------------------------------------------------------


@st.composite
def batches(draw, dtype):
    """Predictions and targets of up to three images of up to five anchors and three classes."""
    deltas, logits, targets, labels = draw(heads(dtype))
    # Logits of halves: equal rows give equal losses, bit for bit, so ties are common.
    return dtype(0.9) * deltas, np.round(logits / 2) / dtype(2), dtype(0.9) * targets, labels


@given(st.data(), dtypes, ratios, st.integers(0, 2), st.sampled_from([0.0, 1.0, 2.0]))
def test_multibox_equals_the_brute_force(data, dtype, ratio, minimum, weight):
    deltas, logits, target_deltas, labels = data.draw(batches(dtype))
    found = multibox_loss(
        deltas,
        logits,
        target_deltas,
        labels,
        negative_ratio=ratio,
        min_negatives=minimum,
        box_weight=weight,
    )
    ties = softmax_cross_entropy(logits, labels)  # mining is exact given the same losses
    class_sum = box_sum = 0.0
    for image, row in enumerate(labels.tolist()):
        positives = [anchor for anchor, label in enumerate(row) if label]
        hardest = sorted((-ties[image, a], a) for a, label in enumerate(row) if not label)
        mined = [anchor for _, anchor in hardest[: max(floor(ratio * len(positives)), minimum)]]
        assert np.flatnonzero(found.negatives[image]).tolist() == sorted(mined)
        for anchor in positives + mined:
            scores = logits[image, anchor].tolist()
            class_sum += log(sum(map(exp, scores))) - scores[row[anchor]]
        for anchor in positives:
            pairs = zip(deltas[image, anchor], target_deltas[image, anchor], strict=True)
            for distance in (abs(float(a) - float(b)) for a, b in pairs):
                box_sum += distance**2 / 2 if distance < 1 else distance - 0.5

    assert found.positives == np.count_nonzero(labels)
    normaliser = max(1, found.positives)
    # At most 15 anchors: 60 terms below 8 and 15 below 4, each rounded a few times.
    close = {"rtol": 0, "atol": 1000 * np.finfo(dtype).eps}
    np.testing.assert_allclose(found.class_loss, class_sum / normaliser, **close)
    np.testing.assert_allclose(found.box_loss, box_sum / normaliser, **close)
    total = (class_sum + weight * box_sum) / normaliser
    np.testing.assert_allclose(found.total, total, **close)


def literal_class_loss(scores, label, rules) -> float:
    """The class loss of one anchor, background first, number by number."""
    if rules.class_loss == "softmax":
        return log(sum(map(exp, scores))) - scores[label]
    total = 0.0
    for column, score in enumerate(scores):
        truth = column == label
        right = 1 / (1 + exp(-score if truth else score))
        if rules.class_loss == "focal":
            weight = rules.focal_alpha if truth else 1 - rules.focal_alpha
            total -= weight * (1 - right) ** rules.focal_gamma * log(right)
        else:
            total -= log(right)
    return total


@given(
    st.data(),
    dtypes,
    st.fixed_dictionaries(
        {
            "class_loss": st.sampled_from(["softmax", "sigmoid", "focal"]),
            "focal_alpha": st.sampled_from([0.25, 1.0]),
            "focal_gamma": st.sampled_from([0.0, 1.0, 2.0]),
            "background": st.sampled_from(["first", "last"]),
            "normaliser": st.sampled_from(["positives", "image", "mean", "anchors"]),
            "box_over": st.sampled_from(["positives", "all"]),
            "mining": st.sampled_from(["image", "batch", "none"]),
        }
    ),
    st.sampled_from([None, 0.5]),
)
def test_every_convention_equals_the_literal_one(data, dtype, overrides, mining_nms):
    if overrides["mining"] == "image":
        overrides["mining_nms"] = mining_nms
    convention = CANONICAL.replace(box_weight=0.5, **overrides)
    rules = convention.loss
    deltas, logits, target_deltas, labels = data.draw(batches(dtype))
    nowhere = data.draw(integers(labels.shape, 3)) == 0
    labels = np.where(nowhere, -1, labels)
    boxes = data.draw(grid_boxes(dtype, least=labels.size, most=labels.size))
    boxes = boxes.reshape(*labels.shape, 4)
    found = multibox_loss(deltas, logits, target_deltas, labels, convention, boxes=boxes)

    # Which anchors count is exact given the same losses, and has its own tests.
    losses = class_losses(logits, labels, convention)
    positives, negatives = choose_anchors(losses, labels, convention, boxes=boxes)
    np.testing.assert_array_equal(found.counted, positives)
    np.testing.assert_array_equal(found.negatives, negatives)
    assert found.positives == np.count_nonzero(labels > 0)

    images = len(labels)
    per_image = [max(1, np.count_nonzero(row > 0)) * images for row in labels]
    divisors = {
        "positives": [max(1, found.positives)] * images,
        "image": per_image,
        "mean": [max(1, found.positives) / max(1, images)] * images,
        "anchors": [labels.size] * images,
    }[rules.normaliser]
    class_loss = box_loss = 0.0
    for image, anchor in np.ndindex(labels.shape):
        label, divisor = int(labels[image, anchor]), float(divisors[image])
        scores = logits[image, anchor].tolist()
        columns = [scores[-1], *scores[:-1]] if overrides["background"] == "last" else scores
        if positives[image, anchor] or negatives[image, anchor]:
            class_loss += literal_class_loss(columns, label, rules) / divisor
        if label >= 0 and (positives[image, anchor] or rules.box_over == "all"):
            pairs = zip(deltas[image, anchor], target_deltas[image, anchor], strict=True)
            for distance in (abs(float(a) - float(b)) for a, b in pairs):
                box_loss += (distance**2 / 2 if distance < 1 else distance - 0.5) / divisor

    close = {"rtol": 0, "atol": 2000 * np.finfo(dtype).eps}  # as above, over 1/3 at the least
    np.testing.assert_allclose(found.class_loss, class_loss, **close)
    np.testing.assert_allclose(found.box_loss, box_loss, **close)
    np.testing.assert_allclose(found.total, class_loss + box_loss / 2, **close)
    assert [value.dtype for value in found[:3]] == [dtype] * 3


@given(st.data(), dtypes)
def test_an_image_of_background_changes_nothing(data, dtype):
    batch = data.draw(batches(dtype))
    widened = [np.concatenate([array, np.zeros_like(array[:1])]) for array in batch]
    before, after = multibox_loss(*batch), multibox_loss(*widened)
    assert after[:4] == before[:4]


@given(st.data(), dtypes)
def test_the_boxes_of_background_anchors_do_not_count(data, dtype):
    deltas, logits, targets, labels = data.draw(batches(dtype))
    other = np.where(labels[..., None] > 0, deltas, dtype(1e6))
    before = multibox_loss(deltas, logits, targets, labels)
    assert multibox_loss(other, logits, targets, labels)[:4] == before[:4]


@settings(max_examples=20)
@given(st.data(), dtypes)
def test_the_arguments_are_left_alone(data, dtype):
    batch = data.draw(batches(dtype))
    for array in batch:
        array.setflags(write=False)
    multibox_loss(*batch)


@pytest.mark.parametrize(
    ("boxes", "received"),
    [(None, "None"), (np.zeros((1, 3)), "(1, 3)"), (np.zeros((3, 4)), "(3, 4)")],
)
def test_a_mining_nms_needs_boxes(boxes, received):
    message = f"boxes: expected shape (1, 3, 4), as mining_nms is set. Received: {received}"
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        multibox_loss(*undecided([[1, 0, 0]]), mining_nms=0.9, boxes=boxes)
