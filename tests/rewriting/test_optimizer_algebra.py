"""Training goes on: convert weights and optimizer state in the middle, and the trajectory is the same.

Through files and the real commands: 100 steps, `eqlr bake` or `eqlr equalize --keep-trajectory`, 100 steps on both
sides. In float64 for any constant; bit for bit, in float32 too, where the constants are powers of two. Nothing is
promised in float32 otherwise (`docs/theory.md`), so nothing is tested there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eqlr_tools import nn as eqnn
from tests.conftest import Result

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 1e-2}),
    "sgd-momentum-l2": (torch.optim.SGD, {"lr": 1e-2, "momentum": 0.9, "weight_decay": 1e-2}),
    "sgd-nesterov": (torch.optim.SGD, {"lr": 1e-2, "momentum": 0.9, "nesterov": True}),
    "sgd-dampening": (torch.optim.SGD, {"lr": 1e-2, "momentum": 0.8, "dampening": 0.3}),
    "adam-progan": (torch.optim.Adam, {"lr": 1e-3, "betas": (0.0, 0.99)}),
    "adam-large-eps": (torch.optim.Adam, {"lr": 1e-3, "eps": 1e-3}),
    "adam-l2-amsgrad": (torch.optim.Adam, {"lr": 1e-3, "weight_decay": 1e-2, "amsgrad": True}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.3}),
    "adamax": (torch.optim.Adamax, {"lr": 2e-3, "weight_decay": 1e-2}),
    "nadam": (torch.optim.NAdam, {"lr": 2e-3}),
    "nadam-decoupled": (torch.optim.NAdam, {"lr": 2e-3, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "radam": (torch.optim.RAdam, {"lr": 1e-3, "weight_decay": 1e-2}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 1e-3}),
    "rmsprop-centered-momentum-l2": (
        torch.optim.RMSprop,
        {"lr": 1e-3, "centered": True, "momentum": 0.9, "weight_decay": 1e-2},
    ),
    "adagrad": (torch.optim.Adagrad, {"lr": 1e-2, "weight_decay": 1e-2, "initial_accumulator_value": 0.0}),
    "adagrad-lr-decay": (torch.optim.Adagrad, {"lr": 1e-2, "lr_decay": 1e-3}),
}
STEPS = 100

Cli = Callable[..., Result]


def network(dtype: torch.dtype) -> nn.Sequential:
    """Three layers of different fan-in; the head has no bias, the conv's bias stands before the next weight."""
    torch.manual_seed(3)
    layers = (
        nn.Conv2d(3, 6, 3),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(6, 4, 2),
        nn.Flatten(),
        nn.Linear(4 * 25, 2, bias=False),
    )
    return nn.Sequential(*layers).to(dtype)


def equalized(dtype: torch.dtype, power_of_two: bool) -> nn.Sequential:
    """The network with the paper's constants, or with gains that make them powers of two."""
    model = network(dtype)
    fans = {"0": 27, "2": 24, "4": 100}
    wanted = {"0": 2**-2, "2": 2**-1, "4": 2**-3}
    gains = {name: wanted[name] * fan**0.5 for name, fan in fans.items()} if power_of_two else {"*": 2**0.5}
    return eqnn.equalize(model, gain=gains, lr_multiplier={"4": 0.25, "*": 1.0} if not power_of_two else 1.0)


@functools.cache
def batch(step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(4, 3, 6, 6, generator=generator, dtype=torch.float64)
    targets = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    return inputs.to(dtype), targets.to(dtype)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, dtype: torch.dtype) -> None:
    for step in range(first, first + STEPS):
        inputs, targets = batch(step, dtype)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()


def effective(model: nn.Module) -> dict[str, Tensor]:
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    layers |= {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.ConvTranspose2d)}
    weights = {f"{name}.weight": layer.weight.detach() for name, layer in layers.items()}
    return weights | {f"{n}.bias": layer.bias.detach() for n, layer in layers.items() if layer.bias is not None}


def distance(a: nn.Module, b: nn.Module) -> float:
    mine, theirs = effective(a), effective(b)
    assert mine.keys() == theirs.keys()
    return max(float((mine[name] - theirs[name]).abs().max() / mine[name].abs().max()) for name in mine)


def convert(cli: Cli, command: str, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Save, run the command, and load what it wrote."""
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "before.pt")
    result = cli(*command.split(), folder / "before.pt", folder / "after.pt", "--keep-trajectory", "--force")
    assert result.code == 0, result.stderr
    loaded: dict[str, Any] = torch.load(folder / "after.pt", weights_only=True)
    return loaded


def resume(kind: str, model: nn.Module, content: dict[str, Any]) -> torch.optim.Optimizer:
    model.load_state_dict(content["model"], strict=True)
    cls, arguments = OPTIMIZERS[kind]
    optimizer = cls(eqnn.parameter_groups(model, content["optimizer"]), **arguments)  # type: ignore[call-arg]
    optimizer.load_state_dict(content["optimizer"])
    return optimizer


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize(("dtype", "power_of_two"), [(torch.float64, False), (torch.float32, True)])
def test_baked_and_equalized_training_coincide(
    kind: str, dtype: torch.dtype, power_of_two: bool, run_cli: Cli, tmp_path: Path
) -> None:
    cls, arguments = OPTIMIZERS[kind]
    model = equalized(dtype, power_of_two)
    optimizer = cls(model.parameters(), **arguments)  # type: ignore[call-arg]
    train(model, optimizer, 0, dtype)

    plain = network(dtype)
    plain_optimizer = resume(kind, plain, convert(run_cli, "bake", tmp_path, model, optimizer))
    train(model, optimizer, STEPS, dtype)
    train(plain, plain_optimizer, STEPS, dtype)
    assert distance(model, plain) <= (0.0 if power_of_two else 1e-12)


@pytest.mark.parametrize("kind", ["sgd-momentum-l2", "adam-progan", "adamw", "rmsprop-centered-momentum-l2"])
@pytest.mark.parametrize(("dtype", "exact"), [(torch.float64, False), (torch.float32, True)])
def test_training_goes_on_from_plain_weights(
    kind: str, dtype: torch.dtype, exact: bool, run_cli: Cli, tmp_path: Path
) -> None:
    cls, arguments = OPTIMIZERS[kind]
    plain = network(dtype)
    optimizer = cls(plain.parameters(), **arguments)  # type: ignore[call-arg]
    train(plain, optimizer, 0, dtype)

    command = "equalize --exact" if exact else "equalize --gain 1.3"
    model = eqnn.equalize(network(dtype))
    model_optimizer = resume(kind, model, convert(run_cli, command, tmp_path, plain, optimizer))
    train(plain, optimizer, STEPS, dtype)
    train(model, model_optimizer, STEPS, dtype)
    assert distance(model, plain) <= (0.0 if exact else 1e-12)


def test_learning_rate_alone_is_not_enough(run_cli: Cli, tmp_path: Path) -> None:
    """The control: with unconverted moments the trajectories part, so the tests above can fail."""
    cls, arguments = OPTIMIZERS["adam-large-eps"]
    model = equalized(torch.float64, False)
    optimizer = cls(model.parameters(), **arguments)  # type: ignore[call-arg]
    train(model, optimizer, 0, torch.float64)
    content = convert(run_cli, "bake", tmp_path, model, optimizer)
    for state in content["optimizer"]["state"].values():
        state["exp_avg_sq"].mul_(4.0)
    plain = network(torch.float64)
    plain_optimizer = resume("adam-large-eps", plain, content)
    train(model, optimizer, STEPS, torch.float64)
    train(plain, plain_optimizer, STEPS, torch.float64)
    assert distance(model, plain) > 1e-4
