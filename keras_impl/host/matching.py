"""Fast matching and coding for a batch on the CPU: equal to `reference_numpy.targets`, bit for bit.

Compiled loops look only at the anchors that can matter to an object (`scan` in
`keras_impl.host.kernels`), and need no array of objects × anchors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.host import kernels
from keras_impl.host.kernels import MatchRules
from keras_impl.host.lattices import find_lattices
from keras_impl.host.threads import in_parts
from reference_numpy.conventions import CANONICAL, UNMATCHED, Convention

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
    """Targets that know where they hold something, so that they can be used again.

    Attributes:
        touched: Indices of flattened (B, A) that differ from background.
    """

    touched: list[Array]


class TargetAssigner:
    """Assign a class and a box to every anchor of each image (arXiv:1512.02325, section 2.2).

    The anchors are analysed once, when the assigner is created.

    Args:
        anchors: (A, 4) cxcywh, float32 or float64. Any anchors work, but only those of feature
            maps (in any order of cells and shapes) are fast.
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
        if anchors.dtype not in (np.float32, np.float64):
            raise TypeError(f"anchors: expected float32 or float64. Received: {anchors.dtype}")
        if anchors.ndim != 2 or anchors.shape[1] != 4:
            raise ValueError(f"anchors: expected shape (A, 4). Received: {anchors.shape}")
        bad = ~(np.isfinite(anchors).all(axis=1) & (anchors[:, 2:] > 0).all(axis=1))
        if bad.any():
            index = int(np.argmax(bad))
            raise ValueError(
                f"anchors[{index}]: expected (cx, cy, w, h), finite, w and h above 0. "
                f"Received: {anchors[index].tolist()}"
            )
        self.anchors = np.ascontiguousarray(anchors)
        self.convention = convention.replace(**overrides)
        half = anchors[:, 2:] * anchors.dtype.type(0.5)
        corners = np.concatenate([anchors[:, :2] - half, anchors[:, :2] + half], axis=1)
        self._rules = _rules(self.convention, anchors.dtype.type, np.abs(corners).max(initial=1))
        if self._rules.threshold == 0:
            threshold = self.convention.matching.threshold
            raise ValueError(f"threshold: expected a number in (0, 1]. Received: {threshold}")
        sides = (corners[:, 2:] - corners[:, :2]) + self._rules.offset
        areas = np.prod(np.maximum(sides, 0), axis=1)
        self._lattices = find_lattices(self.anchors, corners, areas, self._rules.offset)
        self._anchors = np.concatenate([anchors, areas[:, None]], axis=1)
        self._memory: list[list[Array]] = []  # for a thread each, when no thread uses it

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
        # Other dtypes and memory layouts would be compiled for.
        boxes, labels = np.require(boxes, requirements=["C", "W"]), np.asarray(labels)
        if labels.dtype.kind in "iu" and labels.dtype != np.uint64:
            labels = labels.astype(np.int64)
        crowded = self._check(boxes, labels, crowds)
        found = self._blank(len(boxes), out)
        parts = min(threads, len(boxes)) if labels.size >= PARALLEL else 1
        found.touched = in_parts(
            lambda part: self._assign(boxes[part], labels[part], crowded[part], found, part.start),
            *(len(boxes), parts),
        )
        return found

    def _assign(
        self, boxes: Array, labels: Array, crowds: Array, found: _Buffer, first: int
    ) -> Array:
        """Assign some images; gives the indices of flattened (B, A) that were written."""
        count = len(self.anchors)
        touched = np.empty(len(boxes) * count, np.min_scalar_type(-max(found.labels.size, 2**16)))
        deltas = found.deltas.reshape(-1, 4)
        if not count:
            return touched
        try:
            memory = self._memory.pop()
        except IndexError:
            memory = self._blank_memory()
        queue = np.empty(boxes.shape[1], np.int32)
        matched, ignored = kernels.match_images(
            *(boxes, labels, crowds, queue, self._anchors, *self._lattices, self._rules),
            *(*memory, *found, first, touched),
        )
        self._memory.append(memory)
        if matched and not self._rules.difference:
            keys = touched[:matched]
            kernels.stretch(np.log(deltas[keys, 2:]), keys, self._rules, deltas)
        return np.concatenate([touched[:matched], touched[len(touched) - ignored :]])

    def _blank_memory(self) -> list[Array]:
        """Memory of one thread for `kernels.match_images`, which leaves it blank."""
        count, dtype = len(self.anchors), self.anchors.dtype
        overlap, who = np.zeros((count, 3), dtype), np.zeros((count, 6), np.int32)
        overlap[:, kernels.HOLDER] = self._rules.force_above
        who[:, [kernels.OWNER, kernels.HOLDER]] = UNMATCHED
        reach = np.empty(len(self._lattices[0]), dtype)
        return [reach, overlap, who, np.empty(2, np.int64)]

    def _check(self, boxes: Array, labels: Array, crowds: Array | None) -> Array:
        """Check what comes in; gives the crowds as booleans, (B, 0) without."""
        if boxes.ndim != 3 or boxes.shape[2] != 4:
            raise ValueError(f"boxes: expected shape (B, M, 4). Received: {boxes.shape}")
        if boxes.dtype != self.anchors.dtype:
            raise TypeError(
                f"boxes: expected {self.anchors.dtype}, as the anchors are. Received: {boxes.dtype}"
            )
        if labels.shape != boxes.shape[:2]:
            raise ValueError(
                f"labels: expected shape {boxes.shape[:2]}, one per box. Received: {labels.shape}"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise TypeError(f"labels: expected whole numbers. Received: {labels.dtype}")
        image, row, wrong = kernels.first_bad(boxes, labels, self._rules.degenerate, LARGEST)
        if wrong == 1:
            raise ValueError(
                f"labels[{image}, {row}]: expected 1 or more (0 is background), at most {LARGEST}, "
                f"or -1 for padding. Received: {labels[image, row]}"
            )
        if wrong == 2:
            flat = self.convention.coding.degenerate == "encode"
            order = "xmin <= xmax, ymin <= ymax" if flat else "xmin < xmax, ymin < ymax"
            raise ValueError(
                f"boxes[{image}, {row}]: expected finite corners, {order}. "
                f"Received: {boxes[image, row].tolist()}"
            )
        if crowds is None:
            return np.zeros((len(boxes), 0), np.bool_)
        crowds = np.asarray(crowds)
        if crowds.dtype.kind not in "biu":
            raise TypeError(f"crowds: expected booleans. Received: {crowds.dtype}")
        if crowds.shape != labels.shape:
            raise ValueError(
                f"crowds: expected shape {labels.shape}, one per box. Received: {crowds.shape}"
            )
        return crowds.astype(np.bool_, copy=False)

    def _blank(self, batch: int, out: HostTargets | None) -> _Buffer:
        """Targets of images with nothing in them."""
        shape = (batch, len(self.anchors))
        if out is None:
            return _Buffer(
                np.zeros(shape, np.int32),
                np.zeros((*shape, 4), self.anchors.dtype),
                np.full(shape, UNMATCHED, np.int32),
            )
        if not isinstance(out, _Buffer) or out.deltas.dtype != self.anchors.dtype:
            raise TypeError(
                "out: expected what an earlier call returned, or None. "
                f"Received: {type(out).__name__}"
            )
        if out.labels.shape != shape:
            raise ValueError(f"out: expected targets of {shape}. Received: {out.labels.shape}")
        for keys in out.touched:
            kernels.clear(
                *(keys, out.labels.reshape(-1), out.deltas.reshape(-1, 4), out.objects.reshape(-1))
            )
        return out


def _rules(convention: Convention, number: Any, far: Any) -> MatchRules:
    """The convention as `kernels.match_images` wants it."""
    rules, coding = convention.matching, convention.coding
    least = number(rules.threshold if rules.ignore_from is None else rules.ignore_from)
    eps = np.finfo(number).eps
    numbers = {
        **{"zero": 0, "half": 0.5, "most": 0.75, "one": 1, "far": far, "least": least},
        **{"little": least / 64, "slack": SLACK * eps if least else EVERY_PAIR},
        **{"loose": 1 - 4 * SLACK * eps, "threshold": rules.threshold},
        **{"offset": convention.overlap.iou_offset, "epsilon": convention.overlap.iou_epsilon},
        **{"force_above": rules.force_above, "crowd_overlap": rules.crowd_overlap},
        **{"size_epsilon": coding.size_epsilon, "ratio_epsilon": coding.ratio_epsilon},
        **dict(zip(("tx", "ty", "tw", "th"), (1.0 / v for v in coding.variances), strict=True)),
    }
    return MatchRules(
        **{name: number(value) for name, value in numbers.items()},
        inclusive=rules.positive_at == ">=",
        ignores=rules.ignore_from is not None,
        force=kernels.FORCES.index(rules.force),
        crowd_by=kernels.CROWDS.index(rules.crowd_by),
        degenerate=kernels.DEGENERATE.index(coding.degenerate),
        difference=coding.form == "difference",
        swapped=coding.code_order == "yxhw",
    )
