"""The functions of `backends` for JAX; they are documented there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

__all__ = ["COMPILER", "MODES", "compiled", "gradients", "in_mode", "make_deterministic"]

MODES = ("eager", "jit")
COMPILER = "jit"


def make_deterministic() -> None:
    """Do nothing: on a CPU, JAX is deterministic."""


def in_mode(function: Callable[..., Any], mode: str, to_numpy: bool = True) -> Callable[..., Any]:
    """Implement `backends.in_mode`.

    JAX uses 64 bits only if they are enabled. They are enabled here only for calls with a float64
    argument, so that float32 is tested as users run it.

    JAX compiles loops even outside `jit`, and may fuse multiply and add in them. So "eager"
    disables `jit`: each operation runs by itself, in loops too.
    """
    import jax

    # A new partial has a cache of its own, so that callers do not share compiled code.
    run = jax.jit(partial(function)) if mode == "jit" else function

    def call(*arguments: Any) -> Any:
        wide = any(np.dtype(one.dtype) == np.float64 for one in map(_as_array, arguments))
        with jax.enable_x64(wide), jax.disable_jit(mode == "eager"):
            tensors = [keras.ops.convert_to_tensor(one) for one in arguments]
            found = run(*tensors)
            return jax.tree.map(keras.ops.convert_to_numpy, found) if to_numpy else found

    return call


def _as_array(argument: Any) -> Any:
    return argument if hasattr(argument, "dtype") else np.asarray(argument)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Implement `backends.compiled`: JAX compiles a function together with its caller."""
    return function


def gradients(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Implement `backends.gradients`."""
    import jax

    def differentiate(*arguments: Any) -> tuple[Any, ...]:
        return tuple(jax.grad(function, argnums=tuple(range(len(arguments))))(*arguments))

    return differentiate
