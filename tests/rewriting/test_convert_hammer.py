"""Hammer's StyleGAN2 holds NVIDIA's tensors under genforce's names: nothing is turned, added to or multiplied.

Its PGGAN is genforce's, but for the name of the discriminator's last layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.nvidia import Discriminator, Generator
from tests.onnx_export.graphs import run
from tests.oracles import relative_error
from tests.progan import projects
from tests.progan.projects import normal

WIDTHS = {4: 6, 8: 5, 16: 4}
LAYERS = {
    "layer0": "b4.conv1",
    "layer1": "b8.conv0",
    "layer2": "b8.conv1",
    "layer3": "b16.conv0",
    "layer4": "b16.conv1",
}


def generator(state: dict[str, Tensor], structure: str) -> dict[str, Tensor]:
    """What Hammer's generator has of this."""
    found = {"w_avg": state["mapping.w_avg"], "synthesis.early_layer.const": state["synthesis.b4.const"][None]}
    for kind in ("weight", "bias"):
        found[f"mapping.embedding.{kind}"] = state[f"mapping.embed.{kind}"]
        found |= {f"mapping.dense{i}.{kind}": state[f"mapping.fc{i}.{kind}"] for i in (0, 1)}
    outputs = {f"output{n}": f"b{size}.torgb" for n, size in enumerate(WIDTHS) if structure == "skip" or size == 16}
    for ours, theirs in (LAYERS | outputs).items():
        layer = f"synthesis.{theirs}"
        for kind in ("weight", "bias"):
            found[f"synthesis.{ours}.{kind}"] = state[f"{layer}.{kind}"]
            found[f"synthesis.{ours}.style.{kind}"] = state[f"{layer}.affine.{kind}"]
        if ours.startswith("layer"):
            found[f"synthesis.{ours}.noise_strength"] = state[f"{layer}.noise_strength"]
            found[f"synthesis.{ours}.noise"] = state[f"{layer}.noise_const"][None, None]
    filtered = ["layer1", "layer3", *(["residual1", "residual2"] if structure == "resnet" else [])]
    found |= {f"synthesis.{layer}.filter": state["synthesis.b4.resample_filter"] for layer in filtered}
    if structure == "resnet":
        found |= {f"synthesis.residual{n}.weight": state[f"synthesis.b{4 << n}.skip.weight"] for n in (1, 2)}
    if structure == "skip":
        found["synthesis.filter"] = state["synthesis.b4.resample_filter"]
    return found


def discriminator(state: dict[str, Tensor], structure: str) -> dict[str, Tensor]:
    layers = {"layer0": "b16.conv0", "layer1": "b16.conv1", "layer2": "b8.conv0", "layer3": "b8.conv1"}
    layers |= {"layer4": "b4.conv", "layer5": "b4.fc", "output": "b4.out", "embedding": "mapping.embed"}
    layers |= {"mapping0": "mapping.fc0", "mapping1": "mapping.fc1", "input0": "b16.fromrgb"}
    if structure == "skip":
        layers |= {"input1": "b8.fromrgb", "input2": "b4.fromrgb"}
    found = {
        f"{ours}.{kind}": state[f"{theirs}.{kind}"] for ours, theirs in layers.items() for kind in ("weight", "bias")
    }
    filtered = ["layer1.", "layer3.", *(["residual0.", "residual1."] if structure == "resnet" else [])]
    filtered += [""] if structure == "skip" else []
    found |= {f"{layer}filter": state["b16.conv1.resample_filter"] for layer in filtered}
    if structure == "resnet":
        found |= {f"residual{n}.weight": state[f"b{16 >> n}.skip.weight"] for n in (0, 1)}
    return found


@pytest.mark.parametrize("structure", ["skip", "resnet", "orig"])
def test_hammer_holds_nvidias_tensors_as_they_are(run_cli: Any, tmp_path: Path, structure: str) -> None:
    torch.manual_seed(0)
    state = Generator(WIDTHS, structure, labels=3).state_dict()
    critic = Discriminator(WIDTHS, structure, labels=3).state_dict()
    torch.save({"G_ema": state, "D": critic}, tmp_path / "nvidia.pt")
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    result = run_cli("convert", tmp_path / "nvidia.pt", there, "--to", "hammer-stylegan2")
    assert result.code == 0, result.stderr
    written = torch.load(there, weights_only=True)["models"]
    expected = {"generator_smooth": generator(state, structure), "discriminator": discriminator(critic, structure)}
    for network, tensors in expected.items():
        assert written[network].keys() == tensors.keys()
        for name, values in tensors.items():
            torch.testing.assert_close(written[network][name], values, rtol=0.0, atol=0.0, msg=name)
    assert run_cli("verify", tmp_path / "nvidia.pt", there).code == 0
    assert run_cli("convert", there, back, "--to", "nvidia-stylegan2-ada").code == 0
    again = torch.load(back, weights_only=True)
    assert all(torch.equal(again["G_ema"][name], values) for name, values in state.items())
    assert all(torch.equal(again["D"][name], values) for name, values in critic.items())


def test_pggan_is_genforces(run_cli: Any, tmp_path: Path) -> None:
    """Also while the generator, which goes by genforce's name, is genforce's already."""
    source, there, back = tmp_path / "hammer.pt", tmp_path / "there.pt", tmp_path / "back.pt"
    critic, generator = projects.genforce_discriminator(), projects.genforce_generator(fused=False)
    renamed = {name.replace("layer6", "output"): values for name, values in critic.items()}
    state = {"generator": generator, "generator_smooth": generator, "discriminator": renamed}
    torch.save({"models": state}, source)
    for before, after, family in ((source, there, "genforce-pggan"), (there, back, "hammer-pggan")):
        result = run_cli("convert", before, after, "--to", family)
        assert result.code == 0, result.stderr
        assert run_cli("verify", before, after).code == 0
    between, again = (torch.load(path, weights_only=True) for path in (there, back))
    for network, tensors in {**state, "discriminator": critic}.items():
        assert between[network].keys() == tensors.keys()
        assert again["models"][network].keys() == state[network].keys()
        assert all(torch.equal(between[network][name], values) for name, values in tensors.items())
        assert all(torch.equal(again["models"][network][name], values) for name, values in state[network].items())
    assert run_cli("convert", there, tmp_path / "x.pt", "--to", "genforce-pggan").code == 2


def test_pggans_discriminator_is_exported_as_its_code_computes(run_cli: Any, tmp_path: Path) -> None:
    state = projects.genforce_discriminator()
    torch.save({name.replace("layer6", "output"): values for name, values in state.items()}, tmp_path / "x.pt")
    assert run_cli("export", tmp_path / "x.pt", tmp_path / "x.onnx").code == 0
    image = normal("image", 4, 3, 16, 16)
    expected = projects.genforce_discriminate(state, image).numpy()
    assert relative_error(run(tmp_path / "x.onnx", image=image.numpy()), expected) < 1e-5
