"""The network layer by layer, in float32 and in bfloat16, and that its judge bites."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import ml_dtypes
import numpy as np
import pytest

from keras_impl.backends import backend
from keras_impl.conformance.budgets import BUDGETS
from keras_impl.conformance.suite import Check
from keras_impl.conformance.verdicts import Verdict
from keras_impl.models import ssd
from keras_impl.parity import network as network_parity
from keras_impl.parity.network import HEADS, LAYERS, LAYOUT, NAME, a_network, to_bfloat16
from reference_numpy import detection
from reference_numpy.layers import convolution
from reference_numpy.ssd import forward

# A graph is traced, and by JAX compiled, for seconds: that for the policy that has more to show.
RUNS = [("eager", "float32"), ("eager", "mixed_bfloat16")]
RUNS += [
    pytest.param((mode, "mixed_bfloat16"), marks=pytest.mark.thorough)
    for mode in network_parity.MODES[1:]
]


@pytest.fixture(scope="module", params=RUNS, ids="-".join)
def rows(request) -> tuple[str, str, list[Check]]:
    mode, policy = request.param
    return mode, policy, network_parity.run(modes=(mode,), policies=(policy,))


@pytest.fixture(scope="module")
def mixed() -> Iterator[tuple[ssd.SSD, np.ndarray, dict[str, np.ndarray]]]:
    """A network in bfloat16, images, and what each layer says of them."""
    model, images = a_network("mixed_bfloat16"), network_parity.some_images()
    return model, images, network_parity.layer_maps(model, images, "eager")


@pytest.fixture(scope="module")
def single() -> tuple[ssd.SSD, np.ndarray, dict[str, np.ndarray]]:
    """The same in float32."""
    model, images = a_network("float32"), network_parity.some_images()
    return model, images, network_parity.layer_maps(model, images, "eager")


def test_every_layer_and_what_is_made_of_the_heads_is_within_budget(rows) -> None:
    mode, policy, checks = rows
    assert [check.op for check in checks] == [f"{NAME} {name}" for name in (*LAYERS, *HEADS)]
    for check in checks:
        assert (check.mode, check.dtype) == (mode, policy)
        assert check.cases > 0
        assert check.passed, f"{check.op}, {mode}, {policy}: {check}"
    cases = {check.op.removeprefix(f"{NAME} "): check.cases for check in checks}
    # Table 2 of MobileNetV2, one extra map of two convolutions, eight heads.
    assert cases["depthwise_convolution"] == 17
    assert cases["convolution"] == 1 + 16 + 17 + 1 + 2 + 8
    assert cases["batch_norm"] == cases["depthwise_convolution"] + cases["convolution"] - 8


def test_the_policy_is_left_as_it_was(rows) -> None:
    assert keras.config.dtype_policy().name == "float32"


def test_bfloat16_is_at_work_within_and_float32_without(mixed, single) -> None:
    _, _, maps = mixed
    for name, values in maps.items():
        wanted = "float32" if name in ("deltas", "logits") else "bfloat16"
        assert values.dtype == wanted, name
    off = np.abs(maps["logits"] - single[2]["logits"]).max() / np.abs(maps["logits"]).max()
    assert 2.0**-9 < off < 0.5


def test_the_network_is_one_in_which_errors_show(single) -> None:
    """ReLU6 cuts at both ends; no map is constant; rounding does not grow; classes differ."""
    model, images, maps = single
    flat = np.concatenate([maps[name].ravel() for name in maps if name.endswith("_relu")])
    assert np.mean(flat == 0) > 0.1
    assert np.mean(flat == 6) > 0.001
    assert all(np.ptp(values) > 0.01 for values in maps.values())
    weights = {weight.path: np.asarray(weight, "float64") for weight in model.weights}
    heads = forward(images.astype("float64"), weights, LAYOUT)
    for name, wanted in zip(("deltas", "logits"), heads, strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(maps[name], wanted, atol=1e-5 * scale, err_msg=name)


# The judge


def errors(found, changed: dict[str, np.ndarray]) -> dict[str, float]:
    """Of each layer over its budget, with some maps in the place of those that were found."""
    model, images, maps = found
    layers = network_parity.judge_layers(model, images, {**maps, **changed}, "eager")
    over = {one.name: one.error for one in layers}
    allowed = {one.name: BUDGETS[f"{NAME} {one.operation}"].eps for one in layers}
    return {name: error for name, error in over.items() if error > allowed[name]}


FIRST = {
    "convolution": "Conv1",
    "depthwise_convolution": "expanded_conv_depthwise",
    "batch_norm": "bn_Conv1",
    "relu6": "Conv1_relu",
    "add": "block_2_add",
    "heads": "logits",
}


@pytest.mark.parametrize("policy", ["single", "mixed"])
@pytest.mark.parametrize("operation", LAYERS)
def test_a_damaged_layer_is_named(operation: str, policy: str, request) -> None:
    found = request.getfixturevalue(policy)
    maps, name = found[2], FIRST[operation]
    assert not errors(found, {})
    for damage in (0.05, np.nan):
        values = maps[name].astype("float32")
        spot = np.unravel_index(np.argmax(np.abs(values)), values.shape)
        values[spot] += damage * np.ptp(values)

        assert errors(found, {name: values})[name] > 1, damage


def first_convolution(found, kernel: np.ndarray) -> np.ndarray:
    """The first layer's map, exactly."""
    return convolution(to_bfloat16(found[1]).astype("float64"), kernel, stride=2)


def test_a_convolution_in_bfloat16_may_do_just_what_is_said(mixed) -> None:
    """Weights rounded, sums in float32, one rounding to the nearest: anything else is too much."""
    kernel = np.asarray(mixed[0].get_layer("Conv1").kernel, "float64")
    rounded = to_bfloat16(kernel).astype("float64")
    right = first_convolution(mixed, rounded)
    nearest = to_bfloat16(right)
    down = np.where(np.abs(nearest) > np.abs(right), nearest * (1 - 2.0**-8), nearest)

    def kept(change: np.ndarray) -> dict[str, float]:
        # What comes after is told what it was given, so that it has no part in this.
        return {k: v for k, v in errors(mixed, {"Conv1": change}).items() if k == "Conv1"}

    assert not kept(nearest)
    assert kept(to_bfloat16(down)), "rounded towards 0"
    assert kept(to_bfloat16(first_convolution(mixed, kernel))), "weights as they are"
    assert kept(sums_in_bfloat16(mixed, rounded)), "each sum rounded"


def sums_in_bfloat16(found, kernel: np.ndarray) -> np.ndarray:
    """The first layer's map with each product and each sum rounded."""
    total: np.ndarray = np.zeros(1)
    for place in np.ndindex(kernel.shape[:3]):
        only = np.zeros_like(kernel)
        only[place] = kernel[place]
        product = to_bfloat16(first_convolution(found, only))
        total = to_bfloat16(total + product.astype("float64"))
    return total


def test_batch_normalisation_in_bfloat16_is_too_little(mixed) -> None:
    model, _, maps = mixed
    norm = model.get_layer("bn_Conv1")
    gamma, beta, mean, variance = (to_bfloat16(np.asarray(one)) for one in norm.weights)
    scale = to_bfloat16(gamma / np.sqrt(variance + norm.epsilon))
    x = maps["Conv1"].astype("float32")
    half = to_bfloat16(to_bfloat16(x * scale) + to_bfloat16(beta - to_bfloat16(mean * scale)))

    assert errors(mixed, {"bn_Conv1": half})["bn_Conv1"] > 1


def test_rounding_to_bfloat16_is_to_the_nearest_and_to_even() -> None:
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**32, 100_000, dtype=np.uint32)
    halves = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)  # just between two of its numbers
    for values in (bits.view(np.float32), halves.view(np.float32)):
        values = values[np.isfinite(values) & (np.abs(values) < 3e38)]
        wanted = values.astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(to_bfloat16(values), wanted)


# What is made of the heads


def verdict_of_the_loss(found, **changed: np.ndarray):
    model, _, maps = found
    heads = {name: changed.get(name, maps[name]) for name in ("deltas", "logits")}
    return network_parity._judge_heads(model, **heads, mode="eager", seed=0)["multibox_loss"]


def test_a_loss_in_bfloat16_is_wrong(mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ssd.multibox.multibox_loss

    def half(deltas, logits, wanted, *arguments, **options):
        floats = (keras.ops.cast(one, "bfloat16") for one in (deltas, logits, wanted))
        found = right(*floats, *arguments, **options)
        return found._replace(total=keras.ops.cast(found.total, "float32"))

    assert verdict_of_the_loss(mixed).mismatches == 0
    monkeypatch.setattr(ssd.multibox, "multibox_loss", half)
    assert verdict_of_the_loss(mixed).mismatches == 1


def test_heads_that_are_not_float32_are_wrong(mixed) -> None:
    half = mixed[2]["logits"].astype("float16")
    assert verdict_of_the_loss(mixed, logits=half) == Verdict(1, 1, 0, np.inf)


def test_detection_of_a_mixed_network_decides_as_the_reference_does(mixed) -> None:
    """From images to detections, as users ask: what the heads say, read in float32."""
    model, images, _ = mixed
    said = model.predict(images, verbose=0)
    found = model.detect(images, score_threshold=0.3)
    assert found.scores.dtype == found.boxes.dtype == np.float32
    for image in range(len(images)):
        wanted = detection.detect(
            said["deltas"][image],
            said["logits"][image],
            model.anchors,
            model.convention,
            score_threshold=0.3,
        )
        used = found.labels[image] > 0
        assert len(wanted.labels) > 5
        np.testing.assert_array_equal(found.labels[image][used], wanted.labels)
        np.testing.assert_array_equal(found.anchors[image][used], wanted.anchors)
        np.testing.assert_allclose(found.boxes[image][used], wanted.boxes, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "value"), [("modes", ("host",)), ("policies", ("float16",))])
def test_what_cannot_be_run_is_said(name: str, value: tuple[str, ...]) -> None:
    with pytest.raises(
        ValueError, match=rf"{name}: expected some of .* Received: \['{value[0]}'\]"
    ):
        network_parity.run(**{name: value})


def test_who_rounds_otherwise() -> None:
    """TensorFlow's depthwise convolutions, and what JAX compiles; nothing else has leave to."""
    found = {mode: network_parity.ways(mode) for mode in network_parity.MODES}
    assert {mode for mode, how in found.items() if how.excess} <= {"jit"}
    assert all(how.narrow == (backend() == "tensorflow") for how in found.values())
