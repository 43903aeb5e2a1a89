"""What docs/detector.md shows runs, and what it says of the detector is so."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from keras_impl.weights.published import OIDV4

PAGE = (Path(__file__).parents[2] / "docs/detector.md").read_text(encoding="utf-8")


def test_the_block_runs(keras_home, photographs, tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)
    monkeypatch.chdir(tmp_path)
    Image.open(photographs["chelsea"]).save("photo.jpg")
    names: dict[str, object] = {}
    exec(compile(block, "docs/detector.md", "exec"), names)
    out = capsys.readouterr().out
    assert out.startswith("(1, 19, 19, 576)\n")
    assert "labels=array([8])" in out, "a cat"


def test_the_page_says_what_the_detector_is(model):
    assert f"| classes | {', '.join(OIDV4.class_names)} |" in PAGE
    assert f"{OIDV4.size:,} bytes, SHA-256 `{OIDV4.sha256}`" in PAGE
    assert f"{model.count_params():,} parameters" in PAGE
    assert f"{len(model.anchors)} anchors" in PAGE


def test_the_page_has_no_place_left_to_fill():
    assert not re.findall(r"^[A-Z]{5,}$", PAGE, re.M)


def test_it_shows_how_to_get_the_file_from_npm():
    (first,) = re.findall(r"tail -c \+(\d+) package/objectron_solution_packed_assets\.data", PAGE)
    (count,) = re.findall(r"\| head -c (\d+) > oidv4\.tflite", PAGE)
    assert (int(first), int(count)) == (185, OIDV4.size)
