"""Everything that decides what a run becomes."""

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
    """Everything that decides what a run becomes.

    Attributes:
        digits: Digits on a canvas: "1", "1-10", or "both" (a fair coin for each canvas).
        alpha: Width multiplier of the network.
        epochs: Epochs; an epoch is only the beat of validation and checkpoints.
        images: Canvases an epoch, composed anew for each; a multiple of `batch`.
        batch: Canvases a step.
        learning_rate: Of Adam at its height, after the first tenth of an epoch; it falls
            along half a cosine to 0 at the end.
        box_weight: Weight of the box loss beside the class loss.
        validation: Canvases of held-out training digits that are looked at after each epoch.
        seed: Of weights and canvases.
        init: What the weights are to begin with: "random"; or "oidv4", backbone and extra maps of
            the Open Images detector, whose width is 1, and random heads.
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
        """Refuse what cannot be trained."""
        check_types(self)
        if self.init == "oidv4" and self.alpha != 1:
            raise ValueError(
                f"alpha: expected 1 with init 'oidv4', whose width it is. Received: {self.alpha}"
            )
        for name in ("epochs", "images", "batch", "validation"):
            check_counts(1, **{name: getattr(self, name)})
        for name in ("alpha", "learning_rate", "box_weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected above 0. Received: {getattr(self, name)}")
        if self.images % self.batch:
            raise ValueError(
                f"images: expected a multiple of batch, {self.batch}. Received: {self.images}"
            )
        if not 0 <= self.seed < 2**32:  # as Keras wants it
            raise ValueError(f"seed: expected 0 to {2**32 - 1}. Received: {self.seed}")
