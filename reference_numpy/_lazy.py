"""Lazy imports: import the names of a package on first use (PEP 562).

This keeps a package cheap to import: `reference_numpy.conventions` loads without NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy"]


def lazy(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package that imports its names on first use.

    Args:
        package: Name of the package.
        modules: For each public name, the submodule that defines it.

    Returns:
        `__getattr__` and `__dir__`.

    Example:
        >>> find, names = lazy("reference_numpy", {"lazy": "_lazy"})
        >>> find("lazy") is lazy, names()
        (True, ['lazy'])
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    def names() -> list[str]:
        return sorted(modules)

    return find, names
