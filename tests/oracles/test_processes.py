"""Faults that end a process, or show only in a fresh one: each in a process of its own.

The tests that are expected to fail say what would be right: docs/peer-bugs.md.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

LIMIT = 300  # seconds


def run(code):
    """The exit status of a program; below 0 it is the signal that ended it."""
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    print(found.stderr)
    return found.returncode


@pytest.mark.parametrize("first", ["torchvision", "triton"])
def test_tensorflow_after_triton(first):
    """How to live with it: import torchvision before TensorFlow, or in another process."""
    assert run(f"import {first}, tensorflow, torchvision") == 0


@pytest.mark.xfail(
    strict=True,
    reason="loading Triton, which torchvision imports, after TensorFlow is a segmentation fault",
)
@pytest.mark.parametrize("first", ["tensorflow", "torch, tensorflow"])
def test_torchvision_after_tensorflow(first):
    assert run(f"import {first}, torchvision") == 0


NMS = """
import tensorflow as tf

nms = tf.function(lambda *inputs: tf.image.non_max_suppression(*inputs, 0), jit_compile=True)
assert nms(tf.zeros(({count}, 4)), tf.zeros(({count},))).shape == (0,)
"""


def test_nms_of_one_box_under_xla():
    """How to live with it: pad to a box at least."""
    assert run(NMS.format(count=1)) == 0


@pytest.mark.xfail(
    strict=True,
    reason="an empty list of boxes under XLA is a segmentation fault (tensorflow#117245)",
)
def test_nms_of_no_boxes_under_xla():
    """Eagerly it is an empty list of indices."""
    assert run(NMS.format(count=0)) == 0


PAZ = "import cv2\ncv2.SOLVEPNP_UPNP = {value}\nimport paz.pipelines"


def test_paz_with_a_name_that_opencv_dropped():
    """How to live with it: opencv-python below 5, or that name put back before the import."""
    assert run(PAZ.format(value="cv2.SOLVEPNP_EPNP")) == 0


@pytest.mark.xfail(
    strict=True,
    reason="paz asks OpenCV for SOLVEPNP_UPNP, which 5.0 has dropped, and asks for any version",
)
def test_paz_with_opencv_5():
    assert run("import paz.pipelines") == 0
