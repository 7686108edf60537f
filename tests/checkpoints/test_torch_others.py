"""Torch's other formats: whole modules, optimizer objects, torch 0.1's tar, TorchScript, torch.export, shards."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import tarfile
import typing
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import UnreadableError
from tests.conftest import Result


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
        self.tied = self.body[3]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def trained() -> tuple[Net, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    net(torch.randn(5, 3, 4, 4)).square().mean().backward()
    optimizer.step()
    return net, optimizer


def assert_state(checkpoint: Checkpoint, network: str, expected: dict[str, torch.Tensor]) -> None:
    found = next(each for each in checkpoint.networks if each.name == network)
    assert list(found.tensors) == list(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found.tensors[name].values(), tensor.numpy(), err_msg=name)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickled_module_is_its_state_dict(tmp_path: Path, zipped: bool) -> None:
    net, _ = trained()
    torch.save(net, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    checkpoint = open_checkpoint(tmp_path / "net.pt")
    assert_state(checkpoint, "model", net.state_dict())
    assert checkpoint.networks[0].module_attributes["body.0"]["in_channels"] == 3
    # One module under two names is one storage.
    tensors = checkpoint.networks[0].tensors
    assert tensors["tied.weight"].storage is tensors["body.3.weight"].storage


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_older_stream_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    net, _ = trained()
    file = tmp_path / "net.pt"
    torch.save(net.state_dict(), file, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert_state(open_checkpoint(file), "model", net.state_dict())


@pytest.mark.parametrize("protocol", [2, 4])
def test_values_beside_weights_that_only_look_like_calls(tmp_path: Path, protocol: int) -> None:
    """Generators of random numbers, typed configurations: data, whose classes have functions that rebuild them."""
    net, _ = trained()
    extra = {
        "generators": [np.random.default_rng(0), random.Random(0), torch.Generator()],
        "types": [typing.List[int], typing.Dict[str, float]],  # noqa: UP006 - what configurations of that time hold.
        "rest": (..., b"", bytearray(b"abc")),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    }
    file = tmp_path / "net.pt"
    torch.save({"state_dict": net.state_dict(), "extra": extra}, file, pickle_protocol=protocol)
    assert_state(open_checkpoint(file), "state_dict", net.state_dict())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickled_optimizer_is_its_state_dict(tmp_path: Path, zipped: bool) -> None:
    net, optimizer = trained()
    torch.save({"net": net, "optim": optimizer}, tmp_path / "all.pt", _use_new_zipfile_serialization=zipped)
    checkpoint = open_checkpoint(tmp_path / "all.pt")
    assert checkpoint.optimizers == (("optim",),)
    found, expected = checkpoint.tree["optim"], optimizer.state_dict()
    assert found["param_groups"][0]["params"] == expected["param_groups"][0]["params"]
    assert found["param_groups"][0]["betas"] == (0.9, 0.999)
    assert list(found["state"]) == list(expected["state"])
    for number, moments in expected["state"].items():
        np.testing.assert_array_equal(found["state"][number]["exp_avg"].values(), moments["exp_avg"].numpy())


def test_views_share_their_storage_in_the_oldest_streams(tmp_path: Path) -> None:
    """Before torch 0.4 a storage could be a view of another; torch still reads it."""
    values = np.arange(12, dtype="<f4")
    stream = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return obj.identifier if isinstance(obj, _Persistent) else None

    for head in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
        pickle.dump(head, stream, protocol=2)
    storage = _Persistent(("storage", torch.FloatStorage, "7", "cpu", 12, ("8", 4, 6)))
    tensor = _Reduced(torch._utils._rebuild_tensor, (storage, 1, (2, 2), (2, 1)))
    Pickler(stream, protocol=2).dump(OrderedDict(weight=tensor))
    pickle.dump(["7"], stream, protocol=2)
    stream.write(struct.pack("<q", 12) + values.tobytes())
    path = tmp_path / "view.pt"
    path.write_bytes(stream.getvalue())
    expected = torch.load(path, weights_only=False)["weight"].numpy()
    np.testing.assert_array_equal(expected, [[5, 6], [7, 8]])
    np.testing.assert_array_equal(open_checkpoint(path).networks[0].tensors["weight"].values(), expected)


class _Persistent:
    def __init__(self, identifier: Any) -> None:
        self.identifier = identifier


class _Reduced:
    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.parts = (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def tar_file(path: Path, *, cut: int = 0) -> np.ndarray:
    """Write what torch 0.1 wrote for {"state_dict": OrderedDict(weight=Parameter), "epoch": 3}."""
    values = np.arange(20, dtype="<f4")
    storages = pickle.dumps(1, 2) + pickle.dumps((101, "cpu", torch.FloatStorage), 2)
    storages += struct.pack("<q", 20) + values.tobytes()
    storages += pickle.dumps([(102, 101, 10, 6)], 2)
    tensors = pickle.dumps(2, 2)
    for key, storage, shape, strides, offset in [(201, 101, (2, 4), (4, 1), 2), (202, 102, (3, 2), (1, 3), 0)]:
        tensors += pickle.dumps((key, storage, torch.FloatTensor), 2) + struct.pack("<ii", len(shape), 0)
        tensors += struct.pack("<5q", *shape, *strides, offset)

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return obj.identifier if isinstance(obj, _Persistent) else None

    main = io.BytesIO()
    parameter = _Reduced(nn.Parameter, (_Persistent("201"),))
    state = OrderedDict(weight=parameter, other=_Persistent("202"))
    Pickler(main, protocol=2).dump({"state_dict": state, "epoch": 3})
    members = {"storages": storages[: len(storages) - cut], "tensors": tensors, "pickle": main.getvalue()}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return values


def test_the_tar_files_of_torch_0_1(tmp_path: Path) -> None:
    path = tmp_path / "old.pth.tar"
    values = tar_file(path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.container == "torch tar"
    assert checkpoint.tree["epoch"] == 3
    torch_says = torch.load(path, weights_only=False)["state_dict"]
    assert_state(checkpoint, "state_dict", {name: tensor.detach() for name, tensor in torch_says.items()})
    np.testing.assert_array_equal(checkpoint.networks[0].tensors["weight"].values(), values[2:10].reshape(2, 4))
    np.testing.assert_array_equal(checkpoint.networks[0].tensors["other"].values()[:, 1], values[13:16])


def test_a_damaged_or_foreign_tar_is_refused(tmp_path: Path) -> None:
    tar_file(tmp_path / "cut.tar", cut=40)
    with pytest.raises(UnreadableError):
        open_checkpoint(tmp_path / "cut.tar")
    with tarfile.open(tmp_path / "foreign.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("model.pt"), io.BytesIO(b""))
    with pytest.raises(UnreadableError, match="not one that torch wrote"):
        open_checkpoint(tmp_path / "foreign.tar")


def test_torchscript_weights(tmp_path: Path) -> None:
    net, _ = trained()
    torch.jit.script(net).save(str(tmp_path / "net.jit"))
    checkpoint = open_checkpoint(tmp_path / "net.jit")
    assert checkpoint.container == "torchscript"
    found = checkpoint.networks[0].tensors
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(found[name].values(), tensor.numpy(), err_msg=name)


def test_torch_export_weights(tmp_path: Path) -> None:
    net, _ = trained()
    net.eval()
    net.register_buffer("view", torch.randn(4, 3).t())
    net.register_buffer("narrow", torch.randn(3).to(torch.bfloat16))
    net.register_buffer("count", torch.tensor(3))
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 4, 4),)), tmp_path / "net.pt2")
    checkpoint = open_checkpoint(tmp_path / "net.pt2")
    assert checkpoint.container == "torch export"
    found = checkpoint.networks[0].tensors
    assert found.keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(found[name].values(), tensor.float().numpy(), err_msg=name)
    assert found["body.0.weight"].parameter
    assert not found["view"].parameter


def test_scan_says_what_of_an_exported_program_is_not_read(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(4, 4)
            self.constant = torch.ones(4)  # Neither a parameter nor a buffer: torch.export makes it a constant.

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) + self.constant

    program = torch.export.export(Net(), (torch.zeros(1, 4),))
    torch.export.save(program, tmp_path / "net.pt2")
    torch.jit.trace(Net(), torch.zeros(1, 4)).save(str(tmp_path / "net.jit"))
    shown = run_cli("scan", tmp_path / "net.pt2").stdout
    assert "weights alone: the exported program, constants, sample inputs of the archive are not read" in " ".join(
        shown.split()
    )
    records = json.loads(run_cli("scan", tmp_path, "-f", "json").stdout)["checkpoints"]
    assert {record["container"]: record["left_out"] for record in records} == {
        "torch export": "weights alone: the exported program, constants, sample inputs of the archive are not read",
        "torchscript": "its code is not read",
    }


def test_lightning_and_the_whole_of_a_training_file(tmp_path: Path) -> None:
    net, optimizer = trained()
    data = {
        "epoch": 3,
        "global_step": 7,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": net.state_dict(),
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "x"}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 1e-3, "gain": 1.0},
    }
    torch.save(data, tmp_path / "epoch.ckpt")
    checkpoint = open_checkpoint(tmp_path / "epoch.ckpt")
    assert_state(checkpoint, "state_dict", net.state_dict())
    assert checkpoint.optimizers == (("optimizer_states", 0),)
    assert checkpoint.tree["hyper_parameters"] == {"lr": 1e-3, "gain": 1.0}


def test_bin_shards_with_an_index(tmp_path: Path) -> None:
    state = trained()[0].state_dict()
    names = list(state)
    parts = {"pytorch_model-00001-of-00002.bin": names[:4], "pytorch_model-00002-of-00002.bin": names[4:]}
    for file, keys in parts.items():
        torch.save({key: state[key] for key in keys}, tmp_path / file)
    index = tmp_path / "pytorch_model.bin.index.json"
    weight_map = {key: file for file, keys in parts.items() for key in keys}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    for path in (index, tmp_path):
        checkpoint = open_checkpoint(path)
        assert checkpoint.container == "torch shards"
        assert_state(checkpoint, "model", {name: state[name] for name in weight_map})


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_numpy_text_and_numbers_beside_weights(tmp_path: Path, protocol: int) -> None:
    data = {
        "w": np.arange(6.0).reshape(2, 3),
        "long": np.arange(100_000, dtype=np.float32),
        "empty": np.zeros((0, 3)),
        "fortran": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "permuted": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        "names": np.array(["cat", "dog"]),
        "step": np.int64(7),
        "label": np.str_("ä"),
        "rate": np.complex128(1 + 2j),
    }
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(data, protocol))
    checkpoint = open_checkpoint(tmp_path / "x.pkl")
    (network,) = checkpoint.networks
    assert list(network.tensors) == ["w", "long", "empty", "fortran", "permuted"]
    for name in network.tensors:
        np.testing.assert_array_equal(network.tensors[name].values(), data[name])
    assert (checkpoint.tree["step"], checkpoint.tree["label"], checkpoint.tree["rate"]) == (7, "ä", 1 + 2j)
