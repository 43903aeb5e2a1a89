"""Train and evaluate digit detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_numpy._lazy import lazy

if TYPE_CHECKING:
    from keras_impl.training.digits import (
        train_digits,
        warm_start,
    )
    from keras_impl.training.evaluation import (
        evaluate_digits,
    )
    from keras_impl.training.recipe import (
        Recipe,
    )

__all__ = [
    "Recipe",
    "evaluate_digits",
    "train_digits",
    "warm_start",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "evaluate_digits": "evaluation",
        "Recipe": "recipe",
        "train_digits": "digits",
        "warm_start": "digits",
    },
)
