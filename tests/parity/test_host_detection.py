"""Decoding on the host against `reference_numpy.detection`: every bit, by every convention."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from keras_impl.conformance.workloads import SMALL
from keras_impl.host import detection as host_detection
from reference_numpy import detection
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import CANONICAL, SSD300, SSD_MOBILENET300
from reference_numpy.testing.workloads import LOADS, decoding_workload
from tests.made_up import CONVENTIONS, in_both

# Of the conventions made up, what the host refuses is left out.
OWN = [one.replace(eta=1.0, soft_sigma=None) for one in CONVENTIONS]


def check(deltas, logits, anchors, convention=CANONICAL, **overrides):
    """Detect, and compare every image with the reference."""
    convention = convention.replace(**overrides)
    found = host_detection.detect(deltas, logits, anchors, convention)
    slots = convention.detection.max_detections
    assert [part.shape for part in found] == [(len(deltas), slots, 4), *[(len(deltas), slots)] * 3]
    kinds = [deltas.dtype, logits.dtype, np.int32, np.int32]
    assert [part.dtype for part in found] == kinds
    for image, heads in enumerate(zip(deltas, logits, strict=True)):
        wanted = detection.detect(*heads, anchors, convention)
        used = len(wanted.scores)
        for name, part, want in zip(wanted._fields, found, wanted, strict=True):
            got, rest = part[image, :used], part[image, used:]
            np.testing.assert_array_equal(got, want, err_msg=f"{name} of image {image}")
            assert (rest == (-1 if name in {"labels", "anchors"} else 0)).all(), name
    return found


def some_heads(generator, anchors, classes, dtype, spread, lead):
    """Heads with ties, with images in which nothing is seen, and with boxes that overlap."""
    deltas = generator.normal(0, spread, (3, anchors, 4))
    logits = generator.normal(0, 4 * spread, (3, anchors, classes + 1))
    logits[:, ::3], deltas[:, ::3] = np.round(logits[:, ::3]), 0
    logits[:, ::7] = 0
    logits[..., 0] += lead
    logits[0] -= 20
    return deltas.astype(dtype), logits.astype(dtype)


@in_both(OWN)
def test_every_convention(convention, dtype):
    generator = np.random.default_rng(2)
    anchors = make_anchors(SMALL, dtype)
    least = 0.0 if convention.detection.score_at == ">" else 0.01
    for classes, spread, lead, overrides in (
        (1, 0.3, 0, {}),
        (3, 0.3, 0, {"score_threshold": 0.2, "candidates_per_class": 12, "max_detections": 25}),
        (20, 0.3, 6, {"score_threshold": least, "max_detections": 7}),
        (3, 2, 6, {"max_detections": 3}),
        (3, 2, 0, {"score_threshold": 0.9999}),
        # What only touches, or lies elsewhere, overlaps by 0, which is enough here.
        (3, 0.3, 0, {"iou_threshold": 0, "suppress_at": ">=", "eta": 1.0}),
    ):
        heads = some_heads(generator, len(anchors), classes, dtype, spread, lead)
        check(*heads, anchors, convention.replace(**overrides))


@pytest.mark.parametrize("convention", OWN, ids=lambda one: one.name)
def test_on_its_own_anchors(convention):
    anchors = make_anchors(convention.layout)
    generator = np.random.default_rng(4)
    check(*some_heads(generator, len(anchors), 4, np.float32, 0.5, 5), anchors, convention)


@pytest.mark.parametrize("load", LOADS)
def test_workloads(load):
    work = decoding_workload(SSD300, 3, 8, load=load)
    check(*work)


def visits(monkeypatch):
    """The numbers of anchors that are scored in each round, as a list that grows."""
    scored, inner = [], host_detection._scores

    def counting(rows, convention):
        scored.append(len(rows))
        return inner(rows, convention)

    monkeypatch.setattr(host_detection, "_scores", counting)
    return scored


def test_slots_left_empty_by_suppression(monkeypatch):
    """All say the same box, so that the slots are not filled before all candidates are visited."""
    scored = visits(monkeypatch)
    anchors = np.tile(np.float32([0.5, 0.5, 0.5, 0.5]), (8732, 1))
    logits = np.random.default_rng(0).normal(3, 1, (1, 8732, 3)).astype(np.float32)
    found = check(np.zeros((1, 8732, 4), np.float32), logits, anchors, score_threshold=0)
    assert (found.labels > 0).sum() == 2
    assert scored[0] < scored[1] < scored[2]
    assert scored[2:] == [8732]


def test_few_exponentials(monkeypatch):
    """The guard of the speed: it counts scores, not milliseconds."""
    scored = visits(monkeypatch)
    work = decoding_workload(SSD300, 2, 8, load="realistic")
    host_detection.detect(*work)
    assert 0 < sum(scored) < 0.02 * 2 * len(work.anchors)
    scored.clear()
    work = decoding_workload(SSD300, 2, 8, load="hard")
    host_detection.detect(*work)
    assert 0 < sum(scored) < 0.25 * 2 * len(work.anchors)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_candidate(value):
    work = decoding_workload(SSD_MOBILENET300, 1, 4)
    clean = host_detection.detect(*work)
    sure = int(clean.anchors[0, 0])
    for part, column in (("deltas", 0), ("deltas", 2), ("logits", 0), ("logits", 3)):
        heads = {"deltas": work.deltas.copy(), "logits": work.logits.copy()}
        heads[part][0, sure, column] = value
        found = host_detection.detect(heads["deltas"], heads["logits"], work.anchors)
        assert np.isfinite(found.boxes).all()
        assert np.isfinite(found.scores).all()
        if np.isnan(value):
            assert sure not in found.anchors[0]


@pytest.mark.parametrize("overrides", [{"soft_sigma": 0.5}, {"eta": 0.9, "iou_threshold": 0.7}])
def test_scores_and_thresholds_that_change_are_refused(overrides):
    work = decoding_workload(SSD_MOBILENET300, 1, 4)
    assert not host_detection.can_detect(CANONICAL.replace(**overrides))
    with pytest.raises(ValueError, match=r"convention: expected eta=1 and soft_sigma=None"):
        host_detection.detect(*work, **overrides)


def test_neither_keras_nor_tensorflow_is_needed():
    code = (
        "import sys, keras_impl.host.detection; print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("overrides", "batch"), [({"max_detections": 0}, 2), ({"candidates_per_class": 0}, 2), ({}, 0)]
)
def test_nothing_is_asked_for(overrides, batch):
    work = decoding_workload(SSD_MOBILENET300, 2, 4)
    found = host_detection.detect(*(part[:batch] for part in work[:2]), work.anchors, **overrides)
    assert found.labels.shape == (batch, overrides.get("max_detections", 200))
    assert (found.labels == -1).all()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"deltas": np.zeros((5, 4))}, ValueError, r"deltas: expected shape \(B, A, 4\)"),
        ({"logits": np.zeros((1, 4, 3))}, ValueError, r"logits: expected shape \(1, 5"),
        ({"logits": np.zeros((1, 5, 1))}, ValueError, r"logits: expected shape"),
        ({"logits": np.zeros((1, 5, 3), np.float32)}, TypeError, "deltas, logits: expected both"),
        ({"anchors": np.ones((4, 4))}, ValueError, r"anchors: expected shape \(5, 4\)"),
    ],
)
def test_bad_heads(change, kind, message):
    heads = {
        "deltas": np.zeros((1, 5, 4)),
        "logits": np.zeros((1, 5, 3)),
        "anchors": np.ones((5, 4)),
    }
    with pytest.raises(kind, match=message):
        host_detection.detect(**{**heads, **change})
