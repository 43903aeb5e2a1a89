"""Read the log of a training run and draw its curves."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_impl._common.charts import finish, new_figure

__all__ = [
    "COLUMNS",
    "draw_runs",
    "read_log",
]

COLUMNS = (
    "epoch",
    "images",
    "loss",
    "class_loss",
    "box_loss",
    "learning_rate",
    "val_map",
    "val_ap50",
    "val_ap75",
    "seconds",
)


def read_log(out: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read a run's log.csv: one row for each finished epoch."""
    path = Path(out) / "log.csv"
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            return [{name: float(row[name]) for name in COLUMNS} for row in csv.DictReader(file)]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"log: expected the rows of a run. Received: {path} ({error})") from None


def draw_curves(rows: list[Mapping[str, float]] | list[dict[str, float]], path: Path) -> None:
    """Draw the losses and the validation's average precision of a run over the images seen."""
    figure, (left, right) = new_figure(2, (9, 3.6))
    seen = [row["images"] / 1000 for row in rows]
    for name in ("loss", "class_loss", "box_loss"):
        left.plot(seen, [row[name] for row in rows], marker=".", label=name.replace("_", " "))
    for name, label in (("val_map", "mAP .50:.95"), ("val_ap50", "AP .50"), ("val_ap75", "AP .75")):
        right.plot(seen, [row[name] for row in rows], marker=".", label=label)
    left.set(title="training loss", xlabel="thousand images", yscale="log")
    right.set(title="validation", xlabel="thousand images", ylim=(0, 1.02))
    for axes in (left, right):
        finish(axes)
    figure.savefig(path, dpi=110)


def draw_runs(runs: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str]) -> None:
    """Draw the loss and the validation of several runs for comparison.

    Args:
        runs: Folders of the runs.
        path: PNG image to write.

    Raises:
        ValueError: No run is given, or a run has no finished epoch.
    """
    if not runs:
        raise ValueError(f"runs: expected the folder of a run. Received: {runs!r}")
    figure, (left, right) = new_figure(2, (9, 3.6))
    for run in runs:
        rows = read_log(run)
        if not rows:
            raise ValueError(f"runs: expected a run with a finished epoch. Received: {run}")
        seen = [row["images"] / 1000 for row in rows]
        for axes, name in ((left, "loss"), (right, "val_map")):
            axes.plot(seen, [row[name] for row in rows], marker=".", label=Path(run).name)
    left.set(title="training loss", xlabel="thousand images", yscale="log")
    right.set(title="validation mAP .50:.95", xlabel="thousand images", ylim=(-0.02, 1.02))
    for axes in (left, right):
        finish(axes)
    figure.savefig(path, dpi=110)


def _main(arguments: Sequence[str] | None = None) -> None:
    """Draw several runs for comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_impl.training.curves",
        description="Draw the loss and the validation of several runs for comparison.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run")
    parser.add_argument("--out", metavar="FILE", required=True, help="image to write, .png")
    options = parser.parse_args(arguments)
    try:
        draw_runs(options.runs, options.out)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    _main()
