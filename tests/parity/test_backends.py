"""The door to what depends on the backend of Keras: the same contract behind it on each."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_impl import backends
from keras_impl.backends import backend, compiled, compiler, fuses, gradients, in_mode, modes
from keras_impl.cli import main
from keras_impl.ops.extremes import maximum, minimum
from keras_impl.parity import table as parity

MODES = {
    "tensorflow": (("eager", "graph", "xla"), "xla"),
    "jax": (("eager", "jit"), "jit"),
    "torch": (("eager",), None),
}
NAN, INF = np.nan, np.inf


def test_the_modes_of_each_backend():
    assert (modes(), compiler()) == MODES[keras.backend.backend()]
    unfused = [] if compiler() is None else [f"{compiler()}-nofuse"]
    assert (*modes(), *unfused, "host") == parity.MODES


def test_importing_the_door_imports_no_framework():
    frameworks = {"jax", "keras", "tensorflow", "torch"}
    code = f"import keras_impl.backends, sys; print({frameworks} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("mode", modes())
def test_a_function_gets_what_it_is_given_and_returns_arrays(mode):
    """In every dtype; a nest comes back as it is, and a scalar without an axis."""
    given = [
        np.array([0.1, NAN, -INF], np.float32),
        np.array([0.1, 1e300]),
        np.array([-7, 2**31 - 1], np.int32),
        np.array([True, False]),
        np.float64(0.1),
    ]
    for one in given:
        np.asarray(one).setflags(write=False)  # as a memory map would be

    got = in_mode(lambda *tensors: {"all": tensors, "last": (tensors[-1],)}, mode)(*given)

    assert set(got) == {"all", "last"}
    for one, wanted in zip([*got["all"], *got["last"]], [*given, given[-1]], strict=True):
        assert isinstance(one, np.ndarray)
        assert (one.dtype, one.shape) == (wanted.dtype, np.shape(wanted))
        np.testing.assert_array_equal(one, wanted)


@pytest.mark.parametrize("mode", modes())
def test_float32_is_not_widened(mode):
    """Nothing is computed in 64 bits where no argument has them: as a user runs it."""
    third = in_mode(lambda x: x / 3, mode)(np.float32(1))
    assert third.dtype == np.float32
    assert third == np.float32(1) / np.float32(3)


@pytest.mark.parametrize("mode", modes())
def test_gradients_by_each_argument(mode):
    def everything(x, y, unused):
        return gradients(lambda a, b, c: ops.sum(a * b * b))(x, y, unused)

    for dtype in (np.float32, np.float64):
        x, y = np.array([0.5, -3], dtype), np.array([2, 0.25], dtype)
        by_x, by_y, by_none = in_mode(everything, mode)(x, y, x)
        for got, wanted in ((by_x, y * y), (by_y, 2 * x * y), (by_none, 0 * x)):
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("mode", modes())
def test_what_is_compiled_within_says_the_same(mode):
    inner = compiled(lambda x: (x + x, ops.max(x)))
    doubled, largest = in_mode(lambda x: inner(x * 2), mode)(np.array([0.5, 3.0], np.float32))
    assert doubled.tolist() == [2.0, 12.0]
    assert largest == 6


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_extremes_keep_the_dtype(mode, dtype):
    """As NumPy has them, NaN from either side too, but where TensorFlow lets XLA lose one."""
    first = np.array([0.1, -0.1, 2, 2, 0.1, 5], dtype)
    second = np.array([0.3, -0.3, 2, 1, 0.1, -5], dtype)
    if dtype != "int32":
        first[4] = NAN
        second[5] = second[5] if mode == "xla" else NAN
    got = in_mode(lambda a, b: (maximum(a, b), minimum(a, b), maximum(a, 1)), mode)(first, second)
    wanted = np.maximum(first, second), np.minimum(first, second), np.maximum(first, 1)
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("mode", modes())
def test_a_python_number_is_taken_in_the_dtype_of_the_others(mode):
    """Not by way of float32, in which .45 is another number."""
    got = in_mode(lambda a: (maximum(a, 0.45), minimum(a, 0.45)), mode)(np.array([0.0, 1.0]))
    assert [one.tolist() for one in got] == [[0.45, 1.0], [0.0, 0.45]]


def test_an_unknown_mode():
    with pytest.raises(ValueError, match=rf"mode: expected one of .* on {backend()}. .*'sideways'"):
        in_mode(lambda x: x, "sideways")


def test_an_unknown_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match=r"KERAS_BACKEND: expected 'tensorflow', .*: 'numpy'"):
        modes()


# Fusing


def test_eagerly_nothing_is_fused():
    """In loops neither, which JAX compiles."""
    assert not fuses("eager")
    a, b, c = np.random.default_rng(0).normal(size=(3, 999)).astype(np.float32)
    got = in_mode(lambda a, b, c: ops.fori_loop(0, 2, lambda _, x: a * x + b, c), "eager")(a, b, c)
    np.testing.assert_array_equal(got, a * (a * c + b) + b)


def test_what_fuses_is_seen(monkeypatch):
    def rounded_once(function, mode):
        wide = np.float64
        return lambda a, b, c: (a.astype(wide) * b.astype(wide) + c).astype(np.float32)

    monkeypatch.setattr(backends, "in_mode", rounded_once)
    assert fuses("eager")


def test_a_process_that_fuses_after_all_is_an_error(monkeypatch, capsys):
    """The flag that keeps XLA from it is no promise of XLA's."""
    request = '{"convention": "canonical", "ops": [], "dtypes": [], "cases": 1, "seed": 0}'
    monkeypatch.setattr(sys, "argv", ["parity", request])
    monkeypatch.setattr(parity, "fuses", lambda mode: True)
    with pytest.raises(SystemExit):
        parity._main()
    assert (
        "XLA_FLAGS: expected --xla_cpu_max_isa=AVX to keep XLA from fusing"
        in capsys.readouterr().err
    )


@pytest.mark.skipif(compiler() is None, reason="this backend of Keras traces nothing")
def test_what_such_a_process_says_is_one_line_of_the_program(monkeypatch, capsys):
    died = subprocess.CompletedProcess([], 2, stdout="", stderr="XLA_FLAGS: it fuses\n")
    monkeypatch.setattr(parity.subprocess, "run", lambda *_, **__: died)
    unfused = f"{compiler()}-nofuse"
    assert main(["parity", "--op", "area", "--mode", unfused, "--cases", "1"]) == 2
    error = capsys.readouterr().err
    assert "ssd: error: parity without fusing ended with 2: XLA_FLAGS: it fuses" in error
    assert "Traceback" not in error
