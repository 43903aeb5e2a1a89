"""The command `ssd bench`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_impl.cli.console import (
    Progress,
    as_options,
    check_json,
    make_console,
    make_table,
    note,
    write_json,
)
from keras_impl.cli.options import add_command, add_json
from keras_impl.cli.startup import need_extra, need_tensorflow, start_keras
from keras_impl.cli.status import DISAGREES, OK

if TYPE_CHECKING:
    from keras_impl.benchmark.records import Record
    from keras_impl.cli.console import Table

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "bench",
        _run,
        "time matching, decoding and training next to other libraries",
        """\
Times target assignment and detection on the host, as a graph and under XLA,
next to other libraries (the peers) on the same inputs, then the network and a
training step. Every implementation runs in its own process. Our results are
compared with the NumPy reference before they are timed. Extra memory is the
peak of one call without its inputs and outputs. A load is images x objects x
anchors. Run nothing else meanwhile: at most 20 minutes, or 3 with --quick.""",
        """\
examples:
  ssd bench --quick
  ssd bench --html bench.html --json bench.json
  ssd bench --quick --json - | jq '.[] | select(.exact == null)'
  ssd bench --device gpu     Keras' graphs on the accelerator of TensorFlow

The peers need pip install "mobilenetv2-ssd[keras,bench-peers]"; without peers
there are no ratios. The load "photographs" needs `ssd weights oidv4`.
JSON: [{"operation", "implementation", "mode", "device", "load", "median_ms",
"iqr_ms", "ratio_to_fastest_peer", "peak_extra_bytes", "exact"}]; iqr_ms is the
spread (interquartile range), exact is null for peers.

exit status 1 if a result is wrong or something did not run; a missed target is
no failure.""",
    )
    parser.add_argument("--quick", action="store_true", help="fewer loads and rounds: 3 minutes")
    parser.add_argument("--html", metavar="FILE", help="also write a page with curves")
    parser.add_argument(
        "--device",
        choices=("cpu", "gpu"),
        default="cpu",
        help="where Keras' graphs run (%(default)s)",
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    need_tensorflow()
    need_extra()
    check_json(arguments.json)
    from keras_impl.benchmark import page, runner
    from keras_impl.benchmark.plan import plan

    if arguments.html is not None:
        with as_options(html="--html"):
            page.check_file(arguments.html)
    chosen = plan(arguments.quick)
    with Progress("starting TensorFlow", len(chosen.timings) + len(chosen.memory)) as progress:
        start_keras()  # for the facts about the machine; nothing is timed in this process
        try:
            done = runner.run(
                chosen, device=arguments.device, watch=progress.say, advance=progress.advance
            )
        except runner.NoAcceleratorError as error:
            progress.print(f"ssd: {error}")
            return DISAGREES
    if arguments.json:
        write_json(arguments.json, done.as_json())
    if arguments.html is not None:
        words = ["ssd bench", *(["--quick"] if arguments.quick else [])]
        words += [f"--device {arguments.device}"] if arguments.device != "cpu" else []
        page.write(arguments.html, done, " ".join(words))
    console = make_console(arguments.json)
    for operation in dict.fromkeys(record.operation for record in done.records):
        console.print(operation.replace("_", " "), style="bold")
        _bench_table([one for one in done.records if one.operation == operation]).print(console)
    table = make_table(("target", None), ("wanted", "right"), ("reached", "right"), ("", None))
    for target in done.targets:
        table.add_row(
            target.name,
            target.wanted,
            target.reached or "-",
            page.verdict(target),
            style="bold" if target.met is False else None,
        )
    table.print(console)
    for line in done.notes:
        console.print(line)
    names = ("machine", "versions", "peers' versions")
    facts = ", ".join(done.facts[name] for name in names if name in done.facts)
    console.print(f"{facts}; {done.seconds:.0f} seconds")
    console.print(page.summary(done))
    if arguments.html is not None:
        console.print(f"page: {arguments.html}", soft_wrap=True)
    for failure in done.failures:
        note(f"ssd: FAILED: {failure}")
    return OK if done.passed else DISAGREES


def _bench_table(records: Sequence[Record]) -> Table:
    """Return the table of one operation, one row for each timing."""
    from keras_impl.benchmark.page import number

    table = make_table(
        ("load", None),
        ("implementation", None),
        ("mode", None),
        ("median, ms", "right"),
        ("spread (IQR), ms", "right"),
        ("x fastest peer", "right"),
        ("extra memory, MB", "right"),
        ("exact", None),
        spare=("exact",),
    )
    for record in records:
        ratio, peak = record.ratio_to_fastest_peer, record.peak_extra_bytes
        table.add_row(
            record.load,
            record.implementation,
            record.mode if record.device == "cpu" else f"{record.mode} ({record.device})",
            number(record.median_ms),
            number(record.iqr_ms),
            "-" if ratio is None else number(ratio),
            "-" if peak is None else number(peak / 1e6),
            {True: "yes", False: "NO", None: "-"}[record.exact],
            style="bold red" if record.exact is False else None,
        )
    return table
