"""The command `ssd conventions`."""

from __future__ import annotations

import argparse
import inspect
from dataclasses import asdict
from typing import Any

from keras_impl.cli.console import check_json, make_console, make_table, write_json
from keras_impl.cli.options import add_command, add_json
from keras_impl.cli.startup import need_extra
from keras_impl.cli.status import OK, UsageError
from reference_numpy.conventions import PRESETS, presets

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "conventions",
        _run,
        "show the conventions of known SSDs",
        """\
Known SSDs choose differently: where the anchors are, which object an anchor is
matched to, how a box is encoded, which negatives count, which detections are
kept. A preset is one such set of choices (a convention) with a name. Without
NAME, lists all presets. With NAME, shows every field of that preset next to
canonical, this project's own; fields that differ are bold.""",
        """\
examples:
  ssd conventions
  ssd conventions caffe
  ssd conventions torchvision_ssd300 --differences
  ssd conventions paz --json paz.json""",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        choices=tuple(PRESETS),
        help=f"one of {', '.join(PRESETS)}",
    )
    parser.add_argument(
        "--differences",
        action="store_true",
        help="show only the fields that differ from canonical",
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    need_extra("rich")
    check_json(arguments.json)
    if arguments.name is None:
        if arguments.differences:
            raise UsageError(
                "--differences: expected the name of a convention, as in "
                "`ssd conventions caffe --differences`. Received: no name"
            )
        table = make_table(("name", None), ("system", None), ("differences", "right"))
        for name in PRESETS:
            table.add_row(name, _text_of(name).partition("\n")[0], str(len(_differences(name))))
        if arguments.json:
            write_json(arguments.json, {name: asdict(one) for name, one in PRESETS.items()})
        console = make_console(arguments.json)
        table.print(console)
        console.print("differences: number of fields in which the preset differs from canonical")
        return OK
    if arguments.json:
        write_json(arguments.json, asdict(PRESETS[arguments.name]))
    own = _differences(arguments.name)
    table = make_table(("field", None), (arguments.name, None), ("canonical", None))
    for field, (value, ours) in _choices(arguments.name).items():
        if field in own or not arguments.differences:
            style = "bold" if field in own else None
            table.add_row(field, value, ours, style=style)
    console = make_console(arguments.json)
    paragraphs = _text_of(arguments.name).partition("\n\nExample:")[0].split("\n\n")
    console.print("\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))
    table.print(console)
    return OK


def _text_of(name: str) -> str:
    return (inspect.getdoc(getattr(presets, name)) or "").replace("`", "")


def _choices(name: str) -> dict[str, tuple[str, str]]:
    """Return the text of each field's value: in this convention, and in canonical."""
    ours, theirs = asdict(PRESETS["canonical"]), asdict(PRESETS[name])
    return {
        f"{part}.{field}": (_as_text(value), _as_text(ours[part][field]))
        for part, fields in theirs.items()
        if part != "name"
        for field, value in fields.items()
    }


def _differences(name: str) -> list[str]:
    """Return the fields in which a convention differs from canonical."""
    return [field for field, (one, other) in _choices(name).items() if one != other]


def _as_text(value: Any, separator: str = " ") -> str:
    if isinstance(value, tuple):
        # No space within an inner tuple, so that the table does not wrap there.
        return separator.join(
            f"({_as_text(one, ',')})" if isinstance(one, tuple) else _as_text(one) for one in value
        )
    return f"{value:.6g}" if isinstance(value, float) else str(value)
