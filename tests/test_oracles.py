"""Every oracle whose family is supported bakes to the project's own effective weights and layer outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.cli import main
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
    "huangzh13-stylegan": "huangzh13-stylegan",
    "imaginaire-scaledlr": "imaginaire-scaledlr",
    "labml-stylegan2": "labml-stylegan2",
    "nvidia-stylegan2-ada": "nvidia-stylegan2-ada",
    "nvidia-stylegan3-t": "nvidia-stylegan3",
}
NOT_EQUALIZED = [
    "lucidrains-stylegan2",
    "gfpgan-clean",
    "plain-dcgan",
    "plain-embeddings",
    "plain-spectral-norm",
    "plain-weight-norm",
]
MOSTLY_NOT_PLAIN = (
    "huangzh13-stylegan",
    "imaginaire-scaledlr",
    "labml-stylegan2",
    "nvidia-stylegan2-ada",
    "nvidia-stylegan3-t",
)
"""Most of their recorded layers resample, normalise or gate beside the affine part; their weights are all checked."""

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


@dataclass
class Baker:
    """Bakes each file of an oracle once per suffix, however many networks are looked at in it."""

    folder: Path
    done: dict[tuple[Path, str], Path] = field(default_factory=dict)

    def __call__(self, source: Path, suffix: str) -> Path:
        key = (source, suffix)
        if key not in self.done:
            target = self.folder / f"{len(self.done)}{suffix}"
            assert main(["bake", str(source), str(target), "--quiet"]) == 0, source
            self.done[key] = target
        return self.done[key]


@pytest.fixture(scope="module")
def bake(tmp_path_factory: pytest.TempPathFactory) -> Baker:
    return Baker(tmp_path_factory.mktemp("baked"))


@EACH_NET
def test_layers_and_constants_are_those_of_the_project(oracle: Oracle, net: str) -> None:
    checkpoint, network = oracle.open(net)
    found = {network.key(layer.weight): layer for layer in recognise(checkpoint, network).equalized}
    expected = {entry["weight_key"]: entry for entry in oracle.layers(net)}
    assert set(found) == set(expected)
    for name, entry in expected.items():
        layer = found[name]
        assert layer.scale == pytest.approx(entry["c"], rel=1e-7 if layer.scale_tensors else 1e-12)
        if not layer.scale_tensors:
            assert layer.fan_in == entry["fan"]
            assert layer.gain * layer.lr_multiplier == pytest.approx(entry["gain"] * entry["lr"])
        if entry["bias_key"] and entry["bias_factor"] is not None:
            bias = layer.bias if layer.bias is None else network.key(layer.bias)
            if entry.get("bias_outside"):
                assert layer.bias_scale == entry["bias_factor"] == 1.0
            else:
                assert bias == entry["bias_key"]
                assert layer.bias_scale == pytest.approx(entry["bias_factor"], rel=1e-12)


@EACH_NET
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_bake_gives_the_recorded_weights_and_outputs(oracle: Oracle, net: str, suffix: str, bake: Baker) -> None:
    target = bake(oracle.files[oracle.file_and_path(net)[0]], suffix)
    network = oracle.network(net, open_checkpoint(target))
    tensors = {network.key(name): tensor for name, tensor in network.tensors.items()}
    values = {name: tensor.values().astype(np.float64) for name, tensor in tensors.items() if tensor.dtype.is_float}
    outputs_checked = outputs_recorded = 0
    for entry in oracle.layers(net):
        weight_name = oracle.baked_name(entry)
        weight = values[weight_name]
        bias_name = (entry["bias_key"] or "").removesuffix("_ori")
        bias = values[bias_name] if bias_name else None
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
    needed = 1 if oracle.folder.name in MOSTLY_NOT_PLAIN else (outputs_recorded + 1) // 2
    assert outputs_checked >= min(needed, outputs_recorded)


@EACH_NET
def test_what_is_not_equalized_stays_as_it_is(oracle: Oracle, net: str, bake: Baker) -> None:
    checkpoint, network = oracle.open(net)
    after = oracle.network(net, open_checkpoint(bake(checkpoint.path, ".safetensors")))
    baked = {after.key(name): tensor for name, tensor in after.tensors.items()}
    before = {network.key(name): tensor for name, tensor in network.tensors.items()}
    constants = {network.key(n) for layer in recognise(checkpoint, network).equalized for n in layer.scale_tensors}
    kept = [*oracle.untouched(net), *(entry["weight_key"] for entry in oracle.self_normalised(net))]
    for key in kept:
        if key in constants:
            assert key not in baked
        else:
            assert baked[key].bits().tobytes() == before[key].bits().tobytes(), key


@EACH_NET
def test_equalizing_the_baked_file_gives_the_checkpoint_back(
    oracle: Oracle, net: str, bake: Baker, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    checkpoint, _ = oracle.open(net)
    again = tmp_path / "again.pt"
    assert run_cli("equalize", bake(checkpoint.path, ".pt"), again).code == 0
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
