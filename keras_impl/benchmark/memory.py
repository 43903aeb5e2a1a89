"""Measure the peak memory of one call without its inputs and outputs."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keras_impl._common.timing import arrays_of
from keras_impl.benchmark.cases import case_of, device_of, matching_case, matching_work
from keras_impl.benchmark.loads import EAGER_LOAD
from keras_impl.benchmark.plan import Job

__all__ = [
    "weigh",
]


def weigh(job: Job, request: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the peak memory of a job's call without inputs and outputs.

    Args:
        job: The call to measure.
        request: The request of the worker, see `worker.work`.

    Returns:
        {"peak": bytes}, or {"left_out": reason}.
    """
    keras_host = job.implementation.startswith("keras") and job.mode == "host"
    if keras_host or job.implementation == "reference":
        return {"peak": _traced_peak(job, request)}
    if device_of(job, request) != "cpu":
        return {"left_out": "memory of an accelerator is not measured"}
    peak = _resident_peak(case_of(job, request).call)
    return {"left_out": "memory is measured on Linux only"} if peak is None else {"peak": peak}


def _traced_peak(job: Job, request: Mapping[str, Any]) -> int:
    """Measure with `tracemalloc`, including what the function keeps between calls."""
    # Imports at a first call must not count, so a small call runs before.
    case_of(job._replace(load=EAGER_LOAD), request).call()
    work = matching_work(job.load)
    gc.collect()
    tracemalloc.start()
    try:
        case = matching_case(job, work)
        case.call()
        tracemalloc.reset_peak()
        result = case.call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return max(0, peak - sum(part.nbytes for part in arrays_of(result)))


def _resident_peak(call: Callable[[], Any]) -> int | None:
    """Measure how far a second call raises the resident memory; None if the system cannot tell."""
    call()
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _status("VmRSS")
        result = call()
        peak, after = _status("VmHWM"), _status("VmRSS")
    except (OSError, LookupError):
        return None
    # Zeros of an output that nothing has read yet are not in resident memory.
    outputs = min(sum(part.nbytes for part in arrays_of(result)), max(0, after - before))
    return max(0, peak - before - outputs)


def _status(name: str) -> int:
    """Return one of the memory figures in /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
