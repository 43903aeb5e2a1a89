"""`keras_impl.multibox` against `reference_numpy.multibox`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl import mining, multibox
from keras_impl.backends import in_mode, modes
from reference_numpy import mining as reference_mining
from reference_numpy import multibox as reference
from reference_numpy.cases import MINING


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("case", MINING, ids=lambda case: case.name)
def test_mining_worked_by_hand(mode, case):
    def mine(losses, labels):
        return mining.mine_hard_negatives(
            losses,
            labels,
            negative_ratio=case.negative_ratio,
            min_negatives=case.min_negatives,
        )

    got = in_mode(mine, mode)(
        np.array([case.losses], np.float32), np.array([case.labels], np.int32)
    )

    assert np.flatnonzero(got[0]).tolist() == list(case.answer)


@pytest.mark.parametrize("mode", modes())
def test_a_batch_without_objects_has_no_loss_and_no_nan(mode):
    deltas, logits = np.ones((2, 3, 4), np.float32), np.ones((2, 3, 5), np.float32)

    got = in_mode(lambda *tensors: tuple(multibox.multibox(*tensors)), mode)(
        deltas, logits, np.zeros_like(deltas), np.zeros((2, 3), np.int32)
    )

    loss = multibox.MultiBox(*got)
    assert loss[:4] == (0, 0, 0, 0)
    assert not loss.counted.any()
    assert not loss.negatives.any()


@pytest.mark.parametrize("module", [mining, reference_mining], ids=["keras", "numpy"])
@pytest.mark.parametrize("limits", [(-1.0, 0), (3.0, -1), (float("nan"), 0)])
def test_both_refuse_negative_limits(module, limits):
    ratio, least = limits
    with pytest.raises(ValueError, match="negative_ratio, min_negatives, max_negatives: expected"):
        module.mine_hard_negatives(
            np.zeros((1, 3), np.float32),
            np.zeros((1, 3), np.int32),
            negative_ratio=ratio,
            min_negatives=least,
        )


LABELS = np.array([[1, 2, 0, 0, -1], [0, 0, 0, -1, 0]], np.int32)


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("normaliser", ["positives", "picture", "mean", "anchors"])
@pytest.mark.parametrize("labels", [LABELS, LABELS * 0], ids=["some", "no positives"])
def test_normalisers_are_equal(mode, normaliser, labels):
    got = in_mode(lambda one: multibox.normalisers(one, normaliser=normaliser), mode)(labels)
    np.testing.assert_allclose(got, reference.normalisers(labels, normaliser=normaliser), rtol=1e-7)
