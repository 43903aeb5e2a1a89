"""Selection of the largest values; ties go to the lowest index on every backend, in every mode.

Libraries order equal values differently: sorts may or may not be stable, `top_k` and `argmax`
may return any of them, and compilers may change the order. So only *values* are taken from the
library here (a maximum, a sorted copy). Comparisons find the index.
"""

from __future__ import annotations

from keras import ops

from keras_impl._common.arrays import Tensor
from keras_impl.ops.checks import as_floats, as_whole

__all__ = ["first_argmax", "top_mask"]


def first_argmax(values: Tensor) -> tuple[Tensor, Tensor]:
    """Find the largest value along the last axis, and the lowest index that has it.

    Args:
        values: (..., N) floats without NaN, N at least 1.

    Returns:
        (...) values and (...) int32 indices.

    Raises:
        ValueError: The last axis is missing or empty.
        TypeError: Not floats.

    Example:
        >>> value, index = first_argmax(ops.array([[0.25, 0.5, 0.5]]))
        >>> float(value[0]), int(index[0])
        (0.5, 1)
    """
    values = _several(values)
    if 0 in tuple(values.shape):
        return values[..., 0], ops.zeros_like(values[..., 0], dtype="int32")
    largest = ops.max(values, axis=-1)
    count = values.shape[-1]
    # Use float32 indices while they are exact: XLA finds their minimum in a third of the time.
    kind = "float32" if count < 2**24 else "int32"
    positions = ops.arange(count, dtype=kind)
    last = ops.full_like(positions, count)
    attained = ops.equal(values, largest[..., None])
    return largest, ops.cast(ops.min(ops.where(attained, positions, last), axis=-1), "int32")


def top_mask(values: Tensor, counts: Tensor) -> Tensor:
    """Mark the `counts` largest values along the last axis; ties go to the lowest indices.

    An element of -inf is never chosen.

    Args:
        values: (..., N) floats without NaN, N at least 1.
        counts: (...) int32, number of elements to choose, from 0; more than N means all.

    Returns:
        (..., N) True for each chosen element.

    Raises:
        ValueError: The last axis is missing or empty, or `counts` has another shape.
        TypeError: Values are not floats, or counts are not integers.

    Example:
        >>> ops.convert_to_numpy(top_mask(ops.array([0.5, 0.75, 0.5, 0.25]), ops.array(2)))
        array([ True,  True, False, False])
    """
    values = _several(values)
    counts = as_whole(counts, "counts", *tuple(values.shape)[:-1])
    count = ops.shape(values)[-1]  # an integer, or a tensor in a graph of unknown shape
    counts = ops.maximum(ops.minimum(ops.cast(counts, "int32"), count), 0)[..., None]
    ascending = ops.sort(values, axis=-1)
    least = ops.take_along_axis(ascending, ops.minimum(count - counts, count - 1), axis=-1)
    above = ops.greater(values, least)
    level = ops.equal(values, least)
    left = counts - ops.sum(ops.cast(above, "int32"), axis=-1, keepdims=True)
    rank = ops.cumsum(ops.cast(level, "int32"), axis=-1)
    chosen = ops.logical_or(above, ops.logical_and(level, ops.less_equal(rank, left)))
    possible = ops.greater(values, float("-inf"))
    return ops.logical_and(ops.logical_and(chosen, possible), ops.greater(counts, 0))


def _several(values: Tensor) -> Tensor:
    values = as_floats(values, "values", ..., "N")
    if values.shape[-1] == 0:
        raise ValueError(
            f"values: expected shape (..., N) with N at least 1. Received: {tuple(values.shape)}"
        )
    return values
