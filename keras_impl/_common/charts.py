"""Charts by matplotlib in one style, for files and for HTML pages, light or dark."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

__all__ = ["finish", "look", "new_figure", "svg"]

# Colours that are distinct on white and on black; further lines reuse them with other markers.
COLOURS = ("#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#d4a106", "#06b6d4", "#ec4899")
MARKS = "os^D"
INK = "#5b6571"  # placeholder that `svg` replaces by the text colour of the page


def new_figure(columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """Return a matplotlib figure of `size` inches, and its axes side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def look(index: int) -> dict[str, Any]:
    """Return the colour and the marker of line number `index`."""
    row, column = divmod(index, len(COLOURS))
    return {"color": COLOURS[column], "marker": MARKS[(column + row) % len(MARKS)], "ms": 5}


def finish(axes: Any, *, legend: bool = True) -> None:
    """Add a grid and, if asked, a legend."""
    axes.grid(alpha=0.3)
    if legend:
        axes.legend(frameon=False)


def svg(figure: Any, title: str) -> str:
    """Return a figure as an SVG element whose text has the colour of the page.

    Args:
        figure: A matplotlib figure.
        title: The title for screen readers.

    Returns:
        `<svg class="chart" …>`; the same figure gives the same text.
    """
    import matplotlib as mpl

    for axes in figure.axes:
        axes.tick_params(colors=INK, which="both")
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.spines[:].set_color(INK)
    for legend in figure.legends:
        for text in legend.get_texts():
            text.set_color(INK)
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    inner = text[text.index(">", text.index("<svg")) + 1 :]
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg class="chart" {box and box[0]} role="img" aria-label="{escape(title)}">'
    return head + inner.replace(INK, "var(--soft)")
