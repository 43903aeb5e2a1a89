"""How often Python is run: where a graph is traced, once for each shape, whatever the values are.

What is traced runs as Python only then, so a line of Python in it counts (as
chex.assert_max_traces does). A graph that is traced anew for every call is right, and useless.
PyTorch traces nothing: there every call is counted.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import keras
import numpy as np
import pytest

from keras_impl.backends import backend, in_mode, modes
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import settled
from keras_impl.models import ssd
from keras_impl.parity.implementations import KERAS
from reference_numpy.conventions import AnchorLayout

# XLA is not asked: TensorFlow traces for it as for a graph, and then compiles for seconds.
MODE = {"tensorflow": "graph", "jax": "jit", "torch": "eager"}[backend()]
# Left out, as they take seconds: what training traces, see below, and what is in `detect`.
TRAINING = {"match", "assign_targets", "assign_targets_with_crowds", "class_losses"}
TRAINING |= {"mine_hard_negatives", "multibox_loss", "multibox_gradient"}
LEFT_OUT = {*TRAINING, "nms", "select"}
TRACED = [op for op in KERAS.asked() if OPERATIONS[op].compiled and op not in LEFT_OUT]

ONE = AnchorLayout("one", (32, 32), ((1, 1),), (0.5, 0.8), ((2.0,),))


def inputs_of(op: str, seed: int) -> tuple[np.ndarray, ...]:
    """Small inputs, of the same shapes from every seed."""
    *_, inputs = OPERATIONS[op].workloads(np.random.default_rng(seed), "float32", 4)
    return inputs


def shorter(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Half of the images, or of the rows."""
    count = len(inputs[0])
    return tuple(one[: count // 2] if len(one) == count else one for one in inputs)


def test_the_mode_that_traces_is_one_of_this_backend() -> None:
    assert MODE in modes()
    assert set(KERAS.asked()) >= LEFT_OUT


@pytest.mark.parametrize("op", TRACED)
def test_an_operation_is_traced_once_for_each_shape(op: str) -> None:
    seen: list[list[tuple[int, ...]]] = []
    convention = settled(KERAS, op, OPERATIONS[op].settings)

    def counted(*arrays):
        seen.append([tuple(one.shape) for one in arrays])
        return KERAS.offer(op).function(*arrays, convention=convention)

    call = in_mode(counted, MODE)
    first, second = inputs_of(op, 0), inputs_of(op, 1)
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))

    for inputs in (first, second):
        call(*inputs)
    assert len(seen) == (2 if MODE == "eager" else 1), f"{op}, one shape: {seen}"
    for inputs in (shorter(first), shorter(second), second):
        call(*inputs)
    assert len(seen) == (5 if MODE == "eager" else 2), f"{op}, two shapes: {seen}"


def counting(monkeypatch: pytest.MonkeyPatch, model: ssd.SSD) -> Counter[str]:
    """How often the network, its loss and the assignment of targets run as Python, from now on."""
    counts: Counter[str] = Counter()

    def count(name, function):
        def call(*arguments, **options):
            counts[name] += 1
            return function(*arguments, **options)

        return call

    first = model.get_layer("Conv1")
    monkeypatch.setattr(first, "call", count("network", first.call))
    monkeypatch.setattr(model, "compute_loss", count("loss", model.compute_loss))
    monkeypatch.setattr(ssd.targets, "_assign", count("targets", ssd.targets._assign))
    return counts


# Batches of two, two and one image. TensorFlow's `fit` and `evaluate` leave the number of
# images open, and the assignment that was traced for the one is there for the other; its
# `predict` is traced for two images, then for any number. JAX traces for two and for one.
TWICE = {"network": 2, "loss": 2, "targets": 2}
BUDGETS = {
    "tensorflow": {
        "fit": {"network": 1, "loss": 1, "targets": 1},
        "evaluate": {"network": 1, "loss": 1},
        "predict": {"network": 2},
    },
    "jax": {"fit": TWICE, "evaluate": TWICE, "predict": {"network": 2}},
}


def test_training_and_detection_trace_the_network_once_for_each_shape(monkeypatch) -> None:
    model = ssd.SSD(ONE, 3, alpha=0.1, batch_norm_momentum=None)
    for layer in model.layers:
        layer.trainable = layer.name.startswith("head_")  # else its gradient is traced for seconds
    generator = np.random.default_rng(0)
    images = generator.uniform(-1, 1, (5, 32, 32, 3)).astype("float32")
    low = generator.uniform(0, 0.6, (5, 3, 2))
    boxes = np.concatenate([low, low + generator.uniform(0.1, 0.4, low.shape)], axis=-1)
    objects = {
        "boxes": boxes.astype("float32"),
        "labels": generator.integers(1, 4, (5, 3)).astype("int32"),
    }
    model.compile(keras.optimizers.SGD(0.01))
    counts = counting(monkeypatch, model)
    steps = {
        "fit": partial(model.fit, images, objects, batch_size=2, epochs=2, verbose=0),
        "evaluate": partial(model.evaluate, images, objects, batch_size=2, verbose=0),
        "predict": partial(model.predict, images, batch_size=2, verbose=0),
    }

    for name, step in steps.items():
        counts.clear()
        step()
        first = dict(counts)
        if backend() == "torch":
            assert first["network"] == (6 if name == "fit" else 3)
            continue
        assert first == BUDGETS[backend()][name], name
        step()
        assert dict(counts) == first, f"{name}, once more"

    counts.clear()
    for some in (images, images[:3], images[:1], images[::-1]):
        model.detect(some, batch_size=2)
    again = 3 + 2 + 1 + 3 if backend() == "torch" else 0
    assert counts["network"] == again, "`predict` has seen these shapes"
