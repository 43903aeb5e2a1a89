"""The golden state of a tiny SSD: what is in it, and how it is read. NumPy alone.

`golden()` gives, by name:

- `weights/NAME`, by the names that `reference_numpy.ssd` takes, every one a float16 number;
- `images` (B, H, W, 3), `boxes` (B, M, 4) and `labels` (B, M) of the objects, -1 where padded;
- `target_labels` (B, A) and `target_deltas` (B, A, 4);
- `deltas` (B, A, 4) and `logits` (B, A, C + 1), with the running statistics;
- `total`, `class_loss`, `box_loss`, `positives`, and the masks (B, A) `counted` and `negatives`;
- `gradients/NAME`, of the total by every trainable weight, with the running statistics;
- `losses` (STEPS,), the totals of ten steps of SGD with momentum on this one batch, with the
  statistics of the batch, as in training; and `after/NAME`, the running statistics after these.

What is not a whole number was computed in float64 and rounded once, to float32. In the file
`tiny_ssd.npz` each of the three groups is one long array, and `index` (JSON) says what is in it.
`make_tiny_ssd.py` makes it; `tiny_ssd.json` says how it was made, and which bytes it must have.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from reference_numpy.conventions import CANONICAL, AnchorLayout

__all__ = [
    "ALPHA",
    "CLASSES",
    "CONVENTION",
    "FILE",
    "LAYOUT",
    "LEARNING_RATE",
    "MOMENTUM",
    "PROVENANCE",
    "STATISTICS_MOMENTUM",
    "STEPS",
    "golden",
    "packed",
    "part",
    "reference_weights",
]

FILE = Path(__file__).with_name("tiny_ssd.npz")
PROVENANCE = FILE.with_suffix(".json")
GROUPS = ("weights", "gradients", "after")

# Not square, so that rows and columns cannot change places unseen. The maps are the backbone's of
# stride 8 and 16: the last convolution, which stride 32 needs, has 1280 channels at any width.
LAYOUT = AnchorLayout(
    "tiny", (32, 48), ((4, 6), (2, 3)), (0.3, 0.6, 0.9), ((2.0,), (0.5,)), extra_square="none"
)
CLASSES = 3
ALPHA = 0.05  # every map that is not widened has 8 channels
CONVENTION = CANONICAL.replace(layout=LAYOUT, box_weight=2.0, min_negatives=2)

STEPS = 10
LEARNING_RATE, MOMENTUM = 0.0001, 0.9
STATISTICS_MOMENTUM = 0.9  # of the running statistics, which so move in ten steps


@cache
def golden() -> dict[str, np.ndarray]:
    """All arrays by name, read-only.

    Raises:
        ValueError: The file is not the one whose making is written down.
    """
    data = FILE.read_bytes()
    wanted = json.loads(PROVENANCE.read_text(encoding="utf-8"))["sha256"]
    if (found := hashlib.sha256(data).hexdigest()) != wanted:
        raise ValueError(f"{FILE.name}: expected the SHA-256 {wanted}. Received: {found}")
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays = unpacked({name: stored[name] for name in stored.files})
    for name, value in arrays.items():
        if value.dtype == np.float16:
            arrays[name] = value.astype(np.float32)
        arrays[name].flags.writeable = False
    return arrays


def packed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a group one after the other: a file of 400 arrays is half headers."""
    stored = {name: value for name, value in arrays.items() if "/" not in name}
    index = {}
    for group in GROUPS:
        members = part(group, arrays)
        stored[group] = np.concatenate([value.ravel() for value in members.values()])
        index[group] = {name: value.shape for name, value in members.items()}
    stored["index"] = np.array(json.dumps(index))
    return stored


def unpacked(stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `packed`."""
    arrays = dict(stored)
    for group, shapes in json.loads(str(arrays.pop("index"))).items():
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
        pieces = np.split(arrays.pop(group), ends[:-1])
        for (name, shape), piece in zip(shapes.items(), pieces, strict=True):
            arrays[f"{group}/{name}"] = piece.reshape(shape)
    return arrays


def part(prefix: str, arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    """The arrays whose names begin with "PREFIX/", without it, in the order of their names."""
    arrays = golden() if arrays is None else arrays
    start = f"{prefix}/"
    return {name[len(start) :]: arrays[name] for name in sorted(arrays) if name.startswith(start)}


def reference_weights(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same in float64, and zeros for what this network ends before.

    `reference_numpy.mobilenet_v2` always goes to its last map, though nothing here reads it.
    """
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    kernels = {"Conv_1": (1, 1, 8, 8)}
    for block in (13, 14, 15, 16):
        kernels[f"block_{block}_expand"] = (1, 1, 8, 48)
        kernels[f"block_{block}_depthwise"] = (3, 3, 48, 1)
        kernels[f"block_{block}_project"] = (1, 1, 48, 8)
    rest = {}
    for name, shape in kernels.items():
        norm = "Conv_1_bn" if name == "Conv_1" else f"{name}_BN"
        channels = shape[2] if shape[3] == 1 else shape[3]
        rest[f"{name}/kernel"] = np.zeros(shape)
        for part_, number in (
            ("gamma", 1),
            ("beta", 0),
            ("moving_mean", 0),
            ("moving_variance", 1),
        ):
            rest[f"{norm}/{part_}"] = np.full(channels, float(number))
    return {**rest, **wide}
