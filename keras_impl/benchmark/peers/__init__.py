"""Other people's SSD matching and decoding, called as their users call them, for benchmarks.

What differs between them is kept out of the time measured: anchors, coders and graphs are made
once, NumPy arrays come in, and NumPy arrays come out when the work is done. Where a peer can do a
thing in several ways, the fastest is taken. What each does otherwise than the reference stands in
its function; nobody's fault is repaired here unless results cannot be used without.

`numba` is no peer but a yardstick: how fast the reference's own arithmetic is, object by anchor,
when one core runs it compiled.

Packages are imported when a function is asked for, never before: in one process torchvision has to
come before TensorFlow (docs/peer-bugs.md), and best each peer has a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference_numpy.boxes import area, centers_to_corners
from reference_numpy.conventions import CANONICAL, Convention

__all__ = ["PEERS", "Found", "Matched", "Peer", "decoder", "installed", "matcher"]

Array = NDArray[Any]
Floats = NDArray[np.float32]

PADDING = -1  # label of a row that is no object
SWAPPED = [1, 0, 3, 2]  # (x, y, x, y) ↔ (y, x, y, x), and codes alike


class Peer(NamedTuple):
    """Somebody who does what SSD needs.

    Attributes:
        name: As `matcher` and `decoder` know it.
        needs: Distributions that must be installed, as pip names them.
        operations: What it does of "matching" and "decoding".
        mode: How it runs: "host", "eager", "graph", or "xla", a graph that XLA compiles.
        yardstick: Whether it is our own arithmetic, compiled, and nobody's product.
        as_used: Whether its users run it so on a CPU.
    """

    name: str
    needs: tuple[str, ...]
    operations: tuple[str, ...]
    mode: str
    yardstick: bool = False
    as_used: bool = True


class Matched(NamedTuple):
    """Targets of B pictures with A anchors, as in `reference_numpy.targets`.

    Attributes:
        labels: (B, A) whole numbers, 0 for background.
        deltas: (B, A, 4) code of the anchor's object, 0 without one.
        objects: (B, A) index of the anchor's object, or -1.
    """

    labels: Array
    deltas: Array
    objects: Array


class Found(NamedTuple):
    """Detections of one picture, surest first.

    Attributes:
        boxes: (K, 4) corner form.
        scores: (K,) probability of the class.
        labels: (K,) class from 1.
    """

    boxes: Array
    scores: Array
    labels: Array


Matcher = Callable[[Array, Array], Matched]
Decoder = Callable[[Array, Array], list[Found]]

PEERS = {
    peer.name: peer
    for peer in (
        Peer("torchvision", ("torch", "torchvision"), ("matching", "decoding"), "eager"),
        Peer("keras_hub", ("keras-hub", "tensorflow"), ("matching",), "graph"),
        # Keras compiles nothing by itself on a CPU ("auto" means no there), nor does tf.data.
        Peer(
            "keras_hub compiled", ("keras-hub", "tensorflow"), ("matching",), "xla", as_used=False
        ),
        Peer("tf_image", ("tensorflow",), ("decoding",), "graph"),
        Peer("opencv", ("opencv-python-headless",), ("decoding",), "host"),
        Peer("numba", ("numba",), ("matching",), "host", yardstick=True),
    )
}


def installed(name: str) -> bool:
    """Whether all that a peer needs is there; nothing is imported to find out.

    Args:
        name: One of `PEERS`.

    Returns:
        True if every distribution of its `needs` is installed, in whatever version.

    Raises:
        ValueError: An unknown name.

    Example:
        >>> installed("ssd.pytorch")
        Traceback (most recent call last):
        ...
        ValueError: name: expected one of ['torchvision', ..., 'numba']. Received: 'ssd.pytorch'
    """
    for distribution in _peer(name).needs:
        try:
            metadata.version(distribution)
        except metadata.PackageNotFoundError:
            return False
    return True


def matcher(name: str, anchors: Floats, objects: int) -> Matcher:
    """A peer's way from objects to targets, canonical but for what the peer does otherwise.

    Args:
        name: One of `PEERS` that does "matching".
        anchors: (A, 4) float32, centre form.
        objects: M, rows a picture.

    Returns:
        A function of (B, M, 4) float32 boxes in corner form and (B, M) int32 labels, -1 where a
        row is padding, that returns `Matched`.

    Raises:
        ValueError: An unknown name, or a peer that does not match.
        ImportError: It is not installed.
    """
    makers: dict[str, Callable[[], Matcher]] = {
        "torchvision": lambda: _torchvision_matcher(anchors),
        "keras_hub": lambda: _keras_hub_matcher(anchors, objects),
        "keras_hub compiled": lambda: _keras_hub_matcher(anchors, objects, compiled=True),
        "numba": lambda: _numba_matcher(anchors),
    }
    _demand_operation(name, "matching")
    return makers[name]()


def decoder(name: str, anchors: Floats, convention: Convention) -> Decoder:
    """A peer's way from head outputs to detections.

    Args:
        name: One of `PEERS` that does "decoding".
        anchors: (A, 4) float32, centre form.
        convention: What the heads mean, and its thresholds and limits. All else that it says of
            detection has to be what `CANONICAL` says; not every peer obeys that.

    Returns:
        A function of (B, A, 4) float32 deltas and (B, A, C + 1) float32 logits that returns a
        list of B `Found`.

    Raises:
        ValueError: An unknown name, a peer that does not decode, or a convention that none of
            them has.
        ImportError: It is not installed.
    """
    makers = {
        "torchvision": _torchvision_decoder,
        "tf_image": _tf_image_decoder,
        "opencv": _opencv_decoder,
    }
    _demand_operation(name, "decoding")
    _demand_decodable(convention)
    return makers[name](anchors, convention)


def _peer(name: str) -> Peer:
    if name not in PEERS:
        raise ValueError(f"name: expected one of {list(PEERS)}. Received: {name!r}")
    return PEERS[name]


def _demand_operation(name: str, operation: str) -> None:
    if operation not in _peer(name).operations:
        able = [peer.name for peer in PEERS.values() if operation in peer.operations]
        raise ValueError(f"name: expected one of {able}, for {operation}. Received: {name!r}")


def _demand_decodable(convention: Convention) -> None:
    coding, rules = convention.coding, convention.detection
    canonical = CANONICAL.but(
        score_threshold=rules.score_threshold,
        candidates_per_class=rules.candidates_per_class,
        iou_threshold=rules.iou_threshold,
        max_detections=rules.max_detections,
    ).detection
    if rules != canonical:
        raise ValueError(
            "convention: expected a detection that differs from the canonical one in thresholds "
            f"and limits only. Received: {rules}"
        )
    if (coding.form, coding.background, coding.largest_exponent) != ("log", "first", None):
        raise ValueError(
            "convention: expected codes of the form 'log', background first, without a largest "
            f"exponent. Received: {coding}"
        )


class _Heads(NamedTuple):
    """What a decoder has to know, in the order of the code, which no suppression minds.

    Where codes are (ty, tx, th, tw), anchors and boxes are (y, x, y, x): only what is kept has to
    be turned round at the end, not all codes at the beginning.
    """

    anchors: Floats  # centre form
    variances: tuple[float, ...]
    softmax: bool
    candidates: int
    order: list[int]  # from the order of the code to (xmin, ymin, xmax, ymax)

    @classmethod
    def of(cls, anchors: Floats, convention: Convention) -> _Heads:
        order = SWAPPED if convention.coding.code_order == "yxhw" else [0, 1, 2, 3]
        most = convention.detection.candidates_per_class
        return cls(
            np.ascontiguousarray(anchors[:, order]),
            tuple(convention.coding.variances[place] for place in order),
            convention.loss.class_loss == "softmax",
            len(anchors) if most is None else most,
            order,
        )


# --- torchvision ----------------------------------------------------------------------------------


def _torchvision_matcher(anchors: Floats) -> Matcher:
    """Its SSD's matcher and coder, picture after picture, as in `SSD.forward` and `compute_loss`.

    As there, only anchors that have an object are encoded; that is also faster than all. Of two
    objects with the same best anchor the last one gets it, and the other one none.
    """
    import torch
    from torchvision.models.detection._utils import BoxCoder, SSDMatcher
    from torchvision.ops import box_iou

    rules = CANONICAL.matching
    corners = torch.from_numpy(centers_to_corners(anchors))
    match = SSDMatcher(rules.threshold)
    coder = BoxCoder(tuple(1 / variance for variance in CANONICAL.coding.variances))

    def call(boxes: Array, labels: Array) -> Matched:
        shape = (len(boxes), len(corners))
        all_labels = torch.zeros(shape, dtype=torch.int32)
        all_deltas = torch.zeros((*shape, 4))
        all_objects = torch.full(shape, -1)
        for picture, real in enumerate(labels != PADDING):
            if not real.any():  # as in SSD.forward
                continue
            box, label = (torch.from_numpy(part[picture][real]) for part in (boxes, labels))
            own = match(box_iou(box, corners))
            (positive,) = torch.where(own >= 0)
            object_ = own[positive]
            all_deltas[picture][positive] = coder.encode_single(box[object_], corners[positive])
            all_labels[picture][positive] = label[object_]
            all_objects[picture] = own
        return Matched(all_labels.numpy(), all_deltas.numpy(), all_objects.numpy())

    return torch.no_grad()(call)


def _torchvision_decoder(anchors: Floats, convention: Convention) -> Decoder:
    """`SSD.postprocess_detections` itself, of something that has what it looks at.

    It knows softmax only, to which sigmoid heads would say more than they do: on every anchor
    some class would score. So for them its code runs with sigmoid in the place of softmax. Where
    codes are larger than log(1000 / 16) it cuts them, as in its SSD.
    """
    import torch
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.ssd import SSD

    heads, rules = _Heads.of(anchors, convention), convention.detection
    corners = torch.from_numpy(centers_to_corners(heads.anchors))
    ssd = SimpleNamespace(
        box_coder=BoxCoder(tuple(1 / variance for variance in heads.variances)),
        score_thresh=rules.score_threshold,
        nms_thresh=rules.iou_threshold,
        topk_candidates=heads.candidates,
        detections_per_img=rules.max_detections,
    )
    process: Any = SSD.postprocess_detections
    if not heads.softmax:
        functional = SimpleNamespace(softmax=lambda logits, dim: torch.sigmoid(logits))
        process = FunctionType(process.__code__, {**process.__globals__, "F": functional})

    def call(deltas: Array, logits: Array) -> list[Found]:
        batch = len(deltas)
        said = {
            "bbox_regression": torch.from_numpy(deltas),
            "cls_logits": torch.from_numpy(logits),
        }
        # The picture is of size 1, so that boxes are relative to it.
        pictures = process(ssd, said, [corners] * batch, [(1, 1)] * batch)
        return [
            Found(
                one["boxes"].numpy()[:, heads.order], one["scores"].numpy(), one["labels"].numpy()
            )
            for one in pictures
        ]

    return torch.no_grad()(call)


# --- Keras and TensorFlow -------------------------------------------------------------------------


def _keras_hub_matcher(anchors: Floats, objects: int, compiled: bool = False) -> Matcher:
    """keras-hub's `BoxMatcher` between Keras' `compute_iou` and `encode_box_to_deltas`.

    As RetinaNet's label encoder puts them together, with every object forced on its best anchor.
    Forced matching gives an anchor to padding too, and even to a column beyond the last one
    (docs/peer-bugs.md). As a user must, boxes and labels get one more row of padding, and an
    anchor that was given to padding is background: the first one, if no object wants it most.

    Of two objects with the same best anchor the first one gets it, and the other one none.
    """
    import tensorflow as tf
    from keras.utils import bounding_boxes
    from keras_hub.layers import BoxMatcher

    corners = tf.constant(centers_to_corners(anchors))
    # A new list: the layer keeps it and adds to it.
    match = BoxMatcher([CANONICAL.matching.threshold], [0, 1], force_match_for_each_col=True)
    signature = [
        tf.TensorSpec((None, objects, 4), tf.float32),
        tf.TensorSpec((None, objects), tf.int32),
    ]

    # Not compiled by XLA, the matrices of every step go through memory, which takes four to nine
    # times as long (32 x 1 to 8 x 100 objects).
    @tf.function(input_signature=signature, jit_compile=compiled)
    def graph(boxes: Any, labels: Any) -> Any:
        overlap = bounding_boxes.compute_iou(corners, boxes, "xyxy")
        column, value = match(overlap)
        boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
        labels = tf.pad(labels, [[0, 0], [0, 1]], constant_values=PADDING)
        label = tf.gather(labels, column, batch_dims=1)
        deltas = bounding_boxes.encode_box_to_deltas(
            corners,
            tf.gather(boxes, column, batch_dims=1),
            anchor_format="xyxy",
            box_format="xyxy",
            encoding_format="center_xywh",
            variance=CANONICAL.coding.variances,
        )
        positive = (value == 1) & (label != PADDING)
        return (
            tf.where(positive, label, 0),
            tf.where(positive[..., None], deltas, 0.0),
            tf.where(positive, column, -1),
        )

    def call(boxes: Array, labels: Array) -> Matched:
        found = graph(tf.convert_to_tensor(boxes), tf.convert_to_tensor(labels))
        return Matched(*(part.numpy() for part in found))

    return call


def _tf_image_decoder(anchors: Floats, convention: Convention) -> Decoder:
    """Boxes and scores in TensorFlow, then `tf.image.combined_non_max_suppression`, in a graph.

    XLA does not compile it. It has no limit of candidates, so `candidates_per_class` limits what is
    kept of a class, and it cuts boxes to the picture after suppression, not before.
    """
    import tensorflow as tf

    heads, rules = _Heads.of(anchors, convention), convention.detection
    centers, sizes = tf.constant(heads.anchors[:, :2]), tf.constant(heads.anchors[:, 2:])
    variances = tf.constant(heads.variances, tf.float32)

    @tf.function
    def graph(deltas: Any, logits: Any) -> Any:
        scaled = deltas * variances
        center = centers + scaled[..., :2] * sizes
        half = tf.exp(scaled[..., 2:]) * sizes * 0.5
        boxes = tf.concat([center - half, center + half], axis=-1)
        scores = tf.nn.softmax(logits) if heads.softmax else tf.sigmoid(logits)
        return tf.image.combined_non_max_suppression(
            boxes[:, :, None],
            scores[..., 1:],
            max_output_size_per_class=heads.candidates,
            max_total_size=rules.max_detections,
            iou_threshold=rules.iou_threshold,
            score_threshold=rules.score_threshold,
            clip_boxes=True,
        )

    def call(deltas: Array, logits: Array) -> list[Found]:
        found = graph(tf.convert_to_tensor(deltas), tf.convert_to_tensor(logits))
        boxes, scores, classes, counts = (part.numpy() for part in found)
        boxes, labels = boxes[..., heads.order], classes.astype(np.int32) + 1
        return [
            Found(*(part[picture, :count] for part in (boxes, scores, labels)))
            for picture, count in enumerate(counts)
        ]

    return call


# --- OpenCV ---------------------------------------------------------------------------------------


def _opencv_decoder(anchors: Floats, convention: Convention) -> Decoder:
    """Boxes and scores in NumPy, as OpenCV's users do it, then its suppression class by class.

    `cv2.dnn.NMSBoxes`, not `NMSBoxesBatched`: that one compares boxes of all classes with each
    other, has one limit of candidates for all of them, and took seven times as long where heads are
    unsure, 44 times without a limit of our own.
    """
    import cv2

    heads, rules = _Heads.of(anchors, convention), convention.detection
    centers, sizes = heads.anchors[:, :2], heads.anchors[:, 2:]
    variances = np.array(heads.variances, np.float32)

    def call(deltas: Array, logits: Array) -> list[Found]:
        scaled = deltas * variances
        center = centers + scaled[..., :2] * sizes
        with np.errstate(over="ignore"):  # cut to the picture below
            half = np.exp(scaled[..., 2:]) * sizes * np.float32(0.5)
        low, high = (np.clip(part, 0, 1) for part in (center - half, center + half))
        if heads.softmax:
            scores = np.exp(logits - logits.max(axis=-1, keepdims=True))
            scores /= scores.sum(axis=-1, keepdims=True)
        else:
            with np.errstate(over="ignore"):  # 1 / infinity is 0
                scores = 1 / (1 + np.exp(-logits))
        return [suppress(*picture) for picture in zip(low, high, scores, strict=True)]

    def suppress(low: Array, high: Array, scores: Array) -> Found:
        boxes = np.concatenate([low, high], axis=-1)
        corner_and_size = np.concatenate([low, high - low], axis=-1).astype(np.float64)
        rows, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for column in range(1, scores.shape[1]):
            score = scores[:, column]
            above = np.flatnonzero(score > rules.score_threshold)
            if not above.size:
                continue
            kept = cv2.dnn.NMSBoxes(
                corner_and_size[above],
                score[above],
                rules.score_threshold,
                rules.iou_threshold,
                top_k=heads.candidates,
            )
            rows.append(above[np.asarray(kept, np.int64)])
            columns.append(np.full(len(kept), column))
        row, label = np.concatenate(rows), np.concatenate(columns)
        score = scores[row, label]
        order = np.argsort(-score, kind="stable")[: rules.max_detections]
        row = row[order]
        return Found(boxes[row][:, heads.order], score[order], label[order])

    return call


# --- the yardstick --------------------------------------------------------------------------------


def _numba_matcher(anchors: Floats) -> Matcher:
    """The reference's own arithmetic for every object and every anchor, compiled, on one core.

    Labels, objects and their order of ties are the reference's exactly. Results lie in memory that
    the next call with as many pictures writes again; so that it may take what it left there for
    granted, they cannot be written to.
    """
    assign = _numba_kernel()
    corners = centers_to_corners(anchors)
    count = len(anchors)
    # A side after the other, each where vectors begin.
    sides = np.zeros((5, -(-count // 64) * 64), np.float32)[:, :count]
    sides[:4], sides[4] = corners.T, area(corners)
    centers = np.ascontiguousarray(anchors)
    threshold = np.float32(CANONICAL.matching.threshold)
    reciprocals = np.array([1 / one for one in CANONICAL.coding.variances], np.float32)
    held: dict[int, Matched] = {}

    def call(boxes: Array, labels: Array) -> Matched:
        batch = len(boxes)
        if batch not in held:
            held.clear()
            held[batch] = Matched(
                np.zeros((batch, count), np.int32),
                np.zeros((batch, count, 4), np.float32),
                np.full((batch, count), -1, np.int32),
            )
        boxes, labels = np.ascontiguousarray(boxes), np.ascontiguousarray(labels)
        assign(boxes, labels, *sides, centers, threshold, reciprocals, *held[batch])
        found = Matched(*(part.view() for part in held[batch]))
        for part in found:
            part.flags.writeable = False
        return found

    return call


@lru_cache(maxsize=1)
def _numba_kernel() -> Callable[..., None]:
    """Compiled at its first call, once a process.

    Anchors are taken in tiles that stay in a near cache while all objects pass over them. The
    loops are such that LLVM turns them into vector instructions without being allowed to change
    the order of a sum: the largest of many floats it finds only among whole numbers, as which
    floats that are not negative have the same order.
    """
    from numba import njit

    compiled = njit(cache=False, fastmath=False, error_model="numpy")
    tile = 2048  # 40 kB of anchors, and 24 kB of what becomes of them

    @compiled
    def largest(bits):  # type: ignore[no-untyped-def]
        most = bits[0]
        for anchor in range(bits.shape[0]):
            most = bits[anchor] if bits[anchor] > most else most
        return most

    @compiled
    def first(bits, wanted):  # type: ignore[no-untyped-def]
        for anchor in range(bits.shape[0]):
            if bits[anchor] == wanted:
                return anchor
        return -1

    @compiled
    def visit(  # type: ignore[no-untyped-def]
        x1, y1, x2, y2, own, left, top, right, bottom, areas, row, index, best, objects
    ):
        """IoU of an object with some anchors, each given to it where it is better than before.

        Every operation is as `reference_numpy.boxes` has it. To visit again changes nothing.
        """
        zero = np.float32(0)
        for anchor in range(row.shape[0]):
            low_x = x1 if x1 > left[anchor] else left[anchor]
            low_y = y1 if y1 > top[anchor] else top[anchor]
            high_x = x2 if x2 < right[anchor] else right[anchor]
            high_y = y2 if y2 < bottom[anchor] else bottom[anchor]
            width, height = high_x - low_x, high_y - low_y
            width = width if width > zero else zero
            height = height if height > zero else zero
            common = width * height
            union = (own + areas[anchor]) - common
            overlap = common / union
            overlap = overlap if union > zero else zero
            before, whose = best[anchor], objects[anchor]
            row[anchor] = overlap
            best[anchor] = overlap if overlap > before else before
            objects[anchor] = index if overlap > before else whose

    @compiled
    def hide(row, owner):  # type: ignore[no-untyped-def]
        """Leave only anchors that nobody was forced on."""
        zero = np.float32(0)
        for anchor in range(row.shape[0]):
            row[anchor] = row[anchor] if owner[anchor] < 0 else zero

    @compiled
    def decide(best, owner, objects, threshold, told):  # type: ignore[no-untyped-def]
        """Write objects of some anchors over those of before; the largest of either."""
        most = nobody = np.int32(-1)
        for anchor in range(best.shape[0]):
            mine, forced, before = objects[anchor], owner[anchor], told[anchor]
            free = mine if best[anchor] >= threshold else nobody
            now = forced if forced >= 0 else free
            told[anchor] = now
            either = now if now > before else before
            most = either if either > most else most
        return most

    @compiled
    def assign(  # type: ignore[no-untyped-def]
        boxes,
        labels,
        left,
        top,
        right,
        bottom,
        areas,
        anchors,
        threshold,
        reciprocals,
        out_labels,
        out_deltas,
        out_objects,
    ):
        count, rows = areas.shape[0], labels.shape[1]
        zero, half = np.float32(0), np.float32(0.5)
        best = np.empty(count, np.float32)  # of each anchor
        objects = np.empty(count, np.int32)
        owner = np.empty(count, np.int32)  # who was forced on an anchor
        row = np.empty(tile, np.float32)
        bits = row.view(np.int32)
        most = np.empty(rows, np.int32)  # of each object: its best IoU, as bits
        where = np.empty(rows, np.int32)  # and on which anchor
        waits = np.empty(rows, np.bool_)
        own = np.empty(rows, np.float32)
        for picture in range(labels.shape[0]):
            best[:] = zero
            objects[:] = -1
            owner[:] = -1
            for index in range(rows):
                # An object that overlaps nothing is forced nowhere: 0 is no best IoU.
                most[index], where[index] = 0, -1
                width = boxes[picture, index, 2] - boxes[picture, index, 0]
                height = boxes[picture, index, 3] - boxes[picture, index, 1]
                own[index] = (width if width > zero else zero) * (height if height > zero else zero)

            for start in range(0, count, tile):
                stop = min(start + tile, count)
                size = stop - start
                for index in range(rows):
                    if labels[picture, index] == PADDING:
                        continue
                    visit(
                        boxes[picture, index, 0],
                        boxes[picture, index, 1],
                        boxes[picture, index, 2],
                        boxes[picture, index, 3],
                        own[index],
                        left[start:stop],
                        top[start:stop],
                        right[start:stop],
                        bottom[start:stop],
                        areas[start:stop],
                        row[:size],
                        np.int32(index),
                        best[start:stop],
                        objects[start:stop],
                    )
                    peak = largest(bits[:size])
                    if peak > most[index]:  # an equal one comes later
                        most[index], where[index] = peak, start + first(bits[:size], peak)

            # Where all like different anchors best, each object takes its own.
            contested = False
            for index in range(rows):
                if where[index] >= 0:
                    contested = contested or owner[where[index]] >= 0
                    owner[where[index]] = index
            if contested:
                owner[:] = -1
                for index in range(rows):
                    waits[index] = where[index] >= 0
            while contested:
                # The largest of all; a row whose best anchor is taken has to be looked at again,
                # and until then says more than it has.
                chosen = -1
                for index in range(rows):
                    if waits[index] and (chosen < 0 or most[index] > most[chosen]):
                        chosen = index
                if chosen < 0:
                    break
                if owner[where[chosen]] < 0:
                    owner[where[chosen]] = chosen
                    waits[chosen] = False
                    continue
                most[chosen] = 0
                for start in range(0, count, tile):
                    stop = min(start + tile, count)
                    size = stop - start
                    visit(
                        boxes[picture, chosen, 0],
                        boxes[picture, chosen, 1],
                        boxes[picture, chosen, 2],
                        boxes[picture, chosen, 3],
                        own[chosen],
                        left[start:stop],
                        top[start:stop],
                        right[start:stop],
                        bottom[start:stop],
                        areas[start:stop],
                        row[:size],
                        np.int32(chosen),
                        best[start:stop],
                        objects[start:stop],
                    )
                    hide(row[:size], owner[start:stop])
                    peak = largest(bits[:size])
                    if peak > most[chosen]:
                        most[chosen], where[chosen] = peak, start + first(bits[:size], peak)
                waits[chosen] = most[chosen] > 0

            small = 64
            for start in range(0, count, small):
                stop = min(start + small, count)
                told = decide(
                    best[start:stop],
                    owner[start:stop],
                    objects[start:stop],
                    threshold,
                    out_objects[picture, start:stop],
                )
                if told < 0:  # background, as it was: there is nothing to write
                    continue
                for anchor in range(start, stop):
                    index = out_objects[picture, anchor]
                    if index < 0:
                        out_labels[picture, anchor] = 0
                        for place in range(4):
                            out_deltas[picture, anchor, place] = zero
                        continue
                    out_labels[picture, anchor] = labels[picture, index]
                    for axis in range(2):
                        low = boxes[picture, index, axis]
                        high = boxes[picture, index, axis + 2]
                        unit = anchors[anchor, axis + 2]
                        shift = ((low + high) * half - anchors[anchor, axis]) / unit
                        stretch = np.log((high - low) / unit)
                        out_deltas[picture, anchor, axis] = shift * reciprocals[axis]
                        out_deltas[picture, anchor, axis + 2] = stretch * reciprocals[axis + 2]

    return assign
