"""Small networks in the layouts of three public projects, written from formulas and key lists.

* ``ProGANGenerator`` / ``ProGANCritic``: keys and arithmetic of aladdinpersson's ProGAN (WSConv2d:
  the *input* is multiplied by sqrt(2 / fan), the bias is added afterwards, unscaled).
* ``StyleGAN2Generator`` / ``StyleGAN2Discriminator``: keys and arithmetic of rosinality/stylegan2-pytorch
  (weight times lr / sqrt(fan), mapping network with lr 0.01 on weight and bias, sqrt(2) in the activation).
* ``DCGANGenerator`` / ``DCGANDiscriminator``: an ordinary DCGAN; nothing in it is equalized.

Every equalized layer takes its run-time constant from :func:`he_constant`. Built with ``equalized=False`` a
network applies its stored tensors as they are, so a *baked* state dict (constants multiplied into the stored
tensors) loads with ``strict=True`` and gives the same images. The constructor defaults are the sizes of the
sample files in this folder. All forwards are deterministic: noise is passed in or read from the buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQRT2 = sqrt(2.0)


def he_constant(fan: int, *, gain: float = 1.0, lr: float = 1.0, equalized: bool = True) -> float:
    """Return the constant an equalized layer multiplies its weight by, or 1 for a baked layer."""
    return gain * lr / sqrt(fan) if equalized else 1.0


class PixelNorm(nn.Module):
    """Divide each pixel's channel vector by its root mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


# --- ProGAN, aladdinpersson's layout ------------------------------------------------------------------------


class WSConv2d(nn.Module):
    """Weight-scaled convolution: ``conv(x * c) + bias`` with ``c = sqrt(2 / fan)``."""

    def __init__(self, inp: int, out: int, kernel: int = 3, padding: int = 1, *, equalized: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(out))
        self.conv = nn.Conv2d(inp, out, kernel, padding=padding, bias=False)
        self.scale = he_constant(inp * kernel * kernel, gain=SQRT2, equalized=equalized)
        nn.init.normal_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x * self.scale)
        return y + self.bias.view(1, -1, 1, 1)


class ConvPair(nn.Module):
    """Two 3x3 weight-scaled convolutions with leaky ReLU and, in the generator, pixel normalisation."""

    def __init__(self, inp: int, out: int, *, pixel_norm: bool = True, equalized: bool = True) -> None:
        super().__init__()
        self.conv1 = WSConv2d(inp, out, equalized=equalized)
        self.conv2 = WSConv2d(out, out, equalized=equalized)
        self.norm = PixelNorm() if pixel_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.leaky_relu(self.conv1(x), 0.2))
        y: Tensor = self.norm(F.leaky_relu(self.conv2(x), 0.2))
        return y


class ProGANGenerator(nn.Module):
    """Progressive generator; ``widths`` lists the channels at 4x4, 8x8, 16x16 and so on."""

    def __init__(
        self,
        z_dim: int = 32,
        widths: Sequence[int] = (32, 24, 16),
        img_channels: int = 1,
        *,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        first = widths[0]
        self.initial = nn.Sequential(
            PixelNorm(),
            nn.ConvTranspose2d(z_dim, first, 4),  # plain in this family, with its own bias
            nn.LeakyReLU(0.2),
            WSConv2d(first, first, equalized=equalized),
            nn.LeakyReLU(0.2),
            PixelNorm(),
        )
        self.initial_rgb = WSConv2d(first, img_channels, 1, 0, equalized=equalized)
        self.prog_blocks = nn.ModuleList(ConvPair(a, b, equalized=equalized) for a, b in pairwise(widths))
        later = (WSConv2d(w, img_channels, 1, 0, equalized=equalized) for w in widths[1:])
        self.rgb_layers = nn.ModuleList([self.initial_rgb, *later])  # entry 0 is the same module: two names

    def forward(self, z: Tensor, alpha: float = 1.0, steps: int | None = None) -> Tensor:
        """Images from ``z`` (N, z_dim, 1, 1) after ``steps`` doublings, the last faded in by ``alpha``."""
        steps = len(self.prog_blocks) if steps is None else steps
        before = out = self.initial(z)
        for block in list(self.prog_blocks)[:steps]:
            before = F.interpolate(out, scale_factor=2.0, mode="nearest")
            out = block(before)
        image: Tensor = self.rgb_layers[steps](out)
        if steps and alpha < 1:
            image = alpha * image + (1 - alpha) * self.rgb_layers[steps - 1](before)
        return torch.tanh(image)


class ProGANCritic(nn.Module):
    """The mirror image; its lists run from the largest size down, ``initial_rgb`` is the last rgb layer."""

    def __init__(self, widths: Sequence[int] = (32, 24, 16), img_channels: int = 1, *, equalized: bool = True) -> None:
        super().__init__()
        small = widths[0]
        down = list(widths)[::-1]
        self.prog_blocks = nn.ModuleList(
            ConvPair(a, b, pixel_norm=False, equalized=equalized) for a, b in pairwise(down)
        )
        rgb = [WSConv2d(img_channels, w, 1, 0, equalized=equalized) for w in down]
        self.rgb_layers = nn.ModuleList(rgb)
        self.initial_rgb = rgb[-1]
        self.final_block = nn.Sequential(
            WSConv2d(small + 1, small, equalized=equalized),
            nn.LeakyReLU(0.2),
            WSConv2d(small, small, 4, 0, equalized=equalized),
            nn.LeakyReLU(0.2),
            WSConv2d(small, 1, 1, 0, equalized=equalized),
        )

    def forward(self, image: Tensor, alpha: float = 1.0, steps: int | None = None) -> Tensor:
        """Scores (N, 1) of images of side ``4 * 2 ** steps``."""
        last = len(self.prog_blocks)
        start = last - (last if steps is None else steps)
        x: Tensor = F.leaky_relu(self.rgb_layers[start](image), 0.2)
        for index in range(start, last):
            x = F.avg_pool2d(self.prog_blocks[index](x), 2)
            if index == start and alpha < 1:
                old = F.leaky_relu(self.rgb_layers[start + 1](F.avg_pool2d(image, 2)), 0.2)
                x = alpha * x + (1 - alpha) * old
        spread = x.std(dim=0).mean().expand(x.shape[0], 1, *x.shape[2:])
        score: Tensor = self.final_block(torch.cat([x, spread], dim=1))
        return score.flatten(1)


# --- StyleGAN2, rosinality's layout -------------------------------------------------------------------------


def fir_filter(x: Tensor, kernel: Tensor, pad: tuple[int, int], up: int = 1) -> Tensor:
    """Insert ``up - 1`` zeros after each pixel, pad both axes by ``pad`` and filter with ``kernel``."""
    n, c, h, w = x.shape
    if up > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
    x = F.pad(x, (pad[0], pad[1], pad[0], pad[1]))
    weight = kernel.flip(0, 1).to(x.dtype).expand(c, 1, *kernel.shape)
    return F.conv2d(x, weight, groups=c)


class Fir(nn.Module):
    """The [1, 3, 3, 1] low-pass filter; ``gain`` makes up for inserted zeros."""

    def __init__(self, pad: tuple[int, int], *, up: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.kernel: Tensor
        self.register_buffer("kernel", torch.outer(taps, taps) / taps.sum() ** 2 * gain)
        self.pad, self.up = pad, up

    def forward(self, x: Tensor) -> Tensor:
        return fir_filter(x, self.kernel, self.pad, self.up)


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, times sqrt(2)."""
    return F.leaky_relu(x, 0.2) * SQRT2


class BiasedLeakyReLU(nn.Module):
    """Add the bias of the convolution before it, then :func:`scaled_leaky_relu`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return scaled_leaky_relu(x + self.bias.view(1, -1, 1, 1))


class EqualLinear(nn.Module):
    """Linear layer with weight ``w * lr / sqrt(in)`` and bias ``b * lr``."""

    def __init__(
        self,
        inp: int,
        out: int,
        *,
        lr: float = 1.0,
        bias: float = 0.0,
        act: bool = False,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, inp) / lr)
        self.bias = nn.Parameter(torch.full((out,), bias))
        self.scale = he_constant(inp, lr=lr, equalized=equalized)
        self.bias_scale = lr if equalized else 1.0
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight * self.scale, self.bias * self.bias_scale)
        return scaled_leaky_relu(y) if self.act else y


class EqualConv2d(nn.Module):
    """Convolution without bias and with weight ``w / sqrt(fan)``."""

    def __init__(
        self, inp: int, out: int, kernel: int, *, stride: int = 1, padding: int = 0, equalized: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, inp, kernel, kernel))
        self.scale = he_constant(inp * kernel * kernel, equalized=equalized)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels a style scales; 5-D weight, fan = in * k * k even if upsampling."""

    def __init__(
        self,
        inp: int,
        out: int,
        kernel: int,
        style_dim: int,
        *,
        demodulate: bool = True,
        up: bool = False,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out, inp, kernel, kernel))
        if up:
            self.blur = Fir((1, 1), gain=4.0)
        self.modulation = EqualLinear(style_dim, inp, bias=1.0, equalized=equalized)
        self.scale = he_constant(inp * kernel * kernel, equalized=equalized)
        self.demodulate, self.up, self.padding = demodulate, up, kernel // 2

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style: Tensor = self.modulation(w)
        weight = self.weight.squeeze(0) * self.scale
        x = x * style[:, :, None, None]
        if self.up:
            x = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        else:
            x = F.conv2d(x, weight, padding=self.padding)
        if self.demodulate:
            energy = F.linear(style.square(), weight.square().sum(dim=(2, 3)))
            x = x * torch.rsqrt(energy + 1e-8)[:, :, None, None]
        return x


class NoiseInjection(nn.Module):
    """Add noise times one learned strength, an ordinary parameter although it is called ``weight``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + self.weight * noise


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias and activation."""

    def __init__(self, inp: int, out: int, style_dim: int, *, up: bool = False, equalized: bool = True) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inp, out, 3, style_dim, up=up, equalized=equalized)
        self.noise = NoiseInjection()
        self.activate = BiasedLeakyReLU(out)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        y: Tensor = self.activate(self.noise(self.conv(x, w), noise))
        return y


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation, added to the upsampled image so far."""

    def __init__(self, inp: int, style_dim: int, *, up: bool = True, equalized: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if up:
            self.upsample = Fir((2, 1), up=2, gain=4.0)
        self.conv = ModulatedConv2d(inp, 3, 1, style_dim, demodulate=False, equalized=equalized)

    def forward(self, x: Tensor, w: Tensor, skip: Tensor | None = None) -> Tensor:
        y: Tensor = self.conv(x, w) + self.bias
        return y if skip is None else y + self.upsample(skip)


class ConstantInput(nn.Module):
    """The learned 4x4 start of the synthesis network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class StyleGAN2Generator(nn.Module):
    """Mapping and synthesis network; ``widths`` lists the channels at 4x4, 8x8, 16x16 and so on."""

    def __init__(
        self,
        style_dim: int = 32,
        n_mlp: int = 4,
        widths: Sequence[int] = (32, 24, 16),
        *,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.style_dim = style_dim
        eq = equalized
        mlp = [EqualLinear(style_dim, style_dim, lr=0.01, act=True, equalized=eq) for _ in range(n_mlp)]
        self.style = nn.Sequential(PixelNorm(), *mlp)
        self.input = ConstantInput(widths[0])
        self.conv1 = StyledConv(widths[0], widths[0], style_dim, equalized=eq)
        self.to_rgb1 = ToRGB(widths[0], style_dim, up=False, equalized=eq)
        self.convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        self.noises.register_buffer("noise_0", torch.randn(1, 1, 4, 4))
        for i, (a, b) in enumerate(pairwise(widths)):
            self.convs.extend(
                [
                    StyledConv(a, b, style_dim, up=True, equalized=eq),
                    StyledConv(b, b, style_dim, equalized=eq),
                ]
            )
            self.to_rgbs.append(ToRGB(b, style_dim, equalized=eq))
            for j in (2 * i + 1, 2 * i + 2):
                self.noises.register_buffer(f"noise_{j}", torch.randn(1, 1, 8 << i, 8 << i))

    def stored_noise(self) -> list[Tensor]:
        """Return the noise buffers in the order in which the layers use them."""
        return [self.noises.get_buffer(f"noise_{i}") for i in range(1 + len(self.convs))]

    def fresh_noise(self, batch: int) -> list[Tensor]:
        """Draw new noise of the buffers' sizes, for training."""
        return [torch.randn(batch, *n.shape[1:]) for n in self.stored_noise()]

    def forward(self, z: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Images (N, 3, H, W) from ``z`` (N, style_dim); ``noise`` defaults to the stored buffers."""
        noise = self.stored_noise() if noise is None else noise
        w: Tensor = self.style(z)
        x = self.conv1(self.input.input.expand(len(z), -1, -1, -1), w, noise[0])
        image: Tensor = self.to_rgb1(x, w)
        for i, to_rgb in enumerate(self.to_rgbs):
            x = self.convs[2 * i](x, w, noise[2 * i + 1])
            x = self.convs[2 * i + 1](x, w, noise[2 * i + 2])
            image = to_rgb(x, w, image)
        return image


def conv_layer(
    inp: int, out: int, kernel: int, *, down: bool = False, act: bool = True, equalized: bool = True
) -> nn.Sequential:
    """Build (blur,) convolution (, bias and activation); the blur in front shifts the indices by one."""
    layers: list[nn.Module] = []
    if down:
        total = kernel + 1
        layers.append(Fir(((total + 1) // 2, total // 2)))
    stride, padding = (2, 0) if down else (1, kernel // 2)
    layers.append(EqualConv2d(inp, out, kernel, stride=stride, padding=padding, equalized=equalized))
    if act:
        layers.append(BiasedLeakyReLU(out))
    return nn.Sequential(*layers)


class ResBlock(nn.Module):
    """Residual downsampling block of the discriminator."""

    def __init__(self, inp: int, out: int, *, equalized: bool = True) -> None:
        super().__init__()
        self.conv1 = conv_layer(inp, inp, 3, equalized=equalized)
        self.conv2 = conv_layer(inp, out, 3, down=True, equalized=equalized)
        self.skip = conv_layer(inp, out, 1, down=True, act=False, equalized=equalized)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x)) + self.skip(x)
        return y / SQRT2


class StyleGAN2Discriminator(nn.Module):
    """Residual discriminator with the minibatch standard deviation over groups of at most four."""

    def __init__(self, widths: Sequence[int] = (32, 24, 16), *, equalized: bool = True) -> None:
        super().__init__()
        down = list(widths)[::-1]
        blocks = (ResBlock(a, b, equalized=equalized) for a, b in pairwise(down))
        self.convs = nn.Sequential(conv_layer(3, down[0], 1, equalized=equalized), *blocks)
        small = widths[0]
        self.final_conv = conv_layer(small + 1, small, 3, equalized=equalized)
        self.final_linear = nn.Sequential(
            EqualLinear(small * 16, small, act=True, equalized=equalized),
            EqualLinear(small, 1, equalized=equalized),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, 1); N has to be at most 4 or a multiple of 4."""
        x: Tensor = self.convs(image)
        n, c, h, w = x.shape
        group = min(n, 4)
        grouped = x.view(group, n // group, c, h, w)
        spread = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        x = torch.cat([x, spread.repeat(group).view(n, 1, 1, 1).expand(n, 1, h, w)], dim=1)
        logit: Tensor = self.final_linear(self.final_conv(x).flatten(1))
        return logit


# --- plain DCGAN --------------------------------------------------------------------------------------------


def dcgan_init(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), batch-norm scales from N(1, 0.02)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class DCGANGenerator(nn.Module):
    """Transposed convolutions and batch norm: 4x4, 8x8, 16x16. Use ``eval()`` for deterministic images.

    ``equalized`` is accepted so that all generators are built alike; there is no constant to leave out.
    """

    def __init__(
        self,
        z_dim: int = 32,
        widths: Sequence[int] = (40, 32),
        img_channels: int = 1,
        *,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        a, b = widths
        self.main = nn.Sequential(
            nn.ConvTranspose2d(z_dim, a, 4, 1, 0, bias=False),
            nn.BatchNorm2d(a),
            nn.ReLU(),
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
            nn.ConvTranspose2d(b, img_channels, 4, 2, 1, bias=False),
            nn.Tanh(),
        )
        self.apply(dcgan_init)

    def forward(self, z: Tensor) -> Tensor:
        """Images (N, C, 16, 16) from ``z`` (N, z_dim, 1, 1)."""
        y: Tensor = self.main(z)
        return y


class DCGANDiscriminator(nn.Module):
    """Strided convolutions and batch norm."""

    def __init__(self, widths: Sequence[int] = (24, 40), img_channels: int = 1) -> None:
        super().__init__()
        a, b = widths
        self.main = nn.Sequential(
            nn.Conv2d(img_channels, a, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(a, b, 4, 2, 1, bias=False),
            nn.BatchNorm2d(b),
            nn.LeakyReLU(0.2),
            nn.Conv2d(b, 1, 4, 1, 0, bias=False),
        )
        self.apply(dcgan_init)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, 1)."""
        y: Tensor = self.main(image)
        return y.flatten(1)
