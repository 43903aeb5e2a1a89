"""`ssd parity --record` and `--against`: how a record of errors is kept, compared and shown."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from keras_impl.conformance.budgets import BUDGETS
from keras_impl.conformance.suite import Check
from keras_impl.parity import drift, implementations, table as parity
from keras_impl.parity.drift import FACTS, Entry, Key, Record

FILE = Path(__file__).parents[2] / "docs" / "error-budgets.json"
KERAS = implementations.KERAS.name


@pytest.fixture(scope="module")
def record() -> Record:
    """What is on record in the repository."""
    return drift.read(FILE)


@pytest.fixture(scope="module")
def some_checks(record) -> tuple[Check, ...]:
    """A few of the lines on record, as this machine has them."""
    run = record.runs[KERAS]
    ops, modes = ("area", "softmax", "make_anchors"), ("eager",)
    return parity.run(ops=ops, modes=modes, cases=run["cases"], seed=run["seed"]).checks


def test_this_machine_has_not_drifted(record, some_checks) -> None:
    changes = drift.compare(record, some_checks)
    assert len(changes) == 6
    assert not [str(one) for one in changes if one.kind in ("drift", "new", "gone")]


# What is called what

CHECK = Check("softmax", "eager", "keras (jax)", "float32", 9, 0, 0, 2.0, 13.0, True)
WAS = Record({}, drift.entries([CHECK]))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "same"),
        ({"max_error_eps": 1.9}, "less"),
        ({"max_error_eps": 2.1}, "more"),
        ({"max_error_eps": 4.0}, "more"),
        ({"max_error_eps": 4.1}, "drift"),
        ({"max_error_eps": 14.0, "passed": False}, "drift"),
        ({"excused": 1}, "more"),
        ({"budget_eps": 14.0}, "drift"),
        ({"mode": "jit"}, "new"),
    ],
)
def test_a_change_is_called_what_it_is(changes: dict[str, object], kind: str) -> None:
    (found,) = drift.compare(WAS, [replace(CHECK, **changes)])
    assert found.kind == kind, str(found)


@pytest.mark.parametrize(
    ("was", "now", "allowed", "kind"),
    [
        (0.0, 0.5, 1.0, "more"),  # half of a narrow budget
        (0.0, 0.51, 1.0, "drift"),
        (0.4, 0.8, 1.0, "more"),  # twice
        (0.4, 0.81, 1.0, "drift"),
        (0.9, 4.0, 211.0, "more"),  # 4 eps of a wide one
        (0.9, 4.1, 211.0, "drift"),
        (3.0, 6.0, 211.0, "more"),
        (3.0, 6.1, 211.0, "drift"),
    ],
)
def test_drift_is_twice_as_much_and_near_the_budget_or_far(was, now, allowed, kind) -> None:
    on_record = replace(CHECK, max_error_eps=was, budget_eps=allowed)
    record = Record({}, drift.entries([on_record]))
    assert drift.compare(record, [replace(on_record, max_error_eps=now)])[0].kind == kind


def test_what_is_asked_no_more_is_gone_from_a_whole_run_only() -> None:
    other = replace(CHECK, op="sigmoid")
    assert [one.kind for one in drift.compare(WAS, [other])] == ["new"]
    assert [one.kind for one in drift.compare(WAS, [other], whole=True)] == ["new", "gone"]
    elsewhere = replace(CHECK, backend="keras (torch)")
    assert [one.kind for one in drift.compare(WAS, [elsewhere], whole=True)] == ["new"]


# Putting on record

RUN = dict.fromkeys(FACTS, "one") | {"cases": 9, "seed": 0}
LATER = {**RUN, "versions": "two"}


def test_a_whole_run_takes_the_place_of_the_last_one_of_its_backend() -> None:
    torch = replace(CHECK, backend="keras (torch)")
    old = drift.recorded(Record(), [CHECK, replace(CHECK, op="area"), torch], RUN)

    new = drift.recorded(old, [replace(CHECK, max_error_eps=1.0)], LATER)

    assert {(key.op, key.backend): entry.worst for key, entry in new.errors.items()} == {
        ("softmax", "keras (jax)"): 1.0,
        ("softmax", "keras (torch)"): 2.0,
    }
    assert new.runs == {"keras (jax)": LATER, "keras (torch)": RUN}
    assert old.runs["keras (jax)"] == RUN, "the old one is left alone"


def test_a_part_goes_with_the_rest_of_the_same_run_only() -> None:
    old = drift.recorded(Record(), [CHECK, replace(CHECK, op="area")], RUN)
    part = [replace(CHECK, max_error_eps=1.0)]

    new = drift.recorded(old, part, {**RUN, "command": "another"}, whole=False)

    assert [entry.worst for entry in new.errors.values()] == [1.0, 2.0]
    assert new.runs == old.runs
    with pytest.raises(
        ValueError, match=r"checks: expected all checks of keras \(jax\), .* a part"
    ):
        drift.recorded(old, part, LATER, whole=False)


def test_the_host_beside_another_backend_is_the_same_host() -> None:
    host = replace(CHECK, backend="host", mode="host")
    old = drift.recorded(Record(), [host], RUN)
    assert drift.recorded(old, [host], LATER).runs == {"host": RUN}
    assert drift.recorded(old, [replace(host, max_error_eps=1.0)], LATER).runs == {"host": LATER}


@pytest.mark.parametrize(
    ("checks", "facts", "message"),
    [
        ([replace(CHECK, passed=False)], RUN, r"checks: expected .* all passed.*\['softmax'\]"),
        ([], RUN, "checks: expected at least one check, all passed. Received: none"),
        ([CHECK], {"seed": 0}, r"facts: expected \['command'.* Received: \['seed'\]"),
    ],
)
def test_what_is_wrong_is_not_put_on_record(checks, facts, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drift.recorded(WAS, checks, facts)


# The file and the page


@pytest.fixture
def written(tmp_path) -> Path:
    near = replace(CHECK, mode="jit", excused=2, max_error_eps=0.25)
    path = tmp_path / "record.json"
    drift.write(path, drift.recorded(Record(), [near, CHECK, replace(CHECK, op="area")], RUN))
    return path


def test_a_record_is_read_as_it_was_written(written) -> None:
    found = drift.read(written)
    assert found.errors == {
        Key("area", "float32", "keras (jax)", "eager"): Entry(2.0, 13.0),
        Key("softmax", "float32", "keras (jax)", "eager"): Entry(2.0, 13.0),
        Key("softmax", "float32", "keras (jax)", "jit"): Entry(0.25, 13.0, 2),
    }
    assert found.runs == {"keras (jax)": RUN}


def test_the_page_has_a_row_an_operation_and_a_column_a_mode(written) -> None:
    page = drift.as_markdown(drift.read(written), "record.json")
    lines = page.splitlines()
    assert "| operation | dtype | budget | JAX eager | JAX jit |" in lines
    assert "| `area` | float32 | 13 | 2 | – |" in lines
    assert "| `softmax` | float32 | 13 | 2 | 0.25 (2) |" in lines
    reasons = Counter(line.split(" | ")[0] for line in lines if line.startswith("| `"))
    assert reasons == Counter(f"| `{op}`" for op in (*BUDGETS, "area", "softmax"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda answer: answer.pop("runs"), "another kind of JSON"),
        (lambda answer: answer["runs"].clear(), "runs: expected those of the backends"),
        (lambda answer: answer["errors"][0].update(budget=1.0), "over its budget"),
        (lambda answer: answer["errors"].append(answer["errors"][0]), "twice"),
        (lambda answer: answer["errors"][0]["worst"].update(eager="x"), "could not convert"),
        (lambda answer: answer["errors"][0]["worst"].update(eager=float("nan")), "budget"),
    ],
)
def test_a_file_that_is_no_record_is_refused(change, said: str, written) -> None:
    answer = json.loads(written.read_text())
    change(answer)
    written.write_text(json.dumps(answer))
    with pytest.raises(ValueError, match=rf"record\.json: expected a record of .*{said}"):
        drift.read(written)
