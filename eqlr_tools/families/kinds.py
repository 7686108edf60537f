"""What kind of layer a weight belongs to, where no family says so: from its name, its shape and its neighbours."""

from __future__ import annotations

import itertools
import re
from collections import ChainMap
from collections.abc import Mapping
from typing import cast

from eqlr_tools.scaling import Shape, is_modulated

_CONVOLUTIONS = {3: "conv1d", 4: "conv2d", 5: "conv3d"}
_TRANSPOSED_NAME = re.compile(r"(deconv|conv_?t(rans)?|transpose|tconv|upconv|up_conv|convtranspose)", re.IGNORECASE)
_EMBEDDING_NAME = re.compile(
    r"(^|[._])(\w*embed\w*|emb\w*|tok(en)?s?|pos(ition)?(al)?|wte|wpe|lookup|codebook|vocab|segment|seg|label|"
    r"class(es)?_?(emb\w*)?|y_emb\w*|table)([._]|$)",
    re.IGNORECASE,
)
_INPUT_NAME = re.compile(r"(^|_)(const|constant|noise)(_?input)?\d*$", re.IGNORECASE)
_NORM_NAME = re.compile(r"(norm|bn|ln|gn|batchnorm|layernorm|groupnorm)\d*$", re.IGNORECASE)


def kind_of(path: str, shape: tuple[int, ...], shapes: Mapping[str, Shape]) -> str:
    """Name the layer: linear, conv1d-3d, conv_transpose1d-3d, modulated_conv2d, or tensor for anything else."""
    if len(shape) > 1 and tuple(shapes.get(sibling(path, "bias"), ())) == shape:
        return "tensor"  # One bias for each weight: a norm over several axes.
    if len(shape) == 2:
        return "linear"
    if is_modulated(shape):
        return "modulated_conv2d"
    if len(shape) not in _CONVOLUTIONS:
        return "tensor"
    kind = _CONVOLUTIONS[len(shape)]
    return kind.replace("conv", "conv_transpose") if is_transposed(path, shape, shapes) else kind


def kind_beside(path: str, shape: tuple[int, ...], shapes: Mapping[str, Shape], bias: str) -> str:
    """The kind of a layer whose bias is not inside it, but the tensor `bias`."""
    inside = {sibling(path, "bias"): shapes[bias]} if bias in shapes else {}
    return kind_of(path, shape, ChainMap(inside, cast(dict[str, Shape], shapes)))


def sibling(path: str, last: str) -> str:
    """The name of another tensor of the layer at `path`; a network that is one layer has no path."""
    return f"{path}.{last}" if path else last


def is_transposed(path: str, shape: tuple[int, ...], shapes: Mapping[str, Shape]) -> bool:
    """Tell (in, out, *kernel) from (out, in, *kernel): the bias, or the norm behind, is as long as the outputs."""
    if shape[0] == shape[1]:
        return _transposed_by_context(path, shape, shapes)
    outputs = shapes.get(sibling(path, "bias")) or _norm_behind(path, shapes)
    if outputs is not None and len(outputs) == 1 and outputs[0] in shape[:2]:
        return outputs[0] == shape[1]
    return _transposed_by_context(path, shape, shapes)


def _norm_behind(path: str, shapes: Mapping[str, Shape]) -> Shape | None:
    """The weight of the next element of a Sequential, if it is one-dimensional as a norm's is."""
    head, _, last = path.rpartition(".")
    if not last.isdigit():
        return None
    following = shapes.get(f"{head}.{int(last) + 1}.weight" if head else f"{int(last) + 1}.weight")
    return following if following is not None and len(following) == 1 else None


def _transposed_by_context(path: str, shape: tuple[int, ...], shapes: Mapping[str, Shape]) -> bool:
    """Where the shape cannot tell: the name, else how inputs chain with the weights of the same list."""
    if _TRANSPOSED_NAME.search(path):
        return True
    head = path.rpartition(".")[0]
    start, rank = f"{head}." if head else "", len(shape)
    siblings = [
        tuple(other)
        for name, other in shapes.items()
        if name.startswith(start)
        and len(other) == rank
        and name.endswith(".weight")
        and "." not in name[len(start) : -len(".weight")]
    ]
    forward = sum(a[0] == b[1] for a, b in itertools.pairwise(siblings))
    transposed = sum(a[1] == b[0] for a, b in itertools.pairwise(siblings))
    return transposed > forward


def is_embedding_name(path: str) -> bool:
    """True if the path names a lookup table: rows that are picked, not multiplied."""
    return _EMBEDDING_NAME.search(path) is not None


def is_norm_name(path: str) -> bool:
    """True if the path's last part names a normalisation layer."""
    return _NORM_NAME.search(path.rpartition(".")[2]) is not None


def is_input(path: str, shape: tuple[int, ...], shapes: Mapping[str, Shape]) -> bool:
    """True for a learned constant or the strengths of noise, which are called `weight` and multiply no input.

    They are for one image, (1, channels, ...), and have no bias.
    """
    named = _INPUT_NAME.search(path.rpartition(".")[2]) is not None
    return named and len(shape) > 2 and shape[0] == 1 and sibling(path, "bias") not in shapes
