"""The page docs/conflicts.md, made of the table."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from reference_numpy.conventions import PRESETS
from reference_numpy.testing.conflicts import CONFLICTS

__all__ = [
    "as_markdown",
]

_READ_AS = {
    "make_anchors": "(cx, cy, w, h) of each anchor.",
    "pairwise_iou": "A row for each first box.",
    "match": "The object of each anchor; −1 is background, −2 ignored.",
    "assign_targets": "The label of each anchor, 0 background and −1 neither; then the codes of "
    "those with an object.",
    "assign_targets_with_crowds": "As before.",
    "encode": "The code, as the head would have it.",
    "decode": "Corners.",
    "background_first": "The logits, background first.",
    "class_losses": "The loss of each anchor.",
    "mine_hard_negatives": "The negatives that count.",
    "multibox_loss": "Total, class loss, box loss, positives that count, negatives that count; the "
    "last two for each image.",
    "nms": "The boxes kept, in the order visited.",
    "soft_nms": "(box, score), highest score first.",
    "select": "(label, anchor, score, box) of each detection.",
    "detect": "(label, anchor, score, box) of each detection.",
}
_HEAD = """# Where the known SSDs disagree

Each row is a small input on which programs that are all called SSD give different answers, what
each preset of `reference_numpy.conventions` answers, and what goes wrong for somebody who assumes
another answer. The answers were worked by hand; the working and the inputs are in
`reference_numpy/testing/conflicts.py`. Every preset is tested on every row, and so is every
implementation that claims one ([conformance.md](conformance.md)). Listed faults of a program are
left out: a row is about choices.

A number that is written with a row holds for all presets there, so that only the rule decides.
Where all presets agree, the row also says which field changes it.

This page is written by `python -m tests.pages`.
"""


def as_markdown() -> str:
    """The page docs/conflicts.md.

    Example:
        >>> as_markdown().splitlines()[0]
        '# Where the known SSDs disagree'
    """
    lines = [_HEAD]
    for operation, cases in groupby(CONFLICTS, key=lambda case: case.operation):
        lines += [
            f"## `{operation}`",
            "",
            _READ_AS[operation],
            "",
            "| case | answers | who assumes another answer |",
            "|---|---|---|",
        ]
        for case in cases:
            given = f"**{case.name}**<br>{case.given}"
            if case.overrides:
                given += f"<br>{_fields(case.overrides)}"
            rows = [(value, _named(names)) for value, names in case.answers]
            rows += [(value, f"with {_fields(overrides)}") for overrides, value in case.others]
            answers = "<br>".join(f"`{_shown(value)}` {who}" for value, who in rows)
            lines.append(f"| {given} | {answers} | {case.warning} |")
        lines.append("")
    return "\n".join(lines)


def _fields(overrides: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}={_shown(value, 0)}`" for name, value in overrides.items())


def _named(names: tuple[str, ...]) -> str:
    if len(names) == len(PRESETS):
        return "all"
    if len(names) > len(PRESETS) / 2:
        others = ", ".join(name for name in PRESETS if name not in names)
        return f"all but {others}"
    return ", ".join(names)


def _shown(value: Any, depth: int = 1) -> str:
    """A plain answer in few characters; a batch of one loses its outermost brackets."""
    if not isinstance(value, tuple):
        return value if isinstance(value, str) else f"{value:g}"
    if depth and len(value) == 1 and isinstance(value[0], tuple):
        return _shown(value[0], 0)
    whole = all(isinstance(one, int) for one in value)
    if whole and len(value) > 9 and value == tuple(range(value[0], value[-1] + 1)):
        return f"({value[0]}, ..., {value[-1]})"
    return f"({', '.join(_shown(one, 0) for one in value)}{',' * (len(value) == 1)})"
