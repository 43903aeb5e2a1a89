"""Compare two lists of detections of one image, made by different kernels.

Keras, NumPy and LiteRT round their sums in another order. So detections of nearly equal scores may
swap places, and corners are compared in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from keras_impl.images.detections import Detection

__all__ = [
    "PIXELS",
    "SCORE",
    "compare_detections",
]

SCORE = 1e-3  # allowed difference of a score; detections whose scores are closer may swap places
PIXELS = 0.5  # allowed difference of a corner


def compare_detections(
    first: Sequence[Detection], second: Sequence[Detection], threshold: float
) -> tuple[int, int, int, float, float]:
    """Pair the detections of two lists and count those that differ.

    A pair has the same class, scores within `SCORE` and corners within `PIXELS`.

    Args:
        first: Detections by one implementation, highest score first, boxes in pixels.
        second: Detections by another implementation.
        threshold: The score threshold of both lists.

    Returns:
        Five fields of `PhotoCheck`: `detections`, the number of pairs; `alone`, detections missing
        in one list although they score more than `SCORE` above the threshold; `disorder`, pairs
        in another order although their scores differ by more than `SCORE`; `pixels` and `score`,
        the largest differences within a pair.

    Example:
        >>> cat = Detection(8, 0.9, (0.0, 0.0, 5.0, 5.0), 3)
        >>> compare_detections([cat], [cat._replace(score=0.8)], 0.1)
        (0, 2, 0, 0.0, 0.0)
    """
    partners: list[tuple[int, int]] = []
    left = set(range(len(second)))
    worst_pixels = worst_score = 0.0
    for index, one in enumerate(first):
        for candidate in sorted(left):
            other = second[candidate]
            score = abs(one.score - other.score)
            pixels = max(abs(a - b) for a, b in zip(one.box, other.box, strict=True))
            if one.label == other.label and score <= SCORE and pixels <= PIXELS:
                partners.append((index, candidate))
                left.remove(candidate)
                worst_pixels, worst_score = max(worst_pixels, pixels), max(worst_score, score)
                break
    paired = {index for index, _ in partners}
    lonely = [one for index, one in enumerate(first) if index not in paired]
    lonely += [second[index] for index in left]
    alone = sum(one.score > threshold + SCORE for one in lonely)
    disorder = sum(
        (a[1] > b[1]) and abs(first[a[0]].score - first[b[0]].score) > SCORE
        for a, b in itertools.combinations(partners, 2)
    )
    return len(partners), alone, disorder, worst_pixels, worst_score
