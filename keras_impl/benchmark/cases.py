"""For each operation: the call that is timed, and the check of its result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from keras_impl._common.arrays import Array
from keras_impl.benchmark.loads import (
    DECODING_BATCH,
    DECODING_OBJECTS,
    LAYOUTS,
    MANY_LOAD,
    NETWORK_LOAD,
    NEW_ARRAYS,
    SEED,
    TRAINING_LOAD,
    device_kind,
    sizes,
)
from keras_impl.benchmark.plan import Job
from reference_numpy import detection as reference_detection, targets as reference_targets
from reference_numpy.conventions import CANONICAL, SSD300, Convention, revived
from reference_numpy.testing.workloads import (
    DecodingWorkload,
    MatchingWorkload,
    decoding_workload,
    matching_workload,
)

__all__ = [
    "case_of",
    "device_of",
    "matching_case",
    "matching_work",
    "write_photographs",
]

CLOSE = 1e-4  # allowed difference, relative to the largest value: sums run in another order


def device_of(job: Job, request: Mapping[str, Any]) -> str:
    """Return the kind of device that a job runs on: "cpu", or TensorFlow's accelerator."""
    if request["device"] == "cpu" or job.mode == "host" or job.implementation != "keras":
        return "cpu"
    import keras

    kinds = [device_kind(name) for name in keras.distribution.list_devices()]
    return next((kind for kind in kinds if kind != "cpu"), "cpu")


class Case(NamedTuple):
    """A call to time, and its check.

    Attributes:
        call: Runs one round and returns when the result is ready.
        check: Raises AssertionError if the first result is wrong; returns how many images were
            excused. None if there is nothing to compare with.
        repeats: Whether every call returns the same.
    """

    call: Callable[[], Any]
    check: Callable[[Any], int] | None
    repeats: bool = True


def case_of(job: Job, request: Mapping[str, Any]) -> Case:
    """Make the inputs of a job and return its case."""
    if job.operation == "matching":
        # Memory is measured without copying the outputs to NumPy.
        return matching_case(job, matching_work(job.load), to_numpy=request["kind"] != "memory")
    if job.operation == "decoding":
        return _decoding(job, *_decoding_work(job.load, request["photographs"]))
    if job.operation == "network":
        return _network()
    return {"targets_and_loss": _targets_and_loss, "training_step": _training_step}[job.operation]()


def _in_mode(
    function: Callable[..., Any], mode: str, *arguments: Array, to_numpy: bool = True
) -> Callable[[], Any]:
    """Return a call of a function in a Keras mode, its arguments already on the device."""
    import keras

    from keras_impl.backends import in_mode

    call = in_mode(function, mode, to_numpy=to_numpy)
    return partial(call, *map(keras.ops.convert_to_tensor, arguments))


def _right(found: Any) -> int:
    """Accept every result: the check of the reference itself."""
    return 0


def matching_work(load: str) -> MatchingWorkload:
    """Make the boxes, labels and anchors of a load."""
    batch, objects, anchors = sizes(load)
    return matching_workload(LAYOUTS[anchors], batch, objects, SEED)


def matching_case(job: Job, work: MatchingWorkload, *, to_numpy: bool = True) -> Case:
    """Return the case for target assignment by the job's implementation."""
    from keras_impl.benchmark.correctness import check_targets

    boxes, labels, anchors = work
    if job.implementation == "reference":
        assign = reference_targets.assign_targets
        return Case(
            lambda: [assign(*image, anchors) for image in zip(boxes, labels, strict=True)],
            _right,
        )
    check = None
    if job.load != MANY_LOAD:
        check = partial(check_targets, work=work, excuse=job.mode == "xla")
    if job.implementation.startswith("keras") and job.mode == "host":
        from keras_impl.host.matching import TargetAssigner

        assigner = TargetAssigner(anchors)
        if job.implementation.endswith(NEW_ARRAYS):
            return Case(lambda: assigner.assign(boxes, labels), check)
        # The reused memory first holds the targets of other images, as in a pipeline.
        batch, objects = labels.shape
        others = matching_workload(LAYOUTS[len(anchors)], batch, objects, SEED + 1)
        held = assigner.assign(others.boxes, others.labels)

        def again() -> Any:
            nonlocal held
            held = assigner.assign(boxes, labels, out=held)
            return held

        return Case(again, check)
    if job.implementation == "keras":
        from keras_impl.ops.targets import assign_targets

        function = partial(assign_targets, anchors=anchors)
        return Case(_in_mode(function, job.mode, boxes, labels, to_numpy=to_numpy), check)
    from keras_impl.benchmark import peers

    matcher = peers.matcher(job.implementation, anchors, boxes.shape[1])
    yardstick = peers.PEERS[job.implementation].yardstick
    return Case(lambda: matcher(boxes, labels), check if yardstick else None)


def _decoding_work(load: str, photographs: str) -> tuple[DecodingWorkload, Convention]:
    if load != "photographs":
        work = decoding_workload(SSD300, DECODING_BATCH, DECODING_OBJECTS, seed=SEED, load=load)
        return work, CANONICAL
    with np.load(photographs, allow_pickle=False) as file:
        convention = revived(Convention, json.loads(str(file["convention"])))
        return DecodingWorkload(file["deltas"], file["logits"], file["anchors"]), convention


def _decoding(job: Job, work: DecodingWorkload, convention: Convention) -> Case:
    from keras_impl.benchmark.correctness import check_detections

    deltas, logits, anchors = work

    def by_reference() -> list[reference_detection.Detections]:
        return [
            reference_detection.detect(*image, anchors, convention)
            for image in zip(deltas, logits, strict=True)
        ]

    check = partial(check_detections, work=work, convention=convention)
    if job.implementation == "reference":
        return Case(by_reference, _right)
    if job.implementation == "keras" and job.mode == "host":
        from keras_impl.host import detection as host_detection

        return Case(partial(host_detection.detect, deltas, logits, anchors, convention), check)
    if job.implementation == "keras":
        from keras_impl.ops.detection import detect

        function = partial(detect, anchors=anchors, convention=convention)
        return Case(_in_mode(function, job.mode, deltas, logits), check)
    from keras_impl.benchmark import peers

    decoder = peers.decoder(job.implementation, anchors, convention)
    yardstick = peers.PEERS[job.implementation].yardstick
    return Case(lambda: decoder(deltas, logits), check if yardstick else None)


def write_photographs(path: str) -> None:
    """Write the head outputs of oidv4 on eight photographs to an .npz file.

    Its scores are sigmoids and its codes (ty, tx, th, tw); detections are kept by the canonical
    rules.
    """
    from keras_impl.data.photographs import sample_photographs
    from keras_impl.detector.detector import load_detector
    from keras_impl.images.pixels import prepare
    from keras_impl.images.reading import open_image

    detector = load_detector("oidv4")
    files = sample_photographs()
    images = np.stack(
        [
            prepare(open_image(files[index % len(files)]), detector.size)
            for index in range(DECODING_BATCH)
        ]
    )
    convention = replace(
        detector.convention,
        name="oidv4, kept as canonical",
        detection=CANONICAL.detection,
    )
    outputs = {name: np.asarray(value) for name, value in detector.heads(images).items()}
    np.savez(
        path,
        deltas=outputs["deltas"],
        logits=outputs["logits"],
        anchors=detector.anchors.astype(np.float32),
        convention=np.array(json.dumps(asdict(convention))),
    )


def _digit_model() -> Any:
    """Build the digit detector, untrained."""
    import keras

    from keras_impl.training.digits import digit_model
    from keras_impl.training.recipe import Recipe

    keras.utils.set_random_seed(SEED)
    return digit_model(Recipe())


def _digit_batch(count: int) -> tuple[Array, Array, Array]:
    """Make canvases of the shipped digits: images, boxes, labels."""
    from keras_impl.data.canvases import batch_images, canvas, collate
    from keras_impl.data.mnist import load_digits

    digits = load_digits("train")
    batch = collate([canvas(digits, "1-10", SEED, index) for index in range(count)])
    return batch_images(batch.images), batch.boxes, batch.labels


def _network() -> Case:
    """Return the case for the forward pass of the digit detector: one image, as a graph."""
    import keras

    model = _digit_model()
    images = _digit_batch(sizes(NETWORK_LOAD)[0])[0]
    forward = partial(model, training=False)

    def check(found: Any) -> int:
        for name, right in forward(images).items():
            right = keras.ops.convert_to_numpy(right)
            error = np.abs(found[name] - right).max()
            if found[name].shape != right.shape or not error <= CLOSE * np.abs(right).max():
                raise AssertionError(f"{name}: differs by {error} from the same model run eagerly")
        return 0

    return Case(_in_mode(forward, "graph", images), check)


def _targets_and_loss() -> Case:
    """Return the case for a training step without the network.

    It assigns targets and computes the loss and its gradient with respect to the head outputs.
    """
    from keras_impl.backends import gradients
    from reference_numpy.gradients import multibox_gradient

    model = _digit_model()
    batch, _, anchors = sizes(TRAINING_LOAD)
    _, boxes, labels = _digit_batch(batch)
    rng = np.random.default_rng(SEED)
    deltas = rng.normal(0, 0.5, (batch, anchors, 4)).astype(np.float32)
    logits = rng.normal(0, 2, (batch, anchors, model.num_classes + 1)).astype(np.float32)

    def step(deltas: Any, logits: Any, boxes: Any, labels: Any) -> Any:
        def loss(deltas: Any, logits: Any) -> Any:
            heads = {"deltas": deltas, "logits": logits}
            return model.compute_loss(y={"boxes": boxes, "labels": labels}, y_pred=heads)

        return gradients(loss)(deltas, logits)

    def check(found: Any) -> int:
        wanted = _reference_targets(boxes, labels, model)
        right = multibox_gradient(deltas, logits, wanted[1], wanted[0], model.convention)
        for name, mine, theirs in zip(("deltas", "logits"), found, right, strict=True):
            others = mine.any(axis=-1) != theirs.any(axis=-1)
            error = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
            if others.any() or not error <= CLOSE:
                raise AssertionError(
                    f"gradients with respect to {name} differ from the reference's: "
                    f"{others.sum()} anchors are zero in only one of both; largest relative "
                    f"difference {error:.2g}"
                )
        return 0

    return Case(_in_mode(step, "graph", deltas, logits, boxes, labels), check)


def _training_step() -> Case:
    """Return the case for one step of `fit`: network, loss, gradients, Adam."""
    import keras

    from reference_numpy.multibox import multibox_loss

    model = _digit_model()
    model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=10.0))
    images, boxes, labels = _digit_batch(sizes(TRAINING_LOAD)[0])
    # training=True, because the step too normalises by the statistics of the batch.
    said = {name: np.asarray(part) for name, part in model(images, training=True).items()}
    inputs, box, label = map(keras.ops.convert_to_tensor, (images, boxes, labels))

    def step() -> Any:
        return model.train_on_batch(inputs, {"boxes": box, "labels": label}, return_dict=True)

    def check(found: Any) -> int:
        wanted = _reference_targets(boxes, labels, model)
        right = multibox_loss(
            said["deltas"], said["logits"], wanted[1], wanted[0], model.convention
        )
        error = abs(float(found["loss"]) / float(right.total) - 1)
        if not error <= CLOSE:
            raise AssertionError(f"the first loss differs from the reference's by {error}")
        return 0

    return Case(step, check, repeats=False)


def _reference_targets(boxes: Array, labels: Array, model: Any) -> tuple[Array, Array]:
    """Return the reference's labels and deltas of a batch."""
    assign = reference_targets.assign_targets
    found = [
        assign(*image, model.anchors, model.convention) for image in zip(boxes, labels, strict=True)
    ]
    return np.stack([one.labels for one in found]), np.stack([one.deltas for one in found])
