"""Training a digit detector: canvases, optimiser, validation, log, checkpoints, resuming.

A run lives in one folder and can be stopped at any time; started again with the same recipe
it goes on from its last finished epoch and ends with the weights it would have had.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_impl.data.digits import MODES, Digits, dataset, load_digits
from keras_impl.evaluation import evaluate_digits
from keras_impl.ssd import SSD
from keras_impl.weights import save_weights
from reference_numpy.conventions import CANONICAL, DIGITS224

__all__ = ["COLUMNS", "Recipe", "Watcher", "digit_model", "read_log", "train_digits"]

COLUMNS = (
    "epoch",
    "pictures",
    "loss",
    "class_loss",
    "box_loss",
    "learning_rate",
    "val_map",
    "val_ap50",
    "val_ap75",
    "seconds",
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run becomes.

    Attributes:
        digits: Digits on a canvas: "1", "1-10", or "both" (a fair coin for each canvas).
        alpha: Width multiplier of the network.
        epochs: Epochs; an epoch is only the beat of validation and checkpoints.
        pictures: Canvases an epoch, composed anew for each; a multiple of `batch`.
        batch: Canvases a step.
        learning_rate: Of Adam at its height, after the first tenth of an epoch; it falls
            along half a cosine to 0 at the end.
        box_weight: Weight of the box loss beside the class loss.
        validation: Canvases of held-out training digits that are looked at after each epoch.
        seed: Of weights and canvases.
    """

    digits: str = "both"
    alpha: float = 0.35
    epochs: int = 10
    pictures: int = 4000
    batch: int = 16
    learning_rate: float = 2e-3
    box_weight: float = 4.0
    validation: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.digits not in MODES:
            raise ValueError(f"digits: expected one of {list(MODES)}. Received: {self.digits!r}")
        for name in ("epochs", "pictures", "batch", "validation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more. Received: {getattr(self, name)}")
        for name in ("alpha", "learning_rate", "box_weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected above 0. Received: {getattr(self, name)}")
        if self.pictures % self.batch:
            raise ValueError(
                f"pictures: expected a multiple of batch, {self.batch}. Received: {self.pictures}"
            )
        if not 0 <= self.seed < 2**32:  # as Keras wants it
            raise ValueError(f"seed: expected 0 to {2**32 - 1}. Received: {self.seed}")


class Watcher(Protocol):
    """Who wants to know how training goes; the command line shows it."""

    def begin(self, recipe: Recipe, done: int, source: str) -> None:
        """Training starts; `done` epochs of an earlier run stand."""

    def step(self, epoch: int, step: int, logs: Mapping[str, float]) -> None:
        """A step is done."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch is done and logged."""


def digit_model(recipe: Recipe) -> SSD:
    """The network a recipe trains, untrained.

    The running batch statistics average over about 100 steps (momentum .99): MobileNetV2's own
    .999 would still remember the start of a short run. While the learning rate is high they lag
    behind the weights, and validation jumps; it settles as the rate falls.
    """
    return SSD(
        DIGITS224,
        classes=10,
        alpha=recipe.alpha,
        convention=CANONICAL.but(box_weight=recipe.box_weight),
        batch_norm_momentum=0.99,
    )


def train_digits(
    out: str | os.PathLike[str],
    recipe: Recipe,
    watcher: Watcher,
    *,
    mnist: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Path:
    """Train, or go on with, a run.

    Args:
        out: Folder of the run. It gets recipe.json, log.csv, loss.png, a checkpoint, and
            weights.npz after every epoch.
        recipe: What to train.
        watcher: Told of every step.
        mnist: Folder of MNIST's IDX files, as `load_digits`.
        download: Whether MNIST may be downloaded.

    Returns:
        The weights file.

    Raises:
        ValueError: The folder holds a run of another recipe, or is not a run's.
    """
    out = Path(out)
    train, held_out = _split(load_digits("train", mnist, download))
    done = _open_run(out, recipe, train.source)
    watcher.begin(recipe, done, train.source)

    keras.utils.set_random_seed(recipe.seed)
    model = digit_model(recipe)
    steps = recipe.pictures // recipe.batch
    warm_up = max(1, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, recipe.epochs * steps - warm_up),
        warmup_target=recipe.learning_rate,
        warmup_steps=warm_up,
    )
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=10.0))
    model.optimizer.build(model.trainable_variables)
    if done:
        model.load_weights(_checkpoint(out, done))

    for epoch in range(done + 1, recipe.epochs + 1):
        started = time.perf_counter()
        canvases = dataset(
            train,
            recipe.digits,
            recipe.pictures,
            recipe.batch,
            seed=recipe.seed,
            first=(epoch - 1) * recipe.pictures,
        )
        tell = _Tell(watcher, epoch)
        model.fit(canvases, epochs=1, verbose=0, shuffle=False, callbacks=[tell])
        # Another seed than training's, and digits that training never draws.
        quality = evaluate_digits(
            model, held_out, recipe.digits, recipe.validation, recipe.seed + 1
        )
        row = {
            "epoch": epoch,
            "pictures": epoch * recipe.pictures,
            **{name: float(tell.logs[name]) for name in ("loss", "class_loss", "box_loss")},
            "learning_rate": float(rate(model.optimizer.iterations)),
            "val_map": quality.map,
            "val_ap50": quality.ap50,
            "val_ap75": quality.ap75,
            "seconds": time.perf_counter() - started,
        }
        _close_epoch(out, model, epoch, row)
        watcher.epoch(row)
    return out / "weights.npz"


def read_log(out: str | os.PathLike[str]) -> list[dict[str, float]]:
    """The rows of a run's log.csv, one a finished epoch."""
    path = Path(out) / "log.csv"
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            return [{name: float(row[name]) for name in COLUMNS} for row in csv.DictReader(file)]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"log: expected the rows of a run. Received: {path} ({error})") from None


class _Tell(keras.callbacks.Callback):
    """Passes the progress of `fit` on."""

    def __init__(self, watcher: Watcher, epoch: int) -> None:
        super().__init__()
        self.watcher, self.number = watcher, epoch
        self.logs: dict[str, float] = {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.logs = dict(logs or {})
        if not math.isfinite(self.logs.get("loss", 0.0)):
            raise ValueError(
                f"loss: expected a number. Received: {self.logs['loss']} in epoch {self.number}, "
                f"step {batch + 1}; a smaller learning rate may help"
            )
        self.watcher.step(self.number, batch + 1, self.logs)


def _split(digits: Digits) -> tuple[Digits, Digits]:
    """Training digits, and every twelfth held out for validation."""
    held = slice(None, None, 12)
    keep = [index for index in range(len(digits.labels)) if index % 12]
    return (
        digits._replace(images=digits.images[keep], labels=digits.labels[keep]),
        digits._replace(images=digits.images[held], labels=digits.labels[held]),
    )


def _open_run(out: Path, recipe: Recipe, source: str) -> int:
    """Make the folder of a run, or find the last epoch that it finished."""
    record = out / "recipe.json"
    if not record.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"out: expected a new folder, or that of a run. Received: {out}")
        out.mkdir(parents=True, exist_ok=True)
        _write(record, json.dumps({**asdict(recipe), "source": source}, indent=2) + "\n")
        return 0
    try:
        old = json.loads(record.read_text())
        old_source = old.pop("source")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"out: {record} is not a run's ({error})") from None
    new = asdict(recipe)
    if different := [name for name in new if old.get(name) != new[name]]:
        changes = ", ".join(f"{name} {old.get(name)} → {new[name]}" for name in different)
        raise ValueError(
            f"out: {out} holds a run of another recipe ({changes}); choose a new folder"
        )
    if old_source.rsplit("/", 1)[-1] != source.rsplit("/", 1)[-1]:
        raise ValueError(f"out: {out} was begun with {old_source}. Received: {source}")
    rows = read_log(out)
    for done in range(len(rows), 0, -1):
        if _checkpoint(out, done).exists():
            _write_log(out, rows[:done])
            return done
    _write_log(out, [])
    return 0


def _close_epoch(out: Path, model: SSD, epoch: int, row: Mapping[str, float]) -> None:
    """Write what an epoch leaves behind; its row in the log comes last, and says it is done.

    Stopped before that, the run has the checkpoint of the epoch before and does this one again.
    """
    unfinished = out / "unfinished.weights.h5"
    model.save_weights(unfinished)  # with the optimiser's state
    os.replace(unfinished, _checkpoint(out, epoch))
    save_weights(model, out / "weights.npz")
    rows = [*read_log(out), row]
    draw_curves(rows, out / "loss.png")
    _write_log(out, rows)
    _checkpoint(out, epoch - 1).unlink(missing_ok=True)


def draw_curves(rows: list[Mapping[str, float]] | list[dict[str, float]], path: Path) -> None:
    """Draw the losses and the validation's average precision of a run, pictures seen below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    seen = [row["pictures"] / 1000 for row in rows]
    for name in ("loss", "class_loss", "box_loss"):
        left.plot(seen, [row[name] for row in rows], marker=".", label=name.replace("_", " "))
    for name, label in (("val_map", "mAP .50:.95"), ("val_ap50", "AP .50"), ("val_ap75", "AP .75")):
        right.plot(seen, [row[name] for row in rows], marker=".", label=label)
    left.set(title="training loss", xlabel="thousand pictures", yscale="log")
    right.set(title="validation", xlabel="thousand pictures", ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def _checkpoint(out: Path, epoch: int) -> Path:
    return out / f"checkpoint-{epoch:04d}.weights.h5"


def _write_log(out: Path, rows: list[Any]) -> None:
    lines = [",".join(COLUMNS)]
    lines += [",".join(f"{row[name]:.8g}" for name in COLUMNS) for row in rows]
    _write(out / "log.csv", "\n".join(lines) + "\n")


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text)
    os.replace(unfinished, path)
