"""Generated pages are what their command writes."""

from __future__ import annotations

import pytest

from tests.pages import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name):
    found = (DOCS / name).read_text(encoding="utf-8")
    assert found == PAGES[name](), "write it again: python -m tests.pages"
