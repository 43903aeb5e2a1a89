"""Options that several commands share, and parsers for their values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from keras_impl._common.choices import DETECTORS, MOST_CASES, MOST_IMAGES
from keras_impl.cli.status import MISTAKE

__all__ = [
    "Parser",
    "add_command",
    "add_json",
    "add_mnist",
    "add_model",
    "add_seed",
    "add_weights",
    "case_count",
    "fraction",
    "image_count",
    "positive_count",
    "positive_number",
    "seed_number",
]


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line; argparse prints the whole usage first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )

    def error(self, message: str) -> NoReturn:
        """Print the error in one line and exit with status 2."""
        self.exit(MISTAKE, f"ssd: error: {message}; see `{self.prog} --help`\n")


def add_command(
    commands: Any, name: str, run: Callable[..., int], brief: str, text: str, examples: str
) -> argparse.ArgumentParser:
    """Add one command with its help text and examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=brief,
        description=f"{brief[0].upper()}{brief[1:]}.\n\n{text}",
        epilog=examples,
    )
    parser.set_defaults(run=run)
    return parser


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add --seed."""
    parser.add_argument(
        "--seed",
        metavar="N",
        type=seed_number,
        default=0,
        help="seed of all random choices (%(default)s)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument(
        "--json", metavar="FILE", help="also write the result as JSON; - means stdout"
    )


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add --weights for a digit detector."""
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights.npz of a training run (default: the shipped weights)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model and --weights for any detector."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--model",
        choices=DETECTORS,
        help="digits: white digits on black, shipped; oidv4: photographs, 23 classes, "
        "fetched by `ssd weights oidv4` (digits)",
    )
    group.add_argument(
        "--weights", metavar="FILE", help="a detector that you trained: weights.npz of a run"
    )


def add_mnist(parser: argparse.ArgumentParser) -> None:
    """Add --mnist and --download."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--mnist", metavar="DIR", help="folder with the IDX files of MNIST")
    group.add_argument(
        "--download", action="store_true", help="let Keras download MNIST unless it is in its cache"
    )


def positive_count(text: str) -> int:
    """Parse a whole number, 1 or more."""
    return _at_least(text, 1)


def case_count(text: str) -> int:
    """Parse a number of cases, 1 to 100,000."""
    return _at_least(text, 1, MOST_CASES)


def image_count(text: str) -> int:
    """Parse a number of images, 1 to 10,000."""
    return _at_least(text, 1, MOST_IMAGES)


def seed_number(text: str) -> int:
    """Parse a whole number, 0 or more."""
    return _at_least(text, 0)


def _at_least(text: str, least: int, most: float = math.inf) -> int:
    # Python converts at most 4300 digits.
    if text.isdecimal() and len(text) <= 4300 and least <= int(text) <= most:
        return int(text)
    range_ = f"{least} or more" if most == math.inf else f"{least:,} to {most:,}"
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    raise argparse.ArgumentTypeError(f"expected a whole number, {range_}. Received: {shown}")


def positive_number(text: str) -> float:
    """Parse a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0. Received: {text}")
    return number


def fraction(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1. Received: {text}")
    return number
