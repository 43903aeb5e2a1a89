"""The fast paths on the host: matching, targets and detection, compiled by numba."""

from __future__ import annotations

from keras_impl.parity.implementations import HOST

IMPLEMENTATION = HOST
