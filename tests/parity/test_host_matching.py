"""The fast matcher against `reference_numpy.targets`: every bit, by every convention."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from keras_impl.conformance import suite as conformance
from keras_impl.host import matching
from keras_impl.host.detection import can_detect
from keras_impl.host.kernels import COLUMNS, ROWS
from keras_impl.host.lattices import find_lattices
from keras_impl.host.matching import TargetAssigner
from keras_impl.parity.implementations import host_as
from reference_numpy import targets
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import CAFFE_SSD512, CANONICAL, LAYOUTS, SSD300, AnchorLayout
from reference_numpy.testing import cases
from reference_numpy.testing.workloads import matching_workload
from tests.made_up import CONVENTIONS, in_both
from tests.parity.plain_kernels import counted, load_plain

FLOATS = ("float32", "float64")


def check(assigner, boxes, labels, crowds=None, out=None):
    """Assign, and compare every image with the reference."""
    found = assigner.assign(boxes, labels, crowds, out=out)
    shape = (len(boxes), len(assigner.anchors))
    assert [part.shape for part in found] == [shape, (*shape, 4), shape]
    assert [part.dtype for part in found] == [np.int32, assigner.anchors.dtype, np.int32]
    for image, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        crowd = None if crowds is None else crowds[image]
        wanted = targets.assign_targets(
            box, label, assigner.anchors, assigner.convention, crowds=crowd
        )
        for name, part, want in zip(wanted._fields, found, wanted, strict=True):
            np.testing.assert_array_equal(part[image], want, err_msg=f"{name} of image {image}")
    return found


def lattices_of(anchors):
    return find_lattices(anchors, 0, (0.1, 0.1, 0.2, 0.2)).lattices


def odd_boxes(generator, dtype):
    """Tiny, huge, far, duplicated and crowded boxes: where bounds are weak or rivals many."""
    center = generator.uniform(-0.2, 1.2, (2, 40, 2))
    size = 10 ** generator.uniform(-5, 1, (2, 40, 2))
    size[:, ::3] = 0.02
    center[:, ::5], size[:, ::5] = center[:, :1], size[:, :1]
    boxes = np.concatenate([center - size / 2, center + size / 2], axis=-1).astype(dtype)
    boxes[:, 7] = boxes[:, 8] = [50, 50, 51, 51]
    boxes[:, 9] = [-30, -30, 30, 30]
    labels = generator.integers(1, 9, (2, 40))
    labels[~(boxes[..., 2:] > boxes[..., :2]).all(axis=-1)] = -1
    return boxes, labels


@in_both(CONVENTIONS)
def test_every_convention_on_its_own_anchors(convention, dtype):
    generator = np.random.default_rng(1)
    assigner = TargetAssigner(make_anchors(convention.layout, dtype), convention)
    for objects in (1, 8, 30):
        boxes, labels = cases.random_objects(generator, 2, objects, 9, dtype)
        check(assigner, boxes, labels)
        check(assigner, boxes, labels, generator.random(labels.shape) < 0.3)
    work = matching_workload(convention.layout, 2, 20, seed=3)
    check(assigner, work.boxes.astype(dtype), work.labels)
    check(assigner, *odd_boxes(generator, dtype))


@in_both(CONVENTIONS)
def test_by_the_judges_of_parity(convention, dtype):
    """The workloads of the parity table: worked cases, ties, crowds; detection among them."""
    host = host_as(convention)
    for label in host.asked():
        if label == "detect" and not can_detect(convention):
            continue  # test_host_detection.py: it is refused
        found = conformance.check(host, label, "host", dtype, cases=12)
        assert found.passed, found
        assert label == "detect" or found.excused == 0


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), CAFFE_SSD512], ids=lambda one: one.name)
def test_lattices_are_found(layout):
    """Without them all would still be right, and slow."""
    anchors = make_anchors(layout)
    lattices = lattices_of(anchors)
    assert len(lattices) == len(np.unique(anchors[:, 2:], axis=0))
    assert (lattices[:, COLUMNS] * lattices[:, ROWS]).sum() == len(anchors)


def test_three_pairs_in_a_thousand_are_evaluated(monkeypatch):
    """The guard of the speed: it counts pairs, not milliseconds."""
    work = matching_workload(SSD300, 8, 32)
    plain = load_plain()["kernels"]
    monkeypatch.setattr(matching, "kernels", plain)
    evaluated = counted(monkeypatch, plain, "quotient")
    check(TargetAssigner(work.anchors), work.boxes, work.labels)
    pairs = int((work.labels > 0).sum()) * len(work.anchors)
    assert 0 < evaluated() < 0.003 * pairs


def test_anchors_in_no_order():
    """They are put in order."""
    work = matching_workload(LAYOUTS["ssd_mobilenet300"], 2, 12)
    order = np.random.default_rng(0).permutation(len(work.anchors))
    assert len(lattices_of(work.anchors[order])) == len(lattices_of(work.anchors))
    check(TargetAssigner(work.anchors[order]), work.boxes, work.labels)


def test_anchors_twice():
    """Those that stand in no lattice are lattices of one."""
    work = matching_workload(SSD300, 2, 12)
    anchors = np.concatenate([work.anchors, np.random.default_rng(0).permutation(work.anchors)])
    assert len(lattices_of(anchors)) == len(anchors)
    check(TargetAssigner(anchors), work.boxes, work.labels)


@pytest.mark.parametrize("dtype", FLOATS)
def test_anchors_at_random(dtype):
    """Of any size, some of one centre, some twice."""
    generator = np.random.default_rng(7)
    anchors = np.concatenate(
        [generator.uniform(0, 1, (300, 2)), 10 ** generator.uniform(-2, 0, (300, 2))], axis=1
    ).astype(dtype)
    anchors[100:150, :2], anchors[200:250] = anchors[50:100, :2], anchors[:50]
    check(TargetAssigner(anchors), *cases.random_objects(generator, 3, 20, 5, dtype))
    check(TargetAssigner(anchors), *odd_boxes(generator, dtype))


@pytest.mark.parametrize("clip", ["corners", "none"])
def test_clipped_anchors(clip):
    """Clipping gives the anchors of one shape many shapes."""
    layout = dataclasses.replace(SSD300, clip=clip)
    work = matching_workload(layout, 2, 20, seed=4)
    check(TargetAssigner(work.anchors), work.boxes, work.labels)


def test_many_objects_of_one_box():
    """Each loses to those before it, and asks on and on."""
    boxes = np.tile(np.array([0.4, 0.4, 0.45, 0.5], np.float32), (1, 300, 1))
    check(TargetAssigner(make_anchors(SSD300)), boxes, np.ones((1, 300), int))


def test_more_objects_than_anchors():
    layout = AnchorLayout("few", (8, 8), ((2, 2),), (0.4, 0.6), ((),))
    boxes = np.tile(np.array([0.1, 0.1, 0.8, 0.9], np.float32), (2, 20, 1))
    check(TargetAssigner(make_anchors(layout)), boxes, np.ones((2, 20), int))


@pytest.mark.parametrize(("batch", "objects"), [(0, 3), (2, 0), (2, 3)])
def test_nothing_there(batch, objects):
    boxes = np.zeros((batch, objects, 4), np.float32)
    found = check(TargetAssigner(make_anchors(SSD300)), boxes, np.full((batch, objects), -1))
    assert not found.labels.any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_memory_is_used_again(dtype):
    convention = CANONICAL.replace(ignore_from=0.3)
    assigner = TargetAssigner(make_anchors(SSD300, dtype), convention)
    generator, out = np.random.default_rng(5), None
    for _ in range(4):
        boxes, labels = cases.random_objects(generator, 3, 9, 5, dtype)
        found = check(assigner, boxes, labels, generator.random(labels.shape) < 0.3, out)
        assert out is None or found is out
        out = found


def test_memory_of_another_batch_is_refused():
    assigner = TargetAssigner(make_anchors(SSD300))
    work = matching_workload(SSD300, 2, 3)
    out = assigner.assign(work.boxes, work.labels)
    with pytest.raises(ValueError, match=r"out: expected targets of \(1, 8732\)"):
        assigner.assign(work.boxes[:1], work.labels[:1], out=out)
    with pytest.raises(TypeError, match="out: expected what an earlier call returned"):
        assigner.assign(work.boxes, work.labels, out=tuple(out))


def test_memory_beyond_inputs_and_outputs():
    work = matching_workload(SSD300, 32, 32)
    assigner = TargetAssigner(work.anchors)
    tracemalloc.start()
    found = assigner.assign(work.boxes, work.labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - sum(part.nbytes for part in found) <= 3e6


def test_a_thousand_objects_in_one_image():
    work = matching_workload(SSD300, 1, 1000)
    check(TargetAssigner(work.anchors), work.boxes, work.labels)


def test_neither_keras_nor_tensorflow_is_needed():
    code = "import sys, keras_impl.host.matching; print({'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
