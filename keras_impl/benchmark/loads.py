"""Operations, devices and loads of the benchmark."""

from __future__ import annotations

from reference_numpy.conventions import CAFFE_SSD512, SSD300, SSD_MOBILENET300, AnchorLayout

__all__ = [
    "ANCHOR_LOADS",
    "DEVICES",
    "FIRST_LOADS",
    "IMAGE_LOADS",
    "MANY_LOAD",
    "NEW_ARRAYS",
    "OBJECT_LOADS",
    "OPERATIONS",
    "device_kind",
    "sizes",
]

OPERATIONS = (
    *("matching", "decoding", "first_call"),
    *("network", "targets_and_loss", "training_step"),
)
DEVICES = ("cpu", "gpu")
SEED = 0
# Loads of matching: images x objects x anchors.
OBJECT_LOADS = ("32x1x8732", "32x8x8732", "32x32x8732", "8x100x8732")
ANCHOR_LOADS = ("32x32x1917", "32x32x8732", "32x32x24564")
IMAGE_LOADS = ("1x1x8732", "1x10x8732", "1x100x8732", "1x1000x8732")
MANY_LOAD = "1x100000x8732"  # the reference would need 3.5 GB and hours
EAGER_LOAD = "1x8x1917"  # small: in eager mode Python starts every operation of every loop step
LAYOUTS: dict[int, AnchorLayout] = {1917: SSD_MOBILENET300, 8732: SSD300, 24564: CAFFE_SSD512}
# Loads of decoding: 8 images with 8732 anchors and 21 classes; photographs with 1917 and 24.
DECODING_LOADS = ("realistic", "hard", "photographs")
DECODING_BATCH = DECODING_OBJECTS = 8
# Of the first calls of the host path: where numba finds no compiled code, and where it does.
FIRST_LOADS = ("empty cache", "warm cache")
NETWORK_LOAD = "1x2884"  # images x anchors of the digit detector
TRAINING_LOAD = "8x10x2884"
NEW_ARRAYS = " (new arrays)"  # suffix of an implementation that is called without `out`


def sizes(load: str) -> tuple[int, ...]:
    """Return the numbers in the name of a load.

    Example:
        >>> sizes("32x8x8732")
        (32, 8, 8732)
    """
    numbers = str(load).split("x")
    if not all(number.isdecimal() for number in numbers):
        raise ValueError(f"load: expected whole numbers joined by x. Received: {load!r}")
    return tuple(map(int, numbers))


def device_kind(device: str) -> str:
    """Return the kind of a Keras device: "gpu" for "gpu:0"."""
    return device.partition(":")[0]
