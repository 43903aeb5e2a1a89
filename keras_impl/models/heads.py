"""Extra feature maps and the two heads of each map, which SSD adds to a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from keras import layers

from keras_impl.models.mobilenet_v2 import TAPS, make_divisible
from reference_numpy.conventions import AnchorLayout

__all__ = [
    "HEADS",
    "MapStep",
    "feature_maps",
    "head_output",
    "map_steps",
]

Head = Literal["ssd", "ssd1x1", "ssdlite"]
HEADS: tuple[Head, ...] = get_args(Head)
# Channels of the extra maps before the width multiplier, as in TensorFlow's SSD on MobileNet.
# Further maps have as many as the last.
EXTRA_CHANNELS = (512, 256, 256, 128)


class MapStep(NamedTuple):
    """How one feature map is computed.

    Attributes:
        tap: Stride of the backbone's map that is used; None for an extra map.
        stride: For an extra map, stride of its 3x3 convolution over the previous map.
        padding: For an extra map, padding of that convolution.
    """

    tap: int | None
    stride: int = 1
    padding: str = "same"


def map_steps(layout: AnchorLayout) -> list[MapStep]:
    """Choose how to compute each feature map of a layout, from the map sizes.

    The finest map is the backbone's at stride 8, 16 or 32; the backbone's coarser maps follow.
    Each extra map then halves the previous map (ceil(n / 2): 3x3 at stride 2) or, as in the last
    maps of SSD300, drops its border (n - 2: 3x3 without padding). If both fit, it halves.

    Args:
        layout: The layout.

    Returns:
        One step for each feature map.

    Raises:
        ValueError: A map has a size that cannot be computed.

    Example:
        >>> from reference_numpy import LAYOUTS
        >>> [step.tap for step in map_steps(LAYOUTS["ssdlite320"])]
        [16, 32, None, None, None, None]
    """
    maps = [tuple(size) for size in layout.feature_maps]
    sizes = {stride: _ceil_div(layout.image_size, stride) for stride in sorted(TAPS)}

    def misfit(level: int, expected: str) -> ValueError:
        return ValueError(
            f"layout.feature_maps[{level}]: expected {expected}. "
            f"Received: {maps[level]} in {layout.name!r}"
        )

    # For sides of 32 pixels or more, the three maps differ in size: at most one stride fits.
    finest = next((stride for stride, size in sizes.items() if size == maps[0]), None)
    if finest is None:
        choice = " or ".join(map(str, sizes.values()))
        raise misfit(0, f"{choice} (stride 8, 16 or 32 of {tuple(layout.image_size)} pixels)")
    taps = [stride for stride in sizes if stride >= finest][: len(maps)]
    for level, stride in enumerate(taps):
        if maps[level] != sizes[stride]:
            raise misfit(level, f"{sizes[stride]} (the backbone's map of stride {stride})")
    steps = [MapStep(stride) for stride in taps]
    for level in range(len(steps), len(maps)):
        half = _ceil_div(maps[level - 1], 2)
        inner = tuple(side - 2 for side in maps[level - 1])
        if maps[level] == half:
            steps.append(MapStep(None, 2, "same"))
        elif maps[level] == inner:
            steps.append(MapStep(None, 1, "valid"))
        else:
            raise misfit(level, f"{half} (half the previous map) or {inner} (without its border)")
    return steps


def feature_maps(
    taps: Mapping[int, Any],
    steps: Sequence[MapStep],
    alpha: float,
    separable: bool,
    unit: Callable[..., Any],
) -> list[Any]:
    """Compute the feature map of every level, the finest first."""
    maps: list[Any] = []
    extras = 0
    for step in steps:
        if step.tap is not None:
            maps.append(taps[step.tap])
            continue
        wanted = EXTRA_CHANNELS[min(extras, len(EXTRA_CHANNELS) - 1)] * alpha
        channels = make_divisible(wanted, min_value=16)
        extras += 1
        name = f"extra_{extras}"
        x = unit(maps[-1], f"{name}_squeeze", make_divisible(wanted / 2, min_value=8))
        window = {"kernel": 3, "stride": step.stride, "padding": step.padding}
        if separable:
            x = unit(x, f"{name}_depthwise", **window)
            x = unit(x, f"{name}_pointwise", channels)
        else:
            x = unit(x, f"{name}_conv", channels, **window)
        maps.append(x)
    return maps


def head_output(
    x: Any,
    name: str,
    shapes: int,
    width: int,
    head: Head,
    unit: Callable[..., Any],
    policy: Any,
    by_shape: bool,
) -> Any:
    """Predict `width` numbers for each of `shapes` anchors a cell: (B, cells * shapes, width)."""
    rows, columns = x.shape[1:3]
    if head == "ssdlite":
        x = unit(x, f"{name}_depthwise", kernel=3)
    x = layers.Conv2D(
        shapes * width,
        3 if head == "ssd" else 1,
        padding="same",
        data_format="channels_last",
        dtype=policy,
        name=name,
    )(x)
    target = (rows * columns * shapes, width)
    if by_shape:  # anchor order: all cells of the first shape, then all cells of the next
        x = layers.Reshape((rows * columns, shapes, width), dtype=policy, name=f"{name}_cells")(x)
        x = layers.Permute((2, 1, 3), dtype=policy, name=f"{name}_by_shape")(x)
    # Otherwise anchors are in the order cell, shape, which is the order of the channels.
    return layers.Reshape(target, dtype=policy, name=f"{name}_flat")(x)


def _ceil_div(sides: Sequence[int], divisor: int) -> tuple[int, ...]:
    """Divide each side and round up."""
    return tuple(-(-side // divisor) for side in sides)
