"""Training a digit detector: canvases, optimiser, validation, log, checkpoints, resuming.

A run lives in one folder and can be stopped at any time; started again with the same recipe
it goes on from its last finished epoch and ends with the weights it would have had.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_impl._common.files import write_file
from keras_impl.data.canvases import CLASS_NAMES, batch_images, canvas
from keras_impl.data.mnist import Digits, load_digits
from keras_impl.data.pipeline import dataset
from keras_impl.models.ssd import SSD
from keras_impl.training.curves import COLUMNS, draw_curves, read_log
from keras_impl.training.evaluation import evaluate_digits
from keras_impl.training.recipe import Recipe
from keras_impl.weights.npz import read_weights, save_weights, unfold
from keras_impl.weights.published import weights_file
from reference_numpy.conventions import CANONICAL, DIGITS224

__all__ = [
    "Watcher",
    "digit_model",
    "train_digits",
    "warm_start",
]

CALIBRATION = 8, 8  # batches of canvases, on which the batch statistics of a warm start are taken


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
        num_classes=len(CLASS_NAMES),
        alpha=recipe.alpha,
        convention=CANONICAL.replace(box_weight=recipe.box_weight),
        batch_norm_momentum=0.99,
        class_names=CLASS_NAMES,
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
        FileNotFoundError: The weights to start from are not on this machine.
    """
    out = Path(out)
    # Looked at first, so that what is missing is said before there is a folder; a run that goes on
    # does not need it any more.
    start = None
    if recipe.init != "random" and not (out / "recipe.json").exists():
        start = weights_file(recipe.init)
    train, held_out = _split(load_digits("train", mnist, download))
    done = _open_run(out, recipe, train.source)
    watcher.begin(recipe, done, train.source)

    keras.utils.set_random_seed(recipe.seed)
    model = digit_model(recipe)
    if recipe.init != "random" and not done:
        arrays = read_weights(start or weights_file(recipe.init))[1]
        warm_start(model, arrays, _calibration(train, recipe))
    steps = recipe.images // recipe.batch
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
            recipe.images,
            recipe.batch,
            seed=recipe.seed,
            first=(epoch - 1) * recipe.images,
        )
        tell = _Tell(watcher, epoch)
        model.fit(canvases, epochs=1, verbose=0, shuffle=False, callbacks=[tell])
        # Another seed than training's, and digits that training never draws.
        quality = evaluate_digits(
            model, held_out, recipe.digits, recipe.validation, recipe.seed + 1
        )
        row = {
            "epoch": epoch,
            "images": epoch * recipe.images,
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


def warm_start(
    model: SSD, arrays: Mapping[str, NDArray[np.float32]], images: Sequence[NDArray[np.float32]]
) -> list[str]:
    """Begin with another network's backbone and extra maps, wherever names and shapes agree.

    Heads begin anew: theirs are for other anchors, codes and classes.

    The other network is folded, and has no batch normalisation; ours gets ones that change nothing
    (`unfold`). In training, though, a normalisation divides by the statistics of the batch, and
    the features would be others from the first step on. So each gets the mean m and variance v that
    its map has on some images, with gamma = sqrt(v + epsilon) and beta = bias + m: the same
    function still, in inference exactly and in training on such images about so.

    Args:
        model: Built with batch normalisation.
        arrays: Kernels and biases by name.
        images: Batches of prepared images (B, H, W, 3), of the kind that will be trained on.

    Returns:
        Names of the variables that were taken over.

    Raises:
        ValueError: Nothing agrees.
    """
    made = {name: one for name, one in unfold(arrays).items() if not name.startswith("head_")}
    taken = []
    for variable in model.weights:
        value = made.get(variable.path)
        if value is not None and tuple(variable.shape) == value.shape:
            variable.assign(value)
            taken.append(variable.path)
    if not taken:
        raise ValueError("arrays: expected kernels of this network. Received: none that fits")
    norms = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and f"{layer.name}/beta" in taken
    ]
    moments = [ops.stack(ops.moments(layer.input, axes=[0, 1, 2])) for layer in norms]
    look = keras.Model(model.input, moments)
    seen = [[np.asarray(part) for part in look(batch, training=False)] for batch in images]
    for layer, parts in zip(norms, zip(*seen, strict=True), strict=True):
        means, variances = np.stack(parts, axis=1)
        mean = means.mean(axis=0)
        variance = variances.mean(axis=0) + means.var(axis=0)
        layer.beta.assign(layer.beta + mean)
        layer.gamma.assign(np.sqrt(variance + layer.epsilon))
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
    return taken


def _calibration(digits: Digits, recipe: Recipe) -> list[NDArray[np.float32]]:
    """Batches of training canvases."""
    batches, size = CALIBRATION
    made = [canvas(digits, recipe.digits, recipe.seed, index) for index in range(batches * size)]
    images = batch_images(np.stack([one.image for one in made]))
    return np.split(images, batches)


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
        write_file(record, json.dumps({**asdict(recipe), "source": source}, indent=2) + "\n")
        return 0
    try:
        old = json.loads(record.read_text())
        old_source = old.pop("source")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"out: {record} is not a run's ({error})") from None
    old = {"init": "random", **old}  # all there was, before there was a choice
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


def _checkpoint(out: Path, epoch: int) -> Path:
    return out / f"checkpoint-{epoch:04d}.weights.h5"


def _write_log(out: Path, rows: list[Any]) -> None:
    lines = [",".join(COLUMNS)]
    lines += [",".join(f"{row[name]:.8g}" for name in COLUMNS) for row in rows]
    write_file(out / "log.csv", "\n".join(lines) + "\n")
