"""All loops that numba compiles; the rest of `keras_impl.host` is NumPy.

Without fast-math numba neither fuses nor reorders, so these loops give the bits that NumPy gives.
`exp` and `log` stay in NumPy: another library rounds them differently. Numbers come in the dtype of
the boxes, since float32 with a Python float is float64 to numba. Kernels release the GIL. They use
no parallel runtime of numba: its thread pools do not survive a fork.

Numba caches the machine code of a file until the file changes. So what is compiled stands in one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from reference_numpy.conventions import IGNORE, PADDING, UNMATCHED

try:
    import numba
except ModuleNotFoundError as error:
    raise ImportError(
        'keras_impl.host needs numba: pip install "mobilenetv2-ssd[fast]" (or "[keras]")'
    ) from error

__all__ = ["MatchRules", "VisitRules"]

FORCES = ("none", "bipartite", "last", "first")
CROWDS = ("none", "iou", "ioa")
DEGENERATE = ("error", "drop", "encode")
TIES = ("lowest anchor", "lowest label", "highest anchor")
BIPARTITE, LAST, IOU, DROP, ENCODE, LOWEST_LABEL = 1, 2, 1, 1, 2, 1  # their places there


# A lattice holds the anchors of one shape on one feature map: anchor
# FIRST + (row * COLUMNS + column) * STRIDE. The corners of the columns and rows of all lattices
# stand in `lines`, from X and Y on. Columns of `lattices` and of `sizes`:
FIRST, STRIDE, COLUMNS, ROWS, X, Y = range(6)
BEGIN_X, BEGIN_Y, STEP_X, STEP_Y, WIDEST, TALLEST, SMALLEST = range(7)
# Of `anchors`, after cx, cy, w, h:
AREA = 4
# Of `overlap` and `who`: an anchor's IoU with its OWNER, the object that overlaps it most, and with
# its HOLDER, the object forced on it; and who they are. In the column PAIR stand the pairs of the
# object at hand, IoU and anchor, one in each row. Of `who` alone: whether a crowd overlaps the
# anchor, whether it is KNOWN, and the list of all that are.
OWNER, HOLDER, PAIR, CROWDED, KNOWN, LIST = range(6)
# Of `now`: how many anchors are known, and how many objects wait in `queue`.
COUNT, WAITING = range(2)


class MatchRules(NamedTuple):
    """A convention for `match_images`; numbers are in the dtype of the anchors.

    Attributes:
        most: Share of a lost IoU that the next best mostly has.
        least: IoU from which a pair counts.
        little: IoU below which every overlap is looked at.
        far, slack, loose: For rounding: no corner is farther than `far`; lengths count as larger by
            `slack` times the largest coordinate, sums of areas as smaller by the factor `loose`.
        tx, ty, tw, th: Reciprocals of the variances.
    """

    zero: Any
    half: Any
    most: Any
    one: Any
    offset: Any
    epsilon: Any
    least: Any
    little: Any
    far: Any
    slack: Any
    loose: Any
    threshold: Any
    force_above: Any
    crowd_overlap: Any
    size_epsilon: Any
    ratio_epsilon: Any
    tx: Any
    ty: Any
    tw: Any
    th: Any
    inclusive: bool
    ignores: bool
    force: int
    crowd_by: int
    degenerate: int
    difference: bool
    swapped: bool


class VisitRules(NamedTuple):
    """A convention for `visit`; numbers are in the dtype of the boxes."""

    zero: Any
    one: Any
    offset: Any
    epsilon: Any
    score_threshold: Any
    iou_threshold: Any
    score_inclusive: bool
    suppress_inclusive: bool
    per_class: bool
    ties: int
    candidates: int
    most: int
    clip_after: bool
    drop_empty: bool


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


def first_bad(boxes, labels, degenerate, largest):
    """(image, row, 1 for its label or 2 for its box) of the first bad object; 0 if all are good."""
    for image in range(labels.shape[0]):
        for row in range(labels.shape[1]):
            label = labels[image, row]
            if label != PADDING and (label < 1 or label > largest):
                return image, row, 1
    for image in range(labels.shape[0]):
        for row in range(labels.shape[1]):
            if labels[image, row] == PADDING:
                continue
            box = boxes[image, row]
            finite = True
            for value in box:
                finite = finite and value - value == 0
            least = min(box[2] - box[0], box[3] - box[1])
            enough = least > 0 or degenerate == DROP or (least == 0 and degenerate == ENCODE)
            if not (finite and enough):
                return image, row, 2
    return 0, 0, 0


def nearest(middle, begin, step, count):
    """Index of the column whose centre is nearest, of `count` in equal steps."""
    place = (middle - begin) * step
    if place >= count:
        return count - 1
    index = int(place) if place > 0 else 0
    return min(index + (1 if place - index > index + 1 - place else 0), count - 1)


def window(box_low, box_high, start, count, middle, lines, other, share, slack, offset):
    """First and last column that overlap a box by `share` / `other`; the overlap falls on the way.

    Returns:
        First, last (below the first if there is none), and the largest overlap.
    """
    most = side(box_low, box_high, lines[0, start + middle], lines[1, start + middle], offset)
    most = max(most + slack, offset - offset)
    if most * other < share:
        return 0, -1, most
    first, last = middle, middle
    while first > 0:
        at = start + first - 1
        wide = side(box_low, box_high, lines[0, at], lines[1, at], offset) + slack
        if wide < 0 or wide * other < share:
            break
        first -= 1
    while last < count - 1:
        at = start + last + 1
        wide = side(box_low, box_high, lines[0, at], lines[1, at], offset) + slack
        if wide < 0 or wide * other < share:
            break
        last += 1
    return first, last, most


def scan(box, own, least, want_best, anchors, lattices, sizes, lines, rules, reach, overlap, who):
    """Write the anchors that overlap a box by at least `least`, or by at least its best.

    An IoU of t needs an intersection of t / (1 + t) of the sum of areas. On each axis a box and an
    anchor share no more than the smaller of both, and overlap most at the cell whose centre is
    nearest. So a few numbers rule out most lattices, and a window around that cell holds the rest.

    Args:
        box, own: (4,) xyxy, and its area.
        least: IoU from which a pair is wanted.
        want_best: Whether the best pairs are wanted too, if their IoU is below `least`.
        anchors: (A, 5) cxcywh and area.
        lattices, sizes, lines: (P, 6), (P, 7), and (2, ...) low and high corners.
        rules: The convention.
        reach: (P,) memory for upper bounds of the IoU.
        overlap, who: (A, 3) and (A, 6); pairs are written to their column `PAIR`.

    Returns:
        How many pairs were written.
    """
    offset, need = rules.offset, least
    far = max(max(abs(box[0]), abs(box[1])), max(max(abs(box[2]), abs(box[3])), rules.far))
    slack = far * rules.slack
    wide, tall = (box[2] - box[0]) + offset, (box[3] - box[1]) + offset
    x, y = (box[0] + box[2]) * rules.half, (box[1] + box[3]) * rules.half
    for p in range(len(lattices)):
        shared = (min(wide, sizes[p, WIDEST]) + slack) * (min(tall, sizes[p, TALLEST]) + slack)
        reach[p] = shared / ((own + sizes[p, SMALLEST]) * rules.loose)
    if want_best:
        top = 0
        for p in range(1, len(lattices)):
            if reach[p] > reach[top]:
                top = p
        column = nearest(x, sizes[top, BEGIN_X], sizes[top, STEP_X], lattices[top, COLUMNS])
        row = nearest(y, sizes[top, BEGIN_Y], sizes[top, STEP_Y], lattices[top, ROWS])
        anchor = row * lattices[top, COLUMNS] + column
        anchor = lattices[top, FIRST] + anchor * lattices[top, STRIDE]
        column, row = lattices[top, X] + column, lattices[top, Y] + row
        wide = side(box[0], box[2], lines[0, column], lines[1, column], offset)
        tall = side(box[1], box[3], lines[0, row], lines[1, row], offset)
        need = min(need, quotient(wide, tall, own, anchors[anchor, AREA], rules))
    part, found = need / (rules.one + need), 0
    for p in range(len(lattices)):
        if reach[p] < part:
            continue
        share = (own + sizes[p, SMALLEST]) * rules.loose * part
        middle = nearest(y, sizes[p, BEGIN_Y], sizes[p, STEP_Y], lattices[p, ROWS])
        top, bottom, most = window(
            box[1], box[3], lattices[p, Y], lattices[p, ROWS], middle, lines,
            sizes[p, WIDEST] + slack, share, slack, offset,
        )  # fmt: skip
        if bottom < top:
            continue
        middle = nearest(x, sizes[p, BEGIN_X], sizes[p, STEP_X], lattices[p, COLUMNS])
        left, right, _ = window(
            box[0], box[2], lattices[p, X], lattices[p, COLUMNS], middle, lines,
            most, share, slack, offset,
        )  # fmt: skip
        for row in range(top, bottom + 1):
            at = lattices[p, Y] + row
            tall = side(box[1], box[3], lines[0, at], lines[1, at], offset)
            anchor = lattices[p, FIRST] + (row * lattices[p, COLUMNS] + left) * lattices[p, STRIDE]
            for column in range(left, right + 1):
                at = lattices[p, X] + column
                wide = side(box[0], box[2], lines[0, at], lines[1, at], offset)
                iou = quotient(wide, tall, own, anchors[anchor, AREA], rules)
                if iou >= need:
                    who[found, PAIR], overlap[found, PAIR] = anchor, iou
                    found += 1
                anchor += lattices[p, STRIDE]
    return found


def see(anchor, who, now):
    """Put an anchor into the list of those known."""
    if not who[anchor, KNOWN]:
        who[anchor, KNOWN] = 1
        who[now[COUNT], LIST] = anchor
        now[COUNT] += 1


def mark_crowd(box, anchors, rules, who, now):
    """Mark the anchors that overlap a crowd enough."""
    offset = rules.offset if rules.crowd_by == IOU else rules.zero
    own = box_area(box, offset, rules.zero)
    for index in range(len(anchors)):
        anchor = anchors[index]
        half_w, half_h = anchor[2] * rules.half, anchor[3] * rules.half
        left, right = anchor[0] - half_w, anchor[0] + half_w
        top, bottom = anchor[1] - half_h, anchor[1] + half_h
        wide = side(box[0], box[2], left, right, offset)
        tall = side(box[1], box[3], top, bottom, offset)
        if rules.crowd_by == IOU:
            part = quotient(wide, tall, anchor[AREA], own, rules)
        else:
            area = (right - left) * (bottom - top)
            shared = max(wide, rules.zero) * max(tall, rules.zero)
            part = shared / area if area > 0 else rules.zero
        if part >= rules.crowd_overlap:
            who[index, CROWDED] = 1
            see(index, who, now)


def compete(
    row, level, found, boxes, queue,
    anchors, lattices, sizes, lines, rules, reach, overlap, who, now,
):  # fmt: skip
    """Give an object the best anchor that it has the best claim to (deferred acceptance).

    The object that loses an anchor goes on with its next best, and so on. The result is that of
    matching the pair of largest IoU, then the next: both sides rank their pairs in that order. An
    object without a claim at an IoU of `level` or more waits, until all others are served so far.

    Args:
        row, level, found: The object; its pairs of at least that IoU, and how many these are.
        boxes, queue: (M, 4), and (M,) the objects that wait.
        anchors, lattices, sizes, lines, rules, reach, overlap, who: As in `scan`.
        now: (2,) what is known of the image.
    """
    start = level
    while True:
        goal, best = UNMATCHED, rules.zero
        for index in range(found):
            anchor, iou = who[index, PAIR], overlap[index, PAIR]
            held = overlap[anchor, HOLDER]
            claims = iou > held or (iou == held and row < who[anchor, HOLDER])
            if claims and (iou > best or (iou == best and anchor < goal)):
                goal, best = anchor, iou
        if goal != UNMATCHED:
            lost, overlap[goal, HOLDER] = overlap[goal, HOLDER], best
            row, who[goal, HOLDER] = who[goal, HOLDER], row
            see(goal, who, now)
            if row == UNMATCHED:
                return
            start, waits = max(level, lost * rules.most), lost < level
        else:
            start, waits = level, start <= level
        if waits:
            queue[now[WAITING]] = row
            now[WAITING] += 1
            return
        own = box_area(boxes[row], rules.offset, rules.zero)
        found = scan(
            boxes[row], own, start, False,
            anchors, lattices, sizes, lines, rules, reach, overlap, who,
        )  # fmt: skip


def encode(box, anchor, rules, delta):
    """Write the code of a box; of tw and th, what the logarithm is taken of."""
    for axis in range(2):
        center, size = (box[axis] + box[2 + axis]) * rules.half, box[2 + axis] - box[axis]
        place = 1 - axis if rules.swapped else axis
        if rules.difference:
            delta[place] = (center - anchor[axis]) * (rules.ty if axis else rules.tx)
            delta[2 + place] = (size - anchor[2 + axis]) * (rules.th if axis else rules.tw)
        else:
            unit = anchor[2 + axis] + rules.size_epsilon
            delta[place] = ((center - anchor[axis]) / unit) * (rules.ty if axis else rules.tx)
            delta[2 + place] = (size + rules.size_epsilon) / unit + rules.ratio_epsilon


def find_owners(
    boxes, labels, crowds, queue,
    anchors, lattices, sizes, lines, rules, reach, overlap, who, now,
):  # fmt: skip
    """Find the object of each anchor of one image."""
    now[:] = 0
    for row in range(len(labels)):
        box = boxes[row]
        if labels[row] == PADDING:
            continue
        if rules.degenerate == DROP and not (box[0] < box[2] and box[1] < box[3]):
            continue
        if len(crowds) and crowds[row]:
            if rules.crowd_by:
                mark_crowd(box, anchors, rules, who, now)
            continue
        own, goal, best = box_area(box, rules.offset, rules.zero), 0, rules.zero
        found = scan(
            box, own, rules.least, rules.force > 0,
            anchors, lattices, sizes, lines, rules, reach, overlap, who,
        )  # fmt: skip
        for index in range(found):
            anchor, iou = who[index, PAIR], overlap[index, PAIR]
            if iou > best or (iou == best and iou > 0 and anchor < goal):
                best, goal = iou, anchor
            if iou >= rules.least:
                see(anchor, who, now)
                if who[anchor, OWNER] == UNMATCHED or iou > overlap[anchor, OWNER]:
                    overlap[anchor, OWNER], who[anchor, OWNER] = iou, row
        if rules.force == BIPARTITE:
            compete(
                row, rules.least, found, boxes, queue,
                anchors, lattices, sizes, lines, rules, reach, overlap, who, now,
            )  # fmt: skip
        elif rules.force and best > rules.force_above:
            see(goal, who, now)
            if rules.force == LAST or who[goal, HOLDER] == UNMATCHED:
                who[goal, HOLDER] = row
    level = rules.least
    while now[WAITING] and level > overlap[:, HOLDER].min():
        level = level * rules.most if level > rules.little else rules.zero
        count, now[WAITING] = now[WAITING], 0
        for index in range(count):
            row = queue[index]
            own = box_area(boxes[row], rules.offset, rules.zero)
            found = scan(
                boxes[row], own, level, False,
                anchors, lattices, sizes, lines, rules, reach, overlap, who,
            )  # fmt: skip
            compete(
                row, level, found, boxes, queue,
                anchors, lattices, sizes, lines, rules, reach, overlap, who, now,
            )  # fmt: skip


def match_images(
    boxes, labels, crowds, queue,
    anchors, lattices, sizes, lines, rules, reach, overlap, who, now,
    out_labels, out_deltas, out_objects, first, touched,
):  # fmt: skip
    """Match and encode some images.

    Args:
        boxes, labels, crowds: (b, M, 4), (b, M), and (b, M) or (b, 0) without crowds.
        queue, anchors, lattices, sizes, lines, rules, reach, overlap, who, now: As in `compete`;
            nothing is known of the anchors.
        out_labels, out_deltas, out_objects: (B, A), (B, A, 4), (B, A), background throughout.
        first: The first image's index among B.
        touched: (b × A,) indices of flattened (B, A) that are written: anchors with an object from
            the start, ignored ones from the end.

    Returns:
        How many anchors have an object, and how many are ignored.
    """
    matched, ignored = 0, 0
    for image in range(len(labels)):
        find_owners(
            boxes[image], labels[image], crowds[image], queue,
            anchors, lattices, sizes, lines, rules, reach, overlap, who, now,
        )  # fmt: skip
        for index in range(now[COUNT]):
            anchor = who[index, LIST]
            iou, row, ignore = overlap[anchor, OWNER], who[anchor, OWNER], who[anchor, CROWDED] > 0
            if not (iou > rules.threshold or (rules.inclusive and iou == rules.threshold)):
                ignore, row = ignore or (rules.ignores and row != UNMATCHED), UNMATCHED
            if who[anchor, HOLDER] != UNMATCHED:
                row = who[anchor, HOLDER]
            overlap[anchor, OWNER], overlap[anchor, HOLDER] = rules.zero, rules.force_above
            who[anchor, OWNER], who[anchor, HOLDER] = UNMATCHED, UNMATCHED
            who[anchor, CROWDED], who[anchor, KNOWN] = 0, 0
            at, place = first + image, (first + image) * len(anchors) + anchor
            if row != UNMATCHED:
                touched[matched] = place
                matched += 1
                out_objects[at, anchor], out_labels[at, anchor] = row, labels[image, row]
                encode(boxes[image, row], anchors[anchor], rules, out_deltas[at, anchor])
            elif ignore:
                ignored += 1
                touched[len(touched) - ignored] = place
                out_labels[at, anchor] = IGNORE
    return matched, ignored


def stretch(logs, keys, rules, deltas):
    """Write tw and th from their logarithms."""
    first, second = (rules.th, rules.tw) if rules.swapped else (rules.tw, rules.th)
    for index in range(len(keys)):
        deltas[keys[index], 2] = logs[index, 0] * first
        deltas[keys[index], 3] = logs[index, 1] * second


def clear(keys, labels, deltas, objects):
    """Make anchors background again."""
    for key in keys:
        labels[key], objects[key] = 0, UNMATCHED
        deltas[key] = 0


# --- Detection ----------------------------------------------------------------------------


def largest_of_rows(bits, background_first, sign, turn, least, most):
    """Write the largest number of each row of floats, seen as integers, without the background.

    Floats are ordered as integers are, once all bits but the sign of negative ones are turned.
    Processors compare many integers at a time, but not floats, where NaN would be a special case.
    """
    columns = bits.shape[1]
    for row in range(len(bits)):
        best = least
        if background_first:  # loops with a constant start are vectorised
            for column in range(1, columns):
                best = max(best, bits[row, column] ^ ((bits[row, column] >> sign) & turn))
        else:
            for column in range(columns - 1):
                best = max(best, bits[row, column] ^ ((bits[row, column] >> sign) & turn))
        most[row] = best ^ ((best >> sign) & turn)


def candidates(scores, start, end, floor, rules, rows, columns, keys):
    """Write the candidates of rows `start` to `end`, ties in their order; gives how many."""
    by_label, found = rules.ties == LOWEST_LABEL, 0
    count, classes = end - start, scores.shape[1]
    for one in range(classes if by_label else count):
        for two in range(count if by_label else classes):
            row, column = (start + two, one) if by_label else (start + one, two)
            score, limit = scores[row, column], rules.score_threshold
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
        limit = rules.iou_threshold
        if iou > limit or (rules.suppress_inclusive and iou == limit):
            return True
        at = before[at]
    return False


def visit(images, of_image, anchors, scores, boxes, floors, rules, found):
    """Visit the candidates of some images, highest score first, and write those that are kept.

    Args:
        images: (w,) which images.
        of_image, anchors: (n,) place in `images` and anchor of each row below, in that order.
        scores, boxes: (n, C) and (n, 4).
        floors: (w,) candidates must score more.
        rules: `VisitRules`.
        found: Boxes, scores, labels and anchors of all images, (B, K, ...).

    Returns:
        (w,) whether all slots of the image are filled.
    """
    out_boxes, out_scores, out_labels, out_anchors = found
    slots, groups = out_scores.shape[1], scores.shape[1] if rules.per_class else 1
    full, start = np.zeros(len(images), np.bool_), 0
    size = len(scores) * scores.shape[1]
    rows, columns = np.empty(size, np.int32), np.empty(size, np.int32)
    keys = np.empty(size, scores.dtype)
    for index in range(len(images)):
        image, used, kept, end = images[index], 0, 0, start
        while end < len(of_image) and of_image[end] == index:
            end += 1
        count = candidates(scores, start, end, floors[index], rules, rows, columns, keys)
        start = end
        order = np.argsort(keys[:count], kind="mergesort")
        # The kept boxes of each group are a linked list, the last one first.
        kept_boxes, areas = np.empty((count, 4), boxes.dtype), np.empty(count, boxes.dtype)
        before, last = np.empty(count, np.int32), np.full(groups, -1, np.int32)
        seen, many = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
        for place in order:
            box, column = boxes[rows[place]], columns[place]
            group = column if rules.per_class else 0
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
            out_scores[image, used], out_labels[image, used] = (
                scores[rows[place], column],
                column + 1,
            )
            out_anchors[image, used] = anchors[rows[place]]
            used += 1
            if used == slots:
                full[index] = True
                break
    return full


# --- Compilation --------------------------------------------------------------------------


def compiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel at its first call; under NUMBA_DISABLE_JIT=1 it stays Python."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(kernel, cache=True, **options)
    except RuntimeError:  # there is no folder that a cache can be written to
        return numba.njit(kernel, **options)


for _one in (
    *(side, box_area, quotient, nearest, window, scan, see, mark_crowd, compete, find_owners),
    *(encode, candidates, suppressed),
):
    numba.extending.register_jitable(_one)
for _kernel in (first_bad, match_images, stretch, clear, largest_of_rows, visit):
    globals()[_kernel.__name__] = compiled(_kernel)
