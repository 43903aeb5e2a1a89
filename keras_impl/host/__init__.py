"""Fast matching and detection on the CPU, compiled by numba, without Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_numpy._lazy import lazy

if TYPE_CHECKING:
    from keras_impl.host.detection import (
        detect,
    )
    from keras_impl.host.matching import (
        TargetAssigner,
    )

__all__ = [
    "TargetAssigner",
    "detect",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "detect": "detection",
        "TargetAssigner": "matching",
    },
)
