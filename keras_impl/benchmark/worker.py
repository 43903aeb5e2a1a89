"""A benchmark process: it checks and times calls, and reports in lines of JSON.

python -m keras_impl.benchmark.worker REQUEST
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from keras_impl._common.timing import measure, timed_rounds
from keras_impl.benchmark.cases import case_of, device_of, matching_work, write_photographs
from keras_impl.benchmark.correctness import check_detections, check_targets
from keras_impl.benchmark.loads import SEED
from keras_impl.benchmark.memory import weigh
from keras_impl.benchmark.plan import TIME_IS_UP, Job
from keras_impl.benchmark.records import Key, Record
from reference_numpy.conventions import SSD300
from reference_numpy.testing.workloads import decoding_workload

__all__ = [
    "work",
]

# All rounds are repeated, up to PASSES times, if their IQR is more than QUIET of the median.
PASSES, QUIET = 3, 0.25


def work(request: Mapping[str, Any], say: Callable[[Mapping[str, Any]], None]) -> None:
    """Do the measurements of a request in this process.

    Args:
        request: "kind" ("time", "memory", "photographs" or "devices"), "device", "jobs",
            "seconds", "limit", and "photographs", the file of their head outputs.
        say: Called when a job begins and when it ends.
    """
    began = time.monotonic()
    if request["kind"] == "devices":
        import keras

        say({"seen": list(keras.distribution.list_devices())})
        return
    if request["kind"] == "photographs":
        try:
            write_photographs(request["photographs"])
        except (FileNotFoundError, ModuleNotFoundError) as error:
            say({"absent": " ".join(str(error).split())})
        return
    for fields in request["jobs"]:
        job = Job(*fields)
        about = {"job": job, "key": Key(*job)}
        if time.monotonic() - began >= request["limit"]:
            say({**about, "left_out": TIME_IS_UP})
            continue
        say({"doing": str(Key(*job))})
        try:
            if request["kind"] == "memory":
                say({**about, **weigh(job, request)})
            elif job.operation == "first_call":
                say({**about, **_first_call(job)})
            else:
                say({**about, **_time(job, request)})
        except NotImplementedError as error:
            say({**about, "left_out": " ".join(str(error).split()) or "not implemented"})
        except Exception as error:  # One load that fails must not stop the next.
            text = " ".join(str(error).split())
            wrong = isinstance(error, AssertionError)
            say({**about, "failed": text if wrong else f"{type(error).__name__}: {text}"})


def _time(job: Job, request: Mapping[str, Any]) -> dict[str, Any]:
    case = case_of(job, request)
    measured = measure(
        case.call,
        case.check,
        seconds=request["seconds"],
        repeats=case.repeats,
        run=_quiet_rounds,
    )
    median, apart = _median_and_iqr(measured.rounds)
    record = Record(
        *(job.operation, job.implementation, job.mode, device_of(job, request), job.load),
        *(1e3 * median, 1e3 * apart),
        ratio_to_fastest_peer=None,
        peak_extra_bytes=None,
        exact=True if case.check is not None else None,
    )
    return {
        "record": asdict(record),
        "first_ms": 1e3 * measured.first,
        "excused": measured.excused,
    }


def _first_call(job: Job) -> dict[str, Any]:
    """Time the import and the first calls of the host path, which compiles or reads the cache.

    What numba itself imports and prepares, once a process has compiled anything, is not counted.
    """
    from numba import njit

    targets, heads = matching_work("1x8x8732"), decoding_workload(SSD300, 1, 8, seed=SEED)
    njit(lambda: 0)()
    began = time.perf_counter()
    from keras_impl.host import TargetAssigner, detect

    assigned = TargetAssigner(targets.anchors).assign(targets.boxes, targets.labels)
    found = detect(*heads)
    seconds = time.perf_counter() - began
    check_targets(assigned, targets, excuse=False)
    check_detections(found, heads)
    record = Record(*job[:3], "cpu", job.load, 1e3 * seconds, 0.0, None, None, exact=True)
    return {"record": asdict(record), "first_ms": 1e3 * seconds, "excused": 0}


def _quiet_rounds(
    call: Callable[[], Any], seconds: float, least: int, most: int
) -> tuple[list[float], Any]:
    """Time rounds, again if other work disturbed them; return the pass with the least median."""
    passes: list[list[float]] = []
    while True:
        rounds, last = timed_rounds(call, seconds, least, most)
        passes.append(rounds)
        median, apart = _median_and_iqr(rounds)
        if apart <= QUIET * median or len(passes) == PASSES:
            return min(passes, key=_median_and_iqr), last
        del last


def _median_and_iqr(rounds: list[float]) -> tuple[float, float]:
    low, median, high = np.percentile(rounds, [25, 50, 75])
    return float(median), float(high - low)


def _main() -> None:
    """Serve one request: write lines of JSON, and nothing else, to stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_impl.benchmark.worker", description=_main.__doc__
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
        parser.error(
            f"request: expected a kind and its fields, one of {needed}. Received: {request!r}"
        )
    # Libraries that print to stdout must not disturb the JSON, so their output goes to stderr.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(said: Mapping[str, Any]) -> None:
        channel.write(json.dumps(said) + "\n")
        channel.flush()

    work(request, say)


if __name__ == "__main__":
    _main()
