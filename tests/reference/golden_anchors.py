"""Anchors of every family of SSDs: numbers to look at, and where they come from.

For each family there is a formula in plain Python, written from the arithmetic of its source, in
that source's units and order of operations, and taking nothing from reference_numpy. Beside this
file, golden_anchors.csv has the count of anchors of each layout, its first two and last two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil, sqrt
from pathlib import Path
from typing import NamedTuple

from reference_numpy.conventions import (
    CAFFE_SSD300,
    CAFFE_SSD512,
    MEDIAPIPE_SSDLITE320,
    PRESETS,
    SSD300,
    AnchorLayout,
)

Box = tuple[float, float, float, float]  # cx, cy, w, h, relative to the image
Sizes = Sequence[float]
Maps = Sequence[tuple[int, int]]  # rows, columns
Ratios = Sequence[Sequence[float]]

VGG300 = ((38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1))
VGG512 = ((64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2), (1, 1))
STEPS300 = (8, 16, 32, 64, 100, 300)
STEPS512 = (8, 16, 32, 64, 128, 256, 512)
RATIOS300 = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
RATIOS512 = ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,))
MOBILENET300 = ((19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))
MOBILENET320 = ((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))


def paper() -> Iterator[Box]:
    """arXiv:1512.02325, section 2.2, with the maps of section 3.1.

    conv4_3 has scale .1, the other five equation 4 with .2 and .9; s' is right after s.
    """
    scales = [0.1] + [0.2 + (0.9 - 0.2) / (5 - 1) * (k - 1) for k in range(1, 7)]
    for k, (size, ratios) in enumerate(zip((38, 19, 10, 5, 3, 1), RATIOS300, strict=True)):
        for i in range(size):
            for j in range(size):
                x, y = (j + 0.5) / size, (i + 0.5) / size
                yield x, y, scales[k], scales[k]
                between = sqrt(scales[k] * scales[k + 1])
                yield x, y, between, between
                for ratio in ratios:
                    yield x, y, scales[k] * sqrt(ratio), scales[k] / sqrt(ratio)
                    yield x, y, scales[k] / sqrt(ratio), scales[k] * sqrt(ratio)


def caffe_sizes(side: int, first: int, lowest: int, maps: int) -> tuple[Sizes, Sizes]:
    """weiliu89/caffe, examples/ssd/ssd_pascal.py and ssd_coco.py: the loop over per cents."""
    step = (90 - lowest) // (maps - 2)
    mins, maxs = [side * first / 100], [side * lowest / 100]
    for percent in range(lowest, 91, step):
        mins.append(side * percent / 100)
        maxs.append(side * (percent + step) / 100)
    return mins, maxs


def caffe(
    height: int, width: int, maps: Maps, sizes: tuple[Sizes, Sizes], ratios: Ratios, steps: Sizes
) -> Iterator[Box]:
    """weiliu89/caffe, src/caffe/layers/prior_box_layer.cpp, LayerSetUp and Forward_cpu.

    Pixels without a fraction, corners, divided by the image at the very end; a step of 0 is
    the image divided by the cells.
    """
    for (rows, columns), low, high, above, step in zip(maps, *sizes, ratios, steps, strict=True):
        small, large = int(low), int(high)
        shapes = [(float(small), float(small)), (sqrt(small * large), sqrt(small * large))]
        for ratio in above:
            for one in (ratio, 1 / ratio):
                shapes.append((small * sqrt(one), small / sqrt(one)))
        for row in range(rows):
            for column in range(columns):
                x = (column + 0.5) * (step or width / columns)
                y = (row + 0.5) * (step or height / rows)
                for w, h in shapes:
                    x0, x1 = (x - w / 2) / width, (x + w / 2) / width
                    y0, y1 = (y - h / 2) / height, (y + h / 2) / height
                    yield (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def tf_od(height: int, width: int, maps: Maps) -> Iterator[Box]:
    """tensorflow/models, object_detection/anchor_generators/multiple_grid_anchor_generator.py.

    create_ssd_anchors and MultipleGridAnchorGenerator, with tile_anchors of
    grid_anchor_generator.py and the ratios of samples/configs/ssd_mobilenet_v2_coco.config: sides
    in units of the shorter side; the lowest map has three shapes, .1 fixed; else s' is last.
    """
    scales = [0.2 + (0.95 - 0.2) * i / 5 for i in range(6)] + [1.0]
    base_height, base_width = min(height, width) / height, min(height, width) / width
    for k, (rows, columns) in enumerate(maps):
        shapes = [(scales[k], ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)]
        shapes.append((sqrt(scales[k] * scales[k + 1]), 1.0))
        if k == 0:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        for row in range(rows):
            for column in range(columns):
                y, x = row * (1 / rows) + 0.5 / rows, column * (1 / columns) + 0.5 / columns
                for scale, ratio in shapes:
                    h, w = scale / sqrt(ratio) * base_height, scale * sqrt(ratio) * base_width
                    yield x, y, w, h


def mediapipe(height: int, width: int) -> Iterator[Box]:
    """google-ai-edge/mediapipe, calculators/tflite/ssd_anchors_calculator.cc, GenerateAnchors.

    Maps of ceil(image / stride) cells; sides relative to the image's own width and height.
    """
    strides = (16, 32, 64, 128, 256, 512)
    for layer, stride in enumerate(strides):
        scale = 0.2 + (0.95 - 0.2) * layer / (len(strides) - 1)
        following = 0.2 + (0.95 - 0.2) * (layer + 1) / (len(strides) - 1) if layer < 5 else 1.0
        ratios, scales = [1.0, 2.0, 0.5, 3.0, 0.3333, 1.0], [scale] * 5
        scales.append(sqrt(scale * following))
        if layer == 0:
            ratios, scales = [1.0, 2.0, 0.5], [0.1, scale, scale]
        rows, columns = ceil(height / stride), ceil(width / stride)
        for y in range(rows):
            for x in range(columns):
                for side, ratio in zip(scales, ratios, strict=True):
                    root = sqrt(ratio)
                    yield (x + 0.5) / columns, (y + 0.5) / rows, side * root, side / root


def torchvision(
    height: int, width: int, maps: Maps, scales: Sizes, ratios: Ratios, steps: Sizes = ()
) -> Iterator[Box]:
    """torchvision 0.29.1, models/detection/anchor_utils.py, DefaultBoxGenerator.

    _generate_wh_pairs and _grid_default_boxes: w and h alone are cut to [0, 1], before the boxes
    are placed.
    """
    for k, (rows, columns) in enumerate(maps):
        between = sqrt(scales[k] * scales[k + 1])
        pairs = [(scales[k], scales[k]), (between, between)]
        for ratio in ratios[k]:
            w, h = scales[k] * sqrt(ratio), scales[k] / sqrt(ratio)
            pairs += [(w, h), (h, w)]
        across, down = (width / steps[k], height / steps[k]) if steps else (columns, rows)
        for y in range(rows):
            for x in range(columns):
                for w, h in pairs:
                    yield (x + 0.5) / across, (y + 0.5) / down, min(w, 1.0), min(h, 1.0)


def torchvision_scales(smallest: float, largest: float, maps: int) -> Sizes:
    """The same file, DefaultBoxGenerator.__init__: the one beyond the last is 1."""
    return [smallest + (largest - smallest) * k / (maps - 1) for k in range(maps)] + [1.0]


def nvidia() -> Iterator[Box]:
    """NVIDIA/DeepLearningExamples, PyTorch/Detection/SSD/ssd/utils.py.

    DefaultBoxes.__init__ with the numbers of dboxes300_coco: every shape goes over the whole map
    before the next one, and each of cx, cy, w, h is clamped (there in float32).
    """
    scales = [side / 300 for side in (21, 45, 99, 153, 207, 261, 315)]
    for k, (size, ratios) in enumerate(zip((38, 19, 10, 5, 3, 1), RATIOS300, strict=True)):
        between = sqrt(scales[k] * scales[k + 1])
        shapes = [(scales[k], scales[k]), (between, between)]
        for ratio in ratios:
            w, h = scales[k] * sqrt(ratio), scales[k] / sqrt(ratio)
            shapes += [(w, h), (h, w)]
        cells = 300 / STEPS300[k]
        for w, h in shapes:
            for i in range(size):
                for j in range(size):
                    x, y = (j + 0.5) / cells, (i + 0.5) / cells
                    yield min(x, 1.0), min(y, 1.0), min(w, 1.0), min(h, 1.0)


def ssd_keras(
    height: int, width: int, maps: Maps, scales: Sizes, ratios: Ratios, steps: Sizes
) -> Iterator[Box]:
    """pierluigiferrari/ssd_keras, ssd_encoder_decoder/ssd_input_encoder.py.

    SSDInputEncoder.generate_anchor_boxes_for_layer, and keras_layer_AnchorBoxes.py: pixels, a side
    in units of the shorter side of the image; s' comes with ratio 1; ratios are listed in full.
    """
    for k, (rows, columns) in enumerate(maps):
        side = min(height, width) * scales[k]
        shapes: list[tuple[float, float]] = []
        for ratio in [1.0, *(one for above in ratios[k] for one in (above, 1 / above))]:
            shapes.append((side * sqrt(ratio), side / sqrt(ratio)))
            if ratio == 1:
                between = sqrt(scales[k] * scales[k + 1]) * min(height, width)
                shapes.append((between, between))
        for row in range(rows):
            for column in range(columns):
                y, x = 0.5 * steps[k] + row * steps[k], 0.5 * steps[k] + column * steps[k]
                for w, h in shapes:
                    yield x / width, y / height, w / width, h / height


def paz(side: int, maps: Maps, mins: Sizes, maxs: Sizes, ratios: Ratios, steps: Sizes) -> Iterator:
    """oarriaga/paz 0.2.5, paz/models/detection/utils.py, create_prior_boxes.

    The numbers are those of get_prior_box_configuration in the same file.
    """
    for (size, _), low, high, above, step in zip(maps, mins, maxs, ratios, steps, strict=True):
        cells = side / step
        for y in range(size):
            for x in range(size):
                center = ((x + 0.5) / cells, (y + 0.5) / cells)
                small = low / side
                between = sqrt(small * (high / side))
                yield (*center, small, small)
                yield (*center, between, between)
                for ratio in above:
                    yield (*center, small * sqrt(ratio), small / sqrt(ratio))
                    yield (*center, small / sqrt(ratio), small * sqrt(ratio))


def notebook() -> Iterator[Box]:
    """saunack/MobileNetv2-SSD, model.ipynb, the cells for scales, asp, centres and hw.

    Rows first; sizes are grid × scale pixels of 224; three ratios of height to width.
    """
    grids = (28, 14, 7, 4, 2, 1)
    scales = [0.1 + x / 6 * (1.5 - 0.1) for x in range(6)]
    for grid, scale in zip(grids, reversed(scales), strict=True):
        for i in range(grid):
            for j in range(grid):
                for ratio in (0.5, 1.0, 1.5):
                    row, column = (i + 0.5) * 224 / grid, (j + 0.5) * 224 / grid
                    high, wide = grid * scale * sqrt(ratio), grid * scale / sqrt(ratio)
                    yield column / 224, row / 224, wide / 224, high / 224


class Golden(NamedTuple):
    """A layout, and the formula of its source."""

    layout: AnchorLayout
    formula: Callable[[], Iterator[Box]]


VOC300, COCO300 = caffe_sizes(300, 10, 20, 6), caffe_sizes(300, 7, 15, 6)
VOC512, COCO512 = caffe_sizes(512, 7, 15, 7), caffe_sizes(512, 4, 10, 7)

# What the convolutions of the VGG network make of 300 × 500 pixels, and of 300 × 480; what those
# of MobileNet with stride 2 and "same" padding make of 300 × 600 and of 240 × 320.
WIDE500 = ((38, 63), (19, 32), (10, 16), (5, 8), (3, 6), (1, 4))
WIDE480 = ((38, 60), (19, 30), (10, 15), (5, 8), (3, 6), (1, 4))
WIDE600 = ((19, 38), (10, 19), (5, 10), (3, 5), (2, 3), (1, 2))
WIDE320 = ((15, 20), (8, 10), (4, 5), (2, 3), (1, 2), (1, 1))

_TF = PRESETS["tf_od_ssd_mobilenet_v2"].layout
_KERAS = PRESETS["ssd_keras"].layout
_KERAS_SCALES = (0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05)  # ssd300_training.ipynb, VOC
_KERAS512_SCALES = (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05)  # models/keras_ssd512.py, VOC
_TORCH = PRESETS["torchvision_ssd300"].layout
_TORCH_SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)  # ssd.py, ssd300_vgg16
_LITE = PRESETS["torchvision_ssdlite320"].layout
_LITE_SCALES = torchvision_scales(0.2, 0.95, 6)  # ssdlite.py, ssdlite320_mobilenet_v3_large
_PAZ = PRESETS["paz"].layout
_PAZ512 = ((21, 51, 133, 215, 297, 379, 461), (51, 133, 215, 297, 379, 461, 542))


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


GOLDEN = {
    # arXiv:1512.02325, sections 2.2 and 3.1: the numbers are worked from the text.
    "paper SSD300": Golden(SSD300, paper),
    # prior_box_layer.cpp (Forward_cpu) with the sizes of examples/ssd/ssd_pascal.py.
    "Caffe SSD300 VOC": Golden(
        CAFFE_SSD300, lambda: caffe(300, 300, VGG300, VOC300, RATIOS300, STEPS300)
    ),
    # prior_box_layer.cpp (Forward_cpu) with the sizes of examples/ssd/ssd_coco.py.
    "Caffe SSD300 COCO": Golden(
        replace(CAFFE_SSD300, scales=(21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0)),
        lambda: caffe(300, 300, VGG300, COCO300, RATIOS300, STEPS300),
    ),
    # prior_box_layer.cpp (Forward_cpu); sizes of models/VGGNet/VOC0712Plus/SSD_512x512, quoted in
    # weiliu89/caffe issue 694. 35.84 px is 35 px = .0683594, where 7 % would be .07.
    "Caffe SSD512 VOC": Golden(
        CAFFE_SSD512, lambda: caffe(512, 512, VGG512, VOC512, RATIOS512, STEPS512)
    ),
    # prior_box_layer.cpp (Forward_cpu); first 4 %, then 10 % and more, as copies of ssd_coco.py
    # for 512 px have it.
    "Caffe SSD512 COCO": Golden(
        replace(CAFFE_SSD512, scales=(20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72)),
        lambda: caffe(512, 512, VGG512, COCO512, RATIOS512, STEPS512),
    ),
    # prior_box_layer.cpp (Forward_cpu), an image that is not square: 30 px are .1 high, .06 wide.
    # The last cell of the last map is at 1050 px, far beyond the image.
    "Caffe 300 x 500, steps": Golden(
        replace(CAFFE_SSD300, image_size=(300, 500), feature_maps=WIDE500),
        lambda: caffe(300, 500, WIDE500, VOC300, RATIOS300, STEPS300),
    ),
    # The same without steps: img_width / layer_width, img_height / layer_height.
    "Caffe 300 x 500, no steps": Golden(
        replace(CAFFE_SSD300, image_size=(300, 500), feature_maps=WIDE500, steps=()),
        lambda: caffe(300, 500, WIDE500, VOC300, RATIOS300, (0,) * 6),
    ),
    # multiple_grid_anchor_generator.py (create_ssd_anchors), ssd_mobilenet_v2_coco.config.
    "TF OD 300": Golden(_TF, lambda: tf_od(300, 300, MOBILENET300)),
    # The same, MultipleGridAnchorGenerator with an im_height of 300 and an im_width of 600.
    "TF OD 300 x 600": Golden(
        replace(_TF, image_size=(300, 600), feature_maps=WIDE600), lambda: tf_od(300, 600, WIDE600)
    ),
    # ssd_anchors_calculator.cc (GenerateAnchors), modules/objectron/object_detection_oid_v4_cpu
    # .pbtxt.
    "MediaPipe 300": Golden(PRESETS["mediapipe"].layout, lambda: mediapipe(300, 300)),
    # ssd_anchors_calculator.cc, graphs/object_detection/object_detection_mobile_cpu.pbtxt.
    "MediaPipe 320": Golden(MEDIAPIPE_SSDLITE320, lambda: mediapipe(320, 320)),
    # The same for an image that is not square; unlike TensorFlow's, squares do not stay square.
    "MediaPipe 240 x 320": Golden(
        replace(PRESETS["mediapipe"].layout, image_size=(240, 320), feature_maps=WIDE320),
        lambda: mediapipe(240, 320),
    ),
    # anchor_utils.py (DefaultBoxGenerator) as ssd.py (ssd300_vgg16) makes it.
    "torchvision SSD300": Golden(
        _TORCH, lambda: torchvision(300, 300, VGG300, _TORCH_SCALES, RATIOS300, STEPS300)
    ),
    # The same for a batch that is padded to 300 × 480: .07 of the width is not .07 of the height.
    "torchvision SSD 300 x 480": Golden(
        replace(_TORCH, image_size=(300, 480), feature_maps=WIDE480),
        lambda: torchvision(300, 480, WIDE480, _TORCH_SCALES, RATIOS300, STEPS300),
    ),
    # anchor_utils.py (DefaultBoxGenerator) as ssdlite.py (ssdlite320_mobilenet_v3_large) makes it.
    "torchvision SSDLite320": Golden(
        _LITE, lambda: torchvision(320, 320, MOBILENET320, _LITE_SCALES, ((2, 3),) * 6)
    ),
    # The same for a batch that is padded to 240 × 320.
    "torchvision SSDLite 240 x 320": Golden(
        replace(_LITE, image_size=(240, 320), feature_maps=WIDE320),
        lambda: torchvision(240, 320, WIDE320, _LITE_SCALES, ((2, 3),) * 6),
    ),
    # ssd/utils.py (dboxes300_coco). There the boxes are float32, so they differ by up to 3e-8.
    "NVIDIA dboxes300": Golden(PRESETS["nvidia_ssd300"].layout, nvidia),
    # ssd_input_encoder.py (generate_anchor_boxes_for_layer), ssd300_training.ipynb.
    "ssd_keras SSD300": Golden(
        _KERAS, lambda: ssd_keras(300, 300, VGG300, _KERAS_SCALES, RATIOS300, STEPS300)
    ),
    # The same with the numbers of models/keras_ssd512.py: no size loses its fraction, as in Caffe.
    "ssd_keras SSD512": Golden(
        replace(
            _KERAS,
            image_size=(512, 512),
            feature_maps=VGG512,
            scales=_KERAS512_SCALES,
            aspect_ratios=tuple(_floats(ratios) for ratios in RATIOS512),
            steps=_floats(STEPS512),
        ),
        lambda: ssd_keras(512, 512, VGG512, _KERAS512_SCALES, RATIOS512, STEPS512),
    ),
    # The same for an image that is not square: .1 of the shorter side is 30 px both ways.
    "ssd_keras 300 x 480": Golden(
        replace(_KERAS, image_size=(300, 480), feature_maps=WIDE480),
        lambda: ssd_keras(300, 480, WIDE480, _KERAS_SCALES, RATIOS300, STEPS300),
    ),
    # paz/models/detection/utils.py (create_prior_boxes), configuration "VOC".
    "paz SSD300": Golden(_PAZ, lambda: paz(300, VGG300, *VOC300, RATIOS300, STEPS300)),
    # The same, configuration "COCO".
    "paz SSD512": Golden(
        replace(
            _PAZ,
            image_size=(512, 512),
            feature_maps=VGG512,
            scales=_floats((*_PAZ512[0], 542)),
            aspect_ratios=tuple(_floats(ratios) for ratios in RATIOS512),
            steps=_floats(STEPS512),
        ),
        lambda: paz(512, VGG512, *_PAZ512, RATIOS512, STEPS512),
    ),
    # model.ipynb, the cells that make `centres` and `hw`.
    "notebook": Golden(PRESETS["mnist_notebook"].layout, notebook),
}


def read_ends() -> dict[str, tuple[int, list[list[float]]]]:
    """By name: the count of anchors, the first two and the last two."""
    text = Path(__file__).with_suffix(".csv").read_text(encoding="utf-8")
    rows = [line.split("; ") for line in text.splitlines() if not line.startswith("#")]
    return {
        name: (int(count), [[float(one) for one in box.split()] for box in ends])
        for name, count, *ends in rows
    }


ENDS = read_ends()
