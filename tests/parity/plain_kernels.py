"""Copies of the host path in plain Python, to count and to break what numba compiles."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numba
import pytest

from keras_impl.host import detection, kernels, lattices, matching

__all__ = ["counted", "load_plain"]

Edits = dict[str, tuple[str, str]]


def load_plain(edits: Edits | None = None) -> dict[str, ModuleType]:
    """Load copies of the modules of `keras_impl.host`, with the kernels as plain Python.

    Args:
        edits: For the name of a module, a piece of its source and what takes its place.
    """
    edits, copies = edits or {}, {}
    disabled = numba.config.DISABLE_JIT
    numba.config.DISABLE_JIT = True
    try:
        for module in (kernels, lattices, matching, detection):
            name = module.__name__.rpartition(".")[2]
            copies[name] = _copy(module, *edits.get(name, ("", "")))
    finally:
        numba.config.DISABLE_JIT = disabled
    copies["matching"].find_lattices = copies["lattices"].find_lattices
    for name in ("matching", "detection"):
        copies[name].kernels = copies["kernels"]
    return copies


def _copy(module: ModuleType, old: str, new: str) -> ModuleType:
    loader = module.__spec__.loader
    source = loader.get_source(module.__name__)
    if old:
        places = source.count(old)
        assert places == 1, f"{module.__name__} has {old!r} {places} times: update this edit"
        source = source.replace(old, new)
    copy = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(module.__name__, loader, origin=module.__file__)
    )
    exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(copy))
    return copy


def counted(patch: pytest.MonkeyPatch, module: ModuleType, name: str) -> Callable[[], int]:
    """Count the calls of a function; gives what reads the count."""
    inner, calls = getattr(module, name), [0]

    def counting(*arguments: Any) -> Any:
        calls[0] += 1
        return inner(*arguments)

    patch.setattr(module, name, counting)
    return lambda: calls[0]
