"""Shared parts of the HTML pages: style, tables, lists of facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

__all__ = ["STYLE", "badge", "facts_list", "has_generator", "page", "state", "table", "verdict"]

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{generator}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(title: str, program: str, body: str, style: str = "") -> str:
    """Return a self-contained page, marked as written by `program`."""
    return PAGE.format(
        title=escape(title), generator=_generator(program), style=STYLE + style, body=body
    )


def has_generator(path: Path, program: str) -> bool:
    """Return whether a file is a page that `program` wrote."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return _generator(program) in file.read(1000)
    except OSError:
        return False


def _generator(program: str) -> str:
    return f'<meta name="generator" content="{program}">'


def verdict(passed: bool | None, text: str) -> str:
    """Return the verdict of a page, its first line."""
    mark = {True: "✓", None: "⚠", False: "✗"}[passed]
    return f'<p class="verdict {state(passed)}">{mark} {escape(text)}</p>'


def badge(passed: bool | None, text: str) -> str:
    """Return a word in green, amber (None) or red."""
    return f'<b class="{state(passed)}">{text}</b>'


def facts_list(facts: dict[str, str]) -> str:
    """Return names and texts as a definition list."""
    lines = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()
    )
    return f"<dl>{lines}</dl>"


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], states: Sequence[str] | None = None
) -> str:
    """Return a table; cells are HTML. On a narrow screen the table scrolls, not the page."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = []
    for index, row in enumerate(rows):
        state = f' class="{states[index]}"' if states else ""
        lines.append(f"<tr{state}>{''.join(map(_cell, row))}</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody>'
        "</table></div>"
    )


def _cell(content: str) -> str:
    number = content[:1].isdigit() and "<" not in content
    return f'<td class="number">{content}</td>' if number else f"<td>{content}</td>"


def state(passed: bool | None) -> str:
    """Return the CSS class of a result that passed, needs a look (None) or failed."""
    return {True: "good", None: "warn", False: "bad"}[passed]


STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6570; --ground: #fafafa;
  --card: #fff; --line: #dcdfe3; --good: #0a7d38; --bad: #c02626; --warn: #8f5f00;
  --bar: #4a7dff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa4af; --ground: #14171a;
  --card: #1d2125; --line: #353b42; --good: #4ccb7d; --bad: #ff7b72; --warn: #e8b339;
  --bar: #6b96ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: .5rem 0; max-width: 70ch; } small, figcaption { color: var(--soft); }
.verdict { font-size: 1.2rem; font-weight: 600; padding: .8rem 1rem; border-radius: .5rem;
  max-width: none; border: 2px solid; background: var(--card); }
.verdict.good, b.good { color: var(--good); } .verdict.bad, b.bad { color: var(--bad); }
.verdict.warn, b.warn { color: var(--warn); }
.cards { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); }
.cards.narrow { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .8rem; min-width: 0; } article.bad { border-color: var(--bad); }
.pair { display: grid; gap: .6rem; grid-template-columns: 1fr 1fr; }
figure { margin: 0; } img { width: 100%; height: auto; display: block; border-radius: .25rem; }
figcaption { font-size: .9rem; padding-top: .2rem; }
summary { cursor: pointer; margin-top: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
td.number { text-align: right; }
th { color: var(--soft); font-weight: 600; } tr.bad td { color: var(--bad); }
td i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: .15em; }
.bar { display: block; height: .35rem; min-width: 2px; background: var(--bar);
  border-radius: .2rem; margin: .15rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .95rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
"""
