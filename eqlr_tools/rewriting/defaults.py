"""Canonical parameters that a family need not store: what their absence means, and what is written for them.

noise_strength, style.bias   absence has a value: no noise is added; nor a bias to StyleGAN1's constant
fir                          StyleGAN2's [1, 3, 3, 1]
input.transform, input.grid  StyleGAN3's image as it is, and the pixels that follow from its sizes
lod                          the largest size, less what the file says elsewhere of the size before
noise, mapping.w_avg         absence leaves them open: noise is drawn at run time, the average was never taken
torgb, fromrgb               a growing network has them for its smaller sizes; the largest image needs none of these
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.arranging import arranged
from eqlr_tools.checkpoints.outputs import constant_tensor
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.families.naming import Slot
from eqlr_tools.networks.arguments import argument
from eqlr_tools.networks.stylegan1 import FORM
from eqlr_tools.networks.stylegan2 import FIR
from eqlr_tools.networks.stylegan3 import stored_grid
from eqlr_tools.rewriting.canonical import CONSTANT, CONSTANT_BIAS, CanonicalNetwork
from eqlr_tools.rewriting.stylegan3_form import shaped_form

if TYPE_CHECKING:
    from numpy.typing import NDArray


GROWTH = (".torgb.weight", ".torgb.bias", ".fromrgb.weight", ".fromrgb.bias")


def implied_parameter(name: str, network: CanonicalNetwork) -> NDArray | None:
    """The value that the absence of a canonical parameter means, if it means one."""
    if name == "synthesis.input.transform":
        return np.eye(3)
    if name == "synthesis.input.grid":
        return stored_grid(shaped_form(network))
    if name.endswith(".noise_strength"):
        return np.zeros(())
    if name == "lod":
        return np.array(argument("faded", 0.0, network.form.get("faded", 0.0)))
    if name == "mean":
        return np.full((2, 2), 0.25)
    if name == "every_size":
        return np.ones(())
    return FIR if name == "fir" else None


def is_derived(network: CanonicalNetwork, name: str) -> bool:
    """True if another parameter can say the same: one bias per channel, and the same one for each of its pixels."""
    if name == "b4.input.bias_map":
        return derived_parameter("b4.input.bias", network) is not None
    return name == "b4.input.bias"


def derived_parameter(name: str, network: CanonicalNetwork) -> NDArray | None:
    """A parameter that follows from another one: the bias of ProGAN's first layer, per channel or per pixel."""
    if name == "b4.input.bias_map" and "b4.input.bias" in network.parts:
        return np.repeat(network.values("b4.input.bias"), 16)
    if name == "b4.input.bias" and "b4.input.bias_map" in network.parts:
        pixels = network.values("b4.input.bias_map").reshape(-1, 16)
        return pixels[:, 0] if np.array_equal(pixels, np.broadcast_to(pixels[:, :1], pixels.shape)) else None
    return None


def is_open(name: str) -> bool:
    """True if a network computes the same with any value of the parameter, as far as its file says."""
    return name.endswith(".noise") or name in ("mapping.w_avg", "mapping.truncation") or name.startswith(FORM)


def is_of_growth(name: str) -> bool:
    """True for what a network that has been grown needs only to make its smaller images."""
    return name.endswith(GROWTH)


def default_parameter(slot: Slot, network: CanonicalNetwork) -> NDArray | None:
    """What to write where the target has a tensor that the source lacks; None if it may stay away."""
    name = slot.canonical
    if slot.outside or slot.may_lack:
        return None
    if name.endswith(".noise"):
        side = int(name.split(".")[-3].removeprefix("b"))
        return np.random.default_rng(zlib.crc32(name.encode())).standard_normal((side, side))
    if name == "mapping.w_avg" and network.depth.mapping_layers:
        last = network.parts[f"mapping.fc{network.depth.mapping_layers - 1}.weight"]
        return np.zeros(last.tensor.shape[0])
    if name == CONSTANT_BIAS:
        return np.zeros(network.parts[CONSTANT].tensor.shape[0])
    if is_of_growth(name):
        return _growth_default(name, network)
    if name.startswith("b4.input.bias"):
        return derived_parameter(name, network)
    return implied_parameter(name, network)


def _growth_default(name: str, network: CanonicalNetwork) -> NDArray | None:
    """Zeros of the size that a smaller size's torgb or fromrgb has."""
    block, layer, kind = name.rsplit(".", 2)
    size = int(block.rpartition("b")[2])
    like = [part for other, part in network.parts.items() if other.endswith(f".{layer}.weight")]
    colours = like[0].tensor.shape
    if layer == "torgb":
        last = f"{block}.conv1.bias" if f"{block}.conv1.bias" in network.parts else f"{block}.conv.bias"
        shape: tuple[int, ...] = (colours[0], network.parts[last].tensor.shape[0], *colours[2:])
    else:
        after = f"b{size}.conv0" if size > 4 else "b8.conv1"
        weight = network.parts[f"{after}.weight"].tensor.shape
        shape = (weight[0] if size == 4 else weight[1], *colours[1:])
    return np.zeros(shape if kind == "weight" else shape[:1])


def stored_default(slot: Slot, network: CanonicalNetwork, constant: float) -> tuple[Tensor, str]:
    """A default as the target stores it, which multiplies it by `constant`, and the note that says what was written."""
    values = default_parameter(slot, network)
    assert values is not None
    dtype = next(iter(network.parts.values())).raw.dtype.name
    canonical = constant_tensor((values - slot.add) / (slot.scale * constant), dtype)
    return arranged(canonical, slot.arrangement(values.ndim).inverse), _note(slot.canonical, values)


def _note(name: str, values: NDArray) -> str:
    if name == "fir":
        return "the source stores no filter; the target gets StyleGAN2's, [1, 3, 3, 1]"
    if name == "synthesis.input.grid":
        return "the target stores the grid of its input, which follows from the sizes"
    if name == "synthesis.input.transform":
        return "the source has no transform; the target gets the one that changes nothing"
    if name == "mapping.w_avg":
        return "the source has no average latent; the target gets zeros, so truncate only after taking the average"
    if name.endswith(".noise"):
        return "the source has no noise images; the target gets images drawn from N(0, 1) with a fixed seed"
    if name == CONSTANT_BIAS:
        return "the source's constant has no bias; the target gets zeros"
    if name == "lod" and values:
        return f"the target gets the level of detail {values:g}: its last size is not wholly faded in"
    if name == "lod":
        return "the source has no level of detail; the target gets 0, which is its largest size"
    if name == "mean":
        return "the target gets the kernel with which it takes means"
    if name == "every_size":
        return "the target is marked as a network of images of every size"
    if name.startswith("b4.input.bias"):
        return "the bias of the first layer is written once per channel or per pixel, as the target has it"
    if is_of_growth(name):
        return "the source has no layers for the images of smaller sizes; the target gets zeros there"
    return "the source adds no noise; the target gets noise strengths of 0"
