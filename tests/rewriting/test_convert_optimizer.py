"""Optimizer state goes along with a conversion: trained here, converted there and back, and trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.checkpoints.parameter_order import parameters_of
from eqlr_tools.families.catalogue import FAMILIES
from tests.canonical_files import with_optimizer
from tests.nvidia import Discriminator, Generator

WIDTHS = {4: 10, 8: 9, 16: 7}


def trained(network: torch.nn.Module, steps: int, **settings: Any) -> torch.optim.Optimizer:
    """An optimizer that has made some steps, every parameter with gradients of its own."""
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, betas=(0.0, 0.99), eps=1e-8, **settings)
    step(network, optimizer, steps)
    return optimizer


def step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int = 1) -> None:
    for number in range(steps):
        torch.manual_seed(number)
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()


@pytest.fixture
def training(tmp_path: Path) -> tuple[Path, Generator, Discriminator, list[torch.optim.Optimizer]]:
    torch.manual_seed(0)
    generator, discriminator = Generator(WIDTHS, "skip"), Discriminator(WIDTHS, "resnet")
    optimizers = [trained(generator, 3), trained(discriminator, 2)]
    content = {
        "G": generator.state_dict(),
        "D": discriminator.state_dict(),
        "G_optim": optimizers[0].state_dict(),
        "D_optim": optimizers[1].state_dict(),
    }
    torch.save(content, tmp_path / "nvidia.pt")
    return tmp_path / "nvidia.pt", generator, discriminator, optimizers


def test_states_have_the_numbers_of_the_targets_modules(
    run_cli: Any, training: Any, shared_dir: Path, tmp_path: Path
) -> None:
    """The order of rosinality's parameters is taken from a file that its own code wrote."""
    source, generator, _, optimizers = training
    target = tmp_path / "rosinality.pt"
    result = run_cli("convert", source, target, "--to", "rosinality-stylegan2")
    assert result.code == 0, result.stderr
    file = torch.load(target, weights_only=True)
    oracle = open_checkpoint(shared_dir / "oracles" / "rosinality-stylegan2" / "checkpoint.pt")
    theirs = {network.name: parameters_of(network) for network in oracle.networks}
    mapping = [name for name in theirs["g"] if not name.startswith("style.") or int(name.split(".")[1]) <= 2]
    for name, order in (("g", mapping), ("d", theirs["d"])):
        state, weights = file[f"{name}_optim"]["state"], file[name]
        assert list(state) == list(range(len(order)))
        for number, parameter in enumerate(order):
            assert state[number]["exp_avg"].shape == weights[parameter].shape, parameter
        assert file[f"{name}_optim"]["param_groups"][0]["params"] == list(range(len(order)))
    moments = {name: optimizers[0].state[parameter]["exp_avg_sq"] for name, parameter in generator.named_parameters()}
    places = {name: number for number, name in enumerate(mapping)}
    for ours, stored in (
        ("synthesis.b8.torgb.affine.weight", "to_rgbs.0.conv.modulation.weight"),
        ("synthesis.b16.conv0.noise_strength", "convs.2.noise.weight"),
        ("synthesis.b16.conv1.bias", "convs.3.activate.bias"),
        ("synthesis.b8.conv0.weight", "convs.0.conv.weight"),
        ("mapping.fc1.bias", "style.2.bias"),
    ):
        found = file["g_optim"]["state"][places[stored]]["exp_avg_sq"]
        assert torch.equal(found.reshape(-1), moments[ours].reshape(-1)), stored


def test_there_and_back_training_goes_on_as_if_nothing_had_happened(
    run_cli: Any, training: Any, tmp_path: Path
) -> None:
    source, generator, discriminator, optimizers = training
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    assert run_cli("convert", source, there, "--to", "rosinality-stylegan2").code == 0
    assert run_cli("convert", there, back, "--to", "nvidia-stylegan2-ada").code == 0
    file = torch.load(back, weights_only=True)
    for name, network, optimizer, fresh in (
        ("G", generator, optimizers[0], Generator(WIDTHS, "skip")),
        ("D", discriminator, optimizers[1], Discriminator(WIDTHS, "resnet")),
    ):
        fresh.load_state_dict(file[name], strict=False)
        again = torch.optim.Adam(fresh.parameters(), lr=1.0)
        again.load_state_dict(file[f"{name}_optim"])
        step(network, optimizer, 3)
        step(fresh, again, 3)
        for (parameter, wanted), found in zip(network.named_parameters(), fresh.parameters(), strict=True):
            assert torch.equal(found, wanted), parameter


@pytest.mark.parametrize(
    ("family", "suffix", "reason"),
    [
        ("plain", ".pt", "no project trains networks of these names"),
        ("rosinality-stylegan2", ".safetensors", "a flat container cannot hold it"),
    ],
)
def test_what_cannot_go_along_is_left_out_by_name(
    run_cli: Any, training: Any, tmp_path: Path, family: str, suffix: str, reason: str
) -> None:
    result = run_cli("convert", training[0], tmp_path / f"x{suffix}", "--to", family, "--network", "G")
    assert result.code == 0, result.stderr
    said = (result.stdout + result.stderr).replace("\n", " ")
    assert reason in said
    assert "G_optim is left out" in said


def test_genforce_gets_a_group_for_every_parameter_and_its_networks_beside_them(
    run_cli: Any, training: Any, tmp_path: Path
) -> None:
    source, generator, discriminator, _ = training
    assert run_cli("convert", source, tmp_path / "x.pt", "--to", "genforce-stylegan2").code == 0
    file = torch.load(tmp_path / "x.pt", weights_only=True)
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        groups = file["optimizers"][name]["param_groups"]
        assert [group["params"] for group in groups] == [[n] for n in range(len(list(network.parameters())))]
        weights = file["models"][name]
        shapes = [tuple(state["exp_avg"].shape) for state in file["optimizers"][name]["state"].values()]
        parameters = [n for n in weights if not n.endswith((".kernel", ".noise", "w_avg"))]
        assert shapes == [tuple(weights[n].shape) for n in parameters]


def test_basicsr_has_a_list_and_mmgeneration_a_dict(run_cli: Any, training: Any, tmp_path: Path) -> None:
    result = run_cli("convert", training[0], tmp_path / "b.pt", "--to", "basicsr-stylegan2")
    assert "from a file of its own" in " ".join((result.stdout + result.stderr).split())
    file = torch.load(tmp_path / "b.pt", weights_only=True)
    assert [len(state["param_groups"]) for state in file["optimizers"]] == [1, 1]
    assert run_cli("convert", training[0], tmp_path / "m.pt", "--to", "mmgen-stylegan2").code == 0
    assert set(torch.load(tmp_path / "m.pt", weights_only=True)["optimizer"]) == {"generator", "discriminator"}
    result = run_cli("convert", training[0], tmp_path / "d.pt", "--to", "basicsr-stylegan2", "--network", "D")
    assert "expects behind another one" in " ".join((result.stdout + result.stderr).split())


def test_a_mapping_network_that_learns_slowly_does_so_by_its_constants_elsewhere(run_cli: Any, tmp_path: Path) -> None:
    """rosinality's StyleGAN1 gives it a group with a hundredth of the rate, huangzh13's a multiplier."""
    family = next(family for family in FAMILIES if family.id == "rosinality-hook")
    source = with_optimizer(family, family.namings[0], tmp_path)
    accept = ("--accept", "bias_before_blur", "--accept", "w_avg")
    result = run_cli("convert", source, tmp_path / "there.pt", "--to", "huangzh13-stylegan", *accept)
    assert result.code == 0, result.stderr
    told = " ".join((result.stdout + result.stderr).split())
    assert "init_block.bias of the target starts without a state" in told
    assert "the learning rate that most of its layers need" in told
    assert "--keep-trajectory" not in told  # which convert does not have
    (group,) = torch.load(tmp_path / "there.pt", weights_only=True)["gen_optim"]["param_groups"]
    before = torch.load(source, weights_only=True)["g_optimizer"]["param_groups"]
    assert (group["lr"], "mult" in group) == (before[0]["lr"], False)
    assert run_cli("convert", tmp_path / "there.pt", tmp_path / "back.pt", "--to", "rosinality-hook", *accept).code == 0
    after = torch.load(tmp_path / "back.pt", weights_only=True)["g_optimizer"]["param_groups"]
    assert [group["params"] for group in after] == [group["params"] for group in before]
    assert [group["lr"] for group in after] == pytest.approx([group["lr"] for group in before])
    assert [group.get("mult") for group in after] == [None, 0.01]


def test_an_optimizer_without_a_counterpart_is_left_out(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Discriminator(WIDTHS, "resnet")
    optimizer = torch.optim.Adadelta(network.parameters())
    step(network, optimizer)
    torch.save({"D": network.state_dict(), "D_optim": optimizer.state_dict()}, tmp_path / "d.pt")
    result = run_cli("convert", tmp_path / "d.pt", tmp_path / "x.pt", "--to", "rosinality-stylegan2")
    assert result.code == 0
    assert "Adadelta" in result.stdout + result.stderr
    assert "d_optim" not in torch.load(tmp_path / "x.pt", weights_only=True)


def test_an_average_that_lies_beside_its_network_is_used_and_not_called_left_out(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    raw, average = Generator(WIDTHS, "skip").state_dict(), Generator(WIDTHS, "skip").state_dict()
    raw["mapping.w_avg"], average["mapping.w_avg"] = torch.randn(2, *raw["mapping.w_avg"].shape)
    torch.save({"G": raw, "G_ema": average}, tmp_path / "nvidia.pt")
    assert run_cli("convert", tmp_path / "nvidia.pt", tmp_path / "there.pt", "--to", "mmgen-stylegan2").code == 0
    result = run_cli("convert", tmp_path / "there.pt", tmp_path / "back.pt", "--to", "nvidia-stylegan2-ada")
    assert "left out" not in result.stdout + result.stderr
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert torch.equal(back["G"]["mapping.w_avg"], raw["mapping.w_avg"])
    assert torch.equal(back["G_ema"]["mapping.w_avg"], average["mapping.w_avg"])
