"""Whole modules of the RMS family hold the scales that a state dict lacks: nothing is asked, nothing approximate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from tests.conftest import Result


class Wrapped(nn.Module):
    """A convolution whose input is multiplied by the rms of its initial weights, kept under a project's name."""

    def __init__(self, attribute: str, i: int, o: int, k: int = 3, as_number: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, bias=not bias)
        if bias:
            self.bias = nn.Parameter(torch.randn(o))
        with torch.no_grad():
            scale = self.conv.weight.square().mean().sqrt()
            self.conv.weight /= scale
        setattr(self, attribute, np.float64(scale.item()) if as_number else scale)


def _deepsound(as_number: bool) -> nn.Module:
    net = nn.Module()
    net.block0 = nn.Module()
    for name, i, o, k in (("c1", 16, 12, 4), ("c2", 12, 12, 3), ("toRGB", 12, 3, 1)):
        setattr(net.block0, name, Wrapped("c", i, o, k, as_number))
    net.linear = nn.Linear(12, 1)
    return net


def _nashory() -> nn.Module:
    net = nn.Module()
    net.model = nn.Sequential()
    net.model.add_module("first_block", nn.Sequential(nn.ReLU(), Wrapped("scale", 16, 12, 4, bias=True)))
    net.model.add_module("to_rgb_block", nn.Sequential(Wrapped("scale", 12, 3, 1, bias=True)))
    return net


def _scales(net: nn.Module) -> dict[str, Any]:
    wrappers = ((path, module) for path, module in net.named_modules() if isinstance(module, Wrapped))
    return {f"{path}.conv.weight": float(getattr(m, "c", getattr(m, "scale", 0))) for path, m in wrappers}


@pytest.mark.parametrize(
    "net", [_deepsound(True), _deepsound(False), _nashory()], ids=["numbers", "tensors", "nashory"]
)
def test_scales_of_a_whole_module_are_exact(net: nn.Module, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    source, target = tmp_path / "network-snapshot-generator-000040.dat", tmp_path / "baked.safetensors"
    torch.save(net, source)
    told = run_cli("explain", source)
    assert told.code == 0
    assert "rms-progan-modules" in told.stdout
    assert "approximate" not in told.stdout
    result = run_cli("bake", source, target)
    assert result.code == 0, result.stderr
    baked, scales = load_file(target), _scales(net)
    assert set(scales) <= set(baked)
    for name, tensor in net.state_dict().items():
        wanted = tensor.numpy().astype(np.float64) * scales.get(name, 1.0)
        assert np.abs(baked[name] - wanted).max() <= 1e-6 * np.abs(wanted).max(), name
    assert run_cli("bake", target, tmp_path / "again.safetensors").code == 3


def test_a_state_dict_of_the_same_network_is_asked_about(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    torch.save(_nashory().state_dict(), tmp_path / "gen.pt")
    result = run_cli("bake", tmp_path / "gen.pt", tmp_path / "out.pt")
    assert result.code == 2
    assert "--gain" in result.stderr
