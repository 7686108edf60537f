"""Rewrites of StyleGAN2 whose code computes otherwise: labml's, lucidrains'. Against what their own code recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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
        assert "computes otherwise" in result.stderr.replace("\n", " ")
