"""Results of a benchmark run: records, and the targets judged by them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from keras_impl.benchmark.loads import (
    ANCHOR_LOADS,
    DECODING_LOADS,
    FIRST_LOADS,
    IMAGE_LOADS,
    MANY_LOAD,
    NEW_ARRAYS,
    OBJECT_LOADS,
    TRAINING_LOAD,
    sizes,
)

__all__ = [
    "Benchmark",
    "Key",
    "Record",
    "Target",
    "label",
    "targets",
    "with_ratios",
]


LABELS = {
    "keras host": "host (numba)",
    f"keras{NEW_ARRAYS} host": "host (numba, new arrays)",
    "numba host": "plain loops (numba)",
}


def label(implementation: str, mode: str) -> str:
    """Return the name of an implementation and mode, as people see it.

    Example:
        >>> label("keras", "host"), label("keras", "xla")
        ('host (numba)', 'keras xla')
    """
    name = f"{implementation} {mode}"
    return LABELS.get(name, name)


class Key(NamedTuple):
    """What was measured: operation, implementation, mode and load."""

    operation: str
    implementation: str
    mode: str
    load: str

    def __str__(self) -> str:
        return f"{self.operation} {self.load}, {label(self.implementation, self.mode)}"


@dataclass(frozen=True)
class Record:
    """One timing, with the fields of the JSON.

    Attributes:
        operation: One of `OPERATIONS`.
        implementation: "reference", "keras", or the name of a peer.
        mode: "host", "eager", "graph" or "xla".
        device: The device it ran on, "cpu" or an accelerator.
        load: Images x objects x anchors, as "32x8x8732"; for decoding "hard", "realistic" or
            "photographs"; for first calls "empty cache" or "warm cache".
        median_ms: Median of the rounds, in milliseconds.
        iqr_ms: Spread of the rounds: the interquartile range (IQR), in milliseconds.
        ratio_to_fastest_peer: Times faster than the fastest peer: its median over this one's, on
            the same load. None if no peer was timed on that load.
        peak_extra_bytes: Peak memory without inputs and outputs, in bytes; None if not measured.
        exact: Whether the result equals the reference's; None for peers.
    """

    operation: str
    implementation: str
    mode: str
    device: str
    load: str
    median_ms: float
    iqr_ms: float
    ratio_to_fastest_peer: float | None
    peak_extra_bytes: int | None
    exact: bool | None

    @property
    def key(self) -> Key:
        """The key of this record."""
        return Key(self.operation, self.implementation, self.mode, self.load)

    @property
    def label(self) -> str:
        """The name of the implementation and mode, with the device if it is an accelerator."""
        name = label(self.implementation, self.mode)
        return name if self.device == "cpu" else f"{name} ({self.device})"


class Target(NamedTuple):
    """A promise about speed or memory, and whether this run keeps it.

    Attributes:
        name: The quantity.
        wanted: The promised value.
        reached: The measured value; None if it was not measured.
        met: Whether the promise is kept; None if it was not measured.
    """

    name: str
    wanted: str
    reached: str | None
    met: bool | None


@dataclass(frozen=True)
class Benchmark:
    """The results of a whole run.

    Attributes:
        records: All timings, in the order of the operations.
        first_ms: For each timing the milliseconds of the first call, which traces and compiles.
        excused: For each timing the images in which a near-tie was decided differently, with a
            proof.
        failures: One sentence for each wrong result and each measurement that did not run.
        notes: One sentence for each measurement that was left out, with the reason.
        facts: The machine and the versions.
        peers: Names of the peers that were timed.
        quick: Whether this was a `--quick` run.
        seconds: Duration of the run.
        interrupted: Whether the user stopped the run.
    """

    records: tuple[Record, ...]
    first_ms: Mapping[Key, float] = field(default_factory=dict)
    excused: Mapping[Key, int] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    peers: tuple[str, ...] = ()
    quick: bool = False
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def passed(self) -> bool:
        """Whether everything ran and was right. A missed target is no failure."""
        return bool(self.records) and not self.failures

    @property
    def targets(self) -> list[Target]:
        """The targets, judged by the records."""
        return targets(self.records)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the records as JSON values."""
        return [asdict(record) for record in self.records]


def with_ratios(records: Sequence[Record], peers: Sequence[str]) -> list[Record]:
    """Return the records with `ratio_to_fastest_peer` filled in.

    Args:
        records: All timings of one run.
        peers: Names of the implementations that count as peers.

    Example:
        >>> def timed(who: str, ms: float) -> Record:
        ...     return Record("matching", who, "host", "cpu", "1x1x1917", ms, 0.0, None, None, None)
        >>> found = with_ratios([timed("keras", 2.0), timed("theirs", 8.0)], ["theirs"])
        >>> [record.ratio_to_fastest_peer for record in found]
        [4.0, 1.0]
    """
    fastest: dict[tuple[str, str], float] = {}
    for record in records:
        if record.implementation in peers:
            load = (record.operation, record.load)
            fastest[load] = min(record.median_ms, fastest.get(load, record.median_ms))
    return [
        replace(
            record,
            ratio_to_fastest_peer=fastest[record.operation, record.load] / record.median_ms
            if (record.operation, record.load) in fastest
            else None,
        )
        for record in records
    ]


def targets(records: Sequence[Record]) -> list[Target]:
    """Judge the targets for speed and memory by the records of one run.

    Args:
        records: All timings of the run, with ratios.

    Returns:
        All targets. A target has no verdict unless all of its loads were measured.
    """
    known = {record.key: record for record in records}

    def of(
        operation: str, load: str, mode: str = "host", implementation: str = "keras"
    ) -> Record | None:
        return known.get(Key(operation, implementation, mode, load))

    def ratio(operation: str, load: str, mode: str = "host") -> float | None:
        record = of(operation, load, mode)
        return record.ratio_to_fastest_peer if record else None

    def quotient(one: Record | None, other: Record | None) -> float | None:
        return one.median_ms / other.median_ms if one and other else None

    def milliseconds(operation: str, load: str) -> float | None:
        record = of(operation, load)
        return record.median_ms if record else None

    def peak(mode: str) -> float | None:
        record = of("matching", ANCHOR_LOADS[1], mode)
        return record.peak_extra_bytes if record else None

    def at_least(name: str, least: float, found: Sequence[float | None]) -> Target:
        worst = _worst(min, found)
        met = None if worst is None else worst >= least
        return Target(name, f"{_times(least)} or more", _shown(worst, _times), met)

    def at_most(
        name: str, most: float, found: Sequence[float | None], show: Callable[[float], str]
    ) -> Target:
        worst = _worst(max, found)
        met = None if worst is None else worst <= most
        return Target(name, f"{show(most)} or less", _shown(worst, show), met)

    small, large = (of("matching", load) for load in ANCHOR_LOADS[1:])
    images = [of("matching", load) for load in IMAGE_LOADS]
    batch, _, anchors = sizes(ANCHOR_LOADS[1])
    share = quotient(
        of("targets_and_loss", TRAINING_LOAD, "graph"), of("training_step", TRAINING_LOAD, "graph")
    )
    return [
        *(
            at_least(
                f"matching on the host, {load}: times faster than the fastest peer",
                least,
                [ratio("matching", load)],
            )
            for load, least in zip(OBJECT_LOADS, (50, 35, 25, 25), strict=True)
        ),
        at_least(
            "matching on the host: times faster than plain loops compiled by numba",
            3,
            [
                quotient(of("matching", load, implementation="numba"), of("matching", load))
                for load in OBJECT_LOADS
            ],
        ),
        at_least(
            "matching in a graph (XLA): times faster than KerasHub's under XLA",
            1,
            [
                quotient(
                    of("matching", load, "xla", "keras_hub compiled"), of("matching", load, "xla")
                )
                for load in OBJECT_LOADS
            ],
        ),
        at_most(
            "matching on the host: time for 24564 anchors relative to 8732 (32 x 32 objects)",
            1.2,
            [quotient(large, small)],
            _times,
        ),
        at_most(
            "matching on the host: time for ten times the objects in one image (1 to 1000)",
            10,
            [quotient(more, less) for less, more in itertools.pairwise(images)],
            _times,
        ),
        at_most(
            "matching on the host: time for 100000 objects in one image",
            1e3,
            [milliseconds("matching", MANY_LOAD)],
            _seconds,
        ),
        *(
            at_most(
                f"host path: import and first calls, {load} of numba",
                most,
                [milliseconds("first_call", load)],
                _seconds,
            )
            for load, most in zip(FIRST_LOADS, (15e3, 300), strict=True)
        ),
        at_most("matching on the host: extra memory (32x32x8732)", 3e6, [peak("host")], _megabytes),
        at_most(
            "matching in a graph (XLA): extra memory (32x32x8732)",
            batch * anchors * 16,
            [peak("xla")],
            _megabytes,
        ),
        *(
            at_least(
                f"decoding on the host, {load}: times faster than the fastest peer",
                least,
                [ratio("decoding", load)],
            )
            for load, least in zip(DECODING_LOADS, (5, 6.5, 2), strict=True)
        ),
        at_most(
            "training step: share of target assignment and loss",
            0.03,
            [share],
            _percent,
        ),
    ]


def _worst(choose: Callable[..., float], found: Sequence[float | None]) -> float | None:
    """Return the worst value, or None unless all values are known."""
    known = [value for value in found if value is not None]
    return choose(known) if len(known) == len(found) else None


def _shown(value: float | None, show: Callable[[float], str]) -> str | None:
    return None if value is None else show(value)


def _times(value: float) -> str:
    return f"{value:.3g}x"


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.3g} s"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.3g} MB"
