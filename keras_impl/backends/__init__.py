"""Functions that depend on the Keras backend, which KERAS_BACKEND selects.

Each function calls the module of the backend in use: `_tensorflow`, `_jax` or `_torch`. These
modules import their framework only when a function needs it. Features that a single backend has
are not offered here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

__all__ = [
    "NO_FUSING",
    "backend",
    "compiled",
    "compiler",
    "fuses",
    "gradients",
    "in_mode",
    "make_deterministic",
    "modes",
]

# A value for XLA_FLAGS: AVX has no fused multiply-add, so XLA cannot use one.
NO_FUSING = "--xla_cpu_max_isa=AVX"


def backend() -> str:
    """Return the name of the Keras backend: "tensorflow", "jax" or "torch"."""
    import keras

    return str(keras.backend.backend())


def _this() -> ModuleType:
    """Import and return the module of the backend in use."""
    name = backend()
    if name == "tensorflow":
        from keras_impl.backends import _tensorflow

        return _tensorflow
    if name == "jax":
        from keras_impl.backends import _jax

        return _jax
    if name == "torch":
        from keras_impl.backends import _torch

        return _torch
    raise ValueError(f"KERAS_BACKEND: expected 'tensorflow', 'jax' or 'torch'. Received: {name!r}")


def modes() -> tuple[str, ...]:
    """Return the execution modes of the backend, the simplest first.

    ("eager", "graph", "xla") on TensorFlow, ("eager", "jit") on JAX, ("eager",) on PyTorch.
    """
    return tuple(_this().MODES)


def compiler() -> str | None:
    """Return the mode in which XLA compiles (and may fuse multiply and add); None without XLA."""
    return _this().COMPILER


def in_mode(
    function: Callable[..., Any], mode: str, *, to_numpy: bool = True
) -> Callable[..., Any]:
    """Wrap a function so that it runs in one mode: eagerly, as a graph, or compiled by XLA.

    Args:
        function: Takes tensors and returns a tensor or a nested structure of tensors.
        mode: One of `modes()`.
        to_numpy: Whether results are copied to NumPy. Otherwise they stay on the device.

    Returns:
        A function of NumPy arrays that returns NumPy arrays once they are computed. A compiled
        mode compiles at the first call for each combination of argument shapes and dtypes.
        Arguments keep their dtype on every backend: JAX enables 64 bits if an argument is
        float64.

    Raises:
        ValueError: The mode is unknown.

    Example:
        >>> import numpy as np
        >>> in_mode(lambda x: x + x, modes()[-1])(np.float32(2)).item()
        4.0
    """
    if mode not in modes():
        raise ValueError(
            f"mode: expected one of {list(modes())} with Keras on {backend()}. Received: {mode!r}"
        )
    return _this().in_mode(function, mode, to_numpy)


def fuses(mode: str) -> bool:
    """Check whether this mode fuses multiply and add, which rounds once instead of twice."""
    a, b, c = np.random.default_rng(0).normal(size=(3, 256)).astype(np.float32)
    return not np.array_equal(in_mode(lambda a, b, c: a * b + c, mode)(a, b, c), a * b + c)


def gradients(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Return a function that computes the gradients of a scalar function for each argument.

    It works in every mode. An argument that does not affect the value has gradient 0.

    Example:
        >>> from keras import ops
        >>> by_x, by_y = gradients(lambda x, y: x * y)(ops.array(2.0), ops.array(3.0))
        >>> float(by_x), float(by_y)
        (3.0, 2.0)
    """
    return _this().gradients(function)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that XLA compiles it where a graph calls it.

    An eager call runs the function unchanged. Only TensorFlow compiles a part of a graph
    separately; JAX compiles the function with its caller, PyTorch does not compile it.

    Example:
        >>> from keras import ops
        >>> float(compiled(lambda x: x + x)(ops.array(2.0)))
        4.0
    """
    return _this().compiled(function)


def make_deterministic() -> None:
    """Make training reproducible bit for bit on the same machine; call it before anything else.

    Raises:
        RuntimeError: TensorFlow has already started, so its threads can no longer be configured.
    """
    _this().make_deterministic()
