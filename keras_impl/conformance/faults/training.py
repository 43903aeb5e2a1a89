"""Mistakes in losses, mining, and the gradients of the multibox loss."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from keras_impl.conformance.batching import per_image
from keras_impl.conformance.faults.making import (
    IN_SINGLE,
    Function,
    by,
    given,
    gradient,
    loss,
    of,
    plainly,
    then,
)
from reference_numpy import losses, mining, multibox

__all__ = ["FAULTS", "WRITTEN_OUT"]


def of_labels(values: Any, labels: Any) -> Any:
    return np.take_along_axis(values, labels[..., None], axis=-1)[..., 0]


def of_distance(function: Function) -> Function:
    return plainly(lambda predicted, target: function(predicted - target))


def smoothly(below: Function, beyond: Function) -> Function:
    return of_distance(lambda d: np.where(np.abs(d) < 1, below(d), beyond(d)))


def softmax_of(shifted: Any) -> Any:
    powers = np.exp(shifted)
    return powers / powers.sum(axis=-1, keepdims=True)


def entropy_of(right: Any, wanted: Any) -> Any:
    """Compute cross-entropy from probabilities."""
    return -wanted * np.log(right) - (1 - wanted) * np.log(1 - right)


def focal_of(logits: Any, wanted: Any, wrong: Any) -> Any:
    """Compute the focal loss from the probability given to the wrong answer."""
    weight = wanted * 0.25 + (1 - wanted) * 0.75
    return weight * wrong**2 * losses.sigmoid_cross_entropy(logits, wanted)


def background_is_no_column(logits: Any, labels: Any, convention: Any) -> Any:
    truth = losses.one_hot(np.maximum(labels, 0), logits.shape[-1], logits.dtype)
    truth[..., 0] = 0
    found = losses.sigmoid_cross_entropy(logits, truth).sum(axis=-1)
    return np.where(labels < 0, 0, found).astype(logits.dtype)


def mined(
    may: Function = lambda labels: labels == 0,
    order: Function = lambda values: np.argsort(-values, kind="stable"),
    count: Function = lambda labels, ratio: ratio * np.count_nonzero(labels > 0),
) -> Function:
    """Mine one image; each argument replaces one step by a wrong one."""

    def call(values: Any, labels: Any, convention: Any) -> Any:
        some, chosen = np.flatnonzero(may(labels)), np.zeros(labels.shape, bool)
        most = int(max(0, count(labels, convention.loss.negative_ratio)))
        chosen[some[order(values[some])][:most]] = True
        return chosen

    return per_image("mine_hard_negatives", call)


def mined_in_the_batch(values: Any, labels: Any, convention: Any) -> Any:
    everything = mining.mine_hard_negatives(values.ravel(), labels.ravel(), convention)
    return everything.reshape(labels.shape)


def losing(
    divide: Function = multibox.normalisers,
    box_loss: Function = losses.smooth_l1,
    rank: Function = lambda class_loss, box_loss: class_loss,
    in_class: Function = lambda counted, negatives: counted | negatives,
) -> Function:
    """Compute the loss of a batch; each argument replaces one step by a wrong one."""

    def call(deltas: Any, logits: Any, wanted: Any, labels: Any, box: Any, convention: Any) -> Any:
        class_loss = multibox.class_losses(logits, labels, convention)
        boxed = box_loss(deltas, wanted).sum(axis=-1)
        ranked = rank(class_loss, boxed)
        counted, negatives = mining.choose_anchors(ranked, labels, convention, boxes=box)
        with np.errstate(all="ignore"):
            by = 1 / np.asarray(divide(labels, convention), deltas.dtype)
            classes = (np.where(in_class(counted, negatives), class_loss, 0).sum(axis=1) * by).sum()
            places = (np.where(counted, boxed, 0).sum(axis=1) * by).sum()
        total = classes + deltas.dtype.type(convention.loss.box_weight) * places
        return total, classes, places, (labels > 0).sum(), counted, negatives, class_loss

    return call


def positives_of(labels: Any) -> Any:
    return np.full(len(labels), np.count_nonzero(labels > 0), float)


def divided_by_what_counts(labels: Any, convention: Any) -> Any:
    negatives = np.minimum(3 * (labels > 0).sum(axis=1), (labels == 0).sum(axis=1))
    return np.maximum(1, positives_of(labels) + negatives.sum())


def suppressed_do_not_divide(
    deltas: Any, logits: Any, wanted: Any, labels: Any, box: Any, convention: Any
) -> Any:
    found = loss(deltas, logits, wanted, labels, box, convention)
    more = max(1, found[3]) / max(1, np.count_nonzero(found[4]))
    return *(one * deltas.dtype.type(more) for one in found[:3]), *found[3:]


def spoiled(by_deltas: Function | None = None, by_logits: Function | None = None) -> Function:
    """Change the gradients of the multibox loss.

    Args:
        by_deltas: (gradient by the deltas, deltas - targets) → the changed gradient.
        by_logits: (gradient by the logits, labels) → the changed gradient.
    """

    def call(deltas: Any, logits: Any, wanted: Any, labels: Any, box: Any, convention: Any) -> Any:
        heads = deltas, logits, wanted, labels, box
        first, second, *chosen = gradient(*heads, convention=convention)
        if by_deltas is not None:
            first = by_deltas(first, deltas - wanted).astype(deltas.dtype)
        if by_logits is not None:
            second = by_logits(second, labels).astype(logits.dtype)
        return first, second, *chosen

    return call


# The functions above without a mistake. They must pass; otherwise a caught fault proves nothing.
WRITTEN_OUT: list[tuple[str, Function]] = [
    ("mine_hard_negatives", mined()),
    ("multibox_loss", losing()),
    ("multibox_gradient", spoiled()),
]


FAULTS = [
    *of(
        "smooth_l1",
        (
            "squared everywhere",
            "Returns d² / 2 for every difference d.",
            of_distance(lambda d: d * d / 2),
        ),
        (
            "factor missing",
            "Returns d², not d² / 2, for d between −1 and 1.",
            smoothly(lambda d: d * d, lambda d: np.abs(d) - 0.5),
        ),
        (
            "offset missing",
            "Returns abs(d), not abs(d) − 1/2, for d beyond ±1.",
            smoothly(lambda d: d * d / 2, np.abs),
        ),
        (
            "sign",
            "Tests d < 1 instead of abs(d) < 1, so it returns d² / 2 for d ≤ −1.",
            of_distance(lambda d: np.where(d < 1, d * d / 2, d - d.dtype.type(0.5))),
        ),
        IN_SINGLE,
    ),
    *of(
        "softmax",
        (
            "maximum not subtracted",
            "Does not subtract the maximum, so large logits overflow to NaN.",
            plainly(softmax_of),
        ),
        (
            "maximum of all rows",
            "Subtracts one maximum from all rows, so a row of small logits becomes 0 / 0.",
            plainly(lambda logits: softmax_of(logits - logits.max())),
        ),
        (
            "wrong axis",
            "Sums over the anchors, not over the classes.",
            plainly(lambda logits: losses.softmax(logits.T).T),
        ),
        (
            "base 2",
            "Raises 2, not e, to the logits.",
            given(lambda logits: logits * logits.dtype.type(log(2))),
        ),
        IN_SINGLE,
    ),
    *of(
        "softmax_cross_entropy",
        (
            "maximum not subtracted",
            "Does not subtract the maximum, so large logits overflow to infinity.",
            plainly(lambda z, labels: np.log(np.exp(z).sum(axis=-1)) - of_labels(z, labels)),
        ),
        (
            "logarithm of softmax",
            "Takes the logarithm of a softmax, so a probability of 0 gives infinity.",
            plainly(lambda z, labels: -np.log(of_labels(losses.softmax(z), labels))),
        ),
        (
            "epsilon added",
            "Adds 1e-7 to the probability.",
            plainly(
                lambda z, labels: -np.log(of_labels(losses.softmax(z), labels) + z.dtype.type(1e-7))
            ),
        ),
        (
            "columns shifted",
            "Reads column label − 1 for objects.",
            given(lambda z, labels: (z, np.maximum(labels - 1, 0))),
        ),
        (
            "sign",
            "Returns the logarithm of the probability without the minus.",
            then(lambda found: -found),
        ),
        IN_SINGLE,
    ),
    *of(
        "sigmoid",
        ("softmax", "Computes a softmax over the classes.", plainly(losses.softmax)),
        ("sign", "Returns σ(−z).", given(lambda logits: -logits)),
        (
            "digits lost",
            "Returns 1 − σ(−z), which loses the digits of a small σ(z).",
            plainly(lambda logits: 1 - losses.sigmoid(-logits)),
        ),
        (
            "hard sigmoid",
            "Returns z / 6 + 1/2, limited to 0 and 1.",
            plainly(lambda logits: np.clip(logits / 6 + logits.dtype.type(0.5), 0, 1)),
        ),
        IN_SINGLE,
    ),
    *of(
        "sigmoid_cross_entropy",
        (
            "logarithms of sigmoids",
            "Takes logarithms of a sigmoid, so a sigmoid of 0 or 1 gives infinity or NaN.",
            plainly(lambda z, wanted: entropy_of(losses.sigmoid(z), wanted)),
        ),
        (
            "sigmoid limited",
            "Limits the sigmoid to 1e-7 and 1 − 1e-7.",
            plainly(
                lambda z, wanted: entropy_of(
                    np.clip(losses.sigmoid(z), z.dtype.type(1e-7), z.dtype.type(1 - 1e-7)), wanted
                )
            ),
        ),
        (
            "term missing",
            "Leaves out the term (1 − t) log(1 − σ(z)).",
            plainly(lambda z, wanted: wanted * losses.sigmoid_cross_entropy(z, np.ones_like(z))),
        ),
        ("targets inverted", "Uses 1 − t for t.", given(lambda z, wanted: (z, 1 - wanted))),
        (
            "overflow",
            "Computes log(1 + exp(z)) − t z, which is infinite for a large z.",
            plainly(lambda z, wanted: np.log1p(np.exp(z)) - wanted * z),
        ),
        IN_SINGLE,
    ),
    *of(
        "focal",
        (
            "alpha inverted",
            "Weights targets 0 by alpha = .25 and targets 1 by .75.",
            plainly(lambda z, wanted: losses.focal(z, wanted, 0.75)),
        ),
        (
            "gamma forgotten",
            "Uses gamma = 0, so confident correct predictions keep their full loss.",
            plainly(lambda z, wanted: losses.focal(z, wanted, gamma=0.0)),
        ),
        (
            "p for 1 − p",
            "Multiplies by p², not by (1 − p)², p the probability of the target.",
            plainly(lambda z, wanted: focal_of(z, wanted, losses.sigmoid(z * (2 * wanted - 1)))),
        ),
        (
            "digits lost",
            "Computes 1 − p by a subtraction, which loses digits where p is almost 1.",
            plainly(
                lambda z, wanted: focal_of(z, wanted, 1 - losses.sigmoid(z * (2 * wanted - 1)))
            ),
        ),
        IN_SINGLE,
    ),
    *of(
        "class_losses",
        (
            "ignored as background",
            "Counts label −1 as background.",
            given(lambda z, labels: (z, np.maximum(labels, 0))),
        ),
        (
            "columns shifted",
            "Reads column label − 1 for objects.",
            given(lambda z, labels: (z, np.where(labels > 0, labels - 1, labels))),
        ),
        (
            "background in column 0",
            "Claims that background is last but reads it from column 0.",
            by(background="first"),
            {"background": "last"},
        ),
        (
            "mean for sum",
            "Claims a sigmoid loss but averages it over the columns instead of summing.",
            then(lambda found: found / found.dtype.type(11)),
            {"class_loss": "sigmoid"},
        ),
        (
            "no background target",
            "Claims a sigmoid loss but sets no target of 1 for background.",
            background_is_no_column,
            {"class_loss": "sigmoid"},
        ),
        (
            "alpha and gamma of the paper",
            "Claims alpha .4 and gamma 1.5 for the focal loss but uses .25 and 2.",
            by(focal_alpha=0.25, focal_gamma=2.0),
            {"class_loss": "focal", "focal_alpha": 0.4, "focal_gamma": 1.5},
        ),
    ),
    *of(
        "mine_hard_negatives",
        (
            "over the batch",
            "Mines the hardest negatives of the whole batch, not of each image.",
            mined_in_the_batch,
        ),
        (
            "ties to the last",
            "Mines the highest anchor index among equal losses.",
            mined(order=lambda values: values.size - 1 - np.argsort(-values[::-1], kind="stable")),
        ),
        (
            "easiest first",
            "Mines the negatives with the smallest losses.",
            mined(order=lambda values: np.argsort(values, kind="stable")),
        ),
        (
            "positives too",
            "Mines positives as well as negatives.",
            mined(may=lambda labels: labels >= 0),
        ),
        (
            "ignored as negatives",
            "Mines ignored anchors (label −1) too.",
            mined(may=lambda labels: labels <= 0),
        ),
        (
            "labels summed",
            "Counts a positive of label 5 five times.",
            mined(count=lambda labels, ratio: ratio * labels[labels > 0].sum()),
        ),
        (
            "one too few",
            "Mines one negative too few.",
            mined(count=lambda labels, ratio: ratio * np.count_nonzero(labels > 0) - 1),
        ),
        ("at least one", "Mines one negative in an image without objects.", by(min_negatives=1)),
        ("rounded up", "Rounds half a negative up instead of down.", by(rounding="up")),
    ),
    *of(
        "multibox_loss",
        (
            "mining over the batch",
            "Mines the hardest negatives of the whole batch, not of each image.",
            by(mining="batch"),
        ),
        (
            "normaliser off by batch size",
            "Divides by the mean number of positives per image.",
            by(normaliser="mean"),
        ),
        (
            "normaliser per image",
            "Divides the loss of each image by its own positives, then averages.",
            by(normaliser="image"),
        ),
        (
            "0 / 0",
            "Returns NaN for a batch without objects.",
            losing(divide=lambda labels, convention: positives_of(labels)),
        ),
        (
            "normaliser with negatives",
            "Divides by the positives plus the mined negatives.",
            losing(divide=divided_by_what_counts),
        ),
        ("background has a box", "Adds the box loss of background anchors.", by(box_over="all")),
        ("weight forgotten", "Uses 1 as the weight of the box loss.", by(box_weight=1.0)),
        (
            "absolute box loss",
            "Uses abs(d) instead of smooth L1.",
            losing(box_loss=lambda deltas, wanted: np.abs(deltas - wanted)),
        ),
        (
            "mean for sum",
            "Averages the box loss over the four deltas instead of summing.",
            losing(box_loss=lambda deltas, wanted: losses.smooth_l1(deltas, wanted) / 4),
        ),
        (
            "mined by both losses",
            "Ranks negatives by class loss plus box loss.",
            losing(rank=lambda class_loss, box_loss: class_loss + box_loss),
        ),
        (
            "no class loss of positives",
            "Sums the class loss of negatives only.",
            losing(in_class=lambda counted, negatives: negatives),
        ),
        (
            "ignored as background",
            "Counts label −1 as background.",
            given(lambda *heads: (*heads[:3], np.maximum(heads[3], 0), heads[4])),
        ),
        (
            "normaliser after suppression",
            "Claims suppression before mining but divides by the remaining positives, not by all.",
            suppressed_do_not_divide,
            {"mining_nms": 0.3},
        ),
    ),
    *of(
        "multibox_gradient",
        (
            "sign",
            "Returns the negative gradient.",
            spoiled(lambda by_deltas, distance: -by_deltas, lambda by_logits, labels: -by_logits),
        ),
        (
            "gradient of the square",
            "Returns d for d beyond ±1, as for a squared loss.",
            spoiled(lambda by_deltas, distance: by_deltas * np.maximum(1, np.abs(distance))),
        ),
        (
            "true column only",
            "Returns 0 for all columns but the true one.",
            spoiled(None, lambda by_logits, labels: np.minimum(by_logits, 0)),
        ),
        (
            "no gradient of negatives",
            "Returns 0 for the class gradient of mined negatives.",
            spoiled(None, lambda by_logits, labels: by_logits * (labels > 0)[..., None]),
        ),
        (
            "normaliser off by batch size",
            "Divides by the mean number of positives per image.",
            by(normaliser="mean"),
        ),
        ("weight forgotten", "Uses 1 as the weight of the box loss.", by(box_weight=1.0)),
        (
            "background in column 0",
            "Claims that background is last but returns its gradient in column 0.",
            spoiled(None, lambda by_logits, labels: np.roll(by_logits, 1, axis=-1)),
            {"background": "last"},
        ),
    ),
]
