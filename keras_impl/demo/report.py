"""The report of `ssd demo`: one self-contained HTML file, and the images as PNG files.

It shows a `Demo`; nothing is measured or judged here.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from keras_impl._common.files import write_file
from keras_impl._common.html import (
    badge,
    facts_list,
    has_generator,
    page,
    state,
    table,
    verdict as html_verdict,
)
from keras_impl.data.canvases import CLASS_NAMES
from keras_impl.demo.run import Demo, Example, Timing
from keras_impl.images.detections import label_names
from keras_impl.images.drawing import colour, draw, enlarged, outline
from keras_impl.images.writing import CANVAS, SOURCE, mark_of, png
from keras_impl.parity.table import Check

__all__ = [
    "check_folder",
    "draw_anchors",
    "render",
    "verdict",
    "write",
]

REPORT = "report.html"
PROGRAM = "mobilenetv2-ssd demo"
TITLE = "MobileNetV2 SSD: Keras and the NumPy reference compared"
NAMES = label_names(len(CLASS_NAMES), CLASS_NAMES)
VIEWS = ("keras", "numpy", "anchors")
DASH = 9  # length of a dash in pixels


def verdict(demo: Demo) -> str:
    """Return the verdict in one sentence."""
    detections = sum(example.comparison.detections for example in demo.examples)
    checks, cases = demo.parity.checks, sum(check.cases for check in demo.parity.checks)
    excused = (
        sum(example.comparison.excused for example in demo.examples)
        + sum(check.excused for check in checks)
        + sum(timing.excused for timing in demo.timings)
    )
    what = (
        f"{_many(len(demo.examples), 'image')} with {_many(detections, 'detection')}, "
        f"{_many(len(checks), 'parity check')} with {_many(cases, 'case')}"
    )
    ties = f"; {_many(excused, 'near-tie')} excused" if excused else ""
    if demo.passed:
        return f"Keras agrees with the NumPy reference: {what}, no mismatch{ties}."
    wrong = sum(not example.passed for example in demo.examples)
    failed = sum(not check.passed for check in checks)
    loads = sum(timing.mismatches > 0 for timing in demo.timings)
    return (
        f"Keras DISAGREES with the NumPy reference in {wrong} of "
        f"{_many(len(demo.examples), 'image')}, {failed} of "
        f"{_many(len(checks), 'parity check')} and {loads} of "
        f"{_many(len(demo.timings), 'timed load')}{ties}."
    )


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# --- Files --------------------------------------------------------------------------------


def check_folder(folder: str | os.PathLike[str], num_images: int) -> None:
    """Make the folder, and raise an error if a file of the user would be overwritten.

    Args:
        folder: The folder that `write` will write to.
        num_images: Number of images.

    Raises:
        ValueError: It is not a folder, or it holds a file that `write` would overwrite and that
            this program did not write.
        OSError: The folder cannot be made or written to.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: expected a folder. Received: {folder}, which is a file")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"out: expected a folder that can be written to. Received: {folder}")
    foreign = [
        path
        for number in range(1, num_images + 1)
        for path, key in _names(folder, number)
        if os.path.lexists(path) and mark_of(path, key) is None
    ]
    report = folder / REPORT
    if os.path.lexists(report) and not has_generator(report, PROGRAM):
        foreign.append(report)
    if foreign:
        raise ValueError(
            f"out: expected a folder in which no file of yours is overwritten. "
            f"Received: {foreign[0]}, which this program did not write"
        )


def write(folder: str | os.PathLike[str], demo: Demo, command: str = "ssd demo") -> Path:
    """Write the report and its images.

    Args:
        folder: An existing folder.
        demo: The results to show.
        command: The command line of the run.

    Returns:
        The path of the report.
    """
    folder = Path(folder)
    drawn = [_draw_views(example) for example in demo.examples]
    for number, (example, views) in enumerate(zip(demo.examples, drawn, strict=True), start=1):
        images = (example.image, *views)
        for (path, key), image in zip(_names(folder, number), images, strict=True):
            write_file(path, png(image, key, path.name))
    write_file(folder / REPORT, render(demo, command, drawn))
    return folder / REPORT


def _names(folder: Path, number: int) -> list[tuple[Path, str]]:
    """Return the files of an image with their marks: the canvas, then its views."""
    views = [(folder / f"image-{number}-{view}.png", SOURCE) for view in VIEWS]
    return [(folder / f"image-{number}.png", CANVAS), *views]


# --- Images -----------------------------------------------------------------------------


def _draw_views(example: Example) -> tuple[Image.Image, ...]:
    return (
        draw(example.image, example.keras, NAMES),
        draw(example.image, example.numpy, NAMES),
        draw_anchors(example),
    )


def draw_anchors(example: Example) -> Image.Image:
    """Draw the positive anchors of an image, each in the colour of its object.

    The object's own box is tinted. The anchor that the object was given first, at any overlap, is
    dashed.

    Args:
        example: One image of a demo.

    Returns:
        A new image.
    """
    duty = example.assignment
    drawn, times = enlarged(example.image)
    scale = (drawn.width, drawn.height)
    tint = Image.new("RGBA", drawn.size, (0, 0, 0, 0))
    brush = ImageDraw.Draw(tint)
    for number, one in enumerate(example.truth):
        x0, y0, x1, y1 = (corner * times for corner in one.box)
        brush.rectangle((x0, y0, x1 - 1, y1 - 1), fill=(*colour(number), 90))
    drawn = Image.alpha_composite(drawn.convert("RGBA"), tint).convert("RGB")
    pen = ImageDraw.Draw(drawn)
    for anchor, owner in enumerate(duty.objects.tolist()):
        if owner >= 0 and duty.first[owner] != anchor:
            outline(pen, _corners(example.anchors[anchor], scale), colour(owner), 1)
    for owner, anchor in enumerate(duty.first.tolist()):
        if anchor >= 0:
            _dashed(pen, _corners(example.anchors[anchor], scale), colour(owner))
    font = ImageFont.load_default(16)
    for number, one in enumerate(example.truth):
        text = f"{NAMES[one.label]} ({int((duty.objects == number).sum())})"
        x0, y0, x1, y1 = (corner * times for corner in one.box)
        x = min(max((x0 + x1) / 2, 24), drawn.width - 24)
        # The label goes below the digit, or above it if there is no room.
        y, side = (y1 + 4, "mt") if y1 + 28 < drawn.height else (y0 - 4, "mb")
        pen.text(
            (x, y), text, font=font, anchor=side, fill="white", stroke_width=3, stroke_fill="black"
        )
    return drawn


def _corners(anchor: Sequence[float], size: tuple[int, int]) -> tuple[float, ...]:
    cx, cy, w, h = (float(value) for value in anchor)
    width, height = size
    return (
        (cx - w / 2) * width,
        (cy - h / 2) * height,
        (cx + w / 2) * width,
        (cy + h / 2) * height,
    )


def _dashed(pen: ImageDraw.ImageDraw, box: Sequence[float], ink: tuple[int, int, int]) -> None:
    """Draw a box of thick dashes on white, so that it shows among lines of the same colour."""
    x0, y0, x1, y1 = box
    pen.rectangle((x0 - 2, y0 - 2, x1 + 2, y1 + 2), outline=(0, 0, 0), width=5)
    pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(255, 255, 255), width=3)
    sides = [((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))]
    for (ax, ay), (bx, by) in sides:
        length = abs(bx - ax) + abs(by - ay)
        for start in range(0, int(length), 2 * DASH):
            near, far = start / length, min(length, start + DASH) / length
            ends = [(ax + (bx - ax) * t, ay + (by - ay) * t) for t in (near, far)]
            pen.line(ends, fill=ink, width=3)


# --- The page -----------------------------------------------------------------------------


def render(
    demo: Demo, command: str = "ssd demo", drawn: Sequence[tuple[Image.Image, ...]] | None = None
) -> str:
    """Return the page as HTML.

    Args:
        demo: The results to show.
        command: The command line of the run.
        drawn: The views of each image; drawn here if not given.

    Returns:
        HTML that loads nothing from elsewhere.
    """
    drawn = drawn or [_draw_views(example) for example in demo.examples]
    cards = [
        _card(number, example, views)
        for number, (example, views) in enumerate(zip(demo.examples, drawn, strict=True), start=1)
    ]
    anchors = [
        _anchor_figure(number, example, views[-1])
        for number, (example, views) in enumerate(zip(demo.examples, drawn, strict=True), start=1)
    ]
    body = BODY.format(
        verdict=html_verdict(demo.passed, verdict(demo)),
        found=escape(_found(demo.examples)),
        cards="\n".join(cards),
        anchors="\n".join(anchors),
        parity=_parity(demo.parity.checks),
        throughput=_throughput(demo.timings),
        facts=facts_list({"command": command, **demo.facts}),
    )
    return page(TITLE, PROGRAM, body)


def _found(examples: Sequence[Example]) -> str:
    found, there = sum(one.hits for one in examples), sum(len(one.truth) for one in examples)
    extra = sum(len(one.numpy) - one.hits for one in examples)
    false = _many(extra, "false detection") if extra else "no false detection"
    return (
        f"{found} of {_many(there, 'digit')} found, {false}. A digit is found if a detection has "
        "its class and an IoU of at least 0.5 with it."
    )


def _card(number: int, example: Example, views: Sequence[Image.Image]) -> str:
    result = example.comparison
    names = ("Keras", "NumPy reference")
    figures = "".join(
        _figure(view, name, f"Image {number} with the detections of {name}")
        for view, name in zip(views, names, strict=False)
    )
    rows = []
    for one, other in zip(example.keras, example.numpy, strict=False):
        apart = max(abs(a - b) for a, b in zip(one.box, other.box, strict=True))
        rows.append(
            (
                f'<i style="background:rgb{colour(one.label - 1)}"></i>{escape(NAMES[one.label])}',
                f"{one.score:.6f}",
                f"{other.score:.6f}",
                f"{apart:.1e} px" if apart else "0",
                "yes" if (one.label, one.anchor) == (other.label, other.anchor) else "no",
            )
        )
    head = ("digit", "score, Keras", "score, reference", "box difference", "same anchor")
    found = table(head, rows) if rows else "<p>No detection scores above 0.5.</p>"
    differing = (
        "the same in both"
        if not result.differences
        else f"{result.differences} differ, "
        + ("near-ties, excused" if result.passed else "NOT explained by rounding")
    )
    return f"""<article class="{state(example.passed)}">
<h3>Image {number}: {_many(len(example.truth), "digit")} {_badge(example.passed)}</h3>
<div class="pair">{figures}</div>
<details><summary>All {_many(result.detections, "detection")} above 0.01: {differing}</summary>
<p>Both decode the same head outputs. From Keras' own boxes and scores the reference keeps
{"the same detections as Keras" if result.decisions_equal else "OTHER DETECTIONS than Keras"}. Worst
error: box {result.box_error:.2f} eps (budget {result.box_budget:g}), score
{result.score_error:.2f} eps (budget {result.score_budget:g}). Detections above 0.5, as drawn:</p>
{found}</details>
</article>"""


def _anchor_figure(number: int, example: Example, view: Image.Image) -> str:
    duty = example.assignment
    rows = []
    for index, one in enumerate(example.truth):
        mine = duty.objects == index
        first = int(duty.first[index])
        rows.append(
            (
                f'<i style="background:rgb{colour(index)}"></i>{escape(NAMES[one.label])}',
                f"{int(mine.sum())}",
                f"{first}" if first >= 0 else "none",
                f"{duty.overlap[first]:.3f}" if first >= 0 else "",
                f"{duty.overlap[mine].mean():.3f}" if mine.any() else "",
            )
        )
    head = ("digit", "anchors", "first anchor", "its IoU", "mean IoU")
    positives = int((duty.objects >= 0).sum())
    caption = f"Image {number}: {positives} of {len(duty.objects)} anchors are positive"
    return f"""<article class="{state(duty.equal)}">
{_figure(view, caption, f"Positive anchors of image {number}")}
<p>Keras, as a graph, assigns {"the same objects" if duty.equal else "OTHER objects or deltas"}.
{_badge(duty.equal)}</p>
<details><summary>Anchors of each digit</summary>{table(head, rows)}</details>
</article>"""


def _parity(checks: Sequence[Check]) -> str:
    head = (
        "",  # the verdict comes first, so that a narrow screen shows it
        "operation",
        "mode",
        "dtype",
        "cases",
        "mismatches",
        "excused",
        "worst eps",
        "budget",
    )
    rows = [
        (
            badge(check.passed, "passed" if check.passed else "FAILED"),
            f"<code>{escape(check.op)}</code>",
            escape(check.mode),
            escape(check.dtype),
            f"{check.cases}",
            f"{check.mismatches}",
            f"{check.excused}",
            f"{check.max_error_eps:.3g}",
            f"{check.budget_eps:g}",
        )
        for check in checks
    ]
    return table(head, rows, [state(check.passed) for check in checks])


def _throughput(timings: Sequence[Timing]) -> str:
    """Return the table of matching speeds: a row for each load, a column each implementation."""
    names = list(dict.fromkeys(timing.implementation for timing in timings))
    loads: dict[tuple[int, int, int], dict[str, Timing]] = {}
    for timing in timings:
        load = (timing.anchors, timing.objects, timing.batch)
        loads.setdefault(load, {})[timing.implementation] = timing
    fastest = max((timing.pairs_per_second for timing in timings), default=1.0)
    rows = []
    for (anchors, objects, batch), each in loads.items():
        cells = [f"{anchors}", f"{objects}", f"{batch}"]
        for name in names:
            cells.append(_speed(each[name], fastest) if name in each else "")
        rows.append(tuple(cells))
    return table(("anchors", "objects", "batch", *map(escape, names)), rows)


def _speed(timing: Timing, fastest: float) -> str:
    share = 100 * timing.pairs_per_second / fastest
    notes = "" if not timing.mismatches else f" {_badge(False)} {timing.mismatches} wrong"
    notes += f" ({timing.excused} excused)" if timing.excused else ""
    return (
        f"{timing.pairs_per_second / 1e6:.3g} M pairs/s"
        f'<span class="bar" style="width:{share:.1f}%"></span>'
        f"<small>{1000 * timing.seconds:.3g} ms{notes}</small>"
    )


def _figure(image: Image.Image, caption: str, alt: str) -> str:
    data = base64.b64encode(png(image)).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}" '
        f'width="{image.width}" height="{image.height}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _badge(passed: bool) -> str:
    return badge(passed, "agrees" if passed else "DISAGREES")


BODY = """{verdict}

<h2>Detections</h2>
<p>The canvases show test digits, unseen in training. The network runs once, in Keras; then Keras
and the NumPy reference each turn the same head outputs into detections. {found}</p>
<div class="cards">
{cards}
</div>

<h2>Anchors and their objects</h2>
<p>This is target assignment as in training. Each colour is one digit; its box is tinted, and the
outlines are the anchors matched to it. Every digit first gets the best anchor it can, at any
overlap (dashed on white). The other anchors overlap it with an IoU of at least 0.5.</p>
<div class="cards narrow">
{anchors}
</div>

<h2>Parity</h2>
<p>Every operation compared with the reference on this machine. Decisions, such as matches and kept
boxes, must be equal. Errors of floats are in eps × the largest intermediate; their budgets are
derived, not fitted. XLA with fusion, as users run it, may decide a near-tie differently. Such a
case counts as excused if a proof shows that rounding explains it; <code>xla-nofuse</code> allows
none.</p>
{parity}

<h2>Speed of anchor matching</h2>
<p>Anchor-object pairs per second: median of several runs, on the CPU unless TensorFlow found
another device. Every result was checked first. Bars are relative to the fastest.</p>
{throughput}

<h2>This run</h2>
{facts}"""
