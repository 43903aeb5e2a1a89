"""Run the demo: detect digits with Keras and with the reference, compare, and time matching.

Nothing is shown here; `report` renders the result of `run`.
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
PATIENCE = 1.5  # seconds after which the repeats stop, once there are LEAST of them
LEAST = 3


@dataclass(frozen=True)
class Assignment:
    """Targets of one image by the reference, and whether Keras agrees.

    Attributes:
        objects: (A,) object of each anchor, -1 for background.
        first: (N,) the anchor that each object is given first, at any overlap; -1 if it gets none
            or the convention has no such step.
        overlap: (A,) IoU of each anchor with its object, 0 for background.
        equal: Whether Keras assigns the same objects, with its deltas within budget.
    """

    objects: Array
    first: Array
    overlap: Array
    equal: bool


@dataclass(frozen=True)
class Example:
    """One canvas with its results.

    Attributes:
        mode: "1" or "1-10".
        image: The canvas, RGB.
        truth: The ground-truth boxes, as detections of score 1.
        keras: Detections of Keras that score above `SCORE`.
        numpy: Detections of the reference that score above `SCORE`.
        comparison: Comparison of all their detections.
        anchors: (A, 4) cxcywh, relative to the image.
        assignment: The objects of the anchors.
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
        """Number of digits that the reference finds: right class, IoU at least .5."""
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
    """Time of one implementation to match one load.

    Attributes:
        implementation: "NumPy reference", "Keras graph" or "Keras XLA".
        anchors: A.
        objects: M, objects of the fullest image.
        batch: B.
        pairs: Anchors × objects of all images, padding not counted.
        seconds: Median of the runs.
        runs: Number of timed runs; the checked first run and a warm-up are not counted.
        mismatches: Number of images whose result was wrong.
        excused: Number of images in which XLA decided a near-tie differently, with a proof.
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
        """Anchor-object pairs per second."""
        return self.pairs / self.seconds


@dataclass(frozen=True)
class Demo:
    """The results of a demo."""

    examples: tuple[Example, ...]
    parity: parity.Report
    timings: tuple[Timing, ...]
    facts: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether Keras and the reference agree everywhere."""
        return (
            all(example.passed for example in self.examples)
            and not any(timing.mismatches for timing in self.timings)
            and self.parity.passed
        )

    def as_json(self) -> dict[str, Any]:
        """Return the results as JSON values."""
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
    """Run the whole demo.

    Args:
        model: A digit detector.
        digits: Test digits, never trained on.
        num_images: Number of canvases: two thirds with 1 to 10 digits, the others with one.
        seed: Seed of the canvases and the cases.
        cases: Cases of each operation, see `parity.run`; float32 only, the detector's dtype.
        watch: Called with the name of each step.

    Returns:
        The results.

    Raises:
        ValueError: `num_images` below 1, a negative seed, or a model that is no digit detector.
    """
    check_counts(1, num_images=num_images)
    if model.num_classes != 10:
        raise ValueError(f"model: expected 10 classes, the digits. Received: {model.num_classes}")
    modes: list[DigitMode] = [
        "1-10" if index < -(-2 * num_images // 3) else "1" for index in range(num_images)
    ]
    watch("composing canvases")
    canvases = [canvas(digits, mode, seed, index) for index, mode in enumerate(modes)]
    watch("detecting with Keras and NumPy")
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
    """Detect from the same head outputs with Keras and with the reference.

    Args:
        deltas: (B, A, 4) float32.
        logits: (B, A, C + 1) float32.
        anchors: (A, 4) float32, cxcywh.
        convention: How to read the heads, and which detections to keep.

    Returns:
        For each image Keras' detections, the reference's, and their comparison.
    """
    softmax = convention.loss.class_loss == "softmax"
    found = mirror_detection.detect(deltas, logits, anchors, convention)
    # The boxes and scores that Keras decided by: the same eager operations give the same numbers.
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
    """Assign targets with the reference, and compare Keras with it.

    Keras assigns the targets of all canvases at once in a graph, as in training.

    Args:
        canvases: The images with their objects.
        anchors: (A, 4) float32, cxcywh.
        convention: How targets are assigned.

    Returns:
        One `Assignment` for each canvas.
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
    """Match one load with the reference and with Keras, check the results, then time the calls.

    Args:
        work: Boxes (B, M, 4), labels (B, M), anchors (A, 4).
        watch: Called with a description of each timing.

    Returns:
        One `Timing` for each implementation.
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
