"""What the README shows in Python runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_impl.data.canvases import canvas
from keras_impl.data.mnist import load_digits
from keras_impl.data.photographs import sample_photographs
from keras_impl.models.ssd import SSD
from keras_impl.weights.installing import install
from keras_impl.weights.published import OIDV4

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.S | re.M)


def test_there_is_something_to_run():
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number, tmp_path, monkeypatch, capsys, require_data):
    monkeypatch.chdir(tmp_path)
    # Whether the words are right, eager mode says in a tenth of the time that graphs take.
    monkeypatch.setattr(SSD, "run_eagerly", property(lambda model: True, lambda model, value: None))
    if "oidv4" in BLOCKS[number]:
        install(
            OIDV4, require_data("data/oidv4/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite")
        )
        photograph = next(path for path in sample_photographs() if path.stem == "chelsea")
        Image.open(photograph).save("photo.jpg")
    made = canvas(load_digits("test"), "1-10", seed=0, index=0)
    Image.fromarray(made.image).save("canvas.png")

    names: dict[str, object] = {}
    exec(compile(BLOCKS[number], f"README.md, block {number + 1}", "exec"), names)

    capsys.readouterr()
    found = names.get("found")
    if "drawn.png" in BLOCKS[number]:
        assert np.asarray(Image.open("drawn.png")).any()
        there = {8} if "oidv4" in BLOCKS[number] else set(made.labels.tolist())  # 8 is a cat
        assert {one.label for one in found} <= there
        assert len(found) > 0
