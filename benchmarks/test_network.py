"""Benchmark the forward pass of the digit detector: one image, as a graph.

XLA is left out: on a CPU its convolutions are not oneDNN's and a pass takes several times as long,
so `keras_impl.models.ssd` does not use it there. The reference is left out too: its forward pass is
written to be read, not to be fast. There are no objects and no pairs. The outputs are compared with
the same model run eagerly.
"""

from __future__ import annotations

import keras
import numpy as np

from benchmarks.workloads import NETWORK, SEED, Runner
from keras_impl.models.ssd import SSD


def test_network(timed):
    keras.utils.set_random_seed(SEED)
    model = SSD(NETWORK.layout, num_classes=10, alpha=0.35)
    inputs = np.random.default_rng(SEED).uniform(-1, 1, (NETWORK.batch, *model.input_shape[1:]))

    def forward(images):
        return model(images, training=False)

    def check(found: dict[str, np.ndarray]) -> int:
        expected = forward(inputs.astype(np.float32))
        assert found.keys() == expected.keys() == {"deltas", "logits"}
        for name, width in (("deltas", 4), ("logits", model.num_classes + 1)):
            right = keras.ops.convert_to_numpy(expected[name])
            assert found[name].shape == right.shape == (NETWORK.batch, NETWORK.anchors, width)
            error = np.abs(found[name] - right).max()
            assert error <= 1e-5 * np.abs(right).max(), f"{name}: differs by {error}"
        return 0

    timed(NETWORK, Runner("keras", "graph"), forward, (inputs.astype(np.float32),), check)
