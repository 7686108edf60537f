"""The README tells the truth: its commands are run, and print what it shows.

`python -m tests.test_readme` writes the present output into it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path

from eqlr_tools.cli import main
from tests.conftest import ROOT

README = ROOT / "README.md"
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_FAMILIES = re.compile(r"(?<=<!-- families -->\n).*?(?=<!-- /families -->)", re.DOTALL)
_WIDTH = "100"


def run_block(block: str) -> str:
    """Run the `$ eqlr ...` lines of a console block and return the block as it should read."""
    lines = []
    for command in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
        program, *arguments = shlex.split(command)
        assert program == "eqlr"
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = main(arguments)
        assert code == 0, (command, code)
        lines.append(f"$ {command}\n{out.getvalue()}")
    return "".join(lines)


def refreshed(text: str) -> str:
    """The README with every console block and the family table as they are now."""
    before = Path.cwd(), os.environ.get("COLUMNS")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "sample_checkpoints", Path(folder) / "sample_checkpoints")
        os.chdir(folder)
        os.environ["COLUMNS"] = _WIDTH
        try:
            text = _BLOCK.sub(lambda match: f"```console\n{run_block(match[1])}```", text)
            table = run_block("$ eqlr families -f markdown\n").partition("\n")[2]
            return _FAMILIES.sub(lambda _: table, text)
        finally:
            os.chdir(before[0])
            os.environ.pop("COLUMNS", None)
            if before[1] is not None:
                os.environ["COLUMNS"] = before[1]


def test_commands_print_what_the_readme_shows() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(_BLOCK.findall(text)) >= 4
    assert refreshed(text) == text


def test_the_two_commands_come_first() -> None:
    opening = README.read_text(encoding="utf-8")[:1200]
    assert "make demo" in opening
    assert "make test" in opening


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text(encoding="utf-8")), encoding="utf-8")
