"""Hostile files: no code runs, one sentence, exit 2, nothing written, within 10 seconds and 1 GiB."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Result
from tests.hostile import archives, pickles

SECONDS = 10
BYTES = 1 << 30
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


def within_limits(*arguments: object) -> Result:
    """Run the command line in a process of its own that may not use more than the promised memory and time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "eqlr_tools", *map(str, arguments)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        env=environment,
        timeout=SECONDS * _slowness(),
    )
    return Result(done.returncode, done.stdout, done.stderr)


def _slowness() -> float:
    """How much slower this machine is at the moment than the quiet one for which the promise is made."""
    start = time.perf_counter()
    sum(i * i for i in range(500_000))
    return max((time.perf_counter() - start) / 0.05, 1.0)


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
def test_exhausting_pickles(name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickles.exhausting()[name])
    result = within_limits("bake", file, tmp_path / "out.safetensors")
    if name in HARMLESS:
        assert result.code in (2, 3)
        assert "internal error" not in result.stderr
    else:
        refused(result, tmp_path, {"model.pkl"})


@pytest.mark.parametrize("name", sorted(archives.zips()))
def test_zips(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.pt"
    file.write_bytes(archives.zips()[name])
    refused(within_limits("equalize", file, tmp_path / "out.pt"), tmp_path, {"model.pt"})


@pytest.mark.parametrize("name", sorted(archives.headers()))
def test_safetensors_headers(name: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    file = tmp_path / "model.safetensors"
    data = archives.headers()[name]
    file.write_bytes(data)
    run = within_limits if len(data) > 1 << 20 else run_cli
    refused(run("bake", file, tmp_path / "out.safetensors"), tmp_path, {"model.safetensors"})


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
