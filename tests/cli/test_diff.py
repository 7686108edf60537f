"""`eqlr diff`: how far every layer moved between two checkpoints, the farthest first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
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
    assert [layer["layer"] for layer in report["layers"]] == ["grown", "shrunk", "still"]
    grown, shrunk, still = report["layers"]
    assert shrunk["rms"]["ratio"] == pytest.approx(0.1)
    assert shrunk["moved"] == pytest.approx(0.9)
    assert grown["moved"] == 1
    assert grown["adam_steps"] == pytest.approx(grown["rms"]["before"] / 1e-3)
    assert grown["abs_max"]["after"] == pytest.approx(2 * grown["abs_max"]["before"])
    assert still["moved"] == 0
    assert [each["layer"] for each in report["only_in_first"]] == ["gone"]
    assert [each["layer"] for each in report["only_in_second"]] == ["new"]


@pytest.mark.parametrize("form", ["table", "csv", "markdown", "html"])
def test_every_format_shows_it(form: str, pair: tuple[Path, Path], run_cli: Callable[..., Result]) -> None:
    result = run_cli("diff", *pair, "-f", form)
    assert result.code == 0
    places = [result.stdout.index(name) for name in ("grown", "shrunk", "still")]
    assert places == sorted(places)


def test_a_baked_checkpoint_has_moved_in_its_stored_weights_alone(
    run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    source = SAMPLES / "progan_digits.pth.tar"
    assert run_cli("bake", source, tmp_path / "plain.pt", "-q").code == 0
    layers = json.loads(run_cli("diff", source, tmp_path / "plain.pt", "-f", "json").stdout)["layers"]
    effective = [layer["moved"] for layer in layers if layer["weights"] == "effective"]
    stored = [layer["moved"] for layer in layers if layer["weights"] == "stored"]
    assert effective == pytest.approx([0.0] * len(effective), abs=1e-7)
    assert effective
    assert max(stored) > 0.5


def test_checkpoints_without_a_common_layer(pair: tuple[Path, Path], run_cli: Callable[..., Result]) -> None:
    result = run_cli("diff", pair[0], SAMPLES / "progan_digits.pth.tar")
    assert result.code == 3
    assert "no layer in common" in result.stderr


def test_one_checkpoint_is_not_enough(pair: tuple[Path, Path], run_cli: Callable[..., Result]) -> None:
    result = run_cli("diff", pair[0])
    assert result.code == 2
    assert "nothing to compare" in result.stderr


def test_a_checkpoint_beside_itself(pair: tuple[Path, Path], run_cli: Callable[..., Result]) -> None:
    layers = json.loads(run_cli("diff", pair[0], pair[0], "-f", "json").stdout)["layers"]
    assert [layer["moved"] for layer in layers] == [0] * 4


@pytest.mark.parametrize("dtypes", [("float64", "float32"), ("float16", "bfloat16"), ("float32", "float8_e4m3fn")])
def test_the_distance_is_that_of_numpy_in_float64(
    dtypes: tuple[str, str], run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    """More weights than a block has, in any two types, one of them a view that is not contiguous."""
    a = (normal(300, 500, 0.3, seed=1)).to(getattr(torch, dtypes[0]))
    b = (normal(300, 500, 0.2, seed=2)).to(getattr(torch, dtypes[1]))
    torch.save(state(layer=a), tmp_path / "a.pt")
    torch.save(state(layer=b.t().contiguous().t()), tmp_path / "b.pt")
    (entry,) = json.loads(run_cli("diff", tmp_path / "a.pt", tmp_path / "b.pt", "-f", "json").stdout)["layers"]
    x, y = a.double().numpy(), b.double().numpy()
    distance, size = np.sqrt(np.mean((y - x) ** 2)), np.sqrt(np.mean(x**2))
    assert entry["moved"] == pytest.approx(distance / size, rel=1e-12)
    assert entry["adam_steps"] == pytest.approx(distance / 1e-3, rel=1e-12)


def test_an_equalized_layer_moves_by_its_constant_times_the_way_of_what_is_stored(
    run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    """The one side is stored with a constant, the other is plain: stored and effective weights go different ways."""
    rng = np.random.default_rng(3)
    v, w = rng.standard_normal((8, 16)), rng.standard_normal((8, 16)) / 4
    names = ("layer.parametrizations.weight.original", "layer.parametrizations.weight.0.scale")
    torch.save(dict(zip(names, (torch.from_numpy(v), torch.tensor(0.25)), strict=True)), tmp_path / "a.pt")
    torch.save({"layer.weight": torch.from_numpy(w)}, tmp_path / "b.pt")
    layers = json.loads(run_cli("diff", tmp_path / "a.pt", tmp_path / "b.pt", "-f", "json").stdout)["layers"]
    moved = {entry["weights"]: entry["moved"] for entry in layers}
    assert moved["stored"] == pytest.approx(np.linalg.norm(w - v) / np.linalg.norm(v), rel=1e-12)
    assert moved["effective"] == pytest.approx(np.linalg.norm(w - v / 4) / np.linalg.norm(v / 4), rel=1e-12)


def test_a_layer_that_leaves_zero_moves_without_bound_and_comes_first(
    run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    torch.save(state(zero=torch.zeros(4, 4), other=normal(4, 4)), tmp_path / "a.pt")
    torch.save(state(zero=torch.ones(4, 4), other=normal(4, 4, 3)), tmp_path / "b.pt")
    layers = json.loads(run_cli("diff", tmp_path / "a.pt", tmp_path / "b.pt", "-f", "json").stdout)["layers"]
    assert [layer["layer"] for layer in layers] == ["zero", "other"]
    assert [layer["moved"] for layer in layers] == [None, pytest.approx(2, rel=1e-6)]
    assert layers[0]["adam_steps"] == 1000


def test_what_cannot_be_compared_is_said(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    broken = normal(4, 4, 2)
    broken[0, 0] = float("nan")
    torch.save(state(wider=normal(4, 4), broken=normal(4, 4)), tmp_path / "a.pt")
    torch.save(state(wider=normal(4, 8), broken=broken), tmp_path / "b.pt")
    result = run_cli("diff", tmp_path / "a.pt", tmp_path / "b.pt")
    assert result.code == 0
    assert "wider: its shape changes from [4, 4] to [4, 8]" in result.stdout
    assert "broken: 1 weights are NaN or infinite and were left out" in result.stdout
    layers = json.loads(run_cli("diff", tmp_path / "a.pt", tmp_path / "b.pt", "-f", "json").stdout)["layers"]
    assert [layer["layer"] for layer in layers] == ["broken", "wider"]
    assert [layer["moved"] for layer in layers] == [pytest.approx(1, rel=1e-6), None]


def test_another_layout_under_other_names(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    """A converted generator has not moved, although every name and many shapes are others."""
    source, target = SAMPLES / "stylegan2_digits.pt", tmp_path / "nvidia.safetensors"
    assert run_cli("convert", source, target, "--to", "nvidia-stylegan2-ada", "--network", "g_ema", "-q").code == 0
    report = json.loads(run_cli("diff", source, target, "-f", "json").stdout)
    assert {layer["network"] for layer in report["layers"]} == {"g_ema"}
    assert {layer["network"] for layer in report["only_in_first"]} == {"g", "d"}
    assert report["only_in_second"] == []
    assert max(layer["moved"] for layer in report["layers"]) < 1e-7


def test_a_network_that_no_checkpoint_has(pair: tuple[Path, Path], run_cli: Callable[..., Result]) -> None:
    result = run_cli("diff", *pair, "--network", "nix")
    assert result.code == 2
    assert "'nix'" in result.stderr
