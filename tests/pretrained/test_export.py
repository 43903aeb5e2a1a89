"""Detectors in other people's runtimes: they detect what the reference does, by plain operations.

A conversion takes ten seconds and more, so each is made once, and most of them are left to the
thorough run: a first verdict converts the pretrained network to LiteRT, and the digit detector to a
SavedModel. What `export` refuses, replaces and takes back is tested without converters, which are
stood in for by what writes a file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from keras_impl import cli
from keras_impl.cli import startup
from keras_impl.data.canvases import canvas
from keras_impl.data.mnist import load_digits
from keras_impl.detector import export_files, exporting
from keras_impl.detector.comparison import compare_detections
from keras_impl.detector.detector import Detector, load_detector
from keras_impl.detector.export_files import FORMATS
from keras_impl.detector.exporting import export, facts_file
from keras_impl.detector.runtimes import load_exported
from keras_impl.images.detections import Detection, to_pixels as in_pixels
from keras_impl.images.pixels import prepare
from keras_impl.images.reading import open_image
from keras_impl.parity.pixels import RAW, SHOWN
from keras_impl.weights import npz as weights, published
from keras_impl.weights.npz import load_model
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import CANONICAL, AnchorLayout, Convention, revived
from reference_numpy.detection import Detections

SCORE = 0.3  # of the exports that detect

# Of the sample those in which anything scores more than SHOWN.
PHOTOS = (
    "astronaut",
    "camera",
    "chelsea",
    "coffee",
    "flower",
    "hubble_deep_field",
    "motorcycle_left",
    "motorcycle_right",
)


def first(form: str, detections: bool) -> list[pytest.MarkDecorator]:
    """Marks of a test that asks for this export."""
    return [] if (form, detections) == ("litert", False) else [pytest.mark.thorough]


RAW_FORMS = [pytest.param(form, marks=first(form, False)) for form in FORMATS]
EVERY = [
    pytest.param(form, detections, marks=first(form, detections))
    for form in FORMATS
    for detections in (False, True)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Callable[..., Path]:
    """Exports by model, form and whether they detect; each is made when it is first asked for."""
    folder = tmp_path_factory.mktemp("exports")

    @cache  # to which an argument left out would be another call: none may be
    def make(model: keras.Model, form: str, detections: bool) -> Path:
        what = "detections" if detections else "heads"
        path = folder / f"{model.layout.name}-{what}-{form}{FORMATS[form]}"
        return export(model, path, form, detections=detections, score=SCORE).path

    return make


@pytest.fixture(scope="module")
def digits() -> keras.Model:
    """The shipped digit detector."""
    return load_model()


class Seen(NamedTuple):
    """Images, and what the reference says of them.

    Attributes:
        images: Prepared.
        sizes: Of the images in pixels.
        heads: Of the reference.
        at: Detections of each image, by the score that they exceed.
    """

    images: NDArray[np.float32]
    sizes: list[tuple[int, int]]
    heads: dict[str, NDArray[np.float32]]
    at: dict[float, list[list[Detection]]]


def seen_by(reference: Detector, photographs: list[Image.Image]) -> Seen:
    images = np.stack([prepare(one, reference.size) for one in photographs])
    sizes = [one.size for one in photographs]
    heads = reference.heads(images)
    again = Detector(lambda given: heads, reference.convention, len(reference.class_names))
    at = {
        score: [*map(in_pixels, again.detect_prepared(images, score=score), sizes)]
        for score in (SHOWN, SCORE)
    }
    return Seen(images, sizes, heads, at)


@pytest.fixture(scope="module")
def photos(keras_home, photographs) -> Seen:
    """Real photographs."""
    reference = load_detector("oidv4", "numpy")
    return seen_by(reference, [open_image(photographs[name]) for name in PHOTOS])


@pytest.fixture(scope="module")
def canvases(tmp_path_factory) -> Seen:
    """Canvases of the package's own digits, whatever MNIST is in the cache of whoever runs this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("no_mnist")))
        sample = load_digits("test")
    images = [Image.fromarray(canvas(sample, "1-10", 0, index).image) for index in range(4)]
    reference = load_detector("digits", "numpy")
    return seen_by(reference, [image.convert("RGB") for image in images])


def read_raw(path: Path, form: str, model: keras.Model, seen: Seen) -> list[list[Detection]]:
    heads = load_exported(path, form)
    detector = Detector(heads, model.convention, len(model.class_names), model.class_names)
    return [*map(in_pixels, detector.detect_prepared(seen.images, score=SHOWN), seen.sizes)]


def read_detections(path: Path, form: str, seen: Seen) -> list[list[Detection]]:
    run = load_exported(path, form)
    rows = [run(image[None]) for image in seen.images]
    return [without_padding(row, 0, size) for row, size in zip(rows, seen.sizes, strict=True)]


def without_padding(outputs, row: int, size: tuple[int, int]) -> list[Detection]:
    """Detections of one image, once what follows them is nothing but padding."""
    found = Detections(*(outputs[name][row] for name in Detections._fields))
    used = int((found.labels > 0).sum())
    assert (found.labels[:used] > 0).all(), "padding comes last"
    padding = [set(np.unique(part[used:])) for part in found]
    assert all(one <= {of} for one, of in zip(padding, (0, 0, -1, -1), strict=True)), padding
    return in_pixels(Detections(*(part[:used] for part in found)), size)


def assert_alike(found: list[list[Detection]], seen: Seen, score: float, at_least: int) -> None:
    total = 0
    for index, (mine, theirs) in enumerate(zip(found, seen.at[score], strict=True)):
        alike, alone, disorder, *_ = compare_detections(mine, theirs, score)
        assert (alone, disorder) == (0, 0), f"image {index}: {mine} and not {theirs}"
        total += alike
    assert total >= at_least, "or the images show nothing"


# --- What is detected ---------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("form", RAW_FORMS)
def test_raw_heads_are_the_references(made, model, photos, form):
    path = made(model, form, False)
    found = load_exported(path, form)(photos.images)
    assert found.keys() == photos.heads.keys()
    for name, part in photos.heads.items():
        assert np.abs(found[name] - part).max() <= RAW, name
    assert_alike(read_raw(path, form, model, photos), photos, SHOWN, 100)


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMATS)
def test_an_export_that_detects_finds_what_the_reference_does(made, model, photos, form):
    assert_alike(read_detections(made(model, form, True), form, photos), photos, SCORE, 4)


@pytest.mark.thorough
def test_a_saved_model_detects_in_several_images_at_once(made, model, photos):
    found = load_exported(made(model, "saved_model", True), "saved_model")(photos.images)
    rows = [without_padding(found, row, size) for row, size in enumerate(photos.sizes)]
    assert_alike(rows, photos, SCORE, 4)


@pytest.mark.thorough
def test_the_digit_detector_finds_the_digits_of_a_canvas(made, digits, canvases):
    raw = read_raw(made(digits, "litert", False), "litert", digits, canvases)
    assert_alike(raw, canvases, SHOWN, 20)
    found = read_detections(made(digits, "onnx", True), "onnx", canvases)
    assert_alike(found, canvases, SCORE, 20)


# --- What it is made of -------------------------------------------------------------------


def litert_operations(path: Path) -> tuple[set[str], set[str | None]]:
    """What a file names: built-in operations, and custom ones, which are "Flex..." or anybody's.

    The file's own table, for an interpreter lists neither what is in the body of a loop, where
    suppression is, nor what a delegate took over.
    """
    from ai_edge_litert import schema_py_generated as schema

    table = schema.Model.GetRootAs(path.read_bytes(), 0)
    codes = [table.OperatorCodes(index) for index in range(table.OperatorCodesLength())]
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    return {names[code.BuiltinCode()] for code in codes}, {code.CustomCode() for code in codes}


def interpreted_operations(path: Path) -> set[str]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return {one["op_name"] for one in interpreter._get_ops_details()}


@pytest.mark.parametrize(
    "detections", [pytest.param(one, marks=first("litert", one)) for one in (False, True)]
)
def test_litert_needs_its_own_operations_only(made, model, detections):
    path = made(model, "litert", detections)
    names, custom = litert_operations(path)
    assert custom == {None}
    assert "CUSTOM" not in names
    assert ("WHILE" in names) == detections
    assert interpreted_operations(path) <= names


def onnx_nodes(graph) -> Iterator:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from onnx_nodes(inner)


@pytest.mark.thorough
def test_onnx_needs_its_own_operations_only(made, model):
    import onnx

    proto = onnx.load(made(model, "onnx", True))
    nodes = [*onnx_nodes(proto.graph)]
    assert {"Conv", "Loop", "TopK"} <= {node.op_type for node in nodes}
    assert len(nodes) > len(proto.graph.node), "the body of the loop is looked at too"
    assert {node.domain for node in nodes} <= {"", "ai.onnx"}
    assert not proto.functions


# --- The file beside it -------------------------------------------------------------------


@pytest.mark.parametrize(("form", "detections"), EVERY)
def test_the_facts_hold_what_decoding_takes(made, model, form, detections):
    def no_number(text):
        pytest.fail(f"{text} is not JSON")

    text = facts_file(made(model, form, detections)).read_text(encoding="utf-8")
    facts = json.loads(text, parse_constant=no_number)
    assert facts["form"] == form
    assert facts["input"]["shape"][1:] == [300, 300, 3]
    assert facts["classes"] == {
        str(label): name for label, name in enumerate(published.OIDV4.class_names, start=1)
    }
    convention = revived(Convention, facts["convention"])
    if detections:
        assert facts["outputs"] == ["boxes", "scores", "labels", "anchors"]
        assert "anchors" not in facts
        assert convention == model.convention.replace(score_threshold=SCORE)
    else:
        assert facts["outputs"] == ["deltas", "logits"]
        assert np.array_equal(np.array(facts["anchors"], np.float32), model.anchors)
        assert convention == model.convention


# --- Without converters -------------------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch) -> list[keras.Model]:
    """No converters and no runtimes: files with a number in them, and Keras to say what they say.

    The networks that were exported.
    """
    exported: list[keras.Model] = []
    numbers = count(1)

    def write(network, path, format, **options):
        exported.append(network)
        name, number = Path(path), next(numbers)
        if format == "tf_saved_model":
            name.mkdir()
            name /= "saved_model.pb"
        name.write_text(f"number {number}")

    monkeypatch.setattr(keras.Model, "export", write)
    monkeypatch.setattr(exporting, "load_exported", lambda path, form: answers_of(exported[-1]))
    # Keras says the same to the same images, and takes half a second.
    answer = exporting._answers
    monkeypatch.setattr(
        exporting,
        "_answers",
        lambda run, images: answer(answers_of(getattr(run, "func", None)) or run, images),
    )
    return exported


@cache
def answers_of(network: object) -> Callable[[NDArray[np.float32]], dict[str, NDArray]] | None:
    """A network as a function of images that remembers its answers; None of what is none."""
    if not isinstance(network, keras.Model):
        return None

    @cache
    def say(images: bytes, shape: tuple[int, ...]) -> dict[str, NDArray]:
        found = network(np.frombuffer(images, np.float32).reshape(shape), training=False)
        return {name: keras.ops.convert_to_numpy(part) for name, part in found.items()}

    return lambda images: say(images.tobytes(), images.shape)


# --- What is refused ----------------------------------------------------------------------


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(
    ("name", "form", "score", "words"),
    [
        ("x", "keras", 0.5, "form: expected one of ['saved_model', 'litert', 'onnx']. Received: "),
        ("x.pb", "ONNX", 0.5, "Received: 'ONNX'"),
        ("x.onnx", "litert", 0.5, "path: expected a name that ends in .tflite for litert. Rec"),
        ("x", "onnx", 0.5, "path: expected a name that ends in .onnx for onnx. Received: "),
        ("x.onnx", "saved_model", 0.5, "path: expected a folder's name for saved_model. Received"),
        ("x.tflite", "saved_model", 0.5, "path: expected a folder's name for saved_model. Receiv"),
        ("gone/x.onnx", "onnx", 0.5, "path: expected a path in an existing folder. Received: "),
        ("x.onnx", "onnx", -0.1, "score: expected a number in [0, 1]. Received: -0.1"),
        ("x.onnx", "onnx", 1.5, "score: expected a number in [0, 1]. Received: 1.5"),
        ("x.onnx", "onnx", float("nan"), "score: expected a number in [0, 1]. Received: nan"),
    ],
)
def test_a_mistake_is_named_before_the_network_is_looked_at(tmp_path, name, form, score, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        export(None, tmp_path / name, form, detections=True, score=score)
    if words.startswith("path"):
        assert str(tmp_path / name) in str(caught.value)
    assert everything_in(tmp_path) == {}


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("onnx", {"x.onnx": "mine"}),
        ("litert", {"x.tflite": "mine", "x.tflite.json": '{"generator": "somebody"}'}),
        ("litert", {"x.tflite": "mine", "x.tflite.json": "[1]"}),
        ("litert", {"x.tflite": "mine", "x.tflite.json": '{"generator": '}),
        ("saved_model", {"x/notes.txt": "mine"}),
        ("saved_model", {"x": "mine"}),
        ("onnx", {"x.onnx.json": "mine"}),
        # Ours, and something of the user's in it.
        (
            "saved_model",
            {
                "x/saved_model.pb": "ours",
                "x/notes.txt": "mine",
                "x.json": f'{{"generator": "{export_files.GENERATOR}"}}',
            },
        ),
    ],
)
def test_what_is_the_users_is_left_alone(stand_in, digits, tmp_path, form, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = everything_in(tmp_path)
    with pytest.raises(ValueError, match=r"^path: expected a new name, or an .* which exists$"):
        export(digits, tmp_path / f"x{FORMATS[form]}", form)
    assert everything_in(tmp_path) == before
    assert stand_in == [], "nothing was converted"


@pytest.mark.parametrize("change", ["file", "added", "deep"])
def test_an_export_that_the_user_changed_is_the_users(stand_in, digits, tmp_path, change):
    """Quantised, say, or with notes beside the variables."""
    form = "litert" if change == "file" else "saved_model"
    path = tmp_path / f"x{FORMATS[form]}"
    export(digits, path, form)
    if change == "file":
        path.write_text("smaller")
    else:
        (path / "variables").mkdir()
        notes = path / ("notes.txt" if change == "added" else "variables/notes.txt")
        notes.write_text("mine")
    before = everything_in(tmp_path)
    with pytest.raises(ValueError, match=r"^path: expected a new name, or an .* which exists$"):
        export(digits, path, form)
    assert everything_in(tmp_path) == before


def test_a_file_that_appears_meanwhile_is_left_alone(stand_in, digits, tmp_path, monkeypatch):
    def load(path, form):
        (tmp_path / "x.onnx").write_text("mine")
        return answers_of(digits)

    monkeypatch.setattr(exporting, "load_exported", load)
    with pytest.raises(ValueError, match="expected a new name"):
        export(digits, tmp_path / "x.onnx", "onnx")
    assert everything_in(tmp_path) == {"x.onnx": b"mine"}


def test_a_link_is_not_followed(stand_in, digits, tmp_path):
    export(digits, tmp_path / "x.onnx", "onnx")
    (tmp_path / "y.onnx").symlink_to("x.onnx")
    (tmp_path / "y.onnx.json").symlink_to("x.onnx.json")
    with pytest.raises(ValueError, match="expected a new name"):
        export(digits, tmp_path / "y.onnx", "onnx")


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name)
    )


@pytest.mark.parametrize(
    ("form", "package"),
    [(form, package) for form, packages in export_files.NEEDS.items() for package in packages],
)
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, form, package):
    without(monkeypatch, package)
    words = f"{form} needs packages that are missing: {package}; run: {export_files.INSTALL}"
    with pytest.raises(ModuleNotFoundError, match=re.escape(words)):
        export(None, tmp_path / f"x{FORMATS[form]}", form)
    assert everything_in(tmp_path) == {}


# --- What is replaced and taken back ------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_an_earlier_export_is_replaced(stand_in, digits, tmp_path, form):
    path = tmp_path / f"x{FORMATS[form]}"
    export(digits, path, form)
    first = facts_file(path).read_text()
    facts_file(path).write_text(first.replace('"classes"', '"old"'))
    assert export(digits, path, form) == (path, 0, None)
    again = facts_file(path).read_text()
    name = f"{path.name}/saved_model.pb" if form == "saved_model" else path.name
    assert json.loads(again)["sha256"] == {name: hashlib.sha256(b"number 2").hexdigest()}
    assert {**json.loads(again), "sha256": 0} == {**json.loads(first), "sha256": 0}
    inside = {path.name: None, name: b"number 2"}
    assert everything_in(tmp_path) == {**inside, f"{path.name}.json": again.encode()}


WRONG = {
    "deltas": lambda found: {**found, "deltas": found["deltas"] + 0.01},
    "logits": lambda found: {**found, "logits": found["logits"] * 1.001},
    "not numbers": lambda found: {**found, "logits": found["logits"] * np.nan},
    "no logits": lambda found: {"deltas": found["deltas"]},
    "an anchor less": lambda found: {name: part[:, 1:] for name, part in found.items()},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_export_that_says_something_else_is_taken_back(
    stand_in, digits, tmp_path, monkeypatch, wrong
):
    def load(path, form):
        assert path.read_text() == "number 1"
        return lambda images: WRONG[wrong](answers_of(digits)(images))

    monkeypatch.setattr(exporting, "load_exported", load)
    words = r"^form: expected .* onnx export .*Received: .*; discarded$"
    with pytest.raises(ValueError, match=words):
        export(digits, tmp_path / "x.onnx", "onnx")
    assert len(stand_in) == 1
    assert everything_in(tmp_path) == {}


@pytest.mark.parametrize("form", FORMATS)
def test_an_earlier_export_outlives_a_move_that_fails(
    stand_in, digits, tmp_path, monkeypatch, form
):
    path = tmp_path / f"x{FORMATS[form]}"
    export(digits, path, form)
    before = everything_in(tmp_path)
    move = os.replace

    def fail(source, target):
        if Path(target) == path and Path(source).name == path.name:
            raise OSError("No space left on device")
        move(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        export(digits, path, form)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("what", ["converter", "runtime"])
def test_what_converters_and_runtimes_raise_is_said(stand_in, digits, tmp_path, monkeypatch, what):
    def fail(*arguments, **options):
        raise RuntimeError("something of theirs")

    if what == "converter":
        monkeypatch.setattr(keras.Model, "export", fail)
    else:
        monkeypatch.setattr(exporting, "load_exported", fail)
    words = r"^form: this network could not be exported to onnx: something of theirs; discarded$"
    with pytest.raises(ValueError, match=words):
        export(digits, tmp_path / "x.onnx", "onnx")
    assert everything_in(tmp_path) == {}


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_a_file_that_a_runtime_cannot_read_is_named(tmp_path, form):
    path = tmp_path / f"x{FORMATS[form]}"
    path.write_text("Dear reader,")
    with pytest.raises(ValueError, match=r"expected an? (LiteRT|ONNX) file\. Received: "):
        load_exported(path, form)
    with pytest.raises(FileNotFoundError, match="path: expected a file or folder"):
        load_exported(tmp_path / "gone", form)
    with pytest.raises(ValueError, match="form: expected one of"):
        load_exported(path, "torch")


@pytest.mark.parametrize("form", FORMATS)
def test_an_earlier_export_outlives_one_that_is_taken_back(
    stand_in, digits, tmp_path, monkeypatch, form
):
    path = tmp_path / f"x{FORMATS[form]}"
    export(digits, path, form)
    before = everything_in(tmp_path)
    found = iter([{"deltas": np.zeros(3)}, {"deltas": np.ones(3)}])
    monkeypatch.setattr(exporting, "_answers", lambda run, size: next(found))
    with pytest.raises(ValueError, match="discarded"):
        export(digits, path, form)
    assert len(stand_in) == 2
    assert everything_in(tmp_path) == before


# Two sevens and a one, and padding.
FOUND = {
    "boxes": np.array(
        [[[0.1, 0.1, 0.3, 0.4], [0.5, 0.5, 0.8, 0.9], [0.2, 0.6, 0.3, 0.9], [0] * 4]]
    ),
    "scores": np.array([[0.9, 0.8, 0.7, 0]]),
    "labels": np.array([[8, 8, 2, -1]]),
    "anchors": np.array([[70, 50, 60, -1]]),
}
NEAR = {
    "the same": lambda found: found,
    "rounded": lambda found: {**found, "scores": found["scores"] + 1e-6},
}
FAR = {
    "boxes": lambda found: {**found, "boxes": found["boxes"] + 0.01},
    "scores": lambda found: {**found, "scores": found["scores"] * 0.99},
    "labels": lambda found: {**found, "labels": found["labels"] + 1},
    "anchors": lambda found: {**found, "anchors": found["anchors"] + 1},
    "order": lambda found: {name: part[:, [1, 0, 2, 3]] for name, part in found.items()},
    "nothing": lambda found: {**found, "labels": np.full_like(found["labels"], -1)},
    "no anchors": lambda found: {name: found[name] for name in ("boxes", "scores", "labels")},
    "other slots": lambda found: {name: part[:, :3] for name, part in found.items()},
}


@pytest.mark.thorough
def test_soft_suppression_can_be_exported(tmp_path):
    """It lowers scores in the loop, which may be minus infinity there: 0 x inf must not be met."""
    layout = AnchorLayout("few", (64, 64), ((4, 4), (2, 2)), (0.3, 0.6, 0.9), ((), ()))
    convention = CANONICAL.replace(
        layout=layout, soft_sigma=0.5, max_detections=30, score_threshold=0.05
    )
    anchors = make_anchors(layout)
    generator = np.random.default_rng(0)
    given = {
        "deltas": generator.normal(size=(1, len(anchors), 4)).astype("f4"),
        "logits": generator.normal(size=(1, len(anchors), 4)).astype("f4"),
    }
    inputs = {name: keras.Input(one.shape[1:], name=name) for name, one in given.items()}
    decode = keras.Model(inputs, exporting._Decode(anchors, convention)(inputs))
    wanted = decode(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decode.export(tmp_path / "x.onnx", format="onnx", verbose=False)

    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(names, given), strict=True))

    assert (found["labels"] > 0).sum() > 10
    for name, part in wanted.items():
        np.testing.assert_allclose(found[name], part, atol=1e-6)


@pytest.mark.parametrize("change", [*NEAR, *FAR])
def test_detections_count_as_lists(stand_in, digits, tmp_path, monkeypatch, change):
    found = iter([FOUND, {**NEAR, **FAR}[change](FOUND)])
    monkeypatch.setattr(exporting, "_answers", lambda run, size: next(found))
    path = tmp_path / "x.onnx"
    if change in NEAR:
        assert export(digits, path, "onnx", detections=True).difference < 2e-6
        assert path.exists()
        return
    with pytest.raises(ValueError, match=r"^form: expected .* onnx export .*; discarded$"):
        export(digits, path, "onnx", detections=True)
    assert len(stand_in) == 1
    assert everything_in(tmp_path) == {}


# --- ssd export ---------------------------------------------------------------------------


@pytest.fixture
def ssd(digits, capfd, monkeypatch):
    """The program in this process, with weights that are loaded already: status, out, err."""
    monkeypatch.setattr(weights, "load_model", lambda path: digits)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main(["export", *map(str, arguments)])
        return status, *capfd.readouterr()

    return run


def test_the_command_says_what_it_wrote(ssd, tmp_path):
    path = tmp_path / "saved"
    status, out, err = ssd("--format", "saved_model", "--out", path)
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith(f"{path}: head outputs; its own runtime differs from Keras by at most ")
    assert second.startswith(f"{path}.json: ")
    found = load_exported(path, "saved_model")(np.zeros((2, 224, 224, 3), np.float32))
    assert found["logits"].shape == (2, 2884, 11)


def test_the_command_passes_on_what_it_is_told(stand_in, ssd, tmp_path):
    path = tmp_path / "x.onnx"
    status, out, _ = ssd("--format", "onnx", "--out", path, "--detections", "--score", 0.7)
    assert status == 0
    assert out.startswith(f"{path}: detections above 0.7; its own runtime differs from Keras by ")
    facts = json.loads(facts_file(path).read_text())
    assert facts["outputs"] == ["boxes", "scores", "labels", "anchors"]
    assert facts["convention"]["detection"]["score_threshold"] == 0.7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--format litert --out x.onnx", "--out: expected a name that ends in .tflite for litert"),
        ("--format saved_model --out x.onnx", "--out: expected a folder's name for saved_model"),
        ("--format onnx --out gone/x.onnx", "--out: expected a path in an existing folder"),
        ("--format onnx --out notes.onnx", "--out: expected a new name, or an unchanged earlier"),
        ("--format onnx --out x.onnx --weights gone.npz", "--weights: expected a file. Received:"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(
    stand_in, ssd, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.setattr(startup, "start_keras", lambda: pytest.fail("TensorFlow was started"))
    monkeypatch.chdir(tmp_path)
    Path("notes.onnx").write_text("mine")
    status, out, err = ssd(*arguments.split())
    assert (status, out, stand_in) == (2, "", [])
    assert err.startswith("ssd: error: ")
    assert words in err
    assert err.count("\n") == 1
    assert everything_in(tmp_path) == {"notes.onnx": b"mine"}


def test_it_says_how_many_detections_it_compared(stand_in, model, photographs, tmp_path):
    """In noise the detector sees nothing; a photograph is something to agree about."""
    path = tmp_path / "x.onnx"
    assert export(model, path, "onnx", detections=True, score=SCORE).compared == 0
    two = [open_image(photographs[name]) for name in PHOTOS[:2]]
    seen = seen_by(load_detector("oidv4", "keras"), two)
    done = export(model, path, "onnx", detections=True, score=SCORE, images=seen.images)
    assert done.compared == sum(map(len, seen.at[SCORE])) > 0


def test_a_photograph_to_compare_on_can_be_named(stand_in, ssd, photographs, tmp_path):
    words = ["--format", "onnx", "--out", tmp_path / "x.onnx", "--detections"]
    status, out, _ = ssd(*words, "--check", photographs["chelsea"])
    assert status == 0
    assert " detections compared)" in out
    (tmp_path / "letter.jpg").write_text("Dear reader,")
    status, out, err = ssd(*words, "--check", tmp_path / "letter.jpg")
    assert (status, out) == (2, "")
    assert "image: expected an image of one of PNG" in err


def test_without_onnx_the_command_says_how_to_get_it(ssd, tmp_path, monkeypatch):
    without(monkeypatch, "onnx")
    status, out, err = ssd("--format", "onnx", "--out", tmp_path / "x.onnx")
    assert (status, out) == (2, "")
    assert err == (
        "ssd: error: --format: onnx needs packages that are missing: onnx; "
        'run: pip install "mobilenetv2-ssd[keras,export]"\n'
    )
    assert everything_in(tmp_path) == {}
