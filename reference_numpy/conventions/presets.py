"""Presets: the choices of known SSD implementations, by name.

Each function returns the convention of one system with that system's defaults, and names the source
files. A preset has a system's choices, not its bugs: docs/peer-bugs.md lists those. Where a system
can be installed, `tox run -e oracles` tests the preset against it; the others are tested on cases
worked from their sources.
"""

from __future__ import annotations

from dataclasses import replace
from math import log

from reference_numpy.conventions.choices import (
    CANONICAL,
    Coding,
    Convention,
    Detection,
    Loss,
    Matching,
)
from reference_numpy.conventions.layouts import AnchorLayout

__all__ = [
    "CAFFE_SSD300",
    "CAFFE_SSD512",
    "MEDIAPIPE_SSDLITE320",
    "PRESETS",
    "caffe",
    "canonical",
    "mediapipe",
    "mnist_notebook",
    "nvidia_ssd300",
    "paz",
    "ssd_keras",
    "tf_od_ssd_mobilenet_v2",
    "torchvision_ssd300",
    "torchvision_ssdlite320",
]

_VGG300 = ((38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1))
_VGG512 = ((64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2), (1, 1))
_MOBILENET300 = ((19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))
_MOBILENET320 = ((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))
_STEPS300 = (8.0, 16.0, 32.0, 64.0, 100.0, 300.0)
_STEPS512 = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

# Ratios above 1; with `flip` each is followed by its reciprocal.
_RATIOS300 = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))
_RATIOS512 = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))

# Scales of MobileNets: .2 to .95 in equal steps, then 1 for the last s'. TensorFlow writes 1/3 as
# .3333.
_LINEAR = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
_LITERAL = ((2.0, 0.5, 3.0, 0.3333),) * 6
_LOWEST = ((0.1, 1.0), (0.2, 2.0), (0.2, 0.5))

CAFFE_SSD300 = AnchorLayout(
    name="caffe_ssd300",
    image_size=(300, 300),
    feature_maps=_VGG300,
    scales=(30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0),
    aspect_ratios=_RATIOS300,
    unit="pixels",
    whole_pixels=True,
    flip=True,
    steps=_STEPS300,
)

# models/VGGNet/VOC0712Plus/SSD_512x512: 7 % of the image, then 15 % to 105 % in equal steps.
CAFFE_SSD512 = AnchorLayout(
    name="caffe_ssd512",
    image_size=(512, 512),
    feature_maps=_VGG512,
    scales=(35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
    aspect_ratios=_RATIOS512,
    unit="pixels",
    whole_pixels=True,
    flip=True,
    steps=_STEPS512,
)

# MediaPipe's calculator at 320 pixels, with fewer shapes on the finest map: 2034 anchors. Sides are
# relative to the image's width and height; in TensorFlow both are relative to the shorter side.
MEDIAPIPE_SSDLITE320 = AnchorLayout(
    name="mediapipe_ssdlite320",
    image_size=(320, 320),
    feature_maps=_MOBILENET320,
    scales=_LINEAR,
    aspect_ratios=_LITERAL,
    lowest_shapes=_LOWEST,
    extra_square="last",
)


def canonical() -> Convention:
    """What this project does by default: the paper's choices, with its gaps filled.

    arXiv:1512.02325; docs/conventions.md gives the reasons.

    Example:
        >>> canonical() == CANONICAL
        True
    """
    return CANONICAL


def caffe() -> Convention:
    """Caffe SSD300 on VOC, the authors' own implementation.

    weiliu89/caffe, branch ssd: `src/caffe/util/bbox_util.cpp` (MatchBBox, EncodeBBox,
    MineHardExamples, ApplyNMSFast); `prior_box_layer.cpp`, `multibox_loss_layer.cpp` and
    `detection_output_layer.cpp` in `src/caffe/layers`; `examples/ssd/ssd_pascal.py`.

    A pair with an IoU of 1e-6 or less is never matched. An object without area overlaps nothing, so
    it is never matched either. Sizes in pixels are cut to whole numbers. Nothing is clipped.

    Example:
        >>> caffe().matching.force_above, caffe().detection.clip
        (1e-06, 'none')
    """
    return Convention(
        "caffe",
        layout=CAFFE_SSD300,
        matching=Matching(force_above=1e-6, crowd_by="none"),
        coding=Coding(degenerate="drop"),
        detection=Detection(clip="none"),
    )


def torchvision_ssd300() -> Convention:
    """torchvision 0.29, `ssd300_vgg16`.

    `torchvision/models/detection/ssd.py` (compute_loss, postprocess_detections), `anchor_utils.py`
    (DefaultBoxGenerator), `_utils.py` (BoxCoder, SSDMatcher), `torchvision/ops/boxes.py`,
    `csrc/ops/cpu/nms_kernel.cpp`.

    Every object takes its best anchor, even at IoU 0; of several objects on one anchor the last
    keeps it. Anchors are at most as wide and as high as the image. tw and th are cut at
    log(1000/16).

    Example:
        >>> torchvision_ssd300().coding.largest_exponent
        4.135166556742356
    """
    return Convention(
        "torchvision_ssd300",
        layout=AnchorLayout(
            name="torchvision_ssd300",
            image_size=(300, 300),
            feature_maps=_VGG300,
            scales=(0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
            aspect_ratios=_RATIOS300,
            flip=True,
            steps=_STEPS300,
            clip="sizes",
        ),
        matching=Matching(force="last", force_above=-1.0, crowd_by="none"),
        coding=Coding(largest_exponent=log(1000 / 16)),
        loss=Loss(rounding="up"),
        detection=Detection(ties="lowest label"),
    )


def torchvision_ssdlite320() -> Convention:
    """torchvision 0.29, `ssdlite320_mobilenet_v3_large`.

    `torchvision/models/detection/ssdlite.py`; everything else as in `torchvision_ssd300`. Every
    cell has six shapes, those of the finest map too: 3234 anchors.

    Example:
        >>> torchvision_ssdlite320().detection.iou_threshold
        0.55
    """
    layout = AnchorLayout(
        name="torchvision_ssdlite320",
        image_size=(320, 320),
        feature_maps=_MOBILENET320,
        scales=_LINEAR,
        aspect_ratios=((2.0, 3.0),) * 6,
        flip=True,
        clip="sizes",
    )
    return torchvision_ssd300().replace(
        name="torchvision_ssdlite320",
        layout=layout,
        score_threshold=0.001,
        iou_threshold=0.55,
        candidates_per_class=300,
        max_detections=300,
    )


def tf_od_ssd_mobilenet_v2() -> Convention:
    """TensorFlow Object Detection API, `ssd_mobilenet_v2_coco` (TF1).

    tensorflow/models, research/object_detection: `samples/configs/ssd_mobilenet_v2_coco.config`,
    `anchor_generators/multiple_grid_anchor_generator.py`, `matchers/argmax_matcher.py`,
    `box_coders/faster_rcnn_box_coder.py`, `core/losses.py` (HardExampleMiner),
    `core/post_processing.py`, `meta_architectures/ssd_meta_arch.py`.

    Classes are sigmoids with the background first. Codes are (ty, tx, th, tw), with 1e-8 added to
    sizes. Before mining, anchors whose predicted boxes overlap by more than .99 suppress each
    other, positives too, but the normaliser counts all positives. Boxes are clipped after
    suppression, and those without area are dropped.

    Example:
        >>> tf_od_ssd_mobilenet_v2().coding.code_order, tf_od_ssd_mobilenet_v2().loss.mining_nms
        ('yxhw', 0.99)
    """
    return Convention(
        "tf_od_ssd_mobilenet_v2",
        layout=AnchorLayout(
            name="tf_od_ssd_mobilenet_v2",
            image_size=(300, 300),
            feature_maps=_MOBILENET300,
            scales=_LINEAR,
            aspect_ratios=_LITERAL,
            lowest_shapes=_LOWEST,
            unit="shorter side",
            extra_square="last",
        ),
        matching=Matching(force="first", force_above=-1.0, crowd_by="none"),
        coding=Coding(code_order="yxhw", size_epsilon=1e-8, degenerate="encode"),
        loss=Loss(class_loss="sigmoid", min_negatives=3, mining_nms=0.99),
        detection=Detection(
            score_threshold=1e-8,
            candidates_per_class=None,
            iou_threshold=0.6,
            ties="lowest label",
            max_per_class=100,
            max_detections=100,
            clip="after",
            drop_empty=True,
        ),
    )


def ssd_keras() -> Convention:
    """pierluigiferrari/ssd_keras, SSD300 on VOC with its DecodeDetections layer.

    `ssd_encoder_decoder/{ssd_input_encoder,matching_utils}.py`,
    `keras_loss_function/keras_ssd_loss.py`, `keras_layers/keras_layer_DecodeDetections.py`,
    `models/keras_ssd300.py`, `ssd300_training.ipynb`.

    Negatives are mined over the whole batch, so an image without objects gives negatives too. Each
    class keeps at most 400 boxes *after* suppression, which any number may enter.

    Example:
        >>> ssd_keras().loss.mining, ssd_keras().detection.max_per_class
        ('batch', 400)
    """
    return Convention(
        "ssd_keras",
        layout=AnchorLayout(
            name="ssd_keras",
            image_size=(300, 300),
            feature_maps=_VGG300,
            scales=(0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05),
            aspect_ratios=_RATIOS300,
            unit="shorter side",
            flip=True,
            steps=_STEPS300,
        ),
        matching=Matching(crowd_by="none"),
        loss=Loss(mining="batch"),
        detection=Detection(
            candidates_per_class=None, max_per_class=400, ties="lowest label", clip="none"
        ),
    )


def nvidia_ssd300() -> Convention:
    """NVIDIA DeepLearningExamples, PyTorch/Detection/SSD.

    `ssd/utils.py` (dboxes300_coco, Encoder), `ssd/model.py` (Loss), `ssd/evaluate.py`.

    All cells of a shape come before the next shape. Each of cx, cy, w, h is clipped to [0, 1]. An
    anchor is positive above IoU .5, and a box is suppressed at IoU .5. The loss of each image is
    divided by its own positives, then averaged over images.

    Example:
        >>> nvidia_ssd300().layout.order, nvidia_ssd300().detection.suppress_at
        ('shape', '>=')
    """
    return Convention(
        "nvidia_ssd300",
        layout=AnchorLayout(
            name="nvidia_ssd300",
            image_size=(300, 300),
            feature_maps=_VGG300,
            scales=(21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0),
            aspect_ratios=_RATIOS300,
            unit="pixels",
            flip=True,
            steps=_STEPS300,
            order="shape",
            clip="centers",
        ),
        matching=Matching(positive_at=">", force="last", force_above=-1.0, crowd_by="none"),
        loss=Loss(normaliser="image"),
        detection=Detection(
            score_threshold=0.05,
            candidates_per_class=200,
            iou_threshold=0.5,
            suppress_at=">=",
            ties="highest anchor",
            clip="none",
        ),
    )


def mediapipe() -> Convention:
    """MediaPipe's object detection with the Open Images model (inference only).

    google-ai-edge/mediapipe: `calculators/tflite/ssd_anchors_calculator.cc`,
    `calculators/tensor/tensors_to_detections_calculator.cc`,
    `calculators/util/non_max_suppression_calculator.cc`,
    `modules/objectron/object_detection_oid_v4_cpu.pbtxt`. The model was trained by
    `tf_od_ssd_mobilenet_v2`, so the choices for training are the same here.

    Every anchor keeps only its best class, and suppression ignores classes (as TensorFlow Lite's
    detection_postprocess does in its fast form). Nothing is clipped. In a square image the anchors
    are TensorFlow's; in any other, their sides are relative to its width and height.

    Example:
        >>> mediapipe().detection.suppress_in, mediapipe().detection.score_at
        ('anchor', '>=')
    """
    tensorflow = tf_od_ssd_mobilenet_v2()
    return tensorflow.replace(
        name="mediapipe",
        layout=replace(tensorflow.layout, name="mediapipe", unit="image"),
        score_threshold=0.6,
        score_at=">=",
        suppress_in="anchor",
        iou_threshold=0.4,
        ties="lowest anchor",
        max_per_class=None,
        max_detections=1,
        clip="none",
        drop_empty=False,
    )


def paz() -> Convention:
    """oarriaga/paz 0.2.5, SSD300 on VOC.

    `paz/backend/boxes.py`, `paz/models/detection/utils.py` (create_prior_boxes),
    `paz/optimization/losses/multi_box_loss.py`, `paz/pipelines/detection.py` (SSDPostprocess).

    1e-8 is added to the ratio of sizes before its logarithm. An image has at most 300 negatives.
    Detections have no limit in all; 200 for each of 20 classes is 4000.

    Example:
        >>> paz().coding.ratio_epsilon, paz().loss.max_negatives
        (1e-08, 300)
    """
    return Convention(
        "paz",
        layout=AnchorLayout(
            name="paz_ssd300",
            image_size=(300, 300),
            feature_maps=_VGG300,
            scales=(30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0),
            aspect_ratios=_RATIOS300,
            unit="pixels",
            flip=True,
            steps=_STEPS300,
        ),
        matching=Matching(force="last", force_above=-1.0, crowd_by="none"),
        coding=Coding(ratio_epsilon=1e-8, degenerate="encode"),
        loss=Loss(max_negatives=300),
        detection=Detection(
            score_threshold=0.6,
            score_at=">=",
            candidates_per_class=200,
            ties="highest anchor",
            max_detections=4000,
            clip="none",
        ),
    )


def mnist_notebook() -> Convention:
    """The notebook from which this project grew.

    saunack/MobileNetv2-SSD, `model.ipynb`: cells for scales and centres, `IoU`, `bestIoU`,
    `convert`, `smoothL1`, `confidenceLoss`, `infer`.

    Sizes are grid × scale pixels, the largest on the finest map. No object is forced on an anchor.
    Codes are differences in pixels, rows first. Both losses are means over all anchors; the box
    loss is also a mean over the four numbers of a code, hence the weight 1/4. Background is the
    last class. The ten best boxes of each class with a score of at least .5 are kept, without
    suppression.

    Example:
        >>> mnist_notebook().coding.background, mnist_notebook().loss.box_over
        ('last', 'all')
    """
    maps = (28, 14, 7, 4, 2, 1)
    scales = tuple(
        rows * (0.1 + step / 6 * 1.4) for rows, step in zip(maps, (5, 4, 3, 2, 1, 0), strict=True)
    )
    return Convention(
        "mnist_notebook",
        layout=AnchorLayout(
            name="mnist_notebook",
            image_size=(224, 224),
            feature_maps=tuple((rows, rows) for rows in maps),
            scales=(*scales, 1.0),  # the last scale is unused, as there is no s'
            aspect_ratios=((2.0, 1.0, 2 / 3),) * 6,
            unit="pixels",
            square="listed",
            extra_square="none",
        ),
        matching=Matching(positive_at=">", force="none", crowd_by="none"),
        coding=Coding(
            variances=(1 / 224,) * 4,
            form="difference",
            code_order="yxhw",
            degenerate="encode",
            background="last",
        ),
        loss=Loss(mining="none", normaliser="anchors", box_over="all", box_weight=0.25),
        detection=Detection(
            score_threshold=0.5,
            score_at=">=",
            candidates_per_class=10,
            iou_threshold=1.0,
            max_per_class=10,
            max_detections=100,
            clip="none",
        ),
    )


PRESETS = {
    convention.name: convention
    for convention in (
        canonical(),
        caffe(),
        torchvision_ssd300(),
        torchvision_ssdlite320(),
        tf_od_ssd_mobilenet_v2(),
        ssd_keras(),
        nvidia_ssd300(),
        mediapipe(),
        paz(),
        mnist_notebook(),
    )
}
