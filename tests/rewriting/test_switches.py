"""A baked file says that it is plain, where its project has a setting for that, and an equalized one says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def _akanimax(tmp_path: Path) -> Path:
    """A file as pro_gan_pytorch 3 writes it: networks with their configuration beside the state dict."""
    torch.manual_seed(0)
    state = {
        "layers.0.conv_1.weight": torch.randn(16, 16, 4, 4),
        "layers.0.conv_1.bias": torch.randn(16),
        "layers.0.conv_2.weight": torch.randn(16, 16, 3, 3),
        "layers.0.conv_2.bias": torch.randn(16),
        "layers.1.conv_1.weight": torch.randn(8, 16, 3, 3),
        "layers.1.conv_1.bias": torch.randn(8),
        "layers.1.conv_2.weight": torch.randn(8, 8, 3, 3),
        "layers.1.conv_2.bias": torch.randn(8),
        "rgb_converters.0.weight": torch.randn(3, 16, 1, 1),
        "rgb_converters.0.bias": torch.randn(3),
        "rgb_converters.1.weight": torch.randn(3, 8, 1, 1),
        "rgb_converters.1.bias": torch.randn(3),
    }
    conf = {"depth": 3, "num_channels": 3, "latent_size": 16, "use_eql": True}
    path = tmp_path / "akanimax.bin"
    torch.save({name: {"conf": dict(conf), "state_dict": state} for name in ("generator", "shadow_generator")}, path)
    return path


def test_use_eql_goes_off_and_on_again(run_cli: Any, tmp_path: Path) -> None:
    source, baked, back = _akanimax(tmp_path), tmp_path / "baked.pt", tmp_path / "back.pt"
    assert run_cli("bake", source, baked, "--network", "generator").code == 0
    written = torch.load(baked, weights_only=True)
    assert (written["generator"]["conf"]["use_eql"], written["shadow_generator"]["conf"]["use_eql"]) == (False, True)
    assert (
        written["generator"]["state_dict"].keys()
        == torch.load(source, weights_only=True)["generator"]["state_dict"].keys()
    )
    assert run_cli("equalize", baked, back, "--to", "akanimax-progan", "--network", "generator").code == 0
    again = torch.load(back, weights_only=True)
    assert again["generator"]["conf"]["use_eql"] is True


def test_a_shared_setting_changes_with_all_networks_only(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "oracles" / "fb-gan-zoo-pgan" / "checkpoint.pt"
    assert run_cli("bake", source, tmp_path / "all.pt").code == 0
    assert torch.load(tmp_path / "all.pt", weights_only=True)["config"]["equalizedlR"] is False
    result = run_cli("bake", source, tmp_path / "one.pt", "--network", "avgG")
    assert result.code == 0
    assert torch.load(tmp_path / "one.pt", weights_only=True)["config"]["equalizedlR"] is True
    assert run_cli("equalize", tmp_path / "all.pt", tmp_path / "back.pt", "--to", "fb-gan-zoo").code == 0
    assert torch.load(tmp_path / "back.pt", weights_only=True)["config"]["equalizedlR"] is True
