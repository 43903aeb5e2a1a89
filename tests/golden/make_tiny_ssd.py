"""Write tiny_ssd.npz and tiny_ssd.json, the golden state of a tiny SSD (`tests.golden.tiny_ssd`).

    python -m tests.golden.make_tiny_ssd [--replace]

Everything is computed by Keras in float64 and rounded once. What the reference can say it is asked:
heads, targets, loss, the gradients by the heads, and, by central differences, those by every
weight; with the statistics of the batch in the place of the running ones also every loss of the
ten steps. Nothing is written unless it agrees. It is run when the state is to be another one, never
to make a test pass: without --replace it refuses to write over what is there.

The seed is the first from 0 on whose state rounding does not decide about: no number that ReLU6 is
given, no overlap and no class loss at which something changes is within `MARGINS` of doing so. In
the ten steps some number comes that near to a kink of ReLU6 whatever the seed. What that and
rounding do to them is seen in float64: in `RUNS` further runs all weights are off, before each look
at them, by as much as the roundings of their layer come to; how far these runs go apart is written
down (at most `SPREAD`), and the replay may be `LAMBDA` times as far.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from typing import Any, NamedTuple
from unittest import mock

import keras
import numpy as np
from keras import ops

from keras_impl.backends import backend, in_mode
from reference_numpy import layers, mobilenet_v2, ssd
from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import cxcywh_to_xyxy, pairwise_iou
from reference_numpy.gradients import multibox_gradient
from reference_numpy.multibox import class_losses, multibox_loss
from reference_numpy.targets import assign_targets
from tests.golden.replay import evaluate, network, train_by_hand
from tests.golden.tiny_ssd import (
    ALPHA,
    CLASSES,
    CONVENTION,
    FILE,
    LAYOUT,
    LEARNING_RATE,
    MOMENTUM,
    PROVENANCE,
    STATISTICS_MOMENTUM,
    STEPS,
    packed,
    part,
    reference_weights,
)

MODE = "graph"
PACKAGES = ("keras", "tensorflow", "numpy")
LARGEST = 200_000  # bytes of the file

# Two images with objects, one without: normalisers, negatives and padding have something to do.
# Of four objects one has two anchors and three have one, on either map.
BOXES = [
    [[0.16, 0.0, 0.49, 0.29], [0.3, 0.1, 0.92, 0.95]],
    [[0.19, 0.08, 0.82, 0.74], [0.62, 0.5, 0.78, 0.81]],
    [[0, 0, 0, 0], [0, 0, 0, 0]],
]
LABELS = [[1, 3], [2, 1], [-1, -1]]

# How far from a decision what is decided has to be.
MARGINS = {"overlap": 1e-3, "class loss": 1e-3, "class loss in training": 1e-4, "ReLU6": 2e-5}
RUNS = 16
SPREAD = 5e-5  # of a loss of ten


def sixteen_bits(values: np.ndarray, unit: float = 1 / 128) -> np.ndarray:
    """The nearest multiples of a unit, in float16, which holds them."""
    return (np.round(values / unit) * unit).astype(np.float16)


def a_start(seed: int) -> dict[str, np.ndarray]:
    """Weights and images.

    Kernels such that a map is as large as the one before, so that nothing is lost on the way;
    normalisations such that ReLU6 cuts at both ends.
    """
    generator = np.random.default_rng(seed)
    from keras_impl.models.ssd import SSD

    model = SSD(LAYOUT, CLASSES, alpha=ALPHA, convention=CONVENTION)
    limits = {
        "gamma": (0.5, 1.5),
        "beta": (-0.5, 1.5),
        "moving_mean": (-0.1, 0.1),
        "moving_variance": (0.5, 1.5),
        "bias": (-0.5, 0.5),
    }
    made = {}
    for weight in sorted(model.weights, key=lambda one: one.path):
        shape = tuple(weight.shape)
        if weight.name == "kernel":
            rows, columns, channels, _ = shape
            terms = rows * columns * (1 if "depthwise" in weight.path else channels)
            value = generator.normal(0, 1 / np.sqrt(terms), shape)
        else:
            value = generator.uniform(*limits[weight.name], shape)
        made[f"weights/{weight.path}"] = sixteen_bits(value)
    images = generator.uniform(-1, 1, (len(BOXES), *LAYOUT.image_size, 3))
    made["images"] = sixteen_bits(images, 1 / 32)
    made["boxes"] = np.array(BOXES, np.float32)
    made["labels"] = np.array(LABELS, np.int32)
    return made


def with_targets(start: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with targets, by the reference: decided in float32, deltas in float64."""
    images = list(zip(start["boxes"], start["labels"], strict=True))
    decided, exact = (
        [
            assign_targets(box.astype(dtype), label, make_anchors(LAYOUT, dtype), CONVENTION)
            for box, label in images
        ]
        for dtype in (np.float32, np.float64)
    )
    labels = np.stack([one.labels for one in decided]).astype(np.int32)
    assert np.array_equal(labels, [one.labels for one in exact])
    deltas = np.stack([one.deltas for one in exact]).astype(np.float32)
    return {**start, "target_labels": labels, "target_deltas": deltas}


# --- how far from a decision ---------------------------------------------------------------------


def overlap_margin(boxes: np.ndarray, labels: np.ndarray) -> float:
    """How far every overlap is from the threshold, and the largest of an object from its second."""
    corners = cxcywh_to_xyxy(make_anchors(LAYOUT, np.float64))
    iou = pairwise_iou(boxes[labels > 0].astype(np.float64), corners)
    first, second = np.sort(iou, axis=1)[:, :-3:-1].T
    from_threshold = np.abs(iou - CONVENTION.matching.threshold).min()
    return float(min(from_threshold, (first - second).min()))


def loss_margin(logits: np.ndarray, labels: np.ndarray, negatives: np.ndarray) -> float:
    """How far the mined negatives are from those that are not, in each image."""
    losses = class_losses(logits, labels, CONVENTION)
    gaps = [
        one[mine].min() - one[~mine & (label == 0)].max()
        for one, mine, label in zip(losses, negatives, labels, strict=True)
    ]
    return float(min(gaps))


@cache
def _relu6(model: Any) -> Any:
    weights = (*model.trainable_variables, *model.non_trainable_variables)
    taken = [layer.input for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
    inner = keras.Model(model.input, taken)

    def margin(images: Any, *numbers: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(weights, numbers, strict=True))):
            found = inner(images, training=False)
        kinks = [ops.minimum(ops.abs(one), ops.abs(one - 6)) for one in found]
        return ops.min(ops.stack([ops.min(one) for one in kinks]))

    return in_mode(margin, MODE)


def relu6_margin(model: Any, weights: dict[str, np.ndarray], images: np.ndarray) -> float:
    """How far what goes into a ReLU6 is from 0 and from 6."""
    names = [one.path for one in (*model.trainable_variables, *model.non_trainable_variables)]
    return float(_relu6(model)(images, *(weights[name] for name in names)))


# --- what rounding does to it --------------------------------------------------------------------


def unsettled(weights: dict[str, np.ndarray], generator: np.random.Generator) -> dict[str, Any]:
    """All that is trained, off by as much as the roundings of its layer come to, there and back.

    A sum of n products that is rounded is the exact sum of products of which each is off a little
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1): here, of the kernel's
    numbers, √n u each.
    """
    moved = dict(weights)
    for name, value in weights.items():
        if "/moving_" in name:
            continue
        roundings = 9
        if name.endswith("/kernel"):
            rows, columns, channels, filters = value.shape
            roundings = rows * columns * (2 if filters == 1 else channels + filters)
        noise = generator.standard_normal(value.shape)
        moved[name] = value * (1 + roundings**0.5 * 2.0**-24 * noise)
    return moved


def spread(
    model: Any,
    weights: dict[str, np.ndarray],
    batch: Sequence[np.ndarray],
    losses: list[float],
    after: dict[str, np.ndarray],
) -> dict[str, Any]:
    """How far runs go apart whose weights are off by their roundings: root mean squares.

    Returns:
        "losses", of each step, and "running statistics", of the largest of the same kind.
    """
    generator = np.random.default_rng(0)
    off, running = [], []
    for _ in range(RUNS):
        history, found = train_by_hand(
            model, weights, batch, mode=MODE, unsettle=lambda now: unsettled(now, generator)
        )
        off.append(np.subtract(found, losses))
        running.append(max(far(history[-1][name], value) for name, value in after.items()))
    return {
        "losses": np.sqrt(np.mean(np.square(off), axis=0)).tolist(),
        "running statistics": float(np.sqrt(np.mean(np.square(running)))),
    }


# --- what the reference says ---------------------------------------------------------------------


class OfTheBatch:
    """`layers.batch_norm` with the statistics of the map itself, which it keeps."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, np.ndarray]] = {}

    def __call__(self, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *_: Any) -> np.ndarray:
        mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
        self.seen[id(gamma)] = {"mean": mean, "variance": variance}
        return layers.batch_norm(x, gamma, beta, mean, variance)


def reference_total(
    weights: dict[str, np.ndarray], images: np.ndarray, *targets: np.ndarray
) -> float:
    """The loss of the reference's forward pass."""
    return float(multibox_loss(*ssd.forward(images, weights, LAYOUT), *targets, CONVENTION).total)


def worst_slope(
    weights: dict[str, np.ndarray],
    gradients: dict[str, np.ndarray],
    images: np.ndarray,
    *targets: np.ndarray,
    step: float = 2.0**-26,
) -> float:
    """How far a gradient is from the slope of the reference's loss, at most.

    Along one direction for each weight, all of whose numbers go up or down by `step`: so small that
    no ReLU6 comes to its kink.
    """
    generator, worst = np.random.default_rng(0), 0.0
    for name, gradient in gradients.items():
        way = generator.choice([-1.0, 1.0], gradient.shape)
        ahead, behind = (
            reference_total({**weights, name: weights[name] + sign * step * way}, images, *targets)
            for sign in (1, -1)
        )
        worst = max(worst, abs((ahead - behind) / (2 * step) - float((gradient * way).sum())))
    return worst


def far(found: Any, wanted: Any) -> float:
    """The largest difference, of the largest number."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


# --- all of it -----------------------------------------------------------------------------------


def margins_of(
    model: Any, state: dict[str, np.ndarray], weights: dict[str, np.ndarray]
) -> dict[str, float]:
    """Those that can be told without training."""
    said = ssd.forward(state["images"].astype(np.float64), reference_weights(weights), LAYOUT)
    labels = state["target_labels"]
    wanted = multibox_loss(*said, state["target_deltas"].astype(np.float64), labels, CONVENTION)
    return {
        "overlap": overlap_margin(state["boxes"], state["labels"]),
        "class loss": loss_margin(said[1], labels, wanted.negatives),
        "ReLU6": relu6_margin(model, weights, state["images"].astype(np.float64)),
    }


def too_near(margins: dict[str, float]) -> list[str]:
    """What rounding might decide."""
    return [name for name, value in margins.items() if value < MARGINS[name]]


class Made(NamedTuple):
    """What was made of a seed.

    Attributes:
        state: All arrays.
        margins: How far from a decision it is.
        away: How far the reference is from it.
        spread: Of `spread`.
    """

    state: dict[str, np.ndarray]
    margins: dict[str, float]
    away: dict[str, float]
    spread: dict[str, Any]


def made(seed: int, model: Any = None) -> Made | None:
    """All of it, or None if a seed will not do.

    Args:
        seed: Of weights and images.
        model: The network in float64, if it is there already; its own weights do not matter.
    """
    state = with_targets(a_start(seed))
    weights = {name: value.astype(np.float64) for name, value in part("weights", state).items()}
    images, labels = state["images"].astype(np.float64), state["target_labels"]
    deltas = state["target_deltas"].astype(np.float64)
    batch = images, deltas, labels
    model = network(weights, "float64") if model is None else model
    margins = margins_of(model, state, weights)
    if too_near(margins):
        return None

    found = evaluate(model, weights, batch, mode=MODE)
    loss, gradients = found.loss, found.gradients
    history, losses = train_by_hand(model, weights, batch, mode=MODE)
    after = {name: history[-1][name] for name in found.running}

    # The reference.
    away: dict[str, float] = {}
    hers = reference_weights(weights)
    reference = ssd.forward(images, hers, LAYOUT)
    away["deltas"] = far(found.deltas, reference[0])
    away["logits"] = far(found.logits, reference[1])
    wanted = multibox_loss(*reference, deltas, labels, CONVENTION)
    for name in ("total", "class_loss", "box_loss"):
        away[name] = far(getattr(loss, name), getattr(wanted, name))
    for name in ("positives", "counted", "negatives"):
        away[name] = float(np.any(getattr(loss, name) != getattr(wanted, name)))
    # The biases of a head are added to its numbers, so their gradients are sums of those by these.
    by_heads = multibox_gradient(*reference, deltas, labels, CONVENTION)
    for output, gradient in zip(("deltas", "logits"), by_heads, strict=True):
        start = 0
        for level, (rows, columns) in enumerate(LAYOUT.feature_maps):
            bias = gradients[f"head_{level}_{output}/bias"]
            end = start + rows * columns * (len(bias) // gradient.shape[-1])
            sums = gradient[:, start:end].reshape(-1, len(bias)).sum(axis=0)
            away[f"bias of {output} {level}"] = far(bias, sums)
            start = end
    away["slopes"] = worst_slope(hers, gradients, images, deltas, labels)

    # The reference in training.
    running = {name: weights[name] for name in found.running}
    reference_losses, nearest = [], []
    for now in history[:-1]:
        with mock.patch.object(mobilenet_v2, "batch_norm", OfTheBatch()) as norm:
            said = ssd.forward(images, {**hers, **now}, LAYOUT)
        wanted = multibox_loss(*said, deltas, labels, CONVENTION)
        reference_losses.append(float(wanted.total))
        nearest.append(loss_margin(said[1], labels, wanted.negatives))
        for name in running:
            norm_name, _, kind = name.rpartition("/moving_")
            value = norm.seen[id(now[f"{norm_name}/gamma"])][kind]
            running[name] = STATISTICS_MOMENTUM * running[name] + (1 - STATISTICS_MOMENTUM) * value
    margins["class loss in training"] = min(nearest)
    if too_near(margins):
        return None
    away["losses of ten steps"] = far(losses, reference_losses)
    away["running statistics"] = max(far(after[name], running[name]) for name in after)

    single = {
        "deltas": found.deltas,
        "logits": found.logits,
        **{name: getattr(loss, name) for name in ("total", "class_loss", "box_loss")},
        "losses": np.array(losses),
        **{f"gradients/{name}": value for name, value in gradients.items()},
        **{f"after/{name}": value for name, value in after.items()},
    }
    state |= {name: np.asarray(value, np.float32) for name, value in single.items()}
    state["positives"] = np.asarray(loss.positives, np.int32)
    state["counted"], state["negatives"] = loss.counted, loss.negatives
    apart = spread(model, weights, batch, losses, after)
    if max(apart["losses"]) > SPREAD:
        return None  # in one of the steps, rounding decided about something
    return Made(state, margins, away, apart)


AGREEMENT = 1e-11  # in float64, of the largest number
SLOPE = 2e-6  # of central differences: the rounding of the loss, some 1e-14, over 2 steps of 2^-26


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.make_tiny_ssd")
    parser.add_argument("--replace", action="store_true", help="write over the state that is there")
    options = parser.parse_args()
    there = [path.name for path in (FILE, PROVENANCE) if path.exists()]
    if there and not options.replace:
        parser.error(f"expected --replace to write over what is there. Received: {there}")
    if backend() != "tensorflow":
        parser.error(f"expected KERAS_BACKEND=tensorflow. Received: {backend()!r}")

    model = network(part("weights", a_start(0)), "float64")
    for seed in range(1000):
        if (found := made(seed, model)) is not None:
            break
    else:
        raise SystemExit("expected a seed that is far from every decision. Nothing was written")
    print(f"seed {seed}")
    for name, value in sorted(found.away.items()):
        allowed = SLOPE if name == "slopes" else AGREEMENT
        print(f"  {name}: the reference is {value:.1e} away, {allowed:.0e} allowed")
        if not value <= allowed:
            raise SystemExit(f"{name}: expected what the reference says. Nothing was written")

    archive = io.BytesIO()
    np.savez_compressed(archive, allow_pickle=False, **packed(found.state))
    data = archive.getvalue()
    if len(data) > LARGEST:
        raise SystemExit(f"expected at most {LARGEST} bytes. Received: {len(data)}")
    provenance = {
        "command": "python -m tests.golden.make_tiny_ssd",
        "what": "a tiny SSD: weights, images, targets, heads, loss, gradients, ten steps",
        "licence": "Apache-2.0, as this project: weights and images are random numbers",
        "seed": seed,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "computed": f"Keras on {backend()}, float64, rounded once to float32",
        "steps": {"count": STEPS, "learning rate": LEARNING_RATE, "momentum": MOMENTUM},
        "margins": found.margins,
        "reference": found.away,
        "spread": found.spread,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "machine": platform.machine(),
    }
    FILE.write_bytes(data)
    PROVENANCE.write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    print(
        f"{FILE.name}: {len(found.state)} arrays, {len(data)} bytes, SHA-256 {provenance['sha256']}"
    )
    print(f"losses: {' '.join(f'{one:.4f}' for one in found.state['losses'])}")


if __name__ == "__main__":
    main()
