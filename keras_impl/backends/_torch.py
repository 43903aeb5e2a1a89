"""What depends on PyTorch, in one place; `backends` is the door to it and says what each is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

__all__ = ["COMPILER", "MODES", "compiled", "gradients", "in_mode", "make_deterministic"]

MODES = ("eager",)
COMPILER = None


def make_deterministic() -> None:
    """Refuse operations that do not repeat themselves bit for bit."""
    import torch

    torch.use_deterministic_algorithms(True)


def in_mode(function: Callable[..., Any], mode: str, to_numpy: bool = True) -> Callable[..., Any]:
    """As `backends.in_mode`, without the record that PyTorch keeps for gradients."""
    import torch

    def call(*arguments: Any) -> Any:
        with torch.no_grad():
            # A copy: PyTorch would share an array's memory, and warns of one that is read-only.
            tensors = [
                keras.ops.convert_to_tensor(one if torch.is_tensor(one) else np.array(one))
                for one in arguments
            ]
            found = function(*tensors)
            copy = keras.ops.convert_to_numpy
            return keras.tree.map_structure(copy, found) if to_numpy else found

    return call


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `backends.compiled`: nothing is compiled."""
    return function


def gradients(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """As `backends.gradients`."""
    import torch

    def differentiate(*arguments: Any) -> tuple[Any, ...]:
        with torch.enable_grad():
            leaves = [one.detach().clone().requires_grad_() for one in arguments]
            value = function(*leaves)
            return tuple(torch.autograd.grad(value, leaves, materialize_grads=True))

    return differentiate
