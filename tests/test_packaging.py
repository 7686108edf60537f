"""What people install: the wheel has everything and works without the source tree; the sdist can be built from."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, SAMPLES

pytest.importorskip("hatchling", reason="building needs the dev extra's hatchling")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "eqlr_tools").rglob("*.py")}
    assert sources <= names
    assert "eqlr_tools/py.typed" in names
    assert all(name.startswith(("eqlr_tools/", "eqlr_tools-")) for name in names)
    metadata = next(name for name in names if name.endswith("METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert "License-Expression: MIT" in text
    assert "Requires-Dist: torch>=" in text


def test_the_sdist_holds_what_a_build_needs(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "tests/conftest.py"} <= names
    assert not any(name.startswith(("sample_checkpoints", ".venv")) for name in names)


def test_every_command_works_from_an_installed_wheel(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    purelib = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    # Dependencies are those of this environment; the package itself comes from the wheel alone.
    (purelib / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(purelib)
    python = tmp_path / "venv" / "bin" / "python"
    sample, plain = SAMPLES / "progan_digits.pth.tar", tmp_path / "plain.safetensors"
    back = tmp_path / "back.pt"

    def eqlr(*arguments: object) -> str:
        command = [python, "-P", "-m", "eqlr_tools", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [python, "-P", "-c", "import eqlr_tools; print(eqlr_tools.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(purelib) in where.stdout
    assert eqlr("--version").startswith("eqlr ")
    for arguments in (
        ["scan", sample],
        ["explain", sample],
        ["audit", sample],
        ["bake", sample, plain],
        ["verify", sample, plain],
        ["equalize", plain, back],
        ["families"],
    ):
        assert eqlr(*arguments)


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("bash", {"COMP_WORDS": "eqlr s", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "eqlr s"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "eqlr s", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_completion(shell: str, asked: dict[str, str], tmp_path: Path) -> None:
    def completing(instruction: str, **settings: str) -> str:
        program = "import sys; sys.argv = ['eqlr']; from eqlr_tools.cli import main; sys.exit(main())"
        plain = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env={**plain, "_EQLR_COMPLETE": f"{instruction}_{shell}", **settings},
        ).stdout

    assert f"complete_{shell}" in completing("source")
    offered = completing("complete", **asked)
    assert "scan" in offered
    assert "sample" in offered
    assert "bake" not in offered
