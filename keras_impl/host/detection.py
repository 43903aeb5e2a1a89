"""Fast detection for a batch on the CPU, in NumPy: equal to `reference_numpy.detection`.

It computes only what the best K detections need:

- Suppression stays within a class. So visiting the candidates of all classes together, in order of
  score, keeps the same boxes as visiting class after class. Once K boxes are kept, the other
  candidates are neither sorted, compared nor decoded.
- No exponential is needed to rule out that a logit gives a score above t: a sigmoid rises with its
  logit, and a softmax has p_c <= e^z_c / (e^z_c + e^z_0), where 0 is the background.
- A logit level is guessed from a sample, so that only a few hundred candidates exceed it. Only
  their scores are computed. Those that exceed every possible score below the level are visited,
  since no candidate can be missing among them. If they do not fill K slots, the level is lowered.
- Candidates are compared only within their class.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Array
from reference_numpy.conventions import CANONICAL, Convention

__all__ = ["HostDetections", "detect"]


SAMPLE = 32  # of so many anchors one is looked at to guess a level
ENOUGH = 4  # candidates for each slot, at the first guess
MANY = 4  # times as many logits that could score are worth a guess
MORE = 4  # times as many at the second; then all
ROUNDING = 1e-5  # of a score, relative, and of a logit times its size
LOW_SHARE = 0.02  # of anchors, those with the least background


class HostDetections(NamedTuple):
    """The detections of each of B images, highest score first, as NumPy arrays.

    Attributes:
        boxes: (B, K, 4) xyxy, relative to the image; 0 in unused slots.
        scores: (B, K) probability of the class; 0 in unused slots.
        labels: (B, K) int32 class, from 1; -1 in unused slots.
        anchors: (B, K) int32 index of the anchor that was decoded; -1 in unused slots.
    """

    boxes: Array
    scores: Array
    labels: Array
    anchors: Array


class _Candidates(NamedTuple):
    """Candidates, each image's in the order in which they are visited.

    Attributes:
        image, anchor, column: (n,) indices; images ascend; column 0 is label 1.
        score: (n,).
    """

    image: Array
    anchor: Array
    column: Array
    score: Array


def detect(
    deltas: Array,
    logits: Array,
    anchors: Array,
    convention: Convention = CANONICAL,
    **overrides: Any,
) -> HostDetections:
    """Detect objects: decode the head outputs of a batch, and select among the boxes.

    Non-finite scores and boxes are skipped. Conventions whose scores or thresholds change during
    suppression (`soft_sigma`, `eta`) are computed by `keras_impl.ops.detection`, which needs Keras.

    Args:
        deltas: (B, A, 4) predicted codes, float32 or float64.
        logits: (B, A, C + 1) predicted classes of the same dtype, by default background first.
        anchors: (A, 4) cxcywh.
        convention: Its `Coding` part defines the head outputs; its `Detection` and `Overlap` parts
            are used as in `reference_numpy.detection.select`. Scores are sigmoids if its `Loss`
            part has a "sigmoid" or "focal" class loss, else a softmax.
        overrides: Overrides of single fields.

    Returns:
        `HostDetections` with K = `max_detections` slots, equal to the reference's.

    Raises:
        ValueError: Shapes do not fit.
        TypeError: Dtypes are not as above.

    Example:
        >>> anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
        >>> logits = np.array([[[0.0, 0.0], [-9.0, 9.0]]])
        >>> found = detect(np.zeros((1, 2, 4)), logits, anchors, score_threshold=0.6)
        >>> found.boxes[0, 0], found.labels[0, :2]
        (array([0.5, 0.5, 1. , 1. ]), array([ 1, -1], dtype=int32))
    """
    convention = convention.replace(**overrides)
    deltas, logits = np.asarray(deltas), np.asarray(logits)
    if deltas.ndim != 3 or deltas.shape[2] != 4:
        raise ValueError(f"deltas: expected shape (B, A, 4). Received: {deltas.shape}")
    if logits.ndim != 3 or logits.shape[:2] != deltas.shape[:2] or logits.shape[2] < 2:
        batch, count = deltas.shape[:2]
        raise ValueError(
            f"logits: expected shape ({batch}, {count}, C + 1) with C at least 1. "
            f"Received: {logits.shape}"
        )
    if deltas.dtype not in (np.float32, np.float64) or logits.dtype != deltas.dtype:
        raise TypeError(
            "deltas, logits: expected both float32 or both float64. "
            f"Received: {deltas.dtype}, {logits.dtype}"
        )
    deltas, anchors = np.ascontiguousarray(deltas), np.asarray(anchors)
    if anchors.dtype.kind != "f":
        raise TypeError(f"anchors: expected floats. Received: {anchors.dtype}")
    anchors = anchors.astype(deltas.dtype, copy=False)
    if anchors.shape != deltas.shape[1:]:
        raise ValueError(f"anchors: expected {deltas.shape[1:]}. Received: {anchors.shape}")
    rules = convention.detection
    if rules.eta < 1 or rules.soft_sigma is not None:
        return _by_mirror(deltas, logits, anchors, convention)
    batch, slots = len(deltas), rules.max_detections
    found = HostDetections(
        np.zeros((batch, slots, 4), deltas.dtype),
        np.zeros((batch, slots), logits.dtype),
        np.full((batch, slots), -1, np.int32),
        np.full((batch, slots), -1, np.int32),
    )
    if 0 in (batch, slots, len(anchors)) or 0 in (rules.max_per_class, rules.candidates_per_class):
        return found
    heads = _Heads(logits, convention)
    selection = _Selection(deltas, anchors, logits.shape[2] - 1, convention)
    waiting = np.arange(batch)
    for wanted in (ENOUGH * slots, MORE * ENOUGH * slots, None):
        candidates, complete = heads.candidates(waiting, wanted)
        waiting = selection.visit(candidates, waiting, complete)
        if not waiting.size:
            break
    selection.write(found)
    return found


def _by_mirror(
    deltas: Array, logits: Array, anchors: Array, convention: Convention
) -> HostDetections:
    from keras_impl.backends import in_mode
    from keras_impl.ops import detection

    # Each operation by itself: exact, and in float64 on JAX too, which else has none.
    detect = in_mode(partial(detection.detect, convention=convention), "eager")
    return HostDetections(*(np.asarray(part) for part in detect(deltas, logits, anchors)))


class _Heads:
    """The class heads of a batch, and which of them can score."""

    def __init__(self, logits: Array, convention: Convention) -> None:
        self.logits = np.ascontiguousarray(logits)
        self.columns = logits.shape[2]
        self.rules = convention.detection
        self.softmax = convention.loss.class_loss == "softmax"
        self.place = 0 if convention.coding.background == "first" else self.columns - 1
        threshold = self.rules.score_threshold
        # The least logit above the background's (for sigmoids: at all) that can reach it.
        if threshold <= 0:
            self.least = -math.inf
        elif threshold >= 1:
            self.least = _logit(1 - 1e-6)
        else:
            self.least = _logit(threshold) - 1e-3

    def candidates(self, images: Array, wanted: int | None) -> tuple[_Candidates, Array]:
        """The highest-scoring candidates of some images.

        Args:
            images: (n,) which.
            wanted: About how many of each at the most; None for all.

        Returns:
            The candidates, and (n,) whether these are all there are of the image.
        """
        count = self.logits.shape[1]
        rows, levels = self._above(images, wanted)
        image = rows // count
        anchors = rows - image * count
        flat = rows if len(images) == len(self.logits) else images.take(image) * count + anchors
        scores = self._scores(self.logits.reshape(-1, self.columns).take(flat, axis=0))
        # What is not above the level scores less than this, however it is rounded.
        floor = np.where(levels > self.least, _sigmoid(levels) * (1 + ROUNDING), -1)
        floor = np.nextafter(floor.astype(scores.dtype), scores.dtype.type(math.inf))
        limit = scores.dtype.type(self.rules.score_threshold)
        fit = scores >= limit if self.rules.score_at == ">=" else scores > limit
        fit &= scores > floor.take(image)[:, None]
        if self.rules.suppress_in == "anchor":
            best = scores.argmax(axis=1)
            one = np.zeros_like(fit)
            one[np.arange(len(best)), best] = True
            fit &= one
        flat = np.flatnonzero(fit)
        row = flat // scores.shape[1]
        column = flat - row * scores.shape[1]
        anchor, score = anchors.take(row), scores.reshape(-1).take(flat)
        parts = (images.take(image.take(row)), anchor, column, score)
        return self._in_order(_Candidates(*parts)), levels <= self.least

    def _above(self, images: Array, wanted: int | None) -> tuple[Array, Array]:
        """Anchors of which some class may be above a level, and the level of each image.

        One comparison, with the level above a low background, leaves few in the time that reading
        takes. The few anchors whose background is lower still are all left.

        Returns:
            Flat indices of (n, A), and (n,) levels.
        """
        shape = (len(images), *self.logits.shape[1:])
        above, lower = np.empty(shape, np.bool_), np.zeros(shape[:2], np.bool_)
        levels, slacks = np.empty(shape[0]), np.empty(shape[0], self.logits.dtype)
        for index, image in enumerate(images.tolist()):
            logits, low, level = self.logits[image], 0.0, self.least
            if self.softmax:
                background = logits[:, self.place]
                sample = background[:: max(1, len(logits) // 512)]
                place = int(LOW_SHARE * len(sample))
                low = float(np.partition(sample, place)[place])
                np.less(background, logits.dtype.type(low), out=lower[index])
            _compare(logits, low, level, above[index])
            # The background itself is above nearly everywhere.
            hits = np.count_nonzero(above[index]) - len(logits)
            if wanted is not None and hits > MANY * wanted:
                level = max(level, self._guess(logits, low, wanted))
                _compare(logits, low, level, above[index])
            levels[index], slacks[index] = level, _slack(low, level)
        above[..., self.place] = False
        places = _nonzero(above.reshape(-1))
        row, rows = places // self.columns, lower.reshape(-1)
        if self.softmax:
            # The same with the background that each anchor has.
            index = row // shape[1]
            behind = row * self.columns + self.place
            if len(images) < len(self.logits):
                shift = (images - np.arange(len(images))).take(index) * (shape[1] * shape[2])
                places, behind = places + shift, behind + shift
            lead = self.logits.reshape(-1).take(places) - self.logits.reshape(-1).take(behind)
            row = row[lead > (levels - slacks).astype(lead.dtype).take(index)]
        rows[row] = True
        return np.flatnonzero(rows), levels

    def _guess(self, logits: Array, low: float, wanted: int) -> float:
        """A level that about so many logits are above, by a sample."""
        step = max(1, min(SAMPLE, len(logits) // 64))
        lead = logits[::step].copy()
        if self.softmax:
            behind = lead[:, self.place].copy()
            lead -= behind[:, None]
            lead[behind < low] = -math.inf
        lead[:, self.place] = -math.inf
        lead = lead.reshape(-1)
        place = max(1, wanted // step)
        if place >= lead.size:
            return -math.inf
        level = float(np.partition(lead, -place)[-place])
        return level if math.isfinite(level) else -math.inf

    def _scores(self, rows: Array) -> Array:
        """(n, C) scores, background left out, with the arithmetic of `reference_numpy.losses`."""
        if self.place:
            rows = np.roll(rows, 1, axis=1)
        with np.errstate(invalid="ignore"):  # infinities give NaN, which is no candidate
            if self.softmax:
                powers = np.exp(rows - rows.max(axis=1, keepdims=True))
                return np.asarray((powers / powers.sum(axis=1, keepdims=True))[:, 1:])
            up = rows >= 0
            small = np.exp(np.where(up, -rows, rows))
            return np.asarray((np.where(up, rows.dtype.type(1), small) / (1 + small))[:, 1:])

    def _in_order(self, found: _Candidates) -> _Candidates:
        """Each image's by falling score; they come by image, anchor, column."""
        image, anchor, column, score = found
        if self.rules.ties == "lowest label":
            order = np.lexsort((anchor, column, -score, image))
        elif self.rules.ties == "highest anchor":
            order = np.lexsort((column, -anchor, -score, image))
        else:
            cuts = [0, *(np.flatnonzero(np.diff(image)) + 1).tolist(), len(image)]
            parts = [
                np.argsort(-score[start:end], kind="stable") + start
                for start, end in itertools.pairwise(cuts)
            ]
            order = np.concatenate(parts)
        return _Candidates(*(part.take(order) for part in found))


class _Selection:
    """Suppression among the candidates of a batch, until the slots are full."""

    def __init__(self, deltas: Array, anchors: Array, classes: int, convention: Convention) -> None:
        self.deltas, self.anchors, self.classes = deltas, anchors, classes
        self.convention, self.rules = convention, convention.detection
        groups = len(deltas) * classes
        # Small numbers sort faster.
        self.kind = np.uint16 if groups < 1 << 16 else np.int64
        self.visited = np.zeros(groups, np.int64)  # candidates of each group
        self.place = np.zeros(len(deltas), np.int64)  # of the next candidate of each image
        nobody = np.empty(0, np.int64)
        none = _Candidates(nobody, nobody, nobody, deltas[:0, 0, 0])
        self.kept = _Boxes(none, np.empty(0, self.kind), deltas[:0, 0].T)

    def visit(self, candidates: _Candidates, images: Array, complete: Array) -> Array:
        """Visit candidates from where an earlier visit ended.

        Args:
            candidates: Of the images; those of earlier visits come first.
            images: (n,) which.
            complete: (n,) whether the candidates are all there are.

        Returns:
            The images that need more candidates.
        """
        slots, batch = self.rules.max_detections, len(self.deltas)
        bounds = np.searchsorted(candidates.image, np.arange(batch + 1))
        start, end = bounds[:-1] + self.place, bounds[1:]
        open_, size = images[start[images] < end[images]], -(-slots // 2)
        taken, _ = self._slots()
        while open_.size:
            first = start[open_]
            stop = np.minimum(first + size, end[open_])
            start[open_] = stop
            lengths = stop - first
            which = np.arange(lengths.sum())
            which += np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
            new = self._best_of_each_group(self._boxes(candidates, which))
            new = new.only(np.flatnonzero(~self._suppressed_by(self.kept, new)))
            new = new.only(np.flatnonzero(~self._suppressed_among(new)))
            self.kept = self.kept.and_(new)
            taken, _ = self._slots()
            open_ = open_[(taken[open_] < slots) & (stop < end[open_])]
            size *= 2
        self.place = start - bounds[:-1]
        return images[~(complete | (taken[images] >= slots))]

    def write(self, found: HostDetections) -> None:
        """Write what was kept into the slots."""
        _, takes = self._slots()
        # What was kept comes in order of visits, of several images in turn.
        image = self.kept.of.image[takes]
        order = np.argsort(image, kind="stable")
        image = image[order]
        place = np.arange(len(image)) - np.searchsorted(image, image)
        fits = place < self.rules.max_detections
        chosen, image, place = np.flatnonzero(takes)[order][fits], image[fits], place[fits]
        corners = self.kept.corners.take(chosen, axis=1)
        found.boxes[image, place] = (
            np.clip(corners, 0, 1) if self.rules.clip == "after" else corners
        ).T
        found.scores[image, place] = self.kept.of.score.take(chosen)
        found.labels[image, place] = self.kept.of.column.take(chosen) + 1
        found.anchors[image, place] = self.kept.of.anchor.take(chosen)

    def _boxes(self, candidates: _Candidates, which: Array) -> _Boxes:
        """Decode candidates, with the arithmetic of `reference_numpy.coding`."""
        rules, number = self.convention.coding, self.deltas.dtype.type
        chosen = _Candidates(*(part.take(which) for part in candidates))
        image, anchor = chosen.image, chosen.anchor
        row = image * len(self.anchors) + anchor
        codes = self.deltas.reshape(-1, 4).take(row, axis=0).T
        unit = self.anchors.take(anchor, axis=0).T
        places = (0, 1, 2, 3) if rules.code_order == "xywh" else (1, 0, 3, 2)
        corners = np.empty((4, len(which)), self.deltas.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # infinity is cut, or no candidate
            for axis in (0, 1):
                shift = codes[places[axis]] * number(rules.variances[axis])
                stretch = codes[places[axis + 2]] * number(rules.variances[axis + 2])
                if rules.form == "difference":
                    center, size = unit[axis] + shift, unit[axis + 2] + stretch
                else:
                    if rules.largest_exponent is not None:
                        stretch = np.minimum(stretch, number(rules.largest_exponent))
                    center = unit[axis] + shift * unit[axis + 2]
                    size = np.exp(stretch) * unit[axis + 2]
                half = size * number(0.5)
                corners[axis], corners[axis + 2] = center - half, center + half
        if self.rules.clip == "before":
            np.clip(corners, 0, 1, out=corners)
        group = image * self.classes
        if self.rules.suppress_in == "class":
            group += chosen.column
        found = _Boxes(chosen, group.astype(self.kind), corners)
        finite = np.isfinite(corners)
        return found if finite.all() else found.only(np.flatnonzero(finite.all(axis=0)))

    def _best_of_each_group(self, new: _Boxes) -> _Boxes:
        """Leave out what comes after the best candidates of its group."""
        limit = self.rules.candidates_per_class
        if limit is None or not new.size:
            return new
        rank = _ranks(new.group)
        rank += self.visited.take(new.group)
        self.visited += np.bincount(new.group, minlength=len(self.visited))
        return new if rank.max() < limit else new.only(np.flatnonzero(rank < limit))

    def _suppressed_by(self, kept: _Boxes, new: _Boxes) -> Array:
        """(n,) which candidates some box of their group that was kept before suppresses."""
        if not kept.size:
            return np.zeros(new.size, np.bool_)
        order = np.argsort(kept.group, kind="stable")
        ordered = kept.group.take(order)
        first = np.searchsorted(ordered, new.group)
        number = np.searchsorted(ordered, new.group, side="right") - first
        later = np.repeat(np.arange(new.size), number)
        earlier = np.arange(len(later))
        earlier += np.repeat(first - (np.cumsum(number) - number), number)
        near = self._overlaps(kept.only(order), earlier, new, later)
        gone = np.zeros(new.size, np.bool_)
        gone[later[near]] = True
        return gone

    def _suppressed_among(self, new: _Boxes) -> Array:
        """(n,) which candidates others of them suppress.

        One stays if nothing that stays and comes before suppresses it. So whatever nothing
        suppresses stays; what that suppresses goes; and so on with the rest.
        """
        order = np.argsort(new.group, kind="stable")
        before = _ranks(new.group).take(order)
        later = np.repeat(np.arange(len(order)), before)
        earlier = np.arange(len(later))
        earlier += np.repeat(np.arange(len(order)) - np.cumsum(before), before)
        ordered = new.only(order)
        near = self._overlaps(ordered, earlier, ordered, later)
        earlier, later = earlier.take(near), later.take(near)
        gone, waits = np.zeros(len(order), np.bool_), np.zeros(len(order), np.bool_)
        while earlier.size:
            waits[later] = True  # something before it may yet stay
            gone[later[~waits[earlier]]] = True
            waits[later] = False
            rest = ~(gone[earlier] | gone[later])
            earlier, later = earlier[rest], later[rest]
        found = np.empty(len(order), np.bool_)
        found[order] = gone
        return found

    def _overlaps(self, ones: _Boxes, first: Array, others: _Boxes, second: Array) -> Array:
        """Places of the pairs of which one suppresses the other."""
        rules, number = self.rules, self.deltas.dtype.type
        offset = number(self.convention.overlap.iou_offset)
        epsilon = number(self.convention.overlap.iou_epsilon)
        threshold = number(rules.iou_threshold)
        side = self._side(0, ones, first, others, second, offset)
        some = None
        if threshold > 0:  # most have nothing in common on the one axis already
            some = np.flatnonzero(side > 0)
            first, second, side = first.take(some), second.take(some), side.take(some)
        side *= self._side(1, ones, first, others, second, offset)
        union = ones.areas(offset).take(first)
        union += others.areas(offset).take(second)
        union -= side
        if epsilon:
            union += epsilon
        overlap = np.divide(side, union, out=np.zeros_like(union), where=union > 0)
        over = overlap >= threshold if rules.suppress_at == ">=" else overlap > threshold
        return np.flatnonzero(over) if some is None else some[over]

    @staticmethod
    def _side(
        axis: int, ones: _Boxes, first: Array, others: _Boxes, second: Array, offset: Any
    ) -> Array:
        """One side of the intersections."""
        low, high = ones.corners[axis], ones.corners[axis + 2]
        side = np.minimum(high.take(first), others.corners[axis + 2].take(second))
        side -= np.maximum(low.take(first), others.corners[axis].take(second))
        if offset:
            side += offset
        return np.asarray(np.maximum(side, 0, out=side))

    def _slots(self) -> tuple[Array, Array]:
        """(B,) how many of each image take a slot, and (n,) which of the kept do."""
        kept, takes = self.kept, np.ones(self.kept.size, np.bool_)
        if self.rules.max_per_class is not None:
            takes &= _ranks(kept.group) < self.rules.max_per_class
        if self.rules.drop_empty:
            box = np.clip(kept.corners, 0, 1) if self.rules.clip == "after" else kept.corners
            takes &= np.maximum(box[2] - box[0], 0) * np.maximum(box[3] - box[1], 0) > 0
        return np.bincount(kept.of.image[takes], minlength=len(self.deltas)), takes


class _Boxes(NamedTuple):
    """Decoded candidates.

    Attributes:
        of: n candidates.
        group: (n,) a number for the class of the image: within it boxes suppress each other.
        corners: (4, n) xyxy.
    """

    of: _Candidates
    group: Array
    corners: Array

    @property
    def size(self) -> int:
        """n."""
        return len(self.group)

    def only(self, places: Array) -> _Boxes:
        """Some of them."""
        of = _Candidates(*(part.take(places) for part in self.of))
        return _Boxes(of, self.group.take(places), self.corners.take(places, axis=1))

    def and_(self, others: _Boxes) -> _Boxes:
        """These, then others."""
        of = _Candidates(*map(np.concatenate, zip(self.of, others.of, strict=True)))
        group = np.concatenate([self.group, others.group])
        return _Boxes(of, group, np.concatenate([self.corners, others.corners], axis=1))

    def areas(self, offset: Any) -> Array:
        """(n,) areas as IoU counts them."""
        sides = np.maximum((self.corners[2:] - self.corners[:2]) + offset, 0)
        return np.asarray(sides[0] * sides[1])


def _ranks(group: Array) -> Array:
    """How many before each are of its group."""
    order = np.argsort(group, kind="stable")
    ordered = group.take(order)
    ranks = np.empty(len(group), np.int64)
    ranks[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return ranks


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def _compare(logits: Array, low: float, level: float, out: Array) -> None:
    """Where a logit is above the level and a low background."""
    bar = low + level - _slack(low, level)
    if math.isfinite(bar):
        np.greater(logits, logits.dtype.type(bar), out=out)
    else:
        out[...] = True


def _slack(low: float, level: float) -> float:
    """Rounding of sums and differences of such logits."""
    return ROUNDING * (1 + abs(low) + abs(level))


def _sigmoid(logits: Array) -> Array:
    return 1 / (1 + np.exp(-np.maximum(logits, -700)))


def _nonzero(flags: Array) -> Array:
    """Where flags are set, few of them: looks at eight at a time."""
    whole = len(flags) // 8 * 8
    words = np.flatnonzero(flags[:whole].view(np.uint64) != 0)
    place = words.repeat(8)
    place *= 8
    place += np.tile(np.arange(8), len(words))
    places = place[flags.take(place)]
    return np.concatenate([places, whole + np.flatnonzero(flags[whole:])])
