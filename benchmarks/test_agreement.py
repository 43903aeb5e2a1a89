"""Test the checks of the benchmarks: right passes, wrong fails, a near-tie counts as excused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_impl.benchmark.correctness import check_detections, check_targets
from keras_impl.conformance.detections import HeadTruth
from reference_numpy.conventions import CANONICAL, SSD_MOBILENET300
from reference_numpy.detection import Detections, detect
from reference_numpy.targets import Targets, assign_targets
from reference_numpy.testing.workloads import (
    DecodingWorkload,
    MatchingWorkload,
    decoding_workload,
    matching_workload,
)

# --- matching ------------------------------------------------------------------------------------


def assigned(work: MatchingWorkload) -> list[Targets]:
    images = zip(work.boxes, work.labels, strict=True)
    return [assign_targets(boxes, labels, work.anchors) for boxes, labels in images]


def batched(images: list[Any], kind: type) -> Any:
    return kind(*(np.stack(parts) for parts in zip(*images, strict=True)))


def padded_targets(images: list[Targets]) -> Targets:
    """Return targets in the form of Keras: with a batch axis and int32."""
    labels, deltas, objects = batched(images, Targets)
    return Targets(labels.astype(np.int32), deltas, objects.astype(np.int32))


def with_object(targets: Targets, work: MatchingWorkload, anchor: int, number: int) -> Targets:
    """Return the targets of one image with another object at one anchor, otherwise consistent."""
    labels, deltas, objects = (np.array(part) for part in targets)
    objects[anchor] = number
    labels[anchor], deltas[anchor] = 0, 0
    if number >= 0:
        one = assign_targets(
            work.boxes[0, [number]], work.labels[0, [number]], work.anchors[[anchor]]
        )
        labels[anchor], deltas[anchor] = one.labels[0], one.deltas[0]
    return Targets(labels, deltas, objects)


@pytest.fixture
def matching() -> MatchingWorkload:
    return matching_workload(SSD_MOBILENET300, batch=3, objects=8)


def test_right_targets_pass(matching):
    right = assigned(matching)
    assert check_targets(padded_targets(right), matching, excuse=False) == 0


@pytest.mark.parametrize("excuse", [False, True])
def test_another_object_fails(matching, excuse):
    right = assigned(matching)
    anchor = np.flatnonzero(right[0].objects >= 0)[0]
    wrong = with_object(right[0], matching, anchor, (right[0].objects[anchor] + 1) % 8)

    with pytest.raises(AssertionError, match=rf"image 0: .* at anchor {anchor}, .* and 0 more"):
        check_targets(padded_targets([wrong, *right[1:]]), matching, excuse=excuse)


@pytest.mark.parametrize("excuse", [False, True])
def test_a_lost_object_fails(matching, excuse):
    right = assigned(matching)
    anchor = np.flatnonzero(right[0].objects >= 0)[-1]
    wrong = with_object(right[0], matching, anchor, -1)

    with pytest.raises(AssertionError, match=r"image 0: .* -1 found, and 0 more"):
        check_targets(padded_targets([wrong, *right[1:]]), matching, excuse=excuse)


@pytest.mark.parametrize("part", ["labels", "deltas"])
def test_a_number_that_does_not_follow_from_the_objects_fails(matching, part):
    right = assigned(matching)
    wrong = padded_targets(right)
    positive = wrong.objects >= 0
    getattr(wrong, part)[positive] += 1 if part == "labels" else 1e-3

    with pytest.raises(AssertionError, match=f"image 0: .* {part}"):
        check_targets(wrong, matching, excuse=True)


def two_objects_one_anchor(difference: float) -> tuple[MatchingWorkload, Targets]:
    """Return two boxes mirrored at one anchor, the second wider by `difference`, and targets.

    The targets give the anchor to the second object; the reference gives it to the first.
    """
    boxes = np.array([[[0.375, 0.25, 0.875, 0.75], [0.125 - difference, 0.25, 0.625, 0.75]]])
    work = MatchingWorkload(
        boxes.astype(np.float32), np.array([[1, 2]], np.int32), np.float32([[0.5, 0.5, 0.5, 0.5]])
    )
    right = assigned(work)[0]
    assert right.objects.tolist() == [0]
    return work, with_object(right, work, 0, 1)


def test_a_near_tie_is_excused_where_it_may_be():
    work, other = two_objects_one_anchor(float(np.finfo(np.float32).eps))
    assert check_targets(padded_targets([other]), work, excuse=True) == 1
    with pytest.raises(AssertionError, match="object 0 expected at anchor 0, 1 found"):
        check_targets(padded_targets([other]), work, excuse=False)


def test_a_difference_that_rounding_does_not_explain_is_not_excused():
    work, other = two_objects_one_anchor(1e-4)
    with pytest.raises(AssertionError, match="object 0 expected at anchor 0, 1 found"):
        check_targets(padded_targets([other]), work, excuse=True)


# --- decoding ------------------------------------------------------------------------------------


def detected(work: DecodingWorkload) -> list[Detections]:
    images = zip(work.deltas, work.logits, strict=True)
    return [detect(deltas, logits, work.anchors) for deltas, logits in images]


def padded(images: list[Detections]) -> Detections:
    """Return detections in the form of Keras: with a batch axis, padded to equal length."""
    slots = CANONICAL.detection.max_detections

    def fill(part: np.ndarray, value: int) -> np.ndarray:
        missing = np.full((slots - len(part), *part.shape[1:]), value, part.dtype)
        return np.concatenate([part, missing])

    values = (0, 0, -1, -1)
    return batched([Detections(*map(fill, image, values)) for image in images], Detections)


def without(found: Detections, place: int) -> Detections:
    return Detections(*(np.delete(part, place, axis=0) for part in found))


def exchanged(found: Detections, first: int, second: int) -> Detections:
    order = np.arange(len(found.labels))
    order[[first, second]] = order[[second, first]]
    return Detections(*(part[order] for part in found))


def with_candidate(found: Detections, work: DecodingWorkload, place: int) -> Detections:
    """Add a detection that the reference suppresses.

    It is the best remaining candidate that has the class of the detection at `place` and a lower
    score.
    """
    truth = HeadTruth(work.deltas[0], work.logits[0], work.anchors)
    label = found.labels[place]
    waiting = np.array(truth.scores[:, label - 1])
    waiting[found.anchors[found.labels == label]] = 0
    waiting[waiting >= found.scores[place]] = 0
    anchor = int(np.argmax(waiting))
    new = (truth.boxes[anchor], waiting[anchor], label, anchor)
    place += 1 + int((found.scores[place + 1 :] > waiting[anchor]).sum())
    return Detections(
        *(
            np.insert(part, place, value, axis=0)[: CANONICAL.detection.max_detections]
            for part, value in zip(found, new, strict=True)
        )
    )


@pytest.fixture(params=["realistic", "hard"])
def decoding(request) -> DecodingWorkload:
    return decoding_workload(SSD_MOBILENET300, batch=2, objects=8, load=request.param)


def test_right_detections_pass(decoding):
    right = detected(decoding)
    assert check_detections(padded(right), decoding) == 0


@pytest.mark.parametrize("place", [0, 3])
def test_a_missing_detection_fails(decoding, place):
    right = detected(decoding)
    wrong = padded([without(right[0], place), right[1]])
    with pytest.raises(AssertionError, match="is missing that no kept anchor suppresses"):
        check_detections(wrong, decoding)


def test_another_order_fails(decoding):
    right = detected(decoding)
    wrong = padded([exchanged(right[0], 1, 3), right[1]])
    with pytest.raises(AssertionError, match="order"):
        check_detections(wrong, decoding)


def test_a_suppressed_detection_fails(decoding):
    right = detected(decoding)
    wrong = padded([with_candidate(right[0], decoding, 0), right[1]])
    with pytest.raises(AssertionError, match="a kept anchor suppresses another"):
        check_detections(wrong, decoding)


def test_a_detection_that_does_not_score_fails(decoding):
    right = detected(decoding)
    wrong = padded([right[0], right[1]])
    wrong.labels[0, 0] = wrong.labels[0, 0] % 20 + 1
    with pytest.raises(AssertionError, match=r"threshold|order|not among"):
        check_detections(wrong, decoding)


def test_the_same_detection_twice_fails(decoding):
    right = detected(decoding)
    twice = Detections(*(np.repeat(part, 2, axis=0)[:200] for part in right[0]))
    with pytest.raises(AssertionError, match="twice"):
        check_detections(padded([twice, right[1]]), decoding)


@pytest.mark.parametrize("part", ["boxes", "scores"])
def test_a_number_that_is_off_fails(decoding, part):
    right = detected(decoding)
    wrong = padded(right)
    getattr(wrong, part)[1, 0] += 1e-4
    with pytest.raises(AssertionError, match=f"image 1: .*{part}"):
        check_detections(wrong, decoding)


@pytest.mark.parametrize(("difference", "excused"), [(1e-7, True), (1e-3, False)])
def test_only_a_near_tie_may_come_in_another_order(difference, excused):
    # Two anchors far apart predict boxes with nearly equal scores.
    logits = np.full((1, 2, 2), 0, np.float32)
    logits[0, :, 1] = [1 + difference, 1]
    anchors = np.float32([[0.25, 0.25, 0.25, 0.25], [0.75, 0.75, 0.25, 0.25]])
    work = DecodingWorkload(np.zeros((1, 2, 4), np.float32), logits, anchors)
    right = detected(work)
    assert right[0].anchors.tolist() == [0, 1]
    other = padded([exchanged(right[0], 0, 1)])

    if excused:
        assert check_detections(other, work) == 1
    else:
        with pytest.raises(AssertionError, match="order"):
            check_detections(other, work)


@pytest.mark.parametrize(("difference", "excused"), [(1e-7, True), (1e-3, False)])
def test_only_a_near_tie_may_escape_suppression(difference, excused):
    # Squares of side 1/2, the second moved so that IoU = (1/2 - d) / (1/2 + d) is near .45.
    threshold = CANONICAL.detection.iou_threshold
    shift = (0.5 - 0.5 * threshold) / (1 + threshold)
    anchors = np.float32([[0.25, 0.25, 0.5, 0.5], [0.25 + shift - difference, 0.25, 0.5, 0.5]])
    logits = np.float32([[[0, 3], [0, 2]]])
    work = DecodingWorkload(np.zeros((1, 2, 4), np.float32), logits, anchors)
    right = detected(work)
    assert len(right[0].labels) == 1, "expected the second to be suppressed"
    both = padded([detect(work.deltas[0], logits[0], anchors, iou_threshold=0.5)])

    if excused:
        assert check_detections(both, work) == 1
    else:
        with pytest.raises(AssertionError, match="suppresses"):
            check_detections(both, work)


def test_what_is_not_among_the_candidates_is_neither_missed_nor_kept():
    # All candidates have the same box; the anchor after the limit has another one.
    limit = CANONICAL.detection.candidates_per_class
    anchors = np.float32([[0.25, 0.25, 0.25, 0.25]] * limit + [[0.75, 0.75, 0.25, 0.25]])
    logits = np.zeros((1, limit + 1, 2), np.float32)
    logits[0, :, 1] = np.linspace(2, 1, limit + 1)
    work = DecodingWorkload(np.zeros((1, limit + 1, 4), np.float32), logits, anchors)
    right = detected(work)
    assert right[0].anchors.tolist() == [0]
    assert check_detections(padded(right), work) == 0

    more = detect(work.deltas[0], logits[0], anchors, candidates_per_class=limit + 1)
    with pytest.raises(AssertionError, match="not among the candidates"):
        check_detections(padded([more]), work)
