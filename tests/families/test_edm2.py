"""EDM2: every row has its own constant. A bake folds them in, and a plain network computes the same."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.registry import recognise
from eqlr_tools.onnx_export.user_module import _load
from tests.checkpoints.test_network_pickles import as_nvidia
from tests.conftest import Result
from tests.families.edm2_network import CHANNELS, LABELS, SIZE, Precond, edm2, layers, made_plain

__all__ = ["as_nvidia"]

Run = Callable[..., Result]


def _inputs() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(9)
    return torch.randn(2, 3, SIZE, SIZE), torch.randn(2), torch.randn(2, LABELS)


def _saved(network: Precond, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def _read(path: Path) -> dict[str, torch.Tensor]:
    tensors = open_checkpoint(path).networks[0].tensors
    return {name: torch.from_numpy(np.array(tensor.values())) for name, tensor in tensors.items()}


def _relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    got, wanted = got.detach().double(), wanted.detach().double()
    return float((got - wanted).abs().max() / wanted.abs().max())


def test_a_plain_network_computes_the_same_with_the_baked_weights(tmp_path: Path, run_cli: Run) -> None:
    network = edm2()
    source, target = _saved(network, tmp_path / "net.pt"), tmp_path / "plain.pt"
    result = run_cli("bake", source, target)
    assert result.code == 0, result.stderr
    assert "emb_gain, out_gain" in " ".join(result.stdout.split())
    baked = torch.load(target, weights_only=True)
    stored = network.state_dict()
    assert list(baked) == list(stored)
    for name, layer in layers(network).items():
        wanted = layer.effective().detach()
        torch.testing.assert_close(baked.pop(f"{name}.weight"), wanted, rtol=1e-6, atol=0)
    for name, value in baked.items():
        assert torch.equal(value, stored[name]), name

    plain = made_plain(edm2(seed=4))
    plain.load_state_dict(torch.load(target, weights_only=True), strict=True)
    for got, wanted in zip(plain(*_inputs()), network(*_inputs()), strict=True):
        assert _relative(got, wanted) < 1e-5
    assert run_cli("verify", source, target).code == 0


def test_training_states_name_the_average_and_the_network(tmp_path: Path, run_cli: Run) -> None:
    """Moments of weights whose rows are normalised have no counterpart: they go only if that is said."""
    network, average = edm2(), edm2(seed=8)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    torch.stack([part.square().mean() for part in network(*_inputs())]).sum().backward()
    optimizer.step()
    tree = {
        "state": {"cur_nimg": 4},
        "net": network.state_dict(),
        "ema": {"stds": [0.05], "emas": [average.state_dict()]},
        "optimizer": optimizer.state_dict(),
    }
    source, target = tmp_path / "training-state.pt", tmp_path / "plain.pt"
    torch.save(tree, source)
    result = run_cli("bake", source, target)
    assert (result.code, target.exists()) == (2, False)
    assert "divided by its own size" in " ".join(result.stderr.split())
    assert "--drop-optimizer" in result.stderr
    assert run_cli("bake", source, target, "--drop-optimizer").code == 0
    baked = torch.load(target, weights_only=True)
    assert "optimizer" not in baked
    for state, original in ((baked["net"], network), (baked["ema"]["emas"][0], average)):
        for name, layer in layers(original).items():
            torch.testing.assert_close(state[f"{name}.weight"], layer.effective().detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("half", [False, True])
def test_network_pickles_keep_their_type(half: bool, tmp_path: Path, run_cli: Run, as_nvidia: None) -> None:
    network = edm2().half() if half else edm2()
    source, target = tmp_path / "net.pkl", tmp_path / "plain.safetensors"
    data: dict[str, Any] = {"ema": network, "encoder": {"type": "standard"}, "dataset_kwargs": {"resolution": SIZE}}
    source.write_bytes(pickle.dumps(data))
    result = run_cli("bake", source, target)
    assert result.code == 0, result.stderr
    assert ("stored in float16" in " ".join(result.stdout.split())) == half
    baked = _read(target)
    for name, layer in layers(network).items():
        wanted = layer.effective().detach()
        error = (baked[f"{name}.weight"] - wanted).abs()
        assert float((error / wanted.abs().clamp_min(2.0**-14)).max()) <= (2.0**-11 * 1.01 if half else 1e-6)
    assert {t.dtype.name for t in open_checkpoint(target).networks[0].tensors.values()} == {"F16" if half else "F32"}
    assert run_cli("verify", source, target).code == 0


def test_what_is_said_of_rows(tmp_path: Path, run_cli: Run) -> None:
    network = edm2()
    source = _saved(network, tmp_path / "net.pt")
    (told,) = json.loads(run_cli("explain", source, "-f", "json").stdout)["networks"]
    found = {layer["layer"]: layer for layer in told["layers"] if layer["equalized"]}
    assert set(found) == set(layers(network))
    assert {layer["c"] for layer in found.values()} == {None}
    assert found["unet.out_conv"]["formula"] == f"w = v/(0.0001 + |v_row|/√{9 * CHANNELS})/√{9 * CHANNELS}, row by row"

    (told,) = json.loads(run_cli("audit", source, "-f", "json").stdout)["files"][0]["networks"]
    for entry in told["layers"]:
        if entry["layer"] in found:
            wanted = layers(network)[entry["layer"]].effective().detach().double().square().mean().sqrt()
            assert entry["effective"]["rms"] == pytest.approx(float(wanted), rel=1e-6)
            assert entry["stored"]["rms"] > entry["effective"]["rms"]

    plan = json.loads(run_cli("bake", source, tmp_path / "x.pt", "--dry-run", "-f", "json").stdout)
    steps = {step["source"]: (step["action"], step["factor"]) for step in plan["steps"]}
    assert {steps[f"{name}.weight"] for name in found} == {("normalise", None)}
    assert steps["unet.out_gain"] == ("copy", 1.0)
    assert f"{len(found)} normalise" in run_cli("bake", source, tmp_path / "x.pt", "--dry-run").stdout


def test_a_module_of_ones_own_gets_the_effective_weights(tmp_path: Path) -> None:
    network, module = edm2(), made_plain(edm2(seed=4))
    checkpoint = open_checkpoint(_saved(network, tmp_path / "net.pt"))
    _load(module, recognise(checkpoint, checkpoint.networks[0]), checkpoint)
    for name, layer in layers(network).items():
        torch.testing.assert_close(layers(module)[name].weight, layer.effective(), rtol=1e-6, atol=0)


def test_nothing_is_baked_twice_or_put_back(tmp_path: Path, run_cli: Run) -> None:
    source, once = _saved(edm2(), tmp_path / "net.pt"), tmp_path / "once.pt"
    assert run_cli("bake", source, once).code == 0
    again = run_cli("bake", once, tmp_path / "twice.pt")
    assert again.code == 3
    assert "baked by eqlr" in again.stderr
    back = run_cli("equalize", once, tmp_path / "back.pt")
    assert back.code == 2
    assert "keeps no row's size" in " ".join(back.stderr.split())
    unrecorded = tmp_path / "unrecorded.pt"
    torch.save({name: tensor.clone() for name, tensor in torch.load(once, weights_only=True).items()}, unrecorded)
    assert run_cli("bake", unrecorded, tmp_path / "twice.pt").code == 2
    assert not (tmp_path / "twice.pt").exists()


def test_a_changed_row_is_found(tmp_path: Path, run_cli: Run) -> None:
    source, target = _saved(edm2(), tmp_path / "net.pt"), tmp_path / "plain.pt"
    assert run_cli("bake", source, target).code == 0
    state = torch.load(target, weights_only=True)
    state["unet.out_conv.weight"][1] *= 1.001
    torch.save(state, target)
    result = run_cli("verify", source, target)
    assert result.code == 1
    assert "unet.out_conv.weight" in result.stdout
    assert "1 of 21 tensors differ" in result.stdout + result.stderr


def test_a_bake_in_two_steps_is_one(tmp_path: Path, run_cli: Run) -> None:
    source = _saved(edm2(), tmp_path / "net.pt")
    assert run_cli("bake", source, tmp_path / "part.pt", "--include", "unet.out_conv").code == 0
    part = torch.load(tmp_path / "part.pt", weights_only=True)
    assert torch.equal(part["unet.emb_noise.weight"], torch.load(source, weights_only=True)["unet.emb_noise.weight"])
    rest = run_cli("bake", tmp_path / "part.pt", tmp_path / "whole.pt")
    assert rest.code == 0, rest.stderr
    assert run_cli("verify", source, tmp_path / "whole.pt").code == 0
