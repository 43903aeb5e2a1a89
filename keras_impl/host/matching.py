"""Fast matching and coding for a batch on the CPU: equal to `reference_numpy.targets`, bit for bit.

Compiled loops look only at the anchors that can matter to an object (`scan` in
`keras_impl.host.kernels`), and need no array of objects × anchors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.host import kernels
from keras_impl.host.lattices import find_lattices
from keras_impl.host.threads import in_parts
from reference_numpy.checks import check_each, check_floats, check_whole
from reference_numpy.conventions import CANONICAL, PADDING, UNMATCHED, Convention

__all__ = ["HostTargets", "TargetAssigner"]

PARALLEL = 2048  # objects from which on a second thread pays
LARGEST = np.iinfo(np.int32).max  # label
SLACK = 16  # eps; the corners and centres of a lattice are rounded to within a few
EVERY_PAIR = 1e9  # a slack that rules nothing out


class HostTargets(NamedTuple):
    """Training targets of B images with A anchors, as NumPy arrays.

    Attributes:
        labels: (B, A) int32 label of the anchor's object, 0 for background, -1 for ignored.
        deltas: (B, A, 4) code of the anchor's object, 0 without one.
        objects: (B, A) int32 index of the anchor's object among the image's boxes, or -1.
    """

    labels: Array
    deltas: Array
    objects: Array


class _Buffer(HostTargets):
    """Targets that know which indices of flattened (B, A) were written, to be used again."""

    touched: list[Array]


class TargetAssigner:
    """Assign a class and a box to every anchor of each image (arXiv:1512.02325, section 2.2).

    The anchors are analysed once, when the assigner is created.

    Args:
        anchors: (A, 4) cxcywh, float32 or float64. Any anchors work, but only those of feature
            maps (in any order) are fast, if each shape is on one map.
        convention: Its `Overlap`, `Matching` and `Coding` parts are used.
        overrides: Overrides of single fields.

    Raises:
        ValueError: An anchor is invalid, named by its index, or the threshold is 0 in the dtype of
            the anchors.
        TypeError: Anchors are not float32 or float64.

    Example:
        >>> anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> assigner = TargetAssigner(anchors)
        >>> targets = assigner.assign(np.array([[[0.5, 0.5, 1.0, 1.0]]]), np.array([[7]]))
        >>> targets.labels, targets.objects
        (array([[0, 7]], dtype=int32), array([[-1,  0]], dtype=int32))
    """

    def __init__(
        self, anchors: Array, convention: Convention = CANONICAL, **overrides: Any
    ) -> None:
        """See the class."""
        anchors = np.asarray(anchors)
        check_floats(anchors, "anchors", "A", 4)
        if anchors.dtype not in (np.float32, np.float64):
            raise TypeError(f"anchors: expected float32 or float64. Received: {anchors.dtype}")
        fine = np.isfinite(anchors).all(axis=1) & (anchors[:, 2:] > 0).all(axis=1)
        check_each(anchors, "anchors", fine, "(cx, cy, w, h), finite, w and h above 0")
        self.anchors, self.convention = anchors, convention.replace(**overrides)
        offset, variances = self.convention.overlap.iou_offset, self.convention.coding.variances
        self._grid = find_lattices(anchors, offset, variances)
        self._rules = _rules(self.convention, self._grid.corners)
        if self._rules.threshold == 0:
            threshold = self.convention.matching.threshold
            raise ValueError(f"threshold: expected a number in (0, 1]. Received: {threshold}")

    def assign(
        self,
        boxes: Array,
        labels: Array,
        crowds: Array | None = None,
        *,
        out: HostTargets | None = None,
        threads: int = 2,
    ) -> HostTargets:
        """Assign the targets of a batch.

        Args:
            boxes: (B, M, 4) xyxy in the dtype of the anchors, padded to M objects an image.
            labels: (B, M) label of each object, 1 or more. -1 marks padding: the box of such a
                row may hold anything, and changes nothing.
            crowds: (B, M) True for a crowd or a difficult object. No anchor is matched to it;
                anchors that overlap it and have no object are ignored.
            out: The unmodified result of an earlier call for the same number of images. Its memory
                is overwritten and reused, so nothing else may still use these arrays.
            threads: Number of threads at most; small batches take one.

        Returns:
            `HostTargets`, equal to the reference's for each image.

        Raises:
            ValueError: Shapes do not fit, or a box or label is invalid, named by image and row.
            TypeError: `boxes` have another dtype than the anchors, `labels` are not integers,
                `crowds` are neither booleans nor integers, or `out` is no earlier result.
        """
        boxes, labels, crowds = self._check(boxes, labels, crowds)
        found, count, rules = self._blank(len(boxes), out), len(self.anchors), self._rules
        index = np.int32 if found.labels.size <= LARGEST else np.int64
        scale = self._grid.units[[3, 2]] if rules.swapped else self._grid.units[2:]
        arrays = tuple(found)

        def work(part: slice) -> Array:
            given = boxes[part].reshape(-1, 4), labels[part], crowds[part], self._grid, rules
            touched = np.empty((part.stop - part.start) * count, index)
            size = kernels.match_images(*given, part.start, touched, arrays) if count else 0
            keys, deltas = touched[:size].copy(), found.deltas.reshape(-1, 4)
            if not rules.difference:
                kernels.stretch(np.log(deltas[keys, 2:]), keys, scale, deltas)
            return keys

        parts = max(1, min(threads, len(boxes))) if labels.size >= PARALLEL else 1
        found.touched = in_parts(work, len(boxes), parts)
        return found

    def _check(self, boxes: Array, labels: Array, crowds: Any) -> tuple[Array, Array, Array]:
        """Check what comes in, and make it what was compiled for."""
        boxes, labels = np.require(boxes, requirements=["C", "W"]), np.asarray(labels)
        check_floats(boxes, "boxes", "B", "M", 4)
        check_whole(labels, "labels", *boxes.shape[:2])
        if boxes.dtype != self.anchors.dtype:
            dtype = f"{self.anchors.dtype}, as the anchors are"
            raise TypeError(f"boxes: expected {dtype}. Received: {boxes.dtype}")
        if labels.dtype not in (np.int64, np.uint64):  # others would be compiled for
            labels = labels.astype(np.int64)
        degenerate = self.convention.coding.degenerate
        drop, flat = degenerate == "drop", degenerate == "encode"
        bad = kernels.first_bad(boxes, labels, drop, flat, LARGEST)
        if bad >= 0:
            fine = np.arange(labels.size).reshape(labels.shape) != bad
            most = f"at most {LARGEST}, or -1 for padding"
            if not 1 <= labels.flat[bad] <= LARGEST:
                check_each(labels, "labels", fine, f"1 or more (0 is background), {most}")
            order = "xmin <= xmax, ymin <= ymax" if flat else "xmin < xmax, ymin < ymax"
            check_each(boxes, "boxes", fine, f"finite corners, {order}")
        crowds = np.zeros(labels.shape, np.bool_) if crowds is None else np.asarray(crowds)
        if crowds.dtype.kind not in "biu":
            raise TypeError(f"crowds: expected booleans. Received: {crowds.dtype}")
        if crowds.shape != labels.shape:
            raise ValueError(f"crowds: expected shape {labels.shape}. Received: {crowds.shape}")
        labels = labels.astype(np.int64)
        if drop:
            labels[~(boxes[..., :2] < boxes[..., 2:]).all(axis=2)] = PADDING
        return boxes, labels, crowds.astype(np.bool_)

    def _blank(self, batch: int, out: HostTargets | None) -> _Buffer:
        """Targets of images with nothing in them."""
        shape, dtype = (batch, len(self.anchors)), self.anchors.dtype
        if out is None:
            labels, deltas = np.zeros(shape, np.int32), np.zeros((*shape, 4), dtype)
            return _Buffer(labels, deltas, np.full(shape, UNMATCHED, np.int32))
        if not isinstance(out, _Buffer) or out.deltas.dtype != dtype:
            kind = type(out).__name__
            raise TypeError(
                f"out: expected what an earlier call returned, or None. Received: {kind}"
            )
        if out.labels.shape != shape:
            raise ValueError(f"out: expected targets of {shape}. Received: {out.labels.shape}")
        arrays = out.labels.reshape(-1), out.deltas.reshape(-1, 4), out.objects.reshape(-1)
        for keys in out.touched:
            kernels.clear(keys, *arrays)
        return out


def _rules(convention: Convention, corners: Array) -> kernels.MatchRules:
    """The convention as `kernels.match_images` wants it, numbers in the dtype of the anchors."""
    rules, coding, overlap = convention.matching, convention.coding, convention.overlap
    least = rules.threshold if rules.ignore_from is None else rules.ignore_from
    eps = np.finfo(corners.dtype).eps
    numbers = dict(zero=0, half=0.5, one=1, least=least, threshold=rules.threshold)
    numbers |= dict(offset=overlap.iou_offset, epsilon=overlap.iou_epsilon)
    numbers |= dict(force_above=rules.force_above, crowd_overlap=rules.crowd_overlap)
    numbers |= dict(size_epsilon=coding.size_epsilon, ratio_epsilon=coding.ratio_epsilon)
    # Rounding: no corner is farther than `far`; lengths count as larger by `slack` times the
    # largest coordinate, sums of areas as smaller by the factor `loose`.
    numbers |= dict(far=np.abs(corners).max(initial=1), loose=1 - 4 * SLACK * eps)
    numbers |= dict(slack=SLACK * eps if corners.dtype.type(least) else EVERY_PAIR)
    return kernels.MatchRules(
        **{name: corners.dtype.type(value) for name, value in numbers.items()},
        inclusive=rules.positive_at == ">=",
        ignores=rules.ignore_from is not None,
        forced=rules.force != "none",
        bipartite=rules.force == "bipartite",
        keep_last=rules.force == "last",
        crowds=rules.crowd_by != "none",
        crowd_iou=rules.crowd_by == "iou",
        difference=coding.form == "difference",
        swapped=coding.code_order == "yxhw",
    )
