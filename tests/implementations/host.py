"""The fast paths on the host: matching, targets and detection in NumPy."""

from __future__ import annotations

from keras_impl.parity.implementations import HOST

IMPLEMENTATION = HOST
