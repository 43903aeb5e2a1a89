"""`ssd bench`: what it measures, what it makes of it, and how it shows it, on tiny loads."""

from __future__ import annotations

import itertools
import json
import re
import sys
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from keras_impl._common.timing import timed_rounds
from keras_impl.benchmark import (
    cases,
    memory,
    page as benchmark_page,
    peers,
    plan as plan_,
    runner,
    worker,
)
from keras_impl.benchmark.loads import (
    ANCHOR_LOADS,
    DECODING_LOADS,
    FIRST_LOADS,
    IMAGE_LOADS,
    MANY_LOAD,
    NEW_ARRAYS,
    OBJECT_LOADS,
    OPERATIONS,
    TRAINING_LOAD,
    sizes,
)
from keras_impl.benchmark.plan import Job, Plan
from keras_impl.benchmark.records import Benchmark, Record, targets, with_ratios
from keras_impl.cli import main
from tests.end_to_end.pages import Page

TINY = "1x2x1917"
FIELDS = {
    "operation": str,
    "implementation": str,
    "mode": str,
    "device": str,
    "load": str,
    "median_ms": float,
    "iqr_ms": float,
    "ratio_to_fastest_peer": float | None,
    "peak_extra_bytes": int | None,
    "exact": bool | None,
}


def a_record(who="keras", mode="host", load=TINY, ms=1.0, operation="matching", **rest) -> Record:
    defaults = {"ratio_to_fastest_peer": None, "peak_extra_bytes": None, "exact": True}
    return Record(operation, who, mode, "cpu", load, ms, 0.1, **{**defaults, **rest})


def a_request(*jobs: Job, kind="time", **rest) -> dict:
    defaults = {"device": "cpu", "seconds": 0.01, "limit": 60.0, "photographs": "gone.npz"}
    return {"kind": kind, "jobs": jobs, **defaults, **rest}


def heard(request) -> list[dict]:
    """What a process would say, begun jobs left out."""
    said: list[dict] = []
    worker.work(request, said.append)
    return [one for one in said if "doing" not in one]


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda name: False)


@pytest.fixture
def two_peers(monkeypatch):
    """A slow one that matches, and a fast one that does both."""
    known = {
        "slow": SimpleNamespace(
            name="slow",
            needs=(),
            operations=("matching",),
            mode="host",
            yardstick=False,
            as_used=True,
        ),
        "fast": SimpleNamespace(
            name="fast",
            needs=(),
            operations=("matching", "decoding"),
            mode="graph",
            yardstick=False,
            as_used=True,
        ),
    }
    monkeypatch.setattr(peers, "PEERS", known)
    monkeypatch.setattr(peers, "installed", lambda name: True)


# --- The plan -----------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
def test_the_plan_measures_what_is_promised(two_peers, quick):
    plan = plan_.plan(quick)
    timed = {(job.operation, job.implementation, job.mode, job.load) for job in plan.timings}
    assert len(timed) == len(plan.timings), "nothing twice"
    assert {job.operation for job in plan.timings} == set(OPERATIONS) - (
        {"first_call"} if quick else set()
    )
    for load in (*OBJECT_LOADS, *ANCHOR_LOADS, *IMAGE_LOADS):
        assert ("matching", "keras", "host", load) in timed
    for load in OBJECT_LOADS:
        assert ("matching", "keras", "xla", load) in timed
        assert ("matching", "slow", "host", load) in timed
        assert ("matching", f"keras{NEW_ARRAYS}", "host", load) in timed
    for load in ("realistic", "hard"):
        assert ("decoding", "keras", "host", load) in timed
        assert ("decoding", "fast", "graph", load) in timed
    assert not [one for one in timed if one[:2] == ("decoding", "slow")], "it does not decode"
    weighed = {(job.implementation, job.mode, job.load) for job in plan.memory}
    assert {("keras", "host", "32x32x8732"), ("keras", "xla", "32x32x8732")} <= weighed
    eager = [job for job in plan.timings if job.mode == "eager"]
    assert len(eager) == (0 if quick else 1), "an eager load takes long"


@pytest.mark.parametrize(("quick", "minutes"), [(False, 20), (True, 3)])
def test_the_plan_is_within_its_limit(two_peers, quick, minutes):
    plan = plan_.plan(quick)
    assert plan.limit + 10 <= 60 * minutes, "the page is written after it"
    assert len(plan.timings) * plan.seconds < plan.limit / 2, "the rest is for starting and checks"


def test_without_peers_only_ours_is_measured(no_peers):
    who = {job.implementation for job in plan_.plan(True).timings}
    assert who == {"keras", f"keras{NEW_ARRAYS}", "reference"}


@pytest.mark.parametrize("quick", [False, True])
def test_the_reference_and_the_host_path_come_first(two_peers, quick):
    order = list(dict.fromkeys(job[1:3] for job in plan_.plan(quick).timings))
    assert order[:2] == [("reference", "host"), ("keras", "host")]


# --- A process ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("implementation", "mode"),
    [("reference", "host"), ("keras", "host"), (f"keras{NEW_ARRAYS}", "host"), ("keras", "graph")],
)
def test_a_load_is_checked_and_timed(implementation, mode):
    (said,) = heard(a_request(Job("matching", implementation, mode, TINY)))
    record = Record(**said["record"])
    assert record.key == ("matching", implementation, mode, TINY)
    assert (record.device, record.exact) == ("cpu", True)
    assert 0 < record.median_ms < 1e4
    assert record.iqr_ms >= 0
    assert said["first_ms"] > 0
    assert said["excused"] == 0


def test_detections_on_the_host_are_checked_and_timed(tmp_path, monkeypatch):
    from reference_numpy.conventions import CANONICAL, SSD_MOBILENET300, tf_od_ssd_mobilenet_v2
    from reference_numpy.testing.workloads import decoding_workload

    work = decoding_workload(SSD_MOBILENET300, 2, 3, 5)
    # Also as photographs are read: sigmoids, (ty, tx, th, tw).
    for convention in (CANONICAL, replace(tf_od_ssd_mobilenet_v2(), detection=CANONICAL.detection)):
        monkeypatch.setattr(cases, "_decoding_work", lambda *names, rules=convention: (work, rules))
        (said,) = heard(a_request(Job("decoding", "keras", "host", "realistic")))
        assert said["record"]["exact"], said


def test_the_first_call_compiles_and_the_second_reads_the_cache(tmp_path, monkeypatch):
    plan = plan_.Plan(
        tuple(Job("first_call", "keras", "host", load) for load in FIRST_LOADS), (), 0.1, 300
    )
    done = runner.run(plan)
    cold, warm = done.records
    assert done.passed
    assert 0 < 3 * warm.median_ms < cold.median_ms


def test_a_wrong_answer_is_not_timed(monkeypatch):
    from keras_impl.host.matching import TargetAssigner

    right = TargetAssigner.assign

    def wrong(self, *arguments, **options):
        found = right(self, *arguments, **options)
        found.labels[0, 0] += 1
        return found

    monkeypatch.setattr(TargetAssigner, "assign", wrong)
    (said,) = heard(a_request(Job("matching", f"keras{NEW_ARRAYS}", "host", TINY)))
    assert "record" not in said
    assert said["failed"].startswith("image 0: not the reference's targets")


def test_an_answer_that_changes_while_it_is_timed_is_found_out(monkeypatch):
    calls = itertools.count()
    case = cases.Case(lambda: np.array([next(calls)]), lambda found: 0)
    monkeypatch.setattr(worker, "case_of", lambda *arguments: case)
    (said,) = heard(a_request(Job("matching", "keras", "host", TINY)))
    assert said["failed"] == "the result of the last timed call differs from the first"


def test_one_load_that_fails_does_not_stop_the_next(monkeypatch):
    def case(job, request):
        if job.load == "1x1x1917":
            raise RuntimeError("no such\nlayer")
        if job.load == "1x3x1917":
            raise NotImplementedError("it has no sigmoids")
        return cases.Case(lambda: np.zeros(1), None)

    monkeypatch.setattr(worker, "case_of", case)
    loads = ("1x1x1917", "1x3x1917", TINY)
    failed, left_out, timed = heard(
        a_request(*(Job("matching", "theirs", "host", load) for load in loads))
    )
    assert failed["failed"] == "RuntimeError: no such layer"
    assert left_out["left_out"] == "it has no sigmoids"
    assert timed["record"]["exact"] is None, "nobody compares what a peer says"


def test_what_is_not_begun_in_time_is_left_out():
    (said,) = heard(a_request(Job("matching", "keras", "host", TINY), limit=0.0))
    assert said["left_out"] == "left out: the time limit was reached"


def test_rounds_that_something_disturbed_are_done_again(monkeypatch):
    passes = iter([([0.001, 0.009, 0.009, 0.001], 0), ([0.002] * 4, 0), ([0.001] * 4, 0)])
    monkeypatch.setattr(worker, "case_of", lambda *_: cases.Case(lambda: 0, None))
    monkeypatch.setattr(worker, "timed_rounds", lambda *_: next(passes))
    (said,) = heard(a_request(Job("matching", "theirs", "host", TINY)))
    assert (said["record"]["median_ms"], said["record"]["iqr_ms"]) == (2.0, 0.0)


def test_at_least_five_rounds_are_timed():
    calls = []
    rounds, last = timed_rounds(lambda: calls.append(1) or len(calls), 0.0)
    assert (len(rounds), len(calls), last) == (5, 6, 6)


@pytest.mark.parametrize("implementation", ["reference", "keras", f"keras{NEW_ARRAYS}"])
def test_memory_on_the_host_is_what_numpy_allocates(implementation):
    job = Job("matching", implementation, "host", "2x4x1917")
    (said,) = heard(a_request(job, kind="memory"))
    assert 1000 < said["peak"] < 20e6


def test_memory_beyond_the_outputs_is_seen_and_that_of_the_outputs_is_not(monkeypatch):
    def call():
        scratch = np.ones(3_000_000)
        return (scratch[:500_000] + 1,)

    case = cases.Case(call, None)
    monkeypatch.setattr(memory, "case_of", lambda *arguments: case)
    monkeypatch.setattr(memory, "matching_case", lambda job, work: case)
    peak = memory._traced_peak(Job("matching", "reference", "host", TINY), a_request())
    assert 24e6 <= peak < 24.1e6


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is Linux'")
def test_memory_of_others_is_how_far_the_resident_memory_rises():
    def call():
        scratch = np.ones(16_000_000)  # so large that the system gives and takes it at once
        return scratch[:8_000_000] + 1

    peak = memory._resident_peak(call)
    if peak is None:
        pytest.skip("the high-water mark cannot be reset here")
    assert abs(peak - 128e6) < 8e6


# --- What is made of it -------------------------------------------------------------------


def test_the_json_holds_these_fields_and_no_others():
    assert [field.name for field in fields(Record)] == list(FIELDS)
    (plain,) = Benchmark((a_record(peak_extra_bytes=7),)).as_json()
    for name, kind in FIELDS.items():
        assert isinstance(plain[name], kind), name


def test_ratios_are_to_the_fastest_peer_of_the_same_load():
    records = [
        a_record(ms=2.0),
        a_record("numba", ms=1.0),
        a_record("slow", ms=40.0, exact=None),
        a_record("fast", ms=10.0, exact=None),
        a_record(load="1x1x1917"),
        a_record(operation="decoding"),
    ]
    found = [one.ratio_to_fastest_peer for one in with_ratios(records, ["slow", "fast"])]
    assert found == [5.0, 10.0, 0.25, 1.0, None, None]


def all_records(**changed: float) -> list[Record]:
    """As fast as promised, barely."""
    ms = {"host": 1.0, "xla": 5.0, "numba": 3.0, "fast": 50.0, "large": 1.2, "share": 3.0}
    ms |= {"warm": 300.0}
    ms.update(changed)
    records = []
    for load in OBJECT_LOADS:
        records += [
            a_record(load=load, ms=ms["host"], peak_extra_bytes=3_000_000),
            a_record("numba", load=load, ms=ms["numba"]),
            a_record("fast", load=load, ms=ms["fast"], exact=None),
            a_record("keras_hub compiled", "xla", load, ms=5.0, exact=None),
            a_record(mode="xla", load=load, ms=ms["xla"], peak_extra_bytes=32 * 8732 * 16),
        ]
    records.append(a_record(load=ANCHOR_LOADS[2], ms=ms["large"]))
    records.append(a_record(load=MANY_LOAD, ms=1e3, exact=None))
    for load, time in zip(FIRST_LOADS, (15e3, ms["warm"]), strict=True):
        records.append(a_record(load=load, ms=time, operation="first_call"))
    records += [a_record(load=load, ms=10.0**power) for power, load in enumerate(IMAGE_LOADS)]
    for load in DECODING_LOADS:
        records += [
            a_record(load=load, operation="decoding"),
            a_record("fast", load=load, ms=6.5, operation="decoding", exact=None),
        ]
    for operation, time in (("targets_and_loss", ms["share"]), ("training_step", 100.0)):
        records.append(a_record(mode="graph", load=TRAINING_LOAD, ms=time, operation=operation))
    return with_ratios(records, ["fast"])


def test_targets_that_are_just_reached_are_met():
    assert [target.met for target in targets(all_records())] == [True] * 17


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"fast": 49.9}, "on the host, 32x1x8732: times faster than the fastest peer"),
        ({"numba": 2.9}, "numba"),
        ({"xla": 5.1}, "XLA"),
        ({"large": 1.3}, "24564"),
        ({"share": 3.1}, "training step"),
        ({"warm": 301.0}, "warm cache"),
    ],
)
def test_a_target_that_is_missed_is_named(changed, word):
    (missed,) = [target for target in targets(all_records(**changed)) if not target.met]
    assert word in missed.name


def test_what_is_not_measured_has_no_verdict():
    found = targets([a_record(load=load) for load in OBJECT_LOADS[:3]])
    assert {(target.reached, target.met) for target in found} == {(None, None)}


def test_a_load_is_three_numbers():
    assert sizes("8x100x8732") == (8, 100, 8732)


# --- The page -----------------------------------------------------------------------------


def a_benchmark(**overrides) -> Benchmark:
    records = tuple(all_records(share=4.0))
    whole = Benchmark(
        records,
        first_ms={records[0].key: 123.0},
        excused={records[0].key: 1},
        notes=("photographs: <none>",),
        facts={"machine": "a small one", "versions": "of all", "peers' versions": "none"},
        peers=("fast",),
        seconds=12.0,
    )
    return replace(whole, **overrides)


def test_the_page_is_whole_and_loads_nothing_from_anywhere():
    text = benchmark_page.render(a_benchmark(), "ssd bench --quick")
    page = Page(text)
    assert page.open == []
    assert page.loads == []
    assert not re.search(r"https?:|//\w|@import|url\((?!#)|<script|<link", text)
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text
    assert text.count('<svg class="chart"') == 7
    assert '<p class="verdict warn">⚠' in text
    assert "16 of 17 measured targets met" in page.text
    assert "(1 near-tie excused)" in page.text
    assert "NOT MET" in page.text
    assert "photographs: <none>" in page.text
    assert "<none>" not in text


def test_the_page_says_at_the_top_what_failed():
    page = Page(benchmark_page.render(a_benchmark(failures=("matching: it was wrong",))))
    first = page.text.split("\nTargets")[0]
    assert "✗" in first
    assert "1 FAILED" in first
    assert "matching: it was wrong" in first


def test_the_page_is_green_if_all_targets_are_met():
    text = benchmark_page.render(a_benchmark(records=tuple(all_records())))
    assert '<p class="verdict good">✓' in text
    assert "Targets missed" not in text


def test_people_see_the_host_path_by_its_name():
    text = benchmark_page.render(a_benchmark())
    assert "host (numba)" in text
    assert "keras host" not in text


def test_without_peers_the_page_has_nothing_about_them():
    records = [record for record in all_records() if record.implementation == "keras"]
    text = benchmark_page.render(a_benchmark(records=tuple(with_ratios(records, ())), peers=()))
    assert "than the fastest peer</" not in text
    assert text.count('<svg class="chart"') == 6, "no decoding but our own"
    head, *_ = benchmark_page.timings(with_ratios(records, ()))
    assert "times faster than the fastest peer" not in head


def test_bars_are_medians_of_the_loads(monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        benchmark_page, "_bar_chart", lambda title, _, found: drawn.update({title: found})
    )
    list(benchmark_page._bars(a_benchmark()))
    assert drawn["Matching"]["fast host"] == [50.0] * 4
    assert drawn["Decoding"] == {"fast host": [6.5] * 3}
    assert set(drawn["Extra memory of matching"]) == {"keras xla"}


def test_a_page_of_nothing_is_a_page():
    page = Page(benchmark_page.render(Benchmark(())))
    assert "Nothing was timed." in page.text
    assert "Curves" not in page.text


# --- The command --------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch, no_peers):
    """A plan of seconds."""
    jobs = (
        Job("matching", "keras", "host", TINY),
        Job("matching", f"keras{NEW_ARRAYS}", "host", TINY),
        Job("matching", "reference", "host", TINY),
        Job("decoding", "keras", "host", "photographs"),
    )
    chosen = Plan(jobs, (Job("matching", "keras", "host", TINY),), 0.01, 60.0, True)
    monkeypatch.setattr(plan_, "plan", lambda quick: chosen)
    return chosen


def test_the_help_teaches_by_example(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["bench", "--help"]) == 0
    out = capsys.readouterr().out
    assert "\n  ssd bench --quick" in out
    assert all(name in out for name in FIELDS)
    assert max(map(len, out.splitlines())) <= 80


def test_a_run_from_end_to_end(tiny, tmp_path, capsys):
    page, answer = tmp_path / "bench.html", tmp_path / "bench.json"
    assert main(["bench", "--quick", "--html", str(page), "--json", str(answer)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(answer.read_text())
    assert [one["implementation"] for one in found] == ["keras", f"keras{NEW_ARRAYS}", "reference"]
    for one in found:
        assert list(one) == list(FIELDS)
        assert (one["exact"], one["ratio_to_fastest_peer"]) == (True, None)
    assert found[0]["peak_extra_bytes"] > 0
    assert [one["peak_extra_bytes"] for one in found[1:]] == [None, None]
    assert "3 timings; 3 of them checked" in out
    assert "decoding of photographs: " in out
    assert out.count('pip install "mobilenetv2-ssd[keras,bench-peers]"') == 1
    assert "fastest peer" not in out
    assert "not measured" in out
    assert "ssd bench --quick" in page.read_text(encoding="utf-8")
    benchmark_page.check_file(page)  # it may be written again


def test_json_alone_is_on_stdout(tiny, capsys, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *_, **__: a_benchmark())
    assert main(["bench", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == len(a_benchmark().records)
    assert "targets met" in err


def test_a_target_that_is_missed_is_no_failure_and_a_wrong_answer_is(tiny, capsys, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *_, **__: a_benchmark())
    assert main(["bench"]) == 0
    out = capsys.readouterr().out
    assert "NOT MET" in out
    assert "\nTargets missed: training step: share" in out
    wrong = a_benchmark(failures=("matching 1x1x1917, host (numba): image 0: wrong",))
    monkeypatch.setattr(runner, "run", lambda *_, **__: wrong)
    assert main(["bench"]) == 1
    assert capsys.readouterr().err == (
        "ssd: FAILED: matching 1x1x1917, host (numba): image 0: wrong\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a script of the shell")
def test_a_process_that_dies_is_a_failure_and_the_others_go_on(tiny, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(
        f"""#!/bin/sh
case "$*" in *sideways*) echo noise; echo "out of memory" >&2; exit 3;; esac
exec {sys.executable} "$@"
"""
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    jobs = (Job("matching", "keras", "sideways", TINY), *tiny.timings[:1])
    done = runner.run(replace(tiny, timings=jobs, memory=()))
    assert [record.mode for record in done.records] == ["host"]
    assert done.failures == (
        f"matching {TINY}, keras sideways: its process ended with status 3: out of memory",
    )
    assert not done.passed


def test_when_the_time_is_up_the_rest_is_left_out(tiny):
    steps = []
    done = runner.run(replace(tiny, timings=tiny.timings[:3], limit=0.0), advance=steps.append)
    assert done.records == ()
    assert sum(steps) == 4
    assert sum("left out: the time limit was reached" in note for note in done.notes) == 4


def test_an_accelerator_that_is_not_there_is_said_in_a_sentence(tiny, capsys, monkeypatch):
    def talk(request, limit, hear):
        hear({"seen": ["cpu:0"]})

    monkeypatch.setattr(runner, "_talk", talk)
    assert main(["bench", "--device", "gpu"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "ssd: device: expected an accelerator that TensorFlow sees. Received: cpu:0; "
        "--device cpu runs everything on the CPU\n"
    )


def test_interrupted_it_ends_without_a_traceback(tiny, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_talk", interrupted)
    assert main(["bench"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "ssd: interrupted"


def test_interrupted_later_it_shows_what_it_has(tiny, tmp_path, capsys, monkeypatch):
    def talk(request, limit, hear):
        if request["kind"] == "photographs":
            return "no photographs"
        if request["jobs"][0].implementation != "reference":
            raise KeyboardInterrupt
        worker.work(request, lambda said: hear(json.loads(json.dumps(said))))

    monkeypatch.setattr(runner, "_talk", talk)
    monkeypatch.setattr(plan_, "plan", lambda quick: replace(tiny, timings=tiny.timings[::-1]))
    answer = tmp_path / "bench.json"
    assert main(["bench", "--json", str(answer)]) == 130
    out, err = capsys.readouterr()
    assert [one["implementation"] for one in json.loads(answer.read_text())] == ["reference"]
    assert "interrupted: the remaining measurements were left out" in out
    assert err.splitlines()[-1] == "ssd: interrupted"
