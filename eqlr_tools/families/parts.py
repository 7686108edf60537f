"""Several families in one network: a generator of one project and a discriminator of another, in one dict of tensors.

Each family stands at its prefixes. One decides what the network is called; where another one stands apart from it, at
prefixes that lie neither above nor below its own, its layers are equalized all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from eqlr_tools.families.catalogue import known_families
from eqlr_tools.families.family import Family, Overrides, Question, Verdict, View
from eqlr_tools.families.layer import Layer


@dataclass(frozen=True)
class Part:
    """What another family has in the network."""

    family: Family
    prefixes: tuple[str, ...]
    layers: list[Layer]
    question: Question | None

    @property
    def sentence(self) -> str:
        places = ", ".join(prefix.removesuffix(".") for prefix in self.prefixes)
        return f"{places} is {self.family.id}"


def are_apart(verdicts: Sequence[Verdict]) -> bool:
    """True if no family claims a part of the network that another one claims."""
    return not any(
        _overlap(prefix, other.prefixes)
        for number, verdict in enumerate(verdicts)
        for other in verdicts[number + 1 :]
        for prefix in verdict.prefixes
    )


def parts_of_others(view: View, decided: Verdict, verdicts: Sequence[Verdict], overrides: Overrides) -> list[Part]:
    """The parts that other families know, apart from the deciding one's; those that know a part better come first."""
    by_id = {family.id: family for family in known_families()}
    matched = [(verdict, by_id[verdict.family]) for verdict in verdicts if verdict.matched and verdict != decided]
    outdone = {name for _, family in matched for name in family.over}
    claimed, parts = decided.prefixes, []
    for verdict, family in sorted(matched, key=lambda pair: pair[1].id in outdone):
        apart = tuple(prefix for prefix in verdict.prefixes if not _overlap(prefix, claimed))
        if not apart or family.generic or not family.equalized:
            continue
        claimed += apart
        layers = family.all_layers(view, replace(verdict, prefixes=apart), overrides)
        parts.append(Part(family, apart, layers, family.question(view, apart[0]) if family.question else None))
    return parts


def in_order(view: View, *groups: Iterable[Layer]) -> list[Layer]:
    """Layers in the order of the file."""
    order = {name: place for place, name in enumerate(view.shapes)}
    return sorted((layer for group in groups for layer in group), key=lambda layer: order[layer.weight])


def _overlap(prefix: str, others: Iterable[str]) -> bool:
    return any(prefix.startswith(other) or other.startswith(prefix) for other in others)
