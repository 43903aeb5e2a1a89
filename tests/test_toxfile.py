"""What toxfile.py adds to tox: one sentence for an unsupported Python, folders that are shared."""

from __future__ import annotations

import runpy
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]


class Record:
    """Stands for tox' Info: says what it was asked to compare."""

    def compare(self, value: Any, section: str, sub_section: str | None = None) -> Any:
        return value, section


@pytest.fixture
def toxfile(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that toxfile.py defines; tox itself is not installed where this runs."""
    stand_ins = {
        "tox": {},
        "tox.plugin": {"impl": lambda function: function},
        "tox.tox_env": {},
        "tox.tox_env.info": {"Info": Record},
        "tox.tox_env.python": {},
        "tox.tox_env.python.virtual_env": {},
        "tox.tox_env.python.virtual_env.runner": {"VirtualEnvRunner": object},
    }
    for name, content in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return runpy.run_path(str(REPOSITORY / "toxfile.py"))


def refuse(toxfile: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *version: int) -> None:
    monkeypatch.setitem(
        toxfile["tox_add_core_config"].__globals__, "sys", SimpleNamespace(version_info=version)
    )
    toxfile["tox_add_core_config"](None, None)


@pytest.mark.parametrize("version", [(3, 10, 99), (3, 14, 0), (4, 0, 0)])
def test_an_unsupported_python_is_refused_in_one_sentence(toxfile, monkeypatch, version):
    with pytest.raises(SystemExit) as refusal:
        refuse(toxfile, monkeypatch, *version)

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sentence = str(refusal.value)
    assert f"needs Python {project['requires-python']}" in sentence
    assert f"this is Python {'.'.join(map(str, version))}:" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_environments_of_one_folder_differ_for_tox_in_no_more_than_their_name(toxfile):
    compare = toxfile["SharedInfo"]().compare
    demo = {"name": "demo", "type": "SharedRunner"}
    bench = {"name": "bench", "type": "SharedRunner"}

    assert compare(demo, "ToxEnv") == compare(bench, "ToxEnv")
    assert compare(demo, "ToxEnv") != compare({**demo, "type": "Other"}, "ToxEnv")
    assert compare(demo, "Python") != compare(bench, "Python")
