"""Files: Keras' folder, downloads checked by SHA-256, and writing all or nothing."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

__all__ = ["check_sum", "fetch", "keras_home", "write_file"]

PATIENCE = 30.0  # seconds to wait for a silent server
DEADLINE = 1800.0  # seconds for a whole download
PIECE = 2**16  # bytes read at a time


def keras_home() -> Path:
    """Return the folder of Keras' downloads, as keras/src/backend/config.py computes it."""
    home = Path.home()
    default = (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"
    return Path(os.environ.get("KERAS_HOME", default))


def write_file(path: str | os.PathLike[str], data: str | bytes) -> None:
    """Write a file all or nothing: a reader sees the whole old file or the whole new one.

    Raises:
        OSError: The file cannot be written; `filename` is its path, not that of the unfinished one.
    """
    try:
        _write_file(path, data.encode() if isinstance(data, str) else data)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _write_file(path: str | os.PathLike[str], content: bytes) -> None:
    if os.path.exists(path) and not os.path.isfile(path):
        Path(path).write_bytes(content)  # a device or a pipe, which must not be replaced
        return
    path = Path(os.path.realpath(path))  # a link stays, and its target is replaced
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_mask()
    # A random name: in a shared folder a name that can be guessed might be a stranger's link. Not
    # the whole name, which may be as long as a file system allows.
    handle, unfinished = tempfile.mkstemp(".part", f".{path.name[:40]}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(unfinished, mode)
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _mask() -> int:
    """Return this process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def check_sum(data: bytes, sha256: str, size: int, source: object) -> bytes:
    """Check the size and the SHA-256 of data, and return the data.

    Args:
        data: The bytes to check.
        sha256: The expected SHA-256, in hexadecimal.
        size: The expected number of bytes, checked first.
        source: Where the data came from, for the message.

    Raises:
        ValueError: Size or SHA-256 differ.

    Example:
        >>> check_sum(b"", hashlib.sha256(b"").hexdigest(), 0, "nowhere")
        b''
    """
    if len(data) != size:
        relation = "fewer: it is cut short" if len(data) < size else "more"
        raise ValueError(
            f"file: expected {size} bytes. Received: {source}, {relation}, or another file"
        )
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"file: expected SHA-256 {sha256}. Received: {source}, {found}")
    return data


def fetch(
    url: str, sha256: str, size: int, advance: Callable[[int], None] = lambda count: None
) -> bytes:
    """Download a file of known size and SHA-256 into memory.

    Args:
        url: The address.
        sha256: The expected SHA-256, in hexadecimal.
        size: The expected number of bytes; at most one byte more is read.
        advance: Called with the number of bytes that came since the last call.

    Raises:
        ConnectionError: The download failed.
        ValueError: It is another file.
    """
    pieces = []
    left, started = size + 1, time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            while left > 0 and (piece := answer.read(min(PIECE, left))):
                pieces.append(piece)
                left -= len(piece)
                advance(len(piece))
                if time.monotonic() - started > DEADLINE:
                    raise TimeoutError(f"more than {DEADLINE:g} seconds")
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a faulty URL
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # This error is a response too, and holds a connection.
        raise ConnectionError(f"download: {url} could not be fetched: {error}") from None
    return check_sum(b"".join(pieces), sha256, size, url)
