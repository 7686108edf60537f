"""A target in several files: one checkpoint through its index, and never a readable half of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from eqlr_tools.checkpoints import atomic
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.cli.options import size_in_bytes
from eqlr_tools.errors import UsageError
from tests.conftest import Result

LAYERS = 5


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two networks with nesting, a counter and an alias, which only the record of eqlr can give back."""
    networks = {}
    for name in ("g_ema", "d"):
        state = {}
        for index in range(LAYERS):
            state[f"layer{index}.parametrizations.weight.original"] = torch.randn(64, 64)
            state[f"layer{index}.parametrizations.weight.0.scale"] = torch.tensor(64**-0.5)
        networks[name] = state
    networks["d"]["z.copy"] = networks["d"]["aaa.first"] = torch.randn(64)
    folder = tmp_path / "source"
    folder.mkdir()
    torch.save({**networks, "args": {"iter": 5, "betas": (0.0, 0.99)}}, folder / "model.pt")
    return folder / "model.pt"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bake(run_cli: Callable[..., Result], source: Path, target: Path, size: str, *more: object) -> Result:
    return run_cli("bake", source, target, "--max-shard-size", size, *more)


def test_round_trip_through_the_index(source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    result = bake(run_cli, source, out / "plain.safetensors", "50kB")
    assert result.code == 0, result.stderr
    assert "plain.safetensors.index.json opens them" in result.stderr + result.stdout
    shards = [f"plain-0000{i}-of-00004.safetensors" for i in range(1, 5)]
    assert names_in(out) == [*shards, "plain.safetensors.index.json"]
    index = json.loads((out / "plain.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(shards)
    assert index["weight_map"]["d.z.copy"] == index["weight_map"]["d.aaa.first"]
    total = 0
    for shard in shards:
        with safe_open(out / shard, "pt") as opened:
            names = list(opened.keys())
            assert sorted(names) == sorted(name for name, file in index["weight_map"].items() if file == shard)
            size = sum(opened.get_tensor(name).nbytes for name in names)
        assert size <= 50_000
        total += size
    assert index["metadata"]["total_size"] == total

    assert run_cli("bake", source, out / "one.safetensors").code == 0
    whole, divided = open_checkpoint(out / "one.safetensors"), open_checkpoint(out / "plain.safetensors.index.json")
    assert [network.name for network in divided.networks] == [network.name for network in whole.networks]
    assert divided.tree["args"] == whole.tree["args"] == {"iter": 5, "betas": (0.0, 0.99)}
    assert divided.provenance == whole.provenance
    assert divided.provenance["operation"] == "bake"
    assert divided.tree["d"]["z.copy"] is divided.tree["d"]["aaa.first"]
    for mine, theirs in zip(divided.networks, whole.networks, strict=True):
        assert {n: t.bits().tobytes() for n, t in mine.tensors.items()} == {
            n: t.bits().tobytes() for n, t in theirs.tensors.items()
        }
    assert run_cli("verify", source, out / "plain.safetensors.index.json").code == 0


def test_back_from_shards(source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    assert bake(run_cli, source, out / "plain.safetensors", "50kB").code == 0
    index = out / "plain.safetensors.index.json"
    result = run_cli("equalize", index, out / "again.safetensors", "--max-shard-size", "40kB", "--exact")
    assert result.code == 0, result.stderr
    result = run_cli("verify", source, out / "again.safetensors.index.json")
    assert result.code == 0, result.stderr


def test_one_tensor_per_shard(source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    """No file is smaller than its largest tensor; names of one tensor are not parted."""
    assert bake(run_cli, source, out / "plain.safetensors", "1").code == 0
    weight_map = json.loads((out / "plain.safetensors.index.json").read_text())["weight_map"]
    assert len(weight_map) == 2 * LAYERS + 2
    assert len(set(weight_map.values())) == 2 * LAYERS + 1
    assert run_cli("verify", source, out / "plain.safetensors.index.json").code == 0


def test_what_fits_is_one_file(source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    assert bake(run_cli, source, out / "plain.safetensors", "1GB").code == 0
    assert names_in(out) == ["plain.safetensors"]


def test_a_folder_of_shards_is_one_checkpoint(source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    assert bake(run_cli, source, out / "plain.safetensors", "50kB").code == 0
    found = json.loads(run_cli("scan", out, "-f", "json").stdout)
    assert [Path(row["path"]).name for row in found["checkpoints"]] == ["plain.safetensors.index.json"]


def test_the_same_shards_again(source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    for name in ("a", "b"):
        (out / name).mkdir()
        assert bake(run_cli, source, out / name / "plain.safetensors", "50kB").code == 0
    assert {p.name: p.read_bytes() for p in (out / "a").iterdir()} == {
        p.name: p.read_bytes() for p in (out / "b").iterdir()
    }


@pytest.mark.parametrize("name", ["-00002-of-00004.safetensors", ".safetensors.index.json", ".safetensors"])
def test_what_stands_is_refused(name: str, source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    (out / f"plain{name}").write_bytes(b"precious")
    for more in ((), ("--dry-run",)):
        result = bake(run_cli, source, out / "plain.safetensors", "50kB", *more)
        assert result.code == 2
        assert "already exists" in result.stderr
        assert names_in(out) == [f"plain{name}"]
    assert bake(run_cli, source, out / "plain.safetensors", "50kB", "--force").code == 0
    assert len(names_in(out)) == 5


def test_force_takes_the_place_of_the_older_set(source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    (out / "other-00001-of-00009.safetensors").write_bytes(b"another's")
    assert bake(run_cli, source, out / "plain.safetensors", "20kB").code == 0
    assert bake(run_cli, source, out / "plain.safetensors", "50kB", "--force").code == 0
    assert len(names_in(out)) == 6, "the shards of the older set are gone, another's stays"
    assert run_cli("verify", source, out / "plain.safetensors.index.json").code == 0


def test_a_source_is_never_replaced(source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    assert bake(run_cli, source, out / "plain.safetensors", "50kB").code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    index = out / "plain.safetensors.index.json"
    for origin in (index, out / "plain-00001-of-00004.safetensors"):
        result = run_cli("equalize", origin, out / "plain.safetensors", "--max-shard-size", "9kB", "--force")
        assert result.code == 2, result.stderr
        assert "same file" in result.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("target", ["plain.pt", "plain.onnx"])
def test_other_containers_have_no_shards(target: str, source: Path, out: Path, run_cli: Callable[..., Result]) -> None:
    result = bake(run_cli, source, out / target, "50kB")
    assert result.code == 2
    assert "only .safetensors" in result.stderr
    assert names_in(out) == []


def test_sizes() -> None:
    assert [size_in_bytes(text) for text in ("4096", "500MB", "2GiB", "1.5 kib", "3g", "7B")] == [
        4096,
        500_000_000,
        2 << 30,
        1536,
        3_000_000_000,
        7,
    ]
    for text in ("", "0", "-1", "much", "5XB", "0.1B", "1e9", "9" * 400):
        with pytest.raises(UsageError):
            size_in_bytes(text)


@pytest.mark.parametrize("force", [False, True], ids=["new", "over an older set"])
def test_killed_between_any_two_steps(
    force: bool, source: Path, out: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each link and removal: whenever an index stands, all that it names stands, of one and one run."""
    target, index = out / "plain.safetensors", out / "plain.safetensors.index.json"
    assert bake(run_cli, source, target, "50kB").code == 0
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    for name in whole:
        (out / name).unlink()
    older = out.parent / "older"
    other = source.with_name("other.pt")
    state = torch.load(source, weights_only=True)
    state["d"]["aaa.first"].mul_(2)
    torch.save(state, other)
    older.mkdir()
    assert bake(run_cli, other, older / target.name, "50kB").code == 0
    previous = {path.name: path.read_bytes() for path in older.iterdir()}
    for step in range(30):
        for name, data in previous.items() if force else ():
            (out / name).unlink(missing_ok=True)
            (out / name).write_bytes(data)
        child = os.fork()
        if child == 0:
            _kill_at(step)
            os._exit(bake(run_cli, source, target, "50kB", *(["--force"] if force else [])).code)
        _, status = os.waitpid(child, 0)
        shown = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        if index.exists():
            assert shown in (whole, previous)
        if not os.WIFSIGNALED(status):
            break
        if index.exists() and not force:
            index.unlink()
            for name in whole:
                (out / name).unlink(missing_ok=True)
    assert os.WEXITSTATUS(status) == 0
    assert step >= len(whole), "no kill hit the steps"
    assert shown == whole
    assert names_in(out) == sorted(whole), "the next run cleans up"


def _kill_at(step: int) -> None:
    """Die by SIGKILL before the link or removal of that number, in this process."""
    left = [step]

    def counting(act: Callable[..., None]) -> Callable[..., None]:
        def acting(*arguments: object, **options: object) -> None:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            act(*arguments, **options)

        return acting

    atomic.os.link = counting(os.link)  # type: ignore[attr-defined]
    Path.unlink = counting(Path.unlink)  # type: ignore[method-assign]


def test_a_refused_name_leaves_nothing(
    source: Path, out: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, done = os.link, []

    def failing(here: Path, there: Path) -> None:
        if len(done) == 2:
            raise FileExistsError(17, "File exists")
        done.append(there)
        link(here, there)

    monkeypatch.setattr(atomic.os, "link", failing)
    result = bake(run_cli, source, out / "plain.safetensors", "50kB")
    assert result.code == 2
    assert "appeared meanwhile" in result.stderr
    assert names_in(out) == []


def test_a_failed_verification_leaves_what_stood(
    source: Path, out: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bake(run_cli, source, out / "plain.safetensors", "50kB").code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    from eqlr_tools.rewriting import run

    write = run.write_safetensors

    def damaging(file, outputs, *more):  # type: ignore[no-untyped-def]
        pieces = write(file, outputs, *more)
        os.pwrite(file.fileno(), b"\x7f\x7f", os.fstat(file.fileno()).st_size - 2)
        return pieces

    monkeypatch.setattr(run, "write_safetensors", damaging)
    result = bake(run_cli, source, out / "plain.safetensors", "20kB", "--force")
    assert result.code == 1, result.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("name", ["plain-00002-of-00004.safetensors", "plain.safetensors.index.json"])
def test_a_report_does_not_replace_a_file_of_the_set(
    name: str, source: Path, out: Path, run_cli: Callable[..., Result]
) -> None:
    target = out / "plain.safetensors"
    assert bake(run_cli, source, target, "50kB").code == 0
    before = (out / name).read_bytes()
    result = bake(run_cli, source, target, "50kB", "--force", "-o", out / name)
    assert result.code == 2
    assert "would replace the checkpoint" in result.stderr
    assert (out / name).read_bytes() == before
