"""docs/conformance.md: its example runs as it stands, and the suite finds the bug in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from keras_impl.conformance.operations import OPERATIONS

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/conformance.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)[0]


def run_suite(folder, implementation, *options):
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(REPOSITORY / "tests/parity")),
            *("-q", "-p", "no:cacheprovider", "--implementation", implementation, *options),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture(scope="module")
def plugged_in(tmp_path_factory):
    """The folder of somebody's SSD after the suite has run on it, and what it said."""
    folder = tmp_path_factory.mktemp("somebody")
    (folder / "my_ssd.py").write_text(EXAMPLE, encoding="utf-8")
    done = run_suite(folder, "my_ssd:IMPLEMENTATION", "--conformance-report", "report.json")
    return folder, done


def test_the_planted_bug_is_found_and_named(plugged_in):
    _, done = plugged_in
    assert done.returncode == 1, done.stdout + done.stderr
    failed = re.findall(r"^FAILED \S*::(test_\w+\[[^\]]+\])", done.stdout, re.M)
    assert failed
    assert all("[nms" in name for name in failed), failed
    for line in re.findall(r"^FAILED .*$", PAGE, re.M):
        assert line.split(" - ")[0].split("::")[1] in failed, "the page shows another output"


def test_the_report_says_what_passed_and_what_failed(plugged_in):
    folder, _ = plugged_in
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    operations = report["implementations"]["my_ssd"]["operations"]
    assert set(operations) == set(OPERATIONS)
    assert operations["pairwise_iou"]["verdict"] == "passed"
    assert operations["pairwise_iou"]["cases"] > 200
    assert operations["nms"]["verdict"] == "failed"
    assert operations["match"]["verdict"] == "not offered"
    assert "| `nms` | **failed** |" in (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "torchvison",
            "one of .*host, keras, .*torchvision.* Received: torchvison",
        ),
        ("no_such_module:IT", "No module named 'no_such_module'"),
        (
            "json:loads",
            "expected a keras_impl.conformance.Implementation. Received: <function",
        ),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, name, message):
    done = run_suite(tmp_path, name)
    assert done.returncode == 4
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
