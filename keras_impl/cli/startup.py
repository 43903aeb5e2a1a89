"""Start Keras or LiteRT quietly, or say which package is missing."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from keras_impl.cli.status import UsageError

__all__ = [
    "framework",
    "need_extra",
    "need_tensorflow",
    "quiet_litert",
    "start_keras",
    "starting",
]

# What mobilenetv2-ssd[keras] brings beside the backend of Keras, and what is needed of it where
# NumPy or LiteRT computes.
EXTRA = ("keras", "PIL", "matplotlib", "rich")
READER = ("PIL", "rich")
LITERT = "ai_edge_litert"
# The extra that brings a backend of Keras, and the backend's name.
FRAMEWORKS = {
    "tensorflow": ("keras", "TensorFlow"),
    "jax": ("jax", "JAX"),
    "torch": ("torch", "PyTorch"),
}


def framework() -> str:
    """The backend of Keras that this process has or will have."""
    name = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if name not in FRAMEWORKS:
        raise UsageError(f"KERAS_BACKEND: expected one of {list(FRAMEWORKS)}. Received: {name!r}")
    return name


def starting() -> str:
    """What to say while Keras starts."""
    return f"starting {FRAMEWORKS[framework()][1]}"


def need_tensorflow() -> None:
    """Refuse a command whose work is TensorFlow's: its graphs, its data pipeline, its exports."""
    if framework() != "tensorflow":
        raise UsageError(
            f"this command needs Keras on TensorFlow. Received: KERAS_BACKEND={framework()}"
        )


def need_extra(*needed: str) -> None:
    """Refuse where a package is missing, and say how to install it."""
    needed = needed or (framework(), *EXTRA)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extra = next((FRAMEWORKS[name][0] for name in needed if name in FRAMEWORKS), "keras")
        packages = {"PIL": "Pillow", "ai_edge_litert": "ai-edge-litert"}
        names = ", ".join(packages.get(name, name) for name in missing)
        install = f'pip install "mobilenetv2-ssd[{extra}]"'
        raise UsageError(f"this command needs {names}, not installed here; run: {install}")


def start_keras() -> None:
    """Import Keras, and its backend with it, which takes seconds and may be talkative."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" in sys.modules:
        return
    with _without_greetings():
        import keras  # noqa: F401
    # Advice for who writes TensorFlow code, such as on retracing.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def quiet_litert(really: bool = True) -> Iterator[None]:
    """Keep what LiteRT and the converters say of their own doings from the user's screen."""
    if not really:
        yield
        return
    with _without_greetings():
        yield


# Reads stderr line by line and passes on all but what TensorFlow and LiteRT call "info".
FILTER = r"""
import re, sys
info = re.compile(
    rb"I\d{4} |INFO: |WARNING: All log messages before absl::|To enable the following instr"
)
for line in sys.stdin.buffer:
    if not info.match(line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


@contextmanager
def _without_greetings() -> Iterator[None]:
    """Keep TensorFlow's greetings, which no setting stops, from the user's screen.

    Its libraries write them to file descriptor 2 as they are loaded. A process of its own
    filters that, so that a last word is heard even if loading kills this process.
    """
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", FILTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process
        )
        assert child.stdin is not None
        stderr = os.dup(2)
    except OSError:  # no stderr, or no more processes: then it is not worth the trouble
        yield
        return
    try:
        sys.stderr.flush()
        os.dup2(child.stdin.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        child.stdin.close()
        child.wait()
