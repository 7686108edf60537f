"""Plain networks: tensors are used as they are. What `audit` lists of them, and what `equalize` may rescale."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from eqlr_tools.families.family import Overrides, View
from eqlr_tools.families.kinds import is_embedding_name, is_input, is_norm_name, kind_of, sibling
from eqlr_tools.families.layer import Layer
from eqlr_tools.scaling import Shape, dense_fan_in, he_constant, modulated_fan_in, transposed_fan_in

PLAIN = "plain"

_SPECTRAL_NORM = (".weight_orig", ".weight_u")
_OTHER_NAMES = frozenset("kernel depthwise_kernel pointwise_kernel recurrent_kernel embeddings w W".split())
_EMBEDDING_LIKE = 4.0
"""rms * sqrt(fan_in) of a matrix without bias from which on it is taken for a lookup table: nn.Embedding starts at
sqrt(fan_in), nn.Linear at 0.58, He's initialiser at 1.4 (`facts`: trained plain networks stay below 3.6)."""


def plain_layers(view: View, taken: set[str]) -> list[Layer]:
    """The weights of at least two axes that are no equalized layer's, as layers with scale 1."""
    found = []
    of_torch = any(_is_torch_weight(name) and len(shape) >= 2 for name, shape in view.shapes.items())
    for name, shape in view.shapes.items():
        if name in taken or len(shape) < 2 or _is_buffer(name, view):
            continue
        if is_input(name.rpartition(".")[0], tuple(shape), view.shapes):
            continue
        if not (_is_torch_weight(name) or (not of_torch and _is_other_weight(name)) or _is_operand(name, view)):
            continue
        path, kind, scale = _describe(name, tuple(shape), view)
        bias = sibling(path, "bias")
        found.append(
            Layer(
                name=path or name,
                kind=kind,
                weight=name,
                shape=tuple(shape),
                scale=scale,
                fan_in=_fan_in(kind, tuple(shape)),
                bias=bias if bias in view.shapes and bias not in taken else None,
                baked_weight=name,
            )
        )
    return found


def reparametrised(layers: Iterable[Layer]) -> str:
    """What else than equalization computes weights at run time, of how many layers; empty if nothing does."""
    said = {"pruned": "pruning", "weight_norm": "weight norm", "spectral_norm": "spectral norm"}
    kinds = [said[layer.kind] for layer in layers if layer.scale is None]
    return ", ".join(f"{kind} ({kinds.count(kind)})" for kind in dict.fromkeys(kinds))


def equalizable_layers(
    view: View, overrides: Overrides, wanted: Callable[[str], bool | None]
) -> tuple[list[Layer], list[tuple[str, str]]]:
    """The plain layers that can be equalized with their constants, and the others, each with the reason.

    `wanted` answers True or False for names that the user included or excluded, None where evidence decides.
    """
    layers, skipped = [], []
    found = plain_layers(view, set())
    transposed_seen = any(layer.kind.startswith("conv_transpose") for layer in found)
    for layer in found:
        choice = wanted(layer.name)
        reason = "excluded" if choice is False else _why_not(layer, view, forced=choice is True)
        if reason:
            skipped.append((layer.weight, reason))
            continue
        gain, multiplier = overrides.gain or 1.0, overrides.lr_multiplier or 1.0
        fan_in = overrides.fan_in_of(layer.kind, layer.shape, partial(_fan_in, layer.kind), transposed_seen)
        layers.append(
            replace(
                layer,
                scale=he_constant(fan_in, gain, multiplier),
                fan_in=fan_in,
                gain=gain,
                lr_multiplier=multiplier,
                why="names and shapes",
            )
        )
    return layers, skipped


def _why_not(layer: Layer, view: View, forced: bool) -> str:
    """Why a weight is left alone; empty if it may be equalized."""
    if layer.scale is None:
        return f"re-parametrised ({layer.kind})"
    if re.split(r"[./]", layer.weight)[-1] != "weight" or layer.kind == "tensor":
        return "not the weight of a linear or convolution layer"
    if layer.fan_in < 1:
        return "empty"
    if forced:
        return ""
    if is_embedding_name(layer.name):
        return "an embedding by its name"
    if is_norm_name(layer.name):
        return "a norm by its name"
    if layer.kind == "linear" and layer.bias is None:
        size = view.rms(layer.weight) * layer.fan_in**0.5
        if size > _EMBEDDING_LIKE:
            return f"no bias and rms·√fan_in = {size:.3g}, like a lookup table; --include decides otherwise"
    return ""


def _is_torch_weight(name: str) -> bool:
    last = name.rpartition(".")[2]
    return "weight" in last or last == "original1" or name.endswith("parametrizations.weight.original")


def _is_other_weight(name: str) -> bool:
    """By its name, as Keras, Flax and Chainer have it; beside torch's weights, a `kernel` is the filter of a blur."""
    return re.split(r"[./]", name)[-1].removesuffix(":0") in _OTHER_NAMES


def _is_operand(name: str, view: View) -> bool:
    """By what consumes it, in an ONNX model."""
    return view.attribute(name, "op_type") is not None


def _is_buffer(name: str, view: View) -> bool:
    """Vectors and copies that spectral norm and blurs keep beside a weight."""
    if name.endswith((".weight_u", ".weight_flip", ".weight_mask", ".original0", "weight_g")):
        return True
    if name.endswith(".weight_v"):  # Spectral norm's vector; weight norm keeps its directions under this name.
        return name.removesuffix("v") + "g" not in view.shapes
    flipped = name + "_flip"
    return flipped in view.shapes


def _describe(name: str, shape: tuple[int, ...], view: View) -> tuple[str, str, float | None]:
    """(path, kind, scale) of a plain weight, looking through the usual re-parametrisations."""
    path, _, last = name.rpartition(".")
    if ".parametrizations." in name:
        path = name.partition(".parametrizations.")[0]
        return path, "weight_norm" if last == "original1" else "spectral_norm", None
    if last == "weight_orig":
        masked = f"{path}.weight_mask" in view.shapes
        return path, "pruned" if masked else "spectral_norm", None
    if last == "weight_v" and f"{path}.weight_g" in view.shapes:
        return path, "weight_norm", None
    if is_embedding_name(path) and len(shape) == 2 and last == "weight":
        return path, "embedding", 1.0
    if last != "weight":
        return name, _kind_of_other(name, shape, view), 1.0
    return path, kind_of(path, shape, view.shapes), 1.0


def _kind_of_other(name: str, shape: tuple[int, ...], view: View) -> str:
    """A weight whose axes torch's order does not explain: what ONNX says of it, else nothing beyond a matrix."""
    operator = view.attribute(name, "op_type")
    if operator in ("Conv", "ConvTranspose") and 3 <= len(shape) <= 5:
        return f"{'conv' if operator == 'Conv' else 'conv_transpose'}{len(shape) - 2}d"
    return "linear" if len(shape) == 2 else "tensor"


def _fan_in(kind: str, shape: Shape) -> int:
    if kind.startswith("conv_transpose"):
        return transposed_fan_in(shape)
    return modulated_fan_in(shape) if kind == "modulated_conv2d" else dense_fan_in(shape)
