"""Whatever stops a bake: the target is absent or whole and verified, the source unchanged, nothing is left for long."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eqlr_tools.checkpoints import atomic, sources, streaming
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.rewriting.bake import plan_bake
from eqlr_tools.rewriting.plan import in_shards
from eqlr_tools.rewriting.run import run
from eqlr_tools.rewriting.selection import Selection
from tests.conftest import Result

MOMENTS = 100
LAYERS, ROWS = 6, 256


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An equalized network of 6 MB: writing and verifying it takes long enough to be stopped in between."""
    state = {}
    for index in range(LAYERS):
        state[f"layer{index}.parametrizations.weight.original"] = torch.randn(ROWS, 1024)
        state[f"layer{index}.parametrizations.weight.0.scale"] = torch.tensor(1024**-0.5)
    folder = tmp_path / "source"
    folder.mkdir()
    torch.save(state, folder / "model.pt")
    return folder / "model.pt"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


KINDS = {
    "safetensors": ("plain.safetensors", None),
    "zip": ("plain.pt", None),
    "shards": ("plain.safetensors", 2 << 20),
}
"""The target's name, and the limit of a shard."""


def bake(source: Path, target: Path, max_shard_bytes: int | None = None) -> None:
    plan = plan_bake(open_checkpoint(source), target, Selection())
    run(in_shards(plan, max_shard_bytes), Selection(), force=True)


def test_a_set_killed_at_a_hundred_moments(source: Path, tmp_path: Path) -> None:
    """As below, for shards: whenever the index stands, the whole set does."""
    folder = tmp_path / "out"
    folder.mkdir()
    name, limit = KINDS["shards"]
    target, before = folder / name, digest(source)
    index = folder / "plain.safetensors.index.json"

    def empty() -> None:
        for path in folder.glob("plain*"):
            path.unlink()

    bake(source, target, limit)
    whole = {path.name: digest(path) for path in folder.iterdir()}
    assert len(whole) > 3
    empty()
    start = time.perf_counter()
    bake(source, target, limit)
    takes = time.perf_counter() - start
    killed = left_behind = 0
    for moment in range(MOMENTS):
        empty()
        child = os.fork()
        if child == 0:
            try:
                bake(source, target, limit)
            finally:
                os._exit(0)
        time.sleep(takes * 1.2 * moment / MOMENTS)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        left_behind += len(list(folder.glob(".plain*")))
        if index.exists():
            assert {path.name: digest(path) for path in folder.glob("plain*")} == whole, f"after moment {moment}"
        assert digest(source) == before
    assert killed >= MOMENTS // 4, "most bakes ended before they were killed: the moments prove nothing"
    assert left_behind, "no kill hit a bake that was writing: the moments prove nothing"
    bake(source, target, limit)
    assert {path.name: digest(path) for path in folder.iterdir()} == whole, "the next run cleans up"


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_killed_at_a_hundred_moments(source: Path, suffix: str, tmp_path: Path) -> None:
    """SIGKILL in a forked child, at moments spread over the whole time that a bake takes."""
    folder = tmp_path / "out"
    folder.mkdir()
    target = folder / f"plain{suffix}"
    before = digest(source)
    bake(source, target)
    whole = digest(target)
    target.unlink()
    start = time.perf_counter()
    bake(source, target)
    takes = time.perf_counter() - start
    killed = left_behind = 0
    for moment in range(MOMENTS):
        target.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                bake(source, target)
            finally:
                os._exit(0)
        time.sleep(takes * 1.2 * moment / MOMENTS)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        left_behind += len(list(folder.glob(f".{target.name}*")))
        assert not target.exists() or digest(target) == whole, f"half a file after moment {moment}"
        assert digest(source) == before
    assert killed >= MOMENTS // 4, "most bakes ended before they were killed: the moments prove nothing"
    assert left_behind, "no kill hit a bake that was writing: the moments prove nothing"
    bake(source, target)
    assert [path.name for path in folder.iterdir()] == [target.name], "the next run cleans up"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", [0, 1, 7, 20])
def test_no_space_after_some_writes(
    kind: str, after: int, source: Path, tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills while the file is written: another program took what was free when the run began."""
    write, done = os.pwrite, []

    def filling(descriptor: int, data: bytes, position: int) -> int:
        done.append(len(data))
        if len(done) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, position)

    monkeypatch.setattr(streaming.os, "pwrite", filling)
    name, limit = KINDS[kind]
    options = ["--max-shard-size", limit] if limit else []
    result = run_cli("bake", source, tmp_path / name, *options)
    assert result.code == 2
    assert "writing failed (No space left on device)" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_no_space_for_the_flush(
    source: Path, tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems that allocate late say so when the file is flushed."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    for name, limit in KINDS.values():
        result = run_cli("bake", source, tmp_path / name, *(["--max-shard-size", limit] if limit else []))
        assert result.code == 2
        assert "writing failed (No space left on device)" in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk(kind: str, source: Path, tmp_path: Path) -> None:
    """A file may not grow beyond 1 MB: what a full disk or a quota does to a write."""
    name, shard_bytes = KINDS[kind]
    target = tmp_path / name
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); "
    command = ["bake", str(source), str(target), *(["--max-shard-size", str(shard_bytes)] if shard_bytes else [])]
    code = limit + f"from eqlr_tools.cli import main; raise SystemExit(main({command!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"eqlr: {target}{'.index.json' if shard_bytes else ''}: writing failed")
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_permission_removed(source: Path, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    result = run_cli("bake", source, folder / "plain.pt")
    assert result.code == 2
    assert "cannot be written" in result.stderr
    assert list(folder.iterdir()) == []


def test_renaming_refused(
    source: Path, tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The permission is lost between writing and naming."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(atomic.os, "link", refuse)
    monkeypatch.setattr(atomic.os, "rename", refuse)
    result = run_cli("bake", source, tmp_path / "plain.pt")
    assert result.code == 2
    assert "cannot be put in place" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("reads", [2, 8, 20])
def test_the_source_is_cut_short(
    reads: int, source: Path, tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen = sources.FileSource.readinto, [0]

    def cutting(self: sources.FileSource, offset: int, buffer: memoryview) -> None:
        if len(buffer) > 100_000 and self.path == source:
            seen[0] += 1
            if seen[0] == reads:
                os.truncate(source, 300_000)
        read(self, offset, buffer)

    monkeypatch.setattr(sources.FileSource, "readinto", cutting)
    result = run_cli("bake", source, tmp_path / "plain.pt")
    assert result.code == 2, result.stderr
    assert "the file ends at byte" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_existing_target_survives_a_failure(source: Path, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    target = tmp_path / "plain.pt"
    target.write_bytes(b"precious")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        result = run_cli("bake", source, target, "--force")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert result.code == 2
    assert target.read_bytes() == b"precious"


def test_names_as_long_as_a_file_system_allows(
    source: Path, tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary file's name is no longer than the target's, and the next run still finds what was left."""
    target = tmp_path / ("x" * 252 + ".pt")
    left = []
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_publish", lambda temporary, *_: left.append(temporary.name))
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # As if killed: nobody removes it.
        run_cli("bake", source, target)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == left
    assert run_cli("bake", source, target).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", target.name]


def test_a_tree_that_holds_itself_is_refused(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    state: dict[str, object] = {
        "g": {
            "layer.parametrizations.weight.original": torch.randn(4, 16),
            "layer.parametrizations.weight.0.scale": torch.tensor(0.25),
        }
    }
    state["again"] = [state]
    torch.save(state, tmp_path / "model.pt")
    for suffix in (".pt", ".safetensors"):
        result = run_cli("bake", tmp_path / "model.pt", tmp_path / f"plain{suffix}")
        assert result.code == 2
        assert "holds itself" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
