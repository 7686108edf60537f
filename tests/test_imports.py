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


def test_help_does_not_even_import_numpy() -> None:
    code = "import sys\nfrom eqlr_tools.cli import main\nmain(['--help'])\nassert 'numpy' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
