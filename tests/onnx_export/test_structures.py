"""NVIDIA's StyleGAN2 in all its structures, against torch modules written from the facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.nvidia import Discriminator, Generator
from tests.onnx_export.graphs import run
from tests.oracles import relative_error

ODD = {4: 7, 8: 9, 16: 5}
TOLERANCE = 1e-5


def saved(module: torch.nn.Module, path: Path) -> Path:
    torch.save(module.state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("structure", "labels", "channels", "clamp"),
    [("skip", 0, 3, None), ("resnet", 0, 1, None), ("orig", 3, 3, None), ("resnet", 2, 4, 0.7), ("skip", 4, 1, 0.5)],
)
def test_generator(run_cli: Any, tmp_path: Path, structure: str, labels: int, channels: int, clamp: float) -> None:
    torch.manual_seed(0)
    network = Generator(ODD, structure, labels=labels, channels=channels)
    network.clamp = clamp
    target = tmp_path / "g.onnx"
    chosen = () if clamp is None else ("--clamp", clamp)
    result = run_cli("export", saved(network, tmp_path / "G.pt"), target, *chosen)
    assert result.code == 0, result.stderr
    assert structure in result.stdout
    inputs = {"z": torch.randn(3, 10)}
    if labels:
        inputs["label"] = torch.eye(labels)[torch.arange(3) % labels]
    with torch.no_grad():
        expected = network(*inputs.values()).numpy()
    image = run(target, **{name: value.numpy() for name, value in inputs.items()})
    assert image.shape == (3, channels, 16, 16)
    assert relative_error(image, expected) < TOLERANCE


@pytest.mark.parametrize(
    ("structure", "labels", "channels", "maps", "clamp"),
    [
        ("resnet", 0, 3, 1, None),
        ("resnet", 3, 3, 1, 0.6),
        ("skip", 0, 1, 1, None),
        ("skip", 2, 4, 7, 0.5),
        ("orig", 0, 3, 0, None),
        ("orig", 5, 3, 0, None),
    ],
)
def test_discriminator(
    run_cli: Any, tmp_path: Path, structure: str, labels: int, channels: int, maps: int, clamp: float
) -> None:
    torch.manual_seed(0)
    network = Discriminator(ODD, structure, labels=labels, channels=channels, maps=maps)
    network.clamp = clamp
    target = tmp_path / "d.onnx"
    chosen = () if clamp is None else ("--clamp", clamp)
    result = run_cli("export", saved(network, tmp_path / "D.pt"), target, *chosen)
    assert result.code == 0, result.stderr
    for samples in (8, 4, 1):
        inputs = {"image": torch.randn(samples, channels, 16, 16)}
        if labels:
            inputs["label"] = torch.eye(labels)[torch.arange(samples) % labels]
        with torch.no_grad():
            expected = network(*inputs.values()).numpy()
        logits = run(target, **{name: value.numpy() for name, value in inputs.items()})
        assert logits.shape == expected.shape == (samples, 1)
        assert relative_error(logits, expected) < TOLERANCE


def test_half_precision_of_a_residual_generator(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = saved(Generator({4: 16, 8: 16, 16: 8}, "resnet"), tmp_path / "G.pt")
    assert run_cli("export", source, tmp_path / "g.onnx", "--precision", "fp16").code == 0


@pytest.mark.parametrize("structure", ["resnet", "orig"])
def test_conversion_keeps_the_structure_or_is_refused(run_cli: Any, tmp_path: Path, structure: str) -> None:
    torch.manual_seed(2)
    network = Generator(ODD, structure)
    source, there, back = saved(network, tmp_path / "G.pt"), tmp_path / "there.pt", tmp_path / "back.pt"
    refused = run_cli("convert", source, there, "--to", "rosinality-stylegan2")
    assert refused.code == 2
    assert f"its structure is {structure}" in refused.stderr.replace("\n", " ")
    assert run_cli("convert", source, there, "--to", "plain").code == 0
    assert run_cli("convert", there, back, "--to", "nvidia-stylegan2-ada").code == 0
    after = torch.load(back, weights_only=True)["G_ema"]
    for name, before in network.state_dict().items():
        np.testing.assert_allclose(after[name], before, rtol=2.5e-7, err_msg=name)


def test_a_network_with_more_than_the_architecture_is_not_exported(run_cli: Any, tmp_path: Path) -> None:
    state = Generator(ODD, "skip").state_dict() | {"synthesis.b8.attention.weight": torch.randn(9, 9, 1, 1)}
    torch.save(state, tmp_path / "G.pt")
    result = run_cli("export", tmp_path / "G.pt", tmp_path / "g.onnx")
    assert result.code == 2
    assert "synthesis.b8.attention.weight" in result.stderr
