"""Fast matching and detection on the CPU, compiled by numba, without Keras."""

from keras_impl.host.detection import detect
from keras_impl.host.matching import TargetAssigner

__all__ = ["TargetAssigner", "detect"]
