"""Keras on the backend that KERAS_BACKEND names, TensorFlow if none, in every mode it has.

The adapter is in the package: `ssd parity` uses it.
"""

from __future__ import annotations

from keras_impl.parity.implementations import KERAS as IMPLEMENTATION

__all__ = ["IMPLEMENTATION"]
