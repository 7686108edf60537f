"""The documentation is up to date, its examples run, its links lead somewhere.

`python -m tests.test_site` writes the generated pages and the present output into the tutorial.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT
from tests.test_readme import refreshed

DOCS = ROOT / "docs"
_EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```|```python\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date() -> None:
    for path, text in generator().pages().items():
        assert path.exists(), f"{path.name} is missing: python docs/generate.py"
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: python docs/generate.py"


def test_the_tutorial_prints_what_it_shows() -> None:
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    assert refreshed(text) == text


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "sample_checkpoints", tmp_path / "sample_checkpoints")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    examples = _EXAMPLE.findall((DOCS / "python-api.md").read_text(encoding="utf-8"))
    assert len(examples) >= 3
    for code, expected, alone in examples:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code or alone, names)
        assert out.getvalue() == expected


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), ROOT / "sample_checkpoints" / "README.md"]
    for page in pages:
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_site_builds_without_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs the dev extra's mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "commands" / "bake.html").exists()


if __name__ == "__main__":
    generator().main()
    tutorial = DOCS / "tutorial.md"
    tutorial.write_text(refreshed(tutorial.read_text(encoding="utf-8")), encoding="utf-8")
