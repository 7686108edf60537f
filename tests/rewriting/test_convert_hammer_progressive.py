"""Hammer's StyleGAN and PGGAN, computed as its own code does, against the canonical networks made of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.networks import progan, progan_discriminator, stylegan1
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_network
from eqlr_tools.rewriting.selection import Selection, recognise_all

SQRT2 = math.sqrt(2.0)
SIZES = (4, 8, 16, 32, 64, 128)
"""The largest is one whose resampling is fused with the convolution."""
FUSED_FROM = 128
LR = 0.01
State = dict[str, Tensor]
BLUR = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])).double() / 16


def width(size: int) -> int:
    return max(2, 6 - size.bit_length() // 2)


def put(state: State, name: str, *shape: int, spread: float = 1.0) -> None:
    state[f"{name}.weight"] = torch.randn(shape, dtype=torch.float64) * spread
    state[f"{name}.bias"] = torch.randn(shape[0], dtype=torch.float64) * 0.2 * spread


def generator(labels: int) -> State:
    state: State = {"w_avg": torch.randn(5).double(), "synthesis.lod": torch.zeros(()).double()}
    if labels:
        state["mapping.embedding"] = torch.randn(labels, 3).double()
    put(state, "mapping.dense0", 5, 6 + 3 * bool(labels), spread=1 / LR)
    put(state, "mapping.dense1", 5, 5, spread=1 / LR)
    state["synthesis.layer0.const"] = torch.randn(1, width(4), 4, 4).double()
    into = width(4)
    for index, size in enumerate(SIZES):
        for second in (0, 1):
            layer, out = f"synthesis.layer{2 * index + second}", width(size)
            put(state, layer, out, into, 3, 3)
            put(state, f"{layer}.style", 2 * out, 5)
            state[f"{layer}.noise_strength"] = torch.randn(1, out, 1, 1).double() * 0.3
            state[f"{layer}.noise"] = torch.randn(1, 1, size, size).double()
            if index and not second:
                state[f"{layer}.filter"] = BLUR[None, None]
            into = out
        put(state, f"synthesis.output{index}", 3, into, 1, 1)
    del state["synthesis.layer0.weight"]
    return state


def four_copies(weight: Tensor) -> Tensor:
    wide = functional.pad(weight, (1, 1, 1, 1))
    return wide[:, :, 1:, 1:] + wide[:, :, :-1, 1:] + wide[:, :, 1:, :-1] + wide[:, :, :-1, :-1]


def blurred(x: Tensor, kernel: Tensor) -> Tensor:
    return functional.conv2d(x, kernel.repeat(x.shape[1], 1, 1, 1), padding=1, groups=x.shape[1])


def scaled(state: State, name: str, gain: float = SQRT2, lr: float = 1.0) -> tuple[Tensor, Tensor]:
    weight = state[f"{name}.weight"]
    return weight * (gain * lr / math.sqrt(weight[0].numel())), state[f"{name}.bias"] * lr


def generate(state: State, z: Tensor, label: Tensor | None) -> Tensor:
    x = z if label is None else torch.cat([z, label @ state["mapping.embedding"]], dim=1)
    x = x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    for number in range(2):
        x = functional.leaky_relu(functional.linear(x, *scaled(state, f"mapping.dense{number}", lr=LR)), 0.2)
    w = x
    x = state["synthesis.layer0.const"].repeat(len(z), 1, 1, 1)
    for index, size in enumerate(SIZES):
        for second in (0, 1):
            layer = f"synthesis.layer{2 * index + second}"
            if f"{layer}.weight" in state:
                weight, bias = scaled(state, layer)
                if second or not index:
                    x = functional.conv2d(x, weight, padding=1)
                else:
                    if size >= FUSED_FROM:
                        x = functional.conv_transpose2d(x, four_copies(weight).transpose(0, 1), stride=2, padding=1)
                    else:
                        x = functional.conv2d(functional.interpolate(x, scale_factor=2), weight, padding=1)
                    x = blurred(x, state[f"{layer}.filter"])
            else:
                bias = state[f"{layer}.bias"]
            x = x + state[f"{layer}.noise"] * state[f"{layer}.noise_strength"] + bias[:, None, None]
            x = functional.leaky_relu(x, 0.2)
            x = x - x.mean(dim=(2, 3), keepdim=True)
            x = x * (x.square().mean(dim=(2, 3), keepdim=True) + 1e-8).rsqrt()
            factor, summand = functional.linear(w, *scaled(state, f"{layer}.style", 1.0))[:, :, None, None].chunk(2, 1)
            x = x * (factor + 1) + summand
    return functional.conv2d(x, *scaled(state, f"synthesis.output{len(SIZES) - 1}", 1.0))


def discriminator(filtered: bool, scores: int = 1) -> State:
    state: State = {"lod": torch.zeros(()).double()}
    for index, size in enumerate(reversed(SIZES)):
        put(state, f"input{index}", width(size), 3, 1, 1)
        if size > 4:
            put(state, f"layer{2 * index}", width(size), width(size), 3, 3)
            put(state, f"layer{2 * index + 1}", width(size // 2), width(size), 3, 3)
            if filtered:
                state[f"layer{2 * index + 1}.filter"] = BLUR[None, None]
    last = 2 * (len(SIZES) - 1)
    put(state, f"layer{last}", width(4), width(4) + 1, 3, 3)
    put(state, f"layer{last + 1}", width(4), 16 * width(4))
    put(state, "output", scores, width(4))
    return state


def discriminate(state: State, image: Tensor, groups: int) -> Tensor:
    x = functional.leaky_relu(functional.conv2d(image, *scaled(state, "input0")), 0.2)
    for index, size in enumerate(reversed(SIZES[1:])):
        x = functional.leaky_relu(functional.conv2d(x, *scaled(state, f"layer{2 * index}"), padding=1), 0.2)
        layer = f"layer{2 * index + 1}"
        weight, bias = scaled(state, layer)
        if f"{layer}.filter" not in state:
            x = functional.avg_pool2d(functional.leaky_relu(functional.conv2d(x, weight, bias, padding=1), 0.2), 2)
            continue
        x = blurred(x, state[f"{layer}.filter"])
        if size >= FUSED_FROM:
            x = functional.conv2d(x, four_copies(weight) / 4, bias, stride=2, padding=1)
        else:
            x = functional.avg_pool2d(functional.conv2d(x, weight, bias, padding=1), 2)
        x = functional.leaky_relu(x, 0.2)
    last, count = 2 * (len(SIZES) - 1), min(groups, len(x))
    y = x.reshape(count, -1, *x.shape[1:])
    y = (y.var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    x = torch.cat([x, y.repeat(count)[:, None, None, None].expand(-1, 1, 4, 4)], dim=1)
    x = functional.leaky_relu(functional.conv2d(x, *scaled(state, f"layer{last}"), padding=1), 0.2)
    x = functional.leaky_relu(functional.linear(x.flatten(1), *scaled(state, f"layer{last + 1}")), 0.2)
    return functional.linear(x, *scaled(state, "output", 1.0))


def saved(path: Path, network: str, state: State) -> Path:
    torch.save({"models": {network: {name: value.float() for name, value in state.items()}}}, path)
    return path


def seen(path: Path) -> CanonicalNetwork:
    (recognition,) = recognise_all(open_checkpoint(path), Selection())
    found = canonical_network(recognition)
    assert found is not None
    return found


def there_and_back(run_cli: Any, source: Path, family: str, *between: str) -> Path:
    """The file in other projects' layouts, of which the last is returned; back from each it is what it was."""
    for to in between:
        there, back = source.with_name(f"{to}.pt"), source.with_name(f"back_from_{to}.pt")
        result = run_cli("convert", source, there, "--to", to)
        assert result.code == 0, result.stderr
        assert run_cli("convert", there, back, "--to", family).code == 0
        before, after = (torch.load(path, weights_only=True)["models"] for path in (source, back))
        for network, tensors in before.items():
            assert tensors.keys() == after[network].keys()
            for name, values in tensors.items():
                # What came by way of a 1 added and taken away has the rounding of the sum.
                torch.testing.assert_close(after[network][name], values, rtol=2.5e-7, atol=1.2e-7, msg=name)
    return there


@pytest.mark.parametrize("labels", [0, 3])
def test_stylegans_generator(run_cli: Any, tmp_path: Path, labels: int) -> None:
    torch.manual_seed(0)
    state = generator(labels)
    z, label = torch.randn(2, 6).double(), torch.eye(3).double()[:2] if labels else None
    expected = generate({name: value.float().double() for name, value in state.items()}, z, label).numpy()
    source = saved(tmp_path / "hammer.pt", "generator_smooth", state)
    there = there_and_back(run_cli, source, "hammer-stylegan", "genforce-stylegan", "plain")
    network = seen(there)
    p = {name: network.values(name) for name in network.parts}
    given = None if label is None else label.numpy()
    image = stylegan1.generate(p, z.numpy(), stylegan1.generator_form(network.naming.form, p), label=given)
    assert abs(image - expected).max() <= 1e-5 * abs(expected).max()


@pytest.mark.parametrize("scores", [1, 3])
def test_stylegans_discriminator(run_cli: Any, tmp_path: Path, scores: int) -> None:
    torch.manual_seed(1)
    state, image = discriminator(True, scores), torch.randn(8, 3, SIZES[-1], SIZES[-1]).double()
    expected = discriminate({name: value.float().double() for name, value in state.items()}, image, 4).numpy()
    source = saved(tmp_path / "hammer.pt", "discriminator", state)
    network = seen(there_and_back(run_cli, source, "hammer-stylegan", "genforce-stylegan", "plain"))
    p = {name: network.values(name) for name in network.parts}
    logits = stylegan1.discriminate(p, image.numpy(), stylegan1.discriminator_form(network.naming.form, p))
    assert abs(logits - expected).max() <= 1e-5 * abs(expected).max()


def test_pggans_discriminator(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(2)
    state, image = discriminator(False), torch.randn(8, 3, SIZES[-1], SIZES[-1]).double()
    expected = discriminate({name: value.float().double() for name, value in state.items()}, image, 16).numpy()
    source = saved(tmp_path / "hammer.pt", "discriminator", state)
    network = seen(there_and_back(run_cli, source, "hammer-pggan", "genforce-pggan", "plain"))
    p = {name: network.values(name) for name in network.parts}
    form = progan.formed(progan_discriminator.Form, network.form)
    logits = progan_discriminator.discriminate(p, image.numpy(), form=form)
    assert abs(logits - expected).max() <= 1e-5 * abs(expected).max()
