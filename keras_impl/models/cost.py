"""Count the parameters and multiply-adds of each part of a detector.

    python -m keras_impl.models.cost --layout ssdlite320 --classes 90 --head ssdlite

prints them as a table; docs/architecture.md explains the numbers.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
from keras import layers

from keras_impl.models.heads import HEADS
from keras_impl.models.ssd import SSD
from reference_numpy.conventions import LAYOUTS

__all__ = ["Part", "describe", "multiply_adds"]


class Part(NamedTuple):
    """Parameters and multiply-adds of one part of a network.

    Attributes:
        name: "backbone", "extra maps", "heads" or "total".
        parameters: Number of weights, running batch statistics included.
        trainable: Number of trainable weights.
        multiply_adds: Multiply-adds of the convolutions for one image.
    """

    name: str
    parameters: int
    trainable: int
    multiply_adds: int


def multiply_adds(model: keras.Model) -> int:
    """Count the multiply-adds for one image, in convolutions and dense layers only.

    Each kernel weight counts once for each position of the layer's output. Positions where the
    kernel reaches beyond the border count in full, as usual.

    Args:
        model: A functional model with a fixed input size.

    Returns:
        The number of multiply-adds.

    Raises:
        ValueError: A layer's output size is not fixed.

    Example:
        >>> x = keras.Input((8, 8, 3))
        >>> multiply_adds(keras.Model(x, layers.Conv2D(5, 3, strides=2, padding="same")(x)))
        2160
    """
    return sum(map(_layer_multiply_adds, _flat_layers(model)))


def describe(model: SSD) -> list[Part]:
    """Count the parameters and multiply-adds of each part of a detector.

    Args:
        model: The detector.

    Returns:
        A `Part` each for backbone, extra maps, heads and total.
    """
    parts: dict[str, list[keras.layers.Layer]] = {"backbone": [], "extra maps": [], "heads": []}
    for layer in _flat_layers(model):
        prefix = layer.name.split("_")[0]
        parts[{"extra": "extra maps", "head": "heads"}.get(prefix, "backbone")].append(layer)
    rows = [
        Part(
            name,
            sum(layer.count_params() for layer in group),
            sum(math.prod(w.shape) for layer in group for w in layer.trainable_weights),
            sum(map(_layer_multiply_adds, group)),
        )
        for name, group in parts.items()
    ]
    return [*rows, Part("total", *map(sum, list(zip(*rows, strict=True))[1:]))]


def _flat_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model, and those of models nested in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat_layers(layer)
        else:
            yield layer


def _layer_multiply_adds(layer: keras.layers.Layer) -> int:
    """Count the multiply-adds of one layer for one image."""
    if not isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
        return 0
    places = layer.output.shape[1:-1]
    if None in places:
        raise ValueError(
            "model: expected a fixed input size to count multiply-adds. "
            f"Received: {layer.output.shape} from layer {layer.name!r}"
        )
    return math.prod(layer.kernel.shape) * math.prod(places)


def _main(arguments: Sequence[str] | None = None) -> None:
    """Print the parameters and multiply-adds of a detector."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_impl.models.cost",
        description="Print the parameters and multiply-adds of each part of a detector.",
    )
    parser.add_argument("--layout", choices=sorted(LAYOUTS), default="digits224")
    parser.add_argument("--alpha", type=float, default=1.0, help="width multiplier")
    parser.add_argument("--classes", type=int, default=10, help="object classes, no background")
    parser.add_argument("--head", choices=HEADS, default="ssd")
    options = parser.parse_args(arguments)
    try:
        model = SSD(options.layout, options.classes, alpha=options.alpha, head=options.head)
    except ValueError as error:
        parser.error(str(error))

    sys.stdout.write(_table(model))


def _table(model: SSD) -> str:
    """Format feature maps, parameters and multiply-adds of a detector as text."""
    maps = ", ".join(f"{rows} x {columns}" for rows, columns in model.layout.feature_maps)
    row = "{:<12}{:>14}{:>14}{:>18}".format
    lines = [
        f"{model.layout.name}, {model.head} heads, alpha {model.alpha:g}, {model.num_classes} "
        f"classes and background, {len(model.anchors)} anchors",
        f"maps {maps}",
        "",
        row("part", "parameters", "trainable", "multiply-adds"),
        *(row(part.name, *(f"{number:,}" for number in part[1:])) for part in describe(model)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    _main()
