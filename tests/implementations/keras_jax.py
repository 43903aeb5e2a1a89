"""Keras on JAX: the same adapter in a process of another backend."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported, which reads it once

from keras_impl.parity.implementations import KERAS as IMPLEMENTATION

__all__ = ["IMPLEMENTATION"]
