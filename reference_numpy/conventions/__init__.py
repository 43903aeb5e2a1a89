"""The choices that make one SSD differ from another: their fields, layouts and presets, as data.

`choices` has the fields and what each may hold, `layouts` where the default boxes are, `presets`
what known systems chose. NumPy is not imported here.
"""

from reference_numpy.conventions.choices import (
    CANONICAL,
    IGNORE,
    IGNORED,
    PADDING,
    UNMATCHED,
    Coding,
    Convention,
    Detection,
    Loss,
    Matching,
    Overlap,
    revived,
)
from reference_numpy.conventions.layouts import (
    DIGITS224,
    LAYOUTS,
    SSD300,
    SSD_MOBILENET300,
    SSDLITE320,
    AnchorLayout,
)
from reference_numpy.conventions.presets import (
    CAFFE_SSD300,
    CAFFE_SSD512,
    MEDIAPIPE_SSDLITE320,
    PRESETS,
    caffe,
    canonical,
    mediapipe,
    mnist_notebook,
    nvidia_ssd300,
    paz,
    ssd_keras,
    tf_od_ssd_mobilenet_v2,
    torchvision_ssd300,
    torchvision_ssdlite320,
)

__all__ = [
    "CAFFE_SSD300",
    "CAFFE_SSD512",
    "CANONICAL",
    "DIGITS224",
    "IGNORE",
    "IGNORED",
    "LAYOUTS",
    "MEDIAPIPE_SSDLITE320",
    "PADDING",
    "PRESETS",
    "SSD300",
    "SSDLITE320",
    "SSD_MOBILENET300",
    "UNMATCHED",
    "AnchorLayout",
    "Coding",
    "Convention",
    "Detection",
    "Loss",
    "Matching",
    "Overlap",
    "caffe",
    "canonical",
    "mediapipe",
    "mnist_notebook",
    "nvidia_ssd300",
    "paz",
    "revived",
    "ssd_keras",
    "tf_od_ssd_mobilenet_v2",
    "torchvision_ssd300",
    "torchvision_ssdlite320",
]
