"""What rules find: in one audit, and against a baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from eqlr_tools.errors import NothingMatchedError, UnreadableError, UsageError
from eqlr_tools.reports.baseline import add_changes, compare, read_baseline
from eqlr_tools.reports.findings import Finding, check
from eqlr_tools.reports.rules import parse_rule
from tests.conftest import SAMPLES
from tests.reports.audits import audit_of, audit_of_state, normal, state


def found(rule: str, content: dict[str, Any], baseline: dict[str, Any] | None = None) -> list[Finding]:
    findings, _ = check([parse_rule(rule)], compare(content, baseline, "old.json" if baseline else None))
    return findings


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Layers each with one fault."""
    huge, tiny, broken = normal(16, 16), normal(16, 16, 1e-6), normal(16, 16)
    huge[0, 0] = 70000.0
    broken[3, 4] = float("nan")
    broken[5, 6] = float("-inf")
    half = normal(16, 16)
    half[:8] = 0
    tensors = state(good=normal(16, 16, seed=1), huge=huge, tiny=tiny, broken=broken, half__zero=half)
    return audit_of_state(tensors, tmp_path_factory.mktemp("audit") / "faults.pt")


@pytest.mark.parametrize(
    ("rule", "layers"),
    [
        ("effective.abs_max>65504", ["huge"]),
        ("nonfinite>0", ["broken"]),
        ("nans>=1", ["broken"]),
        ("infinities==1", ["broken"]),
        ("fp16_overflow>0", ["huge"]),
        ("fp16_overflow>50%", []),
        ("effective.fp16_subnormal>90%", ["tiny"]),
        ("zeros>25%", ["half.zero"]),
        ("zeros==128", ["half.zero"]),
        ("*.zero: zeros>25%", ["half.zero"]),
        ("good: zeros>25%", []),
        ("effective.rms<1e-3", ["tiny"]),
        ("fp16_snr_db<40dB", ["huge", "tiny"]),
        ("elements!=256", []),
        ("accumulation>65504", ["huge"]),
    ],
)
def test_rules_find_the_faulty_layers(audit: dict[str, Any], rule: str, layers: list[str]) -> None:
    assert [finding.layer for finding in found(rule, audit)] == layers


def test_a_plain_layer_is_found_once(audit: dict[str, Any]) -> None:
    (finding,) = found("abs_max>65504", audit)
    assert (finding.field, finding.value) == ("stored.abs_max", 70000.0)
    assert finding.sentence == "stored.abs_max = 70,000"


def test_either_means_stored_and_effective() -> None:
    content = audit_of(SAMPLES / "stylegan2_digits.pt")
    either = found("g_ema.style.*: rms>0.1", content)
    assert {(f.layer, f.field) for f in either} == {
        (f"style.{index}", f"{form}.rms") for index in range(1, 5) for form in ("stored", "effective")
    }
    spread = found("learning_speed_spread>100x", content)
    assert {(f.network, f.layer, f.field) for f in spread} >= {("g_ema", None, "stored.learning_speed_spread")}
    assert len(spread) == len({(f.network, f.field) for f in spread})


def test_a_glob_that_matches_nothing_is_no_success(audit: dict[str, Any]) -> None:
    with pytest.raises(NothingMatchedError, match="to_rbg"):
        found("to_rbg*: rms>1", audit)


def test_drift_needs_a_baseline(audit: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="earlier audit"):
        found("drift.rms>2x", audit)


def test_drift_finds_what_moved_came_and_went(tmp_path: Path) -> None:
    old = audit_of_state(
        state(same=normal(8, 8), grown=normal(8, 8), shrunk=normal(8, 8), gone=normal(8, 8)), tmp_path / "old.pt"
    )
    now = audit_of_state(
        state(same=normal(8, 8), grown=normal(8, 8, 3), shrunk=normal(8, 8, 1 / 3), new=normal(8, 8)), tmp_path / "b.pt"
    )
    findings = {finding.layer: finding for finding in found("drift.rms>2x", now, old)}
    assert set(findings) == {"grown", "shrunk", "new", "gone"}
    assert findings["grown"].value == pytest.approx(3, rel=1e-6)
    assert findings["shrunk"].value == pytest.approx(3, rel=1e-6)
    assert "before" in findings["grown"].sentence
    assert "not in the baseline" in findings["new"].sentence
    assert "no longer here" in findings["gone"].sentence
    assert [finding.layer for finding in found("ratio.rms<0.5x", now, old) if finding.value] == ["shrunk"]
    assert {f.layer for f in found("g*: drift.abs_max>2x", now, old)} == {"grown", "gone"}
    add_changes(now, compare(now, old, "old.json"))
    layers = {layer["layer"]: layer for layer in now["files"][0]["networks"][0]["layers"]}
    assert layers["shrunk"]["ratio"]["stored"]["rms"] == pytest.approx(1 / 3)
    assert layers["shrunk"]["drift"]["stored"]["rms"] == pytest.approx(3)
    assert "ratio" not in layers["new"]
    assert [each["layer"] for each in now["baseline"]["missing"]] == ["gone"]


def test_a_count_that_leaves_zero_has_drifted_without_bound(tmp_path: Path) -> None:
    broken = normal(8, 8)
    broken[0, 0] = torch.nan
    old = audit_of_state(state(a=normal(8, 8)), tmp_path / "old.pt")
    now = audit_of_state(state(a=broken), tmp_path / "now.pt")
    (finding,) = found("drift.nonfinite>1000x", now, old)
    assert "without bound" in finding.sentence


def test_files_are_paired_by_path_then_by_name(tmp_path: Path) -> None:
    audits = []
    for folder, size in (("monday", 1.0), ("tuesday", 4.0)):
        (tmp_path / folder).mkdir()
        files = []
        for name in ("a.pt", "b.pt"):
            content = audit_of_state(state(fc=normal(8, 8, size)), tmp_path / folder / name)
            files += content["files"]
        audits.append({"schema": "eqlr.audit/1", "files": files})
    findings = found("drift.rms>2x", audits[1], audits[0])
    assert [Path(finding.path).name for finding in findings] == ["a.pt", "b.pt"]


_ONE_LAYER = (
    '{"schema": "eqlr.audit/1", "files": [{"path": "a", "networks": [{"name": "g", "layers": '
    '[{"layer": "fc", "stored": {}, "effective": %s}]}]}]}'
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json", "is not JSON"),
        ("[]", "schema eqlr.audit/1"),
        ('{"schema": "eqlr.scan/1"}', "eqlr.scan/1"),
        ('{"schema": "eqlr.audit/1", "files": [{"path": 3}]}', "shape"),
        ('{"schema": "eqlr.audit/1", "files": {"networks": 1}}', "shape"),
        ("[" * 100_000, "is not JSON"),
        ('{"schema": "eqlr.audit/1", "files": [], "x": 1e400}', "1e400 is no finite number"),
        ('{"schema": "eqlr.audit/1", "files": [], "x": NaN}', "NaN is no finite number"),
        (_ONE_LAYER % '{"histogram": {"exponents": ["<b>"], "counts": [1]}}', "shape"),
        (_ONE_LAYER % "5", "shape"),
    ],
)
def test_what_is_no_audit_is_no_baseline(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "base.json").write_text(content)
    with pytest.raises(UnreadableError, match=words):
        read_baseline(tmp_path / "base.json")


def test_a_baseline_with_odd_figures_breaks_nothing(tmp_path: Path, audit: dict[str, Any]) -> None:
    odd = json.loads(json.dumps(audit))
    for layer in odd["files"][0]["networks"][0]["layers"]:
        layer["stored"] = {"rms": "many", "hazards": [1, 2], "zeros": 10**300, "abs_max": -0.0}
        layer["effective"] = None
    odd["files"][0]["networks"][0]["learning_speed_spread"] = []
    (tmp_path / "odd.json").write_text(json.dumps(odd))
    baseline = read_baseline(tmp_path / "odd.json")
    comparison = compare(audit, baseline, "odd.json")
    add_changes(json.loads(json.dumps(audit)), comparison)
    for rule in ("drift.rms>2x", "drift.zeros>2x", "drift.fp16_overflow>2x", "drift.learning_speed_spread>2x"):
        check([parse_rule(rule)], comparison)
