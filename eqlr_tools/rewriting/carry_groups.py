"""The parameter groups of an optimizer whose network is converted: those that the target's own code makes.

A parameter that becomes `r` times as large needs `r` times the learning rate (`checkpoints/optimizers.py`), so one and
the same training has, say, one rate for all where the constants hold the mapping network's multiplier, and another one
for the mapping network where they do not. A group gets the rate that most of its parameters need. What else differs
between the source's groups, or is a rate of their own making, keeps them apart in the target too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from eqlr_tools.checkpoints.optimizers import RATE_KEYS, Algorithm, Optimizer, number
from eqlr_tools.families.training import Training

_SAME = 1e-6
_ONE_RATE = 0.5
"""Rates that differ by less than this are one rate, seen through constants with and without a sqrt(2)."""


@dataclass(frozen=True)
class Member:
    """A parameter of the target: its name, the keys of what it is made of, and its scale in units of the old one."""

    stored: str
    keys: tuple[Any, ...]
    factor: float
    source: int = 0
    rate: float | None = None
    needed: float | None = None


@dataclass(frozen=True)
class TargetGroup:
    """A group with its members in order, its values but for `params`, and its learning rate."""

    members: tuple[Member, ...]
    values: Mapping[str, Any]
    rate: float | None
    notes: tuple[str, ...] = field(default=())


def grouped(
    optimizer: Optimizer,
    algorithm: Algorithm,
    source: Training | str,
    training: Training,
    members: Sequence[Member],
) -> list[TargetGroup]:
    """The groups of the target, with all its parameters in their order. What `source` adds to groups stays behind."""
    own_keys = {key for group in source.groups for key in group.settings} if isinstance(source, Training) else set()
    optimizer = _without(optimizer, own_keys | {"param_names"})
    located = _located(optimizer, algorithm, members)
    own = sorted({training.group_of(member.stored) for member in located})
    if training.one_by_one:
        return [_group(optimizer, [member], {}) for member in located]
    groups = []
    for index in own:
        settings = training.groups[index - 1].settings if index else {}
        inside = [member for member in located if training.group_of(member.stored) == index]
        groups += [_group(optimizer, part, settings) for part in _kept_apart(optimizer, inside)]
    if len(groups) == len(own):
        return groups
    note = (
        f"optimizer {optimizer.name}: its settings make {len(groups)} parameter groups, where the target's code makes "
        f"{len(own)}; give it the same before loading"
    )
    return [replace(groups[0], notes=(note,)), *groups[1:]]


def _without(optimizer: Optimizer, keys: Set[str]) -> Optimizer:
    groups = [{key: value for key, value in group.items() if key not in keys} for group in optimizer.groups]
    return replace(optimizer, tree={**optimizer.tree, "param_groups": groups})


def _located(optimizer: Optimizer, algorithm: Algorithm, members: Sequence[Member]) -> list[Member]:
    """Members with the group that they come from, its rate, and the rate that they need. New ones join their kin."""
    groups = {key: index for index, group in enumerate(optimizer.groups) for key in optimizer.keys(group)}
    found: list[Member] = []
    for member in members:
        last = found[-1].source if found else 0
        source = groups.get(member.keys[0], last) if member.keys else last
        rate = number(optimizer.groups[source].get("lr")) if member.keys else None
        needed = None if rate is None else rate * member.factor**algorithm.lr
        found.append(replace(member, source=source, rate=rate, needed=needed))
    return found


def _kept_apart(optimizer: Optimizer, members: Sequence[Member]) -> Iterator[list[Member]]:
    """The members by the settings of their source groups, where these differ in more than what rescaling explains."""
    parts: list[tuple[Any, list[float | None], list[Member]]] = []
    for source in dict.fromkeys(member.source for member in members):
        inside = [member for member in members if member.source == source]
        settings = _other_settings(optimizer.groups[source])
        rates = [number(optimizer.groups[source].get("lr")), _usual_rate(inside)]
        for known, others, together in parts:
            if known == settings and (_close(others[0], rates[0]) or _close(others[1], rates[1], _ONE_RATE)):
                together += inside
                break
        else:
            parts.append((settings, rates, inside))
    place = {member.stored: index for index, member in enumerate(members)}
    for _, _, together in parts:
        yield sorted(together, key=lambda member: place[member.stored])


def _other_settings(group: Mapping[str, Any]) -> list[tuple[str, Any]]:
    ignored = {*RATE_KEYS, "params"}
    values = ((key, number(value) if number(value) is not None else str(value)) for key, value in group.items())
    return sorted((key, value) for key, value in values if key not in ignored)


def _usual_rate(members: Sequence[Member]) -> float | None:
    """The rate that most of them need; of several, the largest."""
    rates = Counter(float(f"{member.needed:.6g}") for member in members if member.needed is not None)
    if not rates:
        return None
    most = max(rates.values())
    usual = max(rate for rate, count in rates.items() if count == most)
    return next(m.needed for m in members if m.needed is not None and _close(m.needed, usual, 1e-5))


def _close(one: float | None, other: float | None, tolerance: float = _SAME) -> bool:
    return one is None or other is None or math.isclose(one, other, rel_tol=tolerance)


def _group(optimizer: Optimizer, members: Sequence[Member], settings: Mapping[str, Any]) -> TargetGroup:
    first = next((member for member in members if member.keys), members[0])
    group = optimizer.groups[first.source]
    values = {key: value for key, value in group.items() if key != "params"}
    rate, before = _usual_rate(members), number(group.get("lr"))
    if rate is not None and before and not math.isclose(rate, before, rel_tol=_SAME):
        for key in RATE_KEYS:
            old = number(group.get(key))
            values |= {} if old is None else {key: old * rate / before}
    else:
        rate = before
    return TargetGroup(tuple(members), {**values, **settings}, rate)
