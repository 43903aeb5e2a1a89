"""Type aliases that all packages share."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

__all__ = ["Array", "Arrays", "Tensor"]

Array = NDArray[Any]
Arrays = tuple[Array, ...]
Tensor = Any  # a tensor of Keras' backend
