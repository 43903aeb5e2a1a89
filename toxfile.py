"""What tox.ini cannot say; tox loads this file because it lies beside it.

An unsupported Python is refused with one sentence before anything is installed, and
environments with the same packages may share one folder.
"""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet
from tox.plugin import impl
from tox.tox_env.info import Info
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner

if TYPE_CHECKING:
    from tox.config.sets import ConfigSet
    from tox.session.state import State
    from tox.tox_env.register import ToxEnvRegister


@impl
def tox_add_core_config(core_conf: ConfigSet, state: State) -> None:
    """Refuse a Python that pip would refuse later, and less clearly, in each environment."""
    project = Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8")
    supported = re.search('^requires-python = "(.+)"$', project, re.MULTILINE).group(1)
    found = ".".join(str(part) for part in sys.version_info[:3])
    if found not in SpecifierSet(supported):
        raise SystemExit(
            f"mobilenetv2-ssd needs Python {supported}, and this is Python {found}: make the "
            "environment with a supported one, for example `python3.12 -m venv --clear .venv`, and "
            "install tox again."
        )


class SharedInfo(Info):
    """The record by which tox decides to build an environment anew, blind to its name."""

    def compare(
        self, value: Any, section: str, sub_section: str | None = None
    ) -> AbstractContextManager[tuple[bool, Any]]:
        """Compare what an environment is with what its folder holds."""
        if section == "ToxEnv":
            value = {**value, "name": "shared"}
        return super().compare(value, section, sub_section)


class SharedRunner(VirtualEnvRunner):
    """A virtual environment that keeps its folder when another environment used it last.

    tox rebuilds a folder (`env_dir`) that two environments share whenever the name changes,
    which costs minutes where TensorFlow is in it. Everything else that tox compares, Python and
    `deps` among it, still rebuilds the folder.
    """

    @staticmethod
    def id() -> str:
        """The name that tox.ini gives as `runner`."""
        return "shared"

    @property
    def cache(self) -> SharedInfo:
        """The record of this environment's folder."""
        return SharedInfo(self.env_dir)


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    """Make `runner = shared` known."""
    register.add_run_env(SharedRunner)
