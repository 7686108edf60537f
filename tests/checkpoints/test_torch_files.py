"""What torch.save writes is read without torch, and what we write torch reads with weights_only=True."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.checkpoints.sources import FileSource
from eqlr_tools.checkpoints.torch_files import ZipReader
from eqlr_tools.errors import UnreadableError
from tests.conftest import Result
from tests.models import aladdin_state, progan_file

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.uint16,
    torch.bool,
    torch.complex64,
    torch.complex128,
]


def sample(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    values = torch.arange(float(np.prod(shape))).reshape(shape) - 3
    return values.abs().to(dtype) if dtype in (torch.uint8, torch.uint16, torch.bool) else values.to(dtype)


def raw(tensor: torch.Tensor) -> bytes:
    flat = tensor.contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes()) if flat.numel() else b""


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_read_bit_for_bit(dtype: torch.dtype, zipped: bool, tmp_path: Path) -> None:
    if not zipped and dtype is torch.uint16:
        pytest.skip("torch's older format has no storage class for uint16")
    state = {"a": sample(dtype, 3, 4), "scalar": sample(dtype, 1).reshape(()), "empty": sample(dtype, 0, 2)}
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    tensors = open_checkpoint(tmp_path / "x.pt").networks[0].tensors
    for name, tensor in state.items():
        assert tensors[name].dtype.torch == str(dtype).removeprefix("torch.")
        assert tensors[name].shape == tuple(tensor.shape)
        assert tensors[name].bits().tobytes() == raw(tensor)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_survives_a_rewrite(
    dtype: torch.dtype, suffix: str, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    extra = {
        "side": {"a.x": sample(dtype, 3, 4), "scalar.x": sample(dtype, 1).reshape(()), "empty.x": sample(dtype, 0)}
    }
    source = progan_file(tmp_path / "x.pt", **extra)
    target = tmp_path / f"y{suffix}"
    result = run_cli("bake", source, target, "--network", "state_dict")
    assert result.code == 0, result.stderr
    written = {network.name: network for network in open_checkpoint(target).networks}["side"].tensors
    for name, tensor in extra["side"].items():
        assert written[name].shape == tuple(tensor.shape)
        assert written[name].bits().tobytes() == raw(tensor)
    if suffix == ".pt":
        loaded = torch.load(target, weights_only=True)["side"]
        assert all(
            raw(loaded[name]) == raw(tensor) and loaded[name].dtype == dtype for name, tensor in extra["side"].items()
        )


def test_views_of_one_storage_stay_views_of_it(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    base = torch.arange(24.0)
    side = {"flat.x": base, "rows.x": base.view(4, 6), "columns.x": base.view(4, 6).t(), "tail.x": base[20:]}
    source = progan_file(tmp_path / "x.pt", side=side)
    assert run_cli("bake", source, tmp_path / "y.pt").code == 0
    loaded = torch.load(tmp_path / "y.pt", weights_only=True)["side"]
    assert all(torch.equal(loaded[name], side[name]) for name in side)
    assert len({tensor.untyped_storage().data_ptr() for tensor in loaded.values()}) == 1
    assert loaded["columns.x"].stride() == (1, 6)
    assert run_cli("bake", source, tmp_path / "y.safetensors").code == 0
    flat = {n.name: n for n in open_checkpoint(tmp_path / "y.safetensors").networks}["side"].tensors
    assert np.array_equal(flat["columns.x"].values(), side["columns.x"].numpy())


@pytest.mark.parametrize("view", [lambda t: t.conj(), lambda t: t.conj().imag])
def test_views_that_stand_for_other_numbers_than_they_store_are_refused(
    view: Callable[[torch.Tensor], torch.Tensor], run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    torch.save({"a.weight": view(torch.ones(2, 3, dtype=torch.complex64))}, tmp_path / "view.pt")
    result = run_cli("audit", tmp_path / "view.pt")
    assert result.code == 2
    assert "a conjugated or negated view is not read: save it after resolve_conj" in result.stderr


@pytest.mark.parametrize("via", [".pt", ".safetensors"])
def test_everything_else_is_carried_over(via: str, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    extra: dict[str, Any] = {
        "history": [1.5, float("inf"), None, True],
        "nested": {"a": (1, "x"), 3: b"\x00\xff", "set": {1, 2}, "big": 1 << 80, "z": 1 + 2j, "s": torch.Size([2, 3])},
    }
    source = progan_file(tmp_path / "x.pt", **extra)
    middle, target = tmp_path / f"m{via}", tmp_path / "y.pt"
    assert run_cli("bake", source, middle).code == 0
    assert run_cli("equalize", middle, target).code == 0
    loaded = torch.load(target, weights_only=True)
    original = torch.load(source, weights_only=False)
    assert loaded["epoch"] == 7
    assert loaded["history"] == extra["history"]
    assert loaded["nested"]["a"] == (1, "x")
    assert loaded["nested"][3] == b"\x00\xff"
    assert loaded["nested"]["set"] == {1, 2}
    assert loaded["nested"]["big"] == 1 << 80
    assert loaded["nested"]["z"] == 1 + 2j
    assert loaded["nested"]["s"] == torch.Size([2, 3])
    assert loaded["args"] == vars(original["args"])
    assert loaded["optimizer"]["param_groups"] == original["optimizer"]["param_groups"]
    moments, expected = loaded["optimizer"]["state"][0], original["optimizer"]["state"][0]
    assert set(moments) == set(expected)


def test_module_prefix_is_stripped_only_in_front_and_written_back(
    run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    state = {f"module.{name}": tensor for name, tensor in aladdin_state().items()}
    torch.save({"state_dict": state}, tmp_path / "x.pt")
    network = open_checkpoint(tmp_path / "x.pt").networks[0]
    assert "initial.3.conv.weight" in network.tensors
    assert run_cli("bake", tmp_path / "x.pt", tmp_path / "y.pt").code == 0
    assert set(torch.load(tmp_path / "y.pt", weights_only=True)["state_dict"]) == set(state)


def test_parameters_stay_parameters(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    source = progan_file(tmp_path / "x.pt", side={"p.x": torch.nn.Parameter(torch.ones(3, 3))})
    assert run_cli("bake", source, tmp_path / "y.pt").code == 0
    loaded = torch.load(tmp_path / "y.pt", weights_only=True)["side"]["p.x"]
    assert isinstance(loaded, torch.nn.Parameter)
    assert loaded.requires_grad


def test_state_dict_metadata_is_kept(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(module.state_dict(), tmp_path / "x.pt")
    assert run_cli("equalize", tmp_path / "x.pt", tmp_path / "y.pt").code == 0
    assert torch.load(tmp_path / "y.pt", weights_only=True)._metadata["1"] == {"version": 2}


def test_an_archive_of_more_members_than_16_bits_count(tmp_path: Path) -> None:
    """ZIP64: the list of members is where both of its end records say."""
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(66_000):
            archive.writestr(str(number), b"")
    assert len(ZipReader(FileSource(tmp_path / "many.zip")).members) == 66_000


def test_a_tensor_that_does_not_fit_is_named(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"
    torch.save({"g_ema": {"conv1.weight": torch.randn(8, 8)}}, whole)
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(cut, "w") as shorter:
        for name in archive.namelist():
            content = archive.read(name)
            shorter.writestr(name, content[:100] if name.endswith("data/0") else content)
    with pytest.raises(
        UnreadableError, match=r"cut\.pt: a tensor of shape \(8, 8\) does not fit .* at 'conv1\.weight'"
    ):
        open_checkpoint(cut)


def test_counters_stand_beside_networks_and_inside_averages(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """As mmagic saves a training: `mean_path_length` beside the prefixes, `steps` beside the average's `module.`."""
    state = {"mean_path_length": torch.tensor(0.5), "losses.0.seen": torch.tensor(3)}
    for prefix in ("generator.", "generator_ema.module.", "discriminator."):
        state |= {f"{prefix}{name}": tensor for name, tensor in aladdin_state().items()}
    state["generator_ema.steps"] = torch.tensor(7)
    source, flat, baked = tmp_path / "x.pth", tmp_path / "flat.safetensors", tmp_path / "baked.pth"
    torch.save({"state_dict": state}, source)
    save_file({name: tensor.clone() for name, tensor in state.items()}, flat)
    for path in (source, flat):
        networks = open_checkpoint(path).networks
        assert {network.name for network in networks} == {"generator", "generator_ema", "discriminator"}
        assert all(set(network.tensors) == set(aladdin_state()) for network in networks)
    assert run_cli("bake", source, baked).code == 0
    written = torch.load(baked, weights_only=True)["state_dict"]
    assert list(written) == list(state)
    assert [written[name].item() for name in ("mean_path_length", "losses.0.seen", "generator_ema.steps")] == [
        0.5,
        3,
        7,
    ]


def test_a_weight_beside_the_prefixes_leaves_a_dict_whole(tmp_path: Path) -> None:
    state = {f"generator.{name}": tensor for name, tensor in aladdin_state().items()}
    torch.save(state | {"direction": torch.ones(2), "generator_ema.module.a": torch.ones(2)}, tmp_path / "x.pth")
    assert [network.name for network in open_checkpoint(tmp_path / "x.pth").networks] == ["model"]
