"""Where the host path could differ from the reference: rounding, limits, threads and processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from keras_impl.host import detection as host_detection, matching
from keras_impl.host.matching import TargetAssigner
from keras_impl.host.threads import in_parts
from reference_numpy import detection, targets
from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import cxcywh_to_xyxy
from reference_numpy.conventions import CANONICAL, LAYOUTS, SSD300, SSD_MOBILENET300
from reference_numpy.testing.workloads import decoding_workload, matching_workload

FLOATS = ("float32", "float64")
ON_REAL_LAYOUTS = pytest.mark.parametrize("layout", ["ssd300", "ssdlite320", "ssd_mobilenet300"])


def differences(assigner, boxes, labels, found=None):
    """The images whose targets are not the reference's."""
    found = found or assigner.assign(boxes, labels)
    wrong = []
    for image, inputs in enumerate(zip(boxes, labels, strict=True)):
        wanted = targets.assign_targets(*inputs, assigner.anchors, assigner.convention)
        if not all(map(np.array_equal, (part[image] for part in found), wanted)):
            wrong.append(image)
    return wrong


def same_detections(found, image, wanted):
    """Whether an image's slots hold what the reference detects, and nothing else."""
    used = len(wanted.scores)
    return not (found.labels[image, used:] > 0).any() and all(
        np.array_equal(part[image, :used], want) for part, want in zip(found, wanted, strict=True)
    )


# --- rounding -------------------------------------------------------------------------------


def at_half(anchors, generator, count):
    """Boxes cut from anchors, or made of them, so that the IoU is .5 but for rounding."""
    low, high = np.split(
        cxcywh_to_xyxy(anchors[generator.integers(len(anchors), size=count)]), 2, 1
    )
    middle, size = (low + high) * low.dtype.type(0.5), high - low
    axis = generator.integers(2, size=(count, 1)) == np.arange(2)
    ways = (
        (low, np.where(axis, middle, high)),
        (np.where(axis, middle, low), high),
        (low, np.where(axis, high + size, high)),
        (np.where(axis, low - size, low), high),
        (low + np.where(axis, size / 3, 0), high + np.where(axis, size / 3, 0)),
        (low - np.where(axis, size / 3, 0), high - np.where(axis, size / 3, 0)),
    )
    way = generator.integers(len(ways), size=(1, count, 1))
    corners = [np.take_along_axis(np.stack(ends), way, 0)[0] for ends in zip(*ways, strict=True)]
    return np.concatenate(corners, axis=1).astype(anchors.dtype)


def unequal_at_half(layout, dtype, images=40, objects=16):
    generator = np.random.default_rng(3)
    anchors = make_anchors(LAYOUTS[layout], dtype)
    boxes = at_half(anchors, generator, images * objects).reshape(images, objects, 4)
    labels = generator.integers(1, 9, (images, objects))
    return differences(TargetAssigner(anchors), boxes, labels)


@ON_REAL_LAYOUTS
@pytest.mark.parametrize("dtype", FLOATS)
def test_objects_at_the_threshold(layout, dtype):
    assert unequal_at_half(layout, dtype) == []


@ON_REAL_LAYOUTS
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("slack", [0, -16])
def test_objects_at_the_threshold_need_the_slack(layout, dtype, slack, monkeypatch):
    """Proof that the law above would notice."""
    monkeypatch.setattr(matching, "SLACK", slack)
    assert unequal_at_half(layout, dtype)


THRESHOLDS = (0.9999, 0.5, 0.01, 1 - 1e-6, 1.0)
NEAR_THRESHOLDS = tuple(itertools.product(THRESHOLDS, FLOATS, ("softmax", "sigmoid"), (1, 3)))


def unequal_near_threshold(threshold, dtype, class_loss, classes):
    """Slots and images that differ, of scores within rounding of the threshold and near it."""
    generator, images, count = np.random.default_rng(5), 4, 300
    near = {"float32": 16.7, "float64": 36.8}[dtype]
    if threshold < 1:
        near = np.log(threshold) - np.log1p(-threshold)
    logits = np.full((images, count, classes + 1), -60.0)
    logits[..., 0] = 0 if class_loss == "sigmoid" else generator.normal(0, 3, (images, count))
    away = 10 ** generator.uniform(-17, -1, (images, count))
    away *= generator.choice([-1, 0, 1], size=away.shape)
    logits[..., 1] = near + away + logits[..., 0]
    logits = logits.astype(dtype)
    deltas = generator.normal(0, 1, (images, count, 4)).astype(dtype)
    side = np.full(count, 0.02)
    anchors = np.stack([*generator.random((2, count)), side, side], axis=1).astype(dtype)
    wrong = []
    for slots in (20, 400):  # fewer than the candidates, and more
        convention = CANONICAL.replace(
            score_threshold=threshold, score_at=">=", class_loss=class_loss, max_detections=slots
        )
        found = host_detection.detect(deltas, logits, anchors, convention)
        for image, heads in enumerate(zip(deltas, logits, strict=True)):
            wanted = detection.detect(*heads, anchors, convention)
            assert len(wanted.scores) > 0
            if not same_detections(found, image, wanted):
                wrong.append((slots, image))
    return wrong


@pytest.mark.parametrize(("threshold", "dtype", "class_loss", "classes"), NEAR_THRESHOLDS)
def test_scores_near_the_threshold(threshold, dtype, class_loss, classes):
    assert unequal_near_threshold(threshold, dtype, class_loss, classes) == []


@pytest.mark.parametrize("threshold", [0.9999, 0.5, 1 - 1e-6, 1.0])
def test_scores_near_the_threshold_need_the_margins(threshold, monkeypatch):
    """Proof that the law above would notice; at .01 a score has more digits than its logit."""
    monkeypatch.setattr(host_detection, "ROUNDING", 0)
    monkeypatch.setattr(host_detection, "MARGIN", 0)
    assert any(unequal_near_threshold(*one) for one in NEAR_THRESHOLDS if one[0] == threshold)


@pytest.mark.parametrize("class_loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("score_at", [">", ">="])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1e-45, 3e-45, 1e-40, 5e-324, 2.0])
def test_thresholds_of_0_and_nearly_0(threshold, score_at, class_loss):
    """The smallest scores have few bits, and are rounded by more than others."""
    for dtype, lowest in (("float32", -106), ("float64", -748)):
        logits = np.zeros((1, 500, 2), dtype)
        logits[0, :, 1] = np.linspace(lowest, lowest + 10, 500)
        anchors = np.full((500, 4), 0.01, dtype)
        anchors[:, 0] = np.linspace(0, 1, 500)
        convention = CANONICAL.replace(
            score_threshold=threshold, score_at=score_at, class_loss=class_loss, max_detections=600
        )
        deltas = np.zeros((1, 500, 4), dtype)
        with np.errstate(under="ignore"):
            found = host_detection.detect(deltas, logits, anchors, convention)
            wanted = detection.detect(deltas[0], logits[0], anchors, convention)
        assert same_detections(found, 0, wanted)


# --- boxes outside the image, and too large -------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("clip", ["before", "after", "none"])
@pytest.mark.parametrize("max_per_class", [None, 3])
def test_empty_boxes_are_dropped(clip, max_per_class, dtype):
    """Anchors partly and wholly outside the image, more of them than slots."""
    generator = np.random.default_rng(8)
    anchors = np.concatenate(
        [generator.uniform(-0.6, 1.6, (2, 400)), generator.uniform(0.02, 0.6, (2, 400))]
    ).T.astype(dtype)
    deltas = generator.normal(0, 1, (4, 400, 4)).astype(dtype)
    logits = np.round(generator.normal(0, 3, (4, 400, 4))).astype(dtype)
    convention = CANONICAL.replace(
        clip=clip, drop_empty=True, max_per_class=max_per_class, max_detections=30
    )
    found = host_detection.detect(deltas, logits, anchors, convention)
    kept = convention.replace(drop_empty=False)
    for image, heads in enumerate(zip(deltas, logits, strict=True)):
        wanted = detection.detect(*heads, anchors, convention)
        assert same_detections(found, image, wanted)
        if clip != "none":
            assert len(detection.detect(*heads, anchors, kept).scores) > 0
            assert not np.array_equal(
                detection.detect(*heads, anchors, kept).anchors, wanted.anchors
            )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("clip", ["before", "after", "none"])
@pytest.mark.parametrize("size", [1e3, 1e30, 88 / 0.2, 88.8 / 0.2, 709 / 0.2, 710 / 0.2])
@pytest.mark.parametrize("form", ["log", "difference"])
def test_codes_too_large(size, clip, form, dtype):
    """Where the reference refuses an infinite corner, that anchor is skipped."""
    generator = np.random.default_rng(9)
    anchors = np.concatenate([generator.random((60, 2)), np.full((60, 2), 0.1)], 1).astype(dtype)
    logits = np.round(generator.normal(0, 3, (24, 60, 3))).astype(dtype)
    deltas = generator.normal(0, 1, (24, 60, 4)).astype(dtype)
    convention = CANONICAL.replace(clip=clip, form=form)
    large = []
    for image in range(24):
        large.append(generator.choice(60, 5, replace=False))
        deltas[image, large[-1], image % 4] = size * (1 if image % 8 < 4 else -1)
    found, answered = host_detection.detect(deltas, logits, anchors, convention), 0
    with np.errstate(over="ignore", invalid="ignore"):
        for image, heads in enumerate(zip(deltas, logits, strict=True)):
            try:
                wanted = detection.detect(*heads, anchors, convention)
            except ValueError:
                assert clip != "before"
                assert not set(large[image]) & set(found.anchors[image].tolist())
            else:
                assert same_detections(found, image, wanted)
                answered += 1
    assert answered >= 12


# --- limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int64, np.uint32, np.uint64])
def test_labels_end_at_the_largest_int32(kind):
    assigner = TargetAssigner(np.array([[0.5, 0.5, 1.0, 1.0]]))
    boxes, labels = np.array([[[0.0, 0.0, 1.0, 1.0]] * 3] * 2), np.ones((2, 3), kind)
    labels[0, 0] = 2**31 - 1
    assert assigner.assign(boxes, labels).labels[0, 0] == 2**31 - 1
    for wrong in (2**31, 2**32 - 1, np.iinfo(kind).max):
        labels[1, 2] = wrong
        with pytest.raises(ValueError, match=rf"labels\[1, 2\]: .*Received: {wrong}$"):
            assigner.assign(boxes, labels)


@pytest.mark.parametrize("kind", [">i4", ">i8", "<i2", "i1", "u1", "u8"])
def test_labels_of_any_integers(kind):
    work = matching_workload(SSD_MOBILENET300, 1, 6)
    assert differences(TargetAssigner(work.anchors), work.boxes, work.labels.astype(kind)) == []


def test_arrays_that_are_read_only_or_strided():
    work = matching_workload(SSD_MOBILENET300, 4, 6)
    boxes, labels = work.boxes[::2, ::-1], work.labels[::2, ::-1]
    boxes.flags.writeable = labels.flags.writeable = False
    assert differences(TargetAssigner(work.anchors), boxes, labels) == []
    heads = decoding_workload(SSD_MOBILENET300, 4, 3)
    deltas, logits = heads.deltas[::2, :, ::-1], heads.logits[::2, :, ::-1]
    deltas.flags.writeable = logits.flags.writeable = False
    found = host_detection.detect(deltas, logits, heads.anchors)
    for image, one in enumerate(zip(deltas, logits, strict=True)):
        assert same_detections(found, image, detection.detect(*one, heads.anchors))


@pytest.mark.parametrize("spread", [0.5, 1e-3])
def test_many_objects_that_compete(spread):
    """The reference takes minutes for 5,000, so that it is asked about a few hundred."""
    generator, anchors = np.random.default_rng(11), make_anchors(SSD300)
    center = 0.5 + generator.uniform(-spread, spread, (1, 5000, 2))
    half = 0.1 + generator.uniform(0, spread / 10, (1, 5000, 2))
    boxes = np.concatenate([center - half, center + half], axis=2).astype(np.float32)
    labels, assigner = np.ones((1, 5000), int), TargetAssigner(anchors)
    assert differences(assigner, boxes[:, :300], labels[:, :300]) == []
    start = time.perf_counter()
    found = assigner.assign(boxes, labels)
    assert time.perf_counter() - start < 60
    assert (found.objects >= 0).any()


# --- threads, processes and what is installed -----------------------------------------------


def at_once(work, count=4, times=10):
    """Do it in threads that start together; gives what each has found."""
    found, barrier = [None] * count, threading.Barrier(count)

    def run(index):
        barrier.wait()
        found[index] = [work(index) for _ in range(times)]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def threads_of_threads(monkeypatch):
    """Each call asks for a thread more, whatever its size."""
    monkeypatch.setattr(matching, "PARALLEL", 1)
    monkeypatch.setattr(host_detection, "PARALLEL", 1)


@pytest.mark.usefixtures("threads_of_threads")
def test_threads_share_an_assigner():
    work = matching_workload(SSD_MOBILENET300, 32, 12)
    assigner, parts = TargetAssigner(work.anchors), np.split(np.arange(32), 4)
    wanted = [assigner.assign(work.boxes[part], work.labels[part]) for part in parts]
    for index, results in enumerate(
        at_once(lambda index: assigner.assign(work.boxes[parts[index]], work.labels[parts[index]]))
    ):
        assert results, f"thread {index} failed"
        for result in results:
            assert all(map(np.array_equal, result, wanted[index]))


@pytest.mark.usefixtures("threads_of_threads")
def test_threads_detect_at_once():
    work = decoding_workload(SSD_MOBILENET300, 8, 6)
    parts = np.split(np.arange(8), 4)
    wanted = [
        host_detection.detect(*(one[part] for one in work[:2]), work.anchors) for part in parts
    ]
    for index, results in enumerate(
        at_once(lambda i: host_detection.detect(*(one[parts[i]] for one in work[:2]), work.anchors))
    ):
        assert results, f"thread {index} failed"
        for result in results:
            assert all(map(np.array_equal, result, wanted[index]))


def test_a_thread_that_fails_is_waited_for():
    done = []

    def work(part):
        if part.start == 0:
            raise ValueError("the first part")
        time.sleep(0.2)
        done.append(part)
        raise ValueError("the second part")

    with pytest.raises(ValueError, match="the first part"):
        in_parts(work, 2, 2)
    assert done == [slice(1, 2)]


USE = """
import numpy as np
from keras_impl.host import detection as host_detection, matching
from keras_impl.host.detection import detect
from keras_impl.host.matching import TargetAssigner
from reference_numpy import detection, targets
from reference_numpy.conventions import SSD_MOBILENET300
from reference_numpy.testing.workloads import decoding_workload, matching_workload

matching.PARALLEL = host_detection.PARALLEL = 1  # threads for small work too

def use(seed):
    work = matching_workload(SSD_MOBILENET300, 24, 16, seed)
    found = TargetAssigner(work.anchors).assign(work.boxes, work.labels)
    wanted = targets.assign_targets(work.boxes[23], work.labels[23], work.anchors)
    assert all(map(np.array_equal, (part[23] for part in found), wanted))
    work = decoding_workload(SSD_MOBILENET300, 2, 4, seed=seed)
    found, wanted = detect(*work), detection.detect(work.deltas[1], work.logits[1], work.anchors)
    assert np.array_equal(found.anchors[1, : len(wanted.anchors)], wanted.anchors)
"""


def run(code, **environment):
    """Run a program; gives what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_goes_on():
    """Both the parent that has used threads, and its child."""
    code = """
import multiprocessing
use(0)
fork = multiprocessing.get_context("fork")
children = [fork.Process(target=use, args=(seed,)) for seed in (1, 2)]
for child in children:
    child.start()
use(3)
for child in children:
    child.join(120)
print([child.exitcode for child in children])
"""
    assert run(USE + code) == "[0, 0]"


def test_a_cache_folder_that_cannot_be_made():
    assert run(USE + "use(0); print('fine')", NUMBA_CACHE_DIR=os.devnull + "/cache") == "fine"


def test_no_folder_for_a_cache():
    """numba raises where it finds none, and then nothing is cached."""
    nowhere = {
        "NUMBA_CACHE_DIR": os.devnull + "/cache",
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    assert run(USE + "use(0); print('fine')", **nowhere) == "fine"


def test_without_numba():
    code = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "numba":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import keras_impl
for name in ("host", "host.matching", "host.detection"):
    try:
        __import__(f"keras_impl.{name}")
    except ImportError as error:
        print(error)
"""
    lines = run(code).splitlines()
    assert len(lines) == 3
    assert all("[fast]" in line and "numba" in line for line in lines)
