"""NVIDIA's PyTorch network pickles: read without executing the source that they embed, tensors left in the file."""

from __future__ import annotations

import io
import pickle
import sys
import tracemalloc
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.checkpoints.sources import SliceSource
from eqlr_tools.errors import ForbiddenGlobalError, UnreadableError

TRIPWIRE = 'raise RuntimeError("embedded source must never be executed")\n'


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("only its name is pickled")


class _EasyDict(dict):
    """A dict under another name, as dnnlib's."""


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
_EasyDict.__module__, _EasyDict.__qualname__ = "dnnlib.util", "EasyDict"


class _Layer(torch.nn.Module):
    """A module that pickles itself as NVIDIA's `persistent_class` does: its state beside the source of its class."""

    persistent_name = "SynthesisLayer"

    def __reduce__(self) -> Any:
        meta = _EasyDict(
            type="class", version=6, module_src=TRIPWIRE, class_name=self.persistent_name, state=dict(self.__dict__)
        )
        return (_reconstruct_persistent_obj, (meta,), None)


@pytest.fixture
def as_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the classes above be pickled under the names that NVIDIA's have."""
    for obj in (_reconstruct_persistent_obj, _EasyDict):
        stub = types.ModuleType(obj.__module__)
        setattr(stub, obj.__qualname__, obj)
        monkeypatch.setitem(sys.modules, obj.__module__, stub)
        package = obj.__module__.partition(".")[0]
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))


def _generator() -> _Layer:
    torch.manual_seed(1)
    layer, network = _Layer(), _Layer()
    network.persistent_name = "Generator"
    layer.weight = torch.nn.Parameter(torch.randn(70, 80))
    layer.bias = torch.nn.Parameter(torch.randn(70))
    layer.register_buffer("resample_filter", torch.ones(4, 4))
    layer.register_buffer("cache", torch.zeros(3), persistent=False)
    layer.weight_gain = np.float64(0.125)
    layer.size = np.array([36, 36])
    layer.conv_clamp = None
    layer.padding = [9, 8]
    layer.filter = torch.zeros(4)
    network.const = torch.nn.Parameter(torch.randn(4, 4))
    network.conv0 = layer
    network._init_kwargs = _EasyDict(z_dim=24, mapping_kwargs=_EasyDict(num_layers=2))
    return network


def _write(path: Path, protocol: int) -> _Layer:
    network = _generator()
    augment = _Layer()
    augment.register_buffer("Hz_geom", torch.ones(12))
    data = {"G": network, "G_ema": network, "augment_pipe": augment, "training_set_kwargs": _EasyDict(xflip=True)}
    with path.open("wb") as file:
        pickle.dump(data, file, protocol=protocol)
    return network


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_network_pickle_is_read_as_its_state_dict_with_attributes(tmp_path: Path, protocol: int, as_nvidia: None):
    network = _write(tmp_path / "net.pkl", protocol)
    checkpoint = open_checkpoint(tmp_path / "net.pkl")
    assert checkpoint.container == "pickle"
    assert [found.name for found in checkpoint.networks] == ["G", "G_ema"]
    found = checkpoint.networks[1]
    expected = network.state_dict()
    assert list(found.tensors) == list(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found.tensors[name].values(), tensor.numpy())
    assert checkpoint.loose.keys() == {("augment_pipe", "Hz_geom")}
    assert checkpoint.tree["training_set_kwargs"] == {"xflip": True}
    layer = found.module_attributes["conv0"]
    assert layer["__class__"] == "torch_utils.persistence.SynthesisLayer"
    assert layer["weight_gain"] == 0.125
    assert type(layer["weight_gain"]) is float
    assert (layer["size"], layer["conv_clamp"], layer["padding"]) == ([36, 36], None, [9, 8])
    assert "filter" not in layer
    assert found.module_attributes[""]["_init_kwargs"] == {"z_dim": 24, "mapping_kwargs": {"num_layers": 2}}


def test_tensors_stay_in_the_file(tmp_path: Path, as_nvidia: None):
    network = _Layer()
    network.weight = torch.nn.Parameter(torch.randn(1500, 2000))
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"G_ema": network}))
    tracemalloc.start()
    checkpoint = open_checkpoint(tmp_path / "net.pkl")
    tensor = checkpoint.networks[0].tensors["weight"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(tensor.values()[-1], network.weight.detach().numpy()[-1])
    assert tensor.nbytes == 12_000_000
    assert isinstance(tensor.storage.source, SliceSource)
    assert peak < 1_500_000


def test_nested_files_may_be_zips(tmp_path: Path):
    buffer = io.BytesIO()
    values = torch.arange(6.0)
    torch.save(values.untyped_storage(), buffer)
    blob = buffer.getvalue()
    assert blob[:2] == b"PK"
    rebuilt = b"ctorch.storage\n_load_from_bytes\nB" + len(blob).to_bytes(4, "little") + blob + b"\x85R"
    path = tmp_path / "zip.pkl"
    path.write_bytes(
        b"\x80\x03}U\x01wctorch._utils\n_rebuild_tensor_v3\n("
        + rebuilt
        + b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89}ctorch\nfloat32\ntRs."
    )
    (network,) = open_checkpoint(path).networks
    np.testing.assert_array_equal(network.tensors["w"].values(), values.numpy().reshape(2, 3))


@pytest.mark.parametrize("depth", [2, 400])
def test_a_nested_file_may_not_nest_another(tmp_path: Path, depth: int):
    blob = b"\x80\x02K\x01."
    for _ in range(depth):
        inner = b"ctorch.storage\n_load_from_bytes\nB" + len(blob).to_bytes(4, "little") + blob + b"\x85R."
        blob = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}." + b"\x80\x03" + inner
    path = tmp_path / "nested.pkl"
    path.write_bytes(b"\x80\x03" + inner)
    with pytest.raises((ForbiddenGlobalError, UnreadableError)):
        open_checkpoint(path)


def test_a_module_that_holds_itself_a_billion_times_is_refused(tmp_path: Path):
    """Twenty modules, each ten times in the next one."""
    module = b"ctorch.nn\nModule\n)\x81}(X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_modules}("
    body = b"\x80\x03" + module + b"uub" + b"r\x00\x00\x00\x000"
    for level in range(20):
        previous = b"j" + level.to_bytes(4, "little")
        children = b"".join(b"X\x01\x00\x00\x00" + bytes([97 + i]) + previous for i in range(10))
        body += module + children + b"uub" + b"r" + (level + 1).to_bytes(4, "little") + b"0"
    path = tmp_path / "bomb.pkl"
    path.write_bytes(body + b"j" + (20).to_bytes(4, "little") + b".")
    with pytest.raises(UnreadableError, match="too often"):
        open_checkpoint(path)


@pytest.mark.parametrize("oracle", ["nvidia-stylegan2-ada", "nvidia-stylegan3-t"])
def test_the_tripwire_pickles_are_listed_and_audited(shared_dir: Path, run_cli: Callable, oracle: str):
    path = shared_dir / "oracles" / oracle / "checkpoint.pkl"
    names = {network.name: len(network.tensors) for network in open_checkpoint(path).networks}
    assert names == (
        {"G": 68, "D": 28, "G_ema": 68} if oracle == "nvidia-stylegan2-ada" else {"G": 58, "D": 37, "G_ema": 58}
    )
    for command in ("scan", "explain", "audit"):
        result = run_cli(command, path)
        assert result.code == 0, result.stderr
        assert "G_ema" in result.stdout
