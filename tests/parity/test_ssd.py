"""The detector: maps, order of outputs, loss and detections against the reference, saving."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_impl.data import canvases, mnist as digits
from keras_impl.models import heads as heads_, ssd
from keras_impl.models.heads import map_steps
from keras_impl.models.ssd import SSD
from keras_impl.weights.npz import load_model, read_weights, unfold
from keras_impl.weights.published import DIGITS
from reference_numpy import (
    anchors as reference_anchors,
    coding,
    detection,
    multibox,
    ssd as reference_ssd,
    targets,
)
from reference_numpy.conventions import (
    CANONICAL,
    LAYOUTS,
    PRESETS,
    AnchorLayout,
    Coding,
    Convention,
    Detection,
    Loss,
    Matching,
)
from reference_numpy.mobilenet_v2 import fold

# Not square, so that rows and columns cannot change places unseen; no two shapes alike.
TINY = AnchorLayout(
    name="tiny",
    image_size=(64, 96),
    feature_maps=((8, 12), (4, 6), (2, 3), (1, 2)),
    scales=(0.1, 0.25, 0.45, 0.7, 0.9),
    aspect_ratios=((2.0,), (), (2.0, 0.5), ()),
)

# Differs from the canonical one in every number, so that one that is not passed on shows.
OTHER = Convention(
    "other",
    matching=Matching(threshold=0.3),
    coding=Coding(variances=(0.2, 0.3, 0.1, 0.4)),
    loss=Loss(negative_ratio=1.5, min_negatives=7, box_weight=2.5),
    detection=Detection(
        score_threshold=0.25, iou_threshold=0.3, candidates_per_class=9, max_detections=12
    ),
)

# Two objects, one, none, and three of which the last two share a box.
BOXES = np.array(
    [
        [[0.1, 0.1, 0.4, 0.5], [0.5, 0.45, 0.95, 0.9], [0, 0, 0, 0]],
        [[0.0, 0.0, 1.0, 1.0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0.6, 0.1, 0.7, 0.2], [0.2, 0.6, 0.5, 0.8], [0.2, 0.6, 0.5, 0.8]],
    ],
    "float32",
)
LABELS = np.array([[1, 3, -1], [2, -1, -1], [-1, -1, -1], [3, 1, 2]], "int32")
OBJECTS = {"boxes": BOXES, "labels": LABELS}


@contextlib.contextmanager
def keras_set(name: str, value: Any) -> Iterator[None]:
    """One of `keras.config`'s settings, for a while."""
    before = getattr(keras.config, name)()
    change = getattr(keras.config, f"set_{name}")
    change(value)
    try:
        yield
    finally:
        change(before)


# A network takes a second or two to be made: where the head is not the point, one is enough.
HEADS = [
    pytest.param(one, marks=[] if one == "ssd" else pytest.mark.thorough) for one in heads_.HEADS
]


def tiny(head: str = "ssd", **options: Any) -> SSD:
    """A small detector with weights from a fixed seed."""
    keras.utils.set_random_seed(3)
    return SSD(TINY, 3, head=head, **{"alpha": 0.1, "convention": OTHER, **options})


def lively(model: SSD) -> SSD:
    """With other batch statistics, without which an untrained network says next to nothing."""
    generator = np.random.default_rng(4)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            weights = [(1, 2), (-0.5, 1.5), (-0.1, 0.1), (0.3, 0.6)]
            layer.set_weights([generator.uniform(*limits, shape) for limits in weights])
    return model


@cache
def shared(head: str = "ssd") -> SSD:
    """One that tests may read, call and compile, and whose weights they leave alone."""
    return lively(tiny(head))


def some_images(count: int, seed: int = 0) -> np.ndarray:
    """Noise."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, *TINY.image_size, 3)).astype("f4")


def outputs_of(model: keras.Model, images: np.ndarray) -> Any:
    """What `predict` says, without the time that compiling a graph takes."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(images, training=False))


def reference_loss(found: dict[str, np.ndarray], rows: slice = slice(None)) -> multibox.MultiBox:
    """MultiBox of `OBJECTS` under `OTHER`, targets image by image, in float64."""
    anchors = reference_anchors.make_anchors(TINY, np.float64)
    assigned = [
        targets.assign_targets(
            boxes.astype("float64"),
            labels,
            anchors,
            threshold=0.3,
            variances=(0.2, 0.3, 0.1, 0.4),
        )
        for boxes, labels in zip(BOXES[rows], LABELS[rows], strict=True)
    ]
    return multibox.multibox_loss(
        found["deltas"][rows].astype("float64"),
        found["logits"][rows].astype("float64"),
        np.stack([one.deltas for one in assigned]),
        np.stack([one.labels for one in assigned]),
        negative_ratio=1.5,
        min_negatives=7,
        box_weight=2.5,
    )


# Maps and the order of outputs


@pytest.mark.parametrize(
    ("name", "sources", "anchors"),
    [
        ("digits224", [8, 16, 32, "same", "same", "same"], None),
        ("ssdlite320", [16, 32, "same", "same", "same", "same"], 3234),
        ("ssd300", [8, 16, 32, "same", "same", "valid"], 8732),  # 5 to 3 fits both: it halves
        ("ssd_mobilenet300", [16, 32, "same", "same", "same", "same"], 1917),
    ],
)
@pytest.mark.parametrize("head", HEADS)  # which are not asked what layout they are on
def test_named_layouts(name: str, sources: list[int | str], anchors: int | None, head: str) -> None:
    """The numbers of anchors are the published ones; the digits' layout is our own."""
    anchors = anchors or len(reference_anchors.make_anchors(LAYOUTS[name]))
    assert [step.tap or step.padding for step in map_steps(LAYOUTS[name])] == sources

    model = SSD(name, 20, alpha=0.1, head=head)

    assert model.output["deltas"].shape == (None, anchors, 4)
    assert model.output["logits"].shape == (None, anchors, 21)
    assert model.anchors.shape == (anchors, 4)
    assert model.anchors.dtype == np.float32
    for level, size in enumerate(LAYOUTS[name].feature_maps):
        for output in ("deltas", "logits"):
            assert model.get_layer(f"head_{level}_{output}").output.shape[1:3] == size


@pytest.mark.parametrize("levels", [1, 2])
def test_layouts_without_extra_maps(levels: int) -> None:
    layout = AnchorLayout(
        "few", (40, 64), ((5, 8), (3, 4))[:levels], (0.2,) * (levels + 1), ((),) * levels
    )
    model = SSD(layout, 1, alpha=0.1)
    cells = sum(rows * columns for rows, columns in layout.feature_maps)
    assert model.output["logits"].shape == (None, 2 * cells, 2)
    assert not [layer.name for layer in model.layers if layer.name.startswith("extra")]


def test_refuses_anchors_that_are_not_as_many_as_the_heads_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which no layout makes: anchors and heads count the same shapes."""
    count = len(shared().anchors)
    monkeypatch.setattr(ssd.anchors, "make_anchors", lambda *_, **__: np.zeros((7, 4), "f4"))
    words = rf"^layout: expected {count} anchors, one for .* Received: 7 anchors in 'tiny'$"
    with pytest.raises(ValueError, match=words):
        tiny()


def test_steps_between_maps() -> None:
    layout = AnchorLayout("six", (192, 192), ((6, 6), (4, 4), (2, 2)), (0.5,) * 4, ((),) * 3)
    assert map_steps(layout) == [(32, 1, "same"), (None, 1, "valid"), (None, 2, "same")]


def test_more_extra_maps_than_channels_are_named_for_are_as_wide_as_the_last() -> None:
    sizes = (4, 4), (2, 2), *[(1, 1)] * 6
    layout = AnchorLayout("many", (32, 32), sizes, (0.5,) * 9, ((),) * 8)
    # At the second width all but the first have the least that they may have.
    for alpha, wanted in ((0.5, [256, 128, 128, 64, 64]), (0.05, [24, 16, 16, 16, 16])):
        model = SSD(layout, 1, alpha=alpha)
        widths = [model.get_layer(f"extra_{extra}_conv").filters for extra in range(1, 6)]
        assert widths == wanted
    assert {model.get_layer(f"extra_{extra}_squeeze").filters for extra in range(2, 6)} == {8}


@pytest.mark.parametrize(
    ("image", "maps", "message"),
    [
        ((64, 64), ((9, 8),), r"\[0\]: expected \(8, 8\) or \(4, 4\) or \(2, 2\).*: \(9, 8\) in"),
        ((64, 64), ((8, 8), (5, 5)), r"\[1\]: expected \(4, 4\) \(the back.*: \(5, 5\) in 'odd'"),
        ((64, 64), ((2, 2), (2, 1)), r"\[1\]: expected \(1, 1\) \(half.*: \(2, 1\) in"),
        ((160, 96), ((5, 3), (3, 3)), r"\[1\]: expected \(3, 2\) \(half.* or \(3, 1\) \(without"),
    ],
)
def test_refuses_maps_that_cannot_be(
    image: tuple[int, int], maps: tuple[tuple[int, int], ...], message: str
) -> None:
    layout = AnchorLayout("odd", image, maps, (0.5,) * (len(maps) + 1), ((),) * len(maps))
    with pytest.raises(ValueError, match=r"layout\.feature_maps" + message):
        SSD(layout, 1, alpha=0.1)


@pytest.mark.parametrize("head", heads_.HEADS)
def test_outputs_are_in_the_order_of_the_anchors(head: str) -> None:
    """Each head is made to say level, shape and number (in its bias) and cell (in its kernel).

    The kernel sums the channels of its own cell with weights that tell the cells apart. Where an
    anchor belongs is read off its centre and size, not off its index.
    """
    model, image = shared(head), some_images(1)
    shapes = [reference_anchors.level_shapes(TINY, level) for level in range(4)]
    width = 4  # coordinates of a box, and as many: three classes and background
    outputs = ("deltas", "logits")
    heads = [
        [model.get_layer(f"head_{level}_{output}") for output in outputs] for level in range(4)
    ]
    inner = keras.Model(model.input, [[layer.input for layer in pair] for pair in heads])
    seen = outputs_of(inner, image)
    cells: dict[tuple[str, int], Any] = {}
    gaps: dict[tuple[str, int], float] = {}
    before = model.get_weights()
    for level, place in itertools.product(range(4), range(2)):
        layer, x, key = heads[level][place], seen[level][place], (outputs[place], level)
        kernel, bias = map(np.zeros_like, layer.get_weights())
        weights = np.random.default_rng(level).uniform(0, 1, x.shape[-1])
        weights = (weights * 10 / np.ptp(x[0] @ weights)).astype("float32")
        cells[key] = x[0].astype("float64") @ weights
        assert cells[key].shape == TINY.feature_maps[level]
        gaps[key] = np.diff(np.sort(cells[key], axis=None)).min()
        assert gaps[key] > 4e-6 * np.abs(cells[key]).max(), "cells alike: nothing would show"
        kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = weights[:, None]
        shape, number = np.divmod(np.arange(bias.size), width)
        bias[:] = 8 * level + shape + number / 4
        layer.set_weights([kernel, bias])

    found = outputs_of(model, image)
    model.set_weights(before)

    for output, (index, (cx, cy, w, h)) in itertools.product(outputs, enumerate(model.anchors)):
        _, level, shape = min(
            (abs(w - wide) + abs(h - high), level, shape)
            for level in range(4)
            for shape, (wide, high) in enumerate(shapes[level])
        )
        rows, columns = TINY.feature_maps[level]
        cell = cells[output, level][int(cy * rows), int(cx * columns)]
        np.testing.assert_allclose(
            found[output][0, index],
            cell + 8 * level + shape + np.arange(width) / 4,
            atol=min(0.05, gaps[output, level] / 2),
            err_msg=f"{output} of anchor {index}: level {level}, shape {shape}, at {cx}, {cy}",
        )


# Of the layers that a head decides about, without the numbers in their names.
KERNELS = {
    "ssd": {"head_deltas": 3, "head_logits": 3, "extra_squeeze": 1, "extra_conv": 3},
    "ssd1x1": {"head_deltas": 1, "head_logits": 1, "extra_squeeze": 1, "extra_conv": 3},
    "ssdlite": {
        **{"head_deltas_depthwise": 3, "head_deltas": 1, "head_logits_depthwise": 3},
        **{"head_logits": 1, "extra_squeeze": 1, "extra_depthwise": 3, "extra_pointwise": 1},
    },
}


@pytest.mark.parametrize("head", heads_.HEADS)
def test_kernels_of_each_head(head: str) -> None:
    """SSDLite has no full 3x3 convolution but the backbone's first."""
    found = {
        re.sub(r"_\d", "", layer.name): (type(layer).__name__, layer.kernel_size)
        for layer in tiny(head).layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        and layer.name.startswith(("head", "extra"))
    }
    assert found == {
        name: ("DepthwiseConv2D" if "depthwise" in name else "Conv2D", (side, side))
        for name, side in KERNELS[head].items()
    }


def test_channels_are_last_whatever_keras_does_by_default() -> None:
    with keras_set("image_data_format", "channels_first"):
        model = tiny()
    formats = {getattr(layer, "data_format", "channels_last") for layer in model.layers}
    assert formats == {"channels_last"}


def test_shape_by_shape_is_the_same_in_another_order() -> None:
    by_cell, by_shape = tiny(), lively(SSD(dataclasses.replace(TINY, order="shape"), 3, alpha=0.1))
    by_cell.set_weights(by_shape.get_weights())
    where = {tuple(anchor): index for index, anchor in enumerate(by_cell.anchors)}
    order = [where[tuple(anchor)] for anchor in by_shape.anchors]
    assert sorted(order) == [*range(len(order))] != order
    found, same = (outputs_of(model, some_images(1)) for model in (by_shape, by_cell))
    for name, values in found.items():
        np.testing.assert_array_equal(values, same[name][:, order])


# Training


def test_loss_is_the_references() -> None:
    generator = np.random.default_rng(2)
    count = len(shared().anchors)
    found = {
        "deltas": generator.normal(size=(4, count, 4)).astype("float32"),
        "logits": generator.normal(size=(4, count, 4)).astype("float32"),
    }
    model = shared()
    model.reset_metrics()

    total = model.compute_loss(x=None, y=OBJECTS, y_pred=found)

    expected = reference_loss(found)
    assert expected.positives > 10
    assert expected.negatives[2].sum() == 7, "the image without objects has the minimum"
    assert keras.backend.standardize_dtype(total.dtype) == "float32"
    np.testing.assert_allclose(float(total), expected.total, rtol=1e-5)
    np.testing.assert_allclose(float(model.class_loss.result()), expected.class_loss, rtol=1e-5)
    np.testing.assert_allclose(float(model.box_loss.result()), expected.box_loss, rtol=1e-5)


def test_anchors_on_a_crowd_count_nowhere_in_training() -> None:
    generator = np.random.default_rng(4)
    count = len(shared().anchors)
    found = {
        "deltas": generator.normal(size=(1, count, 4)).astype("float32"),
        "logits": generator.normal(size=(1, count, 4)).astype("float32"),
    }
    whole = np.array([[[0.0, 0.0, 0.25, 0.25], [0.25, 0.25, 1.0, 1.0]]], "float32")
    objects = {"boxes": whole, "labels": np.array([[1, 2]], "int32")}
    model = shared()

    plain = float(model.compute_loss(y=objects, y_pred=found))
    crowds = {**objects, "crowds": np.array([[False, True]])}
    crowded = float(model.compute_loss(y=crowds, y_pred=found))
    as_numbers = {**objects, "crowds": np.array([[0, 1]])}
    assert float(model.compute_loss(y=as_numbers, y_pred=found)) == crowded
    words = r"crowds: expected shape \(1, 2\)\. Received: \(1, 2, 1\)"
    with pytest.raises(ValueError, match=words):
        model.compute_loss(y={**objects, "crowds": np.zeros((1, 2, 1), bool)}, y_pred=found)

    anchors = model.convention.layout
    assigned = targets.assign_targets(
        whole[0].astype("float64"),
        objects["labels"][0],
        reference_anchors.make_anchors(anchors, np.float64),
        model.convention,
        crowds=crowds["crowds"][0],
    )
    assert (assigned.labels == -1).any()
    expected = multibox.multibox_loss(
        found["deltas"].astype("float64"),
        found["logits"].astype("float64"),
        assigned.deltas[None],
        assigned.labels[None],
        model.convention,
    )
    np.testing.assert_allclose(crowded, expected.total, rtol=1e-5)
    assert crowded != plain


def test_evaluate_averages_the_loss_over_images() -> None:
    """Batches of three images and one: the parts are weighted as Keras weights the total."""
    model, images = shared(), some_images(4)
    # The same averages without two graphs; on JAX the graphs are what is quick.
    model.compile(run_eagerly=keras.backend.backend() != "jax")
    found = outputs_of(model, images)
    first, second = reference_loss(found, slice(0, 3)), reference_loss(found, slice(3, 4))

    for _ in range(2):  # the second time shows that the averages start anew
        logs = model.evaluate(images, OBJECTS, batch_size=3, verbose=0, return_dict=True)

        assert list(logs) == ["box_loss", "class_loss", "loss"]
        for name, part in (("loss", "total"), ("class_loss",) * 2, ("box_loss",) * 2):
            expected = (3 * getattr(first, part) + getattr(second, part)) / 4
            np.testing.assert_allclose(logs[name], expected, rtol=1e-4, err_msg=name)
    model.run_eagerly = False


def test_loss_includes_regularisation() -> None:
    model = shared()
    found = {name: np.zeros((4, len(model.anchors), 4), "float32") for name in ("deltas", "logits")}
    number = keras.ops.convert_to_numpy  # of what PyTorch keeps the gradient of
    plain = number(model.compute_loss(y=OBJECTS, y_pred=found))
    first = model.get_layer("Conv1")
    first.kernel.regularizer = keras.regularizers.L2(0.5)

    regularised = number(model.compute_loss(y=OBJECTS, y_pred=found))
    first.kernel.regularizer = None

    penalty = 0.5 * float((np.asarray(first.get_weights()[0], "float64") ** 2).sum())
    assert penalty > 0.1
    np.testing.assert_allclose(regularised - plain, penalty, rtol=1e-4)


def test_targets_that_were_assigned_before_give_the_same_loss() -> None:
    generator = np.random.default_rng(2)
    model = shared()
    count = len(model.anchors)
    found = {name: generator.normal(size=(4, count, 4)).astype("f4") for name in model.output}
    deltas, labels = (keras.ops.convert_to_numpy(one) for one in model._targets(OBJECTS))
    assert (deltas.dtype, labels.dtype) == (np.float32, np.int32)
    given = {"target_deltas": deltas.astype("f8"), "target_labels": labels.astype("int64")}

    assigned = [keras.ops.convert_to_numpy(one) for one in model._targets(given)]

    assert [one.dtype.name for one in assigned] == ["float32", "int32"]
    total = float(model.compute_loss(y=given, y_pred=found))
    np.testing.assert_allclose(total, reference_loss(found).total, rtol=1e-5)


def test_loss_is_float32_whatever_keras_calls_a_float() -> None:
    model = shared()
    count = len(model.anchors)
    generator = np.random.default_rng(5)
    found = {name: generator.normal(size=(4, count, 4)).astype("f4") for name in model.output}
    first = model.get_layer("Conv1")
    first.kernel.regularizer = keras.regularizers.L2(0.5)
    number = keras.ops.convert_to_numpy  # of what PyTorch keeps the gradient of
    wanted = number(model.compute_loss(y=OBJECTS, y_pred=found))
    deltas, labels = (keras.ops.convert_to_numpy(one) for one in model._targets(OBJECTS))
    given = {"target_deltas": deltas, "target_labels": labels}

    try:
        with keras_set("floatx", "float16"):
            totals = [model.compute_loss(y=y, y_pred=found) for y in (OBJECTS, given)]
    finally:
        first.kernel.regularizer = None

    assert [keras.backend.standardize_dtype(total.dtype) for total in totals] == ["float32"] * 2
    assert [number(total) for total in totals] == [wanted] * 2


def test_objects_are_looked_at_by_the_models_own_convention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A box without width is an error, or padding where the convention drops it."""
    boxes = BOXES.copy()
    boxes[0, 1, 2] = boxes[0, 1, 0]
    model = shared()
    monkeypatch.setattr(model, "_assign", model._assign_targets)
    with pytest.raises(ValueError, match=r"boxes\[0, 1\]: expected finite corners, xmin < xmax"):
        model._targets({"boxes": boxes, "labels": LABELS})
    monkeypatch.setattr(model, "convention", model.convention.replace(degenerate="drop"))

    found = model._targets({"boxes": boxes, "labels": LABELS})

    labels = LABELS.copy()
    labels[0, 1] = -1
    wanted = model._targets({"boxes": BOXES, "labels": labels})
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (mine, theirs)))


def test_refuses_assigned_targets_of_other_anchors() -> None:
    count = len(shared().anchors)
    found = {name: np.zeros((4, count, 4), "f4") for name in ("deltas", "logits")}
    for deltas, labels in (
        ((4, 9, 4), (4, 9)),
        ((4, count, 3), (4, count)),
        ((4, count, 4), (4, 9)),
        ((), ()),
    ):
        y = {"target_deltas": np.zeros(deltas, "f4"), "target_labels": np.zeros(labels, "i4")}
        if not deltas:
            y = {name: "nothing with a shape" for name in y}
        words = re.escape(f"Received: {deltas} and {labels}")
        with pytest.raises(ValueError, match=f"y: expected 'target_deltas' of shape .*{words}"):
            shared().compute_loss(y=y, y_pred=found)


def test_anchors_are_suppressed_before_mining_by_what_is_predicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(8)
    few = AnchorLayout("few", (32, 32), ((4, 4),), (0.3, 0.6), ((2.0,),))
    rules = OTHER.replace(mining_nms=0.5, layout=few)
    model = SSD(few, 3, alpha=0.1, convention=rules)
    # Not compiled: that takes longer than all else.
    monkeypatch.setattr(model, "_assign", model._assign_targets)
    count = len(model.anchors)
    found = {name: generator.normal(size=(4, count, 4)).astype("f4") for name in model.output}
    deltas, labels = (keras.ops.convert_to_numpy(one) for one in model._targets(OBJECTS))

    total = float(model.compute_loss(y=OBJECTS, y_pred=found))

    wide = {name: value.astype("f8") for name, value in found.items()}
    boxes = np.stack([coding.decode(one, model.anchors, rules) for one in wide["deltas"]])
    wanted = multibox.multibox_loss(
        wide["deltas"], wide["logits"], deltas.astype("f8"), labels, rules, boxes=boxes
    )
    assert wanted.counted.sum() < wanted.positives, "or nothing was suppressed"
    np.testing.assert_allclose(total, wanted.total, rtol=1e-5)


def test_tells_every_layer_what_it_was_told() -> None:
    layout = dataclasses.replace(TINY, order="shape")
    for head in ("ssd", "ssdlite"):
        model = SSD(
            layout, 3, alpha=0.1, head=head, batch_norm_momentum=0.75, dtype="mixed_bfloat16"
        )
        assert model.inputs[0].name == "images"
        dtypes = {layer.name: layer.dtype_policy.name for layer in model.layers[1:]}
        outputs = {"deltas": "float32", "logits": "float32"}
        assert {name: dtypes.pop(name) for name in outputs} == outputs
        assert set(dtypes.values()) == {"mixed_bfloat16"}
        norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
        assert {norm.momentum for norm in norms} == {0.75}
        last = "flat", "by_shape", "cells", *(["depthwise_BN"] if head == "ssdlite" else [])
        for end in last:
            assert {f"head_{level}_{output}_{end}" for level in range(4) for output in outputs} <= {
                *dtypes
            }


def test_outputs_are_float32_under_a_policy_of_keras() -> None:
    with keras_set("dtype_policy", "mixed_bfloat16"):
        model = tiny()
    assert {name: output.dtype for name, output in model.output.items()} == {
        "deltas": "float32",
        "logits": "float32",
    }
    assert model.get_layer("head_0_deltas").compute_dtype == "bfloat16"


def test_is_the_papers_unless_told_otherwise() -> None:
    model = SSD(TINY, 1)
    assert (model.name, model.alpha, model.head, model.class_names) == ("ssd", 1.0, "ssd", None)
    assert (model.class_loss.name, model.box_loss.name) == ("class_loss", "box_loss")
    assert model.batch_norm_momentum == model.get_layer("bn_Conv1").momentum == 0.99
    assert model.get_layer("Conv1").filters == 32
    assert model.get_layer("extra_1_conv").filters == 512
    assert model.get_layer("extra_1_squeeze").filters == 256
    assert model.dtype_policy.name == keras.config.dtype_policy().name
    model.compile()
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert model.optimizer.built


def test_one_seed_gives_one_model() -> None:
    first, second, other = tiny(), tiny(), SSD(TINY, 3, alpha=0.1)
    assert all(map(np.array_equal, first.get_weights(), second.get_weights()))
    kernels = [
        [np.asarray(one) for one in model.weights if "kernel" in one.path]
        for model in (first, other)
    ]
    assert not any(map(np.array_equal, *kernels))


# A first verdict has the golden state's ten steps, and a run of `ssd train`.
@pytest.mark.thorough
def test_fit_learns_and_repeats_itself() -> None:
    """Four images are learnt; from the same start again, to the same bit.

    Three times the rate, and a change of 1e-7 in the images decides how it ends.
    """
    model, images = tiny(batch_norm_momentum=0.5), some_images(4)
    model.compile(keras.optimizers.SGD(0.01))
    start = model.get_weights()

    runs = []
    for _ in range(2):
        model.set_weights(start)
        keras.utils.set_random_seed(3)
        history = model.fit(images, OBJECTS, batch_size=2, epochs=12, verbose=0).history
        runs.append((history, model.get_weights()))

    (history, weights), (again, weights_again) = runs
    assert set(history) == {"loss", "class_loss", "box_loss"}
    assert history["loss"][-1] < 0.5 * history["loss"][0], history["loss"]
    parts = np.array(history["class_loss"]) + 2.5 * np.array(history["box_loss"])
    np.testing.assert_allclose(history["loss"], parts, rtol=1e-5)
    assert history == again
    assert all(map(np.array_equal, weights, weights_again))
    assert not all(map(np.array_equal, start, weights))


@pytest.mark.parametrize(
    ("everywhere", "argument", "inner"),
    [
        ("float32", "mixed_bfloat16", "bfloat16"),
        ("mixed_float16", None, "float16"),
    ],
)
def test_outputs_and_loss_are_float32_under_mixed_precision(
    everywhere: str, argument: str | None, inner: str
) -> None:
    with keras_set("dtype_policy", everywhere):
        model = tiny(dtype=argument)
    assert model.get_config()["dtype"] == f"mixed_{inner}"
    plain = shared()
    model.set_weights(plain.get_weights())
    assert model.get_layer("Conv1").compute_dtype == inner
    images = some_images(2)

    found, exact = outputs_of(model, images), outputs_of(plain, images)

    for name, values in found.items():
        wanted = exact[name]
        assert values.dtype == np.float32
        assert not np.array_equal(values, wanted), "the network did not compute in half"
        np.testing.assert_allclose(values, wanted, atol=0.05 * np.abs(wanted).max())
    objects = {name: value[:2] for name, value in OBJECTS.items()}
    model.compile("sgd")
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (inner == "float16"), "float16 gradients would vanish"
    half = {name: values.astype("float16") for name, values in found.items()}
    for y_pred in (found, half):
        total = model.compute_loss(y=objects, y_pred=y_pred)
        assert keras.backend.standardize_dtype(total.dtype) == "float32"


@pytest.mark.parametrize(
    ("device", "choices"),
    [
        ("cpu:0", {"auto": False, True: True, False: False}),
        ("gpu:0", {"auto": True, True: True, False: False}),
    ],
)
def test_the_network_is_not_compiled_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, device: str, choices: dict[bool | str, bool]
) -> None:
    """Even where Keras itself would, as before 3.15. On JAX and PyTorch Keras decides."""
    if keras.backend.backend() != "tensorflow":
        choices = {**choices, "auto": True}
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: [device])
    monkeypatch.setattr(SSD, "_resolve_auto_jit_compile", lambda self: True)
    model = tiny()
    assert model.jit_compile == choices["auto"], "predict without compile"

    for asked, decided in choices.items():
        model.compile(jit_compile=asked)

        assert model.jit_compile == decided, asked
        assert model.get_compile_config()["jit_compile"] == asked


def test_only_tensorflow_is_asked_for_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    for backend, pays in {"tensorflow": False, "jax": True, "torch": True}.items():
        monkeypatch.setattr(keras.backend, "backend", lambda name=backend: name)
        assert ssd._xla_pays() == pays, backend


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (BOXES, r"y: expected a dict of 'boxes'.*Received: ndarray"),
        ({"boxes": BOXES}, r"y: expected a dict .*Received: \['boxes'\]"),
        (
            {"boxes": "a", "labels": []},
            r"y: expected 'boxes' of shape \(B, M, 4\) and 'labels' "
            r"of shape \(B, M\)\. Received: \(\) and \(\)",
        ),
        ({"boxes": BOXES[0], "labels": LABELS}, r"y: .*shape.*Received: \(3, 4\) and \(4, 3\)"),
        ({"boxes": BOXES, "labels": LABELS[0]}, r"y: .*shape.*Received: \(4, 3, 4\) and \(3,\)"),
    ],
)
def test_refuses_targets_that_are_not_boxes_and_labels(y: Any, message: str) -> None:
    found = {name: np.zeros((4, 10, 4), "float32") for name in ("deltas", "logits")}
    with pytest.raises(ValueError, match=message):
        shared().compute_loss(y=y, y_pred=found)


def test_refuses_sample_weights_and_another_loss() -> None:
    model = shared()
    words = (
        r"^sample_weight: expected None, since the loss is normalised by the positives of the "
        r"whole batch\. Received: array\("
    )
    with pytest.raises(ValueError, match=words):
        model.compute_loss(y=OBJECTS, y_pred={}, sample_weight=np.ones(4))
    with pytest.raises(ValueError, match=r"loss: expected None, .* Received: 'mse'"):
        model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match=r"loss_weights: expected None; .*box_weight.* Received: "):
        model.compile("adam", loss_weights={"class_loss": 2.0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "ssd512"}, r"layout: .*'digits224', 'ssd300', .*Received: 'ssd512'"),
        ({"layout": 300}, "layout: expected an AnchorLayout or one of .*Received: 300"),
        (
            {"num_classes": 0},
            "num_classes: expected 1 or more, background not counted. Received: 0",
        ),
        ({"num_classes": True}, "num_classes: .*Received: True"),
        ({"num_classes": 2.0}, "num_classes: .*Received: 2.0"),
        ({"head": "yolo"}, r"head: expected one of \['ssd', 'ssd1x1', 'ssdlite'\]. R.*'yolo'"),
        (
            {"class_names": ["a", "b"]},
            r"class_names: expected 3 names, one for each class. Received: \['a', 'b'\]",
        ),
        ({"class_names": "abc"}, "class_names: expected 3 names, one for each class. R.* 'abc'"),
        ({"convention": "caffe"}, "convention: expected a Convention. Received: 'caffe'"),
        ({"convention": CANONICAL.replace(threshold=1e-60)}, r"threshold: expected .*1e-60"),
        ({"alpha": -1.0}, "alpha: expected a positive number. Received: -1.0"),
    ],
)
def test_refuses_arguments_that_mean_nothing(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SSD(**{"layout": TINY, "num_classes": 3, **arguments})


def test_numbers_of_numpy_are_numbers() -> None:
    given = {"alpha": np.float32(0.1), "batch_norm_momentum": np.float64(0.75)}
    model = SSD(TINY, np.int64(3), **given)
    config = json.loads(json.dumps(model.get_config()))
    assert (config["num_classes"], config["batch_norm_momentum"]) == (3, 0.75)
    assert config["alpha"] == float(np.float32(0.1))


# Detection


def test_detect_is_the_references_detection() -> None:
    """More images than a batch holds; the convention's options, then one of one's own."""
    model, images = shared(), some_images(5)
    # In the same batches: another batch size may round differently.
    batches = [model.predict(images[start : start + 2], verbose=0) for start in (0, 2, 4)]
    outputs = {
        name: np.concatenate([batch[name] for batch in batches]) for name in ("deltas", "logits")
    }
    assert outputs["logits"].dtype == np.float32  # decisions are those of the outputs' own dtype
    options = {"variances": OTHER.coding.variances, **dataclasses.asdict(OTHER.detection)}

    for overrides in ({}, {"score_threshold": 0.3, "max_detections": 200}):
        found = model.detect(images, batch_size=2, **overrides)

        slots = overrides.get("max_detections", 12)
        assert all(isinstance(part, np.ndarray) for part in found)
        assert found.boxes.shape == (5, slots, 4)
        for image in range(5):
            expected = detection.detect(
                outputs["deltas"][image],
                outputs["logits"][image],
                model.anchors,
                **{**options, **overrides},
            )
            count = len(expected.scores)
            assert count > 0
            np.testing.assert_array_equal(found.labels[image][:count], expected.labels)
            np.testing.assert_array_equal(found.anchors[image][:count], expected.anchors)
            np.testing.assert_allclose(found.boxes[image][:count], expected.boxes, atol=1e-6)
            np.testing.assert_allclose(found.scores[image][:count], expected.scores, atol=1e-6)
            assert (found.labels[image][count:] == -1).all()


def test_detect_predicts_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def predict(self: SSD, images: np.ndarray, *arguments: Any, **options: Any) -> Any:
        asked.append((len(images), arguments, options))
        # At half precision, which another model's outputs might have.
        shape = (len(images), len(self.anchors), 4)
        return {name: np.zeros(shape, "float16") for name in ("deltas", "logits")}

    monkeypatch.setattr(SSD, "predict", predict)

    found = shared().detect(some_images(33))
    shared().detect(some_images(2), batch_size=1)

    quietly = {"verbose": 0}
    assert asked[:2] == [(32, (32,), quietly), (1, (32,), quietly)]
    assert asked[2:] == [(1, (1,), quietly)] * 2
    assert found.scores.dtype == found.boxes.dtype == np.float32


def test_detect_refuses_other_images_and_options() -> None:
    with pytest.raises(ValueError, match=r"images: expected .*64, 96, 3.*Received: \(64, 96, 3\)"):
        shared().detect(some_images(1)[0])
    with pytest.raises(ValueError, match=r"overrides: expected some of .*Received: \['scores'\]"):
        shared().detect(some_images(1), scores=0.5)


# Saving


def test_config_makes_the_same_network_also_through_json() -> None:
    model = tiny(
        "ssdlite",
        batch_norm_momentum=0.7,
        class_names=["a", "b", "c"],
        dtype="mixed_bfloat16",
        name="mine",
    )
    config = model.get_config()

    for plain in (config, json.loads(json.dumps(config))):
        again = SSD.from_config(plain)

        assert again.layout == TINY
        assert again.convention == OTHER.replace(layout=TINY)
        assert again.get_config() == config
        assert again.name == "mine"
        assert again.class_names == ("a", "b", "c")
        assert again.get_layer("Conv1").compute_dtype == "bfloat16"
        assert again.get_layer("bn_Conv1").momentum == 0.7
        assert [w.path for w in again.weights] == [w.path for w in model.weights]
        assert again.count_params() == model.count_params()


def test_what_compile_was_told_can_be_told_again() -> None:
    model = tiny(alpha=0.35)
    assert not model.get_compile_config(), "it was told nothing"
    assert model.get_config()["class_names"] is None
    model.compile(keras.optimizers.SGD(0.0125), jit_compile=False, steps_per_execution=2)
    config = model.get_compile_config()
    assert config["steps_per_execution"] == 2
    model.compile("adam")

    model.compile_from_config(config)

    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0125)
    assert model.get_compile_config() == config
    assert config["jit_compile"] is False


@pytest.mark.parametrize("head", HEADS)
def test_saved_model_says_the_same(head: str, tmp_path: Path) -> None:
    model, images = lively(tiny(head)), some_images(2)
    model.compile(keras.optimizers.SGD(0.0125))
    expected = outputs_of(model, images)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")

    loaded = keras.saving.load_model(tmp_path / "model.keras")
    filled = SSD(TINY, 3, alpha=0.1, head=head)
    filled.load_weights(tmp_path / "model.weights.h5")

    assert isinstance(loaded, SSD)
    assert loaded.compiled
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.0125)
    assert loaded.get_compile_config()["jit_compile"] == "auto"
    np.testing.assert_array_equal(loaded.anchors, model.anchors)
    for other in (loaded, filled):
        found = outputs_of(other, images)
        for name in ("deltas", "logits"):
            np.testing.assert_array_equal(found[name], expected[name])


def test_canonical_is_the_default() -> None:
    assert SSD(TINY, 1, alpha=0.1).convention == CANONICAL.replace(layout=TINY)


# The reference's forward pass


# Each layout and each head once; the other pairs are thorough.
PAIRS = {"ssd300": "ssd", "ssdlite320": "ssdlite", "digits224": "ssd1x1"}


@pytest.mark.parametrize(
    ("layout", "head"),
    [
        pytest.param(layout, head, marks=[] if PAIRS[layout] == head else [pytest.mark.thorough])
        for layout in PAIRS
        for head in heads_.HEADS
    ],
)
def test_the_reference_computes_the_published_networks(layout: str, head: str) -> None:
    """Taps at strides 8 and 16, extra maps that halve and that lose their border, both heads."""
    model = lively(SSD(layout, 3, alpha=0.35, head=head))
    weights = {weight.path: np.asarray(weight) for weight in model.weights}
    images = np.random.default_rng(6).uniform(-1, 1, (1, *model.layout.image_size, 3)).astype("f4")

    deltas, logits = reference_ssd.forward(images, weights, model.layout)

    found = outputs_of(model, images)
    for mine, theirs in ((deltas, found["deltas"]), (logits, found["logits"])):
        assert mine.dtype == np.float32
        scale = np.abs(theirs).max()
        assert scale > 0.01
        # Some sixty layers of sums in another order; an error is one of the largest output.
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * scale)


@pytest.mark.parametrize("head", HEADS)
def test_a_folded_network_has_biases_and_says_the_same(head: str) -> None:
    """NumPy folds, Keras holds the result: both forms, on both sides, are one function."""
    model, images = shared(head), some_images(2)
    weights = {weight.path: np.asarray(weight) for weight in model.weights}
    wanted = outputs_of(model, images)
    folded = SSD(TINY, 3, head=head, alpha=0.1, convention=OTHER, batch_norm_momentum=None)
    assert not [one for one in folded.layers if isinstance(one, keras.layers.BatchNormalization)]

    arrays = fold(weights)

    assert {weight.path for weight in folded.weights} == set(arrays)
    for weight in folded.weights:
        weight.assign(arrays[weight.path])
    for found in (
        outputs_of(folded, images),
        dict(zip(("deltas", "logits"), reference_ssd.forward(images, arrays, TINY), strict=True)),
    ):
        for name, value in wanted.items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(found[name], value, atol=1e-5 * scale)


def test_a_folded_network_gets_normalisations_that_change_nothing() -> None:
    images = some_images(1)
    folded = lively(SSD(TINY, 3, alpha=0.1, batch_norm_momentum=None))
    for layer in folded.layers:
        if getattr(layer, "use_bias", False):
            layer.bias.assign(np.random.default_rng(1).uniform(-0.5, 0.5, layer.bias.shape))
    arrays = unfold({weight.path: np.asarray(weight) for weight in folded.weights})

    model = SSD(TINY, 3, alpha=0.1)

    assert {weight.path for weight in model.weights} == set(arrays)
    for weight in model.weights:
        weight.assign(arrays[weight.path])
    for name, value in outputs_of(folded, images).items():
        found = outputs_of(model, images)[name]
        np.testing.assert_allclose(found, value, atol=1e-5 * np.abs(value).max())


def test_the_300_pixel_ssd_of_tensorflow() -> None:
    """Maps, taps, channels and shapes of ssd_mobilenet_v2_coco.config and its feature extractor."""
    model = ssd.ssd_mobilenet_v2_300(23, batch_norm_momentum=None)

    assert model.input_shape == (None, 300, 300, 3)
    assert model.output["deltas"].shape == (None, 1917, 4)
    assert model.output["logits"].shape == (None, 1917, 24)
    maps = [model.get_layer(f"head_{level}_deltas").input for level in range(6)]
    assert [tuple(one.shape[1:]) for one in maps] == [
        (19, 19, 576),
        (10, 10, 1280),
        (5, 5, 512),
        (3, 3, 256),
        (2, 2, 256),
        (1, 1, 128),
    ]
    assert maps[0]._keras_history.operation.name == "block_13_expand_relu"
    squeezed = [model.get_layer(f"extra_{extra}_squeeze").filters for extra in range(1, 5)]
    assert squeezed == [256, 128, 128, 64]
    kernels = [weight for weight in model.weights if weight.path.endswith("/kernel")]
    biases = [weight for weight in model.weights if weight.path.endswith("/bias")]
    assert (len(kernels), len(biases), len(model.weights)) == (72, 72, 144)
    assert model.count_params() == 4_951_996  # as many as MediaPipe's file has
    heads = [
        layer for layer in model.layers if re.fullmatch(r"head_\d_(deltas|logits)", layer.name)
    ]
    assert {layer.kernel_size for layer in heads} == {(1, 1)}
    assert [layer.filters for layer in heads if "deltas" in layer.name] == [12, *[24] * 5]
    assert model.convention == PRESETS["tf_od_ssd_mobilenet_v2"]


def test_the_300_pixel_ssd_of_tensorflow_may_be_trained_on_coco() -> None:
    names = [f"class {label}" for label in range(1, 91)]
    trained = ssd.ssd_mobilenet_v2_300(class_names=names)
    assert (trained.num_classes, trained.class_names) == (90, tuple(names))
    assert trained.batch_norm_momentum == 0.99


def test_the_reference_reads_the_shipped_detector() -> None:
    """From a canvas to named boxes with NumPy alone, as Keras has it."""
    model = load_model()
    _, weights = read_weights(DIGITS)
    made = [canvases.canvas(digits.load_digits("test"), "1-10", 3, index) for index in range(2)]
    images = canvases.batch_images(np.stack([one.image for one in made]))

    deltas, logits = reference_ssd.forward(images, weights, model.layout)

    found = model.detect(images, score_threshold=0.5)
    for image in range(2):
        wanted = detection.detect(
            deltas[image], logits[image], model.anchors, model.convention, score_threshold=0.5
        )
        used = found.labels[image] > 0
        assert len(wanted.labels) > 0
        assert found.anchors[image][used].tolist() == wanted.anchors.tolist()
        assert found.labels[image][used].tolist() == wanted.labels.tolist()
        np.testing.assert_allclose(found.boxes[image][used], wanted.boxes, atol=1e-4)
        np.testing.assert_allclose(found.scores[image][used], wanted.scores, atol=1e-4)
