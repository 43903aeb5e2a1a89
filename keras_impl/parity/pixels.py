"""From the pixels of a photograph to its boxes: do Keras, NumPy and LiteRT agree?

`compare_photographs` puts photographs through whole detectors and compares the outputs of the heads
and the detections. Sums of some sixty layers in float32 are not equal, so they are asked to be
close: see `RAW`, `SCORE`, `PIXELS`. `tracing` finds the first layer that departs.
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

RAW = 2e-4  # absolute, of codes that reach 80 and logits that reach 20
SHOWN = 0.1  # detections above this score are compared


@dataclass(frozen=True)
class PhotoCheck:
    """What two implementations say of one photograph.

    Attributes:
        photo: Its file.
        one, other: Who.
        deltas, logits: Largest absolute difference of the heads' outputs.
        detections: How many have a partner: same class, score within `SCORE`, corners within
            `PIXELS`.
        alone: How many have none, though they score more than `SCORE` above the threshold.
        disorder: Pairs in another order although their scores are further apart than `SCORE`.
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
        """Whether the two agree."""
        close = self.deltas <= RAW and self.logits <= RAW  # neither is NaN
        return close and self.alone == 0 and self.disorder == 0


def compare_photographs(
    photographs: Sequence[Path],
    detectors: Mapping[str, Detector],
    watch: Callable[[str], None] = lambda text: None,
) -> Iterator[PhotoCheck]:
    """Put photographs through several detectors and compare each with each.

    Args:
        photographs: Files.
        detectors: By name; all of one network.
        watch: Told which photograph is next.

    Yields:
        One check a photograph and pair.

    Raises:
        ValueError: A file that is no image.
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
