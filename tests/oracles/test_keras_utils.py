"""Keras' own boxes in their other forms, and the faults of Keras that a detector meets.

Operation by operation they are compared in tests/parity (`--implementation keras_utils`). The tests
that are expected to fail say what would be right: docs/peer-bugs.md.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.utils import bounding_boxes

from reference_numpy.boxes import area, clip, pairwise_iou, xyxy_to_cxcywh
from reference_numpy.coding import decode, encode
from reference_numpy.conventions import CANONICAL

WORKLOADS = 250
HEIGHT, WIDTH = 48, 64
PIXELS = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)
IMAGE = HEIGHT, WIDTH, 3
KERAS = CANONICAL.replace(iou_epsilon=1e-7)
EPS = float(np.finfo(np.float32).eps)
VARIANCES = [0.1, 0.1, 0.2, 0.2]

# The forms it has, each from corners in pixels.
FORMS = {
    "xyxy": lambda box: box,
    "yxyx": lambda box: box[..., [1, 0, 3, 2]],
    "xywh": lambda box: np.concatenate([box[..., :2], box[..., 2:] - box[..., :2]], axis=-1),
    "center_xywh": xyxy_to_cxcywh,
    "center_yxhw": lambda box: xyxy_to_cxcywh(box)[..., [1, 0, 3, 2]],
    "rel_xyxy": lambda box: box / PIXELS,
    "rel_yxyx": lambda box: (box / PIXELS)[..., [1, 0, 3, 2]],
    "rel_xywh": lambda box: FORMS["xywh"](box / PIXELS),
    "rel_center_xywh": lambda box: xyxy_to_cxcywh(box / PIXELS),
}


def random_boxes(generator, *shape):
    """Boxes in eighths of a pixel, which every form holds without a loss but for the relative."""
    low = generator.integers(0, 300, (*shape, 2))
    size = generator.integers(1, 200, (*shape, 2))
    return (np.concatenate([low, low + size], axis=-1) / 8).astype(np.float32)


# --- other forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("source", FORMS)
@pytest.mark.parametrize("target", FORMS)
def test_forms(source, target):
    boxes = random_boxes(np.random.default_rng(0), WORKLOADS)
    given, wanted = FORMS[source](boxes), FORMS[target](boxes)
    found = bounding_boxes.convert_format(given, source, target, height=HEIGHT, width=WIDTH)
    unit = PIXELS.max() * (1 / PIXELS.min() if target.startswith("rel_") else 1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * EPS * unit)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("first", "second"), [(3, 3), (3, 2), (2, 3)])
def test_iou_of_each_form_and_rank(form, first, second):
    """Relative boxes are first taken to pixels, and the epsilon is added to square pixels."""
    generator = np.random.default_rng(1)
    some = random_boxes(generator, WORKLOADS if first == 3 else 1, 5)
    others = random_boxes(generator, WORKLOADS if second == 3 else 1, 4)
    given = (
        FORMS[form](boxes if rank == 3 else boxes[0])
        for boxes, rank in ((some, first), (others, second))
    )

    found = np.asarray(bounding_boxes.compute_iou(*given, form, image_shape=IMAGE))

    assert found.shape == (WORKLOADS, 5, 4)
    for batch, iou in enumerate(found):
        pair = (boxes[batch % len(boxes)].astype(np.float64) for boxes in (some, others))
        # A relative side is off by an eps of the image, and no side is below an eighth.
        wanted = pairwise_iou(*pair, KERAS)
        np.testing.assert_allclose(iou, wanted, rtol=0, atol=4 * EPS * WIDTH / (1 / 8))


def test_iou_with_padding():
    """What is -1 all over counts as padding and overlaps by -1."""
    generator = np.random.default_rng(2)
    for _ in range(WORKLOADS):
        boxes = random_boxes(generator, 6)
        missing = generator.random(6) < 0.3
        boxes[missing] = -1
        found = bounding_boxes.compute_iou(boxes, boxes, "xyxy", use_masking=True)
        wanted = pairwise_iou(boxes, boxes, KERAS)
        wanted[missing] = wanted[:, missing] = -1
        np.testing.assert_allclose(found, wanted, rtol=13 * EPS)


@pytest.mark.parametrize("order", ["xywh", "yxhw"])
def test_codes_of_a_batch_and_of_levels(order):
    """Boxes of a batch on anchors in xyxy; decoded level by level."""
    generator = np.random.default_rng(3)
    convention, form = CANONICAL.replace(code_order=order), f"center_{order}"
    for _ in range(WORKLOADS):
        boxes, anchors = random_boxes(generator, 2, 6), random_boxes(generator, 6)
        centers = xyxy_to_cxcywh(anchors)

        deltas = bounding_boxes.encode_box_to_deltas(
            anchors, boxes, "xyxy", "xyxy", form, VARIANCES
        )
        levels = {"fine": slice(0, 4), "coarse": slice(4, 6)}
        found = bounding_boxes.decode_deltas_to_boxes(
            {name: anchors[rows] for name, rows in levels.items()},
            {name: deltas[:, rows] for name, rows in levels.items()},
            "xyxy",
            "xyxy",
            form,
            VARIANCES,
        )

        for image, box in enumerate(boxes):
            wanted = encode(box, centers, convention)
            np.testing.assert_allclose(deltas[image], wanted, rtol=8 * EPS, atol=64 * EPS)
            back = decode(np.asarray(deltas[image]), centers, convention)
            parts = [found[name][image] for name in levels]
            np.testing.assert_allclose(np.concatenate(parts), back, rtol=0, atol=16 * EPS * WIDTH)


def test_codes_of_what_has_no_size():
    """A side below 1e-7 is coded as one of 1e-7."""
    generator = np.random.default_rng(4)
    anchors = xyxy_to_cxcywh(random_boxes(generator, WORKLOADS))
    boxes = np.zeros((WORKLOADS, 4), np.float32)
    boxes[:, 2] = generator.choice([0, 1e-8, 1e-7], WORKLOADS)
    boxes[:, 3] = generator.choice([-1, 0, 1], WORKLOADS)
    least = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], np.float32(1e-7))], axis=1)

    found = bounding_boxes.encode_box_to_deltas(
        anchors, boxes, "center_xywh", "xyxy", "center_xywh", VARIANCES
    )

    wanted = encode(least, anchors)
    np.testing.assert_allclose(np.asarray(found)[:, 2:], wanted[:, 2:], rtol=8 * EPS)


def test_clipping_and_the_labels_of_what_is_left():
    """A box without area loses its label."""
    generator = np.random.default_rng(5)
    boxes = random_boxes(generator, WORKLOADS, 6) - np.float32(20)
    labels = generator.integers(0, 9, (WORKLOADS, 6))
    found = bounding_boxes.clip_to_image_size({"boxes": boxes, "labels": labels}, HEIGHT, WIDTH)
    wanted = clip(boxes / PIXELS) * PIXELS
    np.testing.assert_allclose(found["boxes"], wanted, atol=EPS * WIDTH)
    solid = area(clip(boxes / PIXELS)) > 0
    assert not solid.all()
    np.testing.assert_array_equal(found["labels"], np.where(solid, labels, -1))


def test_crop_and_pad():
    generator = np.random.default_rng(6)
    boxes = random_boxes(generator, WORKLOADS, 6)
    padded = bounding_boxes.pad(boxes, top=3, left=5)
    np.testing.assert_array_equal(padded, boxes + np.array([5, 3, 5, 3], np.float32))
    cropped = bounding_boxes.crop(padded, top=10, left=20, height=HEIGHT, width=WIDTH)
    moved = boxes - np.array([15, 7, 15, 7], np.float32)
    np.testing.assert_array_equal(cropped, np.clip(moved, 0, PIXELS))


# --- what is wrong with the boxes ----------------------------------------------------------------

SMALL = np.array([[0, 0, 1e-3, 1e-3]], np.float32)
SQUARE = np.array([[0.25, 0.25, 0.75, 0.75]], np.float32)


@pytest.mark.xfail(strict=True, reason="epsilons make a small box a bad fit of itself: .83")
def test_complete_iou_of_a_small_box_and_itself():
    assert float(bounding_boxes.compute_ciou(SMALL, SMALL, "xyxy")[0]) == pytest.approx(1)


@pytest.mark.xfail(
    strict=True, raises=ValueError, reason="it asks for the image_shape that it was given"
)
def test_complete_iou_of_relative_boxes():
    found = bounding_boxes.compute_ciou(SQUARE, SQUARE, "rel_xyxy", image_shape=IMAGE)
    assert float(found[0]) == pytest.approx(1)


@pytest.mark.xfail(strict=True, reason="boxes are cast to float32")
def test_iou_keeps_float64():
    third = np.array([[0, 0, 1 / 3, 1]])
    found = bounding_boxes.compute_iou(np.array([[0.0, 0, 1, 1]]), third, "xyxy")
    assert float(found[0, 0]) == pytest.approx(1 / 3 / (1 + 1e-7), rel=1e-12)


@pytest.mark.xfail(
    strict=True, raises=Exception, reason="masks are transposed by the rank of the first boxes"
)
@pytest.mark.parametrize(("first", "second"), [(2, 3), (3, 2)])
def test_padding_with_boxes_of_two_ranks(first, second):
    """Both are in its documentation; without use_masking they work."""
    boxes = [SQUARE if rank == 2 else SQUARE[None] for rank in (first, second)]
    found = bounding_boxes.compute_iou(*boxes, "xyxy", use_masking=True)
    assert found.shape == (1, 1, 1)


@pytest.mark.xfail(
    strict=True,
    raises=tf.errors.InvalidArgumentError,
    reason="anchors become float32 and deltas do not",
)
def test_decoding_in_float64():
    """encode_box_to_deltas takes them."""
    found = bounding_boxes.decode_deltas_to_boxes(
        SQUARE.astype(np.float64), np.zeros((1, 4)), "xyxy", "xyxy"
    )
    np.testing.assert_allclose(found, SQUARE, atol=EPS)


@pytest.mark.xfail(strict=True, reason="the dictionary given is the one returned")
def test_conversion_leaves_the_dictionary_alone():
    """clip_to_image_size makes a copy."""
    given = {"boxes": SQUARE, "labels": np.array([1])}
    bounding_boxes.convert_format(given, "xyxy", "xywh")
    np.testing.assert_array_equal(given["boxes"], SQUARE)


@pytest.mark.xfail(strict=True, raises=ValueError, reason="of five forms only four have a relative")
def test_relative_centers_rows_first():
    """The other forms are there in pixels and relative."""
    found = bounding_boxes.convert_format(
        SQUARE, "rel_xyxy", "rel_center_yxhw", height=HEIGHT, width=WIDTH
    )
    np.testing.assert_allclose(found, [[0.5, 0.5, 0.5, 0.5]], atol=EPS)


@pytest.mark.xfail(strict=True, reason="NaN comes out, where the reference names the box")
def test_a_box_that_is_no_number_is_refused():
    box = np.array([[0.25, 0.25, np.nan, 0.75]], np.float32)
    with pytest.raises(ValueError):  # noqa: PT011 (any will do)
        bounding_boxes.encode_box_to_deltas(SQUARE, box, "xyxy", "xyxy")


@pytest.mark.xfail(strict=True, reason="the example in its documentation has boxes beyond the crop")
def test_the_example_of_crop():
    boxes = np.array([[10, 20, 50, 60], [70, 80, 100, 120]])
    found = bounding_boxes.crop(boxes, top=10, left=20, height=40, width=30)
    np.testing.assert_array_equal(found, [[0, 10, 30, 50], [50, 70, 80, 110]])


# --- what is wrong with layers and operations ----------------------------------------------------


def patch_and_box(layer, height, width):
    """Where a layer moves a patch of an image, and where it says that it moves it."""
    image = np.zeros((1, height, width, 3), np.float32)
    image[0, 8:12, 20:24] = 1
    boxes = {"boxes": np.array([[[20.0, 8, 24, 12]]]), "labels": np.array([[1]])}
    found = layer({"images": image, "bounding_boxes": boxes}, training=True)
    rows, columns = np.nonzero(np.asarray(found["images"])[0, :, :, 0] > 0.5)
    patch = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if rows.size else None
    return patch, np.asarray(found["bounding_boxes"]["boxes"])[0, 0]


def test_where_boxes_follow():
    """The comparison is sound: flips and translations move boxes with their images."""
    for layer in (
        keras.layers.RandomFlip(seed=3, bounding_box_format="xyxy"),
        keras.layers.RandomTranslation(
            (0.2, 0.2), (0.1, 0.1), fill_mode="constant", seed=0, bounding_box_format="xyxy"
        ),
    ):
        patch, box = patch_and_box(layer, 20, 40)
        np.testing.assert_allclose(box, patch, atol=1e-4)


@pytest.mark.xfail(strict=True, reason="the top of the crop is taken from x, and its left from y")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_crop_moves_boxes(seed):
    layer = keras.layers.RandomCrop(10, 20, seed=seed, bounding_box_format="xyxy")
    patch, box = patch_and_box(layer, 20, 40)
    np.testing.assert_array_equal(np.clip(box, 0, [20, 10, 20, 10]), patch)


@pytest.mark.xfail(
    strict=True, reason="images are sheared in pixels, boxes by the same number of relative units"
)
def test_random_shear_of_a_wide_image():
    layer = keras.layers.RandomShear((0.5, 0.5), 0.0, seed=0, bounding_box_format="xyxy")
    patch, box = patch_and_box(layer, 20, 40)
    np.testing.assert_allclose(box, patch, atol=1)


@pytest.mark.xfail(strict=True, reason="the second shear moves what the first has moved already")
def test_random_shear_both_ways():
    """In a square image each way alone is right."""
    shears = [((0.5, 0.5), 0.0), (0.0, (0.25, 0.25)), ((0.5, 0.5), (0.25, 0.25))]
    for factors in shears:
        layer = keras.layers.RandomShear(*factors, seed=0, bounding_box_format="xyxy")
        patch, box = patch_and_box(layer, 40, 40)
        np.testing.assert_allclose(box, patch, atol=1, err_msg=f"{factors}")


@pytest.mark.xfail(strict=True, reason="on TensorFlow values are cut to whole numbers first")
def test_argpartition_of_fractions():
    values = np.array([0.3, 0.1, 0.2, 0.9], np.float32)
    found = np.asarray(keras.ops.argpartition(values, 1))
    assert set(found[:2].tolist()) == {1, 2}


@pytest.mark.xfail(strict=True, reason="on TensorFlow indices are there twice, and others not")
def test_argpartition_is_a_permutation():
    found = np.asarray(keras.ops.argpartition(np.array([0.3, 0.1, 0.2, 0.9], np.float32), 1))
    assert sorted(found.tolist()) == [0, 1, 2, 3]


@pytest.mark.xfail(strict=True, reason="TensorFlow passes NaN over, NumPy stops at it")
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_nan_is_the_extreme(name):
    values = np.array([2, np.nan, 1 if name == "argmin" else 3], np.float32)
    assert int(getattr(keras.ops, name)(values)) == getattr(np, name)(values)
