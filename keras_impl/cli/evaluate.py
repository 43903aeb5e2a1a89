"""The command `ssd evaluate`."""

from __future__ import annotations

import argparse
import math
from typing import Any

from keras_impl._common.choices import DIGIT_MODES, MOST_IMAGES
from keras_impl.cli.console import Progress, check_json, make_console, make_table, write_json
from keras_impl.cli.inputs import check_weights, digit_detector
from keras_impl.cli.options import (
    add_command,
    add_json,
    add_mnist,
    add_seed,
    add_weights,
    image_count,
)
from keras_impl.cli.startup import need_extra, start_keras, starting
from keras_impl.cli.status import OK

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its options."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure the average precision of a detector",
        description="Measure the average precision of a detector on a data set.",
    )
    sets = evaluate.add_subparsers(title="data sets", metavar="DATA", required=True)
    parser = add_command(
        sets,
        "digits",
        _run,
        "measure the average precision of a digit detector",
        """\
The canvases show test digits of MNIST, which are never trained on. Average
precision (AP) is COCO's: the mean over IoU .50 to .95 (mAP), at .50 and at .75,
and for each digit.""",
        """\
examples:
  ssd evaluate digits              the shipped weights, one digit per canvas
  ssd evaluate digits --digits 1-10 --images 1000 --mnist DIR --json result.json
  ssd evaluate digits --weights runs/one/weights.npz --json - | jq .map""",
    )
    parser.add_argument(
        "--digits",
        choices=DIGIT_MODES[:2],
        default="1",
        help="digits per canvas (%(default)s)",
    )
    parser.add_argument(
        "--images",
        metavar="N",
        type=image_count,
        default=500,
        help=f"number of canvases, at most {MOST_IMAGES:,} (%(default)s)",
    )
    add_seed(parser)
    add_weights(parser)
    add_mnist(parser)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    need_extra()
    check_weights(arguments.weights)
    check_json(arguments.json)
    with Progress(starting(), arguments.images) as progress:
        start_keras()
        import numpy as np

        from keras_impl.data.mnist import load_digits
        from keras_impl.training.evaluation import evaluate_digits
        from reference_numpy.evaluation import THRESHOLDS

        digits = load_digits("test", arguments.mnist, arguments.download)
        weights, model = digit_detector(arguments.weights)
        progress.say("detecting")
        result = evaluate_digits(
            model,
            digits,
            arguments.digits,
            arguments.images,
            arguments.seed,
            advance=progress.advance,
        )
    answer = {
        "map": result.map,
        "ap50": result.ap50,
        "ap75": result.ap75,
        "per_iou": {
            f"{threshold:.2f}": float(np.nanmean(row))
            for threshold, row in zip(THRESHOLDS, result.table, strict=True)
        },
        # A digit that is on no canvas has no average precision.
        "per_class": {
            str(digit): None if math.isnan(value) else value
            for digit, value in enumerate(result.per_class.tolist())
        },
        "images": arguments.images,
        "digits": arguments.digits,
        "seed": arguments.seed,
        "source": digits.source,
        "weights": weights,
    }
    if arguments.json:
        write_json(arguments.json, answer)
    rows = [("mAP .50:.95", result.map), ("AP .50", result.ap50), ("AP .75", result.ap75)]
    rows += [(f"digit {digit}", value) for digit, value in enumerate(result.per_class.tolist())]
    table = make_table(("", None), ("average precision", "right"))
    for index, (name, value) in enumerate(rows):
        text = "on no canvas" if math.isnan(value) else f"{value:.4f}"
        table.add_row(name, text, end_section=index == 2)
    console = make_console(arguments.json)
    table.print(console)
    console.print(
        f"{arguments.images} canvases with {arguments.digits} test "
        f"{'digit' if arguments.digits == '1' else 'digits'} each, seed {arguments.seed}; "
        f"digits: {digits.source}; weights: {weights}"
    )
    return OK
