"""The command `ssd detect`."""

from __future__ import annotations

import argparse
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_impl._common.choices import BACKENDS, SCORE
from keras_impl.cli.console import (
    Progress,
    check_json,
    make_console,
    make_table,
    note,
    write_json,
)
from keras_impl.cli.inputs import check_model, find_images, skipped
from keras_impl.cli.options import add_command, add_json, add_model, fraction
from keras_impl.cli.startup import LITERT, READER, need_extra, quiet_litert, start_keras, starting
from keras_impl.cli.status import DISAGREES, OK, UsageError

if TYPE_CHECKING:
    from keras_impl.images.detections import Detection

__all__ = ["add"]

FAINT = 0.01  # where nothing is detected, a best score below this is not shown
CHUNK = 16, 40_000_000  # the most images and pixels in memory at once


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "detect",
        _run,
        "detect objects in your images",
        """\
Writes each image as PNG to the output folder, with the detected boxes, classes
and scores drawn on it; small images are enlarged. Your own files are never
overwritten. The shipped detector (digits) knows white digits on black. For
photographs use --model oidv4, fetched by `ssd weights oidv4`: people, cats,
cups, cars and 19 other classes. An image that cannot be read is reported and
skipped.""",
        """\
examples:
  ssd detect photo.jpg --model oidv4 --out found
  ssd detect photos/ cat.png --model oidv4 --out found --score 0.3 --json f.json
  ssd detect photo.jpg --model oidv4 --out found --backend numpy   no TensorFlow
  ssd detect demo-out --out found                                  digits

JSON: [{"file", "width", "height", "detections": [{"label", "score",
"box": [xmin, ymin, xmax, ymax] in pixels}]}]

exit status 1 if an image could not be read.""",
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="an image or a folder of images")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the drawn images")
    parser.add_argument(
        "--score",
        metavar="S",
        type=fraction,
        default=SCORE,
        help="show detections that score above this, 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="keras",
        help="keras; numpy: the reference computes the whole network; litert: the published "
        "file of oidv4, decoded by the reference (%(default)s)",
    )
    add_model(parser)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    # Faulty metadata of an image that can be read; this process is ours, so its filters are too.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    backend = arguments.backend
    needed = {"numpy": READER, "litert": (*READER, LITERT)}.get(backend, ())
    need_extra(*needed, otherwise="; or add --backend numpy, which needs only Pillow and rich")
    model = check_model(arguments)
    check_json(arguments.json)
    from keras_impl.data.canvases import looks_like_a_canvas
    from keras_impl.detector.detector import load_detector
    from keras_impl.images import detections, reading, writing

    files = find_images(arguments.images)
    out = Path(arguments.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: expected a folder. Received: {out}, which is a file")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK | os.X_OK):
        raise UsageError(f"--out: expected a folder that can be written to. Received: {out}")
    check_json(arguments.json)  # Again, because it may name the folder that was just made.

    entries: list[dict[str, Any]] = []
    taken: set[str] = set()
    failed = undrawn = strange = 0
    table = make_table(
        ("image", None), ("drawn image", None), ("detections", None), spare=("drawn image",)
    )
    with Progress("starting", len(files)) as progress:
        if backend == "keras":
            progress.say(starting())
            start_keras()
        with quiet_litert(backend == "litert"):
            detector = load_detector(model, backend)
        names = detector.class_names
        chosen = arguments.model or arguments.weights
        if not chosen:
            known = ", ".join(names.values())
            progress.print(f"ssd: no --model given: using digits, whose classes are {known}")
        progress.say("detecting")

        def unreadable(path: Path, error: Exception) -> None:
            nonlocal failed
            failed += 1
            progress.print(f"ssd: skipped: {skipped(error)}")
            progress.advance(1)

        for chunk in chunks(files, reading.open_image, unreadable):
            images = [image for _, image in chunk]
            # A lower threshold, so that the best score is known for an image without detections.
            least = min(arguments.score, FAINT)
            for (path, image), found in zip(
                chunk, detector.detect(images, score=least), strict=True
            ):
                seen = [one for one in found if one.score > arguments.score]
                strange += model == "digits" and not looks_like_a_canvas(image)
                target = writing.free_name(out, path, taken)
                taken.add(target.name.lower())
                shown = str(target)
                try:
                    writing.save_drawn(target, detector.draw(image, seen), path)
                except Exception as error:  # Pillow raises many kinds; other images go on.
                    undrawn, shown = undrawn + 1, "not drawn"
                    reason = getattr(error, "strerror", None) or error
                    progress.print(f"ssd: {path} is not drawn as {target.name}: {reason}")
                entries.append(detections.entry(str(path), image.size, seen, names))
                words = [f"{names[one.label]} ({one.score:.2f})" for one in seen]
                text = ", ".join(words) or _nothing(found[:1], names, arguments.score)
                table.add_row(str(path), shown, text)
                progress.advance(1)
    if arguments.json:
        write_json(arguments.json, entries)
    if entries:
        table.print(make_console(arguments.json))
    if strange:
        note(
            f"ssd: {strange} of {len(files)} images do not look like white digits on black, the "
            "only images that digits knows; for photographs run `ssd weights oidv4`, then add "
            "--model oidv4"
        )
    if failed:
        note(f"ssd: {failed} of {len(files)} images could not be read")
    if undrawn:
        note(f"ssd: {undrawn} of {len(files)} images could not be drawn or written")
    return DISAGREES if failed or undrawn else OK


def _nothing(best: Sequence[Detection], names: Mapping[int, str], score: float) -> str:
    """Return the table's text for an image without detections: the best score, if any."""
    if not best:
        return f"none; all scores are below {FAINT:g}"
    (one,) = best
    lower = max(0.0, math.floor(one.score * 100 - 1e-9) / 100)
    # Enough digits that a score below the threshold does not look like one above.
    digits = next((n for n in range(2, 7) if float(f"{one.score:.{n}f}") < score), 2)
    found = f"{names[one.label]} ({one.score:.{digits}f})"
    return f"none above {score:g}; the best is {found}, shown with --score {lower:g}"


def chunks(
    files: Iterable[Path],
    read: Callable[[Path], Any],
    unreadable: Callable[[Path, Exception], None],
) -> Iterator[list[tuple[Path, Any]]]:
    """Read images in lists of bounded size, so that memory stays bounded.

    Args:
        files: The image files.
        read: Reads one file.
        unreadable: Called with the file and the error if a file cannot be read.

    Yields:
        The next files with their images.
    """
    chunk: list[tuple[Path, Any]] = []
    pixels = 0
    for path in files:
        try:
            image = read(path)
        except (ValueError, OSError) as error:
            unreadable(path, error)
            continue
        chunk.append((path, image))
        pixels += image.width * image.height
        if len(chunk) >= CHUNK[0] or pixels >= CHUNK[1]:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk
