"""The laws of the house that import-linter cannot state (those it can are in pyproject.toml).

Sources are read, not imported, so that this runs where TensorFlow is not installed.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import reference_numpy

REPOSITORY = Path(__file__).parents[2]
REFERENCE = REPOSITORY / "reference_numpy"
MIRROR = REPOSITORY / "keras_impl"
TESTS = REPOSITORY / "tests"

# Reference modules whose every public name has a mirror of the same name in keras_impl ...
MIRRORED = [
    "anchors",
    "boxes",
    "coding",
    "detection",
    "losses",
    "matching",
    "mining",
    "mobilenet_v2",
    "multibox",
    "suppression",
    "targets",
]
# ... and those that have none, with the reason.
NOT_MIRRORED = {
    "checks": "refusals of NumPy's arrays; the mirror has its own, of tensors",
    "conventions.choices": "data, the same for both sides",
    "conventions.layouts": "data, the same for both sides",
    "conventions.presets": "data, the same for both sides",
    "evaluation": "judges detections of either side on the host",
    "gradients": "Keras differentiates; parity compares its gradients with these",
    "layers": "Keras has its own; parity compares whole networks",
    "ssd": "in Keras one model, `SSD`, made of layers; parity compares what comes out",
    "testing.cases": "examples, the same for both sides",
    "testing.conflict_answers": "answers of the presets, the same for both sides",
    "testing.conflict_drawings": "drawings of the cases, the same for both sides",
    "testing.conflict_page": "answers of the presets, the same for both sides",
    "testing.conflicts": "answers of the presets, the same for both sides",
    "testing.workloads": "what both sides are timed on",
}
# Public names of mirrored modules that have no mirror, with the reason; * stands for anything.
WITHOUT_MIRROR = {
    "detection.top_k": "in Keras part of `select`, on `ties.top_mask`",
    "boxes.check_anchors": "a model's anchors are made by make_anchors, never given",
    "mobilenet_v2.fold": "of arrays, for either side; parity compares the folded network",
    "losses.check_labels": "a graph cannot raise; the loss is given targets of our own making",
    "PADDING": "one number, which both sides' documents name",
}

# Types that are held to the reference by what is compared of the function that returns them.
HELD_BY = {"Chosen": "choose_anchors", "conv_unit": "mobilenet_v2_features"}

# What tests in tests/ take from keras_impl, run without TensorFlow: what compares implementations.
NUMPY_ALONE = ["keras_impl.conformance", "keras_impl.parity.drift"]

MODULES = sorted(
    ".".join(path.relative_to(REFERENCE).with_suffix("").parts)
    for path in REFERENCE.rglob("[!_]*.py")
)


def reference_file(module: str) -> Path:
    return REFERENCE / f"{module.replace('.', '/')}.py"


def mirror_file(module: str) -> Path:
    """The network is built in `models`, all other mathematics is in `ops`."""
    return MIRROR / ("models" if module == "mobilenet_v2" else "ops") / f"{module}.py"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def bound_names(path: Path) -> Iterator[str]:
    """The names that the top level of a module binds."""
    for node in parse(path).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign(targets=targets):
                yield from (name.id for name in targets if isinstance(name, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name for alias in names)


def public_names(path: Path) -> list[str]:
    """What a module lists in `__all__`, which each module of the reference has."""
    for node in parse(path).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return ast.literal_eval(value)
    raise AssertionError(f"{path.name}: expected a list __all__ of its public names")


@cache
def words(path: Path) -> set[str]:
    """Every word of a source."""
    return set(re.findall(r"\w+", path.read_text(encoding="utf-8")))


def exception(module: str, name: str) -> str | None:
    """The line of WITHOUT_MIRROR that a name falls under."""
    for pattern in WITHOUT_MIRROR:
        if re.fullmatch(pattern.replace(".", r"\.").replace("*", ".*"), f"{module}.{name}"):
            return pattern
    return None


def run_python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new Python that sees the packages that this test sees."""
    packages = str(Path(reference_numpy.__file__).parents[1])
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        env={**os.environ, "PYTHONPATH": packages},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def without(packages: list[str]) -> str:
    """Code after which the packages cannot be imported."""
    return f"import sys; sys.modules.update(dict.fromkeys({packages!r})); "


# --- what may be imported -----------------------------------------------------------------------


def test_the_reference_imports_alone_and_without_a_warning():
    imports = "; ".join(f"import reference_numpy.{module}" for module in MODULES)
    code = f"import sys; was = {{*sys.modules}}; {imports}; print(*{{*sys.modules}} - was)"
    result = run_python(code, "-W", "error")
    assert (result.returncode, result.stderr) == (0, "")
    packages = {name.partition(".")[0] for name in result.stdout.split()}
    foreign = {one for one in packages - sys.stdlib_module_names if "cython" not in one}
    assert foreign == {"numpy", "bottleneck", "reference_numpy"}


def test_importing_keras_impl_imports_neither_keras_nor_tensorflow():
    result = run_python(
        "import sys, keras_impl; print({'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    )
    assert (result.stdout.strip(), result.stderr) == ("set()", "")


def test_without_the_extra_the_program_says_how_to_install_it():
    code = "import runpy; sys.argv = ['ssd', 'demo']; "
    code += "runpy.run_module('keras_impl', run_name='__main__')"

    result = run_python(without(["tensorflow", "keras", "PIL", "matplotlib", "rich"]) + code)

    assert result.returncode == 2, result.stderr
    assert 'pip install "mobilenetv2-ssd[keras]"' in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("module", NUMPY_ALONE)
def test_what_compares_is_numpy_alone(module):
    result = run_python(
        f"import sys, {module}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    )
    assert (result.stdout.strip(), result.stderr) == ("set()", "")


# --- every public name has its mirror and its test -----------------------------------------------


def test_each_reference_module_is_mirrored_or_says_why_not():
    assert sorted([*MIRRORED, *NOT_MIRRORED]) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_public_names_exist_and_no_other_name_looks_public(module):
    path = reference_file(module)
    public, bound = public_names(path), set(bound_names(path))
    assert set(public) - bound == set(), "in __all__ but not in the module"

    defined = {
        node.name for node in parse(path).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    missing = {name for name in defined if not name.startswith("_")} - set(public)
    assert missing == set(), "public by its name but not in __all__"


@pytest.mark.parametrize("module", MIRRORED)
def test_every_public_name_has_its_mirror(module):
    mirror = set(bound_names(mirror_file(module)))
    for name in public_names(reference_file(module)):
        if exception(module, name):
            assert name not in mirror, f"{module}.{name} has a mirror: drop it from WITHOUT_MIRROR"
        else:
            assert name in mirror, f"{mirror_file(module)} has no {name}"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_of_the_reference_has_its_test(module):
    tested = set().union(
        *(words(path) for path in (TESTS / "reference").glob("test_*.py") if path != Path(__file__))
    )
    assert set(public_names(reference_file(module))) - tested == set()


@pytest.mark.parametrize("module", MIRRORED)
def test_every_mirrored_name_is_held_to_the_reference(module):
    # `ssd parity` runs the table of `conformance`; the tests run it and add to it.
    files = [*(TESTS / "parity").glob("*.py"), *(MIRROR / "conformance").glob("*.py")]
    compared = set().union(*map(words, files))
    public = {name for name in public_names(reference_file(module)) if not exception(module, name)}
    assert {HELD_BY.get(name, name) for name in public} - compared == set()


# --- the faults of the peers are written down -----------------------------------------------------


def known_faults() -> Iterator[tuple[str, str]]:
    """Every deviation of an adapter and every expected failure of an oracle, by its name."""
    for path in sorted((TESTS / "implementations").glob("*.py")):
        for node in ast.walk(parse(path)):
            match node:
                case ast.Call(func=ast.Name(id="Deviation"), args=arguments, keywords=keywords):
                    named = [word.value for word in keywords if word.arg in {"name", "conflict"}]
                    for value in [*arguments[:1], *named]:
                        if isinstance(value, ast.Constant) and isinstance(value.value, str):
                            yield path.stem, value.value
    for path in sorted((TESTS / "oracles").glob("test_*.py")):
        for node in parse(path).body:
            if isinstance(node, ast.FunctionDef):
                marks = " ".join(ast.unparse(one) for one in node.decorator_list)
                if "xfail" in marks:
                    yield path.stem, node.name


@pytest.mark.parametrize("fault", sorted({name for _, name in known_faults()}))
def test_every_known_fault_is_on_the_page(fault):
    page = (REPOSITORY / "docs/peer-bugs.md").read_text(encoding="utf-8")
    assert f"`{fault}`" in page or f'"{fault}"' in page


# --- style that three readers rely on ------------------------------------------------------------


def test_ci_begins_with_the_second_command_of_the_readme():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\s*(python3 -m venv .*tox run.*)$", readme, re.MULTILINE)
    prepare = "python3 -m venv .venv && .venv/bin/python -m pip install tox && .venv/bin/tox run"
    assert set(commands) == {f"{prepare} -e demo", prepare}

    script = (REPOSITORY / ".ci/run").read_text(encoding="utf-8")
    statements = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert "export SSD_REQUIRE_DATA=1" in script
    first = next(line for line in statements if not re.match("set |cd |exec |export ", line))
    assert first == prepare
