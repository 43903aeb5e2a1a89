"""The parity table, run piece by piece, so that a failure names its operation and mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keras_impl import parity

CASES = 24  # random pictures for each decision; `ssd parity --cases` takes any number


@pytest.fixture(scope="session")
def without_fusing() -> dict[str, list[parity.Check]]:
    """All operations in the process whose XLA may not fuse, which is started once."""
    table: dict[str, list[parity.Check]] = {}
    for check in parity.run(cases=CASES, modes=["xla-nofuse"]).checks:
        table.setdefault(check.op, []).append(check)
    return table


@pytest.fixture
def assert_parity(
    request: pytest.FixtureRequest,
) -> Callable[[str, str], None]:
    """A function that runs one operation in one mode, in both dtypes, and judges it."""

    def judge(op: str, mode: str) -> None:
        if mode == "xla-nofuse":
            checks = request.getfixturevalue("without_fusing")[op]
        else:
            checks = parity.run(cases=CASES, ops=[op], modes=[mode]).checks
        assert [check.dtype for check in checks] == list(parity.DTYPES)
        for check in checks:
            assert check.cases > 0, f"{op}, {mode}: nothing was compared"
            assert check.passed, f"{op}, {mode}, {check.dtype}: {check}"
            if mode != "xla" and op not in {"detect", "multibox", "multibox_gradient"}:
                assert check.excused == 0, f"{op}, {mode}: an excuse where there is none: {check}"

    return judge
