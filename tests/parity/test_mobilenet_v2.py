"""The backbone against `keras.applications.MobileNetV2`: counts, names, numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_impl.models.mobilenet_v2 import TAPS, MobileNetV2, make_divisible, mobilenet_v2_features

# Figures of `keras.applications` written down, so that both cannot drift together.
PUBLISHED = {1.0: 2_257_984, 0.35: 410_208}


def application(input_shape: tuple[int, int, int], alpha: float) -> keras.Model:
    """The peer, without top and with random weights."""
    return keras.applications.MobileNetV2(
        input_shape=input_shape, alpha=alpha, include_top=False, weights=None
    )


def assert_same_weights(ours: keras.Model, theirs: keras.Model, alpha: float) -> None:
    """By name and shape; a network is made in a second, so each is looked at from all sides."""
    shapes = [
        {
            f"{layer.name}/{weight.name}": tuple(weight.shape)
            for layer in model.layers
            for weight in layer.weights
        }
        for model in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    assert ours.count_params() == theirs.count_params()
    assert len(ours.trainable_weights) == len(theirs.trainable_weights)
    if alpha in PUBLISHED:
        assert ours.count_params() == PUBLISHED[alpha]


# The last alpha tells whether a width is truncated before it is rounded: 16 x 1.1125 = 17.8
# would round up to 24, its whole part 17 rounds down to 16.
@pytest.mark.parametrize("alpha", [0.1, 1.1125])
def test_has_the_parameters_and_names_of_the_application(alpha: float) -> None:
    ours, theirs = MobileNetV2((64, 64, 3), alpha), application((64, 64, 3), alpha)
    assert_same_weights(ours, theirs, alpha)


@pytest.mark.parametrize(
    ("height", "width", "alpha"),
    [(224, 224, 1.0), (193, 161, 0.35), (161, 226, 1.0), (193, 161, 1.4)],
)
def test_computes_what_the_application_computes(height: int, width: int, alpha: float) -> None:
    """Even sides, odd sides and one of each: SAME padding is the application's own."""
    generator = np.random.default_rng(5)
    ours, theirs = (
        MobileNetV2((height, width, 3), alpha),
        application((height, width, 3), alpha),
    )
    assert_same_weights(ours, theirs, alpha)
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # gamma, beta, mean and variance, such that ReLU6 cuts at both ends.
            limits = [(1, 2), (-0.5, 1.5), (-0.1, 0.1), (0.3, 0.6)]
            layer.set_weights([generator.uniform(*pair, layer.gamma.shape) for pair in limits])
        if layer.weights:
            ours.get_layer(layer.name).set_weights(layer.get_weights())
    images = generator.uniform(-1, 1, (2, height, width, 3)).astype("float32")

    expected = keras.ops.convert_to_numpy(theirs(images, training=False))
    found = keras.ops.convert_to_numpy(ours(images, training=False))

    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    assert {0.0, 6.0} <= set(expected.flat), "not all of ReLU6 is at work"
    assert len(np.unique(expected)) > 1000
    error = np.abs(found - expected).max() / scale
    assert error <= 1e-5, f"largest difference / largest output is {error:.2g}, expected 1e-5"


@pytest.mark.parametrize(
    ("height", "width", "sizes"),
    [
        (224, 224, {8: (28, 28), 16: (14, 14), 32: (7, 7)}),
        (300, 300, {8: (38, 38), 16: (19, 19), 32: (10, 10)}),
        (193, 161, {8: (25, 21), 16: (13, 11), 32: (7, 6)}),
        (32, 33, {8: (4, 5), 16: (2, 3), 32: (1, 2)}),
        (None, None, {8: (None, None), 16: (None, None), 32: (None, None)}),
    ],
)
def test_taps_the_last_map_of_each_stride(
    height: int | None, width: int | None, sizes: dict[int, tuple[int | None, int | None]]
) -> None:
    maps = mobilenet_v2_features(keras.Input((height, width, 3)), alpha=0.35)

    assert {stride: tuple(tap.shape[1:3]) for stride, tap in maps.items()} == sizes
    assert {stride: tap.shape[-1] for stride, tap in maps.items()} == {8: 96, 16: 192, 32: 1280}
    names = {stride: tap._keras_history.operation.name for stride, tap in maps.items()}
    assert names == TAPS


@pytest.mark.parametrize(
    ("value", "divisor", "min_value", "expected"),
    [
        (16, 8, None, 16),
        (11.2, 8, None, 16),
        (12, 8, None, 16),
        (17.8, 8, None, 24),
        (17, 8, None, 16),
        (1, 8, None, 8),
        (44.8, 8, 16, 48),
        (2, 8, 16, 16),
        (33.6, 16, None, 32),
        (0, 8, None, 8),
        (0.5, 8, None, 8),
        (2.4, 1, None, 3),  # 2 would lose more than a tenth
        (80, 24, None, 72),  # and 72 loses a tenth exactly
    ],
)
def test_make_divisible(value: float, divisor: int, min_value: int | None, expected: int) -> None:
    assert make_divisible(value, divisor, min_value) == expected


def test_tells_every_layer_what_it_was_told() -> None:
    model = MobileNetV2((32, 32, 3), 1.0965, 0.75, dtype="mixed_bfloat16", name="mine")

    assert (model.name, model.inputs[0].name) == ("mine", "images")
    assert {layer.dtype_policy.name for layer in model.layers[1:]} == {"mixed_bfloat16"}
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    assert {norm.momentum for norm in norms} == {0.75}
    # Both just below the middle of two multiples of 8: 32 x 1.0965 is 35.1, 1280 x 1.0965 1403.5.
    assert (model.get_layer("Conv1").filters, model.output_shape[-1]) == (32, 1400)


def test_is_the_application_unless_told_otherwise() -> None:
    theirs = application((224, 224, 3), 1.0)
    images = keras.Input((224, 224, 3))

    for ours in (MobileNetV2(), keras.Model(images, mobilenet_v2_features(images)[32])):
        assert_same_weights(ours, theirs, 1.0)
        assert ours.input_shape == theirs.input_shape
        for kind in (keras.layers.BatchNormalization, keras.layers.ReLU, keras.layers.Add):
            both = [[one for one in net.layers if isinstance(one, kind)] for net in (ours, theirs)]
            for mine, other in zip(*both, strict=True):
                assert mine.name == other.name
                if kind is keras.layers.BatchNormalization:
                    assert (mine.momentum, mine.epsilon) == (other.momentum, other.epsilon)
    assert MobileNetV2((32, 32, 3), 0.1).name == "mobilenet_v2"


@pytest.mark.parametrize(
    ("input_shape", "alpha", "message"),
    [
        ((64, 64, 3), 0.0, r"alpha: expected a positive number\. Received: 0\.0"),
        ((64, 64, 3), float("nan"), "alpha: expected a positive number"),
        ((64, 64, 3), float("inf"), "alpha: expected a positive number"),
        ((64, 64, 3), "1", "alpha: expected a positive number"),
        ((64, 64, 3), 64.1, r"alpha: expected 64 or less, to limit memory\. Received: 64\.1"),
        # So much may be, but is not made: two things are wrong with the image.
        ((31, 64, 1), 64, "inputs: "),
        ((31, 64, 3), 1.0, r"inputs: .*at least 32 x 32 pixels\. Received: shape \(None, 31, 64"),
        ((64, 64, 1), 1.0, r"inputs: .*Received: shape \(None, 64, 64, 1\)"),
    ],
)
def test_refuses_what_it_cannot_build(
    input_shape: tuple[int, int, int], alpha: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MobileNetV2(input_shape, alpha)
