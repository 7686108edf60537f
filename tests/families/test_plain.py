"""What counts as a plain layer, and what `equalize` may take."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.registry import recognise

Run = Callable[..., Any]


def _layers(path: Path, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    torch.save(dict(tensors), path)
    checkpoint = open_checkpoint(str(path))
    return [layer.name for layer in recognise(checkpoint, checkpoint.networks[0]).layers]


def test_the_kernel_of_a_blur_is_no_layer(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.randn(4, 4), "a.blur.kernel": torch.ones(4, 4), "a.up.filter.kernel": torch.ones(3, 3)}
    assert _layers(tmp_path / "net.pt", tensors) == ["a"]


def test_a_kernel_is_a_layer_where_torch_wrote_nothing(tmp_path: Path) -> None:
    assert _layers(tmp_path / "net.pt", {"a.kernel": torch.randn(4, 4), "a.bias": torch.zeros(4)}) == ["a.kernel"]


def test_samples_have_no_layer_called_kernel(run_cli: Run, samples: Path) -> None:
    shown = run_cli("audit", samples / "stylegan2_digits.pt", "-f", "csv").stdout
    assert "to_rgb1.conv.modulation" in shown
    assert "kernel" not in shown


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_network_that_is_one_layer_comes_back(run_cli: Run, tmp_path: Path, suffix: str) -> None:
    plain, equalized, back = (tmp_path / f"{name}{suffix}" for name in ("plain", "equalized", "back"))
    layer = nn.ConvTranspose2d(6, 3, 2)
    torch.save(layer.state_dict(), tmp_path / "source.pt")
    assert run_cli("equalize", tmp_path / "source.pt", equalized, "--exact").code == 0
    assert run_cli("bake", equalized, plain).code == 0
    assert run_cli("equalize", plain, back, "--exact").code == 0
    found = open_checkpoint(str(plain)).networks[0].tensors
    assert {name: tensor.values().tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in layer.state_dict().items()
    }
    constant = open_checkpoint(str(back)).networks[0].tensors["parametrizations.weight.0.scale"]
    assert float(constant.values()) == 0.25  # 1 / sqrt(6 * 2 * 2), rounded to a power of two: its inputs are axis 0


def test_attention_is_equalized_by_its_output_projection_alone(run_cli: Run, tmp_path: Path) -> None:
    torch.save(nn.MultiheadAttention(8, 2).state_dict(), tmp_path / "plain.pt")
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "equalized.pt").code == 0
    names = open_checkpoint(str(tmp_path / "equalized.pt")).networks[0].tensors
    assert "in_proj_weight" in names
    assert "out_proj.parametrizations.weight.original" in names


def test_learned_constants_and_noise_strengths_are_no_layers(tmp_path: Path) -> None:
    tensors = {
        "constant_input.weight": torch.randn(1, 8, 4, 4),
        "inject_noise1.weight": torch.randn(1, 8, 1, 1),
        "to_noise.weight": torch.randn(8, 1),
        "noise.weight": torch.randn(1, 8, 3, 3),
        "noise.bias": torch.randn(1),
        "to_grey.weight": torch.randn(1, 8, 1, 1),
    }
    assert _layers(tmp_path / "net.pt", tensors) == ["to_noise", "noise", "to_grey"]


def test_half_precision_that_would_overflow_says_what_to_do(run_cli: Run, tmp_path: Path) -> None:
    weight = torch.full((4, 4096), 6e4, dtype=torch.half)
    torch.save({"a.weight": weight, "a.bias": torch.zeros(4).half()}, tmp_path / "half.pt")
    result = run_cli("equalize", tmp_path / "half.pt", tmp_path / "equalized.pt")
    assert result.code == 1
    assert "too large for their type: --exclude" in result.stderr
    assert not (tmp_path / "equalized.pt").exists()


def test_a_norm_over_several_axes_is_no_linear_layer(run_cli: Run, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.LayerNorm((4, 5)), torch.nn.LayerNorm((3, 4, 5)))
    torch.save(network.state_dict(), tmp_path / "x.pt")
    report = json.loads(run_cli("audit", tmp_path / "x.pt", "-f", "json").stdout)
    layers = report["files"][0]["networks"][0]["layers"]
    assert [layer["kind"] for layer in layers] == ["linear", "tensor", "tensor"]
