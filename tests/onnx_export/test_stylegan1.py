"""StyleGAN1's graphs make what the projects' own classes made, in every form that the options give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.onnx_export.graphs import run
from tests.oracles import Oracle, relative_error


@pytest.mark.parametrize(
    ("project", "name", "network", "maps"),
    [
        ("rosinality-stylegan1", "g_running", "g_running", 3),
        ("rosinality-stylegan1", "generator", "generator", 3),
        ("huangzh13-stylegan", "gen_shadow", "model", 6),
        ("huangzh13-stylegan", "gen", "model", 6),
        ("aladdin-stylegan", "gen", "state_dict", 6),
    ],
)
def test_oracles_from_z_to_image_while_a_size_is_faded_in(
    shared_dir: Path, tmp_path: Path, run_cli, project: str, name: str, network: str, maps: int
) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    target = tmp_path / "generator.onnx"
    source = oracle.files[oracle.file_and_path(name)[0]]
    grown = ("--resolution", "16", "--alpha", "0.7", "--noise", "input")
    result = run_cli("export", source, target, "--network", network, *grown)
    assert result.code == 0, result.stderr
    layers = [f"b{size}{conv}" for size in (4, 8, 16) for conv in (("",) if maps == 3 else ("_conv0", "_conv1"))]
    given = [oracle.truth.get_tensor(f"net.{name}.input.noise{number}") for number in range(maps)]
    noise = {
        f"noise_{layer}": np.repeat(values, 2 // len(values), axis=0)
        for layer, values in zip(layers, given, strict=True)
    }
    image = run(target, z=oracle.truth.get_tensor(f"net.{name}.input.z"), **noise)
    assert relative_error(image, oracle.truth.get_tensor(f"net.{name}.output")) < 1e-5


@pytest.mark.parametrize(
    ("project", "name", "network"),
    [("rosinality-stylegan1", "discriminator", "discriminator"), ("huangzh13-stylegan", "dis", "model")],
)
def test_oracles_from_image_to_logits(
    shared_dir: Path, tmp_path: Path, run_cli, project: str, name: str, network: str
) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    target = tmp_path / "discriminator.onnx"
    source = oracle.files[oracle.file_and_path(name)[0]]
    result = run_cli("export", source, target, "--network", network, "--resolution", "16", "--alpha", "0.7")
    assert result.code == 0, result.stderr
    logits = run(target, image=oracle.truth.get_tensor(f"net.{name}.input.img"))
    assert relative_error(logits, oracle.truth.get_tensor(f"net.{name}.output")) < 1e-5
