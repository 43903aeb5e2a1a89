"""The commands as a user types them, with the mistakes that users make."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_impl
from keras_impl.cli import console, detect, main, startup, train
from keras_impl.data.canvases import canvas
from keras_impl.data.mnist import load_digits
from keras_impl.demo import run as demo
from keras_impl.detector import detector as prediction
from keras_impl.images import writing
from keras_impl.images.detections import Detection
from keras_impl.images.writing import mark_of
from keras_impl.parity import network as network_parity, table as parity
from keras_impl.training.recipe import Recipe
from keras_impl.weights import npz as weights
from reference_numpy.conventions import PRESETS

COMMANDS = (
    ["demo"],
    ["train", "digits"],
    ["evaluate", "digits"],
    ["detect"],
    ["weights"],
    ["export"],
    ["parity"],
    ["bench"],
    ["conventions"],
)
PACKAGES = str(Path(keras_impl.__file__).parents[1])


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": PACKAGES},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


@pytest.fixture
def images(tmp_path):
    """A folder with two images."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(canvas(load_digits("test"), "1-10", 0, 0).image).save(folder / "a.png")
    Image.new("RGB", (120, 60), (10, 20, 30)).save(folder / "b [red].jpg")
    return folder


LOAD_ONCE = cache(weights.load_model)  # TensorFlow traces a network once for each model


@pytest.fixture
def ssd(seven, capsys, monkeypatch):
    """The program in this process, with weights that see a 7 everywhere: status, out, err."""
    for module in (weights, prediction):
        monkeypatch.setattr(module, "load_model", LOAD_ONCE)

    def run(*arguments: object) -> tuple[int, str, str]:
        words = [str(argument) for argument in arguments]
        if words[0] in ("demo", "evaluate", "detect") and "--weights" not in words:
            words += ["--weights", str(seven)]
        status = main(words)
        return status, *capsys.readouterr()

    return run


# --- Help ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_teaches_by_example(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    name = " ".join(["ssd", *command])
    assert out.startswith(f"usage: {name} ")
    assert "examples:\n" in out or "begin with:\n" in out
    assert f"\n  {name} " in out, "an example of this very command"
    assert max(map(len, out.splitlines())) <= 80
    assert err == ""


def test_help_names_every_command(capsys):
    main(["--help"])
    out = capsys.readouterr().out
    assert all(re.search(rf"^    {command[0]}\s", out, re.MULTILINE) for command in COMMANDS)


def test_help_needs_nothing_but_the_standard_library():
    result = run_python(
        "import sys; from keras_impl.cli import main; main(['train', 'digits', '--help']); "
        "print({'numpy', 'keras', 'tensorflow', 'PIL', 'rich', 'matplotlib'} & set(sys.modules))"
    )
    assert result.stdout.splitlines()[-1] == "set()", result.stderr


def test_the_version_names_what_numbers_depend_on(capsys):
    assert main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ssd ")
    for package in ("Python 3.", "numpy 2.", "bottleneck 1.", "keras 3.", "tensorflow 2."):
        assert package in out


# --- Mistakes that are seen at once -------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "arguments are required: COMMAND"),
        ("train", "arguments are required: DATA"),
        ("train digits", "arguments are required: --out"),
        ("evaluate digits --mnist a --download", "not allowed with argument --mnist"),
        ("evaluate digits --weights gone.npz", "--weights: expected a file. Received: gone.npz"),
        ("evaluate digits --json gone/x.json", "in a folder that does not exist"),
        ("evaluate digits --json .", "--json: expected a file or -. Received: ., which is a"),
        ("detect", "arguments are required: IMAGE, --out"),
        ("detect gone.png --out x", "expected an image or a folder. Received: gone.png, not"),
        ("detect empty --out x", "expected a folder with images. Received: empty, which has none"),
        ("detect b.png --out notes.txt", "--out: expected a folder. Received: notes.txt, which"),
        ("detect b.png --out notes.txt/x", "--out: cannot write notes.txt/x: not a directory"),
        ("detect b.png --out b.png/x", "--out: cannot write b.png/x: not a directory"),
        ("demo --out=", "--out: expected a name. Received: an empty one"),
        ("detect b.png --out x --weights empty", "--weights: expected a file. Received: empty"),
        ("demo --pic 3", "unrecognized arguments: --pic 3"),
        ("demo --weights gone.npz", "--weights: expected a file"),
        ("parity --convention torchvison", "argument --convention: invalid choice: 'torchvison'"),
        ("conventions --differences", "--differences: expected the name of a convention"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(
    tmp_path, monkeypatch, capsys, arguments, words
):
    monkeypatch.setattr(startup, "start_keras", lambda: pytest.fail("TensorFlow was started"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    Image.new("RGB", (4, 4)).save("b.png")
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("ssd: error: ")
    assert words in err
    assert err.count("\n") == 1
    assert out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"b.png", "empty", "notes.txt"}


@pytest.mark.parametrize(("option", "place"), [("--out", "out"), ("--json", "answer.json")])
def test_what_cannot_be_written_to_is_named(tmp_path, monkeypatch, capsys, option, place):
    monkeypatch.setattr(startup, "start_keras", lambda: pytest.fail("TensorFlow was started"))
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    words = ["detect", tmp_path / "b.png", "--out", tmp_path / "out"]
    assert main([*map(str, words), option, str(tmp_path / place)]) == 2
    assert f"{option}: expected a f" in (err := capsys.readouterr().err)
    assert f"can be written to. Received: {tmp_path / place}" in err.replace(
        "written.", "written to."
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "demo",
        "train digits --out x",
        "evaluate digits",
        "detect x --out y",
        "parity",
    ],
)
def test_without_the_extra_a_command_says_how_to_get_it(arguments):
    result = run_python(
        "import sys; sys.modules.update(dict.fromkeys(['tensorflow', 'keras', 'PIL', 'rich'])); "
        f"from keras_impl.cli import main; raise SystemExit(main({arguments.split()}))"
    )
    assert (result.returncode, result.stdout) == (2, "")
    numpy = "; or add --backend numpy, which needs only Pillow and rich"
    assert result.stderr == (
        "ssd: error: this command needs packages that are missing: tensorflow, keras, Pillow, "
        'rich; run: pip install "mobilenetv2-ssd[keras]"'
        f"{numpy if 'detect' in arguments else ''}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        ("conventions", "rich"),
        ("detect x --out y --backend numpy", "pillow rich"),
        ("detect x --out y --backend litert", "pillow rich ai-edge-litert"),
        ("weights oidv4", "rich ai-edge-litert"),
    ],
)
def test_a_command_without_keras_asks_for_single_packages(arguments, packages):
    result = run_python(
        "import sys; absent = ['tensorflow', 'keras', 'PIL', 'matplotlib', 'rich', "
        "'ai_edge_litert']; sys.modules.update(dict.fromkeys(absent)); "
        f"from keras_impl.cli import main; raise SystemExit(main({arguments.split()}))"
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith(f"; run: pip install {packages}\n")


def test_conventions_need_no_keras():
    result = run_python(
        "import sys; absent = ['tensorflow', 'keras', 'PIL', 'matplotlib', 'ai_edge_litert']; "
        "sys.modules.update(dict.fromkeys(absent)); "
        "from keras_impl.cli import main; raise SystemExit(main(['conventions']))"
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_a_broken_installation_is_not_hidden():
    result = run_python(
        "import importlib.util, sys; from keras_impl import cli; "
        "importlib.util.find_spec = lambda name: True; sys.modules['keras'] = None; "
        "cli.main(['evaluate', 'digits'])"
    )
    assert "import of keras halted" in result.stderr


# --- Weights that do not fit --------------------------------------------------------------


@pytest.mark.parametrize("command", ["evaluate digits --images 1", "demo --out x --images 1"])
def test_weights_of_another_network_are_named(ssd, other_network, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    status, out, err = ssd(*command.split(), "--weights", other_network)
    assert (status, out) == (2, "")
    assert err.startswith("ssd: error: --weights: expected a digit detector: 10 classes")
    assert f"Received: {other_network}: 3 classes, images of 224 x 224" in err


@pytest.mark.parametrize("kept", [0, 1000, -50])
def test_truncated_weights_are_named(ssd, seven, tmp_path, kept):
    (tmp_path / "w.npz").write_bytes(seven.read_bytes()[:kept])
    status, _, err = ssd("evaluate", "digits", "--weights", tmp_path / "w.npz")
    assert status == 2
    assert err.startswith("ssd: error: --weights: expected a file written by this program. Rec")
    assert err.count("\n") == 1


# --- detect -------------------------------------------------------------------------------


def test_images_are_drawn_and_described(ssd, images, tmp_path):
    out, answer = tmp_path / "out", tmp_path / "answer.json"
    status, text, err = ssd("detect", images, "--out", out, "--json", answer)
    assert (status, err) == (0, "")
    assert "7 (0.94)" in text
    assert "b [red].jpg" in text
    first, second = json.loads(answer.read_text())
    assert (first["file"], first["width"], first["height"]) == (str(images / "a.png"), 224, 224)
    assert (second["width"], second["height"]) == (120, 60)
    assert second["detections"] == [
        {"label": "7", "score": 0.936874, "box": [9.0, 4.5, 111.0, 55.5]}
    ]
    with Image.open(out / "a.png") as drawn:
        assert drawn.size == (672, 672)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b _red_.png"]


def test_both_backends_say_the_same(ssd, images, tmp_path):
    answers = [
        ssd("detect", images, "--out", tmp_path / "o", "--json", "-", "--backend", backend)[1]
        for backend in ("keras", "numpy")
    ]
    assert answers[0] == answers[1]
    assert len(json.loads(answers[0])) == 2, "nothing but JSON on stdout"


def test_what_cannot_be_read_is_reported_and_the_rest_go_on(ssd, images, tmp_path):
    (images / "letter.jpg").write_text("Dear reader,")
    whole = (images / "a.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    status, out, err = ssd("detect", images, "--out", tmp_path / "o", "--json", "-")
    assert status == 1
    assert [Path(one["file"]).name for one in json.loads(out)] == ["a.png", "b [red].jpg"]
    lines = err.splitlines()
    assert f"ssd: skipped: {images / 'cut.png'} cannot be read: " in lines[0]
    assert lines[1].endswith(f"Received: {images / 'letter.jpg'}, which is not one")
    assert lines[-1] == "ssd: 2 of 4 images could not be read"


def test_an_image_that_cannot_be_drawn_is_reported_and_the_rest_go_on(
    ssd, images, tmp_path, monkeypatch
):
    right = writing.save_drawn

    def full(path, image, source):
        if source.name == "a.png":
            raise OSError(28, "No space left on device", str(path))
        right(path, image, source)

    monkeypatch.setattr(writing, "save_drawn", full)
    status, out, err = ssd("detect", images, "--out", tmp_path / "o", "--json", "-")
    assert status == 1
    assert [Path(one["file"]).name for one in json.loads(out)] == ["a.png", "b [red].jpg"]
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["b _red_.png"]
    first, last = (line for line in err.splitlines() if line.startswith("ssd: "))
    assert first == f"ssd: {images / 'a.png'} is not drawn as a.png: No space left on device"
    assert last == "ssd: 1 of 2 images could not be drawn or written"


@pytest.mark.parametrize("name", ["a" * 242, "é" * 120, "a" * 251], ids=len)
def test_a_name_as_long_as_a_file_may_have(ssd, images, tmp_path, name):
    path = (images / "a.png").rename(images / f"{name}.png")
    status, _, err = ssd("detect", path, "--out", tmp_path / "o", "--json", "-")
    assert status == 0
    assert "ssd:" not in err
    assert [one.name for one in (tmp_path / "o").iterdir()] == [path.name]


def test_a_terminal_is_told_nothing_by_a_file_name(ssd, images, tmp_path):
    odd = "a\x1b[31m\x07\x9b\u202egpj"
    path = (images / "a.png").rename(images / f"{odd}.png")
    (images / f"{odd}.jpg").write_text("Dear reader,")
    status, out, err = ssd("detect", images, "--out", tmp_path / "o", "--json", "-")
    assert status == 1
    assert str(path) in [one["file"] for one in json.loads(out)], "JSON holds the name itself"
    assert err.count(r"a\x1b[31m\x07\x9b\u202egpj") >= 2
    status, out, more = ssd("detect", tmp_path / odd, "--out", tmp_path / "o")
    assert status == 2
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(err + out + more)


def test_the_best_score_is_told_where_nothing_is_found(ssd, images, tmp_path):
    status, out, err = ssd("detect", images / "a.png", "--out", tmp_path / "o", "--score", 0.99)
    assert (status, err) == (0, "")
    assert "none above 0.99; the best is 7 (0.94), shown with --score 0.93" in out
    assert (
        "7 (0.94)" in ssd("detect", images / "a.png", "--out", tmp_path / "o", "--score", 0.93)[1]
    )


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.4999, "Person (0.4999)"), (0.496, "Person (0.496)"), (0.34, "Person (0.34)")],
)
def test_a_score_just_below_the_threshold_does_not_look_like_it(score, text):
    best = [Detection(1, score, (0.0, 0.0, 1.0, 1.0), 0)]
    assert f"none above 0.5; the best is {text}, shown" in detect._nothing(best, {1: "Person"}, 0.5)


def test_without_a_model_it_says_which_one_and_where_photographs_belong(tmp_path, capsys):
    colours = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "photo.png")
    assert main(["detect", str(tmp_path / "photo.png"), "--out", str(tmp_path / "o")]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        "ssd: no --model given: using digits, whose classes are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    )
    assert second.startswith("ssd: 1 of 1 images do not look like white digits on black, ")
    assert second.endswith("run `ssd weights oidv4`, then add --model oidv4")


def test_nothing_that_can_be_read_is_an_answer_too(ssd, tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear reader,")
    status, out, err = ssd(
        "detect", tmp_path / "letter.jpg", "--out", tmp_path / "o", "--json", "-"
    )
    assert (status, json.loads(out)) == (1, [])
    assert err.splitlines()[-1] == "ssd: 1 of 1 images could not be read"


@pytest.mark.parametrize("place", [".", "found"])
def test_what_was_drawn_among_the_images_is_not_looked_at_again(ssd, images, place):
    before = {path.name: path.read_bytes() for path in images.iterdir()}
    out = images / place
    for _ in range(2):
        status, text, _ = ssd("detect", images, "--out", out, "--json", "-")
        assert status == 0
        assert len(json.loads(text)) == 2
    for name, content in before.items():
        assert (images / name).read_bytes() == content
    drawn = [path for path in out.iterdir() if path.is_file() and mark_of(path)]
    assert len(drawn) == 2


def test_an_image_named_twice_is_looked_at_once(ssd, images, tmp_path):
    twice = [images / "a.png", images, images / ".." / "in" / "a.png"]
    _, text, _ = ssd("detect", *twice, "--out", tmp_path / "o", "--json", "-")
    assert [Path(one["file"]).name for one in json.loads(text)] == ["a.png", "b [red].jpg"]


def test_two_images_of_one_name_are_both_kept(ssd, images, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (60, 60)).save(other / "a.png")
    ssd("detect", images, other, "--out", tmp_path / "o")
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == ["a-2.png", "a.png", "b _red_.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux'")
def test_a_name_that_is_no_text_is_no_problem(ssd, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    os.rename(folder / "a.png", os.fsencode(folder) + b"/\xff7.png")
    status, text, _ = ssd("detect", folder, "--out", tmp_path / "o", "--json", tmp_path / "j.json")
    assert status == 0
    assert "\\udcff7.png" in text
    assert json.loads((tmp_path / "j.json").read_text())[0]["file"].endswith("\udcff7.png")


def test_many_pixels_are_looked_at_a_few_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setattr(detect, "CHUNK", (3, 100))
    sizes = [5, 5, 5, 20, 5, 1, 1, 1, 1]
    images = {Path(str(index)): Image.new("L", (size, size)) for index, size in enumerate(sizes)}
    chunks = list(detect.chunks(images, images.__getitem__, lambda path, error: None))
    assert [[one.width for _, one in chunk] for chunk in chunks] == [
        [5, 5, 5],
        [20],
        [5, 1, 1],
        [1, 1],
    ]


def test_a_process_of_its_own_says_only_what_it_should(run_ssd, images, seven, tmp_path):
    words = ["detect", images / "a.png", "--out", tmp_path / "o", "--weights", seven]
    result = run_ssd(*words, "--json", "-")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["detections"][0]["label"] == "7"
    for noise in ("I0000", "WARNING", "oneDNN", "cuda", "Traceback"):
        assert noise not in result.stderr
    assert "7 (0.94)" in result.stderr, "people read the table there"


# --- evaluate -----------------------------------------------------------------------------


def test_evaluation_says_what_it_measured(ssd, seven, tmp_path):
    words = ["evaluate", "digits", "--images", 4, "--seed", 3]
    status, text, err = ssd(*words, "--json", tmp_path / "a.json")
    assert (status, err) == (0, "")
    answer = json.loads((tmp_path / "a.json").read_text())
    digits = load_digits("test")
    there = {int(canvas(digits, "1", 3, index).labels[0]) - 1 for index in range(4)}
    assert {int(name) for name, value in answer["per_class"].items() if value is not None} == there
    del answer["per_class"]
    # The box of `seven` is far too large for any digit.
    assert answer == {
        "map": 0.0,
        "ap50": 0.0,
        "ap75": 0.0,
        "per_iou": {f"{percent / 100:.2f}": 0.0 for percent in range(50, 100, 5)},
        "images": 4,
        "digits": "1",
        "seed": 3,
        "source": "the MNIST sample shipped with the package",
        "weights": str(seven),
    }
    assert "mAP .50:.95" in text
    assert text.count("on no canvas") == 10 - len(there)
    assert "4 canvases with 1 test digit each, seed 3; digits: the MNIST sample" in text


def test_a_folder_without_mnist_is_named(ssd, tmp_path):
    status, _, err = ssd("evaluate", "digits", "--mnist", tmp_path)
    assert status == 2
    assert err.startswith("ssd: error: --mnist: expected a folder with one of t10k-images-idx3-ub")


def test_mnist_of_the_users_is_used_and_named(ssd, mnist_folder):
    words = ["evaluate", "digits", "--digits", "1-10", "--images", 2, "--mnist", mnist_folder]
    status, text, _ = ssd(*words, "--json", "-")
    assert status == 0
    assert json.loads(text)["source"] == f"the IDX files in {mnist_folder}"
    assert json.loads(text)["digits"] == "1-10"


# --- parity -------------------------------------------------------------------------------


def test_parity_prints_its_table(ssd, tmp_path):
    words = ["parity", "--op", "area", "--op", "nms", "--mode", "eager", "--cases", 4]
    status, text, err = ssd(*words, "--json", tmp_path / "p.json")
    assert (status, err) == (0, "")
    answer = json.loads((tmp_path / "p.json").read_text())
    assert answer["passed"] is True
    assert [check["op"] for check in answer["checks"]] == ["area", "area", "nms", "nms"]
    fields = "op mode backend dtype cases mismatches excused max_error_eps budget_eps passed"
    assert all(list(check) == fields.split() for check in answer["checks"])
    assert "Keras agrees with the reference: 4 checks" in text
    assert text.count("passed") == 4


def test_a_failed_check_is_seen_and_fails(ssd, monkeypatch):
    checks = (
        parity.Check("area", "xla", "tensorflow", "float32", 9, 0, 2, 0.5, 2.0, True),
        parity.Check("nms", "xla", "tensorflow", "float32", 9, 3, 0, 0.0, 0.0, False),
    )
    monkeypatch.setattr(parity, "run", lambda **options: parity.Report(checks))
    monkeypatch.setattr(network_parity, "run", lambda **options: [])
    status, text, _ = ssd("parity")
    assert status == 1
    assert "Keras DISAGREES: 1 of 2 checks failed, 2 near-ties excused" in text
    assert [line.split()[0] for line in text.splitlines() if "FAILED" in line] == ["nms"]


def test_80_columns_show_the_mismatches(ssd, monkeypatch):
    from rich.console import Console

    names = ("assign_targets_with_crowds", "softmax_cross_entropy")
    ops = [*((op, "float32") for op in names), ("network depthwise_convolution", "mixed_bfloat16")]
    checks = tuple(
        parity.Check(op, "xla-nofuse", "keras (tensorflow)", dtype, 1040, 3, 0, 0.123, 2.5, False)
        for op, dtype in ops
    )
    monkeypatch.setattr(parity, "run", lambda **options: parity.Report(checks))
    monkeypatch.setattr(network_parity, "run", lambda **options: [])
    console_of_80 = lambda *_, **__: Console(width=80, markup=False, highlight=False)  # noqa: E731
    monkeypatch.setattr("keras_impl.cli.parity.make_console", console_of_80)
    _, text, _ = ssd("parity")
    assert "mismatches" in text
    assert "assign_targets_with_ " in text, "broken after an underscore"
    assert "not shown for lack of width: backend, excused, used, cases, budget (a pipe" in text


def test_parity_is_asked_for_all_modes_and_dtypes(ssd, monkeypatch):
    asked = {}

    def run(**options):
        asked.update(options)
        return parity.Report(())

    monkeypatch.setattr(parity, "run", run)
    monkeypatch.setattr(network_parity, "run", lambda **options: [])
    assert ssd("parity", "--cases", 7, "--seed", 2)[0] == 1, "no check is no agreement"
    assert (asked["cases"], asked["seed"], tuple(asked["modes"])) == (7, 2, parity.MODES)
    assert "dtypes" not in asked


def test_an_unknown_operation_is_named(ssd):
    status, _, err = ssd("parity", "--op", "guess")
    assert status == 2
    assert err.startswith("ssd: error: --op: expected some of xyxy_to_cxcywh, ")
    assert err.endswith(", network. Received: 'guess'\n")


def test_parity_by_another_convention(ssd):
    words = ["parity", "--op", "match", "--mode", "graph", "--cases", 4]
    status, text, err = ssd(*words, "--convention", "nvidia_ssd300")
    assert (status, err) == (0, "")
    assert "Keras agrees with the reference (nvidia_ssd300): 2 checks" in text


# --- conventions --------------------------------------------------------------------------


def test_conventions_are_listed(ssd):
    status, text, err = ssd("conventions")
    assert (status, err) == (0, "")
    for name in PRESETS:
        assert name in text
    assert re.search(r"canonical +What this project does by default.* 0 *\n", text)


def test_a_convention_shows_its_sources_and_all_its_answers(ssd, tmp_path):
    status, text, err = ssd("conventions", "caffe", "--json", tmp_path / "caffe.json")
    assert (status, err) == (0, "")
    assert "src/caffe/util/bbox_util.cpp" in text
    assert re.search(r"matching.force_above +1e-06 +0 *\n", text)
    assert re.search(r"matching.threshold +0.5 +0.5 *\n", text)
    assert json.loads((tmp_path / "caffe.json").read_text())["coding"]["degenerate"] == "drop"


def test_the_differences_are_those_from_canonical(ssd):
    status, text, _ = ssd("conventions", "torchvision_ssdlite320", "--differences")
    assert status == 0
    assert re.search(r"detection.iou_threshold +0.55 +0.45 *\n", text)
    assert "matching.threshold" not in text


# --- demo ---------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Of the demo's parts only the detections, of the others very little."""
    monkeypatch.setattr(demo, "OBJECTS", ())
    small = partial(parity.run, ops=("area",), modes=("eager",))
    monkeypatch.setattr(demo.parity, "run", small)


def test_the_demo_writes_report_and_images(quick, ssd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo-out").mkdir()
    (tmp_path / "demo-out" / "notes.txt").write_text("mine")
    status, text, err = ssd("demo", "--images", 2, "--seed", 4, "--json", "d.json")
    assert (status, err) == (0, "")
    assert "Keras agrees with the NumPy reference: 2 images with 2 detections" in text
    assert "report: demo-out/report.html" in text
    names = {path.name for path in Path("demo-out").iterdir()}
    views = ("", "-keras", "-numpy", "-anchors")
    drawn = {f"image-{number}{view}.png" for number in (1, 2) for view in views}
    assert names == {"notes.txt", "report.html", *drawn}
    page = Path("demo-out/report.html").read_text(encoding="utf-8")
    assert "ssd demo --out demo-out --images 2 --seed 4" in page
    answer = json.loads(Path("d.json").read_text())
    assert answer["passed"] is True
    assert answer["facts"]["weights"].endswith("seven.npz")
    # The canvases, not what was drawn on them, can be looked at again.
    status, text, _ = ssd("detect", "demo-out", "--out", "found", "--json", "-")
    assert [Path(one["file"]).name for one in json.loads(text)] == [
        "image-1.png",
        "image-2.png",
    ]


def test_the_demo_fails_where_anything_disagrees(quick, ssd, tmp_path, monkeypatch):
    softmax = demo.mirror_losses.softmax
    monkeypatch.setattr(demo.mirror_losses, "softmax", lambda logits: softmax(logits) * 0.9999)
    status, text, _ = ssd("demo", "--images", 1, "--out", tmp_path / "o")
    assert status == 1
    assert "Keras DISAGREES with the NumPy reference in 1 of 1 image" in text
    assert "✗" in (tmp_path / "o" / "report.html").read_text(encoding="utf-8")


def test_the_demo_overwrites_no_file_of_the_users(ssd, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    status, _, err = ssd("demo", "--images", 1, "--out", tmp_path)
    assert status == 2
    assert f"Received: {tmp_path / 'report.html'}, which this program did not write" in err
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


# --- What is around a command -------------------------------------------------------------


def in_place_of(monkeypatch, name, error):
    def stop(arguments):
        raise error

    monkeypatch.setattr(f"keras_impl.cli.{name}._run", stop)


def test_ctrl_c_is_130(monkeypatch, capsys):
    in_place_of(monkeypatch, "parity", KeyboardInterrupt())
    assert main(["parity"]) == 130
    assert capsys.readouterr().err == "\nssd: interrupted\n"
    in_place_of(monkeypatch, "train", KeyboardInterrupt())
    assert main(["train", "digits", "--out", "x"]) == 130
    assert "; the same command continues after the last finished epoch" in capsys.readouterr().err


def test_ctrl_c_among_the_imports_is_130():
    result = run_python(
        "import builtins\n"
        "from keras_impl.__main__ import main\n"
        "real = builtins.__import__\n"
        "def stop(name, *rest):\n"
        "    if name == 'keras_impl.cli':\n"
        "        raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = stop\n"
        "raise SystemExit(main())"
    )
    assert (result.returncode, result.stderr) == (130, "\nssd: interrupted\n")


def test_an_error_is_one_line_or_with_ssd_debug_all_of_it(monkeypatch, capsys):
    in_place_of(monkeypatch, "parity", ValueError("first\n  second"))
    assert main(["parity"]) == 2
    assert capsys.readouterr().err == "ssd: error: first second\n"
    monkeypatch.setenv("SSD_DEBUG", "1")
    with pytest.raises(ValueError, match="first"):
        main(["parity"])


@pytest.mark.parametrize(
    ("path", "words", "sentence"),
    [
        ("ro/sub", "demo --out ro/sub/x", "--out: cannot write ro/sub: permission denied"),
        ("ro/.x.npz.a1", "demo --json ro/x.npz", "--json: cannot write ro/x.npz: permission"),
        ("in/a.png", "detect in --out x", "IMAGE: cannot read in/a.png: permission denied"),
        ("in", "detect in --out in/x", "IMAGE: cannot read in: permission denied"),
        ("home/models", "demo --out x", "permission denied; KERAS_HOME names the folder"),
        (None, "demo", "ssd: error: permission denied\n"),
    ],
)
def test_an_error_of_the_system_names_the_option(monkeypatch, capsys, path, words, sentence):
    monkeypatch.setenv("KERAS_HOME", "home")
    error = PermissionError(errno.EACCES, "Permission denied", path)
    in_place_of(monkeypatch, words.split()[0], error)
    assert main(words.split()) == 2
    assert sentence in capsys.readouterr().err


def test_a_bug_is_not_dressed_as_a_mistake(monkeypatch):
    in_place_of(monkeypatch, "parity", KeyError("x"))
    with pytest.raises(KeyError):
        main(["parity"])


@pytest.mark.parametrize("words", ["train digits --help", "conventions", "conventions --json -"])
def test_a_reader_that_leaves_early_hears_no_complaint(words):
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_impl", *words.split()],
        env={**os.environ, "PYTHONPATH": PACKAGES},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert err == b"" or words.endswith("-")  # there people read the table
    assert process.returncode == 0


def test_the_filter_lets_through_what_matters():
    lines = [
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
        b"I0000 00:00:1.2 port.cc:153] oneDNN custom operations are on.\n",
        b"W0000 00:00:1.2 a warning\n",
        b"E0000 00:00:1.2 an error\n",
        b"F0000 00:00:1.2 the last word\n",
        b"ImportError: libsomething.so: \xff\n",
        b"no newline",
    ]
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", startup.FILTER],
        input=b"".join(lines),
        capture_output=True,
        check=True,
    )
    assert result.stderr == b"".join(lines[2:])


def test_greetings_are_filtered_and_stderr_is_put_back():
    result = run_python(
        "import os, sys; from keras_impl.cli.startup import _without_greetings\n"
        "with _without_greetings():\n"
        "    os.write(2, b'I0000 hello\\nthe last word\\n')\n"
        "os.write(2, b'I0000 afterwards\\n')"
    )
    assert result.stderr == "the last word\nI0000 afterwards\n"


def test_a_process_killed_while_loading_is_heard():
    result = run_python(
        "import os; from keras_impl.cli.startup import _without_greetings\n"
        "with _without_greetings():\n"
        "    os.write(2, b'The library was compiled for another processor\\n'); os.abort()"
    )
    assert result.returncode < 0
    assert "compiled for another processor" in result.stderr


@pytest.mark.parametrize(
    ("width", "hidden"),
    [(10_000, ""), (36, ""), (26, "note"), (15, "note, a number")],
)
def test_a_table_fits_into_the_terminal(width, hidden, capsys):
    from rich.console import Console

    table = console.make_table(
        ("name", None), ("a number", "right"), ("what it is", None), ("note", None),
        spare=("note", "a number"),
    )  # fmt: skip
    table.add_row("first", "1.5", "some words that may wrap", "aside")
    table.print(Console(width=width))
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    assert {"first", "some", "words", "that", "may", "wrap"} <= set(words), "no word is broken"
    assert ("aside" in words) == ("note" not in hidden)
    assert ("1.5" in words) == ("number" not in hidden)
    said = f"not shown for lack of width: {hidden} (a pipe shows all)"
    assert (said in " ".join(words)) == bool(hidden)


def test_progress_is_lines_where_there_is_no_terminal(monkeypatch, capsys):
    with console.Progress("counting", 3) as progress:
        progress.advance(1)
    assert capsys.readouterr() == ("", ""), "nothing for short work"
    monkeypatch.setattr(console, "BEAT", 0.0)
    with console.Progress("counting", 3) as progress:
        progress.advance(2)
        progress.say("adding")
        progress.print("one is odd")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["ssd: counting 2 of 3", "ssd: adding 2 of 3", "one is odd"]


def test_progress_is_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with console.Progress("counting [red]", 3) as progress:
        progress.advance(2)
        progress.print("one is [odd]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "counting [red]" in err
    assert "2/3" in err
    assert "one is [odd]" in err


def test_training_is_shown_as_it_goes(capsys, monkeypatch):
    monkeypatch.setattr(console, "BEAT", 0.0)
    recipe = Recipe(epochs=3, images=32, batch=16)
    row = {name: 0.5 for name in ("loss", "class_loss", "box_loss", "val_map", "val_ap50")}
    row |= {"epoch": 3, "images": 96, "val_ap75": 0.25, "seconds": 12.0, "learning_rate": 0.0}
    with train.Training("runs/x") as watcher:
        watcher.begin(recipe, 2, "a sample")
        watcher.step(3, 1, {"loss": 0.75})
        watcher.epoch(row)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:2] == ["digits: a sample", "runs/x continues after epoch 2 of 3"]
    assert len(lines[2]) == len(lines[3]) == 80
    assert lines[3].split() == ["3/3", "96", *["0.5000"] * 5, "0.2500", "12.0"]
    assert err.splitlines()[-1] == "ssd: epoch 3, loss 0.750, step 5 of 6"


def test_json_knows_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        console.write_json("-", {"map": np.nan})
