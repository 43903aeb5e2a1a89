"""Measure the average precision of a digit detector on canvases.

Keras runs the network and its decoding; `reference_numpy.evaluation` computes the metric.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from keras_impl._common.choices import DigitMode
from keras_impl.data.canvases import batch_images, canvas
from keras_impl.data.mnist import Digits
from reference_numpy.checks import check_counts
from reference_numpy.evaluation import Evaluation, evaluate

if TYPE_CHECKING:
    from keras_impl.models.ssd import SSD

__all__ = ["evaluate_digits"]

MOST_DETECTIONS = 100  # per image, as in COCO's evaluation
BATCH = 32


def evaluate_digits(
    model: SSD,
    digits: Digits,
    mode: DigitMode,
    num_images: int,
    seed: int,
    advance: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Compute the average precision of a digit detector on canvases.

    Args:
        model: A digit detector with 10 classes.
        digits: Digits to draw from.
        mode: Digits per canvas: "1", "1-10" or "both".
        num_images: Number of canvases.
        seed: Seed of the series of canvases.
        advance: Called with the number of images done since the last call.

    Returns:
        COCO's average precision, mean and per class.

    Raises:
        ValueError: `num_images` below 1, an unknown mode, or a negative seed.
    """
    check_counts(1, num_images=num_images)
    truth_boxes, truth_labels, boxes, labels, scores = [], [], [], [], []
    for start in range(0, num_images, BATCH):
        made = [canvas(digits, mode, seed, i) for i in range(start, min(start + BATCH, num_images))]
        images = batch_images(np.stack([one.image for one in made]))
        # The last batch is padded, so that the graph is traced for one shape only.
        filled = np.concatenate([images, np.zeros((BATCH - len(made), *images.shape[1:]), "f4")])
        found = model.detect(filled, batch_size=BATCH, max_detections=MOST_DETECTIONS)
        for row, one in enumerate(made):
            truth_boxes.append(one.boxes)
            truth_labels.append(one.labels)
            used = found.labels[row] > 0
            boxes.append(found.boxes[row][used])
            labels.append(found.labels[row][used])
            scores.append(found.scores[row][used])
        advance(len(made))
    return evaluate(truth_boxes, truth_labels, boxes, labels, scores, model.num_classes)
