"""The command `ssd`, the same as `python -m keras_impl`: it parses, calls and shows.

Each command is a module that parses its options and calls. Only what is light is imported at the
top, so that `ssd --help` is quick and works where the extra `mobilenetv2-ssd[keras]` is not
installed. Answers
go to stdout; progress, warnings and errors to stderr. Exit status: 0 done, 1 done but something
disagrees or could not be read, 2 a mistake of the user's, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata

from keras_impl.cli import (
    bench,
    conventions,
    demo,
    detect,
    evaluate,
    export,
    parity,
    train,
    weights,
)
from keras_impl.cli.options import Parser
from keras_impl.cli.status import DISAGREES, INTERRUPTED, MISTAKE, OK, UsageError

__all__ = ["main"]

# A command is a module with a function `add`; they are listed in this order.
COMMANDS = (demo, train, evaluate, detect, weights, export, parity, bench, conventions)


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


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
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
    for command in COMMANDS:
        command.add(commands)
    return parser


def _version() -> str:
    def of(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "(not installed)"

    packages = ("numpy", "bottleneck", "keras", os.environ.get("KERAS_BACKEND") or "tensorflow")
    others = ", ".join(f"{name} {of(name)}" for name in packages)
    return f"ssd {of('mobilenetv2-ssd')} (Python {platform.python_version()}, {others})"
