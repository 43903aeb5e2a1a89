"""What only TensorFlow can do, in one place. Nothing here is needed on another backend."""

from __future__ import annotations

import keras

__all__ = ["make_deterministic"]


def make_deterministic() -> None:
    """Make training repeat itself bit for bit on the same machine; call it before anything else.

    Seeds are not enough: with two operations in flight at once (inter-op parallelism) gradients
    of shared inputs were seen to be added in another order from run to run, and weights differed
    after ten steps. One operation at a time, each on all cores, costs nothing measurable here.

    Raises:
        RuntimeError: TensorFlow has started already, so its threads cannot be set any more.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if tf.config.threading.get_inter_op_parallelism_threads() != 1:
        try:
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError as error:
            raise RuntimeError(
                "make_deterministic: expected to be called before TensorFlow runs anything. "
                f"Received: {error}"
            ) from None
    tf.config.experimental.enable_op_determinism()
