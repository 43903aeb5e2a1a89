"""What would the tests not notice? `tox run -e mutation` changes the code in small ways to see.

mutmut makes the mutants, one small change each (another operator, number, argument), and runs
tests on every one, each in a process of its own (its fork server). A mutant that makes a test
fail is killed; one that does not survives, and is either listed in `tests/survivors.toml` with
the reason why it changes nothing, or a test is missing.

- A module is judged by its own tests: `reference_numpy.X` by `tests/reference/test_X.py`; its
  mirror by `tests/parity/test_X.py`, the conflict cases by one preset for each answer and the float
  operations of the conformance suite, eagerly; both by what `test_bad_input.py` asks of them. What
  these let live is not tried on the tests of other modules, which would find most of it.
- A timeout is no kill, nor is a crash of the interpreter.
- What mutmut leaves out (functions with a decorator) is listed, and counts as survived, with as
  many mutants as it would have had. Tables at the top of a module are not mutated at all.
- A module is done again when it or one of its tests has changed, else its last result stands; a
  run that was stopped goes on where it was. `--fresh` forgets everything.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SURVIVORS = Path(__file__).with_name("survivors.toml")
PAGE = REPOSITORY / "docs" / "mutation.md"
WORK = Path(".mutation")
# What any test may read beside its module.
COPIED = ("reference_numpy", "keras_impl", "tests", "docs", "benchmarks")
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tox.ini", "toxfile.py")
SHARED = ("tests/conftest.py", "tests/strategies.py", "tests/made_up.py", "tests/fingerprints.py")

REFERENCE = {
    "anchors": ("anchors",),
    "boxes": ("boxes",),
    "cases": ("cases",),
    "checks": ("checks",),
    "coding": ("coding",),
    "conflicts": ("conflicts",),
    "conventions": ("conventions",),
    "detection": ("detection",),
    "evaluation": ("evaluation",),
    "gradients": ("gradients",),
    "layers": ("layers",),
    "layouts": ("layouts", "anchors"),
    "losses": ("losses",),
    "matching": ("matching",),
    "mining": ("mining",),
    "mobilenet_v2": ("ssd",),
    "multibox": ("multibox",),
    "nms": ("nms",),
    "presets": ("presets",),
    "ssd": ("ssd",),
    "targets": ("targets",),
    "workloads": ("workloads",),
}
SUITE = ("conformance", "conventions")  # of all operations
KERAS = {
    "anchors": ("anchors", *SUITE),
    "boxes": ("boxes", *SUITE),
    "checks": ("checks",),
    "coding": ("coding", *SUITE),
    "detection": ("detection", *SUITE),
    "losses": ("losses", *SUITE),
    "matching": ("matching", *SUITE),
    "mining": ("multibox", *SUITE),
    "mobilenet_v2": ("mobilenet_v2",),
    "multibox": ("multibox", *SUITE),
    "nms": ("nms", *SUITE),
    "ssd": ("ssd",),
    "targets": ("targets", *SUITE),
    "ties": ("ties",),
}
WANTED = {"reference_numpy": 95.0, "keras_impl": 90.0}
SAID = {"reference_numpy": "reference", "keras_impl": "keras"}

# Exit codes of mutmut's workers; everything else is neither a kill nor a survivor of tests.
KILLED = {1, 3}
OUTCOMES = {0: "survived", 5: "no tests", 33: "no tests", 24: "timeout", -24: "timeout"}
OUTCOMES |= {36: "timeout", 152: "timeout", 255: "timeout", -9: "crash", -11: "crash"}


@dataclass(frozen=True)
class Module:
    """One source file and the tests that judge it.

    Attributes:
        package: Of `WANTED`.
        name: Of the module in it.
        tests: Arguments for pytest: files, and words that choose among their tests.
    """

    package: str
    name: str
    tests: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """As it is imported."""
        return f"{self.package}.{self.name}"

    @property
    def source(self) -> Path:
        """Path in the repository."""
        return Path(self.package) / f"{self.name}.py"

    @property
    def folder(self) -> Path:
        """Where mutmut works on it."""
        return WORK / self.full_name

    @property
    def key(self) -> str:
        """Changes with the module and with its tests."""
        files = [str(self.source), *SHARED, *(one for one in self.tests if one.endswith(".py"))]
        text = "\n".join(self.tests).encode()
        parts = [(REPOSITORY / one).read_bytes() for one in files]
        return hashlib.sha256(b"\0".join([text, *parts])).hexdigest()


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed.

    Attributes:
        module: Full name.
        function: In which it is; a method as Class.method.
        change: Lines taken out and put in, without indentation, as "- old" and "+ new".
        outcome: "survived", "no tests", "timeout" or "crash".
    """

    module: str
    function: str
    change: str
    outcome: str


@dataclass
class Result:
    """What became of the mutants of a module."""

    module: Module
    killed: int
    survivors: list[Survivor] = field(default_factory=list)
    excluded: dict[str, int] = field(default_factory=dict)
    seconds: float = 0
    processes: set[int] = field(default_factory=set)

    @property
    def total(self) -> int:
        """All mutants, with those that were never made."""
        return self.killed + len(self.survivors) + sum(self.excluded.values())


def modules() -> list[Module]:
    """All that is mutated, with its tests."""
    found = []
    for name, tests in REFERENCE.items():
        files = [f"tests/reference/test_{one}.py" for one in (*tests, "bad_input")]
        found.append(Module("reference_numpy", name, (*files, "-k", spoilt(name))))
    for name, tests in KERAS.items():
        files = [f"tests/parity/test_{one}.py" for one in (*tests, "bad_input")]
        found.append(Module("keras_impl", name, (*files, "-k", f"{EAGER} and {spoilt(name)}")))
    return found


# Compiled they cost seconds each, and so do random pictures: the conflict cases are worked by hand.
# Of the network, tests that train, save or build one as large as the published ones.
SLOW = (
    "every_operation or every_preset"
    " or (test_operation and (match or assign or nms or select or detect))"
    " or fit_learns or saved_model or mixed_precision or one_seed or published or shipped"
)
EAGER = f"not graph and not xla and not host and not ({SLOW})"


def spoilt(module: str) -> str:
    """Of the tests with bad input those of a module; `checks` is what all of them go through."""
    mine = "(every_word or spoilt_call)"
    if module == "ssd":  # its methods are asked by tests of their own
        mine = "(a_detector or a_wrong_argument and ssd.)"
    elif module != "checks":
        mine += f" and {module}."
    return f"(not bad_input or {mine})"


def prepare(module: Module) -> None:
    """A folder in which mutmut finds the module, its tests and nothing that it knew before."""
    shutil.rmtree(module.folder, ignore_errors=True)
    module.folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "images")
    for name in COPIED:
        shutil.copytree(REPOSITORY / name, module.folder / name, ignore=ignore)
    for name in FILES:
        shutil.copy2(REPOSITORY / name, module.folder / name)
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    others = [name for name in COPIED if name not in {"tests", module.package}]
    settings = {
        "source_paths": [module.package],
        "only_mutate": [str(module.source)],
        "also_copy": [*others, *FILES],
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
    table = "\n".join(["", "[tool.mutmut]", *lines, ""])
    (module.folder / "pyproject.toml").write_text(project + table, encoding="utf-8")


def run(module: Module, jobs: int, again: bool = False) -> Result:
    """The result of a module, from its folder if nothing has changed since."""
    done = module.folder / "done"
    started = module.folder / "started"
    key = module.key
    if done.exists() and done.read_text(encoding="utf-8") == key:
        return read(module)
    if again and started.exists() and same_source(module):
        forget_survivors(module)
    elif not started.exists() or started.read_text(encoding="utf-8") != key:
        prepare(module)
    started.write_text(key, encoding="utf-8")
    log = module.folder / "mutmut.log"
    # By its own name mutmut would load twice. The path is searched last: it is for the plugin.
    command = (
        f"import sys; sys.path.append({str(SURVIVORS.parent)!r}); "
        "import mutmut.__main__ as m; m.cli()"
    )
    start = time.monotonic()
    try:
        with log.open("wb") as file:
            status = subprocess.run(
                [sys.executable, "-c", command, "run", "--max-children", str(jobs)],
                cwd=module.folder,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
    finally:
        with spent_on(module).open("a", encoding="utf-8") as times:
            times.write(f"{time.monotonic() - start:.1f} {jobs}\n")
    result = read(module)
    if status or any(one.outcome == "not checked" for one in result.survivors):
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:].replace("\r", "\n")
        raise RuntimeError(f"mutmut, {module.full_name}: status {status}\n{tail}\nsee {log}")
    done.write_text(key, encoding="utf-8")
    return result


def same_source(module: Module) -> bool:
    """Whether the module in the folder is the one in the repository."""
    return (module.folder / module.source).read_bytes() == (REPOSITORY / module.source).read_bytes()


def forget_survivors(module: Module) -> None:
    """Have mutmut try again what no test killed, by the tests as they are now."""
    shutil.rmtree(module.folder / "tests")
    shutil.copytree(REPOSITORY / "tests", module.folder / "tests")
    (module.folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    path = meta_of(module)
    meta = json.loads(path.read_text(encoding="utf-8"))
    codes = meta["exit_code_by_key"]
    meta["exit_code_by_key"] = {
        name: code if code in KILLED else None for name, code in codes.items()
    }
    path.write_text(json.dumps(meta), encoding="utf-8")


def spent_on(module: Module) -> Path:
    """Where the seconds of each run and its number of processes are kept."""
    return module.folder / "spent"


def meta_of(module: Module) -> Path:
    """Where mutmut keeps the verdicts."""
    return module.folder / "mutants" / f"{module.source}.meta"


def read(module: Module) -> Result:
    """What mutmut left in the folder."""
    if not meta_of(module).exists():
        return Result(module, 0, [Survivor(module.full_name, "", "", "not checked")])
    codes = json.loads(meta_of(module).read_text(encoding="utf-8"))["exit_code_by_key"]
    result = Result(module, sum(code in KILLED for code in codes.values()))
    mutated = (module.folder / "mutants" / module.source).read_text(encoding="utf-8")
    functions = definitions(mutated)
    for name, code in codes.items():
        if code in KILLED:
            continue
        mangled = name.removeprefix(module.full_name + ".")
        original = functions[re.sub(r"__mutmut_\d+$", "__mutmut_orig", mangled)]
        change = difference(original, functions[mangled])
        outcome = "not checked" if code is None else OUTCOMES.get(code, f"exit code {code}")
        result.survivors.append(Survivor(module.full_name, plain_name(mangled), change, outcome))
    result.excluded = excluded(module)
    path = spent_on(module)  # not there if the machine stopped during the first run
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        seconds, processes = line.split()
        result.seconds += float(seconds)
        result.processes.add(int(processes))
    return result


def definitions(code: str) -> dict[str, list[str]]:
    """The lines of each function that mutmut wrote, by its mangled name."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    indent = 0
    for line in code.splitlines():
        start = re.match(r"( *)def (\S*__mutmut_(?:orig|\d+))\(", line)
        if start:
            current = found[start[2]] = [line.replace(start[2], "f")]
            indent = len(start[1])
        elif current is not None:
            deeper = len(line) - len(line.lstrip()) > indent
            # A signature over several lines closes at the level of its def.
            if line.strip() and not deeper and not line.lstrip().startswith(")"):
                current = None
            else:
                current.append(line)
    return found


def difference(old: Sequence[str], new: Sequence[str]) -> str:
    """The lines that differ, as "- old" and "+ new"."""
    lines = difflib.unified_diff([*old], [*new], lineterm="", n=0)
    kept = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in kept)


def plain_name(mangled: str) -> str:
    """mutmut's x_area__mutmut_3 as area, and its methods as Class.method."""
    name = re.sub(r"__mutmut_\d+$", "", mangled)
    if name.startswith("xǁ"):
        return ".".join(name[2:].split("ǁ"))
    return name.removeprefix("x_")


def excluded(module: Module) -> dict[str, int]:
    """Functions that mutmut leaves out, and how many mutants each would have had."""
    from mutmut.configuration import reset_config
    from mutmut.mutation.file_mutation import mutate_file_contents

    source = (REPOSITORY / module.source).read_text(encoding="utf-8")
    lines, names = source.splitlines(keepends=True), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            plain = [one.id for one in node.decorator_list if isinstance(one, ast.Name)]
            if plain in (["staticmethod"], ["classmethod"]):
                continue
            names.append(node.name)
            for line in range(node.decorator_list[0].lineno - 1, node.lineno - 1):
                lines[line] = "\n"
    with contextlib.chdir(module.folder):  # where mutmut looks for its settings
        reset_config()
        bare = mutate_file_contents(str(module.source), "".join(lines)).mutant_names
    counts = Counter(plain_name(name).rpartition(".")[2] for name in bare)
    marked = source.count("pragma: no mutate")
    found = {name: counts[name] for name in names if counts[name]}
    return {**found, "lines marked not to be mutated": marked} if marked else found


# Survivors and their reasons


@dataclass(frozen=True)
class Reason:
    """Why some survivors change nothing.

    Attributes:
        modules: Pattern of their full names.
        functions: Pattern of the functions.
        change: Pattern found in the change.
        why: A sentence.
    """

    modules: re.Pattern[str]
    functions: re.Pattern[str]
    change: re.Pattern[str]
    why: str

    def covers(self, survivor: Survivor) -> bool:
        """Whether this is the reason."""
        return bool(
            self.modules.fullmatch(survivor.module)
            and self.functions.fullmatch(survivor.function)
            and self.change.search(survivor.change)
        )


def reasons(path: Path = SURVIVORS) -> list[Reason]:
    """The written list."""
    listed = tomllib.loads(path.read_text(encoding="utf-8")).get("survivor", [])
    return [
        Reason(
            re.compile(one.get("module", ".*")),
            re.compile(one.get("function", ".*")),
            re.compile(one["change"], re.DOTALL),
            one["why"],
        )
        for one in listed
    ]


def explained(survivor: Survivor, known: Iterable[Reason]) -> str | None:
    """The reason of a survivor, if one is written down."""
    if survivor.outcome != "survived":
        return None
    return next((reason.why for reason in known if reason.covers(survivor)), None)


def idle(results: Sequence[Result], known: Sequence[Reason]) -> list[Reason]:
    """Reasons of which nothing has survived: a test has been written, or the code has changed."""
    survivors = [one for result in results for one in result.survivors]
    used = {explained(one, known) for one in survivors}
    return [
        reason
        for reason in known
        if reason.why not in used or not any(reason.covers(one) for one in survivors)
    ]


# What is printed


def score(results: Sequence[Result]) -> float:
    """Per cent of all mutants that were killed."""
    total = sum(result.total for result in results)
    return 100 * sum(result.killed for result in results) / total if total else 100.0


def verdict(results: Sequence[Result]) -> str:
    """The last line; of a package of which not all has been run it says how much."""
    parts = []
    for package, said in SAID.items():
        mine = [result for result in results if result.module.package == package]
        # Never rounded up.
        part = f"{said} {int(score(mine) * 10) / 10:.1f} %" if mine else f"{said} not run"
        whole = sum(module.package == package for module in modules())
        parts.append(f"{part} ({len(mine)} of {whole} modules)" if 0 < len(mine) < whole else part)
    return "mutation: " + " ".join(parts)


def table(results: Sequence[Result]) -> Iterator[str]:
    """A row for each module."""
    yield "| module | mutants | killed | survived | timeouts | left out | score | minutes |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for result in results:
        timeouts = sum(one.outcome in {"timeout", "crash"} for one in result.survivors)
        survived = len(result.survivors) - timeouts
        left_out = sum(result.excluded.values())
        minutes = f"{result.seconds / 60:.1f}" if result.seconds else "?"  # of an older run
        yield (
            f"| `{result.module.full_name}` | {result.total} | {result.killed} | {survived} | "
            f"{timeouts} | {left_out} | {int(score([result]) * 10) / 10:.1f} % | "
            f"{minutes} |"
        )


def spent(results: Sequence[Result]) -> str:
    """How long it took, as far as is known; stops between are not counted, nor what was killed."""
    timed = [result for result in results if result.seconds]
    if not timed:
        return "a time that was not kept"
    processes = sorted(set().union(*(result.processes for result in timed)))
    minutes = sum(result.seconds for result in timed) / 60
    known = f"{minutes:.0f} minutes, with {' or '.join(map(str, processes))} processes at once"
    missing = len(results) - len(timed)
    return f"{known}; ? is one of {missing} that were not kept" if missing else known


def page(results: Sequence[Result], listed: Sequence[Reason]) -> str:
    """The results as docs/mutation.md: the table, what was left out, each survivor's reason."""
    lines = [
        "# What the tests would not notice",
        "",
        "`tox run -e mutation` changes the code in small ways, one at a time, and runs the tests",
        "of the module on each (`tests/mutation.py` says how). Where no test fails, the change",
        "survives. This page is written by `tox run -e mutation -- --page`.",
        "",
        "```",
        verdict(results),
        "```",
        "",
        *table(results),
        "",
        f"Time: {spent(results)}.",
        "",
        "A timeout or a crash is no kill. *Left out* are functions with a decorator, which the",
        "tool does not change: they count as survived, with as many mutants as they would have.",
        "",
    ]
    for result in results:
        for name, count in result.excluded.items():
            lines.append(f"- `{result.module.full_name}`, {name}: {count}")
    run = {result.module.full_name for result in results}
    if missing := [f"`{one.full_name}`" for one in modules() if one.full_name not in run]:
        lines += ["", f"Not run for this page: {', '.join(missing)}."]
    lines += ["", "## Survivors, and why they change nothing", ""]
    for reason in listed:
        mine = [
            one
            for result in results
            for one in result.survivors
            if explained(one, listed) == reason.why and reason.covers(one)
        ]
        if mine:
            lines += [f"**{reason.why}**", "", "```diff"]
            for one in mine:
                lines += [f"@@ {one.module}.{one.function}", one.change]
            lines += ["```", ""]
    others = [
        one for result in results for one in result.survivors if explained(one, listed) is None
    ]
    if others:
        lines += ["## Not explained", "", "```diff"]
        for one in others:
            lines += [f"@@ {one.module}.{one.function} ({one.outcome})", one.change]
        lines += ["```", ""]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(
        prog="mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = {module.full_name: module for module in modules()}
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="such as reference_numpy.boxes; a package for all of its modules; default: all",
    )
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs found")
    parser.add_argument(
        "--again",
        action="store_true",
        help="where tests have changed, try only what survived before; no verdict",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument(
        "--show", action="store_true", help="print every survivor, explained or not"
    )
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} from the results")
    asked = parser.parse_args(arguments)
    unknown = [one for one in asked.modules if one not in known and one not in WANTED]
    if unknown:
        parser.error(f"MODULE: expected some of {', '.join(known)}. Received: {unknown[0]}")
    if asked.jobs < 1:
        parser.error(f"--jobs: expected 1 or more. Received: {asked.jobs}")
    chosen = [
        module
        for name, module in known.items()
        if not asked.modules or name in asked.modules or module.package in asked.modules
    ]
    if asked.fresh:
        for module in chosen:
            shutil.rmtree(module.folder, ignore_errors=True)

    listed = reasons()
    results = []
    for module in chosen:
        try:
            result = run(module, asked.jobs, asked.again)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
            return 130
        results.append(result)
        print(list(table([result]))[-1], flush=True)
        for survivor in result.survivors:
            why = explained(survivor, listed)
            if why is None or asked.show:
                change = survivor.change.replace("\n", "\n      ")
                print(f"  {survivor.outcome} in {survivor.function}: {why or 'NOT LISTED'}")
                print(f"      {change}", flush=True)
        for name, count in result.excluded.items():
            print(f"  left out: {name}, {count} mutants", flush=True)

    open_ones = sum(
        explained(one, listed) is None for result in results for one in result.survivors
    )
    short = [
        package
        for package, wanted in WANTED.items()
        for mine in [[one for one in results if one.module.package == package]]
        if mine and score(mine) < wanted
    ]
    if asked.page:
        PAGE.write_text(page(results, listed), encoding="utf-8")
        print(f"wrote {PAGE}")
    unused = idle(results, listed) if len(chosen) == len(known) else []
    for reason in unused:
        print(f"{SURVIVORS.name} explains what no longer survives: {reason.change.pattern}")
    if open_ones:
        print(f"{open_ones} survivors are not listed in {SURVIVORS.name}")
    print(spent(results))
    print(verdict(results))
    return 1 if open_ones or short or unused else 0


if __name__ == "__main__":
    sys.exit(main())
