"""How far did every layer move from one snapshot of a training run to the next?

A layer's weights `a` that became `b` have moved by `rms(b - a)`; in units of their own size, `rms(b - a) / rms(a)`.
Two layers of the same rms may still be far apart, which no comparison of their ranges sees. Adam moves a weight by
about its learning rate per step, so a distance is also a number of steps: `rms(b - a) / 1e-3` of lr 1e-3 that all go
one way. Steps that take turns need more, so this is the least number of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from eqlr_tools.checkpoints.streaming import in_threads
from eqlr_tools.errors import UnreadableError
from eqlr_tools.ranges.audit import LayerRange, NetworkRange
from eqlr_tools.ranges.statistics import ADAM_LEARNING_RATE
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_networks
from eqlr_tools.rewriting.distances import Effective, spans

FORMS = ("stored", "effective")

_BLOCK_ELEMENTS = 1 << 14
"""128 KiB in float64: both sides and their difference stay in the cache of one core."""

Progress = Callable[[int], None]
CanonicalName = tuple[str, str, str]
"""Architecture, role and parameter: what a weight is in every layout of one architecture."""


@dataclass(frozen=True)
class Movement:
    """The way from one snapshot of a layer to another. `skipped` weights are NaN or infinite in one of them."""

    distance: float
    size: float
    skipped: int = 0

    @property
    def relative(self) -> float:
        """The distance in units of the rms that the layer had. Infinite where that was zero."""
        if self.distance == 0:
            return 0.0
        return self.distance / self.size if self.size else math.inf

    @property
    def adam_steps(self) -> float:
        return self.distance / ADAM_LEARNING_RATE


@dataclass(frozen=True)
class Weight:
    """One layer in one snapshot, with all that its partner in another snapshot may be found by."""

    network: str
    is_average: bool
    layout: str
    measured: LayerRange
    forms: Mapping[str, Effective]
    canonical: Mapping[CanonicalName, Mapping[str, Effective]]

    def is_called(self, other: Weight) -> bool:
        mine, theirs = self.measured.layer, other.measured.layer
        names = {mine.weight, mine.baked_weight} & {theirs.weight, theirs.baked_weight}
        return mine.name == theirs.name or bool(names - {""})


@dataclass
class Track:
    """One layer through all snapshots: None where it is missing. `moves` lead from each snapshot to the next one."""

    network: str
    layer: str
    measured: list[LayerRange | None]
    first: Weight
    last: Weight
    moves: list[dict[str, Movement]] = field(default_factory=list)
    in_all: dict[str, Movement] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def forms(self) -> tuple[str, ...]:
        """Stored, and effective if a constant makes it differ in any snapshot."""
        return FORMS if any(m and m.effective and m.layer.equalized for m in self.measured) else FORMS[:1]


class Run:
    """Snapshots of one training run, added one after the other; only the newest and each layer's first stay open."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.snapshots = 0
        self._networks = 0

    def add(self, networks: Sequence[NetworkRange], progress: Progress = lambda _: None) -> None:
        """Measure the way from the snapshot before.

        Networks are paired by name; a single one on each side is a pair whatever they are called, and so are two of
        one architecture and role in different layouts, each of which has its own names for them.
        """
        alone = len(networks) == 1 and (self._networks or 1) == 1
        names = {network.recognition.network.name for network in networks}
        for network in networks:
            for weight in weights_of(network):
                track = self._track_of(weight, names, alone)
                if track is None:
                    missing: list[LayerRange | None] = [None] * self.snapshots
                    moves: list[dict[str, Movement]] = [{} for _ in range(self.snapshots)]
                    name = weight.measured.layer.name
                    self.tracks.append(
                        Track(weight.network, name, [*missing, weight.measured], weight, weight, moves=moves)
                    )
                else:
                    here = track.measured[-1] is not None
                    track.moves.append(self._move(track, track.last, weight, progress) if here else {})
                    track.measured.append(weight.measured)
                    track.last = weight
        self.snapshots += 1
        self._networks = max(self._networks, len(networks))
        for track in self.tracks:
            if len(track.measured) < self.snapshots:
                track.measured.append(None)
                track.moves.append({})

    def finish(self, progress: Progress = lambda _: None) -> None:
        """Measure the whole way, from each layer's first snapshot to its last."""
        for track in self.tracks:
            if self.snapshots == 2:
                track.in_all = track.moves[0]
            elif track.first is not track.last:
                track.in_all = self._move(track, track.first, track.last, progress)

    def _track_of(self, weight: Weight, names: set[str], alone: bool) -> Track | None:
        """The layer's track, if one of its network has none of this snapshot yet. `names` are those of all networks."""
        waiting = [track for track in self.tracks if len(track.measured) == self.snapshots]
        here = [track for track in waiting if alone or weight.network in (track.network, track.last.network)]
        if not any(track.network == weight.network for track in self.tracks):
            here += [
                track
                for track in waiting
                if track.network not in names
                and track.last.is_average == weight.is_average
                and _common(track.last, weight) is not None
            ]
        same = (track for track in here if _common(track.last, weight) is not None)
        exact = (track for track in here if track.last.measured.layer.name == weight.measured.layer.name)
        named = (track for track in here if track.last.is_called(weight))
        return next(same, None) or next(exact, None) or next(named, None)

    def _move(self, track: Track, then: Weight, now: Weight, progress: Progress) -> dict[str, Movement]:
        common = _common(then, now)
        before, after = (then.forms, now.forms) if common is None else (then.canonical[common], now.canonical[common])
        found: dict[str, Movement] = {}
        for form in (form for form in FORMS if form in before and form in after):
            a, b = before[form], after[form]
            problem = _incomparable(a, b)
            if problem:
                track.problems += [problem] if problem not in track.problems else []
            elif form == "effective" and _as_stored(a) and _as_stored(b) and "stored" in found:
                found[form] = found["stored"]
            else:
                found[form] = moved(a, b, progress)
        return found


def weights_of(network: NetworkRange) -> Iterator[Weight]:
    """The audited layers of a network with their tensors, as stored and as applied."""
    recognition = network.recognition
    try:
        wholes = canonical_networks(recognition)
    except UnreadableError:  # No whole network is compared by its own names.
        wholes = []
    canonical = _canonical(wholes)
    average = any(whole.is_average for whole in wholes)
    layout = recognition.layout.id if recognition.layout else ""
    for measured in network.layers:
        layer = measured.layer
        tensor = recognition.network.tensors[layer.weight]
        forms = {"stored": Effective(tensor, 1.0)}
        if applied := layer.applied(tensor):
            forms["effective"] = Effective(*applied)
        yield Weight(recognition.network.name, average, layout, measured, forms, canonical.get(layer.weight, {}))


def _canonical(wholes: Sequence[CanonicalNetwork]) -> dict[str, dict[CanonicalName, dict[str, Effective]]]:
    """Every stored tensor of a whole known network as the canonical parameters that it is, its axes in their order."""
    found: dict[str, dict[CanonicalName, dict[str, Effective]]] = {}
    for network in wholes:
        for name, part in network.parts.items():
            key = (network.naming.architecture, network.naming.role, name)
            forms = {"stored": Effective(part.tensor, 1.0), "effective": Effective(part.tensor, part.scale, part.add)}
            found.setdefault(part.stored, {})[key] = forms
    return found


def _common(then: Weight, now: Weight) -> CanonicalName | None:
    """The parameter that both are, if their layouts differ and one architecture has names for both."""
    if then.layout == now.layout:
        return None
    return next((name for name in then.canonical if name in now.canonical), None)


def _as_stored(effective: Effective) -> bool:
    return effective.scale == 1.0 and effective.add == 0.0


def _incomparable(then: Effective, now: Effective) -> str:
    """Why there is no distance, if there is none. Axes of one element hold nothing apart."""
    shapes = [[size for size in side.tensor.shape if size != 1] for side in (then, now)]
    if shapes[0] != shapes[1]:
        return f"its shape changes from {list(then.tensor.shape)} to {list(now.tensor.shape)}"
    kinds = [side.tensor.dtype for side in (then, now)]
    odd = next((dtype.torch for dtype in kinds if dtype.kind not in ("float", "int")), None)
    return f"{odd} has no distance" if odd else ""


def moved(then: Effective, now: Effective, progress: Progress = lambda _: None) -> Movement:
    """Sum up the squares of the differences and of the earlier weights, block by block, in float64."""
    step = _BLOCK_ELEMENTS if then.tensor.is_contiguous and now.tensor.is_contiguous else max(then.tensor.numel, 1)
    all_spans = spans(then.tensor, now.tensor)
    results = in_threads(lambda span: _sums(then, now, span, step), all_spans, then.tensor.nbytes)
    squares, before, count = [], [], 0
    for span, (distance, size, finite) in zip(all_spans, results, strict=True):
        progress((span[1] - span[0]) * then.tensor.dtype.itemsize)
        squares.append(distance)
        before.append(size)
        count += finite
    if count == 0:
        return Movement(0.0, 0.0, then.tensor.numel)
    distance, size = math.sqrt(math.fsum(squares) / count), math.sqrt(math.fsum(before) / count)
    return Movement(distance, size, then.tensor.numel - count)


def _sums(then: Effective, now: Effective, span: tuple[int, int], step: int) -> tuple[float, float, int]:
    """Squares of the way and of the earlier weights, and how many pairs of finite numbers they are of.

    Not with `np.dot`: BLAS spreads a dot product over threads that wait for each other, which took 12 times as long.
    """
    blocks = (side.tensor.blocks(step * side.tensor.dtype.itemsize, span) for side in (then, now))
    distance = size = 0.0
    count = 0
    for old, new in zip(*blocks, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):  # What is infinite in float64 too has no figure.
            a, b = (
                side.tensor.dtype.values(bits).astype(np.float64) * side.scale + side.add
                for side, bits in ((then, old), (now, new))
            )
            finite = np.isfinite(a) & np.isfinite(b)
            if not finite.all():
                a, b = a[finite], b[finite]
            b -= a
            distance += float(np.einsum("i,i->", b, b))
            size += float(np.einsum("i,i->", a, a))
            count += len(a)
    return distance, size, count
