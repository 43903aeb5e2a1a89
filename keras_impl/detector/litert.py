"""Run a LiteRT file with its interpreter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_impl._common.arrays import Array

__all__ = ["LiteRT", "Outputs"]

Outputs = dict[str, Array]

# Names of the head outputs in TensorFlow's Object Detection API, and ours.
THEIRS = {"raw_outputs/box_encodings": "deltas", "raw_outputs/class_predictions": "logits"}


class LiteRT:
    """The interpreter of a LiteRT file; it runs one image at a time.

    Args:
        model: The path of the file, or its bytes.
        threads: Number of threads; by default one per core.
        keep: Whether to keep every intermediate map for `tensors`. LiteRT then uses its own
            kernels without XNNPACK, which are slower.

    Raises:
        ValueError: It is no LiteRT file, or it needs operations that LiteRT lacks.
    """

    def __init__(
        self, model: bytes | str | os.PathLike[str], threads: int | None = None, keep: bool = False
    ) -> None:
        """Load the file and allocate its tensors."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        source = (
            {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        )
        options: dict[str, Any] = {"num_threads": threads or os.cpu_count() or 1, **source}
        if keep:
            options["experimental_preserve_all_tensors"] = True
            options["experimental_op_resolver_type"] = (
                OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            )
        try:
            self.interpreter = Interpreter(**options)
            self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"model: expected a LiteRT file. Received: {error}") from None
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.outputs: Mapping[str, int] = {
            THEIRS.get(one["name"], one["name"]): one["index"]
            for one in self.interpreter.get_output_details()
        }
        if self.interpreter.get_signature_list():
            named = self.interpreter.get_signature_runner().get_output_details()
            self.outputs = {name: one["index"] for name, one in named.items()}

    def __call__(self, images: Array) -> Outputs:
        """Run prepared images (B, H, W, 3); return the outputs by name, stacked."""
        rows = [self._one(image) for image in images]
        return {name: np.concatenate([row[name] for row in rows]) for name in self.outputs}

    def _one(self, image: Array) -> Outputs:
        self.interpreter.set_tensor(self.input, image[None])
        self.interpreter.invoke()
        found = {name: self.interpreter.get_tensor(at) for name, at in self.outputs.items()}
        if found.get("deltas", np.empty((1, 1, 4))).ndim == 4:  # TensorFlow's API: (1, A, 1, 4)
            found["deltas"] = found["deltas"][:, :, 0]
        return found

    def tensors(self) -> Outputs:
        """Return every map of the last image by its name in the file; needs `keep`."""
        return {
            one["name"]: self.interpreter.get_tensor(one["index"])
            for one in self.interpreter.get_tensor_details()
            if len(one["shape"]) == 4
            and one["dtype"] == np.float32
            and not one["name"].endswith("_dequantize")  # A kernel is no map.
        }
