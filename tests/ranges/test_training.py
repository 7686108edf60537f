"""The measured Adam step is the step that torch takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import Result


def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20))


def repeat_last_gradient(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 40, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()


def audited(run_cli: Callable[..., Result], path: Path) -> Any:
    return json.loads(run_cli("audit", path, "-f", "json").stdout)["files"][0]["networks"][0]


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.0, 0.99)),
        lambda p: torch.optim.Adam(p, lr=2e-3, eps=1e-2),
        lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.0),
    ],
    ids=["progan", "large-eps", "amsgrad", "adamw"],
)
def test_the_step_is_the_one_that_torch_took(
    make: Callable[..., torch.optim.Optimizer], run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    model = network()
    optimizer = make(model.parameters())
    repeat_last_gradient(model, optimizer, 6)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    repeat_last_gradient(model, optimizer, 1)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt")
    report = audited(run_cli, tmp_path / "a.pt")
    relative = []
    for layer in report["layers"]:
        weight = model.get_parameter(f"{layer['layer']}.weight").detach()
        taken = (weight - before[f"{layer['layer']}.weight"]).double().square().mean().sqrt()
        rms = weight.double().square().mean().sqrt()
        assert layer["adam_step"]["step_rms"] == pytest.approx(float(taken), rel=1e-3)
        assert layer["adam_step"]["relative_step"] == pytest.approx(float(taken / rms), rel=1e-3)
        assert layer["adam_step"]["steps_per_rms"] == pytest.approx(float(rms / taken), rel=1e-3)
        relative.append(float(taken / rms))
    assert report["learning_speed_spread"]["measured"] == pytest.approx(max(relative) / min(relative), rel=1e-3)


def test_without_adam_there_is_no_measured_step(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    repeat_last_gradient(model, optimizer, 2)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt")
    report = audited(run_cli, tmp_path / "a.pt")
    assert all(layer["adam_step"] is None for layer in report["layers"])
    assert report["learning_speed_spread"]["measured"] is None
    assert "it is SGD" in run_cli("audit", tmp_path / "a.pt").stderr


def test_uncertain_state_is_not_guessed(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    """Four equal layers and the state of one of them: it can be any, so none has a measured step."""
    model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))
    optimizer = torch.optim.Adam(model[2].parameters())
    model(torch.randn(3, 6)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt")
    assert all(layer["adam_step"] is None for layer in audited(run_cli, tmp_path / "a.pt")["layers"])


def test_the_trained_sample_shows_what_equalizing_is_for(run_cli: Callable[..., Result], samples: Path) -> None:
    """Its equalized blocks learn at speeds within a factor of two; the one plain layer is ten times as fast.

    `rgb_layers.0` is `initial_rgb` under a second name and has its state. Its branch was left behind long ago.
    """
    report = audited(run_cli, samples / "progan_digits.pth.tar")
    speeds = {layer["layer"]: layer["adam_step"]["relative_step"] for layer in report["layers"]}
    blocks = [speed for name, speed in speeds.items() if name.startswith("prog_blocks") or name == "initial.3"]
    assert max(blocks) / min(blocks) < 2
    assert speeds["initial.1"] > 9 * max(blocks)
    assert speeds["rgb_layers.0"] == speeds["initial_rgb"] < 0.1 * min(blocks)
