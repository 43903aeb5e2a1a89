"""Layers: sums a person can do, a literal loop, and what padding "same" means."""

from __future__ import annotations

import re

import numpy as np
import pytest

from reference_numpy.layers import (
    batch_norm,
    convolution,
    depthwise_convolution,
    fold_batch_norm,
    relu6,
)
from tests.strategies import FLOATS

# 1 2 3 4     one channel, four by four
# 5 6 7 8
# 9 ...  16
GRID = np.arange(1.0, 17).reshape(1, 4, 4, 1)
ONES = np.ones((3, 3, 1, 1))


def test_without_padding_a_window_stays_within():
    # 1+2+3 + 5+6+7 + 9+10+11 = 54; one to the right each of nine is 1 more, one down 4 more.
    assert convolution(GRID, ONES, padding="valid")[0, :, :, 0].tolist() == [[54, 63], [90, 99]]


def test_same_is_as_large_and_zeros_lie_around():
    found = convolution(GRID, ONES)[0, :, :, 0]
    assert found.shape == (4, 4)
    assert found[0, 0] == 1 + 2 + 5 + 6
    assert found[1, 1] == 54
    assert found[3, 3] == 11 + 12 + 15 + 16


def test_at_stride_2_an_even_side_has_its_zeros_below_and_to_the_right():
    # One row and one column are missing, so the first window begins at the first pixel.
    found = convolution(GRID, ONES, stride=2)[0, :, :, 0]
    assert found.tolist() == [[54, 3 + 4 + 7 + 8 + 11 + 12], [9 + 10 + 11 + 13 + 14 + 15, 54]]


def test_at_stride_2_an_odd_side_has_zeros_all_around():
    odd = GRID[:, :3, :3]
    found = convolution(odd, ONES, stride=2)[0, :, :, 0]
    assert found.tolist() == [[1 + 2 + 5 + 6, 2 + 3 + 6 + 7], [5 + 6 + 9 + 10, 6 + 7 + 10 + 11]]


def test_every_output_channel_looks_at_every_input_channel():
    pixel = np.array([1.0, 10.0]).reshape(1, 1, 1, 2)
    kernel = np.array([[1.0, 2, 3], [4, 5, 6]]).reshape(1, 1, 2, 3)
    found = convolution(pixel, kernel, np.array([0.5, 0, 0]))
    assert found.ravel().tolist() == [41.5, 52, 63]


def test_depthwise_channels_do_not_look_at_each_other():
    kernel = np.array([1.0, 3.0]).reshape(1, 1, 2, 1)
    found = depthwise_convolution(np.ones((1, 2, 2, 2)), kernel, np.array([0.0, 1.0]))
    assert found[0, 0, 0].tolist() == [1, 4]


def literal(x, kernel, stride, padding, depthwise):
    """The definition, place by place, on a map padded by hand."""
    (rows, columns), (height, width) = kernel.shape[:2], x.shape[1:3]
    top = left = 0
    out = ((height - rows) // stride + 1, (width - columns) // stride + 1)
    if padding == "same":
        out = (-(-height // stride), -(-width // stride))
        top = max((out[0] - 1) * stride + rows - height, 0) // 2
        left = max((out[1] - 1) * stride + columns - width, 0) // 2
    filters = x.shape[3] if depthwise else kernel.shape[3]
    result = np.zeros((len(x), *out, filters))
    for place in np.ndindex(*result.shape):
        image, row, column, channel = place
        for i, j in np.ndindex(rows, columns):
            y, z = row * stride + i - top, column * stride + j - left
            if 0 <= y < height and 0 <= z < width:
                seen = x[image, y, z]
                if depthwise:
                    result[place] += seen[channel] * kernel[i, j, channel, 0]
                else:
                    result[place] += seen @ kernel[i, j, :, channel]
    return result


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 3)])
@pytest.mark.parametrize("shape", [(2, 5, 6, 3), (1, 3, 3, 1)])
def test_equals_the_definition(shape, size, stride, padding):
    generator = np.random.default_rng(0)
    x = generator.normal(size=shape)
    full = generator.normal(size=(*size, shape[-1], 4))
    apart = generator.normal(size=(*size, shape[-1], 1))
    options = {"stride": stride, "padding": padding}
    np.testing.assert_allclose(
        convolution(x, full, **options), literal(x, full, stride, padding, False), atol=1e-12
    )
    np.testing.assert_allclose(
        depthwise_convolution(x, apart, **options),
        literal(x, apart, stride, padding, True),
        atol=1e-12,
    )


def test_batch_norm_by_hand():
    # (5 - 1) × 3 / sqrt(3.999 + .001) + 2
    parts = (np.array([value]) for value in (3.0, 2.0, 1.0, 3.999))
    assert batch_norm(np.array([[5.0]]), *parts)[0, 0] == pytest.approx(8)


def test_batch_norm_looks_at_channels_and_a_variance_may_be_nothing():
    one = np.ones(1)
    assert batch_norm(np.array([[5.0]]), one, one, one, np.zeros(1), epsilon=4.0)[0, 0] == 3
    with pytest.raises(ValueError, match=r"^x: expected shape \(\.\.\., C\)\. Received: \(\)$"):
        batch_norm(np.array(1.0), one, one, one, one)
    with pytest.raises(ValueError, match=r"^variance\[0\]: expected more than -4\. Received: -4"):
        batch_norm(np.array([[5.0]]), one, one, one, np.array([-4.0]), epsilon=4.0)


def test_windows_go_by_one_unless_told_otherwise():
    assert convolution(GRID, ONES).shape == depthwise_convolution(GRID, ONES).shape == (1, 4, 4, 1)


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_folded_convolution_does_both(depthwise):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(1, 5, 5, 2))
    kernel = generator.normal(size=(3, 3, 2, 1 if depthwise else 4))
    gamma, beta, mean = generator.normal(size=(3, 2 if depthwise else 4))
    variance = generator.uniform(0.1, 2, gamma.shape)
    slide = depthwise_convolution if depthwise else convolution

    folded, bias = fold_batch_norm(kernel, gamma, beta, mean, variance)

    apart = batch_norm(slide(x, kernel), gamma, beta, mean, variance)
    np.testing.assert_allclose(slide(x, folded, bias), apart, atol=1e-12)


def test_relu6_by_hand():
    assert relu6(np.array([-1.0, 0, 3, 6, 9])).tolist() == [0, 0, 3, 6, 6]


def test_only_a_depthwise_kernel_is_normalised_by_its_inputs():
    norm = np.ones(2)  # as many as inputs, where there are three outputs
    with pytest.raises(ValueError, match=r"^gamma: expected shape \(3,\)\. Received: \(2,\)$"):
        fold_batch_norm(np.ones((3, 3, 2, 3)), norm, norm, norm, norm)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_dtype_is_the_maps(dtype):
    x, wide = GRID.astype(dtype), np.ones(1)
    assert convolution(x, ONES, wide).dtype == dtype
    assert depthwise_convolution(x, ONES, wide).dtype == dtype
    assert batch_norm(x, wide, wide, wide, wide).dtype == dtype
    assert relu6(x).dtype == dtype


@pytest.mark.parametrize("function", [convolution, depthwise_convolution])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": GRID[0]}, "x: expected shape (B, H, W, C). Received: (4, 4, 1)"),
        ({"kernel": ONES[0]}, "kernel: expected shape (rows, columns, 1, "),
        ({"kernel": np.ones((3, 3, 2, 1))}, "kernel: expected shape (rows, columns, 1, "),
        ({"bias": np.ones(2)}, "bias: expected shape (1,). Received: (2,)"),
        ({"padding": "SAME"}, "padding: expected 'same' or 'valid'. Received: 'SAME'"),
        ({"stride": 0}, "stride: expected 1 or more. Received: 0"),
        (
            {"kernel": np.ones((5, 1, 1, 1)), "padding": "valid"},
            "kernel: expected a window within (4, 4). Received: (5, 1)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(function, change, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        function(**{"x": GRID, "kernel": ONES, **change})
