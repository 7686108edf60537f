"""How a project's training keeps the state of an optimizer: where in the file, by which numbers, in which groups.

torch numbers parameters through the groups, in each of them in the order in which they were handed over, and that is
the order in which modules register them: a module's own parameters first, then those of its children.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Order = Callable[[str], Any]
"""Sorts the names of parameters as the modules of a project's code register them."""


@dataclass(frozen=True)
class Group:
    """A parameter group: those whose names match the pattern, and what the project's code writes into the group."""

    pattern: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """`state` is a path in the file, where a number is a place in a list. In files that hold it, `root` stands before
    the places of the networks. Parameters that match none of `groups` make a group before those, or, `one_by_one`,
    every parameter makes its own. `remark` is what the user should know of the place."""

    order: Order
    state: tuple[str | int, ...]
    root: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    one_by_one: bool = False
    remark: str = ""

    def group_of(self, name: str) -> int:
        """The number of the group that a parameter is in, unless each is in its own."""
        fitting = (n for n, group in enumerate(self.groups, 1) if re.fullmatch(group.pattern, name))
        return next(fitting, 0)


def registered(words: str, *, blocks: Mapping[str, tuple[int, int]] | None = None, first: str = "(?!)") -> Order:
    """The order of modules whose names are built of `words`, which stand in the order in which siblings register.

    Numbers at the end of a word, or instead of one, count upwards. `blocks` are numbered words whose siblings register
    block by block: a block has so many of them, and so many are missing before the first. Names that match `first`
    come before their siblings, whatever their last word.
    """
    ranks = {word: rank for rank, word in enumerate(words.split(), 1)}
    blocks = blocks or {}
    block_rank = min((ranks[word] for word in blocks), default=0)

    def place(part: str) -> tuple[int, int, int, int]:
        if part in ranks and part not in blocks:
            return ranks[part], 0, 0, 0
        stem, digits = re.match(r"(\D*)(\d*)", part).groups()  # type: ignore[union-attr]
        number = int(digits or 0)
        if stem in blocks:
            count, missing = blocks[stem]
            return block_rank, (number + missing) // count, ranks[stem], number
        return ranks[stem] if stem else 0, 0, 0, number

    def order(name: str) -> tuple[tuple[int, int, int, int], ...]:
        places = [place(part) for part in name.split(".")]
        return (*places[:-1], (-1, 0, 0, 0)) if re.fullmatch(first, name) else tuple(places)

    return order
