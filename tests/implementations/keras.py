"""Keras, eagerly, in graphs and under XLA: the adapter is in the package, `ssd parity` uses it."""

from __future__ import annotations

from keras_impl.adapter import KERAS as IMPLEMENTATION

__all__ = ["IMPLEMENTATION"]
