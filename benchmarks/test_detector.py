"""Benchmark the pretrained detector: the cost of decoding relative to the network.

The ratio is the time from the prepared array to the boxes, over that of the interpreter's `invoke`
only. The two are timed in turn, so that other work on the machine affects both alike.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from benchmarks.conftest import NOTES
from keras_impl.data.photographs import sample_photographs
from keras_impl.detector.detector import Detector, load_detector
from keras_impl.detector.exporting import export
from keras_impl.detector.litert import LiteRT
from keras_impl.images.pixels import prepare
from keras_impl.images.reading import open_image
from keras_impl.weights.npz import load_model
from keras_impl.weights.published import OIDV4, weights_file

ROUNDS = 200
MOST = 1.15  # largest ratio


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Export the pretrained detector to LiteRT; `ssd weights oidv4` fetches it."""
    try:
        model = load_model(weights_file(OIDV4.name))
    except FileNotFoundError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("export") / "oidv4.tflite"
    return model, export(model, path, "litert").path


@pytest.mark.parametrize("threads", sorted({1, os.cpu_count() or 1}))
def test_decoding_costs_little_beside_the_network(network, threads, pytestconfig):
    model, path = network
    litert = LiteRT(path, threads)
    detector = Detector(litert, model.convention, model.num_classes, model.class_names)
    photograph = next(one for one in sample_photographs() if one.stem == "astronaut")
    images = prepare(open_image(photograph), detector.size)[None]
    (wanted,) = load_detector(OIDV4.name, "numpy").detect_prepared(images)
    (found,) = detector.detect_prepared(images)
    assert len(found.labels) > 0
    assert found.labels.tolist() == wanted.labels.tolist()
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-4)

    rounds = 3 if pytestconfig.getoption("benchmark_disable") else ROUNDS
    bare, whole = np.empty(rounds), np.empty(rounds)
    for index in range(rounds):
        start = time.perf_counter()
        litert.interpreter.invoke()
        middle = time.perf_counter()
        detector.detect_prepared(images)
        bare[index], whole[index] = middle - start, time.perf_counter() - middle
    ratio = float(np.median(whole) / np.median(bare))
    pytestconfig.stash[NOTES].append(
        f"photograph to boxes, LiteRT with {threads} thread{'s' * (threads > 1)}: "
        f"{np.median(whole) * 1e3:.2f} ms, its invoke only {np.median(bare) * 1e3:.2f} ms, "
        f"ratio {ratio:.3f} (at most {MOST})"
    )
    if not pytestconfig.getoption("benchmark_disable"):
        assert ratio <= MOST
