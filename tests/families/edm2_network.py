"""A small EDM2 network written from the facts, twice in one: layers that normalise their rows, and plain ones.

The original normalises in float32, as it is published; the plain network has the same names and applies its weights as
they are, times the learned gain where a layer is called with one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.checkpoints.test_network_pickles import _Layer

SIZE, CHANNELS, LABELS = 8, 12, 5


class MPConv(_Layer):
    persistent_name = "MPConv"

    def __init__(self, i: int, o: int, *kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i, *kernel) * torch.rand(o, *(1,) * (1 + len(kernel))).add(0.3))
        self.plain = False

    def effective(self) -> Tensor:
        w = self.weight.to(torch.float32)
        if self.plain:
            return w
        norm = torch.linalg.vector_norm(w.flatten(1), dim=1).reshape(-1, *(1,) * (w.ndim - 1))
        fan = w[0].numel()
        return w / (1e-4 + norm / math.sqrt(fan)) / math.sqrt(fan)

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        w = self.effective() * gain
        return x @ w.T if w.ndim == 2 else functional.conv2d(x, w, padding=w.shape[-1] // 2)


class Fourier(_Layer):
    persistent_name = "MPFourier"

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(count))
        self.register_buffer("phases", 2 * math.pi * torch.rand(count))

    def forward(self, x: Tensor) -> Tensor:
        return math.sqrt(2) * torch.cos(torch.outer(x, self.freqs) + self.phases)


class Block(_Layer):
    persistent_name = "Block"

    def __init__(self, i: int, o: int, attention: bool) -> None:
        super().__init__()
        self.emb_gain = nn.Parameter(torch.tensor(0.7))
        self.conv_res0 = MPConv(i, o, 3, 3)
        self.emb_linear = MPConv(CHANNELS, o)
        self.conv_res1 = MPConv(o, o, 3, 3)
        self.conv_skip = MPConv(i, o, 1, 1) if i != o else None
        self.attn_qkv = MPConv(o, 3 * o, 1, 1) if attention else None
        self.attn_proj = MPConv(o, o, 1, 1) if attention else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        y = self.conv_res0(silu(x))
        y = silu(y * (self.emb_linear(emb, self.emb_gain) + 1)[:, :, None, None])
        y = self.conv_res1(y)
        x = (x if self.conv_skip is None else self.conv_skip(x)) + y
        if self.attn_qkv is None:
            return x
        q, k, v = self.attn_qkv(x).flatten(2).chunk(3, dim=1)
        mixed = v @ (q.transpose(1, 2) @ k / math.sqrt(q.shape[1])).softmax(dim=2).transpose(1, 2)
        return x + self.attn_proj(mixed.reshape(x.shape))


class UNet(_Layer):
    persistent_name = "UNet"

    def __init__(self) -> None:
        super().__init__()
        self.out_gain = nn.Parameter(torch.tensor(-1.3))
        self.emb_fourier = Fourier(CHANNELS)
        self.emb_noise = MPConv(CHANNELS, CHANNELS)
        self.emb_label = MPConv(LABELS, CHANNELS)
        self.enc = nn.ModuleDict(
            {f"{SIZE}x{SIZE}_conv": MPConv(4, 6, 3, 3), f"{SIZE}x{SIZE}_block0": Block(6, CHANNELS, False)}
        )
        self.dec = nn.ModuleDict({f"{SIZE}x{SIZE}_in0": Block(CHANNELS, CHANNELS, True)})
        self.out_conv = MPConv(CHANNELS, 3, 3, 3)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        emb = silu(self.emb_noise(self.emb_fourier(noise)) + self.emb_label(labels))
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        for name, block in (*self.enc.items(), *self.dec.items()):
            x = block(x) if "conv" in name else block(x, emb)
        return self.out_conv(x, self.out_gain)


class Precond(_Layer):
    persistent_name = "Precond"

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet()
        self.logvar_fourier = Fourier(CHANNELS)
        self.logvar_linear = MPConv(CHANNELS, 1)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.unet(x, noise, labels), self.logvar_linear(self.logvar_fourier(noise))


def silu(x: Tensor) -> Tensor:
    return functional.silu(x) / 0.596


def edm2(seed: int = 3) -> Precond:
    torch.manual_seed(seed)
    return Precond()


def layers(network: nn.Module) -> dict[str, MPConv]:
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, MPConv)}


def made_plain(network: Precond) -> Precond:
    """The network once more, without the normalisation: what a baked file is for."""
    for layer in layers(network).values():
        layer.plain = True
    return network
