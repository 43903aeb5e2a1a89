"""The pretrained detector: its file from shared/, brought into a cache of its own.

Without ai-edge-litert, which reads the file, the weights file in the user's own cache will do, and
the golden answers take the place of LiteRT's.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import keras_impl
from keras_impl.data.photographs import sample_photographs
from keras_impl.weights.installing import install
from keras_impl.weights.npz import load_model
from keras_impl.weights.published import OIDV4


@pytest.fixture(scope="session")
def published(require_data: Callable[[str], Path]) -> Path:
    """MediaPipe's LiteRT file."""
    return require_data("data/oidv4/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite")


@pytest.fixture(scope="session")
def keras_home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A home for Keras in which oidv4 is installed; no test sees the cache of whoever runs it."""
    cached = OIDV4.weights
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("keras_home")
        patch.setenv("KERAS_HOME", str(home))
        if importlib.util.find_spec("ai_edge_litert") is not None:
            install(OIDV4, request.getfixturevalue("published"))
        elif cached.is_file():
            (home / "models").mkdir()
            shutil.copy(cached, OIDV4.weights)
        else:
            pytest.skip(f"neither ai-edge-litert nor a weights file of oidv4 ({cached})")
        yield home


@pytest.fixture(scope="session")
def model(keras_home: Path):
    """The detector in Keras; tests leave its weights as they are."""
    return load_model(OIDV4.weights)


@pytest.fixture(scope="session")
def photographs() -> dict[str, Path]:
    """Real photographs, by name without suffix."""
    return {path.stem: path for path in sample_photographs()}


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in a new Python that sees the package that this test sees, and no others named."""
    packages = str(Path(keras_impl.__file__).parents[1])

    def run(
        code: str, *, without: list[str] | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        hidden = f"import sys; sys.modules.update(dict.fromkeys({without or []!r})); "
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", hidden + code],
            env={**os.environ, "PYTHONPATH": packages, **environment},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )

    return run
