"""Weights by name, in a file that holds nothing but numbers.

A weights file is an `.npz` with one array for each variable, named as Keras names it
("block_1_expand/kernel"), and the text of the network's configuration. It is read with
`allow_pickle=False`: nothing in it is ever run, so a file from a stranger is only data.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    from keras_impl.ssd import SSD

__all__ = ["DIGITS", "load_model", "load_weights", "read_weights", "save_weights"]

DIGITS = Path(__file__).parent / "data" / "digits_weights.npz"
CONFIG = "config.json"
LARGEST = 512 * 2**20  # bytes of arrays: bounds what a foreign file can make us allocate


def save_weights(model: SSD, path: str | os.PathLike[str], dtype: DTypeLike = np.float32) -> None:
    """Write the weights of a model, all or nothing.

    Args:
        model: An `SSD`.
        path: File to write, ".npz".
        dtype: Float dtype in the file; float16 halves it and rounds to 11 bits.

    Raises:
        ValueError: `path` does not end in .npz, or a weight does not fit in `dtype`.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz. Received: {path}")
    with np.errstate(over="ignore"):  # it is said below, by name
        arrays: dict[str, Any] = {
            name: value.astype(dtype) for name, value in sorted(_by_name(model).items())
        }
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: expected numbers that are finite in {np.dtype(dtype)}")
    arrays[CONFIG] = np.array(json.dumps(model.get_config(), sort_keys=True))
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    os.replace(unfinished, path)


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a weights file.

    Args:
        path: A file that `save_weights` wrote.

    Returns:
        The network's configuration, and the arrays by name in float32.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a file, or damaged, or too large.
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
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
        config = json.loads(str(arrays.pop(CONFIG)))
        if not isinstance(config, dict):
            raise ValueError(f"{CONFIG} is a {type(config).__name__}")
        return config, {name: _float32(name, value) for name, value in arrays.items()}
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on a damaged file
        raise ValueError(
            f"weights: expected a file written by this program. Received: {path} ({error})"
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
        model: An `SSD`.
        path: A file that `save_weights` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a file, or of another network.
    """
    _assign(model, read_weights(path)[1], path)


def load_model(path: str | os.PathLike[str] = DIGITS) -> SSD:
    """Build the network a weights file describes, and read the weights into it.

    Args:
        path: A file that `save_weights` wrote; the shipped digit detector's if not given.

    Returns:
        An `SSD`, ready to detect.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a file, or damaged.
    """
    from keras_impl.ssd import SSD

    config, arrays = read_weights(path)
    try:
        model = SSD.from_config(config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"weights: expected the configuration of a known network. Received: {path} ({error})"
        ) from None
    _assign(model, arrays, path)
    return model


def _by_name(model: SSD) -> dict[str, NDArray[Any]]:
    return {variable.path: np.asarray(variable) for variable in model.weights}


def _assign(model: SSD, arrays: dict[str, NDArray[Any]], path: Any) -> None:
    variables = {variable.path: variable for variable in model.weights}
    if different := variables.keys() ^ arrays.keys():
        raise ValueError(
            f"weights: expected exactly the {len(variables)} variables of the network. "
            f"Received: {path}, which differs in {len(different)}, such as {min(different)}"
        )
    for name, variable in variables.items():
        if tuple(variable.shape) != arrays[name].shape:
            raise ValueError(
                f"weights: expected {name} of shape {tuple(variable.shape)}. "
                f"Received: {arrays[name].shape} in {path}"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])
