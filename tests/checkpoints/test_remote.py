"""Remote checkpoints: only the bytes that are needed, retries, and errors that say what is missing."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eqlr_tools.checkpoints import remote
from eqlr_tools.checkpoints.opening import open_checkpoint
from tests.conftest import Result
from tests.models import aladdin_state, progan_file
from tests.servers import Traffic, range_server

pytest.importorskip("aiohttp", reason="reading http needs the extra 'http'")

BIG = 2_000_000


@pytest.fixture
def traffic(tmp_path: Path) -> Iterator[Traffic]:
    with range_server(tmp_path) as counted:
        yield counted


def big_state() -> dict[str, torch.Tensor]:
    return {**aladdin_state(channels=8), "unused.table": torch.zeros(BIG)}


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_only_the_needed_bytes_cross_the_wire(
    name: str, traffic: Traffic, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    state = {key: tensor.clone() for key, tensor in big_state().items()}
    torch.save({"state_dict": state}, tmp_path / "x.pt")
    save_file(state, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(f"{traffic.url}/{name}")
    assert len(checkpoint.networks[0].tensors) == len(state)
    assert traffic.bytes_sent < 4 * remote.WINDOW < BIG
    before = traffic.bytes_sent
    found = checkpoint.networks[0].tensors["initial.3.conv.weight"].values()
    assert (torch.from_numpy(found.copy()) == state["initial.3.conv.weight"]).all()
    assert traffic.bytes_sent - before <= 2 * remote.WINDOW


def test_every_reading_command_takes_an_address(
    traffic: Traffic, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    progan_file(tmp_path / "x.pt")
    url = f"{traffic.url}/x.pt"
    report = json.loads(run_cli("scan", url, "-f", "json").stdout)
    assert report["checkpoints"][0]["path"] == url
    assert report["checkpoints"][0]["family"] == "aladdin-progan"
    assert run_cli("explain", url).code == 0
    assert run_cli("audit", url).code == 0
    assert run_cli("bake", url, tmp_path / "plain.pt").code == 0
    assert run_cli("verify", url, tmp_path / "plain.pt").code == 0


def test_a_busy_server_is_asked_again(traffic: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.01)
    progan_file(tmp_path / "x.pt")
    checkpoint = open_checkpoint(f"{traffic.url}/x.pt")
    traffic.fail_next = 2
    assert checkpoint.networks[0].tensors["initial.1.weight"].values().shape == (8, 16, 4, 4)


def test_a_missing_file_is_one_sentence(traffic: Traffic, run_cli: Callable[..., Result]) -> None:
    result = run_cli("scan", f"{traffic.url}/nothing.pt")
    assert result.code == 2
    assert "no such file" in result.stderr


def test_memory_and_archive_members(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    import fsspec

    source = progan_file(tmp_path / "x.pt")
    with fsspec.open("memory://runs/x.pt", "wb") as file:
        file.write(source.read_bytes())
    assert run_cli("verify", source, "memory://runs/x.pt").code == 0
    with zipfile.ZipFile(tmp_path / "runs.zip", "w") as archive:
        archive.write(source, "inside/x.pt")
    assert run_cli("verify", source, f"zip://inside/x.pt::file://{tmp_path}/runs.zip").code == 0


def test_remote_globs_are_listed(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    import fsspec

    source = progan_file(tmp_path / "x.pt")
    for name in ("a/1.pt", "a/2.pt", "b/3.pt", "b/readme.txt"):
        with fsspec.open(f"memory://many/{name}", "wb") as file:
            file.write(source.read_bytes())
    paths = [
        entry["path"]
        for entry in json.loads(run_cli("scan", "memory://many/**/*.pt", "-f", "json").stdout)["checkpoints"]
    ]
    assert [path.rpartition("/")[2] for path in paths] == ["1.pt", "2.pt", "3.pt"]


def test_unknown_protocols_and_missing_extras_are_named(
    run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_cli("scan", "carrier-pigeon://x.pt").code == 2
    monkeypatch.setitem(sys.modules, "s3fs", None)
    result = run_cli("scan", "s3://bucket/x.pt")
    assert result.code == 2
    assert "eqlr-tools[s3]" in result.stderr


def test_a_file_that_shrinks_is_noticed(traffic: Traffic, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    torch.save({"state_dict": big_state()}, tmp_path / "x.pt")
    checkpoint = open_checkpoint(f"{traffic.url}/x.pt")
    shutil.copy(tmp_path / "x.pt", tmp_path / "copy.pt")
    (tmp_path / "x.pt").write_bytes((tmp_path / "copy.pt").read_bytes()[:1000])
    with pytest.raises(remote.UnreadableError):
        checkpoint.networks[0].tensors["unused.table"].values()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 bucket on a local server, reached through the environment as a user would."""
    pytest.importorskip("s3fs", reason="s3:// needs the extra 's3'")
    server_module = pytest.importorskip("moto.server", reason="the local S3 server is moto's")
    import s3fs

    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("runs")
    yield "s3://runs"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_s3(bucket: str, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    import s3fs

    source = progan_file(tmp_path / "x.pt")
    store = s3fs.S3FileSystem()
    for name in ("a/1.pt", "a/deep/2.pt"):
        store.put_file(str(source), f"{bucket}/{name}")
    result = run_cli("scan", f"{bucket}/**/*.pt", "-f", "json")
    assert result.code == 0, result.stderr
    found = json.loads(result.stdout)["checkpoints"]
    assert [entry["path"] for entry in found] == [f"{bucket}/a/1.pt", f"{bucket}/a/deep/2.pt"]
    assert {entry["family"] for entry in found} == {"aladdin-progan"}
    assert run_cli("verify", source, f"{bucket}/a/1.pt").code == 0
    assert run_cli("scan", f"{bucket}/a/none.pt").code == 2

    plain = f"{bucket}/plain.safetensors"
    assert run_cli("bake", f"{bucket}/a/1.pt", plain).code == 0
    assert run_cli("verify", source, plain).code == 0
    assert run_cli("bake", source, plain).code == 2
    assert run_cli("bake", source, plain, "--force").code == 0
    assert sorted(store.ls("runs")) == ["runs/a", "runs/plain.safetensors"]


def test_addresses_that_cannot_be_written_are_refused_by_name(
    traffic: Traffic, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    result = run_cli("bake", progan_file(tmp_path / "x.pt"), f"{traffic.url}/y.pt")
    assert result.code == 2
    assert "http:// cannot be written to" in result.stderr


@pytest.mark.parametrize("cache", ["filecache", "simplecache"])
def test_a_cached_file_is_read_without_the_server(
    cache: str, run_cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQLR_CACHE", str(tmp_path / "cache"))
    served = tmp_path / "served"
    served.mkdir()
    progan_file(served / "x.pt")
    with range_server(served) as server:
        address = f"{cache}::{server.url}/x.pt"
        assert run_cli("scan", address).code == 0
    asked = server.requests
    offline = run_cli("scan", address, "-f", "json")
    assert offline.code == 0, offline.stderr
    assert "aladdin-progan" in offline.stdout
    assert server.requests == asked
    missing = run_cli("scan", f"{cache}::{server.url}/y.pt")
    assert missing.code == 2
    assert "no copy of it" in missing.stderr


def test_a_downloaded_file_of_the_hub_is_read_offline(
    run_cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="hf:// needs the extra 'hub'")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--owner--name"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / commit / "nets").mkdir(parents=True)
    progan_file(repo / "snapshots" / commit / "nets" / "x.pt")
    for address in ("hf://owner/name/nets/x.pt", f"hf://owner/name@{commit}/nets/x.pt"):
        assert run_cli("scan", address).code == 0
    missing = run_cli("scan", "hf://owner/name/nets/y.pt")
    assert missing.code == 2
    assert "hf download owner/name nets/y.pt" in missing.stderr
