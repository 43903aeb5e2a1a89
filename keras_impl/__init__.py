"""SSD on MobileNetV2 for real work, on Keras 3: fast, and held to `reference_numpy` by tests.

The names below are what most users need; each is imported when it is asked for first, so that
importing the package imports neither Keras nor TensorFlow. The rooms: `ops` the mirrored
mathematics, `host` fast paths on the CPU, `models` the network, `images`, `data` and `weights` what
goes in, `detector` what comes out, `training`, `conformance` and `parity` the comparison with the
reference, `benchmark`, `demo`, and `cli`, the command `ssd`.
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
