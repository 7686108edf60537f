"""Every oracle whose family is supported bakes to the project's own effective weights and layer outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.registry import recognise
from tests.conftest import Result, find_shared
from tests.oracles import Oracle, relative_error
from tests.plain_layers import run_layer

FAMILY_OF = {
    "rosinality-stylegan2": "rosinality-stylegan2",
    "basicsr-stylegan2": "basicsr-stylegan2",
    "gfpgan-v1": "gfpgan-v1",
    "aladdin-progan": "aladdin-progan",
    "aladdin-stylegan": "aladdin-stylegan",
    "fb-gan-zoo-pgan": "fb-gan-zoo",
    "rosinality-stylegan1": "rosinality-hook",
}
NOT_EQUALIZED = [
    "lucidrains-stylegan2",
    "gfpgan-clean",
    "plain-dcgan",
    "plain-embeddings",
    "plain-spectral-norm",
    "plain-weight-norm",
]
TOLERANCE = 1e-6


@pytest.fixture
def oracle(request: pytest.FixtureRequest, shared_dir: Path) -> Oracle:
    folder = shared_dir / "oracles" / request.param
    if not folder.is_dir():
        pytest.skip(f"the oracle {request.param} is not here")
    return Oracle(folder)


def nets_of(name: str) -> list[str]:
    shared = find_shared()
    return list(Oracle(shared / "oracles" / name).record["networks"]) if shared else ["(absent)"]


EACH_NET = pytest.mark.parametrize(
    ("oracle", "net"), [(name, net) for name in FAMILY_OF for net in nets_of(name)], indirect=["oracle"]
)


@EACH_NET
def test_layers_and_constants_are_those_of_the_project(oracle: Oracle, net: str) -> None:
    checkpoint, network = oracle.open(net)
    found = {layer.weight: layer for layer in recognise(checkpoint, network).equalized}
    expected = {entry["weight_key"]: entry for entry in oracle.layers(net)}
    assert set(found) == set(expected)
    for name, entry in expected.items():
        layer = found[name]
        assert layer.scale == pytest.approx(entry["c"], rel=1e-12)
        assert layer.fan_in == entry["fan"]
        assert layer.gain * layer.lr_multiplier == pytest.approx(entry["gain"] * entry["lr"])
        if entry["bias_key"] and entry["bias_factor"] is not None:
            assert layer.bias == entry["bias_key"]
            assert layer.bias_scale == pytest.approx(entry["bias_factor"], rel=1e-12)


@EACH_NET
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_bake_gives_the_recorded_weights_and_outputs(
    oracle: Oracle, net: str, suffix: str, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    source = oracle.files[oracle.file_and_path(net)[0]]
    target = tmp_path / f"baked{suffix}"
    result = run_cli("bake", source, target)
    assert result.code == 0, result.stderr

    baked = oracle.network(net, open_checkpoint(target)).tensors
    values = {name: tensor.values().astype(np.float64) for name, tensor in baked.items() if tensor.dtype.is_float}
    outputs_checked = outputs_recorded = 0
    for entry in oracle.layers(net):
        weight_name = entry.get("baked_key", entry["weight_key"])
        weight = values[weight_name]
        bias = values[entry["bias_key"]] if entry["bias_key"] else None
        expected = oracle.array(net, entry.get("alias_of") or entry["path"], "weight_eff")
        assert expected is not None
        assert relative_error(weight, expected) < TOLERANCE, weight_name
        expected_bias = oracle.array(net, entry["path"], "bias_eff")
        if bias is not None and expected_bias is not None:
            assert relative_error(bias, expected_bias) < TOLERANCE, entry["bias_key"]
        output = oracle.array(net, entry["path"], "output")
        if output is None:
            continue
        outputs_recorded += 1
        inputs = [oracle.array(net, entry["path"], name) for name in ("input", "input1")]
        found = run_layer(entry, [x for x in inputs if x is not None], weight, bias, values)
        if found is not None:
            assert relative_error(found, output) < TOLERANCE, entry["path"]
            outputs_checked += 1
    assert outputs_checked * 2 >= outputs_recorded


@EACH_NET
def test_what_is_not_equalized_stays_as_it_is(
    oracle: Oracle, net: str, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    checkpoint, network = oracle.open(net)
    target = tmp_path / "baked.safetensors"
    assert run_cli("bake", checkpoint.path, target).code == 0
    baked = oracle.network(net, open_checkpoint(target)).tensors
    untouched = oracle.untouched(net)
    for key in untouched:
        assert baked[key].bits().tobytes() == network.tensors[key].bits().tobytes(), key


@EACH_NET
def test_equalizing_the_baked_file_gives_the_checkpoint_back(
    oracle: Oracle, net: str, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    checkpoint, _ = oracle.open(net)
    plain, again = tmp_path / "plain.pt", tmp_path / "again.pt"
    assert run_cli("bake", checkpoint.path, plain).code == 0
    assert run_cli("equalize", plain, again).code == 0
    result = run_cli("verify", checkpoint.path, again)
    assert result.code == 0, result.stdout


@pytest.mark.parametrize("oracle", NOT_EQUALIZED, indirect=True)
def test_traps_are_not_equalized_and_bake_refuses_them(
    oracle: Oracle, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    checkpoint = open_checkpoint(oracle.files[""])
    for network in checkpoint.networks:
        recognition = recognise(checkpoint, network)
        assert recognition.family == "plain"
        assert not recognition.equalized
    result = run_cli("bake", checkpoint.path, tmp_path / "out.pt")
    assert result.code == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("oracle", ["gfpgan-clean"], indirect=True)
def test_clean_gfpgan_is_said_to_be_baked_already(
    oracle: Oracle, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    result = run_cli("bake", oracle.files[""], tmp_path / "out.pt")
    assert "gfpgan-clean" in result.stderr
    assert "already" in result.stderr


@pytest.mark.parametrize("oracle", ["aladdin-progan"], indirect=True)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_aliased_tensors_stay_aliased(
    oracle: Oracle, suffix: str, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    target = tmp_path / f"baked{suffix}"
    assert run_cli("bake", oracle.files[""], target).code == 0
    tensors = open_checkpoint(target).networks[0].tensors
    assert tensors["initial_rgb.conv.weight"].storage is tensors["rgb_layers.0.conv.weight"].storage
    assert tensors["rgb_layers.0.conv.weight"].storage is not tensors["rgb_layers.1.conv.weight"].storage
