"""Run the measurements of `ssd bench`: speed and memory, next to other libraries.

Every implementation runs in its own processes (`worker`, which reports in lines of JSON). So
libraries that do not get along never meet, and memory belongs to one implementation. A process
measures one load after the other:

1. **Check.** The result of the first call is compared with `reference_numpy` (`correctness`). A
   wrong result is not timed and fails the whole run. Peers follow other rules than the reference
   and are not compared. The first call also traces and compiles, and is timed separately.
2. **Time.** After one more call, rounds are timed until the time for a load is used up, at least
   five, with the garbage collector off. Inputs and anchors are made before, for a graph as tensors
   on the device. A round ends when the result is back in NumPy, which waits for the device. If the
   spread (IQR) is large (`QUIET`), something else was using the machine: all rounds are repeated,
   up to `PASSES` times, and the pass with the least median counts, for peers too.
3. **Compare.** The last result must equal the first one, bit for bit.

`exact` means that all integers (labels, objects, anchors) equal the reference's, except in
near-ties, each with a proof: XLA may fuse a product with a sum, and exponentials of two libraries
differ in the last bit. `Benchmark.excused` counts these. For the network, `exact` means that its
head outputs equal those of the same model run eagerly; for a training step, that its first loss
equals the reference's; both up to the rounding of sums in another order.

Memory is the peak of one call without its inputs and outputs, in a fresh process. NumPy reports its
allocations to `tracemalloc`, so the figure for functions on the host is exact; it includes
everything that the function keeps between calls. For others it is the rise of the resident memory
during a second call (Linux only).

Ratios compare medians of one run. An interrupt ends the run and keeps the results so far. Nothing
is printed here: `cli` and `page` do that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from keras_impl.benchmark.loads import DEVICES, NEW_ARRAYS, OPERATIONS, device_kind
from keras_impl.benchmark.plan import TIME_IS_UP, Job, Plan
from keras_impl.benchmark.records import Benchmark, Key, Record, label, with_ratios

__all__ = [
    "NoAcceleratorError",
    "run",
]

PATIENCE = 120.0  # seconds within which TensorFlow must start
GRACE = 3.0  # seconds after its limit at which a process is killed
# With these, freed memory returns to the system at once, so that the resident memory is exact.
FRESH_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "NUMPY_MADVISE_HUGEPAGE": "0",
    "TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1",  # oneDNN's own allocator keeps what is freed
}


# --- Running it ---------------------------------------------------------------------------


class NoAcceleratorError(RuntimeError):
    """TensorFlow sees no accelerator, although one was asked for."""


class _Findings:
    """Collect the reports of the processes."""

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
    """Run all measurements of a plan.

    Args:
        chosen: The plan.
        device: "cpu", or "gpu" to run Keras' graphs on the accelerator that TensorFlow sees;
            functions on the host and the peers stay on the CPU.
        watch: Called with the name of the next measurement.
        advance: Called with the number of measurements done since the last call.

    Returns:
        The results. A measurement that fails does not stop the others.

    Raises:
        NoAcceleratorError: `device` is "gpu" and TensorFlow sees no accelerator.
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
            watch("computing the head outputs of photographs")
            if absent := _ask_for_photographs(photographs, left()):
                findings.notes.append(f"decoding of photographs: {absent}")
                skipped = [job for job in jobs if job.load == "photographs"]
                jobs = [job for job in jobs if job not in skipped]
                advance(len(skipped))
        groups: dict[tuple[str, str, str], list[Job]] = {}
        for job in jobs:
            alone = job.load if job.operation == "first_call" else ""  # in a process of its own
            who = job.implementation.removesuffix(NEW_ARRAYS), job.mode, alone
            groups.setdefault(who, []).append(job)
        requests = [("time", who, mode, group) for (who, mode, _), group in groups.items()]
        requests += [
            ("memory", job.implementation.removesuffix(NEW_ARRAYS), job.mode, [job])
            for job in chosen.memory
        ]
        interrupted = False
        for kind, implementation, mode, group in requests:
            request = {
                "kind": kind,
                "device": device if implementation == "keras" and mode != "host" else "cpu",
                "jobs": group,
                "seconds": chosen.seconds,
                "limit": left(),
                "photographs": photographs,
            }
            if group[0].operation == "first_call":
                request["cache"] = str(Path(folder) / "numba")
            try:
                _order(request, label(implementation, mode), findings, watch)
            except KeyboardInterrupt:
                if not findings.records:
                    raise
                findings.notes.append("interrupted: the remaining measurements were left out")
                interrupted = True
                break

    from keras_impl.benchmark.peers import PEERS, installed

    watch("computing ratios")
    names = {record.implementation for record in findings.records.values()}
    peers = tuple(
        name
        for name, peer in PEERS.items()
        if name in names and peer.as_used and not peer.yardstick
    )
    missing = [name for name, peer in PEERS.items() if peer.as_used and not installed(name)]
    if missing:
        findings.notes.append(
            f"libraries to compare with that are not installed: {', '.join(missing)}; "
            'run: pip install "mobilenetv2-ssd[keras,bench-peers]"'
        )
    elif missing := [name for name in PEERS if not installed(name)]:
        findings.notes.append(
            f"peers that are not installed: {', '.join(missing)}; "
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
        interrupted=interrupted,
    )


def _facts() -> dict[str, str]:
    """Return the machine and the versions, including those of the peers."""
    from keras_impl.backends.machine import about_this_machine

    facts = about_this_machine()
    versions = []
    for package in (
        "torch",
        "torchvision",
        "keras-hub",
        "nvidia-dali-cuda120",
        "numba",
        "opencv-python-headless",
        "openvino",
    ):
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
    if all(device_kind(name) == "cpu" for name in seen):
        raise NoAcceleratorError(
            "device: expected an accelerator that TensorFlow sees. "
            f"Received: {', '.join(seen) or 'none'}; --device cpu runs everything on the CPU"
        )


def _ask_for_photographs(path: str, limit: float) -> str | None:
    """Have a process write the head outputs of photographs; return the reason if it cannot."""
    absent: list[str] = []
    request = {"kind": "photographs", "device": "cpu", "photographs": path}
    status = _talk(request, limit, lambda said: absent.append(said["absent"]))
    return absent[0] if absent else status


def _order(
    request: dict[str, Any], who: str, findings: _Findings, watch: Callable[[str], None]
) -> None:
    """Run the jobs of one process and collect its reports."""
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
            findings.failures.append(f"{what}{Key(*job)}: {status or 'its process did not report'}")
        findings.advance(len(waiting))


def _leave_out(jobs: Sequence[Job], findings: _Findings) -> None:
    findings.notes += [f"{Key(*job)}: {TIME_IS_UP}" for job in jobs]
    findings.advance(len(jobs))


def _talk(
    request: Mapping[str, Any], limit: float, hear: Callable[[Mapping[str, Any]], None]
) -> str | None:
    """Run one process and pass its reports on; return how it ended, or None if it ended well."""
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",  # graph and xla are TensorFlow's
        **({} if request["device"] == "gpu" else {"CUDA_VISIBLE_DEVICES": "-1"}),
        **(FRESH_MEMORY if request["kind"] == "memory" else {}),
        **({"NUMBA_CACHE_DIR": request["cache"]} if "cache" in request else {}),
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "keras_impl.benchmark.worker", json.dumps(request)],
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
                if line.startswith("{") and line.endswith(
                    "}\n"
                ):  # A killed process may cut a line.
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
    return f"its process ended with status {status}: {lines[-1] if lines else 'no message'}"
