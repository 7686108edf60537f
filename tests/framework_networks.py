"""flaxmodels' StyleGAN2 (HDF5) and moono's (TensorFlow 2) once more, in torch and from their code: arrays under their
names, and what is computed from these. Nothing here is shared with eqlr_tools."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Arrays = dict[str, np.ndarray]
SIZES, WIDTHS, W, LR = (4, 8, 16), {4: 6, 8: 5, 16: 4}, 7, 0.01
FIR = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])).double() / 64


class Draws:
    """Arrays by name, drawn as the codes initialise theirs: N(0, 1), mapping networks 1 / lr times as large."""

    def __init__(self) -> None:
        self.rng, self.arrays = np.random.default_rng(0), Arrays()

    def put(self, name: str, *shape: int, spread: float = 1.0) -> None:
        self.arrays[name] = np.asarray(self.rng.standard_normal(shape) * spread, np.float32)

    def layer(self, weight: str, bias: str, *shape: int, lr: float = 1.0) -> None:
        self.put(weight, *shape, spread=1 / lr)
        self.put(bias, shape[-1], spread=0.2 / lr)


# Both codes are NVIDIA's TensorFlow networks: kernels (h, w, in, out), dense weights (in, out).

Get = Callable[[str], Tensor]


def scaled(weight: Tensor, lr: float = 1.0) -> Tensor:
    return weight * (lr / math.sqrt(math.prod(weight.shape[:-1])))


def resampled(x: Tensor, before: int, behind: int, up: int = 1, down: int = 1) -> Tensor:
    n, c, h, w = x.shape
    wide = torch.zeros(n, c, h * up, w * up, dtype=x.dtype)
    wide[:, :, ::up, ::up] = x
    wide = functional.pad(wide, (before, behind, before, behind))
    kernel = (FIR * up * up).flip(0, 1).repeat(c, 1, 1, 1)
    return functional.conv2d(wide, kernel, groups=c)[:, :, ::down, ::down]


def activated(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2) * math.sqrt(2)


def modulated(x: Tensor, w: Tensor, get: Get, layer: str, *, up: bool = False, demodulate: bool = True) -> Tensor:
    kernel = scaled(get(f"{layer} kernel"))
    style = w @ scaled(get(f"{layer} style")) + get(f"{layer} style bias") + 1
    each = kernel[None] * style[:, None, None, :, None]
    x = x * style[:, :, None, None]
    if up:  # The gradient of a convolution with the kernel turned around, as conv2d_transpose is defined.
        x = functional.conv_transpose2d(x, kernel.flip(0, 1).permute(2, 3, 0, 1), stride=2)
        x = functional.conv2d(functional.pad(x, (1, 1, 1, 1)), (FIR * 4).repeat(x.shape[1], 1, 1, 1), groups=x.shape[1])
    else:
        x = functional.conv2d(x, kernel.permute(3, 2, 0, 1), padding=kernel.shape[0] // 2)
    return x * (each.square().sum(dim=(1, 2, 3)) + 1e-8).rsqrt()[:, :, None, None] if demodulate else x


def unit(x: Tensor) -> Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def generate(get: Get, z: Tensor, noise: dict[str, Tensor], label: Tensor | None = None) -> Tensor:
    x = unit(z)
    if label is not None:
        x = torch.cat([x, unit(label @ scaled(get("label"), LR) + get("label bias") * LR)], dim=1)
    for number in range(2):
        x = activated(x @ scaled(get(f"dense{number}"), LR) + get(f"dense{number} bias") * LR)
    w, image = x, torch.zeros(())
    x = get("const").repeat(len(z), 1, 1, 1)
    for size in SIZES:
        for number in (0, 1)[size == 4 :]:
            layer = f"b{size} conv{number}"
            x = modulated(x, w, get, layer, up=number == 0)
            x = x + noise[f"{size}.{number}"] * get(f"{layer} strength") + get(f"{layer} bias")[:, None, None]
            x = activated(x)
        colour = modulated(x, w, get, f"b{size} torgb", demodulate=False) + get(f"b{size} torgb bias")[:, None, None]
        image = resampled(image, 2, 1, up=2) + colour if size > 4 else colour
    return image


def convolved(x: Tensor, get: Get, layer: str, *, down: bool = False, bias: bool = True) -> Tensor:
    kernel = scaled(get(layer))
    half = kernel.shape[0] // 2
    if down:
        x = functional.conv2d(resampled(x, 1 + half, 1 + half), kernel.permute(3, 2, 0, 1), stride=2)
    else:
        x = functional.conv2d(x, kernel.permute(3, 2, 0, 1), padding=half)
    return activated(x + get(f"{layer} bias")[:, None, None]) if bias else x


def discriminate(get: Get, image: Tensor, *, residual: bool = True, label: Tensor | None = None) -> Tensor:
    x = convolved(image, get, "fromrgb")
    for size in reversed(SIZES[1:]):
        y = convolved(convolved(x, get, f"b{size} conv0"), get, f"b{size} conv1", down=True)
        beside = convolved(x, get, f"b{size} skip", down=True, bias=False) if residual else torch.zeros(())
        x = (y + beside) * math.sqrt(0.5) if residual else y
    groups = x.reshape(min(4, len(x)), -1, *x.shape[1:])
    deviation = (groups.var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    maps = deviation.repeat(groups.shape[0])[:, None, None, None].expand(-1, 1, 4, 4)
    x = convolved(torch.cat([x, maps], dim=1), get, "b4 conv")
    x = activated(x.flatten(1) @ scaled(get("fc")) + get("fc bias"))
    x = x @ scaled(get("out")) + get("out bias")
    if label is not None:
        code = unit(label @ scaled(get("label"), 0.1) + get("label bias") * 0.1)
        x = (x * code).sum(dim=1, keepdim=True) / math.sqrt(x.shape[1])
    return x


# Where the two keep what: the words of the functions above, and the names of their files.


def flax_names(residual: bool = True) -> tuple[dict[str, str], dict[str, str]]:
    made, read = (
        {"const": "synthesis_network/const"},
        {"fc": "block_4x4/fc0", "out": "output", "label": "label_embedding"},
    )
    made |= {"label": "mapping_network/label_embedding", **{f"dense{n}": f"mapping_network/fc{n}" for n in (0, 1)}}
    read |= {"fromrgb": "block_16x16/fromrgb", "b4 conv": "block_4x4/conv0"}
    for size in SIZES:
        block = f"block_{size}x{size}"
        for number in (0, 1)[size == 4 :]:
            made[f"b{size} conv{number}"] = f"synthesis_network/{block}/layer{number if size > 4 else 0}"
        made[f"b{size} torgb"] = f"synthesis_network/{block}/torgb"
        if size > 4:
            read |= {f"b{size} conv0": f"{block}/conv0", f"b{size} conv1": f"{block}/conv1"}
            read |= {f"b{size} skip": f"{block}/skip"} if residual else {}
    return made, read


def widths(size: int, number: int) -> tuple[int, int]:
    return WIDTHS[size if number else size // 2], WIDTHS[size]


def flax_generator(labels: int) -> tuple[Arrays, Get]:
    draws, (names, _) = Draws(), flax_names()
    for word, stored in names.items():
        if word == "const":
            draws.put(stored, 1, 4, 4, WIDTHS[4])
        elif word == "label":
            if labels:
                draws.layer(f"{stored}/weight", f"{stored}/bias", labels, W, lr=LR)
        elif word.startswith("dense"):
            into = 2 * W if labels and word == "dense0" else W
            draws.layer(f"{stored}/weight", f"{stored}/bias", into, W, lr=LR)
        else:
            size, number = int(word.split()[0][1:]), word.endswith(("conv1", "torgb"))
            into, out = widths(size, number)
            k, out = (1, 3) if word.endswith("torgb") else (3, out)
            draws.layer(f"{stored}/conv/weight", f"{stored}/conv/bias", k, k, into, out)
            draws.layer(f"{stored}/affine/weight", f"{stored}/affine/bias", W, into)
            if k == 3:
                draws.put(f"{stored}/noise_strength")
                draws.put(f"{stored}/noise_const", 1, size, size, 1)
    draws.put("mapping_network/w_avg", W)
    ends = {"kernel": "conv/weight", "bias": "conv/bias", "style": "affine/weight", "style bias": "affine/bias"}
    ends |= {"strength": "noise_strength"}

    def get(what: str) -> Tensor:
        if what in names:
            stored = names[what] if what == "const" else f"{names[what]}/weight"
        else:
            word = next(word for word in sorted(names, key=len, reverse=True) if what.startswith(f"{word} "))
            plain = word == "label" or word.startswith("dense")
            stored = f"{names[word]}/{'bias' if plain else ends[what.removeprefix(word + ' ')]}"
        array = torch.from_numpy(draws.arrays[stored]).double()
        return array.permute(0, 3, 1, 2) if what == "const" else array

    return draws.arrays, get


SHAPES = {
    "fromrgb": (1, 1, 3, WIDTHS[16]),
    "b4 conv": (3, 3, WIDTHS[4] + 1, WIDTHS[4]),
    "fc": (16 * WIDTHS[4], WIDTHS[4]),
}


def critic(names: dict[str, str], weight: str, bias: Callable[[str], str], labels: int = 0) -> tuple[Arrays, Get]:
    """A discriminator's arrays; weights are at `names` and `weight`, biases where `bias` says."""
    draws = Draws()
    shapes = SHAPES | {"out": (WIDTHS[4], W if labels else 1), "label": (labels, W)}
    for word, stored in names.items():
        if word == "label" and not labels:
            continue
        shape = shapes.get(word)
        if shape is None:
            size = int(word.split()[0][1:])
            k = 1 if word.endswith("skip") else 3
            shape = (k, k, WIDTHS[size], WIDTHS[size if word.endswith("conv0") else size // 2])
        lr = 0.1 if word == "label" else 1.0
        draws.put(stored + weight, *shape, spread=1 / lr)
        if not word.endswith("skip"):
            draws.put(bias(word), shape[-1], spread=0.2 / lr)

    def get(what: str) -> Tensor:
        word = what.removesuffix(" bias")
        return torch.from_numpy(draws.arrays[names[word] + weight if word == what else bias(word)]).double()

    return draws.arrays, get


def moono_names(by_place: bool) -> tuple[dict[str, str], Callable[[str], str], dict[str, str], Callable[[str], str]]:
    """Weights of generator and discriminator, each with a function to the biases."""
    made = {f"dense{n}": f"g_mapping/dense_layers/{n}" if by_place else f"g_mapping/dense_{n}" for n in (0, 1)}
    read = {"fc": "last_block/dense_1" if by_place else "4x4/dense_1", "out": "last_dense"}
    read |= {"b4 conv": "last_block/conv_0" if by_place else "4x4/conv_0"}
    read |= {"fromrgb": "initial_fromrgb/conv" if by_place else "16x16/FromRGB/conv"}
    for index, size in enumerate(SIZES):
        stem = ("synthesis/initial_block", f"synthesis/blocks/{index - 1}")[index > 0]
        colour = ("synthesis/initial_torgb", f"synthesis/torgbs/{index - 1}")[index > 0]
        if not by_place:
            stem = f"g_synthesis/{size}x{size}/{'block' if index else 'const'}"
            colour = f"g_synthesis/{size}x{size}/ToRGB"
        for number in (0, 1)[size == 4 :]:
            made[f"b{size} conv{number}"] = f"{stem}/conv{f'_{number}' if index else ''}"
        made[f"b{size} torgb"] = f"{colour}/conv"
        if index:
            block = f"blocks/{len(SIZES) - 1 - index}" if by_place else f"{size}x{size}"
            read |= {f"b{size} conv{n}": f"{block}/conv_{n}" for n in (0, 1)}
            read[f"b{size} skip"] = f"{block}/{'conv_skip' if by_place else 'skip'}"

    def bias_made(word: str) -> str:
        head, _, last = made[word].rpartition("/")
        if word.startswith("dense"):
            return made[word].replace("dense_layers", "bias_act_layers").replace("/dense_", "/bias_act_")
        if word.endswith("torgb"):
            return f"{head}/{'apply_bias' if by_place else 'bias'}"
        return f"{head}/{last.replace('conv', 'apply_bias_act' if by_place else 'bias')}"

    def bias_read(word: str) -> str:
        head, _, last = read[word].rpartition("/")
        kind = "apply_bias_act" if by_place else "bias"
        return "last_bias" if word == "out" else f"{head}/{last.replace('conv', kind).replace('dense', kind)}"

    return made, bias_made, read, bias_read


def moono_generator(by_place: bool) -> tuple[Arrays, Get]:
    draws, (names, bias, _, _) = Draws(), moono_names(by_place)
    for word, stored in names.items():
        if word.startswith("dense"):
            draws.layer(f"{stored}/w", f"{bias(word)}/b", W, W, lr=LR)
            continue
        size, number = int(word.split()[0][1:]), word.endswith(("conv1", "torgb"))
        into, out = widths(size, number)
        k, out = (1, 3) if word.endswith("torgb") else (3, out)
        draws.layer(f"{stored}/w", f"{bias(word)}/b", k, k, into, out)
        draws.layer(f"{stored}/mod_dense/w", f"{stored}/mod_bias/b", W, into)
    const = f"{names['b4 conv1'].rpartition('/')[0]}/const"
    draws.put(const, 1, WIDTHS[4], 4, 4)
    draws.put("w_avg", W)

    def strength(word: str) -> str:
        head, _, last = names[word].rpartition("/")
        return (
            f"{head}/{last.replace('conv', 'apply_noise')}/noise_strength"
            if by_place
            else (f"{head}/{last.replace('conv', 'noise')}/w")
        )

    for word in names:
        if "conv" in word:
            draws.put(strength(word))

    def get(what: str) -> Tensor:
        word = next((word for word in names if what == word or what.startswith(f"{word} ")), "")
        part = what.removeprefix(word).strip()
        stored = {
            "": f"{names[word]}/w" if word else "",
            "kernel": f"{names.get(word)}/w",
            "bias": f"{bias(word)}/b" if word else "",
            "style": f"{names.get(word)}/mod_dense/w",
            "style bias": f"{names.get(word)}/mod_bias/b",
            "strength": strength(word) if word else "",
            "const": const,
        }[part]
        return torch.from_numpy(draws.arrays[stored]).double()

    return draws.arrays, get
