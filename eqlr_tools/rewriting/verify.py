"""Do two checkpoints compute the same? Every effective tensor of both, compared in units in the last place.

The effective weights are computed from the files alone, by another route than the executor's: stored value times the
constant that recognition gives; rows that are divided by their own size are read and measured anew. Nothing of a plan
is used. After a rewrite the executor vouches for bytes that were read back as they were written (`witness`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from eqlr_tools.checkpoints.outputs import constant_tensor
from eqlr_tools.errors import NothingMatchedError, UnreadableError
from eqlr_tools.families.registry import Recognition
from eqlr_tools.rewriting.canonical import (
    CONSTANT_BIAS,
    CanonicalNetwork,
    Part,
    canonical_network,
    canonical_networks,
    with_folded_bias,
)
from eqlr_tools.rewriting.defaults import derived_parameter, implied_parameter, is_of_growth, is_open
from eqlr_tools.rewriting.distances import MAX_ULP, Comparison, Effective, Pair, Progress, compare_all, paired

Strictness = Callable[[Pair], Pair]


@dataclass(frozen=True)
class Verification:
    """The result for a pair of checkpoints. It passes if every tensor is within the tolerance and none is missing."""

    tolerance_ulp: int
    comparisons: tuple[Comparison, ...]
    pairs: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if not comparison.equal]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def max_ulp(self) -> int | None:
        values = [comparison.max_ulp for comparison in self.comparisons]
        return None if any(value is None for value in values) else max((v for v in values if v is not None), default=0)

    @property
    def max_relative(self) -> float:
        return max((comparison.max_relative for comparison in self.comparisons), default=0.0)


def verify(
    first: list[Recognition],
    second: list[Recognition],
    *,
    tolerance_ulp: int = MAX_ULP,
    strictly: Strictness = lambda pair: pair,
    progress: Progress = lambda _: None,
) -> Verification:
    """Compare two recognised checkpoints network by network.

    Networks are paired by name, then by what they are: the only averaged generator of each file, the only
    discriminator, the only generator. A single network on each side is a pair whatever it is called. `strictly` says
    how each pair of tensors is to be compared. Raises NothingMatchedError if no network has a partner.
    """
    pairs, notes = _pair(first, second)
    return verify_pairs(pairs, notes, tolerance_ulp=tolerance_ulp, strictly=strictly, progress=progress)


def verify_pairs(
    pairs: Sequence[tuple[Recognition, Recognition]],
    notes: Sequence[str] = (),
    *,
    tolerance_ulp: int = MAX_ULP,
    strictly: Strictness = lambda pair: pair,
    progress: Progress = lambda _: None,
) -> Verification:
    """Compare networks whose partners are known; `strictly` is that of `verify`.

    Networks of one architecture in different layouts are compared as the canonical parameters that they are.
    """
    items: list[Pair | Comparison] = []
    for left, right in pairs:
        sides = _canonical_sides(left, right)
        items += _pairs_of_canonical(*sides, tolerance_ulp) if sides else _pairs_of_networks(left, right, tolerance_ulp)
    items = [strictly(item) if isinstance(item, Pair) else item for item in items]
    comparisons = _as_stored(items, compare_all(items, progress))
    names = tuple((left.network.name, right.network.name) for left, right in pairs)
    return Verification(tolerance_ulp, tuple(comparisons), names, tuple(notes))


def _as_stored(items: Sequence[Pair | Comparison], comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons, and once more those that fail where the files add different constants, before these are added.

    What is stored as b - 1 is rounded at the size of b - 1, which is many units in the last place of a small b.
    """
    found = list(comparisons)
    for number, (item, comparison) in enumerate(zip(items, comparisons, strict=True)):
        if comparison.equal or not isinstance(item, Pair) or item.left.add == item.right.add:
            continue
        for added in filter(None, (item.left.add, item.right.add)):
            left, right = (replace(side, add=side.add - added) for side in (item.left, item.right))
            (again,) = compare_all([replace(item, left=left, right=right)], lambda _: None)
            found[number] = again if again.equal else found[number]
    return found


def effective_tensors(recognition: Recognition) -> dict[str, Effective]:
    """Everything a network applies, under the names that it would have if it were baked."""
    found = {name: Effective(tensor, 1.0) for name, tensor in recognition.network.tensors.items()}
    for layer in recognition.equalized:
        applied = layer.applied(recognition.network.tensors[layer.weight])
        if applied is None:
            continue
        found.pop(layer.weight, None)
        found[layer.baked_weight] = Effective(*applied)
        if layer.bias:
            found.pop(layer.bias, None)
            found[layer.baked_bias or layer.bias] = Effective(recognition.network.tensors[layer.bias], layer.bias_scale)
        for name in layer.scale_tensors:
            found.pop(name, None)
    return found


def _pair(
    first: list[Recognition], second: list[Recognition]
) -> tuple[list[tuple[Recognition, Recognition]], list[str]]:
    if len(first) == 1 and len(second) == 1:
        return [(first[0], second[0])], []
    others = {recognition.network.name: recognition for recognition in second}
    pairs = [(left, others[left.network.name]) for left in first if left.network.name in others]
    paired = {left.network.name for left, _ in pairs}
    left, right = ([r for r in side if r.network.name not in paired] for side in (first, second))
    alike = _pair_by_part(left, right)
    known = {id(recognition) for pair in alike for recognition in pair}
    lonely = [r.network.name for r in (*left, *right) if id(r) not in known]
    pairs += alike
    if not pairs:
        raise NothingMatchedError(
            f"no network of one file has a partner in the other ({', '.join(lonely)})",
            hint="--network NAME, once for each file, names the pair",
        )
    return pairs, [f"network {name} is in one file only and was not compared" for name in lonely]


def _pair_by_part(first: list[Recognition], second: list[Recognition]) -> list[tuple[Recognition, Recognition]]:
    """Partners under other names, as every family has its own: the one generator, average or discriminator of each.

    The only generator of a file is its average's partner in another, as `convert` writes the only one as an average.
    """
    ours, theirs = ([(_part_played(r), r) for r in side] for side in (first, second))
    pairs = _only_ones(ours, theirs)
    known = {id(recognition) for pair in pairs for recognition in pair}
    left, right = ([(part[:2], r) for part, r in side if part and id(r) not in known] for side in (ours, theirs))
    return pairs + _only_ones(left, right)


def _only_ones(
    ours: Sequence[tuple[object, Recognition]], theirs: Sequence[tuple[object, Recognition]]
) -> list[tuple[Recognition, Recognition]]:
    """Those that are the only one of their kind on either side."""
    pairs = []
    for part, left in ours:
        same = [right for other, right in theirs if other == part]
        if part and len(same) == 1 and [other for other, _ in ours].count(part) == 1:
            pairs.append((left, same[0]))
    return pairs


def _part_played(recognition: Recognition) -> tuple[str, str, bool] | None:
    """What the network is in its architecture, and whether an average; None for a network of no known architecture."""
    try:
        network = canonical_network(recognition)
    except UnreadableError:  # Which stays without a partner, as it would under a name of its own.
        return None
    return (*_kind(network), network.is_average) if network else None


def _canonical_sides(left: Recognition, right: Recognition) -> tuple[CanonicalNetwork, CanonicalNetwork] | None:
    """Both as canonical networks, if they are of different layouts and of one architecture."""
    if left.layout is None or right.layout is None or left.layout.id == right.layout.id:
        return None
    sides = [(a, b) for a in canonical_networks(left) for b in canonical_networks(right)]
    alike = (pair for pair in sides if _kind(pair[0]) == _kind(pair[1]))
    return next(alike, None)


def _kind(network: CanonicalNetwork) -> tuple[str, str]:
    return network.naming.architecture, network.naming.role


def _pairs_of_canonical(
    left: CanonicalNetwork, right: CanonicalNetwork, tolerance_ulp: int
) -> Iterator[Pair | Comparison]:
    """Every stored tensor of both with its partner, under its canonical name.

    A parameter that one file lacks counts as what its absence means; where it means nothing, there is nothing to
    compare. Tensors that are no canonical parameter have no partner.
    """
    network = left.recognition.network.name
    if (CONSTANT_BIAS in left.parts) != (CONSTANT_BIAS in right.parts):
        left, right = with_folded_bias(left), with_folded_bias(right)
    pairs: list[tuple[str, Part | None, Part | None]]
    pairs = [(name, part, right.parts.get(name)) for name, part in left.parts.items()]
    pairs += [(name, left.parts.get(name), part) for name, part in right.parts.items() if name not in left.parts]
    pairs += [(copy.slot.canonical, left.parts.get(copy.slot.canonical), copy) for copy in right.copies]
    pairs += [(copy.slot.canonical, copy, right.parts.get(copy.slot.canonical)) for copy in left.copies]
    for name, mine, theirs in pairs:
        if (mine is None or theirs is None) and (is_open(name) or is_of_growth(name)):
            continue
        a, b = _effective_part(name, mine, left), _effective_part(name, theirs, right)
        if a is None or b is None:
            problem = f"missing in the {'first' if a is None else 'second'} file"
            yield Comparison(network, name, False, None, problem=problem)
        else:
            yield paired(network, name, a, b, tolerance_ulp)
    for side, names in (("first", left.leftover), ("second", right.leftover)):
        for name in names:
            yield Comparison(network, name, False, None, problem=f"in the {side} file only")


def _effective_part(name: str, part: Part | None, network: CanonicalNetwork) -> Effective | None:
    if part is not None:
        return Effective(part.tensor, part.scale, part.add)
    implied = implied_parameter(name, network)
    if implied is not None:
        return Effective(constant_tensor(implied, "F32"), 1.0)
    derived = derived_parameter(name, network)  # From what is stored times a constant: no copy of what it stands for.
    return None if derived is None else Effective(constant_tensor(derived, "F64"), 1.0)


def _pairs_of_networks(left: Recognition, right: Recognition, tolerance_ulp: int) -> Iterator[Pair | Comparison]:
    mine, theirs = effective_tensors(left), effective_tensors(right)
    network = left.network.name
    for name, effective in mine.items():
        if name not in theirs:
            yield Comparison(network, name, False, None, problem="missing in the second file")
        else:
            yield paired(network, name, effective, theirs[name], tolerance_ulp)
    for name in theirs:
        if name not in mine:
            yield Comparison(network, name, False, None, problem="missing in the first file")
