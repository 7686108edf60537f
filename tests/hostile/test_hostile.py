"""Hostile files: no code runs, one sentence, exit 2, nothing written, within 10 seconds and 1 GiB."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Result
from tests.hostile import archives, pickles
from tests.hostile.limited import BYTES, SECONDS, Limited, limited

COMMAND = "touch canary"

HARMLESS = {"memo bomb", "memo bomb by line", "frame bomb", "cyclic dict", "cyclic list"}
"""Read at no cost, and found to hold no network."""


def refused(result: Result, folder: Path, before: set[str]) -> None:
    assert result.code == 2, result
    lines = result.stderr.strip().split("\n")
    assert lines[0].startswith("eqlr: ")
    assert len(lines) <= 2, "one sentence and one hint"
    assert "internal error" not in result.stderr
    assert result.stderr.isprintable() or result.stderr.replace("\n", "").isprintable()
    assert result.stdout == ""
    assert {path.name for path in folder.iterdir()} == before


@pytest.fixture(scope="module")
def within() -> Iterator[Limited]:
    """Runs the command line in processes that may not use more than the promised memory and time."""
    with limited() as runner:
        yield runner


def test_the_limits_hold(within: Limited, tmp_path: Path) -> None:
    """Nothing could be learnt from limits that are not there: opening a gigabyte of addresses fails."""
    assert within.run("scan", "absent.pt", folder=tmp_path).code == 2
    probe = (
        "import os, resource, sys; from tests.hostile import limited; "
        f"limited._limit({str(tmp_path)!r}, sys.stdout, sys.stderr); "
        "print(resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_CPU)[0], flush=True); "
        "bytearray(1 << 30)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.split() == [str(BYTES), str(SECONDS)]
    assert done.stderr.strip().endswith("MemoryError")


def test_calls_are_refused_by_name(
    run_cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.pkl"
    for name, data in pickles.calls(COMMAND).items():
        file.write_bytes(data)
        result = run_cli("scan", file)
        refused(result, tmp_path, {"model.pkl"})
        assert "which is no data" in result.stderr, name


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".safetensors", ".weird"])
def test_every_way_to_a_call_is_refused_whatever_the_suffix(
    suffix: str, run_cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"model{suffix}"
    for data in pickles.opcodes(COMMAND).values():
        file.write_bytes(data)
        refused(run_cli("bake", file, tmp_path / "out.pt"), tmp_path, {file.name})
        file.write_bytes(archives.torch_zip(data))
        refused(run_cli("bake", file, tmp_path / "out.pt"), tmp_path, {file.name})


def test_the_canary_sings(tmp_path: Path) -> None:
    """The payload works where a pickle is loaded: the tests above could fail."""
    code = f"import pickle; pickle.loads({pickles.opcodes(COMMAND)['INST']!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", sorted(pickles.exhausting()))
def test_exhausting_pickles(name: str, tmp_path: Path, within: Limited) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickles.exhausting()[name])
    result = within.run("bake", file, tmp_path / "out.safetensors", folder=tmp_path)
    if name in HARMLESS:
        assert result.code in (2, 3)
        assert "internal error" not in result.stderr
    else:
        refused(result, tmp_path, {"model.pkl"})


@pytest.mark.parametrize("name", sorted(archives.zips()))
def test_zips(name: str, tmp_path: Path, within: Limited) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(archives.zips()[name])
    refused(within.run("equalize", file, tmp_path / "out.pt", folder=tmp_path), tmp_path, {"model.pt"})


@pytest.mark.parametrize("name", sorted(archives.headers()))
def test_safetensors_headers(name: str, tmp_path: Path, within: Limited) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(archives.headers()[name])
    result = within.run("bake", file, tmp_path / "out.safetensors", folder=tmp_path)
    refused(result, tmp_path, {"model.safetensors"})


def test_indexes(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    for name, path in archives.indexes(tmp_path).items():
        before = {entry.name for entry in path.parent.iterdir()}
        result = run_cli("bake", path, path.parent / "out.safetensors")
        refused(result, path.parent, before)
        assert "model.safetensors.index.json" in result.stderr, name


def test_the_honest_versions_are_read(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """What the hostile files were made from opens: they are refused for what was done to them."""
    (tmp_path / "good.pt").write_bytes(archives.torch_zip())
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    (tmp_path / "good.safetensors").write_bytes(archives.safetensors({"a": entry}, bytes(16)))
    assert run_cli("scan", tmp_path / "good.pt").code == 0
    assert run_cli("scan", tmp_path / "good.safetensors").code == 0
