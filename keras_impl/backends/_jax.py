"""What depends on JAX, in one place; `backends` is the door to it and says what each is for."""

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
    """Nothing to do: on a processor JAX repeats itself."""


def in_mode(function: Callable[..., Any], mode: str, to_numpy: bool = True) -> Callable[..., Any]:
    """As `backends.in_mode`.

    JAX has no 64 bits unless told so, for the process or for a while. Here it has them while an
    argument of that precision is there, so that float32 is checked as users run it.

    Even where nothing is under jit, JAX compiles a loop, and may fuse in it a product with a sum.
    So "eager" is without: each operation by itself, in loops too.
    """
    import jax

    # A partial, so that what is compiled for one caller is not taken from another's cache.
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
    """As `backends.compiled`: JAX compiles a function with what calls it."""
    return function


def gradients(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """As `backends.gradients`."""
    import jax

    def differentiate(*arguments: Any) -> tuple[Any, ...]:
        return tuple(jax.grad(function, argnums=tuple(range(len(arguments))))(*arguments))

    return differentiate
