"""`keras_impl.ops.multibox` against `reference_numpy.multibox`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl.backends import backend, in_mode, modes
from keras_impl.ops import mining, multibox
from reference_numpy import mining as reference_mining, multibox as reference
from reference_numpy.testing.cases import MINING


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("case", MINING, ids=lambda case: case.name)
def test_mining_worked_by_hand(mode, case):
    def mine(losses, labels):
        return mining.mine_hard_negatives(
            losses,
            labels,
            negative_ratio=case.negative_ratio,
            min_negatives=case.min_negatives,
        )

    got = in_mode(mine, mode)(
        np.array([case.losses], np.float32), np.array([case.labels], np.int32)
    )

    assert np.flatnonzero(got[0]).tolist() == list(case.answer)


@pytest.mark.parametrize("mode", modes())
def test_a_batch_without_objects_has_no_loss_and_no_nan(mode):
    deltas, logits = np.ones((2, 3, 4), np.float32), np.ones((2, 3, 5), np.float32)

    got = in_mode(lambda *tensors: tuple(multibox.multibox_loss(*tensors)), mode)(
        deltas, logits, np.zeros_like(deltas), np.zeros((2, 3), np.int32)
    )

    loss = multibox.MultiBox(*got)
    assert loss[:4] == (0, 0, 0, 0)
    assert not loss.counted.any()
    assert not loss.negatives.any()


LABELS = np.array([[1, 2, 0, 0, -1], [0, 0, 0, -1, 0]], np.int32)


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("normaliser", ["positives", "image", "mean", "anchors"])
@pytest.mark.parametrize("labels", [LABELS, LABELS * 0], ids=["some", "no positives"])
def test_normalisers_are_equal(mode, normaliser, labels):
    got = in_mode(lambda one: multibox.normalisers(one, normaliser=normaliser), mode)(labels)
    np.testing.assert_allclose(got, reference.normalisers(labels, normaliser=normaliser), rtol=1e-7)


def some_heads(dtype="float64"):
    """Two images of 12 anchors, 3 classes; the second has no positives."""
    generator = np.random.default_rng(9)
    deltas, wanted = generator.normal(0, 1, (2, 2, 12, 4)).astype(dtype)
    logits = generator.normal(0, 2, (2, 12, 4)).astype(dtype)
    labels = np.array([[1, 3, -1, 2, *[0] * 8], [-1, *[0] * 11]], np.int32)
    low = generator.integers(0, 4, (2, 12, 2)) / 8
    boxes = np.concatenate([low, low + 0.375], axis=-1).astype(dtype)
    return deltas, logits, wanted, labels, boxes


RULES = [
    {},
    {"mining": "batch", "negative_ratio": 0.75},
    {"mining": "none"},
    *({"mining_nms": limit} for limit in (0.1, 0.3, 0.9)),
    {"mining_nms": 0.3, "iou_offset": 0.25, "iou_epsilon": 0.25},
    {"rounding": "up", "negative_ratio": 0.5, "min_negatives": 2},
    {"rounding": "down", "negative_ratio": 0.5, "max_negatives": 1},
    {"min_negatives": 2, "max_negatives": 3},
    *({"class_loss": loss} for loss in ("softmax", "sigmoid", "focal")),
    {"class_loss": "focal", "focal_alpha": 0.4, "focal_gamma": 1.5, "background": "last"},
    *({"normaliser": name} for name in ("positives", "image", "mean", "anchors")),
    {"box_over": "all", "box_weight": 0.5},
    {"box_over": "all", "normaliser": "image"},
]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_rules_mean_the_same(rules):
    *heads, boxes = some_heads()
    need = boxes if "mining_nms" in rules else None

    def lose(*tensors):
        return tuple(multibox.multibox_loss(*tensors, boxes=need, **rules))

    got = multibox.MultiBox(*in_mode(lose, "eager")(*heads))

    wanted = reference.multibox_loss(*heads, boxes=need, **rules)
    assert got._fields == wanted._fields
    for name, part, want in zip(wanted._fields, got, wanted, strict=True):
        assert np.shape(part) == np.shape(want), name
        np.testing.assert_allclose(part, want, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("rules", RULES[:9], ids=str)
def test_the_same_anchors_are_chosen(rules):
    *_, labels, boxes = some_heads()
    losses = np.round(np.random.default_rng(3).random(labels.shape) * 4) / 4

    def choose(*tensors):
        loss, label, box = tensors
        return tuple(mining.choose_anchors(loss, label, boxes=box, **rules))

    got = in_mode(choose, "eager")(losses, labels, boxes)

    wanted = reference_mining.choose_anchors(losses, labels, boxes=boxes, **rules)
    for part, want in zip(got, wanted, strict=True):
        assert part.tolist() == want.tolist()


@pytest.mark.parametrize(
    ("ratio", "rounding", "positives", "count"),
    [
        (0.3, "up", 50, 15),  # 16 in float32
        (0.7, "down", 90, 62),  # 63 in float32
        (0.1, "up", 30, 3),
        (3.0, "down", 30, 70),
    ],
)
def test_a_ratio_is_rounded_as_float64_rounds_it(ratio, rounding, positives, count):
    labels = np.array([[1] * positives + [0] * 70], np.int32)
    losses = np.arange(positives + 70, dtype=np.float32)[None]
    rules = {"negative_ratio": ratio, "rounding": rounding}

    call = in_mode(lambda *both: mining.mine_hard_negatives(*both, **rules), "eager")
    got = call(losses, labels)

    wanted = reference_mining.mine_hard_negatives(losses[0], labels[0], **rules)
    assert got[0].tolist() == wanted.tolist()
    assert got.sum() == count


if backend() == "tensorflow":  # which alone makes graphs for batches of any size

    @pytest.mark.parametrize("rounding", ["up", "down"])
    @pytest.mark.parametrize("ratio", [0.1, 0.3, 0.7, 3.0, 1e30])
    def test_as_many_are_wanted_where_no_size_is_known(ratio, rounding):
        """By arithmetic in float64 what is looked up where the number of anchors is known."""
        positives = np.arange(101, dtype=np.int32)

        def wanted(counts, anchors):
            return mining._wanted(counts, anchors, ratio, rounding)

        opened = in_mode(lambda counts: wanted(counts, None), "eager")(positives)
        known = in_mode(lambda counts: wanted(counts, 1000), "eager")(positives)

        assert opened.dtype == known.dtype == np.int32
        np.testing.assert_array_equal(np.minimum(opened, 1000), known)


def test_one_anchor_of_one_image():
    """Of more classes than anchors."""
    loss = in_mode(multibox.class_losses, "eager")(np.zeros((1, 1, 5)), np.array([[3]], np.int32))
    np.testing.assert_allclose(loss, [[np.log(5)]])
    for rule in ("positives", "image", "mean", "anchors"):
        for label in (0, 1):
            labels = np.array([[label]], np.int32)
            got = in_mode(lambda one, by=rule: multibox.normalisers(one, normaliser=by), "eager")
            assert got(labels).tolist() == [1], rule


@pytest.mark.parametrize("class_loss", ["softmax", "sigmoid", "focal"])
def test_negatives_are_hard_by_the_loss_of_the_convention(class_loss):
    generator = np.random.default_rng(5)
    logits = generator.normal(0, 3, (2, 60, 6))
    labels = np.where(np.arange(60) < 4, 2, 0) * np.ones((2, 1), np.int32)
    deltas = np.zeros((2, 60, 4))
    rules = {"class_loss": class_loss, "negative_ratio": 3.0}

    def lose(*tensors):
        return tuple(multibox.multibox_loss(*tensors, **rules))

    got = multibox.MultiBox(*in_mode(lose, "eager")(deltas, logits, deltas, labels))

    wanted = reference.multibox_loss(deltas, logits, deltas, labels, **rules)
    assert got.positives.dtype.kind == "i"  # JAX counts in int64 where it has it
    assert got.negatives.sum() == 24
    assert got.negatives.tolist() == wanted.negatives.tolist()


@pytest.mark.parametrize(
    ("overlap", "negatives"),
    [({}, [2, 3]), ({"iou_epsilon": 0.25}, [1, 2, 3]), ({"iou_offset": 0.5}, [3])],
    ids=str,
)
def test_suppression_before_mining_has_the_overlap_of_the_convention(overlap, negatives):
    """Worked by hand in tests/reference/test_mining.py, for both sides might err alike."""
    same = [0.0, 0.0, 0.5, 0.5]
    boxes = np.array([[same, same, [0.0, 0.0, 0.5, 0.25], [0.5, 0.5, 1.0, 1.0]]], np.float32)
    losses, labels = np.array([[6, 5, 4, 2]], np.float32), np.array([[1, 0, 0, 0]])

    def choose(*tensors):
        chosen = mining.choose_anchors(*tensors[:2], boxes=tensors[2], mining_nms=0.5, **overlap)
        return chosen.negatives

    found = in_mode(choose, "eager")(losses, labels, boxes)
    assert np.flatnonzero(found).tolist() == negatives
