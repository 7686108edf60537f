"""The published schema of the audit's JSON, checked against real audits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from tests.conftest import ROOT, SAMPLES, Result
from tests.reports.audits import normal, state

SCHEMA = json.loads((ROOT / "docs" / "audit-json-schema.json").read_text(encoding="utf-8"))


def check(text: str) -> Any:
    """Validate; NaN and Infinity, which are no JSON, are refused."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    content = json.loads(text, parse_constant=refuse)
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
    return content


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.p*t*")), ids=lambda path: path.name)
def test_audits_of_the_samples(path: Path, run_cli: Callable[..., Result]) -> None:
    if path.suffix != ".png":
        check(run_cli("audit", path, "-f", "json", "--fail-on", "rms>0").stdout)


def test_odd_tensors_rules_and_a_baseline(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    broken = normal(8, 8)
    broken[0] = torch.inf
    old = state(broken=normal(8, 8), zero=normal(4, 4), gone=normal(4, 4))
    now = state(broken=broken, zero=torch.zeros(4, 4), new=torch.full((4, 4), torch.nan), half=normal(4, 4).half())
    torch.save(old, tmp_path / "old.pt")
    torch.save(now, tmp_path / "now.pt")
    assert run_cli("audit", tmp_path / "old.pt", "-f", "json", "-o", tmp_path / "base.json").code == 0
    rules = ["--fail-on", "drift.rms>2x", "--fail-on", "nonfinite>0", "--fail-on", "learning_speed_spread>1x"]
    result = run_cli("audit", tmp_path / "now.pt", "-f", "json", "--baseline", tmp_path / "base.json", *rules)
    assert result.code == 1
    content = check(result.stdout)
    assert {finding["layer"] for finding in content["findings"]} >= {"broken", "zero", "new", "gone"}


def test_audits_of_the_oracles(shared_dir: Path, run_cli: Callable[..., Result]) -> None:
    folder = shared_dir / "oracles" / "plain-weight-norm"
    for path in sorted(folder.glob("*.safetensors"))[:1] + sorted(folder.glob("*.pt"))[:1]:
        check(run_cli("audit", path, "-f", "json").stdout)
