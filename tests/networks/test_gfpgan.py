"""GFPGAN, equalized and clean: both read as the same canonical parameters, each checked against its own class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eqlr_tools.networks import gfpgan
from tests.networks.test_stylegan2 import parameters, read
from tests.oracles import Oracle


@pytest.mark.parametrize(("project", "resampling"), [("gfpgan-v1", "fir"), ("gfpgan-clean", "bilinear")])
def test_restores_what_the_class_restored(shared_dir: Path, project: str, resampling: gfpgan.Resampling) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    network = read(oracle.files[""], "params_ema")
    image = np.asarray(oracle.truth.get_tensor("net.params_ema.input.img"), dtype=np.float64)
    expected = oracle.truth.get_tensor("net.params_ema.output_f64")
    restored = gfpgan.restore(parameters(network), image, resampling=resampling)
    np.testing.assert_allclose(restored, expected, atol=1e-12 * abs(expected).max())


def test_bake_to_clean_has_the_clean_names_and_computes_the_same(
    run_cli: Any, shared_dir: Path, tmp_path: Path
) -> None:
    source = shared_dir / "oracles" / "gfpgan-v1" / "checkpoint.pth"
    clean = tmp_path / "clean.pth"
    result = run_cli("bake", source, clean, "--to", "clean", "-f", "json")
    assert result.code == 0
    assert json.loads(result.stdout)["operation"] == "bake"
    reference = torch.load(shared_dir / "oracles" / "gfpgan-clean" / "checkpoint.pth", weights_only=True)["params_ema"]
    written = torch.load(clean, weights_only=True)["params_ema"]
    assert {n: tuple(t.shape) for n, t in written.items()} == {n: tuple(t.shape) for n, t in reference.items()}
    image = np.random.default_rng(1).uniform(-1, 1, (1, 3, 32, 32))
    before, after = parameters(read(source, "params_ema")), parameters(read(clean, "params_ema"))
    expected = gfpgan.restore(before, image, resampling="bilinear")
    np.testing.assert_allclose(gfpgan.restore(after, image), expected, atol=1e-6 * abs(expected).max())


def test_clean_and_back(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "oracles" / "gfpgan-v1" / "checkpoint.pth"
    there, back = tmp_path / "there.pth", tmp_path / "back.pth"
    assert run_cli("bake", source, there, "--to", "clean").code == 0
    assert run_cli("convert", there, back, "--to", "gfpgan-v1").code == 0
    before, after = (torch.load(path, weights_only=True)["params_ema"] for path in (source, back))
    assert before.keys() == after.keys()
    for name, values in before.items():
        torch.testing.assert_close(after[name], values, rtol=2.5e-7, atol=0, msg=name)


def test_one_latent_for_all_layers(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    """`different_w=False`, the classes' own default: the last linear layer is as wide as the styles."""
    state = torch.load(shared_dir / "oracles" / "gfpgan-v1" / "checkpoint.pth", weights_only=True)["params_ema"]
    width = state["stylegan_decoder.style_conv1.modulated_conv.modulation.weight"].shape[1]
    state |= {f"final_linear.{part}": state[f"final_linear.{part}"][:width].clone() for part in ("weight", "bias")}
    source, clean, back = tmp_path / "source.pth", tmp_path / "clean.pth", tmp_path / "back.pth"
    torch.save({"params_ema": state}, source)
    assert run_cli("bake", source, clean, "--to", "clean").code == 0
    assert run_cli("convert", clean, back, "--to", "gfpgan-v1").code == 0
    for name, values in torch.load(back, weights_only=True)["params_ema"].items():
        torch.testing.assert_close(values, state[name], rtol=2.5e-7, atol=0, msg=name)
    refused = run_cli("export", source, tmp_path / "x.onnx")
    assert refused.code == 2
    assert "one latent for all layers" in refused.stderr


def test_clean_form_of_a_basicsr_generator(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "oracles" / "basicsr-stylegan2" / "checkpoint.pth"
    clean = tmp_path / "clean.pth"
    assert run_cli("bake", source, clean, "--to", "clean").code == 0
    before, after = (torch.load(path, weights_only=True)["params_ema"] for path in (source, clean))
    root = 2**0.5
    torch.testing.assert_close(
        after["style_convs.0.bias"], root * before["style_convs.0.activate.bias"][None, :, None, None]
    )
    torch.testing.assert_close(after["style_convs.0.weight"], root * before["style_convs.0.weight"])
    torch.testing.assert_close(after["style_mlp.3.weight"], before["style_mlp.2.weight"] * root * 0.01 / 24**0.5)
    torch.testing.assert_close(after["style_mlp.3.bias"], before["style_mlp.2.bias"] * root * 0.01)
    weight = "style_convs.0.modulated_conv.weight"
    torch.testing.assert_close(after[weight], before[weight] / (24 * 9) ** 0.5)


def test_other_forms_are_refused(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "oracles" / "rosinality-stylegan2" / "checkpoint.pt"
    assert run_cli("bake", source, tmp_path / "x.pt", "--to", "clean").code == 2
    assert run_cli("bake", source, tmp_path / "x.pt", "--to", "cleaner").code == 2
