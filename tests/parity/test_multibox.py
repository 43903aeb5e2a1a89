"""`keras_impl.multibox` against `reference_numpy.multibox`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl import multibox
from keras_impl.backend_tensorflow import MODES, in_mode
from keras_impl.comparisons import MODES as TABLE_MODES
from reference_numpy import multibox as reference
from reference_numpy.cases import MINING


@pytest.mark.parametrize("mode", TABLE_MODES)
@pytest.mark.parametrize("op", ["mine_hard_negatives", "multibox", "multibox_gradient"])
def test_parity(assert_parity, op, mode):
    assert_parity(op, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", MINING, ids=lambda case: case.name)
def test_mining_worked_by_hand(mode, case):
    def mine(losses, labels):
        return multibox.mine_hard_negatives(losses, labels, case.negative_ratio, case.min_negatives)

    got = in_mode(mine, mode)(
        np.array([case.losses], np.float32), np.array([case.labels], np.int32)
    )

    assert np.flatnonzero(got[0]).tolist() == list(case.answer)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_without_objects_has_no_loss_and_no_nan(mode):
    deltas, logits = np.ones((2, 3, 4), np.float32), np.ones((2, 3, 5), np.float32)

    got = in_mode(lambda *tensors: tuple(multibox.multibox(*tensors)), mode)(
        deltas, logits, np.zeros_like(deltas), np.zeros((2, 3), np.int32)
    )

    assert multibox.MultiBox(*got)[:4] == (0, 0, 0, 0)
    assert not got[4].any()


@pytest.mark.parametrize("module", [multibox, reference], ids=["keras", "numpy"])
@pytest.mark.parametrize("limits", [(-1.0, 0), (3.0, -1), (float("nan"), 0)])
def test_both_refuse_negative_limits(module, limits):
    with pytest.raises(ValueError, match="negative_ratio, min_negatives: expected 0 or more"):
        module.mine_hard_negatives(np.zeros(3, np.float32), np.zeros(3, np.int32), *limits)
