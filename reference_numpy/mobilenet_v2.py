"""The backbone's forward pass: MobileNetV2 (arXiv:1801.04381), from weights by name.

A *unit* is a convolution without bias, batch normalisation and, mostly, ReLU6. An inverted
residual (section 3.3) widens a map by a 1 × 1 unit, filters each channel by a 3 × 3 depthwise
unit, and narrows it by a 1 × 1 unit without ReLU6; where the shapes agree its input is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_numpy.layers import batch_norm, convolution, depthwise_convolution, relu6

__all__ = ["TAPS", "conv_unit", "mobilenet_v2"]

Floats = NDArray[np.floating[Any]]
Weights = Mapping[str, Floats]


# Table 2, a run of inverted residuals a row: how many, and the stride of the first. Their
# channels are those of the weights. The very first block does not widen.
TABLE_2 = ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1))

# The last map of each stride that a detector reads: within a block the widened one.
TAPS = {8: "block_6_expand_relu", 16: "block_13_expand_relu", 32: "out_relu"}


def conv_unit(
    x: Floats,
    name: str,
    weights: Weights,
    *,
    stride: int = 1,
    padding: str = "same",
    relu: bool = True,
    norm: str | None = None,
) -> Floats:
    """Convolution, batch normalisation and, unless told not to, ReLU6.

    Args:
        x: (B, H, W, C) map.
        name: Of the convolution, whose kernel is weights[name + "/kernel"]; a depthwise one if
            "depthwise" is in it.
        weights: Arrays by name.
        stride: Step of the window.
        padding: "same" or "valid".
        relu: Whether ReLU6 follows.
        norm: Name of the batch normalisation; name + "_BN" unless given.

    Returns:
        (B, H', W', F) map.

    Raises:
        KeyError: A weight is missing.
    """
    norm = norm or f"{name}_BN"
    slide = depthwise_convolution if "depthwise" in name else convolution
    x = slide(x, weights[f"{name}/kernel"], stride=stride, padding=padding)
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    gamma, beta, mean, variance = (weights[f"{norm}/{part}"] for part in parts)
    x = batch_norm(x, gamma, beta, mean, variance)
    return relu6(x) if relu else x


def mobilenet_v2(images: Floats, weights: Weights) -> dict[int, Floats]:
    """The maps that a detector reads.

    Args:
        images: (B, H, W, 3) pictures in [-1, 1], at least 32 × 32.
        weights: Arrays by the names of `keras_impl.mobilenet_v2`, of any width multiplier.

    Returns:
        The maps by stride: {8: (B, ⌈H/8⌉, ⌈W/8⌉, ...), 16: ..., 32: ...}.

    Raises:
        ValueError: Pictures that are too small or not in RGB.
        KeyError: A weight is missing.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < 32:
        raise ValueError(
            "images: expected pictures (batch, height, width, 3) of at least 32 x 32 pixels. "
            f"Received: {images.shape}"
        )
    maps = {}
    x = conv_unit(images, "Conv1", weights, stride=2, norm="bn_Conv1")
    block = 0
    for repeats, run_stride in TABLE_2:
        for repeat in range(repeats):
            name = f"block_{block}" if block else "expanded_conv"
            stride = run_stride if repeat == 0 else 1
            shortcut = x
            if block:
                x = conv_unit(x, f"{name}_expand", weights)
                maps[f"{name}_expand_relu"] = x
            x = conv_unit(x, f"{name}_depthwise", weights, stride=stride)
            x = conv_unit(x, f"{name}_project", weights, relu=False)
            if shortcut.shape == x.shape:
                x = shortcut + x
            block += 1
    maps["out_relu"] = conv_unit(x, "Conv_1", weights, norm="Conv_1_bn")
    return {stride: maps[name] for stride, name in TAPS.items()}
