"""Mutation scores: `tox run -e mutation` changes the code in small ways and runs its tests on each.

mutmut makes the mutants, one small change each (another operator, number, argument), and tries
every one in a process of its own. A mutant is killed when a test fails. A timeout or a crash is no
kill, and functions that mutmut leaves out (those with a decorator) count as survived.

A module is judged by its own tests alone: `reference_numpy.X` by `tests/reference/test_X.py`, its
mirror eagerly by `tests/parity/test_X.py` and the conformance suite, both by their bad input.
`tests/survivors.toml` says how many mutants of a function may survive, and why.

A module is tried again when it or one of its tests has changed; else its last result stands. A run
that was stopped goes on where it was. Where tests build networks a seeded sample is tried.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
REFERENCE = REPOSITORY / "reference_numpy"
SURVIVORS = Path(__file__).with_name("survivors.toml")
WORK = Path(".mutation")
# What any test may read beside its module.
COPIED = ("reference_numpy", "keras_impl", "tests", "docs", "benchmarks")
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tox.ini", "toxfile.py")
SHARED = ("conftest.py", "strategies.py", "made_up.py", "flips.py", "bad_input.py")
WANTED = {"reference_numpy": 95.0, "keras_impl": 90.0}
KILLED = {1, 3}  # exit statuses of pytest in mutmut's workers: a test failed, or an internal error

# The modules and the files of their tests: all of the reference by the file of their own name,
# where nothing else is said; of Keras what is mirrored, with what asks all operations.
SUITE = ("conformance", "conventions")
TESTS: dict[str, dict[str, tuple[str, ...]]] = {
    "reference_numpy": {
        **{
            ".".join(path.relative_to(REFERENCE).with_suffix("").parts): (path.stem,)
            for path in REFERENCE.rglob("[!_]*.py")
        },
        "conventions.choices": ("conventions",),
        "conventions.layouts": ("layouts", "anchors"),
        "mobilenet_v2": ("ssd",),
        "testing.conflict_answers": ("conflicts",),
        "testing.conflict_drawings": (
            "conflicts",
            "tests/test_pages.py::test_drawings_are_up_to_date",
        ),
        "testing.conflict_page": (
            "conflicts",
            "tests/test_pages.py::test_a_page_is_up_to_date[generated/conflicts.md]",
        ),
    },
    "keras_impl": {
        "models.mobilenet_v2": ("mobilenet_v2",),
        "models.ssd": ("ssd",),
        "ops.anchors": ("anchors", *SUITE),
        "ops.boxes": ("boxes", *SUITE),
        "ops.checks": ("checks",),
        "ops.coding": ("coding", *SUITE),
        "ops.detection": ("detection", *SUITE),
        "ops.losses": ("losses", *SUITE),
        "ops.matching": ("matching", *SUITE),
        "ops.mining": ("multibox", *SUITE),
        "ops.multibox": ("multibox", *SUITE),
        "ops.suppression": ("suppression", *SUITE),
        "ops.targets": ("targets", *SUITE),
        "ops.ties": ("ties",),
    },
}
SAMPLED = {"keras_impl.models.ssd": 150}  # of 866, at two seconds each; `--sample` does it for all
# Of the tests of Keras, what is quick: nothing compiled, and conflict cases in place of random
# images. Of the network, nothing that trains, saves, or builds one as large as the published ones.
QUICK = (
    "not graph and not xla and not host and not (every_operation or every_preset"
    " or (test_operation and (match or assign or nms or select or detect)) or fit_learns"
    " or saved_model or mixed_precision or one_seed or published or shipped)"
)


class Module(NamedTuple):
    """One source file, the arguments for pytest that choose its tests, and how many to try."""

    package: str
    name: str
    tests: tuple[str, ...]
    sample: int | None

    @property
    def full_name(self) -> str:
        """As it is imported."""
        return f"{self.package}.{self.name}"

    @property
    def source(self) -> Path:
        """Path in the repository."""
        return Path(self.package) / f"{self.name.replace('.', '/')}.py"

    @property
    def folder(self) -> Path:
        """Where mutmut works on it."""
        return WORK / self.full_name

    @property
    def key(self) -> str:
        """Changes with the module and with its tests."""
        shared = (f"tests/{name}" for name in SHARED)
        files = [str(self.source), *shared, *(one for one in self.tests if one.endswith(".py"))]
        parts = [(REPOSITORY / one).read_bytes() for one in files]
        words = "\n".join([*self.tests, str(self.sample)]).encode()
        return hashlib.sha256(b"\0".join([words, *parts])).hexdigest()


class Result(NamedTuple):
    """What became of the mutants of a module: how many survived in each function, and the rest."""

    module: Module
    killed: int
    survived: Counter[str]
    left_out: Counter[str]
    names: dict[str, list[str]]

    @property
    def total(self) -> int:
        """All mutants, those that were never made among them."""
        return self.killed + self.survived.total() + self.left_out.total()


def modules(sample: int | None = None) -> list[Module]:
    """All that is mutated, with its tests."""
    found = []
    for package, table in TESTS.items():
        folder = "reference" if package == "reference_numpy" else "parity"
        for name, tests in sorted(table.items()):
            files = [
                one if "/" in one else f"tests/{folder}/test_{one}.py"
                for one in (*tests, "bad_input")
            ]
            stem = name.rpartition(".")[2]
            mine = (
                "spoilt_call"
                if stem == "checks"
                else f"(spoilt_call or wrong_argument) and {stem}."
            )
            if name == "models.ssd":  # its methods have tests of their own
                mine = "a_detector or a_wrong_argument and ssd."
            words = f"(not bad_input or {mine})"
            if folder == "parity":
                words = f"{QUICK} and {words}"
            count = SAMPLED.get(f"{package}.{name}", sample)
            found.append(Module(package, name, (*files, "-k", words), count))
    return found


def prepare(module: Module) -> None:
    """Make a folder in which mutmut finds the module, its tests and nothing that it knew before."""
    shutil.rmtree(module.folder, ignore_errors=True)
    module.folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.png")
    for name in COPIED:
        shutil.copytree(REPOSITORY / name, module.folder / name, ignore=ignore)
    for name in FILES:
        shutil.copy2(REPOSITORY / name, module.folder / name)
    settings = {
        "source_paths": [module.package],
        "only_mutate": [str(module.source)],
        "also_copy": [*(one for one in COPIED if one not in {"tests", module.package}), *FILES],
        "process_isolation": "forkserver",
        "track_dependencies": False,
        "use_git_change_detection": False,
        "pytest_add_cli_args_test_selection": list(module.tests),
        "pytest_add_cli_args": [
            *("-p", "no:cacheprovider", "--hypothesis-profile=mutation"),
            # It collects garbage ten times a run: a second, of everything TensorFlow holds.
            *("-p", "no:unraisableexception"),
            *("-p", "cheapest_first"),
        ],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    table = "\n".join(["", "[tool.mutmut]", *lines, ""])
    (module.folder / "pyproject.toml").write_text(project + table, encoding="utf-8")


def mutmut(module: Module, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run mutmut in the folder of a module."""
    # By its own name mutmut would load twice. The path is searched last: it is for the plugin.
    path = repr(str(Path(__file__).parent))
    code = f"import sys; sys.path.append({path}); import mutmut.__main__ as m; m.cli()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=module.folder,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def run(module: Module, jobs: int) -> Result:
    """The result of a module, from its folder if nothing has changed since."""
    done, started = module.folder / "done", module.folder / "started"
    if not (done.exists() and done.read_text() == module.key):
        if not (started.exists() and started.read_text() == module.key):
            prepare(module)
            started.write_text(module.key)
        ended = mutmut(module, "run", "--max-children", str(jobs), *chosen(module))
        if ended.returncode or not verdicts(module):
            said = (ended.stdout + ended.stderr)[-3000:]
            raise SystemExit(f"mutmut, {module.full_name}: status {ended.returncode}\n{said}")
        done.write_text(module.key)
    names: dict[str, list[str]] = {}
    for name, status in verdicts(module).items():
        if status not in KILLED:
            mangled = name.removeprefix(module.full_name + ".")
            names.setdefault(f"{module.full_name}.{plain(mangled)}", []).append(name)
    survived = Counter({function: len(those) for function, those in names.items()})
    tried, skipped = len(verdicts(module)), left_out(module)
    if module.sample is not None:  # as many of those, for what was tried of the others
        source = (REPOSITORY / module.source).read_text(encoding="utf-8")
        whole = len(mutants(module, source))
        skipped = Counter({name: -(-n * tried // whole) for name, n in skipped.items()})
    return Result(module, tried - survived.total(), survived, skipped, names)


def verdicts(module: Module) -> dict[str, int]:
    """The exit status of the tests of each mutant that was tried."""
    path = module.folder / "mutants" / f"{module.source}.meta"
    codes = json.loads(path.read_text())["exit_code_by_key"] if path.exists() else {}
    return {name: code for name, code in codes.items() if code is not None}


def chosen(module: Module) -> list[str]:
    """The names of the mutants to try, none for all."""
    names = sorted(mutants(module, (REPOSITORY / module.source).read_text(encoding="utf-8")))
    if module.sample is None or module.sample >= len(names):
        return []
    some = random.Random(0).sample(names, module.sample)
    return [f"{module.full_name}.{name}" for name in some]


def mutants(module: Module, source: str) -> Sequence[str]:
    """The mangled names of the mutants that mutmut makes of a source."""
    from mutmut.configuration import reset_config
    from mutmut.mutation.file_mutation import mutate_file_contents

    with contextlib.chdir(module.folder):  # where mutmut looks for its settings
        reset_config()
        return mutate_file_contents(str(module.source), source).mutant_names


def plain(mangled: str) -> str:
    """mutmut's x_area__mutmut_3 as area, and its methods as Class.method."""
    name = re.sub(r"__mutmut_\d+$", "", mangled)
    return ".".join(name[2:].split("ǁ")) if name.startswith("xǁ") else name.removeprefix("x_")


def left_out(module: Module) -> Counter[str]:
    """Functions with a decorator, and how many mutants each would have had without."""
    source = (REPOSITORY / module.source).read_text(encoding="utf-8")
    lines, names = source.splitlines(keepends=True), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            if {ast.unparse(one) for one in node.decorator_list} <= {"staticmethod", "classmethod"}:
                continue
            names.append(node.name)
            for line in range(node.decorator_list[0].lineno - 1, node.lineno - 1):
                lines[line] = "\n"
    bare = mutants(module, "".join(lines))
    counts = Counter(plain(name).rpartition(".")[2] for name in bare)
    return Counter({name: counts[name] for name in names if counts[name]})


def accepted() -> Counter[str]:
    """How many mutants of each function may survive."""
    listed = tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))["accepted"]
    return sum((Counter(reason["survivors"]) for reason in listed), Counter())


def score(results: Sequence[Result]) -> float:
    """Per cent of all mutants that were killed, rounded down to a tenth."""
    total = sum(result.total for result in results)
    return int(1000 * sum(result.killed for result in results) / total) / 10 if total else 100.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 if more survive than may, or a package is below what is wanted."""
    parser = argparse.ArgumentParser(
        prog="mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="such as reference_numpy.boxes; a package for all of its modules; default: all",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="try N mutants of each module, drawn with a seed"
    )
    asked = parser.parse_args(arguments)
    known = modules(asked.sample)
    names = {module.full_name for module in known} | set(WANTED)
    for option, count in (("--jobs", asked.jobs), ("--sample", asked.sample)):
        if count is not None and count < 1:
            parser.error(f"{option}: expected 1 or more. Received: {count}")
    if wrong := set(asked.modules) - names:
        parser.error(f"MODULE: expected some of {sorted(names)}. Received: {sorted(wrong)}")
    some = [
        one for one in known if not asked.modules or {one.full_name, one.package} & {*asked.modules}
    ]

    may, results, failed = accepted(), [], False
    print("| module | mutants | killed | left out | score | minutes |")
    print("|---|---:|---:|---:|---:|---:|")
    for module in some:
        begin = time.monotonic()
        result = run(module, asked.jobs)
        results.append(result)
        minutes = (time.monotonic() - begin) / 60
        print(
            f"| `{module.full_name}` | {result.total} | {result.killed} | "
            f"{result.left_out.total()} | {score([result]):.1f} % | {minutes:.1f} |",
            flush=True,
        )
        for function, count in (result.survived - may).items():
            failed = True
            print(f"{function}: {count} more survive than {SURVIVORS.name} says, of these:")
            for name in result.names[function]:
                print(mutmut(module, "show", name).stdout, flush=True)
        for function, count in (may - result.survived).items():
            if function.startswith(f"{module.full_name}.") and module.sample is None:
                print(f"{function}: {count} fewer survive than {SURVIVORS.name} says; lower it")
    parts = []
    for package, wanted in WANTED.items():
        mine = [one for one in results if one.module.package == package]
        if mine:
            failed |= score(mine) < wanted
            of = f"{len(mine)} of {len(TESTS[package])} modules"
            parts.append(f"{package} {score(mine):.1f} % ({of})")
    print("mutation: " + ", ".join(parts))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
