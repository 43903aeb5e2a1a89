"""How far a float may be from the reference: one table, derived, not fitted.

The reference is computed in a wider dtype from the same inputs and rounded once. The error of
an answer is measured in eps × the largest intermediate of its operation (`parity` says which),
because units in the last place mean nothing where numbers cancel. One correct rounding is at
most half an eps, u = eps / 2; exp and log are taken to be off by at most 2 and 3 units in the
last place, 4u and 6u (measured: NumPy 2 and 3, TensorFlow 1 and 3, XLA 1 and 1).

Every budget ends with + u for the one rounding of the reference. Sums of n terms count n - 1
roundings, whatever their order. No budget was ever widened to let a result pass.
"""

from __future__ import annotations

from typing import NamedTuple

from reference_numpy.conventions import CANONICAL, Convention

__all__ = ["BUDGETS", "CLASSES", "TERMS", "Budget", "budget"]

CLASSES = 11  # n, classes with background, of the workloads that have classes
TERMS = 96  # most anchors that count in one loss of the workloads


class Budget(NamedTuple):
    """The largest error allowed, in eps of the dtype, and why."""

    eps: float
    why: str


_SUM = (4 * TERMS - 1) / 2 + 1.5  # of all terms of a loss, and what is done with the sum

BUDGETS = {
    "xyxy_to_cxcywh": Budget(1.0, "one sum or difference: u; halving is exact"),
    "cxcywh_to_xyxy": Budget(1.0, "one sum or difference: u; halving is exact"),
    "area": Budget(2.0, "two differences and a product: 3u of the area"),
    "clip": Budget(0.0, "comparisons only"),
    "flip_horizontally": Budget(1.0, "of 1 + |x|: one difference, u"),
    "make_anchors": Budget(0.0, "both in float64, rounded once"),
    "pairwise_iou": Budget(
        8.5,
        "of the IoU: intersection 3u; union 4u (a + b) + 3u i, and a + b <= 2 unions, so 11u; "
        "its last difference u; the quotient u: 16u",
    ),
    "pairwise_iou with epsilon or offset": Budget(
        13.0,
        "of the same with every difference made positive: a side 2u, an area 5u; union 5u (a + b) "
        "+ 5u i and three sums, a + b <= 2 unions, so 18u; the quotient u: 25u",
    ),
    "pairwise_ioa": Budget(4.0, "of the quotient: two areas 3u each, the division u: 7u"),
    "background_first": Budget(0.0, "columns change places"),
    "encode": Budget(
        5.0,
        "shift: center u, difference, quotient and product 3u, of (|c| + |c_a|) / w_a / v; "
        "stretch: quotient of a difference 2u inside the log, the log 6u, the product u, of "
        "max(1, |log|) / v: 9u",
    ),
    "encode with epsilon": Budget(
        6.5,
        "as encode, with one more sum in each size and in the ratio: 4u and u inside the log, "
        "the log 6u, the product u: 12u",
    ),
    "decode": Budget(
        3.5,
        "of |c_a| + |shift| + half (1 + |exponent|): shift 3u with v rounded, exponent 2u "
        "inside exp, exp 4u, product u, three sums: at most 6u of each part",
    ),
    "smooth_l1": Budget(2.5, "of the loss: |d| u, its square twice that, two products: 4u"),
    "softmax": Budget(
        13.0,
        "of p (1 + |z - max|): difference u inside exp, exp 4u, above and below; below also "
        "n - 1 sums; the quotient u: n (1 + 1/e) + 10 = 25u for n = 11",
    ),
    "softmax_cross_entropy": Budget(
        18.0,
        "of max(1, loss, |z - max|): the sum of exps as in softmax, n (1 + 1/e) + 3; log 6u of "
        "log n; two differences 2u: 35u for n = 11",
    ),
    "sigmoid": Budget(5.5, "of p: exp 4u above and below, sum u, quotient u: 10u"),
    "sigmoid_cross_entropy": Budget(
        5.5, "of max(1, |z|): exp 4u and log 6u of log 2, product u, two sums 2u: 10u"
    ),
    "focal": Budget(
        21.5,
        "of the loss: sigmoid 10u squared 20u, power 4u, weight 4u, cross-entropy 12u, two "
        "products 2u: 42u",
    ),
    "class_losses": Budget(18.0, "as softmax_cross_entropy"),
    "class_losses sigmoid": Budget(
        10.5, "of the sum of max(1, |z|): each at most 5.5 eps, n - 1 sums: 10u for n = 11"
    ),
    "class_losses focal": Budget(
        26.5, "of the sum of the columns' losses: each at most 21.5 eps, n - 1 sums: 10u"
    ),
    "multibox_loss": Budget(
        18.0 + _SUM,
        "of the sum of its terms' largest intermediates: each term at most 18 eps, 4 x 96 - 1 "
        "sums, quotient, product and sum 3u",
    ),
    "multibox sigmoid": Budget(10.5 + _SUM, "as multibox, each term at most 10.5 eps"),
    "multibox focal": Budget(26.5 + _SUM, "as multibox, each term at most 26.5 eps"),
    # Gradients by automatic differentiation.
    "smooth_l1_gradient": Budget(1.0, "of min(1, |d|): d u; its halves and their sum are exact"),
    "softmax_cross_entropy_gradient": Budget(
        14.5,
        "of p (1 + |z - max|), and 1 in the true column: softmax 25u, its product with the "
        "reciprocal of the sum 2u, the difference u, and 1 where the label is chosen exact: 28u",
    ),
    "sigmoid_cross_entropy_gradient": Budget(
        4.0,
        "of 1: s / (1 + s), s = exp(-|z|), is at most 1/2, and 9u of it: exp 4u, 1 + s 3u, "
        "reciprocal and product 2u; two sums of what is at most 1: 6.5u",
    ),
    "focal_gradient": Budget(
        34.5,
        "of w q^g (1 + g (1 - q) l), q the probability given to the wrong, l the cross-entropy, "
        "g at most 2. Of the slope of q^g: weight 4u, power 14u, slope of q 28u (two parts, of "
        "which the larger is at most twice the difference), l 12u, five products 5u; of q^g times "
        "the slope of l: weight 4u, power 24u, products 2u, and 8u of 1 in the slope; the sum of "
        "both, 4u and 10u: 68u",
    ),
    "multibox_gradient": Budget(
        16.0,
        "of p (1 + |z - max|), and 1 in the true column, over N: softmax_cross_entropy_gradient "
        "28u, its divisor and two products 3u",
    ),
    "multibox_gradient sigmoid": Budget(
        8.0, "of 1 / N: sigmoid 10u, difference u, divisor and two products 3u"
    ),
    "multibox_gradient focal": Budget(
        36.0, "of w q^g (1 + g (1 - q) l) / N: focal_gradient 68u, divisor and two products 3u"
    ),
    "multibox_gradient boxes": Budget(
        3.0, "of min(1, |d|) weight / N: smooth_l1_gradient u, divisor, weight and two products 4u"
    ),
    "soft_nms": Budget(
        3.5,
        "of the score (1 + f + 8 sum x), x the exponents of its f factors: IoU 17u twice and 3u "
        "of x inside exp, exp 4u, product u: (37 x + 5) u each",
    ),
    # The network, layer by layer: of all that is rounded, one u each (`parity.network`).
    "network convolution": Budget(
        0.5, "n products and n - 1 sums, the bias one more; in bfloat16 also the result, u"
    ),
    "network depthwise_convolution": Budget(0.5, "as network convolution"),
    "network batch_norm": Budget(
        0.5,
        "1 / sqrt 4u, what is in it half of u, times gamma u; two products and two sums: 9u of "
        "(|x| + |mean|) gamma / sigma + |beta|; in bfloat16 also the result, u",
    ),
    "network relu6": Budget(0.0, "comparisons only"),
    "network add": Budget(0.5, "one sum"),
    "network heads": Budget(0.0, "numbers change places"),
    # Decisions: no error at all, except that detections carry the floats they decide about.
    "match": Budget(0.0, "decisions"),
    "mine_hard_negatives": Budget(0.0, "decisions"),
    "nms": Budget(0.0, "decisions"),
    "select": Budget(0.0, "decisions; boxes and scores are passed on"),
    "assign_targets": Budget(5.0, "decisions; the deltas as encode"),
    "assign_targets with epsilon": Budget(6.5, "decisions; the deltas as encode with epsilon"),
    "detect": Budget(13.0, "decisions; scores as softmax, boxes as decode"),
}


def budget(op: str, convention: Convention = CANONICAL) -> Budget:
    """The budget of an operation as a convention has it done.

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
