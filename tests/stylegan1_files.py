"""Small StyleGAN1 networks in every project's layout, written from the facts, tensor by tensor and without a naming.

`network` draws canonical parameters; each writer stores them as a project's own code would have to find them, in
float64 until they are saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from eqlr_tools.networks.stylegan1 import BLUR

Arrays = dict[str, NDArray]
SQRT2 = math.sqrt(2.0)
LR = 0.01
Z, W, LAYERS = 6, 5, 2


def sizes_of(p: Arrays) -> list[int]:
    found = {int(name.split(".")[-3][1:]) for name in p if name.endswith(".conv1.bias")}
    return sorted(found | {4})


def width(size: int) -> int:
    return {4: 6, 8: 5}.get(size, 4)


def network(resolution: int = 16, *, labels: int = 0, uniform_noise: bool = False, seed: int = 0) -> Arrays:
    """Canonical parameters of a generator; with `uniform_noise` one noise strength for all channels of a layer."""
    rng = np.random.default_rng(seed)
    p: Arrays = {}

    def put(name: str, *shape: int, bias: float = 0.2) -> None:
        p[f"{name}.weight"] = rng.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        p[f"{name}.bias"] = rng.standard_normal(shape[0]) * bias

    if labels:
        p["mapping.label.weight"] = rng.standard_normal((Z, labels))
    put("mapping.fc0", W, Z * (2 if labels else 1))
    put("mapping.fc1", W, W)
    p["mapping.w_avg"] = rng.standard_normal(W) * 0.1
    p["synthesis.const"] = rng.standard_normal((width(4), 4, 4))
    into = width(4)
    for size in (1 << log for log in range(2, resolution.bit_length())):
        for second in (0, 1):
            layer, out = f"synthesis.b{size}.conv{second}", width(size)
            if size == 4 and not second:
                p[f"{layer}.bias"] = rng.standard_normal(out) * 0.2
            else:
                put(layer, out, into, 3, 3)
            into = out
            put(f"{layer}.gamma", out, W)
            p[f"{layer}.gamma.bias"] += 1
            put(f"{layer}.beta", out, W)
            strength = rng.standard_normal(1 if uniform_noise else out) * 0.3
            p[f"{layer}.noise_strength"] = np.broadcast_to(strength, (out,)).copy()
            p[f"{layer}.noise"] = rng.standard_normal((size, size))
        put(f"synthesis.b{size}.torgb", 3, into, 1, 1)
    return p


def discriminator(resolution: int = 16, *, kernel: int = 1, deviation: bool = True, seed: int = 1) -> Arrays:
    """Canonical parameters of a discriminator."""
    rng = np.random.default_rng(seed)
    p: Arrays = {}

    def put(name: str, *shape: int) -> None:
        p[f"{name}.weight"] = rng.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        p[f"{name}.bias"] = rng.standard_normal(shape[0]) * 0.2

    for size in (1 << log for log in range(2, resolution.bit_length())):
        put(f"b{size}.fromrgb", width(size), 3, kernel, kernel)
        if size > 4:
            put(f"b{size}.conv0", width(size), width(size), 3, 3)
            put(f"b{size}.conv1", width(size // 2), width(size), 3, 3)
    put("b4.conv", 6, 6 + deviation, 3, 3)
    put("b4.fc", 7, 96)
    put("b4.out", 1, 7)
    return p


def he(weight: NDArray, gain: float, lr: float = 1.0) -> NDArray:
    """What is stored for an effective weight."""
    return weight * math.sqrt(math.prod(weight.shape[1:])) / (gain * lr)


def turned(weight: NDArray, size: int) -> NDArray:
    """The kernel of an up-convolution as NVIDIA's fused form wants it."""
    return weight[:, :, ::-1, ::-1] if size >= 128 else weight


def style(p: Arrays, layer: str, gain: float, one: float) -> tuple[NDArray, NDArray]:
    """Both halves in one, stored, the factor without the 1 that the code adds."""
    weight = np.concatenate([p[f"{layer}.gamma.weight"], p[f"{layer}.beta.weight"]])
    bias = np.concatenate([p[f"{layer}.gamma.bias"] - one, p[f"{layer}.beta.bias"]])
    return he(weight, gain), bias


def walk(p: Arrays) -> Iterator[tuple[int, str, int, int]]:
    for index, size in enumerate(sizes_of(p)):
        for second in (0, 1):
            yield 2 * index + second, f"synthesis.b{size}.conv{second}", size, second


def mapping(p: Arrays, gain: float, name: Callable[[int], tuple[str, str]], lr: float = LR) -> Arrays:
    found: Arrays = {}
    for i in range(LAYERS):
        weight, bias = name(i)
        found[weight] = he(p[f"mapping.fc{i}.weight"], gain, lr)
        found[bias] = p[f"mapping.fc{i}.bias"] / lr
    return found


def tf(p: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    """(main, mapping, synthesis) variables."""
    maps = mapping(p, SQRT2, lambda i: (f"Dense{i}/weight", f"Dense{i}/bias"))
    maps = {name: value.T if name.endswith("weight") else value for name, value in maps.items()}
    if "mapping.label.weight" in p:
        maps["LabelConcat/weight"] = p["mapping.label.weight"].T
    s: Arrays = {"4x4/Const/const": p["synthesis.const"][None], "lod": np.float32(0)}
    for number, layer, size, second in walk(p):
        here = f"{size}x{size}/" + (("Const", "Conv") if size == 4 else ("Conv0_up", "Conv1"))[second]
        if number:
            kernel = p[f"{layer}.weight"] if second else turned(p[f"{layer}.weight"], size)
            s[f"{here}/weight"] = he(kernel, SQRT2).transpose(2, 3, 1, 0)
        s[f"{here}/bias"] = p[f"{layer}.bias"]
        weight, bias = style(p, layer, 1.0, 1.0)
        s[f"{here}/StyleMod/weight"], s[f"{here}/StyleMod/bias"] = weight.T, bias
        s[f"{here}/Noise/weight"] = p[f"{layer}.noise_strength"]
        s[f"noise{number}"] = p[f"{layer}.noise"][None, None]
    top = sizes_of(p)[-1]
    for size in sizes_of(p):
        here = f"ToRGB_lod{(top // size).bit_length() - 1}"
        s[f"{here}/weight"] = he(p[f"synthesis.b{size}.torgb.weight"], 1.0).transpose(2, 3, 1, 0)
        s[f"{here}/bias"] = p[f"synthesis.b{size}.torgb.bias"]
    return {"dlatent_avg": p["mapping.w_avg"], "lod": np.float32(0)}, maps, s


def tf_discriminator(p: Arrays) -> Arrays:
    top = max(int(name.split(".")[0][1:]) for name in p)
    found: Arrays = {"lod": np.float32(0)}
    for name, value in p.items():
        block, layer, kind = name.split(".")
        size = int(block[1:])
        theirs = {"fromrgb": f"FromRGB_lod{(top // size).bit_length() - 1}", "conv": "4x4/Conv", "fc": "4x4/Dense0"}
        theirs |= {"out": "4x4/Dense1", "conv0": f"{size}x{size}/Conv0", "conv1": f"{size}x{size}/Conv1_down"}
        stored = he(value, 1.0 if layer == "out" else SQRT2) if kind == "weight" else value
        found[f"{theirs[layer]}/{kind}"] = stored.transpose(2, 3, 1, 0) if stored.ndim == 4 else stored.T
    return found


def genforce(p: Arrays) -> Arrays:
    found = mapping(p, SQRT2, lambda i: (f"mapping.dense{i}.weight", f"mapping.dense{i}.bias"))
    if "mapping.label.weight" in p:
        found["mapping.label_weight"] = p["mapping.label.weight"].T
    found |= {"truncation.w_avg": p["mapping.w_avg"], "synthesis.lod": np.zeros(())}
    found["synthesis.layer0.const"] = p["synthesis.const"][None]
    for number, layer, size, second in walk(p):
        here = f"synthesis.layer{number}"
        if number:
            found[f"{here}.weight"] = he(p[f"{layer}.weight"] if second else turned(p[f"{layer}.weight"], size), SQRT2)
        found[f"{here}.bias"] = p[f"{layer}.bias"]
        found[f"{here}.style.weight"], found[f"{here}.style.bias"] = style(p, layer, 1.0, 1.0)
        found[f"{here}.apply_noise.weight"] = p[f"{layer}.noise_strength"]
        found[f"{here}.apply_noise.noise"] = p[f"{layer}.noise"][None, None]
        if number and not second:
            found[f"{here}.blur.kernel"] = np.tile(BLUR, (len(p[f"{layer}.bias"]), 1, 1, 1))
    for index, size in enumerate(sizes_of(p)):
        found[f"synthesis.output{index}.weight"] = he(p[f"synthesis.b{size}.torgb.weight"], 1.0)
        found[f"synthesis.output{index}.bias"] = p[f"synthesis.b{size}.torgb.bias"]
    return found


def genforce_discriminator(p: Arrays) -> Arrays:
    sizes = sorted({int(name.split(".")[0][1:]) for name in p}, reverse=True)
    found: Arrays = {"lod": np.zeros(())}
    names = {"b4.conv": 2 * len(sizes) - 2, "b4.fc": 2 * len(sizes) - 1, "b4.out": 2 * len(sizes)}
    for index, size in enumerate(sizes):
        names |= {f"b{size}.conv0": 2 * index, f"b{size}.conv1": 2 * index + 1} if size > 4 else {}
        for kind in ("weight", "bias"):
            value = p[f"b{size}.fromrgb.{kind}"]
            found[f"input{index}.{kind}"] = he(value, SQRT2) if kind == "weight" else value
        if size > 4:
            found[f"layer{2 * index + 1}.blur.kernel"] = np.tile(BLUR, (width(size), 1, 1, 1))
    for layer, number in names.items():
        found[f"layer{number}.weight"] = he(p[f"{layer}.weight"], 1.0 if layer == "b4.out" else SQRT2)
        found[f"layer{number}.bias"] = p[f"{layer}.bias"]
    return found


def interfacegan(p: Arrays) -> Arrays:
    found = mapping(p, SQRT2, lambda i: (f"mapping.dense{i}.linear.weight", f"mapping.dense{i}.wscale.bias"))
    coefficients = np.ones((1, len(list(walk(p))), 1))
    found |= {"truncation.w_avg": p["mapping.w_avg"], "truncation.truncation": coefficients}
    found |= {"synthesis.lod": np.zeros(()), "synthesis.layer0.first_layer": p["synthesis.const"][None]}
    for number, layer, size, second in walk(p):
        here = f"synthesis.layer{number}"
        if number and not second:
            found[f"{here}.blur.kernel"] = np.tile(BLUR, (len(p[f"{layer}.bias"]), 1, 1, 1))
        if number and not second and size >= 128:
            found[f"{here}.weight"] = he(turned(p[f"{layer}.weight"], size), SQRT2).transpose(2, 3, 1, 0)
        elif number:
            found[f"{here}.conv.weight"] = he(p[f"{layer}.weight"], SQRT2)
        here = f"{here}.epilogue"
        weight, bias = style(p, layer, 1.0, 1.0)
        found[f"{here}.style_mod.dense.linear.weight"] = weight
        found[f"{here}.style_mod.dense.wscale.bias"] = bias
        found[f"{here}.bias"] = p[f"{layer}.bias"]
        found[f"{here}.apply_noise.weight"] = p[f"{layer}.noise_strength"]
        found[f"{here}.apply_noise.noise"] = p[f"{layer}.noise"][None, None]
    for index, size in enumerate(sizes_of(p)):
        found[f"synthesis.output{index}.conv.weight"] = he(p[f"synthesis.b{size}.torgb.weight"], 1.0)
        found[f"synthesis.output{index}.bias"] = p[f"synthesis.b{size}.torgb.bias"]
    return found


def lernapparat(p: Arrays, *, pulse: bool = False) -> Arrays:
    """One to-RGB; PULSE's synthesis is a file of its own."""
    names = mapping(p, SQRT2, lambda i: (f"g_mapping.dense{i}.weight", f"g_mapping.dense{i}.bias"))
    found, part = ({}, "") if pulse else (names, "g_synthesis.")
    for number, layer, size, second in walk(p):
        here = f"{part}blocks.{size}x{size}"
        convolution = ("conv0_up", "conv1" if size > 4 else "conv")[second]
        if number:
            kernel = p[f"{layer}.weight"] if second else turned(p[f"{layer}.weight"], size)
            found[f"{here}.{convolution}.weight"] = he(kernel, SQRT2)
            found[f"{here}.{convolution}.bias"] = p[f"{layer}.bias"]
        else:
            found[f"{here}.const"], found[f"{here}.bias"] = p["synthesis.const"][None], p[f"{layer}.bias"]
        if number and not second:
            found[f"{here}.conv0_up.intermediate.kernel"] = BLUR[None, None]
        epilogue = f"{here}.epi{second + 1}"
        weight, bias = style(p, layer, 1.0, 1.0)
        found[f"{epilogue}.style_mod.lin.weight"], found[f"{epilogue}.style_mod.lin.bias"] = weight, bias
        found[f"{epilogue}.{'' if pulse else 'top_epi.'}noise.weight"] = p[f"{layer}.noise_strength"]
    top = sizes_of(p)[-1]
    found[f"{part}torgb.weight"] = he(p[f"synthesis.b{top}.torgb.weight"], 1.0)
    found[f"{part}torgb.bias"] = p[f"synthesis.b{top}.torgb.bias"]
    return found


def rosinality(p: Arrays, *, fused: bool = True) -> Arrays:
    """The constant has no bias here, which is added to it."""
    names = mapping(
        p, SQRT2, lambda i: (f"style.{2 * i + 1}.linear.weight_orig", f"style.{2 * i + 1}.linear.bias"), 1.0
    )
    found = dict(names)
    constant = p["synthesis.const"] + p["synthesis.b4.conv0.bias"][:, None, None]
    found["generator.progression.0.conv1.input"] = constant[None]
    for number, layer, size, second in walk(p):
        here, channels = f"generator.progression.{number // 2}", len(p[f"{layer}.gamma.bias"])
        if second:
            found[f"{here}.conv2.conv.weight_orig"] = he(p[f"{layer}.weight"], SQRT2)
            found[f"{here}.conv2.conv.bias"] = p[f"{layer}.bias"]
        elif number:
            weight, blur = he(p[f"{layer}.weight"], SQRT2), np.tile(BLUR, (channels, 1, 1, 1))
            last = 1 if fused and size >= 128 else 2
            if last == 1:
                found[f"{here}.conv1.0.weight"] = 4 * weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
                found[f"{here}.conv1.0.bias"] = p[f"{layer}.bias"]
            else:
                found[f"{here}.conv1.1.conv.weight_orig"] = weight
                found[f"{here}.conv1.1.conv.bias"] = p[f"{layer}.bias"]
            found |= {f"{here}.conv1.{last}.weight": blur, f"{here}.conv1.{last}.weight_flip": blur}
        adain = f"{here}.adain{second + 1}.style.linear"
        found[f"{adain}.weight_orig"], found[f"{adain}.bias"] = style(p, layer, SQRT2, 0.0)
        strength = p[f"{layer}.noise_strength"] / math.sqrt(2 / channels)
        found[f"{here}.noise{second + 1}.weight_orig"] = strength[None, :, None, None]
    for index, size in enumerate(sizes_of(p)):
        found[f"generator.to_rgb.{index}.conv.weight_orig"] = he(p[f"synthesis.b{size}.torgb.weight"], SQRT2)
        found[f"generator.to_rgb.{index}.conv.bias"] = p[f"synthesis.b{size}.torgb.bias"]
    return found


def mmgen(p: Arrays) -> Arrays:
    found = mapping(p, 1.0, lambda i: (f"style_mapping.{i + 1}.linear.weight_orig", f"style_mapping.{i + 1}.bias"))
    constant = p["synthesis.const"] + p["synthesis.b4.conv0.bias"][:, None, None]
    found["convs.0.conv1.input"] = constant[None]
    for number, layer, _, second in walk(p):
        here = f"convs.{number // 2}"
        if number:
            convolution = f"{here}.conv2" if second else f"{here}.conv1.0"
            found[f"{convolution}.conv.weight_orig"] = he(p[f"{layer}.weight"], SQRT2)
            found[f"{convolution}.conv.bias"] = p[f"{layer}.bias"]
        if number and not second:
            found[f"{here}.conv1.1.kernel"] = BLUR
        affine = f"{here}.adain{second + 1}.affine"
        found[f"{affine}.weight_orig"], found[f"{affine}.bias"] = style(p, layer, SQRT2, 0.0)
        found[f"{here}.noise_injector{second + 1}.weight"] = p[f"{layer}.noise_strength"][:1]
        found[f"injected_noise_{number}"] = p[f"{layer}.noise"][None, None]
    for index, size in enumerate(sizes_of(p)):
        found[f"to_rgbs.{index}.conv.weight_orig"] = he(p[f"synthesis.b{size}.torgb.weight"], SQRT2)
        found[f"to_rgbs.{index}.conv.bias"] = p[f"synthesis.b{size}.torgb.bias"]
    return found


def mmgen_discriminator(p: Arrays) -> Arrays:
    sizes = sorted({int(name.split(".")[0][1:]) for name in p}, reverse=True)
    found: Arrays = {}

    def put(name: str, layer: str, kernel: bool = False) -> None:
        weight = p[f"{layer}.weight"]
        weight = weight.reshape(len(weight), -1, 4, 4) if kernel else weight
        found[f"{name}.weight_orig"], found[f"{name}.bias"] = he(weight, SQRT2), p[f"{layer}.bias"]

    for index, size in enumerate(sizes):
        put(f"from_rgb.{index}.conv", f"b{size}.fromrgb")
        if size > 4:
            put(f"convs.{index}.0.conv", f"b{size}.conv0")
            put(f"convs.{index}.2.conv", f"b{size}.conv1")
            found[f"convs.{index}.1.kernel"] = BLUR
        else:
            put(f"convs.{index}.0.conv", "b4.conv")
            put(f"convs.{index}.1.conv", "b4.fc", kernel=True)
    found["final_linear.0.linear.weight_orig"] = he(p["b4.out.weight"], 1.0)
    found["final_linear.0.bias"] = p["b4.out.bias"]
    return found


def fb(p: Arrays) -> Arrays:
    """The output is scaled, so biases are stored divided by the same constant."""
    found: Arrays = {}

    def put(name: str, weight: NDArray, bias: NDArray, lr: float = 1.0) -> None:
        constant = SQRT2 * lr / math.sqrt(math.prod(weight.shape[1:]))
        found[f"{name}.module.weight"], found[f"{name}.module.bias"] = weight / constant, bias / constant

    for i in range(LAYERS):
        put(f"mapping.FC.{i}", p[f"mapping.fc{i}.weight"], p[f"mapping.fc{i}.bias"], LR)
    found["mean_w"] = p["mapping.w_avg"][None]
    found["baseScale0"] = (p["synthesis.const"] + p["synthesis.b4.conv0.bias"][:, None, None])[None]
    for number, layer, size, second in walk(p):
        block, noise = f"scaleLayers.{number // 2 - 1}", f"noiseModulators.{number // 2 - 1}.{second}"
        convolution, adain = (f"{block}.{2 * second}", f"{block}.{2 * second + 1}")
        if size == 4:
            convolution, adain, noise = "conv0", f"adain0{second}", f"noiseMod0{second}"
        if number:
            put(convolution, p[f"{layer}.weight"], p[f"{layer}.bias"])
        both = [
            np.concatenate([p[f"{layer}.{half}.{kind}"] for half in ("gamma", "beta")]) for kind in ("weight", "bias")
        ]
        put(f"{adain}.styleModulator", both[0], both[1])
        found[f"{noise}.module.weight"] = p[f"{layer}.noise_strength"][:1].reshape(1, 1, 1, 1)
        if size > 4 and second:
            torgb = f"synthesis.b{size}.torgb"
            put(f"toRGBLayers.{number // 2 - 1}", p[f"{torgb}.weight"], p[f"{torgb}.bias"])
    return found


def tae(p: Arrays) -> Arrays:
    """The constants stand beside the weights."""
    found: Arrays = {}

    def put(name: str, weight: NDArray, bias: NDArray, gain: float = SQRT2) -> None:
        weight = weight if weight.ndim == 4 else weight[:, :, None, None]
        found[f"{name}.weight"], found[f"{name}.bias"] = he(weight, gain), bias
        found[f"{name}.scale"] = np.array(gain / math.sqrt(math.prod(weight.shape[1:])))

    for i in range(LAYERS):
        put(f"latent_transform.latent_transform.{2 * i}", p[f"mapping.fc{i}.weight"], p[f"mapping.fc{i}.bias"])
    if "mapping.label.weight" in p:
        found["latent_transform.label_embed.weight"] = p["mapping.label.weight"].T
    found["w_average"] = p["mapping.w_avg"][None, :, None, None]
    found["synthesis_module.level"] = np.array(len(sizes_of(p)), dtype=np.int32)
    constant = p["synthesis.const"] + p["synthesis.b4.conv0.bias"][:, None, None]
    found["synthesis_module.blocks.0.base_image"] = constant[None]
    for number, layer, size, second in walk(p):
        here = f"synthesis_module.blocks.{number // 2}"
        if number:
            put(f"{here}.conv" if size == 4 else f"{here}.conv{second + 1}", p[f"{layer}.weight"], p[f"{layer}.bias"])
        for half, name in (("gamma", "scale"), ("beta", "bias")):
            part = f"{layer}.{half}"
            put(f"{here}.adain{second + 1}.{name}_transform", p[f"{part}.weight"], p[f"{part}.bias"], 1.0)
        found[f"{here}.noise{second + 1}.noise_scale"] = p[f"{layer}.noise_strength"][None, :, None, None]
        found[f"{here}.noise{second + 1}.fixed_noise"] = p[f"{layer}.noise"][None, None]
    for index, size in enumerate(sizes_of(p)):
        torgb = f"synthesis.b{size}.torgb"
        put(f"synthesis_module.to_rgbs.{index}", p[f"{torgb}.weight"], p[f"{torgb}.bias"], 1.0)
    return found
