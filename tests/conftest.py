"""Fixtures that all tests share: the command line in process, the shared oracles, the samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from eqlr_tools.cli import main

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_checkpoints"


@dataclass(frozen=True)
class Result:
    """What a command returned and printed."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `eqlr ARGS...` in this process."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def find_shared() -> Path | None:
    """The folder of shared oracles and real checkpoints: `$EQLR_SHARED`, or beside the repository."""
    path = Path(os.environ.get("EQLR_SHARED", ROOT.parent / "shared"))
    return path if (path / "oracles").is_dir() else None


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    path = find_shared()
    if path is None:
        pytest.skip("the shared oracles are not here: put them beside the repository or set EQLR_SHARED")
    return path


@pytest.fixture(scope="session")
def samples() -> Path:
    return SAMPLES
