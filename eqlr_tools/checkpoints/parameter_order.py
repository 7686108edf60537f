"""Which parameter does number 17 of an optimizer belong to?

torch saves an optimizer's state by number: 0, 1, 2 ... through the groups, in the order in which the parameters were
handed over. `module.parameters()` gives them in the order of registration, and that is the order of the state dict
without its buffers. What the file does not say is which tensors are buffers, which parameters were frozen, and how they
were split into groups. So every reading is considered in which each group takes its parameters in the file's order and
every moment has the shape of its parameter; whatever all readings agree upon is certain.

Several groups could share out the parameters in countless ways. People do it by submodule, by a word in the name or
by the number of axes, so if a split of that kind has the groups' sizes and shapes, only such splits are considered.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network
from eqlr_tools.checkpoints.optimizers import Algorithm, Optimizer
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.errors import AmbiguousError
from eqlr_tools.scaling import Shape

_MAX_STATES = 200_000
_MAX_PERMUTED = 5
_BUFFER = re.compile(
    r"(.*\.)?(running_mean|running_var|num_batches_tracked|weight_u|weight_v|weight_mask|weight_flip|"
    r"parametrizations\.\w+\.\d+\..+|noises\.noise_\d+|kernel|resample_filter|noise_const|\w*w_avg|\w*latent_avg)"
)
"""What norms, blurs and running averages keep beside their parameters; no rule of this kind needs to be complete."""
_EMA = re.compile(r"(^|[._])(ema|avg|average|running|smooth|shadow|gs|swa)([._]|$)|ema$|^avg|^Gs$", re.IGNORECASE)
_OPTIMIZER_WORD = re.compile(r"optimi[sz]ers?|optims?|opts?|states?|dict", re.IGNORECASE)
_ROLES = {
    **dict.fromkeys("g gen generator netg net_g synthesis".split(), "generator"),
    **dict.fromkeys("d dis disc discriminator netd net_d critic crit c".split(), "discriminator"),
    **dict.fromkeys("e enc encoder nete net_e".split(), "encoder"),
    **dict.fromkeys("m map mapping mapping_network".split(), "mapping"),
}

Meaning = Callable[[Network, str], Hashable]
"""What the caller needs to know of a parameter. Readings that agree on it need not be told apart."""


@dataclass(frozen=True)
class Assignment:
    """An optimizer's parameters by key: all tensor names that a reading gives them (the first is used)."""

    network: Network
    names: dict[object, tuple[str, ...]]

    def unique(self, key: object) -> bool:
        return len(self.names[key]) == 1


def parameters_of(network: Network, *, known_buffers: bool = False) -> list[str]:
    """The tensors that may be parameters, in registration order; a parameter with two names counts once."""
    seen: list[Tensor] = []
    names = []
    for name, tensor in network.tensors.items():
        if not tensor.dtype.is_float or (not known_buffers and _is_buffer(name, network)):
            continue
        if any(same_view(tensor, other) for other in seen):
            continue
        seen.append(tensor)
        names.append(name)
    return names


def assign(
    checkpoint: Checkpoint,
    optimizer: Optimizer,
    algorithm: Algorithm,
    meaning: Meaning,
    known: Mapping[str, Set[str]] | None = None,
) -> Assignment | None:
    """Find the network of an optimizer, and the parameter of each of its keys.

    `known` are the tensors that are known to be parameters, by the network's name, where they are.

    None if its name says that its network is not in the file, and no network's shapes fit. Raises AmbiguousError where
    readings differ in what the caller needs to know, or nothing fits.
    """
    named = _named_candidates(checkpoint, optimizer)
    trained = [network for network in checkpoint.networks if not _EMA.search(network.name)]
    for candidates in (named, trained, list(checkpoint.networks)):
        readings = (_read(network, optimizer, algorithm, (known or {}).get(network.name)) for network in candidates)
        found = [reading for reading in readings if reading]
        if found:
            _check_agreement(checkpoint, optimizer, found, meaning)
            return found[0]
    role = _role(_word(optimizer))
    if role and role not in {_role(network.name) for network in checkpoint.networks}:
        return None
    wanted = named[0].name if named else ", ".join(network.name for network in trained)
    raise AmbiguousError(
        f"{checkpoint.path}: optimizer {optimizer.name} does not fit the parameters of {wanted or 'any network'}: "
        "their shapes, in the file's order, are not those of its moments",
        hint="--drop-optimizer leaves the optimizer state out",
    )


def align(groups: Sequence[Sequence[Shape | None]], tensors: Sequence[Shape]) -> list[list[set[int]]] | None:
    """For each entry of each group the tensors that some reading gives it; None if there is no reading.

    A reading gives every entry a tensor of its shape (any, for None), no tensor twice, and ascending tensors within
    a group. Searched forward for what can be reached, backward for what leads to the end.

    Raises OverflowError where the groups allow too many readings to be followed.
    """
    total = sum(map(len, groups))
    spare = len(tensors) - total
    if spare < 0:
        return None
    layers: list[set[tuple[int, ...]]] = [{(0,) * len(groups)}]
    visited = 0
    for place, shape in enumerate(tensors):
        following: set[tuple[int, ...]] = set()
        for state in layers[-1]:
            following.update(after for _, after in _moves(groups, state, place, shape, spare))
        visited += len(following)
        if visited > _MAX_STATES:
            raise OverflowError
        layers.append(following)
    alive = {tuple(map(len, groups))} & layers[-1]
    if not alive:
        return None
    found: list[list[set[int]]] = [[set() for _ in group] for group in groups]
    for place in range(len(tensors) - 1, -1, -1):
        before = set()
        for state in layers[place]:
            for group, after in _moves(groups, state, place, tensors[place], spare):
                if after in alive:
                    before.add(state)
                    if group is not None:
                        found[group][state[group]].add(place)
        alive = before
    return found


def _moves(
    groups: Sequence[Sequence[Shape | None]], state: tuple[int, ...], place: int, shape: Shape, spare: int
) -> list[tuple[int | None, tuple[int, ...]]]:
    moves: list[tuple[int | None, tuple[int, ...]]] = [(None, state)] if place - sum(state) < spare else []
    for group, taken in enumerate(state):
        if taken < len(groups[group]) and groups[group][taken] in (None, tuple(shape)):
            moves.append((group, (*state[:group], taken + 1, *state[group + 1 :])))
    return moves


def _read(
    network: Network, optimizer: Optimizer, algorithm: Algorithm, known: Set[str] | None = None
) -> Assignment | None:
    by_name = _names_in_file(network, optimizer)
    if by_name is not None:
        return by_name if _shapes_fit(by_name, optimizer, algorithm) else None
    everything = parameters_of(network, known_buffers=True)
    possible = ([name for name in everything if name in known] if known else [], parameters_of(network), everything)
    for names in possible:
        found = _read_by_shape(network, names, optimizer, algorithm) if names else None
        if found:
            return found
    return None


def _read_by_shape(network: Network, names: list[str], optimizer: Optimizer, algorithm: Algorithm) -> Assignment | None:
    keys = [optimizer.keys(group) for group in optimizer.groups]
    shapes = [[optimizer.shape(key, algorithm) for key in group] for group in keys]
    tensors: list[Shape] = [network.tensors[name].shape for name in names]
    found = _natural_splits(names, tensors, shapes) if len(shapes) > 1 else None
    try:
        found = found or align(shapes, tensors)
    except OverflowError as error:
        raise AmbiguousError(
            f"optimizer {optimizer.name}: its {len(keys)} groups can be matched to the parameters of {network.name} "
            "in too many ways",
            hint="--drop-optimizer leaves the optimizer state out",
        ) from error
    if found is None:
        return None
    assigned = {
        key: tuple(names[place] for place in sorted(places))
        for group, places_of in zip(keys, found, strict=True)
        for key, places in zip(group, places_of, strict=True)
    }
    return Assignment(network, assigned)


def _natural_splits(
    names: list[str], tensors: list[Shape], groups: list[list[Shape | None]]
) -> list[list[set[int]]] | None:
    """The readings in which the groups are runs of the list, or, two of them, told apart by a word or the axes."""
    if sum(map(len, groups)) != len(names):
        return None
    readings = [split for split in _splits(names, tensors, groups) if _fits(split, tensors, groups)]
    if not readings:
        return None
    return [
        [{reading[group][place] for reading in readings} for place in range(len(shapes))]
        for group, shapes in enumerate(groups)
    ]


def _splits(names: list[str], tensors: list[Shape], groups: list[list[Shape | None]]) -> Iterator[list[list[int]]]:
    places = range(len(names))
    for order in itertools.permutations(range(len(groups))) if len(groups) <= _MAX_PERMUTED else [range(len(groups))]:
        ends = dict(zip(order, itertools.accumulate(len(groups[group]) for group in order), strict=True))
        yield [list(places[ends[group] - len(groups[group]) : ends[group]]) for group in range(len(groups))]
    if len(groups) != 2:
        return
    words = dict.fromkeys(word for name in names for word in name.split("."))
    prefixes = dict.fromkeys(name[: dot.end()] for name in names for dot in re.finditer(r"\.", name))
    tests = [
        *({place for place in places if word in names[place].split(".")} for word in words),
        *({place for place in places if names[place].startswith(prefix)} for prefix in prefixes),
        {place for place in places if len(tensors[place]) > 1},
    ]
    for inside in tests:
        yes, no = sorted(inside), [place for place in places if place not in inside]
        yield [yes, no]
        yield [no, yes]


def _fits(split: list[list[int]], tensors: list[Shape], groups: list[list[Shape | None]]) -> bool:
    return all(
        len(places) == len(shapes)
        and all(shape in (None, tuple(tensors[place])) for place, shape in zip(places, shapes, strict=True))
        for places, shapes in zip(split, groups, strict=True)
    )


def _is_buffer(name: str, network: Network) -> bool:
    """Buffers that are known by their name; a blur's `weight` is one by the `weight_flip` beside it."""
    return _BUFFER.fullmatch(name) is not None or f"{name}_flip" in network.tensors


def _names_in_file(network: Network, optimizer: Optimizer) -> Assignment | None:
    """The names that newer torch keeps (`param_names`), or that stand instead of numbers (FSDP)."""
    assigned: dict[object, tuple[str, ...]] = {}
    for group in optimizer.groups:
        keys = optimizer.keys(group)
        names = group.get("param_names") or keys
        if len(names) != len(keys) or not all(isinstance(name, str) for name in names):
            return None
        for key, name in zip(keys, names, strict=True):
            known = next(
                (
                    n
                    for n in (name, name.removeprefix("module."), name.removeprefix(network.prefix))
                    if n in network.tensors
                ),
                None,
            )
            if known is None:
                return None
            assigned[key] = (known,)
    return Assignment(network, assigned) if assigned else None


def _shapes_fit(assignment: Assignment, optimizer: Optimizer, algorithm: Algorithm) -> bool:
    return all(
        optimizer.shape(key, algorithm) in (None, assignment.network.tensors[names[0]].shape)
        for key, names in assignment.names.items()
    )


def _check_agreement(
    checkpoint: Checkpoint, optimizer: Optimizer, readings: list[Assignment], meaning: Meaning
) -> None:
    for key in readings[0].names:
        options = {
            f"{reading.network.name}.{name}": meaning(reading.network, name)
            for reading in readings
            for name in reading.names[key]
        }
        if len(set(options.values())) > 1:
            shown = list(options)[:4]
            raise AmbiguousError(
                f"{checkpoint.path}: parameter {key} of optimizer {optimizer.name} can be {' or '.join(shown)}, "
                "and they are scaled differently",
                hint="--drop-optimizer leaves the optimizer state out",
            )


def _named_candidates(checkpoint: Checkpoint, optimizer: Optimizer) -> list[Network]:
    """Networks that the optimizer's own name points to: `g_optim` to `g`, a sole `optimizer` to the sole network."""
    word = _word(optimizer)
    networks = [network for network in checkpoint.networks if not _EMA.search(network.name)]
    if not word:
        siblings = [network for network in networks if network.path[: len(optimizer.path) - 1] == optimizer.path[:-1]]
        return siblings if len(siblings) == 1 else []
    same = [network for network in networks if network.name.lower() == word]
    return same or [network for network in networks if _role(word) and _role(network.name) == _role(word)]


def _word(optimizer: Optimizer) -> str:
    """What is left of an optimizer's name without the word optimizer: `optimizer_G` is `g`."""
    parts = [str(key) for key in optimizer.path if not isinstance(key, int)]
    words = [_OPTIMIZER_WORD.sub("", part).strip("_-. ").lower() for part in parts]
    return next((word for word in reversed(words) if word), "")


def _role(name: str) -> str:
    last = name.rpartition(".")[2].lower()
    return _ROLES.get(last) or _ROLES.get(re.split(r"[_-]", last)[0], "")


def same_view(a: Tensor, b: Tensor) -> bool:
    """True for two names of one parameter."""
    return a.storage is b.storage and (a.offset, a.shape, a.strides) == (b.offset, b.shape, b.strides)
