"""docs/agreement.md has the table that `tox run -e oracles` made of this very checkout."""

from __future__ import annotations

import json
import os
from pathlib import Path

from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.report import to_markdown

PAGE = Path(__file__).parents[2] / "docs/agreement.md"
# Keras is one adapter on three backends.
NAMES = {
    "keras": "keras (tensorflow)",
    "keras_jax": "keras (jax)",
    "keras_torch": "keras (torch)",
}
FILES = (Path(__file__).parents[1] / "implementations").glob("*.py")
# DALI, with a wheel of 424 MB, is asked by `tox run -e bench-peers`.
SHIPPED = {NAMES.get(path.stem, path.stem) for path in FILES} - {"dali"}


def test_the_page_shows_the_table_of_this_run():
    report = json.loads(Path(os.environ["REPORT"]).read_text(encoding="utf-8"))
    assert set(report["implementations"]) == SHIPPED

    verdicts = {
        (name, op): row["verdict"]
        for name, one in report["implementations"].items()
        for op, row in one["operations"].items()
    }
    assert "failed" not in verdicts.values()
    assert {op for _, op in verdicts} == set(OPERATIONS)
    table = to_markdown(report)
    assert table in PAGE.read_text(encoding="utf-8"), f"{PAGE}: expected this table\n\n{table}"
