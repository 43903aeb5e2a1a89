"""Wrong implementations of each operation, to see that the conformance suite catches them.

`FAULTS` is a table: for each operation a handful of mistakes that people make, each a small
function of NumPy arrays. `RIGHT` has the same operations without a mistake. The suite is given all
of them as it is given anybody's implementation (docs/conformance.md); docs/faults.md lists what
catches each.

A fault is the reference with one thing changed, where that can be said: other rules (`by`), other
inputs (`given`), another answer (`then`). The others are written out.
"""

from __future__ import annotations

from keras_impl.conformance.faults import detecting, geometry, matching, training
from keras_impl.conformance.faults.making import CLAIMS, RIGHT, Fault, Function, by

__all__ = ["CLAIMS", "FAULTS", "RIGHT", "WRITTEN_OUT", "Fault", "by"]

_TOPICS = (geometry, matching, training, detecting)
_ORDER = list(RIGHT)

FAULTS: list[Fault] = sorted(
    (fault for topic in _TOPICS for fault in topic.FAULTS),
    key=lambda fault: _ORDER.index(fault.operation),
)

# What is written out for the faults, with no part wrong: it has to pass.
WRITTEN_OUT: list[tuple[str, Function]] = [one for topic in _TOPICS for one in topic.WRITTEN_OUT]
