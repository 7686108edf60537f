"""Whether parameters fit each other: shapes with variables, of which equal ones must have equal sizes.

A line of an architecture's table is a name and its axes, `synthesis.b8.conv0.weight` and `a8 c4 3 3`. An axis is a
number, a variable, or a sum of products of both (`16*c4+16`); `/` stands between alternatives, `*` is any size, `>e`
more than e, `@k` an odd size that is the same wherever it stands in the line, and `d~` d or d and a divisor of it more.
`;` stands between shapes of different rank. A variable is the size that most lines give it, so that the odd one out is
blamed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from eqlr_tools.scaling import Shape

Line = tuple[str, str]

_VARIABLE = re.compile(r"[a-z]\w*")


@dataclass(frozen=True)
class Misfit:
    """A parameter that cannot be used as it is: why, and which other one says otherwise ("" if the table does)."""

    name: str
    reason: str
    witness: str = ""


def misfit(shapes: Mapping[str, Shape], lines: Iterable[Line]) -> Misfit | None:
    """The first parameter whose shape does not fit; None if all do. What the table does not name may be anything."""
    chosen: list[tuple[str, list[str]]] = []
    for name, line in lines:
        if name not in shapes:
            continue
        forms = [form.split() for form in line.split(";")]
        axes = next((form for form in forms if len(form) == len(shapes[name])), None)
        if axes is None:
            ranks = " or ".join(str(len(form)) for form in forms)
            return Misfit(name, f"it has {len(shapes[name])} axes, and {ranks} are meant")
        chosen.append((name, axes))
    widths = _Widths(shapes, chosen)
    # Sums last: which of their terms is wrong, the lines of each tell better.
    plain = (widths.misfit(name, [axis if "+" not in axis else "*" for axis in axes]) for name, axes in chosen)
    sums = (widths.misfit(name, axes) for name, axes in chosen)
    return next(filter(None, (*plain, *sums)), None)


class _Widths:
    """What the variables are, and who says so."""

    def __init__(self, shapes: Mapping[str, Shape], lines: Iterable[tuple[str, list[str]]]) -> None:
        self.shapes = shapes
        said: dict[str, list[tuple[int, str]]] = {}
        for name, axes in lines:
            for axis, size in zip(axes, shapes[name], strict=True):
                if _VARIABLE.fullmatch(axis):
                    said.setdefault(axis, []).append((size, name))
        self.sizes = {
            variable: Counter(size for size, _ in found).most_common(1)[0][0] for variable, found in said.items()
        }
        self.witnesses = {
            variable: next(name for size, name in found if size == self.sizes[variable])
            for variable, found in said.items()
        }

    def misfit(self, name: str, axes: list[str]) -> Misfit | None:
        own: dict[str, int] = {}
        for number, (axis, size) in enumerate(zip(axes, self.shapes[name], strict=True)):
            where = f"axis {number} is {size}"
            if axis.startswith("@"):
                if size % 2 == 0 or own.setdefault(axis, size) != size:
                    return Misfit(name, f"{where}, and kernels are square and odd")
            elif not self._fits(axis, size):
                meant = " or ".join(dict.fromkeys(self._meant(axis)))
                return Misfit(name, f"{where}, and {meant} is meant", self._witness(axis, name))
            elif size == 0:
                return Misfit(name, f"{where}: it is empty")
        return None

    def _fits(self, axis: str, size: int) -> bool:
        if axis == "*":
            return True
        if axis.startswith(">"):
            least = self._value(axis[1:])
            return least is None or size > least
        if axis.endswith("~"):
            width = self._value(axis[:-1])
            return width is None or size == width or (size > width and width % (size - width) == 0)
        values = [self._value(choice) for choice in axis.split("/")]
        return None in values or size in values

    def _value(self, expression: str) -> int | None:
        """A sum of products; None if one of its variables has no value."""
        total = 0
        for product in expression.split("+"):
            factors = [int(f) if f.isdigit() else self.sizes.get(f) for f in product.split("*")]
            known = [factor for factor in factors if factor is not None]
            if len(known) < len(factors):
                return None
            total += math.prod(known)
        return total

    def _meant(self, axis: str) -> Iterator[str]:
        if axis.startswith(">"):
            yield f"more than {self._value(axis[1:])}"
            return
        for choice in axis.removesuffix("~").split("/"):
            yield str(self._value(choice))
        if axis.endswith("~"):
            yield "a divisor of that more"

    def _witness(self, axis: str, name: str) -> str:
        """Who else says what a variable of the axis is."""
        found = (self.witnesses.get(variable, "") for variable in _VARIABLE.findall(axis))
        return next((witness for witness in found if witness and witness != name), "")
