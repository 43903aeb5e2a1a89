"""Write golden_oidv4.json again: what LiteRT says of photographs, kept for where it is not at hand.

    python tests/pretrained/make_golden.py

needs oidv4 on this machine (`ssd weights oidv4`), scikit-image and scikit-learn. It is run when the
published file changes, never to make a test pass. Photographs are PNG, whose pixels are the same
whoever decodes them.
"""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path

import numpy as np

from keras_impl.data.photographs import sample_photographs
from keras_impl.detector.detector import load_detector
from keras_impl.images.detections import to_pixels
from keras_impl.images.pixels import prepare
from keras_impl.images.reading import open_image
from keras_impl.parity.pixels import SHOWN
from keras_impl.weights.published import OIDV4

GOLDEN = Path(__file__).with_name("golden_oidv4.json")
PROBES = 24  # numbers of each output that are kept, spread over the anchors

PACKAGES = ("ai-edge-litert", "numpy", "pillow", "scikit-image")


def probes(values: np.ndarray) -> list[list[float]]:
    """(index, value) of some numbers of an output, the largest among them."""
    flat = values.ravel()
    places = np.unique(
        [*np.linspace(0, flat.size - 1, PROBES - 1, dtype=int), np.abs(flat).argmax()]
    )
    return [[int(place), float(flat[place])] for place in places]


def golden() -> dict:
    """All of it."""
    detector = load_detector(OIDV4.name, "litert")
    photographs = {}
    for path in sample_photographs():
        if path.suffix != ".png":
            continue
        image = open_image(path)
        images = prepare(image, detector.size)[None]
        raw = detector.heads(images)
        seen = to_pixels(detector.detect_prepared(images, score=SHOWN)[0], image.size)
        photographs[path.stem] = {
            "sha256 of the prepared pixels": hashlib.sha256(images.tobytes()).hexdigest(),
            "deltas": probes(raw["deltas"]),
            "logits": probes(raw["logits"]),
            "detections": [
                [detector.class_names[one.label], one.score, *one.box, one.anchor] for one in seen
            ],
        }
    return {
        "provenance": {
            "command": "python tests/pretrained/make_golden.py",
            "file": OIDV4.url,
            "sha256": OIDV4.sha256,
            "licence": OIDV4.licence,
            "runtime": "LiteRT with XNNPACK, float32",
            "photographs": "those that scikit-image ships, PNG; see skimage/data/README.txt",
            "decoding": f"reference_numpy, tf_od_ssd_mobilenet_v2, scores above {SHOWN}",
            "versions": {name: metadata.version(name) for name in PACKAGES},
            "machine": platform.machine(),
        },
        "photographs": photographs,
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=None, separators=(",", ":")) + "\n")
