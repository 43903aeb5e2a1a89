"""The pretrained detector: its file from shared/, brought into a cache of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keras_impl.pixel_parity import sample_photographs
from keras_impl.weights import OIDV4, install, load_model


@pytest.fixture(scope="session")
def published(require_data: Callable[[str], Path]) -> Path:
    """MediaPipe's LiteRT file."""
    return require_data("data/oidv4/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite")


@pytest.fixture(scope="session")
def keras_home(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for Keras in which oidv4 is installed; no test sees the cache of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("keras_home")
        patch.setenv("KERAS_HOME", str(home))
        install(OIDV4, published)
        yield home


@pytest.fixture(scope="session")
def model(keras_home: Path):
    """The detector in Keras; tests leave its weights as they are."""
    return load_model(OIDV4.weights)


@pytest.fixture(scope="session")
def photographs() -> dict[str, Path]:
    """Real photographs, by name without suffix."""
    return {path.stem: path for path in sample_photographs()}
