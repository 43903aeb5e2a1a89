"""Every command and every option against bad input: one sentence, no traceback, nothing written.

What an option takes is read from the parser, so that a new option is tried as soon as it is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_impl import backends, cli
from keras_impl.benchmark import runner, worker
from keras_impl.cli import main, options, startup
from keras_impl.data import mnist as digits
from keras_impl.demo import run as demo
from keras_impl.models import cost as architecture
from keras_impl.parity import table as parity
from keras_impl.training import curves, digits as training, recipe as recipe_
from keras_impl.weights import npz as weights

SOURCE = digits.load_digits("train").source

# What each command needs to be complete.
COMMANDS = {
    "demo": "",
    "train digits": "--out run",
    "evaluate digits": "",
    "detect": "photo.png --out found",
    "weights": "oidv4",
    "export": "--format onnx --out x.onnx",
    "parity": "",
    "bench": "",
    "conventions": "caffe",
}

# Values that the type of an option refuses.
BAD_VALUES = {
    options.positive_count: ("0", "-1", "1.5", "nan", "inf", "many", "", "1e3", "9" * 5000),
    options.case_count: ("0", "-1", "many", "100001", "99999999999", "9" * 5000),
    options.image_count: ("0", "-1", "many", "10001", "5000000"),
    options.seed_number: ("-1", "1.5", "nan", "inf", "many", "", "1e3"),
    options.positive_number: ("0", "-1", "nan", "inf", "-inf", "1e400", "many", "", "1j"),
    options.fraction: ("-0.1", "1.1", "nan", "inf", "many", "", "1j"),
}

# Options that name a file or folder to read, and those that name one to write.
READ = ("--weights", "--mnist", "--file", "--check", "--trace", "--against")
WRITTEN = ("--out", "--json", "--html", "--record")
EXPLAINED = {
    "--op": "a name among those of the backend: test_cli.py",
    "--photos": "images, as IMAGE",
    "images": "IMAGE",
}


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()):
    """(words, parser) of every command that does something."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from leaves(child, (*words, name))
            return
    yield " ".join(words), parser


LEAVES = dict(leaves(cli._parser()))
OPTIONS = [
    (command, action)
    for command, parser in LEAVES.items()
    for action in parser._actions
    if not isinstance(action, argparse._HelpAction)
]


def name_of(action: argparse.Action) -> str:
    return action.option_strings[0] if action.option_strings else action.dest


def ids(pairs) -> list[str]:
    return [f"{command} {name_of(action)}" for command, action in pairs]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with an image, a text and a folder; and work that must not begin."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("photo.png")
    Path("notes.txt").write_text("mine")
    Path("empty").mkdir()

    def went_on(*arguments: object, **options: object) -> None:
        pytest.fail("it went on")

    monkeypatch.setattr(backends, "make_deterministic", lambda: None)
    monkeypatch.setattr(training, "digit_model", went_on)
    for module in (demo, parity, runner):
        monkeypatch.setattr(module, "run", went_on)
    return tmp_path


@pytest.fixture
def refused(here, capsys):
    """Run a command that must be refused; gives the sentence."""

    def run(command: str, *words: str) -> str:
        before = set(here.rglob("*"))
        status = main([*command.split(), *COMMANDS[command].split(), *words])
        out, err = capsys.readouterr()
        assert status in (1, 2), f"status {status}: {out}{err}"
        sentence = err.strip().splitlines()[-1]
        assert sentence.startswith("ssd: "), err
        assert "Traceback" not in err
        assert out == ""
        written = set(here.rglob("*")) - before
        # The folder that was to be written to may be there, and nothing in it.
        assert all(path.is_dir() for path in written), f"written: {written}"
        for path in written:
            path.rmdir()
        return sentence

    return run


@pytest.fixture
def no_keras(monkeypatch):
    """What is seen at once must not wait for TensorFlow."""
    monkeypatch.setattr(startup, "start_keras", lambda: pytest.fail("TensorFlow was started"))


# --- what the parser sees -------------------------------------------------------------------------


def test_every_command_is_known_here():
    assert set(LEAVES) == set(COMMANDS)


CHOICES = [(command, action) for command, action in OPTIONS if action.choices]


@pytest.mark.parametrize(("command", "action"), CHOICES, ids=ids(CHOICES))
def test_a_word_that_is_no_choice(refused, no_keras, command, action):
    for word in ("nonsense", "", "0", action.choices[0].upper() + "x"):
        words = [*action.option_strings[:1], word]
        sentence = refused(command, *words)
        assert "invalid choice: " in sentence or "unrecognized arguments" in sentence


TYPED = [(command, action) for command, action in OPTIONS if action.type is not None]


@pytest.mark.parametrize(("command", "action"), TYPED, ids=ids(TYPED))
def test_a_number_out_of_range(refused, no_keras, command, action):
    (option, *_) = action.option_strings
    for word in BAD_VALUES[action.type]:
        sentence = refused(command, f"{option}={word}")
        assert sentence.startswith(f"ssd: error: argument {option}: ")


FLAGS = [
    (command, action)
    for command, action in OPTIONS
    if isinstance(action, argparse._StoreTrueAction)
]


@pytest.mark.parametrize(("command", "action"), FLAGS, ids=ids(FLAGS))
def test_a_flag_that_is_given_a_value(refused, no_keras, command, action):
    (option, *_) = action.option_strings
    assert "ignored explicit argument" in refused(command, f"{option}=yes")


VALUED = [
    (command, action)
    for command, action in OPTIONS
    if action.option_strings and action.nargs is None and (command, action) not in FLAGS
]


@pytest.mark.parametrize(("command", "action"), VALUED, ids=ids(VALUED))
def test_an_option_without_its_value(refused, no_keras, command, action):
    (option, *_) = action.option_strings
    assert "expected one argument" in refused(command, option)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_is_none(refused, no_keras, command):
    assert "unrecognized arguments: --nonsense" in refused(command, "--nonsense")


def test_every_option_is_tried():
    tried = {id(action) for _, action in (*CHOICES, *TYPED, *FLAGS)}
    left = {name_of(action) for _, action in OPTIONS if id(action) not in tried}
    assert left == {*READ, *WRITTEN, *EXPLAINED}


# --- files ----------------------------------------------------------------------------------------

READING = [(command, action) for command, action in OPTIONS if name_of(action) in READ]


@pytest.mark.parametrize(("command", "action"), READING, ids=ids(READING))
def test_what_cannot_be_read(refused, command, action):
    (option, *_) = action.option_strings
    for path in ("missing", "missing/file", "empty", "notes.txt", "", "x" * 300):
        sentence = refused(command, option, path)
        assert sentence.startswith("ssd: error: "), sentence


WRITING = [
    (command, action)
    for command, action in OPTIONS
    if name_of(action) in WRITTEN and (command, name_of(action)) != ("detect", "--json")
]


@pytest.mark.parametrize(("command", "action"), WRITING, ids=ids(WRITING))
def test_what_cannot_be_written(refused, command, action):
    (option, *_) = action.option_strings
    gone = () if option == "--out" else ("gone/x", ".")  # some make the folder
    for path in ("notes.txt", "notes.txt/x", "x" * 300, *gone):
        sentence = refused(command, option, path)
        assert sentence.startswith("ssd: error: "), sentence
    assert Path("notes.txt").read_text() == "mine"


@pytest.mark.parametrize("images", ["missing", "empty", "missing/*.png", "", "x" * 300])
@pytest.mark.parametrize("command", ["detect --out found", "parity --photos"])
def test_images_that_are_not_there(here, capsys, command, images):
    name, *rest = command.split()
    assert main([name, images, *rest] if name == "detect" else [name, *rest, images]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("ssd: error: "), err
    assert err.count("\n") == 1
    assert out == ""
    assert not Path("found").exists()


# --- files that are damaged, or lie ---------------------------------------------------------------


SHIPPED = cache(weights.read_weights)


def weights_with(path: Path, change) -> Path:
    """A weights file of the shipped detector, its configuration and arrays changed."""
    config, arrays = SHIPPED(weights.DIGITS)
    config, arrays = change(config, dict(arrays))
    np.savez(path, **arrays, **{weights.CONFIG: np.array(json.dumps(config))})
    return path


def of_config(**change):
    """The configuration with other fields."""
    return lambda config, arrays: ({**config, **change}, arrays)


def of_layout(**change):
    """The layout with other fields."""
    return lambda config, arrays: ({**config, "layout": {**config["layout"], **change}}, arrays)


def of_convention(part, **change):
    """A part of the convention with other fields."""

    def changed(config, arrays):
        convention = {**config["convention"], part: {**config["convention"][part], **change}}
        return {**config, "convention": convention}, arrays

    return changed


def of_arrays(value):
    """The first kernel is something else."""
    return lambda config, arrays: (config, {**arrays, "Conv1/kernel": value})


LIES = {
    "configuration that is a list": lambda config, arrays: ([1], arrays),
    "no configuration": lambda config, arrays: ({}, arrays),
    "no arrays": lambda config, arrays: (config, {}),
    "classes in words": of_config(num_classes="ten"),
    "classes below 1": of_config(num_classes=0),
    "other classes": of_config(num_classes=11),
    "width of NaN": of_config(alpha=float("nan")),
    "width without end": of_config(alpha=float("inf")),
    "width beyond all memory": of_config(alpha=1e300),
    "width in words": of_config(alpha="wide"),
    "an unknown head": of_config(head="yolo"),
    "names that are no list": of_config(class_names=7),
    "too few names": of_config(class_names=["one"]),
    "an unknown field": of_config(colour="red"),
    "layout that is a word": of_config(layout="ssd301"),
    "layout that is none": of_config(layout=None),
    "feature maps in words": of_layout(feature_maps="many"),
    "feature maps of half cells": of_layout(feature_maps=[[28.5, 28]] * 6),
    "feature maps that are no pairs": of_layout(feature_maps=[28] * 6),
    "scales of NaN": of_layout(scales=[float("nan")] * 7),
    "scales without end": of_layout(scales=[float("inf")] * 7),
    "too few scales": of_layout(scales=[0.1]),
    "negative size": of_layout(image_size=[-224, 224]),
    "convention that is a word": of_config(convention="caffe"),
    "threshold of NaN": of_convention("matching", threshold=float("nan")),
    "threshold in words": of_convention("detection", iou_threshold="high"),
    "variances of 0": of_convention("coding", variances=[0, 0, 0, 0]),
    "three variances": of_convention("coding", variances=[1, 1, 1]),
    "an unknown rule": of_convention("detection", ties="any"),
    "an unknown question": of_convention("detection", colour="red"),
    "a kernel of NaN": of_arrays(np.full((3, 3, 3, 16), np.nan, np.float32)),
    "a kernel of words": of_arrays(np.array(["a"])),
    "a kernel of whole numbers": of_arrays(np.zeros((3, 3, 3, 16), np.int64)),
    "a complex kernel": of_arrays(np.zeros((3, 3, 3, 16), np.complex64)),
    "a kernel without numbers": of_arrays(np.zeros((0, 3, 3, 16), np.float32)),
    "a kernel with an axis less": of_arrays(np.zeros((3, 3, 16), np.float32)),
    "a pickled object": of_arrays(np.array([{}], object)),
}


# What only Keras makes something of, and what it makes a network for, which takes seconds.
KERAS_ONLY = [lie for lie in LIES if "width" in lie]
KERAS_ONLY += ["an unknown head", "an unknown field"]
NETWORKS = [lie for lie in LIES if "arrays" in lie or lie in ("other classes", "width of NaN")]
NETWORKS += ["a kernel without numbers", "a kernel with an axis less"]


@pytest.mark.parametrize(
    ("command", "lie"),
    [
        *(("evaluate digits", lie) for lie in LIES if lie not in NETWORKS or lie == "no arrays"),
        *(("detect --backend numpy", lie) for lie in LIES if lie not in KERAS_ONLY),
    ],
)
def test_weights_that_lie(here, capsys, command, lie):
    path = weights_with(here / "weights.npz", LIES[lie])
    name = "detect" if command.startswith("detect") else command
    words = [*command.split(), *COMMANDS[name].split(), "--weights", str(path)]
    status = main(words)
    out, err = capsys.readouterr()
    sentence = err.strip().splitlines()[-1] if err else ""
    assert (status, out) == (2, ""), f"{status}: {out}{err}"
    assert sentence.startswith("ssd: error: "), err
    assert "Traceback" not in err
    assert len(sentence) < 1000


def test_weights_of_another_program(here, capsys):
    np.savez(here / "other.npz", a=np.zeros(3))
    words = ["--weights", "other.npz", "--backend", "numpy"]
    assert main(["detect", "photo.png", "--out", "found", *words]) == 2
    assert "Received: other.npz (an archive without config.json)" in capsys.readouterr().err


def test_damaged_weights_in_the_cache_are_fetched_again(here, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(here))
    (here / "models").mkdir()
    (here / "models" / "mobilenetv2_ssd_oidv4.npz").write_bytes(b"PK")
    words = ["--model", "oidv4", "--backend", "numpy"]
    assert main(["detect", "photo.png", "--out", "found", *words]) == 2
    assert "; run `ssd weights oidv4` again" in capsys.readouterr().err


def test_a_score_of_an_export_needs_detections(refused, no_keras):
    sentence = refused("export", "--score", "0.4")
    assert sentence.startswith("ssd: error: --score: expected --detections too")


def damaged(name: str) -> bytes:
    """Bytes that are no such file."""
    whole = Path("whole.png")
    Image.new("RGB", (64, 64), (200, 10, 10)).save(whole)
    return {
        "nothing": b"",
        "noise": bytes(range(256)) * 8,
        "cut short": whole.read_bytes()[:60],
        "an archive": b"PK\x03\x04" + bytes(100),
        "a JSON list": b"[1, 2]",
        "a JSON object": b'{"format": 1, "errors": 7}',
    }[name]


DAMAGE = ("nothing", "noise", "cut short", "an archive", "a JSON list", "a JSON object")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "command",
    [
        "detect FILE --out found --backend numpy",
        "detect photo.png --out found --weights FILE",
        "detect photo.png --out found --weights FILE --backend numpy",
        "evaluate digits --weights FILE",
        "export --format onnx --out x.onnx --check FILE",
        "weights oidv4 --file FILE",
        "parity --against FILE",
        "parity --record FILE",
        "train digits --out FILE",
    ],
)
def test_a_damaged_file(here, capsys, command, damage):
    content = damaged(damage)
    Path("FILE").write_bytes(content)
    if ("--record" in command, damage) == (True, "nothing"):
        return  # a new record
    status = main(command.split())
    out, err = capsys.readouterr()
    assert status in (1, 2), f"{status}: {out}{err}"
    assert out == ""
    assert err.strip().splitlines()[-1].startswith("ssd: "), err
    assert "Traceback" not in err
    assert Path("FILE").read_bytes() == content


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("recipe.json", damage) for damage in DAMAGE),
        *(("log.csv", damage) for damage in ("noise", "cut short")),  # others have no rows
    ],
)
def test_a_run_that_is_damaged(here, capsys, name, damage):
    run = here / "run"
    run.mkdir()
    recipe = recipe_.Recipe()
    (run / "recipe.json").write_text(json.dumps({**dataclasses.asdict(recipe), "source": SOURCE}))
    (run / name).write_bytes(damaged(damage))
    status = main(["train", "digits", "--out", str(run)])
    out, err = capsys.readouterr()
    assert (status, out) == (2, ""), f"{status}: {out}{err}"
    assert err.strip().splitlines()[-1].startswith("ssd: error: "), err


# --- python -m keras_impl.X -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "words"),
    [
        *[
            (architecture, words)
            for words in (
                "--layout nonsense",
                "--alpha nan",
                "--alpha inf",
                "--alpha 1e300",
                "--alpha 0",
                "--alpha -1",
                "--alpha wide",
                "--classes 0",
                "--classes -1",
                "--classes 1.5",
                "--classes many",
                "--head yolo",
                "--nonsense",
            )
        ],
        *[(curves, words) for words in ("", "missing", "missing --out x.png", "empty --out x.png")],
        *[
            (digits, words)
            for words in ("", "--make-sample missing", "--make-sample empty --out notes.txt")
        ],
        *[
            (module, words)
            for module in (parity, worker)
            for words in ("", "nonsense", "[]", "{}", '{"kind":"nonsense"}', "null", '{"kind":[]}')
        ],
        (parity, '{"convention":"x","ops":[],"dtypes":[],"cases":1,"seed":0}'),
        (worker, '{"kind":"time"}'),
    ],
)
def test_a_module_that_is_run(here, capsys, monkeypatch, module, words):
    monkeypatch.setattr(sys, "argv", [module.__name__, *words.split()])
    with pytest.raises(SystemExit) as stop:
        module._main()
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert "error: " in err.strip().splitlines()[-1], err
    assert "Traceback" not in err
    assert out == ""
    assert not Path("x.png").exists()
