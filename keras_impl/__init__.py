"""SSD on MobileNetV2 in Keras 3: fast, and tested against `reference_numpy`.

The names below are what most users need. Each is imported on first access, so importing the
package imports neither Keras nor TensorFlow. The subpackages:

- `ops`: the reference's mathematics in `keras.ops`.
- `host`: fast matching and detection on the CPU, compiled by numba.
- `models`: the network.
- `images`, `data`, `weights`: images, data sets, weight files.
- `detector`: detection and export.
- `training`: training and evaluation.
- `conformance`, `parity`: comparison with the reference.
- `benchmark`, `demo`: speed measurements and a demonstration.
- `cli`: the command `ssd`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_numpy._lazy import lazy

if TYPE_CHECKING:
    from keras_impl.detector.detector import (
        Detector,
        load_detector,
    )
    from keras_impl.detector.exporting import (
        export,
    )
    from keras_impl.host.matching import (
        TargetAssigner,
    )
    from keras_impl.images.reading import (
        open_image,
    )
    from keras_impl.models.ssd import (
        SSD,
        ssd_mobilenet_v2_300,
    )

__all__ = [
    "SSD",
    "Detector",
    "TargetAssigner",
    "export",
    "load_detector",
    "open_image",
    "ssd_mobilenet_v2_300",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Detector": "detector.detector",
        "export": "detector.exporting",
        "load_detector": "detector.detector",
        "open_image": "images.reading",
        "SSD": "models.ssd",
        "ssd_mobilenet_v2_300": "models.ssd",
        "TargetAssigner": "host.matching",
    },
)
