"""`eqlr sample` draws what the generator makes, and the PNG file is one that other programs read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from eqlr_tools.errors import UsageError
from eqlr_tools.onnx_export.png import png
from eqlr_tools.onnx_export.sampling import grid, parse_seeds
from tests.onnx_export.graphs import run


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_is_read_back(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(png(pixels))))
    np.testing.assert_array_equal(read.reshape(pixels.shape), pixels)


def test_grid_shows_each_image_once_in_order() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((5, 64, 64, 1), dtype=np.uint8)
    canvas = grid(images)
    assert canvas.shape == (2 * 64 + 2, 3 * 64 + 4, 1)
    assert [int(canvas[10 + 66 * (n // 3), 10 + 66 * (n % 3), 0]) for n in range(5)] == [0, 1, 2, 3, 4]


def test_seeds_are_ranges_and_lists() -> None:
    assert parse_seeds("0-3") == [0, 1, 2, 3]
    assert parse_seeds("7, 2,4-5") == [7, 2, 4, 5]
    for wrong in ("", "3-1", "a", "-1", "1-", "0-10000"):
        with pytest.raises(UsageError):
            parse_seeds(wrong)


def test_draws_the_images_of_the_exported_graph(run_cli, samples: Path, tmp_path: Path) -> None:
    model, picture, direct = tmp_path / "digits.onnx", tmp_path / "grid.png", tmp_path / "direct.png"
    source = samples / "stylegan2_digits.pt"
    assert run_cli("export", source, model).code == 0
    result = run_cli("sample", model, "-o", picture, "--seeds", "0-5", "--truncation", "0.5")
    assert result.code == 0, result.stderr
    assert run_cli("sample", source, "-o", direct, "--seeds", "0-5", "--truncation", "0.5").code == 0
    assert picture.read_bytes() == direct.read_bytes()
    z = np.random.RandomState(4).standard_normal((1, 32)).astype(np.float32)
    image = run(model, z=z, truncation_psi=np.array(0.5, np.float32))[0].transpose(1, 2, 0)
    tile = np.asarray(Image.open(picture))[66:130:4, 66:130:4]
    assert np.abs(tile - np.clip((image + 1) * 127.5, 0, 255)).max() < 0.51


def test_says_what_cannot_be_drawn(run_cli, samples: Path, tmp_path: Path) -> None:
    assert run_cli("export", samples / "stylegan2_digits.pt", tmp_path / "w.onnx", "--input", "w").code == 0
    result = run_cli("sample", tmp_path / "w.onnx", "-o", tmp_path / "x.png")
    assert (result.code, "input z" in result.stderr) == (2, True)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert run_cli("sample", tmp_path / "broken.onnx", "-o", tmp_path / "x.png").code == 2
    assert run_cli("sample", tmp_path / "absent.onnx", "-o", tmp_path / "x.png").code == 2
    assert run_cli("sample", samples / "stylegan2_digits.pt", "-o", tmp_path / "x.png", "--class", "1").code == 2
    progan = samples / "progan_digits.pth.tar"
    assert run_cli("sample", progan, "-o", tmp_path / "x.png", "--truncation", "0.5").code == 2
    assert not (tmp_path / "x.png").exists()
    assert run_cli("sample", progan, "-o", tmp_path / "x.png", "--seeds", "0").code == 0


def test_a_fixed_batch_is_filled(run_cli, samples: Path, tmp_path: Path) -> None:
    """Models of other exporters often have one; the picture is the same as with a free one."""
    free, fixed = tmp_path / "free.onnx", tmp_path / "fixed.onnx"
    assert run_cli("export", samples / "stylegan2_digits.pt", free).code == 0
    model = onnx.load(str(free))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, str(fixed))
    for source in (free, fixed):
        result = run_cli("sample", source, "-o", source.with_suffix(".png"), "--seeds", "0-5")
        assert result.code == 0, result.stderr
    assert free.with_suffix(".png").read_bytes() == fixed.with_suffix(".png").read_bytes()


def test_other_pictures_than_png_are_refused(run_cli, samples: Path, tmp_path: Path) -> None:
    result = run_cli("sample", samples / "stylegan2_digits.pt", "-o", tmp_path / "x.jpg")
    assert (result.code, "PNG" in result.stderr) == (2, True)
    assert not (tmp_path / "x.jpg").exists()
