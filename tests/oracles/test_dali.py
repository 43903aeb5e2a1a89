"""NVIDIA DALI's box encoder on whole batches of SSD300, where it is installed.

Its wheel has 424 MB, so `tox run -e oracles` leaves it out and `tox run -e bench-peers` has it.
Operation by operation it is compared in tests/parity (`--implementation dali`).
"""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl.benchmark.peers import installed, matcher
from reference_numpy.conventions import SSD300, SSD_MOBILENET300, nvidia_ssd300
from reference_numpy.targets import assign_targets
from reference_numpy.testing.workloads import matching_workload

pytestmark = pytest.mark.skipif(
    not installed("dali"), reason="left out for its size: nvidia-dali-cuda120 is not installed"
)

# Anchors are handed over as corners. Their sizes are differences of two rounded numbers, which are
# off by up to 2^-24; the smallest side is above 1/16 of the image, and the smallest variance is .1.
CLOSE = 2**-24 * 16 / 0.1


@pytest.mark.parametrize("layout", [SSD300, SSD_MOBILENET300], ids=lambda layout: layout.name)
@pytest.mark.parametrize(("batch", "objects"), [(4, 0), (8, 1), (8, 8), (4, 32), (2, 100)])
def test_targets(layout, batch, objects):
    """Of equal overlaps it takes the last: the reference is asked in reverse."""
    boxes, labels, anchors = matching_workload(layout, batch, objects)
    found = matcher("dali", anchors, objects)(boxes, labels)
    for image, label in enumerate(labels):
        rows = np.flatnonzero(label > 0)[::-1]
        right = assign_targets(
            boxes[image, rows], label[rows], anchors[::-1], nvidia_ssd300(), force="first"
        )
        np.testing.assert_array_equal(found.labels[image], right.labels[::-1])
        np.testing.assert_allclose(found.deltas[image], right.deltas[::-1], atol=CLOSE)
