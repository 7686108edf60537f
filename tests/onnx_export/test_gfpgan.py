"""GFPGAN's graph restores what the project's own class restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.onnx_export.graphs import run
from tests.oracles import Oracle, relative_error


@pytest.mark.parametrize("project", ["gfpgan-v1", "gfpgan-clean"])
def test_oracles_from_face_to_face(shared_dir: Path, tmp_path: Path, run_cli, project: str) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    target = tmp_path / "restorer.onnx"
    result = run_cli("export", oracle.files[""], target, "--network", "params_ema")
    assert result.code == 0, result.stderr
    image = run(target, face=oracle.truth.get_tensor("net.params_ema.input.img"))
    assert relative_error(image, oracle.truth.get_tensor("net.params_ema.output")) < 1e-5


@pytest.mark.parametrize("arguments", [("--resampling", "bilinear"), ("--noise", "none"), ("--image", "uint8")])
def test_every_form_agrees_with_the_reference(
    shared_dir: Path, tmp_path: Path, run_cli, arguments: tuple[str, str]
) -> None:
    source = shared_dir / "oracles" / "gfpgan-v1" / "checkpoint.pth"
    result = run_cli("export", source, tmp_path / "x.onnx", "--network", "params_ema", *arguments)
    assert result.code == 0, result.stderr


@pytest.mark.parametrize("precision", ["fp16", "mixed"])
def test_half_precision_in_the_decoder(shared_dir: Path, tmp_path: Path, run_cli, precision: str) -> None:
    source = shared_dir / "oracles" / "gfpgan-clean" / "checkpoint.pth"
    result = run_cli("export", source, tmp_path / "x.onnx", "--precision", precision)
    assert result.code == 0, result.stderr


def test_what_it_has_not_is_refused(shared_dir: Path, tmp_path: Path, run_cli) -> None:
    source = shared_dir / "oracles" / "gfpgan-clean" / "checkpoint.pth"
    assert run_cli("export", source, tmp_path / "x.onnx", "--split").code == 2
    assert run_cli("export", source, tmp_path / "x.onnx", "--noise", "random").code == 2
