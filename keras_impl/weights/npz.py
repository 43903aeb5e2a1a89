"""Weights by name, in a file that holds nothing but numbers; and those of others, imported.

A weights file is an `.npz` with one array for each variable, named as Keras names it
("block_1_expand/kernel"), and the text of the network's configuration. It is read with
`allow_pickle=False`: nothing in it is ever run, so a file from a stranger is only data.

MediaPipe's SSD MobileNetV2 comes as a LiteRT file (`OIDV4`). It is fetched, or taken from a file,
only if its SHA-256 is the known one, and kept in Keras' cache as it is and as a weights file.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from keras_impl._common.files import check_sum, fetch, keras_home, write_file
from reference_numpy.conventions import tf_od_ssd_mobilenet_v2
from reference_numpy.mobilenet_v2 import NORMS

if TYPE_CHECKING:
    from keras_impl.models.ssd import SSD

__all__ = [
    "DETECTORS",
    "DIGITS",
    "OIDV4",
    "Published",
    "import_litert",
    "install",
    "litert_name",
    "load_model",
    "load_weights",
    "read_litert",
    "read_published",
    "read_weights",
    "save_weights",
    "unfold",
    "weights_file",
]

DIGITS = Path(__file__).with_name("digits_weights.npz")
CONFIG = "config.json"
LARGEST = 512 * 2**20  # bytes of arrays: bounds what a foreign file can make us allocate


class Published(NamedTuple):
    """A network that somebody else published, as a file that is known to the byte.

    Attributes:
        name: What it is called on the command line.
        url: Where it is.
        sha256: Of the file.
        size: Of the file, in bytes.
        licence: Its licence, and whose it is.
        classes: What labels are called, from 1 on.
    """

    name: str
    url: str
    sha256: str
    size: int
    licence: str
    classes: tuple[str, ...]

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
    classes=(
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

DETECTORS = ("digits", "oidv4")

# What TensorFlow's Object Detection API calls a convolution, and what it is called here.
SCOPES = (
    (r"Conv", "Conv1"),
    (r"Conv_1", "Conv_1"),
    (r"expanded_conv/(\w+)", "expanded_conv_{0}"),
    (r"expanded_conv_(\d+)/(\w+)", "block_{0}_{1}"),
    (r"layer_19_1_Conv2d_(\d)_1x1_\d+", "extra_{0}_squeeze"),
    (r"layer_19_2_Conv2d_(\d)_3x3_s2_\d+", "extra_{0}_conv"),
    (r"BoxPredictor_(\d)/BoxEncodingPredictor", "head_{0}_deltas"),
    (r"BoxPredictor_(\d)/ClassPredictor", "head_{0}_logits"),
)


def save_weights(model: SSD, path: str | os.PathLike[str], dtype: DTypeLike = np.float32) -> None:
    """Write the weights of a model, all or nothing.

    Args:
        model: An `SSD`.
        path: File to write, ".npz".
        dtype: Float dtype in the file; float16 halves it and rounds to 11 bits.

    Raises:
        ValueError: `path` does not end in .npz, or a weight does not fit in `dtype`.
    """
    _save(path, model.get_config(), _by_name(model), dtype)


def _save(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    dtype: DTypeLike,
) -> None:
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz. Received: {path}")
    with np.errstate(over="ignore"):  # it is said below, by name
        stored: dict[str, Any] = {
            name: value.astype(dtype) for name, value in sorted(arrays.items())
        }
    for name, value in stored.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: expected numbers that are finite in {np.dtype(dtype)}")
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


def load_model(
    path: str | os.PathLike[str] = DIGITS, *, batch_norm_momentum: float | None = None
) -> SSD:
    """Build the network a weights file describes, and read the weights into it.

    Args:
        path: A file that `save_weights` wrote; the shipped digit detector's if not given.
        batch_norm_momentum: Given for a folded network, it gets batch normalisations again, which
            change nothing (`unfold`), so that it can be trained.

    Returns:
        An `SSD`, ready to detect.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a file, or damaged.
    """
    from keras_impl.models.ssd import SSD

    config, arrays = read_weights(path)
    if batch_norm_momentum is not None and config.get("batch_norm_momentum") is None:
        config, arrays = {**config, "batch_norm_momentum": batch_norm_momentum}, unfold(arrays)
    try:
        model = SSD.from_config(config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"weights: expected the configuration of a known network. Received: {path} ({error})"
        ) from None
    _assign(model, arrays, path)
    return model


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


# --- Published by others ------------------------------------------------------------------


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
        _save(published.weights, _config_of(published), arrays, np.float16)
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
        "classes": len(published.classes),
        "alpha": 1.0,
        "head": "ssd1x1",
        "convention": convention,
        "batch_norm_momentum": None,
        "names": list(published.classes),
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
        len(published.classes), names=published.classes, batch_norm_momentum=None
    )
    _assign(model, arrays, path)
    return model


def read_litert(data: bytes, published: Published = OIDV4) -> dict[str, NDArray[np.float32]]:
    """The kernels and biases of a published LiteRT file, by our names.

    A tensor is called after the operations it went through, in the order in which they were
    folded into one, with ";" between: the first says which convolution it belongs to. A kernel
    (filters, rows, columns, channels) has four axes, a bias one; both are float16. Each is used
    exactly once.

    Args:
        data: The bytes of the file: LiteRT is never given others to parse.
        published: What they have to be.

    Returns:
        Arrays by name: a kernel and a bias for each convolution.

    Raises:
        ValueError: They are those of another file.
    """
    from ai_edge_litert.interpreter import Interpreter

    check_sum(data, published.sha256, published.size, "the bytes given")
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    arrays: dict[str, NDArray[np.float32]] = {}
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] != np.float16:
            continue
        layer = litert_name(tensor["name"])
        if layer is None:
            raise ValueError(
                f"{published.name}: expected a known tensor. Received: {tensor['name']!r}"
            )
        name = f"{layer}/{'kernel' if len(tensor['shape']) == 4 else 'bias'}"
        if name in arrays:
            raise ValueError(
                f"{published.name}: expected {name} once. Received: it again, {tensor['name']}"
            )
        value = np.asarray(interpreter.get_tensor(tensor["index"]), np.float32)
        arrays[name] = value.transpose(1, 2, 3, 0) if value.ndim == 4 else value
    return arrays


def litert_name(tensor: str) -> str | None:
    """What the layer is called here that a tensor of TensorFlow's SSD MobileNetV2 belongs to.

    Args:
        tensor: Its name in the LiteRT file: a kernel, a bias, or a map.

    Returns:
        Our name; None if it belongs to none.

    Example:
        >>> litert_name("FeatureExtractor/MobilenetV2/expanded_conv_3/project/Conv2D")
        'block_3_project'
    """
    first = tensor.split(";")[0].removeprefix("FeatureExtractor/MobilenetV2/")
    scope = re.sub(r"/(Conv2D|BiasAdd|BatchNorm/FusedBatchNormV3|Relu6)$", "", first)
    for pattern, ours in SCOPES:
        if match := re.fullmatch(pattern, scope):
            numbers = match.groups()
            if ours.startswith("extra"):
                numbers = (str(int(numbers[0]) - 1),)  # theirs count from 2
            return ours.format(*numbers)
    return None


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


def unfold(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Give a folded network batch normalisations that change nothing, so that it can be trained.

    The bias of a convolution becomes the beta of its normalisation; gamma is 1, the mean 0, and the
    variance 1 - epsilon, so that the division is one by 1. Heads keep their biases.

    Args:
        arrays: Kernels and biases by name.

    Returns:
        Arrays by name, for the same network with batch normalisation.

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
