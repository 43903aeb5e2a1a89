"""SSD on MobileNetV2 as an ordinary Keras model (arXiv:1512.02325, arXiv:1801.04381 section 6.2).

An image goes through the backbone; its maps of stride 8, 16 and 32 (those the layout asks for)
and a few smaller extra maps each carry two heads, which say for every anchor how far its box is
off and what is in it. `fit` takes padded boxes and labels: targets are assigned inside the
graph, so that data sets know nothing of anchors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_impl.backends import compiled
from keras_impl.host import detection as host_detection
from keras_impl.models.heads import HEADS, Head, feature_maps, head_output, map_steps
from keras_impl.models.mobilenet_v2 import conv_unit, mobilenet_v2_features
from keras_impl.ops import anchors, coding, detection, multibox, targets
from keras_impl.ops.boxes import check_boxes
from keras_impl.ops.checks import as_flags, as_floats, as_whole, check_count, check_range
from keras_impl.ops.matching import _check_threshold
from reference_numpy.conventions import (
    CANONICAL,
    LAYOUTS,
    PADDING,
    AnchorLayout,
    Convention,
    revived,
    tf_od_ssd_mobilenet_v2,
)

__all__ = [
    "SSD",
    "ssd_mobilenet_v2_300",
]


@keras.saving.register_keras_serializable(package="mobilenetv2_ssd")
class SSD(keras.Model):
    """A detector: images in, box deltas and class logits of every anchor out.

    Input: (B, H, W, 3) images in [-1, 1], H and W the layout's.

    Output: {"deltas": (B, A, 4), "logits": (B, A, num_classes + 1)}, float32, anchors in the
    layout's order, canonically level, row, column, shape, and background in class 0.

    Targets of `fit` and `evaluate`: {"boxes": (B, M, 4), corners relative to the image,
    "labels": (B, M), 1 to classes, -1 where padded}, and, where there are any, "crowds": (B, M),
    true for a crowd or a difficult object. The loss is the model's own, so `compile` takes an
    optimizer and no loss; `class_loss` and `box_loss` are shown beside the total.

    Args:
        layout: An `AnchorLayout`, or the name of one in `LAYOUTS`.
        num_classes: Number of object classes; background comes on top.
        alpha: Width multiplier of the backbone and the extra maps.
        head: "ssd" for 3x3 convolutions in extra maps and heads; "ssd1x1" for 1x1 heads, as
            TensorFlow's SSD on MobileNet has them; "ssdlite" for depthwise separable
            convolutions in the place of every 3x3.
        convention: How overlap, matching, coding, loss and detection are done. Its layout gives
            way to `layout`.
        batch_norm_momentum: Momentum of the running batch statistics. MobileNetV2's own .999
            needs thousands of steps to forget where it started. None for a network that is not
            to be trained: its batch normalisation is folded into its convolutions.
        class_names: What the classes are called, from label 1 on; None for numbers.
        dtype: Dtype policy, as "mixed_float16"; None for the global one.
        name: Name of the model.

    Attributes:
        anchors: (A, 4) NumPy float32, cxcywh. Not a weight: it follows from the layout.
        convention: The convention, with the layout of this network.
        class_names: Of the classes, a tuple, or None.

    Raises:
        ValueError: If an argument is unknown or the layout's maps cannot be made.

    Example:
        >>> SSD("digits224", num_classes=10, alpha=0.35).output["logits"].shape
        (None, 2884, 11)
    """

    def __init__(
        self,
        layout: AnchorLayout | str,
        num_classes: int,
        *,
        alpha: float = 1.0,
        head: Head = "ssd",
        convention: Convention = CANONICAL,
        batch_norm_momentum: float | None = 0.99,
        class_names: Sequence[str] | None = None,
        dtype: Any = None,
        name: str = "ssd",
    ) -> None:
        """Build the network; see the class."""
        layout = _checked_layout(layout)
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(
                "num_classes: expected 1 or more, background not counted. "
                f"Received: {num_classes!r}"
            )
        if head not in HEADS:
            raise ValueError(f"head: expected one of {list(HEADS)}. Received: {head!r}")
        if not isinstance(convention, Convention):
            raise ValueError(f"convention: expected a Convention. Received: {convention!r}")
        if class_names is not None and (
            isinstance(class_names, str) or len(class_names) != num_classes
        ):
            raise ValueError(
                f"class_names: expected {num_classes}, one a class. Received: {class_names!r}"
            )
        policy = keras.dtype_policies.get(dtype)

        images = keras.Input((*layout.image_size, 3), name="images")
        unit = partial(conv_unit, momentum=batch_norm_momentum, dtype=policy)
        separable = head == "ssdlite"
        taps = mobilenet_v2_features(images, alpha, batch_norm_momentum, dtype=policy)
        maps = feature_maps(taps, map_steps(layout), alpha, separable, unit)
        shapes_per_cell = [len(anchors.level_shapes(layout, level)) for level in range(len(maps))]
        by_shape = layout.order == "shape"
        outputs = {}
        for output, width in (("deltas", 4), ("logits", num_classes + 1)):
            flat = [
                head_output(
                    x, f"head_{level}_{output}", shapes, width, head, unit, policy, by_shape
                )
                for level, (x, shapes) in enumerate(zip(maps, shapes_per_cell, strict=True))
            ]
            # float32 under any policy: what follows is box mathematics and softmax.
            outputs[output] = layers.Concatenate(axis=1, dtype="float32", name=output)(flat)
        super().__init__(inputs=images, outputs=outputs, name=name)

        self.layout = layout
        self.num_classes = num_classes
        self.alpha = alpha
        self.head = head
        self.convention = dataclasses.replace(convention, layout=layout)
        self.batch_norm_momentum = batch_norm_momentum
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self.dtype_policy = policy  # what `compile` asks whether float16 gradients need scaling
        self.anchors = anchors.make_anchors(layout, dtype="float32")
        _check_threshold(convention.matching, self.anchors)  # which a compiled graph would not say
        if len(self.anchors) != outputs["deltas"].shape[1]:
            raise ValueError(
                f"layout: expected one anchor a head output, {outputs['deltas'].shape[1]}. "
                f"Received: {len(self.anchors)} anchors in {layout.name!r}"
            )
        # Compiled by itself: the network around it is not, on a CPU.
        self._assign = compiled(self._assign_targets)
        # Keras finds the two by attribute: shows them in `fit`, resets them each epoch.
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.box_loss = keras.metrics.Mean(name="box_loss")
        if not _xla_pays():
            self.jit_compile = False  # `predict` without `compile` asks for this

    # Training

    def compile(
        self,
        optimizer: Any = "adam",
        loss: None = None,
        *,
        jit_compile: Any = "auto",
        **options: Any,
    ) -> None:
        """Set up training; as `keras.Model.compile`, but the loss is the model's own.

        Args:
            optimizer: Name or instance.
            loss: Must stay None.
            jit_compile: True, False or "auto": whether XLA compiles the network. "auto" says no
                on a machine without accelerator.
            **options: Whatever else `keras.Model.compile` takes.

        Raises:
            ValueError: If a loss is given.
        """
        if loss is not None:
            raise ValueError(f"loss: expected None, SSD has its own. Received: {loss!r}")
        # On a CPU XLA must not compile the network: its convolutions there are not oneDNN's,
        # and a training step was measured 7 to 8 times slower. Keras 3.15's own "auto" agrees
        # on TensorFlow; earlier ones did not, so it is decided here.
        decided = False if jit_compile == "auto" and not _xla_pays() else jit_compile
        super().compile(optimizer, jit_compile=decided, **options)
        self._jit_choice = jit_compile
        # Made now, not by the first step: TensorFlow would trace the whole step a second time.
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile`; "auto" stays so, another machine may decide differently."""
        config = super().get_compile_config()
        return {**config, "jit_compile": self._jit_choice} if config else config

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile with the arguments in `config`."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """MultiBox loss of a batch (arXiv:1512.02325, equation 1).

        Args:
            x: Not looked at.
            y: {"boxes": (B, M, 4) corners, "labels": (B, M)}, and "crowds": (B, M) or not, of
                which targets are assigned here; or {"target_deltas": (B, A, 4), "target_labels":
                (B, A)} where that is done (`keras_impl.data.pipeline`).
            y_pred: {"deltas": (B, A, 4), "logits": (B, A, num_classes + 1)}.
            sample_weight: Must be None.
            training: Not looked at: the loss is the same in `evaluate`.

        Returns:
            Scalar float32: MultiBox and whatever regularisation the layers have.

        Raises:
            ValueError: If y lacks boxes or labels or has other shapes, or with sample weights; run
                eagerly, also an object or label that cannot be, which in a graph is padding.
        """
        if sample_weight is not None:
            raise ValueError(
                "sample_weight: not supported, the loss is normalised by the positives of the "
                f"whole batch. Received: {sample_weight!r}"
            )
        deltas, logits = (ops.cast(y_pred[key], "float32") for key in ("deltas", "logits"))
        wanted_deltas, wanted_labels = self._targets(y)
        predicted = None
        if self.convention.loss.mining_nms is not None:
            predicted = coding.decode(ops.stop_gradient(deltas), self.anchors, self.convention)
        parts = multibox.multibox_loss(
            deltas, logits, wanted_deltas, wanted_labels, self.convention, boxes=predicted
        )
        images = ops.shape(deltas)[0]
        self.class_loss.update_state(parts.class_loss, sample_weight=images)
        self.box_loss.update_state(parts.box_loss, sample_weight=images)
        return sum((ops.cast(ops.sum(extra), "float32") for extra in self.losses), parts.total)

    def _assign_targets(
        self, boxes: Any, labels: Any, anchors: Any, crowds: Any = None
    ) -> targets.Targets:
        return targets._assign(boxes, labels, anchors, self.convention, crowds)

    def _targets(self, y: Any) -> tuple[Any, Any]:
        """Deltas (B, A, 4) and labels (B, A) to be learned."""
        if isinstance(y, Mapping) and {"target_deltas", "target_labels"} <= set(y):
            deltas, labels = y["target_deltas"], y["target_labels"]
            anchors = len(self.anchors)
            shapes = [tuple(getattr(part, "shape", ())) for part in (deltas, labels)]
            if shapes[0][1:] != (anchors, 4) or shapes[1][1:] != (anchors,):
                raise ValueError(
                    f"y: expected 'target_deltas' of shape (B, {anchors}, 4) and 'target_labels' "
                    f"of shape (B, {anchors}). Received: {shapes[0]} and {shapes[1]}"
                )
            deltas = as_floats(deltas, "target_deltas", ...)
            labels = as_whole(labels, "target_labels", ...)
            return ops.cast(deltas, "float32"), ops.cast(labels, "int32")
        boxes, labels, crowds = _checked_targets(y)
        # float32 under any policy: at half precision an IoU is off by more than a threshold
        # is worth. The outputs are float32 already, unless another model made them.
        boxes = ops.cast(as_floats(boxes, "boxes", ...), "float32")
        labels = ops.cast(as_whole(labels, "labels", ...), "int32")
        # Looked at here, once: what is compiled below raises nothing.
        check_boxes(boxes, labels, self.convention)
        check_range(labels, "labels", PADDING, self.num_classes)
        labels = ops.where(ops.greater(labels, self.num_classes), PADDING, labels)
        arguments = [boxes, labels, ops.convert_to_tensor(self.anchors)]
        if crowds is not None:
            crowds = as_flags(crowds, "crowds", *tuple(labels.shape), whole=True)
            arguments.append(ops.cast(crowds, "bool"))
        assigned = self._assign(*arguments)
        return assigned.deltas, assigned.labels

    # Detection

    def detect(
        self, images: Any, *, batch_size: int = 32, **overrides: Any
    ) -> detection.Detections:
        """Find objects: `predict`, then decoding and suppression as the convention says.

        Args:
            images: (B, H, W, 3) images in [-1, 1].
            batch_size: Images at a time.
            **overrides: Single fields of the convention's coding, detection and overlap, as
                score_threshold=0.5.

        Returns:
            NumPy Detections: boxes (B, K, 4) corners, scores (B, K), labels (B, K) and anchors
            (B, K); label and anchor -1 where there are fewer than K.

        Raises:
            ValueError: If the images have another shape, or an override is unknown or cannot
                be.
            TypeError: If they are not floats.
        """
        images = ops.convert_to_numpy(as_floats(images, "images", ...))
        check_count(batch_size, "batch_size", 1)
        shape = images.shape
        if len(shape) != 4 or shape[1:] != self.input_shape[1:] or shape[0] == 0:
            raise ValueError(
                f"images: expected shape (batch, *{self.input_shape[1:]}). Received: {shape}"
            )
        parts = (self.convention.coding, self.convention.detection, self.convention.overlap)
        known = {field.name for part in parts for field in dataclasses.fields(part)}
        if unknown := overrides.keys() - known:
            raise ValueError(
                f"overrides: expected some of {sorted(known)}. Received: {sorted(unknown)}"
            )
        convention = self.convention.replace(**overrides)
        batches = []
        for start in range(0, shape[0], batch_size):
            found = self.predict(images[start : start + batch_size], batch_size, verbose=0)
            deltas, logits = (np.asarray(found[name], np.float32) for name in ("deltas", "logits"))
            batches.append(host_detection.detect(deltas, logits, self.anchors, convention))
        return detection.Detections(*map(np.concatenate, zip(*batches, strict=True)))

    # Saving

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this network again, layout and convention as plain dicts.

        The layout is the convention's too, and stands there once.
        """
        convention = dataclasses.asdict(self.convention)
        del convention["layout"]
        return {
            "layout": dataclasses.asdict(self.layout),
            "num_classes": self.num_classes,
            "alpha": self.alpha,
            "head": self.head,
            "convention": convention,
            "batch_norm_momentum": self.batch_norm_momentum,
            "class_names": None if self.class_names is None else list(self.class_names),
            "dtype": self.dtype_policy.name,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> SSD:
        """Make the network that `get_config` describes."""
        config = dict(config)
        layout = config.pop("layout")
        if isinstance(layout, Mapping):
            layout = revived(AnchorLayout, layout)
        if isinstance(config.get("convention"), Mapping):
            config["convention"] = revived(Convention, config["convention"])
        return cls(layout, **config)


def ssd_mobilenet_v2_300(
    num_classes: int = 90,
    *,
    class_names: Sequence[str] | None = None,
    batch_norm_momentum: float | None = 0.99,
) -> SSD:
    """TensorFlow's SSD on MobileNetV2, 300 x 300: 1917 anchors, 1x1 heads, sigmoid classes.

    research/object_detection of github.com/tensorflow/models, `ssd_mobilenet_v2_coco.config` and
    `models/ssd_mobilenet_v2_feature_extractor.py`: the backbone at width 1 with taps at
    `block_13_expand_relu` (19 x 19 x 576) and the last convolution (10 x 10 x 1280); four extra
    maps of 512, 256, 256 and 128 channels; three shapes a cell on the finest map, six above.

    Args:
        num_classes: Object classes; background comes on top. COCO's 90 if not given.
        class_names: What the classes are called, from label 1 on.
        batch_norm_momentum: Of `SSD`; None for the folded network that published files hold.

    Returns:
        An `SSD` that follows the convention `tf_od_ssd_mobilenet_v2`.

    Example:
        >>> ssd_mobilenet_v2_300(23).output["logits"].shape
        (None, 1917, 24)
    """
    convention = tf_od_ssd_mobilenet_v2()
    return SSD(
        convention.layout,
        num_classes,
        head="ssd1x1",
        convention=convention,
        batch_norm_momentum=batch_norm_momentum,
        class_names=class_names,
    )


def _checked_layout(layout: AnchorLayout | str) -> AnchorLayout:
    """The layout, looked up if it is a name."""
    if isinstance(layout, str) and layout in LAYOUTS:
        return LAYOUTS[layout]
    if not isinstance(layout, AnchorLayout):
        raise ValueError(
            f"layout: expected an AnchorLayout or one of {sorted(LAYOUTS)}. Received: {layout!r}"
        )
    return layout


def _checked_targets(y: Any) -> tuple[Any, Any, Any]:
    """Boxes, labels and crowds, or None, out of `y`."""
    if not isinstance(y, Mapping) or not {"boxes", "labels"} <= set(y):
        received = sorted(y) if isinstance(y, Mapping) else type(y).__name__
        raise ValueError(
            f"y: expected a dict of 'boxes' (B, M, 4) and 'labels' (B, M). Received: {received}"
        )
    boxes, labels = y["boxes"], y["labels"]
    shapes = [tuple(getattr(part, "shape", ())) for part in (boxes, labels)]
    if len(shapes[0]) != 3 or shapes[0][-1] != 4 or len(shapes[1]) != 2:
        raise ValueError(
            "y: expected 'boxes' of shape (B, M, 4) and 'labels' of shape (B, M). "
            f"Received: {shapes[0]} and {shapes[1]}"
        )
    return boxes, labels, y.get("crowds")


def _xla_pays() -> bool:
    """Whether "auto" may mean XLA: not on TensorFlow without an accelerator.

    JAX has no other way to be fast, and what PyTorch does is not XLA: Keras decides there.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    devices = keras.distribution.list_devices()
    return any(not device.startswith("cpu") for device in devices)
