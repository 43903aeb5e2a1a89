"""Write all generated pages and drawings of docs/: `python -m tests.pages`."""

from __future__ import annotations

from pathlib import Path

from keras_impl.conformance.operations import OPERATIONS
from keras_impl.parity import drift
from reference_numpy.testing import conflict_page
from reference_numpy.testing.conflict_drawings import drawing, file_name
from reference_numpy.testing.conflicts import CONFLICTS
from tests import faults

__all__ = ["DOCS", "PAGES", "drawings"]

DOCS = Path(__file__).parents[1] / "docs"


def error_budgets() -> str:
    """Write the page of the error budgets from their record."""
    return drift.as_markdown(drift.read(DOCS / "error-budgets.json"))


def conformance() -> str:
    """Return the page as it is, with its table of operations written again."""
    page = (DOCS / "conformance.md").read_text(encoding="utf-8")
    before, head, rest = page.partition("| operation | takes | gives |\n|---|---|---|\n")
    rows = [f"| `{name}` | {one.takes} | {one.gives} |" for name, one in OPERATIONS.items()]
    after = rest.partition("\n\n")[2]
    return f"{before}{head}" + "\n".join(rows) + f"\n\n{after}"


PAGES = {
    "conformance.md": conformance,
    "generated/conflicts.md": conflict_page.as_markdown,
    "generated/error-budgets.md": error_budgets,
    "generated/faults.md": faults.as_markdown,
}


def drawings() -> dict[str, str]:
    """Draw every conflict case that has boxes, by the name of its file."""
    images = {f"generated/images/{file_name(case)}": drawing(case) for case in CONFLICTS}
    return {name: image for name, image in images.items() if image is not None}


if __name__ == "__main__":
    for old in (DOCS / "generated/images").glob("*.svg"):
        old.unlink()
    for name, text in {**drawings(), **{name: page() for name, page in PAGES.items()}}.items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"docs/{name}")
