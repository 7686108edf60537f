"""The sample checkpoints: really trained files that the whole job is done on, images included."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.conftest import SAMPLES, Result


def load_models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample_models", SAMPLES / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sample_models"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "family", "networks"),
    [
        ("progan_digits.pth.tar", "aladdin-progan", ["state_dict"]),
        ("progan_digits_critic.pth.tar", "aladdin-progan", ["state_dict"]),
        ("stylegan2_digits.pt", "rosinality-stylegan2", ["g", "d", "g_ema"]),
        ("dcgan_digits.pt", "plain", ["netG", "netD"]),
    ],
)
def test_scan(name: str, family: str, networks: list[str], run_cli: Callable[..., Result]) -> None:
    report = json.loads(run_cli("scan", SAMPLES / name, "-f", "json").stdout)
    (checkpoint,) = report["checkpoints"]
    assert checkpoint["family"] == family
    assert [network["name"] for network in checkpoint["networks"]] == networks
    assert bool(checkpoint["optimizers"]) == (family != "plain")


@pytest.mark.parametrize(
    ("name", "network", "cls"),
    [
        ("progan_digits.pth.tar", "state_dict", "ProGANGenerator"),
        ("progan_digits_critic.pth.tar", "state_dict", "ProGANCritic"),
        ("stylegan2_digits.pt", "g_ema", "StyleGAN2Generator"),
        ("stylegan2_digits.pt", "d", "StyleGAN2Discriminator"),
    ],
)
def test_a_baked_sample_computes_the_same_images(
    name: str, network: str, cls: str, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    assert run_cli("bake", SAMPLES / name, tmp_path / "plain.pt").code == 0
    stored = torch.load(SAMPLES / name, weights_only=False)[network]
    baked = torch.load(tmp_path / "plain.pt", weights_only=True)[network]
    make = getattr(load_models(), cls)
    equalized, plain = make().double().eval(), make(equalized=False).double().eval()
    equalized.load_state_dict(stored, strict=True)
    plain.load_state_dict(baked, strict=True)
    torch.manual_seed(0)
    channels = 1 if cls.startswith("ProGAN") else 3
    latent = (4, 32, 1, 1) if cls == "ProGANGenerator" else (4, 32)
    x = torch.randn(latent if cls.endswith("Generator") else (4, channels, 16, 16), dtype=torch.float64)
    with torch.no_grad():
        expected, found = equalized(x), plain(x)
    # The weights were rounded to float32 once; everything else here is float64.
    assert (expected - found).abs().max() <= 1e-6 * expected.abs().max()


def test_the_trained_sample_is_not_taken_for_baked(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    for name in ("progan_digits.pth.tar", "stylegan2_digits.pt"):
        assert run_cli("bake", SAMPLES / name, tmp_path / f"{name}.pt").code == 0


def test_the_plain_sample_comes_back(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    source = SAMPLES / "dcgan_digits.pt"
    assert run_cli("bake", source, tmp_path / "no.pt").code == 3
    assert run_cli("equalize", source, tmp_path / "e.safetensors", "--exact").code == 0
    assert run_cli("bake", tmp_path / "e.safetensors", tmp_path / "back.pt").code == 0
    assert run_cli("verify", source, tmp_path / "back.pt", "--max-ulp", "0").code == 0
