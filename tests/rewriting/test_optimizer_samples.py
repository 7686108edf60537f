"""Real training goes on from a converted sample checkpoint: the resumed run follows the unconverted one.

The samples are float32; they are taken to float64 first, where the two runs can be told apart from rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eqlr_tools import nn as eqnn
from tests.conftest import SAMPLES, Result
from tests.test_samples import load_models

BETAS = (0.0, 0.99)


def in_float64(value: Any) -> Any:
    """A checkpoint with every float tensor in float64; tensors that were one stay one."""
    done: dict[int, Tensor] = {}

    def visit(node: Any) -> Any:
        if isinstance(node, Tensor) and node.is_floating_point():
            return done.setdefault(node.data_ptr(), node.double())
        if isinstance(node, dict):
            return {key: visit(child) for key, child in node.items()}
        return [visit(child) for child in node] if isinstance(node, list) else node

    return visit(value)


def adam(model: nn.Module, state: dict[str, Any], grouped: bool) -> torch.optim.Adam:
    groups = eqnn.parameter_groups(model, state) if grouped else model.parameters()
    optimizer = torch.optim.Adam(groups, lr=1e-3, betas=BETAS)
    optimizer.load_state_dict(state)
    return optimizer


def effective(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter as it is applied; the sample models keep a layer's constants as attributes."""
    found = {}
    for name, parameter in model.named_parameters():
        path, _, last = name.rpartition(".")
        owner = model.get_submodule(path)
        if not hasattr(owner, "scale"):  # aladdin's weight is in a plain convolution inside the layer
            owner = model.get_submodule(path.rpartition(".")[0]) if path.endswith(".conv") else owner
        constant = getattr(owner, "scale" if last == "weight" else "bias_scale", 1.0)
        found[name] = parameter.detach() * constant
    return found


def worst(first: nn.Module, second: nn.Module) -> float:
    mine, theirs = effective(first), effective(second)
    return max(float((mine[name] - theirs[name]).abs().max() / mine[name].abs().max()) for name in mine)


def moved(model: nn.Module, before: dict[str, Tensor]) -> float:
    after = effective(model)
    return max(float((after[name] - before[name]).abs().max() / before[name].abs().max()) for name in before)


@functools.cache
def digits() -> Tensor:
    from sklearn.datasets import load_digits

    return torch.tensor(load_digits().images, dtype=torch.float64)[:, None] / 8 - 1


def real_batch(step: int, channels: int) -> Tensor:
    pixels = digits()[8 * step : 8 * step + 8]
    return functional.interpolate(pixels, size=16, mode="bilinear").expand(-1, channels, -1, -1)


def play(
    generator: nn.Module, critic: nn.Module, g_optim: torch.optim.Adam, d_optim: torch.optim.Adam, z_shape: list[int]
) -> None:
    """Twelve steps of both players with the non-saturating loss, inputs fixed by the step."""
    for step in range(12):
        z = torch.randn(8, *z_shape, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        real = real_batch(step, 1 if len(z_shape) == 3 else 3)
        d_loss = functional.softplus(critic(generator(z).detach())) + functional.softplus(-critic(real))
        d_optim.zero_grad()
        d_loss.mean().backward()
        d_optim.step()
        g_loss = functional.softplus(-critic(generator(z)))
        g_optim.zero_grad()
        g_loss.mean().backward()
        g_optim.step()


def bake(run_cli: Callable[..., Result], source: Path, target: Path) -> Any:
    result = run_cli("bake", source, target, "--keep-trajectory")
    assert result.code == 0, result.stderr
    return torch.load(target, weights_only=True)


def test_progan_goes_on(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    models = load_models()
    players: dict[str, list[Any]] = {"stored": [], "baked": []}
    for file, cls in (("progan_digits", "ProGANGenerator"), ("progan_digits_critic", "ProGANCritic")):
        content = in_float64(torch.load(SAMPLES / f"{file}.pth.tar", weights_only=True))
        torch.save(content, tmp_path / f"{file}.pth.tar")
        baked = bake(run_cli, tmp_path / f"{file}.pth.tar", tmp_path / f"{file}.pt")
        for equalized, side in ((True, content), (False, baked)):
            model = getattr(models, cls)(equalized=equalized).double()
            model.load_state_dict(side["state_dict"], strict=True)
            optimizer = adam(model, side["optimizer"], grouped=not equalized)
            players["stored" if equalized else "baked"].append((model, optimizer))
    before = effective(players["stored"][0][0])
    for (generator, g_optim), (critic, d_optim) in players.values():
        play(generator, critic, g_optim, d_optim, [32, 1, 1])
    assert moved(players["stored"][0][0], before) > 1e-3
    for (stored, _), (baked_model, _) in zip(*players.values(), strict=True):
        assert worst(stored, baked_model) < 1e-12


def test_stylegan2_goes_on(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    models = load_models()
    content = torch.load(SAMPLES / "stylegan2_digits.pt", weights_only=False)
    content = in_float64({key: content[key] for key in ("g", "d", "g_ema", "g_optim", "d_optim")})
    torch.save(content, tmp_path / "stored.pt")
    baked = bake(run_cli, tmp_path / "stored.pt", tmp_path / "baked.pt")
    sides = []
    for equalized, side in ((True, content), (False, baked)):
        generator = models.StyleGAN2Generator(equalized=equalized).double()
        critic = models.StyleGAN2Discriminator(equalized=equalized).double()
        generator.load_state_dict(side["g"], strict=True)
        critic.load_state_dict(side["d"], strict=True)
        g_optim = adam(generator, side["g_optim"], grouped=not equalized)
        d_optim = adam(critic, side["d_optim"], grouped=not equalized)
        before = effective(generator)
        play(generator, critic, g_optim, d_optim, [32])
        assert moved(generator, before) > 1e-3
        sides.append((generator, critic))
    for stored, plain in zip(*sides, strict=True):
        assert worst(stored, plain) < 1e-12


@pytest.mark.parametrize("name", ["progan_digits.pth.tar", "stylegan2_digits.pt"])
def test_moments_return_with_the_weights(name: str, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    """Baked and equalized again, through safetensors: every moment is within rounding of what it was."""
    assert run_cli("bake", SAMPLES / name, tmp_path / "plain.safetensors").code == 0
    progan = name.startswith("progan")
    options = ["--to", "aladdin-progan"] if progan else ["--to", "rosinality-stylegan2", "--lr-multiplier", 0.01]
    assert run_cli("equalize", tmp_path / "plain.safetensors", tmp_path / "back.pt", *options).code == 0
    first = torch.load(SAMPLES / name, weights_only=False)
    back = torch.load(tmp_path / "back.pt", weights_only=False)
    for optimizer in [key for key in first if "optim" in key]:
        assert first[optimizer]["param_groups"] == back[optimizer]["param_groups"]
        assert list(first[optimizer]["state"]) == list(back[optimizer]["state"])
        for number, state in first[optimizer]["state"].items():
            for moment, tensor in state.items():
                torch.testing.assert_close(back[optimizer]["state"][number][moment], tensor, rtol=5e-7, atol=0)
