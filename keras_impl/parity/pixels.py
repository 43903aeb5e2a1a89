"""Compare whole detectors (Keras, NumPy, LiteRT) on photographs.

`compare_photographs` compares the head outputs and the detections. Some sixty layers in float32 do
not give equal sums, so the results must only be close: within `RAW`, `SCORE` and `PIXELS`.
`tracing` finds the first layer that differs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_impl.detector.comparison import compare_detections
from keras_impl.detector.detector import Detector
from keras_impl.images.detections import to_pixels
from keras_impl.images.pixels import prepare
from keras_impl.images.reading import open_image

__all__ = [
    "RAW",
    "SHOWN",
    "PhotoCheck",
    "compare_photographs",
]

RAW = 2e-4  # absolute, for deltas up to 80 and logits up to 20
SHOWN = 0.1  # detections above this score are compared


@dataclass(frozen=True)
class PhotoCheck:
    """The comparison of two implementations on one photograph.

    Attributes:
        photo: Path of the photograph.
        one, other: Names of the two implementations.
        deltas, logits: Largest absolute difference of the head outputs.
        detections: Number of detections with a partner: same class, scores within `SCORE`,
            corners within `PIXELS`.
        alone: Number of detections without a partner that score more than `SCORE` above the
            threshold.
        disorder: Number of pairs in another order although their scores differ by more than
            `SCORE`.
        pixels: Largest difference of a corner, in pixels of the photograph.
        score: Largest difference of a score.
    """

    photo: str
    one: str
    other: str
    deltas: float
    logits: float
    detections: int
    alone: int
    disorder: int
    pixels: float
    score: float

    @property
    def passed(self) -> bool:
        """Whether the two implementations agree."""
        close = self.deltas <= RAW and self.logits <= RAW  # false for NaN
        return close and self.alone == 0 and self.disorder == 0


def compare_photographs(
    photographs: Sequence[Path],
    detectors: Mapping[str, Detector],
    watch: Callable[[str], None] = lambda text: None,
) -> Iterator[PhotoCheck]:
    """Run several detectors on photographs and compare each pair of detectors.

    Args:
        photographs: Paths of image files.
        detectors: Detectors of the same network, by name.
        watch: Called with the name of each photograph before it is compared.

    Yields:
        One check per photograph and pair of detectors.

    Raises:
        ValueError: A file is not an image.
    """
    for path in photographs:
        watch(path.name)
        image = open_image(path)
        raw, seen = {}, {}
        for name, detector in detectors.items():
            images = prepare(image, detector.size)[None]
            raw[name] = detector.heads(images)
            seen[name] = to_pixels(detector.detect_prepared(images, score=SHOWN)[0], image.size)
        for one, other in itertools.combinations(detectors, 2):
            deltas, logits = (
                float(np.abs(raw[one][part] - raw[other][part]).max())
                for part in ("deltas", "logits")
            )
            found = compare_detections(seen[one], seen[other], SHOWN)
            yield PhotoCheck(str(path), one, other, deltas, logits, *found)
