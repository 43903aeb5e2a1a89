"""Describe the machine that a run used: processor, system, package versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from keras_impl.backends import backend

__all__ = ["about_this_machine"]

FRAMEWORKS = {"tensorflow": ("tensorflow",), "jax": ("jax", "jaxlib"), "torch": ("torch",)}


def about_this_machine() -> dict[str, str]:
    """Return the machine, its operating system and the package versions, one line each.

    Example:
        >>> list(about_this_machine())
        ['machine', 'system', 'versions']
    """
    versions = []
    for package in ("mobilenetv2-ssd", *FRAMEWORKS[backend()], "keras", "numpy", "bottleneck"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} (not installed)")
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "versions": f"Python {platform.python_version()}, {', '.join(versions)}",
    }


def _processor() -> str:
    """Return the processor's name, from /proc/cpuinfo where possible: Python rarely knows it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
