"""Open image files, prepare images for the network, and draw detections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_numpy._lazy import lazy

if TYPE_CHECKING:
    from keras_impl.images.pixels import (
        prepare,
    )
    from keras_impl.images.reading import (
        open_image,
    )

__all__ = [
    "open_image",
    "prepare",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "open_image": "reading",
        "prepare": "pixels",
    },
)
