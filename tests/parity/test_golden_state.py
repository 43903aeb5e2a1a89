"""The golden state of a tiny SSD (`tests.golden.tiny_ssd`), replayed by this backend.

What the heads say, the targets, the loss and its parts, its gradient by every weight, and the
losses of ten steps of `train_on_batch`. The state was computed in float64, so that it is nobody's
rounding. `tests/reference/test_golden_state.py` holds it to the reference.

How far float32 may be off. A number of the network is made by R roundings, one after the other, if
every product and sum on the longest path to it is counted. Kernels are such that a map is about as
large as the one before, so a rounding counts about as much at the end as where it was made; R
roundings as good as independent then come to at most LAMBDA √R u of the largest number, but for a
probability of 2 exp(-LAMBDA² / 2), which is 3e-14 (Higham & Mary, A new approach to probabilistic
rounding error analysis, SIAM J. Sci. Comput. 41, 2019, theorem 2.4). Had all gone one way it would
be R u, eight times as much: room for a bug to hide in.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_impl.backends import backend, modes
from keras_impl.conformance.budgets import BUDGETS
from keras_impl.conformance.scales import encode_scale
from reference_numpy.anchors import make_anchors
from reference_numpy.gradients import multibox_gradient
from tests.golden import replay
from tests.golden.tiny_ssd import CONVENTION, LAYOUT, PROVENANCE, STEPS, golden, part

LAMBDA = 8
EPS = 2.0**-23
# Compiled, where the whole network is compiled in seconds.
MODE = "jit" if backend() == "jax" else modes()[0]


@cache
def model():
    return replay.network(part("weights"))


@cache
def state() -> replay.State:
    """Of this backend, in float32."""
    batch = [golden()[name] for name in ("images", "target_deltas", "target_labels")]
    return replay.evaluate(model(), part("weights"), batch, mode=MODE)


def within(name: str, got: Any, wanted: np.ndarray, allowed: float, scale: float = 0.0) -> float:
    """How far it is off, in eps of its largest number, which must be allowed.

    Args:
        name: What it is.
        got: Of this backend.
        wanted: The golden state's.
        allowed: In eps.
        scale: What stands in the place of the largest number.
    """
    got = np.asarray(ops.convert_to_numpy(got))
    assert got.shape == wanted.shape, f"{name}: {got.shape} found, {wanted.shape} expected"
    assert np.isfinite(got).all(), f"{name}: {got}"
    off = np.abs(got.astype(np.float64) - wanted) / EPS / (scale or np.abs(wanted).max())
    worst = np.unravel_index(off.argmax(), off.shape)
    assert off.max() <= allowed, (
        f"{name}: {got[worst]} at {worst}, {wanted[worst]} expected, {off.max():.0f} eps of the "
        f"largest off, {allowed:.0f} allowed"
    )
    return float(off.max())


# --- how much is rounded -------------------------------------------------------------------------


@cache
def roundings() -> tuple[int, int]:
    """Those on the longest path from the images to a head, and those back to the first kernel."""
    there = back = 0
    for layer in model().layers:
        if layer.name.startswith("head_") and not layer.name.startswith("head_1_deltas"):
            continue  # one head is on a path
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            there += math.prod(layer.kernel.shape[:2])
            back += math.prod(layer.kernel.shape[:2])
        elif isinstance(layer, keras.layers.Conv2D):
            rows, columns, channels, filters = layer.kernel.shape
            there += rows * columns * channels
            back += rows * columns * filters
        elif isinstance(layer, keras.layers.BatchNormalization):
            there, back = there + 9, back + 2  # as in `parity.network`; gamma / sigma, a product
        elif isinstance(layer, keras.layers.Add):
            there, back = there + 1, back + 1
    images, rows, columns, _ = golden()["images"].shape
    return there, back + images * rows * columns // 4  # the first kernel sums over its places


def heads_budget() -> float:
    """Of what the heads say, in eps."""
    return LAMBDA * math.sqrt(roundings()[0]) / 2


def gradients_budget() -> float:
    """Of the gradients, in eps."""
    return LAMBDA * math.sqrt(sum(roundings())) / 2


def loss_budget() -> float:
    """Of the loss, in eps of it: what the heads' errors make of it, all one way, and its own."""
    names = ("deltas", "logits", "target_deltas", "target_labels")
    heads = [golden()[name] for name in names]
    by_heads = multibox_gradient(
        *(one.astype(np.float64) for one in heads[:3]), heads[3], CONVENTION
    )
    moved = sum(
        heads_budget() * np.abs(head).max() * np.abs(by).sum()
        for head, by in zip(heads, by_heads, strict=False)
    )
    return float(moved / golden()["total"]) + BUDGETS["multibox_loss"].eps


# --- the replay ----------------------------------------------------------------------------------


def test_targets_are_those_of_the_state():
    """Labels exactly, deltas within the budget of encoding."""
    objects = {name: golden()[name] for name in ("boxes", "labels")}
    deltas, labels = (np.asarray(ops.convert_to_numpy(one)) for one in model()._targets(objects))
    assert labels.tolist() == golden()["target_labels"].tolist()
    anchors = make_anchors(LAYOUT, np.float64)
    for image, wanted in enumerate(golden()["target_deltas"]):
        positive = labels[image] > 0
        assert not deltas[image][~positive].any()
        for anchor in np.flatnonzero(positive):
            scales = [
                encode_scale(box[None].astype(np.float64), anchors[[anchor]], CONVENTION)[0]
                for box in objects["boxes"][image][objects["labels"][image] > 0]
            ]
            unit = EPS * np.max(scales, axis=0)
            off = np.abs(deltas[image, anchor].astype(np.float64) - wanted[anchor]) / unit
            assert off.max() <= BUDGETS["assign_targets"].eps


def test_heads_are_those_of_the_state():
    for name in ("deltas", "logits"):
        off = within(name, getattr(state(), name), golden()[name], heads_budget())
        print(f"{name}: {off:.1f} eps off, {heads_budget():.0f} allowed")


def test_loss_and_its_parts_are_those_of_the_state():
    loss, allowed, total = state().loss, loss_budget(), float(golden()["total"])
    for name in ("total", "class_loss", "box_loss"):
        off = within(name, getattr(loss, name), golden()[name], allowed, total)
        print(f"{name}: {off:.1f} eps off, {allowed:.0f} allowed")
    for name in ("positives", "counted", "negatives"):
        assert np.array_equal(getattr(loss, name), golden()[name]), name


def test_every_gradient_is_that_of_the_state():
    wanted, allowed = part("gradients"), gradients_budget()
    assert sorted(state().gradients) == sorted(wanted)
    off = {
        name: within(name, got, wanted[name], allowed) for name, got in state().gradients.items()
    }
    worst = max(off, key=off.__getitem__)
    print(f"{len(off)} gradients: {off[worst]:.1f} eps off ({worst}), {allowed:.0f} allowed")


def test_ten_steps_are_those_of_the_state():
    """Through `compile` and `train_on_batch`, targets and all.

    Runs in float64 whose weights are off by their roundings go as far apart as is written down.
    """
    trained = replay.network(part("weights"))
    objects = {name: golden()[name] for name in ("boxes", "labels")}

    found = replay.train(trained, golden()["images"], objects)

    wanted = golden()["losses"]
    spread = json.loads(PROVENANCE.read_text(encoding="utf-8"))["spread"]
    assert len(found) == len(wanted) == STEPS
    for step, (got, loss) in enumerate(zip(found, wanted, strict=True)):
        allowed = LAMBDA * spread["losses"][step]
        assert abs(got - loss) <= allowed, f"step {step}: {got}, {loss} expected within {allowed}"
        print(f"loss of step {step}: {abs(got - loss):.1e} off, {allowed:.1e} allowed")
    allowed = LAMBDA * spread["running statistics"] / EPS
    after = part("after")
    running = {one.path: one for one in trained.non_trainable_variables}
    assert sorted(running) == sorted(after)
    off = {name: within(name, running[name], after[name], allowed) for name in after}
    print(f"running statistics: {max(off.values()):.1f} eps off, {allowed:.0f} allowed")


# --- in float64 ----------------------------------------------------------------------------------

if backend() == "tensorflow":  # elsewhere Keras narrows some sums of float64 to float32

    def test_the_state_is_what_its_maker_makes_of_it():
        """In float64, to the last bit, or the last but one where that was near a tie."""
        weights = {name: value.astype(np.float64) for name, value in part("weights").items()}
        precise = replay.network(weights, "float64")
        images, deltas = (golden()[name].astype(np.float64) for name in ("images", "target_deltas"))
        batch = images, deltas, golden()["target_labels"]
        found = replay.evaluate(precise, weights, batch, mode=MODE)
        outputs = {
            "deltas": (found.deltas, golden()["deltas"]),
            "logits": (found.logits, golden()["logits"]),
            "total": (found.loss.total, golden()["total"]),
            **{name: (got, part("gradients")[name]) for name, got in found.gradients.items()},
        }
        for name, (got, wanted) in outputs.items():
            single = np.asarray(got).astype(np.float32)
            # Where all cancels, what is left of float64 is some eps of what cancelled.
            unit = np.maximum(np.spacing(np.abs(wanted)), 1e-12 * np.abs(wanted).max())
            apart = np.abs(single - wanted) / unit
            assert apart.max() <= 1, f"{name}: {apart.max():.0f} units in the last place apart"
