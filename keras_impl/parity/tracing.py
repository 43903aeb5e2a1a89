"""From the pixels of a photograph to its boxes, layer by layer: which layer departs first?

Comparing maps would not tell: every layer inherits the errors of those before. So each layer is
judged by itself: from *the implementation's own* input the reference computes the layer in float64,
and the implementation's output must lie within a bound that holds for a sum of n products in any
order, g (|K| * |x| + |b|) with g = m u / (1 - m u), m = n + 8 and u half an eps of float32 (Higham,
Accuracy and Stability of Numerical Algorithms, section 3.1). A batch normalisation that is not
folded adds what it takes away and puts back. In the end the outputs must be the maps of the heads,
number for number.

What the bound cannot see: an error in one product that is lost among what n others may be off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keras_impl._common.arrays import Array
from keras_impl.weights.litert import litert_name
from reference_numpy.anchors import level_shapes
from reference_numpy.conventions import AnchorLayout
from reference_numpy.layers import convolution, depthwise_convolution, relu6
from reference_numpy.mobilenet_v2 import NORMS, fold
from reference_numpy.ssd import forward

if TYPE_CHECKING:
    from keras_impl.detector.litert import LiteRT
    from keras_impl.models.ssd import SSD

__all__ = [
    "LayerCheck",
    "trace",
]

LINEAR = ("_project", "_deltas", "_logits")  # how the names of layers without ReLU6 end


@dataclass(frozen=True)
class LayerCheck:
    """One layer of one implementation.

    Attributes:
        layer: Its name.
        shape: (rows, columns, channels) of its map; (A, numbers) of what all heads say together.
        largest: Largest magnitude in it.
        who: The implementation.
        difference: Largest absolute difference of its map to NumPy's, errors of all layers before
            included.
        share: Its own error over the bound, largest over the map; above 1 it departs.
    """

    layer: str
    shape: tuple[int, ...]
    largest: float
    who: str
    difference: float
    share: float

    @property
    def departs(self) -> bool:
        """Whether the layer itself is wrong."""
        return not self.share <= 1

    def as_json(self) -> dict[str, Any]:
        """The check for machines."""
        return {**asdict(self), "departs": self.departs}


def trace(
    image: NDArray[np.float32],
    model: SSD,
    litert: LiteRT | None = None,
    watch: Callable[[str], None] = lambda text: None,
) -> list[LayerCheck]:
    """Judge every layer of Keras, of NumPy in float32 and of LiteRT by itself.

    Args:
        image: (H, W, 3), prepared.
        model: The network in Keras, whose weights all share.
        litert: The same network, loaded with `keep`; None to leave it out.
        watch: Told which layer is next.

    Returns:
        A check for each layer and implementation, in the order in which the network has them.
    """
    weights = {variable.path: np.asarray(variable) for variable in model.weights}
    numpy_maps: dict[str, Array] = {}
    deltas, logits = forward(image[None], weights, model.layout, numpy_maps)
    implementations = {"numpy": numpy_maps, "keras": _keras_maps(model, image, list(numpy_maps))}
    outputs: dict[str, Mapping[str, Any]] = {
        "numpy": {"deltas": deltas, "logits": logits},
        "keras": model(image[None], training=False),
    }
    if litert is not None:
        outputs["litert"] = litert(image[None])
        implementations["litert"] = _litert_maps(litert)
    inputs = _inputs_of(model, list(numpy_maps))
    layers = _Layers(weights)
    checks = []
    for name, mine in numpy_maps.items():
        watch(name)
        for who, maps in implementations.items():
            given = [image[None] if one == "images" else maps[one] for one in inputs[name]]
            checks.append(
                LayerCheck(
                    name,
                    mine.shape[1:],
                    float(np.abs(mine).max()),
                    who,
                    float(np.abs(maps[name] - mine).max()),
                    layers.share(name, given, maps[name], model.get_layer),
                )
            )
    for name, mine in outputs["numpy"].items():
        for who, maps in implementations.items():
            found = np.asarray(outputs[who][name])
            same = np.array_equal(found, _in_order(maps, name, model.layout))
            off = float(np.abs(found - mine).max())
            largest = float(np.abs(mine).max())
            checks.append(
                LayerCheck(name, mine.shape[1:], largest, who, off, 0.0 if same else np.inf)
            )
    return checks


def _in_order(maps: Mapping[str, Array], output: str, layout: AnchorLayout) -> Array:
    """The maps of the heads as one row an anchor."""
    flat = []
    for level in range(len(layout.feature_maps)):
        x = maps[f"head_{level}_{output}"]
        shapes = len(level_shapes(layout, level))
        x = x.reshape(1, -1, shapes, x.shape[-1] // shapes)
        x = x.transpose(0, 2, 1, 3) if layout.order == "shape" else x
        flat.append(x.reshape(1, -1, x.shape[-1]))
    return np.concatenate(flat, axis=1)


class _Layers:
    """Layers by name in float64, and how far a float32 one may be from them."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.exact = fold({name: value.astype(np.float64) for name, value in weights.items()})
        self.shift = {}  # what batch normalisation adds and takes away again, before it is folded
        for path in self.exact:
            name = path.removesuffix("/bias")
            norm = NORMS.get(name, f"{name}_BN")
            if path != name and f"{norm}/gamma" in weights:
                beta = weights[f"{norm}/beta"].astype(np.float64)
                self.shift[name] = 2 * np.abs(self.exact[path] - beta) + 2 * np.abs(beta)

    def share(
        self, name: str, given: Sequence[Array], found: Array, layer: Callable[[str], Any]
    ) -> float:
        u = np.finfo(np.float32).eps / 2
        exact: Array
        bound: Array
        wide = [one.astype(np.float64) for one in given]
        if len(wide) == 2:  # a sum, rounded once
            exact = wide[0] + wide[1]
            bound = u * np.abs(exact)
        else:
            kernel, bias = self.exact[f"{name}/kernel"], self.exact[f"{name}/bias"]
            conv = layer(name)
            options = {"stride": conv.strides[0], "padding": conv.padding}
            slide = depthwise_convolution if "depthwise" in name else convolution
            terms = kernel.size // kernel.shape[-1]
            if "depthwise" in name:
                terms = kernel.shape[0] * kernel.shape[1]
            exact = slide(wide[0], kernel, bias, **options)
            size = slide(np.abs(wide[0]), np.abs(kernel), np.abs(bias), **options)
            slack = (terms + 8) * u
            bound = slack / (1 - slack) * (size + self.shift.get(name, 0.0))
            if not name.endswith(LINEAR):
                exact = relu6(exact)
        off = np.abs(found.astype(np.float64) - exact)
        # Where nothing can be off, nothing may be; subnormals count as nothing.
        return float((off / np.maximum(bound, np.finfo(np.float32).tiny)).max())


def _keras_layer(model: SSD, name: str) -> str:
    """The layer of Keras that gives the map which the reference leaves under a name."""
    if name.endswith("_project") and model.batch_norm_momentum is not None:
        return f"{name}_BN"
    if name.endswith((*LINEAR, "_add")):
        return name
    return {"Conv_1": "out_relu"}.get(name, f"{name}_relu")


def _keras_maps(model: SSD, image: Array, names: Sequence[str]) -> dict[str, Array]:
    import keras

    wanted = [model.get_layer(_keras_layer(model, name)).output for name in names]
    found = keras.Model(model.input, wanted)(image[None], training=False)
    return {name: np.asarray(value) for name, value in zip(names, found, strict=True)}


def _inputs_of(model: SSD, names: Sequence[str]) -> dict[str, list[str]]:
    """What each layer is given, by the names of the reference."""
    theirs = {_keras_layer(model, name): name for name in names}
    inputs = {}
    for name in names:
        given = model.get_layer(name).input
        layers = given if isinstance(given, list) else [given]
        sources = [one._keras_history.operation.name for one in layers]
        inputs[name] = [theirs.get(source, source) for source in sources]
    return inputs


def _litert_maps(litert: LiteRT) -> dict[str, Array]:
    """Of the image that it was given last."""
    named = {litert_name(name): value for name, value in litert.tensors().items()}
    return {name: value for name, value in named.items() if name is not None}
