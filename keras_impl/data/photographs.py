"""Find sample photographs inside installed Python packages, without a download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = [
    "sample_photographs",
]

# For each package: the folder and the names of its photographs.
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
    """Return the photographs that scikit-image and scikit-learn ship.

    Raises:
        ModuleNotFoundError: One of the packages is not installed.
    """
    found = []
    for package, (folder, names) in SAMPLES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(
                "photographs: expected images, or scikit-image and scikit-learn, which ship some. "
                "Received: neither; run: pip install scikit-image scikit-learn"
            )
        found += [Path(spec.origin).parent / folder / name for name in names]
    return found
