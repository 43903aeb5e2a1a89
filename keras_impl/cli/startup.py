"""Start Keras or LiteRT without their log lines, and check that packages are installed."""

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

# Packages of mobilenetv2-ssd[keras], without the backend of Keras.
EXTRA = ("keras", "PIL", "matplotlib", "rich")
# The part of them that detection with NumPy or LiteRT needs.
READER = ("PIL", "rich")
LITERT = "ai_edge_litert"
# Packages that a user without Keras may want one by one: as pip calls them, and in messages.
PACKAGES = {"PIL": "pillow", "rich": "rich", LITERT: "ai-edge-litert"}
SHOWN = {"PIL": "Pillow", LITERT: "ai-edge-litert"}
# For each backend of Keras: the extra that installs it, and its name in messages.
FRAMEWORKS = {
    "tensorflow": ("keras", "TensorFlow"),
    "jax": ("jax", "JAX"),
    "torch": ("torch", "PyTorch"),
}


def framework() -> str:
    """Return the name of the Keras backend that this process uses or will use."""
    name = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if name not in FRAMEWORKS:
        raise UsageError(
            f"KERAS_BACKEND: expected one of {', '.join(FRAMEWORKS)}. Received: {name!r}"
        )
    return name


def starting() -> str:
    """Return the progress text for the time in which Keras starts."""
    return f"starting {FRAMEWORKS[framework()][1]}"


def need_tensorflow() -> None:
    """Raise an error unless Keras runs on TensorFlow.

    Commands need TensorFlow for its graphs, its data pipeline or its exports.
    """
    if framework() != "tensorflow":
        raise UsageError(
            f"KERAS_BACKEND: expected tensorflow for this command. Received: {framework()}"
        )


def need_extra(*needed: str, otherwise: str = "") -> None:
    """Raise an error if a package is missing, and say how to install it.

    Args:
        *needed: Names of modules; by default those of the extra of this backend of Keras.
        otherwise: What to do instead; ends the message if Keras or its backend is missing.
    """
    needed = needed or (framework(), *EXTRA)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not missing:
        return
    names = ", ".join(SHOWN.get(name, name) for name in missing)
    if set(missing) <= set(PACKAGES):
        install, otherwise = f"pip install {' '.join(PACKAGES[name] for name in missing)}", ""
    else:
        extra = FRAMEWORKS[framework()][0]
        install = f'pip install "mobilenetv2-ssd[{extra}]"'
    raise UsageError(
        f"this command needs packages that are missing: {names}; run: {install}{otherwise}"
    )


def start_keras() -> None:
    """Import Keras and its backend, without their start-up messages; this takes seconds."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" in sys.modules:
        return
    with _without_greetings():
        import keras  # noqa: F401
    # TensorFlow's warnings, for instance about retracing, are for authors of TensorFlow code.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def quiet_litert(really: bool = True) -> Iterator[None]:
    """Hide the information lines of LiteRT and the converters; show them if `really` is False."""
    if not really:
        yield
        return
    with _without_greetings():
        yield


# A program that copies stderr without the lines that TensorFlow and LiteRT mark as information.
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
    """Hide the start-up messages of TensorFlow, which no setting turns off.

    Its libraries write to file descriptor 2 while they load. A separate process filters that
    stream, so that the last message is shown even if loading kills this process.
    """
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", FILTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not stop the filter
        )
        assert child.stdin is not None
        stderr = os.dup(2)
    except OSError:  # There is no stderr, or no process can be started: do not filter.
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
