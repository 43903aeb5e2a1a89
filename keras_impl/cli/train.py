"""The command `ssd train`."""

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
        "train a digit detector",
        """\
Trains on canvases that are composed as needed; none comes twice. After every
epoch the folder of the run holds recipe.json, log.csv, loss.png, a checkpoint
and weights.npz. You may stop at any time: the same command continues after the
last finished epoch and ends with the same weights. The same recipe and seed
give the same run on the same machine.""",
        """\
examples:
  ssd train digits --out runs/first --epochs 2 --images 800
                              about a minute; the detector is poor
  ssd train digits --out runs/one --digits 1 --mnist DIR
                              all of MNIST, one digit per canvas
  ssd train digits --out runs/two --init oidv4
                              start from the weights of oidv4
  ssd evaluate digits --weights runs/one/weights.npz

Without --mnist the digits come from Keras' cache of MNIST or, if there is none,
from the sample in this package.""",
    )
    parser.set_defaults(on_interrupt="; the same command continues after the last finished epoch")
    parser.add_argument("--out", metavar="RUN", required=True, help="folder of the run")
    parser.add_argument(
        "--digits",
        choices=DIGIT_MODES,
        help="digits per canvas: 1 (of 28 pixels), 1-10 (of mixed size), or both, chosen at "
        f"random for each canvas ({DEFAULTS['digits']})",
    )
    for option, kind, text in (
        ("--alpha", positive_number, "width multiplier of the network"),
        ("--epochs", positive_count, "epochs; each ends with a validation"),
        ("--images", positive_count, "canvases per epoch, a multiple of the batch"),
        ("--batch", positive_count, "canvases per step"),
        ("--learning-rate", positive_number, "largest learning rate, soon after the start"),
        ("--box-weight", positive_number, "weight of the box loss; the class loss has 1"),
        ("--validation", positive_count, "canvases for the validation after each epoch"),
    ):
        name = option[2:].replace("-", "_")
        parser.add_argument(option, metavar="N", type=kind, help=f"{text} ({DEFAULTS[name]})")
    parser.add_argument(
        "--seed",
        metavar="N",
        type=seed_number,
        help=f"seed of the initial weights and the canvases ({DEFAULTS['seed']})",
    )
    parser.add_argument(
        "--init",
        choices=INITS,
        help="initial weights: random, or oidv4 for its backbone and extra maps, which need "
        "--alpha 1 (random)",
    )
    parser.set_defaults(**{**DEFAULTS, "alpha": None})
    add_mnist(parser)


def _run(arguments: argparse.Namespace) -> int:
    need_tensorflow()
    need_extra()
    if arguments.init != "random" and not (Path(arguments.out) / "recipe.json").exists():
        from keras_impl.weights.published import weights_file

        weights_file(arguments.init)  # A missing file is reported before TensorFlow starts.
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
    print(f"validation: mAP {last['val_map']:.4f}, AP50 {last['val_ap50']:.4f}")
    print(f"weights: {weights}")
    return OK


class Training:
    """Show a training run: a progress bar with the loss, and a row for each epoch on stdout."""

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
        """Print the state of the run and the head of the table."""
        self.steps, self.epochs = recipe.images // recipe.batch, recipe.epochs
        if done == recipe.epochs:
            print(f"{self.out} is finished: all {done} epochs are done")
            return
        print(f"digits: {source}")
        if done:
            print(f"{self.out} continues after epoch {done} of {recipe.epochs}")
        print(
            f"{'epoch':>7}{'images':>10}{'loss':>9}{'class':>9}{'box':>9}"
            f"{'mAP':>9}{'AP50':>9}{'AP75':>9}{'seconds':>9}",
            flush=True,
        )
        self.progress = Progress("starting", self.steps * recipe.epochs).__enter__()
        self.progress.advance(self.steps * done)

    def step(self, epoch: int, step: int, logs: Mapping[str, float]) -> None:
        """Advance the progress bar after a step."""
        if self.progress:
            done = (epoch - 1) * self.steps + step
            text = f"epoch {epoch}, loss {logs.get('loss', math.nan):.3f}, step"
            self.progress.advance(done - self.progress.done, text)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Print the row of a finished epoch."""
        name = f"{row['epoch']:g}/{self.epochs}"
        print(
            f"{name:>7}{row['images']:>10g}{row['loss']:>9.4f}{row['class_loss']:>9.4f}"
            f"{row['box_loss']:>9.4f}{row['val_map']:>9.4f}{row['val_ap50']:>9.4f}"
            f"{row['val_ap75']:>9.4f}{row['seconds']:>9.1f}",
            flush=True,
        )
