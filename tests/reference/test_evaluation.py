"""Average precision: cases worked by hand, laws, an exact brute force, and golden numbers of COCO.

The golden numbers are pycocotools' own (2.0.11 with NumPy 2.4.6, Python 3.11): `planted(...)` was
written as COCO annotations (xywh boxes, area w * h, iscrowd 0, image ids in order), and
`COCOeval(truth, found, "bbox")` evaluated, accumulated and summarised with its default
parameters. MAP, AP50 and AP75 are its stats[:3]; per class, the mean over thresholds and recalls
of its precision at all areas and 100 detections, NaN where it says -1.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from reference_numpy.evaluation import Evaluation, average_precision, evaluate, match_detections
from tests.strategies import Load, load, loads

METHODS = ["voc07", "all", "coco"]
NAN = math.nan


# Whole-pixel boxes. IoU of A with the others: A9 9/10, A8 8/10, A6 6/10; FAR 0 with all.
A, A9, A8, A6 = (0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 8), (0, 0, 10, 6)
FAR = (80, 80, 90, 90)


# --- which object a detection finds --------------------------------------------------------------


@pytest.mark.parametrize(
    ("iou", "coco", "voc"),
    [
        ([[0.9]], [0], [0]),
        ([[0.4]], [-1], [-1]),
        ([[0.5]], [0], [0]),  # the threshold itself is enough
        ([[0.9], [0.9]], [0, -1], [0, -1]),  # an object is found once, by the better score
        ([[0.6], [0.9]], [0, -1], [0, -1]),  # ... however well the other fits
        ([[0.4], [0.9]], [-1, 0], [-1, 0]),  # a miss takes nothing
        ([[0.6, 0.9]], [1], [1]),
        # VOC insists on the object it overlaps most; COCO goes on to the best that is free.
        ([[0.9, 0.1], [0.8, 0.6]], [0, 1], [0, -1]),
        ([[0.9, 0.1], [0.8, 0.4]], [0, -1], [0, -1]),
        # Equal IoU: VOC takes the first, COCO the last.
        ([[0.6, 0.6], [0.6, 0.0]], [1, 0], [0, -1]),
        ([[0.6, 0.6], [0.0, 0.6]], [1, -1], [0, 1]),
        ([[0.6, 0.6, 0.6]] * 4, [2, 1, 0, -1], [0, -1, -1, -1]),
        (np.zeros((2, 0)), [-1, -1], [-1, -1]),
        (np.zeros((0, 2)), [], []),
    ],
)
def test_detections_claim_objects_in_order_of_score(iou, coco, voc):
    iou = np.array(iou)
    assert match_detections(iou, 0.5, "coco").tolist() == coco
    assert match_detections(iou, 0.5, "voc").tolist() == voc


def test_the_threshold_is_compared_in_the_dtype_of_the_iou():
    # .7 is smaller in float32 than in float64, and still equal to the threshold .7.
    iou = np.array([[0.7]], dtype=np.float32)
    assert match_detections(iou, np.float64(0.7)).tolist() == [0]
    assert match_detections(iou, 0.7000001).tolist() == [-1]


# --- one curve in one number ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "objects", "voc07", "integral", "coco"),
    [
        ([1], 1, 1, 1, 1),
        ([], 3, 0, 0, 0),
        ([0, 0], 3, 0, 0, 0),
        # Precision 1/2 when all is found.
        ([0, 1], 1, Fraction(1, 2), Fraction(1, 2), Fraction(1, 2)),
        # Precision 1 up to recall 1/2, nothing beyond: 6 of 11 points, 51 of 101.
        ([1], 2, Fraction(6, 11), Fraction(1, 2), Fraction(51, 101)),
        # Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: 1 up to 1/2, then 2/3.
        (
            [1, 0, 1],
            2,
            (6 + 5 * Fraction(2, 3)) / 11,
            Fraction(5, 6),
            (51 + 50 * Fraction(2, 3)) / 101,
        ),
        # Precision 0, 1/2, 2/3: the best at any recall is 2/3, at its end.
        ([0, 1, 1], 2, Fraction(2, 3), Fraction(2, 3), Fraction(2, 3)),
        # Precision 1, 1, 2/3, 3/4, 3/5 at recall 1/4, 1/2, 1/2, 3/4, 3/4: 1 up to 1/2, 3/4 up
        # to 3/4 (points .6, .7; .51 to .75), nothing beyond.
        (
            [1, 1, 0, 1, 0],
            4,
            (6 + 2 * Fraction(3, 4)) / 11,
            Fraction(1, 2) + Fraction(1, 4) * Fraction(3, 4),
            (51 + 25 * Fraction(3, 4)) / 101,
        ),
        # Recall 3/10 reaches point .3, though .1 + .1 + .1 > .3 in floats: points 0 to .3.
        ([1] * 3, 10, Fraction(4, 11), Fraction(3, 10), Fraction(31, 101)),
        # COCO's point 70 * .01 is just over .7, and pycocotools does not reach it: 0 to .69.
        ([1] * 7, 10, Fraction(8, 11), Fraction(7, 10), Fraction(70, 101)),
    ],
)
def test_a_curve_summed_up_by_hand(hits, objects, voc07, integral, coco):
    for method, expected in zip(METHODS, (voc07, integral, coco), strict=True):
        found = average_precision(hits, objects, method)
        assert found == pytest.approx(float(expected), abs=1e-12), method


# --- images worked by hand ---------------------------------------------------------------------


def test_a_fit_of_four_fifths_counts_at_seven_thresholds_of_ten():
    # IoU 8/10 is enough for .50, .55, ... .80 (AP 1) and not for .85, .90, .95 (AP 0).
    result = evaluate(*load([[(1, A)]], [[(1, 0.9, A8)]]))

    assert isinstance(result, Evaluation)
    assert result.table[:, 0].tolist() == [1] * 7 + [0] * 3
    assert (result.map, result.ap50, result.ap75) == (pytest.approx(0.7), 1, 1)
    assert result.per_class == pytest.approx([0.7])


def test_classes_count_alike_and_one_without_objects_not_at_all():
    # Class 1: one of two objects found, AP 51/101 at all thresholds. Class 2: no object, and
    # its detection is nobody's mistake. Class 3: found with IoU .6, at .50, .55, .60. Class 4:
    # an object and no detection.
    result = evaluate(
        *load(
            [[(1, A), (1, FAR), (3, A)], [(4, A)]],
            [[(1, 0.9, A), (2, 0.9, A), (3, 0.1, A6)], []],
            classes=4,
        )
    )
    one, three = 51 / 101, 3 / 10
    np.testing.assert_allclose(result.per_class, [one, NAN, three, 0], rtol=1e-12)
    np.testing.assert_array_equal(np.isnan(result.table), [[False, True, False, False]] * 10)
    assert result.map == pytest.approx((one + three + 0) / 3)
    assert result.ap50 == pytest.approx((one + 1 + 0) / 3)
    assert result.ap75 == pytest.approx((one + 0 + 0) / 3)


def test_voc_methods_average_at_one_half_only():
    truth_and_found = load([[(1, A)]], [[(1, 0.9, A6)]])
    for method in ("voc07", "all"):
        result = evaluate(*truth_and_found, method=method)
        assert (result.map, result.ap50, result.ap75) == (1, 1, 0)
        assert result.per_class.tolist() == [1]
        # 52 of 100: found at .5, missed at .55.
        result = evaluate(*load([[(1, A)]], [[(1, 0.9, (0, 0, 10, 5.2))]]), method=method)
        assert (result.map, result.per_class.tolist()) == (1, [1])


def test_voc_and_coco_differ_where_the_best_object_is_taken():
    # Objects A and A8; the surer detection is A, the other A9, with IoU 9/10 to A and 8/9 to
    # A8. COCO gives it A8, two hits. To VOC it is a second A, a false positive: recall 1/2.
    truth_and_found = load([[(1, A), (1, A8)]], [[(1, 0.9, A), (1, 0.8, A9)]])
    assert evaluate(*truth_and_found, method="coco").ap50 == 1
    assert evaluate(*truth_and_found, method="all").ap50 == 1 / 2
    assert evaluate(*truth_and_found, method="voc07").ap50 == pytest.approx(6 / 11)


def test_coco_gives_the_last_of_equally_good_objects():
    # The surer detection is A, with IoU 6/10 to A6 and to UP; the other is UP, IoU 2/10 to A6.
    # If UP is the last, A takes it and the other misses: recall 1/2. pycocotools says the same.
    up = (0, 4, 10, 10)
    found = [[(1, 0.9, A), (1, 0.8, up)]]
    assert evaluate(*load([[(1, A6), (1, up)]], found)).ap50 == pytest.approx(51 / 101)
    assert evaluate(*load([[(1, up), (1, A6)]], found)).ap50 == 1


def test_a_second_detection_of_an_object_is_a_false_positive():
    # Hit, duplicate, hit: the worked curve 1, 1/2, 2/3 again.
    found = [[(1, 0.9, A), (1, 0.8, A9), (1, 0.7, FAR)]]
    result = evaluate(*load([[(1, A), (1, FAR)]], found), method="all")
    assert result.map == pytest.approx(5 / 6)


def test_scores_rank_over_all_images():
    # The highest-scoring of all is wrong, in the second image: precision 1/2 at recall 1.
    result = evaluate(*load([[(1, A)], []], [[(1, 0.8, A)], [(1, 0.9, A)]]), method="all")
    assert result.map == 1 / 2


@pytest.mark.parametrize("method", METHODS)
def test_equal_scores_count_in_the_order_given(method):
    right, wrong = (1, 0.5, A), (1, 0.5, FAR)
    assert evaluate(*load([[(1, A)], []], [[right], [wrong]]), method=method).ap50 == 1
    assert evaluate(*load([[], [(1, A)]], [[wrong], [right]]), method=method).ap50 == 1 / 2
    assert evaluate(*load([[(1, A)]], [[right, wrong]]), method=method).ap50 == 1
    assert evaluate(*load([[(1, A)]], [[wrong, right]]), method=method).ap50 == 1 / 2


def test_an_object_is_found_in_its_own_image_and_class_only():
    # In the last line class 1 is looked for where class 2 is, and class 2 finds its object at
    # precision 1/2 after looking in the other image.
    truth = [[(1, A)], [(2, A)]]
    assert evaluate(*load(truth, [[(1, 0.9, A)], [(2, 0.9, A)]], 2)).map == 1
    assert evaluate(*load(truth, [[(2, 0.9, A)], [(1, 0.9, A)]], 2)).map == 0
    last = evaluate(*load(truth, [[(2, 0.9, A)], [(1, 0.8, A), (2, 0.7, A)]], 2))
    assert last.per_class.tolist() == [0, pytest.approx(1 / 2)]


def test_coco_keeps_a_hundred_detections_of_each_class_in_each_image():
    # 99 wrong ones in an image, then the right one; more of another class and in another
    # image do not count against it. Precision 1/100, or 1/200 with the other image's.
    wrong = [(1, 0.9, FAR)] * 99
    others = [(2, 0.95, FAR)] * 50
    truth = [[(1, A)], [(2, A)]]
    right = (1, 0.8, A)
    for before, behind, hundredth in (
        (wrong, [], 1 / 100),
        (wrong, wrong, 1 / 199),
        ([*wrong, wrong[0]], [], 0),
    ):
        found = load(truth, [[*others, *before, right], behind], classes=2)
        assert evaluate(*found, method="coco").per_class[0] == pytest.approx(hundredth, abs=1e-15)
    assert evaluate(*found, method="all").per_class[0] == pytest.approx(1 / 101)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("flat", [(0, 0, 10, 0), (5, 5, 5, 5), (10, 10, 0, 0)])
def test_a_detection_without_area_is_a_false_positive(flat, method):
    truth_and_found = load([[(1, A)]], [[(1, 0.9, flat), (1, 0.8, A)]])
    assert evaluate(*truth_and_found, method=method).ap50 == 1 / 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, list])
@pytest.mark.parametrize(
    ("truth", "found", "hits"),
    [
        (A, (0, 0, 10, 7), 5),  # 7/10: .50, ... .70
        # 9998 * 5000 / 9999 ** 2 is just short of 1/2, and 1/2 when rounded to float32.
        ((0, 0, 9999, 9999), (0, 0, 9998, 5000), 0),
    ],
)
def test_the_result_does_not_depend_on_the_dtype_of_the_boxes(truth, found, hits, dtype):
    convert = list if dtype is list else lambda rows: np.array(rows, dtype=dtype)
    result = evaluate([convert([truth])], [[1]], [convert([found])], [[1]], [[0.9]], 1)
    assert result.table[:, 0].tolist() == [1] * hits + [0] * (10 - hits)


@pytest.mark.parametrize("empty", [[], np.zeros(0), np.zeros((0, 4)), np.zeros((0, 4), np.float32)])
def test_images_may_be_empty(empty):
    truth, nothing = [[(1, A)], []], [[], []]
    found = load(truth, nothing)
    assert evaluate(*found).map == 0
    result = evaluate([found.truth_boxes[0], empty], [[1], []], [empty] * 2, [[]] * 2, [[]] * 2, 1)
    assert result.map == 0
    assert result.table.tolist() == [[0]] * 10


# --- laws ----------------------------------------------------------------------------------------


def tables_equal(first: Evaluation, second: Evaluation) -> None:
    np.testing.assert_array_equal(first.table, second.table)
    np.testing.assert_array_equal(first.per_class, second.per_class)
    assert first[:3] == second[:3]


@given(loads(), st.sampled_from(METHODS))
def test_only_the_order_of_scores_counts(given_load, method):
    rescaled = [np.exp(3 * scores) - 7 for scores in given_load.scores]
    tables_equal(
        evaluate(*given_load, method=method),
        evaluate(*given_load._replace(scores=rescaled), method=method),
    )


@given(loads(), st.sampled_from(METHODS), st.sampled_from([1 / 256, 2.0]))
def test_the_unit_of_the_boxes_does_not_count(given_load, method, unit):
    scaled = given_load._replace(
        truth_boxes=[unit * boxes for boxes in given_load.truth_boxes],
        boxes=[unit * boxes for boxes in given_load.boxes],
    )
    tables_equal(evaluate(*given_load, method=method), evaluate(*scaled, method=method))


@given(loads(), st.sampled_from(METHODS), st.integers(-1, 5).map(lambda n: n / 8))
def test_a_false_positive_never_helps_and_below_all_others_does_nothing(given_load, method, score):
    worse = given_load._replace(
        boxes=[np.vstack([boxes, FAR]) for boxes in given_load.boxes],
        labels=[np.append(labels, 1) for labels in given_load.labels],
        scores=[np.append(scores, score) for scores in given_load.scores],
    )
    before, after = evaluate(*given_load, method=method), evaluate(*worse, method=method)
    changed = np.nan_to_num(after.table - before.table)
    assert (changed <= 1e-15).all()
    assert (changed[:, 1:] == 0).all(), "another class changed"
    if score < 0:
        assert (changed == 0).all()
    if score > 0.5:
        assert (after.table[:, 0] < before.table[:, 0])[before.table[:, 0] > 0].all()


@given(loads(), st.sampled_from(METHODS))
def test_ap_falls_as_the_threshold_rises(given_load, method):
    # An object found at some threshold is found at each lower one, no later: what is free
    # there is free here too, and the detection that took it prefers the same.
    result = evaluate(*given_load, method=method)
    assert (np.diff(np.nan_to_num(result.table), axis=0) <= 1e-15).all(), result.table
    assert 0 <= result.ap75 <= result.ap50 <= 1
    assert result.map <= result.ap50 + 1e-15


@given(loads(), st.sampled_from(METHODS), st.data())
def test_padding_changes_nothing_and_is_not_looked_at(given_load, method, data):
    def padded(rows, labels, value):
        """Rows spread, in order, over an array of 12, the others filled with `value`."""
        filled = np.full((len(rows), 12, *rows[0].shape[1:]), value)
        for image, row in enumerate(rows):
            filled[image, places[len(labels[image])][image]] = row
        return filled

    places = {
        n: [
            sorted(data.draw(st.permutations(range(12)))[:n])
            for _ in range(len(given_load.truth_labels))
        ]
        for n in {len(row) for row in [*given_load.truth_labels, *given_load.labels]}
    }
    truth, seen = given_load.truth_labels, given_load.labels
    batch = Load(
        padded(given_load.truth_boxes, truth, NAN),
        padded(truth, truth, -1),
        padded(given_load.boxes, seen, NAN),
        padded(seen, seen, -1),
        padded(given_load.scores, seen, NAN),
        given_load.classes,
    )
    tables_equal(evaluate(*given_load, method=method), evaluate(*batch, method=method))


@settings(max_examples=20)
@given(loads(), st.sampled_from(METHODS))
def test_the_arguments_are_left_alone(given_load, method):
    for column in given_load[:5]:
        for array in column:
            array.setflags(write=False)
    tables_equal(evaluate(*given_load, method=method), evaluate(*given_load, method=method))


# --- an exact brute force, written from the definitions ------------------------------------------


def exact_iou(first, second) -> Fraction:
    sides = [min(first[i + 2], second[i + 2]) - max(first[i], second[i]) for i in (0, 1)]
    common = max(sides[0], 0) * max(sides[1], 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return Fraction(int(common), int(areas - common))


def exact_average_precision(given_load: Load, label: int, threshold: float, method: str):
    """AP of one class as a fraction, None without objects."""
    objects = [
        (image, row, box)
        for image, boxes in enumerate(given_load.truth_boxes)
        for row, box in enumerate(boxes)
        if given_load.truth_labels[image][row] == label
    ]
    ranked = sorted(
        (-given_load.scores[image][row], image, row)
        for image, labels in enumerate(given_load.labels)
        for row in np.flatnonzero(labels == label)
    )
    if not objects:
        return None
    taken, hits, curve = set(), 0, []
    for seen, (_, image, row) in enumerate(ranked, start=1):
        box = given_load.boxes[image][row]
        claims = [
            (exact_iou(box, there), place if method == "coco" else -place, place)
            for home, place, there in objects
            if home == image and not (method == "coco" and (home, place) in taken)
        ]
        overlap, _, place = max(claims, default=(0, 0, None))
        if float(overlap) >= threshold and (image, place) not in taken:
            taken.add((image, place))
            hits += 1
        curve.append((hits, Fraction(hits, seen)))

    def best(reached):
        return max((precision for found, precision in curve if reached(found)), default=Fraction(0))

    n = len(objects)
    if method == "all":  # each object adds 1/n to recall, at the best precision from there on
        return sum((best(lambda found, k=k: found >= k) for k in range(1, n + 1)), Fraction(0)) / n
    if method == "voc07":
        return sum(best(lambda found, k=k: 10 * found >= k * n) for k in range(11)) / 11
    # In floats, as pycocotools has it.
    return sum(best(lambda found, k=k: found / n >= k * 0.01) for k in range(101)) / 101


@given(loads(), st.sampled_from(METHODS))
def test_equals_the_exact_brute_force(given_load, method):
    result = evaluate(*given_load, method=method)
    for row, threshold in enumerate(0.5 + 0.05 * k for k in range(10)):
        for label in range(1, given_load.classes + 1):
            exact = exact_average_precision(given_load, label, threshold, method)
            expected = NAN if exact is None else float(exact)
            np.testing.assert_allclose(
                result.table[row, label - 1],
                expected,
                rtol=0,
                atol=1e-12,
                err_msg=f"IoU {threshold:.2f}, label {label}",
            )


# --- golden numbers of pycocotools ---------------------------------------------------------------


def planted(seed, images, objects, detections, classes):
    """A load of whole pixels from a generator written out, so that no library can change it.

    Each detection is near an object of its image, more or less; scores are sixteenths, so
    that many are equal. The last class has no objects.
    """
    state = seed

    def draw(n):
        nonlocal state
        state = (state * 1103515245 + 12345) % 2**31
        return (state >> 16) % n

    truth, found = [], []
    for _ in range(images):
        truth.append([])
        for _ in range(objects):
            x, y, w, h = draw(60), draw(60), 4 + draw(24), 4 + draw(24)
            truth[-1].append((1 + draw(classes - 1), (x, y, x + w, y + h)))
        found.append([])
        for _ in range(detections):
            label, (x, y, right, bottom) = truth[-1][draw(objects)]
            label = 1 + draw(classes) if draw(5) == 0 else label
            shift = draw(4)
            x, y = x + draw(shift + 1), y - draw(shift + 1)
            right, bottom = right + draw(shift + 1), bottom + draw(shift + 1)
            found[-1].append((label, draw(16) / 16, (x, y, max(x, right), bottom)))
    return load(truth, found, classes)


# (seed, images, objects, detections, classes), [map, ap50, ap75], per class. The second has
# 139 and 171 detections of its classes in one image, so that the limit of 100 counts.
GOLDEN = [
    (
        (1, 8, 6, 12, 4),
        [0.41149971503025645, 0.6156114221635479, 0.42666480435845616],
        [0.27489434463808354, 0.5589395283313853, 0.4006652721213002, NAN],
    ),
    (
        (2, 1, 150, 330, 3),
        [0.3320379386388271, 0.5552501048105057, 0.3257452518587821],
        [0.30965373960009057, 0.35442213767756364, NAN],
    ),
    (
        (3, 20, 3, 5, 6),
        [0.5242827222810058, 0.6703376595101758, 0.5693136970792305],
        [
            0.568512910114541,
            0.5072743458556379,
            0.38581958195819605,
            0.5595557126562858,
            0.6002510608203676,
            NAN,
        ],
    ),
]


@pytest.mark.parametrize(
    ("recipe", "stats", "per_class"), GOLDEN, ids=[f"seed {recipe[0]}" for recipe, *_ in GOLDEN]
)
def test_agrees_with_pycocotools(recipe, stats, per_class):
    result = evaluate(*planted(*recipe))
    np.testing.assert_allclose(result[:3], stats, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.per_class, per_class, rtol=0, atol=1e-12)


# --- what is refused -----------------------------------------------------------------------------

GOOD = {
    "truth_boxes": [[], [A, FAR]],
    "truth_labels": [[], [1, 2]],
    "boxes": [[A, A], [A]],
    "labels": [[1, 2], [1]],
    "scores": [[0.5, 0.25], [1.0]],
    "num_classes": 2,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[A, A]]}, r"expected equal lengths\. Received: \[2, 2, 1, 2, 2\]"),
        ({"labels": [[1], [1]]}, r"boxes\[0\]: .*Received: \[\(2, 4\), \(1,\), \(2,\)\]"),
        ({"scores": [[0.5, 0.25], [[1.0]]]}, r"boxes\[1\]: .*\[\(1, 4\), \(1,\), \(1, 1\)\]"),
        ({"truth_labels": [[], [1]]}, r"truth_boxes\[1\]: .*Received: \[\(2, 4\), \(1,\)\]"),
        ({"truth_boxes": [[], [[0, 0, 1]] * 2]}, r"truth_boxes\[1\]: .*\(2, 3\)"),
        ({"labels": [[1, 0], [1]]}, r"boxes\[0\]\[1\]: .*label from 1 to 2 or -1.*, 0\.0, 0\.25\]"),
        ({"labels": [[1, 2], [3]]}, r"boxes\[1\]\[0\]: .*, 3\.0, 1\.0\]"),
        ({"labels": [[1, 1.5], [1]]}, r"boxes\[0\]\[1\]: .*, 1\.5, 0\.25\]"),
        ({"truth_labels": [[], [1, 3]]}, r"truth_boxes\[1\]\[1\]: .*label from 1 to 2.*3\.0\]"),
        ({"scores": [[0.5, NAN], [1.0]]}, r"boxes\[0\]\[1\]: .*finite score\. Received: .*nan\]"),
        ({"scores": [[0.5, 1], [math.inf]]}, r"boxes\[1\]\[0\]: .*inf\]"),
        ({"boxes": [[A, A], [(0, 0, NAN, 1)]]}, r"boxes\[1\]\[0\]: expected finite corners.*nan"),
        ({"truth_boxes": [[], [A, (0, 0, NAN, 1)]]}, r"truth_boxes\[1\]\[1\]: .*nan"),
        ({"truth_boxes": [[], [A, (3, 0, 3, 1)]]}, r"truth_boxes\[1\]\[1\]: expected xmin < xmax"),
        (
            {"truth_boxes": [[], [A, (3, 0, 3, 1)]], "truth_labels": [[], [-1, 2]]},
            r"truth_boxes\[1\]\[1\]: expected xmin < xmax",
        ),
        ({"truth_labels": [[], [-1, -1]]}, r"truth_labels: expected an object.*2 empty images"),
        ({key: [] for key in list(GOOD)[:5]}, r"truth_labels: expected an object.*0 empty"),
        ({"method": "voc12"}, r"method: expected one of 'voc07', .*\. Received: 'voc12'"),
    ],
)
def test_evaluate_refuses(change, message):
    evaluate(**GOOD)
    with pytest.raises(ValueError, match=message):
        evaluate(**{**GOOD, **change})


def test_average_precision_is_cocos_unless_told_otherwise():
    hits = [True, False, True]
    assert average_precision(hits, 3) == average_precision(hits, 3, "coco")
    assert average_precision(hits, 3) != average_precision(hits, 3, "voc07")
