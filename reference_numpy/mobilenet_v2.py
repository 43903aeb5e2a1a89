"""The backbone's forward pass: MobileNetV2 (arXiv:1801.04381), from named weights.

The backbone turns an image into the feature maps from which SSD predicts. A *unit* is a
convolution, batch normalisation and, in most places, ReLU6. After training, the normalisation may
be *folded* into the kernel, and a bias takes its place. An inverted residual (section 3.3) widens a
map with a 1 × 1 unit, filters each channel with a 3 × 3 depthwise unit, and narrows the map with a
1 × 1 unit without ReLU6. Its input is added where the shapes agree.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reference_numpy._typing import Floats
from reference_numpy.checks import check_each, check_floats
from reference_numpy.layers import (
    batch_norm,
    convolution,
    depthwise_convolution,
    fold_batch_norm,
    relu6,
)

__all__ = ["TAPS", "conv_unit", "fold", "mobilenet_v2_features"]

Weights = Mapping[str, Floats]


# Table 2, one run of inverted residuals per row: (number of blocks, stride of the first block). The
# number of channels follows from the weights. The very first block does not widen.
TABLE_2 = ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1))

# The last map of each stride that SSD uses. Within a block this is the widened map.
TAPS = {8: "block_6_expand_relu", 16: "block_13_expand_relu", 32: "out_relu"}

# Names of batch normalisations that are not the convolution's name + "_BN".
NORMS = {"Conv1": "bn_Conv1", "Conv_1": "Conv_1_bn"}
PARTS = ("gamma", "beta", "moving_mean", "moving_variance")


def conv_unit(
    x: Floats,
    name: str,
    weights: Weights,
    *,
    stride: int = 1,
    padding: str = "same",
    relu: bool = True,
    seen: dict[str, Floats] | None = None,
) -> Floats:
    """Apply a unit: convolution, batch normalisation and, by default, ReLU6.

    If the weights have a bias for the convolution, its normalisation has been folded and is left
    out.

    Args:
        x: (B, H, W, C) map.
        name: Name of the convolution, whose kernel is weights[name + "/kernel"]. It is depthwise if
            "depthwise" is in the name.
        weights: Arrays by name.
        stride: Step of the window.
        padding: "same" or "valid".
        relu: Whether ReLU6 follows.
        seen: If given, the map is stored in it by name, for inspection.

    Returns:
        (B, H', W', F) map.

    Raises:
        KeyError: A weight is missing.
        ValueError, TypeError: As `layers.convolution` and `layers.batch_norm`; the message names
            their argument.
    """
    slide = depthwise_convolution if "depthwise" in name else convolution
    bias = weights.get(f"{name}/bias")
    x = slide(x, weights[f"{name}/kernel"], bias, stride=stride, padding=padding)
    if bias is None:
        norm = NORMS.get(name, f"{name}_BN")
        gamma, beta, mean, variance = (weights[f"{norm}/{part}"] for part in PARTS)
        x = batch_norm(x, gamma, beta, mean, variance)
    x = relu6(x) if relu else x
    if seen is not None:
        seen[name] = x
    return x


def fold(weights: Weights) -> dict[str, Floats]:
    """Fold every batch normalisation of a network into its convolution.

    Args:
        weights: Arrays by name. Arrays without batch normalisation are returned as they are.

    Returns:
        Arrays by name: a kernel and a bias for each convolution.

    Raises:
        KeyError: A part of a batch normalisation is missing.

    Example:
        >>> one, kernel = np.ones(1), np.full((1, 1, 1, 1), 3.0)
        >>> norm = {f"a_BN/{part}": one for part in PARTS}
        >>> sorted(fold({"a/kernel": kernel, **norm}))
        ['a/bias', 'a/kernel']
    """
    folded = dict(weights)
    for path in weights:
        name = path.removesuffix("/kernel")
        norm = NORMS.get(name, f"{name}_BN")
        if path != name and f"{norm}/gamma" in weights:
            gamma, beta, mean, variance = (folded.pop(f"{norm}/{part}") for part in PARTS)
            folded[path], folded[f"{name}/bias"] = fold_batch_norm(
                weights[path], gamma, beta, mean, variance
            )
    return folded


def mobilenet_v2_features(
    images: Floats, weights: Weights, seen: dict[str, Floats] | None = None
) -> dict[int, Floats]:
    """Compute the feature maps of the backbone that SSD uses.

    Args:
        images: (B, H, W, 3) images in [-1, 1], at least 32 × 32.
        weights: Arrays by the names of `keras_impl.models.mobilenet_v2`, of any width multiplier.
        seen: If given, every map is stored in it by name, for inspection.

    Returns:
        The maps by stride: {8: (B, ⌈H/8⌉, ⌈W/8⌉, ...), 16: ..., 32: ...}.

    Raises:
        ValueError: Images that are too small, not RGB or not finite.
        TypeError: Images that are not floats.
        KeyError: A weight is missing.
    """
    check_floats(images, "images", ...)
    if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < 32:
        raise ValueError(
            "images: expected images (batch, height, width, 3) of at least 32 x 32 pixels. "
            f"Received: {images.shape}"
        )
    check_each(images, "images", np.isfinite(images), "a finite number")
    maps = {}
    x = conv_unit(images, "Conv1", weights, stride=2, seen=seen)
    block = 0
    for repeats, run_stride in TABLE_2:
        for repeat in range(repeats):
            name = f"block_{block}" if block else "expanded_conv"
            stride = run_stride if repeat == 0 else 1
            shortcut = x
            if block:
                x = conv_unit(x, f"{name}_expand", weights, seen=seen)
                maps[f"{name}_expand_relu"] = x
            x = conv_unit(x, f"{name}_depthwise", weights, stride=stride, seen=seen)
            x = conv_unit(x, f"{name}_project", weights, relu=False, seen=seen)
            if shortcut.shape == x.shape:
                x = shortcut + x
                if seen is not None:
                    seen[f"{name}_add"] = x
            block += 1
    maps["out_relu"] = conv_unit(x, "Conv_1", weights, seen=seen)
    return {stride: maps[name] for stride, name in TAPS.items()}
