"""Output of the commands: tables, messages, progress and JSON."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_impl.cli.status import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

__all__ = [
    "Progress",
    "Table",
    "as_options",
    "check_json",
    "finite",
    "flush_stdout",
    "leave_stdout",
    "make_console",
    "make_table",
    "note",
    "write_json",
]

LONG = 24  # characters; a longer word of a table may be broken after an underscore
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
BEAT = 15.0  # seconds between progress lines where stderr is no terminal


@contextmanager
def as_options(**options: str) -> Iterator[None]:
    """Rename arguments in error messages to the options that set them.

    Args:
        **options: The option of each argument, as in `path="--out"`.
    """
    try:
        yield
    except (ValueError, ModuleNotFoundError) as error:
        argument, colon, rest = str(error).partition(": ")
        if colon and argument in options:
            raise UsageError(f"{options[argument]}: {rest}") from None
        raise


def finite(answer: Any) -> Any:
    """Replace infinite and NaN floats by None, since JSON has no such numbers."""
    if isinstance(answer, Mapping):
        return {name: finite(value) for name, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [finite(value) for value in answer]
    return None if isinstance(answer, float) and not math.isfinite(answer) else answer


def check_json(given: str | None) -> None:
    """Raise an error if the --json file cannot be written, before the work begins."""
    if given in (None, "-"):
        return
    path = Path(str(given))
    if path.is_dir() or not path.parent.is_dir():
        what = "a folder" if path.is_dir() else "in a folder that does not exist"
        raise UsageError(f"--json: expected a file or -. Received: {given}, which is {what}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--json: expected a file that can be written. Received: {given}")
    if path.is_file() and path.stat().st_size:
        try:
            json.loads(path.read_bytes())
        except ValueError:
            raise UsageError(
                f"--json: expected a new file, or an old result. Received: {given}, which is not "
                "JSON"
            ) from None


def write_json(given: str, answer: Any) -> None:
    """Write a result as JSON to a file, or to stdout if `given` is "-"."""
    text = json.dumps(answer, indent=2, allow_nan=False) + "\n"
    if given == "-":
        sys.stdout.write(text)
        flush_stdout()
        return
    from keras_impl._common.files import write_file

    write_file(given, text)


def flush_stdout() -> None:
    """Write what stdout holds; if its reader has left, as `head` does, go on without."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        leave_stdout()


def leave_stdout() -> None:
    """Let all further output to stdout vanish, since nobody reads it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def make_console(json_to: str | None = None, *, stderr: bool = False) -> Console:
    """Return the console for tables and messages: stdout, or stderr if JSON goes to stdout."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:  # rich would end the program with status 1
            leave_stdout()

    stderr = stderr or json_to == "-"
    stream = sys.stderr if stderr else sys.stdout
    # A pipe or a file has no width, so no line is wrapped there.
    width = None if stream.isatty() else 10_000
    return Quiet(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def escaped(text: str) -> str:
    r"""Write out what a terminal would obey instead of show, as file and class names may hold it.

    These are control characters, and those that turn the direction of what follows.

    Example:
        >>> print(escaped(f"a{chr(27)}[2Jb"))
        a\x1b[2Jb
    """
    return OBEYED.sub(lambda one: one[0].encode("unicode_escape").decode(), text)


def note(text: str) -> None:
    """Print a message on stderr, wrapped between words on a terminal."""
    make_console(stderr=True).print(escaped(text))


class Table:
    """A plain table that fits into the terminal.

    Cells wrap between words first, very long names after underscores. If that is not enough, the
    columns named in `spare` are left out one by one, and a line below the table names them. Pipes
    and files get every column.

    Args:
        columns: Header of each column, and "right" or None for the left.
        spare: Headers of columns that may be left out, the least important first.
        show_header: Whether to print the headers.
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, str | None]],
        spare: Sequence[str] = (),
        *,
        show_header: bool = True,
    ) -> None:
        """See the class."""
        self.columns = list(columns)
        self.spare = spare
        self.show_header = show_header
        self.rows: list[tuple[tuple[str, ...], dict[str, Any]]] = []

    def add_row(self, *cells: str, **options: Any) -> None:
        """Add a row; options are those of `rich.table.Table.add_row`."""
        self.rows.append((tuple(map(escaped, cells)), options))

    def print(self, console: Console) -> None:
        """Print the table."""
        shown = list(range(len(self.columns)))
        hidden: list[str] = []
        for name in self.spare:
            if self._widths(shown, console.width) is not None:
                break
            shown = [index for index in shown if self.columns[index][0] != name]
            hidden.append(name)
        console.print(self._as_rich(shown, console.width))
        if hidden:
            names = ", ".join(hidden)
            console.print(f"not shown for lack of width: {names} (a pipe shows all)")

    def _widths(self, shown: Sequence[int], available: int) -> list[int] | None:
        """Return the width of each column, or None if a word does not fit."""
        from rich.cells import cell_len

        texts = [
            [self.columns[index][0] * self.show_header, *(cells[index] for cells, _ in self.rows)]
            for index in shown
        ]
        wanted = [max(map(cell_len, column)) for column in texts]
        widths = []
        for index, (header, *cells) in zip(shown, texts, strict=True):
            # Cells of spare columns do not wrap: such a column is left out instead.
            whole = self.columns[index][0] in self.spare
            words = [*header.split(), *(cells if whole else _pieces(" ".join(cells)))]
            widths.append(max(map(cell_len, words), default=0))
        for gap in (3, 2):
            room = available - sum(widths) - gap * (len(shown) - 1) - 2
            if room >= sum(wanted) - sum(widths):
                return wanted
        if room < 0:
            return None
        # Cells come before headers, and columns that lack little come first, since then most
        # columns do not wrap.
        for texts_of in ([column[1:] for column in texts], texts):
            lacks = {
                place: max(map(cell_len, column), default=0) - widths[place]
                for place, column in enumerate(texts_of)
            }
            for place, lack in sorted(lacks.items(), key=lambda item: item[1]):
                more = min(max(lack, 0), room)
                widths[place] += more
                room -= more
        return widths

    def _as_rich(self, shown: Sequence[int], available: int) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable

        widths = self._widths(shown, available)
        # Two spaces between columns where three would not fit.
        wide = widths is not None and sum(widths) + 3 * (len(shown) - 1) + 2 <= available
        table = RichTable(
            box=box.SIMPLE,
            pad_edge=False,
            collapse_padding=not wide,
            show_header=self.show_header,
        )
        for place, index in enumerate(shown):
            name, justify = self.columns[index]
            table.add_column(
                name,
                justify="right" if justify else "left",
                overflow="fold",
                width=None if widths is None else widths[place],
            )
        for cells, options in self.rows:
            texts = [cells[index] for index in shown]
            if widths is not None:
                texts = [_broken(text, width) for text, width in zip(texts, widths, strict=True)]
            table.add_row(*texts, **options)
        return table


def _pieces(text: str) -> list[str]:
    """Return the parts of a text that stay on one line."""
    return [
        piece
        for word in text.split()
        for piece in (re.findall(r"[^_]*_|[^_]+", word) if len(word) > LONG else [word])
    ]


def _broken(text: str, width: int) -> str:
    """Break words that do not fit after their last underscore that does."""
    return re.sub(rf"\S{{{width + 1},}}", lambda word: _folded(word[0], width), text)


def _folded(word: str, width: int) -> str:
    return re.sub(rf"(\S{{1,{width - 1}}}_)(?=\S)", r"\1\n", word) if width > 1 else word


def make_table(*columns: tuple[str, str | None], spare: Sequence[str] = ()) -> Table:
    """Return an empty table; a column is its header and its alignment (None: left)."""
    return Table(columns, spare)


class Progress:
    """Progress on stderr: a bar on a terminal, elsewhere a line every `BEAT` seconds."""

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
                # Lines printed to the terminal meanwhile appear above the bar.
                redirect_stdout=sys.stdout.isatty(),
            )
            self.task = self.bar.add_task(self.text, total=self.total)
            self.bar.start()
        return self

    def __exit__(self, *reason: object) -> None:
        if self.bar:
            self.bar.stop()

    def say(self, text: str) -> None:
        """Show the step that begins now."""
        self.text = escaped(text)
        if self.bar:
            self.bar.update(self.task, description=self.text)
        self._beat()

    def advance(self, steps: int, text: str | None = None) -> None:
        """Count more steps as done."""
        self.done += steps
        self.text = escaped(text or self.text)
        if self.bar:
            self.bar.update(self.task, completed=self.done, description=self.text)
        self._beat()

    def print(self, text: str) -> None:
        """Print a line that stays on the screen."""
        if self.bar:
            self.bar.console.print(escaped(text))
        else:
            print(escaped(text), file=sys.stderr)

    def _beat(self) -> None:
        if self.bar is None and time.monotonic() - self.said >= BEAT:
            self.said = time.monotonic()
            count = f" {self.done} of {self.total}" if self.total else ""
            print(f"ssd: {self.text}{count}", file=sys.stderr, flush=True)
