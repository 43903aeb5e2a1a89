"""Install a published network in Keras' cache, or load it into a Keras model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_impl._common.files import fetch, write_file
from keras_impl.weights.litert import read_litert
from keras_impl.weights.npz import assign_weights, write_arrays
from keras_impl.weights.published import OIDV4, Published, read_published
from reference_numpy.conventions import tf_od_ssd_mobilenet_v2

if TYPE_CHECKING:
    from keras_impl.models.ssd import SSD

__all__ = [
    "import_litert",
    "install",
]


def install(
    published: Published = OIDV4,
    file: str | os.PathLike[str] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Path:
    """Install a published network in Keras' cache: the file itself and a weights file.

    Args:
        published: The network to install.
        file: A copy of the file on this machine; by default it is downloaded.
        advance: Called with the number of bytes that came since the last call.

    Returns:
        The path of the weights file, which `weights_file` then finds.

    Raises:
        FileNotFoundError: `file` does not exist.
        ConnectionError: The download failed.
        ValueError: It is another file, or it is damaged. Then nothing is installed.
    """
    if file is None:
        data = fetch(published.url, published.sha256, published.size, advance)
    else:
        data = read_published(published, file)
        advance(len(data))
    arrays = read_litert(data, published)
    for path in (published.weights, published.file):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The published file has float16 too, so nothing is lost.
        write_arrays(published.weights, _config_of(published), arrays, np.float16)
        write_file(published.file, data)
    except BaseException:
        published.weights.unlink(missing_ok=True)
        raise
    return published.weights


def _config_of(published: Published) -> dict[str, Any]:
    """Return the configuration of a published network, as `SSD.get_config`, without Keras."""
    convention = asdict(tf_od_ssd_mobilenet_v2())
    return {
        "layout": convention.pop("layout"),
        "num_classes": len(published.class_names),
        "alpha": 1.0,
        "head": "ssd1x1",
        "convention": convention,
        "batch_norm_momentum": None,
        "class_names": list(published.class_names),
        "dtype": "float32",
        "name": "ssd",
    }


def import_litert(path: str | os.PathLike[str], published: Published = OIDV4) -> SSD:
    """Build a published network in Keras, with the weights of its LiteRT file.

    Args:
        path: The LiteRT file.
        published: The network; its SHA-256 must be that of the file.

    Returns:
        An `SSD` of the folded network: convolutions with biases, no batch normalisation.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is another file.
    """
    from keras_impl.models.ssd import ssd_mobilenet_v2_300

    arrays = read_litert(read_published(published, path), published)
    model = ssd_mobilenet_v2_300(
        len(published.class_names), class_names=published.class_names, batch_norm_momentum=None
    )
    assign_weights(model, arrays, path)
    return model
