"""Read and write weights files.

A weights file is an `.npz` with one array for each variable, under its name in Keras
("block_1_expand/kernel"), and the network's configuration as JSON text. It is read with
`allow_pickle=False`, so nothing in a file from a stranger is ever executed.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from keras_impl._common.files import write_file
from keras_impl.weights.published import DIGITS, OIDV4
from reference_numpy.mobilenet_v2 import NORMS

if TYPE_CHECKING:
    from keras_impl.models.ssd import SSD

__all__ = [
    "assign_weights",
    "load_model",
    "load_weights",
    "read_weights",
    "save_weights",
    "unfold",
    "write_arrays",
]

CONFIG = "config.json"
LARGEST = 512 * 2**20  # bytes of arrays; a file from a stranger must not claim all memory
LONGEST = 1_000_000  # characters of the configuration


def save_weights(model: SSD, path: str | os.PathLike[str], dtype: DTypeLike = np.float32) -> None:
    """Write the weights of a model to a file, all or nothing.

    Args:
        model: The model.
        path: File to write, ".npz".
        dtype: Float dtype in the file; float16 halves its size and rounds weights to 11 bits.

    Raises:
        ValueError: `path` does not end in .npz, or a weight does not fit in `dtype`.
    """
    write_arrays(path, model.get_config(), _by_name(model), dtype)


def write_arrays(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    dtype: DTypeLike,
) -> None:
    """Write arrays and a configuration to a weights file, all or nothing."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz. Received: {path}")
    with np.errstate(over="ignore"):  # An overflow is reported below, with the name.
        stored: dict[str, Any] = {
            name: value.astype(dtype) for name, value in sorted(arrays.items())
        }
    for name, value in stored.items():
        if not np.isfinite(value).all():
            raise ValueError(
                f"{name}: expected numbers that are finite in {np.dtype(dtype)}. "
                "Received: NaN, infinity or a number too large"
            )
    stored[CONFIG] = np.array(json.dumps(config, sort_keys=True))
    archive = io.BytesIO()
    np.savez_compressed(archive, allow_pickle=False, **stored)
    write_file(path, archive.getvalue())


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a weights file.

    Args:
        path: A file that `save_weights` wrote.

    Returns:
        The network's configuration, and the arrays by name in float32.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is no weights file, is damaged, or is too large.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights: expected a file. Received: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST:
            raise ValueError(f"{size} bytes of arrays, more than {LARGEST}")
        with np.load(path, allow_pickle=False) as stored:
            if CONFIG not in stored.files:
                raise ValueError(f"an archive without {CONFIG}")
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
        if len(text := str(arrays.pop(CONFIG))) > LONGEST:
            raise ValueError(f"{CONFIG} of {len(text)} characters, more than {LONGEST}")
        config = json.loads(text)
        if not isinstance(config, dict):
            raise ValueError(f"{CONFIG} is a {type(config).__name__}")
        # A network is built from the configuration before its arrays are compared: a class has one
        # number at least, and a network of width alpha a million times alpha squared.
        held = sum(value.size for value in arrays.values())
        for name, power, each in (("num_classes", 1, 1), ("alpha", 2, 10**6)):
            value = config.get(name)
            if isinstance(value, int | float) and value > (held / each) ** (1 / power):
                raise ValueError(f"{name} asks for larger arrays than it has: {str(value)[:20]}")
        return config, {name: _float32(name, value) for name, value in arrays.items()}
    except Exception as error:  # On a damaged file zipfile, zlib and NumPy raise many kinds.
        again = f"; run `ssd weights {OIDV4.name}` again" if path == OIDV4.weights else ""
        raise ValueError(
            f"weights: expected a file written by this program. Received: {path} ({error}){again}"
        ) from None


def _float32(name: str, value: NDArray[Any]) -> NDArray[np.float32]:
    if value.dtype.kind != "f":
        raise ValueError(f"{name} holds {value.dtype}")
    with np.errstate(over="ignore"):
        single = value.astype(np.float32)
    if not np.isfinite(single).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return single


def load_weights(model: SSD, path: str | os.PathLike[str]) -> None:
    """Read weights into a model of the same network.

    Args:
        model: The model.
        path: A file that `save_weights` wrote.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is no weights file, or it belongs to another network.
    """
    assign_weights(model, read_weights(path)[1], path)


def load_model(
    path: str | os.PathLike[str] = DIGITS, *, batch_norm_momentum: float | None = None
) -> SSD:
    """Load a model from a weights file, which describes the network too.

    Args:
        path: A file that `save_weights` wrote; by default that of the shipped digit detector.
        batch_norm_momentum: For a folded network: adds batch normalisations with this momentum, so
            that it can be trained. They change nothing at first (`unfold`).

    Returns:
        An `SSD`, ready to detect.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is no weights file, or it is damaged.
    """
    from keras_impl.models.ssd import SSD

    config, arrays = read_weights(path)
    if batch_norm_momentum is not None and config.get("batch_norm_momentum") is None:
        config, arrays = {**config, "batch_norm_momentum": batch_norm_momentum}, unfold(arrays)
    try:
        model = SSD.from_config(config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = f"without {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"weights: expected the configuration of a known network. Received: {path} ({reason})"
        ) from None
    assign_weights(model, arrays, path)
    return model


def unfold(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Add batch normalisations that change nothing to a folded network, so that it can be trained.

    The bias of a convolution becomes the beta of its normalisation; gamma is 1, the mean 0 and the
    variance 1 - epsilon, so that the normalisation divides by 1. Heads keep their biases.

    Args:
        arrays: Kernels and biases of the folded network by name.

    Returns:
        Arrays by name for the same network with batch normalisation.

    Example:
        >>> made = unfold({"Conv1/kernel": np.ones((1, 1, 3, 2)), "Conv1/bias": np.zeros(2)})
        >>> sorted(made)[2:], made["bn_Conv1/moving_variance"]
        (['bn_Conv1/gamma', 'bn_Conv1/moving_mean', 'bn_Conv1/moving_variance'],
         array([0.999, 0.999], dtype=float32))
    """
    made: dict[str, NDArray[np.float32]] = {}
    for path, value in arrays.items():
        name, _, part = path.rpartition("/")
        if part != "bias" or name.startswith("head_"):
            made[path] = value
            continue
        norm = NORMS.get(name, f"{name}_BN")
        made[f"{norm}/beta"] = value
        for part, number in (("gamma", 1.0), ("moving_mean", 0.0), ("moving_variance", 0.999)):
            made[f"{norm}/{part}"] = np.full(value.shape, number, np.float32)
    return made


def _by_name(model: SSD) -> dict[str, NDArray[Any]]:
    return {variable.path: np.asarray(variable) for variable in model.weights}


def assign_weights(model: SSD, arrays: dict[str, NDArray[Any]], path: Any) -> None:
    """Assign each variable the array of its name; if one does not fit, change nothing."""
    variables = {variable.path: variable for variable in model.weights}
    if different := variables.keys() ^ arrays.keys():
        raise ValueError(
            f"weights: expected exactly the {len(variables)} variables of the network. "
            f"Received: {path}, whose names differ in {len(different)}, such as {min(different)}"
        )
    for name, variable in variables.items():
        if tuple(variable.shape) != arrays[name].shape:
            raise ValueError(
                f"weights: expected {name} of shape {tuple(variable.shape)}. "
                f"Received: {arrays[name].shape} in {path}"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])
