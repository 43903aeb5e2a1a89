"""Generated pages and drawings are what their command writes, and can be read."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.pages import DOCS, PAGES, drawings

AGAIN = "write it again: python -m tests.pages"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name):
    found = (DOCS / name).read_text(encoding="utf-8")
    assert found == PAGES[name](), AGAIN


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("generated/")])
def test_a_generated_page_begins_with_its_command(name):
    head = (DOCS / name).read_text(encoding="utf-8").splitlines()[:4]
    assert any("`python -m tests.pages`" in line for line in head)


def test_drawings_are_up_to_date():
    folder = DOCS / "generated/images"
    found = {f"generated/images/{path.name}": path.read_text("utf-8") for path in folder.iterdir()}
    assert found == drawings(), AGAIN


def test_drawings_are_small_and_have_a_background_of_their_own():
    for name, text in drawings().items():
        assert len(text.encode()) < 4096, name
        image = ElementTree.fromstring(text)
        size = image.get("width"), image.get("height")
        assert [image[0].get(one) for one in ("fill", "x", "y")] == ["#fff", "0", "0"], name
        assert (image[0].get("width"), image[0].get("height")) == size, name


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_lead_to_files(name):
    folder = (DOCS / name).parent
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[name]())
    missing = {link for link in links if not (folder / link).exists()}
    assert missing == set()
