"""Learning-rate multipliers of mapping networks on the way into another layout, where no file can state them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

ROSINALITY = "oracles/rosinality-stylegan2/checkpoint.pt"


def slowed(shared_dir: Path, tmp_path: Path, multipliers: dict[str, float]) -> tuple[Path, dict[str, Any]]:
    """The oracle's networks with other multipliers and the same effective weights; and how they are at 0.01."""
    file = torch.load(shared_dir / ROSINALITY, weights_only=False)
    usual = {name: dict(file[name]) for name in multipliers}
    networks = {
        name: {
            key: value * (0.01 / multipliers[name]) if key.startswith("style.") else value
            for key, value in state.items()
        }
        for name, state in usual.items()
    }
    torch.save(networks, tmp_path / "source.pt")
    return tmp_path / "source.pt", usual


def stated(run_cli: Any, shared_dir: Path, tmp_path: Path, multiplier: float) -> Path:
    """A file of genforce whose configuration says the multiplier."""
    source, _ = slowed(shared_dir, tmp_path, {"g_ema": 0.01})
    assert run_cli("convert", source, tmp_path / "genforce.pt", "--to", "genforce-stylegan2").code == 0
    file = torch.load(tmp_path / "genforce.pt", weights_only=True)
    state = file["generator_smooth"]
    for key in [key for key in state if key.startswith("mapping.")]:
        state[key] = state[key] * (0.01 / multiplier)
    torch.save({**file, "kwargs": {"mapping_lr_mul": multiplier}}, tmp_path / "genforce.pt")
    return tmp_path / "genforce.pt"


@pytest.mark.parametrize("multiplier", [0.02, 0.1])
def test_a_stated_multiplier_becomes_the_default_of_the_target(
    run_cli: Any, shared_dir: Path, tmp_path: Path, multiplier: float
) -> None:
    source, target = stated(run_cli, shared_dir, tmp_path, multiplier), tmp_path / "target.pt"
    result = run_cli("convert", source, target, "--to", "rosinality-stylegan2")
    assert result.code == 0
    told = " ".join((result.stdout + result.stderr).split())
    assert f"multiplier {multiplier:g} becomes 0.01" in told
    usual = torch.load(shared_dir / ROSINALITY, weights_only=False)["g_ema"]
    for name, values in torch.load(target, weights_only=True)["g_ema"].items():
        torch.testing.assert_close(values, usual[name], rtol=3e-7, atol=1e-7, msg=name)
    assert run_cli("verify", source, target).code == 0
    kept = run_cli("convert", source, target, "--to", "rosinality-stylegan2", "--lr-multiplier", multiplier, "--force")
    assert f"multiplier {multiplier:g}: construct the target with it" in " ".join((kept.stdout + kept.stderr).split())


def test_an_inferred_multiplier_stays_network_by_network_and_is_told(
    run_cli: Any, shared_dir: Path, tmp_path: Path
) -> None:
    source, _ = slowed(shared_dir, tmp_path, {"g": 0.1, "g_ema": 0.01})
    target, back = tmp_path / "target.pt", tmp_path / "back.pt"
    result = run_cli("convert", source, target, "--to", "nvidia-stylegan2-ada")
    assert result.code == 0, result.stderr
    told = " ".join((result.stdout + result.stderr).split())
    assert "network g: its mapping has the learning-rate multiplier 0.1: construct the target with it" in told
    assert "network g_ema: its mapping" not in told
    assert run_cli("verify", source, target).code == 0
    assert run_cli("convert", target, back, "--to", "rosinality-stylegan2").code == 0
    before, after = (torch.load(path, weights_only=True) for path in (source, back))
    for network in before:
        assert all(torch.equal(values, after[network][name]) for name, values in before[network].items())
