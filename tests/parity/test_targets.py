"""`keras_impl.targets` against `reference_numpy.targets`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl import targets
from keras_impl.backends import in_mode, modes
from reference_numpy import targets as reference
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import SSD_MOBILENET300

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


def test_eagerly_a_bad_object_is_an_error():
    with pytest.raises(ValueError, match=r"boxes\[0, 1\]: expected finite corners"):
        assign(
            np.array([[GOOD, FLAT]], np.float32),
            np.array([[1, 1]]),
            make_anchors(SSD_MOBILENET300),
        )


@pytest.mark.parametrize(
    ("boxes", "labels", "message"),
    [
        ((2, 4), (2, 3), r"boxes: expected shape \(B, M, 4\). Received: \(2, 4\)"),
        ((2, 3, 5), (2, 3), r"boxes: expected shape \(B, M, 4\). Received: \(2, 3, 5\)"),
        ((2, 3, 4), (2, 4), r"labels: expected shape \(2, 3\)\. Received: \(2, 4\)"),
        ((2, 3, 4), (6,), r"labels: expected shape \(2, 3\)\. Received: \(6,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_an_error(boxes, labels, message):
    with pytest.raises(ValueError, match=message):
        assign(np.ones(boxes, np.float32), np.ones(labels, np.int32), np.ones((6, 4), np.float32))
