"""`eqlr audit` in CI: `--fail-on`, `--baseline`, `--sort` and `--plot` on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from eqlr_tools.reports.plot import Words, draw
from tests.conftest import SAMPLES, Result
from tests.reports.audits import HOSTILE, normal, state

STYLEGAN2 = SAMPLES / "stylegan2_digits.pt"


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    huge, broken = normal(8, 8), normal(8, 8)
    huge[0, 0] = 70000.0
    broken[0, 0] = torch.nan
    torch.save(state(good=normal(8, 8), huge=huge, broken=broken, tiny=normal(8, 8, 1e-6)), tmp_path / "faulty.pt")
    return tmp_path / "faulty.pt"


def test_violated_rules_exit_1_and_the_report_is_still_there(faulty: Path, run_cli: Callable[..., Result]) -> None:
    rules = ["--fail-on", "effective.abs_max>65504", "--fail-on", "nonfinite>0", "--fail-on", "good: zeros>0"]
    result = run_cli("audit", faulty, "-f", "json", *rules)
    assert result.code == 1
    report = json.loads(result.stdout)
    assert [(f["rule"], f["layer"], f["field"]) for f in report["findings"]] == [
        ("effective.abs_max>65504", "huge", "effective.abs_max"),
        ("nonfinite>0", "broken", "stored.nonfinite"),
    ]
    assert [(rule["checked"], rule["violated"]) for rule in report["rules"]] == [(4, True), (4, True), (1, False)]
    assert "2 of 3 rules violated" in result.stderr
    assert "huge: effective.abs_max = 70,000" in result.stderr
    assert "broken: stored.nonfinite = 1" in result.stderr


def test_kept_rules_exit_0_and_say_nothing(run_cli: Callable[..., Result]) -> None:
    result = run_cli("audit", STYLEGAN2, "--fail-on", "nonfinite>0", "--fail-on", "effective.fp16_overflow>0")
    assert (result.code, result.stderr) == (0, "")


def test_a_rule_that_cannot_be_read_exits_2_with_a_caret(faulty: Path, run_cli: Callable[..., Result]) -> None:
    result = run_cli("audit", faulty, "--fail-on", "effective.abs_mx>1")
    assert (result.code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    place = lines[1].index("abs_mx")
    assert lines[2] == " " * place + "^" * len("abs_mx")
    assert "abs_max" in lines[3]


def test_a_glob_that_matches_nothing_exits_3(faulty: Path, run_cli: Callable[..., Result]) -> None:
    assert run_cli("audit", faulty, "--fail-on", "to_rgb*: rms>1").code == 3


def test_drift_against_a_baseline(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    torch.save(state(a=normal(8, 8), b=normal(8, 8)), tmp_path / "monday.pt")
    torch.save(state(a=normal(8, 8), b=normal(8, 8, 2.5)), tmp_path / "tuesday.pt")
    base = tmp_path / "base.json"
    assert run_cli("audit", tmp_path / "monday.pt", "-f", "json", "-o", base).code == 0
    same = run_cli("audit", tmp_path / "monday.pt", "--baseline", base, "--fail-on", "drift.rms>1.001x")
    assert same.code == 0
    assert "2 layers compared, 0 new, 0 missing" in same.stderr
    moved = run_cli("audit", tmp_path / "tuesday.pt", "--baseline", base, "--fail-on", "drift.rms>2x", "-f", "json")
    assert moved.code == 1
    report = json.loads(moved.stdout)
    assert [(f["layer"], f["value"]) for f in report["findings"]] == [("b", pytest.approx(2.5))]
    layers = {layer["layer"]: layer for layer in report["files"][0]["networks"][0]["layers"]}
    assert layers["b"]["ratio"]["stored"]["rms"] == pytest.approx(2.5)
    assert run_cli("audit", tmp_path / "tuesday.pt", "--fail-on", "drift.rms>2x").code == 2
    assert run_cli("audit", tmp_path / "tuesday.pt", "--baseline", tmp_path / "none.json").code == 2


def test_sorting_puts_the_worst_first(faulty: Path, run_cli: Callable[..., Result]) -> None:
    def order(key: str) -> list[str]:
        report = json.loads(run_cli("audit", faulty, "--sort", key, "-f", "json").stdout)
        return [layer["layer"] for layer in report["files"][0]["networks"][0]["layers"]]

    assert order("abs_max")[0] == "huge"
    assert order("fp16_subnormal")[0] == "tiny"
    assert order("nonfinite")[0] == "broken"
    assert order("min_nonzero")[0] == "tiny"
    assert order("fp16_snr_db")[0] == "huge"
    assert order("abs_max:asc")[0] == "tiny"
    assert order("min_nonzero:desc")[0] != "tiny"
    for key in ("abs_mx", "rms:up", "drift.rms", "learning_speed_spread"):
        assert run_cli("audit", faulty, "--sort", key).code == 2, key


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("effective.fp16_overflow", ["1.56%", "0%", "0%", "0%"]),
        ("drift.rms", ["1x"] * 4),
        ("fp16_snr_db", ["overflow"]),
        ("int8_per_tensor_snr_db", []),
        ("elements", ["64"] * 4),
    ],
)
def test_what_is_sorted_by_is_shown_at_any_width(
    key: str, shown: list[str], faulty: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = faulty.with_name("baseline.json")
    run_cli("audit", faulty, "-f", "json", "-o", baseline)
    monkeypatch.setenv("COLUMNS", "40")
    lines = run_cli("audit", faulty, "--baseline", baseline, "--sort", key).stdout.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("layer"))
    title = key.removeprefix("effective.").replace("_", " ").replace(".", " ")
    end = lines[head].index(title) + len(title)
    cells = [line[:end].split()[-1] for line in lines[head + 2 : head + 6]]
    assert cells[: len(shown)] == shown


def test_tables_fit_and_keep_the_histogram(run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (80, 100, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        out = run_cli("audit", STYLEGAN2, "--network", "g_ema", "--sort", "effective.fp16_subnormal").stdout
        assert max(map(len, out.splitlines())) <= width
        assert "█" in out
        assert "0.174%" in out
        assert width == 80 or "0.17% subnormal" in out
        assert out.partition("──\n")[2].startswith("convs.3.conv ")


def test_quiet_says_nothing_of_what_was_written(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    written = ["--plot", tmp_path / "x.svg", "-f", "json", "-o", tmp_path / "x.json"]
    result = run_cli("audit", STYLEGAN2, "--quiet", *written)
    assert (result.code, result.stdout, result.stderr) == (0, "", "")


def test_a_terminal_that_knows_only_ascii(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "eqlr_tools", "audit", str(STYLEGAN2), "--network", "g_ema"]
    result = subprocess.run(command, env=environment, capture_output=True, check=True)
    text = result.stdout.decode("ascii")
    assert "1x32x32x3x3" in text
    assert "@" in text


def test_plots_hold_every_layer(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="pillow is not installed")
    from PIL import Image

    args = ["audit", STYLEGAN2, "--network", "g_ema", "-q", "-f", "json"]
    assert run_cli(*args, "--plot", tmp_path / "a.svg").code == 0
    assert run_cli(*args, "--plot", tmp_path / "a.png").code == 0
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"style.1", "conv1.conv.modulation", "to_rgbs.1.conv"} <= texts
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (2 * int(root.attrib["width"]), 2 * int(root.attrib["height"]))
        assert len(image.getcolors(1 << 24) or []) > 8
    again = run_cli(*args, "--plot", tmp_path / "a.svg")
    assert again.code == 2
    assert "--force" in again.stderr
    assert run_cli(*args, "--plot", tmp_path / "a.pdf").code == 2


def test_a_plot_of_many_layers_is_a_sheet_and_keeps_the_ends_of_names() -> None:
    statistics = {"histogram": {"exponents": [0], "counts": [1]}, "rms": 1.0}
    layers = [
        {"layer": name, "weight": name, "dtype": "float32", "equalized": False, "stored": statistics, "effective": None}
        for name in sorted(f"generator.synthesis.blocks.{number}.attention.conv" for number in range(1000))
    ]
    network = {"name": "g", "family": "plain", "layers": layers}
    drawing = draw({"files": [{"path": "a.pt", "networks": [network]}]})
    assert 1 < drawing.height / drawing.width < 3
    names = [shape.text for shape in drawing.shapes if isinstance(shape, Words) and shape.text.endswith("conv")]
    assert all(name.startswith("…") for name in names)
    assert [name.split(".")[-3] for name in names] == [str(number) for number in range(1000)]


def test_hostile_names_in_a_plot(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    torch.save({f"{HOSTILE}.weight": normal(4, 4), "\x1b[31m\u202e.weight": normal(4, 4)}, tmp_path / "x.pt")
    assert run_cli("audit", tmp_path / "x.pt", "--plot", tmp_path / "x.svg").code == 0
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(tmp_path / "x.svg").getroot().iter()}
    assert tags == {"svg", "rect", "text", "polyline"}


def test_png_without_pillow_names_the_install_line(
    run_cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    result = run_cli("audit", STYLEGAN2, "--plot", tmp_path / "a.png")
    assert result.code == 2
    assert "pip install -c constraints.txt 'eqlr-tools[plot]'" in result.stderr
