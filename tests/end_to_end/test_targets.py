"""Targets assigned by the data set, on the host: the same loss, and `fit` takes them."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_impl.data.mnist import load_digits
from keras_impl.data.pipeline import assign_targets, dataset
from keras_impl.host.matching import TargetAssigner
from keras_impl.models.ssd import SSD
from reference_numpy import targets

BATCH = 3


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    made = SSD("digits224", num_classes=10, alpha=0.1)
    made.compile("adam")
    return made


@pytest.fixture(scope="module")
def batches():
    return dataset(load_digits("test"), "1-10", 2 * BATCH, BATCH, seed=1)


def test_they_are_the_references(model, batches):
    assigned = assign_targets(batches, TargetAssigner(model.anchors, model.convention))
    for (images, objects), (same, wanted) in zip(batches, assigned, strict=True):
        np.testing.assert_array_equal(images, same)
        boxes, labels = objects["boxes"].numpy(), objects["labels"].numpy()
        for image in range(BATCH):
            right = targets.assign_targets(
                boxes[image], labels[image], model.anchors, model.convention
            )
            np.testing.assert_array_equal(wanted["target_labels"][image], right.labels)
            np.testing.assert_array_equal(wanted["target_deltas"][image], right.deltas)


def test_the_loss_is_the_same(model, batches):
    assigned = assign_targets(batches, TargetAssigner(model.anchors, model.convention))
    (images, objects), (_, wanted) = next(iter(batches)), next(iter(assigned))
    heads = model(images)
    by_model = float(model.compute_loss(y=objects, y_pred=heads))
    by_host = float(model.compute_loss(y=wanted, y_pred=heads))
    np.testing.assert_allclose(by_host, by_model, rtol=1e-5)


def test_fit_takes_them(model, batches):
    assigned = assign_targets(batches, TargetAssigner(model.anchors, model.convention))
    model.run_eagerly = True  # it is the data that is tried, not the graph
    history = model.fit(assigned, epochs=1, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_crowds_are_heard(model):
    anchors, convention = model.anchors, model.convention
    objects = {
        "boxes": np.array([[[0.1, 0.1, 0.3, 0.3], [0.4, 0.4, 0.9, 0.9]]], np.float32),
        "labels": np.array([[1, 2]], np.int32),
        "crowds": np.array([[False, True]]),
    }
    data = tf.data.Dataset.from_tensors((np.zeros((1, 1), np.float32), objects))
    (_, wanted) = next(iter(assign_targets(data, TargetAssigner(anchors, convention))))
    right = targets.assign_targets(
        objects["boxes"][0], objects["labels"][0], anchors, convention, crowds=objects["crowds"][0]
    )
    assert (right.labels == -1).any()
    np.testing.assert_array_equal(wanted["target_labels"][0], right.labels)


def test_bad_boxes_stop_the_pipeline(model):
    objects = {
        "boxes": np.array([[[0.5, 0.1, 0.5, 0.3]]], np.float32),
        "labels": np.array([[1]], np.int32),
    }
    data = tf.data.Dataset.from_tensors((np.zeros((1, 1), np.float32), objects))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"boxes\[0, 0\]: expected finite"):
        next(iter(assign_targets(data, TargetAssigner(model.anchors))))


@pytest.mark.parametrize("shape", [(1, 7, 4), (1, 2884, 5)])
def test_targets_of_other_anchors_are_refused(model, shape):
    y = {"target_deltas": np.zeros(shape, np.float32), "target_labels": np.zeros(shape[:2], int)}
    with pytest.raises(ValueError, match=r"y: expected 'target_deltas' of shape \(B, 2884, 4\)"):
        model.compute_loss(y=y, y_pred={"deltas": np.zeros((1, 2884, 4)), "logits": 0.0})


def test_what_the_page_shows_runs():
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    names: dict[str, object] = {}
    exec(compile(block, "docs/performance.md", "exec"), names)
    assert (names["targets"].labels == 3).any()
