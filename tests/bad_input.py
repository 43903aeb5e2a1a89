"""Bad input by table: a valid call of every public function, and what becomes of it when spoilt.

A `Subject` is one function: a call that is right, what kind of array each argument is, and the
answers that are defined for what is no number. `cases` spoils one argument after the other: other
ranks, last axes, dtypes and lengths, NaN and infinity in one place, a number out of its range, no
rows at all. What is not listed as defined must be an error that names the argument, what was
expected and what was received, and, of a number in an array, its index.

This module runs without TensorFlow. test_bad_input.py in `reference` and in `parity` and
test_bad_commands.py in `end_to_end` use it.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from functools import cache
from itertools import product
from operator import attrgetter
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from reference_numpy.conventions import (
    CANONICAL,
    AnchorLayout,
    Coding,
    Convention,
    Detection,
    Loss,
    Matching,
    Overlap,
)
from reference_numpy.mobilenet_v2 import PARTS

Outcome = Callable[["Case", Any, Any], None]
NAN, INF = np.nan, np.inf


# --- what spoils an array --------------------------------------------------------------------


class Spec(NamedTuple):
    """What an array argument is: "floats N 4", "labels ... from -1 to 2", "flags N"."""

    kind: str
    axes: tuple[str, ...]
    least: float | None = None
    most: float | None = None

    @classmethod
    def of(cls, text: str) -> Spec:
        """Read it."""
        words, _, limits = text.partition(" from ")
        kind, *axes = words.split()
        least, _, most = limits.partition(" to ")
        return cls(
            kind, tuple(axes), float(least) if least else None, float(most) if most else None
        )

    @property
    def open(self) -> bool:
        """Whether the number of axes is free."""
        return "..." in self.axes


# Which dtypes spoil which kind of array. "boxes" (xyxy) and "anchors" (cxcywh) are
# floats that can be spoilt in more ways.
FLOATS = ("int64", "bool", "complex128", "str", "object")
DTYPES: dict[str, tuple[str, ...]] = {
    "floats": FLOATS,
    "boxes": FLOATS,
    "anchors": FLOATS,
    "labels": ("float64", "bool", "complex128", "str", "object"),
    "flags": ("float64", "complex128", "str", "object"),
    "any": (),
}


class Case(NamedTuple):
    """One spoilt call.

    Attributes:
        subject: Whose.
        argument: Which argument was spoilt.
        how: In a few words.
        given: All arguments.
        index: Where in the argument, if in one place.
    """

    subject: Subject
    argument: str
    how: str
    given: dict[str, Any]
    index: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """For the name of a test."""
        return f"{self.subject.name}({self.argument}: {self.how})"


@dataclass(frozen=True)
class Subject:
    """A public function.

    Attributes:
        name: "module.function" below its package.
        given: Arguments of a valid call.
        arrays: What each array among them is, as `Spec.of` reads it.
        but: Outcomes that are no error, by "argument: how" or "how".
        wrong: Further arguments that are wrong: (arguments that differ, who must be named).
        rules: Whether it takes a convention and changes of it.
        also: Who else may be named: an argument of what does the work.
        few: Whether calls are slow, so that what is not finite is tried in one place only.
    """

    name: str
    given: Mapping[str, Any]
    arrays: Mapping[str, str] = field(default_factory=dict)
    but: Mapping[str, Outcome] = field(default_factory=dict)
    wrong: tuple[tuple[Mapping[str, Any], str], ...] = ()
    rules: bool = False
    also: tuple[str, ...] = ()
    few: bool = False

    def outcome(self, case: Case) -> Outcome:
        """What is to become of a case."""
        for key in (f"{case.argument}: {case.how}", case.how):
            if key in self.but:
                return self.but[key]
        return quiet if case.how.startswith("no ") else REFUSED


def spoilt(value: np.ndarray, spec: Spec) -> Iterator[tuple[str, Any, tuple[int, ...] | None]]:
    """(how, the spoilt argument, where) for an argument by itself."""
    for dtype in DTYPES[spec.kind]:
        yield dtype, value.astype(dtype), None
    yield "list", value.tolist(), None
    yield "None", None, None
    if not spec.open and value.ndim:
        yield "one axis less", value[0], None
    if not spec.open:
        yield "one axis more", value[None], None
    if spec.axes and spec.axes[-1].isdigit():
        yield "last axis too short", value[..., :-1], None
        yield "last axis too long", np.concatenate([value, value[..., :1]], axis=-1), None
    if spec.axes and (spec.axes[-1].isdigit() or (spec.open and spec.axes[-1] != "...")):
        yield "a scalar", value.reshape(-1)[0].reshape(()), None
    if not value.size:
        return
    last = tuple(side - 1 for side in value.shape)
    front = (*last[:-1], 0)

    def put(where: tuple[int, ...], number: float) -> np.ndarray:
        bad = value.copy()
        bad[where] = number
        return bad

    if DTYPES[spec.kind] is FLOATS:
        for how, number in (("nan", NAN), ("inf", INF), ("-inf", -INF)):
            yield how, put(last, number), last
            if spec.axes[-1] == "4":
                yield f"{how} in front", put(front, number), front
    if spec.kind == "boxes":
        yield "inside out", put(last, value[(*last[:-1], 1)] - 0.5), last
        yield "flat", put(last, value[(*last[:-1], 1)]), last
    if spec.kind == "anchors":
        yield "negative size", put(last, -0.5), last
        yield "without size", put(last, 0), last
    step = 1 if spec.kind == "labels" else 0.5
    for how, limit, sign in (("too small", spec.least, -1), ("too large", spec.most, 1)):
        if limit is not None:
            yield how, put(last, limit + sign * step), last


SPARED = ("nan in front", "inf in front", "-inf", "-inf in front", "negative size")

# What every function refuses that takes changes of a convention.
RULES = tuple(
    ({name: value}, name)
    for name, value in (
        ("threshold", 1.5),
        ("threshold", 0.0),
        ("iou_threshold", NAN),
        ("iou_threshold", -0.1),
        ("score_threshold", "high"),
        ("negative_ratio", -1),
        ("variances", (0.1, 0.1)),
    )
)


def cases(subject: Subject) -> Iterator[Case]:
    """Every spoilt call of a function."""
    specs = {name: Spec.of(text) for name, text in subject.arrays.items()}
    for name, spec in specs.items():
        for how, bad, index in spoilt(subject.given[name], spec):
            if subject.few and how in SPARED:
                continue
            yield Case(subject, name, how, {**subject.given, name: bad}, index)
    # Lengths that differ, and no length at all.
    axes: dict[str, list[tuple[str, int]]] = {}
    for name, spec in specs.items():
        rank = np.ndim(subject.given[name])
        for place, axis in enumerate(spec.axes):
            if not axis.isdigit():
                at = place if axis != "..." else -1
                after = len(spec.axes) - place
                at = at if "..." not in spec.axes[:place] else rank - after
                axes.setdefault(axis, []).append((name, at))
    for axis, users in axes.items():
        for name, at in users if len({user for user, _ in users}) > 1 else []:
            bad = subject.given[name][:-1] if at < 0 else _cut(subject.given[name], at, -1)
            yield Case(subject, name, f"one {axis} less", {**subject.given, name: bad})
        given = dict(subject.given)
        for name, at in users:
            given[name] = _cut(given[name], max(at, 0), 0)
        yield Case(subject, users[0][0], f"no {axis}", given)
    for change, named in (*subject.wrong, *(RULES if subject.rules else ())):
        how = ", ".join(f"{name}={_in_short(value)}" for name, value in change.items())
        yield Case(subject, named, how, {**subject.given, **change})


def _in_short(value: Any) -> str:
    """Arrays by dtype, shape and their last number: how NumPy prints them can be set."""
    if isinstance(value, np.ndarray):
        last = f" ... {value.reshape(-1)[-1]}" if value.size else ""
        return f"{value.dtype} {value.shape}{last}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_in_short(one)}' for name, one in value.items())}}}"
    return repr(value)


def _cut(value: np.ndarray, axis: int, stop: int) -> np.ndarray:
    return value[(*[slice(None)] * axis, slice(0, stop))]


# --- outcomes --------------------------------------------------------------------------------

SENTENCE = re.compile(
    r"(?P<names>[\w.]+(?:, \w+)*)(?P<index>(?:\[[\d, ]*\])*): expected (?P<expected>\S.*)\. "
    r"Received: (?P<value>.+)",
    re.DOTALL,
)


def check_message(case: Case, error: BaseException) -> None:
    """An error must say which argument, where in it, what was expected and what came."""
    message = str(error)
    kinds = ValueError | TypeError | OSError
    assert isinstance(error, kinds), f"{type(error).__name__}: {message}"
    found = SENTENCE.fullmatch(message)
    assert found, f"not `name[index]: expected ... Received: ...`: {message}"
    names = found["names"].split(", ")
    partners = {case.argument, *case.subject.also}
    if case.how.startswith(("one ", "no ")):
        partners |= set(case.subject.arrays)
    assert partners & set(names), f"expected {case.argument} to be named: {message}"
    known = {*case.given, *partners, *(one.name for kind in CHOICES for one in fields(kind))}
    assert len(names) == 1 or set(names) <= known, f"expected some of {known}: {message}"
    index = tuple(int(one) for one in re.findall(r"\d+", found["index"]))
    wanted = expectation(case)
    assert re.search(wanted, found["expected"]), f"not expected {wanted}: {message}"
    limits = re.match(r"(-?\d+) (or more$|to (-?\d+)\b)", found["expected"])
    if limits and re.fullmatch(r"-?\d+", found["value"]):  # the table asks for one beyond
        beside = int(limits[1]) - 1, int(limits[3] or 0) + 1
        assert int(found["value"]) in beside, f"expected another limit: {message}"
    axes = odd_axes(case, names[0], found["expected"])
    assert not axes, f"not the axes of {case.subject.arrays[names[0]]!r}: {message}"
    if case.index is not None:
        assert index, f"the index is not said: {message}"
        assert index == case.index[: len(index)], f"expected index {case.index}: {message}"
    shown = is_shown(case, found["value"], names, index)
    assert shown, f"what was received is not said: {message}"


# What an error says that it expected: of a dtype by the kind of array, else by what is wrong.
OF = {"labels": "whole numbers", "flags": "booleans", "any": "numbers"}
SHAPES = r".*axis.*|a scalar|one .* less|no .*"
EXPECTED = {
    r".*=.*": r"^[a-z0-9'(\[-]|\b(True or False|None where|SHA-256)\b|^(?!None)[A-Z][A-Za-z]+$",
    r"int64|float64|bool|complex128|str|object|list|None": (
        r"\b{of}\b|\bbooleans\b|\bfloat32\b|\bfloat64\b|\bshape\b|\ban array\b"
    ),
    SHAPES: (
        r"\bshapes? \(|\bshapes that broadcast$|\bone shape$|\barray \(|\bwindow\b|\bimages\b"
        r"|\bto\b|^\(\d"
    ),
    r"too .*": r"^-?\d+ (or more|to -?\d)|^a (finite )?number (from|in) |^more than",
    r".*inf.*|nan.*": r"^((a|four|positive|finite) )*(numbers?|corners)\b|^\(cx|^-?\d|^more",
    r"inside out|flat": r"\bxmin <",
    r"negative size|without size": r"^\(cx, cy, w, h\), finite, w and h above 0$",
}


def expectation(case: Case) -> str:
    """A pattern in what an error must say that it expected."""
    of = OF.get(case.subject.arrays.get(case.argument, "").partition(" ")[0], "floats")
    wanted = (said for how, said in EXPECTED.items() if re.fullmatch(how, case.how, re.DOTALL))
    return next(wanted).format(of=of)


def odd_axes(case: Case, name: str, expected: str) -> list[str]:
    """What stands in the shape that an error expected, and is no axis of the argument."""
    shape = re.search(r"shape \(([^)]*)\)", expected)
    if shape is None or name not in case.subject.arrays:
        return []
    words = [word.strip() for word in shape[1].split(",") if word.strip()]
    axes = list(Spec.of(case.subject.arrays[name]).axes)
    if "..." in words and "..." in axes:
        words, axes = words[words.index("...") + 1 :], axes[axes.index("...") + 1 :]
    batch = words[:1] in (["B"], ["1"])  # which some add
    if "..." not in (*words, *axes) and len(words) - len(axes) not in (0, batch):
        return words
    return [
        word
        for word, axis in zip(words[::-1], axes[::-1], strict=False)
        if not (
            word in {axis, f"{axis} + 1", "...", "N", "B"}
            or (word.isdigit() and not axis.isdigit())
        )
    ]


PLAIN = (np.ndarray, np.generic, int, float, complex, str)


def is_shown(case: Case, received: str, names: list[str], index: tuple[int, ...]) -> bool:
    """Whether an error says what came: shapes where these were wrong, else the value itself."""
    shapes = r"((shape )?\([\d, ]*\)(, | and )?)+|-?\d+"
    if re.fullmatch(SHAPES, case.how) and re.fullmatch(shapes, received):
        return True
    given = [case.given.get(name) for name in names]
    if not all(isinstance(value, PLAIN) for value in given):
        return True  # shown by its parts
    whole = product(*(renderings(value, index) for value in given))
    if any(f"{received}, ".startswith(f"{', '.join(one)}, ") for one in whole):
        return True
    # What does not go together: the value of the other, or this one with the other.
    changed = (value for name, value in case.given.items() if name not in case.subject.given)
    others = (rf"(unit )?{re.escape(repr(value))}( with .*)?" for value in changed)
    return len(names) > 1 or any(re.fullmatch(one, received) for one in others)


def renderings(value: Any, index: tuple[int, ...]) -> set[str]:
    """How an error may show what it was given: its value, dtype, type, or one element."""
    found = {repr(value), str(value), repr(str(value)), f"[{value!r}]", type(value).__name__}
    if isinstance(value, np.ndarray | np.generic):
        dtype = str(value.dtype)
        # The second as Keras has it; JAX halves what has 64 bits.
        found |= {str(value.shape), dtype, value.dtype.name, dtype.replace("64", "32")}
        found |= {str(np.asarray(value[index]).tolist())} if len(index) <= value.ndim else set()
    return found


def REFUSED(case: Case, answer: Any, valid: Any) -> None:  # noqa: N802, a marker
    """An error was expected."""
    raise AssertionError(f"expected an error. Received: {answer!r}")


def parts(answer: Any) -> list[np.ndarray]:
    """An answer as arrays."""
    if answer is None:
        return []
    if isinstance(answer, dict):
        return [part for one in answer.values() for part in parts(one)]
    if isinstance(answer, tuple | list):
        return [part for one in answer for part in parts(one)]
    return [np.asarray(answer)]


def has_nan(value: np.ndarray) -> bool:
    """Whether there is a NaN in it."""
    return value.dtype.kind in "fc" and bool(np.isnan(value).any())


def quiet(case: Case, answer: Any, valid: Any) -> None:
    """Any answer without NaN."""
    for part in parts(answer):
        assert not has_nan(part), f"a NaN that was not put in: {part}"


def same(case: Case, answer: Any, valid: Any) -> None:
    """The answer of the valid call."""
    found, wanted = parts(answer), parts(valid)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_array_equal(one, other)


def shows(case: Case, answer: Any, valid: Any) -> None:
    """NaN where it was put in, and nowhere else."""
    assert case.index is not None
    (found,), (wanted,) = parts(answer), parts(valid)
    assert found.shape == wanted.shape
    there = np.zeros(found.shape, np.bool_)
    there[case.index[: found.ndim]] = True
    assert has_nan(found[there]), f"expected NaN there. Received: {found}"
    np.testing.assert_array_equal(found[~there], wanted[~there])


def in_row(case: Case, answer: Any, valid: Any) -> None:
    """Anything in the row where it was put in; all other rows as they were."""
    assert case.index is not None
    for found, wanted in zip(parts(answer), parts(valid), strict=True):
        assert found.shape == wanted.shape
        there = np.zeros(found.shape, np.bool_)
        there[case.index[: min(found.ndim, len(case.index) - 1)]] = True
        np.testing.assert_array_equal(found[~there], wanted[~there])


# What is not finite, or no box, stays in its row.
IN_ROW: dict[str, Outcome] = {
    how: in_row
    for how in (
        *(f"{what}{where}" for what in ("nan", "inf", "-inf") for where in ("", " in front")),
        *("inside out", "flat", "negative size", "without size"),
    )
}


def hardest(case: Case, answer: Any, valid: Any) -> None:
    """Chosen first."""
    (found,) = parts(answer)
    assert found[case.index], f"expected {case.index} among {found}"


def never(case: Case, answer: Any, valid: Any) -> None:
    """Never chosen."""
    (found,) = parts(answer)
    assert not found[case.index], f"expected {case.index} not among {found}"


def unkept(case: Case, answer: Any, valid: Any) -> None:
    """Not among the indices kept of its image; the other image's are as before."""
    quiet(case, answer, valid)
    assert case.index is not None
    kept, before = parts(answer)[0], parts(valid)[0]
    assert case.index[1] not in kept[case.index[0]], f"expected {case.index} not in {kept}"
    np.testing.assert_array_equal(kept[: case.index[0]], before[: case.index[0]])


def anything(case: Case, answer: Any, valid: Any) -> None:
    """What is not promised."""


def nan_total(case: Case, answer: Any, valid: Any) -> None:
    """A loss that is no finite number: it shows."""
    assert not np.isfinite(parts(answer)[0]), f"expected a total that shows it: {answer}"


def in_column(case: Case, answer: Any, valid: Any) -> None:
    """Anything in the column of the second argument's row; all else as it was."""
    assert case.index is not None
    (found,), (wanted,) = parts(answer), parts(valid)
    there = np.zeros(found.shape, np.bool_)
    there[(*case.index[:-2], slice(None), case.index[-2])] = True
    np.testing.assert_array_equal(found[~there], wanted[~there])


def in_rows(case: Case, answer: Any, valid: Any) -> None:
    """Anything in the row of every image; all other rows as they were."""
    assert case.index is not None
    (found,), (wanted,) = parts(answer), parts(valid)
    there = np.zeros(found.shape, np.bool_)
    there[:, case.index[0]] = True
    np.testing.assert_array_equal(found[~there], wanted[~there])


def check(case: Case, function: Callable[..., Any], valid: Any = None) -> None:
    """Call, and judge what becomes of it, beside the answer of the valid call."""
    outcome = case.subject.outcome(case)
    try:
        answer = function(**case.given)
    except Exception as error:
        if outcome is not REFUSED:
            raise
        check_message(case, error)
        return
    outcome(case, answer, valid)


def explanation(name: str, explained: Mapping[str, str]) -> str | None:
    """The line that a name falls under."""
    found = [key for key in explained if fnmatchcase(name, key)]
    return max(found, key=len) if found else None


def modules_of(package: ModuleType) -> list[str]:
    """The modules of a package and of its rooms, relative to it; private ones are left out."""
    prefix = f"{package.__name__}."
    found = [one.name for one in pkgutil.walk_packages(package.__path__, prefix)]
    names = [
        name.removeprefix(prefix) for name in found if "._" not in name.replace("._common.", "")
    ]
    return sorted(names)


def public_functions(package: str, modules: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """(module.name, what it is) of everything public that can be called with something.

    Constants and named tuples are left out: they hold what they are given.
    """
    for module in modules:
        source = importlib.import_module(f"{package}.{module}")
        public = getattr(source, "__all__", [one for one in vars(source) if one[0] != "_"])
        for name in public:
            found = getattr(source, name)
            mine = getattr(found, "__module__", "") == source.__name__
            tuples = isinstance(found, type) and issubclass(found, tuple | Exception)
            if callable(found) and mine and not tuples:
                yield f"{module}.{name}", found


def function_of(package: str, name: str) -> Callable[..., Any]:
    """What a subject is about."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            module = importlib.import_module(".".join([package, *parts[:count]]))
            return attrgetter(".".join(parts[count:]))(module)
    raise LookupError(f"{package}.{name}")


def judge(
    subject: Subject, function: Callable[..., Any], *, answers: bool = True
) -> tuple[int, list[str]]:
    """Spoil every argument of a function; how many calls that were, and what went wrong.

    Without `answers` only calls that are to be refused, which is soon done.
    """
    wrong = []
    everything = [case for case in cases(subject) if answers or subject.outcome(case) is REFUSED]
    answered = any(subject.outcome(case) is not REFUSED for case in everything)
    valid = function(**subject.given) if answered else None
    for case in everything:
        try:
            check(case, function, valid)
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
        except Exception as error:
            wrong.append(f"{case.name}: {type(error).__name__}: {error}")
    return len(everything), wrong


# --- the reference ---------------------------------------------------------------------------

BOXES = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.75, 1.0], [0.5, 0.0, 1.0, 0.5]])
OTHERS = np.array([[0.0, 0.0, 0.5, 0.25], [0.5, 0.5, 1.0, 1.0]])
CORNERS = np.array(
    [[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 0.5], [0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 1.0, 1.0]]
)
ANCHORS = np.array(
    [[0.25, 0.25, 0.5, 0.5], [0.75, 0.25, 0.5, 0.5], [0.5, 0.75, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
)
IOU = np.array([[0.5, 0.25, 0.0, 0.125], [0.0, 0.5, 0.75, 0.25]])
LABELS = np.array([1, 2, 1])
CROWDS = np.array([False, False, True])
LOGITS = np.array([[0.0, 1.0, -1.0], [2.0, 0.5, 0.0], [0.0, -1.0, 3.0], [1.0, 1.0, 1.0]])
CLASSES = np.array([0, 1, 2, 0])  # of LOGITS
ONE_HOT = np.eye(3)[CLASSES]
DELTAS = np.array(
    [[0.5, 0.25, 0.0, 0.125], [0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 0.5, 0.5], [0.0, 0.5, -0.5, 0.25]]
)
LOSSES = np.array([0.5, 1.5, 0.25, 2.0])
SCORES = np.array([0.75, 0.5, 0.625])
CLASS_SCORES = np.array([[0.75, 0.1], [0.5, 0.2], [0.625, 0.9], [0.25, 0.4]])
MAP = np.arange(32.0).reshape(1, 4, 4, 2) / 32
KERNEL = np.linspace(-1, 1, 54).reshape(3, 3, 2, 3)
NORM = {name: np.array([1.0, 0.5, 0.25]) for name in ("gamma", "beta", "mean", "variance")}
LAYOUT = AnchorLayout(
    "tiny", (64, 64), ((4, 4), (2, 2), (1, 1)), (0.2, 0.4, 0.6, 0.8), ((2.0,), (2.0,), ())
)
IMAGES = np.linspace(-1, 1, 64 * 64 * 3).reshape(1, 64, 64, 3)
DRAWS = {"generator": np.random.default_rng(0), "images": 2, "dtype": np.float32}

PASSES = {"nan": shows, "inf": quiet, "-inf": quiet}  # element by element
PASSES |= {"nan in front": shows, "inf in front": quiet, "-inf in front": quiet}
ANY_SIZE = {"inside out": quiet, "flat": quiet, "negative size": quiet, "without size": quiet}
HUGE = {"inf": quiet, "-inf": quiet}
SPANS = {f"deltas: {how}": quiet for how in HUGE}  # a huge tw or th, whose corners are infinite
# A logit of -inf is a class that cannot be; without columns there is no class.
SILENT = {"logits: -inf": quiet, "logits: no C": REFUSED}
CHOICES = (Overlap, Matching, Coding, Loss, Detection)
# What does not count may be anything; the last row of CLASSES is background.
UNCOUNTED = {
    f"{name}: {how}{where}": same
    for name in ("deltas", "target_deltas")
    for how in ("nan", "inf", "-inf")
    for where in ("", " in front")
}


def counts(*names: str, least: int = 0) -> tuple[tuple[Mapping[str, Any], str], ...]:
    """What is wrong with a number of things."""
    return tuple(({name: bad}, name) for name in names for bad in (least - 1, 1.5, "3", None, NAN))


def _numbers(*names: str, but: tuple[Any, ...] = (-0.5, 1.5)) -> Any:
    """What is wrong with a number."""
    return tuple(({name: bad}, name) for name in names for bad in (*but, NAN, "half", None, 1j))


def _fields(kind: type) -> tuple[tuple[Mapping[str, Any], str], ...]:
    """What is wrong with the fields of a dataclass, by their annotations."""
    wrong = []
    for one in fields(kind):
        words = str(one.type)
        if words.startswith("tuple"):
            bad: tuple[Any, ...] = (5, "wide", ("a", "b", "c", "d"), (NAN,), ((1, 2, 3),), None)
        elif words == "str":
            bad = (3, None) if one.name == "name" else (3, None, "other")
        elif words == "bool":
            bad = ("yes", None)
        elif "int" in words:
            bad = (1.5, "3", -1, NAN)
        elif "float" in words:
            bad = ("half", NAN, 1j)
        else:
            bad = (None, "caffe", {})
        wrong += [({one.name: value}, one.name) for value in bad]
    return tuple(wrong)


# Fields that are fine by themselves, and not together or not for every reader of them.
CONTRADICTIONS = tuple(
    (change, next(iter(change)))
    for change in (
        *({"ignore_from": 0.4, "threshold": least} for least in (0.3, 0.4)),
        *({"ignore_from": wrong} for wrong in (-0.1, 0.5)),
        {"force_above": -1.0},
        *({"variances": wrong} for wrong in ((1, 1, 1), (1, 1, 1, 0), (1, NAN, 1, 1), (INF,) * 4)),
        {"form": "difference", "size_epsilon": 1e-8},
        {"form": "difference", "ratio_epsilon": 1e-8},
        {"form": "difference", "largest_exponent": 4.0},
        {"degenerate": "encode"},
        *({"negative_ratio": wrong} for wrong in (-1.0, INF)),
        {"min_negatives": 3, "max_negatives": 2},
        *({"focal_gamma": wrong} for wrong in (-1.0, 0.25, INF)),
        *({"box_weight": wrong} for wrong in (-1.0, INF)),
        *({"mining": other, "mining_nms": 0.9} for other in ("batch", "none")),
        {"mining": "none", "min_negatives": 1},
        {"mining": "none", "max_negatives": 9},
        {"max_per_class": 1, "suppress_in": "anchor"},
        {"ties": "lowest label", "suppress_in": "anchor"},
        {"eta": 0.9, "soft_sigma": 0.5},
    )
)
TWO_MAPS = {
    "name": "two",
    "image_size": (8, 16),
    "feature_maps": ((2, 4), (1, 2)),
    "scales": (0.2, 0.5, 0.9),
    "aspect_ratios": ((2.0, 0.5), ()),
    "lowest_shapes": ((0.1, 1.0),),
}
NO_LAYOUT = tuple(
    (change, next(iter(change)))
    for change in (
        *({"feature_maps": wrong} for wrong in ((), ((2, 4), (1, 0)))),
        *({"scales": wrong} for wrong in ((1, 2), (1, 2, 3, 4), (0.2, -0.5, 1), (0.2, NAN, 1))),
        *({"aspect_ratios": wrong} for wrong in (((2.0,),), ((2.0, 0.0), ()))),
        {"image_size": (0, 16)},
        {"lowest_shapes": ((0.1, -1.0),)},
        *({"steps": wrong} for wrong in ((8.0,), (8.0, 0.0))),
        *({"offset": wrong} for wrong in (-0.1, 1.5)),
        {"aspect_ratios": ((1.0,), ()), "square": "listed", "extra_square": "last"},
        {"extra_square": "second", "aspect_ratios": ((1.0,), (1.0,)), "square": "listed"},
        *({"whole_pixels": True, "unit": unit} for unit in ("image", "shorter side")),
        {"scales": (0.2, 0.5, 0.9), "whole_pixels": True, "unit": "pixels"},
    )
)


@cache
def network() -> dict[str, np.ndarray]:
    """Weights of a network of a few channels for LAYOUT, two classes, one extra map."""
    made: dict[str, np.ndarray] = {}

    def unit(name: str, rows: int, inputs: int, outputs: int, norm: str | None = None) -> None:
        depthwise = "depthwise" in name
        shape = (rows, rows, inputs, 1 if depthwise else outputs)
        made[f"{name}/kernel"] = np.full(shape, 0.1)
        for part in PARTS:
            made[f"{norm or name + '_BN'}/{part}"] = np.ones(inputs if depthwise else outputs)

    unit("Conv1", 3, 3, 2, "bn_Conv1")
    for block in range(17):
        name = f"block_{block}" if block else "expanded_conv"
        if block:
            unit(f"{name}_expand", 1, 2, 2)
        unit(f"{name}_depthwise", 3, 2, 2)
        unit(f"{name}_project", 1, 2, 2)
    unit("Conv_1", 1, 2, 2, "Conv_1_bn")
    unit("extra_1_squeeze", 1, 2, 2)
    unit("extra_1_conv", 3, 2, 2)
    for level, shapes in enumerate((3, 3, 2)):
        for output, numbers in (("deltas", 4), ("logits", 3)):
            made[f"head_{level}_{output}/kernel"] = np.full((1, 1, 2, shapes * numbers), 0.1)
            made[f"head_{level}_{output}/bias"] = np.zeros(shapes * numbers)
    return made


# --- both: what takes no batches, in the reference and, in float32, in the mirror ----------------

F4 = np.float32
LISTS = {"list": quiet}  # of numbers, which become tensors
NO_CLASS = {**IN_ROW, **LISTS, "no C": REFUSED}


def _f4(array: Any) -> Any:
    return array.astype(F4) if isinstance(array, np.ndarray) and array.dtype.kind == "f" else array


def both(
    name: str, given: Mapping[str, Any], arrays: Mapping[str, str], *outcomes: Any, wrong: Any = ()
) -> tuple[Subject, Subject]:
    """A function of the reference and its mirror, and the outcomes of each that are no error."""
    single = {argument: _f4(value) for argument, value in given.items()}
    return (
        Subject(name, given, arrays, outcomes[0], wrong),
        Subject(name, single, arrays, outcomes[1], wrong),
    )


TARGETS = {"logits": "floats ...", "targets": "floats ... from 0 to 1"}
BEYOND = {"targets: too small": quiet, "targets: too large": quiet}  # not looked at in a graph
BOTH = (
    both(
        "anchors.linear_scales",
        {"levels": 6, "smallest": 0.2, "largest": 0.9},
        {},
        {},
        {},
        wrong=(
            *counts("levels", least=2),
            *_numbers("smallest", but=(-0.5, 0, 0.9, INF)),
            *_numbers("largest", but=(-0.5, 0.1, INF)),
        ),
    ),
    both(
        "anchors.level_shapes",
        {"layout": LAYOUT, "level": 0},
        {},
        {},
        {},
        wrong=(*counts("level"), ({"level": 3}, "level")),
    ),
    both(
        "anchors.make_anchors",
        {"layout": LAYOUT},
        {},
        {},
        {},
        wrong=tuple(({"dtype": bad}, "dtype") for bad in ("int32", bool, complex, str, object)),
    ),
    both(
        "losses.smooth_l1",
        {"predicted": DELTAS, "target": DELTAS + 1},
        {"predicted": "floats ...", "target": "floats ..."},
        PASSES,
        PASSES | LISTS,
    ),
    both(
        "losses.one_hot",
        {"labels": CLASSES, "columns": 3},
        {"labels": "labels ... from 0 to 2"},
        {},
        LISTS,
        wrong=counts("columns"),
    ),
    both("losses.softmax", {"logits": LOGITS}, {"logits": "floats ... C"}, SILENT, NO_CLASS),
    both(
        "losses.softmax_cross_entropy",
        {"logits": LOGITS, "labels": CLASSES},
        {"logits": "floats ... C", "labels": "labels ... from 0 to 2"},
        SILENT,
        NO_CLASS,
    ),
    both(
        "losses.sigmoid", {"logits": LOGITS}, {"logits": "floats ..."}, PASSES, {**PASSES, **LISTS}
    ),
    both(
        "losses.sigmoid_cross_entropy",
        {"logits": LOGITS, "targets": ONE_HOT},
        TARGETS,
        {},
        {**IN_ROW, **LISTS, **BEYOND},
    ),
    both(
        "losses.focal",
        {"logits": LOGITS, "targets": ONE_HOT},
        TARGETS,
        {},
        {**IN_ROW, **LISTS, **BEYOND},
        wrong=(*_numbers("alpha"), *_numbers("gamma", but=(-0.5, 0.5))),
    ),
)

REFERENCE = (
    *(reference for reference, _ in BOTH),
    # boxes
    Subject("boxes.xyxy_to_cxcywh", {"boxes": BOXES}, {"boxes": "boxes ... 4"}, ANY_SIZE),
    Subject(
        "boxes.cxcywh_to_xyxy",
        {"boxes": ANCHORS},
        {"boxes": "anchors ... 4"},
        {**ANY_SIZE, **HUGE},
    ),
    Subject("boxes.area", {"boxes": BOXES}, {"boxes": "boxes ... 4"}, ANY_SIZE),
    Subject("boxes.clip", {"boxes": BOXES}, {"boxes": "boxes ... 4"}, {**PASSES, **ANY_SIZE}),
    Subject("boxes.flip_horizontally", {"boxes": BOXES}, {"boxes": "boxes ... 4"}, ANY_SIZE),
    Subject("boxes.check_boxes", {"boxes": BOXES}, {"boxes": "boxes N 4"}),
    Subject(
        "boxes.check_boxes",
        {"boxes": BOXES, "flat": True},
        {"boxes": "boxes N 4"},
        {"boxes: flat": quiet},
    ),
    Subject("boxes.check_anchors", {"anchors": ANCHORS}, {"anchors": "anchors A 4"}),
    Subject(
        "boxes.pairwise_iou",
        {"first": BOXES, "second": OTHERS},
        {"first": "boxes N 4", "second": "boxes M 4"},
        ANY_SIZE,
        rules=True,
    ),
    Subject(
        "boxes.pairwise_ioa",
        {"first": BOXES, "second": OTHERS},
        {"first": "boxes N 4", "second": "boxes M 4"},
        ANY_SIZE,
    ),
    # matching
    Subject(
        "matching.bipartite",
        {"iou": IOU},
        {"iou": "floats objects anchors from 0 to 1"},
        wrong=_numbers("force_above"),
    ),
    Subject(
        "matching.match", {"iou": IOU}, {"iou": "floats objects anchors from 0 to 1"}, rules=True
    ),
    Subject(
        "matching.match",
        {"iou": IOU.astype(np.float32)},
        wrong=(({"threshold": 1e-60}, "threshold"),),
    ),
    # coding
    Subject(
        "coding.encode",
        {"boxes": CORNERS, "anchors": ANCHORS},
        {"boxes": "boxes A 4", "anchors": "anchors A 4"},
        rules=True,
    ),
    Subject(
        "coding.decode",
        {"deltas": DELTAS, "anchors": ANCHORS},
        {"deltas": "floats A 4", "anchors": "anchors A 4"},
        SPANS,
        rules=True,
    ),
    Subject(
        "coding.decode",
        {"deltas": DELTAS, "anchors": ANCHORS, "form": "difference"},
        {"deltas": "floats A 4", "anchors": "anchors A 4"},
    ),
    Subject("coding.background_first", {"logits": LOGITS}, {"logits": "any ... C"}, rules=True),
    # targets
    Subject(
        "targets.assign_targets",
        {"boxes": BOXES, "labels": LABELS, "anchors": ANCHORS, "crowds": CROWDS},
        {
            "boxes": "boxes N 4",
            "labels": "labels N from -1",
            "anchors": "anchors A 4",
            "crowds": "flags N",
        },
        {"labels: list": same, "crowds: list": same, "crowds: None": quiet},
        wrong=(({"labels": np.array([1, 0, 1])}, "labels"),),
        rules=True,
    ),
    # losses
    *(
        Subject(
            f"{module}.{name}",
            {"predicted": DELTAS, "target": DELTAS + 1},
            wrong=(
                ({"predicted": np.full((4, 4), INF), "target": np.full((4, 4), INF)}, "predicted"),
            ),
        )
        for module, name in (("losses", "smooth_l1"), ("gradients", "smooth_l1_gradient"))
    ),
    Subject(
        "losses.check_labels",
        {"labels": CLASSES, "num_classes": 3},
        {"labels": "labels ... from 0 to 2"},
    ),
    # mining
    Subject(
        "mining.mine_hard_negatives",
        {"losses": LOSSES, "labels": CLASSES},
        {"losses": "floats A", "labels": "labels A from -1"},
        {"losses: inf": quiet},
        rules=True,
    ),
    Subject(
        "mining.choose_anchors",
        {"losses": LOSSES[None], "labels": CLASSES[None]},
        {"losses": "floats B A", "labels": "labels B A from -1"},
        {"losses: inf": quiet},
        rules=True,
    ),
    Subject(
        "mining.choose_anchors",
        {
            "losses": LOSSES[None],
            "labels": CLASSES[None],
            "boxes": CORNERS[None],
            "mining_nms": 0.5,
        },
        {"losses": "floats B A", "labels": "labels B A from -1", "boxes": "boxes B A 4"},
        {**ANY_SIZE, "losses: inf": quiet},
    ),
    # multibox
    Subject(
        "multibox.class_losses",
        {"logits": LOGITS, "labels": CLASSES},
        {"logits": "floats ... C", "labels": "labels ... from -1 to 2"},
        SILENT,
        rules=True,
    ),
    Subject(
        "multibox.class_losses",
        {"logits": LOGITS, "labels": CLASSES, "class_loss": "focal"},
        {"logits": "floats ... C", "labels": "labels ... from -1 to 2"},
        {"no C": REFUSED},
    ),
    Subject(
        "multibox.normalisers",
        {"labels": CLASSES[None]},
        {"labels": "labels B A from -1"},
        rules=True,
    ),
    *(
        Subject(
            name,
            {
                "deltas": DELTAS[None],
                "logits": LOGITS[None],
                "target_deltas": DELTAS[None] + 1,
                "target_labels": CLASSES[None],
                **box_over,
            },
            {
                "deltas": "floats B A 4",
                "logits": "floats B A C",
                "target_deltas": "floats B A 4",
                "target_labels": "labels B A from -1 to 2",
            },
            {**SILENT, **uncounted},
            rules=True,
        )
        for name in ("multibox.multibox_loss", "gradients.multibox_gradient")
        for box_over, uncounted in (({}, UNCOUNTED), ({"box_over": "all"}, {}))
    ),
    # gradients
    Subject(
        "gradients.smooth_l1_gradient",
        {"predicted": DELTAS, "target": DELTAS + 1},
        {"predicted": "floats ...", "target": "floats ..."},
        PASSES,
    ),
    Subject(
        "gradients.softmax_cross_entropy_gradient",
        {"logits": LOGITS, "labels": CLASSES},
        {"logits": "floats ... C", "labels": "labels ... from 0 to 2"},
        SILENT,
    ),
    Subject(
        "gradients.sigmoid_cross_entropy_gradient",
        {"logits": LOGITS, "targets": ONE_HOT},
        {"logits": "floats ...", "targets": "floats ... from 0 to 1"},
    ),
    Subject(
        "gradients.focal_gradient",
        {"logits": LOGITS, "targets": ONE_HOT},
        {"logits": "floats ...", "targets": "floats ... from 0 to 1"},
        wrong=(*_numbers("alpha"), *_numbers("gamma", but=(-0.5, 0.5))),
    ),
    Subject(
        "gradients.class_losses_gradient",
        {"logits": LOGITS, "labels": CLASSES},
        {"logits": "floats ... C", "labels": "labels ... from -1 to 2"},
        SILENT,
        rules=True,
    ),
    # nms, detection
    Subject(
        "suppression.nms",
        {"boxes": BOXES, "scores": SCORES},
        {"boxes": "boxes N 4", "scores": "floats N"},
        {**ANY_SIZE, "scores: inf": quiet, "scores: -inf": quiet},
        rules=True,
    ),
    Subject(
        "suppression.soft_nms",
        {"boxes": BOXES, "scores": SCORES, "soft_sigma": 0.5},
        {"boxes": "boxes N 4", "scores": "floats N from 0"},
        ANY_SIZE,
        wrong=_numbers("soft_sigma", but=(-1, 0)),
        rules=True,
    ),
    Subject(
        "detection.top_k",
        {"scores": SCORES, "k": 2},
        {"scores": "floats N"},
        HUGE,
        wrong=counts("k"),
    ),
    Subject(
        "detection.select",
        {"boxes": CORNERS, "scores": CLASS_SCORES},
        {"boxes": "boxes A 4", "scores": "floats A C"},
        {**ANY_SIZE, **HUGE, "inf in front": quiet, "-inf in front": quiet},
        rules=True,
    ),
    Subject(
        "detection.select",
        {"boxes": CORNERS, "scores": CLASS_SCORES, "clip": "after"},
        {"boxes": "boxes A 4", "scores": "floats A C"},
        {**ANY_SIZE, **{f"scores: {how}": quiet for how in HUGE}},
    ),
    Subject(
        "detection.detect",
        {"deltas": DELTAS, "logits": LOGITS, "anchors": ANCHORS},
        {"deltas": "floats A 4", "logits": "floats A C", "anchors": "anchors A 4"},
        {**SPANS, **SILENT},
        wrong=(({"logits": LOGITS[:, :1]}, "logits"),),
        rules=True,
    ),
    Subject(
        "detection.detect",
        {"deltas": DELTAS, "logits": LOGITS, "anchors": ANCHORS, "class_loss": "sigmoid"},
        {"deltas": "floats A 4", "logits": "floats A C", "anchors": "anchors A 4"},
        {**SPANS, "logits: inf": quiet, "logits: -inf": quiet, "no C": REFUSED},
    ),
    # the network
    Subject(
        "layers.convolution",
        {"x": MAP, "kernel": KERNEL, "bias": np.zeros(3)},
        {"x": "floats B H W C", "kernel": "floats rows columns C F", "bias": "floats F"},
        {
            "bias: None": quiet,
            "no H": REFUSED,
            "no W": REFUSED,
            "no rows": REFUSED,
            "no columns": REFUSED,
        },
        wrong=(*counts("stride", least=1), ({"padding": "SAME"}, "padding")),
    ),
    Subject(
        "layers.depthwise_convolution",
        {"x": MAP, "kernel": KERNEL[..., :1], "bias": np.zeros(2)},
        {"x": "floats B H W C", "kernel": "floats rows columns C 1", "bias": "floats C"},
        {
            "bias: None": quiet,
            "no H": REFUSED,
            "no W": REFUSED,
            "no rows": REFUSED,
            "no columns": REFUSED,
        },
        wrong=(*counts("stride", least=1), ({"padding": 1}, "padding")),
    ),
    Subject(
        "layers.batch_norm",
        {"x": np.ones((2, 3)), **NORM},
        {"x": "floats ... C", **{name: "floats C" for name in NORM}, "variance": "floats C from 0"},
    ),
    Subject(
        "layers.fold_batch_norm",
        {"kernel": KERNEL, **NORM},
        {
            "kernel": "floats rows columns C F",
            **{name: "floats F" for name in NORM},
            "variance": "floats F from 0",
        },
    ),
    Subject("layers.relu6", {"x": MAP}, {"x": "floats ..."}, PASSES),
    Subject(
        "mobilenet_v2.conv_unit",
        {"x": MAP, "name": "Conv1", "weights": {"Conv1/kernel": KERNEL, "Conv1/bias": np.zeros(3)}},
        {"x": "floats B H W C"},
        {"no H": REFUSED, "no W": REFUSED, "no C": REFUSED},
        also=("kernel",),
        wrong=(
            ({"weights": {"Conv1/kernel": KERNEL[0], "Conv1/bias": np.zeros(3)}}, "kernel"),
            ({"weights": {"Conv1/kernel": KERNEL, "Conv1/bias": np.full(3, NAN)}}, "bias"),
            *counts("stride", least=1),
        ),
    ),
    Subject(
        "mobilenet_v2.fold",
        {"weights": {"a/kernel": KERNEL, **{f"a_BN/{part}": np.ones(3) for part in PARTS}}},
        wrong=(
            (
                {"weights": {"a/kernel": KERNEL, **{f"a_BN/{p}": np.ones(2) for p in PARTS}}},
                "gamma",
            ),
        ),
    ),
    Subject(
        "mobilenet_v2.mobilenet_v2_features",
        {"images": IMAGES, "weights": network()},
        {"images": "floats B H W 3"},
        {"no H": REFUSED, "no W": REFUSED},
    ),
    *(
        Subject(
            name,
            {"images": IMAGES, "weights": network(), "layout": LAYOUT},
            {"images": "floats B H W 3"},
            {"no H": REFUSED, "no W": REFUSED},
        )
        for name in ("ssd.feature_maps", "ssd.forward")
    ),
    # evaluation
    Subject(
        "evaluation.match_detections",
        {"iou": IOU, "threshold": 0.5},
        {"iou": "floats D G from 0 to 1"},
        wrong=(*_numbers("threshold", but=(0, 1.5)), ({"rule": "COCO"}, "rule")),
    ),
    Subject(
        "evaluation.average_precision",
        {"hits": [True, False, True], "objects": 2},
        wrong=(
            *(({"hits": bad}, "hits") for bad in ("yes", [[1, 0]], [NAN], [2], 1.0, [1j], None)),
            *counts("objects", least=2),  # as many as hits
            ({"method": "voc12"}, "method"),
        ),
    ),
    Subject(
        "evaluation.evaluate",
        {
            "truth_boxes": [BOXES],
            "truth_labels": [LABELS],
            "boxes": [BOXES],
            "labels": [LABELS],
            "scores": [SCORES],
            "num_classes": 2,
        },
        wrong=(
            *counts("num_classes", least=1),
            ({"method": "voc12"}, "method"),
            *(
                ({name: [bad]}, "truth_boxes")
                for name, values in (("truth_boxes", BOXES), ("truth_labels", LABELS))
                for bad in (values[:2], values[None], values * NAN, "many", None, 1j)
            ),
            *(
                ({name: [bad]}, "boxes")
                for name, values in (("boxes", BOXES), ("labels", LABELS), ("scores", SCORES))
                for bad in (values[:2], values[None], values * NAN, [["many"]], None, 1j)
            ),
            ({"truth_labels": [np.full(3, -1)]}, "truth_labels"),
            *(({name: None}, name) for name in ("truth_boxes", "labels", "scores")),
            ({"scores": [SCORES, SCORES]}, "scores"),
        ),
    ),
    # choices
    *(Subject(f"conventions.choices.{kind.__name__}", {}, wrong=_fields(kind)) for kind in CHOICES),
    Subject(
        "conventions.choices.Convention",
        {"name": "mine"},
        wrong=_fields(Convention),
    ),
    Subject(
        "conventions.choices.Convention.replace",
        {"self": CANONICAL},
        wrong=(*(wrong for kind in CHOICES for wrong in _fields(kind)), *CONTRADICTIONS),
    ),
    Subject(
        "conventions.layouts.AnchorLayout",
        {one.name: getattr(LAYOUT, one.name) for one in fields(LAYOUT)},
        wrong=(
            *_fields(AnchorLayout),
            *(({name: (INF,) * 4}, name) for name in ("scales",)),
            *(({name: -0.5}, name) for name in ("extra_ratio", "offset")),
            ({"image_size": (64,)}, "image_size"),
            ({"feature_maps": ((4, 4), (2, 2), (1,))}, "feature_maps"),
            ({"feature_maps": ((4, 4), (2, 2), (1.0, 1))}, "feature_maps"),
        ),
    ),
    Subject("conventions.layouts.AnchorLayout", TWO_MAPS, wrong=NO_LAYOUT),
    Subject(
        "conventions.choices.revived",
        {"kind": Coding, "plain": {"variances": [1, 1, 1, 1]}},
        wrong=(
            *(({"plain": bad}, "plain") for bad in (None, [1], "x", {"threshold": 0.5})),
            ({"plain": {"variances": [1, 1]}}, "variances"),
            ({"plain": {"form": None}}, "form"),
        ),
    ),
    # cases and workloads
    Subject(
        "testing.cases.random_objects",
        {**DRAWS, "objects": 3, "num_classes": 2},
        wrong=(*counts("images", "objects"), *counts("num_classes", least=1)),
    ),
    Subject(
        "testing.cases.random_losses", {**DRAWS, "anchors": 4}, wrong=counts("images", "anchors")
    ),
    Subject(
        "testing.cases.random_scored_boxes",
        {**DRAWS, "anchors": 4, "num_classes": 2},
        wrong=counts("images", "anchors", "num_classes"),
    ),
    Subject(
        "testing.workloads.matching_workload",
        {"layout": LAYOUT, "batch": 2, "objects": 3},
        wrong=(*counts("batch", "num_classes", least=1), *counts("objects", "seed")),
    ),
    Subject(
        "testing.workloads.decoding_workload",
        {"layout": LAYOUT, "batch": 2, "objects": 3},
        wrong=(
            *counts("batch", "num_classes", least=1),
            *counts("objects", "seed"),
            ({"load": "heavy"}, "load"),
        ),
    ),
)

# Public functions that take nothing that could be wrong, or are looked at elsewhere, and why.
EXPLAINED = {
    "checks.*": "they are what refuses; test_checks.py",
    "conventions.presets.*": "take nothing",
    "testing.conflict_page.as_markdown": "takes nothing",
    "testing.conflict*": "take a case of the table CONFLICTS, or answers that tests write",
}


# --- Keras -----------------------------------------------------------------------------------

# The mirrors take batches of tensors. Axes and dtypes are checked in every mode; values where
# `check_boxes` and labels are looked at. What else is not finite stays in its row, and is nowhere
# chosen.


def batch(array: np.ndarray) -> np.ndarray:
    """Two images of one, in float32."""
    return np.stack([array, array[::-1]]).astype(F4 if array.dtype.kind == "f" else array.dtype)


SECOND = {f"second: {how}": in_column for how in IN_ROW}
ANCHORED = {f"anchors: {how}": in_rows for how in IN_ROW}
COUNTED = {key: nan_total for key in UNCOUNTED}
UNKEPT = {
    **{how: quiet for how in IN_ROW},
    **{
        f"{name}: {how}": unkept
        for name, hows in (
            (
                "boxes",
                [how for how in IN_ROW if "n" in how and "size" not in how and "inside" not in how],
            ),
            ("scores", ["nan", "-inf"]),
        )
        for how in hows
    },
}
OPEN = {"boxes: one axis less": quiet, "boxes: one axis more": quiet}
OPEN |= {"deltas: one axis less": quiet, "deltas: one axis more": quiet}
LIMITS = {"max_detections": 2, "candidates_per_class": 2}
KERAS = (
    *(mirror for _, mirror in BOTH),
    # boxes
    *(
        Subject(
            f"boxes.{name}",
            {"boxes": _f4(boxes)},
            {"boxes": f"{kind} ... 4"},
            {**IN_ROW, **LISTS},
            rules=name == "columns",
        )
        for name, boxes, kind in (
            ("xyxy_to_cxcywh", BOXES, "boxes"),
            ("cxcywh_to_xyxy", ANCHORS, "anchors"),
            ("area", BOXES, "boxes"),
            ("clip", BOXES, "boxes"),
            ("flip_horizontally", BOXES, "boxes"),
            ("columns", BOXES, "boxes"),
            ("solid", BOXES, "boxes"),
        )
    ),
    *(
        Subject(
            f"boxes.{name}",
            {"first": _f4(BOXES), "second": _f4(BOXES[::-1])},
            {"first": "boxes ... 4", "second": "boxes ... 4"},
            {**IN_ROW, **LISTS},
            rules=name == "iou",
        )
        for name in ("iou", "ioa")
    ),
    *(
        Subject(
            f"boxes.{name}",
            {"first": batch(BOXES)[[0, 1, 0]], "second": batch(OTHERS)[[0, 1, 0]]},
            {"first": "boxes ... N 4", "second": "boxes ... M 4"},
            {**{f"first: {how}": in_row for how in IN_ROW}, **SECOND, **LISTS},
            rules=name == "pairwise_iou",
        )
        for name in ("pairwise_iou", "pairwise_ioa")
    ),
    Subject(
        "boxes.check_boxes",
        {"boxes": batch(BOXES), "labels": batch(LABELS)},
        {"boxes": "boxes B M 4", "labels": "labels B M from -1"},
        LISTS,
        rules=True,
    ),
    # matching, targets
    Subject(
        "matching.match",
        {"boxes": batch(BOXES), "valid": np.ones((2, 3), bool), "anchors": _f4(ANCHORS)},
        {"boxes": "boxes B M 4", "valid": "flags B M", "anchors": "anchors A 4"},
        {**{how: quiet for how in IN_ROW}, **LISTS, "valid: int64": REFUSED},
        rules=True,
        few=True,
    ),
    Subject(
        "matching.bipartite",
        {
            "boxes": batch(BOXES),
            "valid": np.ones((2, 3), bool),
            "anchors": _f4(ANCHORS),
            "best_iou": np.full((2, 3), 0.5, F4),
            "best_anchor": np.array([[0, 1, 2], [2, 1, 0]], np.int32),
        },
        {
            "boxes": "boxes B M 4",
            "valid": "flags B M",
            "anchors": "anchors A 4",
            "best_iou": "floats B M",
            "best_anchor": "labels B M",
        },
        {**{how: quiet for how in IN_ROW}, **LISTS, "no A": quiet},
        rules=True,
        few=True,
    ),
    Subject(
        "targets.assign_targets",
        {
            "boxes": batch(BOXES),
            "labels": batch(LABELS),
            "anchors": _f4(ANCHORS),
            "crowds": batch(CROWDS),
        },
        {
            "boxes": "boxes B M 4",
            "labels": "labels B M from -1",
            "anchors": "anchors A 4",
            "crowds": "flags B M",
        },
        {**{f"anchors: {how}": quiet for how in IN_ROW}, **LISTS, "crowds: None": quiet},
        rules=True,
        few=True,
    ),
    # coding
    Subject(
        "coding.encode",
        {"boxes": batch(CORNERS), "anchors": _f4(ANCHORS)},
        {"boxes": "boxes B A 4", "anchors": "anchors A 4"},
        {**OPEN, **IN_ROW, **ANCHORED, **LISTS},
        wrong=(({"boxes": _f4(CORNERS)[0]}, "boxes"),),
        rules=True,
    ),
    Subject(
        "coding.decode",
        {"deltas": batch(DELTAS), "anchors": _f4(ANCHORS)},
        {"deltas": "floats B A 4", "anchors": "anchors A 4"},
        {**OPEN, **IN_ROW, **ANCHORED, **LISTS},
        wrong=(({"deltas": _f4(DELTAS)[0]}, "deltas"),),
        rules=True,
    ),
    Subject(
        "coding.background_first",
        {"logits": _f4(LOGITS)},
        {"logits": "any ... C"},
        LISTS,
        rules=True,
    ),
    # mining, multibox
    Subject(
        "mining.mine_hard_negatives",
        {"losses": batch(LOSSES), "labels": batch(CLASSES)},
        {"losses": "floats B A", "labels": "labels B A from -1"},
        {**LISTS, "nan": hardest, "inf": hardest, "-inf": quiet, "too small": quiet},
        rules=True,
    ),
    Subject(
        "mining.choose_anchors",
        {"losses": batch(LOSSES), "labels": batch(CLASSES)},
        {"losses": "floats B A", "labels": "labels B A from -1"},
        {**LISTS, "nan": quiet, "inf": quiet, "-inf": quiet, "too small": quiet},
        rules=True,
    ),
    Subject(
        "mining.choose_anchors",
        {
            "losses": batch(LOSSES),
            "labels": batch(CLASSES),
            "boxes": batch(CORNERS),
            "mining_nms": 0.5,
        },
        {"losses": "floats B A", "labels": "labels B A from -1", "boxes": "boxes B A 4"},
        {**LISTS, **{how: quiet for how in IN_ROW}, "too small": quiet},
        few=True,
    ),
    Subject(
        "multibox.class_losses",
        {"logits": _f4(LOGITS), "labels": CLASSES},
        {"logits": "floats ... C", "labels": "labels ... from -1 to 2"},
        {**IN_ROW, **LISTS, "no C": REFUSED},
        rules=True,
    ),
    Subject(
        "multibox.normalisers",
        {"labels": batch(CLASSES)},
        {"labels": "labels B A from -1"},
        {**LISTS, "too small": quiet},
        rules=True,
    ),
    *(
        Subject(
            "multibox.multibox_loss",
            {
                "deltas": batch(DELTAS),
                "logits": batch(LOGITS),
                "target_deltas": batch(DELTAS + 1),
                "target_labels": batch(CLASSES),
                **box_over,
            },
            {
                "deltas": "floats B A 4",
                "logits": "floats B A C",
                "target_deltas": "floats B A 4",
                "target_labels": "labels B A from -1 to 2",
            },
            {**LISTS, **{f"logits: {how}": anything for how in IN_ROW}, "no C": REFUSED, **deltas},
            rules=True,
        )
        for box_over, deltas in (({}, UNCOUNTED), ({"box_over": "all"}, COUNTED))
    ),
    # nms, detection
    Subject(
        "suppression.nms",
        {
            "boxes": batch(BOXES),
            "scores": batch(SCORES),
            "max_kept": 3,
            "classes": batch(LABELS),
            "order": np.array([[0, 1, 2], [2, 1, 0]]),
            "silent": np.zeros((2, 3), bool),
        },
        {
            "boxes": "boxes B N 4",
            "scores": "floats B N",
            "classes": "labels B N",
            "order": "labels B N",
            "silent": "flags B N",
        },
        {**UNKEPT, **LISTS, **{f"{n}: None": quiet for n in ("classes", "order", "silent")}},
        wrong=tuple(wrong for wrong in counts("max_kept") if wrong[0]["max_kept"] is not None),
        rules=True,
        few=True,
    ),
    Subject(
        "suppression.soft_nms",
        {"boxes": batch(BOXES), "scores": batch(SCORES), "soft_sigma": 0.5},
        {"boxes": "boxes B N 4", "scores": "floats B N"},
        {**UNKEPT, **LISTS},
        wrong=_numbers("soft_sigma", but=(-1, 0)),
        rules=True,
        few=True,
    ),
    Subject(
        "suppression.passes",
        {"scores": _f4(SCORES), "rules": Detection()},
        {"scores": "floats ..."},
        {**LISTS, "nan": never, "inf": quiet, "-inf": never},
    ),
    Subject(
        "detection.select",
        {"boxes": batch(CORNERS), "scores": batch(CLASS_SCORES), **LIMITS},
        {"boxes": "boxes B A 4", "scores": "floats B A C"},
        {**LISTS, **{how: quiet for how in IN_ROW}},
        rules=True,
        few=True,
    ),
    Subject(
        "detection.detect",
        {"deltas": batch(DELTAS), "logits": batch(LOGITS), "anchors": _f4(ANCHORS), **LIMITS},
        {"deltas": "floats B A 4", "logits": "floats B A C", "anchors": "anchors A 4"},
        {**LISTS, **{how: quiet for how in IN_ROW}, "no C": REFUSED},
        rules=True,
        few=True,
    ),
    # ties
    Subject(
        "ties.first_argmax",
        {"values": _f4(CLASS_SCORES)},
        {"values": "floats ... N"},
        {**LISTS, "nan": anything, "inf": quiet, "-inf": quiet, "no N": REFUSED},
    ),
    Subject(
        "ties.top_mask",
        {"values": _f4(CLASS_SCORES), "counts": np.array([1, 0, 2, 1], np.int32)},
        {"values": "floats ... N", "counts": "labels ..."},
        {**LISTS, "nan": quiet, "inf": quiet, "-inf": quiet, "no N": REFUSED},
        wrong=(({"counts": np.array([1.0, 0, 2, 1])}, "counts"),),
    ),
)
