"""The main job: detect digits with Keras and with the reference, compare, and time matching.

Everything is computed here and nothing is shown: `report` renders what `run` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from keras_impl._common.arrays import Array
from keras_impl._common.choices import CANVASES, SCORE, DigitMode
from keras_impl._common.timing import measure
from keras_impl.backends import in_mode
from keras_impl.backends.machine import about_this_machine
from keras_impl.conformance.detections import ImageVerdict, judge_image
from keras_impl.conformance.judges import judge_match, judge_targets
from keras_impl.conformance.verdicts import Verdict
from keras_impl.data.canvases import Canvas, batch_images, canvas, collate
from keras_impl.data.mnist import Digits
from keras_impl.detector.detector import head_outputs
from keras_impl.images.detections import Detection, to_pixels
from keras_impl.ops import (
    coding as mirror_coding,
    detection as mirror_detection,
    losses as mirror_losses,
    matching as mirror_matching,
    targets as mirror_targets,
)
from keras_impl.parity import table as parity
from reference_numpy import boxes, detection, matching, targets
from reference_numpy.checks import check_counts
from reference_numpy.conventions import CANONICAL, SSD300, SSD_MOBILENET300, UNMATCHED, Convention
from reference_numpy.evaluation import match_detections
from reference_numpy.testing.workloads import MatchingWorkload, matching_workload

if TYPE_CHECKING:
    from keras_impl.models.ssd import SSD

__all__ = [
    "BATCH",
    "Assignment",
    "Demo",
    "Image",
    "Timing",
    "assignment",
    "compare",
    "run",
    "time_matching",
]

LAYOUTS = (SSD_MOBILENET300, SSD300)  # 1917 and 8732 anchors
OBJECTS = (1, 8, 32)
BATCH = 8
REPEATS = 7
PATIENCE = 1.5  # seconds after which fewer repeats will do, but not fewer than LEAST
LEAST = 3


@dataclass(frozen=True)
class Assignment:
    """Which object of an image each anchor is matched to, by the reference.

    Attributes:
        objects: (A,) object of each anchor, -1 for background.
        first: (N,) the anchor that each object was given first, whatever their overlap, or -1;
            -1 where the convention pairs nothing like that.
        overlap: (A,) IoU of each anchor with its object, 0 for background.
        equal: Whether Keras says the same, its deltas within budget.
    """

    objects: Array
    first: Array
    overlap: Array
    equal: bool


@dataclass(frozen=True)
class Example:
    """One unseen canvas and all that is known of it.

    Attributes:
        mode: "1" or "1-10".
        image: RGB.
        truth: What is on it, as detections of score 1.
        keras, numpy: What the two implementations see, above `SCORE`.
        comparison: Of all their detections.
        anchors: (A, 4) cxcywh, relative to the image.
        responsibility: Of the anchors for the digits.
    """

    mode: str
    image: Image.Image
    truth: tuple[Detection, ...]
    keras: tuple[Detection, ...]
    numpy: tuple[Detection, ...]
    comparison: ImageVerdict
    anchors: Array
    assignment: Assignment

    @property
    def hits(self) -> int:
        """How many of the digits the reference finds: the right class, IoU at least .5."""
        count = 0
        for label in {one.label for one in self.truth}:
            there = np.array([one.box for one in self.truth if one.label == label])
            seen = np.array([one.box for one in self.numpy if one.label == label]).reshape(-1, 4)
            count += int((match_detections(boxes.pairwise_iou(seen, there), 0.5) >= 0).sum())
        return count

    @property
    def passed(self) -> bool:
        """Whether Keras agrees with the reference on this image."""
        return self.comparison.passed and self.assignment.equal


@dataclass(frozen=True)
class Timing:
    """How long one implementation takes to match one load.

    Attributes:
        implementation: "NumPy reference", "Keras graph" or "Keras XLA".
        anchors: A.
        objects: M, objects of the fullest image.
        batch: B.
        pairs: Anchors × objects of all images, padding not counted.
        seconds: Median of the runs.
        runs: How many, after the first, whose answer was checked, and a warm-up.
        mismatches: Images in which the answer was wrong.
        excused: Images in which XLA decided a near-tie differently, with a witness.
    """

    implementation: str
    anchors: int
    objects: int
    batch: int
    pairs: int
    seconds: float
    runs: int
    mismatches: int
    excused: int

    @property
    def pairs_per_second(self) -> float:
        """Throughput."""
        return self.pairs / self.seconds


@dataclass(frozen=True)
class Demo:
    """All that the report shows."""

    examples: tuple[Example, ...]
    parity: parity.Report
    timings: tuple[Timing, ...]
    facts: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether nothing disagrees."""
        return (
            all(example.passed for example in self.examples)
            and not any(timing.mismatches for timing in self.timings)
            and self.parity.passed
        )

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "passed": self.passed,
            "images": [
                {
                    "digits": example.mode,
                    **asdict(example.comparison),
                    "excused": example.comparison.excused,
                    "objects": len(example.truth),
                    "found": example.hits,
                    "targets_equal": example.assignment.equal,
                    "passed": example.passed,
                }
                for example in self.examples
            ],
            "throughput": [
                {**asdict(timing), "pairs_per_second": timing.pairs_per_second}
                for timing in self.timings
            ],
            "parity": self.parity.as_json(),
            "facts": self.facts,
        }


def run(
    model: SSD,
    digits: Digits,
    *,
    num_images: int = CANVASES,
    seed: int = 0,
    cases: int = 12,
    watch: Callable[[str], None] = lambda text: None,
) -> Demo:
    """Do it all.

    Args:
        model: A digit detector.
        digits: Test digits, never trained on.
        num_images: How many canvases: two thirds with 1 to 10 digits, then some with one.
        seed: Of the canvases and the cases.
        cases: Of the parity table, see `parity.run`; float32 only, as the detector is.
        watch: Told what is being done.

    Returns:
        `Demo`.

    Raises:
        ValueError: No images, a negative seed, or a network that is no digit detector.
    """
    check_counts(1, num_images=num_images)
    if model.num_classes != 10:
        raise ValueError(f"model: expected 10 classes, the digits. Received: {model.num_classes}")
    modes: list[DigitMode] = [
        "1-10" if index < -(-2 * num_images // 3) else "1" for index in range(num_images)
    ]
    watch("composing canvases")
    canvases = [canvas(digits, mode, seed, index) for index, mode in enumerate(modes)]
    watch("detecting with both")
    shown = tuple(_look(model, canvases, modes))
    report = parity.run(
        cases=cases, seed=seed, dtypes=("float32",), watch=lambda text: watch(f"parity: {text}")
    )
    timings = tuple(
        timing
        for layout in LAYOUTS
        for objects in OBJECTS
        for timing in time_matching(matching_workload(layout, BATCH, objects, seed), watch)
    )
    facts = {"digits": digits.source, "seed": str(seed), **about_this_machine()}
    return Demo(shown, report, timings, facts)


# --- Detections ---------------------------------------------------------------------------


def _look(model: SSD, canvases: Sequence[Canvas], modes: Sequence[str]) -> Iterator[Example]:
    outputs = head_outputs(model, batch_images(np.stack([made.image for made in canvases])))
    convention = model.convention
    answers = compare(outputs["deltas"], outputs["logits"], model.anchors, convention)
    duties = assignment(canvases, model.anchors, convention)
    for row, made in enumerate(canvases):
        image = Image.fromarray(made.image).convert("RGB")
        keras_found, numpy_found, comparison = answers[row]
        sure = np.ones(len(made.labels))
        nobody = np.full(len(made.labels), -1)
        truth = detection.Detections(made.boxes, sure, made.labels.astype(np.int64), nobody)
        yield Example(
            modes[row],
            image,
            tuple(to_pixels(truth, image.size)),
            _shown(keras_found, image.size),
            _shown(numpy_found, image.size),
            comparison,
            model.anchors,
            duties[row],
        )


def _shown(found: detection.Detections, size: tuple[int, int]) -> tuple[Detection, ...]:
    return tuple(one for one in to_pixels(found, size) if one.score > SCORE)


def compare(
    deltas: Array, logits: Array, anchors: Array, convention: Convention
) -> list[tuple[detection.Detections, detection.Detections, ImageVerdict]]:
    """Detect from the same outputs of the heads with Keras and with the reference.

    Args:
        deltas: (B, A, 4) float32.
        logits: (B, A, C + 1) float32.
        anchors: (A, 4) float32, cxcywh.
        convention: What the heads mean, and what is kept.

    Returns:
        For each image Keras' detections, the reference's, and how they compare.
    """
    softmax = convention.loss.class_loss == "softmax"
    found = mirror_detection.detect(deltas, logits, anchors, convention)
    # What it decided about: computed alike, eagerly, so these are the numbers themselves.
    box = mirror_coding.decode(deltas, anchors, convention)
    columns = mirror_coding.background_first(logits, convention)
    score = (mirror_losses.softmax if softmax else mirror_losses.sigmoid)(columns)[..., 1:]
    parts = [np.asarray(part) for part in (*found, box, score)]
    answers = []
    for delta, logit, *got, own_box, own_score in zip(deltas, logits, *parts, strict=True):
        heads = delta, logit, anchors, convention
        used = got[2] > 0
        answers.append(
            (
                detection.Detections(*(part[used] for part in got)),
                detection.detect(*heads),
                judge_image(got, *heads, numbers=(own_box, own_score)),
            )
        )
    return answers


# --- Targets ------------------------------------------------------------------------------


def assignment(
    canvases: Sequence[Canvas], anchors: Array, convention: Convention
) -> list[Assignment]:
    """Which digit each anchor is matched to, and whether Keras agrees with the reference.

    Keras assigns the targets of all canvases at once in a graph, as it does in training.
    """
    batch = collate(canvases)
    rules = convention.matching

    def assign(box: Any, labels: Any) -> tuple[Any, ...]:
        return tuple(mirror_targets.assign_targets(box, labels, anchors, convention))

    outputs = in_mode(assign, "graph")(batch.boxes, batch.labels)
    duties = []
    for made, labels, deltas, objects in zip(canvases, *outputs, strict=True):
        wanted = targets.assign_targets(made.boxes, made.labels, anchors, convention)
        iou = boxes.pairwise_iou(made.boxes, boxes.cxcywh_to_xyxy(anchors), convention)
        positive = wanted.objects >= 0
        overlap = np.zeros(len(anchors))
        overlap[positive] = iou[wanted.objects[positive], positive]
        inputs = made.boxes[None], made.labels[None], anchors
        told = labels[None], deltas[None], objects[None]
        verdict = judge_targets(inputs, told, "float32", False, convention)
        equal = not verdict.mismatches
        first = np.full(len(iou), UNMATCHED)
        if rules.force == "bipartite":
            first = matching.bipartite(iou, rules.force_above)
        duties.append(Assignment(wanted.objects, first, overlap, equal))
    return duties


# --- Throughput ---------------------------------------------------------------------------


def time_matching(
    work: MatchingWorkload, watch: Callable[[str], None] = lambda text: None
) -> list[Timing]:
    """Match one load with the reference and with Keras, check the answers, then time them.

    Args:
        work: Boxes (B, M, 4), labels (B, M), anchors (A, 4).
        watch: Told what is being timed.

    Returns:
        One `Timing` an implementation.
    """
    batch, objects = work.labels.shape
    count = len(work.anchors)
    pairs = int((work.labels > 0).sum()) * count

    def by_reference(box: Array, labels: Array, anchors: Array) -> Array:
        corners = boxes.cxcywh_to_xyxy(anchors)
        return np.stack(
            [
                matching.match(boxes.pairwise_iou(one[own > 0], corners))
                for one, own in zip(box, labels, strict=True)
            ]
        )

    def by_keras(box: Any, labels: Any, anchors: Any) -> Any:
        return mirror_matching.match(box, labels > 0, anchors)

    timings = []
    for name, call, excuses in (
        ("NumPy reference", by_reference, False),
        ("Keras graph", in_mode(by_keras, "graph"), False),
        ("Keras XLA", in_mode(by_keras, "xla"), True),
    ):
        watch(f"timing: {count} anchors x {objects} objects, {name}")
        verdict = Verdict(batch)

        def check(answer: Array, excuses: bool = excuses) -> int:
            nonlocal verdict
            verdict = judge_match(tuple(work), (answer,), "float32", excuses, CANONICAL)
            return verdict.excused

        rounds = measure(
            partial(call, *work), check, seconds=PATIENCE, least=LEAST, most=REPEATS
        ).rounds
        timings.append(
            Timing(
                name,
                count,
                objects,
                batch,
                pairs,
                float(np.median(rounds)),
                len(rounds),
                verdict.mismatches,
                verdict.excused,
            )
        )
    return timings
