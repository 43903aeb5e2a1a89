"""Prepare images for the network: stretch them to its size and scale bytes to [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reference_numpy.checks import check_counts

__all__ = ["SCALE", "normalise", "prepare"]

# Graph compilers turn x / 127.5 into x * (1 / 127.5), which differs in the last bit. Multiplying by
# the stored reciprocal gives the same float32 everywhere, and exactly -1 and 1 for 0 and 255.
SCALE = np.float32(1 / 127.5)


def normalise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale bytes to [-1, 1], the input range of the network.

    Example:
        >>> normalise(np.array([0, 255], np.uint8))
        array([-1.,  1.], dtype=float32)
    """
    kind = getattr(images, "dtype", type(images).__name__)
    if kind != np.uint8:
        raise ValueError(f"images: expected uint8. Received: {kind}")
    return images.astype(np.float32) * SCALE - np.float32(1)


def prepare(image: Image.Image, size: Sequence[int]) -> NDArray[np.float32]:
    """Prepare an image for the network.

    Args:
        image: Image of mode RGB.
        size: (height, width) of the network's input, to which the image is stretched.

    Returns:
        (H, W, 3) in [-1, 1].

    Example:
        >>> float(prepare(Image.new("RGB", (3, 5), (255, 255, 255)), (2, 4)).min())
        1.0
    """
    height, width = size
    check_counts(1, height=height, width=width)
    # A copy, because Pillow's own memory is read-only and freed with the image.
    stretched = image.resize((width, height), Image.Resampling.BILINEAR)
    return normalise(np.array(stretched.convert("RGB")))
