"""All loops that numba compiles; the rest of `keras_impl.host` is NumPy.

Without fast-math numba neither fuses nor reorders, so these loops give the bits that NumPy gives.
`exp` and `log` stay in NumPy: another library rounds them differently. Numbers come in the dtype of
the boxes, since float32 with a Python float is float64 to numba. Kernels release the GIL. They use
no parallel runtime of numba: its thread pools do not survive a fork.

Numba caches the machine code of a file until the file changes. So what is compiled stands in one.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_numpy.conventions import IGNORE, PADDING, UNMATCHED

try:
    import numba
except ModuleNotFoundError as error:
    raise ImportError(
        'keras_impl.host needs numba: pip install "mobilenetv2-ssd[fast]" (or "[keras]")'
    ) from error

__all__ = ["Grid", "MatchRules", "VisitRules"]

# What `keras_impl.host.matching` and `detection` make of a convention; numbers come first.
MatchRules = namedtuple(
    "MatchRules",
    "zero half one far slack loose least threshold offset epsilon force_above crowd_overlap "
    "size_epsilon ratio_epsilon inclusive ignores forced bipartite keep_last crowds crowd_iou "
    "difference swapped",
)
VisitRules = namedtuple(
    "VisitRules",
    "zero one offset epsilon score_threshold iou_threshold score_inclusive suppress_inclusive "
    "per_class by_label candidates most clip_after drop_empty",
)

# A lattice holds the anchors of one shape on one feature map, row by row. `Grid` has
#   anchors, corners, units: (A, 4) cxcywh, (A, 4) xyxy, and (4,) reciprocals of the variances;
#   order, areas: (A,) the anchors lattice by lattice, and their areas in that order;
#   lattices, sizes: (P, 4) and (P, 7), see the columns below. The low and high corners of a
#   lattice's columns, and then of its rows, stand in `lines`, (2, ...), from LINE on.
Grid = namedtuple("Grid", "anchors corners units order areas lattices sizes lines")
BEGIN, COLUMNS, ROWS, LINE = range(4)
BEGIN_X, BEGIN_Y, STEP_X, STEP_Y, WIDEST, TALLEST, SMALLEST = range(7)

# What is known of an anchor while an image is matched, all 0 before and after. `links`: its owner,
# the object that overlaps it most, and its holder, the object forced on it, both plus 1. `marks`:
# the IoU of both, whether a crowd overlaps it, and whether it is in the list of anchors known.
OWNER, HOLDER = range(2)
OWNED, HELD, CROWDED, LISTED = range(4)

# Each object has a list of pairs, anchor and IoU, from `spans[row, 0]` to `spans[row, 1]`, unless
# that is NO_LIST. It holds all that can matter with an IoU of `levels[row]` or more.
NO_LIST, NOT_SCANNED = -1, 2
LONG = 32  # pairs an object there is room for
MANY = 64  # objects scanned at once; calls of functions that take many arrays are slow


# --- Boxes --------------------------------------------------------------------------------


def side(low, high, other_low, other_high, offset):
    """Length of an intersection on one axis; below 0 without one."""
    return (min(high, other_high) - max(low, other_low)) + offset


def box_area(box, offset, zero):
    """Area of a box."""
    return max((box[2] - box[0]) + offset, zero) * max((box[3] - box[1]) + offset, zero)


def quotient(wide, tall, own, other, rules):
    """IoU from the sides of an intersection and two areas; 0 where the union is 0."""
    intersection = max(wide, rules.zero) * max(tall, rules.zero)
    union = ((own + other) - intersection) + rules.epsilon
    return intersection / union if union > 0 else rules.zero


# --- Matching -----------------------------------------------------------------------------


def first_bad(boxes, labels, drop, flat, largest):
    """Flat index of the first object whose label or box is bad, or -1."""
    for image in range(labels.shape[0]):
        for row in range(labels.shape[1]):
            label, box = labels[image, row], boxes[image, row]
            if label == PADDING:
                continue
            # Only a finite number less itself is 0.
            least = min(box[2] - box[0], box[3] - box[1])
            finite = box[0] - box[0] == box[1] - box[1] == box[2] - box[2] == box[3] - box[3] == 0
            fine = finite and (least > 0 or drop or (least == 0 and flat))
            if label < 1 or label > largest or not fine:
                return image * labels.shape[1] + row
    return -1


def nearest(low, high, begin, step, count):
    """Index of the column whose centre is nearest to a span's, of `count` in equal steps."""
    place = ((low + high) * 0.5 - begin) * step + 0.5
    return int(min(max(place, 0), count - 1))


def window(low, high, line, count, begin, step, lines, share, other, slack, offset):
    """First and last column that share `share` / `other` or more with a span, and the most shared.

    Overlaps fall on both sides of the nearest column. The last is below the first if none does.
    """
    middle = nearest(low, high, begin, step, count)
    most = side(low, high, lines[0, line + middle], lines[1, line + middle], offset) + slack
    if most * other < share:
        return 0, -1, most
    first, last = middle, middle
    while first > 0:
        at = line + first - 1
        if (side(low, high, lines[0, at], lines[1, at], offset) + slack) * other < share:
            break
        first -= 1
    while last < count - 1:
        at = line + last + 1
        if (side(low, high, lines[0, at], lines[1, at], offset) + slack) * other < share:
            break
        last += 1
    return first, last, most


def scan(boxes, rows, first, last, grid, rules, memory, end):
    """List the anchors that overlap objects by at least an IoU, half of the last, or by the best.

    An IoU of t needs an intersection of t / (1 + t) of the sum of areas. On each axis a box and an
    anchor share no more than the smaller of both, and overlap most at the cell whose centre is
    nearest. So a few numbers rule out most lattices, and a window around that cell holds the rest.

    Args:
        boxes, rows, first, last: (n, 4), and from where to where the objects stand in `rows`. Those
            that have a list keep it. If there is no room, the last get none.
        grid, rules: The anchors and the convention.
        memory: (P,) bounds, and t / (1 + t) for the IoU t from which pairs of a lattice matter;
            what is known of the anchors; the lists.
        end: Where the last list ends.

    Returns:
        Where the last list ends now.
    """
    reach, floors, _, marks, pairs, ious, spans, levels = memory
    order, areas, lattices, sizes, lines = grid[3:]
    offset, room = rules.offset, len(pairs) - len(order)
    if end > room:
        for row in range(len(spans)):
            if spans[row, 1] != NO_LIST:
                levels[row], spans[row, 1] = 2 * levels[row], NO_LIST
        end = 0
    for index in range(first, last):
        row = rows[index]
        if spans[row, 1] != NO_LIST:
            continue
        if end > room:
            break
        x0, y0, x1, y1 = boxes[row, 0], boxes[row, 1], boxes[row, 2], boxes[row, 3]
        far = max(max(abs(x0), abs(y0)), max(abs(x1), abs(y1)))
        slack = max(far, rules.far) * rules.slack
        wide, tall = (x1 - x0) + offset, (y1 - y0) + offset
        own = max(wide, rules.zero) * max(tall, rules.zero)
        for p in range(len(sizes)):
            shared = (min(wide, sizes[p, WIDEST]) + slack) * (min(tall, sizes[p, TALLEST]) + slack)
            reach[p] = shared / ((own + sizes[p, SMALLEST]) * rules.loose)
        need = rules.least
        if levels[row] != NOT_SCANNED:
            need = levels[row] * rules.half
            if 64 * need < rules.least or need < floors.min():
                need = rules.zero
        elif rules.forced:
            p = reach.argmax()
            x, y = lattices[p, LINE], lattices[p, LINE] + lattices[p, COLUMNS]
            column = nearest(x0, x1, sizes[p, BEGIN_X], sizes[p, STEP_X], lattices[p, COLUMNS])
            line = nearest(y0, y1, sizes[p, BEGIN_Y], sizes[p, STEP_Y], lattices[p, ROWS])
            across = side(x0, x1, lines[0, x + column], lines[1, x + column], offset)
            down = side(y0, y1, lines[0, y + line], lines[1, y + line], offset)
            area = areas[lattices[p, BEGIN] + line * lattices[p, COLUMNS] + column]
            need = min(need, quotient(across, down, own, area, rules))
        spans[row, 0], levels[row], part = end, need, need / (rules.one + need)
        for p in range(len(sizes)):
            least = max(part, floors[p])
            if reach[p] < least:
                continue
            w, share = sizes[p, WIDEST] + slack, (own + sizes[p, SMALLEST]) * rules.loose * least
            x, columns, height = lattices[p, LINE], lattices[p, COLUMNS], lattices[p, ROWS]
            y, start, step = x + columns, sizes[p, BEGIN_Y], sizes[p, STEP_Y]
            # fmt: off
            top, bottom, w = window(y0, y1, y, height, start, step, lines, share, w, slack, offset)
            start, step = sizes[p, BEGIN_X], sizes[p, STEP_X]
            if bottom < top:
                continue
            left, right, _ = window(x0, x1, x, columns, start, step, lines, share, w, slack, offset)
            # fmt: on
            for line in range(top, bottom + 1):
                down = side(y0, y1, lines[0, y + line], lines[1, y + line], offset)
                place = lattices[p, BEGIN] + line * columns
                for column in range(left, right + 1):
                    across = side(x0, x1, lines[0, x + column], lines[1, x + column], offset)
                    iou = quotient(across, down, own, areas[place + column], rules)
                    if iou >= need:
                        anchor = order[place + column]
                        pairs[end], ious[end] = anchor, iou
                        end += iou >= marks[HELD, anchor]  # else it matters no more
        spans[row, 1] = end
    return end


def raise_floors(grid, marks, floors):
    """Write t / (1 + t) for the lowest IoU t at which an anchor of each lattice is held."""
    for p in range(len(floors)):
        begin, size = grid.lattices[p, BEGIN], grid.lattices[p, COLUMNS] * grid.lattices[p, ROWS]
        least = marks[HELD, grid.order[begin]]
        for place in range(begin, begin + size):
            least = min(least, marks[HELD, grid.order[place]])
        floors[p] = least / (1 + least)


def note(anchor, marks, known, count):
    """Put an anchor into the list of those known, once; gives how many are."""
    if marks[LISTED, anchor] == 0:
        marks[LISTED, anchor] = 1
        known[count] = anchor
        return count + 1
    return count


def mark_crowd(box, grid, rules, marks, known, count):
    """Mark the anchors that overlap a crowd enough; gives how many are known."""
    offset = rules.offset if rules.crowd_iou else rules.zero
    own = box_area(box, offset, rules.zero)
    for anchor in range(len(grid.corners)):
        other = grid.corners[anchor]
        wide = side(box[0], box[2], other[0], other[2], offset)
        tall = side(box[1], box[3], other[1], other[3], offset)
        part, area = rules.zero, box_area(other, offset, rules.zero)
        if rules.crowd_iou:
            part = quotient(wide, tall, area, own, rules)
        elif area > 0:
            part = max(wide, rules.zero) * max(tall, rules.zero) / area
        if part >= rules.crowd_overlap:
            marks[CROWDED, anchor] = 1
            count = note(anchor, marks, known, count)
    return count


def encode(box, anchor, units, rules, delta):
    """Write the code of a box; of tw and th, what the logarithm is taken of."""
    for axis in range(2):
        center, size = (box[axis] + box[2 + axis]) * rules.half, box[2 + axis] - box[axis]
        place = 1 - axis if rules.swapped else axis
        if rules.difference:
            delta[place] = (center - anchor[axis]) * units[axis]
            delta[2 + place] = (size - anchor[2 + axis]) * units[2 + axis]
        else:
            unit = anchor[2 + axis] + rules.size_epsilon
            delta[place] = ((center - anchor[axis]) / unit) * units[axis]
            delta[2 + place] = (size + rules.size_epsilon) / unit + rules.ratio_epsilon


def match_images(boxes, labels, crowds, grid, rules, first, touched, found):
    """Match and encode some images.

    Holders are found by deferred acceptance: each object claims the best anchor that no other has
    a better claim to, and the object that loses it goes on with its next best. The result is that
    of matching the pair of largest IoU, then the next: both sides rank pairs in that order. Objects
    at the end of their list wait, until all others are served, for a list of lower IoU.

    Args:
        boxes, labels, crowds: (b × M, 4), (b, M), and (b, M).
        grid, rules: The anchors and the convention.
        first: The first image's index among B.
        touched: (b × A,) indices of flattened (B, A) that are written.
        found: Labels, deltas and objects of all images, (B, A, ...), blank in these.

    Returns:
        How many indices were written.
    """
    anchors, objects, dtype, total, written = len(grid.order), labels.shape[1], boxes.dtype, 0, 0
    size, room = len(grid.sizes), labels.size * LONG + anchors
    reach, floors = np.empty(size, dtype), np.zeros(size, dtype)
    links, marks = np.zeros((2, anchors), np.int32), np.zeros((4, anchors), dtype)
    pairs, ious = np.empty(room, np.int32), np.empty(room, dtype)
    spans, levels = np.full((labels.size, 2), NO_LIST), np.full(labels.size, NOT_SCANNED, dtype)
    memory = (reach, floors, links, marks, pairs, ious, spans, levels)
    out_labels, out_deltas, out_objects = found
    rows, stops = np.empty(labels.size, np.int32), np.empty(len(labels), np.int64)
    for image in range(len(labels)):
        for row in range(objects):
            if labels[image, row] != PADDING and not crowds[image, row]:
                rows[total] = image * objects + row
                total += 1
        stops[image] = total
    end, begin = scan(boxes, rows, 0, total, grid, rules, memory, 0), 0
    for image in range(len(labels)):
        at, base, stop, fresh = first + image, image * objects, stops[image], True
        known, count, held, next_begin = touched[written:], 0, 0, stop
        while begin < stop:
            waiting = begin
            for index in range(begin, stop):
                row = rows[index]
                if spans[row, 1] == NO_LIST:
                    last = min(stop, index + MANY)
                    end = scan(boxes, rows, index, last, grid, rules, memory, end)
                if fresh:
                    goal, best = 0, rules.zero
                    for place in range(spans[row, 0], spans[row, 1]):
                        anchor, iou = pairs[place], ious[place]
                        if iou > best or (iou == best and iou > 0 and anchor < goal):
                            best, goal = iou, anchor
                        if iou >= rules.least:
                            count = note(anchor, marks, known, count)
                            if links[OWNER, anchor] == 0 or iou > marks[OWNED, anchor]:
                                marks[OWNED, anchor], links[OWNER, anchor] = iou, row + 1
                    if rules.forced and not rules.bipartite and best > rules.force_above:
                        count = note(goal, marks, known, count)
                        if rules.keep_last or links[HOLDER, goal] == 0:
                            links[HOLDER, goal] = row + 1
                while rules.bipartite and row != UNMATCHED:
                    goal, best = UNMATCHED, rules.zero
                    for place in range(spans[row, 0], spans[row, 1]):
                        anchor, iou = pairs[place], ious[place]
                        if iou > best or (iou == best and anchor < goal):
                            bar = max(marks[HELD, anchor], rules.force_above)
                            if iou > bar or (iou == bar and row + 1 < links[HOLDER, anchor]):
                                goal, best = anchor, iou
                    if goal == UNMATCHED:
                        if levels[row] > 0 or spans[row, 1] == NO_LIST:
                            rows[waiting] = row
                            waiting += 1
                        spans[row, 1] = NO_LIST
                        break
                    if links[HOLDER, goal] == 0:
                        held += 1
                        count = note(goal, marks, known, count)
                    row, links[HOLDER, goal] = links[HOLDER, goal] - 1, row + 1
                    marks[HELD, goal] = best
            fresh, stop = False, waiting
            if 2 * held > anchors:
                raise_floors(grid, marks, floors)
        begin, floors[:] = next_begin, rules.zero
        for row in range(objects):
            if rules.crowds and crowds[image, row] and labels[image, row] != PADDING:
                count = mark_crowd(boxes[base + row], grid, rules, marks, known, count)
        for index in range(count):
            anchor = known[index]
            iou, row = marks[OWNED, anchor], links[OWNER, anchor]
            ignore = marks[CROWDED, anchor] > 0
            if not (iou > rules.threshold or (rules.inclusive and iou == rules.threshold)):
                ignore, row = ignore or (rules.ignores and row > 0), 0
            row = (links[HOLDER, anchor] if links[HOLDER, anchor] > 0 else row) - 1
            links[:, anchor], marks[:, anchor] = 0, rules.zero
            delta = out_deltas[at, anchor]
            if row != UNMATCHED:
                encode(boxes[row], grid.anchors[anchor], grid.units, rules, delta)
                out_objects[at, anchor], out_labels[at, anchor] = (
                    row - base,
                    labels[image, row - base],
                )
            else:
                out_labels[at, anchor] = IGNORE if ignore else 0
                if not rules.difference:
                    delta[2:] = rules.one  # its logarithm is 0
            touched[written] = at * anchors + anchor
            written += 1
    return written


def stretch(logs, keys, scale, deltas):
    """Write the codes of sizes from their logarithms."""
    for index in range(len(keys)):
        deltas[keys[index], 2] = logs[index, 0] * scale[0]
        deltas[keys[index], 3] = logs[index, 1] * scale[1]


def clear(keys, labels, deltas, objects):
    """Make anchors background again."""
    for key in keys:
        labels[key], objects[key] = 0, UNMATCHED
        deltas[key] = 0


# --- Detection ----------------------------------------------------------------------------


def bound_scores(logits, bits, background, softmax, sign, turn, least, most, bounds):
    """Write the largest logit of each row, the background left out; for a softmax, less its logit.

    `bits` and `most` are `logits` and `bounds` seen as integers. Floats are ordered as integers
    are, once all bits but the sign of negative ones are turned. Processors compare many integers at
    a time, but not floats, where NaN would be a special case.
    """
    columns = bits.shape[1]
    for row in range(len(bits)):
        best = least
        if background == 0:  # loops with a constant start are vectorised
            for column in range(1, columns):
                best = max(best, bits[row, column] ^ ((bits[row, column] >> sign) & turn))
        else:
            for column in range(columns - 1):
                best = max(best, bits[row, column] ^ ((bits[row, column] >> sign) & turn))
        most[row] = best ^ ((best >> sign) & turn)
        bound = bounds[row] - logits[row, background] if softmax else bounds[row]
        bounds[row] = bound if bound == bound else np.inf  # NaN is scored, and then no candidate


def candidates(scores, start, end, floor, rules, rows, columns, keys):
    """Write the candidates of rows `start` to `end`, ties in their order; gives how many."""
    limit, found, classes = rules.score_threshold, 0, scores.shape[1]
    outer, inner = (classes, end - start) if rules.by_label else (end - start, classes)
    for one in range(outer):
        for two in range(inner):
            row, column = (start + two, one) if rules.by_label else (start + one, two)
            score = scores[row, column]
            if score > floor and (score > limit or (rules.score_inclusive and score == limit)):
                rows[found], columns[found], keys[found] = row, column, -score
                found += 1
    return found


def suppressed(box, own, boxes, areas, before, at, rules):
    """Whether a box of a linked list, from `at` on, suppresses a box."""
    while at >= 0:
        wide = side(boxes[at, 0], boxes[at, 2], box[0], box[2], rules.offset)
        tall = side(boxes[at, 1], boxes[at, 3], box[1], box[3], rules.offset)
        iou = quotient(wide, tall, areas[at], own, rules)
        if iou > rules.iou_threshold or (rules.suppress_inclusive and iou == rules.iou_threshold):
            return True
        at = before[at]
    return False


def visit(images, starts, anchors, scores, boxes, floors, rules, found):
    """Visit the candidates of some images, highest score first, and write those that are kept.

    Args:
        images, floors: (w,) which images; their candidates must score more than this.
        starts: (w + 1,) where the rows of each image begin, and where the last end.
        anchors, scores, boxes: (n,), (n, C) and (n, 4) rows.
        rules: The convention.
        found: Boxes, scores, labels and anchors of all images, (B, K, ...).

    Returns:
        (w,) whether all slots of the image are filled.
    """
    out_boxes, out_scores, out_labels, out_anchors = found
    slots, groups = out_scores.shape[1], scores.shape[1] if rules.per_class else 1
    full, size = np.zeros(len(images), np.bool_), scores.size
    rows, columns = np.empty(size, np.int32), np.empty(size, np.int32)
    keys = np.empty(size, scores.dtype)
    for index in range(len(images)):
        image, used, kept, start, end = images[index], 0, 0, starts[index], starts[index + 1]
        count = candidates(scores, start, end, floors[index], rules, rows, columns, keys)
        # The kept boxes of each group are a linked list, the last one first.
        kept_boxes, areas = np.empty((count, 4), boxes.dtype), np.empty(count, boxes.dtype)
        before, last = np.empty(count, np.int32), np.full(groups, -1, np.int32)
        seen, many = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
        for place in np.argsort(keys[:count], kind="mergesort"):
            row, column = rows[place], columns[place]
            box, group = boxes[row], column if rules.per_class else 0
            seen[group] += 1
            if seen[group] > rules.candidates or many[group] >= rules.most:
                continue
            own = box_area(box, rules.offset, rules.zero)
            if suppressed(box, own, kept_boxes, areas, before, last[group], rules):
                continue
            many[group] += 1
            kept_boxes[kept], areas[kept], before[kept], last[group] = box, own, last[group], kept
            kept += 1
            out = out_boxes[image, used]
            for part in range(4):
                inside = min(max(box[part], rules.zero), rules.one)
                out[part] = inside if rules.clip_after else box[part]
            if rules.drop_empty and not box_area(out, rules.zero, rules.zero) > 0:
                out[:] = rules.zero
                continue
            out_scores[image, used], out_labels[image, used] = scores[row, column], column + 1
            out_anchors[image, used] = anchors[row]
            used += 1
            if used == slots:
                full[index] = True
                break
    return full


# --- Compilation --------------------------------------------------------------------------


def compiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel at its first call; under NUMBA_DISABLE_JIT=1 it stays Python."""
    try:
        return numba.njit(kernel, nogil=True, error_model="numpy", cache=True)
    except RuntimeError:  # there is no folder that a cache can be written to
        return numba.njit(kernel, nogil=True, error_model="numpy")


for _one in (
    *(side, box_area, quotient, nearest, window, scan, raise_floors, note),
    *(mark_crowd, encode, candidates, suppressed),
):
    numba.extending.register_jitable(_one)
for _kernel in (first_bad, match_images, stretch, clear, bound_scores, visit):
    globals()[_kernel.__name__] = compiled(_kernel)
