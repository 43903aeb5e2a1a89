"""Read the weights of a published LiteRT file and rename them to ours."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from keras_impl._common.files import check_sum
from keras_impl.weights.published import OIDV4, Published

__all__ = [
    "litert_name",
    "read_litert",
]

# Patterns for names of convolutions in TensorFlow's Object Detection API, and our names.
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


def read_litert(data: bytes, published: Published = OIDV4) -> dict[str, NDArray[np.float32]]:
    """Read the kernels and biases of a published LiteRT file, by our names.

    The name of a tensor lists the operations that were folded into it, joined by ";"; the first is
    its convolution. Kernels (filters, rows, columns, channels) have four axes, biases one; both are
    float16. Each is used exactly once.

    Args:
        data: The bytes of the file. They are checked before LiteRT parses them.
        published: The network; size and SHA-256 of the bytes must be those of its file.

    Returns:
        Arrays by name: a kernel and a bias for each convolution.

    Raises:
        ValueError: The bytes are those of another file.
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
                f"{published.name}: expected {name} once. Received: a second one, {tensor['name']}"
            )
        value = np.asarray(interpreter.get_tensor(tensor["index"]), np.float32)
        arrays[name] = value.transpose(1, 2, 3, 0) if value.ndim == 4 else value
    return arrays


def litert_name(tensor: str) -> str | None:
    """Return our name of the layer that a tensor of TensorFlow's SSD MobileNetV2 belongs to.

    Args:
        tensor: Name of a kernel, a bias or a map in the LiteRT file.

    Returns:
        Our name of the layer; None if the tensor belongs to no layer.

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
