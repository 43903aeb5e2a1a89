"""The one door to what depends on the backend of Keras, which KERAS_BACKEND names.

Behind it stand `_tensorflow`, `_jax` and `_torch`, each the only place that imports its framework,
and only when asked. What but one of them can do is not offered here.
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

# For XLA_FLAGS: processors of that age have no fused multiply-add.
NO_FUSING = "--xla_cpu_max_isa=AVX"


def backend() -> str:
    """The backend that Keras runs on: "tensorflow", "jax" or "torch"."""
    import keras

    return str(keras.backend.backend())


def _this() -> ModuleType:
    """The module of this process' backend."""
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
    """The ways to run a function in this process, the plainest first.

    ("eager", "graph", "xla") on TensorFlow, ("eager", "jit") on JAX, ("eager",) on PyTorch.
    """
    return tuple(_this().MODES)


def compiler() -> str | None:
    """The mode in which XLA compiles, and may fuse a product with a sum; None without XLA."""
    return _this().COMPILER


def in_mode(
    function: Callable[..., Any], mode: str, *, to_numpy: bool = True
) -> Callable[..., Any]:
    """Run a function of tensors the way a user might: eagerly, as a graph, or compiled by XLA.

    Args:
        function: Takes tensors, returns a tensor or a nest of them.
        mode: One of `modes()`.
        to_numpy: Whether what comes back is copied to NumPy, or stays on the device.

    Returns:
        A function of NumPy arrays that returns NumPy arrays, when they are all there. What is
        compiled is compiled at the first call with arguments of given shapes and dtypes.
        Arguments keep their dtype on every backend: JAX counts in 64 bits while one of the
        arguments has them.

    Raises:
        ValueError: An unknown mode.

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
    """Whether in this mode, in this process, a product and a sum are rounded once, not twice."""
    a, b, c = np.random.default_rng(0).normal(size=(3, 256)).astype(np.float32)
    return not np.array_equal(in_mode(lambda a, b, c: a * b + c, mode)(a, b, c), a * b + c)


def gradients(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """The derivatives of a scalar function of tensors by each of them, in every mode.

    An argument that the value does not depend on has derivative 0.

    Example:
        >>> from keras import ops
        >>> by_x, by_y = gradients(lambda x, y: x * y)(ops.array(2.0), ops.array(3.0))
        >>> float(by_x), float(by_y)
        (3.0, 2.0)
    """
    return _this().gradients(function)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors that XLA compiles where a graph calls it.

    Eagerly it runs as it is. Only in TensorFlow is a part of a graph compiled by itself; on other
    backends it is compiled with what calls it, or not at all.

    Example:
        >>> from keras import ops
        >>> float(compiled(lambda x: x + x)(ops.array(2.0)))
        4.0
    """
    return _this().compiled(function)


def make_deterministic() -> None:
    """Make training repeat itself bit for bit on the same machine; call it before anything else.

    Raises:
        RuntimeError: TensorFlow has started already, so its threads cannot be set any more.
    """
    _this().make_deterministic()
