"""Names of a package that are imported when they are asked for first (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy"]


def lazy(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: Its name.
        modules: For each public name the module of the package that defines it.

    Returns:
        The two functions.

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
