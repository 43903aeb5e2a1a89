"""Stream canvases with `tf.data`, and assign targets on the host instead of in the graph."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keras_impl._common.choices import DigitMode
from keras_impl.data.canvases import (
    CANVAS,
    MOST_DIGITS,
    CanvasBatch,
    canvas,
    check_digits,
    check_mode,
    collate,
)
from keras_impl.data.mnist import Digits
from keras_impl.host.matching import TargetAssigner
from keras_impl.images.pixels import SCALE
from reference_numpy.checks import check_counts

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["assign_targets", "dataset"]


def dataset(
    digits: Digits,
    mode: DigitMode,
    num_images: int | None,
    batch: int,
    seed: int,
    *,
    first: int = 0,
    objects: int = MOST_DIGITS,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Stream canvases `first` to `first + num_images - 1`, in order, composed as needed.

    Canvases are independent draws, so they need no shuffling. A finite data set yields the same
    canvases in each epoch. For new canvases in each epoch use `num_images=None` with
    `steps_per_epoch`; to resume after n images, use `first=n`.

    Args:
        digits: Digits to draw from.
        mode: One of `DIGIT_MODES`.
        num_images: Number of canvases; None for an endless stream.
        batch: B, images per batch.
        seed: Seed of the series, as in `canvas`.
        first: Index of the first canvas.
        objects: M, the number of object rows per image.
        drop_remainder: Whether to leave out a last batch that is not full.

    Returns:
        A data set of (images float32 (B, 224, 224, 3) in [-1, 1], {"boxes": float32 (B, M, 4),
        "labels": int32 (B, M)}); padding rows have boxes 0 and label -1. B is static if all
        batches are full. Only the batches being prepared are in memory.

    Raises:
        ValueError: A negative seed or first, a batch or number of images below 1, too few object
            rows for the mode, or as `compose`.
    """
    check_mode(mode)
    check_digits(digits)
    check_counts(seed=seed, first=first)
    check_counts(1, batch=batch)
    check_counts(1 if mode == "1" else MOST_DIGITS, objects=objects)
    if num_images is not None:
        check_counts(batch if drop_remainder else 1, num_images=num_images)
        num_images -= num_images % batch if drop_remainder else 0
    import tensorflow as tf

    full = num_images is None or num_images % batch == 0

    def batches() -> Iterator[CanvasBatch]:
        for start in (
            itertools.count(0, batch) if num_images is None else range(0, num_images, batch)
        ):
            size = batch if num_images is None else min(batch, num_images - start)
            indices = range(first + start, first + start + size)
            yield collate([canvas(digits, mode, seed, index) for index in indices], objects)

    def prepare(made: CanvasBatch) -> tuple[Any, dict[str, Any]]:
        floats = tf.cast(made.images, tf.float32)[..., None] * SCALE - 1.0  # as `normalise`
        return tf.repeat(floats, 3, axis=-1), {"boxes": made.boxes, "labels": made.labels}

    size = batch if full else None
    signature = CanvasBatch(
        tf.TensorSpec((size, CANVAS, CANVAS), tf.uint8),
        tf.TensorSpec((size, objects, 4), tf.float32),
        tf.TensorSpec((size, objects), tf.int32),
    )
    # The generator yields whole batches, so that TensorFlow calls Python once per batch.
    stream = tf.data.Dataset.from_generator(batches, output_signature=signature)
    stream = stream.map(prepare, num_parallel_calls=1, deterministic=True).prefetch(2)
    if num_images is not None:
        stream = stream.apply(tf.data.experimental.assert_cardinality(-(-num_images // batch)))
    return stream


def assign_targets(dataset: tf.data.Dataset, assigner: TargetAssigner) -> tf.data.Dataset:
    """Replace the objects of each batch by the targets of the anchors.

    The fast matcher runs in Python on the host, in parallel with the training step.
    docs/performance.md says when that is better than assignment inside the model.

    Args:
        dataset: Data set of (images, {"boxes": (B, M, 4), "labels": (B, M)}), as `dataset` makes
            it, optionally with "crowds": (B, M).
        assigner: Target assigner with the model's anchors and convention.

    Returns:
        A data set of (images, {"target_deltas": (B, A, 4), "target_labels": (B, A)}), which
        `SSD.fit` accepts too.

    Raises:
        ValueError: During iteration, if a box or label is invalid.

    Example:
        >>> from keras_impl.data.mnist import load_digits
        >>> from reference_numpy.anchors import make_anchors
        >>> from reference_numpy.conventions import DIGITS224
        >>> batches = dataset(load_digits("test"), "1", 4, 2, seed=0)
        >>> batches = assign_targets(batches, TargetAssigner(make_anchors(DIGITS224)))
        >>> batches.element_spec[1]["target_labels"].shape
        TensorShape([2, 2884])
    """
    import tensorflow as tf

    count, dtype = len(assigner.anchors), assigner.anchors.dtype

    def by_numpy(*objects: Any) -> tuple[Any, Any]:
        # New arrays each time, because two iterators of one data set may run at once.
        found = assigner.assign(*objects)
        return found.deltas, found.labels

    def replace(images: Any, objects: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = [tf.cast(objects["boxes"], dtype), objects["labels"]]
        if "crowds" in objects:
            given.append(objects["crowds"])
        deltas, labels = tf.numpy_function(by_numpy, given, (dtype, tf.int32))
        batch = objects["boxes"].shape[0]
        deltas.set_shape((batch, count, 4))
        labels.set_shape((batch, count))
        return images, {"target_deltas": deltas, "target_labels": labels}

    return dataset.map(replace, num_parallel_calls=1, deterministic=True).prefetch(2)
