"""Does Keras match the reference on this machine? The parity table.

Each operation runs in every mode of the Keras backend: on TensorFlow eagerly, as a graph and under
XLA; on JAX eagerly and under jit; on PyTorch eagerly. The inputs are cases worked by hand and
random ones with many ties. `reference_numpy` judges the results:

- *Decisions* (matches, labels, mined anchors, selections and their order) must be equal. The
  reference decides in the same dtype, on the same numbers.
- *Floats* must lie within the budgets of `conformance.budgets`. The reference is computed in a
  wider dtype.
- XLA as users run it ("xla", "jit") may fuse a product with a sum and so flip a near-tie. Such a
  result counts as *excused* only with a witness: IoU within the rounding budget of the true one,
  for which the reference gives exactly this result. With fusing off ("xla-nofuse", "jit-nofuse",
  in a process of its own) there are no excuses.
- `detect` decides from numbers that come from exp. Its boxes and scores must be within budget, and
  its decisions must be the reference's for these boxes and scores.

The fast paths ("host") are judged in the same way, without excuses for their matches. All of
these support every convention: `run(convention=...)`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keras_impl._common.choices import CASES
from keras_impl.backends import NO_FUSING, backend, fuses
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import DTYPES, Check, Implementation, check
from keras_impl.parity import implementations
from keras_impl.parity.implementations import COMPILED, UNFUSED, host_as, keras_as
from reference_numpy.checks import check_counts
from reference_numpy.conventions import CANONICAL, PRESETS, Convention

__all__ = ["DTYPES", "MODES", "Check", "Report", "run"]

MODES = (*implementations.MODES, "host")


@dataclass(frozen=True)
class Report:
    """The parity table."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether there are checks and all passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return the table as plain data for JSON."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}


def run(
    *,
    convention: Convention = CANONICAL,
    cases: int = CASES,
    seed: int = 0,
    modes: Sequence[str] = MODES,
    dtypes: Sequence[str] = DTYPES,
    ops: Sequence[str] | None = None,
    watch: Callable[[str], None] = lambda text: None,
) -> Report:
    """Compare every operation with the reference in every mode.

    Args:
        convention: The convention that both sides follow. It must be a preset if one of the modes
            runs in its own process.
        cases: Number of random images for decisions; floats get 25 rows per case.
        seed: Seed of the random cases.
        modes: Some of `MODES`.
        dtypes: Some of `DTYPES`.
        ops: Some of `OPERATIONS`; None for all that the convention uses.
        watch: Called with a text before each comparison.

    Returns:
        The table, by operation, mode and dtype.

    Raises:
        ValueError: An unknown mode, dtype or operation, an operation that the convention does not
            use or that cannot run in any of the modes, no cases, or a negative seed.
        TypeError: `cases` or `seed` is not a whole number.
        ChildProcessError: The process without fusing failed; the message holds its output.
    """
    asked = tuple(keras_as(convention).asked())
    names = asked if ops is None else tuple(ops)
    for name, given, known in (
        ("modes", modes, MODES),
        ("dtypes", dtypes, DTYPES),
        ("ops", names, tuple(OPERATIONS)),
    ):
        unknown = [one for one in given if one not in known]
        if unknown or not given:
            where = f" with Keras on {backend()}" if name == "modes" else ""
            received = ", ".join(map(repr, unknown)) or "none"
            raise ValueError(
                f"{name}: expected some of {', '.join(known)}{where}. Received: {received}"
            )
    check_counts(1, cases=cases)
    check_counts(seed=seed)
    absent = [name for name in names if name not in asked]
    if absent:
        raise ValueError(
            f"ops: expected operations that the convention {convention.name!r} uses. "
            f"Received: {', '.join(map(repr, absent))}"
        )
    if UNFUSED in modes and PRESETS.get(convention.name) != convention:
        raise ValueError(
            f"convention: expected one of the presets for mode {UNFUSED!r}, whose process finds "
            f"it by name. Received: {convention.name!r}"
        )

    ours, host = keras_as(convention), host_as(convention)
    unable = [
        name
        for name in names
        if not set(ours.modes_of(name)) & set(modes)
        and not ("host" in modes and name in host.asked())
    ]
    # Without `ops`, operations that cannot run in these modes are left out.
    if unable and (ops is not None or len(unable) == len(names)):
        raise ValueError(
            f"modes: expected one that {', '.join(unable)} can run in. "
            f"Received: {', '.join(map(repr, modes))}"
        )

    here = [mode for mode in modes if mode in implementations.MODES and mode != UNFUSED]
    checks = _checks(ours, names, here, dtypes, cases, seed, watch)
    if "host" in modes:
        mine = [name for name in names if name in host.asked()]
        checks += _checks(host, mine, host.modes, dtypes, cases, seed, watch)
    if UNFUSED in modes:
        watch("all operations under XLA without fusing, in another process")
        checks += _check_without_fusing(convention, names, dtypes, cases, seed)
    order = {name: index for index, name in enumerate(names)}
    return Report(tuple(sorted(checks, key=lambda check: order[check.op])))


def _checks(
    implementation: Implementation,
    names: Sequence[str],
    modes: Sequence[str],
    dtypes: Sequence[str],
    cases: int,
    seed: int,
    watch: Callable[[str], None] = lambda text: None,
) -> list[Check]:
    checks = []
    for name in names:
        for mode in modes:
            for dtype in dtypes:
                if mode in implementation.modes_of(name):
                    watch(f"{name}, {mode}, {dtype}")
                    checks.append(check(implementation, name, mode, dtype, cases=cases, seed=seed))
    return checks


def _check_without_fusing(
    convention: Convention, names: Sequence[str], dtypes: Sequence[str], cases: int, seed: int
) -> list[Check]:
    """Compare under XLA in a process in which XLA does not fuse."""
    request = {
        "convention": convention.name,
        "ops": list(names),
        "dtypes": list(dtypes),
        "cases": cases,
        "seed": seed,
    }
    flags = f"{os.environ.get('XLA_FLAGS', '')} {NO_FUSING}".strip()
    done = subprocess.run(
        [sys.executable, "-m", "keras_impl.parity.table", json.dumps(request)],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise ChildProcessError(
            f"parity without fusing ended with {done.returncode}: {done.stderr[-2000:].strip()}"
        )
    return [Check(**line) for line in json.loads(done.stdout.splitlines()[-1])]


def _main() -> None:
    """Run the checks of the process without fusing; print them as JSON on the last line."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_impl.parity.table", description=_main.__doc__
    )
    parser.add_argument(
        "request", type=json.loads, help="JSON: the request of `_check_without_fusing`"
    )
    request = parser.parse_args().request
    fields = {"convention", "ops", "dtypes", "cases", "seed"}
    if not isinstance(request, dict) or set(request) != fields:
        parser.error(f"request: expected JSON with {sorted(fields)}. Received: {request!r}")
    if request["convention"] not in PRESETS:
        parser.error(f"convention: expected a preset. Received: {request['convention']!r}")
    if fuses(str(COMPILED)):
        parser.error(f"XLA_FLAGS: expected {NO_FUSING} to keep XLA from fusing. Received: it fuses")
    checks = _checks(
        keras_as(PRESETS[request["convention"]]),
        request["ops"],
        [str(UNFUSED)],
        request["dtypes"],
        request["cases"],
        request["seed"],
    )
    sys.stdout.write(json.dumps([asdict(check) for check in checks]) + "\n")


if __name__ == "__main__":
    _main()
