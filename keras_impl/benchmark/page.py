"""The HTML page of `ssd bench`: one self-contained file.

It shows a `Benchmark`; nothing is measured or judged here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from keras_impl._common.charts import COLOURS, INK, finish, look, new_figure, svg
from keras_impl._common.files import write_file
from keras_impl._common.html import (
    badge,
    facts_list,
    has_generator,
    page,
    table,
    verdict as html_verdict,
)
from keras_impl.benchmark.loads import (
    ANCHOR_LOADS,
    IMAGE_LOADS,
    NEW_ARRAYS,
    OBJECT_LOADS,
    OPERATIONS,
    sizes,
)
from keras_impl.benchmark.records import Benchmark, Record, Target, label

__all__ = [
    "check_file",
    "missed",
    "number",
    "render",
    "summary",
    "timings",
    "verdict",
    "write",
]

PROGRAM = "mobilenetv2-ssd bench"
TITLE = "MobileNetV2 SSD: benchmark"
HOST = label("keras", "host")

Line = list[tuple[float, float]]


# --- In words -----------------------------------------------------------------------------


def summary(done: Benchmark) -> str:
    """Summarise the run in one line.

    Example:
        >>> summary(Benchmark(()))
        'Nothing was timed.'
    """
    if not done.records:
        return "Nothing was timed."
    judged = [target.met for target in done.targets if target.met is not None]
    missing = len(done.targets) - len(judged)
    checked = sum(record.exact is not None for record in done.records)
    ties = sum(done.excused.values())
    words = [f"{len(done.records)} timings"]
    if done.failures:
        words.append(f"{len(done.failures)} FAILED")
    words.append(
        f"{checked} of them checked against the reference"
        + (f" ({ties} near-{'tie' if ties == 1 else 'ties'} excused)" if ties else "")
    )
    words.append(
        f"{sum(judged)} of {len(judged)} measured targets met"
        + (f", {missing} not measured" if missing else "")
    )
    return f"{'; '.join(words)}."


def missed(done: Benchmark) -> str:
    """Name the targets that were missed; "" if there are none."""
    lines = [
        f"{target.name}: {target.reached}, wanted {target.wanted}"
        for target in done.targets
        if target.met is False
    ]
    return f"Targets missed: {'; '.join(lines)}." if lines else ""


def verdict(target: Target) -> str:
    """Return the word for a target that was measured: "met" or "NOT MET"."""
    return "met" if target.met else "NOT MET"


def number(value: float) -> str:
    """Format a number with three digits and no exponent.

    Example:
        >>> [number(value) for value in (0.01234, 1.5, 123.4, 12345.6)]
        ['0.0123', '1.5', '123', '12346']
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


# --- Files --------------------------------------------------------------------------------


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise an error if the page cannot be written, before the work begins.

    Args:
        path: The file that `write` will write.

    Raises:
        ValueError: The folder does not exist, the file cannot be written, or it exists and is not
            a page of this program.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        what = "a folder" if path.is_dir() else "in a folder that does not exist"
        raise ValueError(f"html: expected a file. Received: {path}, which is {what}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"html: expected a file that can be written. Received: {path}")
    if path.is_file() and path.stat().st_size and not has_generator(path, PROGRAM):
        raise ValueError(
            f"html: expected a new file, or an old page. Received: {path}, which is neither"
        )


def write(path: str | os.PathLike[str], done: Benchmark, command: str = "ssd bench") -> None:
    """Write the page.

    Args:
        path: The file to write.
        done: The results to show.
        command: The command line of the run.
    """
    write_file(path, render(done, command))


# --- The page -----------------------------------------------------------------------------


def render(done: Benchmark, command: str = "ssd bench") -> str:
    """Return the page as HTML.

    Args:
        done: The results to show.
        command: The command line of the run.

    Returns:
        HTML that loads nothing from elsewhere.
    """
    facts = {
        "command": command,
        "run": "quick" if done.quick else "full",
        "peers": ", ".join(done.peers) or "none installed",
        **done.facts,
        "duration": f"{done.seconds:.0f} seconds",
    }
    late = done.passed and missed(done)
    body = BODY.format(
        verdict=html_verdict(None if late else done.passed, summary(done)),
        failures=_sentences("Failures", done.failures),
        targets=_targets(done.targets),
        bars=_cards("Times faster than others", BARS, _bars(done), "cards narrow"),
        curves=_cards("Curves", CURVES, _charts(done), "cards"),
        tables="\n".join(_tables(done)),
        notes=_sentences("Left out", done.notes),
        facts=facts_list(facts),
    )
    return page(TITLE, PROGRAM, body, STYLE)


def _sentences(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    points = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{title}</h2>\n<ul>{points}</ul>"


def _cards(title: str, text: str, charts: Iterable[str], style: str) -> str:
    cards = "\n".join(charts)
    return (
        f'<h2>{title}</h2>\n<p>{text}</p>\n<div class="{style}">\n{cards}\n</div>' if cards else ""
    )


def _targets(found: Sequence[Target]) -> str:
    rows = [
        (
            badge(target.met or None, verdict(target)),
            f'<span class="wrap">{escape(target.name)}</span>',
            f'<span class="wrap">{escape(target.wanted)}</span>',
            escape(target.reached),
        )
        for target in found
        if target.reached
    ]
    head = table(("", "target", "wanted", "reached"), rows)
    return f"<h2>Targets</h2>\n<p>The worst load of each target counts.</p>\n{head}" if rows else ""


def _tables(done: Benchmark) -> Iterable[str]:
    """Yield one table for each operation."""
    for operation in OPERATIONS:
        records = [record for record in done.records if record.operation == operation]
        if records:
            head, *rows = timings(records, done)
            cells = [[escape(cell) for cell in row] for row in rows]
            yield f"<h3>{operation.replace('_', ' ')}</h3>\n{table(head, cells)}"


def timings(records: Sequence[Record], done: Benchmark | None = None) -> list[tuple[str, ...]]:
    """Return a head and one row for each timing, by load, without columns that are empty.

    Args:
        records: The timings.
        done: The run, for its first calls and near-ties; without it these are left out.
    """
    head = (
        "load",
        "implementation",
        "median, ms",
        "spread (IQR), ms",
        "times faster than the fastest peer",
        "extra memory, MB",
        "exact",
        "first call, ms",
        "excused",
    )
    rows = []
    for record in sorted(records, key=lambda one: _order(one.load)):
        ratio, peak = record.ratio_to_fastest_peer, record.peak_extra_bytes
        first = done and done.first_ms.get(record.key)
        excused = done and done.excused.get(record.key)
        rows.append(
            (
                record.load,
                record.label,
                number(record.median_ms),
                number(record.iqr_ms),
                "" if ratio is None else number(ratio),
                "" if peak is None else number(peak / 1e6),
                {True: "yes", False: "NO", None: ""}[record.exact],
                number(first) if first else "",
                str(excused) if excused else "",
            )
        )
    kept = [column for column in zip(head, *rows, strict=True) if any(column[1:])]
    return list(zip(*kept, strict=True))


def _order(load: str) -> tuple[tuple[int, ...], str]:
    """Sort key: loads with numbers by their numbers, then the others by name."""
    return (sizes(load), "") if load[:1].isdigit() else ((1 << 30,), load)


# --- Charts -------------------------------------------------------------------------------


def _bars(done: Benchmark) -> Iterable[str]:
    """Yield bars of how many times faster our host path is than each other, and less its memory."""
    for title, operation, unit, field in (
        ("Matching", "matching", "times faster than", "median_ms"),
        ("Decoding", "decoding", "times faster than", "median_ms"),
        ("Extra memory of matching", "matching", "times less than", "peak_extra_bytes"),
    ):
        records = [record for record in done.records if record.operation == operation]
        host = [one for one in records if label(one.implementation, one.mode) == HOST]
        ours = {record.load: getattr(record, field) for record in host}
        ratios: dict[str, list[float]] = {}
        for record in records:
            mine, theirs = ours.get(record.load), getattr(record, field)
            if record not in host and NEW_ARRAYS not in record.implementation and mine and theirs:
                ratios.setdefault(record.label, []).append(theirs / mine)
        if ratios:
            yield _bar_chart(title, unit, ratios)


def _bar_chart(title: str, unit: str, ratios: Mapping[str, Sequence[float]]) -> str:
    """Draw the medians as bars from 1 on a logarithmic axis, the quartiles as whiskers."""
    figure, (axes,) = new_figure(1, (4.4, 1.2 + 0.3 * len(ratios)))
    names = sorted(ratios, key=lambda name: np.median(ratios[name]))
    low, middle, high = (
        np.array([np.percentile(ratios[name], percent) for name in names])
        for percent in (25, 50, 75)
    )
    axes.barh(
        *(names, middle - 1),
        left=1,
        xerr=(middle - low, high - middle),
        color=[COLOURS[0] if value >= 1 else COLOURS[1] for value in middle],
        error_kw={"ecolor": INK, "capsize": 3},
    )
    for place, value in enumerate(middle):
        axes.text(
            1.02, place, number(value), color=INK, va="center", transform=axes.get_yaxis_transform()
        )
    axes.axvline(1, color=INK, linewidth=1)
    axes.set(xscale="log", xlabel=f"{HOST} is … {unit}", axisbelow=True)
    axes.xaxis.set_major_formatter("{x:g}")
    finish(axes, legend=False)
    return f"<article>\n<h3>{title}</h3>\n{svg(figure, f'{title}: {unit}')}\n</article>"


def _charts(done: Benchmark) -> Iterable[str]:
    """Yield the curves of matching that have points."""
    names = list(dict.fromkeys(record.label for record in done.records))
    peers = {record.label for record in done.records if record.implementation in done.peers}

    def lines(
        loads: Sequence[str],
        x: Callable[[str], float],
        y: Callable[[Record], float | None],
    ) -> dict[str, Line]:
        found: dict[str, Line] = {}
        for record in done.records:
            if record.operation == "matching" and record.load in loads:
                value = y(record)
                if value is not None and value > 0:
                    found.setdefault(record.label, []).append((x(record.load), value))
        return {name: sorted(found[name]) for name in names if name in found}

    def of_an_image(record: Record) -> float:
        return record.median_ms / sizes(record.load)[0]

    for title, x_name, y_name, found in (
        (
            "Time against objects: batches of images, 8732 anchors",
            "objects per image",
            "ms per image",
            lines(OBJECT_LOADS, lambda load: sizes(load)[1], of_an_image),
        ),
        (
            "Time against objects: one image, 8732 anchors",
            "objects in the image",
            "ms",
            lines(IMAGE_LOADS, lambda load: sizes(load)[1], lambda record: record.median_ms),
        ),
        (
            "Time against anchors: 32 images x 32 objects",
            "anchors",
            "ms",
            lines(ANCHOR_LOADS, lambda load: sizes(load)[2], lambda record: record.median_ms),
        ),
        (
            "Extra memory against anchors: 32 images x 32 objects",
            "anchors",
            "MB",
            lines(
                ANCHOR_LOADS,
                lambda load: sizes(load)[2],
                lambda record: (
                    None if record.peak_extra_bytes is None else record.peak_extra_bytes / 1e6
                ),
            ),
        ),
    ):
        if found:
            looks = {name: index for index, name in enumerate(names)}
            yield _chart(title, x_name, y_name, found, looks, peers)


def _chart(
    title: str,
    x_name: str,
    y_name: str,
    lines: Mapping[str, Line],
    looks: Mapping[str, int],
    peers: Container[str],
) -> str:
    """Draw lines on logarithmic axes, those of peers dashed."""
    from matplotlib.ticker import LogLocator

    figure, (axes,) = new_figure(1, (5.4, 4.2))
    for name, line in lines.items():
        style = "--" if name in peers else "-"
        axes.plot(*zip(*line, strict=True), style, label=name, **look(looks[name]))
    ticks = sorted({x for line in lines.values() for x, _ in line})
    axes.set(xscale="log", yscale="log", xlabel=x_name, ylabel=y_name)
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    finish(axes, legend=False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return f"<article>\n<h3>{escape(title)}</h3>\n{svg(figure, title)}\n</article>"


STYLE = """
.chart { width: 100%; height: auto; display: block; }
.cards { grid-template-columns: repeat(auto-fill, minmax(min(100%, 28rem), 1fr)); }
.cards.narrow { grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
th { white-space: normal; vertical-align: bottom; } .scroll { margin-bottom: 1.5rem; }
.wrap { display: inline-block; white-space: normal; min-width: 4.5rem; }
"""

BARS = f"""{HOST} beside each other implementation: the bar is the median of the loads that both
ran, the whisker spans their quartiles. Orange: the other is faster, or needs less memory; one
without measurable extra memory has no bar. The axis is logarithmic."""

CURVES = """Target assignment (matching and encoding): median of the rounds. Both axes are
logarithmic; peers are dashed."""

BODY = """{verdict}
{failures}
{targets}
{bars}
{curves}

<h2>All timings</h2>
<p>A load is images × objects × anchors. Decoding takes 8 images with 8732 anchors and 21 classes;
the load <code>photographs</code> has 1917 anchors and 24 classes. <code>host (numba)</code> writes
into the arrays of an earlier result; <code>host (numba, new arrays)</code> makes new ones. Times
faster than the fastest peer: the peer's median divided by this one's; below 1 this one is
slower.</p>
{tables}
{notes}

<h2>How it was measured</h2>
<ul>
<li>Each implementation runs in its own process.</li>
<li>The result of the first call is compared with the NumPy reference before anything else is
timed. <code>exact</code> means that labels, objects and anchors equal the reference's, except in
near-ties, each with a proof; these are counted as excused. Peers follow rules of their own and are
not compared. The first call also traces and compiles, and is timed separately.</li>
<li>Then at least five rounds are timed with the garbage collector off. A round starts with inputs
in place and ends with the result in NumPy. The spread is the interquartile range (IQR) of the
rounds. If it is larger than a quarter of the median, all rounds are timed again, in at most three
passes altogether, and the pass with the least median counts.</li>
<li>Extra memory is the peak of one call without its inputs and outputs, in a fresh process: the
allocations of NumPy for functions on the host, otherwise the rise of the resident memory.</li>
<li>Compare ratios within one run. Times of different machines or runs are not comparable.</li>
</ul>

<h2>This run</h2>
{facts}"""
