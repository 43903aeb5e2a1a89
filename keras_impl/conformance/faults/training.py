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
    """Cross-entropy from probabilities."""
    return -wanted * np.log(right) - (1 - wanted) * np.log(1 - right)


def focal_of(logits: Any, wanted: Any, wrong: Any) -> Any:
    """Focal loss from the probability of what is wrong."""
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
    """Mining of one image, with parts to be had wrong."""

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
    """The loss of a batch, with parts to be had wrong."""

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
    """Gradients of which one is changed: (gradient, distances, labels), or (gradient, labels)."""

    def call(deltas: Any, logits: Any, wanted: Any, labels: Any, box: Any, convention: Any) -> Any:
        heads = deltas, logits, wanted, labels, box
        first, second, *chosen = gradient(*heads, convention=convention)
        if by_deltas is not None:
            first = by_deltas(first, deltas - wanted).astype(deltas.dtype)
        if by_logits is not None:
            second = by_logits(second, labels).astype(logits.dtype)
        return first, second, *chosen

    return call


# Written out above, with no part wrong: it has to pass, or its faults would prove nothing.
WRITTEN_OUT: list[tuple[str, Function]] = [
    ("mine_hard_negatives", mined()),
    ("multibox_loss", losing()),
    ("multibox_gradient", spoiled()),
]


FAULTS = [
    *of(
        "smooth_l1",
        ("squared", "Is d² / 2 everywhere.", of_distance(lambda d: d * d / 2)),
        (
            "a half is missing",
            "Is d² below 1.",
            smoothly(lambda d: d * d, lambda d: np.abs(d) - 0.5),
        ),
        (
            "the other half is missing",
            "Is the distance beyond 1.",
            smoothly(lambda d: d * d / 2, np.abs),
        ),
        (
            "sign",
            "Is d − 1/2 beyond 1, below 0 too.",
            of_distance(lambda d: np.where(d < 1, d * d / 2, d - d.dtype.type(0.5))),
        ),
        IN_SINGLE,
    ),
    *of(
        "softmax",
        ("the largest is not taken off", "Overflows to NaN.", plainly(softmax_of)),
        (
            "the largest of all rows",
            "Takes one number off all rows, so that a row of small logits is 0 / 0.",
            plainly(lambda logits: softmax_of(logits - logits.max())),
        ),
        (
            "rows for columns",
            "Sums over the anchors.",
            plainly(lambda logits: losses.softmax(logits.T).T),
        ),
        (
            "base 2",
            "Raises 2 to the logits.",
            given(lambda logits: logits * logits.dtype.type(log(2))),
        ),
        IN_SINGLE,
    ),
    *of(
        "softmax_cross_entropy",
        (
            "the largest is not taken off",
            "Overflows to infinity.",
            plainly(lambda z, labels: np.log(np.exp(z).sum(axis=-1)) - of_labels(z, labels)),
        ),
        (
            "logarithm of a softmax",
            "Is infinite where the probability is 0.",
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
            "background shifted",
            "Takes column label − 1 of an object.",
            given(lambda z, labels: (z, np.maximum(labels - 1, 0))),
        ),
        ("sign", "Is the logarithm of the probability.", then(lambda found: -found)),
        IN_SINGLE,
    ),
    *of(
        "sigmoid",
        ("softmax", "Lets classes compete.", plainly(losses.softmax)),
        ("sign", "Is σ(−z).", given(lambda logits: -logits)),
        (
            "digits lost",
            "Is 1 − σ(−z), which is 0 for a small one.",
            plainly(lambda logits: 1 - losses.sigmoid(-logits)),
        ),
        (
            "in pieces",
            "Is z / 6 + 1/2 from 0 to 1, as on small machines.",
            plainly(lambda logits: np.clip(logits / 6 + logits.dtype.type(0.5), 0, 1)),
        ),
        IN_SINGLE,
    ),
    *of(
        "sigmoid_cross_entropy",
        (
            "logarithms of a sigmoid",
            "Is infinite or NaN where the sigmoid is 0 or 1.",
            plainly(lambda z, wanted: entropy_of(losses.sigmoid(z), wanted)),
        ),
        (
            "epsilon added",
            "Keeps the sigmoid 1e-7 away from 0 and 1.",
            plainly(
                lambda z, wanted: entropy_of(
                    np.clip(losses.sigmoid(z), z.dtype.type(1e-7), z.dtype.type(1 - 1e-7)), wanted
                )
            ),
        ),
        (
            "a half is missing",
            "Forgets (1 − t) log(1 − σ(z)).",
            plainly(lambda z, wanted: wanted * losses.sigmoid_cross_entropy(z, np.ones_like(z))),
        ),
        ("targets turned", "Takes 1 − t for t.", given(lambda z, wanted: (z, 1 - wanted))),
        (
            "overflow",
            "Is log(1 + exp(z)) − t z, infinite for a large z.",
            plainly(lambda z, wanted: np.log1p(np.exp(z)) - wanted * z),
        ),
        IN_SINGLE,
    ),
    *of(
        "focal",
        (
            "alpha turned",
            "Weighs what is not there by .25.",
            plainly(lambda z, wanted: losses.focal(z, wanted, 0.75)),
        ),
        (
            "gamma forgotten",
            "Counts what is already right in full.",
            plainly(lambda z, wanted: losses.focal(z, wanted, gamma=0.0)),
        ),
        (
            "p for 1 − p",
            "Lowers what is wrong instead of what is right.",
            plainly(lambda z, wanted: focal_of(z, wanted, losses.sigmoid(z * (2 * wanted - 1)))),
        ),
        (
            "digits lost",
            "Takes 1 − p, which is 0 where p is nearly 1.",
            plainly(
                lambda z, wanted: focal_of(z, wanted, 1 - losses.sigmoid(z * (2 * wanted - 1)))
            ),
        ),
        IN_SINGLE,
    ),
    *of(
        "class_losses",
        (
            "nothing is background",
            "Counts label −1 as background.",
            given(lambda z, labels: (z, np.maximum(labels, 0))),
        ),
        (
            "background shifted",
            "Takes column label − 1 of an object.",
            given(lambda z, labels: (z, np.where(labels > 0, labels - 1, labels))),
        ),
        (
            "background left behind",
            "Claims a background at the end and looks for it in front.",
            by(background="first"),
            {"background": "last"},
        ),
        (
            "mean for sum",
            "Claims sigmoids and averages them over the columns.",
            then(lambda found: found / found.dtype.type(11)),
            {"class_loss": "sigmoid"},
        ),
        (
            "background is no column",
            "Claims sigmoids and wants no column to be sure of the background.",
            background_is_no_column,
            {"class_loss": "sigmoid"},
        ),
        (
            "alpha and gamma of the paper",
            "Claims a focal loss with others.",
            by(focal_alpha=0.25, focal_gamma=2.0),
            {"class_loss": "focal", "focal_alpha": 0.4, "focal_gamma": 1.5},
        ),
    ),
    *of(
        "mine_hard_negatives",
        (
            "over the batch",
            "Mines the hardest negatives of all images together.",
            mined_in_the_batch,
        ),
        (
            "tie to the last",
            "Of equal losses takes the highest anchor's.",
            mined(order=lambda values: values.size - 1 - np.argsort(-values[::-1], kind="stable")),
        ),
        (
            "easiest first",
            "Sorts the other way.",
            mined(order=lambda values: np.argsort(values, kind="stable")),
        ),
        ("positives too", "Mines among all anchors.", mined(may=lambda labels: labels >= 0)),
        (
            "nothing is a negative",
            "Mines anchors of label −1.",
            mined(may=lambda labels: labels <= 0),
        ),
        (
            "labels summed",
            "Counts an object of label 5 five times.",
            mined(count=lambda labels, ratio: ratio * labels[labels > 0].sum()),
        ),
        (
            "one too few",
            "Is off by one.",
            mined(count=lambda labels, ratio: ratio * np.count_nonzero(labels > 0) - 1),
        ),
        ("one at the least", "Mines a negative of an image without objects.", by(min_negatives=1)),
        ("rounded up", "Gives the half of a negative.", by(rounding="up")),
    ),
    *of(
        "multibox_loss",
        (
            "mining over the batch",
            "Takes the hardest negatives of all images together.",
            by(mining="batch"),
        ),
        (
            "normaliser off by the batch size",
            "Divides by positives per image.",
            by(normaliser="mean"),
        ),
        (
            "each image by itself",
            "Divides each image by its own positives, then averages.",
            by(normaliser="image"),
        ),
        (
            "0 / 0",
            "Is NaN for a batch without objects.",
            losing(divide=lambda labels, convention: positives_of(labels)),
        ),
        (
            "negatives divide too",
            "Divides by all anchors that count.",
            losing(divide=divided_by_what_counts),
        ),
        ("background has a box", "Counts the box loss of all anchors.", by(box_over="all")),
        ("weight forgotten", "Adds the box loss once, whatever its weight.", by(box_weight=1.0)),
        (
            "absolute box loss",
            "Does not smooth it.",
            losing(box_loss=lambda deltas, wanted: np.abs(deltas - wanted)),
        ),
        (
            "mean for sum",
            "Averages the box loss over the four numbers of a code.",
            losing(box_loss=lambda deltas, wanted: losses.smooth_l1(deltas, wanted) / 4),
        ),
        (
            "mined by both losses",
            "Ranks negatives by the sum of class and box loss.",
            losing(rank=lambda class_loss, box_loss: class_loss + box_loss),
        ),
        (
            "positives have no class",
            "Sums the class loss of negatives alone.",
            losing(in_class=lambda counted, negatives: negatives),
        ),
        (
            "nothing is background",
            "Counts label −1 as background.",
            given(lambda *heads: (*heads[:3], np.maximum(heads[3], 0), heads[4])),
        ),
        (
            "the suppressed do not divide",
            "Claims suppression before mining and divides by the positives that are left.",
            suppressed_do_not_divide,
            {"mining_nms": 0.3},
        ),
    ),
    *of(
        "multibox_gradient",
        (
            "sign",
            "Climbs.",
            spoiled(lambda by_deltas, distance: -by_deltas, lambda by_logits, labels: -by_logits),
        ),
        (
            "of the square",
            "Is d beyond 1 too, as of a loss that is not smoothed.",
            spoiled(lambda by_deltas, distance: by_deltas * np.maximum(1, np.abs(distance))),
        ),
        (
            "only the true column",
            "Forgets that other classes lose what the true one gains.",
            spoiled(None, lambda by_logits, labels: np.minimum(by_logits, 0)),
        ),
        (
            "no negatives",
            "Holds back the gradient of the mined negatives.",
            spoiled(None, lambda by_logits, labels: by_logits * (labels > 0)[..., None]),
        ),
        (
            "normaliser off by the batch size",
            "Divides by positives per image.",
            by(normaliser="mean"),
        ),
        ("weight forgotten", "Takes the box loss once, whatever its weight.", by(box_weight=1.0)),
        (
            "background shifted",
            "Claims a background at the end and gives its column in front.",
            spoiled(None, lambda by_logits, labels: np.roll(by_logits, 1, axis=-1)),
            {"background": "last"},
        ),
    ),
]
