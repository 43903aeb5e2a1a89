"""Bytes of an image as the network's floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Graph compilers turn x / 127.5 into x * (1 / 127.5), another number in the last bit. Stored,
# the reciprocal gives the same float32 everywhere, and 0 and 255 exactly -1 and 1.
SCALE = np.float32(1 / 127.5)


def normalise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Map bytes to [-1, 1], the network's input range, keeping the shape.

    Example:
        >>> normalise(np.array([0, 255], np.uint8))
        array([-1.,  1.], dtype=float32)
    """
    kind = getattr(images, "dtype", type(images).__name__)
    if kind != np.uint8:
        raise ValueError(f"images: expected uint8. Received: {kind}")
    return images.astype(np.float32) * SCALE - np.float32(1)
