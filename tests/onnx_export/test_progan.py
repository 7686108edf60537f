"""The graphs of ProGAN and BMSG-GAN compute what the projects' own classes computed, or the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models import aladdin_state
from tests.onnx_export.graphs import run
from tests.oracles import Oracle, relative_error

FADED = ("--resolution", "16", "--alpha", "0.7")


@pytest.mark.parametrize(
    ("folder", "net", "arguments"),
    [
        ("aladdin-progan", "gen", FADED),
        ("aladdin-progan", "critic", FADED),
        ("fb-gan-zoo-pgan", "avgG", ()),
        ("fb-gan-zoo-pgan", "netG", ("--network", "netG")),
        ("fb-gan-zoo-pgan", "netD", ("--network", "netD")),
    ],
)
def test_oracles_through_the_whole_network(
    shared_dir: Path, tmp_path: Path, run_cli, folder: str, net: str, arguments: tuple[str, ...]
) -> None:
    oracle = Oracle(shared_dir / "oracles" / folder)
    target = tmp_path / "x.onnx"
    result = run_cli("export", oracle.files[oracle.file_and_path(net)[0]], target, *arguments)
    assert result.code == 0, result.stderr
    (name,) = (key for key in oracle.truth_names if key.startswith(f"net.{net}.input."))
    given = oracle.truth.get_tensor(name)
    inputs = {"image": given} if given.shape[-1] > 1 and given.ndim == 4 else {"z": given.reshape(len(given), -1)}
    assert relative_error(run(target, **inputs), oracle.truth.get_tensor(f"net.{net}.output")) < 1e-5


@pytest.mark.parametrize(
    "arguments",
    [(), ("--image", "uint8"), ("--precision", "fp16"), ("--resolution", "4"), ("--opset", "13", "--alpha", "0.3")],
)
def test_every_form_agrees_with_the_reference(
    samples: Path, tmp_path: Path, run_cli, arguments: tuple[str, ...]
) -> None:
    result = run_cli("export", samples / "progan_digits.pth.tar", tmp_path / "x.onnx", *arguments)
    assert result.code == 0, result.stderr
    z = np.random.default_rng(0).standard_normal((5, 32)).astype(np.float32)
    assert len(run(tmp_path / "x.onnx", z=z)) == 5


@pytest.mark.parametrize("arguments", [("--resolution", "64"), ("--split",), ("--noise", "random")])
def test_what_it_has_not_is_refused(samples: Path, tmp_path: Path, run_cli, arguments: tuple[str, ...]) -> None:
    assert run_cli("export", samples / "progan_digits.pth.tar", tmp_path / "x.onnx", *arguments).code == 2


@pytest.mark.parametrize("arguments", [(), ("--precision", "fp16"), ("--alpha", "0.4"), ("--resolution", "4")])
def test_the_critic_of_the_sample_is_exported(
    samples: Path, tmp_path: Path, run_cli, arguments: tuple[str, ...]
) -> None:
    result = run_cli("export", samples / "progan_digits_critic.pth.tar", tmp_path / "x.onnx", *arguments)
    assert result.code == 0, result.stderr
    assert run_cli("sample", tmp_path / "x.onnx", "-o", tmp_path / "x.png").code == 2


def test_a_network_that_amplifies_rounding_is_held_to_what_float32_can_reach(tmp_path: Path, run_cli) -> None:
    state = aladdin_state(0, channels=6)
    # Pixels that are nearly alike, and colours that are the differences: what is lost in the sum cannot come back.
    last = max(name for name in state if name.startswith("prog_blocks.") and name.endswith(".bias"))
    colour = max(name for name in state if name.startswith("rgb_layers.") and name.endswith(".conv.weight"))
    state[last] = state[last] + 1e4
    state[colour] = (state[colour] - state[colour].mean(1, keepdim=True)) * 1e4
    torch.save({"state_dict": state}, tmp_path / "g.pt")
    result = run_cli("export", tmp_path / "g.pt", tmp_path / "x.onnx")
    assert result.code == 0, result.stderr
    assert "amplifies rounding errors" in result.stdout
    # Half precision is no part of the bargain.
    assert run_cli("export", tmp_path / "g.pt", tmp_path / "half.onnx", "--precision", "fp16").code == 1
    assert not (tmp_path / "half.onnx").exists()
