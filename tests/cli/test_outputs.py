"""`--output` never costs a checkpoint, and whatever can be refused is refused before any work is done."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Run = Callable[..., Any]


@pytest.fixture
def source(samples: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(samples / "progan_digits.pth.tar", tmp_path / "source.pt"))


@pytest.mark.parametrize(
    "command",
    [
        ("scan", "{0}"),
        ("scan", "{0}", "-f", "jsonl"),
        ("explain", "{0}"),
        ("audit", "{0}"),
        ("bake", "{0}", "{1}"),
        ("bake", "{0}", "{1}", "--dry-run"),
        ("verify", "{0}", "{0}"),
        ("diff", "{0}", "{0}"),
    ],
)
@pytest.mark.parametrize("link", [False, True])
def test_a_report_never_replaces_the_checkpoint(
    run_cli: Run, source: Path, tmp_path: Path, command: tuple[str, ...], link: bool
) -> None:
    before = source.read_bytes()
    output = tmp_path / "link.pt" if link else source
    if link:
        output.symlink_to(source)
    words = [word.format(source, tmp_path / "baked.pt") for word in command]
    result = run_cli(*words, "-o", output, "--force")
    assert (result.code, result.stdout) == (2, "")
    assert "would replace the checkpoint" in result.stderr
    assert source.read_bytes() == before
    assert not (tmp_path / "baked.pt").exists()


def test_the_picture_of_an_audit_never_replaces_the_checkpoint(run_cli: Run, source: Path) -> None:
    checkpoint = source.rename(source.with_suffix(".svg"))
    before = checkpoint.read_bytes()
    assert run_cli("audit", checkpoint, "--plot", checkpoint, "--force").code == 2
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize("option", [("-f", "parquet"), ("-o", "there.txt"), ("-o", "baked.pt"), ("-o", "no/where.txt")])
def test_a_report_that_cannot_be_shown_is_refused_before_anything_is_written(
    run_cli: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.txt").write_text("mine")
    result = run_cli("bake", "source.pt", "baked.pt", *option)
    assert result.code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.pt", "there.txt"]
    assert Path("there.txt").read_text() == "mine"


def test_a_target_that_is_a_link_to_nothing_exists(run_cli: Run, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "link.pt"
    target.symlink_to("nowhere.pt")
    assert "already exists" in run_cli("bake", source, target).stderr
    assert run_cli("bake", source, target, "--force").code == 0
    assert not target.is_symlink()


@pytest.mark.parametrize(
    "option",
    [("--fan-in", "²"), ("--fan-in", "9" * 400), ("--fan-in", "0"), ("--gain", "1e-320"), ("--lr-multiplier", "1e38")],
)
def test_constants_that_no_network_has_are_refused(
    run_cli: Run, source: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    result = run_cli("bake", source, tmp_path / "baked.pt", *option)
    assert result.code == 2
    assert result.stderr.startswith(f"eqlr: {option[0]}")
    assert not (tmp_path / "baked.pt").exists()


def test_a_reader_who_has_seen_enough_is_no_failure(source: Path) -> None:
    command = [sys.executable, "-m", "eqlr_tools", "explain", str(source), "-f", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")


@pytest.mark.filterwarnings("ignore")
def test_a_tensor_type_without_numbers_is_refused_with_the_file_name(run_cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "quantised.pt"
    torch.save({"a.weight": torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)}, path)
    result = run_cli("scan", path)
    assert result.code == 2
    assert result.stderr.startswith(f"eqlr: {path}: storages of class torch.QInt8Storage are not known")
