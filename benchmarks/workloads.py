"""The grid of loads and runners; `reference_numpy.testing.workloads` makes the inputs.

The name of a load is images x objects x anchors, as in "8x32x8732".
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import pytest

from keras_impl.benchmark.peers import PEERS, installed
from reference_numpy.anchors import make_anchors
from reference_numpy.conventions import LAYOUTS
from reference_numpy.testing import workloads

SEED = 0
ANCHORS = ("ssd_mobilenet300", "ssd300")  # layouts of 1917 and 8732 anchors
OBJECTS = (1, 8, 32, 100)
# One image, as from a camera; a small and a large batch, as in training. Decoding 32 images at once
# is rare, and compiling it takes seconds.
BATCHES = {"matching": (1, 8, 32), "decoding": (1, 8), "decoding-hard": (1, 8)}
# If the heads are unsure everywhere, the number of objects does not matter.
HARD_OBJECTS = (8,)
# In eager mode Python calls every operation of every loop step: up to seconds per image.
LARGEST_EAGER_BATCH = 1


class Load(NamedTuple):
    """One size of one operation; for the network `objects` is None."""

    operation: str
    layout: str
    objects: int | None
    batch: int

    @property
    def anchors(self) -> int:
        return len(make_anchors(LAYOUTS[self.layout]))

    def __str__(self) -> str:
        sizes = (self.batch, self.objects, self.anchors)
        return "x".join(str(size) for size in sizes if size is not None)


class Runner(NamedTuple):
    """An implementation and its mode."""

    implementation: str
    mode: str

    def __str__(self) -> str:
        return f"{self.implementation} {self.mode}"


REFERENCE = Runner("reference", "host")
OURS = (REFERENCE, *(Runner("keras", mode) for mode in ("host", "eager", "graph", "xla")))
# Other libraries, if installed: `tox run -e bench-peers`.
THEIRS = tuple(Runner(name, peer.mode) for name, peer in PEERS.items() if installed(name))
RUNNERS = (*OURS, *THEIRS)

NETWORK = Load("network", "digits224", None, 1)


def loads(operation: str) -> list[Load]:
    objects = HARD_OBJECTS if operation == "decoding-hard" else OBJECTS
    return [
        Load(operation, layout, count, batch)
        for layout in ANCHORS
        for count in objects
        for batch in BATCHES[operation]
    ]


def does(runner: Runner, operation: str) -> bool:
    """Return whether a runner has an operation; TensorFlow, for example, has no matching."""
    if runner in OURS:
        return True
    return operation.partition("-")[0] in PEERS[runner.implementation].operations


def grid(*operations: str) -> pytest.MarkDecorator:
    """Parametrise a test by `load` and `runner`; all runners of a load follow each other."""
    return pytest.mark.parametrize(
        ("load", "runner"),
        [
            pytest.param(
                load, runner, id=f"{load.operation}-{load}-{str(runner).replace(' ', '-')}"
            )
            for operation in operations
            for load in loads(operation)
            for runner in RUNNERS
            if does(runner, operation)
            and (runner not in OURS or runner.mode != "eager" or load.batch <= LARGEST_EAGER_BATCH)
        ],
    )


def is_quick(load: Load) -> bool:
    """Return whether `--benchmark-disable`, which checks without timing, runs a load."""
    return load.objects is None or (load.layout, load.objects, load.batch) == (ANCHORS[0], 8, 1)


# All runners of a load share its inputs; the cache holds one load at a time.


@lru_cache(maxsize=1)
def matching_work(load: Load) -> workloads.MatchingWorkload:
    return workloads.matching_workload(LAYOUTS[load.layout], load.batch, load.objects, SEED)


@lru_cache(maxsize=1)
def decoding_work(load: Load) -> workloads.DecodingWorkload:
    return workloads.decoding_workload(
        LAYOUTS[load.layout],
        load.batch,
        load.objects,
        seed=SEED,
        load="hard" if load.operation == "decoding-hard" else "realistic",
    )
