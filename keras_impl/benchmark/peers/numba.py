"""A yardstick: the reference's arithmetic for every object and anchor, compiled with numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.benchmark.peers.kinds import Floats, Matched, Matcher
from reference_numpy.boxes import area, cxcywh_to_xyxy
from reference_numpy.conventions import CANONICAL, PADDING

__all__ = [
    "numba_matcher",
]


def numba_matcher(anchors: Floats) -> Matcher:
    """Match with the reference's arithmetic for every object and anchor, compiled, on one core.

    Labels and objects equal the reference's, ties included. The next call with the same number of
    images reuses the memory of a result and relies on its contents, so results are read-only.
    """
    assign = _numba_kernel()
    corners = cxcywh_to_xyxy(anchors)
    count = len(anchors)
    # One row for each side and the area, each row aligned for vector instructions.
    sides = np.zeros((5, -(-count // 64) * 64), np.float32)[:, :count]
    sides[:4], sides[4] = corners.T, area(corners)
    centers = np.ascontiguousarray(anchors)
    threshold = np.float32(CANONICAL.matching.threshold)
    reciprocals = np.array([1 / one for one in CANONICAL.coding.variances], np.float32)
    held: dict[int, tuple[Array, Array, Array]] = {}

    def call(boxes: Array, labels: Array) -> Matched:
        batch = len(boxes)
        if batch not in held:
            held.clear()
            held[batch] = (
                np.zeros((batch, count), np.int32),
                np.zeros((batch, count, 4), np.float32),
                np.full((batch, count), -1, np.int32),
            )
        boxes, labels = np.ascontiguousarray(boxes), np.ascontiguousarray(labels)
        assign(boxes, labels, *sides, centers, threshold, reciprocals, *held[batch])
        views = [part.view() for part in held[batch]]
        for view in views:
            view.flags.writeable = False
        return Matched(*views)

    return call


@lru_cache(maxsize=1)
def _numba_kernel() -> Callable[..., None]:
    """Return the kernel, which numba compiles at the first call.

    Anchors are processed in tiles that stay in a near cache while all objects pass over them. LLVM
    must vectorise the loops without changing the order of a sum. It vectorises the maximum of
    integers but not of floats; non-negative floats have the same order as their bits, so the
    maximum is taken over the bits.
    """
    from numba import njit

    compiled = njit(cache=False, fastmath=False, error_model="numpy")
    tile = 2048  # 40 kB of anchors and 24 kB of results

    @compiled
    def largest(bits):  # type: ignore[no-untyped-def]
        most = bits[0]
        for anchor in range(bits.shape[0]):
            most = bits[anchor] if bits[anchor] > most else most
        return most

    @compiled
    def first(bits, wanted):  # type: ignore[no-untyped-def]
        for anchor in range(bits.shape[0]):
            if bits[anchor] == wanted:
                return anchor
        return -1

    @compiled
    def visit(  # type: ignore[no-untyped-def]
        x1, y1, x2, y2, own, left, top, right, bottom, areas, row, index, best, objects
    ):
        """Compute the IoU of an object with some anchors, and claim the anchors it improves.

        Every operation is that of `reference_numpy.boxes`. A second visit changes nothing.
        """
        zero = np.float32(0)
        for anchor in range(row.shape[0]):
            low_x = x1 if x1 > left[anchor] else left[anchor]
            low_y = y1 if y1 > top[anchor] else top[anchor]
            high_x = x2 if x2 < right[anchor] else right[anchor]
            high_y = y2 if y2 < bottom[anchor] else bottom[anchor]
            width, height = high_x - low_x, high_y - low_y
            width = width if width > zero else zero
            height = height if height > zero else zero
            common = width * height
            union = (own + areas[anchor]) - common
            overlap = common / union
            overlap = overlap if union > zero else zero
            before, whose = best[anchor], objects[anchor]
            row[anchor] = overlap
            best[anchor] = overlap if overlap > before else before
            objects[anchor] = index if overlap > before else whose

    @compiled
    def hide(row, owner):  # type: ignore[no-untyped-def]
        """Set the IoU to 0 at anchors that an object was forced on."""
        zero = np.float32(0)
        for anchor in range(row.shape[0]):
            row[anchor] = row[anchor] if owner[anchor] < 0 else zero

    @compiled
    def decide(best, owner, objects, threshold, told):  # type: ignore[no-untyped-def]
        """Overwrite the objects of some anchors; return the largest index, old or new."""
        most = nobody = np.int32(-1)
        for anchor in range(best.shape[0]):
            mine, forced, before = objects[anchor], owner[anchor], told[anchor]
            free = mine if best[anchor] >= threshold else nobody
            now = forced if forced >= 0 else free
            told[anchor] = now
            either = now if now > before else before
            most = either if either > most else most
        return most

    @compiled
    def assign(  # type: ignore[no-untyped-def]
        boxes,
        labels,
        left,
        top,
        right,
        bottom,
        areas,
        anchors,
        threshold,
        reciprocals,
        out_labels,
        out_deltas,
        out_objects,
    ):
        count, rows = areas.shape[0], labels.shape[1]
        zero, half = np.float32(0), np.float32(0.5)
        best = np.empty(count, np.float32)  # of each anchor
        objects = np.empty(count, np.int32)
        owner = np.empty(count, np.int32)  # of each anchor: the object forced on it
        row = np.empty(tile, np.float32)
        bits = row.view(np.int32)
        most = np.empty(rows, np.int32)  # of each object: the bits of its best IoU
        where = np.empty(rows, np.int32)  # of each object: the anchor of its best IoU
        waits = np.empty(rows, np.bool_)
        own = np.empty(rows, np.float32)
        for image in range(labels.shape[0]):
            best[:] = zero
            objects[:] = -1
            owner[:] = -1
            for index in range(rows):
                # An object that overlaps no anchor is forced on none, so a best IoU of 0 is none.
                most[index], where[index] = 0, -1
                width = boxes[image, index, 2] - boxes[image, index, 0]
                height = boxes[image, index, 3] - boxes[image, index, 1]
                own[index] = (width if width > zero else zero) * (height if height > zero else zero)

            for start in range(0, count, tile):
                stop = min(start + tile, count)
                size = stop - start
                for index in range(rows):
                    if labels[image, index] == PADDING:
                        continue
                    visit(
                        boxes[image, index, 0],
                        boxes[image, index, 1],
                        boxes[image, index, 2],
                        boxes[image, index, 3],
                        own[index],
                        left[start:stop],
                        top[start:stop],
                        right[start:stop],
                        bottom[start:stop],
                        areas[start:stop],
                        row[:size],
                        np.int32(index),
                        best[start:stop],
                        objects[start:stop],
                    )
                    peak = largest(bits[:size])
                    if peak > most[index]:  # At a tie the earlier anchor stays.
                        most[index], where[index] = peak, start + first(bits[:size], peak)

            # If no two objects have the same best anchor, each object takes its own.
            contested = False
            for index in range(rows):
                if where[index] >= 0:
                    contested = contested or owner[where[index]] >= 0
                    owner[where[index]] = index
            if contested:
                owner[:] = -1
                for index in range(rows):
                    waits[index] = where[index] >= 0
            while contested:
                # Choose the largest IoU. If the best anchor of an object is taken by now, its next
                # best must be found first; until then its IoU is only an upper bound.
                chosen = -1
                for index in range(rows):
                    if waits[index] and (chosen < 0 or most[index] > most[chosen]):
                        chosen = index
                if chosen < 0:
                    break
                if owner[where[chosen]] < 0:
                    owner[where[chosen]] = chosen
                    waits[chosen] = False
                    continue
                most[chosen] = 0
                for start in range(0, count, tile):
                    stop = min(start + tile, count)
                    size = stop - start
                    visit(
                        boxes[image, chosen, 0],
                        boxes[image, chosen, 1],
                        boxes[image, chosen, 2],
                        boxes[image, chosen, 3],
                        own[chosen],
                        left[start:stop],
                        top[start:stop],
                        right[start:stop],
                        bottom[start:stop],
                        areas[start:stop],
                        row[:size],
                        np.int32(chosen),
                        best[start:stop],
                        objects[start:stop],
                    )
                    hide(row[:size], owner[start:stop])
                    peak = largest(bits[:size])
                    if peak > most[chosen]:
                        most[chosen], where[chosen] = peak, start + first(bits[:size], peak)
                waits[chosen] = most[chosen] > 0

            small = 64
            for start in range(0, count, small):
                stop = min(start + small, count)
                told = decide(
                    best[start:stop],
                    owner[start:stop],
                    objects[start:stop],
                    threshold,
                    out_objects[image, start:stop],
                )
                if told < 0:  # all background, before and now: nothing to write
                    continue
                for anchor in range(start, stop):
                    index = out_objects[image, anchor]
                    if index < 0:
                        out_labels[image, anchor] = 0
                        for place in range(4):
                            out_deltas[image, anchor, place] = zero
                        continue
                    out_labels[image, anchor] = labels[image, index]
                    for axis in range(2):
                        low = boxes[image, index, axis]
                        high = boxes[image, index, axis + 2]
                        unit = anchors[anchor, axis + 2]
                        shift = ((low + high) * half - anchors[anchor, axis]) / unit
                        stretch = np.log((high - low) / unit)
                        out_deltas[image, anchor, axis] = shift * reciprocals[axis]
                        out_deltas[image, anchor, axis + 2] = stretch * reciprocals[axis + 2]

    return assign
