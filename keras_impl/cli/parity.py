"""The command `ssd parity`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_impl._common.choices import BACKENDS, CASES, MOST_CASES
from keras_impl.cli.console import (
    Progress,
    check_json,
    finite,
    make_console,
    make_table,
    note,
    write_json,
)
from keras_impl.cli.inputs import find_images, skipped
from keras_impl.cli.options import add_command, add_json, case_count, seed_number
from keras_impl.cli.startup import (
    EXTRA,
    LITERT,
    framework,
    need_extra,
    quiet_litert,
    start_keras,
    starting,
)
from keras_impl.cli.status import DISAGREES, OK, UsageError
from reference_numpy.conventions import PRESETS

if TYPE_CHECKING:
    from keras_impl.cli.console import Table
    from keras_impl.conformance.suite import Check
    from keras_impl.parity.drift import Change, Record as DriftRecord

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "parity",
        _run,
        "check that Keras matches the reference on this machine",
        """\
Runs each operation eagerly, as a graph and under XLA, once as users run it and
once with fusion off. Decisions, such as matches and kept boxes, must be equal.
Floats must lie within a derived budget, in eps of the dtype x the largest
intermediate. If XLA decides a near-tie differently and a proof shows that
rounding explains it, the case counts as excused; with fusion off none may be.

A small network is also checked layer by layer, in float32 and in mixed
precision (bfloat16), with the targets, loss and detections made from it.
--against compares the errors with recorded ones and names those that drifted:
more than twice the recorded error, and more than half of the budget, or than
4 eps where the budget is wide.

--photos compares the whole detector oidv4 instead, from pixels to boxes, in
Keras, NumPy and LiteRT. --trace checks each of its layers and names the first
whose error rounding cannot explain.""",
        """\
examples:
  ssd parity
  ssd parity --cases 400 --seed 1 --json parity.json
  ssd parity --op match --op nms --mode xla
  ssd parity --op network               only the small network
  ssd parity --convention torchvision_ssd300
                                        see `ssd conventions`
  ssd parity --against docs/error-budgets.json
                                        compare with the recorded errors
  ssd parity --photos                   photographs of scikit-image and -learn
  ssd parity --photos holiday/          your photographs
  ssd parity --trace photo.jpg

exit status 1 if a check fails, or with --strict if an error has drifted.""",
    )
    parser.add_argument(
        "--cases",
        metavar="N",
        type=case_count,
        help=f"number of random cases, at most {MOST_CASES:,} ({CASES})",
    )
    parser.add_argument(
        "--mode",
        dest="modes",
        action="append",
        choices=("eager", "graph", "xla", "xla-nofuse", "jit", "jit-nofuse", "host"),
        help="only this mode; may be repeated; KERAS_BACKEND decides which exist",
    )
    parser.add_argument(
        "--op",
        dest="ops",
        metavar="NAME",
        action="append",
        help="only this operation; may be repeated",
    )
    parser.add_argument(
        "--against", metavar="FILE", help="compare the errors with those recorded in this file"
    )
    parser.add_argument(
        "--strict", action="store_true", help="with --against: fail if an error has drifted"
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="record the errors in this file, and print the changes",
    )
    parser.add_argument(
        "--convention",
        metavar="NAME",
        choices=tuple(PRESETS),
        help=f"convention of both sides (canonical): one of {', '.join(PRESETS)}",
    )
    pixels = parser.add_mutually_exclusive_group()
    pixels.add_argument(
        "--photos",
        metavar="IMAGE",
        nargs="*",
        help="compare whole detectors on these images or folders",
    )
    pixels.add_argument("--trace", metavar="IMAGE", help="check layer by layer on this image")
    parser.add_argument(
        "--seed", metavar="N", type=seed_number, help="seed of the random cases (0)"
    )
    add_json(parser)


def _photos(arguments: argparse.Namespace) -> int:
    """Compare whole detectors on photographs."""
    need_extra(framework(), *EXTRA, LITERT)
    check_json(arguments.json)
    from keras_impl.data.photographs import sample_photographs
    from keras_impl.detector import comparison
    from keras_impl.detector.detector import load_detector
    from keras_impl.parity import pixels
    from keras_impl.weights.published import weights_file

    try:
        files = find_images(arguments.photos) or sample_photographs()
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from None
    checks: list[pixels.PhotoCheck] = []
    failed = 0
    with Progress(starting(), len(files)) as progress:
        weights_file("oidv4")
        start_keras()
        with quiet_litert():
            detectors = {str(name): load_detector("oidv4", name) for name in BACKENDS}
        for path in files:
            progress.say(path.name)
            try:
                checks += pixels.compare_photographs([path], detectors)
            except (ValueError, OSError) as error:
                failed += 1
                progress.print(f"ssd: skipped: {skipped(error)}")
            progress.advance(1)
    if arguments.json:
        answer = [{**asdict(check), "passed": check.passed} for check in checks]
        write_json(arguments.json, answer)
    table = make_table(
        ("photograph", None),
        ("implementations", None),
        ("deltas", "right"),
        ("logits", "right"),
        ("detections", "right"),
        ("missing in one", "right"),
        ("disorder", "right"),
        ("pixels", "right"),
        ("score", "right"),
        ("verdict", None),
        spare=("deltas", "logits", "disorder", "score", "pixels"),
    )
    for check in checks:
        table.add_row(
            os.path.basename(check.photo),
            f"{check.one}, {check.other}",
            f"{check.deltas:.1e}",
            f"{check.logits:.1e}",
            str(check.detections),
            str(check.alone),
            str(check.disorder),
            f"{check.pixels:.1e}",
            f"{check.score:.1e}",
            "passed" if check.passed else "FAILED",
            style=None if check.passed else "bold red",
        )
    console = make_console(arguments.json)
    table.print(console)
    if failed:
        note(f"ssd: {failed} of {len(files)} images could not be read")
    if not checks:
        return DISAGREES
    worst = [max(getattr(check, name) for check in checks) for name in ("deltas", "logits")]
    console.print(
        f"{len(files) - failed} photographs, detections above {pixels.SHOWN}; allowed "
        f"differences: head outputs {pixels.RAW:g} (worst: deltas {worst[0]:.1e}, logits "
        f"{worst[1]:.1e}), corners {comparison.PIXELS} pixels, scores {comparison.SCORE:g}"
    )
    wrong = sum(not check.passed for check in checks)
    names = "Keras, NumPy and LiteRT"
    if wrong:
        console.print(f"{names} DISAGREE: {wrong} of {len(checks)} comparisons failed")
    else:
        console.print(f"{names} agree, from pixels to boxes: {len(checks)} comparisons")
    return DISAGREES if wrong or failed else OK


def _trace(arguments: argparse.Namespace) -> int:
    """Check the network layer by layer on one image."""
    need_extra(framework(), *EXTRA, LITERT)
    check_json(arguments.json)
    from keras_impl.images.pixels import prepare
    from keras_impl.images.reading import open_image
    from keras_impl.weights.npz import load_model
    from keras_impl.weights.published import read_published, weights_file

    path = weights_file("oidv4")
    image = prepare(open_image(arguments.trace), (300, 300))
    with Progress(starting()) as progress:
        start_keras()
        from keras_impl.detector.litert import LiteRT
        from keras_impl.parity.tracing import trace

        with quiet_litert():
            litert = LiteRT(read_published(), keep=True)
        checks = trace(image, load_model(path), litert, progress.say)
    if arguments.json:
        write_json(arguments.json, [check.as_json() for check in checks])
    table = make_table(
        ("layer", None),
        ("map", "right"),
        ("largest", "right"),
        *((f"{who} off", "right") for who in ("keras", "litert")),
        *((f"{who} own", "right") for who in ("numpy", "keras", "litert")),
        spare=("map", "largest"),
    )
    rows: dict[str, dict[str, Any]] = {}
    for check in checks:
        rows.setdefault(check.layer, {})[check.who] = check
    for layer, row in rows.items():
        table.add_row(
            layer if "_" in layer or layer == "Conv1" else f"all {layer}",
            " x ".join(map(str, row["numpy"].shape)),
            f"{row['numpy'].largest:.1f}",
            *(f"{row[who].difference:.1e}" for who in ("keras", "litert")),
            *(f"{row[who].share:.3f}" for who in ("numpy", "keras", "litert")),
            style="bold red" if any(check.departs for check in row.values()) else None,
        )
    console = make_console(arguments.json)
    table.print(console)
    console.print(
        "off: largest absolute difference to NumPy's map, errors of earlier layers included; "
        "own: error of this layer on its own input, divided by the bound for rounding"
    )
    departed = [check for check in checks if check.departs]
    if departed:
        first = departed[0]
        console.print(
            f"{first.layer} is the first layer that DEPARTS: in {first.who}, its error is "
            f"{first.share:.3g} times the bound for rounding"
        )
        return DISAGREES
    console.print(
        f"no layer departs: {len(rows) - 2} layers and the order of the anchors, in NumPy, in "
        "Keras and in LiteRT's own kernels (--photos uses those of XNNPACK)"
    )
    return OK


def _run(arguments: argparse.Namespace) -> int:
    if arguments.trace is not None or arguments.photos is not None:
        option = "--photos" if arguments.trace is None else "--trace"
        for name in ("modes", "ops", "cases", "convention", "seed", "against", "record"):
            if getattr(arguments, name) is not None:
                asked = {"modes": "--mode", "ops": "--op"}.get(name, f"--{name}")
                raise UsageError(f"{asked}: not with {option}, which compares the detector oidv4")
        return _photos(arguments) if arguments.trace is None else _trace(arguments)
    record, target = _records(arguments)
    run = {} if record is None else record.runs.get(f"keras ({framework()})", {})
    for name, default in (("cases", CASES), ("convention", "canonical"), ("seed", 0)):
        if getattr(arguments, name) is None:
            setattr(arguments, name, run.get(name, default))
    need_extra()
    check_json(arguments.json)
    with Progress(starting()) as progress:
        start_keras()
        from keras_impl.backends.machine import about_this_machine
        from keras_impl.parity import drift, table

        checks = _checks(arguments, progress.say)
    report, facts = table.Report(tuple(checks)), about_this_machine()
    if arguments.json:
        write_json(arguments.json, finite({**report.as_json(), "facts": facts}))
    changes = {change.key: change for change in drift.compare(record, checks)} if record else {}
    console = make_console(arguments.json)
    _parity_table(report.checks, changes).print(console)
    console.print(f"{facts['machine']}; {facts['versions']}")
    failed = sum(not check.passed for check in report.checks)
    excused = sum(check.excused for check in report.checks)
    ties = f", {excused} near-{'tie' if excused == 1 else 'ties'} excused" if excused else ""
    if report.passed:
        by = "" if arguments.convention == "canonical" else f" ({arguments.convention})"
        console.print(f"Keras agrees with the reference{by}: {len(report.checks)} checks{ties}")
    else:
        console.print(f"Keras DISAGREES: {failed} of {len(report.checks)} checks failed{ties}")
    drifted = [change for change in changes.values() if change.kind == "drift"]
    if record:
        for change in drifted:
            console.print(f"DRIFT: {change}")
        same = all(run.get(name) == getattr(arguments, name) for name in ("cases", "seed"))
        other = "" if same or not run else " (recorded with other cases)"
        counted = _counted(changes.values())
        console.print(f"compared with {arguments.against}{other}: {counted}")
    if arguments.record and report.passed:
        backend = "" if framework() == "tensorflow" else f"KERAS_BACKEND={framework()} "
        facts = {
            "command": f"{backend}ssd parity --cases {arguments.cases} --seed {arguments.seed}",
            "cases": arguments.cases,
            "seed": arguments.seed,
            **facts,
        }
        whole = arguments.ops is None and arguments.modes is None
        drift.write(arguments.record, drift.recorded(target, checks, facts, whole=whole))
        changed = drift.compare(target, checks, whole=whole)
        for change in changed:
            if change.kind != "same":
                console.print(str(change))
        console.print(f"recorded in {arguments.record}: {_counted(changed)}")
    elif arguments.record:
        console.print(f"{arguments.record} is unchanged: failed checks are not recorded")
    return OK if report.passed and not (arguments.strict and drifted) else DISAGREES


def _records(arguments: argparse.Namespace) -> tuple[DriftRecord | None, DriftRecord]:
    """Return the record to compare with, if any, and the record to be written."""
    from keras_impl.parity import drift

    if arguments.strict and arguments.against is None:
        raise UsageError("--strict: expected --against FILE too. Received: --strict without it")
    for option in ("against", "record"):
        if getattr(arguments, option) is None:
            continue
        if arguments.convention not in (None, "canonical"):
            raise UsageError(
                f"--{option}: expected the convention canonical, the only one that is recorded. "
                f"Received: {arguments.convention}"
            )
    record, target = None, drift.Record()
    if arguments.against is not None:
        record = _record("--against", Path(arguments.against))
    if arguments.record is not None:
        path = Path(arguments.record)
        if path.is_dir() or not path.parent.is_dir():
            raise UsageError(f"--record: expected a file in a folder. Received: {path}")
        if path.exists() and path.stat().st_size:
            target = _record("--record", path)
    return record, target


def _record(option: str, path: Path) -> DriftRecord:
    """Read the record in the file that an option names."""
    from keras_impl.parity import drift

    try:
        return drift.read(path)
    except OSError as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else error.strerror
        raise UsageError(
            f"{option}: expected a file that can be read. Received: {path}, {reason}"
        ) from None
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _checks(arguments: argparse.Namespace, watch: Callable[[str], None]) -> list[Check]:
    """Compare the operations, then the small network layer by layer."""
    from keras_impl.conformance.operations import OPERATIONS
    from keras_impl.parity import network, table

    name, asked = network.NAME, arguments.ops
    known = [*OPERATIONS, name]
    if unknown := [op for op in asked or () if op not in known]:
        raise UsageError(
            f"--op: expected some of {', '.join(known)}. Received: {', '.join(map(repr, unknown))}"
        )
    canonical = arguments.convention == "canonical"
    if asked is not None and name in asked and not canonical:
        raise UsageError(
            f"--op {name}: expected the convention canonical, since layers follow no convention. "
            f"Received: {arguments.convention}"
        )
    modes = [one for one in network.MODES if one in (arguments.modes or table.MODES)]
    if asked is not None and name in asked and not modes:
        raise UsageError(
            f"--mode: expected one that {name} can run in: {', '.join(network.MODES)}. "
            f"Received: {', '.join(map(repr, arguments.modes))}"
        )
    # An operation that is named twice is compared once.
    ops = None if asked is None else [op for op in dict.fromkeys(asked) if op != name]
    checks: list[Check] = []
    if ops is None or ops:
        checks += table.run(
            convention=PRESETS[arguments.convention],
            cases=arguments.cases,
            seed=arguments.seed,
            modes=tuple(dict.fromkeys(arguments.modes or table.MODES)),
            ops=ops,
            watch=watch,
        ).checks
    if canonical and modes and (asked is None or name in asked):
        checks += network.run(seed=arguments.seed, modes=modes, watch=watch)
    return checks


def _parity_table(checks: Sequence[Check], changes: Mapping[Any, Change]) -> Table:
    # Without width, columns that tell least go first; mismatches and verdict always stay.
    spare = ["backend", "excused", "used", "cases", "budget"]
    if any(check.excused for check in checks):
        spare = ["backend", "used", "cases", "excused", "budget"]
    table = make_table(
        ("operation", None),
        ("backend", None),
        ("mode", None),
        ("dtype", None),
        ("cases", "right"),
        ("mismatches", "right"),
        ("excused", "right"),
        ("worst eps", "right"),
        ("budget", "right"),
        ("used", "right"),
        *((("recorded", "right"), ("change", None)) if changes else ()),
        ("verdict", None),
        spare=spare,
    )
    for check in checks:
        change = changes.get((check.op, check.dtype, check.backend, check.mode))
        beside = [f"{change.was.worst:.3g}" if change.was else "–", change.kind] if change else []
        table.add_row(
            check.op,
            check.backend,
            check.mode,
            check.dtype,
            str(check.cases),
            str(check.mismatches),
            str(check.excused),
            f"{check.max_error_eps:.3g}",
            f"{check.budget_eps:g}",
            f"{check.max_error_eps / check.budget_eps:.0%}" if check.budget_eps else "",
            *beside,
            "passed" if check.passed else "FAILED",
            style=None if check.passed else "bold red",
        )
    return table


def _counted(changes: Iterable[Change]) -> str:
    """Count the changes of each kind, as in "120 same, 2 more, 1 drift"."""
    kinds = [change.kind for change in changes]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing"
