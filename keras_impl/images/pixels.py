"""What the network sees of an image: its bytes as floats, stretched to one size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reference_numpy.checks import check_counts

__all__ = ["SCALE", "normalise", "prepare"]

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


def prepare(image: Image.Image, size: Sequence[int]) -> NDArray[np.float32]:
    """Make of an image what the network sees.

    Args:
        image: Mode RGB.
        size: (height, width) of the network's input; the image is stretched to it.

    Returns:
        (H, W, 3) in [-1, 1].

    Example:
        >>> float(prepare(Image.new("RGB", (3, 5), (255, 255, 255)), (2, 4)).min())
        1.0
    """
    height, width = size
    check_counts(1, height=height, width=width)
    # A copy: Pillow's own memory is read-only, and gone with the image.
    stretched = image.resize((width, height), Image.Resampling.BILINEAR)
    return normalise(np.array(stretched.convert("RGB")))
