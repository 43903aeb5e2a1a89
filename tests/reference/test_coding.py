"""Coding: boxes and deltas worked by hand; the round trip is a law of test_properties."""

from __future__ import annotations

from math import e, log

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from reference_numpy.boxes import clip, cxcywh_to_xyxy, xyxy_to_cxcywh
from reference_numpy.coding import background_first, decode, encode
from tests.strategies import FLOATS, anywhere_boxes, dtypes, numbers

NAN, INF = np.nan, np.inf
UNIT = (1.0, 1.0, 1.0, 1.0)
ANCHOR = (0.5, 0.5, 0.25, 0.5)

variances = st.sampled_from([(0.1, 0.1, 0.2, 0.2), UNIT, (0.5, 0.25, 2.0, 4.0)])

# --- worked by hand ------------------------------------------------------------------------------

# Each box is written by its cxcywh. Against ANCHOR, a quarter wide and a half high: the
# offset of the centre in widths and heights, the logarithm of the ratio of sizes; divided by
# .1, .1, .2, .2.
WORKED = {
    "the anchor itself": (ANCHOR, (0, 0, 0, 0), (0, 0, 0, 0)),
    "half a width to the right": ((0.625, 0.5, 0.25, 0.5), (0.5, 0, 0, 0), (5, 0, 0, 0)),
    "a quarter of a height up": ((0.5, 0.375, 0.25, 0.5), (0, -0.25, 0, 0), (0, -2.5, 0, 0)),
    "twice as wide": ((0.5, 0.5, 0.5, 0.5), (0, 0, log(2), 0), (0, 0, 5 * log(2), 0)),
    "e times lower": ((0.5, 0.5, 0.25, 0.5 / e), (0, 0, 0, -1), (0, 0, 0, -5)),
    "all of it": (
        (0.25, 1.0, 0.125, 2.0),
        (-1, 1, -log(2), log(4)),
        (-10, 10, -5 * log(2), 5 * log(4)),
    ),
    "wholly outside the image": ((-2.0, 3.0, 0.25, 0.5), (-10, 5, 0, 0), (-100, 50, 0, 0)),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", WORKED)
def test_worked_by_hand(case, dtype):
    box, plain, scaled = (np.array([row], dtype) for row in WORKED[case])
    anchors = np.array([ANCHOR], dtype)
    boxes = cxcywh_to_xyxy(box)
    close = {"rtol": 0, "atol": 128 * np.finfo(dtype).eps}  # for codes up to 100
    for codes, options in ((scaled, {}), (plain, {"variances": UNIT})):
        encoded, decoded = encode(boxes, anchors, **options), decode(codes, anchors, **options)
        assert (encoded.dtype, decoded.dtype) == (dtype, dtype)
        np.testing.assert_allclose(encoded, codes, **close, err_msg=case)
        np.testing.assert_allclose(decoded, boxes, **close, err_msg=case)


def test_each_variance_divides_its_own_number():
    # The box is one anchor to the right and below, and e times as large: 1, 1, 1, 1 undivided.
    box = np.array([[1.5, 1.5, 1.5, 1.5]]) + np.array([[-1, -1, 1, 1]]) * e / 2
    anchors = np.array([[0.5, 0.5, 1.0, 1.0]])
    codes = encode(box, anchors, variances=(0.5, 0.25, 2.0, 4.0))
    np.testing.assert_allclose(codes, [[2, 4, 1 / 2, 1 / 4]], rtol=1e-14)
    np.testing.assert_allclose(
        decode(codes, anchors, variances=(0.5, 0.25, 2.0, 4.0)), box, rtol=1e-14
    )


def test_each_box_has_its_own_anchor():
    boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5]])
    anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.5, 0.25, 0.25, 0.5]])
    codes = encode(boxes, anchors, variances=UNIT)
    np.testing.assert_allclose(codes, [[0, 0, 0, 0], [-1, 0, log(2), 0]], atol=1e-15)
    np.testing.assert_allclose(decode(codes, anchors, variances=UNIT), boxes, atol=1e-15)


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_boxes(dtype):
    none = np.zeros((0, 4), dtype)
    for function in (encode, decode):
        found = function(none, none)
        assert (found.dtype, found.shape) == (dtype, (0, 4))


# --- other answers, by hand ----------------------------------------------------------------------

# A box half a width right of ANCHOR (.25 × .5) and a quarter of its height up; 1/2 × 1/4.
BOX = (0.625, 0.375, 0.5, 0.25)
# Changes; then the codes of BOX with variances of 1.
OTHERWISE = {
    "canonical": ({}, (0.5, -0.25, log(2), -log(2))),
    "y before x, h before w": ({"code_order": "yxhw"}, (-0.25, 0.5, -log(2), log(2))),
    "differences": ({"form": "difference"}, (0.125, -0.125, 0.25, -0.25)),
    "differences, y before x": (
        {"form": "difference", "code_order": "yxhw"},
        (-0.125, 0.125, -0.25, 0.25),
    ),
    # A size of .25 more: units of .5 and .75, sizes of .75 and .5.
    "an epsilon on sizes": (
        {"size_epsilon": 0.25},
        (0.125 / 0.5, -0.125 / 0.75, log(0.75 / 0.5), log(0.5 / 0.75)),
    ),
    # Ratios of 2 and 1/2; centres as ever.
    "an epsilon on the ratio": ({"ratio_epsilon": 0.5}, (0.5, -0.25, log(2.5), log(1))),
    "both": (
        {"size_epsilon": 0.25, "ratio_epsilon": 0.5},
        (0.125 / 0.5, -0.125 / 0.75, log(1.5 + 0.5), log(2 / 3 + 0.5)),
    ),
    "a limit when decoding": ({"largest_exponent": 0.1}, (0.5, -0.25, log(2), -log(2))),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", OTHERWISE)
def test_other_codes_by_hand(case, dtype):
    overrides, expected = OTHERWISE[case]
    box, anchor = (np.array([row], dtype) for row in (BOX, ANCHOR))
    box = cxcywh_to_xyxy(box)
    close = {"rtol": 0, "atol": 4 * np.finfo(dtype).eps, "err_msg": case}
    found = encode(box, anchor, variances=UNIT, **overrides)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [expected], **close)

    # A variance divides the number of its own name, wherever that stands.
    scaled = encode(box, anchor, variances=(0.5, 0.25, 2.0, 4.0), **overrides)
    divisors = np.array([0.5, 0.25, 2.0, 4.0])
    if overrides.get("code_order") == "yxhw":
        divisors = divisors[[1, 0, 3, 2]]
    np.testing.assert_array_equal(scaled, found / divisors.astype(dtype))

    back = decode(found, anchor, variances=UNIT, **overrides)
    assert back.dtype == dtype
    if not {"size_epsilon", "ratio_epsilon", "largest_exponent"} & set(overrides):
        np.testing.assert_allclose(back, box, **close)
        again = decode(scaled, anchor, variances=(0.5, 0.25, 2.0, 4.0), **overrides)
        np.testing.assert_allclose(again, box, **close)


# Epsilons; then what decoding makes of the codes of BOX: its centre and its size.
MISSED = {
    # The shift is .125 / .5 of a width of .25, -.125 / .75 of a height of .5; the sizes are
    # .75 / .5 of .25 and .5 / .75 of .5.
    "on sizes": ({"size_epsilon": 0.25}, (0.5625, 0.5 - 0.25 / 3, 0.375, 1 / 3)),
    # Half an anchor too wide and too high.
    "on the ratio": ({"ratio_epsilon": 0.5}, (0.625, 0.375, 0.625, 0.5)),
}


@pytest.mark.parametrize("case", MISSED)
def test_with_an_epsilon_decoding_is_no_inverse(case):
    overrides, expected = MISSED[case]
    anchor = np.array([ANCHOR])
    box = cxcywh_to_xyxy(np.array([BOX]))
    found = xyxy_to_cxcywh(decode(encode(box, anchor, **overrides), anchor, **overrides))
    np.testing.assert_allclose(found, [expected], rtol=1e-14)
    assert np.abs(found - BOX).max() > 0.04


# Exponents are the last two deltas times .2; the anchor is .25 × .5.
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("limit", "deltas", "size"),
    [
        (None, (5, 10), (0.25 * e, 0.5 * e**2)),
        (1.0, (5, 10), (0.25 * e, 0.5 * e)),
        (1.0, (4.5, -100), (0.25 * e**0.9, 0.5 * e**-20)),  # nothing is cut below
        (0.0, (5, -5), (0.25, 0.5 / e)),
        (-1.0, (5, 0), (0.25 / e, 0.5 / e)),
        (log(1000 / 16), (1e9, INF), (0.25 * 62.5, 0.5 * 62.5)),  # torchvision's
    ],
)
def test_the_largest_exponent(limit, deltas, size, dtype):
    found = decode(
        np.array([[0, 0, *deltas]], dtype), np.array([ANCHOR], dtype), largest_exponent=limit
    )
    expected = cxcywh_to_xyxy(np.array([[0.5, 0.5, *size]]))
    np.testing.assert_allclose(found, expected, rtol=32 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_object_without_width_is_encoded_with_an_epsilon(dtype):
    line = np.array([[0.5, 0.25, 0.5, 0.75]], dtype)
    anchor = np.array([ANCHOR], dtype)
    close = {"rtol": 0, "atol": 64 * np.finfo(dtype).eps}
    for overrides, expected in (
        # log(1/4 / (1/4 + 1/4)), and log((1/2 + 1/4) / (1/2 + 1/4)).
        ({"size_epsilon": 0.25}, (0, 0, -log(2), 0)),
        ({"ratio_epsilon": 1 / 8}, (0, 0, -log(8), log(9 / 8))),
        ({"size_epsilon": 1e-8}, (0, 0, log(1e-8 / (0.25 + 1e-8)), 0)),
        ({"form": "difference"}, (0, 0, -0.25, 0)),
    ):
        found = encode(line, anchor, variances=UNIT, degenerate="encode", **overrides)
        np.testing.assert_allclose(found, [expected], **close, err_msg=str(overrides))
    back = decode(found, anchor, variances=UNIT, form="difference")
    assert back.tolist() == line.tolist()


@pytest.mark.parametrize("degenerate", ["error", "drop"])
def test_an_object_without_width_is_refused_otherwise(degenerate):
    # `assign_targets` drops it beforehand; who encodes one by hand hears of it.
    line = np.array([[0.5, 0.25, 0.5, 0.75]])
    with pytest.raises(ValueError, match=r"^boxes\[0\]: expected xmin < xmax and ymin < ymax\."):
        encode(line, np.array([ANCHOR]), degenerate=degenerate, size_epsilon=0.25)


def test_an_object_inside_out_is_never_encoded():
    with pytest.raises(ValueError, match=r"^boxes\[0\]: expected xmin <= xmax and ymin <= ymax\."):
        encode(
            np.array([[0.5, 0.25, 0.25, 0.75]]),
            np.array([ANCHOR]),
            degenerate="encode",
            size_epsilon=0.25,
        )


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5, 3), (0, 3)])
def test_background_comes_first(shape):
    logits = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert background_first(logits) is logits
    found = background_first(logits, background="last")
    assert (found.dtype, found.shape) == (logits.dtype, shape)
    # Classes 1, 2, background.
    np.testing.assert_array_equal(found, logits[..., [2, 0, 1]])


# --- laws ----------------------------------------------------------------------------------------


@given(st.data(), dtypes, variances)
def test_differences_are_undone_too(data, dtype, variances):
    # u = eps / 2: the centre and its difference meet a rounding each, and the variance and its
    # reciprocal two times two of what is below 4 there; the corner one more.
    boxes = data.draw(anywhere_boxes(dtype, least=1, most=3))
    anchors = xyxy_to_cxcywh(data.draw(anywhere_boxes(dtype, least=len(boxes), most=len(boxes))))
    options = {"variances": variances, "form": "difference"}
    found = decode(encode(boxes, anchors, **options), anchors, **options)
    np.testing.assert_allclose(found, boxes, rtol=0, atol=32 * np.finfo(dtype).eps)


@given(st.data(), dtypes, st.sampled_from(["log", "difference"]))
def test_the_order_of_codes_is_all_that_differs(data, dtype, form):
    boxes = data.draw(anywhere_boxes(dtype, least=1, most=2))
    anchors = xyxy_to_cxcywh(boxes)[::-1]
    codes = encode(boxes, anchors, form=form)
    swapped = encode(boxes, anchors, form=form, code_order="yxhw")
    np.testing.assert_array_equal(swapped, codes[:, [1, 0, 3, 2]])
    np.testing.assert_array_equal(
        decode(swapped, anchors, form=form, code_order="yxhw"), decode(codes, anchors, form=form)
    )


@given(st.data(), st.sampled_from([1e-8, 1e-3, 0.5]), st.sampled_from([0.0, 1e-8, 0.25]))
def test_how_far_epsilons_miss(data, size_epsilon, ratio_epsilon):
    # A shift d becomes d w_a / (w_a + e). A size w becomes w_a (w + e) / (w_a + e) + r w_a.
    boxes = data.draw(anywhere_boxes(np.float64, least=1, most=3))
    anchors = xyxy_to_cxcywh(
        data.draw(anywhere_boxes(np.float64, least=len(boxes), most=len(boxes)))
    )
    options = {"size_epsilon": size_epsilon, "ratio_epsilon": ratio_epsilon}
    found = xyxy_to_cxcywh(decode(encode(boxes, anchors, **options), anchors, **options))

    centers, own, unit = xyxy_to_cxcywh(boxes), anchors[:, :2], anchors[:, 2:]
    shift = (centers[:, :2] - own) * unit / (unit + size_epsilon)
    size = unit * ((centers[:, 2:] + size_epsilon) / (unit + size_epsilon) + ratio_epsilon)
    np.testing.assert_allclose(found[:, :2], own + shift, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found[:, 2:], size, rtol=0, atol=1e-13)


@given(st.data(), dtypes, st.sampled_from([-1.0, 0.0, 2.0]))
def test_below_the_largest_exponent_nothing_changes(data, dtype, limit):
    deltas = data.draw(numbers((3, 4), dtype, 30.0))
    anchors = np.array([ANCHOR] * 3, dtype)
    free, cut = decode(deltas, anchors), decode(deltas, anchors, largest_exponent=limit)
    below = (deltas[:, 2:] * dtype(0.2) <= dtype(limit)).all(axis=1)
    np.testing.assert_array_equal(cut[below], free[below])
    assert np.isfinite(cut).all()
    most = np.array(ANCHOR[2:], dtype) * np.exp(dtype(limit)) * dtype(1.001)
    assert (cut[:, 2:] - cut[:, :2] <= most + 32 * np.finfo(dtype).eps).all()


@given(st.data(), dtypes, st.sampled_from([0.25, 0.5, 4.0]))
def test_codes_do_not_depend_on_the_unit(data, dtype, unit):
    boxes = data.draw(anywhere_boxes(dtype, least=1, most=2))
    anchors = xyxy_to_cxcywh(boxes)[::-1]
    unit = dtype(unit)  # a power of two, so exact
    codes = encode(boxes, anchors)
    np.testing.assert_array_equal(encode(boxes * unit, anchors * unit), codes)
    np.testing.assert_array_equal(decode(codes, anchors * unit), decode(codes, anchors) * unit)


@given(st.data(), dtypes)
def test_swapping_the_axes_swaps_the_codes(data, dtype):
    boxes = data.draw(anywhere_boxes(dtype, least=1, most=2))
    anchors = xyxy_to_cxcywh(boxes)[::-1]
    codes, turned = encode(boxes, anchors), [1, 0, 3, 2]
    np.testing.assert_array_equal(encode(boxes[:, turned], anchors[:, turned]), codes[:, turned])
    np.testing.assert_array_equal(
        decode(codes[:, turned], anchors[:, turned]), decode(codes, anchors)[:, turned]
    )


@given(st.data(), dtypes)
def test_any_finite_deltas_decode_to_numbers_and_clip_into_the_image(data, dtype):
    deltas = data.draw(numbers((3, 4), dtype, 2.0**127))
    found = decode(deltas, np.array([ANCHOR] * 3, dtype))
    assert found.dtype == dtype
    assert not np.isnan(found).any()
    assert (found[:, 2:] >= found[:, :2]).all()
    clipped = clip(found)
    assert ((clipped >= 0) & (clipped <= 1)).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ((0, 0, 1e9, 0), (-INF, 0.25, INF, 0.75)),
        ((0, 0, 0, INF), (0.375, -INF, 0.625, INF)),
        ((0, 0, -1e9, 0), (0.5, 0.25, 0.5, 0.75)),
        ((0, 0, 0, -INF), (0.375, 0.5, 0.625, 0.5)),
        ((1e30, 0, 1e9, 0), (-INF, 0.25, INF, 0.75)),
    ],
)
def test_a_huge_stretch_gives_infinity_or_a_line(deltas, expected, dtype):
    found = decode(np.array([deltas], dtype), np.array([ANCHOR], dtype))
    assert found.tolist() == [list(expected)]


@settings(max_examples=20)
@given(st.data(), dtypes)
def test_the_arguments_are_left_alone(data, dtype):
    boxes = data.draw(anywhere_boxes(dtype))
    anchors = xyxy_to_cxcywh(boxes)
    for array in (boxes, anchors):
        array.setflags(write=False)
    encode(boxes, anchors)
    decode(boxes, anchors)


# --- what is refused -----------------------------------------------------------------------------

BOXES = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75]])
ANCHORS = np.array([ANCHOR, ANCHOR])


@pytest.mark.parametrize("value", [INF, -INF, NAN])
def test_a_difference_has_to_be_finite(value):
    with pytest.raises(ValueError, match=r"^deltas\[0\]: expected four finite numbers\. "):
        decode(np.array([[0.0, 0.0, value, 0.0]]), np.array([ANCHOR]), form="difference")


def test_which_numbers_may_be_infinite_goes_with_their_order():
    anchor = np.array([ANCHOR])
    for place, refused in ((0, True), (1, True), (2, False), (3, False)):
        deltas = np.zeros((1, 4))
        deltas[0, place] = INF
        if refused:
            with pytest.raises(ValueError, match="tx and ty finite"):
                decode(deltas, anchor, code_order="yxhw")
        else:
            low, high = np.split(decode(deltas, anchor, code_order="yxhw")[0], 2)
            # th comes first: the height is infinite where the third number is.
            assert (low == -INF).tolist() == (high == INF).tolist() == [place == 3, place == 2]


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_shift_is_an_error_and_an_infinite_size_is_not(column, value):
    anchor = np.array([[0.5, 0.5, 0.25, 0.25]])
    deltas = np.zeros((1, 4))
    deltas[0, column] = value
    with pytest.raises(ValueError, match=r"deltas\[0\]: expected four numbers, tx and ty finite"):
        decode(deltas, anchor)

    deltas = np.zeros((1, 4))
    deltas[0, column + 2] = value
    assert not np.isnan(decode(deltas, anchor)).any()
