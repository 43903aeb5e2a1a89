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

The peers need pip install "mobilenetv2-ssd[keras,bench-peers]". The load
"photographs" needs `ssd weights oidv4`.
JSON: [{"operation", "implementation", "mode", "device", "load", "median_ms",
"iqr_ms", "ratio_to_fastest_peer", "peak_extra_bytes", "exact"}]; iqr_ms is the
spread (interquartile range), ratio_to_fastest_peer is times faster than the
fastest peer, exact is null for peers.

An interrupted run (Ctrl-C) shows what it has; the reference and the host path
come first.

exit status 1 if a result is wrong or something did not run; a missed target is
no failure.""",
    )
    parser.add_argument("--quick", action="store_true", help="fewer loads and rounds: 3 minutes")
    parser.add_argument("--html", metavar="FILE", help="also write a page with charts")
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
        if target.reached:
            style = None if target.met else "bold"
            table.add_row(
                target.name, target.wanted, target.reached, page.verdict(target), style=style
            )
    if table.rows:
        table.print(console)
    for line in done.notes:
        console.print(line)
    names = ("machine", "versions", "peers' versions")
    facts = ", ".join(done.facts[name] for name in names if name in done.facts)
    console.print(f"{facts}; {done.seconds:.0f} seconds")
    console.print(page.summary(done))
    if missed := page.missed(done):
        console.print(missed)
    if arguments.html is not None:
        console.print(f"page: {arguments.html}", soft_wrap=True)
    for failure in done.failures:
        note(f"ssd: FAILED: {failure}")
    if done.interrupted:
        raise KeyboardInterrupt
    return OK if done.passed else DISAGREES


def _bench_table(records: Sequence[Record]) -> Table:
    """Return the table of one operation, one row for each timing."""
    from keras_impl.benchmark.page import timings

    head, *rows = timings(records)
    words = ("load", "implementation", "exact")
    table = make_table(
        *((name, None if name in words else "right") for name in head), spare=("exact",)
    )
    for row in rows:
        table.add_row(*(cell or "-" for cell in row), style="bold red" if "NO" in row else None)
    return table
