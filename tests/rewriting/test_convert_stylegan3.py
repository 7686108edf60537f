"""StyleGAN3 between its families: there and back bit for bit, and what no tensor says is refused by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eqlr_tools.errors import InexpressibleError, UsageError
from eqlr_tools.families.catalogue import FAMILIES
from eqlr_tools.networks import stylegan3
from eqlr_tools.rewriting.canonical import CanonicalNetwork
from eqlr_tools.rewriting.limits import refuse_inexpressible
from eqlr_tools.rewriting.stylegan3_form import stated_form
from tests.networks.test_stylegan2 import parameters, read
from tests.oracles import Oracle, relative_error
from tests.rewriting.test_convert import tensors

SOURCE = "oracles/nvidia-stylegan3-t/checkpoint.pkl"
GENERATORS = ("--network", "G", "--network", "G_ema")
TARGETS = [
    ("plain", "generator_ema"),
    ("hammer-stylegan3", "models.generator_smooth"),
    ("mmgen-stylegan3", "generator_ema"),
]


@pytest.mark.parametrize(("family", "network"), TARGETS)
def test_there_and_back_is_exact_and_computes_the_recorded_images(
    run_cli: Any, shared_dir: Path, tmp_path: Path, family: str, network: str
) -> None:
    oracle = Oracle(shared_dir / "oracles" / "nvidia-stylegan3-t")
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    assert run_cli("convert", shared_dir / SOURCE, there, "--to", family, *GENERATORS).code == 0
    found = read(there, network)
    z = np.asarray(oracle.truth.get_tensor("net.G_ema.input.z"), dtype=np.float64)
    image = stylegan3.generate(parameters(found), stated_form(found), z)
    assert relative_error(image, oracle.truth.get_tensor("net.G_ema.output")) < 2e-6
    assert run_cli("convert", there, back, "--to", "nvidia-stylegan3").code == 0
    for name in ("G_ema", "G"):
        before, after = tensors(shared_dir / SOURCE, name), tensors(back, name)
        assert before.keys() == after.keys()
        for key, values in before.items():
            np.testing.assert_allclose(after[key], values, rtol=2.5e-7, atol=0, err_msg=key)


def test_the_discriminator_goes_along(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    assert run_cli("convert", shared_dir / SOURCE, there, "--to", "plain").code == 0
    assert "generator_ema" in torch.load(there, weights_only=True)
    assert run_cli("convert", there, back, "--to", "nvidia-stylegan3").code == 0
    assert run_cli("verify", shared_dir / SOURCE, back).code == 0
    same = run_cli("verify", shared_dir / SOURCE, there, "--network", "D", "--network", "discriminator")
    assert same.code == 0


def test_hammers_grid_is_that_of_the_input(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    """Torch's own affine_grid, over the pixels of an input of 36 at 16 per width of the image."""
    target = tmp_path / "hammer.pt"
    assert run_cli("convert", shared_dir / SOURCE, target, "--to", "hammer-stylegan3", *GENERATORS).code == 0
    grid = torch.load(target, weights_only=True)["models"]["generator"]["synthesis.early_layer.grid"]
    theta = torch.eye(2, 3)[None] * (0.5 * 36 / 16)
    wanted = torch.nn.functional.affine_grid(theta, [1, 1, 36, 36], align_corners=False)
    assert torch.allclose(grid, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conv_clamp": 128}, "conv_clamp 128.0"),
        ({"output_scale": 1.0}, "output_scale 1.0"),
        ({"bandwidth": 3.0}, "bandwidth"),
        ({"padding": [8, 9, 8, 9]}, "paddings"),
    ],
)
def test_what_only_modules_state_is_refused(shared_dir: Path, change: dict[str, Any], said: str) -> None:
    changed = _changed(read(shared_dir / SOURCE, "G_ema"), change)
    family = next(family for family in FAMILIES if family.id == "mmgen-stylegan3")
    with pytest.raises(InexpressibleError, match=said):
        refuse_inexpressible(_Source(), changed, family.namings[0], family, frozenset())  # type: ignore[arg-type]
    if "conv_clamp" in change:
        accepted = frozenset(["conv_clamp"])
        refuse_inexpressible(_Source(), changed, family.namings[0], family, accepted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [{"padding": [1, "x", 1, "x"]}, {"in_size": ["wide", "wide"]}, {"up_factor": 0}, {"output_scale": "much"}]
)
def test_modules_that_state_nonsense_are_refused(shared_dir: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="do not state"):
        stated_form(_changed(read(shared_dir / SOURCE, "G_ema"), change))


def _changed(network: CanonicalNetwork, change: dict[str, Any]) -> CanonicalNetwork:
    attributes = {
        path: {key: change.get(key, value) for key, value in module.items()}
        for path, module in network.recognition.network.module_attributes.items()
    }
    inner = replace(network.recognition.network, module_attributes=attributes)
    return replace(network, recognition=replace(network.recognition, network=inner))


class _Source:
    path = Path("model.pkl")


def test_nothing_is_written_as_stylegan_xl(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    result = run_cli("convert", shared_dir / SOURCE, tmp_path / "x.pt", "--to", "stylegan-xl", *GENERATORS)
    assert result.code == 2
    assert "class embedding" in result.stderr.replace("\n", " ")


def test_stylegan_xl_is_read_and_its_embedding_refused_elsewhere(
    run_cli: Any, shared_dir: Path, tmp_path: Path
) -> None:
    state = {name: torch.from_numpy(np.array(values)) for name, values in tensors(shared_dir / SOURCE, "G_ema").items()}
    state["mapping.embed.weight"] = torch.randn(6, 9)
    state["mapping.embed_proj.weight"], state["mapping.embed_proj.bias"] = torch.randn(24, 9), torch.randn(24)
    state["mapping.fc0.weight"] = torch.randn(24, 48) * 100
    state["mapping.w_avg"] = torch.randn(6, 24)
    torch.save({"G_ema": state}, tmp_path / "xl.pt")
    network = read(tmp_path / "xl.pt", "G_ema")
    assert network.family.id == "stylegan-xl"
    assert network.parts["mapping.embedding.weight"].scale == 1
    assert network.parts["mapping.label.weight"].scale == pytest.approx(1 / 3)
    result = run_cli("convert", tmp_path / "xl.pt", tmp_path / "x.pt", "--to", "nvidia-stylegan3")
    assert result.code == 2
    assert "its structure is a class embedding" in result.stderr.replace("\n", " ")


def test_a_generator_without_its_mapping_is_no_whole_one(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    state = {name: torch.from_numpy(np.array(v)) for name, v in tensors(shared_dir / SOURCE, "G_ema").items()}
    torch.save({"G_ema": {k: v for k, v in state.items() if "mapping" not in k}}, tmp_path / "half.pt")
    result = run_cli("convert", tmp_path / "half.pt", tmp_path / "x.pt", "--to", "plain")
    assert (result.code, "mapping.fc0.weight is missing" in result.stderr.replace("\n", " ")) == (2, True)
