"""What comes out of a run: records, targets, and both beside each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from keras_impl.benchmark.loads import (
    ANCHOR_LOADS,
    DECODING_LOADS,
    IMAGE_LOADS,
    OBJECT_LOADS,
    TRAINING_LOAD,
    sizes,
)

__all__ = [
    "Benchmark",
    "Key",
    "Record",
    "Target",
    "targets",
    "with_ratios",
]


class Key(NamedTuple):
    """What a record is about."""

    operation: str
    implementation: str
    mode: str
    load: str

    def __str__(self) -> str:
        return f"{self.operation} {self.load}, {self.implementation} {self.mode}"


@dataclass(frozen=True)
class Record:
    """One timing, as the JSON has it.

    Attributes:
        operation: One of `OPERATIONS`.
        implementation: "reference", "keras", or the name of a peer.
        mode: "host", "eager", "graph" or "xla".
        device: Where it ran.
        load: Images x objects x anchors, as "32x8x8732"; for decoding "hard", "realistic" or
            "photographs".
        median_ms: Median of the rounds.
        iqr_ms: Between their quartiles.
        ratio_to_fastest_peer: How many times as fast as the fastest peer on the same load; None
            if no peer was timed on it.
        peak_extra_bytes: Memory at the peak beyond inputs and outputs; None if not measured.
        exact: Whether the result is the reference's; None for peers.
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
        """What it is about."""
        return Key(self.operation, self.implementation, self.mode, self.load)


class Target(NamedTuple):
    """Something that was promised.

    Attributes:
        name: What.
        wanted: How much of it.
        reached: How much there is; None if it was not measured.
        met: Whether that is enough; None if it was not measured.
    """

    name: str
    wanted: str
    reached: str | None
    met: bool | None


@dataclass(frozen=True)
class Benchmark:
    """All that a run found out.

    Attributes:
        records: In the order of the operations.
        first_ms: Of the first call of each, which traces and compiles.
        excused: Images of each in which a near-tie was decided differently, with a proof.
        failures: What was wrong or did not run, a sentence each.
        notes: What was left out and why, likewise.
        facts: The machine, and the versions.
        peers: Names of the peers that were timed.
        quick: Whether this was the short form.
        seconds: How long it took.
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

    @property
    def passed(self) -> bool:
        """Whether everything ran, and nothing was wrong. That a target is missed is no failure."""
        return bool(self.records) and not self.failures

    @property
    def targets(self) -> list[Target]:
        """What was promised, beside what was reached."""
        return targets(self.records)

    def as_json(self) -> list[dict[str, Any]]:
        """The records for machines."""
        return [asdict(record) for record in self.records]


def with_ratios(records: Sequence[Record], peers: Sequence[str]) -> list[Record]:
    """Records beside the fastest of these peers on the same load.

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
    """What was promised of speed and memory, beside what was reached.

    Args:
        records: Of one run, with ratios.

    Returns:
        One target each; those whose loads were not all measured have no verdict.
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
        at_least(
            "matching on the host, beside the fastest peer",
            20,
            [ratio("matching", load) for load in OBJECT_LOADS],
        ),
        at_least(
            "matching on the host, beside the same loops compiled by numba",
            1,
            [
                quotient(of("matching", load, implementation="numba"), of("matching", load))
                for load in OBJECT_LOADS
            ],
        ),
        at_least(
            "matching in a graph (XLA), beside the fastest peer",
            4,
            [ratio("matching", load, "xla") for load in OBJECT_LOADS],
        ),
        at_most(
            "time of matching on the host, 24564 anchors over 8732 (32 x 32 objects)",
            1.3,
            [quotient(large, small)],
            _times,
        ),
        at_most(
            "time of matching on the host for ten times the objects of one image, 1 to 1000",
            10,
            [quotient(more, less) for less, more in itertools.pairwise(images)],
            _times,
        ),
        at_most(
            "extra memory of matching on the host (32x32x8732)", 8e6, [peak("host")], _megabytes
        ),
        at_most(
            "extra memory of matching under XLA (32x32x8732)",
            batch * anchors * 16,
            [peak("xla")],
            _megabytes,
        ),
        *(
            at_least(
                f"decoding on the host, beside the fastest peer: {load}",
                5,
                [ratio("decoding", load)],
            )
            for load in DECODING_LOADS
        ),
        at_most(
            "target assignment and loss, of a training step",
            0.03,
            [share],
            _percent,
        ),
    ]


def _worst(choose: Callable[..., float], found: Sequence[float | None]) -> float | None:
    """The worst of all, if all are known."""
    known = [value for value in found if value is not None]
    return choose(known) if len(known) == len(found) else None


def _shown(value: float | None, show: Callable[[float], str]) -> str | None:
    return None if value is None else show(value)


def _times(value: float) -> str:
    return f"{value:.3g}x"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.3g} MB"
