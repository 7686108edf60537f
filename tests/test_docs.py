"""The documents tell the truth: every field is in the reference, and the examples for CI run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from eqlr_tools.reports.fields import FIELDS
from eqlr_tools.reports.rules import parse_rule
from tests.conftest import ROOT, SAMPLES, Result
from tests.reports.audits import normal, state

DOCS = ROOT / "docs"


def yaml_blocks() -> list[Any]:
    text = (DOCS / "ci.md").read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def test_the_reference_names_every_field() -> None:
    text = (DOCS / "rules.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)`( ↓)? \| [^|]+ \| (\w+) \| (.+) \|$", text, re.MULTILINE)
    assert [(name, bool(low), scope, what) for name, low, scope, what in rows] == [
        (field.name, field.low_is_worse, field.scope, field.what) for field in FIELDS.values()
    ]


def test_the_examples_of_rules_are_rules() -> None:
    text = (DOCS / "rules.md").read_text(encoding="utf-8")
    examples = text.split("```")[1].strip().splitlines()
    assert len(examples) >= 7
    for line in examples:
        parse_rule(re.split(r"\s{2,}", line)[0])


def test_the_workflow_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Callable[..., Result]) -> None:
    workflow = yaml_blocks()[0]
    (command,) = [step["run"] for step in workflow["jobs"]["audit"]["steps"] if step.get("name") == "Audit"]
    program, *arguments = shlex.split(command)
    assert program == "eqlr"
    monkeypatch.chdir(tmp_path)
    Path("checkpoints").mkdir()
    shutil.copy(SAMPLES / "progan_digits.pth.tar", "checkpoints")
    assert run_cli("audit", "checkpoints/", "--format", "json", "--output", "ranges.json", "--force").code == 0
    assert run_cli(*arguments).code == 0
    assert Path("ranges.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    torch.save(state(new=normal(8, 8)), "checkpoints/new.pt")
    Path("ranges.html").unlink()
    result = run_cli(*arguments)
    assert result.code == 1
    assert "not in the baseline" in result.stderr


def test_the_hook_definition_is_the_documented_one() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    local = yaml_blocks()[2]["repos"][0]["hooks"][0]
    for key in ("id", "name", "language", "entry", "args", "files", "require_serial"):
        assert hook[key] == local[key]
    assert re.search(hook["files"], "runs/progan.pth.tar")
    assert not re.search(hook["files"], "train.py")


@pytest.mark.parametrize("fetched", [False, True], ids=["local", "try-repo"])
def test_the_hook_runs(fetched: bool, tmp_path: Path) -> None:
    """The local hook of the document, and the definition in a repository, by pre-commit itself."""
    pytest.importorskip("pre_commit", reason="pre-commit is not installed")
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    for folder in (own, theirs):
        folder.mkdir()
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    config = yaml_blocks()[2]
    (own / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", theirs)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "add", "."], cwd=theirs, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "hook"], cwd=theirs, check=True)
    broken = normal(8, 8)
    broken[0, 0] = torch.nan
    torch.save(state(fc=normal(8, 8)), own / "good.pt")
    torch.save(state(fc=broken), own / "broken.pt")
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "eqlr").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m eqlr_tools "$@"\n', encoding="utf-8")
    (commands / "eqlr").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PRE_COMMIT_HOME": str(tmp_path / "home"),
    }

    def commit(name: str) -> subprocess.CompletedProcess[str]:
        how = ["try-repo", str(theirs)] if fetched else ["run"]
        command = [sys.executable, "-m", "pre_commit", *how, "eqlr-audit", "--files", name]
        return subprocess.run(command, cwd=own, env=environment, capture_output=True, text=True, check=False)

    good, bad = commit("good.pt"), commit("broken.pt")
    assert good.returncode == 0, good.stdout + good.stderr
    assert bad.returncode == 1
    assert "stored.nonfinite = 1" in bad.stdout
