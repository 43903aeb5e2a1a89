"""The MultiBox loss: by hand, by law, and against a literal brute force."""

from __future__ import annotations

import re
from math import exp, floor, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_numpy.losses import softmax_cross_entropy
from reference_numpy.multibox import MultiBox, multibox
from tests.strategies import FLOATS, dtypes, numbers

NAN, INF = np.nan, np.inf
ratios = st.sampled_from([0.0, 0.5, 1.0, 3.0, 100.0])

# --- the loss of a batch by hand -----------------------------------------------------------------


def undecided(labels, dtype=np.float64, classes=2):
    """Predictions that say nothing, for targets at 0: every class loss is log(classes)."""
    labels = np.array(labels, int)
    zeros = np.zeros((*labels.shape, 4), dtype)
    return zeros, np.zeros((*labels.shape, classes), dtype), zeros.copy(), labels


# Labels of each picture, options; then positives, negatives of each picture, and the class loss
# in units of log 2 (a loss for each counted anchor) over the normaliser.
NORMALISED = {
    "one picture": ([[1, 0, 0, 0, 0]], {}, 1, [[1, 2, 3]], 4 / 1),
    "the batch has one normaliser": (
        # 1 + 3 in the first picture, 2 + 3 (all there are) in the second, over 3; a mean of
        # pictures would be (4/1 + 5/2) / 2.
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]],
        {},
        3,
        [[1, 2, 3], [2, 3, 4]],
        9 / 3,
    ),
    "a picture without objects counts nothing": (
        [[0, 0, 0], [1, 0, 0]],
        {},
        1,
        [[], [1, 2]],
        3 / 1,
    ),
    "mining is per picture": (
        # Over the batch, 3 : 1 of one positive would reach the first picture.
        [[0, 0, 0], [0, 0, 1]],
        {"negative_ratio": 1.0},
        1,
        [[], [0]],
        2 / 1,
    ),
    "a minimum is per picture": (
        [[0, 0, 0], [1, 0, 0]],
        {"negative_ratio": 1.0, "min_negatives": 2},
        1,
        [[0, 1], [1, 2]],
        5 / 1,
    ),
    "no object in the batch": ([[0, 0], [0, 0]], {}, 0, [[], []], 0),
    "no object, but a minimum": ([[0, 0], [0, 0]], {"min_negatives": 1}, 0, [[0], [0]], 2 / 1),
    "positives only": ([[1, 1], [1, 1]], {}, 4, [[], []], 4 / 4),
    "no pictures": (np.zeros((0, 3)), {}, 0, [], 0),
    "no anchors": (np.zeros((2, 0)), {}, 0, [[], []], 0),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", NORMALISED)
def test_what_counts_and_what_it_is_divided_by(case, dtype):
    labels, options, positives, negatives, expected = NORMALISED[case]
    arguments = undecided(labels, dtype)
    found = multibox(*arguments, **options)

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
    # Two pictures of three anchors, three classes. Softmax of log(1, 2, 5) is 1/8, 2/8, 5/8.
    unsure = np.log([1, 2, 5])
    logits = np.array([[unsure, [0, 0, 0], unsure], [unsure[::-1], unsure, [0, 0, 0]]], dtype)
    labels = np.array([[2, 0, 0], [0, 1, 1]])
    # Class losses: positives log 8/5 | log 4, log 3; negatives log 3, log 8 | log 8/5. At 1 : 1
    # the hardest of the first picture is its last anchor, log 8.
    deltas, targets = np.zeros((2, 3, 4), dtype), np.zeros((2, 3, 4), dtype)
    deltas[0, 0] = [1, 0, 0, -3]  # 1/2 + 5/2
    targets[1, 1] = [0.5, 0, 0, 0]  # 1/8
    deltas[1, 2], targets[1, 2] = [2, 2, 2, 2], [2, 2, 2, 4]  # 3/2
    deltas[0, 1:], targets[1, 0] = 100, 100  # background: does not count
    found = multibox(deltas, logits, targets, labels, negative_ratio=1, box_weight=0.5)

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
    found = multibox(deltas, logits, targets, labels)
    assert found.class_loss == (0 if sign == 1 else 4000)


def test_the_box_weight_touches_the_box_loss_alone():
    deltas, logits, targets, labels = undecided([[1, 0]])
    deltas += 2  # 4 × 3/2
    for weight in (0.0, 1.0, 2.5):
        found = multibox(deltas, logits, targets, labels, box_weight=weight)
        assert (found.box_loss, found.class_loss) == (6, 2 * log(2))
        assert found.total == pytest.approx(2 * log(2) + 6 * weight)


# --- laws ----------------------------------------------------------------------------------------


@st.composite
def batches(draw, dtype):
    """Predictions and targets of up to three pictures of up to five anchors and three classes."""
    shape = draw(st.tuples(st.integers(0, 3), st.integers(0, 5)))
    size = shape[0] * shape[1]
    labels = draw(st.lists(st.sampled_from([0, 0, 1, 2]), min_size=size, max_size=size))
    return (
        draw(numbers((*shape, 4), dtype, 4.0)),
        # Halves: equal rows give equal losses, bit for bit, so ties are common.
        np.round(2 * draw(numbers((*shape, 3), dtype, 1.0))) / dtype(2),
        draw(numbers((*shape, 4), dtype, 4.0)),
        np.reshape(labels, shape).astype(int),
    )


@given(st.data(), dtypes, ratios, st.integers(0, 2), st.sampled_from([0.0, 1.0, 2.0]))
def test_multibox_equals_the_brute_force(data, dtype, ratio, minimum, weight):
    deltas, logits, target_deltas, labels = data.draw(batches(dtype))
    found = multibox(
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
    for picture, row in enumerate(labels.tolist()):
        positives = [anchor for anchor, label in enumerate(row) if label]
        hardest = sorted((-ties[picture, a], a) for a, label in enumerate(row) if not label)
        mined = [anchor for _, anchor in hardest[: max(floor(ratio * len(positives)), minimum)]]
        assert np.flatnonzero(found.negatives[picture]).tolist() == sorted(mined)
        for anchor in positives + mined:
            scores = logits[picture, anchor].tolist()
            class_sum += log(sum(map(exp, scores))) - scores[row[anchor]]
        for anchor in positives:
            pairs = zip(deltas[picture, anchor], target_deltas[picture, anchor], strict=True)
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


@given(st.data(), dtypes)
def test_a_picture_of_background_changes_nothing(data, dtype):
    batch = data.draw(batches(dtype))
    widened = [np.concatenate([array, np.zeros_like(array[:1])]) for array in batch]
    before, after = multibox(*batch), multibox(*widened)
    assert after[:4] == before[:4]


@given(st.data(), dtypes)
def test_the_boxes_of_background_anchors_do_not_count(data, dtype):
    deltas, logits, targets, labels = data.draw(batches(dtype))
    other = np.where(labels[..., None] > 0, deltas, dtype(1e6))
    before = multibox(deltas, logits, targets, labels)
    assert multibox(other, logits, targets, labels)[:4] == before[:4]


@settings(max_examples=20)
@given(st.data(), dtypes)
def test_the_arguments_are_left_alone(data, dtype):
    batch = data.draw(batches(dtype))
    for array in batch:
        array.setflags(write=False)
    multibox(*batch)


def test_multibox_refuses_labels_that_it_has_no_logit_for():
    for label, place in ((2, 0), (-2, 1)):
        arguments = undecided([[0, 0], [0, 0]])
        arguments[3][1, place] = label
        message = f"labels[1, {place}]: expected -1 to 1. Received: {label}"
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            multibox(*arguments)


def test_multibox_refuses_logits_that_are_not_numbers():
    deltas, logits, targets, labels = undecided([[1, 0, 0]])
    logits[0, 2, 0] = NAN
    with pytest.raises(ValueError, match=re.escape("losses[2]: expected a number. Received: nan")):
        multibox(deltas, logits, targets, labels)


@pytest.mark.parametrize("name", ["deltas", "logits", "target_deltas"])
def test_shapes_that_differ_are_refused(name):
    arrays = {
        "deltas": np.zeros((2, 3, 4)),
        "logits": np.zeros((2, 3, 5)),
        "target_deltas": np.zeros((2, 3, 4)),
        "target_labels": np.zeros((2, 3), int),
    }
    arrays[name] = arrays[name][:, :2]
    with pytest.raises(ValueError, match=rf"^{name}: expected shape \(2, 3, \d\)"):
        multibox(**arrays)
