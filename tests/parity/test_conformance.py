"""The conformance suite: an implementation against the reference, through its adapter.

`pytest tests/parity --implementation NAME_OR_module:object` runs this on any implementation
(docs/conformance.md). Random workloads are the same for all; the conflict cases are those on
which known systems disagree, and here each must answer as the convention that it claims.
"""

from __future__ import annotations

import numpy as np
import pytest

from keras_impl.backends import compiler
from keras_impl.conformance.operations import OPERATIONS
from keras_impl.conformance.suite import ask, check, judge, operation_of, settled
from reference_numpy.testing import conflict_answers, conflicts

# Images of each random workload; floats get 25 rows for each.
CASES = 24  # of ours; eager mode takes its time for each
EAGERLY = 12
AT_LEAST = 200
# Their decisions are about numbers that come out of exp and log, which libraries round differently.
NEAR_TIES = {"detect", "multibox_loss", "multibox_gradient", "soft_nms"}


def modes_in_this_process(implementation, label):
    return [mode for mode in implementation.modes_of(label) if not mode.endswith("-nofuse")]


def conflict_offers(implementation):
    """Every offer with every conflict case that can be put to it."""
    for label in implementation.asked():
        for case in conflicts.CONFLICTS:
            if case.operation != operation_of(label):
                continue
            if set(case.overrides) & set(implementation.offer(label).fixed):
                continue
            answer = conflict_answers.answer(case, settled(implementation, label, case.overrides))
            if isinstance(answer, str) and answer.startswith("error"):
                continue  # what a reference raises, a compiled graph cannot
            yield label, case


def marks_of(implementation, mode, deviation):
    """Compiled, a conflict case is one more graph of what `test_operation` has compiled."""
    marks = [] if mode == implementation.modes[0] else [pytest.mark.thorough]
    return marks + ([expected_failure(deviation)] if deviation else [])


def marks_of_operation(mode, dtype):
    """Without fusing all is compiled once more, in a process that begins for it.

    And what users compile is float32; eager mode and graphs are asked for both.
    """
    again = mode.endswith("-nofuse") or (mode, dtype) == (compiler(), "float64")
    return [pytest.mark.thorough] if again else []


def expected_failure(deviation):
    return pytest.mark.xfail(strict=deviation.certain, reason=deviation.reason)


def is_uncertain(implementation, label, case):
    return any(
        (one.offer, one.conflict) == (label, case.name) and not one.certain
        for one in implementation.deviations
    )


def pytest_generate_tests(metafunc):
    from_conftest = metafunc.config.pluginmanager.get_plugins()
    (conftest,) = [one for one in from_conftest if hasattr(one, "implementation_of")]
    implementation = conftest.implementation_of(metafunc.config)
    if metafunc.function is test_operation:
        metafunc.parametrize(
            ("label", "mode", "dtype"),
            [
                pytest.param(*(label, mode, dtype), marks=marks_of_operation(mode, dtype))
                for label in implementation.asked()
                for mode in implementation.modes_of(label)
                for dtype in implementation.dtypes_of(label)
            ],
        )
    elif metafunc.function is test_conflict_case:
        known = {(one.offer, one.conflict): one for one in implementation.deviations}
        metafunc.parametrize(
            ("label", "case", "mode"),
            [
                pytest.param(
                    label,
                    case,
                    mode,
                    id=f"{label}-{case.name}-{mode}",
                    marks=marks_of(implementation, mode, known.get((label, case.name))),
                )
                for label, case in conflict_offers(implementation)
                for mode in modes_in_this_process(implementation, label)
            ],
        )
    elif metafunc.function is test_known_deviation:
        deviations = [
            pytest.param(one, id=one.name, marks=expected_failure(one))
            for one in implementation.deviations
            if one.inputs is not None
        ]
        metafunc.parametrize("deviation", deviations or [pytest.param(None, id="none")])


@pytest.fixture(scope="session")
def without_fusing():
    """All operations of Keras in the process whose XLA may not fuse, which is started once."""
    from keras_impl.parity import implementations, table as parity

    checks = parity.run(cases=CASES, modes=[implementations.UNFUSED]).checks
    return {(check.op, check.dtype): check for check in checks}


def test_operation(implementation, label, mode, dtype, request, record_property):
    if mode.endswith("-nofuse"):
        found = request.getfixturevalue("without_fusing")[label, dtype]
    else:
        cases = AT_LEAST
        if implementation.name.startswith("keras ("):
            compiles = len(implementation.modes) > 1
            cases = EAGERLY if mode == "eager" and compiles else CASES
        found = check(implementation, label, mode, dtype, cases=cases)
    record_property("conformance", {"label": label, "cases": found.cases, "excused": found.excused})
    assert found.cases > 0, f"{label}, {mode}: nothing was compared"
    assert found.passed, (
        f"{label}, {mode}, {dtype}: {found.mismatches} of {found.cases} answers are not the "
        f"reference's ({implementation.claimed(label).name}); worst error {found.max_error_eps} "
        f"eps, budget {found.budget_eps}"
    )
    if mode not in implementation.may_fuse and operation_of(label) not in NEAR_TIES:
        assert found.excused == 0, f"{label}, {mode}: an excuse where there is none: {found}"


def test_conflict_case(implementation, label, case, mode, record_property):
    uncertain = is_uncertain(implementation, label, case)
    record_property(
        "conformance",
        {"label": label, "cases": 1, "deviation": case.name, "uncertain": uncertain},
    )
    dtype = implementation.dtypes_of(label)[0]
    wanted = conflict_answers.answer(case, settled(implementation, label, case.overrides))

    outputs = ask(implementation, label, conflict_answers.arrays(case, dtype), mode, case.overrides)

    found = conflict_answers.plain(case, outputs)
    assert conflict_answers.agree(found, wanted), (
        f"{case.name}: {found} found, {wanted} expected. {case.warning}"
    )


def test_known_deviation(implementation, deviation, record_property):
    if deviation is None:
        return
    record_property(
        "conformance",
        {
            "label": deviation.offer,
            "cases": 1,
            "deviation": deviation.name,
            "uncertain": not deviation.certain,
        },
    )
    verdict = judge(
        implementation, deviation.offer, deviation.inputs, overrides=deviation.overrides
    )
    assert verdict.mismatches == 0


def test_each_conflict_case_is_about_a_known_operation():
    assert {case.operation for case in conflicts.CONFLICTS} <= set(OPERATIONS)


def test_all_that_is_offered_is_asked(implementation):
    """Every deviation that names a conflict names one that can be put to that operation."""
    possible = {(label, case.name) for label, case in conflict_offers(implementation)}
    named = {(one.offer, one.conflict) for one in implementation.deviations if one.conflict}
    assert named - possible == set()
    assert np.all([label in implementation.operations for label in implementation.asked()])
