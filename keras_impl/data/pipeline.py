"""Targets assigned by the input pipeline, on the host, instead of in the model's graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_impl.host.matching import TargetAssigner

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["assign"]


def assign(dataset: tf.data.Dataset, assigner: TargetAssigner) -> tf.data.Dataset:
    """Replace the objects of each batch by what each anchor has to learn of them.

    The fast matcher runs beside the training step, in Python, on the host. docs/performance.md
    says when that is better than leaving it to the model.

    Args:
        dataset: Elements (images, {"boxes": (B, M, 4), "labels": (B, M)}), and "crowds": (B, M)
            or not, as `keras_impl.data.mnist.dataset` makes them.
        assigner: Made of the model's anchors and convention.

    Returns:
        Elements (images, {"target_deltas": (B, A, 4), "target_labels": (B, A)}), which `SSD.fit`
        takes as well.

    Raises:
        ValueError: While it is iterated, a box or label that no object can have.

    Example:
        >>> from keras_impl.data import digits
        >>> from reference_numpy.anchors import make_anchors
        >>> from reference_numpy.conventions import DIGITS224
        >>> batches = digits.dataset(digits.load_digits("test"), "1", 4, 2, seed=0)
        >>> batches = assign(batches, TargetAssigner(make_anchors(DIGITS224)))
        >>> batches.element_spec[1]["target_labels"].shape
        TensorShape([2, 2884])
    """
    import tensorflow as tf

    count, dtype = len(assigner.anchors), assigner.anchors.dtype

    def by_numpy(*objects: Any) -> tuple[Any, Any]:
        # New arrays each time: two iterators of one data set may be at work at once.
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
