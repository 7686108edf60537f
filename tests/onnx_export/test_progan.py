"""ProGAN's graph makes what the project's own class made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.onnx_export.graphs import run
from tests.oracles import Oracle, relative_error


def test_oracle_from_z_to_image_while_a_size_is_faded_in(shared_dir: Path, tmp_path: Path, run_cli) -> None:
    oracle = Oracle(shared_dir / "oracles" / "aladdin-progan")
    target = tmp_path / "generator.onnx"
    result = run_cli("export", oracle.files[""], target, "--resolution", "16", "--alpha", "0.7")
    assert result.code == 0, result.stderr
    image = run(target, z=oracle.truth.get_tensor("net.gen.input.z").reshape(2, -1))
    assert relative_error(image, oracle.truth.get_tensor("net.gen.output")) < 1e-5


@pytest.mark.parametrize(
    "arguments",
    [(), ("--image", "uint8"), ("--precision", "fp16"), ("--resolution", "4"), ("--opset", "13", "--alpha", "0.3")],
)
def test_every_form_agrees_with_the_reference(
    samples: Path, tmp_path: Path, run_cli, arguments: tuple[str, ...]
) -> None:
    result = run_cli("export", samples / "progan_digits.pth.tar", tmp_path / "x.onnx", *arguments)
    assert result.code == 0, result.stderr
    z = np.random.default_rng(0).standard_normal((5, 32)).astype(np.float32)
    assert len(run(tmp_path / "x.onnx", z=z)) == 5


@pytest.mark.parametrize("arguments", [("--resolution", "64"), ("--split",), ("--noise", "random")])
def test_what_it_has_not_is_refused(samples: Path, tmp_path: Path, run_cli, arguments: tuple[str, ...]) -> None:
    assert run_cli("export", samples / "progan_digits.pth.tar", tmp_path / "x.onnx", *arguments).code == 2
