"""The demo's own work: it compares rightly, and it notices whatever is wrong."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from keras import ops

from keras_impl.data.canvases import canvas
from keras_impl.data.mnist import load_digits
from keras_impl.demo import run as demo
from keras_impl.parity import table as parity
from keras_impl.weights.npz import load_model
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import CANONICAL, DIGITS224, AnchorLayout
from reference_numpy.testing.workloads import decoding_workload, matching_workload

TINY = AnchorLayout("tiny", (64, 64), ((6, 6), (3, 3)), (0.2, 0.5, 0.9), ((2.0, 0.5),) * 2)


@pytest.fixture(scope="module")
def heads():
    return decoding_workload(TINY, batch=2, objects=3, num_classes=4, seed=1)


def compare(work):
    return demo.compare(work.deltas, work.logits, work.anchors, CANONICAL)


def spoil(monkeypatch, module, name, change):
    """Let a function of the mirror answer something else."""
    right = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **options: change(right(*args, **options)))


# --- Detections ---------------------------------------------------------------------------


def test_head_outputs_are_read_alike(heads):
    for keras_found, numpy_found, comparison in compare(heads):
        assert comparison.passed
        assert comparison.differences == comparison.excused == 0
        assert comparison.detections == len(numpy_found.labels) > 0
        assert 0 < comparison.score_error <= comparison.score_budget
        assert comparison.box_error <= comparison.box_budget
        np.testing.assert_array_equal(keras_found.anchors, numpy_found.anchors)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found._replace(labels=ops.where(found.labels > 0, 5 - found.labels, -1)),
        lambda found: found._replace(anchors=found.anchors + ops.cast(found.anchors > 0, "int32")),
        lambda found: found._replace(boxes=found.boxes * (1 + 2.0**-23)),
        lambda found: found._replace(scores=found.scores * (1 - 2.0**-23)),
        lambda found: type(found)(*(part[:, 1:] for part in found)),
        lambda found: type(found)(*(ops.flip(part, axis=1) for part in found)),
    ],
    ids=["labels", "anchors", "boxes", "scores", "one less", "order"],
)
def test_a_wrong_detection_is_noticed(monkeypatch, heads, change):
    spoil(monkeypatch, demo.mirror_detection, "detect", change)
    assert not any(comparison.passed for _, _, comparison in compare(heads))
    assert not any(comparison.excused for _, _, comparison in compare(heads))


def test_numbers_beyond_their_budget_are_noticed(monkeypatch, heads):
    from keras_impl.ops import coding, detection

    def worse(boxes):
        return boxes + 1e-5

    # In both places, so that Keras decides about the very boxes that are compared.
    spoil(monkeypatch, coding, "_decode", worse)
    monkeypatch.setattr(detection, "_decode", coding._decode)
    for _, _, comparison in compare(heads):
        assert comparison.decisions_equal
        assert comparison.box_error > comparison.box_budget
        assert not comparison.passed


# --- Targets ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def canvases():
    digits = load_digits("test")
    return [canvas(digits, mode, 4, index) for index, mode in enumerate(("1", "1-10", "1-10"))]


@pytest.fixture(scope="module")
def anchors():
    return make_anchors(DIGITS224)


def test_each_digit_has_its_anchors(canvases, anchors):
    for made, duty in zip(canvases, demo.assignment(canvases, anchors, CANONICAL), strict=True):
        assert duty.equal
        assert len(duty.first) == len(made.labels)
        # Each digit was given an anchor of its own, and answers to it.
        assert len(set(duty.first.tolist())) == len(made.labels)
        np.testing.assert_array_equal(duty.objects[duty.first], np.arange(len(made.labels)))
        others = np.setdiff1d(np.flatnonzero(duty.objects >= 0), duty.first)
        assert (duty.overlap[others] >= 0.5).all()
        assert (duty.overlap[duty.objects < 0] == 0).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found._replace(objects=ops.maximum(found.objects - 1, -1)),
        lambda found: found._replace(labels=ops.where(found.labels > 0, 1, 0)),
        lambda found: found._replace(deltas=found.deltas * 1.00001),
        lambda found: found._replace(
            deltas=ops.where(found.labels[..., None] == 0, 1e-3, found.deltas)
        ),
    ],
    ids=["objects", "labels", "deltas", "background"],
)
def test_a_wrong_target_is_noticed(monkeypatch, canvases, anchors, change):
    spoil(monkeypatch, demo.mirror_targets, "assign_targets", change)
    (duty,) = demo.assignment(canvases[1:2], anchors, CANONICAL)
    assert not duty.equal


# --- Throughput ---------------------------------------------------------------------------


def test_what_is_timed_is_checked_first(monkeypatch):
    monkeypatch.setattr(demo, "REPEATS", 3)
    work = matching_workload(TINY, batch=2, objects=3, seed=2)
    right = demo.time_matching(work)
    assert [timing.implementation for timing in right] == [
        "NumPy reference",
        "Keras graph",
        "Keras XLA",
    ]
    for timing in right:
        assert (timing.anchors, timing.objects, timing.batch) == (len(work.anchors), 3, 2)
        assert timing.pairs == (work.labels > 0).sum() * len(work.anchors)
        assert (timing.runs, timing.mismatches) == (3, 0)
        assert timing.pairs_per_second == pytest.approx(timing.pairs / timing.seconds)
    spoil(monkeypatch, demo.mirror_matching, "match", lambda found: found + 1)
    assert [timing.mismatches for timing in demo.time_matching(work)] == [0, 2, 2]


# --- All of it ----------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """A demo of the same parts, each of them small."""
    monkeypatch.setattr(demo, "LAYOUTS", (TINY,))
    monkeypatch.setattr(demo, "OBJECTS", (2,))
    monkeypatch.setattr(demo, "REPEATS", 1)
    small = partial(parity.run, ops=("area", "match"), modes=("eager",))
    monkeypatch.setattr(demo.parity, "run", small)


def test_a_demo_holds_all_that_the_report_shows(quick, seven):
    said = []
    done = demo.run(load_model(seven), load_digits("test"), num_images=3, seed=2, watch=said.append)
    assert done.passed
    assert [example.mode for example in done.examples] == ["1-10", "1-10", "1"]
    assert all(one.comparison.detections == 1 for one in done.examples)
    assert [one.label for one in done.examples[0].keras] == [8]
    assert [check.op for check in done.parity.checks] == ["area", "match"]
    assert len(done.timings) == 3
    assert done.facts["digits"] == load_digits("test").source
    assert {"machine", "system", "versions", "seed"} <= set(done.facts)
    assert said[:2] == ["composing canvases", "detecting with Keras and NumPy"]
    answer = done.as_json()
    assert answer["passed"] is True
    assert answer["parity"] == done.parity.as_json()
    assert len(answer["images"]) == 3
    assert answer["throughput"][0]["pairs_per_second"] > 0


def test_no_images_and_other_detectors_are_refused(other_network):
    model = load_model(other_network)
    with pytest.raises(ValueError, match="images: expected 1 or more"):
        demo.run(model, load_digits("test"), num_images=0)
    with pytest.raises(ValueError, match=r"model: expected 10 classes, the digits\. Received: 3"):
        demo.run(model, load_digits("test"))
