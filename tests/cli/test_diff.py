"""`eqlr diff`: what moved between two checkpoints, most first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import SAMPLES, Result
from tests.reports.audits import normal, state


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    torch.save(state(still=normal(8, 8), grown=normal(8, 8), shrunk=normal(8, 8), gone=normal(4, 4)), tmp_path / "a.pt")
    torch.save(
        state(still=normal(8, 8), grown=normal(8, 8, 2), shrunk=normal(8, 8, 0.1), new=normal(4, 4)), tmp_path / "b.pt"
    )
    return tmp_path / "a.pt", tmp_path / "b.pt"


def test_what_moved_most_comes_first(pair: tuple[Path, Path], run_cli: Callable[..., Result]) -> None:
    result = run_cli("diff", *pair, "-f", "json")
    assert result.code == 0
    report = json.loads(result.stdout)
    assert report["schema"] == "eqlr.diff/1"
    assert [layer["layer"] for layer in report["layers"]] == ["shrunk", "grown", "still"]
    shrunk, grown, still = report["layers"]
    assert shrunk["rms"]["ratio"] == pytest.approx(0.1)
    assert shrunk["moved"] == pytest.approx(10)
    assert grown["abs_max"]["after"] == pytest.approx(2 * grown["abs_max"]["before"])
    assert still["moved"] == 1
    assert [each["layer"] for each in report["only_in_first"]] == ["gone"]
    assert [each["layer"] for each in report["only_in_second"]] == ["new"]


@pytest.mark.parametrize("form", ["table", "csv", "markdown", "html"])
def test_every_format_shows_it(form: str, pair: tuple[Path, Path], run_cli: Callable[..., Result]) -> None:
    result = run_cli("diff", *pair, "-f", form)
    assert result.code == 0
    places = [result.stdout.index(name) for name in ("shrunk", "grown", "still")]
    assert places == sorted(places)


def test_a_baked_checkpoint_has_moved_in_its_stored_weights_alone(
    run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    source = SAMPLES / "progan_digits.pth.tar"
    assert run_cli("bake", source, tmp_path / "plain.pt", "-q").code == 0
    layers = json.loads(run_cli("diff", source, tmp_path / "plain.pt", "-f", "json").stdout)["layers"]
    effective = [layer["moved"] for layer in layers if layer["weights"] == "effective"]
    stored = [layer["moved"] for layer in layers if layer["weights"] == "stored"]
    assert effective == pytest.approx([1.0] * len(effective), rel=1e-6)
    assert effective
    assert max(stored) > 1.1


def test_checkpoints_without_a_common_layer(pair: tuple[Path, Path], run_cli: Callable[..., Result]) -> None:
    result = run_cli("diff", pair[0], SAMPLES / "progan_digits.pth.tar")
    assert result.code == 3
    assert "no layer in common" in result.stderr
