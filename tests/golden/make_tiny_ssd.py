"""Write tiny_ssd.npz and tiny_ssd.json, the golden state of a tiny SSD (`tests.golden.tiny_ssd`).

    python -m tests.golden.make_tiny_ssd [--replace]

Everything is computed by Keras in float64 and rounded once. What the reference can say it is asked:
heads, targets, loss, the gradients by the heads, and, by central differences, those by every
weight; with the statistics of the batch in the place of the running ones also every loss of the
ten steps. Nothing is written unless it agrees. It is run when the state is to be another one, never
to make a test pass: without --replace it refuses to write over what is there.

The seed is the first from 0 on whose state rounding does not decide about: no number that ReLU6 is
given, no overlap and no class loss at which something changes is within `MARGINS` of doing so.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
from importlib import metadata
from typing import Any
from unittest import mock

import keras
import numpy as np

from keras_impl.backends import backend
from reference_numpy import layers, mobilenet_v2, ssd
from reference_numpy.anchors import make_anchors
from reference_numpy.boxes import centers_to_corners, pairwise_iou
from reference_numpy.gradients import multibox_gradient
from reference_numpy.multibox import class_losses, multibox
from reference_numpy.targets import assign_targets
from tests.golden.replay import evaluate, network, train_in_float64
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

PACKAGES = ("keras", "tensorflow", "numpy")
LARGEST = 200_000  # bytes of the file

# Two pictures with objects, one without: normalisers, negatives and padding have something to do.
# Of four objects one has two anchors and three have one, on either map.
BOXES = [
    [[0.16, 0.0, 0.49, 0.29], [0.3, 0.1, 0.92, 0.95]],
    [[0.19, 0.08, 0.82, 0.74], [0.62, 0.5, 0.78, 0.81]],
    [[0, 0, 0, 0], [0, 0, 0, 0]],
]
LABELS = [[1, 3], [2, 1], [-1, -1]]

# How far from a decision what is decided has to be.
MARGINS = {
    "overlap": 1e-3,
    "class loss": 1e-3,
    "class loss in training": 1e-3,
    "ReLU6": 4e-6,
    "ReLU6 in training": 5e-7,
}


def sixteen_bits(values: np.ndarray, unit: float = 1 / 128) -> np.ndarray:
    """The nearest multiples of a unit, in float16, which holds them."""
    return (np.round(values / unit) * unit).astype(np.float16)


def a_start(seed: int) -> dict[str, np.ndarray]:
    """Weights and pictures.

    Kernels such that a map is as large as the one before, so that nothing is lost on the way;
    normalisations such that ReLU6 cuts at both ends.
    """
    generator = np.random.default_rng(seed)
    from keras_impl.ssd import SSD

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
    pictures = list(zip(start["boxes"], start["labels"], strict=True))
    decided, exact = (
        [
            assign_targets(box.astype(dtype), label, make_anchors(LAYOUT, dtype), CONVENTION)
            for box, label in pictures
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
    corners = centers_to_corners(make_anchors(LAYOUT, np.float64))
    iou = pairwise_iou(boxes[labels > 0].astype(np.float64), corners)
    first, second = np.sort(iou, axis=1)[:, :-3:-1].T
    from_threshold = np.abs(iou - CONVENTION.matching.threshold).min()
    return float(min(from_threshold, (first - second).min()))


def loss_margin(logits: np.ndarray, labels: np.ndarray, negatives: np.ndarray) -> float:
    """How far the mined negatives are from those that are not, in each picture."""
    losses = class_losses(logits, labels, CONVENTION)
    gaps = [
        one[mine].min() - one[~mine & (label == 0)].max()
        for one, mine, label in zip(losses, negatives, labels, strict=True)
    ]
    return float(min(gaps))


def relu6_margin(model: Any, images: np.ndarray, training: bool) -> float:
    """How far what goes into a ReLU6 is from 0 and from 6."""
    taken = [layer.input for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
    with keras.StatelessScope():  # a look must not move running statistics
        found = keras.Model(model.input, taken)(images, training=training)
    values = np.concatenate([numbers(one).ravel() for one in found])
    return float(np.minimum(np.abs(values), np.abs(values - 6)).min())


# --- what the reference says ---------------------------------------------------------------------


class OfTheBatch:
    """`layers.batch_norm` with the statistics of the map itself, which it keeps."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *_: Any) -> np.ndarray:
        mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
        self.seen[id(gamma)] = mean, variance
        return layers.batch_norm(x, gamma, beta, mean, variance)


def reference_total(
    weights: dict[str, np.ndarray], images: np.ndarray, *targets: np.ndarray
) -> float:
    """The loss of the reference's forward pass."""
    return float(multibox(*ssd.forward(images, weights, LAYOUT), *targets, CONVENTION).total)


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


def numbers(tensor: Any) -> np.ndarray:
    """A tensor or a weight as an array."""
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def far(found: Any, wanted: Any) -> float:
    """The largest difference, of the largest number."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


# --- all of it -----------------------------------------------------------------------------------


def made(seed: int) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, float]]:
    """The arrays of a seed, its margins, and how far the reference is from them."""
    state = with_targets(a_start(seed))
    weights = {name: value.astype(np.float64) for name, value in part("weights", state).items()}
    hers = reference_weights(weights)
    images = state["images"].astype(np.float64)
    labels, deltas = state["target_labels"], state["target_deltas"].astype(np.float64)

    model = network(weights, "float64")
    margins = {
        "overlap": overlap_margin(state["boxes"], state["labels"]),
        "ReLU6": relu6_margin(model, images, training=False),
    }
    if any(margins[name] < MARGINS[name] for name in margins):
        return {}, margins, {}

    found = keras.tree.map_structure(numbers, evaluate(model, images, deltas, labels))
    loss = found.loss
    names = [weight.path for weight in model.trainable_variables]
    gradients = dict(zip(names, found.gradients, strict=True))
    margins["class loss"] = loss_margin(found.logits, labels, loss.negatives)

    # The reference.
    away: dict[str, float] = {}
    reference = ssd.forward(images, hers, LAYOUT)
    away["deltas"] = far(found.deltas, reference[0])
    away["logits"] = far(found.logits, reference[1])
    wanted = multibox(*reference, deltas, labels, CONVENTION)
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
            width = len(bias) // gradient.shape[-1]
            end = start + rows * columns * width
            sums = gradient[:, start:end].reshape(-1, len(bias)).sum(axis=0)
            away[f"bias of {output} {level}"] = far(bias, sums)
            start = end
    away["slopes"] = worst_slope(hers, gradients, images, deltas, labels)

    # Ten steps.
    running = {name: value for name, value in weights.items() if "/moving_" in name}
    reference_losses: list[float] = []
    nearest: list[tuple[float, float]] = []

    def watch() -> None:
        now = {**hers, **{one.path: numbers(one) for one in model.weights}}
        with mock.patch.object(mobilenet_v2, "batch_norm", OfTheBatch()) as norm:
            said = ssd.forward(images, now, LAYOUT)
        wanted = multibox(*said, deltas, labels, CONVENTION)
        reference_losses.append(float(wanted.total))
        nearest.append(
            (
                relu6_margin(model, images, training=True),
                loss_margin(said[1], labels, wanted.negatives),
            )
        )
        for name in weights:
            if name.endswith("/gamma"):
                where = name.removesuffix("gamma")
                for kind, value in zip(("mean", "variance"), norm.seen[id(now[name])], strict=True):
                    old = running[f"{where}moving_{kind}"]
                    new = STATISTICS_MOMENTUM * old + (1 - STATISTICS_MOMENTUM) * value
                    running[f"{where}moving_{kind}"] = new

    losses = train_in_float64(model, images, deltas, labels, watch)
    margins["ReLU6 in training"], margins["class loss in training"] = np.min(nearest, 0).tolist()
    away["losses of ten steps"] = far(losses, reference_losses)
    after = {one.path: numbers(one) for one in model.non_trainable_variables}
    for name, value in after.items():
        away["running statistics"] = max(
            away.get("running statistics", 0.0), far(value, running[name])
        )

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
    return state, margins, away


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

    for seed in range(1000):
        state, margins, away = made(seed)
        decided = [name for name, least in MARGINS.items() if margins.get(name, 0.0) < least]
        print(
            f"seed {seed}: {'too near: ' + ', '.join(decided) if decided else 'taken'}", flush=True
        )
        if not decided:
            break
    else:
        raise SystemExit("expected a seed that is far from every decision. Nothing was written")
    for name, value in sorted(away.items()):
        allowed = SLOPE if name == "slopes" else AGREEMENT
        print(f"  {name}: the reference is {value:.1e} away, {allowed:.0e} allowed")
        if not value <= allowed:
            raise SystemExit(f"{name}: expected what the reference says. Nothing was written")

    archive = io.BytesIO()
    np.savez_compressed(archive, allow_pickle=False, **packed(state))
    data = archive.getvalue()
    if len(data) > LARGEST:
        raise SystemExit(f"expected at most {LARGEST} bytes. Received: {len(data)}")
    provenance = {
        "command": "python -m tests.golden.make_tiny_ssd",
        "what": "a tiny SSD: weights, pictures, targets, heads, loss, gradients, ten steps",
        "licence": "Apache-2.0, as this project: weights and pictures are random numbers",
        "seed": seed,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "computed": f"Keras on {backend()}, float64, rounded once to float32",
        "steps": {"count": STEPS, "learning rate": LEARNING_RATE, "momentum": MOMENTUM},
        "margins": margins,
        "reference": away,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "machine": platform.machine(),
    }
    FILE.write_bytes(data)
    PROVENANCE.write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE.name}: {len(state)} arrays, {len(data)} bytes, SHA-256 {provenance['sha256']}")
    print(f"losses: {' '.join(f'{one:.4f}' for one in state['losses'])}")


if __name__ == "__main__":
    main()
