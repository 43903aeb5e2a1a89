"""The measurements of `ssd bench` on this machine, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from keras_impl.benchmark.loads import (
    ANCHOR_LOADS,
    DECODING_LOADS,
    EAGER_LOAD,
    FIRST_LOADS,
    IMAGE_LOADS,
    MANY_LOAD,
    NETWORK_LOAD,
    NEW_ARRAYS,
    OBJECT_LOADS,
    TRAINING_LOAD,
)

__all__ = [
    "Job",
    "Plan",
    "plan",
]

# By whether the run is `--quick`.
SECONDS = {False: 1.0, True: 0.25}  # seconds of rounds for each load
LIMIT = {False: 1170.0, True: 165.0}  # seconds for a run; the page comes after, within 20 and 3 min
TIME_IS_UP = "left out: the time limit was reached"


class Job(NamedTuple):
    """One measurement."""

    operation: str
    implementation: str
    mode: str
    load: str


@dataclass(frozen=True)
class Plan:
    """All measurements of a run.

    Attributes:
        timings: The timings. Those of one implementation and mode follow each other and share a
            process; our own results are checked.
        memory: The measurements of peak memory, each in its own process.
        seconds: Seconds for the rounds of one timing.
        limit: Seconds for the whole run. Measurements that have not begun by then are left out
            and reported.
        quick: Whether this is a `--quick` run.
    """

    timings: tuple[Job, ...]
    memory: tuple[Job, ...]
    seconds: float
    limit: float
    quick: bool = False


def plan(quick: bool = False) -> Plan:
    """Return the measurements of `ssd bench` on this machine.

    The reference and the host path come first, in case the run is cut short. A full run adds
    photographs, decoding in graphs, 100,000 objects, first calls and, for all implementations,
    loads of one image and memory.

    Args:
        quick: Plan for 3 minutes instead of 20.

    Returns:
        A plan with the peers that are installed.
    """
    from keras_impl.benchmark.peers import PEERS, installed

    everywhere = tuple(dict.fromkeys((*OBJECT_LOADS, *ANCHOR_LOADS, *IMAGE_LOADS)))
    most = tuple(dict.fromkeys((*OBJECT_LOADS, *ANCHOR_LOADS)))
    others = OBJECT_LOADS if quick else everywhere
    decoded = DECODING_LOADS[:2] if quick else DECODING_LOADS
    theirs = [
        peer for name, peer in PEERS.items() if installed(name) and (peer.as_used or not quick)
    ]

    readable = (*OBJECT_LOADS, "32x32x1917", *IMAGE_LOADS[:3], EAGER_LOAD)

    loads: list[tuple[str, str, str, Sequence[str]]] = [
        ("reference", "host", "matching", OBJECT_LOADS[1:2] if quick else readable),
        ("reference", "host", "decoding", decoded[:1] if quick else decoded),
        ("keras", "host", "matching", everywhere if quick else (*everywhere, MANY_LOAD)),
        (f"keras{NEW_ARRAYS}", "host", "matching", OBJECT_LOADS if quick else most),
        ("keras", "host", "decoding", decoded),
        ("keras", "host", "first_call", () if quick else FIRST_LOADS),
    ]
    for peer in theirs:
        for operation in peer.operations:
            chosen = {"matching": others, "decoding": decoded}.get(operation, ())
            loads.append((peer.name, peer.mode, operation, chosen))
    loads += [
        ("keras", "xla", "matching", others),
        ("keras", "graph", "network", (NETWORK_LOAD,)),
        ("keras", "graph", "targets_and_loss", (TRAINING_LOAD,)),
        ("keras", "graph", "training_step", (TRAINING_LOAD,)),
    ]
    if not quick:
        loads += [
            ("keras", "xla", "decoding", decoded),
            ("keras", "graph", "matching", everywhere),
            ("keras", "graph", "decoding", decoded),
            ("keras", "eager", "matching", (EAGER_LOAD,)),
        ]
    timings = [
        Job(operation, implementation, mode, load)
        for implementation, mode, operation, chosen in loads
        for load in chosen
    ]

    weighed = ANCHOR_LOADS[1:2] if quick else ANCHOR_LOADS
    memory = [("keras", "host"), ("keras", "xla")]
    if not quick:
        memory += [(f"keras{NEW_ARRAYS}", "host"), ("keras", "graph")]
        memory += [(peer.name, peer.mode) for peer in theirs if "matching" in peer.operations]
    return Plan(
        tuple(timings),
        tuple(Job("matching", *who, load) for load in weighed for who in memory),
        SECONDS[quick],
        LIMIT[quick],
        quick,
    )
