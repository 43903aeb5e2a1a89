"""`ssd parity --record` and `--against`: what is put on record, and what drift looks like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keras_impl.cli import main
from keras_impl.parity import drift, network as network_parity, table as parity
from keras_impl.parity.implementations import KERAS

# The first uses more than half of its budget, so that there is drift to be seen.
QUICK = ("parity", "--op", "smooth_l1", "--op", "clip", "--mode", "eager", "--cases", "30")


@pytest.fixture
def ssd(capsys):
    """The command, in this process: (exit status, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def file(ssd, tmp_path) -> Path:
    """A record of two operations."""
    path = tmp_path / "record.json"
    assert ssd(*QUICK, "--record", path)[0] == 0
    return path


def set_worst(file: Path, op: str, worst: float) -> None:
    answer = json.loads(file.read_text())
    for row in answer["errors"]:
        if row["op"] == op:
            row["worst"] = dict.fromkeys(row["worst"], worst)
    file.write_text(json.dumps(answer))


def test_a_record_says_whose_numbers_it_holds(file) -> None:
    record = drift.read(file)
    assert {(key.op, key.dtype, key.mode) for key in record.errors} == {
        (op, dtype, "eager") for op in ("smooth_l1", "clip") for dtype in parity.DTYPES
    }
    (run,) = record.runs.values()
    assert (run["cases"], run["seed"]) == (30, 0)
    assert "keras" in run["versions"]


def test_the_same_run_is_the_same(ssd, file) -> None:
    before = file.read_text()
    status, text, _ = ssd(*QUICK, "--against", file, "--strict", "--record", file)
    assert status == 0
    assert f"compared with {file}: 4 same" in text
    assert f"recorded in {file}: 4 same" in text
    assert file.read_text() == before


def test_drift_is_shown_and_fails_if_asked_to(ssd, file) -> None:
    set_worst(file, "smooth_l1", 0.1)
    for strict, wanted in (((), 0), (("--strict",), 1)):
        status, text, _ = ssd(*QUICK, "--against", file, *strict)
        assert status == wanted
        lines = [line for line in text.splitlines() if line.startswith("DRIFT: smooth_l1, float32")]
        assert len(lines) == 1, text
        assert "eager: drift, 0.1 of 2.5 eps -> " in lines[0]
        assert f"compared with {file}: 2 drift, 2 same" in text
        row = next(line for line in text.splitlines() if line.split()[:1] == ["smooth_l1"])
        assert row.split()[-3:] == ["0.1", "drift", "passed"], row


def test_what_a_new_record_changes_is_said(ssd, file) -> None:
    set_worst(file, "smooth_l1", 2.4)
    status, text, _ = ssd(*QUICK, "--record", file)
    assert status == 0
    assert f"recorded in {file}: 2 less, 2 same" in text
    assert (
        len([line for line in text.splitlines() if "eager: less, 2.4 of 2.5 eps -> " in line]) == 2
    )


def test_the_cases_are_those_on_record(ssd, file, monkeypatch) -> None:
    asked = {}

    def run(**options):
        asked.update(options)
        return parity.Report(())

    monkeypatch.setattr(parity, "run", run)
    ssd("parity", "--op", "area", "--against", file)
    assert (asked["cases"], asked["seed"]) == (30, 0)
    _, text, _ = ssd("parity", "--op", "area", "--against", file, "--seed", 5)
    assert (asked["cases"], asked["seed"]) == (30, 5)
    assert f"compared with {file} (recorded with other cases): nothing" in text


def test_what_failed_is_not_put_on_record(ssd, file, monkeypatch) -> None:
    before = file.read_text()
    check = parity.Check("area", "eager", KERAS.name, "float32", 9, 1, 0, float("inf"), 2.0, False)
    monkeypatch.setattr(parity, "run", lambda **options: parity.Report((check,)))
    status, text, _ = ssd("parity", "--op", "area", "--record", file, "--json", file.parent / "j")
    assert status == 1
    assert "is unchanged: failed checks are not recorded" in text
    assert file.read_text() == before
    answer = json.loads((file.parent / "j").read_text())
    assert answer["checks"][0]["max_error_eps"] is None, "JSON has no word for infinity"
    assert "keras" in answer["facts"]["versions"]


def test_the_network_is_asked_with_all_the_rest_or_by_name(ssd, monkeypatch) -> None:
    check = parity.Check("area", "eager", KERAS.name, "float32", 9, 0, 0, 0.5, 2.0, True)
    asked: list[str] = []

    def network(**options):
        asked.append(f"network {' '.join(options['modes'])}")
        return []

    def operations(**options):
        asked.append(f"operations {options['ops']}")
        return parity.Report((check,))

    monkeypatch.setattr(network_parity, "run", network)
    monkeypatch.setattr(parity, "run", operations)
    everywhere = f"network {' '.join(network_parity.MODES)}"
    for words, wanted in (
        ((), ["operations None", everywhere]),
        (("--op", "network"), [everywhere]),
        (("--op", "area", "--op", "area"), ["operations ['area']"]),
        (("--mode", "host"), ["operations None"]),
        (("--mode", "eager"), ["operations None", "network eager"]),
        (("--convention", "nvidia_ssd300"), ["operations None"]),
    ):
        asked.clear()
        ssd("parity", *words)
        assert asked == wanted, words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strict"], "--strict: expected --against FILE too"),
        (
            ["--against", "nowhere.json"],
            "--against: expected a file that can be read. Received: nowhere.json, not found",
        ),
        (["--against", __file__], "`ssd parity --record`. Received: a file that is not JSON"),
        (["--record", "nowhere/record.json"], "--record: expected a file in a folder"),
        (["--record", __file__], f"--record: {__file__}: expected a record"),
        (["--record", "a.json", "--convention", "nvidia_ssd300"], "the convention canonical, the"),
        (["--op", "network", "--convention", "nvidia_ssd300"], "--op network: expected the conven"),
        (["--op", "network", "--op", "area", "--mode", "host"], "one that network can run in: "),
        (["--trace", "a.png", "--record", "a.json"], "--record: not with --trace"),
    ],
)
def test_mistakes_are_one_sentence(ssd, words: list[str], message: str) -> None:
    status, out, err = ssd("parity", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
