"""Error budgets: how far each float result may be from the reference, derived and not fitted.

The reference is computed in a wider dtype from the same inputs and rounded once. An error is
measured in eps × the largest intermediate of its operation (see `scales`), because units in the
last place mean nothing where numbers cancel.

One correct rounding is off by at most u = eps / 2. exp and log are assumed to be off by at most 2
and 3 units in the last place, 4u and 6u (measured: NumPy 2 and 3, TensorFlow 1 and 3, XLA 1 and 1).
A sum of n terms counts n - 1 roundings, in any order. Every budget adds one more u for the rounding
of the reference. No budget was ever widened to let a result pass.
"""

from __future__ import annotations

from typing import NamedTuple

from reference_numpy.conventions import CANONICAL, Convention

__all__ = ["BUDGETS", "CLASSES", "TERMS", "Budget", "budget"]

CLASSES = 11  # n: classes of the workloads, background included
TERMS = 96  # largest number of anchors that count in one loss of the workloads


class Budget(NamedTuple):
    """The largest error allowed, in eps of the dtype, and its derivation."""

    eps: float
    why: str


_SUM = (4 * TERMS - 1) / 2 + 1.5  # sums over all terms of a loss, then three more roundings

# In `why`, "relative to X" names the unit of the error: eps (or u) times X.
BUDGETS = {
    "xyxy_to_cxcywh": Budget(1.0, "one sum or difference, u; halving is exact"),
    "cxcywh_to_xyxy": Budget(1.0, "one sum or difference, u; halving is exact"),
    "area": Budget(2.0, "relative to the area: two differences and one product, 3u"),
    "clip": Budget(0.0, "comparisons only"),
    "flip_horizontally": Budget(1.0, "relative to 1 + |x|: one difference, u"),
    "make_anchors": Budget(0.0, "both sides compute in float64 and round once"),
    "pairwise_iou": Budget(
        8.5,
        "relative to the IoU, for areas a and b and their intersection i: intersection 3u; union "
        "4u (a + b) + 3u i, which is at most 11u because a + b <= 2 unions; last difference of "
        "the union u; quotient u; in all 16u",
    ),
    "pairwise_iou with epsilon or offset": Budget(
        13.0,
        "as pairwise_iou, relative to the IoU with every difference made positive: side 2u, area "
        "5u; union 5u (a + b) + 5u i and three sums, 19u because a + b <= 2 unions; quotient u; "
        "in all 25u",
    ),
    "pairwise_ioa": Budget(
        4.0, "relative to the result: intersection and area 3u each, quotient u; in all 7u"
    ),
    "background_first": Budget(0.0, "reorders columns only"),
    "encode": Budget(
        5.0,
        "for centres c and c_a of object and anchor, anchor size w_a and variance v: tx and ty, "
        "relative to (|c| + |c_a|) / w_a / v: centre u, difference, quotient and product 3u; tw "
        "and th, relative to max(1, |log|) / v: difference and quotient 2u inside the log, log "
        "6u, product u; in all 9u",
    ),
    "encode with epsilon": Budget(
        6.5,
        "as encode, with one more sum in each size and one in the ratio: 4u and u inside the log, "
        "log 6u, product u; in all 12u",
    ),
    "decode": Budget(
        3.5,
        "relative to |c_a| + |shift| + half (1 + |exponent|), half being half the size: shift 3u "
        "with v rounded; exponent 2u inside exp, exp 4u, product u; three sums; at most 6u of "
        "each part",
    ),
    "smooth_l1": Budget(
        2.5,
        "relative to the loss: difference d u, its square twice that, two products; in all 4u",
    ),
    "softmax": Budget(
        13.0,
        "relative to p (1 + |z - max|), for a logit z and its probability p: difference u inside "
        "exp and exp 4u, in numerator and denominator; n - 1 sums in the denominator; quotient u; "
        "in all n (1 + 1/e) + 10 = 25u for n = 11",
    ),
    "softmax_cross_entropy": Budget(
        18.0,
        "relative to max(1, loss, |z - max|): sum of exps as in softmax, n (1 + 1/e) + 3; log 6u "
        "of log n; two differences 2u; in all 35u for n = 11",
    ),
    "sigmoid": Budget(
        5.5,
        "relative to the result: exp 4u in numerator and denominator, sum u, quotient u; in all "
        "10u",
    ),
    "sigmoid_cross_entropy": Budget(
        5.5,
        "relative to max(1, |z|): exp 4u and log 6u of log 2, product u, two sums 2u; in all 10u",
    ),
    "focal": Budget(
        21.5,
        "relative to the loss: sigmoid 10u, squared 20u; power 4u; weight 4u; cross-entropy 12u; "
        "two products 2u; in all 42u",
    ),
    "class_losses": Budget(18.0, "as softmax_cross_entropy"),
    "class_losses sigmoid": Budget(
        10.5,
        "relative to the sum of max(1, |z|): each column at most 5.5 eps; n - 1 sums, 10u for "
        "n = 11",
    ),
    "class_losses focal": Budget(
        26.5,
        "relative to the sum of the column losses: each column at most 21.5 eps; n - 1 sums, 10u",
    ),
    "multibox_loss": Budget(
        18.0 + _SUM,
        "relative to the sum of the largest intermediates of all terms: each term at most 18 eps; "
        "4 x 96 - 1 sums; quotient, product and sum 3u",
    ),
    "multibox_loss sigmoid": Budget(10.5 + _SUM, "as multibox_loss, each term at most 10.5 eps"),
    "multibox_loss focal": Budget(26.5 + _SUM, "as multibox_loss, each term at most 26.5 eps"),
    # Gradients by automatic differentiation.
    "smooth_l1_gradient": Budget(
        1.0, "relative to min(1, |d|): difference d u; its halves and their sum are exact"
    ),
    "softmax_cross_entropy_gradient": Budget(
        14.5,
        "relative to p (1 + |z - max|), plus 1 in the true column: softmax 25u, its product with "
        "the reciprocal of the sum 2u, difference u; the 1 of the true label is exact; in all 28u",
    ),
    "sigmoid_cross_entropy_gradient": Budget(
        4.0,
        "relative to 1: s / (1 + s) with s = exp(-|z|) is at most 1/2 and has 9u, from exp 4u, "
        "1 + s 3u, reciprocal and product 2u; two sums of numbers up to 1; in all 6.5u",
    ),
    "focal_gradient": Budget(
        34.5,
        "relative to w q^g (1 + g (1 - q) l), for weight w, probability q of the wrong answer, "
        "cross-entropy l and gamma g of at most 2. Slope of q^g: weight 4u, power 14u, slope of q "
        "28u (two parts, the larger at most twice the difference), l 12u, five products 5u. Slope "
        "of l times q^g: weight 4u, power 24u, products 2u, and 8u of 1 in the slope. Sum of both "
        "4u and 10u; in all 68u",
    ),
    "multibox_gradient": Budget(
        16.0,
        "relative to p (1 + |z - max|), plus 1 in the true column, over the normaliser N: "
        "softmax_cross_entropy_gradient 28u, divisor and two products 3u",
    ),
    "multibox_gradient sigmoid": Budget(
        8.0, "relative to 1 / N: sigmoid 10u, difference u, divisor and two products 3u"
    ),
    "multibox_gradient focal": Budget(
        36.0,
        "relative to w q^g (1 + g (1 - q) l) / N: focal_gradient 68u, divisor and two products 3u",
    ),
    "multibox_gradient boxes": Budget(
        3.0,
        "relative to min(1, |d|) weight / N: smooth_l1_gradient u, divisor, weight and two "
        "products 4u",
    ),
    "soft_nms": Budget(
        3.5,
        "relative to the score times (1 + f + 8 sum x), for f factors with exponents x: IoU 17u "
        "twice and 3u of x inside exp, exp 4u, product u; (37 x + 5) u per factor",
    ),
    # The network, layer by layer; `parity.network` explains the unit.
    "network convolution": Budget(
        0.5, "n products and n - 1 sums, one more sum with a bias; in bfloat16 also u of the result"
    ),
    "network depthwise_convolution": Budget(0.5, "as network convolution"),
    "network batch_norm": Budget(
        0.5,
        "relative to (|x| + |mean|) gamma / sigma + |beta|: 1 / sqrt 4u, half of u from the sum "
        "under the root, product with gamma u, two products and two sums; in all 9u; in bfloat16 "
        "also u of the result",
    ),
    "network relu6": Budget(0.0, "comparisons only"),
    "network add": Budget(0.5, "one sum"),
    "network heads": Budget(0.0, "reorders numbers only"),
    # Decisions have no error. Detections also carry the floats that they were decided from.
    "match": Budget(0.0, "decisions"),
    "mine_hard_negatives": Budget(0.0, "decisions"),
    "nms": Budget(0.0, "decisions"),
    "select": Budget(0.0, "decisions; boxes and scores are copied"),
    "assign_targets": Budget(5.0, "decisions; deltas as encode"),
    "assign_targets with epsilon": Budget(6.5, "decisions; deltas as encode with epsilon"),
    "detect": Budget(13.0, "decisions; scores as softmax, boxes as decode"),
}


def budget(op: str, convention: Convention = CANONICAL) -> Budget:
    """Return the budget of an operation under a convention.

    Raises:
        ValueError: `op` has no budget.

    Example:
        >>> budget("encode").eps, budget("encode", CANONICAL.replace(size_epsilon=1e-8)).eps
        (5.0, 6.5)
    """
    overlap, coding, loss = convention.overlap, convention.coding, convention.loss
    op = str(op).removesuffix("_with_crowds")
    variants = [op]
    if overlap.iou_epsilon or overlap.iou_offset:
        variants.append(f"{op} with epsilon or offset")
    if coding.size_epsilon or coding.ratio_epsilon:
        variants.append(f"{op} with epsilon")
    variants.append(f"{op} {loss.class_loss}")
    known = [name for name in variants if name in BUDGETS]
    if not known:
        raise ValueError(f"op: expected one of {list(BUDGETS)}. Received: {op!r}")
    return BUDGETS[known[-1]]
