"""The golden state of a tiny SSD (`tests.golden.tiny_ssd`) is what the reference says.

`tests/parity/test_golden_state.py` replays it by Keras, gradients and training among it; those were
compared with the reference's slopes and sums when the file was made.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from reference_numpy import ssd
from reference_numpy.anchors import make_anchors
from reference_numpy.multibox import multibox_loss
from reference_numpy.targets import assign_targets
from tests.golden import tiny_ssd
from tests.golden.tiny_ssd import (
    CONVENTION,
    FILE,
    GROUPS,
    LAYOUT,
    PROVENANCE,
    STEPS,
    golden,
    packed,
    part,
    reference_weights,
    unpacked,
)


def rounded_once(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether `wanted` is `found` in float32, or its neighbour where that was near a tie."""
    apart = np.abs(np.asarray(found, np.float32) - wanted)
    return bool((apart <= np.spacing(np.abs(wanted))).all())


def test_a_small_file_whose_making_is_written_down():
    provenance = json.loads(PROVENANCE.read_text(encoding="utf-8"))
    assert FILE.stat().st_size == provenance["bytes"] <= 200_000
    assert provenance["command"] == "python -m tests.golden.make_tiny_ssd"
    assert max(provenance["reference"].values()) < 2e-6
    assert len(provenance["spread"]["losses"]) == STEPS == len(golden()["losses"])


def test_another_file_is_refused(tmp_path, monkeypatch):
    other = tmp_path / FILE.name
    other.write_bytes(FILE.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(tiny_ssd, "FILE", other)
    with pytest.raises(ValueError, match=r"tiny_ssd\.npz: expected the SHA-256 .* Received: "):
        golden.__wrapped__()


def test_what_is_packed_is_unpacked():
    again = unpacked(packed(golden()))
    assert again.keys() == golden().keys()
    assert all(np.array_equal(again[name], golden()[name]) for name in again)
    assert all(part(group) for group in GROUPS)


def test_heads():
    said = ssd.forward(
        golden()["images"].astype(np.float64), reference_weights(part("weights")), LAYOUT
    )
    for name, found in zip(("deltas", "logits"), said, strict=True):
        assert rounded_once(found, golden()[name]), name


def test_targets():
    anchors = make_anchors(LAYOUT, np.float64)
    for image, labels in enumerate(golden()["labels"]):
        boxes = golden()["boxes"][image].astype(np.float64)
        targets = assign_targets(boxes, labels, anchors, CONVENTION)
        assert np.array_equal(targets.labels, golden()["target_labels"][image])
        assert rounded_once(targets.deltas, golden()["target_deltas"][image])


def test_loss():
    wide = [golden()[name].astype(np.float64) for name in ("deltas", "logits", "target_deltas")]
    found = multibox_loss(*wide, golden()["target_labels"], CONVENTION)
    for name in ("total", "class_loss", "box_loss"):
        got, wanted = float(getattr(found, name)), float(golden()[name])
        # Of heads that were rounded: an error of each number, all one way, and no more.
        assert got == pytest.approx(wanted, rel=1e-6), name
    for name in ("positives", "counted", "negatives"):
        assert np.array_equal(getattr(found, name), golden()[name]), name
