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

__all__ = ["BUDGETS", "CLASSES", "TERMS", "Budget"]

CLASSES = 11  # n, classes with background, of the workloads that have classes
TERMS = 96  # most anchors that count in one loss of the workloads


class Budget(NamedTuple):
    """The largest error allowed, in eps of the dtype, and why."""

    eps: float
    why: str


BUDGETS = {
    "corners_to_centers": Budget(1.0, "one sum or difference: u; halving is exact"),
    "centers_to_corners": Budget(1.0, "one sum or difference: u; halving is exact"),
    "area": Budget(2.0, "two differences and a product: 3u of the area"),
    "clip": Budget(0.0, "comparisons only"),
    "make_anchors": Budget(0.0, "both in float64, rounded once"),
    "pairwise_iou": Budget(
        8.5,
        "of the IoU: intersection 3u; union 4u (a + b) + 3u i, and a + b <= 2 unions, so 11u; "
        "its last difference u; the quotient u: 16u",
    ),
    "encode": Budget(
        5.0,
        "shift: center u, difference, quotient and product 3u, of (|c| + |c_a|) / w_a / v; "
        "stretch: quotient of a difference 2u inside the log, the log 6u, the product u, of "
        "max(1, |log|) / v: 9u",
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
    "multibox": Budget(
        18.0 + (4 * TERMS - 1) / 2 + 1.5,
        "of the sum of its terms' largest intermediates: each term at most 18 eps, 4 x 96 - 1 "
        "sums, quotient, product and sum 3u",
    ),
    "multibox_gradient": Budget(
        16.0,
        "of p (1 + |z - max|) and of min(1, |d|), over N: softmax 25u, difference u, three "
        "products or quotients 3u, twice u where automatic differentiation adds two branches",
    ),
    # Decisions: no error at all, except that detections carry the floats they decide about.
    "match": Budget(0.0, "decisions"),
    "mine_hard_negatives": Budget(0.0, "decisions"),
    "nms": Budget(0.0, "decisions"),
    "select": Budget(0.0, "decisions; boxes and scores are passed on"),
    "assign_targets": Budget(5.0, "decisions; the deltas as encode"),
    "detect": Budget(13.0, "decisions; scores as softmax, boxes as decode"),
}
