"""Compare Keras, NumPy and LiteRT layer by layer on one image, to find the first wrong layer.

Comparing whole feature maps would not find it, because every layer inherits the errors of those
before. So each layer is compared by itself: the reference computes it in float64 from the
*implementation's own* input, and the implementation's output must lie within the bound
g (|K| * |x| + |b|), with g = m u / (1 - m u), m = n + 8 and u half an eps of float32. It holds for
a sum of n products in any order (Higham, Accuracy and Stability of Numerical Algorithms, section
3.1). A batch normalisation that is not folded adds a shift and subtracts it again, which widens the
bound. Finally, the outputs must equal the maps of the heads, number for number.

The bound cannot detect an error in one product that is smaller than the rounding of the n others.
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

LINEAR = ("_project", "_deltas", "_logits")  # name endings of layers without ReLU6


@dataclass(frozen=True)
class LayerCheck:
    """The comparison of one layer of one implementation.

    Attributes:
        layer: Name of the layer.
        shape: (rows, columns, channels) of its feature map; (A, numbers) for the outputs of all
            heads together.
        largest: Largest magnitude in the map.
        who: Name of the implementation.
        difference: Largest absolute difference from the map of NumPy, including the errors of all
            layers before.
        share: Largest error of the layer itself over its bound; above 1 the layer is wrong.
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
        """Return the check as plain data for JSON."""
        return {**asdict(self), "departs": self.departs}


def trace(
    image: NDArray[np.float32],
    model: SSD,
    litert: LiteRT | None = None,
    watch: Callable[[str], None] = lambda text: None,
) -> list[LayerCheck]:
    """Compare every layer of Keras, NumPy in float32 and LiteRT by itself.

    Args:
        image: (H, W, 3), prepared for the network.
        model: The network in Keras; all implementations use its weights.
        litert: The same network, loaded with `keep`; None to leave LiteRT out.
        watch: Called with the name of each layer before it is compared.

    Returns:
        A check for each layer and implementation, in the order of the network.
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
    """Return the feature maps of the heads with one row per anchor."""
    flat = []
    for level in range(len(layout.feature_maps)):
        x = maps[f"head_{level}_{output}"]
        shapes = len(level_shapes(layout, level))
        x = x.reshape(1, -1, shapes, x.shape[-1] // shapes)
        x = x.transpose(0, 2, 1, 3) if layout.order == "shape" else x
        flat.append(x.reshape(1, -1, x.shape[-1]))
    return np.concatenate(flat, axis=1)


class _Layers:
    """The layers in float64 and the error bounds of float32 layers."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.exact = fold({name: value.astype(np.float64) for name, value in weights.items()})
        # The magnitudes that an unfolded batch normalisation adds and subtracts again.
        self.shift = {}
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
        # Subnormal errors are allowed even where the bound is 0.
        return float((off / np.maximum(bound, np.finfo(np.float32).tiny)).max())


def _keras_layer(model: SSD, name: str) -> str:
    """Return the Keras layer whose output is the reference's map of that name."""
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
    """Return the inputs of each layer, by their names in the reference."""
    theirs = {_keras_layer(model, name): name for name in names}
    inputs = {}
    for name in names:
        given = model.get_layer(name).input
        layers = given if isinstance(given, list) else [given]
        sources = [one._keras_history.operation.name for one in layers]
        inputs[name] = [theirs.get(source, source) for source in sources]
    return inputs


def _litert_maps(litert: LiteRT) -> dict[str, Array]:
    """Return the feature maps of the last image, by their names in the reference."""
    named = {litert_name(name): value for name, value in litert.tensors().items()}
    return {name: value for name, value in named.items() if name is not None}
