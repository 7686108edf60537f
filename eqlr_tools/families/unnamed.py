"""Equalized layers that nobody's name is on: the mechanism shows, the gain does not. They ask before anything is done.

    hook             `X.weight_orig` without spectral norm's `weight_u` or pruning's `weight_mask`; copies of it write
                     `weight_origin`, or `weight_param` with `bias_param`
    parametrization  a lone `X.parametrizations.weight.original` (ot-vae-lightning: w = v * lr * gain / sqrt(fan_in),
                     its bias, `X.parametrizations.bias.original`, in fact applied as stored)
    WSConv copies    a wrapped layer, `X.conv.weight` or `X.linear.weight`, with the bias beside it, `X.bias`, the
                     weights stored near N(0, 1); an EqualizedLR around a whole layer leaves its bias inside,
                     `X.layer.weight` and `X.layer.bias`, or `X.module.weight` and `X.module.bias`

For the first two, fan_in is shape[1] * prod(kernel), of transposed convolutions too; the third have copies that count
otherwise, so they ask. All three stand back where a family with a name matches. A multiplier is believed of those
stacks of linear layers whose size shows one; that it is the bias's, too, only where the bias stands outside a `linear`.
"""

import math
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from eqlr_tools.families.family import Family, Question, Rule, Rules, Signature, View
from eqlr_tools.families.kinds import kind_beside
from eqlr_tools.families.multipliers import inferred_multiplier
from eqlr_tools.scaling import SQRT2, Shape, second_axis_fan_in

_EQUALIZED_RMS = 0.5
_EQUALIZED_RATIO = 3.8
"""Median rms, and median rms * sqrt(fan_in), above which weights with their bias outside look equalized. Measured: 2.0
and 22 for a trained equalized network; at most 0.25 and 3.6 for ten plain ones."""

_LEAST_WRAPPED = 2

_KINDS = {2: "linear", 3: "conv1d", 4: "conv2d", 5: "conv3d"}
_PLAIN = "--family plain: no equalized layers, so that all are left as they are"
_ANSWER = "--gain X (and --lr-multiplier X, if the size of its mapping network's weights misleads)"


def _gain_question(what: str, likely: str) -> Question:
    return Question(
        f"{what}, but with which gain is in code that the file does not hold",
        (f"--gain 1.4142135623730951: {likely}", "--gain 1: StyleGAN2's layers, and the RMS family", _PLAIN),
        _ANSWER,
        ("gain",),
    )


_STORED = r"weight_(?P<stored>orig|origin|param)"


def _hooked(pattern: str, rank: int, bias: str, **changes: Any) -> Rule:
    """A hooked weight; copies of the hook name the bias like the weight."""
    return Rule(
        rf"(?P<layer>{pattern})\.{_STORED}",
        "modulated_conv2d" if rank == 5 else _KINDS[rank],
        second_axis_fan_in,
        SQRT2,
        bias=bias,
        baked_weight="{layer}.weight",
        rank=(rank,),
        **changes,
    )


_HOOKED = (
    _hooked(
        r"(?P<outer>.+)\.linear",
        2,
        "{outer}.bias",
        lr_multiplier=inferred_multiplier,
        bias_rule="lr_multiplier",
        beside="{outer}.bias",
    ),
    *(
        _hooked(r".+", rank, bias, beside=beside, baked_bias=baked, lr_multiplier=lr)
        for rank, lr in ((2, inferred_multiplier), (3, 1.0), (4, 1.0), (5, 1.0))
        for bias, beside, baked in (
            ("{layer}.bias_param", "{layer}.bias_param", "{layer}.bias"),
            ("{layer}.bias", None, None),
        )
    ),
)
_OTHER_HOOKS = ("weight_u", "weight_v", "weight_mask")
"""What spectral norm and pruning keep beside a `weight_orig`."""


def _otherwise_hooked(view: View) -> set[str]:
    """Layers whose `weight_orig` is spectral norm's or pruning's."""
    split = (name.rpartition(".") for name in view.shapes)
    return {path for path, _, last in split if last in _OTHER_HOOKS}


def _otherwise_parametrized(view: View) -> set[str]:
    """Layers whose parametrization has a state: spectral norm's vectors, an orthogonal base, a stored scale."""
    matches = (re.fullmatch(r"(.+)\.parametrizations\.weight\.\d+\..+", name) for name in view.shapes)
    return {match[1] for match in matches if match}


def _except_those_of(rules: Rules, others: Callable[[View], set[str]]) -> Callable[[View, str], Rules]:
    """The rules for all layers but the ones that another mechanism of the same names works on."""

    def remaining(view: View, prefix: str) -> Rules:
        paths = "|".join(map(re.escape, sorted(others(view))))
        never = rf"(?!(?:{paths})\.(?:weight_|parametrizations\.))" if paths else ""
        return tuple(replace(rule, pattern=never + rule.pattern) for rule in rules)

    return remaining


def _none_left(stored: str, others: Callable[[View], set[str]], who: str) -> Callable[[View, str], str]:
    """The doubt of a family whose names another mechanism has as well: that no layer is left for it."""

    def doubt(view: View, prefix: str) -> str:
        matches = (re.fullmatch(rf"(.+)\.{stored}", name) for name in view.shapes)
        left = {match[1] for match in matches if match} - others(view)
        return "" if left else f"all layers of that name are {who}"

    return doubt


HOOK = Family(
    id="equalized-hook",
    title="an EqualizedLR or EqualLR hook of unknown gain",
    architecture="any",
    upstream="various",
    signatures=(
        Signature(
            r".+\.weight_(?:orig|origin|param)",
            never=(r".*weight_scale",),
            what="a hook keeps the stored weight under this name",
        ),
    ),
    rules=_except_those_of(_HOOKED, _otherwise_hooked),
    doubt=_none_left(_STORED, _otherwise_hooked, "spectral norm's or pruning's"),
    generic=True,
    keys_are_proof=True,
    question=lambda view, prefix: _gain_question(
        "a hook rescales its weights at run time", "rosinality's hook, mmgeneration's PGGAN and StyleGAN"
    ),
)

_PARAMETRIZED = tuple(
    Rule(
        r"(?P<layer>.+)\.parametrizations\.weight\.original",
        kind,
        second_axis_fan_in,
        lr_multiplier=inferred_multiplier,
        bias="{layer}.parametrizations.bias.original",
        baked_weight="{layer}.weight",
        baked_bias="{layer}.bias",
        rank=(rank,),
    )
    for rank, kind in _KINDS.items()
)

PARAMETRIZATION = Family(
    id="equalized-parametrization",
    title="a torch parametrization whose constant is not in the file",
    architecture="any",
    upstream="theoad/ot-vae-lightning",
    signatures=(
        Signature(
            r".+\.parametrizations\.weight\.original",
            what="a parametrization that is no weight norm",
        ),
    ),
    rules=_except_those_of(_PARAMETRIZED, _otherwise_parametrized),
    doubt=_none_left(r"parametrizations\.weight\.original", _otherwise_parametrized, "another parametrization's"),
    generic=True,
    keys_are_proof=True,
    question=lambda view, prefix: _gain_question(
        "a parametrization computes its weights at run time, perhaps by equalized learning rate (biases as stored)",
        "ProGAN's gain",
    ),
)

_WHOLE = r"(?:layer|module)"
_WRAPPED = r"(?:(?:de|up|t)?_?conv\w*|lin(?:ear)?|fc|dense|layer|module|inner|wrapped)"


def _wrapped(view: View, prefix: str) -> Iterator[tuple[str, Shape]]:
    """Weights of layers in a wrapper: their bias, one number for each output, stands beside them, or they are whole."""
    for name, shape in view.shapes.items():
        match = re.fullmatch(rf"(?P<outer>.+)\.{_WRAPPED}\.weight", name)
        if match is None or not name.startswith(prefix) or len(shape) not in _KINDS:
            continue
        inside = view.shapes.get(name[: -len("weight")] + "bias")
        whole = inside is not None and re.fullmatch(rf".+\.{_WHOLE}\.weight", name) is not None
        bias = inside if whole else view.shapes.get(f"{match['outer']}.bias") if inside is None else None
        if bias is not None and math.prod(bias) in shape[:2]:
            yield name, shape


def _looks_plain(view: View, prefix: str) -> str:
    """Why the wrapped layers of a network are not believed to be equalized; empty if they may be."""
    found = list(_wrapped(view, prefix))
    if len(found) < _LEAST_WRAPPED:
        return "too few layers are in a wrapper"
    sizes = [view.rms(name) for name, _ in found]
    ratios = [rms * math.sqrt(second_axis_fan_in(shape)) for rms, (_, shape) in zip(sizes, found, strict=True)]
    if statistics.median(sizes) < _EQUALIZED_RMS or statistics.median(ratios) < _EQUALIZED_RATIO:
        return "their weights have the size of plain ones"
    return ""


def _wrapped_question(view: View, prefix: str) -> Question:
    question = _gain_question(
        "its layers look like WSConv2d and WSLinear, stored near N(0, 1)",
        "WSConv2d of the aladdinpersson tutorial, EqualizedLR around a layer (biases as stored)",
    )
    transposed = [name for name, shape in _wrapped(view, prefix) if _is_transposed(name, shape, view)]
    if not transposed:
        return question
    return Question(
        f"{question.text}, nor what the fan-in of its transposed convolution {transposed[0]} is",
        (
            *question.candidates,
            "--fan-in in*kernel: as torch counts, which is by the outputs",
            "--fan-in transposed: inputs times kernel",
            "--fan-in channels: inputs alone",
        ),
        "--gain X --fan-in RULE",
        ("gain", "fan_in"),
        needs_all=True,
    )


def _is_transposed(name: str, shape: Shape, view: View) -> bool:
    path = name.removesuffix(".weight")
    outer = path.rpartition(".")[0]
    return kind_beside(path, tuple(shape), view.shapes, f"{outer}.bias").startswith("conv_transpose")


WSCONV = Family(
    id="wsconv-copy",
    title="WSConv2d layers outside the networks that have a name here",
    architecture="any",
    upstream="various",
    signatures=(Signature(rf".+\.{_WRAPPED}\.weight", also=(r".+\.bias",), what="a layer in a wrapper"),),
    rules=tuple(
        Rule(
            rf"(?P<layer>(?P<outer>.+)\.{inner})\.weight",
            kind,
            second_axis_fan_in,
            bias=bias,
            unless=unless,
            beside=bias,
            rank=(rank,),
        )
        for rank, kind in _KINDS.items()
        for inner, bias, unless in ((_WHOLE, "{layer}.bias", None), (_WRAPPED, "{outer}.bias", "{layer}.bias"))
    ),
    generic=True,
    doubt=_looks_plain,
    question=_wrapped_question,
)
