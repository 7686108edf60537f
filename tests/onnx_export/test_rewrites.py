"""Rewrites of StyleGAN2 whose code computes otherwise: labml's, lucidrains'. Against what their own code recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.nvidia import Discriminator, Generator
from tests.onnx_export.graphs import run
from tests.oracles import Oracle, relative_error

TOLERANCE = 1e-5


def test_labml_from_z_to_image(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    """Its mapping network is a state dict of its own; every size has one w; the noise is given."""
    oracle = Oracle(shared_dir / "oracles" / "labml-stylegan2")
    target = tmp_path / "g.onnx"
    assert run_cli("export", oracle.files[""], target, "--split", "--input", "w+", "--noise", "input").code == 0
    w = run(tmp_path / "g.mapping.onnx", z=oracle.truth.get_tensor("net.mapping_network.input.z"))
    expected = oracle.truth.get_tensor("net.mapping_network.output")
    assert w.shape[1] == 3
    for place in range(3):
        assert relative_error(w[:, place], expected) < TOLERANCE
    layers = ["b4_conv1", "b8_conv0", "b8_conv1", "b16_conv0", "b16_conv1"]
    noise = {f"noise_{n}": oracle.truth.get_tensor(f"net.generator.input.noise{i}") for i, n in enumerate(layers)}
    places = np.ascontiguousarray(oracle.truth.get_tensor("net.generator.input.w").transpose(1, 0, 2))
    image = run(tmp_path / "g.synthesis.onnx", w_plus=places, **noise)
    assert relative_error(image, oracle.truth.get_tensor("net.generator.output")) < TOLERANCE


def test_labml_without_its_mapping_network_starts_from_w(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    state = torch.load(Oracle(shared_dir / "oracles" / "labml-stylegan2").files[""], weights_only=True)
    torch.save(state["generator"], tmp_path / "g.pt")
    refused = run_cli("export", tmp_path / "g.pt", tmp_path / "g.onnx")
    assert (refused.code, "--input w" in refused.stderr) == (2, True)
    assert run_cli("export", tmp_path / "g.pt", tmp_path / "g.onnx", "--input", "w").code == 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_labml_discriminator(run_cli: Any, shared_dir: Path, tmp_path: Path, precision: str) -> None:
    oracle = Oracle(shared_dir / "oracles" / "labml-stylegan2")
    target, chosen = tmp_path / "d.onnx", ("--network", "discriminator", "--precision", precision, "--min-snr", "50")
    assert run_cli("export", oracle.files[""], target, *chosen).code == 0
    logits = run(target, image=oracle.truth.get_tensor("net.discriminator.input.img"))
    tolerance = TOLERANCE if precision == "fp32" else 1e-2
    assert relative_error(logits, oracle.truth.get_tensor("net.discriminator.output")) < tolerance


def test_lucidrains_from_z_to_image(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    """Its one noise image is cropped to the size of a layer and transposed."""
    oracle = Oracle(shared_dir / "oracles" / "lucidrains-stylegan2")
    target = tmp_path / "g.onnx"
    assert run_cli("export", oracle.files[""], target, "--noise", "input").code == 0
    given = oracle.truth.get_tensor("net.GAN.input.noise")
    noise = {
        f"noise_b{size}_{conv}": np.ascontiguousarray(given[:, :size, :size].transpose(0, 3, 2, 1))
        for size in (4, 8, 16)
        for conv in ("conv0", "conv1")
    }
    image = run(target, z=oracle.truth.get_tensor("net.GAN.input.z"), **noise)
    assert relative_error(image, oracle.truth.get_tensor("net.GAN.output")) < TOLERANCE


@pytest.mark.parametrize("project", ["labml-stylegan2", "lucidrains-stylegan2"])
def test_other_families_cannot_express_them(run_cli: Any, shared_dir: Path, tmp_path: Path, project: str) -> None:
    source = Oracle(shared_dir / "oracles" / project).files[""]
    name = "generator" if project.startswith("labml") else "GAN"
    for family in ("rosinality-stylegan2", "plain"):
        result = run_cli("convert", source, tmp_path / "x.pt", "--to", family, "--network", name)
        assert result.code == 2
        said = " ".join(result.stderr.split())
        assert "compute otherwise what no tensor says (the gain of activations: 1 here, 1.414 there; " in said
    if project.startswith("labml"):
        result = run_cli("convert", source, tmp_path / "x.pt", "--to", "plain")
        assert (result.code, "known for export only" in " ".join(result.stderr.split())) == (2, True)


WIDTHS = {4: 12, 8: 10, 16: 8}


def sahlman_generator(network: Generator) -> dict[str, Any]:
    """A file as adriansahlman/stylegan2_pytorch writes it: each network with its arguments."""
    mapping = {
        f"main.{i}.{'layer.weight' if part == 'weight' else part}": network.state_dict()[f"mapping.fc{i}.{part}"]
        for i in (0, 1)
        for part in ("weight", "bias")
    }
    synthesis: dict[str, torch.Tensor] = {"const": network.synthesis.b4.const.data}
    kernel = network.synthesis.b4.resample_filter[None, None]
    for index, size in enumerate(WIDTHS):
        block = getattr(network.synthesis, f"b{size}")
        layers = [block.conv1] if size == 4 else [block.conv0, block.conv1]
        for number, layer in enumerate(layers):
            name = f"conv_blocks.{index}.conv_block.{number}"
            synthesis[f"{name}.bias"] = layer.bias.data
            synthesis[f"{name}.layer.weight"] = layer.noise_strength.data.reshape(1)
            synthesis[f"{name}.layer.layer.weight"] = layer.weight.data
            synthesis[f"{name}.layer.layer.dense.bias"] = layer.affine.bias.data
            synthesis[f"{name}.layer.layer.dense.layer.weight"] = layer.affine.weight.data
            if layer.up:
                synthesis[f"{name}.layer.layer.filter.filter_kernel"] = kernel * 4
        colour, name = block.torgb, f"to_data_layers.{index}"
        synthesis[f"{name}.bias"] = colour.bias.data
        synthesis[f"{name}.layer.weight"] = colour.weight.data
        synthesis[f"{name}.layer.dense.bias"] = colour.affine.bias.data
        synthesis[f"{name}.layer.dense.layer.weight"] = colour.affine.weight.data
    synthesis |= {"upsample.weight": torch.ones(1, 1, 1, 1), "upsample.filter.filter_kernel": kernel * 4}
    return {
        "name": "Generator",
        "kwargs": {"dlatent_avg_beta": 0.995},
        "state_dict": {"dlatent_avg": network.mapping.w_avg},
        "G_mapping": {"name": "GeneratorMapping", "kwargs": {"lr_mul": 0.01}, "state_dict": mapping},
        "G_synthesis": {"name": "GeneratorSynthesis", "kwargs": {}, "state_dict": synthesis},
    }


def sahlman_discriminator(network: Discriminator) -> dict[str, torch.Tensor]:
    state, kernel = {}, network.b16.conv0.resample_filter[None, None]

    def wrapped(name: str, layer: torch.nn.Module) -> None:
        state[f"{name}.bias"], state[f"{name}.layer.weight"] = layer.bias.data, layer.weight.data

    for index, size in enumerate(sorted(WIDTHS, reverse=True)[:-1]):
        block = getattr(network, f"b{size}")
        wrapped(f"conv_blocks.{index}.conv_block.0", block.conv0)
        wrapped(f"conv_blocks.{index}.conv_block.1", block.conv1)
        state[f"conv_blocks.{index}.conv_block.1.layer.filter.filter_kernel"] = kernel
        state[f"conv_blocks.{index}.projection.weight"] = block.skip.weight.data
        state[f"conv_blocks.{index}.projection.filter.filter_kernel"] = kernel
    wrapped("conv_blocks.2.1.conv_block.0", network.b4.conv)
    wrapped("from_data_layers.0", network.b16.fromrgb)
    wrapped("dense.0", network.b4.fc)
    wrapped("dense.1", network.b4.out)
    return state


def quiet_generator() -> Generator:
    """Without the noise images, which such files do not hold."""
    torch.manual_seed(3)
    network = Generator(WIDTHS, "skip")
    for name, buffer in network.named_buffers():
        if name.endswith("noise_const"):
            buffer.zero_()
    return network


def images(network: torch.nn.Module, *inputs: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(network(*inputs))


@pytest.mark.parametrize("psi", [1.0, 0.5])
def test_sahlmans_generator(run_cli: Any, tmp_path: Path, psi: float) -> None:
    """Its mapping network and average w are dicts of their own; its enlarged images lie a pixel off."""
    network = quiet_generator()
    network.image_pad = (3, 0)
    torch.save(sahlman_generator(network), tmp_path / "g.pth")
    result = run_cli("export", tmp_path / "g.pth", tmp_path / "g.onnx")
    assert result.code == 0, result.stderr
    z = torch.randn(3, 10)
    network.mapping.psi = psi
    image = run(tmp_path / "g.onnx", z=z.numpy(), truncation_psi=np.array(psi, np.float32))
    assert relative_error(image, images(network, z)) < TOLERANCE


def test_sahlmans_generator_in_one_dict(run_cli: Any, tmp_path: Path) -> None:
    network = quiet_generator()
    network.image_pad = (3, 0)
    file = sahlman_generator(network)
    flat = {f"{part}.{k}": v for part in ("G_mapping", "G_synthesis") for k, v in file[part]["state_dict"].items()}
    torch.save(flat | file["state_dict"], tmp_path / "g.pth")
    assert run_cli("export", tmp_path / "g.pth", tmp_path / "g.onnx").code == 0
    z = torch.randn(3, 10)
    assert relative_error(run(tmp_path / "g.onnx", z=z.numpy()), images(network, z)) < TOLERANCE
    refused = run_cli("convert", tmp_path / "g.pth", tmp_path / "x.pt", "--to", "rosinality-stylegan2")
    assert refused.code == 2
    assert "enlarging images: fir-late here, fir there" in refused.stderr.replace("\n", " ")


def test_sahlmans_discriminator(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = Discriminator(WIDTHS, "resnet")
    file = {"name": "Discriminator", "kwargs": {}, "state_dict": sahlman_discriminator(network)}
    torch.save(file, tmp_path / "d.pth")
    image = torch.randn(4, 3, 16, 16)
    assert run_cli("export", tmp_path / "d.pth", tmp_path / "d.onnx").code == 0
    assert relative_error(run(tmp_path / "d.onnx", image=image.numpy()), images(network, image)) < TOLERANCE
    # What rosinality's code would compute from it is the same, there being nothing that its form differs in.
    assert run_cli("convert", tmp_path / "d.pth", tmp_path / "ros.pt", "--to", "rosinality-stylegan2").code == 0
    assert run_cli("export", tmp_path / "ros.pt", tmp_path / "ros.onnx").code == 0
    assert relative_error(run(tmp_path / "ros.onnx", image=image.numpy()), images(network, image)) < TOLERANCE


def test_a_generator_under_an_encoder(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    """pSp and e4e: `decoder.` beside `encoder.`, and the average w once per layer."""
    oracle = Oracle(shared_dir / "oracles" / "rosinality-stylegan2")
    state = torch.load(oracle.files[""], weights_only=False)["g_ema"]
    decoder = {f"decoder.{name}": tensor for name, tensor in state.items()}
    average = torch.randn(24)
    encoder = {"encoder.input_layer.0.weight": torch.randn(8, 3, 3, 3) * 0.1}
    encoder |= {"encoder.styles.0.linear.weight": torch.randn(24, 24), "encoder.styles.0.linear.bias": torch.randn(24)}
    torch.save({"state_dict": encoder | decoder, "latent_avg": average.repeat(6, 1)}, tmp_path / "psp.pt")
    result = run_cli("export", tmp_path / "psp.pt", tmp_path / "g.onnx")
    assert result.code == 0, result.stderr
    assert "encoder.*" in result.stdout + result.stderr
    image = run(tmp_path / "g.onnx", z=oracle.truth.get_tensor("net.g_ema.input.z"))
    assert relative_error(image, oracle.truth.get_tensor("net.g_ema.output")) < TOLERANCE
    assert run_cli("convert", tmp_path / "psp.pt", tmp_path / "out.pt", "--to", "basicsr-stylegan2").code == 0
    written = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(written["latent_avg"], average)
