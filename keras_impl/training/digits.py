"""Train a digit detector, with validation, log and checkpoints.

A run has its own folder and may be stopped at any time. Started again with the same recipe, it
continues after the last finished epoch and ends with the same weights as without the stop.
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

CALIBRATION = 8, 8  # batches, and canvases per batch, for the batch statistics of a warm start


class Watcher(Protocol):
    """Callbacks that follow a training run; the command line shows them."""

    def begin(self, recipe: Recipe, done: int, source: str) -> None:
        """Called when training starts; `done` epochs are finished already."""

    def step(self, epoch: int, step: int, logs: Mapping[str, float]) -> None:
        """Called after each step."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """Called after each epoch, with its row of the log."""


def digit_model(recipe: Recipe) -> SSD:
    """Build the untrained network of a recipe.

    The running batch statistics average over about 100 steps (momentum .99), because MobileNetV2's
    own .999 would still remember the start of a short run. While the learning rate is high, the
    statistics lag behind the weights and validation jumps; it settles as the rate falls.
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
    """Start a training run, or continue one.

    Args:
        out: Folder of the run. After every epoch it holds recipe.json, log.csv, loss.png, a
            checkpoint and weights.npz.
        recipe: Settings of the run.
        watcher: Callbacks that follow the run.
        mnist: Folder with the IDX files of MNIST, as for `load_digits`.
        download: Whether MNIST may be downloaded.

    Returns:
        The path of the weights file.

    Raises:
        ValueError: The folder holds a run of another recipe or other digits, or no run.
        FileNotFoundError: The initial weights are not on this machine.
    """
    out = Path(out)
    # A missing file is reported before the folder is made. A run that continues needs no file.
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
        # Validation has its own seed and digits that training never draws.
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
    """Initialise a model with the backbone and extra maps of another network.

    Variables whose name and shape agree are copied. Heads keep their initial weights, because the
    other heads are for other anchors, codes and classes.

    The other network is folded: it has no batch normalisation, so the model gets normalisations
    that change nothing (`unfold`). In training, however, a normalisation divides by the statistics
    of the batch, which would change the features from the first step on. Therefore each
    normalisation gets the mean m and variance v of its map on some images, with gamma =
    sqrt(v + epsilon) and beta = bias + m. The function stays the same: exactly in inference,
    approximately in training on such images.

    Args:
        model: A model with batch normalisation; it is changed.
        arrays: Kernels and biases of the other network by name.
        images: Batches of prepared images (B, H, W, 3), similar to the training images.

    Returns:
        Names of the copied variables.

    Raises:
        ValueError: No variable agrees in name and shape.
    """
    made = {name: one for name, one in unfold(arrays).items() if not name.startswith("head_")}
    taken = []
    for variable in model.weights:
        value = made.get(variable.path)
        if value is not None and tuple(variable.shape) == value.shape:
            variable.assign(value)
            taken.append(variable.path)
    if not taken:
        raise ValueError("arrays: expected kernels of this network. Received: no array that fits")
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
    """Make batches of training canvases for a warm start."""
    batches, size = CALIBRATION
    made = [canvas(digits, recipe.digits, recipe.seed, index) for index in range(batches * size)]
    images = batch_images(np.stack([one.image for one in made]))
    return np.split(images, batches)


class _Tell(keras.callbacks.Callback):
    """Pass the progress of `fit` to the watcher."""

    def __init__(self, watcher: Watcher, epoch: int) -> None:
        super().__init__()
        self.watcher, self.number = watcher, epoch
        self.logs: dict[str, float] = {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.logs = dict(logs or {})
        if not math.isfinite(self.logs.get("loss", 0.0)):
            raise ValueError(
                f"loss: expected a finite number. Received: {self.logs['loss']} in epoch "
                f"{self.number}, step {batch + 1}; try a smaller learning rate"
            )
        self.watcher.step(self.number, batch + 1, self.logs)


def _split(digits: Digits) -> tuple[Digits, Digits]:
    """Split digits into those for training and every twelfth, held out for validation."""
    held = slice(None, None, 12)
    keep = [index for index in range(len(digits.labels)) if index % 12]
    return (
        digits._replace(images=digits.images[keep], labels=digits.labels[keep]),
        digits._replace(images=digits.images[held], labels=digits.labels[held]),
    )


def _open_run(out: Path, recipe: Recipe, source: str) -> int:
    """Make the folder of a new run, or return the number of finished epochs of an old one."""
    record = out / "recipe.json"
    if not record.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"out: expected a new folder, or the folder of a run. Received: {out}")
        out.mkdir(parents=True, exist_ok=True)
        write_file(record, json.dumps({**asdict(recipe), "source": source}, indent=2) + "\n")
        return 0
    try:
        old = json.loads(record.read_text())
        old_source = old.pop("source")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"out: expected the recipe of a run. Received: {record} ({error})"
        ) from None
    old = {"init": "random", **old}  # Runs older than the field `init` began with random weights.
    new = asdict(recipe)
    if different := [name for name in new if old.get(name) != new[name]]:
        changes = ", ".join(f"{name} {old.get(name)} → {new[name]}" for name in different)
        raise ValueError(
            f"out: expected a new folder, or a run of the same recipe. Received: {out}, a run of "
            f"another recipe ({changes})"
        )
    if old_source.rsplit("/", 1)[-1] != source.rsplit("/", 1)[-1]:
        raise ValueError(
            f"out: expected the digits that {out} began with, {old_source}. Received: {source}"
        )
    rows = read_log(out)
    for done in range(len(rows), 0, -1):
        if _checkpoint(out, done).exists():
            _write_log(out, rows[:done])
            return done
    _write_log(out, [])
    return 0


def _close_epoch(out: Path, model: SSD, epoch: int, row: Mapping[str, float]) -> None:
    """Write the files of a finished epoch; the row in the log comes last and marks it as done.

    If the run stops before that, it repeats the epoch from the checkpoint of the one before.
    """
    unfinished = out / "unfinished.weights.h5"
    model.save_weights(unfinished)  # includes the state of the optimiser
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
