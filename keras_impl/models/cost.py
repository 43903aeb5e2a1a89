"""Where the parameters and multiply-adds of a detector are.

    python -m keras_impl.models.cost --layout ssdlite320 --classes 90 --head ssdlite

prints a table of them; docs/architecture.md explains the numbers.
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
    """What a part of a network costs.

    Attributes:
        name: "backbone", "extra maps", "heads" or "total".
        parameters: All weights, running batch statistics among them.
        trainable: Those that training changes.
        multiply_adds: Of one image, in convolutions.
    """

    name: str
    parameters: int
    trainable: int
    multiply_adds: int


def multiply_adds(model: keras.Model) -> int:
    """Count the multiply-adds of one image: convolutions and dense layers, nothing else.

    Every number in a kernel is used once at every place of the layer's output. Places where
    the kernel hangs over the border count in full, as is usual.

    Args:
        model: A functional model with a fixed input size.

    Returns:
        The number.

    Raises:
        ValueError: If a layer's output size is not fixed.

    Example:
        >>> x = keras.Input((8, 8, 3))
        >>> multiply_adds(keras.Model(x, layers.Conv2D(5, 3, strides=2, padding="same")(x)))
        2160
    """
    return sum(map(_layer_multiply_adds, _flat_layers(model)))


def describe(model: SSD) -> list[Part]:
    """Where the parameters and multiply-adds of a detector are.

    Args:
        model: The detector.

    Returns:
        Backbone, extra maps, heads, total.
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
    """Layers of a model and of the models in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat_layers(layer)
        else:
            yield layer


def _layer_multiply_adds(layer: keras.layers.Layer) -> int:
    """Of one image through one layer."""
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
    """Say what a detector costs."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_impl.models.cost",
        description="Where a detector's parameters and work are.",
    )
    parser.add_argument("--layout", choices=sorted(LAYOUTS), default="digits224")
    parser.add_argument("--alpha", type=float, default=1.0, help="width multiplier")
    parser.add_argument("--classes", type=int, default=10, help="without background")
    parser.add_argument("--head", choices=HEADS, default="ssd")
    options = parser.parse_args(arguments)
    try:
        model = SSD(options.layout, options.classes, alpha=options.alpha, head=options.head)
    except ValueError as error:
        parser.error(str(error))

    sys.stdout.write(_table(model))


def _table(model: SSD) -> str:
    """Maps and costs of a detector as text."""
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
