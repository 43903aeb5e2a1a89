"""The command `ssd`, the same as `python -m keras_impl`: it parses, calls and shows.

Only the standard library and the conventions, which are data, are imported at the top, so that
`ssd --help` is quick and works where the extra `mobilenetv2-ssd[keras]` is not installed. Answers
go to stdout; progress, warnings and errors to stderr. Exit status: 0 done, 1 done but something
disagrees or could not be read, 2 a mistake of the user's, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import logging
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from reference_numpy.conventions import PRESETS, presets

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from keras_impl.benchmark.runner import Record
    from keras_impl.conformance.suite import Check
    from keras_impl.demo.run import Demo
    from keras_impl.models.ssd import SSD
    from keras_impl.parity.drift import Change, Record as DriftRecord
    from keras_impl.training.digits import Recipe

__all__ = ["main"]

# What mobilenetv2-ssd[keras] brings beside the backend of Keras, and what is needed of it where
# NumPy or LiteRT computes.
EXTRA = ("keras", "PIL", "matplotlib", "rich")
READER = ("PIL", "rich")
LITERT = "ai_edge_litert"
# The extra that brings a backend of Keras, and the backend's name.
FRAMEWORKS = {
    "tensorflow": ("keras", "TensorFlow"),
    "jax": ("jax", "JAX"),
    "torch": ("torch", "PyTorch"),
}

OK, DISAGREES, MISTAKE, INTERRUPTED = 0, 1, 2, 130

MODES = ("1", "1-10")
# Of training.Recipe, which cannot be imported for a help text; a test compares the two.
RECIPE: dict[str, Any] = {
    "digits": "both",
    "alpha": 0.35,
    "epochs": 10,
    "pictures": 4000,
    "batch": 16,
    "learning_rate": 2e-3,
    "box_weight": 4.0,
    "validation": 200,
    "seed": 0,
    "init": "random",
}
INITS = ("random", "oidv4")
# Of prediction, weights and runtimes, likewise.
BACKENDS = ("keras", "numpy", "litert")
MODELS = ("digits", "oidv4")
FORMATS = ("saved_model", "litert", "onnx")
BEAT = 15.0  # seconds between lines of progress where there is no terminal
CHUNK = 16, 40_000_000  # pictures, and pixels, that `detect` holds at once


class UsageError(Exception):
    """The user's; the message says what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        The exit status.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        ssd ...
        0
    """
    for stream in (sys.stdout, sys.stderr):
        # A name of a file, or a sign that this terminal has not, must not end a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    hint = ""
    try:
        try:
            arguments = _parser().parse_args(argv)
            hint = arguments.on_interrupt
            status = int(arguments.run(arguments))
        except SystemExit as stop:  # argparse: a help text, or a mistake that it has shown
            status = int(stop.code or OK)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"\nssd: interrupted{hint}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the answer has seen enough; Python must not complain at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DISAGREES
    except (UsageError, ValueError, OSError) as error:
        if os.environ.get("SSD_DEBUG"):
            raise
        print(f"ssd: error: {' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE


# --- Options ------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line, where argparse would print all options first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )

    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, f"ssd: error: {message} (`{self.prog} --help` explains)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ssd",
        description="SSD on MobileNetV2: a Keras detector and the NumPy reference it is held to.",
        epilog="""\
begin with:
  ssd demo                        detect digits with both, compare, write demo-out/report.html
  ssd weights oidv4               fetch a detector of 23 everyday things (10 MB), then
  ssd detect photo.jpg --model oidv4 --out found

exit status: 0 done; 1 done, but something disagrees or could not be read; 2 a mistake in the
command; 130 interrupted. SSD_DEBUG=1 shows where an error comes from.""",
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.set_defaults(run=None, on_interrupt="")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_detect(commands)
    _add_weights_command(commands)
    _add_export(commands)
    _add_parity(commands)
    _add_bench(commands)
    _add_conventions(commands)
    return parser


def _add(
    commands: Any, name: str, run: Callable[..., int], brief: str, text: str, examples: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=brief,
        description=f"{brief[0].upper()}{brief[1:]}.\n\n{text}",
        epilog=examples,
    )
    parser.set_defaults(run=run)
    return parser


def _add_demo(commands: Any) -> None:
    parser = _add(
        commands,
        "demo",
        _demo,
        "detect digits with Keras and with the reference, and compare",
        """\
Composes canvases of test digits that training never saw, detects them with Keras and with the
NumPy reference from the same outputs of one network, checks that the two agree, compares every
operation in every mode, times anchor matching, and writes a report. Nothing is downloaded.""",
        """\
examples:
  ssd demo                        writes demo-out/report.html; open it in a browser
  ssd demo --pictures 16 --seed 7 --json demo.json

exit status 1 if anything disagrees.""",
    )
    parser.add_argument(
        "--out", metavar="DIR", default="demo-out", help="folder for the report (%(default)s)"
    )
    parser.add_argument(
        "--pictures", metavar="N", type=_count, default=8, help="canvases (%(default)s)"
    )
    _add_seed(parser)
    _add_weights(parser)
    _add_mnist(parser)
    _add_json(parser)


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train", help="train a detector", description="Train a detector on a data set."
    )
    sets = train.add_subparsers(title="data sets", metavar="DATA", required=True)
    parser = _add(
        sets,
        "digits",
        _train,
        "train a digit detector from scratch",
        """\
Canvases are composed as they are needed, never the same twice. The folder of the run gets
recipe.json, log.csv, loss.png, a checkpoint and weights.npz after every epoch. Stopped at any
time, the same command goes on after the last finished epoch, and ends with the same weights:
the same recipe and seed give the same run on the same machine.""",
        """\
examples:
  ssd train digits --out runs/first --epochs 2 --pictures 800      about a minute, poor
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
        choices=(*MODES, "both"),
        help="digits on a canvas: one of 28 pixels, 1 to 10 of mixed size, or a coin decides",
    )
    for option, kind, text in (
        ("--alpha", _number, "width multiplier of the network"),
        ("--epochs", _count, "epochs, after each of which there is a validation"),
        ("--pictures", _count, "canvases an epoch, a multiple of the batch"),
        ("--batch", _count, "canvases a step"),
        ("--learning-rate", _number, "at its height, soon after the start"),
        ("--box-weight", _number, "weight of the box loss beside the class loss"),
        ("--validation", _count, "canvases looked at after each epoch"),
    ):
        name = option[2:].replace("-", "_")
        parser.add_argument(option, metavar="N", type=kind, help=f"{text} ({RECIPE[name]})")
    parser.add_argument("--seed", metavar="N", type=_seed, help=f"of everything ({RECIPE['seed']})")
    parser.add_argument(
        "--init",
        choices=INITS,
        help="weights to begin with: random, or backbone and extra maps of the Open Images "
        "detector, which has --alpha 1 (random)",
    )
    parser.set_defaults(**{**RECIPE, "alpha": None})
    _add_mnist(parser)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="measure a detector", description="Measure a detector on a data set."
    )
    sets = evaluate.add_subparsers(title="data sets", metavar="DATA", required=True)
    parser = _add(
        sets,
        "digits",
        _evaluate,
        "measure a digit detector on test digits",
        """\
Canvases are composed of MNIST's test digits, on which nothing is ever trained. Average precision
is COCO's: map over IoU .50 to .95, ap50, ap75, and of each digit.""",
        """\
examples:
  ssd evaluate digits                                   the shipped weights, one digit a canvas
  ssd evaluate digits --digits 1-10 --pictures 1000 --mnist DIR --json result.json
  ssd evaluate digits --weights runs/one/weights.npz --json - | jq .map""",
    )
    parser.add_argument(
        "--digits", choices=MODES, default="1", help="digits on a canvas (%(default)s)"
    )
    parser.add_argument(
        "--pictures", metavar="N", type=_count, default=500, help="canvases (%(default)s)"
    )
    _add_seed(parser)
    _add_weights(parser)
    _add_mnist(parser)
    _add_json(parser)


def _add_detect(commands: Any) -> None:
    parser = _add(
        commands,
        "detect",
        _detect,
        "detect in pictures of your own",
        """\
Each picture is written to the output folder as PNG, with boxes, classes and confidences; small
pictures are drawn larger. Pictures of yours are never overwritten. The shipped detector knows white
digits on black; oidv4, which `ssd weights oidv4` fetches, people, cats, cups, cars and 19 other
things. A picture that cannot be read is reported, and the others go on.""",
        """\
examples:
  ssd detect photo.jpg --model oidv4 --out found
  ssd detect photos/ more/cat.png --model oidv4 --out found --score 0.3 --json found.json
  ssd detect photo.jpg --model oidv4 --out found --backend numpy     without TensorFlow
  ssd detect demo-out --out found                                    digits

the JSON: [{"file", "width", "height", "detections": [{"label", "score",
"box": [xmin, ymin, xmax, ymax] in pixels}]}]; exit status 1 if a picture could not be read.""",
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a picture, or a folder of them")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the pictures")
    parser.add_argument(
        "--score",
        metavar="S",
        type=_share,
        default=0.5,
        help="least confidence, 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="keras",
        help="who computes: Keras; the NumPy reference, from first convolution to last box; "
        "or LiteRT, which only oidv4 has, with the reference's decoding (%(default)s)",
    )
    _add_model(parser)
    _add_json(parser)


def _add_weights_command(commands: Any) -> None:
    parser = _add(
        commands,
        "weights",
        _weights,
        "fetch the weights of a published detector",
        """\
oidv4 is MediaPipe's SSD MobileNetV2 (Apache-2.0): 300 x 300 pixels, 23 things of Open Images. The
file is kept in Keras' cache (~/.keras/models, or below KERAS_HOME), as it is and as a weights file
of this program. It is taken only if its SHA-256 is the known one.""",
        """\
examples:
  ssd weights oidv4
  ssd weights oidv4 --file object_detection_ssd_mobilenetv2_oidv4_fp16.tflite

where only npm can be reached, the same file lies in one of its packages:
  npm pack @mediapipe/objectron@0.4.1675468480
  tar -xzf mediapipe-objectron-0.4.1675468480.tgz
  tail -c +185 package/objectron_solution_packed_assets.data | head -c 9987728 > oidv4.tflite
  ssd weights oidv4 --file oidv4.tflite""",
    )
    parser.add_argument("name", metavar="NAME", choices=("oidv4",), help="oidv4")
    parser.add_argument("--file", metavar="FILE", help="a copy of the file, instead of a download")


def _add_export(commands: Any) -> None:
    parser = _add(
        commands,
        "export",
        _export,
        "write a detector for SavedModel, LiteRT or ONNX",
        """\
The network takes prepared pictures, RGB in [-1, 1], and gives what its heads say: deltas and
logits. A JSON file beside it holds what decoding takes: the anchors, the convention, the names of
the classes. With --detections decoding and suppression are part of the graph, of plain operations
only. What was written is loaded by its own runtime and compared with Keras before it counts.""",
        """\
examples:
  ssd export --model oidv4 --format litert --out oidv4.tflite
  ssd export --model oidv4 --format onnx --out oidv4.onnx --detections --score 0.3 --check cat.jpg
  ssd export --weights runs/first/weights.npz --format saved_model --out saved

ONNX needs pip install "mobilenetv2-ssd[keras,export]".""",
    )
    parser.add_argument("--format", choices=FORMATS, required=True, help="what to write")
    parser.add_argument(
        "--out", metavar="PATH", required=True, help="file (.tflite, .onnx) or folder to write"
    )
    parser.add_argument(
        "--detections", action="store_true", help="boxes, scores and labels instead of raw heads"
    )
    parser.add_argument(
        "--score",
        metavar="S",
        type=_share,
        default=0.5,
        help="least confidence with --detections, 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--check", metavar="PHOTO", help="compare with Keras on this photograph too"
    )
    _add_model(parser)


def _add_parity(commands: Any) -> None:
    parser = _add(
        commands,
        "parity",
        _parity,
        "compare every operation with the reference on this machine",
        """\
Runs each operation eagerly, as a graph, and under XLA, as users run it and with fusing off. What
is decided must be equal; what is computed must lie within a derived budget, in eps of the dtype
times the largest intermediate. Near-ties that XLA decides otherwise are counted as excused, each
with a proof, and none is allowed without fusing.

A small network is judged layer by layer too, in float32 and in mixed precision (bfloat16), and the
targets, loss and detections made of it. --against shows all errors beside those on record, and
names what has drifted: more than twice what it was, and more than half of the budget or 4 eps.

With --photos the whole of oidv4 instead, from pixels to boxes, by Keras, NumPy and LiteRT. With
--trace every layer of it by itself, and the first that departs by name.""",
        """\
examples:
  ssd parity
  ssd parity --cases 400 --seed 1 --json parity.json
  ssd parity --op network                 the network alone
  ssd parity --against docs/error-budgets.json    the worst errors beside those on record
  ssd parity --convention torchvision_ssd300      Keras as torchvision does it; ssd conventions
  ssd parity --op match --op nms --mode xla
  ssd parity --photos                     on the photographs of scikit-image and scikit-learn
  ssd parity --photos holiday/            on yours
  ssd parity --trace photo.jpg

exit status 1 if a check failed, or with --strict if an error has drifted.""",
    )
    parser.add_argument("--cases", metavar="N", type=_count, help="random cases (40)")
    parser.add_argument(
        "--mode",
        dest="modes",
        action="append",
        choices=("eager", "graph", "xla", "xla-nofuse", "jit", "jit-nofuse", "host"),
        help="only this one; may be given several times; which there are depends on KERAS_BACKEND",
    )
    parser.add_argument(
        "--op", dest="ops", metavar="NAME", action="append", help="only this operation; likewise"
    )
    parser.add_argument(
        "--against", metavar="FILE", help="show the errors beside those on record in this file"
    )
    parser.add_argument(
        "--strict", action="store_true", help="with --against: fail where an error has drifted"
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="put the errors on record in this file, and say what changed",
    )
    parser.add_argument(
        "--convention",
        metavar="NAME",
        choices=tuple(PRESETS),
        help=f"what both sides follow (canonical): one of {', '.join(PRESETS)}",
    )
    pixels = parser.add_mutually_exclusive_group()
    pixels.add_argument(
        "--photos",
        metavar="IMAGE",
        nargs="*",
        help="compare whole detectors on photographs, or folders of them",
    )
    pixels.add_argument("--trace", metavar="IMAGE", help="compare layer by layer on a photograph")
    parser.add_argument("--seed", metavar="N", type=_seed, help="another one, other cases (0)")
    _add_json(parser)


def _add_bench(commands: Any) -> None:
    parser = _add(
        commands,
        "bench",
        _bench,
        "time matching, decoding and training beside other people's SSDs",
        """\
Times target assignment and detection on the host, as a graph and under XLA, beside the peers that
are installed, on the same numbers, each in a process of its own; then the network and a training
step. What is ours is compared with the NumPy reference before it is timed. Peak memory is that of
one call beyond its inputs and outputs. A load is pictures x objects x anchors. Leave the machine
alone meanwhile: at most 20 minutes, 3 with --quick.""",
        """\
examples:
  ssd bench --quick
  ssd bench --html bench.html --json bench.json
  ssd bench --quick --json - | jq '.[] | select(.exact == null)'
  ssd bench --device gpu                  Keras' graphs on the accelerator that TensorFlow sees

the peers: pip install "mobilenetv2-ssd[keras,bench-peers]"; without them there are no ratios.
photographs: ssd weights oidv4 fetches the detector whose heads are read.
the JSON: [{"operation", "implementation", "mode", "device", "load", "median_ms", "iqr_ms",
"ratio_to_fastest_peer", "peak_extra_bytes", "exact"}]; exact is null for peers.

exit status 1 if a result was wrong or something did not run, not if a target is missed.""",
    )
    parser.add_argument("--quick", action="store_true", help="fewer loads and rounds, 3 minutes")
    parser.add_argument("--html", metavar="FILE", help="also write a page with curves here")
    parser.add_argument(
        "--device",
        choices=("cpu", "gpu"),
        default="cpu",
        help="where Keras' graphs run (%(default)s)",
    )
    _add_json(parser)


def _add_conventions(commands: Any) -> None:
    parser = _add(
        commands,
        "conventions",
        _conventions,
        "what known SSDs do differently, by name",
        """\
Without a name, the systems whose answers to the questions of an SSD are known here. With one, its
answers: where boxes are, which object an anchor answers for, how a box is coded, which negatives
count, what a detection is; and where it differs from canonical.""",
        """\
examples:
  ssd conventions
  ssd conventions caffe
  ssd conventions torchvision_ssd300 --differences
  ssd conventions paz --json paz.json""",
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", choices=tuple(PRESETS), help=", ".join(PRESETS)
    )
    parser.add_argument(
        "--differences", action="store_true", help="only where it differs from canonical"
    )
    _add_json(parser)


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", metavar="N", type=_seed, default=0, help="another one, other cases (%(default)s)"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="also write the answer here; - is stdout")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", metavar="FILE", help="a run's weights.npz (the shipped ones)")


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--model",
        choices=MODELS,
        default="digits",
        help="the shipped detector of digits, or the one of 23 everyday things (%(default)s)",
    )
    group.add_argument(
        "--weights", metavar="FILE", help="one that you trained: a run's weights.npz"
    )


def _add_mnist(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--mnist", metavar="DIR", help="folder of MNIST's IDX files")
    group.add_argument(
        "--download", action="store_true", help="let Keras download MNIST if it is not in its cache"
    )


def _count(text: str) -> int:
    return _at_least(text, 1)


def _seed(text: str) -> int:
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    if text.isdecimal() and int(text) >= least:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number, {least} or more. Received: {text}")


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0. Received: {text}")
    return number


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1. Received: {text}")
    return number


def _version() -> str:
    def of(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "(not installed)"

    packages = ("numpy", "bottleneck", "keras", os.environ.get("KERAS_BACKEND") or "tensorflow")
    others = ", ".join(f"{name} {of(name)}" for name in packages)
    return f"ssd {of('mobilenetv2-ssd')} (Python {platform.python_version()}, {others})"


# --- Commands -----------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> int:
    _need_tensorflow()
    _need_extra()
    _check_weights(arguments.weights)
    _check_json(arguments.json)
    with _Progress("starting TensorFlow") as progress:
        _start_keras()
        from keras_impl.data.mnist import load_digits
        from keras_impl.demo import report, run as demo

        report.check_folder(arguments.out, arguments.pictures)
        digits = load_digits("test", arguments.mnist, arguments.download)
        weights, model = _digit_detector(arguments.weights)
        done = demo.run(
            model,
            digits,
            pictures=arguments.pictures,
            seed=arguments.seed,
            watch=progress.say,
        )
        done.facts["weights"] = weights
        progress.say("writing the report")
        page = report.write(arguments.out, done, _command("demo", arguments))
    if arguments.json:
        _write_json(arguments.json, done.as_json())
    console = _console(arguments.json)
    console.print(_demo_table(done))
    console.print(report.verdict(done), soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True)
    return OK if done.passed else DISAGREES


def _train(arguments: argparse.Namespace) -> int:
    _need_tensorflow()
    _need_extra()
    if arguments.init != "random" and not (Path(arguments.out) / "recipe.json").exists():
        from keras_impl.weights.npz import weights_file

        weights_file(arguments.init)  # what is not there is said at once
    _start_keras()
    from keras_impl import backends

    backends.make_deterministic()
    from keras_impl.training.digits import Recipe, read_log, train_digits

    if arguments.alpha is None:
        arguments.alpha = RECIPE["alpha"] if arguments.init == "random" else 1.0
    recipe = Recipe(**{name: getattr(arguments, name) for name in RECIPE})
    with _Training(arguments.out) as watcher:
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


def _evaluate(arguments: argparse.Namespace) -> int:
    _need_extra()
    _check_weights(arguments.weights)
    _check_json(arguments.json)
    with _Progress(_starting(), arguments.pictures) as progress:
        _start_keras()
        import numpy as np

        from keras_impl.data.mnist import load_digits
        from keras_impl.training.evaluation import evaluate_digits
        from reference_numpy.evaluation import THRESHOLDS

        digits = load_digits("test", arguments.mnist, arguments.download)
        weights, model = _digit_detector(arguments.weights)
        progress.say("detecting")
        result = evaluate_digits(
            model,
            digits,
            arguments.digits,
            arguments.pictures,
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
        # A digit that is on no canvas has no precision.
        "per_class": {
            str(digit): None if math.isnan(value) else value
            for digit, value in enumerate(result.per_class.tolist())
        },
        "pictures": arguments.pictures,
        "digits": arguments.digits,
        "seed": arguments.seed,
        "source": digits.source,
        "weights": weights,
    }
    if arguments.json:
        _write_json(arguments.json, answer)
    rows = [("mAP .50:.95", result.map), ("AP .50", result.ap50), ("AP .75", result.ap75)]
    rows += [(f"digit {digit}", value) for digit, value in enumerate(result.per_class.tolist())]
    table = _table(("", None), ("average precision", "right"))
    for index, (name, value) in enumerate(rows):
        text = "on no canvas" if math.isnan(value) else f"{value:.4f}"
        table.add_row(name, text, end_section=index == 2)
    console = _console(arguments.json)
    console.print(table)
    console.print(
        f"{arguments.pictures} canvases with {arguments.digits} test "
        f"{'digit' if arguments.digits == '1' else 'digits'} each, seed {arguments.seed}; "
        f"digits: {digits.source}; weights: {weights}",
        soft_wrap=True,
    )
    return OK


def _detect(arguments: argparse.Namespace) -> int:
    backend = arguments.backend
    _need_extra(*({"numpy": READER, "litert": (*READER, LITERT)}.get(backend, ())))
    model = _check_model(arguments)
    _check_json(arguments.json)
    from keras_impl.detector import detector as prediction

    files = _find_pictures(arguments.images)
    out = Path(arguments.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: expected a folder. Received: {out}, which is a file")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK | os.X_OK):
        raise UsageError(f"--out: expected a folder that can be written to. Received: {out}")
    _check_json(arguments.json)  # again: it may name the folder that was just made

    entries: list[dict[str, Any]] = []
    taken: set[str] = set()
    failed = 0
    table = _table(("picture", None), ("drawn", None), ("detections", None))
    with _Progress("starting", len(files)) as progress:
        if backend == "keras":
            progress.say(_starting())
            _start_keras()
        with _quiet_litert(backend == "litert"):
            detector = prediction.load_detector(model, backend)
        names = detector.names
        progress.say("detecting")

        def unreadable(path: Path, error: Exception) -> None:
            nonlocal failed
            failed += 1
            progress.print(f"ssd: skipped: {' '.join(str(error).split())}")
            progress.advance(1)

        for chunk in _chunks(files, prediction.open_picture, unreadable):
            pictures = [picture for _, picture in chunk]
            found = detector.detect(pictures, score=arguments.score)
            for (path, picture), seen in zip(chunk, found, strict=True):
                target = prediction.free_name(out, path, taken)
                taken.add(target.name.lower())
                prediction.save_drawn(target, detector.draw(picture, seen), path)
                entries.append(prediction.entry(str(path), picture.size, seen, names))
                words = [f"{names[one.label]} ({one.score:.2f})" for one in seen]
                table.add_row(str(path), str(target), ", ".join(words) or "nothing")
                progress.advance(1)
    if arguments.json:
        _write_json(arguments.json, entries)
    if entries:
        _console(arguments.json).print(table)
    if failed:
        print(f"ssd: {failed} of {len(files)} pictures could not be read", file=sys.stderr)
    return DISAGREES if failed else OK


def _weights(arguments: argparse.Namespace) -> int:
    _need_extra("rich", LITERT)
    if arguments.file is not None and not Path(arguments.file).is_file():
        raise UsageError(f"--file: expected a file. Received: {arguments.file}")
    from keras_impl.weights import npz as weights

    published = weights.OIDV4
    with _Progress(f"bytes of {arguments.name}", published.size) as progress:
        try:
            with _quiet_litert():
                written = weights.install(published, arguments.file, progress.advance)
        except ConnectionError as error:
            raise UsageError(f"{error}; `ssd weights --help` tells another way to it") from None
    print(f"{arguments.name}: {published.size:,} bytes, SHA-256 {published.sha256}")
    print(f"licence: {published.licence}; from {published.url}")
    print(f"weights: {written}")
    print(f"labels: {', '.join(published.classes)}")
    return OK


def _export(arguments: argparse.Namespace) -> int:
    _need_tensorflow()
    _need_extra()
    name = _check_model(arguments)
    from keras_impl.detector import detector as prediction, runtimes
    from keras_impl.weights import npz as weights

    with _as_options(form="--format", path="--out"):
        runtimes.check_target(arguments.out, arguments.format)
    picture = None if arguments.check is None else prediction.open_picture(arguments.check)
    with _Progress("starting TensorFlow") as progress:
        _start_keras()
        from keras_impl.detector import exporting as export

        model = weights.load_model(weights.weights_file(name) if name in MODELS else name)
        progress.say(f"exporting to {arguments.format}")
        with _quiet_litert(), _as_options(form="--format", path="--out"):
            done = export.export(
                model,
                arguments.out,
                arguments.format,
                detections=arguments.detections,
                score=arguments.score,
                images=None
                if picture is None
                else prediction.prepare(picture, model.layout.image_size)[None],
            )
    close = f"at most {done.difference:.2g} from Keras"
    if done.compared is None:
        print(f"{done.path}: raw heads; read back by its own runtime, {close}")
    else:
        print(
            f"{done.path}: detections above {arguments.score:g}; read back by its own runtime, "
            f"{done.compared} compared, {close}"
        )
        if not done.compared:
            print("there was nothing to detect in what was tried: --check PHOTO tries one of yours")
    print(f"{runtimes.facts_file(done.path)}: input, outputs, classes, convention")
    return OK


@contextmanager
def _as_options(**options: str) -> Iterator[None]:
    """Errors of functions name their arguments; the user gave options."""
    try:
        yield
    except (ValueError, ModuleNotFoundError) as error:
        argument, colon, rest = str(error).partition(": ")
        if colon and argument in options:
            raise UsageError(f"{options[argument]}: {rest}") from None
        raise


def _photos(arguments: argparse.Namespace) -> int:
    """Whole detectors on photographs."""
    _need_extra(_framework(), *EXTRA, LITERT)
    _check_json(arguments.json)
    from keras_impl.data import photographs
    from keras_impl.detector import comparison, detector as prediction
    from keras_impl.parity import pixels as pixel_parity
    from keras_impl.weights import npz as weights

    try:
        files = _find_pictures(arguments.photos) or photographs.sample_photographs()
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from None
    checks: list[pixel_parity.PhotoCheck] = []
    failed = 0
    with _Progress(_starting(), len(files)) as progress:
        weights.weights_file("oidv4")
        _start_keras()
        with _quiet_litert():
            detectors = {name: prediction.load_detector("oidv4", name) for name in BACKENDS}
        for path in files:
            progress.say(path.name)
            try:
                checks += pixel_parity.compare_photographs([path], detectors)
            except (ValueError, OSError) as error:
                failed += 1
                progress.print(f"ssd: skipped: {' '.join(str(error).split())}")
            progress.advance(1)
    if arguments.json:
        answer = [{**asdict(check), "passed": check.passed} for check in checks]
        _write_json(arguments.json, answer)
    table = _table(
        ("photograph", None),
        ("implementations", None),
        ("deltas", "right"),
        ("logits", "right"),
        ("detections", "right"),
        ("alone", "right"),
        ("disorder", "right"),
        ("pixels", "right"),
        ("score", "right"),
        ("verdict", None),
    )
    for check in checks:
        table.add_row(
            os.path.basename(check.photo),
            f"{check.one}, {check.other}",
            f"{check.deltas:.1e}",
            f"{check.logits:.1e}",
            str(check.detections),
            str(check.alone),
            str(check.disorder),
            f"{check.pixels:.1e}",
            f"{check.score:.1e}",
            "passed" if check.passed else "FAILED",
            style=None if check.passed else "bold red",
        )
    console = _console(arguments.json)
    console.print(table)
    if failed:
        print(f"ssd: {failed} of {len(files)} pictures could not be read", file=sys.stderr)
    if not checks:
        return DISAGREES
    worst = [max(getattr(check, name) for check in checks) for name in ("deltas", "logits")]
    console.print(
        f"{len(files) - failed} photographs, scores above {pixel_parity.SHOWN}; asked: heads "
        f"within {pixel_parity.RAW:g} (worst {worst[0]:.1e}, {worst[1]:.1e}), corners within "
        f"{comparison.PIXELS} pixels, scores within {comparison.SCORE:g}",
        soft_wrap=True,
    )
    wrong = sum(not check.passed for check in checks)
    names = "Keras, NumPy and LiteRT"
    if wrong:
        console.print(f"{names} DISAGREE: {wrong} of {len(checks)} comparisons failed")
    else:
        console.print(f"{names} agree, from pixels to boxes: {len(checks)} comparisons")
    return DISAGREES if wrong or failed else OK


def _trace(arguments: argparse.Namespace) -> int:
    """Layer by layer."""
    _need_extra(_framework(), *EXTRA, LITERT)
    _check_json(arguments.json)
    from keras_impl.detector import detector as prediction
    from keras_impl.weights import npz as weights

    path = weights.weights_file("oidv4")
    image = prediction.prepare(prediction.open_picture(arguments.trace), (300, 300))
    with _Progress(_starting()) as progress:
        _start_keras()
        from keras_impl.detector import runtimes
        from keras_impl.parity import pixels as pixel_parity

        with _quiet_litert():
            litert = runtimes.LiteRT(weights.read_published(), keep=True)
        checks = pixel_parity.trace(image, weights.load_model(path), litert, progress.say)
    if arguments.json:
        _write_json(arguments.json, [check.as_json() for check in checks])
    table = _table(
        ("layer", None),
        ("map", "right"),
        ("largest", "right"),
        *((f"{who} off", "right") for who in ("keras", "litert")),
        *((f"{who} own", "right") for who in ("numpy", "keras", "litert")),
    )
    rows: dict[str, dict[str, Any]] = {}
    for check in checks:
        rows.setdefault(check.layer, {})[check.who] = check
    for layer, row in rows.items():
        table.add_row(
            layer if "_" in layer or layer == "Conv1" else f"all {layer}",
            " x ".join(map(str, row["numpy"].shape)),
            f"{row['numpy'].largest:.1f}",
            *(f"{row[who].difference:.1e}" for who in ("keras", "litert")),
            *(f"{row[who].share:.3f}" for who in ("numpy", "keras", "litert")),
            style="bold red" if any(check.departs for check in row.values()) else None,
        )
    console = _console(arguments.json)
    console.print(table)
    console.print(
        "off: largest absolute difference of the map to NumPy's, with the errors of all layers "
        "before; own: error of the layer itself, from its own input, over rounding's bound",
        soft_wrap=True,
    )
    departed = [check for check in checks if check.departs]
    if departed:
        first = departed[0]
        console.print(
            f"{first.layer} is the first layer that DEPARTS: in {first.who}, "
            f"{first.share:.3g} times what rounding explains",
            soft_wrap=True,
        )
        return DISAGREES
    console.print(
        f"no layer departs: {len(rows) - 2} layers and the order of the anchors, in NumPy, in "
        "Keras and in LiteRT's own kernels (--photos runs XNNPACK's)",
        soft_wrap=True,
    )
    return OK


def _parity(arguments: argparse.Namespace) -> int:
    if arguments.trace is not None or arguments.photos is not None:
        option = "--photos" if arguments.trace is None else "--trace"
        for name in ("modes", "ops", "cases", "convention", "seed", "against", "record"):
            if getattr(arguments, name) is not None:
                asked = {"modes": "--mode", "ops": "--op"}.get(name, f"--{name}")
                raise UsageError(f"{asked}: not with {option}, which compares whole detectors")
        return _photos(arguments) if arguments.trace is None else _trace(arguments)
    record, target = _records(arguments)
    run = {} if record is None else record.runs.get(f"keras ({_framework()})", {})
    for name, default in (("cases", 40), ("convention", "canonical"), ("seed", 0)):
        if getattr(arguments, name) is None:
            setattr(arguments, name, run.get(name, default))
    _need_extra()
    _check_json(arguments.json)
    with _Progress(_starting()) as progress:
        _start_keras()
        from keras_impl.backends.machine import about_this_machine
        from keras_impl.parity import drift, table as parity

        checks = _checks(arguments, progress.say)
    report, facts = parity.Report(tuple(checks)), about_this_machine()
    if arguments.json:
        _write_json(arguments.json, _finite({**report.as_json(), "facts": facts}))
    changes = {change.key: change for change in drift.compare(record, checks)} if record else {}
    console = _console(arguments.json)
    console.print(_parity_table(report.checks, changes))
    console.print(f"{facts['machine']}; {facts['versions']}", soft_wrap=True)
    failed = sum(not check.passed for check in report.checks)
    excused = sum(check.excused for check in report.checks)
    ties = f", {excused} near-{'tie' if excused == 1 else 'ties'} excused" if excused else ""
    if report.passed:
        by = "" if arguments.convention == "canonical" else f" ({arguments.convention})"
        console.print(f"Keras agrees with the reference{by}: {len(report.checks)} checks{ties}")
    else:
        console.print(f"Keras DISAGREES: {failed} of {len(report.checks)} checks failed{ties}")
    drifted = [change for change in changes.values() if change.kind == "drift"]
    if record:
        for change in drifted:
            console.print(f"DRIFT: {change}", soft_wrap=True)
        same = all(run.get(name) == getattr(arguments, name) for name in ("cases", "seed"))
        note = "" if same or not run else ", which is of other cases"
        counted = _counted(changes.values())
        console.print(f"beside {arguments.against}{note}: {counted}", soft_wrap=True)
    if arguments.record and report.passed:
        backend = "" if _framework() == "tensorflow" else f"KERAS_BACKEND={_framework()} "
        facts = {
            "command": f"{backend}ssd parity --cases {arguments.cases} --seed {arguments.seed}",
            "cases": arguments.cases,
            "seed": arguments.seed,
            **facts,
        }
        whole = arguments.ops is None and arguments.modes is None
        drift.write(arguments.record, drift.recorded(target, checks, facts, whole=whole))
        changed = drift.compare(target, checks, whole=whole)
        for change in changed:
            if change.kind != "same":
                console.print(str(change), soft_wrap=True)
        console.print(f"on record in {arguments.record}: {_counted(changed)}", soft_wrap=True)
    elif arguments.record:
        console.print(f"{arguments.record} is left as it was: what is wrong is not put on record")
    return OK if report.passed and not (arguments.strict and drifted) else DISAGREES


def _records(arguments: argparse.Namespace) -> tuple[DriftRecord | None, DriftRecord]:
    """What is on record: in the file to compare with, and in the one to be written."""
    from keras_impl.parity import drift

    if arguments.strict and arguments.against is None:
        raise UsageError("--strict: only with --against, which says what has drifted")
    for option in ("against", "record"):
        if getattr(arguments, option) is None:
            continue
        if arguments.convention not in (None, "canonical"):
            raise UsageError(
                f"--{option}: expected convention canonical, whose errors are on record. "
                f"Received: {arguments.convention}"
            )
    record, target = None, drift.Record()
    if arguments.against is not None:
        record = _record("--against", Path(arguments.against))
    if arguments.record is not None:
        path = Path(arguments.record)
        if path.is_dir() or not path.parent.is_dir():
            raise UsageError(f"--record: expected a file in a folder. Received: {path}")
        if path.exists() and path.stat().st_size:
            target = _record("--record", path)
    return record, target


def _record(option: str, path: Path) -> DriftRecord:
    """What is on record in the file that an option names."""
    from keras_impl.parity import drift

    try:
        return drift.read(path)
    except OSError as error:
        raise UsageError(
            f"{option}: expected a file that can be read. Received: {path} ({error.strerror})"
        ) from None
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _checks(arguments: argparse.Namespace, watch: Callable[[str], None]) -> list[Check]:
    """The operations, and the network layer by layer."""
    from keras_impl.parity import network as network_parity, table as parity

    name = network_parity.NAME
    ops = None if arguments.ops is None else [op for op in arguments.ops if op != name]
    canonical = arguments.convention == "canonical"
    if arguments.ops is not None and name in arguments.ops and not canonical:
        raise UsageError(f"--op {name}: expected convention canonical: its layers follow none")
    checks: list[Check] = []
    if ops is None or ops:
        checks += parity.run(
            convention=PRESETS[arguments.convention],
            cases=arguments.cases,
            seed=arguments.seed,
            modes=arguments.modes or parity.MODES,
            ops=ops,
            watch=watch,
        ).checks
    modes = [one for one in network_parity.MODES if one in (arguments.modes or parity.MODES)]
    if canonical and modes and (arguments.ops is None or name in arguments.ops):
        checks += network_parity.run(seed=arguments.seed, modes=modes, watch=watch)
    return checks


def _parity_table(checks: Sequence[Check], changes: Mapping[Any, Change]) -> Table:
    table = _table(
        ("operation", None),
        ("backend", None),
        ("mode", None),
        ("dtype", None),
        ("cases", "right"),
        ("mismatches", "right"),
        ("excused", "right"),
        ("worst eps", "right"),
        ("budget", "right"),
        ("used", "right"),
        *((("on record", "right"), ("change", None)) if changes else ()),
        ("verdict", None),
    )
    for check in checks:
        change = changes.get((check.op, check.dtype, check.backend, check.mode))
        beside = [f"{change.was.worst:.3g}" if change.was else "–", change.kind] if change else []
        table.add_row(
            check.op,
            check.backend,
            check.mode,
            check.dtype,
            str(check.cases),
            str(check.mismatches),
            str(check.excused),
            f"{check.max_error_eps:.3g}",
            f"{check.budget_eps:g}",
            f"{check.max_error_eps / check.budget_eps:.0%}" if check.budget_eps else "",
            *beside,
            "passed" if check.passed else "FAILED",
            style=None if check.passed else "bold red",
        )
    return table


def _counted(changes: Iterable[Change]) -> str:
    """How many of each kind.

    Example: "120 same, 2 more, 1 drift".
    """
    kinds = [change.kind for change in changes]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing"


def _finite(answer: Any) -> Any:
    """The same with null for what JSON cannot say: an error that is infinite."""
    if isinstance(answer, Mapping):
        return {name: _finite(value) for name, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [_finite(value) for value in answer]
    return None if isinstance(answer, float) and not math.isfinite(answer) else answer


def _bench(arguments: argparse.Namespace) -> int:
    _need_tensorflow()
    _need_extra()
    _check_json(arguments.json)
    from keras_impl.benchmark import page as benchmark_page, runner

    if arguments.html is not None:
        with _as_options(html="--html"):
            benchmark_page.check_file(arguments.html)
    chosen = runner.plan(arguments.quick)
    with _Progress("starting TensorFlow", len(chosen.timings) + len(chosen.memory)) as progress:
        _start_keras()  # for what is said of the machine; nothing is timed in this process
        try:
            done = runner.run(
                chosen, device=arguments.device, watch=progress.say, advance=progress.advance
            )
        except runner.NoAcceleratorError as error:
            progress.print(f"ssd: {error}")
            return DISAGREES
    if arguments.json:
        _write_json(arguments.json, done.as_json())
    if arguments.html is not None:
        words = ["ssd bench", *(["--quick"] if arguments.quick else [])]
        words += [f"--device {arguments.device}"] if arguments.device != "cpu" else []
        benchmark_page.write(arguments.html, done, " ".join(words))
    console = _console(arguments.json)
    for operation in dict.fromkeys(record.operation for record in done.records):
        console.print(operation.replace("_", " "), style="bold")
        console.print(_bench_table([one for one in done.records if one.operation == operation]))
    table = _table(("target", None), ("wanted", "right"), ("reached", "right"), ("", None))
    for target in done.targets:
        table.add_row(
            target.name,
            target.wanted,
            target.reached or "-",
            benchmark_page.verdict(target),
            style="bold" if target.met is False else None,
        )
    console.print(table)
    for note in done.notes:
        console.print(note, soft_wrap=True)
    names = ("machine", "versions", "peers' versions")
    facts = ", ".join(done.facts[name] for name in names if name in done.facts)
    console.print(f"{facts}; {done.seconds:.0f} seconds", soft_wrap=True)
    console.print(benchmark_page.summary(done), soft_wrap=True)
    if arguments.html is not None:
        console.print(f"page: {arguments.html}", soft_wrap=True)
    for failure in done.failures:
        print(f"ssd: FAILED: {failure}", file=sys.stderr)
    return OK if done.passed else DISAGREES


def _bench_table(records: Sequence[Record]) -> Table:
    """The timings of one operation."""
    from keras_impl.benchmark.page import number

    table = _table(
        ("load", None),
        ("implementation", None),
        ("mode", None),
        ("ms", "right"),
        ("iqr", "right"),
        ("x fastest peer", "right"),
        ("extra MB", "right"),
        ("exact", None),
    )
    for record in records:
        ratio, peak = record.ratio_to_fastest_peer, record.peak_extra_bytes
        table.add_row(
            record.load,
            record.implementation,
            record.mode if record.device == "cpu" else f"{record.mode} ({record.device})",
            number(record.median_ms),
            number(record.iqr_ms),
            "-" if ratio is None else number(ratio),
            "-" if peak is None else number(peak / 1e6),
            {True: "yes", False: "NO", None: "-"}[record.exact],
            style="bold red" if record.exact is False else None,
        )
    return table


def _conventions(arguments: argparse.Namespace) -> int:
    _need_extra()
    _check_json(arguments.json)
    if arguments.name is None:
        if arguments.differences:
            raise UsageError("--differences: expected the name of a convention before it")
        table = _table(("name", None), ("what it is", None), ("answers of its own", "right"))
        for name in PRESETS:
            table.add_row(name, _text_of(name).partition("\n")[0], str(len(_own_answers(name))))
        if arguments.json:
            _write_json(arguments.json, {name: asdict(one) for name, one in PRESETS.items()})
        _console(arguments.json).print(table)
        return OK
    if arguments.json:
        _write_json(arguments.json, asdict(PRESETS[arguments.name]))
    own = _own_answers(arguments.name)
    table = _table(("question", None), (arguments.name, None), ("canonical", None))
    for question, (answer, ours) in _answers(arguments.name).items():
        if question in own or not arguments.differences:
            style = "bold" if question in own else None
            table.add_row(question, answer, ours, style=style)
    console = _console(arguments.json)
    console.print(_text_of(arguments.name).partition("\n\nExample:")[0])
    console.print(table)
    return OK


def _text_of(name: str) -> str:
    return (inspect.getdoc(getattr(presets, name)) or "").replace("`", "")


def _answers(name: str) -> dict[str, tuple[str, str]]:
    """Every question, a convention's answer and the canonical one, as texts."""
    ours, theirs = asdict(PRESETS["canonical"]), asdict(PRESETS[name])
    return {
        f"{part}.{question}": (_as_text(answer), _as_text(ours[part][question]))
        for part, answers in theirs.items()
        if part != "name"
        for question, answer in answers.items()
    }


def _own_answers(name: str) -> list[str]:
    """The questions that a convention answers in another way than canonical."""
    return [question for question, (one, other) in _answers(name).items() if one != other]


def _as_text(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(
            f"({_as_text(one)})" if isinstance(one, tuple) else _as_text(one) for one in value
        )
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# --- What commands share ------------------------------------------------------------------


def _framework() -> str:
    """The backend of Keras that this process has or will have."""
    name = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if name not in FRAMEWORKS:
        raise UsageError(f"KERAS_BACKEND: expected one of {list(FRAMEWORKS)}. Received: {name!r}")
    return name


def _starting() -> str:
    return f"starting {FRAMEWORKS[_framework()][1]}"


def _need_tensorflow() -> None:
    """Refuse a command whose work is TensorFlow's: its graphs, its data pipeline, its exports."""
    if _framework() != "tensorflow":
        raise UsageError(
            f"this command needs Keras on TensorFlow. Received: KERAS_BACKEND={_framework()}"
        )


def _need_extra(*needed: str) -> None:
    needed = needed or (_framework(), *EXTRA)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extra = next((FRAMEWORKS[name][0] for name in needed if name in FRAMEWORKS), "keras")
        packages = {"PIL": "Pillow", "ai_edge_litert": "ai-edge-litert"}
        names = ", ".join(packages.get(name, name) for name in missing)
        install = f'pip install "mobilenetv2-ssd[{extra}]"'
        raise UsageError(f"this command needs {names}, not installed here; run: {install}")


def _start_keras() -> None:
    """Import Keras, and its backend with it, which takes seconds and may be talkative."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" in sys.modules:
        return
    with _without_greetings():
        import keras  # noqa: F401
    # Advice for who writes TensorFlow code, such as on retracing.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def _quiet_litert(really: bool = True) -> Iterator[None]:
    """Keep what LiteRT and the converters say of their own doings from the user's screen."""
    if not really:
        yield
        return
    with _without_greetings():
        yield


# Reads stderr line by line and passes on all but what TensorFlow and LiteRT call "info".
FILTER = r"""
import re, sys
info = re.compile(
    rb"I\d{4} |INFO: |WARNING: All log messages before absl::|To enable the following instr"
)
for line in sys.stdin.buffer:
    if not info.match(line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


@contextmanager
def _without_greetings() -> Iterator[None]:
    """Keep TensorFlow's greetings, which no setting stops, from the user's screen.

    Its libraries write them to file descriptor 2 as they are loaded. A process of its own
    filters that, so that a last word is heard even if loading kills this process.
    """
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", FILTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process
        )
        assert child.stdin is not None
        stderr = os.dup(2)
    except OSError:  # no stderr, or no more processes: then it is not worth the trouble
        yield
        return
    try:
        sys.stderr.flush()
        os.dup2(child.stdin.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        child.stdin.close()
        child.wait()


def _weights_file(given: str | None) -> Path:
    from keras_impl.weights import npz as weights

    return weights.DIGITS if given is None else Path(given)


def _check_weights(given: str | None) -> None:
    """Say it at once, not after the seconds that TensorFlow takes to start."""
    if given is not None and not Path(given).is_file():
        raise UsageError(f"--weights: expected a file. Received: {given}")


def _check_model(arguments: argparse.Namespace) -> str:
    """The name of a detector or a weights file; what is not there is said at once."""
    _check_weights(arguments.weights)
    if arguments.weights is not None:
        return str(arguments.weights)
    from keras_impl.weights import npz as weights

    weights.weights_file(arguments.model)
    if getattr(arguments, "backend", "") == "litert" and not weights.OIDV4.file.is_file():
        raise UsageError(
            f"--backend: expected {weights.OIDV4.file}; `ssd weights oidv4` fetches it"
        )
    return str(arguments.model)


def _digit_detector(given: str | None) -> tuple[str, SSD]:
    """A digit detector, and what to call its weights."""
    from keras_impl.data.mnist import CANVAS
    from keras_impl.weights.npz import load_model

    path = _weights_file(given)
    model = load_model(path)
    expected, found = (10, (CANVAS, CANVAS)), (model.classes, tuple(model.layout.image_size))
    if found != expected:
        raise UsageError(
            f"--weights: expected a digit detector: {expected[0]} classes, pictures of "
            f"{CANVAS} x {CANVAS}. Received: {path}: {found[0]} classes, pictures of "
            f"{found[1][0]} x {found[1][1]}"
        )
    return ("shipped" if given is None else str(path)), model


def _find_pictures(given: Sequence[str]) -> list[Path]:
    """Every picture once, those of a folder by name; drawn ones of this program left out."""
    from keras_impl.detector.detector import pictures_in

    found: dict[str, Path] = {}
    for name in given:
        path = Path(name)
        if name and path.is_dir():
            inside = pictures_in(path)
            if not inside:
                raise UsageError(f"IMAGE: expected pictures in the folder. Received: {name}, none")
        elif name and path.exists():
            inside = [path]
        else:
            raise UsageError(f"IMAGE: expected a picture or a folder. Received: {name}, not found")
        for one in inside:
            found.setdefault(os.path.realpath(one), one)
    return list(found.values())


def _chunks(
    files: Iterable[Path],
    read: Callable[[Path], Any],
    unreadable: Callable[[Path, Exception], None],
) -> Iterator[list[tuple[Path, Any]]]:
    """Read pictures, a bounded number of pixels at a time."""
    chunk: list[tuple[Path, Any]] = []
    pixels = 0
    for path in files:
        try:
            picture = read(path)
        except (ValueError, OSError) as error:
            unreadable(path, error)
            continue
        chunk.append((path, picture))
        pixels += picture.width * picture.height
        if len(chunk) >= CHUNK[0] or pixels >= CHUNK[1]:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk


def _check_json(given: str | None) -> None:
    """Find out that an answer cannot be written before it is worked for."""
    if given in (None, "-"):
        return
    path = Path(str(given))
    if path.is_dir() or not path.parent.is_dir():
        what = "a folder" if path.is_dir() else "in a folder that does not exist"
        raise UsageError(f"--json: expected a file or -. Received: {given}, {what}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--json: expected a file that can be written. Received: {given}")
    if path.is_file() and path.stat().st_size:
        try:
            json.loads(path.read_bytes())
        except ValueError:
            raise UsageError(
                f"--json: expected a new file, or an old answer. Received: {given}, which holds "
                "something else"
            ) from None


def _write_json(given: str, answer: Any) -> None:
    text = json.dumps(answer, indent=2, allow_nan=False) + "\n"
    if given == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    from keras_impl._common.files import write_file

    write_file(given, text)


def _command(name: str, arguments: argparse.Namespace) -> str:
    """The command that makes the same again."""
    words = ["ssd", name, "--out", arguments.out, "--pictures", str(arguments.pictures)]
    words += ["--seed", str(arguments.seed)]
    for option in ("weights", "mnist"):
        if getattr(arguments, option):
            words += [f"--{option}", getattr(arguments, option)]
    return " ".join(words)


# --- What is shown ------------------------------------------------------------------------


def _console(json_to: str | None) -> Console:
    """Where people read the answer: not stdout, if JSON goes there."""
    from rich.console import Console

    stderr = json_to == "-"
    stream = sys.stderr if stderr else sys.stdout
    # A file has no width: no line of a table is to be broken there.
    width = None if stream.isatty() else 10_000
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def _table(*columns: tuple[str, str | None]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    for name, justify in columns:
        table.add_column(name, justify="right" if justify else "left", overflow="fold")
    return table


def _demo_table(done: Demo) -> Table:
    table = _table(("", None), ("", None), ("", None))
    table.show_header = False

    def row(name: str, passed: bool | None, text: str) -> None:
        verdict = "" if passed is None else "agrees" if passed else "DISAGREES"
        table.add_row(name, verdict, text, style="bold red" if passed is False else None)

    pictures = done.pictures
    detections = sum(one.comparison.detections for one in pictures)
    row(
        "detections",
        all(one.comparison.passed for one in pictures),
        f"{detections} on {len(pictures)} canvases",
    )
    row(
        "targets",
        all(one.responsibility.equal for one in pictures),
        f"{sum(int((one.responsibility.objects >= 0).sum()) for one in pictures)} positive anchors "
        f"for {sum(len(one.truth) for one in pictures)} digits",
    )
    row("parity", done.parity.passed, f"{len(done.parity.checks)} checks")
    row(
        "matching",
        not any(timing.mismatches for timing in done.timings),
        f"{len(done.timings)} answers checked, then timed",
    )
    for name in dict.fromkeys(timing.implementation for timing in done.timings):
        best = max(one.pairs_per_second for one in done.timings if one.implementation == name)
        row(f"  {name}", None, f"up to {best / 1e6:.3g} million anchor x object pairs a second")
    found = sum(one.hits for one in pictures)
    row("quality", None, f"{found} of {sum(len(one.truth) for one in pictures)} digits found")
    return table


class _Progress:
    """A bar on a terminal, and elsewhere a line now and then; all of it on stderr."""

    def __init__(self, text: str, total: int | None = None) -> None:
        self.text, self.total, self.done = text, total, 0
        self.said = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            counts = [MofNCompleteColumn(), TimeRemainingColumn()] if self.total else []
            self.bar = Progress(
                SpinnerColumn(),
                BarColumn(bar_width=24),
                *counts,
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                console=Console(stderr=True, markup=False, highlight=False),
                transient=True,
                refresh_per_second=4,
                # What is printed meanwhile appears above the bar, unless it goes to a file.
                redirect_stdout=sys.stdout.isatty(),
            )
            self.task = self.bar.add_task(self.text, total=self.total)
            self.bar.start()
        return self

    def __exit__(self, *reason: object) -> None:
        if self.bar:
            self.bar.stop()

    def say(self, text: str) -> None:
        """What is being done now."""
        self.text = text
        if self.bar:
            self.bar.update(self.task, description=text)
        self._beat()

    def advance(self, steps: int, text: str | None = None) -> None:
        """So many more are done."""
        self.done += steps
        self.text = text or self.text
        if self.bar:
            self.bar.update(self.task, completed=self.done, description=self.text)
        self._beat()

    def print(self, text: str) -> None:
        """A line that stays."""
        if self.bar:
            self.bar.console.print(text, soft_wrap=True)
        else:
            print(text, file=sys.stderr)

    def _beat(self) -> None:
        if self.bar is None and time.monotonic() - self.said >= BEAT:
            self.said = time.monotonic()
            count = f" {self.done} of {self.total}" if self.total else ""
            print(f"ssd: {self.text}{count}", file=sys.stderr, flush=True)


class _Training:
    """Shows a run: a bar of steps with the loss, and a row for each epoch on stdout."""

    def __init__(self, out: str) -> None:
        self.out = out
        self.progress: _Progress | None = None
        self.steps = self.epochs = 0

    def __enter__(self) -> _Training:
        return self

    def __exit__(self, *reason: object) -> None:
        if self.progress:
            self.progress.__exit__()

    def begin(self, recipe: Recipe, done: int, source: str) -> None:
        self.steps, self.epochs = recipe.pictures // recipe.batch, recipe.epochs
        if done == recipe.epochs:
            print(f"{self.out} is finished: {done} of {done} epochs; nothing to do")
            return
        print(f"digits: {source}")
        if done:
            print(f"{self.out} goes on after epoch {done} of {recipe.epochs}")
        print(
            f"{'epoch':>9}{'pictures':>10}{'loss':>9}{'class':>9}{'box':>9}"
            f"{'mAP':>9}{'AP50':>9}{'AP75':>9}{'seconds':>9}",
            flush=True,
        )
        self.progress = _Progress("starting", self.steps * recipe.epochs).__enter__()
        self.progress.advance(self.steps * done)

    def step(self, epoch: int, step: int, logs: Mapping[str, float]) -> None:
        if self.progress:
            done = (epoch - 1) * self.steps + step
            text = f"epoch {epoch}, loss {logs.get('loss', math.nan):.3f}, step"
            self.progress.advance(done - self.progress.done, text)

    def epoch(self, row: Mapping[str, float]) -> None:
        name = f"{row['epoch']:g}/{self.epochs}"
        print(
            f"{name:>9}{row['pictures']:>10g}{row['loss']:>9.4f}{row['class_loss']:>9.4f}"
            f"{row['box_loss']:>9.4f}{row['val_map']:>9.4f}{row['val_ap50']:>9.4f}"
            f"{row['val_ap75']:>9.4f}{row['seconds']:>9.1f}",
            flush=True,
        )
