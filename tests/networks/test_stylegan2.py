"""StyleGAN2's canonical parameters, read from the families' files, compute what the projects' own code computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.networks import stylegan2
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_network
from eqlr_tools.rewriting.selection import Selection, recognise_all
from tests.oracles import Oracle

GENERATORS = [
    ("rosinality-stylegan2", "g_ema"),
    ("rosinality-stylegan2", "g"),
    ("basicsr-stylegan2", "params_ema"),
    ("basicsr-stylegan2", "params"),
]


def read(path: Path, network: str) -> CanonicalNetwork:
    (recognition,) = recognise_all(open_checkpoint(path), Selection(networks=(network,)))
    found = canonical_network(recognition)
    assert found is not None
    assert not found.leftover
    return found


def parameters(network: CanonicalNetwork) -> dict[str, np.ndarray]:
    return {name: network.values(name) for name in network.parts}


@pytest.mark.parametrize(("project", "name"), GENERATORS)
def test_generator_computes_the_recorded_images(shared_dir: Path, project: str, name: str) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    network = read(oracle.files[""], name)
    z = np.asarray(oracle.truth.get_tensor(f"net.{name}.input.z"), dtype=np.float64)
    expected = oracle.truth.get_tensor(f"net.{name}.output_f64")
    np.testing.assert_allclose(stylegan2.generate(parameters(network), z), expected, atol=1e-12 * abs(expected).max())


@pytest.mark.parametrize("name", ["G_ema", "G"])
def test_nvidia_generator(shared_dir: Path, name: str) -> None:
    oracle = Oracle(shared_dir / "oracles" / "nvidia-stylegan2-ada")
    network = read(oracle.files[""], name)
    z = np.asarray(oracle.truth.get_tensor(f"net.{name}.input.z"), dtype=np.float64)
    expected = oracle.truth.get_tensor(f"net.{name}.output")
    images = stylegan2.generate(parameters(network), z, clamp=256)
    np.testing.assert_allclose(images, expected, atol=1e-5 * abs(expected).max())


def test_nvidia_discriminator(shared_dir: Path) -> None:
    oracle = Oracle(shared_dir / "oracles" / "nvidia-stylegan2-ada")
    network = read(oracle.files[""], "D")
    image = np.asarray(oracle.truth.get_tensor("net.D.input.img"), dtype=np.float64)
    expected = oracle.truth.get_tensor("net.D.output")
    np.testing.assert_allclose(stylegan2.discriminate(parameters(network), image), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("project", "file", "stored", "name"),
    [("rosinality-stylegan2", "", "d", "d"), ("basicsr-stylegan2", "net_d.pth", "params", "net_d")],
)
def test_discriminator_computes_the_recorded_logits(
    shared_dir: Path, project: str, file: str, stored: str, name: str
) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    network = read(oracle.files[file], stored)
    image = np.asarray(oracle.truth.get_tensor(f"net.{name}.input.img"), dtype=np.float64)
    expected = oracle.truth.get_tensor(f"net.{name}.output_f64")
    np.testing.assert_allclose(stylegan2.discriminate(parameters(network), image), expected, rtol=1e-11)


def test_depth_is_told_from_names(shared_dir: Path) -> None:
    network = read(shared_dir / "oracles" / "rosinality-stylegan2" / "checkpoint.pt", "g_ema")
    assert (network.depth.resolution, network.depth.mapping_layers, network.depth.labels) == (16, 8, False)
    assert stylegan2.resolutions(network.parts) == [4, 8, 16]
    assert network.lr_multiplier == 0.01
