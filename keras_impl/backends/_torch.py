"""The functions of `backends` for PyTorch; they are documented there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

__all__ = ["COMPILER", "MODES", "compiled", "gradients", "in_mode", "make_deterministic"]

MODES = ("eager",)
COMPILER = None


def make_deterministic() -> None:
    """Make PyTorch raise an error for operations that are not deterministic."""
    import torch

    torch.use_deterministic_algorithms(True)


def in_mode(function: Callable[..., Any], mode: str, to_numpy: bool = True) -> Callable[..., Any]:
    """Implement `backends.in_mode`, without recording operations for gradients."""
    import torch

    def call(*arguments: Any) -> Any:
        with torch.no_grad():
            # Copy arrays: PyTorch would share their memory, and warns if an array is read-only.
            tensors = [
                keras.ops.convert_to_tensor(one if torch.is_tensor(one) else np.array(one))
                for one in arguments
            ]
            found = function(*tensors)
            copy = keras.ops.convert_to_numpy
            return keras.tree.map_structure(copy, found) if to_numpy else found

    return call


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Implement `backends.compiled`: nothing is compiled."""
    return function


def gradients(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Implement `backends.gradients`."""
    import torch

    def differentiate(*arguments: Any) -> tuple[Any, ...]:
        with torch.enable_grad():
            leaves = [one.detach().clone().requires_grad_() for one in arguments]
            value = function(*leaves)
            return tuple(torch.autograd.grad(value, leaves, materialize_grads=True))

    return differentiate
