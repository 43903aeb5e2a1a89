"""`ssd detect` with the pretrained detector: photographs as people have them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_impl._common.choices import BACKENDS
from keras_impl.cli import main
from keras_impl.detector import detector as prediction
from keras_impl.detector.detector import Detector, load_detector
from keras_impl.images.reading import open_image
from keras_impl.images.writing import mark_of
from keras_impl.weights.npz import CONFIG, load_model, read_weights
from keras_impl.weights.published import DIGITS, OIDV4

LOAD_ONCE = cache(load_detector)  # TensorFlow traces a network once for each model


@pytest.fixture
def ssd(keras_home, capsys, monkeypatch):
    """The program in this process: status, out, err."""
    monkeypatch.setattr(prediction, "load_detector", LOAD_ONCE)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def found_in(text: str) -> list[list[str]]:
    return [[one["label"] for one in entry["detections"]] for entry in json.loads(text)]


@pytest.mark.parametrize(
    "backend",
    [pytest.param(one, marks=[pytest.mark.thorough] if one == "numpy" else []) for one in BACKENDS],
)
def test_cat_person_and_cup_by_every_backend(ssd, photographs, tmp_path, backend):
    if backend == "litert":
        pytest.importorskip("ai_edge_litert")
    files = [photographs[name] for name in ("chelsea", "astronaut", "coffee")]
    answer = tmp_path / "found.json"
    status, out, err = ssd(
        "detect", *files, "--model", "oidv4", "--out", tmp_path / "found", "--backend", backend,
        "--json", answer,
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert found_in(answer.read_text()) == [["Cat"], ["Person"], ["Coffee cup"]]
    for words in ("Cat (0.85)", "Person (0.59)", "Coffee cup (0.56)"):
        assert words in out
    drawn = tmp_path / "found" / "chelsea.png"
    assert mark_of(drawn) is not None
    with Image.open(drawn) as image, Image.open(photographs["chelsea"]) as given:
        times = image.width // given.width
        assert image.size == (given.width * times, given.height * times)
        assert not np.array_equal(np.asarray(image.convert("RGB"))[::times, ::times], given)


def kinds(photograph: Path, folder: Path) -> dict[str, Path]:
    """One photograph as people have it."""
    image = Image.open(photograph).convert("RGB")
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me a quarter to the right to see me upright"
    alpha = image.convert("RGBA")
    wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
    made = {
        "jpeg": (image, "a.jpg", {"quality": 92}),
        "webp": (image, "b.webp", {"quality": 92}),
        "grey": (image.convert("L"), "grey.png", {}),
        "alpha": (alpha, "alpha.png", {}),
        "16 bits": (Image.fromarray(wide), "deep.png", {}),
        "turned": (turned, "turned.jpg", {"quality": 92, "exif": exif}),
        "cmyk": (image.convert("CMYK"), "cmyk.jpg", {"quality": 92}),
        "huge": (image.resize((6314, 4200)), "huge.jpg", {"quality": 80}),
        "tall": (image.resize((200, 900)), "tall.png", {}),
    }
    paths = {}
    for name, (one, file, options) in made.items():
        paths[name] = folder / file
        one.save(paths[name], **options)
    return paths


def test_photographs_of_every_kind(ssd, photographs, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = kinds(photographs["chelsea"], folder)
    (folder / "letter.jpg").write_text("Dear reader,")

    status, out, err = ssd(
        "detect", folder, "--model", "oidv4", "--out", tmp_path / "found", "--json", "-",
        "--score", "0.3",
    )  # fmt: skip

    assert status == 1
    lines = err.splitlines()
    assert lines[0].startswith("ssd: skipped: ")
    assert "expected an image of one of PNG" in lines[0]
    assert lines[-1] == f"ssd: 1 of {len(paths) + 1} images could not be read"
    entries = {Path(entry["file"]).name: entry for entry in json.loads(out)}
    assert len(entries) == len(paths)
    for name, path in paths.items():
        entry = entries[path.name]
        labels = [one["label"] for one in entry["detections"]]
        assert labels == ["Cat"], name
        left, top, right, bottom = entry["detections"][0]["box"]
        # Of the cat's box in its own photograph, 451 x 300.
        scale = entry["width"] / 451, entry["height"] / 300
        wanted = [3.0 * scale[0], 0.8 * scale[1], 423.6 * scale[0], 299.5 * scale[1]]
        assert np.abs(np.array([left, top, right, bottom]) - wanted).max() < 0.05 * max(
            entry["width"], entry["height"]
        ), name
    with Image.open(paths["turned"]) as image:
        assert (entries["turned.jpg"]["width"], entries["turned.jpg"]["height"]) == (451, 300)
        assert image.size == (300, 451)


def test_three_lines_of_python(keras_home, photographs, tmp_path):
    detector, photo = load_detector("oidv4", "numpy"), open_image(photographs["coffee"])
    found = detector.detect([photo])[0]
    detector.draw(photo, found).save(tmp_path / "drawn.png")
    assert [detector.class_names[one.label] for one in found] == ["Coffee cup"]
    assert (tmp_path / "drawn.png").stat().st_size > 10_000


def test_by_numpy_nothing_but_pillow_rich_and_numpy_is_needed(
    keras_home, photographs, tmp_path, run_python
):
    code = (
        "from keras_impl.cli import main;"
        f"raise SystemExit(main(['detect', {str(photographs['chelsea'])!r}, '--model', 'oidv4',"
        f" '--backend', 'numpy', '--out', {str(tmp_path / 'found')!r}]))"
    )
    done = run_python(code, without=["tensorflow", "keras", "ai_edge_litert", "matplotlib"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "Cat (0.85)" in done.stdout


def test_a_detector_of_a_run_keeps_the_names_of_its_classes(keras_home, tmp_path, photographs):
    from keras_impl.weights.npz import save_weights

    model = load_model(OIDV4.weights)
    save_weights(model, tmp_path / "mine.npz")
    for backend in ("keras", "numpy"):
        detector = load_detector(tmp_path / "mine.npz", backend)
        assert detector.class_names[8] == "Cat"


@pytest.mark.thorough  # as huge an image is among those of every kind
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
def test_a_huge_image_takes_bounded_memory(keras_home, photographs, tmp_path, run_python):
    """54 million pixels, 162 MB as RGB: read, drawn on and written with a few copies of that."""
    huge = tmp_path / "huge.jpg"
    with Image.open(photographs["chelsea"]) as image:
        image.convert("RGB").resize((9020, 6000)).save(huge, quality=80)
    code = (
        "import re; from keras_impl.cli import main;"
        f"status = main(['detect', {str(huge)!r}, '--model', 'oidv4', '--backend', 'numpy',"
        f" '--out', {str(tmp_path / 'found')!r}]);"
        # Not getrusage, whose peak begins with that of the process before exec.
        "peak = re.search('VmHWM:.*?([0-9]+) kB', open('/proc/self/status').read());"
        "print(status, int(peak.group(1)) // 1024)"
    )
    done = run_python(code)
    status, megabytes = map(int, done.stdout.splitlines()[-1].split())
    assert status == 0, done.stderr
    assert "Cat" in done.stdout
    assert megabytes < 900


def test_an_answer_never_goes_over_an_image(ssd, photographs, tmp_path):
    image = tmp_path / "cat.png"
    image.write_bytes(photographs["chelsea"].read_bytes())
    words = ["detect", image, "--model", "oidv4", "--out", tmp_path / "found"]
    status, _, err = ssd(*words, "--json", image)
    assert status == 2
    assert "--json: expected a new file, or an old result. Received: " in err
    assert image.read_bytes() == photographs["chelsea"].read_bytes()
    for _ in range(2):
        assert ssd(*words, "--json", tmp_path / "answer.json")[0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_classes": 3, "class_names": None},
            r"heads for 3 classes and background\. Received: 11 logits per anchor",
        ),
        ({"num_classes": float("inf")}, "num_classes asks for larger arrays than it has: inf"),
        ({"num_classes": float("nan")}, "expected the configuration of a known network"),
        ({"class_names": ["a"]}, "expected the configuration of a known network"),
        ({"layout": {}}, "expected the configuration of a known network"),
    ],
)
def test_a_strange_weights_file_is_refused_by_numpy_too(tmp_path, change, message):
    config, arrays = read_weights(DIGITS)
    path = tmp_path / "strange.npz"
    arrays[CONFIG] = np.array(json.dumps({**config, **change}))
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        load_detector(path, "numpy").detect([Image.new("RGB", (9, 9))])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "litert"], "expected 'keras' or 'numpy', since digits has no LiteRT file"),
        (["--model", "yolo"], "argument --model: invalid choice: 'yolo'"),
        (["--model", "oidv4", "--weights", "a.npz"], "not allowed with argument"),
        (["--model", "oidv4", "--backend", "torch"], "argument --backend: invalid choice: 'torch'"),
        (["--weights", "gone.npz"], "--weights: expected a file. Received: gone.npz"),
    ],
)
def test_mistakes_are_one_line(ssd, photographs, tmp_path, arguments, message):
    out = tmp_path / "found"
    status, _, err = ssd("detect", photographs["chelsea"], "--out", out, *arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_cache_that_was_spoilt_is_named(ssd, photographs, tmp_path, monkeypatch, keras_home):
    """The weights file is there, and is no weights file any more."""
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(home))
    OIDV4.weights.write_bytes(b"PK\3\4 and no more")
    monkeypatch.setattr(prediction, "load_detector", load_detector)
    status, _, err = ssd(
        "detect", photographs["chelsea"], "--model", "oidv4", "--out", tmp_path / "o",
        "--backend", "numpy",
    )  # fmt: skip
    assert status == 2
    assert "weights: expected a file written by this program. Received: " in err


def test_litert_without_its_file_is_named(ssd, photographs, tmp_path, monkeypatch):
    weights = OIDV4.weights.read_bytes()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    OIDV4.weights.parent.mkdir(parents=True)
    OIDV4.weights.write_bytes(weights)
    status, _, err = ssd(
        "detect", photographs["chelsea"], "--model", "oidv4", "--out", tmp_path / "o",
        "--backend", "litert",
    )  # fmt: skip
    assert status == 2
    assert "`ssd weights oidv4` fetches it" in err


def test_a_detector_can_be_made_of_any_heads(keras_home):
    """Four anchors, by hand: what a network of somebody else's says."""
    from reference_numpy.conventions import CANONICAL, AnchorLayout

    layout = AnchorLayout("four", (64, 64), ((2, 2),), (0.5, 0.6), ((),), extra_square="none")

    def heads(images):
        logits = np.tile(np.float32([4, -4]), (len(images), 4, 1))
        logits[:, 3] = [-4, 4]
        return {"deltas": np.zeros((len(images), 4, 4), np.float32), "logits": logits}

    detector = Detector(heads, CANONICAL.replace(layout=layout), 1, ["thing"])
    ((found,),) = detector.detect([Image.new("RGB", (100, 40))])
    assert (detector.class_names[found.label], found.box) == ("thing", (50, 20, 100, 40))
    assert found.anchor == 3
