"""Photographs that come inside Python packages, so that nothing has to be downloaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = [
    "sample_photographs",
]

# Photographs that come in the packages themselves, without a download.
SAMPLES = {
    "skimage": (
        "data",
        (
            "astronaut.png",
            "camera.png",
            "chelsea.png",
            "clock_motion.png",
            "coffee.png",
            "hubble_deep_field.jpg",
            "motorcycle_left.png",
            "motorcycle_right.png",
            "rocket.jpg",
        ),
    ),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
}


def sample_photographs() -> list[Path]:
    """The photographs of scikit-image and scikit-learn, if these are installed.

    Raises:
        ModuleNotFoundError: One of the packages is not.
    """
    found = []
    for package, (folder, names) in SAMPLES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(
                "photographs: expected some, or those of scikit-image and scikit-learn, which are "
                "not installed; run: pip install scikit-image scikit-learn"
            )
        found += [Path(spec.origin).parent / folder / name for name in names]
    return found
