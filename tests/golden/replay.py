"""How the golden state is computed by Keras, on any backend and in float32 or float64.

`evaluate` differentiates the network with its running statistics; `train` is what a user does,
`compile` and `train_on_batch`; `train_in_float64` the same in a few lines, which the golden losses
come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_impl import multibox
from keras_impl.backends import gradients
from keras_impl.ssd import SSD
from tests.golden.tiny_ssd import (
    ALPHA,
    CLASSES,
    CONVENTION,
    LAYOUT,
    LEARNING_RATE,
    MOMENTUM,
    STATISTICS_MOMENTUM,
    STEPS,
)

__all__ = ["State", "evaluate", "heads", "network", "train", "train_in_float64"]

Tensor = Any


def network(weights: Mapping[str, np.ndarray], dtype: str = "float32") -> SSD:
    """The detector with these weights.

    Raises:
        ValueError: A weight is missing, or one too many.
    """
    model = SSD(
        LAYOUT,
        CLASSES,
        alpha=ALPHA,
        convention=CONVENTION,
        batch_norm_momentum=STATISTICS_MOMENTUM,
        dtype=dtype,
    )
    names = {weight.path for weight in model.weights}
    if names != set(weights):
        raise ValueError(f"weights: expected {sorted(names)}. Received: {sorted(weights)}")
    for weight in model.weights:
        weight.assign(weights[weight.path])
    return model


@cache
def heads(model: SSD) -> Callable[..., tuple[Tensor, Tensor]]:
    """The network up to its two outputs, in its own dtype: a model's outputs are float32."""
    levels = len(LAYOUT.feature_maps)
    flat = [
        model.get_layer(f"head_{level}_{output}_flat").output
        for output in ("deltas", "logits")
        for level in range(levels)
    ]
    inner = keras.Model(model.input, flat)

    def call(images: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        found = inner(images, training=training)
        return ops.concatenate(found[:levels], axis=1), ops.concatenate(found[levels:], axis=1)

    return call


class State(NamedTuple):
    """What the network says of a batch, its loss, and the gradient of that by every weight.

    Attributes:
        deltas: (B, A, 4).
        logits: (B, A, C + 1).
        loss: `multibox.MultiBox`.
        gradients: In the order of the model's trainable weights.
    """

    deltas: Tensor
    logits: Tensor
    loss: multibox.MultiBox
    gradients: Sequence[Tensor]


def evaluate(
    model: SSD,
    images: Tensor,
    target_deltas: Tensor,
    target_labels: Tensor,
    *,
    training: bool = False,
) -> State:
    """The state of a model, by automatic differentiation.

    Args:
        model: Of `network`.
        images: (B, H, W, 3) in the model's dtype.
        target_deltas: (B, A, 4) in that dtype.
        target_labels: (B, A).
        training: Whether batch normalisation takes the statistics of the batch.
    """
    call, weights = heads(model), model.trainable_variables

    def loss_of(*values: Tensor) -> tuple[Tensor, Tensor, multibox.MultiBox]:
        with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
            deltas, logits = call(images, training=training)
            loss = multibox.multibox(deltas, logits, target_deltas, target_labels, CONVENTION)
        return deltas, logits, loss

    values = [ops.convert_to_tensor(ops.convert_to_numpy(weight)) for weight in weights]
    by_weights = gradients(lambda *values: loss_of(*values)[2].total)(*values)
    return State(*loss_of(*values), by_weights)


def train(model: SSD, images: np.ndarray, objects: Mapping[str, np.ndarray]) -> list[float]:
    """The losses of ten steps, the ordinary way; the model is trained by it."""
    model.compile(keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM))
    losses = []
    for _ in range(STEPS):
        model.reset_metrics()  # `train_on_batch` says the mean since
        losses.append(float(model.train_on_batch(images, dict(objects), return_dict=True)["loss"]))
    return losses


def train_in_float64(
    model: SSD,
    images: Tensor,
    target_deltas: Tensor,
    target_labels: Tensor,
    watch: Callable[[], None] = lambda: None,
) -> list[float]:
    """The same of a float64 model, with the optimiser written out.

    Args:
        model: Of `network`; it is trained by it.
        images: Of `evaluate`.
        target_deltas: Of `evaluate`.
        target_labels: Of `evaluate`.
        watch: Called before each step.

    Returns:
        The losses.
    """
    velocity = [0.0] * len(model.trainable_variables)
    losses = []
    for _ in range(STEPS):
        watch()
        found = evaluate(model, images, target_deltas, target_labels, training=True)
        losses.append(float(found.loss.total))
        heads(model)(images, training=True)  # which moves the running statistics
        for index, weight in enumerate(model.trainable_variables):
            gradient = np.asarray(ops.convert_to_numpy(found.gradients[index]))
            velocity[index] = MOMENTUM * velocity[index] - LEARNING_RATE * gradient
            weight.assign(np.asarray(ops.convert_to_numpy(weight)) + velocity[index])
    return losses
