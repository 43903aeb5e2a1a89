"""Pixel to box: LiteRT, Keras and NumPy on real photographs, and the layer that departs."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_impl._common.choices import BACKENDS
from keras_impl.cli import main
from keras_impl.data import photographs as photographs_
from keras_impl.data.photographs import sample_photographs
from keras_impl.detector.comparison import PIXELS, SCORE, compare_detections
from keras_impl.detector.detector import detector_of, load_detector
from keras_impl.detector.litert import LiteRT
from keras_impl.images.detections import Detection, to_pixels
from keras_impl.images.pixels import prepare
from keras_impl.images.reading import open_image
from keras_impl.parity import pixels as pixel_parity, tracing
from keras_impl.parity.pixels import RAW, SHOWN, compare_photographs
from keras_impl.parity.tracing import trace
from keras_impl.weights.npz import load_model
from keras_impl.weights.published import OIDV4, weights_file

GOLDEN = json.loads(Path(__file__).with_name("golden_oidv4.json").read_text(encoding="utf-8"))
SEEN = {"chelsea": "Cat", "astronaut": "Person", "coffee": "Coffee cup"}


class Detectors(dict):
    """By backend, each loaded when it is first asked for: LiteRT may not be installed."""

    def __missing__(self, backend):
        if backend == "litert":
            pytest.importorskip("ai_edge_litert")
        self[backend] = load_detector("oidv4", backend)
        return self[backend]


@pytest.fixture(scope="module")
def detectors(keras_home):
    return Detectors()


# --- Whole detectors ----------------------------------------------------------------------


def test_there_are_photographs_enough(photographs):
    assert len(photographs) >= 8
    assert all(path.is_file() for path in photographs.values())


@pytest.mark.parametrize("each", [8, pytest.param(1, marks=pytest.mark.thorough)])
def test_three_implementations_agree_from_pixels_to_boxes(detectors, photographs, each):
    """On all photographs, or on one of eight: NumPy takes seconds for each."""
    three = {name: detectors[name] for name in BACKENDS}
    chosen = list(photographs.values())[::each]
    checks = list(compare_photographs(chosen, three))

    assert len(checks) == 3 * len(chosen)
    assert {(one.one, one.other) for one in checks} == {
        ("keras", "numpy"),
        ("keras", "litert"),
        ("numpy", "litert"),
    }
    for check in checks:
        assert check.passed, check
    assert sum(check.detections for check in checks) > 30 * len(chosen), "what to agree about"
    assert max(check.deltas for check in checks) > 0, "they are three implementations, not one"


@pytest.mark.parametrize(
    "backend",
    [pytest.param(one, marks=[pytest.mark.thorough] if one == "numpy" else []) for one in BACKENDS],
)
def test_the_cat_the_person_and_the_cup_are_found(detectors, photographs, backend):
    detector = detectors[backend]
    for name, label in SEEN.items():
        (found,) = detector.detect([open_image(photographs[name])])
        assert [detector.class_names[one.label] for one in found] == [label]


@pytest.mark.parametrize("backend", ["keras", pytest.param("numpy", marks=pytest.mark.thorough)])
def test_the_golden_answers_of_litert_stand(detectors, photographs, backend):
    """Without an interpreter: its answers are in a file."""
    detector = detectors[backend]
    labels = {name: label for label, name in detector.class_names.items()}
    assert GOLDEN["provenance"]["sha256"] == OIDV4.sha256
    assert len(GOLDEN["photographs"]) >= 7
    for name, wanted in GOLDEN["photographs"].items():
        image = open_image(photographs[name])
        images = prepare(image, detector.size)[None]
        digest = hashlib.sha256(images.tobytes()).hexdigest()
        assert digest == wanted["sha256 of the prepared pixels"], "other pixels, other answers"
        raw = detector.heads(images)
        for output in ("deltas", "logits"):
            for place, value in wanted[output]:
                assert abs(float(raw[output].ravel()[place]) - value) <= RAW, (name, output, place)
        seen = to_pixels(detector.detect_prepared(images, score=SHOWN)[0], image.size)
        theirs = [
            Detection(labels[label], score, tuple(box), anchor)
            for label, score, *box, anchor in wanted["detections"]
        ]
        count, alone, disorder, *_ = compare_detections(seen, theirs, SHOWN)
        assert (count, alone, disorder) == (len(theirs), 0, 0), name


CAT = Detection(8, 0.9, (0.0, 0.0, 50.0, 50.0), 3)
DOG = Detection(20, 0.6, (10.0, 0.0, 50.0, 50.0), 4)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ([CAT, DOG], [CAT, DOG], (2, 0, 0)),
        ([], [], (0, 0, 0)),
        ([CAT], [], (0, 1, 0)),
        ([CAT], [CAT._replace(label=9)], (0, 2, 0)),
        ([CAT], [CAT._replace(score=0.9 + SCORE / 2)], (1, 0, 0)),
        ([CAT], [CAT._replace(score=0.9 + SCORE * 2)], (0, 2, 0)),
        ([CAT], [CAT._replace(box=(PIXELS * 0.9, 0.0, 50.0, 50.0))], (1, 0, 0)),
        ([CAT], [CAT._replace(box=(0.0, 0.0, 50.0, 50.0 + PIXELS * 1.1))], (0, 2, 0)),
        # Another order is a fault, unless the scores are closer than they are known.
        ([CAT, DOG], [DOG, CAT], (2, 0, 1)),
        (
            [CAT, DOG._replace(score=0.9 - SCORE / 2)],
            [DOG._replace(score=0.9 - SCORE / 2), CAT],
            (2, 0, 0),
        ),
        # One has it and the other has not, for it lies at the threshold.
        ([CAT._replace(score=SHOWN + SCORE / 2)], [], (0, 0, 0)),
        # Two alike are two.
        ([CAT, CAT], [CAT], (1, 1, 0)),
    ],
)
def test_how_lists_of_detections_differ(first, second, wanted):
    assert compare_detections(first, second, SHOWN)[:3] == wanted


def test_the_worst_corner_and_score_are_told():
    other = CAT._replace(score=0.9005, box=(0.25, 0.0, 50.0, 50.0))
    *_, pixels, score = compare_detections([CAT], [other], SHOWN)
    assert (pixels, score) == (0.25, pytest.approx(0.0005))


@pytest.mark.thorough
def test_a_difference_of_the_heads_fails(detectors, photographs):
    """Far less than changes any box."""
    numpy = detectors["numpy"]

    def heads(images):
        found = numpy.heads(images)
        return {**found, "deltas": found["deltas"] + np.float32(3e-4)}

    off = detector_like(numpy, heads)
    (check,) = compare_photographs([photographs["chelsea"]], {"numpy": numpy, "off": off})
    assert check.deltas == pytest.approx(3e-4, rel=0.1)
    assert (check.alone, check.disorder) == (0, 0)
    assert not check.passed


def detector_like(detector, heads):
    """The same network with other heads."""
    names = list(detector.class_names.values())
    return type(detector)(heads, detector.convention, len(names), names)


def test_photographs_are_asked_for_where_none_are_installed(monkeypatch):
    monkeypatch.setattr(photographs_, "SAMPLES", {"no_such_package": ("data", ("a.png",))})
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-image scikit-learn"):
        sample_photographs()


# --- Layer by layer -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def cat(photographs):
    return prepare(open_image(photographs["chelsea"]), (300, 300))


def departed(checks):
    return [(one.layer, one.who) for one in checks if one.departs]


@pytest.fixture(scope="module")
def litert(keras_home):
    pytest.importorskip("ai_edge_litert")
    return LiteRT(OIDV4.file, keep=True)


@pytest.mark.thorough
def test_no_layer_departs(cat, model, litert):
    checks = trace(cat, model, litert)
    assert departed(checks) == []
    assert len(checks) == 3 * (72 + 10 + 2), "convolutions, sums, and what all heads say together"
    assert {one.who for one in checks} == {"numpy", "keras", "litert"}
    # The bounds are not so wide that nothing could depart: sums use all of theirs.
    assert max(one.share for one in checks if one.layer.endswith("_add")) > 0.9
    assert max(one.share for one in checks if not one.layer.endswith("_add")) > 0.05
    assert [one.shape for one in checks[-6:]] == [(1917, 4)] * 3 + [(1917, 24)] * 3
    assert max(one.difference for one in checks) < RAW


@pytest.mark.thorough
def test_the_layer_that_departs_is_named_and_no_other(cat, keras_home, litert):
    """One number of one kernel is another in Keras and NumPy than in LiteRT."""
    model = load_model(weights_file("oidv4"))
    kernel = model.get_layer("block_5_project").kernel
    values = np.asarray(kernel).copy()
    values.flat[np.abs(values).argmax()] *= 1.001
    kernel.assign(values)

    checks = trace(cat, model, litert)

    assert departed(checks) == [("block_5_project", "litert")]
    after = [one for one in checks if one.layer == "head_0_logits" and one.who == "litert"]
    assert after[0].difference > 0, "later maps differ, and their layers are not to blame"


@pytest.mark.thorough
def test_a_fault_in_keras_is_keras(cat, model, monkeypatch):
    maps = tracing._keras_maps

    def faulty(*arguments):
        found = maps(*arguments)
        return {**found, "extra_2_conv": found["extra_2_conv"] + np.float32(1e-3)}

    monkeypatch.setattr(tracing, "_keras_maps", faulty)
    # Both what gives the map and what takes it do not fit it any more; the first comes first.
    assert departed(trace(cat, model))[0] == ("extra_2_conv", "keras")


@pytest.mark.thorough
def test_outputs_in_another_order_depart(cat, model, litert, monkeypatch):
    """Every layer is right, and the anchors of two shapes have changed places."""
    tell = LiteRT.__call__

    def swapped(self, images):
        found = tell(self, images)
        return {name: value[:, ::-1] for name, value in found.items()}

    monkeypatch.setattr(LiteRT, "__call__", swapped)
    assert departed(trace(cat, model, litert)) == [("deltas", "litert"), ("logits", "litert")]


def test_a_number_that_is_none_fails(photographs):
    check = pixel_parity.PhotoCheck("a", "keras", "numpy", 1e-5, float("nan"), 1, 0, 0, 0.0, 0.0)
    assert not check.passed


@pytest.mark.thorough
@pytest.mark.parametrize("head", ["ssd", "ssd1x1", "ssdlite"])
def test_every_network_can_be_traced(head):
    """Batch normalisation that is not folded, and every kind of head."""
    from keras_impl.models.ssd import SSD

    model = SSD("digits224", 3, alpha=0.35, head=head)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            limits = [(1, 2), (-0.5, 1.5), (-0.1, 0.1), (0.3, 0.6)]
            layer.set_weights([generator.uniform(*one, layer.gamma.shape) for one in limits])
    checks = trace(generator.uniform(-1, 1, (224, 224, 3)).astype(np.float32), model)
    assert departed(checks) == []
    assert len(checks) > 100


# --- The command --------------------------------------------------------------------------


def test_parity_of_photographs_prints_its_table(litert, photographs, tmp_path, capsys):
    answer = tmp_path / "answer.json"
    status = main(["parity", "--photos", str(photographs["chelsea"]), "--json", str(answer)])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    assert "Keras, NumPy and LiteRT agree, from pixels to boxes: 3 comparisons" in out
    checks = json.loads(answer.read_text())
    assert next((one["one"], one["other"]) for one in checks) == ("keras", "numpy")
    assert all(one["passed"] for one in checks)


def test_parity_of_photographs_fails_where_something_differs(
    litert, photographs, capsys, monkeypatch
):
    monkeypatch.setattr(pixel_parity, "RAW", 1e-9)
    assert main(["parity", "--photos", str(photographs["chelsea"])]) == 1
    assert "DISAGREE: " in capsys.readouterr().out


@pytest.mark.thorough
def test_trace_names_the_first_layer_that_departs(litert, photographs, capsys, monkeypatch):
    path = str(photographs["chelsea"])
    assert main(["parity", "--trace", path]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[-1].startswith("no layer departs: 82 layers and the order of the anch")

    maps = tracing._litert_maps

    def faulty(*arguments):
        found = maps(*arguments)
        return {**found, "block_3_expand": found["block_3_expand"] * np.float32(1.01)}

    monkeypatch.setattr(tracing, "_litert_maps", faulty)
    assert main(["parity", "--trace", path, "--json", "-"]) == 1
    out, err = capsys.readouterr()
    assert "block_3_expand is the first layer that DEPARTS: in litert" in err
    assert next(one["layer"] for one in json.loads(out) if one["departs"]) == "block_3_expand"


def test_what_is_no_photograph_is_named(litert, photographs, tmp_path, capsys):
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear reader,")
    assert main(["parity", "--trace", str(letter)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("ssd: error: image: expected an image of one of PNG, ")

    # Of several, the others are compared.
    assert main(["parity", "--photos", str(letter), str(photographs["chelsea"])]) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[0].endswith(f"Received: {letter}, which is not one")
    assert "agree, from pixels to boxes: 3 comparisons" in out
    assert main(["parity", "--photos", str(letter)]) == 1
    for option in ("--photos", "--trace"):
        capsys.readouterr()
        assert main(["parity", option, str(tmp_path / "gone.jpg")]) == 2
        assert "gone.jpg" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--op", "nms"], ["--seed", "0"], ["--convention", "caffe"]])
def test_options_of_operations_do_not_go_with_photographs(option, capsys):
    assert main(["parity", "--photos", *option]) == 2
    assert f"{option[0]}: not with --photos" in capsys.readouterr().err


# A clock says little in a first verdict, which shares the machine with another process.
@pytest.mark.thorough
def test_numpy_takes_two_seconds_an_image_at_most(detectors, cat):
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        detectors["numpy"].detect_prepared(cat[None])
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 2


def test_without_litert_the_golden_answers_are_held(keras_home, photographs, run_python):
    """The weights file and NumPy are enough to be told right from wrong."""
    code = (
        "from keras_impl import load_detector, open_image;"
        "detector = load_detector('oidv4', 'numpy');"
        f"(found,) = detector.detect([open_image({str(photographs['astronaut'])!r})]);"
        "print([(detector.class_names[one.label], round(one.score, 3)) for one in found])"
    )
    done = run_python(code, without=["tensorflow", "keras", "ai_edge_litert"])
    golden = GOLDEN["photographs"]["astronaut"]["detections"]
    wanted = [(label, round(score, 3)) for label, score, *_ in golden if score > 0.5]
    assert (done.stdout, done.stderr) == (f"{wanted}\n", "")


def test_the_digit_detector_goes_through_numpy_too():
    from keras_impl.data.canvases import canvas
    from keras_impl.data.mnist import load_digits

    made = [canvas(load_digits("test"), "1-10", 3, index) for index in range(2)]
    images = [Image.fromarray(one.image).convert("RGB") for one in made]
    answers = [load_detector("digits", name).detect(images) for name in ("keras", "numpy")]
    ours = detector_of(load_model(), "numpy").detect(images)
    for keras_found, numpy_found, again in zip(*answers, ours, strict=True):
        assert len(numpy_found) > 0
        assert numpy_found == again
        count, alone, disorder, *_ = compare_detections(keras_found, numpy_found, 0.5)
        assert (count, alone, disorder) == (len(numpy_found), 0, 0)
