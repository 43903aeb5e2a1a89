"""The generated pages of docs/: `python -m tests.pages` writes all of them again."""

from __future__ import annotations

from pathlib import Path

from keras_impl.conformance.operations import OPERATIONS
from keras_impl.parity import drift
from reference_numpy.testing import conflict_page
from tests import faults

__all__ = ["DOCS", "PAGES"]

DOCS = Path(__file__).parents[1] / "docs"


def error_budgets() -> str:
    """What is on record of the worst errors."""
    return drift.as_markdown(drift.read(DOCS / "error-budgets.json"))


def conformance() -> str:
    """The page as it is, with the table of operations as it should be."""
    page = (DOCS / "conformance.md").read_text(encoding="utf-8")
    before, head, rest = page.partition("| operation | takes | gives |\n|---|---|---|\n")
    rows = [f"| `{name}` | {one.takes} | {one.gives} |" for name, one in OPERATIONS.items()]
    after = rest.partition("\n\n")[2]
    return f"{before}{head}" + "\n".join(rows) + f"\n\n{after}"


PAGES = {
    "conflicts.md": conflict_page.as_markdown,
    "conformance.md": conformance,
    "error-budgets.md": error_budgets,
    "faults.md": faults.as_markdown,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")
