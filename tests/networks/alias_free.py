"""A small StyleGAN3 in torch, written from the paper: parameters for both configurations, and a forward of its own.

The forward is the published formulation: weights modulated per sample, zeros inserted, one convolution per image. It
shares no code with the networks that it is compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

TAPS = 6
MARGIN = 10


@dataclass
class Synthesis:
    """One layer as the paper computes its sizes, and its tensors."""

    name: str
    in_size: int
    out_size: int
    up: int
    down: int
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def bessel_j1(x: NDArray) -> NDArray:
    """The Bessel function of the first kind of order one, from its integral."""
    angle = (np.arange(4000) + 0.5) / 4000 * np.pi
    return np.asarray(np.cos(angle - np.asarray(x)[..., None] * np.sin(angle)).mean(axis=-1))


def low_pass(taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False) -> NDArray:
    """A Kaiser window over a sinc, or over a jinc in two dimensions; its sum is 1."""
    attenuation = 2.285 * (taps - 1) * np.pi * width / (rate / 2) + 7.95
    middle = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21) if attenuation > 21 else 0.0
    beta = 0.1102 * (attenuation - 8.7) if attenuation > 50 else middle
    window = np.kaiser(taps, beta)
    places = (np.arange(taps) - (taps - 1) / 2) / rate
    if not radial:
        fir = np.sinc(2 * cutoff * places) * window
    else:
        radius = np.hypot(places[:, None], places)
        fir = bessel_j1(2 * np.pi * cutoff * radius) / (np.pi * radius) * np.outer(window, window)
    return np.asarray(fir / fir.sum())


class AliasFree:
    """The parameters under canonical names (`parameters`), and `image(z)`."""

    def __init__(
        self,
        resolution: int = 32,
        layers: int = 6,
        *,
        kernel: int = 3,
        radial: bool = False,
        width: int = 12,
        labels: int = 0,
        seed: int = 0,
    ) -> None:
        self.torch = torch.Generator().manual_seed(seed)
        self.resolution, self.width = resolution, width
        progress = np.minimum(np.arange(layers + 1) / (layers - 2), 1)
        cutoffs = 2 * (resolution / 4) ** progress
        stops = 2**2.1 * (resolution / 2 * 2**0.3 / 2**2.1) ** progress
        rates = np.exp2(np.ceil(np.log2(np.minimum(2 * stops, resolution)))).astype(int)
        half_widths = np.maximum(stops, rates / 2) - cutoffs
        sizes = [*(rates[:-2] + 2 * MARGIN), resolution, resolution]
        self.rate, self.size = int(rates[0]), int(sizes[0])
        self.parameters: dict[str, torch.Tensor] = {}
        self.layers = []
        self._mapping(labels)
        self._input()
        for number in range(layers + 1):
            before, last = max(number - 1, 0), number == layers
            out = 3 if last else width
            name = f"synthesis.L{number}_{sizes[number]}_{out}"
            fine = max(rates[before], rates[number]) * (1 if last else 2)
            up, down = int(fine // rates[before]), int(fine // rates[number])
            self.layers.append(Synthesis(name, int(sizes[before]), int(sizes[number]), up, down))
            self._put(f"{name}.weight", out, width, *[1 if last else kernel] * 2)
            self._put(f"{name}.bias", out, size=0.2)
            self.parameters[f"{name}.magnitude"] = torch.rand((), generator=self.torch, dtype=torch.float64) + 0.5
            self._dense(f"{name}.style", width, width)
            self.parameters[f"{name}.style.bias"] += 1
            if not last:
                up_fir = low_pass(TAPS * up, cutoffs[before], 2 * half_widths[before], fine)
                round_one = radial and number < layers - 2
                down_fir = low_pass(TAPS * down, cutoffs[number], 2 * half_widths[number], fine, radial=round_one)
                self.parameters[f"{name}.up_filter"] = torch.from_numpy(up_fir)
                self.parameters[f"{name}.down_filter"] = torch.from_numpy(down_fir)
        self.parameters[f"{self.layers[-1].name}.weight"] /= math.sqrt(width)

    def _put(self, name: str, *shape: int, size: float = 1.0) -> None:
        self.parameters[name] = torch.randn(*shape, generator=self.torch, dtype=torch.float64) * size

    def _dense(self, name: str, out: int, into: int) -> None:
        self._put(f"{name}.weight", out, into, size=1 / math.sqrt(into))
        self._put(f"{name}.bias", out, size=0.1)

    def _mapping(self, labels: int) -> None:
        if labels:
            self._dense("mapping.label", self.width, labels)
        self._dense("mapping.fc0", self.width, self.width * (2 if labels else 1))
        self._dense("mapping.fc1", self.width, self.width)
        self._put("mapping.w_avg", self.width, size=0.1)

    def _input(self) -> None:
        name = "synthesis.input"
        frequencies = torch.randn(self.width, 2, generator=self.torch, dtype=torch.float64)
        radius = frequencies.norm(dim=1, keepdim=True)
        self.parameters[f"{name}.freqs"] = 2 * frequencies / (radius * (radius.square() / 4).exp())
        self.parameters[f"{name}.phases"] = torch.rand(self.width, generator=self.torch, dtype=torch.float64) - 0.5
        self.parameters[f"{name}.transform"] = torch.eye(3, dtype=torch.float64)
        self._put(f"{name}.weight", self.width, self.width, size=1 / math.sqrt(self.width))
        self._dense(f"{name}.style", 4, self.width)
        self.parameters[f"{name}.style.weight"] *= 0.2
        self.parameters[f"{name}.style.bias"] += torch.tensor([1.0, 0, 0, 0])

    def arrays(self) -> dict[str, NDArray]:
        return {name: tensor.numpy() for name, tensor in self.parameters.items()}

    def w(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
        if label is not None:
            y = functional.linear(label, self.parameters["mapping.label.weight"], self.parameters["mapping.label.bias"])
            x = torch.cat([x, y / (y.square().mean(1, keepdim=True) + 1e-8).sqrt()], dim=1)
        for layer in ("mapping.fc0", "mapping.fc1"):
            x = functional.linear(x, self.parameters[f"{layer}.weight"], self.parameters[f"{layer}.bias"])
            x = functional.leaky_relu(x, 0.2) * math.sqrt(2)
        return x

    def image(self, w: torch.Tensor) -> torch.Tensor:
        """(samples, 3, resolution, resolution), one sample after the other. `w` is (samples, places, w)."""
        return torch.cat([self._image(sample) for sample in w])

    def _style(self, layer: str, w: torch.Tensor) -> torch.Tensor:
        return self.parameters[f"{layer}.style.weight"] @ w + self.parameters[f"{layer}.style.bias"]

    def _image(self, w: torch.Tensor) -> torch.Tensor:
        x = self._features(w[0])
        for layer, style in zip(self.layers[:-1], w[1:-1], strict=True):
            x = self._convolved(layer, x, style, demodulate=True)
            x = self._resampled(layer, x)
        return self._convolved(self.layers[-1], x, w[-1], demodulate=False).clamp(-256, 256) / 4

    def _features(self, w: torch.Tensor) -> torch.Tensor:
        p, name = self.parameters, "synthesis.input"
        style = self._style(name, w)
        c, s, tx, ty = (style / style[:2].norm()).tolist()
        turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
        shift = torch.tensor([[1, 0, -tx], [0, 1, -ty], [0, 0, 1]], dtype=torch.float64)
        matrix = turn @ shift @ p[f"{name}.transform"]
        frequencies = p[f"{name}.freqs"] @ matrix[:2, :2]
        phases = p[f"{name}.phases"] + p[f"{name}.freqs"] @ matrix[:2, 2]
        amplitude = (1 - (frequencies.norm(dim=1) - 2) / (self.rate / 2 - 2)).clamp(0, 1)
        theta = torch.eye(2, 3, dtype=torch.float64)[None] * (self.size / 2 / self.rate)
        grid = functional.affine_grid(theta, [1, 1, self.size, self.size], align_corners=False)[0]
        waves = torch.sin(2 * math.pi * (grid @ frequencies.T + phases)) * amplitude
        return (waves @ p[f"{name}.weight"].T).permute(2, 0, 1)[None]

    def _convolved(self, layer: Synthesis, x: torch.Tensor, w: torch.Tensor, *, demodulate: bool) -> torch.Tensor:
        weight, style = self.parameters[f"{layer.name}.weight"], self._style(layer.name, w)
        if demodulate:
            weight = weight / weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            style = style / style.square().mean().sqrt()
        weight = weight * style[None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        weight = weight / self.parameters[f"{layer.name}.magnitude"].sqrt()
        bias = self.parameters[f"{layer.name}.bias"]
        return functional.conv2d(x, weight, bias, padding=weight.shape[2] - 1)

    def _resampled(self, layer: Synthesis, x: torch.Tensor) -> torch.Tensor:
        up_fir, down_fir = (self.parameters[f"{layer.name}.{way}_filter"] for way in ("up", "down"))
        channels, size = x.shape[1], x.shape[2]
        spread = torch.zeros(1, channels, size * layer.up, size * layer.up, dtype=x.dtype)
        spread[:, :, :: layer.up, :: layer.up] = x
        total = (layer.out_size - 1) * layer.down + 1 - size * layer.up + len(up_fir) + len(down_fir) - 2
        first = (total + layer.up) // 2
        x = functional.pad(spread, [first, total - first, first, total - first])
        x = _filtered(x, torch.outer(up_fir, up_fir) * layer.up**2)
        x = (functional.leaky_relu(x, 0.2) * math.sqrt(2)).clamp(-256, 256)
        down = torch.outer(down_fir, down_fir) if down_fir.ndim == 1 else down_fir
        return _filtered(x, down)[:, :, :: layer.down, :: layer.down]


def _filtered(x: torch.Tensor, fir: torch.Tensor) -> torch.Tensor:
    kernel = fir.flip(0, 1)[None, None].repeat(x.shape[1], 1, 1, 1)
    return functional.conv2d(x, kernel, groups=x.shape[1])
