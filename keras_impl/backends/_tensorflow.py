"""The functions of `backends` for TensorFlow, and the loading of SavedModels."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import keras

__all__ = [
    "COMPILER",
    "MODES",
    "compiled",
    "gradients",
    "in_mode",
    "load_saved_model",
    "make_deterministic",
]

MODES = ("eager", "graph", "xla")
COMPILER = "xla"


def make_deterministic() -> None:
    """Implement `backends.make_deterministic`.

    Seeds alone are not enough:

    - With two operations running at once (inter-op parallelism), weights differed between runs
      after ten steps. So operations run one at a time, each on all cores.
    - TensorFlow's graph optimiser (Grappler) then still rewrote the same graph in one of two
      ways, depending on the memory layout of the process, and runs differed from the first step
      on. So it is disabled.

    Raises:
        RuntimeError: TensorFlow has already started, so its threads can no longer be configured.
    """
    import tensorflow as tf

    if tf.config.threading.get_inter_op_parallelism_threads() != 1:
        try:
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError as error:
            raise RuntimeError(
                "make_deterministic: expected to be called before TensorFlow runs anything. "
                f"Received: {error}"
            ) from None
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tf.config.experimental.enable_op_determinism()


def in_mode(function: Callable[..., Any], mode: str, to_numpy: bool = True) -> Callable[..., Any]:
    """Implement `backends.in_mode`."""
    import tensorflow as tf

    # TensorFlow counts traces per function and warns of many; a new partial starts a new count.
    compiled = tf.function(partial(function), jit_compile=mode == "xla")
    run = function if mode == "eager" else compiled

    def call(*arguments: Any) -> Any:
        tensors = [tf.convert_to_tensor(argument) for argument in arguments]
        found = run(*tensors)
        return tf.nest.map_structure(keras.ops.convert_to_numpy, found) if to_numpy else found

    return call


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Implement `backends.compiled`: TensorFlow compiles a part of a graph separately."""
    import tensorflow as tf

    by_xla = tf.function(partial(function), jit_compile=True, autograph=False)

    def call(*arguments: Any) -> Any:
        return function(*arguments) if tf.executing_eagerly() else by_xla(*arguments)

    return call


def gradients(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Implement `backends.gradients`."""
    import tensorflow as tf

    def differentiate(*arguments: Any) -> tuple[Any, ...]:
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = function(*arguments)
        return tuple(tape.gradient(value, arguments, unconnected_gradients="zero"))

    return differentiate


def load_saved_model(path: str | os.PathLike[str]) -> Callable[[Any], dict[str, Any]]:
    """Load a SavedModel exported by Keras as a function of NumPy arrays.

    A SavedModel contains a graph that will be executed: load only files from sources you trust.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(os.fspath(path))

    def run(images: Any) -> dict[str, Any]:
        (specs,) = loaded.serve.input_signature
        step = specs.shape[0] or len(images)
        parts = [
            loaded.serve(tf.convert_to_tensor(images[at : at + step]))
            for at in range(0, len(images), step)
        ]
        return {
            name: tf.concat([part[name] for part in parts], axis=0).numpy() for name in parts[0]
        }

    return run
