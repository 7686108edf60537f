"""A report appears whole or not at all, wherever `--output` points."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Result


@pytest.fixture
def full_disk() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("before", [None, "an earlier report"])
@pytest.mark.usefixtures("full_disk")
def test_a_full_disk(before: str | None, samples: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    if before:
        output.write_text(before)
    result = run_cli("audit", samples / "dcgan_digits.pt", "-f", "json", "-o", output, "--force")
    assert result.code == 2
    assert str(output) in result.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ([before] if before else [])


def test_pipes_and_links_are_written_through(samples: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    link.symlink_to(file)
    file.write_text("before")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    for output in (pipe, link):
        assert run_cli("explain", samples / "dcgan_digits.pt", "-f", "json", "-o", output, "--force").code == 0
    reader.join(timeout=20)
    assert read == [file.read_text()]
    assert link.is_symlink()
