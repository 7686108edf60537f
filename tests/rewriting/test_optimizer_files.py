"""What bake and equalize write of optimizer states: numbers, groups, names, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eqlr_tools import nn as eqnn
from tests.conftest import Result

Cli = Callable[..., Result]


def trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    for seed, parameter in enumerate(model.parameters()):
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    optimizer.step()
    return optimizer


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def test_equalizing_renumbers_as_torch_will(run_cli: Cli, tmp_path: Path) -> None:
    """A parametrized weight stands behind its bias: numbers 0 and 1 change places, and so do 2 and 3."""
    plain = network()
    optimizer = trained(plain, torch.optim.Adam(plain.parameters()))
    torch.save({"model": plain.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "plain.pt")
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "eq.pt").code == 0
    content = torch.load(tmp_path / "eq.pt", weights_only=True)
    model = eqnn.equalize(network())
    assert list(content["model"]) == list(model.state_dict())
    for number, parameter in enumerate(model.parameters()):
        assert content["optimizer"]["state"][number]["exp_avg"].shape == parameter.shape
    torch.testing.assert_close(
        content["optimizer"]["state"][1]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"] / 2
    )
    torch.testing.assert_close(
        content["optimizer"]["state"][1]["exp_avg_sq"], optimizer.state_dict()["state"][0]["exp_avg_sq"] / 4
    )
    assert torch.equal(content["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][1]["exp_avg"])


def test_the_way_back_gives_the_numbers_back(run_cli: Cli, tmp_path: Path) -> None:
    plain = network()
    optimizer = trained(plain, torch.optim.Adam(plain.parameters()))
    torch.save({"model": plain.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "plain.pt")
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "eq.pt", "--exact").code == 0
    assert run_cli("bake", tmp_path / "eq.pt", tmp_path / "back.pt").code == 0
    first, back = (torch.load(tmp_path / name, weights_only=True) for name in ("plain.pt", "back.pt"))
    assert list(first["model"]) == list(back["model"])
    assert all(torch.equal(first["model"][name], back["model"][name]) for name in first["model"])
    assert first["optimizer"]["param_groups"] == back["optimizer"]["param_groups"]
    for number, state in first["optimizer"]["state"].items():
        assert all(torch.equal(state[name], back["optimizer"]["state"][number][name]) for name in state)


def test_keep_trajectory_writes_a_group_per_constant(run_cli: Cli, tmp_path: Path) -> None:
    model = eqnn.equalize(network())
    optimizer = trained(model, torch.optim.Adam(model.parameters(), lr=1e-2, eps=1e-6))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "eq.pt")
    result = run_cli("bake", tmp_path / "eq.pt", tmp_path / "plain.pt", "--keep-trajectory", "-f", "json")
    groups = torch.load(tmp_path / "plain.pt", weights_only=True)["optimizer"]["param_groups"]
    assert [group["param_names"] for group in groups] == [["0.weight"], ["0.bias", "2.bias"], ["2.weight"]]
    rates = {name: group["lr"] for group in groups for name in group["param_names"]}
    assert rates["0.weight"] == pytest.approx(1e-2 / 2)
    assert rates["2.weight"] == pytest.approx(1e-2 / 8**0.5)
    assert rates["0.bias"] == 1e-2
    report = json.loads(result.stdout)
    assert all(rate["step_ratio"] == 1.0 for rate in report["learning_rates"])


def test_steps_show_what_happens_to_each_moment(run_cli: Cli, tmp_path: Path) -> None:
    model = eqnn.equalize(network())
    optimizer = trained(model, torch.optim.Adam(model.parameters()))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "eq.pt")
    report = json.loads(run_cli("bake", tmp_path / "eq.pt", tmp_path / "plain.pt", "-f", "json").stdout)
    steps = {step["target"]: step for step in report["steps"]}
    moved = steps["optimizer.state.0.exp_avg_sq"]
    assert (moved["action"], moved["network"], moved["source"]) == ("rescale", None, "optimizer.state.1.exp_avg_sq")
    assert moved["factor"] == pytest.approx(4.0)
    assert steps["optimizer.state.0.step"]["action"] == "rename"
    assert steps["optimizer.state.0.step"]["factor"] == 1.0
    (first, _) = report["learning_rates"]
    assert first["parameter"] == "0.parametrizations.weight.original"
    assert first["step_ratio"] == pytest.approx(2.0)


def test_adam_with_decay_of_unknown_kind_cannot_keep_its_trajectory(run_cli: Cli, tmp_path: Path) -> None:
    """Before torch 2.7 the files of Adam and AdamW were alike."""
    model = eqnn.equalize(network())
    optimizer = trained(model, torch.optim.AdamW(model.parameters(), weight_decay=0.1))
    state: dict[str, Any] = optimizer.state_dict()
    for group in state["param_groups"]:
        group.pop("decoupled_weight_decay", None)
    torch.save({"model": model.state_dict(), "optimizer": state}, tmp_path / "eq.pt")
    result = run_cli("bake", tmp_path / "eq.pt", tmp_path / "plain.pt", "--keep-trajectory")
    assert result.code == 2
    assert "AdamW" in result.stderr
    assert run_cli("bake", tmp_path / "eq.pt", tmp_path / "plain.pt").code == 0


def test_an_optimizer_of_another_file_stays(run_cli: Cli, tmp_path: Path) -> None:
    """The discriminator is saved elsewhere; its optimizer has nothing to do with these weights."""
    generator, other = eqnn.equalize(network()), nn.Linear(7, 9)
    mine = trained(generator, torch.optim.Adam(generator.parameters()))
    theirs = trained(other, torch.optim.Adam(other.parameters()))
    content = {"generator": generator.state_dict(), "g_optim": mine.state_dict(), "d_optim": theirs.state_dict()}
    torch.save(content, tmp_path / "eq.pt")
    result = run_cli("bake", tmp_path / "eq.pt", tmp_path / "plain.pt")
    assert result.code == 0
    assert "d_optim belongs to no network" in result.stdout
    after = torch.load(tmp_path / "plain.pt", weights_only=True)["d_optim"]
    assert torch.equal(after["state"][0]["exp_avg"], theirs.state_dict()["state"][0]["exp_avg"])


def test_options_that_exclude_each_other(run_cli: Cli, tmp_path: Path, samples: Path) -> None:
    source = samples / "progan_digits.pth.tar"
    both = run_cli("bake", source, tmp_path / "a.pt", "--keep-trajectory", "--drop-optimizer")
    assert both.code == 2
    nothing = run_cli("equalize", samples / "dcgan_digits.pt", tmp_path / "a.pt", "--keep-trajectory")
    assert nothing.code == 2
    assert "no optimizer state" in nothing.stderr


@pytest.mark.parametrize("target", ["plain.pt", "plain.safetensors"])
def test_dropping(target: str, run_cli: Cli, tmp_path: Path, samples: Path) -> None:
    result = run_cli("bake", samples / "stylegan2_digits.pt", tmp_path / target, "--drop-optimizer", "-f", "json")
    report = json.loads(result.stdout)
    assert report["verified"]["passed"]
    assert not [step for step in report["steps"] if "optim" in step["target"]]
    assert {drop["tensor"].partition(".")[0] for drop in report["dropped"]} == {"g_optim", "d_optim"}


def test_oracle_with_two_groups_and_many_buffers(run_cli: Cli, tmp_path: Path, shared_dir: Path) -> None:
    """107 + 16 parameters, 49 of them trained, 32 buffers between them: the mapping network is the second group."""
    source = shared_dir / "oracles" / "rosinality-stylegan1" / "checkpoint.model"
    report = json.loads(run_cli("bake", source, tmp_path / "a.pt", "-f", "json").stdout)
    assert report["verified"]["passed"]
    (style,) = [rate for rate in report["learning_rates"] if rate["parameter"] == "style.1.linear.weight_orig"]
    assert style["before"] == pytest.approx(1e-5)
