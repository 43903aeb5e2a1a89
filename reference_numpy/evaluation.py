"""Evaluation: average precision (AP) by the rules of PASCAL VOC and of COCO.

AP sums up the precision and the recall of a detector in one number per class. Detections of a class
are visited from the highest score down, over all images. A detection that finds a new object is a
hit, any other is a false positive. The two benchmarks differ:

    claimed object      VOC: the object with the largest IoU, found before or not; ties: the first.
                        COCO: the object with the largest IoU not found before; ties: the last.
    IoU of a hit        VOC: .5 or more. COCO: .50, .55, ... .95 or more; AP is the mean.
    detections          VOC: all. COCO: the best 100 of each class in each image.

Sources: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, 4.2;
VOCevaldet.m and VOCap.m of its devkit (pixels are inclusive there, boxes half-open here; its Python
port voc_eval.py wants IoU > .5); cocodataset.org/#detection-eval; pycocotools/cocoeval.py (the page
says 100 per image). VOC's difficult objects and COCO's crowds are not supported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Literal, NamedTuple, get_args

import bottleneck
import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference_numpy import checks
from reference_numpy._typing import Floats
from reference_numpy.boxes import _iou, check_boxes
from reference_numpy.checks import one_of
from reference_numpy.conventions import CANONICAL, PADDING

__all__ = ["Evaluation", "average_precision", "evaluate", "match_detections"]

Rule = Literal["coco", "voc"]
Method = Literal["voc07", "all", "coco"]

# COCO's are the floats of pycocotools, to agree at the edges: RECALLS["coco"][70] is slightly above
# .7, so a recall of 7/10 does not reach it.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = {"voc07": np.arange(11) / 10, "coco": np.linspace(0, 1, 101)}
LABEL, SCORE = 4, 5  # columns after the box in `_matrices`


class Evaluation(NamedTuple):
    """Average precisions. A class without objects is NaN and excluded from every mean.

    Attributes:
        map: Mean of `per_class`.
        ap50, ap75: Means over the classes at IoU .5 and .75.
        per_class: (C,) AP of labels 1 to C: the column means of `table` for COCO, its first row for
            VOC.
        table: (10, C) AP at IoU .50, .55, ... .95.
    """

    map: float
    ap50: float
    ap75: float
    per_class: Floats
    table: Floats


def match_detections(iou: Floats, threshold: float, rule: Rule = "coco") -> NDArray[np.int64]:
    """Match the detections of one class in one image to objects: (D,) index, or -1.

    Args:
        iou: (D, G) IoU of the detections, best score first, with the objects.
        threshold: Smallest IoU of a hit, in (0, 1]; compared in the dtype of `iou`.
        rule: "coco" or "voc", which decides the object that a detection claims.

    Example:
        Both detections overlap object 0 most. COCO matches the second one to object 1.

        >>> iou = np.array([[0.9, 0.0], [0.8, 0.6]])
        >>> match_detections(iou, 0.5, "coco"), match_detections(iou, 0.5, "voc")
        (array([0, 1]), array([ 0, -1]))
    """
    checks.check_floats(iou, "iou", "D", "G")
    checks.check_each(iou, "iou", (iou >= 0) & (iou <= 1), "a number in [0, 1]")
    checks.check_number(threshold, "threshold", 0, 1, open_below=True)
    one_of("rule", rule, *get_args(Rule))
    return _match_detections(iou, threshold, rule)


def _match_detections(iou: Floats, threshold: float, rule: Rule) -> NDArray[np.int64]:
    found, free = np.full(len(iou), -1), np.ones(iou.shape[1], dtype=bool)
    enough = iou >= iou.dtype.type(threshold)
    for detection in np.flatnonzero(enough.any(axis=1)):
        if rule == "voc":  # the object with the largest IoU, found before or not; ties: the first
            claim = iou[detection].argmax()
        else:  # the largest IoU not found before; ties: the last, as in pycocotools
            overlap = np.where(free, iou[detection], -1)
            claim = free.size - 1 - overlap[::-1].argmax()
        if free[claim] and enough[detection, claim]:
            found[detection], free[claim] = claim, False
    return found


def average_precision(hits: ArrayLike, objects: int, method: Method = "coco") -> float:
    """Compute the average precision (AP) of one class, from 0 to 1.

    The precision at recall r is the best precision at any recall of r or more, and 0 beyond the end
    of the curve. AP is its mean at r = 0, .1, ... 1 for "voc07" (VOC until 2009), its mean at 0,
    .01, ... 1 for "coco", and its integral over r for "all" (VOC from 2010). Without detections AP
    is 0.

    Args:
        hits: (D,) whether each detection is a hit, best score first.
        objects: Number of objects: at least 1, and at least the number of hits.
        method: "voc07", "all" or "coco".

    Example:
        The precision is 1 up to recall 1/2, then 2/3: AP is (6 + 5 * 2/3) / 11 and (1 + 2/3) / 2.

        >>> [round(average_precision([1, 0, 1], 2, method), 4) for method in ("voc07", "all")]
        [0.8485, 0.8333]
    """
    flags = checks.read_floats(hits, "hits")
    if flags.ndim != 1 or not np.isin(flags, (0, 1)).all():
        raise ValueError(f"hits: expected (D,) booleans. Received: {hits!r}")
    found = np.cumsum(flags.astype(int))
    if not isinstance(objects, Integral) or objects < max(1, found.max(initial=0)):
        raise ValueError(
            f"objects: expected 1 or more, and no fewer than hits. Received: {objects}"
        )
    one_of("method", method, *get_args(Method))
    return _average_precision(found, objects, method)


def _average_precision(found: NDArray[np.int64], objects: int, method: Method) -> float:
    """Compute AP from the number of objects found after each detection."""
    precision, recall = found / np.arange(1, found.size + 1), found / objects
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    if method == "all":
        return float(np.diff(recall, prepend=0) @ best_beyond)
    return float(np.append(best_beyond, 0)[np.searchsorted(recall, RECALLS[method])].mean())


def evaluate(
    truth_boxes: Sequence[ArrayLike],
    truth_labels: Sequence[ArrayLike],
    boxes: Sequence[ArrayLike],
    labels: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    num_classes: int,
    *,
    method: Method = "coco",
) -> Evaluation:
    """Evaluate the detections of a set of images against their ground truth.

    Each list has one entry per image. Rows labelled -1 are padding. IoU is computed in float64.

    Args:
        truth_boxes: (N, 4) xyxy, in any unit.
        truth_labels: (N,) from 1 to `num_classes`.
        boxes: (D, 4) xyxy, in the same unit; a box without area is never a hit.
        labels: (D,) from 1 to `num_classes`.
        scores: (D,). Equal scores are visited in the order given.
        num_classes: Number of classes, without background.
        method: "voc07", "all" or "coco".

    Raises:
        ValueError: No image has an object, or an entry is not as above; the message has its row.

    Example:
        The higher-scoring detection has IoU 3/4. It is a hit at .50 to .75, six thresholds of ten.

        >>> truth, found = [[0.0, 0.0, 1.0, 1.0]], [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 0.75]]
        >>> result = evaluate([truth], [[1]], [found], [[1, 1]], [[0.8, 0.9]], num_classes=2)
        >>> round(result.map, 9), result.ap75, result.per_class.round(9)
        (0.6, 1.0, array([0.6, nan]))
    """
    checks.check_counts(1, num_classes=num_classes)
    one_of("method", method, *get_args(Method))
    checks.check_lengths(
        truth_boxes=truth_boxes,
        truth_labels=truth_labels,
        boxes=boxes,
        labels=labels,
        scores=scores,
    )
    truth = list(_matrices("truth_boxes", num_classes, truth_boxes, truth_labels))
    found = list(_matrices("boxes", num_classes, boxes, labels, scores))

    table = np.full((len(THRESHOLDS), num_classes), np.nan)
    for column in range(num_classes):
        objects = [rows[rows[:, LABEL] == column + 1, :4] for rows in truth]
        detections = [_best(rows[rows[:, LABEL] == column + 1], method) for rows in found]
        count = sum(map(len, objects))
        if count:
            hits = _hits(objects, detections, method)
            table[:, column] = [_average_precision(np.cumsum(row), count, method) for row in hits]
    if np.isnan(table).all():
        raise ValueError(f"truth_labels: expected an object. Received: {len(truth)} empty images")
    per_class = (table if method == "coco" else table[:1]).mean(axis=0)
    mean, ap50, ap75 = (float(bottleneck.nanmean(row)) for row in (per_class, table[0], table[5]))
    return Evaluation(mean, ap50, ap75, per_class, table)


def _matrices(name: str, num_classes: int, *lists: Sequence[ArrayLike]) -> Iterator[Floats]:
    """Yield box, label and (of detections) score of each image as one checked float64 matrix."""
    for i, entries in enumerate(zip(*lists, strict=True)):
        box, *columns = (checks.read_floats(entry, f"{name}[{i}]") for entry in entries)
        box = box if box.size else box.reshape(-1, 4)
        shapes = [box.shape, *(column.shape for column in columns)]
        if shapes != [(len(box), 4), *[(len(box),)] * len(columns)]:
            raise ValueError(f"{name}[{i}]: expected shapes (N, 4), (N,) ... Received: {shapes}")
        rows = np.column_stack([box, *columns])
        real = rows[:, LABEL] != PADDING
        fine = np.isin(rows[:, LABEL], np.arange(num_classes) + 1) & np.isfinite(rows).all(axis=1)
        expected = f"finite corners, a label from 1 to {num_classes} or -1 and a finite score"
        checks.check_each(rows, f"{name}[{i}]", fine | ~real, expected)
        if len(columns) == 1:
            check_boxes(np.where(real[:, None], box, [0, 0, 1, 1]), f"{name}[{i}]")
        yield rows


def _best(rows: Floats, method: Method) -> Floats:
    """Sort the detections of one class in one image, best score first; COCO keeps 100."""
    order = np.argsort(-rows[:, SCORE], kind="stable")
    return rows[order[:100]] if method == "coco" else rows[order]


def _hits(objects: list[Floats], detections: list[Floats], method: Method) -> NDArray[np.bool_]:
    """Tell which detections of one class are hits: (10, D), best score of all images first."""
    rule: Rule = "coco" if method == "coco" else "voc"
    hits = [np.zeros((len(THRESHOLDS), 0), dtype=bool)]
    for there, seen in zip(objects, detections, strict=True):
        if len(seen):
            iou = _iou(seen[:, :4], there, CANONICAL.overlap)
            hits.append(np.array([_match_detections(iou, t, rule) >= 0 for t in THRESHOLDS]))
    scores = np.concatenate([seen[:, SCORE] for seen in detections])
    order = np.argsort(-scores, kind="stable")
    return np.concatenate(hits, axis=1)[:, order]
