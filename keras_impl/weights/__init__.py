"""Read, write and fetch weights: .npz files, published files, LiteRT files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_numpy._lazy import lazy

if TYPE_CHECKING:
    from keras_impl.weights.installing import (
        install,
    )
    from keras_impl.weights.npz import (
        load_model,
        read_weights,
        save_weights,
    )
    from keras_impl.weights.published import (
        weights_file,
    )

__all__ = [
    "install",
    "load_model",
    "read_weights",
    "save_weights",
    "weights_file",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "install": "installing",
        "load_model": "npz",
        "read_weights": "npz",
        "save_weights": "npz",
        "weights_file": "published",
    },
)
