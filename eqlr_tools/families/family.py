"""The words that a family is written in: conditions over names and shapes, rules for layers.

A family is data: where its networks are recognised (`Signature`), and a list of `Rule`s that say for each weight
what kind of layer it belongs to, its fan-in convention, gain, learning-rate multiplier and bias. Whatever no rule
matches is carried over untouched, so a mixed model needs no special case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, Protocol

from eqlr_tools.families.kinds import kind_beside
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.multipliers import USUAL_MULTIPLIER, Multiplier, MultiplierRule
from eqlr_tools.families.naming import Naming
from eqlr_tools.scaling import FanIn, Shape, he_constant

BiasRule = Literal["plain", "lr_multiplier", "scale"]
ALL = "*"
"""Instead of a family's id, in `Family.over`: every other one."""


class View(Protocol):
    """What a family may look at: names, shapes, what else the file says, and on request the size of the numbers."""

    @property
    def shapes(self) -> Mapping[str, Shape]: ...

    def rms(self, name: str) -> float:
        """Root mean square of a tensor's finite elements, estimated from its beginning; 0 if there are none."""

    def scalar(self, name: str) -> float:
        """The value of a one-element tensor."""

    def attribute(self, path: str, name: str) -> Any:
        """A plain attribute of the pickled module at `path`; None if the file has no modules or does not say."""

    def said(self, name: str) -> Any:
        """What the file says under this name beside the network: its configuration, constructor or static arguments."""


@dataclass(frozen=True)
class Rule:
    """What to do with the weights whose name matches `pattern` (a full match behind the family's prefix).

    The group `layer` of the pattern is the layer's path; without one it is the name less its last part. `bias`,
    `baked_weight` and `baked_bias` are names in which `{layer}` and the pattern's groups may stand; a bias that the
    file lacks is no bias. `unless` and `beside` are names that must be absent or present for the rule to apply.
    `layout` names the axes where they are not torch's (out, in, *kernel). A `self_normalised` weight is divided by
    its own norm at run time, and no constant belongs to it. With a `row_epsilon` every row is divided by that plus its
    own rms before the constant is applied (`Layer`). `stated` names the attributes of the pickled module that
    hold the constants of weight and bias: where the file has them they are the truth.
    """

    pattern: str
    kind: str
    fan_in: FanIn
    gain: float = 1.0
    lr_multiplier: float | MultiplierRule = 1.0
    bias: str | None = "{layer}.bias"
    bias_rule: BiasRule = "plain"
    baked_weight: str | None = None
    baked_bias: str | None = None
    demodulated: bool = False
    self_normalised: bool = False
    row_epsilon: float | None = None
    rank: tuple[int, ...] = ()
    unless: str | None = None
    beside: str | None = None
    layout: str = ""
    stated: tuple[str, str] | None = None

    def under(self, prefix: str) -> Rule:
        """The same rule for names that start with the pattern `prefix`, for a family that holds another one."""
        layer = self.pattern.startswith("(?P<layer>")
        pattern = self.pattern.replace("(?P<layer>", f"(?P<layer>{prefix}", 1) if layer else prefix + self.pattern
        return replace(self, pattern=pattern)

    def match(self, name: str, shape: Shape) -> re.Match[str] | None:
        if self.rank and len(shape) not in self.rank:
            return None
        return re.fullmatch(self.pattern, name)


Rules = tuple[Rule, ...]


@dataclass(frozen=True)
class Signature:
    """When a network is of a family: an anchor that must be there, more that must be, and what must not.

    Patterns are full matches; `anchor` starts behind any prefix (`generator.`, `stylegan_decoder.`), and what stood
    before it becomes the family's prefix in this network. `also` and `without` are looked for behind the prefix,
    `never` in the whole network. `rank` is the anchor's number of axes.
    """

    anchor: str
    rank: int | None = None
    also: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    what: str = ""


@dataclass(frozen=True)
class Verdict:
    """A family's answer about a network, always with its reason. `prefixes` are all places where it stands."""

    family: str
    matched: bool
    sentence: str
    prefixes: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """The first prefix: where the family's names begin in this network."""
        return self.prefixes[0] if self.prefixes else ""


@dataclass(frozen=True)
class Question:
    """What the file does not say, the possible answers, and the option that gives one.

    `settled_by` are the options of which one leaves nothing to ask, or all if it `needs_all`: `family`, `gain`,
    `fan_in`.
    """

    text: str
    candidates: tuple[str, ...]
    answer: str
    settled_by: tuple[str, ...] = ("family",)
    needs_all: bool = False


@dataclass(frozen=True)
class Overrides:
    """What the user says instead of the family: `--gain`, `--lr-multiplier`, `--fan-in`.

    `transposed_fan_in` is a convention for transposed convolutions, where alone projects differ: of a network that
    shows which ones these are it changes no other layer. `fan_in` is for every layer.

    `plain` says that the weights are effective ones, about to be equalized: their size tells nothing of a multiplier,
    so it is the one in `recorded` (by weight, from when the file was baked), else the usual one.
    """

    gain: float | None = None
    lr_multiplier: float | None = None
    fan_in: FanIn | None = None
    transposed_fan_in: FanIn | None = None
    plain: bool = False
    recorded: Mapping[str, float] = field(default_factory=dict)

    def fan_in_of(self, kind: str, shape: Shape, usual: FanIn, transposed_seen: bool) -> int:
        """The fan-in of a layer for which the family has the rule `usual`."""
        applies = kind.startswith("conv_transpose") or ("conv" in kind and not transposed_seen)
        return (self.fan_in or (self.transposed_fan_in if applies else None) or usual)(shape)

    def multiplier_for(self, rule: Rule, view: View, names: list[str], generic: bool = False) -> Multiplier:
        """The user's multiplier applies where the family has one, since other layers train at the full rate.

        A `generic` family does not know where that is: there the weights' size says so.
        """
        if not callable(rule.lr_multiplier):
            return Multiplier(rule.lr_multiplier)
        if generic and rule.lr_multiplier(view, names).value == 1.0:
            return Multiplier(1.0)
        if self.lr_multiplier is not None:
            return Multiplier(self.lr_multiplier, "given")
        multiplier = rule.lr_multiplier(view, names)
        if not self.plain or multiplier.origin != "inferred":
            return multiplier
        recorded = [self.recorded[name] for name in names if name in self.recorded]
        return Multiplier(recorded[0], "stated") if recorded else Multiplier(USUAL_MULTIPLIER)


@dataclass(frozen=True)
class Family:
    """One code lineage's convention. `equalized` is False for layouts that are known to be plain already.

    `rules` may be a function of (view, prefix), for families whose constants depend on the network as a whole (which
    layer is the last). `over` names families whose networks this one knows better: where both match, this one wins. A
    `generic` family knows a mechanism and no project: it stands back wherever one that is not generic matches.
    `doubt` says what in the file speaks against the family although its names match ("" if nothing does), and
    `question` what only the user can know. `load_back` says how the original code loads a baked file,
    `switch` is the setting that a file may hold of it (`use_eql`), which is False in a plain network, `arguments` the
    entry beside a state dict that the project's loader constructs the network from. With the switch off, the code of
    families that `keep_multiplier` still multiplies weights and biases by their learning-rate multiplier. `fixed` gives
    patterns of weights behind the prefix whose layers the code equalizes whatever its switch says, with the reason.
    `keys_are_proof` is True where a baked file has other names, so that the weights' size need not be looked at.
    `scales_output`: the constant multiplies the layer's output, so that stored weights are summed up unscaled.
    `namings` map the family's tensors onto the canonical parameters of an architecture.
    """

    id: str
    title: str
    architecture: str
    upstream: str
    signatures: tuple[Signature, ...]
    rules: Rules | Callable[[View, str], Rules] = ()
    equalized: bool = True
    keys_are_proof: bool = False
    advice: str = ""
    scales_output: bool = False
    namings: tuple[Naming, ...] = ()
    over: tuple[str, ...] = ()
    generic: bool = False
    load_back: str = ""
    switch: str = ""
    arguments: str = ""
    keep_multiplier: bool = False
    fixed: Callable[[View, str], Mapping[str, str]] | None = field(default=None, compare=False)
    doubt: Callable[[View, str], str] | None = field(default=None, compare=False)
    question: Callable[[View, str], Question | None] | None = field(default=None, compare=False)
    extra: Callable[[View, str], list[Layer]] | None = field(default=None, compare=False)

    def answer(self, view: View) -> Verdict:
        """Ask this family about a network: names and shapes, and where it has a `doubt`, what else the file says."""
        reasons: list[str] = []
        prefixes: dict[str, str] = {}
        for signature in self.signatures:
            found, said = _try(signature, view.shapes)
            for prefix, sentence in found.items():
                prefixes.setdefault(prefix, sentence)
            reasons += said
        doubts = {prefix: self.doubt(view, prefix) if self.doubt else "" for prefix in prefixes}
        sure = tuple(sorted((prefix for prefix in prefixes if not doubts[prefix]), key=len))
        if sure:
            return Verdict(self.id, True, prefixes[sure[0]], sure)
        reasons = [f"{prefixes[prefix]}, but {doubt}" for prefix, doubt in doubts.items()] or reasons
        return Verdict(self.id, False, "; ".join(dict.fromkeys(reasons)))

    def signed(self, shapes: Mapping[str, Shape]) -> bool:
        """True if names and shapes are those of this family, whatever else speaks for it or against."""
        return any(_try(signature, shapes)[0] for signature in self.signatures)

    def layers(self, view: View, prefix: str, overrides: Overrides) -> list[Layer]:
        """The layers behind one prefix of a network that this family recognised, in the order of the file."""
        found = self.extra(view, prefix) if self.extra else []
        rules = self.rules(view, prefix) if callable(self.rules) else self.rules
        matches: dict[int, list[tuple[str, re.Match[str]]]] = {}
        for name, shape in view.shapes.items():
            if not name.startswith(prefix) or not shape or 0 in shape:
                continue
            for index, rule in enumerate(rules):
                match = rule.match(name[len(prefix) :], shape)
                if match and _applies(rule, match, prefix, view.shapes):
                    matches.setdefault(index, []).append((name, match))
                    break
        kinds = {
            name: _kind(rules[index], name, match, prefix, view.shapes, look=self.generic)
            for index, names in matches.items()
            for name, match in names
        }
        for index, names in matches.items():
            rule = rules[index]
            for group in _alike(names):
                multiplier = overrides.multiplier_for(rule, view, [name for name, _ in group], self.generic)
                found += [
                    _layer(rule, name, match, prefix, view, multiplier, overrides, kinds) for name, match in group
                ]
        order = {name: place for place, name in enumerate(view.shapes)}
        return sorted(found, key=lambda layer: order[layer.weight])

    def fixed_layers(self, view: View, prefixes: Iterable[str]) -> dict[str, str]:
        """Weights of layers that no switch of the code reaches, each with the reason."""
        return {
            name: reason
            for prefix in prefixes
            for pattern, reason in (self.fixed(view, prefix) if self.fixed else {}).items()
            for name in view.shapes
            if name.startswith(prefix) and re.fullmatch(pattern, name[len(prefix) :])
        }

    def all_layers(self, view: View, verdict: Verdict, overrides: Overrides) -> list[Layer]:
        """The layers behind every prefix of the verdict, each weight once: the longest prefix knows it best."""
        claimed: dict[str, Layer] = {}
        for prefix in sorted(verdict.prefixes, key=len, reverse=True):
            for layer in self.layers(view, prefix, overrides):
                claimed.setdefault(layer.weight, layer)
        order = {name: place for place, name in enumerate(view.shapes)}
        return sorted(claimed.values(), key=lambda layer: order[layer.weight])


def _try(signature: Signature, shapes: Mapping[str, Shape]) -> tuple[dict[str, str], list[str]]:
    """Where the signature fits: {prefix: sentence}, and what is missing where it does not."""
    literal, pattern = _literal(signature.anchor), rf"(?P<prefix_>(?:[^./]+[./])*?){signature.anchor}"
    found: dict[str, str] = {}
    reasons: list[str] = []
    tried: set[str] = set()
    for name, shape in shapes.items():
        if literal not in name or (signature.rank is not None and len(shape) != signature.rank):
            continue
        match = re.fullmatch(pattern, name)  # Compiled only here: most families have no such name to match.
        if match is None or match["prefix_"] in tried:
            continue
        prefix = match["prefix_"]
        tried.add(prefix)
        fits, sentence = _check(signature, shapes, name, prefix)
        if fits:
            found[prefix] = sentence
        else:
            reasons.append(sentence)
    if not tried:
        dimensions = f" with {signature.rank} axes" if signature.rank is not None else ""
        reasons.append(f"no tensor is called {_readable(signature.anchor)}{dimensions}")
    return found, reasons[:3]


def _check(signature: Signature, shapes: Mapping[str, Shape], anchor: str, prefix: str) -> tuple[bool, str]:
    inside = [name[len(prefix) :] for name in shapes if name.startswith(prefix)]
    for pattern in signature.also:
        wanted = re.compile(pattern)
        if not any(wanted.fullmatch(name) for name in inside):
            return False, f"has {anchor}, but no tensor is called {_readable(pattern)}"
    for patterns, names in ((signature.never, shapes), (signature.without, inside)):
        for pattern in patterns:
            unwanted = re.compile(rf"(?:.*[./])?{pattern}")
            hit = next((name for name in names if unwanted.fullmatch(name)), None)
            if hit:
                return False, f"has {anchor}, but also {hit}"
    shape = "×".join(map(str, shapes[anchor])) or "()"
    return True, f"has {anchor} ({shape})" + (f": {signature.what}" if signature.what else "")


@cache
def _literal(pattern: str) -> str:
    """The longest text that every match of the pattern contains: names without it need no regular expression."""
    outside, depth = [], 0
    for token in re.findall(r"\\.|\[[^]]*\]|.", pattern):
        depth += token == "("
        outside.append("\0" if depth or token in ")+*.[]|" or token[0] == "[" or token in (r"\d", r"\w") else token[-1])
        if token in ("?", "*"):
            outside[-2:] = ["\0", "\0"]
        depth -= token == ")"
    return max("".join(outside).split("\0"), key=len)


def _readable(pattern: str) -> str:
    """A pattern as a person would write it: N for numbers, * for anything, without parts that may be absent."""
    text = re.sub(r"\?P<\w+>|\?:", "", pattern)
    for regex, plain in (
        ("[./]", "."),
        (r"[\dx]+", "N"),
        (r"\d+", "N"),
        (r"\d", "N"),
        (r"\w+", "*"),
        (r"\w*", "*"),
        (r"\.", "."),
        (".+", "*"),
        (".*", "*"),
        ("[wW]", "w"),
    ):
        text = text.replace(regex, plain)
    text = re.sub(r"\([^()]*\)\?|\([^()]*\|\)|\w\?", "", text)
    return re.sub(r"\(([^()|]*)\)", r"\1", text)


def _applies(rule: Rule, match: re.Match[str], prefix: str, shapes: Mapping[str, Shape]) -> bool:
    groups = _groups(match)
    if rule.unless is not None and prefix + rule.unless.format(**groups) in shapes:
        return False
    return rule.beside is None or prefix + rule.beside.format(**groups) in shapes


def _groups(match: re.Match[str]) -> dict[str, str]:
    """The pattern's groups, `layer` among them: the group of that name, else the tensor's name less its last part."""
    cut = max(match.string.rfind("."), match.string.rfind("/"))
    return {"layer": match.string[: max(cut, 0)], **{k: v or "" for k, v in match.groupdict().items()}}


def _alike(names: list[tuple[str, re.Match[str]]]) -> list[list[tuple[str, re.Match[str]]]]:
    """Groups of weights whose names differ in numbers only: the layers of one stack, which train alike."""
    groups: dict[str, list[tuple[str, re.Match[str]]]] = {}
    for name, match in names:
        groups.setdefault(re.sub(r"\d+", "", name), []).append((name, match))
    return list(groups.values())


def _kind(rule: Rule, name: str, match: re.Match[str], prefix: str, shapes: Mapping[str, Shape], *, look: bool) -> str:
    """The kind of layer that the rule says; to `look` at a convolution tells whether it is a transposed one."""
    if not look or not rule.kind.startswith("conv"):
        return rule.kind
    groups = _groups(match)
    path, bias = prefix + groups["layer"], prefix + (rule.bias or "").format(**groups)
    return kind_beside(path, tuple(shapes[name]), shapes, bias)


def _layer(
    rule: Rule,
    name: str,
    match: re.Match[str],
    prefix: str,
    view: View,
    multiplier: Multiplier,
    overrides: Overrides,
    kinds: Mapping[str, str],
) -> Layer:
    shape, groups = tuple(view.shapes[name]), _groups(match)

    def named(template: str | None) -> str:
        return prefix + template.format(**groups) if template else ""

    bias = named(rule.bias) if named(rule.bias) in view.shapes else None
    layer = Layer(
        name=prefix + groups["layer"],
        kind=kinds[name],
        weight=name,
        shape=shape,
        bias=bias,
        baked_weight=named(rule.baked_weight) or name,
        baked_bias=named(rule.baked_bias) if bias else "",
        demodulated=rule.demodulated or rule.self_normalised,
        layout=rule.layout,
    )
    if rule.self_normalised:
        return layer
    gain = rule.gain if overrides.gain is None else overrides.gain
    transposed_seen = any(kind.startswith("conv_transpose") for kind in kinds.values())
    fan_in = overrides.fan_in_of(kinds[name], shape, rule.fan_in, transposed_seen)
    if rule.stated and overrides == Overrides():
        stated = layer.with_stated(rule.stated, view.attribute, gain, fan_in)
        if stated is not None:
            return stated
    if rule.row_epsilon is not None:
        return layer.with_unit_rows(rule.row_epsilon, fan_in, gain)
    scale = he_constant(fan_in, gain, multiplier.value)
    bias_scale = {"plain": 1.0, "lr_multiplier": multiplier.value, "scale": scale}[rule.bias_rule]
    return layer.with_constant(scale, bias_scale if bias else 1.0, fan_in, gain, multiplier)
