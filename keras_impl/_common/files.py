"""Files: where Keras keeps what it fetched, downloads that are checked, writing all or nothing."""

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

PATIENCE = 30.0  # seconds that a server may be silent
DEADLINE = 1800.0  # seconds that a download may take
PIECE = 2**16  # bytes


def keras_home() -> Path:
    """Where Keras keeps what it downloads (keras/src/backend/config.py)."""
    home = Path.home()
    default = (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"
    return Path(os.environ.get("KERAS_HOME", default))


def write_file(path: str | os.PathLike[str], data: str | bytes) -> None:
    """Write a file all or nothing: who reads it meets the old one or the new one whole."""
    content = data.encode() if isinstance(data, str) else data
    if os.path.exists(path) and not os.path.isfile(path):
        Path(path).write_bytes(content)  # a device or a pipe, which no file may replace
        return
    path = Path(os.path.realpath(path))  # a link keeps pointing where it does
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_mask()
    # A new name that nobody can guess: in a shared folder another might be somebody's link.
    handle, unfinished = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(unfinished, mode)
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _mask() -> int:
    """The permissions that this process withholds from new files; read by setting them."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def check_sum(data: bytes, sha256: str, size: int, source: object) -> bytes:
    """The data, if they are what was expected.

    Args:
        data: Whatever was read.
        sha256: What its SHA-256 has to be, in hexadecimal.
        size: How many bytes are expected; more or fewer is said before the sum.
        source: Where it came from, for the message.

    Raises:
        ValueError: They are not.

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
    """Download a file of a known size and sum; nothing is written.

    Args:
        url: Where it is.
        sha256: Of `check_sum`.
        size: Of `check_sum`; never more than a byte beyond it is read.
        advance: Called with the number of bytes that came since the last call.

    Raises:
        ConnectionError: It cannot be had.
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
    except (OSError, ValueError, http.client.HTTPException) as error:  # a ValueError of the URL
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is an answer too, with a connection
        raise ConnectionError(f"download: {url} cannot be had: {error}") from None
    return check_sum(b"".join(pieces), sha256, size, url)
