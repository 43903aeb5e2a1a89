"""SSD on MobileNetV2 as an ordinary Keras model (arXiv:1512.02325, arXiv:1801.04381 section 6.2).

The backbone computes maps of stride 8, 16 and 32, of which the layout chooses; a few smaller
extra maps follow. Two heads on each map predict, for every anchor, the box relative to it
(deltas) and the class (logits). `fit` takes padded boxes and labels: targets are assigned inside
the graph, so data sets do not depend on the anchors.
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
from keras_impl.models import decoding
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
    """A detector: predicts box deltas and class logits for every anchor.

    Input: (B, H, W, 3) images in [-1, 1], of the layout's size.

    Output: {"deltas": (B, A, 4), "logits": (B, A, num_classes + 1)}, float32. Anchors are in the
    layout's order, by default level, row, column, shape; by default class 0 is background.

    Targets of `fit` and `evaluate`: {"boxes": (B, M, 4) xyxy relative to the image, "labels":
    (B, M) from 1 to `num_classes`, or -1 for padding}, and optionally "crowds": (B, M), True for
    a crowd or a difficult object.

    The model computes its own loss, so `compile` takes an optimizer and no loss. `fit` reports
    `class_loss` and `box_loss` beside the total.

    Args:
        layout: An `AnchorLayout`, or the name of one in `LAYOUTS`.
        num_classes: Number of object classes, without background.
        alpha: Width multiplier of the backbone and the extra maps.
        head: "ssd" for 3x3 convolutions in extra maps and heads; "ssd1x1" for 1x1 heads, as in
            TensorFlow's SSD on MobileNet; "ssdlite" for depthwise separable convolutions in
            place of every 3x3.
        convention: Rules for overlap, matching, coding, loss and detection. `layout` replaces
            its layout.
        batch_norm_momentum: Momentum of the running batch statistics. MobileNetV2's own .999
            needs thousands of steps to forget the initial statistics. None for a network that
            is not trained: its batch normalisation is folded into its convolutions.
        class_names: Names of the classes, from label 1 on; None for numbers.
        dtype: Dtype policy, such as "mixed_float16"; None for the global one.
        name: Name of the model.

    Attributes:
        anchors: (A, 4) cxcywh, a float32 NumPy array. Not a weight: the layout determines it.
        convention: The convention, with the layout of this network.
        class_names: Names of the classes as a tuple, or None.

    Raises:
        ValueError: An argument is invalid, or the layout's maps cannot be computed.

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
        num_classes, alpha = _plain(num_classes), _plain(alpha)
        batch_norm_momentum = _plain(batch_norm_momentum)
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
                f"class_names: expected {num_classes} names, one for each class. "
                f"Received: {class_names!r}"
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
            # float32 under any dtype policy: box mathematics and softmax need the precision.
            outputs[output] = layers.Concatenate(axis=1, dtype="float32", name=output)(flat)
        super().__init__(inputs=images, outputs=outputs, name=name)

        self.layout = layout
        self.num_classes = num_classes
        self.alpha = alpha
        self.head = head
        self.convention = dataclasses.replace(convention, layout=layout)
        self.batch_norm_momentum = batch_norm_momentum
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self.dtype_policy = policy  # `compile` reads it, to scale float16 gradients
        self.anchors = anchors.make_anchors(layout, dtype="float32")
        # Checked here, because a compiled graph cannot raise the error.
        _check_threshold(convention.matching, self.anchors)
        if len(self.anchors) != outputs["deltas"].shape[1]:
            raise ValueError(
                f"layout: expected {outputs['deltas'].shape[1]} anchors, one for each head output. "
                f"Received: {len(self.anchors)} anchors in {layout.name!r}"
            )
        # Compiled separately, because on a CPU the network around it is not compiled.
        self._assign = compiled(self._assign_targets)
        # Keras finds these metrics as attributes, reports them in `fit` and resets them each epoch.
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.box_loss = keras.metrics.Mean(name="box_loss")
        if not _xla_pays():
            self.jit_compile = False  # `predict` without `compile` reads this

    # Training

    def compile(
        self,
        optimizer: Any = "adam",
        loss: None = None,
        *,
        jit_compile: Any = "auto",
        **options: Any,
    ) -> None:
        """Configure training, like `keras.Model.compile`, but with the model's own loss.

        Args:
            optimizer: Name or instance.
            loss: Must be None.
            jit_compile: True, False or "auto": whether XLA compiles the network. "auto" means
                False on TensorFlow without an accelerator; otherwise Keras decides.
            **options: Other arguments of `keras.Model.compile`.

        Raises:
            ValueError: A loss or `loss_weights` are given.
        """
        if loss is not None:
            raise ValueError(f"loss: expected None, since SSD has its own. Received: {loss!r}")
        if (weights := options.get("loss_weights")) is not None:
            raise ValueError(
                "loss_weights: expected None; the `box_weight` of the convention weighs the box "
                f"loss. Received: {weights!r}"
            )
        # On a CPU XLA must not compile the network: it does not use oneDNN's convolutions there,
        # and a training step was measured 7 to 8 times slower. On TensorFlow the "auto" of Keras
        # 3.15 decides the same; that of earlier versions did not, so it is decided here.
        decided = False if jit_compile == "auto" and not _xla_pays() else jit_compile
        super().compile(optimizer, jit_compile=decided, **options)
        self._jit_choice = jit_compile
        # Create the optimizer's variables now. If the first step creates them, TensorFlow traces
        # the whole step a second time.
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile`; "auto" is kept, for another machine to decide."""
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
        """Compute the MultiBox loss of a batch (arXiv:1512.02325, equation 1).

        Args:
            x: Ignored.
            y: One of two forms. {"boxes": (B, M, 4) xyxy, "labels": (B, M)} and optionally
                "crowds": (B, M): targets are assigned here. {"target_deltas": (B, A, 4),
                "target_labels": (B, A)}: targets are already assigned, as by
                `keras_impl.data.pipeline`.
            y_pred: {"deltas": (B, A, 4), "logits": (B, A, num_classes + 1)}.
            sample_weight: Must be None.
            training: Ignored: the loss is the same in `evaluate`.

        Returns:
            Scalar float32: the MultiBox loss plus the layers' regularisation losses, if any.

        Raises:
            ValueError: `y` lacks boxes or labels, or has wrong shapes; sample weights are given;
                or, in an eager call, a box or label is invalid. In a graph, an invalid object
                counts as padding.
        """
        if sample_weight is not None:
            raise ValueError(
                "sample_weight: expected None, since the loss is normalised by the positives of "
                f"the whole batch. Received: {sample_weight!r}"
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
        """Return the target deltas (B, A, 4) and target labels (B, A)."""
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
        # float32 under any dtype policy: in half precision, rounding errors of the IoU are too
        # large to compare it with a threshold.
        boxes = ops.cast(as_floats(boxes, "boxes", ...), "float32")
        labels = ops.cast(as_whole(labels, "labels", ...), "int32")
        # Checked here, once: the compiled code below cannot raise errors.
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
        """Detect objects: run `predict`, then decode boxes and suppress overlapping ones.

        Args:
            images: (B, H, W, 3) images in [-1, 1].
            batch_size: Number of images predicted at a time.
            **overrides: Overrides of single fields of the convention's coding, detection and
                overlap, such as `score_threshold=0.5`.

        Returns:
            `Detections` of NumPy arrays: boxes (B, K, 4) xyxy, scores (B, K), labels (B, K)
            and anchors (B, K). In unused slots, label and anchor are -1.

        Raises:
            ValueError: Images have the wrong shape, or an override is unknown or invalid.
            TypeError: Images are not floats.
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
            batches.append(decoding.detect(deltas, logits, self.anchors, convention))
        return detection.Detections(*map(np.concatenate, zip(*batches, strict=True)))

    # Saving

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild this network, layout and convention as plain dicts.

        The convention's layout is left out: it equals `layout`.
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
        """Build the network that `get_config` describes."""
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
    """Build TensorFlow's SSD on MobileNetV2, 300 x 300: 1917 anchors, 1x1 heads, sigmoid classes.

    It follows `ssd_mobilenet_v2_coco.config` and `models/ssd_mobilenet_v2_feature_extractor.py` in
    research/object_detection of github.com/tensorflow/models:

    - the backbone at width 1, with taps at `block_13_expand_relu` (19 x 19 x 576) and the last
      convolution (10 x 10 x 1280);
    - four extra maps of 512, 256, 256 and 128 channels;
    - three anchors a cell on the finest map, six on the others.

    Args:
        num_classes: Number of object classes, without background; COCO has 90.
        class_names: Names of the classes, from label 1 on; None for numbers.
        batch_norm_momentum: As in `SSD`; None for the folded network of published files.

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


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, which JSON takes."""
    return value.item() if isinstance(value, np.generic) else value


def _checked_layout(layout: AnchorLayout | str) -> AnchorLayout:
    """Return the layout; look it up if a name is given."""
    if isinstance(layout, str) and layout in LAYOUTS:
        return LAYOUTS[layout]
    if not isinstance(layout, AnchorLayout):
        raise ValueError(
            f"layout: expected an AnchorLayout or one of {sorted(LAYOUTS)}. Received: {layout!r}"
        )
    return layout


def _checked_targets(y: Any) -> tuple[Any, Any, Any]:
    """Return the boxes, labels and crowds (or None) of `y`."""
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
    """Check whether "auto" may use XLA: not on TensorFlow without an accelerator.

    On other backends Keras decides: JAX is fast only with XLA, and PyTorch does not use it.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    devices = keras.distribution.list_devices()
    return any(not device.startswith("cpu") for device in devices)
