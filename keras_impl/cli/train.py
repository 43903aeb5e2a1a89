"""`ssd train`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_impl._common.choices import DIGIT_MODES
from keras_impl.cli.console import Progress
from keras_impl.cli.options import (
    add_command,
    add_mnist,
    positive_count,
    positive_number,
    seed_number,
)
from keras_impl.cli.startup import need_extra, need_tensorflow, start_keras
from keras_impl.cli.status import OK
from keras_impl.training.recipe import INITS, Recipe

DEFAULTS = asdict(Recipe())


__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its options."""
    train = commands.add_parser(
        "train", help="train a detector", description="Train a detector on a data set."
    )
    sets = train.add_subparsers(title="data sets", metavar="DATA", required=True)
    parser = add_command(
        sets,
        "digits",
        _run,
        "train a digit detector from scratch",
        """\
Canvases are composed as they are needed, never the same twice. The folder of the run gets
recipe.json, log.csv, loss.png, a checkpoint and weights.npz after every epoch. Stopped at any
time, the same command goes on after the last finished epoch, and ends with the same weights:
the same recipe and seed give the same run on the same machine.""",
        """\
examples:
  ssd train digits --out runs/first --epochs 2 --images 800      about a minute, poor
  ssd train digits --out runs/one --digits 1 --mnist DIR           all of MNIST, one digit each
  ssd train digits --out runs/two --init oidv4                     from the Open Images backbone
  ssd evaluate digits --weights runs/one/weights.npz

without --mnist the digits come from Keras' cache of MNIST, if there is one, or the package's own
sample.""",
    )
    parser.set_defaults(on_interrupt="; the same command goes on after the last finished epoch")
    parser.add_argument("--out", metavar="RUN", required=True, help="folder of the run")
    parser.add_argument(
        "--digits",
        choices=DIGIT_MODES,
        help="digits on a canvas: one of 28 pixels, 1 to 10 of mixed size, or a coin decides",
    )
    for option, kind, text in (
        ("--alpha", positive_number, "width multiplier of the network"),
        ("--epochs", positive_count, "epochs, after each of which there is a validation"),
        ("--images", positive_count, "canvases an epoch, a multiple of the batch"),
        ("--batch", positive_count, "canvases a step"),
        ("--learning-rate", positive_number, "at its height, soon after the start"),
        ("--box-weight", positive_number, "weight of the box loss beside the class loss"),
        ("--validation", positive_count, "canvases looked at after each epoch"),
    ):
        name = option[2:].replace("-", "_")
        parser.add_argument(option, metavar="N", type=kind, help=f"{text} ({DEFAULTS[name]})")
    parser.add_argument(
        "--seed", metavar="N", type=seed_number, help=f"of everything ({DEFAULTS['seed']})"
    )
    parser.add_argument(
        "--init",
        choices=INITS,
        help="weights to begin with: random, or backbone and extra maps of the Open Images "
        "detector, which has --alpha 1 (random)",
    )
    parser.set_defaults(**{**DEFAULTS, "alpha": None})
    add_mnist(parser)


def _run(arguments: argparse.Namespace) -> int:
    need_tensorflow()
    need_extra()
    if arguments.init != "random" and not (Path(arguments.out) / "recipe.json").exists():
        from keras_impl.weights.published import weights_file

        weights_file(arguments.init)  # what is not there is said at once
    start_keras()
    from keras_impl import backends

    backends.make_deterministic()
    from keras_impl.training.curves import read_log
    from keras_impl.training.digits import train_digits

    if arguments.alpha is None:
        arguments.alpha = DEFAULTS["alpha"] if arguments.init == "random" else 1.0
    recipe = Recipe(**{name: getattr(arguments, name) for name in DEFAULTS})
    with Training(arguments.out) as watcher:
        weights = train_digits(
            arguments.out,
            recipe,
            watcher,
            mnist=arguments.mnist,
            download=arguments.download,
        )
    last = read_log(arguments.out)[-1]
    print(f"weights: {weights} (validation mAP {last['val_map']:.4f}, AP50 {last['val_ap50']:.4f})")
    return OK


class Training:
    """Shows a run: a bar of steps with the loss, and a row for each epoch on stdout."""

    def __init__(self, out: str) -> None:
        self.out = out
        self.progress: Progress | None = None
        self.steps = self.epochs = 0

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *reason: object) -> None:
        if self.progress:
            self.progress.__exit__()

    def begin(self, recipe: Recipe, done: int, source: str) -> None:
        """Training starts."""
        self.steps, self.epochs = recipe.images // recipe.batch, recipe.epochs
        if done == recipe.epochs:
            print(f"{self.out} is finished: {done} of {done} epochs; nothing to do")
            return
        print(f"digits: {source}")
        if done:
            print(f"{self.out} goes on after epoch {done} of {recipe.epochs}")
        print(
            f"{'epoch':>9}{'images':>10}{'loss':>9}{'class':>9}{'box':>9}"
            f"{'mAP':>9}{'AP50':>9}{'AP75':>9}{'seconds':>9}",
            flush=True,
        )
        self.progress = Progress("starting", self.steps * recipe.epochs).__enter__()
        self.progress.advance(self.steps * done)

    def step(self, epoch: int, step: int, logs: Mapping[str, float]) -> None:
        """A step is done."""
        if self.progress:
            done = (epoch - 1) * self.steps + step
            text = f"epoch {epoch}, loss {logs.get('loss', math.nan):.3f}, step"
            self.progress.advance(done - self.progress.done, text)

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch is done."""
        name = f"{row['epoch']:g}/{self.epochs}"
        print(
            f"{name:>9}{row['images']:>10g}{row['loss']:>9.4f}{row['class_loss']:>9.4f}"
            f"{row['box_loss']:>9.4f}{row['val_map']:>9.4f}{row['val_ap50']:>9.4f}"
            f"{row['val_ap75']:>9.4f}{row['seconds']:>9.1f}",
            flush=True,
        )
