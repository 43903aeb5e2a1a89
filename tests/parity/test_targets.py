"""`keras_impl.ops.targets` against `reference_numpy.targets`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl.backends import in_mode, modes
from keras_impl.ops import targets
from reference_numpy import targets as reference
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import SSD_MOBILENET300, AnchorLayout
from reference_numpy.testing.cases import random_objects

GOOD, FLAT = [0.25, 0.25, 0.5, 0.5], [0.25, 0.25, 0.25, 0.5]


def assign(*tensors):
    return tuple(targets.assign_targets(*tensors))


@pytest.mark.parametrize("mode", modes())
def test_no_room_for_objects_is_all_background(mode):
    anchors = make_anchors(SSD_MOBILENET300)

    got = targets.Targets(
        *in_mode(assign, mode)(np.zeros((2, 0, 4), np.float32), np.zeros((2, 0), np.int32), anchors)
    )

    assert got.labels.shape == got.objects.shape == (2, 1917)
    assert got.deltas.shape == (2, 1917, 4)
    assert not got.labels.any()
    assert not got.deltas.any()
    assert (got.objects == -1).all()


@pytest.mark.skipif(len(modes()) == 1, reason="this backend of Keras traces nothing")
@pytest.mark.parametrize("mode", modes()[1:] or [None])
def test_in_a_graph_a_bad_object_counts_as_padding(mode):
    anchors = make_anchors(SSD_MOBILENET300)
    bad = np.array([[FLAT, GOOD, [np.nan] * 4]], np.float32)

    got = targets.Targets(*in_mode(assign, mode)(bad, np.array([[1, 2, 3]], np.int32), anchors))

    wanted = reference.assign_targets(bad[0], np.array([reference.PADDING, 2, -1]), anchors)
    np.testing.assert_array_equal(got.labels[0], wanted.labels)
    np.testing.assert_array_equal(got.objects[0], wanted.objects)
    assert np.isfinite(got.deltas).all()


SMALL = AnchorLayout("small", (64, 64), ((4, 4), (2, 2)), (0.2, 0.5, 0.9), ((2.0,), (2.0,)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("objects", [1, targets.FEW, targets.FEW + 1])
def test_few_and_many_objects(objects, dtype):
    """Those that are told apart and those that are looked up; anchors of another dtype."""
    boxes, labels = random_objects(np.random.default_rng(4), 2, objects, 5, dtype)
    anchors = make_anchors(SMALL, "float64")

    got = targets.Targets(*in_mode(assign, "eager")(boxes, labels, anchors))

    assert [part.dtype.name for part in got] == ["int32", dtype, "int32"]
    for image in range(2):
        wanted = reference.assign_targets(boxes[image], labels[image], anchors.astype(dtype))
        for name, part, want in zip(wanted._fields, got, wanted, strict=True):
            near = 16 * np.finfo(dtype).eps  # libraries round a logarithm otherwise
            np.testing.assert_allclose(part[image], want, rtol=near, atol=near, err_msg=name)


@pytest.mark.parametrize("kind", ["bool", "int32", "uint8"])
@pytest.mark.parametrize(
    "rules",
    [
        {"crowd_by": "ioa", "crowd_overlap": 0.5},
        {"crowd_by": "iou", "crowd_overlap": 0.2},
        {"crowd_by": "iou", "crowd_overlap": 0.2, "iou_offset": 0.1},
        {"crowd_by": "none"},
    ],
    ids=str,
)
def test_crowds_are_flags_of_any_kind(rules, kind):
    boxes, labels = random_objects(np.random.default_rng(6), 2, 6, 5, "float32")
    crowds = np.random.default_rng(7).random(labels.shape) < 0.5
    anchors = make_anchors(SMALL, "float32")

    def assign_with_crowds(box, label, anchor, crowd):
        return tuple(targets.assign_targets(box, label, anchor, crowds=crowd, **rules))

    given = boxes, labels, anchors, crowds.astype(kind)
    got = targets.Targets(*in_mode(assign_with_crowds, "eager")(*given))

    for image in range(2):
        wanted = reference.assign_targets(
            boxes[image], labels[image], anchors, crowds=crowds[image], **rules
        )
        np.testing.assert_array_equal(got.labels[image], wanted.labels)
        np.testing.assert_array_equal(got.objects[image], wanted.objects)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_has_a_dtype(dtype):
    boxes, anchors = np.zeros((1, 0, 4), dtype), make_anchors(SMALL, "float32")
    got = in_mode(assign, "eager")(boxes, np.zeros((1, 0), np.int64), anchors)
    assert [part.dtype.name for part in got] == ["int32", dtype, "int32"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("width", "label"), [(0.3, -1), (0.29, 0)])
def test_a_crowd_counts_from_the_share_on_in_its_own_dtype(width, label, dtype):
    anchor, crowd = np.array([[0.5, 0.5, 1, 1]], dtype), np.array([[[0, 0, width, 1]]], dtype)

    def assign_crowd(box, kind, anchors):
        rules = {"crowd_by": "ioa", "crowd_overlap": 0.3}
        return tuple(
            targets.assign_targets(box, kind, anchors, crowds=np.ones((1, 1)) > 0, **rules)
        )

    got = in_mode(assign_crowd, "eager")(crowd, np.ones((1, 1), np.int32), anchor)

    assert got[0].tolist() == [[label]]
