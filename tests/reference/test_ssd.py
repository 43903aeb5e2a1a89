"""The network's forward pass: shapes, order, and what is refused. Its numbers are parity's."""

from __future__ import annotations

import numpy as np
import pytest

from reference_numpy.conventions import AnchorLayout
from reference_numpy.mobilenet_v2 import TAPS, conv_unit, fold, mobilenet_v2_features
from reference_numpy.ssd import feature_maps, forward

BLOCKS = [1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7]  # channels of each block's result
LAYOUT = AnchorLayout(
    "tiny", (64, 64), ((4, 4), (2, 2), (1, 1)), (0.2, 0.4, 0.6, 0.8), ((2.0,), (2.0,), ())
)


def unit(weights, name, rows, inputs, outputs, norm=None):
    """A convolution and its normalisation, which changes nothing but by epsilon."""
    depthwise = "depthwise" in name
    shape = (rows, rows, inputs, 1 if depthwise else outputs)
    weights[f"{name}/kernel"] = np.random.default_rng(len(weights)).normal(0, 0.4, shape)
    channels = inputs if depthwise else outputs
    for part, value in (("gamma", 1), ("beta", 0), ("moving_mean", 0), ("moving_variance", 1)):
        weights[f"{norm or name + '_BN'}/{part}"] = np.full(channels, float(value))


@pytest.fixture(scope="module")
def weights():
    """Of a network of a few channels, two classes, and one extra map."""
    made = {}
    unit(made, "Conv1", 3, 3, 2, "bn_Conv1")
    inputs = 2
    for block, outputs in enumerate(BLOCKS):
        name = f"block_{block}" if block else "expanded_conv"
        wide = 2 * inputs if block else inputs
        if block:
            unit(made, f"{name}_expand", 1, inputs, wide)
        unit(made, f"{name}_depthwise", 3, wide, wide)
        unit(made, f"{name}_project", 1, wide, outputs)
        inputs = outputs
    unit(made, "Conv_1", 1, inputs, 9, "Conv_1_bn")
    unit(made, "extra_1_squeeze", 1, 9, 2)
    unit(made, "extra_1_conv", 3, 2, 4)
    channels = [made["block_13_expand/kernel"].shape[-1], 9, 4]
    for level, shapes in enumerate((3, 3, 2)):
        for output, numbers in (("deltas", 4), ("logits", 3)):
            name = f"head_{level}_{output}"
            made[f"{name}/kernel"] = np.random.default_rng(level).normal(
                size=(3, 3, channels[level], shapes * numbers)
            )
            made[f"{name}/bias"] = np.arange(float(shapes * numbers))
    return made


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).uniform(-1, 1, (2, 64, 64, 3))


def test_the_backbone_gives_three_maps(images, weights):
    maps = mobilenet_v2_features(images, weights)
    assert {stride: x.shape[1:3] for stride, x in maps.items()} == {
        8: (8, 8),
        16: (4, 4),
        32: (2, 2),
    }
    assert set(maps) == set(TAPS)
    for x in maps.values():
        assert x.min() >= 0, "a tap lies after its activation"
        assert x.max() <= 6


def test_a_block_adds_its_input_where_shapes_agree(images, weights):
    """Without what block 2 projects, its input alone goes on."""
    silent = dict(weights)
    silent["block_2_project/kernel"] = np.zeros_like(weights["block_2_project/kernel"])
    through = mobilenet_v2_features(images, silent)
    silent["block_2_expand/kernel"] = np.zeros_like(weights["block_2_expand/kernel"])
    np.testing.assert_array_equal(mobilenet_v2_features(images, silent)[32], through[32])
    assert not np.array_equal(through[32], mobilenet_v2_features(images, weights)[32])


def test_a_unit_may_leave_its_activation_out(images, weights):
    x = conv_unit(images, "Conv1", weights, stride=2, relu=False)
    assert x.min() < 0
    np.testing.assert_array_equal(conv_unit(images, "Conv1", weights, stride=2), np.clip(x, 0, 6))


def test_a_bias_stands_for_a_folded_normalisation():
    kernel, bias = np.full((1, 1, 1, 1), 2.0), np.array([0.5])
    # The normalisation is not looked at, so it need not be there.
    found = conv_unit(np.ones((1, 1, 1, 1)), "any", {"any/kernel": kernel, "any/bias": bias})
    assert found.item() == 2.5


def test_a_folded_network_says_the_same(images, weights):
    generator = np.random.default_rng(7)
    lively = dict(weights)
    for name, value in weights.items():
        if name.rpartition("/")[2] in ("gamma", "beta", "moving_mean", "moving_variance"):
            lively[name] = value + generator.uniform(0, 0.5, value.shape)

    folded = fold(lively)

    assert not [name for name in folded if name.rpartition("/")[2] in ("gamma", "beta")]
    kernels = [name for name in folded if name.endswith("/kernel")]
    assert len(kernels) == len([name for name in lively if name.endswith("/kernel")])
    assert {name.replace("/kernel", "/bias") for name in kernels} == set(folded) - set(kernels)
    np.testing.assert_array_equal(folded["head_0_logits/kernel"], lively["head_0_logits/kernel"])
    for mine, theirs in zip(
        forward(images, folded, LAYOUT), forward(images, lively, LAYOUT), strict=True
    ):
        assert np.abs(theirs).max() > 1
        np.testing.assert_allclose(mine, theirs, atol=1e-10)


def test_one_unit_by_hand_and_folded_by_hand():
    """(3 x + 0 - 1) x 2 / 2 + 5 is 3 x + 4."""
    one = np.ones(1)
    weights = {
        "a/kernel": np.full((1, 1, 1, 1), 3.0),
        "a_BN/gamma": 2 * one,
        "a_BN/beta": 5 * one,
        "a_BN/moving_mean": one,
        "a_BN/moving_variance": (4 - 1e-3) * one,
    }
    assert conv_unit(one.reshape(1, 1, 1, 1) / 3, "a", weights).item() == pytest.approx(5)
    folded = fold(weights)
    assert folded["a/kernel"].item() == pytest.approx(3)
    assert folded["a/bias"].item() == pytest.approx(4)


def test_who_wants_to_look_inside_sees_every_map_in_order(images, weights):
    seen = {}
    deltas, _ = forward(images, weights, LAYOUT, seen)

    names = list(seen)
    assert names[:4] == [
        "Conv1",
        "expanded_conv_depthwise",
        "expanded_conv_project",
        "block_1_expand",
    ]
    assert names[-6:] == [
        f"head_{level}_{output}" for output in ("deltas", "logits") for level in range(3)
    ]
    assert [name for name in names if name.endswith("_add")] == [
        f"block_{block}_add" for block in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)
    ]
    assert seen["block_2_add"].shape == seen["block_2_project"].shape
    np.testing.assert_array_equal(
        seen["block_2_add"], seen["block_1_project"] + seen["block_2_project"]
    )
    for level, cells in enumerate((16, 4, 1)):
        assert seen[f"head_{level}_deltas"].size == 2 * cells * (3, 3, 2)[level] * 4
    np.testing.assert_array_equal(forward(images, weights, LAYOUT)[0], deltas)
    assert seen["block_1_expand"].min() >= 0
    assert seen["block_1_project"].min() < 0, "a projection has no activation"


def test_maps_are_the_layouts(images, weights):
    assert [x.shape[1:3] for x in feature_maps(images, weights, LAYOUT)] == list(
        LAYOUT.feature_maps
    )


def test_outputs_are_in_the_order_of_the_anchors(images, weights):
    """Biases alone: every cell says the same, shape by shape."""
    silent = {
        name: np.zeros_like(value) if name.startswith("head") and "kernel" in name else value
        for name, value in weights.items()
    }
    deltas, logits = forward(images, silent, LAYOUT)

    assert deltas.shape == (2, 16 * 3 + 4 * 3 + 2, 4)
    assert logits.shape == (2, 16 * 3 + 4 * 3 + 2, 3)
    assert logits[0, :6].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]] * 2
    assert deltas[1, -2:].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]

    by_shape = AnchorLayout(
        "tiny", (64, 64), LAYOUT.feature_maps, LAYOUT.scales, LAYOUT.aspect_ratios, order="shape"
    )
    logits = forward(images, silent, by_shape)[1]
    assert logits[0, :17].tolist() == [[0, 1, 2]] * 16 + [[3, 4, 5]]


def test_images_do_not_look_at_each_other(images, weights):
    both = forward(images, weights, LAYOUT)
    one = forward(images[1:], weights, LAYOUT)
    np.testing.assert_allclose(both[0][1:], one[0], atol=1e-12)
    np.testing.assert_allclose(both[1][1:], one[1], atol=1e-12)


def test_what_does_not_fit_is_refused(images, weights):
    with pytest.raises(ValueError, match=r"images: expected shape \(B, 64, 64, 3\)"):
        forward(images[:, :32], weights, LAYOUT)
    with pytest.raises(ValueError, match=r"images: expected images .* Received: \(1, 16, 16, 3\)"):
        mobilenet_v2_features(images[:1, :16, :16], weights)
    wrong = AnchorLayout("wrong", (64, 64), ((4, 4), (3, 3)), (0.2, 0.4, 0.6), ((2.0,), (2.0,)))
    with pytest.raises(ValueError, match=r"layout: expected feature maps \(\(4, 4\), \(2, 2\)\)"):
        forward(images, weights, wrong)
    with pytest.raises(KeyError, match="Conv1/kernel"):
        forward(images, {}, LAYOUT)


def lite(weights, last):
    """The same backbone with separable extra maps and heads, on images of 96 x 96."""
    made = {
        name: value for name, value in weights.items() if not name.startswith(("extra", "head"))
    }
    channels = [weights["block_13_expand/kernel"].shape[-1], 9]
    for number in range(1, len(last) + 1):
        unit(made, f"extra_{number}_squeeze", 1, channels[-1], 3)
        unit(made, f"extra_{number}_depthwise", 3, 3, 3)
        unit(made, f"extra_{number}_pointwise", 1, 3, 4 + number)
        channels.append(4 + number)
    for level, inputs in enumerate(channels):
        for output, numbers in (("deltas", 4), ("logits", 3)):
            name = f"head_{level}_{output}"
            unit(made, f"{name}_depthwise", 3, inputs, inputs)
            kernel = np.random.default_rng(level).normal(size=(1, 1, inputs, 2 * numbers))
            made[f"{name}/kernel"] = kernel
            made[f"{name}/bias"] = np.arange(2.0 * numbers)
    maps = ((6, 6), (3, 3), *last)
    scales = tuple(np.linspace(0.2, 0.9, len(maps) + 1).tolist())
    return made, AnchorLayout("lite", (96, 96), maps, scales, ((),) * len(maps))


@pytest.mark.parametrize("last", [((2, 2), (1, 1)), ((1, 1),)], ids=str)
def test_in_ssdlite_extra_maps_and_heads_are_separable(weights, last):
    """Unit by unit; at stride 2 where the layout has half as many cells, else without padding."""
    made, layout = lite(weights, last)
    images = np.random.default_rng(6).uniform(-1, 1, (1, 96, 96, 3))

    seen = {}
    maps = feature_maps(images, made, layout, seen)
    x = maps[1]
    for number, expected in enumerate(maps[2:], 1):
        window = {"padding": "valid"} if last == ((1, 1),) else {"stride": 2}
        for part, how in (("squeeze", {}), ("depthwise", window), ("pointwise", {})):
            x = conv_unit(x, f"extra_{number}_{part}", made, **how)
            np.testing.assert_array_equal(seen[f"extra_{number}_{part}"], x)
        np.testing.assert_array_equal(expected, x)

    seen = {}
    outputs = dict(zip(("deltas", "logits"), forward(images, made, layout, seen), strict=True))
    for output, found in outputs.items():
        flat = []
        for level, x in enumerate(maps):
            name = f"head_{level}_{output}"
            x = conv_unit(x, f"{name}_depthwise", made)
            np.testing.assert_array_equal(seen[f"{name}_depthwise"], x)
            x = conv_unit(x, name, made, relu=False)
            np.testing.assert_array_equal(seen[name], x)
            flat.append(x.reshape(1, -1, found.shape[-1]))
        np.testing.assert_array_equal(found, np.concatenate(flat, axis=1))
    np.testing.assert_array_equal(seen["Conv_1"], maps[1])


def test_32_pixels_are_enough():
    made = {}
    unit(made, "Conv1", 3, 3, 2, "bn_Conv1")
    with pytest.raises(KeyError):
        mobilenet_v2_features(np.zeros((1, 32, 32, 3)), made)
    with pytest.raises(ValueError, match=r"^images: "):
        mobilenet_v2_features(np.zeros((1, 32, 31, 3)), made)


def test_a_first_map_that_the_backbone_does_not_yield_is_named(images, weights):
    layout = AnchorLayout("odd", (64, 64), ((5, 5), (3, 3)), (0.2, 0.4, 0.6), ((), ()))
    message = r"^layout: expected a first feature map .* one of \[\(8, 8\), \(4, 4\), \(2, 2\)\]\. "
    with pytest.raises(ValueError, match=message):
        feature_maps(images, weights, layout)
