"""Compare the Keras network with the reference layer by layer, in float32 and mixed precision.

Under the Keras policy "mixed_bfloat16", weights stay in float32 and the network computes in
bfloat16. Targets, loss and detections are still float32. `run` passes images through a small SSD
and compares each layer by itself: the reference computes it in float64 from the *implementation's
own* input, with the weights rounded as the policy rounds them, and the output must lie within the
budget (`conformance.budgets`). Then it compares targets, loss and detections, computed from the
outputs of this network, in float32 with the usual `judges`.

The unit is eps of the layer's dtype × the sum of all magnitudes that the layer rounds. Each
rounding is off by at most u, half an eps, so the budget is always one half:

- A sum of n products in any order rounds n times and is off by at most n u |K| * |x| / (1 - n u)
  (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). A bias is one more sum.
- bfloat16 has 8 bits: eps is 2⁻⁷ and u is 2⁻⁸. A convolution sums in float32, where products of two
  bfloat16 numbers are exact, and rounds the result once. Then it adds the bias and rounds again.
- Batch normalisation computes in float32 and rounds its result once. ReLU6 and the heads round
  nothing.

Two details depend on the backend and mode: see `Ways`. This comparison cannot detect layers that
are connected in a wrong way; tests/parity/test_ssd.py compares the whole forward pass for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from keras_impl._common.arrays import Array
from keras_impl.backends import backend, compiler, in_mode, modes
from keras_impl.conformance import suite as conformance
from keras_impl.conformance.budgets import BUDGETS, budget
from keras_impl.conformance.judges import judge_multibox, judge_targets
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import Check
from keras_impl.conformance.verdicts import Verdict
from keras_impl.models.ssd import SSD
from keras_impl.parity.implementations import KERAS
from reference_numpy.conventions import CANONICAL, AnchorLayout
from reference_numpy.layers import batch_norm, convolution, depthwise_convolution, relu6

__all__ = [
    "HEADS",
    "LAYERS",
    "MODES",
    "NAME",
    "POLICIES",
    "Layer",
    "Ways",
    "a_network",
    "judge_layers",
    "layer_maps",
    "run",
    "some_images",
    "to_bfloat16",
    "ways",
]


NAME = "network"
LAYERS = ("convolution", "depthwise_convolution", "batch_norm", "relu6", "add", "heads")
HEADS = ("assign_targets", "multibox_loss", "detect")  # compared after the network
OPERATION_OF: dict[type, str] = {
    layers.Conv2D: "convolution",
    layers.DepthwiseConv2D: "depthwise_convolution",
    layers.BatchNormalization: "batch_norm",
    layers.ReLU: "relu6",
    layers.Add: "add",
    layers.Reshape: "heads",
    layers.Concatenate: "heads",
}
POLICIES = ("float32", "mixed_bfloat16")
# On a CPU, `SSD` never compiles the network with TensorFlow's XLA.
MODES = tuple(mode for mode in modes() if mode != "xla")
LAYOUT = AnchorLayout(
    NAME, (64, 96), ((8, 12), (4, 6), (2, 3), (1, 2)), (0.1, 0.25, 0.45, 0.7, 0.9), ((2.0,),) * 4
)
CLASSES, IMAGES, OBJECTS = 3, 2, 5
U = {"float32": 2.0**-24, "bfloat16": 2.0**-8}  # the largest relative error of one rounding


class Ways(NamedTuple):
    """How a backend may compute in bfloat16 other than described above.

    Attributes:
        narrow: Depthwise convolutions sum in bfloat16 and round each product and each sum, as
            TensorFlow does on CPUs without bfloat16.
        excess: Weights and values between two layers may stay in float32, as XLA may leave them
            (xla_allow_excess_precision). The true input of a layer is then a number that rounds to
            the input seen here.
    """

    narrow: bool
    excess: bool


def ways(mode: str) -> Ways:
    """Return the `Ways` of this backend in a mode."""
    return Ways(backend() == "tensorflow" and mode != compiler(), mode == compiler())


def to_bfloat16(values: Array) -> NDArray[np.float32]:
    """Round finite numbers to bfloat16, ties to even; return them as float32.

    Example:
        >>> [float(value) for value in to_bfloat16(np.float32([1.00390625, 1.01171875, 3.15]))]
        [1.0, 1.015625, 3.15625]
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)


def a_network(policy: str = "float32", seed: int = 0) -> SSD:
    """Build a small detector with seeded weights, the same on every backend.

    The weights are such that ReLU6 cuts at both 0 and 6, and that rounding errors stay small: in
    float32 the outputs of the heads are off by only some eps.
    """
    generator = np.random.default_rng(seed)
    model = SSD(LAYOUT, CLASSES, alpha=0.1, dtype=policy)
    limits = {
        "gamma": (0.5, 1.5),
        "beta": (-0.5, 1.5),
        "moving_mean": (-0.1, 0.1),
        "moving_variance": (0.5, 1.5),
        "bias": (-0.5, 0.5),
    }
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name == "kernel":
            value = generator.normal(0, 1 / np.sqrt(_terms(shape)), shape)
        else:
            value = generator.uniform(*limits[weight.name], shape)
        weight.assign(value.astype(np.float32))
    return model


def some_images(seed: int = 0) -> NDArray[np.float32]:
    """Return images of uniform noise in [-1, 1]."""
    generator = np.random.default_rng(seed)
    return generator.uniform(-1, 1, (IMAGES, *LAYOUT.image_size, 3)).astype(np.float32)


def _some_objects(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return random boxes and labels, not on a grid, so that near-ties are unlikely."""
    generator = np.random.default_rng(seed)
    low = generator.uniform(0.0, 0.6, (IMAGES, OBJECTS, 2))
    boxes = np.concatenate([low, low + generator.uniform(0.1, 0.4, low.shape)], axis=-1)
    labels = generator.integers(1, CLASSES + 1, (IMAGES, OBJECTS))
    labels[:, -1] = -1
    return boxes.astype(np.float32), labels.astype(np.int32)


def _terms(kernel: tuple[int, ...]) -> int:
    """Count the products that a convolution sums for each number of its output."""
    rows, columns, channels, filters = kernel
    return rows * columns * (1 if filters == 1 else channels)


# --- One layer ----------------------------------------------------------------------------


class Layer(NamedTuple):
    """The comparison of one layer.

    Attributes:
        name: Name of the layer.
        operation: One of `LAYERS`.
        error: Largest error, in the unit described above.
    """

    name: str
    operation: str
    error: float


def layer_maps(model: SSD, images: NDArray[np.float32], mode: str) -> dict[str, Array]:
    """Return the output of every layer by name, in the order of the model.

    Args:
        model: A model under one of `POLICIES`.
        images: (B, H, W, 3) images in [-1, 1].
        mode: One of `MODES`.
    """
    hers = [one for one in model.layers if not isinstance(one, layers.InputLayer)]
    everything = keras.Model(model.input, [one.output for one in hers])
    found = in_mode(lambda x: everything(x, training=False), mode)(images)
    return {one.name: value for one, value in zip(hers, found, strict=True)}


def judge_layers(
    model: SSD, images: NDArray[np.float32], maps: Mapping[str, Array], mode: str
) -> list[Layer]:
    """Compare every layer by itself with the reference.

    Args:
        model: The model.
        images: (B, H, W, 3) images in [-1, 1].
        maps: Outputs of the layers by name, for example from `layer_maps`.
        mode: The mode in which the maps were computed, one of `MODES`.

    Returns:
        One comparison per layer, in the order of the model.

    Raises:
        TypeError: The reference has no such layer.
    """
    inner = model.dtype_policy.compute_dtype
    seen = {name: _wide(value) for name, value in maps.items()}
    seen["images"] = _as_taken(images, inner)
    judged = []
    for name in maps:
        layer = model.get_layer(name)
        sources = layer.input if isinstance(layer.input, list) else [layer.input]
        given = [seen[one._keras_history.operation.name] for one in sources]
        worst = np.inf  # for inputs or outputs that are not finite, which the reference rejects
        if all(np.isfinite(one).all() for one in (*given, seen[name])):
            exact, bound = _expected(layer, given, inner, ways(mode))
            # Subnormal numbers may be flushed to 0.
            share = np.abs(seen[name] - exact) / np.maximum(bound, np.finfo(np.float32).tiny)
            worst = float(share.max())
        judged.append(Layer(name, _operation(layer), worst / 2))
    return judged


def _operation(layer: Any) -> str:
    """Return which of `LAYERS` a layer is."""
    for kind, operation in OPERATION_OF.items():
        if isinstance(layer, kind):
            return operation
    raise TypeError(f"model: expected layers of an SSD. Received: {type(layer).__name__}")


def _expected(layer: Any, given: Sequence[Array], inner: str, how: Ways) -> tuple[Array, Array]:
    """Return the exact output of a layer and the largest error allowed."""
    operation, u, x, mixed = _operation(layer), U[inner], given[0], inner != "float32"
    exact: Array
    bound: Array
    # A number is within u of itself of its rounded value, so within u / (1 - u) of that value.
    unseen = u / (1 - u) if mixed and how.excess else 0.0
    if operation in ("convolution", "depthwise_convolution"):
        depthwise = operation == "depthwise_convolution"
        slide = depthwise_convolution if depthwise else convolution
        options: dict[str, Any] = {"stride": layer.strides[0], "padding": layer.padding}
        kernel = _as_taken(layer.kernel, inner)
        exact = slide(x, kernel, **options)
        size = slide(np.abs(x), np.abs(kernel), **options)
        terms = _terms(kernel.shape)
        if mixed and not (depthwise and how.narrow):
            larger = (1 + unseen) ** 2  # largest factor of an unrounded input times a weight
            bound = (_gamma(terms, U["float32"]) * larger + (larger - 1)) * size
            bound = bound + u * (np.abs(exact) + bound)
        else:
            bound = _gamma(terms, u) * size
        if layer.use_bias:
            bias = _as_taken(layer.bias, inner)
            exact, bound = exact + bias, bound + unseen * np.abs(bias)
            bound = bound + u * (np.abs(exact) + bound)
    elif operation == "batch_norm":
        parts = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        gamma, beta, mean, variance = map(_wide, parts)
        exact = batch_norm(x, gamma, beta, mean, variance, layer.epsilon)
        scale = np.abs(gamma) / np.sqrt(variance + layer.epsilon)
        true = np.abs(x) * (1 + unseen)
        bound = 9 * U["float32"] * ((true + np.abs(mean)) * scale + np.abs(beta))
        bound = bound + unseen * np.abs(x) * scale
        bound = bound + u * (np.abs(exact) + bound) if mixed else bound
    elif operation == "add":
        exact = given[0] + given[1]
        bound = unseen * (np.abs(given[0]) + np.abs(given[1]))
        bound = bound + u * (np.abs(exact) + bound)
    elif operation == "relu6":
        exact, bound = relu6(x), np.zeros(1)
    elif isinstance(layer, layers.Reshape):
        exact, bound = x.reshape(len(x), *layer.target_shape), np.zeros(1)
    else:
        exact, bound = np.concatenate(given, axis=layer.axis), np.zeros(1)
    return exact, bound


def _gamma(roundings: int, u: float) -> float:
    """Return the largest relative error of that many roundings."""
    return roundings * u / (1 - roundings * u)


def _wide(values: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(values)).astype(np.float64)


def _as_taken(values: Any, inner: str) -> Array:
    """Return float32 numbers as a layer that computes in `inner` rounds its inputs."""
    wide = _wide(values)
    return wide if inner == "float32" else to_bfloat16(wide).astype(np.float64)


# --- Targets, loss and detections ---------------------------------------------------------


def _judge_heads(
    model: SSD, deltas: Array, logits: Array, mode: str, seed: int
) -> dict[str, Verdict]:
    """Judge targets, and the loss and detections computed from these head outputs."""
    heads, anchors, excuses = (deltas, logits), model.anchors, mode == compiler()
    objects = _some_objects(seed)

    def assign(boxes: Any, labels: Any) -> Any:
        return model._targets({"boxes": boxes, "labels": labels})

    def loss(deltas: Any, logits: Any, wanted: Any, labels: Any) -> Any:
        with keras.StatelessScope():  # compiled code must not change the metrics
            return model.compute_loss(
                y={"target_deltas": wanted, "target_labels": labels},
                y_pred={"deltas": deltas, "logits": logits},
            )

    wanted, labels = in_mode(assign, mode)(*objects)
    total = in_mode(loss, mode)(*heads, wanted, labels)
    few = OPERATIONS["detect"].settings
    found = conformance.ask(KERAS, "detect", (*heads, anchors), mode, few)

    given = (*heads, wanted, labels, np.zeros_like(deltas))
    assigned: Any = labels, wanted, None  # the model does not return the objects
    summed: Any = total, *[None] * 6
    verdicts = {
        "assign_targets": judge_targets(
            (*objects, anchors), assigned, "float32", excuses, CANONICAL
        ),
        "multibox_loss": judge_multibox(given, summed, "float32", excuses, CANONICAL),
        "detect": OPERATIONS["detect"].judge(
            (*heads, anchors), found, "float32", excuses, CANONICAL.replace(**few)
        ),
    }
    boxes, scores, _, _, decoded, probabilities = found
    floats = {
        "assign_targets": (wanted,),
        "multibox_loss": (*heads, total),
        "detect": (*heads, boxes, scores, decoded, probabilities),
    }
    for name, outputs in floats.items():
        if any(np.asarray(one).dtype != np.float32 for one in outputs):
            asked = verdicts[name].cases
            verdicts[name] = Verdict(asked, asked, 0, np.inf)
    return verdicts


# --- The rows -----------------------------------------------------------------------------


def run(
    *,
    seed: int = 0,
    modes: Sequence[str] = MODES,
    policies: Sequence[str] = POLICIES,
    watch: Callable[[str], None] = lambda text: None,
) -> list[Check]:
    """Compare a small network with the reference in every mode and policy.

    Args:
        seed: Seed of the weights, images and objects.
        modes: Some of `MODES`.
        policies: Some of `POLICIES`.
        watch: Called with a text before each comparison.

    Returns:
        Lines of the parity table, by operation, policy and mode. A case is a layer; for targets and
        detections it is an image, for the loss a batch.

    Raises:
        ValueError: An unknown mode or policy.
    """
    for name, given, known in (("modes", modes, MODES), ("policies", policies, POLICIES)):
        if not given or not set(given) <= set(known):
            raise ValueError(f"{name}: expected some of {list(known)}. Received: {list(given)}")
    images = some_images(seed)
    checks: list[Check] = []
    for policy in policies:
        with _everywhere(policy):
            watch(f"{NAME}, {policy}")
            model = a_network(policy, seed)
            for mode in modes:
                watch(f"{NAME}, {mode}, {policy}")
                checks += _rows(model, images, mode, policy, seed)
    order = {f"{NAME} {name}": index for index, name in enumerate((*LAYERS, *HEADS))}
    return sorted(checks, key=lambda check: order[check.op])


@contextmanager
def _everywhere(policy: str) -> Iterator[None]:
    """Set the global policy for a block of code, as users do."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _rows(
    model: SSD, images: NDArray[np.float32], mode: str, policy: str, seed: int
) -> Iterator[Check]:
    maps = layer_maps(model, images, mode)
    judged = judge_layers(model, images, maps, mode)
    for operation in LAYERS:
        errors = [layer.error for layer in judged if layer.operation == operation]
        allowed = BUDGETS[f"{NAME} {operation}"].eps
        wrong = sum(error > allowed for error in errors)
        yield _check(operation, mode, policy, Verdict(len(errors), wrong, 0, max(errors)), allowed)
    verdicts = _judge_heads(model, maps["deltas"], maps["logits"], mode, seed)
    for operation, verdict in verdicts.items():
        yield _check(operation, mode, policy, verdict, budget(operation).eps)


def _check(operation: str, mode: str, policy: str, verdict: Verdict, allowed: float) -> Check:
    return Check(
        f"{NAME} {operation}",
        mode,
        KERAS.name,
        policy,
        verdict.cases,
        verdict.mismatches,
        verdict.excused,
        round(float(verdict.error), 3),
        allowed,
        verdict.mismatches == 0 and verdict.error <= allowed,
    )
