"""Workloads: the same for the same seed, and as full, as natural and as sparse as they say."""

from __future__ import annotations

import numpy as np
import pytest

from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import check_boxes
from reference_numpy.conventions import CANONICAL, SSD300, SSD_MOBILENET300
from reference_numpy.detection import detect
from reference_numpy.losses import softmax
from reference_numpy.testing.workloads import (
    LOADS,
    DecodingWorkload,
    MatchingWorkload,
    decoding_workload,
    matching_workload,
)
from tests.fingerprints import fingerprint

SEEDS = range(5)


def share(work: DecodingWorkload) -> np.ndarray:
    """Share of the scores above .01, image by image."""
    return (softmax(work.logits.astype(np.float64))[..., 1:] > 0.01).mean(axis=(1, 2))


MAKERS = {
    "matching": lambda seed: matching_workload(SSD_MOBILENET300, 3, 8, seed),
    **{
        load: lambda seed, load=load: decoding_workload(
            SSD_MOBILENET300, 3, 8, num_classes=5, seed=seed, load=load
        )
        for load in LOADS
    },
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_seed_is_all_that_makes_a_difference(make):
    first, again, other = make(7), make(7), make(8)
    assert type(first) in {MatchingWorkload, DecodingWorkload}
    for name, one, same, different in zip(first._fields, first, again, other, strict=True):
        assert np.array_equal(one, same), name
        assert name == "anchors" or not np.array_equal(one, different), name


@pytest.mark.parametrize("objects", [0, 1, 8, 100])
@pytest.mark.parametrize("batch", [1, 5])
def test_objects_are_valid_and_padding_is_padding(batch, objects):
    boxes, labels, anchors = matching_workload(SSD300, batch, objects, num_classes=3)

    assert (boxes.shape, boxes.dtype) == ((batch, objects, 4), np.float32)
    assert (labels.shape, labels.dtype) == ((batch, objects), np.int32)
    assert np.array_equal(anchors, make_anchors(SSD300, np.float32))
    real = labels != -1
    check_boxes(boxes[real])
    assert boxes.min(initial=0) >= 0
    assert boxes.max(initial=0) <= 1
    assert set(labels[real].tolist()) <= {1, 2, 3}
    assert not boxes[~real].any()


def test_the_first_image_is_full_and_the_others_at_least_half():
    labels = matching_workload(SSD300, batch=200, objects=7).labels
    counts = (labels != -1).sum(axis=1)

    assert counts[0] == 7
    assert set(counts.tolist()) == {4, 5, 6, 7}
    # Objects come first: padding follows, never stands between.
    assert np.array_equal(labels != -1, np.arange(7) < counts[:, None])


def test_sizes_are_natural():
    boxes = matching_workload(SSD300, batch=1, objects=20_000).boxes[0].astype(np.float64)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    side = np.sqrt(width * height)

    # Even on a logarithmic scale from .04 to .8: half lie below the geometric mean.
    assert 0.03 < side.min() < 0.05
    assert 0.7 < side.max() <= 1
    assert np.median(side) == pytest.approx(np.sqrt(0.04 * 0.8), rel=0.05)
    assert (width > height).mean() == pytest.approx(0.5, abs=0.02)
    # √(w/h) = e^(.25 n): 95 % between e^-.49 and e^.49 (n within 1.96).
    assert (np.abs(np.log(width / height)) / 2 < 0.49).mean() == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_realistic_load_is_sparse_and_shows_each_object_once(seed):
    objects = matching_workload(SSD300, 2, 8, seed)
    work = decoding_workload(SSD300, 2, 8, seed=seed)

    assert work.deltas.shape == (2, 8732, 4)
    assert work.logits.shape == (2, 8732, 21)
    assert {part.dtype for part in work} == {np.dtype(np.float32)}
    assert (share(work) < 0.001).all()
    for image, labels in enumerate(objects.labels):
        found = detect(work.deltas[image], work.logits[image], work.anchors)
        assert sorted(found.labels) == sorted(labels[labels != -1])


def test_without_objects_a_realistic_load_has_nothing_and_a_hard_one_has():
    quiet = decoding_workload(SSD300, 1, 0)
    assert share(quiet) == 0
    assert share(decoding_workload(SSD300, 1, 0, load="hard")) > 0.1


@pytest.mark.parametrize("num_classes", [5, 20, 90])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_hard_load_has_thirteen_percent_above_one_hundredth(seed, num_classes):
    work = decoding_workload(SSD300, 1, 8, num_classes, seed, "hard")
    assert share(work) == pytest.approx(0.13, abs=0.01)


def test_a_hard_load_has_more_candidates_than_suppression_is_given():
    work = decoding_workload(SSD300, 1, 8, load="hard")
    candidates = (softmax(work.logits[0])[:, 1:] > CANONICAL.detection.score_threshold).sum(axis=0)
    assert candidates.min() > CANONICAL.detection.candidates_per_class


@pytest.mark.parametrize(("load", "total"), [("realistic", 271.524), ("hard", 350.558)])
def test_a_seed_says_the_same_from_version_to_version(load, total):
    """Speeds are on record of these. A new NumPy may draw differently."""
    said = decoding_workload(SSD_MOBILENET300, 3, 8, num_classes=5, load=load)
    assert fingerprint(said)[1] == pytest.approx(total, abs=0.01)


def test_a_seed_places_the_same_objects_from_version_to_version():
    works = [matching_workload(SSD_MOBILENET300, 3, 8, seed) for seed in range(10)]
    drawn = [part for work in works for part in work[:2]]
    words, total = fingerprint(drawn)
    assert (words, total) == ("float32 (3, 8, 4), int32 (3, 8)", pytest.approx(80.375, abs=0.01))


def test_without_a_seed_it_is_the_seed_0():
    for one, other in zip(
        matching_workload(SSD_MOBILENET300, 2, 5),
        matching_workload(SSD_MOBILENET300, 2, 5, seed=0),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
