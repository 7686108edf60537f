"""Hostile files of the containers that are neither a bare pickle, nor a torch zip, nor safetensors alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile import archives, containers
from tests.hostile.limited import Limited, limited
from tests.hostile.test_hostile import refused

LARGE = 500_000


@pytest.fixture(scope="module")
def within() -> Iterator[Limited]:
    with limited() as runner:
        yield runner


def opened(within: Limited, folder: Path, name: str, data: bytes) -> None:
    """What reads refuses it, and so does what writes; large files, which take seconds, are opened once."""
    (folder / name).write_bytes(data)
    before = {path.name for path in folder.iterdir()}
    commands = [["bake", name, "out.safetensors"], ["scan", name]]
    for command in commands[: 1 if len(data) > LARGE else 2]:
        refused(within.run(*command, folder=folder), folder, before)


@pytest.mark.parametrize("name", sorted(containers.numpy_files()))
def test_numpy(name: str, tmp_path: Path, within: Limited) -> None:
    opened(within, tmp_path, "model.npz" if "archive" in name else "model.npy", containers.numpy_files()[name])


@pytest.mark.parametrize("name", sorted(containers.hdf5_files()))
def test_hdf5(name: str, tmp_path: Path, within: Limited) -> None:
    opened(within, tmp_path, "model.h5", containers.hdf5_files()[name])


@pytest.mark.parametrize("name", sorted(containers.endless_hdf5_files()))
def test_hdf5_without_end(name: str, tmp_path: Path, within: Limited) -> None:
    (tmp_path / "model.h5").write_bytes(containers.endless_hdf5_files()[name])
    assert within.run("audit", "model.h5", "--format", "csv", folder=tmp_path).code == 0


@pytest.mark.parametrize("name", sorted(containers.onnx_files()))
def test_onnx(name: str, tmp_path: Path, within: Limited) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (folder / "data.bin").write_bytes(bytes(64))
    for link, target in (("link.bin", "../secret.bin"), ("up", ".."), ("loop.bin", "loop.bin")):
        os.symlink(target, folder / link)
    os.mkfifo(folder / "pipe.bin")
    opened(within, folder, "model.onnx", containers.onnx_files()[name])


@pytest.mark.parametrize("name", sorted(containers.endless_onnx_files()))
def test_onnx_without_end(name: str, tmp_path: Path, within: Limited) -> None:
    (tmp_path / "model.onnx").write_bytes(containers.endless_onnx_files()[name])
    assert within.run("scan", "model.onnx", folder=tmp_path).code in (0, 3)


def test_old_torch_files(tmp_path: Path, within: Limited) -> None:
    for data in containers.old_torch_files().values():
        opened(within, tmp_path, "model.pt", data)


def test_exported_programs(tmp_path: Path, within: Limited) -> None:
    for data in containers.exported_programs().values():
        opened(within, tmp_path, "model.pt2", data)


@pytest.mark.parametrize("name", sorted(containers.records()))
def test_a_record_that_eqlr_did_not_write(name: str, tmp_path: Path, within: Limited) -> None:
    """What does not fit is as if it were absent, in both containers that have a record."""
    record = containers.records()[name]
    (tmp_path / "model.safetensors").write_bytes(containers.flat_with(record))
    (tmp_path / "model.pt").write_bytes(archives.torch_zip(**{"a/eqlr.json": record}))
    for target in ("plain.pt", "plain.safetensors"):
        result = within.run("bake", "model.safetensors", target, folder=tmp_path)
        assert result.code == 0, result.stderr
        result = within.run("equalize", target, "back.pt", "--include", "*", "--force", folder=tmp_path)
        assert result.code in (0, 3), result.stderr
    for command in (["scan"], ["audit"], ["bake", "out.pt"], ["equalize", "out.pt"]):
        result = within.run(command[0], "model.pt", *command[1:], folder=tmp_path)
        assert result.code in (0, 3), result.stderr


def test_a_record_without_end(tmp_path: Path, within: Limited) -> None:
    for record in (b'{"a":' + b"[" * 10_000_000, b'{"a":[' + b"{}," * 30_000_000 + b"{}]}"):
        opened(within, tmp_path, "model.pt", archives.torch_zip(**{"a/eqlr.json": record}))


def test_indexes_without_end(tmp_path: Path, within: Limited) -> None:
    maps = {
        "wide": b'{"weight_map":{"a":"b"},"x":[' + b"{}," * 30_000_000 + b"{}]}",
        "deep": b'{"weight_map":' + b"[" * 5_000_000,
        "twice": b'{"weight_map":{"a":"a.safetensors"},"weight_map":{"a":"b.safetensors"}}',
        "a tensor twice": b'{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}',
        "a long name": b'{"weight_map":{"a":"' + b"x" * 5000 + b'"}}',
        "half a surrogate": b'{"weight_map":{"a":"\\ud800"}}',
        "a long number": b'{"weight_map":{"a":"b"},"metadata":{"total_size":' + b"9" * 5000 + b"}}",
        "no UTF-8": b'\xff\xfe{"weight_map"',
    }
    for data in maps.values():
        opened(within, tmp_path, "model.safetensors.index.json", data)
