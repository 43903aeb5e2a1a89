"""How the golden state is computed by Keras, on any backend and in float32 or float64.

`evaluate` is a function of all numbers of the network, which `keras_impl.backends` runs in any
mode. `train` is what a user does, `compile` and `train_on_batch`; `train_by_hand` is the same by
`evaluate` with the optimiser written out, which the golden losses come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_impl.backends import gradients, in_mode
from keras_impl.models.ssd import SSD
from keras_impl.ops import multibox
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

__all__ = ["State", "evaluate", "heads", "network", "train", "train_by_hand"]

Tensor = Any
Arrays = dict[str, np.ndarray]


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

    def call(images: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        found = inner(images, training=training)
        return ops.concatenate(found[:levels], axis=1), ops.concatenate(found[levels:], axis=1)

    return call


class State(NamedTuple):
    """What the network says of a batch, its loss, and what a step of training needs of it.

    Attributes:
        deltas: (B, A, 4).
        logits: (B, A, C + 1).
        loss: `multibox.MultiBox`.
        gradients: Of its total, by each trainable weight.
        running: The running statistics afterwards.
    """

    deltas: Any
    logits: Any
    loss: multibox.MultiBox
    gradients: Any
    running: Any


@cache
def _evaluation(model: SSD, training: bool, mode: str) -> Callable[..., Any]:
    call = heads(model)
    weights, statistics = model.trainable_variables, model.non_trainable_variables

    def everything(images: Tensor, deltas: Tensor, labels: Tensor, *numbers: Tensor) -> State:
        by_hand = numbers[len(weights) :]

        def loss_of(*values: Tensor) -> tuple[Any, ...]:
            mapping = list(zip((*weights, *statistics), (*values, *by_hand), strict=True))
            with keras.StatelessScope(state_mapping=mapping) as scope:
                found = call(images, training)
                loss = multibox.multibox_loss(*found, deltas, labels, CONVENTION)
                after = [scope.get_current_value(one) for one in statistics]
            return (*found, loss, after)

        values = numbers[: len(weights)]
        by_weights = gradients(lambda *values: loss_of(*values)[2].total)(*values)
        said, logits, loss, after = loss_of(*values)
        return State(said, logits, loss, by_weights, after)

    return in_mode(everything, mode)


def evaluate(
    model: SSD,
    numbers: Mapping[str, np.ndarray],
    batch: Sequence[np.ndarray],
    *,
    training: bool = False,
    mode: str,
) -> State:
    """The state of a network, by automatic differentiation.

    Args:
        model: Of `network`; its own weights are not looked at.
        numbers: All weights by name, in the model's dtype.
        batch: Images (B, H, W, 3), target deltas (B, A, 4) in that dtype, labels (B, A).
        training: Whether batch normalisation takes the statistics of the batch.
        mode: Of `keras_impl.backends.modes`.

    Returns:
        `State` in NumPy, the gradients and running statistics by name.
    """
    names = [one.path for one in (*model.trainable_variables, *model.non_trainable_variables)]
    found = _evaluation(model, training, mode)(*batch, *(numbers[name] for name in names))
    *parts, by_weights, after = found
    kept = len(model.trainable_variables)
    return State(
        *parts,
        dict(zip(names[:kept], by_weights, strict=True)),
        dict(zip(names[kept:], after, strict=True)),
    )


def train(model: SSD, images: np.ndarray, objects: Mapping[str, np.ndarray]) -> list[float]:
    """The losses of ten steps, the ordinary way; the model is trained by it."""
    model.compile(keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM))
    losses = []
    for _ in range(STEPS):
        model.reset_metrics()  # `train_on_batch` says the mean since
        losses.append(float(model.train_on_batch(images, dict(objects), return_dict=True)["loss"]))
    return losses


def train_by_hand(
    model: SSD,
    numbers: Mapping[str, np.ndarray],
    batch: Sequence[np.ndarray],
    *,
    mode: str,
    unsettle: Callable[[Arrays], Arrays] = lambda numbers: numbers,
) -> tuple[list[Arrays], list[float]]:
    """The same from `numbers` on, with the optimiser written out.

    Args:
        model: Of `evaluate`.
        numbers: Of `evaluate`.
        batch: Of `evaluate`.
        mode: Of `evaluate`.
        unsettle: What becomes of the weights before each look at them; the step is made on those
            that it was given.

    Returns:
        All weights before each step and after the last, and the losses.
    """
    now = dict(numbers)
    velocity: dict[str, Any] = dict.fromkeys(
        (weight.path for weight in model.trainable_variables), 0.0
    )
    history, losses = [now], []
    for _ in range(STEPS):
        found = evaluate(model, unsettle(now), batch, training=True, mode=mode)
        losses.append(float(found.loss.total))
        for name, gradient in found.gradients.items():
            velocity[name] = MOMENTUM * velocity[name] - LEARNING_RATE * gradient
        now = {**now, **found.running, **{name: now[name] + velocity[name] for name in velocity}}
        history.append(now)
    return history, losses
