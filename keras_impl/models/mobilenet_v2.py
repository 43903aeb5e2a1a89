"""The backbone MobileNetV2, from scratch (arXiv:1801.04381).

The network is seventeen inverted residuals between two ordinary convolutions (section 3.3,
table 2). An inverted residual has few channels at its ends and many in the middle: a 1x1
convolution expands the channels t times, a 3x3 depthwise convolution filters them, and a 1x1
convolution without activation reduces them again. If input and output have the same shape, the
input is added.

Layers have the names of `keras.applications.MobileNetV2`, so weights can be copied by name. All
are standard Keras layers, so every backend runs them.
"""

from __future__ import annotations

from functools import partial
from math import inf
from numbers import Real
from typing import Any, NamedTuple

import keras
from keras import layers

from keras_impl.ops.checks import check_count

__all__ = [
    "TAPS",
    "InvertedResiduals",
    "MobileNetV2",
    "conv_unit",
    "make_divisible",
    "mobilenet_v2_features",
]


class InvertedResiduals(NamedTuple):
    """One row of table 2: a sequence of inverted residuals with the same number of channels."""

    expansion: int
    channels: int
    repeats: int
    stride: int


TABLE_2 = (
    InvertedResiduals(1, 16, 1, 1),
    InvertedResiduals(6, 24, 2, 2),
    InvertedResiduals(6, 32, 3, 2),
    InvertedResiduals(6, 64, 4, 2),
    InvertedResiduals(6, 96, 3, 1),
    InvertedResiduals(6, 160, 3, 2),
    InvertedResiduals(6, 320, 1, 1),
)

WIDEST = 64  # Largest width multiplier; its kernels already take gigabytes.

# The last map of each stride that SSD uses. Within a block this is the expanded map: it has an
# activation and more channels than the block's output. (Section 6.2 attaches the first
# SSDLite layer to "the expansion of layer 15", which is block 13 counted from 0.)
TAPS = {8: "block_6_expand_relu", 16: "block_13_expand_relu", 32: "out_relu"}


def make_divisible(value: float, divisor: int = 8, min_value: int | None = None) -> int:
    """Round a number of channels to a multiple of `divisor`, losing at most 10 %.

    Multiples suit the hardware. The paper does not give this rule; it comes from the authors'
    program, `make_divisible` in research/slim/nets/mobilenet of github.com/tensorflow/models.

    Args:
        value: Number of channels wanted.
        divisor: The result is a multiple of this.
        min_value: Smallest result; None for `divisor`.

    Returns:
        The nearest multiple (halves round up), or the next one if that loses more than 10 %.

    Example:
        >>> make_divisible(32 * 0.35)  # 11.2: 8 would lose more than a tenth
        16
        >>> make_divisible(96 * 0.35)  # 33.6
        32
    """
    if not (isinstance(value, Real) and 0 <= value < inf):
        raise ValueError(f"value: expected a number from 0. Received: {value!r}")
    check_count(divisor, "divisor", 1)
    least = divisor if min_value is None else min_value
    rounded = max(least, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def conv_unit(
    x: Any,
    name: str,
    filters: int | None = None,
    *,
    kernel: int = 1,
    stride: int = 1,
    padding: str = "same",
    relu: bool = True,
    momentum: float | None,
    dtype: Any = None,
    names: tuple[str, str] | None = None,
) -> Any:
    """Apply a unit: convolution without bias, batch normalisation and, by default, ReLU6.

    With `momentum=None` the convolution has a bias instead of batch normalisation: after training,
    batch normalisation can be folded into the kernel and a bias.

    Padding "same" equals the `ZeroPadding2D` and "valid" of `keras.applications`: for a 3x3
    kernel at stride 2, both pad an even side by (0, 1) and an odd side by (1, 1). The result has
    ceil(side / 2) cells and depends on the same pixels.

    Args:
        x: (B, H, W, C) map.
        name: Name of the convolution.
        filters: Channels of the result; None for a depthwise convolution.
        kernel: Side of the kernel.
        stride: Stride of the kernel.
        padding: "same" or "valid".
        relu: Whether ReLU6 follows.
        momentum: Momentum of the running batch statistics; None for a bias instead.
        dtype: Dtype policy of the layers; None for the global one.
        names: Names of batch normalisation and activation; None for name + "_BN" and
            name + "_relu".

    Returns:
        (B, H', W', filters or C) map.
    """
    norm_name, relu_name = names or (f"{name}_BN", f"{name}_relu")
    options = {
        "strides": stride,
        "padding": padding,
        "use_bias": momentum is None,
        # Set explicitly, because a user's keras.json may set another default.
        "data_format": "channels_last",
        "dtype": dtype,
        "name": name,
    }
    if filters is None:
        x = layers.DepthwiseConv2D(kernel, **options)(x)
    else:
        x = layers.Conv2D(filters, kernel, **options)(x)
    if momentum is not None:
        x = layers.BatchNormalization(
            axis=-1, momentum=momentum, epsilon=1e-3, dtype=dtype, name=norm_name
        )(x)
    return layers.ReLU(6.0, dtype=dtype, name=relu_name)(x) if relu else x


def mobilenet_v2_features(
    inputs: Any,
    alpha: float = 1.0,
    batch_norm_momentum: float | None = 0.999,
    *,
    dtype: Any = None,
) -> dict[int, Any]:
    """Compute the feature maps of the backbone that SSD uses, up to the last 1x1 convolution.

    Args:
        inputs: (B, H, W, 3) images in [-1, 1], H and W at least 32 (None for any).
        alpha: Width multiplier: scales the channels of every convolution, those of the last one
            only if alpha is above 1 (section 4, "Trade-off hyper parameters").
        batch_norm_momentum: Momentum of the running batch statistics; None for a network whose
            batch normalisation is folded into its convolutions.
        dtype: Dtype policy of the layers; None for the global one.

    Returns:
        The maps by stride, as in `TAPS`: {8: (B, ceil(H/8), ceil(W/8), ...), 16: ..., 32: ...}.

    Raises:
        ValueError: `alpha` is not positive or above 64; or images are too small or not RGB.
    """
    if not (isinstance(alpha, Real) and 0 < alpha < inf):
        raise ValueError(f"alpha: expected a positive number. Received: {alpha}")
    if alpha > WIDEST:
        raise ValueError(f"alpha: expected {WIDEST} or less, to limit memory. Received: {alpha}")
    shape = tuple(getattr(inputs, "shape", ()))
    small = any(side is not None and side < 32 for side in shape[1:3])
    if len(shape) != 4 or shape[3] != 3 or small:
        raise ValueError(
            "inputs: expected images (batch, height, width, 3) of at least 32 x 32 pixels. "
            f"Received: shape {shape}"
        )
    unit = partial(conv_unit, momentum=batch_norm_momentum, dtype=dtype)
    maps = {}

    x = unit(
        inputs,
        "Conv1",
        make_divisible(32 * alpha),
        kernel=3,
        stride=2,
        names=("bn_Conv1", "Conv1_relu"),
    )
    block = 0
    for row in TABLE_2:
        # Truncate before rounding, as keras.applications does: otherwise a few alphas (such as
        # 1.1125) give other widths.
        filters = make_divisible(int(row.channels * alpha))
        for repeat in range(row.repeats):
            name = f"block_{block}" if block else "expanded_conv"
            stride = row.stride if repeat == 0 else 1
            shortcut = x
            if row.expansion > 1:
                x = unit(x, f"{name}_expand", row.expansion * x.shape[-1])
                maps[f"{name}_expand_relu"] = x
            x = unit(x, f"{name}_depthwise", kernel=3, stride=stride)
            x = unit(x, f"{name}_project", filters, relu=False)
            if stride == 1 and shortcut.shape[-1] == filters:
                x = layers.Add(dtype=dtype, name=f"{name}_add")([shortcut, x])
            block += 1
    last = make_divisible(1280 * alpha) if alpha > 1 else 1280
    maps["out_relu"] = unit(x, "Conv_1", last, names=("Conv_1_bn", "out_relu"))
    return {stride: maps[name] for stride, name in TAPS.items()}


def MobileNetV2(  # noqa: N802, named like the function in keras.applications
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    alpha: float = 1.0,
    batch_norm_momentum: float = 0.999,
    *,
    dtype: Any = None,
    name: str = "mobilenet_v2",
) -> keras.Model:
    """Build the backbone as a Keras model: from images to the map of stride 32, no classifier.

    Args:
        input_shape: (height, width, 3); height and width at least 32, or None for any.
        alpha: Width multiplier.
        batch_norm_momentum: Momentum of the running batch statistics.
        dtype: Dtype policy of the layers; None for the global one.
        name: Name of the model.

    Returns:
        A model from (B, H, W, 3) to (B, ceil(H/32), ceil(W/32), 1280 or more).

    Raises:
        ValueError: `alpha` is not positive or above 64; or images are too small or not RGB.

    Example:
        >>> MobileNetV2((96, 64, 3), alpha=0.35).output_shape
        (None, 3, 2, 1280)
    """
    inputs = keras.Input(input_shape, name="images")
    maps = mobilenet_v2_features(inputs, alpha, batch_norm_momentum, dtype=dtype)
    return keras.Model(inputs, maps[32], name=name)
