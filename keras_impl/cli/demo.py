"""The command `ssd demo`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from keras_impl._common.choices import CANVASES, MOST_IMAGES
from keras_impl.cli.console import Progress, Table, check_json, make_console, write_json
from keras_impl.cli.inputs import check_weights, digit_detector
from keras_impl.cli.options import (
    add_command,
    add_json,
    add_mnist,
    add_seed,
    add_weights,
    image_count,
)
from keras_impl.cli.startup import need_extra, need_tensorflow, start_keras
from keras_impl.cli.status import DISAGREES, OK

if TYPE_CHECKING:
    from keras_impl.demo.run import Demo

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "demo",
        _run,
        "detect digits with Keras and with NumPy, and compare",
        """\
Places test digits, unseen in training, on canvases. Keras and the NumPy
reference detect them from the same head outputs, and the results must agree.
Then every operation is compared in every mode, anchor matching is timed, and a
report is written. Nothing is downloaded.""",
        """\
examples:
  ssd demo       writes demo-out/report.html, a page for your browser
  ssd demo --images 16 --seed 7 --json demo.json

exit status 1 if anything disagrees.""",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        default="demo-out",
        help="folder for the report and the images (%(default)s)",
    )
    parser.add_argument(
        "--images",
        metavar="N",
        type=image_count,
        default=CANVASES,
        help=f"number of canvases, at most {MOST_IMAGES:,} (%(default)s)",
    )
    add_seed(parser)
    add_weights(parser)
    add_mnist(parser)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    need_tensorflow()
    need_extra()
    check_weights(arguments.weights)
    check_json(arguments.json)
    with Progress("starting TensorFlow") as progress:
        start_keras()
        from keras_impl.data.mnist import load_digits
        from keras_impl.demo import report, run as demo

        report.check_folder(arguments.out, arguments.images)
        digits = load_digits("test", arguments.mnist, arguments.download)
        weights, model = digit_detector(arguments.weights)
        done = demo.run(
            model,
            digits,
            num_images=arguments.images,
            seed=arguments.seed,
            watch=progress.say,
        )
        done.facts["weights"] = weights
        progress.say("writing the report")
        page = report.write(arguments.out, done, _command("demo", arguments))
    if arguments.json:
        write_json(arguments.json, done.as_json())
    console = make_console(arguments.json)
    _demo_table(done).print(console)
    console.print(report.verdict(done))
    console.print(f"report: {page}", soft_wrap=True)
    return OK if done.passed else DISAGREES


def _command(name: str, arguments: argparse.Namespace) -> str:
    """Return the command that repeats this run."""
    words = ["ssd", name, "--out", arguments.out, "--images", str(arguments.images)]
    words += ["--seed", str(arguments.seed)]
    for option in ("weights", "mnist"):
        if getattr(arguments, option):
            words += [f"--{option}", getattr(arguments, option)]
    return " ".join(words)


def _demo_table(done: Demo) -> Table:
    table = Table([("", None)] * 3, show_header=False)

    def row(name: str, passed: bool | None, text: str) -> None:
        verdict = "" if passed is None else "agrees" if passed else "DISAGREES"
        table.add_row(name, verdict, text, style="bold red" if passed is False else None)

    examples = done.examples
    detections = sum(one.comparison.detections for one in examples)
    row(
        "detections",
        all(one.comparison.passed for one in examples),
        f"{detections} on {len(examples)} canvases",
    )
    row(
        "targets",
        all(one.assignment.equal for one in examples),
        f"{sum(int((one.assignment.objects >= 0).sum()) for one in examples)} positive anchors "
        f"for {sum(len(one.truth) for one in examples)} digits",
    )
    row("parity", done.parity.passed, f"{len(done.parity.checks)} checks")
    row(
        "matching",
        not any(timing.mismatches for timing in done.timings),
        f"{len(done.timings)} results checked, then timed",
    )
    for name in dict.fromkeys(timing.implementation for timing in done.timings):
        best = max(one.pairs_per_second for one in done.timings if one.implementation == name)
        row(f"  {name}", None, f"up to {best / 1e6:.3g} million anchor-object pairs per second")
    found = sum(one.hits for one in examples)
    row("quality", None, f"{found} of {sum(len(one.truth) for one in examples)} digits found")
    return table
