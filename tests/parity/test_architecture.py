"""What a detector costs: counted by hand, summed up, published, and as the docs have it."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_impl.models import cost as architecture
from keras_impl.models.cost import describe, multiply_adds
from keras_impl.models.ssd import SSD
from reference_numpy.conventions import LAYOUTS


def test_multiply_adds_of_a_network_counted_by_hand() -> None:
    x = keras.Input((7, 8, 3))
    y = keras.layers.Conv2D(5, 3, strides=2, padding="same")(x)  # 4 x 4 places x 27 x 5
    y = keras.layers.BatchNormalization()(y)
    inner = keras.Input((4, 4, 5))
    depthwise = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(inner)  # 2 x 2 x 9 x 10
    y = keras.Model(inner, depthwise)(y)
    y = keras.layers.Conv2D(4, 1, groups=2)(y)  # 2 x 2 x 5 x 4
    y = keras.layers.Dense(6)(y)  # 2 x 2 x 4 x 6
    assert multiply_adds(keras.Model(x, y)) == 16 * 135 + 360 + 80 + 96


def test_multiply_adds_needs_a_fixed_size() -> None:
    x = keras.Input((None, 8, 3))
    model = keras.Model(x, keras.layers.Conv2D(5, 3, name="first")(x))
    with pytest.raises(ValueError, match=r"fixed input size.*from layer 'first'"):
        multiply_adds(model)


def test_parts_sum_up_to_the_model() -> None:
    model = SSD("digits224", 3, alpha=0.1)
    *parts, total = describe(model)
    assert [part.name for part in parts] == ["backbone", "extra maps", "heads"]
    assert min(part.parameters for part in parts) > 0
    assert total.parameters == model.count_params()
    assert total.multiply_adds == multiply_adds(model)
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert total.trainable == trainable < total.parameters
    for column in range(1, 4):
        assert sum(part[column] for part in parts) == total[column]


def test_figures_in_the_docs_are_what_the_command_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text("utf-8")
    blocks = [block.split("\n```")[0] for block in text.split("```console\n$ ")[1:]]
    assert len(blocks) >= 3
    for block in blocks:
        command, _, expected = block.partition("\n")
        prefix = "python -m keras_impl.models.cost "
        assert command.startswith(prefix)

        architecture._main(shlex.split(command.removeprefix(prefix)))

        assert capsys.readouterr().out.strip() == expected.strip(), command


def test_the_published_sizes_of_ssdlite() -> None:
    """Two figures of others, from the same layers with their number of classes.

    TensorFlow's ssdlite_mobilenet_v2_coco has 4.475 million parameters with 90 classes once
    batch normalisation is folded into one bias a channel (OpenVINO's model zoo); the paper's
    table 6 says 4.3 million and 0.8 billion, which its 80 classes give.
    """
    lowest = LAYOUTS["ssd_mobilenet300"].lowest_shapes
    layout = dataclasses.replace(LAYOUTS["ssdlite320"], name="three", lowest_shapes=lowest)
    for classes, parameters, work in ((90, 4_475_167, 804_397_504), (80, 4_311_637, 788_830_144)):
        model = SSD(layout, classes, head="ssdlite")
        folded = sum(
            layer.gamma.shape[0]
            for layer in model.layers
            if isinstance(layer, keras.layers.BatchNormalization)
        )
        total = describe(model)[-1]
        assert total.trainable - folded == parameters
        assert total.multiply_adds == work


@pytest.mark.parametrize("arguments", [["--classes", "0"], ["--layout", "none"], ["--alpha", "-1"]])
def test_command_refuses_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        architecture._main(arguments)
    assert stop.value.code == 2
    assert arguments[0].removeprefix("--") in capsys.readouterr().err
