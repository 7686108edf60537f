"""What is said of networks that no family knows, and of those whose own configuration says that they are plain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def test_unknown_names_with_the_size_of_equalized_weights_are_hinted_at(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save({f"stage{i}.weight": torch.randn(32, 32, 3, 3) * (0.7 + 0.2 * i) for i in range(5)}, tmp_path / "x.pt")
    result = run_cli("bake", tmp_path / "x.pt", tmp_path / "out.pt")
    said = result.stderr.replace("\n", " ")
    assert result.code == 3
    assert "the size of equalized ones" in said
    assert "--families" in said


def test_plain_networks_are_not(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(32, 32, 3) for _ in range(5)]
    torch.save(torch.nn.Sequential(*layers).state_dict(), tmp_path / "x.pt")
    result = run_cli("bake", tmp_path / "x.pt", tmp_path / "out.pt")
    assert result.code == 3
    assert "size of equalized" not in result.stderr


def test_a_configuration_that_says_no_is_named(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {"formatLayer.module.weight": torch.randn(128, 16), "formatLayer.module.bias": torch.randn(128)}
    state |= {
        "groupScale0.0.module.weight": torch.randn(8, 8, 3, 3),
        "toRGBLayers.0.module.weight": torch.randn(3, 8, 1, 1),
    }
    state |= {"scaleLayers.0.0.module.weight": torch.randn(8, 8, 3, 3)}
    torch.save({"config": {"equalizedlR": False}, "netG": state}, tmp_path / "x.pt")
    result = run_cli("bake", tmp_path / "x.pt", tmp_path / "out.pt")
    assert result.code == 3
    assert "equalizedlR = False" in result.stderr.replace("\n", " ")
