"""Canonical parameters that a family need not store: what their absence means, and what is written for them.

noise_strength, style.bias   absence has a value: no noise is added
fir                          StyleGAN2's [1, 3, 3, 1]
input.transform, input.grid  StyleGAN3's image as it is, and the pixels that follow from its sizes
noise, mapping.w_avg         absence leaves them open: noise is drawn at run time, the average was never taken
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.arranging import arranged
from eqlr_tools.checkpoints.outputs import constant_tensor
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.families.naming import Slot
from eqlr_tools.networks.stylegan2 import FIR
from eqlr_tools.networks.stylegan3 import stored_grid
from eqlr_tools.rewriting.canonical import CanonicalNetwork
from eqlr_tools.rewriting.stylegan3_form import shaped_form

if TYPE_CHECKING:
    from numpy.typing import NDArray


def implied_parameter(name: str, network: CanonicalNetwork) -> NDArray | None:
    """The value that the absence of a canonical parameter means, if it means one."""
    if name == "synthesis.input.transform":
        return np.eye(3)
    if name == "synthesis.input.grid":
        return stored_grid(shaped_form(network))
    if name.endswith(".noise_strength") or name == "lod":
        return np.zeros(())
    return FIR if name == "fir" else None


def is_open(name: str) -> bool:
    """True if a network computes the same with any value of the parameter, as far as its file says."""
    return name.endswith(".noise") or name == "mapping.w_avg"


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
    return implied_parameter(name, network)


def stored_default(slot: Slot, network: CanonicalNetwork) -> tuple[Tensor, str]:
    """A default as the target stores it, and the note that says what was written."""
    values = default_parameter(slot, network)
    assert values is not None
    dtype = next(iter(network.parts.values())).raw.dtype.name
    canonical = constant_tensor((values - slot.add) / slot.scale, dtype)
    return arranged(canonical, slot.arrangement(values.ndim).inverse), _note(slot.canonical)


def _note(name: str) -> str:
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
    return "the source adds no noise; the target gets noise strengths of 0"
