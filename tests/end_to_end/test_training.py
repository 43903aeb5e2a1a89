"""Training a digit detector: the same seed gives the same run, stopped in between or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_impl
from keras_impl import backends, cli
from keras_impl.data.mnist import load_digits
from keras_impl.training import digits as training
from keras_impl.training.curves import COLUMNS, read_log
from keras_impl.training.recipe import Recipe
from keras_impl.weights.npz import load_model

EPOCHS, ALPHA = 2, 0.1
TINY = f"--epochs {EPOCHS} --images 32 --batch 16 --validation 8 --alpha {ALPHA} --seed 5".split()


def start(out: Path) -> subprocess.Popen[str]:
    """The command that a user types, in a process of its own."""
    packages = str(Path(keras_impl.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "keras_impl", "train", "digits", "--out", str(out), *TINY],
        env={**os.environ, "PYTHONPATH": packages},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        # In the background of a shell Ctrl-C is ignored, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


class Whole:
    """A run without a break."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run = start(folder)
        self.out, self.error = run.communicate()
        self.code = run.returncode


class Broken:
    """A run stopped after its first epoch, and taken up again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        first = start(folder)
        assert first.stdout is not None
        for line in first.stdout:
            if line.split()[:1] == [f"1/{EPOCHS}"]:
                first.send_signal(signal.SIGINT)
        self.first_error = first.communicate()[1]
        self.first_code = first.returncode
        self.rows_between = read_log(folder)
        second = start(folder)
        self.out, self.error = second.communicate()
        self.code = second.returncode


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def whole(home, tmp_path_factory):
    return Whole(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def broken(home, tmp_path_factory):
    return Broken(tmp_path_factory.mktemp("runs") / "broken")


@pytest.fixture
def ssd(monkeypatch):
    """The program in this process, where TensorFlow runs already."""
    monkeypatch.setattr(backends, "make_deterministic", lambda: None)
    return cli.main


def without_seconds(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: row[name] for name in COLUMNS if name != "seconds"} for row in rows]


# --- Runs ---------------------------------------------------------------------------------


def test_a_run_ends_well_and_says_what_it_did(whole):
    assert whole.code == 0, whole.error
    assert "digits: the MNIST sample shipped with the package" in whole.out
    assert [line.split()[0] for line in whole.out.splitlines()[1:4]] == ["epoch", "1/2", "2/2"]
    assert f"weights: {whole.folder / 'weights.npz'}" in whole.out
    assert "I0000" not in whole.error


def test_a_run_leaves_what_it_promises(whole):
    names = {path.name for path in whole.folder.iterdir()}
    checkpoint = f"checkpoint-{EPOCHS:04d}.weights.h5"
    assert names == {"recipe.json", "log.csv", "loss.png", "weights.npz", checkpoint}
    recipe = json.loads((whole.folder / "recipe.json").read_text())
    assert recipe.pop("source") == load_digits("train").source
    wanted = Recipe(epochs=EPOCHS, images=32, batch=16, validation=8, alpha=ALPHA, seed=5)
    assert recipe == asdict(wanted)
    rows = read_log(whole.folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["images"] for row in rows] == [32, 64]
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    # The loss is the classes' and so many times the boxes'.
    for row in rows:
        total = row["class_loss"] + recipe["box_weight"] * row["box_loss"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    with Image.open(whole.folder / "loss.png") as image:
        assert image.format == "PNG"


def test_the_weights_of_a_run_are_its_networks(whole):
    model = load_model(whole.folder / "weights.npz")
    assert (model.num_classes, model.alpha, model.layout.name) == (10, ALPHA, "digits224")
    assert model.convention.loss.box_weight == Recipe().box_weight
    moved = model.get_layer("bn_Conv1").moving_mean
    assert np.abs(np.asarray(moved)).max() > 0, "never trained"


# Two processes more, and the seconds that each takes to begin.
@pytest.mark.thorough
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(broken):
    assert broken.first_code == 130, broken.first_error
    assert "the same command continues after the last finished epoch" in broken.first_error
    assert "Traceback" not in broken.first_error
    assert len(broken.rows_between) == 1


@pytest.mark.thorough
def test_the_same_command_goes_on(broken):
    assert broken.code == 0, broken.error
    assert f"{broken.folder} continues after epoch 1 of {EPOCHS}" in broken.out


@pytest.mark.thorough
def test_stopped_or_not_a_seed_gives_the_same_run(whole, broken):
    # Bit for bit, from three processes: the first epoch twice, the second after a restart.
    one, other = read_log(whole.folder), read_log(broken.folder)
    assert without_seconds(one) == without_seconds(other)
    assert broken.rows_between == other[:1], "what was logged stays"
    one, other = (run.folder / "weights.npz" for run in (whole, broken))
    assert one.read_bytes() == other.read_bytes()


def test_a_finished_run_says_so(whole, ssd, capsys):
    before = (whole.folder / "weights.npz").stat().st_mtime_ns
    assert ssd(["train", "digits", "--out", str(whole.folder), *TINY]) == 0
    assert f"{whole.folder} is finished: all 2 epochs are done" in capsys.readouterr().out
    assert (whole.folder / "weights.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--seed", "6"], "seed 5 → 6"),
        (["--epochs", "3"], "epochs 2 → 3"),
        (["--digits", "1", "--box-weight", "1"], "digits both → 1, box_weight 4.0 → 1.0"),
    ],
)
def test_a_run_of_another_recipe_is_left_alone(whole, ssd, capsys, option, words):
    before = {path.name: path.stat().st_mtime_ns for path in whole.folder.iterdir()}
    assert ssd(["train", "digits", "--out", str(whole.folder), *TINY, *option]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ssd: error: --out: ")
    assert f"Received: {whole.folder}, a run of another recipe ({words})" in error
    assert {path.name: path.stat().st_mtime_ns for path in whole.folder.iterdir()} == before


def test_a_run_does_not_go_on_with_other_digits(whole, ssd, capsys, tmp_path, monkeypatch):
    digits = load_digits("train")
    (tmp_path / "cache" / "datasets").mkdir(parents=True)
    np.savez(
        tmp_path / "cache" / "datasets" / "mnist.npz",
        x_train=digits.images[:100],
        y_train=digits.labels[:100].astype(np.uint8),
        x_test=digits.images[:10],
        y_test=digits.labels[:10].astype(np.uint8),
    )
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    assert ssd(["train", "digits", "--out", str(whole.folder), *TINY]) == 2
    assert "began with, the MNIST sample shipped" in capsys.readouterr().err


# --- Folders ------------------------------------------------------------------------------


class Nobody:
    """Watches nothing."""

    def begin(self, recipe, done, source):
        raise AssertionError("training began")

    def step(self, epoch, step, logs):
        raise AssertionError

    def epoch(self, row):
        raise AssertionError


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="out: expected a new folder, or the folder of a run"):
        training.train_digits(tmp_path, Recipe(), Nobody())
    with pytest.raises(ValueError, match="out: expected a new folder, or the folder of a run"):
        training.train_digits(tmp_path / "notes.txt", Recipe(), Nobody())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("record", ["", "[1]", "7", '{"digits": "1"}'])
def test_a_damaged_record_of_a_run_is_named(tmp_path, record):
    (tmp_path / "recipe.json").write_text(record)
    with pytest.raises(ValueError, match=r"expected the recipe of a run\. .*recipe\.json"):
        training.train_digits(tmp_path, Recipe(), Nobody())


@pytest.mark.parametrize("log", ["epoch,loss\n1,2\n", ",".join(COLUMNS) + "\n1,2\n"])
def test_a_damaged_log_is_named(tmp_path, log):
    (tmp_path / "log.csv").write_text(log)
    with pytest.raises(ValueError, match=r"expected the rows of a run\. Received: .*log\.csv"):
        read_log(tmp_path)


def open_run(out: Path, recipe: Recipe) -> int:
    return training._open_run(out, recipe, "some digits")


def test_only_an_epoch_with_row_and_checkpoint_is_done(tmp_path):
    recipe = Recipe(epochs=9)
    assert open_run(tmp_path / "run", recipe) == 0
    assert open_run(tmp_path / "run", recipe) == 0, "stopped before its first epoch"
    row = dict.fromkeys(COLUMNS, 0.5)
    training._write_log(tmp_path / "run", [row | {"epoch": number} for number in (1, 2, 3)])
    assert open_run(tmp_path / "run", recipe) == 0, "no checkpoint"
    assert read_log(tmp_path / "run") == []

    training._write_log(tmp_path / "run", [row | {"epoch": number} for number in (1, 2, 3)])
    for epoch in (2, 4):
        training._checkpoint(tmp_path / "run", epoch).touch()
    assert open_run(tmp_path / "run", recipe) == 2, "3 has no checkpoint, 4 no row"
    assert [one["epoch"] for one in read_log(tmp_path / "run")] == [1, 2]


# --- Recipes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"digits": "2"},
        {"epochs": 0},
        {"images": 0},
        {"batch": -1},
        {"validation": 0},
        {"alpha": 0.0},
        {"learning_rate": float("nan")},
        {"box_weight": float("inf")},
        {"images": 100, "batch": 16},
        {"seed": -1},
        {"seed": 2**32},
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused(change):
    with pytest.raises(ValueError, match=rf"{next(iter(change))}: expected .* Received: "):
        replace(Recipe(), **change)


@pytest.mark.parametrize("done", [0, 1])
def test_an_epoch_draws_its_own_canvases_and_validation_others(tmp_path, monkeypatch, done):
    class EnoughError(Exception):
        pass

    class Model:
        trainable_variables = ()

        def compile(self, optimizer):
            self.optimizer = optimizer

        def load_weights(self, path):
            asked["checkpoint"] = path

        def fit(self, canvases, **options):
            assert canvases == "canvases"

    class Watcher(Nobody):
        def begin(self, recipe, done, source):
            pass

    def draw(digits, name, images, batch, *, seed, first):
        asked["drawn"] = (digits, name, images, batch, seed, first)
        return "canvases"

    def validate(model, digits, name, images, seed):
        asked["validated"] = (digits, name, images, seed)
        raise EnoughError

    asked, recipe = {}, Recipe(epochs=3, images=32, batch=16, validation=8, seed=5)
    for name, stand_in in {
        "dataset": draw,
        "evaluate_digits": validate,
        "digit_model": lambda recipe: Model(),
        "_open_run": lambda *given: done,
    }.items():
        monkeypatch.setattr(training, name, stand_in)
    with pytest.raises(EnoughError):
        training.train_digits(tmp_path, recipe, Watcher())
    train, held_out = training._split(load_digits("train"))
    np.testing.assert_array_equal(asked["drawn"][0].images, train.images)
    assert asked["drawn"][1:] == (recipe.digits, 32, 16, 5, 32 * done)
    np.testing.assert_array_equal(asked["validated"][0].images, held_out.images)
    assert asked["validated"][1:] == (recipe.digits, 8, 6)
    assert asked.get("checkpoint") == (training._checkpoint(tmp_path, 1) if done else None)


def test_validation_sees_digits_that_training_never_does():
    digits = load_digits("train")
    numbered = digits._replace(labels=np.arange(len(digits.labels)))
    train, held_out = training._split(numbered)
    assert set(train.labels) | set(held_out.labels) == set(range(len(digits.labels)))
    assert set(train.labels) & set(held_out.labels) == set()
    assert len(held_out.labels) == len(digits.labels) // 12
    np.testing.assert_array_equal(train.images[0], digits.images[train.labels[0]])
    np.testing.assert_array_equal(held_out.images[3], digits.images[held_out.labels[3]])


def test_a_loss_that_is_no_number_ends_the_run():
    class Watcher(Nobody):
        def step(self, epoch, step, logs):
            self.last = (epoch, step)

    watcher = Watcher()
    tell = training._Tell(watcher, 3)
    tell.on_train_batch_end(4, {"loss": 1.0})
    assert watcher.last == (3, 5)
    with pytest.raises(ValueError, match=r"expected a finite number\. .* in epoch 3, step 6; try"):
        tell.on_train_batch_end(5, {"loss": float("nan")})
