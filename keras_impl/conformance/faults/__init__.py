"""Wrong implementations of each operation, which the conformance suite must catch.

`FAULTS` lists common mistakes for each operation, each as a small function of NumPy arrays. `RIGHT`
has the same operations without a mistake. The suite tests all of them like any other implementation
(docs/conformance.md); docs/generated/faults.md shows which test catches which fault.

Most faults are the reference with one change: other rules (`by`), other inputs (`given`) or other
outputs (`then`). The others are written out.
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

# The functions written for the faults, without a mistake: (operation, function). They must pass.
WRITTEN_OUT: list[tuple[str, Function]] = [one for topic in _TOPICS for one in topic.WRITTEN_OUT]
