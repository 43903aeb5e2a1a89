"""Data sets, input pipelines and sample photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_numpy._lazy import lazy

if TYPE_CHECKING:
    from keras_impl.data.mnist import (
        load_digits,
    )
    from keras_impl.data.photographs import (
        sample_photographs,
    )
    from keras_impl.data.pipeline import (
        assign_targets,
    )

__all__ = [
    "assign_targets",
    "load_digits",
    "sample_photographs",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "assign_targets": "pipeline",
        "load_digits": "mnist",
        "sample_photographs": "photographs",
    },
)
