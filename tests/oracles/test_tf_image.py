"""TensorFlow's suppression kernels in what programs build of them, and what is wrong with them.

Operation by operation they are compared in tests/parity (`--implementation tf_image`). Here are the
detection and the hard-example miner of the TF Object Detection API, in which these kernels are at
work, XLA, batches and tiles. The tests that are expected to fail say what would be right:
docs/peer-bugs.md.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from reference_numpy.boxes import area, clip
from reference_numpy.conventions import CANONICAL, tf_od_ssd_mobilenet_v2
from reference_numpy.detection import select
from reference_numpy.mining import choose_anchors
from reference_numpy.suppression import nms

WORKLOADS, ANCHORS, CLASSES = 250, 40, 3
TENSORFLOW = tf_od_ssd_mobilenet_v2()
ROWS_FIRST = [1, 0, 3, 2]


def random_boxes(generator, *shape):
    """Boxes that reach beyond the image; some are there twice."""
    low, size = generator.uniform(-0.2, 0.9, (*shape, 2)), generator.uniform(0.02, 0.6, (*shape, 2))
    boxes = np.concatenate([low, low + size], axis=-1)
    boxes[..., 1::5, :] = boxes[..., ::5, :]
    return boxes.astype(np.float32)


def random_scores(generator, *shape):
    """Scores, many of them equal."""
    return (generator.integers(0, 50, shape) / 50).astype(np.float32)


def distinct_scores(generator, *shape):
    """Scores without equals in an image."""
    images, *rest = shape
    numbers = np.tile(np.arange(np.prod(rest)), (images, 1))
    numbers = generator.permuted(numbers, axis=1).reshape(shape)
    return (numbers / np.prod(rest)).astype(np.float32)


def suppress(boxes, scores, *limits):
    return tf.image.non_max_suppression(boxes[:, ROWS_FIRST], scores, *limits).numpy()


# --- what is built of them -----------------------------------------------------------------------


def test_detection_of_the_object_detection_api():
    """Class by class, then the best of all, then cut to the image, then what is empty goes."""
    generator = np.random.default_rng(0)
    convention = TENSORFLOW.replace(score_threshold=0.3, max_per_class=6, max_detections=10)
    rules = convention.detection
    for _ in range(WORKLOADS):
        boxes = random_boxes(generator, ANCHORS)
        scores = random_scores(generator, ANCHORS, CLASSES)
        limits = rules.max_per_class, rules.iou_threshold, rules.score_threshold
        kept = [suppress(boxes, column, *limits) for column in scores.T]
        anchors, labels = np.concatenate(kept), np.repeat(np.arange(CLASSES), [*map(len, kept)])
        found = clip(boxes[anchors])
        solid = area(found) > 0
        anchors, labels, found = anchors[solid], labels[solid], found[solid]
        best = scores[anchors, labels]
        order = tf.math.top_k(best, min(rules.max_detections, len(best))).indices.numpy()

        wanted = select(boxes, scores, convention)

        np.testing.assert_array_equal(wanted.anchors, anchors[order])
        np.testing.assert_array_equal(wanted.labels, labels[order] + 1)
        np.testing.assert_array_equal(wanted.boxes, found[order])
        np.testing.assert_array_equal(wanted.scores, best[order])


def test_hard_example_miner_of_the_object_detection_api():
    """Suppression by losses, then three negatives for each positive that is left, or three."""
    generator = np.random.default_rng(1)
    dropped = 0
    for _ in range(WORKLOADS):
        boxes, losses = random_boxes(generator, ANCHORS), random_scores(generator, ANCHORS)
        labels = np.where(generator.random(ANCHORS) < generator.random() / 4, 1, 0)
        kept = suppress(boxes, losses, 3000, TENSORFLOW.loss.mining_nms)
        positives, negatives = kept[labels[kept] > 0], kept[labels[kept] == 0]
        negatives = negatives[: max(3, int(3.0 * len(positives)))]
        dropped += np.count_nonzero(labels) - len(positives)

        chosen = choose_anchors(losses[None], labels[None], TENSORFLOW, boxes=boxes[None])

        np.testing.assert_array_equal(np.flatnonzero(chosen.positives[0]), np.sort(positives))
        np.testing.assert_array_equal(np.flatnonzero(chosen.negatives[0]), np.sort(negatives))
    assert dropped > 0  # it does drop positives


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_nms_under_xla(threshold):
    @tf.function(jit_compile=True)
    def compiled(boxes, scores):
        return tf.image.non_max_suppression(boxes, scores, ANCHORS, threshold)

    generator = np.random.default_rng(2)
    for scores in distinct_scores(generator, WORKLOADS, ANCHORS):
        boxes = random_boxes(generator, ANCHORS)
        kept = compiled(boxes[:, ROWS_FIRST], scores)
        np.testing.assert_array_equal(kept, nms(boxes, scores, iou_threshold=threshold))


def test_nms_with_scores_and_no_sigma():
    generator = np.random.default_rng(3)
    for _ in range(WORKLOADS):
        boxes, scores = random_boxes(generator, ANCHORS), random_scores(generator, ANCHORS)
        kept, same = tf.image.non_max_suppression_with_scores(
            boxes[:, ROWS_FIRST], scores, ANCHORS, 0.5, 0.2
        )
        passing = np.flatnonzero(scores > np.float32(0.2))
        wanted = passing[nms(boxes[passing], scores[passing], iou_threshold=0.5)]
        np.testing.assert_array_equal(kept, wanted)
        np.testing.assert_array_equal(same, scores[wanted])


@pytest.mark.parametrize("tile", [16, 512])
@pytest.mark.parametrize("compiled", [False, True])
def test_padded_nms_of_a_batch(tile, compiled):
    """150 boxes in tiles, all images at once, with a score to be above and room for 20."""

    @tf.function(jit_compile=compiled)
    def padded(boxes, scores):
        return tf.image.non_max_suppression_padded(
            boxes, scores, 20, 0.5, 0.2, pad_to_max_output_size=True, tile_size=tile
        )

    generator = np.random.default_rng(4)
    boxes = random_boxes(generator, WORKLOADS, 150) + np.float32(0.25)  # none is left and above
    scores = random_scores(generator, WORKLOADS, 150)
    kept, count = padded(boxes[..., ROWS_FIRST], scores)
    for box, score, found, used in zip(boxes, scores, kept.numpy(), count.numpy(), strict=True):
        passing = np.flatnonzero(score > np.float32(0.2))
        wanted = nms(box[passing], score[passing], iou_threshold=0.5, suppress_at=">=")
        np.testing.assert_array_equal(found[:used], passing[wanted][:20])


def test_combined_nms_with_boxes_of_each_class():
    generator = np.random.default_rng(5)
    rules = CANONICAL.replace(
        score_threshold=0.25,
        iou_threshold=0.5,
        candidates_per_class=None,
        max_per_class=5,
        clip="after",
    )
    boxes = random_boxes(generator, WORKLOADS, CLASSES, ANCHORS).swapaxes(1, 2)
    scores = distinct_scores(generator, WORKLOADS, ANCHORS, CLASSES)

    found = tf.image.combined_non_max_suppression(
        boxes[..., ROWS_FIRST], scores, 5, 12, 0.5, 0.25, clip_boxes=True
    )

    for image in range(WORKLOADS):
        parts = [
            select(boxes[image, :, label], scores[image, :, label, None], rules)
            for label in range(CLASSES)
        ]
        best = np.concatenate([part.scores for part in parts])
        order = np.argsort(-best)[:12]
        assert found.valid_detections[image] == len(order)
        used = slice(0, len(order))
        box = np.concatenate([part.boxes for part in parts])
        label = np.repeat(np.arange(CLASSES), [len(part.scores) for part in parts])
        np.testing.assert_array_equal(found.nmsed_scores[image, used], best[order])
        np.testing.assert_array_equal(found.nmsed_classes[image, used], label[order])
        np.testing.assert_array_equal(
            found.nmsed_boxes.numpy()[image, used][:, ROWS_FIRST], box[order]
        )


def test_combined_nms_cuts_pixels_to_one():
    """What to know: clip_boxes is on by default, and a box in pixels becomes the whole image."""
    box, score = tf.constant([[[[20.0, 10, 80, 50]]]]), tf.constant([[[0.9]]])
    found = tf.image.combined_non_max_suppression(box, score, 1, 1)
    np.testing.assert_array_equal(found.nmsed_boxes[0, 0], [1, 1, 1, 1])
    found = tf.image.combined_non_max_suppression(box, score, 1, 1, clip_boxes=False)
    np.testing.assert_array_equal(found.nmsed_boxes[0, 0], box[0, 0, 0])


# --- what is wrong -------------------------------------------------------------------------------

TWO = tf.constant([[0.0, 0, 1, 1], [2, 2, 3, 3]])
SCORES = tf.constant([0.5, 0.75])


@pytest.mark.xfail(strict=True, reason="NumPy's float64 becomes float32 without a word")
def test_nms_knows_float64():
    """The second score is larger, in the ninth digit."""
    scores = np.array([0.5, 0.5 + 1e-9])
    kept = tf.image.non_max_suppression(TWO.numpy().astype(np.float64), scores, 2)
    assert kept.numpy().tolist() == [1, 0]


@pytest.mark.xfail(strict=True, raises=AttributeError, reason="it takes tensors only")
def test_padded_nms_takes_arrays():
    """As the other three do."""
    kept, _ = tf.image.non_max_suppression_padded(TWO.numpy(), SCORES.numpy(), 2)
    assert kept.numpy().tolist() == [1, 0]


@pytest.mark.xfail(strict=True, raises=TypeError, reason="its score threshold is float32")
def test_padded_nms_takes_half_precision():
    """As non_max_suppression does."""
    half = tf.cast(TWO, tf.float16), tf.cast(SCORES, tf.float16)
    assert tf.image.non_max_suppression(*half, 2).numpy().tolist() == [1, 0]
    kept, _ = tf.image.non_max_suppression_padded(*half, 2)
    assert kept.numpy().tolist() == [1, 0]


@pytest.mark.xfail(strict=True, reason="a score of NaN is kept, before or after any other")
def test_padded_nms_drops_what_is_no_number():
    """As non_max_suppression does."""
    scores = tf.constant([0.5, np.nan])
    assert tf.image.non_max_suppression(TWO, scores, 2).numpy().tolist() == [0]
    kept, _ = tf.image.non_max_suppression_padded(TWO, scores, 2)
    assert kept.numpy().tolist() == [0]


@pytest.mark.xfail(strict=True, reason="XLA sorts equal scores into any order")
def test_equal_scores_under_xla():
    """Without XLA the lowest comes first."""
    boxes = tf.stack([tf.range(40.0), tf.zeros(40), tf.range(1.0, 41), tf.ones(40)], axis=1)
    compiled = tf.function(tf.image.non_max_suppression, jit_compile=True)
    assert compiled(boxes, tf.ones(40), 40).numpy().tolist() == list(range(40))


@pytest.mark.xfail(
    strict=True,
    raises=tf.errors.InvalidArgumentError,
    reason="room for more boxes than there are is an error under XLA only",
)
def test_nms_under_xla_with_room_to_spare():
    compiled = tf.function(tf.image.non_max_suppression, jit_compile=True)
    assert compiled(TWO, SCORES, 5).numpy().tolist() == [1, 0]


@pytest.mark.xfail(
    strict=True,
    raises=tf.errors.InvalidArgumentError,
    reason="XLA has no combined_non_max_suppression",
)
def test_combined_nms_under_xla():
    compiled = tf.function(tf.image.combined_non_max_suppression, jit_compile=True)
    found = compiled(TWO[None, :, None], SCORES[None, :, None], 2, 2)
    assert found.valid_detections.numpy() == 2


@pytest.mark.xfail(
    strict=True,
    raises=tf.errors.InvalidArgumentError,
    reason="XLA has no non_max_suppression_with_scores",
)
def test_nms_with_scores_under_xla():
    compiled = tf.function(tf.image.non_max_suppression_with_scores, jit_compile=True)
    assert compiled(TWO, SCORES, 2)[0].numpy().tolist() == [1, 0]


def product(first, second):
    return first * second


@pytest.mark.xfail(strict=True, reason="results below the normal range are flushed to 0")
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_numbers_below_the_normal_range(mode):
    """NumPy has them: 1e-30 × 1e-12 is 1e-42 in float32."""
    run = product if mode == "eager" else tf.function(product, jit_compile=mode == "xla")
    found = run(tf.constant(1e-30), tf.constant(1e-12)).numpy()
    assert found == np.float32(1e-30) * np.float32(1e-12) > 0
