"""Presets: each known system, held to its own arithmetic written once more as plain loops.

The loops follow the files that the presets cite, in the order of steps of those files, and take
nothing from reference_numpy. They say what a system computes, so that nobody has to install it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from math import ceil, exp, inf, log, log1p
from pathlib import Path

import numpy as np
import pytest

from reference_numpy.anchors import linear_scales, make_anchors
from reference_numpy.coding import decode, encode
from reference_numpy.conventions import CANONICAL, PRESETS, SSD300, UNMATCHED, presets
from reference_numpy.detection import detect, select
from reference_numpy.matching import match
from reference_numpy.multibox import multibox_loss
from reference_numpy.targets import assign_targets
from tests.reference.golden_anchors import ENDS, GOLDEN

_ = UNMATCHED
NAMES = [
    "canonical",
    "caffe",
    "torchvision_ssd300",
    "torchvision_ssdlite320",
    "tf_od_ssd_mobilenet_v2",
    "ssd_keras",
    "nvidia_ssd300",
    "mediapipe",
    "paz",
    "mnist_notebook",
]
TENSORFLOW = ["tf_od_ssd_mobilenet_v2", "mediapipe"]
TORCHVISION = ["torchvision_ssd300", "torchvision_ssdlite320"]
EVERY = pytest.mark.parametrize("name", NAMES)

# --- anchors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_anchors_have_the_count_and_the_ends_of_their_source(name):
    count, ends = ENDS[name]
    anchors = make_anchors(GOLDEN[name].layout, np.float64)
    assert anchors.shape == (count, 4)
    np.testing.assert_allclose(anchors[[0, 1, -2, -1]], ends, rtol=0, atol=5.1e-8)


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_anchors_equal_the_formula_of_their_source_everywhere(golden):
    anchors = make_anchors(golden.layout, np.float64)
    np.testing.assert_allclose(anchors, list(golden.formula()), rtol=0, atol=1e-15)


def test_every_preset_has_golden_anchors():
    layouts = [golden.layout for golden in GOLDEN.values()]
    assert all(convention.layout in layouts for convention in PRESETS.values())
    assert set(ENDS) == set(GOLDEN)


def test_the_scales_of_the_paper_are_its_equation_behind_a_tenth():
    assert SSD300.scales == pytest.approx((0.1, *linear_scales(5)))


def test_nvidia_computes_in_float32():
    # One rounding each, before the clamp there and after it here.
    golden = GOLDEN["NVIDIA dboxes300"]
    there = np.array(list(golden.formula()), np.float32)
    assert np.abs(there - make_anchors(golden.layout, np.float64)).max() < 3e-8
    np.testing.assert_allclose(make_anchors(golden.layout), there, rtol=0, atol=6e-8)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ssd_keras SSD300", "Caffe SSD300 VOC", True),
        ("paz SSD300", "Caffe SSD300 VOC", True),
        ("ssd_keras SSD512", "Caffe SSD512 VOC", False),  # whole pixels
        ("paz SSD512", "Caffe SSD512 COCO", False),  # per cents of other rounding
        ("MediaPipe 300", "TF OD 300", True),
        ("torchvision SSD300", "Caffe SSD300 COCO", False),  # two sizes are cut
        ("paper SSD300", "Caffe SSD300 VOC", False),  # steps, and scales in whole per cents
    ],
)
def test_which_families_share_anchors(one, other, same):
    both = [make_anchors(GOLDEN[name].layout, np.float64) for name in (one, other)]
    assert np.allclose(*both, rtol=0, atol=1e-12) == same


# --- the table -----------------------------------------------------------------------------------


# What each preset answers and CANONICAL does not. A change here changes what somebody relies on.


# What each preset overrides in CANONICAL. A change here changes what somebody relies on.
RECORDED = json.loads(Path(__file__).with_name("presets.json").read_text(encoding="utf-8"))


def fields_of(convention, part):
    return {**asdict(getattr(convention, part)), "name": ""}


@EVERY
def test_a_preset_differs_from_canonical_as_recorded(name):
    function = getattr(presets, name)
    assert function() == PRESETS[name]
    for part in ("layout", "overlap", "matching", "coding", "loss", "detection"):
        usual, mine = fields_of(CANONICAL, part), fields_of(function(), part)
        found = {field: value for field, value in mine.items() if value != usual[field]}
        assert json.loads(json.dumps(found)) == RECORDED[name].get(part, {}), part


def test_the_presets_are_the_ten_and_go_by_their_names():
    assert list(PRESETS) == NAMES
    assert all(convention.name == name for name, convention in PRESETS.items())
    assert PRESETS["canonical"] == CANONICAL


# --- matching ------------------------------------------------------------------------------------

MATRICES = {
    "A": [[0.4, 0.35, 0.0], [0.6, 0.1, 0.0]],  # both want anchor 0, the last one more
    "B": [[0.6, 0.1, 0.0], [0.4, 0.35, 0.0]],  # the same, the first one more
    "C": [[0.0, 0.7, 0.6], [0.0, 0.0, 0.0]],  # an object that overlaps nothing
    "D": [[0.7, 0.6, 0.2], [0.7, 0.6, 0.2]],  # two of one place
    "E": [[0.5, 0.2, 0.1]],  # the threshold, on the best anchor
    "F": [[0.7, 0.1, 0.0], [0.6, 0.2, 0.0], [0.55, 0.3, 0.0]],  # three want anchor 0
    "G": [[0.7, 0.5, 0.2]],  # the threshold, on another anchor
}
GREEDY = {
    "A": [1, 0, _],
    "B": [0, 1, _],
    "C": [_, 0, 0],
    "D": [0, 1, _],
    "E": [0, _, _],
    "F": [0, 2, _],
    "G": [0, 0, _],
}
LAST = {
    "A": [1, _, _],
    "B": [1, _, _],
    "C": [1, 0, 0],
    "D": [1, 0, _],
    "E": [0, _, _],
    "F": [2, _, _],
    "G": [0, 0, _],
}
FIRST = {
    "A": [0, _, _],
    "B": [0, _, _],
    "C": [1, 0, 0],
    "D": [0, 0, _],
    "E": [0, _, _],
    "F": [0, _, _],
    "G": [0, 0, _],
}
MATCHED = {
    "canonical": GREEDY,
    "caffe": GREEDY,
    "torchvision_ssd300": LAST,
    "torchvision_ssdlite320": LAST,
    "tf_od_ssd_mobilenet_v2": FIRST,
    "ssd_keras": GREEDY,  # its own C and F are spoilt: see below
    "nvidia_ssd300": {**LAST, "G": [0, _, _]},
    "mediapipe": FIRST,
    "paz": LAST,
    "mnist_notebook": {
        "A": [1, _, _],
        "B": [0, _, _],
        "C": [_, 0, 0],
        "D": [0, 0, _],
        "E": [_, _, _],
        "F": [0, _, _],
        "G": [0, _, _],
    },
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("matrix", MATRICES)
@EVERY
def test_matching_matrices(name, matrix, dtype):
    iou = np.array(MATRICES[matrix], dtype)
    assert match(iou, PRESETS[name]).tolist() == MATCHED[name][matrix]
    assert match(iou[:0], PRESETS[name]).tolist() == [_, _, _]


def caffe_matches(iou, least=1e-6):
    """bbox_util.cpp, MatchBBox: anchors outside, objects inside, a pair only above 1e-6."""
    anchors, waiting = range(len(iou[0])), list(range(len(iou)))
    answer = [_ for _anchor in anchors]
    while waiting:
        best, pair = -1.0, None
        for anchor in anchors:
            for thing in waiting:
                overlap = iou[thing][anchor]
                if answer[anchor] == _ and overlap > least and overlap > best:
                    best, pair = overlap, (thing, anchor)
        if pair is None:
            break
        answer[pair[1]] = pair[0]
        waiting.remove(pair[0])
    for anchor in anchors:
        best = -1.0
        for thing in range(len(iou)) if answer[anchor] == _ else ():
            if best < iou[thing][anchor] >= 0.5:
                best, answer[anchor] = iou[thing][anchor], thing
    return answer


def first_largest(values):
    place = 0
    for index, value in enumerate(values):
        if value > values[place]:
            place = index
    return place


def best_objects(iou, positive):
    """The first of the best objects of each anchor, if it is positive, and the anchors wanted."""
    answer = []
    for column in zip(*iou, strict=True):
        thing = first_largest(column)
        answer.append(thing if positive(column[thing]) else _)
    return answer, [first_largest(row) for row in iou]


def torchvision_matches(iou):
    """_utils.py, SSDMatcher; and paz/backend/boxes.py, match: written object by object."""
    answer, wanted = best_objects(iou, lambda overlap: not overlap < 0.5)
    for thing, anchor in enumerate(wanted):
        answer[anchor] = thing
    return answer


def nvidia_matches(iou):
    """ssd/utils.py, Encoder.encode: the wanted anchors have an IoU of 2, then all above .5."""
    best, wanted = best_objects(iou, lambda overlap: True)
    overlaps = [max(column) for column in zip(*iou, strict=True)]
    for thing, anchor in enumerate(wanted):
        overlaps[anchor], best[anchor] = 2.0, thing
    return [thing if overlap > 0.5 else _ for thing, overlap in zip(best, overlaps, strict=True)]


def tensorflow_matches(iou):
    """argmax_matcher.py: force_match_for_each_row takes the first row that wants a column."""
    answer, wanted = best_objects(iou, lambda overlap: not overlap < 0.5)
    return [wanted.index(anchor) if anchor in wanted else one for anchor, one in enumerate(answer)]


def ssd_keras_matches(iou):
    """matching_utils.py: what is taken is overwritten with 0, which is an overlap like any."""
    rest = [list(row) for row in iou]
    taken = [0] * len(iou)
    for _round in iou:
        wanted = [first_largest(row) for row in rest]
        thing = first_largest([row[anchor] for row, anchor in zip(rest, wanted, strict=True)])
        taken[thing] = wanted[thing]
        rest[thing] = [0.0] * len(rest[thing])
        for row in rest:
            row[taken[thing]] = 0.0
    free = [[0.0 if anchor in taken else one for anchor, one in enumerate(row)] for row in iou]
    answer, _wanted = best_objects(free, lambda overlap: overlap >= 0.5)
    for thing, anchor in enumerate(taken):
        answer[anchor] = thing
    return answer


MATCHERS = {
    "canonical": lambda iou: caffe_matches(iou, least=0.0),
    "caffe": caffe_matches,
    "torchvision_ssd300": torchvision_matches,
    "torchvision_ssdlite320": torchvision_matches,
    "tf_od_ssd_mobilenet_v2": tensorflow_matches,
    "nvidia_ssd300": nvidia_matches,
    "mediapipe": tensorflow_matches,
    "paz": torchvision_matches,
    "mnist_notebook": lambda iou: best_objects(iou, lambda overlap: overlap > 0.5)[0],
}
LEVELS = np.array([0, 0, 0, 1e-7, 1e-6, 2e-6, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6, 0.7, 1.0])


@pytest.mark.parametrize("name", MATCHERS)
def test_matching_of_matrices_full_of_ties(name):
    rng = np.random.default_rng(0)
    for _round in range(400):
        iou = rng.choice(LEVELS, (rng.integers(1, 6), rng.integers(1, 8)))
        assert match(iou, PRESETS[name]).tolist() == MATCHERS[name](iou.tolist()), iou


def test_matching_of_ssd_keras_away_from_its_bug():
    rng = np.random.default_rng(0)
    for _round in range(400):
        objects = rng.integers(1, 6)
        iou = rng.choice(LEVELS[LEVELS > 0], (objects, rng.integers(objects, 9)))
        assert match(iou, PRESETS["ssd_keras"]).tolist() == ssd_keras_matches(iou.tolist()), iou


@pytest.mark.parametrize(("matrix", "spoilt"), [("C", [1, 0, 0]), ("F", [1, 2, _])])
def test_the_bug_of_ssd_keras_is_left_out(matrix, spoilt):
    # An object that overlaps nothing (any more) takes anchor 0 from another one.
    assert ssd_keras_matches(MATRICES[matrix]) == spoilt
    assert match(np.array(MATRICES[matrix]), PRESETS["ssd_keras"]).tolist() == GREEDY[matrix]


@EVERY
def test_anchors_over_a_crowd(name):
    # The object is anchor 0. Of anchors 1, 2 and 3 a crowd covers all, one half, and .45. No system
    # knows crowds: these leave them out while reading (as here), or take them for objects.
    anchors = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
    anchors = np.append(anchors, [[0.75, 0.775, 0.5, 0.5]], axis=0)
    boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 0.75]])
    labels, crowds = np.array([3, 4]), np.array([False, True])
    found = assign_targets(boxes, labels, anchors, PRESETS[name], crowds=crowds).labels.tolist()
    assert found == ([3, -1, -1, 0] if name == "canonical" else [3, 0, 0, 0])


# --- coding --------------------------------------------------------------------------------------


def caffe_code(box, anchor):
    """bbox_util.cpp, EncodeBBox; ssd_input_encoder.py; ssd/model.py, _loc_vec; _utils.py."""
    x, y, w, h = box
    ax, ay, aw, ah = anchor
    return [(x - ax) / aw / 0.1, (y - ay) / ah / 0.1, log(w / aw) / 0.2, log(h / ah) / 0.2]


def paz_code(box, anchor):
    """paz/backend/boxes.py, encode: the epsilon is inside the logarithm."""
    x, y, w, h = box
    ax, ay, aw, ah = anchor
    tw, th = log(w / aw + 1e-8), log(h / ah + 1e-8)
    return [(x - ax) / aw / 0.1, (y - ay) / ah / 0.1, tw / 0.2, th / 0.2]


def tensorflow_code(box, anchor):
    """faster_rcnn_box_coder.py, _encode: the epsilon is on every size before all else; y first."""
    x, y, w, h = box
    ax, ay, aw, ah = anchor
    aw, ah, w, h = aw + 1e-8, ah + 1e-8, w + 1e-8, h + 1e-8
    return [(y - ay) / ah * 10, (x - ax) / aw * 10, log(h / ah) * 5, log(w / aw) * 5]


def notebook_code(box, anchor):
    """model.ipynb, convert: differences in pixels of 224, rows first."""
    x, y, w, h = (224 * (one - other) for one, other in zip(box, anchor, strict=True))
    return [y, x, h, w]


def caffe_box(code, anchor, largest=inf):
    """bbox_util.cpp, DecodeBBox; with a largest exponent, _utils.py, decode_single."""
    ax, ay, aw, ah = anchor
    x, y = ax + code[0] * 0.1 * aw, ay + code[1] * 0.1 * ah
    w, h = (exp(min(t * 0.2, largest)) * a for t, a in ((code[2], aw), (code[3], ah)))
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def torchvision_box(code, anchor):
    return caffe_box(code, anchor, largest=log(1000 / 16))


def tensorflow_box(code, anchor):
    """faster_rcnn_box_coder.py, _decode; tensors_to_detections_calculator.cc, DecodeBoxes."""
    return caffe_box([code[1], code[0], code[3], code[2]], anchor)


def notebook_box(code, anchor):
    """model.ipynb, Bbox."""
    x, y, w, h = (a + code[t] / 224 for a, t in zip(anchor, (1, 0, 3, 2), strict=True))
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


CODERS = {
    **dict.fromkeys(["canonical", "caffe", "ssd_keras", "nvidia_ssd300"], (caffe_code, caffe_box)),
    **dict.fromkeys(TORCHVISION, (caffe_code, torchvision_box)),
    **dict.fromkeys(TENSORFLOW, (tensorflow_code, tensorflow_box)),
    "paz": (paz_code, caffe_box),
    "mnist_notebook": (notebook_code, notebook_box),
}


@EVERY
def test_codes_of_boxes(name):
    # Down to sizes of 1e-7, where an epsilon of 1e-8 shows.
    rng = np.random.default_rng(1)
    centers = np.concatenate([rng.random((200, 2)), 10 ** rng.uniform(-7, 0.3, (200, 2))], axis=1)
    anchors = np.concatenate([rng.random((200, 2)), 10 ** rng.uniform(-7, 0.3, (200, 2))], axis=1)
    corners = np.concatenate(
        [centers[:, :2] - centers[:, 2:] / 2, centers[:, :2] + centers[:, 2:] / 2], axis=1
    )
    centers[:, 2:] = corners[:, 2:] - corners[:, :2]  # the sizes that are left of the corners
    expected = [CODERS[name][0](*pair) for pair in zip(centers, anchors, strict=True)]
    np.testing.assert_allclose(
        encode(corners, anchors, PRESETS[name]), expected, rtol=1e-11, atol=1e-11
    )


@EVERY
def test_boxes_of_codes(name):
    # tw and th up to 40: exponents up to 8, beyond torchvision's limit of 4.1.
    rng = np.random.default_rng(2)
    anchors = np.concatenate([rng.random((200, 2)), rng.uniform(0.01, 1, (200, 2))], axis=1)
    codes = rng.uniform(-40, 40, (200, 4))
    expected = [CODERS[name][1](*pair) for pair in zip(codes, anchors, strict=True)]
    np.testing.assert_allclose(
        decode(codes, anchors, PRESETS[name]), expected, rtol=1e-12, atol=1e-12
    )


FLAT = np.array([[0.5, 0.4, 0.5, 0.6]])  # no width, on an anchor of .2 × .2
FLAT_CODES = {
    "tf_od_ssd_mobilenet_v2": [0, 0, 0, 5 * log(1e-8 / 0.20000001)],  # -84.06
    "mediapipe": [0, 0, 0, 5 * log(1e-8 / 0.20000001)],
    "paz": [0, 0, log(1e-8) / 0.2, log(1 + 1e-8) / 0.2],  # -92.10
    "mnist_notebook": [0, 0, 0, -44.8],
}


@EVERY
def test_an_object_without_width(name):
    anchors, convention = np.array([[0.5, 0.5, 0.2, 0.2]]), PRESETS[name]
    if name in FLAT_CODES:
        np.testing.assert_allclose(
            encode(FLAT, anchors, convention), [FLAT_CODES[name]], rtol=1e-9, atol=1e-9
        )
    elif name == "caffe":  # its overlaps are 0, so it is never matched, nor looked at
        assert assign_targets(FLAT, np.array([1]), anchors, convention).labels.tolist() == [0]
    else:
        with pytest.raises(ValueError, match="xmin < xmax"):
            assign_targets(FLAT, np.array([1]), anchors, convention)


# --- loss ----------------------------------------------------------------------------------------


def softmax_loss(logits, column):
    largest = max(logits)
    return log(sum(exp(one - largest) for one in logits)) + largest - logits[column]


def sigmoid_loss(logits, column):
    each = (-one if place == column else one for place, one in enumerate(logits))
    return sum(max(one, 0) + log1p(exp(-abs(one))) for one in each)


def box_distance(code, target):
    gaps = (abs(one - other) for one, other in zip(code, target, strict=True))
    return sum(gap * gap / 2 if gap < 1 else gap - 0.5 for gap in gaps)


def losses_of(codes, logits, targets, labels, class_loss=softmax_loss):
    """For each image: the class losses, the box losses, the positives, the others."""
    for image in zip(codes, logits, targets, labels, strict=True):
        cls = [class_loss(row, label) for row, label in zip(image[1], image[3], strict=True)]
        box = [box_distance(*pair) for pair in zip(image[0], image[2], strict=True)]
        anchors = range(len(cls))
        positives = [anchor for anchor in anchors if image[3][anchor] > 0]
        yield cls, box, positives, [anchor for anchor in anchors if image[3][anchor] == 0]


def caffe_loss(codes, logits, targets, labels, boxes, ratio=3.0):
    """multibox_loss_layer.cpp, Forward_cpu, with MineHardExamples of bbox_util.cpp."""
    total, matches = 0.0, 0
    for cls, box, positives, others in losses_of(codes, logits, targets, labels):
        matches += len(positives)
        others.sort(key=lambda anchor: -cls[anchor])
        mined = others[: min(int(len(positives) * ratio), len(others))]
        total += sum(cls[anchor] for anchor in positives + mined)
        total += sum(box[anchor] for anchor in positives)
    return total / max(1, matches)


def torchvision_loss(codes, logits, targets, labels, boxes, ratio=3.0):
    """ssd.py, compute_loss: the rank is below ratio × positives, so a fraction counts.

    Positives rank last, and there count once more where negatives run out; not here.
    """
    total, matches = 0.0, 0
    for cls, box, positives, others in losses_of(codes, logits, targets, labels):
        matches += len(positives)
        for rank, anchor in enumerate(sorted(others, key=lambda anchor: -cls[anchor])):
            total += cls[anchor] if rank < ratio * len(positives) else 0
        total += sum(cls[anchor] + box[anchor] for anchor in positives)
    return total / max(1, matches)


def ssd_keras_loss(codes, logits, targets, labels, boxes):
    """keras_ssd_loss.py, compute_loss: the hardest of all images together."""
    images = list(losses_of(codes, logits, targets, labels))
    matches = sum(len(positives) for _cls, _box, positives, _others in images)
    background = sorted((cls[one] for cls, _box, _own, others in images for one in others))
    total = sum(background[::-1][: 3 * matches])
    total += sum(cls[one] + box[one] for cls, box, positives, _o in images for one in positives)
    return total / max(1, matches)


def nvidia_loss(codes, logits, targets, labels, boxes):
    """ssd/model.py, Loss.forward: positives rank as 0, two masks are joined by "or"."""
    total = 0.0
    for cls, box, positives, others in losses_of(codes, logits, targets, labels):
        ranked = sorted(range(len(cls)), key=lambda one: -cls[one] if one in others else 0)
        counted = set(positives) | set(ranked[: min(3 * len(positives), len(cls))])
        one = sum(cls[anchor] for anchor in counted) + sum(box[anchor] for anchor in positives)
        total += one / max(len(positives), 1e-6) if positives else 0
    return total / len(labels)


def paz_loss(codes, logits, targets, labels, boxes):
    """multi_box_loss.py, MultiBoxLoss.compute_loss: top_k of at most 300 in an image."""
    total, matches = 0.0, 0
    for cls, box, positives, others in losses_of(codes, logits, targets, labels):
        matches += len(positives)
        masked = [cls[anchor] if anchor in others else 0.0 for anchor in range(len(cls))]
        total += sum(sorted(masked)[::-1][: min(3 * len(positives), 300)])
        total += sum(cls[anchor] + box[anchor] for anchor in positives)
    return total / max(1, matches)


def tensorflow_loss(codes, logits, targets, labels, boxes, ratio=3.0):
    """core/losses.py, HardExampleMiner; ssd_meta_arch.py: N is that of before suppression."""
    total, matches = 0.0, 0
    images = losses_of(codes, logits, targets, labels, sigmoid_loss)
    for (cls, box, positives, _others), place in zip(images, boxes, strict=True):
        matches += len(positives)
        order = sorted(range(len(cls)), key=lambda anchor: -cls[anchor])
        order = greedy(place, order, lambda overlap: overlap > 0.99)
        allowed = max(3, int(ratio * len([one for one in order if one in positives])))
        negatives = 0
        for anchor in order:
            negatives += anchor not in positives
            if anchor in positives or negatives <= allowed:
                total += cls[anchor] + (box[anchor] if anchor in positives else 0)
    return total / max(1, matches)


def notebook_loss(codes, logits, targets, labels, boxes):
    """model.ipynb, smoothL1 and confidenceLoss: means over all anchors; background is last."""
    last = len(logits[0][0]) - 1
    cls, box = [], []
    for image in zip(codes, logits, targets, labels, strict=True):
        for code, row, target, label in zip(*image, strict=True):
            cls.append(softmax_loss(row, label - 1 if label else last))
            box.append(box_distance(code, target) / 4)
    return sum(cls) / len(cls) + sum(box) / len(box)


LOSSES = {
    "canonical": caffe_loss,
    "caffe": caffe_loss,
    "torchvision_ssd300": torchvision_loss,
    "torchvision_ssdlite320": torchvision_loss,
    "tf_od_ssd_mobilenet_v2": tensorflow_loss,
    "ssd_keras": ssd_keras_loss,
    "nvidia_ssd300": nvidia_loss,
    "mediapipe": tensorflow_loss,
    "paz": paz_loss,
    "mnist_notebook": notebook_loss,
}


def overlap(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = [max(x1 - x0, 0) * max(y1 - y0, 0) for x0, y0, x1, y1 in (first, second)]
    return shared / (sum(areas) - shared) if shared else 0.0


def greedy(boxes, order, suppressed):
    kept = []
    for one in order:
        if not any(suppressed(overlap(boxes[other], boxes[one])) for other in kept):
            kept.append(one)
    return kept


def some_boxes(rng, count, largest=0.6, smallest=0.01):
    low = rng.uniform(-0.2, 1, (count, 2))
    return np.concatenate([low, low + rng.uniform(smallest, largest, (count, 2))], axis=1)


def a_batch(rng, anchors, positives):
    """Random heads and targets, as many positives in each image as said."""
    shape = (len(positives), anchors)
    codes, targets = rng.normal(size=(2, *shape, 4))
    logits = 2 * rng.normal(size=(*shape, 4))
    labels = np.zeros(shape, np.int64)
    for image, count in enumerate(positives):
        chosen = rng.choice(anchors, count, replace=False)
        labels[image, chosen] = rng.integers(1, 4, count)
    targets[labels == 0] = 0
    boxes = np.stack([some_boxes(rng, anchors) for _image in positives])
    # For suppression before mining: a quarter are twins, and a quarter overlap another by .95.
    boxes[:, 1::4] = boxes[:, 0::4]
    boxes[:, 3::4] = boxes[:, 2::4]
    boxes[:, 3::4, 2] -= 0.05 * (boxes[:, 3::4, 2] - boxes[:, 3::4, 0])
    return codes, logits, targets, labels, boxes


def check_loss(name, batch, **overrides):
    expected = LOSSES[name](*(part.tolist() for part in batch), **overrides)
    given = {f"negative_{one}": value for one, value in overrides.items()}
    found = multibox_loss(*batch[:4], PRESETS[name], boxes=batch[4], **given)
    assert found.total == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "positives",
    # No positives at all; few; none in one image; more than negatives suffice for.
    [(0,), (0, 0), (5,), (4, 0, 1), (1, 9), (15, 0, 3), (40, 20)],
    ids=str,
)
@EVERY
def test_loss(name, positives):
    rng = np.random.default_rng(3)
    for _round in range(5):
        check_loss(name, a_batch(rng, 40, positives))


@EVERY
def test_loss_of_so_many_positives_that_paz_stops_at_300(name):
    check_loss(name, a_batch(np.random.default_rng(4), 600, (150, 20)))


@pytest.mark.parametrize("name", TENSORFLOW)
def test_a_fraction_of_a_negative_after_suppression(name):
    rng = np.random.default_rng(12)
    for positives in ((3, 5), (7, 9)):
        check_loss(name, a_batch(rng, 40, positives), ratio=1.5)


@pytest.mark.parametrize("name", ["canonical", "caffe", *TORCHVISION])
def test_a_fraction_of_a_negative(name):
    # 1.5 × 3 = 4.5: Caffe takes 4, torchvision 5.
    batch = a_batch(np.random.default_rng(5), 40, (3, 5))
    check_loss(name, batch, ratio=1.5)
    counts = multibox_loss(*batch[:4], PRESETS[name], negative_ratio=1.5).negatives.sum(axis=1)
    rounding = ceil if name in TORCHVISION else int
    assert counts.tolist() == [rounding(4.5), rounding(7.5)]


# --- detection -----------------------------------------------------------------------------------

# Each gives (score, label, anchor, box) in order. `most` is how many of a class enter suppression.


def per_class(boxes, scores, *, above, most, suppressed, backwards=False):
    """The steps that all share: threshold, best of each class, suppression within the class."""
    for column in range(len(scores[0])):
        order = [anchor for anchor in range(len(boxes)) if above(scores[anchor][column])]
        # Ascending and read from the end, where a program does so: ties go to the highest anchor.
        if backwards:
            order = sorted(order, key=lambda anchor: scores[anchor][column])[::-1]
        else:
            order = sorted(order, key=lambda anchor: -scores[anchor][column])
        for anchor in greedy(boxes, order[:most], suppressed):
            yield scores[anchor][column], column + 1, anchor, boxes[anchor]


def into_image(box):
    return [min(max(one, 0.0), 1.0) for one in box]


def by_score(rows):
    return sorted(rows, key=lambda row: -row[0])  # stable


def canonical_detections(boxes, scores, most=400):
    boxes = [into_image(box) for box in boxes]
    return caffe_detections(boxes, scores, most)


def caffe_detections(boxes, scores, most=400):
    """detection_output_layer.cpp; among equal scores at the limit of 200 it does not choose."""
    rows = per_class(
        boxes, scores, above=lambda s: s > 0.01, most=most, suppressed=lambda o: not o <= 0.45
    )
    return sorted(rows, key=lambda row: (-row[0], row[2], row[1]))[:200]


def torchvision_detections(boxes, scores, most=400, least=0.01, iou=0.45, total=200):
    """ssd.py, postprocess_detections."""
    rows = per_class(
        [into_image(box) for box in boxes],
        scores,
        above=lambda s: s > least,
        most=most,
        suppressed=lambda o: o > iou,
    )
    return by_score(rows)[:total]


def ssdlite_detections(boxes, scores, most=300):
    """ssdlite.py, the same with other numbers."""
    return torchvision_detections(boxes, scores, most, least=0.001, iou=0.55, total=300)


def tensorflow_detections(boxes, scores):
    """core/post_processing.py, multiclass_non_max_suppression: 100 kept of each class."""
    rows = []
    for column in range(len(scores[0])):
        alone = [[row[column]] for row in scores]
        found = per_class(
            boxes, alone, above=lambda s: s > 1e-8, most=None, suppressed=lambda o: o > 0.6
        )
        rows += [(score, column + 1, *rest) for score, _one, *rest in list(found)[:100]]
    rows = [(*row, into_image(box)) for *row, box in by_score(rows)]
    solid = [row for row in rows if row[3][0] < row[3][2] and row[3][1] < row[3][3]]
    return solid[:100]


def ssd_keras_detections(boxes, scores, kept=200):
    """keras_layer_DecodeDetections.py: 400 of a class are kept after suppression."""
    rows = []
    for column in range(len(scores[0])):
        alone = [[row[column]] for row in scores]
        found = per_class(
            boxes, alone, above=lambda s: s > 0.01, most=None, suppressed=lambda o: o > 0.45
        )
        rows += [(score, column + 1, *rest) for score, _one, *rest in list(found)[:400]]
    return by_score(rows)[:kept]


def nvidia_detections(boxes, scores, most=200):
    """ssd/utils.py, Encoder.decode_single, with the .50 of ssd/evaluate.py; ours is turned round.

    Ties are sorted here as the preset has them, which matters to the order of the answer only.
    """
    rows = per_class(
        boxes,
        scores,
        above=lambda s: s > 0.05,
        most=most,
        suppressed=lambda o: not o < 0.5,
        backwards=True,
    )
    return sorted(rows, key=lambda row: (-row[0], -row[2], row[1]))[:200]


def paz_detections(boxes, scores, most=200):
    """paz/backend/boxes.py, nms_per_class at .01, then filter_boxes at .6, with no limit."""
    rows = per_class(
        boxes,
        scores,
        above=lambda s: s >= 0.01,
        most=most,
        suppressed=lambda o: not o <= 0.45,
        backwards=True,
    )
    sure = [row for row in rows if row[0] >= 0.6]
    return sorted(sure, key=lambda row: (-row[0], -row[2], row[1]))


def best_class_detections(boxes, scores, least=0.6, iou=0.4, total=1):
    """tensors_to_detections_calculator.cc, then non_max_suppression_calculator.cc.

    TensorFlow Lite's detection_postprocess.cc in its fast form is the same with other numbers.
    """
    best = [(max(row), first_largest(row) + 1) for row in scores]
    order = sorted(range(len(best)), key=lambda anchor: -best[anchor][0])
    kept = greedy(boxes, [one for one in order if best[one][0] >= least], lambda o: o > iou)
    return [(*best[anchor], anchor, boxes[anchor]) for anchor in kept][:total]


def notebook_detections(boxes, scores, most=10):
    """model.ipynb, infer and the drawing cell: the ten best of a class, drawn from .5."""
    rows = []
    for column in range(len(scores[0])):
        order = sorted(range(len(boxes)), key=lambda anchor: -scores[anchor][column])[:most]
        rows += [(scores[one][column], column + 1, one, boxes[one]) for one in order]
    sure = [row for row in rows if not row[0] < 0.5]
    return sorted(sure, key=lambda row: (-row[0], row[2], row[1]))


DETECTIONS = {
    "canonical": canonical_detections,
    "caffe": caffe_detections,
    "torchvision_ssd300": torchvision_detections,
    "torchvision_ssdlite320": ssdlite_detections,
    "tf_od_ssd_mobilenet_v2": tensorflow_detections,
    "ssd_keras": ssd_keras_detections,
    "nvidia_ssd300": nvidia_detections,
    "mediapipe": best_class_detections,
    "paz": paz_detections,
    "mnist_notebook": notebook_detections,
}


def check_detections(found, expected):
    assert len(found.scores) == len(expected)
    if expected:
        scores, labels, anchors, boxes = zip(*expected, strict=True)
        assert found.labels.tolist() == list(labels)
        assert found.anchors.tolist() == list(anchors)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-12)
        np.testing.assert_allclose(found.boxes, boxes, rtol=1e-12, atol=1e-12)


# Every score threshold of a preset and its neighbours; boxes on a grid of eighths, so that IoUs are
# fractions such as 1/2, 2/5 and 3/5 exactly, and many boxes reach beyond the image.
SCORES = np.array([0, 1e-8, 2e-8, 0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.5, 0.55, 0.6, 0.7, 0.9])


def grid_image(rng, anchors, classes=3):
    low = rng.integers(-3, 9, (anchors, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 6, (anchors, 2))], axis=1) / 8
    return boxes, rng.choice(SCORES, (anchors, classes))


@EVERY
def test_detection_where_scores_and_overlaps_tie(name):
    rng = np.random.default_rng(6)
    for _round in range(40):
        boxes, scores = grid_image(rng, 50)
        expected = DETECTIONS[name](boxes.tolist(), scores.tolist())
        check_detections(select(boxes, scores, PRESETS[name]), expected)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if PRESETS[name].detection.candidates_per_class is not None]
)
def test_which_of_equal_scores_enter_suppression(name):
    rng = np.random.default_rng(7)
    for _round in range(40):
        boxes, scores = grid_image(rng, 50)
        expected = DETECTIONS[name](boxes.tolist(), scores.tolist(), most=7)
        found = select(boxes, scores, PRESETS[name], candidates_per_class=7)
        check_detections(found, expected)


@EVERY
def test_an_overlap_of_exactly_the_threshold(name):
    # Boxes of one height, 20 and n wide: n / 20 is the threshold.
    widths = {"torchvision_ssdlite320": 11, "nvidia_ssd300": 10, "mnist_notebook": 20}
    width = {**widths, "tf_od_ssd_mobilenet_v2": 12, "mediapipe": 8}.get(name, 9)
    boxes = np.array([[0, 0, 20, 32], [0, 0, width, 32]]) / 32
    found = select(boxes, np.array([[0.9], [0.8]]), PRESETS[name], max_detections=2)
    assert found.anchors.tolist() == ([0] if name == "nvidia_ssd300" else [0, 1])


@pytest.mark.parametrize(
    ("classes", "smallest", "largest"),
    [
        (3, 0.01, 0.1),  # most survive: the limit of all detections
        (1, 0.01, 0.1),  # the limit of all, or of a class, with one class
        (1, 0.3, 0.6),  # most are suppressed: the limit of what enters suppression
    ],
)
@EVERY
def test_detection_where_the_limits_are_reached(name, classes, smallest, largest):
    # 700 scores of a class from 0 to 1, no two alike.
    rng = np.random.default_rng(8)
    boxes, scores = some_boxes(rng, 700, largest, smallest), rng.random((700, classes))
    expected = DETECTIONS[name](boxes.tolist(), scores.tolist())
    check_detections(select(boxes, scores, PRESETS[name]), expected)


def test_limits_of_all_detections_are_reached():
    rng = np.random.default_rng(8)
    boxes, scores = some_boxes(rng, 700, 0.1), rng.random((700, 3))
    limits = {name: len(select(boxes, scores, PRESETS[name]).scores) for name in NAMES}
    assert 200 < limits.pop("paz") < 600  # no limit
    assert limits == {
        "canonical": 200,
        "caffe": 200,
        "torchvision_ssd300": 200,
        "torchvision_ssdlite320": 300,
        "tf_od_ssd_mobilenet_v2": 100,
        "ssd_keras": 200,
        "nvidia_ssd300": 200,
        "mediapipe": 1,
        "mnist_notebook": 30,  # ten of each class
    }


def test_limits_of_a_class_that_a_limit_of_all_hides():
    rng = np.random.default_rng(9)
    corners = np.stack(np.meshgrid(np.arange(30), np.arange(30)), axis=-1).reshape(-1, 2) / 30
    boxes, scores = np.concatenate([corners, corners + 1 / 40], axis=1), rng.random((900, 1))
    for name, kept, limit in (("ssd_keras", 400, 900), ("mnist_notebook", 10, 100)):
        assert len(select(boxes, scores, PRESETS[name], max_detections=limit).scores) == kept
    expected = ssd_keras_detections(boxes.tolist(), scores.tolist(), kept=900)
    check_detections(select(boxes, scores, PRESETS["ssd_keras"], max_detections=900), expected)


@pytest.mark.parametrize(
    "overrides",
    [
        {"max_detections": 3},  # MediaPipe's SSDLite on a phone
        {"max_detections": 5},  # the same on a desktop
        {"score_threshold": 1e-8, "iou_threshold": 0.6, "max_detections": 10},  # TensorFlow Lite
    ],
    ids=["phone", "desktop", "TensorFlow Lite"],
)
def test_detection_of_mediapipe_with_other_numbers(overrides):
    rng = np.random.default_rng(10)
    numbers = [0.6, 0.4, 1]
    for place, one in enumerate(("score_threshold", "iou_threshold", "max_detections")):
        numbers[place] = overrides.get(one, numbers[place])
    for anchors in [5, 50] * 40:  # with few, fewer are sure than may be kept
        boxes, scores = grid_image(rng, anchors)
        expected = best_class_detections(boxes.tolist(), scores.tolist(), *numbers)
        check_detections(select(boxes, scores, PRESETS["mediapipe"], **overrides), expected)


CLIPPED = ["canonical", *TORCHVISION]


@EVERY
def test_detections_without_area_and_beyond_the_image(name):
    flat, outside = [0.2, 0.2, 0.2, 0.6], [1.25, 0.2, 1.5, 0.6]
    boxes, scores = np.array([flat, outside]), np.array([[0.9], [0.8]])
    found = select(boxes, scores, PRESETS[name], max_detections=2).boxes.tolist()
    if name == "tf_od_ssd_mobilenet_v2":  # clipped, and what has no area is dropped
        assert found == []
    else:
        assert found == [flat, [1.0, 0.2, 1.0, 0.6] if name in CLIPPED else outside]


@EVERY
def test_detection_from_the_heads(name):
    # Sigmoids of the columns with TensorFlow, their softmax elsewhere; background is left out.
    rng = np.random.default_rng(11)
    for _round in range(10):
        anchors = np.concatenate([rng.random((60, 2)), rng.uniform(0.05, 0.6, (60, 2))], axis=1)
        codes, logits = 3 * rng.normal(size=(60, 4)), 3 * rng.normal(size=(60, 4))
        boxes = [CODERS[name][1](*pair) for pair in zip(codes, anchors, strict=True)]
        scores = []
        for row in logits.tolist():
            parts = [1 / (1 + exp(-one)) for one in row]
            if name not in TENSORFLOW:
                parts = [exp(one) / sum(exp(other) for other in row) for one in row]
            scores.append(parts[:-1] if name == "mnist_notebook" else parts[1:])
        expected = DETECTIONS[name](boxes, scores)
        assert expected
        check_detections(detect(codes, logits, anchors, PRESETS[name]), expected)
