"""Types of peers: their description, inputs and outputs."""

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
THREADS = 2  # of peers that take a number of threads
SWAPPED = [1, 0, 3, 2]  # (x, y, x, y) ↔ (y, x, y, x), for boxes and codes


class Peer(NamedTuple):
    """A library that implements operations of SSD.

    Attributes:
        name: The name that `matcher` and `decoder` take.
        needs: Distributions that must be installed, by their names for pip.
        operations: One or both of "matching" and "decoding".
        mode: "host", "eager", "graph", or "xla", a graph compiled by XLA.
        yardstick: Whether this is our own arithmetic, compiled, instead of a library.
        as_used: Whether users run it this way on a CPU.
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
        labels: (B, A) integers, 0 for background.
        deltas: (B, A, 4) code of the anchor's object, 0 for background.
        objects: (B, A) index of the anchor's object, -1 for background; None if a peer does not
            return it.
    """

    labels: Array
    deltas: Array
    objects: Array | None


class Found(NamedTuple):
    """Detections of one image, highest score first.

    Attributes:
        boxes: (K, 4) xyxy.
        scores: (K,) probability of the class.
        labels: (K,) class, from 1 on.
    """

    boxes: Array
    scores: Array
    labels: Array


Matcher = Callable[[Array, Array], Matched]
Decoder = Callable[[Array, Array], list[Found]]


class Heads(NamedTuple):
    """Anchors and settings of a decoder, with coordinates in the order of the codes.

    For codes (ty, tx, th, tw) the anchors and boxes are (y, x, y, x) too. Suppression does not
    depend on that order, so only the kept boxes are reordered at the end, instead of all codes at
    the beginning.
    """

    anchors: Floats  # cxcywh
    variances: tuple[float, ...]
    softmax: bool
    candidates: int
    order: list[int]  # from the order of the code to (xmin, ymin, xmax, ymax)

    @classmethod
    def of(cls, anchors: Floats, convention: Convention) -> Heads:
        """Make the settings for the heads of a convention."""
        order = SWAPPED if convention.coding.code_order == "yxhw" else [0, 1, 2, 3]
        most = convention.detection.candidates_per_class
        return cls(
            np.ascontiguousarray(anchors[:, order]),
            tuple(convention.coding.variances[place] for place in order),
            convention.loss.class_loss == "softmax",
            len(anchors) if most is None else most,
            order,
        )
