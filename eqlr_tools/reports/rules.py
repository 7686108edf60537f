"""The rule language of `--fail-on`: a field, a comparison, a number with its unit, and where it applies.

    rule   = [ glob ":" ] place comparison number [ unit ]
    place  = [ "drift." | "ratio." ] [ "stored." | "effective." ] field
    comparison = ">" | ">=" | "<" | "<=" | "==" | "!="
    unit   = "%" | "x" | "dB"

A rule states what must not be: `effective.abs_max>65504` is violated by every layer for which it is true. A place
without `stored.` or `effective.` means either. `docs/rules.md` is the reference for users.
"""

from __future__ import annotations

import math
import operator
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from eqlr_tools.errors import UsageError
from eqlr_tools.reports.fields import CHANGES, FIELDS, FORMS, Field

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_COMPARISON = re.compile(r"[<>=!]+")
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_UNITS = {"%": "%", "x": "x", "×": "x", "db": "dB"}


@dataclass(frozen=True)
class Place:
    """A field, the weights it is taken from (None: either), and whether its change since the baseline is meant."""

    field: Field
    form: str | None = None
    change: str | None = None

    @property
    def forms(self) -> tuple[str, ...]:
        """The weights to look at."""
        return FORMS if self.form is None else (self.form,)

    def name(self, form: str) -> str:
        """The place in full, for one of its forms."""
        parts = [self.change, form if self.field.has_forms else None, self.field.name]
        return ".".join(part for part in parts if part)


@dataclass(frozen=True)
class Rule:
    """A parsed rule. `of_elements`: the field is a count, and the number a share of the layer's weights."""

    text: str
    place: Place
    comparison: str
    number: float
    glob: str | None = None
    of_elements: bool = False

    def violated_by(self, value: float) -> bool:
        return _COMPARISONS[self.comparison](value, self.number)

    def applies_to(self, network: str, layer: str) -> bool:
        """True if the rule's glob, if any, matches the layer's name or `network.layer`; a network's rule, its name."""
        if self.glob is None:
            return True
        names = [network] if self.place.field.scope == "network" else [layer, f"{network}.{layer}"]
        return any(fnmatchcase(name, self.glob) for name in names)


class RuleError(UsageError):
    """A rule that cannot be read; the hint shows it with a caret under the offending place."""

    def __init__(self, option: str, text: str, start: int, length: int, problem: str, advice: str = "") -> None:
        shown = "".join(char if char.isprintable() else "?" for char in text)
        caret = " " * start + "^" * max(length, 1)
        super().__init__(f"{option}: {problem}", hint="\n".join(filter(None, [shown, caret, advice])))


def parse_rule(text: str) -> Rule:
    """Read a rule. Raises RuleError."""
    option = "--fail-on"
    found = list(_COMPARISON.finditer(text))
    if not found:
        raise RuleError(
            option, text, len(text), 1, "a comparison is missing", f"one of {' '.join(_COMPARISONS)}, then a number"
        )
    # A glob such as [!a]* may hold a comparison's characters; the comparison is the last one.
    sign = found[-1]
    if sign[0] not in _COMPARISONS:
        problem = f"{sign[0]!r} is no comparison"
        raise RuleError(option, text, sign.start(), len(sign[0]), problem, f"one of {' '.join(_COMPARISONS)}")
    glob, start = _glob(option, text, sign.start())
    if _COMPARISON.search(text, start, sign.start()):
        problem, advice = "a second comparison", "a rule has one; --fail-on may be given once for each"
        raise RuleError(option, text, sign.start(), len(sign[0]), problem, advice)
    place = parse_place(text[start : sign.start()], option=option, whole=text, offset=start)
    number, unit, at = _number(option, text, sign.end())
    number, of_elements = _in_units(option, text, place, sign[0], number, unit, at)
    return Rule(text, place, sign[0], number, glob, of_elements)


def parse_place(text: str, *, option: str, whole: str | None = None, offset: int = 0) -> Place:
    """Read `drift.effective.rms` and the like. Raises RuleError."""
    whole = text if whole is None else whole
    start = offset + len(text) - len(text.lstrip())
    words = text.strip()
    form = change = None
    while True:
        head, dot, rest = words.partition(".")
        if dot and head in FORMS and form is None:
            form = head
        elif dot and head in CHANGES and change is None:
            change = head
        else:
            break
        start += len(head) + 1
        words = rest
    field = FIELDS.get(words)
    if field is None:
        raise RuleError(option, whole, start, len(words), _unknown(words), _advice(words))
    if change and not field.comparable:
        raise RuleError(option, whole, start, len(words), f"{field.name} ({field.unit}) has no ratio to an earlier one")
    if form and not field.has_forms:
        problem = f"{field.name} is of the {field.scope}, not of its {form} weights"
        raise RuleError(option, whole, offset + len(text) - len(text.lstrip()), len(text.strip()), problem)
    return Place(field, form, change)


def _unknown(words: str) -> str:
    return f"unknown field {words!r}" if words else "a field is missing"


def _advice(words: str) -> str:
    close = get_close_matches(words, FIELDS, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return "\n".join([*textwrap.wrap(f"fields: {', '.join(FIELDS)}", 72), "docs/rules.md says what they are"])


def _glob(option: str, text: str, end: int) -> tuple[str | None, int]:
    """The layer glob in front of the last colon, and where the place begins."""
    colon = text.rfind(":", 0, end)
    if colon < 0:
        return None, 0
    glob = text[:colon].strip()
    if not glob:
        raise RuleError(option, text, colon, 1, "a layer glob is missing in front of the colon", "such as to_rgb*")
    return glob, colon + 1


def _number(option: str, text: str, start: int) -> tuple[float, str, int]:
    """The number and its unit behind a comparison, and where the number begins."""
    at = start + len(text[start:]) - len(text[start:].lstrip())
    match = _NUMBER.match(text, at)
    if match is None:
        advice = "such as 65504, 1e-3, 0.1% or 2x"
        raise RuleError(option, text, at, len(text) - at, "a number is expected here", advice)
    unit = text[match.end() :].strip()
    if unit and unit.lower() not in _UNITS:
        place = text.index(unit, match.end())
        raise RuleError(option, text, place, len(unit), f"unknown unit {unit!r}", "units: % (of the weights), x, dB")
    number = float(match[0].replace("_", ""))
    if not math.isfinite(number):
        raise RuleError(option, text, at, len(match[0]), "no weight is as large as that", "write a smaller number")
    return number, _UNITS.get(unit.lower(), ""), at


def _in_units(
    option: str, text: str, place: Place, comparison: str, number: float, unit: str, at: int
) -> tuple[float, bool]:
    """The number in the field's own unit, and whether a count is to be taken as a share of the layer's weights."""
    kind = "ratio" if place.change else place.field.unit
    length = len(text.rstrip()) - at
    fits = {"": True, "%": kind in ("share", "count"), "x": kind == "ratio", "dB": kind == "dB"}
    if not fits[unit] or (unit == "%" and place.field.scope != "weights"):
        raise RuleError(option, text, at, length, f"{place.field.name} is no {_MEANING[unit]}", _wanted(kind))
    if unit == "%":
        number /= 100
    if (kind == "share" or unit == "%") and not 0 <= number <= 1:
        raise RuleError(option, text, at, length, "a share lies between 0 and 1, or 0% and 100%")
    if place.change == "drift" and number < 1:
        advice = f"for shrinking alone, ratio.{place.field.name}{comparison}{text[at:].strip()}"
        raise RuleError(option, text, at, length, "drift is a change in either direction, at least 1x", advice)
    return number, unit == "%" and kind == "count"


_MEANING = {"%": "share of the weights", "x": "ratio", "dB": "ratio in decibels"}


def _wanted(kind: str) -> str:
    numbers = {"share": "0.1% or 0.001", "count": "10 or 0.1%", "ratio": "2x or 2", "dB": "30dB or 30"}
    return f"it takes a number such as {numbers.get(kind, '65504 or 1e-3')}"
