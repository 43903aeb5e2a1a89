"""Bring a published network into Keras' cache, or into a Keras model."""

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
    """Bring a published network into Keras' cache, as it is and as a weights file.

    Args:
        published: Which.
        file: A copy of it on this machine; it is downloaded if None.
        advance: Told how many bytes came since the last call.

    Returns:
        The weights file, after which `weights_file` finds it.

    Raises:
        FileNotFoundError: There is no such file.
        ConnectionError: The download failed.
        ValueError: It is another file, or damaged. Nothing is left behind.
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
        # float16 is what the file has.
        write_arrays(published.weights, _config_of(published), arrays, np.float16)
        write_file(published.file, data)
    except BaseException:
        published.weights.unlink(missing_ok=True)
        raise
    return published.weights


def _config_of(published: Published) -> dict[str, Any]:
    """What `SSD.get_config` says of a published network; Keras is not needed to say it."""
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
        path: The file, known to the byte.
        published: What it has to be.

    Returns:
        An `SSD` of the folded network: convolutions with biases, no batch normalisation.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is another file.
    """
    from keras_impl.models.ssd import ssd_mobilenet_v2_300

    arrays = read_litert(read_published(published, path), published)
    model = ssd_mobilenet_v2_300(
        len(published.class_names), class_names=published.class_names, batch_norm_momentum=None
    )
    assign_weights(model, arrays, path)
    return model
