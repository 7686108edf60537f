"""flaxmodels' StyleGAN2 (HDF5) and moono's (TensorFlow 2), computed as their own code does from their own arrays,
against the canonical networks that eqlr makes of their files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn import functional

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.networks import stylegan2
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_network
from eqlr_tools.rewriting.selection import Selection, recognise_all

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


def hdf5(path: Path, arrays: Arrays, group: str = "") -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[f"{group}{name}"] = array
    return path


def canonical(path: Path) -> CanonicalNetwork:
    (recognition,) = recognise_all(open_checkpoint(path), Selection())
    found = canonical_network(recognition)
    assert found is not None
    return found


def converted(run_cli: Any, path: Path) -> stylegan2.Parameters:
    """The parameters by way of another project's file, and of a plain one, which must be the same."""
    parameters = []
    for to in ("nvidia-stylegan2-ada", "plain"):
        there = path.with_name(f"{to}.safetensors")
        result = run_cli("convert", path, there, "--to", to)
        assert result.code == 0, result.stderr
        network = canonical(there)
        parameters.append({name: network.values(name) for name in network.parts})
    one, other = parameters
    for name in one.keys() & other.keys():
        np.testing.assert_allclose(one[name], other[name], rtol=3e-7, atol=1e-7, err_msg=name)
    return other


def noises() -> dict[str, Tensor]:
    return {f"{size}.{n}": torch.randn(1, 1, size, size).double() for size in SIZES for n in (0, 1)}


def close(ours: np.ndarray, theirs: Tensor) -> bool:
    return bool(abs(ours - theirs.numpy()).max() <= 1e-5 * abs(theirs).max())


def same_images(p: stylegan2.Parameters, get: Get, labels: int = 0) -> bool:
    noise, z = noises(), torch.randn(3, W).double()
    label = torch.eye(labels).double()[:3] if labels else None
    maps = {f"synthesis.b{key.replace('.', '.conv')}": value.numpy() for key, value in noise.items()}
    w = stylegan2.latents(p, z.numpy(), None if label is None else label.numpy())
    return close(stylegan2.synthesise(p, w, noise=maps), generate(get, z, noise, label))


@pytest.mark.parametrize("labels", [0, 4])
def test_generator_of_flaxmodels(run_cli: Any, tmp_path: Path, labels: int) -> None:
    arrays, get = flax_generator(labels)
    p = converted(run_cli, hdf5(tmp_path / "generator.h5", arrays))
    assert same_images(p, get, labels)
    np.testing.assert_array_equal(p["mapping.w_avg"], arrays["mapping_network/w_avg"])
    noise = arrays["synthesis_network/block_8x8/layer1/noise_const"][0, :, :, 0]
    np.testing.assert_array_equal(p["synthesis.b8.conv1.noise"], noise)


@pytest.mark.parametrize(("residual", "labels"), [(True, 0), (False, 0), (True, 4)])
def test_discriminator_of_flaxmodels(run_cli: Any, tmp_path: Path, residual: bool, labels: int) -> None:
    _, names = flax_names(residual)
    arrays, get = critic(names, "/weight", lambda word: f"{names[word]}/bias", labels)
    p = converted(run_cli, hdf5(tmp_path / "discriminator.h5", arrays, "discriminator/"))
    image, label = torch.randn(4, 3, 16, 16).double(), torch.eye(4).double() if labels else None
    logits = stylegan2.discriminate(p, image.numpy(), label=None if label is None else label.numpy())
    assert close(logits, discriminate(get, image, residual=residual, label=label))
    source, there = tmp_path / "discriminator.h5", tmp_path / "again.safetensors"
    said = run_cli("convert", source, there, "--to", "nvidia-stylegan2-ada")
    assert "takes the deviation of the whole batch: construct the target so" in " ".join(said.stdout.split())
    exported = run_cli("export", source, tmp_path / "net.onnx")
    assert "of the whole batch" in " ".join(exported.stdout.split()), exported.stdout


def test_what_flaxmodels_leaves_linear_is_refused(run_cli: Any, tmp_path: Path) -> None:
    """Its discriminator has no activation behind the label embedding's layers, where NVIDIA's has."""
    _, names = flax_names()
    arrays, _ = critic(names, "/weight", lambda word: f"{names[word]}/bias", 4)
    arrays |= {"fc0/weight": np.full((W, W), 10.0, np.float32), "fc0/bias": np.zeros(W, np.float32)}
    path = hdf5(tmp_path / "discriminator.h5", arrays)
    result = run_cli("convert", path, tmp_path / "out.pt", "--to", "nvidia-stylegan2-ada")
    assert (result.code, (tmp_path / "out.pt").exists()) == (2, False)
    assert "fc0/" in result.stderr


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


STYLES = [(False, ":0", "generator/"), (True, "/.ATTRIBUTES/VARIABLE_VALUE", "g_clone/"), (False, "", "")]


@pytest.mark.parametrize(("by_place", "ending", "prefix"), STYLES)
def test_generator_of_moono(run_cli: Any, tmp_path: Path, by_place: bool, ending: str, prefix: str) -> None:
    arrays, get = moono_generator(by_place)
    path = tmp_path / "generator.safetensors"
    save_file({f"{prefix}{name}{ending}": array for name, array in arrays.items()}, path)
    p = converted(run_cli, path)
    assert same_images(p, get)
    np.testing.assert_array_equal(p["mapping.w_avg"], arrays["w_avg"])


@pytest.mark.parametrize(("by_place", "ending", "prefix"), STYLES)
def test_discriminator_of_moono(run_cli: Any, tmp_path: Path, by_place: bool, ending: str, prefix: str) -> None:
    _, _, names, bias = moono_names(by_place)
    arrays, get = critic(names, "/w", lambda word: f"{bias(word)}/b")
    path = tmp_path / "discriminator.safetensors"
    save_file({f"{prefix}{name}{ending}": array for name, array in arrays.items()}, path)
    image = torch.randn(4, 3, 16, 16).double()
    assert close(stylegan2.discriminate(converted(run_cli, path), image.numpy()), discriminate(get, image))


def test_moonos_labels_are_refused(run_cli: Any, tmp_path: Path) -> None:
    arrays, _ = moono_generator(False)
    arrays["g_mapping/labels_embedding/w"] = np.ones((3, W), np.float32)
    arrays["g_mapping/dense_0/w"] = np.full((2 * W, W), 100.0, np.float32)
    save_file(arrays, tmp_path / "generator.safetensors")
    result = run_cli("convert", tmp_path / "generator.safetensors", tmp_path / "out.pt", "--to", "nvidia-stylegan2-ada")
    assert (result.code, (tmp_path / "out.pt").exists()) == (2, False)
    assert "g_mapping/labels_embedding/w" in result.stderr


def test_a_score_for_every_label_is_refused_where_there_is_one(run_cli: Any, tmp_path: Path) -> None:
    """moono's conditional discriminator returns the score of the label, as genforce's does and NVIDIA's no longer."""
    _, _, names, bias = moono_names(False)
    arrays, _ = critic({word: name for word, name in names.items() if word != "out"}, "/w", lambda w: f"{bias(w)}/b")
    rng, path = np.random.default_rng(1), tmp_path / "discriminator.safetensors"
    shapes = {"last_dense/w": (WIDTHS[4], 3), "last_bias/b": (3,)}
    arrays |= {name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in shapes.items()}
    save_file(arrays, path)
    for family, code in {"genforce-stylegan2": 0, "nvidia-stylegan2-ada": 2, "rosinality-stylegan2": 2}.items():
        result = run_cli("convert", path, tmp_path / f"{family}.pt", "--to", family)
        assert (result.code, (tmp_path / f"{family}.pt").exists()) == (code, code == 0), result.stderr
        assert code == 0 or "a score for each of 3 labels" in " ".join(result.stderr.split())


def test_a_family_without_canonical_names_is_said_to_have_none(run_cli: Any, tmp_path: Path) -> None:
    """curegit/precure-stylegan-ada: bicubic enlarging and no sqrt(2), so that nobody else's code computes it."""
    names = {"mapper/mlp/0/linear/w": (8, 8), "synthesizer/init/style1/linear/w": (8, 8)}
    arrays = {name: np.random.default_rng(0).standard_normal(shape) for name, shape in names.items()}
    save_file({name: array.astype(np.float32) for name, array in arrays.items()}, tmp_path / "precure.safetensors")
    result = run_cli("convert", tmp_path / "precure.safetensors", tmp_path / "out.pt", "--to", "plain")
    assert result.code == 3
    assert "precure-stylegan2, which eqlr has no canonical names for" in " ".join(result.stderr.split())
    assert "labml-stylegan2" not in result.stderr  # known for export only
