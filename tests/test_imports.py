"""Start-up stays light: reading, auditing and rewriting never import torch or the ONNX stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import progan_file

HEAVY = ("torch", "onnx", "onnxruntime", "safetensors", "pandas", "scipy", "numba")


@pytest.mark.parametrize("arguments", [["--help"], ["scan"], ["audit"], ["bake"]], ids=lambda a: a[0])
def test_no_heavy_import(arguments: list[str], tmp_path: Path) -> None:
    source = progan_file(tmp_path / "x.pt")
    files = {"scan": [source], "audit": [source], "bake": [source, tmp_path / "y.safetensors"]}
    command = [*arguments, *map(str, files.get(arguments[0], []))]
    code = (
        "import sys\nfrom eqlr_tools.cli import main\n"
        f"code = main({command!r})\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\nsys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def imported_by(arguments: list[str], names: tuple[str, ...]) -> list[str]:
    """Which of the modules a fresh interpreter has imported after a command."""
    code = (
        "import sys\nfrom eqlr_tools.cli import main\n"
        f"main({arguments!r})\n"
        f"print(*[name for name in {names!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()[-1].split()


def test_help_imports_neither_numpy_nor_a_command() -> None:
    unneeded = ("numpy", "rich", "pydantic", "eqlr_tools.cli.audit", "eqlr_tools.reports")
    assert imported_by(["--help"], unneeded) == []


def test_a_command_imports_no_other_and_no_validation_of_options(tmp_path: Path) -> None:
    source = str(progan_file(tmp_path / "x.pt"))
    unneeded = ("pydantic", "eqlr_tools.cli.bake", "eqlr_tools.cli.export", "eqlr_tools.onnx_export")
    arguments = ["audit", source, "--include", "*", "-f", "json", "-o", str(tmp_path / "x.json"), "--quiet"]
    assert imported_by(arguments, unneeded) == []
