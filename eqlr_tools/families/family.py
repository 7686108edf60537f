"""The words that a family is written in: conditions over names and shapes, rules for layers.

A family is data: where its networks are recognised (`Signature`), and a list of `Rule`s that say for each weight
what kind of layer it belongs to, its fan-in convention, gain, learning-rate multiplier and bias. Whatever no rule
matches is carried over untouched, so a mixed model needs no special case.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from eqlr_tools.families.naming import Naming
from eqlr_tools.scaling import SQRT2, FanIn, Shape, he_constant

BiasRule = Literal["plain", "lr_multiplier", "scale"]


class View(Protocol):
    """What a family may look at: names, shapes, and on request the size of the numbers in a tensor."""

    @property
    def shapes(self) -> Mapping[str, Shape]: ...

    def rms(self, name: str) -> float:
        """Root mean square of a tensor's finite elements, estimated from its beginning; 0 if there are none."""

    def scalar(self, name: str) -> float:
        """The value of a one-element tensor."""


@dataclass(frozen=True)
class Layer:
    """One layer: its tensors and the constants that turn what is stored into what is applied.

    `w = scale * v`, and the effective bias is `bias_scale * b`. `scale` is 1 for a plain layer and None where the
    effective weight is not a multiple of one tensor (weight norm). `demodulated` layers divide by the norm of their
    own weights afterwards, which cancels any scale.
    """

    name: str
    kind: str
    weight: str
    shape: tuple[int, ...]
    scale: float | None = 1.0
    fan_in: int = 0
    gain: float = 1.0
    lr_multiplier: float = 1.0
    bias: str | None = None
    bias_scale: float = 1.0
    baked_weight: str = ""
    scale_tensor: str | None = None
    demodulated: bool = False
    why: str = ""

    @property
    def equalized(self) -> bool:
        """True if a run-time constant belongs to this layer, be it 1 by coincidence."""
        return self.why != ""

    @property
    def formula(self) -> str:
        """The constant with its numbers filled in."""
        if not self.equalized:
            return "w = v"
        if self.scale_tensor:
            return f"c = {self.scale:.6g} (stored in {self.scale_tensor})"
        gain = "√2" if math.isclose(self.gain, SQRT2) else f"{self.gain:g}"
        factor = gain if self.lr_multiplier == 1 else f"{gain}·{self.lr_multiplier:g}"
        return f"c = {factor}/√{self.fan_in} = {self.scale:.6g}"


@dataclass(frozen=True)
class Rule:
    """What to do with the weights whose name matches `pattern` (a full match behind the family's prefix).

    The group `layer` of the pattern is the layer's path; without one it is the name less its last part. `bias` is a
    name in which `{layer}` and the pattern's groups may stand; a bias that the file lacks is no bias.
    """

    pattern: str
    kind: str
    fan_in: FanIn
    gain: float = 1.0
    lr_multiplier: float | Callable[[View, list[str]], float] = 1.0
    bias: str | None = "{layer}.bias"
    bias_rule: BiasRule = "plain"
    baked_weight: str | None = None
    demodulated: bool = False
    rank: tuple[int, ...] = ()
    unless: str | None = None

    def match(self, name: str, shape: Shape) -> re.Match[str] | None:
        if self.rank and len(shape) not in self.rank:
            return None
        return re.fullmatch(self.pattern, name)


@dataclass(frozen=True)
class Signature:
    """When a network is of a family: an anchor that must be there, more that must be, and what must not.

    Patterns are full matches; `anchor` starts behind any prefix (`generator.`, `stylegan_decoder.`), and what stood
    before it becomes the family's prefix in this network. `also` is looked for behind the prefix, `never` in the
    whole network. `rank` is the anchor's number of axes.
    """

    anchor: str
    rank: int | None = None
    also: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    what: str = ""


@dataclass(frozen=True)
class Verdict:
    """A family's answer about a network, always with its reason."""

    family: str
    matched: bool
    sentence: str
    prefix: str = ""


@dataclass(frozen=True)
class Family:
    """One code lineage's convention. `equalized` is False for layouts that are known to be plain already.

    `scales_output`: the constant multiplies the layer's output, so that stored weights are summed up unscaled.
    """

    id: str
    title: str
    architecture: str
    upstream: str
    signatures: tuple[Signature, ...]
    rules: tuple[Rule, ...] = ()
    equalized: bool = True
    keys_are_proof: bool = False
    advice: str = ""
    scales_output: bool = False
    namings: tuple[Naming, ...] = ()
    extra: Callable[[View, str], list[Layer]] | None = field(default=None, compare=False)

    def answer(self, view: View) -> Verdict:
        """Ask this family about a network: names and shapes only."""
        reasons = []
        for signature in self.signatures:
            prefix, sentence = _try(signature, view.shapes)
            if prefix is not None:
                return Verdict(self.id, True, sentence, prefix)
            reasons.append(sentence)
        return Verdict(self.id, False, "; ".join(dict.fromkeys(reasons)))

    def layers(self, view: View, prefix: str, overrides: Overrides) -> list[Layer]:
        """The equalized layers of a network that this family recognised, in the order of the file."""
        found = self.extra(view, prefix) if self.extra else []
        matches: dict[int, list[tuple[str, re.Match[str]]]] = {}
        for name, shape in view.shapes.items():
            if not name.startswith(prefix):
                continue
            for index, rule in enumerate(self.rules):
                match = rule.match(name[len(prefix) :], shape)
                if match and not _excluded(rule, match, prefix, view.shapes):
                    matches.setdefault(index, []).append((name, match))
                    break
        for index, names in matches.items():
            rule = self.rules[index]
            multiplier = overrides.lr_multiplier_for(rule, view, [name for name, _ in names])
            found += [_layer(rule, name, match, prefix, view.shapes, multiplier, overrides) for name, match in names]
        order = {name: place for place, name in enumerate(view.shapes)}
        return sorted(found, key=lambda layer: order[layer.weight])


@dataclass(frozen=True)
class Overrides:
    """What the user says instead of the family: `--gain`, `--lr-multiplier`, `--fan-in`."""

    gain: float | None = None
    lr_multiplier: float | None = None
    fan_in: FanIn | None = None

    def lr_multiplier_for(self, rule: Rule, view: View, names: list[str]) -> float:
        """The user's multiplier applies where the family has one, since other layers train at the full rate."""
        if not callable(rule.lr_multiplier):
            return rule.lr_multiplier
        return rule.lr_multiplier(view, names) if self.lr_multiplier is None else self.lr_multiplier


def inferred_multiplier(view: View, names: list[str]) -> float:
    """The learning-rate multiplier that the weights' size says: their initial std is 1 / lr_multiplier.

    Training moves the size by small factors, so only the power of ten is read from it, of the median layer.
    """
    sizes = [size for size in map(view.rms, names) if size > 0]
    if not sizes:
        return 1.0
    return min(10.0 ** -round(math.log10(statistics.median(sizes))), 1.0)


def _try(signature: Signature, shapes: Mapping[str, Shape]) -> tuple[str | None, str]:
    anchor = re.compile(rf"(?P<prefix_>(?:[^.]+\.)*?){signature.anchor}")
    for name, shape in shapes.items():
        match = anchor.fullmatch(name)
        if match and (signature.rank is None or len(shape) == signature.rank):
            return _check(signature, shapes, name, match["prefix_"])
    dimensions = f" with {signature.rank} axes" if signature.rank else ""
    return None, f"no tensor is called {_readable(signature.anchor)}{dimensions}"


def _check(signature: Signature, shapes: Mapping[str, Shape], anchor: str, prefix: str) -> tuple[str | None, str]:
    inside = [name[len(prefix) :] for name in shapes if name.startswith(prefix)]
    for pattern in signature.also:
        if not any(re.fullmatch(pattern, name) for name in inside):
            return None, f"has {anchor}, but no tensor is called {_readable(pattern)}"
    for pattern in signature.never:
        hit = next((name for name in shapes if re.fullmatch(rf"(?:.*\.)?{pattern}", name)), None)
        if hit:
            return None, f"has {anchor}, but also {hit}"
    shape = "×".join(map(str, shapes[anchor]))
    return prefix, f"has {anchor} ({shape})" + (f": {signature.what}" if signature.what else "")


def _readable(pattern: str) -> str:
    """A pattern as a person would write it: N for numbers, * for anything."""
    text = pattern.replace(r"\d+", "N").replace(r"\.", ".").replace(".+", "*").replace(".*", "*")
    return re.sub(r"\?P<\w+>|\?:", "", text)


def _excluded(rule: Rule, match: re.Match[str], prefix: str, shapes: Mapping[str, Shape]) -> bool:
    if rule.unless is None:
        return False
    return prefix + rule.unless.format(**_groups(match)) in shapes


def _groups(match: re.Match[str]) -> dict[str, str]:
    """The pattern's groups, `layer` among them: the group of that name, else the tensor's name less its last part."""
    return {"layer": match.string.rpartition(".")[0], **match.groupdict()}


def _layer(
    rule: Rule,
    name: str,
    match: re.Match[str],
    prefix: str,
    shapes: Mapping[str, Shape],
    multiplier: float,
    overrides: Overrides,
) -> Layer:
    shape = tuple(shapes[name])
    groups = _groups(match)
    gain = rule.gain if overrides.gain is None else overrides.gain
    fan_in = (overrides.fan_in or rule.fan_in)(shape)
    scale = he_constant(fan_in, gain, multiplier)
    bias = prefix + rule.bias.format(**groups) if rule.bias else None
    bias_scale = {"plain": 1.0, "lr_multiplier": multiplier, "scale": scale}[rule.bias_rule]
    baked = prefix + rule.baked_weight.format(**groups) if rule.baked_weight else name
    return Layer(
        name=prefix + groups["layer"],
        kind=rule.kind,
        weight=name,
        shape=shape,
        scale=scale,
        fan_in=fan_in,
        gain=gain,
        lr_multiplier=multiplier,
        bias=bias if bias in shapes else None,
        bias_scale=bias_scale if bias in shapes else 1.0,
        baked_weight=baked,
        demodulated=rule.demodulated,
        why="family",
    )
