"""`eqlr diff` over the snapshots of a run: each layer's trend, in the order of the steps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eqlr_tools.reports.sparklines import trend
from tests.conftest import Result
from tests.reports.audits import normal, state

STEPS = (9, 10, 100, 1000)


@pytest.fixture
def course() -> list[torch.Tensor]:
    """One layer at each step."""
    return [normal(8, 8) + 0.1 * number * normal(8, 8, seed=number) for number in range(len(STEPS))]


@pytest.fixture
def run(tmp_path: Path, course: list[torch.Tensor]) -> list[Path]:
    """Snapshots whose names sort wrongly as text; the layer `late` is in the last three, `gone` in the first two."""
    paths = [tmp_path / f"step{step}.pt" for step in STEPS]
    for number, path in enumerate(paths):
        layers = {"walks": course[number], "still": normal(4, 4)}
        layers |= {"late": normal(4, 4, 1 + number)} if number else {}
        layers |= {"gone": normal(4, 4)} if number < 2 else {}
        torch.save(state(**layers), path)
    return paths


def report_of(result: Result) -> dict[str, Any]:
    assert result.code == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_every_movement_is_that_of_numpy(
    run: list[Path], course: list[torch.Tensor], run_cli: Callable[..., Result]
) -> None:
    report = report_of(run_cli("diff", *reversed(run), "-f", "json"))
    assert report["schema"] == "eqlr.diff/1"
    assert report["snapshots"] == [str(path) for path in run]
    entry = next(layer for layer in report["layers"] if layer["layer"] == "walks")
    values = [tensor.double().numpy() for tensor in course]
    ways = [rms(now - then) for then, now in pairwise(values)]
    assert entry["rms"] == pytest.approx([rms(value) for value in values], rel=1e-12)
    relative = [way / rms(then) for way, then in zip(ways, values, strict=False)]
    assert entry["moved"] == pytest.approx(relative, rel=1e-12)
    assert entry["adam_steps"] == pytest.approx([way / 1e-3 for way in ways], rel=1e-12)
    assert entry["moved_in_all"] == pytest.approx(rms(values[-1] - values[0]) / rms(values[0]), rel=1e-12)
    assert entry["adam_steps_in_all"] == pytest.approx(rms(values[-1] - values[0]) / 1e-3, rel=1e-12)


def test_a_layer_that_comes_late_or_goes(run: list[Path], run_cli: Callable[..., Result]) -> None:
    report = report_of(run_cli("diff", run[0].parent, "-f", "json"))
    layers = {layer["layer"]: layer for layer in report["layers"]}
    assert layers["late"]["rms"][0] is None
    assert layers["late"]["moved"] == [None, pytest.approx(0.5, rel=1e-6), pytest.approx(1 / 3, rel=1e-6)]
    assert layers["late"]["moved_in_all"] == pytest.approx(1, rel=1e-6)
    assert layers["gone"]["moved"] == [0, None, None]
    assert layers["still"]["moved"] == [0, 0, 0]
    missing = {(entry["layer"], Path(entry["snapshot"]).name) for entry in report["missing"]}
    assert missing == {("late", "step9.pt"), ("gone", "step100.pt"), ("gone", "step1000.pt")}
    assert f"not in {run[0]}: model late" in run_cli("diff", *run).stdout


def test_a_network_that_comes_late(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    for step in STEPS:
        networks = {"g": state(a=normal(4, 4), b=normal(4, 4, step))}
        networks |= {"d": state(a=normal(4, 4))} if step > 10 else {}
        torch.save(networks, tmp_path / f"{step}.pt")
    result = run_cli("diff", tmp_path)
    assert result.code == 0
    assert result.stdout.count("network d") == 2
    assert f"not in {tmp_path / '10.pt'}: network d" in result.stdout
    alone = report_of(run_cli("diff", tmp_path, "--network", "d", "-f", "json"))
    assert [(layer["network"], layer["rms"][:2]) for layer in alone["layers"]] == [("d", [None, None])]


def test_the_table_draws_the_trend(run: list[Path], run_cli: Callable[..., Result]) -> None:
    lines = run_cli("diff", *run).stdout.splitlines()
    late = next(line for line in lines if " late " in line)
    assert " ▁▄█ " in late
    assert " ▄▄▄▄ " in next(line for line in lines if " still " in line)


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_other_formats_show_it(form: str, run: list[Path], run_cli: Callable[..., Result]) -> None:
    result = run_cli("diff", *run, "-f", form)
    assert result.code == 0
    assert "▁▄█" in result.stdout
    assert "model late" in result.stdout


def test_csv_has_a_row_for_each_snapshot(run: list[Path], run_cli: Callable[..., Result]) -> None:
    rows = list(csv.DictReader(io.StringIO(run_cli("diff", *run, "-f", "csv").stdout)))
    assert len(rows) == 4 * len(STEPS)
    late = [row for row in rows if row["layer"] == "late"]
    assert [row["path"] for row in late] == [str(path) for path in run]
    assert [row["moved"] for row in late[:2]] == ["", ""]
    assert float(late[2]["moved"]) == pytest.approx(0.5)


def test_an_open_question_is_refused(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    """A hook whose gain nobody knows: no constant is guessed, in a run as in an audit."""
    for step in STEPS:
        torch.save({"a.weight_orig": normal(8, 8, step)}, tmp_path / f"{step}.pt")
    result = run_cli("diff", tmp_path)
    assert result.code == 2
    assert "answer with --gain" in result.stderr
    assert result.stdout == ""
    report = report_of(run_cli("diff", tmp_path, "--gain", 1, "-f", "json"))
    assert {layer["weights"] for layer in report["layers"]} == {"stored", "effective"}


def test_a_trend_longer_than_its_line_and_one_that_is_flat() -> None:
    assert trend([1.0, None, 3.0], 8) == "▁ █"
    assert trend([2.0, 2.001, 2.0], 8) == "▄▄▄"
    assert trend([float(number) for number in range(100)], 4) == "▁▃▆█"
    assert trend([None, None], 8) == "  "
    assert trend([0.0, 0.0], 8) == "▄▄"
    assert trend([], 8) == ""
