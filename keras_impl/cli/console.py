"""What people read: tables, progress, and JSON for machines."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_impl.cli.status import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "Progress",
    "as_options",
    "check_json",
    "finite",
    "make_console",
    "make_table",
    "write_json",
]

BEAT = 15.0  # seconds between lines of progress where there is no terminal


@contextmanager
def as_options(**options: str) -> Iterator[None]:
    """Errors of functions name their arguments; the user gave options."""
    try:
        yield
    except (ValueError, ModuleNotFoundError) as error:
        argument, colon, rest = str(error).partition(": ")
        if colon and argument in options:
            raise UsageError(f"{options[argument]}: {rest}") from None
        raise


def finite(answer: Any) -> Any:
    """The same with null for what JSON cannot say: an error that is infinite."""
    if isinstance(answer, Mapping):
        return {name: finite(value) for name, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [finite(value) for value in answer]
    return None if isinstance(answer, float) and not math.isfinite(answer) else answer


def check_json(given: str | None) -> None:
    """Refuse a --json file that cannot be written, before any work."""
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
                f"--json: expected a new file, or an old result. Received: {given}, which holds "
                "something else"
            ) from None


def write_json(given: str, answer: Any) -> None:
    """Write a result as JSON; - is stdout."""
    text = json.dumps(answer, indent=2, allow_nan=False) + "\n"
    if given == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    from keras_impl._common.files import write_file

    write_file(given, text)


def make_console(json_to: str | None) -> Console:
    """The console for people: stderr if JSON goes to stdout."""
    from rich.console import Console

    stderr = json_to == "-"
    stream = sys.stderr if stderr else sys.stdout
    # A file has no width: no line of a table is to be broken there.
    width = None if stream.isatty() else 10_000
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def make_table(*columns: tuple[str, str | None]) -> Table:
    """A plain table; a column is a name and how it is aligned (None: left)."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    for name, justify in columns:
        table.add_column(name, justify="right" if justify else "left", overflow="fold")
    return table


class Progress:
    """A bar on a terminal, and elsewhere a line now and then; all of it on stderr."""

    def __init__(self, text: str, total: int | None = None) -> None:
        self.text, self.total, self.done = text, total, 0
        self.said = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Progress:
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
