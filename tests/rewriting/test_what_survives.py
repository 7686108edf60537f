"""Every type in every form goes through a bake, and the libraries of both containers open the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.rewriting import run
from tests.conftest import Result

TYPES = """float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu
int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex32 complex64 complex128""".split()
PAIRED = {torch.complex32, torch.complex128}


def layer() -> dict[str, torch.Tensor]:
    return {
        "l.parametrizations.weight.original": torch.randn(4, 16),
        "l.parametrizations.weight.0.scale": torch.tensor(0.25),
    }


def forms(name: str) -> dict[str, torch.Tensor]:
    """Values of any bits in the shapes and layouts that a tensor can have."""
    dtype = getattr(torch, name)
    size = 24 * torch.empty(0, dtype=dtype).element_size()
    raw = torch.arange(size, dtype=torch.int64).mul(37).remainder(251).to(torch.uint8)
    flat = raw > 128 if name == "bool" else raw.view(dtype)
    cube = flat.reshape(2, 3, 4)
    return {
        f"{name}.cube": cube,
        f"{name}.transposed": cube.transpose(0, 2),
        f"{name}.row": cube[:, 1],
        f"{name}.third": flat[::3],
        f"{name}.overlapping": flat[2:14].reshape(3, 4),
        f"{name}.same": cube,
        f"{name}.number": flat[0].clone(),
        f"{name}.empty": flat[:0].reshape(0, 3),
        f"{name}.repeated": flat[:1].expand(5, 1),
    }


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    def bits(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.contiguous().reshape(-1).view(torch.uint8)

    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(bits(one), bits(other))


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_every_type_in_every_form(legacy: bool, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    tensors = {key: value for name in TYPES for key, value in forms(name).items()}
    source, plain, back = tmp_path / "m.pt", tmp_path / "plain.safetensors", tmp_path / "back.pt"
    torch.save({**layer(), **tensors}, source, _use_new_zipfile_serialization=not legacy)
    for target in (plain, tmp_path / "plain.pt"):
        result = run_cli("bake", source, target)
        assert result.code == 0, result.stderr
    assert run_cli("equalize", plain, back).code == 0
    flat = load_file(plain)
    for path in (tmp_path / "plain.pt", back):
        whole = torch.load(path, weights_only=True)
        for name, tensor in tensors.items():
            assert same_bits(whole[name], tensor), f"{name} in {path.name}"
        first, row = (whole[f"float8_e5m2.{form}"].untyped_storage().data_ptr() for form in ("cube", "row"))
        assert (first == row) == (path != back), "views share in torch files, safetensors has none"
    for name, tensor in tensors.items():
        stored = torch.view_as_real(tensor.contiguous()) if tensor.dtype in PAIRED else tensor
        assert same_bits(flat[name], stored), name


def test_complex_numbers_in_shards(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    values = torch.randn(50, dtype=torch.complex128)
    torch.save({**layer(), "z": values, "again": values}, tmp_path / "m.pt")
    out = tmp_path / "plain.safetensors"
    assert run_cli("bake", tmp_path / "m.pt", out, "--max-shard-size", "600").code == 0
    index = tmp_path / "plain.safetensors.index.json"
    shard = json.loads(index.read_text())["weight_map"]["z"]
    assert same_bits(load_file(tmp_path / shard)["z"], torch.view_as_real(values))
    assert run_cli("equalize", index, tmp_path / "back.pt").code == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert same_bits(back["z"], values)
    assert back["z"].data_ptr() == back["again"].data_ptr()


@pytest.mark.parametrize(
    "recorded", ['{"z": "C128"}', '{"z": "C32"}', '{"z": ["C128"]}', '["z"]', '{"y": "C128"}', "7"]
)
def test_a_record_of_complex_numbers_that_does_not_fit(recorded: str, tmp_path: Path) -> None:
    entry = {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]}
    head = json.dumps({"__metadata__": {"eqlr": f'{{"complex": {recorded}}}'}, "z": entry}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(24))
    assert open_checkpoint(path).tree["z"].dtype.name == "F64"


NAMES: dict[str, tuple[Any, str]] = {
    "nesting that dots hide": ({"a": {"b.c": torch.ones(2)}, "a.b": {"c": torch.zeros(3)}}, "two tensors"),
    "a number and its text": ({"o": {1: torch.ones(2), "1": torch.zeros(3)}}, "two tensors"),
    "tuples": ({"o": {(1, 2): torch.ones(2), (3, 4): torch.zeros(3)}}, "two tensors"),
    "the name of the metadata": ({"__metadata__": torch.ones(3)}, "for itself"),
    "half a surrogate": ({"x\ud800": torch.ones(3)}, "not Unicode"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_that_a_flat_file_cannot_have(case: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """A torch file keeps them; safetensors refuses with the reason, before anything is written."""
    more, why = NAMES[case]
    torch.save({"g": layer(), **more}, tmp_path / "m.pt")
    assert run_cli("bake", tmp_path / "m.pt", tmp_path / "plain.pt").code == 0
    found = torch.load(tmp_path / "plain.pt", weights_only=True)
    assert str({key: found[key] for key in more}) == str(more)
    for command in (["bake"], ["bake", "--max-shard-size", "100"], ["bake", "--dry-run"]):
        result = run_cli(*command[:1], tmp_path / "m.pt", tmp_path / "plain.safetensors", *command[1:])
        assert result.code == 2
        assert why in result.stderr
        assert "write a .pt instead" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pt", "plain.pt"]


def test_objects_as_keys_take_no_other_key_s_place(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    torch.save({"g": layer(), "o": {1: torch.ones(2), torch.float16: torch.zeros(3)}}, tmp_path / "m.pt")
    assert run_cli("bake", tmp_path / "m.pt", tmp_path / "plain.pt").code == 0
    found = torch.load(tmp_path / "plain.pt", weights_only=True)["o"]
    assert [(key, tuple(value.shape)) for key, value in found.items()] == [(1, (2,)), (2, (3,))]


def test_more_beside_the_tensors_than_a_header_holds(
    tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_MAX_METADATA_BYTES", 10_000)
    torch.save({"g": layer(), "log": "x" * 20_000}, tmp_path / "m.pt")
    result = run_cli("bake", tmp_path / "m.pt", tmp_path / "plain.safetensors")
    assert result.code == 2
    assert "write a .pt instead" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_metadata_of_others_is_kept(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    from safetensors.torch import save_file

    save_file(layer(), tmp_path / "m.safetensors", metadata={"format": "pt", "step": "70 000", "ünï": "\n"})
    assert run_cli("bake", tmp_path / "m.safetensors", tmp_path / "plain.safetensors").code == 0
    with safe_open(tmp_path / "plain.safetensors", "pt") as file:
        metadata = file.metadata()
    assert {key: metadata[key] for key in ("format", "step", "ünï")} == {"format": "pt", "step": "70 000", "ünï": "\n"}
    assert json.loads(metadata["eqlr"])["operation"] == "bake"


@pytest.mark.parametrize("heads", [("discriminator",), ("G", "D")], ids=["one network", "two networks"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_names_with_slashes_stay_as_they_are(
    heads: tuple[str, ...], suffix: str, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    """As Chainer and JAX write them; a network's name in front of them tells the networks apart, nothing more."""
    state = {f"{head}/b{n}/c/W": torch.randn(6, 4, 3, 3) for head in heads for n in (0, 1)}
    state |= {name.replace("/W", "/b"): torch.randn(6) for name in state}
    source, target = tmp_path / "net.safetensors", tmp_path / f"baked{suffix}"
    save_file(state, source)
    assert [network.name for network in open_checkpoint(source).networks] == sorted(heads)
    result = run_cli("bake", source, target)
    assert result.code == 0, result.stderr
    baked = load_file(target) if suffix == ".safetensors" else torch.load(target)
    assert set(state) <= set(baked)
    assert run_cli("verify", source, target).code == 0
