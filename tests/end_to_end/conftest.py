"""What the tests of the program share: weights that always say the same, and a way to run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import keras_impl


@pytest.fixture(scope="session")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a digit detector that sees one 7 in the middle of every image.

    The heads look at nothing: their kernels are 0. Their biases say background everywhere but
    at anchor 2882, the square of side .85 in the one cell of the coarsest map. There they say
    7 with a score of e^5 / (e^5 + 10), and its box is left as it is.
    """
    from keras_impl.models.ssd import SSD
    from keras_impl.weights.npz import save_weights

    model = SSD("digits224", num_classes=10, alpha=0.35, class_names=list("0123456789"))
    for layer in model.layers:
        if not layer.name.startswith("head_") or not layer.weights:
            continue
        kernel, bias = layer.kernel, layer.bias
        kernel.assign(np.zeros(kernel.shape))
        says = np.zeros(bias.shape)
        if layer.name.endswith("logits"):
            by_shape = says.reshape(-1, 11)
            by_shape[:, 0] = 5
            if "_5_" in layer.name:
                by_shape[0] = np.eye(11)[8] * 5
        bias.assign(says)
    path = tmp_path_factory.mktemp("weights") / "seven.npz"
    save_weights(model, path)
    return path


@pytest.fixture(scope="session")
def other_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that is no digit detector: three classes."""
    from keras_impl.models.ssd import SSD
    from keras_impl.weights.npz import save_weights

    path = tmp_path_factory.mktemp("weights") / "three.npz"
    save_weights(SSD("digits224", num_classes=3, alpha=0.35), path)
    return path


@pytest.fixture(scope="session")
def run_ssd() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program in a process of its own, with the package that this test sees."""
    packages = str(Path(keras_impl.__file__).parents[1])

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "keras_impl", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": packages},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
            **options,
        )

    return run


@pytest.fixture(autouse=True)
def no_cache_of_mnist(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """An empty home for Keras, so that no test sees the cache of whoever runs it."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras_home")))
