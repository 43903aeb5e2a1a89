"""Published networks, each identified by the SHA-256 of its file.

MediaPipe publishes its SSD MobileNetV2 as a LiteRT file (`OIDV4`). A download or a copy is accepted
only if its SHA-256 is the known one. Keras' cache then holds the file itself and a weights file
made from it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from keras_impl._common.choices import DETECTORS
from keras_impl._common.files import check_sum, keras_home

__all__ = [
    "DIGITS",
    "OIDV4",
    "Published",
    "read_published",
    "weights_file",
]

# The shipped digit detector; docs/training.md says how it was trained.
DIGITS = Path(__file__).with_name("digits_weights.npz")


class Published(NamedTuple):
    """A published network and its file.

    Attributes:
        name: Name on the command line.
        url: Source of the file.
        sha256: SHA-256 of the file, in hexadecimal.
        size: Size of the file in bytes.
        licence: Licence and owner.
        class_names: Names of the classes, from label 1 on.
    """

    name: str
    url: str
    sha256: str
    size: int
    licence: str
    class_names: tuple[str, ...]

    @property
    def file(self) -> Path:
        """Path of the file itself in Keras' cache."""
        return keras_home() / "models" / self.url.rsplit("/", 1)[-1]

    @property
    def weights(self) -> Path:
        """Path of the weights file in Keras' cache."""
        return keras_home() / "models" / f"mobilenetv2_ssd_{self.name}.npz"


# From mediapipe/modules/objectron, whose build pins the same SHA-256. Trained on Open Images V4
# with TensorFlow's Object Detection API. Batch normalisation is folded; weights are float16.
OIDV4 = Published(
    name="oidv4",
    url="https://storage.googleapis.com/mediapipe-assets/"
    "object_detection_ssd_mobilenetv2_oidv4_fp16.tflite",
    sha256="d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6",
    size=9_987_728,
    licence="Apache-2.0, The MediaPipe Authors",
    class_names=(
        "Bicycle",
        "Boot",
        "Laptop",
        "Person",
        "Chair",
        "Cattle",
        "Desk",
        "Cat",
        "Computer mouse",
        "Computer monitor",
        "Box",
        "Mug",
        "Coffee cup",
        "Stationary bicycle",
        "Table",
        "Bottle",
        "High heels",
        "Vehicle",
        "Footwear",
        "Dog",
        "Book",
        "Camera",
        "Car",
    ),
)


def weights_file(name: str) -> Path:
    """Return the weights file of a detector by its name, "digits" or "oidv4".

    Raises:
        ValueError: The name is unknown.
        FileNotFoundError: The weights are not on this machine.

    Example:
        >>> weights_file("digits").name
        'digits_weights.npz'
    """
    if name not in DETECTORS:
        raise ValueError(f"model: expected one of {', '.join(DETECTORS)}. Received: {name!r}")
    path = DIGITS if name == "digits" else OIDV4.weights
    if not path.is_file():
        raise FileNotFoundError(
            f"model: {name} is not on this machine; `ssd weights {name}` fetches it "
            f"({OIDV4.size / 1e6:.0f} MB), `ssd weights {name} --file FILE` uses your copy"
        )
    return path


def read_published(
    published: Published = OIDV4, path: str | os.PathLike[str] | None = None
) -> bytes:
    """Read a published file and check its size and SHA-256.

    Args:
        published: The network.
        path: The file; by default the one in Keras' cache.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is another file.
    """
    if path is None and not published.file.is_file():
        raise FileNotFoundError(
            f"model: expected {published.file}; `ssd weights {published.name}` fetches it"
        )
    path = Path(path or published.file)
    if not path.is_file():
        raise FileNotFoundError(f"file: expected a file. Received: {path}")
    with path.open("rb") as stream:
        data = stream.read(published.size + 1)
    try:
        return check_sum(data, published.sha256, published.size, path)
    except ValueError as error:
        if path != published.file:
            raise
        raise ValueError(f"{error}; run `ssd weights {published.name}` again") from None
