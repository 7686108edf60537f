"""How a family's tensors correspond to the canonical parameters of an architecture (`eqlr_tools.networks`).

A `Naming` is a function from a network's depth to a list of `Slot`s, one per tensor. It is used in both directions:
to read a network as canonical parameters, and to write canonical parameters under the family's names. What differs
besides the name is in the slot: the layout, the orientation, a factor, a constant to add.

    canonical = scale * arranged(stored) + add

where the constants of equalized layers (`Layer.scale`) come on top, from the family's rules, and not from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from eqlr_tools.checkpoints.arranging import Arrangement, arrangement, identity
from eqlr_tools.families.code_widths import Widths
from eqlr_tools.families.training import Training
from eqlr_tools.scaling import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

Role = Literal["generator", "discriminator", "mapping"]
"""A mapping network is one of its own where a project keeps it apart from the generator."""
MAX_LOG2_RESOLUTION = 12
MAX_MAPPING_LAYERS = 32


@dataclass(frozen=True)
class Depth:
    """What decides which tensors a network has. Their sizes follow from the tensors.

    `layers` are the names of layers that no resolution tells: StyleGAN3's, which hold their sizes and channels.
    """

    resolution: int
    mapping_layers: int = 0
    labels: bool = False
    layers: tuple[str, ...] = ()

    @property
    def blocks(self) -> list[int]:
        """The resolutions above 4, in rising order."""
        return [1 << log2 for log2 in range(3, self.resolution.bit_length())]


@dataclass(frozen=True)
class Slot:
    """One tensor. `layout` says how the stored tensor (left) becomes the canonical one (right), see `arranging.py`.

    `he` multiplies by 1 / sqrt(in * kernel): for demodulated weights that a family stores and applies unscaled.
    A stored tensor may hold several canonical ones one after the other: `part` is (number, how many) along what
    becomes the first axis. Or it may hold one of them over and over, as often as the canonical parameter `repeats` is
    long; or one number for what in the canonical parameter is as many as `spread` is long.
    `optional` tensors may be absent in a file; a default is written for them all the same, unless they `may_lack`.
    `read_only` ones are never written. A tensor `outside` belongs to the network, but lies beside it in the file.
    """

    canonical: str
    stored: str
    layout: str = ""
    reverse: str = ""
    scale: float = 1.0
    add: float = 0.0
    he: bool = False
    optional: bool = False
    may_lack: bool = False
    outside: bool = False
    read_only: bool = False
    part: tuple[int, int] = (0, 1)
    repeats: str = ""
    spread: str = ""

    def arrangement(self, rank: int) -> Arrangement:
        """From stored to canonical; `rank` is used where nothing but the name differs."""
        return arrangement(self.layout, self.reverse) if self.layout else identity(rank)

    def factor(self, canonical_shape: Shape) -> float:
        """What the slot itself multiplies by."""
        return self.scale / math.sqrt(math.prod(canonical_shape[1:])) if self.he else self.scale


@dataclass(frozen=True)
class Constant:
    """The constant of a weight as a tensor of its own, for projects that store it."""

    stored: str
    value: float
    shape: Shape = ()


Slots = Callable[[Depth], Iterable[Slot]]
Said = Callable[[str], Any]
"""What a file says under a name beside the tensors: its configuration, constructor or static arguments; else None."""

_COMPARED_FORMS = ("progan", "bmsg-gan")
"""Architectures whose forms are compared argument by argument (`rewriting/forms.py`): a setting may make them agree."""


@dataclass(frozen=True)
class Setting:
    """A setting of a project's code that decides an argument of the architecture; `meaning` translates its values."""

    name: str
    meaning: Mapping[Any, Any] = field(default_factory=dict)

    def value(self, said: Said) -> Any:
        """The argument, if the file holds the setting; else None."""
        found = said(self.name)
        return self.meaning.get(found, None if self.meaning else found)


@dataclass(frozen=True)
class Naming:
    """The tensors of one kind of network in one family, and where a file of that family keeps such networks.

    `place` and `ema_place` are paths in the tree, the last part being a prefix if it ends in a dot; `alone` is
    the place of a network with a file to itself, where that differs. `reads_only` says why such files cannot be
    written, if they cannot. `caution` is what no file says and the user should know.
    `form` is what the family's code computes and no tensor says: arguments of the architecture in `networks/`, of
    which some can be changed in that code by `settings`, which a file may hold. A naming that `keeps_form` stores
    them beside the tensors, under `form.` and their name. `fits` is False where what the file says shows that the
    network is another one with the same names.
    `measured` tells the depth from names and shapes, where it is more than a resolution.
    `structure` names variants of one architecture with other tensors, between which there is no way.
    `others` is a pattern of names that may stand in the same dict and are no part of this network.
    `training` is how the project keeps an optimizer's state, or the sentence that says why eqlr writes none.
    `constant` is what a file stores as the constant of a weight, by the weight's name and shape.
    `implied` are canonical parameters that such a network has, with these values, where its file does not store them.
    `widths` say for which sizes the project's code is not made. A conditional discriminator without an embedding
    `scores_labels`: it has a score for each, and returns the one of the label. `deviation_of` is of how many samples
    StyleGAN2's takes the deviation unless it is constructed otherwise.
    """

    architecture: str
    role: Role
    slots: Slots
    place: tuple[str, ...]
    ema_place: tuple[str, ...] = ()
    reads_only: str = ""
    caution: str = ""
    form: Mapping[str, Any] = field(default_factory=dict)
    measured: Callable[[Mapping[str, Shape]], Depth | None] | None = None
    structure: str = ""
    others: str = ""
    training: Training | str = "eqlr does not know in which order the target's code numbers its parameters"
    implied: Mapping[str, NDArray] = field(default_factory=dict, compare=False)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    keeps_form: bool = False
    fits: Callable[[Said], bool] | None = None
    constant: Callable[[str, Shape], Constant | None] | None = None
    widths: tuple[Widths, ...] = ()
    scores_labels: bool = False
    deviation_of: int = 4
    alone: tuple[str, ...] = ()

    def stated_form(self, said: Said) -> dict[str, Any]:
        """The arguments of the architecture: the family's own, as far as the file's settings do not change them."""
        stated = {argument: setting.value(said) for argument, setting in self.settings.items()}
        return {**self.form, **{argument: value for argument, value in stated.items() if value is not None}}

    def same_kind(self, other: Naming) -> bool:
        """True if both name the parameters of one and the same function.

        Forms that are implied as parameters are compared as these are, one by one.
        """
        if self.architecture in _COMPARED_FORMS:
            return (self.architecture, self.role) == (other.architecture, other.role)
        mine = (self.architecture, self.role, self.structure, {} if self.implied else self.form)
        return mine == (other.architecture, other.role, other.structure, {} if other.implied else other.form)

    def fit(self, shapes: Mapping[str, Shape]) -> Depth | None:
        """The deepest network of this kind whose tensors are all among the names; None if there is none."""
        there = set(shapes)
        if self.measured:
            measure = self.measured(shapes)
            return measure if measure and self._covers(measure, there) else None
        fitting = [r for r in (1 << n for n in range(2, MAX_LOG2_RESOLUTION)) if self._covers(Depth(r), there)]
        if not fitting:
            return None
        plain, conditional = (self._deepest(fitting[-1], labels, there) for labels in (False, True))
        deep = conditional.labels and conditional.mapping_layers >= plain.mapping_layers
        better = deep and self._differ(conditional, plain)
        return conditional if better else plain

    def _deepest(self, resolution: int, labels: bool, there: set[str]) -> Depth:
        """The deepest mapping network that is there: each has the tensors of those before it, and some more.

        There may be labels and nothing behind their embedding.
        """
        deepest = Depth(resolution)
        for layers in range(0 if labels else 1, MAX_MAPPING_LAYERS):
            deeper = Depth(resolution, layers, labels)
            if not self._covers(deeper, there):
                break
            if self._differ(deeper, deepest):
                deepest = deeper
            elif layers > 1:
                break
        return deepest

    def missing(self, shapes: Mapping[str, Shape]) -> list[str]:
        """What keeps a network from being a whole one of this kind: the tensors that the nearest such one has."""
        there = set(shapes)
        if self.measured:
            measure = self.measured(shapes)
            return [name for name in self._required(measure) if name not in there] if measure else []
        wanted = [self._required(Depth(1 << n)) for n in range(2, MAX_LOG2_RESOLUTION)]
        nearest = max(wanted, key=lambda required: len(there & set(required)) - len(set(required) - there))
        return [name for name in nearest if name not in there]

    def _differ(self, one: Depth, other: Depth) -> bool:
        """True if the depths mean different tensors: not every kind of network has a mapping, or labels."""
        return {slot.stored for slot in self.slots(one)} != {slot.stored for slot in self.slots(other)}

    def _covers(self, depth: Depth, names: set[str]) -> bool:
        return names.issuperset(self._required(depth))

    def _required(self, depth: Depth) -> list[str]:
        return [slot.stored for slot in self.slots(depth) if not slot.optional and not slot.outside]
