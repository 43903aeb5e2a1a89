"""`ssd conventions`."""

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
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    need_extra()
    check_json(arguments.json)
    if arguments.name is None:
        if arguments.differences:
            raise UsageError("--differences: expected the name of a convention before it")
        table = make_table(("name", None), ("what it is", None), ("answers of its own", "right"))
        for name in PRESETS:
            table.add_row(name, _text_of(name).partition("\n")[0], str(len(_own_answers(name))))
        if arguments.json:
            write_json(arguments.json, {name: asdict(one) for name, one in PRESETS.items()})
        make_console(arguments.json).print(table)
        return OK
    if arguments.json:
        write_json(arguments.json, asdict(PRESETS[arguments.name]))
    own = _own_answers(arguments.name)
    table = make_table(("question", None), (arguments.name, None), ("canonical", None))
    for question, (answer, ours) in _answers(arguments.name).items():
        if question in own or not arguments.differences:
            style = "bold" if question in own else None
            table.add_row(question, answer, ours, style=style)
    console = make_console(arguments.json)
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
