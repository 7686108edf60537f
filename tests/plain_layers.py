"""Plain layers made of baked tensors, in float64: what an oracle's recorded layer outputs are compared with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Array = NDArray[np.float64]

_RESAMPLED = ("_up", "_down", "_up_mid", "_down_k1", "conv_up_bilinear", "FusedUpsample", "FusedDownsample")


def run_layer(
    entry: dict[str, Any], inputs: list[Array], weight: Array, bias: Array | None, others: dict[str, Array]
) -> Array | None:
    """The output of the layer that an oracle entry describes, or None for one with resampling in it.

    `others` holds the baked tensors of the whole network, for the style layer of a modulated convolution.
    """
    kind = entry["kind"]
    x, w = torch.from_numpy(inputs[0]), torch.from_numpy(weight)
    b = None if bias is None or entry.get("bias_outside") else torch.from_numpy(bias)
    if entry.get("upsample") or kind.endswith(_RESAMPLED) or kind == "fourier_input":
        return None
    if kind.startswith("modconv"):
        if "modulation" not in entry or len(inputs) < 2 or f"{entry['path']}.magnitude_ema" in others:
            return None
        style = _style(entry, torch.from_numpy(inputs[1]), others)
        out = _modulated(x, w[0] if w.ndim == 5 else w, style, entry)
        out = out if b is None else out + b[:, None, None]
    elif kind == "noise_strength":
        out = x + w * torch.from_numpy(inputs[1])
    elif w.ndim == 2:
        out = functional.linear(x, w, b)
    elif kind == "conv_transpose2d":
        return None
    else:
        out = functional.conv2d(x, w, b, stride=entry.get("stride", 1), padding=entry.get("padding", w.shape[-1] // 2))
    if entry["post"] == "lrelu0.2*sqrt2":
        out = functional.leaky_relu(out, 0.2) * math.sqrt(2)
    elif entry["post"] != "none":
        return None
    return np.asarray(out)


def _style(entry: dict[str, Any], w: torch.Tensor, others: dict[str, Array]) -> torch.Tensor:
    path = entry["modulation"]
    return functional.linear(w, torch.from_numpy(others[f"{path}.weight"]), torch.from_numpy(others[f"{path}.bias"]))


def _modulated(x: torch.Tensor, w: torch.Tensor, style: torch.Tensor, entry: dict[str, Any]) -> torch.Tensor:
    """StyleGAN2's modulated convolution with plain weights: scale the input, convolve, divide by the norm."""
    out = functional.conv2d(x * style[:, :, None, None], w, padding=entry.get("padding", w.shape[-1] // 2))
    if not entry.get("demodulate"):
        return out
    norm = torch.einsum("oikl,ni->no", w.square(), style.square())
    return out * torch.rsqrt(norm + 1e-8)[:, :, None, None]
