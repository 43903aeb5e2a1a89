"""What a peer is asked for, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_impl._common.arrays import Array
from reference_numpy.conventions import Convention

__all__ = [
    "Found",
    "Heads",
    "Matched",
    "Peer",
]

Floats = NDArray[np.float32]
SWAPPED = [1, 0, 3, 2]  # (x, y, x, y) ↔ (y, x, y, x), and codes alike


class Peer(NamedTuple):
    """Somebody who does what SSD needs.

    Attributes:
        name: As `matcher` and `decoder` know it.
        needs: Distributions that must be installed, as pip names them.
        operations: What it does of "matching" and "decoding".
        mode: How it runs: "host", "eager", "graph", or "xla", a graph that XLA compiles.
        yardstick: Whether it is our own arithmetic, compiled, and nobody's product.
        as_used: Whether its users run it so on a CPU.
    """

    name: str
    needs: tuple[str, ...]
    operations: tuple[str, ...]
    mode: str
    yardstick: bool = False
    as_used: bool = True


class Matched(NamedTuple):
    """Targets of B images with A anchors, as in `reference_numpy.targets`.

    Attributes:
        labels: (B, A) whole numbers, 0 for background.
        deltas: (B, A, 4) code of the anchor's object, 0 without one.
        objects: (B, A) index of the anchor's object, or -1.
    """

    labels: Array
    deltas: Array
    objects: Array


class Found(NamedTuple):
    """Detections of one image, highest score first.

    Attributes:
        boxes: (K, 4) xyxy.
        scores: (K,) probability of the class.
        labels: (K,) class from 1.
    """

    boxes: Array
    scores: Array
    labels: Array


Matcher = Callable[[Array, Array], Matched]
Decoder = Callable[[Array, Array], list[Found]]


class Heads(NamedTuple):
    """What a decoder has to know, in the order of the code, which no suppression minds.

    Where codes are (ty, tx, th, tw), anchors and boxes are (y, x, y, x): only what is kept has to
    be turned round at the end, not all codes at the beginning.
    """

    anchors: Floats  # cxcywh
    variances: tuple[float, ...]
    softmax: bool
    candidates: int
    order: list[int]  # from the order of the code to (xmin, ymin, xmax, ymax)

    @classmethod
    def of(cls, anchors: Floats, convention: Convention) -> Heads:
        """Of a convention's heads."""
        order = SWAPPED if convention.coding.code_order == "yxhw" else [0, 1, 2, 3]
        most = convention.detection.candidates_per_class
        return cls(
            np.ascontiguousarray(anchors[:, order]),
            tuple(convention.coding.variances[place] for place in order),
            convention.loss.class_loss == "softmax",
            len(anchors) if most is None else most,
            order,
        )
