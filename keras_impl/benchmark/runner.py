"""How fast, how large, and beside whom: what `ssd bench` measures.

Every implementation runs in processes of its own, so that libraries that do not get along never
meet, and memory is that of one thing only. In each of them, load after load:

1. **Right first.** The first call, which also traces and compiles and is timed apart, gives a
   result that is compared with `reference_numpy` (`agreement`). A wrong one is not timed, and
   the whole run has failed. Peers do other things than the reference and are not compared.
2. **Timed.** One more call, then rounds until the time for a load is used up, at least `ROUNDS`,
   with the garbage collector off. Inputs and anchors are made before, for a graph as tensors on
   the device; the result is back in NumPy at the end, which waits for the device. If the quartiles
   are far apart (`QUIET`), something else was using the machine: all rounds are done again, up to
   `PASSES` times, and those with the least median count, for peers as for us.
3. **The same.** The last result must be the first one, bit for bit.

`exact` says that all whole numbers (labels, objects, anchors) are the reference's, but for
near-ties, each with a proof: XLA may fuse a product with a sum, and exponentials of two libraries
differ in the last bit. How often that was needed is counted in `Benchmark.excused`. Of a network
it says that its heads are those of the same model run eagerly, and of a training step that its
first loss is the reference's, both within what sums in another order explain.

Memory is what one call needs at its peak beyond its inputs and outputs, in a fresh process. NumPy
reports its allocations to `tracemalloc`, so that for functions on the host the figure is exact, and
includes all that the function keeps between calls. For others it is how far the resident memory
rises over what it was before a second call (Linux only).

Ratios compare medians of one run. Nothing is printed here: `cli` and `benchmark_page` show it.

    python -m keras_impl.benchmark.runner REQUEST

is such a process: it says what happens as lines of JSON.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference_numpy import detection as reference_detection, targets as reference_targets
from reference_numpy.conventions import (
    CAFFE_SSD512,
    CANONICAL,
    SSD300,
    SSD_MOBILENET300,
    AnchorLayout,
    Convention,
    revived,
)
from reference_numpy.testing.workloads import (
    DecodingWorkload,
    MatchingWorkload,
    decoding_workload,
    matching_workload,
)

__all__ = [
    "ANCHOR_LOADS",
    "DEVICES",
    "NEW_ARRAYS",
    "OBJECT_LOADS",
    "OPERATIONS",
    "PICTURE_LOADS",
    "Benchmark",
    "Job",
    "Key",
    "NoAcceleratorError",
    "Plan",
    "Record",
    "Target",
    "plan",
    "run",
    "sizes",
    "targets",
    "with_ratios",
    "work",
]

Array = NDArray[Any]

OPERATIONS = ("matching", "decoding", "network", "targets_and_loss", "training_step")
DEVICES = ("cpu", "gpu")
SEED = 0
ROUNDS, MOST_ROUNDS = 5, 2000
PASSES, QUIET = 3, 0.25  # rounds are repeated where their quartiles are so far apart
SECONDS = {False: 1.0, True: 0.25}  # of rounds for a load; full and quick
LIMIT = {False: 1170.0, True: 165.0}  # of a run: 20 and 3 minutes, with time left for the page
PATIENCE = 120.0  # seconds in which TensorFlow should have started
GRACE = 3.0  # seconds after which a process that should have stopped is stopped

# Batch x objects x anchors.
OBJECT_LOADS = ("32x1x8732", "32x8x8732", "32x32x8732", "8x100x8732")
ANCHOR_LOADS = ("32x32x1917", "32x32x8732", "32x32x24564")
PICTURE_LOADS = ("1x1x8732", "1x10x8732", "1x100x8732", "1x1000x8732")
EAGER_LOAD = "1x8x1917"  # eagerly Python starts every operation of every step of a loop
LAYOUTS: dict[int, AnchorLayout] = {1917: SSD_MOBILENET300, 8732: SSD300, 24564: CAFFE_SSD512}

# 8 pictures on 8732 anchors and 21 classes; photographs on 1917 and 24.
DECODING_LOADS = ("realistic", "hard", "photographs")
DECODING_BATCH = DECODING_OBJECTS = 8

CLOSE = 1e-4  # of the largest: what sums of many products in another order may be off
NETWORK_LOAD = "1x2884"  # batch x anchors of the digit detector
TRAINING_LOAD = "8x10x2884"

NEW_ARRAYS = " (new arrays)"  # of an implementation that is not given memory to use again

# So that memory which is given back to the system is given back at once, whatever was freed before.
FRESH_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "NUMPY_MADVISE_HUGEPAGE": "0",
}


# --- What comes out -----------------------------------------------------------------------


class Key(NamedTuple):
    """What a record is about."""

    operation: str
    implementation: str
    mode: str
    load: str

    def __str__(self) -> str:
        return f"{self.operation} {self.load}, {self.implementation} {self.mode}"


@dataclass(frozen=True)
class Record:
    """One timing, as the JSON has it.

    Attributes:
        operation: One of `OPERATIONS`.
        implementation: "reference", "keras", or the name of a peer.
        mode: "host", "eager", "graph" or "xla".
        device: Where it ran.
        load: Pictures x objects x anchors, as "32x8x8732"; for decoding "hard", "realistic" or
            "photographs".
        median_ms: Median of the rounds.
        iqr_ms: Between their quartiles.
        ratio_to_fastest_peer: How many times as fast as the fastest peer on the same load; None
            if no peer was timed on it.
        peak_extra_bytes: Memory at the peak beyond inputs and outputs; None if not measured.
        exact: Whether the result is the reference's; None for peers.
    """

    operation: str
    implementation: str
    mode: str
    device: str
    load: str
    median_ms: float
    iqr_ms: float
    ratio_to_fastest_peer: float | None
    peak_extra_bytes: int | None
    exact: bool | None

    @property
    def key(self) -> Key:
        """What it is about."""
        return Key(self.operation, self.implementation, self.mode, self.load)


class Target(NamedTuple):
    """Something that was promised.

    Attributes:
        name: What.
        wanted: How much of it.
        reached: How much there is; None if it was not measured.
        met: Whether that is enough; None if it was not measured.
    """

    name: str
    wanted: str
    reached: str | None
    met: bool | None


@dataclass(frozen=True)
class Benchmark:
    """All that a run found out.

    Attributes:
        records: In the order of the operations.
        first_ms: Of the first call of each, which traces and compiles.
        excused: Pictures of each in which a near-tie was decided otherwise, with a proof.
        failures: What was wrong or did not run, a sentence each.
        notes: What was left out and why, likewise.
        facts: The machine, and the versions.
        peers: Names of the peers that were timed.
        quick: Whether this was the short form.
        seconds: How long it took.
    """

    records: tuple[Record, ...]
    first_ms: Mapping[Key, float] = field(default_factory=dict)
    excused: Mapping[Key, int] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    peers: tuple[str, ...] = ()
    quick: bool = False
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether everything ran, and nothing was wrong. That a target is missed is no failure."""
        return bool(self.records) and not self.failures

    @property
    def targets(self) -> list[Target]:
        """What was promised, beside what was reached."""
        return targets(self.records)

    def as_json(self) -> list[dict[str, Any]]:
        """The records for machines."""
        return [asdict(record) for record in self.records]


def sizes(load: str) -> tuple[int, ...]:
    """The numbers of a load.

    Example:
        >>> sizes("32x8x8732")
        (32, 8, 8732)
    """
    numbers = str(load).split("x")
    if not all(number.isdecimal() for number in numbers):
        raise ValueError(f"load: expected whole numbers with x between. Received: {load!r}")
    return tuple(map(int, numbers))


def with_ratios(records: Sequence[Record], peers: Sequence[str]) -> list[Record]:
    """Records beside the fastest of these peers on the same load.

    Example:
        >>> def timed(who: str, ms: float) -> Record:
        ...     return Record("matching", who, "host", "cpu", "1x1x1917", ms, 0.0, None, None, None)
        >>> found = with_ratios([timed("keras", 2.0), timed("theirs", 8.0)], ["theirs"])
        >>> [record.ratio_to_fastest_peer for record in found]
        [4.0, 1.0]
    """
    fastest: dict[tuple[str, str], float] = {}
    for record in records:
        if record.implementation in peers:
            load = (record.operation, record.load)
            fastest[load] = min(record.median_ms, fastest.get(load, record.median_ms))
    return [
        replace(
            record,
            ratio_to_fastest_peer=fastest[record.operation, record.load] / record.median_ms
            if (record.operation, record.load) in fastest
            else None,
        )
        for record in records
    ]


# --- Targets ------------------------------------------------------------------------------


def targets(records: Sequence[Record]) -> list[Target]:
    """What was promised of speed and memory, beside what was reached.

    Args:
        records: Of one run, with ratios.

    Returns:
        One target each; those whose loads were not all measured have no verdict.
    """
    known = {record.key: record for record in records}

    def of(
        operation: str, load: str, mode: str = "host", implementation: str = "keras"
    ) -> Record | None:
        return known.get(Key(operation, implementation, mode, load))

    def ratio(operation: str, load: str, mode: str = "host") -> float | None:
        record = of(operation, load, mode)
        return record.ratio_to_fastest_peer if record else None

    def quotient(one: Record | None, other: Record | None) -> float | None:
        return one.median_ms / other.median_ms if one and other else None

    def peak(mode: str) -> float | None:
        record = of("matching", ANCHOR_LOADS[1], mode)
        return record.peak_extra_bytes if record else None

    def at_least(name: str, least: float, found: Sequence[float | None]) -> Target:
        worst = _worst(min, found)
        met = None if worst is None else worst >= least
        return Target(name, f"{_times(least)} or more", _shown(worst, _times), met)

    def at_most(
        name: str, most: float, found: Sequence[float | None], show: Callable[[float], str]
    ) -> Target:
        worst = _worst(max, found)
        met = None if worst is None else worst <= most
        return Target(name, f"{show(most)} or less", _shown(worst, show), met)

    small, large = (of("matching", load) for load in ANCHOR_LOADS[1:])
    pictures = [of("matching", load) for load in PICTURE_LOADS]
    batch, _, anchors = sizes(ANCHOR_LOADS[1])
    share = quotient(
        of("targets_and_loss", TRAINING_LOAD, "graph"), of("training_step", TRAINING_LOAD, "graph")
    )
    return [
        at_least(
            "matching on the host, beside the fastest peer",
            20,
            [ratio("matching", load) for load in OBJECT_LOADS],
        ),
        at_least(
            "matching on the host, beside the same loops compiled by numba",
            1,
            [
                quotient(of("matching", load, implementation="numba"), of("matching", load))
                for load in OBJECT_LOADS
            ],
        ),
        at_least(
            "matching in a graph (XLA), beside the fastest peer",
            4,
            [ratio("matching", load, "xla") for load in OBJECT_LOADS],
        ),
        at_most(
            "time of matching on the host, 24564 anchors over 8732 (32 x 32 objects)",
            1.3,
            [quotient(large, small)],
            _times,
        ),
        at_most(
            "time of matching on the host for ten times the objects of one picture, 1 to 1000",
            10,
            [quotient(more, less) for less, more in itertools.pairwise(pictures)],
            _times,
        ),
        at_most(
            "extra memory of matching on the host (32x32x8732)", 8e6, [peak("host")], _megabytes
        ),
        at_most(
            "extra memory of matching under XLA (32x32x8732)",
            batch * anchors * 16,
            [peak("xla")],
            _megabytes,
        ),
        *(
            at_least(
                f"decoding on the host, beside the fastest peer: {load}",
                5,
                [ratio("decoding", load)],
            )
            for load in DECODING_LOADS
        ),
        at_most(
            "target assignment and loss, of a training step",
            0.03,
            [share],
            _percent,
        ),
    ]


def _worst(choose: Callable[..., float], found: Sequence[float | None]) -> float | None:
    """The worst of all, if all are known."""
    known = [value for value in found if value is not None]
    return choose(known) if len(known) == len(found) else None


def _shown(value: float | None, show: Callable[[float], str]) -> str | None:
    return None if value is None else show(value)


def _times(value: float) -> str:
    return f"{value:.3g}x"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.3g} MB"


# --- What is measured ---------------------------------------------------------------------


class Job(NamedTuple):
    """One thing to measure."""

    operation: str
    implementation: str
    mode: str
    load: str


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        timings: Timed, checked where it is ours; those of one implementation and mode follow
            each other and share a process.
        memory: Of which peak memory is measured, in a process each.
        seconds: Rounds of a timing may take that long together.
        limit: Seconds for everything; what is not begun by then is left out, and that is said.
        quick: Whether this is the short form.
    """

    timings: tuple[Job, ...]
    memory: tuple[Job, ...]
    seconds: float
    limit: float
    quick: bool = False


def plan(quick: bool = False) -> Plan:
    """What `ssd bench` measures on this machine.

    What matters most comes first, in case that the time does not suffice. The long form adds
    photographs, decoding in graphs, and for everyone the loads of one picture and memory.

    Args:
        quick: Three minutes, not twenty.

    Returns:
        A plan, with the peers that are installed.
    """
    from keras_impl.benchmark.peers import PEERS, installed

    everywhere = tuple(dict.fromkeys((*OBJECT_LOADS, *ANCHOR_LOADS, *PICTURE_LOADS)))
    most = tuple(dict.fromkeys((*OBJECT_LOADS, *ANCHOR_LOADS)))
    others = OBJECT_LOADS if quick else everywhere
    decoded = DECODING_LOADS[:2] if quick else DECODING_LOADS
    theirs = [
        peer for name, peer in PEERS.items() if installed(name) and (peer.as_used or not quick)
    ]

    loads: list[tuple[str, str, str, Sequence[str]]] = [
        ("keras", "host", "matching", everywhere),
        (f"keras{NEW_ARRAYS}", "host", "matching", OBJECT_LOADS if quick else most),
        ("keras", "host", "decoding", decoded),
    ]
    for peer in theirs:
        for operation in peer.operations:
            chosen = {"matching": others, "decoding": decoded}.get(operation, ())
            loads.append((peer.name, peer.mode, operation, chosen))
    loads += [
        ("keras", "xla", "matching", others),
        ("keras", "graph", "network", (NETWORK_LOAD,)),
        ("keras", "graph", "targets_and_loss", (TRAINING_LOAD,)),
        ("keras", "graph", "training_step", (TRAINING_LOAD,)),
    ]
    if quick:
        loads += [("reference", "host", "matching", ("32x8x8732",))]
    else:
        loads += [
            ("keras", "xla", "decoding", decoded),
            ("keras", "graph", "matching", everywhere),
            ("keras", "graph", "decoding", decoded),
            ("reference", "host", "matching", (*OBJECT_LOADS, "32x32x1917", *PICTURE_LOADS[:3])),
            ("reference", "host", "decoding", decoded),
            ("keras", "eager", "matching", (EAGER_LOAD,)),
            ("reference", "host", "matching", (EAGER_LOAD,)),
        ]
    timings = [
        Job(operation, implementation, mode, load)
        for implementation, mode, operation, chosen in loads
        for load in chosen
    ]

    weighed = ANCHOR_LOADS[1:2] if quick else ANCHOR_LOADS
    memory = [("keras", "host"), ("keras", "xla")]
    if not quick:
        memory += [(f"keras{NEW_ARRAYS}", "host"), ("keras", "graph")]
        memory += [(peer.name, peer.mode) for peer in theirs if "matching" in peer.operations]
    return Plan(
        tuple(timings),
        tuple(Job("matching", *who, load) for load in weighed for who in memory),
        SECONDS[quick],
        LIMIT[quick],
        quick,
    )


# --- Running it ---------------------------------------------------------------------------


class NoAcceleratorError(RuntimeError):
    """The accelerator that was asked for is not there; the message says so in a sentence."""


class _Findings:
    """What the processes say, while they say it."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance = advance
        self.records: dict[Key, Record] = {}
        self.first_ms: dict[Key, float] = {}
        self.excused: dict[Key, int] = {}
        self.peaks: dict[Key, int] = {}
        self.failures: list[str] = []
        self.notes: list[str] = []

    def hear(self, said: Mapping[str, Any]) -> None:
        key = Key(*said["key"]) if "key" in said else None
        if "record" in said:
            record = Record(**said["record"])
            self.records[record.key] = record
            self.first_ms[record.key] = said["first_ms"]
            self.excused[record.key] = said["excused"]
        elif "peak" in said and key is not None:
            self.peaks[key] = said["peak"]
        elif "failed" in said:
            self.failures.append(f"{said.get('what', '')}{key}: {said['failed']}")
        elif "left_out" in said:
            self.notes.append(f"{said.get('what', '')}{key}: {said['left_out']}")
        self.advance(said.get("steps", 0))


def run(
    chosen: Plan,
    *,
    device: str = "cpu",
    watch: Callable[[str], None] = lambda text: None,
    advance: Callable[[int], None] = lambda steps: None,
) -> Benchmark:
    """Measure all that a plan holds.

    Args:
        chosen: The plan.
        device: "cpu", or "gpu" for Keras' graphs on whatever accelerator TensorFlow sees; what
            runs on the host, and the peers, stay there.
        watch: Told what is measured next.
        advance: Told how many measurements are done.

    Returns:
        What was found out. What fails does not stop the rest.

    Raises:
        NoAcceleratorError: An accelerator is asked for and there is none.
        ValueError: An unknown device.
    """
    if device not in DEVICES:
        raise ValueError(f"device: expected one of {list(DEVICES)}. Received: {device!r}")
    started = time.monotonic()
    load_average = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    if device == "gpu":
        watch("looking for an accelerator")
        _demand_accelerator()
    findings = _Findings(advance)

    def left() -> float:
        return chosen.limit - (time.monotonic() - started)

    with tempfile.TemporaryDirectory() as folder:
        jobs = list(chosen.timings)
        photographs = str(Path(folder) / "photographs.npz")
        if any(job.load == "photographs" for job in jobs):
            watch("the heads of photographs")
            if absent := _ask_for_photographs(photographs, left()):
                findings.notes.append(f"decoding of photographs: {absent}")
                skipped = [job for job in jobs if job.load == "photographs"]
                jobs = [job for job in jobs if job not in skipped]
                advance(len(skipped))
        groups: dict[tuple[str, str], list[Job]] = {}
        for job in jobs:
            who = job.implementation.removesuffix(NEW_ARRAYS), job.mode
            groups.setdefault(who, []).append(job)
        requests = [("time", *who, group) for who, group in groups.items()]
        requests += [
            ("memory", job.implementation.removesuffix(NEW_ARRAYS), job.mode, [job])
            for job in chosen.memory
        ]
        for kind, implementation, mode, group in requests:
            request = {
                "kind": kind,
                "device": device if implementation == "keras" and mode != "host" else "cpu",
                "jobs": group,
                "seconds": chosen.seconds,
                "limit": left(),
                "photographs": photographs,
            }
            _order(request, f"{implementation} {mode}", findings, watch)

    from keras_impl.benchmark.peers import PEERS

    watch("the table")
    names = {record.implementation for record in findings.records.values()}
    peers = tuple(
        name
        for name, peer in PEERS.items()
        if name in names and peer.as_used and not peer.yardstick
    )
    if not peers:
        findings.notes.append(
            "peers: none is installed, so there are no ratios; "
            'run: pip install "mobilenetv2-ssd[keras,bench-peers]"'
        )
    weighed = [
        replace(record, peak_extra_bytes=findings.peaks.get(key))
        for key, record in findings.records.items()
    ]
    weighed.sort(key=lambda record: OPERATIONS.index(record.operation))
    return Benchmark(
        records=tuple(with_ratios(weighed, peers)),
        first_ms=findings.first_ms,
        excused=findings.excused,
        failures=tuple(findings.failures),
        notes=tuple(findings.notes),
        facts={**_facts(), "load average before": load_average, "device": device},
        peers=peers,
        quick=chosen.quick,
        seconds=time.monotonic() - started,
    )


def _facts() -> dict[str, str]:
    """The machine and the versions, those of the peers among them."""
    from keras_impl.backends.machine import about_this_machine

    facts = about_this_machine()
    versions = []
    for package in ("torch", "torchvision", "keras-hub", "numba", "opencv-python-headless"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return {**facts, **({"peers' versions": ", ".join(versions)} if versions else {})}


def _demand_accelerator() -> None:
    seen: list[str] = []

    def hear(said: Mapping[str, Any]) -> None:
        seen.extend(said["seen"])

    status = _talk({"kind": "devices", "device": "gpu"}, PATIENCE, hear)
    if status:
        raise NoAcceleratorError(f"device: expected TensorFlow to start. Received: {status}")
    if all(_kind(name) == "cpu" for name in seen):
        raise NoAcceleratorError(
            "device: expected an accelerator that TensorFlow sees. "
            f"Received: {', '.join(seen) or 'none'}; --device cpu runs the same on the processor"
        )


def _kind(device: str) -> str:
    """As Keras names devices: "gpu:0" is a "gpu"."""
    return device.partition(":")[0]


def _ask_for_photographs(path: str, limit: float) -> str | None:
    """Let the heads of photographs be written; why there are none, if so."""
    absent: list[str] = []
    request = {"kind": "photographs", "device": "cpu", "photographs": path}
    status = _talk(request, limit, lambda said: absent.append(said["absent"]))
    return absent[0] if absent else status


def _order(
    request: dict[str, Any], who: str, findings: _Findings, watch: Callable[[str], None]
) -> None:
    """One process, and what comes of its jobs."""
    jobs = [Job(*job) for job in request["jobs"]]
    waiting = list(jobs)
    if request["limit"] <= 0:
        _leave_out(waiting, findings)
        return
    watch(f"starting {who}")
    what = "memory of " if request["kind"] == "memory" else ""

    def hear(said: Mapping[str, Any]) -> None:
        if "doing" in said:
            watch(what + said["doing"])
            return
        findings.hear({**said, "steps": 1, "what": what})
        waiting.remove(Job(*said["job"]))

    began = time.monotonic()
    status = _talk(request, request["limit"] + GRACE, hear)
    if not waiting:
        return
    if time.monotonic() - began >= request["limit"]:
        _leave_out(waiting, findings)
    else:
        for job in waiting:
            findings.failures.append(f"{what}{Key(*job)}: {status or 'nothing was said of it'}")
        findings.advance(len(waiting))


def _leave_out(jobs: Sequence[Job], findings: _Findings) -> None:
    findings.notes += [f"{Key(*job)}: left out, the time was up" for job in jobs]
    findings.advance(len(jobs))


def _talk(
    request: Mapping[str, Any], limit: float, hear: Callable[[Mapping[str, Any]], None]
) -> str | None:
    """Start a process, hear what it says, and tell how it ended if it ended badly."""
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",  # graph and xla are TensorFlow's
        **({} if request["device"] == "gpu" else {"CUDA_VISIBLE_DEVICES": "-1"}),
        **(FRESH_MEMORY if request["kind"] == "memory" else {}),
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "keras_impl.benchmark.runner", json.dumps(request)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        timer = threading.Timer(max(0.0, limit), child.kill)
        timer.start()
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith("{") and line.endswith("}\n"):  # whole; nothing else is said
                    hear(json.loads(line))
            status = child.wait()
        finally:
            timer.cancel()
            child.kill()
            child.communicate()
        if not status:
            return None
        errors.seek(0)
        lines = [line.strip() for line in errors if line.strip()]
    return f"its process ended with {status}: {lines[-1] if lines else 'it said nothing'}"


# --- A process: what it is asked ----------------------------------------------------------


def work(request: Mapping[str, Any], say: Callable[[Mapping[str, Any]], None]) -> None:
    """Do what a request asks for, in this process.

    Args:
        request: "kind" ("time", "memory", "photographs" or "devices"), "device", "jobs",
            "seconds", "limit", and "photographs", where the heads of these are.
        say: Told of each job when it begins and when it has ended.
    """
    began = time.monotonic()
    if request["kind"] == "devices":
        import keras

        say({"seen": list(keras.distribution.list_devices())})
        return
    if request["kind"] == "photographs":
        try:
            _write_photographs(request["photographs"])
        except (FileNotFoundError, ModuleNotFoundError) as error:
            say({"absent": " ".join(str(error).split())})
        return
    for fields in request["jobs"]:
        job = Job(*fields)
        about = {"job": job, "key": Key(*job)}
        if time.monotonic() - began >= request["limit"]:
            say({**about, "left_out": "the time was up"})
            continue
        say({"doing": str(Key(*job))})
        try:
            if request["kind"] == "memory":
                say({**about, **_weigh(job, request)})
            else:
                say({**about, **_time(job, request)})
        except NotImplementedError as error:
            say({**about, "left_out": " ".join(str(error).split()) or "it cannot"})
        except Exception as error:  # whatever is wrong with one load, the next may be right
            text = " ".join(str(error).split())
            wrong = isinstance(error, AssertionError)
            say({**about, "failed": text if wrong else f"{type(error).__name__}: {text}"})


def _time(job: Job, request: Mapping[str, Any]) -> dict[str, Any]:
    case = _case(job, request)
    start = time.perf_counter()
    first = case.call()
    first_ms = 1e3 * (time.perf_counter() - start)
    excused = case.check(first) if case.check else 0
    kept = _copied(first) if case.repeats else None
    del first
    passes: list[tuple[float, float]] = []
    while not passes or (len(passes) < PASSES and _restless(*passes[-1])):
        rounds, last = _rounds(case.call, request["seconds"])
        if kept is not None and not _equal(kept, last):
            raise AssertionError("the last timed call gave another result than the first")
        del last
        low, median, high = np.percentile(1e3 * np.array(rounds), [25, 50, 75])
        passes.append((float(median), float(high - low)))
    median, apart = min(passes)
    ours = case.check is not None
    record = Record(
        *(job.operation, job.implementation, job.mode, _device(job, request), job.load),
        *(median, apart),
        ratio_to_fastest_peer=None,
        peak_extra_bytes=None,
        exact=True if ours else None,
    )
    return {"record": asdict(record), "first_ms": first_ms, "excused": excused}


def _restless(median: float, apart: float) -> bool:
    """Whether something else on the machine was heard in the rounds."""
    return apart > QUIET * median


def _rounds(call: Callable[[], Any], seconds: float) -> tuple[list[float], Any]:
    """Durations of calls, after one more that is not counted, and what the last one gave."""
    last = call()
    rounds: list[float] = []
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        while len(rounds) < ROUNDS or (
            time.perf_counter() - began < seconds and len(rounds) < MOST_ROUNDS
        ):
            del last  # a pipeline does not keep it either
            start = time.perf_counter()
            last = call()
            rounds.append(time.perf_counter() - start)
    finally:
        if collects:
            gc.enable()
    return rounds, last


def _device(job: Job, request: Mapping[str, Any]) -> str:
    """Where TensorFlow puts its work, if it may; the host's CPU for all others."""
    if request["device"] == "cpu" or job.mode == "host" or job.implementation != "keras":
        return "cpu"
    import keras

    kinds = [_kind(name) for name in keras.distribution.list_devices()]
    return next((kind for kind in kinds if kind != "cpu"), "cpu")


def _parts(result: Any) -> list[Array]:
    """The arrays of a result, however nested."""
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, list | tuple):
        return [array for part in result for array in _parts(part)]
    return [] if result is None else [np.asarray(result)]


def _copied(result: Any) -> list[Array]:
    return [part.copy() for part in _parts(result)]


def _equal(first: list[Array], last: Any) -> bool:
    parts = _parts(last)
    return len(first) == len(parts) and all(map(np.array_equal, first, parts))


# --- A process: memory --------------------------------------------------------------------


def _weigh(job: Job, request: Mapping[str, Any]) -> dict[str, Any]:
    """The memory of a call at its peak, beyond inputs and outputs."""
    keras_host = job.implementation.startswith("keras") and job.mode == "host"
    if keras_host or job.implementation == "reference":
        return {"peak": _traced_peak(job, request)}
    if _device(job, request) != "cpu":
        return {"left_out": "the memory of an accelerator is not measured"}
    with _left_on_the_device(job):
        peak = _resident_peak(_case(job, request).call)
    return {"left_out": "memory is measured on Linux only"} if peak is None else {"peak": peak}


def _traced_peak(job: Job, request: Mapping[str, Any]) -> int:
    """By `tracemalloc`: two calls, and all that is kept from one to the next."""
    # What is imported at a first call is no memory of the call.
    _case(job._replace(load=EAGER_LOAD), request).call()
    work = _matching_work(job.load)
    gc.collect()
    tracemalloc.start()
    try:
        case = _matching(job, work)
        case.call()
        tracemalloc.reset_peak()
        result = case.call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return max(0, peak - sum(part.nbytes for part in _parts(result)))


def _resident_peak(call: Callable[[], Any]) -> int | None:
    """By the system: how far a second call raises what this process has in memory."""
    call()
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
        before = _status("VmRSS")
        result = call()
        peak, after = _status("VmHWM"), _status("VmRSS")
    except (OSError, LookupError):
        return None
    # Zeros that nobody has read yet are not in memory, though they are part of an output.
    outputs = min(sum(part.nbytes for part in _parts(result)), max(0, after - before))
    return max(0, peak - before - outputs)


def _status(name: str) -> int:
    """A number of bytes that the system keeps of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


@contextmanager
def _left_on_the_device(job: Job) -> Iterator[None]:
    """Keep Keras' outputs where they are: `in_mode` copies them to NumPy, which is not the call."""
    if job.implementation != "keras":
        yield
        return
    import keras

    copy = keras.ops.convert_to_numpy
    keras.ops.convert_to_numpy = lambda tensor: tensor
    try:
        yield
    finally:
        keras.ops.convert_to_numpy = copy


# --- A process: the operations ------------------------------------------------------------


class Case(NamedTuple):
    """What is timed.

    Attributes:
        call: One round; it ends when the result is there.
        check: Raises AssertionError if the first result is wrong, or returns how many pictures
            were excused; None where there is nothing to compare with.
        repeats: Whether every call gives the same.
    """

    call: Callable[[], Any]
    check: Callable[[Any], int] | None
    repeats: bool = True


def _case(job: Job, request: Mapping[str, Any]) -> Case:
    if job.operation == "matching":
        return _matching(job, _matching_work(job.load))
    if job.operation == "decoding":
        return _decoding(job, *_decoding_work(job.load, request["photographs"]))
    if job.operation == "network":
        return _network()
    return {"targets_and_loss": _targets_and_loss, "training_step": _training_step}[job.operation]()


def _in_mode(function: Callable[..., Any], mode: str, *arguments: Array) -> Callable[[], Any]:
    """A function of tensors that are there already."""
    import keras

    from keras_impl.backends import in_mode

    return partial(in_mode(function, mode), *map(keras.ops.convert_to_tensor, arguments))


def _right(found: Any) -> int:
    """The reference is what others are compared with."""
    return 0


@lru_cache(maxsize=1)
def _matching_work(load: str) -> MatchingWorkload:
    batch, objects, anchors = sizes(load)
    return matching_workload(LAYOUTS[anchors], batch, objects, SEED)


def _matching(job: Job, work: MatchingWorkload) -> Case:
    from keras_impl.benchmark.correctness import check_targets

    boxes, labels, anchors = work
    if job.implementation == "reference":
        assign = reference_targets.assign_targets
        return Case(
            lambda: [assign(*picture, anchors) for picture in zip(boxes, labels, strict=True)],
            _right,
        )
    check = partial(check_targets, work=work, excuse=job.mode == "xla")
    if job.implementation.startswith("keras") and job.mode == "host":
        from keras_impl.host.matching import TargetAssigner

        assigner = TargetAssigner(anchors)
        if job.implementation.endswith(NEW_ARRAYS):
            return Case(lambda: assigner.assign(boxes, labels), check)
        # Memory that held the targets of other pictures, as in a pipeline.
        batch, objects = labels.shape
        others = matching_workload(LAYOUTS[len(anchors)], batch, objects, SEED + 1)
        held = assigner.assign(others.boxes, others.labels)

        def again() -> Any:
            nonlocal held
            held = assigner.assign(boxes, labels, out=held)
            return held

        return Case(again, check)
    if job.implementation == "keras":
        from keras_impl.ops.targets import assign_targets

        return Case(_in_mode(partial(assign_targets, anchors=anchors), job.mode, *work[:2]), check)
    from keras_impl.benchmark import peers

    matcher = peers.matcher(job.implementation, anchors, boxes.shape[1])
    yardstick = peers.PEERS[job.implementation].yardstick
    return Case(lambda: matcher(boxes, labels), check if yardstick else None)


@lru_cache(maxsize=1)
def _decoding_work(load: str, photographs: str) -> tuple[DecodingWorkload, Convention]:
    if load != "photographs":
        work = decoding_workload(SSD300, DECODING_BATCH, DECODING_OBJECTS, seed=SEED, load=load)
        return work, CANONICAL
    with np.load(photographs, allow_pickle=False) as file:
        convention = revived(Convention, json.loads(str(file["convention"])))
        return DecodingWorkload(file["deltas"], file["logits"], file["anchors"]), convention


def _decoding(job: Job, work: DecodingWorkload, convention: Convention) -> Case:
    from keras_impl.benchmark.correctness import check_detections

    deltas, logits, anchors = work

    def by_reference() -> list[reference_detection.Detections]:
        return [
            reference_detection.detect(*picture, anchors, convention)
            for picture in zip(deltas, logits, strict=True)
        ]

    def check(found: Any) -> int:
        return check_detections(found, by_reference(), work, convention)

    if job.implementation == "reference":
        return Case(by_reference, _right)
    if job.implementation == "keras" and job.mode == "host":
        from keras_impl.host import detection as host_detection

        return Case(partial(host_detection.detect, deltas, logits, anchors, convention), check)
    if job.implementation == "keras":
        from keras_impl.ops.detection import detect

        function = partial(detect, anchors=anchors, convention=convention)
        return Case(_in_mode(function, job.mode, deltas, logits), check)
    from keras_impl.benchmark import peers

    decoder = peers.decoder(job.implementation, anchors, convention)
    yardstick = peers.PEERS[job.implementation].yardstick
    return Case(lambda: decoder(deltas, logits), check if yardstick else None)


def _write_photographs(path: str) -> None:
    """What the heads of the Open Images detector say of eight photographs.

    Its scores are sigmoids, and its codes (ty, tx, th, tw); what is kept is the canonical choice.
    """
    from keras_impl.data.photographs import sample_photographs
    from keras_impl.detector.detector import load_detector, open_picture, prepare

    detector = load_detector("oidv4")
    files = sample_photographs()
    images = np.stack(
        [
            prepare(open_picture(files[index % len(files)]), detector.size)
            for index in range(DECODING_BATCH)
        ]
    )
    convention = replace(
        detector.convention,
        name="oidv4, kept as canonical",
        detection=CANONICAL.detection,
    )
    said = {name: np.asarray(value) for name, value in detector.heads(images).items()}
    np.savez(
        path,
        deltas=said["deltas"],
        logits=said["logits"],
        anchors=detector.anchors.astype(np.float32),
        convention=np.array(json.dumps(asdict(convention))),
    )


# --- A process: the network ---------------------------------------------------------------


@lru_cache(maxsize=1)
def _digit_model() -> Any:
    """Untrained; the training step, which changes it, is the last that uses it."""
    import keras

    from keras_impl.training.digits import Recipe, digit_model

    keras.utils.set_random_seed(SEED)
    return digit_model(Recipe())


def _digit_batch(count: int) -> tuple[Array, Array, Array]:
    """Canvases of the package's digits: pictures, boxes, labels."""
    from keras_impl.data.mnist import batch_images, canvas, collate, load_digits

    digits = load_digits("train")
    batch = collate([canvas(digits, "1-10", SEED, index) for index in range(count)])
    return batch_images(batch.images), batch.boxes, batch.labels


def _network() -> Case:
    """The forward pass of the digit detector: one picture, as a graph."""
    import keras

    model = _digit_model()
    pictures = _digit_batch(sizes(NETWORK_LOAD)[0])[0]
    forward = partial(model, training=False)

    def check(found: Any) -> int:
        for name, right in forward(pictures).items():
            right = keras.ops.convert_to_numpy(right)
            error = np.abs(found[name] - right).max()
            if found[name].shape != right.shape or not error <= CLOSE * np.abs(right).max():
                raise AssertionError(f"{name}: off by {error} from the same model run eagerly")
        return 0

    return Case(_in_mode(forward, "graph", pictures), check)


def _targets_and_loss() -> Case:
    """What a training step does beside the network: targets, loss, its gradient by the heads."""
    from keras_impl.backends import gradients
    from reference_numpy.gradients import multibox_gradient

    model = _digit_model()
    batch, _, anchors = sizes(TRAINING_LOAD)
    _, boxes, labels = _digit_batch(batch)
    rng = np.random.default_rng(SEED)
    deltas = rng.normal(0, 0.5, (batch, anchors, 4)).astype(np.float32)
    logits = rng.normal(0, 2, (batch, anchors, model.classes + 1)).astype(np.float32)

    def step(deltas: Any, logits: Any, boxes: Any, labels: Any) -> Any:
        def loss(deltas: Any, logits: Any) -> Any:
            heads = {"deltas": deltas, "logits": logits}
            return model.compute_loss(y={"boxes": boxes, "labels": labels}, y_pred=heads)

        return gradients(loss)(deltas, logits)

    def check(found: Any) -> int:
        wanted = _reference_targets(boxes, labels, model)
        right = multibox_gradient(deltas, logits, wanted[1], wanted[0], model.convention)
        for name, mine, theirs in zip(("deltas", "logits"), found, right, strict=True):
            others = mine.any(axis=-1) != theirs.any(axis=-1)
            error = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
            if others.any() or not error <= CLOSE:
                raise AssertionError(
                    f"not the reference's gradients by {name}: {others.sum()} anchors are heard "
                    f"that should not be, or not that should be; numbers are off by {error:.2g}"
                )
        return 0

    return Case(_in_mode(step, "graph", deltas, logits, boxes, labels), check)


def _training_step() -> Case:
    """One step of `fit` on the digit detector: network, loss, gradients, Adam."""
    import keras

    from reference_numpy.multibox import multibox

    model = _digit_model()
    model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=10.0))
    images, boxes, labels = _digit_batch(sizes(TRAINING_LOAD)[0])
    # With the statistics of the batch, as in the step.
    said = {name: np.asarray(part) for name, part in model(images, training=True).items()}
    pictures, box, label = map(keras.ops.convert_to_tensor, (images, boxes, labels))

    def step() -> Any:
        return model.train_on_batch(pictures, {"boxes": box, "labels": label}, return_dict=True)

    def check(found: Any) -> int:
        wanted = _reference_targets(boxes, labels, model)
        right = multibox(said["deltas"], said["logits"], wanted[1], wanted[0], model.convention)
        error = abs(float(found["loss"]) / float(right.total) - 1)
        if not error <= CLOSE:
            raise AssertionError(f"the first loss is off by {error} of the reference's")
        return 0

    return Case(step, check, repeats=False)


def _reference_targets(boxes: Array, labels: Array, model: Any) -> tuple[Array, Array]:
    """Labels and deltas of a batch, by the reference."""
    assign = reference_targets.assign_targets
    found = [
        assign(*picture, model.anchors, model.convention)
        for picture in zip(boxes, labels, strict=True)
    ]
    return np.stack([one.labels for one in found]), np.stack([one.deltas for one in found])


def _main() -> None:
    """The other process: lines of JSON, and nothing else, on what was stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_impl.benchmark.runner", description=_main.__doc__
    )
    parser.add_argument("request", type=json.loads, help="JSON, as `work` takes it")
    request = parser.parse_args().request
    kind = str(request.get("kind")) if isinstance(request, dict) else ""
    needed = {
        "devices": (),
        "photographs": ("photographs",),
        **dict.fromkeys(("time", "memory"), ("device", "jobs", "seconds", "limit")),
    }
    if kind not in needed or not {*needed[kind]} <= set(request):
        parser.error(f"request: expected kind, and what it needs: {needed}. Received: {request!r}")
    # Whatever a library prints goes where errors go.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(said: Mapping[str, Any]) -> None:
        channel.write(json.dumps(said) + "\n")
        channel.flush()

    work(request, say)


if __name__ == "__main__":
    _main()
