"""Fast matching and coding for a batch on the CPU, in NumPy: equal to `reference_numpy.targets`.

It is tens of times faster than the reference, because it computes the IoU of about one pair in a
thousand. The anchors of one shape on one feature map form a lattice. On each axis, the overlap of
an object with them falls with the distance from its centre. So the cell nearest to the object's
centre bounds the IoU with the whole lattice, and only a window of cells around it can reach a given
IoU. Only the pairs in this window are evaluated, with the arithmetic of the reference.

The bounds assume lattices without rounding errors; `slack` is the largest possible error of an IoU
(see `_Lattices`). Anchors outside a lattice are evaluated pair by pair, and so are objects whose
bounds are too weak.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Array
from reference_numpy.conventions import CANONICAL, IGNORE, PADDING, Convention

__all__ = ["HostTargets", "TargetAssigner"]


OBJECTS = 1024  # looked at together, which bounds memory
CELLS = 1 << 17  # pairs evaluated together
WIDER = 0.6  # of the IoU down to which pairs are known, when an object asks for more


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

    touched: Array


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
        self.anchors = anchors
        self.convention = convention.replace(**overrides)
        rules, number = self.convention.matching, anchors.dtype.type
        self._number = number
        self._threshold = number(rules.threshold)
        if self._threshold == 0:
            raise ValueError(f"threshold: expected a number in (0, 1]. Received: {rules.threshold}")
        # From here on an IoU matters to an anchor.
        least = rules.threshold if rules.ignore_from is None else rules.ignore_from
        self._least = number(least)
        self._offset = number(self.convention.overlap.iou_offset)
        self._epsilon = number(self.convention.overlap.iou_epsilon)
        half = anchors[:, 2:] * number(0.5)
        self._columns = np.ascontiguousarray(anchors.T)
        self._low = np.ascontiguousarray((anchors[:, :2] - half).T)
        self._high = np.ascontiguousarray((anchors[:, :2] + half).T)
        self._areas = self._area(self._offset)
        self._lattices = _Lattices(anchors, self._low, self._high, float(self._offset))
        if self._least <= 4 * self._lattices.slack:  # every pair matters, or nearly
            none = slice(0)
            self._lattices = _Lattices(anchors[none], self._low[:, none], self._high[:, none], 0.0)
        known = np.zeros(len(anchors), bool)
        known[self._lattices.members] = True
        self._others = np.flatnonzero(~known)

    def assign(
        self,
        boxes: Array,
        labels: Array,
        crowds: Array | None = None,
        *,
        out: HostTargets | None = None,
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

        Returns:
            `HostTargets`, equal to the reference's for each image.

        Raises:
            ValueError: Shapes do not fit, or a box or label is invalid, named by image and row.
            TypeError: `boxes` have another dtype than the anchors, `labels` are not integers,
                `crowds` are neither booleans nor integers, or `out` is no earlier result.
        """
        boxes, labels = np.asarray(boxes), np.asarray(labels)
        rows, corners, crowded = self._check(boxes, labels, crowds)
        found = self._blank(len(boxes), out)
        touched: list[Array] = []
        if crowded.size and self.convention.matching.crowd_by != "none":
            touched.append(self._mark_crowds(found, boxes, crowded))

        objects, slots = _Objects(corners, self._offset), max(boxes.shape[1], 1)
        image = rows // slots
        state = _Matching(self, objects, image * len(self.anchors), rows - image * slots)
        owner = found.objects.reshape(-1)
        forced, anchors = state.force()
        keys, who, ignored = state.settle(owner, forced, anchors)

        if ignored.size:
            found.labels.reshape(-1)[ignored] = IGNORE
            touched.append(ignored)
        found.labels.reshape(-1)[keys] = labels.reshape(-1).take(rows.take(who))
        anchor = keys - state.first_key.take(who)
        _rows(found.deltas)[keys] = _rows(self._encode(objects, who, anchor))
        touched.append(keys)
        found.touched = np.concatenate(touched)
        return found

    # What comes in and what goes out

    def _check(
        self, boxes: Array, labels: Array, crowds: Array | None
    ) -> tuple[Array, Array, Array]:
        """Flat indices of the rows that are objects, their corners, and rows that are crowds."""
        if boxes.ndim != 3 or boxes.shape[2] != 4:
            raise ValueError(f"boxes: expected shape (B, M, 4). Received: {boxes.shape}")
        if boxes.dtype != self.anchors.dtype:
            raise TypeError(
                f"boxes: expected {self.anchors.dtype}, as the anchors are. Received: {boxes.dtype}"
            )
        if labels.shape != boxes.shape[:2]:
            raise ValueError(
                f"labels: expected shape {boxes.shape[:2]}, one a box. Received: {labels.shape}"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise TypeError(f"labels: expected whole numbers. Received: {labels.dtype}")
        flat = labels.reshape(-1)
        rows = np.flatnonzero(flat != PADDING)
        known, corners = flat.take(rows), boxes.reshape(-1, 4).take(rows, axis=0)
        slots = max(labels.shape[1], 1)
        if known.size and known.min() < 1:
            row = rows[np.argmax(known < 1)]
            raise ValueError(
                f"labels[{row // slots}, {row % slots}]: expected 1 or more (0 is background), or "
                f"-1 for padding. Received: {flat[row]}"
            )
        rule = self.convention.coding.degenerate
        left, top, right, bottom = corners.T
        if rule == "encode":
            solid = (left <= right) & (top <= bottom)
        else:
            solid = (left < right) & (top < bottom)
        finite = np.isfinite(corners)
        if not ((rule == "drop" or solid.all()) and finite.all()):
            wrong = ~finite.all(axis=1) if rule == "drop" else ~(solid & finite.all(axis=1))
            index = int(np.argmax(wrong))
            order = "xmin <= xmax, ymin <= ymax" if rule == "encode" else "xmin < xmax, ymin < ymax"
            raise ValueError(
                f"boxes[{rows[index] // slots}, {rows[index] % slots}]: expected finite corners, "
                f"{order}. Received: {corners[index].tolist()}"
            )
        if rule == "drop":
            rows, corners = rows[solid], corners[solid]
        if crowds is None:
            return rows, corners, rows[:0]
        crowds = np.asarray(crowds)
        if crowds.dtype.kind not in "biu":
            raise TypeError(f"crowds: expected booleans. Received: {crowds.dtype}")
        crowds = crowds.astype(np.bool_, copy=False)
        if crowds.shape != labels.shape:
            raise ValueError(
                f"crowds: expected shape {labels.shape}, one a box. Received: {crowds.shape}"
            )
        crowd = crowds.reshape(-1)[rows]
        return rows[~crowd], corners[~crowd], rows[crowd]

    def _blank(self, batch: int, out: HostTargets | None) -> _Buffer:
        """Targets of images with nothing in them."""
        shape = (batch, len(self.anchors))
        if out is None:
            return _Buffer(
                np.zeros(shape, np.int32),
                np.zeros((*shape, 4), self.anchors.dtype),
                np.full(shape, -1, np.int32),
            )
        if not isinstance(out, _Buffer) or out.deltas.dtype != self.anchors.dtype:
            raise TypeError(
                "out: expected what an earlier call returned, or None. "
                f"Received: {type(out).__name__}"
            )
        if out.labels.shape != shape:
            raise ValueError(f"out: expected targets of {shape}. Received: {out.labels.shape}")
        out.labels.reshape(-1)[out.touched] = 0
        rows = _rows(out.deltas)
        rows[out.touched] = rows.dtype.type(0)
        out.objects.reshape(-1)[out.touched] = -1
        return out

    def _mark_crowds(self, found: HostTargets, boxes: Array, crowded: Array) -> Array:
        """Label what overlaps a crowd as nothing, one crowd after the other; gives the keys."""
        rules = self.convention.matching
        limit, keys = self._number(rules.crowd_overlap), [np.empty(0, np.int64)]
        for row in crowded:
            image = row // boxes.shape[1]
            crowd = _Objects(boxes.reshape(-1, 4)[row][None], self._offset)
            if rules.crowd_by == "iou":
                overlap = self.iou(crowd, 0)
            else:
                low, high = np.maximum(self._low, crowd.low), np.minimum(self._high, crowd.high)
                sides = np.maximum(high - low, 0)
                covered, plain = sides[0] * sides[1], self._area(self._number(0))
                overlap = np.divide(covered, plain, out=np.zeros_like(covered), where=plain > 0)
            near = np.flatnonzero(overlap >= limit)
            found.labels[image, near] = IGNORE
            keys.append(image * len(self.anchors) + near)
        return np.concatenate(keys)

    # Arithmetic, as in `reference_numpy.boxes` and `reference_numpy.coding`

    def _area(self, offset: Any) -> Array:
        """(A,) areas of the anchors."""
        sides = np.maximum((self._high - self._low) + offset, 0)
        return np.asarray(sides[0] * sides[1])

    def iou(self, objects: _Objects, one: Any, anchors: Any = slice(None)) -> Array:
        """Compute the IoU of one object with some anchors, (a,)."""
        sides = []
        for axis in (0, 1):
            low = np.maximum(objects.low[axis, one], self._low[axis, anchors])
            high = np.minimum(objects.high[axis, one], self._high[axis, anchors])
            sides.append(np.maximum((high - low) + self._offset, 0))
        return self.quotient(sides[0] * sides[1], objects.areas[one], self._areas[anchors])

    def quotient(self, intersection: Array, own: Array, other: Array) -> Array:
        """Compute the IoU from intersections and areas; 0 where the union is 0."""
        union = own + other
        union -= intersection
        if self._epsilon:
            union += self._epsilon
        if union.size and union.min() > 0:
            return np.asarray(intersection / union)
        # Areas so small that they underflow.
        return np.asarray(np.divide(intersection, union, out=np.zeros_like(union), where=union > 0))

    def _encode(self, objects: _Objects, who: Array, anchor: Array) -> Array:
        """(n, 4) codes of objects on their anchors."""
        rules, number = self.convention.coding, self._number
        deltas = np.empty((len(who), 4), self.anchors.dtype)
        places = (0, 1, 2, 3) if rules.code_order == "xywh" else (1, 0, 3, 2)
        for axis in (0, 1):
            reciprocals = [number(1.0 / rules.variances[axis + part]) for part in (0, 2)]
            center, size = objects.center[axis].take(who), objects.size[axis].take(who)
            middle, unit = (self._columns[axis + part].take(anchor) for part in (0, 2))
            if rules.form == "difference":
                shift, stretch = center - middle, size - unit
            else:
                if rules.size_epsilon:
                    size = size + number(rules.size_epsilon)
                    unit = unit + number(rules.size_epsilon)
                shift, ratio = (center - middle) / unit, size / unit
                if rules.ratio_epsilon:
                    ratio = ratio + number(rules.ratio_epsilon)
                stretch = np.log(ratio)
            deltas[:, places[axis]] = shift * reciprocals[0]
            deltas[:, places[axis + 2]] = stretch * reciprocals[1]
        return deltas


class _Objects:
    """N objects of a batch, one after the other, axis by axis (x, then y).

    Attributes:
        low, high: (N,) corners of each axis.
        center, size: (N,) of each axis.
        areas: (N,) as IoU counts them.
    """

    def __init__(self, boxes: Array, offset: Any) -> None:
        columns = np.ascontiguousarray(boxes.T)
        number = boxes.dtype.type
        self.low, self.high = columns[:2], columns[2:]
        self.center, self.size = (self.low + self.high) * number(0.5), self.high - self.low
        sides = np.maximum(self.size + offset, 0)
        self.areas = sides[0] * sides[1]

    def __len__(self) -> int:
        return len(self.areas)


class _Pairs(NamedTuple):
    """Pairs that were evaluated, by ascending object.

    Attributes:
        who: (T,) object.
        anchor: (T,) anchor.
        iou: (T,) their IoU.
    """

    who: Array
    anchor: Array
    iou: Array


class _Lattices:
    """The anchors of one shape on one feature map each: P lattices on G grids of centres.

    Bounds are computed as if centres stood in exact steps and all anchors of a lattice were of one
    size. Each corner is then off by no more than `reach`, a side by twice that, an area w h by
    2 reach (w + h). With intersection I and S the sum of both areas, IoU is I / (S - I), and I at
    most S / 2, so that it moves by at most 4 / S and 2 / S times those; and S is no less than the
    anchor's own area. `slack` is twice that, and what the bounds themselves are rounded by.

    Attributes:
        members: Indices of all anchors that stand in a lattice.
        slack: How far an IoU can be from the bounds' idea of it.
    """

    FAR = 4.0  # in images; rounding grows with the coordinates, so beyond there are no bounds

    def __init__(self, anchors: Array, low: Array, high: Array, offset: float) -> None:
        grids: dict[tuple[bytes, bytes], int] = {}
        axes: tuple[list[Array], list[Array]] = ([], [])
        runs: list[Array] = []
        rows: list[tuple[Any, ...]] = []
        tables: tuple[list[Array], list[Array]] = ([], [])
        for run in _runs(anchors):
            at = anchors[run]
            columns = int(np.argmax(at[:, 1] != at[0, 1])) or len(at)
            if len(at) % columns:
                continue
            table = at.reshape(-1, columns, 4)
            x, y = table[0, :, 0], table[:, 0, 1]
            square = (table[..., 0] == x).all() and (table[..., 1] == y[:, None]).all()
            if not (square and _is_even(x) and _is_even(y)):
                continue
            grid = grids.setdefault((x.tobytes(), y.tobytes()), len(grids))
            if grid == len(axes[0]):
                axes[0].append(x)
                axes[1].append(y)
            stride = int(run[1] - run[0]) if len(run) > 1 else 1
            runs.append(run)
            rows.append((grid, int(run[0]), stride, columns, *at[0, 2:]))
            for axis, line in ((0, run[:columns]), (1, run[::columns])):
                tables[axis].append(np.stack([low[axis, line], high[axis, line]]))

        dtype = anchors.dtype
        self.members = np.concatenate([np.empty(0, np.int64), *runs])
        self.grid, self.base, self.stride, self.columns = (
            np.array([row[index] for row in rows], np.int64) for index in range(4)
        )
        # Axis by axis (x, then y): sizes of the lattices; first centre, step and last index of
        # the grids; and low and high corners, those of lattice p from `start[axis][p]` on.
        self.size = [np.array([row[4 + axis] for row in rows], dtype)[:, None] for axis in (0, 1)]
        self.half = [one * dtype.type(0.5) for one in self.size]
        self.first, self.step, self.last = (
            [np.array([part(one) for one in axes[axis]], dtype)[:, None] for axis in (0, 1)]
            for part in (lambda one: one[0], _step, lambda one: len(one) - 1)
        )
        self.inverse = [1 / one for one in self.step]
        none = np.empty((2, 0), dtype)
        lines = [np.concatenate([none, *tables[axis]], axis=1) for axis in (0, 1)]
        self.low, self.high = ([one[side] for one in lines] for side in (0, 1))
        counts = [[one.shape[1] for one in tables[axis]] for axis in (0, 1)]
        self.start = [np.cumsum([0, *one])[:-1].astype(np.int64) for one in counts]

        eps = float(np.finfo(dtype).eps)
        drift = max((_drift(one) for pair in axes for one in pair), default=0.0)
        self.reach = dtype.type(drift + 4 * eps * self.FAR)
        self.areas = (self.size[0] + offset) * (self.size[1] + offset)
        worst = (1 / (self.size[0] + offset) + 1 / (self.size[1] + offset)).max(initial=0)
        self.slack = float(2 * 6 * self.reach * worst + 64 * eps)

    def __len__(self) -> int:
        return len(self.base)


class _Matching:
    """The objects of one batch on their way to their anchors.

    Args:
        assigner: Whose rules hold.
        objects: N objects of all images.
        first_key: (N,) index of the first anchor of the object's image in a flattened (B, A).
        row: (N,) row of each object in its image's list.
    """

    def __init__(
        self, assigner: TargetAssigner, objects: _Objects, first_key: Array, row: Array
    ) -> None:
        self.assigner = assigner
        self.lattices = assigner._lattices
        self.objects = objects
        self.first_key = first_key
        self.row = row.astype(np.int32)
        self.forces = assigner.convention.matching.force != "none"
        # What matters: pairs that reach the threshold, and each object's best.
        everyone = np.arange(len(objects))
        wanted = np.full(len(objects), assigner._least)
        self.pairs, self.complete = self._evaluate(everyone, wanted, self.forces)

    # Which pairs to look at

    def _evaluate(self, who: Array, wanted: Array, best: bool) -> tuple[_Pairs, Array]:
        """All pairs of some objects whose IoU is at least `wanted`, or the object's `best`.

        Args:
            who: (n,) ascending objects.
            wanted: (n,) above 0.
            best: Whether an object's largest IoU is wanted where that is less.

        Returns:
            The pairs, and (n,) the IoU from which on they are complete.
        """
        complete = np.array(wanted)
        parts: list[_Pairs] = []
        for start in range(0, len(who), OBJECTS):
            part = slice(start, start + OBJECTS)
            some, complete[part] = self._evaluate_some(who[part], wanted[part], best)
            parts += some
        if len(parts) == 1:
            return parts[0], complete
        dtype = self.assigner.anchors.dtype
        nothing = _Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, dtype))
        pairs = _Pairs(*map(np.concatenate, zip(*[nothing, *parts], strict=True)))
        if (np.diff(pairs.who) < 0).any():
            order = np.argsort(pairs.who, kind="stable")
            pairs = _Pairs(*(one[order] for one in pairs))
        return pairs, complete

    def _evaluate_some(self, who: Array, wanted: Array, best: bool) -> tuple[list[_Pairs], Array]:
        grid, slack, complete = self.lattices, self.lattices.slack, np.array(wanted)
        if len(grid) == 0:
            return self._one_by_one(who, complete, best), complete
        bounds = _Bounds(grid, self.objects, who, self.assigner)
        if best:
            np.minimum(complete, bounds.iou.max(axis=0) - slack, out=complete)
        weak = (complete <= 2 * slack) | bounds.far
        near = bounds.iou >= complete - slack
        parts = []
        if weak.any():
            near &= ~weak
            weakest = np.array(wanted[weak])
            parts += self._one_by_one(who[weak], weakest, best)
            complete[weak] = weakest
        cells = bounds.cells(near, complete - slack)
        parts[:0] = [
            _Pairs(who.take(pairs.who.take(keep)), pairs.anchor.take(keep), pairs.iou.take(keep))
            for pairs in cells
            for keep in (np.flatnonzero(pairs.iou >= complete.take(pairs.who)),)
        ]
        others = self.assigner._others
        if others.size:
            for index in np.flatnonzero(~weak):
                iou = self.assigner.iou(self.objects, who[index], others)
                keep = np.flatnonzero(iou >= complete[index])
                parts.append(_Pairs(np.full(keep.size, who[index]), others[keep], iou[keep]))
        return parts, complete

    def _one_by_one(self, who: Array, complete: Array, best: bool) -> list[_Pairs]:
        """The same, looking at all anchors of each object; writes into `complete`."""
        parts = []
        for index, one in enumerate(who):
            iou = self.assigner.iou(self.objects, one)
            if best and iou.size:
                complete[index] = min(complete[index], iou.max())
            keep = np.flatnonzero(iou >= complete[index])
            if best and iou.size and complete[index] == 0:
                keep = keep[:1]  # overlaps nothing: of all that are best, the first counts
            parts.append(_Pairs(np.full(keep.size, one), keep, iou[keep]))
        return parts

    # Who is forced on which anchor

    def force(self) -> tuple[Array, Array]:
        """Objects that get an anchor whatever the threshold.

        Returns:
            (n,) objects in ascending order and (n,) their anchors; several may have one anchor.
        """
        rules = self.assigner.convention.matching
        who, anchor, iou = self.pairs
        if not self.forces or not who.size:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        differs = np.ones(who.size, np.bool_)
        np.not_equal(who[1:], who[:-1], out=differs[1:])
        starts = np.flatnonzero(differs)
        height = np.maximum.reduceat(iou, starts)
        sizes = np.empty_like(starts)
        sizes[:-1], sizes[-1] = starts[1:] - starts[:-1], who.size - starts[-1]
        lower = np.where(iou == np.repeat(height, sizes), anchor, len(self.assigner.anchors))
        peak = np.minimum.reduceat(lower, starts)
        wants = np.flatnonzero(height > self.assigner._number(rules.force_above))
        chosen = who.take(starts.take(wants))
        peak, height = peak.take(wants), height.take(wants)
        if rules.force == "bipartite":
            self._settle_rivals(chosen, peak, height, rules.force_above)
            kept = np.flatnonzero(peak >= 0)
            return chosen[kept], peak[kept]
        return chosen, peak

    def _settle_rivals(self, who: Array, anchor: Array, iou: Array, force_above: float) -> None:
        """Give each object an anchor of its own; writes into `anchor`, -1 where none is left.

        Greedy matching takes the largest pair of all, then of what is left. Both sides of a pair
        rank it by the same order (IoU, then lowest object, then lowest anchor), so that is the
        one stable matching there is, and asking in any order finds it: each object asks for its
        best anchor; an anchor takes the best that asked; who is refused asks for the next.
        """
        keys = self.first_key.take(who) + anchor
        order = np.argsort(keys, kind="stable")
        equal = keys[order[1:]] == keys[order[:-1]]
        if not equal.any():
            return
        # From here on an object is its rank in `who`; ranks ascend as objects do. Rivals are few,
        # and what they ask in turn depends on who was refused: plain Python is quick enough.
        contested = order[np.append(equal, False) | np.append(False, equal)]
        contested = contested[np.lexsort((-contested, iou[contested]))]  # the best of each last
        holder = dict(zip(keys.tolist(), range(len(who)), strict=True))
        holder.update(zip(keys[contested].tolist(), contested.tolist(), strict=True))
        owners = np.array([holder[key] for key in keys[contested].tolist()])
        waiting = contested[owners != contested].tolist()

        places, values, first = anchor.tolist(), iou.tolist(), self.first_key.take(who).tolist()
        lists = _Lists(self, who, self.assigner._number(force_above))
        at, end, next_anchor, next_iou = lists.at, lists.end, lists.anchor, lists.iou
        hungry: list[int] = []
        while waiting or hungry:
            if not waiting:
                lists.lengthen(hungry)
                waiting, hungry = hungry, []
            rank = waiting.pop()
            start = first[rank]
            for place in range(at[rank], end[rank]):
                key, value = start + next_anchor[place], next_iou[place]
                rival = holder.get(key)
                if rival is not None:
                    held = values[rival]
                    if value < held or (value == held and rival < rank):
                        continue
                    waiting.append(rival)
                holder[key] = rank
                at[rank], places[rank], values[rank] = place + 1, key - start, value
                break
            else:
                at[rank] = end[rank]
                if lists.has_more(rank):
                    hungry.append(rank)
                else:
                    places[rank] = -1
        anchor[:] = places

    # Who has which anchor in the end

    def settle(self, owner: Array, forced: Array, anchors: Array) -> tuple[Array, Array, Array]:
        """Write the row of each anchor's object into `owner`.

        Args:
            owner: (B × A,) int32, -1 throughout.
            forced: (n,) objects.
            anchors: (n,) their anchors.

        Returns:
            (K,) keys that have an object, each once; (K,) the object; and keys of anchors that
            are near enough to some object to be no background.
        """
        rules = self.assigner.convention.matching
        who, anchor, iou = self.pairs
        threshold = self.assigner._threshold
        reach = iou >= threshold if rules.positive_at == ">=" else iou > threshold
        ignored = np.empty(0, np.int64)
        if rules.ignore_from is not None:
            near = np.flatnonzero(iou >= self.assigner._number(rules.ignore_from))
            ignored = self.first_key[who[near]] + anchor[near]
        over = np.flatnonzero(reach)
        who, iou = who.take(over), iou.take(over)
        keys = self.first_key.take(who)
        keys += anchor.take(over)
        row = self.row.take(who)
        owner[keys] = row
        lost = owner.take(keys) != row
        if lost.any():
            # More than one object. Any of the pairs of an anchor can stand for it meanwhile.
            owner[keys[lost]] = -2
            contested = np.flatnonzero(owner.take(keys) == -2)
            places, rival = keys.take(contested), iou.take(contested)
            owner[places] = np.arange(len(contested), dtype=np.int32)
            of = owner.take(places)
            highest = np.zeros(len(contested), iou.dtype)
            np.maximum.at(highest, of, rival)
            # What is written last stays: of equal overlaps, the lowest object.
            best = np.flatnonzero(rival == highest.take(of))[::-1]
            owner[places[best]] = row.take(contested[best])
        if forced.size:
            places = self.first_key[forced] + anchors
            before = np.concatenate([keys, places])
            # Of several on one anchor the one that is written last stays.
            order = slice(None, None, -1) if rules.force == "first" else slice(None)
            owner[places[order]] = self.row[forced[order]]
            pairs = np.concatenate([who, forced])
            mine = np.flatnonzero(owner.take(before) == self.row.take(pairs))
            keys, who = before.take(mine), pairs.take(mine)
            # A forced pair above the threshold is there twice; written twice, it says the same.
            return keys, who, ignored
        mine = np.flatnonzero(owner[keys] == row)
        return keys[mine], who[mine], ignored


class _Lists:
    """What some objects ask for: their pairs by falling IoU, then rising anchor.

    A list is as long as its pairs are complete. When it ends, pairs of lower IoU are evaluated; the
    old list is then the beginning of the new one, so that the place in it stays.

    Args:
        matching: Whose objects and pairs they are.
        who: (n,) ascending objects; here they go by their rank among these.
        least: No pair of this IoU or less is asked for.

    Attributes:
        anchor, iou: All lists, one after the other.
        at, end: Place in these of what each object asks for next, and where its list ends; what it
            has asked for already is its best.
    """

    def __init__(self, matching: _Matching, who: Array, least: Any) -> None:
        self.matching, self.who, self.least = matching, who, least
        self.complete = matching.complete.take(who)
        self.fresh = np.ones(len(who), np.bool_)
        self.anchor: list[int] = []
        self.iou: list[float] = []
        self.at, self.end = [0] * len(who), [0] * len(who)
        self.asked = np.ones(len(who), np.int64)  # when the list was made

    def has_more(self, rank: int) -> bool:
        """Whether an object may have pairs that are in no list yet."""
        return bool(self.fresh[rank] or self.complete[rank] > self.least)

    def lengthen(self, which: list[int]) -> None:
        """Make lists longer, all of them together."""
        ranks = np.array(sorted(which))
        pairs, number = self.matching.pairs, self.matching.assigner._number
        first = np.searchsorted(pairs.who, self.who[ranks])
        sizes = np.searchsorted(pairs.who, self.who[ranks], side="right") - first
        # A list of one or two, which is what most have, is made longer at once.
        known = self.fresh[ranks] & ((sizes > 2) | (self.complete[ranks] <= self.least))
        self.fresh[ranks] = False
        first, sizes = first[known], sizes[known]
        at = np.arange(sizes.sum()) + np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
        self._keep(ranks[known], _Pairs(*(one.take(at) for one in pairs)))
        ranks = ranks[~known]
        wanted = self.complete[ranks] * number(WIDER)
        last = wanted <= 2 * self.matching.lattices.slack
        wanted[last] = np.nextafter(number(0), number(1))  # all that overlap at all
        pairs, _ = self.matching._evaluate(self.who[ranks], wanted, False)
        self.complete[ranks] = np.where(last, 0, wanted)
        self._keep(ranks, pairs)

    def _keep(self, ranks: Array, pairs: _Pairs) -> None:
        if self.least > 0:
            pairs = _Pairs(*(one[pairs.iou > self.least] for one in pairs))
        order = np.lexsort((pairs.anchor, -pairs.iou, pairs.who))
        start = np.searchsorted(pairs.who, self.who[ranks]) + len(self.anchor)
        end = np.searchsorted(pairs.who, self.who[ranks], side="right") + len(self.anchor)
        self.anchor += pairs.anchor[order].tolist()
        self.iou += pairs.iou[order].tolist()
        asked = self.asked[ranks]
        self.asked[ranks] = end - start
        for rank, first, last in zip(
            ranks.tolist(), np.minimum(start + asked, end).tolist(), end.tolist(), strict=True
        ):
            self.at[rank], self.end[rank] = first, last


class _Bounds:
    """What n objects can reach on P lattices: the IoU with the cell next to their centre.

    Args:
        lattices: The lattices.
        objects: Objects, of which
        who: (n,) are looked at.
        assigner: Whose IoU is meant.

    Attributes:
        iou: (P, n) no cell of the lattice reaches more, but for `slack`; and one reaches it.
        far: (n,) where that is not so: rounding is too coarse there.
    """

    def __init__(
        self, lattices: _Lattices, objects: _Objects, who: Array, assigner: TargetAssigner
    ) -> None:
        self.lattices, self.assigner = lattices, assigner
        number, offset = assigner._number, assigner._offset
        self.low, self.high = objects.low.take(who, axis=1), objects.high.take(who, axis=1)
        self.far = np.maximum(-self.low, self.high).max(axis=0) > lattices.FAR
        self.areas = objects.areas.take(who)
        center, size = objects.center.take(who, axis=1), objects.size.take(who, axis=1)
        self.index, self.nearest, self.half, self.side = [], [], [], []
        for axis in (0, 1):
            # In steps from the first centre of each grid: (G, n).
            index = center[axis] - lattices.first[axis]
            index *= lattices.inverse[axis]
            nearest = np.rint(index)
            np.maximum(nearest, 0, out=nearest)
            np.minimum(nearest, lattices.last[axis], out=nearest)
            away = np.abs(index - nearest)
            away *= lattices.step[axis]
            half = size[axis] * number(0.5) + lattices.half[axis]  # (P, n): the sides only touch
            side = away.take(lattices.grid, axis=0)
            np.subtract(half, side, out=side)
            np.minimum(side, np.minimum(size[axis], lattices.size[axis]), out=side)
            if offset:
                half, side = half + offset, side + offset
            self.index.append(index)
            self.nearest.append(nearest)
            self.half.append(half)
            self.side.append(side)
        np.maximum(self.side[0], 0, out=self.side[0])
        self.both = self.areas + lattices.areas
        if assigner._epsilon:
            self.both += assigner._epsilon
        self.iou = self.side[0] * self.side[1]
        self.iou /= self.both - self.iou

    def cells(self, near: Array, least: Array) -> Iterator[_Pairs]:
        """Evaluate the cells that can reach an IoU.

        Args:
            near: (P, n) lattices to look at.
            least: (n,) above 0: by the bounds' own idea of IoU.

        Yields:
            Pairs, objects ascending over all.
        """
        grid, count = self.lattices, len(self.lattices)
        flat = np.flatnonzero(np.ascontiguousarray(near.T))
        if not flat.size:
            return
        who = flat // count
        lattice = flat - who * count
        flat = lattice * near.shape[1] + who
        on_grid = grid.grid.take(lattice)
        from_grid = on_grid * near.shape[1] + who
        # I / (S - I) >= t means I >= S t / (1 + t); divided by the longest side of the
        # intersection along one axis, that is the shortest along the other.
        needed = self.both.take(flat) * (least / (1 + least)).take(who)
        window = []
        for axis in (0, 1):
            reach = self.half[axis].take(flat)
            reach -= needed / self.side[1 - axis].take(flat)
            reach += grid.reach
            reach *= grid.inverse[axis].take(on_grid)
            index, nearest = self.index[axis].take(from_grid), self.nearest[axis].take(from_grid)
            first = np.minimum(np.maximum(np.ceil(index - reach), 0), nearest)
            final = np.minimum(np.floor(index + reach), grid.last[axis].take(on_grid))
            final = np.maximum(final, nearest)
            window.append((first.astype(np.int64), (final - first).astype(np.int64) + 1))
        sizes = window[0][1] * window[1][1]
        if sizes.sum() <= CELLS:
            yield self._evaluate(who, lattice, *window)
            return
        ends = np.cumsum(sizes)
        start = 0
        while start < len(sizes):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + CELLS, side="right")))
            part = slice(start, stop)
            (columns, rows) = ((first[part], number[part]) for first, number in window)
            yield self._evaluate(who[part], lattice[part], columns, rows)
            start = stop

    def _evaluate(
        self,
        who: Array,
        lattice: Array,
        columns: tuple[Array, Array],
        rows: tuple[Array, Array],
    ) -> _Pairs:
        """IoU of objects with windows of lattices, each (first, number of) columns and rows."""
        grid, offset = self.lattices, self.assigner._offset
        step = grid.stride.take(lattice)
        sides, places, starts = [], [], []
        for axis, (first, number) in ((0, columns), (1, rows)):
            if axis == 1:
                step = step * grid.columns.take(lattice)
            start = np.cumsum(number)
            start -= number
            of = np.repeat(np.arange(len(who)), number)
            index = np.arange(len(of))
            index += (first - start).take(of)
            at, one = index + grid.start[axis].take(lattice).take(of), who.take(of)
            low = np.maximum(self.low[axis].take(one), grid.low[axis].take(at))
            side = np.minimum(self.high[axis].take(one), grid.high[axis].take(at))
            side -= low
            if offset:
                side += offset
            sides.append(np.maximum(side, 0, out=side))
            places.append(index * step.take(of))
            starts.append(start)
        # Each row of a window crosses all columns of it: `of` is the pair of each row, `one` its
        # object.
        number = columns[1].take(of)
        start = np.cumsum(number)
        start -= number
        row = np.repeat(np.arange(len(of)), number)
        column = np.arange(len(row))
        column += (starts[0].take(of) - start).take(row)
        anchor = places[0].take(column)
        anchor += (places[1] + grid.base.take(lattice).take(of)).take(row)
        intersection = sides[0].take(column)
        intersection *= sides[1].take(row)
        own = self.areas.take(one).take(row)
        iou = self.assigner.quotient(intersection, own, self.assigner._areas.take(anchor))
        return _Pairs(one.take(row), anchor, iou)


def _rows(numbers: Array) -> Array:
    """(..., 4) numbers as (n,) or (n, 4): NumPy moves single numbers faster than rows of four."""
    if numbers.dtype == np.float32:
        return numbers.reshape(-1).view(np.complex128)  # as wide as four; only ever copied
    return numbers.reshape(-1, 4)


def _runs(anchors: Array) -> Iterator[Array]:
    """Indices of anchors of one size, in equal steps as far as they go."""
    if not len(anchors):
        return
    _, shape = np.unique(anchors[:, 2:], axis=0, return_inverse=True)
    shape = shape.reshape(-1)
    order = np.argsort(shape, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(shape[order])) + 1):
        start = 0
        while start < len(group):
            steps = np.diff(group[start:])
            same = int(np.argmax(steps != steps[0])) if (steps != steps[:1]).any() else len(steps)
            yield group[start : start + same + 1]
            start += same + 1


def _step(axis: Array) -> float:
    return float(axis[-1] - axis[0]) / (len(axis) - 1) if len(axis) > 1 else 1.0


def _drift(axis: Array) -> float:
    """How far centres are from equal steps."""
    exact = axis[0].astype(np.float64) + np.arange(len(axis)) * _step(axis)
    return float(np.abs(axis - exact).max())


def _is_even(axis: Array) -> bool:
    return _step(axis) > 0 and _drift(axis) <= 16 * np.finfo(axis.dtype).eps
