"""Networks that others published, as files that are known to the byte.

MediaPipe's SSD MobileNetV2 comes as a LiteRT file (`OIDV4`). It is fetched, or taken from a file,
only if its SHA-256 is the known one, and kept in Keras' cache as it is and as a weights file.
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

# Ours, trained by docs/training.md.
DIGITS = Path(__file__).with_name("digits_weights.npz")


class Published(NamedTuple):
    """A network that somebody else published, as a file that is known to the byte.

    Attributes:
        name: What it is called on the command line.
        url: Where it is.
        sha256: Of the file.
        size: Of the file, in bytes.
        licence: Its licence, and whose it is.
        class_names: What labels are called, from 1 on.
    """

    name: str
    url: str
    sha256: str
    size: int
    licence: str
    class_names: tuple[str, ...]

    @property
    def file(self) -> Path:
        """Where Keras' cache has the file itself."""
        return keras_home() / "models" / self.url.rsplit("/", 1)[-1]

    @property
    def weights(self) -> Path:
        """Where Keras' cache has the weights file made of it."""
        return keras_home() / "models" / f"mobilenetv2_ssd_{self.name}.npz"


# mediapipe/modules/objectron, whose build pins the same sum; trained on Open Images V4 by
# TensorFlow's Object Detection API. Batch normalisation is folded, numbers are float16.
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
    """The weights file of a detector with a name.

    Raises:
        ValueError: No detector has that name.
        FileNotFoundError: It is known, and not on this machine.

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
            f"({OIDV4.size / 1e6:.0f} MB), `ssd weights {name} --file FILE` takes a copy of yours"
        )
    return path


def read_published(
    published: Published = OIDV4, path: str | os.PathLike[str] | None = None
) -> bytes:
    """The bytes of a published file, if they are the known ones.

    Args:
        published: Which.
        path: Where it is; in Keras' cache if None.

    Raises:
        FileNotFoundError: It is not there.
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
    return check_sum(data, published.sha256, published.size, path)
