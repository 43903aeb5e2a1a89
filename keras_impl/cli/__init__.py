"""The command line `ssd`; `python -m keras_impl` is the same.

Each command has its own module, which parses options, calls the library and prints the result.
Heavy packages are imported inside the commands, so that `ssd --help` is quick and works without the
extra `mobilenetv2-ssd[keras]`. Results go to stdout; progress, warnings and errors go to stderr.

Exit status: 0 success; 1 finished, but something disagrees or could not be read; 2 a mistake in
the command; 130 interrupted.
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
from keras_impl.cli.console import escaped, flush_stdout, leave_stdout
from keras_impl.cli.errors import sentence
from keras_impl.cli.options import Parser
from keras_impl.cli.status import INTERRUPTED, MISTAKE, OK, UsageError

__all__ = ["main"]

# Each command is a module with a function `add`. The help lists them in this order.
COMMANDS = (demo, train, evaluate, detect, weights, export, parity, bench, conventions)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: The arguments; by default those of this process.

    Returns:
        The exit status.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        ssd ...
        0
    """
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot show, as in a file name, must not end the run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    hint = ""
    arguments: argparse.Namespace | None = None
    options: dict[str, str] = {}
    try:
        try:
            arguments = _parser().parse_args(argv)
            hint = arguments.on_interrupt
            options = _options(arguments)
            if getattr(arguments, "out", None) == "":  # Python takes it for the current folder.
                raise UsageError("--out: expected a name. Received: an empty one")
            status = int(arguments.run(arguments))
        except SystemExit as stop:  # argparse has printed a help text or an error
            status = int(stop.code or OK)
        flush_stdout()
        return status
    except KeyboardInterrupt:
        print(f"\nssd: interrupted{hint}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        leave_stdout()
        return OK
    except MemoryError as error:
        if os.environ.get("SSD_DEBUG"):
            raise
        print(f"ssd: error: this needs more memory than there is: {error}", file=sys.stderr)
        return MISTAKE
    except (UsageError, ValueError, OSError) as error:
        if os.environ.get("SSD_DEBUG"):
            raise
        text = sentence(error, arguments) if isinstance(error, OSError) else str(error)
        text = " ".join(text.split())
        name, colon, rest = text.partition(": ")
        if colon and name in options:
            text = f"{options[name]}: {rest}"
        print(f"ssd: error: {escaped(text)}", file=sys.stderr)
        return MISTAKE


def _options(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the option that sets each given argument, so that errors name the option."""
    options = {
        name: f"--{name.replace('_', '-')}"
        for name, value in vars(arguments).items()
        if value is not None
    }
    return {**options, "ops": "--op", "modes": "--mode"}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ssd",
        description="""\
Object detection with SSD on MobileNetV2, in Keras; a NumPy reference checks it.""",
        epilog="""\
begin with:
  ssd demo              detect digits with Keras and with NumPy, compare both,
                        write demo-out/report.html
  ssd weights oidv4     fetch a detector for photographs: 23 classes, 10 MB
  ssd detect photo.jpg --model oidv4 --out found

exit status: 0 success; 1 finished, but something disagrees or could not be
read; 2 a mistake in the command; 130 interrupted.
SSD_DEBUG=1 in the environment shows the traceback of an error.""",
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
