"""Forward pass of the whole network: backbone, extra feature maps, heads.

SSD predicts from several feature maps, the finer ones for smaller objects (arXiv:1512.02325,
section 2.1). `forward` turns prepared images into deltas and logits for every anchor, and
`detection` turns those into detections.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_numpy._typing import Floats
from reference_numpy.anchors import level_shapes
from reference_numpy.checks import check_floats
from reference_numpy.conventions import AnchorLayout
from reference_numpy.mobilenet_v2 import Weights, conv_unit, mobilenet_v2_features

__all__ = ["feature_maps", "forward"]


def feature_maps(
    images: Floats,
    weights: Weights,
    layout: AnchorLayout,
    seen: dict[str, Floats] | None = None,
) -> list[Floats]:
    """Compute the feature map of every level, the finest first.

    The first maps are those of the backbone, from the stride whose map has the size of the layout's
    finest map. Each further map is made from the one before by a 1 × 1 unit, which narrows it, and
    a 3 × 3 unit. The 3 × 3 unit has stride 2 where the layout halves the map, and otherwise no
    padding (the last maps of SSD300). In SSDLite a depthwise unit and a 1 × 1 unit replace the
    3 × 3 unit (arXiv:1801.04381, section 6.2).

    Args:
        images: (B, H, W, 3) images in [-1, 1], of the layout's size.
        weights: Arrays by name, as returned by `keras_impl.weights.npz.read_weights`.
        layout: The layout of the anchors.
        seen: If given, every map is stored in it by name, for inspection.

    Returns:
        One (B, rows, columns, C) map per level.

    Raises:
        ValueError: Images of another size or not finite, or a map that the network cannot make.
        TypeError: Images that are not floats.
        KeyError: A weight is missing.
    """
    check_floats(images, "images", "B", *layout.image_size, 3)
    taps = [x for _, x in sorted(mobilenet_v2_features(images, weights, seen).items())]
    sizes = [x.shape[1:3] for x in taps]
    if layout.feature_maps[0] not in sizes:
        raise ValueError(
            f"layout: expected a first feature map that the backbone has, one of {sizes}. "
            f"Received: {layout.feature_maps} in {layout.name}"
        )
    taps = taps[sizes.index(layout.feature_maps[0]) :]
    maps = taps[: len(layout.feature_maps)]
    for level in range(len(maps), len(layout.feature_maps)):
        name = f"extra_{level - len(taps) + 1}"
        x = conv_unit(maps[-1], f"{name}_squeeze", weights, seen=seen)
        rows, columns = x.shape[1:3]
        halves = layout.feature_maps[level] == (-(-rows // 2), -(-columns // 2))
        window: dict[str, Any] = {"stride": 2} if halves else {"padding": "valid"}
        window["seen"] = seen
        if f"{name}_depthwise/kernel" in weights:
            x = conv_unit(x, f"{name}_depthwise", weights, **window)
            x = conv_unit(x, f"{name}_pointwise", weights, seen=seen)
        else:
            x = conv_unit(x, f"{name}_conv", weights, **window)
        maps.append(x)
    found = tuple(x.shape[1:3] for x in maps)
    if found != layout.feature_maps:
        raise ValueError(
            f"layout: expected feature maps {found}, as the network makes them. "
            f"Received: {layout.feature_maps} in {layout.name}"
        )
    return maps


def forward(
    images: Floats,
    weights: Weights,
    layout: AnchorLayout,
    seen: dict[str, Floats] | None = None,
) -> tuple[Floats, Floats]:
    """Compute the head outputs for every anchor: deltas and logits.

    Each map has one head for the boxes, with four numbers per shape, and one for the classes. A
    head is a convolution with bias: 3 × 3 in SSD, 1 × 1 in TensorFlow's SSD on MobileNet. In
    SSDLite it is a depthwise unit and a 1 × 1 convolution with bias. The weights decide which.

    Args:
        images: (B, H, W, 3) images in [-1, 1], of the layout's size.
        weights: As in `feature_maps`.
        layout: As in `feature_maps`.
        seen: As in `feature_maps`; the outputs of the heads are stored, too.

    Returns:
        (B, A, 4) deltas and (B, A, C + 1) logits, in the order of the anchors.

    Raises:
        ValueError, TypeError, KeyError: As `feature_maps`.

    Example:
        >>> from keras_impl.weights import read_weights, weights_file
        >>> from reference_numpy import LAYOUTS
        >>> config, weights = read_weights(weights_file("digits"))
        >>> image = np.full((1, 224, 224, 3), -1, np.float32)
        >>> deltas, logits = forward(image, weights, LAYOUTS["digits224"])
        >>> deltas.shape, logits.shape
        ((1, 2884, 4), (1, 2884, 11))
    """
    maps = feature_maps(images, weights, layout, seen)
    outputs = []
    for output in ("deltas", "logits"):
        flat = []
        for level, x in enumerate(maps):
            name, shapes = f"head_{level}_{output}", len(level_shapes(layout, level))
            if f"{name}_depthwise/kernel" in weights:
                x = conv_unit(x, f"{name}_depthwise", weights, seen=seen)
            x = conv_unit(x, name, weights, relu=False, seen=seen)
            # Channels are grouped by shape: (B, rows, columns, shapes × numbers).
            batch, rows, columns, channels = x.shape
            x = x.reshape(batch, rows * columns, shapes, channels // shapes)
            if layout.order == "shape":
                x = x.transpose(0, 2, 1, 3)
            flat.append(x.reshape(batch, rows * columns * shapes, x.shape[-1]))
        outputs.append(np.concatenate(flat, axis=1))
    return outputs[0], outputs[1]
