"""One comparator per operation, in NumPy alone.

A judge takes the inputs, the outputs of an implementation and the convention that it claims to
follow. It counts the wrong cases and accepts no result that it cannot derive from the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_impl._common.arrays import Array, Arrays
from keras_impl.conformance.budgets import BUDGETS, budget
from keras_impl.conformance.scales import (
    class_gradient_scale,
    class_scale,
    encode_scale,
    smooth_l1_gradient_scale,
    smooth_l1_scale,
)
from keras_impl.conformance.verdicts import WIDER, Judge, Verdict, errors
from reference_numpy import (
    boxes,
    coding,
    detection,
    gradients,
    losses,
    matching,
    mining,
    multibox,
    suppression,
    targets,
)
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import IGNORE, IGNORED, Convention

__all__ = [
    "judge_anchors",
    "judge_floats",
    "judge_match",
    "judge_mining",
    "judge_multibox",
    "judge_multibox_gradient",
    "judge_nms",
    "judge_select",
    "judge_soft_nms",
    "judge_targets",
    "same_detections",
]


def judge_floats(
    name: str,
    reference: Callable[..., Any],
    scale: Callable[..., Any],
    wide: Sequence[int] = (0, 1),
) -> Judge:
    """Make the judge of an operation with one float output.

    Args:
        name: The operation, which determines the budget.
        reference: (inputs, convention=) → the correct output.
        scale: (inputs, convention=) → its largest intermediate.
        wide: Indices of the inputs that are floats, to be converted to the wider dtype.
    """

    def judge(
        inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
    ) -> Verdict:
        precise = [
            value.astype(WIDER[dtype]) if index in wide else value
            for index, value in enumerate(inputs)
        ]
        wanted = np.asarray(reference(*precise, convention=convention))
        unit = scale(*precise, convention=convention)
        got = np.asarray(outputs[0])
        if got.shape != wanted.shape or got.dtype != np.dtype(dtype):
            return Verdict(len(wanted), mismatches=len(wanted), error=np.inf)
        found = errors(got, wanted, np.broadcast_to(unit, wanted.shape), dtype)
        rows = found.reshape(len(got), -1).max(axis=1)
        wrong = int(np.count_nonzero(rows > budget(name, convention).eps))
        return Verdict(len(rows), wrong, 0, float(rows.max()))

    return judge


def judge_anchors(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare anchors with the reference: equal number, order and bits."""
    (got,) = outputs
    wanted = make_anchors(convention.layout, dtype)
    return Verdict(1, int(not (got.dtype == wanted.dtype and np.array_equal(got, wanted))))


def _witnessed(iou: Array, answer: Array, eps: float, convention: Convention) -> bool:
    """Return whether IoU within the rounding budget makes the reference return `answer`.

    The IoU of the answer's pairs is raised as far as the budget allows, that of all others lowered.
    If any IoU within the budget leads to the answer, this one does. For an ignored anchor all pairs
    are raised.
    """
    margin = budget("pairwise_iou", convention).eps * eps * iou
    chosen = answer[None, :] == np.arange(len(iou))[:, None]
    chosen |= answer[None, :] == IGNORED
    favourable = np.clip(np.where(chosen, iou + margin, iou - margin), 0, 1)
    return bool(np.array_equal(matching.match(favourable, convention), answer))


def judge_match(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare the object of each anchor with the reference."""
    batch, labels, anchors = inputs
    (got,) = outputs
    wrong = excused = 0
    for image, answer in enumerate(got):
        rows = np.flatnonzero(labels[image] > 0)
        corners = boxes.cxcywh_to_xyxy(anchors)
        iou = boxes.pairwise_iou(batch[image][rows], corners, convention)
        found = matching.match(iou, convention)
        wanted = np.where(found < 0, found, np.append(rows, -1)[found])
        if np.array_equal(answer, wanted):
            continue
        # Convert rows of the padded list to objects. A padding row is no object.
        found = np.searchsorted(rows, np.clip(answer, 0, None))
        found = np.where(answer < 0, answer, np.minimum(found, len(rows)))
        real = np.all((answer < 0) | np.isin(answer, rows))
        eps = float(np.finfo(dtype).eps)
        if excuses and real and _witnessed(iou.astype(np.float64), found, eps, convention):
            excused += 1
        else:
            wrong += 1
    return Verdict(len(got), wrong, excused)


def judge_targets(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare the objects of anchors as `judge_match` does, and the labels and deltas with them.

    Inputs are boxes, labels, anchors and, optionally, crowds. An implementation may return None
    for the objects: then labels and deltas must be those of the reference's objects.
    """
    batch, labels, anchors, *crowds = inputs
    got_labels, deltas, told = outputs
    wrong = excused = 0
    worst = 0.0
    for image in range(len(batch)):
        crowd = crowds[0][image] if crowds else np.zeros(labels[image].shape, np.bool_)
        wanted = targets.assign_targets(
            batch[image], labels[image], anchors, convention, crowds=crowd
        )
        own = wanted.objects if told is None else told[image]
        positive = own >= 0
        objects = labels[image] * ~crowd  # label 0 or less: a crowd or padding
        if not np.isin(own[positive], np.flatnonzero(objects > 0)).all():
            wrong += 1
            continue
        same = np.array_equal(own, wanted.objects)
        # The extra row keeps the index valid for a list without rows.
        of_object = np.append(labels[image], 0)[np.maximum(own, -1)]
        label = np.where(positive, of_object, wanted.labels)
        same_labels = np.array_equal(got_labels[image], label)
        code = np.zeros(deltas[image].shape, WIDER[dtype])
        scale = np.zeros_like(code)
        if positive.any():
            box = batch[image][own[positive]].astype(WIDER[dtype])
            anchor = anchors[positive].astype(WIDER[dtype])
            code[positive] = coding.encode(box, anchor, convention)
            scale[positive] = encode_scale(box, anchor, convention)
        error = float(errors(deltas[image], code, scale, dtype).max(initial=0))
        worst = max(worst, error)
        sensible = np.array_equal(got_labels[image][positive], label[positive])
        sensible &= bool(np.isin(got_labels[image][~positive], (0, IGNORE)).all())
        if error > budget("assign_targets", convention).eps or not sensible:
            wrong += 1
        elif same and same_labels:
            continue
        elif excuses and not crowd.any():
            answer = np.where(positive, own, np.where(got_labels[image] < 0, IGNORED, -1))
            part = batch[[image]], labels[[image]], anchors
            verdict = judge_match(part, (answer[None],), dtype, True, convention)
            wrong, excused = wrong + verdict.mismatches, excused + verdict.excused
        else:
            wrong += 1
    return Verdict(len(batch), wrong, excused, worst)


def judge_mining(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare the mined anchors of each image with the reference."""
    (got,) = outputs
    wrong = sum(
        not np.array_equal(mask, mining.mine_hard_negatives(loss, label, convention))
        for mask, loss, label in zip(got, *inputs, strict=True)
    )
    return Verdict(len(got), wrong)


def _plain(convention: Convention) -> bool:
    """Return whether the witnesses below support these rules of suppression."""
    rules = convention.detection
    return (rules.ties, rules.eta, rules.suppress_in, rules.soft_sigma) == (
        "lowest anchor",
        1.0,
        "class",
        None,
    )


def _nms_witnessed(
    box: Array, score: Array, answer: Array, eps: float, convention: Convention
) -> bool:
    """Return whether IoU within the rounding budget explains the kept boxes `answer`.

    A pair whose IoU is within the budget of the threshold may go either way.
    """
    if not _plain(convention):
        return False
    threshold = convention.detection.iou_threshold
    waiting = list(np.argsort(-score, kind="stable"))
    kept = []
    margin = budget("pairwise_iou", convention).eps * eps
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        overlap = boxes.pairwise_iou(box[[best]], box, convention)[0].astype(np.float64)
        waiting = [
            one
            for one in waiting
            if overlap[one] <= threshold - margin
            or (overlap[one] <= threshold + margin and one in answer)
        ]
    return bool(np.array_equal(kept, answer))


def judge_nms(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare the kept boxes of each image, in order; a score of -inf marks an empty slot."""
    (got,) = outputs
    wrong = excused = 0
    for answer, box, score in zip(got, *inputs, strict=True):
        real = np.isfinite(score)
        wanted = suppression.nms(box[real], score[real], convention)
        used = answer[answer >= 0]
        ends = np.array_equal(answer[: len(used)], used)
        if ends and np.array_equal(used, wanted):
            continue
        eps = float(np.finfo(dtype).eps)
        if excuses and ends and _nms_witnessed(box[real], score[real], used, eps, convention):
            excused += 1
        else:
            wrong += 1
    return Verdict(len(got), wrong, excused)


def judge_soft_nms(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare kept boxes and lowered scores; near-ties may swap, since scores come from exp."""
    wrong = excused = 0
    worst = 0.0
    allowed = budget("soft_nms", convention).eps
    sigma = convention.detection.soft_sigma
    assert sigma is not None  # `OPERATIONS` compares only conventions with a sigma
    for answer, lowered, box, score in zip(*outputs, *inputs, strict=True):
        real = np.isfinite(score)
        wanted, _ = suppression.soft_nms(box[real], score[real], convention)
        used = answer[answer >= 0]
        precise = box[real].astype(WIDER[dtype])
        if not ((used < len(precise)).all() and len(set(used.tolist())) == len(used)):
            wrong += 1
            continue
        # Compute the scores that this order of kept boxes must give, and their errors.
        overlap = boxes.pairwise_iou(precise[used], precise[used], convention)
        exponent = np.tril(overlap, -1) ** 2 / (2 * sigma)
        true = score[real][used].astype(WIDER[dtype]) * np.exp(-exponent.sum(axis=1))
        factors = np.count_nonzero(exponent, axis=1)
        scale = true * (1 + factors + 8 * exponent.sum(axis=1))
        error = float(errors(lowered[: len(used)], true, scale, dtype).max(initial=0))
        worst = max(worst, error)
        descending = bool((np.diff(lowered[: len(used)]) <= 0).all())
        if error > allowed or not descending or (answer[len(used) :] != -1).any():
            wrong += 1
        elif not np.array_equal(used, wanted):
            near = _nearly_sorted(used, wanted, true, scale * allowed * np.finfo(dtype).eps)
            excused, wrong = excused + near, wrong + (not near)
    return Verdict(len(outputs[0]), wrong, excused, worst)


def _nearly_sorted(used: Array, wanted: Array, true: Array, margin: Array) -> bool:
    """Return whether two orders of the same boxes differ only among scores within the margin."""
    if sorted(used.tolist()) != sorted(wanted.tolist()):
        return False
    place = {box: index for index, box in enumerate(used.tolist())}
    order = [place[box] for box in wanted.tolist()]
    return all(
        abs(true[index] - true[other]) <= margin[index] + margin[other]
        for index, other in enumerate(order)
    )


def same_detections(found: detection.Detections, got: Sequence[Array]) -> bool:
    """Return whether padded detections equal these bit for bit, with all other slots empty."""
    box, score, label, anchor = got
    used = len(found.scores)
    return bool(
        np.array_equal(box[:used], found.boxes)
        and np.array_equal(score[:used], found.scores)
        and np.array_equal(label[:used], found.labels)
        and (anchor is None or np.array_equal(anchor[:used], found.anchors))
        and (anchor is None or (anchor[used:] == -1).all())
        and (label[used:] == -1).all()
        and not box[used:].any()
        and not score[used:].any()
    )


def _select_witnessed(
    box: Array, score: Array, got: Sequence[Array], eps: float, convention: Convention
) -> bool:
    """Return whether IoU within the rounding budget explains a selection."""
    rules = convention.detection
    label, anchor = got[2][got[2] > 0], got[3][got[2] > 0]
    if not _plain(convention) or len(label) == rules.max_detections:
        return False  # all slots are full, and the detections cut off are unknown
    if rules.clip == "before":
        box = boxes.clip(box)
    kept: list[tuple[float, int, int]] = []
    for column in range(score.shape[1]):
        above = score[:, column] > score.dtype.type(rules.score_threshold)
        candidates = np.flatnonzero(above)
        limit = rules.candidates_per_class
        best = detection.top_k(
            score[candidates, column], len(candidates) if limit is None else limit
        )
        candidates = candidates[best]
        mine = anchor[label == column + 1]
        order = np.flatnonzero(np.isin(candidates, mine))
        if not _nms_witnessed(box[candidates], score[candidates, column], order, eps, convention):
            return False
        kept += [(-float(score[one, column]), int(one), column + 1) for one in mine]
    return [(one, label_) for _, one, label_ in sorted(kept)] == list(
        zip(anchor.tolist(), label.tolist(), strict=True)
    )


def judge_select(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare selected detections bit for bit: boxes and scores are copies of the inputs."""
    wrong = excused = 0
    anchors = [None] * len(outputs[0]) if outputs[3] is None else outputs[3]
    for box, score, *got in zip(*inputs, *outputs[:3], anchors, strict=True):
        if same_detections(detection.select(box, score, convention), got):
            continue
        eps = float(np.finfo(dtype).eps)
        if excuses and _select_witnessed(box, score, got, eps, convention):
            excused += 1
        else:
            wrong += 1
    return Verdict(len(outputs[0]), wrong, excused)


def _chosen_well(
    chosen: Sequence[Array],
    class_losses: Array,
    labels: Array,
    logits: Array,
    box: Array,
    convention: Convention,
) -> bool:
    """Return whether the class losses are within budget and lead to the chosen anchors."""
    if np.isnan(class_losses).any():
        return False
    dtype = class_losses.dtype.name
    true = multibox.class_losses(logits, labels, convention)
    scale = class_scale(logits, labels, convention)
    within = errors(class_losses, true, scale, dtype) <= budget("class_losses", convention).eps
    wanted = mining.choose_anchors(class_losses, labels, convention, boxes=box)
    return bool(within.all()) and all(map(np.array_equal, chosen, wanted))


def judge_multibox(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare the sums with the reference, and the chosen anchors with the class losses.

    Outputs are the parts of `MultiBox` and the class losses of the anchors. The class losses come
    from exp and log, so the chosen anchors must be those of the reference given these losses. An
    implementation may return None for a part: then its sums must be those of the reference's
    anchors.
    """
    *floats, labels, box = inputs
    deltas, logits, wanted = (value.astype(WIDER[dtype]) for value in floats)
    total, class_loss, box_loss, positives, counted, negatives, class_losses = outputs
    reference = multibox.multibox_loss(deltas, logits, wanted, labels, convention, boxes=box)
    told = counted is not None and negatives is not None and class_losses is not None
    if not told:
        counted, negatives = reference.counted, reference.negatives
    divisors = multibox.normalisers(labels, convention)[:, None]
    in_box = counted if convention.loss.box_over == "positives" else labels != IGNORE
    box_terms = np.where(in_box, losses.smooth_l1(deltas, wanted).sum(axis=-1), 0) / divisors
    box_scale = np.where(in_box, smooth_l1_scale(deltas, wanted).sum(axis=-1), 0) / divisors
    in_class = counted | negatives
    # Sum over the anchors that were mined here; a near-tie exchanges almost equal losses.
    class_terms = multibox.class_losses(logits, labels, convention) * in_class / divisors
    units = class_scale(logits, labels, convention) * in_class / divisors
    weight = convention.loss.box_weight
    worst = max(
        float(errors(np.asarray(got), np.asarray(true), np.asarray(unit), dtype))
        for got, true, unit in (
            (class_loss, class_terms.sum(), units.sum()),
            (box_loss, box_terms.sum(), box_scale.sum()),
            (
                total,
                class_terms.sum() + weight * box_terms.sum(),
                units.sum() + weight * box_scale.sum(),
            ),
        )
        if got is not None
    )
    right = positives is None or int(positives) == reference.positives
    if told:
        chosen = (counted, negatives)
        right &= _chosen_well(chosen, class_losses, labels, logits, box, convention)
    if not (right and worst <= budget("multibox_loss", convention).eps):
        return Verdict(1, 1, 0, worst)
    return Verdict(1, 0, int(not np.array_equal(negatives, reference.negatives)), worst)


def judge_multibox_gradient(
    inputs: Arrays, outputs: Arrays, dtype: str, excuses: bool, convention: Convention
) -> Verdict:
    """Compare the chosen anchors as `judge_multibox` does; if they agree, the gradients."""
    *floats, labels, box = inputs
    deltas, logits, wanted = (value.astype(WIDER[dtype]) for value in floats)
    by_deltas, by_logits, counted, negatives, class_losses = outputs
    reference = multibox.multibox_loss(deltas, logits, wanted, labels, convention, boxes=box)
    if counted is not None:
        chosen = (counted, negatives)
        if not _chosen_well(chosen, class_losses, labels, logits, box, convention):
            return Verdict(1, 1)
        if not np.array_equal(negatives, reference.negatives):
            return Verdict(1, 0, 1)
    true = gradients.multibox_gradient(deltas, logits, wanted, labels, convention, boxes=box)
    divisors = multibox.normalisers(labels, convention)[:, None, None]
    # Anchors that do not count must have a gradient of exactly 0.
    everywhere = convention.loss.box_over == "all"
    in_box = (labels != IGNORE if everywhere else reference.counted)[..., None]
    in_class = (reference.counted | reference.negatives)[..., None]
    box_scale = np.where(in_box, smooth_l1_gradient_scale(deltas, wanted), 0) / divisors
    box_scale = box_scale * convention.loss.box_weight
    unit = np.where(in_class, class_gradient_scale(logits, labels, convention), 0) / divisors
    boxes_error = float(errors(by_deltas, true[0], box_scale, dtype).max(initial=0))
    class_error = float(errors(by_logits, true[1], unit, dtype).max(initial=0))
    wrong = class_error > budget("multibox_gradient", convention).eps
    wrong |= boxes_error > BUDGETS["multibox_gradient boxes"].eps
    return Verdict(1, int(wrong), 0, max(boxes_error, class_error))
