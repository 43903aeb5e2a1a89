"""The digit detector on this backend of Keras: it trains, and finds what NumPy finds.

`tox run -e jax` and `-e torch` run this too. All three are compared with one reference, and so with
each other.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import keras
import numpy as np
import pytest

from keras_impl import backends
from keras_impl.conformance.budgets import budget
from keras_impl.conformance.scales import softmax_scale
from keras_impl.conformance.verdicts import errors
from keras_impl.data.canvases import batch_images, canvas, collate
from keras_impl.data.mnist import load_digits
from keras_impl.host.matching import TargetAssigner
from keras_impl.models.ssd import SSD
from keras_impl.training.digits import digit_model
from keras_impl.training.recipe import Recipe
from keras_impl.weights.npz import load_model, read_weights
from keras_impl.weights.published import DIGITS
from reference_numpy import coding, detection, losses, multibox, ssd

# On TensorFlow others say so at more length: test_ssd.py, test_training.py, test_cli.py.
pytestmark = [pytest.mark.thorough] if backends.backend() == "tensorflow" else []

CANVASES = 4
STEPS = 6


@cache
def a_batch():
    """Images (4, 224, 224, 3) and their objects, with 1 to 10 digits each."""
    made = [canvas(load_digits("test"), "1-10", 3, index) for index in range(CANVASES)]
    batch = collate(made)
    return batch_images(batch.images), {"boxes": batch.boxes, "labels": batch.labels}


def a_network() -> SSD:
    """The digit network as `ssd train` makes it, but narrow, ready to learn."""
    keras.utils.set_random_seed(0)
    model = digit_model(Recipe(alpha=0.1))
    model.compile(keras.optimizers.Adam(2e-3, global_clipnorm=10.0))
    return model


class Stream(keras.utils.PyDataset):
    """The same batch again and again, its targets assigned on the host."""

    def __init__(self, model: SSD, steps: int) -> None:
        super().__init__()
        images, objects = a_batch()
        found = TargetAssigner(model.anchors, model.convention).assign(**objects)
        self.batch = images, {"target_deltas": found.deltas, "target_labels": found.labels}
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int):
        return self.batch


def test_it_trains_on_arrays_and_on_a_stream_of_targets():
    """Targets are assigned in the step that the backend compiles, or before it: the same steps.

    The first loss is the reference's, of what the network says in training mode.
    """
    images, objects = a_batch()
    model = a_network()
    start = model.get_weights()
    said = {
        name: keras.ops.convert_to_numpy(part).astype(np.float64)
        for name, part in model(images, training=True).items()
    }
    found = TargetAssigner(model.anchors, model.convention).assign(**objects)
    targets = found.deltas.astype(float), found.labels
    wanted = multibox.multibox_loss(said["deltas"], said["logits"], *targets, model.convention)
    assert wanted.positives > 10
    model.set_weights(start)

    # Shuffled, the statistics of the batch would be sums in another order.
    history = model.fit(
        images, objects, batch_size=CANVASES, epochs=STEPS, shuffle=False, verbose=0
    ).history
    trained = model.get_weights()
    model.set_weights(start)
    again = model.fit(Stream(model, 1), verbose=0).history

    assert set(history) == set(again) == {"loss", "class_loss", "box_loss"}
    loss = np.array(history["loss"])
    assert np.isfinite(loss).all()
    assert (np.diff(loss) < 0).all(), loss
    assert loss[-1] < 0.8 * loss[0], loss
    parts = np.array(history["class_loss"])
    parts = parts + model.convention.loss.box_weight * np.array(history["box_loss"])
    np.testing.assert_allclose(loss, parts, rtol=1e-5)
    np.testing.assert_allclose(loss[0], wanted.total, rtol=1e-4)
    assert not all(map(np.array_equal, start, trained))
    np.testing.assert_allclose(again["loss"], loss[:1], rtol=1e-6)


def test_it_finds_what_the_reference_finds():
    """From images and the shipped weights: every label, anchor and their order; boxes, scores."""
    images, _ = a_batch()
    model = load_model()
    _, weights = read_weights(DIGITS)
    deltas, logits = ssd.forward(images, weights, model.layout)
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    exact = ssd.forward(images.astype(np.float64), wide, model.layout)

    heads = model.predict(images, verbose=0)
    found = model.detect(images, score_threshold=0.5)

    # Each layer is held to its derived budget in test_network_parity.py. Of all sixty together the
    # yardstick is the reference in float32, which rounds the same sums in NumPy's order: 5.7e-6 of
    # the largest delta off. The kernels of a processor have an order of their own: on one machine
    # TensorFlow was .95e-5 (SSE4.1) to 1.3e-5 (AVX2, AVX-512) off, JAX .56e-5, PyTorch .29e-5.
    both = heads["deltas"], heads["logits"]
    for mine, single, right in zip(both, (deltas, logits), exact, strict=True):
        assert mine.dtype == np.float32
        assert np.abs(mine - right).max() <= 8 * np.abs(single - right).max()
    deltas, logits = (part.astype(np.float32) for part in exact)
    rules = model.convention.replace(score_threshold=0.5)
    for image in range(CANVASES):
        wanted = detection.detect(deltas[image], logits[image], model.anchors, rules)
        used = found.labels[image] > 0
        assert len(wanted.labels) >= 1
        assert found.labels[image][used].tolist() == wanted.labels.tolist()
        assert found.anchors[image][used].tolist() == wanted.anchors.tolist()

        # Of what this backend's heads say, boxes and scores are within the budget of detections.
        at, rows = wanted.anchors, wanted.labels
        own = heads["deltas"][image].astype(float), heads["logits"][image].astype(float)
        boxes = np.clip(coding.decode(own[0], model.anchors.astype(float), rules), 0, 1)[at]
        scores = losses.softmax(own[1])[at, rows]
        allowed = budget("detect", rules).eps
        apart = errors(found.boxes[image][used], boxes, np.ones_like(boxes), "float32")
        assert apart.max() <= allowed
        scale = softmax_scale(own[1])[at, rows]
        assert errors(found.scores[image][used], scores, scale, "float32").max() <= allowed


def test_parity_runs_on_this_backend(run_ssd):
    """`ssd parity` for one operation in each mode that there is."""
    found = run_ssd("parity", "--op", "area", "--cases", "4", "--json", "-")

    assert found.returncode == 0, found.stderr
    names = {f'"backend": "keras ({backends.backend()})"', '"passed": true'}
    assert all(name in found.stdout for name in names)
    for mode in backends.modes():
        assert f'"mode": "{mode}"' in found.stdout


def test_a_mode_of_another_backend_is_refused(run_ssd):
    mode = "xla" if backends.backend() != "tensorflow" else "jit"
    found = run_ssd("parity", "--op", "area", "--mode", mode)
    assert found.returncode == 2
    assert f"with Keras on {backends.backend()}. Received: '{mode}'" in found.stderr


@pytest.mark.parametrize(
    "arguments",
    ["train digits --out x", "demo --out x", "bench --quick", "export --format onnx --out x"],
)
def test_what_needs_tensorflow_says_so(arguments, tmp_path):
    code = (
        "import os; os.environ['KERAS_BACKEND'] = 'jax'; from keras_impl.cli import main; "
        f"raise SystemExit(main({arguments.split()}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == (
        "ssd: error: KERAS_BACKEND: expected tensorflow for this command. Received: jax\n"
    )
    assert list(tmp_path.iterdir()) == []
