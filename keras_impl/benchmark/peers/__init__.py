"""Other people's SSD matching and decoding, called as their users call them, for benchmarks.

What differs between them is kept out of the time measured: anchors, coders and graphs are made
once, NumPy arrays come in, and NumPy arrays come out when the work is done. Where a peer can do a
thing in several ways, the fastest is taken. How each differs from the reference stands in
its function; nobody's fault is repaired here unless results cannot be used without.

`numba` is no peer but a yardstick: how fast the reference's own arithmetic is, object by anchor,
when one core runs it compiled.

Packages are imported when a function is asked for, never before: in one process torchvision has to
come before TensorFlow (docs/peer-bugs.md), and best each peer has a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

from keras_impl.benchmark.peers.keras_hub import keras_hub_matcher
from keras_impl.benchmark.peers.kinds import Decoder, Floats, Matcher, Peer
from keras_impl.benchmark.peers.numba import numba_matcher
from keras_impl.benchmark.peers.opencv import opencv_decoder
from keras_impl.benchmark.peers.tf_image import tf_image_decoder
from keras_impl.benchmark.peers.torchvision import torchvision_decoder, torchvision_matcher
from reference_numpy.conventions import CANONICAL, Convention

__all__ = [
    "PEERS",
    "decoder",
    "installed",
    "matcher",
]

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
    """A peer's way from objects to targets, canonical but for where the peer differs.

    Args:
        name: One of `PEERS` that does "matching".
        anchors: (A, 4) float32, cxcywh.
        objects: M, rows an image.

    Returns:
        A function of (B, M, 4) float32 boxes in xyxy and (B, M) int32 labels, -1 where a
        row is padding, that returns `Matched`.

    Raises:
        ValueError: An unknown name, or a peer that does not match.
        ImportError: It is not installed.
    """
    makers: dict[str, Callable[[], Matcher]] = {
        "torchvision": lambda: torchvision_matcher(anchors),
        "keras_hub": lambda: keras_hub_matcher(anchors, objects),
        "keras_hub compiled": lambda: keras_hub_matcher(anchors, objects, compiled=True),
        "numba": lambda: numba_matcher(anchors),
    }
    _demand_operation(name, "matching")
    return makers[name]()


def decoder(name: str, anchors: Floats, convention: Convention) -> Decoder:
    """A peer's way from head outputs to detections.

    Args:
        name: One of `PEERS` that does "decoding".
        anchors: (A, 4) float32, cxcywh.
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
        "torchvision": torchvision_decoder,
        "tf_image": tf_image_decoder,
        "opencv": opencv_decoder,
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
    canonical = CANONICAL.replace(
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
