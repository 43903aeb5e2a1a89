"""The front doors: what `from reference_numpy import …` and `from keras_impl import …` offer."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

import keras_impl
import reference_numpy

EXPORTS = [(package, name) for package in (reference_numpy, keras_impl) for name in package.__all__]


@pytest.mark.parametrize(
    ("package", "name"), EXPORTS, ids=[f"{package.__name__}.{name}" for package, name in EXPORTS]
)
def test_each_name_imports_and_shows_an_example(package, name):
    found = getattr(package, name)
    if callable(found):
        assert found.__name__ == name
        assert ">>> " in (inspect.getdoc(found) or ""), "expected an example in its docstring"


@pytest.mark.parametrize("package", [reference_numpy, keras_impl])
def test_dir_shows_the_names_and_no_other(package):
    assert dir(package) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nmss'"):
        package.nmss  # noqa: B018


@pytest.mark.parametrize("package", [reference_numpy, keras_impl])
def test_no_name_equals_a_module_beside_it(package):
    for name in package.__all__:
        with pytest.raises(ModuleNotFoundError):
            import_module(f"{package.__name__}.{name}")
