"""Check any SSD implementation against the reference, with NumPy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_numpy._lazy import lazy

if TYPE_CHECKING:
    from keras_impl.conformance.batching import (
        per_image,
    )
    from keras_impl.conformance.suite import (
        Deviation,
        Implementation,
        Offer,
        check,
    )

__all__ = [
    "Deviation",
    "Implementation",
    "Offer",
    "check",
    "per_image",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "check": "suite",
        "Deviation": "suite",
        "Implementation": "suite",
        "Offer": "suite",
        "per_image": "batching",
    },
)
