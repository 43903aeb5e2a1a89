"""keras_impl against bad input: a clear error or the defined answer, eagerly by table, and traced.

tests/bad_input.py is the table of the mirror, and what spoils a valid call. The other modules are
here: they take objects of their own, and files.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

import keras_impl
from keras_impl.backends import backend, in_mode, modes
from keras_impl.benchmark import plan
from keras_impl.conformance.suite import Deviation, Implementation
from keras_impl.data import canvases, mnist as digits
from keras_impl.detector import detector as prediction
from keras_impl.host.matching import TargetAssigner
from keras_impl.models import ssd
from keras_impl.ops import multibox
from keras_impl.ops.checks import as_flags, as_floats, check_range, check_same, values_of
from reference_numpy.boxes import area
from reference_numpy.conventions import CANONICAL
from tests.bad_input import (
    ANCHORS,
    BOXES,
    CROWDS,
    DELTAS,
    IN_ROW,
    KERAS,
    LABELS,
    LAYOUT,
    LOGITS,
    REFUSED,
    SPANS,
    Subject,
    batch,
    counts,
    explanation,
    function_of,
    judge,
    modules_of,
    public_functions,
    quiet,
)


def as_tensors(given: dict, spoilt: set[str]) -> dict:
    """Arrays that a tensor can hold become tensors."""
    return {
        name: ops.convert_to_tensor(value)
        if name in spoilt and isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
        else value
        for name, value in given.items()
    }


def as_arrays(answer):
    """Tensors become arrays again."""
    if isinstance(answer, tuple | list):
        return tuple(map(as_arrays, answer))
    return np.asarray(ops.convert_to_numpy(answer)) if hasattr(answer, "dtype") else answer


def eagerly(subject: Subject):
    """A function of the mirror, asked as its users ask."""
    function = function_of("keras_impl.ops", subject.name)
    return lambda **given: as_arrays(function(**as_tensors(given, set(given))))


def titles(subjects: tuple[Subject, ...]) -> list[str]:
    return [f"{number}-{subject.name}" for number, subject in enumerate(subjects)]


@pytest.mark.parametrize("subject", KERAS, ids=titles(KERAS))
def test_a_spoilt_call_of_the_mirror(subject):
    # JAX compiles a loop whenever it is called eagerly, which takes seconds.
    answers = not (subject.few and backend() == "jax")
    count, wrong = judge(subject, eagerly(subject), answers=answers)
    assert count > 0
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong)


# --- NumPy on the host ----------------------------------------------------------------------------

ASSIGNER = TargetAssigner(ANCHORS)
HOST = (
    Subject(
        "host.matching.TargetAssigner",
        {"anchors": ANCHORS},
        {"anchors": "anchors A 4"},
        {"list": quiet},
        rules=True,
    ),
    Subject(
        "host.matching.TargetAssigner",
        {"anchors": ANCHORS.astype(np.float32)},
        wrong=(({"threshold": 1e-60}, "threshold"), ({"anchors": ANCHORS.astype("f2")}, "anchors")),
    ),
    Subject(
        "host.matching.TargetAssigner.assign",
        {
            "self": ASSIGNER,
            "boxes": np.stack([BOXES, BOXES]),
            "labels": np.stack([LABELS, LABELS]),
            "crowds": np.stack([CROWDS, CROWDS]),
        },
        {"boxes": "boxes B M 4", "labels": "labels B M from -1", "crowds": "flags B M"},
        {"list": quiet, "crowds: None": quiet},
        wrong=(
            ({"labels": np.zeros((2, 3), int)}, "labels"),
            ({"boxes": np.stack([BOXES, BOXES]).astype(np.float32)}, "boxes"),
            *(({"out": bad}, "out") for bad in (np.zeros((2, 4)), (1, 2, 3), "x")),
            ({"out": ASSIGNER.assign(BOXES[None], LABELS[None])}, "out"),
        ),
    ),
    Subject(
        "host.detection.detect",
        {"deltas": DELTAS[None], "logits": LOGITS[None], "anchors": ANCHORS},
        {"deltas": "floats B A 4", "logits": "floats B A C", "anchors": "anchors A 4"},
        {**{how: quiet for how in IN_ROW}, "list": quiet, "no C": REFUSED},
        rules=True,
    ),
    Subject(
        "detector.detector.detect_from_heads",
        {"deltas": DELTAS, "logits": LOGITS, "anchors": ANCHORS, "convention": CANONICAL},
        {"deltas": "floats A 4", "logits": "floats A C", "anchors": "anchors A 4"},
        {**SPANS, "logits: -inf": quiet, "no C": REFUSED},
    ),
)


# --- what takes objects of its own, and files -----------------------------------------------------

NAN, INF = float("nan"), float("inf")
DIGITS = digits.Digits(np.full((2, 28, 28), 255, np.uint8), np.array([7, 1]), "two white squares")
TWO = {"digits": DIGITS, "mode": "1"}
FOLDER = Path(__file__).parent  # a folder that is none of a run, of weights, of MNIST
TEXT = Path(__file__)  # a file that is no image, no weights, no export
MISSING = FOLDER / "missing"


def _each(name: str, *bad: Any) -> tuple[tuple[dict[str, Any], str], ...]:
    """Every one of these is wrong for an argument."""
    return tuple(({name: value}, name) for value in bad)


def _other_digits(**change: Any) -> digits.Digits:
    return DIGITS._replace(**change)


BAD_IMAGES = ((None, 16, 64, 3), (None, 64, 64, 1), (None, 64, 64), (None, 64))
PATHS = (MISSING, FOLDER, TEXT)
IMPLEMENTATION = Implementation("mine", {"area": lambda boxes, convention: (area(boxes),)})
OTHERS = (
    # data
    Subject(
        "data.mnist.load_digits",
        {"split": "test"},
        wrong=(*_each("split", "valid", None, 3), *_each("mnist", MISSING, TEXT, FOLDER)),
    ),
    *(
        Subject(
            f"data.{name}",
            {**TWO, **given},
            wrong=(
                *_each("mode", "2", None, NAN),
                *_each(
                    "digits",
                    _other_digits(images=DIGITS.images[:0], labels=DIGITS.labels[:0]),
                    _other_digits(images=DIGITS.images[:1]),
                    _other_digits(images=DIGITS.images[..., 1:]),
                    _other_digits(images=DIGITS.images.astype(float)),
                    _other_digits(labels=DIGITS.labels + 0.5),
                    _other_digits(labels=np.array(["7", "1"])),
                ),
                *wrong,
            ),
        )
        for name, given, wrong in (
            ("canvases.compose", {"generator": np.random.default_rng(0)}, ()),
            ("canvases.canvas", {"seed": 0, "index": 0}, (*counts("seed"), *counts("index"))),
            (
                "pipeline.dataset",
                {"num_images": 4, "batch": 2, "seed": 0},
                (
                    *counts("batch", least=1),
                    *counts("seed", "first"),
                    *counts("objects", least=1),
                    *_each("num_images", 0, 1.5, "3", NAN),
                ),
            ),
        )
    ),
    Subject(
        "data.canvases.compose",
        {**TWO, "generator": np.random.default_rng(0)},
        wrong=_each("digits", _other_digits(labels=np.array([10, -1]))),
    ),
    Subject(
        "data.canvases.collate",
        {"canvases": [canvases.canvas(DIGITS, "1", 0, 0)]},
        wrong=(*_each("canvases", []), *counts("objects"), *_each("objects", 0)),
    ),
    *(
        Subject(
            name,
            {"images": DIGITS.images},
            wrong=_each("images", DIGITS.images.astype(float), [[[1]]], None, *more),
        )
        for name, more in (
            ("images.pixels.normalise", ()),
            ("data.canvases.batch_images", (DIGITS.images[0], DIGITS.images[None])),
        )
    ),
    Subject(
        "data.mnist.make_sample",
        {"mnist": FOLDER},
        wrong=_each("mnist", MISSING, FOLDER),
    ),
    # networks
    Subject(
        "models.mobilenet_v2.make_divisible",
        {"value": 20.0},
        wrong=(*_each("value", -1, NAN, INF, "8", None), *counts("divisor", least=1)),
    ),
    Subject(
        "models.mobilenet_v2.mobilenet_v2_features",
        {"inputs": keras.KerasTensor((None, 64, 64, 3))},
        wrong=(
            *_each("inputs", *(keras.KerasTensor(shape) for shape in BAD_IMAGES), None, [1.0]),
            *_each("alpha", 0, -1, NAN, INF, "1", None, 1e300),
        ),
    ),
    Subject(
        "models.mobilenet_v2.MobileNetV2",
        {},
        wrong=(
            *(({"input_shape": shape[1:]}, "inputs") for shape in BAD_IMAGES),
            *_each("alpha", 0, -1, NAN, INF, "1", None),
        ),
    ),
    Subject(
        "models.heads.map_steps",
        {"layout": LAYOUT},
        wrong=(({"layout": replace(LAYOUT, feature_maps=((4, 4), (3, 3), (1, 1)))}, "layout"),),
        also=("layout.feature_maps",),
    ),
    *(
        Subject(
            f"models.ssd.{name}",
            given,
            wrong=(
                *counts("num_classes", least=1),
                *_each("class_names", ("one", "two"), "ab", ()),
                *more,
            ),
        )
        for name, given, more in (
            (
                "SSD",
                {"layout": LAYOUT, "num_classes": 1},
                (
                    *_each("layout", "ssd301", None, 300),
                    *_each("alpha", 0, -1, NAN, INF, "1"),
                    *_each("head", "ssd3x3", None),
                    *_each("convention", "caffe", None),
                ),
            ),
            ("ssd_mobilenet_v2_300", {"num_classes": 1}, ()),
        )
    ),
    # weights, exports and images
    Subject(
        "weights.published.weights_file",
        {"name": "digits"},
        wrong=_each("name", "coco", None, 3),
        also=("model",),
    ),
    *(
        Subject(
            f"weights.{name}",
            {**given, "path": MISSING},
            wrong=_each("path", *PATHS),
            also=("weights", "file"),
        )
        for name, given in (
            ("npz.read_weights", {}),
            ("npz.load_model", {}),
            ("npz.load_weights", {"model": None}),
            ("published.read_published", {}),
            ("installing.import_litert", {}),
        )
    ),
    Subject("weights.installing.install", {"file": MISSING}, wrong=_each("file", *PATHS)),
    Subject(
        "weights.litert.read_litert",
        {"data": b""},
        wrong=_each("data", b"", b"TFL3"),
        also=("file",),
    ),
    Subject(
        "detector.detector.load_detector",
        {},
        wrong=(*_each("name", *PATHS), *_each("backend", "torch", None, 3)),
        also=("weights",),
    ),
    Subject(
        "detector.detector.detector_of",
        {"model": None},
        wrong=_each("backend", "torch", None, "litert"),
    ),
    Subject(
        "images.reading.open_image",
        {"path": MISSING},
        wrong=_each("path", MISSING, FOLDER, TEXT),
        also=("image",),
    ),
    Subject(
        "images.detections.label_names",
        {"num_classes": 2},
        wrong=(
            *counts("num_classes", least=1),
            *_each("class_names", "ab", (), ("a",), ("a", "b", "c")),
        ),
    ),
    Subject(
        "images.pixels.prepare",
        {"image": Image.new("RGB", (4, 4)), "size": (2, 2)},
        wrong=(
            ({"size": (0, 2)}, "height"),
            ({"size": (2, 0)}, "width"),
            ({"size": (2.5, 2)}, "height"),
        ),
    ),
    Subject(
        "detector.detector.Detector.detect",
        {"self": prediction.Detector(dict, CANONICAL, 2), "images": []},
        wrong=_each("score", -0.1, 1.5, NAN, "high", None),
    ),
    Subject(
        "demo.report.check_folder",
        {"folder": TEXT, "num_images": 1},
        wrong=_each("folder", TEXT),
        also=("out",),
    ),
    Subject(
        "detector.export_files.check_target",
        {"path": MISSING.with_suffix(".onnx"), "form": "onnx"},
        wrong=(
            *_each("form", "pb", None),
            *_each("path", MISSING.with_suffix(".tflite"), MISSING / "x.onnx"),
        ),
    ),
    Subject(
        "detector.runtimes.load_exported",
        {"path": TEXT, "form": "onnx"},
        wrong=(*_each("form", "pb", None), *_each("path", MISSING, TEXT)),
    ),
    Subject(
        "detector.litert.LiteRT", {"model": b"TFL3"}, wrong=_each("model", b"TFL3", MISSING, TEXT)
    ),
    Subject(
        "detector.exporting.export",
        {"model": None, "path": MISSING.with_suffix(".onnx"), "form": "onnx"},
        wrong=(
            *_each("form", "pb", None),
            *_each("path", MISSING.with_suffix(".tflite"), MISSING / "x.onnx"),
            *_each("score", -0.1, 1.5, NAN, "high"),
        ),
    ),
    Subject(
        "_common.files.check_sum",
        {"data": b"", "sha256": "0" * 64, "size": 0, "source": "nowhere"},
        wrong=(({"data": b"abc"}, "file"), ({"size": 7}, "file"), ({"sha256": "1"}, "file")),
    ),
    # what composes them
    Subject(
        "training.recipe.Recipe",
        {},
        wrong=(
            *_each("digits", "3", None),
            *_each("init", "coco", None),
            *counts("epochs", "images", "batch", "validation", least=1),
            *counts("seed"),
            *_each("alpha", 0, -1, NAN, INF, "1", None),
            *_each("learning_rate", 0, -1, NAN, INF, "1", None),
            *_each("box_weight", 0, -1, NAN, INF, "1", None),
            ({"images": 100, "batch": 7}, "images"),
            ({"seed": 2**32}, "seed"),
        ),
    ),
    Subject(
        "training.curves.draw_runs",
        {"runs": [FOLDER], "path": MISSING},
        wrong=(({"runs": [FOLDER]}, "runs"), ({"runs": []}, "runs")),
    ),
    Subject(
        "training.evaluation.evaluate_digits",
        {"model": None, "digits": DIGITS, "mode": "1", "num_images": 1, "seed": 0},
        wrong=(*counts("num_images", least=1), *_each("mode", "2", None), *counts("seed")),
    ),
    Subject(
        "demo.run.run",
        {"model": SimpleNamespace(num_classes=3), "digits": DIGITS},
        wrong=(*counts("num_images", least=1), ({"num_images": 1}, "model")),
    ),
    Subject(
        "parity.table.run",
        {},
        wrong=(
            *_each("modes", ["fast"], [], [None]),
            *_each("dtypes", ["float16"], []),
            *_each("ops", ["area", "volume"], []),
            *counts("cases", least=1),
            *counts("seed"),
        ),
    ),
    Subject("conformance.budgets.budget", {"op": "area"}, wrong=_each("op", "volume", None, 3)),
    Subject(
        "conformance.suite.Implementation",
        {"name": "mine", "operations": {}},
        wrong=(
            *_each("operations", {"volume": max}),
            *_each("dtypes", ("float16",)),
            *_each("may_fuse", ("xla",)),
            *_each("deviations", [Deviation("wrong", "area", "it is")]),
        ),
    ),
    Subject(
        "conformance.suite.check",
        {"implementation": IMPLEMENTATION, "label": "area"},
        wrong=(
            *_each("label", "volume", None),
            *_each("mode", "xla", None),
            *_each("dtype", "float16", None),
            *counts("cases", least=1),
            *counts("seed"),
        ),
    ),
    Subject(
        "conformance.batching.per_image",
        {"operation": "nms", "function": None},
        wrong=_each("operation", "area", None),
    ),
    Subject("backends.in_mode", {"function": abs}, wrong=_each("mode", "fast", None)),
    Subject(
        "benchmark.loads.sizes", {"load": "8x9"}, wrong=_each("load", "large", "8xx9", "", None)
    ),
    Subject(
        "benchmark.runner.run",
        {"chosen": plan.plan(True)},
        wrong=_each("device", "tpu", None),
    ),
    Subject("benchmark.page.check_file", {"path": FOLDER}, wrong=(({"path": FOLDER}, "html"),)),
    Subject(
        "benchmark.peers.installed", {"name": "numba"}, wrong=_each("name", "ssd.pytorch", None)
    ),
    Subject(
        "benchmark.peers.matcher",
        {"name": "numba", "anchors": ANCHORS, "objects": 1},
        wrong=_each("name", "ssd.pytorch", None, "opencv"),
    ),
    Subject(
        "benchmark.peers.decoder",
        {"name": "opencv", "anchors": ANCHORS, "convention": CANONICAL},
        wrong=_each("name", "ssd.pytorch", None, "numba"),
    ),
)


@pytest.mark.parametrize("subject", HOST, ids=titles(HOST))
def test_a_spoilt_call_on_the_host(subject):
    count, wrong = judge(subject, function_of("keras_impl", subject.name))
    assert count > 0
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong)


# What some need that is not beside every backend.
NEEDS = {
    "detector.export_files.check_target": ("tensorflow", "onnx", "tf2onnx", "onnxruntime"),
    "detector.runtimes.load_exported": ("onnxruntime",),
    "detector.litert.LiteRT": ("ai_edge_litert",),
    "detector.exporting.export": ("tensorflow", "onnx", "tf2onnx", "onnxruntime"),
    "weights.litert.read_litert": ("ai_edge_litert",),
}
POSSIBLE = tuple(subject for subject in OTHERS if all(map(find_spec, NEEDS.get(subject.name, ()))))


@pytest.mark.parametrize("subject", POSSIBLE, ids=titles(POSSIBLE))
def test_a_wrong_argument_of_the_rest(subject, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # nothing was fetched there
    count, wrong = judge(subject, function_of("keras_impl", subject.name))
    assert count > 0
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong)


# --- a detector -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return ssd.SSD(LAYOUT, num_classes=2, alpha=0.1)


def test_a_detector_refuses_what_are_no_prepared_images(model):
    images = np.zeros((2, 64, 64, 3), np.float32)
    subject = Subject(
        "models.ssd.SSD.detect",
        {"images": images},
        wrong=(
            *_each("images", images[0], images[None], images[:0], images[:, 1:], images[..., :1]),
            *_each("images", *(images.astype(one) for one in ("u1", "i8", "c8", "U1", "O")), None),
            *counts("batch_size", least=1),
            *_each("score_threshold", NAN, "high"),
            *_each("max_detections", 1.5, -1),
            ({"threshold": 0.5}, "overrides"),
        ),
    )
    count, wrong = judge(subject, model.detect)
    assert count > 15
    assert not wrong, "\n".join(wrong)


def test_a_detector_refuses_what_are_no_objects(model):
    anchors = len(model.anchors)
    heads = {"deltas": np.zeros((2, anchors, 4), "f4"), "logits": np.zeros((2, anchors, 3), "f4")}
    targets = {
        "target_deltas": np.zeros((2, anchors, 4), "f4"),
        "target_labels": np.zeros((2, anchors), "i4"),
    }

    def loss(**y):
        return np.asarray(ops.convert_to_numpy(model.compute_loss(y=y, y_pred=heads)))

    given = {"boxes": batch(BOXES), "labels": batch(LABELS), "crowds": batch(CROWDS)}
    subjects = (
        Subject(
            "models.ssd.SSD.compute_loss",
            given,
            {"boxes": "boxes 2 M 4", "labels": "labels 2 M from -1 to 2", "crowds": "flags 2 M"},
            {"crowds: None": quiet, "crowds: list": quiet, "no M": quiet},
            also=("y",),
            few=True,
        ),
        Subject(
            "models.ssd.SSD.compute_loss",
            targets,
            {
                "target_deltas": f"floats 2 {anchors} 4",
                "target_labels": f"labels 2 {anchors} from -1 to 2",
            },
            {f"target_deltas: {how}": quiet for how in ("nan", "inf")},  # the last is background
            also=("y",),
            few=True,
        ),
    )
    for subject in subjects:
        count, wrong = judge(subject, loss)
        assert count > 15
        assert not wrong, "\n".join(wrong)
    for y in (None, [], {}, {"boxes": given["boxes"]}, batch(BOXES)):
        with pytest.raises(ValueError, match=r"^y: expected .*Received: "):
            model.compute_loss(y=y, y_pred=heads)


# --- inside a graph -------------------------------------------------------------------------------


def test_what_cannot_be_raised_in_a_graph_counts_as_padding(model, monkeypatch):
    """One trace: nothing can be raised in it, so that what is bad must change nothing."""
    # Not compiled by itself within the graph, which would take most of the time.
    monkeypatch.setattr(model, "_assign", model._assign_targets)
    boxes, labels = batch(BOXES), batch(LABELS).astype(np.int32)
    bad_boxes, bad_labels, padded = boxes.copy(), labels.copy(), labels.copy()
    bad_boxes[0, 0, 2], bad_boxes[0, 1], bad_boxes[1, 0, :2] = NAN, np.inf, 0.75  # inside out
    bad_labels[1, 2], bad_labels[1, 1] = 3, 0  # two classes; background is no object
    padded[0, :2] = padded[1] = -1
    anchors = len(model.anchors)
    deltas = np.random.default_rng(0).normal(size=(2, anchors, 4)).astype("f4")
    logits = np.random.default_rng(1).normal(size=(2, anchors, 3)).astype("f4")
    wanted = np.zeros((2, anchors), np.int32)
    wanted[:, :3] = [1, 2, -1]
    beyond = wanted.copy()
    beyond[wanted == -1] = 3
    beyond[0, 2] = -7

    def everything(box, label, code, logit, target):
        return (
            *model._targets({"boxes": box, "labels": label}),
            *multibox.multibox_loss(code, logit, code + 1, target),
        )

    expected = as_arrays(everything(boxes, padded, deltas, logits, wanted))
    for mode in modes()[1:2]:
        found = in_mode(everything, mode)(bad_boxes, bad_labels, deltas, logits, beyond)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


# --- nothing is left out --------------------------------------------------------------------------


# Public functions that are not in a table: why, and who looks at them instead.
EXPLAINED = {
    "_common.*": "take paths and texts of their callers; what cannot be had is an OSError",
    "backends.*": "take nothing, or a function",
    "benchmark.cases.*": "take jobs of a plan",
    "conformance.detections.*": "judge answers, which may be anything: test_comparisons.py",
    "benchmark.correctness.*": "compare answers, and say where these are wrong: test_bench.py",
    "benchmark.loads.*": "take loads of a plan",
    "benchmark.memory.*": "take jobs of a plan",
    "benchmark.page.*": "show a run",
    "benchmark.peers.*": "called by `matcher` and `decoder`, which refuse",
    "benchmark.plan.*": "hold what is to be measured",
    "benchmark.records.*": "hold what was measured",
    "benchmark.worker.work": "takes what `run` asks in another process; test_bad_commands.py",
    "cli.*": "take options: test_bad_commands.py",
    "conformance.batching.*": "take an Implementation, which refuses, and labels of it",
    "conformance.judges.*": "judge answers; test_comparisons.py",
    "conformance.report.*": "show what was judged",
    "conformance.scales.*": "take inputs of an operation, which the workloads made",
    "conformance.suite.*": "take an Implementation, which refuses, and labels of it",
    "conformance.verdicts.*": "judge answers; test_comparisons.py",
    "conformance.workloads.*": "take a generator and a count of `check`, which refuses",
    "data.canvases.check_*": "they are what refuses",
    "data.canvases.looks_like_a_canvas": "takes what open_image read",
    "data.pipeline.assign_targets": "takes a tf.data.Dataset; a TargetAssigner refuses",
    "data.photographs.*": "takes nothing",
    "demo.*": "hold, compare and show what `run` made",
    "detector.comparison.*": "compare detections of detectors, which refuse",
    "detector.detector.*": "take models; a Detector refuses",
    "detector.export_files.facts_file": "a name beside a name",
    "detector.export_files.sums_of": "a path that check_target found to be good",
    "host.detection.can_detect": "takes a Convention",
    "host.kernels.*": "take what `host.matching` and `host.detection` checked",
    "host.lattices.*": "take what a TargetAssigner checked",
    "host.threads.*": "take a function",
    "models.decoding.detect": "host.detection.detect refuses",
    "images.detections.*": "take what a Detector found",
    "images.drawing.*": "draw what a Detector found in images that open_image read",
    "images.reading.images_in": "takes a folder; test_bad_commands.py",
    "images.writing.*": "write what was drawn",
    "models.cost.*": "take models; test_architecture.py",
    "models.heads.*": "make layers of Keras, which refuse",
    "models.mobilenet_v2.conv_unit": "makes layers of Keras, which refuse",
    "ops.boxes.iou_of_columns": "takes what `columns` made",
    "ops.boxes.plus": "takes what functions of the module made",
    "ops.checks.*": "they are what refuses; below",
    "ops.extremes.*": "take tensors of their callers",
    "parity.drift.*": "test_drift.py",
    "parity.implementations.*": "take a convention, whose fields refuse",
    "parity.network.*": "compare layers of a network of their own",
    "parity.tracing.*": "as parity.pixels",
    "parity.pixels.*": "compare detectors, which refuse, on images that open_image read",
    "parity.table.Report": "holds what was compared",
    "training.curves.*": "a folder without a log has no rows; test_training.py",
    "training.digits.*": "take a Recipe, which refuses, and folders: test_training.py",
    "weights.litert.litert_name": "None of a name that it does not know",
    "weights.npz.assign_weights": "takes what read_weights read",
    "weights.npz.save_weights": "takes a model; test_weights.py",
    "weights.npz.unfold": "takes what read_weights read",
    "weights.npz.write_arrays": "takes what read_litert read",
}
MODULES = modules_of(keras_impl)
TABLES = {f"ops.{subject.name}" for subject in KERAS} | {one.name for one in (*HOST, *OTHERS)}


@pytest.fixture(scope="module")
def public():
    return dict(public_functions("keras_impl", MODULES))


def test_every_public_function_is_in_a_table_or_says_why_not(public):
    missing = [name for name in public if name not in TABLES and not explanation(name, EXPLAINED)]
    assert missing == []


# --- checks ---------------------------------------------------------------------------------------


def test_checks_let_pass_what_fits():
    for axes in ((2, 4), ("N", 4), (None, 4), (..., 4), (...,), (..., 2, 4)):
        assert as_floats(np.zeros((2, 4), "f4"), "x", *axes).shape == (2, 4)
    as_floats(keras.KerasTensor((None, 4)), "x", 7, 4)  # a length that a graph leaves open
    as_flags(np.zeros(2, "i4"), "x", 2, whole=True)
    check_same(np.zeros((3, 1)), np.zeros((1, 4)), ("x", "y"), broadcast=True)
    check_same(np.zeros(4), np.zeros((3, 4)), ("x", "y"), broadcast=True)
    check_range(np.array([], int), "x", 0, -1)
    check_range(keras.KerasTensor((2,), "int32"), "x", 0, 1)  # nothing to look at
    assert values_of(keras.KerasTensor((2,))) is None
    assert values_of(ops.array([0.5])).tolist() == [0.5]
