"""Settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from keras_impl._common.choices import DigitMode
from reference_numpy.checks import check_counts, check_types

__all__ = [
    "INITS",
    "Recipe",
]

Init = Literal["random", "oidv4"]
INITS: tuple[Init, ...] = get_args(Init)


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run; the same recipe gives the same run.

    Attributes:
        digits: Digits per canvas: "1", "1-10", or "both", chosen at random for each canvas.
        alpha: Width multiplier of the network.
        epochs: Number of epochs; each ends with a validation and a checkpoint.
        images: Canvases per epoch, new ones in each epoch; a multiple of `batch`.
        batch: Canvases per step.
        learning_rate: Largest learning rate of Adam. It is reached after the first tenth of an
            epoch and falls along half a cosine to 0 at the end.
        box_weight: Weight of the box loss; the class loss has weight 1.
        validation: Canvases of held-out training digits for the validation after each epoch.
        seed: Seed of the initial weights and the canvases.
        init: Initial weights: "random"; or "oidv4", the backbone and extra maps of that detector,
            whose width is 1, with random heads.
    """

    digits: DigitMode = "both"
    alpha: float = 0.35
    epochs: int = 10
    images: int = 4000
    batch: int = 16
    learning_rate: float = 2e-3
    box_weight: float = 4.0
    validation: int = 200
    seed: int = 0
    init: Init = "random"

    def __post_init__(self) -> None:
        """Validate the fields."""
        check_types(self)
        if self.init == "oidv4" and self.alpha != 1:
            raise ValueError(
                f"alpha: expected 1, the width of init 'oidv4'. Received: {self.alpha}"
            )
        for name in ("epochs", "images", "batch", "validation"):
            check_counts(1, **{name: getattr(self, name)})
        for name in ("alpha", "learning_rate", "box_weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name}: expected a number above 0. Received: {getattr(self, name)}"
                )
        if self.images % self.batch:
            raise ValueError(
                f"images: expected a multiple of batch, {self.batch}. Received: {self.images}"
            )
        if not 0 <= self.seed < 2**32:  # the range of Keras
            raise ValueError(f"seed: expected 0 to {2**32 - 1}. Received: {self.seed}")
