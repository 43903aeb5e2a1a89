"""SSD in readable NumPy: the ground truth that `keras_impl` is tested against.

Reading order:

1. `boxes`, `anchors`: the box formats, IoU, and the anchors (default boxes) of a layout.
2. `matching`, `coding`, `targets`: from the objects of an image to the training targets.
3. `losses`, `mining`, `multibox`, `gradients`: the training loss and its gradients.
4. `layers`, `mobilenet_v2`, `ssd`: from an image to the outputs of the heads.
5. `suppression`, `detection`: from the head outputs to boxes, scores and labels.
6. `evaluation`: average precision.
7. `conventions`: the choices in which SSD implementations differ, and presets of known systems.

`checks` validates arguments. `testing` holds the cases and workloads that the tests and benchmarks
of both packages share. docs/tour.md walks through every step with arrays small enough to check by
hand.

The names below are imported on first use; `from reference_numpy import boxes` imports a whole
module. The package needs only NumPy, bottleneck and the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_numpy._lazy import lazy

if TYPE_CHECKING:
    from reference_numpy.anchors import (
        make_anchors,
    )
    from reference_numpy.boxes import (
        cxcywh_to_xyxy,
        pairwise_iou,
        xyxy_to_cxcywh,
    )
    from reference_numpy.coding import (
        decode,
        encode,
    )
    from reference_numpy.conventions import (
        CANONICAL,
        LAYOUTS,
        PRESETS,
        AnchorLayout,
        Convention,
    )
    from reference_numpy.detection import (
        detect,
    )
    from reference_numpy.evaluation import (
        average_precision,
        evaluate,
    )
    from reference_numpy.matching import (
        match,
    )
    from reference_numpy.mining import (
        mine_hard_negatives,
    )
    from reference_numpy.multibox import (
        multibox_loss,
    )
    from reference_numpy.ssd import (
        forward,
    )
    from reference_numpy.suppression import (
        nms,
        soft_nms,
    )
    from reference_numpy.targets import (
        assign_targets,
    )

__all__ = [
    "CANONICAL",
    "LAYOUTS",
    "PRESETS",
    "AnchorLayout",
    "Convention",
    "assign_targets",
    "average_precision",
    "cxcywh_to_xyxy",
    "decode",
    "detect",
    "encode",
    "evaluate",
    "forward",
    "make_anchors",
    "match",
    "mine_hard_negatives",
    "multibox_loss",
    "nms",
    "pairwise_iou",
    "soft_nms",
    "xyxy_to_cxcywh",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AnchorLayout": "conventions",
        "assign_targets": "targets",
        "average_precision": "evaluation",
        "CANONICAL": "conventions",
        "cxcywh_to_xyxy": "boxes",
        "Convention": "conventions",
        "xyxy_to_cxcywh": "boxes",
        "decode": "coding",
        "detect": "detection",
        "encode": "coding",
        "evaluate": "evaluation",
        "forward": "ssd",
        "LAYOUTS": "conventions",
        "make_anchors": "anchors",
        "match": "matching",
        "mine_hard_negatives": "mining",
        "multibox_loss": "multibox",
        "nms": "suppression",
        "pairwise_iou": "boxes",
        "PRESETS": "conventions",
        "soft_nms": "suppression",
    },
)
