"""SSD matching and decoding of other libraries (peers), for benchmarks.

Peers are called as their users call them. Set-up is not timed: anchors, coders and graphs are made
once. NumPy arrays go in, and NumPy arrays come out when the work is done. If a peer offers several
ways, the fastest is used. The docstring of each function says how the peer differs from the
reference. Bugs of a peer stay, unless its results are unusable without a repair.

`numba` is no peer but a yardstick: the reference's own arithmetic for every object and anchor,
compiled, on one core.

A peer's packages are imported only when its function is asked for: torchvision must be imported
before TensorFlow (docs/peer-bugs.md), so each peer should have its own process.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

from keras_impl.benchmark.peers.dali import dali_matcher
from keras_impl.benchmark.peers.keras_hub import keras_hub_matcher
from keras_impl.benchmark.peers.kinds import Decoder, Floats, Matcher, Peer
from keras_impl.benchmark.peers.numba import numba_matcher
from keras_impl.benchmark.peers.opencv import opencv_decoder
from keras_impl.benchmark.peers.openvino import openvino_decoder
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
        # On a CPU, Keras does not compile by default ("auto" means no), and neither does tf.data.
        Peer(
            "keras_hub compiled", ("keras-hub", "tensorflow"), ("matching",), "xla", as_used=False
        ),
        # Its pipeline is a graph of operators.
        Peer("dali", ("nvidia-dali-cuda120",), ("matching",), "graph"),
        Peer("tf_image", ("tensorflow",), ("decoding",), "graph"),
        Peer("opencv", ("opencv-python-headless",), ("decoding",), "host"),
        Peer("openvino", ("openvino",), ("decoding",), "graph"),
        Peer("numba", ("numba",), ("matching",), "host", yardstick=True),
    )
}


def installed(name: str) -> bool:
    """Return whether the packages of a peer are installed, without importing them.

    Args:
        name: One of `PEERS`.

    Returns:
        True if every distribution in its `needs` is installed, in any version.

    Raises:
        ValueError: `name` is unknown.

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
    """Return a peer's function from objects to targets.

    It follows the canonical convention where the peer can.

    Args:
        name: One of `PEERS` whose operations include "matching".
        anchors: (A, 4) float32, cxcywh.
        objects: M, the number of object rows per image.

    Returns:
        A function of (B, M, 4) float32 boxes in xyxy and (B, M) int32 labels, -1 in padding
        rows, that returns `Matched`.

    Raises:
        ValueError: `name` is unknown, or the peer does no matching.
        ImportError: The peer is not installed.
    """
    makers: dict[str, Callable[[], Matcher]] = {
        "torchvision": lambda: torchvision_matcher(anchors),
        "keras_hub": lambda: keras_hub_matcher(anchors, objects),
        "keras_hub compiled": lambda: keras_hub_matcher(anchors, objects, compiled=True),
        "dali": lambda: dali_matcher(anchors),
        "numba": lambda: numba_matcher(anchors),
    }
    _demand_operation(name, "matching")
    return makers[name]()


def decoder(name: str, anchors: Floats, convention: Convention) -> Decoder:
    """Return a peer's function from head outputs to detections.

    Args:
        name: One of `PEERS` whose operations include "decoding".
        anchors: (A, 4) float32, cxcywh.
        convention: How to read the heads, with thresholds and limits. All its other detection
            rules must be those of `CANONICAL`, although not every peer follows them.

    Returns:
        A function of (B, A, 4) float32 deltas and (B, A, C + 1) float32 logits that returns a
        list of B `Found`.

    Raises:
        ValueError: `name` is unknown, the peer does no decoding, or no peer supports the
            convention.
        ImportError: The peer is not installed.
    """
    makers = {
        "torchvision": torchvision_decoder,
        "tf_image": tf_image_decoder,
        "opencv": opencv_decoder,
        "openvino": openvino_decoder,
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
            "convention: expected detection rules that differ from the canonical ones only in "
            f"thresholds and limits. Received: {rules}"
        )
    if (coding.form, coding.background, coding.largest_exponent) != ("log", "first", None):
        raise ValueError(
            "convention: expected codes of the form 'log', background first, without a largest "
            f"exponent. Received: {coding}"
        )
