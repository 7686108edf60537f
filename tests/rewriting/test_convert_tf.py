"""StyleGAN2 from NVIDIA's TensorFlow pickles: the same network as the PyTorch oracle, stored as TensorFlow does."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqlr_tools.checkpoints.opening import open_checkpoint
from tests.oracles import Oracle
from tests.rewriting.test_convert import generated


class Network:
    """Pickled under the name of NVIDIA's class; only the state matters."""

    def __init__(self, name: str, variables: dict[str, Any], **more: Any) -> None:
        self.state = {"version": 4, "name": name, "variables": list(variables.items()), **more}

    def __getstate__(self) -> dict[str, Any]:
        return {"static_kwargs": {}, "build_module_src": "raise SystemExit", "build_func_name": "G_main"} | self.state


def tf_variables(stored: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(main, mapping, synthesis) variables of the PyTorch network: transposed, up-kernels flipped, styles without 1."""
    mapping = {}
    synthesis: dict[str, Any] = {"4x4/Const/const": stored["synthesis.b4.const"][None]}
    for i in range(8):
        mapping[f"Dense{i}/weight"] = stored[f"mapping.fc{i}.weight"].T
        mapping[f"Dense{i}/bias"] = stored[f"mapping.fc{i}.bias"]
    number = 0
    for size in (4, 8, 16):
        names = {"conv1": "Conv"} if size == 4 else {"conv0": "Conv0_up", "conv1": "Conv1"}
        for ours, theirs in {**names, "torgb": "ToRGB"}.items():
            here, there = f"synthesis.b{size}.{ours}", f"{size}x{size}/{theirs}"
            kernel = stored[f"{here}.weight"]
            kernel = kernel[:, :, ::-1, ::-1] if ours == "conv0" else kernel
            synthesis[f"{there}/weight"] = kernel.transpose(2, 3, 1, 0)
            synthesis[f"{there}/bias"] = stored[f"{here}.bias"]
            synthesis[f"{there}/mod_weight"] = stored[f"{here}.affine.weight"].T
            synthesis[f"{there}/mod_bias"] = stored[f"{here}.affine.bias"] - 1
            if ours != "torgb":
                synthesis[f"{there}/noise_strength"] = stored[f"{here}.noise_strength"]
                synthesis[f"noise{number}"] = stored[f"{here}.noise_const"][None, None]
                number += 1
    return {"dlatent_avg": stored["mapping.w_avg"], "lod": np.float32(0)}, mapping, synthesis


@pytest.fixture
def tf_pickle(shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = types.ModuleType("dnnlib.tflib.network")
    for name in ("dnnlib", "dnnlib.tflib"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    named = type("Network", (Network,), {"__module__": module.__name__})
    monkeypatch.setattr(module, "Network", named, raising=False)
    checkpoint = open_checkpoint(shared_dir / "oracles" / "nvidia-stylegan2-ada" / "checkpoint.pkl")
    source = next(network for network in checkpoint.networks if network.name == "G_ema")
    main, mapping, synthesis = tf_variables({name: tensor.values() for name, tensor in source.tensors.items()})
    arrays = [{name: np.array(array, order="C") for name, array in group.items()} for group in (mapping, synthesis)]
    components = {"mapping": named("G_mapping", arrays[0]), "synthesis": named("G_synthesis", arrays[1])}
    path = tmp_path / "tf.pkl"
    path.write_bytes(pickle.dumps(named("Gs", main, components=components), protocol=3))
    return path


@pytest.mark.parametrize(
    ("family", "network"),
    [
        ("rosinality-stylegan2", "g_ema"),
        ("nvidia-stylegan2-ada", "G_ema"),
        ("genforce-stylegan2", "generator_smooth"),
        ("plain", "generator_ema"),
    ],
)
def test_tensorflow_pickle_computes_the_recorded_images(
    run_cli: Any, shared_dir: Path, tf_pickle: Path, tmp_path: Path, family: str, network: str
) -> None:
    target = tmp_path / "target.pt"
    result = run_cli("convert", tf_pickle, target, "--to", family)
    assert result.code == 0, result.stderr
    oracle = Oracle(shared_dir / "oracles" / "nvidia-stylegan2-ada")
    z = np.asarray(oracle.truth.get_tensor("net.G_ema.input.z"), dtype=np.float64)
    expected = oracle.truth.get_tensor("net.G_ema.output")
    np.testing.assert_allclose(generated(target, network, z), expected, atol=1e-5 * abs(expected).max())


def test_tensorflow_is_not_written(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "oracles" / "rosinality-stylegan2" / "checkpoint.pt"
    result = run_cli("convert", source, tmp_path / "x.pkl", "--to", "nvidia-stylegan2-tf")
    assert result.code == 2
    result = run_cli("convert", source, tmp_path / "x.pt", "--to", "nvidia-stylegan2-tf")
    assert result.code == 2
    assert "does not write" in result.stderr.replace("\n", " ")
