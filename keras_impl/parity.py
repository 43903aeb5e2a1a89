"""Is Keras' answer the reference's? The parity table of this machine.

Each operation is run eagerly, as a graph and under XLA, on cases worked by hand and on random
ones full of ties, and judged by `reference_numpy`:

- *Decisions* (matches, labels, mined anchors, selections and their order) must be equal. The
  reference decides in the same dtype, on the same numbers.
- *Floats* must lie within the budget of `tolerances`, of the reference in a wider dtype.
- XLA as users run it may fuse a product with a sum and so flip a near-tie. Such an answer is
  counted as *excused* only with a witness: overlaps within the rounding budget of the true
  ones, for which the reference itself gives exactly this answer. With fusing off
  ("xla-nofuse", in a process of its own) there are no excuses.
- `detect` decides about numbers that come out of exp. Its boxes and scores must be within
  budget, and its decisions those of the reference on these very boxes and scores.
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

import keras
import numpy as np

from keras_impl.backend_tensorflow import in_mode
from keras_impl.comparisons import MODES, OPERATIONS, Verdict
from keras_impl.tolerances import BUDGETS

__all__ = ["DTYPES", "MODES", "Check", "Report", "run"]

DTYPES = ("float32", "float64")
NO_FUSING = "--xla_cpu_max_isa=AVX"  # processors of that age have no fused multiply-add


@dataclass(frozen=True)
class Check:
    """One line of the table: an operation in a mode and a dtype.

    Attributes:
        op: The operation, by its name in `reference_numpy`.
        mode: One of `MODES`.
        backend: Keras' backend.
        dtype: One of `DTYPES`.
        cases: Answers compared: pictures for decisions, rows of numbers for floats.
        mismatches: Those that are wrong.
        excused: Those that differ by a near-tie, with a witness.
        max_error_eps: Worst error of the floats, in eps × the largest intermediate.
        budget_eps: The error allowed, derived in `tolerances`.
        passed: Nothing is wrong.
    """

    op: str
    mode: str
    backend: str
    dtype: str
    cases: int
    mismatches: int
    excused: int
    max_error_eps: float
    budget_eps: float
    passed: bool


@dataclass(frozen=True)
class Report:
    """The table."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed, and there was one."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The table for machines."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}


def run(
    *,
    cases: int = 40,
    seed: int = 0,
    modes: Sequence[str] = MODES,
    dtypes: Sequence[str] = DTYPES,
    ops: Sequence[str] | None = None,
    watch: Callable[[str], None] = lambda text: None,
) -> Report:
    """Compare every operation in every mode.

    Args:
        cases: Random pictures for each decision; floats get 25 rows for each.
        seed: Of the random cases.
        modes: Some of `MODES`.
        dtypes: Some of `DTYPES`.
        ops: Some of `OPERATIONS`; all if None.
        watch: Told what is compared next.

    Returns:
        The table, by operation, mode and dtype.

    Raises:
        ValueError: An unknown mode, dtype or operation, or no cases.
    """
    names = tuple(OPERATIONS) if ops is None else tuple(ops)
    for name, given, known in (
        ("modes", modes, MODES),
        ("dtypes", dtypes, DTYPES),
        ("ops", names, tuple(OPERATIONS)),
    ):
        unknown = [one for one in given if one not in known]
        if unknown or not given:
            raise ValueError(f"{name}: expected some of {list(known)}. Received: {unknown}")
    if cases < 1:
        raise ValueError(f"cases: expected 1 or more. Received: {cases}")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more. Received: {seed}")

    checks = []
    here = [mode for mode in modes if mode != "xla-nofuse"]
    for name in names:
        for mode in here:
            for dtype in dtypes:
                if mode in OPERATIONS[name].modes:
                    watch(f"{name}, {mode}, {dtype}")
                    checks.append(_check(name, mode, dtype, cases, seed))
    if "xla-nofuse" in modes:
        watch("all under XLA without fusing, in another process")
        checks += _check_without_fusing(names, dtypes, cases, seed)
    order = {name: index for index, name in enumerate(names)}
    return Report(tuple(sorted(checks, key=lambda check: order[check.op])))


def _check(name: str, mode: str, dtype: str, cases: int, seed: int) -> Check:
    operation, budget = OPERATIONS[name], BUDGETS[name].eps
    call = in_mode(operation.mirror, "xla" if mode == "xla-nofuse" else mode)
    total = Verdict(0)
    for inputs in operation.workloads(np.random.default_rng(seed), dtype, cases):
        outputs = call(*inputs)
        verdict = operation.judge(inputs, outputs, dtype, mode == "xla")
        total = Verdict(
            total.cases + verdict.cases,
            total.mismatches + verdict.mismatches,
            total.excused + verdict.excused,
            max(total.error, verdict.error),
        )
    passed = total.cases > 0 and total.mismatches == 0 and total.error <= budget
    return Check(
        name,
        mode,
        keras.backend.backend(),
        dtype,
        total.cases,
        total.mismatches,
        total.excused,
        round(total.error, 3),
        budget,
        passed,
    )


def _check_without_fusing(
    names: Sequence[str], dtypes: Sequence[str], cases: int, seed: int
) -> list[Check]:
    """Run the XLA checks in a process whose XLA may not fuse."""
    request = {"ops": list(names), "dtypes": list(dtypes), "cases": cases, "seed": seed}
    flags = f"{os.environ.get('XLA_FLAGS', '')} {NO_FUSING}".strip()
    done = subprocess.run(
        [sys.executable, "-m", "keras_impl.parity", json.dumps(request)],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"parity without fusing ended with {done.returncode}: {done.stderr[-2000:]}"
        )
    return [Check(**line) for line in json.loads(done.stdout.splitlines()[-1])]


def _main() -> None:
    """The other process: checks as JSON on the last line."""
    parser = argparse.ArgumentParser(description=_main.__doc__)
    parser.add_argument("request", type=json.loads)
    request = parser.parse_args().request
    checks = [
        _check(name, "xla-nofuse", dtype, request["cases"], request["seed"])
        for name in request["ops"]
        for dtype in request["dtypes"]
        if "xla-nofuse" in OPERATIONS[name].modes
    ]
    sys.stdout.write(json.dumps([asdict(check) for check in checks]) + "\n")


if __name__ == "__main__":
    _main()
